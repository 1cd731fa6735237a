import CPawl

/// What leaves the library: written in the transaction that decided it, and handed out at least
/// once.
///
/// Items wait in lanes: the frames of a session that carry messages, those that carry none, the
/// requests of an account to publish, all others that are not a backup's, those of its backup, its
/// events. In each they are handed out in the order of their ids, and a lane that is stuck holds up
/// no other.
public struct Item: Sendable, Hashable, Identifiable {
    /// What the host has to do.
    public enum Content: Sendable, Hashable {
        /// Bytes for the peer: deliver them, then ``Store/ack(_:)``.
        case frame([UInt8])
        /// Something to fetch or publish: do it, then ``Store/answer(_:with:)``.
        case request(Request)
        /// Something that is true now: note it, then ``Store/ack(_:)``.
        case event(Event)
    }

    /// What the host is asked for.
    public enum Request: Sendable, Hashable {
        /// Fetch a fresh key package of ``Item/peer``; answer with its bytes.
        case package
        /// Have the server serve ``Item/packages`` in place of what it has; answer with nothing when
        /// it does.
        case publish
        /// Give the server the one-time keys in ``Item/packages``, more of the package that it
        /// serves; answer with nothing.
        case publishKeys
        /// Fetch the account's own package as an initiator would; answer with its bytes, or with
        /// nothing if the server has none.
        case readBack
        /// Something with the server of the account's backup; answer with a ``BackupReply``.
        case backup(BackupRequest)
    }

    /// What the host is asked to publish.
    public struct Packages: Sendable, Hashable {
        /// The package; nil: it is with the server.
        public let package: KeyPackage?
        /// One-time keys, of it or of the one that is with the server.
        public let oneTimeKeys: [OneTimeKey]
    }

    /// How what the server serves differs from what it should. Another package is published as soon
    /// as may be.
    public enum Publication: UInt64, Sendable, Hashable, CaseIterable {
        /// There is none.
        case absent = 1
        /// Its time is over, and nobody answered for the next one.
        case expired
        /// It is one of the account that is no longer published.
        case superseded
        /// It is of the account's identity, but not stored here.
        case unknown
        /// It is of another identity: somebody may stand between.
        case foreign
        /// It is no package, or one that nobody signed.
        case unreadable
    }

    /// What happened.
    public enum Event: Sendable, Hashable {
        /// The peer has other keys than before: show it to the user.
        case identityChanged
        /// So many messages of the session will never be readable.
        case lost(Int)
        /// The session and the peer's have parted: fetch a key package of the peer and call
        /// ``Session/reset(with:)``.
        case desynchronized
        /// Nobody answered the session's set-up; a request asks for a new package.
        case setUpExpired
        /// A session that was receive-only, or never confirmed, is erased.
        case sessionEnded
        /// The epoch that counts: one that ``Session/rekey(fresh:)`` promised, or later.
        case epoch(UInt32)
        /// The peer did not answer a rekey so many times; it goes on being asked.
        case stalled(Int)
        /// The peer has closed the session; it is receive-only.
        case sessionClosed
        /// The message with this ticket will not be sent: its session is over.
        case unsent(Item.ID)
        /// The server does not serve what it should.
        case publication(Publication)
        /// A job failed so often that it is not tried any more: see ``Store/jobs(areDead:after:limit:)``.
        case deadLetter(Job.Kind)
        /// The account's backup is in another state than before.
        case backupStatus(Backup)
        /// A version of it became active: what is in it can be had. Comes after the status that says
        /// so.
        case backupKeyCached(Backup)
        /// What was wanted of it is not done.
        case backupRefused(Backup.Refusal, Backup)
        /// A page of a restore is here.
        case backupRestoring(Backup)
        /// A restore is over: what it brought, what was found, as of when.
        case backupRestored(Backup)
        /// What the server of the backup shows is not what was put there.
        case backupFinding(Backup.Finding)
    }

    /// Its number: greater than that of every item before it in the same store.
    public let id: UInt64
    /// What to do; nil for something that this version does not know.
    public let content: Content?
    /// The number that ``Session/send(_:)`` returned for the message in this frame, if it had to
    /// wait for its epoch; else nil.
    public let ticket: UInt64?
    /// Whose item it is; zeros: the store's own.
    public let account: Account.ID
    /// The session that it is about; nil: none.
    public let session: Session.ID?
    /// Who is at the other end; of a request about the account's own packages the account itself; with
    /// an empty name nobody is.
    public let peer: Identity
    /// What a request to publish is about; of other items nil.
    public let packages: Packages?
    /// How often it was handed out before.
    public let attempts: Int
    /// When it was put into the outbox.
    public let created: Timestamp
    /// When it may be handed out to somebody else.
    public let leaseEnd: Timestamp

    init(_ row: pawl_item, _ content: Content?, _ packages: Packages?) {
        id = row.seq
        self.content = content
        ticket = row.kind == UInt32(PAWL_ITEM_FRAME) && row.count > 0 ? row.count : nil
        account = Account.ID(row: row.account)
        session = .unlessZero(row.session)
        peer = Identity(
            row.peer_signing_key, row.peer_agreement_key, row.peer_name, row.peer_name_size)
        self.packages = packages
        attempts = Int(row.attempts)
        created = Timestamp(nanoseconds: row.created_ns)
        leaseEnd = Timestamp(nanoseconds: row.lease_ns)
    }

    /// How many packages and one-time keys a row carries; nil: it is no request to publish.
    static func packageCount(_ row: pawl_item) -> Int? {
        guard row.kind == UInt32(PAWL_ITEM_REQUEST) else { return nil }
        switch Request(row) {
        case .publish: return Int(clamping: row.count) + 1
        case .publishKeys: return Int(clamping: row.count)
        default: return nil
        }
    }
}

