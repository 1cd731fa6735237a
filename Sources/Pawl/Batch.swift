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

    /// Draws a key package, see ``Account/createPackage(oneTimeKeys:lifetime:)``.
    public borrowing func createPackage(
        for account: Account.ID, oneTimeKeys: Int = 100, lifetime: Duration? = nil
    ) throws(PawlError) -> (package: KeyPackage, oneTimeKeys: [OneTimeKey]) {
        try calls.createPackage(account, oneTimeKeys: oneTimeKeys, lifetime: lifetime)
    }

    /// The packages of an account, see ``Account/packages()``.
    public borrowing func packages(of account: Account.ID) throws(PawlError) -> [KeyPackage] {
        try calls.packages(account)
    }

    /// Erases a package's private half, see ``Account/deletePackage(_:)``.
    public borrowing func deletePackage(
        _ package: KeyPackage.ID, of account: Account.ID
    ) throws(PawlError) {
        try calls.deletePackage(package, account)
    }

    /// Sets the weakest suite of an account, see ``Account/setMinimumSuite(_:)``.
    public borrowing func setMinimumSuite(
        _ suite: Suite, of account: Account.ID
    ) throws(PawlError) {
        try calls.setMinimumSuite(suite, account)
    }

    /// A peer, see ``Account/peer(named:)``.
    public borrowing func peer(
        named name: String, of account: Account.ID
    ) throws(PawlError) -> Peer {
        try calls.peer(name, account)
    }

    /// One page of peers, see ``Account/peers(after:limit:)``.
    public borrowing func peers(
        of account: Account.ID, after name: String? = nil, limit: Int = 1000
    ) throws(PawlError) -> [Peer] {
        try calls.peers(account, after: name ?? "", limit: limit)
    }

    /// Says what the user thinks of an identity, see ``Account/trust(_:as:)``.
    public borrowing func trust(
        _ identity: Identity, as trust: Peer.Trust, for account: Account.ID
    ) throws(PawlError) {
        try calls.trust(identity, trust, account)
    }

    /// Allows a weaker suite again, see ``Account/allowSuite(_:ofPeerNamed:)``.
    public borrowing func allowSuite(
        _ suite: Suite, ofPeerNamed name: String, for account: Account.ID
    ) throws(PawlError) {
        try calls.allowSuite(suite, name, account)
    }

    /// Starts a session, see ``Account/startSession(with:package:)``.
    public borrowing func startSession(
        with name: String, package: [UInt8], for account: Account.ID
    ) throws(PawlError) -> Session {
        try calls.startSession(name, package, account)
    }

    /// Starts a session in place of a desynchronized one, see ``Session/reset(with:)``.
    public borrowing func resetSession(
        _ session: Session.ID, with package: [UInt8]
    ) throws(PawlError) -> Session {
        try calls.resetSession(session, package)
    }

    /// Erases a session's keys, see ``Session/close()``.
    public borrowing func closeSession(_ session: Session.ID) throws(PawlError) {
        try calls.closeSession(session)
    }

    /// How a session stands, see ``Session/status()``.
    public borrowing func status(of session: Session.ID) throws(PawlError) -> Session.Status {
        try calls.session(session)
    }

    /// All sessions with one peer, see ``Account/sessions(with:)``.
    public borrowing func sessions(
        with name: String, of account: Account.ID
    ) throws(PawlError) -> [Session.Status] {
        try calls.sessions(name, account)
    }

    /// Encrypts a message, see ``Session/encrypt(_:)``. In a batch only indices that were reserved
    /// before it are used: ``PawlError/Reason/stateReservation``.
    public borrowing func encrypt(
        _ plaintext: Secret, in session: Session.ID
    ) throws(PawlError) -> [UInt8] {
        try calls.encrypt(plaintext, session)
    }

    /// Encrypts a message and puts the frame into the outbox, see ``Session/send(_:)``.
    @discardableResult
    public borrowing func send(
        _ plaintext: Secret, in session: Session.ID
    ) throws(PawlError) -> Item.ID {
        try calls.send(plaintext, session)
    }

    /// Decrypts a frame, see ``Account/receive(_:keep:)``.
    public borrowing func receive(
        _ frame: [UInt8], for account: Account.ID, keep: Bool = false
    ) throws(PawlError) -> Received {
        try calls.receive(frame, account, keep: keep)
    }

    /// Decrypts several frames, see ``Account/receiveMany(_:keep:)``.
    public borrowing func receiveMany(
        _ frames: [[UInt8]], for account: Account.ID, keep: Bool = false
    ) throws(PawlError) -> [Result<Received, PawlError>] {
        try calls.receiveMany(frames, account, keep: keep)
    }

    /// Messages that are kept, see ``Session/kept(limit:)``.
    public borrowing func kept(
        in session: Session.ID, limit: Int = 1000
    ) throws(PawlError) -> [Session.Kept] {
        try calls.kept(session, limit: limit)
    }

    /// Erases a kept message, see ``Session/forget(epoch:index:)``.
    public borrowing func forget(
        epoch: UInt32, index: UInt32, in session: Session.ID
    ) throws(PawlError) {
        try calls.forget(session, epoch: epoch, index: index)
    }

    /// Keeps history or erases it, see ``Account/keepHistory(_:)``.
    public borrowing func keepHistory(_ on: Bool, of account: Account.ID) throws(PawlError) {
        try calls.keepHistory(on, account)
    }

    /// Whether an account keeps history, see ``Account/keepsHistory()``.
    public borrowing func keepsHistory(of account: Account.ID) throws(PawlError) -> Bool {
        try calls.keepsHistory(account)
    }

    /// One page of what is kept, see ``Account/history(after:limit:)``.
    public borrowing func history(
        of account: Account.ID, after row: History? = nil, limit: Int = 1000
    ) throws(PawlError) -> [History] {
        try calls.history(account, after: row, limit: limit)
    }

    /// Opens a stored frame, see ``Account/openHistory(_:)``.
    public borrowing func openHistory(
        _ frame: [UInt8], of account: Account.ID
    ) throws(PawlError) -> HistoryMessage {
        try calls.openHistory(frame, account)
    }

    /// Settles items, see ``Store/ack(_:)``.
    public borrowing func ack(_ items: [Item.ID]) throws(PawlError) { try calls.ack(items) }

    /// Gives an item back, see ``Store/fail(_:retryAfter:)``.
    public borrowing func fail(
        _ item: Item.ID, retryAfter: Duration? = nil
    ) throws(PawlError) {
        try calls.fail(item, retryAfter: retryAfter)
    }

    /// Settles a request, see ``Store/answer(_:with:)``.
    public borrowing func answer(_ item: Item.ID, with body: [UInt8] = []) throws(PawlError) {
        try calls.answer(item, body)
    }

    /// Damaged records as this transaction sees them, see ``Store/verify()``.
    public borrowing func verify() throws(PawlError) -> [Damage] { try calls.verify() }

    /// Counters of this batch alone.
    public borrowing func stats() throws(PawlError) -> Stats { try calls.stats() }
}
