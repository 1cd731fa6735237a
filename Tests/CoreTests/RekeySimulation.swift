import Foundation
import PawlCore
import PawlCrypto
import PawlEngine
import PawlStore

/// Two accounts, or a mesh of five, each in a store of its own, on a network that drops, repeats and reorders, with storages
/// that fail and hosts that die. All that happens follows from a seed, to the keys that are drawn.
///
/// After each step: no payload twice, altered or out of nowhere; no index used twice; epochs differ by one at most, and
/// where they do not, the keys are the same. In the end the network behaves, and all must come together again.
final class RekeySimulation {
    struct Violation: Error, CustomStringConvertible {
        let description: String
    }

    /// What has happened, over all runs.
    struct Tally {
        /// A run of many seeds that misses one of these has not tried what it is to try.
        static let sometimes = [
            "crossed", "yielded", "lost finish", "crash while Answered", "crash while Offered",
            "busy",
            "postponed", "reset", "perfect queue full", "stale", "retried", "closed",
            "close repeated",
            "stalled", "restored", "healed", "doubt", "again", "rolled back", "mesh",
        ]
        /// Of many thousand seeds.
        static let rarely = ["late", "keys given up"]
        var counts: [String: Int] = [:]

        mutating func add(_ name: String) { counts[name, default: 0] += 1 }
        mutating func add(_ other: Tally) { counts.merge(other.counts, uniquingKeysWith: +) }
    }

    // MARK: State

    final class Host {
        let number: Int
        let name: String
        let account: Identifier
        var storage: MemoryStorage
        let plan = FaultPlan()
        var store: Store
        /// Sees what is committed, whatever fails.
        var reader: Store
        let trace = Side.Trace()
        var heard: Set<String> = []
        /// Texts by the number that `send` gave.
        var tickets: [UInt64: String] = [:]
        /// Counts how often it was put back: numbers are given again.
        var life = 0
        var old: MemoryStorage?
        /// Sessions that have parted.
        var parted: Set<Identifier> = []

        init(
            _ number: Int, _ name: String, _ account: Identifier, _ storage: MemoryStorage,
            _ clock: ManualClock
        ) throws {
            self.number = number
            self.name = name
            self.account = account
            self.storage = storage
            store = try openStore(on: FaultyStorage(storage.sibling(), plan), clock: clock)
            reader = try openStore(on: storage.sibling(), clock: clock)
            store.setTracer(trace)
        }

        /// After a death: what was in memory is gone.
        func reopen(_ clock: ManualClock) throws {
            plan.arm(nil)
            store = try openStore(on: FaultyStorage(storage.sibling(), plan), clock: clock)
            store.setTracer(trace)
        }
    }

    struct Flight {
        let from: Int
        let to: Int
        let life: Int
        let seq: UInt64?
        let text: String?
        let frame: [UInt8]
        var half: [UInt8] { Array(frame[2..<10]) }
    }

    struct Message {
        let from: Int
        let to: Int
        let half: [UInt8]
        var isAcknowledged = false
        /// Was never sent: its batch was rolled back.
        var isForbidden = false
        /// Nobody promises that it arrives.
        var isExcused = false
    }

    /// What a run is made of: each seed has its own mixture.
    enum Act: CaseIterable {
        case send, encrypt, rekey, serve, deliver, lose, pass, work, crash, fault, limits, batch,
            snapshot,
            restore, close, busy, forget
    }

    private let clock = ManualClock()
    private var dice: Dice
    private var hosts: [Host] = []
    private let packages: [[UInt8]]
    private var air: [Flight] = []
    private var messages: [String: Message] = [:]
    private var frames: [[UInt8]: [UInt8]] = [:]
    private var closed: Set<[UInt8]> = []
    private var tainted: Set<[UInt8]> = []
    private var weights: [(act: Act, weight: Int)] = []
    private var loss = 0
    private var copies = 0
    private var closes = 0
    private var restores = 0
    private var number = 0
    private(set) var tally = Tally()
    /// What happened, for whoever looks for a reason.
    private(set) var log: [String] = []
    private let isLogged: Bool

