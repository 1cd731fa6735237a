internal import PawlCore
internal import PawlCrypto
internal import PawlStore

/// A machine's step, carried out: its requests and events become items of the outbox, in the transaction that decided them.
extension Transaction {
    @discardableResult
    func step(_ account: Identifier, _ input: Backup.Input) throws(Failure) -> Backup? {
        guard var machine = try backup(of: account) else { return nil }
        try step(account, &machine, input)
        return machine
    }

    /// `check`: of a restore that is over with this step.
    func step(
        _ account: Identifier, _ machine: inout Backup, _ input: Backup.Input,
        check: RestoreCheck? = nil
    ) throws(Failure) {
        let outcome = try machine.step(input, now: clock.now(), random: randomNumber())
        for event in outcome.events { try tell(event, account, machine, check) }
        for (number, request) in outcome.requests {
            try ask(request, number, account, &machine)
        }
        backups.machines[account] = machine
    }

    private func tell(
        _ event: Backup.Event, _ account: Identifier, _ machine: Backup, _ check: RestoreCheck?
    ) throws(Failure) {
        var report = BackupReport(machine, machine.snapshot)
        let (what, count): (BackupEvent, UInt64)
        switch event {
        case .status(let snapshot): (what, count) = (.status, snapshot.revision)
        case .keyCached(let version): (what, count) = (.keyCached, version.generation)
        case .refused(let refusal): (what, count) = (.refused, refusal.number)
        case .restoring(let progress):
            report.progress = progress
            (what, count) = (.restoring, progress.count)
        case .restored(let progress):
            report.progress = progress
            report.findings = check?.count ?? 0
            report.writers = check?.writers ?? 0
            report.asOf = check?.asOf ?? 0
            (what, count) = (.restored, progress.count)
        }
        let body = try report.encoded()
        _ = try enqueue(
            .event(
                what.rawValue, count: count, account: account, session: nil, peer: nil,
                body: body.bytes))
        withExtendedLifetime(body) {}
    }

    func tell(_ finding: BackupFinding, _ account: Identifier) throws(Failure) {
        let body = try finding.id.withBytes { (bytes) throws(Failure) in
            try SecretBuffer(copying: bytes)
        }
        _ = try enqueue(
            .event(
                BackupEvent.finding.rawValue, count: finding.kind.rawValue, account: account,
                session: nil, peer: nil, body: body.bytes))
        withExtendedLifetime(body) {}
    }

    private func ask(
        _ request: Backup.Request, _ number: UInt64, _ account: Identifier, _ machine: inout Backup
    ) throws(Failure) {
        switch request {
        case .getCurrentVersion: try ask(.version, number, account, BackupRequest.write(.empty))
        case .escrow(let secret):
            let text = try RecoveryKey.text(of: secret.bytes, .backup)
            withExtendedLifetime(secret) {}
            let body = try BackupRequest.write(text.bytes)
            withExtendedLifetime(text) {}
            try ask(.escrow, number, account, body)
        case .createVersion(let version):
            let encoded = try version.encoded()
            let body = try BackupRequest.write(encoded.bytes)
            withExtendedLifetime(encoded) {}
            try ask(.create, number, account, body)
        case .deleteVersion(let version):
            try ask(.delete, number, account, BackupRequest.write(version, .empty))
        case .getPage(let version, let cursor):
            var body: SecretBuffer?
            try cursor.span.bytes.withUnsafeBytes { (bytes) throws(Failure) in
                body = try BackupRequest.write(version, bytes)
            }
            guard let body else { throw .internal }
            try ask(.page, number, account, body)
        case .getItem(let version, let place):
            let body = try place.withBytes { (bytes) throws(Failure) in
                try BackupRequest.write(version, bytes)
            }
            try ask(.item, number, account, body)
        case .askForSecret: try ask(.secret, number, account, BackupRequest.write(.empty))
        case .putItems(let version, let after, let upTo):
            guard let secret = machine.secret(of: version) else { throw .internal }
            let keys = try BackupKeys(secret.bytes)
            withExtendedLifetime(secret) {}
            var batch = BackupBatch(version, keys, account, after: after, upTo: upTo)
            try batch.gather(self, filled: machine.filled(version))
            machine.cutBatch(at: batch.upTo)
            if batch.isIncomplete { machine.keepReplaced() }
            // The next one is another transaction's.
            guard !batch.entries.isEmpty else { return machine.skipBatch() }
            try batch.list(self)
            try ask(.put, number, account, BackupRequest.write(version, batch.entries))
        }
    }

