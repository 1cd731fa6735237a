/// Where the host wants secrets to live: an operating system's keychain, an HSM, a cloud secret
/// manager.
///
/// Values arrive sealed. Every method must be safe to repeat, and to call from several threads at
/// once: the store's own is one of them, a runner's another. Methods may block, and must return; they
/// must not wait for the same store.
public protocol Vault: Sendable {
    /// Stores a value of at most 16 MiB + 8 KiB under a new id; durable when this returns.
    func set(_ id: VaultID, _ value: [UInt8]) throws(VaultError)

    /// The value, or nil if there is none.
    func get(_ id: VaultID) throws(VaultError) -> [UInt8]?

    /// Removes a value; removing what is not there is not an error.
    func remove(_ id: VaultID) throws(VaultError)

    /// How long one write may take before reconcile may clear it away; zero: 60 seconds.
    var lease: Duration { get }
}

extension Vault {
    /// 60 seconds.
    public var lease: Duration { .zero }
}

/// A vault that can say what it holds, so that reconcile can report values that nobody knows.
public protocol ListableVault: Vault {
    /// The lowest id above `id` (nil: the lowest of all), or nil if there is none.
    func next(after id: VaultID?) throws(VaultError) -> VaultID?
}

/// Names one value in a vault.
public typealias VaultID = Identifier<any Vault>

/// A vault's failure, by a number of its own.
public struct VaultError: Error, Sendable, Hashable {
    /// 1 to 32767; comes back as ``PawlError/engineCode`` of ``PawlError/Reason/storeVault``. Only 3
    /// from `get` or `next` does not: it means that there is nothing, as nil does.
    public let code: Int

    /// A failure by its number, which is brought into the range 1 to 32767.
    public init(code: Int) { self.code = min(max(code, 1), 32767) }
}