    // MARK: Beginning

    /// Sessions of all with all, before anything happens.
    struct World: @unchecked Sendable {
        let storages: [MemoryStorage]
        let accounts: [Identifier]
        /// One of each, for all sessions with it.
        let packages: [[UInt8]]
        let time: Int64

        init(_ count: Int) throws {
            let clock = ManualClock()
            let start = clock.now()
            storages = (0..<count).map { _ in MemoryStorage() }
            let stores = try storages.map { try openStore(on: $0.sibling(), clock: clock) }
            accounts = try stores.enumerated().map { (number, store) in
                try withText(RekeySimulation.names[number]) { try store.createAccount(named: $0) }
            }
            packages = try zip(stores, accounts).map { (store, account) in
                try store.package(account)
            }
            for a in 0..<count {
                for b in a + 1..<count {
                    let hers = try stores[a].begin(
                        accounts[a], RekeySimulation.names[b], packages[b])
                    clock.advance(Backoff.second)
                    let hello = try hear(
                        [stores[a].frame("hello", in: hers)], at: stores[b], accounts[b])
                    guard let his = hello[0].session else { throw Failure.internal }
                    for (from, session, to) in [(b, his, a), (a, hers, b)] {
                        _ = try hear(
                            [stores[from].frame("hi", in: session)], at: stores[to], accounts[to])
                    }
                }
            }
            for store in stores { store.close {} }
            time = clock.now() - start
        }
    }

    static let names = ["ada", "bob", "cyd", "dan", "eve"]
    private static let pair = Result { try SeededSodium.run(2) { try World(2) } }
    private static let mesh = Result { try SeededSodium.run(5) { try World(5) } }

    /// Before the first seed: the worlds, and what libsodium draws for itself.
    static func prepare() { _ = (try? pair.get(), try? mesh.get()) }

    init(seed: UInt64, isLogged: Bool = false) throws {
        self.isLogged = isLogged
        dice = Dice(seed &* 0x2545_F491_4F6C_DD1D &+ 1)
        let isMesh = seed % 10 == 9
        let world = try isMesh ? Self.mesh.get() : Self.pair.get()
        if isMesh { tally.add("mesh") }
        packages = world.packages
        clock.advance(world.time)
        for (number, account) in world.accounts.enumerated() {
            hosts.append(
                try Host(
                    number, Self.names[number], account, world.storages[number].snapshot(), clock))
        }
        for act in Act.allCases {
            let usual =
                switch act {
                case .send: 16
                case .encrypt: 8
                case .rekey: 10
                case .serve: 24
                case .deliver: 40
                case .lose: 2
                case .pass: 10
                case .work: 14
                case .limits: 2
                case .batch, .crash, .busy, .forget, .snapshot: 2
                case .fault: 4
                case .restore, .close: 1
                }
            // Some of it more, some less, some not at all.
            let swarm = dice.pick([0, 1, 2, 2, 2, 4])
            let isNeeded = [.serve, .deliver, .pass, .work].contains(act)
            weights.append((act, usual * (isNeeded ? max(swarm, 1) : swarm)))
        }
        // Of ten frames; nine: all, until the end.
        loss = dice.pick([0, 0, 0, 3, 3, 6, 6, 9])
        copies = dice.pick([0, 0, 4, 8])
        for host in hosts where dice.oneIn(2) { try limits(host) }
    }

    // MARK: Running

    func run() throws {
        for _ in 0..<dice.pick([60, 150, 300]) { try step() }
        if loss == 9 { try wait() }
        try settle()
    }

