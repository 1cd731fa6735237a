import Pawl
import Testing

@Suite(.timeLimit(.minutes(2))) struct SessionTests {
    // MARK: starting

    @Test func twoPeopleWriteToEachOther() async throws {
        let meeting = try await Meeting()
        let first = try await meeting.bob.receive(try await meeting.session.encrypt(Secret("hi")))
        #expect(first.plaintext == Secret("hi"))
        #expect(first.isNewSession && !first.isAgain && !first.isUnaccepted)
        #expect(first.epoch == 0 && first.index == 0)

        for round in 0..<40 as Range<UInt32> {
            let there = try await meeting.bob.receive(
                try await meeting.session.encrypt(Secret("there \(round)")))
            #expect(there.plaintext?.text == "there \(round)")
            #expect(there.index == round + 1)
            #expect(there.session == first.session && !there.isNewSession)
            let back = try await meeting.ada.receive(
                try await first.session.encrypt(Secret("back \(round)")))
            #expect(back.plaintext?.text == "back \(round)")
            #expect(back.index == round)
            #expect(back.session == meeting.session && !back.isNewSession)
        }
    }

    @Test func bothSidesSayHowTheSessionStands() async throws {
        let meeting = try await Meeting()
        let start = try await meeting.session.status()
        #expect(start.session == meeting.session)
        #expect(start.account == meeting.ada.id)
        #expect(start.peer == meeting.bob.identity)
        #expect(start.suite == .x25519)
        #expect(start.isInitiator && !start.isConfirmed)
        #expect(!start.isReceiveOnly && !start.isDesynchronized)
        #expect(start.created == meeting.clock.now)
        #expect(start.epoch == 0 && start.received == 0 && start.skipped == 0)

        let joined = try await meeting.confirm()
        let ada = try await meeting.session.status()
        let bob = try await joined.status()
        #expect(ada.isConfirmed && ada.ends == nil)
        #expect(ada.sent >= 1 && ada.received == 1)
        #expect(!bob.isInitiator && !bob.isConfirmed)
        #expect(bob.ends == meeting.clock.now + .seconds(7 * 86400))
        #expect(bob.peer == meeting.ada.identity && bob.account == meeting.bob.id)
        // The sides' ids differ in their last bit alone.
        #expect(meeting.session.id.bytes.dropLast() == joined.id.bytes.dropLast())
        #expect(meeting.session.id.bytes[15] | 1 == joined.id.bytes[15])
        #expect(meeting.session.id != joined.id)

        // A message without welcome is what confirms it to Bob.
        _ = try await meeting.bob.receive(try await meeting.session.encrypt(Secret("so")))
        #expect(try await joined.status().isConfirmed)
        #expect(try await joined.status().ends == nil)
        #expect(try await meeting.ada.sessions(with: "Bob").map(\.session) == [meeting.session])
        #expect(try await meeting.bob.sessions(with: "Ada") == [joined.status()])
        #expect(try await meeting.bob.sessions(with: "Bob").isEmpty)
    }

    @Test func aFrameHidesItsMessage() async throws {
        let meeting = try await Meeting()
        let message = Array("a distinctive message".utf8)
        let frame = try await meeting.session.encrypt(Secret(message))
        #expect(!frame.indices.contains { frame[$0...].starts(with: message) })
        #expect(frame.count <= message.count + 4096)
        #expect(try await meeting.session.encrypt(Secret(message)) != frame)
    }

    @Test func badPackagesAreRefused() async throws {
        let meeting = try await Meeting()
        let package = try await published(by: meeting.bob)
        func refused(_ name: String, _ package: [UInt8]) async -> PawlError? {
            await refusal { try await meeting.ada.startSession(with: name, package: package) }
        }
        #expect(await refused("Bob", [])?.reason == .misusePackage)
        #expect(await refused("Bob", [1, 2, 3])?.reason == .misusePackage)
        #expect(await refused("Bob", Array(package.dropLast()))?.reason == .misusePackage)
        #expect(await refused("Bob", package + [0])?.reason == .misusePackage)
        #expect(await refused("Rob", package)?.code == .auth)
        #expect(await refused("Bob", package.dropLast() + [package.last! ^ 1])?.code == .auth)
        #expect(await refused("", package)?.code == .misuse)
        let own = try await published(by: meeting.ada)
        #expect(await refused("Ada", own)?.reason == .stateSelf)
        meeting.clock.advance(.seconds(90 * 86400 + 1))
        #expect(await refused("Bob", package)?.code == .time)
        #expect(try await meeting.ada.sessions(with: "Bob").count == 1)
    }

    @Test func aWeakerSuiteThanAllowedIsRefused() async throws {
        let meeting = try await Meeting()
        let (package, keys) = try await meeting.bob.createPackage(oneTimeKeys: 1)
        try await meeting.ada.setMinimumSuite(.x25519)
        guard keys[0].bytes.count > 1216 else {
            // This libsodium has no X-Wing.
            let set = await refusal { try await meeting.ada.setMinimumSuite(.xwing) }
            #expect(set?.reason == .stateSuite)
            return
        }
        try await meeting.ada.setMinimumSuite(.xwing)
        let session = try await meeting.ada.startSession(with: "Bob", package: package.bytes)
        #expect(try await session.status().suite == .xwing)
    }

    @Test func aPeerHasEightSessionsAtMost() async throws {
        let meeting = try await Meeting()
        let package = try await meeting.bob.createPackage(oneTimeKeys: 0).package.bytes
        for _ in 1..<8 { _ = try await meeting.ada.startSession(with: "Bob", package: package) }
        #expect(try await meeting.ada.sessions(with: "Bob").count == 8)
        #expect(
            await refusal { try await meeting.ada.startSession(with: "Bob", package: package) }?
                .reason == .limitSessions)
    }

    /// Both start at once; both must then send in sessions that the other side reads.
    @Test func sessionsThatCrossAreBothRead() async throws {
        let meeting = try await Meeting()
        let other = try await meeting.bob.startSession(
            with: "Ada", package: try await published(by: meeting.ada))
        let fromAda = try await meeting.session.encrypt(Secret("from Ada"))
        let fromBob = try await other.encrypt(Secret("from Bob"))
        #expect(try await meeting.ada.receive(fromBob).plaintext == Secret("from Bob"))
        #expect(try await meeting.bob.receive(fromAda).plaintext == Secret("from Ada"))

        let adas = try #require(try await meeting.ada.peer(named: "Bob").session)
        let bobs = try #require(try await meeting.bob.peer(named: "Ada").session)
        #expect(adas.bytes.dropLast() == bobs.bytes.dropLast())
        for round in 0..<3 {
            let there = try await meeting.adas.session(adas).encrypt(Secret("\(round)"))
            #expect(try await meeting.bob.receive(there).plaintext == Secret("\(round)"))
            let back = try await meeting.bobs.session(bobs).encrypt(Secret("-\(round)"))
            #expect(try await meeting.ada.receive(back).plaintext == Secret("-\(round)"))
        }
    }

    @Test func aClosedSessionIsGone() async throws {
        let meeting = try await Meeting()
        let late = try await meeting.session.encrypt(Secret("late"))
        let joined = try await meeting.confirm()
        _ = try await meeting.bob.receive(late, keep: true)
        try await joined.close()
        #expect(try await joined.kept().isEmpty)
        let calls: [@Sendable () async throws -> Void] = [
            { _ = try await joined.encrypt(Secret("x")) },
            { try await joined.send(Secret("x")) },
            { _ = try await joined.status() },
            { try await joined.close() },
            { _ = try await joined.reset(with: published(by: meeting.ada)) },
        ]
        for (number, call) in calls.enumerated() {
            #expect(await refusal { try await call() }?.code == .notFound, "call \(number)")
        }
        let more = try await meeting.session.encrypt(Secret("more"))
        #expect(await refusal { try await meeting.bob.receive(more) }?.code == .notFound)
        #expect(await refusal { try await meeting.bob.receive(late) }?.code == .replay)
        #expect(try await meeting.bob.sessions(with: "Ada").isEmpty)
    }

    @Test func aSessionSurvivesReopening() async throws {
        let folder = try Folder()
        var adas = try await Store.open(path: folder.path("a"), key: key, options: create)
        let bobs = try await Store.inMemory(key: key)
        let bob = try await account(named: "Bob", in: bobs)
        let id = try await adas.createAccount(named: "Ada")
        let session = try await adas.account(id).startSession(
            with: "Bob", package: try await published(by: bob))
        let before = try await session.encrypt(Secret("before"))
        let joined = try await bob.receive(before).session
        await adas.close()

        adas = try await Store.open(path: folder.path("a"), key: key)
        #expect(await refusal { try await session.encrypt(Secret("x")) }?.code == .closed)
        let again = adas.session(session.id)
        #expect(again == session)
        let after = try await bob.receive(try await again.encrypt(Secret("after")))
        #expect(after.plaintext == Secret("after"))
        #expect(after.index > 0)
        let answer = try await joined.encrypt(Secret("answer"))
        #expect(try await adas.account(id).receive(answer).plaintext == Secret("answer"))
        await adas.close()
    }

    // MARK: messages

    @Test func anEmptyMessageIsAMessage() async throws {
        let meeting = try await Meeting()
        let frame = try await meeting.session.encrypt(Secret(""))
        #expect(try await meeting.bob.receive(frame).plaintext == Secret(""))
    }

    @Test func aMessageHasSixteenMebibytesAtMost() async throws {
        let meeting = try await Meeting()
        let longest = Secret([UInt8](repeating: 7, count: 16 << 20))
        let frame = try await meeting.session.encrypt(longest)
        #expect(try await meeting.bob.receive(frame).plaintext == longest)
        let tooLong = Secret([UInt8](repeating: 7, count: 16 << 20 + 1))
        #expect(
            await refusal { try await meeting.session.encrypt(tooLong) }?.reason == .limitMessage)
        #expect(await refusal { try await meeting.session.send(tooLong) }?.reason == .limitMessage)
    }

    @Test func theOrderOfArrivalDoesNotMatter() async throws {
        let meeting = try await Meeting()
        let joined = try await meeting.confirm()
        var frames: [[UInt8]] = []
        for number in 0..<6 {
            frames.append(try await meeting.session.encrypt(Secret("\(number)")))
        }
        for (number, late) in [(3, 3), (1, 2), (5, 3), (0, 2), (4, 1), (2, 0)] {
            let received = try await meeting.bob.receive(frames[number])
            #expect(received.plaintext == Secret("\(number)"))
            #expect(try await joined.status().skipped == late)
        }
        for frame in frames {
            #expect(await refusal { try await meeting.bob.receive(frame) }?.code == .replay)
        }
    }

    @Test func aFrameIsReceivedOnce() async throws {
        let meeting = try await Meeting()
        let welcome = try await meeting.session.encrypt(Secret("welcome"))
        try await meeting.confirm()
        #expect(try await meeting.bob.receive(welcome).plaintext == Secret("welcome"))
        #expect(await refusal { try await meeting.bob.receive(welcome) }?.code == .replay)
        let frame = try await meeting.session.encrypt(Secret("once"))
        _ = try await meeting.bob.receive(frame)
        for _ in 0..<3 {
            #expect(await refusal { try await meeting.bob.receive(frame) }?.code == .replay)
        }
        // Nor does it come back to its sender.
        #expect(await refusal { try await meeting.ada.receive(frame) }?.code == .auth)
    }

    @Test func whatIsNoFrameIsRefusedAndChangesNothing() async throws {
        let meeting = try await Meeting()
        let joined = try await meeting.confirm()
        let frame = try await meeting.session.encrypt(Secret("x"))
        let before = try await joined.status()
        for position in 10..<54 {
            var bad = frame
            bad[position] ^= 1
            #expect(
                await refusal { try await meeting.bob.receive(bad) }?.code == .auth,
                "byte \(position)")
        }
        let malformed: [[UInt8]] = [
            [], [1], [1, 1], Array(frame.prefix(60)), [9] + frame.dropFirst(),
        ]
        for bad in malformed {
            let error = await refusal { try await meeting.bob.receive(bad) }
            #expect(error != nil && error?.code != .internal, "\(bad.count) bytes")
        }
        #expect(try await joined.status() == before)
        #expect(try await meeting.bob.receive(frame).plaintext == Secret("x"))
    }

    @Test func aFrameForAnotherAccountIsNotFound() async throws {
        let meeting = try await Meeting()
        let carol = try await account(named: "Carol", in: meeting.bobs)
        let frame = try await meeting.session.encrypt(Secret("x"))
        #expect(await refusal { try await carol.receive(frame) }?.code == .notFound)
        _ = try await meeting.bob.receive(frame)
        let later = try await meeting.session.encrypt(Secret("y"))
        #expect(await refusal { try await carol.receive(later) }?.code == .notFound)
        #expect(try await meeting.bob.receive(later).plaintext == Secret("y"))
    }

    @Test func aDesynchronizedSessionIsToldOnceAndReset() async throws {
        let meeting = try await Meeting()
        let joined = try await meeting.confirm()
        var bad = try await meeting.session.encrypt(Secret("x"))
        bad[bad.count - 1] ^= 1
        for _ in 0..<2 {
            #expect(await refusal { try await meeting.bob.receive(bad) }?.code == .desynchronized)
        }
        let parted = try await joined.status()
        #expect(parted.isDesynchronized && !parted.isReceiveOnly)
        let told = try await meeting.bobs.take()
        #expect(told.map(\.event) == [.desynchronized])
        #expect(told.map(\.session) == [joined.id])
        #expect(told.map(\.account) == [meeting.bob.id])
        #expect(told.map(\.peer) == [meeting.ada.identity])

        // Somebody else of the same name is not whom it was with.
        let stranger = try await account(named: "Ada", in: try await meeting.elsewhere())
        #expect(
            await refusal { try await joined.reset(with: published(by: stranger)) }?.code == .auth)

        let fresh = try await joined.reset(with: published(by: meeting.ada))
        #expect(fresh != joined)
        #expect(try await joined.status().isReceiveOnly)
        #expect(
            await refusal { try await joined.encrypt(Secret("x")) }?.reason == .stateReceiveOnly)
        let received = try await meeting.ada.receive(try await fresh.encrypt(Secret("anew")))
        #expect(received.plaintext == Secret("anew"))
        #expect(received.isNewSession)
        let answer = try await received.session.encrypt(Secret("good"))
        #expect(try await meeting.bob.receive(answer).session == fresh)
        #expect(
            await refusal { try await fresh.reset(with: published(by: meeting.ada)) }?.reason
                == .busyRate)
    }

    // MARK: keeping

    @Test func aKeptMessageComesAgainUntilItIsForgotten() async throws {
        let meeting = try await Meeting()
        let frame = try await meeting.session.encrypt(Secret("kept"))
        let first = try await meeting.bob.receive(frame, keep: true)
        #expect(first.plaintext == Secret("kept") && !first.isAgain)
        let session = first.session
        for keep in [true, false] {
            let again = try await meeting.bob.receive(frame, keep: keep)
            #expect(again.plaintext == Secret("kept") && again.isAgain)
            #expect(again.session == session)
            #expect(again.epoch == first.epoch && again.index == first.index)
        }

        _ = try await meeting.bob.receive(try await meeting.session.encrypt(Secret("not kept")))
        let last = try await meeting.session.encrypt(Secret("last"))
        _ = try await meeting.bob.receive(last, keep: true)
        let kept = try await session.kept()
        #expect(kept.map(\.plaintext) == [Secret("kept"), Secret("last")])
        #expect(kept.map(\.index) == [0, 2])
        #expect(kept.map(\.epoch) == [0, 0])
        #expect(try await session.kept(limit: 1) == [kept[0]])

        for _ in 0..<2 { try await session.forget(epoch: first.epoch, index: first.index) }
        #expect(try await session.kept() == [kept[1]])
        #expect(await refusal { try await meeting.bob.receive(frame) }?.code == .replay)
        try await session.forget(epoch: 7, index: 7)
        #expect(try await session.kept().count == 1)
        for limit in [0, -1, 10_001] {
            #expect(await refusal { try await session.kept(limit: limit) }?.reason == .misuseSize)
        }
    }

    // MARK: many at once

    @Test func manyFramesHaveAnAnswerEach() async throws {
        let meeting = try await Meeting()
        var frames: [[UInt8]] = []
        for number in 0..<4 {
            frames.append(try await meeting.session.encrypt(Secret("\(number)")))
        }
        var bad = frames[3]
        bad[53] ^= 1
        let answers = try await meeting.bob.receiveMany(
            [frames[2], bad, [], frames[0], frames[2], frames[1]])
        #expect(
            answers.map { try? $0.get().plaintext?.text } == ["2", nil, nil, "0", nil, "1"])
        #expect(answers[1].code == .auth)
        #expect(answers[2].code != nil && answers[2].code != .internal)
        #expect(answers[4].code == .replay)
        #expect(try answers[0].get().isNewSession && !answers[3].get().isNewSession)
        #expect(try answers[0].get().index == 2 && answers[5].get().index == 1)

        #expect(try await meeting.bob.receiveMany([]).isEmpty)
        let once = try await meeting.bob.receiveMany([frames[3]], keep: true)
        let again = try await meeting.bob.receiveMany([frames[3]])
        #expect(try once[0].get().plaintext == again[0].get().plaintext)
        #expect(try !once[0].get().isAgain && again[0].get().isAgain)
    }

    @Test func manyFramesAreOneTransaction() async throws {
        let meeting = try await Meeting()
        _ = try await meeting.confirm()
        var frames: [[UInt8]] = []
        for number in 0..<100 {
            frames.append(try await meeting.session.encrypt(Secret("\(number)")))
        }
        let before = try await meeting.bobs.stats().commits
        let answers = try await meeting.bob.receiveMany(frames)
        #expect(try answers.map { try $0.get().plaintext?.text } == (0..<100).map { "\($0)" })
        #expect(try await meeting.bobs.stats().commits == before + 1)
        #expect(
            await refusal {
                try await meeting.bob.receiveMany([[UInt8]](repeating: [1], count: 10_001))
            }?.reason == .misuseSize)
    }

    // MARK: batches

    @Test func aBatchReceivesAndAnswersAtOnce() async throws {
        let meeting = try await Meeting()
        let joined = try await meeting.confirm()
        let frame = try await meeting.session.encrypt(Secret("question"))
        let error = await refusal {
            try await meeting.bobs.batch { batch throws(PawlError) in
                let received = try batch.receive(frame, for: meeting.bob.id)
                #expect(received.plaintext == Secret("question"))
                try batch.send(Secret("undone"), in: joined.id)
                _ = try batch.metadata("nothing", in: alice)
            }
        }
        #expect(error?.code == .notFound)
        #expect(try await meeting.bobs.take().isEmpty)

        try await meeting.bobs.batch { batch throws(PawlError) in
            let received = try batch.receive(frame, for: meeting.bob.id, keep: true)
            try batch.put("question", received.plaintext ?? Secret(""), in: alice)
            try batch.send(Secret("answer"), in: joined.id)
            #expect(try batch.kept(in: joined.id).map(\.plaintext) == [Secret("question")])
            try batch.forget(epoch: received.epoch, index: received.index, in: joined.id)
            #expect(try batch.kept(in: joined.id).isEmpty)
            #expect(try batch.receiveMany([frame], for: meeting.bob.id)[0].code == .replay)
            #expect(try batch.status(of: joined.id).received == 2)
            #expect(try batch.sessions(with: "Ada", of: meeting.bob.id).count == 1)
        }
        #expect(try await meeting.bobs.get("question", in: alice).secret == Secret("question"))
        let items = try await meeting.bobs.take()
        let answer = try #require(items.first?.frame)
        #expect(try await meeting.ada.receive(answer).plaintext == Secret("answer"))
        try await meeting.bobs.batch { batch throws(PawlError) in
            try batch.fail(items[0].id, retryAfter: .seconds(1))
            try batch.ack(items.map(\.id))
        }
        meeting.clock.advance(.seconds(86400))
        #expect(try await meeting.bobs.take().isEmpty)
    }

    /// Indices of a batch that is rolled back would be used twice.
    @Test func aBatchEncryptsWithWhatWasReservedBefore() async throws {
        let meeting = try await Meeting()
        let error = await refusal {
            try await meeting.adas.batch { batch throws(PawlError) in
                _ = try batch.encrypt(Secret("x"), in: meeting.session.id)
            }
        }
        #expect(error?.reason == .stateReservation)
        let before = try await meeting.session.encrypt(Secret("before"))
        let inside = try await meeting.adas.batch { batch throws(PawlError) in
            try batch.encrypt(Secret("inside"), in: meeting.session.id)
        }
        let after = try await meeting.session.encrypt(Secret("after"))
        let answers = try await meeting.bob.receiveMany([before, inside, after])
        #expect(try answers.map { try $0.get().plaintext?.text } == ["before", "inside", "after"])
    }

    @Test func aBatchStartsAndClosesSessions() async throws {
        let meeting = try await Meeting()
        let package = try await meeting.bob.createPackage(oneTimeKeys: 0).package.bytes
        let other = try await meeting.adas.batch { batch throws(PawlError) in
            let gone = try batch.startSession(with: "Bob", package: package, for: meeting.ada.id)
            try batch.closeSession(gone.id)
            do throws(PawlError) {
                _ = try batch.status(of: gone.id)
                Issue.record("a closed session has a status")
            } catch {
                #expect(error.code == .notFound)
            }
            return try batch.startSession(with: "Bob", package: package, for: meeting.ada.id)
        }
        #expect(
            Set(try await meeting.ada.sessions(with: "Bob").map(\.session))
                == [meeting.session, other])
        let frame = try await other.encrypt(Secret("x"))
        #expect(try await meeting.bob.receive(frame).plaintext == Secret("x"))
    }

    @Test func manyTasksShareASession() async throws {
        let meeting = try await Meeting()
        _ = try await meeting.confirm()
        let frames = try await withThrowingTaskGroup(of: [UInt8].self) { group in
            for task in 0..<64 {
                group.addTask { try await meeting.session.encrypt(Secret("\(task)")) }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        let texts = try await withThrowingTaskGroup(of: String?.self) { group in
            for frame in frames {
                group.addTask { try await meeting.bob.receive(frame).plaintext?.text }
            }
            return try await group.reduce(into: Set()) { $0.insert($1) }
        }
        #expect(texts == Set((0..<64).map { "\($0)" }))
    }
}
