package import PawlCrypto

/// Attributes as stored: key (u16 length) and value (u16 length), one after the other.
package enum Attributes {
    /// Checks and encodes `count` attributes.
    package static func encode(
        count: Int, _ attribute: (Int) throws(Failure) -> (key: Bytes, value: Bytes)
    ) throws(Failure) -> SecretBuffer {
        guard count >= 0 else { throw .misuse(.size) }
        guard count <= CredentialRules.attributeLimit else { throw .limit(.attributes) }
        var size = 0
        for index in 0..<count {
            let (key, value) = try attribute(index)
            guard key.isText(CredentialRules.attributeKeySizes),
                value.isText(CredentialRules.attributeValueSizes)
            else { throw .misuse(.attribute) }
            for earlier in 0..<index where try attribute(earlier).key.sameBytes(as: key) {
                throw .misuse(.attribute)
            }
            size += 4 + key.count + value.count
        }
        let buffer = try SecretBuffer(count: size)
        var writer = ByteWriter(buffer.mutableBytes)
        for index in 0..<count {
            let (key, value) = try attribute(index)
            writer.field(key, UInt16.self)
            writer.field(value, UInt16.self)
        }
        try writer.finish()
        return buffer
    }

    package static func count(_ encoded: Bytes) -> Int {
        var count = 0
        while at(count, in: encoded) != nil { count += 1 }
        return count
    }

    /// The attribute at `index`, or nil past the end.
    package static func at(_ index: Int, in encoded: Bytes) -> (key: Bytes, value: Bytes)? {
        guard index >= 0 else { return nil }
        var reader = ByteReader(encoded)
        var position = 0
        while !reader.isAtEnd {
            guard let key = try? reader.field(UInt16.self),
                let value = try? reader.field(UInt16.self)
            else { return nil }
            if position == index { return (key, value) }
            position += 1
        }
        return nil
    }
}
