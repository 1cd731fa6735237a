internal import CSodium

/// X25519 (RFC 7748). Keys have 32 bytes.
package enum Agreement {
    package static let keySize = 32

    /// Secret key ‖ public key.
    package static func draw() throws(Failure) -> SecretBuffer {
        let pair = try SecretBuffer(count: 2 * keySize)
        let start = pair.mutableBytes.octets
        randombytes_buf(start, keySize)
        guard crypto_scalarmult_base(start + keySize, start) == 0 else { throw .internal }
        return pair
    }

    /// The public key of a secret one; writes 32 bytes.
    package static func publish(
        secret: Bytes, into out: UnsafeMutableRawBufferPointer
    ) throws(Failure) {
        guard secret.count == keySize, out.count == keySize,
            crypto_scalarmult_base(out.octets, secret.octets) == 0
        else { throw .internal }
    }

    /// Writes 32 bytes. `auth` for a public key that is not in its one canonical form, or that makes the result
    /// zero: both would let somebody else choose the secret.
    package static func agree(
        secret: Bytes, public other: Bytes, into out: UnsafeMutableRawBufferPointer
    ) throws(Failure) {
        guard secret.count == keySize, out.count == keySize else { throw .internal }
        try check(other)
        guard crypto_scalarmult(out.octets, secret.octets, other.octets) == 0 else { throw .auth }
    }

    /// A public key below 2^255 - 19, as little-endian bytes.
    package static func check(_ key: Bytes) throws(Failure) {
        guard key.count == keySize else { throw .auth }
        guard key[31] == 0x7F else {
            guard key[31] < 0x7F else { throw .auth }
            return
        }
        guard key[1..<31].allSatisfy({ $0 == 0xFF }), key[0] >= 0xED else { return }
        throw .auth
    }
}

/// Ed25519 (RFC 8032) over a label and bytes, so that a signature made for one purpose serves no other.
package enum Signature {
    package static let size = Int(crypto_sign_BYTES)

    package static func sign(
        _ label: StaticString, _ bytes: Bytes..., seed: Bytes,
        into out: UnsafeMutableRawBufferPointer
    ) throws(Failure) {
        guard seed.count == Int(crypto_sign_SEEDBYTES), out.count == size else { throw .internal }
        let message = try message(label, bytes)
        let expanded = try SecretBuffer(count: Int(crypto_sign_SECRETKEYBYTES))
        let key = try SecretBuffer(count: Int(crypto_sign_PUBLICKEYBYTES))
        guard
            crypto_sign_seed_keypair(
                key.mutableBytes.octets, expanded.mutableBytes.octets, seed.octets) == 0,
            crypto_sign_detached(
                out.octets, nil, message.bytes.octets, UInt64(message.count),
                expanded.bytes.octets) == 0
        else { throw .internal }
    }

    package static func verify(
        _ signature: Bytes, _ label: StaticString, _ bytes: Bytes..., key: Bytes
    ) throws(Failure) {
        guard signature.count == size, key.count == Int(crypto_sign_PUBLICKEYBYTES) else {
            throw .auth
        }
        let message = try message(label, bytes)
        guard
            crypto_sign_verify_detached(
                signature.octets, message.bytes.octets, UInt64(message.count), key.octets) == 0
        else { throw .auth }
    }

    private static func message(
        _ label: StaticString, _ parts: [Bytes]
    ) throws(Failure) -> SecretBuffer {
        var size = label.utf8CodeUnitCount
        for part in parts { size += part.count }
        let message = try SecretBuffer(count: size)
        var writer = ByteWriter(message.mutableBytes)
        writer.append(Bytes(start: label.utf8Start, count: label.utf8CodeUnitCount))
        for part in parts { writer.append(part) }
        try writer.finish()
        return message
    }
}
