package import PawlCore
package import PawlCrypto
internal import PawlStore

/// Credentials of a scope: put, get, list, delete, restore. What involves a host's vault is in
/// StoreVault.swift.
extension Store {
    // MARK: Reading

    package enum Detail {
        case metadata
        case secret
    }

    package func credential(
        _ scope: Scope, _ name: Bytes, _ detail: Detail
    ) throws(Failure) -> CredentialRow {
        let row = try credentialKey(scope, name)
        // A vault value may be replaced between the look at its record and the look into the vault.
        for _ in 0..<Self.attempts {
            let now = now()
            let found = try transact(.read) {
                (transaction) throws(Failure) -> Lookup<CredentialRow> in
                let lookup = try transaction.lookUp(row, now: now)
                guard detail == .secret, case .current(let current) = lookup else { return lookup }
                switch current.record.secret {
                case .inline: return .current(current.with(secret: nil))
                case .vault: return lookup
                case .separate(let size):
                    let secret = try transaction.get(row.secret(of: current.record.version))
                    guard let secret, secret.count == Int(size) else { throw .corrupt(.keyLost) }
                    return .current(current.with(secret: secret))
                }
            }
            switch found {
            case .absent: throw .notFound
            case .expired:
                try purge([row], at: now)
                throw .notFound
            case .current(let current):
                guard detail == .secret, case .vault = current.record.secret else { return current }
                if let secret = try fetch(current.record, at: row) {
                    return current.with(secret: secret)
                }
            }
        }
        throw .busy(.changed)
    }

    package func hasCredential(_ scope: Scope, _ name: Bytes) throws(Failure) -> Bool {
        do throws(Failure) {
            _ = try credential(scope, name, .metadata)
            return true
        } catch {
            guard error == .notFound else { throw error }
            return false
        }
    }

    /// At most `limit` rows after the name `after` (empty: from the start).
    package func credentials(
        _ scope: Scope, after: Bytes, limit: Int
    ) throws(Failure) -> [CredentialRow] {
        let prefix = try scopeKey(scope)
        let start = after.isEmpty ? nil : try credentialKey(scope, after)
        let now = now()
        let (rows, expired) = try transact(.read) { (transaction) throws(Failure) in
            try transaction.rows(prefix, after: start, limit: limit, now: now)
        }
        try purge(expired, at: now)
        return rows
    }

    /// Deleted versions of one name that can be restored, oldest first.
    package func deletedCredentials(
        _ scope: Scope, _ name: Bytes
    ) throws(Failure) -> [CredentialRow] {
        let prefix = try credentialKey(scope, name).with(.deleted)
        let now = now()
        let (rows, expired) = try transact(.read) { (transaction) throws(Failure) in
            try transaction.rows(prefix, limit: Int.max, now: now)
        }
        try purge(expired, at: now)
        return rows
    }

    // MARK: Putting

    package func put(
        _ scope: Scope, _ name: Bytes, secret: Bytes, _ put: CredentialRules.Put
    ) throws(Failure) -> UInt64 {
        guard secret.count <= CredentialRules.secretLimit else { throw .limit(.secret) }
        let row = try credentialKey(scope, name)
        guard shared.vault == nil else { return try putInVault(scope, name, row, secret, put) }
        let now = now()
        let (version, retired) = try refusing(row, at: now) { () throws(Failure) in
            try transact(.write) { (transaction) throws(Failure) in
                let current = try transaction.current(row, for: put, now: now)
                try CredentialRules.admit(put, over: current?.record, now: now)
                let retired = try transaction.retire(row, now: now)
                let version = try transaction.nextVersion()
                let isSmall = secret.count <= CredentialRules.inlineLimit
                let next = CredentialRules.successor(
                    of: current?.record, by: put, scope: scope, name: name,
                    secret: isSmall
                        ? .inline(secret)
                        : .separate(size: UInt32(truncatingIfNeeded: secret.count)),
                    version: version, now: now)
                if !isSmall { try transaction.put(row.secret(of: version), secret) }
                try transaction.put(row, next)
                return (version, retired)
            }
        }
        sweep(retired)
        return version
    }

