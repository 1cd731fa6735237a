import Pawl
import Testing

@Suite(.timeLimit(.minutes(2))) struct VaultTests {
    private let vault = TestVault()
    private let clock = TestClock()

    private var options: Store.Options {
        var options = clock.options
        options.vault = vault
        return options
    }

    @Test func secretsLiveInTheVaultAndEachVersionUnderItsOwnID() async throws {
        let store = try await Store.inMemory(key: key, options: options)
        try await store.put("a", Secret("an old secret"), in: alice)
        let first = vault.values
        #expect(first.count == 1)
        #expect(first.values.first.map { !contains($0, "an old secret") } == true)
        let got = try await store.get("a", in: alice)
        #expect(got.secret == Secret("an old secret"))
        #expect(got.isInVault)

        try await store.put("a", Secret("new"), in: alice)
        let second = vault.values
        #expect(second.count == 1)
        #expect(second.keys.first != first.keys.first)
        #expect(try await store.get("a", in: alice).secret == Secret("new"))

        let large = Secret([UInt8](repeating: 3, count: 1 << 20))
        try await store.put("large", large, in: alice)
        #expect(try await store.get("large", in: alice).secret == large)
        try await store.delete("large", in: alice)
        try await store.delete("a", in: alice)
        #expect(vault.values.isEmpty)
        #expect(try await store.orphans().isEmpty)
        #expect(try await store.stats().vaultCalls > 0)
    }

    @Test func aVaultThatRefusesToSetLeavesTheOldVersion() async throws {
        let store = try await Store.inMemory(key: key, options: options)
        try await store.put("a", Secret("1"), in: alice)
        vault.change { $0.setFailure = VaultError(code: 77) }
        let error = await refusal { try await store.put("a", Secret("2"), in: alice) }
        #expect(error?.reason == .storeVault)
        #expect(error?.engineCode == 77)
        #expect(try await store.get("a", in: alice).secret == Secret("1"))
        #expect(vault.values.count == 1)
    }

    @Test func aVaultThatRefusesToGetIsHeard() async throws {
        let store = try await Store.inMemory(key: key, options: options)
        try await store.put("a", Secret("1"), in: alice)
        vault.change { $0.getFailure = VaultError(code: 5) }
        let error = await refusal { try await store.get("a", in: alice) }
        #expect(error?.reason == .storeVault)
        #expect(error?.engineCode == 5)
        #expect(try await store.metadata("a", in: alice).secretSize == 1)
    }

    @Test func aSecretThatVanishedIsKeyLost() async throws {
        let store = try await Store.inMemory(key: key, options: options)
        try await store.put("a", Secret("1"), in: alice)
        vault.change { $0.values = [:] }
        #expect(await refusal { try await store.get("a", in: alice) }?.reason == .corruptKeyLost)
        #expect(try await store.has("a", in: alice))
    }

    @Test func aSwappedVaultValueIsCorrupt() async throws {
        let store = try await Store.inMemory(key: key, options: options)
        try await store.put("a", Secret("1"), in: alice)
        try await store.put("b", Secret("2"), in: alice)
        vault.change { content in
            let ids = Array(content.values.keys)
            let value = content.values[ids[0]]
            content.values[ids[0]] = content.values[ids[1]]
            content.values[ids[1]] = value
        }
        #expect(await refusal { try await store.get("a", in: alice) }?.code == .corrupt)
        #expect(await refusal { try await store.get("b", in: alice) }?.code == .corrupt)
    }

    @Test func withoutItsVaultAStoreSaysSo() async throws {
        let folder = try Folder()
        let store = try await Store.open(path: folder.path("a"), key: key, options: options)
        try await store.put("a", Secret("1"), in: alice)
        await store.close()

        let bare = try await Store.open(path: folder.path("a"), key: key, options: clock.options)
        #expect(await refusal { try await bare.get("a", in: alice) }?.reason == .stateNoVault)
        #expect(try await bare.metadata("a", in: alice).isInVault)
        #expect(await refusal { try await bare.reconcile() }?.reason == .stateNoVault)
        await bare.close()
    }

    @Test func aSecretThatCouldNotBeRemovedIsAnOrphanUntilReconcile() async throws {
        let store = try await Store.inMemory(key: key, options: options)
        try await store.put("a", Secret("1"), in: alice)
        let old = try #require(vault.values.keys.first)
        vault.change { $0.removeFailure = VaultError(code: 9) }
        try await store.put("a", Secret("2"), in: alice)
        #expect(vault.values.count == 2)

        let orphan = try #require(try await store.orphans().first)
        #expect(orphan.kind == .recorded)
        #expect(orphan.outcome == Orphan.Outcome.none)
        #expect(orphan.id == old)
        #expect(orphan.scope == alice)
        #expect(orphan.name == "a")
        #expect(orphan.recorded == clock.now)
        #expect(orphan.removeCause == 9)
        #expect(orphan.setCause == 0)
        #expect(try await store.orphans(after: orphan.id).isEmpty)

        // Two sightings with the grace period between, and not before its lease is over.
        clock.advance(.seconds(61))
        let dry = try await store.reconcile(dryRun: true)
        #expect(dry.count == 1)
        #expect(try await store.orphans().first?.sighted == nil)
        #expect(try await store.reconcile().first?.outcome == .waiting)
        #expect(try await store.orphans().first?.sighted == clock.now)
        clock.advance(.seconds(61))
        #expect(try await store.reconcile(dryRun: true).first?.outcome == .wouldRemove)
        let failed = try #require(try await store.reconcile().first)
        #expect(failed.outcome == .failed)
        #expect(failed.removeCause == 9)
        vault.change { $0.removeFailure = nil }
        #expect(try await store.reconcile().first?.outcome == .removed)
        #expect(!vault.values.keys.contains(old))
        #expect(try await store.orphans().isEmpty)
        #expect(try await store.reconcile().isEmpty)
        #expect(try await store.get("a", in: alice).secret == Secret("2"))
    }

    @Test func aPutThatNeverFlippedIsRecordedWithBothCauses() async throws {
        let store = try await Store.inMemory(key: key, options: options)
        vault.change {
            $0.setFailure = VaultError(code: 3)
            $0.removeFailure = VaultError(code: 4)
        }
        let error = await refusal { try await store.put("a", Secret("1"), in: alice) }
        #expect(error?.reason == .storeVault)
        let orphan = try #require(try await store.orphans().first)
        #expect(orphan.setCause == 3)
        #expect(orphan.removeCause == 4)
        #expect(try await !store.has("a", in: alice))

        vault.change { $0.removeFailure = nil }
        clock.advance(.seconds(61))
        try await store.reconcile(grace: .zero)
        clock.advance(.nanoseconds(1))
        try await store.reconcile(grace: .zero)
        #expect(try await store.orphans().isEmpty)
    }

    @Test func aValueThatNobodyKnowsIsReportedAndLeft() async throws {
        let store = try await Store.inMemory(key: key, options: options)
        let stranger = try #require(VaultID([UInt8](repeating: 0xEE, count: 16)))
        vault.change { $0.values[stranger] = [1] }
        for _ in 0..<3 {
            let found = try await store.reconcile(grace: .zero)
            #expect(found.map(\.id) == [stranger])
            #expect(found.map(\.kind) == [.unattributed])
            clock.advance(.seconds(120))
        }
        #expect(vault.values[stranger] == [1])
    }

    @Test func readersSeeTheOldVersionWhileTheVaultWorks() async throws {
        let folder = try Folder()
        let writer = try await Store.open(path: folder.path("a"), key: key, options: options)
        let reader = try await Store.open(path: folder.path("a"), key: key, options: options)
        try await writer.put("a", Secret("1"), in: alice)
        let (atWork, signal) = AsyncStream<Void>.makeStream()
        let released = Semaphore()
        vault.change {
            $0.beforeSet = {
                signal.finish()
                released.wait()
            }
        }
        let put = Task { try await writer.put("a", Secret("2"), in: alice) }
        for await _ in atWork {}
        #expect(try await reader.get("a", in: alice).secret == Secret("1"))
        #expect(try await reader.orphans().map(\.kind) == [.intent])
        released.signal()
        _ = try await put.value
        #expect(try await reader.get("a", in: alice).secret == Secret("2"))
        await writer.close()
        await reader.close()
    }

    @Test func deleteAllOvertakesAPutInFlight() async throws {
        let folder = try Folder()
        let writer = try await Store.open(path: folder.path("a"), key: key, options: options)
        let other = try await Store.open(path: folder.path("a"), key: key, options: options)
        let (atWork, signal) = AsyncStream<Void>.makeStream()
        let released = Semaphore()
        vault.change {
            $0.beforeSet = {
                signal.finish()
                released.wait()
            }
        }
        let put = Task { try await writer.put("a", Secret("1"), in: alice) }
        for await _ in atWork {}
        #expect(try await other.deleteAll(in: alice) == 0)
        released.signal()
        #expect(await refusal { try await put.value }?.reason == .stateWithdrawn)
        #expect(try await !other.has("a", in: alice))
        await writer.close()
        await other.close()
    }

    private func contains(_ bytes: [UInt8], _ text: String) -> Bool {
        let text = Array(text.utf8)
        return bytes.indices.contains { bytes[$0...].starts(with: text) }
    }
}
