import Pawl
import Testing

extension Meeting {
    /// Carries frames between the two until both are silent; returns all items, of Ada and of Bob.
    @discardableResult
    func pump(losing isLost: (Item) -> Bool = { _ in false }) async throws -> [Item] {
        var all: [Item] = []
        while true {
            var items: [Item] = []
            for store in [adas, bobs] {
                try await store.runDue()
                let taken = try await store.take()
                try await store.ack(taken.map(\.id))
                items += taken
            }
            if items.isEmpty { return all }
            all += items
            for item in items {
                guard let frame = item.frame, !isLost(item) else { continue }
                _ = try await (item.account == ada.id ? bob : ada).receive(frame)
            }
        }
    }
}

@Suite(.timeLimit(.minutes(2))) struct RekeyTests {
    // MARK: on demand

    @Test func aRekeyReplacesTheKeysOfBothSides() async throws {
        let meeting = try await Meeting()
        let session = meeting.session
        let joined = try await meeting.confirm()
        #expect(try await session.status().target == nil)
        #expect(try await session.rekey() == 1)
        #expect(try await session.rekey() == 1)
        #expect(try await session.status().target == 1)
        #expect(try await session.status().epoch == 0)
        let events = try await meeting.pump().compactMap(\.event)
        #expect(events == [.epoch(1)])
        #expect(try await session.status().epoch == 1)
        #expect(try await joined.status().epoch == 1)
        #expect(try await session.status().target == nil)
        let received = try await meeting.bob.receive(try await session.encrypt(Secret("new")))
        #expect(received.epoch == 1 && received.plaintext?.text == "new")
        #expect(try await session.rekey(fresh: true) == 2)
        #expect(try await session.rekey(fresh: true) == 3)
        try await meeting.pump()
        #expect(try await joined.status().epoch == 3)
    }

    @Test func aSilentPeerIsToldOf() async throws {
        let meeting = try await Meeting()
        try await meeting.confirm()
        try await meeting.session.rekey()
        var events: [Item.Event] = []
        for _ in 0..<10 {
            meeting.clock.advance(.seconds(700))
            events += try await meeting.pump { _ in true }.compactMap(\.event)
        }
        #expect(events == [.stalled(8)])
    }

    @Test func whatABatchAskedForIsUndoneWithIt() async throws {
        struct Undo: Error {}
        let meeting = try await Meeting()
        try await meeting.confirm()
        let id = meeting.session.id
        await #expect(throws: Undo.self) {
            try await meeting.adas.batch { batch in
                #expect(try batch.rekey(id) == 1)
                try batch.setLimits(RekeyLimits(messages: 7), of: id)
                throw Undo()
            }
        }
        #expect(try await meeting.session.status().target == nil)
        #expect(try await meeting.session.status().limits == RekeyLimits())
        try await meeting.adas.batch { batch throws(PawlError) in
            try batch.rekey(id, fresh: true)
            try batch.setLimits(RekeyLimits(messages: 7), of: id)
        }
        #expect(try await meeting.session.status().target == 1)
        #expect(try await meeting.session.status().limits.messages == 7)
    }

    // MARK: limits

    @Test func limitsAreKept() async throws {
        let meeting = try await Meeting()
        #expect(try await meeting.session.status().limits == RekeyLimits())
        let limits = RekeyLimits(
            messages: .max, bytes: .max, interval: .milliseconds(90_500), isPerfect: true,
            queue: 4_096)
        try await meeting.session.setLimits(limits)
        #expect(try await meeting.session.status().limits == limits)
        let many = await refusal { try await meeting.session.setLimits(RekeyLimits(queue: 4_097)) }
        #expect(many?.reason == .misuseSize)
        let past = await refusal {
            try await meeting.session.setLimits(RekeyLimits(interval: .seconds(-1)))
        }
        #expect(past?.reason == .misuseTime)
        #expect(try await meeting.session.status().limits == limits)
    }

    @Test func anIntervalIsADeadline() async throws {
        let meeting = try await Meeting()
        let joined = try await meeting.confirm()
        try await meeting.session.rekey()
        try await meeting.pump()
        try await meeting.session.setLimits(RekeyLimits(interval: .seconds(90)))
        meeting.clock.advance(.seconds(90) - .nanoseconds(1))
        try await meeting.pump()
        #expect(try await joined.status().epoch == 1)
        meeting.clock.advance(.nanoseconds(1))
        try await meeting.pump()
        #expect(try await joined.status().epoch == 2)
    }

    // MARK: an epoch for each message

    @Test func eachMessageHasItsEpochAndItsTicket() async throws {
        let meeting = try await Meeting()
        try await meeting.confirm()
        let session = meeting.session
        try await session.setLimits(RekeyLimits(isPerfect: true))
        #expect(await refusal { try await session.encrypt(Secret("x")) }?.reason == .stateMode)
        var tickets: [Item.ID] = []
        for number in 0..<4 { tickets.append(try await session.send(Secret("\(number)"))) }
        #expect(try await session.status().queued >= 3)
        let carried = try await meeting.pump().filter { $0.account == meeting.ada.id }
        let waited = carried.compactMap(\.ticket)
        #expect(waited.count >= 3 && tickets.suffix(waited.count) == waited[...])
        #expect(try await session.status().queued == 0)
        #expect(try await session.status().epoch >= 3)
        // Only a message that waited has one: an event's number is no ticket.
        #expect(carried.allSatisfy { $0.ticket == nil || $0.frame != nil })
        #expect(carried.contains { $0.event != nil || $0.ticket == nil })
    }

    @Test func aFullQueueDropsNothingAndAClosedSessionTellsOfEach() async throws {
        let meeting = try await Meeting()
        let joined = try await meeting.confirm()
        let session = meeting.session
        try await session.setLimits(RekeyLimits(isPerfect: true, queue: 2))
        var tickets: [Item.ID] = []
        let full = await refusal {
            while tickets.count < 10 { tickets.append(try await session.send(Secret("x"))) }
        }
        #expect(full?.reason == .limitQueue)
        #expect(try await session.status().queued == 2)
        try await session.close()
        let items = try await meeting.pump { $0.account == meeting.bob.id }
        let events = items.compactMap(\.event)
        #expect(events.filter { $0 != .sessionClosed } == tickets.suffix(2).map { .unsent($0) })
        #expect(events.contains(.sessionClosed))
        #expect(try await joined.status().isReceiveOnly)
        #expect(await refusal { try await joined.rekey() }?.reason == .stateReceiveOnly)
        #expect(await refusal { try await session.rekey() }?.code == .notFound)
    }

    // MARK: waiting

    @Test func whatHasHappenedIsNotWaitedFor() async throws {
        let meeting = try await Meeting()
        let joined = try await meeting.confirm()
        let epoch = try await meeting.session.rekey()
        #expect(try await meeting.session.wait(for: 0) == 0)
        let early = await refusal {
            try await meeting.session.wait(for: epoch, timeout: .zero)
        }
        #expect(early?.reason == .busyWaiting)
        let negative = await refusal {
            try await meeting.session.wait(for: 0, timeout: .seconds(-1))
        }
        #expect(negative?.reason == .misuseTime)
        try await meeting.pump()
        #expect(try await meeting.session.wait(for: epoch, timeout: .zero) == 1)
        #expect(try await joined.wait(for: epoch) == 1)
        #expect(try await joined.wait(for: 0, timeout: .seconds(Int64.max)) == 1)
    }

    @Test func aWaitEndsInTime() async throws {
        let meeting = try await Meeting()
        try await meeting.confirm()
        let epoch = try await meeting.session.rekey()
        for timeout in [Duration.milliseconds(30), .milliseconds(250)] {
            let start = ContinuousClock.now
            let error = await refusal {
                try await meeting.session.wait(for: epoch, timeout: timeout)
            }
            #expect(error?.reason == .busyWaiting)
            #expect(ContinuousClock.now - start >= timeout)
        }
    }

    /// More than there are threads for tasks, and than Dispatch lends at once.
    @Test func manyWaitAndHoldUpNobody() async throws {
        let meeting = try await Meeting()
        let joined = try await meeting.confirm()
        let epoch = try await meeting.session.rekey()
        let session = meeting.session
        let answers = try await withThrowingTaskGroup(of: UInt32.self) { group in
            for number in 0..<300 {
                group.addTask {
                    try await (number % 2 == 0 ? session : joined).wait(for: epoch)
                }
            }
            try await Task.sleep(for: .milliseconds(150))
            try await meeting.pump()
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(answers == [UInt32](repeating: epoch, count: 300))
    }

    @Test func closingTheStoreEndsWaits() async throws {
        let meeting = try await Meeting()
        try await meeting.confirm()
        let epoch = try await meeting.session.rekey()
        let session = meeting.session
        let waits = (0..<8).map { _ in Task { await refusal { try await session.wait(for: epoch) } }
        }
        try await Task.sleep(for: .milliseconds(150))
        await meeting.adas.close()
        for wait in waits { #expect(await wait.value?.reason == PawlError.Reason(rawValue: 14)) }
        #expect(await refusal { try await session.wait(for: 0) }?.code == .closed)
    }

    @Test(arguments: [true, false])
    func closingTheSessionEndsWaits(here: Bool) async throws {
        let meeting = try await Meeting()
        let joined = try await meeting.confirm()
        let epoch = try await meeting.session.rekey()
        let session = meeting.session
        let wait = Task { await refusal { try await session.wait(for: epoch) } }
        try await Task.sleep(for: .milliseconds(150))
        try await (here ? session : joined).close()
        try await meeting.pump { $0.account == meeting.ada.id }
        #expect(await wait.value?.reason == .closedSession)
        #expect(await refusal { try await session.wait(for: epoch) }?.reason == .closedSession)
    }

    @Test func cancellingATaskEndsItsWait() async throws {
        let meeting = try await Meeting()
        try await meeting.confirm()
        let epoch = try await meeting.session.rekey()
        let session = meeting.session
        let wait = Task { await refusal { try await session.wait(for: epoch) } }
        try await Task.sleep(for: .milliseconds(150))
        wait.cancel()
        #expect(await wait.value?.reason == .busyWaiting)
        await meeting.adas.close()
    }

    // MARK: trace

    @Test func stepsAreToldOnceTheyCount() async throws {
        struct Undo: Error {}
        let meeting = try await Meeting()
        let joined = try await meeting.confirm()
        let session = meeting.session
        let steps = Locked<[RekeyStep]>([])
        for store in [meeting.adas, meeting.bobs] {
            try await store.trace { step in steps.withLock { $0.append(step) } }
        }
        await #expect(throws: Undo.self) {
            try await meeting.adas.batch { batch in
                try batch.rekey(session.id)
                throw Undo()
            }
        }
        #expect(steps.withLock { $0 }.isEmpty)
        try await session.rekey()
        try await meeting.pump()
        let told = steps.withLock { $0 }
        #expect(told.map(\.event) == [.offered, .answered, .committed, .committed])
        #expect(told.map(\.session) == [session.id, joined.id, session.id, joined.id])
        #expect(told.map(\.constructor) == [.created, .none, .used, .none])
        #expect(told.map(\.before) == [0, 0, 0, 0] && told.map(\.after) == [0, 0, 1, 1])
        #expect(told.allSatisfy { $0.target == 1 && $0.offer == told[0].offer })
        #expect(told[0].offer.count == 16 && told[0].offer.contains { $0 != 0 })

        // Another tracer takes the place of the first, and none the place of that.
        let others = Counter()
        try await meeting.adas.trace { _ in others.increment() }
        try await meeting.bobs.trace(nil)
        try await session.rekey()
        try await meeting.adas.trace(nil)
        try await meeting.pump()
        #expect(others.value == 1)
        #expect(steps.withLock { $0.count } == 4)
    }

    /// The library's own thread may be about to tell it of a step.
    @Test func aTracerLivesAsLongAsItsStore() async throws {
        let store = try await Store.inMemory(key: key)
        let seen = try await seenByATracer(of: store)
        try await store.trace { _ in }
        try await store.trace(nil)
        #expect(seen.value != nil)
        await store.close()
        #expect(seen.value == nil)
    }

    /// What a tracer has that nobody else has.
    private func seenByATracer(of store: Store) async throws -> Weak<Counter> {
        let counter = Counter()
        try await store.trace { _ in counter.increment() }
        return Weak(counter)
    }
}

/// What it refers to may go.
private struct Weak<Object: AnyObject> {
    weak var value: Object?

    init(_ value: Object) { self.value = value }
}
