internal import CSodium

/// libsodium is ready. Evaluated once; false only if the system has no randomness.
package let sodiumIsReady: Bool = sodium_init() >= 0

/// A buffer of its own that is wiped when it is released. Secrets live here and not in arrays, which
/// leave copies behind when they grow or are shared.
package final class SecretBuffer {
    package let mutableBytes: UnsafeMutableRawBufferPointer

    package init(count: Int) throws(Failure) {
        guard count >= 0, let memory = buffer_allocate(max(count, 1)) else { throw .limit(.memory) }
        mutableBytes = UnsafeMutableRawBufferPointer(start: memory, count: count)
    }

    package convenience init(copying bytes: Bytes) throws(Failure) {
        try self.init(count: bytes.count)
        if bytes.count > 0 { mutableBytes.copyMemory(from: bytes) }
    }

    /// All zeros.
    package convenience init(zeros count: Int) throws(Failure) {
        try self.init(count: count)
        sodium_memzero(mutableBytes.octets, mutableBytes.count)
    }

    deinit {
        sodium_memzero(mutableBytes.octets, mutableBytes.count)
        buffer_free(mutableBytes.baseAddress)
    }

    package var bytes: Bytes { Bytes(mutableBytes) }
    package var count: Int { mutableBytes.count }
}

/// Long-lived keys: 32-byte slots in one guarded allocation of libsodium, which keeps them out of swap
/// and core dumps where the system allows it.
package final class KeyArena {
    package static let keySize = 32

    private var memory: UnsafeMutableRawPointer?
    private let count: Int
    /// Whether the system granted the lock against swapping.
    package let isLocked: Bool

    package init(keys: Int) throws(Failure) {
        count = keys
        guard sodiumIsReady, let memory = sodium_malloc(keys * Self.keySize) else {
            throw .limit(.memory)
        }
        self.memory = memory
        isLocked = sodium_mlock(memory, keys * Self.keySize) == 0
        sodium_memzero(memory, keys * Self.keySize)
    }

    deinit { wipe() }

    /// The key in a slot, for as long as the arena is not wiped.
    package func key(_ slot: Int) throws(Failure) -> UnsafeMutableRawBufferPointer {
        guard let memory, slot >= 0, slot < count else { throw .closed(.closed) }
        return UnsafeMutableRawBufferPointer(
            start: memory + slot * Self.keySize, count: Self.keySize)
    }

    /// `count` slots side by side.
    package func keys(_ slot: Int, count: Int) throws(Failure) -> UnsafeMutableRawBufferPointer {
        guard let memory, slot >= 0, count >= 0, slot + count <= self.count else {
            throw .closed(.closed)
        }
        return UnsafeMutableRawBufferPointer(
            start: memory + slot * Self.keySize, count: count * Self.keySize)
    }

    package func wipe() {
        if let memory { sodium_free(memory) }
        memory = nil
    }

    /// Wipes the keys, and leaves their slots to whoever still has them.
    package func zero() {
        if let memory { sodium_memzero(memory, count * Self.keySize) }
    }
}

/// Runs `body` with 32 bytes for a key on the stack, and wipes them.
package func withStackKey(
    _ body: (UnsafeMutableRawBufferPointer) throws(Failure) -> Void
) throws(Failure) {
    var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
    try withUnsafeMutableBytes(of: &words) { (key) throws(Failure) in
        defer { sodium_memzero(key.octets, key.count) }
        try body(key)
    }
}

/// 16 random bytes.
package typealias RandomWords = (UInt64, UInt64)

/// Asked of the system each time: a buffer of randomness would repeat in a cloned machine.
package func randomWords() -> RandomWords {
    var words: RandomWords = (0, 0)
    withUnsafeMutableBytes(of: &words) { fillRandom($0) }
    return words
}

package func fillRandom(_ bytes: UnsafeMutableRawBufferPointer) {
    if bytes.count > 0 { randombytes_buf(bytes.octets, bytes.count) }
}
