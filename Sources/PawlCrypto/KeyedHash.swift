internal import CSodium

/// Key derivation and naming: keyed BLAKE2b (RFC 7693) through `crypto_generichash`. Each input is
/// preceded by its length as u32-LE, so no two lists of inputs share an encoding.
package enum KeyedHash {
    /// `out` (16-64 bytes) = BLAKE2b(key; label, inputs).
    package static func derive(
        into out: UnsafeMutableRawBufferPointer, key: Bytes, label: StaticString, _ inputs: Bytes...
    ) throws(Failure) {
        var size = 4 + label.utf8CodeUnitCount
        for input in inputs { size += 4 + input.count }
        let message = try SecretBuffer(count: size)
        var writer = ByteWriter(message.mutableBytes)
        writer.field(Bytes(start: label.utf8Start, count: label.utf8CodeUnitCount), UInt32.self)
        for input in inputs { writer.field(input, UInt32.self) }
        try writer.finish()
        try hash(into: out, key: key, message.bytes)
    }

    /// `out` (16-64 bytes) = BLAKE2b(key; message).
    package static func hash(
        into out: UnsafeMutableRawBufferPointer, key: Bytes, _ message: Bytes
    ) throws(Failure) {
        let status = crypto_generichash(
            out.octets, out.count,
            message.octets, UInt64(message.count),
            key.octets, key.count)
        guard status == 0 else { throw .internal }
    }
}
