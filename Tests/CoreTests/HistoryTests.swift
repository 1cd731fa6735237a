import PawlCore
import PawlCrypto
import PawlEngine
import PawlStore
import Testing

/// History: what an account may open again, and what nobody may.
@Suite struct HistoryTests {
    /// A message as the host has stored it.
    struct Stored {
        let isAlices: Bool
        let frame: [UInt8]
    }

    /// Delivers all frames until nobody says anything, and stores them.
    func deliver(_ couple: Couple, _ stored: inout [Stored]) throws {
        while true {
            let (hers, his) = (try couple.alice.take(), try couple.bob.take())
            guard !hers.isEmpty || !his.isEmpty else { return }
            stored += hers.map { Stored(isAlices: true, frame: $0) }
            stored += his.map { Stored(isAlices: false, frame: $0) }
            try couple.bob.receive(hers)
            try couple.alice.receive(his)
        }
    }

    /// Messages both ways in each of `epochs`, begun by either side.
    func talk(_ couple: Couple, epochs: Int, isPerfect: Bool = false) throws -> [Stored] {
        var stored: [Stored] = []
        if isPerfect { for side in [couple.alice, couple.bob] { try side.limit(perfect: true) } }
        for number in 0..<epochs {
            let side = number % 2 == 0 ? couple.alice : couple.bob
            if !isPerfect { try side.rekey() }
            try deliver(couple, &stored)
            for (count, side) in [couple.alice, couple.bob, couple.bob].enumerated() {
                try couple.say("\(side.name) \(number).\(count)", side)
            }
            try deliver(couple, &stored)
        }
        return stored
    }

    /// What history has of what was stored, in its order, at one of the sides.
    func texts(_ stored: [Stored], at side: Side, _ couple: Couple) throws -> [String] {
        let isAlice = side === couple.alice
        var texts: [String] = []
        for one in stored {
            let message = try side.open(one.frame)
            let (epoch, index, _) = place(one.frame)
            #expect(message.row.place.epoch == epoch && message.index == index)
            #expect(message.row.place.session == side.session)
            #expect(message.row.place.direction == (one.isAlices == isAlice ? .sent : .received))
            let name = withExtendedLifetime(message) { text(message.row.record.peer.name) }
            #expect(name == couple.other(side).name)
            if message.message != nil {
                texts.append(withExtendedLifetime(message) { text(message.message) })
            }
        }
        return texts
    }

    // MARK: What opens

    @Test(arguments: [false, true])
    func allThatWasSaidOpensAtBoth(isPerfect: Bool) throws {
        let couple = try Couple(keepsHistory: true)
        let stored = try talk(couple, epochs: 6, isPerfect: isPerfect)
        try couple.check()
        #expect(try couple.alice.epoch >= 6)
        let said = try texts(stored, at: couple.alice, couple)
        #expect(said.count == 18)
        let heard = (couple.alice.heard + couple.bob.heard).filter { !$0.hasPrefix("hello") }
        #expect(said.sorted() == heard.sorted())
        #expect(try texts(stored.reversed(), at: couple.bob, couple) == said.reversed())

        // Nothing of the session knows of it.
        let before = try couple.bob.store.contents()
        _ = try texts(stored, at: couple.bob, couple)
        #expect(try couple.bob.store.contents() == before)

        // Nor does it need the session.
        for side in [couple.alice, couple.bob] { try side.store.closeSession(side.session) }
        couple.clock.advance(30 * 24 * Backoff.hour)
        for side in [couple.alice, couple.bob] {
            _ = try side.store.runAll()
            #expect(try side.rows(.session) + side.rows(.tombstone) == 0)
            try side.reopen()
            #expect(try texts(stored, at: side, couple) == said)
            #expect(try side.store.verify().isEmpty)
            #expect(try side.chapters().allSatisfy { $0.record.isClosed })
        }
    }

