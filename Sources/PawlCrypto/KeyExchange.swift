/// A key encapsulation mechanism (RFC 9180, section 4) for each suite: X25519 as a DHKEM, whose encapsulation is an
/// ephemeral public key, or X-Wing.
package enum KeyExchange {
    package static let sharedSize = 32
    package static let secretSize = 32

    package static func publicSize(_ suite: Suite) -> Int {
        suite == .xwing ? Encapsulation.publicSize : Agreement.keySize
    }

    package static func ciphertextSize(_ suite: Suite) -> Int {
        suite == .xwing ? Encapsulation.ciphertextSize : Agreement.keySize
    }

    /// Secret ‖ public key.
    package static func draw(_ suite: Suite) throws(Failure) -> SecretBuffer {
        guard suite == .xwing else { return try Agreement.draw() }
        let pair = try SecretBuffer(count: secretSize + publicSize(suite))
        try Encapsulation.draw(
            secret: UnsafeMutableRawBufferPointer(rebasing: pair.mutableBytes[..<secretSize]),
            public: UnsafeMutableRawBufferPointer(rebasing: pair.mutableBytes[secretSize...]))
        return pair
    }

    /// Ciphertext ‖ shared secret. `auth` for a key that is none.
    package static func encapsulate(
        _ suite: Suite, to key: Bytes
    ) throws(Failure) -> SecretBuffer {
        guard key.count == publicSize(suite) else { throw .auth }
        guard suite == .x25519 else { return try Encapsulation.encapsulate(to: key) }
        let ephemeral = try Agreement.draw()
        let own = Bytes(rebasing: ephemeral.bytes[secretSize...])
        let out = try SecretBuffer(count: own.count + sharedSize)
        let (first, last) = out.mutableBytes.split(at: own.count)
        first.copyMemory(from: own)
        try derive(
            secret: Bytes(rebasing: ephemeral.bytes[..<secretSize]), other: key, ephemeral: own,
            offered: key, into: last)
        return out
    }

    /// The shared secret. `pair` is secret ‖ public key.
    package static func decapsulate(
        _ suite: Suite, _ ciphertext: Bytes, pair: Bytes
    ) throws(Failure) -> SecretBuffer {
        guard ciphertext.count == ciphertextSize(suite),
            pair.count == secretSize + publicSize(suite)
        else { throw .auth }
        let secret = Bytes(rebasing: pair[..<secretSize])
        guard suite == .x25519 else {
            return try Encapsulation.decapsulate(ciphertext, secret: secret)
        }
        let out = try SecretBuffer(count: sharedSize)
        try derive(
            secret: secret, other: ciphertext, ephemeral: ciphertext,
            offered: Bytes(rebasing: pair[secretSize...]), into: out.mutableBytes)
        return out
    }

    private static func derive(
        secret: Bytes, other: Bytes, ephemeral: Bytes, offered: Bytes,
        into out: UnsafeMutableRawBufferPointer
    ) throws(Failure) {
        let agreed = try SecretBuffer(count: Agreement.keySize)
        try Agreement.agree(secret: secret, public: other, into: agreed.mutableBytes)
        try KeyedHash.derive(
            into: out, key: agreed.bytes, label: "pawl/1 x25519", ephemeral, offered)
    }
}

extension UnsafeMutableRawBufferPointer {
    /// Two parts; a place outside gives all to the first or the last.
    package func split(at place: Int) -> (Self, Self) {
        let place = Swift.min(Swift.max(place, 0), count)
        return (Self(rebasing: self[..<place]), Self(rebasing: self[place...]))
    }
}
