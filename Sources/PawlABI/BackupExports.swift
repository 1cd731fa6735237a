// Documented in pawl.h, the only home of C-level facts.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

public import CPawl
internal import PawlCore
internal import PawlCrypto
internal import PawlEngine
internal import PawlStore

// MARK: Commands

@_cdecl("pawl_backup_create")
public func pawl_backup_create(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?, _ key: UnsafePointer<pawl_key>?,
    _ flags: UInt32
) -> pawl_status {
    command(store, account) { () throws(Failure) in
        .create(secret: try secret(key), escrow: try isEscrowed(flags))
    }
}

@_cdecl("pawl_backup_reset")
public func pawl_backup_reset(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?, _ key: UnsafePointer<pawl_key>?,
    _ flags: UInt32
) -> pawl_status {
    command(store, account) { () throws(Failure) in
        .reset(secret: try secret(key), escrow: try isEscrowed(flags))
    }
}

@_cdecl("pawl_backup_enable")
public func pawl_backup_enable(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?
) -> pawl_status {
    command(store, account) { .checkAndEnable }
}

@_cdecl("pawl_backup_disable")
public func pawl_backup_disable(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?
) -> pawl_status {
    command(store, account) { .disable }
}

@_cdecl("pawl_backup_delete")
public func pawl_backup_delete(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?
) -> pawl_status {
    command(store, account) { .delete }
}

@_cdecl("pawl_backup_recover")
public func pawl_backup_recover(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?, _ key: UnsafePointer<pawl_key>?
) -> pawl_status {
    command(store, account) { () throws(Failure) in
        guard key != nil else { throw .misuse(.null) }
        return .recoveryKeyGiven(try secret(key))
    }
}

@_cdecl("pawl_backup_restore")
public func pawl_backup_restore(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?, _ flags: UInt32
) -> pawl_status {
    command(store, account) { () throws(Failure) in
        try check(flags: flags, allowed: PAWL_RESTORE_ACCEPT_OLDER)
        return .restore(acceptsOlder: has(flags, PAWL_RESTORE_ACCEPT_OLDER))
    }
}

@_cdecl("pawl_backup_stop_restore")
public func pawl_backup_stop_restore(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?
) -> pawl_status {
    command(store, account) { .stopRestore }
}

@_cdecl("pawl_backup_ask")
public func pawl_backup_ask(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?
) -> pawl_status {
    command(store, account) { .askForSecret }
}

private func command(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?,
    _ input: () throws(Failure) -> Backup.Input
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in
        try store.commandBackup(identifier(account), input())
    }
}

private func isEscrowed(_ flags: UInt32) throws(Failure) -> Bool {
    try check(flags: flags, allowed: PAWL_BACKUP_ESCROW)
    return has(flags, PAWL_BACKUP_ESCROW)
}

private func secret(_ key: UnsafePointer<pawl_key>?) throws(Failure) -> SecretBuffer {
    try Store.backupSecret(
        key.map { (key) throws(Failure) in try unlockKey(key) })
}

@_cdecl("pawl_backup_fetch_credential")
public func pawl_backup_fetch_credential(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?,
    _ scope: UnsafePointer<pawl_scope>?, _ name: UnsafeRawPointer?, _ name_size: Int
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in
        try store.fetchBackup(
            identifier(account), PawlABI.scope(scope), input(name, name_size))
    }
}

@_cdecl("pawl_backup_fetch_history")
public func pawl_backup_fetch_history(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?,
    _ session: UnsafePointer<UInt8>?, _ epoch: UInt32
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in
        try store.fetchBackup(identifier(account), session: identifier(session), epoch: epoch)
    }
}

// MARK: What is backed up

@_cdecl("pawl_backup_include")
public func pawl_backup_include(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?,
    _ scope: UnsafePointer<pawl_scope>?, _ flags: UInt32
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in
        let (scope, allProjects) = try backedUp(scope, flags)
        try store.includeInBackup(identifier(account), scope, allProjects: allProjects)
    }
}

@_cdecl("pawl_backup_exclude")
public func pawl_backup_exclude(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?,
    _ scope: UnsafePointer<pawl_scope>?, _ flags: UInt32
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in
        let (scope, allProjects) = try backedUp(scope, flags)
        try store.excludeFromBackup(identifier(account), scope, allProjects: allProjects)
    }
}

private func backedUp(
    _ scope: UnsafePointer<pawl_scope>?, _ flags: UInt32
) throws(Failure) -> (scope: Scope, allProjects: Bool) {
    try check(flags: flags, allowed: PAWL_BACKUP_ALL_PROJECTS)
    return (try PawlABI.scope(scope), has(flags, PAWL_BACKUP_ALL_PROJECTS))
}

// MARK: Secrets

