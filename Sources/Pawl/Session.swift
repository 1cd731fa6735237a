import CPawl

/// What two accounts share to write to each other: every message has a key of its own, which is
/// erased when it was used.
///
/// A session lives in a store, and this is its id there together with the store, which it keeps
/// open. ``Store/session(_:)`` makes one from an id. Two are equal if their ids are.
///
/// Its methods throw ``PawlError/Code/notFound`` once the session is closed or erased, but for
/// ``kept(limit:)`` and ``forget(epoch:index:)``.
public struct Session: Sendable, Hashable, Identifiable {
    /// Names one side of a session, in all of a store: 16 bytes. The sides differ in the last bit,
    /// which is 0 on the initiator's.
    public typealias ID = Identifier<Session>

    /// Names it in its store.
    public let id: ID

    let store: Store

    init(_ id: ID, in store: Store) {
        self.id = id
        self.store = store
    }

    /// Compares the ids.
    public static func == (left: Session, right: Session) -> Bool { left.id == right.id }

    /// Combines the id.
    public func hash(into hasher: inout Hasher) { hasher.combine(id) }

    /// Encrypts a message into a frame, which the host delivers to the peer itself. The index that
    /// it uses was reserved in the store before, so that no crash, copy or other process makes it
    /// be used twice.
    ///
    /// - Parameter plaintext: 0 bytes to 16 MiB.
    /// - Returns: the frame, at most 4,096 bytes longer.
    /// - Throws: ``PawlError/Reason/stateMode``, ``PawlError/Reason/stateReceiveOnly``,
    ///   ``PawlError/Reason/stateIdentity``, ``PawlError/Code/time`` (the peer's package expired
    ///   before the first message), ``PawlError/Reason/limitMessage``,
    ///   ``PawlError/Reason/limitIndex``.
    public func encrypt(_ plaintext: Secret) async throws(PawlError) -> [UInt8] {
        try await store.run { calls throws(PawlError) in try calls.encrypt(plaintext, id) }
    }

    /// Encrypts a message and puts the frame into the outbox, durable when this returns.
    ///
    /// - Parameter plaintext: 0 bytes to 16 MiB.
    /// - Returns: the number of the ``Item`` that carries the frame; of a message that waits for
    ///   its epoch (``RekeyLimits/isPerfect``) a ticket, which that item will name.
    /// - Throws: what ``encrypt(_:)`` does, but for ``PawlError/Reason/stateMode``, and
    ///   ``PawlError/Reason/limitQueue``.
    @discardableResult
    public func send(_ plaintext: Secret) async throws(PawlError) -> Item.ID {
        try await store.run { calls throws(PawlError) in try calls.send(plaintext, id) }
    }

    /// Erases the session's keys, kept messages included, and tells the peer. Frames in the outbox
    /// stay; messages that waited for an epoch are ``Item/Event/unsent(_:)``.
    public func close() async throws(PawlError) {
        try await store.run { calls throws(PawlError) in try calls.closeSession(id) }
    }

    /// Starts a session in place of this one, which is desynchronized and becomes receive-only.
    ///
    /// - Parameter package: a fresh package of the same identity, followed by at most one of its
    ///   one-time keys.
    /// - Throws: ``PawlError/Code/auth`` (another identity, too), ``PawlError/Reason/busyRate``
    ///   (at most one a minute for each peer), and what
    ///   ``Account/startSession(with:package:)`` does.
    public func reset(with package: [UInt8]) async throws(PawlError) -> Session {
        try await store.run { calls throws(PawlError) in try calls.resetSession(id, package) }
    }

    /// How the session stands.
    public func status() async throws(PawlError) -> Status {
        try await store.run { calls throws(PawlError) in try calls.session(id) }
    }

    /// The messages that were received with `keep` and not forgotten yet, in the order of epoch and
    /// index; at most 32 MiB at once, but always one.
    ///
    /// - Parameter limit: at most that many, 1 to 10,000.
    public func kept(limit: Int = 1000) async throws(PawlError) -> [Kept] {
        try await store.run { calls throws(PawlError) in try calls.kept(id, limit: limit) }
    }

    /// Erases a kept message, because the host has it. Forgetting again is allowed.
    public func forget(epoch: UInt32, index: UInt32) async throws(PawlError) {
        try await store.run { calls throws(PawlError) in
            try calls.forget(id, epoch: epoch, index: index)
        }
    }

