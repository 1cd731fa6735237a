import PawlCore
import PawlCrypto
import Testing

/// A machine whose state goes through bytes at each step, and what it asked for and told.
private struct Desk {
    var machine = Backup()
    var now: Int64 = 1_000
    var asked: [(number: UInt64, request: Backup.Request)] = []
    var events: [Backup.Event] = []

    init() {}

    /// With an active version, "1".
    init(active secret: SecretBuffer) throws {
        try give(.create(secret: secret, escrow: false))
        try answer(.noVersion)
        try answer(.created(number: Array("1".utf8)))
        events = []
    }

    var snapshot: Backup.Snapshot { machine.snapshot }

    mutating func give(_ input: Backup.Input) throws {
        let outcome = try machine.step(input, now: now, random: 7)
        for (number, request) in outcome.requests {
            // What fits into a request.
            guard case .putItems(let version, let after, let upTo) = request, upTo - after > 256
            else {
                asked.append((number, request))
                continue
            }
            machine.cutBatch(at: after + 256)
            asked.append((number, .putItems(version, after: after, upTo: after + 256)))
        }
        machine = try Backup(decoding: machine.encoded())
        events += outcome.events
    }

    mutating func change() throws { try give(.itemsChanged(1, areStored: false)) }

    /// Answers the last request, or the last but so many.
    mutating func answer(_ answer: Backup.Answer, before: Int = 0) throws {
        try give(.answered(number(before: before), answer))
    }

    func number(before: Int = 0) -> UInt64 { asked[asked.count - 1 - before].number }

    var refusals: [Backup.Refusal] {
        events.compactMap {
            guard case .refused(let refusal) = $0 else { return nil }
            return refusal
        }
    }

    /// The last request, in a word.
    var last: String {
        switch asked.last?.request {
        case .getCurrentVersion: "get"
        case .escrow: "escrow"
        case .createVersion(let body): "create \(body.generation)"
        case .deleteVersion(let version): "delete \(name(version))"
        case .putItems(let version, let after, let upTo): "put \(name(version)) \(after)...\(upTo)"
        case .getPage(_, let cursor): "page \(cursor)"
        case .getItem: "item"
        case .askForSecret: "secret"
        case nil: "nothing"
        }
    }

    /// The deadline is reached.
    mutating func wait() throws {
        now = max(now, try #require(machine.deadline))
        try give(.deadline)
    }
}

private func name(_ version: BackupVersion) -> String {
    String(decoding: version.number, as: UTF8.self)
}

private func secret(_ number: UInt8) throws -> SecretBuffer {
    try [UInt8](repeating: number, count: 32).withUnsafeBytes { try SecretBuffer(copying: $0) }
}

private func keys(_ number: UInt8) throws -> BackupKeys {
    let secret = try secret(number)
    return try withExtendedLifetime(secret) { try BackupKeys(secret.bytes) }
}

private func version(
    _ name: String, _ number: UInt8, generation: UInt64 = 1
) throws -> BackupVersion {
    try BackupVersion(
        number: Array(name.utf8),
        body: BackupVersion.Body(generation: generation, previous: .none, keys(number)))
}

@Suite struct BackupMachineTests {
    // MARK: What went wrong once

    /// In a reset the old version serves until the new one does, and the key comes with it.
    @Test func aResetHasNoTimeInBetween() throws {
        var desk = try Desk(active: secret(1))
        let old = try #require(desk.snapshot.active)
        try desk.give(.reset(secret: secret(2), escrow: true))
        for (wanted, answer) in [
            ("get", .current(old, count: 0)), ("escrow", .done), ("get", .current(old, count: 0)),
        ] as [(String, Backup.Answer)] {
            #expect(desk.last == wanted && desk.snapshot.active == old)
            #expect(desk.snapshot.download == .ready(old) && desk.snapshot.key == old)
            try desk.answer(answer)
        }
        #expect(desk.last == "create 2" && desk.snapshot.active == old)
        for event in desk.events {
            guard case .status(let snapshot) = event else {
                Issue.record("\(event)")
                continue
            }
            #expect(snapshot.download == .ready(old))
        }
        desk.events = []
        try desk.answer(.created(number: [50]))
        let new = try #require(desk.snapshot.active)
        #expect(new.generation == 2 && new.body.previous == old.hash && new != old)
        // The event is that of the commit: the old one's deletion is under way in it.
        #expect(desk.events == [.status(desk.snapshot), .keyCached(new)])
        #expect(desk.snapshot.key == new && desk.snapshot.server == .present(new, count: 0))
        #expect(desk.last == "delete 1" && desk.snapshot.download == .ready(new))
    }

