// Documented in pawl.h, the only home of C-level facts.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

public import CPawl
internal import PawlCore
internal import PawlCrypto
internal import PawlEngine

@_cdecl("pawl_session_start")
public func pawl_session_start(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?,
    _ options: UnsafePointer<pawl_start_options>?, _ session: UnsafeMutablePointer<UInt8>?
) -> pawl_status {
    session?.update(repeating: 0, count: Identifier.size)
    return withStore(store) { (store) throws(Failure) in
        let session = try output(session)
        let options = try structure(options)
        guard options.flags == 0 else { throw .misuse(.flags) }
        let name = try accountName(input(options.peer_name, options.peer_name_size))
        let id = try store.startSession(
            identifier(account), peer: name, input(options.package, options.package_size))
        id.withBytes { session.update(from: $0.octets, count: $0.count) }
    }
}

@_cdecl("pawl_session_reset")
public func pawl_session_reset(
    _ store: OpaquePointer?, _ session: UnsafePointer<UInt8>?, _ package: UnsafeRawPointer?,
    _ package_size: Int, _ new_session: UnsafeMutablePointer<UInt8>?
) -> pawl_status {
    // Before `new_session` is cleared: it may be where the old id is.
    let old = session.flatMap { try? identifier($0) }
    new_session?.update(repeating: 0, count: Identifier.size)
    return withStore(store) { (store) throws(Failure) in
        let session = try output(new_session)
        guard let old else { throw .misuse(.null) }
        let id = try store.resetSession(old, input(package, package_size))
        id.withBytes { session.update(from: $0.octets, count: $0.count) }
    }
}

@_cdecl("pawl_session_close")
public func pawl_session_close(
    _ store: OpaquePointer?, _ session: UnsafePointer<UInt8>?
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in try store.closeSession(identifier(session)) }
}

@_cdecl("pawl_session_get")
public func pawl_session_get(
    _ store: OpaquePointer?, _ session: UnsafePointer<UInt8>?,
    _ view: UnsafeMutablePointer<OpaquePointer?>?
) -> pawl_status {
    view?.pointee = nil
    return withStore(store) { (store) throws(Failure) in
        let view = try output(view)
        view.pointee = handle(owning: View(.sessions([try store.session(identifier(session))])))
    }
}

@_cdecl("pawl_session_list")
public func pawl_session_list(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?, _ peer_name: UnsafeRawPointer?,
    _ peer_name_size: Int, _ sessions: UnsafeMutablePointer<OpaquePointer?>?
) -> pawl_status {
    sessions?.pointee = nil
    return withStore(store) { (store) throws(Failure) in
        let sessions = try output(sessions)
        let found = try store.sessions(
            identifier(account), peer: accountName(input(peer_name, peer_name_size)))
        sessions.pointee = handle(owning: View(.sessions(found)))
    }
}

@_cdecl("pawl_view_session")
public func pawl_view_session(
    _ view: OpaquePointer?, _ row: Int, _ session: UnsafeMutablePointer<pawl_session>?
) -> pawl_status {
    fillRow(view, session) { (rows, session) throws(Failure) in
        guard case .sessions(let rows) = rows, rows.indices.contains(row) else {
            throw .misuse(.row)
        }
        let (found, entry) = (rows[row].session, rows[row].entry)
        var flags: Int32 = 0
        if found.side == .initiator { flags |= PAWL_SESSION_INITIATOR }
        if entry.isConfirmed { flags |= PAWL_SESSION_CONFIRMED }
        if !entry.isSendable { flags |= PAWL_SESSION_RECEIVE_ONLY }
        if found.isReported { flags |= PAWL_SESSION_DESYNCHRONIZED }
        session.flags = UInt32(bitPattern: flags)
        copy(found.id, to: &session.id)
        copy(found.account, to: &session.account)
        session.suite = UInt32(found.suite.rawValue)
        session.epoch = found.epoch
        session.sent = found.sending.index
        session.received = found.receiving.chain.index
        session.skipped = found.skipped
        session.target = found.rekey.pending?.target ?? 0
        let limits = found.pace.limits
        session.messages = limits.messages
        session.limit_flags = limits.isPerfect ? UInt32(bitPattern: PAWL_LIMITS_PERFECT) : 0
        session.bytes = limits.bytes
        session.interval_ns = limits.interval
        session.queue = limits.queue
        session.queued = found.pace.queued
        session.created_ns = Store.nanoseconds(found.created)
        session.ends_ns = rows[row].ends
        copy(found.peer.keys.signing, to: &session.peer_signing_key)
        copy(found.peer.keys.agreement, to: &session.peer_agreement_key)
        (session.peer_name, session.peer_name_size) = field(found.peer.name)
    }
}