    @Test func theFirstMessageOpensWithItsWelcome() throws {
        let (alice, bob) = (try Side("alice", ManualClock()), try Side("bob", ManualClock()))
        for side in [alice, bob] { try side.store.keepHistory(side.account, true) }
        let rows = try bob.store.createPackage(
            bob.account, lifetime: 90 * 24 * Backoff.hour, oneTimeKeys: 0)
        let package = array(rows[0].bytes)
        alice.session = try withText("bob") { name in
            try package.withUnsafeBytes {
                try alice.store.startSession(alice.account, peer: name, $0)
            }
        }
        let frames = try (0..<3).map { try alice.encrypt("hello \($0)") }
        // Not in their order.
        #expect(try bob.receive(frames[2]) == nil)
        for side in [alice, bob] {
            for number in [1, 0, 2, 0] {
                let opened = try side.open(frames[number])
                let said = withExtendedLifetime(opened) { text(opened.message) }
                #expect(said == "hello \(number)")
            }
        }
    }

    @Test func readingOnWalksOn() throws {
        let couple = try Couple(keepsHistory: true)
        let frames = try (0..<200).map { try couple.alice.encrypt("\($0)") }
        try couple.bob.receive(frames)
        // In their order, and in none.
        let order = Array(0..<200) + (0..<200).map { $0 * 73 % 200 }
        for side in [couple.alice, couple.bob] {
            for number in order {
                let opened = try side.open(frames[number])
                let said = withExtendedLifetime(opened) { text(opened.message) }
                try #require(said == "\(number)")
            }
        }
    }

    /// Over a link that loses and delays, with both sides rekeying: what was sent and heard opens.
    @Test(arguments: 1...4 as ClosedRange<UInt64>)
    func whatTheLinkDidMattersNot(seed: UInt64) throws {
        let couple = try Couple(keepsHistory: true)
        var dice = Dice(seed)
        var stored: [[UInt8]] = []
        couple.latency = { Int64(1 + dice.below(400)) * millisecond }
        couple.loses = { frame in
            stored.append(frame)
            return dice.oneIn(4)
        }
        for number in 0..<40 {
            let side = number % 2 == 0 ? couple.alice : couple.bob
            if number % 3 == 0 { try side.rekey() }
            try side.send("\(number)")
            if number % 5 == 0 { try couple.run(for: Backoff.second) }
        }
        couple.loses = { frame in
            stored.append(frame)
            return false
        }
        try couple.run()
        for _ in 0..<3 {
            try couple.alice.rekey()
            try couple.run()
        }
        let (one, other) = (try couple.alice.epoch, try couple.bob.epoch)
        #expect(one == other && one > 3)
        for (place, side) in [couple.alice, couple.bob].enumerated() {
            try side.store.closeSession(side.session)
            var said: Set<String> = []
            for frame in stored {
                guard let message = try? side.open(frame), message.message != nil else { continue }
                said.insert(withExtendedLifetime(message) { text(message.message) })
            }
            let heard = side.heard.filter { !$0.hasPrefix("hello") }
            #expect(heard.count > 3 && said.isSuperset(of: heard))
            #expect(said.isSuperset(of: (0..<40).filter { $0 % 2 == place }.map { "\($0)" }))
        }
    }

    /// Who lies about where an epoch ends does not hide what was heard in it.
    @Test func whatWasHeardStaysInside() throws {
        let couple = try Couple(keepsHistory: true)
        let (alice, bob) = (couple.alice, couple.bob)
        let frame = try alice.encrypt("before")
        #expect(try bob.receive(frame) == nil)
        try alice.rekey()
        try bob.receive(alice.take())
        try alice.receive(bob.take())
        let record = try alice.record
        let envelope = Frame.Envelope(
            session: record.half, epoch: 1, index: record.sending.index, previousLength: 0, lane: 7,
            filterKey: record.outgoingFilter, welcome: nil)
        var lie = [UInt8](repeating: 0, count: envelope.size(around: 3))
        try withText("lie") { message in
            try lie.withUnsafeMutableBytes {
                try Frame.write(
                    envelope, message: message, key: record.sending.messageKey(),
                    random: randomWords(), into: $0)
            }
        }
        #expect(try bob.receive(lie) == nil)
        #expect(try bob.chapters()[0].record.isClosed)
        for (frame, said) in [(frame, "before"), (lie, "lie")] {
            let opened = try bob.open(frame)
            #expect(withExtendedLifetime(opened) { text(opened.message) } == said)
        }
    }

