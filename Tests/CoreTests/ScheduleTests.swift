import CPawl
import PawlCore
import PawlCrypto
import PawlEngine
import PawlStore
import Synchronization
import Testing

/// What happens later: when it is due, in which order it runs, and what becomes of it when it fails. Time is a clock
/// that stands still.
@Suite struct ScheduleTests {
    private let second = Backoff.second
    private let never = CredentialRules.never

    // MARK: Pure

    @Test func aTimeIsReachedIffNowIsAtOrAboveIt() {
        let times = [Int64.min, Int64.min + 1, -1, 0, 1, 1_000, never - 1]
        for now in times + [never] {
            #expect(plan(nil, now: now) == .rest)
            #expect(plan(never, now: now) == .rest)
            for due in times {
                #expect(plan(due, now: now) == (now >= due ? .runNow : .sleep(until: due)))
            }
        }
    }

    /// A timer of 32 bits holds 24.8 days in milliseconds: longer sleeps are slept in parts, each by the clock.
    @Test func aSleepLongerThanATimerIsSplit() {
        let day = 24 * Backoff.hour
        let longest = Int64(Int32.max) * 1_000_000
        for (days, parts) in [(1, 1), (24, 1), (30, 2), (300, 13)] as [(Int64, Int)] {
            var now: Int64 = 1_000
            let due = now + days * day
            var slept = 0
            while plan(due, now: now) != .runNow, slept < 100 {
                let part = nap(until: due, now: now, longest: longest)
                #expect(part > 0 && part <= longest && part / 1_000_000 <= Int64(Int32.max))
                now += part
                slept += 1
            }
            #expect(slept == parts && now == due, "\(days) days")
        }
        // Set back by 10 days and forward by 20 on the way.
        var now: Int64 = 0
        var steps: [Int64] = [-10 * day, 20 * day]
        while plan(60 * day, now: now) != .runNow {
            now += nap(until: 60 * day, now: now, longest: longest)
            if !steps.isEmpty { now += steps.removeFirst() }
        }
        #expect(now == 60 * day && steps.isEmpty)
        for (due, now) in [(Int64.min, Int64.max), (0, 5), (Int64.max, Int64.min)] {
            let part = nap(until: due, now: now, longest: longest)
            #expect(part == (due < now ? 0 : longest))
        }
    }

    @Test func waitsGrowAndStayBelowTheirLimit() {
        for limit in [Backoff.minute, Backoff.hour] {
            var least: Int64 = 0
            for failures in [UInt32](1...40) + [1_000, UInt32.max] {
                let shortest = Backoff.wait(failures: failures, limit: limit, random: 0)
                let longest = Backoff.wait(failures: failures, limit: limit, random: UInt64.max)
                #expect(shortest >= max(second, least) && longest < 2 * shortest + 1)
                #expect(longest <= limit)
                least = shortest
            }
            #expect(least == limit / 2)
        }
        // The draw counts: what failed together does not come back together.
        let draws = (0..<100).map { Backoff.wait(failures: 5, limit: Backoff.hour, random: $0) }
        #expect(Set(draws).count == 100)
        #expect(Backoff.after(never - 5, 10) == never - 1)
        #expect(Backoff.after(Int64.min, -1) == Int64.min)
    }

