package import PawlCore
package import PawlCrypto
package import PawlStore

/// An archive that is being written or read: for one thread at a time, and for others after it.
package final class ArchiveStream {
    package let store: Store
    private let lock = Lock()
    private let direction: Direction
    /// Why it ended, if it did not end well.
    private var failure: Failure?

    private enum Direction {
        case out(Export)
        case into(Import)
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
        try run { (direction) throws(Failure) in
            guard case .into(let reading) = direction else { throw .misuse(.handle) }
            try reading.finish()
            failure = .closed(.closed)
        }
    }

    package var report: Archive.Report {
        let report: Archive.Report? = try? lock.withLock {
            switch direction {
            case .out(let export): export.report
            case .into(let reading): reading.report
            }
        }
        return report ?? .init()
    }

    /// What was not finished has not happened.
    package func close() {
        try? lock.withLock {
            if failure == nil { failure = .closed(.closed) }
            if case .into(let reading) = direction { reading.abandon() }
        }
    }

    /// What fails once fails from then on, but for a call that could not be meant.
    private func run(_ body: (Direction) throws(Failure) -> Void) throws(Failure) {
        try lock.withLock { () throws(Failure) in
            if let failure { throw failure }
            do throws(Failure) {
                try body(direction)
            } catch {
                guard error != .misuse(.handle) else { throw error }
                failure = error
                if case .into(let reading) = direction { reading.abandon() }
                throw error
            }
        }
    }
}

package enum ArchiveScope {
    case everything
    case user(Scope)
    case project(Scope)
}
