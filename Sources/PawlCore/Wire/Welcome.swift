package import PawlCrypto

/// What an initiator's messages carry until the first answer, read in place. Protocol.md, "Set-up".
package struct Welcome {
    package let suite: Suite
    package let initiator: Identity
    package let responderName: Bytes
    package let suites: SuiteList
    package let package: Identifier
    /// nil: none was used.
    package let oneTime: UInt32?
    package let ephemeral: Bytes
    /// Empty in suite 1.
    package let ciphertext: Bytes
    /// Milliseconds.
    package let created: Int64

    package init(_ bytes: Bytes) throws(Failure) {
        var reader = ByteReader(bytes)
        do throws(Failure) {
            guard let suite = Suite(rawValue: try reader.integer(UInt8.self)) else { throw .auth }
            self.suite = suite
            let keys = try IdentityPublic(&reader)
            initiator = try Identity(keys: keys, name: reader.field(UInt8.self))
            responderName = try reader.field(UInt8.self)
            guard responderName.isText(AccountRecord.nameSizes) else { throw .auth }
            suites = try SuiteList(&reader)
            package = try Identifier(reader.take(Identifier.size))
            let number = try reader.integer(UInt32.self)
            oneTime = number == 0 ? nil : number
            ephemeral = try reader.take(Agreement.keySize)
            ciphertext = try reader.take(suite == .xwing ? Encapsulation.ciphertextSize : 0)
            created = try reader.integer(Int64.self)
            try reader.finish()
        } catch {
            // A session id or a name of the wrong form, or missing bytes: nothing that a peer sends.
            throw error == .internal || error == .limit(.memory) ? error : .auth
        }
    }

    package init(
        suite: Suite, initiator: Identity, responderName: Bytes, suites: SuiteList,
        package: Identifier, oneTime: UInt32?, ephemeral: Bytes, ciphertext: Bytes, created: Int64
    ) {
        self.suite = suite
        self.initiator = initiator
        self.responderName = responderName
        self.suites = suites
        self.package = package
        self.oneTime = oneTime
        self.ephemeral = ephemeral
        self.ciphertext = ciphertext
        self.created = created
    }

    package func encoded() throws(Failure) -> SecretBuffer {
        let size =
            1 + 64 + 1 + initiator.name.count + 1 + responderName.count + suites.size + 16 + 4
            + ephemeral.count + ciphertext.count + 8
        let buffer = try SecretBuffer(count: size)
        var writer = ByteWriter(buffer.mutableBytes)
        writer.integer(suite.rawValue)
        writer.append(initiator.keys.signing)
        writer.append(initiator.keys.agreement)
        writer.field(initiator.name, UInt8.self)
        writer.field(responderName, UInt8.self)
        suites.write(to: &writer)
        package.withBytes { writer.append($0) }
        writer.integer(oneTime ?? 0)
        writer.append(ephemeral)
        writer.append(ciphertext)
        writer.integer(created)
        try writer.finish()
        return buffer
    }
}

/// Suites that a side offers, strictly ascending; numbers that this Pawl does not know are kept and ignored.
package struct SuiteList: Equatable {
    private let numbers: [UInt8]

    /// All that this library can do, from `weakest` on.
    package init(from weakest: Suite) throws(Failure) {
        var numbers: [UInt8] = []
        for suite in [Suite.x25519, .xwing] where suite >= weakest && suite <= .strongest {
            numbers.append(suite.rawValue)
        }
        guard !numbers.isEmpty else { throw .state(.suite) }
        self.numbers = numbers
    }

    package init(_ reader: inout ByteReader) throws(Failure) {
        let bytes = try reader.field(UInt8.self)
        guard var last = bytes.first else { throw .corrupt(.record) }
        for number in bytes.dropFirst() {
            guard number > last else { throw .corrupt(.record) }
            last = number
        }
        numbers = [UInt8](bytes)
    }

    package var size: Int { 1 + numbers.count }
    package func contains(_ suite: Suite) -> Bool { numbers.contains(suite.rawValue) }

    package func strongest(in other: SuiteList) -> Suite? {
        for suite in [Suite.xwing, .x25519] where contains(suite) && other.contains(suite) {
            return suite
        }
        return nil
    }

    package func write(to writer: inout ByteWriter) {
        withBytes { writer.field($0, UInt8.self) }
    }

    package func withBytes<R, E: Error>(_ body: (Bytes) throws(E) -> R) throws(E) -> R {
        try numbers.span.bytes.withUnsafeBytes(body)
    }
}
