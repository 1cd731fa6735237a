internal import PawlCore
internal import PawlCrypto
internal import PawlStore

/// Credentials that expire and deleted versions are removed when their time is over, by a job for each. Rows without
/// one, from before there were jobs, are removed when they are met.
extension Store {
    /// Answers the ids of vault values that nothing points to any more, to be swept after the commit.
    func purgeCredential(
        _ job: DueJob, _ transaction: Transaction
    ) throws(Failure) -> [VaultID] {
        guard let row = job.record?.credential else { throw .corrupt(.record) }
        // Nothing is there, or nothing that can be told to be over: whoever meets it decides.
        guard let record = try transaction.readableCredential(row) else { return [] }
        let now = now()
        guard CredentialRules.isOver(record.due, now: now) else {
            // The job believed in another time.
            try transaction.planPurge(of: row, record)
            return []
        }
        try transaction.scheduleCheckpoint()
        return try transaction.retire(row, now: now)
    }
}

extension JobRecord {
    /// The credential or deleted version to be removed. Nil if this is damaged.
    fileprivate var credential: RowKey? {
        let row = detail.withUnsafeBytes { RowKey(copying: $0) }
        return row?.kind == .credential || row?.kind == .deleted ? row : nil
    }
}

extension Transaction {
    /// Stores a credential or deleted version, to be removed when its time is over.
    func put(_ row: RowKey, _ record: CredentialRecord) throws(Failure) {
        try put(row, record.encoded())
        try planPurge(of: row, record)
        try noteCredential(row, record)
    }

    /// Deletes the row of a record, without what hangs on it.
    func remove(_ row: RowKey, _ record: CredentialRecord) throws(Failure) {
        delete(row)
        try noteGone(row)
        if record.due != CredentialRules.never { try cancelPurge(of: row) }
    }

    func cancelPurge(of row: RowKey) throws(Failure) { try cancel(purge(of: row)) }

    fileprivate func planPurge(of row: RowKey, _ record: CredentialRecord) throws(Failure) {
        guard record.due != CredentialRules.never else { return }
        try schedule(
            purge(of: row), at: record.due, detail: row.withBytes { [UInt8]($0) })
    }

    /// Nil: absent or damaged.
    fileprivate func readableCredential(_ row: RowKey) throws(Failure) -> CredentialRecord? {
        do throws(Failure) {
            return try get(row).map { (buffer) throws(Failure) in
                try CredentialRecord(decoding: buffer)
            }
        } catch {
            guard error == .corrupt(.record) else { throw error }
            return nil
        }
    }

    /// A job's subject has 16 bytes, so the row's key goes by its hash.
    private func purge(of row: RowKey) throws(Failure) -> Job {
        let name = try row.withBytes { (key) throws(Failure) in
            try sealer.child(of: RowKey(.job), named: key)
        }
        return try name.withBytes { (bytes) throws(Failure) in
            Job(.credentialPurge, try Identifier(Bytes(rebasing: bytes.dropFirst())))
        }
    }
}
