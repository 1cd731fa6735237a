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
        try store.takeItems(limit: 100, lease: 1).filter { $0.item.lane.kind == .requests }.map {
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
}
