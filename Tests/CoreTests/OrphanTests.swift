import PawlCore
import PawlCrypto
import PawlEngine
import PawlStore
import Testing

/// Values that the vault kept when they were to go: a job for each asks again, ever more seldom.
@Suite struct OrphanTests {
    private let clock = ManualClock()
    private let data = MemoryStorage()

    /// A vault that does something whenever a value comes, or is to go, and then answers.
    private final class SlowVault: SecretVault {
        private let vault = MemoryVault()
        var onSet: () throws -> Void = {}
        var onRemove: () throws -> Int32 = { 0 }
        var count = 0
        let lease = 10 * Backoff.minute
        var ids: Set<[UInt8]> { vault.ids }

        func set(_ id: VaultID, _ value: Bytes) -> Int32 {
            #expect(throws: Never.self) { try onSet() }
            return vault.set(id, value)
        }
        func get(_ id: VaultID, _ value: UnsafeMutableRawBufferPointer) -> VaultValue {
            vault.get(id, value)
        }
        func remove(_ id: VaultID) -> Int32 {
            count += 1
            var code: Int32 = -1
            #expect(throws: Never.self) { code = try onRemove() }
            return code == 0 ? vault.remove(id) : code
        }
        func next(after: VaultID?) -> VaultNext { vault.next(after: after) }

        func answer(_ code: Int32) { onRemove = { code } }
    }

    /// A store whose first value could not be removed.
    private func orphaned(_ vault: SlowVault) throws -> Store {
        let store = try openStore(on: data, clock: clock, vault: vault)
        try store.put("a", "one")
        vault.answer(9)
        try store.put("a", "two")
        #expect(vault.count == 1 && vault.ids.count == 2)
        #expect(try store.unfinished(after: nil, limit: 10).map(\.record.attempts) == [1])
        let job = try #require(try store.jobs(areDead: false, after: nil, limit: 10).first)
        #expect(job.job.kind == .orphanRetry && job.due == clock.now() + Backoff.minute)
        return store
    }

    private func isSettled(_ store: Store) throws -> Bool {
        try store.keys(.orphan, .job, .jobTime, .deadLetter).isEmpty
    }

