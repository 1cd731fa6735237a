package import CPawl
internal import PawlCore
package import PawlCrypto
internal import PawlEngine
package import PawlStore

// The host's callback tables as what the engine expects: clock, vault and storage.
//
// What is refused is refused before there is an object, here and wherever input decides: the Embedded runtime does not free
// one whose own initializer throws. A convenience initializer makes it last.

/// A callback's own number, kept within what a status can carry.
private func ownCode(_ status: pawl_status) -> Int32 {
    (1...0x7FFF).contains(status) ? status : 0x7FFF
}

final class HostClock: Clock {
    private let context: UnsafeMutableRawPointer?
    private let read: @convention(c) (UnsafeMutableRawPointer?) -> Int64

    private init(
        _ read: @escaping @convention(c) (UnsafeMutableRawPointer?) -> Int64,
        _ context: UnsafeMutableRawPointer?
    ) {
        self.read = read
        self.context = context
    }

    convenience init(_ table: pawl_clock) throws(Failure) {
        guard table.flags == 0 else { throw .misuse(.flags) }
        guard let read = table.now_ns else { throw .misuse(.null) }
        self.init(read, table.context)
    }

    func now() -> Int64 { read(context) }
}

final class HostVault: SecretVault {
    private let table: pawl_vault
    let lease: Int64

    private init(checked table: pawl_vault) {
        self.table = table
        lease = table.lease_ns == 0 ? 60_000_000_000 : table.lease_ns
    }

    convenience init(_ table: pawl_vault) throws(Failure) {
        guard table.flags == 0 else { throw .misuse(.flags) }
        guard table.set != nil, table.get != nil, table.remove != nil else {
            throw .misuse(.null)
        }
        guard table.lease_ns >= 0 else { throw .misuse(.time) }
        self.init(checked: table)
    }

    func set(_ id: VaultID, _ value: Bytes) -> Int32 {
        id.withBytes { id in
            let status = table.set?(table.context, id.octets, value.octets, value.count)
            return status == PAWL_OK ? 0 : ownCode(status ?? 0)
        }
    }

    func get(_ id: VaultID, _ value: UnsafeMutableRawBufferPointer) -> VaultValue {
        id.withBytes { id in
            var size = 0
            let status = table.get?(table.context, id.octets, value.octets, value.count, &size)
            switch status {
            case PAWL_OK?: return .present(size: size)
            case PAWL_VAULT_ABSENT?: return .absent
            default: return .failed(ownCode(status ?? 0))
            }
        }
    }

    func remove(_ id: VaultID) -> Int32 {
        id.withBytes { id in
            let status = table.remove?(table.context, id.octets)
            return status == PAWL_OK ? 0 : ownCode(status ?? 0)
        }
    }

    func next(after: VaultID?) -> VaultNext {
        guard let next = table.next else { return .unsupported }
        var found: InlineArray<16, UInt8> = .init(repeating: 0)
        var span = found.mutableSpan
        return span.withUnsafeMutableBytes { out in
            let status: pawl_status
            if let after {
                status = after.withBytes { next(table.context, $0.octets, out.octets) }
            } else {
                status = next(table.context, nil, out.octets)
            }
            switch status {
            case PAWL_OK:
                guard let id = try? VaultID(Bytes(out)) else { return .end }
                return .found(id)
            case PAWL_VAULT_ABSENT: return .end
            default: return .failed(ownCode(status))
            }
        }
    }
}

