package import PawlCore
package import PawlCrypto
internal import PawlStore

/// Jobs as rows: the time in front, so that the first row is what comes next, and a second row that finds the
/// time of a job.
extension RowKey {
    static func job(_ job: Job, due: Int64) -> RowKey {
        RowKey(.job).appending(due.ordered).appending(job)
    }

    static func jobTime(_ job: Job) -> RowKey { RowKey(.jobTime).appending(job) }

    private func appending(_ job: Job) -> RowKey {
        let key = withUnsafeBytes(of: job.kind.rawValue) { appending($0) }
        return job.subject.withBytes { key.appending($0) }
    }

    /// nil: of a kind that this Pawl does not know.
    fileprivate var job: (due: Int64, job: Job)? {
        withBytes { bytes in
            var reader = ByteReader(Bytes(rebasing: bytes.dropFirst()))
            guard let due = try? reader.ordered(), let number = try? reader.integer(UInt8.self),
                let kind = JobKind(rawValue: number),
                let subject = try? Identifier(reader.take(Identifier.size)), reader.isAtEnd
            else { return nil }
            return (due, Job(kind, subject))
        }
    }
}

extension Int64 {
    /// Unsigned, in the same order.
    var ordered: UInt64 { UInt64(bitPattern: self) ^ 1 << 63 }

    init(ordered: UInt64) { self = Int64(bitPattern: ordered ^ 1 << 63) }
}

extension ByteReader {
    /// A time in a row's key.
    mutating func ordered() throws(Failure) -> Int64 {
        Int64(ordered: UInt64(bigEndian: try take(8).loadUnaligned(as: UInt64.self)))
    }
}

/// What one call does to the schedule.
struct ScheduleChange {
    struct Entry {
        let before: Int64?
        var due: Int64?
        /// nil: as it is.
        var record: JobRecord?
    }
    var jobs: [Job: Entry] = [:]
}

/// A job that a row names.
struct DueJob {
    let job: Job
    let due: Int64
    /// nil: damaged.
    let record: JobRecord?
}

extension Transaction {
    // MARK: Planning

    /// Plans a job for a time; a job has one. `detail` (up to 255 bytes) is for whoever runs it.
    package func schedule(_ job: Job, at due: Int64, detail: [UInt8] = []) throws(Failure) {
        try set(job, due: due, JobRecord(detail: detail))
    }

    /// The earlier of the time that a job has and `due`.
    package func pullIn(_ job: Job, to due: Int64) throws(Failure) {
        guard try self.due(of: job) ?? Int64.max > due else { return }
        try schedule(job, at: due)
    }

    package func cancel(_ job: Job) throws(Failure) { try set(job, due: nil, nil) }

    package func due(of job: Job) throws(Failure) -> Int64? { try entry(of: job).due }

    /// What was erased leaves the log, too, within a minute.
    package func scheduleCheckpoint() throws(Failure) {
        guard canCheckpoint else { return }
        let now = clock.now()
        let wanted = Backoff.after(now, Backoff.minute)
        // One that is due may be under way and not see what this call erases; one far off was planned by another
        // clock.
        if let due = try due(of: .checkpoint), due > now, due <= wanted { return }
        try schedule(.checkpoint, at: wanted)
    }

    /// Puts a job off after a failure.
    func postpone(_ due: DueJob, cause: UInt8) throws(Failure) {
        var record = due.record ?? JobRecord()
        record.failures = record.failures == UInt32.max ? record.failures : record.failures + 1
        record.cause = cause
        let wait = Backoff.wait(
            failures: record.failures, limit: due.job.kind.retryLimit, random: randomNumber())
        try set(due.job, due: Backoff.after(clock.now(), wait), record)
    }

    /// A job that planned itself for a time that has passed would be run again and again.
    package func keepFromSpinning(_ job: Job) throws(Failure) {
        let now = clock.now()
        guard let due = try due(of: job), due <= now else { return }
        schedule.jobs[job]?.due = Backoff.after(now, Backoff.second)
    }

    private func set(_ job: Job, due: Int64?, _ record: JobRecord?) throws(Failure) {
        var entry = try entry(of: job)
        entry.due = due
        entry.record = record
        schedule.jobs[job] = entry
    }

    private func entry(of job: Job) throws(Failure) -> ScheduleChange.Entry {
        if let entry = schedule.jobs[job] { return entry }
        var due: Int64?
        do throws(Failure) {
            if let buffer = try get(.jobTime(job)) {
                var reader = ByteReader(buffer.bytes)
                due = try reader.integer(Int64.self)
                try reader.finish()
            }
        } catch {
            // A row at the time that was lost is met there, and dropped.
            guard error == .corrupt(.record) else { throw error }
        }
        return ScheduleChange.Entry(before: due, due: due, record: nil)
    }

    /// Turns the planned changes into writes and answers the earliest new time.
    func concludeSchedule() throws(Failure) -> Int64? {
        var earliest: Int64?
        for (job, entry) in schedule.jobs {
            guard entry.due != entry.before || entry.record != nil else { continue }
            if let before = entry.before, before != entry.due { delete(.job(job, due: before)) }
            guard let due = entry.due else {
                delete(.jobTime(job))
                continue
            }
            try put(.job(job, due: due), (entry.record ?? JobRecord()).encoded())
            try withUnsafeBytes(of: due.littleEndian) { (bytes) throws(Failure) in
                try put(.jobTime(job), bytes)
            }
            earliest = min(earliest ?? due, due)
        }
        return earliest
    }

    // MARK: Looking

    /// The job that comes first. What a newer Pawl planned is its own to run.
    func firstJob() throws(Failure) -> DueJob? {
        var first: DueJob?
        try scanRaw(RowKey(.job)) { (row, value) throws(Failure) in
            guard let (due, job) = row.job else { return true }
            do throws(Failure) {
                let record = try JobRecord(decoding: sealer.open(value, for: row))
                first = DueJob(job: job, due: due, record: record)
            } catch {
                guard error != .version else { return true }
                guard error == .corrupt(.record) else { throw error }
                first = DueJob(job: job, due: due, record: nil)
            }
            return false
        }
        return first
    }

    /// The earliest time in any row's key, whether this Pawl can read the row or not.
    func earliestTime() throws(Failure) -> Int64? {
        var job: Int64?
        try scanRaw(RowKey(.job)) { (row, _) in
            job = row.job?.due
            return job == nil
        }
        let lane = try firstReady()?.time
        guard let job, let lane else { return job ?? lane }
        return min(job, lane)
    }

    /// When the next job is due or the next lane can be taken from.
    func nextDeadline() throws(Failure) -> Int64? {
        let job = try firstJob()?.due
        let lane = try firstReady()?.time
        guard let job, let lane else { return job ?? lane }
        return min(job, lane)
    }
}

func randomNumber() -> UInt64 {
    var random: UInt64 = 0
    withUnsafeMutableBytes(of: &random) { fillRandom($0) }
    return random
}