    /// "No backup" was the last answer; since then another device has made one, and sends its secret.
    @Test func aSecretIsNotJudgedByAnOldAnswer() throws {
        var desk = Desk()
        try desk.give(.checkAndEnable)
        try desk.answer(.noVersion)
        #expect(desk.snapshot.server == .absent && desk.snapshot.phase == .idle)
        try desk.give(.askForSecret)
        let request = desk.number()
        let made = try version("9", 5)
        // A check that began before the secret came, too, says nothing about it.
        try desk.give(.checkAndEnable)
        desk.events = []
        try desk.give(.secretReceived(secret(5), highest: 0, request: request, isOwn: true))
        try desk.answer(.noVersion)
        #expect(desk.refusals.isEmpty && desk.last == "get" && desk.snapshot.phase == .checking)
        try desk.answer(.failed)
        #expect(desk.refusals.isEmpty)
        try desk.wait()
        desk.events = []
        try desk.answer(.current(made, count: 3))
        #expect(desk.snapshot.active == made && desk.snapshot.server == .present(made, count: 3))
        #expect(desk.events == [.status(desk.snapshot), .keyCached(made)])
        // Nobody asked for another one.
        try desk.give(.secretReceived(secret(5), highest: 0, request: request, isOwn: true))
        #expect(desk.refusals == [.unasked])
    }

    /// The recovery key is typed once more, because the server has it by now: the check under way may not know.
    @Test func aSecretGivenAgainIsAskedForAgain() throws {
        var desk = Desk()
        try desk.give(.recoveryKeyGiven(secret(1)))
        try desk.give(.recoveryKeyGiven(secret(1)))
        try desk.answer(.noVersion)
        #expect(desk.refusals.isEmpty && desk.snapshot.phase == .checking)
        try desk.answer(.current(version("1", 1), count: 0))
        #expect(desk.snapshot.active != nil && desk.refusals.isEmpty)
    }

    /// A check is under way when a reset commits: what it finds is older.
    @Test func aCheckDoesNotOverwriteAReset() throws {
        var desk = try Desk(active: secret(1))
        let old = try #require(desk.snapshot.active)
        try desk.give(.checkAndEnable)
        let check = desk.number()
        try desk.give(.reset(secret: secret(2), escrow: false))
        try desk.answer(.current(old, count: 0))
        try desk.answer(.created(number: [50]))
        let new = try #require(desk.snapshot.active)
        for answer in [.noVersion, .current(old, count: 7), .malformed, .failed]
            as [Backup.Answer]
        {
            let before = desk.snapshot
            try desk.give(.answered(check, answer))
            #expect(desk.snapshot == before && desk.snapshot.active == new)
        }
    }

    /// One check at a time; what is asked for meanwhile makes it run once more.
    @Test func checksAreSingleFlight() throws {
        var desk = Desk()
        for _ in 0..<5 { try desk.give(.checkAndEnable) }
        #expect(desk.asked.count == 1)
        try desk.answer(.noVersion)
        #expect(desk.asked.count == 2)
        try desk.answer(.noVersion)
        #expect(desk.asked.count == 2 && desk.snapshot.phase == .idle)
    }

    // MARK: Bad secrets and bad servers

    @Test func secretsThatAreNot() throws {
        var desk = Desk()
        try desk.give(.checkAndEnable)
        try desk.answer(.noVersion)
        let found = try version("1", 1)
        try desk.give(.askForSecret)
        let request = desk.number()
        try desk.give(.secretReceived(secret(1), highest: 0, request: request, isOwn: false))
        try desk.give(.secretReceived(secret(1), highest: 0, request: request + 1, isOwn: true))
        #expect(desk.refusals == [.unasked, .unasked])
        desk.events = []
        try desk.give(.secretReceived(secret(2), highest: 0, request: request, isOwn: true))
        try desk.answer(.current(found, count: 0))
        #expect(desk.refusals == [.wrongKey] && desk.snapshot.active == nil)
        #expect(desk.snapshot.download == .notReady(.keyMissing))
        // The next one may be right.
        try desk.give(.secretReceived(secret(1), highest: 0, request: request, isOwn: true))
        try desk.answer(.current(found, count: 0))
        #expect(desk.snapshot.active == found)
        for number in 3..<9 as Range<UInt8> {
            try desk.give(.recoveryKeyGiven(secret(number)))
        }
        #expect(desk.refusals.filter { $0 == .tooMany }.count == 2)
        #expect(desk.snapshot.active == found)
    }