    @Test func isTriedAgainEverMoreSeldom() throws {
        let vault = SlowVault()
        let store = try orphaned(vault)
        #expect(try store.runAll() == 0 && vault.count == 1)
        var waits: [Int64] = []
        for attempt in 2...8 {
            let due = try #require(try store.nextDeadline())
            waits.append(due - clock.now())
            clock.set(due)
            #expect(try store.runAll() == 1 && vault.count == attempt)
            let orphan = try #require(try store.unfinished(after: nil, limit: 10).first).record
            #expect(orphan.attempts == UInt32(attempt) && orphan.causeRemove == 9)
            let job = try #require(try store.jobs(areDead: false, after: nil, limit: 10).first)
            #expect(job.failures == UInt32(attempt - 1))
            #expect(job.cause == Failure.store(.vault, code: 9).primary)
        }
        for (number, wait) in waits.enumerated() {
            let least = number == 0 ? 1 : min(1 << (number - 1), 30)
            #expect((Int64(least) * Backoff.minute...Backoff.hour).contains(wait), "\(waits)")
        }
        vault.answer(0)
        clock.set(try #require(try store.nextDeadline()))
        #expect(try store.runAll() == 1)
        #expect(vault.ids.count == 1)
        #expect(try isSettled(store))
        #expect(try store.secret("a") == "two")
    }

    @Test func isSetAsideAndLeftToReconcile() throws {
        let vault = SlowVault()
        let store = try orphaned(vault)
        for _ in 0..<10 {
            clock.set(try #require(try store.nextDeadline()))
            #expect(try store.runAll() == 1)
        }
        let letters = try store.jobs(areDead: true, after: nil, limit: 10)
        #expect(letters.map(\.job.kind) == [.orphanRetry] && vault.count == 11)
        let events = try store.takeItems(limit: 10, lease: 0)
        #expect(events.map(\.item.count) == [UInt64(JobKind.orphanRetry.rawValue)])
        try store.acknowledge(events.map(\.seq))
        clock.advance(24 * Backoff.hour)
        #expect(try store.runAll() == 0 && vault.count == 11)
        vault.answer(0)
        for _ in 0..<2 { _ = try store.reconcile(grace: 0, dryRun: false) }
        #expect(vault.ids.count == 1)
        #expect(try isSettled(store))
    }

    /// The vault is called in no transaction, and nobody else calls it meanwhile.
    @Test func isLentWhileTheVaultIsAsked() throws {
        let vault = SlowVault()
        let store = try orphaned(vault)
        let other = try openStore(on: data.sibling(), clock: clock, vault: vault)
        vault.onRemove = { () throws -> Int32 in
            try other.put("b", "meanwhile")
            #expect(try other.runAll() == 0)
            return 0
        }
        clock.advance(Backoff.minute)
        #expect(try store.runAll() == 1)
        #expect(vault.count == 2)
        #expect(try isSettled(store))
        #expect(try other.secret("b") == "meanwhile")
    }

    /// Who answers when the lease is over, and another has done it, notes nothing.
    @Test func whoIsLateNotesNothing() throws {
        for isMended in [false, true] {
            let (clock, data, vault) = (ManualClock(), MemoryStorage(), SlowVault())
            let store = try openStore(on: data, clock: clock, vault: vault)
            let other = try openStore(on: data.sibling(), clock: clock, vault: vault)
            try store.put("a", "one")
            vault.answer(9)
            try store.put("a", "two")
            var calls = 0
            vault.onRemove = { () throws -> Int32 in
                calls += 1
                guard calls == 1 else { return isMended ? 0 : 5 }
                clock.advance(6 * Backoff.minute)
                #expect(try other.runAll() == 1)
                return isMended ? 8 : 0
            }
            clock.advance(Backoff.minute)
            #expect(try store.runAll() == 1)
            #expect(calls == 2)
            if isMended {
                #expect(try store.keys(.orphan, .job, .jobTime).isEmpty)
            } else {
                // What the other has noted stands, and is tried again.
                let orphan = try #require(try store.unfinished(after: nil, limit: 10).first)
                #expect(orphan.record.causeRemove == 5 && orphan.record.attempts == 2)
                let jobs = try store.jobs(areDead: false, after: nil, limit: 10)
                #expect(jobs.map(\.failures) == [1])
            }
        }
    }

    /// What a put under way is about to write is not removed before its lease is over.
    @Test func aPutUnderWayIsLeftAlone() throws {
        let vault = SlowVault()
        let store = try openStore(on: data, clock: clock, vault: vault)
        let other = try openStore(on: data.sibling(), clock: clock, vault: vault)
        let begun = clock.now()
        vault.onSet = { () throws in
            try other.scoped { _ = try other.deleteAll($0, allProjects: false) }
            #expect(try other.nextDeadline() == begun + 10 * Backoff.minute)
            clock.advance(Backoff.minute)
            #expect(try other.runAll() == 0)
        }
        #expect(throws: Failure.state(.withdrawn)) { try store.put("a", "one") }
        #expect(vault.ids.isEmpty && vault.count == 1)
        #expect(try isSettled(store))
    }

    @Test func withoutItsVaultAStoreOnlyWaits() throws {
        let vault = SlowVault()
        _ = try orphaned(vault)
        let bare = try openStore(on: data.sibling(), clock: clock)
        clock.advance(Backoff.minute)
        #expect(try bare.runAll() == 1)
        let jobs = try bare.jobs(areDead: false, after: nil, limit: 10)
        #expect(jobs.map(\.failures) == [0] && vault.count == 1)
        #expect(try bare.nextDeadline() ?? 0 >= clock.now() + Backoff.hour)
        vault.answer(0)
        clock.advance(Backoff.hour + Backoff.second)
        let store = try openStore(on: data.sibling(), clock: clock, vault: vault)
        #expect(try store.runAll() == 1)
        #expect(vault.ids.count == 1)
        #expect(try isSettled(store))
    }
}
