import Dispatch
import Pawl
import Synchronization
import Testing

/// Blocks a thread that may be blocked: a store's own.
final class Semaphore: Sendable {
    private let semaphore = DispatchSemaphore(value: 0)
    func signal() { semaphore.signal() }
    func wait() { semaphore.wait() }
}

final class Counter: Sendable {
    private let count = Atomic(0)
    var value: Int { count.load(ordering: .relaxed) }
    func increment() { count.add(1, ordering: .relaxed) }
}

@Suite(.timeLimit(.minutes(2))) struct ConcurrencyTests {
    /// Each put says the same thing twice, in the secret and in the metadata; no read may disagree.
    @Test(arguments: [false, true])
    func readersNeverSeeASecretBesideForeignMetadata(withVault: Bool) async throws {
        let folder = try Folder()
        let options = Store.Options(creation: .ifAbsent, vault: withVault ? TestVault() : nil)
        var stores: [Store] = []
        for _ in 0..<2 {
            stores.append(
                try await Store.open(path: folder.path("a"), key: key, options: options))
        }
        let names = ["a", "b"]
        for name in names {
            try await stores[0].put(name, Secret("0/0"), in: alice, PutOptions(label: "0/0"))
        }
        let reads = try await withThrowingTaskGroup(of: Int.self) { group in
            for task in 0..<8 {
                let store = stores[task % 2]
                group.addTask {
                    var reads = 0
                    for round in 0..<20 {
                        let name = names[(task + round) % 2]
                        let text = "\(task)/\(round)"
                        let version = try await store.put(
                            name, Secret(text), in: alice, PutOptions(label: text))
                        let got = try await store.get(name, in: alice)
                        #expect(got.secret.text == got.label)
                        #expect(got.version >= version)
                        reads += 1
                    }
                    return reads
                }
            }
            return try await group.reduce(0, +)
        }
        #expect(reads == 160)
        for store in stores { await store.close() }
    }

    @Test func compareAndSwapCountsEveryIncrement() async throws {
        let store = try await Store.inMemory(key: key)
        try await store.put("n", Secret("0"), in: alice)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    var done = 0
                    while done < 10 {
                        let now = try await store.get("n", in: alice)
                        let next = Secret("\(Int(now.secret.text!)! + 1)")
                        do throws(PawlError) {
                            let options = PutOptions(.version(now.version))
                            try await store.put("n", next, in: alice, options)
                            done += 1
                        } catch {
                            if error.reason != .stateConflict { throw error }
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(try await store.get("n", in: alice).secret.text == "80")
    }

    /// More stores wait than the shared pool has threads; other tasks must still run and release
    /// them.
    @Test func aStoreThatWaitsHoldsUpNobodyElse() async throws {
        var stores: [Store] = []
        for _ in 0..<16 { stores.append(try await Store.inMemory(key: key)) }
        let released = Semaphore()
        let inside = Counter()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for store in stores {
                group.addTask {
                    try await store.batch { batch throws(PawlError) in
                        inside.increment()
                        released.wait()
                        try batch.put("a", Secret("1"), in: alice)
                    }
                }
            }
            while inside.value < stores.count { await Task.yield() }
            for _ in stores { released.signal() }
            try await group.waitForAll()
        }
        for store in stores { #expect(try await store.has("a", in: alice)) }
    }

    @Test func aCancelledTaskStillLearnsWhatItsCallDid() async throws {
        let store = try await Store.inMemory(key: key)
        let put = Task {
            while !Task.isCancelled { await Task.yield() }
            return try await store.put("a", Secret("1"), in: alice)
        }
        put.cancel()
        let version = try await put.value
        #expect(try await store.get("a", in: alice).version == version)

        let list = Task {
            while !Task.isCancelled { await Task.yield() }
            var names: [String] = []
            for try await credential in store.credentials(in: alice) {
                names.append(credential.name)
            }
            return names
        }
        list.cancel()
        #expect(try await list.value == ["a"])
    }

    @Test func closingWhileOthersCallEndsEveryCall() async throws {
        let store = try await Store.inMemory(key: key)
        let outcomes = await withTaskGroup(of: PawlError.Code?.self) { group in
            for task in 0..<32 {
                group.addTask {
                    do throws(PawlError) {
                        for round in 0... {
                            try await store.put("\(task)/\(round % 4)", Secret("1"), in: alice)
                        }
                        return nil
                    } catch {
                        return error.code
                    }
                }
            }
            while await (try? store.list(in: alice).count) ?? 0 < 32 { await Task.yield() }
            await store.close()
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(outcomes == [PawlError.Code?](repeating: .closed, count: 32))
    }
}