    private func step() throws {
        var place = dice.below(weights.reduce(0) { $0 + $1.weight })
        var act = Act.deliver
        for (one, weight) in weights {
            place -= weight
            if place < 0 {
                act = one
                break
            }
        }
        let host = dice.pick(hosts)
        switch act {
        case .send: try send(host)
        case .encrypt: try encrypt(host)
        case .rekey: try rekey(host)
        case .serve: try serve(host, isBad: true)
        case .deliver: try deliver()
        case .lose: if !air.isEmpty { air.remove(at: dice.below(air.count)) }
        case .pass: try pass(host)
        case .work: try work(host)
        case .crash: try crash(host)
        case .fault:
            host.plan.arm(1 + dice.below(40), dice.pick([.before, .before, .afterCommit, .crash]))
        case .limits: try limits(host)
        case .batch: try batch(host)
        case .snapshot: host.old = host.storage.snapshot()
        case .restore: if restores == 0, dice.oneIn(2) { try restore(host) }
        case .close: if closes < 2, dice.oneIn(3) { try close(host) }
        case .busy: try busy(host)
        case .forget: try takeKept(host)
        }
        for other in hosts where other !== host { try compare(host, other, deep: dice.oneIn(8)) }
    }

    private func note(_ text: @autoclosure () -> String) {
        if isLogged { log.append("\(clock.now() / millisecond % 100_000_000) " + text()) }
    }

    private func demand(_ isSo: Bool, _ text: @autoclosure () -> String) throws {
        guard isSo else { throw Violation(description: text()) }
    }

    /// A call that may fail as the storage does. nil: it did, and nobody knows with what effect.
    private func attempt<R>(_ host: Host, _ body: (Store) throws -> R) throws -> R? {
        do {
            let result = try body(host.store)
            try count(host)
            return result
        } catch let failure as Failure
            where failure == FaultPlan.failure || failure == FaultPlan.doubt
        {
            note("\(host.name): \(failure)")
            if failure == FaultPlan.doubt { tally.add("doubt") }
            try count(host)
            if host.plan.hasCrashed {
                try countCrash(host)
                try host.reopen(clock)
            }
            return nil
        }
    }

    private func count(_ host: Host) throws {
        for step in host.trace.steps {
            note("\(host.name): \(step.event) \(step.from)→\(step.to) about \(step.target)")
            switch step.event {
            case .crossedLeads: tally.add("crossed")
            case .crossedYields: tally.add("yielded")
            case .refused: tally.add("busy")
            case .postponed: tally.add("postponed")
            case .stale: tally.add("stale")
            case .retried: tally.add("retried")
            case .repeated: if step.target == step.to { tally.add("lost finish") }
            case .committed: tally.add("committed")
            case .trigger, .answered, .closed: break
            }
        }
        host.trace.steps = []
    }

    private func countCrash(_ host: Host) throws {
        for other in hosts where other !== host {
            for row in try rows(host, other) {
                switch row.session.rekey.phase {
                case .answered: tally.add("crash while Answered")
                case .offered: tally.add("crash while Offered")
                case .idle, .closed: break
                }
            }
        }
    }

    // MARK: Sessions

    private func rows(_ host: Host, _ other: Host) throws -> [SessionRow] {
        try withText(other.name) { try host.reader.sessions(host.account, peer: $0) }
    }

    private func half(_ id: Identifier) -> [UInt8] { Array(id.array[..<8]) }

    private func peer(_ host: Host) -> Host {
        dice.pick(hosts.filter { $0 !== host })
    }

    private func sendable(_ host: Host, _ other: Host) throws -> Identifier? {
        try rows(host, other).last { $0.entry.isSendable }?.session.id
    }

    /// The session to send in, a new one if there is none.
    private func session(_ host: Host, _ other: Host) throws -> Identifier? {
        if let id = try sendable(host, other) { return id }
        let id = try attempt(host) {
            try $0.begin(host.account, other.name, packages[other.number])
        }
        forgetOld(host, other)
        note("\(host.name) starts with \(other.name)")
        return id ?? nil
    }

    private func forgetOld(_ hosts: Host...) { for host in hosts { host.old = nil } }

    private func newText(_ host: Host, _ other: Host) -> String {
        number += 1
        let padding = String(repeating: ".", count: dice.pick([0, 10, 10, 100, 1_500]))
        return "\(host.name)>\(other.name)#\(number)\(padding)"
    }

    // MARK: Acts

