internal import PawlCore
package import PawlCrypto
internal import PawlStore

/// Messages out.
///
///     encrypt: reserve (a commit for 16 to 512 messages) ──► take an index and its key ──► frame
///     send:    one commit: index, frame in the outbox
extension Store {
    /// Writes a frame and answers its size; `out` has room for the message and `Frame.overheadLimit`.
    package func encrypt(
        _ id: Identifier, _ message: Bytes, into out: UnsafeMutableRawBufferPointer
    ) throws(Failure) -> Int {
        guard message.count <= Frame.messageLimit else { throw .limit(.message) }
        var size = 0
        try withStackKey { (key) throws(Failure) in
            let ticket = try ticket(id, message.count, key)
            let envelope = ticket.terms.envelope(ticket.index)
            size = envelope.size(around: message.count)
            guard size <= out.count else { throw .buffer }
            try Frame.write(
                envelope, message: message, key: Bytes(key), random: randomWords(),
                into: UnsafeMutableRawBufferPointer(rebasing: out[..<size]))
            withExtendedLifetime(ticket) {}
        }
        return size
    }

    private func ticket(
        _ id: Identifier, _ size: Int, _ key: UnsafeMutableRawBufferPointer
    ) throws(Failure) -> Reservations.Ticket {
        while true {
            switch try shared.reservations.next(id, bytes: size, into: key) {
            case .ticket(let ticket): return ticket
            case .stale: try recheck(id)
            case .none:
                // What a batch reserves could be rolled back after its frames have left.
                guard !isBatch else { throw .state(.reservation) }
                try reserve(id)
            }
        }
    }

    /// Encrypts into the outbox and answers the item's number.
    package func send(_ id: Identifier, _ message: Bytes) throws(Failure) -> UInt64 {
        guard message.count <= Frame.messageLimit else { throw .limit(.message) }
        let reserved = takeReserved(id)
        return try transact(.write) { (transaction) throws(Failure) in
            let session = try sendable(id, in: transaction).session
            if let reserved { session.giveBack(reserved) }
            let number = try send(message, in: session, transaction)
            try transaction.put(session)
            try transaction.scheduleCheckpoint()
            return number
        }
    }

    private func send(
        _ message: Bytes, in session: Session, _ transaction: Transaction
    ) throws(Failure) -> UInt64 {
        guard session.sending.index < Session.messageLimit else { throw .limit(.index) }
        let outgoing = outgoing(transaction)
        guard session.pace.limits.isPerfect else {
            return try outgoing.follow(rekeyIfOver(session), of: session, with: message) ?? 0
        }
        if session.pace.queued == 0, session.epoch >= session.pace.nextEpoch {
            session.pace.wasSent(in: session.epoch)
            return try outgoing.post(session, message)
        }
        let ticket = try outgoing.queue(message, in: session)
        try outgoing.follow(session.trigger(Libsodium()).1, of: session)
        return ticket
    }

    /// A round, if an epoch is over by what was sent in it and none is under way.
    private func rekeyIfOver(_ session: Session) throws(Failure) -> Rekey.Outcome {
        guard session.pace.isOver(index: session.sending.index), session.rekey.pending == nil else {
            return Rekey.Outcome()
        }
        return try session.trigger(Libsodium()).1
    }

    /// A session in which something can be sent now.
    private func sendable(
        _ id: Identifier, in transaction: Transaction
    ) throws(Failure) -> Conversation {
        let conversation = try transaction.session(id)
        try conversation.peer.checkSending(id)
        // A welcome that leaves when its package is over would be refused.
        let session = conversation.session
        guard
            session.welcome == nil || session.hasSent
                || Self.milliseconds(now()) <= session.packageEnd
        else { throw .time }
        return conversation
    }

    // MARK: Reservations

    private func reserve(_ id: Identifier) throws(Failure) {
        let reservations = shared.reservations
        var steps: [TracedStep] = []
        // Under no lock.
        defer { trace(steps) }
        try reservations.making.withLock { () throws(Failure) in
            guard !reservations.has(id) else { return }
            let place = try reservations.place(for: id)
            let session = try transact(.write, tracing: &steps) { (transaction) throws(Failure) in
                let session = try sendable(id, in: transaction).session
                guard !session.pace.limits.isPerfect else { throw .state(.mode) }
                if let evicted = place.evicted {
                    if evicted.session == id {
                        session.giveBack(evicted)
                    } else {
                        try giveBack(evicted, in: transaction)
                    }
                }
                let outcome = try rekeyIfOver(session)
                try outgoing(transaction).follow(outcome, of: session)
                try session.reserve(place.size, in: place.chain)
                try transaction.put(session)
                try transaction.scheduleCheckpoint()
                return session
            }
            try reservations.insert(session, at: place, lane: reservations.lane(id))
        }
    }

    /// Is the session still what it was when its indices were reserved?
    private func recheck(_ id: Identifier) throws(Failure) {
        do throws(Failure) {
            let session = try transact(.read) { (transaction) throws(Failure) in
                try sendable(id, in: transaction).session
            }
            guard !session.pace.limits.isPerfect else { throw .state(.mode) }
            if session.welcome == nil { shared.reservations.dropWelcome(id) }
            shared.reservations.confirm(id, epoch: session.epoch)
        } catch {
            switch error {
            case .notFound, .state: shared.reservations.forget(id)
            default: break
            }
            throw error
        }
    }

    private func giveBack(
        _ rest: Reservations.Rest, in transaction: Transaction
    ) throws(Failure) {
        // A session that is gone or damaged gets nothing back.
        guard let session = try? transaction.session(rest.session).session else { return }
        session.giveBack(rest)
        try transaction.put(session)
    }

    /// What this handle reserved in a session, to be given back in the transaction that follows.
    func takeReserved(_ id: Identifier) -> Reservations.Rest? {
        // What a batch gives back could be rolled back after its indices were used.
        isBatch ? nil : shared.reservations.take(id)
    }

    /// What was reserved and not used, when a handle is closed. What a failure leaves is skipped.
    func giveBackReservations() {
        let rests = shared.reservations.takeAll()
        guard !rests.isEmpty else { return }
        try? transact(.write) { (transaction) throws(Failure) in
            for rest in rests { try giveBack(rest, in: transaction) }
        }
    }
}

extension Session {
    /// Takes back what a reservation did not use, if nobody reserved above it, and counts what was sent with it.
    func giveBack(_ rest: Reservations.Rest) {
        _ = giveBack(rest.chain, end: rest.end, epoch: rest.epoch)
        if rest.epoch == epoch { pace.sentBytes &+= rest.bytes }
    }
}
