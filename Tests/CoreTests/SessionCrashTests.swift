import PawlCore
import PawlCrypto
import PawlEngine
import PawlStore
import Testing

/// Every storage operation of every call on sessions fails once, in each way it can. Afterwards, from
/// what is committed: nothing that failed left anything, no index is in two frames that left the
/// library, no message is accepted twice or lost after it was acknowledged, and a one-time key is gone
/// exactly if its session is there.
@Suite struct SessionCrashTests {
    // MARK: The world

    /// Alice and Bob with a session that both know, frames on their way to Bob, and packages of his.
    /// All trials start from copies of it; nothing in it changes.
    struct World: @unchecked Sendable {
        let alices: MemoryStorage
        /// Alice's, with `fresh`, which Bob has not answered.
        let waitings: MemoryStorage
        let bobs: MemoryStorage
        let alice: Identifier
        let bob: Identifier
        /// Alice's side of the session, and Bob's.
        let hers: Identifier
        let his: Identifier
        let frames: [[UInt8]]
        /// As `frames[0]`, of an Alice that was put back to an old copy.
        let collision: [UInt8]
        /// A package with a one-time key that nobody used, and the id of one that `welcome` uses.
        let bundle: [UInt8]
        let welcomed: Identifier
        let welcome: [UInt8]
        /// Of the session that `welcome` starts: Alice's side and Bob's, and his answer.
        let fresh: Identifier
        let accepted: Identifier
        let answer: [UInt8]
        /// A round under way: Alice has offered, Bob has answered, Alice has committed; and what each said.
        let offered: MemoryStorage
        let answered: MemoryStorage
        let finished: MemoryStorage
        let parts: [[UInt8]]

        init() throws {
            let early = MemoryStorage()
            let bobs = MemoryStorage()
            let a = try openStore(on: early)
            let b = try openStore(on: bobs)
            alice = try withText("alice") { try a.createAccount(named: $0) }
            bob = try withText("bob") { try b.createAccount(named: $0) }
            hers = try a.start(alice, b.bundle(bob).bytes)
            let hello = try b.hear(bob, [a.say(hers, "hello")])
            his = try #require(hello[0].session)
            _ = try a.hear(alice, [b.say(his, "hi")])
            let package = try b.bundle(bob)
            welcomed = package.id
            bundle = try b.bundle(bob).bytes
            a.close {}
            b.close {}

            let (before, after) = (early.snapshot(), early.snapshot())
            let later = try openStore(on: after)
            frames = try (0..<10).map { [hers] in try later.say(hers, "message \($0)") }
            let put = try openStore(on: before)
            collision = try put.say(hers, "put back")
            alices = after
            self.bobs = bobs
            waitings = after.snapshot()
            let waiting = try openStore(on: waitings)
            fresh = try waiting.start(alice, package.bytes)
            welcome = try waiting.say(fresh, "welcome")
            let other = try openStore(on: bobs.snapshot())
            accepted = try #require(other.hear(bob, [welcome])[0].session)
            answer = try other.say(accepted, "answer")

            let (a1, b1) = (after.snapshot(), bobs.snapshot())
            let (leader, follower) = (try openStore(on: a1), try openStore(on: b1))
            _ = try leader.rekey(hers, isFresh: false)
            let offer = try leader.takeFrames()
            offered = a1.snapshot()
            _ = try follower.hear(bob, offer)
            let answers = try follower.takeFrames()
            answered = b1.snapshot()
            _ = try leader.hear(alice, answers)
            finished = a1.snapshot()
            let finish = try leader.takeFrames()
            parts = offer + answers + finish
            guard parts.count == 3 else { throw Failure.internal }
        }

        func storage(_ subject: Subject) -> MemoryStorage {
            switch subject {
            case .alice: alices
            case .waiting: waitings
            case .bob: bobs
            case .offered: offered
            case .answered: answered
            case .finished: finished
            }
        }
    }

    enum Subject: Sendable { case alice, waiting, bob, offered, answered, finished }

    /// What a trial got out of the library.
    final class Journal {
        var frames: [[UInt8]] = []
        /// Texts whose send was acknowledged.
        var sent: [String] = []
        /// Texts that were received, and that will be given again.
        var accepted: [String] = []
        var kept: [String] = []
    }

    struct Scenario: Sendable, CustomStringConvertible {
        let description: String
        let subject: Subject
        /// Whether what is stored afterwards is the same each time.
        var isDeterministic = true
        /// Whether it is one transaction.
        var isOneCommit = true
        /// Where the other side stands.
        var peer = Subject.bob
        /// Calls that are done before the copies are made.
        var prepare: @Sendable (World, Store, ManualClock) throws -> Void = { _, _, _ in }
        let act: @Sendable (World, Store, Journal) throws -> Void
    }

    // MARK: Calls