    // MARK: What does not

    @Test func nothingIsKeptUnlessAskedFor() throws {
        let couple = try Couple()
        let stored = try talk(couple, epochs: 3)
        for side in [couple.alice, couple.bob] {
            #expect(try side.rows(.history) == 0)
            #expect(try !side.store.keepsHistory(side.account))
            for one in stored {
                #expect(throws: Failure.notFound) { _ = try side.open(one.frame) }
            }
        }
    }

    @Test func itBeginsWithTheNextEpochAndEndsWithAll() throws {
        let couple = try Couple()
        let (alice, bob) = (couple.alice, couple.bob)
        let early = try talk(couple, epochs: 2)
        for _ in 0..<2 { try bob.store.keepHistory(bob.account, true) }
        #expect(try bob.store.keepsHistory(bob.account))
        var same: [Stored] = []
        try couple.say("in the same epoch", alice)
        try deliver(couple, &same)
        let late = try talk(couple, epochs: 3)
        for one in early + same {
            #expect(throws: Failure.notFound) { _ = try bob.open(one.frame) }
        }
        for one in late {
            // The frames of the round come under the epoch before.
            guard place(one.frame).epoch > 2 else { continue }
            _ = try bob.open(one.frame)
            #expect(throws: Failure.notFound) { _ = try alice.open(one.frame) }
        }
        #expect(try bob.rows(.history) == 6)

        for _ in 0..<2 { try bob.store.keepHistory(bob.account, false) }
        #expect(try bob.rows(.history) == 0)
        #expect(try !bob.store.keepsHistory(bob.account))
        _ = try talk(couple, epochs: 1)
        try bob.store.keepHistory(bob.account, true)
        for one in late { #expect(throws: Failure.notFound) { _ = try bob.open(one.frame) } }
        try couple.check()
    }

    /// A frame with any bit changed is no frame.
    @Test func whatWasChangedDoesNotOpen() throws {
        let couple = try Couple(keepsHistory: true)
        let stored = try talk(couple, epochs: 2)
        for one in stored.prefix(6) {
            for place in one.frame.indices {
                var frame = one.frame
                frame[place] ^= 1 << UInt8(place % 8)
                for side in [couple.alice, couple.bob] {
                    #expect(throws: Failure.self) { _ = try side.open(frame) }
                }
            }
            for count in 0..<one.frame.count {
                #expect(throws: Failure.self) {
                    _ = try couple.bob.open(Array(one.frame[..<count]))
                }
            }
            var long = one.frame
            long.append(0)
            #expect(throws: Failure.auth) { _ = try couple.bob.open(long) }
        }
    }

    /// Who has a chain key can write frames; none from behind the end of its epoch is one of the peer's.
    @Test func anEpochEnds() throws {
        let couple = try Couple(keepsHistory: true)
        let bob = couple.bob
        var stored = try talk(couple, epochs: 3)
        let place = HistoryPlace(session: bob.session, epoch: 1, direction: .received)
        let row = try #require(bob.chapters().first { $0.place == place })
        let end = row.record.end
        #expect(end > 0 && end < 100)
        for index in [end - 1, end, end + 5, .max] {
            let frame = try forge(
                row.record, bob.session, epoch: 1, index: index, at: min(index, 200))
            if index == end - 1 {
                _ = try bob.open(frame)
            } else {
                #expect(throws: Failure.auth) { _ = try bob.open(frame) }
            }
        }
        // Of one that goes on nobody walks for ever.
        let now = HistoryPlace(session: bob.session, epoch: 3, direction: .received)
        let last = try #require(bob.chapters().first { $0.place == now })
        #expect(last.record.end == .max)
        for index in [History.reach + 1, UInt32.max - 1] {
            let frame = try forge(last.record, bob.session, epoch: 3, index: index, at: 0)
            #expect(throws: Failure.limit(.index)) { _ = try bob.open(frame) }
        }
        try deliver(couple, &stored)
        try couple.check()
    }

