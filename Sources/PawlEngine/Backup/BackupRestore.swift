internal import PawlCore
internal import PawlCrypto
internal import PawlStore

/// What comes back from a server. A few entries at a time are opened, under no lock, and then kept, in the background of
/// others; what was kept is known when it comes again after a crash. What a server shows is remembered until its last page,
/// and then held against what its writers say.
extension Store {
    /// Entries that are kept in one transaction, rows that are looked at, and such that are deleted.
    private static let keepSize = 32
    private static let lookSize = 256
    private static let deletionSize = 1_000
    /// While others use the store.
    private static let leastRows = 16

    struct Restored {
        var progress = Backup.Progress()
        /// With the last page of a restore.
        var check: RestoreCheck?
    }

    /// Nil: nothing was to come, or nobody waits for it any more.
    func bringIn(
        _ reply: BackupReply, of item: OutboxItem, _ seq: UInt64
    ) throws(Failure) -> Restored? {
        guard reply.result == .done, let ask = BackupAsk(rawValue: item.what),
            ask == .page || ask == .item
        else { return nil }
        let machine = try transact(.read) { (transaction) throws(Failure) in
            try transaction.readableBackup(of: item.account)
        }
        guard let machine, let download = machine.download(item.count),
            let secret = machine.secret(of: download.version)
        else { return nil }
        let keys = try BackupKeys(secret.bytes)
        withExtendedLifetime(secret) {}
        var background = Background(self, reply.isClosing)
        var found = machine.restoring?.progress ?? Backup.Progress()
        let before = found
        let incoming = Incoming(
            seq: seq, item: item, version: download.version, keys: keys,
            isRestore: download.cursor != nil, place: download.place,
            isOlder: download.version == machine.offered?.version)
        if download.cursor?.isEmpty == true {
            // Of the restore before, which may not have come to its end.
            try forgetShown(item.account, &background) { (transaction) throws(Failure) in
                try transaction.isAwaited(incoming)
            }
        }
        var left = reply.entries[...]
        while !left.isEmpty {
            // Of two for one place the second has to find the first.
            var places: Set<Identifier> = []
            let few = left.prefix(try background.share(of: Self.keepSize, atLeast: 1))
                .prefix { places.insert($0.place).inserted }
            guard try bringIn(few, incoming, &found) else { return nil }
            left = left.dropFirst(few.count)
        }
        var restored = Restored(progress: found - before)
        if incoming.isRestore, reply.body.isEmpty {
            restored.check = try checkShown(incoming, found, &background)
        }
        return restored
    }

    /// False: nobody waits for it any more.
    private func bringIn(
        _ entries: ArraySlice<BackupRequest.Entry>, _ incoming: Incoming,
        _ progress: inout Backup.Progress
    ) throws(Failure) -> Bool {
        var parts: [(place: Identifier, part: RestoredPart)] = []
        for entry in entries where incoming.place ?? entry.place == entry.place {
            parts.append((entry.place, try opened(entry, incoming)))
        }
        let before = progress
        // Durable with the answer's own transaction.
        let after = try transact(.write, .relaxed) {
            (transaction) throws(Failure) -> Backup.Progress? in
            guard try transaction.isAwaited(incoming) else { return nil }
            var progress = before
            for (place, part) in parts {
                try transaction.take(part, at: place, incoming, now: now(), &progress)
            }
            return progress
        }
        progress = after ?? before
        return after != nil
    }

    private func opened(
        _ entry: BackupRequest.Entry, _ incoming: Incoming
    ) throws(Failure) -> RestoredPart {
        do throws(Failure) {
            switch try BackupWire(entry.bytes) {
            case .item:
                let (item, content) = try BackupItem.open(
                    entry.bytes, at: entry.place, incoming.keys, version: incoming.version.hash)
                let shown = BackupShown(item, try BackupItem.rank(of: entry.bytes))
                return .item(item, shown, try what(item, content))
            case .manifest:
                let body = try BackupWire.body(of: entry.bytes)
                let manifest = try BackupManifest(
                    decoding: body, incoming.keys, version: incoming.version.hash)
                guard try incoming.keys.place(of: manifest.writer, page: nil) == entry.place
                else { throw .auth }
                return .seen(.manifest(manifest.writer), body)
            case .page(let page):
                guard
                    try incoming.keys.place(of: page.writer, page: page.number) == entry.place
                else { throw .auth }
                return .seen(.page(page.writer, page.number), page.entries)
            }
        } catch {
            switch error {
            case .auth: return .undecryptable
            case .corrupt, .version, .misuse, .limit(.secret), .limit(.attributes):
                return .malformed
            default: throw error
            }
        }
    }

