package import PawlCrypto

/// A snapshot, and how far a restore is: what an event carries.
///
/// Layout (little endian): format 1, revision 8, marks 1, phase 1, download 1, generation 8 and hash 32 (both zeros: none)
/// of each of the active version, the server's and the key's, items of the server 8, pending 8, acknowledged 8, retry at 8,
/// progress 6 x 8, findings 8, writers 8, as of 8.
package struct BackupReport {
    private static let format: UInt8 = 1
    private static let size = 1 + 8 + 3 + 3 * 8 + 3 * Digest.size + 4 * 8 + 9 * 8

    /// Written into files: numbers are never reused.
    package struct Marks {
        package static let isOn: UInt8 = 1
        package static let isUploading: UInt8 = 2
        package static let isRestoring: UInt8 = 4
        package static let isStopped: UInt8 = 8
        package static let canRestoreOlder: UInt8 = 16
        /// Whether the server was asked; without a generation it has none.
        package static let isServerKnown: UInt8 = 32
    }

    package struct Version: Equatable {
        package let generation: UInt64
        package let hash: Digest

        fileprivate init(_ version: BackupVersion?) {
            generation = version?.generation ?? 0
            hash = version?.hash ?? .none
        }

        fileprivate init(_ reader: inout ByteReader) throws(Failure) {
            generation = try reader.integer(UInt64.self)
            hash = try Digest(&reader)
        }

        fileprivate func write(to writer: inout ByteWriter) {
            writer.integer(generation)
            hash.write(to: &writer)
        }
    }

    package let revision: UInt64
    package let marks: UInt8
    package let phase: UInt8
    /// 0: ready; else why not.
    package let download: UInt8
    package let active: Version
    package let server: Version
    package let key: Version
    package let items: UInt64
    package let pending: UInt64
    package let acknowledged: UInt64
    /// `CredentialRules.never`: nothing is put off.
    package let retryAt: Int64
    package var progress = Backup.Progress()
    package var findings: UInt64 = 0
    package var writers: UInt64 = 0
    /// The time of the newest manifest.
    package var asOf: Int64 = 0

    package init(_ machine: Backup, _ snapshot: Backup.Snapshot) {
        revision = snapshot.revision
        var marks: UInt8 = snapshot.intent == .on ? Marks.isOn : 0
        if snapshot.isUploading { marks |= Marks.isUploading }
        if let restoring = machine.restoring {
            marks |= Marks.isRestoring
            if restoring.isStopped { marks |= Marks.isStopped }
            progress = restoring.progress
        }
        if machine.offered != nil { marks |= Marks.canRestoreOlder }
        if snapshot.server != .unknown { marks |= Marks.isServerKnown }
        self.marks = marks
        phase =
            switch snapshot.phase {
            case .idle: 0
            case .checking: 1
            case .escrowing: 2
            case .creating: 3
            case .deleting: 4
            case .waiting: 5
            }
        download =
            switch snapshot.download {
            case .ready: 0
            case .notReady(let reason): reason.rawValue
            }
        active = Version(snapshot.active)
        server = Version(snapshot.server.version)
        key = Version(snapshot.key)
        var items: UInt64 = 0
        if case .present(_, let count) = snapshot.server { items = count }
        self.items = items
        pending = snapshot.pending
        acknowledged = snapshot.acknowledged
        var retryAt = snapshot.retryAt ?? CredentialRules.never
        if case .waiting(let until) = snapshot.phase { retryAt = min(retryAt, until) }
        self.retryAt = retryAt
    }

    package init(decoding bytes: Bytes) throws(Failure) {
        var reader = ByteReader(bytes)
        try reader.format(Self.format)
        revision = try reader.integer(UInt64.self)
        marks = try reader.integer(UInt8.self)
        phase = try reader.integer(UInt8.self)
        download = try reader.integer(UInt8.self)
        active = try Version(&reader)
        server = try Version(&reader)
        key = try Version(&reader)
        items = try reader.integer(UInt64.self)
        pending = try reader.integer(UInt64.self)
        acknowledged = try reader.integer(UInt64.self)
        retryAt = try reader.integer(Int64.self)
        progress.imported = try reader.integer(UInt64.self)
        progress.known = try reader.integer(UInt64.self)
        progress.improved = try reader.integer(UInt64.self)
        progress.undecryptable = try reader.integer(UInt64.self)
        progress.malformed = try reader.integer(UInt64.self)
        progress.foreign = try reader.integer(UInt64.self)
        findings = try reader.integer(UInt64.self)
        writers = try reader.integer(UInt64.self)
        asOf = try reader.integer(Int64.self)
        try reader.finish()
    }

    package func encoded() throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(count: Self.size)
        var writer = ByteWriter(buffer.mutableBytes)
        writer.integer(Self.format)
        writer.integer(revision)
        writer.integer(marks)
        writer.integer(phase)
        writer.integer(download)
        for version in [active, server, key] { version.write(to: &writer) }
        for number in [items, pending, acknowledged] { writer.integer(number) }
        writer.integer(retryAt)
        writer.integer(progress.imported)
        writer.integer(progress.known)
        writer.integer(progress.improved)
        writer.integer(progress.undecryptable)
        writer.integer(progress.malformed)
        writer.integer(progress.foreign)
        writer.integer(findings)
        writer.integer(writers)
        writer.integer(asOf)
        try writer.finish()
        return buffer
    }
}
