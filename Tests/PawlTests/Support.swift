import Foundation
import Pawl
import Testing

let alice = Scope(user: "alice", project: "web")
let key = Key.raw(Secret([UInt8](repeating: 7, count: 32)))
let create = Store.Options(creation: .ifAbsent)
let otherKey = Key.raw(Secret([UInt8](repeating: 8, count: 32)))

/// Runs a call that must be refused, and says how it was.
func refusal<Result>(
    isolation: isolated (any Actor)? = #isolation, _ at: SourceLocation = #_sourceLocation,
    _ call: () async throws -> Result
) async -> PawlError? {
    await #expect(throws: PawlError.self, sourceLocation: at) { _ = try await call() }
}

/// A value behind a lock that ThreadSanitizer understands; it takes `Mutex` on Linux for a race.
final class Locked<Value: Sendable>: @unchecked Sendable {
    private let lock = NSLock()
    private var value: Value

    init(_ value: Value) { self.value = value }

    func withLock<Result>(_ body: (inout Value) -> Result) -> Result {
        lock.withLock { body(&value) }
    }
}

private let patience = Duration.seconds(20)

/// Repeats a call until it throws, or for so long that it never will.
func untilRefused(_ call: () throws(PawlError) -> Void) throws(PawlError) {
    let end = ContinuousClock.now + patience
    while ContinuousClock.now < end { try call() }
}

/// Whether something comes true; gives up when it would have long ago.
func eventually(_ condition: () -> Bool) async -> Bool {
    let end = ContinuousClock.now + patience
    while ContinuousClock.now < end {
        if condition() { return true }
        await Task.yield()
    }
    return false
}

/// A folder that goes when the test ends.
final class Folder: Sendable {
    let url = FileManager.default.temporaryDirectory.appending(path: "pawl-\(UUID())")

    init() throws {
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: url) }

    func path(_ name: String) -> String { url.appending(path: name).path }
}

/// Time that the test owns.
final class TestClock: Sendable {
    private let time = Locked(Timestamp(nanoseconds: 1_700_000_000_000_000_000))

    var now: Timestamp { time.withLock { $0 } }
    func advance(_ step: Duration) { time.withLock { $0 = $0 + step } }
    var options: Store.Options {
        Store.Options(creation: .ifAbsent, clock: { self.now })
    }
}

/// A vault in memory, whose methods fail when the test says so.
final class TestVault: ListableVault {
    struct Content {
        var values: [VaultID: [UInt8]] = [:]
        var setFailure: VaultError?
        var getFailure: VaultError?
        var removeFailure: VaultError?
        var beforeSet: (@Sendable () -> Void)?
    }

    let content = Locked(Content())

    var values: [VaultID: [UInt8]] { content.withLock { $0.values } }
    func change(_ body: @Sendable (inout Content) -> Void) { content.withLock { body(&$0) } }

    func set(_ id: VaultID, _ value: [UInt8]) throws(VaultError) {
        let (failure, before) = content.withLock { ($0.setFailure, $0.beforeSet) }
        before?()
        if let failure { throw failure }
        content.withLock { $0.values[id] = value }
    }

    func get(_ id: VaultID) throws(VaultError) -> [UInt8]? {
        let (value, failure) = content.withLock { ($0.values[id], $0.getFailure) }
        if let failure { throw failure }
        return value
    }

    func remove(_ id: VaultID) throws(VaultError) {
        let failure = content.withLock {
            if $0.removeFailure == nil { $0.values[id] = nil }
            return $0.removeFailure
        }
        if let failure { throw failure }
    }

    func next(after id: VaultID?) throws(VaultError) -> VaultID? {
        values.keys.filter { id == nil || $0 > id! }.min()
    }
}

/// A storage engine in memory. One operation may be told to fail.
final class TestStorage: Storage {
    struct State {
        var records: [[UInt8]: [UInt8]] = [:]
        var isWriting = false
        /// How many operations still succeed before `failure` is thrown, once.
        var countdown = Int.max
        var failure = StorageError.failed(code: 1)
    }

    let state = Locked(State())

    var records: [[UInt8]: [UInt8]] { state.withLock { $0.records } }

    /// Replaces all records of a kind.
    func damage(_ kind: UInt8) {
        state.withLock { state in
            for key in state.records.keys where key.first == kind { state.records[key] = [1] }
        }
    }

    func fail(after operations: Int, with failure: StorageError) {
        state.withLock {
            $0.countdown = operations
            $0.failure = failure
        }
    }