    /// A frame as somebody makes it who has stolen a row.
    func forge(
        _ record: HistoryRecord, _ session: Identifier, epoch: UInt32, index: UInt32,
        at step: UInt32
    ) throws -> [UInt8] {
        let envelope = Frame.Envelope(
            session: SessionHalf(session), epoch: epoch, index: index, previousLength: 0, lane: 7,
            filterKey: record.filterKey, welcome: nil)
        let chain = try Chain(key: record.chainKey, index: 0)
        for _ in 0..<step { try chain.advance() }
        var frame = [UInt8](repeating: 0, count: envelope.size(around: 6))
        try withText("forged") { message in
            try frame.withUnsafeMutableBytes {
                try Frame.write(
                    envelope, message: message, key: chain.messageKey(), random: randomWords(),
                    into: $0)
            }
        }
        return frame
    }

    // MARK: What is closed

    /// Only what nobody accepts any more may leave the store.
    @Test func aChainIsClosedWhenNobodyListens() throws {
        let couple = try Couple(keepsHistory: true)
        let (alice, bob) = (couple.alice, couple.bob)
        func closed(_ side: Side) throws -> [String] {
            try side.chapters().filter { $0.record.isClosed }.map {
                "\($0.place.direction == .sent ? "s" : "r")\($0.place.epoch)"
            }
        }
        #expect(try closed(alice).isEmpty && closed(bob).isEmpty)
        // Alice offers, Bob answers, Alice says finish: Bob has heard her in epoch 1, she has not heard him there.
        try alice.rekey()
        try couple.flush()
        #expect(try closed(alice) == [] && closed(bob) == ["r0"])
        let sent = try alice.chapters().filter { $0.place.direction == .sent }
        #expect(sent.map { $0.record.end < .max } == [true, false])
        try couple.say("first in 1", bob)
        try couple.flush()
        #expect(try closed(alice) == ["r0"] && closed(bob) == ["r0"])
        // That epoch 2 begins proves to both that the other has heard epoch 1.
        try bob.rekey()
        try couple.flush()
        #expect(try closed(alice) == ["r0", "s0", "r1"])
        #expect(try closed(bob) == ["r0", "s0"])
        try alice.store.closeSession(alice.session)
        #expect(try closed(alice) == ["r0", "s0", "r1", "s1", "r2", "s2"])
        try couple.flush()
        #expect(try closed(bob) == ["r0", "s0", "r1"])
        couple.clock.advance(Session.endDelay)
        _ = try bob.store.runAll()
        #expect(try closed(bob) == ["r0", "s0", "r1", "s1", "r2", "s2"])
        for side in [alice, bob] {
            #expect(try side.chapters().allSatisfy { $0.record.end < .max })
        }
    }

