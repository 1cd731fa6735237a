internal import PawlCore
internal import PawlCrypto
internal import PawlStore

/// Backups as rows. An account's machine is read once in a call, and written when the call is over, together with the job
/// that follows from it. Items are numbered by their last change: a row finds the item of a number, another one the number of
/// an item. Both name the row that is backed up, a credential's or a history's.
extension RowKey {
    static func backup(_ account: Identifier) -> RowKey { of(.backup, account) }

    static func backupChange(_ account: Identifier, _ number: UInt64) -> RowKey {
        of(.backupChange, account).appending(number)
    }

    static func backupItem(_ account: Identifier, _ row: RowKey) -> RowKey {
        let key = of(.backupItem, account)
        return row.withBytes { key.appending($0) }
    }

    static func backupWriters(_ account: Identifier, _ version: BackupVersion) -> RowKey {
        of(.backupWriters, account).appending(version.generation).appending(version.hash.first)
    }

    static func backupPage(
        _ account: Identifier, _ version: BackupVersion, _ number: UInt64
    ) -> RowKey {
        of(.backupPage, account).appending(version.generation).appending(version.hash.first)
            .appending(number)
    }

    /// `scope`: a user, or a user and a project.
    static func backupScope(_ scope: RowKey, _ account: Identifier) -> RowKey {
        var key = scope.with(.backupScope)
        if key.count < projectEnd { key = Identifier.none.withBytes { key.appending($0) } }
        return account.withBytes { key.appending($0) }
    }

    fileprivate static var projectEnd: Int { 1 + 2 * Sealer.nameSize }
}

/// What one call does to backups.
struct BackupChange {
    struct Subject: Hashable {
        let account: Identifier
        let row: RowKey
    }
    enum What {
        case changed(id: Identifier, first: First, BackupItem.Provenance = .own)
        case gone
        /// It came from the active version.
        case restored(BackupItem)
    }
    enum First {
        case index(UInt32)
        /// Of a credential: when it was written.
        case time(Int64)
    }
    var machines: [Identifier: Backup] = [:]
    var items: [Subject: What] = [:]
    /// What backs a user's credentials up, as this call has found it.
    var scopes: [RowKey: [RowKey]] = [:]
    /// What is being brought in, and to which account.
    var restoring: (account: Identifier, item: BackupItem)?
}

extension Transaction {
    // MARK: Machines

    func backup(of account: Identifier) throws(Failure) -> Backup? {
        if let machine = backups.machines[account] { return machine }
        guard let buffer = try get(.backup(account)) else { return nil }
        return try Backup(decoding: buffer)
    }

    /// For those to whom a damaged one is as good as none.
    func readableBackup(of account: Identifier) throws(Failure) -> Backup? {
        do throws(Failure) {
            return try backup(of: account)
        } catch {
            guard error == .corrupt(.record) else { throw error }
            return nil
        }
    }

    /// The machine of an account. If there is none, or a damaged one, it begins with all that there is to be backed up,
    /// numbered above all that was there.
    func beginBackup(of account: Identifier) throws(Failure) {
        _ = try accountRecord(account)
        guard try readableBackup(of: account) == nil else { return }
        var highest: UInt64 = 0
        try scanRaw(.of(.backupChange, account)) { (row, _) in
            highest = max(highest, row.number)
            return true
        }
        // Those who answer them would answer another machine.
        try dropItems(in: OutboxLane(.backup, account), where: { (_) in true })
        backups.machines[account] = Backup(
            changes: highest == 0 ? 0 : highest.addingReportingOverflow(1 << 16).partialValue)
        try scanRaw(.of(.history, account)) { (row, value) throws(Failure) in
            if let buffer = try? sealer.open(value, for: row),
                let record = try? HistoryRecord(decoding: buffer), record.isClosed
            {
                noteClosed(row, record, of: account)
            }
            return true
        }
        var scopes: [RowKey] = []
        try scanRaw(RowKey(.backupScope)) { (row, _) in
            if row.scopeAccount == account { scopes.append(row.scope) }
            return true
        }
        for scope in scopes { try noteAll(of: scope, account) }
    }

    /// Nothing is left of an account's backup but what the server has.
    func endBackup(of account: Identifier) throws(Failure) {
        backups.machines[account] = nil
        backups.items = backups.items.filter { $0.key.account != account }
        for kind in [
            RowKind.backupChange, .backupItem, .backupWriters, .backupListing, .backupPage,
            .backupShown, .backupSeen,
        ] {
            try deleteAll(.of(kind, account))
        }
        delete(.backup(account))
        try cancel(Job(.backup, account))
        try scanRaw(RowKey(.backupScope)) { (row, _) in
            if row.scopeAccount == account { delete(row) }
            return true
        }
    }

    // MARK: Items

    /// A credential was written.
    func noteCredential(_ row: RowKey, _ record: CredentialRecord) throws(Failure) {
        for account in try accounts(backingUp: row) {
            let subject = BackupChange.Subject(account: account, row: row)
            if let restoring = backups.restoring, restoring.account == account {
                backups.items[subject] = .restored(restoring.item)
            } else {
                backups.items[subject] = .changed(
                    id: try BackupItem.id(of: record), first: .time(record.updated))
            }
        }
    }

    /// A credential is no longer there.
    func noteGone(_ row: RowKey) throws(Failure) {
        for account in try accounts(backingUp: row) {
            backups.items[.init(account: account, row: row)] = .gone
        }
    }

    /// A direction of an epoch can leave the store from now on.
    func noteClosed(_ row: RowKey, _ record: HistoryRecord, of account: Identifier) {
        backups.items[.init(account: account, row: row)] = .changed(
            id: .none, first: .index(record.first), record.isImported ? .imported : .own)
    }

