package import PawlCrypto

/// What a server has at a place: an item, or what one writer says of its items. All begin with the same header, by which
/// a server tells which of two stays (`BackupItem.Rank`).
///
/// Layout (little endian): format 1, first index 4, kind 1 (1 and 2: an item; 3: a manifest; 4: a page of a listing). A
/// manifest follows as `BackupManifest` has it, or a page: writer 16, number 8, entries. Of either that stays which came with
/// the higher counter.
package enum BackupWire {
    case item
    case manifest
    case page(Page)

    package struct Page {
        package let writer: Identifier
        /// From 0.
        package let number: UInt64
        package let entries: Bytes
    }

    private static let manifestKind: UInt8 = 3
    private static let pageKind: UInt8 = 4
    private static let pageHeadSize = Identifier.size + 8

    package init(_ wire: Bytes) throws(Failure) {
        var reader = ByteReader(wire)
        try reader.format(BackupItem.format)
        _ = try reader.integer(UInt32.self)
        switch try reader.integer(UInt8.self) {
        case 1, 2: self = .item
        case Self.manifestKind: self = .manifest
        case Self.pageKind:
            let page = Page(
                writer: try Identifier(reader.take(Identifier.size)),
                number: try reader.integer(UInt64.self), entries: reader.rest())
            guard page.number < UInt64.max,
                page.entries.count <= BackupManifest.pageSize * BackupManifest.Entry.size
            else { throw .corrupt(.record) }
            self = .page(page)
        default: throw .version
        }
    }

    /// What is behind the header.
    package static func body(of wire: Bytes) throws(Failure) -> Bytes {
        var reader = ByteReader(wire)
        _ = try reader.take(BackupItem.headerSize)
        return reader.rest()
    }

    package static func manifest(_ encoded: Bytes, counter: UInt64) throws(Failure) -> SecretBuffer
    {
        try write(manifestKind, rising: counter, encoded.count) { (writer) in writer.append(encoded)
        }
    }

    package static func page(
        _ number: UInt64, of writer: Identifier, _ entries: Bytes, counter: UInt64
    ) throws(Failure) -> SecretBuffer {
        try write(pageKind, rising: counter, pageHeadSize + entries.count) { (sink) in
            writer.withBytes { sink.append($0) }
            sink.integer(number)
            sink.append(entries)
        }
    }

    private static func write(
        _ kind: UInt8, rising: UInt64, _ size: Int, _ body: (inout ByteWriter) -> Void
    ) throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(count: BackupItem.headerSize + size)
        var writer = ByteWriter(buffer.mutableBytes)
        writer.integer(BackupItem.format)
        writer.integer(UInt32(Int32.max) - UInt32(clamping: min(rising, UInt64(Int32.max))))
        writer.integer(kind)
        body(&writer)
        try writer.finish()
        return buffer
    }
}

/// How far the listing of a version is that this account writes, without its pages: as it was when the last batch was made,
/// and with that batch. An upload that failed is made anew from before.
///
/// Layout (little endian): format 1, hash of the version 32, two standings, each: entries 8, changes up to 8, root of the full
/// pages 32, root of all 32.
package struct BackupListing: Equatable {
    private static let format: UInt8 = 1

    package struct Standing: Equatable {
        static let size = 16 + 2 * Digest.size
        package fileprivate(set) var count: UInt64 = 0
        /// The last change that was looked at.
        package fileprivate(set) var upTo: UInt64 = 0
        fileprivate var full = Digest.none
        package fileprivate(set) var root = Digest.none

        fileprivate init() {}

        fileprivate init(_ reader: inout ByteReader) throws(Failure) {
            count = try reader.integer(UInt64.self)
            upTo = try reader.integer(UInt64.self)
            full = try Digest(&reader)
            root = try Digest(&reader)
        }

        fileprivate func write(to writer: inout ByteWriter) {
            writer.integer(count)
            writer.integer(upTo)
            full.write(to: &writer)
            root.write(to: &writer)
        }

        /// The page that the next entry goes to, and how many it has.
        package var page: UInt64 { count / UInt64(BackupManifest.pageSize) }
        package var pageCount: Int { Int(truncatingIfNeeded: count) % BackupManifest.pageSize }

        /// Above the numbers of all items that it lists.
        package var counter: UInt64 { upTo == UInt64.max ? upTo : upTo + 1 }
    }

    package let version: Digest
    private var before = Standing()
    package private(set) var now = Standing()

    package init(of version: Digest) { self.version = version }

    package init(decoding buffer: SecretBuffer) throws(Failure) {
        var reader = ByteReader(buffer.bytes)
        try reader.format(Self.format)
        version = try Digest(&reader)
        before = try Standing(&reader)
        now = try Standing(&reader)
        try reader.finish()
    }

    package func encoded() throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(count: 1 + Digest.size + 2 * Standing.size)
        var writer = ByteWriter(buffer.mutableBytes)
        writer.integer(Self.format)
        version.write(to: &writer)
        before.write(to: &writer)
        now.write(to: &writer)
        try writer.finish()
        return buffer
    }

    /// A batch begins. The server has all changes up to `acknowledged`.
    package mutating func begin(acknowledged: UInt64) {
        if now.upTo <= acknowledged { before = now } else { now = before }
    }

    /// Adds an entry to the page that it goes to.
    package mutating func add(
        _ entry: BackupManifest.Entry, to page: inout [BackupManifest.Entry], _ keys: BackupKeys
    ) throws(Failure) {
        page.append(entry)
        now.count &+= 1
        guard page.count == BackupManifest.pageSize else { return }
        now.full = try Self.root(after: now.full, page, keys)
    }

    /// The batch is over. `page`: the last one, if it is not full.
    package mutating func end(
        upTo: UInt64, _ page: [BackupManifest.Entry], _ keys: BackupKeys
    ) throws(Failure) {
        now.upTo = upTo
        now.root = page.isEmpty ? now.full : try Self.root(after: now.full, page, keys)
    }

    private static func root(
        after root: Digest, _ page: [BackupManifest.Entry], _ keys: BackupKeys
    ) throws(Failure) -> Digest {
        let bytes = try BackupManifest.page(page)
        let next = try BackupManifest.root(after: root, bytes.bytes, keys)
        return withExtendedLifetime(bytes) { next }
    }
}