    /// Runs a put. If it is refused over a credential that it saw as expired, that one is purged all the
    /// same: what was once reported as absent stays absent.
    func refusing<R>(
        _ row: RowKey, at now: Int64, _ body: () throws(Failure) -> R
    ) throws(Failure) -> R {
        do throws(Failure) {
            return try body()
        } catch {
            if error == .notFound || error == .time { try purge([row], at: now) }
            throw error
        }
    }

    // MARK: Deleting

    package func delete(_ scope: Scope, _ name: Bytes, recovery: Int64) throws(Failure) {
        guard recovery >= 0 else { throw .misuse(.time) }
        try refuseVaultInBatch()
        let row = try credentialKey(scope, name)
        let (isFound, retired) = try transact(.write) { (transaction) throws(Failure) in
            let now = now()
            try transaction.scheduleCheckpoint()
            switch try transaction.lookUpToRemove(row, keeping: recovery > 0, now: now) {
            case .absent: return (false, [] as [VaultID])
            case .expired: return (false, try transaction.retire(row, now: now))
            case .current(let current):
                guard recovery > 0, let current else {
                    return (true, try transaction.retire(row, now: now))
                }
                var record = current.record
                record.purge = min(CredentialRules.after(now, recovery), CredentialRules.never - 1)
                try transaction.put(row.with(.deleted).appending(record.version), record)
                try transaction.remove(row, current.record)
                return (true, [])
            }
        }
        sweep(retired)
        guard isFound else { throw .notFound }
    }

    /// Brings a deleted version back; 0 means the newest.
    package func restore(_ scope: Scope, _ name: Bytes, version: UInt64) throws(Failure) {
        let row = try credentialKey(scope, name)
        let now = now()
        let (isFound, expired, retired) = try transact(.write) { (transaction) throws(Failure) in
            if case .current = try transaction.lookUp(row, now: now) { throw .exists }
            let retired = try transaction.retire(row, now: now)
            let (rows, expired) = try transaction.rows(
                row.with(.deleted), limit: Int.max, now: now)
            let wanted = rows.last { version == 0 || $0.record.version == version }
            guard let wanted else { return (false, expired, retired) }
            var record = wanted.record
            record.purge = CredentialRules.never
            try transaction.put(row, record)
            try transaction.remove(
                row.with(.deleted).appending(record.version), wanted.record)
            return (true, expired, retired)
        }
        sweep(retired)
        try purge(expired, at: now)
        guard isFound else { throw .notFound }
    }

    /// Deletes all of a scope, or of all projects of its user: current and deleted versions, and puts that
    /// are under way. Answers how many current ones there were.
    package func deleteAll(_ scope: Scope, allProjects: Bool) throws(Failure) -> UInt64 {
        try refuseVaultInBatch()
        guard !allProjects || scope.project.isEmpty else { throw .misuse(.project) }
        let prefix = allProjects ? try userKey(scope) : try scopeKey(scope)
        let (count, retired) = try transact(.write) { (transaction) throws(Failure) in
            let now = now()
            var count: UInt64 = 0
            var rows: [RowKey] = []
            var timed: [RowKey] = []
            var orphans: [UnfinishedRecord] = []
            for kind in [RowKind.credential, .deleted, .secret] {
                try transaction.scanRaw(prefix.with(kind)) { (row, value) throws(Failure) in
                    rows.append(row)
                    guard kind != .secret else { return true }
                    let record: CredentialRecord
                    do throws(Failure) {
                        record = try CredentialRecord(
                            decoding: transaction.sealer.open(value, for: row))
                    } catch {
                        // A newer Pawl's record is left alone, and with it the whole scope.
                        guard error == .corrupt(.record) else { throw error }
                        count += kind == .credential ? 1 : 0
                        return true
                    }
                    if case .vault(let id, _) = record.secret {
                        orphans.append(UnfinishedRecord(orphan: id, of: record, now: now))
                    }
                    if record.due != CredentialRules.never { timed.append(row) }
                    let isCurrent =
                        kind == .credential && !CredentialRules.isOver(record.expires, now: now)
                    count += isCurrent ? 1 : 0
                    return true
                }
            }
            let retired = orphans.map { $0.id }
            // Their writers find the intent gone and remove the value themselves; should they have
            // crashed, the orphan remembers it.
            try transaction.scanRaw(prefix.with(.intent)) { (row, value) throws(Failure) in
                rows.append(row)
                guard let buffer = try? transaction.sealer.open(value, for: row),
                    let intent = try? UnfinishedRecord(decoding: buffer)
                else { return true }
                orphans.append(intent)
                return true
            }
            for row in rows {
                transaction.delete(row)
                try transaction.noteGone(row)
            }
            for row in timed { try transaction.cancelPurge(of: row) }
            if !rows.isEmpty { try transaction.scheduleCheckpoint() }
            for orphan in orphans { try transaction.putOrphan(orphan) }
            return (count, retired)
        }
        sweep(retired)
        return count
    }

