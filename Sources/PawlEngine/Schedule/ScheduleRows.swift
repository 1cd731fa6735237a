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

    static func deadLetter(_ job: Job) -> RowKey { RowKey(.deadLetter).appending(job) }

    private consuming func appending(_ job: Job) -> RowKey {
        appending(job.kind.rawValue).appending(job.subject)
    }

    /// nil: of a kind that this Pawl does not know.
    fileprivate var job: (due: Int64, job: Job)? {
        withBytes { bytes in
            var reader = ByteReader(Bytes(rebasing: bytes.dropFirst()))
            guard let due = try? reader.ordered(), let job = reader.job() else { return nil }
            return (due, job)
        }
    }

    /// The same of a dead letter.
    fileprivate var deadJob: Job? {
        withBytes { bytes in
            var reader = ByteReader(Bytes(rebasing: bytes.dropFirst()))
            return reader.job()
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

    /// The job at the end of a row's key; nil: of a kind that this Pawl does not know.
    fileprivate mutating func job() -> Job? {
        guard let number = try? integer(UInt8.self), let kind = JobKind(rawValue: number),
            let subject = try? Identifier(take(Identifier.size)), isAtEnd
        else { return nil }
        return Job(kind, subject)
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

    /// Plans a job for a time, which is no later than its kind allows; a job has one. `detail` (up to 255 bytes) is
    /// for whoever runs it.
    package func schedule(_ job: Job, at due: Int64, detail: [UInt8] = []) throws(Failure) {
        let due = min(due, job.latest(now: clock.now()))
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
        let wanted = Backoff.after(clock.now(), Backoff.minute)
        // One that is further off is under way and may not see what this call erases, or was planned by another clock.
        if let due = try due(of: .checkpoint), due <= wanted { return }
        try schedule(.checkpoint, at: wanted)
    }

    /// Puts a job off after a failure, or aside after too many.
    func postpone(_ due: DueJob, cause: UInt8) throws(Failure) {
        var record = due.record ?? JobRecord()
        record.failures = record.failures == UInt32.max ? record.failures : record.failures + 1
        record.cause = cause
        if let limit = due.job.kind.attemptLimit, record.failures >= limit {
            return try setAside(due.job, record)
        }
        let wait = Backoff.wait(
            failures: record.failures, first: due.job.kind.firstRetry,
            limit: due.job.kind.retryLimit, random: randomNumber())
        try set(due.job, due: Backoff.later(clock.now(), wait), record)
    }

    /// Moves a job ahead, to a time that nobody else draws: until then it is its caller's alone, who finds by that time
    /// whether it still is.
    func lend(_ due: DueJob, for lease: Int64) throws(Failure) -> DueJob {
        let fence = Int64(randomNumber() % UInt64(Backoff.second))
        let end = Backoff.later(clock.now(), lease + fence)
        try set(due.job, due: end, due.record ?? JobRecord())
        return DueJob(job: due.job, due: end, record: due.record)
    }

    /// Makes a dead letter of a job: it is not tried until somebody revives it, and the host is told.
    func setAside(_ job: Job, _ record: JobRecord) throws(Failure) {
        try cancel(job)
        try put(.deadLetter(job), DeadLetter(record, since: clock.now()).encoded())
        // Whose it is, if that can still be told.
        let session = try? session(job.subject).session
        var account = session?.account ?? .none
        try getRaw(.of(.account, job.subject)) { (_) in account = job.subject }
        try withExtendedLifetime(session) { () throws(Failure) in
            _ = try enqueue(
                .event(
                    StoreEvent.deadLetter.rawValue, count: UInt64(job.kind.rawValue),
                    account: account, session: session?.id, peer: session?.peer))
        }
    }

    /// A job that planned itself for a time that has passed would be run again and again.
    package func keepFromSpinning(_ job: Job) throws(Failure) {
        guard let due = try due(of: job), due <= clock.now() else { return }
        schedule.jobs[job]?.due = Backoff.later(clock.now(), Backoff.second)
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
        if !schedule.jobs.isEmpty || outbox.setsTimes { try noteTime() }
        for (job, entry) in schedule.jobs {
            if entry.before == nil { try deleteDeadLetter(job) }
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

    // MARK: Clocks

    /// A row says, to a minute, when the schedule was changed last. Nil: there is none that can be read.
    private func lastChange() throws(Failure) -> Int64? {
        do throws(Failure) {
            guard let buffer = try get(RowKey(.clock)) else { return nil }
            var reader = ByteReader(buffer.bytes)
            let time = try reader.integer(Int64.self)
            try reader.finish()
            return time
        } catch {
            guard error == .corrupt(.record) else { throw error }
            return nil
        }
    }

    private func noteTime() throws(Failure) {
        let now = clock.now()
        if let seen = memory.lastChange, now >= seen,
            now <= seen.addingSaturated(Backoff.minute)
        {
            return
        }
        memory.lastChange = try lastChange()
        if let last = memory.lastChange, now <= last.addingSaturated(Backoff.minute) { return }
        try note(now)
    }

    private func note(_ time: Int64) throws(Failure) {
        try withUnsafeBytes(of: time.littleEndian) { (bytes) throws(Failure) in
            try put(RowKey(.clock), bytes)
        }
    }

    /// Whether the clock was set back, so that what was planned before may be too far away.
    func isClockBack() throws(Failure) -> Bool {
        guard let last = try lastChange() else { return false }
        return clock.now() < last.subtractingSaturated(Backoff.minute)
    }

    /// What is further away than this clock can have planned it is due now, and what is lent for longer than it can
    /// be is free.
    func distrustFarTimes() throws(Failure) {
        guard try isClockBack() else { return }
        let now = clock.now()
        var far: [DueJob] = []
        let start = RowKey(.job).appending(now.ordered)
        try scanRaw(RowKey(.job), after: start) { (row, value) throws(Failure) in
            guard let found = try dueJob(row, value) else { return true }
            if (found.record ?? JobRecord()).isFar(found.due, of: found.job, now: now) {
                far.append(found)
            }
            return true
        }
        for found in far {
            guard let job = try claim(found) else { continue }
            if job.record == nil, job.job.kind.needsDetail {
                try setAside(job)
            } else {
                try set(job.job, due: now, job.record ?? JobRecord())
            }
        }
        try freeFarItems(now)
        try note(now)
    }

    // MARK: Looking

    /// The job that comes first. What a newer Pawl planned is its own to run.
    func firstJob() throws(Failure) -> DueJob? {
        var first: DueJob?
        try scanRaw(RowKey(.job)) { (row, value) throws(Failure) in
            first = try dueJob(row, value)
            return first == nil
        }
        return first
    }

    /// Nil: a newer Pawl's.
    private func dueJob(_ row: RowKey, _ value: Bytes) throws(Failure) -> DueJob? {
        guard let (due, job) = row.job else { return nil }
        do throws(Failure) {
            let record = try JobRecord(decoding: open(value, at: row))
            return DueJob(job: job, due: due, record: record)
        } catch {
            guard error != .version else { return nil }
            guard error == .corrupt(.record) else { throw error }
            return DueJob(job: job, due: due, record: nil)
        }
    }

    /// The job as it is now, if it is still due at the time it was seen at. A row that its job does not
    /// know of is removed.
    func claim(_ seen: DueJob) throws(Failure) -> DueJob? {
        let row = RowKey.job(seen.job, due: seen.due)
        let planned = try due(of: seen.job)
        guard planned == seen.due else {
            delete(row)
            if planned == nil { delete(.jobTime(seen.job)) }
            return nil
        }
        do throws(Failure) {
            let record = try get(row).map { (buffer) throws(Failure) in
                try JobRecord(decoding: buffer)
            }
            guard let record else { return nil }
            return DueJob(job: seen.job, due: seen.due, record: record)
        } catch {
            guard error == .corrupt(.record) else { throw error }
            return DueJob(job: seen.job, due: seen.due, record: nil)
        }
    }

    /// Jobs in the order of their times.
    func jobs(after: DueJob?, limit: Int) throws(Failure) -> [JobRow] {
        var rows: [JobRow] = []
        let start = after.map { RowKey.job($0.job, due: $0.due) }
        try scanRaw(RowKey(.job), after: start) { (row, value) throws(Failure) in
            guard let found = try dueJob(row, value) else { return true }
            rows.append(JobRow(found.job, due: found.due, found.record, isDead: false))
            return rows.count < limit
        }
        return rows
    }

    /// Dead letters in the order of kinds and subjects.
    func deadLetters(after: Job?, limit: Int) throws(Failure) -> [JobRow] {
        var rows: [JobRow] = []
        let start = after.map { RowKey.deadLetter($0) }
        try scanRaw(RowKey(.deadLetter), after: start) { (row, value) throws(Failure) in
            guard let job = row.deadJob else { return true }
            do throws(Failure) {
                let letter = try DeadLetter(decoding: sealer.open(value, for: row))
                rows.append(JobRow(job, due: letter.since, letter.record, isDead: true))
            } catch {
                guard error != .version else { return true }
                guard error == .corrupt(.record) else { throw error }
                rows.append(JobRow(job, due: CredentialRules.never, nil, isDead: true))
            }
            return rows.count < limit
        }
        return rows
    }

    // MARK: Dead letters

    /// Makes a dead letter of a job whose record cannot be read.
    func setAside(_ damaged: DueJob) throws(Failure) {
        var record = JobRecord()
        record.failures = 1
        record.cause = Failure.corrupt(.record).primary
        try setAside(damaged.job, record)
    }

    /// Makes a job of a dead letter, due now.
    func revive(_ job: Job) throws(Failure) {
        var isThere = false
        try getRaw(.deadLetter(job)) { (_) in isThere = true }
        guard isThere else { throw .notFound }
        var detail: [UInt8] = []
        do throws(Failure) {
            let buffer = try get(.deadLetter(job))
            if let buffer { detail = try DeadLetter(decoding: buffer).record.detail }
        } catch {
            guard error == .corrupt(.record), !job.kind.needsDetail else { throw error }
        }
        let now = min(clock.now(), CredentialRules.never - 1)
        try set(job, due: now, JobRecord(detail: detail))
    }

    private func deleteDeadLetter(_ job: Job) throws(Failure) {
        let row = RowKey.deadLetter(job)
        var isThere = false
        try getRaw(row) { (_) in isThere = true }
        if isThere { delete(row) }
    }

    /// Whether a time is before all in rows' keys, whether this Pawl can read the rows or not.
    func isFirst(_ time: Int64) throws(Failure) -> Bool {
        if let lane = try firstReady(), lane.time <= time { return false }
        var job: Int64?
        try scanRaw(RowKey(.job)) { (row, _) in
            job = row.job?.due
            return job == nil
        }
        return job.map { time < $0 } ?? true
    }

    /// What there is besides what can be done at once.
    func outlook(_ now: Int64) throws(Failure) -> Outlook {
        guard try !isClockBack() else { return Outlook(hasItems: false, next: Int64.min) }
        var lane = try firstReady()
        let hasItems = lane.map { plan($0.time, now: now) == .runNow } ?? false
        // Those that can be taken now, the host was told of.
        if hasItems { lane = try firstReady(after: RowKey(.ready).appending(now.ordered).end) }
        let job = try firstJob()?.due ?? CredentialRules.never
        let next = min(job, lane?.time ?? CredentialRules.never)
        return Outlook(hasItems: hasItems, next: next == CredentialRules.never ? nil : next)
    }

    /// When the next job is due or the next lane can be taken from; at once if all times are in doubt.
    func nextDeadline() throws(Failure) -> Int64? {
        guard try !isClockBack() else { return Int64.min }
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
