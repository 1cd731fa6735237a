import PawlCore
import PawlCrypto
import PawlEngine
import PawlStore
import Testing

/// Clocks that are set back and forward: nothing traps, nothing spins, nothing is lost.
@Suite struct ClockTests {
    private let never = CredentialRules.never
    private static let year = 365 * 24 * Backoff.hour
    private static let start: Int64 = 1_000_000_000_000
    private var all: [Job] {
        JobKind.allCases.map { Job($0, $0 == .checkpoint ? .none : subject(1)) }
    }

    @Test func noJobIsPlannedForLaterThanItsKindCanBe() throws {
        for now in [Int64.min, -1, 0, Self.start, never - 1, never] {
            let clock = ManualClock()
            clock.set(now)
            let store = try openStore(on: MemoryStorage(), clock: clock)
            for job in all {
                try store.plan(job, at: never - 1)
                let longest = job.kind.longest
                let latest = longest == never ? never - 1 : Backoff.after(now, longest)
                #expect(try store.time(of: job) == min(latest, never - 1), "\(job.kind) \(now)")
                // What is nearer stays where it is.
                try store.plan(job, at: min(now, never - 1))
                #expect(try store.time(of: job) == min(now, never - 1))
            }
        }
    }

    /// Planned and put off by a clock that is a year ahead, due once it is put right.
    @Test func whatWasPlannedByAClockAheadIsDueAtOnce() throws {
        for job in all where job.kind != .credentialPurge {
            let clock = ManualClock()
            let store = try openStore(on: MemoryStorage(), clock: clock)
            clock.advance(Self.year)
            let wait = min(job.kind.longest, Backoff.hour)
            try store.plan(job, at: Backoff.after(clock.now(), wait), detail: detail(of: job))
            let planned = try store.nextDeadline()
            #expect(planned ?? 0 > clock.now())
            clock.set(Self.start)
            #expect(try store.nextDeadline() ?? never <= clock.now(), "\(job.kind)")
            #expect(try store.runAll() == 1, "\(job.kind)")
            #expect(try store.nextDeadline() == nil)
            #expect(try store.keys(.job, .jobTime).isEmpty)
        }
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        clock.advance(Self.year)
        let failing = try planFailing(store, 1, at: clock.now())
        #expect(try store.runAll() == 1)
        // A purge that is due is due whatever the clock says; its time is the host's own.
        let stays = Job(.credentialPurge, subject(2))
        try store.plan(stays, at: clock.now() + 5, detail: [RowKind.credential.rawValue])
        clock.set(Self.start)
        #expect(try store.runAll() == 1)
        #expect(try store.time(of: failing) ?? never < clock.now() + 4 * Backoff.second)
        #expect(try store.time(of: stays) == Self.start + Self.year + 5)
    }

    /// The account of a package.
    private func detail(of job: Job) -> [UInt8] {
        job.kind == .deletePackage ? [UInt8](repeating: 7, count: Identifier.size) : []
    }

