import Foundation
import PawlCrypto
import PawlStore

/// Which operation fails, and how. Shared by a connection and its siblings; operations are counted from 1
/// in the order in which they arrive.
final class FaultPlan: @unchecked Sendable {
    enum Mode: Sendable {
        /// The operation does nothing and reports `FaultPlan.failure`.
        case before
        /// A commit is done but reports that nobody knows; other operations are left alone.
        case afterCommit
        /// This and every later operation fails and nothing reaches the engine any more, as if the
        /// process had died: what was open is rolled back.
        case crash
    }

    static let failure = Failure.store(.failed, code: 4242)
    static let doubt = Failure.store(.indeterminate, code: 4242)

    private struct State {
        var count = 0
        var commits = 0
        var fired = false
        var operation: Int?
        var mode: Mode
    }

    // A pthread mutex, which ThreadSanitizer understands, unlike Synchronization's.
    private let lock = NSLock()
    private var state: State
    /// Called before a transaction begins, by whoever begins it.
    var onBegin: (TransactionMode) -> Void = { _ in }

    /// Called before each transaction that writes.
    var onWrite: (() -> Void)?

    /// Without an operation, only counts.
    init(failing operation: Int? = nil, _ mode: Mode = .before) {
        state = State(operation: operation, mode: mode)
    }

    /// Fails operation number `operation` from now; nil: none.
    func arm(_ operation: Int?, _ mode: Mode = .before) {
        lock.withLock {
            state.operation = operation.map { state.count + $0 }
            state.mode = mode
            state.fired = false
        }
    }

    /// How many operations there were.
    var count: Int { lock.withLock { state.count } }
    var commits: Int { lock.withLock { state.commits } }
    /// Whether something failed by this plan. A sweep goes on until an operation is not reached.
    var fired: Bool { lock.withLock { state.fired } }
    var hasCrashed: Bool { lock.withLock { state.mode == .crash && state.fired } }

    fileprivate enum Step { case pass, before, after }

    fileprivate func step(isCommit: Bool = false) -> Step {
        lock.withLock {
            state.count += 1
            if isCommit { state.commits += 1 }
            if state.mode == .crash && state.fired { return .before }
            guard state.count == state.operation else { return .pass }
            if state.mode == .afterCommit {
                guard isCommit else { return .pass }
                state.fired = true
                return .after
            }
            state.fired = true
            return .before
        }
    }
}

/// An engine that fails where its plan says, and whenever it is called from what it calls.
final class FaultyStorage: StoragePort {
    private let inner: any StoragePort
    let plan: FaultPlan
    private var isVisiting = false

    init(_ inner: any StoragePort, _ plan: FaultPlan) {
        self.inner = inner
        self.plan = plan
    }

    private func step() throws(Failure) {
        guard !isVisiting else { throw .misuse(.handle) }
        guard plan.step() == .pass else {
            if plan.hasCrashed { inner.rollback() }
            throw FaultPlan.failure
        }
    }

    func begin(_ mode: TransactionMode) throws(Failure) {
        plan.onBegin(mode)
        try step()
        if mode == .write { plan.onWrite?() }
        try inner.begin(mode)
    }

    func get(_ key: Bytes, _ body: (Bytes) throws(Failure) -> Void) throws(Failure) -> Bool {
        try step()
        isVisiting = true
        defer { isVisiting = false }
        return try inner.get(key, body)
    }

    func put(_ key: Bytes, _ value: Bytes) throws(Failure) {
        try step()
        try inner.put(key, value)
    }

    func delete(_ key: Bytes) throws(Failure) {
        try step()
        try inner.delete(key)
    }

    func scan(
        from: Bytes, to: Bytes, limit: Int, _ body: (Bytes, Bytes) throws(Failure) -> Bool
    ) throws(Failure) {
        try step()
        isVisiting = true
        defer { isVisiting = false }
        try inner.scan(from: from, to: to, limit: limit, body)
    }

    func commit() throws(Failure) {
        switch plan.step(isCommit: true) {
        case .pass: try inner.commit()
        case .before:
            inner.rollback()
            throw FaultPlan.failure
        case .after:
            try inner.commit()
            throw FaultPlan.doubt
        }
    }

    func rollback() { inner.rollback() }

    func sibling() throws(Failure) -> any StoragePort {
        guard !plan.hasCrashed else { throw FaultPlan.failure }
        return FaultyStorage(try inner.sibling(), plan)
    }

    func close() { inner.close() }
}