    @Test func recordsOfJobsSurvive() throws {
        var record = JobRecord(detail: [1, 2, 3])
        record.failures = 7
        record.cause = Failure.corrupt(.record).primary
        #expect(try JobRecord(decoding: record.encoded()) == record)
        let newer = try record.encoded()
        newer.mutableBytes[0] = 2
        #expect(throws: Failure.version) { try JobRecord(decoding: newer) }
        #expect(throws: Failure.corrupt(.record)) { try JobRecord(decoding: Self.zeros(6)) }
        #expect(throws: Failure.internal) {
            try JobRecord(detail: [UInt8](repeating: 0, count: 256)).encoded()
        }
    }

    @Test func causesAreTheNumbersOfTheHeader() {
        let failures: [(Failure, Int32)] = [
            (.misuse(.null), PAWL_MISUSE), (.buffer, PAWL_BUFFER), (.notFound, PAWL_NOT_FOUND),
            (.exists, PAWL_EXISTS), (.state(.batch), PAWL_STATE), (.time, PAWL_TIME),
            (.auth, PAWL_AUTH), (.replay, PAWL_REPLAY), (.limit(.slots), PAWL_LIMIT),
            (.version, PAWL_VERSION), (.corrupt(.keyLost), PAWL_CORRUPT),
            (.store(.full, code: 5), PAWL_STORE), (.busy(.rate), PAWL_BUSY),
            (.closed(.forked), PAWL_CLOSED), (.desynchronized, PAWL_DESYNCHRONIZED),
            (.internal, PAWL_INTERNAL),
        ]
        for (failure, number) in failures { #expect(Int32(failure.primary) == number) }
    }

    // MARK: Planning

    private let jobs = (1...6).map { Job(.sessionEnd, subject($0)) }

    private static func zeros(_ count: Int) throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(count: count)
        for index in 0..<count { buffer.mutableBytes[index] = 0 }
        return buffer
    }

    private func due(_ store: Store, _ job: Job) throws -> Int64? {
        try store.transact(.read) { (transaction) throws(Failure) in try transaction.due(of: job) }
    }

    private func rows(_ store: Store, _ kinds: RowKind...) throws -> Int {
        var count = 0
        try store.transact(.read) { (transaction) throws(Failure) in
            for kind in kinds {
                try transaction.scanRaw(RowKey(kind)) { (_, _) in
                    count += 1
                    return true
                }
            }
        }
        return count
    }

    @Test func aJobHasOneTime() throws {
        let store = try openStore(on: MemoryStorage())
        let job = jobs[0]
        #expect(try due(store, job) == nil)
        #expect(try store.nextDeadline() == nil)
        for (wanted, now) in [(50, 50), (70, 70), (20, 20)] as [(Int64, Int64)] {
            try store.transact(.write) { (transaction) throws(Failure) in
                try transaction.schedule(job, at: wanted + 2_000_000_000_000)
            }
            #expect(try due(store, job) == now + 2_000_000_000_000)
            #expect(try rows(store, .job) == 1 && rows(store, .jobTime) == 1)
        }
        let pulled: [(Int64, Int64)] = [(30, 20), (10, 10), (10, 10)]
        for (wanted, expected) in pulled {
            try store.transact(.write) { (transaction) throws(Failure) in
                try transaction.pullIn(job, to: wanted + 2_000_000_000_000)
            }
            #expect(try due(store, job) == expected + 2_000_000_000_000)
        }
        try store.transact(.write) { (transaction) throws(Failure) in try transaction.cancel(job) }
        #expect(try rows(store, .job, .jobTime) == 0)
        #expect(try store.nextDeadline() == nil)
    }

    /// All in one call, whose reads do not see its writes.
    @Test func aCallSeesItsOwnPlans() throws {
        let store = try openStore(on: MemoryStorage())
        let (a, b, c) = (jobs[0], jobs[1], jobs[2])
        try store.transact(.write) { (transaction) throws(Failure) in
            try transaction.schedule(a, at: 100)
            try transaction.schedule(b, at: 100)
        }
        let seen = try store.transact(.write) { (transaction) throws(Failure) -> [Int64?] in
            try transaction.cancel(a)
            try transaction.schedule(b, at: 300)
            try transaction.pullIn(b, to: 200)
            try transaction.pullIn(b, to: 250)
            try transaction.schedule(c, at: 50)
            try transaction.cancel(c)
            var all = [try transaction.due(of: a), try transaction.due(of: b)]
            try transaction.pullIn(a, to: 400)
            all += [try transaction.due(of: a), try transaction.due(of: c)]
            return all
        }
        #expect(seen == [nil, 200, 400, nil])
        #expect(try [due(store, a), due(store, b), due(store, c)] == [400, 200, nil])
        #expect(try rows(store, .job) == 2 && rows(store, .jobTime) == 2)
        #expect(try store.verify().isEmpty)
    }

    @Test func theNextDeadlineIsTheEarliestTimeThereIs() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        let start = clock.now()
        let times = [Int64.min, -7, 0, start, start + 5, never - 1]
        try store.transact(.write) { (transaction) throws(Failure) in
            for (job, time) in zip(jobs, times) { try transaction.schedule(job, at: time) }
            try transaction.cancel(jobs[5])
            try transaction.schedule(Job(.credentialPurge, jobs[5].subject), at: never - 1)
        }
        let planned = jobs[..<5] + [Job(.credentialPurge, jobs[5].subject)]
        // What is over is a time in the past that a host can subtract from.
        let seen: [Int64?] = [0, 0, 0, start, start + 5, never - 1]
        for (job, expected) in zip(planned, seen) {
            #expect(try store.nextDeadline() == expected)
            try store.transact(.write) { (transaction) throws(Failure) in
                try transaction.cancel(job)
            }
        }
        #expect(try store.nextDeadline() == nil)
    }

    // MARK: Running

    @Test func whatIsDueRunsInOrderAndNoMoreThanAskedFor() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        let start = clock.now()
        let times = [start + 1, start - 5, start, -3, start + 2, Int64.min]
        try store.transact(.write) { (transaction) throws(Failure) in
            for (job, time) in zip(jobs, times) { try transaction.schedule(job, at: time) }
        }
        var order: [Int] = []
        for _ in 0..<4 {
            #expect(try store.runDue(limit: 1) == 1)
            for index in jobs.indices where !order.contains(index) {
                if try due(store, jobs[index]) == nil { order.append(index) }
            }
        }
        #expect(order == [5, 3, 1, 2])
        #expect(try store.runDue(limit: 1) == 0)
        clock.advance(1)
        #expect(try store.runDue(limit: 100) == 1)
        clock.advance(1)
        #expect(try store.runDue(limit: 100) == 1)
        #expect(try rows(store, .job, .jobTime) == 0)
    }

    @Test func aFailingJobWaitsEverLongerAndHoldsUpNoOther() throws {
        let clock = ManualClock()
        let data = MemoryStorage()
        let store = try openStore(on: data, clock: clock)
        let start = clock.now()
        let failing = try (1...3).map { try planFailing(store, $0, at: start - 10) }
        try store.transact(.write) { (transaction) throws(Failure) in
            for job in jobs { try transaction.schedule(job, at: start) }
        }
        #expect(try store.runDue(limit: 100) == 9)
        for job in jobs { #expect(try due(store, job) == nil) }
        let drawn = try failing.map { try due(store, $0) ?? 0 }
        #expect(drawn.allSatisfy { $0 >= start + second && $0 < start + 2 * second })
        #expect(Set(drawn).count == 3)
        // Stored, not drawn anew.
        #expect(try failing.map { try due(openStore(on: data.sibling()), $0) } == drawn)

        var last: Int64 = 0
        for round in 2..<10 {
            let next = try due(store, failing[0]) ?? 0
            clock.advance(next - clock.now())
            #expect(try store.runDue(limit: 100) >= 1)
            let wait = try (due(store, failing[0]) ?? 0) - next
            #expect(wait >= second && wait <= Backoff.hour)
            #expect(wait > last / 2, "\(round)")
            last = wait
        }
        #expect(last >= 256 * second)
        #expect(try store.runDue(limit: 100) < 3)
        #expect(try rows(store, .job) == 3 && rows(store, .credential) == 3)
    }

    /// Failures of the store are not the job's.
    @Test func aFailingStoreEndsTheRunAndLeavesJobsAsTheyAre() throws {
        let data = MemoryStorage()
        let clock = ManualClock()
        let store = try openStore(on: data, clock: clock)
        try store.transact(.write) { (transaction) throws(Failure) in
            for job in jobs { try transaction.schedule(job, at: 1) }
        }
        let other = try data.sibling()
        try other.begin(.write)
        #expect(throws: Failure.busy(.writer)) { try store.runDue(limit: 10) }
        other.rollback()
        for job in jobs { #expect(try due(store, job) == 1) }
        let plan = FaultPlan(failing: 8)
        let faulty = try openStore(on: FaultyStorage(data.sibling(), plan), clock: clock)
        #expect(throws: FaultPlan.failure) { try faulty.runDue(limit: 10) }
        for job in jobs { #expect(try due(store, job) == 1) }
        #expect(try store.runDue(limit: 10) == 6)
    }

    @Test func batchesDoNotRunJobs() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        let batch = try store.beginBatch()
        try batch.transact(.write) { (transaction) throws(Failure) in
            try transaction.schedule(jobs[0], at: 5)
        }
        #expect(throws: Failure.state(.batch)) { try batch.runDue(limit: 1) }
        #expect(throws: Failure.state(.batch)) { try batch.takeItems(limit: 1, lease: 0) }
        #expect(throws: Failure.state(.batch)) { try batch.descriptor() }
        #expect(try batch.nextDeadline() == 5)
        #expect(try store.nextDeadline() == nil)
        try batch.endBatch(commit: true)
        #expect(try store.nextDeadline() == 5)
    }

    @Test func aJobThatPlansItselfForThePastDoesNotSpin() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        let start = clock.now()
        try store.transact(.write) { (transaction) throws(Failure) in
            for (job, time) in zip(jobs, [start - 5, start, start + 1]) {
                try transaction.schedule(job, at: time, detail: [9])
                try transaction.keepFromSpinning(job)
            }
            try transaction.keepFromSpinning(jobs[3])
        }
        let times = try jobs[..<4].map { try due(store, $0) }
        #expect(times == [start + second, start + second, start + 1, nil])
    }

    // MARK: Strange rows

    /// A newer Pawl's jobs are neither run, nor waited for, nor touched.
    @Test func unknownJobsAreLeftAlone() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        var key: [UInt8] = [RowKind.job.rawValue, 0, 0, 0, 0, 0, 0, 0, 0, 0xEE]
        key += [UInt8](repeating: 7, count: 16)
        let unknown = try #require(key.withUnsafeBytes { RowKey(copying: $0) })
        key[9] = JobKind.sessionEnd.rawValue
        let newer = try #require(key.withUnsafeBytes { RowKey(copying: $0) })
        try store.transact(.write) { (transaction) throws(Failure) in
            try transaction.put(unknown, JobRecord().encoded())
            let record = try JobRecord().encoded()
            record.mutableBytes[0] = 2
            transaction.put(newer, record)
            try transaction.schedule(jobs[0], at: clock.now() + 9)
        }
        #expect(try store.nextDeadline() == clock.now() + 9)
        #expect(try store.runDue(limit: 10) == 0)
        clock.advance(9)
        #expect(try store.runDue(limit: 10) == 1)
        #expect(try rows(store, .job) == 2)
        #expect(try store.verify().allSatisfy { $0.failure == .version })
    }

    /// A row with a longer key than any of ours is not taken for another, and copied as it is.
    @Test func aKeyThatIsTooLongIsANewerPawls() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let data = MemoryStorage()
        let store = try openStore(on: data)
        let key = [RowKind.job.rawValue] + [UInt8](repeating: 0, count: 99)
        let port = try data.sibling()
        try port.begin(.write)
        try withText("\u{1}") { value in try key.withUnsafeBytes { try port.put($0, value) } }
        try port.commit()
        #expect(try store.nextDeadline() == nil && store.runDue(limit: 1) == 0)
        try store.copy(to: folder.path("copy"))
        for store in try [store, openStore(on: SQLiteStorage.open(path: folder.path("copy")))] {
            let found = try store.verify()
            #expect(found.map { array($0.key) } == [key] && found[0].failure == .version)
        }
    }

    /// A row that its job does not know of, or that cannot be read, costs itself.
    @Test func damagedJobsDoNotSpin() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        var damaged: [RowKey] = []
        try store.transact(.write) { (transaction) throws(Failure) in
            for job in jobs { try transaction.schedule(job, at: clock.now()) }
        }
        try store.transact(.write) { (transaction) throws(Failure) in
            try transaction.scanRaw(RowKey(.job)) { (row, _) in
                damaged.append(row)
                return true
            }
            // The first loses its record, the second its time, the third both.
            transaction.putRaw(damaged[0], try Self.zeros(60))
            for job in jobs[1...2] {
                let row = job.subject.withBytes { subject in
                    withUnsafeBytes(of: job.kind.rawValue) { RowKey(.jobTime).appending($0) }
                        .appending(subject)
                }
                transaction.putRaw(row, try Self.zeros(60))
            }
            transaction.putRaw(damaged[2], try Self.zeros(60))
        }
        #expect(try store.verify().count == 4)
        #expect(try store.runDue(limit: 100) == 4)
        #expect(try store.runDue(limit: 100) == 0)
        #expect(try rows(store, .job, .jobTime) == 0)
    }

    // MARK: Credentials

    private func expiring(_ time: Int64) -> CredentialRules.Put {
        var put = CredentialRules.Put()
        put.expiry = .set(time)
        return put
    }

    @Test func credentialsGoOnTheirDeadline() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        let start = clock.now()
        try store.put("stays", "s")
        try store.put("small", "s", expiring(start + 10))
        try store.put("large", CrashSweepTests.large, expiring(start + 20))
        try store.put("deleted", CrashSweepTests.large)
        try store.delete("deleted", recovery: 30)
        #expect(try rows(store, .job) == 3)
        // A large one has two rows.
        let left: [(Int64, Int)] = [(9, 6), (10, 5), (19, 5), (20, 3), (29, 3), (30, 1)]
        for (time, count) in left {
            clock.advance(start + time - clock.now())
            #expect(try store.runDue(limit: 10) == (time % 10 == 0 ? 1 : 0), "\(time)")
            #expect(try rows(store, .credential, .secret, .deleted) == count, "\(time)")
        }
        #expect(try rows(store, .job, .jobTime) == 0)
        #expect(try store.contents().count == 1)
        #expect(try store.verify().isEmpty)
    }

    @Test func aJobFollowsItsCredential() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        let start = clock.now()
        func next() throws -> Int64? { try store.nextDeadline().map { $0 - start } }
        try store.put("a", "1", expiring(start + 10))
        #expect(try next() == 10)
        try store.put("a", "2", expiring(start + 30))
        #expect(try next() == 30)
        // Without a word, the time stays.
        try store.put("a", "3")
        #expect(try next() == 30 && rows(store, .job) == 1)
        var clear = CredentialRules.Put()
        clear.expiry = .clear
        try store.put("a", "4", clear)
        #expect(try next() == nil)
        try store.put("a", "5", expiring(start + 40))
        // The deleted version is over when its credential would have been.
        try store.delete("a", recovery: 50)
        #expect(try next() == 40 && rows(store, .job) == 1)
        try store.restore("a")
        #expect(try next() == 40 && rows(store, .job) == 1)
        try store.delete("a", recovery: 20)
        #expect(try next() == 20)
        try store.restore("a")
        #expect(try next() == 40 && rows(store, .job) == 1)
        try store.delete("a")
        #expect(try rows(store, .job, .jobTime) == 0)
        try store.put("b", "1", expiring(start + 10))
        try store.put("c", "1")
        try store.delete("c", recovery: 10)
        try store.put("d", "1", expiring(start + 10), project: "elsewhere")
        #expect(try rows(store, .job) == 3)
        _ = try store.scoped { try store.deleteAll($0, allProjects: false) }
        #expect(try rows(store, .job) == 1 && rows(store, .jobTime) == 1)
        // Met after its time, before the job ran.
        clock.advance(10)
        #expect(throws: Failure.notFound) { try store.secret("d", project: "elsewhere") }
        #expect(try rows(store, .job, .jobTime, .credential) == 0)
    }

    /// A store from before there were jobs, or one whose clock goes back.
    @Test func withoutTheirJobsCredentialsGoWhenTheyAreMet() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        try store.put("a", "1", expiring(clock.now() + 10))
        try store.transact(.write) { (transaction) throws(Failure) in
            var all: [RowKey] = []
            for kind in [RowKind.job, .jobTime] {
                try transaction.scanRaw(RowKey(kind)) { (row, _) in
                    all.append(row)
                    return true
                }
            }
            for row in all { transaction.delete(row) }
        }
        clock.advance(10)
        #expect(try store.runDue(limit: 10) == 0)
        #expect(throws: Failure.notFound) { try store.secret("a") }
        #expect(try rows(store, .credential) == 0)
    }

    @Test func aClockThatGoesBackPutsAJobOffAndNoMore() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        let start = clock.now()
        try store.put("a", "1", expiring(start + 10))
        clock.advance(-100)
        #expect(try store.runDue(limit: 10) == 0)
        #expect(try store.nextDeadline() == start + 10)
        clock.advance(1_000)
        #expect(try store.runDue(limit: 10) == 1)
        #expect(try rows(store, .credential) == 0)
    }

    @Test func purgedSecretsLeaveTheVault() throws {
        let clock = ManualClock()
        let vault = MemoryVault()
        let store = try openStore(on: MemoryStorage(), clock: clock, vault: vault)
        try store.put("a", "1", expiring(clock.now() + 10))
        try store.put("b", "1")
        try store.delete("b", recovery: 10)
        #expect(vault.ids.count == 2)
        clock.advance(10)
        #expect(try store.runDue(limit: 10) == 2)
        #expect(vault.ids.isEmpty)
        #expect(try rows(store, .orphan, .credential, .deleted, .job) == 0)
        // One that refuses leaves an orphan, which has a job of its own.
        try store.put("c", "1", expiring(clock.now() + 10))
        clock.advance(10)
        vault.fail(1)
        #expect(try store.runDue(limit: 10) == 1)
        #expect(try rows(store, .orphan, .job) == 2 && rows(store, .credential) == 0)
        #expect(try store.nextDeadline() == clock.now() + Backoff.minute)
        clock.advance(Backoff.minute)
        #expect(try store.runDue(limit: 10) == 1)
        #expect(vault.ids.isEmpty)
        #expect(try rows(store, .orphan, .job, .jobTime) == 0)
    }

    // MARK: Checkpoints

    /// Memory with a log beside it, so to speak.
    private final class LoggedStorage: StoragePort, @unchecked Sendable {
        private let inner: any StoragePort
        let calls = Mutex(0)
        let answers = Mutex<[Bool]>([])
        var onCheckpoint: () -> Void = {}

        init(_ inner: any StoragePort) { self.inner = inner }

        var canCheckpoint: Bool { true }
        func checkpoint() throws(Failure) -> Bool {
            calls.withLock { $0 += 1 }
            onCheckpoint()
            return answers.withLock { $0.isEmpty ? true : $0.removeFirst() }
        }
        func begin(_ mode: TransactionMode) throws(Failure) { try inner.begin(mode) }
        func get(_ key: Bytes, _ body: (Bytes) throws(Failure) -> Void) throws(Failure) -> Bool {
            try inner.get(key, body)
        }
        func put(_ key: Bytes, _ value: Bytes) throws(Failure) { try inner.put(key, value) }
        func delete(_ key: Bytes) throws(Failure) { try inner.delete(key) }
        func scan(
            from: Bytes, to: Bytes, limit: Int, _ body: (Bytes, Bytes) throws(Failure) -> Bool
        ) throws(Failure) { try inner.scan(from: from, to: to, limit: limit, body) }
        func commit() throws(Failure) { try inner.commit() }
        func rollback() { inner.rollback() }
        func sibling() throws(Failure) -> any StoragePort { try inner.sibling() }
        func close() { inner.close() }
    }

    @Test func anErasureIsOutOfTheLogWithinAMinute() throws {
        let clock = ManualClock()
        let storage = LoggedStorage(MemoryStorage())
        let store = try openStore(on: storage, clock: clock)
        let start = clock.now()
        for name in ["a", "b", "c"] { try store.put(name, "1") }
        #expect(try store.nextDeadline() == nil)
        try store.delete("a")
        #expect(try store.nextDeadline() == start + Backoff.minute)
        clock.advance(40 * second)
        try store.delete("b")
        #expect(try store.nextDeadline() == start + Backoff.minute)
        #expect(try store.runDue(limit: 10) == 0)
        clock.advance(20 * second)
        // Two readers in the way, one after the other.
        storage.answers.withLock { $0 = [false, false] }
        for call in 1...3 {
            #expect(try store.runDue(limit: 10) == 1)
            #expect(storage.calls.withLock { $0 } == call)
            guard call < 3 else { break }
            let wait = try (store.nextDeadline() ?? 0) - clock.now()
            #expect(wait >= second && wait <= 4 * second)
            clock.advance(wait)
        }
        #expect(try store.nextDeadline() == nil)
        // Elsewhere there is nothing to be done.
        let memory = try openStore(on: MemoryStorage(), clock: clock)
        try memory.put("a", "1")
        try memory.delete("a")
        #expect(try memory.nextDeadline() == nil)
    }

    /// What is erased again and again does not put the checkpoint off for ever, however seldom the host comes.
    @Test func erasuresDoNotPutACheckpointOff() throws {
        let clock = ManualClock()
        let storage = LoggedStorage(MemoryStorage())
        let store = try openStore(on: storage, clock: clock)
        for round in 1...10 {
            try store.put("a", "1")
            clock.advance(61 * second)
            try store.delete("a")
            _ = try store.runDue(limit: 10)
            #expect(storage.calls.withLock { $0 } == round / 2, "\(round)")
        }
    }

    /// A checkpoint that fails is nobody's fault and is never given up.
    @Test func readersOnlyDelayACheckpoint() throws {
        let clock = ManualClock()
        let storage = LoggedStorage(MemoryStorage())
        let store = try openStore(on: storage, clock: clock)
        try store.put("a", "1")
        try store.delete("a")
        storage.answers.withLock { $0 = [Bool](repeating: false, count: 50) }
        for round in 0...50 {
            clock.set(try store.nextDeadline() ?? 0)
            #expect(try store.runDue(limit: 10) == 1, "\(round)")
        }
        #expect(try rows(store, .job, .deadLetter) == 0)
    }

    @Test func whatErases() throws {
        let clock = ManualClock()
        let storage = LoggedStorage(MemoryStorage())
        let store = try openStore(on: storage, clock: clock)
        func expectOne(_ name: String, _ act: () throws -> Void) throws {
            try act()
            #expect(try due(store, .checkpoint) == clock.now() + Backoff.minute, "\(name)")
            clock.advance(Backoff.minute)
            while try store.runDue(limit: 10) > 0 {}
            #expect(try due(store, .checkpoint) == nil, "\(name)")
        }
        try store.put("a", "1")
        try store.put("b", "1", expiring(clock.now() + Backoff.hour))
        #expect(try due(store, .checkpoint) == nil)
        try expectOne("delete") { try store.delete("a") }
        try store.put("a", "1")
        try expectOne("delete all") {
            _ = try store.scoped { try store.deleteAll($0, allProjects: false) }
        }
        try store.put("b", "1", expiring(clock.now() + Backoff.hour))
        try expectOne("purge") {
            clock.advance(Backoff.hour)
            _ = try store.runDue(limit: 10)
        }
        try store.put("b", "1", expiring(clock.now() + 1))
        try expectOne("met") {
            clock.advance(1)
            #expect(throws: Failure.notFound) { try store.secret("b") }
        }
        let key = [UInt8](repeating: 3, count: 32)
        try key.withUnsafeBytes { key in
            let number = try store.addSlot(.raw(key))
            clock.advance(Backoff.hour)
            while try store.runDue(limit: 10) > 0 {}
            try expectOne("change of a slot") { try store.changeSlot(number, to: .raw(key)) }
            try expectOne("removal of a slot") { try store.removeSlot(number) }
        }
        let account = try withText("ada") { try store.createAccount(named: $0) }
        try expectOne("account") { try store.deleteAccount(account) }
        try expectOne("one-time keys that piled up") { try pileUpKeys(store) }
    }

    /// Has a server ask for one-time keys until the first that it got are erased here.
    private func pileUpKeys(_ store: Store) throws {
        let account = try withText("eve") { try store.createAccount(named: $0) }
        var options = Rotation.Options()
        options.pool = 500
        try store.beginRotation(account, options)
        for turn in 1...6 as ClosedRange<Int> {
            #expect(try due(store, .checkpoint) == nil)
            _ = try store.runAll()
            let count = try store.packages(account).first?.oneTimeCount ?? 0
            #expect(count == min(turn * 500, 2_500))
            for item in try store.takeItems(limit: 10, lease: 0) {
                try store.answerRequest(item.seq, body: .empty)
            }
            try store.changeRotation(account) { (rotation, _) in rotation.report(available: 0) }
        }
        try store.changeRotation(account) { (rotation, _) in rotation.report(available: 500) }
    }

    /// What is erased while a checkpoint is under way may have come too late for it.
    @Test func anErasureDuringACheckpointGetsItsOwn() throws {
        let clock = ManualClock()
        let data = MemoryStorage()
        let storage = LoggedStorage(data)
        let store = try openStore(on: storage, clock: clock)
        let other = try openStore(on: LoggedStorage(data.sibling()), clock: clock)
        for name in ["a", "b"] { try store.put(name, "1") }
        try store.delete("a")
        clock.advance(Backoff.minute)
        storage.onCheckpoint = { try? other.delete("b") }
        #expect(try store.runDue(limit: 1) == 0)
        #expect(try store.nextDeadline() == clock.now() + Backoff.minute)
        storage.onCheckpoint = {}
        clock.advance(Backoff.minute)
        #expect(try store.runDue(limit: 1) == 1)
        #expect(try store.nextDeadline() == nil)
    }
}
