internal import CPlatform

/// Where a store's time comes from; nothing else reads a clock.
package protocol Clock: AnyObject {
    /// Nanoseconds since 1970-01-01 UTC.
    func now() -> Int64
    /// Whether timers of the system tell the same time.
    var isSystem: Bool { get }
}

extension Clock {
    package var isSystem: Bool { false }
}

package final class SystemClock: Clock {
    package init() {}
    package var isSystem: Bool { true }
    package func now() -> Int64 { platform_realtime_ns() }
}