    /// Each error in each phase: what is wanted stays, and there is a time to go on.
    @Test func everyErrorIsWaitedOut() throws {
        let errors: [Backup.Answer] = [
            .wrongVersion, .noKey, .rateLimited(until: nil), .rateLimited(until: 5_000_000_000_000),
            .malformed, .failed, .stored(count: 9), .page(.init(), next: nil), .item(.init()),
        ]
        for steps in 0..<4 {
            for error in errors where error != .malformed || steps % 2 == 1 {
                var desk = Desk()
                try desk.give(.create(secret: secret(1), escrow: true))
                let before: [Backup.Answer] = [.noVersion, .done, .noVersion]
                for answer in before.prefix(steps) {
                    try desk.answer(answer)
                }
                #expect(desk.last == ["get", "escrow", "get", "create 1"][steps])
                try desk.answer(error)
                #expect(desk.snapshot.intent == .on && desk.snapshot.active == nil)
                let until = try #require(desk.machine.deadline)
                if case .rateLimited(let at?) = error { #expect(until == at) }
                try desk.wait()
                #expect(desk.last == "get")
                try desk.answer(.noVersion)
                if steps < 2 {
                    try desk.answer(.done)
                    try desk.answer(.noVersion)
                }
                try desk.answer(.created(number: [49]))
                #expect(desk.snapshot.active != nil)
            }
        }
    }

    /// Another program's version is not pushed aside, but by a reset.
    @Test func foreignVersionsStay() throws {
        for (input, refusal) in [
            (Backup.Input.create(secret: try secret(1), escrow: false), Backup.Refusal.exists),
            (.delete, .noBackup),
        ] {
            var desk = Desk()
            try desk.give(input)
            try desk.answer(.malformed)
            #expect(desk.refusals == [refusal] && desk.machine.deadline == nil)
            #expect(desk.asked.count == 1 && desk.snapshot.phase == .idle)
        }
        var desk = Desk()
        try desk.give(.reset(secret: secret(1), escrow: false))
        try desk.answer(.malformed)
        #expect(desk.last == "create 1")
    }

    /// The answer was lost, and the server has it.
    @Test func aLostAnswerIsFound() throws {
        var desk = Desk()
        try desk.give(.create(secret: secret(1), escrow: false))
        try desk.answer(.noVersion)
        guard case .createVersion(let body) = desk.asked.last?.request else { return }
        let number = desk.number()
        try desk.answer(.failed)
        try desk.wait()
        let made = try BackupVersion(number: [55], body: body)
        try desk.answer(.current(made, count: 0))
        #expect(desk.snapshot.active == made)
        let before = desk.snapshot
        try desk.give(.answered(number, .created(number: [56])))
        #expect(desk.snapshot == before)
    }

    /// What only looks like it was not made here: its secret was given, so all that is in it may be nowhere else.
    @Test func aSecretThatTheServerKnowsCreatesNothing() throws {
        let there = try version("7", 1)
        for isReset in [false, true] {
            var desk = Desk()
            try desk.give(
                isReset
                    ? .reset(secret: secret(1), escrow: false)
                    : .create(secret: secret(1), escrow: false))
            try desk.answer(.current(there, count: 5))
            #expect(desk.refusals == [.exists] && desk.snapshot.active == nil)
            #expect(desk.last == "get" && desk.machine.deadline == nil)
            try desk.give(.reset(secret: secret(2), escrow: false))
            try desk.answer(.current(there, count: 5))
            try desk.answer(.created(number: [50]))
            #expect(desk.snapshot.active?.generation == 2 && desk.last == "create 2")
        }
    }

    /// Made here, though the answer was lost: its successor may delete it, unless somebody has filled it since.
    @Test(arguments: [0, 3] as [UInt64]) func whatWasFoundIsReplaced(_ count: UInt64) throws {
        var desk = Desk()
        try desk.give(.create(secret: secret(1), escrow: false))
        try desk.answer(.noVersion)
        guard case .createVersion(let body) = desk.asked.last?.request else { return }
        try desk.answer(.failed)
        // Not at once: what is wanted is still wanted.
        try desk.wait()
        try desk.answer(.rateLimited(until: nil))
        try desk.wait()
        let made = try BackupVersion(number: [55], body: body)
        try desk.answer(.current(made, count: count))
        #expect(desk.snapshot.active == made)
        #expect(desk.snapshot.server == .present(made, count: count))
        #expect(desk.refusals.isEmpty)
        try desk.give(.reset(secret: secret(2), escrow: false))
        try desk.answer(.current(made, count: count))
        try desk.answer(.created(number: [50]))
        #expect(desk.last == (count == 0 ? "delete 7" : "create 2"))
    }

    /// A newer command came while nobody knew whether the older one was carried out: its secret is known all the same.
    @Test func whatWasFoundIsKnownToANewerCommand() throws {
        var desk = Desk()
        try desk.give(.create(secret: secret(1), escrow: false))
        try desk.answer(.noVersion)
        guard case .createVersion(let body) = desk.asked.last?.request else { return }
        try desk.answer(.failed)
        try desk.give(.reset(secret: secret(2), escrow: false))
        let made = try BackupVersion(number: [55], body: body)
        try desk.answer(.current(made, count: 0))
        #expect(desk.snapshot.active == made && desk.last == "create 2")
        try desk.answer(.created(number: [50]))
        #expect(desk.snapshot.active?.generation == 2 && desk.refusals.isEmpty)
    }

    @Test func uploadsGoOnInTheRightVersion() throws {
        var desk = try Desk(active: secret(1))
        let first = try #require(desk.snapshot.active)
        try desk.change()
        #expect(desk.last == "create 1" && desk.machine.deadline == Int64.min)
        try desk.wait()
        #expect(desk.last == "put 1 0...1")
        for _ in 0..<599 { try desk.change() }
        #expect(desk.machine.deadline == nil)
        try desk.answer(.stored(count: 1))
        #expect(desk.last == "put 1 1...257")
        // What changes while a batch is out comes in a later one.
        try desk.change()
        try desk.answer(.stored(count: 0))
        #expect(desk.last == "put 1 257...513" && desk.snapshot.pending == 344)
        try desk.answer(.rateLimited(until: desk.now + 77_000_000_000))
        #expect(desk.snapshot.retryAt == desk.now + 77_000_000_000)
        #expect(desk.snapshot.intent == .on && desk.snapshot.active == first)
        try desk.wait()
        #expect(desk.last == "put 1 257...513")
        // Somebody has reset it.
        try desk.answer(.wrongVersion)
        #expect(desk.snapshot.active == nil && desk.snapshot.server == .unknown)
        #expect(desk.last == "get")
        let second = try version("2", 2, generation: 2)
        try desk.answer(.current(second, count: 0))
        #expect(desk.snapshot.download == .notReady(.keyMissing))
        try desk.give(.recoveryKeyGiven(secret(2)))
        try desk.answer(.current(second, count: 0))
        #expect(desk.snapshot.active == second && desk.snapshot.pending == 601)
        // What failed was in another version.
        #expect(desk.machine.deadline == nil && desk.last == "put 2 0...256")
    }

    /// What a new version is to be filled with may change, and get a higher number, before it is there.
    @Test func aVersionIsFilledWithWhatChangesMeanwhile() throws {
        var desk = try Desk(active: secret(1))
        let first = try #require(desk.snapshot.active)
        try desk.give(.itemsChanged(2, areStored: false))
        try desk.wait()
        try desk.answer(.stored(count: 2))
        try desk.give(.reset(secret: secret(2), escrow: false))
        try desk.answer(.current(first, count: 2))
        try desk.answer(.created(number: Array("2".utf8)))
        #expect(desk.last == "put 2 0...2")
        try desk.change()
        try desk.answer(.stored(count: 1))
        #expect(desk.last == "put 2 2...3")
        try desk.answer(.stored(count: 2))
        #expect(desk.last == "delete 1")
    }

    /// Of what was restored something was left out, so the version may be the only one that has it.
    @Test(arguments: [\Backup.Progress.foreign, \.malformed, \.undecryptable, \.imported])
    func whatWasLeftOutIsNotDeleted(_ part: any WritableKeyPath<Backup.Progress, UInt64> & Sendable)
        throws
    {
        var desk = Desk()
        let old = try version("1", 1)
        try desk.give(.recoveryKeyGiven(secret(1)))
        try desk.answer(.current(old, count: 3))
        try desk.give(.restore(acceptsOlder: false))
        var page = Backup.Progress()
        page.imported = 2
        page[keyPath: part] += 1
        try desk.answer(.page(page, next: nil))
        try desk.give(.reset(secret: secret(2), escrow: false))
        try desk.answer(.current(old, count: 3))
        try desk.answer(.created(number: Array("2".utf8)))
        #expect(desk.snapshot.active?.generation == 2)
        #expect((desk.last == "delete 1") == (part == \.imported))
    }

    /// What came from the active version need not go there, unless something else is on its way to it.
    @Test func whatWasRestoredIsNotUploaded() throws {
        var desk = try Desk(active: secret(1))
        try desk.give(.itemsChanged(20, areStored: true))
        #expect(desk.snapshot.pending == 0 && desk.machine.changes == 20)
        #expect(desk.machine.deadline == nil)
        try desk.change()
        try desk.give(.itemsChanged(5, areStored: true))
        #expect(desk.snapshot.pending == 6)
        try desk.wait()
        #expect(desk.last == "put 1 20...26")
        try desk.give(.itemsChanged(1, areStored: true))
        try desk.answer(.stored(count: 6))
        #expect(desk.last == "put 1 26...27")
        // The next version has none of it.
        try desk.answer(.stored(count: 7))
        try desk.give(.reset(secret: secret(2), escrow: false))
        try desk.answer(.current(#require(desk.snapshot.active), count: 0))
        try desk.answer(.created(number: [50]))
        #expect(desk.snapshot.pending == 27)
    }

    /// The server has a version that the answer does not name: it is asked, whatever the error says.
    @Test func noVersionIsNotNoKey() throws {
        var desk = try Desk(active: secret(1))
        let place = subject(3)
        try desk.give(.fetch(place))
        try desk.answer(.noKey)
        #expect(desk.snapshot.active != nil)
        guard case .missing(let until) = desk.refusals.last else {
            Issue.record("\(desk.refusals)")
            return
        }
        try desk.give(.fetch(place))
        #expect(desk.refusals.last == .missing(until: until) && desk.asked.count == 3)
        desk.now = until
        try desk.give(.fetch(place))
        try desk.answer(.noKey)
        guard case .missing(let later) = desk.refusals.last else { return }
        #expect(later - desk.now > until - 1_000)
        // Bounded.
        for number in 10..<200 {
            try desk.give(.fetch(subject(number)))
            try desk.answer(.noKey)
        }
        let size = try desk.machine.encoded().count
        #expect(size < 4_000)
        for number in 300..<320 { try desk.give(.fetch(subject(number))) }
        #expect(desk.refusals.suffix(4).allSatisfy { $0 == .tooMany })
        try desk.answer(.noVersion)
        #expect(desk.snapshot.active == nil && desk.last == "get")
    }

    @Test func deletionsEnd() throws {
        var desk = try Desk(active: secret(1))
        try desk.give(.delete)
        #expect(desk.snapshot.intent == .off && desk.snapshot.active == nil)
        var deletions = 0
        while desk.snapshot.phase != .idle {
            // There is always one more, of an older generation.
            try desk.answer(.current(version("\(deletions)", 9), count: 0))
            guard desk.snapshot.phase == .deleting else { break }
            deletions += 1
            try desk.answer(.done)
        }
        #expect(deletions == 8 && desk.refusals == [.endless])
        #expect(desk.snapshot.intent == .off && desk.machine.deadline == nil)
        try desk.give(.delete)
        try desk.answer(.noVersion)
        #expect(desk.snapshot.key == nil && desk.snapshot.phase == .idle)
    }

    /// An older version comes back, with and without its secret; and it is there for restoring only.
    @Test func rolledBackVersionsAreOffered() throws {
        var desk = try Desk(active: secret(1))
        let old = try #require(desk.snapshot.active)
        try desk.give(.reset(secret: secret(2), escrow: false))
        try desk.answer(.current(old, count: 0))
        try desk.answer(.created(number: [50]))
        try desk.give(.checkAndEnable)
        try desk.answer(.done)
        try desk.answer(.current(old, count: 4))
        #expect(desk.snapshot.active == nil && desk.snapshot.intent == .on)
        #expect(desk.snapshot.download == .notReady(.rolledBack))
        try desk.give(.recoveryKeyGiven(secret(1)))
        desk.events = []
        try desk.answer(.current(old, count: 4))
        #expect(desk.refusals == [.rolledBack] && desk.snapshot.active == nil)
        #expect(desk.snapshot.key != old && desk.machine.offered?.version == old)
        try desk.give(.restore(acceptsOlder: false))
        #expect(desk.refusals.last == .notReady)
        try desk.give(.restore(acceptsOlder: true))
        #expect(desk.last == "page []" && desk.machine.secret(of: old) != nil)
        // What the next version follows is above both.
        try desk.give(.reset(secret: secret(3), escrow: false))
        try desk.answer(.current(old, count: 4))
        #expect(desk.last == "create 3")
    }

    /// A version that nobody here can check, with the highest generation; and an account that swears to it.
    @Test func inventedGenerationsDoNotLockOut() throws {
        var desk = try Desk(active: secret(1))
        let limit = BackupVersion.generationLimit
        let invented = try version("7", 9, generation: limit)
        try desk.give(.checkAndEnable)
        try desk.answer(.current(invented, count: 0))
        #expect(desk.snapshot.active == nil && desk.machine.highest == 1)
        try desk.give(.reset(secret: secret(2), escrow: false))
        try desk.answer(.current(invented, count: 0))
        #expect(desk.last == "create 2")
        try desk.answer(.created(number: [50]))
        let new = try #require(desk.snapshot.active)
        // What an account says is believed if it has the secret.
        for (number, highest) in [(UInt8(9), limit), (2, 5)] {
            try desk.give(.askForSecret)
            try desk.give(
                .secretReceived(
                    secret(number), highest: highest, request: desk.number(), isOwn: true))
            try desk.answer(.current(new, count: 0))
            #expect(desk.machine.highest == (number == 9 ? 2 : 5))
            #expect(desk.refusals.last == (number == 9 ? .wrongKey : .rolledBack))
        }
        #expect(desk.snapshot.active == nil && desk.snapshot.intent == .on)
        try desk.give(.reset(secret: secret(3), escrow: false))
        try desk.answer(.current(new, count: 0))
        #expect(desk.last == "create 6")
    }

    @Test func aClockThatWasAheadDoesNotHoldUp() throws {
        var desk = Desk()
        desk.now = 1 << 60
        try desk.give(.checkAndEnable)
        try desk.answer(.failed)
        desk.now = 1_000
        try desk.give(.deadline)
        #expect(desk.snapshot.phase == .checking)
    }

    @Test func nothingIsAskedWhileStopped() throws {
        var desk = try Desk(active: secret(1))
        try desk.give(.stop)
        let count = desk.asked.count
        for input in [
            .itemsChanged(1, areStored: false), .checkAndEnable,
            .reset(secret: try secret(2), escrow: true),
            .restore(acceptsOlder: false), .fetch(subject(1)), .askForSecret, .deadline,
        ] as [Backup.Input] {
            try desk.give(input)
        }
        #expect(desk.asked.count == count && desk.machine.deadline == nil)
        try desk.give(.load)
        // The upload waits until all is restored.
        #expect(desk.asked.count == count + 2)
    }

    // MARK: Restore

    @Test func aRestoreGoesOnWhereItWas() throws {
        var desk = try Desk(active: secret(1))
        try desk.give(.restore(acceptsOlder: false))
        #expect(desk.last == "page []")
        var page = Backup.Progress()
        page.imported = 10
        page.malformed = 1
        try desk.answer(.page(page, next: [1]))
        #expect(desk.last == "page [1]" && desk.machine.restoring?.progress == page)
        try desk.answer(.failed)
        #expect(desk.machine.restoring?.progress == page)
        try desk.wait()
        #expect(desk.last == "page [1]")
        try desk.give(.stopRestore)
        try desk.answer(.page(page, next: [2]))
        #expect(desk.last == "page [1]" && desk.machine.restoring?.isStopped == true)
        try desk.give(.restore(acceptsOlder: false))
        #expect(desk.last == "page [2]")
        page.imported = 0
        page.improved = 3
        try desk.answer(.page(page, next: nil))
        #expect(desk.machine.restoring == nil)
        guard case .restored(let all) = desk.events.last else { return }
        #expect(all.imported == 20 && all.malformed == 3 && all.improved == 3)
        // A cursor that is none.
        try desk.give(.restore(acceptsOlder: false))
        try desk.answer(.page(page, next: [UInt8](repeating: 0, count: 65)))
        #expect(desk.machine.deadline != nil)
        // Another version takes its place.
        let other = try version("2", 2, generation: 2)
        try desk.give(.recoveryKeyGiven(secret(2)))
        try desk.answer(.current(other, count: 0))
        #expect(desk.refusals.last == .notReady && desk.machine.restoring == nil)
    }

    /// The upload that a restore waits for turns out to be empty.
    @Test func aRestoreBehindAnEmptyUpload() throws {
        var desk = try Desk(active: secret(1))
        try desk.change()
        try desk.wait()
        #expect(desk.last == "put 1 0...1")
        try desk.give(.restore(acceptsOlder: false))
        #expect(desk.last == "put 1 0...1")
        desk.machine.skipBatch()
        try desk.wait()
        #expect(desk.last == "page []")
    }

    // MARK: Bytes

    @Test func damagedRecordsAreRefusedOrSound() throws {
        var desk = try Desk(active: secret(1))
        try desk.change()
        try desk.give(.fetch(subject(1)))
        try desk.answer(.noKey)
        try desk.give(.fetch(subject(2)))
        try desk.give(.restore(acceptsOlder: false))
        try desk.give(.reset(secret: secret(2), escrow: true))
        try desk.give(.recoveryKeyGiven(secret(3)))
        let good = try array(desk.machine.encoded())
        for count in 0..<good.count {
            #expect(throws: Failure.self) {
                try good.withUnsafeBytes {
                    _ = try Backup(decoding: SecretBuffer(copying: Bytes(rebasing: $0[..<count])))
                }
            }
        }
        for place in good.indices {
            for bit in [0, 3, 7] as [UInt8] {
                var bad = good
                bad[place] ^= 1 << bit
                guard
                    var machine = try? bad.withUnsafeBytes({
                        try Backup(decoding: SecretBuffer(copying: $0))
                    })
                else { continue }
                #expect(try array(machine.encoded()) == bad || bad[place] != good[place])
                for input in [
                    .deadline, .itemsChanged(1, areStored: true), .checkAndEnable, .load,
                ] as [Backup.Input] {
                    _ = try? machine.step(input, now: 5, random: .max)
                }
                for number in 0..<12 as Range<UInt64> {
                    _ = try? machine.step(.answered(number, .done), now: 5, random: .max)
                }
            }
        }
    }
}

@Suite struct BackupItemTests {
    private func seal(
        _ item: BackupItem, _ text: String, _ keys: BackupKeys, _ version: Digest
    ) throws -> [UInt8] {
        try withText(text) { try array(item.seal($0, keys, version: version)) }
    }

    private func open(
        _ wire: [UInt8], _ place: Identifier, _ keys: BackupKeys, _ version: Digest
    ) throws -> (BackupItem, String) {
        try wire.withUnsafeBytes {
            let (item, content) = try BackupItem.open($0, at: place, keys, version: version)
            return (item, text(content))
        }
    }

    private func entry(_ item: BackupItem, _ wire: [UInt8], _ keys: BackupKeys) throws
        -> BackupManifest.Entry
    {
        BackupManifest.Entry(
            number: item.number, place: try keys.place(of: item.name),
            rank: try wire.withUnsafeBytes { try BackupItem.rank(of: $0) })
    }

    @Test func versionsAreCheckedAsAWhole() throws {
        let good = try version("abc", 1, generation: 4)
        let bytes = try array(good.encoded())
        #expect(try bytes.withUnsafeBytes { try BackupVersion(decoding: $0) } == good)
        let (right, wrong) = (try secret(1), try secret(2))
        #expect(try good.check(right.bytes) && !good.check(wrong.bytes))
        #expect(try version("abd", 1, generation: 4) != good)
        #expect(try version("abd", 1, generation: 4).hash == good.hash)
        for place in bytes.indices {
            for bit in 0..<8 as Range<UInt8> {
                var bad = bytes
                bad[place] ^= 1 << bit
                guard let other = try? bad.withUnsafeBytes({ try BackupVersion(decoding: $0) })
                else { continue }
                #expect(other != good)
                if other.number == good.number { #expect(try !other.check(right.bytes)) }
            }
            #expect(throws: Failure.self) {
                try bytes.withUnsafeBytes {
                    _ = try BackupVersion(decoding: Bytes(rebasing: $0[..<place]))
                }
            }
        }
        for number in [[], [0], [0xFF], [UInt8](repeating: 65, count: 65)] as [[UInt8]] {
            #expect(throws: Failure.self) { try BackupVersion(number: number, body: good.body) }
        }
        withExtendedLifetime((right, wrong)) {}
    }

    @Test func itemsOpenWhereTheyWereSealed() throws {
        let (keys, others) = (try keys(1), try keys(2))
        let version = try version("1", 1).hash
        let item = BackupItem(
            .history(session: subject(1), epoch: 7, from: .responder), writer: subject(2),
            number: 9, first: 3, .own)
        let place = try keys.place(of: item.name)
        let wire = try seal(item, "chain key", keys, version)
        let (opened, content) = try open(wire, place, keys, version)
        #expect(opened == item && content == "chain key")
        // The server learns neither.
        for hidden in [subject(1).array, subject(2).array, Array("chain key".utf8)] {
            #expect(!wire.indices.contains { wire[$0...].starts(with: hidden) })
        }
        for index in wire.indices {
            for bit in [0, 7] as [UInt8] {
                var bad = wire
                bad[index] ^= 1 << bit
                #expect(throws: Failure.self) { try open(bad, place, keys, version) }
            }
            #expect(throws: Failure.self) { try open(Array(wire[..<index]), place, keys, version) }
        }
        let elsewhere = BackupItem.Name.history(session: subject(1), epoch: 7, from: .initiator)
        #expect(throws: Failure.auth) { try open(wire, keys.place(of: elsewhere), keys, version) }
        #expect(throws: Failure.auth) { try open(wire, place, others, version) }
        #expect(throws: Failure.auth) { try open(wire, place, keys, .none) }
        let credential = BackupItem(
            .credential(subject(4)), writer: subject(2), number: 10, first: 0,
            .imported)
        let second = try seal(credential, "", keys, version)
        #expect(try open(second, keys.place(of: credential.name), keys, version).0 == credential)
        // The content of one under the name of another.
        let spliced = Array(wire[..<95]) + second[95...]
        #expect(throws: Failure.auth) { try open(spliced, place, keys, version) }
    }

    /// Any order, any batches, anything twice: a server that keeps the lower rank ends in one state.
    @Test func replacementIsATotalOrder() throws {
        let keys = try keys(1)
        let version = try version("1", 1).hash
        var dice = Dice(4)
        var items: [(place: Identifier, wire: [UInt8])] = []
        for number in 0..<60 {
            let item = BackupItem(
                .credential(subject(dice.below(7))), writer: subject(dice.below(2)),
                number: UInt64(number), first: UInt32(dice.below(3)),
                dice.oneIn(2) ? .own : .imported)
            items.append((try keys.place(of: item.name), try seal(item, "x", keys, version)))
        }
        var end: [Identifier: [UInt8]]?
        for _ in 0..<200 {
            var queue = items + (0..<dice.below(60)).map { _ in dice.pick(items) }
            queue.shuffle(using: &dice)
            var server: [Identifier: [UInt8]] = [:]
            while !queue.isEmpty {
                // One batch: what is best in it, against what is there.
                let batch = queue.prefix(1 + dice.below(9))
                queue.removeFirst(batch.count)
                for (place, candidates) in Dictionary(grouping: batch, by: { $0.place }) {
                    let all = candidates.map { $0.wire } + (server[place].map { [$0] } ?? [])
                    server[place] = try all.min {
                        try rank($0) < rank($1)
                    }
                }
            }
            #expect(end == nil || server == end)
            end = server
        }
        #expect(end?.count == 7)
        // Antisymmetric and total.
        for a in items {
            for b in items {
                let (one, other) = (try rank(a.wire), try rank(b.wire))
                #expect((one < other ? 1 : 0) + (other < one ? 1 : 0) + (one == other ? 1 : 0) == 1)
                #expect((one == other) == (a.wire == b.wire))
            }
        }
    }

    private func rank(_ wire: [UInt8]) throws -> BackupItem.Rank {
        try wire.withUnsafeBytes { try BackupItem.rank(of: $0) }
    }

    // MARK: Manifests

    private func manifest(
        _ writer: Int = 1, counter: UInt64, root: Digest = .none,
        others: [BackupManifest.Seen] = []
    ) throws -> BackupManifest {
        try BackupManifest(
            writer: subject(writer), counter: counter, time: 5, count: 0, root: root,
            others: others)
    }

    @Test func manifestsAreVouchedFor() throws {
        let (keys, others) = (try keys(1), try keys(2))
        let version = try version("1", 1).hash
        let good = try manifest(
            counter: 9, others: [.init(writer: subject(2), counter: 4)])
        let bytes = try array(good.encoded(keys, version: version))
        func decode(_ bytes: [UInt8], _ keys: BackupKeys, _ version: Digest) throws
            -> BackupManifest
        {
            try bytes.withUnsafeBytes { try BackupManifest(decoding: $0, keys, version: version) }
        }
        #expect(try decode(bytes, keys, version) == good)
        #expect(throws: Failure.auth) { try decode(bytes, others, version) }
        #expect(throws: Failure.auth) { try decode(bytes, keys, .none) }
        for index in bytes.indices {
            var bad = bytes
            bad[index] ^= 1
            #expect(throws: Failure.self) { try decode(bad, keys, version) }
            #expect(throws: Failure.self) { try decode(Array(bytes[..<index]), keys, version) }
        }
        #expect(throws: Failure.self) {
            try manifest(
                counter: 1,
                others: [
                    .init(writer: subject(2), counter: 4), .init(writer: subject(2), counter: 4),
                ])
        }
    }

    /// What stands at a place, held against what its writer and others have listed.
    @Test func whatAServerDoesToItemsIsFound() throws {
        let keys = try keys(1)
        let version = try version("1", 1).hash
        func item(
            writer: Int = 1, number: UInt64, first: UInt32 = 5, _ text: String = "x"
        ) throws -> (shown: BackupShown, entry: BackupManifest.Entry) {
            let item = BackupItem(
                .credential(subject(2)), writer: subject(writer), number: number, first: first,
                .own)
            let entry = try entry(item, seal(item, text, keys, version), keys)
            return (BackupShown(item, entry.rank), entry)
        }
        let listed = try item(number: 2).entry
        func findings(
            _ shown: BackupShown, writer: Int = 1, counter: UInt64? = 5
        ) throws -> [BackupFinding] {
            let stored = try shown.encoded()
            var shown = try BackupShown(decoding: stored)
            let first = shown.compare(listed, of: subject(writer))
            shown = try BackupShown(decoding: shown.encoded())
            return [first, shown.finding(at: listed.place, counter: counter)].compactMap { $0 }
        }
        #expect(try findings(item(number: 2).shown).isEmpty)
        // Worse, from before; of another writer, whose listing has it, or not.
        let worse = try item(writer: 3, number: 1, first: 6).shown
        #expect(
            try findings(worse, counter: 1) == [
                BackupFinding(.older, listed.place), BackupFinding(.unlisted, listed.place),
            ])
        // Better, and as good: a server may go by less than the whole rank, and keeps what came first.
        for first in [4, 5] as [UInt32] {
            for writer in 3...20 {
                let other = try item(writer: writer, number: 1, first: first).shown
                #expect(try findings(other) == [BackupFinding(.inserted, listed.place)])
            }
        }
        // Of this writer, where it listed another; newer than its manifest; without any.
        let other = try item(number: 3, first: 4).shown
        #expect(try findings(other) == [BackupFinding(.swapped, listed.place)])
        #expect(try findings(other, counter: 3) == [BackupFinding(.unlisted, listed.place)])
        #expect(try findings(other, counter: nil) == [BackupFinding(.unlisted, listed.place)])
        // Of a writer that never listed this place.
        #expect(try findings(other, writer: 9) == [BackupFinding(.inserted, listed.place)])
        // The same number with other content.
        #expect(try findings(item(number: 2, "y").shown) == [BackupFinding(.swapped, listed.place)])
    }

