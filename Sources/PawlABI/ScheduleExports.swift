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

@_cdecl("pawl_store_start_runner")
public func pawl_store_start_runner(
    _ store: OpaquePointer?, _ runner: UnsafePointer<pawl_runner>?
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in
        let table = try structure(runner)
        guard table.flags == 0 else { throw .misuse(.flags) }
        let (context, itemsReady) = (table.context, table.items_ready)
        try store.startRunner { itemsReady?(context) }
    }
}

@_cdecl("pawl_store_stop_runner")
public func pawl_store_stop_runner(_ store: OpaquePointer?) -> pawl_status {
    withStore(store) { (store) throws(Failure) in try store.stopRunner() }
}

@_cdecl("pawl_store_jobs")
public func pawl_store_jobs(
    _ store: OpaquePointer?, _ flags: UInt32, _ after: UnsafePointer<pawl_job>?, _ limit: Int,
    _ jobs: UnsafeMutablePointer<OpaquePointer?>?
) -> pawl_status {
    jobs?.pointee = nil
    return withStore(store) { (store) throws(Failure) in
        try check(flags: flags, allowed: PAWL_JOBS_DEAD)
        let jobs = try output(jobs)
        let last = try after.map { (after) throws(Failure) in try structure(after) }
        let start = try last.map { (last) throws(Failure) in
            (job: try job(last.kind, last.subject), due: last.due_ns)
        }
        let rows = try store.jobs(
            areDead: has(flags, PAWL_JOBS_DEAD), after: start, limit: page(limit))
        jobs.pointee = handle(owning: View(.jobs(rows)))
    }
}

@_cdecl("pawl_view_job")
public func pawl_view_job(
    _ view: OpaquePointer?, _ row: Int, _ job: UnsafeMutablePointer<pawl_job>?
) -> pawl_status {
    fillRow(view, job) { (rows, job) throws(Failure) in
        guard case .jobs(let rows) = rows, rows.indices.contains(row) else {
            throw .misuse(.row)
        }
        job.kind = UInt32(rows[row].job.kind.rawValue)
        copy(rows[row].job.subject, to: &job.subject)
        job.due_ns = rows[row].due
        job.attempts = rows[row].failures
        job.last_status = pawl_status(rows[row].cause)
        job.flags = rows[row].isDead ? UInt32(PAWL_JOB_DEAD) : 0
    }
}

@_cdecl("pawl_job_revive")
public func pawl_job_revive(
    _ store: OpaquePointer?, _ kind: UInt32, _ subject: UnsafePointer<UInt8>?
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in
        try store.revive(Job(jobKind(kind), identifier(subject)))
    }
}

private func job<Subject>(_ kind: UInt32, _ subject: Subject) throws(Failure) -> Job {
    let kind = try jobKind(kind)
    return try withUnsafeBytes(of: subject) { (bytes) throws(Failure) in
        Job(kind, try Identifier(bytes))
    }
}

private func jobKind(_ number: UInt32) throws(Failure) -> JobKind {
    guard let kind = UInt8(exactly: number).flatMap({ JobKind(rawValue: $0) }) else {
        throw .misuse(.flags)
    }
    return kind
}
