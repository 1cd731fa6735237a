import Dispatch
import Pawl
import Testing

@Suite(.timeLimit(.minutes(2))) struct OutboxTests {
    // MARK: jobs

    @Test func jobsAreListedAndRevived() async throws {
        let storage = TestStorage()
        let clock = TestClock()
        var options = clock.options
        options.creation = .always
        let store = try await Store.open(storage: storage, key: key, options: options)
        let ada = try await account(named: "ada", in: store)
        let bob = try await account(named: "bob", in: store)
        let session = try await ada.startSession(with: "bob", package: published(by: bob))
        let jobs = try await store.jobs().filter { $0.kind == .setUpDeadline }
        #expect(jobs.map(\.subject.bytes) == [session.id.bytes])
        #expect(jobs.map(\.due) == [clock.now + .seconds(86400)])
        #expect(jobs.allSatisfy { !$0.isDead && $0.failures == 0 && $0.lastFailure == nil })
        let job = try #require(jobs.first)
        #expect(try await store.jobs(after: job).isEmpty)
        #expect(try await store.jobs(areDead: true).isEmpty)
        await #expect(throws: PawlError.self) { try await store.revive(job) }

        storage.damage(0x38)
        for _ in 0..<10 {
            let next = try await store.jobs().first { $0.subject == job.subject }
            clock.advance(try #require(next?.due) - clock.now)
            try await store.runDue()
        }
        var letters: [Job] = []
        for try await letter in store.allJobs(areDead: true, pageSize: 1) { letters.append(letter) }
        #expect(letters.map(\.kind) == [.setUpDeadline] && letters.map(\.isDead) == [true])
        #expect(letters.map(\.failures) == [10] && letters.map(\.lastFailure) == [.corrupt])
        let told = try await store.take().map(\.content)
        #expect(told.contains(.event(.deadLetter(.setUpDeadline))))
        try await store.revive(try #require(letters.first))
        #expect(try await store.jobs(areDead: true).isEmpty)
        #expect(try await store.jobs(limit: 1).map(\.failures) == [0])
        await store.close()
    }

    @Test func aRunnerRunsWhatIsDue() async throws {
        let folder = try Folder()
        let store = try await Store.open(path: folder.path("store"), key: key, options: create)
        let told = Locked(0)
        let ada = try await account(named: "ada", in: store)
        let bob = try await account(named: "bob", in: store)
        for name in ["before", "while"] {
            try await store.put(name, Secret("x"), in: alice)
            try await store.delete(name, in: alice, recovery: .milliseconds(100))
            if name == "before" {
                #expect(try await store.jobs().contains { $0.kind == .credentialPurge })
                try await store.startRunner { told.withLock { $0 += 1 } }
                await #expect(throws: PawlError.self) { try await store.startRunner() }
            }
            for _ in 0..<1_000 {
                let jobs = try await store.jobs()
                if !jobs.contains(where: { $0.kind == .credentialPurge }) { break }
                try await Task.sleep(for: .milliseconds(10))
            }
            #expect(try await !store.jobs().contains { $0.kind == .credentialPurge })
        }
        #expect(told.withLock { $0 } == 0)
        let session = try await ada.startSession(with: "bob", package: published(by: bob))
        _ = try await session.send(Secret("x"))
        #expect(await eventually { told.withLock { $0 } > 0 })
        try await store.stopRunner()
        try await store.stopRunner()
        try await store.startRunner()
        await store.close()
    }

    // MARK: items

    @Test func whatIsSentWaitsToBeDelivered() async throws {
        let meeting = try await Meeting()
        _ = try await meeting.confirm()
        #expect(try await meeting.adas.take().isEmpty)
        var tickets: [Item.ID] = []
        for number in 0..<3 { tickets.append(try await meeting.session.send(Secret("\(number)"))) }
        #expect(tickets == tickets.sorted() && Set(tickets).count == 3)
        #expect(try await meeting.adas.nextDeadline().map { $0 <= meeting.clock.now } == true)

        for (number, ticket) in tickets.enumerated() {
            let item = try #require(try await meeting.adas.take(limit: 1).first)
            #expect(item.id == ticket)
            #expect(item.account == meeting.ada.id)
            #expect(item.session == meeting.session.id)
            #expect(item.peer == meeting.bob.identity)
            #expect(item.attempts == 0)
            #expect(item.created == meeting.clock.now)
            #expect(item.leaseEnd == meeting.clock.now + .seconds(30))
            let frame = try #require(item.frame)
            #expect(try await meeting.bob.receive(frame).plaintext == Secret("\(number)"))
            try await meeting.adas.ack([item.id])
        }
        #expect(try await meeting.adas.take().isEmpty)
        meeting.clock.advance(.seconds(86400))
        #expect(try await meeting.adas.take().isEmpty)
    }

    @Test func anItemIsLentUntilItsLeaseEnds() async throws {
        let meeting = try await Meeting()
        _ = try await meeting.confirm()
        for number in 0..<3 { try await meeting.session.send(Secret("\(number)")) }
        let lent = try await meeting.adas.take(limit: 2, lease: .seconds(10))
        #expect(lent.count == 2)
        // Nobody gets a later one of the lane either.
        #expect(try await meeting.adas.take().isEmpty)
        #expect(try await meeting.adas.nextDeadline() == lent[0].leaseEnd)
        meeting.clock.advance(.seconds(10) - .nanoseconds(1))
        #expect(try await meeting.adas.take().isEmpty)
        meeting.clock.advance(.nanoseconds(1))
        let again = try await meeting.adas.take()
        #expect(again.map(\.attempts) == [1, 1, 0])
        #expect(again.prefix(2).map(\.content) == lent.map(\.content))
        // A late answer counts, and so does one without a lease.
        try await meeting.adas.ack(lent.map(\.id))
        try await meeting.adas.ack(lent.map(\.id))
        meeting.clock.advance(.seconds(30))
        #expect(try await meeting.adas.take().map(\.id) == [again[2].id])
    }

    @Test func aFailedItemIsTriedAgainLater() async throws {
        let meeting = try await Meeting()
        _ = try await meeting.confirm()
        let id = try await meeting.session.send(Secret("x"))
        _ = try await meeting.adas.take()
        try await meeting.adas.fail(id, retryAfter: .seconds(5))
        #expect(try await meeting.adas.take().isEmpty)
        meeting.clock.advance(.seconds(5))
        #expect(try await meeting.adas.take().map(\.attempts) == [1])
        try await meeting.adas.fail(id, retryAfter: .zero)
        meeting.clock.advance(.nanoseconds(1))
        #expect(try await meeting.adas.take().map(\.attempts) == [2])

        try await meeting.adas.fail(id)
        let planned = try #require(try await meeting.adas.nextDeadline())
        #expect(planned > meeting.clock.now)
        #expect(planned <= meeting.clock.now + .seconds(3600))
        meeting.clock.advance(.seconds(3600))
        #expect(try await meeting.adas.take().map(\.id) == [id])
        try await meeting.adas.ack([id])
        try await meeting.adas.fail(id)
        meeting.clock.advance(.seconds(86400))
        #expect(try await meeting.adas.take().isEmpty)
    }

    @Test func aStuckLaneHoldsUpNoOther() async throws {
        let meeting = try await Meeting()
        let carol = try await account(named: "Carol", in: meeting.bobs)
        let other = try await meeting.ada.startSession(
            with: "Carol", package: try await published(by: carol))
        let stuck = try await meeting.session.send(Secret("1"))
        _ = try await meeting.adas.take()
        try await meeting.adas.fail(stuck, retryAfter: .seconds(60))
        try await meeting.session.send(Secret("2"))
        let free = try await other.send(Secret("3"))
        #expect(try await meeting.adas.take().map(\.id) == [free])
    }

    @Test func badSettlementsChangeNothing() async throws {
        let meeting = try await Meeting()
        _ = try await meeting.confirm()
        let id = try await meeting.session.send(Secret("x"))
        let adas = meeting.adas
        #expect(await refusal { try await adas.ack([id, id + 1000]) }?.code == .notFound)
        #expect(await refusal { try await adas.fail(id + 1000) }?.code == .notFound)
        #expect(await refusal { try await adas.answer(id + 1000, with: []) }?.code == .notFound)
        #expect(await refusal { try await adas.answer(id, with: []) }?.reason == .misuseFlags)
        #expect(
            await refusal { try await adas.fail(id, retryAfter: .seconds(-1)) }?.reason
                == .misuseTime)
        #expect(await refusal { try await adas.take(lease: .seconds(-1)) }?.reason == .misuseTime)
        #expect(await refusal { try await adas.take(lease: .seconds(86401)) }?.code == .misuse)
        let many = [Item.ID](repeating: id, count: 10_001)
        #expect(await refusal { try await adas.ack(many) }?.reason == .misuseSize)
        for limit in [0, -1, 10_001] {
            #expect(await refusal { try await adas.take(limit: limit) }?.reason == .misuseSize)
            #expect(await refusal { try await adas.runDue(limit: limit) }?.reason == .misuseSize)
        }
        try await adas.ack([])
        #expect(try await adas.take().map(\.id) == [id])
    }

    @Test func aSetUpThatNobodyAnswersAsksForAPackage() async throws {
        let meeting = try await Meeting()
        try await meeting.session.send(Secret("anybody?"))
        _ = try await meeting.adas.take(lease: .seconds(86400))
        meeting.clock.advance(.seconds(86400))
        #expect(try await meeting.adas.runDue().ran >= 1)
        let items = try await meeting.adas.take().filter { $0.frame == nil }
        #expect(items.compactMap(\.event) == [.setUpExpired])
        let request = try #require(items.first { $0.content == .request(.package) })
        #expect(request.peer == meeting.bob.identity)
        #expect(request.account == meeting.ada.id)

        #expect(
            await refusal { try await meeting.adas.answer(request.id, with: [1]) }?.reason
                == .misusePackage)
        let package = try await published(by: meeting.bob)
        try await meeting.adas.answer(request.id, with: package)
        try await meeting.adas.answer(request.id, with: package)
        let id = try #require(try await meeting.ada.peer(named: "Bob").session)
        #expect(id != meeting.session.id)
        // The new session's set-up leaves at once, in a frame without a message.
        let frame = try #require(try await meeting.adas.take().compactMap(\.frame).first)
        let received = try await meeting.bob.receive(frame)
        #expect(received.plaintext == nil && received.isNewSession)
        let message = try await meeting.adas.session(id).encrypt(Secret("again"))
        #expect(try await meeting.bob.receive(message).plaintext == Secret("again"))
    }

    @Test func aBatchAnswersRequests() async throws {
        let meeting = try await Meeting()
        meeting.clock.advance(.seconds(86400))
        try await meeting.adas.runDue()
        let items = try await meeting.adas.take()
        let request = try #require(items.first { $0.content == .request(.package) })
        let package = try await published(by: meeting.bob)
        try await meeting.adas.batch { batch throws(PawlError) in
            try batch.answer(request.id, with: package)
            try batch.ack(items.map(\.id))
        }
        let id = try await meeting.ada.peer(named: "Bob").session
        #expect(id != meeting.session.id)
        meeting.clock.advance(.seconds(60))
        #expect(try await meeting.adas.take().map(\.session) == [id])
    }

    @Test func jobsRunWhenTheyAreDue() async throws {
        let clock = TestClock()
        let store = try await Store.inMemory(key: key, options: clock.options)
        #expect(try await store.nextDeadline() == nil)
        #expect(try await store.runDue() == (0, nil))
        try await store.put("a", Secret("1"), in: alice)
        try await store.delete("a", in: alice, recovery: .seconds(60))
        let due = clock.now + .seconds(60)
        #expect(try await store.nextDeadline() == due)
        clock.advance(.seconds(60) - .nanoseconds(1))
        #expect(try await store.runDue() == (0, due))
        clock.advance(.nanoseconds(1))
        #expect(try await store.runDue() == (1, nil))
        #expect(try await store.nextDeadline() == nil)
    }
}

