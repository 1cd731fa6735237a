// Documented in pawl.h, the only home of C-level facts.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

public import CPawl
internal import PawlCore
internal import PawlCrypto
internal import PawlEngine
internal import PawlStore

@_cdecl("pawl_export_begin")
public func pawl_export_begin(
    _ store: OpaquePointer?, _ scope: UnsafePointer<pawl_scope>?, _ flags: UInt32,
    _ key: UnsafePointer<pawl_key>?, _ stream: UnsafeMutablePointer<OpaquePointer?>?
) -> pawl_status {
    stream?.pointee = nil
    return withStore(store) { (store) throws(Failure) in
        let stream = try output(stream)
        try check(flags: flags, allowed: PAWL_EXPORT_ALL_PROJECTS)
        let scope = try archiveScope(scope, allProjects: has(flags, PAWL_EXPORT_ALL_PROJECTS))
        stream.pointee = handle(
            owning: try ArchiveStream(exporting: store, scope, for: unlockKey(key)))
    }
}

@_cdecl("pawl_import_begin")
public func pawl_import_begin(
    _ store: OpaquePointer?, _ key: UnsafePointer<pawl_key>?,
    _ stream: UnsafeMutablePointer<OpaquePointer?>?
) -> pawl_status {
    stream?.pointee = nil
    return withStore(store) { (store) throws(Failure) in
        let stream = try output(stream)
        stream.pointee = handle(
            owning: try ArchiveStream(importingTo: store, with: unlockKey(key)))
    }
}

@_cdecl("pawl_stream_read")
public func pawl_stream_read(
    _ stream: OpaquePointer?, _ out: UnsafeMutableRawPointer?, _ out_size: Int,
    _ size: UnsafeMutablePointer<Int>?
) -> pawl_status {
    size?.pointee = 0
    return withStream(stream) { (stream) throws(Failure) in
        let size = try output(size)
        guard out_size > 0 else { throw .misuse(.size) }
        guard let out else { throw .misuse(.null) }
        size.pointee = try stream.read(
            into: UnsafeMutableRawBufferPointer(start: out, count: out_size))
    }
}

@_cdecl("pawl_stream_write")
public func pawl_stream_write(
    _ stream: OpaquePointer?, _ bytes: UnsafeRawPointer?, _ size: Int
) -> pawl_status {
    withStream(stream) { (stream) throws(Failure) in try stream.write(input(bytes, size)) }
}

@_cdecl("pawl_stream_finish")
public func pawl_stream_finish(_ stream: OpaquePointer?) -> pawl_status {
    withStream(stream) { (stream) throws(Failure) in try stream.finish() }
}

@_cdecl("pawl_stream_report")
public func pawl_stream_report(
    _ stream: OpaquePointer?, _ report: UnsafeMutablePointer<pawl_archive_report>?
) -> pawl_status {
    let target = cleared(report)
    return boundary { () throws(Failure) in
        guard let stream = object(stream, as: ArchiveStream.self) else { throw .misuse(.null) }
        let found = try stream.report()
        try fill(report, target) { (report) in
            report.credentials = found.credentials
            report.imported = found.imported
            report.improved = found.improved
            report.kept = found.kept
            report.expired = found.expired
            report.unreadable = found.unreadable
        }
    }
}

@_cdecl("pawl_stream_close")
public func pawl_stream_close(_ stream: OpaquePointer?) {
    // A store that is closed has ended the batch of an import itself.
    let result = withStream(stream) { (stream) in stream.close() }
    if let stream, result != PAWL_BUSY_REENTERED { release(stream, as: ArchiveStream.self) }
}

private func withStream(
    _ handle: OpaquePointer?, _ body: (ArchiveStream) throws(Failure) -> Void
) -> pawl_status {
    boundary { () throws(Failure) in
        guard let stream = object(handle, as: ArchiveStream.self) else { throw .misuse(.null) }
        try stream.store.call { () throws(Failure) in try body(stream) }
    }
}

private func archiveScope(
    _ pointer: UnsafePointer<pawl_scope>?, allProjects: Bool
) throws(Failure) -> ArchiveScope {
    guard pointer != nil else {
        guard !allProjects else { throw .misuse(.flags) }
        return .everything
    }
    let scope = try scope(pointer)
    guard allProjects else { return .project(scope) }
    guard scope.project.isEmpty else { throw .misuse(.project) }
    return .user(scope)
}
