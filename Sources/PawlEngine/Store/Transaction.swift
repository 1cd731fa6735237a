package import PawlCore
package import PawlCrypto
package import PawlStore

/// One call's view of the store: reads see the snapshot, writes are collected and applied together
/// when the call has decided. A call that throws has therefore written nothing, in a batch too.
package final class Transaction {
    private let port: any StoragePort
    package let sealer: Sealer
    let clock: any Clock
    let memory: StoreMemory
    private let counters: Counters
    fileprivate typealias Write = (row: RowKey, value: Value)
    private var writes: [Write] = []
    /// How many of them need a nonce.
    private var sealed = 0
    var schedule = ScheduleChange()
    var outbox = OutboxChange()
    /// Of accounts, as this call leaves them.
    var rotations: [Identifier: Rotation] = [:]
    var backups = BackupChange()
    /// The last version that this call has given out.
    var version: UInt64?
    /// Whether what comes first comes earlier than before, which whoever waits must know.
    private(set) var isUrgent = false
    /// Whether an epoch has begun or a session has ended, for which somebody may wait.
    var wakesWaiters = false
    /// What the host's trace is told after the commit.
    private(set) var steps: [TracedStep] = []

    /// What becomes of a row.
    fileprivate enum Value {
        case plain(SecretBuffer)
        case raw(SecretBuffer)
        case mark
        case gone
    }

    init(
        port: any StoragePort, sealer: Sealer, clock: any Clock, counters: Counters,
        memory: StoreMemory
    ) {
        self.port = port
        self.sealer = sealer
        self.clock = clock
        self.counters = counters
        self.memory = memory
        swap(&writes, &memory.writes)
    }

    deinit {
        writes.removeAll(keepingCapacity: writes.count <= 64)
        swap(&writes, &memory.writes)
    }

    var canCheckpoint: Bool { port.canCheckpoint }

    // MARK: Reading

    package func get(_ row: RowKey) throws(Failure) -> SecretBuffer? {
        var plaintext: SecretBuffer?
        try getRaw(row) { (value) throws(Failure) in plaintext = try open(value, at: row) }
        return plaintext
    }

    /// Not to be changed: somebody else may have it, too.
    func open(_ value: Bytes, at row: RowKey) throws(Failure) -> SecretBuffer {
        if let known = memory.values.plaintext(of: value, at: row) { return known }
        let plaintext = try sealer.open(value, for: row)
        if OpenedValues.areKept(row, value.count) {
            memory.values.keep(plaintext, of: try SecretBuffer(copying: value), at: row)
        }
        return plaintext
    }

    package func getRaw(_ row: RowKey, _ body: (Bytes) throws(Failure) -> Void) throws(Failure) {
        counters.reads &+= 1
        try row.withBytes { (key) throws(Failure) in _ = try port.get(key, body) }
    }

    func slotTable() throws(Failure) -> SlotTable {
        let table = try SlotTable.read(port)
        counters.reads &+= 1
        counters.scanned &+= UInt64(table.slots.count + table.unread.count)
        return table
    }

    /// Visits the rows that begin with `prefix`, after `after`, until `body` answers false.
    package func scanRaw(
        _ prefix: RowKey, after: RowKey? = nil, _ body: (RowKey, Bytes) throws(Failure) -> Bool
    ) throws(Failure) {
        try (after?.next ?? prefix).withBytes { (from) throws(Failure) in
            try prefix.end.withBytes { (to) throws(Failure) in
                try scanRaw(from: from, to: to) { (key, value) throws(Failure) in
                    // One that is too long is a newer Pawl's.
                    guard let row = RowKey(copying: key) else { return true }
                    return try body(row, value)
                }
            }
        }
    }

    /// All there is, with the keys that no row of this Pawl has.
    package func scanEverything(
        _ body: (_ key: Bytes, _ value: Bytes) throws(Failure) -> Bool
    ) throws(Failure) {
        let ends: InlineArray<2, UInt8> = [0x00, 0xFF]
        try ends.span.bytes.withUnsafeBytes { (ends) throws(Failure) in
            try scanRaw(
                from: Bytes(rebasing: ends[..<1]), to: Bytes(rebasing: ends[1...]), body)
        }
    }

    private func scanRaw(
        from: Bytes, to: Bytes, _ body: (Bytes, Bytes) throws(Failure) -> Bool
    ) throws(Failure) {
        try port.scan(from: from, to: to, limit: Int.max) { (key, value) throws(Failure) in
            counters.scanned &+= 1
            return try body(key, value)
        }
    }

    // MARK: Writing

    package func put(_ row: RowKey, _ plaintext: Bytes) throws(Failure) {
        put(row, try SecretBuffer(copying: plaintext))
    }

    /// `plaintext` is not changed any more.
    package func put(_ row: RowKey, _ plaintext: SecretBuffer) {
        writes.append((row, .plain(plaintext)))
        if row.kind?.isStamped != true { sealed += 1 }
    }

    /// A row whose key says it all.
    func putMark(_ row: RowKey) { writes.append((row, .mark)) }

    package func putRaw(_ row: RowKey, _ value: SecretBuffer) { writes.append((row, .raw(value))) }

    package func delete(_ row: RowKey) { writes.append((row, .gone)) }

    var isEmpty: Bool { writes.isEmpty }

    func trace(_ session: Session, _ done: [Rekey.Step]) {
        for step in done { steps.append(TracedStep(session: session.id, step: step)) }
    }

    /// What was planned and put into lanes becomes writes.
    func conclude() throws(Failure) {
        try concludeRotations()
        try concludeBackups()
        let due = try concludeSchedule()
        let ready = try concludeOutbox()
        let earliest = min(due ?? Int64.max, ready ?? Int64.max)
        isUrgent = wakesWaiters
        guard !isUrgent, earliest < Int64.max else { return }
        isUrgent = try isFirst(earliest)
    }

    func apply() throws(Failure) {
        // The nonces of all values at once, and none that outlives the commit.
        let nonces = try SecretBuffer(count: sealed * Seal.nonceSize)
        fillRandom(nonces.mutableBytes)
        var reader = ByteReader(nonces.bytes)
        for (row, value) in writes {
            counters.writes &+= 1
            try row.withBytes { (key) throws(Failure) in
                switch value {
                case .plain(let plaintext):
                    let isStamped = row.kind?.isStamped == true
                    let nonce = try isStamped ? nil : reader.take(Seal.nonceSize)
                    let sealed = try sealer.seal(plaintext.bytes, for: row, nonce: nonce)
                    try port.put(key, sealed.bytes)
                    if OpenedValues.areKept(row, sealed.count) {
                        memory.values.keep(plaintext, of: sealed, at: row)
                    }
                    withExtendedLifetime((plaintext, sealed)) {}
                case .raw(let value):
                    try port.put(key, value.bytes)
                    withExtendedLifetime(value) {}
                case .mark:
                    try withUnsafeBytes(of: Sealer.mark) { (mark) throws(Failure) in
                        try port.put(key, mark)
                    }
                case .gone: try port.delete(key)
                }
            }
        }
        withExtendedLifetime(nonces) {}
    }
}

