package import PawlCrypto

/// A queue of the outbox: its items leave in order.
package struct OutboxLane: Hashable {
    /// Written into files: numbers are never reused.
    package enum Kind: UInt8 {
        /// The frames of a session that carry messages.
        case frames = 1
        /// The requests of an account.
        case requests = 2
        /// The events of an account.
        case events = 3
        /// The frames of a session that carry none: rekeying waits for no message.
        case control = 4
        /// What an account's backup asks of its server: packages wait for none of it.
        case backup = 5
        /// What an account has its own server serve: it waits for no other request. An older Pawl had that among
        /// the requests.
        case publishing = 6

        /// Whether its items ask for what `Request` says.
        package var isOfRequests: Bool { self == .requests || self == .publishing }
    }
    package static let size = 1 + Identifier.size

    package let kind: Kind
    package let id: Identifier

    package init(_ kind: Kind, _ id: Identifier) {
        self.kind = kind
        self.id = id
    }

    package init(decoding bytes: Bytes) throws(Failure) {
        var reader = ByteReader(bytes)
        guard let kind = Kind(rawValue: try reader.integer(UInt8.self)) else { throw .version }
        self.kind = kind
        id = try Identifier(reader.take(Identifier.size))
        try reader.finish()
    }
}

/// What a request in the outbox asks for; the numbers are those of the header.
package enum Request: UInt32 {
    case package = 1
    case publish = 2
    case publishKeys = 3
    case readBack = 4

    fileprivate var lane: OutboxLane.Kind {
        switch self {
        case .package, .readBack: .requests
        case .publish, .publishKeys: .publishing
        }
    }
}

/// The same of a backup.
package enum BackupAsk: UInt32 {
    case version = 5
    case escrow = 6
    case create = 7
    case delete = 8
    case put = 9
    case page = 10
    case item = 11
    case secret = 12
}

/// What the host is to deliver, do or note, as stored. The fields borrow from the buffer that was decoded,
/// which the item keeps, or from the arguments of the call that made it.
///
/// Layout (little endian): format 1, kind of lane 1, lane id 16, what 4, count 8, created 8, account 16,
/// session 16 (zeros: none), peer's Ed25519 public 32 and X25519 public 32, peer's name (u16 length; all
/// three zeros: none), body (the rest).
package struct OutboxItem {
    package let lane: OutboxLane
    /// Which event or request; 0 for a frame.
    package let what: UInt32
    package let count: UInt64
    package let account: Identifier
    package let session: Identifier?
    /// nil: it is about nobody.
    package let peer: Identity?
    package let body: Bytes
    package private(set) var created: Int64 = 0
    private var owner: SecretBuffer?

    private static let format: UInt8 = 1
    private static let fixedSize = 1 + OutboxLane.size + 4 + 8 + 8 + 2 * Identifier.size + 64 + 2

    private init(
        _ lane: OutboxLane, what: UInt32 = 0, count: UInt64 = 0, account: Identifier,
        session: Identifier?, peer: Identity?, body: Bytes = .empty
    ) {
        self.lane = lane
        self.what = what
        self.count = count
        self.account = account
        self.session = session
        self.peer = peer
        self.body = body
    }

    /// `count`: the ticket of a message that had to wait.
    package static func frame(
        _ body: Bytes, isMessage: Bool = true, count: UInt64 = 0, session: Identifier,
        account: Identifier, peer: Identity
    ) -> OutboxItem {
        OutboxItem(
            OutboxLane(isMessage ? .frames : .control, session), count: count, account: account,
            session: session,
            peer: peer, body: body)
    }

    package static func request(
        _ what: UInt32, count: UInt64 = 0, account: Identifier, session: Identifier?,
        peer: Identity, body: Bytes = .empty
    ) -> OutboxItem {
        OutboxItem(
            OutboxLane(Request(rawValue: what)?.lane ?? .requests, account), what: what,
            count: count, account: account, session: session, peer: peer, body: body)
    }

    /// `count`: the request's number.
    package static func backup(
        _ what: UInt32, count: UInt64, account: Identifier, body: Bytes
    ) -> OutboxItem {
        OutboxItem(
            OutboxLane(.backup, account), what: what, count: count, account: account,
            session: nil, peer: nil, body: body)
    }

    package static func event(
        _ what: UInt32, count: UInt64 = 0, account: Identifier, session: Identifier?,
        peer: Identity?, body: Bytes = .empty
    ) -> OutboxItem {
        OutboxItem(
            OutboxLane(.events, account), what: what, count: count, account: account,
            session: session, peer: peer, body: body)
    }

    package init(decoding buffer: SecretBuffer) throws(Failure) {
        var reader = ByteReader(buffer.bytes)
        try reader.format(Self.format)
        lane = try OutboxLane(decoding: reader.take(OutboxLane.size))
        what = try reader.integer(UInt32.self)
        count = try reader.integer(UInt64.self)
        created = try reader.integer(Int64.self)
        account = try Identifier(reader.take(Identifier.size))
        let session = try Identifier(reader.take(Identifier.size))
        self.session = session == .none ? nil : session
        let keys = try IdentityPublic(&reader)
        let name = try reader.field(UInt16.self)
        guard name.isEmpty || name.isText(AccountRecord.nameSizes) else {
            throw .corrupt(.record)
        }
        peer = name.isEmpty ? nil : try Identity(keys: keys, name: name)
        body = reader.rest()
        owner = buffer
        // Each kind is answered in its own way; what is above all is a newer Pawl's.
        let isElsewhere =
            switch lane.kind {
            case .requests: BackupAsk(rawValue: what) != nil
            case .publishing:
                what <= BackupAsk.secret.rawValue && Request(rawValue: what)?.lane != lane.kind
            case .backup: what < BackupAsk.version.rawValue
            default: false
            }
        guard !isElsewhere else { throw .corrupt(.record) }
    }

    package func encoded(created: Int64) throws(Failure) -> SecretBuffer {
        let name = peer?.name ?? .empty
        let buffer = try SecretBuffer(count: Self.fixedSize + name.count + body.count)
        var writer = ByteWriter(buffer.mutableBytes)
        writer.integer(Self.format)
        writer.integer(lane.kind.rawValue)
        lane.id.withBytes { writer.append($0) }
        writer.integer(what)
        writer.integer(count)
        writer.integer(created)
        account.withBytes { writer.append($0) }
        (session ?? .none).withBytes { writer.append($0) }
        if let peer {
            writer.append(peer.keys.signing)
            writer.append(peer.keys.agreement)
        } else {
            for _ in 0..<8 { writer.integer(UInt64(0)) }
        }
        writer.field(name, UInt16.self)
        writer.append(body)
        try writer.finish()
        return buffer
    }
}
