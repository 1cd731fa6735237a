import PawlCore
import PawlCrypto
import PawlEngine
import PawlStore
import Testing

/// What leaves the library: in order, at least once, to one taker at a time. Time is a clock that stands still.
@Suite struct OutboxTests {
    static let second = Backoff.second

    // MARK: Making items

    private static func identifier(_ number: Int) -> Identifier {
        var bytes = [UInt8](repeating: 0, count: 16)
        bytes[0] = UInt8(truncatingIfNeeded: number >> 8)
        bytes[15] = UInt8(truncatingIfNeeded: number)
        return (try? bytes.withUnsafeBytes { try Identifier($0) }) ?? .none
    }

    private static let keys = [UInt8](repeating: 7, count: 32)

    private static func withPeer<R>(_ body: (Identity) throws -> R) throws -> R {
        try keys.withUnsafeBytes { keys in
            try withText("bob") { name in
                try body(
                    Identity(keys: IdentityPublic(signing: keys, agreement: keys), name: name))
            }
        }
    }

    /// Frames, one for each text, of the sessions with these numbers; all in one call.
    @discardableResult
    static func enqueue(
        _ store: Store, _ frames: (session: Int, text: String)...
    ) throws -> [UInt64] {
        try enqueue(store, frames)
    }

    static func enqueue(
        _ store: Store, _ frames: [(session: Int, text: String)]
    ) throws -> [UInt64] {
        try withPeer { peer in
            try store.transact(.write) { (transaction) throws(Failure) in
                var seqs: [UInt64] = []
                for frame in frames {
                    let body = try SecretBuffer(frame.text)
                    seqs.append(
                        try transaction.enqueue(
                            .frame(
                                body.bytes, count: 0, session: identifier(frame.session),
                                account: identifier(99), peer: peer)))
                    withExtendedLifetime(body) {}
                }
                return seqs
            }
        }
    }

    static func take(_ store: Store, _ limit: Int = 10_000, lease: Int64 = 0) throws -> [String] {
        try store.takeItems(limit: limit, lease: lease).map { row in
            withExtendedLifetime(row) { text(row.item.body) }
        }
    }

    private func rows(_ store: Store, _ kinds: RowKind...) throws -> Int {
        var count = 0
        try store.transact(.read) { (transaction) throws(Failure) in
            for kind in kinds {
                try transaction.scanRaw(RowKey(kind)) { (_, _) in
                    count += 1
                    return true
                }
            }
        }
        return count
    }

    /// Each lane that has items has one row in the index, for its first item; and each item has all its rows.
    static func expectConsistent(_ store: Store, _ at: SourceLocation = #_sourceLocation) throws {
        var fronts: [[UInt8]: [UInt8]] = [:]
        var items: Set<[UInt8]> = []
        var payloads: Set<[UInt8]> = []
        var ready: [[UInt8]] = []
        try store.transact(.read) { (transaction) throws(Failure) in
            try transaction.scanRaw(RowKey(.item)) { (row, value) throws(Failure) in
                let key = row.withBytes { [UInt8]($0) }
                let (lane, seq) = ([UInt8](key[1..<18]), [UInt8](key[18...]))
                items.insert(seq)
                let state =
                    Sealer.isMark(value)
                    ? ItemState()
                    : try ItemState(decoding: transaction.sealer.open(value, for: row))
                let time = UInt64(bitPattern: state.free) ^ 1 << 63
                if fronts[lane] == nil {
                    fronts[lane] = withUnsafeBytes(of: time.bigEndian) { [UInt8]($0) } + seq
                }
                return true
            }
            try transaction.scanRaw(RowKey(.payload)) { (row, _) in
                payloads.insert(row.withBytes { [UInt8]($0.dropFirst()) })
                return true
            }
            try transaction.scanRaw(RowKey(.ready)) { (row, _) in
                ready.append(row.withBytes { [UInt8]($0.dropFirst()) })
                return true
            }
        }
        #expect(items == payloads, sourceLocation: at)
        #expect(Set(ready) == Set(fronts.map { $0.value + $0.key }), sourceLocation: at)
        #expect(ready.count == fronts.count, sourceLocation: at)
        #expect(try store.verify().isEmpty, sourceLocation: at)
    }

    // MARK: Pure

