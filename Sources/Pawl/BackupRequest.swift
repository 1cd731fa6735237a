import CPawl

/// What a server has at a place of a backup's version. It can neither read nor forge it.
///
/// Of two at one place a server keeps the one of the lower rank, and of two of the same rank the one
/// that is there.
public struct BackupEntry: Sendable, Hashable {
    /// Where it is: 16 bytes, which tell a server nothing.
    public typealias Place = Identifier<BackupEntry>

    /// Which of two entries at one place stays: the lower.
    public struct Rank: Sendable, Hashable, Comparable {
        /// Compared first: below 2^31.
        public let first: UInt32
        /// Compared then: below 2^31.
        public let order: UInt32

        /// What a server compares whose entries have two numbers of their own.
        public init(first: UInt32, order: UInt32) {
            self.first = first
            self.order = order
        }

        /// The order of ranks.
        public static func < (left: Rank, right: Rank) -> Bool {
            (left.first, left.order) < (right.first, right.order)
        }
    }

    /// Where it is.
    public let place: Place
    /// What is there.
    public let bytes: [UInt8]
    /// Which of two stays; nil: not known, see ``rank(of:)``.
    public let rank: Rank?

    /// An entry as a server has it. In a reply its rank does not matter.
    public init(place: Place, bytes: [UInt8], rank: Rank? = nil) {
        self.place = place
        self.bytes = bytes
        self.rank = rank
    }

    /// The rank of an entry's bytes, for who writes a server.
    ///
    /// - Throws: ``PawlError/Code/corrupt`` (no entry).
    public static func rank(of bytes: [UInt8]) throws(PawlError) -> Rank {
        var (first, order): (UInt32, UInt32) = (0, 0)
        try check(pawl_backup_entry_rank(bytes, bytes.count, &first, &order))
        return Rank(first: first, order: order)
    }

    init(_ row: pawl_backup_entry) {
        place = Place(row: row.place)
        bytes = array(row.bytes, row.bytes_size)
        rank = Rank(first: row.first, order: row.order)
    }
}

/// What the host does with the server of a backup. It answers with ``Store/answer(_:_:)`` and a
/// ``BackupReply``. A `version` is the server's own number of it, as it was answered.
public enum BackupRequest: Sendable, Hashable {
    /// Which version is the server's current one?
    case current
    /// Put this recovery key away, where its owner finds it.
    case escrow(RecoveryKey)
    /// Make a version of these bytes, which is the current one from then on.
    case create([UInt8])
    /// Delete a version and all that is in it.
    case delete(version: String)
    /// Store these entries in a version.
    case put(version: String, [BackupEntry])
    /// Fetch so many entries of a version as you like, from a cursor on: empty, or what the last
    /// page's reply gave.
    case page(version: String, cursor: [UInt8])
    /// Fetch the entry at one place of a version.
    case item(version: String, place: BackupEntry.Place)
    /// Ask the user's other accounts for the secret, naming this number; then ``Store/ack(_:)``.
    case secret(UInt64)

    static func isOne(_ row: pawl_item) -> Bool {
        switch Int32(clamping: row.what) {
        case PAWL_REQUEST_BACKUP_VERSION...PAWL_REQUEST_BACKUP_SECRET: true
        default: false
        }
    }

    /// Nil for something that this version does not know.
    init?(_ row: pawl_backup_request, number: UInt64, _ entries: [BackupEntry]) {
        let version = text(row.version, row.version_size)
        switch Int32(clamping: row.what) {
        case PAWL_REQUEST_BACKUP_VERSION: self = .current
        case PAWL_REQUEST_BACKUP_ESCROW:
            self = .escrow(RecoveryKey(row: row.body, row.body_size))
        case PAWL_REQUEST_BACKUP_CREATE: self = .create(array(row.body, row.body_size))
        case PAWL_REQUEST_BACKUP_DELETE: self = .delete(version: version)
        case PAWL_REQUEST_BACKUP_PUT: self = .put(version: version, entries)
        case PAWL_REQUEST_BACKUP_PAGE:
            self = .page(version: version, cursor: array(row.body, row.body_size))
        case PAWL_REQUEST_BACKUP_ITEM:
            self = .item(version: version, place: BackupEntry.Place(row: row.place))
        case PAWL_REQUEST_BACKUP_SECRET: self = .secret(number)
        default: return nil
        }
    }
}

