import Foundation
import PawlCore
import PawlCrypto
import Testing

/// `Tests/Vectors/session-1.json`, which another program made: with its secrets and randomness the core makes the
/// same bytes.
@Suite struct VectorTests {
    private let vectors: Vectors

    init() throws {
        let url = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "../Vectors/session-1.json")
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        vectors = try decoder.decode(Vectors.self, from: Data(contentsOf: url))
    }

    @Test func packages() throws {
        let (owner, package) = (vectors.responder, vectors.package)
        let bob = try owner.record()
        let made = try withExtendedLifetime(bob) {
            try package.id.borrowed { id in
                try package.initKey.borrowed { key in
                    try KeyPackage.write(
                        id: Identifier(id), identity: bob.triple,
                        suites: SuiteList(from: .x25519), notBefore: package.notBefore,
                        notAfter: package.notAfter, keys: (key, .empty), seed: bob.signingSeed)
                }
            }
        }
        #expect(array(made) == package.bytes.octets)
        #expect(array(try KeyPackage.hash(made.bytes)) == package.hash.octets)
        for oneTime in vectors.oneTimeKeys {
            let made = try withExtendedLifetime(bob) {
                try package.id.borrowed { id in
                    try package.hash.borrowed { hash in
                        try oneTime.key.borrowed { key in
                            try KeyPackage.writeOneTime(
                                package: Identifier(id), hash: hash, number: oneTime.id,
                                keys: (key, .empty), seed: bob.signingSeed)
                        }
                    }
                }
            }
            #expect(array(made) == oneTime.bytes.octets)
        }
    }

    @Test(arguments: [0, 1]) func sessions(number: Int) throws {
        let vector = vectors.sessions[number]
        let (initiator, responder) = try sides(vector)
        #expect(initiator.welcome.map { array($0) } == vector.welcome.octets)
        #expect([initiator, responder].map { $0.id.array } == vector.ids.map(\.octets))
        for session in [initiator, responder] {
            let chains = session.side == .initiator ? vector.chains : vector.chains.reversed()
            #expect([UInt8](session.sending.key) == chains[0].octets)
            #expect([UInt8](session.receiving.chain.key) == chains[1].octets)
            let filters = vector.filters[session.side == .initiator ? 0 : 1]
            #expect([UInt8](session.outgoingFilter) == filters.octets)
            // The root is nowhere to be asked for, but it is stored.
            let stored = array(try session.encoded())
            #expect(stored.indices.contains { stored[$0...].starts(with: vector.root.octets) })
        }
        var count = 0
        for delivery in vector.deliveries where delivery.status == "OK" {
            let frame = vector.frames[delivery.frame]
            let sender = frame.from == "initiator" ? initiator : responder
            try check(frame, around: delivery.text?.octets, from: sender, sender.sending.copy())
            count += 1
        }
        #expect(count >= 3)
    }

    /// With the vectors' draws both sides say the vectors' parts and come to the same keys.
    @Test func rounds() throws {
        let vector = vectors.rekeying
        for rounds in [try #require(vector.rounds), [try #require(vector.suite2)]] {
            var sides = try [Session.Side.initiator, .responder].map { side in
                let parties = Round.Parties(
                    session: try vector.ids[0].borrowed { try Identifier($0) }, side: side,
                    suite: try #require(Suite(rawValue: rounds[0].suite)))
                return try vector.root.borrowed { try Rekey(parties, root: $0) }
            }
            for round in rounds {
                let first = round.from == "initiator" ? 0 : 1
                let (target, offered) = try sides[first].trigger(
                    isFresh: false, isWaited: false, round)
                #expect(target == round.target)
                #expect(sides[first].pending?.offer.array == round.offerId.octets)
                #expect(try said(offered, by: sides[first]) == round.parts[0].octets)
                let answered = try hear(round, part: 0, &sides[1 - first], under: target - 1)
                #expect(try said(answered, by: sides[1 - first]) == round.parts[1].octets)
                #expect(answered.committed == nil)
                let finished = try hear(round, part: 1, &sides[first], under: target - 1)
                #expect(try said(finished, by: sides[first]) == round.parts[2].octets)
                let last = try hear(round, part: 2, &sides[1 - first], under: target)
                #expect(last.says == [])
                for committed in [finished.committed, last.committed] {
                    let made = try #require(committed)
                    #expect([UInt8](made.root) == round.root.octets)
                    let chains = [Session.Side.initiator, .responder].map {
                        Hex(octets: [UInt8](made.chain(of: $0)))
                    }
                    #expect(chains == round.chains)
                    let confirmations = [made.answerConfirmation, made.finishConfirmation]
                    #expect(confirmations.map { Hex(octets: [UInt8]($0)) } == round.confirmations)
                }
                #expect(sides.allSatisfy { $0.epoch == target })
            }
        }
    }

    private func said(_ outcome: Rekey.Outcome, by rekey: Rekey) throws -> [UInt8] {
        try withExtendedLifetime(rekey) {
            array(try Part.encode(rekey.parts(outcome.says, refused: nil, pause: 0)))
        }
    }

    private func hear(
        _ round: Vectors.Round, part: Int, _ rekey: inout Rekey, under epoch: UInt32
    ) throws -> Rekey.Outcome {
        try round.parts[part].borrowed { bytes in
            let read = try Part(bytes[0], Bytes(rebasing: bytes[3...]))
            return try rekey.receive(
                [try #require(read)], under: epoch, mayAnswer: true, round)
        }
    }

    @Test func framesOfAllEpochs() throws {
        let vector = vectors.rekeying
        let (initiator, responder) = try sides(vector)
        let chains = [vector.chains] + (try #require(vector.rounds)).map(\.chains)
        var epochs: Set<UInt32> = []
        for delivery in vector.deliveries where delivery.status == "OK" {
            let frame = vector.frames[delivery.frame]
            let sender = frame.from == "initiator" ? initiator : responder
            let epoch = try #require(frame.epoch)
            let chain = try chains[Int(epoch)][sender === initiator ? 0 : 1].borrowed {
                try Chain(key: $0, index: 0)
            }
            try check(frame, around: delivery.text?.octets, from: sender, chain)
            epochs.insert(epoch)
        }
        #expect(epochs == [0, 1, 2, 3])
    }

    private func sides(_ vector: Vectors.Session) throws -> (Session, Session) {
        let (ada, bob) = (try vectors.initiator.record(), try vectors.responder.record())
        let oneTime = vectors.oneTimeKeys.first { $0.id == vector.oneTimeKey }
        let bundle = Hex(octets: vectors.package.bytes.octets + (oneTime?.bytes.octets ?? []))
        let ephemeral = Hex(
            octets: vector.ephemeralSecret.octets + vector.ephemeralKey.octets)
        return try bundle.borrowed { bundle in
            let package = try KeyPackage(bundle)
            let drawn = SetUp.Drawn(
                ephemeral: try ephemeral.borrowed { try SecretBuffer(copying: $0) },
                encapsulated: nil)
            let initiator = try SetUp.start(
                SetUp.Own(account: .random(), record: ada), package, suite: .x25519,
                suites: SuiteList(from: .x25519), drawn: drawn, created: vector.created)
            let responder = try vector.welcome.borrowed { welcome in
                try vectors.package.initSecret.borrowed { initSecret in
                    try (oneTime?.secret ?? Hex(octets: [])).borrowed { secret in
                        try SetUp.accept(
                            SetUp.Own(account: .random(), record: bob), Welcome(welcome), package,
                            initKeys: .init(agreement: initSecret, encapsulation: .empty),
                            oneTime: oneTime == nil
                                ? nil : .init(agreement: secret, encapsulation: .empty))
                    }
                }
            }
            return (initiator, responder)
        }
    }

    /// The core writes a frame of the vectors.
    private func check(
        _ frame: Vectors.Frame, around message: [UInt8]?, from session: Session, _ chain: Chain
    ) throws {
        let index = try #require(frame.index)
        let lane = try #require(frame.lane?.words.first)
        let random = try #require(frame.random?.words)
        let plaintext = try #require(frame.plaintext?.octets)
        while chain.index < index { try chain.advance() }
        let key = [UInt8](try chain.messageKey())
        #expect(key == frame.messageKey?.octets)
        let type = frame.bytes.octets[1]
        let envelope = PawlCore.Frame.Envelope(
            session: session.half, epoch: try #require(frame.epoch), index: index,
            previousLength: try #require(frame.prevLen), lane: lane,
            filterKey: session.outgoingFilter,
            welcome: type % 2 == 0 ? session.welcome?.bytes : nil)
        // In a list the application data stands behind its type.
        let parts = type > 2 ? plaintext.dropLast(message.map { $0.count + 1 } ?? 0) : []
        var out = [UInt8](
            repeating: 0, count: envelope.size(parts: parts.count, around: message?.count))
        try key.withUnsafeBytes { key in
            try parts.withUnsafeBytes { parts in
                try (message ?? []).withUnsafeBytes { text in
                    try out.withUnsafeMutableBytes { out in
                        try PawlCore.Frame.write(
                            envelope, parts: parts, message: message == nil ? nil : text, key: key,
                            random: (random[0], random[1]), into: out)
                    }
                }
            }
        }
        #expect(out == frame.bytes.octets)
    }
}

private struct Vectors: Decodable {
    struct Account: Decodable {
        let name: String
        let signingSeed, signingKey, agreementSecret, agreementKey: Hex

        func record() throws -> AccountRecord {
            let keys = try SecretBuffer(count: IdentityKeys.size)
            keys.mutableBytes.copyBytes(
                from: signingSeed.octets + agreementSecret.octets + signingKey.octets
                    + agreementKey.octets)
            return try AccountRecord(
                decoding: withText(name) {
                    try AccountRecord.encode(name: $0, keys: IdentityKeys(keys), created: 0)
                })
        }
    }
    struct Package: Decodable {
        let id, initSecret, initKey, hash, bytes: Hex
        let notBefore, notAfter: Int64
    }
    struct OneTimeKey: Decodable {
        let id: UInt32
        let secret, key, bytes: Hex
    }
    struct Frame: Decodable {
        let from: String
        let epoch, index, prevLen: UInt32?
        let lane, random, messageKey, plaintext: Hex?
        let bytes: Hex
    }
    struct Delivery: Decodable {
        let frame: Int
        let status: String
        let text: Hex?
    }
    struct Round: Decodable {
        let from: String
        let suite: UInt8
        let target: UInt32
        let offeredSecret, offeredKey, ciphertext, kemSecret, offerId, root: Hex
        let chains, confirmations, parts: [Hex]
    }
    struct Session: Decodable {
        let oneTimeKey: UInt32
        let created: Int64
        let ephemeralSecret, ephemeralKey, welcome, root: Hex
        let chains, filters, ids: [Hex]
        let frames: [Frame]
        let deliveries: [Delivery]
        let rounds: [Round]?
        let suite2: Round?
    }
    let initiator, responder: Account
    let package: Package
    let oneTimeKeys: [OneTimeKey]
    let sessions: [Session]
    let rekeying: Session
}

/// What a round draws; what it computes is libsodium's, if that has the suite.
extension Vectors.Round: Exchange {
    func draw(_ suite: Suite) throws(Failure) -> SecretBuffer {
        try buffer(offeredSecret.octets + offeredKey.octets)
    }

    func encapsulate(_ suite: Suite, to key: Bytes) throws(Failure) -> SecretBuffer {
        #expect([UInt8](key) == offeredKey.octets)
        return try buffer(ciphertext.octets + kemSecret.octets)
    }

    func decapsulate(
        _ suite: Suite, _ ciphertext: Bytes, pair: Bytes
    ) throws(Failure) -> SecretBuffer {
        guard suite <= .strongest else { return try buffer(kemSecret.octets) }
        return try KeyExchange.decapsulate(suite, ciphertext, pair: pair)
    }

    private func buffer(_ octets: [UInt8]) throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(count: octets.count)
        buffer.mutableBytes.copyBytes(from: octets)
        return buffer
    }
}

/// Bytes, written as hexadecimal digits.
private struct Hex: Decodable, Equatable {
    let octets: [UInt8]

    init(octets: [UInt8]) { self.octets = octets }

    init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        var octets: [UInt8] = []
        var rest = text[...]
        while !rest.isEmpty {
            guard let octet = UInt8(rest.prefix(2), radix: 16) else {
                throw DecodingError.dataCorrupted(
                    .init(codingPath: decoder.codingPath, debugDescription: text))
            }
            octets.append(octet)
            rest = rest.dropFirst(2)
        }
        self.octets = octets
    }

    func borrowed<R>(_ body: (Bytes) throws -> R) rethrows -> R {
        try octets.withUnsafeBytes { try body($0) }
    }

    /// Little-endian words.
    var words: [UInt64] {
        stride(from: 0, to: octets.count, by: 8).map { start in
            octets[start..<start + 8].reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
    }
}
