import PawlCore
import PawlCrypto
import PawlEngine
import PawlStore
import Testing

// What the tests of rekeying share: two sides with a session that both know, and a link in virtual time.

let millisecond: Int64 = 1_000_000

/// One side of a session, and what its host got.
final class Side {
    let name: String
    let storage: MemoryStorage
    let clock: ManualClock
    private(set) var store: Store
    let account: Identifier
    var session: Identifier
    /// Texts, in the order in which they came.
    private(set) var heard: [String] = []
    /// Under which epochs.
    private(set) var epochs: [UInt32] = []
    private(set) var refusals: [Failure] = []
    /// What the library told: which event, and its number.
    private(set) var events: [(what: UInt32, count: UInt64)] = []
    private var trace = Trace()
    var steps: [Rekey.Step] { trace.steps }

    enum Event {
        static let lost: UInt32 = 2
        static let desynchronized: UInt32 = 3
        static let epoch: UInt32 = 6
        static let stalled: UInt32 = 7
        static let closed: UInt32 = 8
        static let unsent: UInt32 = 9
    }

    final class Trace: Tracer {
        var steps: [Rekey.Step] = []
        func trace(_ traced: TracedStep) { steps.append(traced.step) }
    }

    /// `port`: where the store lies instead of `storage`.
    init(_ name: String, _ clock: ManualClock, on port: (any StoragePort)? = nil) throws {
        self.name = name
        self.clock = clock
        storage = MemoryStorage()
        store = try openStore(on: port ?? storage, clock: clock)
        account = try withText(name) { [store] in try store.createAccount(named: $0) }
        session = .none
        store.setTracer(trace)
    }

    /// As after a crash, or on an old copy: nothing is given back.
    func reopen(on copy: MemoryStorage? = nil) throws {
        store = try openStore(on: (copy ?? storage).sibling(), clock: clock)
        store.setTracer(trace)
    }

    func forgetSteps() { trace.steps = [] }
    func forgetRefusals() { refusals = [] }
    func count(_ event: Rekey.Step.Event) -> Int { steps.count { $0.event == event } }
    func count(_ event: UInt32) -> Int { events.count { $0.what == event } }

    var record: Session { get throws { try store.session(session).session } }
    var epoch: UInt32 { get throws { try record.epoch } }
    var isIdle: Bool {
        get throws {
            guard case .idle = try record.rekey.phase else { return false }
            return true
        }
    }

    // MARK: Calls

    @discardableResult
    func send(_ message: String) throws -> UInt64 {
        try withText(message) { try store.send(session, $0) }
    }

    func encrypt(_ message: String) throws -> [UInt8] {
        try store.frame(message, in: session)
    }

    @discardableResult
    func rekey(fresh: Bool = false) throws -> UInt32 { try store.rekey(session, isFresh: fresh) }

    func limit(
        messages: UInt32 = 0, bytes: UInt64 = 0, interval: Int64 = 0, perfect: Bool = false,
        queue: UInt32 = 0
    ) throws {
        try store.setLimits(
            session,
            Pace.Limits(
                messages: messages, bytes: bytes, interval: interval, isPerfect: perfect,
                queue: queue))
    }

    /// All frames that are to leave, with their tickets; events are noted.
    func items() throws -> [(ticket: UInt64, frame: [UInt8])] {
        var frames: [(UInt64, [UInt8])] = []
        let rows = try store.takeItems(limit: 10_000, lease: 0).sorted { $0.seq < $1.seq }
        for row in rows {
            switch row.item.lane.kind {
            case .frames, .control: frames.append((row.item.count, Array(row.item.body)))
            case .events: events.append((row.item.what, row.item.count))
            case .requests, .publishing, .backup: break
            }
        }
        if !rows.isEmpty { try store.acknowledge(rows.map { $0.seq }) }
        return frames
    }

    func take() throws -> [[UInt8]] { try items().map { $0.frame } }

