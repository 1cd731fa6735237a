// Documented in pawl.h, the only home of C-level facts.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

public import CPawl
internal import PawlCore
internal import PawlCrypto
internal import PawlEngine

@_cdecl("pawl_session_rekey")
public func pawl_session_rekey(
    _ store: OpaquePointer?, _ session: UnsafePointer<UInt8>?, _ flags: UInt32,
    _ epoch: UnsafeMutablePointer<UInt32>?
) -> pawl_status {
    epoch?.pointee = 0
    return withStore(store) { (store) throws(Failure) in
        try check(flags: flags, allowed: PAWL_REKEY_FRESH)
        let epoch = try output(epoch)
        epoch.pointee = try store.rekey(identifier(session), isFresh: has(flags, PAWL_REKEY_FRESH))
    }
}

@_cdecl("pawl_session_wait")
public func pawl_session_wait(
    _ store: OpaquePointer?, _ session: UnsafePointer<UInt8>?, _ epoch: UInt32,
    _ timeout_ns: Int64, _ reached: UnsafeMutablePointer<UInt32>?
) -> pawl_status {
    reached?.pointee = 0
    return withStore(store) { (store) throws(Failure) in
        let found = try store.waitForEpoch(identifier(session), epoch, timeout: timeout_ns)
        reached?.pointee = found
    }
}

@_cdecl("pawl_session_set_limits")
public func pawl_session_set_limits(
    _ store: OpaquePointer?, _ session: UnsafePointer<UInt8>?,
    _ limits: UnsafePointer<pawl_rekey_limits>?
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in
        let limits = try structure(limits)
        try check(flags: limits.flags, allowed: PAWL_LIMITS_PERFECT)
        guard limits.queue <= Pace.queueCeiling else { throw .misuse(.size) }
        try store.setLimits(
            identifier(session),
            Pace.Limits(
                messages: limits.messages, bytes: limits.bytes, interval: limits.interval_ns,
                isPerfect: has(limits.flags, PAWL_LIMITS_PERFECT), queue: limits.queue))
    }
}

@_cdecl("pawl_store_trace")
public func pawl_store_trace(
    _ store: OpaquePointer?, _ trace: UnsafePointer<pawl_trace>?
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in
        guard trace != nil else { return store.setTracer(nil) }
        store.setTracer(try HostTracer(structure(trace)))
    }
}

final class HostTracer: Tracer {
    private let context: UnsafeMutableRawPointer?
    private typealias Step =
        @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<pawl_step>?) -> Void
    private let step: Step

    private init(_ step: @escaping Step, _ context: UnsafeMutableRawPointer?) {
        self.step = step
        self.context = context
    }

    convenience init(_ table: pawl_trace) throws(Failure) {
        guard table.flags == 0 else { throw .misuse(.flags) }
        guard let step = table.step else { throw .misuse(.null) }
        self.init(step, table.context)
    }

    func trace(_ traced: TracedStep) {
        var step = pawl_step()
        step.struct_size = UInt32(MemoryLayout<pawl_step>.size)
        step.event = traced.step.event.rawValue
        copy(traced.session, to: &step.session)
        copy(traced.step.offer, to: &step.offer)
        step.from = traced.step.from
        step.to = traced.step.to
        step.target = traced.step.target
        step.constructor = traced.step.constructor.rawValue
        self.step(context, &step)
    }
}