    @Test func anItemIsFreeThenLentThenFreeAgain() throws {
        var state = ItemState()
        #expect(state.canBeTaken(now: Int64.min) && state.attempts == 0)
        state.lend(now: 100, for: 30)
        #expect(!state.canBeTaken(now: 129) && state.canBeTaken(now: 130) && state.attempts == 1)
        state.fail(now: 110, wait: 50, random: 0)
        #expect(!state.canBeTaken(now: 159) && state.canBeTaken(now: 160))
        var waits: [Int64] = []
        for _ in 0..<20 {
            state.fail(now: 0, wait: 0, random: 0)
            waits.append(state.free)
        }
        #expect(waits.first == 2 * Self.second && waits.last == Backoff.hour / 2)
        #expect(waits == waits.sorted())
        state.lend(now: Int64.max - 1, for: Backoff.hour)
        #expect(state.free == Int64.max - 1)
        #expect(try ItemState(decoding: state.encoded()) == state)
    }

    @Test func aLanesFrontIsTheFirstItemThatStays() throws {
        var lent = ItemState()
        lent.lend(now: 0, for: 5)
        let stored = (1...3).map { LaneChange.Front(seq: $0, state: lent) }
        func front(_ change: LaneChange) -> LaneChange.Front? {
            stored.lazy.compactMap { change.after($0) }.first ?? change.firstAdded
        }
        var change = LaneChange()
        #expect(front(change) == stored[0])
        change.add(9)
        change.add(8)
        #expect(front(change) == stored[0])
        change.remove(2)
        #expect(front(change) == stored[0])
        change.change(1, to: ItemState())
        #expect(front(change) == LaneChange.Front(seq: 1, state: ItemState()))
        change.remove(1)
        #expect(front(change) == stored[2])
        change.remove(3)
        #expect(front(change) == LaneChange.Front(seq: 8, state: ItemState()))
    }

