internal import CPlatform
package import PawlCrypto

/// A mutex with a condition, behind a pointer because neither may move.
package final class Lock {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>

    package init() {
        mutex = .allocate(capacity: 1)
        mutex.initialize(to: pthread_mutex_t())
        condition = .allocate(capacity: 1)
        condition.initialize(to: pthread_cond_t())
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(condition, nil)
    }

    deinit {
        // Not destroyed: a forked child frees locks that a thread of its parent holds.
        condition.deallocate()
        mutex.deallocate()
    }

    package func withLock<R>(_ body: () throws(Failure) -> R) throws(Failure) -> R {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body()
    }

    /// For a forked child: a lock that a thread of its parent holds is never let go. False: then `body` does not run.
    package func tryLock(_ body: () -> Void) -> Bool {
        guard pthread_mutex_trylock(mutex) == 0 else { return false }
        defer { pthread_mutex_unlock(mutex) }
        body()
        return true
    }

    /// Inside `withLock`: sleeps until somebody calls `wakeAll`.
    package func wait() { pthread_cond_wait(condition, mutex) }
    /// The same for so many nanoseconds at most, or a little less.
    package func wait(_ time: Int64) { platform_condition_wait(condition, mutex, time) }
    package func wakeAll() { pthread_cond_broadcast(condition) }
}
