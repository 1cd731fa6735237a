package import PawlCrypto

/// How an archive begins: how the key of its stream is made from a key that somebody has.
///
/// Layout (little endian): "PAWLARC" 7, format 1, kind of key 1, created 8, salt 16, Argon2id passes 4 and memory 8 (0
/// unless a passphrase), commitment 32, header of the stream 24.
///
/// stream key ‖ commitment = KDF(stretched key; "pawl/1 archive", all before the commitment). The commitment is compared
/// first, because XChaCha20-Poly1305 by itself can be made to open under two keys.
package enum ArchiveHeader {
    private static let magic: StaticString = "PAWLARC"
    private static let format: UInt8 = 1
    private static let headSize = 7 + 1 + 1 + 8 + PasswordHash.saltSize + 4 + 8
    private static let commitmentSize = 32
    private static let streamStart = headSize + commitmentSize
    package static let size = streamStart + SecretStream.headerSize

    /// A new archive's header and stream. Costs the Argon2id time of a passphrase.
    package static func make(
        for key: UnlockKey, now: Int64
    ) throws(Failure) -> (header: SecretBuffer, stream: SecretStream) {
        var hash: PasswordHash?
        if case .passphrase(_, let wanted) = key { hash = wanted }
        let salt = try SecretBuffer(count: PasswordHash.saltSize)
        fillRandom(salt.mutableBytes)
        let header = try SecretBuffer(count: size)
        var writer = ByteWriter(part(header, 0, headSize))
        writer.append(Bytes(start: magic.utf8Start, count: magic.utf8CodeUnitCount))
        writer.integer(format)
        writer.integer(key.kind.rawValue)
        writer.integer(now)
        writer.append(salt.bytes)
        writer.integer(hash?.passes ?? 0)
        writer.integer(hash?.memory ?? 0)
        try writer.finish()
        let derived = try derive(key, hash, salt: salt.bytes, head: header)
        let commitment = Bytes(rebasing: derived.bytes[KeyArena.keySize...])
        part(header, headSize, streamStart).copyMemory(from: commitment)
        let stream = try SecretStream(
            writing: part(header, streamStart, size),
            key: Bytes(rebasing: derived.bytes[..<KeyArena.keySize]))
        withExtendedLifetime((salt, derived)) {}
        return (header, stream)
    }

    /// The stream behind a header. `auth`: that of another key. Costs the Argon2id time of a passphrase.
    package static func open(
        _ header: SecretBuffer, with key: UnlockKey
    ) throws(Failure) -> SecretStream {
        var reader = ByteReader(header.bytes)
        let wanted = Bytes(start: magic.utf8Start, count: magic.utf8CodeUnitCount)
        guard try reader.take(wanted.count).sameBytes(as: wanted) else { throw .corrupt(.notPawl) }
        try reader.format(format)
        let kind = try reader.integer(UInt8.self)
        _ = try reader.integer(Int64.self)
        let salt = try reader.take(PasswordHash.saltSize)
        let passes = try reader.integer(UInt32.self)
        let memory = try reader.integer(UInt64.self)
        let commitment = try reader.take(commitmentSize)
        guard UnlockKey.Kind(rawValue: kind) != nil else { throw .corrupt(.record) }
        guard kind == key.kind.rawValue else { throw .auth }
        var hash: PasswordHash?
        if key.kind == .passphrase {
            // Checked before hashing: a forged file must not cost more than the ceiling.
            hash = try? PasswordHash(memory: memory, passes: passes)
            guard hash != nil else { throw .corrupt(.record) }
        }
        let derived = try derive(key, hash, salt: salt, head: header)
        guard Seal.sameSecret(Bytes(rebasing: derived.bytes[KeyArena.keySize...]), commitment)
        else { throw .auth }
        let stream = try SecretStream(
            reading: try reader.take(SecretStream.headerSize),
            key: Bytes(rebasing: derived.bytes[..<KeyArena.keySize]))
        try reader.finish()
        return withExtendedLifetime((header, derived)) { stream }
    }

    private static func part(
        _ header: SecretBuffer, _ start: Int, _ end: Int
    ) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(rebasing: header.mutableBytes[start..<end])
    }

    /// Stream key ‖ commitment.
    private static func derive(
        _ key: UnlockKey, _ hash: PasswordHash?, salt: Bytes, head: SecretBuffer
    ) throws(Failure) -> SecretBuffer {
        let stretched = try key.stretch(hash, salt: salt, .backup)
        let out = try SecretBuffer(count: KeyArena.keySize + commitmentSize)
        try KeyedHash.derive(
            into: out.mutableBytes, key: stretched.bytes, label: "pawl/1 archive",
            Bytes(rebasing: head.bytes[..<headSize]))
        return withExtendedLifetime(stretched) { out }
    }
}
