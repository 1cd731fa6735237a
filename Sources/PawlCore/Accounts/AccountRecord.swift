package import PawlCrypto

/// An account as stored: its name and its identity keys, secret and public.
///
/// Layout (little endian): format 1, created 8, Ed25519 seed 32, X25519 secret 32, Ed25519 public 32,
/// X25519 public 32, name (u16 length).
package struct AccountRecord {
    package static let nameSizes = 1...255

    package let created: Int64
    package let name: Bytes
    package let identity: IdentityPublic
    /// Ed25519 seed and X25519 secret, 32 bytes each.
    package let signingSeed: Bytes
    package let agreementSecret: Bytes
    private let owner: SecretBuffer

    private static let format: UInt8 = 1

    package static func encode(
        name: Bytes, keys: IdentityKeys, created: Int64
    ) throws(Failure) -> SecretBuffer {
        guard name.isText(nameSizes) else { throw .misuse(.account) }
        let buffer = try SecretBuffer(count: 1 + 8 + IdentityKeys.size + 2 + name.count)
        var writer = ByteWriter(buffer.mutableBytes)
        writer.integer(format)
        writer.integer(created)
        writer.append(keys.bytes.bytes)
        writer.field(name, UInt16.self)
        try writer.finish()
        return buffer
    }

    package init(decoding buffer: SecretBuffer) throws(Failure) {
        var reader = ByteReader(buffer.bytes)
        try reader.format(Self.format)
        created = try reader.integer(Int64.self)
        signingSeed = try reader.take(IdentityPublic.keySize)
        agreementSecret = try reader.take(IdentityPublic.keySize)
        identity = try IdentityPublic(&reader)
        name = try reader.field(UInt16.self)
        try reader.finish()
        owner = buffer
    }

    /// Name and public keys, borrowed from this record.
    package var triple: Identity {
        get throws(Failure) { try Identity(keys: identity, name: name) }
    }
}
