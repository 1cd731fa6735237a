internal import CSodium

/// The public half of an identity: an Ed25519 key (RFC 8032) for signatures and an X25519 key (RFC 7748)
/// for agreements, 32 bytes each. Borrowed.
package struct IdentityPublic {
    package static let keySize = 32

    package let signing: Bytes
    package let agreement: Bytes

    package init(signing: Bytes, agreement: Bytes) throws(Failure) {
        guard signing.count == Self.keySize, agreement.count == Self.keySize else {
            throw .misuse(.size)
        }
        self.signing = signing
        self.agreement = agreement
    }

    package init(_ reader: inout ByteReader) throws(Failure) {
        signing = try reader.take(Self.keySize)
        agreement = try reader.take(Self.keySize)
    }
}

/// A freshly drawn identity: Ed25519 seed, X25519 secret, and their public keys, 32 bytes each, in this
/// order in one wiped buffer.
package struct IdentityKeys {
    package static let size = 4 * IdentityPublic.keySize
    package let bytes: SecretBuffer

    package init(_ bytes: SecretBuffer) throws(Failure) {
        guard bytes.count == Self.size else { throw .internal }
        self.bytes = bytes
    }

    package static func draw() throws(Failure) -> IdentityKeys {
        let bytes = try SecretBuffer(count: size)
        let expanded = try SecretBuffer(count: Int(crypto_sign_SECRETKEYBYTES))
        let start = bytes.mutableBytes.octets
        fillRandom(UnsafeMutableRawBufferPointer(rebasing: bytes.mutableBytes[..<64]))
        guard
            crypto_sign_seed_keypair(start + 64, expanded.mutableBytes.octets, start) == 0,
            crypto_scalarmult_base(start + 96, start + 32) == 0
        else { throw .internal }
        return try IdentityKeys(bytes)
    }
}
