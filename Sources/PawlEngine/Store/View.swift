package import PawlCore
package import PawlCrypto
package import PawlStore

/// An immutable result of rows, independent of the store it came from. Its buffers are wiped with it.
package final class View {
    package enum Rows {
        case credentials([CredentialRow])
        case slots([SlotRecord])
        case damages([DamageRow])
        case unfinished([UnfinishedRow])
        case accounts([AccountRow])
        case items([ItemRow])
        case packages([PackageRow])
        case peers([PeerRecord])
        case sessions([SessionRow])
        case kept([KeptRow])
        case jobs([JobRow])
        case history([HistoryRow])
    }
    package let rows: Rows

    package init(_ rows: Rows) { self.rows = rows }

    package var count: Int {
        switch rows {
        case .credentials(let rows): rows.count
        case .slots(let rows): rows.count
        case .damages(let rows): rows.count
        case .unfinished(let rows): rows.count
        case .accounts(let rows): rows.count
        case .items(let rows): rows.count
        case .packages(let rows): rows.count
        case .peers(let rows): rows.count
        case .sessions(let rows): rows.count
        case .kept(let rows): rows.count
        case .jobs(let rows): rows.count
        case .history(let rows): rows.count
        }
    }
}

package struct CredentialRow {
    package let record: CredentialRecord
    /// Only in a row that was asked for with its secret.
    package var secret: Bytes? {
        guard isWithSecret else { return nil }
        if case .inline(let bytes) = record.secret { return bytes }
        return fetched?.bytes
    }
    private var isWithSecret = false
    private var fetched: SecretBuffer?

    init(decoding buffer: SecretBuffer) throws(Failure) {
        record = try CredentialRecord(decoding: buffer)
    }

    /// The row together with its secret, which a record that does not hold it inline needs `fetched`.
    func with(secret fetched: SecretBuffer?) -> CredentialRow {
        var row = self
        row.isWithSecret = true
        row.fetched = fetched
        return row
    }
}

package struct AccountRow {
    package let id: Identifier
    package let record: AccountRecord
}

package struct ItemRow {
    package let seq: UInt64
    /// How often it was handed out before.
    package let attempts: UInt32
    /// When it may be handed out to somebody else.
    package let lease: Int64
    package let item: OutboxItem

    /// Of a request to publish, its packages; nil for other items.
    package func published(at index: Int) throws(Failure) -> Publication.Entry? {
        switch Request(rawValue: item.what) {
        case .publish, .publishKeys:
            guard item.lane.kind.isOfRequests else { return nil }
            return try Publication(item.body, keys: item.count).entry(at: index)
        case .package, .readBack, nil: return nil
        }
    }

    /// Of a backup's request: what it asks for; nil for other items.
    package func backupRequest() throws(Failure) -> (ask: BackupAsk, request: BackupRequest)? {
        guard item.lane.kind == .backup, let ask = BackupAsk(rawValue: item.what) else {
            return nil
        }
        return (ask, try BackupRequest(item.body))
    }

    /// Of an event of a backup; nil for other items.
    package func backupReport() throws(Failure) -> BackupReport? {
        guard item.lane.kind == .events, let event = BackupEvent(rawValue: item.what),
            event != .finding
        else { return nil }
        return try BackupReport(decoding: item.body)
    }
}

package struct JobRow {
    package let job: Job
    /// Of one that was set aside: since when.
    package let due: Int64
    package let failures: UInt32
    package let cause: UInt8
    package let isDead: Bool

    /// Without a record: it is damaged.
    init(_ job: Job, due: Int64, _ record: JobRecord?, isDead: Bool) {
        self.job = job
        self.due = due
        failures = record?.failures ?? 0
        cause = record?.cause ?? Failure.corrupt(.record).primary
        self.isDead = isDead
    }
}

package struct DamageRow {
    package let key: SecretBuffer
    package let failure: Failure
}

package struct UnfinishedRow {
    package enum Kind {
        case intent
        case orphan
        /// In the vault, unknown to this store.
        case unattributed
    }
    package enum Outcome {
        case listed
        case waiting
        case wouldRemove
        case removed
        case failed
    }
    package let kind: Kind
    package var outcome = Outcome.listed
    package var record: UnfinishedRecord

    init(_ kind: Kind, decoding buffer: SecretBuffer) throws(Failure) {
        self.kind = kind
        record = try UnfinishedRecord(decoding: buffer)
    }

    init(unattributed id: VaultID) {
        kind = .unattributed
        record = UnfinishedRecord(
            id: id, version: 0, base: 0, recorded: CredentialRules.never,
            lease: CredentialRules.never, user: .empty, project: .empty, name: .empty)
    }
}
