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

    func tell(_ finding: BackupFinding, _ id: Identifier, _ account: Identifier) throws(Failure) {
        let body = try id.withBytes { (bytes) throws(Failure) in
            try SecretBuffer(copying: bytes)
        }
        _ = try enqueue(
            .event(
                BackupEvent.finding.rawValue, count: finding.rawValue, account: account,
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
            try batch.gather(self)
            machine.cutBatch(at: batch.upTo)
            if batch.entries.isEmpty {
                var count: UInt64 = 0
                if case .present(_, let items) = machine.server { count = items }
                try step(account, &machine, .answered(number, .stored(count: count)))
            } else {
                try batch.list(self)
                try ask(.put, number, account, BackupRequest.write(version, batch.entries))
            }
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

    mutating func gather(_ transaction: Transaction) throws(Failure) {
        var changed: [(number: UInt64, row: RowKey)] = []
        let prefix = RowKey.of(.backupChange, account)
        let limit = upTo
        try transaction.scanRaw(prefix, after: .backupChange(account, after)) {
            (change, value) throws(Failure) in
            guard change.number <= limit else { return false }
            // A damaged one is left to verify: the item's next change has another.
            if let row = try? transaction.sealer.open(value, for: change) {
                changed.append((change.number, RowKey(copying: row.bytes)))
                withExtendedLifetime(row) {}
            }
            return changed.count < Self.itemLimit
        }
        if changed.count == Self.itemLimit, let last = changed.last { upTo = last.number }
        var size = 0
        for (number, row) in changed {
            guard let entry = try transaction.entry(row, of: account), entry.number == number,
                let (name, content) = try transaction.backedUp(row, entry, account)
            else { continue }
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

    /// Adds the listing. What was listed for an upload that failed stays listed.
    mutating func list(_ transaction: Transaction) throws(Failure) {
        try transaction.dropOldPages(account, version)
        var (listing, page) = try transaction.listing(account, version)
        var unsent: [(number: UInt64, entries: [BackupManifest.Entry])] = []
        var earlier = listing.page
        while earlier > 0 {
            earlier -= 1
            let before = try transaction.listed(account, version, earlier)
            guard let last = before.last, last.number > after else { break }
            unsent.append((earlier, before))
        }
        for item in items where item.number > listing.last {
            let number = listing.page
            try listing.add(item, to: &page, keys)
            if listing.page != number {
                unsent.append((number, page))
                try transaction.putPage(account, version, number, page)
                page = []
            }
        }
        if !page.isEmpty {
            unsent.append((listing.page, page))
            try transaction.putPage(account, version, listing.page, page)
        }
        try transaction.put(.of(.backupListing, account), listing.encoded())
        for (number, listed) in unsent {
            let bytes = try BackupManifest.page(listed)
            let wire = try BackupWire.page(number, of: account, bytes.bytes)
            withExtendedLifetime(bytes) {}
            entries.append((try keys.place(of: account, page: number), wire))
        }
        let manifest = try BackupManifest(
            writer: account, counter: upTo == UInt64.max ? upTo : upTo + 1,
            time: transaction.clock.now(), count: listing.count,
            root: listing.root(with: page, keys),
            others: transaction.writers(account, version).others(than: account))
        let encoded = try manifest.encoded(keys, version: version.hash)
        let wire = try BackupWire.manifest(encoded.bytes, counter: manifest.counter)
        withExtendedLifetime(encoded) {}
        entries.append((try keys.place(of: account, page: nil), wire))
    }
}

extension Transaction {
    /// What is backed up of a row; nil: nothing can be.
    fileprivate func backedUp(
        _ row: RowKey, _ entry: BackupEntry, _ account: Identifier
    ) throws(Failure) -> (BackupItem.Name, SecretBuffer)? {
        do throws(Failure) {
            guard row.kind == .credential else {
                guard let place = row.historyPlace, let buffer = try get(row) else { return nil }
                let record = try HistoryRecord(decoding: buffer)
                guard record.isClosed else { return nil }
                return (
                    .history(session: place.session, epoch: place.epoch, from: record.from),
                    try BackupContent.history(place.direction, record.encoded())
                )
            }
            guard try accounts(backingUp: row).contains(account) else { return nil }
            guard case .current(let found) = try lookUp(row, now: clock.now()) else {
                return (.credential(entry.id), try BackupContent.deleted())
            }
            var record = found.record
            switch record.secret {
            case .inline: break
            case .separate(let size):
                let secret = try get(row.secret(of: record.version))
                guard let secret, secret.count == Int(size) else { return nil }
                record = try record.holding(secret)
            case .vault:
                // Since the store was opened with one: no transaction can hold it.
                return nil
            }
            return (.credential(entry.id), try BackupContent.credential(record.encoded()))
        } catch {
            switch error {
            case .corrupt, .version: return nil
            default: throw error
            }
        }
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

    /// With its last page, if that is not full. A damaged one begins anew, of which a restore tells.
    fileprivate func listing(
        _ account: Identifier, _ version: BackupVersion
    ) throws(Failure) -> (BackupListing, [BackupManifest.Entry]) {
        let new = (BackupListing(of: version.hash), [] as [BackupManifest.Entry])
        do throws(Failure) {
            guard let buffer = try get(.of(.backupListing, account)) else { return new }
            let listing = try BackupListing(decoding: buffer)
            guard listing.version == version.hash else { return new }
            return (listing, try listed(account, version, listing.page))
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

    fileprivate func putPage(
        _ account: Identifier, _ version: BackupVersion, _ number: UInt64,
        _ entries: [BackupManifest.Entry]
    ) throws(Failure) {
        put(.backupPage(account, version, number), try BackupManifest.page(entries))
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
