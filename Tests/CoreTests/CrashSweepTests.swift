import PawlCore
import PawlCrypto
import PawlEngine
import PawlStore
import Testing

/// Every operation of every call fails once, in each way it can, on the real engine: afterwards the store
/// is as before or as after, and what the call answered was true.
@Suite struct CrashSweepTests {
    struct Scenario: Sendable, CustomStringConvertible {
        let description: String
        let act: @Sendable (Store) throws -> Void
    }

    static let large = String(repeating: "L", count: 5_000)

    static let scenarios = [
        Scenario(description: "put new") { try $0.put("new", "n1", label: "x") },
        Scenario(description: "put new, large") { try $0.put("new", large) },
        Scenario(description: "update") { try $0.put("small", "s2", label: "y") },
        Scenario(description: "update, small to large") { try $0.put("small", large) },
        Scenario(description: "update, large to small") { try $0.put("large", "tiny") },
        Scenario(description: "delete") { try $0.delete("small") },
        Scenario(description: "delete, large") { try $0.delete("large") },
        Scenario(description: "delete, recoverable") {
            try $0.delete("large", recovery: 1_000_000)
        },
        Scenario(description: "restore") { try $0.restore("gone") },
        Scenario(description: "delete all") { store in
            _ = try store.scoped { try store.deleteAll($0, allProjects: false) }
        },
        Scenario(description: "batch") { store in
            let batch = try store.beginBatch()
            do {
                try batch.put("small", "b1")
                try batch.put("new", "b2")
                try batch.delete("large")
            } catch {
                try? batch.endBatch(commit: false)
                throw error
            }
            try batch.endBatch(commit: true)
        },
    ]

    /// A store with something of everything.
    private func prepare(_ port: any StoragePort, vault: MemoryVault?) throws {
        let store = try openStore(on: port, vault: vault)
        try store.put("small", "s1", label: "keep")
        try store.put("large", Self.large)
        try store.put("gone", "g1")
        try store.delete("gone", recovery: 1_000_000)
        try store.put("other", "o1", project: "elsewhere")
    }

    /// Both scopes, and what could be restored.
    private func picture(_ store: Store) throws -> [String: String] {
        var all = try store.contents()
        all["elsewhere"] = try store.contents(project: "elsewhere")["other"]
        for name in ["gone", "large", "small"] {
            let versions = try store.scoped { scope in
                try withText(name) { name in
                    try store.deletedCredentials(scope, name).map { $0.record.version }
                }
            }
            all["deleted \(name)"] = "\(versions)"
        }
        return all
    }

    /// Versions are given out even when the put that drew one fails, so they do not count.
    private func shape(_ picture: [String: String]) -> [String: String] {
        picture.mapValues { value in
            value.hasPrefix("[") ? value : String(value.drop { $0 != "/" })
        }
    }

    @Test(arguments: scenarios, [FaultPlan.Mode.before, .afterCommit, .crash])
    func embeddedVault(_ scenario: Scenario, _ mode: FaultPlan.Mode) throws {
        let base = MemoryStorage()
        try prepare(base, vault: nil)
        let before = try picture(openStore(on: base.snapshot()))
        let done = base.snapshot()
        try scenario.act(openStore(on: done))
        let after = try picture(openStore(on: done))
        #expect(before != after)

        var operation = 0
        while true {
            operation += 1
            let data = base.snapshot()
            let plan = FaultPlan(failing: operation, mode)
            let answer = Result {
                try scenario.act(openStore(on: FaultyStorage(data.sibling(), plan)))
            }
            if mode != .afterCommit, !plan.fired { break }
            let reopened = try openStore(on: data.sibling())
            let found = try picture(reopened)
            switch answer {
            case .success: #expect(found == after, "operation \(operation)")
            case .failure(let error as Failure):
                if case .store(.indeterminate, _) = error {
                    #expect(found == before || found == after, "operation \(operation)")
                } else {
                    #expect(found == before, "operation \(operation): \(error)")
                }
            case .failure(let error): throw error
            }
            #expect(try reopened.verify().isEmpty)
            try expectNoStraySecrets(reopened, in: data)
            // The store goes on.
            try reopened.put("small", "later")
            #expect(try reopened.secret("small") == "later")
            if mode == .afterCommit, operation > plan.count { break }
        }
        #expect(operation > 3)
    }

    /// A secret with a record of its own is there exactly while something refers to it.
    private func expectNoStraySecrets(_ store: Store, in data: MemoryStorage) throws {
        var referred = 0
        try store.scoped { scope in
            var rows = try store.credentials(scope, after: .empty, limit: 10_000)
            for name in ["gone", "large", "small"] {
                rows += try withText(name) { try store.deletedCredentials(scope, $0) }
            }
            for row in rows {
                if case .separate = row.record.secret { referred += 1 }
            }
        }
        var stored = 0
        let port = try data.sibling()
        try port.begin(.read)
        let first = RowKey(.secret)
        try first.withBytes { from in
            try first.end.withBytes { to in
                try port.scan(from: from, to: to, limit: Int.max) { _, _ in
                    stored += 1
                    return true
                }
            }
        }
        port.rollback()
        #expect(stored == referred)
    }

