internal import CPlatform
internal import PawlCore
internal import PawlCrypto

/// A writer's wait for another, outside of every lock: short random sleeps up to a deadline. Growing ones, like
/// SQLite's own, let a writer in a hurry starve all others.
struct Wait {
    private let countdown: Countdown
    private let lifecycle: Lifecycle?

    /// `timeout` in nanoseconds; 0: not at all.
    init(_ timeout: Int64, _ lifecycle: Lifecycle? = nil) {
        countdown = Countdown(timeout)
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
                let left = countdown.left
                guard left > 0 else { throw error }
                var random: UInt32 = 0
                withUnsafeMutableBytes(of: &random) { fillRandom($0) }
                platform_sleep_ns(min(50_000 + Int64(random % 450_001), left))
            }
        }
    }
}

/// A time that runs out, by a clock that nobody sets.
struct Countdown {
    private let deadline: Int64

    /// In nanoseconds.
    init(_ time: Int64) { deadline = platform_monotonic_ns().addingSaturated(time) }

    var left: Int64 { deadline.subtractingSaturated(platform_monotonic_ns()) }
}
