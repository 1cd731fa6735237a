package import PawlCrypto

/// What happens later. Written into files: numbers are never reused.
package enum JobKind: UInt8, CaseIterable {
    /// Remove a credential or a deleted version whose time is over.
    case credentialPurge = 1
    /// Bring what was erased out of the log beside the file.
    case checkpoint = 2
    /// Nobody answered a session's set-up; the subject is the session.
    case setUpDeadline = 3
    /// Erase keys of messages that are late, and what is known of epochs that are over; the subject is the session.
    case skippedKeys = 4
    /// Erase a session; the subject is the session.
    case sessionEnd = 5
    /// Say again what was not answered; the subject is the session.
    case rekeyRetry = 6
    /// An epoch is over by its time; the subject is the session.
    case epochEnd = 7
    /// Forget a closed session; the subject is the session.
    case tombstone = 8
    /// Draw a key package, or have the one that is drawn published again; the subject is the account.
    case rotatePackage = 9
    /// Erase a superseded key package; the subject is the package, the detail its account.
    case deletePackage = 10
    /// Draw one-time keys, or have those that are drawn published again; the subject is the account.
    case replenish = 11
    /// Ask the host what the server serves; the subject is the account.
    case verifyPublication = 12
    /// Remove a value from the vault that refused it; the subject is the value's id.
    case orphanRetry = 13
    /// Go on with a backup; the subject is the account.
    case backup = 14

    /// The longest wait between two attempts, in nanoseconds.
    package var retryLimit: Int64 {
        // A reader that holds a checkpoint up is soon gone, and erased keys stay readable until then.
        self == .checkpoint ? Backoff.minute : Backoff.hour
    }

    /// The shortest, at least.
    package var firstRetry: Int64 {
        // A vault that fails is down, mostly, and asking costs whoever runs it.
        self == .orphanRetry ? Backoff.minute : Backoff.second
    }

    /// How far ahead one is planned at most; never: as far as the host wants.
    package var longest: Int64 {
        switch self {
        case .credentialPurge, .epochEnd: CredentialRules.never
        case .checkpoint: Backoff.minute
        case .setUpDeadline: Session.answerDeadline
        case .skippedKeys: Session.skippedLifetime
        case .sessionEnd: Session.endDelay
        case .rekeyRetry: Backoff.hour
        case .tombstone: 7 * 24 * Backoff.hour
        case .orphanRetry, .backup: 24 * Backoff.hour
        case .rotatePackage, .replenish, .verifyPublication: Rotation.longest
        case .deletePackage: Rotation.longestKeep
        }
    }

    /// After so many failures one is set aside; nil: it is tried for ever.
    package var attemptLimit: UInt32? {
        // It waits for readers, which is no failure of its own.
        self == .checkpoint ? nil : 10
    }

    /// Whether one without its record cannot tell what to do.
    package var needsDetail: Bool { self == .credentialPurge || self == .deletePackage }
}

/// One thing to be done at one time: a kind, and what it is about.
package struct Job: Hashable {
    package let kind: JobKind
    package let subject: Identifier

    package init(_ kind: JobKind, _ subject: Identifier) {
        self.kind = kind
        self.subject = subject
    }

    /// There is one for a store.
    package static let checkpoint = Job(.checkpoint, .none)

    /// The last time that this job may be planned for, by a clock that says `now`.
    package func latest(now: Int64) -> Int64 {
        kind.longest == CredentialRules.never ? kind.longest : Backoff.later(now, kind.longest)
    }
}

/// What is stored of a job beside its time.
///
/// Layout (little endian): format 1, attempts that failed 4, why the last one failed 1 (the primary
/// code of its status, 0: it did not), detail (u8 length), which only the kind knows to read.
package struct JobRecord: Equatable {
    package var failures: UInt32 = 0
    package var cause: UInt8 = 0
    package var detail: [UInt8]

    private static let format: UInt8 = 1

    package init(detail: [UInt8] = []) { self.detail = detail }

    package init(decoding buffer: SecretBuffer) throws(Failure) {
        var reader = ByteReader(buffer.bytes)
        try self.init(&reader)
        try reader.finish()
    }

    fileprivate init(_ reader: inout ByteReader) throws(Failure) {
        try reader.format(Self.format)
        failures = try reader.integer(UInt32.self)
        cause = try reader.integer(UInt8.self)
        detail = [UInt8](try reader.field(UInt8.self))
    }

    package func encoded() throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(count: size)
        var writer = ByteWriter(buffer.mutableBytes)
        write(to: &writer)
        try writer.finish()
        return buffer
    }

    fileprivate var size: Int { 7 + detail.count }

    fileprivate func write(to writer: inout ByteWriter) {
        writer.integer(Self.format)
        writer.integer(failures)
        writer.integer(cause)
        detail.withUnsafeBytes { writer.field($0, UInt8.self) }
    }

    /// Whether a clock that says `now` cannot have planned this for `due`.
    package func isFar(_ due: Int64, of job: Job, now: Int64) -> Bool {
        guard due != CredentialRules.never else { return true }
        if failures > 0 { return due > Backoff.after(now, job.kind.retryLimit) }
        // Of an epoch the clock told the begin, too: its job looks again.
        return job.kind == .epochEnd ? due > now : due > job.latest(now: now)
    }
}

/// A job that was set aside: the job's record, then since when 8 (little endian).
package struct DeadLetter: Equatable {
    package var record: JobRecord
    package let since: Int64

    package init(_ record: JobRecord, since: Int64) {
        self.record = record
        self.since = since
    }

    package init(decoding buffer: SecretBuffer) throws(Failure) {
        var reader = ByteReader(buffer.bytes)
        record = try JobRecord(&reader)
        since = try reader.integer(Int64.self)
        try reader.finish()
    }

    package func encoded() throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(count: record.size + 8)
        var writer = ByteWriter(buffer.mutableBytes)
        record.write(to: &writer)
        writer.integer(since)
        try writer.finish()
        return buffer
    }
}

extension Failure {
    /// The primary code of its status in pawl.h, for a record.
    package var primary: UInt8 {
        switch self {
        case .misuse: 1
        case .buffer: 2
        case .notFound: 3
        case .exists: 4
        case .state: 5
        case .time: 6
        case .auth: 7
        case .replay: 8
        case .limit: 9
        case .version: 10
        case .corrupt: 11
        case .store: 12
        case .busy: 13
        case .closed: 14
        case .desynchronized: 15
        case .internal: 16
        }
    }
}
