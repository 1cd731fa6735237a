import PawlCore
import PawlCrypto
import PawlEngine
import PawlStore
import Synchronization

// What the tests of the core share: a clock that stands still, a vault in memory, and stores on them.

extension SecretBuffer {
    convenience init(_ text: String) throws(Failure) {
        let octets = Array(text.utf8)
        try self.init(count: octets.count)
        mutableBytes.copyBytes(from: octets)
    }
}

/// Borrows the bytes of a text for one call.
func withText<R>(_ text: String, _ body: (Bytes) throws -> R) rethrows -> R {
    let octets = Array(text.utf8)
    return try octets.withUnsafeBytes { try body($0) }
}

/// A buffer's bytes, copied while it is alive: those of a temporary are gone when they are looked at.
func array(_ buffer: SecretBuffer) -> [UInt8] { Array(buffer.bytes) }
func text(_ buffer: SecretBuffer) -> String { text(buffer.bytes) }

func text(_ bytes: Bytes?) -> String { String(decoding: bytes ?? .empty, as: UTF8.self) }

final class ManualClock: Clock, Sendable {
    private let time = Mutex<Int64>(1_000_000_000_000)
    func now() -> Int64 { time.withLock { $0 } }
    func advance(_ nanoseconds: Int64) { time.withLock { $0 += nanoseconds } }
    func set(_ now: Int64) { time.withLock { $0 = now } }
}

/// A vault in memory that survives "crashes" and fails where it is told to.
final class MemoryVault: SecretVault, Sendable {
    enum Mode: Sendable { case before, after }
    struct State {
        var values: [[UInt8]: [UInt8]] = [:]
        var count = 0
        var failing: Int?
        var mode = Mode.before
        var fired = false
        var onSet: (@Sendable () -> Void)?
    }
    let state = Mutex(State())
    let lease: Int64 = 1_000
    static let code: Int32 = 77

    /// Fails call number `call` from now, before or after it had its effect.
    func fail(_ call: Int?, _ mode: Mode = .before) {
        state.withLock {
            $0.count = 0
            $0.failing = call
            $0.mode = mode
            $0.fired = false
        }
    }
    var fired: Bool { state.withLock { $0.fired } }
    var ids: Set<[UInt8]> { state.withLock { Set($0.values.keys) } }

    private func act(_ effect: (inout State) -> Void) -> Int32 {
        state.withLock { state in
            state.count += 1
            let fails = state.count == state.failing
            if fails { state.fired = true }
            if !fails || state.mode == .after { effect(&state) }
            return fails ? Self.code : 0
        }
    }

    func set(_ id: VaultID, _ value: Bytes) -> Int32 {
        let bytes = Array(value)
        let key = id.array
        state.withLock { $0.onSet }?()
        return act { $0.values[key] = bytes }
    }
    func get(_ id: VaultID, _ value: UnsafeMutableRawBufferPointer) -> VaultValue {
        let key = id.array
        let held = state.withLock { $0.values[key] }
        guard act({ _ in }) == 0 else { return .failed(Self.code) }
        guard let held else { return .absent }
        if held.count <= value.count { value.copyBytes(from: held) }
        return .present(size: held.count)
    }
    func remove(_ id: VaultID) -> Int32 {
        let key = id.array
        return act { $0.values[key] = nil }
    }
    func next(after: VaultID?) -> VaultNext {
        let last = after?.array
        let keys = state.withLock { $0.values.keys.sorted { $0.lexicographicallyPrecedes($1) } }
        let next = keys.first { key in last.map { $0.lexicographicallyPrecedes(key) } ?? true }
        guard let next, let id = try? next.withUnsafeBytes({ try VaultID($0) }) else { return .end }
        return .found(id)
    }
}

/// A vault as a process sees it that dies with its storage: the vault itself lives on.
final class MortalVault: SecretVault {
    private let vault: MemoryVault
    private let plan: FaultPlan
    var lease: Int64 { vault.lease }

    init(_ vault: MemoryVault, _ plan: FaultPlan) {
        self.vault = vault
        self.plan = plan
    }

    func set(_ id: VaultID, _ value: Bytes) -> Int32 {
        plan.hasCrashed ? MemoryVault.code : vault.set(id, value)
    }
    func get(_ id: VaultID, _ value: UnsafeMutableRawBufferPointer) -> VaultValue {
        plan.hasCrashed ? .failed(MemoryVault.code) : vault.get(id, value)
    }
    func remove(_ id: VaultID) -> Int32 {
        plan.hasCrashed ? MemoryVault.code : vault.remove(id)
    }
    func next(after: VaultID?) -> VaultNext {
        plan.hasCrashed ? .failed(MemoryVault.code) : vault.next(after: after)
    }
}

extension Identifier {
    var array: [UInt8] { withBytes { Array($0) } }
}

let testKey = [UInt8](repeating: 0x5A, count: 32)

