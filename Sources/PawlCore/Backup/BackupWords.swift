package import PawlCrypto

/// What a backup's machine is made of, what goes into it, and what comes out.
extension Backup {
    package enum Intent: UInt8 {
        case off = 0
        case on = 1
    }

    /// As its last answer has it.
    package enum Server: Equatable {
        case unknown
        case absent
        case present(BackupVersion, count: UInt64)

        package var version: BackupVersion? {
            guard case .present(let version, _) = self else { return nil }
            return version
        }
    }

    package enum Phase: Equatable {
        case idle
        case checking
        case escrowing
        case creating
        case deleting
        case waiting(until: Int64)
    }

    /// A version and its secret: drawn here, the recovery key's, or from an own account that was asked for it.
    package struct Held {
        package let version: BackupVersion
        package let secret: SecretBuffer
    }

    /// What the check is for.
    enum Goal: Equatable {
        case none
        case create
        case reset
        /// So many more at most: a server can always show another one.
        case delete(left: UInt8)

        var isMaking: Bool { self == .create || self == .reset }
        var isDeleting: Bool { if case .delete = self { true } else { false } }
    }

    /// A version to be made.
    struct Creation {
        let secret: SecretBuffer
        var needsEscrow: Bool
        /// To be deleted then.
        var replaces: BackupVersion?
    }

    /// A secret that waits for the server to be asked.
    struct Candidate {
        let secret: SecretBuffer
        /// The highest generation that whoever gave it has seen; 0: not said.
        let highest: UInt64
        /// The check under way began after it came.
        var isAsked = false
    }

    /// Changes of items are numbered; an item has the number of its last one. All up to `cursor` are in `version`.
    struct Upload: Equatable {
        var version: BackupVersion?
        var cursor: UInt64 = 0
        /// 0: none is out.
        var request: UInt64 = 0
        var upTo: UInt64 = 0
        var failures: UInt32 = 0
        var retryAt: Int64?
    }

    // MARK: In and out

    package enum Input {
        /// `secret` was drawn for this. `escrow`: it becomes active only when the host has put the secret away.
        case create(secret: SecretBuffer, escrow: Bool)
        case reset(secret: SecretBuffer, escrow: Bool)
        case delete
        case disable
        case checkAndEnable
        case askForSecret
        /// Over a session; `highest`: the generation that the other side has seen; `isOwn`: with an account of the same user,
        /// which the host verified.
        case secretReceived(SecretBuffer, highest: UInt64, request: UInt64, isOwn: Bool)
        case recoveryKeyGiven(SecretBuffer)
        /// So many changes, numbered from the last one on. `areStored`: the active version has them, as they were restored
        /// from it.
        case itemsChanged(UInt64, areStored: Bool)
        /// All that the active version has, or the older one that is offered. Goes on where it was stopped.
        case restore(acceptsOlder: Bool)
        case stopRestore
        case fetch(Identifier)
        case answered(UInt64, Answer)
        /// `deadline` is reached.
        case deadline
        /// What the host was to do is damaged.
        case requestsLost
        /// Nothing is asked any more, until `load`.
        case stop
        case load
    }

    /// What the host is to do, by its number.
    package enum Request {
        case getCurrentVersion
        case escrow(SecretBuffer)
        case createVersion(BackupVersion.Body)
        case deleteVersion(BackupVersion)
        /// Those whose last change is in `after + 1 ... upTo`; there may be none. See `cutBatch`.
        case putItems(BackupVersion, after: UInt64, upTo: UInt64)
        case getPage(BackupVersion, cursor: [UInt8])
        case getItem(BackupVersion, Identifier)
        case askForSecret
    }

    package enum Answer: Equatable {
        /// `noVersion` where there is none.
        case current(BackupVersion, count: UInt64)
        case created(number: [UInt8])
        /// Escrowed, deleted.
        case done
        case stored(count: UInt64)
        /// `next` nil: the last one.
        case page(Progress, next: [UInt8]?)
        /// It is imported, or worth nothing.
        case item(Progress)
        case wrongVersion
        case noVersion
        case noKey
        case rateLimited(until: Int64?)
        case malformed
        case failed
    }

    package enum Event: Equatable {
        /// `backup_status`
        case status(Snapshot)
        /// `backup_key_cached`: its keys can be had.
        case keyCached(BackupVersion)
        case refused(Refusal)
        case restoring(Progress)
        case restored(Progress)
    }

    package enum Refusal: Equatable {
        case off
        case exists
        /// The server shows ever more versions to be deleted.
        case endless
        /// There is no higher generation.
        case generation
        /// From somebody else, or without having been asked.
        case unasked
        case wrongKey
        case noBackup
        /// Its generation is lower than one that was seen: it can only be restored from.
        case rolledBack
        case tooMany
        case notReady
        case missing(until: Int64)
    }
}