    private func ask(
        _ what: BackupAsk, _ number: UInt64, _ account: Identifier, _ body: SecretBuffer
    ) throws(Failure) {
        _ = try enqueue(
            .backup(what.rawValue, count: number, account: account, body: body.bytes))
        withExtendedLifetime(body) {}
    }
}

/// Items whose last changes are in a range, sealed for one version, and what the writer says of them: the pages of its
/// listing that the server does not have yet, and its manifest.
private struct BackupBatch {
    private static let itemLimit = 256
    private static let sizeLimit = 1 << 20

    private let version: BackupVersion
    private let keys: BackupKeys
    private let account: Identifier
    private let after: UInt64
    /// How far this batch goes.
    private(set) var upTo: UInt64
    /// Something cannot be read here.
    private(set) var isIncomplete = false
    private(set) var entries: [(place: Identifier, wire: SecretBuffer)] = []
    private var items: [BackupManifest.Entry] = []

    init(
        _ version: BackupVersion, _ keys: BackupKeys, _ account: Identifier, after: UInt64,
        upTo: UInt64
    ) {
        self.version = version
        self.keys = keys
        self.account = account
        self.after = after
        self.upTo = upTo
    }

    /// What was gone before the version was made, which `filled` tells, is not in it.
    mutating func gather(_ transaction: Transaction, filled: UInt64) throws(Failure) {
        var changed: [(number: UInt64, row: RowKey)] = []
        let prefix = RowKey.of(.backupChange, account)
        let limit = upTo
        try transaction.scanRaw(prefix, after: .backupChange(account, after)) {
            (change, value) throws(Failure) in
            guard change.number <= limit else { return false }
            let key = try? transaction.sealer.open(value, for: change)
            if let key, let row = RowKey(copying: key.bytes) {
                changed.append((change.number, row))
                withExtendedLifetime(key) {}
            } else {
                isIncomplete = true
            }
            return changed.count < Self.itemLimit
        }
        if changed.count == Self.itemLimit, let last = changed.last { upTo = last.number }
        var size = 0
        for (number, row) in changed {
            guard let entry = try transaction.entry(row, of: account) else {
                isIncomplete = true
                continue
            }
            guard entry.number == number else { continue }
            let (name, content): (BackupItem.Name, SecretBuffer)
            switch try transaction.backedUp(row, entry, account) {
            case .content(let what, let bytes): (name, content) = (what, bytes)
            case .gone:
                guard number > filled else { continue }
                (name, content) = (.credential(entry.id), try BackupContent.deleted())
            case .nothing: continue
            case .unreadable:
                isIncomplete = true
                continue
            }
            let item = BackupItem(
                name, writer: account, number: number, first: entry.first, entry.provenance)
            let wire = try item.seal(content.bytes, keys, version: version.hash)
            withExtendedLifetime(content) {}
            let place = try keys.place(of: name)
            items.append(
                BackupManifest.Entry(
                    number: number, place: place, rank: try BackupItem.rank(of: wire.bytes)))
            entries.append((place, wire))
            size += wire.count
            guard size < Self.sizeLimit else {
                upTo = number
                break
            }
        }
    }

    /// Adds the listing: the pages that the server does not have, and the manifest.
    mutating func list(_ transaction: Transaction) throws(Failure) {
        try transaction.dropOldPages(account, version)
        var (listing, page) = try transaction.listing(account, version, acknowledged: after)
        for item in items {
            let number = listing.now.page
            try listing.add(item, to: &page, keys)
            guard listing.now.page != number else { continue }
            try put(page, number, transaction)
            page = []
        }
        try listing.end(upTo: upTo, page, keys)
        if !page.isEmpty { try put(page, listing.now.page, transaction) }
        try transaction.put(.of(.backupListing, account), listing.encoded())
        let manifest = try BackupManifest(
            writer: account, counter: listing.now.counter, time: transaction.clock.now(),
            count: listing.now.count, root: listing.now.root,
            others: transaction.writers(account, version).others(than: account))
        let encoded = try manifest.encoded(keys, version: version.hash)
        let wire = try BackupWire.manifest(encoded.bytes, counter: manifest.counter)
        withExtendedLifetime(encoded) {}
        entries.append((try keys.place(of: account, page: nil), wire))
    }

    private mutating func put(
        _ page: [BackupManifest.Entry], _ number: UInt64, _ transaction: Transaction
    ) throws(Failure) {
        let bytes = try BackupManifest.page(page)
        let counter = upTo == UInt64.max ? upTo : upTo + 1
        let wire = try BackupWire.page(number, of: account, bytes.bytes, counter: counter)
        transaction.put(.backupPage(account, version, number), bytes)
        entries.append((try keys.place(of: account, page: number), wire))
    }
}

