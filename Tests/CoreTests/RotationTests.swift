import PawlCore
import PawlCrypto
import PawlEngine
import PawlStore
import Testing

/// Key packages that come and go by themselves.
@Suite struct RotationTests {
    private static let day = Rotation.Options.day

    // MARK: The machine

    /// A machine and what must be true of it: which private halves there are, and what the host was told.
    private struct World {
        var rotation: Rotation
        var now: Int64
        var held: Set<Identifier> = []
        var acknowledged: Identifier?
        var drawn: UInt8 = 0
        var seq: UInt64 = 0
        /// What the host has not settled.
        var asked: [UInt64] = []
        var readback: UInt64?
        var trail: [String] = []

        init(_ options: Rotation.Options) throws {
            now = 0
            rotation = try Rotation(options, adopting: [], now: 0)
        }

        mutating func ask() -> UInt64 {
            seq += 1
            asked.append(seq)
            return seq
        }

        mutating func runRotation() throws {
            switch rotation.rotationTask(now: now).task {
            case .draw:
                if let staged = rotation.staged {
                    #expect(now - staged.drawn >= rotation.options.rotate, "one is staged")
                }
                drawn += 1
                let id = try ([drawn] + [UInt8](repeating: 0, count: 15)).withUnsafeBytes {
                    try Identifier($0)
                }
                held.insert(id)
                let seq = ask()
                let abandoned = rotation.stage(
                    id, notAfter: now + rotation.options.lifetime,
                    oneTime: rotation.options.pool, seq: seq, now: now, random: 7)
                asked.removeAll { $0 == abandoned }
            case .publishAgain(let staged):
                #expect(held.contains(staged.id))
                rotation.askedAgain(toPublish: ask())
            default: break
            }
        }

        mutating func runKeys() {
            switch rotation.keysTask(now: now) {
            case .drawKeys(let id, let first, let count):
                #expect(id == rotation.current?.id && count > 0)
                rotation.add(keys: count, from: first, seq: ask())
            case .publishKeysAgain: rotation.askedAgain(toPublishKeys: ask())
            default: break
            }
        }

        mutating func runReadback() {
            guard rotation.readbackTask(now: now) != nil else { return }
            let seq = ask()
            readback = seq
            rotation.askedToReadBack(seq)
        }

        mutating func runRemovals() {
            for package in rotation.superseded where now >= package.removeAt {
                #expect(rotation.remove(package.id, now: now) == true)
                held.remove(package.id)
            }
        }

