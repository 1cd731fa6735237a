package import PawlCrypto

package enum TransactionMode {
    case read
    case write
}

/// The storage port: one connection to an ordered map of byte keys to byte values, with
/// transactions. Everything above works on this and nothing else.
///
/// A connection carries one transaction at a time and is called by one thread at a time; the
/// caller sees to both. `close` is explicit, because a process that forked must be able to drop a
/// connection without touching what lies behind it; there is no clean-up in `deinit`.
package protocol StoragePort: AnyObject {
    /// Starts a transaction on one consistent snapshot. A write transaction is the only one of
    /// its kind until it ends. Never waits: `busy(.writer)` while another is in the way; waiting is the
    /// engine's.
    func begin(_ mode: TransactionMode) throws(Failure)

    /// The same for writing, but what is committed may be lost, whole, when the machine fails.
    func beginRelaxed() throws(Failure)

    /// Gives `body` the value and answers true, or answers false. What `body` throws is thrown.
    /// `body` must not call the port; the bytes are gone when it returns.
    func get(_ key: Bytes, _ body: (Bytes) throws(Failure) -> Void) throws(Failure) -> Bool

    func put(_ key: Bytes, _ value: Bytes) throws(Failure)

    /// Deleting what is not there is not an error.
    func delete(_ key: Bytes) throws(Failure)

    /// Visits at most `limit` records with `from <= key < to` in ascending order of keys (as
    /// unsigned bytes), until `body` answers false or throws. The rules of `get` hold for `body`.
    func scan(
        from: Bytes, to: Bytes, limit: Int, _ body: (Bytes, Bytes) throws(Failure) -> Bool
    ) throws(Failure)

    /// Ends the transaction, whatever it throws. `store(.indeterminate)` when what was written
    /// may or may not be there; after any other error it is not.
    func commit() throws(Failure)

    /// Ends the transaction and forgets what it wrote. Without one, does nothing.
    func rollback()

    /// Whether erased values stay readable beside the data until a checkpoint.
    var canCheckpoint: Bool { get }

    /// Outside of a transaction: leaves nothing beside the data. False if somebody is in the way.
    func checkpoint() throws(Failure) -> Bool

    /// A file beside the data that other processes with the same data watch; nil: there is none.
    var bellPath: [CChar]? { get }

    /// A second connection to the same data.
    func sibling() throws(Failure) -> any StoragePort

    /// Ends the connection, rolling back what is open. Called once, last.
    func close()
}

extension StoragePort {
    package func beginRelaxed() throws(Failure) { try begin(.write) }
    package var canCheckpoint: Bool { false }
    package func checkpoint() throws(Failure) -> Bool { true }
    package var bellPath: [CChar]? { nil }
}