@_cdecl("pawl_backup_recovery_key")
public func pawl_backup_recovery_key(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?,
    _ out: UnsafeMutablePointer<CChar>?, _ out_size: Int, _ out_len: UnsafeMutablePointer<Int>?
) -> pawl_status {
    clear(out, out_size, upTo: Int(PAWL_RECOVERY_SIZE_MAX))
    out_len?.pointee = 0
    return withStore(store) { (store) throws(Failure) in
        try write(store.backupRecoveryKey(identifier(account)), out, out_size, out_len)
    }
}

@_cdecl("pawl_recovery_wrap")
public func pawl_recovery_wrap(
    _ recovery: UnsafeRawPointer?, _ recovery_size: Int, _ key: UnsafePointer<pawl_key>?,
    _ out: UnsafeMutablePointer<UInt8>?, _ out_size: Int, _ out_len: UnsafeMutablePointer<Int>?
) -> pawl_status {
    clear(out, out_size, upTo: Int(PAWL_RECOVERY_WRAPPED_SIZE_MAX))
    out_len?.pointee = 0
    return boundary { () throws(Failure) in
        let (out, length) = try room(out, out_size, out_len, for: WrappedRecovery.size)
        let wrapped = try WrappedRecovery.wrap(
            input(recovery, recovery_size), for: unlockKey(key))
        length.pointee = copy(wrapped.bytes, to: out)
        withExtendedLifetime(wrapped) {}
    }
}

@_cdecl("pawl_recovery_unwrap")
public func pawl_recovery_unwrap(
    _ wrapped: UnsafeRawPointer?, _ wrapped_size: Int, _ key: UnsafePointer<pawl_key>?,
    _ out: UnsafeMutablePointer<CChar>?, _ out_size: Int, _ out_len: UnsafeMutablePointer<Int>?
) -> pawl_status {
    clear(out, out_size, upTo: Int(PAWL_RECOVERY_SIZE_MAX))
    out_len?.pointee = 0
    return boundary { () throws(Failure) in
        let text = try WrappedRecovery.unwrap(
            input(wrapped, wrapped_size), with: unlockKey(key))
        try write(text, out, out_size, out_len)
    }
}

@_cdecl("pawl_backup_share")
public func pawl_backup_share(
    _ store: OpaquePointer?, _ session: UnsafePointer<UInt8>?, _ request: UInt64,
    _ out: UnsafeMutablePointer<UInt8>?
) -> pawl_status {
    out?.update(repeating: 0, count: BackupShare.size)
    return withStore(store) { (store) throws(Failure) in
        let target = UnsafeMutableRawBufferPointer(
            start: try output(out), count: BackupShare.size)
        try store.shareBackup(over: identifier(session), to: request, into: target)
    }
}

@_cdecl("pawl_backup_receive")
public func pawl_backup_receive(
    _ store: OpaquePointer?, _ session: UnsafePointer<UInt8>?, _ bytes: UnsafeRawPointer?,
    _ size: Int
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in
        try store.receiveBackup(over: identifier(session), input(bytes, size))
    }
}

// MARK: State

@_cdecl("pawl_backup_get")
public func pawl_backup_get(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?,
    _ backup: UnsafeMutablePointer<pawl_backup>?
) -> pawl_status {
    let target = cleared(backup)
    return withStore(store) { (store) throws(Failure) in
        try fill(backup, target) { (backup) throws(Failure) in
            write(try store.backup(identifier(account)), to: &backup)
        }
    }
}

@_cdecl("pawl_view_item_backup")
public func pawl_view_item_backup(
    _ view: OpaquePointer?, _ row: Int, _ backup: UnsafeMutablePointer<pawl_backup>?
) -> pawl_status {
    fillRow(view, backup) { (rows, backup) throws(Failure) in
        guard let report = try item(rows, row).backupReport() else { throw .misuse(.row) }
        write(report, to: &backup)
    }
}

private func write(_ report: BackupReport, to backup: inout pawl_backup) {
    backup.flags = UInt32(report.marks)
    backup.revision = report.revision
    backup.phase = UInt32(report.phase)
    backup.download = UInt32(report.download)
    backup.generation = report.active.generation
    backup.server_generation = report.server.generation
    backup.key_generation = report.key.generation
    copy(report.active.hash, to: &backup.hash)
    copy(report.server.hash, to: &backup.server_hash)
    copy(report.key.hash, to: &backup.key_hash)
    backup.server_items = report.items
    backup.pending = report.pending
    backup.acknowledged = report.acknowledged
    backup.retry_ns = report.retryAt
    backup.imported = report.progress.imported
    backup.known = report.progress.known
    backup.improved = report.progress.improved
    backup.undecryptable = report.progress.undecryptable
    backup.malformed = report.progress.malformed
    backup.foreign = report.progress.foreign
    backup.findings = report.findings
    backup.writers = report.writers
    backup.as_of_ns = report.asOf
}

