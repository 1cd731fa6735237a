import CPawl

/// One of the at most 16 places that hold the store's master key, each wrapped under another key.
public struct Slot: Sendable, Hashable {
    /// What opens a slot.
    public enum Kind: UInt32, Sendable, Hashable {
        /// 32 bytes.
        case raw = 1
        /// A passphrase, hashed with Argon2id.
        case passphrase = 2
        /// A recovery key.
        case recovery = 3
    }

    /// 0 to 15.
    public let number: Int
    /// What opens it; nil for a kind that this version does not know.
    public let kind: Kind?
    /// Argon2id's memory in bytes; 0 unless a passphrase.
    public let memory: Int
    /// Argon2id's passes; 0 unless a passphrase.
    public let passes: Int
    /// When it was written.
    public let created: Timestamp

    init(_ row: pawl_slot) {
        number = Int(row.number)
        kind = Kind(rawValue: row.kind)
        memory = Int(clamping: row.memory_size)
        passes = Int(row.passes)
        created = Timestamp(nanoseconds: row.created_ns)
    }
}

/// Counters since the store was opened or the batch began.
public struct Stats: Sendable, Hashable {
    /// Whether key memory is locked against swapping.
    public let memoryLocked: Bool
    /// Transactions begun.
    public let transactions: UInt64
    /// Commits of write transactions.
    public let commits: UInt64
    /// Records asked for by key.
    public let reads: UInt64
    /// Records that scans returned.
    public let scanned: UInt64
    /// Records put or removed.
    public let writes: UInt64
    /// Calls of the host's vault.
    public let vaultCalls: UInt64

    init(_ stats: pawl_stats) {
        memoryLocked = stats.memory_locked != 0
        transactions = stats.transactions
        commits = stats.commits
        reads = stats.reads
        scanned = stats.scanned
        writes = stats.writes
        vaultCalls = stats.vault_calls
    }
}

/// A record that ``Store/verify()`` found damaged.
public struct Damage: Sendable, Hashable {
    /// ``PawlError/Code/corrupt`` or ``PawlError/Code/version``.
    public let error: PawlError
    /// The record's key in the storage engine. Names in it are hashed.
    public let key: [UInt8]

    init(_ row: pawl_damage) {
        error = PawlError(row.status)
        key = array(row.key, row.key_size)
    }
}

/// A write to the vault that is not finished, or a value in it that nothing points to.
public struct Orphan: Sendable, Hashable {
    /// What was found.
    public enum Kind: UInt32, Sendable, Hashable {
        /// A put that has not flipped yet.
        case intent = 1
        /// An id that nothing points to any more and that is still to be removed.
        case recorded = 2
        /// In the vault, unknown here; reported, never removed.
        case unattributed = 3
    }

    /// What reconcile did.
    public enum Outcome: UInt32, Sendable, Hashable {
        /// Listed, not acted on.
        case none = 0
        /// Its lease or grace period is not over.
        case waiting = 1
        /// A dry run: it would have been removed.
        case wouldRemove = 2
        /// Removed from the vault.
        case removed = 3
        /// The vault refused; ``Orphan/removeCause`` says how. It will be tried again.
        case failed = 4
    }

    /// What it is; nil for a kind that this version does not know.
    public let kind: Kind?
    /// What was done; nil for an outcome that this version does not know.
    public let outcome: Outcome?
    /// How often removing it was tried.
    public let attempts: Int
    /// Where it is in the vault.
    public let id: VaultID
    /// The version that the write was for.
    public let version: UInt64
    /// When it was recorded.
    public let recorded: Timestamp
    /// When its writer's lease ends.
    public let leaseEnd: Timestamp
    /// When reconcile first met it; nil: not yet.
    public let sighted: Timestamp?
    /// What the vault's `set` answered; 0: nothing wrong.
    public let setCause: Int
    /// What the vault's `remove` answered last; 0: nothing wrong.
    public let removeCause: Int
    /// Whose credential it was for; empty if unattributed.
    public let scope: Scope
    /// Which credential it was for; empty if unattributed.
    public let name: String

    init(_ row: pawl_orphan) {
        kind = Kind(rawValue: row.kind)
        outcome = Outcome(rawValue: row.outcome)
        attempts = Int(row.attempts)
        id = VaultID(row: row.vault_id)
        version = row.version
        recorded = Timestamp(nanoseconds: row.recorded_ns)
        leaseEnd = Timestamp(nanoseconds: row.lease_ns)
        sighted = .unlessNever(row.sighted_ns)
        setCause = Int(row.cause_set)
        removeCause = Int(row.cause_remove)
        scope = Scope(
            user: text(row.user, row.user_size), project: text(row.project, row.project_size))
        name = text(row.name, row.name_size)
    }
}
