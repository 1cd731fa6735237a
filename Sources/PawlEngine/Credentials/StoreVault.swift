package import PawlCore
package import PawlCrypto
internal import PawlStore

/// Secrets that live in a host's vault: the steps of a put, the sweep of what is left, and reconcile.
/// The vault is called under no lock and in no transaction.
extension Store {
    // MARK: Reading

    /// The secret of `record`, or nil if the credential has changed meanwhile.
    func fetch(_ record: CredentialRecord, at row: RowKey) throws(Failure) -> SecretBuffer? {
        guard let vault = shared.vault else { throw .state(.noVault) }
        guard !isBatch else { throw .state(.batch) }
        guard case .vault(let id, let size) = record.secret else { throw .internal }
        let sealed = try SecretBuffer(count: Int(size) + Sealer.overhead)
        countVaultCall()
        switch vault.get(id, sealed.mutableBytes) {
        case .failed(let code): throw .store(.vault, code: code)
        case .present(let count):
            guard count == sealed.count else { throw .corrupt(.record) }
            return try shared.sealer.open(
                sealed.bytes, for: row.vaultPlace(id, version: record.version))
        case .absent:
            let now = now()
            let lookup = try transact(.read) { (transaction) throws(Failure) in
                try transaction.lookUp(row, now: now)
            }
            if case .current(let again) = lookup, again.record.version == record.version {
                throw .corrupt(.keyLost)
            }
            return nil
        }
    }

    // MARK: Putting

    func putInVault(
        _ scope: Scope, _ name: Bytes, _ row: RowKey, _ secret: Bytes, _ put: CredentialRules.Put
    ) throws(Failure) -> UInt64 {
        guard !isBatch else { throw .state(.batch) }
        guard let vault = shared.vault else { throw .internal }
        for _ in 0..<Self.attempts {
            let now = now()
            let write = try refusing(row, at: now) { () throws(Failure) in
                try begin(scope, name, row, put, lease: vault.lease, now: now)
            }
            let place = row.vaultPlace(write.intent.id, version: write.intent.version)
            let sealed = try shared.sealer.seal(secret, for: place)
            do throws(Failure) {
                try run(write, sealed, size: UInt32(truncatingIfNeeded: secret.count), vault)
                return write.intent.version
            } catch {
                // Another put came between. Ours has left nothing and can simply be made again.
                guard error == .busy(.changed) else { throw error }
            }
        }
        throw .busy(.changed)
    }

    /// A put under way, as its steps need it.
    private struct Write {
        let scope: Scope
        let name: Bytes
        let row: RowKey
        let put: CredentialRules.Put
        let intent: UnfinishedRecord
        var intentRow: RowKey { intent.id.withBytes { row.with(.intent).appending($0) } }
    }

    /// Step 1: commit the intent.
    private func begin(
        _ scope: Scope, _ name: Bytes, _ row: RowKey, _ put: CredentialRules.Put, lease: Int64,
        now: Int64
    ) throws(Failure) -> Write {
        try transact(.write) { (transaction) throws(Failure) in
            let current = try transaction.current(row, for: put, now: now)
            try CredentialRules.admit(put, over: current?.record, now: now)
            let intent = UnfinishedRecord(
                id: VaultID.random(), version: try transaction.nextVersion(),
                base: current?.record.version ?? 0, recorded: now,
                lease: CredentialRules.after(now, lease), user: scope.user, project: scope.project,
                name: name)
            let write = Write(scope: scope, name: name, row: row, put: put, intent: intent)
            try transaction.put(write.intentRow, intent.encoded())
            return write
        }
    }

