package import PawlCore
package import PawlCrypto
package import PawlStore

/// An archive that is being written or read: for one thread at a time, and for others after it. That one works under no
/// lock, for a vault may be asked.
package final class ArchiveStream {
    package let store: Store
    private let direction: Direction
    private let lock = Lock()
    /// Guarded by `lock`, as is what the last call left.
    private var state = State.idle
    private var last = Archive.Report()

    private enum Direction {
        case out(Export)
        case into(Import)
    }

    private enum State {
        case idle
        /// A caller has it for itself.
        case busy
        case over(Failure)
    }

    /// Of all credentials, of a user's, or of one scope's.
    package convenience init(
        exporting store: Store, _ scope: ArchiveScope, for key: UnlockKey
    ) throws(Failure) {
        guard !store.isBatch else { throw .state(.batch) }
        self.init(store, .out(try Export(store, scope, key)))
    }

    package convenience init(importingTo store: Store, with key: UnlockKey) throws(Failure) {
        try store.refuseVault()
        self.init(store, .into(try Import(store, key)))
    }

    private init(_ store: Store, _ direction: Direction) {
        self.store = store
        self.direction = direction
    }

    /// Fills `out` as far as there is something; 0: that was all.
    package func read(into out: UnsafeMutableRawBufferPointer) throws(Failure) -> Int {
        var count = 0
        try run { (direction) throws(Failure) in
            guard case .out(let export) = direction else { throw .misuse(.handle) }
            count = try export.read(into: out)
        }
        return count
    }

    package func write(_ bytes: Bytes) throws(Failure) {
        try run { (direction) throws(Failure) in
            guard case .into(let reading) = direction else { throw .misuse(.handle) }
            try reading.write(bytes)
        }
    }

    /// All was written: what is in the archive is kept.
    package func finish() throws(Failure) {
        try run(then: .over(.closed(.closed))) { (direction) throws(Failure) in
            guard case .into(let reading) = direction else { throw .misuse(.handle) }
            try reading.finish()
        }
    }

    /// As of the last call that has returned.
    package func report() throws(Failure) -> Archive.Report {
        guard !store.shared.lifecycle.isForked else { throw .closed(.forked) }
        return try lock.withLock { last }
    }

    /// What was not finished has not happened.
    package func close() {
        try? run(then: .over(.closed(.closed))) { _ in abandon() }
    }

    /// What fails once fails from then on, but for a call that could not be meant.
    private func run(
        then next: State = .idle, _ body: (Direction) throws(Failure) -> Void
    ) throws(Failure) {
        try lock.withLock { () throws(Failure) in
            while case .busy = state { lock.wait() }
            if case .over(let failure) = state { throw failure }
            state = .busy
        }
        do throws(Failure) {
            try body(direction)
        } catch {
            let isMeant = error != .misuse(.handle)
            if isMeant { abandon() }
            leave(isMeant ? .over(error) : .idle)
            throw error
        }
        leave(next)
    }

    private func leave(_ next: State) {
        try? lock.withLock {
            state = next
            last =
                switch direction {
                case .out(let export): export.report
                case .into(let reading): reading.report
                }
            lock.wakeAll()
        }
    }

    private func abandon() {
        if case .into(let reading) = direction { reading.abandon() }
    }
}

package enum ArchiveScope {
    case everything
    case user(Scope)
    case project(Scope)
}
