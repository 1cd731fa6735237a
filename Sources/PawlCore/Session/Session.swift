package import PawlCrypto

/// One side of a session: who the peer is, and a chain for each direction.
///
///     start ─► awaiting answer ──message of the peer──► confirmed         (initiator; sends its welcome until then)
///     accept ─► answering ──message without welcome──► confirmed         (responder)
///
/// Which sessions of a peer may still be sent in is the peer's record, see `PeerRecord`; rows of their own hold the keys
/// of late messages. Protocol.md says what each part is derived from.
///
/// Layout (little endian): format 1, side 1, suite 1, account 16, created 8, package's end 8, peer's Ed25519 32, X25519 32,
/// name (u8 length), root 32, filter keys 16 + 16 (initiator's, responder's), epoch 4, previous length 4, sending chain key 32
/// and index 4, receiving chain key 32 and index 4, skipped 4, reported 1, lanes, welcome (u16 length).
package final class Session {
    package enum Side: UInt8 {
        case initiator = 0
        case responder = 1
    }

    package static let indexLimit: UInt32 = 1 << 31
    package static let gapLimit: UInt32 = 1 << 20
    /// Of one gap, and of a session in all.
    package static let skipLimit: UInt32 = 2_048
    package static let skippedLimit: UInt32 = 8_192
    /// Nanoseconds.
    package static let skippedLifetime: Int64 = 7 * 86_400_000_000_000
    package static let answerDeadline: Int64 = 86_400_000_000_000
    package static let endDelay: Int64 = 7 * 86_400_000_000_000
    /// While the host has not forgotten its kept messages.
    package static let endRetry: Int64 = 86_400_000_000_000

    private static let format: UInt8 = 1

    package let id: Identifier
    package let side: Side
    package let suite: Suite
    package let account: Identifier
    /// Milliseconds, by the initiator's clock.
    package let created: Int64
    /// Of the package that an initiator used, in milliseconds.
    package let packageEnd: Int64
    /// Borrowed from this object.
    package let peer: Identity
    package let epoch: UInt32
    package let previousLength: UInt32
    /// At the end of the last reservation.
    package private(set) var sending: Chain
    package private(set) var receiving: Chain
    /// Rows with keys of late messages.
    package var skipped: UInt32
    /// Whether the host was told that the two sides have parted.
    package var isReported: Bool
    package private(set) var lanes: Lanes
    /// What an initiator's messages carry until the peer answers.
    package private(set) var welcome: SecretBuffer?
    private let root: Bytes
    private let filters: Bytes
    private let owner: SecretBuffer

    package init(decoding buffer: SecretBuffer, id: Identifier) throws(Failure) {
        var reader = ByteReader(buffer.bytes)
        try reader.format(Self.format)
        guard let side = Side(rawValue: try reader.integer(UInt8.self)),
            let suite = Suite(rawValue: try reader.integer(UInt8.self))
        else { throw .corrupt(.record) }
        self.id = id
        self.side = side
        self.suite = suite
        account = try Identifier(reader.take(Identifier.size))
        created = try reader.integer(Int64.self)
        packageEnd = try reader.integer(Int64.self)
        let keys = try IdentityPublic(
            signing: reader.take(IdentityPublic.keySize),
            agreement: reader.take(IdentityPublic.keySize))
        let name = try reader.field(UInt8.self)
        guard let peer = try? Identity(keys: keys, name: name) else { throw .corrupt(.record) }
        self.peer = peer
        root = try reader.take(Chain.keySize)
        filters = try reader.take(2 * Filter.keySize)
        epoch = try reader.integer(UInt32.self)
        previousLength = try reader.integer(UInt32.self)
        sending = try Chain(
            key: reader.take(Chain.keySize), index: reader.integer(UInt32.self))
        receiving = try Chain(
            key: reader.take(Chain.keySize), index: reader.integer(UInt32.self))
        skipped = try reader.integer(UInt32.self)
        isReported = try reader.integer(UInt8.self) != 0
        lanes = try Lanes(&reader)
        let welcome = try reader.field(UInt16.self)
        self.welcome = welcome.isEmpty ? nil : try SecretBuffer(copying: welcome)
        try reader.finish()
        owner = buffer
    }

    package func encoded() throws(Failure) -> SecretBuffer {
        try Self.encode(
            Fixed(
                side: side, suite: suite, account: account, created: created,
                packageEnd: packageEnd, peer: peer),
            Derived(root: root, filters: filters, sending: sending, receiving: receiving),
            Running(
                epoch: epoch, previousLength: previousLength, skipped: skipped,
                isReported: isReported, lanes: lanes, welcome: welcome?.bytes ?? .empty))
    }

    // MARK: Parts

    package struct Fixed {
        package let side: Side
        package let suite: Suite
        package let account: Identifier
        package let created: Int64
        package let packageEnd: Int64
        package let peer: Identity
    }
    package struct Derived {
        package let root: Bytes
        package let filters: Bytes
        package let sending: Chain
        package let receiving: Chain
    }
    private struct Running {
        var epoch: UInt32 = 0
        var previousLength: UInt32 = 0
        var skipped: UInt32 = 0
        var isReported = false
        var lanes = Lanes()
        var welcome = Bytes.empty
    }

    /// A session at its beginning.
    package convenience init(
        id: Identifier, _ fixed: Fixed, _ derived: Derived, welcome: SecretBuffer?
    ) throws(Failure) {
        let buffer = try Self.encode(
            fixed, derived, Running(welcome: welcome?.bytes ?? .empty))
        try self.init(decoding: buffer, id: id)
        withExtendedLifetime(welcome) {}
    }

    private static func encode(
        _ fixed: Fixed, _ derived: Derived, _ running: Running
    ) throws(Failure) -> SecretBuffer {
        let size =
            3 + Identifier.size + 16 + 64 + 1 + fixed.peer.name.count + 32 + 32 + 8 + 2 * 36 + 5
            + running.lanes.size + 2 + running.welcome.count
        let buffer = try SecretBuffer(count: size)
        var writer = ByteWriter(buffer.mutableBytes)
        writer.integer(format)
        writer.integer(fixed.side.rawValue)
        writer.integer(fixed.suite.rawValue)
        fixed.account.withBytes { writer.append($0) }
        writer.integer(fixed.created)
        writer.integer(fixed.packageEnd)
        writer.append(fixed.peer.keys.signing)
        writer.append(fixed.peer.keys.agreement)
        writer.field(fixed.peer.name, UInt8.self)
        writer.append(derived.root)
        writer.append(derived.filters)
        writer.integer(running.epoch)
        writer.integer(running.previousLength)
        for chain in [derived.sending, derived.receiving] {
            writer.append(chain.key)
            writer.integer(chain.index)
        }
        writer.integer(running.skipped)
        writer.integer(UInt8(running.isReported ? 1 : 0))
        running.lanes.write(to: &writer)
        writer.field(running.welcome, UInt16.self)
        try writer.finish()
        return buffer
    }

    // MARK: Both directions

    package var half: SessionHalf { SessionHalf(id) }

    /// The filter key of what this side sends.
    package var outgoingFilter: Bytes { filter(of: side) }
    private var incomingFilter: Bytes {
        filter(of: side == .initiator ? .responder : .initiator)
    }

    private func filter(of side: Side) -> Bytes {
        let first = side == .initiator ? 0 : Filter.keySize
        return Bytes(rebasing: filters[first..<first + Filter.keySize])
    }

    // MARK: Sending

    /// Takes `count` indices out of the stored chain and answers a chain at the first of them, which lives in
    /// memory only. `isAhead`: with all their keys, which are made on the way to the stored one in any case.
    package func reserve(_ count: UInt32, isAhead: Bool = false) throws(Failure) -> Chain {
        guard sending.index < Self.indexLimit, count > 0 else { throw .limit(.index) }
        let count = min(count, Self.indexLimit - sending.index)
        guard isAhead else {
            let chain = try sending.copy()
            for _ in 0..<count { try sending.advance() }
            return chain
        }
        let chain = try Chain(key: sending.key, index: sending.index, ahead: Int(count))
        sending = try Chain(key: chain.lastKey, index: sending.index + count)
        return chain
    }

    /// Takes back what a reservation did not use, if nobody reserved above it. Answers whether it did.
    package func giveBack(_ chain: Chain, end: UInt32) -> Bool {
        guard sending.index == end, chain.index < end, let own = try? chain.copy() else {
            return false
        }
        sending = own
        return true
    }

    // MARK: Receiving

    /// Where the key of a frame's message is to be found.
    package enum Place: Equatable {
        case next
        /// After so many that have not come.
        case ahead(UInt32)
        /// In a row of its own, or used.
        case behind
    }

    /// A wrong filter costs one hash and says no more than `auth`.
    package func place(of frame: Frame) throws(Failure) -> Place {
        guard try frame.isFiltered(by: incomingFilter) else { throw .auth }
        guard frame.index < Self.indexLimit else { throw .limit(.index) }
        guard frame.epoch == epoch else { throw .desynchronized }
        guard frame.index >= receiving.index else { return .behind }
        let gap = frame.index - receiving.index
        guard gap <= Self.gapLimit else { throw .desynchronized }
        return gap == 0 ? .next : .ahead(gap)
    }

    /// A message, and what became of those before it. Nothing of the session has changed yet.
    package struct Opened {
        package let plaintext: SecretBuffer
        /// The chain behind the message, nil if that was late.
        fileprivate let chain: Chain?
        /// Keys of the newest messages of a gap, 32 bytes each, the first being of `firstSkipped`.
        package let skippedKeys: SecretBuffer?
        package let firstSkipped: UInt32
        /// Messages of the gap that are given up.
        package let lost: UInt32
        package var isLate: Bool { chain == nil }
    }

    package func open(_ frame: Frame, _ place: Place, late key: Bytes?) throws(Failure) -> Opened {
        switch place {
        case .next:
            let plaintext = try plaintext(frame, receiving.messageKey())
            return Opened(
                plaintext: plaintext, chain: receiving, skippedKeys: nil, firstSkipped: 0, lost: 0)
        case .behind:
            guard let key else { throw lanes.verdict(frame.lane, frame.index) }
            return Opened(
                plaintext: try plaintext(frame, key), chain: nil, skippedKeys: nil,
                firstSkipped: 0, lost: 0)
        case .ahead(let gap):
            let chain = try receiving.copy()
            let lost = gap > Self.skipLimit ? gap - Self.skipLimit : 0
            for _ in 0..<lost { try chain.advance() }
            let first = chain.index
            let keys = try SecretBuffer(count: Int(gap - lost) * Chain.keySize)
            var writer = ByteWriter(keys.mutableBytes)
            for _ in 0..<(gap - lost) {
                writer.append(try chain.messageKey())
                try chain.advance()
            }
            try writer.finish()
            let plaintext = try plaintext(frame, chain.messageKey())
            return Opened(
                plaintext: plaintext, chain: chain, skippedKeys: keys, firstSkipped: first,
                lost: lost)
        }
    }

    private func plaintext(_ frame: Frame, _ key: Bytes) throws(Failure) -> SecretBuffer {
        guard let plaintext = try frame.open(key) else { throw .desynchronized }
        return plaintext
    }

    /// Makes what was opened count.
    package func accept(_ opened: Opened, _ frame: Frame) throws(Failure) {
        if let chain = opened.chain {
            try chain.advance()
            receiving = chain
        }
        lanes.note(frame.lane, frame.index)
        if side == .initiator { welcome = nil }
    }
}
