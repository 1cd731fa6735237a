import Pawl
import Testing

@Suite(.timeLimit(.minutes(2))) struct StorageTests {
    private let storage = TestStorage()

    @Test func aHostsEngineHoldsAStore() async throws {
        let store = try await Store.open(storage: storage, key: key, options: create)
        for number in 0..<20 { try await store.put("n\(number)", Secret("\(number)"), in: alice) }
        await store.close()
        let again = try await Store.open(
            storage: storage, key: key, options: Store.Options(creation: .never))
        #expect(try await again.list(in: alice).count == 20)
        #expect(try await again.get("n7", in: alice).secret == Secret("7"))
        #expect(try await again.deleteAll(in: alice) == 20)
        await again.close()
        #expect(
            await refusal {
                try await Store.open(storage: storage, key: otherKey, options: create)
            }?.code == .auth)
    }

    @Test func anEmptyEngineIsNotFound() async {
        let never = Store.Options(creation: .never)
        #expect(
            await refusal { try await Store.open(storage: storage, key: key, options: never) }?.code
                == .notFound)
        #expect(storage.records.isEmpty)
    }

    /// Fails each operation of an update in turn; afterwards all is as before, or all is done.
    @Test(arguments: [
        (StorageError.failed(code: 123), PawlError.Reason.storeHost, 123),
        (.failed(code: 1_000_000), .storeHost, 32767),
        (.full, .storeFull, 0),
        (.readOnly, .storeReadOnly, 0),
    ])
    func aFailureOfTheEngineIsPassedOnAndChangesNothing(
        failure: StorageError, reason: PawlError.Reason, code: Int
    ) async throws {
        let store = try await Store.open(storage: storage, key: key, options: create)
        try await store.put("a", Secret("1"), in: alice)
        var failures = 0
        while true {
            let before = storage.records
            storage.fail(after: failures, with: failure)
            do {
                try await store.put("a", Secret("2"), in: alice)
            } catch {
                #expect(error.reason == reason)
                #expect(error.engineCode == code)
                #expect(storage.records == before)
                #expect(try await store.get("a", in: alice).secret == Secret("1"))
                failures += 1
                continue
            }
            storage.disarm()
            break
        }
        #expect(failures >= 3)  // At least begin, a read or write, and commit.
        #expect(try await store.get("a", in: alice).secret == Secret("2"))
    }

    @Test func anUnknownCommitIsCalledIndeterminate() async throws {
        let store = try await Store.open(storage: storage, key: key, options: create)
        let first = try await store.put("a", Secret("1"), in: alice)
        var reasons: [PawlError.Reason] = []
        for step in 0... {
            storage.fail(after: step, with: .indeterminate)
            do {
                try await store.put("a", Secret("2"), in: alice)
                storage.disarm()
                break
            } catch {
                reasons.append(error.reason)
                if error.reason == .storeIndeterminate { break }
            }
        }
        storage.disarm()
        #expect(reasons.last == .storeIndeterminate)
        // Reading again and comparing versions tells: this engine had committed.
        let now = try await store.get("a", in: alice)
        #expect(now.version > first)
        #expect(now.secret == Secret("2"))
    }

    @Test func anotherWriterIsBusy() async throws {
        let options = Store.Options(creation: .ifAbsent, busyTimeout: .zero)
        let store = try await Store.open(storage: storage, key: key, options: options)
        storage.state.withLock { $0.isWriting = true }
        #expect(await refusal { try await store.put("a", Secret("1"), in: alice) }?.code == .busy)
        storage.state.withLock { $0.isWriting = false }
        try await store.put("a", Secret("1"), in: alice)
    }

    @Test func noNameOrSecretReachesTheEngine() async throws {
        let store = try await Store.open(storage: storage, key: key, options: create)
        let scope = Scope(user: "a distinctive user", project: "a distinctive project")
        try await store.put(
            "a distinctive name", Secret("a distinctive secret"), in: scope,
            PutOptions(label: "a distinctive label", attributes: ["distinctive key": "x"]))
        let word = Array("distinctive".utf8)
        #expect(!storage.records.isEmpty)
        for (key, value) in storage.records {
            for bytes in [key, value] {
                #expect(!bytes.indices.contains { bytes[$0...].starts(with: word) })
            }
        }
    }
}
