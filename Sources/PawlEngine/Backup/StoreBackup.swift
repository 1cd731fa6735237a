package import PawlCore
package import PawlCrypto
package import PawlStore

/// The host's side of a backup: what is wanted, what is backed up, and what the server answered.
extension Store {
    // MARK: Commands

    package func backup(_ account: Identifier) throws(Failure) -> BackupReport {
        let machine = try transact(.read) { (transaction) throws(Failure) in
            _ = try transaction.accountRecord(account)
            return try transaction.backup(of: account)
        }
        guard let machine else { throw .notFound }
        return BackupReport(machine, machine.snapshot)
    }

    /// A damaged record is replaced by a new one.
    package func commandBackup(_ account: Identifier, _ input: Backup.Input) throws(Failure) {
        defer { lookAgain() }
        if case .restore = input { try refuseVault() }
        try transact(.write) { (transaction) throws(Failure) in
            try transaction.beginBackup(of: account)
            guard let machine = try transaction.step(account, input) else { throw .internal }
            // What nobody wants any more is not asked for.
            try transaction.dropItems(
                in: OutboxLane(.backup, account), where: { !machine.awaits($0) })
        }
    }

    /// nil: one that is drawn.
    package static func backupSecret(_ key: UnlockKey?) throws(Failure) -> SecretBuffer {
        switch key {
        case .raw(let bytes): return try SecretBuffer(copying: bytes)
        case .recovery(let text): return try RecoveryKey.decode(text, .backup)
        case .passphrase: throw .misuse(.key)
        case nil:
            let secret = try SecretBuffer(count: BackupKeys.secretSize)
            fillRandom(secret.mutableBytes)
            return secret
        }
    }

    package func backupRecoveryKey(_ account: Identifier) throws(Failure) -> SecretBuffer {
        let secret = try heldBackup(account).secret
        let text = try RecoveryKey.text(of: secret.bytes, .backup)
        return withExtendedLifetime(secret) { text }
    }

    private func heldBackup(_ account: Identifier) throws(Failure) -> Backup.Held {
        let held = try transact(.read) { (transaction) throws(Failure) in
            _ = try transaction.accountRecord(account)
            return try transaction.backup(of: account)?.key
        }
        guard let held else { throw .state(.backup) }
        return held
    }

    // MARK: What is backed up

    package func includeInBackup(
        _ account: Identifier, _ scope: Scope, allProjects: Bool
    ) throws(Failure) {
        guard shared.vault == nil else { throw .state(.batch) }
        let rows = try backupRows(scope, allProjects: allProjects)
        defer { lookAgain() }
        try transact(.write) { (transaction) throws(Failure) in
            var isThere = false
            try transaction.getRaw(.backupScope(rows, account)) { (_) in isThere = true }
            guard !isThere else { throw .exists }
            try transaction.beginBackup(of: account)
            try transaction.include(rows, scope, account)
        }
    }

    package func excludeFromBackup(
        _ account: Identifier, _ scope: Scope, allProjects: Bool
    ) throws(Failure) {
        let row = try RowKey.backupScope(backupRows(scope, allProjects: allProjects), account)
        try transact(.write) { (transaction) throws(Failure) in
            var isThere = false
            try transaction.getRaw(row) { (_) in isThere = true }
            guard isThere else { throw .notFound }
            transaction.delete(row)
        }
    }

    private func backupRows(_ scope: Scope, allProjects: Bool) throws(Failure) -> RowKey {
        guard allProjects else { return try scopeKey(scope) }
        guard scope.project.isEmpty else { throw .misuse(.project) }
        return try userKey(scope)
    }

    // MARK: One item

    package func fetchBackup(
        _ account: Identifier, _ scope: Scope, _ name: Bytes
    ) throws(Failure) {
        guard name.isText(CredentialRules.nameSizes) else { throw .misuse(.name) }
        let id = try BackupItem.id(user: scope.user, project: scope.project, name: name)
        try fetchBackup(account, [.credential(id)])
    }

    package func fetchBackup(
        _ account: Identifier, session: Identifier, epoch: UInt32
    ) throws(Failure) {
        try fetchBackup(
            account,
            [
                .history(session: session, epoch: epoch, from: .initiator),
                .history(session: session, epoch: epoch, from: .responder),
            ])
    }

    private func fetchBackup(
        _ account: Identifier, _ names: [BackupItem.Name]
    ) throws(Failure) {
        guard shared.vault == nil else { throw .state(.batch) }
        defer { lookAgain() }
        try transact(.write) { (transaction) throws(Failure) in
            _ = try transaction.accountRecord(account)
            guard var machine = try transaction.backup(of: account), machine.active != nil,
                let secret = machine.key?.secret
            else { throw .state(.backup) }
            let keys = try BackupKeys(secret.bytes)
            withExtendedLifetime(secret) {}
            for name in names {
                try transaction.step(account, &machine, .fetch(keys.place(of: name)))
            }
        }
    }

    // MARK: The secret

    /// Fills `out`, which holds `BackupShare.size` bytes.
    package func shareBackup(
        over session: Identifier, to request: UInt64, into out: UnsafeMutableRawBufferPointer
    ) throws(Failure) {
        try transact(.read) { (transaction) throws(Failure) in
            let conversation = try transaction.session(session)
            guard try conversation.isVerified() else { throw .state(.identity) }
            guard let machine = try transaction.backup(of: conversation.session.account),
                machine.active != nil, let key = machine.key
            else { throw .state(.backup) }
            try BackupShare.write(to: request, highest: machine.highest, key.secret, into: out)
        }
    }