private func copy<T>(_ digest: Digest, to array: inout T) {
    withUnsafeMutableBytes(of: &array) { (target) in
        var writer = ByteWriter(target)
        digest.write(to: &writer)
    }
}

// MARK: Requests

@_cdecl("pawl_view_item_backup_request")
public func pawl_view_item_backup_request(
    _ view: OpaquePointer?, _ row: Int, _ request: UnsafeMutablePointer<pawl_backup_request>?
) -> pawl_status {
    fillRow(view, request) { (rows, request) throws(Failure) in
        let item = try item(rows, row)
        guard let (ask, found) = try item.backupRequest() else { throw .misuse(.row) }
        request.what = ask.rawValue
        (request.version, request.version_size) = field(found.version)
        (request.body, request.body_size) = field(.empty)
        switch ask {
        case .create, .escrow, .page: (request.body, request.body_size) = field(found.rest)
        case .put: request.entry_count = try found.entries().count
        case .item: copy(found.rest, to: &request.place)
        case .version, .delete, .secret: break
        }
    }
}

@_cdecl("pawl_view_item_backup_entry")
public func pawl_view_item_backup_entry(
    _ view: OpaquePointer?, _ row: Int, _ index: Int,
    _ entry: UnsafeMutablePointer<pawl_backup_entry>?
) -> pawl_status {
    fillRow(view, entry) { (rows, entry) throws(Failure) in
        guard let (ask, request) = try item(rows, row).backupRequest(), ask == .put else {
            throw .misuse(.row)
        }
        let entries = try request.entries()
        guard entries.indices.contains(index) else { throw .misuse(.row) }
        let rank = try BackupItem.rank(of: entries[index].bytes)
        entry.first = rank.first
        entry.order = rank.order
        copy(entries[index].place, to: &entry.place)
        (entry.bytes, entry.bytes_size) = field(entries[index].bytes)
    }
}

private func item(_ rows: View.Rows, _ row: Int) throws(Failure) -> ItemRow {
    guard case .items(let items) = rows, items.indices.contains(row) else { throw .misuse(.row) }
    return items[row]
}

@_cdecl("pawl_backup_entry_rank")
public func pawl_backup_entry_rank(
    _ bytes: UnsafeRawPointer?, _ size: Int, _ first: UnsafeMutablePointer<UInt32>?,
    _ order: UnsafeMutablePointer<UInt32>?
) -> pawl_status {
    first?.pointee = 0
    order?.pointee = 0
    return boundary { () throws(Failure) in
        let (first, order) = (try output(first), try output(order))
        let rank = try BackupItem.rank(of: input(bytes, size))
        first.pointee = rank.first
        order.pointee = rank.order
    }
}

@_cdecl("pawl_backup_answer")
public func pawl_backup_answer(
    _ store: OpaquePointer?, _ seq: UInt64, _ reply: UnsafePointer<pawl_backup_reply>?
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in
        let given = try structure(reply)
        guard let result = BackupReply.Result(rawValue: given.result) else {
            throw .misuse(.flags)
        }
        guard given.until_ns >= 0 else { throw .misuse(.time) }
        guard (0...BackupReply.entryLimit).contains(given.entry_count) else {
            throw .misuse(.size)
        }
        let entries = try entries(given.entries, given.entry_count)
        let isClosing = given.is_closing.map { (ask) in { ask(given.context) != 0 } }
        try store.answerBackup(
            seq,
            BackupReply(
                result, until: given.until_ns, count: given.count,
                version: input(given.version, given.version_size),
                body: input(given.body, given.body_size), entries: entries,
                isClosing: isClosing))
    }
}

/// An array of structs, which are as large as the first one says.
private func entries(
    _ start: UnsafePointer<pawl_backup_entry>?, _ count: Int
) throws(Failure) -> [BackupRequest.Entry] {
    guard count > 0 else { return [] }
    let first: pawl_backup_entry = try structure(start)
    let size = Int(first.struct_size)
    guard let start, size % MemoryLayout<pawl_backup_entry>.alignment == 0 else {
        throw .misuse(.structure)
    }
    var entries: [BackupRequest.Entry] = []
    for index in 0..<count {
        let pointer = (UnsafeRawPointer(start) + index * size).assumingMemoryBound(
            to: pawl_backup_entry.self)
        let entry = try structure(pointer)
        guard Int(entry.struct_size) == size else { throw .misuse(.structure) }
        guard entry.flags == 0 else { throw .misuse(.flags) }
        var place = Identifier.none
        try withUnsafeBytes(of: entry.place) { (bytes) throws(Failure) in
            place = try Identifier(bytes)
        }
        entries.append(
            BackupRequest.Entry(
                place: place, bytes: try input(entry.bytes, entry.bytes_size)))
    }
    return entries
}
