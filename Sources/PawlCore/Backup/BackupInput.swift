package import PawlCrypto

/// What goes into a backup's machine, and what comes out.
extension Backup {
    package enum Input {
        /// `secret` was drawn for this. `escrow`: it becomes active only when the host has put the secret away.
        case create(secret: SecretBuffer, escrow: Bool)
        case reset(secret: SecretBuffer, escrow: Bool)
        case delete
        case disable
        case checkAndEnable
        case askForSecret
        /// Over a session; `isOwn`: with an account of the same user, which the host verified.
        case secretReceived(SecretBuffer, request: UInt64, isOwn: Bool)
        case recoveryKeyGiven(SecretBuffer)
        /// A generation that such an account has seen.
        case seen(generation: UInt64)
        case itemChanged
        /// All that the active version has, or the older one that is offered. Goes on where it was stopped.
        case restore(acceptsOlder: Bool)
        case stopRestore
        case fetch(Identifier)
        case answered(UInt64, Answer)
        /// `deadline` is reached.
        case deadline
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
        /// Those whose last change is in `after + 1 ... upTo`; there may be none.
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
