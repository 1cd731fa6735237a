import CPawl

/// The state of an account's backup at one time, see <doc:BackingUp>. Each event of a backup carries
/// the state that was committed together with it, so nobody has to ask.
public struct Backup: Sendable, Hashable {
    /// What is under way with the server; a restore and uploads go on beside it.
    public enum Phase: UInt32, Sendable, Hashable {
        /// Nothing.
        case idle
        /// The server is asked which version is current.
        case checking
        /// The host puts the recovery key of the next version away.
        case escrowing
        /// The server makes a version.
        case creating
        /// The server deletes one.
        case deleting
        /// Something failed, and is tried again at ``Backup/retry``.
        case waiting
    }

    /// Whether there is something to restore from.
    public enum Download: UInt32, Sendable, Hashable {
        /// A version is active.
        case ready
        /// The backup is off.
        case off
        /// The server was not asked yet.
        case unknown
        /// The server has none.
        case absent
        /// Its secret is not here: recover it, or ask another account.
        case keyMissing
        /// The server shows an older version than one that was seen.
        case rolledBack
    }

    /// Why something was not done.
    public enum Refusal: UInt64, Sendable, Hashable, CaseIterable {
        /// The backup is off.
        case off = 1
        /// There is a version already: reset, or recover its secret.
        case exists
        /// The server shows ever more versions to be deleted.
        case endless
        /// There is no higher generation.
        case generation
        /// A secret came from somebody who is not verified, or nobody asked for it.
        case unasked
        /// It is not the secret of the version that the server has.
        case wrongKey
        /// The server has no version that the secret could be of.
        case noBackup
        /// The secret is of a version older than one that was seen: see ``Backup/canRestoreOlder``.
        case rolledBack
        /// Too many secrets wait, or fetches.
        case tooMany
        /// No version is active.
        case notReady
        /// The item is not there; it is not asked for again for a while, which grows.
        case missing
    }

    /// What is wrong with what a server shows. While another account uploads, one of them can mean
    /// that only.
    public enum Finding: UInt64, Sendable, Hashable, CaseIterable {
        /// A writer's manifest is older than one that is known.
        case rolledBack = 1
        /// There are two of one number: a store of this writer was put back to an old copy.
        case forked
        /// A writer's manifest is known and not shown.
        case withheld
        /// What a writer listed is not what its manifest says.
        case listing
        /// Nothing is where a writer put an item.
        case omitted
        /// Something worse is there, from an older state.
        case older
        /// Something else of this writer is there.
        case swapped
        /// Its writer knows nothing of it.
        case inserted
        /// It is newer than its writer's manifest, or the manifest is withheld.
        case unlisted
        /// It was not sealed for its place with this secret.
        case undecryptable
        /// It is none of Pawl's, or of a newer one.
        case malformed
    }

    /// One life of a backup, from one secret to the next.
    public struct Version: Sendable, Hashable {
        /// Higher than that of each version before, from 1.
        public let generation: UInt64
        /// Tells it from all others: 32 bytes.
        public let hash: [UInt8]

        /// Nil for a generation of 0.
        init?<Hash>(_ generation: UInt64, _ hash: Hash) {
            guard generation > 0 else { return nil }
            self.generation = generation
            self.hash = array(hash)
        }
    }

    /// How far a restore is.
    public struct Progress: Sendable, Hashable {
        /// What was not here.
        public let imported: UInt64
        /// What was here, and as good.
        public let known: UInt64
        /// What was here, and not as good.
        public let improved: UInt64
        /// What was not sealed for its place with this secret.
        public let undecryptable: UInt64
        /// What is none of Pawl's, or of a newer one.
        public let malformed: UInt64
        /// Credentials of scopes that the account does not include; they are left out.
        public let foreign: UInt64
    }

    /// One higher with each change, but of what waits to be uploaded.
    public let revision: UInt64
    /// Whether it is wanted. Failure never changes that.
    public let isOn: Bool
    /// What is under way; nil for something that this version does not know.
    public let phase: Phase?
    /// Whether there is something to restore from; nil for something that this version does not know.
    public let download: Download?
    /// The version that is written to: the server has it, and its secret is here.
    public let active: Version?
    /// Whether the server was asked.
    public let isServerKnown: Bool
    /// What the server has, as its last answer has it; nil: none, or not known.
    public let server: Version?
    /// Whose secret is here.
    public let key: Version?
    /// Entries that the server says it has.
    public let serverItems: UInt64
    /// Changes that are to be uploaded.
    public let pending: UInt64
    /// Changes that are.
    public let acknowledged: UInt64
    /// Whether an upload is under way.
    public let isUploading: Bool
    /// When what failed is tried again; nil: nothing has.
    public let retry: Timestamp?
    /// Whether a restore is under way, or stopped.
    public let isRestoring: Bool
    /// Whether it is stopped: ``Account/restoreBackup(acceptOlder:)`` goes on.
    public let isStopped: Bool
    /// Whether the server shows a version older than one that was seen, and its secret was given: only
    /// ``Account/restoreBackup(acceptOlder:)`` reads it.
    public let canRestoreOlder: Bool
    /// How far the restore is.
    public let progress: Progress
    /// In ``Item/Event/backupRestored(_:)`` how much was found to be wrong; the first 16 come as
    /// events.
    public let findings: UInt64
    /// In the same event, how many accounts wrote.
    public let writers: UInt64
    /// In the same event, when the newest of them did; nil: none says.
    public let asOf: Timestamp?

    init(_ row: pawl_backup) {
        func has(_ flag: Int32) -> Bool { row.flags & UInt32(flag) != 0 }
        revision = row.revision
        isOn = has(PAWL_BACKUP_ON)
        phase = Phase(rawValue: row.phase)
        download = Download(rawValue: row.download)
        active = Version(row.generation, row.hash)
        isServerKnown = has(PAWL_BACKUP_SERVER_KNOWN)
        server = Version(row.server_generation, row.server_hash)
        key = Version(row.key_generation, row.key_hash)
        serverItems = row.server_items
        pending = row.pending
        acknowledged = row.acknowledged
        isUploading = has(PAWL_BACKUP_UPLOADING)
        retry = .unlessNever(row.retry_ns)
        isRestoring = has(PAWL_BACKUP_RESTORING)
        isStopped = has(PAWL_BACKUP_STOPPED)
        canRestoreOlder = has(PAWL_BACKUP_OLDER)
        progress = Progress(
            imported: row.imported, known: row.known, improved: row.improved,
            undecryptable: row.undecryptable, malformed: row.malformed,
            foreign: row.foreign)
        findings = row.findings
        writers = row.writers
        asOf = row.as_of_ns == 0 ? nil : Timestamp(nanoseconds: row.as_of_ns)
    }
}
