import CPawl
import PawlABI
import PawlCrypto
import PawlStore

/// A host's storage engine as a table of C callbacks, backed by memory: what `HostStorage` makes of it has
/// to pass the same suite as every other engine.
final class HostTable: Sendable {
    private nonisolated(unsafe) let root: MemoryStorage

    init() { root = MemoryStorage() }

    /// One transaction of the host: a connection of its own.
    private final class Transaction {
        let port: any StoragePort
        init(_ port: any StoragePort) { self.port = port }

        static func of(_ pointer: UnsafeMutableRawPointer?) -> (any StoragePort)? {
            pointer.map { Unmanaged<Transaction>.fromOpaque($0).takeUnretainedValue().port }
        }
        static func end(_ pointer: UnsafeMutableRawPointer?) -> (any StoragePort)? {
            pointer.map { Unmanaged<Transaction>.fromOpaque($0).takeRetainedValue().port }
        }
    }

    private static func answer(_ body: () throws(Failure) -> Void) -> pawl_status {
        do throws(Failure) {
            try body()
            return PAWL_OK
        } catch {
            return error == .busy(.writer) ? PAWL_BUSY : 4242
        }
    }

    private static func bytes(_ start: UnsafePointer<UInt8>?, _ size: Int) -> Bytes {
        Bytes(start: start, count: size)
    }

    /// The table lives as long as this object.
    var table: pawl_storage {
        var table = pawl_storage()
        table.struct_size = UInt32(MemoryLayout<pawl_storage>.size)
        table.context = Unmanaged.passUnretained(self).toOpaque()
        table.begin = { context, mode, transaction in
            guard let context, let transaction else { return PAWL_MISUSE_NULL }
            let host = Unmanaged<HostTable>.fromOpaque(context).takeUnretainedValue()
            return HostTable.answer { () throws(Failure) in
                let port = try host.root.sibling()
                try port.begin(mode == UInt32(PAWL_TRANSACTION_WRITE) ? .write : .read)
                transaction.pointee = Unmanaged.passRetained(Transaction(port)).toOpaque()
            }
        }
        table.get = { _, transaction, key, size, visit, visitor in
            guard let port = Transaction.of(transaction), let visit else { return PAWL_MISUSE_NULL }
            var visited = PAWL_OK
            let status = HostTable.answer { () throws(Failure) in
                _ = try port.get(HostTable.bytes(key, size)) { value in
                    visited = visit(visitor, key, size, value.octets, value.count)
                }
            }
            return status == PAWL_OK ? visited : status
        }
        table.put = { _, transaction, key, size, value, valueSize in
            guard let port = Transaction.of(transaction) else { return PAWL_MISUSE_NULL }
            return HostTable.answer { () throws(Failure) in
                try port.put(HostTable.bytes(key, size), HostTable.bytes(value, valueSize))
            }
        }
        table.remove = { _, transaction, key, size in
            guard let port = Transaction.of(transaction) else { return PAWL_MISUSE_NULL }
            return HostTable.answer { () throws(Failure) in
                try port.delete(HostTable.bytes(key, size))
            }
        }
        table.scan = { _, transaction, from, fromSize, to, toSize, limit, visit, visitor in
            guard let port = Transaction.of(transaction), let visit else { return PAWL_MISUSE_NULL }
            var visited = PAWL_OK
            let status = HostTable.answer { () throws(Failure) in
                try port.scan(
                    from: HostTable.bytes(from, fromSize), to: HostTable.bytes(to, toSize),
                    limit: limit
                ) { key, value in
                    visited = visit(visitor, key.octets, key.count, value.octets, value.count)
                    return visited == PAWL_OK
                }
            }
            return status == PAWL_OK ? visited : status
        }
        table.commit = { _, transaction in
            guard let port = Transaction.end(transaction) else { return PAWL_MISUSE_NULL }
            return HostTable.answer { () throws(Failure) in try port.commit() }
        }
        table.rollback = { _, transaction in Transaction.end(transaction)?.rollback() }
        return table
    }
}

extension StorageEngine {
    static let host = StorageEngine(testDescription: "host") {
        let host = HostTable()
        return StorageFixture(
            end: {},
            open: { () throws(Failure) in
                try withExtendedLifetime(host) { () throws(Failure) in try HostStorage(host.table) }
            })
    }
}
