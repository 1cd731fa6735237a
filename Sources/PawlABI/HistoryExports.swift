// Documented in pawl.h, the only home of C-level facts.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

public import CPawl
internal import PawlCore
internal import PawlCrypto
internal import PawlEngine

@_cdecl("pawl_history_enable")
public func pawl_history_enable(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?, _ on: UInt32
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in
        let account = try identifier(account)
        guard on <= 1 else { throw .misuse(.flags) }
        try store.keepHistory(account, on == 1)
    }
}

@_cdecl("pawl_history_enabled")
public func pawl_history_enabled(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?, _ on: UnsafeMutablePointer<UInt32>?
) -> pawl_status {
    on?.pointee = 0
    return withStore(store) { (store) throws(Failure) in
        let on = try output(on)
        on.pointee = try store.keepsHistory(identifier(account)) ? 1 : 0
    }
}

@_cdecl("pawl_history_list")
public func pawl_history_list(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?,
    _ after: UnsafePointer<pawl_history>?, _ limit: Int,
    _ rows: UnsafeMutablePointer<OpaquePointer?>?
) -> pawl_status {
    rows?.pointee = nil
    return withStore(store) { (store) throws(Failure) in
        let rows = try output(rows)
        let last = try after.map { (after) throws(Failure) in try structure(after) }
        let start = try last.map { (last) throws(Failure) in try place(last) }
        let found = try store.history(identifier(account), after: start, limit: page(limit))
        rows.pointee = handle(owning: View(.history(found)))
    }
}

private func place(_ row: pawl_history) throws(Failure) -> HistoryPlace {
    guard let direction = UInt8(exactly: row.direction).flatMap({ History.Direction(rawValue: $0) })
    else { throw .misuse(.flags) }
    return try withUnsafeBytes(of: row.session) { (session) throws(Failure) in
        HistoryPlace(session: try Identifier(session), epoch: row.epoch, direction: direction)
    }
}

@_cdecl("pawl_view_history")
public func pawl_view_history(
    _ view: OpaquePointer?, _ row: Int, _ history: UnsafeMutablePointer<pawl_history>?
) -> pawl_status {
    fillRow(view, history) { (rows, history) throws(Failure) in
        guard case .history(let rows) = rows, rows.indices.contains(row) else {
            throw .misuse(.row)
        }
        let (place, record) = (rows[row].place, rows[row].record)
        history.flags =
            (record.isClosed ? UInt32(PAWL_HISTORY_CLOSED) : 0)
            | (record.isImported ? UInt32(PAWL_HISTORY_IMPORTED) : 0)
        copy(place.session, to: &history.session)
        history.epoch = place.epoch
        history.direction = UInt32(place.direction.rawValue)
        history.first = record.first
        history.end = record.end
        history.created_ns = record.created
        copy(record.peer.keys.signing, to: &history.peer_signing_key)
        copy(record.peer.keys.agreement, to: &history.peer_agreement_key)
        (history.peer_name, history.peer_name_size) = field(record.peer.name)
    }
}

@_cdecl("pawl_history_decrypt")
public func pawl_history_decrypt(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?, _ frame: UnsafeRawPointer?,
    _ frame_size: Int, _ out: UnsafeMutablePointer<UInt8>?, _ out_size: Int,
    _ out_len: UnsafeMutablePointer<Int>?, _ message: UnsafeMutablePointer<pawl_history_message>?
) -> pawl_status {
    let target = cleared(message)
    out_len?.pointee = 0
    let result = withStore(store) { (store) throws(Failure) in
        let bytes = try input(frame, frame_size)
        let (out, length) = try room(out, out_size, out_len, for: bytes.count)
        try fill(message, target) { (message) throws(Failure) in
            let opened = try store.openHistory(identifier(account), bytes)
            let (place, peer) = (opened.row.place, opened.row.record.peer)
            message.flags = opened.message == nil ? UInt32(PAWL_HISTORY_EMPTY) : 0
            copy(place.session, to: &message.session)
            message.epoch = place.epoch
            message.index = opened.index
            message.direction = UInt32(place.direction.rawValue)
            message.peer_name_size = UInt32(truncatingIfNeeded: peer.name.count)
            copy(peer.keys.signing, to: &message.peer_signing_key)
            copy(peer.keys.agreement, to: &message.peer_agreement_key)
            copy(peer.name, to: &message.peer_name)
            length.pointee = copy(opened.message, to: out)
            withExtendedLifetime(opened) {}
        }
    }
    if result != PAWL_OK { clear(out, out_size, upTo: frameLimit) }
    return result
}