    /// Receives in one call.
    @discardableResult
    func receive(_ frames: [[UInt8]]) throws -> [Failure?] {
        guard !frames.isEmpty else { return [] }
        let all = try hear(frames, at: store, account)
        for one in all {
            if let session = one.session, one.isNewSession { self.session = session }
            if let failure = one.failure { refusals.append(failure) }
            guard let message = one.message else { continue }
            heard.append(withExtendedLifetime(one) { text(message) })
            epochs.append(one.epoch)
        }
        return all.map { $0.failure }
    }

    @discardableResult
    func receive(_ frame: [UInt8]) throws -> Failure? { try receive([frame])[0] }

    /// Moves a stored index, whose key stays: the bytes of sending and receiving chain follow each other.
    func set(sending: UInt32? = nil, receiving: UInt32? = nil) throws {
        try store.transact(.write) { (transaction) throws(Failure) in
            let row = session.withBytes { RowKey(.session).appending($0) }
            guard let buffer = try transaction.get(row) else { throw .notFound }
            let record = try Session(decoding: buffer, id: session)
            // Behind the fixed part, keys and name of the peer, filter keys, previous length, chain key.
            let place = 35 + 64 + 1 + record.peer.name.count + 32 + 4 + 32
            for (index, offset) in [(sending, place), (receiving, place + 36)] {
                guard let index else { continue }
                buffer.mutableBytes.storeBytes(
                    of: index.littleEndian, toByteOffset: offset, as: UInt32.self)
            }
            transaction.put(row, buffer)
        }
    }

    /// Of all kinds, or one.
    func rows(_ kind: RowKind? = nil) throws -> Int {
        try store.transact(.read) { (transaction) throws(Failure) in
            var count = 0
            try transaction.scanEverything { (key, _) in
                if kind == nil || key.first == kind?.rawValue { count += 1 }
                return true
            }
            return count
        }
    }
}

extension Store {
    /// Changes what is stored of a session.
    func edit(_ session: Identifier, _ body: (Session) throws(Failure) -> Void) throws {
        try transact(.write) { (transaction) throws(Failure) in
            let row = session.withBytes { RowKey(.session).appending($0) }
            guard let buffer = try transaction.get(row) else { throw .notFound }
            let record = try Session(decoding: buffer, id: session)
            try body(record)
            try transaction.put(row, record.encoded())
        }
    }

    /// A message as `encrypt` gives it.
    func frame(_ message: String, in session: Identifier) throws -> [UInt8] {
        var frame = [UInt8](repeating: 0, count: message.utf8.count + Frame.overheadLimit)
        let size = try withText(message) { message in
            try frame.withUnsafeMutableBytes { try encrypt(session, message, into: $0) }
        }
        return Array(frame[..<size])
    }
}

func hear(
    _ frames: [[UInt8]], at store: Store, _ account: Identifier, keeps: Bool = false
) throws -> [Store.Received] {
    let sizes = frames.map { $0.count }
    return try frames.flatMap { $0 }.withUnsafeBytes { all in
        var start = 0
        var parts: [(bytes: Bytes, keeps: Bool)] = []
        for size in sizes {
            parts.append((Bytes(rebasing: all[start..<start + size]), keeps))
            start += size
        }
        return try store.receive(account, parts)
    }
}

/// Epoch, index and previous length of a frame.
func place(_ frame: [UInt8]) -> (epoch: UInt32, index: UInt32, previous: UInt32) {
    func number(_ offset: Int) -> UInt32 {
        frame[offset..<offset + 4].reversed().reduce(0) { $0 << 8 | UInt32($1) }
    }
    return (number(10), number(14), number(18))
}

/// Whether `a` sends with the keys that `b` receives with: chain keys at the same index.
func agrees(_ a: Session, _ b: Session) throws -> Bool {
    let (sending, receiving) = (try a.sending.copy(), try b.receiving.chain.copy())
    let end = max(sending.index, receiving.index)
    for chain in [sending, receiving] { while chain.index < end { try chain.advance() } }
    return a.epoch == b.epoch && Array(sending.key) == Array(receiving.key)
}

