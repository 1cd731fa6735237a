package import PawlCrypto

/// Hides names and seals values under the master key of one store.
///
/// names key = KDF(master, "names"), values and stamps key likewise. A value is sealed for its
/// place: format version and full row key are associated data, so a record that was moved, swapped or
/// renamed does not open. What says no more than its row's key does is stamped, which costs a twentieth.
package final class Sealer {
    package static let masterSize = KeyArena.keySize
    package static let nameSize = 16
    /// The format byte and what the AEAD adds.
    package static let overhead = 1 + Seal.overhead
    private static let format: UInt8 = 1
    private static let stamped: UInt8 = 2

    private enum Slot {
        static let master = 0
        static let names = 1
        static let values = 2
        static let stamps = 3
    }
    private let arena: KeyArena

    /// Draws a new master key, or takes one that was unwrapped.
    package init(master: SecretBuffer? = nil) throws(Failure) {
        arena = try KeyArena(keys: 4)
        let key = try arena.key(Slot.master)
        if let master {
            guard master.count == Self.masterSize else { throw .corrupt(.record) }
            key.copyMemory(from: master.bytes)
        } else {
            fillRandom(key)
        }
        try KeyedHash.derive(into: arena.key(Slot.names), key: Bytes(key), label: "pawl/1 names")
        try KeyedHash.derive(into: arena.key(Slot.values), key: Bytes(key), label: "pawl/1 values")
        try KeyedHash.derive(into: arena.key(Slot.stamps), key: Bytes(key), label: "pawl/1 stamps")
    }

    package var isLocked: Bool { arena.isLocked }
    package func wipe() { arena.wipe() }

    package func withMaster<R>(_ body: (Bytes) throws(Failure) -> R) throws(Failure) -> R {
        try body(Bytes(arena.key(Slot.master)))
    }

    /// `parent` with one more component: 16 bytes of keyed BLAKE2b over the components above it and
    /// `name`. The same name in two scopes looks different.
    package func child(of parent: RowKey, named name: Bytes) throws(Failure) -> RowKey {
        let key = Bytes(try arena.key(Slot.names))
        return try parent.withBytes { (path) throws(Failure) in
            // The kind is left out: a name keeps its hash in every kind of row. The components above
            // have a fixed size, so their number is part of the message.
            let above = Bytes(rebasing: path.dropFirst())
            let message = try SecretBuffer(count: 1 + above.count + name.count)
            var writer = ByteWriter(message.mutableBytes)
            writer.integer(UInt8(truncatingIfNeeded: above.count / Self.nameSize))
            writer.append(above)
            writer.append(name)
            try writer.finish()
            var hash: InlineArray<16, UInt8> = .init(repeating: 0)
            var span = hash.mutableSpan
            return try span.withUnsafeMutableBytes { (out) throws(Failure) in
                try KeyedHash.hash(into: out, key: key, message.bytes)
                return parent.appending(Bytes(out))
            }
        }
    }

    /// The value of a row whose key says it all: it is not sealed, so that an index costs little. Whoever can write one
    /// can put an older row back, too, which says no less.
    package static let mark: UInt8 = 1

    package static func isMark(_ value: Bytes) -> Bool { value.count == 1 && value[0] == mark }

    /// `nonce` was drawn for this value alone; nil: is drawn here.
    package func seal(
        _ plaintext: Bytes, for row: RowKey, nonce: Bytes? = nil
    ) throws(Failure) -> SecretBuffer {
        guard row.kind?.isStamped != true else { return try stamp(plaintext, for: row) }
        let sealed = try SecretBuffer(count: plaintext.count + Self.overhead)
        sealed.mutableBytes[0] = Self.format
        let key = Bytes(try arena.key(Slot.values))
        var result: Result<Void, Failure> = .failure(.internal)
        withPlace(row) { place in
            result = Result { () throws(Failure) in
                try Seal.close(
                    plaintext, key: key, nonce: nonce, associated: place,
                    into: UnsafeMutableRawBufferPointer(rebasing: sealed.mutableBytes[1...]))
            }
        }
        try result.get()
        return sealed
    }

    /// `version` when a newer Pawl wrote it, `corrupt` when it is not what was sealed for this row.
    package func open(_ sealed: Bytes, for row: RowKey) throws(Failure) -> SecretBuffer {
        if sealed.first == Self.stamped, row.kind?.isStamped == true {
            return try openStamped(sealed, for: row)
        }
        var reader = ByteReader(sealed)
        try reader.format(Self.format)
        let key = Bytes(try arena.key(Slot.values))
        var result: Result<SecretBuffer?, Failure> = .failure(.internal)
        withPlace(row) { place in
            result = Result { () throws(Failure) in
                try Seal.open(reader.rest(), key: key, associated: place)
            }
        }
        guard let plaintext = try result.get() else { throw .corrupt(.record) }
        return plaintext
    }

    private func stamp(_ plaintext: Bytes, for row: RowKey) throws(Failure) -> SecretBuffer {
        let value = try SecretBuffer(count: 1 + plaintext.count + Filter.size)
        var writer = ByteWriter(value.mutableBytes)
        writer.integer(Self.stamped)
        writer.append(plaintext)
        writer.integer(try tag(of: plaintext, at: row))
        try writer.finish()
        return value
    }

    private func openStamped(_ value: Bytes, for row: RowKey) throws(Failure) -> SecretBuffer {
        var reader = ByteReader(Bytes(rebasing: value[1...]))
        let plaintext = try reader.take(value.count - 1 - Filter.size)
        guard try reader.integer(UInt64.self) == tag(of: plaintext, at: row) else {
            throw .corrupt(.record)
        }
        return try SecretBuffer(copying: plaintext)
    }

    /// All rows of a kind that is stamped have keys of one size.
    private func tag(of plaintext: Bytes, at row: RowKey) throws(Failure) -> UInt64 {
        let key = Bytes(rebasing: Bytes(try arena.key(Slot.stamps))[..<Filter.keySize])
        var result: Result<UInt64, Failure> = .failure(.internal)
        withPlace(row, Self.stamped, plaintext) { place in
            result = Result { () throws(Failure) in try Filter.hash(place, key: key) }
        }
        return try result.get()
    }

    /// Associated data: format and row key; of a stamp the value, too. On the stack, because every value needs it.
    private func withPlace(
        _ row: RowKey, _ format: UInt8 = Sealer.format, _ value: Bytes = .empty,
        _ body: (Bytes) -> Void
    ) {
        withUnsafeTemporaryAllocation(
            byteCount: 1 + row.count + value.count, alignment: 1
        ) { place in
            var writer = ByteWriter(place)
            writer.integer(format)
            row.withBytes { writer.append($0) }
            writer.append(value)
            body(Bytes(place))
        }
    }
}
