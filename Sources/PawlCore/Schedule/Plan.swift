/// What to do about the next deadline.
package enum Plan: Equatable {
    case runNow
    case sleep(until: Int64)
    /// Nothing is planned.
    case rest
}

/// A due time is reached iff now ≥ due; `Int64.max` is never.
package func plan(_ due: Int64?, now: Int64) -> Plan {
    guard let due, due != Int64.max else { return .rest }
    return now >= due ? .runNow : .sleep(until: due)
}

/// How long to sleep before looking at the clock again: not beyond `due`, nor longer than a timer holds.
package func nap(until due: Int64, now: Int64, longest: Int64) -> Int64 {
    max(0, min(due.subtractingSaturated(now), longest))
}

/// Waits between attempts: twice as long after each failure, and random so that what failed together does
/// not come back together. Stored as the time that was drawn, so that a restart draws nothing anew.
package enum Backoff {
    package static let second: Int64 = 1_000_000_000
    package static let minute = 60 * second
    package static let hour = 60 * minute

    /// From once to twice `first` after the first failure; above half of `limit` after many, never above it.
    package static func wait(
        failures: UInt32, first: Int64 = second, limit: Int64, random: UInt64
    ) -> Int64 {
        let doublings = min(failures > 0 ? failures - 1 : 0, 32)
        let half = min(first << Int64(doublings), max(limit / 2, first))
        return half + Int64(random % UInt64(half))
    }

    /// `time` + `wait`, saturating below never.
    package static func after(_ time: Int64, _ wait: Int64) -> Int64 {
        min(CredentialRules.after(time, wait), CredentialRules.never - 1)
    }

    /// The same for what happens again and again, always in the future: at the end of time never, until the clock is
    /// put right.
    package static func later(_ time: Int64, _ wait: Int64) -> Int64 {
        let due = after(time, wait)
        return due > time ? due : CredentialRules.never
    }
}

extension Int64 {
    package func addingSaturated(_ other: Int64) -> Int64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? (other < 0 ? .min : .max) : sum
    }

    package func subtractingSaturated(_ other: Int64) -> Int64 {
        let (difference, overflow) = subtractingReportingOverflow(other)
        return overflow ? (other < 0 ? .max : .min) : difference
    }
}
