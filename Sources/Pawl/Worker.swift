import Dispatch

/// The thread that a store's calls run on, one after another: they wait for disks, other processes
/// and Argon2id, and must not hold up the threads that all tasks share.
final class Worker: SerialExecutor {
    private let queue = DispatchQueue(label: "pawl.store")

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        queue.async { job.runSynchronously(on: self.asUnownedSerialExecutor()) }
    }

    func asUnownedSerialExecutor() -> UnownedSerialExecutor {
        UnownedSerialExecutor(ordinary: self)
    }

    func checkIsolated() {
        dispatchPrecondition(condition: .onQueue(queue))
    }

    /// Runs work after everything enqueued before, for those who cannot wait.
    func later(_ work: @escaping @Sendable () -> Void) { queue.async(execute: work) }

    /// Watches a descriptor, whose handlers run on this thread too; suspended at first.
    func readSource(_ descriptor: Int32) -> any DispatchSourceRead {
        DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: queue)
    }
}
