package import PawlCore
package import PawlCrypto

/// A host's place for secrets, outside of the store's transactions. Codes are the host's own; 0 is
/// success. Called under no lock.
package protocol SecretVault: AnyObject {
    /// How long one write may take before reconcile may clear it away, in nanoseconds.
    var lease: Int64 { get }
    func set(_ id: VaultID, _ value: Bytes) -> Int32
    func get(_ id: VaultID, _ value: UnsafeMutableRawBufferPointer) -> VaultValue
    /// Removing what is not there is a success.
    func remove(_ id: VaultID) -> Int32
    /// The lowest id above `after`.
    func next(after: VaultID?) -> VaultNext
}

package enum VaultValue: Equatable {
    /// Of this size; complete only if the buffer held it.
    case present(size: Int)
    case absent
    case failed(Int32)
}

package enum VaultNext: Equatable {
    case found(VaultID)
    case end
    case failed(Int32)
    /// This vault cannot list.
    case unsupported
}
