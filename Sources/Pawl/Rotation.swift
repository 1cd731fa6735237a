import CPawl

/// When an account's key packages come and go. What is nil has its default.
public struct RotationOptions: Sendable, Hashable {
    /// How long a package is published, less than ``lifetime``; nil: 30 days. The first one up to a
    /// fifth less, at random.
    public var rotate: Duration?
    /// For how long peers take a package, at least a minute; nil: 90 days, which is the most.
    public var lifetime: Duration?
    /// For how long a superseded one can still be read, but never more than an hour past its end;
    /// nil: 14 days.
    public var keep: Duration?
    /// How long after a welcome without a one-time key a package is replaced, at most an hour; nil:
    /// 5 seconds.
    public var welcomeDelay: Duration?
    /// How long after a replacement for that reason the next one is; nil: an hour.
    public var welcomePause: Duration?
    /// How often the host is asked what the server serves, at least a minute; nil: 7 days.
    public var readback: Duration?
    /// How many one-time keys are with the server, at most 500; nil: 100, 0: none.
    public var oneTimeKeys: Int?
    /// It gets more when it has fewer than that; nil: 20, 0: when it has none.
    public var oneTimeFloor: Int?

    /// Options, the defaults by default.
    public init(
        rotate: Duration? = nil, lifetime: Duration? = nil, keep: Duration? = nil,
        welcomeDelay: Duration? = nil, welcomePause: Duration? = nil, readback: Duration? = nil,
        oneTimeKeys: Int? = nil, oneTimeFloor: Int? = nil
    ) {
        self.rotate = rotate
        self.lifetime = lifetime
        self.keep = keep
        self.welcomeDelay = welcomeDelay
        self.welcomePause = welcomePause
        self.readback = readback
        self.oneTimeKeys = oneTimeKeys
        self.oneTimeFloor = oneTimeFloor
    }

    /// As C knows them.
    var table: pawl_rotation_options {
        var table = pawl_rotation_options.sized()
        table.flags = oneTimeKeys == 0 ? UInt32(PAWL_ROTATION_NO_KEYS) : 0
        table.rotate_ns = nilMeansDefault(rotate)
        table.lifetime_ns = nilMeansDefault(lifetime)
        table.keep_ns = nilMeansDefault(keep)
        table.welcome_delay_ns = nilMeansDefault(welcomeDelay)
        table.welcome_pause_ns = nilMeansDefault(welcomePause)
        table.readback_ns = nilMeansDefault(readback)
        table.one_time_count = UInt32(exactly: oneTimeKeys ?? 0) ?? .max
        table.one_time_floor = UInt32(exactly: oneTimeFloor ?? 0) ?? .max
        if oneTimeFloor == 0, oneTimeKeys != 0 { table.one_time_floor = 1 }
        return table
    }
}

/// How far an account's rotation is; ``Account/packages()`` has the packages themselves.
public struct Rotation: Sendable, Hashable {
    /// When the current package is due to be replaced.
    public let rotate: Timestamp
    /// When the host is asked next what the server serves, unless it is being asked.
    public let readback: Timestamp
    /// One-time keys with the server, as far as known.
    public let oneTimeKeyCount: Int
    /// Packages that wait to be erased.
    public let superseded: Int

    init(_ row: pawl_rotation) {
        rotate = Timestamp(nanoseconds: row.rotate_ns)
        readback = Timestamp(nanoseconds: row.readback_ns)
        oneTimeKeyCount = Int(row.one_time_count)
        superseded = Int(row.superseded)
    }
}

extension Store {
    /// Has an account's key packages rotate, from now on, or with other options than before. The
    /// first one is due at once, and supersedes those that the host made. What is to be done for it
    /// goes through the outbox, see ``Item/Request/publish`` and <doc:KeyPackages>.
    ///
    /// - Throws: ``PawlError/Reason/misuseTime``, ``PawlError/Reason/misuseSize``,
    ///   ``PawlError/Reason/misuseFlags`` (a floor for no keys), ``PawlError/Code/notFound`` (no
    ///   such account).
    public func beginRotation(
        of account: Account.ID, options: RotationOptions = RotationOptions()
    ) throws(PawlError) {
        try run { calls throws(PawlError) in try calls.beginRotation(account, options) }
    }

    /// Replaces an account's current package now; one that is staged already is not replaced.
    ///
    /// - Throws: ``PawlError/Code/notFound`` (no rotation).
    public func rotateNow(_ account: Account.ID) throws(PawlError) {
        try run { calls throws(PawlError) in try calls.rotateNow(account) }
    }

    /// Tells how many one-time keys the server still has, whenever it says so: it gives keys to
    /// initiators whose welcomes may never come.
    ///
    /// - Throws: ``PawlError/Code/notFound`` (no rotation), ``PawlError/Reason/misuseSize``
    ///   (negative).
    public func reportOneTimeKeys(_ count: Int, of account: Account.ID) throws(PawlError) {
        try run { calls throws(PawlError) in try calls.reportOneTimeKeys(count, account) }
    }

    /// How far an account's rotation is.
    ///
    /// - Throws: ``PawlError/Code/notFound`` (no rotation).
    public func rotation(of account: Account.ID) throws(PawlError) -> Rotation {
        try run { calls throws(PawlError) in try calls.rotation(account) }
    }
}

extension Batch {
    /// Has an account's key packages rotate, see ``Store/beginRotation(of:options:)``.
    public borrowing func beginRotation(
        of account: Account.ID, options: RotationOptions = RotationOptions()
    ) throws(PawlError) {
        try calls.beginRotation(account, options)
    }

    /// Replaces an account's current package now, see ``Store/rotateNow(_:)``.
    public borrowing func rotateNow(_ account: Account.ID) throws(PawlError) {
        try calls.rotateNow(account)
    }

    /// Tells how many one-time keys the server has, see ``Store/reportOneTimeKeys(_:of:)``.
    public borrowing func reportOneTimeKeys(
        _ count: Int, of account: Account.ID
    ) throws(PawlError) {
        try calls.reportOneTimeKeys(count, account)
    }

    /// How far an account's rotation is, see ``Store/rotation(of:)``.
    public borrowing func rotation(of account: Account.ID) throws(PawlError) -> Rotation {
        try calls.rotation(account)
    }
}

extension Calls {
    func beginRotation(
        _ account: Account.ID, _ options: RotationOptions
    ) throws(PawlError) {
        var table = options.table
        try check(pawl_rotation_begin(handle(), account.bytes, &table))
    }

    func rotateNow(_ account: Account.ID) throws(PawlError) {
        try check(pawl_rotation_now(handle(), account.bytes))
    }

    func reportOneTimeKeys(_ count: Int, _ account: Account.ID) throws(PawlError) {
        guard let count = UInt32(exactly: count) else { throw PawlError(PAWL_MISUSE_SIZE) }
        try check(pawl_rotation_report(handle(), account.bytes, count))
    }

    func rotation(_ account: Account.ID) throws(PawlError) -> Rotation {
        var row = pawl_rotation.sized()
        try check(pawl_rotation_get(handle(), account.bytes, &row))
        return Rotation(row)
    }
}
