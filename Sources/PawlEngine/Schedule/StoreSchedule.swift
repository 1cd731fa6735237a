package import PawlCore
package import PawlCrypto
internal import PawlStore

/// The runner of what is due: each job in a transaction of its own, so that one that fails costs itself alone.
extension Store {
    /// When the next job is due or the next item can be taken; nil: nothing is planned. What is reached
    /// is given as a time in the past that a host can calculate with.
    package func nextDeadline() throws(Failure) -> Int64? {
        defer { lookAgain() }
        guard let due = try deadline() else { return nil }
        let now = now()
        return switch plan(due, now: now) {
        case .runNow: min(max(due, 0), now)
        case .sleep(let until): until
        case .rest: nil
        }
    }

    private func deadline() throws(Failure) -> Int64? {
        try transact(.read) { (transaction) throws(Failure) in try transaction.nextDeadline() }
    }

    /// Runs at most `limit` jobs that are due, in the order of their times, and answers how many.
    package func runDue(limit: Int) throws(Failure) -> Int {
        guard !isBatch else { throw .state(.batch) }
        defer { lookAgain() }
        var ran = 0
        var mayBeBack = true
        while ran < limit {
            var isBack = false
            let first = try transact(.read) { (transaction) throws(Failure) in
                if mayBeBack { isBack = try transaction.isClockBack() }
                return try transaction.firstJob()
            }
            mayBeBack = false
            guard !isBack else {
                try transact(.write) { (transaction) throws(Failure) in
                    try transaction.distrustFarTimes()
                }
                continue
            }
            guard let first, plan(first.due, now: now()) == .runNow else { break }
            if try run(first) { ran += 1 }
        }
        return ran
    }

    /// False if there was nothing to run: somebody else was faster.
    private func run(_ due: DueJob) throws(Failure) -> Bool {
        do throws(Failure) {
            switch due.job.kind {
            case .checkpoint: return try runCheckpoint(due)
            case .orphanRetry: return try retryOrphan(due)
            case .credentialPurge, .setUpDeadline, .skippedKeys, .sessionEnd, .rekeyRetry,
                .epochEnd, .tombstone, .deletePackage, .verifyPublication, .backup:
                return try runInTransaction(due)
            case .rotatePackage, .replenish: return try runDrawing(due)
            }
        } catch {
            guard error.countsAgainstJob else { throw error }
            return try transact(.write) { (transaction) throws(Failure) in
                guard let job = try transaction.claim(due) else { return false }
                try transaction.postpone(job, cause: error.primary)
                return true
            }
        }
    }

    private func runInTransaction(_ due: DueJob) throws(Failure) -> Bool {
        let orphans = try transact(.write) { (transaction) throws(Failure) -> [VaultID]? in
            guard let claimed = try transaction.claim(due) else { return nil }
            let job = claimed.job
            guard claimed.record != nil || !job.kind.needsDetail else {
                try transaction.setAside(claimed)
                return []
            }
            try transaction.cancel(job)
            var orphans: [VaultID] = []
            switch job.kind {
            case .credentialPurge: orphans = try purgeCredential(claimed, transaction)
            case .setUpDeadline, .skippedKeys, .sessionEnd, .rekeyRetry, .epochEnd:
                try runSessionJob(job, transaction)
            case .tombstone:
                transaction.delete(.of(.tombstone, job.subject))
                try transaction.scheduleCheckpoint()
            case .deletePackage: try deleteSuperseded(claimed, transaction)
            case .verifyPublication: try verifyPublication(job.subject, transaction)
            case .backup: try transaction.step(job.subject, .deadline)
            case .checkpoint, .orphanRetry, .rotatePackage, .replenish: throw .internal
            }
            try transaction.keepFromSpinning(job)
            return orphans
        }
        sweep(orphans ?? [])
        return orphans != nil
    }

    // MARK: Inspection

    /// Jobs, or with `areDead` those that were set aside.
    package func jobs(
        areDead: Bool, after: (job: Job, due: Int64)?, limit: Int
    ) throws(Failure) -> [JobRow] {
        try transact(.read) { (transaction) throws(Failure) in
            if areDead { return try transaction.deadLetters(after: after?.job, limit: limit) }
            let after = after.map { DueJob(job: $0.job, due: $0.due, record: nil) }
            return try transaction.jobs(after: after, limit: limit)
        }
    }

    /// Has a job that was set aside tried again.
    package func revive(_ job: Job) throws(Failure) {
        defer { lookAgain() }
        try transact(.write) { (transaction) throws(Failure) in try transaction.revive(job) }
    }

    // MARK: Kinds

    /// For how long a checkpoint is lent to whoever makes it: always to a time that is more than a minute ahead, from where
    /// what is erased meanwhile moves it.
    private static let checkpointLease = 5 * Backoff.minute

    /// The log is emptied outside of any transaction. What is erased meanwhile moves the job, which is lent, to its own
    /// time, and then it stays.
    private func runCheckpoint(_ due: DueJob) throws(Failure) -> Bool {
        let lent = try transact(.write, .relaxed) { (transaction) throws(Failure) -> DueJob? in
            guard let claimed = try transaction.claim(due) else { return nil }
            return try transaction.lend(claimed, for: Self.checkpointLease)
        }
        guard let lent else { return false }
        let isClean = try checkpoint()
        return try transact(.write) { (transaction) throws(Failure) in
            guard let claimed = try transaction.claim(lent) else { return false }
            if isClean {
                try transaction.cancel(claimed.job)
            } else {
                try transaction.postpone(claimed, cause: Failure.busy(.writer).primary)
            }
            return true
        }
    }
}

extension Failure {
    /// Whether a job failed by itself. Otherwise the store failed, and so would all others.
    fileprivate var countsAgainstJob: Bool {
        switch self {
        case .store, .busy, .closed, .limit(.memory): false
        case .misuse, .buffer, .notFound, .exists, .state, .time, .auth, .replay, .limit,
            .version, .corrupt, .desynchronized, .internal:
            true
        }
    }
}
