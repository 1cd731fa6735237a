import CPawl

/// One sealed database of credentials, accounts and their sessions.
///
/// A store runs its calls one after another on a thread of its own, so that waiting for a disk or
/// for Argon2id never holds up other tasks. Several stores, in several processes too, may use one
/// file; open two to read while the other writes. Cancelling a task does not interrupt a call that
/// it made: each call is one transaction, and its answer is worth having. Waiting for an epoch and
/// answers of a backup's server have threads of their own, beside the others.
///
/// Any call may throw ``PawlError/Code/misuse``, ``PawlError/Reason/limitMemory``,
/// ``PawlError/Code/store``, ``PawlError/Code/busy`` (another writer held the store for longer than
/// the busy timeout), ``PawlError/Code/closed``, ``PawlError/Code/corrupt`` and
/// ``PawlError/Code/version``; the methods name only what they throw besides.
///
/// A store that nobody refers to any more closes itself; ``close()`` says when that is done.
public actor Store {
    private let worker = Worker()
    private let gate = Gate()
    private var connection: Connection?

    /// The thread that the store's calls run on.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        worker.asUnownedSerialExecutor()
    }

    /// How to open a store.
    public struct Options: Sendable {
        /// Whether to create a store.
        public enum Creation: Sendable, Hashable {
            /// Open what is there: ``PawlError/Code/notFound``.
            case never
            /// Create the store if there is none.
            case ifAbsent
            /// Create the store: ``PawlError/Code/exists``.
            case always
        }

        /// Whether to create a store. A store in memory is always new.
        public var creation: Creation
        /// How long to wait for other writers; nil: 5 seconds, zero: not at all.
        public var busyTimeout: Duration?
        /// Where time comes from; nil: the system's clock. It may run while the store is locked, on
        /// several threads at once, and must return without waiting for the store.
        public var clock: (@Sendable () -> Timestamp)?
        /// Where secrets live; nil: in the store itself.
        public var vault: (any Vault)?

        /// Options; by default no store is created, so that a misspelt path is not a new store.
        public init(
            creation: Creation = .never, busyTimeout: Duration? = nil,
            clock: (@Sendable () -> Timestamp)? = nil, vault: (any Vault)? = nil
        ) {
            self.creation = creation
            self.busyTimeout = busyTimeout
            self.clock = clock
            self.vault = vault
        }
    }

    // MARK: opening and closing

    /// Opens the store in a file, or creates it if the options say so. The file is created
    /// whole or not at all, readable by its owner alone, and a symbolic link is not followed.
    ///
    /// No process that has a store open may open and close its file by itself or through another
    /// copy of SQLite: the system then drops the locks, and acknowledged commits can be lost.
    ///
    /// - Parameters:
    ///   - path: of the SQLite file, 1 to 4096 bytes.
    ///   - key: any one of the store's keys; of a new store, its first.
    ///   - options: see ``Options``.
    /// - Throws: ``PawlError/Code/auth`` (wrong key), ``PawlError/Code/notFound``,
    ///   ``PawlError/Code/exists``, ``PawlError/Code/version`` (written by a newer Pawl),
    ///   ``PawlError/Reason/corruptNotPawl``, ``PawlError/Reason/corruptKeyLost``. The file is then
    ///   untouched.
    public static func open(
        path: String, key: Key, options: Options = Options()
    ) async throws(PawlError) -> Store {
        try await opened(options.creation.flags, path, key, options, nil)
    }

    /// Opens the store in a storage engine of the host, or creates it if the options say so.
    ///
    /// - Throws: what ``open(path:key:options:)`` does, and ``PawlError/Reason/storeHost``.
    public static func open(
        storage: any Storage, key: Key, options: Options = Options()
    ) async throws(PawlError) -> Store {
        try await opened(options.creation.flags, "", key, options, storage)
    }

    /// A new store in memory, gone when it is closed.
    public static func inMemory(
        key: Key, options: Options = Options()
    ) async throws(PawlError) -> Store {
        try await opened(PAWL_STORE_MEMORY, "", key, options, nil)
    }

    private init() {}

    private static func opened(
        _ flags: Int32, _ path: String, _ key: Key, _ options: Options, _ storage: (any Storage)?
    ) async throws(PawlError) -> Store {
        let store = Store()
        try await store.connect(flags, path, key, options, storage)
        return store
    }

    private func connect(
        _ flags: Int32, _ path: String, _ key: Key, _ options: Options, _ storage: (any Storage)?
    ) throws(PawlError) {
        let host = Host(clock: options.clock, vault: options.vault, storage: storage)
        var store: OpaquePointer?
        try check(
            key.withC { key in
                withUnsafePointer(to: key) { key in
                    withBytes(of: path) { path, pathSize in
                        host.withTables { clock, storage, vault in
                            var table = pawl_store_options.sized()
                            table.flags = UInt32(flags)
                            table.path = path
                            table.path_size = pathSize
                            table.key = key
                            table.busy_timeout_ns = zeroMeansNone(options.busyTimeout)
                            table.clock = clock
                            table.storage = storage
                            table.vault = vault
                            return pawl_store_open(&table, &store)
                        }
                    }
                }
            })
        guard let store else { throw PawlError(PAWL_INTERNAL) }
        connection = Connection(store, gate, worker, host)
    }

    /// Closes the store: the call at work ends first (``answer(_:_:)`` between two entries), a batch
    /// at work is rolled back, and every other call answers ``PawlError/Code/closed``, those waiting
    /// in line or for items included. Returns when all is wiped. Closing twice is allowed.
    public nonisolated func close() async {
        gate.close()
        await disconnect()
    }

    private func disconnect() async {
        guard let connection else { return }
        await withCheckedContinuation { done in connection.close { done.resume() } }
    }

    deinit {
        guard let connection else { return }
        worker.later { connection.close {} }
    }

    var calls: Calls {
        get throws(PawlError) {
            guard let connection else { throw .closed }
            return Calls(self, connection)
        }
    }

    /// Makes calls for an account or a session.
    func run<Result: Sendable>(
        _ body: sending (Calls) throws(PawlError) -> Result
    ) throws(PawlError) -> Result {
        try body(calls)
    }

    /// Returns when a job is due or an item can be taken, after a nudge, when the store is being
    /// closed, and when the task is cancelled.
    func wait() async throws(PawlError) {
        guard let connection else { throw .closed }
        let waiter = try connection.nextWaiter()
        await withTaskCancellationHandler {
            await suspend(waiter, connection)
        } onCancel: {
            worker.later { connection.wake(waiter) }
        }
    }

    /// A method of its own, because a closure that does not use the store leaves its thread.
    private func suspend(_ waiter: Int, _ connection: Connection) async {
        await withCheckedContinuation { connection.wait(waiter, $0) }
    }

    /// Returns the epoch that a session has, once that is `epoch` or later.
    func wait(
        for epoch: UInt32, of session: Session.ID, _ timeout: Duration?
    ) async throws(PawlError) -> UInt32 {
        guard let connection else { throw .closed }
        if let timeout, timeout < .zero { throw PawlError(PAWL_MISUSE_TIME) }
        let wait = EpochWait(connection, session, epoch, timeout)
        try connection.enter()
        let outcome = await withTaskCancellationHandler {
            await suspend(wait)
        } onCancel: {
            wait.cancel()
        }
        connection.leave()
        return try outcome.get()
    }

    private func suspend(_ wait: EpochWait) async -> Result<UInt32, PawlError> {
        await withCheckedContinuation { done in wait.start { done.resume(returning: $0) } }
    }

    /// Makes a call beside all others, on another thread.
    func runInBackground(
        _ call: @escaping @Sendable (Connection) -> pawl_status
    ) async throws(PawlError) {
        guard let connection else { throw .closed }
        try connection.enter()
        let status = await suspend(call, connection)
        connection.leave()
        try check(status)
    }

    private func suspend(
        _ call: @escaping @Sendable (Connection) -> pawl_status, _ connection: Connection
    ) async -> pawl_status {
        await withCheckedContinuation { done in
            connection.inBackground { done.resume(returning: call(connection)) }
        }
    }

    // MARK: the whole store

    /// Writes a consistent copy, which opens with the same keys, to a new file, while others read
    /// and write.
    ///
    /// - Throws: ``PawlError/Code/exists`` if there is a file.
    public func copy(to path: String) throws(PawlError) { try calls.copy(to: path) }

    /// Reads and authenticates every record and lists those that are damaged. Changes nothing.
    public func verify() throws(PawlError) -> [Damage] { try calls.verify() }

    /// Counters since the store was opened.
    public func stats() throws(PawlError) -> Stats { try calls.stats() }

    // MARK: slots

    /// The slots of the store. Any one opens it.
    public func slots() throws(PawlError) -> [Slot] { try calls.slots() }

    /// Adds a key that opens the store, and returns the number of its slot.
    ///
    /// - Throws: ``PawlError/Reason/limitSlots`` when all 16 are taken,
    ///   ``PawlError/Reason/busyChanged``.
    @discardableResult
    public func addSlot(_ key: Key) throws(PawlError) -> Int { try calls.addSlot(key) }

    /// Replaces the key of a slot. The old key still opens old copies of the file.
    ///
    /// - Throws: ``PawlError/Code/notFound``, ``PawlError/Reason/busyChanged``.
    public func changeSlot(_ number: Int, to key: Key) throws(PawlError) {
        try calls.changeSlot(number, key)
    }

    /// Removes a slot. Its key still opens old copies of the file.
    ///
    /// - Throws: ``PawlError/Code/notFound``, ``PawlError/Reason/stateLastSlot``,
    ///   ``PawlError/Reason/busyChanged``.
    public func removeSlot(_ number: Int) throws(PawlError) { try calls.removeSlot(number) }

    // MARK: batches

    /// Runs `body` in one write transaction and commits when it returns. If it throws, nothing was
    /// written, and the error is thrown on. Other writers wait meanwhile, so `body` should be
    /// quick.
    ///
    /// - Throws: what `body` throws, ``PawlError/Reason/storeLost``, ``PawlError/Code/closed`` if
    ///   the store was closed meanwhile; after each of these nothing was written.
    public func batch<Result: Sendable>(
        _ body: sending (borrowing Batch) throws(PawlError) -> Result
    ) throws(PawlError) -> Result {
        let batch = Batch(try calls.begin())
        let result: Result
        do throws(PawlError) {
            result = try body(batch)
        } catch {
            batch.calls.rollback()
            throw error
        }
        try batch.calls.commit()
        return result
    }

    /// The same for a closure that throws errors of its own.
    public func batch<Result: Sendable>(
        _ body: sending (borrowing Batch) throws -> Result
    ) throws -> Result {
        let batch = Batch(try calls.begin())
        let result: Result
        do {
            result = try body(batch)
        } catch {
            batch.calls.rollback()
            throw error
        }
        try batch.calls.commit()
        return result
    }

    // MARK: credentials

    /// Creates or replaces the secret of `name`; durable when this returns.
    ///
    /// - Parameters:
    ///   - name: 1 to 256 bytes of UTF-8 without NUL.
    ///   - secret: 0 bytes to 16 MiB.
    ///   - scope: whose credential it is.
    ///   - options: the condition and the metadata; by default everything but the secret stays.
    /// - Returns: the version, greater than every one committed to this store before, of any name.
    /// - Throws: ``PawlError/Code/exists``, ``PawlError/Code/notFound`` (a version was expected and
    ///   nothing is there), ``PawlError/Reason/stateConflict``,
    ///   ``PawlError/Reason/stateWithdrawn``, ``PawlError/Code/time``,
    ///   ``PawlError/Reason/limitSecret``, ``PawlError/Reason/limitAttributes``,
    ///   ``PawlError/Reason/storeVault``.
    @discardableResult
    public func put(
        _ name: String, _ secret: Secret, in scope: Scope, _ options: PutOptions = PutOptions()
    ) throws(PawlError) -> UInt64 {
        try calls.put(name, secret, scope, options)
    }

    /// The secret and the metadata of the same version.
    ///
    /// - Throws: ``PawlError/Code/notFound``, ``PawlError/Reason/stateNoVault``,
    ///   ``PawlError/Reason/storeVault``, ``PawlError/Reason/corruptKeyLost`` (the secret is gone).
    public func get(_ name: String, in scope: Scope) throws(PawlError) -> Credential {
        try calls.get(name, scope)
    }

    /// The metadata alone; a vault is not asked.
    ///
    /// - Throws: ``PawlError/Code/notFound``.
    public func metadata(
        _ name: String, in scope: Scope
    ) throws(PawlError) -> Credential.Metadata {
        try calls.metadata(name, scope)
    }

    /// Whether there is a credential of this name.
    public func has(_ name: String, in scope: Scope) throws(PawlError) -> Bool {
        try calls.has(name, scope)
    }

    /// One page of a scope, after the credential called `name`, which need not exist any more. The
    /// order is stable and means nothing. A damaged record is left out; ``verify()`` names it.
    ///
    /// - Parameters:
    ///   - scope: whose credentials.
    ///   - name: the last of the page before; nil: from the start.
    ///   - limit: 1 to 10,000; a page with fewer is the last.
    public func list(
        in scope: Scope, after name: String? = nil, limit: Int = 1000
    ) throws(PawlError) -> [Credential.Metadata] {
        try calls.list(scope, after: name ?? "", limit: limit)
    }

    /// All credentials of a scope, asked for by the page, without secrets.
    ///
    /// - Parameters:
    ///   - scope: whose credentials.
    ///   - pageSize: how many to ask for at a time, 1 to 10,000.
    public nonisolated func credentials(
        in scope: Scope, pageSize: Int = 1000
    ) -> Pages<Credential.Metadata> {
        Pages(of: pageSize) { last throws(PawlError) in
            try await self.list(in: scope, after: last?.name, limit: pageSize)
        }
    }

    /// The deleted versions of a name that can be restored, oldest first.
    public func deleted(
        _ name: String, in scope: Scope
    ) throws(PawlError) -> [Credential.Metadata] {
        try calls.deleted(name, scope)
    }

    /// Deletes a credential.
    ///
    /// - Parameters:
    ///   - name: which one.
    ///   - scope: whose credential it is.
    ///   - recovery: how long it can be restored; by default not at all.
    /// - Throws: ``PawlError/Code/notFound``.
    public func delete(
        _ name: String, in scope: Scope, recovery: Duration = .zero
    ) throws(PawlError) {
        try calls.delete(name, scope, recovery: recovery)
    }

    /// Brings a deleted version back.
    ///
    /// - Parameters:
    ///   - name: which credential.
    ///   - scope: whose credential it is.
    ///   - version: which version; nil: the newest.
    /// - Throws: ``PawlError/Code/exists`` (there is a current one), ``PawlError/Code/notFound``
    ///   (none to restore, or its window is over).
    public func restore(
        _ name: String, in scope: Scope, version: UInt64? = nil
    ) throws(PawlError) {
        try calls.restore(name, scope, version: version)
    }

    /// Deletes every credential of a scope in one transaction, deleted versions and writes in
    /// flight included: such a put ends with ``PawlError/Reason/stateWithdrawn``. The scope of a
    /// user without a project does not include the user's projects.
    ///
    /// - Returns: how many current credentials were deleted.
    @discardableResult
    public func deleteAll(in scope: Scope) throws(PawlError) -> Int {
        try calls.deleteAll(scope, allProjects: false)
    }

    /// The same for all projects of a user.
    ///
    /// - Returns: how many current credentials were deleted.
    @discardableResult
    public func deleteAll(ofUser user: String) throws(PawlError) -> Int {
        try calls.deleteAll(Scope(user: user), allProjects: true)
    }

    // MARK: unfinished vault writes

    /// Writes to the vault that are not finished: intents and orphans, in the order of their ids.
    ///
    /// - Parameters:
    ///   - id: the last of the page before; nil: from the start.
    ///   - limit: 1 to 10,000; a page with fewer is the last.
    public func orphans(
        after id: VaultID? = nil, limit: Int = 1000
    ) throws(PawlError) -> [Orphan] {
        try calls.orphans(after: id, limit: limit)
    }

    /// Settles writes that a crash or a failing vault left unfinished: whatever has been sighted
    /// twice, with the grace period between, after its lease, is removed from the vault.
    ///
    /// - Parameters:
    ///   - dryRun: say what would be done, change nothing.
    ///   - grace: between two sightings; nil: 60 seconds, zero: none.
    /// - Returns: what was found and done.
    /// - Throws: ``PawlError/Reason/stateNoVault``.
    @discardableResult
    public func reconcile(
        dryRun: Bool = false, grace: Duration? = nil
    ) throws(PawlError) -> [Orphan] {
        try calls.reconcile(dryRun: dryRun, grace: grace)
    }

    // MARK: accounts

    /// Draws an identity under a name and keeps it as an account; durable when this returns.
    ///
    /// - Parameter name: 1 to 255 bytes of UTF-8 without NUL, which peers will see. Names need not
    ///   differ.
    /// - Returns: the account's id, 16 random bytes.
    /// - Throws: ``PawlError/Reason/misuseAccount``.
    public func createAccount(named name: String) throws(PawlError) -> Account.ID {
        try calls.createAccount(name)
    }

    /// One account.
    ///
    /// - Throws: ``PawlError/Code/notFound``.
    public func account(_ id: Account.ID) throws(PawlError) -> Account { try calls.account(id) }

    /// One page of accounts in the order of their ids. A damaged record is left out; ``verify()``
    /// names it.
    ///
    /// - Parameters:
    ///   - id: the last of the page before, which need not exist any more; nil: from the start.
    ///   - limit: 1 to 10,000; a page with fewer is the last.
    public func accounts(
        after id: Account.ID? = nil, limit: Int = 1000
    ) throws(PawlError) -> [Account] {
        try calls.accounts(after: id, limit: limit)
    }

    /// All accounts, asked for by the page.
    ///
    /// - Parameter pageSize: how many to ask for at a time, 1 to 10,000.
    public nonisolated func allAccounts(pageSize: Int = 1000) -> Pages<Account> {
        Pages(of: pageSize) { last throws(PawlError) in
            try await self.accounts(after: last?.id, limit: pageSize)
        }
    }

    /// Erases an account and its secret keys. Nobody can bring them back.
    ///
    /// - Throws: ``PawlError/Code/notFound``.
    public func deleteAccount(_ id: Account.ID) throws(PawlError) { try calls.deleteAccount(id) }
}

extension Store.Options.Creation {
    var flags: Int32 {
        switch self {
        case .never: 0
        case .ifAbsent: PAWL_STORE_CREATE
        case .always: PAWL_STORE_CREATE | PAWL_STORE_EXCLUSIVE
        }
    }
}
