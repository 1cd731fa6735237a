package import PawlCrypto

/// Who is inside a store, and whether it still lets anybody in. Shared by a store and its batches.
///
///     open ──close──► closing ──last call leaves──► ended
package final class Lifecycle {
    private enum State {
        case open
        /// Nobody enters. The closure ends the store; nil while the closing thread waits itself.
        case closing(end: (() -> Void)?)
        case ended
    }

    private let lock = Lock()
    private var state = State.open
    private var callsInFlight = 0
    private let birth = Fork.generation

    /// Whoever waits inside is to give up.
    var isClosing: Bool {
        let isOpen: Bool? = try? lock.withLock {
            if case .open = state { true } else { false }
        }
        return isOpen != true
    }

    package var isForked: Bool { birth != Fork.generation }

    /// Runs one call from the host.
    package func call(_ body: () throws(Failure) -> Void) throws(Failure) {
        guard !isForked else { throw .closed(.forked) }
        guard !CallFrame.contains(ObjectIdentifier(self)) else { throw .busy(.reentered) }
        try lock.withLock { () throws(Failure) in
            guard case .open = state else { throw .closed(.closed) }
            callsInFlight += 1
        }
        defer { leave() }
        try CallFrame.around(ObjectIdentifier(self), body)
    }

    private func leave() {
        var end: (() -> Void)?
        try? lock.withLock {
            callsInFlight -= 1
            guard callsInFlight == 0, case .closing(let deferred) = state else { return }
            if let deferred {
                state = .ended
                end = deferred
            } else {
                lock.wakeAll()
            }
        }
        end?()
    }

    /// Refuses everybody, has `wake` wake those who wait inside, then runs `end` once the calls in flight have left:
    /// before this returns, or, called from inside a callback, when the outermost call returns. A second close does
    /// nothing.
    package func close(wake: () -> Void, _ end: @escaping () -> Void) {
        guard !isForked else { return end() }
        let isInside = CallFrame.contains(ObjectIdentifier(self))
        var isEndedHere = false
        try? lock.withLock {
            guard case .open = state else { return }
            state = .closing(end: isInside ? end : nil)
            wake()
            guard !isInside else { return }
            while callsInFlight > 0 { lock.wait() }
            state = .ended
            isEndedHere = true
        }
        if isEndedHere { end() }
    }
}
