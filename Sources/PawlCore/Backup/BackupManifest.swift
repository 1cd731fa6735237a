package import PawlCrypto

/// What one writer says that it put into a version: the proof of what a server withholds, changes or puts back.
///
/// Items and manifests of a writer are numbered in one sequence; the manifest's own number, its counter, is above those of
/// all items that it covers. The items are listed in pages that lie beside it, in the order of their numbers; `root` binds
/// them. A listing only grows: an item that was replaced stays in it, as what is at its place may only be better.
///
/// Layout (little endian): format 1, writer 16, counter 8, time 8, count 8, root 32, others (u16 count), each: writer 16,
/// counter 8; MAC 32 under the manifest's key, of the version's hash and all before.
package struct BackupManifest: Equatable {
    package static let othersLimit = 1_024
    private static let fixedSize = 1 + Identifier.size + 3 * 8 + Digest.size + 2
    private static let format: UInt8 = 1

    /// The newest manifest that is known of a writer.
    package struct Seen: Equatable {
        package let writer: Identifier
        package let counter: UInt64

        package init(writer: Identifier, counter: UInt64) {
            self.writer = writer
            self.counter = counter
        }
    }

    package let writer: Identifier
    package let counter: UInt64
    /// When it was written, by its writer's clock.
    package let time: Int64
    /// Items in the listing.
    package let count: UInt64
    package let root: Digest
    /// What the writer knows of every other one, in the order of their ids.
    package let others: [Seen]

    package init(
        writer: Identifier, counter: UInt64, time: Int64, count: UInt64, root: Digest,
        others: [Seen]
    ) throws(Failure) {
        guard Self.isSorted(others), others.count <= Self.othersLimit else {
            throw .misuse(.structure)
        }
        self.writer = writer
        self.counter = counter
        self.time = time
        self.count = count
        self.root = root
        self.others = others
    }

    package func encoded(_ keys: BackupKeys, version: Digest) throws(Failure) -> SecretBuffer {
        let size = Self.fixedSize + others.count * (Identifier.size + 8)
        let buffer = try SecretBuffer(count: size + Digest.size)
        let (vouched, mac) = buffer.mutableBytes.split(at: size)
        var writer = ByteWriter(vouched)
        writer.integer(Self.format)
        self.writer.withBytes { writer.append($0) }
        writer.integer(counter)
        writer.integer(time)
        writer.integer(count)
        root.write(to: &writer)
        writer.integer(UInt16(truncatingIfNeeded: others.count))
        for other in others {
            other.writer.withBytes { writer.append($0) }
            writer.integer(other.counter)
        }
        try writer.finish()
        try Self.mac(Bytes(vouched), keys, version, into: mac)
        return buffer
    }

    /// `auth` for what nobody with the secret wrote for this version.
    package init(decoding bytes: Bytes, _ keys: BackupKeys, version: Digest) throws(Failure) {
        guard bytes.count >= Self.fixedSize + Digest.size else { throw .corrupt(.record) }
        let vouched = Bytes(rebasing: bytes[..<(bytes.count - Digest.size)])
        var reader = ByteReader(vouched)
        try reader.format(Self.format)
        let mac = try SecretBuffer(count: Digest.size)
        try Self.mac(vouched, keys, version, into: mac.mutableBytes)
        let isRight = Seal.sameSecret(
            mac.bytes, Bytes(rebasing: bytes[vouched.count...]))
        withExtendedLifetime(mac) {}
        guard isRight else { throw .auth }
        writer = try Identifier(reader.take(Identifier.size))
        counter = try reader.integer(UInt64.self)
        time = try reader.integer(Int64.self)
        count = try reader.integer(UInt64.self)
        root = try Digest(&reader)
        let number = try reader.integer(UInt16.self)
        guard number <= Self.othersLimit else { throw .corrupt(.record) }
        var others: [Seen] = []
        for _ in 0..<number {
            others.append(
                Seen(
                    writer: try Identifier(reader.take(Identifier.size)),
                    counter: try reader.integer(UInt64.self)))
        }
        guard Self.isSorted(others) else { throw .corrupt(.record) }
        self.others = others
        try reader.finish()
    }

    private static func isSorted(_ others: [Seen]) -> Bool {
        zip(others, others.dropFirst()).allSatisfy { $0.writer < $1.writer }
    }

    private static func mac(
        _ vouched: Bytes, _ keys: BackupKeys, _ version: Digest,
        into out: UnsafeMutableRawBufferPointer
    ) throws(Failure) {
        let hash = try SecretBuffer(count: Digest.size)
        var writer = ByteWriter(hash.mutableBytes)
        version.write(to: &writer)
        try KeyedHash.derive(
            into: out, key: keys.manifest, label: "pawl/1 backup writer", hash.bytes, vouched)
        withExtendedLifetime((hash, keys)) {}
    }

    // MARK: Listing

    /// An item in a listing, or as a server has it.
    ///
    /// Layout (little endian): number 8, place 16, first index 4, provenance 1, hash 32.
    package struct Entry: Hashable {
        package static let size = 8 + Identifier.size + 5 + Digest.size
        package let number: UInt64
        package let place: Identifier
        package let rank: BackupItem.Rank

        package init(number: UInt64, place: Identifier, rank: BackupItem.Rank) {
            self.number = number
            self.place = place
            self.rank = rank
        }

        fileprivate init(_ reader: inout ByteReader) throws(Failure) {
            number = try reader.integer(UInt64.self)
            place = try Identifier(reader.take(Identifier.size))
            rank = BackupItem.Rank(
                first: try reader.integer(UInt32.self), provenance: try reader.integer(UInt8.self),
                hash: try Digest(&reader))
        }

        fileprivate func write(to writer: inout ByteWriter) {
            writer.integer(number)
            place.withBytes { writer.append($0) }
            writer.integer(rank.first)
            writer.integer(rank.provenance)
            rank.hash.write(to: &writer)
        }
    }

    /// How many entries a page has; the last one may have fewer.
    package static let pageSize = 128

    package static func page(_ entries: [Entry]) throws(Failure) -> SecretBuffer {
        guard (1...pageSize).contains(entries.count) else { throw .misuse(.size) }
        let buffer = try SecretBuffer(count: entries.count * Entry.size)
        var writer = ByteWriter(buffer.mutableBytes)
        for entry in entries { entry.write(to: &writer) }
        try writer.finish()
        return buffer
    }

    package static func entries(of page: Bytes) throws(Failure) -> [Entry] {
        let count = page.count / Entry.size
        guard (1...pageSize).contains(count) else { throw .corrupt(.record) }
        var reader = ByteReader(page)
        var entries: [Entry] = []
        for _ in 0..<count { entries.append(try Entry(&reader)) }
        try reader.finish()
        return entries
    }

    /// The root of a listing, page by page; starts at `Digest.none`.
    package static func root(
        after root: Digest, _ page: Bytes, _ keys: BackupKeys
    ) throws(Failure) -> Digest {
        let message = try SecretBuffer(count: Digest.size + page.count)
        var writer = ByteWriter(message.mutableBytes)
        root.write(to: &writer)
        writer.append(page)
        try writer.finish()
        let next = try Digest(
            key: keys.manifest, label: "pawl/1 backup listing", message.bytes)
        withExtendedLifetime((message, keys)) {}
        return next
    }
}

