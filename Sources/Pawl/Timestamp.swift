#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// A point in time: nanoseconds since 1970-01-01 UTC.
public struct Timestamp: Sendable, Hashable, Comparable, Codable {
    /// Nanoseconds since 1970-01-01 UTC.
    public let nanoseconds: Int64

    /// A point in time by its nanoseconds since 1970-01-01 UTC.
    public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    /// What the system's clock says. A store asks its own clock, see ``Store/Options/clock``.
    public static var now: Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }

    /// Whether one point in time lies before another.
    public static func < (left: Timestamp, right: Timestamp) -> Bool {
        left.nanoseconds < right.nanoseconds
    }

    /// A later point in time; what would overflow is the last one.
    public static func + (time: Timestamp, distance: Duration) -> Timestamp {
        let step = distance.wholeNanoseconds
        let (sum, overflow) = time.nanoseconds.addingReportingOverflow(step)
        return Timestamp(nanoseconds: overflow ? (step < 0 ? .min : .max) : sum)
    }

    /// An earlier point in time; what would overflow is the first one.
    public static func - (time: Timestamp, distance: Duration) -> Timestamp {
        let step = distance.wholeNanoseconds
        let (sum, overflow) = time.nanoseconds.subtractingReportingOverflow(step)
        return Timestamp(nanoseconds: overflow ? (step < 0 ? .max : .min) : sum)
    }

    /// How much time lies between two points.
    public static func - (left: Timestamp, right: Timestamp) -> Duration {
        .nanoseconds(left.nanoseconds) - .nanoseconds(right.nanoseconds)
    }

    /// Nil for `PAWL_NEVER`.
    static func unlessNever(_ nanoseconds: Int64) -> Timestamp? {
        nanoseconds == .max ? nil : Timestamp(nanoseconds: nanoseconds)
    }
}

extension Duration {
    /// The nearest int64, because Pawl counts in it and a trap would be the caller's end.
    var wholeNanoseconds: Int64 {
        let (seconds, attoseconds) = components
        let (high, tooLong) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        let (sum, over) = high.addingReportingOverflow(attoseconds / 1_000_000_000)
        return tooLong || over ? (seconds < 0 ? .min : .max) : sum
    }
}

/// Overwrites memory in a way that the optimizer keeps.
func wipe(_ memory: UnsafeMutableRawBufferPointer) {
    guard let start = memory.baseAddress else { return }
    #if canImport(Darwin)
        memset_s(start, memory.count, 0, memory.count)
    #else
        explicit_bzero(start, memory.count)
    #endif
}