/// Sequences of items wait for real descriptors, so here time is the system's.
@Suite(.timeLimit(.minutes(2))) struct ItemsTests {
    private let adas: Store
    private let bobs: Store
    private let ada: Account
    private let bob: Account
    private let session: Session

    init() async throws {
        adas = try await Store.inMemory(key: key)
        bobs = try await Store.inMemory(key: otherKey)
        ada = try await account(named: "Ada", in: adas)
        bob = try await account(named: "Bob", in: bobs)
        session = try await ada.startSession(with: "Bob", package: try await published(by: bob))
    }

    @Test func aSequenceGivesWhatIsThereAndWhatComes() async throws {
        var expected = [try await session.send(Secret("0"))]
        var seen: [Item.ID] = []
        for try await item in adas.items() {
            seen.append(item.id)
            let received = try await bob.receive(try #require(item.frame))
            #expect(received.plaintext == Secret("\(seen.count - 1)"))
            try await adas.ack([item.id])
            if seen.count == 5 { break }
            let text = "\(seen.count)"
            expected.append(try await session.send(Secret(text)))
        }
        #expect(seen == expected)
        #expect(try await adas.take().isEmpty)
    }

    @Test func aSequenceThatWaitsIsWoken() async throws {
        let (woken, signal) = AsyncStream<Item.ID>.makeStream()
        let reader = Task {
            for try await item in adas.items() {
                try await adas.ack([item.id])
                signal.yield(item.id)
            }
            signal.finish()
        }
        var ids = woken.makeAsyncIterator()
        for number in 0..<20 {
            // Only a pause lets the reader get as far as waiting; without one the test still holds.
            if number % 5 == 0 { try await Task.sleep(for: .milliseconds(20)) }
            let sent = try await session.send(Secret("\(number)"))
            #expect(await ids.next() == sent)
        }
        reader.cancel()
        try await reader.value
        #expect(await ids.next() == nil)
    }

    @Test func waitingCostsNothing() async throws {
        let reader = Task { for try await _ in adas.items() {} }
        let store = adas
        var before = try await store.stats()
        // The stats themselves may count; what matters is that nothing else does meanwhile.
        while true {
            try await Task.sleep(for: .milliseconds(50))
            let now = try await store.stats()
            if now == before { break }
            before = now
        }
        try await Task.sleep(for: .milliseconds(300))
        #expect(try await store.stats() == before)
        reader.cancel()
        try await reader.value
    }

    @Test func severalSequencesShareTheItems() async throws {
        let store = adas
        let seen = Locked<[Item.ID]>([])
        let readers = (0..<4).map { _ in
            Task {
                for try await item in store.items(limit: 3) {
                    seen.withLock { $0.append(item.id) }
                    try await store.ack([item.id])
                }
            }
        }
        var sent: [Item.ID] = []
        for number in 0..<50 { sent.append(try await session.send(Secret("\(number)"))) }
        #expect(await eventually { seen.withLock { $0.count } >= sent.count })
        for reader in readers { reader.cancel() }
        for reader in readers { try await reader.value }
        #expect(seen.withLock { $0.sorted() } == sent)
    }

    @Test func whatASequenceDoesNotSettleComesAgain() async throws {
        let id = try await session.send(Secret("x"))
        var attempts: [Int] = []
        for try await item in adas.items(lease: .milliseconds(30)) {
            #expect(item.id == id)
            attempts.append(item.attempts)
            if attempts.count == 3 { break }
        }
        #expect(attempts == [0, 1, 2])
        // Ending a sequence leaves the item to its lease.
        for try await item in adas.items(lease: .seconds(600)) {
            #expect(item.attempts == 3)
            break
        }
        #expect(try await adas.take().isEmpty)
        #expect(try await adas.nextDeadline().map { $0 > .now } == true)
    }

    @Test func cancellingEndsASequenceThatWaits() async throws {
        let store = adas
        for delay in [0, 1, 20] {
            let reader = Task {
                var items = store.items().makeAsyncIterator()
                let first = try await items.next()
                let second = try await items.next()
                return first == nil && second == nil
            }
            try await Task.sleep(for: .milliseconds(delay))
            reader.cancel()
            #expect(try await reader.value)
        }
        // What it took before is left to its lease.
        for text in ["0", "1"] { try await session.send(Secret(text)) }
        let reader = Task {
            var items = store.items(lease: .milliseconds(1)).makeAsyncIterator()
            let first = try await items.next()
            withUnsafeCurrentTask { $0?.cancel() }
            let second = try await items.next()
            return first != nil && second == nil
        }
        #expect(try await reader.value)
        // Others, and later ones, go on.
        try await Task.sleep(for: .milliseconds(1))
        try await store.ack(store.take().map(\.id))
        let id = try await session.send(Secret("x"))
        for try await item in store.items() {
            #expect(item.id == id)
            break
        }
    }

    @Test func jobsRunWhileASequenceWaits() async throws {
        let store = adas
        try await store.put("a", Secret("1"), in: alice)
        let reader = Task { for try await _ in store.items() {} }
        try await Task.sleep(for: .milliseconds(20))
        try await store.delete("a", in: alice, recovery: .milliseconds(50))
        let due = try #require(try await store.nextDeadline())
        #expect(due <= .now + .milliseconds(50))
        let end = ContinuousClock.now + .seconds(20)
        while try await store.nextDeadline() == due && ContinuousClock.now < end {
            try await Task.sleep(for: .milliseconds(10))
        }
        #expect(try await store.nextDeadline() != due)
        reader.cancel()
        try await reader.value
    }

    @Test func closingEndsEverySequence() async throws {
        let store = adas
        let readers = (0..<8).map { _ in
            Task { () -> PawlError.Code? in
                do throws(PawlError) {
                    for try await _ in store.items() {}
                    return nil
                } catch {
                    return error.code
                }
            }
        }
        try await Task.sleep(for: .milliseconds(20))
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<3 { group.addTask { await store.close() } }
        }
        for reader in readers { #expect(await reader.value == .closed) }
        var items = store.items().makeAsyncIterator()
        #expect(await refusal { try await items.next() }?.code == .closed)
        #expect(try await items.next() == nil)
    }

    @Test func badArgumentsEndASequence() async throws {
        for limit in [0, -1, 10_001] {
            var items = adas.items(limit: limit).makeAsyncIterator()
            #expect(await refusal { try await items.next() }?.reason == .misuseSize)
            #expect(try await items.next() == nil)
        }
        var items = adas.items(lease: .seconds(-1)).makeAsyncIterator()
        #expect(await refusal { try await items.next() }?.reason == .misuseTime)
    }

    @Test func anotherStoreOfTheSameFileWakesASequence() async throws {
        let folder = try Folder()
        let writer = try await Store.open(path: folder.path("a"), key: key, options: create)
        let reader = try await Store.open(path: folder.path("a"), key: key)
        let ada = try await account(named: "Ada", in: writer)
        let session = try await ada.startSession(
            with: "Bob", package: try await published(by: bob))
        let (woken, signal) = AsyncStream<Item.ID>.makeStream()
        let reading = Task {
            for try await item in reader.items() {
                try await reader.ack([item.id])
                signal.yield(item.id)
            }
        }
        var ids = woken.makeAsyncIterator()
        for number in 0..<10 {
            if number % 3 == 0 { try await Task.sleep(for: .milliseconds(20)) }
            let sent = try await session.send(Secret("\(number)"))
            #expect(await ids.next() == sent)
        }
        await reader.close()
        #expect(await refusal { try await reading.value }?.code == .closed)
        await writer.close()
    }

    @Test func aHostsClockIsFollowedByNudges() async throws {
        let meeting = try await Meeting()
        let store = meeting.adas
        let seen = Locked<[Int]>([])
        let id = try await meeting.session.send(Secret("x"))
        let reader = Task {
            for try await item in store.items(lease: .seconds(10)) {
                #expect(item.id == id)
                seen.withLock { $0.append(item.attempts) }
            }
        }
        for round in 0..<3 {
            #expect(await eventually { seen.withLock { $0.count } == round + 1 })
            meeting.clock.advance(.seconds(10))
            try await store.nudge()
        }
        #expect(await eventually { seen.withLock { $0 == [0, 1, 2, 3] } })
        reader.cancel()
        try await reader.value
    }

    /// Its descriptor goes too, and whoever waited no longer keeps it open.
    @Test func aForgottenStoreThatWasWaitedForClosesItself() async throws {
        weak var vault: TestVault?
        do {
            let mine = TestVault()
            vault = mine
            let store = try await Store.inMemory(key: key, options: Store.Options(vault: mine))
            let reader = Task { for try await _ in store.items() {} }
            try await Task.sleep(for: .milliseconds(20))
            #expect(vault != nil)
            reader.cancel()
            try await reader.value
        }
        #expect(await eventually { vault == nil })
    }
}
