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
        case .skippedKeys: try eraseSkippedKeys(conversation.session, job, transaction)
        case .sessionEnd:
            try end(conversation, in: transaction)
            try tell(.sessionEnded, conversation.session, transaction)
        case .credentialPurge, .checkpoint: throw .internal
        }
    }

    /// Nobody answered: the peer's package may be gone. Its host is asked for a fresh one.
    private func renewSetUp(
        _ conversation: Conversation, _ transaction: Transaction
    ) throws(Failure) {
        let session = conversation.session
        guard session.welcome != nil else { return }
        try tell(.setUpExpired, session, transaction)
        _ = try transaction.enqueue(
            .request(
                SessionRequest.package.rawValue, account: session.account, session: session.id,
                peer: session.peer))
    }

    private func tell(
        _ event: SessionEvent, _ session: Session, _ transaction: Transaction
    ) throws(Failure) {
        _ = try transaction.enqueue(
            .event(
                event.rawValue, account: session.account, session: session.id, peer: session.peer))
    }

    private func eraseSkippedKeys(
        _ session: Session, _ job: Job, _ transaction: Transaction
    ) throws(Failure) {
        let now = now()
        var next: Int64?
        var kept: UInt32 = 0
        try transaction.scanRaw(.of(.skipped, session.id)) { (row, value) throws(Failure) in
            let record = try? SkippedRecord(decoding: transaction.sealer.open(value, for: row))
            // One that cannot be read will never be used.
            guard let record, record.expires > now else {
                transaction.delete(row)
                return true
            }
            kept += 1
            next = min(next ?? record.expires, record.expires)
            return true
        }
        session.skipped = kept
        try transaction.put(session)
        try transaction.scheduleCheckpoint()
        if let next { try transaction.schedule(job, at: next) }
    }

    // MARK: Answers

    /// The fresh package that a set-up without an answer asked for: a new session takes the old one's place, and
    /// its welcome leaves at once.
    func answer(
        _ item: OutboxItem, body: Bytes, in transaction: Transaction
    ) throws(Failure) {
        guard SessionRequest(rawValue: item.what) == .package, let id = item.session else {
            throw .misuse(.flags)
        }
        let start = try prepare(item.account, body, in: transaction) { (package) throws(Failure) in
            guard package.identity.isSame(as: item.peer) else { throw .auth }
        }
        // Answered or ended in the meantime: nothing is to be done.
        guard let old = try? transaction.session(id).session, old.welcome != nil else { return }
        try begin(start, replacing: id, in: transaction)
        _ = try send(nil, in: start, transaction)
        shared.reservations.forget(id)
    }
}
