// Documented in pawl.h, the only home of C-level facts.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

public import CPawl
internal import PawlCore
internal import PawlCrypto
internal import PawlEngine

@_cdecl("pawl_store_fd")
public func pawl_store_fd(
    _ store: OpaquePointer?, _ fd: UnsafeMutablePointer<Int32>?
) -> pawl_status {
    fd?.pointee = 0
    return withStore(store) { (store) throws(Failure) in
        let fd = try output(fd)
        fd.pointee = try store.descriptor()
    }
}

@_cdecl("pawl_store_next_deadline")
public func pawl_store_next_deadline(
    _ store: OpaquePointer?, _ deadline_ns: UnsafeMutablePointer<Int64>?
) -> pawl_status {
    deadline_ns?.pointee = 0
    return withStore(store) { (store) throws(Failure) in
        let deadline = try output(deadline_ns)
        deadline.pointee = try store.nextDeadline() ?? CredentialRules.never
    }
}

@_cdecl("pawl_store_run_due")
public func pawl_store_run_due(
    _ store: OpaquePointer?, _ limit: Int, _ ran: UnsafeMutablePointer<Int>?,
    _ next_deadline_ns: UnsafeMutablePointer<Int64>?
) -> pawl_status {
    ran?.pointee = 0
    next_deadline_ns?.pointee = 0
    return withStore(store) { (store) throws(Failure) in
        let count = try store.runDue(limit: page(limit))
        let next = try next_deadline_ns.map { (_) throws(Failure) in try store.nextDeadline() }
        ran?.pointee = count
        next_deadline_ns?.pointee = (next ?? nil) ?? CredentialRules.never
    }
}

@_cdecl("pawl_store_nudge")
public func pawl_store_nudge(_ store: OpaquePointer?) -> pawl_status {
    withStore(store) { (store) throws(Failure) in try store.nudge() }
}