    /// Whether the planned failure is still to come.
    func isDisarmed() -> Bool { state.withLock { $0.countdown == .max } }
    func disarm() { state.withLock { $0.countdown = .max } }

    func step() throws(StorageError) {
        let failure: StorageError? = state.withLock {
            if $0.countdown == .max { return nil }
            if $0.countdown > 0 {
                $0.countdown -= 1
                return nil
            }
            $0.countdown = .max
            return $0.failure
        }
        if let failure { throw failure }
    }

    func begin(_ mode: StorageMode) throws(StorageError) -> any StorageTransaction {
        try step()
        let records: [[UInt8]: [UInt8]]? = state.withLock {
            if mode == .write {
                if $0.isWriting { return nil }
                $0.isWriting = true
            }
            return $0.records
        }
        guard let records else { throw .busy }
        return TestTransaction(self, mode, records)
    }
}

final class TestTransaction: StorageTransaction {
    let storage: TestStorage
    let mode: StorageMode
    var records: [[UInt8]: [UInt8]]

    init(_ storage: TestStorage, _ mode: StorageMode, _ records: [[UInt8]: [UInt8]]) {
        self.storage = storage
        self.mode = mode
        self.records = records
    }

    func get(_ key: [UInt8]) throws(StorageError) -> [UInt8]? {
        try storage.step()
        return records[key]
    }

    func put(_ key: [UInt8], _ value: [UInt8]) throws(StorageError) {
        try storage.step()
        records[key] = value
    }

    func remove(_ key: [UInt8]) throws(StorageError) {
        try storage.step()
        records[key] = nil
    }

    func scan(
        from: [UInt8], to: [UInt8], limit: Int, visit: (_ key: [UInt8], _ value: [UInt8]) -> Bool
    ) throws(StorageError) {
        try storage.step()
        let range = records.keys
            .filter { !$0.lexicographicallyPrecedes(from) && $0.lexicographicallyPrecedes(to) }
            .sorted { $0.lexicographicallyPrecedes($1) }
        for key in range.prefix(limit) where !visit(key, records[key]!) { return }
    }

    func commit() throws(StorageError) {
        defer { rollback() }
        do throws(StorageError) {
            try storage.step()
        } catch {
            // The worst of both: the commit happened, and nobody is told.
            if error == .indeterminate { storage.state.withLock { $0.records = records } }
            throw error
        }
        if mode == .write { storage.state.withLock { $0.records = records } }
    }

    func rollback() {
        if mode == .write { storage.state.withLock { $0.isWriting = false } }
    }
}

// MARK: sessions

/// What an initiator fetches: a package of an account, then one of its one-time keys.
func published(by account: Account) async throws -> [UInt8] {
    let (package, keys) = try await account.createPackage(oneTimeKeys: 1)
    return package.bytes + (keys.first?.bytes ?? [])
}

func account(named name: String, in store: Store) async throws -> Account {
    try await store.account(try await store.createAccount(named: name))
}

/// Ada and Bob, each with a store of their own in memory. Ada has started a session.
struct Meeting {
    let clock = TestClock()
    let adas: Store
    let bobs: Store
    let ada: Account
    let bob: Account
    let session: Session

    init() async throws {
        adas = try await Store.inMemory(key: key, options: clock.options)
        bobs = try await Store.inMemory(key: otherKey, options: clock.options)
        ada = try await account(named: "Ada", in: adas)
        bob = try await account(named: "Bob", in: bobs)
        session = try await ada.startSession(with: "Bob", package: try await published(by: bob))
    }

    /// A store of somebody else, at the same time.
    func elsewhere() async throws -> Store {
        try await Store.inMemory(key: key, options: clock.options)
    }

    /// Lets a message go each way, so that both sides know of the session; returns Bob's side.
    @discardableResult
    func confirm() async throws -> Session {
        let joined = try await bob.receive(try await session.encrypt(Secret("hello"))).session
        _ = try await ada.receive(try await joined.encrypt(Secret("welcome")))
        return joined
    }
}

extension Item {
    /// The bytes to deliver, if it is a frame.
    var frame: [UInt8]? {
        if case .frame(let bytes) = content { bytes } else { nil }
    }

    /// What happened, if it is an event.
    var event: Event? {
        if case .event(let event) = content { event } else { nil }
    }
}

extension Result where Success == Received, Failure == PawlError {
    var code: PawlError.Code? {
        if case .failure(let error) = self { error.code } else { nil }
    }
}
