internal import PawlCore
internal import PawlCrypto
internal import PawlStore

/// What a session says to its peer, and what else follows from what its rekeying decided: frames, events and deadlines,
/// in the transaction that stores the session.
struct Outgoing {
    let transaction: Transaction
    let reservations: Reservations
    let now: Int64

    /// How many epochs' late keys are kept.
    static let epochLimit: UInt32 = 8
    /// How long a closed session still answers.
    static let tombstoneLife = JobKind.tombstone.longest

    // MARK: Frames

    /// Puts a frame with application data (nil: none) and parts into the outbox, and answers its number. `ticket` is the
    /// number that the message has had before.
    func post(
        _ session: Session, _ message: Bytes?, _ parts: [Part] = [], ticket: UInt64 = 0
    ) throws(Failure) -> UInt64 {
        guard session.sending.index < Session.indexLimit else { throw .limit(.index) }
        let encoded = try Part.encode(parts)
        let terms = try Reservations.Terms(session, lane: reservations.lane(session.id))
        let envelope = terms.envelope(session.sending.index)
        let frame = try SecretBuffer(
            count: envelope.size(parts: encoded.count, around: message?.count))
        try Frame.write(
            envelope, parts: encoded.bytes, message: message, key: session.sending.messageKey(),
            random: randomWords(), into: frame.mutableBytes)
        try session.sending.advance()
        session.pace.sentBytes &+= UInt64(message?.count ?? 0)
        let seq = try transaction.enqueue(
            .frame(
                frame.bytes, isMessage: message != nil, count: ticket, session: session.id,
                account: session.account,
                peer: session.peer))
        withExtendedLifetime((terms, frame, encoded)) {}
        return seq
    }

    // MARK: Rekeying

    /// Does what `outcome` asks for, and lets a message leave that waited for it; `message`, if there is one, carries the
    /// parts. Answers the number of the frame that carried it.
    @discardableResult
    func follow(
        _ outcome: Rekey.Outcome, of session: Session, with message: Bytes? = nil
    ) throws(Failure) -> UInt64? {
        transaction.trace(session, outcome.steps)
        var says = outcome.says
        if outcome.isClosed { return try end(session) }
        if outcome.committed != nil { try begun(session) }
        if outcome.isStalled { try tell(.stalled, session, count: UInt64(session.rekey.attempts)) }

        var number: UInt64?
        if let waiting = try message == nil ? nextQueued(session) : nil {
            if session.pace.queued > 0 {
                let (_, next) = try session.trigger(Libsodium())
                transaction.trace(session, next.steps)
                says.formUnion(next.says)
            }
            _ = try post(
                session, waiting.message.bytes, parts(says, of: session, outcome),
                ticket: waiting.ticket)
        } else {
            let parts = try parts(says, of: session, outcome)
            if message != nil || !parts.isEmpty || says.contains(.nudge) {
                number = try post(session, message, parts)
            }
        }
        try planRetry(says, outcome, session)
        return number
    }

    private func parts(
        _ says: Rekey.Says, of session: Session, _ outcome: Rekey.Outcome
    ) throws(Failure) -> [Part] {
        try session.rekey.parts(
            says, refused: outcome.refused, pause: session.pace.pause(now: now))
    }

    /// An epoch counts from now on.
    private func begun(_ session: Session) throws(Failure) {
        if session.epoch <= session.rekey.wanted {
            try tell(.epoch, session, count: UInt64(session.epoch))
        }
        transaction.wakesWaiters = true
        try plan(session)
    }

    /// The deadline by which the epoch is over.
    func plan(_ session: Session) throws(Failure) {
        let job = Job(.epochEnd, session.id)
        if let end = session.pace.end {
            try transaction.schedule(job, at: end)
        } else if try transaction.due(of: job) != nil {
            try transaction.cancel(job)
        }
    }

    private func planRetry(
        _ says: Rekey.Says, _ outcome: Rekey.Outcome, _ session: Session
    ) throws(Failure) {
        let job = Job(.rekeyRetry, session.id)
        guard session.rekey.pending != nil else {
            if outcome.committed != nil { try transaction.cancel(job) }
            return
        }
        if let pause = outcome.pause {
            let wait = min(max(Int64(pause) * 1_000_000, Pace.firstRetry), Pace.lastRetry)
            try transaction.schedule(job, at: Backoff.after(now, wait))
        } else if says.contains(.phase) {
            try planRetry(session, after: Pace.firstRetry)
        }
    }

    /// Ever later the more often the phase was said, and no sooner than after `least`.
    func planRetry(_ session: Session, after least: Int64) throws(Failure) {
        let wait = Backoff.wait(
            failures: min(session.rekey.attempts, 64) + 1, first: Pace.firstRetry,
            limit: Pace.lastRetry, random: randomNumber())
        try transaction.schedule(
            Job(.rekeyRetry, session.id), at: Backoff.after(now, max(wait, least)))
    }

