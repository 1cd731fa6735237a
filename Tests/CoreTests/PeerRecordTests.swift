import PawlCore
import PawlCrypto
import Testing

/// A peer's record: who it is, and which of its sessions are sent in.
@Suite struct PeerRecordTests {
    private let old: AccountRecord
    private let new: AccountRecord

    init() throws {
        old = try record("bob")
        new = try record("bob")
    }

    private func peer(_ trust: PeerRecord.Trust = .unverified) throws -> PeerRecord {
        var peer = try PeerRecord(old.triple, now: 1)
        try peer.judge(old.identity, trust, now: 1)
        return peer
    }

    /// Ids in an order that the tests choose.
    private func id(_ number: UInt8) throws -> Identifier {
        try ([number] + [UInt8](repeating: 0, count: 15)).withUnsafeBytes { try Identifier($0) }
    }

    // MARK: Identity

    @Test func theSameKeysAreKnown() throws {
        var peer = try peer()
        #expect(try peer.see(old.identity, .x25519, now: 5) == .known)
        #expect(peer.changed == 1)
    }

    @Test func anUnverifiedPeersNewKeysAreTaken() throws {
        var peer = try peer()
        try peer.start(id(1), created: 1)
        #expect(try peer.see(new.identity, .x25519, now: 5) == .changed)
        #expect(try [UInt8](peer.identity.signing) == [UInt8](new.identity.signing))
        #expect(peer.changed == 5 && peer.sending == nil)
        #expect(throws: Failure.state(.receiveOnly)) { try peer.checkSending(id(1)) }
        #expect(try peer.see(new.identity, .x25519, now: 6) == .known)
    }

    @Test func aVerifiedPeersNewKeysWait() throws {
        var peer = try peer(.verified)
        try peer.accept(id(1), created: 1, isWaiting: false)
        #expect(try peer.see(new.identity, .x25519, now: 5) == .changed)
        #expect(try [UInt8](peer.identity.signing) == [UInt8](old.identity.signing))
        #expect(try peer.isWaiting(new.identity) && !peer.isWaiting(old.identity))
        try peer.accept(id(3), created: 3, isWaiting: true)
        #expect(try peer.sending == id(1))
        #expect(throws: Failure.state(.identity)) { try peer.checkSending(id(3)) }
        try peer.checkSending(id(1))

        try peer.judge(new.identity, .verified, now: 9)
        #expect(try peer.sending == id(3) && peer.waitingIdentity == nil && peer.changed == 9)
        try peer.checkSending(id(3))
        #expect(throws: Failure.state(.receiveOnly)) { try peer.checkSending(id(1)) }
    }

    @Test func aWeakerSuiteIsRefusedUntilItIsAllowed() throws {
        var peer = try peer()
        _ = try peer.see(old.identity, .xwing, now: 1)
        #expect(throws: Failure.state(.suite)) { try peer.see(old.identity, .x25519, now: 1) }
        #expect(peer.suite == .xwing)
        peer.allow(.x25519)
        #expect(try peer.see(old.identity, .x25519, now: 1) == .known)
    }

    @Test func theSuiteOfKeysThatWaitIsRemembered() throws {
        var peer = try peer(.verified)
        _ = try peer.see(new.identity, .xwing, now: 1)
        #expect(throws: Failure.state(.suite)) { try peer.see(new.identity, .x25519, now: 1) }
        var again = try PeerRecord(decoding: peer.encoded())
        try again.judge(new.identity, .verified, now: 2)
        #expect(again.suite == .xwing)
        #expect(throws: Failure.state(.suite)) { try again.see(new.identity, .x25519, now: 3) }
    }

    @Test func keysThatWaitedForAnUnverifiedPeerAreTaken() throws {
        var peer = try peer(.verified)
        _ = try peer.see(new.identity, .x25519, now: 1)
        try peer.accept(id(1), created: 1, isWaiting: true)
        try peer.judge(old.identity, .unverified, now: 2)
        #expect(try peer.see(new.identity, .x25519, now: 3) == .changed)
        try peer.checkSending(id(1))
    }

    /// Ever new keys under one name leave room for the true ones.
    @Test func strangersDoNotKeepAPeerOut() throws {
        var peer = try peer(.verified)
        for number in 0..<100 {
            let stranger = try record("bob")
            _ = try peer.see(stranger.identity, .x25519, now: 1)
            if let surplus = peer.surplus.first { peer.end(surplus) }
            try peer.accept(
                id(UInt8(number + 100)), created: Int64(number),
                isWaiting: peer.isWaiting(stranger.identity))
        }
        #expect(peer.entries.count == 64)
        if let surplus = peer.surplus.first { peer.end(surplus) }
        try peer.accept(id(1), created: 1, isWaiting: false)
        #expect(try peer.sending == id(1))
    }