        /// All that is due, which must leave nothing due.
        mutating func runDue() throws {
            try runRotation()
            runKeys()
            runReadback()
            runRemovals()
            let due = rotation.deadlines(now: now)
            for time in [due.rotate, due.keys, due.readback] {
                if let time { #expect(time > now, "spins: \(trail)") }
            }
        }

        mutating func answerAll() {
            for seq in asked where seq != readback {
                let staged = rotation.staged
                if rotation.answered(seq, now: now).heard == .published {
                    acknowledged = staged?.id
                }
            }
            asked.removeAll { $0 != readback }
        }

        mutating func readBack(_ served: Rotation.Served) {
            guard let seq = readback else { return }
            let staged = rotation.staged
            if rotation.readBack(seq, served, now: now).heard == .published {
                acknowledged = staged?.id
            }
            asked.removeAll { $0 == seq }
            readback = nil
        }

        mutating func giveUpAll() {
            for seq in asked { rotation.gaveUp(seq, now: now) }
            asked = []
            readback = nil
        }

        mutating func wait() {
            let due = rotation.deadlines(now: now)
            let removals = rotation.superseded.map { $0.removeAt }
            let next = ([due.rotate, due.keys, due.readback].compactMap { $0 } + removals).min()
            if let next { now = max(now, next) }
        }

        func check() throws {
            var known = Set(rotation.superseded.map { $0.id })
            #expect(known.count == rotation.superseded.count, "\(trail)")
            if let staged = rotation.staged { #expect(known.insert(staged.id).inserted) }
            if let current = rotation.current { #expect(known.insert(current.id).inserted) }
            #expect(known == held, "a private half that is unfindable or gone: \(trail)")
            #expect(rotation.current?.id == acknowledged, "\(trail)")
            #expect(rotation.deadlines(now: now).rotate != nil)
            let bytes = try array(rotation.encoded())
            #expect(try array(Rotation(decoding: rotation.encoded()).encoded()) == bytes)
        }
    }

    @Test func everyOrderKeepsEveryPrivateHalf() throws {
        var options = Rotation.Options()
        options.pool = 4
        options.poolFloor = 2
        let inputs: [(String, (inout World) throws -> Void)] = [
            (
                "wait and run",
                {
                    $0.wait(); try $0.runDue()
                }
            ),
            ("answer", { $0.answerAll() }),
            ("give up", { $0.giveUpAll() }),
            (
                "last resort",
                { world in
                    guard let id = world.rotation.current?.id ?? world.rotation.staged?.id else {
                        return
                    }
                    world.rotation.used(id, withOneTimeKey: false, now: world.now)
                    let wanted = world.rotation.current?.id == id && world.rotation.staged == nil
                    if wanted {
                        #expect(
                            world.rotation.rotateAt <= world.now + Backoff.hour + 10
                                * Backoff.second)
                    }
                }
            ),
            ("report none", { $0.rotation.report(available: 0) }),
            ("absent", { $0.readBack(.nothing) }),
            (
                "staged is served",
                { world in
                    guard let id = world.rotation.staged?.id else { return }
                    world.readBack(.own(id, isKnown: true))
                }
            ),
            (
                "as it should be",
                { world in
                    guard let id = world.rotation.current?.id else { return }
                    world.readBack(.own(id, isKnown: true))
                }
            ),
            ("rotate now", { $0.rotation.rotate(now: $0.now) }),
            ("renew", { $0.rotation.renew(now: $0.now) }),
            (
                "a year back",
                {
                    $0.now -= 365 * Self.day; try $0.runDue()
                }
            ),
            (
                "a year on",
                {
                    $0.now += 365 * Self.day; try $0.runDue()
                }
            ),
        ]
        var frontier = [try World(options)]
        var seen: Set<[UInt8]> = []
        var published = 0
        for depth in 0..<8 {
            var next: [World] = []
            for world in frontier {
                for (name, input) in inputs {
                    var after = world
                    after.trail.append(name)
                    try input(&after)
                    try after.check()
                    var key = try array(after.rotation.encoded())
                    key +=
                        withUnsafeBytes(of: after.now) { Array($0) } + after.asked.map { UInt8($0) }
                    guard seen.insert(key).inserted else { continue }
                    if after.drawn > 1, after.rotation.staged == nil { published += 1 }
                    if depth < 7 { next.append(after) }
                }
            }
            frontier = next
        }
        #expect(seen.count > 5_000 && published > 100)
        print("rotation: \(seen.count) states")
    }

    @Test func aStreamOfWelcomesRotatesOnceAnHour() throws {
        var world = try World(Rotation.Options())
        try world.runDue()
        world.answerAll()
        var draws: [Int64] = []
        for _ in 0..<(3 * 3_600) {
            world.now += Backoff.second
            let before = world.drawn
            guard let id = world.rotation.current?.id else { return }
            world.rotation.used(id, withOneTimeKey: false, now: world.now)
            try world.runRotation()
            world.answerAll()
            if world.drawn > before { draws.append(world.now / Backoff.second) }
        }
        #expect(draws == [6, 3_606, 7_206])
    }

    /// What was fetched before a package was published says nothing about what is served since.
    @Test func aReadBackFromBeforeAPublicationCountsForNothing() throws {
        var world = try World(Rotation.Options())
        try world.runDue()
        world.answerAll()
        let old = try #require(world.rotation.current?.id)
        world.now = world.rotation.readbackAt
        try world.runDue()
        let seq = try #require(world.readback)
        world.rotation.rotate(now: world.now)
        try world.runDue()
        world.answerAll()
        #expect(world.rotation.current?.id != old)
        let published = world.rotation
        let heard = world.rotation.readBack(seq, .own(old, isKnown: true), now: world.now).heard
        #expect(heard == .nothing)
        #expect(try array(world.rotation.encoded()) == array(published.encoded()))
        // It is asked anew at once.
        world.runReadback()
        #expect(world.readback ?? 0 > seq)
    }

    /// What makes all packages stale makes the one that is on its way stale, too.
    @Test func aStagedPackageThatIsStaleIsReplacedWhenItWasAnswered() throws {
        var world = try World(Rotation.Options())
        try world.runDue()
        world.now += Self.day
        world.rotation.renew(now: world.now)
        // It is offered nevertheless: peers have none yet.
        #expect(world.rotation.rotationTask(now: world.now).task == nil)
        world.answerAll()
        #expect(world.rotation.current != nil && world.rotation.rotateAt <= world.now)
        try world.runDue()
        #expect(world.drawn == 2)
        world.answerAll()
        #expect(world.rotation.rotateAt == world.now + 30 * Self.day)
        // Without one on its way: at once.
        world.now += Self.day
        world.rotation.renew(now: world.now)
        try world.runDue()
        #expect(world.drawn == 3)
    }

    @Test func cohortsSpread() throws {
        var times: Set<Int64> = []
        for number in 0..<100 as Range<UInt64> {
            var rotation = try Rotation(Rotation.Options(), adopting: [], now: 0)
            _ = rotation.stage(
                .none, notAfter: 90 * Self.day, oneTime: 0, seq: 1, now: 0,
                random: number &* 0x9E37_79B9_7F4A_7C15)
            _ = rotation.answered(1, now: 1)
            #expect((24 * Self.day...30 * Self.day).contains(rotation.rotateAt))
            times.insert(rotation.rotateAt)
        }
        #expect(times.count == 100)
    }

    @Test func damagedRecordsAreRefused() throws {
        let good = try array(Rotation(Rotation.Options(), adopting: [], now: 5).encoded())
        for count in 0..<good.count {
            #expect(throws: Failure.self) {
                try good.withUnsafeBytes {
                    try Rotation(decoding: SecretBuffer(copying: Bytes(rebasing: $0[..<count])))
                }
            }
        }
    }