    private func what(
        _ item: BackupItem, _ content: SecretBuffer
    ) throws(Failure) -> RestoredPart.What? {
        do throws(Failure) {
            switch try BackupContent(content) {
            case .deleted: return .gone
            case .credential(let record):
                guard item.name == .credential(try BackupItem.id(of: record)) else { return nil }
                let scope = try Scope(user: record.user, project: record.project)
                return .credential(record, try credentialKey(scope, record.name))
            case .history(let direction, let record):
                guard case .history(let session, let epoch, let from) = item.name,
                    from == record.from, item.first == record.first, record.isClosed
                else { return nil }
                return .history(
                    record,
                    HistoryPlace(session: session, epoch: epoch, direction: direction))
            }
        } catch {
            guard error != .limit(.memory) else { throw error }
            return nil
        }
    }

    // MARK: Checks

    /// Holds what a server has shown against what its writers say, a page of a listing at a time.
    private func checkShown(
        _ incoming: Incoming, _ progress: Backup.Progress, _ background: inout Background
    ) throws(Failure) -> RestoreCheck {
        let (account, keys) = (incoming.account, incoming.keys)
        var check = RestoreCheck(after: progress.bad)
        var (manifests, writers) = try transact(.read) { (transaction) throws(Failure) in
            (
                try transaction.manifests(incoming),
                try transaction.writers(account, incoming.version)
            )
        }
        check.writers = UInt64(manifests.count)
        for manifest in manifests { check.asOf = max(check.asOf, manifest.time) }
        for finding in writers.look(at: manifests) { check.note(finding) }
        check.shown = (incoming.version, manifests)
        for manifest in manifests {
            var root = Digest.none
            var (count, number): (UInt64, UInt64) = (0, 0)
            while let page = try hold(manifest, page: number, incoming, &check, &background) {
                root = try BackupManifest.root(after: root, page.bytes, keys)
                count &+= UInt64(page.count / BackupManifest.Entry.size)
                withExtendedLifetime(page) {}
                number &+= 1
            }
            if root != manifest.root || count != manifest.count {
                check.note(BackupFinding(.listing, manifest.writer))
            }
        }
        var last: RowKey?
        repeat {
            let count = try background.share(of: Self.lookSize, atLeast: Self.leastRows)
            last = try checkShown(count, after: last, incoming, manifests, &check)
        } while last != nil
        return check
    }

    /// Looks at the next few that were shown; nil: there are no more.
    private func checkShown(
        _ count: Int, after start: RowKey?, _ incoming: Incoming, _ manifests: [BackupManifest],
        _ check: inout RestoreCheck
    ) throws(Failure) -> RowKey? {
        let rows = try transact(.write, .relaxed) { (transaction) throws(Failure) in
            var rows: [(row: RowKey, shown: BackupShown?)] = []
            guard try transaction.isAwaited(incoming) else { return rows }
            try transaction.scanRaw(.of(.backupShown, incoming.account), after: start) {
                (row, value) throws(Failure) in
                let buffer = try? transaction.sealer.open(value, for: row)
                rows.append((row, buffer.flatMap { try? BackupShown(decoding: $0) }))
                return rows.count < count
            }
            return rows
        }
        for (row, shown) in rows {
            guard let place = row.identifier(at: Identifier.size), let shown else { continue }
            let counter = manifests.first { $0.writer == shown.writer }?.counter
            if let finding = shown.finding(at: place, counter: counter) { check.note(finding) }
        }
        return rows.count < count ? nil : rows.last?.row
    }

    /// The page's bytes; nil: there is none.
    private func hold(
        _ manifest: BackupManifest, page number: UInt64, _ incoming: Incoming,
        _ check: inout RestoreCheck, _ background: inout Background
    ) throws(Failure) -> SecretBuffer? {
        let account = incoming.account
        let row = RowKey.backupSeen(account, .page(manifest.writer, number))
        var page: SecretBuffer?
        var (start, isLeft) = (0, true)
        while isLeft {
            let most = try background.share(of: Self.lookSize, atLeast: Self.leastRows)
            var findings: [BackupFinding] = []
            (page, isLeft) = try transact(.write, .relaxed) { (transaction) throws(Failure) in
                guard try transaction.isAwaited(incoming), let page = try? transaction.get(row),
                    let entries = try? BackupManifest.entries(of: page.bytes)
                else { return (nil, false) }
                let few = entries.dropFirst(start).prefix(most)
                findings = try transaction.compare(few, of: manifest.writer, account)
                return (page, start + few.count < entries.count)
            }
            for finding in findings { check.note(finding) }
            start += most
        }
        return page
    }