    // MARK: Glare

    @Test(arguments: [(UInt8(1), UInt8(2)), (2, 1)])
    func ofTwoCrossedStartsTheLowerSends(mine: UInt8, theirs: UInt8) throws {
        var peer = try peer()
        try peer.start(id(mine), created: 10)
        try peer.accept(id(theirs), created: 20, isWaiting: false)
        #expect(try peer.sending == id(min(mine, theirs)))
        for number in [mine, theirs] { try peer.checkSending(id(number)) }
        // The peer's choice is seen by what it sends.
        peer.heard(try id(mine), withWelcome: false)
        #expect(try peer.sending == id(mine) && peer.entry(id(mine))?.isConfirmed == true)
    }

    /// This side starts after it has accepted: the peer does not see the start before its own message has arrived.
    @Test(arguments: [(UInt8(1), UInt8(2)), (2, 1)])
    func aStartAfterAnAcceptedOneIsDecidedByTheNextWelcome(mine: UInt8, theirs: UInt8) throws {
        var peer = try peer()
        try peer.accept(id(theirs), created: 10, isWaiting: false)
        try peer.start(id(mine), created: 20)
        #expect(try peer.sending == id(mine))
        peer.heard(try id(theirs), withWelcome: true)
        #expect(try peer.sending == id(min(mine, theirs)))
        #expect(try peer.entry(id(theirs))?.isConfirmed == false)
    }

    @Test func aNewerWelcomeTakesTheOthersPlace() throws {
        var peer = try peer()
        try peer.accept(id(5), created: 10, isWaiting: false)
        try peer.accept(id(1), created: 11, isWaiting: false)
        #expect(try peer.sending == id(1))
        #expect(throws: Failure.state(.receiveOnly)) { try peer.checkSending(id(5)) }
    }

    @Test func anOlderWelcomeIsReceiveOnly() throws {
        var peer = try peer()
        try peer.accept(id(5), created: 10, isWaiting: false)
        try peer.accept(id(1), created: 9, isWaiting: false)
        #expect(try peer.sending == id(5))
        #expect(throws: Failure.state(.receiveOnly)) { try peer.checkSending(id(1)) }
        peer.heard(try id(1), withWelcome: false)
        #expect(try peer.sending == id(5))
    }

    @Test func aRepeatedWelcomeConfirmsNothing() throws {
        var peer = try peer()
        try peer.accept(id(1), created: 1, isWaiting: false)
        peer.heard(try id(1), withWelcome: true)
        #expect(try peer.entry(id(1))?.isConfirmed == false)
    }

    /// One that glare left to this side alone would be asked in for ever.
    @Test(arguments: [true, false]) func aResetTakesThePlaceOfAllThatBothHad(isReset: Bool) throws {
        var peer = try peer()
        try peer.start(id(1), created: 1)
        try peer.accept(id(2), created: 2, isWaiting: false)
        for number: UInt8 in 1...2 {
            try peer.heard(id(number), withWelcome: false)
            try peer.checkSending(id(number))
        }
        try peer.start(id(9), created: 9)
        try peer.replace(id(2), by: id(9), isReset: isReset)
        #expect(try peer.sending == id(9))
        try peer.checkSending(id(9))
        #expect(throws: Failure.state(.receiveOnly)) { try peer.checkSending(id(2)) }
        #expect(try peer.entry(id(1))?.isSendable == !isReset)
    }

    @Test func aNinthSessionIsRefused() throws {
        var peer = try peer()
        for number in 1...8 {
            try peer.accept(id(UInt8(number)), created: Int64(number), isWaiting: false)
        }
        let before = array(try peer.encoded())
        #expect(throws: Failure.limit(.sessions)) {
            try peer.accept(id(9), created: 9, isWaiting: false)
        }
        // One refused by the limit has superseded nothing.
        #expect(array(try peer.encoded()) == before)
        peer.end(try id(1))
        try peer.accept(id(9), created: 9, isWaiting: false)
        #expect(try peer.sending == id(9))
    }

    @Test func itIsReadAsItWasWritten() throws {
        var peer = try peer(.verified)
        try peer.start(id(1), created: 10)
        _ = try peer.see(new.identity, .x25519, now: 5)
        try peer.accept(id(2), created: 3, isWaiting: true)
        peer.lastReset = 77
        let stored = array(try peer.encoded())
        let again = try PeerRecord(decoding: peer.encoded())
        #expect(array(try again.encoded()) == stored)
        #expect(again.entries == peer.entries && again.sending == peer.sending)
        for count in 0..<stored.count {
            let part = try SecretBuffer(count: count)
            part.mutableBytes.copyBytes(from: stored[..<count])
            #expect(throws: Failure.corrupt(.record)) { _ = try PeerRecord(decoding: part) }
        }
    }
}
