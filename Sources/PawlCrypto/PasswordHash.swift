internal import CSodium

/// Argon2id version 1.3 (RFC 9106), one lane.
package struct PasswordHash: Equatable {
    /// Bytes, a multiple of 1 KiB.
    package let memory: UInt64
    package let passes: UInt32

    package static let saltSize = Int(crypto_pwhash_SALTBYTES)
    package static let standard = PasswordHash(unchecked: 256 << 20, 3)

    /// The floor keeps guessing dear, the ceiling keeps a forged file from exhausting the host.
    package init(memory: UInt64, passes: UInt32) throws(Failure) {
        guard (64 << 20...1 << 30).contains(memory), memory % 1024 == 0, (3...10).contains(passes)
        else { throw .misuse(.hashing) }
        self.init(unchecked: memory, passes)
    }

    private init(unchecked memory: UInt64, _ passes: UInt32) {
        self.memory = memory
        self.passes = passes
    }

    /// 32 bytes from a passphrase. Takes the time and memory it says; runs under no lock.
    package func hash(_ passphrase: Bytes, salt: Bytes) throws(Failure) -> SecretBuffer {
        guard salt.count == Self.saltSize else { throw .internal }
        let out = try SecretBuffer(count: KeyArena.keySize)
        let status = crypto_pwhash(
            out.mutableBytes.octets, UInt64(out.count),
            UnsafeRawPointer(passphrase.octets).assumingMemoryBound(to: CChar.self),
            UInt64(passphrase.count),
            salt.octets, UInt64(passes), Int(memory),
            crypto_pwhash_ALG_ARGON2ID13)
        guard status == 0 else { throw .limit(.memory) }
        return out
    }
}
