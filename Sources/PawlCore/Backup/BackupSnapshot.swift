/// All that there is to know of a backup at one time: an event carries it, so that nobody has to ask.
extension Backup {
    package struct Snapshot: Equatable {
        package let revision: UInt64
        package let intent: Intent
        package let server: Server
        package let active: BackupVersion?
        /// Whose key is held.
        package let key: BackupVersion?
        package let phase: Phase
        /// In changes of items.
        package internal(set) var pending: UInt64
        package let acknowledged: UInt64
        package internal(set) var isUploading: Bool
        package let retryAt: Int64?
        package let download: Readiness
        /// nil: none is under way.
        package let isRestoring: Bool?
    }

    package enum Readiness: Equatable {
        case ready(BackupVersion)
        case notReady(Reason)

        package enum Reason: UInt8 {
            case off = 1
            case unknown = 2
            case absent = 3
            case keyMissing = 4
            case rolledBack = 5
        }
    }

    package var snapshot: Snapshot {
        Snapshot(
            revision: revision, intent: intent, server: server, active: active, key: key?.version,
            phase: phase, pending: changes - min(upload.cursor, changes),
            acknowledged: upload.cursor, isUploading: upload.request != 0,
            retryAt: upload.retryAt, download: download,
            isRestoring: restore.map { !$0.isStopped })
    }

    private var download: Readiness {
        if let active { return .ready(active) }
        if intent == .off { return .notReady(.off) }
        switch server {
        case .unknown: return .notReady(.unknown)
        case .absent: return .notReady(.absent)
        case .present(let version, _):
            return .notReady(version.generation < highest ? .rolledBack : .keyMissing)
        }
    }

    /// Once for each revision. That something waits to be uploaded is none.
    mutating func tell(since before: Snapshot, _ outcome: inout Outcome) {
        var same = snapshot
        same.pending = before.pending
        same.isUploading = before.isUploading
        guard same != before else { return }
        revision &+= 1
        var events = [Event.status(snapshot)]
        if let active, active != before.active { events.append(.keyCached(active)) }
        outcome.events = events + outcome.events
    }
}
