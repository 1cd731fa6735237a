package import PawlCrypto

/// A key package of one's own, or one of its one-time keys: what is published, and the private half.
///
/// Layout (little endian): format 1, created 8, X25519 secret 32, X-Wing secret (u16 length: 0 or 32), published bytes (u16 length).
package struct PackageRecord {
    /// Packages of an account, one-time keys of a package.
    package static let limit = 16
    package static let oneTimeLimit = 500
    private static let format: UInt8 = 1

    /// Nanoseconds.
    package let created: Int64
    package let opening: SetUp.Opening
    /// Borrowed from this record.
    package let published: Bytes
    private let owner: SecretBuffer

    /// Freshly drawn keys of what is to be published: secret ‖ public.
    package struct Drawn {
        package let agreement: SecretBuffer
        package let encapsulation: SecretBuffer?

        package init(agreement: SecretBuffer, encapsulation: SecretBuffer?) {
            self.agreement = agreement
            self.encapsulation = encapsulation
        }

        package var publicKeys: KeyPackage.PublicKeys {
            (
                agreement: Bytes(rebasing: agreement.bytes[Agreement.keySize...]),
                encapsulation: encapsulation.map {
                    Bytes(rebasing: $0.bytes[Encapsulation.secretSize...])
                } ?? .empty
            )
        }

        package func encoded(
            published: SecretBuffer, created: Int64
        ) throws(Failure) -> SecretBuffer {
            let secret =
                encapsulation.map { Bytes(rebasing: $0.bytes[..<Encapsulation.secretSize]) }
                ?? .empty
            let buffer = try SecretBuffer(
                count: 9 + Agreement.keySize + 2 + secret.count + 2 + published.count)
            var writer = ByteWriter(buffer.mutableBytes)
            writer.integer(format)
            writer.integer(created)
            writer.append(Bytes(rebasing: agreement.bytes[..<Agreement.keySize]))
            writer.field(secret, UInt16.self)
            writer.field(published.bytes, UInt16.self)
            try writer.finish()
            return buffer
        }
    }

    package init(decoding buffer: SecretBuffer) throws(Failure) {
        var reader = ByteReader(buffer.bytes)
        try reader.format(Self.format)
        created = try reader.integer(Int64.self)
        opening = SetUp.Opening(
            agreement: try reader.take(Agreement.keySize),
            encapsulation: try reader.field(UInt16.self))
        published = try reader.field(UInt16.self)
        try reader.finish()
        owner = buffer
    }
}
