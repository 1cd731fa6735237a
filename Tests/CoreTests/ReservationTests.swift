import PawlCore
import PawlCrypto
import PawlEngine
import PawlStore
import Testing

/// What `encrypt` has in memory, against a store that answers late or not at all.
@Suite struct ReservationTests {
    /// The store's decision runs again when a commit meets another writer. The keys of the run that counted are
    /// used, and not what the other left behind.
    @Test func aCommitThatMeetsAnotherWriterSpoilsNoKey() throws {
        let storage = BusyCommits()
        let talk = try Talk(on: storage)
        storage.state.busy = 3
        let frame = try talk.say("hello", from: .alice)
        #expect(storage.state.busy == 0)
        #expect(try talk.hear(frame, at: .bob) == "hello")
    }

    /// More sessions than there are keys in memory: what is evicted is given back, and no index is used twice.
    @Test func anEvictedReservationIsGivenBack() throws {
        let talk = try Talk(on: MemoryStorage())
        var frames: [[UInt8]] = [try talk.say("first", from: .alice)]
        let others = try (0..<1_100).map { try talk.start(withPeerNamed: "peer \($0)") }
        for session in others { _ = try talk.say("x", in: session) }
        for number in 1..<40 {
            frames.append(try talk.say("\(number)", from: .alice))
            _ = try talk.say("x", in: others[number])
        }
        #expect(frames.map { index(of: $0) } == Array(0..<40))
    }

    /// A session is closed after indices were reserved for it, and before they are used.
    @Test func aReservationDoesNotOutliveItsSession() throws {
        let storage = BusyCommits()
        let talk = try Talk(on: storage)
        let session = talk.alice.session
        let store = try openStore(on: storage.sibling(), clock: talk.clock)
        // The next batch has a connection.
        try store.beginBatch().endBatch(commit: false)
        var batch: Store?
        storage.state.onCommit = {
            batch = try? store.beginBatch()
            try? batch?.closeSession(session)
        }
        // It starts over, and the batch is in the way.
        #expect(throws: Failure.busy(.writer)) { _ = try talk.say("a", in: session, of: store) }
        try #require(batch).endBatch(commit: true)
        #expect(throws: Failure.notFound) { _ = try talk.say("b", in: session, of: store) }
    }

    @Test func aCleanCloseGivesTheRestBack() throws {
        let storage = MemoryStorage()
        let talk = try Talk(on: storage)
        #expect(index(of: try talk.say("a", from: .alice)) == 0)
        talk.alice.store.close {}
        let again = try openStore(on: storage.sibling(), clock: talk.clock)
        #expect(index(of: try talk.say("b", in: talk.alice.session, of: again)) == 1)
    }

    /// Who leaves the welcome out before it can have an answer stays in the quota.
    @Test func nobodyConfirmsWhatWasNeverAnswered() throws {
        let talk = try Talk(on: MemoryStorage())
        #expect(try talk.hear(talk.say("hello", from: .alice), at: .bob) == "hello")
        // As an initiator with a mind of its own would send it.
        let bare = try talk.bare("no welcome")
        #expect(try talk.hear(bare, at: .bob) == "no welcome")
        #expect(try talk.bob.store.session(talk.bob.session).entry.isConfirmed == false)
        #expect(try talk.hear(talk.say("hi", from: .bob), at: .alice) == "hi")
        #expect(try talk.hear(talk.bare("now"), at: .bob) == "now")
        #expect(try talk.bob.store.session(talk.bob.session).entry.isConfirmed)
    }

    /// Nothing of a deleted account is left, not even what a closed session had to deliver, or what only a damaged
    /// record names.
    @Test(arguments: [false, true]) func aDeletedAccountLeavesNothing(isDamaged: Bool) throws {
        let storage = MemoryStorage()
        let empty = try openStore(on: MemoryStorage())
        let talk = try Talk(on: storage)
        let (store, session) = (talk.alice.store, talk.alice.session)
        #expect(try talk.hear(talk.say("hello", from: .alice), at: .bob) == "hello")
        let late = try talk.say("late", from: .bob)
        let reply = try talk.say("kept", from: .bob)
        _ = try reply.withUnsafeBytes { try store.receive(talk.alice.account, [($0, true)]) }
        _ = try late.withUnsafeBytes { try store.receive(talk.alice.account, [($0, true)]) }
        _ = try withText("to be delivered") { try store.send(session, $0) }
        _ = try store.createPackage(talk.alice.account, lifetime: 1_000_000_000, oneTimeKeys: 3)
        try store.closeSession(session)
        _ = try talk.start(withPeerNamed: "another")
        if isDamaged { for row in try store.keys(.peer) { try store.damage(row) } }
        try store.deleteAccount(talk.alice.account)
        #expect(try store.takeItems(limit: 10, lease: 0).isEmpty)
        // What is left is the number of the last item, and when the schedule was changed last.
        #expect(try rows(of: store) == rows(of: empty) + 2)
        #expect(try store.nextDeadline() == nil)
    }