package final class HostStorage: StoragePort {
    private let table: pawl_storage
    private var transaction: UnsafeMutableRawPointer?
    /// Of the transaction under way.
    private var mode: TransactionMode?

    private init(checked table: pawl_storage) { self.table = table }

    package convenience init(_ table: pawl_storage) throws(Failure) {
        guard table.flags == 0 else { throw .misuse(.flags) }
        guard table.begin != nil, table.get != nil, table.put != nil, table.remove != nil,
            table.scan != nil, table.commit != nil, table.rollback != nil
        else { throw .misuse(.null) }
        self.init(checked: table)
    }

    package func sibling() throws(Failure) -> any StoragePort { HostStorage(checked: table) }

    package func close() { rollback() }

    package func begin(_ mode: TransactionMode) throws(Failure) {
        guard self.mode == nil else { throw .internal }
        let number =
            switch mode {
            case .read: PAWL_TRANSACTION_READ
            case .write: PAWL_TRANSACTION_WRITE
            }
        transaction = nil
        try check(table.begin?(table.context, UInt32(bitPattern: number), &transaction))
        self.mode = mode
    }

    package func commit() throws(Failure) {
        try require()
        mode = nil
        let status = table.commit?(table.context, transaction)
        guard status != PAWL_STORE_INDETERMINATE else { throw .store(.indeterminate, code: 0) }
        try check(status)
    }

    package func rollback() {
        guard mode != nil else { return }
        mode = nil
        table.rollback?(table.context, transaction)
    }

    package func put(_ key: Bytes, _ value: Bytes) throws(Failure) {
        try require(.write)
        try check(
            table.put?(
                table.context, transaction, key.octets, key.count, value.octets, value.count))
    }

    package func delete(_ key: Bytes) throws(Failure) {
        try require(.write)
        try check(table.remove?(table.context, transaction, key.octets, key.count))
    }

    package func get(_ key: Bytes, _ body: (Bytes) throws(Failure) -> Void) throws(Failure) -> Bool
    {
        try require()
        var isFound = false
        try visiting { (_, value) throws(Failure) in
            isFound = true
            try body(value)
            return true
        } with: { visit, visitor in
            table.get?(table.context, transaction, key.octets, key.count, visit, visitor)
        }
        return isFound
    }

    package func scan(
        from: Bytes, to: Bytes, limit: Int, _ body: (Bytes, Bytes) throws(Failure) -> Bool
    ) throws(Failure) {
        try require()
        try visiting { (key, value) throws(Failure) in
            // A host that ignores the range would show one scope the rows of another.
            guard !key.lexicographicallyPrecedes(from), key.lexicographicallyPrecedes(to) else {
                throw .store(.host, code: PAWL_MISUSE)
            }
            return try body(key, value)
        } with: { visit, visitor in
            table.scan?(
                table.context, transaction, from.octets, from.count, to.octets, to.count, limit,
                visit, visitor)
        }
    }

    // MARK: Visits

    private typealias Body = (Bytes, Bytes) throws(Failure) -> Bool

    private struct Visitor {
        let body: Body
        var failure: Failure?
        var isStopped = false
    }

    /// Lends `body` to the host as a `pawl_visit` for the length of one call.
    private func visiting(
        _ body: Body, with call: (pawl_visit?, UnsafeMutableRawPointer) -> pawl_status?
    ) throws(Failure) {
        let (status, failure, isStopped) = withoutActuallyEscaping(body) { body in
            var visitor = Visitor(body: body)
            let status = withUnsafeMutablePointer(to: &visitor) { pointer in
                call(HostStorage.visit, UnsafeMutableRawPointer(pointer))
            }
            return (status, visitor.failure, visitor.isStopped)
        }
        if let failure { throw failure }
        guard !isStopped else { return }
        try check(status)
    }

    private static let visit: pawl_visit = { visitor, key, keySize, value, valueSize in
        guard let visitor = visitor?.assumingMemoryBound(to: Visitor.self) else {
            return PAWL_MISUSE_NULL
        }
        guard visitor.pointee.failure == nil, !visitor.pointee.isStopped else {
            return PAWL_NOT_FOUND
        }
        do throws(Failure) {
            let goesOn = try visitor.pointee.body(input(key, keySize), input(value, valueSize))
            guard !goesOn else { return PAWL_OK }
            visitor.pointee.isStopped = true
            return PAWL_NOT_FOUND
        } catch {
            visitor.pointee.failure = error
            return PawlABI.status(error)
        }
    }

    private func require(_ wanted: TransactionMode = .read) throws(Failure) {
        guard let mode, wanted == .read || mode == .write else { throw .internal }
    }

    private func check(_ status: pawl_status?) throws(Failure) {
        switch status {
        case PAWL_OK?: return
        case PAWL_BUSY?: throw .busy(.writer)
        case PAWL_STORE_FULL?: throw .store(.full, code: 0)
        case PAWL_STORE_READ_ONLY?: throw .store(.readOnly, code: 0)
        default: throw .store(.host, code: ownCode(status ?? 0))
        }
    }
}
