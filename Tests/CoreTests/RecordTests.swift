import PawlCore
import PawlCrypto
import PawlStore
import Testing

@Suite struct RecordTests {
    private func credential(_ location: Int) throws -> SecretBuffer {
        let field = try SecretBuffer("field")
        return try withExtendedLifetime(field) {
            let secret: CredentialRecord.Secret =
                switch location {
                case 0: .inline(field.bytes)
                case 1: .separate(size: 9_000)
                default: .vault(VaultID.random(), size: 12)
                }
            return try CredentialRecord(
                version: 7, created: -5, updated: Int64.max, expires: 11, user: field.bytes,
                project: .empty, name: field.bytes, label: .empty, provider: field.bytes,
                attributes: .empty, secret: secret, keeping: nil
            ).encoded()
        }
    }

    /// Truncated at every byte, extended, and flipped in every byte: a failure or a record, never a trap.
    @Test(arguments: 0...2) func credentialsSurviveDamage(_ location: Int) throws {
        let good = try credential(location)
        let again = try CredentialRecord(decoding: good)
        #expect(again.version == 7 && again.created == -5 && again.expires == 11)
        #expect(text(again.user) == "field" && text(again.name) == "field")
        try expectDamageIsRefused(good) { _ = try CredentialRecord(decoding: $0) }
    }

    @Test func unfinishedSurviveDamage() throws {
        let name = try SecretBuffer("name")
        var record = UnfinishedRecord(
            id: VaultID.random(), version: 3, base: 2, recorded: 1, lease: 4, user: name.bytes,
            project: .empty, name: name.bytes)
        record.removalFailed(5)
        let good = try record.encoded()
        let again = try UnfinishedRecord(decoding: good)
        #expect(again.id == record.id && again.attempts == 1 && again.causeRemove == 5)
        #expect(text(again.name) == "name")
        try expectDamageIsRefused(good) { _ = try UnfinishedRecord(decoding: $0) }
        withExtendedLifetime(name) {}
    }

    @Test func headersAndSlotsSurviveDamage() throws {
        let header = try StoreHeader().encoded()
        try expectDamageIsRefused(header) { _ = try StoreHeader(decoding: $0.bytes) }
        let slot = try testKey.withUnsafeBytes { key in
            try SlotRecord.wrap(Sealer(), for: .raw(key), number: 3, store: .random(), now: 1)
        }
        try expectDamageIsRefused(slot.bytes) { _ = try SlotRecord(decoding: $0.bytes) }
        // Whatever byte is wrong, the slot does not open.
        try testKey.withUnsafeBytes { key in
            #expect(try slot.unwrap(.raw(key)) != nil)
            for index in 0..<slot.bytes.count {
                let bad = try SecretBuffer(copying: slot.bytes.bytes)
                bad.mutableBytes[index] ^= 0x10
                guard let damaged = try? SlotRecord(decoding: bad.bytes) else { continue }
                #expect(((try? damaged.unwrap(.raw(key))) ?? nil) == nil, "byte \(index)")
            }
        }
    }

    private func expectDamageIsRefused(
        _ good: SecretBuffer, _ decode: (SecretBuffer) throws -> Void
    ) throws {
        try decode(good)
        for count in 0..<good.count {
            let short = try SecretBuffer(copying: Bytes(rebasing: good.bytes[..<count]))
            #expect(throws: Failure.self) { try decode(short) }
        }
        let long = try SecretBuffer(count: good.count + 1)
        long.mutableBytes[good.count] = 0
        long.mutableBytes[..<good.count].copyBytes(from: good.bytes)
        #expect(throws: Failure.corrupt(.record)) { try decode(long) }
        for index in 0..<good.count {
            for bit in [0x01, 0x80] as [UInt8] {
                let bad = try SecretBuffer(copying: good.bytes)
                bad.mutableBytes[index] ^= bit
                try? decode(bad)
            }
        }
    }

    @Test func attributes() throws {
        func encode(_ pairs: [(String, String)]) throws -> SecretBuffer {
            let buffers = try pairs.map { (try SecretBuffer($0.0), try SecretBuffer($0.1)) }
            return try withExtendedLifetime(buffers) {
                try Attributes.encode(count: buffers.count) { (index) throws(Failure) in
                    (buffers[index].0.bytes, buffers[index].1.bytes)
                }
            }
        }
        func count(_ encoded: SecretBuffer) -> Int { Attributes.count(encoded.bytes) }
        let some = try encode([("a", "1"), ("b", "")])
        #expect(Attributes.count(some.bytes) == 2)
        #expect(text(Attributes.at(0, in: some.bytes)?.value) == "1")
        #expect(Attributes.at(2, in: some.bytes) == nil && Attributes.at(-1, in: some.bytes) == nil)
        #expect(throws: Failure.misuse(.attribute)) { try encode([("a", ""), ("a", "")]) }
        #expect(throws: Failure.misuse(.attribute)) { try encode([("", "")]) }
        let key = String(repeating: "k", count: 128)
        #expect(throws: Failure.misuse(.attribute)) { try encode([(key + "k", "")]) }
        let value = String(repeating: "v", count: 512)
        #expect(try count(encode([(key, value)])) == 1)
        #expect(throws: Failure.misuse(.attribute)) { try encode([(key, value + "v")]) }
        let many = (0..<64).map { ("\($0)", "") }
        #expect(try count(encode(many)) == 64)
        #expect(throws: Failure.limit(.attributes)) { try encode(many + [("x", "")]) }
    }

    @Test func names() {
        for (name, isRight) in [
            ("a", true), ("", false), (String(repeating: "n", count: 256), true),
            (String(repeating: "n", count: 257), false), ("a\0b", false), ("żółw", true),
        ] {
            #expect(withText(name) { $0.isText(CredentialRules.nameSizes) } == isRight)
        }
        for bad: [UInt8] in [[0xC0, 0x80], [0xFF], [0xED, 0xA0, 0x80], [0xE2, 0x82]] {
            #expect(!bad.withUnsafeBytes { $0.isText(CredentialRules.nameSizes) })
        }
    }

    @Test func times() {
        #expect(CredentialRules.isOver(5, now: 5) && !CredentialRules.isOver(5, now: 4))
        #expect(!CredentialRules.isOver(.max, now: .max))
        #expect(CredentialRules.isOver(.min, now: .min))
        #expect(CredentialRules.after(.max - 1, 5) == .max)
        #expect(CredentialRules.after(.min, -1) == .min)
        #expect(CredentialRules.after(-3, 5) == 2)
    }
}
