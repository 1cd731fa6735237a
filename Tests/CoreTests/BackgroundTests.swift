import Foundation
import PawlCrypto
import PawlEngine
import PawlStore
import Testing

/// Work in the background is large while one thread alone uses a store, and small beside others.
@Suite struct BackgroundTests {
    private static func use(_ store: Store) throws {
        try store.transact(.read) { (transaction) throws(Failure) in _ = transaction }
    }

    private static func elsewhere(_ store: Store, _ body: @Sendable @escaping (Store) -> Void) {
        nonisolated(unsafe) let store = store
        let isDone = DispatchSemaphore(value: 0)
        Thread.detachNewThread {
            body(store)
            isDone.signal()
        }
        isDone.wait()
    }

    @Test func itGivesWayWhileOthersUseTheStore() throws {
        let store = try openStore(on: MemoryStorage())
        defer { store.close {} }
        var background = Background(store)
        // However much its own thread does.
        for (uses, size) in [1, 2, 4, 8, 10, 10].enumerated() {
            #expect(try background.share(of: 10, atLeast: 1) == size)
            for _ in 0..<uses { try Self.use(store) }
        }
        for _ in 0..<3 {
            Self.elsewhere(store) { try? Self.use($0) }
            #expect(try background.share(of: 10, atLeast: 3) == 3)
            try Self.use(store)
        }
        for size in [6, 10] { #expect(try background.share(of: 10, atLeast: 3) == size) }
    }

    @Test func itKnowsWhatCameBeforeIt() throws {
        let store = try openStore(on: MemoryStorage())
        defer { store.close {} }
        var first = Background(store)
        #expect(try first.share(of: 8, atLeast: 1) == 1)
        Self.elsewhere(store) { try? Self.use($0) }
        var second = Background(store)
        let begun = ContinuousClock.now
        #expect(try second.share(of: 8, atLeast: 1) == 1)
        #expect(ContinuousClock.now - begun >= .milliseconds(10))
    }

    @Test func whoLooksWhatIsDueIsNobodyElse() throws {
        let store = try openStore(on: MemoryStorage())
        defer { store.close {} }
        _ = try store.descriptor()
        var background = Background(store)
        for size in [1, 2, 4] {
            #expect(try background.share(of: 8, atLeast: 1) == size)
            Self.elsewhere(store) { $0.lookAgain() }
            try Self.use(store)
        }
    }

    @Test func itEndsWhenTheStoreCloses() throws {
        let store = try openStore(on: MemoryStorage())
        var background = Background(store)
        store.close {}
        #expect(throws: Failure.closed(.closed)) { try background.share(of: 8, atLeast: 1) }
    }
}
