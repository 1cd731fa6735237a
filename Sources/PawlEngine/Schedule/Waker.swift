internal import CPlatform
internal import PawlCore
internal import PawlCrypto

/// How a store tells those who wait that they must look: a descriptor for its own host, and a bell for other
/// processes and other handles. Guarded by its store's lock.
///
/// What is readable means "look again" and nothing more. State first, token second: whoever changes something
/// commits and then rings; whoever waits drains and then looks. So no change is slept through.
final class Waker {
    private let bellPath: [CChar]?
    let hasTimer: Bool
    private var waker: platform_waker?
    private var bell: Int32 = -1

    /// `hasTimer`: the store's time is the system's.
    init(bellPath: [CChar]?, hasTimer: Bool) {
        self.bellPath = bellPath
        self.hasTimer = hasTimer
    }

    var isAwaited: Bool { waker != nil }

    /// What the host waits on; made when it is first asked for.
    func descriptor() throws(Failure) -> Int32 {
        if let waker { return waker.all }
        var made = platform_waker()
        let error =
            if let bellPath {
                platform_waker_open(&made, bellPath, hasTimer ? 1 : 0)
            } else {
                platform_waker_open(&made, nil, hasTimer ? 1 : 0)
            }
        guard error == 0 else { throw .store(.cannotOpen, code: error) }
        waker = made
        return made.all
    }

    /// Wakes the host of this handle.
    func signal() {
        guard var waker else { return }
        platform_waker_signal(&waker)
    }

    func drain() {
        guard var waker else { return }
        platform_waker_drain(&waker)
    }

    /// Sleeps until somebody signals or rings, or the time, in nanoseconds, is over; one below 0 never is.
    func wait(_ time: Int64) {
        guard var waker else { return }
        platform_waker_wait(&waker, time)
    }

    /// Readable now, or from `due` on. `now` is asked again when the clock was set meanwhile.
    func set(_ due: Int64?, now: () -> Int64) {
        guard var waker else { return }
        for _ in 0..<8 {
            switch plan(due, now: now()) {
            case .runNow: return platform_waker_signal(&waker)
            case .rest: return platform_waker_disarm(&waker)
            case .sleep(let until):
                guard hasTimer else { return }
                // Only of a clock before 1970, which timers do not know.
                guard until > 0 else { return platform_waker_signal(&waker) }
                guard platform_waker_arm(&waker, until) != 0 else { return }
            }
        }
        platform_waker_signal(&waker)
    }

    /// Wakes everybody else on this file.
    func ring() {
        guard let bellPath else { return }
        if bell < 0 { bell = platform_bell_open(bellPath) }
        if bell >= 0 { platform_bell_ring(bell) }
    }

    func close() {
        if bell >= 0 { CPlatform.close(bell) }
        bell = -1
        guard var waker else { return }
        platform_waker_close(&waker)
        self.waker = nil
    }
}