func openStore(
    on port: any StoragePort, clock: any Clock = ManualClock(), vault: (any SecretVault)? = nil,
    key: [UInt8] = testKey, timeout: Int64 = 0
) throws -> Store {
    try key.withUnsafeBytes { key in
        try Store.open(
            OpenRequest(
                place: .host(port), key: .raw(key), createsIfAbsent: true, mustCreate: false,
                timeout: timeout, clock: clock, vault: vault))
    }
}

/// The same, with texts for names and secrets.
extension Store {
    func scoped<R>(
        _ user: String = "ada", _ project: String = "engine", _ body: (Scope) throws -> R
    ) throws -> R {
        try withText(user) { user in
            try withText(project) { project in
                try body(Scope(user: user, project: project))
            }
        }
    }

    @discardableResult
    func put(
        _ name: String, _ secret: String, label: String? = nil,
        _ rules: CredentialRules.Put = .init(), user: String = "ada", project: String = "engine"
    ) throws -> UInt64 {
        try scoped(user, project) { scope in
            try withText(name) { name in
                try withText(secret) { secret in
                    try withText(label ?? "") { text in
                        var rules = rules
                        if label != nil { rules.label = text }
                        return try put(scope, name, secret: secret, rules)
                    }
                }
            }
        }
    }

    func secret(_ name: String, user: String = "ada", project: String = "engine") throws -> String {
        try scoped(user, project) { scope in
            let row = try withText(name) { try credential(scope, $0, .secret) }
            return withExtendedLifetime(row) { text(row.secret) }
        }
    }

    func delete(_ name: String, recovery: Int64 = 0) throws {
        try scoped { scope in try withText(name) { try delete(scope, $0, recovery: recovery) } }
    }

    func restore(_ name: String, version: UInt64 = 0) throws {
        try scoped { scope in try withText(name) { try restore(scope, $0, version: version) } }
    }

    /// All current credentials of a scope, as text.
    func contents(user: String = "ada", project: String = "engine") throws -> [String: String] {
        try scoped(user, project) { scope in
            var all: [String: String] = [:]
            for row in try credentials(scope, after: .empty, limit: 10_000) {
                let (name, label) = withExtendedLifetime(row) {
                    (text(row.record.name), text(row.record.label))
                }
                let secret = try secret(name, user: user, project: project)
                all[name] = "\(row.record.version)/\(label)/\(secret)"
            }
            return all
        }
    }
}

/// The schedule from the outside.
extension Store {
    func plan(_ job: Job, at due: Int64, detail: [UInt8] = []) throws {
        try transact(.write) { (transaction) throws(Failure) in
            try transaction.schedule(job, at: due, detail: detail)
        }
    }

    func time(of job: Job) throws -> Int64? {
        try transact(.read) { (transaction) throws(Failure) in try transaction.due(of: job) }
    }

    func keys(_ kinds: RowKind...) throws -> [RowKey] {
        var keys: [RowKey] = []
        try transact(.read) { (transaction) throws(Failure) in
            for kind in kinds {
                try transaction.scanRaw(RowKey(kind)) { (row, _) in
                    keys.append(row)
                    return true
                }
            }
        }
        return keys
    }

    /// Replaces a record by zeros.
    func damage(_ row: RowKey) throws {
        let zeros = try SecretBuffer(zeros: 60)
        try transact(.write) { (transaction) in transaction.putRaw(row, zeros) }
    }

    /// As a host does it: until less than the limit ran. Answers how many did.
    func runAll(atMost most: Int = 10_000) throws -> Int {
        var count = 0
        while count <= most {
            let ran = try runDue(limit: 7)
            count += ran
            if ran < 7 { break }
        }
        return count
    }
}

func subject(_ number: Int) -> Identifier {
    var bytes = [UInt8](repeating: 0, count: 16)
    bytes[14] = UInt8(truncatingIfNeeded: number >> 8)
    bytes[15] = UInt8(truncatingIfNeeded: number)
    return (try? bytes.withUnsafeBytes { try Identifier($0) }) ?? .none
}

/// Plans a job that fails each time: its credential was written by a newer Pawl.
func planFailing(_ store: Store, _ number: Int, at due: Int64) throws -> Job {
    let name = subject(number)
    let row = name.withBytes { RowKey(.credential).appending($0).appending($0).appending($0) }
    let job = Job(.credentialPurge, name)
    try store.transact(.write) { (transaction) throws(Failure) in
        let newer = try SecretBuffer(zeros: 100)
        newer.mutableBytes[0] = 9
        transaction.put(row, newer)
        try transaction.schedule(job, at: due, detail: row.withBytes { [UInt8]($0) })
    }
    return job
}

extension Transaction {
    /// What a row says, sealed or not.
    func contents(_ value: Bytes, of row: RowKey) throws(Failure) -> [UInt8] {
        Sealer.isMark(value) ? [UInt8](value) : array(try sealer.open(value, for: row))
    }
}
