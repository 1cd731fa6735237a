import CPawl

extension Account {
    // MARK: Versions

    /// Makes the first version of a backup. ``Backup/Refusal/exists`` comes if there is one, here or on
    /// the server. What it takes goes through the outbox, see ``Item/Request/backup(_:)``.
    ///
    /// - Parameters:
    ///   - key: its secret, a recovery key of ``RecoveryKey/Kind/backup`` or 32 raw bytes; nil: one is
    ///     drawn, see ``backupRecoveryKey()``.
    ///   - escrow: whether the host is asked to put the recovery key away before.
    /// - Throws: ``PawlError/Reason/misuseKey`` (a passphrase: see ``RecoveryKey/wrapped(for:)``; or
    ///   the secret of the version before), ``PawlError/Reason/misuseRecovery``, ``PawlError/Code/notFound`` (no such account any more).
    public func createBackup(
        with key: Key? = nil, escrow: Bool = false
    ) async throws(PawlError) {
        try await store.run { calls throws(PawlError) in
            try calls.makeBackup(id, key, escrow: escrow, pawl_backup_create)
        }
    }

    /// Makes the next version, with another secret, whatever there is, and fills it. Takes the same
    /// time however much is to be uploaded. The version before is deleted then, if all that is in it is
    /// here: if this account made it or has restored it to its end, and its last restore left nothing
    /// out and found nothing wrong. If not, it stays on the server until ``deleteBackup()``. Where the
    /// server's version has this very secret, ``Backup/Refusal/exists`` comes.
    ///
    /// - Parameters:
    ///   - key: as in ``createBackup(with:escrow:)``.
    ///   - escrow: the same.
    /// - Throws: what ``createBackup(with:escrow:)`` does.
    public func resetBackup(
        with key: Key? = nil, escrow: Bool = false
    ) async throws(PawlError) {
        try await store.run { calls throws(PawlError) in
            try calls.makeBackup(id, key, escrow: escrow, pawl_backup_reset)
        }
    }

    /// Turns the backup on, if it is off, and has the server asked which version is current. That
    /// becomes active if its secret is here.
    ///
    /// - Throws: ``PawlError/Code/notFound`` (no such account any more).
    public func enableBackup() async throws(PawlError) {
        try await store.run { calls throws(PawlError) in
            try calls.backup(id, pawl_backup_enable)
        }
    }

    /// Turns the backup off. What the server has stays there.
    ///
    /// - Throws: ``PawlError/Code/notFound`` (no such account any more).
    public func disableBackup() async throws(PawlError) {
        try await store.run { calls throws(PawlError) in
            try calls.backup(id, pawl_backup_disable)
        }
    }

    /// Turns the backup off, has the server delete its versions, 8 at most
    /// (``Backup/Refusal/endless``), and forgets the secret.
    ///
    /// - Throws: ``PawlError/Code/notFound`` (no such account any more).
    public func deleteBackup() async throws(PawlError) {
        try await store.run { calls throws(PawlError) in
            try calls.backup(id, pawl_backup_delete)
        }
    }

    /// Turns the backup on with a secret that its owner kept. The version that the server has becomes
    /// active if it is its secret; if not, ``Backup/Refusal/wrongKey``, ``Backup/Refusal/noBackup`` or
    /// ``Backup/Refusal/rolledBack`` comes.
    ///
    /// - Throws: ``PawlError/Reason/misuseRecovery`` (a typing error),
    ///   ``PawlError/Reason/misuseRecoveryPrefix`` (of another kind),
    ///   ``PawlError/Reason/misuseKey`` (a passphrase: see ``RecoveryKey/init(unwrapping:with:)``).
    public func recoverBackup(with key: Key) async throws(PawlError) {
        try await store.run { calls throws(PawlError) in try calls.recoverBackup(id, key) }
    }

    /// The recovery key of the version whose secret is here, for its owner to keep.
    ///
    /// - Throws: ``PawlError/Reason/stateBackup`` (none is).
    public func backupRecoveryKey() async throws(PawlError) -> RecoveryKey {
        try await store.run { calls throws(PawlError) in try calls.backupRecoveryKey(id) }
    }