    /// How a session stands.
    public struct Status: Sendable, Hashable {
        /// The session.
        public let session: Session
        /// Whose side of it this is.
        public let account: Account.ID
        /// The other side.
        public let peer: Identity
        /// How its keys were agreed on; nil for a suite that this version does not know.
        public let suite: Suite?
        /// Counts the key exchanges after the first.
        public let epoch: UInt32
        /// The next index to be reserved in this epoch: at least as many as were sent.
        public let sent: UInt32
        /// The next index expected in this epoch.
        public let received: UInt32
        /// How many keys are kept for messages that are late.
        public let skipped: Int
        /// The epoch that a rekey under way leads to; nil: none is.
        public let target: UInt32?
        /// How many messages wait for an epoch.
        public let queued: Int
        /// What ``Session/setLimits(_:)`` has set.
        public let limits: RekeyLimits
        /// When it was started.
        public let created: Timestamp
        /// When a receive-only or unconfirmed session is erased; nil: it is not.
        public let ends: Timestamp?
        /// Whether this side started it.
        public let isInitiator: Bool
        /// Whether both sides are known to have it.
        public let isConfirmed: Bool
        /// Whether another has taken its place.
        public let isReceiveOnly: Bool
        /// Whether it was reported to have parted from the peer's, and waits for
        /// ``Session/reset(with:)``.
        public let isDesynchronized: Bool

        init(_ row: pawl_session, in store: Store) {
            func has(_ flag: Int32) -> Bool { row.flags & UInt32(flag) != 0 }
            session = Session(ID(row: row.id), in: store)
            account = Account.ID(row: row.account)
            peer = Identity(
                row.peer_signing_key, row.peer_agreement_key, row.peer_name, row.peer_name_size)
            suite = Suite(rawValue: row.suite)
            epoch = row.epoch
            sent = row.sent
            received = row.received
            skipped = Int(row.skipped)
            target = row.target == 0 ? nil : row.target
            queued = Int(row.queued)
            limits = RekeyLimits(row)
            created = Timestamp(nanoseconds: row.created_ns)
            ends = .unlessNever(row.ends_ns)
            isInitiator = has(PAWL_SESSION_INITIATOR)
            isConfirmed = has(PAWL_SESSION_CONFIRMED)
            isReceiveOnly = has(PAWL_SESSION_RECEIVE_ONLY)
            isDesynchronized = has(PAWL_SESSION_DESYNCHRONIZED)
        }
    }

    /// A message that is kept for the host until it is forgotten.
    public struct Kept: Sendable, Equatable {
        /// The epoch it was sent in.
        public let epoch: UInt32
        /// Its index in that epoch, from 0.
        public let index: UInt32
        /// The message: 0 bytes to 16 MiB.
        public let plaintext: Secret

        init(_ row: pawl_kept) {
            epoch = row.epoch
            index = row.index
            plaintext = Secret(
                copying: UnsafeRawBufferPointer(start: row.plaintext, count: row.plaintext_size))
        }
    }
}

/// What a frame that arrived turned out to be.
public struct Received: Sendable, Equatable {
    /// The message: 0 bytes to 16 MiB; nil: the frame carried none, not even an empty one.
    public let plaintext: Secret?
    /// The session it arrived in.
    public let session: Session
    /// The epoch it was sent in.
    public let epoch: UInt32
    /// Its index in that epoch, from 0.
    public let index: UInt32
    /// Whether it was kept from an earlier time, when the same frame was delivered before.
    public let isAgain: Bool
    /// Whether this frame set the session up.
    public let isNewSession: Bool
    /// Whether it comes from new keys of a verified peer, which the host has not accepted.
    public let isUnaccepted: Bool

    init(_ received: pawl_received, _ plaintext: UnsafeRawBufferPointer, in store: Store) {
        self.init(
            received.flags, Session(Session.ID(row: received.session), in: store),
            received.epoch, received.index, plaintext)
    }

    init(_ delivery: pawl_delivery, in store: Store) {
        self.init(
            delivery.received_flags, Session(Session.ID(row: delivery.session), in: store),
            delivery.epoch, delivery.index,
            UnsafeRawBufferPointer(start: delivery.out, count: delivery.out_len))
    }

