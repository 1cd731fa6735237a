import CPawl

/// The calls that a store and a batch share.
struct Calls {
    let owner: Store
    private let connection: Connection
    private let pointer: OpaquePointer

    init(_ owner: Store, _ connection: Connection) {
        self.owner = owner
        self.connection = connection
        pointer = connection.store
    }

    private init(_ calls: Calls, batch: OpaquePointer) {
        owner = calls.owner
        connection = calls.connection
        pointer = batch
    }

    func trace(_ tracer: Tracer?) throws(PawlError) {
        try connection.gate.pass()
        try connection.trace(tracer)
    }

    func handle() throws(PawlError) -> OpaquePointer {
        try connection.gate.pass()
        return pointer
    }

    // MARK: credentials

    func put(
        _ name: String, _ secret: Secret, _ scope: Scope, _ options: PutOptions
    ) throws(PawlError) -> UInt64 {
        let store = try handle()
        var version: UInt64 = 0
        try check(
            scope.withC { scope in
                options.withC { options in
                    withBytes(of: name) { name, nameSize in
                        secret.withUnsafeBytes { secret in
                            pawl_credential_put(
                                store, &scope, name, nameSize, secret.baseAddress, secret.count,
                                &options, &version)
                        }
                    }
                }
            })
        return version
    }

    func get(_ name: String, _ scope: Scope) throws(PawlError) -> Credential {
        try view(name, scope, pawl_credential_get).credential()
    }

    func metadata(_ name: String, _ scope: Scope) throws(PawlError) -> Credential.Metadata {
        try view(name, scope, pawl_credential_metadata).onlyMetadata()
    }

    func deleted(_ name: String, _ scope: Scope) throws(PawlError) -> [Credential.Metadata] {
        try view(name, scope, pawl_credential_deleted).metadata()
    }

    func has(_ name: String, _ scope: Scope) throws(PawlError) -> Bool {
        let store = try handle()
        var has: Int32 = 0
        try check(
            withNamed(name, scope) { scope, name, nameSize in
                pawl_credential_has(store, scope, name, nameSize, &has)
            })
        return has != 0
    }

    func list(
        _ scope: Scope, after: String, limit: Int
    ) throws(PawlError) -> [Credential.Metadata] {
        let store = try handle()
        let view = try View { view in
            withNamed(after, scope) { scope, name, nameSize in
                pawl_credential_list(store, scope, name, nameSize, limit, view)
            }
        }
        return try view.metadata()
    }

    func delete(_ name: String, _ scope: Scope, recovery: Duration) throws(PawlError) {
        let store = try handle()
        try check(
            withNamed(name, scope) { scope, name, nameSize in
                pawl_credential_delete(store, scope, name, nameSize, recovery.wholeNanoseconds)
            })
    }

    func restore(_ name: String, _ scope: Scope, version: UInt64?) throws(PawlError) {
        let store = try handle()
        try check(
            withNamed(name, scope) { scope, name, nameSize in
                pawl_credential_restore(store, scope, name, nameSize, version ?? 0)
            })
    }

    func deleteAll(_ scope: Scope, allProjects: Bool) throws(PawlError) -> Int {
        let store = try handle()
        var count: UInt64 = 0
        try check(
            scope.withC { scope in
                pawl_credential_delete_all(
                    store, &scope, allProjects ? UInt32(PAWL_DELETE_ALL_PROJECTS) : 0, &count)
            })
        return Int(clamping: count)
    }

    func orphans(after id: VaultID?, limit: Int) throws(PawlError) -> [Orphan] {
        let store = try handle()
        let view = try View { view in
            guard let id else { return pawl_credential_orphans(store, nil, limit, view) }
            return pawl_credential_orphans(store, id.bytes, limit, view)
        }
        return try view.map(pawl_view_orphan, Orphan.init)
    }

    func reconcile(dryRun: Bool, grace: Duration?) throws(PawlError) -> [Orphan] {
        let store = try handle()
        var options = pawl_reconcile_options.sized()
        if dryRun { options.flags = UInt32(PAWL_RECONCILE_DRY_RUN) }
        options.grace_ns = zeroMeansNone(grace)
        let view = try View { pawl_credential_reconcile(store, &options, $0) }
        return try view.map(pawl_view_orphan, Orphan.init)
    }

    // MARK: accounts

    func createAccount(_ name: String) throws(PawlError) -> Account.ID {
        let store = try handle()
        var id = [UInt8](repeating: 0, count: Account.ID.size)
        try check(
            withBytes(of: name) { name, size in pawl_account_create(store, name, size, &id) })
        return Account.ID(unchecked: id)
    }

    func account(_ id: Account.ID) throws(PawlError) -> Account {
        let store = try handle()
        return try View { pawl_account_get(store, id.bytes, $0) }
            .only(pawl_view_account) { Account($0, in: owner) }
    }

    func accounts(after id: Account.ID?, limit: Int) throws(PawlError) -> [Account] {
        let store = try handle()
        let view = try View { view in
            guard let id else { return pawl_account_list(store, nil, limit, view) }
            return pawl_account_list(store, id.bytes, limit, view)
        }
        return try view.map(pawl_view_account) { Account($0, in: owner) }
    }