    /// Steps 2 to 4, as the machine orders them.
    private func run(
        _ write: Write, _ sealed: SecretBuffer, size: UInt32, _ vault: any SecretVault
    ) throws(Failure) {
        var machine = VaultWrite()
        var action = machine.first
        var replaced: VaultID?
        let id = write.intent.id
        while true {
            switch action {
            case .setNew:
                countVaultCall()
                action = try machine.setAnswered(vault.set(id, sealed.bytes))
            case .flip:
                let flip: VaultWrite.Flip
                (flip, replaced) = try self.flip(write, size: size)
                action = try machine.flipAnswered(flip)
            case .removeNew:
                countVaultCall()
                action = try machine.removeAnswered(vault.remove(id))
            case .removeOld:
                guard let replaced else { throw .internal }
                countVaultCall()
                action = try machine.removeAnswered(vault.remove(replaced))
            case .forgetIntent(let failure):
                // If this does not commit, the intent waits for reconcile.
                try? transact(.write) { (transaction) throws(Failure) in
                    transaction.delete(write.intentRow)
                    try transaction.forgetOrphan(id)
                }
                throw failure
            case .recordOrphan(let failure, let causeSet, let causeRemove):
                var orphan = write.intent
                orphan.causeSet = causeSet
                orphan.removalFailed(causeRemove)
                try? transact(.write) { (transaction) throws(Failure) in
                    transaction.delete(write.intentRow)
                    try transaction.putOrphan(orphan)
                }
                throw failure
            case .forgetOrphan:
                guard let replaced else { throw .internal }
                return settle(replaced, code: 0)
            case .keepOrphan(let code):
                guard let replaced else { throw .internal }
                return settle(replaced, code: code)
            case .done: return
            }
        }
    }

    /// Step 3: point the record to the new value. Throws only when it cannot be told whether it does.
    private func flip(
        _ write: Write, size: UInt32
    ) throws(Failure) -> (VaultWrite.Flip, replaced: VaultID?) {
        let intent = write.intent
        var replaced: VaultID?
        do throws(Failure) {
            try transact(.write) { (transaction) throws(Failure) in
                let now = now()
                guard try transaction.get(write.intentRow) != nil else {
                    throw .state(.withdrawn)
                }
                let current = try transaction.current(write.row, for: write.put, now: now)
                try CredentialRules.admit(write.put, over: current?.record, now: now)
                guard current?.record.version ?? 0 == intent.base else { throw .busy(.changed) }
                replaced = try transaction.retire(write.row, now: now).first
                let next = CredentialRules.successor(
                    of: current?.record, by: write.put, scope: write.scope, name: write.name,
                    secret: .vault(intent.id, size: size), version: intent.version, now: now)
                try transaction.put(write.row, next)
                transaction.delete(write.intentRow)
            }
            return (.flipped(replaced: replaced != nil), replaced)
        } catch {
            guard case .store(.indeterminate, _) = error else { return (.refused(error), nil) }
            // Ask what became of it, and fence: an intent that is still there becomes an orphan, so that the
            // commit, should it still be on its way, cannot make current what is about to be removed.
            let isFlipped = try? transact(.write) { (transaction) throws(Failure) -> Bool? in
                if try transaction.get(write.intentRow) != nil {
                    transaction.delete(write.intentRow)
                    try transaction.putOrphan(intent)
                    return false
                }
                guard let buffer = try transaction.get(write.row) else { return nil }
                let record = try CredentialRecord(decoding: buffer)
                return record.version == intent.version ? true : nil
            }
            switch isFlipped {
            case true?: return (.flipped(replaced: replaced != nil), replaced)
            case false?: return (.refused(.store(.failed, code: 0)), nil)
            case nil: throw error
            }
        }
    }

    // MARK: Sweeping

    /// Removes values that nothing points to any more. What the vault refuses stays an orphan.
    func sweep(_ ids: [VaultID]) {
        guard let vault = shared.vault, !isBatch else { return }
        for id in ids {
            countVaultCall()
            settle(id, code: vault.remove(id))
        }
    }

    /// Notes what the vault answered to the removal of an orphan. Should the note fail, the orphan
    /// stays and is removed once more, which is harmless.
    private func settle(_ id: VaultID, code: Int32) {
        try? transact(.write) { (transaction) throws(Failure) in
            guard let buffer = try transaction.get(.orphan(id)) else { return }
            guard code != 0 else { return try transaction.forgetOrphan(id) }
            var orphan = try UnfinishedRecord(decoding: buffer)
            orphan.removalFailed(code)
            try transaction.putOrphan(orphan)
        }
    }

