import CPawl

/// The public side of an account, or of a peer's: two public keys and the name that the host gave.
///
/// It holds nothing secret and may be sent to anybody.
public struct Identity: Sendable, Hashable {
    /// How many bytes a key has.
    public static let keySize = Int(PAWL_IDENTITY_KEY_SIZE)

    /// Ed25519, RFC 8032: 32 bytes that verify what the account signs.
    public let signingKey: [UInt8]
    /// X25519, RFC 7748: 32 bytes to agree on a secret with the account.
    public let agreementKey: [UInt8]
    /// 1 to 255 bytes of UTF-8 without NUL.
    public let name: String

    /// An identity that a peer sent. Its name is checked when it is used.
    ///
    /// - Throws: ``PawlError/Reason/misuseSize`` unless both keys have 32 bytes.
    public init(signingKey: [UInt8], agreementKey: [UInt8], name: String) throws(PawlError) {
        guard signingKey.count == Self.keySize, agreementKey.count == Self.keySize else {
            throw PawlError(PAWL_MISUSE_SIZE)
        }
        self.signingKey = signingKey
        self.agreementKey = agreementKey
        self.name = name
    }

    /// The identity in a row of C.
    init<Key>(
        _ signingKey: Key, _ agreementKey: Key, _ name: UnsafePointer<UInt8>?, _ nameSize: Int
    ) {
        self.signingKey = array(signingKey)
        self.agreementKey = array(agreementKey)
        self.name = text(name, nameSize)
    }

    /// Compares the bytes of names: of two spellings that look alike, each has its safety number.
    public static func == (left: Identity, right: Identity) -> Bool {
        left.signingKey == right.signingKey && left.agreementKey == right.agreementKey
            && left.name.utf8.elementsEqual(right.name.utf8)
    }

    /// Combines what is compared.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(signingKey)
        hasher.combine(agreementKey)
        for byte in name.utf8 { hasher.combine(byte) }
    }

    /// What two people read to each other to know that nobody stands between them: 12 groups of 5
    /// digits. It is the same on both sides, and another one as soon as a key or name of either
    /// differs. Takes a few milliseconds on the thread of its caller.
    ///
    /// - Throws: ``PawlError/Reason/misuseAccount`` if a name breaks the rules,
    ///   ``PawlError/Reason/limitMemory``.
    public func safetyNumber(with peer: Identity) throws(PawlError) -> String {
        let digits = try compare(peer, Int(PAWL_SAFETY_NUMBER_SIZE)) { a, b, out, size, count in
            out?.withMemoryRebound(to: CChar.self, capacity: size) { out in
                pawl_safety_number(a, b, out, size, count)
            } ?? PAWL_INTERNAL
        }
        return String(decoding: digits, as: UTF8.self)
    }

    /// The same as 65 bytes, to show as a QR code and compare whole with what the peer's code says.
    ///
    /// - Throws: what ``safetyNumber(with:)`` does.
    public func safetyCode(with peer: Identity) throws(PawlError) -> [UInt8] {
        try compare(peer, Int(PAWL_SAFETY_CODE_SIZE), pawl_safety_code)
    }

    private typealias Comparison = (
        UnsafePointer<pawl_identity>?, UnsafePointer<pawl_identity>?,
        UnsafeMutablePointer<UInt8>?, Int, UnsafeMutablePointer<Int>?
    ) -> pawl_status

    private func compare(
        _ peer: Identity, _ size: Int, _ comparison: Comparison
    ) throws(PawlError) -> [UInt8] {
        var out = [UInt8](repeating: 0, count: size)
        var count = 0
        try check(
            withC { own in
                peer.withC { peer in comparison(own, peer, &out, size, &count) }
            })
        return Array(out.prefix(count))
    }

    /// Lends the identity as C knows it.
    func withC(_ body: (UnsafePointer<pawl_identity>) -> pawl_status) -> pawl_status {
        withBytes(of: name) { name, nameSize in
            var identity = pawl_identity.sized()
            withUnsafeMutableBytes(of: &identity.signing_key) { $0.copyBytes(from: signingKey) }
            withUnsafeMutableBytes(of: &identity.agreement_key) { $0.copyBytes(from: agreementKey) }
            identity.name = name
            identity.name_size = nameSize
            return body(&identity)
        }
    }
}

/// An identity in a store, and what it does there: publish key packages, know its peers, start
/// sessions and receive. Its secret keys never leave the store.
///
/// An account keeps its store open. Two are equal if they say the same, whatever their stores.
public struct Account: Sendable, Hashable, Identifiable {
    /// Names an account: 16 random bytes.
    public typealias ID = Identifier<Account>

    /// Names it in its store.
    public let id: ID
    /// What peers may know of it.
    public let identity: Identity
    /// When it was created.
    public let created: Timestamp

    let store: Store

    init(_ row: pawl_account, in store: Store) {
        id = ID(row: row.id)
        identity = Identity(row.signing_key, row.agreement_key, row.name, row.name_size)
        created = Timestamp(nanoseconds: row.created_ns)
        self.store = store
    }

    /// Compares what the store says of them.
    public static func == (left: Account, right: Account) -> Bool {
        left.id == right.id && left.identity == right.identity && left.created == right.created
    }

    /// Combines the id.
    public func hash(into hasher: inout Hasher) { hasher.combine(id) }
}
