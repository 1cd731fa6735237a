import CPawl

/// Why a call was refused.
///
/// After an error every record is as it was before, with these exceptions:
/// - ``Reason/storeIndeterminate``: whether the commit happened is unknown.
/// - ``Reason/storeVault``: an unfinished write is recorded, see ``Store/orphans(after:limit:)``.
/// - ``Code/desynchronized``: the report is recorded.
/// - ``Reason/stateIdentity``: the keys that were seen are recorded, see ``Peer``.
/// - ``Code/notFound``, ``Code/replay`` and ``Code/auth`` of a frame whose session or epoch is over:
///   an answer to the peer may be in the outbox.
/// - ``Code/notFound`` and ``Code/time`` over an expired credential: it is removed.
/// - Errors of ``Store/runDue(limit:)`` and of ``Store/answer(_:_:)``: what was done before stays
///   done.
///
/// Inside a batch each call is all or nothing by itself. An error never holds a secret.
public struct PawlError: Error, Sendable, Hashable {
    /// The primary codes. More may be added; a number that this version does not know reads as
    /// ``internal``.
    public enum Code: Int32, Sendable, Hashable, CaseIterable {
        /// An argument breaks a rule; the reason says which.
        case misuse = 1
        /// An output did not fit. The facade sizes its outputs, so it does not pass this on.
        case buffer
        /// No such record. An expired one counts as absent.
        case notFound
        /// There is one already.
        case exists
        /// Not possible in this state; the reason says why.
        case state
        /// A time lies on the wrong side of now.
        case time
        /// A wrong key, or something that was not made by whoever it names. Never says which part
        /// was wrong.
        case auth
        /// This message was received before, or its session is closed.
        case replay
        /// A documented limit is reached; the reason says which.
        case limit
        /// Written by a newer Pawl; it was left alone.
        case version
        /// A record is damaged or in the wrong place; the others stay readable.
        case corrupt
        /// The storage engine or the vault failed.
        case store
        /// Another writer was in the way, or it has not happened yet: try again later.
        case busy
        /// The store, or the session that was waited for, is closed.
        case closed
        /// This state and the peer's have parted, which is noted and told once, as
        /// ``Item/Event/desynchronized``: reset the session.
        case desynchronized
        /// A bug in Pawl: please report it.
        case `internal`
    }

    /// A primary code together with its detail, equal to `PAWL_STATUS_REASON` in `pawl.h`.
    public struct Reason: RawRepresentable, Sendable, Hashable {
        /// The number that `pawl.h` gives it.
        public let rawValue: Int32

        /// A reason by its number.
        public init(rawValue: Int32) { self.rawValue = rawValue }
    }

    let status: pawl_status

    init(_ status: pawl_status) { self.status = status }

    /// What kind of refusal it is.
    public var code: Code { Code(rawValue: status & 0xFF) ?? .internal }

    /// The code and its detail; without a detail it is the code alone.
    public var reason: Reason { Reason(rawValue: status & 0xFFFF) }

    /// The number that the storage engine, the vault or the operating system gave, else 0.
    public var engineCode: Int { Int((status >> 16) & 0x7FFF) }

    static let closed = PawlError(PAWL_CLOSED)
}

extension PawlError: CustomStringConvertible {
    /// The name of the status, and one sentence that says what to do.
    public var description: String {
        let name = String(cString: pawl_status_name(status))
        let words = "\(name): \(String(cString: pawl_status_text(status)))"
        return engineCode == 0 ? words : "\(words) (code \(engineCode))"
    }
}