    private init(
        _ flags: UInt32, _ session: Session, _ epoch: UInt32, _ index: UInt32,
        _ plaintext: UnsafeRawBufferPointer
    ) {
        func has(_ flag: Int32) -> Bool { flags & UInt32(flag) != 0 }
        self.plaintext = has(PAWL_RECEIVED_EMPTY) ? nil : Secret(copying: plaintext)
        self.session = session
        self.epoch = epoch
        self.index = index
        isAgain = has(PAWL_RECEIVED_AGAIN)
        isNewSession = has(PAWL_RECEIVED_NEW_SESSION)
        isUnaccepted = has(PAWL_RECEIVED_UNACCEPTED)
    }
}

extension Account {
    /// Starts a session with whoever signed a key package. Nothing need be sent for it: until the
    /// first answer arrives, every message carries what the peer needs to join. After 24 hours
    /// without an answer a fresh package is asked for, see ``Item/Request/package``.
    ///
    /// - Parameters:
    ///   - name: whom the host means; the package must carry this name.
    ///   - package: the bytes of a ``KeyPackage``, then of one of its one-time keys if there is
    ///     one.
    /// - Throws: ``PawlError/Reason/misusePackage``, ``PawlError/Code/version``,
    ///   ``PawlError/Code/auth`` (a wrong signature, name or key), ``PawlError/Code/time``
    ///   (expired, not yet valid, or valid for too long), ``PawlError/Reason/stateIdentity``,
    ///   ``PawlError/Reason/stateSuite``, ``PawlError/Reason/stateSelf``,
    ///   ``PawlError/Reason/limitSessions``, ``PawlError/Code/notFound`` (no such account any
    ///   more).
    public func startSession(
        with name: String, package: [UInt8]
    ) async throws(PawlError) -> Session {
        try await store.run { calls throws(PawlError) in
            try calls.startSession(name, package, id)
        }
    }

    /// All sessions with one peer, oldest first.
    public func sessions(with name: String) async throws(PawlError) -> [Session.Status] {
        try await store.run { calls throws(PawlError) in try calls.sessions(name, id) }
    }

    /// Decrypts a frame that arrived for the account, setting a session up if need be. What the
    /// frame used up is durable before the message is returned: without `keep` a crash may lose it.
    ///
    /// - Parameters:
    ///   - frame: as the peer's ``Session/encrypt(_:)`` returned it.
    ///   - keep: keep the message, sealed, until ``Session/forget(epoch:index:)``. Until then the
    ///     same frame, delivered again, returns it again.
    /// - Throws: ``PawlError/Code/auth`` (not from the peer, or damaged),
    ///   ``PawlError/Code/notFound`` (no such account, session or package),
    ///   ``PawlError/Code/replay`` (received before), ``PawlError/Code/desynchronized`` (from the
    ///   peer, but this side cannot have its key; told once, as ``Item/Event/desynchronized``),
    ///   ``PawlError/Code/version`` (a frame of a newer Pawl), ``PawlError/Code/time`` (the package
    ///   that it uses is over), ``PawlError/Reason/limitSessions``,
    ///   ``PawlError/Reason/stateSuite``, ``PawlError/Reason/stateSelf``.
    public func receive(
        _ frame: [UInt8], keep: Bool = false
    ) async throws(PawlError) -> Received {
        try await store.run { calls throws(PawlError) in try calls.receive(frame, id, keep: keep) }
    }

    /// The same for up to 10,000 frames in one transaction, in their order.
    ///
    /// - Returns: for each frame what it turned out to be, or why it was refused, as
    ///   ``receive(_:keep:)`` throws it.
    /// - Throws: if the transaction was not committed; then nothing was received.
    public func receiveMany(
        _ frames: [[UInt8]], keep: Bool = false
    ) async throws(PawlError) -> [Result<Received, PawlError>] {
        try await store.run { calls throws(PawlError) in
            try calls.receiveMany(frames, id, keep: keep)
        }
    }
}

extension Store {
    /// The session of an id, to which an ``Item``, a ``Peer`` or the host's own records point. The
    /// store is not asked whether there is one.
    public nonisolated func session(_ id: Session.ID) -> Session { Session(id, in: self) }
}
