import CPawl
import Dispatch

/// By what an epoch of a session is over. All zero, no rekey but on demand, is how it begins.
public struct RekeyLimits: Sendable, Hashable {
    /// How many messages this side sends in it; 0: as many as it likes.
    public var messages: UInt32
    /// How many bytes this side sends in it; 0: as many as it likes. Those of
    /// ``Session/encrypt(_:)`` are counted with the next reservation.
    public var bytes: UInt64
    /// How long it lasts, by a job of the schedule; zero: for as long as it likes.
    public var interval: Duration
    /// Whether each message leaves under an epoch that began after the one before it was sent.
    /// ``Session/encrypt(_:)`` is refused then, and ``Session/send(_:)`` keeps a message until its
    /// epoch begins, which costs a round trip.
    public var isPerfect: Bool
    /// How many messages may wait for an epoch, at most 4,096; 0: 64.
    public var queue: UInt32

    /// Limits, none by default.
    public init(
        messages: UInt32 = 0, bytes: UInt64 = 0, interval: Duration = .zero,
        isPerfect: Bool = false, queue: UInt32 = 0
    ) {
        self.messages = messages
        self.bytes = bytes
        self.interval = interval
        self.isPerfect = isPerfect
        self.queue = queue
    }

    init(_ row: pawl_session) {
        self.init(
            messages: row.messages, bytes: row.bytes, interval: .nanoseconds(row.interval_ns),
            isPerfect: row.limit_flags & UInt32(PAWL_LIMITS_PERFECT) != 0, queue: row.queue)
    }

    /// As C knows them.
    var table: pawl_rekey_limits {
        var table = pawl_rekey_limits.sized()
        table.flags = isPerfect ? UInt32(PAWL_LIMITS_PERFECT) : 0
        table.messages = messages
        table.queue = queue
        table.bytes = bytes
        table.interval_ns = interval.wholeNanoseconds
        return table
    }
}

/// A transition of a session's rekeying. No secret is in it.
public struct RekeyStep: Sendable, Hashable {
    /// What happened.
    public enum Event: UInt32, Sendable, Hashable, CaseIterable {
        /// This side asks for an epoch.
        case offered = 1
        /// It answers the peer's offer.
        case answered
        /// Both have offered; this side's counts.
        case leads
        /// Both have offered; the peer's counts, and is answered.
        case yields
        /// It says again what the peer has not seen.
        case repeated
        /// The epoch counts.
        case committed
        /// Too many offers: come again later.
        case refused
        /// The peer asks to come again later.
        case postponed
        /// The peer speaks of an epoch that is over.
        case stale
        /// Nothing came back in time: the same again.
        case retried
        /// The peer has closed the session.
        case closed
    }

    /// What became of a key pair.
    public enum Constructor: UInt32, Sendable, Hashable {
        /// None was touched.
        case none
        /// It was drawn.
        case created
        /// It led to the epoch, and is wiped.
        case used
        /// It is wiped.
        case wiped
    }

    /// What happened; nil for something that this version does not know.
    public let event: Event?
    /// On which side of which session.
    public let session: Session.ID
    /// Which exchange: 16 bytes, the same on both sides.
    public let offer: [UInt8]
    /// The epoch before.
    public let before: UInt32
    /// The epoch after.
    public let after: UInt32
    /// The epoch that it is about.
    public let target: UInt32
    /// What became of the key pair behind this side's offer.
    public let constructor: Constructor

    init(_ step: pawl_step) {
        event = Event(rawValue: step.event)
        session = Session.ID(row: step.session)
        offer = array(step.offer)
        before = step.from
        after = step.to
        target = step.target
        constructor = Constructor(rawValue: step.constructor) ?? .none
    }
}

extension Session {
    /// Asks for the next epoch, or joins the rekey that is under way: from then on what was stolen
    /// before is of no use. What it takes goes through the outbox, and what is lost is sent again
    /// by the schedule, see ``Store/items(limit:lease:)``.
    ///
    /// - Parameter fresh: an epoch for which this side draws keys after this call, even if a rekey is
    ///   under way: a theft of this side's state before the call is healed. An offer of the peer's
    ///   that crosses may be older; for a theft of the peer's state ask there, or here for a second
    ///   fresh epoch, too.
    /// - Returns: the epoch to wait for, with ``wait(for:timeout:)`` or ``Item/Event/epoch(_:)``.
    /// - Throws: ``PawlError/Reason/stateReceiveOnly``, ``PawlError/Reason/stateIdentity``,
    ///   ``PawlError/Reason/limitIndex``.
    @discardableResult
    public func rekey(fresh: Bool = false) async throws(PawlError) -> UInt32 {
        try await store.run { calls throws(PawlError) in try calls.rekey(id, fresh: fresh) }
    }

