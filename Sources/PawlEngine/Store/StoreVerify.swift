internal import PawlCore
package import PawlCrypto
internal import PawlStore

extension Store {
    /// Opens and decodes every record and answers those that are damaged, in the order of their keys.
    package func verify() throws(Failure) -> [DamageRow] {
        try transact(.read) { (transaction) throws(Failure) in
            var damages: [DamageRow] = []
            var separate: [(record: RowKey, secret: RowKey, size: Int)] = []
            try transaction.scanEverything { (key, value) throws(Failure) in
                do throws(Failure) {
                    guard let row = RowKey(copying: key) else { throw .version }
                    if let found = try Self.check(row, value, transaction.sealer),
                        case .separate(let size) = found.secret
                    {
                        separate.append((row, row.secret(of: found.version), Int(size)))
                    }
                } catch {
                    guard error != .limit(.memory) else { throw error }
                    damages.append(try DamageRow(key: SecretBuffer(copying: key), failure: error))
                }
                return true
            }
            for (record, secret, size) in separate {
                var found: Int?
                try transaction.getRaw(secret) { found = $0.count - Sealer.overhead }
                if found != size {
                    damages.append(try DamageRow(key: record.copied(), failure: .corrupt(.keyLost)))
                }
            }
            return damages
        }
    }

    private static func check(
        _ row: RowKey, _ value: Bytes, _ sealer: Sealer
    ) throws(Failure) -> CredentialRecord? {
        switch row.kind {
        case .header: _ = try StoreHeader(decoding: value)
        case .slot:
            guard try SlotRecord(decoding: value).key == row else { throw .corrupt(.record) }
        case .sequence, .secret: _ = try sealer.open(value, for: row)
        case .credential, .deleted:
            let buffer = try sealer.open(value, for: row)
            return try CredentialRow(decoding: buffer).record
        case .intent, .orphan: _ = try UnfinishedRecord(decoding: sealer.open(value, for: row))
        case .account: _ = try AccountRecord(decoding: sealer.open(value, for: row))
        case .ticket, .jobTime, .clock, .queued: _ = try sealer.open(value, for: row)
        case .ready: if !Sealer.isMark(value) { _ = try sealer.open(value, for: row) }
        case .item:
            guard !Sealer.isMark(value) else { return nil }
            _ = try ItemState(decoding: sealer.open(value, for: row))
        case .payload: _ = try OutboxItem(decoding: sealer.open(value, for: row))
        case .job: _ = try JobRecord(decoding: sealer.open(value, for: row))
        case .deadLetter: _ = try DeadLetter(decoding: sealer.open(value, for: row))
        case .accountState: _ = try AccountState(decoding: sealer.open(value, for: row))
        case .rotation: _ = try Rotation(decoding: sealer.open(value, for: row))
        case .package, .oneTime: _ = try PackageRecord(decoding: sealer.open(value, for: row))
        case .welcome:
            let session = try sealer.open(value, for: row)
            _ = try Identifier(session.bytes)
        case .peer: _ = try PeerRecord(decoding: sealer.open(value, for: row))
        case .epoch: _ = try ClosedEpoch(decoding: sealer.open(value, for: row), epoch: 0)
        case .session, .tombstone:
            guard let id = row.identifier(at: 0) else { throw .corrupt(.record) }
            _ = try Session(decoding: sealer.open(value, for: row), id: id)
        case .skipped: _ = try SkippedRecord(decoding: sealer.open(value, for: row))
        case .kept: _ = try KeptRecord(decoding: sealer.open(value, for: row))
        case .history: _ = try HistoryRecord(decoding: sealer.open(value, for: row))
        case .backup: _ = try Backup(decoding: sealer.open(value, for: row))
        case .backupItem: _ = try BackupEntry(decoding: sealer.open(value, for: row))
        case .backupWriters: _ = try BackupWriters(decoding: sealer.open(value, for: row))
        case .backupListing: _ = try BackupListing(decoding: sealer.open(value, for: row))
        case .backupPage:
            let page = try sealer.open(value, for: row)
            _ = try BackupManifest.entries(of: page.bytes)
            withExtendedLifetime(page) {}
        case .backupShown: _ = try BackupShown(decoding: sealer.open(value, for: row))
        case .backupChange, .backupScope, .backupSeen: _ = try sealer.open(value, for: row)
        case nil: throw .version
        }
        return nil
    }
}

extension RowKey {
    /// The key at an address of its own, for a row that C code looks at.
    fileprivate func copied() throws(Failure) -> SecretBuffer {
        try withBytes { (bytes) throws(Failure) in try SecretBuffer(copying: bytes) }
    }
}
