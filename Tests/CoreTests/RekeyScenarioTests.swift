import Foundation
import PawlCore
import PawlCrypto
import PawlEngine
import PawlStore
import Testing

/// What has gone wrong with ratchets before, on two stores, in virtual time.
@Suite struct RekeyScenarioTests {
    // MARK: Rounds

    /// Both ask at the same time, or one a little after the other.
    @Test(arguments: [0, 1, 10, 100, 500])
    func simultaneousRekey(lag: Int64) throws {
        let couple = try Couple()
        var random = SystemRandomNumberGenerator()
        couple.latency = { Int64.random(in: 5...40, using: &random) * millisecond }
        for round in 1...100 {
            var targets: [UInt32] = [0, 0]
            let pair = round % 2 == 0 ? [couple.alice, couple.bob] : [couple.bob, couple.alice]
            let start = couple.clock.now()
            let jitter = lag == 0 ? 0 : Int64.random(in: 0...millisecond, using: &random)
            couple.at(start) { targets[0] = try pair[0].rekey() }
            couple.at(start + lag * millisecond + jitter) { targets[1] = try pair[1].rekey() }
            try couple.run()
            let epoch = try couple.alice.epoch
            #expect(epoch == targets.max() && targets[0] > 0 && targets[1] > 0)
            try couple.round(round)
        }
        let crossed = couple.alice.count(.crossedLeads) + couple.alice.count(.crossedYields)
        let triggers = couple.alice.count(.trigger) + couple.bob.count(.trigger)
        #expect(crossed == couple.bob.count(.crossedLeads) + couple.bob.count(.crossedYields))
        #expect(try couple.alice.epoch == UInt32(triggers - crossed))
        if lag <= 1 {
            #expect(crossed == 100 && couple.alice.count(.crossedLeads) > 10)
            #expect(couple.alice.count(.crossedYields) > 10)
        }
        if lag >= 100 { #expect(crossed == 0) }
        if lag == 500 { #expect(triggers == 200) }
    }

    @Test func oneSideAtATime() throws {
        let couple = try Couple()
        for round in 1...100 {
            let side = round % 2 == 0 ? couple.alice : couple.bob
            #expect(try side.rekey() == UInt32(round))
            try couple.run()
            try couple.round(round)
        }
        #expect(try couple.bob.epoch == 100)
    }

    /// Messages on their way while one side rekeys, and each message with a rekey of both.
    @Test(arguments: [false, true], [false, true])
    func messengers(isContentious: Bool, isPerfect: Bool) throws {
        let couple = try Couple()
        var random = SystemRandomNumberGenerator()
        couple.latency = { Int64.random(in: 5...60, using: &random) * millisecond }
        for side in [couple.alice, couple.bob] { try side.limit(perfect: isPerfect) }
        let start = couple.clock.now()
        for number in 0..<60 {
            let time = start + Int64(number) * 25 * millisecond
            let lag = Int64.random(in: 0...20, using: &random) * millisecond
            couple.at(time) {
                if isContentious || number % 3 == 0 { try couple.alice.rekey() }
                try couple.say("a\(number)", couple.alice)
            }
            couple.at(isContentious ? time : time + lag) {
                if isContentious || number % 5 == 0 { try couple.bob.rekey() }
                try couple.say("b\(number)", couple.bob)
            }
        }
        try couple.run()
        try couple.check()
        for (place, side) in [couple.alice, couple.bob].enumerated() {
            // After the greetings.
            let epochs = side.epochs.dropFirst(place == 0 ? 1 : 2)
            #expect(epochs.count == 60)
            if isPerfect { #expect(Array(epochs) == Set(epochs).sorted(), "one for each") }
        }
        // Somebody asks every 75 or 25 ms, and two frames of at most 60 ms each make an epoch.
        let slowest: UInt32 = 1_500 / (isContentious ? 25 + 120 : 75 + 120)
        #expect(try couple.alice.epoch >= (isPerfect ? 59 : slowest))
        for number in 100..<105 { try couple.round(number) }
    }

    @Test func stabilityOver1000Rounds() throws {
        let couple = try Couple()
        var rows = 0
        for round in 1...1_000 {
            if round % 3 != 0 { try couple.alice.rekey() }
            if round % 3 != 1 { try couple.bob.rekey() }
            try couple.flush()
            try couple.say("a\(round)", couple.alice)
            try couple.say("b\(round)", couple.bob)
            try couple.flush()
            try couple.check()
            #expect(try couple.alice.epoch == UInt32(round))
            let now = try couple.alice.rows() + couple.bob.rows()
            if round == 100 { rows = now }
            if round > 100 { #expect(now == rows, "nothing grows") }
        }
    }

    // MARK: Late parts

    /// The offer was answered and the leader is done; the same offer comes again, in a frame of the epoch that is over.
    @Test func staleOfferAfterTheLeaderFinished() throws {
        let couple = try Couple()
        let (alice, bob) = (couple.alice, couple.bob)
        try alice.rekey()
        let first = try alice.take()
        couple.clock.advance(Backoff.second)
        #expect(try alice.store.runDue(limit: 10) > 0)
        let again = try alice.take()
        #expect(first.count == 1 && again.count == 1 && first != again)
        try bob.receive(first)
        try couple.flush()
        #expect(try alice.epoch == 1 && bob.epoch == 1)
        bob.forgetSteps()
        try bob.receive(again)
        #expect(bob.steps.map(\.event) == [.stale])
        let empty = try bob.take()
        #expect(empty.count == 1 && place(empty[0]).epoch == 1)
        try alice.receive(empty)
        try couple.flush()
        try couple.round(1)
    }

    /// An answer that was said again comes many rounds later.
    @Test func staleAnswerAtRound87AndLater() throws {
        let couple = try Couple()
        let (alice, bob) = (couple.alice, couple.bob)
        var held: [(epoch: UInt32, frame: [UInt8])] = []
        for round in 1...110 {
            try alice.rekey()
            try bob.receive(alice.take())
            let answer = try bob.take()
            couple.clock.advance(Backoff.second)
            #expect(try bob.store.runDue(limit: 10) > 0)
            held.append((UInt32(round), try bob.take()[0]))
            try alice.receive(answer)
            try couple.flush()
            if round >= 87 {
                // Of this round, of the ones before, and of one whose keys are gone.
                for age in [0, 1, 5, 7, 20] {
                    guard let place = held.firstIndex(where: { $0.epoch == UInt32(round - age) })
                    else { continue }
                    let old = held.remove(at: place).frame
                    alice.forgetSteps()
                    let failure = try alice.receive(old)
                    #expect(failure == (age < 20 ? nil : .replay))
                    #expect(
                        alice.steps.map(\.event) == (age < 20 ? [age > 0 ? .stale : .repeated] : [])
                    )
                    #expect(try alice.epoch == UInt32(round) && bob.epoch == UInt32(round))
                    try couple.flush()
                }
                alice.forgetRefusals()
            }
            try couple.say("a\(round)", alice)
            try couple.say("b\(round)", bob)
            try couple.flush()
            try couple.check()
        }
    }

    @Test func triggerAtTheInstantOfCompletion() throws {
        let couple = try Couple()
        let (alice, bob) = (couple.alice, couple.bob)
        // Just before the answer is taken: joins. Just after: the next epoch.
        #expect(try alice.rekey() == 1)
        try bob.receive(alice.take())
        #expect(try alice.rekey() == 1)
        #expect(try bob.rekey() == 1)
        try alice.receive(bob.take())
        #expect(try alice.rekey() == 2)
        #expect(try bob.rekey() == 1)
        // Finish and next offer arrive together; bob asks when they have.
        try bob.receive(alice.take())
        #expect(try bob.epoch == 1)
        #expect(try bob.rekey() == 2)
        try couple.flush()
        try couple.check()
        #expect(try alice.epoch == 2 && bob.epoch == 2)
        // Both at the instant at which both are done.
        for round in 3...20 {
            #expect(try alice.rekey() == UInt32(round))
            #expect(try bob.rekey() == UInt32(round))
            try couple.flush()
            try couple.round(round)
        }
    }

    /// The finish never comes; anything said under the epoch does as well.
    @Test func aLostFinish() throws {
        let couple = try Couple()
        let (alice, bob) = (couple.alice, couple.bob)
        try alice.rekey()
        try bob.receive(alice.take())
        try alice.receive(bob.take())
        _ = try alice.take()
        #expect(try alice.epoch == 1 && bob.epoch == 0)
        // Bob goes on under the old epoch, which Alice reads.
        try couple.say("old", bob)
        try couple.flush()
        couple.clock.advance(Backoff.second)
        _ = try bob.store.runDue(limit: 10)
        try couple.flush()
        #expect(alice.count(.repeated) == 1)
        try couple.round(1)
        try alice.rekey()
        try bob.receive(alice.take())
        try alice.receive(bob.take())
        _ = try alice.take()
        try couple.say("new", alice)
        try couple.flush()
        #expect(try bob.epoch == 2)
        try couple.round(2)
    }

    // MARK: FRESH

    @Test func aFreshRekeyBeginsAfterTheCall() throws {
        let couple = try Couple()
        let (alice, bob) = (couple.alice, couple.bob)
        #expect(try alice.rekey(fresh: true) == 1)
        #expect(try alice.rekey() == 1)
        #expect(try alice.rekey(fresh: true) == 2)
        try bob.receive(alice.take())
        #expect(try bob.rekey(fresh: true) == 2)
        try alice.receive(bob.take())
        #expect(alice.steps.map(\.event) == [.trigger, .committed, .trigger])
        try couple.flush()
        try couple.check()
        #expect(try alice.epoch == 2 && bob.epoch == 2)
        // Each was told of what it waits for, once.
        for side in [alice, bob] {
            #expect(side.events.filter { $0.what == Side.Event.epoch }.map(\.count).last == 2)
        }
        #expect(alice.count(Side.Event.epoch) == 2)
    }

    // MARK: Limits

    @Test func anEpochIsOverByItsMessages() throws {
        let couple = try Couple()
        try couple.alice.limit(messages: 10)
        for number in 0..<40 {
            try couple.say("\(number)", couple.alice)
            try couple.flush()
        }
        try couple.check()
        // A finish is a message, too.
        #expect((3...5).contains(try couple.alice.epoch))
        // Nobody answers: messages go on in the epoch that is over.
        for number in 0..<30 { try couple.say("more \(number)", couple.alice) }
        try couple.flush()
        try couple.check()
    }

    @Test func encryptHeedsTheLimits() throws {
        let couple = try Couple()
        let (alice, bob) = (couple.alice, couple.bob)
        try alice.limit(messages: 10)
        let first = try alice.record.sending.index
        var frames: [[UInt8]] = []
        for number in 0..<Int(12 - first) { frames.append(try alice.encrypt("\(number)")) }
        #expect(frames.map { place($0).index }.prefix(Int(10 - first)).last == 9)
        try bob.receive(frames)
        try couple.flush()
        #expect(try alice.epoch == 1 && bob.epoch == 1)
        #expect(try place(alice.encrypt("after")).epoch == 1)
    }

    @Test func anEpochIsOverByItsBytes() throws {
        let couple = try Couple()
        try couple.alice.limit(bytes: 10_000)
        let long = String(repeating: "x", count: 4_000)
        for number in 0..<3 {
            try couple.say("\(number)\(long)", couple.alice)
            #expect(try couple.alice.isIdle)
        }
        try couple.flush()
        try couple.say("over", couple.alice)
        #expect(try !couple.alice.isIdle)
        try couple.flush()
        try couple.check()
        #expect(try couple.alice.epoch == 1)
        // Those of encrypt, with the next reservation.
        for _ in 0..<16 { try couple.bob.receive(couple.alice.encrypt(long)) }
        #expect(try couple.alice.isIdle)
        _ = try couple.alice.encrypt("next")
        #expect(try !couple.alice.isIdle)
    }

    @Test func anEpochIsOverOnTheDot() throws {
        let couple = try Couple()
        let (alice, clock) = (couple.alice, couple.clock)
        clock.advance(Backoff.minute)
        try alice.rekey()
        let begun = clock.now()
        try couple.flush()
        try alice.limit(interval: 10 * Backoff.minute)
        #expect(try alice.store.nextDeadline() == begun + 10 * Backoff.minute)
        clock.advance(10 * Backoff.minute - 1)
        #expect(try alice.store.runDue(limit: 10) == 0)
        clock.advance(1)
        #expect(try alice.store.runDue(limit: 10) == 1)
        #expect(try !alice.isIdle)
        try couple.flush()
        #expect(try alice.epoch == 2 && couple.bob.epoch == 2)
        #expect(try alice.store.nextDeadline() == clock.now() + 10 * Backoff.minute)
        // The peer's round counts as well.
        clock.advance(5 * Backoff.minute)
        try couple.bob.rekey()
        try couple.flush()
        #expect(try alice.store.nextDeadline() == clock.now() + 10 * Backoff.minute)
        try alice.limit()
        // What is left is to forget the old epochs.
        #expect(try alice.store.nextDeadline() ?? 0 > clock.now() + 6 * 24 * Backoff.hour)
        try couple.round(1)
    }

    /// 4,096 offers in one second are answered, and the next one is put off.
    @Test func tooManyOffersAreBusy() throws {
        let couple = try Couple()
        let (alice, bob) = (couple.alice, couple.bob)
        for _ in 1...Pace.answerLimit {
            try alice.rekey()
            try couple.flush()
        }
        #expect(try alice.epoch == Pace.answerLimit && bob.count(.refused) == 0)
        try alice.rekey()
        let constructor = alice.steps.last { $0.event == .trigger }?.offer
        try couple.flush()
        #expect(bob.count(.refused) == 1 && alice.count(.postponed) == 1)
        #expect(try alice.epoch == Pace.answerLimit)
        // The same offer comes again when there is time; nothing of it was lost.
        let due = try #require(try alice.store.nextDeadline())
        #expect(due - couple.clock.now() >= Backoff.second)
        try couple.run()
        try couple.round(1)
        #expect(try alice.epoch == Pace.answerLimit + 1)
        #expect(alice.steps.last { $0.event == .committed }?.offer == constructor)
    }

    /// An epoch that is over while its session waits for the host ends when that accepts the identity.
    @Test func anEpochThatEndsWhileItsSessionWaits() throws {
        let couple = try Couple()
        let (bob, clock) = (couple.bob, couple.clock)
        let known = try couple.alice.store.account(couple.alice.account)
        try withExtendedLifetime(known) {
            try bob.store.trust(bob.account, known.record.triple, .verified)
        }
        let other = try Side("alice", clock)
        let rows = try bob.store.createPackage(
            bob.account, lifetime: Backoff.hour, oneTimeKeys: 0)
        let package = array(rows[0].bytes)
        other.session = try withText("bob") { name in
            try package.withUnsafeBytes {
                try other.store.startSession(other.account, peer: name, $0)
            }
        }
        #expect(try bob.receive(other.encrypt("new keys")) == nil)
        try bob.limit(interval: Backoff.minute)
        clock.advance(Backoff.minute)
        _ = try bob.store.runDue(limit: 100)
        #expect(try bob.isIdle)
        let new = try other.store.account(other.account)
        try withExtendedLifetime(new) {
            try bob.store.trust(bob.account, new.record.triple, .verified)
        }
        _ = try bob.store.runDue(limit: 100)
        #expect(try bob.record.rekey.pending != nil)
    }

    // MARK: Nobody answers

    @Test func stalledAfterEightRetries() throws {
        let couple = try Couple()
        let (alice, clock) = (couple.alice, couple.clock)
        try alice.rekey()
        _ = try alice.take()
        var wait = 200 * millisecond
        for attempt in 1...16 {
            let due = try #require(try alice.store.nextDeadline())
            // From once to twice what doubles, and never more than ten minutes.
            let half = min(wait, 5 * Backoff.minute)
            #expect((half...2 * half).contains(due - clock.now()), "\(attempt)")
            wait *= 2
            clock.advance(due - clock.now())
            #expect(try alice.store.runDue(limit: 10) == 1)
            let frames = try alice.take()
            #expect(frames.count == 1)
            #expect(alice.count(Side.Event.stalled) == (attempt >= 8 ? 1 : 0))
        }
        #expect(alice.events.last?.count == 8)
        // The last of them is answered, and all is well.
        clock.advance(try #require(try alice.store.nextDeadline()) - clock.now())
        _ = try alice.store.runDue(limit: 10)
        try couple.flush()
        try couple.round(1)
        #expect(
            try alice.epoch == 1
                && alice.store.nextDeadline().map { $0 > clock.now() + Backoff.hour } != false)
    }

    /// What is over is answered with one empty message a second.
    @Test func nudgesAreRationed() throws {
        let couple = try Couple()
        let (alice, bob) = (couple.alice, couple.bob)
        var stale: [[UInt8]] = []
        try alice.rekey()
        stale += try alice.take()
        for _ in 0..<8 {
            couple.clock.advance(try #require(try alice.store.nextDeadline()) - couple.clock.now())
            _ = try alice.store.runDue(limit: 10)
            stale += try alice.take()
        }
        try bob.receive(stale[0])
        try couple.flush()
        var said = 0
        for (number, frame) in stale.dropFirst().enumerated() {
            try bob.receive(frame)
            let frames = try bob.take()
            said += frames.count
            // An empty message is answered by nobody.
            try alice.receive(frames)
            #expect(try alice.take().isEmpty)
            if number == 3 { couple.clock.advance(Backoff.second) }
        }
        #expect(bob.count(.stale) == 8 && said == 2)
    }

    // MARK: Closing

    @Test func aLostCloseIsAnsweredAgain() throws {
        let couple = try Couple()
        let (alice, bob, clock) = (couple.alice, couple.bob, couple.clock)
        let deep = try bob.encrypt("before")
        try alice.store.closeSession(alice.session)
        #expect(try alice.take().count == 1)
        var said = 0
        // Once for all of a call.
        let calls = try (0..<5).map { try bob.encrypt("hello? \($0)") }
        #expect(try alice.receive(calls).allSatisfy { $0 == .notFound })
        said += try alice.take().count
        clock.advance(Backoff.second)
        #expect(try alice.receive(deep) == .notFound)
        // Somebody else's frames are none of its business.
        var other = try bob.encrypt("bent")
        other[50] ^= 1
        #expect(try alice.receive(other) == .notFound)
        let frames = try alice.take()
        said += frames.count
        #expect(said == 2)
        #expect(try bob.receive(frames[0]) == nil)
        #expect(try bob.take().isEmpty && bob.count(Side.Event.closed) == 1)
        #expect(throws: Failure.state(.receiveOnly)) { try bob.send("too late") }
        #expect(throws: Failure.state(.receiveOnly)) { try bob.rekey() }
        // After a week nothing is left.
        #expect(try alice.rows(.tombstone) == 1)
        clock.advance(week - Backoff.second - 1)
        _ = try alice.store.runDue(limit: 100)
        #expect(try alice.rows(.tombstone) == 1)
        clock.advance(1)
        _ = try alice.store.runDue(limit: 100)
        #expect(try alice.rows(.tombstone) == 0)
        #expect(try alice.receive(deep) == .notFound)
        #expect(try alice.take().isEmpty)
    }

    /// In each phase of a round, on either side.
    @Test(arguments: 0..<4, [false, true])
    func aCloseInTheMiddleOfARound(step: Int, isAlices: Bool) throws {
        let couple = try Couple()
        let (alice, bob) = (couple.alice, couple.bob)
        try alice.rekey()
        var frames: [[UInt8]] = []
        if step > 0 { try bob.receive(alice.take()) }
        if step > 1 { frames = try bob.take() }
        if step > 2 { try alice.receive(frames) }
        let (closer, other) = isAlices ? (alice, bob) : (bob, alice)
        try closer.store.closeSession(closer.session)
        try couple.flush()
        #expect(other.count(Side.Event.closed) == 1)
        #expect(other.refusals.isEmpty)
        #expect(throws: Failure.state(.receiveOnly)) { try other.send("x") }
        // Nothing is planned but the end.
        #expect(try closer.rows(.session) == 0)
        couple.clock.advance(Backoff.hour)
        for side in [alice, bob] { #expect(try side.store.runDue(limit: 10) == 0) }
        if case .closed = try other.record.rekey.phase {} else { Issue.record("not closed") }
    }

    // MARK: Perfect mode

    @Test func aFullQueueIsALimit() throws {
        let couple = try Couple()
        let alice = couple.alice
        try alice.limit(perfect: true, queue: 5)
        #expect(throws: Failure.state(.mode)) { _ = try alice.encrypt("x") }
        let texts = (0..<5).map { "queued \($0)" }
        var tickets: [UInt64] = []
        for one in texts { tickets.append(try couple.say(one, alice)) }
        for _ in 0..<3 {
            #expect(throws: Failure.limit(.queue)) { try alice.send("too many") }
        }
        #expect(try alice.record.pace.queued == 5)
        var seen: [UInt64] = []
        var epochs: [UInt32] = []
        for _ in 0..<10 {
            for (ticket, frame) in try alice.items() {
                if ticket > 0 {
                    seen.append(ticket)
                    epochs.append(place(frame).epoch)
                }
                try couple.bob.receive(frame)
            }
            try alice.receive(couple.bob.take())
        }
        try couple.flush()
        try couple.check()
        #expect(seen == tickets && epochs == [1, 2, 3, 4, 5])
        // There is room again, and what comes next waits for nobody but its epoch.
        try couple.say("once more", alice)
        try couple.flush()
        try couple.check()
        #expect(try alice.epoch == 6)
    }

    /// Nothing waits any more: all leave, once and in their order.
    @Test func theQueueLeavesWhenTheModeEnds() throws {
        let couple = try Couple()
        try couple.alice.limit(perfect: true)
        for number in 0..<4 { try couple.say("queued \(number)", couple.alice) }
        try couple.alice.limit()
        #expect(try couple.alice.record.pace.queued == 0)
        #expect(try couple.alice.rows(.queued) == 0)
        try couple.say("after", couple.alice)
        try couple.flush()
        try couple.round(1)
    }

    @Test func unsentOnClose() throws {
        let couple = try Couple()
        let alice = couple.alice
        try alice.limit(perfect: true)
        let tickets = try (0..<3).map { try alice.send("\($0)") }
        try alice.store.closeSession(alice.session)
        let heard = couple.bob.heard
        try couple.flush()
        let unsent = alice.events.filter { $0.what == Side.Event.unsent }.map(\.count)
        #expect(unsent == tickets && couple.bob.heard == heard)
        // The peer's close as well.
        let other = try Couple()
        try other.alice.limit(perfect: true)
        let more = try (0..<3).map { try other.alice.send("\($0)") }
        try other.bob.store.closeSession(other.bob.session)
        try other.alice.receive(other.bob.take())
        _ = try other.alice.take()
        #expect(other.alice.events.filter { $0.what == Side.Event.unsent }.map(\.count) == more)
    }

    // MARK: Epochs that are over

    /// A rekey is what helps against the end of the indices.
    @Test func theIndexLimitIsCuredByARekey() throws {
        let couple = try Couple()
        let (alice, bob) = (couple.alice, couple.bob)
        try alice.set(sending: Session.messageLimit - 2)
        try bob.set(receiving: Session.messageLimit - 2)
        try couple.say("one", alice)
        try couple.say("two", alice)
        #expect(throws: Failure.limit(.index)) { try alice.send("three") }
        #expect(throws: Failure.limit(.index)) { _ = try alice.encrypt("three") }
        try alice.rekey()
        try couple.flush()
        try couple.round(1)
        #expect(try alice.epoch == 1 && alice.record.previousLength > Session.messageLimit)
        _ = try alice.encrypt("three")
    }

    @Test func lateMessagesOfOldEpochs() throws {
        let couple = try Couple()
        let (alice, bob) = (couple.alice, couple.bob)
        var late: [[UInt8]] = []
        for epoch in 0...10 {
            late.append(try alice.encrypt("late \(epoch)"))
            late.append(try alice.encrypt("later \(epoch)"))
            if epoch < 10 {
                try alice.rekey()
                try couple.flush()
            }
        }
        #expect(late.map { place($0).epoch } == (0...10).flatMap { [$0, $0] })
        // Bob has heard Alice in epoch 10, so 0 and 1 are forgotten, 2 to 9 are over.
        let before = bob.heard.count
        for epoch in 0...10 {
            let expected: Failure? = epoch < 2 ? .replay : nil
            #expect(try bob.receive(late[2 * epoch]) == expected, "\(epoch)")
            #expect(try bob.receive(late[2 * epoch]) == .replay)
        }
        #expect(bob.heard.count == before + 9)
        #expect(bob.events.filter { $0.what == Side.Event.lost }.map(\.count) == [2, 2])
        // The others for a week.
        couple.clock.advance(Session.skippedLifetime)
        _ = try bob.store.runDue(limit: 100)
        for epoch in 0..<10 { #expect(try bob.receive(late[2 * epoch + 1]) == .replay) }
        #expect(try bob.receive(late[21]) == nil)
        #expect(try bob.rows(.skipped) == 0 && bob.rows(.epoch) == 0)
    }

    /// A second handle's frame that came late, into an epoch that is over, is a repeat and no sign of a restored peer.
    @Test func aLateFrameOfASecondHandleIsARepeat() throws {
        let couple = try Couple()
        let (alice, bob) = (couple.alice, couple.bob)
        let second = try openStore(on: alice.storage.sibling(), clock: couple.clock)
        let first = try alice.encrypt("one handle")
        let other = try second.frame("the other", in: alice.session)
        // The first handle goes on above what the second one has.
        var above: [[UInt8]] = []
        for number in 0..<30 { above.append(try alice.encrypt("\(number)")) }
        #expect(place(above[29]).index > place(other).index)
        try bob.receive([first] + above)
        try alice.rekey()
        try couple.flush()
        try couple.say("closes the epoch", alice)
        try couple.flush()
        #expect(try bob.receive(other) == nil)
        #expect(try bob.receive(other) == .replay)
        #expect(bob.count(Side.Event.desynchronized) == 0)
        #expect(try bob.record.isReported == false)
    }

    /// What a newer Pawl wrote is not damaged: the job that erases late keys leaves it to that.
    @Test func lateKeysOfANewerPawlStay() throws {
        let couple = try Couple()
        let (alice, bob, clock) = (couple.alice, couple.bob, couple.clock)
        let late = try (0..<3).map { try alice.encrypt("\($0)") }
        try bob.receive(alice.encrypt("in time"))
        for number in 1...2 {
            try alice.rekey()
            try couple.flush()
            try couple.say("\(number)", alice)
            try couple.flush()
        }
        let (keys, epochs) = (try bob.store.keys(.skipped), try bob.store.keys(.epoch))
        #expect(keys.count == 3 && epochs.count == 2)
        try bob.store.transact(.write) { (transaction) throws(Failure) in
            for row in [keys[0], epochs[0]] {
                let newer = try SecretBuffer(zeros: 100)
                newer.mutableBytes[0] = 2
                transaction.put(row, newer)
            }
        }
        try bob.store.damage(keys[1])
        try bob.store.damage(epochs[1])
        let job = Job(.skippedKeys, bob.session)
        try bob.store.plan(job, at: clock.now())
        _ = try bob.store.runAll()
        _ = try bob.take()
        #expect(bob.events.filter { $0.what == Side.Event.lost }.map { $0.count } == [1])
        clock.advance(week)
        _ = try bob.store.runAll()
        _ = try bob.take()
        #expect(bob.events.filter { $0.what == Side.Event.lost }.map { $0.count } == [1, 1])
        #expect(try bob.store.keys(.skipped, .epoch) == [keys[0], epochs[0]])
        #expect(try bob.record.skipped == 1)
        #expect(try bob.store.time(of: job) == clock.now() + week)
        #expect(try bob.receive(late[0]) == .version)
        #expect(try bob.store.jobs(areDead: true, after: nil, limit: 10).isEmpty)
    }

    // MARK: Reservations

    @Test func aReservationIsGivenBackWhenItsEpochEnds() throws {
        let couple = try Couple()
        let (alice, bob) = (couple.alice, couple.bob)
        let early = try alice.encrypt("under reservation")
        let last = place(early).index
        // Bob's round: Alice answers, and his finish ends her epoch.
        try bob.rekey()
        try alice.receive(bob.take())
        let more = try alice.encrypt("after her answer")
        #expect(place(more).index == last + 2)
        try couple.flush()
        let later = try alice.encrypt("in the next")
        #expect(place(later).epoch == 1)
        #expect(place(later).previous == last + 3, "nothing was skipped")
        #expect(try bob.receive([early, more, later]) == [nil, nil, nil])
        #expect(try bob.rows(.skipped) == 0)
    }

    /// The other handle does not see the commit at once: what it says in its epoch is read.
    @Test func twoHandlesOnOneStore() throws {
        let couple = try Couple()
        let (alice, bob) = (couple.alice, couple.bob)
        let second = try openStore(on: alice.storage.sibling(), clock: couple.clock)
        var frames = [try second.frame("0", in: alice.session)]
        try alice.rekey()
        try couple.flush()
        #expect(try alice.epoch == 1)
        for number in 1..<10 { frames.append(try second.frame("\(number)", in: alice.session)) }
        #expect(frames.allSatisfy { place($0).epoch == 0 })
        frames.append(try alice.encrypt("next"))
        #expect(place(frames[10]).epoch == 1 && place(frames[10]).previous >= 16)
        let before = bob.heard.count
        for frame in frames.reversed() { #expect(try bob.receive(frame) == nil) }
        #expect(bob.heard.count == before + 11)
        // A send of the second handle looks, and goes on in the epoch that counts.
        _ = try withText("sent") { try second.send(alice.session, $0) }
        let sent = try alice.take()
        #expect(sent.count == 1 && place(sent[0]).epoch == 1)
        try bob.receive(sent)
    }

    @Test func aBatchThatIsRolledBackInTheMiddle() throws {
        let couple = try Couple()
        let (alice, bob) = (couple.alice, couple.bob)
        try alice.rekey()
        let offer = try alice.take()
        let before = array(try bob.record.encoded())
        bob.forgetSteps()
        let reserved = try bob.encrypt("reserved before")
        let held = array(try bob.record.encoded())
        for commits in [false, true] {
            let batch = try bob.store.beginBatch()
            let answer = try hear(offer, at: batch, bob.account).map(\.failure)
            #expect(answer == [nil])
            #expect(bob.steps.isEmpty)
            try batch.endBatch(commit: commits)
            #expect(bob.steps.map(\.event) == (commits ? [.answered] : []))
            if !commits { #expect(array(try bob.record.encoded()) == held && held != before) }
        }
        let answers = try bob.take()
        alice.forgetSteps()
        for commits in [false, true] {
            _ = try alice.encrypt("under reservation")
            let batch = try alice.store.beginBatch()
            let answer = try hear(answers, at: batch, alice.account).map(\.failure)
            #expect(answer == [nil])
            try batch.endBatch(commit: commits)
            #expect(try alice.epoch == (commits ? 1 : 0))
            #expect(try place(alice.encrypt("after it")).epoch == (commits ? 1 : 0))
        }
        #expect(alice.steps.map(\.event) == [.committed])
        #expect(try alice.receive(reserved) == nil)
        // A trigger that was rolled back was never there.
        let batch = try bob.store.beginBatch()
        _ = try? batch.rekey(bob.session, isFresh: true)
        try batch.endBatch(commit: false)
        try couple.flush()
        try couple.say("a", alice)
        try couple.say("b", bob)
        try couple.flush()
        #expect(try alice.epoch == 1 && bob.epoch == 1)
        let (hers, his) = (try alice.record, try bob.record)
        #expect(try agrees(hers, his) && agrees(his, hers))
    }

    /// What the peer has closed takes nothing, though indices of it are left.
    @Test func aBatchThatHearsAClose() throws {
        let couple = try Couple()
        let (alice, bob) = (couple.alice, couple.bob)
        _ = try alice.encrypt("under reservation")
        try bob.store.closeSession(bob.session)
        let close = try bob.take()
        for commits in [false, true] {
            let batch = try alice.store.beginBatch()
            #expect(try hear(close, at: batch, alice.account).map(\.failure) == [nil])
            try batch.endBatch(commit: commits)
            guard commits else {
                _ = try alice.encrypt("not closed")
                continue
            }
            #expect(throws: Failure.state(.receiveOnly)) { try alice.encrypt("too late") }
        }
    }

    // MARK: Theft

    /// All of one side's keys of an epoch open nothing before their index and nothing after the next rekey, and nobody
    /// can speak with them after it.
    @Test func aStolenEpoch() throws {
        let couple = try Couple()
        let (alice, bob) = (couple.alice, couple.bob)
        try alice.rekey()
        try couple.flush()
        var before: [(isHers: Bool, frame: [UInt8])] = []
        var after = before
        func exchange(_ frames: inout [(isHers: Bool, frame: [UInt8])]) throws {
            for number in 0..<20 {
                let (hers, his) = (try alice.encrypt("a\(number)"), try bob.encrypt("b\(number)"))
                frames += [(true, hers), (false, his)]
                try bob.receive(hers)
                try alice.receive(his)
            }
        }
        // Each index is used up, so that the record is where the frames are.
        for number in 0..<8 {
            for side in [alice, bob] {
                try side.send("\(number)")
                for frame in try side.take() {
                    before.append((side === alice, frame))
                    try couple.other(side).receive(frame)
                }
            }
        }
        let stolen = try Session(decoding: alice.record.encoded(), id: alice.session)
        var same = after
        try exchange(&same)
        let inside = try openings(stolen, same)
        #expect(inside == same.count, "the thief can read on, or the test says nothing")
        try bob.rekey()
        try couple.flush()
        try exchange(&after)
        #expect(try openings(stolen, before) == 0)
        #expect(try openings(stolen, after) == 0)
        #expect(after.allSatisfy { place($0.frame).epoch == 2 })

        // The thief speaks: in the old epoch, above and below its end, and in the next two.
        let told = bob.heard.count
        let end = try alice.record.previousLength
        for (epoch, index) in [
            (1, 0), (1, end - 1), (1, end), (1, end + 5), (2, 0), (2, 100), (3, 0),
        ] {
            let frame = try forge(stolen, UInt32(epoch), UInt32(index))
            let failure = try bob.receive(frame)
            #expect(failure != nil && bob.heard.count == told, "\(epoch) \(index)")
            if epoch == 1, index >= end { #expect(failure == .auth) }
        }
        try alice.send("alice goes on")
        try couple.flush()
        #expect(bob.heard.last == "alice goes on")
    }

    /// How many frames open with what a chain's keys lead to, for a while.
    private func openings(
        _ stolen: Session, _ frames: [(isHers: Bool, frame: [UInt8])]
    ) throws -> Int {
        var keys: [[UInt8]] = []
        for chain in [stolen.sending, stolen.receiving.chain, stolen.previous?.chain] {
            guard let copy = try chain?.copy() else { continue }
            for _ in 0..<64 {
                keys.append(Array(try copy.messageKey()))
                try copy.advance()
            }
        }
        var count = 0
        for (_, bytes) in frames {
            let isOpen = try bytes.withUnsafeBytes { bytes in
                let frame = try Frame(bytes)
                return try keys.contains { key in
                    try key.withUnsafeBytes { try frame.open($0) != nil }
                }
            }
            count += isOpen ? 1 : 0
        }
        return count
    }

    private func forge(_ stolen: Session, _ epoch: UInt32, _ index: UInt32) throws -> [UInt8] {
        let chain = try stolen.sending.copy()
        for _ in 0..<max(0, Int(index) - Int(chain.index)) { try chain.advance() }
        let envelope = Frame.Envelope(
            session: stolen.half, epoch: epoch, index: index,
            previousLength: stolen.sending.index + 100, lane: 1,
            filterKey: stolen.outgoingFilter, welcome: nil)
        var out = [UInt8](repeating: 0, count: envelope.size(around: 5))
        try withText("thief") { text in
            try out.withUnsafeMutableBytes { out in
                try Frame.write(
                    envelope, message: text, key: chain.messageKey(), random: randomWords(),
                    into: out)
            }
        }
        return out
    }

    // MARK: Old copies

    /// Whoever speaks first: the side that was put back, or the other one. It is told of both ways, and not silence.
    @Test(arguments: 1..<12, [false, true])
    func aSideThatWasPutBack(epochs: Int, speaksFirst: Bool) throws {
        let couple = try Couple()
        let (alice, bob) = (couple.alice, couple.bob)
        let old = alice.storage.snapshot()
        for number in 0..<epochs {
            try alice.rekey()
            try couple.flush()
            try couple.say("\(number)", alice)
            try couple.flush()
        }
        try alice.reopen(on: old)
        if speaksFirst {
            // What used an index again did not come; this one is above what the epoch has.
            for number in 0..<6 { try alice.send("old \(number)") }
            try bob.receive(try #require(try alice.take().last))
            #expect(bob.refusals == [epochs > epochLimit ? .replay : .auth])
        }
        if !speaksFirst { try bob.send("new") }
        try couple.flush()
        let told = alice.count(Side.Event.desynchronized) + bob.count(Side.Event.desynchronized)
        #expect(told > 0)
        #expect(bob.heard.allSatisfy { !$0.hasPrefix("old") })
    }

    // MARK: Trace

    @Test func theTraceOfACrossedRound() throws {
        let couple = try Couple()
        let (alice, bob) = (couple.alice, couple.bob)
        try alice.rekey()
        try bob.rekey()
        let offers = [try #require(alice.steps.first?.offer), try #require(bob.steps.first?.offer)]
        let isHers = offers[0] < offers[1]
        let (leader, follower) = isHers ? (alice, bob) : (bob, alice)
        let (leads, yields) = isHers ? (offers[0], offers[1]) : (offers[1], offers[0])
        try couple.flush()
        #expect(leader.steps.allSatisfy { $0.from == 0 && $0.target == 1 })
        #expect(leader.steps.map(\.event) == [.trigger, .crossedLeads, .committed])
        #expect(leader.steps.map(\.constructor) == [.created, .none, .used])
        #expect(leader.steps.map(\.offer) == [leads, yields, leads])
        #expect(leader.steps.map(\.to) == [0, 0, 1])
        #expect(follower.steps.allSatisfy { $0.from == 0 && $0.target == 1 })
        #expect(follower.steps.map(\.event) == [.trigger, .crossedYields, .committed])
        #expect(follower.steps.map(\.constructor) == [.created, .wiped, .none])
        #expect(follower.steps.map(\.offer) == [yields, leads, leads])
        #expect(follower.steps.map(\.to) == [0, 0, 1])
        for side in [alice, bob] { side.forgetSteps() }
        // Refused, and therefore no step.
        #expect(throws: Failure.notFound) { _ = try alice.store.rekey(.random(), isFresh: false) }
        let counting = FaultPlan()
        _ = try openStore(on: FaultyStorage(alice.storage.snapshot(), counting))
        let plan = FaultPlan(failing: counting.count + 4)
        let store = try openStore(on: FaultyStorage(alice.storage.sibling(), plan))
        let trace = Side.Trace()
        store.setTracer(trace)
        for _ in 0..<6 { _ = try? store.rekey(alice.session, isFresh: false) }
        #expect(plan.fired && trace.steps.map(\.event) == [.trigger])
    }
}

private let week = 7 * 24 * Backoff.hour
/// How many epochs' late keys are kept.
private let epochLimit = 8