/// What is backed up of a row.
private enum BackedUp {
    case content(BackupItem.Name, SecretBuffer)
    /// A credential that was there.
    case gone
    /// It is not for this backup, or will be gone.
    case nothing
    /// It is damaged, of a newer Pawl, or in a vault, which no transaction can read.
    case unreadable
}

extension Transaction {
    fileprivate func backedUp(
        _ row: RowKey, _ entry: BackupEntry, _ account: Identifier
    ) throws(Failure) -> BackedUp {
        do throws(Failure) {
            guard row.kind == .credential else {
                guard let place = row.historyPlace, let buffer = try get(row) else {
                    return .nothing
                }
                let record = try HistoryRecord(decoding: buffer)
                guard record.isClosed else { return .nothing }
                return .content(
                    .history(session: place.session, epoch: place.epoch, from: record.from),
                    try BackupContent.history(place.direction, record.encoded()))
            }
            guard try accounts(backingUp: row).contains(account) else { return .nothing }
            switch try lookUp(row, now: clock.now()) {
            case .absent: return .gone
            // Who removes it says that it is gone.
            case .expired: return .nothing
            case .current(let found):
                var record = found.record
                switch record.secret {
                case .inline: break
                case .separate(let size):
                    let secret = try get(row.secret(of: record.version))
                    guard let secret, secret.count == Int(size) else { return .unreadable }
                    record = try record.holding(secret)
                case .vault: return .unreadable
                }
                return .content(
                    .credential(entry.id), try BackupContent.credential(record.encoded()))
            }
        } catch {
            switch error {
            case .corrupt, .version: return .unreadable
            default: throw error
            }
        }
    }

    /// The server has what an upload carried.
    func noteWritten(_ machine: Backup, _ account: Identifier) throws(Failure) {
        guard let version = machine.active, let buffer = try get(.of(.backupListing, account)),
            let listing = try? BackupListing(decoding: buffer), listing.version == version.hash
        else { return }
        var writers = try writers(account, version)
        writers.wrote(account, listing.now.counter, listing.now.root)
        try put(.backupWriters(account, version), writers.encoded())
    }

    func writers(
        _ account: Identifier, _ version: BackupVersion
    ) throws(Failure) -> BackupWriters {
        do throws(Failure) {
            guard let buffer = try get(.backupWriters(account, version)) else {
                return BackupWriters()
            }
            return try BackupWriters(decoding: buffer)
        } catch {
            guard error == .corrupt(.record) else { throw error }
            return BackupWriters()
        }
    }

    /// As a batch begins, with its last page, if that is not full. A damaged one begins anew, of which a restore tells.
    fileprivate func listing(
        _ account: Identifier, _ version: BackupVersion, acknowledged: UInt64
    ) throws(Failure) -> (BackupListing, [BackupManifest.Entry]) {
        let new = (BackupListing(of: version.hash), [] as [BackupManifest.Entry])
        do throws(Failure) {
            guard let buffer = try get(.of(.backupListing, account)) else { return new }
            var listing = try BackupListing(decoding: buffer)
            guard listing.version == version.hash else { return new }
            listing.begin(acknowledged: acknowledged)
            guard listing.now.pageCount > 0 else { return (listing, []) }
            let page = try listed(account, version, listing.now.page)
            guard page.count >= listing.now.pageCount else { return new }
            return (listing, Array(page.prefix(listing.now.pageCount)))
        } catch {
            guard error == .corrupt(.record) else { throw error }
            return new
        }
    }

    fileprivate func listed(
        _ account: Identifier, _ version: BackupVersion, _ number: UInt64
    ) throws(Failure) -> [BackupManifest.Entry] {
        guard let buffer = try get(.backupPage(account, version, number)) else { return [] }
        let entries = try BackupManifest.entries(of: buffer.bytes)
        return withExtendedLifetime(buffer) { entries }
    }

    /// A few of those of versions that are over.
    fileprivate func dropOldPages(
        _ account: Identifier, _ version: BackupVersion
    ) throws(Failure) {
        var count = 0
        let first = RowKey.backupPage(account, version, 0)
        try scanRaw(.of(.backupPage, account)) { (row, _) in
            guard row.trimmed(to: first.count - 8) != first.trimmed(to: first.count - 8) else {
                return false
            }
            delete(row)
            count += 1
            return count < 64
        }
    }
}
