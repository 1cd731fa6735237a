package import PawlCrypto

/// What follows from a backup's secret: a key for each purpose, so that what is made for one serves no other.
package final class BackupKeys {
    package static let secretSize = 32

    /// Tells this secret from another, and serves nothing else.
    package let publicKey: Digest
    private let secret: SecretBuffer
    /// Of the check value, the manifest, places and names, 32 bytes each.
    private let keys: SecretBuffer

    package init(_ secret: Bytes) throws(Failure) {
        guard secret.count == Self.secretSize else { throw .misuse(.size) }
        self.secret = try SecretBuffer(copying: secret)
        keys = try SecretBuffer(count: 4 * 32)
        let (first, last) = keys.mutableBytes.split(at: 64)
        let (check, manifest) = first.split(at: 32)
        let (place, name) = last.split(at: 32)
        try KeyedHash.derive(into: check, key: secret, label: Self.checkLabel)
        try KeyedHash.derive(into: manifest, key: secret, label: "pawl/1 backup manifest")
        try KeyedHash.derive(into: place, key: secret, label: "pawl/1 backup place")
        try KeyedHash.derive(into: name, key: secret, label: "pawl/1 backup name")
        let pair = try SecretBuffer(count: 2 * Agreement.keySize)
        let (own, other) = pair.mutableBytes.split(at: Agreement.keySize)
        try KeyedHash.derive(into: own, key: secret, label: "pawl/1 backup identity")
        try Agreement.publish(secret: Bytes(own), into: other)
        publicKey = try Digest(Bytes(other))
        withExtendedLifetime(pair) {}
    }

    /// The key of check values alone: it tells whether a secret is a version's.
    static func check(of secret: Bytes) throws(Failure) -> SecretBuffer {
        guard secret.count == secretSize else { throw .misuse(.size) }
        let key = try SecretBuffer(count: 32)
        try KeyedHash.derive(into: key.mutableBytes, key: secret, label: checkLabel)
        return key
    }

    private static var checkLabel: StaticString { "pawl/1 backup check" }

    var check: Bytes { part(0) }
    var manifest: Bytes { part(1) }
    private var place: Bytes { part(2) }
    var name: Bytes { part(3) }

    private func part(_ number: Int) -> Bytes {
        Bytes(rebasing: keys.bytes[number * 32..<number * 32 + 32])
    }

    /// The id of an item on the wire.
    package func place(of name: BackupItem.Name) throws(Failure) -> Identifier {
        try place { name.write(to: &$0) }
    }

    /// That of a writer's manifest, or with a number of a page of its listing.
    package func place(of writer: Identifier, page: UInt64?) throws(Failure) -> Identifier {
        try place { (name) in
            name.integer(UInt8(page == nil ? 0xFF : 0xFE))
            writer.withBytes { name.append($0) }
            name.integer(page ?? 0)
        }
    }

    private func place(
        _ write: (inout ByteWriter) -> Void
    ) throws(Failure) -> Identifier {
        let message = try SecretBuffer(count: BackupItem.Name.size)
        var writer = ByteWriter(message.mutableBytes)
        write(&writer)
        try writer.finish()
        let out = try SecretBuffer(count: Identifier.size)
        try KeyedHash.derive(
            into: out.mutableBytes, key: place, label: "pawl/1 backup place", message.bytes)
        let place = try Identifier(out.bytes)
        withExtendedLifetime((message, out)) {}
        return place
    }

    /// The key of one item: `facts` are the version's hash, kind, id, writer and number.
    func item(_ facts: Bytes) throws(Failure) -> SecretBuffer {
        let key = try SecretBuffer(count: 32)
        try KeyedHash.derive(
            into: key.mutableBytes, key: secret.bytes, label: "pawl/1 backup item", facts)
        return key
    }
}
