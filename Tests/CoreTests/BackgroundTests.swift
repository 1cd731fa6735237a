import PawlCrypto
import PawlEngine
import PawlStore
import Testing

/// Work in the background is large while nobody else uses a store, and small beside others.
@Suite struct BackgroundTests {
    private static func use(_ store: Store) throws {
        try store.transact(.read) { (transaction) throws(Failure) in _ = transaction }
    }

    @Test func itGivesWayWhileOthersUseTheStore() throws {
        let store = try openStore(on: MemoryStorage())
        defer { store.close {} }
        var background = Background(store)
        for size in [1, 2, 4, 8, 10, 10] {
            #expect(try background.share(of: 10, atLeast: 1) == size)
            try Self.use(store)
        }
        try Self.use(store)
        for size in [1, 2, 4] {
            #expect(try background.share(of: 10, atLeast: 1) == size)
            try Self.use(store)
        }
    }

    @Test func whoLooksWhatIsDueIsNobodyElse() throws {
        let store = try openStore(on: MemoryStorage())
        defer { store.close {} }
        _ = try store.descriptor()
        var background = Background(store)
        for size in [1, 2, 4] {
            #expect(try background.share(of: 8, atLeast: 1) == size)
            for _ in 0..<3 { store.lookAgain() }
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
