package import PawlCrypto

/// An account's backup: which version counts, whose key is held, and what is said about it.
///
///            a command, a secret, a wrong version, a deadline                     what the server has
///     idle ───────────────────────────────────────────────────► checking ──┬──► none, or one whose key is not held: idle
///      ▲ ▲                                                         ▲  │    ├──► one whose key is held: ACTIVE, idle
///      │ │                                                         │  │    └──► to be deleted: deleting ──► checking
///      │ │                           ┌── host: it is escrowed ─────┘  │
///      │ │                           │                                │ create, reset
///      │ └─ created: ACTIVE ── creating ◄───────── escrowing ◄────────┘
///      │
///      └─ the version before is deleted ── deleting ◄── ACTIVE is filled
///
///     any of them, refused or failed ──► waiting ── deadline ──► checking
///
/// One request of these is out at a time; whatever failed begins again with what the server has, so an answer that was lost
/// costs nothing. A newer command forgets the check that is under way, and checks itself; only what changes the server is
/// waited for. Beside it uploads run while a version is active and something has changed since what was acknowledged in it.
///
/// Each step is one transaction: the secret, the version that it makes active, and the events that say so are committed
/// together. Secrets are in the state, so none can be active that is not stored. What is wanted is in the state too, and
/// looked at after every input, so that no wake-up is lost.
///
/// Times are nanoseconds.
package struct Backup {
    package static let deleteLimit: UInt8 = 8
    /// Versions to be deleted, and secrets that wait.
    static let doomedLimit = 8
    static let receivedLimit = 4
    /// The longest that a server can make this wait.
    package static let longest = 24 * Backoff.hour

    package internal(set) var revision: UInt64 = 0
    /// The number of the next request.
    var nextRequest: UInt64 = 1
    package internal(set) var intent = Intent.off
    package internal(set) var server = Server.unknown
    /// The server has it, and its key is held.
    package internal(set) var active: BackupVersion?
    package internal(set) var key: Held?
    /// The highest generation whose secret was ever here, or that an own account saw: no lower one becomes active.
    package internal(set) var highest: UInt64 = 0
    /// A lower one that the server shows, whose secret was given: for restoring only.
    package internal(set) var offered: Held?
    package internal(set) var phase = Phase.idle
    /// That the phase waits for.
    var request: UInt64 = 0
    var goal = Goal.none
    /// A check is wanted.
    var again = false
    var failures: UInt32 = 0
    var wish: Creation?
    /// What a request to create is out for, or was: until the server says whether it was made.
    var making: (creation: Creation, body: BackupVersion.Body)?
    /// To be deleted when nothing is left to be uploaded to their successor.
    var doomed: [BackupVersion] = []
    var successor = Digest.none
    /// The last change when that was made.
    var fill: UInt64 = 0
    /// The last version that was made here, or restored from with all that is in it: so that is here.
    var whole = Digest.none
    /// 0: no own account was asked for the secret.
    var secretRequest: UInt64 = 0
    var received: [Candidate] = []
    /// The number of the last change of an item, which that item has to keep.
    package internal(set) var changes: UInt64 = 0
    var upload = Upload()
    package internal(set) var isStopped = false
    var restore: Restore?
    var fetches: [Fetch] = []
    var misses: [Miss] = []

    /// `changes`: what the items of one that is damaged are numbered by.
    package init(changes: UInt64 = 0) { self.changes = changes }

    // MARK: What goes in and comes out

    package struct Outcome {
        package fileprivate(set) var requests: [(number: UInt64, request: Request)] = []
        /// In their order.
        package internal(set) var events: [Event] = []
    }

    /// One input, with what it may use.
    struct Turn {
        let now: Int64
        let random: UInt64
        var outcome = Outcome()

        mutating func refuse(_ refusal: Refusal) { outcome.events.append(.refused(refusal)) }
    }

    package mutating func step(
        _ input: Input, now: Int64, random: UInt64
    ) throws(Failure) -> Outcome {
        var next = self
        var turn = Turn(now: now, random: random)
        try next.take(input, &turn)
        // What has changed is looked for in a transaction of its own, which sees all of it.
        if case .itemsChanged = input {
            self = next
            return turn.outcome
        }
        next.goOn(&turn)
        next.tell(since: snapshot, &turn.outcome)
        self = next
        return turn.outcome
    }

    mutating func ask(_ what: Request, _ turn: inout Turn) -> UInt64 {
        let number = nextRequest
        nextRequest &+= 1
        turn.outcome.requests.append((number, what))
        return number
    }

    // MARK: Commands

    private mutating func take(_ input: Input, _ turn: inout Turn) throws(Failure) {
        switch input {
        case .create(let secret, let escrow):
            guard active == nil, !goal.isMaking else { return turn.refuse(.exists) }
            try make(.create, secret, escrow)
        case .reset(let secret, let escrow): try make(.reset, secret, escrow)
        case .delete:
            turnOff()
            doomed = []
            goal = .delete(left: Self.deleteLimit)
            supersede()
        case .disable:
            turnOff()
            if goal.isMaking { goal = .none }
            supersede()
        case .checkAndEnable: enable()
        case .askForSecret:
            guard intent == .on, !isStopped else { return turn.refuse(.off) }
            secretRequest = ask(.askForSecret, &turn)
        case .secretReceived(let secret, let highest, let request, let isOwn):
            guard isOwn, request != 0, request == secretRequest else {
                return turn.refuse(.unasked)
            }
            add(secret, highest: highest, &turn)
        case .recoveryKeyGiven(let secret):
            enable()
            add(secret, highest: 0, &turn)
        case .itemsChanged(let count, let areStored): change(count, areStored)
        case .restore(let acceptsOlder): startRestore(acceptsOlder, &turn)
        case .stopRestore: restore?.isStopped = true
        case .fetch(let place): fetch(place, &turn)
        case .answered(let number, let answer):
            guard number != 0 else { return }
            if number == request {
                try answered(answer, &turn)
            } else if number == upload.request {
                uploaded(answer, &turn)
            } else {
                downloaded(number, answer, &turn)
            }
        case .deadline:
            if case .waiting(let until) = phase, isDue(until, turn.now) { recheck() }
            if let at = upload.retryAt, isDue(at, turn.now) { upload.retryAt = nil }
            if let at = restore?.retryAt, isDue(at, turn.now) { restore?.retryAt = nil }
        case .requestsLost: try loseRequests(&turn)
        case .stop: isStopped = true
        case .load: isStopped = false
        }
    }

    private mutating func make(_ goal: Goal, _ secret: SecretBuffer, _ escrow: Bool) throws(Failure)
    {
        guard secret.count == BackupKeys.secretSize else { throw .misuse(.size) }
        if let key, Seal.sameSecret(key.secret.bytes, secret.bytes) { throw .misuse(.key) }
        intent = .on
        self.goal = goal
        wish = Creation(secret: secret, needsEscrow: escrow)
        supersede()
    }

    private mutating func enable() {
        guard intent == .off else { return recheck() }
        intent = .on
        goal = .none
        supersede()
    }

    private mutating func turnOff() {
        intent = .off
        active = nil
        wish = nil
        received = []
        offered = nil
        secretRequest = 0
        upload.request = 0
        upload.retryAt = nil
        restore = nil
        fetches = []
        misses = []
    }

    private mutating func add(_ secret: SecretBuffer, highest: UInt64, _ turn: inout Turn) {
        guard secret.count == BackupKeys.secretSize else { return turn.refuse(.wrongKey) }
        // Given again, it is not judged by the check under way.
        received.removeAll { Seal.sameSecret($0.secret.bytes, secret.bytes) }
        guard received.count < Self.receivedLimit else { return turn.refuse(.tooMany) }
        received.append(Candidate(secret: secret, highest: highest))
        recheck()
    }

    /// Nobody will answer what is out.
    private mutating func loseRequests(_ turn: inout Turn) throws(Failure) {
        if request != 0 { try answered(.failed, &turn) }
        if upload.request != 0 { uploaded(.failed, &turn) }
        if let restore, restore.request != 0 { downloaded(restore.request, .failed, &turn) }
        for fetch in fetches { downloaded(fetch.request, .failed, &turn) }
    }

    /// Whether an answer to it would be heard.
    package func awaits(_ number: UInt64) -> Bool {
        let waiting = [request, upload.request, restore?.request ?? 0, secretRequest]
        return waiting.contains(number) || fetches.contains { $0.request == number }
    }

    /// A newer command: what the check under way finds may be older than it.
    private mutating func supersede() {
        if phase != .creating, phase != .deleting {
            phase = .idle
            request = 0
        }
        failures = 0
        again = true
    }

    /// Once more, when what is under way was answered.
    private mutating func recheck() {
        if case .waiting = phase { phase = .idle }
        again = true
    }

    /// The active version is not the server's any more.
    mutating func lose() {
        server = .unknown
        active = nil
        upload.request = 0
        if phase == .checking {
            phase = .idle
            request = 0
        }
        recheck()
    }

    // MARK: Answers

    private mutating func answered(_ answer: Answer, _ turn: inout Turn) throws(Failure) {
        let was = phase
        phase = .idle
        request = 0
        switch (was, answer) {
        case (.checking, .current(let version, let count)):
            // What the check is for can still fail.
            if goal == .none, doomed.isEmpty { failures = 0 }
            try found(version, count, &turn)
        case (.checking, .noVersion):
            failures = 0
            try foundNone(&turn)
        case (.checking, .malformed) where goal == .create || goal.isDeleting:
            // Another program's: it stays.
            turn.refuse(goal == .create ? .exists : .noBackup)
            if goal.isDeleting { key = nil }
            goal = .none
            wish = nil
            making = nil
            foundNothing(.unknown, &turn)
        case (.checking, .malformed) where goal == .reset:
            lose()
            _ = endMaking(at: nil)
            try create(&turn)
        case (.checking, .malformed) where received.contains { $0.isAsked }:
            foundNothing(.unknown, &turn)
            fail(answer, &turn)
        case (.escrowing, .done):
            failures = 0
            wish?.needsEscrow = false
            again = true
        case (.creating, .created(let number)):
            guard let (creation, body) = making, body.generation >= highest,
                let version = try? BackupVersion(number: number, body: body)
            else { return fail(.malformed, &turn) }
            making = nil
            created(version, 0, creation)
        case (.deleting, .done), (.deleting, .noVersion):
            failures = 0
            if case .delete(let left) = goal {
                goal = .delete(left: left > 0 ? left - 1 : 0)
                server = .unknown
            } else {
                doomed = Array(doomed.dropFirst())
            }
            again = again || goal != .none
        default: fail(answer, &turn)
        }
    }

    /// Later again, from the beginning. What is wanted stays.
    private mutating func fail(_ answer: Answer, _ turn: inout Turn) {
        guard intent == .on || goal != .none else { return }
        failures = failures < UInt32.max ? failures + 1 : failures
        phase = .waiting(until: retryTime(answer, failures, turn))
    }

    func retryTime(_ answer: Answer, _ failures: UInt32, _ turn: Turn) -> Int64 {
        let wait = Backoff.wait(failures: failures, limit: Backoff.hour, random: turn.random)
        let at = Backoff.after(turn.now, wait)
        guard case .rateLimited(let until?) = answer else { return at }
        return max(at, min(until, Backoff.after(turn.now, Self.longest)))
    }

    private mutating func found(
        _ version: BackupVersion, _ count: UInt64, _ turn: inout Turn
    ) throws(Failure) {
        server = .present(version, count: count)
        let isMadeHere = making?.body == version.body
        if let creation = endMaking(at: version) { return created(version, count, creation) }
        try settle(version, &turn)
        switch goal {
        case .none: return
        case .create:
            goal = .none
            wish = nil
            turn.refuse(.exists)
        case .reset:
            guard !isMadeHere, let wish, try version.check(wish.secret.bytes) else {
                return try create(&turn)
            }
            // The secret is to be another one, and who has this one can have what is there.
            goal = .none
            self.wish = nil
            turn.refuse(.exists)
        case .delete(let left):
            guard left > 0 else {
                goal = .none
                return turn.refuse(.endless)
            }
            guard !isStopped else { return again = true }
            phase = .deleting
            request = ask(.deleteVersion(version), &turn)
        }
    }

    /// The server has shown whether what it was asked to create was made, though it did not say so: then that is what was
    /// wanted last, or its secret is known. If not, it is wanted still, unless something newer is.
    private mutating func endMaking(at version: BackupVersion?) -> Creation? {
        guard let (creation, body) = making else { return nil }
        making = nil
        let isMade = body == version?.body
        if goal.isMaking, wish == nil {
            if isMade, body.generation >= highest { return creation }
            wish = creation
        } else if isMade, intent == .on, received.count < Self.receivedLimit {
            received.append(Candidate(secret: creation.secret, highest: 0, isAsked: true))
        }
        return nil
    }

    /// No version, or another program's.
    private mutating func foundNothing(_ now: Server, _ turn: inout Turn) {
        server = now
        active = nil
        offered = nil
        upload.request = 0
        for _ in received.filter({ $0.isAsked }) { turn.refuse(.noBackup) }
        received.removeAll { $0.isAsked }
    }

    private mutating func foundNone(_ turn: inout Turn) throws(Failure) {
        foundNothing(.absent, &turn)
        _ = endMaking(at: nil)
        if goal.isMaking { return try create(&turn) }
        guard case .delete = goal else { return }
        goal = .none
        key = nil
    }

    /// Whether what the server has becomes active.
    private mutating func settle(
        _ version: BackupVersion, _ turn: inout Turn
    ) throws(Failure) {
        active = active == version ? active : nil
        offered = nil
        guard intent == .on else { return }
        var secret = key?.version.hash == version.hash ? key?.secret : nil
        let asked = received.filter { $0.isAsked }
        received.removeAll { $0.isAsked }
        for candidate in asked {
            guard try version.check(candidate.secret.bytes) else {
                turn.refuse(.wrongKey)
                continue
            }
            secret = secret ?? candidate.secret
            highest = max(highest, min(candidate.highest, BackupVersion.generationLimit))
            if version.generation < highest { turn.refuse(.rolledBack) }
        }
        guard let secret else { return active = nil }
        guard version.generation >= highest else {
            active = nil
            offered = Held(version: version, secret: secret)
            return
        }
        key = Held(version: version, secret: secret)
        activate(version)
    }

    private mutating func activate(_ version: BackupVersion) {
        highest = version.generation
        if version.hash != successor { doomed = [] }
        secretRequest = 0
        guard active != version else { return }
        active = version
        upload.request = 0
        if upload.version?.hash != version.hash {
            upload = Upload()
            fetches = []
            misses = []
        }
        upload.version = version
    }

    // MARK: Create

    private mutating func create(_ turn: inout Turn) throws(Failure) {
        guard !isStopped else { return again = true }
        guard var creation = wish else { return goal = .none }
        guard !creation.needsEscrow else {
            phase = .escrowing
            request = ask(.escrow(creation.secret), &turn)
            return
        }
        // Above what the server shows, too: its secret may be lost, and other accounts have seen it.
        var generation = highest
        if let shown = server.version?.generation, shown < BackupVersion.generationLimit {
            generation = max(generation, shown)
        }
        guard generation < BackupVersion.generationLimit else {
            goal = .none
            wish = nil
            return turn.refuse(.generation)
        }
        let keys = try BackupKeys(creation.secret.bytes)
        let previous = server.version?.hash ?? key?.version.hash ?? .none
        let body = try BackupVersion.Body(generation: generation + 1, previous: previous, keys)
        creation.replaces = server.version ?? creation.replaces
        wish = nil
        making = (creation, body)
        phase = .creating
        request = ask(.createVersion(body), &turn)
    }

    /// `count`: what is in it already.
    private mutating func created(
        _ version: BackupVersion, _ count: UInt64, _ creation: Creation
    ) {
        failures = 0
        highest = version.generation
        server = .present(version, count: count)
        active = nil
        key = Held(version: version, secret: creation.secret)
        // What may be nowhere else stays: it was neither made here nor restored from to its end.
        if let old = creation.replaces, old.hash == whole {
            doomed = Array((doomed + [old]).suffix(Self.doomedLimit))
        }
        whole = count == 0 ? version.hash : .none
        successor = version.hash
        fill = changes
        if intent == .on { activate(version) }
        if goal.isMaking, wish == nil { goal = .none }
        again = again || goal != .none
    }

    // MARK: What follows

    /// All that is wanted and not under way.
    private mutating func goOn(_ turn: inout Turn) {
        guard !isStopped else { return }
        if phase == .idle { goOnIdle(&turn) }
        goOnUploading(&turn)
        goOnDownloading(&turn)
    }

    private mutating func goOnIdle(_ turn: inout Turn) {
        if again, intent == .on || goal != .none {
            for place in received.indices { received[place].isAsked = true }
            phase = .checking
            request = ask(.getCurrentVersion, &turn)
        } else if let old = replaced {
            doomed.removeAll { $0.number == active?.number }
            phase = .deleting
            request = ask(.deleteVersion(old), &turn)
        }
        again = false
    }

    /// The next time at which something is to be done; nil: until something else happens.
    package var deadline: Int64? {
        guard !isStopped else { return nil }
        var times: [Int64] = []
        if case .waiting(let until) = phase { times.append(until) }
        if canUpload { times.append(upload.retryAt ?? Int64.min) }
        if phase == .idle, replaced != nil { times.append(Int64.min) }
        if let restore, !restore.isStopped, let at = restore.retryAt { times.append(at) }
        if wantsPage { times.append(Int64.min) }
        return times.min()
    }

    /// A time further away than any that is planned was written under another clock.
    func isDue(_ time: Int64, _ now: Int64) -> Bool {
        now >= time || time > Backoff.after(now, Self.longest)
    }
}
