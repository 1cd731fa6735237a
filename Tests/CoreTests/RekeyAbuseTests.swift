import Foundation
import PawlCore
import PawlCrypto
import PawlEngine
import PawlStore
import Testing

/// What a peer, a host or a damaged row can do to rekeying, and must not.
@Suite struct RekeyAbuseTests {
    @Test func aMessageHasAtMost16Parts() throws {
        let couple = try Couple()
        let (alice, bob) = (couple.alice, couple.bob)
        try alice.rekey()
        try couple.flush()
        try couple.round(1)
        let stale = Part.offer(Part.Offer(target: 1, suite: 1, key: .empty))
        let record = try alice.record
        let most = try frame(record, [Part](repeating: stale, count: 16))
        let more = try frame(record, [Part](repeating: stale, count: 17))
        bob.forgetSteps()
        #expect(try bob.receive(more) == .desynchronized)
        #expect(bob.steps.isEmpty)
        #expect(try bob.receive(most) == nil)
        #expect(bob.steps.count == 16)
    }

    @Test func aPauseOfNothingIsNone() throws {
        let couple = try Couple()
        let (alice, bob) = (couple.alice, couple.bob)
        try alice.rekey()
        _ = try alice.take()
        for _ in 0..<20 {
            let offer = try #require(try alice.record.rekey.pending?.offer)
            let busy = try frame(bob.record, [.busy(offer: offer, milliseconds: 0)])
            // Takes the index that the frame has.
            try bob.send("never delivered")
            _ = try bob.take()
            try alice.receive(busy)
            _ = try alice.store.runDue(limit: 10)
        }
        #expect(try alice.take().isEmpty)
    }

    @Test func aReplayOfAForgottenEpochCostsNoCommit() throws {
        let couple = try Couple()
        let (alice, bob) = (couple.alice, couple.bob)
        let old = try alice.encrypt("old")
        try bob.receive(old)
        for _ in 0..<11 {
            try alice.rekey()
            try couple.flush()
            try couple.say("x", alice)
            try couple.flush()
        }
        func commits() -> UInt64 {
            var count: UInt64 = 0
            bob.store.withCounters { count = $0.commits }
            return count
        }
        #expect(try bob.receive(old) == .replay)
        let before = commits()
        for _ in 0..<100 { try bob.receive(old) }
        #expect(commits() == before)
    }

    /// The session of which it says so never was, for the peer.
    @Test func aCloseThatComesFirst() throws {
        let couple = try Couple()
        let (alice, bob) = (couple.alice, couple.bob)
        let rows = try bob.store.createPackage(
            bob.account, lifetime: 90 * 24 * Backoff.hour, oneTimeKeys: 0)
        let package = array(rows[0].bytes)
        let second = try withText("bob") { name in
            try package.withUnsafeBytes {
                try alice.store.startSession(alice.account, peer: name, $0)
            }
        }
        _ = try alice.store.frame("lost", in: second)
        try alice.store.closeSession(second)
        try bob.receive(alice.take())
        try bob.send("in the session that both have")
        try couple.flush()
        #expect(alice.heard.last == "in the session that both have")
    }

    // MARK: The host

    @Test(arguments: [true, false]) func waitersLearnOfAnyEnd(isAccounts: Bool) throws {
        let couple = try Couple()
        nonisolated(unsafe) let store = couple.alice.store
        let (session, account) = (couple.alice.session, couple.alice.account)
        let done = DispatchSemaphore(value: 0)
        nonisolated(unsafe) var found: Failure?
        Thread.detachNewThread {
            do throws(Failure) {
                _ = try store.waitForEpoch(session, 5, timeout: 60 * Backoff.second)
            } catch { found = error }
            done.signal()
        }
        Thread.sleep(forTimeInterval: 0.2)
        if isAccounts {
            try store.deleteAccount(account)
        } else {
            try store.transact(.write) { (transaction) throws(Failure) in
                try transaction.schedule(Job(.sessionEnd, session), at: 1)
            }
            _ = try store.runDue(limit: 10)
        }
        #expect(done.wait(timeout: .now() + 30) == .success)
        #expect(found == .closed(.session))
    }

    @Test func whatEncryptSendsIsCounted() throws {
        let couple = try Couple()
        let (alice, bob) = (couple.alice, couple.bob)
        try alice.limit(bytes: 10_000)
        let big = String(repeating: "x", count: 1_000)
        for _ in 0..<12 {
            try bob.receive(alice.encrypt(big))
            try alice.send("s")
            try couple.flush()
        }
        #expect(try alice.epoch == 1)
    }

    @Test func theTraceIsCalledUnderNoLock() throws {
        final class Caller: Tracer {
            var act: () -> Void = {}
            func trace(_: TracedStep) { act() }
        }
        let couple = try Couple()
        nonisolated(unsafe) let store = couple.alice.store
        let session = couple.alice.session
        try couple.alice.limit(messages: 1)
        let caller = Caller()
        let done = DispatchSemaphore(value: 0)
        nonisolated(unsafe) var wasFree = true
        caller.act = {
            Thread.detachNewThread {
                _ = try? store.frame("from another thread", in: session)
                done.signal()
            }
            wasFree = done.wait(timeout: .now() + 30) == .success && wasFree
            caller.act = {}
        }
        store.setTracer(caller)
        _ = try store.frame("a", in: session)
        #expect(wasFree)
    }

    @Test func nothingStallsThatHasNotLeft() throws {
        let couple = try Couple()
        let alice = couple.alice
        try alice.rekey()
        for _ in 0..<30 {
            couple.clock.advance(Backoff.hour)
            _ = try alice.store.runDue(limit: 10)
        }
        #expect(try alice.take().count == 1)
        #expect(try alice.record.rekey.attempts == 0)
        // It leaves at last, and is lost: it comes again soon.
        couple.clock.advance(2 * Pace.absence)
        _ = try alice.store.runDue(limit: 10)
        #expect(try alice.take().count == 1)
        #expect(alice.count(Side.Event.stalled) == 0)
    }

    // MARK: Damage

    @Test func ticketsThatAreLostAreNotGivenTwice() throws {
        let couple = try Couple()
        let alice = couple.alice
        try alice.limit(perfect: true)
        for number in 0..<4 { try alice.send("m\(number)") }
        _ = try alice.take()
        try alice.store.transact(.write) { (transaction) throws(Failure) in
            transaction.delete(RowKey(.ticket))
        }
        for number in 4..<20 { try alice.send("m\(number)") }
        #expect(try alice.rows(.queued) == Int(alice.record.pace.queued))
    }

    private func frame(_ session: Session, _ parts: [Part]) throws -> [UInt8] {
        let encoded = try Part.encode(parts)
        let envelope = Frame.Envelope(
            session: session.half, epoch: session.epoch, index: session.sending.index,
            previousLength: session.previousLength, lane: 77, filterKey: session.outgoingFilter,
            welcome: session.welcome?.bytes)
        var frame = [UInt8](repeating: 0, count: envelope.size(parts: encoded.count, around: nil))
        try frame.withUnsafeMutableBytes {
            try Frame.write(
                envelope, parts: encoded.bytes, message: nil, key: session.sending.messageKey(),
                random: randomWords(), into: $0)
        }
        withExtendedLifetime((encoded, session)) {}
        return frame
    }
}