extension PawlError.Reason {
    /// A name must be 1 to 256 bytes of UTF-8 without NUL.
    public static let misuseName = Self(rawValue: PAWL_MISUSE_NAME)
    /// A user must be 1 to 256 bytes of UTF-8 without NUL.
    public static let misuseUser = Self(rawValue: PAWL_MISUSE_USER)
    /// A project must be 0 to 256 bytes of UTF-8 without NUL.
    public static let misuseProject = Self(rawValue: PAWL_MISUSE_PROJECT)
    /// A label or provider must be 0 to 256 bytes of UTF-8 without NUL.
    public static let misuseLabel = Self(rawValue: PAWL_MISUSE_LABEL)
    /// An attribute's key must be 1 to 128 bytes, its value 0 to 512, of UTF-8 without NUL.
    public static let misuseAttribute = Self(rawValue: PAWL_MISUSE_ATTRIBUTE)
    /// A path must be 1 to 4096 bytes without NUL.
    public static let misusePath = Self(rawValue: PAWL_MISUSE_PATH)
    /// A raw key must be 32 bytes, a passphrase 1 to 1024.
    public static let misuseKey = Self(rawValue: PAWL_MISUSE_KEY)
    /// Argon2id parameters lie outside floor and ceiling.
    public static let misuseHashing = Self(rawValue: PAWL_MISUSE_HASHING)
    /// A recovery key has a typing error.
    public static let misuseRecovery = Self(rawValue: PAWL_MISUSE_RECOVERY)
    /// A recovery key is of another kind.
    public static let misuseRecoveryPrefix = Self(rawValue: PAWL_MISUSE_RECOVERY_PREFIX)
    /// An account's name must be 1 to 255 bytes of UTF-8 without NUL.
    public static let misuseAccount = Self(rawValue: PAWL_MISUSE_ACCOUNT)
    /// These bytes are no key package.
    public static let misusePackage = Self(rawValue: PAWL_MISUSE_PACKAGE)
    /// A size or count is outside its documented range.
    public static let misuseSize = Self(rawValue: PAWL_MISUSE_SIZE)
    /// A duration is negative, or outside its documented range.
    public static let misuseTime = Self(rawValue: PAWL_MISUSE_TIME)
    /// Flags contradict each other.
    public static let misuseFlags = Self(rawValue: PAWL_MISUSE_FLAGS)
    /// Not possible inside a batch.
    public static let stateBatch = Self(rawValue: PAWL_STATE_BATCH)
    /// The current version is another one than the caller expected.
    public static let stateConflict = Self(rawValue: PAWL_STATE_CONFLICT)
    /// A deletion overtook this put; nothing was stored.
    public static let stateWithdrawn = Self(rawValue: PAWL_STATE_WITHDRAWN)
    /// The last slot cannot be removed.
    public static let stateLastSlot = Self(rawValue: PAWL_STATE_LAST_SLOT)
    /// The secret lives in a vault and the store was opened without one.
    public static let stateNoVault = Self(rawValue: PAWL_STATE_NO_VAULT)
    /// This verified peer has another identity now; accept it first.
    public static let stateIdentity = Self(rawValue: PAWL_STATE_IDENTITY)
    /// Another session has taken this one's place: send in that.
    public static let stateReceiveOnly = Self(rawValue: PAWL_STATE_RECEIVE_ONLY)
    /// A weaker suite than allowed, or than this peer used before.
    public static let stateSuite = Self(rawValue: PAWL_STATE_SUITE)
    /// A session with one's own identity.
    public static let stateSelf = Self(rawValue: PAWL_STATE_SELF)
    /// No index was reserved before this batch: encrypt outside of it, or send.
    public static let stateReservation = Self(rawValue: PAWL_STATE_RESERVATION)
    /// Messages of this session wait for epochs of their own: send, do not encrypt.
    public static let stateMode = Self(rawValue: PAWL_STATE_MODE)
    /// This account's packages rotate by themselves; see ``Store/rotateNow(_:)``.
    public static let stateRotation = Self(rawValue: PAWL_STATE_ROTATION)
    /// The backup has no key, or no version.
    public static let stateBackup = Self(rawValue: PAWL_STATE_BACKUP)
    /// The secret is above 16 MiB.
    public static let limitSecret = Self(rawValue: PAWL_LIMIT_SECRET)
    /// More than 64 attributes.
    public static let limitAttributes = Self(rawValue: PAWL_LIMIT_ATTRIBUTES)
    /// All 16 slots are taken.
    public static let limitSlots = Self(rawValue: PAWL_LIMIT_SLOTS)
    /// Out of memory.
    public static let limitMemory = Self(rawValue: PAWL_LIMIT_MEMORY)
    /// A 64-bit counter of the store is used up.
    public static let limitCounter = Self(rawValue: PAWL_LIMIT_COUNTER)
    /// A message is above 16 MiB.
    public static let limitMessage = Self(rawValue: PAWL_LIMIT_MESSAGE)
    /// 2³¹ messages in one epoch and direction; history opens 2²² of them.
    public static let limitIndex = Self(rawValue: PAWL_LIMIT_INDEX)
    /// 8 sessions of one identity, or 256 unconfirmed of one account.
    public static let limitSessions = Self(rawValue: PAWL_LIMIT_SESSIONS)
    /// More key packages or one-time keys than an account may hold.
    public static let limitPackages = Self(rawValue: PAWL_LIMIT_PACKAGES)
    /// As many messages as may wait for an epoch do; nothing was dropped.
    public static let limitQueue = Self(rawValue: PAWL_LIMIT_QUEUE)
    /// What held the key or the secret is gone.
    public static let corruptKeyLost = Self(rawValue: PAWL_CORRUPT_KEY_LOST)
    /// The file is not a Pawl store; it was left alone.
    public static let corruptNotPawl = Self(rawValue: PAWL_CORRUPT_NOT_PAWL)
    /// Whether the commit happened is unknown: read again and compare versions.
    public static let storeIndeterminate = Self(rawValue: PAWL_STORE_INDETERMINATE)
    /// The vault failed; ``PawlError/engineCode`` is its own. The unfinished write is recorded.
    public static let storeVault = Self(rawValue: PAWL_STORE_VAULT)
    /// No space is left.
    public static let storeFull = Self(rawValue: PAWL_STORE_FULL)
    /// The file or its folder cannot be written.
    public static let storeReadOnly = Self(rawValue: PAWL_STORE_READ_ONLY)
    /// The file or its folder cannot be opened.
    public static let storeCannotOpen = Self(rawValue: PAWL_STORE_CANNOT_OPEN)
    /// The host's storage engine failed; ``PawlError/engineCode`` is its own.
    public static let storeHost = Self(rawValue: PAWL_STORE_HOST)
    /// The batch's transaction is lost, and nothing of it was written.
    public static let storeLost = Self(rawValue: PAWL_STORE_LOST)
    /// Another writer kept changing the same thing.
    public static let busyChanged = Self(rawValue: PAWL_BUSY_CHANGED)
    /// The call came from inside one of the store's own callbacks.
    public static let busyReentered = Self(rawValue: PAWL_BUSY_REENTERED)
    /// Too often: try again later.
    public static let busyRate = Self(rawValue: PAWL_BUSY_RATE)
    /// It has not happened yet: wait again.
    public static let busyWaiting = Self(rawValue: PAWL_BUSY_WAITING)
    /// The session is closed, by this side or the other.
    public static let closedSession = Self(rawValue: PAWL_CLOSED_SESSION)
    /// The store was inherited through `fork()`.
    public static let closedForked = Self(rawValue: PAWL_CLOSED_FORKED)
}

func check(_ status: pawl_status) throws(PawlError) {
    if status != PAWL_OK { throw PawlError(status) }
}
