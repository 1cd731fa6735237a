package import PawlCrypto

/// What an account that keeps history keeps of a session: for each direction of each epoch the chain key at its first
/// index, from which its messages can be opened again. Forward secrecy is given up for what it covers.
///
///     open ──the next epoch begins──► ended ──the other side knows where──► closed
///
/// As long as a chain is not closed its key forges whatever follows, so only closed ones may leave the store. What is
/// received is closed when the peer is heard in the next epoch. What is sent is closed when the epoch after the next begins:
/// not before that is it sure that the peer has heard the next one. All are when the session is over here.
package struct History {
    package enum Direction: UInt8 {
        case received = 1
        case sent = 2
    }

    /// How far a message may be from the first index: each step costs a hash.
    package static let reach: UInt32 = 1 << 22

    /// What became of a direction of an epoch.
    package struct Change {
        package let epoch: UInt32
        package let direction: Direction
        /// It has begun.
        package fileprivate(set) var key: SecretBuffer?
        /// The index behind its last message is known now.
        package fileprivate(set) var end: UInt32?
        package fileprivate(set) var isClosed = false
    }

    package private(set) var changes: [Change] = []

    mutating func begin(_ epoch: UInt32, sent: Bytes, received: Bytes) throws(Failure) {
        note(epoch, .sent, key: try SecretBuffer(copying: sent))
        note(epoch, .received, key: try SecretBuffer(copying: received))
    }

    mutating func note(
        _ epoch: UInt32, _ direction: Direction, key: SecretBuffer? = nil, end: UInt32? = nil,
        isClosed: Bool = false
    ) {
        let known = changes.firstIndex { $0.epoch == epoch && $0.direction == direction }
        var change =
            if let known { changes.remove(at: known) } else {
                Change(epoch: epoch, direction: direction)
            }
        change.key = key ?? change.key
        change.end = end ?? change.end
        change.isClosed = isClosed || change.isClosed
        changes.append(change)
    }
}

extension Session {
    /// Whose account keeps history. `isNew`: this epoch is kept, too, and nothing was sent or received in it.
    package func keepHistory(isNew: Bool = false) throws(Failure) {
        if history == nil { history = History() }
        guard isNew else { return }
        try history?.begin(epoch, sent: sending.key, received: receiving.chain.key)
    }

    /// What is to be written beside this session, once.
    package func takeHistory() -> [History.Change] {
        let changes = history?.changes ?? []
        if !changes.isEmpty { history = History() }
        return changes
    }

    package func filter(_ direction: History.Direction) -> Bytes {
        direction == .sent ? outgoingFilter : incomingFilter
    }

    func from(_ direction: History.Direction) -> Side {
        direction == .sent ? side : side.other
    }

    /// What the end of a session closes: nothing is sent or accepted in it from now on.
    package var ending: [History.Change] {
        var history = History()
        history.note(epoch, .sent, end: sending.index, isClosed: true)
        history.note(epoch, .received, end: receiving.chain.index, isClosed: true)
        if epoch > 0 {
            history.note(epoch - 1, .sent, isClosed: true)
            history.note(epoch - 1, .received, end: previous?.chain.index, isClosed: true)
        }
        return history.changes
    }
}