    /// Removes rows that were seen at `now` as over, so that a clock stepping back does not bring them
    /// back. A store that cannot be written keeps them; nothing else can be done there.
    private func purge(_ rows: [RowKey], at now: Int64) throws(Failure) {
        guard !rows.isEmpty else { return }
        do throws(Failure) {
            let retired = try transact(.write) { (transaction) throws(Failure) in
                var retired: [VaultID] = []
                for row in rows where try transaction.isOver(row, now: now) {
                    retired += try transaction.retire(row, now: now)
                    try transaction.scheduleCheckpoint()
                }
                return retired
            }
            sweep(retired)
        } catch {
            guard case .store(.readOnly, _) = error else { throw error }
        }
    }

    // MARK: Keys of rows

    static let attempts = 8

    func userKey(_ scope: Scope) throws(Failure) -> RowKey {
        try shared.sealer.child(of: RowKey(.credential), named: scope.user)
    }

    func scopeKey(_ scope: Scope) throws(Failure) -> RowKey {
        try shared.sealer.child(of: userKey(scope), named: scope.project)
    }

    func credentialKey(_ scope: Scope, _ name: Bytes) throws(Failure) -> RowKey {
        guard name.isText(CredentialRules.nameSizes) else { throw .misuse(.name) }
        return try shared.sealer.child(of: scopeKey(scope), named: name)
    }
}

/// What a look at a credential's row found.
enum Lookup<Row> {
    case absent
    case expired
    case current(Row)
}

extension RowKey {
    /// Where a version's secret lives when its record does not hold it.
    func secret(of version: UInt64) -> RowKey {
        with(.secret).trimmed(to: 1 + 3 * Sealer.nameSize).appending(version)
    }
}

extension Transaction {
    func lookUp(_ row: RowKey, now: Int64) throws(Failure) -> Lookup<CredentialRow> {
        guard let buffer = try get(row) else { return .absent }
        let found = try CredentialRow(decoding: buffer)
        return CredentialRules.isOver(found.record.expires, now: now) ? .expired : .current(found)
    }

    /// What a put replaces. A damaged record can be replaced, unless the put depends on what it says.
    func current(
        _ row: RowKey, for put: CredentialRules.Put, now: Int64
    ) throws(Failure) -> CredentialRow? {
        do throws(Failure) {
            if case .current(let current) = try lookUp(row, now: now) { return current }
            return nil
        } catch {
            guard error == .corrupt(.record), put.ifVersion == nil else { throw error }
            guard !put.createOnly else { throw .exists }
            return nil
        }
    }

    /// The same for a delete, which can remove a damaged record (`current(nil)`) but not keep it.
    fileprivate func lookUpToRemove(
        _ row: RowKey, keeping: Bool, now: Int64
    ) throws(Failure) -> Lookup<CredentialRow?> {
        do throws(Failure) {
            switch try lookUp(row, now: now) {
            case .absent: return .absent
            case .expired: return .expired
            case .current(let current): return .current(current)
            }
        } catch {
            guard error == .corrupt(.record), !keeping else { throw error }
            return .current(nil)
        }
    }