    /// The job of an orphan. The vault is called in no transaction: for so long the job is lent, and who is overtaken
    /// notes nothing.
    func retryOrphan(_ due: DueJob) throws(Failure) -> Bool {
        let id = due.job.subject
        var lent: DueJob?
        let isMine = try transact(.write) { (transaction) throws(Failure) in
            guard let claimed = try transaction.claim(due) else { return false }
            let orphan = try transaction.orphan(id)
            if orphan == nil { try transaction.cancel(claimed.job) }
            guard let orphan else { return true }
            guard now() >= orphan.lease else {
                try transaction.schedule(claimed.job, at: orphan.lease)
                return true
            }
            // Whoever opens the store with its vault does it.
            let lease = shared.vault == nil ? Backoff.hour : Self.vaultLease
            lent = try transaction.lend(claimed, for: lease)
            return true
        }
        guard let lent, let vault = shared.vault else { return isMine }
        countVaultCall()
        let code = vault.remove(id)
        try transact(.write) { (transaction) throws(Failure) in
            guard let claimed = try transaction.claim(lent) else { return }
            guard code != 0, var orphan = try transaction.orphan(id) else {
                return try transaction.forgetOrphan(id)
            }
            orphan.removalFailed(code)
            try transaction.putOrphan(orphan)
            try transaction.postpone(
                claimed, cause: Failure.store(.vault, code: code).primary)
        }
        return true
    }

    /// How long a vault may take before somebody else asks it.
    private static let vaultLease = 5 * Backoff.minute

    func refuseVaultInBatch() throws(Failure) {
        guard shared.vault == nil || !isBatch else { throw .state(.batch) }
    }

    // MARK: Looking after

    /// Intents and orphans in the order of their ids, at most `limit` after `after`.
    package func unfinished(after: VaultID?, limit: Int) throws(Failure) -> [UnfinishedRow] {
        var rows = try transact(.read) { (transaction) throws(Failure) in
            try transaction.unfinished()
        }
        rows.sort { $0.record.id < $1.record.id }
        if let after { rows.removeAll { $0.record.id <= after } }
        return [UnfinishedRow](rows.prefix(limit))
    }

    /// Settles what crashes and failing vaults left behind, and reports all that was found.
    package func reconcile(grace: Int64, dryRun: Bool) throws(Failure) -> [UnfinishedRow] {
        guard !isBatch else { throw .state(.batch) }
        guard let vault = shared.vault else { throw .state(.noVault) }
        let strangers = try unattributed(vault)
        var report: [UnfinishedRow] = []
        for found in try unfinished(after: nil, limit: Int.max) {
            if let row = try reconcile(found, grace: grace, dryRun: dryRun, vault) {
                report.append(row)
            }
        }
        return report + strangers
    }

    private func reconcile(
        _ found: UnfinishedRow, grace: Int64, dryRun: Bool, _ vault: any SecretVault
    ) throws(Failure) -> UnfinishedRow? {
        var row = found
        let id = found.record.id
        guard !dryRun else {
            row.record.sight(now())
            let verdict = row.record.verdict(now: now(), grace: grace)
            row.outcome = verdict == .remove ? .wouldRemove : .waiting
            return row
        }
        // The verdict is committed before the vault is touched: from then on the put that left an
        // intent behind cannot flip any more.
        let fenced = try transact(.write) { (transaction) throws(Failure) -> UnfinishedRow? in
            let now = now()
            let place = try transaction.place(of: found, shared.sealer)
            guard let buffer = try transaction.get(place) else { return nil }
            var row = try UnfinishedRow(found.kind, decoding: buffer)
            row.record.sight(now)
            switch row.record.verdict(now: now, grace: grace) {
            case .waiting:
                row.outcome = .waiting
                try transaction.put(place, row.record.encoded())
            case .remove:
                if found.kind == .intent { transaction.delete(place) }
                try transaction.putOrphan(row.record)
            }
            return row
        }
        guard var row = fenced else { return nil }
        guard row.outcome != .waiting else { return row }
        countVaultCall()
        let code = vault.remove(id)
        settle(id, code: code)
        row.outcome = code == 0 ? .removed : .failed
        if code != 0 { row.record.removalFailed(code) }
        return row
    }

