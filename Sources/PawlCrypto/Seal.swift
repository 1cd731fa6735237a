internal import CSodium

/// XChaCha20-Poly1305-IETF (draft-irtf-cfrg-xchacha-03) with a random nonce: nonce (24) ‖ ciphertext ‖
/// tag (16).
package enum Seal {
    package static let overhead = nonceSize + tagSize
    package static let nonceSize = Int(crypto_aead_xchacha20poly1305_ietf_NPUBBYTES)
    private static let tagSize = Int(crypto_aead_xchacha20poly1305_ietf_ABYTES)

    /// Fills `out`, which holds `plaintext.count + overhead` bytes. `nonce` was drawn for this text alone;
    /// nil: is drawn here.
    package static func close(
        _ plaintext: Bytes, key: Bytes, nonce: Bytes? = nil, associated: Bytes,
        into out: UnsafeMutableRawBufferPointer
    ) throws(Failure) {
        guard out.count == plaintext.count + overhead, key.count == KeyArena.keySize else {
            throw .internal
        }
        let start = out.octets
        let place = UnsafeMutableRawBufferPointer(rebasing: out[..<nonceSize])
        if let nonce {
            guard nonce.count == nonceSize else { throw .internal }
            place.copyMemory(from: nonce)
        } else {
            fillRandom(place)
        }
        let status = crypto_aead_xchacha20poly1305_ietf_encrypt(
            start + nonceSize, nil,
            plaintext.octets, UInt64(plaintext.count),
            associated.octets, UInt64(associated.count),
            nil, start, key.octets)
        guard status == 0 else { throw .internal }
    }

    /// The plaintext, or nil when key, associated data or a single byte is not the right one.
    package static func open(
        _ sealed: Bytes, key: Bytes, associated: Bytes
    ) throws(Failure) -> SecretBuffer? {
        guard sealed.count >= overhead, key.count == KeyArena.keySize else { return nil }
        let start = sealed.octets
        let plaintext = try SecretBuffer(count: sealed.count - overhead)
        let status = crypto_aead_xchacha20poly1305_ietf_decrypt(
            plaintext.mutableBytes.octets, nil, nil,
            start + nonceSize, UInt64(sealed.count - nonceSize),
            associated.octets, UInt64(associated.count),
            start, key.octets)
        return status == 0 ? plaintext : nil
    }

    /// Equal secrets, in constant time.
    package static func sameSecret(_ a: Bytes, _ b: Bytes) -> Bool {
        a.count == b.count && a.count > 0
            && sodium_memcmp(a.octets, b.octets, a.count) == 0
    }
}
