package import PawlCrypto

/// One direction of an epoch, as it is kept. All that a stored frame needs to be opened is in it.
///
/// Layout (little endian): format 1, created 8, first index 4, end 4 (2^32 - 1: not known yet), marks 1 (1: closed, 2: sent by
/// the responder, 4: from a backup), filter key 16, chain key at the first index 32, the peer's Ed25519 32, X25519 32, name (u8 length).
package struct HistoryRecord {
    /// When the epoch began here, in nanoseconds.
    package let created: Int64
    package let first: UInt32
    package private(set) var end: UInt32
    package var isClosed: Bool { marks & Self.closed != 0 }
    /// Who sent what it opens.
    package var from: Session.Side { marks & Self.fromResponder != 0 ? .responder : .initiator }
    package var isImported: Bool { marks & Self.imported != 0 }
    private var marks: UInt8
    package let filterKey: Bytes
    package let chainKey: Bytes
    /// Borrowed from this record.
    package let peer: Identity
    private let owner: SecretBuffer

    private static let format: UInt8 = 1
    private static let open = UInt32.max
    private static let closed: UInt8 = 1
    private static let fromResponder: UInt8 = 2
    private static let imported: UInt8 = 4

    package init(decoding buffer: SecretBuffer) throws(Failure) {
        var reader = ByteReader(buffer.bytes)
        try reader.format(Self.format)
        created = try reader.integer(Int64.self)
        first = try reader.integer(UInt32.self)
        end = try reader.integer(UInt32.self)
        marks = try reader.integer(UInt8.self)
        filterKey = try reader.take(Filter.keySize)
        chainKey = try reader.take(Chain.keySize)
        peer = try Identity(stored: &reader)
        try reader.finish()
        owner = buffer
    }

    package func encoded() throws(Failure) -> SecretBuffer {
        try Self.encode(
            peer, filterKey, chainKey, created: created, first: first, end: end, marks: marks)
    }

    /// The same as it is kept where it came from a backup.
    package func encodedAsImported() throws(Failure) -> SecretBuffer {
        try Self.encode(
            peer, filterKey, chainKey, created: created, first: first, end: end,
            marks: marks | Self.imported)
    }

    /// What is kept of a direction that has begun; nil if `change` is about an older one.
    package static func encode(
        _ change: History.Change, of session: Session
    ) throws(Failure) -> SecretBuffer? {
        guard let key = change.key else { return nil }
        return try encode(
            session.peer, session.filter(change.direction), key.bytes, created: session.pace.begun,
            first: 0, end: change.end ?? open,
            marks: (change.isClosed ? closed : 0)
                | (session.from(change.direction) == .responder ? fromResponder : 0))
    }

    private static func encode(
        _ peer: Identity, _ filterKey: Bytes, _ chainKey: Bytes, created: Int64, first: UInt32,
        end: UInt32, marks: UInt8
    ) throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(
            count: 1 + 8 + 9 + filterKey.count + chainKey.count + 64 + 1 + peer.name.count)
        var writer = ByteWriter(buffer.mutableBytes)
        writer.integer(format)
        writer.integer(created)
        writer.integer(first)
        writer.integer(end)
        writer.integer(marks)
        writer.append(filterKey)
        writer.append(chainKey)
        writer.append(peer.keys.signing)
        writer.append(peer.keys.agreement)
        writer.field(peer.name, UInt8.self)
        try writer.finish()
        return buffer
    }

    /// What is closed stays as it is.
    package mutating func apply(_ change: History.Change) {
        guard !isClosed else { return }
        end = change.end ?? end
        if change.isClosed { marks |= Self.closed }
    }

    /// The text of a frame that passed the filter. `chain` is none or begins here, and stands at the frame's index
    /// afterwards.
    package func open(_ frame: Frame, with chain: Chain) throws(Failure) -> SecretBuffer {
        while chain.index < frame.index { try chain.advance() }
        guard let text = try frame.open(chain.messageKey()) else { throw .auth }
        return text
    }

    /// `notFound` for a frame from before what is kept, `auth` for one that this epoch never had.
    package func check(_ frame: Frame) throws(Failure) {
        guard frame.index >= first else { throw .notFound }
        guard frame.index < end else { throw .auth }
        guard frame.index - first <= History.reach else { throw .limit(.index) }
    }
}
