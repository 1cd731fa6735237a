/// A storage engine of the host: an ordered map of byte keys to byte values with transactions.
///
/// Keys are 1 to 81 bytes, compared as unsigned bytes; values are at most 17 MiB + 128 KiB. What
/// commit acknowledged survives a crash, and what was not committed is never seen. Methods run while
/// the store is locked, but a batch and a copy have transactions of their own beside the store's, so
/// all must be safe to call from several threads at once. They must return, and must not wait for the
/// same store.
public protocol Storage: Sendable {
    /// Starts a transaction that sees one consistent snapshot. A write transaction is the only one
    /// of its kind until it ends; ``StorageError/busy`` says that another is in the way.
    func begin(_ mode: StorageMode) throws(StorageError) -> any StorageTransaction
}

/// What a transaction is for.
public enum StorageMode: Sendable, Hashable {
    /// Reading alone.
    case read
    /// Reading and writing.
    case write
}

/// A transaction of a ``Storage``. Called by one thread at a time.
public protocol StorageTransaction: AnyObject {
    /// The value, or nil if there is none.
    func get(_ key: [UInt8]) throws(StorageError) -> [UInt8]?

    /// Creates or replaces a record.
    func put(_ key: [UInt8], _ value: [UInt8]) throws(StorageError)

    /// Removes a record; removing what is not there is not an error.
    func remove(_ key: [UInt8]) throws(StorageError)

    /// Visits at most `limit` records with `from <= key < to` in ascending order, until `visit`
    /// answers false.
    func scan(
        from: [UInt8], to: [UInt8], limit: Int, visit: (_ key: [UInt8], _ value: [UInt8]) -> Bool
    ) throws(StorageError)

    /// Ends the transaction, whatever it throws. ``StorageError/indeterminate`` says that the
    /// writes may or may not be there; after any other error they are not.
    func commit() throws(StorageError)

    /// Ends the transaction and forgets its writes.
    func rollback()
}

/// Why a storage engine refused.
public enum StorageError: Error, Sendable, Hashable {
    /// Another writer is in the way.
    case busy
    /// No space is left.
    case full
    /// What lies behind cannot be written.
    case readOnly
    /// From commit alone: whether it happened is unknown.
    case indeterminate
    /// Anything else, by a number from 1 to 32767, into which others are brought. It comes back as
    /// ``PawlError/engineCode`` of ``PawlError/Reason/storeHost``, unless it is that of a case above
    /// in `pawl.h`: 13 (`PAWL_BUSY`), 780 (`PAWL_STORE_FULL`), 1036 (`PAWL_STORE_READ_ONLY`) and,
    /// from commit, 268 (`PAWL_STORE_INDETERMINATE`) are those.
    case failed(code: Int)
}
