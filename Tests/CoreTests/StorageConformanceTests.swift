import CPlatform
import Foundation
import PawlCrypto
import PawlStore
import Testing

/// A storage engine under test. Add one to `all` and the whole suite runs on it.
struct StorageEngine: Sendable, CustomTestStringConvertible {
    let testDescription: String
    /// An empty store.
    let make: @Sendable () throws -> StorageFixture

    static let all = builtIn + builtIn.map { $0.proxied }
    static let builtIn = [memory, sqlite, host]

    static let memory = StorageEngine(testDescription: "memory") {
        // The first connection holds the data, so that "closing" the store does not lose it.
        let root = MemoryStorage()
        return StorageFixture(end: {}, open: { () throws(Failure) in try root.sibling() })
    }

    static let sqlite = StorageEngine(testDescription: "sqlite") {
        let folder = try TemporaryFolder()
        let path = folder.path("store")
        try SQLiteStorage.create(path: path) { _ in }
        return StorageFixture(
            end: { folder.remove() },
            open: { () throws(Failure) in try SQLiteStorage.open(path: path) })
    }

    private var proxied: StorageEngine {
        StorageEngine(testDescription: "faulty \(testDescription)") { [make] in
            let fixture = try make()
            return StorageFixture(
                end: fixture.end,
                open: { () throws(Failure) in FaultyStorage(try fixture.open(), FaultPlan()) })
        }
    }
}

/// One store; every `open` is a first connection, as after a restart.
struct StorageFixture {
    /// Removes what is left on disk.
    let end: () -> Void
    let open: () throws(Failure) -> any StoragePort

    func end(closing ports: any StoragePort...) {
        for port in ports { port.close() }
        end()
    }
}

/// Runs `body` until no other writer is in its way.
func retrying(_ body: () throws -> Void) throws {
    while true {
        do {
            return try body()
        } catch Failure.busy(.writer) {
            platform_sleep_ns(50_000)
        }
    }
}

/// A folder of its own, to be removed at the end.
struct TemporaryFolder {
    let name: String

    init() throws {
        name = NSTemporaryDirectory() + "pawl-" + UUID().uuidString
        try FileManager.default.createDirectory(
            atPath: name, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    }

    func remove() { try? FileManager.default.removeItem(atPath: name) }

    func path(_ file: String) -> [UInt8] { Array((name + "/" + file).utf8) }
    func url(_ file: String) -> URL { URL(fileURLWithPath: name + "/" + file) }
    var files: [String] {
        get throws { try FileManager.default.contentsOfDirectory(atPath: name).sorted() }
    }
}

/// A small generator whose seed is printed with a failure.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {  // SplitMix64
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// What the tests hand to a thread and do not touch meanwhile.
private struct Handed<Value>: @unchecked Sendable { let value: Value }

private struct Row: Equatable, Comparable {
    var key: [UInt8]
    var value: [UInt8]

    static func < (a: Row, b: Row) -> Bool { a.key.lexicographicallyPrecedes(b.key) }
}

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

extension StoragePort {
    fileprivate func put(_ key: [UInt8], _ value: [UInt8]) throws(Failure) {
        try key.withUnsafeBufferPointer { (key) throws(Failure) in
            try value.withUnsafeBufferPointer { (value) throws(Failure) in
                try put(Bytes(key), Bytes(value))
            }
        }
    }

    fileprivate func delete(_ key: [UInt8]) throws(Failure) {
        try key.withUnsafeBufferPointer { (key) throws(Failure) in try delete(Bytes(key)) }
    }

    fileprivate func value(_ key: [UInt8]) throws(Failure) -> [UInt8]? {
        var value: [UInt8]?
        let found = try key.withUnsafeBufferPointer { (key) throws(Failure) in
            try get(Bytes(key)) { value = Array($0) }
        }
        #expect(found == (value != nil))
        return value
    }

    fileprivate func scan(
        from: [UInt8], to: [UInt8], limit: Int = .max,
        _ body: (Bytes, Bytes) throws(Failure) -> Bool
    ) throws(Failure) {
        try from.withUnsafeBufferPointer { (from) throws(Failure) in
            try to.withUnsafeBufferPointer { (to) throws(Failure) in
                try scan(from: Bytes(from), to: Bytes(to), limit: limit, body)
            }
        }
    }

    fileprivate func rows(
        from: [UInt8] = [0], to: [UInt8] = Array(repeating: 255, count: 81), limit: Int = .max
    ) throws(Failure) -> [Row] {
        var rows: [Row] = []
        try scan(from: from, to: to, limit: limit) { key, value in
            rows.append(Row(key: Array(key), value: Array(value)))
            return true
        }
        return rows
    }

