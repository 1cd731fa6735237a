package import PawlCrypto

/// What the two sides derive from one offer and one answer: the keys of the next epoch, and the proofs that each has
/// them. Protocol.md, "Rekeying".
///
/// Layout: root 32, chain key of the initiator 32, of the responder 32, confirmation of the answer 32, of the finish 32.
package struct Round {
    package static let size = 5 * 32

    package let keys: SecretBuffer

    package var root: Bytes { part(0) }
    package func chain(of side: Session.Side) -> Bytes { part(side == .initiator ? 1 : 2) }
    package var answerConfirmation: Bytes { part(3) }
    package var finishConfirmation: Bytes { part(4) }

    private func part(_ number: Int) -> Bytes {
        Bytes(rebasing: keys.bytes[number * 32..<number * 32 + 32])
    }

    package init(decoding bytes: Bytes) throws(Failure) {
        guard bytes.count == Self.size else { throw .corrupt(.record) }
        keys = try SecretBuffer(copying: bytes)
    }

    /// What both sides know of a session that is rekeyed.
    package struct Parties: Equatable {
        /// As the wire has it, the same on both sides.
        package let session: Identifier
        package let side: Session.Side
        package let suite: Suite

        package init(session: Identifier, side: Session.Side, suite: Suite) {
            self.session = session
            self.side = side
            self.suite = suite
        }
    }

    /// The name of an offer: a hash of all that it says, so that it names one exchange and nothing else.
    package static func id(
        of offer: Part.Offer, by side: Session.Side, _ parties: Parties
    ) throws(Failure) -> Identifier {
        let out = try SecretBuffer(count: Identifier.size)
        let facts = try facts(parties, by: side, target: offer.target)
        try KeyedHash.derive(
            into: out.mutableBytes, key: .empty, label: "pawl/1 offer", facts.bytes, offer.key)
        return try Identifier(out.bytes)
    }

    /// `root` is the committed epoch's.
    package init(
        _ parties: Parties, offer: Part.Offer, id: Identifier, by side: Session.Side,
        ciphertext: Bytes, shared: Bytes, root: Bytes
    ) throws(Failure) {
        let facts = try Self.facts(parties, by: side, target: offer.target)
        let transcript = try SecretBuffer(count: 32)
        try id.withBytes { (id) throws(Failure) in
            try KeyedHash.derive(
                into: transcript.mutableBytes, key: .empty, label: "pawl/1 rekey", facts.bytes, id,
                offer.key, ciphertext)
        }
        let secret = try SecretBuffer(count: 32)
        try KeyedHash.derive(
            into: secret.mutableBytes, key: root, label: "pawl/1 epoch", shared, transcript.bytes)
        let keys = try SecretBuffer(count: Self.size)
        let (newRoot, rest) = keys.mutableBytes.split(at: 32)
        let (chains, confirmations) = rest.split(at: 64)
        try KeyedHash.derive(into: newRoot, key: secret.bytes, label: "pawl/1 root")
        try KeyedHash.derive(into: chains, key: secret.bytes, label: "pawl/1 chains")
        try KeyedHash.derive(
            into: confirmations, key: secret.bytes, label: "pawl/1 confirmations",
            transcript.bytes)
        self.keys = keys
    }

    /// Session, who offers, target, suite.
    private static func facts(
        _ parties: Parties, by side: Session.Side, target: UInt32
    ) throws(Failure) -> SecretBuffer {
        let facts = try SecretBuffer(count: Identifier.size + 6)
        var writer = ByteWriter(facts.mutableBytes)
        parties.session.withBytes { writer.append($0) }
        writer.integer(side.rawValue)
        writer.integer(target)
        writer.integer(parties.suite.rawValue)
        try writer.finish()
        return facts
    }
}
