// Documented in pawl.h, the only home of C-level facts.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

public import CPawl
internal import PawlCore
internal import PawlCrypto
internal import PawlEngine

/// Bodies that one call hands out together.
let viewSizeLimit = 32 << 20

@_cdecl("pawl_session_encrypt")
public func pawl_session_encrypt(
    _ store: OpaquePointer?, _ session: UnsafePointer<UInt8>?, _ plaintext: UnsafeRawPointer?,
    _ plaintext_size: Int, _ out: UnsafeMutablePointer<UInt8>?, _ out_size: Int,
    _ out_len: UnsafeMutablePointer<Int>?
) -> pawl_status {
    out_len?.pointee = 0
    let result = withStore(store) { (store) throws(Failure) in
        let message = try input(plaintext, plaintext_size)
        guard message.count <= Frame.messageLimit else { throw .limit(.message) }
        let (out, length) = try room(
            out, out_size, out_len, for: message.count + Frame.overheadLimit)
        length.pointee = try store.encrypt(
            identifier(session), message,
            into: UnsafeMutableRawBufferPointer(start: out, count: out_size))
    }
    if result != PAWL_OK { clear(out, out_size, upTo: frameLimit) }
    return result
}

@_cdecl("pawl_session_send")
public func pawl_session_send(
    _ store: OpaquePointer?, _ session: UnsafePointer<UInt8>?, _ plaintext: UnsafeRawPointer?,
    _ plaintext_size: Int, _ ticket: UnsafeMutablePointer<UInt64>?
) -> pawl_status {
    ticket?.pointee = 0
    return withStore(store) { (store) throws(Failure) in
        let seq = try store.send(identifier(session), input(plaintext, plaintext_size))
        ticket?.pointee = seq
    }
}

// MARK: Receiving

@_cdecl("pawl_account_receive")
public func pawl_account_receive(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?,
    _ frame: UnsafePointer<pawl_frame>?, _ out: UnsafeMutablePointer<UInt8>?, _ out_size: Int,
    _ out_len: UnsafeMutablePointer<Int>?, _ received: UnsafeMutablePointer<pawl_received>?
) -> pawl_status {
    let target = cleared(received)
    out_len?.pointee = 0
    let result = withStore(store) { (store) throws(Failure) in
        let frame = try structure(frame)
        try check(flags: frame.flags, allowed: PAWL_RECEIVE_KEEP)
        let bytes = try input(frame.bytes, frame.size)
        let (out, length) = try room(out, out_size, out_len, for: bytes.count)
        try fill(received, target) { (received) throws(Failure) in
            let keeps = has(frame.flags, PAWL_RECEIVE_KEEP)
            guard let one = try store.receive(identifier(account), [(bytes, keeps)]).first else {
                throw .internal
            }
            if let failure = one.failure { throw failure }
            received.flags = flags(one)
            copy(one.session ?? .none, to: &received.session)
            received.epoch = one.epoch
            received.index = one.index
            length.pointee = copy(one.message, to: out)
            withExtendedLifetime(one) {}
        }
    }
    if result != PAWL_OK { clear(out, out_size, upTo: frameLimit) }
    return result
}

@_cdecl("pawl_account_receive_many")
public func pawl_account_receive_many(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?,
    _ deliveries: UnsafeMutablePointer<pawl_delivery>?, _ count: Int
) -> pawl_status {
    var places: [UnsafeMutablePointer<pawl_delivery>] = []
    let result = withStore(store) { (store) throws(Failure) in
        places = try rows(deliveries, count)
        let account = try identifier(account)
        var frames: [(bytes: Bytes, keeps: Bool)] = []
        var receivers: [Int] = []
        for (index, place) in places.enumerated() {
            do throws(Failure) {
                frames.append(try frame(place))
                receivers.append(index)
            } catch {
                place.pointee.status = status(error)
                clear(place.pointee.out, place.pointee.out_size, upTo: frameLimit)
            }
        }
        let received = try store.receive(account, frames)
        for (index, one) in zip(receivers, received) { answer(one, places[index]) }
    }
    if result != PAWL_OK {
        for place in places {
            reset(place)
            place.pointee.status = result
            clear(place.pointee.out, place.pointee.out_size, upTo: frameLimit)
        }
    }
    return result
}