    /// A call that fails half-way through its writes takes its batch with it: nothing that is said
    /// to the batch afterwards can commit the other half.
    @Test func aBatchThatLostAWriteIsLost() throws {
        let data = MemoryStorage()
        try prepare(data, vault: nil)
        let before = try picture(openStore(on: data.sibling()))
        var isReached = true
        var operation = 0
        while isReached {
            operation += 1
            let plan = FaultPlan(failing: operation)
            guard let store = try? openStore(on: FaultyStorage(data.sibling(), plan)),
                let batch = try? store.beginBatch()
            else { continue }
            let begun = plan.count
            let put = Result { try batch.put("small", Self.large) }
            isReached = plan.fired
            if case .failure(let error as Failure) = put, plan.count - begun > 4 {
                #expect(error == FaultPlan.failure)
                #expect(throws: Failure.store(.lost, code: 0)) { try batch.put("new", "x") }
                #expect(throws: Failure.store(.lost, code: 0)) { try batch.endBatch(commit: true) }
            } else {
                try batch.endBatch(commit: false)
            }
            #expect(try picture(openStore(on: data.sibling())) == before)
        }
        #expect(operation > 12)
    }

    // MARK: A host's vault

    /// After the lease, two sightings and the grace period: no intents, no orphans, and in the vault
    /// exactly what the records point to.
    private func expectSettled(_ store: Store, _ clock: ManualClock, _ vault: MemoryVault) throws {
        vault.fail(nil)
        for _ in 0..<2 {
            clock.advance(10_000)
            _ = try store.reconcile(grace: 5_000, dryRun: false)
        }
        #expect(try store.unfinished(after: nil, limit: 10_000).map { $0.record.id.array } == [])
        #expect(try store.reconcile(grace: 0, dryRun: true).isEmpty)
        let jobs = try store.jobs(areDead: false, after: nil, limit: 10_000)
        #expect(!jobs.contains { $0.job.kind == .orphanRetry })
        var held: Set<[UInt8]> = []
        for project in ["engine", "elsewhere"] {
            try store.scoped("ada", project) { scope in
                var rows = try store.credentials(scope, after: .empty, limit: 10_000)
                for name in ["gone", "large", "small"] {
                    rows += try withText(name) { try store.deletedCredentials(scope, $0) }
                }
                for row in rows {
                    if case .vault(let id, _) = row.record.secret { held.insert(id.array) }
                }
            }
        }
        #expect(vault.ids == held)
        #expect(try store.verify().isEmpty)
    }

    private static let reconcile = Scenario(description: "reconcile") {
        _ = try $0.reconcile(grace: 0, dryRun: false)
    }
    private static let vaultScenarios =
        scenarios.filter { $0.description != "batch" } + [reconcile]

    @Test(arguments: vaultScenarios, [FaultPlan.Mode.before, .afterCommit, .crash])
    func hostVaultOnFailingStorage(_ scenario: Scenario, _ mode: FaultPlan.Mode) throws {
        try sweepVault(scenario) { operation, data, vault in
            let plan = FaultPlan(failing: operation, mode)
            return (
                FaultyStorage(try data.sibling(), plan), MortalVault(vault, plan),
                { mode == .afterCommit ? operation <= plan.count : plan.fired }
            )
        }
    }

    @Test(
        arguments: vaultScenarios.filter {
            // These leave the vault alone.
            !["delete, recoverable", "restore"].contains($0.description)
        }, [MemoryVault.Mode.before, .after])
    func failingHostVault(_ scenario: Scenario, _ mode: MemoryVault.Mode) throws {
        try sweepVault(scenario) { operation, data, vault in
            vault.fail(operation, mode)
            return (try data.sibling(), vault, { vault.fired })
        }
    }

    private typealias Arms = (
        port: any StoragePort, vault: any SecretVault, wentOn: () -> Bool
    )

    private func sweepVault(
        _ scenario: Scenario, _ arm: (Int, MemoryStorage, MemoryVault) throws -> Arms
    ) throws {
        var operation = 0
        var isGoingOn = true
        while isGoingOn {
            operation += 1
            let data = MemoryStorage()
            let vault = MemoryVault()
            let clock = ManualClock()
            try prepare(data, vault: vault)
            // Something for reconcile to do: an intent and an orphan that crashes left behind.
            for crash in [14, 31] {
                let plan = FaultPlan(failing: crash, .crash)
                let port = FaultyStorage(try data.sibling(), plan)
                let store = try openStore(on: port, clock: clock, vault: MortalVault(vault, plan))
                _ = try? store.put("small", "crashed")
            }
            clock.advance(100_000)
            let store = try openStore(on: data.sibling(), clock: clock, vault: vault)
            let kinds = try store.unfinished(after: nil, limit: 10).map { $0.kind }
            #expect(kinds.contains(.intent) && kinds.contains(.orphan))
            let before = try shape(picture(store))

            let arms = try arm(operation, data, vault)
            let answer = Result {
                try scenario.act(openStore(on: arms.port, clock: clock, vault: arms.vault))
            }
            isGoingOn = arms.wentOn()
            vault.fail(nil)
            let reopened = try openStore(on: data.sibling(), clock: clock, vault: vault)
            let found = try shape(picture(reopened))
            switch answer {
            case .success:
                if scenario.description != "reconcile" { #expect(found != before) }
            case .failure(let error as Failure):
                if case .store(.indeterminate, _) = error { break }
                #expect(found == before, "operation \(operation): \(error)")
            case .failure(let error): throw error
            }
            try expectSettled(reopened, clock, vault)
            // Settling changes nothing that was visible.
            #expect(try shape(picture(reopened)) == found)
        }
        #expect(operation > 1)
    }
}
