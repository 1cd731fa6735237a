// Documented in pawl.h, the only home of C-level facts.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

public import CPawl
internal import PawlCore
internal import PawlCrypto
internal import PawlEngine
internal import PawlStore

@_cdecl("pawl_store_open")
public func pawl_store_open(
    _ options: UnsafePointer<pawl_store_options>?,
    _ store: UnsafeMutablePointer<OpaquePointer?>?
) -> pawl_status {
    store?.pointee = nil
    return boundary { () throws(Failure) in
        let store = try output(store)
        store.pointee = handle(owning: try Store.open(request(structure(options))))
    }
}

@_cdecl("pawl_store_close")
public func pawl_store_close(_ store: OpaquePointer?) {
    guard let store, let open = object(store, as: Store.self) else { return }
    guard !open.isBatch else { return pawl_batch_rollback(store) }
    open.close { release(store, as: Store.self) }
}

@_cdecl("pawl_store_copy")
public func pawl_store_copy(
    _ store: OpaquePointer?, _ path: UnsafeRawPointer?, _ path_size: Int
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in
        try store.copy(to: PawlABI.path(path, path_size))
    }
}

@_cdecl("pawl_store_verify")
public func pawl_store_verify(
    _ store: OpaquePointer?, _ damages: UnsafeMutablePointer<OpaquePointer?>?
) -> pawl_status {
    damages?.pointee = nil
    return withStore(store) { (store) throws(Failure) in
        let damages = try output(damages)
        damages.pointee = handle(owning: View(.damages(try store.verify())))
    }
}

@_cdecl("pawl_store_stats")
public func pawl_store_stats(
    _ store: OpaquePointer?, _ stats: UnsafeMutablePointer<pawl_stats>?
) -> pawl_status {
    let target = cleared(stats)
    return withStore(store) { (store) throws(Failure) in
        try fill(stats, target) { (stats) in
            stats.memory_locked = store.isMemoryLocked ? 1 : 0
            store.withCounters { counters in
                stats.transactions = counters.transactions
                stats.commits = counters.commits
                stats.reads = counters.reads
                stats.scanned = counters.scanned
                stats.writes = counters.writes
                stats.vault_calls = counters.vaultCalls
            }
        }
    }
}

// MARK: Slots

@_cdecl("pawl_slot_list")
public func pawl_slot_list(
    _ store: OpaquePointer?, _ slots: UnsafeMutablePointer<OpaquePointer?>?
) -> pawl_status {
    slots?.pointee = nil
    return withStore(store) { (store) throws(Failure) in
        let slots = try output(slots)
        slots.pointee = handle(owning: View(.slots(try store.slots())))
    }
}

@_cdecl("pawl_slot_add")
public func pawl_slot_add(
    _ store: OpaquePointer?, _ key: UnsafePointer<pawl_key>?,
    _ number: UnsafeMutablePointer<UInt32>?
) -> pawl_status {
    number?.pointee = 0
    return withStore(store) { (store) throws(Failure) in
        let number = try output(number)
        number.pointee = UInt32(try store.addSlot(unlockKey(key)))
    }
}

@_cdecl("pawl_slot_change")
public func pawl_slot_change(
    _ store: OpaquePointer?, _ number: UInt32, _ key: UnsafePointer<pawl_key>?
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in
        try store.changeSlot(slotNumber(number), to: unlockKey(key))
    }
}

@_cdecl("pawl_slot_remove")
public func pawl_slot_remove(_ store: OpaquePointer?, _ number: UInt32) -> pawl_status {
    withStore(store) { (store) throws(Failure) in try store.removeSlot(slotNumber(number)) }
}

@_cdecl("pawl_recovery_key_generate")
public func pawl_recovery_key_generate(
    _ kind: UInt32, _ out: UnsafeMutablePointer<CChar>?, _ out_size: Int,
    _ out_len: UnsafeMutablePointer<Int>?
) -> pawl_status {
    out_len?.pointee = 0
    clear(out, out_size, upTo: Int(PAWL_RECOVERY_SIZE_MAX))
    return boundary { () throws(Failure) in
        try write(RecoveryKey.generate(recoveryKind(kind)), out, out_size, out_len)
    }
}

/// A recovery key, NUL-terminated.
func write(
    _ text: SecretBuffer, _ out: UnsafeMutablePointer<CChar>?, _ out_size: Int,
    _ out_len: UnsafeMutablePointer<Int>?
) throws(Failure) {
    let length = try output(out_len)
    guard out_size >= 0 else { throw .misuse(.size) }
    guard out_size > text.count else {
        length.pointee = text.count + 1
        throw .buffer
    }
    let out = try output(out)
    for (index, letter) in text.bytes.enumerated() { out[index] = CChar(bitPattern: letter) }
    out[text.count] = 0
    length.pointee = text.count
}

