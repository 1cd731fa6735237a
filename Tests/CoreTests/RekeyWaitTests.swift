import Foundation
import PawlCore
import PawlCrypto
import PawlEngine
import PawlStore
import Testing

/// Waiting for an epoch: the level counts and not the edge, and nobody is left behind.
@Suite struct RekeyWaitTests {
    @Test func theCompletionWakesAllThatWait() throws {
        let couple = try Couple()
        let target = try couple.alice.rekey()
        let waiting =
            (0..<4).map { _ in Waiting(couple.alice, target) }
            + (0..<4).map { _ in Waiting(couple.bob, target) }
        Thread.sleep(forTimeInterval: 0.02)
        try couple.flush()
        for one in waiting { #expect(one.answer() == .success(1)) }
    }

    @Test func askedAfterItHappened() throws {
        let couple = try Couple()
        try couple.alice.rekey()
        try couple.flush()
        let (store, id) = (couple.alice.store, couple.alice.session)
        #expect(try store.waitForEpoch(id, 0, timeout: 0) == 1)
        #expect(try store.waitForEpoch(id, 1, timeout: 0) == 1)
        #expect(throws: Failure.busy(.waiting)) { _ = try store.waitForEpoch(id, 2, timeout: 0) }
        #expect(throws: Failure.busy(.waiting)) {
            _ = try store.waitForEpoch(id, 2, timeout: 20 * millisecond)
        }
        #expect(throws: Failure.closed(.session)) {
            _ = try store.waitForEpoch(.random(), 0, timeout: 0)
        }
    }

    /// Who was told of an epoch encrypts in it, whichever handle has committed it.
    @Test func whatIsReservedOfAnEpochBeforeIsNotUsed() throws {
        let couple = try Couple()
        let (alice, id) = (couple.alice, couple.alice.session)
        let other = try openStore(on: alice.storage.sibling(), clock: couple.clock)
        #expect(try place(other.frame("a", in: id)).epoch == 0)
        let target = try alice.rekey()
        try couple.flush()
        #expect(try other.waitForEpoch(id, target, timeout: 0) == 1)
        let first = try place(other.frame("b", in: id))
        #expect(first.epoch == 1)
        // What is reserved of the epoch itself is.
        #expect(try other.waitForEpoch(id, target, timeout: 0) == 1)
        #expect(try place(other.frame("c", in: id)).index == first.index + 1)
    }

    /// In each phase of a round.
    @Test(arguments: 0..<3)
    func shutdownInTheMiddleWakesEveryone(step: Int) throws {
        let couple = try Couple()
        let target = try couple.alice.rekey()
        if step > 0 { try couple.bob.receive(couple.alice.take()) }
        let sides = [couple.alice, couple.bob]
        let waiting = (0..<8).map { Waiting(sides[$0 % 2], target) }
        Thread.sleep(forTimeInterval: 0.02)
        if step > 1 { _ = try couple.alice.items() }
        for side in sides { side.store.close {} }
        for one in waiting { #expect(one.answer() == .failure(.closed(.closed))) }
    }

    @Test(arguments: [false, true])
    func theEndOfTheSessionWakesEveryone(isPeers: Bool) throws {
        let couple = try Couple()
        try couple.alice.rekey()
        let waiting = (0..<4).map { _ in Waiting(couple.alice, 1) }
        Thread.sleep(forTimeInterval: 0.02)
        let closer = isPeers ? couple.bob : couple.alice
        try closer.store.closeSession(closer.session)
        if isPeers { try couple.alice.receive(couple.bob.take()) }
        for one in waiting { #expect(one.answer() == .failure(.closed(.session))) }
    }

    /// The epoch begins through another handle on the same file, after the waiter has looked and before it sleeps.
    @Test func theLevelAndNotTheEdge() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let path = folder.path("store")
        try SQLiteStorage.create(path: path) { _ in }
        let port = LookedAt(try SQLiteStorage.open(path: path))
        let couple = try Couple(alice: port)
        let (alice, bob) = (couple.alice, couple.bob)
        let other = try openStore(on: SQLiteStorage.open(path: path), clock: couple.clock)
        for round in UInt32(1)...20 {
            #expect(try alice.rekey() == round)
            try bob.receive(alice.take())
            let answer = try bob.take()
            port.afterRead = { _ = try? hear(answer, at: other, alice.account) }
            // A sleep that nobody ends would find the epoch at its own end.
            let began = Date()
            let reached = try alice.store.waitForEpoch(
                alice.session, round, timeout: 10 * Backoff.second)
            try #require(reached == round && Date().timeIntervalSince(began) < 9)
            try couple.flush()
        }
        other.close {}
        alice.store.close {}
    }
}

/// A thread that waits.
private final class Waiting: @unchecked Sendable {
    private let done = DispatchSemaphore(value: 0)
    private var result = Result<UInt32, Failure>.failure(.internal)

    init(_ side: Side, _ epoch: UInt32) {
        nonisolated(unsafe) let store = side.store
        let session = side.session
        Thread.detachNewThread { [self] in
            do throws(Failure) {
                try store.call { () throws(Failure) in
                    result = .success(
                        try store.waitForEpoch(session, epoch, timeout: Backoff.minute))
                }
            } catch {
                result = .failure(error)
            }
            done.signal()
        }
    }

    /// nil: it still waits.
    func answer() -> Result<UInt32, Failure>? {
        done.wait(timeout: .now() + 20) == .success ? result : nil
    }
}

/// Storage that does something as soon as somebody has read.
private final class LookedAt: StoragePort {
    var afterRead: (() -> Void)?
    private let port: any StoragePort
    private var isReading = false

    init(_ port: any StoragePort) { self.port = port }

    var bellPath: [CChar]? { port.bellPath }

    func begin(_ mode: TransactionMode) throws(Failure) {
        try port.begin(mode)
        isReading = mode == .read
    }
    func rollback() {
        port.rollback()
        guard isReading, let act = afterRead else { return }
        afterRead = nil
        act()
    }
    func get(
        _ key: Bytes, _ body: (Bytes) throws(Failure) -> Void
    ) throws(Failure) -> Bool { try port.get(key, body) }
    func put(_ key: Bytes, _ value: Bytes) throws(Failure) { try port.put(key, value) }
    func delete(_ key: Bytes) throws(Failure) { try port.delete(key) }
    func scan(
        from: Bytes, to: Bytes, limit: Int, _ body: (Bytes, Bytes) throws(Failure) -> Bool
    ) throws(Failure) { try port.scan(from: from, to: to, limit: limit, body) }
    func commit() throws(Failure) { try port.commit() }
    func sibling() throws(Failure) -> any StoragePort { try port.sibling() }
    func close() { port.close() }
}