extension Item.Request {
    /// Nil for a backup's, and for something that this version does not know.
    init?(_ row: pawl_item) {
        switch row.what {
        case UInt32(PAWL_REQUEST_PACKAGE): self = .package
        case UInt32(PAWL_REQUEST_PUBLISH): self = .publish
        case UInt32(PAWL_REQUEST_PUBLISH_KEYS): self = .publishKeys
        case UInt32(PAWL_REQUEST_READ_BACK): self = .readBack
        default: return nil
        }
    }
}

extension Item.Event {
    /// Whether it carries the state of a backup.
    static func hasBackup(_ row: pawl_item) -> Bool {
        switch Int32(clamping: row.what) {
        case PAWL_EVENT_BACKUP_STATUS, PAWL_EVENT_BACKUP_KEY_CACHED, PAWL_EVENT_BACKUP_REFUSED,
            PAWL_EVENT_BACKUP_RESTORING, PAWL_EVENT_BACKUP_RESTORED:
            true
        default: false
        }
    }

    init?(_ row: pawl_item, _ backup: Backup?) {
        if let backup {
            self.init(row, of: backup)
            return
        }
        switch row.what {
        case UInt32(PAWL_EVENT_IDENTITY_CHANGED): self = .identityChanged
        case UInt32(PAWL_EVENT_LOST): self = .lost(Int(clamping: row.count))
        case UInt32(PAWL_EVENT_DESYNCHRONIZED): self = .desynchronized
        case UInt32(PAWL_EVENT_SETUP_EXPIRED): self = .setUpExpired
        case UInt32(PAWL_EVENT_SESSION_ENDED): self = .sessionEnded
        case UInt32(PAWL_EVENT_EPOCH): self = .epoch(UInt32(clamping: row.count))
        case UInt32(PAWL_EVENT_STALLED): self = .stalled(Int(clamping: row.count))
        case UInt32(PAWL_EVENT_SESSION_CLOSED): self = .sessionClosed
        case UInt32(PAWL_EVENT_UNSENT): self = .unsent(row.count)
        case UInt32(PAWL_EVENT_PUBLICATION):
            guard let found = Item.Publication(rawValue: row.count) else { return nil }
            self = .publication(found)
        case UInt32(PAWL_EVENT_DEAD_LETTER):
            self = .deadLetter(Job.Kind(rawValue: UInt32(clamping: row.count)))
        case UInt32(PAWL_EVENT_BACKUP_FINDING):
            guard let found = Backup.Finding(rawValue: row.count) else { return nil }
            self = .backupFinding(found)
        default: return nil
        }
    }

    private init?(_ row: pawl_item, of backup: Backup) {
        switch row.what {
        case UInt32(PAWL_EVENT_BACKUP_STATUS): self = .backupStatus(backup)
        case UInt32(PAWL_EVENT_BACKUP_KEY_CACHED): self = .backupKeyCached(backup)
        case UInt32(PAWL_EVENT_BACKUP_REFUSED):
            guard let refusal = Backup.Refusal(rawValue: row.count) else { return nil }
            self = .backupRefused(refusal, backup)
        case UInt32(PAWL_EVENT_BACKUP_RESTORING): self = .backupRestoring(backup)
        case UInt32(PAWL_EVENT_BACKUP_RESTORED): self = .backupRestored(backup)
        default: return nil
        }
    }
}

extension Store {
    /// Hands out items that can be taken now, and lends them to the caller. Nobody else gets one,
    /// or a later one of its lane, before it is settled or its lease ends.
    /// ``items(limit:lease:)`` waits for them, too.
    ///
    /// - Parameters:
    ///   - limit: at most that many, 1 to 10,000; and at most 32 MiB, but always one.
    ///   - lease: for how long, at most a day; nil: 30 seconds.
    /// - Returns: the items, in each lane in order; none if there is nothing.
    public func take(limit: Int = 100, lease: Duration? = nil) throws(PawlError) -> [Item] {
        try run { calls throws(PawlError) in try calls.take(limit: limit, lease: lease) }
    }

    /// Settles up to 10,000 items, all or none, because they are done: delivered or noted. A
    /// request is given up; what is to be published is asked for again an hour later, what a backup
    /// needs ever later. No lease is needed, and settling again is allowed.
    ///
    /// - Throws: ``PawlError/Code/notFound`` (no item ever had this number).
    public func ack(_ items: [Item.ID]) throws(PawlError) {
        try run { calls throws(PawlError) in try calls.ack(items) }
    }

    /// Gives an item back, because it could not be done.
    ///
    /// - Parameters:
    ///   - item: which one.
    ///   - retryAfter: when it can be taken again; nil: Pawl decides, later each time, at most
    ///     after an hour.
    /// - Throws: ``PawlError/Code/notFound`` (no item ever had this number).
    public func fail(_ item: Item.ID, retryAfter: Duration? = nil) throws(PawlError) {
        try run { calls throws(PawlError) in try calls.fail(item, retryAfter: retryAfter) }
    }

    /// Settles a request with what it asked for. After an error the request stays.
    ///
    /// - Parameters:
    ///   - item: which one.
    ///   - body: for ``Item/Request/package`` what ``Account/startSession(with:package:)`` takes;
    ///     for ``Item/Request/readBack`` what the server has; else nothing.
    /// - Throws: ``PawlError/Reason/misuseFlags`` (not a request, or a backup's), ``PawlError/Reason/misuseSize``
    ///   (bytes where nothing is to be answered), ``PawlError/Code/notFound`` (no item ever had
    ///   this number), and what ``Account/startSession(with:package:)`` does.
    public func answer(_ item: Item.ID, with body: [UInt8] = []) throws(PawlError) {
        try run { calls throws(PawlError) in try calls.answer(item, body) }
    }
}
