internal import CPlatform
package import PawlCrypto

/// Work that nobody waits for, in many short transactions. While one thread alone uses the store it does more and more in
/// one; otherwise as little as it can, and rests before that, so that who sends a message hardly meets it.
package struct Background {
    /// In nanoseconds.
    private static let rest: Int64 = 10_000_000

    private let store: Store
    private let isClosing: (() -> Bool)?
    private var size = 0

    /// `isClosing`: whether a host that lets calls return before it closes the store is about to.
    package init(_ store: Store, _ isClosing: (() -> Bool)? = nil) {
        self.store = store
        self.isClosing = isClosing
    }

    /// How much the next transaction may do.
    package mutating func share(of most: Int, atLeast least: Int) throws(Failure) -> Int {
        guard !store.shared.lifecycle.isClosing, isClosing?() != true else {
            throw .closed(.closed)
        }
        if store.wasUsedByOthers() {
            size = 0
            platform_sleep_ns(Self.rest)
        }
        size = min(max(least, size &* 2), most)
        return size
    }
}

/// Whether threads take turns with a store.
struct Turns {
    private var last = platform_thread_self()
    private var wereTaken = false

    /// In each transaction.
    mutating func note() {
        guard platform_thread_is_self(last) == 0 else { return }
        last = platform_thread_self()
        wereTaken = true
    }

    /// Whether a thread used it since this was asked last, but the one that asks.
    mutating func take() -> Bool {
        defer {
            last = platform_thread_self()
            wereTaken = false
        }
        return wereTaken
    }
}