    package func receiveBackup(over session: Identifier, _ bytes: Bytes) throws(Failure) {
        let share = try BackupShare(bytes)
        defer { lookAgain() }
        try transact(.write) { (transaction) throws(Failure) in
            let conversation = try transaction.session(session)
            let account = conversation.session.account
            let isOwn = try conversation.isVerified()
            // It was not asked for by one that is not there.
            guard try transaction.readableBackup(of: account) != nil else {
                throw .state(.backup)
            }
            try transaction.step(
                account,
                .secretReceived(
                    share.secret, highest: share.highest, request: share.request, isOwn: isOwn))
        }
    }

    // MARK: Answers

    package func answerBackup(_ seq: UInt64, _ reply: BackupReply) throws(Failure) {
        defer { lookAgain() }
        let item = try transact(.read) { (transaction) throws(Failure) in
            try transaction.item(seq)
        }
        guard let item else { return }
        guard item.lane.kind == .backup else { throw .misuse(.flags) }
        guard !isBatch || reply.entries.isEmpty else { throw .state(.batch) }
        let restored = try bringIn(reply, of: item, seq)
        try transact(.write) { (transaction) throws(Failure) in
            guard let item = try transaction.item(seq) else { return }
            if var machine = try transaction.readableBackup(of: item.account) {
                if let restored, machine.awaits(item.count) {
                    try transaction.keep(restored.check, item.account)
                }
                if reply.result == .done, machine.isUploading(item.count) {
                    try transaction.noteWritten(machine, item.account)
                }
                let answer = try reply.answer(to: item, restored?.progress)
                try transaction.step(
                    item.account, &machine, .answered(item.count, answer),
                    check: restored?.check)
                if let check = restored?.check, check.count > 0, let shown = check.shown {
                    machine.doubt(shown.version)
                    transaction.backups.machines[item.account] = machine
                }
            }
            try transaction.settle(seq)
        }
        guard restored?.check != nil else { return }
        var background = Background(self, reply.isClosing)
        try forgetShown(item.account, &background) { (transaction) throws(Failure) in
            // The next restore forgets it by itself, and then remembers what it is shown.
            try transaction.readableBackup(of: item.account)?.restoring == nil
        }
    }
}

/// How a request ended, as the host has it.
package struct BackupReply {
    package enum Result: UInt32 {
        case done = 0
        case wrongVersion = 1
        case noVersion = 2
        case noItem = 3
        case rateLimited = 4
        case failed = 5
    }
    package static let entryLimit = 10_000

    package let result: Result
    /// 0: the server did not say.
    package let until: Int64
    package let count: UInt64
    package let version: Bytes
    package let body: Bytes
    package let entries: [BackupRequest.Entry]
    /// Asked between two entries.
    let isClosing: (() -> Bool)?

    package init(
        _ result: Result, until: Int64, count: UInt64, version: Bytes, body: Bytes,
        entries: [BackupRequest.Entry], isClosing: (() -> Bool)? = nil
    ) {
        self.result = result
        self.until = until
        self.count = count
        self.version = version
        self.body = body
        self.entries = entries
        self.isClosing = isClosing
    }

    fileprivate func answer(
        to item: OutboxItem, _ progress: Backup.Progress?
    ) throws(Failure) -> Backup.Answer {
        switch result {
        case .done: break
        case .wrongVersion: return .wrongVersion
        case .noVersion: return .noVersion
        case .noItem: return .noKey
        case .rateLimited: return .rateLimited(until: until > 0 ? until : nil)
        case .failed: return .failed
        }
        switch BackupAsk(rawValue: item.what) {
        case .version:
            do throws(Failure) {
                let version = try BackupVersion(
                    number: [UInt8](version), body: BackupVersion.Body(decoding: body))
                return .current(version, count: count)
            } catch {
                switch error {
                case .corrupt, .version: return .malformed
                default: throw error
                }
            }
        case .create: return .created(number: [UInt8](version))
        case .escrow, .delete, .secret: return .done
        case .put: return .stored(count: count)
        case .page:
            guard let progress, body.count <= Backup.cursorLimit else { return .malformed }
            return .page(progress, next: body.isEmpty ? nil : [UInt8](body))
        case .item:
            guard let progress, progress.isOfUse else { return .noKey }
            return .item(progress)
        case nil: throw .version
        }
    }
}

extension Conversation {
    /// The host has said that the peer is who it should be.
    fileprivate func isVerified() throws(Failure) -> Bool {
        guard peer.trust == .verified else { return false }
        return session.peer.hasSameKeys(as: try peer.identity)
    }
}

extension Transaction {
    func include(
        _ rows: RowKey, _ scope: Scope, _ account: Identifier
    ) throws(Failure) {
        let record = try SecretBuffer(count: 4 + scope.user.count + scope.project.count)
        var writer = ByteWriter(record.mutableBytes)
        writer.field(scope.user, UInt16.self)
        writer.field(scope.project, UInt16.self)
        try writer.finish()
        put(.backupScope(rows, account), record)
        try noteAll(of: rows, account)
    }

    /// The host gave a request up.
    func giveUpBackup(_ item: OutboxItem) throws(Failure) {
        guard item.lane.kind == .backup,
            var machine = try readableBackup(of: item.account)
        else { return }
        try step(item.account, &machine, .answered(item.count, .failed))
    }
}