    fileprivate func writing<R>(_ body: () throws(Failure) -> R) throws(Failure) -> R {
        try begin(.write)
        do throws(Failure) {
            let result = try body()
            try commit()
            return result
        } catch {
            rollback()
            throw error
        }
    }

    fileprivate func reading<R>(_ body: () throws(Failure) -> R) throws(Failure) -> R {
        try begin(.read)
        defer { rollback() }
        return try body()
    }
}

// MARK: - Every engine

@Suite struct StorageConformanceTests {
    @Test(arguments: StorageEngine.all)
    func scansInTheOrderOfUnsignedBytes(_ engine: StorageEngine) throws {
        let fixture = try engine.make()
        let store = try fixture.open()
        defer { fixture.end(closing: store) }
        let keys: [[UInt8]] = [
            [0], [0, 0], [0, 255], [1], [127], [127, 1], [128], [128, 0], [255],
        ]
        try store.writing { () throws(Failure) in
            for key in keys.reversed() { try store.put(key, key) }
        }
        try store.begin(.read)
        defer { store.rollback() }
        #expect(try store.rows().map(\.key) == keys)
        #expect(try store.rows().map(\.value) == keys)
    }

    @Test(arguments: StorageEngine.all)
    func scansWithinBoundsAndLimits(_ engine: StorageEngine) throws {
        let fixture = try engine.make()
        let store = try fixture.open()
        defer { fixture.end(closing: store) }
        try store.writing { () throws(Failure) in
            for name in ["a", "b", "ba", "c", "d"] { try store.put(bytes(name), bytes(name)) }
        }
        func names(_ from: String, _ to: String, _ limit: Int = .max) throws -> [String] {
            try store.rows(from: bytes(from), to: bytes(to), limit: limit)
                .map { String(decoding: $0.key, as: UTF8.self) }
        }
        try store.begin(.read)
        defer { store.rollback() }
        #expect(try names("b", "d") == ["b", "ba", "c"])
        #expect(try names("aa", "bb") == ["b", "ba"])
        #expect(try names("a", "e", 2) == ["a", "b"])
        #expect(try names("a", "e", 5) == ["a", "b", "ba", "c", "d"])
        #expect(try names("a", "e", 0) == [])
        #expect(try names("b", "b") == [])
        #expect(try names("d", "a") == [])
        #expect(try names("e", "f") == [])

        var seen = 0
        try store.scan(from: bytes("a"), to: bytes("z")) { _, _ in
            seen += 1
            return seen < 3
        }
        #expect(seen == 3)
    }

    @Test(arguments: StorageEngine.all)
    func keepsEmptyAndLargeValues(_ engine: StorageEngine) throws {
        let fixture = try engine.make()
        let store = try fixture.open()
        defer { fixture.end(closing: store) }
        var generator = SeededGenerator(seed: 16)
        let large = (0..<(16 << 20) / 8).flatMap { _ in
            withUnsafeBytes(of: generator.next()) { Array($0) }
        }
        try store.writing { () throws(Failure) in
            try store.put(bytes("empty"), [])
            try bytes("none").withUnsafeBufferPointer { (key) throws(Failure) in
                try store.put(Bytes(key), Bytes.empty)  // no address either
            }
            try store.put(bytes("large"), large)
            #expect(try store.value(bytes("empty")) == [])
        }
        try store.begin(.read)
        defer { store.rollback() }
        #expect(try store.value(bytes("empty")) == [])
        #expect(try store.value(bytes("none")) == [])
        #expect(try store.value(bytes("large")) == large)
        #expect(try store.rows().map(\.value.count) == [0, 16 << 20, 0])
        #expect(try store.value(bytes("absent")) == nil)
    }

    @Test(arguments: StorageEngine.all)
    func overwritesAndDeletes(_ engine: StorageEngine) throws {
        let fixture = try engine.make()
        let store = try fixture.open()
        defer { fixture.end(closing: store) }
        try store.writing { () throws(Failure) in
            try store.put(bytes("a"), bytes("first, and longer"))
            try store.put(bytes("b"), bytes("stays"))
            try store.put(bytes("a"), bytes("second"))
            #expect(try store.value(bytes("a")) == bytes("second"))
        }
        try store.writing { () throws(Failure) in
            try store.delete(bytes("absent"))
            try store.delete(bytes("a"))
            try store.delete(bytes("a"))
            #expect(try store.value(bytes("a")) == nil)
        }
        #expect(
            try store.reading { () throws(Failure) in try store.rows() }
                == [Row(key: bytes("b"), value: bytes("stays"))])
    }

