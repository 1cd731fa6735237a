package import PawlCrypto

/// What comes back from a backup: all of it, page by page, and one item at a time.
///
/// A restore is where it is in one version, and goes on from there after a stop, a failure or a crash; nothing of what
/// it brings is kept here. What was not there is asked for again after ever longer waits.
extension Backup {
    package struct Progress: Equatable {
        package var imported: UInt64 = 0
        /// Already here, and as good.
        package var known: UInt64 = 0
        package var improved: UInt64 = 0
        package var undecryptable: UInt64 = 0
        package var malformed: UInt64 = 0
        /// Of a scope that is not backed up here.
        package var foreign: UInt64 = 0

        package init() {}

        /// All that were looked at.
        package var count: UInt64 {
            imported &+ known &+ improved &+ undecryptable &+ malformed &+ foreign
        }

        /// Nothing was left out.
        var isWhole: Bool { undecryptable == 0 && malformed == 0 && foreign == 0 }

        package mutating func add(_ other: Progress) {
            imported &+= other.imported
            known &+= other.known
            improved &+= other.improved
            undecryptable &+= other.undecryptable
            malformed &+= other.malformed
            foreign &+= other.foreign
        }
    }

    struct Restore: Equatable {
        let version: BackupVersion
        /// As the server gave it.
        var cursor: [UInt8] = []
        var progress = Progress()
        /// 0: none is out.
        var request: UInt64 = 0
        var failures: UInt32 = 0
        var retryAt: Int64?
        var isStopped = false
    }

    /// A request for one item.
    struct Fetch: Equatable {
        let request: UInt64
        let place: Identifier
    }

    /// An item of the active version that could not be had.
    struct Miss: Equatable {
        let place: Identifier
        var failures: UInt32
        var until: Int64
    }

    package static let cursorLimit = 64
    static let fetchLimit = 16
    static let missLimit = 64

    /// How far a restore is; nil: none is under way.
    package var restoring: (progress: Progress, isStopped: Bool)? {
        restore.map { ($0.progress, $0.isStopped) }
    }

    /// What a request that is out is to bring; nil: nobody waits for it any more.
    package func download(_ request: UInt64) -> Download? {
        if let restore, restore.request == request {
            return Download(version: restore.version, cursor: restore.cursor)
        }
        let fetch = fetches.first { $0.request == request }
        guard let fetch, let active else { return nil }
        return Download(version: active, place: fetch.place)
    }

    package struct Download {
        package let version: BackupVersion
        /// Of a page; nil: one item.
        package private(set) var cursor: [UInt8]?
        package private(set) var place: Identifier?

        init(version: BackupVersion, cursor: [UInt8]) {
            self.version = version
            self.cursor = cursor
        }

        init(version: BackupVersion, place: Identifier) {
            self.version = version
            self.place = place
        }
    }

    private func isReadable(_ version: BackupVersion) -> Bool {
        version == active || version == offered?.version
    }

    /// The secret that opens what comes of `version`.
    package func secret(of version: BackupVersion) -> SecretBuffer? {
        if version == offered?.version { return offered?.secret }
        return version == key?.version ? key?.secret : nil
    }

    mutating func startRestore(_ acceptsOlder: Bool, _ turn: inout Turn) {
        guard let version = active ?? (acceptsOlder ? offered?.version : nil) else {
            return turn.refuse(.notReady)
        }
        if restore?.version == version {
            restore?.isStopped = false
            restore?.retryAt = nil
        } else {
            restore = Restore(version: version)
        }
    }

    mutating func fetch(_ place: Identifier, _ turn: inout Turn) {
        guard let active, !isStopped else { return turn.refuse(.notReady) }
        if let miss = misses.first(where: { $0.place == place }), !isDue(miss.until, turn.now) {
            return turn.refuse(.missing(until: miss.until))
        }
        guard !fetches.contains(where: { $0.place == place }) else { return }
        guard fetches.count < Self.fetchLimit else { return turn.refuse(.tooMany) }
        fetches.append(Fetch(request: ask(.getItem(active, place), &turn), place: place))
    }

    mutating func goOnDownloading(_ turn: inout Turn) {
        guard let restore else { return }
        guard isReadable(restore.version) else {
            // It may come back; another one does not go on where this was.
            guard active != nil else { return }
            self.restore = nil
            return turn.refuse(.notReady)
        }
        guard wantsPage else { return }
        let request = ask(.getPage(restore.version, cursor: restore.cursor), &turn)
        self.restore?.request = request
    }

    /// Before the first one an upload ends: what is on its way to the server would be missed.
    var wantsPage: Bool {
        guard let restore, isReadable(restore.version), restore.request == 0 else { return false }
        guard !restore.isStopped, restore.retryAt == nil else { return false }
        return !restore.cursor.isEmpty || upload.request == 0
    }

    mutating func downloaded(_ number: UInt64, _ answer: Answer, _ turn: inout Turn) {
        if number == restore?.request {
            restored(answer, &turn)
        } else if let place = fetches.firstIndex(where: { $0.request == number }) {
            fetched(fetches.remove(at: place).place, answer, &turn)
        }
    }

    private mutating func restored(_ answer: Answer, _ turn: inout Turn) {
        guard var now = restore else { return }
        now.request = 0
        if case .page(let progress, let next) = answer, next != now.cursor || next == [],
            (next?.count ?? 0) <= Self.cursorLimit
        {
            now.progress.add(progress)
            now.failures = 0
            restore = nil
            guard let next else {
                if now.progress.isWhole { whole = now.version.hash } else { doubt(now.version) }
                return turn.outcome.events.append(.restored(now.progress))
            }
            now.cursor = next
            turn.outcome.events.append(.restoring(now.progress))
        } else {
            now.failures = now.failures < UInt32.max ? now.failures + 1 : now.failures
            now.retryAt = retryTime(answer, now.failures, turn)
        }
        restore = now
        loseIfGone(answer)
    }

    /// A restore has not brought all that is in it, so it may be the only one that has the rest.
    package mutating func doubt(_ version: BackupVersion) {
        if whole == version.hash { whole = .none }
    }

    private mutating func fetched(_ place: Identifier, _ answer: Answer, _ turn: inout Turn) {
        let old = misses.first { $0.place == place }
        misses.removeAll { $0.place == place }
        if case .item = answer { return }
        let before = old?.failures ?? 0
        let failures = before < UInt32.max ? before + 1 : before
        let until = retryTime(answer, failures, turn)
        if misses.count >= Self.missLimit { misses.removeFirst() }
        misses.append(Miss(place: place, failures: failures, until: until))
        turn.refuse(.missing(until: until))
        loseIfGone(answer)
    }

    private mutating func loseIfGone(_ answer: Answer) {
        if answer == .wrongVersion || answer == .noVersion { lose() }
    }
}
