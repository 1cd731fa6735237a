import PawlCore
import PawlCrypto
import PawlEngine
import PawlStore
import Testing

/// A server as a backup needs it, in memory: versions, and of each what is at which place.
final class BackupServer {
    struct Version {
        let number: [UInt8]
        let body: [UInt8]
        var entries: [Identifier: [UInt8]] = [:]
    }
    var versions: [Version] = []
    private var made = 0
    /// Entries in a page.
    var pageSize = 3
    /// What was asked for, in words.
    private(set) var asked: [String] = []
    /// All that was ever put.
    private(set) var puts: [(number: [UInt8], entries: [(Identifier, [UInt8])])] = []

    struct Reply {
        var result = BackupReply.Result.done
        var count: UInt64 = 0
        var version: [UInt8] = []
        var body: [UInt8] = []
        var entries: [(place: Identifier, bytes: [UInt8])] = []
    }

    var current: Version? { versions.last }

    /// Of two entries at one place the better one stays.
    static func keep(
        _ bytes: [UInt8], at place: Identifier, in entries: inout [Identifier: [UInt8]]
    )
        throws
    {
        guard let old = entries[place] else { return entries[place] = bytes }
        let ranks = try [bytes, old].map { try $0.withUnsafeBytes { try BackupItem.rank(of: $0) } }
        if ranks[0] < ranks[1] { entries[place] = bytes }
    }

    func reply(to row: ItemRow) throws -> Reply {
        guard let (ask, request) = try row.backupRequest() else { throw Failure.internal }
        let number = Array(request.version)
        let rest = Array(request.rest)
        asked.append("\(ask) \(String(decoding: number, as: UTF8.self))")
        var reply = Reply()
        let place = versions.firstIndex { $0.number == number }
        switch ask {
        case .version:
            guard let current else {
                reply.result = .noVersion
                break
            }
            reply.version = current.number
            reply.body = current.body
            reply.count = UInt64(current.entries.count)
        case .escrow, .secret: break
        case .create:
            made += 1
            reply.version = Array("v\(made)".utf8)
            versions.append(Version(number: reply.version, body: rest))
        case .delete:
            guard let place else {
                reply.result = .noVersion
                break
            }
            versions.remove(at: place)
        case .put:
            guard let place, place == versions.count - 1 else {
                reply.result = place == nil ? .noVersion : .wrongVersion
                break
            }
            let entries = try request.entries().map { ($0.place, Array($0.bytes)) }
            puts.append((number, entries))
            for (at, bytes) in entries {
                try Self.keep(bytes, at: at, in: &versions[place].entries)
            }
            reply.count = UInt64(versions[place].entries.count)
        case .page:
            guard let place else {
                reply.result = .noVersion
                break
            }
            let all = versions[place].entries.sorted { $0.key < $1.key }
            let start = Int(String(decoding: rest, as: UTF8.self)) ?? 0
            let end = min(start + pageSize, all.count)
            reply.entries = all[start..<end].map { ($0.key, $0.value) }
            if end < all.count { reply.body = Array("\(end)".utf8) }
        case .item:
            let at = try rest.withUnsafeBytes { try Identifier($0) }
            guard let bytes = place.flatMap({ versions[$0].entries[at] }) else {
                reply.result = .noItem
                break
            }
            reply.entries = [(at, bytes)]
        }
        return reply
    }
}

extension Store {
    func answer(_ seq: UInt64, _ reply: BackupServer.Reply) throws {
        func withEntries(
            _ rest: ArraySlice<(place: Identifier, bytes: [UInt8])>,
            _ done: [BackupRequest.Entry], _ body: ([BackupRequest.Entry]) throws -> Void
        ) throws {
            guard let first = rest.first else { return try body(done) }
            try first.bytes.withUnsafeBytes { bytes in
                let entry = BackupRequest.Entry(place: first.place, bytes: bytes)
                try withEntries(rest.dropFirst(), done + [entry], body)
            }
        }
        try reply.version.withUnsafeBytes { version in
            try reply.body.withUnsafeBytes { body in
                try withEntries(reply.entries[...], []) { entries in
                    try answerBackup(
                        seq,
                        BackupReply(
                            reply.result, until: 0, count: reply.count, version: version,
                            body: body, entries: entries))
                }
            }
        }
    }
}

/// An account that is backed up, its host, and what the host was told.
final class BackupHost {
    let storage: MemoryStorage
    let clock: ManualClock
    var store: Store
    let account: Identifier
    struct Told: Equatable {
        let what: UInt32
        let count: UInt64
    }
    private(set) var told: [Told] = []
    private(set) var reports: [(what: UInt32, report: BackupReport)] = []

    enum Event {
        static let status: UInt32 = 12
        static let keyCached: UInt32 = 13
        static let refused: UInt32 = 14
        static let restoring: UInt32 = 15
        static let restored: UInt32 = 16
        static let finding: UInt32 = 17
    }

    init(_ clock: ManualClock = ManualClock(), on storage: MemoryStorage = MemoryStorage()) throws {
        self.clock = clock
        self.storage = storage
        store = try openStore(on: storage, clock: clock)
        account = try withText("ada") { [store] in try store.createAccount(named: $0) }
    }

    /// What was there before, on another handle.
    init(_ clock: ManualClock, _ storage: MemoryStorage, _ account: Identifier, _ store: Store) {
        self.clock = clock
        self.storage = storage
        self.account = account
        self.store = store
    }

    static func secret(_ number: UInt8) throws -> SecretBuffer {
        let secret = try SecretBuffer(zeros: BackupKeys.secretSize)
        secret.mutableBytes[0] = number
        return secret
    }

    func include() throws {
        try store.scoped { try store.includeInBackup(account, $0, allProjects: false) }
    }

    func create(_ number: UInt8 = 1) throws {
        try store.commandBackup(account, .create(secret: Self.secret(number), escrow: false))
    }

    func recover(_ number: UInt8 = 1) throws {
        try store.commandBackup(account, .recoveryKeyGiven(Self.secret(number)))
    }

    func restore() throws { try store.commandBackup(account, .restore(acceptsOlder: false)) }

    var report: BackupReport { get throws { try store.backup(account) } }

    /// One round of a host: what is due, and what is in the outbox. False: there was nothing.
    func turn(_ server: BackupServer) throws -> Bool {
        var isBusy = try store.runAll() > 0
        for row in try store.takeItems(limit: 100, lease: 0) {
            isBusy = true
            if row.item.lane.kind == .backup {
                try store.answer(row.seq, server.reply(to: row))
            } else {
                if let report = try row.backupReport() {
                    // Who asks finds what the event says, or what came later.
                    let now = try self.report
                    #expect(now.revision >= report.revision)
                    if now.revision == report.revision {
                        #expect(now.active == report.active && now.server == report.server)
                        #expect(now.key == report.key && now.download == report.download)
                    }
                    reports.append((row.item.what, report))
                }
                told.append(Told(what: row.item.what, count: row.item.count))
                try store.acknowledge([row.seq])
            }
        }
        return isBusy
    }

    func run(_ server: BackupServer) throws {
        for _ in 0..<1_000 {
            guard try turn(server) else { return }
        }
        throw Failure.internal
    }

    func count(_ what: UInt32) -> Int { told.count { $0.what == what } }

    var findings: Set<UInt64> {
        Set(told.filter { $0.what == Event.finding }.map { $0.count })
    }

    /// What a restore brought, when it is over.
    var restored: BackupReport? { reports.last { $0.what == Event.restored }?.report }
}
