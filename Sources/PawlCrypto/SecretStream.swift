internal import CSodium

/// Sealed chunks, one after the other: `crypto_secretstream_xchacha20poly1305` of libsodium. One that is missing,
/// doubled, swapped or changed is noticed, and so is an end that comes too early.
package final class SecretStream {
    package static let headerSize = crypto_secretstream_xchacha20poly1305_headerbytes()
    /// By how much a sealed chunk is longer.
    package static let overhead = crypto_secretstream_xchacha20poly1305_abytes()

    private typealias State = crypto_secretstream_xchacha20poly1305_state

    /// Holds the state.
    private let memory: SecretBuffer
    private let state: UnsafeMutablePointer<State>

    private init() throws(Failure) {
        memory = try SecretBuffer(count: MemoryLayout<State>.size)
        guard let start = memory.mutableBytes.baseAddress else { throw .internal }
        state = start.bindMemory(to: State.self, capacity: 1)
    }

    /// Starts a stream, whose header goes to `header`.
    package convenience init(
        writing header: UnsafeMutableRawBufferPointer, key: Bytes
    ) throws(Failure) {
        try self.init()
        guard header.count == Self.headerSize, key.count == KeyArena.keySize,
            crypto_secretstream_xchacha20poly1305_init_push(state, header.octets, key.octets) == 0
        else { throw .internal }
    }

    package convenience init(reading header: Bytes, key: Bytes) throws(Failure) {
        try self.init()
        guard header.count == Self.headerSize, key.count == KeyArena.keySize,
            crypto_secretstream_xchacha20poly1305_init_pull(state, header.octets, key.octets) == 0
        else { throw .corrupt(.record) }
    }

    /// Fills `out`, which holds `chunk.count + overhead` bytes.
    package func seal(
        _ chunk: Bytes, isLast: Bool, associated: Bytes, into out: UnsafeMutableRawBufferPointer
    ) throws(Failure) {
        let tag =
            isLast
            ? crypto_secretstream_xchacha20poly1305_tag_final()
            : crypto_secretstream_xchacha20poly1305_tag_message()
        guard out.count == chunk.count + Self.overhead,
            crypto_secretstream_xchacha20poly1305_push(
                state, out.octets, nil, chunk.octets, UInt64(chunk.count), associated.octets,
                UInt64(associated.count), tag) == 0
        else { throw .internal }
    }

    /// The plaintext of the next chunk, and whether it is the last one.
    package func open(
        _ sealed: Bytes, associated: Bytes
    ) throws(Failure) -> (chunk: SecretBuffer, isLast: Bool) {
        guard sealed.count >= Self.overhead else { throw .corrupt(.record) }
        let chunk = try SecretBuffer(count: sealed.count - Self.overhead)
        var tag: UInt8 = 0
        let status = crypto_secretstream_xchacha20poly1305_pull(
            state, chunk.mutableBytes.octets, nil, &tag, sealed.octets, UInt64(sealed.count),
            associated.octets, UInt64(associated.count))
        guard status == 0 else { throw .corrupt(.record) }
        return (chunk, tag == crypto_secretstream_xchacha20poly1305_tag_final())
    }
}
