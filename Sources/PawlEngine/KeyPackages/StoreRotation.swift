package import PawlCore
package import PawlCrypto
internal import PawlStore

/// Key packages that come and go by themselves: the machine's tasks, carried out.
extension Store {
    // MARK: The host's side

    /// Begins, or changes the options.
    package func beginRotation(
        _ account: Identifier, _ options: Rotation.Options
    ) throws(Failure) {
        try options.check()
        let known = try packages(account)
        try transact(.write) { (transaction) throws(Failure) in
            _ = try transaction.accountRecord(account)
            let now = now()
            if var rotation = try transaction.readableRotation(of: account) {
                try rotation.change(options, now: now)
                transaction.change(rotation, of: account)
            } else {
                let rotation = try Rotation(
                    options, adopting: known.map { ($0.id, $0.notAfter) }, now: now)
                transaction.change(rotation, of: account)
            }
        }
    }

    package func changeRotation(
        _ account: Identifier, _ body: (inout Rotation, Int64) -> Void
    ) throws(Failure) {
        try transact(.write) { (transaction) throws(Failure) in
            guard var rotation = try transaction.rotation(of: account) else { throw .notFound }
            body(&rotation, now())
            transaction.change(rotation, of: account)
        }
    }

    package func rotation(_ account: Identifier) throws(Failure) -> Rotation {
        let found = try transact(.read) { (transaction) throws(Failure) in
            try transaction.rotation(of: account)
        }
        guard let found else { throw .notFound }
        return found
    }

    // MARK: Jobs

    /// Rotates, or replenishes. What is likely to be drawn is drawn before the store is locked.
    func runDrawing(_ due: DueJob) throws(Failure) -> Bool {
        let account = due.job.subject
        var foreseen: Rotation.Task?
        var plan: PlannedDraft?
        try transact(.read) { (transaction) throws(Failure) in
            guard var rotation = try transaction.rotation(of: account) else { return }
            foreseen = rotation.task(of: due.job.kind, now: now()).task
            plan = try plannedDraft(foreseen, rotation.options, account, transaction)
        }
        var draft = try plan?.draw(now: now())
        return try transact(.write) { (transaction) throws(Failure) in
            guard let claimed = try transaction.claim(due) else { return false }
            try transaction.cancel(claimed.job)
            guard var rotation = try transaction.rotation(of: account) else { return true }
            let now = now()
            let (task, expired) = rotation.task(of: due.job.kind, now: now)
            if expired { try transaction.tell(.expired, account) }
            if let task {
                let wanted = try plannedDraft(task, rotation.options, account, transaction)
                if let wanted, task != foreseen || !wanted.isLike(plan) {
                    // Another has changed what is wanted: what was drawn is of no use.
                    draft = try wanted.draw(now: now)
                }
                try carryOut(task, draft, &rotation, account, transaction)
            }
            transaction.change(rotation, of: account)
            return true
        }
    }

    private func plannedDraft(
        _ task: Rotation.Task?, _ options: Rotation.Options, _ account: Identifier,
        _ transaction: Transaction
    ) throws(Failure) -> PlannedDraft? {
        switch task {
        case .draw:
            let (record, state) = try transaction.ownRecords(account)
            return PlannedDraft(
                record: record, suites: try SuiteList(from: state.minSuite), package: nil,
                lifetime: options.lifetime, first: 1, count: options.pool)
        case .drawKeys(let id, let first, let count):
            guard let buffer = try transaction.get(.package(account, id)) else {
                throw .corrupt(.record)
            }
            let (record, state) = try transaction.ownRecords(account)
            return PlannedDraft(
                record: record, suites: try SuiteList(from: state.minSuite),
                package: try PackageRecord(decoding: buffer), lifetime: options.lifetime,
                first: first, count: count)
        case .publishAgain, .publishKeysAgain, .readBack, nil: return nil
        }
    }

