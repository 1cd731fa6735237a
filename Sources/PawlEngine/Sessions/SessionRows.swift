internal import PawlCore
internal import PawlCrypto
internal import PawlStore

/// Where sessions, peers and key packages lie in the store.
extension RowKey {
    static func accountState(_ account: Identifier) -> RowKey { of(.accountState, account) }

    static func package(_ account: Identifier, _ package: Identifier) -> RowKey {
        of(.package, account).appending(package)
    }

    static func oneTime(
        _ account: Identifier, _ package: Identifier, _ number: UInt32
    ) -> RowKey {
        of(.oneTime, account).appending(package).appending(UInt64(number))
    }

    static func welcome(
        _ account: Identifier, _ welcome: Welcome
    ) throws(Failure) -> RowKey {
        let hash = try SecretBuffer(count: 16)
        try KeyedHash.hash(into: hash.mutableBytes, key: .empty, welcome.ephemeral)
        return of(.welcome, account).appending(welcome.package).appending(hash.bytes)
    }

    static func session(_ id: Identifier) -> RowKey { of(.session, id) }

    static func skipped(_ id: Identifier, _ epoch: UInt32, _ index: UInt32) -> RowKey {
        of(.skipped, id).appending(UInt64(epoch) << 32 | UInt64(index))
    }

    /// `position`: epoch and index.
    static func skipped(_ id: Identifier, _ position: UInt64) -> RowKey {
        of(.skipped, id).appending(position)
    }

    static func kept(_ id: Identifier, _ position: UInt64) -> RowKey {
        of(.kept, id).appending(position)
    }

    static func kept(_ id: Identifier, _ epoch: UInt32, _ index: UInt32) -> RowKey {
        of(.kept, id).appending(UInt64(epoch) << 32 | UInt64(index))
    }

    static func epoch(_ id: Identifier, _ epoch: UInt32) -> RowKey {
        of(.epoch, id).appending(UInt64(epoch))
    }

    static func queued(_ id: Identifier, _ ticket: UInt64) -> RowKey {
        of(.queued, id).appending(ticket)
    }

    /// All keys of late messages of an epoch.
    static func skipped(_ id: Identifier, epoch: UInt32) -> RowKey {
        of(.skipped, id).appending(epoch)
    }

    /// A kind and an id.
    static func of(_ kind: RowKind, _ id: Identifier) -> RowKey {
        RowKey(kind).appending(id)
    }

    /// 16 bytes of the key, `offset` bytes behind the kind.
    func identifier(at offset: Int) -> Identifier? {
        var id: Identifier?
        withBytes { key in
            guard key.count >= 1 + offset + Identifier.size else { return }
            id = try? Identifier(
                Bytes(rebasing: key[(1 + offset)..<(1 + offset + Identifier.size)]))
        }
        return id
    }

    /// The number that the key ends with.
    var number: UInt64 {
        var number: UInt64 = 0
        withBytes { key in
            guard key.count >= 8 else { return }
            number = UInt64(
                bigEndian: key.loadUnaligned(fromByteOffset: key.count - 8, as: UInt64.self))
        }
        return number
    }
}

extension Transaction {
    func accountRecord(_ account: Identifier) throws(Failure) -> AccountRecord {
        guard let buffer = try get(.of(.account, account)) else { throw .notFound }
        return try AccountRecord(decoding: buffer)
    }

    func accountState(_ account: Identifier) throws(Failure) -> AccountState {
        guard let buffer = try get(.accountState(account)) else { return AccountState() }
        return try AccountState(decoding: buffer)
    }

    func peerRow(_ account: Identifier, _ name: Bytes) throws(Failure) -> RowKey {
        try sealer.child(of: .of(.peer, account), named: name)
    }

    func peer(_ row: RowKey) throws(Failure) -> PeerRecord? {
        guard let buffer = try get(row) else { return nil }
        return try PeerRecord(decoding: buffer)
    }

    /// A session and its peer's record, which always has an entry of it.
    func session(_ id: Identifier) throws(Failure) -> Conversation {
        guard let buffer = try get(.session(id)) else { throw .notFound }
        let session = try Session(decoding: buffer, id: id)
        let row = try peerRow(session.account, session.peer.name)
        guard let peer = try peer(row) else { throw .corrupt(.record) }
        return Conversation(session, peer: peer, row: row)
    }

    /// nil: there is none, or it cannot be read.
    func readableSession(
        _ id: Identifier, of account: Identifier
    ) throws(Failure) -> Session? {
        do throws(Failure) {
            return try session(SessionHalf(id), of: account)
        } catch {
            guard error.isOfOneRow else { throw error }
            return nil
        }
    }

    /// All sessions of an account that can be read, whether a peer's record has them or not.
    func eachSession(
        of account: Identifier, _ body: (Session) throws(Failure) -> Void
    ) throws(Failure) {
        try scanRaw(RowKey(.session)) { (row, value) throws(Failure) in
            guard let id = row.identifier(at: 0) else { return true }
            let session: Session
            do throws(Failure) {
                session = try Session(decoding: sealer.open(value, for: row), id: id)
            } catch {
                guard error.isOfOneRow else { throw error }
                return true
            }
            if session.account == account { try body(session) }
            return true
        }
    }