    /// What the vault holds and this store does not know, if the vault can list. Every id is
    /// committed before it reaches the vault, so the vault is listed first; what was swept between the
    /// two looks is told by asking again.
    private func unattributed(_ vault: any SecretVault) throws(Failure) -> [UnfinishedRow] {
        var held: [VaultID] = []
        listing: while true {
            countVaultCall()
            switch vault.next(after: held.last) {
            case .found(let id):
                if let last = held.last, id <= last { throw .store(.vault, code: 0) }
                held.append(id)
            case .end: break listing
            case .unsupported: return []
            case .failed(let code): throw .store(.vault, code: code)
            }
        }
        var known = try transact(.read) { (transaction) throws(Failure) in
            try transaction.knownVaultIDs()
        }
        known.sort()
        var strangers: [UnfinishedRow] = []
        var position = 0
        for id in held {
            while position < known.count, known[position] < id { position += 1 }
            if position < known.count, known[position] == id { continue }
            countVaultCall()
            let nothing = UnsafeMutableRawBufferPointer(start: nil, count: 0)
            if vault.get(id, nothing) != .absent {
                strangers.append(UnfinishedRow(unattributed: id))
            }
        }
        return strangers
    }
}

extension RowKey {
    static func orphan(_ id: VaultID) -> RowKey {
        id.withBytes { RowKey(.orphan).appending($0) }
    }

    /// What a vault's value is sealed for: the credential, the id and the version.
    fileprivate func vaultPlace(_ id: VaultID, version: UInt64) -> RowKey {
        id.withBytes { appending($0) }.appending(version)
    }
}

extension Transaction {
    func putOrphan(_ orphan: UnfinishedRecord) throws(Failure) {
        try put(.orphan(orphan.id), orphan.encoded())
        let job = Job(.orphanRetry, orphan.id)
        // Whoever made it an orphan tries first.
        guard try due(of: job) == nil else { return }
        try schedule(job, at: max(orphan.lease, Backoff.after(clock.now(), Backoff.minute)))
    }

    func forgetOrphan(_ id: VaultID) throws(Failure) {
        delete(.orphan(id))
        try cancel(Job(.orphanRetry, id))
    }

    fileprivate func orphan(_ id: VaultID) throws(Failure) -> UnfinishedRecord? {
        guard let buffer = try get(.orphan(id)) else { return nil }
        return try UnfinishedRecord(decoding: buffer)
    }

    /// Where the record of an intent or orphan is.
    fileprivate func place(of row: UnfinishedRow, _ sealer: Sealer) throws(Failure) -> RowKey {
        guard row.kind == .intent else { return .orphan(row.record.id) }
        let user = try sealer.child(of: RowKey(.intent), named: row.record.user)
        let project = try sealer.child(of: user, named: row.record.project)
        let name = try sealer.child(of: project, named: row.record.name)
        return row.record.id.withBytes { name.appending($0) }
    }

    /// All intents and orphans; damaged ones are left to verify.
    fileprivate func unfinished() throws(Failure) -> [UnfinishedRow] {
        var rows: [UnfinishedRow] = []
        for (prefix, kind) in [(RowKind.intent, UnfinishedRow.Kind.intent), (.orphan, .orphan)] {
            try scanRaw(RowKey(prefix)) { (row, value) throws(Failure) in
                if let buffer = try? sealer.open(value, for: row),
                    let unfinished = try? UnfinishedRow(kind, decoding: buffer)
                {
                    rows.append(unfinished)
                }
                return true
            }
        }
        return rows
    }

    fileprivate func knownVaultIDs() throws(Failure) -> [VaultID] {
        var ids = try unfinished().map { $0.record.id }
        for kind in [RowKind.credential, .deleted] {
            try scanRaw(RowKey(kind)) { (row, value) throws(Failure) in
                if let buffer = try? sealer.open(value, for: row),
                    let record = try? CredentialRecord(decoding: buffer),
                    case .vault(let id, _) = record.secret
                {
                    ids.append(id)
                }
                return true
            }
        }
        return ids
    }
}