    private func send(_ host: Host, to peer: Host? = nil) throws {
        let other = peer ?? self.peer(host)
        guard let id = try session(host, other) else { return }
        let text = newText(host, other)
        messages[text] = Message(from: host.number, to: other.number, half: half(id))
        do {
            guard
                let ticket = try attempt(
                    host, { store in try withText(text) { try store.send(id, $0) } })
            else { return }
            note("\(host.name) sends \(text.prefix(12)), ticket \(ticket)")
            host.tickets[ticket] = text
            messages[text]?.isAcknowledged = true
            // It is as if the host had died before it got the answer.
            if dice.oneIn(30) { try crash(host) }
        } catch Failure.limit(.queue) {
            tally.add("perfect queue full")
            messages[text]?.isForbidden = true
        } catch Failure.state(.receiveOnly) {
            messages[text]?.isForbidden = true
        }
    }

    private func encrypt(_ host: Host) throws {
        let other = peer(host)
        guard let id = try session(host, other) else { return }
        let text = newText(host, other)
        messages[text] = Message(from: host.number, to: other.number, half: half(id))
        do {
            guard let frame = try attempt(host, { try $0.frame(text, in: id) }) else { return }
            note("\(host.name) encrypts \(text.prefix(12))")
            try sent(
                Flight(
                    from: host.number, to: other.number, life: host.life, seq: nil, text: text,
                    frame: frame), isBad: true)
        } catch Failure.state(.mode) {
        } catch Failure.state(.receiveOnly) {
        }
    }

    private func rekey(_ host: Host) throws {
        let other = peer(host)
        guard let id = try sendable(host, other) else { return }
        let isFresh = dice.oneIn(4)
        let isBoth = dice.oneIn(3)
        do {
            _ = try attempt(host) { try $0.rekey(id, isFresh: isFresh) }
            if isBoth, let hers = try sendable(other, host) {
                _ = try attempt(other) { try $0.rekey(hers, isFresh: false) }
            }
        } catch Failure.state(.receiveOnly) {
        }
    }

    private func limits(_ host: Host) throws {
        let other = peer(host)
        guard let id = try sendable(host, other) else { return }
        let limits = Pace.Limits(
            messages: dice.pick([0, 0, 5, 20]), bytes: dice.pick([0, 0, 3_000]),
            interval: dice.pick([0, 0, 3, 30]) * Backoff.second, isPerfect: dice.oneIn(3),
            queue: dice.pick([0, 2, 4]))
        note("\(host.name): \(limits)")
        _ = try attempt(host) { try $0.setLimits(id, limits) }
    }

    private func batch(_ host: Host) throws {
        let other = peer(host)
        guard let id = try session(host, other) else { return }
        let commits = dice.oneIn(2)
        let texts = (0..<2).map { _ in newText(host, other) }
        for text in texts {
            messages[text] = Message(from: host.number, to: other.number, half: half(id))
        }
        let rekeys = dice.oneIn(2)
        var tickets: [UInt64] = []
        let done = try attempt(host) { (store: Store) throws -> Bool in
            let batch = try store.beginBatch()
            do {
                for text in texts { tickets.append(try withText(text) { try batch.send(id, $0) }) }
                if rekeys { _ = try batch.rekey(id, isFresh: false) }
            } catch {
                try? batch.endBatch(commit: false)
                if case .store = error as? Failure { throw FaultPlan.failure }
                return false
            }
            try batch.endBatch(commit: commits)
            return commits
        }
        for (text, ticket) in zip(texts, tickets) where done == true {
            host.tickets[ticket] = text
            messages[text]?.isAcknowledged = true
        }
        if done == false {
            tally.add("rolled back")
            for text in texts { messages[text]?.isForbidden = true }
        }
    }

    /// Its counter stands where 4,096 offers would have brought it.
    private func busy(_ host: Host) throws {
        guard let id = try sendable(host, peer(host)) else { return }
        let now = clock.now()
        note("\(host.name) is busy")
        try host.reader.edit(id) { session in
            for _ in 0..<Pace.answerLimit { session.pace.hasAnswered(now: now) }
        }
    }