    // MARK: The engine

    private struct Request {
        let seq: UInt64
        let what: UInt32
        let body: [UInt8]
    }

    private func requests(_ store: Store) throws -> [Request] {
        try store.takeItems(limit: 100, lease: 1).filter { $0.item.lane.kind.isOfRequests }.map {
            Request(seq: $0.seq, what: $0.item.what, body: Array($0.item.body))
        }
    }

    private func settle(_ store: Store, _ request: Request) throws {
        try [UInt8]().withUnsafeBytes { try store.answerRequest(request.seq, body: $0) }
    }

    private var small: Rotation.Options {
        var options = Rotation.Options()
        options.pool = 3
        options.poolFloor = 1
        return options
    }

    @Test func threeMonths() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        let account = try withText("ada") { try store.createAccount(named: $0) }
        try store.beginRotation(account, small)
        var published: [Int64] = []
        var checks = 0
        let start = clock.now()
        var empty = 0
        while let due = try store.nextDeadline(), due < start + 125 * Self.day {
            clock.advance(max(due - clock.now(), 0))
            let ran = try store.runDue(limit: 100)
            let found = try requests(store)
            if ran == 0, found.isEmpty { empty += 1 }
            for request in found {
                switch request.what {
                case 2:
                    published.append((clock.now() - start) / Self.day)
                    try settle(store, request)
                case 4:
                    checks += 1
                    let current = try store.packages(account).first { $0.standing == .current }
                    let row = try #require(current)
                    try store.answerRequest(request.seq, body: row.bytes.bytes)
                default: Issue.record("\(request.what)")
                }
            }
            let packages = try store.packages(account)
            #expect(packages.count(where: { $0.standing == .current }) == 1)
            #expect(packages.allSatisfy { $0.standing != nil } && packages.count <= 2)
        }
        #expect(published.count == 5 && published[0] == 0 && (24...30).contains(published[1]))
        #expect(published[2] - published[1] == 30 && published[3] - published[2] == 30)
        #expect(checks >= 12 && empty == 0)
    }

