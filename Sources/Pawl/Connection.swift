import CPawl
import Dispatch
import Synchronization

/// Shut before the handle goes, so that what still waits in line is refused without being tried.
final class Gate: Sendable {
    private let shut = Atomic(false)

    func close() { shut.store(true, ordering: .releasing) }

    var isShut: Bool { shut.load(ordering: .acquiring) }

    func pass() throws(PawlError) {
        if isShut { throw .closed }
    }
}

/// An open store as C knows it, and who waits for its descriptor. Everything happens on the store's
/// worker alone, but for what `inBackground` is given.
final class Connection: @unchecked Sendable {
    let store: OpaquePointer
    let gate: Gate
    private let worker: Worker
    private let host: Host

    /// Level-triggered: it fires for as long as the descriptor is readable, so it is suspended
    /// while nobody waits.
    private var source: (any DispatchSourceRead)?
    private var isWatching = false
    private var waiters: [Int: CheckedContinuation<Void, Never>] = [:]
    private var lastWaiter = 0

    /// Who is in C on another thread, or on the way there or back.
    private var inside = 0
    private let background = DispatchQueue(label: "pawl.background", qos: .utility)
    /// All that C was ever given: the library's own thread may still be about to call one of them.
    private var tracers: [Tracer] = []
    private var runner: Runner?

    private var closing: [@Sendable () -> Void] = []
    private var isClosed = false

    init(_ store: OpaquePointer, _ gate: Gate, _ worker: Worker, _ host: Host) {
        self.store = store
        self.gate = gate
        self.worker = worker
        self.host = host
    }

    // MARK: waiting

    /// A number for somebody who is about to wait.
    func nextWaiter() throws(PawlError) -> Int {
        try gate.pass()
        if source == nil {
            var descriptor: Int32 = -1
            try check(pawl_store_fd(store, &descriptor))
            let source = worker.readSource(descriptor)
            source.setEventHandler { self.wakeAll() }
            source.setCancelHandler { self.end() }
            self.source = source
        }
        lastWaiter += 1
        return lastWaiter
    }

    /// Resumes once the descriptor is readable, or earlier if woken.
    func wait(_ waiter: Int, _ continuation: CheckedContinuation<Void, Never>) {
        // Who was to wake it may have come before.
        if Task.isCancelled || gate.isShut { return continuation.resume() }
        waiters[waiter] = continuation
        if isWatching { return }
        isWatching = true
        source?.resume()
    }

    func wake(_ waiter: Int) {
        waiters.removeValue(forKey: waiter)?.resume()
        if waiters.isEmpty { pause() }
    }

    private func wakeAll() {
        for waiter in waiters.values { waiter.resume() }
        waiters = [:]
        pause()
    }

    private func pause() {
        if !isWatching { return }
        isWatching = false
        source?.suspend()
    }

    // MARK: rekeying

    /// The one before is told nothing of calls that begin later.
    func trace(_ tracer: Tracer?) throws(PawlError) {
        if let tracer {
            tracers.append(tracer)
            var table = tracer.table
            try check(pawl_store_trace(store, &table))
        } else {
            try check(pawl_store_trace(store, nil))
        }
    }

    /// It is kept until another takes its place, which the one before has ended by then.
    func start(_ runner: Runner) throws(PawlError) {
        var table = runner.table
        try check(pawl_store_start_runner(store, &table))
        self.runner = runner
    }

    /// Runs work beside the worker's, for somebody who has entered.
    func inBackground(_ work: @escaping @Sendable () -> Void) { background.async(execute: work) }

    /// Somebody is going to be in C on another thread, until it leaves.
    func enter() throws(PawlError) {
        try gate.pass()
        inside += 1
    }

    func leave() {
        inside -= 1
        if inside == 0, !closing.isEmpty { shut() }
    }

    // MARK: closing

    /// Closes the store, once, and then says so to everybody who asked.
    func close(_ done: @escaping @Sendable () -> Void) {
        if isClosed { return done() }
        closing.append(done)
        if closing.count > 1 { return }
        wakeAll()
        if inside == 0 { shut() }
    }

    private func shut() {
        // The descriptor belongs to the store, so dispatch must have let go of it before.
        guard let source else { return end() }
        source.cancel()
        source.resume()
    }

    private func end() {
        withExtendedLifetime(host) { pawl_store_close(store) }
        source = nil
        tracers = []
        isClosed = true
        for done in closing { done() }
        closing = []
    }
}
