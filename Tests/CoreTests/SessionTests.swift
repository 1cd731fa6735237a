import PawlCore
import PawlCrypto
import Testing

/// The machines of a session, without a store: lanes, places, reservations, peers.
@Suite struct SessionTests {
    // MARK: Lanes

    @Test func aRepeatLiesInItsOwnLane() {
        var lanes = Lanes()
        for index: UInt32 in 0..<16 { lanes.note(1, index) }
        for index: UInt32 in 16..<32 { lanes.note(2, index) }
        // lane, index, verdict
        let table: [(UInt64, UInt32, Failure)] = [
            (1, 0, .replay), (1, 15, .replay), (2, 16, .replay), (2, 31, .replay),
            // Put back: what another lane used.
            (3, 5, .desynchronized), (1, 16, .desynchronized), (2, 15, .desynchronized),
            // Given up: nobody used it.
            (1, 40, .replay), (3, 40, .replay),
        ]
        for (lane, index, verdict) in table { #expect(lanes.verdict(lane, index) == verdict) }
    }

    @Test func theLaneThatEndsLowestIsForgotten() throws {
        var lanes = Lanes()
        for lane in 0..<Lanes.limit { lanes.note(UInt64(lane), UInt32(lane * 10)) }
        #expect(lanes.ranges.count == Lanes.limit && lanes.forgotten == 0)
        #expect(lanes.verdict(99, 0) == .desynchronized)
        lanes.note(100, 1_000)
        #expect(lanes.ranges.count == Lanes.limit && lanes.forgotten == 1)
        // Nobody can tell any more.
        #expect(lanes.verdict(99, 0) == .replay)
        #expect(lanes.verdict(99, 10) == .desynchronized)

        let buffer = try SecretBuffer(count: lanes.size)
        var writer = ByteWriter(buffer.mutableBytes)
        lanes.write(to: &writer)
        try writer.finish()
        var reader = ByteReader(buffer.bytes)
        #expect(try Lanes(&reader) == lanes)
        withExtendedLifetime(buffer) {}
    }

    // MARK: Places

    @Test func theFilterComesFirst() throws {
        let pair = try Pair()
        let frame = try pair.frame(0)
        for place in 0..<Frame.filteredSize + 8 {
            var other = frame
            other[place] ^= 1
            #expect(throws: Failure.auth) { try pair.place(other, at: pair.responder) }
        }
        // Its own direction's filter is another.
        #expect(throws: Failure.auth) { try pair.place(frame, at: pair.initiator) }
    }

    @Test(arguments: [
        (UInt32(0), Session.Place.next(.current)), (1, .ahead(.current, 1)),
        (1 << 20, .ahead(.current, 1 << 20)),
    ])
    func aPlaceAhead(index: UInt32, place: Session.Place) throws {
        let pair = try Pair()
        #expect(try pair.place(pair.frame(index), at: pair.responder) == place)
    }

    @Test(arguments: [
        (UInt32(1 << 20) + 1, Failure.desynchronized), ((1 << 31) - 1, .desynchronized),
        (1 << 31, .limit(.index)), (UInt32.max, .limit(.index)),
    ])
    func tooFarAhead(index: UInt32, failure: Failure) throws {
        let pair = try Pair()
        #expect(throws: failure) { try pair.place(pair.frame(index), at: pair.responder) }
    }

    @Test func anotherEpochIsUnknown() throws {
        let pair = try Pair()
        #expect(throws: Failure.desynchronized) {
            try pair.place(pair.frame(0, epoch: 1), at: pair.responder)
        }
    }

    @Test(arguments: [
        // gap, keys kept, messages lost
        (1, 1, 0), (2_047, 2_047, 0), (2_048, 2_048, 0), (2_049, 2_048, 1), (5_000, 2_048, 2_952),
    ])
    func aGapKeepsItsNewestKeys(gap: Int, kept: Int, lost: Int) throws {
        let pair = try Pair()
        let frame = try pair.message(UInt32(gap))
        try pair.open(frame) { opened in
            #expect(opened.gaps.map(\.count) == [UInt32(kept)])
            #expect(opened.gaps.map(\.lost) == [UInt32(lost)])
            #expect(opened.gaps.map(\.first) == [UInt32(lost)])
        }
    }