    @Test(arguments: StorageEngine.all)
    func forgetsWhatIsRolledBack(_ engine: StorageEngine) throws {
        let fixture = try engine.make()
        let store = try fixture.open()
        defer { fixture.end(closing: store) }
        try store.writing { () throws(Failure) in try store.put(bytes("a"), bytes("1")) }
        let before = try store.reading { () throws(Failure) in try store.rows() }
        try store.begin(.write)
        try store.put(bytes("a"), bytes("2"))
        try store.put(bytes("b"), bytes("3"))
        try store.delete(bytes("a"))
        store.rollback()
        store.rollback()  // without a transaction: nothing
        #expect(try store.reading { () throws(Failure) in try store.rows() } == before)
    }

    @Test(arguments: StorageEngine.all)
    func keepsWhatIsCommittedAndOnlyThat(_ engine: StorageEngine) throws {
        let fixture = try engine.make()
        let first = try fixture.open()
        try first.writing { () throws(Failure) in try first.put(bytes("a"), bytes("kept")) }
        try first.begin(.write)
        try first.put(bytes("a"), bytes("lost"))
        first.close()  // rolls back
        let again = try fixture.open()
        defer { fixture.end(closing: again) }
        #expect(
            try again.reading { () throws(Failure) in try again.value(bytes("a")) }
                == bytes("kept"))
        // And the closed one left no lock behind.
        try again.writing { () throws(Failure) in try again.put(bytes("a"), bytes("new")) }
    }

    @Test(arguments: StorageEngine.all)
    func hidesWhatIsNotCommitted(_ engine: StorageEngine) throws {
        let fixture = try engine.make()
        let store = try fixture.open()
        let other = try store.sibling()
        defer { fixture.end(closing: other, store) }
        try store.writing { () throws(Failure) in try store.put(bytes("a"), bytes("old")) }
        try store.begin(.write)
        try store.put(bytes("a"), bytes("new"))
        // An engine may make readers wait instead; one that does not must show what was.
        do throws(Failure) {
            #expect(
                try other.reading { () throws(Failure) in try other.value(bytes("a")) }
                    == bytes("old"))
        } catch {
            #expect(error == .busy(.writer))
        }
        try store.commit()
        #expect(
            try other.reading { () throws(Failure) in try other.value(bytes("a")) }
                == bytes("new"))
    }

    @Test(arguments: StorageEngine.all)
    func readsOneSnapshot(_ engine: StorageEngine) throws {
        let fixture = try engine.make()
        let store = try fixture.open()
        let other = try store.sibling()
        defer { fixture.end(closing: other, store) }
        try store.writing { () throws(Failure) in try store.put(bytes("a"), bytes("old")) }
        try other.begin(.read)
        #expect(try other.value(bytes("a")) == bytes("old"))
        do throws(Failure) {
            try store.writing { () throws(Failure) in
                try store.put(bytes("a"), bytes("new"))
                try store.put(bytes("b"), bytes("new"))
            }
        } catch {
            #expect(error == .busy(.writer))
        }
        #expect(try other.rows() == [Row(key: bytes("a"), value: bytes("old"))])
        try other.commit()
    }

    @Test(arguments: StorageEngine.all)
    func refusesASecondWriterAtOnce(_ engine: StorageEngine) throws {
        let fixture = try engine.make()
        let store = try fixture.open()
        let other = try store.sibling()
        defer { fixture.end(closing: other, store) }
        try store.begin(.write)
        #expect(throws: Failure.busy(.writer)) { try other.begin(.write) }
        // The refused one is idle, not half in a transaction.
        try store.commit()
        try other.begin(.write)
        try other.commit()
    }

    @Test(arguments: StorageEngine.all)
    func losesNoUpdateAmongManyWriters(_ engine: StorageEngine) async throws {
        let fixture = try engine.make()
        let store = try fixture.open()
        defer { fixture.end(closing: store) }
        let (writers, rounds) = (4, 50)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<writers {
                let handed = Handed(value: try store.sibling())
                group.addTask {
                    try await onThread {
                        let port = handed.value
                        defer { port.close() }
                        for _ in 0..<rounds {
                            try retrying {
                                try port.writing { () throws(Failure) in
                                    let count = try port.value(bytes("count")) ?? [0, 0]
                                    let next = Int(count[0]) * 256 + Int(count[1]) + 1
                                    try port.put(
                                        bytes("count"), [UInt8(next >> 8), UInt8(next & 255)])
                                }
                            }
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        let total = writers * rounds
        #expect(
            try store.reading { () throws(Failure) in try store.value(bytes("count")) }
                == [UInt8(total >> 8), UInt8(total & 255)])
    }

    @Test(arguments: StorageEngine.all)
    func passesOnWhatABodyThrows(_ engine: StorageEngine) throws {
        let fixture = try engine.make()
        let store = try fixture.open()
        defer { fixture.end(closing: store) }
        try store.begin(.write)
        for name in ["a", "b", "c"] { try store.put(bytes(name), bytes(name)) }
        let key = bytes("a")
        #expect(throws: Failure.auth) {
            try key.withUnsafeBufferPointer { (key) throws(Failure) in
                _ = try store.get(Bytes(key)) { (_) throws(Failure) in throw .auth }
            }
        }
        var seen = 0
        #expect(throws: Failure.time) {
            try store.scan(from: bytes("a"), to: bytes("z")) { (_, _) throws(Failure) in
                seen += 1
                guard seen < 2 else { throw .time }
                return true
            }
        }
        #expect(seen == 2)
        try store.put(bytes("d"), bytes("d"))
        try store.commit()
        #expect(try store.reading { () throws(Failure) in try store.rows() }.count == 4)
    }

    @Test(arguments: StorageEngine.all, [1, 2, 3] as [UInt64])
    func agreesWithAModel(_ engine: StorageEngine, _ seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let fixture = try engine.make()
        let store = try fixture.open()
        defer { fixture.end(closing: store) }
        func someBytes(_ sizes: ClosedRange<Int>, _ values: ClosedRange<UInt8>) -> [UInt8] {
            (0..<Int.random(in: sizes, using: &random)).map { _ in
                .random(in: values, using: &random)
            }
        }
        // Few letters, among them the edges of signed and unsigned, so that keys meet again.
        func someKey() -> [UInt8] {
            (0..<Int.random(in: 1...3, using: &random)).map { _ in
                [0, 1, 127, 128, 255].randomElement(using: &random) ?? 0
            }
        }
        func same(_ model: [[UInt8]: [UInt8]]) throws {
            let (from, to) = (someKey(), someKey())
            let limit = [0, 1, 3, 1000].randomElement(using: &random) ?? 0
            let expected = model.map { Row(key: $0, value: $1) }.sorted().filter { row in
                !row.key.lexicographicallyPrecedes(from) && row.key.lexicographicallyPrecedes(to)
            }
            #expect(
                try store.rows(from: from, to: to, limit: limit) == Array(expected.prefix(limit)))
            let key = someKey()
            #expect(try store.value(key) == model[key])
        }
        var model: [[UInt8]: [UInt8]] = [:]
        for _ in 0..<60 {
            var draft = model
            try store.begin(.write)
            for _ in 0..<Int.random(in: 0...20, using: &random) {
                let key = someKey()
                if Int.random(in: 0..<3, using: &random) == 0 {
                    try store.delete(key)
                    draft[key] = nil
                } else {
                    let value = someBytes(0...40, 0...255)
                    try store.put(key, value)
                    draft[key] = value
                }
                try same(draft)
            }
            if Bool.random(using: &random) {
                try store.commit()
                model = draft
            } else {
                store.rollback()
            }
            try store.begin(.read)
            try same(model)
            try store.commit()
        }
        #expect(
            try store.reading { () throws(Failure) in
                try store.rows(from: [], to: [255, 255, 255, 255])
            }
                == model.map { Row(key: $0, value: $1) }.sorted())
    }

    @Test(arguments: StorageEngine.all)
    func staysInOrderWhenItGrowsAndShrinks(_ engine: StorageEngine) throws {
        var random = SeededGenerator(seed: 7)
        let fixture = try engine.make()
        let store = try fixture.open()
        defer { fixture.end(closing: store) }
        let keys = (0..<5000).map { [UInt8($0 >> 8), UInt8($0 & 255)] as [UInt8] }
        try store.writing { () throws(Failure) in
            for key in keys.shuffled(using: &random) { try store.put(key, key) }
            #expect(try store.rows(from: []).map(\.key) == keys)
        }
        let odd = keys.filter { $0[1] % 2 == 1 }
        try store.begin(.write)
        for key in keys.shuffled(using: &random) where key[1] % 2 == 0 { try store.delete(key) }
        #expect(try store.rows(from: []).map(\.key) == odd)
        #expect(try store.rows(from: [3, 4], limit: 2).map(\.key) == [[3, 5], [3, 7]])
        for key in odd.shuffled(using: &random) { try store.delete(key) }
        #expect(try store.rows(from: []).isEmpty)
        store.rollback()
        #expect(try store.reading { () throws(Failure) in try store.rows(from: []) }.count == 5000)
    }

    /// Bugs above the port, which our own engines report instead of working without a transaction.
    @Test(arguments: StorageEngine.builtIn)
    func refusesCallsOutOfOrder(_ engine: StorageEngine) throws {
        let fixture = try engine.make()
        let store = try fixture.open()
        defer { fixture.end(closing: store) }
        #expect(throws: Failure.internal) { try store.put(bytes("a"), []) }
        #expect(throws: Failure.internal) { try store.delete(bytes("a")) }
        #expect(throws: Failure.internal) { try store.value(bytes("a")) }
        #expect(throws: Failure.internal) { try store.rows() }
        #expect(throws: Failure.internal) { try store.commit() }
        try store.begin(.read)
        #expect(throws: Failure.internal) { try store.begin(.read) }
        #expect(throws: Failure.internal) { try store.put(bytes("a"), []) }
        #expect(throws: Failure.internal) { try store.delete(bytes("a")) }
        #expect(try store.rows().isEmpty)
    }

    @Test func aSnapshotOfMemoryIsItsOwnStore() throws {
        let store = MemoryStorage()
        try store.writing { () throws(Failure) in try store.put(bytes("a"), bytes("1")) }
        try store.begin(.write)
        try store.put(bytes("a"), bytes("2"))
        let copy = store.snapshot()
        try copy.writing { () throws(Failure) in try copy.put(bytes("b"), bytes("3")) }
        try store.commit()
        #expect(try copy.reading { () throws(Failure) in try copy.value(bytes("a")) } == bytes("1"))
        #expect(try store.reading { () throws(Failure) in try store.value(bytes("b")) } == nil)
        copy.close()
        store.close()
    }
}

