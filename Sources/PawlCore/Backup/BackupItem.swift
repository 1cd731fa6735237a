package import PawlCrypto

/// One thing in a backup: what it is, who put it there, and how good it is. What it holds is sealed for exactly that.
///
/// Layout on the wire (little endian): format 1, first index 4, provenance 1, sealed name 89 (of: kind 1, id 16, detail 8,
/// writer 16, number 8), sealed content. A server sees a place (a keyed hash of kind, id and detail), the rank, and sizes.
/// A first index is below 2^31. That of a credential falls with each version: see `first(at:)`.
package struct BackupItem: Equatable {
    /// What it is; the same in all accounts.
    package enum Name: Hashable {
        /// The hash of user, project and name. Its newest version takes the place of the one before.
        case credential(Identifier)
        /// The chain key of one direction of a closed epoch.
        case history(session: Identifier, epoch: UInt32, from: Session.Side)

        static let size = 1 + Identifier.size + 8
    }

    /// How its writer came by it. The lower, the better.
    package enum Provenance: UInt8 {
        /// It was made here, or by a session of this account.
        case own = 1
        /// It came from a backup or a file.
        case imported = 2
    }

    /// Which of two items at one place stays: the lower. Two that are equal are the same bytes.
    package struct Rank: Hashable, Comparable {
        package let first: UInt32
        package let provenance: UInt8
        /// Of all that is on the wire.
        package let hash: Digest

        package init(first: UInt32, provenance: UInt8, hash: Digest) {
            self.first = first
            self.provenance = provenance
            self.hash = hash
        }

        /// For servers that compare two numbers below 2^31, the first index before this: provenance, then as much of the hash
        /// as there is room for.
        package var order: UInt32 {
            UInt32((provenance &- 1) & 3) << 29 | hash.prefix >> 3
        }

        /// By more than the hash: of two that are alike but for that, a server with too little room keeps either.
        package func isBetter(than other: Rank) -> Bool {
            (first, provenance) < (other.first, other.provenance)
        }

        package static func < (one: Rank, other: Rank) -> Bool {
            if one.first != other.first { return one.first < other.first }
            if one.provenance != other.provenance { return one.provenance < other.provenance }
            return one.hash < other.hash
        }
    }

    package static let contentLimit = CredentialRules.secretLimit + 64 << 10
    package static let overhead = headerSize + sealedNameSize + Seal.overhead
    static let headerSize = 6
    private static let factsSize = Name.size + Identifier.size + 8
    private static let sealedNameSize = factsSize + Seal.overhead
    static let format: UInt8 = 1

    package let name: Name
    package let writer: Identifier
    /// Of this writer; it gives none twice.
    package let number: UInt64
    /// The lowest index that a history key can read; 0 for what has none.
    package let first: UInt32
    package let provenance: Provenance

    package init(
        _ name: Name, writer: Identifier, number: UInt64, first: UInt32, _ provenance: Provenance
    ) {
        self.name = name
        self.writer = writer
        self.number = number
        self.first = first
        self.provenance = provenance
    }

    /// What goes to the server: always the same bytes, so that it does not matter how often. The nonce is a hash of what is
    /// sealed, under a key of this item alone.
    package func seal(
        _ content: Bytes, _ keys: BackupKeys, version: Digest
    ) throws(Failure) -> SecretBuffer {
        guard content.count <= Self.contentLimit else { throw .limit(.secret) }
        let place = try keys.place(of: name)
        let facts = try SecretBuffer(count: Self.factsSize)
        var writer = ByteWriter(facts.mutableBytes)
        write(to: &writer)
        try writer.finish()
        let out = try SecretBuffer(count: content.count + Self.overhead)
        let (header, rest) = out.mutableBytes.split(at: Self.headerSize)
        var first = ByteWriter(header)
        first.integer(Self.format)
        first.integer(self.first)
        first.integer(provenance.rawValue)
        try first.finish()
        let (sealedName, sealed) = rest.split(at: Self.sealedNameSize)
        let outside = try Self.outside(version, place, Bytes(header))
        let inside = try Self.inside(version, facts.bytes, Bytes(header))
        let key = try keys.item(inside.bytes)
        let nonce = try SecretBuffer(count: Seal.nonceSize)
        try KeyedHash.derive(
            into: nonce.mutableBytes, key: key.bytes, label: "pawl/1 backup nonce", content)
        try Seal.close(
            facts.bytes, key: keys.name, nonce: nonce.bytes, associated: outside.bytes,
            into: sealedName)
        try Seal.close(
            content, key: key.bytes, nonce: nonce.bytes, associated: inside.bytes, into: sealed)
        withExtendedLifetime((facts, outside, inside, key, nonce, keys)) {}
        return out
    }

    /// What a server had at `place`. `auth` for all that was not sealed for this place of this version.
    package static func open(
        _ wire: Bytes, at place: Identifier, _ keys: BackupKeys, version: Digest
    ) throws(Failure) -> (item: BackupItem, content: SecretBuffer) {
        var reader = ByteReader(wire)
        guard wire.count <= contentLimit + overhead else { throw .limit(.secret) }
        let header = try reader.take(headerSize)
        let (first, provenance) = try Self.header(header)
        let outside = try outside(version, place, header)
        let named = try Seal.open(
            reader.take(sealedNameSize), key: keys.name, associated: outside.bytes)
        guard let facts = named, let provenance = Provenance(rawValue: provenance) else {
            throw .auth
        }
        let inside = try inside(version, facts.bytes, header)
        let key = try keys.item(inside.bytes)
        let opened = try Seal.open(reader.rest(), key: key.bytes, associated: inside.bytes)
        guard let content = opened else { throw .auth }
        var inner = ByteReader(facts.bytes)
        let name = try Name(&inner)
        let item = BackupItem(
            name, writer: try Identifier(inner.take(Identifier.size)),
            number: try inner.integer(UInt64.self), first: first, provenance)
        try inner.finish()
        withExtendedLifetime((facts, outside, inside, key, keys)) {}
        guard try keys.place(of: name) == place else { throw .auth }
        return (item, content)
    }

    /// The first index of a credential's version that was written at `time`: that which was written later is better. In
    /// minutes, so that there is one for thousands of years; `known`: of the version before, which it is better than.
    package static func first(at time: Int64, after known: UInt32?) -> UInt32 {
        let highest = UInt32(Int32.max)
        let minutes = UInt32(clamping: max(time, 0) / Backoff.minute)
        let byTime = highest - min(minutes, highest)
        guard let known else { return byTime }
        return min(byTime, known > 0 ? known - 1 : 0)
    }

    /// Needs no key: a server can tell which of two items stays.
    package static func rank(of wire: Bytes) throws(Failure) -> Rank {
        guard wire.count >= headerSize else { throw .corrupt(.record) }
        let (first, provenance) = try header(Bytes(rebasing: wire[..<headerSize]))
        return Rank(
            first: first, provenance: provenance,
            hash: try Digest(key: .empty, label: "pawl/1 backup rank", wire))
    }

    private static func header(_ bytes: Bytes) throws(Failure) -> (UInt32, UInt8) {
        var reader = ByteReader(bytes)
        try reader.format(format)
        return (try reader.integer(UInt32.self), try reader.integer(UInt8.self))
    }

    private func write(to writer: inout ByteWriter) {
        name.write(to: &writer)
        self.writer.withBytes { writer.append($0) }
        writer.integer(number)
    }

    /// What the name is sealed for: version, place, header.
    private static func outside(
        _ version: Digest, _ place: Identifier, _ header: Bytes
    ) throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(count: Digest.size + Identifier.size + header.count)
        var writer = ByteWriter(buffer.mutableBytes)
        version.write(to: &writer)
        place.withBytes { writer.append($0) }
        writer.append(header)
        try writer.finish()
        return buffer
    }

    /// What the content is sealed for, and its key derived from: version, name, writer, number, header.
    private static func inside(
        _ version: Digest, _ facts: Bytes, _ header: Bytes
    ) throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(count: Digest.size + facts.count + header.count)
        var writer = ByteWriter(buffer.mutableBytes)
        version.write(to: &writer)
        writer.append(facts)
        writer.append(header)
        try writer.finish()
        return buffer
    }
}

extension BackupItem.Name {
    func write(to writer: inout ByteWriter) {
        switch self {
        case .credential(let id):
            writer.integer(UInt8(1))
            id.withBytes { writer.append($0) }
            writer.integer(UInt64(0))
        case .history(let session, let epoch, let side):
            writer.integer(UInt8(2))
            session.withBytes { writer.append($0) }
            writer.integer(epoch)
            writer.integer(UInt32(side.rawValue))
        }
    }

    init(_ reader: inout ByteReader) throws(Failure) {
        let kind = try reader.integer(UInt8.self)
        let id = try Identifier(reader.take(Identifier.size))
        switch kind {
        case 1:
            self = .credential(id)
            guard try reader.integer(UInt64.self) == 0 else { throw .version }
        case 2:
            let epoch = try reader.integer(UInt32.self)
            let number = try reader.integer(UInt32.self)
            guard let side = UInt8(exactly: number).flatMap({ Session.Side(rawValue: $0) }) else {
                throw .corrupt(.record)
            }
            self = .history(session: id, epoch: epoch, from: side)
        default: throw .version
        }
    }
}
