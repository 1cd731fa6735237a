/// Bytes that nobody else should see. They are wiped when the last reference goes, and printing,
/// dumping or logging a secret shows its size alone.
///
/// What a secret was made from, and what ``bytes`` and ``text`` return, are copies that the caller
/// owns.
public final class Secret: @unchecked Sendable {  // The memory never changes after init.
    private let memory: UnsafeMutableRawBufferPointer

    init(copying bytes: UnsafeRawBufferPointer) {
        memory = .allocate(byteCount: bytes.count, alignment: 1)
        memory.copyMemory(from: bytes)
    }

    /// Copies bytes.
    public init(_ bytes: [UInt8]) {
        memory = .allocate(byteCount: bytes.count, alignment: 1)
        memory.copyBytes(from: bytes)
    }

    /// Copies the UTF-8 bytes of a text.
    public init(_ text: String) {
        memory = .allocate(byteCount: text.utf8.count, alignment: 1)
        memory.copyBytes(from: text.utf8)
    }

    deinit {
        wipe(memory)
        memory.deallocate()
    }

    /// The number of bytes.
    public var count: Int { memory.count }

    /// Lends the bytes, without a copy, until `body` returns.
    public func withUnsafeBytes<Result: ~Copyable, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(UnsafeRawBufferPointer(memory))
    }

    /// A copy of the bytes, which nobody wipes.
    public var bytes: [UInt8] { [UInt8](memory) }

    /// A copy as text, which nobody wipes; nil if the bytes are not UTF-8.
    public var text: String? { String(validating: memory, as: UTF8.self) }
}

extension Secret: Equatable {
    /// Whether two secrets hold the same bytes, in a time that depends on their sizes alone.
    public static func == (left: Secret, right: Secret) -> Bool {
        guard left.count == right.count else { return false }
        var difference: UInt8 = 0
        for (a, b) in zip(left.memory, right.memory) { difference |= a ^ b }
        return difference == 0
    }
}

extension Secret: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// The size, never the bytes.
    public var description: String { "Secret(\(count) bytes)" }
    /// The size, never the bytes.
    public var debugDescription: String { description }
    /// Nothing, so that `dump` shows nothing.
    public var customMirror: Mirror { Mirror(self, children: [:]) }
}
