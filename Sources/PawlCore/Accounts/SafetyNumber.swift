package import PawlCrypto

/// What two people compare to know that nobody stands between them.
///
/// Fingerprint of a side: h₀ = empty, hᵢ₊₁ = BLAKE2b-512(version ‖ hᵢ ‖ Ed25519 ‖ X25519 ‖ name), 5,200 times,
/// each field behind its u32-LE length, under the label "pawl/1 safety number". The rounds make it dear
/// to search for a key whose digits look alike.
package enum SafetyNumber {
    package static let version: UInt8 = 1
    private static let rounds = 5_200
    private static let fingerprintSize = 64
    private static let hashSize = 32
    /// 12 groups of 5 digits, and the spaces between them.
    package static let textSize = 12 * 5 + 11
    /// Version and both hashes.
    package static let codeSize = 1 + 2 * hashSize

    /// 12 groups of 5 digits, the same on both sides: for each side six 5-byte big-endian integers modulo
    /// 100,000, the lower fingerprint first.
    package static func text(_ a: Identity, _ b: Identity) throws(Failure) -> SecretBuffer {
        let (low, high) = try sorted(a, b)
        let text = try SecretBuffer(count: textSize)
        var writer = ByteWriter(text.mutableBytes)
        for (side, fingerprint) in [low, high].enumerated() {
            for group in 0..<6 {
                var number: UInt64 = 0
                for byte in fingerprint.bytes[(group * 5)..<(group * 5 + 5)] {
                    number = number << 8 | UInt64(byte)
                }
                number %= 100_000
                if side + group > 0 { writer.integer(UInt8(ascii: " ")) }
                for divisor in [10_000, 1_000, 100, 10, 1] as [UInt64] {
                    writer.integer(
                        UInt8(ascii: "0") + UInt8(truncatingIfNeeded: number / divisor % 10))
                }
            }
        }
        try writer.finish()
        return text
    }

    /// The same for a QR code: version and the first 32 bytes of both fingerprints, the lower first.
    package static func code(_ a: Identity, _ b: Identity) throws(Failure) -> SecretBuffer {
        let (low, high) = try sorted(a, b)
        let code = try SecretBuffer(count: codeSize)
        var writer = ByteWriter(code.mutableBytes)
        writer.integer(version)
        writer.append(Bytes(rebasing: low.bytes[..<hashSize]))
        writer.append(Bytes(rebasing: high.bytes[..<hashSize]))
        try writer.finish()
        return code
    }

    private static func sorted(
        _ a: Identity, _ b: Identity
    ) throws(Failure) -> (low: SecretBuffer, high: SecretBuffer) {
        let (first, second) = (try fingerprint(a), try fingerprint(b))
        return first.bytes.lexicographicallyPrecedes(second.bytes)
            ? (first, second) : (second, first)
    }

    private static func fingerprint(_ side: Identity) throws(Failure) -> SecretBuffer {
        let out = try SecretBuffer(count: fingerprintSize)
        var previous = Bytes.empty
        for _ in 0..<rounds {
            try withUnsafeBytes(of: version) { (version) throws(Failure) in
                try KeyedHash.derive(
                    into: out.mutableBytes, key: .empty, label: "pawl/1 safety number", version,
                    previous, side.keys.signing, side.keys.agreement, side.name)
            }
            previous = out.bytes
        }
        return out
    }
}