    private func rows(of store: Store) throws -> Int {
        try store.transact(.read) { (transaction) throws(Failure) in
            var count = 0
            try transaction.scanEverything { (_, _) in
                count += 1
                return true
            }
            return count
        }
    }

    private func index(of frame: [UInt8]) -> UInt32 {
        frame[14..<18].reversed().reduce(0) { $0 << 8 | UInt32($1) }
    }
}

/// Alice, who started a session, and Bob, in stores of their own.
private final class Talk {
    enum Who { case alice, bob }
    struct Side {
        let store: Store
        let account: Identifier
        var session: Identifier
    }
    let clock = ManualClock()
    let alice: Side
    private(set) var bob: Side

    init(on storage: any StoragePort) throws {
        let store = try openStore(on: storage, clock: clock, timeout: 5_000_000_000)
        let other = try openStore(on: MemoryStorage(), clock: clock)
        let account = try withText("alice") { try store.createAccount(named: $0) }
        let peer = try withText("bob") { try other.createAccount(named: $0) }
        let session = try Self.start(store, account, other, peer, "bob")
        alice = Side(store: store, account: account, session: session)
        bob = Side(store: other, account: peer, session: session)
    }

    private static func start(
        _ store: Store, _ account: Identifier, _ other: Store, _ peer: Identifier, _ name: String
    ) throws -> Identifier {
        let rows = try other.createPackage(peer, lifetime: 1_000_000_000_000, oneTimeKeys: 0)
        let package = array(rows[0].bytes)
        return try withText(name) { name in
            try package.withUnsafeBytes { try store.startSession(account, peer: name, $0) }
        }
    }

    func start(withPeerNamed name: String) throws -> Identifier {
        let peer = try withText(name) { try bob.store.createAccount(named: $0) }
        return try Self.start(alice.store, alice.account, bob.store, peer, name)
    }

    func say(_ text: String, from who: Who) throws -> [UInt8] {
        let side = who == .alice ? alice : bob
        return try say(text, in: side.session, of: side.store)
    }

    func say(_ text: String, in session: Identifier, of store: Store? = nil) throws -> [UInt8] {
        var frame = [UInt8](repeating: 0, count: text.utf8.count + Frame.overheadLimit)
        let size = try withText(text) { message in
            try frame.withUnsafeMutableBytes {
                try (store ?? alice.store).encrypt(session, message, into: $0)
            }
        }
        return Array(frame[..<size])
    }

    /// Alice's next message without a welcome, whatever she knows.
    func bare(_ text: String) throws -> [UInt8] {
        let session = try alice.store.session(alice.session).session
        let envelope = Frame.Envelope(
            session: session.half, epoch: 0, index: session.sending.index, previousLength: 0,
            lane: 1, filterKey: session.outgoingFilter, welcome: nil)
        var frame = [UInt8](repeating: 0, count: envelope.size(around: text.utf8.count))
        try withText(text) { message in
            try frame.withUnsafeMutableBytes { frame in
                try Frame.write(
                    envelope, message: message, key: session.sending.messageKey(),
                    random: randomWords(), into: frame)
            }
        }
        // The index is used up.
        _ = try withText("-") { try alice.store.send(alice.session, $0) }
        return frame
    }

    func hear(_ frame: [UInt8], at who: Who) throws -> String {
        let side = who == .alice ? alice : bob
        let received = try frame.withUnsafeBytes {
            try side.store.receive(side.account, [($0, false)])
        }[0]
        if let failure = received.failure { throw failure }
        if who == .bob, let session = received.session { bob.session = session }
        return text(received.message)
    }
}

/// Storage in memory whose next commits of a write meet another writer, or have something happen behind them, once.
private final class BusyCommits: StoragePort {
    final class State {
        var busy = 0
        var onCommit: (() -> Void)?
    }
    let state: State
    private let port: any StoragePort
    private var isWriting = false

    init(_ port: any StoragePort = MemoryStorage(), _ state: State = State()) {
        self.port = port
        self.state = state
    }

    func begin(_ mode: TransactionMode) throws(Failure) {
        try port.begin(mode)
        isWriting = mode == .write
    }
    func commit() throws(Failure) {
        guard isWriting, state.busy > 0 else {
            try port.commit()
            let behind = state.onCommit
            state.onCommit = nil
            behind?()
            return
        }
        state.busy -= 1
        port.rollback()
        throw .busy(.writer)
    }
    func get(
        _ key: Bytes, _ body: (Bytes) throws(Failure) -> Void
    ) throws(Failure) -> Bool { try port.get(key, body) }
    func put(_ key: Bytes, _ value: Bytes) throws(Failure) { try port.put(key, value) }
    func delete(_ key: Bytes) throws(Failure) { try port.delete(key) }
    func scan(
        from: Bytes, to: Bytes, limit: Int, _ body: (Bytes, Bytes) throws(Failure) -> Bool
    ) throws(Failure) { try port.scan(from: from, to: to, limit: limit, body) }
    func rollback() { port.rollback() }
    func sibling() throws(Failure) -> any StoragePort {
        BusyCommits(try port.sibling(), state)
    }
    func close() { port.close() }
}
