import PawlCore
import PawlCrypto
import PawlEngine
import PawlStore
import Testing

#if canImport(Glibc)
    import Glibc
#endif

/// What a review found and what must not come back.
@Suite struct CredentialTests {
    private func rules(expires: Int64? = nil, ifVersion: UInt64? = nil) -> CredentialRules.Put {
        var put = CredentialRules.Put()
        if let expires { put.expiry = .set(expires) }
        put.ifVersion = ifVersion
        return put
    }

    /// A clock that can also go back.
    private final class LooseClock: Clock {
        var time: Int64 = 1_000
        func now() -> Int64 { time }
    }

    /// What was once reported as absent stays absent, whichever call reported it.
    @Test(arguments: 0..<6) func expiryNeverUnHappens(_ way: Int) throws {
        let clock = LooseClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        let version = try store.put("n", "s", rules(expires: 2_000))
        clock.time = 2_000
        switch way {
        case 0: #expect(throws: Failure.notFound) { try store.secret("n") }
        case 1: #expect(try store.contents().isEmpty)
        case 2: #expect(throws: Failure.notFound) { try store.delete("n") }
        case 3:
            #expect(throws: Failure.notFound) { try store.put("n", "t", rules(ifVersion: version)) }
        case 4: #expect(throws: Failure.time) { try store.put("n", "t", rules(expires: 1_500)) }
        default: #expect(throws: Failure.notFound) { try store.restore("n") }
        }
        clock.time = 1_000
        #expect(throws: Failure.notFound) { try store.secret("n") }
    }

    @Test func anExpiredVersionIsNotRestored() throws {
        let clock = LooseClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        try store.put("n", "s", rules(expires: 2_000))
        try store.delete("n", recovery: 100_000)
        clock.time = 2_000
        #expect(throws: Failure.notFound) { try store.restore("n") }
        clock.time = 1_000
        #expect(throws: Failure.notFound) { try store.restore("n") }
    }

    @Test func anEndlessRecoveryIsStillADeletion() throws {
        let store = try openStore(on: MemoryStorage())
        try store.put("n", "s")
        try store.delete("n", recovery: .max)
        let purges = try store.scoped { scope in
            try withText("n") { try store.deletedCredentials(scope, $0).map { $0.record.purge } }
        }
        #expect(purges == [.max - 1])
        try store.restore("n")
        #expect(try store.secret("n") == "s")
    }

    @Test func aLostSequenceLeapsOverWhatWasGiven() throws {
        let data = MemoryStorage()
        let store = try openStore(on: data.sibling())
        try store.put("kept", "1")
        let given = try store.put("gone", "2")
        try store.delete("gone")
        let port = try data.sibling()
        try port.begin(.write)
        try RowKey(.sequence).withBytes { try port.delete($0) }
        try port.commit()
        #expect(try store.put("new", "3") > given)
    }

    /// A damaged record can be replaced, and takes its large secret along.
    @Test func aDamagedRecordLeavesNoSecretBehind() throws {
        let data = MemoryStorage()
        let store = try openStore(on: data.sibling())
        try store.put("n", CrashSweepTests.large)
        var rows: [RowKey: Int] = [:]
        let port = try data.sibling()
        func visit(_ mode: TransactionMode, _ body: (RowKey, Bytes) throws(Failure) -> Void) throws
        {
            try port.begin(mode)
            var found: [(RowKey, [UInt8])] = []
            try [UInt8(0), 255].withUnsafeBytes { ends in
                try port.scan(
                    from: Bytes(rebasing: ends[..<1]), to: Bytes(rebasing: ends[1...]), limit: .max
                ) { key, value in
                    if let row = RowKey(copying: key) { found.append((row, Array(value))) }
                    return true
                }
            }
            for (key, value) in found { try value.withUnsafeBytes { try body(key, $0) } }
            if mode == .write { try port.commit() } else { port.rollback() }
        }
        try visit(.write) { (key, value) throws(Failure) in
            guard key.kind == .credential else { return }
            let bad = try SecretBuffer(copying: value)
            bad.mutableBytes[40] ^= 1
            try key.withBytes { (key) throws(Failure) in try port.put(key, bad.bytes) }
        }
        #expect(throws: Failure.corrupt(.record)) { try store.secret("n") }
        try store.put("n", "small")
        try visit(.read) { key, _ in rows[key, default: 0] += 1 }
        #expect(rows.keys.filter { $0.kind == .secret }.isEmpty)
        #expect(try store.secret("n") == "small")
    }