    private func crash(_ host: Host) throws {
        note("\(host.name) dies")
        try countCrash(host)
        try host.reopen(clock)
        if dice.oneIn(2) { try takeKept(host) }
    }

    private func restore(_ host: Host) throws {
        guard let old = host.old else { return }
        restores += 1
        tally.add("restored")
        note("\(host.name) is put back")
        for other in hosts where other !== host {
            for row in try rows(host, other) { tainted.insert(half(row.session.id)) }
            for row in try rows(other, host) { tainted.insert(half(row.session.id)) }
        }
        // What is left of closed ones is put back, too.
        tainted.formUnion(closed)
        host.storage = old
        host.old = nil
        host.life += 1
        host.tickets = [:]
        host.reader = try openStore(on: host.storage.sibling(), clock: clock)
        try host.reopen(clock)
    }

    private func close(_ host: Host) throws {
        guard let id = try sendable(host, peer(host)) else { return }
        closes += 1
        // Whether it was done is seen later, if the storage fails.
        closed.insert(half(id))
        note("\(host.name) closes")
        forgetOldOfAll()
        _ = try attempt(host) { try $0.closeSession(id) }
        tally.add("closed")
    }

    private func forgetOldOfAll() { for host in hosts { host.old = nil } }

    private func pass(_ host: Host) throws {
        var time = dice.pick([1, 50, 300, 1_200, 5_000, loss == 9 ? 60_000 : 5_000]) * millisecond
        if dice.oneIn(4), let due = try host.reader.nextDeadline() {
            time = min(max(due - clock.now(), 0), Backoff.hour)
        }
        clock.advance(time)
    }

    /// Nobody hears anything, for as long as it takes to be told so.
    private func wait() throws {
        let host = dice.pick(hosts)
        host.plan.arm(nil)
        try rekey(host)
        for _ in 0..<20 {
            try pass(host)
            clock.advance(10 * Backoff.second)
            try work(host)
            try serve(host, isBad: true)
        }
    }

    private func work(_ host: Host) throws {
        _ = try attempt(host) { try $0.runDue(limit: 20) }
    }

    /// What was kept for a host that died, or was told that nobody knows.
    private func takeKept(_ host: Host) throws {
        for other in hosts where other !== host {
            for row in try rows(host, other) {
                let id = row.session.id
                for one in try host.reader.kept(id, limit: 1_000, bytes: 1 << 20) {
                    let said = withExtendedLifetime(one) { text(one.message) }
                    if messages[said] != nil { host.heard.insert(said) }
                    _ = try attempt(host) { try $0.forget(id, epoch: one.epoch, index: one.index) }
                }
            }
        }
    }

    // MARK: Network

    /// The host of the outbox. `isBad`: it says of a frame without a message that it has left, whatever the network does.
    @discardableResult
    private func serve(_ host: Host, isBad: Bool) throws -> Bool {
        let taken = try attempt(host) { (store: Store) throws -> [ItemRow] in
            try store.takeItems(limit: 50, lease: Backoff.second)
        }
        guard let rows = taken else { return true }
        var done: [UInt64] = []
        for row in rows {
            switch row.item.lane.kind {
            case .frames, .control:
                guard let session = row.item.session else { throw Violation(description: "whose?") }
                let name = withExtendedLifetime(row) { text(row.item.peer?.name) }
                guard let to = hosts.first(where: { $0.name == name }) else { continue }
                let ticket = row.item.count == 0 ? row.seq : row.item.count
                let flight = Flight(
                    from: host.number, to: to.number, life: host.life, seq: row.seq,
                    text: host.tickets[ticket], frame: Array(row.item.body))
                try demand(half(session) == flight.half, "a frame of another session")
                try sent(flight, isBad: isBad)
                if isBad, row.item.lane.kind == .control, dice.oneIn(2) { done.append(row.seq) }
            case .events:
                try told(host, row)
                done.append(row.seq)
            case .requests, .publishing, .backup: done.append(row.seq)
            }
        }
        if !done.isEmpty { _ = try attempt(host) { try $0.acknowledge(done) } }
        return !rows.isEmpty
    }