    /// The state of the backup.
    ///
    /// - Throws: ``PawlError/Code/notFound`` (nothing was ever wanted of it).
    public func backup() async throws(PawlError) -> Backup {
        try await store.run { calls throws(PawlError) in try calls.backup(id) }
    }

    // MARK: What is backed up

    /// Backs up the credentials of a scope from now on, those that are there and those to come, and has
    /// them come back in a restore. A deleted one leaves the server, too, and an expired one; one that
    /// is put into a vault later is not backed up any more. History is backed up if it is kept, see
    /// ``keepHistory(_:)``.
    ///
    /// - Throws: ``PawlError/Code/exists``, ``PawlError/Reason/stateBatch`` (the store has a vault),
    ///   ``PawlError/Reason/misuseUser``, ``PawlError/Reason/misuseProject``.
    public func includeInBackup(_ scope: Scope) async throws(PawlError) {
        try await store.run { calls throws(PawlError) in
            try calls.backUp(scope, 0, id, pawl_backup_include)
        }
    }

    /// The same for all projects of a user.
    public func includeInBackup(user: String) async throws(PawlError) {
        try await store.run { calls throws(PawlError) in
            try calls.backUp(
                Scope(user: user), PAWL_BACKUP_ALL_PROJECTS, id, pawl_backup_include)
        }
    }

    /// Does not back up a scope any longer. What is in the backup stays in it until the next reset.
    ///
    /// - Throws: ``PawlError/Code/notFound`` (it was not included).
    public func excludeFromBackup(_ scope: Scope) async throws(PawlError) {
        try await store.run { calls throws(PawlError) in
            try calls.backUp(scope, 0, id, pawl_backup_exclude)
        }
    }

    /// The same for all projects of a user.
    public func excludeFromBackup(user: String) async throws(PawlError) {
        try await store.run { calls throws(PawlError) in
            try calls.backUp(
                Scope(user: user), PAWL_BACKUP_ALL_PROJECTS, id, pawl_backup_exclude)
        }
    }

    // MARK: What comes back

    /// Fetches all that the active version has, page by page, or goes on where that was stopped. What
    /// is here and as good stays: a credential that was updated as late, history that reaches as far
    /// back. Credentials come back of scopes that were included. Nothing is uploaded until it is over or stopped,
    /// unless it fails again and again. ``Item/Event/backupRestored(_:)`` comes at its end.
    ///
    /// - Parameter acceptOlder: if no version is active, from an older one that is offered, see
    ///   ``Backup/canRestoreOlder``.
    /// - Throws: ``PawlError/Reason/stateBatch`` (the store has a vault).
    public func restoreBackup(acceptOlder: Bool = false) async throws(PawlError) {
        try await store.run { calls throws(PawlError) in
            try calls.restoreBackup(id, acceptOlder: acceptOlder)
        }
    }

    /// Stops a restore after the page that is on its way.
    public func stopRestoringBackup() async throws(PawlError) {
        try await store.run { calls throws(PawlError) in
            try calls.backup(id, pawl_backup_stop_restore)
        }
    }

    /// Fetches one credential.
    ///
    /// - Throws: ``PawlError/Reason/stateBackup`` (no version is active),
    ///   ``PawlError/Reason/stateBatch`` (the store has a vault), ``PawlError/Reason/misuseName``.
    public func fetchFromBackup(_ name: String, in scope: Scope) async throws(PawlError) {
        try await store.run { calls throws(PawlError) in
            try calls.fetchFromBackup(id, name, scope)
        }
    }

    /// Fetches the history of both directions of an epoch.
    ///
    /// - Throws: ``PawlError/Reason/stateBackup`` (no version is active),
    ///   ``PawlError/Reason/stateBatch`` (the store has a vault).
    public func fetchFromBackup(
        session: Session.ID, epoch: UInt32
    ) async throws(PawlError) {
        try await store.run { calls throws(PawlError) in
            try calls.fetchFromBackup(id, session, epoch)
        }
    }