    static let senders = [
        Scenario(description: "start", subject: .alice, isDeterministic: false) {
            world, store, _ in
            _ = try store.start(world.alice, world.bundle)
        },
        Scenario(description: "encrypt", subject: .alice) { world, store, journal in
            journal.frames.append(try store.say(world.hers, "e"))
        },
        Scenario(
            description: "encrypt and send by turns", subject: .alice, isDeterministic: false,
            isOneCommit: false
        ) { world, store, journal in
            for number in 0..<20 {
                journal.frames.append(try store.say(world.hers, "e\(number)"))
            }
            try store.post(world.hers, "s1", journal)
            journal.frames.append(try store.say(world.hers, "between"))
            try store.post(world.hers, "s2", journal)
        },
        Scenario(description: "send", subject: .alice, isDeterministic: false) {
            world, store, journal in
            try store.post(world.hers, "s", journal)
        },
        Scenario(
            description: "encrypt and close the store", subject: .alice, isDeterministic: false,
            isOneCommit: false
        ) { world, store, journal in
            journal.frames.append(try store.say(world.hers, "e"))
            store.close {}
        },
        Scenario(description: "sends in a batch", subject: .alice, isDeterministic: false) {
            world, store, journal in
            let batch = try store.beginBatch()
            let inside = Journal()
            do {
                try batch.post(world.hers, "b1", inside)
                try batch.post(world.hers, "b2", inside)
            } catch {
                try? batch.endBatch(commit: false)
                throw error
            }
            try batch.endBatch(commit: true)
            journal.sent += inside.sent
        },
        Scenario(
            description: "take and ack", subject: .alice, isOneCommit: false,
            prepare: { world, store, _ in try store.post(world.hers, "queued", Journal()) },
            act: { _, store, journal in
                journal.sent.append("queued")
                let items = try store.takeItems(limit: 10, lease: 0)
                journal.frames += bodies(items)
                try store.acknowledge(items.map { $0.seq })
            }),
        Scenario(description: "receive the first answer", subject: .waiting) { world, store, _ in
            let heard = try store.hear(world.alice, [world.answer])
            #expect(heard[0].failure == nil)
        },
        Scenario(description: "reset", subject: .alice, isDeterministic: false) {
            world, store, _ in
            _ = try world.bundle.withUnsafeBytes { try store.resetSession(world.hers, $0) }
        },
        Scenario(
            description: "answer a request", subject: .waiting, isDeterministic: false,
            prepare: { _, store, clock in
                clock.advance(Session.answerDeadline)
                _ = try store.runDue(limit: 100)
            },
            act: { world, store, _ in
                // The event, then the request.
                try world.bundle.withUnsafeBytes { try store.answerRequest(2, body: $0) }
            }),
    ]

    static let receivers = [
        Scenario(description: "package create", subject: .bob, isDeterministic: false) {
            world, store, _ in
            _ = try store.bundle(world.bob)
        },
        Scenario(description: "package delete", subject: .bob) { world, store, _ in
            try store.deletePackage(world.bob, world.welcomed)
        },
        Scenario(description: "a fresh welcome", subject: .bob) { world, store, journal in
            try store.take(world.bob, [world.welcome], keeps: false, journal)
        },
        Scenario(description: "a fresh welcome, KEEP", subject: .bob) { world, store, journal in
            try store.take(world.bob, [world.welcome], keeps: true, journal)
        },
        Scenario(description: "in order", subject: .bob) { world, store, journal in
            try store.take(world.bob, [world.frames[0]], keeps: false, journal)
        },
        Scenario(description: "ahead", subject: .bob) { world, store, journal in
            try store.take(world.bob, [world.frames[7]], keeps: false, journal)
        },
        Scenario(
            description: "late", subject: .bob,
            prepare: { world, store, _ in _ = try store.hear(world.bob, [world.frames[7]]) },
            act: { world, store, journal in
                try store.take(world.bob, [world.frames[3]], keeps: false, journal)
            }),
        Scenario(description: "in order, KEEP", subject: .bob) { world, store, journal in
            try store.take(world.bob, [world.frames[0]], keeps: true, journal)
        },
        Scenario(
            description: "many", subject: .bob
        ) { world, store, journal in
            let order = [4, 1, 0, 9, 2].map { world.frames[$0] }
            try store.take(world.bob, order + [world.welcome], keeps: true, journal)
        },
        Scenario(
            description: "forget", subject: .bob,
            prepare: { world, store, _ in
                try store.take(world.bob, [world.frames[0]], keeps: true, Journal())
            },
            act: { world, store, _ in
                let kept = try store.kept(world.his, limit: 10, bytes: 1_000)
                for one in kept {
                    try store.forget(world.his, epoch: one.epoch, index: one.index)
                }
            }),
        Scenario(
            description: "a peer that was put back", subject: .bob,
            prepare: { world, store, _ in _ = try store.hear(world.bob, world.frames) },
            act: { world, store, _ in
                let answer = try store.hear(world.bob, [world.collision])
                #expect(answer[0].failure == .desynchronized)
            }),
        Scenario(description: "close", subject: .bob, isDeterministic: false) { world, store, _ in
            try store.closeSession(world.his)
        },
    ]