/// Runs on a thread of its own: a wait for a lock must not block the pool that runs the tests.
private func onThread(_ body: @escaping @Sendable () throws -> Void) async throws {
    try await withCheckedThrowingContinuation { (done: CheckedContinuation<Void, any Error>) in
        Thread.detachNewThread { done.resume(with: Result { try body() }) }
    }
}

// MARK: - Faults

@Suite struct FaultyStorageTests {
    private static let modes: [FaultPlan.Mode] = [.before, .afterCommit, .crash]

    /// Moves one from `a` to `b` in two transactions, each of which keeps the sum.
    private func scenario(_ store: any StoragePort) throws(Failure) {
        for _ in 0..<2 {
            try store.writing { () throws(Failure) in
                let row = try store.rows(limit: 1)
                let (a, b) = (row[0].value[0], try store.value(bytes("b"))?[0] ?? 0)
                try store.put(bytes("a"), [a - 1])
                try store.delete(bytes("b"))
                try store.put(bytes("b"), [b + 1])
            }
        }
    }

    @Test(arguments: StorageEngine.builtIn, modes)
    func everyTransactionIsWholeWhereverItFails(
        _ engine: StorageEngine, _ mode: FaultPlan.Mode
    ) throws {
        var fired = 0
        var operation = 1
        while true {
            let fixture = try engine.make()
            let root = try fixture.open()
            try root.writing { () throws(Failure) in try root.put(bytes("a"), [9]) }
            let plan = FaultPlan(failing: operation, mode)
            let store = FaultyStorage(try root.sibling(), plan)
            var failure: Failure?
            do throws(Failure) { try scenario(store) } catch { failure = error }
            #expect((failure != nil) == plan.fired)
            if plan.fired { fired += 1 }
            if plan.hasCrashed {
                #expect(throws: FaultPlan.failure) { try store.begin(.read) }
                #expect(throws: FaultPlan.failure) { try store.sibling() }
            }
            store.close()

            // What is there is what the caller was told, or either if nobody could tell.
            let moved = try root.reading { () throws(Failure) -> UInt8 in
                let (a, b) = (try root.value(bytes("a"))?[0], try root.value(bytes("b"))?[0] ?? 0)
                #expect(a == 9 - b)
                return b
            }
            switch failure {
            case nil: #expect(moved == 2)
            case FaultPlan.doubt: #expect(Int(moved) == plan.commits)
            default: #expect(moved == (operation <= 7 ? 0 : 1))
            }
            fixture.end(closing: root)
            guard operation <= plan.count else { break }
            operation += 1
        }
        // Two transactions of begin, scan, get, put, delete, put, commit.
        #expect(operation == 15)
        #expect(fired == (mode == .afterCommit ? 2 : 14))
    }

