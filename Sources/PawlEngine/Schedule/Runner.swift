internal import CPlatform
internal import PawlCore
package import PawlCrypto

/// A thread that runs what is due and says when items can be taken. It sleeps on a descriptor of its own, or, where the
/// system has none, on a condition.
///
///     running ──stop──► stopping ──close──► closing ──its thread is done──► ended
///
/// Whoever stops it waits until it has ended or the store is being closed: its host may close the store in a callback,
/// which waits for all calls, so no call may wait for the callback. From each state it can go to any that comes later.
package final class Runner {
    private enum State: UInt8 {
        case running, stopping, closing, ended
    }

    private let store: Store
    private let itemsReady: () -> Void
    private let lock = Lock()
    /// Guarded by `lock`.
    private var isNudged = false
    private var state = State.running
    private let waker: Waker?
    private var thread = platform_thread()

    private static let many = 100
    /// Of a timer of 32 bits, in milliseconds.
    private static let longestTimer = Int64(Int32.max) * 1_000_000

    fileprivate init(_ store: Store, _ itemsReady: @escaping () -> Void) {
        self.store = store
        self.itemsReady = itemsReady
        let waker = Waker(bellPath: store.bellPath, hasTimer: store.shared.clock.isSystem)
        let isThere = (try? waker.descriptor()) != nil
        self.waker = isThere ? waker : nil
    }

    fileprivate func start() throws(Failure) {
        let context = Unmanaged.passRetained(self)
        var thread = platform_thread()
        let error = platform_thread_start(
            &thread,
            { context in
                guard let context else { return }
                let runner = Unmanaged<Runner>.fromOpaque(context).takeRetainedValue()
                runner.run()
            }, context.toOpaque())
        guard error == 0 else {
            context.release()
            waker?.close()
            throw .limit(.memory)
        }
        try lock.withLock { self.thread = thread }
    }

    /// Has it look again.
    func nudge() {
        try? lock.withLock { wake() }
    }

    private func wake() {
        isNudged = true
        waker?.signal()
        lock.wakeAll()
    }

    private func reach(_ next: State) {
        try? lock.withLock {
            if next.rawValue > state.rawValue { state = next }
            wake()
        }
    }

    /// Returns when its thread is done; refused if the store is closed before.
    func stop() throws(Failure) {
        reach(.stopping)
        try lock.withLock { () throws(Failure) in
            while state == .stopping { lock.wait() }
            guard state == .ended else { throw .closed(.closed) }
        }
    }

    /// The store is being closed.
    func close() { reach(.closing) }

    var isThisThread: Bool {
        let isThis: Bool? = try? lock.withLock { platform_thread_is_self(thread) != 0 }
        return isThis == true
    }

    /// For whoever took it out of its store: returns when it has ended; from inside of its own callback it ends later.
    func end() {
        close()
        let isThis = isThisThread
        if isThis { platform_thread_detach(thread) } else { platform_thread_join(thread) }
    }

    // MARK: On its thread

    private func run() {
        try? lock.withLock { thread = platform_thread_self() }
        var failures: UInt32 = 0
        while !isOver {
            do throws(Failure) {
                let found = try look()
                failures = 0
                // The host may have closed the store in a callback of what ran.
                if found.hasItems, !isOver { itemsReady() }
                sleep(found)
            } catch {
                if case .closed = error { break }
                // What it is that fails, the next call of the host is told.
                failures = min(failures, 60) + 1
                let wait = Backoff.wait(
                    failures: failures, limit: Backoff.minute, random: randomNumber())
                pause(wait)
            }
        }
        try? lock.withLock { waker?.close() }
        reach(.ended)
    }

    private var isOver: Bool {
        let isOver: Bool? = try? lock.withLock { state != .running }
        return isOver != false
    }

    /// Its own commits ring, too, so it drains after them, and then looks. A clock of the host is asked in here alone: in
    /// a call, which knows the host again when it calls back, and under no lock of this.
    private func look() throws(Failure) -> Outlook {
        var found = Outlook(hasItems: false, next: nil)
        try store.call { () throws(Failure) in
            var ran = Self.many
            while !isOver, ran == Self.many { ran = try store.runDue(limit: Self.many) }
            try lock.withLock {
                // What told it to stop stays.
                guard state == .running else { return }
                isNudged = false
                waker?.drain()
            }
            found = try store.outlook()
            found.now = store.now()
        }
        return found
    }

    private func sleep(_ found: Outlook) {
        guard let waker else { return doze(found) }
        try? lock.withLock {
            guard !isNudged else { return }
            waker.set(found.next, now: { now(found) })
        }
        waker.wait(-1)
    }

    /// In parts, each by the clock as it is then; what other processes commit is seen after a minute.
    private func doze(_ found: Outlook) {
        let longest = store.bellPath == nil ? Self.longestTimer : Backoff.minute
        let isTimed = store.shared.clock.isSystem
        let until = isTimed ? found.next ?? CredentialRules.never : CredentialRules.never
        try? lock.withLock {
            guard !isNudged else { return }
            lock.wait(nap(until: until, now: now(found), longest: longest))
        }
    }

    /// A clock of the host is not asked again: it has this look after commits and nudges alone.
    private func now(_ found: Outlook) -> Int64 {
        store.shared.clock.isSystem ? store.now() : found.now
    }

    private func pause(_ time: Int64) {
        try? lock.withLock {
            guard state == .running else { return }
            lock.wait(time)
        }
    }
}

/// What a runner finds.
struct Outlook {
    var hasItems: Bool
    /// When the next job is due, or an item can be taken that cannot be now; nil: nothing is planned.
    var next: Int64?
    /// When the look was over.
    var now: Int64 = 0
}

extension Store {
    /// `itemsReady` is called on the thread of the runner, under no lock and in no call.
    package func startRunner(_ itemsReady: @escaping () -> Void) throws(Failure) {
        guard !isBatch else { throw .state(.batch) }
        try shared.lock.withLock { () throws(Failure) in
            guard shared.waiters.runner == nil else { throw .exists }
            let runner = Runner(self, itemsReady)
            // Before it looks, so that nothing comes in between.
            shared.waiters.setRunner(runner)
            do throws(Failure) {
                try runner.start()
            } catch {
                _ = shared.waiters.takeRunner()
                throw error
            }
        }
    }

    /// Returns when it has ended. Without one there is nothing to stop.
    package func stopRunner() throws(Failure) {
        guard !isBatch else { throw .state(.batch) }
        // One that is being started may never run.
        let runner = try shared.lock.withLock { shared.waiters.runner }
        guard let runner else { return }
        guard !runner.isThisThread else { throw .busy(.reentered) }
        try runner.stop()
        // Somebody else who stopped it may have been faster.
        if shared.waiters.take(runner) { runner.end() }
    }

    fileprivate func outlook() throws(Failure) -> Outlook {
        try transact(.read) { (transaction) throws(Failure) in
            try transaction.outlook(shared.clock.now())
        }
    }
}