    /// Asks the user's other accounts for the secret. A request names a number,
    /// ``BackupRequest/secret(_:)``, for which one of them calls ``Session/shareBackup(for:)``.
    public func askForBackupSecret() async throws(PawlError) {
        try await store.run { calls throws(PawlError) in try calls.backup(id, pawl_backup_ask) }
    }
}

extension Session {
    /// The secret of this account's backup, for another account of the same user to receive as a
    /// message of this session. Whoever has the result has the backup. Both must have verified each
    /// other, see ``Account/trust(_:as:)``.
    ///
    /// - Parameter request: the number that the other account's request names.
    /// - Returns: 49 bytes, for ``receiveBackup(_:)``.
    /// - Throws: ``PawlError/Reason/stateIdentity`` (the peer is not verified),
    ///   ``PawlError/Reason/stateBackup`` (no version is active), ``PawlError/Code/notFound``.
    public func shareBackup(for request: UInt64) async throws(PawlError) -> Secret {
        try await store.run { calls throws(PawlError) in try calls.shareBackup(id, request) }
    }

    /// Takes the secret that came as a message of this session. It is kept until the server was asked
    /// which version is current, and judged by the answer: see ``Backup/Refusal``.
    ///
    /// - Throws: ``PawlError/Code/corrupt`` (not what ``shareBackup(for:)`` gives),
    ///   ``PawlError/Reason/stateBackup`` (no backup was ever wanted here), ``PawlError/Code/notFound``.
    public func receiveBackup(_ shared: Secret) async throws(PawlError) {
        try await store.run { calls throws(PawlError) in try calls.receiveBackup(id, shared) }
    }
}

extension RecoveryKey {
    /// Seals a recovery key of ``Kind/backup``, so that it can be kept on a server by whoever wants
    /// that: who has the result can try passphrases. A passphrase costs its Argon2id time and memory
    /// on the thread of the caller.
    ///
    /// - Returns: at most 512 bytes.
    /// - Throws: ``PawlError/Reason/misuseRecovery``, ``PawlError/Reason/misuseRecoveryPrefix``,
    ///   ``PawlError/Reason/misuseHashing``.
    public func wrapped(for key: Key) throws(PawlError) -> [UInt8] {
        var out = [UInt8](repeating: 0, count: Int(PAWL_RECOVERY_WRAPPED_SIZE_MAX))
        var count = 0
        try check(
            key.withC { key in
                secret.withUnsafeBytes { text in
                    pawl_recovery_wrap(
                        text.baseAddress, text.count, &key, &out, out.count, &count)
                }
            })
        return Array(out.prefix(count))
    }

    /// The recovery key that was sealed by ``wrapped(for:)``.
    ///
    /// - Throws: ``PawlError/Code/auth`` (another key), ``PawlError/Code/corrupt``,
    ///   ``PawlError/Reason/corruptNotPawl``.
    public init(unwrapping wrapped: [UInt8], with key: Key) throws(PawlError) {
        self = try RecoveryKey.read { (out, size, count) in
            key.withC { key in
                pawl_recovery_unwrap(wrapped, wrapped.count, &key, out, size, count)
            }
        }
    }
}

extension Batch {
    /// Makes the first version of a backup, see ``Account/createBackup(with:escrow:)``.
    public borrowing func createBackup(
        of account: Account.ID, with key: Key? = nil, escrow: Bool = false
    ) throws(PawlError) {
        try calls.makeBackup(account, key, escrow: escrow, pawl_backup_create)
    }

    /// Makes the next version, see ``Account/resetBackup(with:escrow:)``.
    public borrowing func resetBackup(
        of account: Account.ID, with key: Key? = nil, escrow: Bool = false
    ) throws(PawlError) {
        try calls.makeBackup(account, key, escrow: escrow, pawl_backup_reset)
    }

    /// Turns a backup on, see ``Account/enableBackup()``.
    public borrowing func enableBackup(of account: Account.ID) throws(PawlError) {
        try calls.backup(account, pawl_backup_enable)
    }

