package import PawlCrypto

/// How two accounts come to share a session: X3DH, in suite 2 with an X-Wing encapsulation beside it, over a
/// transcript of all that both must agree on. Protocol.md, "Set-up".
package enum SetUp {
    /// One's own side.
    package struct Own {
        package let account: Identifier
        package let identity: Identity
        package let agreementSecret: Bytes
        /// Whose bytes these are.
        private let record: AccountRecord

        package init(account: Identifier, record: AccountRecord) throws(Failure) {
            self.account = account
            self.record = record
            identity = try record.triple
            agreementSecret = record.agreementSecret
        }
    }

    /// What is drawn for a start. Secret ‖ public, and ciphertext ‖ secret.
    package struct Drawn {
        package let ephemeral: SecretBuffer
        package let encapsulated: SecretBuffer?

        package init(ephemeral: SecretBuffer, encapsulated: SecretBuffer?) {
            self.ephemeral = ephemeral
            self.encapsulated = encapsulated
        }
    }

    /// The private halves that a welcome asks for.
    package struct Opening {
        package let agreement: Bytes
        package let encapsulation: Bytes

        package init(agreement: Bytes, encapsulation: Bytes) {
            self.agreement = agreement
            self.encapsulation = encapsulation
        }
    }

    // MARK: Initiator

    /// `created` in milliseconds.
    package static func start(
        _ own: Own, _ package: KeyPackage, suite: Suite, suites: SuiteList, drawn: Drawn,
        created: Int64
    ) throws(Failure) -> Session {
        guard !own.identity.hasSameKeys(as: package.identity.keys) else {
            throw .state(.ownIdentity)
        }
        let size = Agreement.keySize
        let secret = Bytes(rebasing: drawn.ephemeral.bytes[..<size])
        let ephemeral = Bytes(rebasing: drawn.ephemeral.bytes[size...])
        let ciphertextSize = drawn.encapsulated == nil ? 0 : Encapsulation.ciphertextSize
        let encapsulated = drawn.encapsulated?.bytes ?? .empty
        let ciphertext = Bytes(rebasing: encapsulated[..<ciphertextSize])

        let agreements = try SecretBuffer(count: 4 * size)
        try agree(own.agreementSecret, package.initKeys.agreement, agreements, 0)
        try agree(secret, package.identity.keys.agreement, agreements, 1)
        try agree(secret, package.initKeys.agreement, agreements, 2)
        if let oneTime = package.oneTime {
            try agree(secret, oneTime.keys.agreement, agreements, 3)
        }
        let welcome = Welcome(
            suite: suite, initiator: own.identity, responderName: package.identity.name,
            suites: suites, package: package.id, oneTime: package.oneTime?.id,
            ephemeral: ephemeral, ciphertext: ciphertext, created: created)
        let session = try finish(
            Exchange(
                welcome: welcome, responder: package.identity, packageHash: package.hash.bytes,
                oneTime: package.oneTime?.keys),
            agreements, kem: Bytes(rebasing: encapsulated[ciphertextSize...]),
            Session.Fixed(
                side: .initiator, suite: suite, account: own.account, created: created,
                packageEnd: package.notAfter, peer: package.identity),
            welcome: welcome.encoded())
        withExtendedLifetime(drawn) {}
        return session
    }

    // MARK: Responder

    /// What can be said of a welcome before any agreement is computed. `package` is the one that it names, with the
    /// one-time key that it names.
    package static func check(
        _ welcome: Welcome, _ own: Own, _ package: KeyPackage
    ) throws(Failure) {
        guard welcome.responderName.sameBytes(as: own.identity.name),
            welcome.suites.strongest(in: package.suites) == welcome.suite,
            welcome.oneTime == package.oneTime?.id
        else { throw .auth }
        guard !own.identity.hasSameKeys(as: welcome.initiator.keys) else {
            throw .state(.ownIdentity)
        }
    }

    /// Answers a welcome that was checked, with its package's and one-time key's private halves.
    package static func accept(
        _ own: Own, _ welcome: Welcome, _ package: KeyPackage, initKeys: Opening,
        oneTime: Opening?
    ) throws(Failure) -> Session {
        guard (oneTime == nil) == (package.oneTime == nil) else { throw .internal }
        let agreements = try SecretBuffer(count: 4 * Agreement.keySize)
        try agree(initKeys.agreement, welcome.initiator.keys.agreement, agreements, 0)
        try agree(own.agreementSecret, welcome.ephemeral, agreements, 1)
        try agree(initKeys.agreement, welcome.ephemeral, agreements, 2)
        if let oneTime { try agree(oneTime.agreement, welcome.ephemeral, agreements, 3) }
        let kem =
            welcome.suite == .xwing
            ? try Encapsulation.decapsulate(
                welcome.ciphertext, secret: (oneTime ?? initKeys).encapsulation)
            : nil
        let session = try finish(
            Exchange(
                welcome: welcome, responder: own.identity, packageHash: package.hash.bytes,
                oneTime: package.oneTime?.keys),
            agreements, kem: kem?.bytes ?? .empty,
            Session.Fixed(
                side: .responder, suite: welcome.suite, account: own.account,
                created: welcome.created, packageEnd: package.notAfter, peer: welcome.initiator),
            welcome: nil)
        withExtendedLifetime(kem) {}
        return session
    }

    // MARK: Both

    /// All that both sides must see alike.
    private struct Exchange {
        let welcome: Welcome
        let responder: Identity
        let packageHash: Bytes
        let oneTime: KeyPackage.InitKeys?
    }

    private static func agree(
        _ secret: Bytes, _ other: Bytes, _ agreements: SecretBuffer, _ number: Int
    ) throws(Failure) {
        let first = number * Agreement.keySize
        try Agreement.agree(
            secret: secret, public: other,
            into: UnsafeMutableRawBufferPointer(
                rebasing: agreements.mutableBytes[first..<first + Agreement.keySize]))
    }

    private static func finish(
        _ exchange: Exchange, _ agreements: SecretBuffer, kem: Bytes, _ fixed: Session.Fixed,
        welcome: SecretBuffer?
    ) throws(Failure) -> Session {
        let transcript = try transcript(exchange)
        let parts = (0..<4).map {
            Bytes(rebasing: agreements.bytes[($0 * 32)..<($0 * 32 + 32)])
        }
        let secret = try SecretBuffer(count: 32)
        try KeyedHash.derive(
            into: secret.mutableBytes, key: transcript.bytes, label: "pawl/1 set-up", parts[0],
            parts[1], parts[2], exchange.oneTime == nil ? .empty : parts[3], kem)
        let root = try derived(32, secret, "pawl/1 root")
        let chains = try derived(64, secret, "pawl/1 chains")
        let filters = try derived(32, root, "pawl/1 filters")
        let id = try derived(32, root, "pawl/1 session id")
        id.mutableBytes[15] = id.bytes[15] & 0xFE | fixed.side.rawValue
        let initiator = try Chain(key: Bytes(rebasing: chains.bytes[..<32]), index: 0)
        let responder = try Chain(key: Bytes(rebasing: chains.bytes[32...]), index: 0)
        let isInitiator = fixed.side == .initiator
        let session = try Session(
            id: Identifier(Bytes(rebasing: id.bytes[..<16])), fixed,
            Session.Derived(
                root: root.bytes, filters: filters.bytes,
                sending: isInitiator ? initiator : responder,
                receiving: isInitiator ? responder : initiator),
            welcome: welcome)
        withExtendedLifetime((root, chains, filters, id)) {}
        return session
    }

    private static func derived(
        _ size: Int, _ key: SecretBuffer, _ label: StaticString
    ) throws(Failure) -> SecretBuffer {
        let out = try SecretBuffer(count: size)
        try KeyedHash.derive(into: out.mutableBytes, key: key.bytes, label: label)
        return out
    }

    private static func transcript(_ exchange: Exchange) throws(Failure) -> SecretBuffer {
        let welcome = exchange.welcome
        let oneTime = try SecretBuffer(
            count: (exchange.oneTime?.agreement.count ?? 0)
                + (exchange.oneTime?.encapsulation.count ?? 0))
        var writer = ByteWriter(oneTime.mutableBytes)
        writer.append(exchange.oneTime?.agreement ?? .empty)
        writer.append(exchange.oneTime?.encapsulation ?? .empty)
        try writer.finish()
        let out = try SecretBuffer(count: 32)
        // Version, suite and the one-time key's number, one after the other.
        let numbers = try SecretBuffer(count: 6)
        writer = ByteWriter(numbers.mutableBytes)
        writer.integer(Frame.version)
        writer.integer(welcome.suite.rawValue)
        writer.integer(welcome.oneTime ?? 0)
        try writer.finish()
        let number = welcome.oneTime == nil ? 2..<2 : 2..<6
        let suites = try SecretBuffer(count: welcome.suites.size)
        writer = ByteWriter(suites.mutableBytes)
        welcome.suites.write(to: &writer)
        try writer.finish()
        try KeyedHash.derive(
            into: out.mutableBytes, key: .empty, label: "pawl/1 transcript",
            Bytes(rebasing: numbers.bytes[0..<1]),
            welcome.initiator.keys.signing, welcome.initiator.keys.agreement,
            welcome.initiator.name,
            exchange.responder.keys.signing, exchange.responder.keys.agreement,
            exchange.responder.name,
            exchange.packageHash, welcome.ephemeral, welcome.ciphertext,
            Bytes(rebasing: numbers.bytes[number]), oneTime.bytes,
            Bytes(rebasing: numbers.bytes[1..<2]), suites.bytes)
        withExtendedLifetime((oneTime, numbers, suites)) {}
        return out
    }
}
