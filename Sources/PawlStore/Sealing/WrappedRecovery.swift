package import PawlCrypto

/// A backup's recovery key, sealed for another key: an archive whose only entry is the secret (kind 2, 32 bytes).
package enum WrappedRecovery {
    private static let kind: UInt8 = 2
    private static let keySize = 32
    private static let entrySize = 5 + keySize
    package static let size = ArchiveHeader.size + entrySize + SecretStream.overhead

    /// At no time: nobody asked a clock. Costs the Argon2id time of a passphrase.
    package static func wrap(
        _ text: Bytes, for key: UnlockKey
    ) throws(Failure) -> SecretBuffer {
        let secret = try RecoveryKey.decode(text, .backup)
        let entry = try SecretBuffer(count: entrySize)
        var writer = ByteWriter(entry.mutableBytes)
        writer.integer(kind)
        writer.field(secret.bytes, UInt32.self)
        try writer.finish()
        withExtendedLifetime(secret) {}
        let (header, stream) = try ArchiveHeader.make(for: key, now: 0)
        let whole = try SecretBuffer(count: size)
        let (first, rest) = whole.mutableBytes.split(at: ArchiveHeader.size)
        first.copyMemory(from: header.bytes)
        try stream.seal(entry.bytes, isLast: true, associated: header.bytes, into: rest)
        withExtendedLifetime((header, entry)) {}
        return whole
    }

    /// The text again. Costs the Argon2id time of a passphrase.
    package static func unwrap(
        _ wrapped: Bytes, with key: UnlockKey
    ) throws(Failure) -> SecretBuffer {
        var reader = ByteReader(wrapped)
        let header = try SecretBuffer(copying: reader.take(min(wrapped.count, ArchiveHeader.size)))
        let stream = try ArchiveHeader.open(header, with: key)
        let (entry, isLast) = try stream.open(reader.rest(), associated: header.bytes)
        withExtendedLifetime(header) {}
        guard isLast, entry.count == entrySize else { throw .corrupt(.record) }
        var inner = ByteReader(entry.bytes)
        guard try inner.integer(UInt8.self) == kind else { throw .corrupt(.record) }
        let secret = try inner.field(UInt32.self)
        guard secret.count == keySize else { throw .corrupt(.record) }
        let text = try RecoveryKey.text(of: secret, .backup)
        return withExtendedLifetime(entry) { text }
    }
}
