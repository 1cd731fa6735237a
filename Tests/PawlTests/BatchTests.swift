import Pawl
import Testing

private struct Refused: Error, Equatable { let reason: String }

@Suite(.timeLimit(.minutes(2))) struct BatchTests {
    @Test func aBatchCommitsWhatItWrote() async throws {
        let store = try await Store.inMemory(key: key)
        try await store.put("old", Secret("0"), in: alice)
        let versions = try await store.batch { batch throws(PawlError) in
            let a = try batch.put("a", Secret("1"), in: alice)
            let b = try batch.put("b", Secret("2"), in: alice, PutOptions(label: "B"))
            try batch.delete("old", in: alice, recovery: .seconds(60))
            return [a, b]
        }
        #expect(try await store.get("a", in: alice).version == versions[0])
        #expect(try await store.get("b", in: alice).label == "B")
        #expect(try await !store.has("old", in: alice))
    }

    @Test func aBatchSeesItsOwnWrites() async throws {
        let clock = TestClock()
        let store = try await Store.inMemory(key: key, options: clock.options)
        try await store.batch { batch throws(PawlError) in
            let version = try batch.put("a", Secret("1"), in: alice)
            #expect(try batch.get("a", in: alice).secret == Secret("1"))
            #expect(try batch.metadata("a", in: alice).version == version)
            #expect(try batch.has("a", in: alice))
            #expect(try batch.list(in: alice).map(\.name) == ["a"])
            try batch.delete("a", in: alice, recovery: .seconds(60))
            #expect(try batch.deleted("a", in: alice).map(\.version) == [version])
            try batch.restore("a", in: alice, version: version)
            #expect(try batch.deleteAll(in: alice) == 1)
            try batch.put("b", Secret("2"), in: alice)
            #expect(try batch.deleteAll(ofUser: alice.user) == 1)
            #expect(try batch.orphans().isEmpty)
            #expect(try batch.verify().isEmpty)
            #expect(try batch.stats().writes > 0)
            try batch.put("c", Secret("3"), in: alice)
        }
        #expect(try await store.list(in: alice).map(\.name) == ["c"])
    }

    @Test func anErrorOfTheHostUndoesTheBatchAndIsThrownOn() async throws {
        let store = try await Store.inMemory(key: key)
        await #expect(throws: Refused(reason: "no")) {
            try await store.batch { batch in
                try batch.put("a", Secret("1"), in: alice)
                throw Refused(reason: "no")
            }
        }
        #expect(try await !store.has("a", in: alice))
    }

    @Test func anErrorOfPawlUndoesTheBatch() async throws {
        let store = try await Store.inMemory(key: key)
        let error = await refusal {
            try await store.batch { batch throws(PawlError) in
                try batch.put("a", Secret("1"), in: alice)
                _ = try batch.get("nothing", in: alice)
            }
        }
        #expect(error?.code == .notFound)
        #expect(try await !store.has("a", in: alice))
    }

    @Test func aBatchGoesOnAfterACallThatFailed() async throws {
        let store = try await Store.inMemory(key: key)
        try await store.put("a", Secret("1"), in: alice)
        try await store.batch { batch throws(PawlError) in
            do throws(PawlError) {
                try batch.put("a", Secret("2"), in: alice, PutOptions(.absent))
                Issue.record("put replaced what it may only create")
            } catch {
                #expect(error.code == .exists)
            }
            try batch.put("b", Secret("2"), in: alice)
        }
        #expect(try await store.get("a", in: alice).secret == Secret("1"))
        #expect(try await store.has("b", in: alice))
    }

    @Test func othersSeeABatchAllAtOnce() async throws {
        let folder = try Folder()
        let writer = try await Store.open(path: folder.path("a"), key: key, options: create)
        let reader = try await Store.open(
            path: folder.path("a"), key: key,
            options: Store.Options(creation: .ifAbsent, busyTimeout: .zero))
        let (written, signal) = AsyncStream<Void>.makeStream()
        let (seen, go) = AsyncStream<Void>.makeStream()
        let looked = Task {
            for await _ in written {}
            let count = try await reader.list(in: alice).count
            let error = await refusal { try await reader.put("c", Secret("3"), in: alice) }
            go.finish()
            return (count, error?.code)
        }
        let released = Semaphore()
        Task {
            for await _ in seen {}
            released.signal()
        }
        try await writer.batch { batch throws(PawlError) in
            try batch.put("a", Secret("1"), in: alice)
            try batch.put("b", Secret("2"), in: alice)
            signal.finish()
            released.wait()
        }
        let (count, code) = try await looked.value
        #expect(count == 0)
        #expect(code == .busy)
        #expect(try await reader.list(in: alice).count == 2)
        await writer.close()
        await reader.close()
    }

    @Test func aVaultCannotTakePart() async throws {
        let store = try await Store.inMemory(
            key: key, options: Store.Options(vault: TestVault()))
        let error = await refusal {
            try await store.batch { batch throws(PawlError) in
                try batch.put("a", Secret("1"), in: alice)
            }
        }
        #expect(error?.reason == .stateBatch)
    }
}
