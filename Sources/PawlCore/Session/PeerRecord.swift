package import PawlCrypto

/// Somebody an account deals with: who it was and is, how far it is trusted, and which of its sessions are sent in.
///
///     start  ─► outbound, unconfirmed ──answered───┐
///     accept ─► inbound, unconfirmed ──confirmed───┴─► confirmed
///     each of them sendable ──superseded──► receive-only ──► ended
///
/// Among the sendable sessions one is the sending one. Protocol.md, "Glare", has the rules; each side ends up sending in a
/// session that the other can read.
///
/// Layout (little endian): format 1, trust 1, suite 1, Ed25519 32, X25519 32, changed 8, last reset 8, waiting 1 and, if 1, Ed25519
/// 32, X25519 32 and suite 1, sending session 1 (its place, 255: none), name (u8 length), count 1, then for each session: id 16, created
/// 8, flags 1 (1 outbound, 2 confirmed, 4 sendable, 8 of the waiting identity, 16 of a former one).
package struct PeerRecord {
    package enum Trust: UInt8 {
        case unverified = 0
        case verified = 1
    }

    package struct Entry: Equatable {
        package let id: Identifier
        /// Milliseconds, never ahead of the time of acceptance.
        package let created: Int64
        package let isOutbound: Bool
        package fileprivate(set) var isConfirmed: Bool
        package fileprivate(set) var isSendable: Bool
        /// Of an identity that the host has not accepted.
        package fileprivate(set) var isWaiting: Bool
        /// Of an identity that another has taken the place of.
        package fileprivate(set) var isFormer: Bool

        /// What the account's quota counts.
        package var isUnconfirmedInbound: Bool { !isOutbound && !isConfirmed }
        fileprivate var isOwnStart: Bool { isOutbound && !isConfirmed && isSendable }
    }

    /// What became of an identity that was shown.
    package enum Sighting: Equatable {
        case known
        case changed
    }

    /// Sessions of one identity, and of all that a name has had.
    package static let sessionLimit = 8
    private static let entryLimit = 64
    private static let format: UInt8 = 1

    package private(set) var trust = Trust.unverified
    /// The strongest seen.
    package private(set) var suite = Suite.x25519
    package let name: SecretBuffer
    private var current: SecretBuffer
    private var waiting: (keys: SecretBuffer, suite: Suite)?
    package private(set) var changed: Int64
    package var lastReset = Int64.min
    package private(set) var entries: [Entry] = []
    package private(set) var sending: Identifier?

    package init(_ identity: Identity, now: Int64) throws(Failure) {
        name = try SecretBuffer(copying: identity.name)
        current = try Self.keys(identity.keys)
        changed = now
    }

    private static func keys(_ keys: IdentityPublic) throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(count: 2 * IdentityPublic.keySize)
        var writer = ByteWriter(buffer.mutableBytes)
        writer.append(keys.signing)
        writer.append(keys.agreement)
        try writer.finish()
        return buffer
    }

    private static func identity(_ keys: SecretBuffer) throws(Failure) -> IdentityPublic {
        let size = IdentityPublic.keySize
        return try IdentityPublic(
            signing: Bytes(rebasing: keys.bytes[..<size]),
            agreement: Bytes(rebasing: keys.bytes[size...]))
    }

    // MARK: Identity

    /// Borrowed from this record.
    package var identity: IdentityPublic {
        get throws(Failure) { try Self.identity(current) }
    }
    package var waitingIdentity: IdentityPublic? {
        get throws(Failure) {
            guard let waiting else { return nil }
            return try Self.identity(waiting.keys)
        }
    }

    private func isCurrent(_ keys: IdentityPublic) throws(Failure) -> Bool {
        let keys = try Self.keys(keys)
        return keys.bytes.sameBytes(as: current.bytes)
    }

    /// Whether sessions with these keys wait for the host to accept them.
    package func isWaiting(_ keys: IdentityPublic) throws(Failure) -> Bool {
        guard let waiting else { return false }
        let other = try Self.keys(keys)
        return other.bytes.sameBytes(as: waiting.keys.bytes)
    }

    /// An identity shows itself in a set-up. Other keys than before take the place of an unverified peer's;
    /// those of a verified one wait.
    package mutating func see(
        _ keys: IdentityPublic, _ suite: Suite, now: Int64
    ) throws(Failure) -> Sighting {
        if try isCurrent(keys) {
            guard suite >= self.suite else { throw .state(.suite) }
            self.suite = suite
            return .known
        }
        guard trust == .verified else {
            try replace(by: keys)
            guard suite >= self.suite else { throw .state(.suite) }
            self.suite = suite
            changed = now
            return .changed
        }
        if try isWaiting(keys), let waiting {
            guard suite >= waiting.suite else { throw .state(.suite) }
            self.waiting = (waiting.keys, suite)
            return .known
        }
        for place in entries.indices where entries[place].isWaiting { retire(place) }
        waiting = (try Self.keys(keys), suite)
        changed = now
        return .changed
    }

    /// The host says what it thinks of an identity, and takes it.
    package mutating func judge(
        _ keys: IdentityPublic, _ trust: Trust, now: Int64
    ) throws(Failure) {
        if try !isCurrent(keys) {
            try replace(by: keys)
            changed = now
        }
        self.trust = trust
    }

    package mutating func allow(_ suite: Suite) { self.suite = suite }

    private mutating func replace(by keys: IdentityPublic) throws(Failure) {
        let isWaiting = try isWaiting(keys)
        suite = isWaiting ? waiting?.suite ?? .x25519 : .x25519
        current = try Self.keys(keys)
        waiting = nil
        for place in entries.indices {
            if isWaiting && entries[place].isWaiting {
                entries[place].isWaiting = false
            } else {
                retire(place)
            }
        }
        sending = entries.last(where: { $0.isSendable })?.id
    }

    /// A session of an identity that another took the place of cannot be sent in for good.
    private mutating func retire(_ place: Int) {
        entries[place].isSendable = false
        entries[place].isWaiting = false
        entries[place].isFormer = true
    }

    // MARK: Sessions

    package func hasSameSessions(as other: PeerRecord) -> Bool {
        entries == other.entries && sending == other.sending
    }

    package func entry(_ id: Identifier) -> Entry? { entries.first { $0.id == id } }

    /// Why nothing can be sent in a session, if so.
    package func checkSending(_ id: Identifier) throws(Failure) {
        guard let entry = entry(id) else { throw .notFound }
        guard !entry.isWaiting else { throw .state(.identity) }
        guard entry.isSendable else { throw .state(.receiveOnly) }
    }

    /// One's own start, with an identity that was seen and does not wait.
    package mutating func start(_ id: Identifier, created: Int64) throws(Failure) {
        try checkRoom(isWaiting: false)
        entries.append(
            Entry(
                id: id, created: created, isOutbound: true, isConfirmed: false, isSendable: true,
                isWaiting: false, isFormer: false))
        sending = id
    }

    /// A fresh welcome was accepted.
    package mutating func accept(
        _ id: Identifier, created: Int64, isWaiting: Bool
    ) throws(Failure) {
        var entry = Entry(
            id: id, created: created, isOutbound: false, isConfirmed: false, isSendable: true,
            isWaiting: isWaiting, isFormer: false)
        try checkRoom(isWaiting: isWaiting)
        guard !isWaiting else { return entries.append(entry) }
        if entries.contains(where: { $0.isOwnStart }) {
            entries.append(entry)
            sending = lowestStart(or: id)
        } else if entries.contains(where: {
            !$0.isOutbound && !$0.isWaiting && !$0.isFormer && $0.created > created
        }) {
            entry.isSendable = false
            entries.append(entry)
        } else {
            supersede { !$0.isWaiting }
            entries.append(entry)
            sending = id
        }
    }

    /// Sessions of former identities, oldest first, of which one must go before there is room for one more: whoever
    /// shows ever new keys under a name shall not keep the true one out.
    package var surplus: [Identifier] {
        entries.count < Self.entryLimit ? [] : entries.filter { $0.isFormer }.map { $0.id }
    }

    /// `limit` if there is no room for one more session.
    package func checkRoom(isWaiting: Bool) throws(Failure) {
        let others = entries.filter { !$0.isFormer && $0.isWaiting == isWaiting }
        guard others.count < Self.sessionLimit, entries.count < Self.entryLimit else {
            throw .limit(.sessions)
        }
    }

    /// The peer sent a message in a session. Only one without a welcome shows that it knows this side has it; one with
    /// shows where the peer sends, which counts while both wait for an answer.
    package mutating func heard(_ id: Identifier, withWelcome: Bool) {
        guard let place = entries.firstIndex(where: { $0.id == id }) else { return }
        let canSend = entries[place].isSendable && !entries[place].isWaiting
        if !withWelcome {
            entries[place].isConfirmed = true
            if canSend { sending = id }
        } else if canSend, !entries[place].isConfirmed, entries.contains(where: { $0.isOwnStart }) {
            sending = lowestStart(or: id)
        }
    }

    /// Nothing that the peer sends in a session changes anything: the usual case.
    package func isSettled(_ id: Identifier) -> Bool {
        guard let entry = entry(id), entry.isConfirmed else { return false }
        return sending == id || !entry.isSendable || entry.isWaiting
    }

    /// What both sides choose of their starts.
    private func lowestStart(or id: Identifier) -> Identifier? {
        entries.filter { $0.isOwnStart || $0.id == id }.map { $0.id }.min()
    }

    /// A session takes the place of another. After a reset it takes that of all that both sides had, as it will for the
    /// peer that accepts it: one that was left would be asked in for ever.
    package mutating func replace(_ old: Identifier, by new: Identifier, isReset: Bool) {
        supersede { $0.id == old || (isReset && $0.isConfirmed && !$0.isWaiting) }
        sending = new
    }

    /// The peer has closed a session.
    package mutating func close(_ id: Identifier) {
        supersede { $0.id == id }
        if sending == id { sending = entries.last { $0.isSendable && !$0.isWaiting }?.id }
    }

    private mutating func supersede(_ which: (Entry) -> Bool) {
        for place in entries.indices where which(entries[place]) {
            entries[place].isSendable = false
        }
    }

    /// A session that a damaged record had, which cannot say any more how they stood to each other.
    package mutating func restore(_ session: Session, _ identity: Identity) {
        guard entries.count < Self.entryLimit else { return }
        if session.peer.hasSameKeys(as: identity.keys) { suite = max(suite, session.suite) }
        entries.append(
            Entry(
                id: session.id, created: session.created, isOutbound: session.side == .initiator,
                isConfirmed: session.welcome == nil, isSendable: false, isWaiting: false,
                isFormer: true))
        entries.sort { $0.created < $1.created }
    }

    package mutating func end(_ id: Identifier) {
        entries.removeAll { $0.id == id }
        if sending == id { sending = entries.last { $0.isSendable && !$0.isWaiting }?.id }
    }

    // MARK: Bytes

    package init(decoding buffer: SecretBuffer) throws(Failure) {
        var reader = ByteReader(buffer.bytes)
        try reader.format(Self.format)
        guard let trust = Trust(rawValue: try reader.integer(UInt8.self)),
            let suite = Suite(rawValue: try reader.integer(UInt8.self))
        else { throw .corrupt(.record) }
        self.trust = trust
        self.suite = suite
        let size = 2 * IdentityPublic.keySize
        current = try SecretBuffer(copying: reader.take(size))
        changed = try reader.integer(Int64.self)
        lastReset = try reader.integer(Int64.self)
        if try reader.integer(UInt8.self) != 0 {
            let keys = try SecretBuffer(copying: reader.take(size))
            guard let suite = Suite(rawValue: try reader.integer(UInt8.self)) else {
                throw .corrupt(.record)
            }
            waiting = (keys, suite)
        }
        let place = Int(try reader.integer(UInt8.self))
        name = try SecretBuffer(copying: reader.field(UInt8.self))
        for _ in 0..<(try reader.integer(UInt8.self)) {
            let id = try Identifier(reader.take(Identifier.size))
            let created = try reader.integer(Int64.self)
            let flags = try reader.integer(UInt8.self)
            entries.append(
                Entry(
                    id: id, created: created, isOutbound: flags & 1 != 0,
                    isConfirmed: flags & 2 != 0, isSendable: flags & 4 != 0,
                    isWaiting: flags & 8 != 0, isFormer: flags & 16 != 0))
        }
        try reader.finish()
        sending = entries.indices.contains(place) ? entries[place].id : nil
    }

    package func encoded() throws(Failure) -> SecretBuffer {
        let size =
            3 + current.count + 16 + 1 + (waiting.map { $0.keys.count + 1 } ?? 0) + 1 + 1
            + name.count + 1
            + entries.count * (Identifier.size + 9)
        let buffer = try SecretBuffer(count: size)
        var writer = ByteWriter(buffer.mutableBytes)
        writer.integer(Self.format)
        writer.integer(trust.rawValue)
        writer.integer(suite.rawValue)
        writer.append(current.bytes)
        writer.integer(changed)
        writer.integer(lastReset)
        writer.integer(UInt8(waiting == nil ? 0 : 1))
        if let waiting {
            writer.append(waiting.keys.bytes)
            writer.integer(waiting.suite.rawValue)
        }
        let place = entries.firstIndex { $0.id == sending }
        writer.integer(UInt8(truncatingIfNeeded: place ?? 255))
        writer.field(name.bytes, UInt8.self)
        writer.integer(UInt8(truncatingIfNeeded: entries.count))
        for entry in entries {
            entry.id.withBytes { writer.append($0) }
            writer.integer(entry.created)
            writer.integer(
                UInt8(entry.isOutbound ? 1 : 0) | (entry.isConfirmed ? 2 : 0)
                    | (entry.isSendable ? 4 : 0) | (entry.isWaiting ? 8 : 0)
                    | (entry.isFormer ? 16 : 0))
        }
        try writer.finish()
        return buffer
    }
}
