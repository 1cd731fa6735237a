import Foundation
import PawlCore
import PawlCrypto
import PawlEngine
import PawlStore
import Testing

/// No wake-up is lost, whatever comes between the steps of those who wait and those who commit: all orders of a model
/// that decides by the shipped `plan`, and real stores whose storage lets others in between.
@Suite struct WakeTests {
    // MARK: The plan

    /// The table of what it must say, not how it finds it.
    @Test func aPlanForEveryTimeAndKind() {
        let never = CredentialRules.never
        for now in [Int64.min, Int64.min + 1, -1, 0, 1, 1_000_000_000_000, never - 1] {
            #expect(plan(nil, now: now) == .rest)
            #expect(plan(never, now: now) == .rest)
            for job in JobKind.allCases.map({ Job($0, .none) }) {
                for (past, distance) in [(1, 0), (2, 0), (0, 1), (0, 2)] as [(Int64, Int64)] {
                    let before = now.subtractingSaturated(past)
                    let due = past > 0 ? before : now.addingSaturated(distance)
                    guard due != never, past == 0 || before < now else { continue }
                    let wanted = past > 0 ? Plan.runNow : .sleep(until: due)
                    #expect(plan(due, now: now) == wanted, "\(now) \(due)")
                    // None of them is distrusted: each kind may be planned a moment ahead.
                    #expect(!JobRecord().isFar(due, of: job, now: now) || job.kind == .epochEnd)
                }
                #expect(plan(now, now: now) == .runNow)
                #expect(JobRecord().isFar(never, of: job, now: now))
                let far = Backoff.after(now, job.kind.longest).addingSaturated(1)
                let isBounded = job.kind.longest < never && far < never
                #expect(!isBounded || JobRecord().isFar(far, of: job, now: now), "\(job.kind)")
            }
        }
    }

    // MARK: All orders

    private enum Look { case drain, read, set }
    private enum Change { case commit, ring }

    private struct World: Hashable {
        var now: Int64 = 0
        /// When the jobs that are there are due.
        var jobs: [Int64] = []
        var isRung = false
        var timer: Int64?
        /// What the waiter does next; nil: it sleeps.
        var step: Int? = 0
        var seen: Int64?
        /// What each of those who commit does next, and whether it is to ring.
        var steps = [0, 0]
        var rings = [false, false]

        var isReadable: Bool { isRung || timer.map { now >= $0 } ?? false }
    }

    /// Follows all orders of a waiter that runs what is due and looks, two who commit a job each, and a clock. Answers
    /// how many states there are, and one in which somebody sleeps although a job is due.
    private func explore(
        looks: [Look], changes: [Change], dues: [Int64]
    ) -> (states: Int, lost: World?) {
        let end: Int64 = 3
        var seen: Set<World> = [World()]
        var open = [World()]
        func reach(_ world: World) { if seen.insert(world).inserted { open.append(world) } }
        while let world = open.popLast() {
            if let step = world.step {
                var next = world
                if step == 0 {
                    next.jobs.removeAll { plan($0, now: world.now) == .runNow }
                } else {
                    switch looks[step - 1] {
                    case .drain:
                        next.isRung = false
                        if next.timer.map({ world.now >= $0 }) ?? false { next.timer = nil }
                    case .read: next.seen = world.jobs.min()
                    case .set:
                        switch plan(world.seen, now: world.now) {
                        case .runNow: next.isRung = true
                        case .rest: next.timer = nil
                        case .sleep(let until): next.timer = until
                        }
                    }
                }
                next.step = step < looks.count ? step + 1 : nil
                reach(next)
            } else if world.isReadable {
                var next = world
                next.step = 0
                reach(next)
            }
            for who in 0..<2 where world.steps[who] < changes.count {
                var next = world
                switch changes[world.steps[who]] {
                case .commit:
                    next.rings[who] = dues[who] < world.jobs.min() ?? Int64.max
                    next.jobs.append(dues[who])
                case .ring:
                    // Before the commit nobody knows whether it is needed.
                    if next.rings[who] || world.steps[who] == 0 { next.isRung = true }
                }
                next.steps[who] += 1
                reach(next)
            }
            if world.now < end {
                var next = world
                next.now += 1
                reach(next)
            }
            let isQuiet = world.step == nil && !world.isReadable
            let isDone = world.steps.allSatisfy { $0 == changes.count }
            let isDue = world.jobs.contains { plan($0, now: world.now) == .runNow }
            if isQuiet, isDone, isDue {
                return (seen.count, world)
            }
        }
        return (seen.count, nil)
    }

    @Test func noOrderLosesAWakeUp() {
        var states = 0
        for first in [-1, 0, 1, 2, 3] as [Int64] {
            for second in [-1, 0, 1, 2, 3] as [Int64] {
                let dues = [first, second]
                let found = explore(
                    looks: [.drain, .read, .set], changes: [.commit, .ring], dues: dues)
                #expect(found.lost == nil, "\(dues)")
                states += found.states
                // What is built the other way round is found out.
                let reordered = [
                    explore(looks: [.read, .drain, .set], changes: [.commit, .ring], dues: dues),
                    explore(looks: [.read, .set, .drain], changes: [.commit, .ring], dues: dues),
                    explore(looks: [.drain, .read, .set], changes: [.ring, .commit], dues: dues),
                ]
                for (number, found) in reordered.enumerated() {
                    #expect(found.lost != nil, "\(number): \(dues)")
                }
            }
        }
        print("  \(states) states of a waiter, two who commit, and a clock")
        #expect(states > 10_000)
    }