    /// Each operation of the storage fails once, as if the process had died, in a rotation and its answer.
    @Test func aCrashAtEveryOperation() throws {
        var operation = 0
        var bodies: Set<[UInt8]> = []
        while true {
            operation += 1
            let clock = ManualClock()
            let data = MemoryStorage()
            let plan = FaultPlan()
            let store = try openStore(on: FaultyStorage(data, plan), clock: clock)
            let account = try withText("ada") { try store.createAccount(named: $0) }
            try store.beginRotation(account, small)
            plan.arm(operation, .crash)
            let before: Request?
            do {
                _ = try store.runDue(limit: 100)
                before = try requests(store).first
                if let before { try settle(store, before) }
                clock.advance(31 * Self.day)
                _ = try store.runDue(limit: 100)
            } catch {
                #expect(plan.fired)
            }
            let hasCrashed = plan.fired
            let again = try openStore(on: data.sibling(), clock: clock)
            let rotation = try again.rotation(account)
            let packages = try again.packages(account)
            let held = Set(packages.map { $0.id })
            #expect(packages.allSatisfy { $0.standing != nil })
            #expect(packages.count(where: { $0.standing == .staged }) <= 1)
            if let current = rotation.current { #expect(held.contains(current.id)) }
            // What was staged is published with the same bytes.
            if rotation.staged != nil {
                clock.advance(Backoff.minute)
                let first = try #require(requests(again).first { $0.what == 2 })
                bodies.insert(first.body)
                clock.advance(Backoff.second)
                let second = try #require(requests(again).first { $0.what == 2 })
                #expect(first.body == second.body)
                try again.acknowledge([second.seq])
                clock.advance(Backoff.hour)
                _ = try again.runDue(limit: 10)
                let third = try #require(requests(again).first { $0.what == 2 })
                #expect(third.body == first.body && third.seq != second.seq)
            }
            if !hasCrashed { break }
        }
        #expect(operation > 40 && bodies.count > 10)
    }

    /// Keys that the server still hands out can be read, whatever is wanted of the next package.
    @Test(arguments: [0, 1] as [UInt32])
    func fewerKeysEraseNone(_ pool: UInt32) throws {
        let store = try openStore(on: MemoryStorage())
        let account = try withText("ada") { try store.createAccount(named: $0) }
        try store.beginRotation(account, small)
        _ = try store.runAll()
        try settle(store, #require(requests(store).first))
        var fewer = small
        fewer.pool = pool
        fewer.poolFloor = 0
        try store.beginRotation(account, fewer)
        for turn in 1...3 as ClosedRange<Int> {
            try store.changeRotation(account) { $0.rotate(now: $1) }
            _ = try store.runAll()
            let counts = try Dictionary(
                grouping: store.packages(account), by: { $0.oneTimeCount }
            ).mapValues(\.count)
            #expect(counts == [3: 1, pool: turn], "\(turn)")
            let request = try #require(requests(store).first { $0.what == 2 })
            try settle(store, request)
        }
    }

    /// A request that is damaged cannot be handed out: the same is asked for again, as if it had been given up.
    @Test(arguments: [false, true]) func aDamagedRequestIsMadeAgain(_ isAcknowledged: Bool) throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        let account = try withText("ada") { try store.createAccount(named: $0) }
        try store.beginRotation(account, small)
        _ = try store.runAll()
        func expectAgain(_ what: UInt32, after wait: Int64) throws {
            let seqs = try store.keys(.item).map { row in
                row.withBytes { $0.suffix(8).reduce(0 as UInt64) { $0 << 8 | UInt64($1) } }
            }
            let seq = try #require(seqs.first)
            #expect(seqs.count == 1)
            for row in try store.keys(.payload) { try store.damage(row) }
            if isAcknowledged { try store.acknowledge([seq]) }
            #expect(try requests(store).isEmpty)
            clock.advance(wait - 1)
            _ = try store.runAll()
            #expect(try requests(store).isEmpty)
            clock.advance(1)
            _ = try store.runAll()
            let found = try requests(store)
            #expect(found.map(\.what) == [what])
            let again = try #require(found.first)
            #expect(again.seq > seq)
            let served = try what == 4 ? store.packages(account).first?.bytes : nil
            let body = try served ?? SecretBuffer(count: 0)
            try store.answerRequest(again.seq, body: body.bytes)
        }
        try expectAgain(2, after: Backoff.hour)
        #expect(try store.rotation(account).current != nil)
        try store.changeRotation(account) { (rotation, _) in rotation.report(available: 0) }
        _ = try store.runAll()
        try expectAgain(3, after: Backoff.hour)
        #expect(try store.rotation(account).available == 3)
        clock.advance(try store.rotation(account).readbackAt - clock.now())
        _ = try store.runAll()
        try expectAgain(4, after: 7 * Self.day)
        #expect(try store.rotation(account).readbackAt == clock.now() + 7 * Self.day)
    }

    /// Both are taken together, and the host does the one before it answers the other.
    @Test func aReadBackThatCrossesAPublicationTellsNothing() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        let account = try withText("ada") { try store.createAccount(named: $0) }
        try store.beginRotation(account, small)
        _ = try store.runAll()
        try settle(store, #require(requests(store).first))
        let old = try #require(store.packages(account).first)
        clock.advance(try store.rotation(account).readbackAt - clock.now())
        try store.changeRotation(account) { $0.rotate(now: $1) }
        _ = try store.runAll()
        let asked = try requests(store)
        let publish = try #require(asked.first { $0.what == 2 })
        let readBack = try #require(asked.first { $0.what == 4 })
        try settle(store, publish)
        try store.answerRequest(readBack.seq, body: old.bytes.bytes)
        _ = try store.runAll()
        let items = try store.takeItems(limit: 10, lease: 0)
        #expect(items.map(\.item.what) == [4])
        #expect(items.first?.seq ?? 0 > readBack.seq)
        #expect(try store.packages(account).map(\.standing).last == .current)
    }

    /// Requests of files in which all of an account were in one lane.
    @Test func whatAnOlderPawlAskedForIsAnswered() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        let account = try withText("ada") { try store.createAccount(named: $0) }
        try store.beginRotation(account, small)
        func moveToRequests() throws {
            try store.transact(.write) { (transaction) throws(Failure) in
                for kind in [RowKind.payload, .item, .ready] {
                    var rows: [(row: RowKey, value: [UInt8])] = []
                    try transaction.scanRaw(RowKey(kind)) { (row, value) throws(Failure) in
                        rows.append((row, try transaction.contents(value, of: row)))
                        return true
                    }
                    for (row, value) in rows {
                        transaction.delete(row)
                        var key = row.withBytes { [UInt8]($0) }
                        var value = value
                        let lane = kind == .item ? 1 : 17
                        if kind == .payload { value[1] = 2 } else { key[lane] = 2 }
                        var moved = RowKey(kind)
                        for byte in key.dropFirst() { moved = moved.appending(byte) }
                        let buffer = try SecretBuffer(count: value.count)
                        buffer.mutableBytes.copyBytes(from: value)
                        if kind == .payload {
                            transaction.put(moved, buffer)
                        } else {
                            transaction.putRaw(moved, buffer)
                        }
                    }
                }
            }
            #expect(try store.verify().isEmpty)
        }
        func takeMoved(_ what: UInt32) throws -> ItemRow {
            try moveToRequests()
            let items = try store.takeItems(limit: 10, lease: 1)
            #expect(items.map(\.item.what) == [what])
            #expect(items.map(\.item.lane.kind) == [.requests])
            return try #require(items.first)
        }
        _ = try store.runAll()
        // Given up in that lane, and made again in its own.
        let first = try takeMoved(2)
        #expect(try first.published(at: 0) != nil)
        try store.acknowledge([first.seq])
        clock.advance(Backoff.hour)
        _ = try store.runAll()
        try store.answerRequest(try takeMoved(2).seq, body: .empty)
        #expect(try store.rotation(account).current != nil)
        try store.changeRotation(account) { (rotation, _) in rotation.report(available: 0) }
        _ = try store.runAll()
        let keys = try takeMoved(3)
        #expect(try keys.published(at: 2) != nil)
        try store.answerRequest(keys.seq, body: .empty)
        #expect(try store.rotation(account).available == 3)
        #expect(try store.keys(.item, .payload, .ready).isEmpty)
    }