    @Test func siblingsCountTogether() throws {
        let plan = FaultPlan(failing: 3)
        let store = FaultyStorage(MemoryStorage(), plan)
        let other = try store.sibling()
        try store.begin(.read)
        try other.begin(.read)
        #expect(throws: FaultPlan.failure) { try store.rows() }
        #expect(try other.rows().isEmpty)
        #expect(plan.count == 4)
    }
}

// MARK: - SQLite

@Suite final class SQLiteStorageTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }
    deinit { folder.remove() }

    private func create(_ name: String = "store") throws {
        try SQLiteStorage.create(path: folder.path(name)) { (port) throws(Failure) in
            try port.put(bytes("a"), bytes("1"))
        }
    }

    private func open(_ name: String = "store") throws(Failure) -> SQLiteStorage {
        try SQLiteStorage.open(path: folder.path(name))
    }

    private func read(_ name: String = "store") throws -> [UInt8]? {
        let store = try open(name)
        defer { store.close() }
        return try store.reading { () throws(Failure) in try store.value(bytes("a")) }
    }

    @Test func createsAPrivateFileAndNothingElse() throws {
        let old = umask(0)
        defer { umask(old) }
        try create()
        #expect(try folder.files == ["store"])
        let mode = try FileManager.default.attributesOfItem(atPath: folder.url("store").path)
        #expect(mode[.posixPermissions] as? Int == 0o600)
        let file = try Data(contentsOf: folder.url("store"))
        #expect(file.prefix(16) == Data("SQLite format 3\0".utf8))
        #expect(file[18] == 2 && file[19] == 2)  // WAL
        #expect(file[60..<64] == Data([0, 0, 0, 1]))
        #expect(file[68..<72] == Data("PAWL".utf8))
        #expect(try read() == bytes("1"))
        // The log stays, empty, and is as private as the file.
        #expect(try folder.files == ["store", "store-shm", "store-wal"])
        #expect(try Data(contentsOf: folder.url("store-wal")).isEmpty)
        for name in try folder.files {
            let mode = try FileManager.default.attributesOfItem(atPath: folder.url(name).path)
            #expect(mode[.posixPermissions] as? Int == 0o600)
        }
    }

    @Test func createsAllOrNothing() throws {
        #expect(throws: Failure.auth) {
            try SQLiteStorage.create(path: folder.path("store")) {
                (port) throws(Failure) in
                try port.put(bytes("a"), Array(repeating: 1, count: 8 << 20))
                #expect(try folderFiles().contains { $0.hasPrefix("store.new-") })
                throw .auth
            }
        }
        #expect(try folder.files == [])
        #expect(throws: Failure.notFound) { try open() }
    }

    private func folderFiles() throws(Failure) -> [String] {
        do { return try folder.files } catch { throw .internal }
    }

    @Test func neverReplacesWhatIsThere() throws {
        try create()
        try Data("mine".utf8).write(to: folder.url("text"))
        try FileManager.default.createDirectory(
            at: folder.url("folder"), withIntermediateDirectories: false)
        symlink("nowhere", folder.url("dangling").path)
        symlink("store", folder.url("link").path)
        let before = try folder.files
        for name in ["store", "text", "folder", "dangling", "link"] {
            var filled = false
            #expect(throws: Failure.exists, "\(name)") {
                try SQLiteStorage.create(path: folder.path(name)) { _ in filled = true }
            }
            #expect(!filled)
        }
        #expect(try folder.files == before)
        #expect(try read() == bytes("1"))
    }

    /// Two creators, of which one comes second between the check and the link.
    @Test func oneOfTwoCreatorsWins() throws {
        #expect(throws: Failure.exists) {
            try SQLiteStorage.create(path: folder.path("store")) {
                (port) throws(Failure) in
                try port.put(bytes("a"), bytes("loser"))
                do { try create() } catch { throw .internal }
            }
        }
        #expect(try folder.files == ["store"])
        #expect(try read() == bytes("1"))
    }

    /// SQLite would replay the log of the store that was there before.
    @Test(arguments: ["store-wal", "store-journal"])
    func doesNotCreateBesideAForeignLog(_ log: String) throws {
        try Data("left over".utf8).write(to: folder.url(log))
        #expect(throws: Failure.store(.cannotOpen, code: EEXIST)) { try create() }
        #expect(try folder.files == [log])
    }

    @Test func createsAgainWhereAClosedStoreWasDeleted() throws {
        try create()
        #expect(try read() == bytes("1"))
        try FileManager.default.removeItem(at: folder.url("store"))
        try create()
        #expect(try read() == bytes("1"))
    }

    @Test func tellsWhatIsNotThere() throws {
        #expect(throws: Failure.notFound) { try open() }
        #expect(throws: Failure.notFound) { try open("no/store") }
        #expect(throws: Failure.store(.cannotOpen, code: ENOENT)) { try create("no/store") }
        for path in ["", "/", "folder/", "a\0b"] {
            #expect(throws: Failure.misuse(.path), "\(path)") {
                try SQLiteStorage.open(path: bytes(path))
            }
        }
        #expect(try folder.files == [])
    }

    @Test func refusesLinksAndOtherThings() throws {
        try create()
        symlink("store", folder.url("link").path)
        symlink("nowhere", folder.url("dangling").path)
        mkfifo(folder.url("pipe").path, 0o600)
        for name in ["link", "dangling", "pipe", "."] {
            #expect(throws: Failure.store(.cannotOpen, code: 14), "\(name)") { try open(name) }
        }
        // A link on the way to the folder is the user's own business.
        symlink(".", folder.url("folder").path)
        #expect(try read("folder/store") == bytes("1"))
    }

    private func expectUntouched(_ name: String, _ failure: Failure) throws {
        let before = try Data(contentsOf: folder.url(name))
        let files = try folder.files
        #expect(throws: failure) { try open(name) }
        #expect(try Data(contentsOf: folder.url(name)) == before)
        #expect(try folder.files == files)
    }

    @Test func leavesOtherFilesAlone() throws {
        for (index, content) in [Data(), Data("text".utf8), Data(repeating: 7, count: 9000)]
            .enumerated()
        {
            try content.write(to: folder.url("other\(index)"))
            try expectUntouched("other\(index)", .corrupt(.notPawl))
        }
        try create("foreign")
        try patch("foreign", 68, Data([0, 0, 0, 0]))
        try expectUntouched("foreign", .corrupt(.notPawl))
    }

    @Test func leavesNewerStoresAlone() throws {
        try create()
        try patch("store", 60, Data([0, 0, 0, 2]))
        try expectUntouched("store", .version)
    }

    @Test(arguments: [Data([0, 0, 0, 0]), Data([255, 255, 255, 255])])
    func refusesVersionsThatNeverWere(_ version: Data) throws {
        try create()
        try patch("store", 60, version)
        try expectUntouched("store", .corrupt(.notPawl))
    }

    @Test func refusesAnotherSchema() throws {
        try create()
        let file = try Data(contentsOf: folder.url("store"))
        let column = try #require(file.range(of: Data("v BLOB".utf8)))
        try patch("store", column.lowerBound, Data("w".utf8))
        let changed = try Data(contentsOf: folder.url("store"))
        #expect(throws: Failure.corrupt(.notPawl)) { try open() }
        #expect(try Data(contentsOf: folder.url("store")) == changed)
    }

    /// Only while nobody in this process has the file open.
    private func patch(_ name: String, _ offset: Int, _ bytes: Data) throws {
        var file = try Data(contentsOf: folder.url(name))
        file.replaceSubrange(offset..<offset + bytes.count, with: bytes)
        try file.write(to: folder.url(name))
    }

    @Test func damageCostsARecordOrIsReported() throws {
        try SQLiteStorage.create(path: folder.path("store")) { (port) throws(Failure) in
            for index in 0..<2000 {
                try port.put(
                    [UInt8(index >> 8), UInt8(index & 255)], Array(repeating: 1, count: 100))
            }
        }
        let pages = try Data(contentsOf: folder.url("store")).count / 4096
        for page in 1..<pages { try patch("store", page * 4096, Data(repeating: 255, count: 100)) }
        let store = try open()
        defer { store.close() }
        try store.begin(.read)
        #expect(throws: Failure.corrupt(.record)) { try store.rows(from: []) }
    }

    @Test(arguments: [false, true])
    func readsAFileThatCannotBeWritten(_ withLog: Bool) throws {
        try create()
        if withLog { _ = try read() }
        for name in try folder.files {
            let path = folder.url(name).path
            chmod(path, 0o400)
            if geteuid() == 0 { chown(path, nobody, nobody) }
        }
        chmod(folder.name, 0o777)
        try asNobody {
            let store = try open()
            defer { store.close() }
            #expect(throws: Failure.store(.readOnly, code: 8)) { try store.begin(.write) }
            try store.begin(.read)
            #expect(try store.value(bytes("a")) == bytes("1"))
            try store.commit()
        }
    }

    @Test func aSiblingIsOfTheSameFile() throws {
        try create()
        let store = try open()
        defer { store.close() }
        let sibling = try store.sibling()
        sibling.close()
        rename(folder.url("store").path, folder.url("elsewhere").path)
        try SQLiteStorage.create(path: folder.path("fresh")) { _ in }
        rename(folder.url("fresh").path, folder.url("store").path)
        #expect(throws: Failure.store(.cannotOpen, code: 14)) { try store.sibling() }
    }

    @Test func openingDoesNotDependOnTheWorkingFolder() throws {
        let here = FileManager.default.currentDirectoryPath
        let up = String(repeating: "../", count: here.split(separator: "/").count)
        try create()
        let path = bytes(up + folder.name.dropFirst() + "/store")
        let store = try SQLiteStorage.open(path: path)
        #expect(
            try store.reading { () throws(Failure) in try store.value(bytes("a")) } == bytes("1"))
        store.close()
        #expect(try folder.files == ["store", "store-shm", "store-wal"])
    }

    @Test func erasedValuesAreOverwritten() throws {
        let mark = Array(repeating: bytes("erase me "), count: 20).flatMap { $0 }
        try SQLiteStorage.create(path: folder.path("store")) { (port) throws(Failure) in
            try port.put(bytes("a"), mark)
        }
        #expect(try Data(contentsOf: folder.url("store")).range(of: Data(mark)) != nil)
        let store = try open()
        // From the file and from the log.
        try store.writing { () throws(Failure) in try store.put(bytes("b"), mark) }
        try store.writing { () throws(Failure) in
            try store.delete(bytes("a"))
            try store.delete(bytes("b"))
        }
        store.close()
        for name in try folder.files {
            #expect(try Data(contentsOf: folder.url(name)).range(of: Data(mark)) == nil, "\(name)")
        }
    }
}