    /// Slots are read before there is a key, so whatever they say is hostile.
    @Test func forgedSlotsCostThemselvesAlone() throws {
        let data = MemoryStorage()
        _ = try openStore(on: data.sibling())
        let port = try data.sibling()
        try port.begin(.write)
        var slot: [UInt8] = []
        _ = try SlotRecord.key(0).withBytes { key in try port.get(key) { slot = Array($0) } }
        for number in 1...255 {
            var forged = slot
            forged[18] = UInt8(number)
            if number == 7 { forged[0] = 9 }
            try SlotRecord.key(UInt8(number)).withBytes { key in
                try forged.withUnsafeBytes { try port.put(key, $0) }
            }
        }
        try port.commit()
        let store = try openStore(on: data.sibling())
        #expect(try store.slots().count == 15)
        #expect(throws: Failure.limit(.slots)) {
            try testKey.withUnsafeBytes { try store.addSlot(.raw($0)) }
        }
        // With no other slot left, a newer one is told from a wrong key.
        try port.begin(.write)
        for number in 0...255 where number != 7 {
            try SlotRecord.key(UInt8(number)).withBytes { try port.delete($0) }
        }
        try port.commit()
        #expect(throws: Failure.version) { try openStore(on: data.sibling()) }
    }

    /// A commit that was reported as unknown lands after all, while the put that gave it up is about to
    /// remove its value: the fence is there first, and nothing is lost.
    @Test func aLateCommitFindsTheFence() throws {
        var commit = 0
        var isReached = true
        while isReached {
            commit += 1
            let data = MemoryStorage()
            let clock = ManualClock()
            let vault = MemoryVault()
            let store = try openStore(on: data.sibling(), clock: clock, vault: vault)
            try store.put("n", "old")
            let late = LateStorage(try data.sibling(), data, doubting: commit)
            let watched = WatchedVault(vault) { late.land() }
            let answer = Result {
                try openStore(on: late, clock: clock, vault: watched).put("n", "new")
            }
            isReached = late.pending != nil
            late.land()
            for _ in 0..<2 {
                clock.advance(10_000)
                _ = try store.reconcile(grace: 1, dryRun: false)
            }
            switch answer {
            case .success: #expect(try store.secret("n") == "new")
            case .failure(let error as Failure):
                let found = try store.secret("n")
                if case .store(.indeterminate, _) = error {
                    #expect(found == "old" || found == "new")
                } else {
                    #expect(found == "old", "\(error)")
                }
            case .failure(let error): throw error
            }
            #expect(vault.ids.count == 1)
        }
        #expect(commit > 2)
    }

    /// Reports one commit as unknown and keeps it back until `land`. Like a database that finds out about
    /// conflicting writes, it then drops it if the intent that it deletes is gone.
    private final class LateStorage: StoragePort {
        private let inner: any StoragePort
        private let data: MemoryStorage
        private let doubted: Int
        private var commits = 0
        private var writes: [(key: [UInt8], value: [UInt8]?)] = []
        private(set) var pending: [(key: [UInt8], value: [UInt8]?)]?

        init(_ inner: any StoragePort, _ data: MemoryStorage, doubting commit: Int) {
            self.inner = inner
            self.data = data
            doubted = commit
        }

        func land() {
            guard let writes = pending, let port = try? data.sibling() else { return }
            pending = []
            try? port.begin(.write)
            var isCurrent = true
            for (key, value) in writes where value == nil && key[0] == RowKind.intent.rawValue {
                isCurrent = (try? key.withUnsafeBytes { try port.get($0) { _ in } }) ?? false
            }
            guard isCurrent else { return port.rollback() }
            for (key, value) in writes {
                key.withUnsafeBytes { key in
                    if let value {
                        value.withUnsafeBytes { try? port.put(key, $0) }
                    } else {
                        try? port.delete(key)
                    }
                }
            }
            try? port.commit()
        }

        func begin(_ mode: TransactionMode) throws(Failure) {
            writes = []
            try inner.begin(mode)
        }
        func get(_ key: Bytes, _ body: (Bytes) throws(Failure) -> Void) throws(Failure) -> Bool {
            try inner.get(key, body)
        }
        func put(_ key: Bytes, _ value: Bytes) throws(Failure) {
            writes.append((Array(key), Array(value)))
            try inner.put(key, value)
        }
        func delete(_ key: Bytes) throws(Failure) {
            writes.append((Array(key), nil))
            try inner.delete(key)
        }
        func scan(
            from: Bytes, to: Bytes, limit: Int, _ body: (Bytes, Bytes) throws(Failure) -> Bool
        ) throws(Failure) { try inner.scan(from: from, to: to, limit: limit, body) }
        func commit() throws(Failure) {
            commits += 1
            guard commits == doubted else { return try inner.commit() }
            inner.rollback()
            pending = writes
            throw FaultPlan.doubt
        }
        func rollback() { inner.rollback() }
        func sibling() throws(Failure) -> any StoragePort { try inner.sibling() }
        func close() { inner.close() }
    }

    /// Tells before each removal.
    private final class WatchedVault: SecretVault {
        private let vault: MemoryVault
        private let beforeRemove: () -> Void
        var lease: Int64 { vault.lease }

        init(_ vault: MemoryVault, _ beforeRemove: @escaping () -> Void) {
            self.vault = vault
            self.beforeRemove = beforeRemove
        }
        func set(_ id: VaultID, _ value: Bytes) -> Int32 { vault.set(id, value) }
        func get(_ id: VaultID, _ value: UnsafeMutableRawBufferPointer) -> VaultValue {
            vault.get(id, value)
        }
        func remove(_ id: VaultID) -> Int32 {
            beforeRemove()
            return vault.remove(id)
        }
        func next(after: VaultID?) -> VaultNext { vault.next(after: after) }
    }

    /// A writer that waits for a batch holds up neither readers nor the batch's own thread.
    @Test func aWaitingWriterHoldsUpNobody() throws {
        let data = MemoryStorage()
        _ = try openStore(on: data.sibling())
        nonisolated(unsafe) let store = try openStore(on: data.sibling(), timeout: 600_000_000_000)
        try store.put("n", "before")
        let batch = try store.beginBatch()
        try batch.put("n", "batch")
        nonisolated(unsafe) var thread = pthread_t()
        let body: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = {
            context in
            if let context {
                let store = Unmanaged<Store>.fromOpaque(context).takeUnretainedValue()
                _ = try? store.put("n", "waited")
            }
            return nil
        }
        #expect(
            pthread_create(&thread, nil, body, Unmanaged.passUnretained(store).toOpaque()) == 0)
        // With the wait under the lock this read would not come back for ten minutes.
        for _ in 0..<200 {
            #expect(try store.secret("n") == "before")
            usleep(200)
        }
        try batch.endBatch(commit: true)
        pthread_join(thread, nil)
        #expect(try store.secret("n") == "waited")
    }
}
