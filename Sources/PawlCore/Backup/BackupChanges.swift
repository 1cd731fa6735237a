/// What has changed and is to be uploaded. Changes of items are numbered, and all up to a cursor are in the active version; a
/// request is for those behind it, and what fits into it is told by whoever makes it (`cutBatch`).
extension Backup {
    mutating func change(_ count: UInt64, _ areStored: Bool) {
        let isAllStored = upload.cursor == changes && upload.request == 0
        changes += min(count, UInt64.max - changes)
        if areStored, isAllStored, active != nil { upload.cursor = changes }
    }

    package func isUploading(_ number: UInt64) -> Bool {
        number != 0 && upload.request == number
    }

    mutating func goOnUploading(_ turn: inout Turn) {
        guard let active, canUpload, upload.retryAt == nil else { return }
        upload.upTo = changes
        upload.request = ask(.putItems(active, after: upload.cursor, upTo: upload.upTo), &turn)
    }

    mutating func uploaded(_ answer: Answer, _ turn: inout Turn) {
        upload.request = 0
        if case .stored(let count) = answer {
            upload.cursor = upload.upTo
            upload.failures = 0
            if let active { server = .present(active, count: count) }
            return
        }
        upload.failures = upload.failures < UInt32.max ? upload.failures + 1 : upload.failures
        upload.retryAt = retryTime(answer, upload.failures, turn)
        if answer == .wrongVersion || answer == .noVersion { lose() }
    }

    /// While a restore is under way, what it shows stays as it is, unless it goes on failing.
    var canUpload: Bool {
        guard active != nil, upload.request == 0, upload.cursor < changes else { return false }
        guard let restore, !restore.isStopped, !restore.cursor.isEmpty || restore.request != 0
        else { return true }
        return restore.failures > 2
    }

    /// What is asked for goes no further than this: the rest is too much for one request.
    package mutating func cutBatch(at change: UInt64) {
        upload.upTo = min(max(change, upload.cursor), upload.upTo)
    }

    /// Nothing of what was asked for is to be put.
    package mutating func skipBatch() {
        upload.cursor = upload.upTo
        upload.request = 0
    }

    /// Something that the active version is to be filled with cannot be read here. What it replaces stays.
    package mutating func keepReplaced() {
        if active?.hash == successor { doomed = [] }
    }

    /// What had changed when a version was made here: of what was gone by then there is nothing in it.
    package func filled(_ version: BackupVersion) -> UInt64 {
        version.hash == successor ? fill : 0
    }

    /// The version whose successor is active and filled: what it is owed may have got a higher number since it was made.
    var replaced: BackupVersion? {
        guard let active, active.hash == successor, upload.cursor >= changes else { return nil }
        return doomed.first { $0.number != active.number }
    }
}
