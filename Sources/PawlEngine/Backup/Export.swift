internal import PawlCore
internal import PawlCrypto
internal import PawlStore

/// Writes an archive as it is read: no more than a chunk and one credential are in memory.
final class Export {
    private let store: Store
    private let rows: RowKey
    private let header: SecretBuffer
    private let stream: SecretStream
    private(set) var report = Archive.Report()

    /// Where the last credential was.
    private var last: RowKey?
    /// The credential that is being written.
    private var entry: SecretBuffer?
    private var entryOffset = 0
    private let chunk: SecretBuffer
    /// What the host has not read yet.
    private var ready: SecretBuffer
    private var readyOffset = 0
    private var isOver = false

    private init(
        _ store: Store, _ rows: RowKey, _ header: SecretBuffer, _ stream: SecretStream,
        chunk: SecretBuffer
    ) {
        self.store = store
        self.rows = rows
        self.header = header
        self.stream = stream
        self.chunk = chunk
        ready = header
    }

    convenience init(_ store: Store, _ scope: ArchiveScope, _ key: UnlockKey) throws(Failure) {
        let rows =
            switch scope {
            case .everything: RowKey(.credential)
            case .user(let scope): try store.userKey(scope)
            case .project(let scope): try store.scopeKey(scope)
            }
        let (header, stream) = try ArchiveHeader.make(for: key, now: store.now())
        let chunk = try SecretBuffer(count: Archive.chunkSize)
        self.init(store, rows, header, stream, chunk: chunk)
    }

    func read(into out: UnsafeMutableRawBufferPointer) throws(Failure) -> Int {
        var written = 0
        while written < out.count {
            if readyOffset == ready.count {
                guard !isOver else { break }
                try seal()
            }
            let count = min(out.count - written, ready.count - readyOffset)
            UnsafeMutableRawBufferPointer(rebasing: out[written..<written + count])
                .copyMemory(
                    from: Bytes(rebasing: ready.bytes[readyOffset..<readyOffset + count]))
            written += count
            readyOffset += count
        }
        return written
    }

    /// Makes the next chunk ready.
    private func seal() throws(Failure) {
        var filled = 0
        while filled < chunk.count, try hasEntry() {
            guard let entry else { throw .internal }
            let count = min(chunk.count - filled, entry.count - entryOffset)
            UnsafeMutableRawBufferPointer(rebasing: chunk.mutableBytes[filled..<filled + count])
                .copyMemory(
                    from: Bytes(rebasing: entry.bytes[entryOffset..<entryOffset + count]))
            filled += count
            entryOffset += count
        }
        // A full chunk may be the last one.
        let isLast = try !hasEntry()
        let sealed = try SecretBuffer(count: filled + SecretStream.overhead)
        try stream.seal(
            Bytes(rebasing: chunk.bytes[..<filled]), isLast: isLast, associated: header.bytes,
            into: sealed.mutableBytes)
        ready = sealed
        readyOffset = 0
        isOver = isLast
    }

    /// Whether there is more to write; looks for the next credential when one is done.
    private func hasEntry() throws(Failure) -> Bool {
        if let entry, entryOffset < entry.count { return true }
        entry = nil
        entryOffset = 0
        while let found = try store.nextCredential(rows, after: last) {
            last = found.row
            guard let record = found.record else {
                report.unreadable += 1
                continue
            }
            entry = try Archive.entry(record)
            report.credentials += 1
            return true
        }
        return false
    }
}

extension Store {
    /// The credential behind `last` with its secret in it; without a record it is damaged, or a newer Pawl's. Those
    /// whose time is over are passed over.
    fileprivate func nextCredential(
        _ rows: RowKey, after last: RowKey?
    ) throws(Failure) -> (row: RowKey, record: CredentialRecord?)? {
        let now = now()
        // A secret in a vault may be replaced between the two looks.
        for _ in 0..<Self.attempts {
            let found = try transact(.read) { (transaction) throws(Failure) in
                try transaction.nextCredential(rows, after: last, now: now)
            }
            guard let found, let record = found.record, case .vault = record.secret else {
                return found
            }
            do throws(Failure) {
                if let secret = try fetch(record, at: found.row) {
                    return (found.row, try record.holding(secret))
                }
            } catch {
                guard error == .corrupt(.keyLost) || error == .corrupt(.record) else { throw error }
                return (found.row, nil)
            }
        }
        throw .busy(.changed)
    }
}

extension Transaction {
    fileprivate func nextCredential(
        _ rows: RowKey, after last: RowKey?, now: Int64
    ) throws(Failure) -> (row: RowKey, record: CredentialRecord?)? {
        var found: (row: RowKey, record: CredentialRecord?)?
        try scanRaw(rows, after: last) { (row, value) throws(Failure) in
            do throws(Failure) {
                let record = try CredentialRecord(decoding: sealer.open(value, for: row))
                if CredentialRules.isOver(record.expires, now: now) { return true }
                found = (row, record)
            } catch {
                guard error == .corrupt(.record) || error == .version else { throw error }
                found = (row, nil)
            }
            return false
        }
        guard let found, let record = found.record, case .separate(let size) = record.secret else {
            return found
        }
        let secret: SecretBuffer?
        do throws(Failure) {
            secret = try get(found.row.secret(of: record.version))
        } catch {
            guard error == .corrupt(.record) else { throw error }
            return (found.row, nil)
        }
        guard let secret, secret.count == Int(size) else { return (found.row, nil) }
        return (found.row, try record.holding(secret))
    }
}

extension CredentialRecord {
    /// The same with its secret in the record.
    func holding(_ secret: SecretBuffer) throws(Failure) -> CredentialRecord {
        var record = self
        record.secret = .inline(secret.bytes)
        let whole = try CredentialRecord(decoding: record.encoded())
        return withExtendedLifetime(secret) { whole }
    }
}