    @Test func itIsListedByThePage() throws {
        let couple = try Couple(keepsHistory: true)
        let bob = couple.bob
        _ = try talk(couple, epochs: 4)
        let all = try bob.chapters()
        #expect(all.map { $0.place.epoch } == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
        #expect(all.allSatisfy { $0.place.session == bob.session && $0.record.first == 0 })
        var paged: [HistoryPlace] = []
        while true {
            let page = try bob.store.history(bob.account, after: paged.last, limit: 3)
            paged += page.map { $0.place }
            guard page.count == 3 else { break }
        }
        #expect(paged == all.map { $0.place })
        #expect(throws: Failure.notFound) {
            _ = try bob.store.history(couple.alice.account, after: nil, limit: 3)
        }
    }

    // MARK: Damage

    @Test func aDamagedRowCostsItselfAlone() throws {
        let couple = try Couple(keepsHistory: true)
        let bob = couple.bob
        let stored = try talk(couple, epochs: 1)
        let rows = try bob.store.keys(.history)
        #expect(rows.count == 4)
        // Received in epoch 1.
        try bob.store.damage(rows[2])
        for one in stored where place(one.frame).epoch == 1 {
            if one.isAlices {
                #expect(throws: Failure.corrupt(.record)) { _ = try bob.open(one.frame) }
            } else {
                _ = try bob.open(one.frame)
            }
        }
        #expect(try bob.chapters().count == 3)
        #expect(try bob.store.verify().count == 1)
        // The session goes on, and ends.
        _ = try talk(couple, epochs: 2)
        try couple.check()
        try bob.store.closeSession(bob.session)
        #expect(try bob.store.verify().count == 1)
    }

    /// What cannot be noted does not happen.
    @Test func noEpochBeginsWhileNobodyKnowsWhetherToKeepIt() throws {
        let couple = try Couple(keepsHistory: true)
        let bob = couple.bob
        try couple.alice.rekey()
        try bob.receive(couple.alice.take())
        try couple.alice.receive(bob.take())
        let finish = try couple.alice.take()
        let row = try #require(bob.store.keys(.accountState).first)
        var whole: SecretBuffer?
        try bob.store.transact(.read) { (transaction) throws(Failure) in
            try transaction.getRaw(row) { (value) throws(Failure) in
                whole = try SecretBuffer(copying: value)
            }
        }
        try bob.store.damage(row)
        #expect(try bob.receive(finish) == [.corrupt(.record)])
        #expect(try bob.epoch == 0)
        let value = try #require(whole)
        try bob.store.transact(.write) { (transaction) in transaction.putRaw(row, value) }
        #expect(try bob.receive(finish) == [nil])
        #expect(try bob.epoch == 1 && bob.chapters().count == 4)
    }

    @Test func itGoesWithItsAccount() throws {
        let couple = try Couple(keepsHistory: true)
        let bob = couple.bob
        let stored = try talk(couple, epochs: 2)
        let other = try withText("other") { try bob.store.createAccount(named: $0) }
        try bob.store.keepHistory(other, true)
        try bob.store.deleteAccount(bob.account)
        #expect(try bob.rows(.history) == 0)
        #expect(try bob.store.keepsHistory(other))
        for one in stored {
            #expect(throws: Failure.notFound) { _ = try bob.open(one.frame) }
            #expect(throws: Failure.notFound) {
                _ = try one.frame.withUnsafeBytes { try bob.store.openHistory(other, $0) }
            }
        }
        #expect(throws: Failure.notFound) { try bob.store.keepHistory(bob.account, true) }
        #expect(throws: Failure.notFound) { _ = try bob.store.keepsHistory(bob.account) }
    }
}

extension Side {
    fileprivate func open(_ frame: [UInt8]) throws -> HistoryMessage {
        try frame.withUnsafeBytes { try store.openHistory(account, $0) }
    }

    fileprivate func chapters() throws -> [HistoryRow] {
        try store.history(account, after: nil, limit: 10_000)
    }
}

extension Store {
    /// Every row, opened.
    fileprivate func contents() throws -> [[UInt8]: [UInt8]] {
        var all: [[UInt8]: [UInt8]] = [:]
        try transact(.read) { (transaction) throws(Failure) in
            try transaction.scanEverything { (key, value) throws(Failure) in
                all[[UInt8](key)] = [UInt8](value)
                return true
            }
        }
        return all
    }
}
