internal import CPlatform
internal import PawlCrypto

/// A writer's wait for another, outside of every lock: short random sleeps up to a deadline. Growing ones, like
/// SQLite's own, let a writer in a hurry starve all others.
struct Wait {
    private let deadline: Int64
    private let lifecycle: Lifecycle?

    /// `timeout` in nanoseconds; 0: not at all.
    init(_ timeout: Int64, _ lifecycle: Lifecycle? = nil) {
        let (sum, overflow) = platform_monotonic_ns().addingReportingOverflow(timeout)
        deadline = overflow ? Int64.max : sum
        self.lifecycle = lifecycle
    }

    /// Runs `body` until it throws something else than that another writer is in the way, or time is
    /// up, or the store is closed.
    func retrying<R>(_ body: () throws(Failure) -> R) throws(Failure) -> R {
        while true {
            do throws(Failure) {
                return try body()
            } catch {
                guard error == .busy(.writer) else { throw error }
                guard lifecycle?.isClosing != true else { throw .closed(.closed) }
                let left = deadline - platform_monotonic_ns()
                guard left > 0 else { throw error }
                var random: UInt32 = 0
                withUnsafeMutableBytes(of: &random) { fillRandom($0) }
                platform_sleep_ns(min(50_000 + Int64(random % 450_001), left))
            }
        }
    }
}
