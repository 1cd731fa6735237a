package import PawlCrypto

/// What the body of a request in the outbox holds; its number is in the item.
///
/// Layout (little endian): number of the version (u8 length; 0: it is about none), and then, by what is asked: the body of a
/// version to create; the text of a recovery key to put away; the cursor of a page; the place 16 of an item; or entries to
/// put, each: place 16, size 4, bytes.
package struct BackupRequest {
    /// The server's number of the version; empty: it is about none.
    package let version: Bytes
    package let rest: Bytes

    package init(_ body: Bytes) throws(Failure) {
        var reader = ByteReader(body)
        version = try reader.field(UInt8.self)
        rest = reader.rest()
    }

    package struct Entry {
        package let place: Identifier
        package let bytes: Bytes

        package init(place: Identifier, bytes: Bytes) {
            self.place = place
            self.bytes = bytes
        }
    }

    // MARK: To put items

    /// All that are to be put.
    package func entries() throws(Failure) -> [Entry] {
        var reader = ByteReader(rest)
        var entries: [Entry] = []
        while !reader.isAtEnd {
            entries.append(
                Entry(
                    place: try Identifier(reader.take(Identifier.size)),
                    bytes: try reader.field(UInt32.self)))
        }
        return entries
    }

    package static func write(
        _ version: BackupVersion, _ entries: [(place: Identifier, wire: SecretBuffer)]
    ) throws(Failure) -> SecretBuffer {
        var size = 0
        for entry in entries { size += Identifier.size + 4 + entry.wire.count }
        return try write(version, size) { (writer) in
            for (place, wire) in entries {
                place.withBytes { writer.append($0) }
                writer.field(wire.bytes, UInt32.self)
            }
        }
    }

    /// Of all others that are about a version: a cursor, a place, nothing.
    package static func write(
        _ version: BackupVersion, _ rest: Bytes
    ) throws(Failure) -> SecretBuffer {
        try write(version, rest.count) { (writer) in writer.append(rest) }
    }

    /// Of those that are about none.
    package static func write(_ rest: Bytes) throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(count: 1 + rest.count)
        var writer = ByteWriter(buffer.mutableBytes)
        writer.integer(UInt8(0))
        writer.append(rest)
        try writer.finish()
        return buffer
    }

    private static func write(
        _ version: BackupVersion, _ size: Int, _ body: (inout ByteWriter) -> Void
    ) throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(count: 1 + version.number.count + size)
        var writer = ByteWriter(buffer.mutableBytes)
        version.number.withUnsafeBytes { writer.field($0, UInt8.self) }
        body(&writer)
        try writer.finish()
        return buffer
    }
}

/// A backup's secret on its way from one own account to another.
///
/// Layout (little endian): format 1, number of the request 8, highest generation 8, secret 32.
package struct BackupShare {
    private static let format: UInt8 = 1
    package static let size = 17 + BackupKeys.secretSize

    package let request: UInt64
    package let highest: UInt64
    package let secret: SecretBuffer

    package init(_ bytes: Bytes) throws(Failure) {
        var reader = ByteReader(bytes)
        try reader.format(Self.format)
        request = try reader.integer(UInt64.self)
        highest = try reader.integer(UInt64.self)
        secret = try SecretBuffer(copying: reader.take(BackupKeys.secretSize))
        try reader.finish()
    }

    package static func write(
        to request: UInt64, highest: UInt64, _ secret: SecretBuffer,
        into out: UnsafeMutableRawBufferPointer
    ) throws(Failure) {
        var writer = ByteWriter(out)
        writer.integer(format)
        writer.integer(request)
        writer.integer(highest)
        writer.append(secret.bytes)
        try writer.finish()
        withExtendedLifetime(secret) {}
    }
}