    /// Deletes a row and what hangs on it. A value in a vault becomes an orphan; its id is returned, to be
    /// swept after the commit.
    func retire(_ row: RowKey, now: Int64) throws(Failure) -> [VaultID] {
        delete(row)
        let buffer: SecretBuffer?
        do throws(Failure) {
            buffer = try get(row)
        } catch {
            guard error == .corrupt(.record) else { throw error }
            try noteGone(row)
            if row.kind == .credential { try deleteStraySecrets(of: row) }
            try cancelPurge(of: row)
            return []
        }
        guard let buffer else { return [] }
        let record = try CredentialRecord(decoding: buffer)
        try remove(row, record)
        switch record.secret {
        case .inline: return []
        case .separate:
            delete(row.secret(of: record.version))
            return []
        case .vault(let id, _):
            try putOrphan(UnfinishedRecord(orphan: id, of: record, now: now))
            return [id]
        }
    }

    /// A damaged record no longer says where its secret is: all of its name are deleted but those that
    /// belong to deleted versions.
    private func deleteStraySecrets(of row: RowKey) throws(Failure) {
        var secrets: [RowKey] = []
        try scanRaw(row.with(.secret)) { (secret, _) in
            secrets.append(secret)
            return true
        }
        for secret in secrets {
            var isKept = false
            try getRaw(secret.with(.deleted)) { _ in isKept = true }
            if !isKept { delete(secret) }
        }
    }

    func isOver(_ row: RowKey, now: Int64) throws(Failure) -> Bool {
        guard let buffer = try? get(row),
            let record = try? CredentialRecord(decoding: buffer)
        else { return false }
        return CredentialRules.isOver(record.due, now: now)
    }

    /// Rows below `prefix`, and the keys of those whose time is over. Damaged ones are left out.
    fileprivate func rows(
        _ prefix: RowKey, after: RowKey? = nil, limit: Int, now: Int64
    ) throws(Failure) -> (rows: [CredentialRow], expired: [RowKey]) {
        var rows: [CredentialRow] = []
        var expired: [RowKey] = []
        try scanRaw(prefix, after: after) { (row, value) throws(Failure) in
            let opened: CredentialRow
            do throws(Failure) {
                opened = try CredentialRow(decoding: sealer.open(value, for: row))
            } catch {
                guard error == .corrupt(.record) || error == .version else { throw error }
                return true
            }
            if CredentialRules.isOver(opened.record.due, now: now) {
                expired.append(row)
            } else {
                rows.append(opened)
            }
            return rows.count < limit
        }
        return (rows, expired)
    }

    /// A number greater than all that this store gave before.
    func nextVersion() throws(Failure) -> UInt64 {
        let row = RowKey(.sequence)
        var last: UInt64 = 0
        do throws(Failure) {
            if let version {
                last = version
            } else if let buffer = try get(row) {
                var reader = ByteReader(buffer.bytes)
                last = try reader.integer(UInt64.self)
                try reader.finish()
            } else {
                last = try versionAfterLoss()
            }
        } catch {
            guard error == .corrupt(.record) else { throw error }
            last = try versionAfterLoss()
        }
        guard last < UInt64.max else { throw .limit(.counter) }
        version = last + 1
        try withUnsafeBytes(of: (last + 1).littleEndian) { (bytes) throws(Failure) in
            try put(row, bytes)
        }
        return last + 1
    }

    /// Where to go on when the sequence is damaged or gone, which must not cost more than itself: a leap
    /// clears the versions of credentials that are no longer here.
    private func versionAfterLoss() throws(Failure) -> UInt64 {
        var highest: UInt64 = 0
        for kind in [RowKind.credential, .deleted] {
            try scanRaw(RowKey(kind)) { (row, value) throws(Failure) in
                if let buffer = try? sealer.open(value, for: row),
                    let record = try? CredentialRecord(decoding: buffer)
                {
                    highest = max(highest, record.version)
                }
                return true
            }
        }
        guard highest > 0 else { return 0 }
        let (leap, overflow) = highest.addingReportingOverflow(1 << 32)
        return overflow ? UInt64.max : leap
    }
}