    private func told(_ host: Host, _ row: ItemRow) throws {
        note("\(host.name) is told \(row.item.what), \(row.item.count)")
        switch row.item.what {
        case Side.Event.stalled: tally.add("stalled")
        case Side.Event.desynchronized:
            guard let session = row.item.session else { return }
            try demand(tainted.contains(half(session)), "parted without a reason")
            host.parted.insert(session)
        case Side.Event.unsent:
            guard let text = host.tickets[row.item.count] else { return }
            messages[text]?.isExcused = true
        case Side.Event.lost: tally.add("keys given up")
        case Side.Event.closed:
            guard let session = row.item.session else { return }
            try demand(closed.contains(half(session)), "closed by nobody")
        default: break
        }
    }

    /// A frame has left the library.
    private func sent(_ flight: Flight, isBad: Bool) throws {
        let frame = flight.frame
        let sender = [UInt8(flight.from)]
        // Half of the session, epoch, index; and the nonce, for what was put back uses indices again.
        var keys: [[UInt8]] = [sender + Array(frame[2..<18]) + Array(frame[22..<46])]
        if !tainted.contains(flight.half) { keys.append(sender + Array(frame[2..<18])) }
        for key in keys {
            try demand(
                frames[key] ?? frame == frame,
                "two frames of one index, \(place(frame)) of \(hosts[flight.from].name)")
            frames[key] = frame
        }
        if isBad, loss > 0, dice.oneIn(10 - loss) { return }
        air.append(flight)
        if isBad, copies > 0, dice.oneIn(10 - copies) { air.append(flight) }
    }

    private func deliver() throws {
        guard !air.isEmpty else { return }
        // The oldest, or any.
        let first = dice.oneIn(3) ? dice.below(air.count) : 0
        var flights = [air.remove(at: first)]
        while flights.count < 4, dice.oneIn(3),
            let more = air.firstIndex(where: {
                $0.to == flights[0].to && $0.half == flights[0].half
            })
        {
            flights.append(air.remove(at: more))
        }
        try deliver(flights)
    }

    private func deliver(_ flights: [Flight]) throws {
        let host = hosts[flights[0].to]
        let batch = dice.oneIn(12)
        var isRolledBack = false
        let received = try attempt(host) { (store: Store) throws -> [Store.Received] in
            let frames = flights.map { $0.frame }
            guard batch else { return try hear(frames, at: store, host.account, keeps: true) }
            // And all of it undone.
            let inner = try store.beginBatch()
            do {
                let all = try hear(frames, at: inner, host.account, keeps: true)
                try inner.endBatch(commit: false)
                isRolledBack = true
                return all
            } catch {
                try? inner.endBatch(commit: false)
                if case .store = error as? Failure { throw FaultPlan.failure }
                throw error
            }
        }
        guard let received, !isRolledBack else { return air += flights }
        for (flight, one) in zip(flights, received) {
            try took(host, flight, one)
            // The news that it arrived may be lost, and it comes again.
            guard let seq = flight.seq, !dice.oneIn(8) else { continue }
            let sender = hosts[flight.from]
            guard sender.life == flight.life else { continue }
            _ = try attempt(sender) { try $0.acknowledge([seq]) }
        }
    }