/// How a ``BackupRequest`` ended. An answer that makes no sense counts as ``failed``.
public enum BackupReply: Sendable, Hashable {
    /// To ``BackupRequest/escrow(_:)`` and ``BackupRequest/delete(version:)``: it is done.
    case done
    /// To ``BackupRequest/current``: the server's number of the version, 1 to 64 bytes; the bytes
    /// that it was made of; how many entries it has.
    case current(version: String, body: [UInt8], count: UInt64)
    /// To ``BackupRequest/create(_:)``: the server's number of it.
    case created(version: String)
    /// To ``BackupRequest/put(version:_:)``: how many entries the version has now.
    case stored(count: UInt64)
    /// To ``BackupRequest/page(version:cursor:)``: at most 10,000 entries, and where the next page
    /// begins, 1 to 64 bytes; nil: this was the last one.
    case page([BackupEntry], next: [UInt8]?)
    /// To ``BackupRequest/item(version:place:)``: what is there.
    case item(BackupEntry)
    /// The version is there, and not the current one any more.
    case wrongVersion
    /// There is no such version; to ``BackupRequest/current``: there is none at all.
    case noVersion
    /// Nothing is at this place of the version.
    case noItem
    /// Later: not before then, if the server says when.
    case rateLimited(until: Timestamp?)
    /// Anything else: it is tried again later.
    case failed

    private var result: Int32 {
        switch self {
        case .done, .current, .created, .stored, .page, .item: PAWL_REPLY_DONE
        case .wrongVersion: PAWL_REPLY_WRONG_VERSION
        case .noVersion: PAWL_REPLY_NO_VERSION
        case .noItem: PAWL_REPLY_NO_ITEM
        case .rateLimited: PAWL_REPLY_RATE_LIMITED
        case .failed: PAWL_REPLY_FAILED
        }
    }

    private var entries: [BackupEntry] {
        switch self {
        case .page(let entries, _): entries
        case .item(let entry): [entry]
        default: []
        }
    }

    /// Lends the reply as C knows it. Once the gate is shut, C stops between two entries.
    fileprivate func withC(
        _ gate: Gate?, _ call: (UnsafePointer<pawl_backup_reply>) -> pawl_status
    ) -> pawl_status {
        var reply = pawl_backup_reply.sized()
        reply.context = gate.map { Unmanaged.passUnretained($0).toOpaque() }
        reply.is_closing = { context in
            guard let context else { return 0 }
            return Unmanaged<Gate>.fromOpaque(context).takeUnretainedValue().isShut ? 1 : 0
        }
        reply.result = UInt32(result)
        var version = ""
        var body: [UInt8] = []
        switch self {
        case .current(let number, let bytes, let count):
            (version, body, reply.count) = (number, bytes, count)
        case .created(let number): version = number
        case .stored(let count): reply.count = count
        case .page(_, let next): body = next ?? []
        case .rateLimited(let until): reply.until_ns = until?.nanoseconds ?? 0
        default: break
        }
        // All bytes of entries lie in one buffer, so that one pointer keeps them alive.
        let entries = entries
        let bytes = entries.flatMap(\.bytes)
        return bytes.withUnsafeBufferPointer { bytes in
            var offset = 0
            let rows = entries.map { entry in
                var row = pawl_backup_entry.sized()
                withUnsafeMutableBytes(of: &row.place) { $0.copyBytes(from: entry.place.bytes) }
                row.bytes = bytes.baseAddress.map { $0 + offset }
                row.bytes_size = entry.bytes.count
                offset += entry.bytes.count
                return row
            }
            return rows.withUnsafeBufferPointer { rows in
                withBytes(of: version) { version, versionSize in
                    body.withUnsafeBytes { body in
                        reply.version = version
                        reply.version_size = versionSize
                        reply.body = body.baseAddress
                        reply.body_size = body.count
                        reply.entries = rows.baseAddress
                        reply.entry_count = rows.count
                        return call(&reply)
                    }
                }
            }
        }
    }
}

extension Store {
    /// Answers a ``BackupRequest`` and settles it. What was fetched is checked, opened and kept on a
    /// thread of its own, some entries at a time, and more slowly while others use the store; closing
    /// the store ends that between two entries. Answering again, or when it is not wanted any more,
    /// changes nothing.
    ///
    /// - Throws: ``PawlError/Reason/misuseFlags`` (not a backup's request),
    ///   ``PawlError/Reason/misuseSize`` (too many entries), ``PawlError/Code/notFound`` (no item ever
    ///   had this number).
    public func answer(_ item: Item.ID, _ reply: BackupReply) async throws(PawlError) {
        try await runInBackground { connection in
            reply.withC(connection.gate) { pawl_backup_answer(connection.store, item, $0) }
        }
    }
}

extension Calls {
    /// In a batch, where no entries are taken.
    func answer(_ item: Item.ID, _ reply: BackupReply) throws(PawlError) {
        let batch = try handle()
        try check(reply.withC(nil) { pawl_backup_answer(batch, item, $0) })
    }
}