    @Test func itemsSurvive() throws {
        let (account, session) = (Self.identifier(1), Self.identifier(2))
        try Self.withPeer { peer in
            try withText("the frame") { body in
                let items = [
                    OutboxItem.frame(
                        body, count: 0, session: session, account: account, peer: peer),
                    .request(4, account: account, session: nil, peer: peer),
                    .event(6, count: 1 << 40, account: account, session: session, peer: peer),
                ]
                let kinds = [OutboxLane.Kind.frames, .requests, .events]
                for (item, kind) in zip(items, kinds) {
                    let read = try OutboxItem(decoding: item.encoded(created: -3))
                    try withExtendedLifetime(read) {
                        #expect(read.lane == item.lane && read.lane.kind == kind)
                        #expect(read.lane.id == (kind == .frames ? session : account))
                        #expect(read.what == item.what && read.count == item.count)
                        #expect(read.account == account && read.session == item.session)
                        #expect(read.created == -3 && text(read.peer?.name) == "bob")
                        #expect(Array(read.peer?.keys.signing ?? .empty) == Self.keys)
                        #expect(text(read.body) == (kind == .frames ? "the frame" : ""))
                        let bytes = array(try item.encoded(created: 0))
                        for count in 0..<bytes.count - item.body.count {
                            #expect(throws: Failure.self) {
                                try bytes.prefix(count).withUnsafeBytes {
                                    try OutboxItem(decoding: SecretBuffer(copying: $0))
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// Who answers a request goes by its number, and is heard in its lane alone. One of a newer Pawl may be in any.
    @Test func requestsStayInTheirLanes() throws {
        let account = Self.identifier(1)
        try Self.withPeer { peer in
            for what in UInt32(0)...13 {
                let isOfBackup = (5...12).contains(what)
                let isPublishing = what == 2 || what == 3
                let request = OutboxItem.request(what, account: account, session: nil, peer: peer)
                #expect(request.lane.kind == (isPublishing ? .publishing : .requests))
                for (lane, fits) in [
                    // Of older files, too: publishing once was a request like any other.
                    (2, !isOfBackup), (5, what > 4), (6, isPublishing || what > 12),
                ] as [(UInt8, Bool)] {
                    let buffer = try request.encoded(created: 0)
                    buffer.mutableBytes[1] = lane
                    if fits {
                        #expect(try OutboxItem(decoding: buffer).what == what)
                    } else {
                        #expect(throws: Failure.corrupt(.record)) {
                            try OutboxItem(decoding: buffer)
                        }
                    }
                }
                let backup = OutboxItem.backup(what, count: 1, account: account, body: .empty)
                #expect(backup.lane.kind == .backup)
            }
        }
    }

    // MARK: In order

    @Test func itemsLeaveInTheOrderOfTheirNumbers() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        #expect(try Self.take(store) == [])
        let seqs = try Self.enqueue(store, (1, "a1"), (2, "b1"), (1, "a2"), (3, "c1"), (2, "b2"))
        #expect(seqs == [1, 2, 3, 4, 5])
        #expect(try Self.enqueue(store, (1, "a3")) == [6])
        try Self.expectConsistent(store)
        #expect(try rows(store, .ready) == 3)
        let items = try store.takeItems(limit: 10_000, lease: 0)
        withExtendedLifetime(items) {
            #expect(items.map { text($0.item.body) } == ["a1", "a2", "a3", "b1", "b2", "c1"])
            #expect(items.map { $0.seq } == [1, 3, 6, 2, 5, 4])
            #expect(items.allSatisfy { $0.attempts == 0 && $0.item.created == clock.now() })
            #expect(items.allSatisfy { $0.lease == clock.now() + 30 * Self.second })
        }
        try Self.expectConsistent(store)
        #expect(try Self.take(store) == [])
        try store.acknowledge(seqs + [6])
        #expect(try rows(store, .item, .payload, .ready) == 0)
        #expect(try store.nextDeadline() == nil)
        #expect(try Self.enqueue(store, (1, "a4")) == [7])
    }

    /// Of lanes that can be taken from, the one with the oldest item comes first, however busy others are.
    @Test func theOldestItemComesFirst() throws {
        let store = try openStore(on: MemoryStorage())
        try Self.enqueue(store, (9, "old"), (1, "a1"), (1, "a2"))
        #expect(try Self.take(store, 1) == ["old"])
        try store.acknowledge([1])
        #expect(try Self.take(store, 1) == ["a1"])
        try Self.enqueue(store, (9, "new"))
        try store.acknowledge([2])
        #expect(try Self.take(store, 1) == ["a2"])
        #expect(try Self.take(store, 1) == ["new"])
    }

    /// To nobody, also not to whoever has the earlier ones.
    @Test func nothingOvertakesALentItem() throws {
        let data = MemoryStorage()
        let store = try openStore(on: data)
        let other = try openStore(on: data.sibling())
        try Self.enqueue(store, (1, "a1"), (1, "a2"), (1, "a3"), (2, "b1"))
        #expect(try Self.take(store, 2) == ["a1", "a2"])
        #expect(try Self.take(other) == ["b1"])
        #expect(try Self.take(store) == [])
        try other.acknowledge([2])
        #expect(try Self.take(store) == [] && Self.take(other) == [])
        try store.acknowledge([1])
        try Self.enqueue(store, (1, "a4"))
        #expect(try Self.take(other) == ["a3", "a4"])
    }

    @Test func aLeaseThatEndedIsHandedOutAgain() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        let start = clock.now()
        try Self.enqueue(store, (1, "a1"), (1, "a2"), (1, "a3"))
        #expect(try store.nextDeadline() ?? 0 <= start)
        #expect(try Self.take(store, 2, lease: 50) == ["a1", "a2"])
        #expect(try store.nextDeadline() == start + 50)
        clock.advance(49)
        #expect(try Self.take(store) == [])
        clock.advance(1)
        let again = try store.takeItems(limit: 10, lease: 50)
        #expect(again.map { $0.seq } == [1, 2, 3])
        #expect(again.map { $0.attempts } == [1, 1, 0])
        // Who comes late may settle what somebody else holds by now.
        try store.acknowledge([1, 2, 3])
        try Self.expectConsistent(store)
        #expect(try store.nextDeadline() == nil)
        for lease in [-1, 24 * Backoff.hour + 1] {
            #expect(throws: Failure.misuse(.time)) { try store.takeItems(limit: 1, lease: lease) }
        }
    }

    @Test func aFailedItemBlocksItsLaneAlone() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        let start = clock.now()
        try Self.enqueue(store, (1, "a1"), (1, "a2"), (2, "b1"))
        #expect(try Self.take(store) == ["a1", "a2", "b1"])
        try store.failItem(1, retry: 1_000)
        try Self.expectConsistent(store)
        // a2 is still lent; a1 alone comes back at its time.
        #expect(try store.nextDeadline() == start + 1_000)
        try store.acknowledge([3])
        try Self.enqueue(store, (2, "b2"))
        #expect(try Self.take(store) == ["b2"])
        clock.advance(1_000)
        #expect(try Self.take(store) == ["a1"])
        try store.failItem(1, retry: 100 * Self.second)
        clock.advance(99 * Self.second)
        // The lease of a2 ended, and it waits for a1.
        #expect(try Self.take(store) == ["b2"])
        clock.advance(Self.second)
        #expect(try Self.take(store) == ["a1", "a2"])
        #expect(throws: Failure.misuse(.time)) { try store.failItem(1, retry: -1) }
    }

    /// A server that is down, or a read back that takes long, keeps nobody from publishing.
    @Test func publishingWaitsForNoOtherRequest() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        try Self.withPeer { peer in
            try store.transact(.write) { (transaction) throws(Failure) in
                for what in [4, 1, 3, 2] as [UInt32] {
                    _ = try transaction.enqueue(
                        .request(what, account: Self.identifier(1), session: nil, peer: peer))
                }
            }
        }
        func take() throws -> [UInt32] {
            try store.takeItems(limit: 10, lease: 0).map(\.item.what)
        }
        #expect(try take() == [4, 1, 3, 2])
        try store.failItem(1, retry: 24 * Backoff.hour)
        clock.advance(Backoff.minute)
        #expect(try take() == [3, 2])
        // Keys go with the package that is there, so they keep their order.
        try store.failItem(3, retry: Backoff.hour)
        clock.advance(Backoff.minute)
        #expect(try take() == [])
        clock.advance(24 * Backoff.hour)
        #expect(try take() == [3, 2, 4, 1])
        try Self.expectConsistent(store)
        try store.acknowledge([1, 2, 3, 4])
        #expect(try rows(store, .item, .payload, .ready) == 0)
    }

    @Test func withoutATimeAFailedItemWaitsEverLonger() throws {
        let clock = ManualClock()
        let data = MemoryStorage()
        let store = try openStore(on: data, clock: clock)
        try Self.enqueue(store, (1, "a1"))
        var waits: [Int64] = []
        for _ in 0..<25 {
            #expect(try Self.take(store) == ["a1"])
            try store.failItem(1, retry: 0)
            let deadline = try store.nextDeadline() ?? 0
            #expect(try openStore(on: data.sibling(), clock: clock).nextDeadline() == deadline)
            waits.append(deadline - clock.now())
            clock.advance(waits[waits.count - 1])
        }
        #expect(waits[0] >= Self.second && waits[0] < 2 * Self.second)
        #expect(waits.allSatisfy { $0 <= Backoff.hour } && waits[24] >= Backoff.hour / 2)
        #expect(zip(waits, waits.dropFirst(2)).prefix(10).allSatisfy { $0 < $1 })
        #expect(try store.takeItems(limit: 1, lease: 0).map { $0.attempts } == [25])
    }

    // MARK: Settling

    @Test func settlingIsAllOrNothingAndMayBeRepeated() throws {
        let store = try openStore(on: MemoryStorage())
        for unknown in [0, 1, UInt64.max] as [UInt64] {
            #expect(throws: Failure.notFound) { try store.acknowledge([unknown]) }
            #expect(throws: Failure.notFound) { try store.failItem(unknown, retry: 0) }
            #expect(throws: Failure.notFound) { try store.answerRequest(unknown, body: .empty) }
        }
        try store.acknowledge([])
        try Self.enqueue(store, (1, "a1"), (1, "a2"), (2, "b1"))
        for numbers in [[1, 2, 4], [0, 1], [3, UInt64.max]] as [[UInt64]] {
            #expect(throws: Failure.notFound) { try store.acknowledge(numbers) }
        }
        #expect(try Self.take(store) == ["a1", "a2", "b1"])
        try store.acknowledge([2, 1, 2, 1, 1])
        try store.acknowledge([1, 2])
        try store.failItem(1, retry: 5)
        try store.answerRequest(2, body: .empty)
        try Self.expectConsistent(store)
        #expect(throws: Failure.misuse(.flags)) { try store.answerRequest(3, body: .empty) }
        // Without having been taken, too.
        try Self.enqueue(store, (3, "c1"), (3, "c2"), (3, "c3"))
        try store.acknowledge([5])
        try store.failItem(4, retry: 7)
        try Self.expectConsistent(store)
        try store.acknowledge([4])
        #expect(try Self.take(store) == ["c3"])
    }

    @Test func batches() throws {
        let store = try openStore(on: MemoryStorage(), timeout: 0)
        try Self.enqueue(store, (1, "a1"), (1, "a2"))
        let dropped = try store.beginBatch()
        #expect(try Self.enqueue(dropped, (1, "x"), (2, "y")) == [3, 4])
        #expect(try Self.enqueue(dropped, (2, "z")) == [5])
        try dropped.acknowledge([1])
        #expect(try dropped.nextDeadline() != nil)
        try dropped.endBatch(commit: false)
        let batch = try store.beginBatch()
        #expect(try Self.enqueue(batch, (1, "a3"), (2, "b1")) == [3, 4])
        #expect(try Self.enqueue(batch, (2, "b2")) == [5])
        try batch.acknowledge([1, 4])
        try batch.failItem(5, retry: 1)
        try batch.endBatch(commit: true)
        try Self.expectConsistent(store)
        #expect(try Self.take(store) == ["a2", "a3"])
    }

    // MARK: Limits

    @Test func atMost32MiBAtOnceButAlwaysOne() throws {
        let store = try openStore(on: MemoryStorage())
        let large = String(repeating: "L", count: 12 << 20)
        try Self.enqueue(store, (1, large), (1, large), (1, large), (2, "small"))
        #expect(try Self.take(store).map { $0.utf8.count } == [12 << 20, 12 << 20])
        #expect(try Self.take(store) == ["small"])
        try store.acknowledge([1, 2])
        #expect(try Self.take(store).map { $0.utf8.count } == [12 << 20])
        try store.acknowledge([3, 4])
        try Self.enqueue(store, (1, String(repeating: "L", count: 33 << 20)), (1, "next"))
        #expect(try Self.take(store).map { $0.utf8.count } == [33 << 20])
    }

    /// Not what is stored, nor what waits.
    @Test func takingCostsWhatIsTaken() throws {
        func cost(lanes: Int, depth: Int) throws -> [UInt64] {
            let clock = ManualClock()
            let store = try openStore(on: MemoryStorage(), clock: clock)
            for lane in 0..<lanes {
                _ = try Self.enqueue(store, (0..<depth).map { (lane, "\($0)") })
            }
            _ = try store.takeItems(limit: lanes * depth / 2, lease: 0)
            func count(_ act: () throws -> Void) throws -> UInt64 {
                var before: UInt64 = 0
                var after: UInt64 = 0
                func sum(_ counters: Counters) -> UInt64 {
                    counters.reads + counters.scanned + counters.writes
                }
                store.withCounters { before = sum($0) }
                try act()
                store.withCounters { after = sum($0) }
                return after - before
            }
            let last = UInt64(lanes * depth)
            return [
                try count { _ = try Self.take(store, 2, lease: 5) },
                try count { try store.failItem(last, retry: 5) },
                try count { try store.acknowledge([last - 1]) },
                try count { _ = try store.nextDeadline() },
                try count { _ = try store.runDue(limit: 10) },
                try count { try Self.enqueue(store, (1, "x")) },
            ]
        }
        let few = try cost(lanes: 4, depth: 4)
        #expect(try cost(lanes: 100, depth: 40) == few)
        #expect(few.allSatisfy { $0 < 30 })
    }

    // MARK: Damage

    @Test func aDamagedItemCostsItself() throws {
        let clock = ManualClock()
        let store = try openStore(on: MemoryStorage(), clock: clock)
        try Self.enqueue(
            store, (1, "a1"), (1, "a2"), (1, "a3"), (2, "b1"), (2, "b2"), (3, "c1"), (4, "d1"))
        func damage(_ kind: RowKind, _ pick: ([UInt8]) -> Bool) throws {
            var found: [RowKey] = []
            try store.transact(.write) { (transaction) throws(Failure) in
                try transaction.scanRaw(RowKey(kind)) { (row, _) in
                    if pick(row.withBytes { [UInt8]($0) }) { found.append(row) }
                    return true
                }
                for row in found {
                    let zeros = try SecretBuffer(count: 60)
                    for index in 0..<60 { zeros.mutableBytes[index] = 0 }
                    transaction.putRaw(row, zeros)
                }
            }
            #expect(found.count == 1)
        }
        try damage(.payload) { $0.last == 1 }
        try damage(.payload) { $0.last == 5 }
        try damage(.item) { $0.last == 6 }
        try damage(.ready) { $0.last == 4 }
        try damage(.ticket) { _ in true }
        #expect(try Self.take(store) == ["a2", "a3", "b1", "c1", "d1"])
        #expect(try Self.take(store) == [])
        // Verify still names what could not be handed out, until it is settled.
        #expect(try store.verify().count == 3)
        clock.advance(30 * Self.second)
        #expect(try Self.take(store) == ["a2", "a3", "b1", "c1", "d1"])
        try store.acknowledge([1, 2, 3, 4, 5, 6, 7])
        // The number goes on above all that are there.
        #expect(try Self.enqueue(store, (1, "a4"))[0] > 0)
        try store.transact(.write) { (transaction) throws(Failure) in
            transaction.delete(RowKey(.ticket))
        }
        let last = try Self.enqueue(store, (1, "a5"))[0]
        #expect(last > 1 << 32)
        try Self.expectConsistent(store)
        #expect(try Self.take(store) == ["a4", "a5"])
    }

    // MARK: Against a model

    private struct Model {
        struct Item {
            let seq: UInt64
            let text: String
            var free = Int64.min
        }
        var lanes: [Int: [Item]] = [:]
        var last: UInt64 = 0

        mutating func take(_ limit: Int, now: Int64, lease: Int64) -> [String] {
            var taken: [String] = []
            let order = lanes.filter { !$0.value.isEmpty }.sorted { a, b in
                (a.value[0].free, a.value[0].seq) < (b.value[0].free, b.value[0].seq)
            }
            for (lane, items) in order {
                for (index, item) in items.enumerated() {
                    guard taken.count < limit, item.free <= now else { break }
                    taken.append(item.text)
                    lanes[lane]?[index].free = now + lease
                }
            }
            return taken
        }
    }

    @Test(arguments: 1...40)
    func anyOrderOfCallsDoesWhatTheModelDoes(_ seed: UInt64) throws {
        var state = seed &* 0x9E37_79B9_7F4A_7C15
        func random(_ below: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % below
        }
        let clock = ManualClock()
        let data = MemoryStorage()
        let stores = [try openStore(on: data, clock: clock), try openStore(on: data, clock: clock)]
        var model = Model()
        for _ in 0..<120 {
            let store = stores[random(2)]
            let now = clock.now()
            switch random(8) {
            case 0, 1:
                let frames = (0...random(4)).map { (random(4), "\(model.last + UInt64($0) + 1)") }
                for frame in frames {
                    model.last += 1
                    model.lanes[frame.0, default: []].append(
                        Model.Item(seq: model.last, text: frame.1))
                }
                #expect(try Self.enqueue(store, frames).last == model.last)
            case 2, 3:
                let (limit, lease) = (1 + random(6), Int64(1 + random(20)))
                let expected = model.take(limit, now: now, lease: lease)
                #expect(try Self.take(store, limit, lease: lease) == expected)
            case 4, 5:
                guard model.last > 0 else { continue }
                let seqs = (0...random(5)).map { _ in UInt64(1 + random(Int(model.last))) }
                try store.acknowledge(seqs)
                for lane in model.lanes.keys {
                    model.lanes[lane]?.removeAll { seqs.contains($0.seq) }
                }
            case 6:
                guard model.last > 0 else { continue }
                let (seq, wait) = (UInt64(1 + random(Int(model.last))), Int64(1 + random(30)))
                try store.failItem(seq, retry: wait)
                for (lane, items) in model.lanes {
                    for index in items.indices where items[index].seq == seq {
                        model.lanes[lane]?[index].free = now + wait
                    }
                }
            default: clock.advance(Int64(random(15)) - 2)
            }
            let next = model.lanes.values.compactMap { $0.first?.free }.min()
            let expected = next.map { $0 <= clock.now() ? min(max($0, 0), clock.now()) : $0 }
            #expect(try store.nextDeadline() == expected)
        }
        try Self.expectConsistent(stores[0])
        clock.advance(1_000)
        let left = model.lanes.values.reduce(0) { $0 + $1.count }
        #expect(try Self.take(stores[1]).count == left)
    }

    // MARK: Crashes

    struct Scenario: Sendable, CustomStringConvertible {
        let description: String
        let act: @Sendable (Store, ManualClock) throws -> Void
    }

    static let scenarios = [
        Scenario(description: "enqueue") { store, _ in
            try enqueue(store, (1, "n1"), (5, "n2"), (5, "n3"))
        },
        Scenario(description: "take") { store, _ in _ = try take(store, 3) },
        Scenario(description: "take again") { store, clock in
            clock.advance(100 * second)
            _ = try take(store)
        },
        Scenario(description: "ack") { store, _ in try store.acknowledge([1, 3, 5]) },
        Scenario(description: "fail") { store, _ in try store.failItem(3, retry: 77) },
        Scenario(description: "run due") { store, clock in
            clock.advance(10)
            _ = try store.runDue(limit: 10)
        },
        Scenario(description: "batch") { store, _ in
            let batch = try store.beginBatch()
            do {
                try enqueue(batch, (7, "n1"))
                try batch.acknowledge([1, 2])
                try batch.failItem(5, retry: 5)
            } catch {
                try? batch.endBatch(commit: false)
                throw error
            }
            try batch.endBatch(commit: true)
        },
    ]

    /// Every row of outbox and schedule, and of what jobs remove, opened.
    private func picture(_ store: Store) throws -> [[UInt8]: [UInt8]] {
        var all: [[UInt8]: [UInt8]] = [:]
        try store.transact(.read) { (transaction) throws(Failure) in
            let kinds = [RowKind.ticket, .item, .payload, .ready, .job, .jobTime, .credential]
            for kind in kinds {
                try transaction.scanRaw(RowKey(kind)) { (row, value) throws(Failure) in
                    all[row.withBytes { [UInt8]($0) }] = try transaction.contents(value, of: row)
                    return true
                }
            }
        }
        return all
    }

    /// Every operation of every call fails once, in each way it can: afterwards all is as before or as after,
    /// and what the call answered was true. Running jobs is several calls, so there each is.
    @Test(arguments: scenarios, [FaultPlan.Mode.before, .afterCommit, .crash])
    func crashes(_ scenario: Scenario, _ mode: FaultPlan.Mode) throws {
        let base = MemoryStorage()
        let start = ManualClock()
        let store = try openStore(on: base, clock: start)
        try Self.enqueue(store, (1, "a1"), (2, "b1"), (1, "a2"), (3, "c1"), (2, "b2"))
        #expect(try Self.take(store, 1) == ["a1"])
        try store.failItem(4, retry: 60)
        var put = CredentialRules.Put()
        put.expiry = .set(start.now() + 10)
        try store.put("first", "1", put)
        try store.put("second", "2", put)
        let before = try picture(store)
        let done = base.snapshot()
        try scenario.act(openStore(on: done, clock: start), start)
        let after = try picture(openStore(on: done))
        #expect(before != after)
        let isOneCommit = scenario.description != "run due"

        var operation = 0
        while true {
            operation += 1
            let data = base.snapshot()
            let plan = FaultPlan(failing: operation, mode)
            let clock = ManualClock()
            let answer = Result {
                try scenario.act(
                    openStore(on: FaultyStorage(data.sibling(), plan), clock: clock), clock)
            }
            if mode != .afterCommit, !plan.fired { break }
            let reopened = try openStore(on: data.sibling(), clock: clock)
            let found = try picture(reopened)
            switch answer {
            case .success: #expect(isOneCommit ? found == after : true, "operation \(operation)")
            case .failure(let error as Failure):
                if isOneCommit, case .store(.indeterminate, _) = error {
                    #expect(found == before || found == after, "operation \(operation)")
                } else if isOneCommit {
                    #expect(found == before, "operation \(operation): \(error)")
                }
            case .failure(let error): throw error
            }
            try Self.expectConsistent(reopened)
            // The rest of the work is done by whoever comes next.
            if !isOneCommit {
                clock.advance(start.now() - clock.now())
                _ = try reopened.runDue(limit: 10)
                #expect(try picture(reopened) == after, "operation \(operation)")
            }
            // Nothing is stuck.
            clock.advance(1_000 * Self.second)
            let stored = try rows(reopened, .item)
            #expect(try Self.take(reopened).count == stored)
            if mode == .afterCommit, operation > plan.count { break }
        }
        #expect(operation > 3)
    }
}
