package import PawlCrypto
package import PawlStore

/// One sealed database, or a batch on one: the loop that turns a decision into a committed transaction.
///
///     call ──► lock ──► begin ──► read, decide, collect writes ──► write ──► commit ──► answer
///
/// A batch is a store whose transaction was begun once and outlives its calls.
package final class Store {
    /// What a store and its batches have in common.
    package final class Shared {
        package let lifecycle = Lifecycle()
        package let id: Identifier
        let sealer: Sealer
        let clock: any Clock
        let vault: (any SecretVault)?
        let timeout: Int64
        /// Indices that `encrypt` may use.
        let reservations: Reservations
        /// Chains of history that were read last.
        let history = HistoryChains()
        let waiters = Waiters()
        /// Told of what happens to sessions. Guarded by `lock`.
        var tracer: (any Tracer)?
        let lock = Lock()
        /// Guarded by `lock`.
        var batches: [Store] = []
        /// A connection that an ended batch left behind for the next one.
        var spare: (any StoragePort)?

        init(
            id: Identifier, sealer: Sealer, clock: any Clock, vault: (any SecretVault)?,
            timeout: Int64
        ) throws(Failure) {
            self.id = id
            self.sealer = sealer
            self.clock = clock
            self.vault = vault
            self.timeout = timeout
            reservations = try Reservations()
        }
    }

    /// What a handle can still do. Guarded by `lock`.
    private enum Standing: Equatable {
        case store
        case batch
        /// The batch's transaction is gone; nothing of it was or will be written.
        case lost(Failure)
    }

    package let shared: Shared
    package let isBatch: Bool
    /// Whether a fork would make this process's children unable to open files.
    var isFile = false
    private let port: any StoragePort
    private let lock = Lock()
    private var standing: Standing
    private let counters = Counters()
    /// Guarded by `lock`.
    private var turns = Turns()
    private let memory = StoreMemory()
    /// Nil for a batch, which has its store's. Guarded by `lock`.
    private let waker: Waker?
    /// Whose batch this is.
    private let parent: Store?
    /// Whether the batch has something to wake others for. Guarded by `lock`.
    private var isUrgent = false
    /// What the batch's host is told when it is committed. Guarded by `lock`.
    private var steps: [TracedStep] = []

    init(shared: Shared, port: any StoragePort, batchOf parent: Store? = nil) {
        self.shared = shared
        self.port = port
        self.parent = parent
        isBatch = parent != nil
        standing = isBatch ? .batch : .store
        waker =
            isBatch ? nil : Waker(bellPath: port.bellPath, hasTimer: shared.clock.isSystem)
    }

    package func now() -> Int64 { shared.clock.now() }

    /// Whether another thread used this handle since this was asked last.
    func wasUsedByOthers() -> Bool { (try? lock.withLock { turns.take() }) ?? false }

    var bellPath: [CChar]? { port.bellPath }

    // MARK: Transactions

    package enum Durability {
        /// What was acknowledged survives a failure of the machine.
        case full
        /// It may be undone by one, as a whole: for what is merely repeated then.
        case relaxed
    }

    /// Runs `body` in a transaction: this handle's own, or the batch's.
    package func transact<R>(
        _ mode: TransactionMode, _ durability: Durability = .full,
        _ body: (Transaction) throws(Failure) -> R
    ) throws(Failure) -> R {
        var steps: [TracedStep] = []
        defer { trace(steps) }
        return try transact(mode, durability, tracing: &steps, body)
    }

    /// The same for a caller that holds a lock: what is to be traced is for later.
    func transact<R>(
        _ mode: TransactionMode, _ durability: Durability = .full,
        tracing steps: inout [TracedStep],
        _ body: (Transaction) throws(Failure) -> R
    ) throws(Failure) -> R {
        var result: R?
        steps = try run(mode, durability) { (transaction) throws(Failure) in
            result = try body(transaction)
        }
        guard let result else { throw .internal }
        return result
    }

    /// Not generic, so that there is one of it and not one for each kind of result.
    private func run(
        _ mode: TransactionMode, _ durability: Durability,
        _ body: (Transaction) throws(Failure) -> Void
    ) throws(Failure) -> [TracedStep] {
        // The wait for another writer is outside of the lock, for readers and for whoever owns the
        // batch that is waited for. `body` may run more than once; nothing of a run that met another
        // writer was written.
        try Wait(isBatch ? 0 : shared.timeout, shared.lifecycle).retrying { () throws(Failure) in
            try lock.withLock { () throws(Failure) in try attempt(mode, durability, body) }
        }
    }

    /// Under no lock.
    func trace(_ steps: [TracedStep]) {
        guard !steps.isEmpty else { return }
        guard let tracer = try? shared.lock.withLock({ shared.tracer }) else { return }
        for step in steps { tracer.trace(step) }
    }

    package func setTracer(_ tracer: (any Tracer)?) {
        try? shared.lock.withLock { shared.tracer = tracer }
    }

    private func attempt(
        _ mode: TransactionMode, _ durability: Durability,
        _ body: (Transaction) throws(Failure) -> Void
    ) throws(Failure) -> [TracedStep] {
        let transaction = newTransaction()
        switch standing {
        case .lost(let failure): throw failure
        case .batch:
            try body(transaction)
            try transaction.conclude()
            do throws(Failure) {
                try transaction.apply()
            } catch {
                // Half of this call's writes may be in the transaction: it cannot go on.
                port.rollback()
                standing = .lost(.store(.lost, code: 0))
                throw error
            }
            isUrgent = isUrgent || transaction.isUrgent
            steps += transaction.steps
            return []
        case .store:
            counters.transactions &+= 1
            turns.note()
            if mode == .write, durability == .relaxed {
                try port.beginRelaxed()
            } else {
                try port.begin(mode)
            }
            do throws(Failure) {
                try body(transaction)
                try transaction.conclude()
                try transaction.apply()
            } catch {
                port.rollback()
                throw error
            }
            guard !transaction.isEmpty else {
                port.rollback()
                return []
            }
            // After a commit in doubt, too: a ring for nothing is harmless.
            defer { if transaction.isUrgent { ring() } }
            try port.commit()
            counters.commits &+= 1
            return transaction.steps
        }
    }

    private func newTransaction() -> Transaction {
        Transaction(
            port: port, sealer: shared.sealer, clock: shared.clock, counters: counters,
            memory: memory)
    }

    // MARK: Waking

    /// A descriptor that is readable while something is due or can be taken.
    package func descriptor() throws(Failure) -> Int32 {
        guard let waker else { throw .state(.batch) }
        return try lock.withLock { () throws(Failure) in
            let isFirst = !waker.isAwaited
            let descriptor = try waker.descriptor()
            // Asked for again, it keeps what it says.
            if isFirst { look() }
            return descriptor
        }
    }

    /// Makes the host of this store look again.
    package func nudge() throws(Failure) {
        guard let waker else { return try parent?.nudge() ?? () }
        shared.waiters.wakeAll()
        try lock.withLock { waker.signal() }
    }

    /// Makes everybody else on this file look again.
    func ringOthers() { try? lock.withLock { waker?.ring() } }

    /// Outside of transactions: brings the descriptor into line with what is due.
    package func lookAgain() { try? lock.withLock { look() } }

    /// Inside the lock, after a commit: tells everybody who waits.
    private func ring() {
        guard let waker else { return }
        shared.waiters.wakeAll()
        waker.ring()
        // Without a timer the host must look itself, also at what is not due yet.
        if waker.hasTimer { look() } else { waker.signal() }
    }

    /// Inside the lock. What rings from here on is still there after this.
    private func look() {
        guard let waker, waker.isAwaited else { return }
        waker.drain()
        do throws(Failure) {
            counters.transactions &+= 1
            try port.begin(.read)
            defer { port.rollback() }
            waker.set(try newTransaction().nextDeadline(), now: now)
        } catch {
            // Whoever looks now is told why.
            waker.signal()
        }
    }

    /// Outside of transactions: nothing that was erased is left beside the data. False if somebody is in
    /// the way.
    func checkpoint() throws(Failure) -> Bool {
        try lock.withLock { () throws(Failure) in try port.checkpoint() }
    }

    // MARK: Batches

    package func beginBatch() throws(Failure) -> Store {
        guard !isBatch else { throw .state(.batch) }
        let spare = try shared.lock.withLock { () throws(Failure) in
            exchange(&shared.spare, with: nil)
        }
        let connection: any StoragePort
        if let spare {
            connection = spare
        } else {
            connection = try lock.withLock { () throws(Failure) in try port.sibling() }
        }
        do throws(Failure) {
            try Wait(shared.timeout, shared.lifecycle).retrying { () throws(Failure) in
                try connection.begin(.write)
            }
        } catch {
            keep(connection)
            throw error
        }
        let batch = Store(shared: shared, port: connection, batchOf: self)
        try shared.lock.withLock { shared.batches.append(batch) }
        return batch
    }

    /// Ends a batch: commits it, or forgets it.
    package func endBatch(commit: Bool) throws(Failure) {
        guard isBatch else { throw .misuse(.handle) }
        var isHealthy = false
        var rings = false
        // Last of all, when those who wait are awake.
        defer { if isHealthy, commit { trace(steps) } }
        defer {
            if commit, let parent {
                try? parent.lock.withLock { rings ? parent.ring() : parent.look() }
            }
            try? shared.lock.withLock { shared.batches.removeAll { $0 === self } }
            if isHealthy { keep(port) } else { port.close() }
        }
        try lock.withLock { () throws(Failure) in
            if case .lost(let failure) = standing { throw failure }
            standing = .lost(.closed(.closed))
            if commit {
                rings = isUrgent
                try port.commit()
                counters.commits &+= 1
            } else {
                port.rollback()
            }
            isHealthy = true
        }
    }

    /// Keeps a connection for the next batch.
    private func keep(_ connection: any StoragePort) {
        let surplus: (any StoragePort)? = try? shared.lock.withLock {
            guard shared.spare == nil else { return connection }
            shared.spare = connection
            return nil
        }
        surplus?.close()
    }

    // MARK: End

    /// Runs one call from the host: refused when closed, forked, or called from inside a callback.
    package func call(_ body: () throws(Failure) -> Void) throws(Failure) {
        try shared.lifecycle.call(body)
    }

    /// Refuses all further calls, waits for those in flight, rolls batches back, wipes the keys. `end` runs
    /// last. After a fork nothing but memory is touched.
    package func close(_ end: @escaping () -> Void) {
        let wake = { [self] in
            shared.waiters.runner?.close()
            shared.waiters.wakeAll()
        }
        shared.lifecycle.close(wake: wake) { [self] in
            if shared.lifecycle.isForked {
                shared.reservations.abandon()
                shared.history.abandon()
            } else {
                shared.waiters.takeRunner()?.end()
                for batch in shared.batches {
                    try? batch.lock.withLock {
                        batch.port.rollback()
                        batch.port.close()
                        batch.standing = .lost(.closed(.closed))
                    }
                }
                shared.batches = []
                shared.spare?.close()
                shared.spare = nil
                giveBackReservations()
                port.close()
                waker?.close()
                if isFile { Fork.fileClosed() }
                _ = shared.reservations.takeAll()
                shared.history.forgetAll()
            }
            shared.sealer.wipe()
            end()
        }
    }

    // MARK: Counters

    package var isMemoryLocked: Bool { shared.sealer.isLocked }

    package func withCounters(_ body: (Counters) -> Void) {
        try? lock.withLock { body(counters) }
    }

    /// The vault is called under no lock, so the count takes it by itself.
    func countVaultCall() { withCounters { $0.vaultCalls &+= 1 } }

    // MARK: Copy

    /// A consistent copy in a new SQLite file.
    package func copy(to path: [UInt8]) throws(Failure) {
        guard !isBatch else { throw .state(.batch) }
        let source = try lock.withLock { () throws(Failure) in try port.sibling() }
        defer { source.close() }
        try source.begin(.read)
        defer { source.rollback() }
        let snapshot = Transaction(
            port: source, sealer: shared.sealer, clock: shared.clock, counters: Counters(),
            memory: StoreMemory())
        try SQLiteStorage.create(path: path) { (target) throws(Failure) in
            try snapshot.scanEverything { (key, value) throws(Failure) in
                try target.put(key, value)
                return true
            }
        }
    }
}

/// A host that wants to see what its sessions do.
package protocol Tracer: AnyObject {
    func trace(_ step: TracedStep)
}
