import CPawl
import PawlCore
import PawlCrypto
import PawlEngine
import PawlStore
import Testing

/// Jobs that fail for ever are set aside, one by one, with an event, and can be revived.
@Suite struct DeadLetterTests {
    private let never = CredentialRules.never

    private func dead(_ store: Store) throws -> [JobRow] {
        try store.jobs(areDead: true, after: nil, limit: 10_000)
    }

    private func alive(_ store: Store) throws -> [JobRow] {
        try store.jobs(areDead: false, after: nil, limit: 10_000)
    }

    /// Runs for as long as something is due, waiting for all retries.
    private func runOut(_ store: Store, _ clock: ManualClock) throws -> Int {
        var count = 0
        while let next = try store.nextDeadline(), count < 1_000 {
            clock.set(max(clock.now(), next))
            let ran = try store.runAll()
            if ran == 0 { break }
            count += ran
        }
        return count
    }

    @Test func numbersAreThoseOfTheHeader() {
        let numbers = [
            PAWL_JOB_CREDENTIAL_PURGE, PAWL_JOB_CHECKPOINT, PAWL_JOB_SETUP_DEADLINE,
            PAWL_JOB_LATE_KEYS, PAWL_JOB_SESSION_END, PAWL_JOB_REKEY_RETRY, PAWL_JOB_EPOCH_END,
            PAWL_JOB_TOMBSTONE, PAWL_JOB_ROTATE_PACKAGE, PAWL_JOB_DELETE_PACKAGE,
            PAWL_JOB_REPLENISH, PAWL_JOB_VERIFY_PUBLICATION, PAWL_JOB_ORPHAN_RETRY,
            PAWL_JOB_BACKUP,
        ]
        #expect(numbers == Array(1...14))
        #expect(JobKind.allCases.map { Int32($0.rawValue) } == numbers)
    }

    @Test func lettersSurvive() throws {
        var record = JobRecord(detail: [1, 2, 3])
        record.failures = 10
        let letter = DeadLetter(record, since: -4)
        let bytes = try letter.encoded()
        #expect(try DeadLetter(decoding: bytes) == letter)
        for count in 0..<bytes.count {
            let cut = try SecretBuffer(copying: Bytes(rebasing: bytes.bytes[..<count]))
            #expect(throws: Failure.corrupt(.record)) { try DeadLetter(decoding: cut) }
        }
    }

    @Test func oneAmongAThousand() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        let due = clock.now() + 10
        var expiring = CredentialRules.Put()
        expiring.expiry = .set(due)
        for number in 0..<1_000 { try store.put("\(number)", "s", expiring) }
        try store.damage(store.keys(.job)[500])
        clock.advance(10)
        #expect(try store.runAll() == 1_000)
        #expect(try store.keys(.credential).count == 1 && alive(store).isEmpty)
        let letters = try dead(store)
        #expect(letters.map(\.job.kind) == [.credentialPurge] && letters.map(\.due) == [due])
        #expect(letters.map(\.cause) == [Failure.corrupt(.record).primary])
        #expect(letters.map(\.isDead) == [true])
        let items = try store.takeItems(limit: 10, lease: 0)
        #expect(items.map(\.item.what) == [UInt32(PAWL_EVENT_DEAD_LETTER)])
        #expect(items.map(\.item.count) == [1] && items.map(\.item.account) == [.none])
        #expect(items.allSatisfy { $0.item.peer == nil && $0.item.session == nil })
        try store.acknowledge(items.map(\.seq))
        #expect(try store.nextDeadline() == nil && store.verify().isEmpty)

