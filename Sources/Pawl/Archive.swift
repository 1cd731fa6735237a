import CPawl

/// What becomes of an archive's credentials.
public struct ArchiveReport: Sendable, Hashable {
    /// In the archive.
    public let credentials: UInt64
    /// There was none of the name.
    public let imported: UInt64
    /// The one that was here had been updated earlier, and was replaced.
    public let improved: UInt64
    /// The one that was here had been updated as late, or later.
    public let kept: UInt64
    /// Over before they were imported.
    public let expired: UInt64
    /// Damaged here and left out, or in the archive and of a newer version.
    public let unreadable: UInt64

    init(_ report: pawl_archive_report) {
        credentials = report.credentials
        imported = report.imported
        improved = report.improved
        kept = report.kept
        expired = report.expired
        unreadable = report.unreadable
    }
}

/// Whose credentials an archive holds.
public enum ArchiveContents: Sendable, Hashable {
    /// Of the whole store.
    case everything
    /// Of one scope.
    case scope(Scope)
    /// Of a user, in all projects and none.
    case user(String)
}

extension Store {
    /// Writes an archive: the current credentials, secrets included, sealed for a key of its own. Whoever has it and
    /// the key has them all. Each credential is as it is when the archive comes to it; deleted versions are left out.
    ///
    /// - Parameters:
    ///   - contents: whose credentials.
    ///   - key: what opens it; a recovery key is one of ``RecoveryKey/Kind/backup``.
    ///   - write: puts the next bytes, at most 64 KiB, where they belong. If it throws, so does this.
    @discardableResult
    public func export(
        _ contents: ArchiveContents = .everything, for key: Key,
        _ write: (UnsafeRawBufferPointer) throws -> Void
    ) throws -> ArchiveReport {
        let stream = try calls.beginExport(contents, key)
        defer { pawl_stream_close(stream) }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 1)
        defer { buffer.deallocate() }
        var size = 0
        repeat {
            try check(pawl_stream_read(stream, buffer.baseAddress, buffer.count, &size))
            if size > 0 { try write(UnsafeRawBufferPointer(rebasing: buffer[..<size])) }
        } while size == buffer.count
        return try report(of: stream)
    }

    /// Imports an archive: all of it or nothing. What was updated later wins, here or there; a credential that was deleted
    /// here comes back. Others wait to write until it is done.
    ///
    /// - Parameters:
    ///   - key: what it was exported for.
    ///   - read: fills the buffer as far as it can, and says how far; 0: that was all. If it throws, so does this.
    /// - Throws: ``PawlError/Code/auth`` (it is for another key), ``PawlError/Code/corrupt`` (it was changed, or its end
    ///   is missing), ``PawlError/Reason/corruptNotPawl`` (no archive), ``PawlError/Reason/stateBatch`` (the store
    ///   has a vault).
    @discardableResult
    public func importArchive(
        with key: Key, _ read: (UnsafeMutableRawBufferPointer) throws -> Int
    ) throws -> ArchiveReport {
        let stream = try calls.beginImport(key)
        defer { pawl_stream_close(stream) }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 1)
        defer { buffer.deallocate() }
        while true {
            let size = min(try read(buffer), buffer.count)
            guard size > 0 else { break }
            try check(pawl_stream_write(stream, buffer.baseAddress, size))
        }
        try check(pawl_stream_finish(stream))
        return try report(of: stream)
    }

    private func report(of stream: OpaquePointer) throws(PawlError) -> ArchiveReport {
        var report = pawl_archive_report.sized()
        try check(pawl_stream_report(stream, &report))
        return ArchiveReport(report)
    }
}

extension Calls {
    fileprivate func beginExport(
        _ contents: ArchiveContents, _ key: Key
    ) throws(PawlError) -> OpaquePointer {
        let store = try handle()
        var stream: OpaquePointer?
        try check(
            key.withC { key in
                switch contents {
                case .everything: pawl_export_begin(store, nil, 0, &key, &stream)
                case .scope(let scope):
                    scope.withC { pawl_export_begin(store, &$0, 0, &key, &stream) }
                case .user(let user):
                    Scope(user: user).withC {
                        pawl_export_begin(
                            store, &$0, UInt32(PAWL_EXPORT_ALL_PROJECTS), &key, &stream)
                    }
                }
            })
        return try begun(stream)
    }

    fileprivate func beginImport(_ key: Key) throws(PawlError) -> OpaquePointer {
        let store = try handle()
        var stream: OpaquePointer?
        try check(key.withC { pawl_import_begin(store, &$0, &stream) })
        return try begun(stream)
    }

    private func begun(_ stream: OpaquePointer?) throws(PawlError) -> OpaquePointer {
        guard let stream else { throw PawlError(pawl_status(PAWL_INTERNAL)) }
        return stream
    }
}