    /// Other options while a package is being drawn: what is staged is what was wanted last.
    @Test func whatIsDrawnIsWhatIsWantedByThen() throws {
        let data = MemoryStorage()
        let plan = FaultPlan()
        let store = try openStore(on: FaultyStorage(data, plan))
        let other = try openStore(on: data.sibling())
        let account = try withText("ada") { try store.createAccount(named: $0) }
        try store.beginRotation(account, small)
        var wanted = small
        var changes = 0
        plan.onWrite = {
            guard let found = try? other.rotation(account), found.staged == nil else {
                return
            }
            wanted.pool += 1
            wanted.lifetime -= Self.day
            if (try? other.beginRotation(account, wanted)) != nil { changes += 1 }
        }
        _ = try store.runAll()
        plan.onWrite = nil
        #expect(changes > 0)
        let rotation = try store.rotation(account)
        #expect(rotation.options == wanted && rotation.staged?.oneTime == wanted.pool)
        let package = try #require(store.packages(account).first)
        #expect(package.oneTimeCount == wanted.pool)
        #expect(package.notAfter - package.created == wanted.lifetime)
        #expect(try store.packages(account).count == 1)
    }

    @Test func whatTheServerServes() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        let account = try withText("ada") { try store.createAccount(named: $0) }
        let other = try withText("ada") { try store.createAccount(named: $0) }
        let foreign = try store.createPackage(other, lifetime: Self.day, oneTimeKeys: 0)[0]
        let old = try store.createPackage(account, lifetime: Self.day, oneTimeKeys: 0)[0]
        try store.beginRotation(account, small)
        #expect(throws: Failure.state(.rotation)) {
            try store.createPackage(account, lifetime: Self.day, oneTimeKeys: 0)
        }
        _ = try store.runDue(limit: 10)
        try settle(store, #require(requests(store).first))
        let current = try #require(store.packages(account).first { $0.standing == .current })
        #expect(throws: Failure.state(.rotation)) { try store.deletePackage(account, current.id) }
        for (body, finding) in [
            ([], 1), (array(old.bytes), 3), (array(foreign.bytes), 5), ([1, 2, 3], 6),
        ] as [([UInt8], UInt64)] {
            clock.advance(max(0, try store.rotation(account).readbackAt - clock.now()))
            _ = try store.runDue(limit: 10)
            let asked = try requests(store)
            for request in asked where request.what == 2 { try settle(store, request) }
            let request = try #require(asked.first { $0.what == 4 })
            try body.withUnsafeBytes { try store.answerRequest(request.seq, body: $0) }
            let events = try store.takeItems(limit: 10, lease: 0).filter {
                $0.item.lane.kind == .events
            }
            #expect(events.map { $0.item.what } == [10])
            #expect(
                events.first?.item.count == finding
                    || (finding == 3 && events.first?.item.count == 4))
            try store.acknowledge(events.map { $0.seq })
            // Mended at once.
            #expect(try store.runDue(limit: 10) >= 1)
            try settle(store, #require(requests(store).first { $0.what == 2 }))
        }
    }

    /// One deletion that does not know what to delete costs itself alone, and is planned anew by whatever happens next
    /// to its account.
    @Test func onePoisonAmongAThousandDeletions() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        var options = small
        options.pool = 0
        options.poolFloor = 0
        var accounts: [Identifier] = []
        for number in 0..<10 {
            let account = try withText("\(number)") { try store.createAccount(named: $0) }
            try store.beginRotation(account, options)
            accounts.append(account)
        }
        for turn in 0...100 {
            if turn > 0 {
                clock.advance(Backoff.second)
                for account in accounts {
                    try store.changeRotation(account) { $0.rotate(now: $1) }
                }
            }
            #expect(try store.runAll() == 10)
            for request in try requests(store) { try settle(store, request) }
        }
        let last = try #require(accounts.last)
        let poison = try #require(try store.rotation(last).superseded.last)
        let deletions = try store.jobs(areDead: false, after: nil, limit: 10_000).filter {
            $0.job.kind == .deletePackage
        }
        #expect(deletions.count == 1_000)
        let row = try store.keys(.job).first { key in
            key.withBytes { Array($0.suffix(16)) == poison.id.array }
        }
        try store.damage(try #require(row))
        let readbacks = 10
        clock.advance(14 * Self.day)
        #expect(try store.runAll() == 1_000 + readbacks)
        let all = try accounts.flatMap { try store.packages($0) }
        #expect(all.count == 11)
        #expect(all.filter { $0.standing != .current }.map(\.id) == [poison.id])
        let letters = try store.jobs(areDead: true, after: nil, limit: 10)
        #expect(letters.map(\.job) == [Job(.deletePackage, poison.id)])
        #expect(letters.map(\.cause) == [Failure.corrupt(.record).primary])
        let events = try store.takeItems(limit: 100, lease: 0).filter { $0.item.what == 11 }
        #expect(events.map(\.item.count) == [UInt64(JobKind.deletePackage.rawValue)])
        #expect(try store.runAll() == 0)

        try store.changeRotation(last) { $0.rotate(now: $1) }
        #expect(try store.jobs(areDead: true, after: nil, limit: 10).isEmpty)
        #expect(try store.runAll() == 2)
        #expect(try store.packages(last).map(\.standing) == [.current, .staged])
    }

    // MARK: Clocks and hosts

    private static let year = 365 * day

    /// A host that is right about everything but the time.
    @Test func anyClockAfterAnyOther() throws {
        let never = CredentialRules.never
        let start: Int64 = 1_000_000_000_000
        let times = [
            Int64.min, Int64.min + 1, -Self.year, -1, 0, 1, start, start + Self.year,
            never - Self.year, never - 1, never,
        ]
        for first in times {
            for second in times {
                let clock = ManualClock()
                clock.set(first)
                let store = try openStore(on: MemoryStorage(), clock: clock)
                let account = try withText("ada") { try store.createAccount(named: $0) }
                try store.beginRotation(account, small)
                var held: Set<Identifier> = []
                for now in [first, second, first, start] {
                    clock.set(now)
                    // Nothing spins, even if the host does at once what it is asked.
                    var ran = 0
                    for _ in 0..<10 {
                        ran += try store.runAll(atMost: 50)
                        if try !answerAll(store, account) { break }
                    }
                    #expect(ran < 30, "\(first) \(second) \(now)")
                    let packages = try store.packages(account)
                    #expect(packages.allSatisfy { $0.standing != nil })
                    let ids = Set(packages.map(\.id))
                    if let current = try store.rotation(account).current {
                        #expect(ids.contains(current.id))
                    }
                    held.formUnion(ids)
                }
                // The clock is right, and all goes on as if it had always been.
                let superseded = try store.rotation(account).superseded
                #expect(superseded.allSatisfy { $0.removeAt <= start + Rotation.longestKeep })
                var turns = 0
                while let due = try store.nextDeadline(), due < start + 61 * Self.day, turns < 200 {
                    turns += 1
                    clock.set(max(due, clock.now()))
                    _ = try store.runAll(atMost: 50)
                    _ = try answerAll(store, account)
                }
                #expect(turns < 60, "\(first) \(second)")
                let rotation = try store.rotation(account)
                #expect(rotation.current != nil && rotation.rotateAt > clock.now())
                #expect(try store.jobs(areDead: true, after: nil, limit: 10).isEmpty)
                #expect(try store.verify().isEmpty, "\(first) \(second)")
                #expect(Set(try store.packages(account).map(\.id)).isDisjoint(with: held))
            }
        }
    }

    /// False: there was nothing.
    private func answerAll(_ store: Store, _ account: Identifier) throws -> Bool {
        let items = try store.takeItems(limit: 100, lease: 1)
        for item in items {
            guard item.item.lane.kind.isOfRequests else {
                try store.acknowledge([item.seq])
                continue
            }
            let isReadback = item.item.what == 4
            let current = try store.packages(account).first {
                isReadback && $0.standing == .current
            }
            let served = try current?.bytes ?? SecretBuffer(count: 0)
            try store.answerRequest(item.seq, body: served.bytes)
        }
        return !items.isEmpty
    }

    /// Never, late, twice, to a number that nobody gave out: each has an outcome of its own.
    @Test func hostsThatDoNotAnswer() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        let account = try withText("ada") { try store.createAccount(named: $0) }
        try store.beginRotation(account, small)
        _ = try store.runAll()
        let first = try #require(requests(store).first)
        #expect(throws: Failure.notFound) {
            try store.answerRequest(first.seq + 1_000, body: .empty)
        }
        #expect(throws: Failure.notFound) { try store.answerRequest(0, body: .empty) }
        #expect(throws: Failure.misuse(.size)) {
            try first.body.withUnsafeBytes { try store.answerRequest(first.seq, body: $0) }
        }
        #expect(try store.rotation(account).current == nil)
        try settle(store, first)
        let current = try #require(store.rotation(account).current)
        // Twice: nothing more.
        try settle(store, first)
        try store.acknowledge([first.seq])
        #expect(try store.rotation(account).current?.id == current.id)

        // Never: the same is offered for as long as packages rotate, then another; expiry is told once.
        var events: [UInt64] = []
        var asked: [Request] = []
        let begun = clock.now()
        var turns = 0
        while let due = try store.nextDeadline(), due < begun + 140 * Self.day, turns < 10_000 {
            turns += 1
            clock.set(max(due, clock.now()))
            _ = try store.runAll()
            for item in try store.takeItems(limit: 100, lease: 24 * Backoff.hour) {
                if item.item.lane.kind == .events {
                    events.append(item.item.count)
                    try store.acknowledge([item.seq])
                } else if item.item.what == 2 {
                    let body = Array(item.item.body)
                    asked.append(Request(seq: item.seq, what: 2, body: body))
                }
            }
            #expect(try store.packages(account).count(where: { $0.standing == .staged }) <= 1)
        }
        #expect(events == [Rotation.Finding.expired.rawValue] && turns < 1_000)
        // Drawn after 24 to 30, 54 to 60, 84 to 90 and 114 to 120 days; each until the next one with the same bytes.
        let bodies = Dictionary(grouping: asked, by: \.seq)
        #expect(bodies.count == 4)
        #expect(bodies.values.allSatisfy { Set($0.map(\.body)).count == 1 && $0.count > 5 })
        #expect(Set(asked.map(\.body)).count == 4)
        #expect(try store.rotation(account).current?.id == current.id)

        // Late: the request of a package that another has taken the place of is settled and counts for nothing.
        let staged = try #require(store.rotation(account).staged)
        try settle(store, asked[0])
        #expect(try store.rotation(account).staged == staged)
        #expect(try store.rotation(account).current?.id == current.id)
        try settle(store, try #require(asked.last))
        #expect(try store.rotation(account).current?.id == staged.id)
        #expect(try store.rotation(account).staged == nil)
    }
}
