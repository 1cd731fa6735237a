// Documented in pawl.h, the only home of C-level facts.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

public import CPawl
internal import PawlCrypto
internal import PawlEngine

@_cdecl("pawl_outbox_take")
public func pawl_outbox_take(
    _ store: OpaquePointer?, _ limit: Int, _ lease_ns: Int64,
    _ items: UnsafeMutablePointer<OpaquePointer?>?
) -> pawl_status {
    items?.pointee = nil
    return withStore(store) { (store) throws(Failure) in
        let items = try output(items)
        let taken = try store.takeItems(limit: page(limit), lease: lease_ns)
        items.pointee = handle(owning: View(.items(taken)))
    }
}

@_cdecl("pawl_outbox_ack")
public func pawl_outbox_ack(
    _ store: OpaquePointer?, _ seq: UnsafePointer<UInt64>?, _ count: Int
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in
        guard (0...10_000).contains(count) else { throw .misuse(.size) }
        guard seq != nil || count == 0 else { throw .misuse(.null) }
        try store.acknowledge(UnsafeBufferPointer(start: seq, count: count))
    }
}

@_cdecl("pawl_outbox_fail")
public func pawl_outbox_fail(
    _ store: OpaquePointer?, _ seq: UInt64, _ retry_after_ns: Int64
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in
        try store.failItem(seq, retry: retry_after_ns)
    }
}

@_cdecl("pawl_outbox_answer")
public func pawl_outbox_answer(
    _ store: OpaquePointer?, _ seq: UInt64, _ body: UnsafeRawPointer?, _ body_size: Int
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in
        try store.answerRequest(seq, body: input(body, body_size))
    }
}
