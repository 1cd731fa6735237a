internal import CPlatform

/// Where a store's time comes from; nothing else reads a clock.
package protocol Clock: AnyObject {
    /// Nanoseconds since 1970-01-01 UTC.
    func now() -> Int64
}

package final class SystemClock: Clock {
    package init() {}
    package func now() -> Int64 { platform_realtime_ns() }
}