    /// As long as `isWanted`, which is asked in each transaction.
    func forgetShown(
        _ account: Identifier, _ background: inout Background,
        while isWanted: (Transaction) throws(Failure) -> Bool
    ) throws(Failure) {
        var isLeft = true
        while isLeft {
            let most = try background.share(of: Self.deletionSize, atLeast: Self.leastRows)
            isLeft = try transact(.write, .relaxed) { (transaction) throws(Failure) in
                guard try isWanted(transaction) else { return false }
                var count = 0
                for kind in [RowKind.backupShown, .backupSeen] where count < most {
                    try transaction.scanRaw(.of(kind, account)) { (row, _) in
                        transaction.delete(row)
                        count += 1
                        return count < most
                    }
                }
                return count >= most
            }
        }
    }
}

/// What is being brought in.
private struct Incoming {
    /// The item of the outbox that asked for it.
    let seq: UInt64
    let item: OutboxItem
    let version: BackupVersion
    let keys: BackupKeys
    /// Not one item alone.
    let isRestore: Bool
    /// Of one item.
    let place: Identifier?
    /// One that the host accepted though it is older than what is known here.
    let isOlder: Bool
    var account: Identifier { item.account }
}

/// What an entry turned out to be.
private enum RestoredPart {
    enum What {
        case gone
        case credential(CredentialRecord, RowKey)
        case history(HistoryRecord, HistoryPlace)
    }
    /// nil: of a newer Pawl, or not what its name says.
    case item(BackupItem, BackupShown, What?)
    case seen(SeenPart, Bytes)
    case undecryptable
    case malformed
}

enum SeenPart {
    case manifest(Identifier)
    case page(Identifier, UInt64)
}

/// What is wrong with what a server has shown.
struct RestoreCheck {
    /// So many are told one by one.
    static let limit: UInt64 = 16

    private(set) var count: UInt64
    private(set) var findings: [BackupFinding] = []
    var writers: UInt64 = 0
    var asOf: Int64 = 0
    /// To be remembered.
    var shown: (version: BackupVersion, manifests: [BackupManifest])?

    /// So many were told before.
    init(after count: UInt64) { self.count = count }

    mutating func note(_ finding: BackupFinding) {
        count &+= 1
        guard count <= Self.limit else { return }
        findings.append(finding)
    }
}

extension RowKey {
    fileprivate static func backupShown(_ account: Identifier, _ place: Identifier) -> RowKey {
        let key = of(.backupShown, account)
        return place.withBytes { key.appending($0) }
    }

    fileprivate static func backupSeen(_ account: Identifier, _ part: SeenPart) -> RowKey {
        let (writer, number): (Identifier, UInt64)
        switch part {
        case .manifest(let of): (writer, number) = (of, 0)
        case .page(let of, let page): (writer, number) = (of, page &+ 1)
        }
        let key = of(.backupSeen, account)
        return writer.withBytes { key.appending($0) }.appending(number)
    }
}

extension Backup.Progress {
    fileprivate var bad: UInt64 { undecryptable &+ malformed }

    fileprivate mutating func add(_ result: BroughtIn) {
        switch result {
        case .imported: imported &+= 1
        case .improved: improved &+= 1
        case .kept, .expired: known &+= 1
        }
    }

    fileprivate static func - (one: Self, other: Self) -> Self {
        var difference = Self()
        difference.imported = one.imported &- other.imported
        difference.known = one.known &- other.known
        difference.improved = one.improved &- other.improved
        difference.undecryptable = one.undecryptable &- other.undecryptable
        difference.malformed = one.malformed &- other.malformed
        difference.foreign = one.foreign &- other.foreign
        return difference
    }

    /// Of one item that was asked for: whether it is here now.
    var isOfUse: Bool { imported > 0 || improved > 0 || known > 0 }
}

extension Transaction {
    /// Whether what comes is still waited for: if it is, nobody else is given the request meanwhile.
    fileprivate func isAwaited(_ incoming: Incoming) throws(Failure) -> Bool {
        let machine = try readableBackup(of: incoming.account)
        guard let download = machine?.download(incoming.item.count),
            download.version == incoming.version, try item(incoming.seq) != nil
        else { return false }
        try renewLease(incoming.item.lane, incoming.seq, now: clock.now())
        return true
    }

    fileprivate func take(
        _ part: RestoredPart, at place: Identifier, _ incoming: Incoming, now: Int64,
        _ progress: inout Backup.Progress
    ) throws(Failure) {
        let account = incoming.account
        switch part {
        case .undecryptable:
            progress.undecryptable &+= 1
            try tell(BackupFinding(.undecryptable, place), progress, account)
        case .malformed:
            progress.malformed &+= 1
            try tell(BackupFinding(.malformed, place), progress, account)
        case .seen(let part, let bytes):
            if incoming.isRestore { try put(.backupSeen(account, part), bytes) }
        case .item(let item, let shown, let what):
            try show(shown, at: place, incoming)
            do throws(Failure) {
                guard let what else { throw .version }
                guard let result = try bringIn(what, item, incoming, now: now) else {
                    return progress.foreign &+= 1
                }
                progress.add(result)
            } catch {
                // It is a newer Pawl's, or what is here in its place, and that is left alone.
                guard error == .version else { throw error }
                try take(.malformed, at: place, incoming, now: now, &progress)
            }
        }
    }

