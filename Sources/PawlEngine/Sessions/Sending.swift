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
            let ticket = try ticket(id, key)
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
        _ id: Identifier, _ key: UnsafeMutableRawBufferPointer
    ) throws(Failure) -> Reservations.Ticket {
        while true {
            switch try shared.reservations.next(id, into: key) {
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
        // What a batch gives back could be rolled back after its indices were used.
        let reserved = isBatch ? nil : shared.reservations.take(id)
        return try transact(.write) { (transaction) throws(Failure) in
            let conversation = try sendable(id, in: transaction)
            if let reserved { _ = conversation.session.giveBack(reserved.chain, end: reserved.end) }
            return try send(message, in: conversation.session, transaction)
        }
    }

    /// nil sends an empty message.
    func send(
        _ message: Bytes?, in session: Session, _ transaction: Transaction
    ) throws(Failure) -> UInt64 {
        guard session.sending.index < Session.indexLimit else { throw .limit(.index) }
        let terms = try Reservations.Terms(session, lane: shared.reservations.lane(session.id))
        let envelope = terms.envelope(session.sending.index)
        let frame = try SecretBuffer(count: envelope.size(around: message?.count))
        try Frame.write(
            envelope, message: message, key: session.sending.messageKey(),
            random: randomWords(), into: frame.mutableBytes)
        try session.sending.advance()
        try transaction.put(session)
        try transaction.scheduleCheckpoint()
        let seq = try transaction.enqueue(
            .frame(
                frame.bytes, session: session.id, account: session.account, peer: session.peer))
        withExtendedLifetime((terms, frame)) {}
        return seq
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
            session.welcome == nil || session.sending.index > 0
                || Self.milliseconds(now()) <= session.packageEnd
        else { throw .time }
        return conversation
    }

    // MARK: Reservations

    private func reserve(_ id: Identifier) throws(Failure) {
        let reservations = shared.reservations
        try reservations.making.withLock { () throws(Failure) in
            guard !reservations.has(id) else { return }
            let place = try reservations.place(for: id)
            let reserved = try transact(.write) { (transaction) throws(Failure) in
                if let evicted = place.evicted { try giveBack(evicted, in: transaction) }
                let session = try sendable(id, in: transaction).session
                let chain = try session.reserve(place.size, isAhead: place.isAhead)
                try transaction.put(session)
                try transaction.scheduleCheckpoint()
                return (session: session, chain: chain)
            }
            try reservations.insert(
                reserved.chain, of: reserved.session, at: place,
                lane: reservations.lane(id))
        }
    }

    /// Is the session still what it was when its indices were reserved?
    private func recheck(_ id: Identifier) throws(Failure) {
        do throws(Failure) {
            let isAnswered = try transact(.read) { (transaction) throws(Failure) in
                try sendable(id, in: transaction).session.welcome == nil
            }
            if isAnswered { shared.reservations.dropWelcome(id) }
            shared.reservations.confirm(id)
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
        guard let session = try? transaction.session(rest.session).session,
            session.giveBack(rest.chain, end: rest.end)
        else { return }
        try transaction.put(session)
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
