internal import PawlCore
internal import PawlCrypto
internal import PawlStore

/// What sessions have to do later.
extension Store {
    func runSessionJob(_ job: Job, _ transaction: Transaction) throws(Failure) {
        let conversation: Conversation
        do throws(Failure) {
            conversation = try transaction.session(job.subject)
        } catch {
            guard error == .notFound else { throw error }
            return
        }
        switch job.kind {
        case .setUpDeadline: try renewSetUp(conversation, transaction)
        case .skippedKeys: try eraseLateKeys(conversation.session, job, transaction)
        case .rekeyRetry: try retryRekey(conversation.session, transaction)
        case .epochEnd: try endEpoch(conversation, transaction)
        case .sessionEnd:
            // Not before the host has all that it wanted to be kept.
            guard try !transaction.hasKept(job.subject) else {
                return try transaction.schedule(job, at: Backoff.after(now(), Session.endRetry))
            }
            try takeOut(conversation, in: transaction)
            try outgoing(transaction).finish(conversation.session)
        case .credentialPurge, .checkpoint, .tombstone, .rotatePackage, .deletePackage, .replenish,
            .verifyPublication, .orphanRetry, .backup:
            throw .internal
        }
    }

    /// Nobody answered: the peer's package may be gone. Its host is asked for a fresh one.
    private func renewSetUp(
        _ conversation: Conversation, _ transaction: Transaction
    ) throws(Failure) {
        let session = conversation.session
        guard session.welcome != nil else { return }
        try outgoing(transaction).tell(.setUpExpired, session)
        _ = try transaction.enqueue(
            .request(
                Request.package.rawValue, account: session.account, session: session.id,
                peer: session.peer))
    }

    private func eraseLateKeys(
        _ session: Session, _ job: Job, _ transaction: Transaction
    ) throws(Failure) {
        let now = now()
        // What was written by a clock that was ahead stays no longer than if it came now.
        let latest = Backoff.after(now, Session.skippedLifetime)
        var next: Int64?
        var kept: UInt32 = 0
        var lost: UInt64 = 0
        try transaction.scanRaw(.of(.skipped, session.id)) { (row, value) throws(Failure) in
            var expires: Int64
            do throws(Failure) {
                let record = try SkippedRecord(decoding: transaction.sealer.open(value, for: row))
                expires = record.expires
                if expires > latest {
                    let key = try SecretBuffer(copying: record.key)
                    try transaction.put(row, SkippedRecord.encode(key: key, expires: latest))
                }
            } catch {
                expires = try expiry(of: error, latest)
            }
            guard expires > now else {
                transaction.delete(row)
                lost += 1
                return true
            }
            kept += 1
            next = min(next ?? latest, expires)
            return true
        }
        try transaction.scanRaw(.of(.epoch, session.id)) { (row, value) throws(Failure) in
            var expires: Int64
            do throws(Failure) {
                let record = try transaction.sealer.open(value, for: row)
                expires = try ClosedEpoch.expiry(record)
                if expires > latest {
                    let epoch = try ClosedEpoch(decoding: record, epoch: 0)
                    try transaction.put(row, epoch.encoded(expires: latest))
                }
            } catch {
                expires = try expiry(of: error, latest)
            }
            guard expires > now else {
                transaction.delete(row)
                return true
            }
            next = min(next ?? latest, expires)
            return true
        }
        session.skipped = kept
        try transaction.put(session)
        if lost > 0 { try outgoing(transaction).tell(.lost, session, count: lost) }
        try transaction.scheduleCheckpoint()
        if let next { try transaction.schedule(job, at: next) }
    }

    /// Of a row that cannot be read: a damaged one will never be used, a newer Pawl's is for that to erase.
    private func expiry(of error: Failure, _ latest: Int64) throws(Failure) -> Int64 {
        switch error {
        case .corrupt: return .min
        case .version: return latest
        default: throw error
        }
    }

    // MARK: Answers

    /// The fresh package that a set-up without an answer asked for: a new session takes the old one's place, and
    /// its welcome leaves at once.
    func answerPackage(
        _ item: OutboxItem, body: Bytes, in transaction: Transaction
    ) throws(Failure) {
        guard let id = item.session else { throw .corrupt(.record) }
        // Answered or ended in the meantime: nothing is to be done.
        guard try isUnanswered(id, transaction) else { return }
        let start = try prepare(item.account, body, in: transaction) { (package) throws(Failure) in
            guard let peer = item.peer, package.identity.isSame(as: peer) else { throw .auth }
        }
        if let refusal = try begin(start, replacing: id, in: transaction) { throw refusal }
        _ = try outgoing(transaction).post(start, nil)
        try transaction.put(start)
        try transaction.scheduleCheckpoint()
        shared.reservations.forget(id)
    }

    private func isUnanswered(
        _ id: Identifier, _ transaction: Transaction
    ) throws(Failure) -> Bool {
        do throws(Failure) {
            return try transaction.session(id).session.welcome != nil
        } catch {
            guard error == .notFound else { throw error }
            return false
        }
    }
}