    /// Waits until the session has reached an epoch, woken by whatever any thread or process does
    /// with the store's file; what has happened already is not waited for. It holds up neither the
    /// store nor other tasks, of which one must go on with ``Store/items(limit:lease:)``. What this
    /// store encrypts afterwards is of no epoch before the one returned.
    ///
    /// - Parameters:
    ///   - epoch: as ``rekey(fresh:)`` returned it.
    ///   - timeout: for how long at most; nil: for as long as it takes.
    /// - Returns: the epoch that it has.
    /// - Throws: ``PawlError/Reason/busyWaiting`` (not in time, or the task was cancelled),
    ///   ``PawlError/Reason/closedSession`` (by this side or the other, or it is erased),
    ///   ``PawlError/Code/closed`` (the store).
    @discardableResult
    public func wait(
        for epoch: UInt32, timeout: Duration? = nil
    ) async throws(PawlError) -> UInt32 {
        try await store.wait(for: epoch, of: id, timeout)
    }

    /// Says when the session is rekeyed by itself; ``Status/limits`` tells.
    ///
    /// - Throws: ``PawlError/Reason/misuseSize``, ``PawlError/Reason/misuseTime`` (a negative
    ///   interval).
    public func setLimits(_ limits: RekeyLimits) async throws(PawlError) {
        try await store.run { calls throws(PawlError) in try calls.setLimits(limits, id) }
    }
}

extension Store {
    /// Has each transition of a session's rekeying told that a call through this store makes, or its
    /// runner, after the commit and on the thread that made it, which waits meanwhile. With
    /// ``startRunner(_:)`` that may be two threads at once. Nil ends it; what was given is kept
    /// until the store is closed.
    public func trace(_ step: (@Sendable (RekeyStep) -> Void)?) throws(PawlError) {
        try run { calls throws(PawlError) in try calls.trace(step.map(Tracer.init)) }
    }
}

extension Batch {
    /// Asks for the next epoch, see ``Session/rekey(fresh:)``.
    @discardableResult
    public borrowing func rekey(
        _ session: Session.ID, fresh: Bool = false
    ) throws(PawlError) -> UInt32 {
        try calls.rekey(session, fresh: fresh)
    }

    /// Says when a session is rekeyed by itself, see ``Session/setLimits(_:)``.
    public borrowing func setLimits(
        _ limits: RekeyLimits, of session: Session.ID
    ) throws(PawlError) {
        try calls.setLimits(limits, session)
    }
}

extension Calls {
    func rekey(_ session: Session.ID, fresh: Bool) throws(PawlError) -> UInt32 {
        var epoch: UInt32 = 0
        let flags = fresh ? UInt32(PAWL_REKEY_FRESH) : 0
        try check(pawl_session_rekey(handle(), session.bytes, flags, &epoch))
        return epoch
    }

    func setLimits(_ limits: RekeyLimits, _ session: Session.ID) throws(PawlError) {
        var table = limits.table
        try check(pawl_session_set_limits(handle(), session.bytes, &table))
    }
}

/// Whom a store tells of steps.
final class Tracer: Sendable {
    private let step: @Sendable (RekeyStep) -> Void

    init(_ step: @escaping @Sendable (RekeyStep) -> Void) { self.step = step }

    /// As C knows it, for as long as this lives: until the store is closed.
    var table: pawl_trace {
        var table = pawl_trace.sized()
        table.context = Unmanaged.passUnretained(self).toOpaque()
        table.step = { context, step in
            guard let context, let step else { return }
            Unmanaged<Tracer>.fromOpaque(context).takeUnretainedValue().step(
                RekeyStep(step.pointee))
        }
        return table
    }
}

/// A wait for an epoch on a thread of its own, in turns: until a call comes back nobody can close
/// the store, nor cancel the wait. Between them other waits run, so that there may be more of them
/// than threads.
final class EpochWait: Sendable {
    private static let turn: Int64 = 100_000_000

    private let connection: Connection
    private let session: Session.ID
    private let epoch: UInt32
    private let end: UInt64
    private let queue = DispatchQueue(label: "pawl.wait", qos: .utility)
    private let isCancelled = Gate()

    init(
        _ connection: Connection, _ session: Session.ID, _ epoch: UInt32, _ timeout: Duration?
    ) {
        self.connection = connection
        self.session = session
        self.epoch = epoch
        let (end, isLong) = DispatchTime.now().uptimeNanoseconds.addingReportingOverflow(
            UInt64(clamping: timeout?.wholeNanoseconds ?? .max))
        self.end = isLong ? .max : end
    }

    func cancel() { isCancelled.close() }

    func start(_ done: @escaping @Sendable (Result<UInt32, PawlError>) -> Void) {
        queue.async { self.look(done) }
    }

    private func look(_ done: @escaping @Sendable (Result<UInt32, PawlError>) -> Void) {
        if connection.gate.isShut { return done(.failure(.closed)) }
        let now = DispatchTime.now().uptimeNanoseconds
        let left = isCancelled.isShut ? 0 : Int64(clamping: end > now ? end - now : 0)
        var reached: UInt32 = 0
        let status = pawl_session_wait(
            connection.store, session.bytes, epoch, min(left, Self.turn), &reached)
        switch status {
        case PAWL_OK: done(.success(reached))
        case PAWL_BUSY_WAITING where left > Self.turn: start(done)
        default: done(.failure(PawlError(status)))
        }
    }
}