/// What a store knows of an item that it backs up.
///
/// Layout (little endian): format 1, number of its last change 8, first index 4, provenance 1, id 16.
package struct BackupEntry {
    private static let format: UInt8 = 1

    package let number: UInt64
    package let first: UInt32
    package let provenance: BackupItem.Provenance
    /// Of a credential; else zeros.
    package let id: Identifier

    package init(
        number: UInt64, first: UInt32, _ provenance: BackupItem.Provenance, id: Identifier
    ) {
        self.number = number
        self.first = first
        self.provenance = provenance
        self.id = id
    }

    package init(decoding buffer: SecretBuffer) throws(Failure) {
        var reader = ByteReader(buffer.bytes)
        try reader.format(Self.format)
        number = try reader.integer(UInt64.self)
        first = try reader.integer(UInt32.self)
        guard
            let provenance = BackupItem.Provenance(rawValue: try reader.integer(UInt8.self))
        else { throw .corrupt(.record) }
        self.provenance = provenance
        id = try Identifier(reader.take(Identifier.size))
        try reader.finish()
    }

    package func encoded() throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(count: 14 + Identifier.size)
        var writer = ByteWriter(buffer.mutableBytes)
        writer.integer(Self.format)
        writer.integer(number)
        writer.integer(first)
        writer.integer(provenance.rawValue)
        id.withBytes { writer.append($0) }
        try writer.finish()
        return buffer
    }
}

/// What a server had at a place, as a restore remembers it until it can be held against what its writer says.
///
/// Layout (little endian): format 1, writer 16, number 8, first index 4, provenance 1, hash 32, standing 1.
package struct BackupShown {
    package enum Standing: UInt8 {
        case unlisted = 0
        /// Its writer listed another one at its place, no better than this.
        case other = 1
        case listed = 2
    }
    private static let format: UInt8 = 1

    package let writer: Identifier
    package let number: UInt64
    package let rank: BackupItem.Rank
    package var standing = Standing.unlisted

    package init(_ item: BackupItem, _ rank: BackupItem.Rank) {
        writer = item.writer
        number = item.number
        self.rank = rank
    }

    package init(decoding buffer: SecretBuffer) throws(Failure) {
        var reader = ByteReader(buffer.bytes)
        try reader.format(Self.format)
        writer = try Identifier(reader.take(Identifier.size))
        number = try reader.integer(UInt64.self)
        rank = BackupItem.Rank(
            first: try reader.integer(UInt32.self), provenance: try reader.integer(UInt8.self),
            hash: try Digest(&reader))
        guard let standing = Standing(rawValue: try reader.integer(UInt8.self)) else {
            throw .corrupt(.record)
        }
        self.standing = standing
        try reader.finish()
    }

    package func encoded() throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(count: 1 + Identifier.size + 8 + 5 + Digest.size + 1)
        var writer = ByteWriter(buffer.mutableBytes)
        writer.integer(Self.format)
        self.writer.withBytes { writer.append($0) }
        writer.integer(number)
        writer.integer(rank.first)
        writer.integer(rank.provenance)
        rank.hash.write(to: &writer)
        writer.integer(standing.rawValue)
        try writer.finish()
        return buffer
    }

    /// What is wrong with it, where `writer` listed `entry`.
    package mutating func compare(
        _ entry: BackupManifest.Entry, of writer: Identifier
    ) -> BackupFinding? {
        if self.writer == writer, number == entry.number, rank == entry.rank {
            standing = .listed
            return nil
        }
        if entry.rank.isBetter(than: rank) { return BackupFinding(.older, entry.place) }
        if self.writer == writer, standing == .unlisted { standing = .other }
        return nil
    }

    /// The same when all of its writer's listing was seen; `counter`: of its manifest, nil if there is none.
    package func finding(at place: Identifier, counter: UInt64?) -> BackupFinding? {
        if standing == .listed { return nil }
        guard let counter, number < counter else { return BackupFinding(.unlisted, place) }
        return BackupFinding(standing == .other ? .swapped : .inserted, place)
    }
}