    /// Turns a backup off, see ``Account/disableBackup()``.
    public borrowing func disableBackup(of account: Account.ID) throws(PawlError) {
        try calls.backup(account, pawl_backup_disable)
    }

    /// Has a backup deleted, see ``Account/deleteBackup()``.
    public borrowing func deleteBackup(of account: Account.ID) throws(PawlError) {
        try calls.backup(account, pawl_backup_delete)
    }

    /// Turns a backup on with its secret, see ``Account/recoverBackup(with:)``.
    public borrowing func recoverBackup(
        of account: Account.ID, with key: Key
    ) throws(PawlError) {
        try calls.recoverBackup(account, key)
    }

    /// The recovery key of a backup, see ``Account/backupRecoveryKey()``.
    public borrowing func backupRecoveryKey(
        of account: Account.ID
    ) throws(PawlError) -> RecoveryKey {
        try calls.backupRecoveryKey(account)
    }

    /// The state of a backup, see ``Account/backup()``.
    public borrowing func backup(of account: Account.ID) throws(PawlError) -> Backup {
        try calls.backup(account)
    }

    /// Backs up the credentials of a scope, see ``Account/includeInBackup(_:)``.
    public borrowing func includeInBackup(
        _ scope: Scope, of account: Account.ID
    ) throws(PawlError) {
        try calls.backUp(scope, 0, account, pawl_backup_include)
    }

    /// The same for all projects of a user.
    public borrowing func includeInBackup(
        user: String, of account: Account.ID
    ) throws(PawlError) {
        try calls.backUp(
            Scope(user: user), PAWL_BACKUP_ALL_PROJECTS, account, pawl_backup_include)
    }

    /// Does not back up a scope any longer, see ``Account/excludeFromBackup(_:)``.
    public borrowing func excludeFromBackup(
        _ scope: Scope, of account: Account.ID
    ) throws(PawlError) {
        try calls.backUp(scope, 0, account, pawl_backup_exclude)
    }

    /// The same for all projects of a user.
    public borrowing func excludeFromBackup(
        user: String, of account: Account.ID
    ) throws(PawlError) {
        try calls.backUp(
            Scope(user: user), PAWL_BACKUP_ALL_PROJECTS, account, pawl_backup_exclude)
    }

    /// Fetches all that a backup has, see ``Account/restoreBackup(acceptOlder:)``.
    public borrowing func restoreBackup(
        of account: Account.ID, acceptOlder: Bool = false
    ) throws(PawlError) {
        try calls.restoreBackup(account, acceptOlder: acceptOlder)
    }

    /// Stops a restore, see ``Account/stopRestoringBackup()``.
    public borrowing func stopRestoringBackup(of account: Account.ID) throws(PawlError) {
        try calls.backup(account, pawl_backup_stop_restore)
    }

    /// Fetches one credential, see ``Account/fetchFromBackup(_:in:)``.
    public borrowing func fetchFromBackup(
        _ name: String, in scope: Scope, of account: Account.ID
    ) throws(PawlError) {
        try calls.fetchFromBackup(account, name, scope)
    }

    /// Fetches the history of an epoch, see ``Account/fetchFromBackup(session:epoch:)``.
    public borrowing func fetchFromBackup(
        session: Session.ID, epoch: UInt32, of account: Account.ID
    ) throws(PawlError) {
        try calls.fetchFromBackup(account, session, epoch)
    }

    /// Asks the user's other accounts for the secret, see ``Account/askForBackupSecret()``.
    public borrowing func askForBackupSecret(of account: Account.ID) throws(PawlError) {
        try calls.backup(account, pawl_backup_ask)
    }

    /// The secret for another account, see ``Session/shareBackup(for:)``.
    public borrowing func shareBackup(
        for request: UInt64, in session: Session.ID
    ) throws(PawlError) -> Secret {
        try calls.shareBackup(session, request)
    }

    /// Takes a secret that came over a session, see ``Session/receiveBackup(_:)``.
    public borrowing func receiveBackup(
        _ shared: Secret, from session: Session.ID
    ) throws(PawlError) {
        try calls.receiveBackup(session, shared)
    }