    /// Nil: of a scope that the host did not include.
    private func bringIn(
        _ what: RestoredPart.What, _ item: BackupItem, _ incoming: Incoming, now: Int64
    ) throws(Failure) -> BroughtIn? {
        switch what {
        case .gone: .kept
        case .credential(let record, let row):
            try bringIn(record, at: row, item, incoming, now: now)
        case .history(let record, let place):
            try bringIn(record, place, item, to: incoming.account)
        }
    }

    private func tell(
        _ finding: BackupFinding, _ progress: Backup.Progress, _ account: Identifier
    ) throws(Failure) {
        if progress.bad <= RestoreCheck.limit { try tell(finding, account) }
    }

    /// Holds what was shown against what its writer says.
    fileprivate func compare(
        _ entries: ArraySlice<BackupManifest.Entry>, of writer: Identifier, _ account: Identifier
    ) throws(Failure) -> [BackupFinding] {
        var findings: [BackupFinding] = []
        for entry in entries {
            let row = RowKey.backupShown(account, entry.place)
            guard let buffer = try? get(row), var shown = try? BackupShown(decoding: buffer) else {
                findings.append(BackupFinding(.omitted, entry.place))
                continue
            }
            let standing = shown.standing
            if let finding = shown.compare(entry, of: writer) { findings.append(finding) }
            if shown.standing != standing { try put(row, shown.encoded()) }
        }
        return findings
    }

    private func show(
        _ shown: BackupShown, at place: Identifier, _ incoming: Incoming
    ) throws(Failure) {
        guard incoming.isRestore else { return }
        try put(.backupShown(incoming.account, place), shown.encoded())
    }

    /// Nil: who has the backup's secret must not reach scopes that the host did not include.
    private func bringIn(
        _ record: CredentialRecord, at row: RowKey, _ item: BackupItem, _ incoming: Incoming,
        now: Int64
    ) throws(Failure) -> BroughtIn? {
        let account = incoming.account
        guard try accounts(backingUp: row).contains(account) else { return nil }
        let known = incoming.isOlder ? nil : try entry(row, of: account)
        if let known, known.first < item.first {
            var isThere = false
            try getRaw(row) { (_) in isThere = true }
            // Deleted here since the server got it.
            guard isThere else { return .kept }
        }
        backups.restoring = (account, item)
        defer { backups.restoring = nil }
        let result = try bringIn(record, at: row, now: now)
        if result == .kept, let known, known.first >= item.first,
            case .current(let current) = try lookUp(row, now: now),
            current.record.updated > record.updated
        {
            noteBetter(row, than: item, of: account)
        }
        return result
    }

    private func bringIn(
        _ record: HistoryRecord, _ place: HistoryPlace, _ item: BackupItem,
        to account: Identifier
    ) throws(Failure) -> BroughtIn {
        let row = RowKey.history(account, place)
        var known: HistoryRecord?
        do throws(Failure) {
            if let buffer = try get(row) { known = try HistoryRecord(decoding: buffer) }
        } catch {
            // What is damaged is replaced.
            guard error == .corrupt(.record) else { throw error }
        }
        if let known, !known.isImported || known.first <= record.first { return .kept }
        try put(row, record.encodedAsImported())
        noteRestored(row, item, of: account)
        return known == nil ? .imported : .improved
    }

    /// What a restore has found out about writers.
    func keep(_ check: RestoreCheck?, _ account: Identifier) throws(Failure) {
        guard let check else { return }
        for finding in check.findings { try tell(finding, account) }
        if let (version, manifests) = check.shown {
            // What was uploaded meanwhile is known, too.
            var writers = try writers(account, version)
            _ = writers.look(at: manifests)
            try put(.backupWriters(account, version), writers.encoded())
        }
    }

    fileprivate func manifests(_ incoming: Incoming) throws(Failure) -> [BackupManifest] {
        var manifests: [BackupManifest] = []
        try scanRaw(.of(.backupSeen, incoming.account)) { (row, value) throws(Failure) in
            guard row.number == 0, let buffer = try? sealer.open(value, for: row) else {
                return true
            }
            if let manifest = try? BackupManifest(
                decoding: buffer.bytes, incoming.keys, version: incoming.version.hash)
            {
                manifests.append(manifest)
            }
            withExtendedLifetime(buffer) {}
            return manifests.count < BackupManifest.othersLimit
        }
        return manifests
    }
}
