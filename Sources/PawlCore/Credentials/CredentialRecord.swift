package import PawlCrypto

/// The name of a value in a vault; random, never used twice.
package typealias VaultID = Identifier

/// Credential metadata and where its secret lives, as stored. The fields borrow from the buffer that
/// was decoded, which the record keeps, or from the arguments of the call that built it.
///
/// Layout (little endian): format 1, location 1, version 8, created 8, updated 8, expires 8, purge 8,
/// user, project, name, label, provider (u16 length each), attributes (u32 length), secret size 4,
/// then by location the secret, nothing, or the 16-byte vault id.
package struct CredentialRecord {
    package enum Secret {
        /// In this record.
        case inline(Bytes)
        /// In a record of its own, so that listing does not read it.
        case separate(size: UInt32)
        /// In the host's vault.
        case vault(VaultID, size: UInt32)

        package var size: Int {
            switch self {
            case .inline(let bytes): bytes.count
            case .separate(let size), .vault(_, let size): Int(size)
            }
        }
    }

    package var version: UInt64
    package var created: Int64
    package var updated: Int64
    package var expires: Int64
    package var purge: Int64
    package var user: Bytes
    package var project: Bytes
    package var name: Bytes
    package var label: Bytes
    package var provider: Bytes
    package var attributes: Bytes
    package var secret: Secret
    private let owner: SecretBuffer?

    private static let format: UInt8 = 1
    private static let fixedSize = 2 + 5 * 8 + 5 * 2 + 4 + 4

    package init(
        version: UInt64, created: Int64, updated: Int64, expires: Int64, user: Bytes,
        project: Bytes,
        name: Bytes, label: Bytes, provider: Bytes, attributes: Bytes, secret: Secret,
        keeping predecessor: CredentialRecord?
    ) {
        self.version = version
        self.created = created
        self.updated = updated
        self.expires = expires
        self.purge = CredentialRules.never
        self.user = user
        self.project = project
        self.name = name
        self.label = label
        self.provider = provider
        self.attributes = attributes
        self.secret = secret
        owner = predecessor?.owner
    }

    package init(decoding buffer: SecretBuffer) throws(Failure) {
        var reader = ByteReader(buffer.bytes)
        try reader.format(Self.format)
        let location = try reader.integer(UInt8.self)
        version = try reader.integer(UInt64.self)
        created = try reader.integer(Int64.self)
        updated = try reader.integer(Int64.self)
        expires = try reader.integer(Int64.self)
        purge = try reader.integer(Int64.self)
        user = try reader.field(UInt16.self)
        project = try reader.field(UInt16.self)
        name = try reader.field(UInt16.self)
        label = try reader.field(UInt16.self)
        provider = try reader.field(UInt16.self)
        attributes = try reader.field(UInt32.self)
        let size = try reader.integer(UInt32.self)
        switch location {
        case 0:
            guard let count = Int(exactly: size) else { throw .corrupt(.record) }
            secret = .inline(try reader.take(count))
        case 1: secret = .separate(size: size)
        case 2: secret = .vault(try VaultID(reader.take(VaultID.size)), size: size)
        default: throw .corrupt(.record)
        }
        try reader.finish()
        owner = buffer
    }

    /// When it is over: expired, or past its recovery window.
    package var due: Int64 { min(expires, purge) }

    package func encoded() throws(Failure) -> SecretBuffer {
        var size = Self.fixedSize + user.count + project.count + name.count + label.count
        size += provider.count + attributes.count
        let location: UInt8
        switch secret {
        case .inline(let bytes):
            location = 0
            size += bytes.count
        case .separate: location = 1
        case .vault:
            location = 2
            size += VaultID.size
        }
        guard let secretSize = UInt32(exactly: secret.size) else { throw .limit(.secret) }
        let buffer = try SecretBuffer(count: size)
        var writer = ByteWriter(buffer.mutableBytes)
        writer.integer(Self.format)
        writer.integer(location)
        writer.integer(version)
        for time in [created, updated, expires, purge] { writer.integer(time) }
        for field in [user, project, name, label, provider] { writer.field(field, UInt16.self) }
        writer.field(attributes, UInt32.self)
        writer.integer(secretSize)
        switch secret {
        case .inline(let bytes): writer.append(bytes)
        case .separate: break
        case .vault(let id, _): id.withBytes { writer.append($0) }
        }
        try writer.finish()
        return buffer
    }
}
