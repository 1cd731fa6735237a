package import PawlCrypto

/// Two public keys and a name: one triple, borrowed. If any part differs it is another identity.
package struct Identity {
    package let keys: IdentityPublic
    package let name: Bytes

    package init(keys: IdentityPublic, name: Bytes) throws(Failure) {
        guard name.isText(AccountRecord.nameSizes) else { throw .misuse(.account) }
        self.keys = keys
        self.name = name
    }

    /// As records hold it: keys, then name (u8 length).
    init(stored reader: inout ByteReader) throws(Failure) {
        keys = try IdentityPublic(&reader)
        name = try reader.field(UInt8.self)
        guard name.isText(AccountRecord.nameSizes) else { throw .corrupt(.record) }
    }

    package func isSame(as other: Identity) -> Bool {
        hasSameKeys(as: other.keys) && name.sameBytes(as: other.name)
    }

    package func hasSameKeys(as other: IdentityPublic) -> Bool {
        keys.signing.sameBytes(as: other.signing) && keys.agreement.sameBytes(as: other.agreement)
    }
}