// MARK: Batches

@_cdecl("pawl_batch_begin")
public func pawl_batch_begin(
    _ store: OpaquePointer?, _ batch: UnsafeMutablePointer<OpaquePointer?>?
) -> pawl_status {
    batch?.pointee = nil
    return withStore(store) { (store) throws(Failure) in
        let batch = try output(batch)
        batch.pointee = handle(owning: try store.beginBatch())
    }
}

@_cdecl("pawl_batch_commit")
public func pawl_batch_commit(_ batch: OpaquePointer?) -> pawl_status {
    endBatch(batch, commit: true)
}

@_cdecl("pawl_batch_rollback")
public func pawl_batch_rollback(_ batch: OpaquePointer?) {
    _ = endBatch(batch, commit: false)
}

/// A call from inside a callback and a store that is no batch leave the handle alone.
private func endBatch(_ batch: OpaquePointer?, commit: Bool) -> pawl_status {
    let result = withStore(batch) { (batch) throws(Failure) in try batch.endBatch(commit: commit) }
    if let batch, result != PAWL_BUSY_REENTERED, result != PAWL_MISUSE_HANDLE {
        release(batch, as: Store.self)
    }
    return result
}

// MARK: Arguments

private func request(_ options: pawl_store_options) throws(Failure) -> OpenRequest {
    let flags = options.flags
    try check(
        flags: flags, allowed: PAWL_STORE_CREATE | PAWL_STORE_EXCLUSIVE | PAWL_STORE_MEMORY)
    let mustCreate = has(flags, PAWL_STORE_EXCLUSIVE)
    guard !mustCreate || has(flags, PAWL_STORE_CREATE) else { throw .misuse(.flags) }
    let timeout: Int64
    switch options.busy_timeout_ns {
    case 0: timeout = 5_000_000_000
    case -1: timeout = 0
    case 1...: timeout = options.busy_timeout_ns
    default: throw .misuse(.time)
    }

    let place: OpenRequest.Place
    let hasPath = try !input(options.path, options.path_size).isEmpty
    if has(flags, PAWL_STORE_MEMORY) {
        guard !hasPath, options.storage == nil else { throw .misuse(.flags) }
        place = .memory
    } else if let storage = options.storage {
        guard !hasPath else { throw .misuse(.flags) }
        place = .host(try HostStorage(structure(storage)))
    } else {
        place = .file(try path(options.path, options.path_size))
    }
    return OpenRequest(
        place: place, key: try unlockKey(options.key),
        createsIfAbsent: has(flags, PAWL_STORE_CREATE), mustCreate: mustCreate, timeout: timeout,
        clock: try options.clock.map { (clock) throws(Failure) in
            try HostClock(structure(clock))
        } ?? SystemClock(),
        vault: try options.vault.map { (vault) throws(Failure) in
            try HostVault(structure(vault))
        })
}

func unlockKey(_ pointer: UnsafePointer<pawl_key>?) throws(Failure) -> UnlockKey {
    let key = try structure(pointer)
    guard key.reserved == 0 else { throw .misuse(.structure) }
    let secret = try input(key.secret, key.secret_size)
    switch Int32(truncatingIfNeeded: key.kind) {
    case PAWL_KEY_RAW:
        guard secret.count == UnlockKey.rawSize else { throw .misuse(.key) }
        return .raw(secret)
    case PAWL_KEY_PASSPHRASE:
        guard UnlockKey.passphraseSizes.contains(secret.count) else { throw .misuse(.key) }
        let standard = PasswordHash.standard
        return .passphrase(
            secret,
            try PasswordHash(
                memory: key.memory_size == 0 ? standard.memory : key.memory_size,
                passes: key.passes == 0 ? standard.passes : key.passes))
    case PAWL_KEY_RECOVERY: return .recovery(secret)
    default: throw .misuse(.flags)
    }
}

private func slotNumber(_ number: UInt32) throws(Failure) -> UInt8 {
    guard let small = UInt8(exactly: number), Int(small) < SlotRecord.limit else {
        throw .notFound
    }
    return small
}

private func recoveryKind(_ kind: UInt32) throws(Failure) -> RecoveryKey.Kind {
    switch Int32(truncatingIfNeeded: kind) {
    case PAWL_RECOVERY_STORE: .store
    case PAWL_RECOVERY_BACKUP: .backup
    default: throw .misuse(.flags)
    }
}
