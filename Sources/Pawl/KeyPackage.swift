import CPawl

/// How two accounts agree on their keys. The later one is the stronger.
public enum Suite: UInt32, Sendable, Hashable, Comparable, CaseIterable {
    /// X25519, RFC 7748.
    case x25519 = 1
    /// X25519 and one X-Wing encapsulation, draft-connolly-cfrg-xwing-kem: X25519 and ML-KEM-768.
    /// Only where libsodium has it, 1.0.22 or newer.
    case xwing = 2

    /// Whether one suite is weaker than another.
    public static func < (left: Suite, right: Suite) -> Bool { left.rawValue < right.rawValue }
}

/// What an account signs and a server hands out, so that others can start sessions with the account
/// while it is away. Its private half stays in the store.
///
/// Any number of initiators may use it, each with a ``OneTimeKey`` of its own as long as there are
/// some. <doc:Protocol> has its bytes.
public struct KeyPackage: Sendable, Hashable, Identifiable {
    /// Names a key package: 16 random bytes.
    public typealias ID = Identifier<KeyPackage>

    /// Where a package is on its way.
    public enum State: UInt32, Sendable, Hashable {
        /// ``Account/createPackage(oneTimeKeys:lifetime:)`` made it; the host deletes it.
        case own
        /// It is drawn, and not answered for yet.
        case staged
        /// It is published.
        case current
        /// It is replaced, and kept until ``KeyPackage/removal``.
        case superseded
    }

    /// Names it among those of its account.
    public let id: ID
    /// What a server may give to anybody: at most 4,096 bytes.
    public let bytes: [UInt8]
    /// From when on peers take it: one hour before it was created.
    public let notBefore: Timestamp
    /// Until when peers take it.
    public let notAfter: Timestamp
    /// How many of its one-time keys nobody has used yet.
    public let oneTimeKeyCount: Int
    /// Where it is on its way; nil for something that this version does not know.
    public let state: State?
    /// When it is erased, if it is superseded; else nil.
    public let removal: Timestamp?

    /// Nil for the row of a one-time key.
    init?(_ row: pawl_package) {
        guard row.kind == UInt32(PAWL_PACKAGE) else { return nil }
        id = ID(row: row.id)
        bytes = array(row.bytes, row.bytes_size)
        notBefore = Timestamp(nanoseconds: row.not_before_ns)
        notAfter = Timestamp(nanoseconds: row.not_after_ns)
        oneTimeKeyCount = Int(row.one_time_count)
        state = State(rawValue: row.state)
        removal = .unlessNever(row.remove_ns)
    }
}

/// A key of a package that a server gives to one initiator alone. What was sent with it cannot be
/// read any more once it was used, not even by who steals the package's private half.
public struct OneTimeKey: Sendable, Hashable {
    /// The package it belongs to.
    public let package: KeyPackage.ID
    /// Counted from 1 in each package.
    public let number: UInt32
    /// What a server gives to one initiator: at most 4,096 bytes.
    public let bytes: [UInt8]

    /// Nil for the row of a package.
    init?(_ row: pawl_package) {
        guard row.kind == UInt32(PAWL_PACKAGE_ONE_TIME) else { return nil }
        package = KeyPackage.ID(row: row.id)
        number = row.key_id
        bytes = array(row.bytes, row.bytes_size)
    }
}

extension Account {
    /// Draws a key package with one-time keys and stores its private half. Publish both: an
    /// initiator takes the package, followed by at most one of its one-time keys.
    ///
    /// - Parameters:
    ///   - oneTimeKeys: how many to draw, 0 to 500.
    ///   - lifetime: for how long peers take it, at most 90 days; nil: 90 days.
    /// - Throws: ``PawlError/Reason/limitPackages`` (16 packages),
    ///   ``PawlError/Reason/stateRotation``, ``PawlError/Code/notFound`` (no such account any more).
    public func createPackage(
        oneTimeKeys: Int = 100, lifetime: Duration? = nil
    ) async throws(PawlError) -> (package: KeyPackage, oneTimeKeys: [OneTimeKey]) {
        try await store.run { calls throws(PawlError) in
            try calls.createPackage(id, oneTimeKeys: oneTimeKeys, lifetime: lifetime)
        }
    }

    /// The account's packages, oldest first.
    public func packages() async throws(PawlError) -> [KeyPackage] {
        try await store.run { calls throws(PawlError) in try calls.packages(id) }
    }

    /// Erases the private half of a package and those of its one-time keys: who uses it from now on
    /// cannot be read.
    ///
    /// - Throws: ``PawlError/Code/notFound``, ``PawlError/Reason/stateRotation`` (it is in use).
    public func deletePackage(_ package: KeyPackage.ID) async throws(PawlError) {
        try await store.run { calls throws(PawlError) in try calls.deletePackage(package, id) }
    }

    /// Sets the weakest suite that this account uses, in sessions that it starts and in those that
    /// it joins.
    ///
    /// - Throws: ``PawlError/Reason/stateSuite`` (this libsodium does not have it),
    ///   ``PawlError/Code/notFound`` (no such account any more).
    public func setMinimumSuite(_ suite: Suite) async throws(PawlError) {
        try await store.run { calls throws(PawlError) in try calls.setMinimumSuite(suite, id) }
    }
}