    private func carryOut(
        _ task: Rotation.Task, _ draft: PackageDraft?, _ rotation: inout Rotation,
        _ account: Identifier, _ transaction: Transaction
    ) throws(Failure) {
        switch task {
        case .draw:
            guard let draft, let package = draft.bytes.first else { throw .internal }
            draft.store(of: account, in: transaction)
            let keys = Array(draft.bytes.dropFirst())
            let seq = try transaction.ask(
                .publish, account, keys: keys.count,
                Publication.write(package: package.bytes, keys: keys))
            let abandoned = rotation.stage(
                draft.id, notAfter: draft.notAfter, oneTime: UInt32(keys.count), seq: seq,
                now: now(), random: randomNumber())
            if let abandoned { try transaction.settle(abandoned) }
            try transaction.evictKeys(of: account, rotation, adding: keys.count)
        case .drawKeys(_, let first, let count):
            guard let draft else { throw .internal }
            draft.store(of: account, in: transaction)
            let seq = try transaction.ask(
                .publishKeys, account, keys: draft.bytes.count,
                Publication.write(package: .empty, keys: draft.bytes))
            rotation.add(keys: count, from: first, seq: seq)
            try transaction.evictKeys(of: account, rotation, adding: draft.bytes.count)
        case .publishAgain(let staged):
            guard let buffer = try transaction.get(.package(account, staged.id)) else {
                throw .corrupt(.record)
            }
            let package = try PackageRecord(decoding: buffer)
            let keys = try transaction.publishedKeys(account, staged.id, 1, staged.oneTime)
            let body = try Publication.write(package: package.published, keys: keys)
            withExtendedLifetime(package) {}
            rotation.askedAgain(
                toPublish: try transaction.ask(.publish, account, keys: keys.count, body))
        case .publishKeysAgain(let id, let batch):
            let keys = try transaction.publishedKeys(account, id, batch.first, batch.count)
            let body = try Publication.write(package: .empty, keys: keys)
            rotation.askedAgain(
                toPublishKeys: try transaction.ask(
                    .publishKeys, account, keys: keys.count, body))
        case .readBack: throw .internal
        }
    }

    func verifyPublication(_ account: Identifier, _ transaction: Transaction) throws(Failure) {
        guard var rotation = try transaction.rotation(of: account) else { return }
        if rotation.readbackTask(now: now()) != nil {
            let empty = try SecretBuffer(count: 0)
            rotation.askedToReadBack(try transaction.ask(.readBack, account, keys: 0, empty))
        }
        transaction.change(rotation, of: account)
    }

    /// By its exact id, whatever has become of all others.
    func deleteSuperseded(_ due: DueJob, _ transaction: Transaction) throws(Failure) {
        let id = due.job.subject
        guard let detail = due.record?.detail, detail.count == Identifier.size else {
            throw .corrupt(.record)
        }
        var account = Identifier.none
        try detail.span.bytes.withUnsafeBytes { (bytes) throws(Failure) in
            account = try Identifier(bytes)
        }
        if var rotation = try transaction.readableRotation(of: account) {
            let isOver = rotation.remove(id, now: now())
            transaction.change(rotation, of: account)
            // Planned under another clock, or in use again.
            guard isOver == true else { return }
        }
        try transaction.erasePackage(account, id)
    }

    // MARK: Answers

    func answerRotation(
        _ item: OutboxItem, _ seq: UInt64, body: Bytes, in transaction: Transaction
    ) throws(Failure) {
        guard var rotation = try transaction.rotation(of: item.account) else { return }
        let now = now()
        if Request(rawValue: item.what) == .readBack {
            let served = try served(body, item.account, transaction)
            let (heard, dropped) = rotation.readBack(seq, served, now: now)
            for seq in dropped { try transaction.settle(seq) }
            if case .readBack(let finding?) = heard { try transaction.tell(finding, item.account) }
        } else {
            guard body.isEmpty else { throw .misuse(.size) }
            for seq in rotation.answered(seq, now: now).dropped { try transaction.settle(seq) }
        }
        transaction.change(rotation, of: item.account)
    }