/// One row for each delivery, its results cleared. A caller's rows may be longer than ours.
private func rows(
    _ deliveries: UnsafeMutablePointer<pawl_delivery>?, _ count: Int
) throws(Failure) -> [UnsafeMutablePointer<pawl_delivery>] {
    guard (0...10_000).contains(count) else { throw .misuse(.size) }
    guard count > 0 else { return [] }
    let first = try output(deliveries)
    let stride = first.pointee.struct_size
    guard stride % 8 == 0 else { throw .misuse(.structure) }
    var places: [UnsafeMutablePointer<pawl_delivery>] = []
    for number in 0..<count {
        let place = (UnsafeMutableRawPointer(first) + number * Int(stride))
            .assumingMemoryBound(to: pawl_delivery.self)
        guard place.pointee.struct_size == stride else { throw .misuse(.structure) }
        _ = try structure(UnsafePointer(place))
        places.append(place)
    }
    for place in places { reset(place) }
    return places
}

private func reset(_ place: UnsafeMutablePointer<pawl_delivery>) {
    place.pointee.out_len = 0
    place.pointee.received_flags = 0
    copy(Identifier.none, to: &place.pointee.session)
    place.pointee.epoch = 0
    place.pointee.index = 0
    place.pointee.status = PAWL_OK
}

private func frame(
    _ place: UnsafeMutablePointer<pawl_delivery>
) throws(Failure) -> (bytes: Bytes, keeps: Bool) {
    let delivery = place.pointee
    try check(flags: delivery.flags, allowed: PAWL_RECEIVE_KEEP)
    let bytes = try input(delivery.frame, delivery.frame_size)
    guard delivery.out_size >= 0 else { throw .misuse(.size) }
    guard delivery.out_size >= bytes.count else {
        place.pointee.out_len = bytes.count
        throw .buffer
    }
    guard delivery.out != nil || bytes.isEmpty else { throw .misuse(.null) }
    return (bytes, has(delivery.flags, PAWL_RECEIVE_KEEP))
}

private func answer(_ one: Store.Received, _ place: UnsafeMutablePointer<pawl_delivery>) {
    if let failure = one.failure {
        place.pointee.status = status(failure)
        clear(place.pointee.out, place.pointee.out_size, upTo: frameLimit)
        return
    }
    place.pointee.received_flags = flags(one)
    copy(one.session ?? .none, to: &place.pointee.session)
    place.pointee.epoch = one.epoch
    place.pointee.index = one.index
    if let out = place.pointee.out { place.pointee.out_len = copy(one.message, to: out) }
    withExtendedLifetime(one) {}
}

/// A message is shorter than its frame, for which there is room.
func copy(_ message: Bytes?, to out: UnsafeMutablePointer<UInt8>) -> Int {
    guard let message else { return 0 }
    if message.count > 0 {
        // Not update(from:), which copies byte by byte in the Embedded build.
        UnsafeMutableRawPointer(out).copyMemory(from: message.octets, byteCount: message.count)
    }
    return message.count
}

private func flags(_ one: Store.Received) -> UInt32 {
    var flags: Int32 = 0
    if one.message == nil { flags |= PAWL_RECEIVED_EMPTY }
    if one.isAgain { flags |= PAWL_RECEIVED_AGAIN }
    if one.isNewSession { flags |= PAWL_RECEIVED_NEW_SESSION }
    if one.isUnaccepted { flags |= PAWL_RECEIVED_UNACCEPTED }
    return UInt32(bitPattern: flags)
}

var frameLimit: Int { Frame.messageLimit + Frame.overheadLimit }

// MARK: Kept messages

@_cdecl("pawl_session_kept")
public func pawl_session_kept(
    _ store: OpaquePointer?, _ session: UnsafePointer<UInt8>?, _ limit: Int,
    _ messages: UnsafeMutablePointer<OpaquePointer?>?
) -> pawl_status {
    messages?.pointee = nil
    return withStore(store) { (store) throws(Failure) in
        let messages = try output(messages)
        let rows = try store.kept(
            identifier(session), limit: page(limit), bytes: viewSizeLimit)
        messages.pointee = handle(owning: View(.kept(rows)))
    }
}

@_cdecl("pawl_view_kept")
public func pawl_view_kept(
    _ view: OpaquePointer?, _ row: Int, _ kept: UnsafeMutablePointer<pawl_kept>?
) -> pawl_status {
    fillRow(view, kept) { (rows, kept) throws(Failure) in
        guard case .kept(let rows) = rows, rows.indices.contains(row) else {
            throw .misuse(.row)
        }
        copy(rows[row].session, to: &kept.session)
        kept.epoch = rows[row].epoch
        kept.index = rows[row].index
        (kept.plaintext, kept.plaintext_size) = field(rows[row].message)
    }
}

@_cdecl("pawl_session_forget")
public func pawl_session_forget(
    _ store: OpaquePointer?, _ session: UnsafePointer<UInt8>?, _ epoch: UInt32, _ index: UInt32
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in
        try store.forget(identifier(session), epoch: epoch, index: index)
    }
}