    /// All peers of an account that can be read.
    func eachPeer(
        of account: Identifier, _ body: (PeerRecord) throws(Failure) -> Void
    ) throws(Failure) {
        try scanRaw(.of(.peer, account)) { (row, value) throws(Failure) in
            let peer: PeerRecord
            do throws(Failure) {
                peer = try PeerRecord(decoding: sealer.open(value, for: row))
            } catch {
                guard error.isOfOneRow else { throw error }
                return true
            }
            try body(peer)
            return true
        }
    }

    func hasKept(_ session: Identifier) throws(Failure) -> Bool {
        var isThere = false
        try scanRaw(.of(.kept, session)) { (_, _) in
            isThere = true
            return false
        }
        return isThere
    }

    /// The side of a session that belongs to `account`; of one that was closed, `kind` being tombstone.
    func session(
        _ half: SessionHalf, of account: Identifier, _ kind: RowKind = .session
    ) throws(Failure) -> Session? {
        var found: Session?
        var damage: Failure?
        let prefix = half.withBytes { RowKey(kind).appending($0) }
        try scanRaw(prefix) { (row, value) throws(Failure) in
            guard let id = row.identifier(at: 0) else { throw .corrupt(.record) }
            do throws(Failure) {
                let session = try Session(decoding: sealer.open(value, for: row), id: id)
                if session.account == account { found = session }
            } catch {
                // It may be the other side's.
                damage = error
            }
            return found == nil
        }
        if found == nil, let damage { throw damage }
        return found
    }
}

/// A session with its peer's record while a call works on them.
final class Conversation {
    let session: Session
    var peer: PeerRecord
    let peerRow: RowKey

    init(_ session: Session, peer: PeerRecord, row: RowKey) {
        self.session = session
        self.peer = peer
        peerRow = row
    }
}

extension Transaction {
    func put(_ session: Session) throws(Failure) {
        try put(.session(session.id), session.encoded())
        try putHistory(session.takeHistory(), of: session)
    }

    /// Writes a peer's record, and gives each session that became receive-only its last deadline.
    func put(
        _ peer: PeerRecord, at row: RowKey, before: PeerRecord?, now: Int64
    ) throws(Failure) {
        for entry in peer.entries where !entry.isSendable {
            guard before?.entry(entry.id)?.isSendable != false else { continue }
            try cancel(Job(.setUpDeadline, entry.id))
            try schedule(
                Job(.sessionEnd, entry.id), at: Backoff.after(now, Session.endDelay))
        }
        try put(row, peer.encoded())
    }

    /// Erases what a session's rows hold, and its deadlines. Kept messages are the host's to forget.
    func erase(_ session: Identifier) throws(Failure) {
        try closeHistory(of: session)
        delete(.session(session))
        wakesWaiters = true
        for kind in [RowKind.skipped, .epoch, .queued] { try deleteAll(.of(kind, session)) }
        for kind in [JobKind.setUpDeadline, .skippedKeys, .sessionEnd, .rekeyRetry, .epochEnd] {
            try cancel(Job(kind, session))
        }
        try scheduleCheckpoint()
    }

    /// Deletes what is left of the sessions that an account has closed.
    func deleteTombstones(of account: Identifier) throws(Failure) {
        try scanRaw(RowKey(.tombstone)) { (row, value) throws(Failure) in
            guard let id = row.identifier(at: 0), let buffer = try? sealer.open(value, for: row),
                let session = try? Session(decoding: buffer, id: id), session.account == account
            else { return true }
            delete(row)
            try cancel(Job(.tombstone, id))
            return true
        }
    }

    /// Deletes all rows whose keys begin with `prefix`.
    func deleteAll(_ prefix: RowKey) throws(Failure) {
        try scanRaw(prefix) { (row, _) in
            delete(row)
            return true
        }
    }
}

extension Failure {
    /// Whether a row cannot be read, and others can.
    var isOfOneRow: Bool {
        switch self {
        case .corrupt, .version: true
        default: false
        }
    }
}

/// What an event in the outbox says; the numbers are those of the header.
enum SessionEvent: UInt32 {
    case identityChanged = 1
    case lost = 2
    case desynchronized = 3
    case setUpExpired = 4
    case sessionEnded = 5
    case epoch = 6
    case stalled = 7
    case sessionClosed = 8
    case unsent = 9
    case publication = 10
}

/// The same of what is about no session.
enum StoreEvent: UInt32 {
    case deadLetter = 11
}

enum BackupEvent: UInt32 {
    case status = 12
    case keyCached = 13
    case refused = 14
    case restoring = 15
    case restored = 16
    case finding = 17
}

extension Backup.Refusal {
    /// That of the header.
    var number: UInt64 {
        switch self {
        case .off: 1
        case .exists: 2
        case .endless: 3
        case .generation: 4
        case .unasked: 5
        case .wrongKey: 6
        case .noBackup: 7
        case .rolledBack: 8
        case .tooMany: 9
        case .notReady: 10
        case .missing: 11
        }
    }
}

extension Store {
    /// The store's time in milliseconds, as the wire has it.
    static func milliseconds(_ now: Int64) -> Int64 {
        let (quotient, remainder) = now.quotientAndRemainder(dividingBy: 1_000_000)
        return remainder < 0 ? quotient - 1 : quotient
    }

    /// Milliseconds of the wire as the store's nanoseconds, saturating.
    package static func nanoseconds(_ milliseconds: Int64) -> Int64 {
        let (product, overflow) = milliseconds.multipliedReportingOverflow(by: 1_000_000)
        guard overflow else { return product }
        return milliseconds < 0 ? Int64.min : Int64.max
    }
}