    @Test func aRefusalLeavesTheSessionEqual() throws {
        let pair = try Pair()
        let before = array(try pair.responder.encoded())
        var frame = try pair.message(3)
        frame[frame.count - 1] ^= 1
        #expect(throws: Failure.desynchronized) { try pair.open(frame) { _ in } }
        #expect(array(try pair.responder.encoded()) == before)
    }

    // MARK: Reservations

    @Test func whatIsReservedIsInNoRecord() throws {
        let pair = try Pair()
        let session = pair.initiator
        let chain = try session.reserve(16)
        #expect(chain.index == 0 && session.sending.index == 16)
        let stored = array(try session.encoded())
        for _ in 0..<16 {
            #expect(!contains(stored, [UInt8](chain.key)))
            try chain.advance()
        }
        #expect(contains(stored, [UInt8](chain.key)))
    }

    @Test func keysMadeAheadAreTheSameAndGoWhenUsed() throws {
        let slow = try Pair().initiator.sending
        let memory = try SecretBuffer(count: Chain.memorySize + 19 * 64)
        let fast = try Chain(in: memory.mutableBytes, ownedBy: memory)
        try fast.restart(key: slow.key, index: slow.index)
        let end = try fast.after(20)
        let last = [UInt8](end.key)
        withExtendedLifetime(end) {}
        for index in 0..<20 {
            let (chainKey, messageKey) = ([UInt8](slow.key), [UInt8](try slow.messageKey()))
            #expect([UInt8](fast.key) == chainKey && fast.index == UInt32(index))
            #expect(contains(array(memory), chainKey) && contains(array(memory), messageKey))
            #expect([UInt8](try fast.messageKey()) == messageKey)
            try slow.advance()
            try fast.advance()
            #expect(!contains(array(memory), chainKey) && !contains(array(memory), messageKey))
        }
        #expect([UInt8](slow.key) == last)
        // Behind what was made ahead it goes on as any chain.
        #expect([UInt8](try fast.messageKey()) == [UInt8](try slow.messageKey()))
        try fast.advance()
        #expect(!contains(array(memory), last))
    }

    @Test func aReservationMadeAheadIsGivenBackInParts() throws {
        let session = try Pair().initiator
        let walked = try session.sending.copy()
        for _ in 0..<64 { try walked.advance() }
        let chain = try Chain(room: 64)
        try session.reserve(64, in: chain)
        #expect(session.sending.index == 64)
        #expect([UInt8](session.sending.key) == [UInt8](walked.key))
        for _ in 0..<5 { try chain.advance() }
        #expect(session.giveBack(chain, end: 64, epoch: 0))
        #expect(session.sending.index == 5)
        #expect([UInt8](session.sending.key) == [UInt8](chain.key))
    }

    @Test func onlyTheTopmostReservationIsGivenBack() throws {
        let session = try Pair().initiator
        let (first, second) = (try session.reserve(16), try session.reserve(16))
        #expect(!session.giveBack(first, end: 16, epoch: 0))
        try second.advance()
        // Of an epoch that is over nothing is.
        #expect(!session.giveBack(second, end: 32, epoch: 1))
        #expect(session.giveBack(second, end: 32, epoch: 0))
        #expect(session.sending.index == 17)
        #expect([UInt8](session.sending.key) == [UInt8](second.key))
        #expect(!session.giveBack(second, end: 32, epoch: 0))
    }

    @Test func anEpochHasTwoToThe31Messages() throws {
        let pair = try Pair()
        let buffer = try pair.initiator.encoded()
        // The sending index lies behind its chain key, after the fixed part and the name.
        let place = 35 + 64 + 1 + 3 + 32 + 4 + 32
        buffer.mutableBytes.storeBytes(
            of: (Session.messageLimit - 1).littleEndian, toByteOffset: place, as: UInt32.self)
        let session = try Session(decoding: buffer, id: pair.initiator.id)
        #expect(session.sending.index == Session.messageLimit - 1)
        _ = try session.reserve(16)
        #expect(session.sending.index == Session.messageLimit)
        #expect(throws: Failure.limit(.index)) { _ = try session.reserve(16) }
    }