    @Test func listingsAreBound() throws {
        let keys = try keys(1)
        let entries = (0..<1_000).map {
            BackupManifest.Entry(
                number: UInt64($0), place: subject($0),
                rank: .init(first: 0, provenance: 1, hash: .none))
        }
        var pages: [[UInt8]] = []
        for start in stride(from: 0, to: entries.count, by: BackupManifest.pageSize) {
            let part = entries[start..<min(start + BackupManifest.pageSize, entries.count)]
            pages.append(try array(BackupManifest.page(Array(part))))
        }
        func root(_ pages: [[UInt8]]) throws -> Digest {
            var root = Digest.none
            for page in pages {
                root = try page.withUnsafeBytes { try BackupManifest.root(after: root, $0, keys) }
            }
            return root
        }
        let right = try root(pages)
        #expect(try root(pages.reversed()) != right && root([pages[0]]) != right)
        var bad = pages
        bad[1][77] ^= 1
        #expect(try root(bad) != right)
        let again = try pages.flatMap { page in
            try page.withUnsafeBytes { try BackupManifest.entries(of: $0) }
        }
        #expect(again == entries)
        for bad in [[], Array(pages[1].dropLast()), pages[0] + pages[1]] {
            #expect(throws: Failure.self) {
                try bad.withUnsafeBytes { try BackupManifest.entries(of: $0) }
            }
        }
    }