    private func took(_ host: Host, _ flight: Flight, _ one: Store.Received) throws {
        let isTainted = tainted.contains(flight.half)
        let at = place(flight.frame)
        note(
            "\(host.name) takes \(at.epoch)/\(at.index) \(flight.text?.prefix(12) ?? "-"): \(one.failure.map { "\($0)" } ?? "ok")"
        )
        if one.isNewSession { forgetOldOfAll() }
        switch one.failure {
        case nil:
            guard let bytes = one.message else { return }
            let said = withExtendedLifetime(one) { text(bytes) }
            if one.isAgain, said.isEmpty { return }
            guard let message = messages[said] else {
                throw Violation(description: "out of nowhere: \(said.prefix(20))")
            }
            try demand(!message.isForbidden, "was never sent: \(said.prefix(20))")
            try demand(
                message.to == host.number && message.from == flight.from, "for somebody else")
            try demand(
                isTainted || flight.text == nil || flight.text == said, "another frame's payload")
            if one.isAgain { tally.add("again") }
            try demand(
                one.isAgain || isTainted || !host.heard.contains(said), "twice: \(said.prefix(20))")
            host.heard.insert(said)
        case .replay:
            guard !isTainted, let text = flight.text, !host.heard.contains(text) else { break }
            try takeKept(host)
            guard !host.heard.contains(text) else { break }
            let row = try rows(host, hosts[flight.from]).first {
                half($0.session.id) == flight.half
            }
            if let row, row.session.epoch <= at.epoch + 8 {
                throw Violation(description: "lost: \(text.prefix(20))")
            }
            tally.add("late")
            messages[text]?.isExcused = true
        case .notFound:
            try demand(isTainted || closed.contains(flight.half), "an unknown session")
            if let id = try sendable(host, hosts[flight.from]), tainted.contains(half(id)) {
                host.parted.insert(id)
            }
        case .desynchronized, .auth, .time:
            try demand(isTainted, "\(String(describing: one.failure)) at \(at)")
        case let failure?:
            try demand(isTainted, "\(failure) at \(at)")
        }
        if closed.contains(flight.half), one.failure != nil { tally.add("close repeated") }
    }

    // MARK: Invariants

    private func compare(_ host: Host, _ other: Host, deep: Bool) throws {
        let his = try rows(other, host)
        for row in try rows(host, other) {
            let half = half(row.session.id)
            guard !tainted.contains(half),
                let match = his.first(where: { self.half($0.session.id) == half })
            else { continue }
            let (a, b) = (row.session, match.session)
            try demand(
                max(a.epoch, b.epoch) - min(a.epoch, b.epoch) <= 1, "epochs \(a.epoch), \(b.epoch)")
            guard deep, a.epoch == b.epoch else { continue }
            let isSame = try agrees(a, b) && agrees(b, a)
            try demand(isSame, "other keys in epoch \(a.epoch)")
        }
    }

    // MARK: End

    /// From here on the network behaves.
    private func settle() throws {
        note("the network behaves")
        for host in hosts {
            if host.plan.hasCrashed { try host.reopen(clock) }
            host.plan.arm(nil)
        }
        for host in hosts {
            for other in hosts where other !== host {
                for row in try rows(host, other) where row.entry.isSendable {
                    var limits = row.session.pace.limits
                    limits.interval = 0
                    try host.store.setLimits(row.session.id, limits)
                }
            }
        }
        air.shuffle(using: &dice)
        try quiet()
        for attempt in 0..<8 {
            var isWhole = true
            for host in hosts {
                for other in hosts where other !== host {
                    guard let id = try session(host, other) else { continue }
                    let before = number
                    try send(host, to: other)
                    try quiet()
                    let mark = "\(host.name)>\(other.name)#\(before + 1)"
                    if !other.heard.contains(where: { $0 == mark || $0.hasPrefix(mark + ".") }) {
                        isWhole = false
                        let isKnown = tainted.contains(half(id)) || closed.contains(half(id))
                        try demand(isKnown, "\(mark) has not come")
                    }
                }
            }
            try reset()
            try quiet()
            guard !isWhole else { break }
            try demand(attempt < 7, "no message passes any more")
            clock.advance(Backoff.minute)
        }
        for host in hosts { try takeKept(host) }
        for host in hosts {
            for other in hosts where other !== host { try conclude(host, other) }
        }
        for (text, message) in messages where message.isAcknowledged && !message.isExcused {
            guard !tainted.contains(message.half), !closed.contains(message.half) else { continue }
            try demand(hosts[message.to].heard.contains(text), "never came: \(text.prefix(20))")
        }
    }

