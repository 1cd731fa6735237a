internal import CPlatform
package import PawlCrypto

/// Work that nobody waits for, in many short transactions. While nobody else uses the store it does more and more in one;
/// otherwise as little as it can, and rests before that, so that who sends a message hardly meets it.
package struct Background {
    /// In nanoseconds.
    private static let rest: Int64 = 10_000_000

    private let store: Store
    /// How often the store was used when this looked last.
    private var uses: UInt64
    private var size = 0

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
        if uses &- before > 1 {
            size = 0
            platform_sleep_ns(Self.rest)
        }
        size = min(max(least, size &* 2), most)
        return size
    }
}