    static let jobs = [
        Scenario(
            description: "set-up deadline", subject: .waiting, isOneCommit: false,
            prepare: { _, _, clock in clock.advance(Session.answerDeadline) },
            act: { _, store, _ in _ = try store.runDue(limit: 100) }),
        Scenario(
            description: "skipped keys", subject: .bob, isOneCommit: false,
            prepare: { world, store, clock in
                _ = try store.hear(world.bob, [world.frames[7]])
                clock.advance(Session.skippedLifetime)
            },
            act: { _, store, _ in _ = try store.runDue(limit: 100) }),
        Scenario(
            description: "end of a session without confirmation", subject: .bob, isOneCommit: false,
            prepare: { world, store, clock in
                _ = try store.hear(world.bob, [world.frames[7], world.welcome])
                clock.advance(Session.endDelay)
            },
            act: { _, store, _ in _ = try store.runDue(limit: 100) }),
    ]

    static let rounds = [
        Scenario(description: "rekey", subject: .alice, isDeterministic: false) { world, store, _ in
            let target = try store.rekey(world.hers, isFresh: false)
            #expect(target == 1)
        },
        Scenario(description: "answer", subject: .bob, isDeterministic: false, peer: .offered) {
            world, store, _ in
            let heard = try store.hear(world.bob, [world.parts[0]])
            #expect(heard[0].failure == nil)
        },
        Scenario(
            description: "commit by the answer", subject: .offered, isDeterministic: false,
            peer: .answered
        ) { world, store, _ in
            let heard = try store.hear(world.alice, [world.parts[1]])
            #expect(heard[0].failure == nil)
        },
        Scenario(
            description: "commit by the finish", subject: .answered, isDeterministic: false,
            peer: .finished
        ) { world, store, _ in
            let heard = try store.hear(world.bob, [world.parts[2]])
            #expect(heard[0].failure == nil)
        },
        Scenario(
            description: "retry", subject: .offered, isDeterministic: false, isOneCommit: false,
            prepare: { _, _, clock in clock.advance(Backoff.second) },
            act: { _, store, _ in _ = try store.runDue(limit: 100) }),
        Scenario(
            description: "a perfect queue", subject: .alice, isDeterministic: false,
            isOneCommit: false,
            prepare: { world, store, _ in
                try store.setLimits(
                    world.hers,
                    Pace.Limits(messages: 0, bytes: 0, interval: 0, isPerfect: true, queue: 0))
            },
            act: { world, store, journal in
                try store.post(world.hers, "q1", journal)
                try store.post(world.hers, "q2", journal)
            }),
        Scenario(
            description: "a perfect queue that ends", subject: .alice, isDeterministic: false,
            prepare: { world, store, _ in
                try store.setLimits(
                    world.hers,
                    Pace.Limits(messages: 0, bytes: 0, interval: 0, isPerfect: true, queue: 0))
                for text in ["q1", "q2"] { try store.post(world.hers, text, Journal()) }
            },
            act: { world, store, journal in
                journal.sent += ["q1", "q2"]
                try store.setLimits(world.hers, Pace.Limits())
            }),
        Scenario(description: "close", subject: .alice, isDeterministic: false) { world, store, _ in
            try store.closeSession(world.hers)
        },
        Scenario(
            description: "close with a queue", subject: .offered, isDeterministic: false,
            prepare: { world, store, _ in
                try store.setLimits(
                    world.hers,
                    Pace.Limits(messages: 0, bytes: 0, interval: 0, isPerfect: true, queue: 0))
                for text in ["q1", "q2"] { try store.post(world.hers, text, Journal()) }
            },
            act: { world, store, _ in try store.closeSession(world.hers) }),
        Scenario(
            description: "the end of an epoch", subject: .alice, isDeterministic: false,
            isOneCommit: false,
            prepare: { world, store, clock in
                try store.setLimits(
                    world.hers,
                    Pace.Limits(
                        messages: 0, bytes: 0, interval: Backoff.minute, isPerfect: false, queue: 0)
                )
                clock.advance(Backoff.minute)
            },
            act: { _, store, _ in _ = try store.runDue(limit: 100) }),
    ]

    /// An account that keeps history, or begins or ends to.
    static let histories = [
        Scenario(description: "enable", subject: .bob) { world, store, _ in
            try store.keepHistory(world.bob, true)
        },
        Scenario(
            description: "disable", subject: .bob,
            prepare: { world, store, _ in
                try store.keepHistory(world.bob, true)
                _ = try store.hear(world.bob, [world.welcome])
            },
            act: { world, store, _ in try store.keepHistory(world.bob, false) }),
        Scenario(
            description: "start", subject: .alice, isDeterministic: false,
            prepare: { world, store, _ in try store.keepHistory(world.alice, true) },
            act: { world, store, _ in _ = try store.start(world.alice, world.bundle) }),
        Scenario(
            description: "a fresh welcome", subject: .bob,
            prepare: { world, store, _ in try store.keepHistory(world.bob, true) },
            act: { world, store, journal in
                try store.take(world.bob, [world.welcome], keeps: false, journal)
            }),
        Scenario(
            description: "commit by the answer", subject: .offered, isDeterministic: false,
            prepare: { world, store, _ in try store.keepHistory(world.alice, true) },
            act: { world, store, _ in _ = try store.hear(world.alice, [world.parts[1]]) }),
        Scenario(
            description: "commit by the finish", subject: .answered, isDeterministic: false,
            prepare: { world, store, _ in try store.keepHistory(world.bob, true) },
            act: { world, store, _ in _ = try store.hear(world.bob, [world.parts[2]]) }),
        Scenario(
            description: "close", subject: .answered, isDeterministic: false,
            prepare: { world, store, _ in
                try store.keepHistory(world.bob, true)
                _ = try store.hear(world.bob, [world.parts[2]])
            },
            act: { world, store, _ in try store.closeSession(world.his) }),
        Scenario(
            description: "delete the account", subject: .bob,
            prepare: { world, store, _ in
                try store.keepHistory(world.bob, true)
                _ = try store.hear(world.bob, [world.welcome])
            },
            act: { world, store, _ in try store.deleteAccount(world.bob) }),
    ]

