/// One write transaction, lent to the closure of a store's `batch`. What is written through it is
/// seen by others all at once, after the closure returns; if the closure throws, nothing was
/// written.
///
/// Each call is all or nothing by itself: after one that failed, the batch goes on. A batch cannot
/// be kept, copied or handed to another task. With a host's vault, what would call it is refused
/// with ``PawlError/Reason/stateBatch``.
public struct Batch: ~Copyable {
    let calls: Calls

    init(_ calls: Calls) { self.calls = calls }

    /// Creates or replaces a secret, see ``Store/put(_:_:in:_:)``.
    @discardableResult
    public borrowing func put(
        _ name: String, _ secret: Secret, in scope: Scope, _ options: PutOptions = PutOptions()
    ) throws(PawlError) -> UInt64 {
        try calls.put(name, secret, scope, options)
    }

    /// The secret and its metadata, see ``Store/get(_:in:)``.
    public borrowing func get(_ name: String, in scope: Scope) throws(PawlError) -> Credential {
        try calls.get(name, scope)
    }

    /// The metadata alone, see ``Store/metadata(_:in:)``.
    public borrowing func metadata(
        _ name: String, in scope: Scope
    ) throws(PawlError) -> Credential.Metadata {
        try calls.metadata(name, scope)
    }

    /// Whether there is one, see ``Store/has(_:in:)``.
    public borrowing func has(_ name: String, in scope: Scope) throws(PawlError) -> Bool {
        try calls.has(name, scope)
    }

    /// One page of a scope, see ``Store/list(in:after:limit:)``.
    public borrowing func list(
        in scope: Scope, after name: String? = nil, limit: Int = 1000
    ) throws(PawlError) -> [Credential.Metadata] {
        try calls.list(scope, after: name ?? "", limit: limit)
    }

    /// Deleted versions that can be restored, see ``Store/deleted(_:in:)``.
    public borrowing func deleted(
        _ name: String, in scope: Scope
    ) throws(PawlError) -> [Credential.Metadata] {
        try calls.deleted(name, scope)
    }

    /// Deletes a credential, see ``Store/delete(_:in:recovery:)``.
    public borrowing func delete(
        _ name: String, in scope: Scope, recovery: Duration = .zero
    ) throws(PawlError) {
        try calls.delete(name, scope, recovery: recovery)
    }

    /// Brings a deleted version back, see ``Store/restore(_:in:version:)``.
    public borrowing func restore(
        _ name: String, in scope: Scope, version: UInt64? = nil
    ) throws(PawlError) {
        try calls.restore(name, scope, version: version)
    }

    /// Deletes a whole scope, see ``Store/deleteAll(in:)``.
    @discardableResult
    public borrowing func deleteAll(in scope: Scope) throws(PawlError) -> Int {
        try calls.deleteAll(scope, allProjects: false)
    }

    /// Deletes all projects of a user, see ``Store/deleteAll(ofUser:)``.
    @discardableResult
    public borrowing func deleteAll(ofUser user: String) throws(PawlError) -> Int {
        try calls.deleteAll(Scope(user: user), allProjects: true)
    }

    /// Unfinished writes to the vault, see ``Store/orphans(after:limit:)``.
    public borrowing func orphans(
        after id: VaultID? = nil, limit: Int = 1000
    ) throws(PawlError) -> [Orphan] {
        try calls.orphans(after: id, limit: limit)
    }

    /// Draws an identity under a name, see ``Store/createAccount(named:)``.
    public borrowing func createAccount(named name: String) throws(PawlError) -> Account.ID {
        try calls.createAccount(name)
    }

    /// One account, see ``Store/account(_:)``.
    public borrowing func account(_ id: Account.ID) throws(PawlError) -> Account {
        try calls.account(id)
    }

    /// One page of accounts, see ``Store/accounts(after:limit:)``.
    public borrowing func accounts(
        after id: Account.ID? = nil, limit: Int = 1000
    ) throws(PawlError) -> [Account] {
        try calls.accounts(after: id, limit: limit)
    }

    /// Erases an account, see ``Store/deleteAccount(_:)``.
    public borrowing func deleteAccount(_ id: Account.ID) throws(PawlError) {
        try calls.deleteAccount(id)
    }

    /// Damaged records as this transaction sees them, see ``Store/verify()``.
    public borrowing func verify() throws(PawlError) -> [Damage] { try calls.verify() }

    /// Counters of this batch alone.
    public borrowing func stats() throws(PawlError) -> Stats { try calls.stats() }
}
