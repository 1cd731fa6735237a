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

    package func isSame(as other: Identity) -> Bool {
        hasSameKeys(as: other.keys) && name.sameBytes(as: other.name)
    }

    package func hasSameKeys(as other: IdentityPublic) -> Bool {
        keys.signing.sameBytes(as: other.signing) && keys.agreement.sameBytes(as: other.agreement)
    }
}