        // It does not know what to remove, so it fails again and ends the same way.
        try store.revive(letters[0].job)
        #expect(try dead(store).isEmpty)
        #expect(try alive(store).map(\.due) == [clock.now()])
        #expect(try runOut(store, clock) == 10)
        #expect(try dead(store).map(\.failures) == [10])
    }

    @Test func afterTenFailures() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        let failing = try planFailing(store, 1, at: clock.now())
        let other = Job(.sessionEnd, subject(2))
        for failures in 1...9 {
            #expect(try store.runAll() == 1)
            let row = try #require(try alive(store).first)
            #expect(row.job == failing && row.failures == UInt32(failures) && !row.isDead)
            #expect(row.cause == Failure.version.primary)
            #expect(try dead(store).isEmpty)
            clock.set(row.due)
        }
        try store.plan(other, at: clock.now() + Backoff.hour)
        #expect(try store.runAll() == 1)
        #expect(try dead(store).map(\.failures) == [10] && alive(store).map(\.job) == [other])
        #expect(try store.takeItems(limit: 10, lease: 0).map(\.item.count) == [1])
        #expect(try store.keys(.jobTime).count == 1)
        // Nothing is tried any more.
        clock.advance(Backoff.minute)
        #expect(try store.runAll() == 0)

        #expect(throws: Failure.notFound) { try store.revive(other) }
        try store.revive(failing)
        #expect(throws: Failure.notFound) { try store.revive(failing) }
        #expect(try alive(store).map(\.failures) == [0, 0] && dead(store).isEmpty)
        // Whoever mended it sees it done.
        let row = try store.keys(.credential)[0]
        try store.transact(.write) { (transaction) throws(Failure) in
            transaction.delete(row)
        }
        #expect(try store.runAll() == 1)
        #expect(try alive(store).map(\.job) == [other] && dead(store).isEmpty)
    }

    @Test func planningAnewRemovesALetter() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        let job = Job(.credentialPurge, subject(1))
        for number in 0..<3 {
            try store.plan(job, at: clock.now())
            try store.damage(store.keys(.job)[0])
            #expect(try store.runAll() == 1)
            #expect(try dead(store).map(\.job) == [job])
            try store.transact(.write) { (transaction) throws(Failure) in
                switch number {
                case 0: try transaction.schedule(job, at: Int64.max - 1, detail: [1])
                case 1: try transaction.cancel(job)
                default: try transaction.pullIn(job, to: Int64.max - 1)
                }
            }
            #expect(try dead(store).isEmpty, "\(number)")
            #expect(try alive(store).map(\.due) == (number == 1 ? [] : [Int64.max - 1]))
            try store.transact(.write) { (transaction) throws(Failure) in
                try transaction.cancel(job)
            }
        }
    }

    @Test func jobsComeInTheOrderOfTheirTimes() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        let due = (0..<40).map { Int64($0 * 7 % 40) / 2 - 10 }
        for (number, due) in due.enumerated() {
            let kind: JobKind = number % 2 == 0 ? .sessionEnd : .tombstone
            try store.plan(Job(kind, subject(number)), at: due)
        }
        let all = try alive(store)
        #expect(all.map(\.due) == due.sorted())
        #expect(Set(all.map(\.job)).count == 40)
        var paged: [JobRow] = []
        while true {
            let last = paged.last.map { (job: $0.job, due: $0.due) }
            let page = try store.jobs(areDead: false, after: last, limit: 7)
            paged += page
            // The one that was seen last may be gone.
            if let job = page.last?.job {
                try store.transact(.write) { (transaction) throws(Failure) in
                    try transaction.cancel(job)
                }
            }
            if page.count < 7 { break }
        }
        #expect(paged.map(\.job) == all.map(\.job))

        for number in 0..<9 {
            try store.plan(Job(.credentialPurge, subject(number)), at: Int64.min)
            try store.damage(store.keys(.job)[0])
            #expect(try store.runDue(limit: 1) == 1)
        }
        let letters = try dead(store)
        #expect(letters.map(\.job.subject) == (0..<9).map { subject($0) })
        let after = (job: letters[3].job, due: Int64(0))
        let page = try store.jobs(areDead: true, after: after, limit: 2)
        #expect(page.map(\.job.subject) == [subject(4), subject(5)])
        // A damaged one is shown as such, and cannot be revived.
        try store.damage(store.keys(.deadLetter)[0])
        let damaged = try #require(try dead(store).first)
        #expect(damaged.due == never && damaged.cause == Failure.corrupt(.record).primary)
        #expect(throws: Failure.corrupt(.record)) { try store.revive(damaged.job) }
        #expect(try store.verify().count == 1)
    }
}
