import CPawl
import PawlABI
import PawlCore
import PawlCrypto
import PawlEngine
import PawlStore
import Testing

@Suite struct AccountTests {
    private func create(_ store: Store, _ name: String) throws -> Identifier {
        try withText(name) { try store.createAccount(named: $0) }
    }

    @Test func recordsSurviveDamage() throws {
        let good = try withText("bob") {
            try AccountRecord.encode(name: $0, keys: IdentityKeys.draw(), created: 7)
        }
        let record = try AccountRecord(decoding: good)
        #expect(record.created == 7 && text(record.name) == "bob")
        for count in 0..<good.count {
            let short = try SecretBuffer(copying: Bytes(rebasing: good.bytes[..<count]))
            #expect(throws: Failure.corrupt(.record)) { try AccountRecord(decoding: short) }
        }
        for (first, failure) in [(UInt8(0), Failure.corrupt(.record)), (2, .version)] {
            let other = try SecretBuffer(copying: good.bytes)
            other.mutableBytes[0] = first
            #expect(throws: failure) { try AccountRecord(decoding: other) }
        }
    }

    /// Every storage operation of create and delete fails once, in each way it can.
    @Test(arguments: [FaultPlan.Mode.before, .afterCommit, .crash])
    func crashSweep(_ mode: FaultPlan.Mode) throws {
        for isCreating in [true, false] {
            var operation = 0
            while true {
                operation += 1
                let data = MemoryStorage()
                let kept = try create(openStore(on: data.sibling()), "kept")
                let plan = FaultPlan(failing: operation, mode)
                let answer = Result {
                    let store = try openStore(on: FaultyStorage(data.sibling(), plan))
                    if isCreating {
                        _ = try create(store, "new")
                    } else {
                        try store.deleteAccount(kept)
                    }
                }
                let count = try openStore(on: data.sibling()).accounts(after: nil, limit: 10).count
                let (old, new) = isCreating ? (1, 2) : (1, 0)
                switch answer {
                case .success: #expect(count == new)
                case .failure(let error as Failure):
                    if case .store(.indeterminate, _) = error {
                        #expect(count == new)
                    } else {
                        #expect(count == old)
                    }
                case .failure(let error): throw error
                }
                if !plan.fired, operation > plan.count { break }
            }
            #expect(operation > 5)
        }
    }

    @Test func identitiesDiffer() throws {
        let store = try openStore(on: MemoryStorage())
        let first = try create(store, "bob")
        let second = try create(store, "bob")
        #expect(first != second)
        let (a, b) = (try store.account(first), try store.account(second))
        #expect(Array(a.record.identity.signing) != Array(b.record.identity.signing))
        #expect(Array(a.record.identity.agreement) != Array(b.record.identity.agreement))
        #expect(Array(a.record.identity.signing) != Array(a.record.identity.agreement))
        withExtendedLifetime((a, b)) {}
        #expect(throws: Failure.notFound) { try store.deleteAccount(.random()) }
    }

    /// The sides sort by their fingerprint, whatever the order in which they are given.
    @Test func safetyNumbers() throws {
        let keys = try [UInt8(1), 2, 3, 4].map { byte in
            let key = try SecretBuffer(count: 32)
            for index in 0..<32 { key.mutableBytes[index] = byte }
            return key
        }
        try withText("ada") { ada in
            try withText("bob") { bob in
                let a = try Identity(
                    keys: IdentityPublic(signing: keys[0].bytes, agreement: keys[1].bytes),
                    name: ada)
                let b = try Identity(
                    keys: IdentityPublic(signing: keys[2].bytes, agreement: keys[3].bytes),
                    name: bob)
                let number = text(try SafetyNumber.text(a, b))
                #expect(number == text(try SafetyNumber.text(b, a)))
                #expect(array(try SafetyNumber.code(a, b)) == array(try SafetyNumber.code(b, a)))
                // Computed with Python's hashlib from the specification; never to change.
                let wanted =
                    "74069 05185 00696 14692 41011 41394" + " 87883 66510 87752 78475 41713 69480"
                #expect(number == wanted)
                let renamed = try Identity(keys: a.keys, name: bob)
                #expect(number != text(try SafetyNumber.text(renamed, b)))
            }
        }
        withExtendedLifetime(keys) {}
    }

    /// Whoever ignores the status must not show an old number.
    @Test func aRefusedSafetyNumberLeavesNothingOld() {
        var identity = pawl_identity()
        identity.struct_size = UInt32(MemoryLayout<pawl_identity>.size)
        var number = [CChar](repeating: 55, count: Int(PAWL_SAFETY_NUMBER_SIZE))
        var code = [UInt8](repeating: 55, count: Int(PAWL_SAFETY_CODE_SIZE))
        var length = 7
        #expect(
            PawlABI.pawl_safety_number(&identity, &identity, &number, number.count, &length)
                == PAWL_MISUSE_ACCOUNT)
        #expect(length == 0 && number.allSatisfy { $0 == 0 })
        #expect(
            PawlABI.pawl_safety_code(&identity, &identity, &code, code.count, &length)
                == PAWL_MISUSE_ACCOUNT)
        #expect(length == 0 && code.allSatisfy { $0 == 0 })
    }
}