/// A transition of a session's rekeying.
package struct TracedStep {
    package let session: Identifier
    package let step: Rekey.Step
}

/// What one handle has seen of its file and need not look at again. Guarded by the lock of its store.
final class StoreMemory {
    /// When the schedule was last changed, as far as this handle has read; it may have been later.
    var lastChange: Int64?
    var values = OpenedValues()
    /// Room that a transaction leaves for the writes of the next.
    fileprivate var writes: [Transaction.Write] = []
    /// Lanes of items that this handle has lent out, but requests', whose end somebody waits for.
    private var lanes: [UInt64: OutboxLane] = [:]
    private static let limit = 4_096

    func lent(_ seq: UInt64, from lane: OutboxLane) {
        guard !lane.kind.isOfRequests, lane.kind != .backup else { return }
        if lanes.count >= Self.limit { lanes = [:] }
        lanes[seq] = lane
    }

    /// Of an item that is settled.
    func takeLane(of seq: UInt64) -> OutboxLane? { lanes.removeValue(forKey: seq) }
}

/// What one handle did, for `pawl_store_stats`.
package final class Counters {
    package var transactions: UInt64 = 0
    package var commits: UInt64 = 0
    package var reads: UInt64 = 0
    package var scanned: UInt64 = 0
    package var writes: UInt64 = 0
    package var vaultCalls: UInt64 = 0
}