    // MARK: Sweeps

    static let modes = [FaultPlan.Mode.before, .afterCommit, .crash]

    @Test(arguments: senders, modes)
    func sending(_ scenario: Scenario, _ mode: FaultPlan.Mode) throws {
        try sweep(scenario, mode) { trial in
            let world = trial.world
            let session = scenario.subject == .waiting ? world.fresh : world.hers
            // The handle that failed goes on, and so does a new one.
            for store in [trial.survivor, trial.reopened].compactMap({ $0 }) {
                do {
                    trial.journal.frames.append(try store.say(session, "later"))
                    try store.post(session, "later", Journal())
                } catch let error as Failure where error == .state(.receiveOnly) {
                    #expect(["reset", "answer a request"].contains(scenario.description))
                } catch let error as Failure where error == .closed(.closed) {}
            }
            trial.clock.advance(Backoff.minute)
            let items = try trial.reopened.takeItems(limit: 100, lease: 0)
            trial.journal.frames += bodies(items.filter { $0.item.lane.kind == .frames })

            var byIndex: [[UInt8]: [UInt8]] = [:]
            for frame in trial.journal.frames {
                // Half of the session, epoch, index.
                let place = Array(frame[2..<18])
                #expect(byIndex[place] ?? frame == frame, "an index was used twice")
                byIndex[place] = frame
            }
            let peer = try openStore(on: world.bobs.snapshot(), clock: trial.clock)
            if scenario.subject == .waiting { _ = try peer.hear(world.bob, [world.welcome]) }
            let frames = Array(byIndex.values)
            let heard = try peer.hear(world.bob, frames)
            for one in heard { #expect(one.failure == nil) }
            for one in try peer.hear(world.bob, frames) { #expect(one.failure == .replay) }
            let texts = heard.map { one in withExtendedLifetime(one) { text(one.message) } }
            for sent in trial.journal.sent { #expect(texts.count { $0 == sent } == 1, "\(sent)") }
        }
    }

    @Test(arguments: receivers, modes)
    func receiving(_ scenario: Scenario, _ mode: FaultPlan.Mode) throws {
        // What the call gets when nothing fails, the first time or again.
        let world = try Self.world.get()
        let (whole, base) = (Journal(), try prepare(scenario, world))
        try scenario.act(world, openStore(on: base.data, clock: base.clock()), whole)
        try sweep(scenario, mode) { trial in
            let store = trial.reopened
            let package = try store.packages(world.bob).first { $0.id == world.welcomed }
            let hasSession = (try? store.session(world.accepted)) != nil
            #expect(hasSession == (package?.oneTimeCount == 0))

            var kept: [String] = []
            for session in [world.his, world.accepted] {
                kept += try store.kept(session, limit: 100, bytes: 10_000).map { one in
                    withExtendedLifetime(one) { text(one.message) }
                }
            }
            #expect(Set(kept).isSuperset(of: trial.journal.kept))
            var (fresh, again): ([String], [String]) = ([], [])
            for one in try store.hear(world.bob, world.frames + [world.welcome])
            where one.failure == nil {
                let said = withExtendedLifetime(one) { text(one.message) }
                if one.isAgain { again.append(said) } else { fresh.append(said) }
            }
            for said in trial.journal.accepted { #expect(!fresh.contains(said), "twice: \(said)") }
            for said in trial.journal.kept { #expect(again.contains(said), "lost: \(said)") }
            // Only what was not kept may go down with an answer that nobody knows.
            let all = trial.journal.accepted + fresh + again
            for said in trial.isDoubtful ? whole.kept : whole.accepted {
                #expect(all.contains(said), "lost: \(said)")
            }
        }
    }

    @Test(arguments: jobs, modes)
    func running(_ scenario: Scenario, _ mode: FaultPlan.Mode) throws {
        try sweep(scenario, mode) { trial in
            // The rest of the work is done by whoever comes next.
            _ = try trial.reopened.runDue(limit: 100)
            #expect(try trial.reopened.picture() == trial.after)
        }
    }

    /// Whatever failed: what is kept is that of the epochs there are, and of no others.
    @Test(arguments: histories, modes)
    func keeping(_ scenario: Scenario, _ mode: FaultPlan.Mode) throws {
        try sweep(scenario, mode) { trial in
            let (world, store) = (trial.world, trial.reopened)
            let isBobs = [.bob, .answered].contains(scenario.subject)
            let account = isBobs ? world.bob : world.alice
            guard (try? store.account(account)) != nil else {
                return #expect(try store.keys(.history).isEmpty)
            }
            var rows = try store.history(account, after: nil, limit: 100)
            let isOn = try store.keepsHistory(account)
            #expect(isOn || rows.isEmpty)
            // That of these began before.
            for session in try store.sessions(account, peer: isBobs ? "alice" : "bob") {
                let isOld = [world.hers, world.his].contains(session.id) && session.epoch == 0
                let own = rows.filter { $0.place.session == session.id }
                #expect(own.count == (isOn && !isOld ? 2 : 0), "\(scenario)")
                for row in own {
                    #expect(row.place.epoch == session.epoch && !row.record.isClosed)
                    let chain =
                        row.place.direction == .sent ? session.sending : session.receiving.chain
                    let walked = try Chain(key: row.record.chainKey, index: 0).after(chain.index)
                    #expect(array(walked) == array(chain))
                }
                rows.removeAll { $0.place.session == session.id }
            }
            // The rest is that of a session that is over.
            #expect(rows.isEmpty || scenario.description == "close")
            #expect(rows.allSatisfy { $0.record.isClosed && $0.record.end < .max })
        }
    }

    /// Whatever failed: then the network behaves, and both sides come together.
    @Test(arguments: rounds, modes)
    func rekeying(_ scenario: Scenario, _ mode: FaultPlan.Mode) throws {
        try sweep(scenario, mode) { trial in
            let world = trial.world
            let isBobs = [.bob, .answered].contains(scenario.subject)
            // The handle that failed goes on, or a new one.
            let store = trial.survivor ?? trial.reopened
            let peer = try openStore(
                on: world.storage(scenario.peer).snapshot(), clock: trial.clock)
            let (alice, bob) = isBobs ? (peer, store) : (store, peer)
            let closes = scenario.description.hasPrefix("close")
            if closes { try? alice.closeSession(world.hers) }
            var (texts, places): ([String], [[UInt8]: [UInt8]]) = ([], [:])

            /// Delivers what one side has to say.
            func pass(_ from: Store, _ to: Store, _ account: Identifier) throws {
                let items = try from.takeItems(limit: 100, lease: 0)
                let said = bodiesOfFrames(items)
                for frame in said {
                    let place = Array(frame[2..<18]) + [account == world.bob ? 1 : 0]
                    #expect(places[place] ?? frame == frame, "an index was used twice")
                    places[place] = frame
                }
                for one in try to.hear(account, said) {
                    let isExpected = [nil, .replay, closes ? .notFound : .replay].contains(
                        one.failure)
                    #expect(isExpected, "\(String(describing: one.failure))")
                    guard let message = one.message else { continue }
                    texts.append(withExtendedLifetime(one) { text(message) })
                }
                try from.acknowledge(items.map { $0.seq })
            }
            func settle() throws {
                // What was handed out before comes again, too.
                for step in 0..<20 {
                    try pass(alice, bob, world.bob)
                    try pass(bob, alice, world.alice)
                    guard step < 15 else { continue }
                    trial.clock.advance(3 * Backoff.second)
                    for one in [alice, bob] { _ = try one.runDue(limit: 100) }
                }
            }
            // The part that was on its way comes again.
            switch scenario.description {
            case "answer": _ = try bob.hear(world.bob, [world.parts[0]])
            case "commit by the answer": _ = try alice.hear(world.alice, [world.parts[1]])
            case "commit by the finish": _ = try bob.hear(world.bob, [world.parts[2]])
            default: break
            }
            try settle()
            guard !closes else {
                #expect(throws: Failure.notFound) { _ = try alice.session(world.hers) }
                let his = try bob.session(world.his).session
                if case .closed = his.rekey.phase {} else { Issue.record("was not told") }
                return
            }
            _ = try alice.rekey(world.hers, isFresh: false)
            try alice.post(world.hers, "from Alice", trial.journal)
            try bob.post(world.his, "from Bob", trial.journal)
            try settle()
            let (hers, his) = (
                try alice.session(world.hers).session, try bob.session(world.his).session
            )
            let isSame = try agrees(hers, his) && agrees(his, hers)
            #expect(isSame && hers.epoch > 0)
            for session in [hers, his] { #expect(session.rekey.pending == nil) }
            for sent in trial.journal.sent { #expect(texts.count { $0 == sent } == 1, "\(sent)") }
        }
    }

    /// A damaged row that a message meets on its way refuses it whole: when the row is whole again,
    /// so is the message.
    @Test(arguments: [RowKind.accountState, .peer, .session, .epoch])
    func aDamagedRowCostsNoMessage(_ kind: RowKind) throws {
        let world = try Self.world.get()
        let (bob, frame, message) = try kind == .epoch ? late(world) : confirming(world)
        let before = try bob.picture()

        var whole: [(RowKey, SecretBuffer)] = []
        try bob.transact(.write) { (transaction) throws(Failure) in
            try transaction.scanRaw(RowKey(kind)) { (row, value) throws(Failure) in
                whole.append((row, try SecretBuffer(copying: value)))
                let damaged = try SecretBuffer(copying: value)
                damaged.mutableBytes[value.count - 1] ^= 1
                transaction.putRaw(row, damaged)
                return true
            }
        }
        #expect(!whole.isEmpty)
        let refused = try bob.hear(world.bob, [frame])
        #expect(refused[0].failure == .corrupt(.record))
        try bob.transact(.write) { (transaction) throws(Failure) in
            for (row, value) in whole { transaction.putRaw(row, value) }
        }
        #expect(try bob.picture() == before)
        let heard = try bob.hear(world.bob, [frame])
        #expect(heard[0].failure == nil)
        #expect(withExtendedLifetime(heard) { text(heard[0].message) } == message)
    }

    /// Bob, and a message that confirms a session that he has accepted.
    private func confirming(_ world: World) throws -> (Store, frame: [UInt8], String) {
        let bob = try openStore(on: world.bobs.snapshot())
        let met = try bob.hear(world.bob, [world.welcome])
        // Who has never sent is confirmed by nobody.
        _ = try bob.say(#require(met[0].session), "an answer")
        let waiting = try openStore(on: world.waitings.snapshot())
        _ = try waiting.hear(world.alice, [world.answer])
        return (bob, try waiting.say(world.fresh, "confirms"), "confirms")
    }

    /// Bob, who sends in a session that he has started, and a message of another, late from an epoch that is over.
    private func late(_ world: World) throws -> (Store, frame: [UInt8], String) {
        let alice = try openStore(on: world.finished.snapshot())
        let bob = try openStore(on: world.answered.snapshot())
        let frames = [world.frames[1], world.parts[2], try alice.say(world.hers, "goes on")]
        for one in try bob.hear(world.bob, frames) { #expect(one.failure == nil) }
        _ = try bob.start(world.bob, alice.bundle(world.alice).bytes, with: "alice")
        return (bob, world.frames[0], "message 0")
    }

    /// The host says anew who a peer is whose record is damaged. What is on its way is read, and a new session started.
    @Test func aDamagedPeerIsJudgedAnew() throws {
        let world = try Self.world.get()
        let clock = ManualClock()
        let bob = try openStore(on: world.bobs.snapshot(), clock: clock)
        _ = try bob.say(world.his, "under reservation")
        let second = try #require(try bob.hear(world.bob, [world.welcome])[0].session)
        #expect(try unconfirmed(bob, world.bob) == 2)
        let alice = try openStore(on: world.alices.snapshot())
        let package = try alice.bundle(world.alice).bytes
        try bob.damage(#require(bob.keys(.peer).first))
        let refused = try bob.hear(world.bob, [world.frames[0]])
        #expect(refused[0].failure == .corrupt(.record))
        #expect(throws: Failure.corrupt(.record)) {
            try bob.start(world.bob, package, with: "alice")
        }
        #expect(throws: Failure.corrupt(.record)) {
            try withText("alice") { try bob.allow(world.bob, .x25519, ofPeerNamed: $0) }
        }

        let row = try alice.account(world.alice)
        try withExtendedLifetime(row) { try bob.trust(world.bob, row.record.triple, .verified) }
        let known = try withText("alice") { try bob.peer(world.bob, named: $0) }
        #expect(known.trust == .verified && known.sending == nil)
        #expect(Set(known.entries.map { $0.id }) == [world.his, second])
        #expect(try unconfirmed(bob, world.bob) == 0)
        for session in [world.his, second] {
            #expect(throws: Failure.state(.receiveOnly)) { try bob.say(session, "too late") }
        }
        let heard = try bob.hear(world.bob, [world.frames[0]])
        #expect(heard[0].failure == nil)
        let session = try bob.start(world.bob, package, with: "alice")
        let hello = try bob.say(session, "hello")
        #expect(try alice.hear(world.alice, [hello])[0].failure == nil)
        #expect(try bob.verify().isEmpty)
        clock.advance(7 * 24 * Backoff.hour)
        _ = try bob.runAll()
        let told = try told(bob)
        for session in [world.his, second] { #expect(told[session] == [ended]) }
        #expect(try bob.sessions(world.bob, peer: "alice").map { $0.id } == [session])
    }

    /// A name has room for 64 sessions, so a fresh one may end that of a former identity. The call that does it
    /// does not bring it back.
    @Test func whatACallHasEndedTakesNoFrame() throws {
        let world = try Self.world.get()
        let bob = try openStore(on: world.bobs.snapshot())
        try wait(bob, world.his)
        let welcomes = try strangers(64, to: bob, world)
        let first = try bob.hear(world.bob, welcomes.dropLast())
        #expect(first.allSatisfy { $0.failure == nil })
        let heard = try bob.hear(world.bob, [welcomes[63], world.frames[0]])
        #expect(heard.map { $0.failure } == [nil, .notFound])
        #expect(throws: Failure.notFound) { _ = try bob.session(world.his) }
        #expect(try told(bob)[world.his] == [Side.Event.unsent, Side.Event.unsent, ended])
        #expect(try bob.verify().isEmpty)
    }

    /// The same for a session that the host starts.
    @Test func whatAStartEndsIsTold() throws {
        let world = try Self.world.get()
        let bob = try openStore(on: world.bobs.snapshot())
        try wait(bob, world.his)
        _ = try bob.hear(world.bob, strangers(63, to: bob, world))
        let (stranger, account) = try stranger()
        let session = try bob.start(world.bob, stranger.bundle(account).bytes, with: "alice")
        #expect(throws: Failure.notFound) { _ = try bob.session(world.his) }
        #expect(try told(bob)[world.his] == [Side.Event.unsent, Side.Event.unsent, ended])
        _ = try bob.say(session, "hello")
    }

    /// A session does not go before what the host wanted to be kept of it; where nothing can go, nothing comes.
    @Test func whatIsKeptKeepsItsSession() throws {
        let world = try Self.world.get()
        let bob = try openStore(on: world.bobs.snapshot())
        _ = try bob.hear(world.bob, [world.frames[0]], keeps: true)
        let welcomes = try strangers(66, to: bob, world)
        let first = try bob.hear(world.bob, [welcomes[0]])
        let others = try bob.hear(world.bob, Array(welcomes[1..<63]), keeps: true)
        let second = try bob.hear(world.bob, [welcomes[63], world.frames[1]], keeps: true)
        #expect(second.map { $0.failure } == [nil, nil])
        let gone = try #require(first[0].session)
        #expect(throws: Failure.notFound) { _ = try bob.session(gone) }
        #expect(try told(bob)[gone] == [changed, ended])

        let last = try #require(others[61].session)
        #expect(try bob.hear(world.bob, [welcomes[64]])[0].failure == .limit(.sessions))
        try bob.forget(last, epoch: 0, index: 0)
        #expect(try bob.hear(world.bob, [welcomes[65]])[0].failure == nil)
        #expect(throws: Failure.notFound) { _ = try bob.session(last) }
        #expect(try bob.verify().isEmpty)
    }

    // Numbers of the header.
    private let changed: UInt32 = 1
    private let ended: UInt32 = 5

    /// Two messages that wait for an epoch.
    private func wait(_ store: Store, _ session: Identifier) throws {
        try store.setLimits(
            session,
            Pace.Limits(messages: 0, bytes: 0, interval: 0, isPerfect: true, queue: 0))
        for message in ["one", "two"] { _ = try withText(message) { try store.send(session, $0) } }
    }

    private func stranger() throws -> (Store, Identifier) {
        let store = try openStore(on: MemoryStorage())
        return (store, try withText("alice") { try store.createAccount(named: $0) })
    }

    /// Welcomes of others who say that they are Alice.
    private func strangers(_ count: Int, to bob: Store, _ world: World) throws -> [[UInt8]] {
        let rows = try bob.createPackage(world.bob, lifetime: Backoff.hour, oneTimeKeys: 0)
        let package = array(rows[0].bytes)
        return try (0..<count).map { _ in
            let (store, account) = try stranger()
            return try store.say(store.start(account, package), "it is me")
        }
    }

    /// The events about each session.
    private func told(_ store: Store) throws -> [Identifier: [UInt32]] {
        var told: [Identifier: [UInt32]] = [:]
        for row in try store.takeItems(limit: 10_000, lease: 0) {
            guard row.item.lane.kind == .events, let session = row.item.session else { continue }
            told[session, default: []].append(row.item.what)
        }
        return told
    }

    /// How many sessions count that nobody has confirmed.
    private func unconfirmed(_ store: Store, _ account: Identifier) throws -> UInt32 {
        try store.transact(.read) { (transaction) throws(Failure) in
            let row = account.withBytes { RowKey(.accountState).appending($0) }
            guard let buffer = try transaction.get(row) else { return 0 }
            return try AccountState(decoding: buffer).unconfirmed
        }
    }

    /// A call that failed, or did not, on a copy of the world.
    final class Trial {
        let world: World
        let journal: Journal
        let clock: ManualClock
        let after: [[UInt8]: [UInt8]]
        /// The handle it was made on; nil if its engine is dead.
        let survivor: Store?
        let reopened: Store
        /// Whether the call answered that nobody knows.
        let isDoubtful: Bool

        init(
            world: World, journal: Journal, clock: ManualClock, after: [[UInt8]: [UInt8]],
            survivor: Store?, reopened: Store, isDoubtful: Bool
        ) {
            self.world = world
            self.journal = journal
            self.clock = clock
            self.after = after
            self.survivor = survivor
            self.reopened = reopened
            self.isDoubtful = isDoubtful
        }
    }

    private static let world = Result { try World() }

    private typealias Base = (data: MemoryStorage, clock: () -> ManualClock)

    private func prepare(_ scenario: Scenario, _ world: World) throws -> Base {
        let data = world.storage(scenario.subject).snapshot()
        let clock = ManualClock()
        let start = clock.now()
        let store = try openStore(on: data, clock: clock)
        try scenario.prepare(world, store, clock)
        let passed = clock.now() - start
        return (
            data,
            {
                let clock = ManualClock()
                clock.advance(passed)
                return clock
            }
        )
    }

    private func sweep(
        _ scenario: Scenario, _ mode: FaultPlan.Mode, _ check: (Trial) throws -> Void
    ) throws {
        let world = try Self.world.get()
        let base = try prepare(scenario, world)
        let before = try openStore(on: base.data.snapshot()).picture()
        let done = base.data.snapshot()
        try scenario.act(world, openStore(on: done, clock: base.clock()), Journal())
        let after = try openStore(on: done).picture()
        #expect(before != after)

        var operation = 0
        while true {
            operation += 1
            let data = base.data.snapshot()
            let clock = base.clock()
            let plan = FaultPlan(failing: operation, mode)
            let journal = Journal()
            var survivor: Store?
            let answer = Result {
                let store = try openStore(on: FaultyStorage(data.sibling(), plan), clock: clock)
                survivor = store
                try scenario.act(world, store, journal)
            }
            if mode != .afterCommit, !plan.fired { break }
            let count = plan.count
            let reopened = try openStore(on: data.sibling(), clock: clock)
            let found = try reopened.picture()
            var isDoubtful = false
            switch answer {
            case .success: #expect(!scenario.isDeterministic || found == after, "\(operation)")
            case .failure(let error as Failure):
                isDoubtful = error == FaultPlan.doubt
                guard scenario.isOneCommit else { break }
                if isDoubtful {
                    #expect(found == before || !scenario.isDeterministic || found == after)
                } else {
                    #expect(found == before, "operation \(operation): \(error)")
                }
            case .failure(let error): throw error
            }
            #expect(try reopened.verify().isEmpty)
            try check(
                Trial(
                    world: world, journal: journal, clock: clock, after: after,
                    survivor: plan.fired && !plan.hasCrashed ? survivor : nil,
                    reopened: reopened, isDoubtful: isDoubtful))
            #expect(try reopened.verify().isEmpty)
            if mode == .afterCommit, operation > count { break }
        }
        #expect(operation > 8)
    }
}

// MARK: Shorthands

private func bodies(_ items: [ItemRow]) -> [[UInt8]] {
    items.map { row in withExtendedLifetime(row) { Array(row.item.body) } }
}

/// Those that go to the peer, in their order.
private func bodiesOfFrames(_ items: [ItemRow]) -> [[UInt8]] {
    bodies(
        items.sorted { $0.seq < $1.seq }.filter {
            [.frames, .control].contains($0.item.lane.kind)
        })
}

private func array(_ chain: Chain) -> [UInt8] { withExtendedLifetime(chain) { Array($0.key) } }

extension Store {
    fileprivate func sessions(_ account: Identifier, peer: String) throws -> [Session] {
        try withText(peer) { try sessions(account, peer: $0).map { $0.session } }
    }

    /// Every row, opened.
    fileprivate func picture() throws -> [[UInt8]: [UInt8]] {
        var all: [[UInt8]: [UInt8]] = [:]
        try transact(.read) { (transaction) throws(Failure) in
            try transaction.scanEverything { (bytes, value) throws(Failure) in
                guard let row = RowKey(copying: bytes) else { throw .version }
                let key = [UInt8](bytes)
                switch row.kind {
                case .header, .slot: all[key] = [UInt8](value)
                default: all[key] = try transaction.contents(value, of: row)
                }
                return true
            }
        }
        return all
    }

    /// What is to go to the peer. It has left.
    fileprivate func takeFrames() throws -> [[UInt8]] {
        let items = try takeItems(limit: 10, lease: 0)
        try acknowledge(items.map { $0.seq })
        return bodiesOfFrames(items)
    }

    /// A new package of an account with one one-time key.
    fileprivate func bundle(_ account: Identifier) throws -> (id: Identifier, bytes: [UInt8]) {
        let rows = try createPackage(account, lifetime: 90 * 24 * Backoff.hour, oneTimeKeys: 1)
        return (rows[0].id, array(rows[0].bytes) + array(rows[1].bytes))
    }

    fileprivate func start(
        _ account: Identifier, _ bundle: [UInt8], with peer: String = "bob"
    ) throws -> Identifier {
        try withText(peer) { name in
            try bundle.withUnsafeBytes { try startSession(account, peer: name, $0) }
        }
    }

    fileprivate func say(_ session: Identifier, _ message: String) throws -> [UInt8] {
        var frame = [UInt8](repeating: 0, count: message.utf8.count + Frame.overheadLimit)
        let size = try withText(message) { message in
            try frame.withUnsafeMutableBytes { try encrypt(session, message, into: $0) }
        }
        return Array(frame[..<size])
    }

    fileprivate func post(
        _ session: Identifier, _ message: String, _ journal: SessionCrashTests.Journal
    ) throws {
        _ = try withText(message) { try send(session, $0) }
        journal.sent.append(message)
    }

    fileprivate func hear(
        _ account: Identifier, _ frames: [[UInt8]], keeps: Bool = false
    ) throws -> [Received] {
        let sizes = frames.map { $0.count }
        return try frames.flatMap { $0 }.withUnsafeBytes { all in
            var start = 0
            var parts: [(bytes: Bytes, keeps: Bool)] = []
            for size in sizes {
                parts.append((Bytes(rebasing: all[start..<start + size]), keeps))
                start += size
            }
            return try receive(account, parts)
        }
    }

    fileprivate func take(
        _ account: Identifier, _ frames: [[UInt8]], keeps: Bool,
        _ journal: SessionCrashTests.Journal
    ) throws {
        for one in try hear(account, frames, keeps: keeps) {
            #expect(one.failure == nil)
            let said = withExtendedLifetime(one) { text(one.message) }
            journal.accepted.append(said)
            if keeps { journal.kept.append(said) }
        }
    }
}
