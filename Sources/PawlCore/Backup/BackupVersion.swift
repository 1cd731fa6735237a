package import PawlCrypto

/// One life of a backup: from one secret to the next. Always compared as a whole.
///
/// The body is what its creator vouches for with a MAC under the backup's secret, and what a server stores. The number is
/// the server's word for it, known only when the body is there: nobody can vouch for that. So `hash`, which keys are
/// derived from and the next version points back to, is that of the body.
///
/// Layout (little endian): number (u8 length), body. Body: format 1, algorithm 1, generation 8, hash of the version before
/// 32 (zeros: the first), public key 32, MAC 32.
package struct BackupVersion: Hashable {
    package struct Body: Hashable {
        package let generation: UInt64
        package let previous: Digest
        /// Tells one secret from another, and serves nothing else.
        package let publicKey: Digest
        package let mac: Digest
        package let hash: Digest
    }

    package static let numberSizes = 1...64
    /// An invented generation shall not be the last one.
    package static let generationLimit: UInt64 = 1 << 62
    package static let bodySize = vouchedSize + Digest.size
    private static let vouchedSize = 1 + 1 + 8 + 2 * Digest.size
    private static let format: UInt8 = 1
    /// `org.pawl.backup.v1`.
    private static let algorithm: UInt8 = 1

    /// Opaque; UTF-8 as servers have it.
    package let number: [UInt8]
    package let body: Body

    package var generation: UInt64 { body.generation }
    package var hash: Digest { body.hash }

    package init(number: [UInt8], body: Body) throws(Failure) {
        var isText = false
        number.withUnsafeBytes { isText = $0.isText(Self.numberSizes) }
        guard isText else { throw .corrupt(.record) }
        self.number = number
        self.body = body
    }

    package init(decoding bytes: Bytes) throws(Failure) {
        var reader = ByteReader(bytes)
        try self.init(&reader)
        try reader.finish()
    }

    package init(_ reader: inout ByteReader) throws(Failure) {
        let number = [UInt8](try reader.field(UInt8.self))
        try self.init(number: number, body: Body(decoding: reader.take(Self.bodySize)))
    }

    package var size: Int { 1 + number.count + Self.bodySize }

    package func write(to writer: inout ByteWriter) {
        number.withUnsafeBytes { writer.field($0, UInt8.self) }
        body.write(to: &writer)
    }

    package func encoded() throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(count: size)
        var writer = ByteWriter(buffer.mutableBytes)
        write(to: &writer)
        try writer.finish()
        return buffer
    }

    /// Whether the secret is this version's.
    package func check(_ secret: Bytes) throws(Failure) -> Bool { try body.check(secret) }
}

extension BackupVersion.Body {
    /// A new one.
    package init(generation: UInt64, previous: Digest, _ keys: BackupKeys) throws(Failure) {
        guard (1...BackupVersion.generationLimit).contains(generation) else {
            throw .limit(.counter)
        }
        let vouched = try Self.vouched(generation, previous, keys.publicKey)
        let mac = try Digest(key: keys.check, label: Self.macLabel, vouched.bytes)
        withExtendedLifetime(vouched) {}
        try self.init(generation, previous, keys.publicKey, mac)
    }

    package init(decoding bytes: Bytes) throws(Failure) {
        var reader = ByteReader(bytes)
        try reader.format(BackupVersion.format)
        guard try reader.integer(UInt8.self) == BackupVersion.algorithm else { throw .version }
        let generation = try reader.integer(UInt64.self)
        guard (1...BackupVersion.generationLimit).contains(generation) else {
            throw .corrupt(.record)
        }
        let previous = try Digest(&reader)
        let publicKey = try Digest(&reader)
        try self.init(generation, previous, publicKey, try Digest(&reader))
        try reader.finish()
    }

    private init(
        _ generation: UInt64, _ previous: Digest, _ publicKey: Digest, _ mac: Digest
    ) throws(Failure) {
        self.generation = generation
        self.previous = previous
        self.publicKey = publicKey
        self.mac = mac
        let whole = try SecretBuffer(count: BackupVersion.bodySize)
        var writer = ByteWriter(whole.mutableBytes)
        Self.write(generation, previous, publicKey, to: &writer)
        mac.write(to: &writer)
        try writer.finish()
        hash = try Digest(key: .empty, label: "pawl/1 backup version", whole.bytes)
        withExtendedLifetime(whole) {}
    }

    func check(_ secret: Bytes) throws(Failure) -> Bool {
        let key = try BackupKeys.check(of: secret)
        let vouched = try Self.vouched(generation, previous, publicKey)
        let (right, given) = (
            try SecretBuffer(count: Digest.size), try SecretBuffer(count: Digest.size)
        )
        try KeyedHash.derive(
            into: right.mutableBytes, key: key.bytes, label: Self.macLabel, vouched.bytes)
        var writer = ByteWriter(given.mutableBytes)
        mac.write(to: &writer)
        let isRight = Seal.sameSecret(right.bytes, given.bytes)
        withExtendedLifetime((key, vouched, right, given)) {}
        return isRight
    }

    package func write(to writer: inout ByteWriter) {
        Self.write(generation, previous, publicKey, to: &writer)
        mac.write(to: &writer)
    }

    package func encoded() throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(count: BackupVersion.bodySize)
        var writer = ByteWriter(buffer.mutableBytes)
        write(to: &writer)
        try writer.finish()
        return buffer
    }

    private static var macLabel: StaticString { "pawl/1 backup mac" }

    /// What the MAC is over.
    private static func vouched(
        _ generation: UInt64, _ previous: Digest, _ publicKey: Digest
    ) throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(count: BackupVersion.vouchedSize)
        var writer = ByteWriter(buffer.mutableBytes)
        write(generation, previous, publicKey, to: &writer)
        try writer.finish()
        return buffer
    }

    private static func write(
        _ generation: UInt64, _ previous: Digest, _ publicKey: Digest, to writer: inout ByteWriter
    ) {
        writer.integer(BackupVersion.format)
        writer.integer(BackupVersion.algorithm)
        writer.integer(generation)
        previous.write(to: &writer)
        publicKey.write(to: &writer)
    }
}