    @Test func aSessionIsReadAsItWasWritten() throws {
        let session = try Pair().initiator
        let stored = array(try session.encoded())
        let buffer = try SecretBuffer(count: stored.count)
        buffer.mutableBytes.copyBytes(from: stored)
        #expect(array(try Session(decoding: buffer, id: session.id).encoded()) == stored)
        for count in 0..<stored.count {
            let part = try SecretBuffer(count: count)
            part.mutableBytes.copyBytes(from: stored[..<count])
            #expect(throws: Failure.corrupt(.record)) {
                _ = try Session(decoding: part, id: session.id)
            }
        }
    }
}

private func contains(_ bytes: [UInt8], _ part: [UInt8]) -> Bool {
    bytes.indices.contains { bytes[$0...].starts(with: part) }
}

/// Both sides of a session, as set-up makes them.
final class Pair {
    let initiator: Session
    let responder: Session

    init() throws {
        let ada = try record("ada")
        let bob = try record("bob")
        let package = try withExtendedLifetime(bob) {
            let keys = PackageRecord.Drawn(agreement: try Agreement.draw(), encapsulation: nil)
            let published = try KeyPackage.write(
                id: .random(), identity: bob.triple, suites: SuiteList(from: .x25519),
                notBefore: 0, notAfter: 1_000, keys: keys.publicKeys, seed: bob.signingSeed)
            return try PackageRecord(decoding: keys.encoded(published: published, created: 0))
        }
        let parsed = try KeyPackage(package.published)
        let drawn = SetUp.Drawn(ephemeral: try Agreement.draw(), encapsulated: nil)
        initiator = try SetUp.start(
            SetUp.Own(account: .random(), record: ada), parsed, suite: .x25519,
            suites: SuiteList(from: .x25519), drawn: drawn, created: 500)
        let welcome = try Welcome(initiator.welcome?.bytes ?? .empty)
        responder = try SetUp.accept(
            SetUp.Own(account: .random(), record: bob), welcome, parsed,
            initKeys: package.opening, oneTime: nil)
        withExtendedLifetime((ada, bob, package)) {}
    }

    /// A frame of the initiator with a right filter, whose text nobody can read.
    func frame(_ index: UInt32, epoch: UInt32 = 0) throws -> [UInt8] {
        try write(index, epoch: epoch, key: [UInt8](repeating: 9, count: 32))
    }

    /// A message of the initiator.
    func message(_ index: UInt32) throws -> [UInt8] {
        let chain = try initiator.sending.copy()
        while chain.index < index { try chain.advance() }
        return try write(index, epoch: 0, key: [UInt8](chain.messageKey()))
    }

    private func write(_ index: UInt32, epoch: UInt32, key: [UInt8]) throws -> [UInt8] {
        let envelope = Frame.Envelope(
            session: initiator.half, epoch: epoch, index: index, previousLength: 0, lane: 7,
            filterKey: initiator.outgoingFilter, welcome: nil)
        var out = [UInt8](repeating: 0, count: envelope.size(around: 5))
        try withText("hello") { text in
            try key.withUnsafeBytes { key in
                try out.withUnsafeMutableBytes { out in
                    try Frame.write(
                        envelope, message: text, key: key, random: randomWords(), into: out)
                }
            }
        }
        return out
    }

    func place(_ frame: [UInt8], at side: Session) throws -> Session.Place {
        try frame.withUnsafeBytes { try side.place(of: Frame($0)) }
    }

    func open(_ frame: [UInt8], _ body: (Session.Opened) -> Void) throws {
        try frame.withUnsafeBytes { bytes in
            let frame = try Frame(bytes)
            body(try responder.open(frame, responder.place(of: frame), late: nil))
        }
    }
}

extension Session {
    fileprivate func reserve(_ count: UInt32) throws -> Chain {
        let chain = try Chain(room: 1)
        try reserve(count, in: chain)
        return chain
    }
}

/// An account as stored.
func record(_ name: String) throws -> AccountRecord {
    try AccountRecord(
        decoding: withText(name) {
            try AccountRecord.encode(name: $0, keys: IdentityKeys.draw(), created: 0)
        })
}
