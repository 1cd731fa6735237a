internal import CSodium

/// Borrowed bytes. Whoever hands them out says how long they live.
package typealias Bytes = UnsafeRawBufferPointer

/// Reads fixed-width little-endian integers and length-prefixed fields. Every read is checked, so that
/// bytes from disk or wire can only ever end in `corrupt`.
package struct ByteReader {
    private let bytes: Bytes
    private var position = 0

    package init(_ bytes: Bytes) { self.bytes = bytes }

    package var isAtEnd: Bool { position == bytes.count }
    /// How many bytes have been read.
    package var offset: Int { position }

    /// All that has not been read.
    package func rest() -> Bytes { Bytes(rebasing: bytes[position...]) }

    package mutating func take(_ count: Int) throws(Failure) -> Bytes {
        guard count >= 0, count <= bytes.count - position else { throw .corrupt(.record) }
        let part = Bytes(rebasing: bytes[position..<position + count])
        position += count
        return part
    }

    package mutating func integer<T: FixedWidthInteger>(_: T.Type) throws(Failure) -> T {
        guard MemoryLayout<T>.size <= bytes.count - position else { throw .corrupt(.record) }
        defer { position += MemoryLayout<T>.size }
        return T(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: T.self))
    }

    /// The format byte of a record: `version` if a newer Pawl wrote it.
    package mutating func format(_ known: UInt8) throws(Failure) {
        let format = try integer(UInt8.self)
        guard format <= known else { throw .version }
        guard format == known else { throw .corrupt(.record) }
    }

    /// A field behind a `Width` length.
    package mutating func field<Width: FixedWidthInteger>(_: Width.Type) throws(Failure) -> Bytes {
        let length = try integer(Width.self)
        guard let count = Int(exactly: length) else { throw .corrupt(.record) }
        return try take(count)
    }

    package func finish() throws(Failure) {
        guard isAtEnd else { throw .corrupt(.record) }
    }
}

/// Writes what `ByteReader` reads into a buffer whose size was computed before; writing past its end
/// is a bug and is reported as one by `finish`, never a trap.
package struct ByteWriter {
    private let bytes: UnsafeMutableRawBufferPointer
    private var position = 0
    private var overflowed = false

    package init(_ bytes: UnsafeMutableRawBufferPointer) { self.bytes = bytes }

    package mutating func append(_ part: Bytes) {
        guard part.count <= bytes.count - position else {
            overflowed = true
            return
        }
        if part.count > 0 {
            UnsafeMutableRawBufferPointer(rebasing: bytes[position..<position + part.count])
                .copyMemory(from: part)
            position += part.count
        }
    }

    package mutating func integer<T: FixedWidthInteger>(_ value: T) {
        guard MemoryLayout<T>.size <= bytes.count - position else {
            overflowed = true
            return
        }
        bytes.storeBytes(of: value.littleEndian, toByteOffset: position, as: T.self)
        position += MemoryLayout<T>.size
    }

    package mutating func field<Width: FixedWidthInteger>(_ part: Bytes, _: Width.Type) {
        guard let length = Width(exactly: part.count) else {
            overflowed = true
            return
        }
        integer(length)
        append(part)
    }

    package func finish() throws(Failure) {
        guard !overflowed, position == bytes.count else { throw .internal }
    }
}

extension UnsafeRawBufferPointer {
    /// Equal bytes. Not in constant time: for names, never for secrets.
    package func sameBytes(as other: Bytes) -> Bool {
        count == other.count && buffer_is_same(octets, other.octets, count) != 0
    }

    /// Valid UTF-8 without NUL, with a size in `sizes`: the rule of every name in Pawl.
    package func isText(_ sizes: ClosedRange<Int>) -> Bool {
        guard sizes.contains(count) else { return false }
        guard count > 0 else { return true }
        for byte in self where byte == 0 { return false }
        let text = UnsafeBufferPointer(start: octets, count: count)
        return (try? UTF8Span(validating: text.span)) != nil
    }
}

/// What an empty buffer points to where C wants an address. Nothing is read or written there.
private var nowhere: UnsafeMutablePointer<UInt8> {
    let nothing: StaticString = ""
    return UnsafeMutablePointer(mutating: nothing.utf8Start)
}

extension UnsafeRawBufferPointer {
    package static var empty: Bytes { Bytes(start: nil, count: 0) }

    /// The address for C functions that refuse NULL even for an empty input.
    package var octets: UnsafePointer<UInt8> {
        baseAddress?.assumingMemoryBound(to: UInt8.self) ?? UnsafePointer(nowhere)
    }
}

extension UnsafeMutableRawBufferPointer {
    package var octets: UnsafeMutablePointer<UInt8> {
        baseAddress?.assumingMemoryBound(to: UInt8.self) ?? nowhere
    }
}

/// 16 bytes that name something; random unless said otherwise.
package struct Identifier: Hashable, Comparable {
    package static let size = 16
    /// 16 zeros, where there is nothing to name.
    package static let none = Identifier(low: 0, high: 0)
    private let low: UInt64
    private let high: UInt64

    package init(_ bytes: Bytes) throws(Failure) {
        var reader = ByteReader(bytes)
        low = try reader.integer(UInt64.self)
        high = try reader.integer(UInt64.self)
        try reader.finish()
    }

    private init(low: UInt64, high: UInt64) {
        self.low = low
        self.high = high
    }

    /// The first 8 bytes, little endian.
    package var half: UInt64 { low }

    /// The order of the bytes.
    package static func < (a: Identifier, b: Identifier) -> Bool {
        (a.low.byteSwapped, a.high.byteSwapped) < (b.low.byteSwapped, b.high.byteSwapped)
    }

    package static func random() -> Identifier {
        let words = randomWords()
        return Identifier(low: words.0, high: words.1)
    }

    package func withBytes<R: ~Copyable, E: Error>(_ body: (Bytes) throws(E) -> R) throws(E) -> R {
        try withUnsafeBytes(of: (low.littleEndian, high.littleEndian), body)
    }
}
