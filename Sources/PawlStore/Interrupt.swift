internal import Synchronization

/// Ends the waits of a connection and its siblings for other writers, once and for good. Raised by the
/// thread that closes a store, while others wait in it.
final class Interrupt: Sendable {
    private let flag = Atomic<Bool>(false)

    var isRaised: Bool { flag.load(ordering: .acquiring) }
    func raise() { flag.store(true, ordering: .releasing) }
}
