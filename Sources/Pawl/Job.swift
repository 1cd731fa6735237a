import CPawl

/// What Pawl has to do later: a row of the schedule, or a dead letter.
public struct Job: Sendable, Hashable {
    /// What is to be done.
    public struct Kind: RawRepresentable, Sendable, Hashable {
        /// Its number, `PAWL_JOB_*` of `pawl.h`.
        public let rawValue: UInt32

        /// A kind by its number, which may be that of a newer version.
        public init(rawValue: UInt32) { self.rawValue = rawValue }

        private init(_ number: Int32) { rawValue = UInt32(number) }

        /// Remove an expired credential or a deleted version.
        public static let credentialPurge = Kind(PAWL_JOB_CREDENTIAL_PURGE)
        /// Bring what was erased out of the log.
        public static let checkpoint = Kind(PAWL_JOB_CHECKPOINT)
        /// Nobody answered a session's set-up.
        public static let setUpDeadline = Kind(PAWL_JOB_SETUP_DEADLINE)
        /// Erase keys of messages that are late.
        public static let lateKeys = Kind(PAWL_JOB_LATE_KEYS)
        /// Erase a receive-only or unconfirmed session.
        public static let sessionEnd = Kind(PAWL_JOB_SESSION_END)
        /// Say again what was not answered.
        public static let rekeyRetry = Kind(PAWL_JOB_REKEY_RETRY)
        /// Rekey a session by time.
        public static let epochEnd = Kind(PAWL_JOB_EPOCH_END)
        /// Forget a closed session.
        public static let tombstone = Kind(PAWL_JOB_TOMBSTONE)
        /// Replace an account's key package.
        public static let rotatePackage = Kind(PAWL_JOB_ROTATE_PACKAGE)
        /// Erase the private half of a superseded key package.
        public static let deletePackage = Kind(PAWL_JOB_DELETE_PACKAGE)
        /// Make one-time keys.
        public static let replenish = Kind(PAWL_JOB_REPLENISH)
        /// Ask what the server really serves.
        public static let verifyPublication = Kind(PAWL_JOB_VERIFY_PUBLICATION)
        /// Remove a value that the vault kept when it was to go.
        public static let orphanRetry = Kind(PAWL_JOB_ORPHAN_RETRY)
        /// Go on with a backup.
        public static let backup = Kind(PAWL_JOB_BACKUP)
    }

    /// What is to be done.
    public let kind: Kind
    /// What it is about, mostly the id of a session or an account: 16 bytes.
    public let subject: Identifier<Job>
    /// When it is due, or since when it is a dead letter; nil: its record is damaged.
    public let due: Timestamp?
    /// How many attempts have failed.
    public let failures: Int
    /// Why the last one did; nil: none has failed yet.
    public let lastFailure: PawlError.Code?
    /// Whether it is not tried any more.
    public let isDead: Bool

    init(_ row: pawl_job) {
        kind = Kind(rawValue: row.kind)
        subject = Identifier(row: row.subject)
        due = .unlessNever(row.due_ns)
        failures = Int(row.attempts)
        lastFailure = row.last_status == PAWL_OK ? nil : PawlError(row.last_status).code
        isDead = row.flags & UInt32(PAWL_JOB_DEAD) != 0
    }

    var row: pawl_job {
        var row = pawl_job.sized()
        row.kind = kind.rawValue
        withUnsafeMutableBytes(of: &row.subject) { $0.copyBytes(from: subject.bytes) }
        row.due_ns = due?.nanoseconds ?? Int64.max
        return row
    }
}

extension Store {
    /// A page of the jobs, in the order of their times.
    ///
    /// - Parameters:
    ///   - areDead: those instead that were set aside, because they failed 10 times or their records
    ///     are damaged; in the order of kinds and subjects.
    ///   - job: start after this one, which need not be there any more; nil: from the first.
    ///   - limit: at most that many, 1 to 10,000.
    public func jobs(
        areDead: Bool = false, after job: Job? = nil, limit: Int = 1000
    ) throws(PawlError) -> [Job] {
        try calls.jobs(areDead: areDead, after: job, limit: limit)
    }

    /// All jobs, or all that were set aside, asked for by the page.
    ///
    /// - Parameters:
    ///   - areDead: as in ``jobs(areDead:after:limit:)``.
    ///   - pageSize: how many to ask for at a time, 1 to 10,000.
    public nonisolated func allJobs(areDead: Bool = false, pageSize: Int = 1000) -> Pages<Job> {
        Pages(of: pageSize) { last throws(PawlError) in
            try await self.jobs(areDead: areDead, after: last, limit: pageSize)
        }
    }

    /// Has a job that was set aside tried again, now and as if it had never failed.
    ///
    /// - Throws: ``PawlError/Code/notFound``.
    public func revive(_ job: Job) throws(PawlError) { try calls.revive(job) }
}