    /// Answers a request, see ``Store/answer(_:_:)``. One with entries is ``PawlError/Reason/stateBatch``.
    public borrowing func answer(_ item: Item.ID, _ reply: BackupReply) throws(PawlError) {
        try calls.answer(item, reply)
    }
}

extension Calls {
    fileprivate func makeBackup(
        _ account: Account.ID, _ key: Key?, escrow: Bool,
        _ make: (OpaquePointer?, UnsafePointer<UInt8>?, UnsafePointer<pawl_key>?, UInt32) ->
            pawl_status
    ) throws(PawlError) {
        let store = try handle()
        let flags = escrow ? UInt32(PAWL_BACKUP_ESCROW) : 0
        guard let key else { return try check(make(store, account.bytes, nil, flags)) }
        try check(key.withC { make(store, account.bytes, &$0, flags) })
    }

    fileprivate func recoverBackup(_ account: Account.ID, _ key: Key) throws(PawlError) {
        let store = try handle()
        try check(key.withC { pawl_backup_recover(store, account.bytes, &$0) })
    }

    /// What needs nothing but an account.
    fileprivate func backup(
        _ account: Account.ID, _ call: (OpaquePointer?, UnsafePointer<UInt8>?) -> pawl_status
    ) throws(PawlError) {
        try check(call(handle(), account.bytes))
    }

    fileprivate func backup(_ account: Account.ID) throws(PawlError) -> Backup {
        var row = pawl_backup.sized()
        try check(pawl_backup_get(handle(), account.bytes, &row))
        return Backup(row)
    }

    fileprivate func backupRecoveryKey(_ account: Account.ID) throws(PawlError) -> RecoveryKey {
        let store = try handle()
        return try RecoveryKey.read { pawl_backup_recovery_key(store, account.bytes, $0, $1, $2) }
    }

    fileprivate func backUp(
        _ scope: Scope, _ flags: Int32, _ account: Account.ID,
        _ call: (OpaquePointer?, UnsafePointer<UInt8>?, UnsafePointer<pawl_scope>?, UInt32) ->
            pawl_status
    ) throws(PawlError) {
        let store = try handle()
        try check(scope.withC { call(store, account.bytes, &$0, UInt32(flags)) })
    }

    fileprivate func restoreBackup(
        _ account: Account.ID, acceptOlder: Bool
    ) throws(PawlError) {
        let flags = acceptOlder ? UInt32(PAWL_RESTORE_ACCEPT_OLDER) : 0
        try check(pawl_backup_restore(handle(), account.bytes, flags))
    }

    fileprivate func fetchFromBackup(
        _ account: Account.ID, _ name: String, _ scope: Scope
    ) throws(PawlError) {
        let store = try handle()
        try check(
            scope.withC { scope in
                withBytes(of: name) { name, size in
                    pawl_backup_fetch_credential(store, account.bytes, &scope, name, size)
                }
            })
    }

    fileprivate func fetchFromBackup(
        _ account: Account.ID, _ session: Session.ID, _ epoch: UInt32
    ) throws(PawlError) {
        try check(pawl_backup_fetch_history(handle(), account.bytes, session.bytes, epoch))
    }

    fileprivate func shareBackup(
        _ session: Session.ID, _ request: UInt64
    ) throws(PawlError) -> Secret {
        let store = try handle()
        return try withScratch(Int(PAWL_BACKUP_SHARE_SIZE)) { out throws(PawlError) in
            try check(
                pawl_backup_share(
                    store, session.bytes, request,
                    out.baseAddress?.assumingMemoryBound(to: UInt8.self)))
            return Secret(copying: UnsafeRawBufferPointer(out))
        }
    }

    fileprivate func receiveBackup(
        _ session: Session.ID, _ shared: Secret
    ) throws(PawlError) {
        let store = try handle()
        try check(
            shared.withUnsafeBytes { bytes in
                pawl_backup_receive(store, session.bytes, bytes.baseAddress, bytes.count)
            })
    }
}