    private func conclude(_ host: Host, _ other: Host) throws {
        let his = try rows(other, host)
        for row in try rows(host, other) {
            let half = half(row.session.id)
            guard let match = his.first(where: { self.half($0.session.id) == half }) else {
                continue
            }
            let (a, b) = (row.session, match.session)
            // Somebody knows that it is over.
            guard row.entry.isSendable, match.entry.isSendable, !a.isReported, !b.isReported else {
                continue
            }
            for session in [a, b] {
                guard case .idle = session.rekey.phase else {
                    throw Violation(description: "\(session.rekey.phase) in the end")
                }
            }
            let isSame = try agrees(a, b) && agrees(b, a)
            try demand(isSame, "other keys in the end: \(a.epoch), \(b.epoch)")
            try demand(a.pace.queued == 0, "a message waits for ever")
            if tainted.contains(half) { tally.add("healed") }
        }
    }

    /// Whoever was told so starts anew.
    private func reset() throws {
        for host in hosts {
            for id in host.parted.sorted() {
                let others = hosts.filter { $0 !== host }
                var found: Host?
                for other in others {
                    let rows = try rows(host, other)
                    if rows.contains(where: { $0.session.id == id && $0.entry.isSendable }) {
                        found = other
                    }
                }
                guard let other = found else {
                    host.parted.remove(id)
                    continue
                }
                do {
                    _ = try packages[other.number].withUnsafeBytes {
                        try host.store.resetSession(id, $0)
                    }
                    host.parted.remove(id)
                    tally.add("reset")
                    note("\(host.name) resets with \(other.name)")
                    // The peer learns of it by the first message.
                    try send(host, to: other)
                } catch Failure.busy(.rate) {
                }
            }
        }
    }

    /// Delivers everything in its order, and lets time pass, until nothing is under way.
    private func quiet() throws {
        for _ in 0..<2_000 {
            var isBusy = false
            for host in hosts {
                if try serve(host, isBad: false) { isBusy = true }
            }
            while !air.isEmpty {
                isBusy = true
                let flight = air.removeFirst()
                try deliver([flight])
            }
            for host in hosts where try host.store.runDue(limit: 100) > 0 { isBusy = true }
            guard !isBusy else { continue }
            try reset()
            if try isResting() { return }
            let due = try hosts.compactMap { try $0.reader.nextDeadline() }.min()
            guard let due else { throw Violation(description: "it waits for nothing") }
            clock.advance(min(max(due - clock.now(), 0), Backoff.hour))
        }
        throw Violation(description: "it never rests")
    }

    /// All frames have come, and no round is under way in a session that counts.
    private func isResting() throws -> Bool {
        for host in hosts {
            guard host.parted.isEmpty else { return false }
            for other in hosts where other !== host {
                for row in try rows(host, other) {
                    let (session, half) = (row.session, half(row.session.id))
                    // One that another took the place of goes on until nothing waits in it.
                    let isWaiting = session.pace.queued > 0
                    let isOver = tainted.contains(half) || closed.contains(half) || !isWaiting
                    guard row.entry.isSendable || !isOver else { continue }
                    if isWaiting || session.rekey.pending != nil { return false }
                }
            }
            // An item that is lent comes back.
            if try host.reader.hasItems { return false }
        }
        return true
    }
}

extension Store {
    fileprivate var hasItems: Bool {
        get throws {
            try transact(.read) { (transaction) throws(Failure) in
                var isThere = false
                try transaction.scanRaw(RowKey(.item)) { (_, _) in
                    isThere = true
                    return false
                }
                return isThere
            }
        }
    }

    /// A key package without one-time keys.
    fileprivate func package(_ account: Identifier) throws -> [UInt8] {
        array(try createPackage(account, lifetime: 90 * 24 * Backoff.hour, oneTimeKeys: 0)[0].bytes)
    }

    fileprivate func begin(_ account: Identifier, _ peer: String, _ package: [UInt8]) throws
        -> Identifier
    {
        try withText(peer) { name in
            try package.withUnsafeBytes { try startSession(account, peer: name, $0) }
        }
    }
}
