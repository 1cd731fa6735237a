package import PawlCore
package import PawlCrypto
internal import PawlStore

/// Rekeying on demand, by limits, and waiting for it.
extension Store {
    /// Asks for the next epoch, or joins the round that is under way, and answers the epoch to wait for. `isFresh`: one
    /// for which this side draws keys after this call, so that a theft of its own state before it is healed. The peer's
    /// offer may be older, if it crosses: a theft of the peer's state is healed by the fresh epoch after that.
    package func rekey(_ id: Identifier, isFresh: Bool) throws(Failure) -> UInt32 {
        let reserved = takeReserved(id)
        return try transact(.write) { (transaction) throws(Failure) in
            let conversation = try transaction.session(id)
            try conversation.peer.checkSending(id)
            let session = conversation.session
            if let reserved { session.giveBack(reserved) }
            let (target, outcome) = try session.trigger(
                isFresh: isFresh, isWaited: true, Libsodium())
            try outgoing(transaction).follow(outcome, of: session)
            try transaction.put(session)
            try transaction.scheduleCheckpoint()
            return target
        }
    }

    /// When a session is rekeyed by itself, and whether each message waits for an epoch of its own.
    package func setLimits(_ id: Identifier, _ limits: Pace.Limits) throws(Failure) {
        guard limits.interval >= 0 else { throw .misuse(.time) }
        shared.reservations.forget(id)
        try transact(.write) { (transaction) throws(Failure) in
            let session = try transaction.session(id).session
            // What was sent already was sent under this epoch.
            if limits.isPerfect, !session.pace.limits.isPerfect, session.sending.index > 0 {
                session.pace.wasSent(in: session.epoch)
            }
            session.pace.limits = limits
            let outgoing = outgoing(transaction)
            try outgoing.plan(session)
            if !limits.isPerfect {
                session.pace.nextEpoch = 0
                try outgoing.sendQueue(session)
            }
            try transaction.put(session)
        }
        // What was reserved while this was under way was reserved under other rules.
        shared.reservations.forget(id)
    }

    func outgoing(_ transaction: Transaction) -> Outgoing {
        Outgoing(transaction: transaction, reservations: shared.reservations, now: now())
    }

    // MARK: Waiting

    /// Waits until a session has reached an epoch, and answers the one it has. `closed(.session)` if it ends before,
    /// `busy(.waiting)` if it does not in time. It has happened, or somebody rings when it does.
    package func waitForEpoch(
        _ id: Identifier, _ epoch: UInt32, timeout: Int64
    ) throws(Failure) -> UInt32 {
        guard !isBatch else { throw .state(.batch) }
        guard timeout >= 0 else { throw .misuse(.time) }
        let waiter = try shared.waiters.enter(bellPath)
        defer { shared.waiters.leave(waiter) }
        let wait = Countdown(timeout)
        while true {
            waiter.drain()
            let reached = try epochOrEnd(id)
            if reached >= epoch {
                // Another handle may have committed it.
                shared.reservations.skip(id, before: reached)
                return reached
            }
            guard !shared.lifecycle.isClosing else { throw .closed(.closed) }
            guard wait.left > 0 else { throw .busy(.waiting) }
            waiter.wait(wait.left)
        }
    }

    private func epochOrEnd(_ id: Identifier) throws(Failure) -> UInt32 {
        do throws(Failure) {
            let session = try transact(.read) { (transaction) throws(Failure) in
                try transaction.session(id).session
            }
            if case .closed = session.rekey.phase { throw .closed(.session) }
            return session.epoch
        } catch {
            throw error == .notFound ? .closed(.session) : error
        }
    }

    // MARK: Deadlines

    /// Nothing came back: the same once more, unless it has not left yet.
    func retryRekey(_ session: Session, _ transaction: Transaction) throws(Failure) {
        let outgoing = outgoing(transaction)
        guard try transaction.isEmpty(OutboxLane(.control, session.id)) else {
            return try outgoing.planRetry(session, after: Pace.absence)
        }
        try outgoing.follow(session.retry(), of: session)
        try transaction.put(session)
        try transaction.scheduleCheckpoint()
    }

    /// An epoch is over by its time.
    func endEpoch(
        _ conversation: Conversation, _ transaction: Transaction
    ) throws(Failure) {
        let session = conversation.session
        let now = now()
        guard let end = session.pace.end, session.rekey.pending == nil,
            (try? conversation.peer.checkSending(session.id)) != nil
        else { return }
        guard end <= now else {
            session.pace.distrust(now: now)
            try outgoing(transaction).plan(session)
            return try transaction.put(session)
        }
        let (_, outcome) = try session.trigger(Libsodium())
        try outgoing(transaction).follow(outcome, of: session)
        try transaction.put(session)
        try transaction.scheduleCheckpoint()
    }
}

/// Who waits in this process, each with a descriptor of its own.
package final class Waiters {
    private let lock = Lock()
    private var waiting: [Waker] = []

    func enter(_ bellPath: [CChar]?) throws(Failure) -> Waker {
        let waker = Waker(bellPath: bellPath, hasTimer: false)
        _ = try waker.descriptor()
        try lock.withLock { waiting.append(waker) }
        return waker
    }

    func leave(_ waker: Waker) {
        try? lock.withLock { waiting.removeAll { $0 === waker } }
        waker.close()
    }

    func wakeAll() {
        try? lock.withLock { for waker in waiting { waker.signal() } }
        runner?.nudge()
    }

    // MARK: The runner

    private var current: Runner?

    var runner: Runner? {
        let runner: Runner?? = try? lock.withLock { current }
        return runner ?? nil
    }

    func setRunner(_ runner: Runner) { try? lock.withLock { current = runner } }

    func takeRunner() -> Runner? {
        let runner: Runner?? = try? lock.withLock { exchange(&current, with: nil) }
        return runner ?? nil
    }

    /// False if it is not there any more.
    func take(_ runner: Runner) -> Bool {
        let isTaken: Bool? = try? lock.withLock {
            guard current === runner else { return false }
            current = nil
            return true
        }
        return isTaken == true
    }
}