    // MARK: Real stores

    /// Memory with a bell beside it that lets others in before and after each call.
    private final class Woven: StoragePort, @unchecked Sendable {
        private let inner: any StoragePort
        private let bell: [CChar]
        private var calls = 0
        /// At which call from now, and what is done there.
        private var wait: Int?
        private var act: () -> Void = {}

        init(_ inner: any StoragePort, bell: [CChar]) {
            self.inner = inner
            self.bell = bell
        }

        func letIn(after wait: Int, _ act: @escaping () -> Void) {
            self.wait = wait
            self.act = act
        }
        /// Whether it came to that.
        func stop() -> Bool {
            defer { wait = nil }
            return wait == nil
        }
        private func pass() {
            guard let left = wait else { return }
            wait = left > 0 ? left - 1 : nil
            if left == 0 { act() }
        }

        var bellPath: [CChar]? { bell }
        func begin(_ mode: TransactionMode) throws(Failure) {
            pass()
            try inner.begin(mode)
            pass()
        }
        func get(_ key: Bytes, _ body: (Bytes) throws(Failure) -> Void) throws(Failure) -> Bool {
            try inner.get(key, body)
        }
        func put(_ key: Bytes, _ value: Bytes) throws(Failure) { try inner.put(key, value) }
        func delete(_ key: Bytes) throws(Failure) { try inner.delete(key) }
        func scan(
            from: Bytes, to: Bytes, limit: Int, _ body: (Bytes, Bytes) throws(Failure) -> Bool
        ) throws(Failure) { try inner.scan(from: from, to: to, limit: limit, body) }
        func commit() throws(Failure) {
            pass()
            try inner.commit()
            pass()
        }
        func rollback() {
            inner.rollback()
            pass()
        }
        func sibling() throws(Failure) -> any StoragePort { try inner.sibling() }
        func close() { inner.close() }
    }

    private func isReadable(_ descriptor: Int32) -> Bool {
        var one = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&one, 1, 0) == 1
    }

    /// The commit of one comes at every place of the other's look, and the look at every place of the commit.
    @Test func storesDoNotSleepThroughEachOther() throws {
        let folder = URL(filePath: NSTemporaryDirectory()).appending(path: UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        var woven = 0
        for isLookWoven in [true, false] {
            for place in 0..<12 {
                let bell = folder.appending(path: "\(isLookWoven)-\(place)-bell").path
                    .utf8CString.map { $0 }
                let data = MemoryStorage()
                let waiting = Woven(data, bell: bell)
                let committing = Woven(try data.sibling(), bell: bell)
                let waiter = try openStore(on: waiting, clock: SystemClock())
                let other = try openStore(on: committing, clock: SystemClock())
                let descriptor = try waiter.descriptor()
                #expect(!isReadable(descriptor))
                let job = Job(.sessionEnd, subject(1))
                if isLookWoven {
                    waiting.letIn(after: place) { try? other.plan(job, at: 5) }
                    _ = try waiter.nextDeadline()
                    guard waiting.stop() else { continue }
                } else {
                    committing.letIn(after: place) { _ = try? waiter.nextDeadline() }
                    try other.plan(job, at: 5)
                    guard committing.stop() else { continue }
                }
                woven += 1
                #expect(isReadable(descriptor), "\(isLookWoven) \(place)")
                #expect(try waiter.runDue(limit: 10) == 1)
                #expect(!isReadable(descriptor))
                waiter.close {}
                other.close {}
            }
        }
        #expect(woven >= 9)
    }

    // MARK: The end

    /// A host that closes its store when it is asked for the time or told of items, and is gone then.
    private final class Host: Clock {
        weak var store: Store?
        var closesWhenTold = false
        var closesWhenAsked = false
        private var isGone = false
        private(set) var lateCalls = 0

        func now() -> Int64 {
            called(closesWhenAsked)
            return 1
        }
        func itemsReady() { called(closesWhenTold) }

        private func called(_ closes: Bool) {
            if isGone { lateCalls += 1 }
            guard closes else { return }
            (closesWhenAsked, closesWhenTold) = (false, false)
            store?.close { self.isGone = true }
        }
    }

    /// Signals when the last that has it lets it go.
    private final class Farewell {
        let isOver = DispatchSemaphore(value: 0)
        deinit { isOver.signal() }
    }

    /// A runner whose store was closed in a callback of its own calls nobody any more.
    @Test(arguments: [false, true])
    func aRunnerEndsWithItsStore(isAsked: Bool) throws {
        let host = Host()
        let store = try openStore(on: MemoryStorage(), clock: host)
        try OutboxTests.enqueue(store, (session: 1, text: "to be taken"))
        host.store = store
        (host.closesWhenAsked, host.closesWhenTold) = (isAsked, !isAsked)
        var farewell: Farewell? = Farewell()
        let isOver = try #require(farewell).isOver
        try store.startRunner { [farewell] in
            withExtendedLifetime(farewell) { host.itemsReady() }
        }
        farewell = nil
        isOver.wait()
        #expect(host.lateCalls == 0)
    }
}