    func deleteAccount(_ id: Account.ID) throws(PawlError) {
        try check(pawl_account_delete(handle(), id.bytes))
    }

    // MARK: schedule

    func nextDeadline() throws(PawlError) -> Timestamp? {
        var deadline: Int64 = 0
        try check(pawl_store_next_deadline(handle(), &deadline))
        return .unlessNever(deadline)
    }

    func runDue(limit: Int) throws(PawlError) -> (ran: Int, nextDeadline: Timestamp?) {
        var ran = 0
        var deadline: Int64 = 0
        try check(pawl_store_run_due(handle(), limit, &ran, &deadline))
        return (ran, .unlessNever(deadline))
    }

    func startRunner(_ runner: Runner) throws(PawlError) {
        _ = try handle()
        try connection.start(runner)
    }

    func stopRunner() throws(PawlError) { try check(pawl_store_stop_runner(handle())) }

    func jobs(areDead: Bool, after: Job?, limit: Int) throws(PawlError) -> [Job] {
        let store = try handle()
        var row = after?.row ?? pawl_job.sized()
        let flags = areDead ? UInt32(PAWL_JOBS_DEAD) : 0
        return try withUnsafePointer(to: &row) { (row) throws(PawlError) in
            let start = after == nil ? nil : row
            return try View { pawl_store_jobs(store, flags, start, limit, $0) }
                .map(pawl_view_job, Job.init)
        }
    }

    func revive(_ job: Job) throws(PawlError) {
        try check(pawl_job_revive(handle(), job.kind.rawValue, job.subject.bytes))
    }

    func nudge() throws(PawlError) { try check(pawl_store_nudge(handle())) }

    // MARK: the store

    func stats() throws(PawlError) -> Stats {
        var stats = pawl_stats.sized()
        try check(pawl_store_stats(handle(), &stats))
        return Stats(stats)
    }

    func verify() throws(PawlError) -> [Damage] {
        let store = try handle()
        return try View { pawl_store_verify(store, $0) }.map(pawl_view_damage, Damage.init)
    }

    func copy(to path: String) throws(PawlError) {
        let store = try handle()
        try check(withBytes(of: path) { path, size in pawl_store_copy(store, path, size) })
    }

    func slots() throws(PawlError) -> [Slot] {
        let store = try handle()
        return try View { pawl_slot_list(store, $0) }.map(pawl_view_slot, Slot.init)
    }

    func addSlot(_ key: Key) throws(PawlError) -> Int {
        let store = try handle()
        var number: UInt32 = 0
        try check(key.withC { key in pawl_slot_add(store, &key, &number) })
        return Int(number)
    }

    func changeSlot(_ number: Int, _ key: Key) throws(PawlError) {
        let store = try handle()
        try check(key.withC { key in pawl_slot_change(store, slotNumber(number), &key) })
    }

    func removeSlot(_ number: Int) throws(PawlError) {
        try check(pawl_slot_remove(handle(), slotNumber(number)))
    }

    // MARK: batches

    func begin() throws(PawlError) -> Calls {
        var batch: OpaquePointer?
        try check(pawl_batch_begin(handle(), &batch))
        guard let batch else { throw PawlError(PAWL_INTERNAL) }
        return Calls(self, batch: batch)
    }

    /// Ends a batch; one whose store is being closed writes nothing any more.
    func commit() throws(PawlError) {
        do throws(PawlError) {
            _ = try handle()
        } catch {
            rollback()
            throw error
        }
        try check(pawl_batch_commit(pointer))
    }

    func rollback() { pawl_batch_rollback(pointer) }

    // MARK: arguments

    private typealias NamedCall = (
        OpaquePointer?, UnsafePointer<pawl_scope>?, UnsafeRawPointer?, Int,
        UnsafeMutablePointer<OpaquePointer?>?
    ) -> pawl_status

    private func view(
        _ name: String, _ scope: Scope, _ call: NamedCall
    ) throws(PawlError) -> View {
        let store = try handle()
        return try View { view in
            withNamed(name, scope) { scope, name, nameSize in
                call(store, scope, name, nameSize, view)
            }
        }
    }

    private func withNamed(
        _ name: String, _ scope: Scope,
        _ body: (UnsafePointer<pawl_scope>, UnsafeRawPointer?, Int) -> pawl_status
    ) -> pawl_status {
        scope.withC { scope in
            withUnsafePointer(to: scope) { scope in
                withBytes(of: name) { name, size in body(scope, name, size) }
            }
        }
    }

    /// A number that no slot has, if it does not fit.
    private func slotNumber(_ number: Int) -> UInt32 { UInt32(exactly: number) ?? .max }
}

/// C's 0 is "the default" and its -1 "none"; in Swift nil is the default and zero is none.
func zeroMeansNone(_ duration: Duration?) -> Int64 {
    guard let duration else { return 0 }
    return duration <= .zero ? -1 : max(duration.wholeNanoseconds, 1)
}

/// C's 0 is "the default"; in Swift nil is, and zero is the shortest time there is.
func nilMeansDefault(_ duration: Duration?) -> Int64 {
    guard let duration else { return 0 }
    return duration < .zero ? min(duration.wholeNanoseconds, -1) : max(duration.wholeNanoseconds, 1)
}