    /// What is here was written later than `item`, and the server goes by another clock.
    func noteBetter(_ row: RowKey, than item: BackupItem, of account: Identifier) {
        guard item.first > 0, case .credential(let id) = item.name else { return }
        backups.items[.init(account: account, row: row)] = .changed(
            id: id, first: .index(item.first - 1))
    }

    func noteRestored(_ row: RowKey, _ item: BackupItem, of account: Identifier) {
        backups.items[.init(account: account, row: row)] = .restored(item)
    }

    func noteAll(of scope: RowKey, _ account: Identifier) throws(Failure) {
        try scanRaw(scope) { (row, value) throws(Failure) in
            if let buffer = try? sealer.open(value, for: row),
                let record = try? CredentialRecord(decoding: buffer)
            {
                backups.items[.init(account: account, row: row)] = .changed(
                    id: try BackupItem.id(of: record), first: .time(record.updated))
            }
            return true
        }
    }

    /// Those that back a credential up.
    func accounts(backingUp row: RowKey) throws(Failure) -> Set<Identifier> {
        var accounts: Set<Identifier> = []
        guard row.kind == .credential else { return accounts }
        for scope in try backupScopes(of: row.trimmed(to: 1 + Sealer.nameSize)) {
            if scope.covers(row), let account = scope.scopeAccount { accounts.insert(account) }
        }
        return accounts
    }

    private func backupScopes(of user: RowKey) throws(Failure) -> [RowKey] {
        if let known = backups.scopes[user] { return known }
        var scopes: [RowKey] = []
        try scanRaw(user.with(.backupScope)) { (scope, _) in
            scopes.append(scope)
            return true
        }
        backups.scopes[user] = scopes
        return scopes
    }

    func entry(_ row: RowKey, of account: Identifier) throws(Failure) -> BackupEntry? {
        do throws(Failure) {
            return try get(.backupItem(account, row)).map { (buffer) throws(Failure) in
                try BackupEntry(decoding: buffer)
            }
        } catch {
            guard error == .corrupt(.record) else { throw error }
            return nil
        }
    }

    // MARK: Concluding

    /// Turns what has changed into records and jobs.
    func concludeBackups() throws(Failure) {
        for (subject, what) in backups.items { try number(subject, what) }
        let now = clock.now()
        for (account, machine) in backups.machines {
            try put(.backup(account), machine.encoded())
            let job = Job(.backup, account)
            let planned = try due(of: job)
            guard let deadline = machine.deadline else {
                if planned != nil { try cancel(job) }
                continue
            }
            let due = max(deadline, now)
            // One that is due already looks at all that there is.
            if let planned, planned == due || planned <= now { continue }
            try schedule(job, at: due)
        }
    }

    /// Gives a change its number.
    private func number(
        _ subject: BackupChange.Subject, _ what: BackupChange.What
    ) throws(Failure) {
        let (account, row) = (subject.account, subject.row)
        guard var machine = try readableBackup(of: account) else { return }
        let old = try entry(row, of: account)
        let (id, first): (Identifier, UInt32)
        var provenance = BackupItem.Provenance.own
        var isStored = false
        switch what {
        case .changed(let new, .time(let time), _):
            (id, first) = (new, BackupItem.first(at: time, after: old?.first))
        case .changed(let new, .index(let index), let from):
            (id, first) = (new, index)
            provenance = from
        case .gone:
            guard let old else { return }
            (id, first) = (old.id, BackupItem.first(at: clock.now(), after: old.first))
        case .restored(let item):
            id = item.credentialID
            if let old, row.kind == .credential, old.first < item.first {
                // What the server got from here since then would stay in its way.
                first = old.first > 0 ? old.first - 1 : 0
            } else {
                first = item.first
                provenance = .imported
                isStored = true
            }
        }
        _ = try machine.step(
            .itemsChanged(1, areStored: isStored), now: clock.now(), random: 0)
        backups.machines[account] = machine
        if let old { delete(.backupChange(account, old.number)) }
        let entry = BackupEntry(number: machine.changes, first: first, provenance, id: id)
        try put(.backupItem(account, row), entry.encoded())
        try row.withBytes { (key) throws(Failure) in
            try put(.backupChange(account, machine.changes), key)
        }
    }
}

extension RowKey {
    /// Of a backup's scope: the credentials that it is about.
    fileprivate var scope: RowKey {
        let user = trimmed(to: 1 + Sealer.nameSize)
        let project = trimmed(to: Self.projectEnd)
        let isAll = Identifier.none.withBytes { user.appending($0) } == project
        return (isAll ? user : project).with(.credential)
    }

    fileprivate var scopeAccount: Identifier? { identifier(at: Self.projectEnd - 1) }

    fileprivate func covers(_ credential: RowKey) -> Bool {
        let scope = scope
        return credential.trimmed(to: scope.count) == scope
    }
}

extension BackupItem {
    /// The id of a credential in backups: the same wherever it is.
    static func id(of record: CredentialRecord) throws(Failure) -> Identifier {
        try id(user: record.user, project: record.project, name: record.name)
    }

    static func id(user: Bytes, project: Bytes, name: Bytes) throws(Failure) -> Identifier {
        let out = try SecretBuffer(count: Identifier.size)
        try KeyedHash.derive(
            into: out.mutableBytes, key: .empty, label: "pawl/1 backup credential", user, project,
            name)
        let id = try Identifier(out.bytes)
        return withExtendedLifetime(out) { id }
    }

    fileprivate var credentialID: Identifier {
        if case .credential(let id) = name { return id }
        return .none
    }
}
