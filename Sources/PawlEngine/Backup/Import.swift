internal import PawlCore
internal import PawlCrypto
internal import PawlStore

/// Reads an archive into a batch, which is committed when the last chunk was seen to be the last one.
final class Import {
    private let store: Store
    /// Until the header is here.
    private var key: SecretBuffer?
    private let keyKind: UnlockKey.Kind
    private var batch: Store?
    private var header: SecretBuffer
    private var stream: SecretStream?
    /// The header, or a sealed chunk.
    private var part: SecretBuffer
    private var filled = 0
    private var entries = Archive.Reader()
    private(set) var report = Archive.Report()

    init(_ store: Store, _ key: UnlockKey) throws(Failure) {
        self.store = store
        let bytes =
            switch key {
            case .raw(let bytes), .recovery(let bytes), .passphrase(let bytes, _): bytes
            }
        self.key = try SecretBuffer(copying: bytes)
        keyKind = key.kind
        header = try SecretBuffer(count: ArchiveHeader.size)
        part = header
    }

    func write(_ bytes: Bytes) throws(Failure) {
        var rest = bytes
        while !rest.isEmpty {
            // A full chunk was not the last one if there is more.
            if filled == part.count { try take(isLast: false) }
            let count = min(rest.count, part.count - filled)
            UnsafeMutableRawBufferPointer(rebasing: part.mutableBytes[filled..<filled + count])
                .copyMemory(from: Bytes(rebasing: rest[..<count]))
            filled += count
            rest = Bytes(rebasing: rest[count...])
            if stream == nil, filled == part.count { try begin() }
        }
    }

    func finish() throws(Failure) {
        guard stream != nil else { throw .corrupt(filled < 7 ? .notPawl : .record) }
        try take(isLast: true)
        guard entries.isAtEnd, let batch else { throw .corrupt(.record) }
        self.batch = nil
        try batch.endBatch(commit: true)
    }

    func abandon() {
        key = nil
        if let batch { try? batch.endBatch(commit: false) }
        batch = nil
    }

    private func begin() throws(Failure) {
        guard let key else { throw .internal }
        let unlock: UnlockKey =
            switch keyKind {
            case .raw: .raw(key.bytes)
            case .recovery: .recovery(key.bytes)
            case .passphrase: .passphrase(key.bytes, .standard)
            }
        let stream = try ArchiveHeader.open(header, with: unlock)
        withExtendedLifetime(key) { self.key = nil }
        batch = try store.beginBatch()
        self.stream = stream
        part = try SecretBuffer(count: Archive.chunkSize + SecretStream.overhead)
        filled = 0
    }

    private func take(isLast: Bool) throws(Failure) {
        guard let stream else { throw .internal }
        let (chunk, wasLast) = try stream.open(
            Bytes(rebasing: part.bytes[..<filled]), associated: header.bytes)
        guard wasLast == isLast else { throw .corrupt(.record) }
        filled = 0
        var rest = chunk.bytes
        while let entry = try entries.read(&rest) {
            if entry.kind == Archive.credential {
                report.credentials += 1
                try take(entry.body)
            } else {
                report.unreadable += 1
            }
        }
        withExtendedLifetime(chunk) {}
    }

    private func take(_ body: SecretBuffer) throws(Failure) {
        guard let batch else { throw .internal }
        let record: CredentialRecord
        do throws(Failure) {
            record = try CredentialRecord(decoding: body)
            try record.check()
        } catch {
            guard error != .limit(.memory) else { throw error }
            report.unreadable += 1
            return
        }
        switch try batch.bringIn(record) {
        case .expired: report.expired += 1
        case .kept: report.kept += 1
        case .improved: report.improved += 1
        case .imported: report.imported += 1
        }
    }
}

/// What became of something that came from elsewhere.
enum BroughtIn {
    case imported, improved, kept, expired
}

extension Store {
    /// The vault's values are outside of any transaction.
    func refuseVault() throws(Failure) {
        guard !isBatch, shared.vault == nil else { throw .state(.batch) }
    }

    fileprivate func bringIn(_ record: CredentialRecord) throws(Failure) -> BroughtIn {
        let scope = try Scope(user: record.user, project: record.project)
        let row = try credentialKey(scope, record.name)
        let now = now()
        return try transact(.write) { (transaction) throws(Failure) in
            try transaction.bringIn(record, at: row, now: now)
        }
    }
}

extension Transaction {
    /// Stores a checked credential from elsewhere, unless what is here was updated as late.
    func bringIn(
        _ record: CredentialRecord, at row: RowKey, now: Int64
    ) throws(Failure) -> BroughtIn {
        guard !CredentialRules.isOver(record.expires, now: now) else { return .expired }
        guard case .inline(let secret) = record.secret else { throw .internal }
        let current = try current(row, for: .init(), now: now)
        if let current, current.record.updated >= record.updated { return .kept }
        _ = try retire(row, now: now)
        var next = record
        next.version = try nextVersion()
        next.purge = CredentialRules.never
        if secret.count > CredentialRules.inlineLimit {
            next.secret = .separate(size: UInt32(truncatingIfNeeded: secret.count))
            try put(row.secret(of: next.version), secret)
        }
        try put(row, next)
        return current == nil ? .imported : .improved
    }
}