    /// A small step is none: times are kept, and so is a retry that was drawn.
    @Test func aMinuteBackChangesNothing() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        for job in all { try store.plan(job, at: clock.now() + Backoff.minute) }
        clock.advance(-Backoff.minute)
        #expect(try store.runAll() == 0)
        #expect(try store.nextDeadline() == Self.start + Backoff.minute)
        clock.advance(-1)
        #expect(try store.nextDeadline() ?? never <= clock.now())
        // The checkpoint is further away than it can be, and what hangs on an epoch's begin looks again.
        #expect(try store.runAll() == 2)
        #expect(try store.keys(.job).count == all.count - 2)
        #expect(try store.nextDeadline() == Self.start + Backoff.minute)
    }

    /// All pairs of clocks, with every kind, a failing job and an item that is lent.
    @Test func anyClockAfterAnyOther() throws {
        let times = [
            Int64.min, Int64.min + 1, -Self.year, -1, 0, 1, Self.start, Self.start + Self.year,
            never - Self.year, never - 1, never,
        ]
        for first in times {
            for second in times {
                let clock = ManualClock()
                clock.set(first)
                let store = try openStore(on: MemoryStorage(), clock: clock)
                for job in all where job.kind != .credentialPurge {
                    // An epoch as long as the host wants.
                    let wait = min(job.kind.longest, 30 * 24 * Backoff.hour)
                    try store.plan(job, at: Backoff.after(first, wait), detail: detail(of: job))
                }
                _ = try planFailing(store, 2, at: first)
                let planned = all.count
                var ran = 0
                for now in [first, second, first, Self.start] {
                    clock.set(now)
                    let before = ran
                    ran += try store.runAll(atMost: 100)
                    #expect(ran - before <= planned, "\(first) \(second) \(now)")
                    let next = try store.nextDeadline()
                    #expect(next ?? never > now || now == never, "\(first) \(second) \(now)")
                }
                // Each ran, and the one that failed is still tried, or was set aside for having failed.
                clock.advance(Self.year)
                ran += try store.runAll(atMost: 100)
                clock.advance(Self.year)
                #expect(ran >= planned, "\(first) \(second)")
                let left = try store.keys(.job, .deadLetter).count
                #expect(left == 1, "\(first) \(second)")
                #expect(try store.verify().filter { $0.failure != .version }.isEmpty)
            }
        }
    }

    @Test func whatIsLentForTooLongIsFree() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        clock.advance(Self.year)
        // A dead letter says so, in an item.
        try store.plan(Job(.credentialPurge, subject(1)), at: clock.now())
        try store.damage(store.keys(.job)[0])
        try store.plan(Job(.credentialPurge, subject(2)), at: clock.now())
        try store.damage(store.keys(.job)[1])
        #expect(try store.runAll() == 2)
        clock.advance(2 * Backoff.minute)
        #expect(try store.takeItems(limit: 10, lease: Backoff.hour).count == 2)
        clock.set(Self.start)
        #expect(try store.takeItems(limit: 10, lease: 0).isEmpty)
        #expect(try store.nextDeadline() ?? never <= clock.now())
        #expect(try store.runAll() == 0)
        #expect(try store.takeItems(limit: 10, lease: Backoff.hour).map(\.attempts) == [1, 1])
        #expect(try store.nextDeadline() == Self.start + Backoff.hour)
        // Taken alone, without a job, is enough to know of the clock.
        clock.advance(Self.year)
        #expect(try store.takeItems(limit: 10, lease: Backoff.hour).count == 2)
        clock.set(Self.start)
        #expect(try store.nextDeadline() ?? never <= clock.now())
        #expect(try store.runAll() == 0)
        #expect(try store.takeItems(limit: 10, lease: 0).map(\.attempts) == [3, 3])
    }

    /// The mark that tells that a clock was set back is one record, rewritten once a minute at most.
    @Test func theMarkCostsLittle() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        func mark() throws -> [UInt8] {
            var bytes: [UInt8] = []
            try store.transact(.read) { (transaction) throws(Failure) in
                try transaction.getRaw(RowKey(.clock)) { bytes = Array($0) }
            }
            return bytes
        }
        func reads(_ body: () throws -> Void) throws -> UInt64 {
            var before: UInt64 = 0
            var after: UInt64 = 0
            store.withCounters { before = $0.reads }
            try body()
            store.withCounters { after = $0.reads }
            return after - before
        }
        try store.put("a", "1")
        #expect(try mark().isEmpty)
        let job = Job(.sessionEnd, subject(1))
        try store.plan(job, at: clock.now() + Backoff.hour)
        let first = try mark()
        #expect(!first.isEmpty)
        clock.advance(Backoff.minute)
        try store.plan(job, at: clock.now() + Backoff.hour)
        #expect(try mark() == first)
        clock.advance(1)
        try store.plan(job, at: clock.now() + Backoff.hour)
        let second = try mark()
        #expect(second != first)
        #expect(try reads { _ = try store.nextDeadline() } == 1)
        #expect(try reads { _ = try store.runDue(limit: 5) } == 1)
        // A damaged one is none.
        try store.damage(RowKey(.clock))
        clock.advance(-Backoff.hour)
        #expect(try store.nextDeadline() ?? 0 > clock.now())
        #expect(try store.runAll() == 0)
        try store.plan(Job(.sessionEnd, subject(2)), at: clock.now() + Backoff.hour)
        #expect(try store.verify().isEmpty)
    }

    /// Whichever handle looks first sets it right, and the other finds nothing to do.
    @Test func oneOfTwoSetsItRight() throws {
        let clock = ManualClock()
        let data = MemoryStorage()
        let one = try openStore(on: data, clock: clock)
        let two = try openStore(on: data.sibling(), clock: clock)
        clock.advance(Self.year)
        for number in 1...20 { try one.plan(Job(.tombstone, subject(number)), at: never - 1) }
        clock.set(Self.start)
        #expect(try one.runDue(limit: 5) == 5)
        #expect(try two.runAll() == 15)
        #expect(try one.runAll() == 0 && one.nextDeadline() == nil)
    }
}
