import CPawl

/// What opens a store.
public struct Key: Sendable {
    let kind: UInt32
    let secret: Secret
    let memory: UInt64
    let passes: UInt32

    /// 32 random bytes that the host keeps, in an operating system's keychain for example.
    public static func raw(_ secret: Secret) -> Key {
        Key(kind: UInt32(PAWL_KEY_RAW), secret: secret, memory: 0, passes: 0)
    }

    /// 1 to 1024 bytes, hashed with Argon2id. Opening costs the memory and passes that its slot was
    /// written with.
    ///
    /// - Parameters:
    ///   - secret: the passphrase.
    ///   - memory: bytes that hashing uses when a slot is written, 64 MiB to 1 GiB; nil: 256 MiB.
    ///   - passes: over that memory, 3 to 10; nil: 3.
    public static func passphrase(_ secret: Secret, memory: Int? = nil, passes: Int? = nil) -> Key {
        Key(
            kind: UInt32(PAWL_KEY_PASSPHRASE), secret: secret,
            memory: memory.map { UInt64(exactly: $0) ?? .max } ?? 0,
            passes: passes.map { UInt32(exactly: $0) ?? .max } ?? 0)
    }

    /// The same for a text; the text itself is not wiped.
    public static func passphrase(_ text: String, memory: Int? = nil, passes: Int? = nil) -> Key {
        passphrase(Secret(text), memory: memory, passes: passes)
    }

    /// A recovery key as it was generated or typed back.
    public static func recovery(_ key: RecoveryKey) -> Key {
        Key(kind: UInt32(PAWL_KEY_RECOVERY), secret: key.secret, memory: 0, passes: 0)
    }

    /// Lends the key as C knows it.
    func withC(_ body: (inout pawl_key) -> pawl_status) -> pawl_status {
        secret.withUnsafeBytes { bytes in
            var key = pawl_key.sized()
            key.kind = kind
            key.secret = bytes.baseAddress
            key.secret_size = bytes.count
            key.memory_size = memory
            key.passes = passes
            return body(&key)
        }
    }
}

/// A key for the drawer: 32 random bytes as text that a person can write down and type back.
///
/// Upper case, spaces and hyphens do not matter. A typing error is
/// ``PawlError/Reason/misuseRecovery``, a key of another kind
/// ``PawlError/Reason/misuseRecoveryPrefix``; both appear when the key is used.
public struct RecoveryKey: Sendable, Hashable {
    /// What a recovery key opens.
    public enum Kind: UInt32, Sendable {
        /// A store.
        case store = 1
        /// A backup or an archive, see <doc:BackingUp> and ``Store/export(_:for:_:)``.
        case backup = 2
    }

    let secret: Secret

    /// A recovery key that somebody typed.
    public init(_ text: String) { secret = Secret(text) }

    /// Draws a new one.
    ///
    /// - Throws: ``PawlError/Code/internal`` if the system gives no randomness.
    public static func generate(_ kind: Kind = .store) throws(PawlError) -> RecoveryKey {
        try read { pawl_recovery_key_generate(kind.rawValue, $0, $1, $2) }
    }

    /// The key that a call of C writes.
    static func read(
        _ call: (UnsafeMutablePointer<CChar>?, Int, UnsafeMutablePointer<Int>?) -> pawl_status
    ) throws(PawlError) -> RecoveryKey {
        try withScratch(Int(PAWL_RECOVERY_SIZE_MAX)) { memory throws(PawlError) in
            var count = 0
            let start = memory.baseAddress?.assumingMemoryBound(to: CChar.self)
            try check(call(start, memory.count, &count))
            let text = UnsafeRawBufferPointer(rebasing: memory[..<count])
            return RecoveryKey(secret: Secret(copying: text))
        }
    }

    private init(secret: Secret) { self.secret = secret }

    /// The key in a row of C.
    init(row start: UnsafePointer<UInt8>?, _ count: Int) {
        secret = Secret(copying: UnsafeRawBufferPointer(start: start, count: count))
    }

    /// Combines the size, never the text.
    public func hash(into hasher: inout Hasher) { hasher.combine(secret.count) }

    /// A copy of the text, to be shown to its owner once.
    public var text: String { secret.text ?? "" }
}

extension RecoveryKey: CustomStringConvertible, CustomDebugStringConvertible {
    /// Never the text.
    public var description: String { "RecoveryKey" }
    /// Never the text.
    public var debugDescription: String { description }
}
