import Foundation
import Pawl
import Testing

@Suite(.timeLimit(.minutes(2))) struct StoreTests {
    @Test func aFileKeepsWhatWasPut() async throws {
        let folder = try Folder()
        let store = try await Store.open(path: folder.path("a"), key: key, options: create)
        try await store.put("token", Secret("s3cret"), in: alice)
        await store.close()

        let again = try await Store.open(
            path: folder.path("a"), key: key, options: Store.Options(creation: .never))
        #expect(try await again.get("token", in: alice).secret == Secret("s3cret"))
        await again.close()
    }

    @Test func creationSaysWhetherThereMayBeOne() async throws {
        let folder = try Folder()
        let never = Store.Options(creation: .never)
        let always = Store.Options(creation: .always)
        let path = folder.path("a")
        #expect(
            await refusal { try await Store.open(path: path, key: key, options: never) }?.code
                == .notFound)
        #expect(!FileManager.default.fileExists(atPath: path))
        try await Store.open(path: path, key: key, options: always).close()
        #expect(
            await refusal { try await Store.open(path: path, key: key, options: always) }?.code
                == .exists)
    }

    @Test func whatDoesNotOpenIsLeftAlone() async throws {
        let folder = try Folder()
        let foreign = Data("This is no database.\n".utf8)
        try foreign.write(to: URL(filePath: folder.path("text")))
        #expect(
            await refusal {
                try await Store.open(path: folder.path("text"), key: key, options: create)
            }?.reason
                == .corruptNotPawl)
        #expect(try Data(contentsOf: URL(filePath: folder.path("text"))) == foreign)

        try await Store.open(path: folder.path("a"), key: key, options: create).close()
        let before = try Data(contentsOf: URL(filePath: folder.path("a")))
        #expect(
            await refusal {
                try await Store.open(path: folder.path("a"), key: otherKey, options: create)
            }?.code
                == .auth)
        #expect(try Data(contentsOf: URL(filePath: folder.path("a"))) == before)
    }

    @Test func badPathsAndKeysAreNamed() async throws {
        let folder = try Folder()
        let path = folder.path("a")
        #expect(
            await refusal { try await Store.open(path: "", key: key, options: create) }?.reason
                == .misusePath)
        #expect(
            await refusal { try await Store.open(path: "a\0b", key: key, options: create) }?.reason
                == .misusePath)
        #expect(
            await refusal {
                try await Store.open(path: folder.path("none/a"), key: key, options: create)
            }?.reason
                == .storeCannotOpen)
        let keys: [(Key, PawlError.Reason)] = [
            (.raw(Secret([1, 2, 3])), .misuseKey),
            (.passphrase(""), .misuseKey),
            (.passphrase(String(repeating: "x", count: 1025)), .misuseKey),
            (.passphrase("x", memory: 1 << 20), .misuseHashing),
            (.passphrase("x", memory: 1 << 31), .misuseHashing),
            (.passphrase("x", memory: -1), .misuseHashing),
            (.passphrase("x", passes: 2), .misuseHashing),
            (.passphrase("x", passes: 11), .misuseHashing),
            (.passphrase("x", passes: -1), .misuseHashing),
            (.recovery(RecoveryKey("pawlstore1qqqq")), .misuseRecovery),
            (.recovery(try .generate(.backup)), .misuseRecoveryPrefix),
        ]
        for (number, (key, reason)) in keys.enumerated() {
            #expect(
                await refusal { try await Store.open(path: path, key: key, options: create) }?
                    .reason == reason,
                "key \(number)")
        }
        #expect(!FileManager.default.fileExists(atPath: path))
    }

    @Test func slotsCanBeAddedChangedAndRemoved() async throws {
        let folder = try Folder()
        let path = folder.path("a")
        let recovery = try RecoveryKey.generate()
        let passphrase = Key.passphrase("correct horse", memory: 64 << 20, passes: 3)

        var store = try await Store.open(path: path, key: passphrase, options: create)
        let first = try #require(try await store.slots().first)
        #expect(first.kind == .passphrase)
        #expect(first.memory == 64 << 20)
        #expect(first.passes == 3)
        let second = try await store.addSlot(.recovery(recovery))
        #expect(Set(try await store.slots().map(\.number)) == [first.number, second])
        await store.close()

        // Typed back by a person.
        let typed = recovery.text.uppercased().replacing(" ", with: "-")
        store = try await Store.open(path: path, key: .recovery(RecoveryKey(typed)))
        try await store.changeSlot(first.number, to: key)
        #expect(try await store.slots().first { $0.number == first.number }?.kind == .raw)
        try await store.removeSlot(second)
        #expect(await refusal { try await store.removeSlot(second) }?.code == .notFound)
        #expect(await refusal { try await store.removeSlot(-1) }?.code == .notFound)
        #expect(await refusal { try await store.changeSlot(second, to: key) }?.code == .notFound)
        #expect(
            await refusal { try await store.removeSlot(first.number) }?.reason == .stateLastSlot)
        await store.close()

        #expect(
            await refusal { try await Store.open(path: path, key: passphrase, options: create) }?
                .code == .auth)
        try await Store.open(path: path, key: key, options: create).close()
    }

    @Test func thereAreSixteenSlots() async throws {
        let store = try await Store.inMemory(key: key)
        for _ in 1..<16 { try await store.addSlot(otherKey) }
        #expect(await refusal { try await store.addSlot(otherKey) }?.reason == .limitSlots)
        #expect(try await store.slots().map(\.number).sorted() == Array(0..<16))
    }

    @Test func aCopyOpensWithTheSameKeyAndIsNeverWrittenOver() async throws {
        let folder = try Folder()
        let store = try await Store.open(path: folder.path("a"), key: key, options: create)
        try await store.put("token", Secret("s3cret"), in: alice)
        try await store.copy(to: folder.path("b"))
        #expect(await refusal { try await store.copy(to: folder.path("b")) }?.code == .exists)
        try await store.put("later", Secret("x"), in: alice)

        let copy = try await Store.open(path: folder.path("b"), key: key, options: create)
        #expect(try await copy.get("token", in: alice).secret == Secret("s3cret"))
        #expect(try await !copy.has("later", in: alice))
        await copy.close()
        await store.close()
    }

    @Test func verifyNamesTheDamagedRecordAndTheOthersStayReadable() async throws {
        let storage = TestStorage()
        let store = try await Store.open(storage: storage, key: key, options: create)
        try await store.put("whole", Secret("1"), in: alice)
        let before = storage.records
        try await store.put("broken", Secret("2"), in: alice)
        #expect(try await store.verify().isEmpty)

        let added = try #require(
            storage.records.first { before[$0.key] == nil }, "put wrote no record of its own")
        var value = added.value
        value[value.count - 1] ^= 1
        storage.state.withLock { $0.records[added.key] = value }

        let damages = try await store.verify()
        #expect(damages.map(\.key) == [added.key])
        #expect(damages.map(\.error.code) == [.corrupt])
        #expect(await refusal { try await store.get("broken", in: alice) }?.code == .corrupt)
        #expect(try await store.get("whole", in: alice).secret == Secret("1"))
        #expect(try await store.list(in: alice).map(\.name) == ["whole"])
    }

    @Test func statsCount() async throws {
        let store = try await Store.inMemory(key: key)
        let before = try await store.stats()
        try await store.put("a", Secret("1"), in: alice)
        let after = try await store.stats()
        #expect(after.commits == before.commits + 1)
        #expect(after.transactions > before.transactions)
        #expect(after.writes > before.writes)
        #expect(after.vaultCalls == 0)
    }

    // MARK: closing

    @Test func aClosedStoreAnswersClosedToEverything() async throws {
        let store = try await Store.inMemory(key: key)
        let ada = try await account(named: "Ada", in: store)
        let session = store.session(try #require(Session.ID(ada.id.bytes)))
        let package = try #require(KeyPackage.ID(ada.id.bytes))
        await store.close()
        await store.close()
        let calls: [@Sendable () async throws -> Void] = [
            { try await store.put("a", Secret("1"), in: alice) },
            { _ = try await store.get("a", in: alice) },
            { _ = try await store.metadata("a", in: alice) },
            { _ = try await store.has("a", in: alice) },
            { _ = try await store.list(in: alice) },
            { for try await _ in store.credentials(in: alice) {} },
            { _ = try await store.deleted("a", in: alice) },
            { try await store.delete("a", in: alice) },
            { try await store.restore("a", in: alice) },
            { try await store.deleteAll(in: alice) },
            { try await store.deleteAll(ofUser: "alice") },
            { _ = try await store.orphans() },
            { try await store.reconcile() },
            { try await store.batch { _ in } },
            { _ = try await store.slots() },
            { try await store.addSlot(key) },
            { try await store.changeSlot(0, to: key) },
            { try await store.removeSlot(0) },
            { _ = try await store.stats() },
            { _ = try await store.verify() },
            { try await store.copy(to: "/nowhere") },
            { _ = try await store.take() },
            { try await store.ack([1]) },
            { try await store.fail(1) },
            { try await store.answer(1, with: []) },
            { _ = try await store.nextDeadline() },
            { try await store.runDue() },
            { try await store.nudge() },
            { for try await _ in store.items() {} },
            { _ = try await ada.createPackage() },
            { _ = try await ada.packages() },
            { try await ada.deletePackage(package) },
            { try await ada.setMinimumSuite(.x25519) },
            { _ = try await ada.peer(named: "Bob") },
            { _ = try await ada.peers() },
            { for try await _ in ada.allPeers() {} },
            { try await ada.trust(ada.identity, as: .verified) },
            { try await ada.allowSuite(.x25519, ofPeerNamed: "Bob") },
            { _ = try await ada.startSession(with: "Bob", package: []) },
            { _ = try await ada.sessions(with: "Bob") },
            { _ = try await ada.receive([]) },
            { _ = try await ada.receiveMany([]) },
            { _ = try await session.encrypt(Secret("x")) },
            { try await session.send(Secret("x")) },
            { _ = try await session.status() },
            { _ = try await session.kept() },
            { try await session.forget(epoch: 0, index: 0) },
            { _ = try await session.reset(with: []) },
            { try await session.close() },
        ]
        for (number, call) in calls.enumerated() {
            #expect(await refusal { try await call() }?.code == .closed, "call \(number)")
        }
    }

    @Test func closeRefusesABatchAtWorkAndWhatWaitsBehindIt() async throws {
        let folder = try Folder()
        let store = try await Store.open(path: folder.path("a"), key: key, options: create)
        let (atWork, signal) = AsyncStream<Void>.makeStream()

        // The batch goes on until it is refused, so that this ends only if close gets through to
        // it.
        let batch = Task {
            try await store.batch { batch throws(PawlError) in
                try batch.put("half", Secret("1"), in: alice)
                signal.finish()
                try untilRefused { () throws(PawlError) in _ = try batch.has("half", in: alice) }
            }
        }
        for await _ in atWork {}
        let waiting = Task { try await store.put("late", Secret("2"), in: alice) }
        await store.close()

        #expect(await refusal { try await batch.value }?.code == .closed)
        #expect(await refusal { try await waiting.value }?.code == .closed)
        let again = try await Store.open(path: folder.path("a"), key: key, options: create)
        #expect(try await again.list(in: alice).isEmpty)
        await again.close()
    }

    @Test func aBatchThatEndsAfterCloseWritesNothing() async throws {
        let folder = try Folder()
        let store = try await Store.open(path: folder.path("a"), key: key, options: create)
        let batch = Task {
            try await store.batch { (batch) throws(PawlError) in
                try batch.put("half", Secret("1"), in: alice)
                Task { await store.close() }
                // Returning as if all was well, after having seen that it is not.
                try? untilRefused { () throws(PawlError) in _ = try batch.has("half", in: alice) }
            }
        }
        #expect(await refusal { try await batch.value }?.code == .closed)
        await store.close()
        let again = try await Store.open(path: folder.path("a"), key: key, options: create)
        #expect(try await !again.has("half", in: alice))
        await again.close()
    }

    @Test func aForgottenStoreClosesItselfAndLetsItsHostGo() async throws {
        let folder = try Folder()
        weak var vault: TestVault?
        do {
            let mine = TestVault()
            vault = mine
            let store = try await Store.open(
                path: folder.path("a"), key: key,
                options: Store.Options(creation: .ifAbsent, vault: mine))
            try await store.put("a", Secret("1"), in: alice)
            #expect(openFiles(in: folder) != 0)
        }
        #expect(await eventually { vault == nil })
        #expect(await eventually { openFiles(in: folder) ?? 0 == 0 })
    }

    /// How many files in a folder this process has open; nil where the system does not tell.
    private func openFiles(in folder: Folder) -> Int? {
        let manager = FileManager.default
        let files = try? manager.contentsOfDirectory(atPath: "/proc/self/fd").filter {
            let target = try? manager.destinationOfSymbolicLink(atPath: "/proc/self/fd/" + $0)
            return target?.hasPrefix(folder.url.path) == true
        }
        return files?.count
    }
}
