import Pawl
import Testing

/// A server of backups in memory: it stores what it is given, keeps the better of two at one place,
/// and knows nothing.
final class BackupServer: Sendable {
    struct Version {
        let number: String
        let body: [UInt8]
        var entries: [BackupEntry.Place: BackupEntry] = [:]

        /// Entries by what their sixth byte says: 1 and 2 are items, 3 manifests, 4 pages of listings.
        func entries(_ kinds: UInt8...) -> [BackupEntry] {
            entries.values.filter { $0.bytes.count > 6 && kinds.contains($0.bytes[5]) }
                .sorted { $0.place < $1.place }
        }
    }

    struct State {
        /// The last one is current.
        var versions: [Version] = []
        var made = 0
        var escrow: RecoveryKey?
        var secretRequest: UInt64?
        var requests: [BackupRequest] = []
        var pageSize = 1_000
        /// Answers in place of the server, if it wants to.
        var meddle: (@Sendable (BackupRequest) -> BackupReply?)?
    }

    let state = Locked(State())

    var current: Version? { state.withLock { $0.versions.last } }
    func change(_ body: (inout Version) -> Void) {
        state.withLock { if !$0.versions.isEmpty { body(&$0.versions[$0.versions.count - 1]) } }
    }

    func reply(to request: BackupRequest) -> BackupReply {
        state.withLock { state in
            state.requests.append(request)
            return state.meddle?(request) ?? Self.carryOut(request, &state)
        }
    }

    private static func carryOut(_ request: BackupRequest, _ state: inout State) -> BackupReply {
        switch request {
        case .current:
            guard let last = state.versions.last else { return .noVersion }
            return .current(
                version: last.number, body: last.body, count: UInt64(last.entries.count))
        case .escrow(let key):
            state.escrow = key
            return .done
        case .create(let body):
            state.made += 1
            state.versions.append(Version(number: "\(state.made)", body: body))
            return .created(version: "\(state.made)")
        case .delete(let number):
            guard let place = state.versions.firstIndex(where: { $0.number == number }) else {
                return .noVersion
            }
            state.versions.remove(at: place)
            return .done
        case .put(let number, let entries):
            guard let place = state.versions.firstIndex(where: { $0.number == number }) else {
                return .noVersion
            }
            guard place == state.versions.count - 1 else { return .wrongVersion }
            for entry in entries {
                let old = state.versions[place].entries[entry.place]?.rank
                guard let new = entry.rank, old.map({ new < $0 }) ?? true else { continue }
                state.versions[place].entries[entry.place] = entry
            }
            return .stored(count: UInt64(state.versions[place].entries.count))
        case .page(let number, let cursor):
            guard let version = state.versions.first(where: { $0.number == number }) else {
                return .noVersion
            }
            let after = BackupEntry.Place(cursor)
            let left = version.entries.keys.sorted().filter { place in
                after.map { $0 < place } ?? true
            }
            let page = left.prefix(state.pageSize).compactMap { version.entries[$0] }
            let next = left.count > page.count ? page.last?.place.bytes : nil
            return .page(page, next: next)
        case .item(let number, let place):
            guard let version = state.versions.first(where: { $0.number == number }) else {
                return .noVersion
            }
            return version.entries[place].map { .item($0) } ?? .noItem
        case .secret(let number):
            state.secretRequest = number
            return .done
        }
    }
}

/// An account that backs up, its server, and all that it was told.
final class BackupDevice {
    let store: Store
    let account: Account
    let server: BackupServer
    private(set) var events: [Item.Event] = []
    private(set) var revision: UInt64 = 0

    init(_ name: String = "Ada", _ server: BackupServer, _ clock: TestClock) async throws {
        store = try await Store.inMemory(key: key, options: clock.options)
        account = try await PawlTests.account(named: name, in: store)
        self.server = server
    }

    /// All that is due, and all that follows from it.
    func settle(_ at: SourceLocation = #_sourceLocation) async throws {
        for _ in 0..<1_000 {
            let ran = try await store.runDue().ran
            if try await serve(at) == 0, ran == 0 { return }
        }
        Issue.record("\(account.identity.name) finds no rest", sourceLocation: at)
    }

    /// Hears what can be taken, then carries it out.
    func serve(_ at: SourceLocation = #_sourceLocation) async throws -> Int {
        let items = try await store.take()
        for item in items {
            guard let event = item.event else { continue }
            try await hear(event, at)
            try await store.ack([item.id])
        }
        for item in items where item.event == nil {
            guard case .request(.backup(let request)) = item.content else {
                try await store.ack([item.id])
                continue
            }
            let reply = server.reply(to: request)
            if case .secret = request {
                try await store.ack([item.id])
            } else {
                try await store.answer(item.id, reply)
            }
        }
        return items.count
    }

    /// An event never lies: asked when it is told, the store says the same, or something newer.
    private func hear(_ event: Item.Event, _ at: SourceLocation) async throws {
        defer { events.append(event) }
        guard let told = event.backup else { return }
        let now = try await account.backup()
        #expect(now.revision >= told.revision, sourceLocation: at)
        if now.revision == told.revision {
            #expect(now.isOn == told.isOn && now.phase == told.phase, sourceLocation: at)
            #expect(now.active == told.active && now.key == told.key, sourceLocation: at)
            #expect(now.server == told.server && now.retry == told.retry, sourceLocation: at)
            #expect(now.download == told.download, sourceLocation: at)
        }
        switch event {
        case .backupStatus:
            #expect(told.revision > revision, sourceLocation: at)
            revision = told.revision
        case .backupKeyCached:
            #expect(events.last == .backupStatus(told), sourceLocation: at)
            #expect(told.active != nil && told.active == told.server, sourceLocation: at)
            #expect(told.active == told.key && told.download == .ready, sourceLocation: at)
        default: break
        }
        #expect(told.revision == revision, sourceLocation: at)
    }

    /// What was refused since it was asked last.
    func refusals() -> [Backup.Refusal] {
        defer { events = [] }
        return events.compactMap {
            if case .backupRefused(let refusal, _) = $0 { refusal } else { nil }
        }
    }

    /// Restores all, and says what was found, and what was told at its end.
    func restore(
        _ at: SourceLocation = #_sourceLocation
    ) async throws -> (findings: [Backup.Finding], end: Backup) {
        events = []
        try await account.restoreBackup()
        try await settle(at)
        let findings: [Backup.Finding] = events.compactMap {
            if case .backupFinding(let finding) = $0 { finding } else { nil }
        }
        let end = events.compactMap { event -> Backup? in
            if case .backupRestored(let backup) = event { backup } else { nil }
        }
        let last = try #require(end.last, sourceLocation: at)
        #expect(end.count == 1 && last.findings == findings.count, sourceLocation: at)
        return (findings, last)
    }
}

extension Item.Event {
    /// The state of a backup that it carries.
    var backup: Backup? {
        switch self {
        case .backupStatus(let backup), .backupKeyCached(let backup),
            .backupRefused(_, let backup), .backupRestoring(let backup),
            .backupRestored(let backup):
            backup
        default: nil
        }
    }
}
