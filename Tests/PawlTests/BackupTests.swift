import Pawl
import Testing

@Suite(.timeLimit(.minutes(2))) struct BackupTests {
    let clock = TestClock()
    let server = BackupServer()

    private func device(_ name: String = "Ada") async throws -> BackupDevice {
        try await BackupDevice(name, server, clock)
    }

    /// Ada, who backs up the scope of `alice`.
    private func started() async throws -> BackupDevice {
        let device = try await device()
        try await device.account.createBackup()
        try await device.account.includeInBackup(alice)
        try await device.settle()
        return device
    }

    // MARK: lost and found

    @Test func aLostStoreComesBack() async throws {
        let old = try await device()
        let peer = try await device("Bob")
        try await old.account.keepHistory()
        #expect(await refusal { try await old.account.backup() }?.code == .notFound)
        try await old.store.put("before", Secret("1"), in: alice)
        try await old.account.createBackup()
        try await old.settle()
        // The version is there before its key is said to be.
        let created = try await old.account.backup()
        #expect(created.isOn && created.active?.generation == 1 && created.active?.hash.count == 32)
        #expect(created.active == created.server && created.active == created.key)
        #expect(old.events.last == .backupKeyCached(created))
        #expect(old.events.dropLast().last == .backupStatus(created))
        try await old.account.includeInBackup(alice)
        #expect(await refusal { try await old.account.includeInBackup(alice) }?.code == .exists)
        try await old.store.put("after", Secret("2"), in: alice)
        try await old.store.put("elsewhere", Secret("3"), in: Scope(user: "alice"))

        let package = try await published(by: peer.account)
        let session = try await old.account.startSession(with: "Bob", package: package)
        var frames = [try await session.encrypt(Secret("hello"))]
        let joined = try await peer.account.receive(frames[0]).session
        frames.append(try await joined.encrypt(Secret("hello yourself")))
        _ = try await old.account.receive(frames[1])
        try await old.settle()
        let live = try #require(server.current).entries(1, 2).count
        try await session.close()
        try await old.settle()
        #expect(try #require(server.current).entries(1, 2).count == live + 2)
        #expect(try await old.account.backup().pending == 0)
        let recoveryKey = try await old.account.backupRecoveryKey()
        await old.store.close()

        let fresh = try await device()
        try await fresh.account.includeInBackup(alice)
        try await fresh.account.recoverBackup(with: .recovery(RecoveryKey(recoveryKey.text)))
        try await fresh.settle()
        #expect(try await fresh.account.backup().download == .ready)
        let (findings, end) = try await fresh.restore()
        #expect(findings.isEmpty && end.writers == 1 && end.asOf == clock.now)
        #expect(end.progress.imported == 4 && end.progress.known == 0)
        #expect(try await fresh.store.get("before", in: alice).secret.text == "1")
        #expect(try await fresh.store.get("after", in: alice).secret.text == "2")
        #expect(try await !fresh.store.has("elsewhere", in: Scope(user: "alice")))
        for (frame, text) in zip(frames, ["hello", "hello yourself"]) {
            #expect(try await fresh.account.openHistory(frame).plaintext?.text == text)
        }
        let history = try await fresh.account.history()
        #expect(history.count == 2 && history.allSatisfy { $0.isClosed && $0.isImported })
        #expect(try await fresh.restore().end.progress.known == 4)
        #expect(try await fresh.account.backupRecoveryKey() == recoveryKey)
    }

    @Test func itComesInPages() async throws {
        let old = try await started()
        for number in 0..<50 {
            try await old.store.put("name \(number)", Secret("\(number)"), in: alice)
        }
        try await old.settle()
        let fresh = try await device()
        try await fresh.account.includeInBackup(alice)
        try await fresh.account.recoverBackup(
            with: .recovery(try await old.account.backupRecoveryKey()))
        try await fresh.settle()
        #expect(
            await refusal { try await old.account.fetchFromBackup("", in: alice) }?.reason
                == .misuseName)
        try await fresh.account.fetchFromBackup("name 49", in: alice)
        try await fresh.settle()
        #expect(try await fresh.store.get("name 49", in: alice).secret.text == "49")
        #expect(try await fresh.store.list(in: alice).count == 1)

        server.state.withLock { $0.pageSize = 10 }
        try await fresh.account.restoreBackup()
        while try await !fresh.account.backup().isRestoring { _ = try await fresh.serve() }
        _ = try await fresh.serve()
        try await fresh.account.stopRestoringBackup()
        try await fresh.settle()
        let stopped = try await fresh.account.backup()
        #expect(stopped.isRestoring && stopped.isStopped && stopped.progress.imported > 0)
        #expect(try await fresh.store.list(in: alice).count < 50)
        let (findings, end) = try await fresh.restore()
        #expect(findings.isEmpty && end.progress.imported + end.progress.known == 50)
        #expect(try await fresh.store.list(in: alice).count == 50)
        #expect(try await !fresh.account.backup().isRestoring)
    }

    /// A restore that has asked for its first page, on a clock that can be held.
    private func restoring(
        _ holding: HoldingClock
    ) async throws -> (store: Store, page: Item.ID, entries: [BackupEntry]) {
        let old = try await started()
        let key = try await old.account.backupRecoveryKey()
        let options = Store.Options(clock: { holding.now })
        let store = try await Store.inMemory(key: PawlTests.key, options: options)
        let account = try await PawlTests.account(named: "Ada", in: store)
        try await account.includeInBackup(alice)
        try await account.recoverBackup(with: .recovery(key))
        for _ in 0..<100 {
            try await store.runDue()
            let items = try await store.take()
            if items.isEmpty { try await account.restoreBackup() }
            for item in items {
                guard case .request(.backup(let request)) = item.content else {
                    try await store.ack([item.id])
                    continue
                }
                if case .page = request {
                    let entries = (0..<10_000).map { number in
                        let place = (0..<16).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) }
                        return BackupEntry(place: BackupEntry.Place(place)!, bytes: [0])
                    }
                    return (store, item.id, entries)
                }
                try await store.answer(item.id, server.reply(to: request))
            }
        }
        throw Restless()
    }

    @Test func othersNeedNotWaitForAPage() async throws {
        let clock = HoldingClock()
        let (store, page, entries) = try await restoring(clock)
        let ends = Locked<[String]>([])
        clock.hold()
        let answering = Task {
            try await store.answer(page, .page(entries, next: nil))
            ends.withLock { $0.append("page") }
        }
        #expect(await eventually { clock.isHeld })
        let putting = Task {
            try await store.put("meanwhile", Secret("1"), in: alice)
            ends.withLock { $0.append("put") }
        }
        await Task.yield()
        clock.release()
        try await putting.value
        try await answering.value
        #expect(ends.withLock { $0 } == ["put", "page"])
    }

    @Test func closingEndsAPageBetweenTwoEntries() async throws {
        let clock = HoldingClock()
        let (store, page, entries) = try await restoring(clock)
        clock.hold()
        let answering = Task {
            await refusal { try await store.answer(page, .page(entries, next: nil)) }
        }
        #expect(await eventually { clock.isHeld })
        let closing = Task { await store.close() }
        await Task.yield()
        clock.release()
        #expect(await answering.value?.code == .closed)
        await closing.value
    }

    @Test func theHistoryOfOneEpochIsFetched() async throws {
        let old = try await started()
        let peer = try await device("Bob")
        try await old.account.keepHistory()
        let package = try await published(by: peer.account)
        let session = try await old.account.startSession(with: "Bob", package: package)
        let frame = try await session.encrypt(Secret("hello"))
        try await session.close()
        try await old.settle()
        let fresh = try await device()
        #expect(
            await refusal {
                try await fresh.account.fetchFromBackup(session: session.id, epoch: 0)
            }?.reason == .stateBackup)
        try await fresh.account.includeInBackup(alice)
        try await fresh.account.recoverBackup(
            with: .recovery(try await old.account.backupRecoveryKey()))
        try await fresh.settle()
        try await fresh.account.fetchFromBackup(session: session.id, epoch: 0)
        try await fresh.settle()
        #expect(try await fresh.account.openHistory(frame).plaintext?.text == "hello")
        // What is not there is not asked for again for a while.
        _ = fresh.refusals()
        try await fresh.account.fetchFromBackup(session: session.id, epoch: 7)
        try await fresh.settle()
        try await fresh.account.fetchFromBackup(session: session.id, epoch: 7)
        try await fresh.settle()
        #expect(fresh.refusals() == [.missing, .missing, .missing, .missing])
        let asked = server.state.withLock { state in
            state.requests.filter { if case .item = $0 { true } else { false } }.count
        }
        #expect(asked == 4)
    }

    // MARK: versions

    @Test func aResetReplacesTheVersion() async throws {
        let device = try await started()
        try await device.store.put("a", Secret("1"), in: alice)
        try await device.settle()
        let first = try await device.account.backupRecoveryKey()
        try await device.account.resetBackup(escrow: true)
        try await device.settle()
        let second = try await device.account.backupRecoveryKey()
        #expect(first != second)
        #expect(server.state.withLock { $0.escrow } == second)
        #expect(server.state.withLock { $0.versions.map(\.number) } == ["2"])
        // Escrowed before it is made, deleted after it is filled.
        let order = server.state.withLock { $0.requests }.compactMap { request -> String? in
            switch request {
            case .escrow: "escrow"
            case .create: "create"
            case .put(let version, _): "put \(version)"
            case .delete(let version): "delete \(version)"
            default: nil
            }
        }
        #expect(order.suffix(4) == ["escrow", "create", "put 2", "delete 1"])
        #expect(server.current?.entries(1, 2).count == 1)

        let other = try await self.device()
        try await other.account.includeInBackup(alice)
        try await other.account.recoverBackup(with: .recovery(first))
        try await other.settle()
        #expect(other.refusals() == [.wrongKey])
        #expect(try await other.account.backup().download == .keyMissing)
        try await other.account.recoverBackup(with: .recovery(second))
        try await other.settle()
        #expect(try await other.restore().end.progress.imported == 1)
    }

    @Test func itIsTurnedOffAndDeleted() async throws {
        let device = try await started()
        let (store, account) = (device.store, device.account)
        try await store.put("a", Secret("1"), in: alice)
        try await device.settle()
        try await account.disableBackup()
        try await store.put("b", Secret("2"), in: alice)
        try await device.settle()
        let off = try await account.backup()
        #expect(!off.isOn && off.download == .off && off.active == nil && off.key != nil)
        #expect(server.current?.entries(1, 2).count == 1)
        try await account.enableBackup()
        try await device.settle()
        #expect(server.current?.entries(1, 2).count == 2)
        try await account.excludeFromBackup(alice)
        #expect(await refusal { try await account.excludeFromBackup(alice) }?.code == .notFound)
        try await account.includeInBackup(user: "alice")
        try await account.excludeFromBackup(user: "alice")
        try await store.put("c", Secret("3"), in: alice)
        try await account.resetBackup()
        try await device.settle()
        #expect(server.current?.entries(1, 2).isEmpty == true)
        try await account.deleteBackup()
        try await device.settle()
        #expect(server.current == nil)
        #expect(try await account.backup().key == nil)
        #expect(await refusal { try await account.backupRecoveryKey() }?.reason == .stateBackup)
    }

    @Test func keysAreWrapped() async throws {
        let recoveryKey = try RecoveryKey.generate(.backup)
        let wrapped = try recoveryKey.wrapped(for: key)
        #expect(try RecoveryKey(unwrapping: wrapped, with: key) == recoveryKey)
        #expect(
            await refusal { try RecoveryKey(unwrapping: wrapped, with: otherKey) }?.code == .auth)
        #expect(
            await refusal { try RecoveryKey(unwrapping: [1, 2, 3], with: key) }?.code == .corrupt)
        #expect(
            await refusal { try RecoveryKey.generate(.store).wrapped(for: key) }?.reason
                == .misuseRecoveryPrefix)
        let device = try await device()
        try await device.account.createBackup(with: .recovery(recoveryKey))
        try await device.settle()
        #expect(try await device.account.backupRecoveryKey() == recoveryKey)
        let passphrase = Key.passphrase("correct horse")
        #expect(
            await refusal { try await device.account.recoverBackup(with: passphrase) }?.reason
                == .misuseKey)
    }

    @Test func failureIsTriedAgain() async throws {
        let device = try await device()
        let until = clock.now + .seconds(1_000)
        server.state.withLock { $0.meddle = { _ in .rateLimited(until: until) } }
        try await device.account.createBackup()
        try await device.settle()
        let waiting = try await device.account.backup()
        #expect(waiting.phase == .waiting && waiting.isOn && waiting.active == nil)
        #expect(try #require(waiting.retry) >= until)
        server.state.withLock { $0.meddle = nil }
        clock.advance(.seconds(999))
        try await device.settle()
        #expect(try await device.account.backup().phase == .waiting)
        clock.advance(.seconds(3_600))
        try await device.settle()
        #expect(try await device.account.backup().active?.generation == 1)
        // A second one is refused.
        _ = device.refusals()
        try await device.account.createBackup()
        try await device.settle()
        #expect(device.refusals() == [.exists])
    }

    @Test func aBatchIsAllOrNothing() async throws {
        let device = try await device()
        let id = device.account.id
        try await device.store.batch { batch throws(PawlError) in
            try batch.createBackup(of: id)
            try batch.includeInBackup(alice, of: id)
            _ = try batch.put("a", Secret("1"), in: alice)
            #expect(try batch.backup(of: id).isOn)
        }
        try await device.settle()
        #expect(server.current?.entries(1, 2).count == 1)
        let item = try #require(server.current?.entries(1, 2).first)
        try await device.account.fetchFromBackup("a", in: alice)
        let request = try #require(try await device.store.take().last)
        #expect(request.content == .request(.backup(.item(version: "1", place: item.place))))
        let error = await refusal {
            try await device.store.batch { batch throws(PawlError) in
                try batch.answer(request.id, .item(item))
            }
        }
        #expect(error?.reason == .stateBatch)
        #expect(await refusal { try await device.store.answer(request.id) }?.reason == .misuseFlags)
        try await device.store.answer(request.id, .item(item))
        try await device.store.answer(request.id, .noItem)
        try await device.settle()
    }

    // MARK: own accounts

    @Test func anOwnAccountIsAskedForTheSecret() async throws {
        let phone = try await device("phone")
        let tablet = try await device("tablet")
        let package = try await published(by: tablet.account)
        let there = try await phone.account.startSession(with: "tablet", package: package)
        let hello = try await there.encrypt(Secret("hello"))
        let here = try await tablet.account.receive(hello).session
        try await phone.account.createBackup()
        try await phone.account.includeInBackup(alice)
        try await phone.store.put("a", Secret("1"), in: alice)
        try await phone.settle()

        try await tablet.account.enableBackup()
        try await tablet.account.askForBackupSecret()
        try await tablet.settle()
        let number = try #require(server.state.withLock { $0.secretRequest })
        #expect(
            await refusal { try await there.shareBackup(for: number) }?.reason == .stateIdentity)
        try await phone.account.trust(tablet.account.identity, as: .verified)
        let shared = try await there.shareBackup(for: number)
        #expect(shared.count == 49)
        try await here.receiveBackup(shared)
        try await tablet.settle()
        #expect(tablet.refusals() == [.unasked])
        try await tablet.account.trust(phone.account.identity, as: .verified)
        try await here.receiveBackup(try await there.shareBackup(for: number + 1))
        try await tablet.settle()
        #expect(tablet.refusals() == [.unasked])
        #expect(await refusal { try await here.receiveBackup(Secret([1])) }?.code == .corrupt)
        try await here.receiveBackup(shared)
        try await tablet.settle()
        #expect(try await tablet.account.backup().active == phone.account.backup().active)
        // Who has the secret does not reach scopes that were not included here.
        let foreign = try await tablet.restore().end.progress
        #expect(foreign.imported == 0 && foreign.foreign == 1)
        try await tablet.account.includeInBackup(alice)
        #expect(try await tablet.restore().end.progress.imported == 1)
        #expect(try await tablet.store.get("a", in: alice).secret.text == "1")
    }

    // MARK: servers that lie

    @Test func whatAServerDoesIsFound() async throws {
        let writer = try await started()
        try await writer.store.put("a", Secret("1"), in: alice)
        try await writer.settle()
        let before = try #require(server.current)
        clock.advance(.seconds(600))
        try await writer.store.put("a", Secret("2"), in: alice)
        try await writer.store.put("b", Secret("1"), in: alice)
        try await writer.settle()
        let after = try #require(server.current)
        let reader = try await device()
        try await reader.account.includeInBackup(alice)
        try await reader.account.recoverBackup(
            with: .recovery(try await writer.account.backupRecoveryKey()))
        try await reader.settle()
        let first = try await reader.restore()
        #expect(first.findings.isEmpty && first.end.asOf == clock.now)

        func findings(_ change: (inout BackupServer.Version) -> Void) async throws -> Set<
            Backup.Finding
        > {
            server.change { version in
                version.entries = after.entries
                change(&version)
            }
            return Set(try await reader.restore().findings)
        }
        #expect(try await findings { _ in }.isEmpty)
        let item = try #require(before.entries(1).first)
        let others = after.entries(1).filter { $0.place != item.place }
        let other = try #require(others.first)
        let manifest = try #require(before.entries(3).first)
        let page = try #require(before.entries(4).first)
        // Withheld, replayed, swapped, changed.
        #expect(try await findings { $0.entries[item.place] = nil }.contains(.omitted))
        #expect(try await findings { $0.entries[item.place] = item } == [.older])
        let swapped = BackupEntry(place: item.place, bytes: other.bytes)
        #expect(
            try await findings { $0.entries[item.place] = swapped }.contains(.undecryptable))
        let broken = BackupEntry(place: item.place, bytes: [1, 2, 3])
        #expect(try await findings { $0.entries[item.place] = broken }.contains(.malformed))
        #expect(try await findings { $0.entries[page.place] = page }.contains(.listing))
        // Rolled back.
        #expect(
            try await findings { $0.entries[manifest.place] = manifest }.contains(.rolledBack))
        #expect(
            try await findings { $0.entries[manifest.place] = nil }.contains(.withheld))
        #expect(try await findings { $0.entries = before.entries } == [.rolledBack])
        // Nothing of it reached the store. Who comes for the first time is told as of when.
        #expect(try await reader.store.get("a", in: alice).secret.text == "2")
        let late = try await device()
        try await late.account.includeInBackup(alice)
        try await late.account.recoverBackup(
            with: .recovery(try await writer.account.backupRecoveryKey()))
        try await late.settle()
        let (found, end) = try await late.restore()
        #expect(found.isEmpty && end.asOf == clock.now - .seconds(600))
        #expect(try await late.store.get("a", in: alice).secret.text == "1")
    }

    @Test func anOlderVersionIsRestoredOnDemandAlone() async throws {
        let device = try await started()
        try await device.store.put("a", Secret("1"), in: alice)
        try await device.settle()
        let old = try #require(server.current)
        let recoveryKey = try await device.account.backupRecoveryKey()
        try await device.account.resetBackup()
        try await device.settle()
        server.state.withLock { $0.versions = [old] }
        try await device.account.enableBackup()
        try await device.settle()
        #expect(try await device.account.backup().download == .rolledBack)
        _ = device.refusals()
        try await device.account.recoverBackup(with: .recovery(recoveryKey))
        try await device.settle()
        #expect(device.refusals() == [.rolledBack])
        let offered = try await device.account.backup()
        #expect(offered.canRestoreOlder && offered.active == nil)
        try await device.account.restoreBackup()
        try await device.settle()
        #expect(device.refusals() == [.notReady])
        try await device.store.delete("a", in: alice)
        try await device.account.restoreBackup(acceptOlder: true)
        try await device.settle()
        #expect(try await device.store.get("a", in: alice).secret.text == "1")
    }

    @Test func aRankIsInTheBytes() async throws {
        let device = try await started()
        try await device.store.put("a", Secret("1"), in: alice)
        try await device.settle()
        for entry in try #require(server.current).entries.values {
            #expect(try BackupEntry.rank(of: entry.bytes) == entry.rank)
        }
        #expect(await refusal { try BackupEntry.rank(of: [1, 2]) }?.code == .corrupt)
        let (low, high) = (
            BackupEntry.Rank(first: 1, order: 9), BackupEntry.Rank(first: 2, order: 0)
        )
        #expect(low < high && !(high < low) && !(low < low))
    }
}

private struct Restless: Error {}

/// Holds whoever asks for the time next until it is released.
private final class HoldingClock: Sendable {
    private let time = TestClock()
    private let isArmed = Locked(false)
    private let held = Counter()
    private let released = Semaphore()

    var isHeld: Bool { held.value > 0 }
    func hold() { isArmed.withLock { $0 = true } }
    func release() { released.signal() }

    var now: Timestamp {
        let isMine = isArmed.withLock { isArmed in
            defer { isArmed = false }
            return isArmed
        }
        if isMine {
            held.increment()
            released.wait()
        }
        return time.now
    }
}