/// What is wrong with what a server shows, and where.
package struct BackupFinding: Hashable {
    /// The numbers are those of the header.
    package enum Kind: UInt64 {
        /// A writer's manifest is older than one that is known.
        case rolledBack = 1
        /// Two manifests of a writer with one counter: one of its stores was put back to an old copy.
        case forked = 2
        /// A writer's manifest is known and not shown.
        case withheld = 3
        /// The pages are not those that the manifest binds.
        case listing = 4
        /// Nothing is at the place of an item.
        case omitted = 5
        /// What is at the place is worse than what was put there: from an older state.
        case older = 6
        /// An item stands for another one.
        case swapped = 7
        /// Its writer knows nothing of it.
        case inserted = 8
        /// Newer than its writer's manifest: on its way, or the manifest is withheld.
        case unlisted = 9
        /// It is not sealed for this place with the version's key.
        case undecryptable = 10
        /// It is none, or of no kind that is known here.
        case malformed = 11
    }

    package let kind: Kind
    /// A writer's of the first four, else an item's place.
    package let id: Identifier

    package init(_ kind: Kind, _ id: Identifier) {
        self.kind = kind
        self.id = id
    }
}

/// The newest manifest that is known of each writer: by this it is seen when a server puts one back.
///
/// Layout (little endian): format 1, writers (u16 count), each: id 16, counter 8, root 32 (zeros: not known).
package struct BackupWriters: Equatable {
    private struct Known: Equatable {
        var counter: UInt64
        /// Zeros: another writer told of it, or it lists nothing.
        var root: Digest
    }

    private static let format: UInt8 = 1
    private var known: [(writer: Identifier, known: Known)] = []

    package init() {}

    package static func == (one: BackupWriters, other: BackupWriters) -> Bool {
        one.known.count == other.known.count
            && zip(one.known, other.known).allSatisfy {
                $0.writer == $1.writer && $0.known == $1.known
            }
    }

    /// What a manifest of `writer` says of the others.
    package func others(than writer: Identifier) -> [BackupManifest.Seen] {
        known.filter { $0.writer != writer }.map {
            BackupManifest.Seen(writer: $0.writer, counter: $0.known.counter)
        }
    }

    /// All that a server shows at one time. Nothing that was known is forgotten, whatever it shows.
    package mutating func look(at manifests: [BackupManifest]) -> [BackupFinding] {
        var findings: [BackupFinding] = []
        for manifest in manifests {
            for other in manifest.others { note(other.writer, other.counter, .none) }
        }
        for manifest in manifests {
            if let finding = compare(manifest) {
                findings.append(finding)
            } else {
                note(manifest.writer, manifest.counter, manifest.root)
            }
        }
        for (writer, _) in known where !manifests.contains(where: { $0.writer == writer }) {
            findings.append(BackupFinding(.withheld, writer))
        }
        return findings
    }

    /// What the server was given and has acknowledged.
    package mutating func wrote(_ writer: Identifier, _ counter: UInt64, _ root: Digest) {
        note(writer, counter, root)
    }

    private func compare(_ manifest: BackupManifest) -> BackupFinding? {
        guard let place = known.firstIndex(where: { $0.writer == manifest.writer }) else {
            return nil
        }
        let old = known[place].known
        if manifest.counter < old.counter {
            return BackupFinding(.rolledBack, manifest.writer)
        }
        guard manifest.counter == old.counter, old.root != .none, old.root != manifest.root else {
            return nil
        }
        return BackupFinding(.forked, manifest.writer)
    }

    /// Too many writers are not remembered: nobody has so many accounts.
    private mutating func note(_ writer: Identifier, _ counter: UInt64, _ root: Digest) {
        let place = known.firstIndex { $0.writer >= writer } ?? known.count
        guard place < known.count, known[place].writer == writer else {
            guard known.count < BackupManifest.othersLimit else { return }
            return known.insert((writer, Known(counter: counter, root: root)), at: place)
        }
        let old = known[place].known
        if counter > old.counter || (counter == old.counter && old.root == .none) {
            known[place].known = Known(counter: counter, root: root)
        }
    }

    package init(decoding buffer: SecretBuffer) throws(Failure) {
        var reader = ByteReader(buffer.bytes)
        try reader.format(Self.format)
        let count = try reader.integer(UInt16.self)
        guard count <= BackupManifest.othersLimit else { throw .corrupt(.record) }
        for _ in 0..<count {
            let writer = try Identifier(reader.take(Identifier.size))
            let counter = try reader.integer(UInt64.self)
            let root = try Digest(&reader)
            if let last = known.last, last.writer >= writer { throw .corrupt(.record) }
            known.append((writer, Known(counter: counter, root: root)))
        }
        try reader.finish()
    }

    package func encoded() throws(Failure) -> SecretBuffer {
        let size = 3 + known.count * (Identifier.size + 8 + Digest.size)
        let buffer = try SecretBuffer(count: size)
        var writer = ByteWriter(buffer.mutableBytes)
        writer.integer(Self.format)
        writer.integer(UInt16(truncatingIfNeeded: known.count))
        for (id, known) in known {
            id.withBytes { writer.append($0) }
            writer.integer(known.counter)
            known.root.write(to: &writer)
        }
        try writer.finish()
        return buffer
    }
}