    /// The peer has closed the session.
    private func end(_ session: Session) throws(Failure) -> UInt64? {
        try dropQueue(session)
        for kind in [JobKind.rekeyRetry, .epochEnd] {
            try transaction.cancel(Job(kind, session.id))
        }
        try tell(.sessionClosed, session)
        transaction.wakesWaiters = true
        return nil
    }

    /// A session is over for good, and no longer in its peer's record.
    func finish(_ session: Session) throws(Failure) {
        try dropQueue(session)
        try transaction.erase(session.id)
        try tell(.sessionEnded, session)
        reservations.forget(session.id)
    }

    /// The session that goes when a peer's record has no room for one more: of those that `canGo` the oldest of a former
    /// identity. Never one before the host has forgotten what was kept of it; a damaged one is left to verify.
    func surplus(
        of peer: PeerRecord, _ account: Identifier, _ canGo: (Identifier) -> Bool = { _ in true }
    ) throws(Failure) -> Session? {
        for id in peer.surplus where canGo(id) {
            guard try !transaction.hasKept(id),
                let session = try transaction.readableSession(id, of: account)
            else { continue }
            return session
        }
        return nil
    }

    func tell(
        _ event: SessionEvent, _ session: Session, count: UInt64 = 0
    ) throws(Failure) {
        _ = try transaction.enqueue(
            .event(
                event.rawValue, count: count, account: session.account, session: session.id,
                peer: session.peer))
    }

    // MARK: Messages that wait for an epoch

    /// Keeps a message until an epoch begins, and answers the ticket that its frame will name.
    func queue(_ message: Bytes, in session: Session) throws(Failure) -> UInt64 {
        guard session.pace.hasRoom else { throw .limit(.queue) }
        let ticket = try transaction.nextTicket()
        try transaction.put(.queued(session.id, ticket), message)
        session.pace.queued += 1
        return ticket
    }

    /// The message whose turn it is, if it may leave under the epoch that counts. It is no longer in the queue.
    private func nextQueued(
        _ session: Session
    ) throws(Failure) -> (message: SecretBuffer, ticket: UInt64)? {
        guard session.pace.queued > 0, session.epoch >= session.pace.nextEpoch else { return nil }
        let first = try takeQueued(session, limit: 1).first
        if first == nil { session.pace.queued = 0 } else { session.pace.wasSent(in: session.epoch) }
        return first
    }

    /// Lets all messages leave: none waits for an epoch any more.
    func sendQueue(_ session: Session) throws(Failure) {
        guard session.pace.queued > 0 else { return }
        for waiting in try takeQueued(session, limit: Int.max) {
            _ = try post(session, waiting.message.bytes, ticket: waiting.ticket)
            withExtendedLifetime(waiting) {}
        }
        session.pace.queued = 0
    }

    /// Takes the oldest messages out of the queue; a damaged one will not leave.
    private func takeQueued(
        _ session: Session, limit: Int
    ) throws(Failure) -> [(message: SecretBuffer, ticket: UInt64)] {
        var taken: [(message: SecretBuffer, ticket: UInt64)] = []
        var damaged: [UInt64] = []
        try transaction.scanRaw(.of(.queued, session.id)) { (row, value) throws(Failure) in
            transaction.delete(row)
            session.pace.queued -= session.pace.queued > 0 ? 1 : 0
            do throws(Failure) {
                taken.append((try transaction.sealer.open(value, for: row), row.number))
            } catch {
                guard error == .corrupt(.record) else { throw error }
                damaged.append(row.number)
            }
            return taken.count < limit
        }
        for ticket in damaged { try tell(.unsent, session, count: ticket) }
        return taken
    }

    /// Tells the host of each message that will not leave.
    func dropQueue(_ session: Session) throws(Failure) {
        guard session.pace.queued > 0 else { return }
        var tickets: [UInt64] = []
        try transaction.scanRaw(.of(.queued, session.id)) { (row, _) in
            transaction.delete(row)
            tickets.append(row.number)
            return true
        }
        for ticket in tickets { try tell(.unsent, session, count: ticket) }
        session.pace.queued = 0
    }
}

/// Random and slow: what the machine leaves to the engine.
struct Libsodium: Exchange {
    func draw(_ suite: Suite) throws(Failure) -> SecretBuffer { try KeyExchange.draw(suite) }

    func encapsulate(_ suite: Suite, to key: Bytes) throws(Failure) -> SecretBuffer {
        try KeyExchange.encapsulate(suite, to: key)
    }

    func decapsulate(
        _ suite: Suite, _ ciphertext: Bytes, pair: Bytes
    ) throws(Failure) -> SecretBuffer {
        try KeyExchange.decapsulate(suite, ciphertext, pair: pair)
    }
}
