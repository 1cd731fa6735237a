internal import CPlatform
internal import PawlCrypto
internal import Synchronization

/// How many forks lie between this process and the one that loaded the library. A handle remembers the
/// number it was born under; in a child the two differ.
package enum Fork {
    nonisolated(unsafe) private static var count: UInt32 = 0
    /// A file that was open across a fork: SQLite's table of this process's locks came along and is
    /// wrong here, so that no file can be opened safely any more.
    nonisolated(unsafe) package private(set) static var hasInheritedFiles = false
    private static let openFiles = Atomic<Int>(0)
    private static let isWatched: Bool =
        pthread_atfork(
            nil, nil,
            {
                Fork.count &+= 1
                if Fork.openFiles.load(ordering: .relaxed) > 0 { Fork.hasInheritedFiles = true }
            }) == 0

    package static var generation: UInt32 { isWatched ? count : 0 }

    /// Before SQLite begins to open it.
    static func fileOpened() {
        // Or nobody would notice a fork from here to the first handle.
        _ = isWatched
        openFiles.wrappingAdd(1, ordering: .relaxed)
    }

    /// After SQLite has closed it, or could not open it.
    static func fileClosed() { openFiles.wrappingSubtract(1, ordering: .relaxed) }
}

/// The calls under way on this thread, innermost first, as a list on the stack. It tells a callback
/// that it is calling back into the store that is calling it.
struct CallFrame {
    private let store: ObjectIdentifier
    private let outer: UnsafeRawPointer?

    private static let key: pthread_key_t? = {
        var key = pthread_key_t()
        return pthread_key_create(&key, nil) == 0 ? key : nil
    }()

    static func contains(_ store: ObjectIdentifier) -> Bool {
        guard let key else { return false }
        var frame = UnsafeRawPointer(pthread_getspecific(key))
        while let current = frame?.load(as: CallFrame.self) {
            if current.store == store { return true }
            frame = current.outer
        }
        return false
    }

    static func around(
        _ store: ObjectIdentifier, _ body: () throws(Failure) -> Void
    ) throws(Failure) {
        guard let key else { throw .limit(.memory) }
        let outer = UnsafeRawPointer(pthread_getspecific(key))
        var frame = CallFrame(store: store, outer: outer)
        try withUnsafePointer(to: &frame) { (pointer) throws(Failure) in
            pthread_setspecific(key, pointer)
            defer { pthread_setspecific(key, outer) }
            try body()
        }
    }
}
