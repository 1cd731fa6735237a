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
                    found.append((RowKey(copying: key), Array(value)))
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

    /// A commit whose outcome is unknown and that did not happen loses neither the old value nor the way
    /// back to it.
    @Test func anUnknownCommitLosesNothing() throws {
        let data = MemoryStorage()
        let clock = ManualClock()
        let vault = MemoryVault()
        let store = try openStore(on: data.sibling(), clock: clock, vault: vault)
        try store.put("n", "old")
        var operation = 0
        var met = false
        while !met {
            operation += 1
            let plan = FaultPlan(failing: operation)
            let doubtful = DoubtfulStorage(FaultyStorage(try data.sibling(), plan))
            guard let other = try? openStore(on: doubtful, clock: clock, vault: vault) else {
                continue
            }
            let answer = Result { try other.put("n", "new") }
            met = !plan.fired
            if case .failure(let error as Failure) = answer {
                #expect(try store.secret("n") == "old", "\(error)")
            }
            clock.advance(10_000)
            _ = try store.reconcile(grace: 0, dryRun: false)
            if case .success = answer { try store.put("n", "old") }
            #expect(try store.secret("n") == "old")
        }
        #expect(operation > 10)
    }

    /// A commit that fails is reported as unknown.
    private final class DoubtfulStorage: StoragePort {
        private let inner: any StoragePort
        init(_ inner: any StoragePort) { self.inner = inner }
        func begin(_ mode: TransactionMode) throws(Failure) { try inner.begin(mode) }
        func get(_ key: Bytes, _ body: (Bytes) throws(Failure) -> Void) throws(Failure) -> Bool {
            try inner.get(key, body)
        }
        func put(_ key: Bytes, _ value: Bytes) throws(Failure) { try inner.put(key, value) }
        func delete(_ key: Bytes) throws(Failure) { try inner.delete(key) }
        func scan(
            from: Bytes, to: Bytes, limit: Int, _ body: (Bytes, Bytes) throws(Failure) -> Bool
        ) throws(Failure) { try inner.scan(from: from, to: to, limit: limit, body) }
        func commit() throws(Failure) {
            do throws(Failure) { try inner.commit() } catch { throw FaultPlan.doubt }
        }
        func rollback() { inner.rollback() }
        func sibling() throws(Failure) -> any StoragePort {
            DoubtfulStorage(try inner.sibling())
        }
        func close() { inner.close() }
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
