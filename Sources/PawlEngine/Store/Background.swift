internal import CPlatform
package import PawlCrypto

/// Work that nobody waits for, in many short transactions. While nobody else uses the store it does as much in one as is
/// quick; otherwise as little as it can, and rests before that, so that who sends a message hardly meets it.
package struct Background {
    /// In nanoseconds.
    private static let rest: Int64 = 5_000_000

    private let store: Store
    /// How often the store was used when this looked last.
    private var uses: UInt64

    package init(_ store: Store) {
        self.store = store
        uses = store.uses
    }

    /// How much the next transaction may do. Each is asked for by itself.
    package mutating func share(of most: Int, atLeast least: Int) throws(Failure) -> Int {
        guard !store.shared.lifecycle.isClosing else { throw .closed(.closed) }
        let before = uses
        uses = store.uses
        // One was its own.
        guard uses &- before > 1 else { return most }
        platform_sleep_ns(Self.rest)
        return least
    }
}
