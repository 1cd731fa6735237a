import CPawl

extension Store {
    /// When the next job is due or the next item can be taken: in the past if that is now, nil if
    /// nothing is planned.
    public func nextDeadline() throws(PawlError) -> Timestamp? {
        try run { calls throws(PawlError) in try calls.nextDeadline() }
    }

    /// Runs jobs that are due, the earliest first, each in a transaction of its own. One that fails
    /// is tried again later, ever more seldom, and holds up no other. Who reads
    /// ``items(limit:lease:)`` need not call this.
    ///
    /// - Parameter limit: at most that many, 1 to 10,000.
    /// - Returns: how many ran, of which fewer than `limit` mean that none is left, and what
    ///   ``nextDeadline()`` says then.
    @discardableResult
    public func runDue(
        limit: Int = 100
    ) throws(PawlError) -> (ran: Int, nextDeadline: Timestamp?) {
        try run { calls throws(PawlError) in try calls.runDue(limit: limit) }
    }

    /// Lets those who wait for items look again. Needed only where the library cannot see a reason
    /// by itself: another process committed to a storage engine of the host, or a clock of the host
    /// passed ``nextDeadline()``.
    public func nudge() throws(PawlError) {
        try run { calls throws(PawlError) in try calls.nudge() }
    }

    /// Has a thread of the library run what is due, until ``stopRunner()`` or the store is closed.
    /// Who reads ``items(limit:lease:)`` needs none.
    ///
    /// - Parameter itemsReady: called on that thread when items can be taken: take until there are
    ///   none, in a task. It must not wait for the store. What is left it is not told of again until
    ///   something changes.
    /// - Throws: ``PawlError/Code/exists`` if there is one.
    public func startRunner(
        _ itemsReady: @escaping @Sendable () -> Void = {}
    ) throws(PawlError) {
        try run { calls throws(PawlError) in try calls.startRunner(Runner(itemsReady)) }
    }

    /// Returns when the thread has ended, also if there is none.
    public func stopRunner() throws(PawlError) {
        try run { calls throws(PawlError) in try calls.stopRunner() }
    }

    /// What is to be done now and from now on, for as long as it is asked for. The sequence runs
    /// the jobs that are due, takes items, and waits, at no cost, while there is neither.
    ///
    /// - Parameters:
    ///   - limit: how many items to take at a time, 1 to 10,000. Their leases count from then on,
    ///     so all of them should be done within one.
    ///   - lease: for how long each is lent, at most a day; nil: 30 seconds.
    public nonisolated func items(limit: Int = 16, lease: Duration? = nil) -> Items {
        Items(store: self, limit: limit, lease: lease)
    }

    /// The items of a store, as ``Store/items(limit:lease:)`` gives them.
    ///
    /// Settle each with ``Store/ack(_:)``, ``Store/fail(_:retryAfter:)`` or
    /// ``Store/answer(_:with:)``. What was given and not settled is given again after its lease.
    /// Several sequences, in several processes too, share the items among them. Jobs run while
    /// somebody waits for the next item, so do not let it wait for long.
    ///
    /// The sequence ends when its task is cancelled, and throws ``PawlError/Code/closed`` when the
    /// store is closed. While it waits it keeps the store open.
    ///
    /// With ``Store/Options/clock`` nothing wakes it when time passes; see ``Store/nudge()``.
    /// Waiting works on Linux; elsewhere it throws ``PawlError/Reason/storeCannotOpen``, and a host
    /// waits for ``Store/nextDeadline()`` itself.
    public struct Items: AsyncSequence, Sendable {
        let store: Store
        let limit: Int
        let lease: Duration?

        /// Starts with what can be taken now.
        public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(source: self) }

        /// One of those who share the items.
        public struct AsyncIterator: AsyncIteratorProtocol {
            let source: Items
            private var taken: ArraySlice<Item> = []
            private var isOver = false

            init(source: Items) { self.source = source }

            /// The next item, or nil if the task is cancelled.
            ///
            /// - Throws: what ``Store/runDue(limit:)`` and ``Store/take(limit:lease:)`` do; the
            ///   sequence then ends.
            public mutating func next(
                isolation actor: isolated (any Actor)? = #isolation
            ) async throws(PawlError) -> Item? {
                if isOver || Task.isCancelled { return nil }
                if taken.isEmpty {
                    isOver = true
                    let items = try await source.store.nextItems(source.limit, source.lease)
                    isOver = items.isEmpty
                    taken = items[...]
                }
                return taken.popFirst()
            }
        }
    }

    /// At least one item, or none if the task is cancelled.
    private func nextItems(_ limit: Int, _ lease: Duration?) async throws(PawlError) -> [Item] {
        let jobs = 100
        while true {
            if try runDue(limit: jobs).ran == jobs {
                await Task.yield()
                continue
            }
            let items = try take(limit: limit, lease: lease)
            if !items.isEmpty || Task.isCancelled { return items }
            try await wait()
        }
    }
}

/// Whom a runner tells of items.
final class Runner: Sendable {
    private let itemsReady: @Sendable () -> Void

    init(_ itemsReady: @escaping @Sendable () -> Void) { self.itemsReady = itemsReady }

    /// As C knows it, for as long as this lives.
    var table: pawl_runner {
        var table = pawl_runner.sized()
        table.context = Unmanaged.passUnretained(self).toOpaque()
        table.items_ready = { context in
            guard let context else { return }
            Unmanaged<Runner>.fromOpaque(context).takeUnretainedValue().itemsReady()
        }
        return table
    }
}
