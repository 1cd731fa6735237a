package import PawlCrypto

/// What a request to publish carries: a package or none, and one-time keys, all of one size.
///
/// Layout: the package's size (u16 little endian, 0: none), the package, the keys.
package struct Publication {
    private let package: Bytes
    private let keys: Bytes
    private let keyCount: Int

    /// The body of an item and its count.
    package init(_ body: Bytes, keys count: UInt64) throws(Failure) {
        var reader = ByteReader(body)
        package = try reader.field(UInt16.self)
        keys = reader.rest()
        guard let count = Int(exactly: count), count == 0 ? keys.isEmpty : keys.count % count == 0
        else { throw .corrupt(.record) }
        keyCount = count
    }

    package struct Entry {
        package let id: Identifier
        /// nil: the package itself.
        package let number: UInt32?
        /// Milliseconds; of a package.
        package let notBefore: Int64
        package let notAfter: Int64
        package let bytes: Bytes
    }

    /// The package, if there is one, then the keys; `misuse` behind the last.
    package func entry(at index: Int) throws(Failure) -> Entry {
        let first = package.isEmpty ? 0 : 1
        if index == 0, first == 1 {
            let parsed = try KeyPackage(own: package)
            return Entry(
                id: parsed.id, number: nil, notBefore: parsed.notBefore, notAfter: parsed.notAfter,
                bytes: package)
        }
        guard index >= first, index - first < keyCount else { throw .misuse(.row) }
        let size = keys.count / keyCount
        let start = (index - first) * size
        let key = Bytes(rebasing: keys[start..<start + size])
        let (id, number) = try KeyPackage.oneTimeName(key)
        return Entry(id: id, number: number, notBefore: 0, notAfter: 0, bytes: key)
    }

    package static func write(package: Bytes, keys: [SecretBuffer]) throws(Failure) -> SecretBuffer
    {
        var size = 2 + package.count
        for key in keys { size += key.count }
        let buffer = try SecretBuffer(count: size)
        var writer = ByteWriter(buffer.mutableBytes)
        writer.field(package, UInt16.self)
        for key in keys { writer.append(key.bytes) }
        try writer.finish()
        return buffer
    }
}