    private func served(
        _ body: Bytes, _ account: Identifier, _ transaction: Transaction
    ) throws(Failure) -> Rotation.Served {
        guard !body.isEmpty else { return .nothing }
        let package: KeyPackage
        do throws(Failure) {
            package = try KeyPackage(body)
        } catch {
            switch error {
            case .misuse, .auth, .version: return .unreadable
            default: throw error
            }
        }
        let record = try transaction.accountRecord(account)
        guard package.identity.isSame(as: try record.triple) else { return .foreign }
        var isKnown = false
        do throws(Failure) {
            if let buffer = try transaction.get(.package(account, package.id)) {
                let own = try PackageRecord(decoding: buffer)
                let hash = try KeyPackage.hash(own.published)
                isKnown = hash.bytes.sameBytes(as: package.hash.bytes)
                withExtendedLifetime((own, hash, package)) {}
            }
        } catch {
            guard error == .corrupt(.record) else { throw error }
        }
        return .own(package.id, isKnown: isKnown)
    }
}

/// What is to be drawn, and from what.
private struct PlannedDraft {
    let record: AccountRecord
    let suites: SuiteList
    /// Whose one-time keys; nil: a new package.
    let package: PackageRecord?
    let lifetime: Int64
    let first: UInt32
    let count: UInt32

    /// Of the same task.
    func isLike(_ other: PlannedDraft?) -> Bool {
        suites == other?.suites && lifetime == other?.lifetime && count == other?.count
    }

    func draw(now: Int64) throws(Failure) -> PackageDraft {
        if let package {
            defer { withExtendedLifetime(package) {} }
            return try PackageDraft(
                record, keysOf: KeyPackage(own: package.published), count: count, from: first,
                now: now)
        }
        return try PackageDraft(
            record, suites, now: now, lifetime: lifetime, oneTimeKeys: count)
    }
}

extension Rotation {
    fileprivate mutating func task(of kind: JobKind, now: Int64) -> (task: Task?, expired: Bool) {
        kind == .replenish ? (keysTask(now: now), false) : rotationTask(now: now)
    }
}

extension Transaction {
    /// Puts a request about one's own packages into the outbox.
    fileprivate func ask(
        _ what: Request, _ account: Identifier, keys: Int, _ body: SecretBuffer
    ) throws(Failure) -> UInt64 {
        let record = try accountRecord(account)
        return try enqueue(
            .request(
                what.rawValue, count: UInt64(keys), account: account, session: nil,
                peer: record.triple, body: body.bytes))
    }

    fileprivate func tell(
        _ finding: Rotation.Finding, _ account: Identifier
    ) throws(Failure) {
        let record = try accountRecord(account)
        _ = try enqueue(
            .event(
                SessionEvent.publication.rawValue, count: finding.rawValue, account: account,
                session: nil, peer: record.triple))
    }

    /// One-time keys as they were published, without those that were used since.
    fileprivate func publishedKeys(
        _ account: Identifier, _ package: Identifier, _ first: UInt32, _ count: UInt32
    ) throws(Failure) -> [SecretBuffer] {
        var keys: [SecretBuffer] = []
        for offset in 0..<count {
            let (number, overflow) = first.addingReportingOverflow(offset)
            guard !overflow, let buffer = try get(.oneTime(account, package, number)) else {
                continue
            }
            let record = try PackageRecord(decoding: buffer)
            keys.append(try SecretBuffer(copying: record.published))
            withExtendedLifetime(record) {}
        }
        return keys
    }

    /// At most five times as many private halves as a server ever has public ones, however few are wanted by now: it still
    /// hands out what it has. The oldest go first.
    fileprivate func evictKeys(
        of account: Identifier, _ rotation: Rotation, adding count: Int
    ) throws(Failure) {
        var rows: [RowKey] = []
        for package in rotation.superseded.map({ $0.id }) + [rotation.current?.id] {
            guard let package else { continue }
            try scanRaw(package.withBytes { RowKey.of(.oneTime, account).appending($0) }) {
                (row, _) in
                rows.append(row)
                return true
            }
        }
        let room = 5 * PackageRecord.oneTimeLimit - count
        guard rows.count > room else { return }
        for row in rows.prefix(rows.count - room) { delete(row) }
        try scheduleCheckpoint()
    }

    /// The host gave a request of an account up, or cannot get it.
    func giveUp(_ seq: UInt64, of account: Identifier) throws(Failure) {
        guard var rotation = try readableRotation(of: account), rotation.awaits(seq) else { return }
        rotation.gaveUp(seq, now: clock.now())
        change(rotation, of: account)
    }
}
