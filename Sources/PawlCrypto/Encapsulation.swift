internal import CSodium

/// How two parties agree on a secret. Written into files and frames: numbers are never reused.
package enum Suite: UInt8, Comparable {
    case x25519 = 1
    case xwing = 2

    package static func < (a: Suite, b: Suite) -> Bool { a.rawValue < b.rawValue }

    /// The strongest that this library can do.
    package static var strongest: Suite { Encapsulation.isAvailable ? .xwing : .x25519 }
}

/// X-Wing (draft-connolly-cfrg-xwing-kem) through libsodium's `crypto_kem`.
package enum Encapsulation {
    package static let publicSize = 1_216
    package static let secretSize = 32
    package static let ciphertextSize = 1_120
    package static let sharedSize = 32

    package static var isAvailable: Bool { xwing_is_available() != 0 }

    /// Fills secret and public key.
    package static func draw(
        secret: UnsafeMutableRawBufferPointer, public key: UnsafeMutableRawBufferPointer
    ) throws(Failure) {
        guard secret.count == secretSize, key.count == publicSize,
            xwing_keypair(key.octets, secret.octets) == 0
        else { throw .internal }
    }

    /// Ciphertext ‖ shared secret.
    package static func encapsulate(to key: Bytes) throws(Failure) -> SecretBuffer {
        guard key.count == publicSize else { throw .auth }
        let out = try SecretBuffer(count: ciphertextSize + sharedSize)
        let start = out.mutableBytes.octets
        guard xwing_encapsulate(start, start + ciphertextSize, key.octets) == 0 else { throw .auth }
        return out
    }

    package static func decapsulate(
        _ ciphertext: Bytes, secret: Bytes
    ) throws(Failure) -> SecretBuffer {
        guard ciphertext.count == ciphertextSize, secret.count == secretSize else { throw .auth }
        let out = try SecretBuffer(count: sharedSize)
        guard xwing_decapsulate(out.mutableBytes.octets, ciphertext.octets, secret.octets) == 0
        else { throw .auth }
        return out
    }
}
