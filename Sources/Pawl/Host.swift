import CPawl

/// What the host brings, and the tables of functions through which C calls it. A store keeps it
/// until after it is closed, and every table's context points at it.
final class Host: @unchecked Sendable {  // Everything is set in init and only read after.
    fileprivate let readClock: (@Sendable () -> Timestamp)?
    fileprivate let hostVault: (any Vault)?
    fileprivate let hostStorage: (any Storage)?

    init(
        clock: (@Sendable () -> Timestamp)?, vault: (any Vault)?, storage: (any Storage)?
    ) {
        readClock = clock
        hostVault = vault
        hostStorage = storage
    }

    /// Lends the tables, nil where the host brings nothing.
    func withTables(
        _ body: (
            UnsafePointer<pawl_clock>?, UnsafePointer<pawl_storage>?, UnsafePointer<pawl_vault>?
        ) -> pawl_status
    ) -> pawl_status {
        lend(readClock.map { _ in clockTable() }) { clock in
            lend(hostStorage.map { _ in storageTable() }) { storage in
                lend(hostVault.map { vaultTable($0) }) { vault in
                    body(clock, storage, vault)
                }
            }
        }
    }

    private var context: UnsafeMutableRawPointer { Unmanaged.passUnretained(self).toOpaque() }

    private func clockTable() -> pawl_clock {
        var table = pawl_clock.sized()
        table.context = context
        table.now_ns = { context in host(context)?.readClock?().nanoseconds ?? 0 }
        return table
    }

    private func vaultTable(_ vault: any Vault) -> pawl_vault {
        var table = pawl_vault.sized()
        table.context = context
        table.lease_ns = vault.lease.wholeNanoseconds
        table.set = { context, id, value, size in
            vaultCall(context) { vault throws(VaultError) in
                try vault.set(vaultID(id), array(value, size))
                return PAWL_OK
            }
        }
        table.get = { context, id, out, outSize, outLen in
            vaultCall(context) { vault throws(VaultError) in
                guard let value = try vault.get(vaultID(id)) else { return PAWL_VAULT_ABSENT }
                outLen?.pointee = value.count
                if value.count <= outSize { out?.update(from: value, count: value.count) }
                return PAWL_OK
            }
        }
        table.remove = { context, id in
            vaultCall(context) { vault throws(VaultError) in
                try vault.remove(vaultID(id))
                return PAWL_OK
            }
        }
        guard vault is any ListableVault else { return table }
        table.next = { context, after, id in
            vaultCall(context) { vault throws(VaultError) in
                guard
                    let listable = vault as? any ListableVault,
                    let next = try listable.next(after: after.map { vaultID($0) })
                else { return PAWL_VAULT_ABSENT }
                id?.update(from: next.bytes, count: VaultID.size)
                return PAWL_OK
            }
        }
        return table
    }

    private func storageTable() -> pawl_storage {
        var table = pawl_storage.sized()
        table.context = context
        table.begin = { context, mode, transaction in
            guard let storage = host(context)?.hostStorage else { return PAWL_INTERNAL }
            return storageCall { () throws(StorageError) in
                let isWrite = mode == UInt32(PAWL_TRANSACTION_WRITE)
                let begun = try storage.begin(isWrite ? .write : .read)
                transaction?.pointee = Unmanaged.passRetained(Transaction(begun)).toOpaque()
                return PAWL_OK
            }
        }
        table.get = { _, transaction, key, keySize, visit, visitor in
            storageCall { () throws(StorageError) in
                guard let value = try Transaction.of(transaction).get(array(key, keySize)) else {
                    return PAWL_OK
                }
                return visit?(visitor, key, keySize, value, value.count) ?? PAWL_INTERNAL
            }
        }
        table.put = { _, transaction, key, keySize, value, valueSize in
            storageCall { () throws(StorageError) in
                try Transaction.of(transaction).put(array(key, keySize), array(value, valueSize))
                return PAWL_OK
            }
        }
        table.remove = { _, transaction, key, keySize in
            storageCall { () throws(StorageError) in
                try Transaction.of(transaction).remove(array(key, keySize))
                return PAWL_OK
            }
        }
        table.scan = { _, transaction, from, fromSize, to, toSize, limit, visit, visitor in
            storageCall { () throws(StorageError) in
                var status = PAWL_OK
                try Transaction.of(transaction).scan(
                    from: array(from, fromSize), to: array(to, toSize), limit: limit
                ) { key, value in
                    status = visit?(visitor, key, key.count, value, value.count) ?? PAWL_INTERNAL
                    return status == PAWL_OK
                }
                return status
            }
        }
        table.commit = { _, transaction in
            storageCall { () throws(StorageError) in
                try Transaction.end(transaction).commit()
                return PAWL_OK
            }
        }
        table.rollback = { _, transaction in Transaction.end(transaction).rollback() }
        return table
    }
}

/// Holds a transaction while C has nothing but a pointer to it.
private final class Transaction {
    private let transaction: any StorageTransaction

    init(_ transaction: any StorageTransaction) { self.transaction = transaction }

    /// The library gives back what `begin` gave it; anything else would be a bug in Pawl.
    static func of(_ pointer: UnsafeMutableRawPointer?) -> any StorageTransaction {
        Unmanaged<Transaction>.fromOpaque(pointer!).takeUnretainedValue().transaction
    }

    static func end(_ pointer: UnsafeMutableRawPointer?) -> any StorageTransaction {
        Unmanaged<Transaction>.fromOpaque(pointer!).takeRetainedValue().transaction
    }
}

private func host(_ context: UnsafeMutableRawPointer?) -> Host? {
    context.map { Unmanaged<Host>.fromOpaque($0).takeUnretainedValue() }
}

private func vaultCall(
    _ context: UnsafeMutableRawPointer?, _ body: (any Vault) throws(VaultError) -> pawl_status
) -> pawl_status {
    guard let vault = host(context)?.hostVault else { return PAWL_INTERNAL }
    do throws(VaultError) {
        return try body(vault)
    } catch {
        return pawl_status(error.code)
    }
}

private func storageCall(_ body: () throws(StorageError) -> pawl_status) -> pawl_status {
    do throws(StorageError) {
        return try body()
    } catch {
        switch error {
        case .busy: return PAWL_BUSY
        case .full: return PAWL_STORE_FULL
        case .readOnly: return PAWL_STORE_READ_ONLY
        case .indeterminate: return PAWL_STORE_INDETERMINATE
        case .failed(let code): return pawl_status(min(max(code, 1), 32767))
        }
    }
}

private func vaultID(_ id: UnsafePointer<UInt8>?) -> VaultID {
    VaultID(unchecked: array(id, VaultID.size))
}

private func lend<Table>(
    _ table: Table?, _ body: (UnsafePointer<Table>?) -> pawl_status
) -> pawl_status {
    guard let table else { return body(nil) }
    return withUnsafePointer(to: table) { body($0) }
}
