import CPawl

/// What an account keeps of one direction of an epoch, so that its messages open again.
public struct History: Sendable, Hashable {
    /// Who wrote a message.
    public enum Direction: UInt32, Sendable, Hashable {
        /// The peer.
        case received = 1
        /// The account itself.
        case sent = 2
    }

    /// The session, which may be gone.
    public let session: Session.ID
    /// Its epoch.
    public let epoch: UInt32
    /// Which of its two chains; nil for one that this version does not know.
    public let direction: Direction?
    /// The first index that opens.
    public let first: UInt32
    /// The index behind the last one; nil: not known yet.
    public let end: UInt32?
    /// Whether its epoch is over for both sides, or its session is here: its key forges no more than
    /// what is still on its way. Until then it forges whatever follows.
    public let isClosed: Bool
    /// Whether it came from a backup.
    public let isImported: Bool
    /// When the epoch began here.
    public let created: Timestamp
    /// Who the peer was.
    public let peer: Identity

    init(_ row: pawl_history) {
        session = Session.ID(row: row.session)
        epoch = row.epoch
        direction = Direction(rawValue: row.direction)
        first = row.first
        end = row.end == .max ? nil : row.end
        isClosed = row.flags & UInt32(PAWL_HISTORY_CLOSED) != 0
        isImported = row.flags & UInt32(PAWL_HISTORY_IMPORTED) != 0
        created = Timestamp(nanoseconds: row.created_ns)
        peer = Identity(
            row.peer_signing_key, row.peer_agreement_key, row.peer_name, row.peer_name_size)
    }

    /// As C knows it, to name where a page starts.
    var place: pawl_history {
        var row = pawl_history.sized()
        withUnsafeMutableBytes(of: &row.session) { $0.copyBytes(from: session.bytes) }
        row.epoch = epoch
        row.direction = direction?.rawValue ?? 0
        return row
    }
}

/// A stored frame, opened by history. That it opens says who wrote it; not that it is new, nor that
/// it was ever received.
public struct HistoryMessage: Sendable, Equatable {
    /// The message: 0 bytes to 16 MiB; nil: the frame carried none, not even an empty one.
    public let plaintext: Secret?
    /// The session it was sent in, which may be gone.
    public let session: Session.ID
    /// The epoch it was sent in.
    public let epoch: UInt32
    /// Its index in that epoch, from 0.
    public let index: UInt32
    /// Who wrote it; nil for a direction that this version does not know.
    public let direction: History.Direction?
    /// Who the peer was.
    public let peer: Identity

    init(_ found: pawl_history_message, _ plaintext: UnsafeRawBufferPointer) {
        let isEmpty = found.flags & UInt32(PAWL_HISTORY_EMPTY) != 0
        self.plaintext = isEmpty ? nil : Secret(copying: plaintext)
        session = Session.ID(row: found.session)
        epoch = found.epoch
        index = found.index
        direction = History.Direction(rawValue: found.direction)
        peer = withUnsafeBytes(of: found.peer_name) { name in
            Identity(
                found.peer_signing_key, found.peer_agreement_key,
                name.assumingMemoryBound(to: UInt8.self).baseAddress, Int(found.peer_name_size))
        }
    }
}

extension Account {
    /// Keeps what opens the account's messages again, from the epochs on that begin after this. It
    /// gives up forward secrecy for them, see <doc:KeepingHistory>; `false` erases all that was kept.
    ///
    /// - Throws: ``PawlError/Code/notFound``.
    public func keepHistory(_ on: Bool = true) async throws(PawlError) {
        try await store.run { calls throws(PawlError) in try calls.keepHistory(on, id) }
    }

    /// Whether the account keeps history.
    ///
    /// - Throws: ``PawlError/Code/notFound``.
    public func keepsHistory() async throws(PawlError) -> Bool {
        try await store.run { calls throws(PawlError) in try calls.keepsHistory(id) }
    }

    /// One page of what is kept, after `row`: that of one session together, by epoch.
    ///
    /// - Parameters:
    ///   - row: the last of the page before; nil: from the start.
    ///   - limit: 1 to 10,000; a page with fewer is the last.
    public func history(
        after row: History? = nil, limit: Int = 1000
    ) async throws(PawlError) -> [History] {
        try await store.run { calls throws(PawlError) in
            try calls.history(id, after: row, limit: limit)
        }
    }

    /// All that is kept, asked for by the page.
    ///
    /// - Parameter pageSize: how many to ask for at a time, 1 to 10,000.
    public func allHistory(pageSize: Int = 1000) -> Pages<History> {
        Pages(of: pageSize) { last throws(PawlError) in
            try await self.history(after: last, limit: pageSize)
        }
    }

    /// Opens a frame that the account sent or received before, any number of times. No session is
    /// looked at or changed.
    ///
    /// - Throws: ``PawlError/Code/notFound`` (its epoch is not kept), ``PawlError/Code/auth`` (not a
    ///   frame of that epoch, or damaged), ``PawlError/Reason/limitIndex`` (more than 2^22 messages
    ///   behind the first), ``PawlError/Code/version`` (a frame of a newer Pawl).
    public func openHistory(_ frame: [UInt8]) async throws(PawlError) -> HistoryMessage {
        try await store.run { calls throws(PawlError) in try calls.openHistory(frame, id) }
    }
}

extension Calls {
    func keepHistory(_ on: Bool, _ account: Account.ID) throws(PawlError) {
        try check(pawl_history_enable(handle(), account.bytes, on ? 1 : 0))
    }

    func keepsHistory(_ account: Account.ID) throws(PawlError) -> Bool {
        var on: UInt32 = 0
        try check(pawl_history_enabled(handle(), account.bytes, &on))
        return on != 0
    }

    func history(
        _ account: Account.ID, after row: History?, limit: Int
    ) throws(PawlError) -> [History] {
        let store = try handle()
        let view = try View { view in
            guard var place = row?.place else {
                return pawl_history_list(store, account.bytes, nil, limit, view)
            }
            return pawl_history_list(store, account.bytes, &place, limit, view)
        }
        return try view.map(pawl_view_history, History.init)
    }

    func openHistory(
        _ frame: [UInt8], _ account: Account.ID
    ) throws(PawlError) -> HistoryMessage {
        let store = try handle()
        return try withScratch(frame.count) { out throws(PawlError) in
            var message = pawl_history_message.sized()
            var count = 0
            try check(
                pawl_history_decrypt(
                    store, account.bytes, frame, frame.count,
                    out.baseAddress?.assumingMemoryBound(to: UInt8.self), out.count, &count,
                    &message))
            return HistoryMessage(message, UnsafeRawBufferPointer(rebasing: out[..<count]))
        }
    }
}
