package import PawlCrypto

/// A signed key package and at most one of its one-time keys, as an initiator gets them, read in place.
/// Protocol.md, "Key packages".
package struct KeyPackage {
    /// Of a package, and of a one-time key.
    package static let sizeLimit = 4_096
    /// Milliseconds. A package's peers refuse a longer one.
    package static let lifetimeLimit: Int64 = 90 * 86_400_000
    /// Packages are dated back by this much, and are good for as much longer, because clocks differ.
    package static let clockSkew: Int64 = 3_600_000

    private enum Kind {
        static let package: UInt8 = 1
        static let oneTime: UInt8 = 2
    }

    package struct OneTimeKey {
        package let id: UInt32
        package let keys: InitKeys
    }

    /// An X25519 key, and in suite 2 an X-Wing key.
    package struct InitKeys {
        package let agreement: Bytes
        package let encapsulation: Bytes

        fileprivate init(_ reader: inout ByteReader, _ suites: SuiteList) throws(Failure) {
            agreement = try reader.take(Agreement.keySize)
            encapsulation = try reader.take(
                suites.contains(.xwing) ? Encapsulation.publicSize : 0)
        }
    }

    package let id: Identifier
    package let identity: Identity
    package let suites: SuiteList
    package let notBefore: Int64
    package let notAfter: Int64
    package let initKeys: InitKeys
    /// 32 bytes that stand for the whole package.
    package let hash: SecretBuffer
    package let oneTime: OneTimeKey?

    /// `misuse` for what is no package, `auth` for what its identity did not sign.
    package init(_ bytes: Bytes) throws(Failure) { try self.init(bytes, isOwn: false) }

    /// One of this account's own, as it was published; signatures are not looked at again.
    package init(own bytes: Bytes) throws(Failure) { try self.init(bytes, isOwn: true) }

    private init(_ bytes: Bytes, isOwn: Bool) throws(Failure) {
        do throws(Failure) {
            guard bytes.count <= 2 * Self.sizeLimit else { throw .misuse(.package) }
            var reader = ByteReader(bytes)
            id = try Self.begin(&reader, Kind.package)
            let keys = try IdentityPublic(&reader)
            identity = try Identity(keys: keys, name: reader.field(UInt8.self))
            suites = try SuiteList(&reader)
            notBefore = try reader.integer(Int64.self)
            notAfter = try reader.integer(Int64.self)
            initKeys = try InitKeys(&reader, suites)
            let signed = Bytes(rebasing: bytes[..<reader.offset])
            let signature = try reader.take(Signature.size)
            hash = try Self.hash(Bytes(rebasing: bytes[..<reader.offset]))
            let key = reader.isAtEnd ? nil : try SignedKey(reader.rest(), suites)
            oneTime = key?.key
            guard !isOwn else { return }
            try Signature.verify(signature, "pawl/1 package", signed, key: keys.signing)
            try Agreement.check(keys.agreement)
            try Agreement.check(initKeys.agreement)
            try key?.verify(of: id, hash: hash, signing: keys.signing)
        } catch {
            throw error == .corrupt(.record) || error == .misuse(.account)
                ? .misuse(.package) : error
        }
    }

    /// A one-time key as it is published.
    private struct SignedKey {
        let key: OneTimeKey
        private let package: Identifier
        private let signed: Bytes
        private let signature: Bytes

        init(_ bytes: Bytes, _ suites: SuiteList) throws(Failure) {
            var reader = ByteReader(bytes)
            package = try begin(&reader, Kind.oneTime)
            let number = try reader.integer(UInt32.self)
            guard number > 0 else { throw .misuse(.package) }
            key = OneTimeKey(id: number, keys: try InitKeys(&reader, suites))
            signed = Bytes(rebasing: bytes[..<reader.offset])
            signature = try reader.take(Signature.size)
            try reader.finish()
        }

        func verify(
            of id: Identifier, hash: SecretBuffer, signing: Bytes
        ) throws(Failure) {
            guard package == id else { throw .auth }
            try Signature.verify(
                signature, "pawl/1 one-time key", hash.bytes, signed, key: signing)
            try Agreement.check(key.keys.agreement)
        }
    }

    private static func begin(
        _ reader: inout ByteReader, _ kind: UInt8
    ) throws(Failure) -> Identifier {
        let version = try reader.integer(UInt8.self)
        guard version <= Frame.version else { throw .version }
        guard version == Frame.version, try reader.integer(UInt8.self) == kind else {
            throw .misuse(.package)
        }
        return try Identifier(reader.take(Identifier.size))
    }

    /// Which package a one-time key belongs to, and its number.
    package static func oneTimeName(
        _ bytes: Bytes
    ) throws(Failure) -> (package: Identifier, number: UInt32) {
        var reader = ByteReader(bytes)
        return (try begin(&reader, Kind.oneTime), try reader.integer(UInt32.self))
    }

    package static func hash(_ package: Bytes) throws(Failure) -> SecretBuffer {
        let hash = try SecretBuffer(count: 32)
        try KeyedHash.derive(
            into: hash.mutableBytes, key: .empty, label: "pawl/1 package hash", package)
        return hash
    }

    /// `time` unless it is valid at `now` (milliseconds) and not for longer than agreed.
    package func checkLifetime(now: Int64) throws(Failure) {
        let (span, overflow) = notAfter.subtractingReportingOverflow(notBefore)
        guard !overflow, span > 0, span <= Self.lifetimeLimit + Self.clockSkew,
            notBefore <= now, now <= notAfter
        else { throw .time }
    }

    // MARK: Writing

    /// The public half of a key that is to be published, X25519 and X-Wing.
    package typealias PublicKeys = (agreement: Bytes, encapsulation: Bytes)

    package static func write(
        id: Identifier, identity: Identity, suites: SuiteList, notBefore: Int64, notAfter: Int64,
        keys: PublicKeys, seed: Bytes
    ) throws(Failure) -> SecretBuffer {
        let size =
            2 + Identifier.size + 64 + 1 + identity.name.count + suites.size + 16
            + keys.agreement.count + keys.encapsulation.count + Signature.size
        return try signed(size, "pawl/1 package", prefix: .empty, seed: seed) { writer in
            writer.integer(Frame.version)
            writer.integer(Kind.package)
            id.withBytes { writer.append($0) }
            writer.append(identity.keys.signing)
            writer.append(identity.keys.agreement)
            writer.field(identity.name, UInt8.self)
            suites.write(to: &writer)
            writer.integer(notBefore)
            writer.integer(notAfter)
            writer.append(keys.agreement)
            writer.append(keys.encapsulation)
        }
    }

    package static func writeOneTime(
        package: Identifier, hash: Bytes, number: UInt32, keys: PublicKeys, seed: Bytes
    ) throws(Failure) -> SecretBuffer {
        let size =
            2 + Identifier.size + 4 + keys.agreement.count + keys.encapsulation.count
            + Signature.size
        return try signed(size, "pawl/1 one-time key", prefix: hash, seed: seed) { writer in
            writer.integer(Frame.version)
            writer.integer(Kind.oneTime)
            package.withBytes { writer.append($0) }
            writer.integer(number)
            writer.append(keys.agreement)
            writer.append(keys.encapsulation)
        }
    }

    private static func signed(
        _ size: Int, _ label: StaticString, prefix: Bytes, seed: Bytes,
        _ body: (inout ByteWriter) -> Void
    ) throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(count: size)
        let end = size - Signature.size
        var writer = ByteWriter(
            UnsafeMutableRawBufferPointer(rebasing: buffer.mutableBytes[..<end]))
        body(&writer)
        try writer.finish()
        try Signature.sign(
            label, prefix, Bytes(rebasing: buffer.bytes[..<end]), seed: seed,
            into: UnsafeMutableRawBufferPointer(rebasing: buffer.mutableBytes[end...]))
        return buffer
    }
}
