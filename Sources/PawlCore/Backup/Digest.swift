package import PawlCrypto

/// 32 bytes of a hash, a MAC or a public key. Never a secret.
package struct Digest: Hashable, Comparable {
    package static let size = 32
    /// 32 zeros, where there is nothing to name.
    package static let none = Digest(a: 0, b: 0, c: 0, d: 0)
    private let a: UInt64
    private let b: UInt64
    private let c: UInt64
    private let d: UInt64

    private init(a: UInt64, b: UInt64, c: UInt64, d: UInt64) {
        self.a = a
        self.b = b
        self.c = c
        self.d = d
    }

    package init(_ bytes: Bytes) throws(Failure) {
        var reader = ByteReader(bytes)
        try self.init(&reader)
        try reader.finish()
    }

    package init(_ reader: inout ByteReader) throws(Failure) {
        a = try reader.integer(UInt64.self)
        b = try reader.integer(UInt64.self)
        c = try reader.integer(UInt64.self)
        d = try reader.integer(UInt64.self)
    }

    /// Keyed BLAKE2b-256 of one message under a label.
    package init(key: Bytes, label: StaticString, _ message: Bytes) throws(Failure) {
        let out = try SecretBuffer(count: Self.size)
        try KeyedHash.derive(into: out.mutableBytes, key: key, label: label, message)
        try self.init(out.bytes)
        withExtendedLifetime(out) {}
    }

    package func write(to writer: inout ByteWriter) {
        for word in [a, b, c, d] { writer.integer(word) }
    }

    /// The first 8 bytes, in their order.
    package var first: UInt64 { a.byteSwapped }

    /// The order of the bytes.
    package static func < (one: Digest, other: Digest) -> Bool {
        (one.a.byteSwapped, one.b.byteSwapped, one.c.byteSwapped, one.d.byteSwapped)
            < (other.a.byteSwapped, other.b.byteSwapped, other.c.byteSwapped, other.d.byteSwapped)
    }
}