    @Test func writersThatGoBackAreFound() throws {
        var writers = BackupWriters()
        let one = try manifest(1, counter: 5)
        let two = try manifest(2, counter: 8, others: [.init(writer: subject(1), counter: 5)])
        #expect(writers.look(at: [one, two]).isEmpty)
        #expect(writers.look(at: [one]) == [BackupFinding(.withheld, subject(2))])
        let back = try manifest(1, counter: 4)
        #expect(writers.look(at: [back, two]) == [BackupFinding(.rolledBack, subject(1))])
        // A first look, and what the other one tells.
        var fresh = BackupWriters()
        #expect(fresh.look(at: [back, two]) == [BackupFinding(.rolledBack, subject(1))])
        var alone = BackupWriters()
        #expect(alone.look(at: [two]) == [BackupFinding(.withheld, subject(1))])
        #expect(alone.look(at: [one, two]).isEmpty)
        // Two stores of one account.
        let hash = try version("1", 1).hash
        let first = try manifest(1, counter: 6, root: hash)
        let forked = try manifest(1, counter: 6, root: version("1", 2).hash)
        #expect(writers.look(at: [first, two]).isEmpty)
        #expect(writers.look(at: [forked, two]) == [BackupFinding(.forked, subject(1))])
        #expect(writers.others(than: subject(1)) == [.init(writer: subject(2), counter: 8)])
        let bytes = try array(writers.encoded())
        #expect(
            try bytes.withUnsafeBytes {
                try BackupWriters(decoding: SecretBuffer(copying: $0))
            } == writers)
        for count in bytes.indices {
            #expect(throws: Failure.self) {
                try bytes.withUnsafeBytes {
                    try BackupWriters(
                        decoding: SecretBuffer(copying: Bytes(rebasing: $0[..<count])))
                }
            }
        }
    }
}