/// Alice and Bob, who have heard each other, and a link between them that keeps the order. Time passes by itself only
/// in `run`.
final class Couple {
    let clock = ManualClock()
    let alice: Side
    let bob: Side
    private var plans: [(time: Int64, number: Int, act: () throws -> Void)] = []
    private var number = 0
    private var arrival: [Int64] = [0, 0]
    private var sent: [[String]] = [[], []]
    /// What a frame needs to arrive, in nanoseconds.
    var latency: () -> Int64 = { 20 * millisecond }
    /// Whether the link loses a frame for good.
    var loses: ([UInt8]) -> Bool = { _ in false }

    init(alice port: (any StoragePort)? = nil, keepsHistory: Bool = false) throws {
        alice = try Side("alice", clock, on: port)
        bob = try Side("bob", clock)
        if keepsHistory {
            for side in [alice, bob] { try side.store.keepHistory(side.account, true) }
        }
        let rows = try bob.store.createPackage(
            bob.account, lifetime: 90 * 24 * Backoff.hour, oneTimeKeys: 0)
        let package = array(rows[0].bytes)
        alice.session = try withText("bob") { name in
            try package.withUnsafeBytes {
                try alice.store.startSession(alice.account, peer: name, $0)
            }
        }
        for side in [alice, bob, alice] {
            try say("hello of \(side.name)", side)
            try flush()
        }
        try check()
    }

    func other(_ side: Side) -> Side { side === alice ? bob : alice }

    /// Sends what is to arrive in its order.
    @discardableResult
    func say(_ text: String, _ side: Side) throws -> UInt64 {
        let ticket = try side.send(text)
        sent[side === alice ? 0 : 1].append(text)
        return ticket
    }

    /// Delivers all frames until nobody says anything; no time passes.
    func flush() throws {
        while true {
            let (hers, his) = (try alice.take(), try bob.take())
            guard !hers.isEmpty || !his.isEmpty else { return }
            try bob.receive(hers)
            try alice.receive(his)
        }
    }

    /// Everything said was heard, in order and once; both sides have the same keys.
    func check(at: SourceLocation = #_sourceLocation) throws {
        try #require(bob.heard == sent[0], sourceLocation: at)
        try #require(alice.heard == sent[1], sourceLocation: at)
        try #require(alice.refusals.isEmpty && bob.refusals.isEmpty, sourceLocation: at)
        let (hers, his) = (try alice.record, try bob.record)
        let isSame = try agrees(hers, his) && agrees(his, hers)
        try #require(isSame, sourceLocation: at)
        let isIdle = try alice.isIdle && bob.isIdle
        try #require(isIdle, sourceLocation: at)
    }

    // MARK: Time

    func at(_ time: Int64, _ act: @escaping () throws -> Void) {
        plans.append((time, number, act))
        number += 1
    }

    /// Lets a message of each side pass, and looks at everything.
    func round(_ number: Int, at place: SourceLocation = #_sourceLocation) throws {
        try say("a\(number)", alice)
        try say("b\(number)", bob)
        try run()
        try check(at: place)
    }

    /// Goes from one thing that happens to the next, until nothing does or time is over.
    func run(for time: Int64 = Backoff.hour) throws {
        let end = clock.now() + time
        while true {
            try serve()
            var next = plans.map { $0.time }.min()
            for side in [alice, bob] {
                guard let due = try side.store.nextDeadline() else { continue }
                next = min(next ?? due, due)
            }
            guard let next, next <= end else { return clock.advance(end - clock.now()) }
            if next > clock.now() { clock.advance(next - clock.now()) }
            for side in [alice, bob] { _ = try side.store.runDue(limit: 100) }
            let now = clock.now()
            let due = plans.filter { $0.time <= now }.sorted {
                ($0.time, $0.number) < ($1.time, $1.number)
            }
            plans.removeAll { $0.time <= now }
            for plan in due { try plan.act() }
            // Without anything under way only deadlines are left that are far off.
            if plans.isEmpty, try alice.isIdle && bob.isIdle { try serve() }
            if plans.isEmpty, try alice.isIdle && bob.isIdle { return }
        }
    }

    private func serve() throws {
        for (place, side) in [alice, bob].enumerated() {
            for frame in try side.take() where !loses(frame) {
                arrival[place] = max(arrival[place], clock.now() + latency())
                let peer = other(side)
                at(arrival[place]) { try peer.receive(frame) }
            }
        }
    }
}