private let nobody: uid_t = 65534

/// Runs `body` without the rights of root on files, where the tests run as root.
private func asNobody(_ body: () throws -> Void) throws {
    #if os(Linux)
        guard geteuid() == 0 else { return try body() }
        // The file user belongs to the thread and takes the rights of root on files with it.
        typealias SetUser = @convention(c) (UInt32) -> Int32
        let symbol = try #require(dlsym(nil, "setfsuid"))
        let setUser = unsafeBitCast(symbol, to: SetUser.self)
        _ = setUser(nobody)
        defer { _ = setUser(0) }
        try body()
    #else
        guard geteuid() != 0 else { return }
        try body()
    #endif
}

#if os(Linux)
    /// A limit on the size of files stands in for a full disk. It is far above what other tests write.
    @Suite(.serialized) final class FullDiskTests {
        private let folder: TemporaryFolder
        private let path: [UInt8]
        private static let mebibyte = [UInt8](repeating: 3, count: 1 << 20)

        init() throws {
            folder = try TemporaryFolder()
            path = folder.path("store")
            try SQLiteStorage.create(path: path) { (port) throws(Failure) in
                try port.put(bytes("a"), bytes("before"))
            }
        }

        deinit { folder.remove() }

        private func withLimit(_ body: () throws -> Void) throws {
            signal(SIGXFSZ, SIG_IGN)
            var limit = rlimit()
            getrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
            let old = limit
            limit.rlim_cur = 64 << 20
            try #require(setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit) == 0)
            defer {
                var old = old
                setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &old)
            }
            try body()
        }

        @Test func aLostTransactionStaysLostUntilItEnds() throws {
            try withLimit {
                let store = try SQLiteStorage.open(path: path)
                defer { store.close() }
                for end in ["commit", "rollback"] {
                    try store.begin(.write)
                    try store.put(bytes("a"), bytes("lost"))
                    var failure: Failure?
                    for index in 0..<100 where failure == nil {
                        do throws(Failure) {
                            try store.put([1, UInt8(index)], Self.mebibyte)
                        } catch {
                            failure = error
                        }
                    }
                    guard case .store(let kind, let code) = failure else {
                        Issue.record(
                            "expected the limit to be hit, not \(String(describing: failure))")
                        return
                    }
                    #expect(kind == .full || kind == .failed)
                    #expect(code > 0)
                    let lost = Failure.store(.lost, code: 0)
                    #expect(throws: lost) { try store.put(bytes("b"), []) }
                    #expect(throws: lost) { try store.delete(bytes("a")) }
                    #expect(throws: lost) { try store.value(bytes("a")) }
                    #expect(throws: lost) { try store.rows() }
                    if end == "commit" {
                        #expect(throws: lost) { try store.commit() }
                    } else {
                        store.rollback()
                    }
                    #expect(
                        try store.reading { () throws(Failure) in try store.rows(from: []) }
                            == [Row(key: bytes("a"), value: bytes("before"))])
                }
                try store.writing { () throws(Failure) in try store.put(bytes("b"), []) }
            }
        }

        @Test func aCommitThatCouldNotBeWrittenIsNotReportedAsDone() throws {
            try withLimit {
                let store = try SQLiteStorage.open(path: path)
                let reader = try store.sibling()
                defer {
                    reader.close()
                    store.close()
                }
                // A reader of the first state keeps the log from starting over, so it reaches the limit.
                try reader.begin(.read)
                #expect(try reader.value(bytes("a")) == bytes("before"))
                var done = 0
                var failure: Failure?
                while failure == nil, done < 100 {
                    do throws(Failure) {
                        try store.begin(.write)
                        try store.put([1, UInt8(done)], Self.mebibyte)
                        try store.commit()
                        done += 1
                    } catch {
                        failure = error
                    }
                }
                switch failure {
                case .store(.indeterminate, _), .store(.full, _): break
                default: Issue.record("\(String(describing: failure))")
                }
                #expect(done > 10)
                try reader.commit()
                // Every acknowledged commit is there, and the connection works on.
                #expect(
                    try store.reading { () throws(Failure) in try store.rows(from: [1], to: [2]) }
                        .count == done)
                try store.writing { () throws(Failure) in try store.put(bytes("a"), bytes("after"))
                }
                #expect(
                    try reader.reading { () throws(Failure) in try reader.value(bytes("a")) }
                        == bytes("after"))
            }
        }
    }
#endif
