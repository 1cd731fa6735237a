import Pawl
import Testing

@Suite(.timeLimit(.minutes(2))) struct HistoryFacadeTests {
    @Test func whatWasSaidOpensAgainWhenItsSessionIsGone() async throws {
        let meeting = try await Meeting()
        let (ada, bob) = (meeting.ada, meeting.bob)
        #expect(try await !bob.keepsHistory())
        try await ada.keepHistory()
        try await bob.keepHistory()
        #expect(try await bob.keepsHistory())
        // For Ada the session is there already, and not kept before its next epoch; for Bob it begins now.
        let early = try await meeting.session.encrypt(Secret("early"))
        let joined = try await bob.receive(early).session
        _ = try await ada.receive(try await joined.encrypt(Secret("hi")))
        var frames: [[UInt8]] = []
        for round in 0..<3 {
            try await meeting.session.rekey()
            try await meeting.pump()
            frames.append(try await meeting.session.encrypt(Secret("there \(round)")))
            frames.append(try await joined.encrypt(Secret("back \(round)")))
            _ = try await bob.receive(frames[2 * round])
            _ = try await ada.receive(frames[2 * round + 1])
        }
        try await meeting.session.close()
        try await joined.close()
        for (number, frame) in (frames + frames).enumerated() {
            let (round, isAdas) = (number / 2 % 3, number % 2 == 0)
            let (atAda, atBob) = (
                try await ada.openHistory(frame), try await bob.openHistory(frame)
            )
            for message in [atAda, atBob] {
                #expect(message.plaintext?.text == "\(isAdas ? "there" : "back") \(round)")
                #expect(message.epoch == UInt32(round + 1))
            }
            #expect(atAda.direction == (isAdas ? .sent : .received))
            #expect(atBob.direction == (isAdas ? .received : .sent))
            #expect(atAda.peer == bob.identity && atBob.peer == ada.identity)
            #expect(atAda.session == meeting.session.id && atBob.session == joined.id)
        }
        #expect(await refusal { try await ada.openHistory(early) }?.code == .notFound)
        #expect(try await bob.openHistory(early).plaintext?.text == "early")
        #expect(await refusal { try await bob.openHistory([]) }?.code == .auth)
        let bad = frames[0].dropLast() + [frames[0].last! ^ 1]
        #expect(await refusal { try await bob.openHistory(Array(bad)) }?.code == .auth)

        let rows = try await bob.history()
        #expect(rows.map(\.epoch) == [0, 0, 1, 1, 2, 2, 3, 3])
        #expect(rows.allSatisfy { $0.isClosed && $0.end != nil && $0.first == 0 })
        #expect(rows.allSatisfy { $0.session == joined.id && $0.peer == ada.identity })
        #expect(rows.map(\.direction) == (0..<8).map { $0 % 2 == 0 ? .received : .sent })
        var paged: [History] = []
        for try await row in bob.allHistory(pageSize: 2) { paged.append(row) }
        #expect(paged == rows)

        try await meeting.bobs.batch { batch in
            #expect(try batch.keepsHistory(of: bob.id))
            #expect(try batch.openHistory(frames[0], of: bob.id).plaintext?.text == "there 0")
            #expect(try batch.history(of: bob.id, after: rows[3]) == Array(rows[4...]))
            try batch.keepHistory(false, of: bob.id)
        }
        #expect(try await bob.history().isEmpty)
        #expect(await refusal { try await bob.openHistory(frames[0]) }?.code == .notFound)
        #expect(try await ada.openHistory(frames[0]).plaintext?.text == "there 0")
    }

    @Test func aFrameThatSaysNothingOpensAsNothing() async throws {
        let meeting = try await Meeting()
        try await meeting.confirm()
        try await meeting.ada.keepHistory()
        try await meeting.session.rekey()
        try await meeting.pump()
        // The finish of the next rekey goes alone under its epoch.
        try await meeting.session.rekey()
        let frames = try await meeting.pump().compactMap { item in
            item.account == meeting.ada.id ? item.frame : nil
        }
        let last = try await meeting.ada.openHistory(try #require(frames.last))
        #expect(last.plaintext == nil && last.epoch == 2 && last.index == 0)
        let empty = try await meeting.session.encrypt(Secret(""))
        #expect(try await meeting.ada.openHistory(empty).plaintext == Secret(""))
    }
}
