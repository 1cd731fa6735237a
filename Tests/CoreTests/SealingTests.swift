import PawlCore
import PawlCrypto
import PawlStore
import Testing

@Suite struct SealingTests {
    @Test func aValueOpensInItsPlaceOnly() throws {
        let sealer = try Sealer()
        let here = RowKey(.credential).appending(1)
        let sealed = try withText("secret") { try sealer.seal($0, for: here) }
        #expect(text(try sealer.open(sealed.bytes, for: here)) == "secret")
        for elsewhere in [
            RowKey(.credential).appending(2), here.with(.deleted), RowKey(.credential),
        ] {
            #expect(throws: Failure.corrupt(.record)) {
                try sealer.open(sealed.bytes, for: elsewhere)
            }
        }
        #expect(throws: Failure.corrupt(.record)) { try Sealer().open(sealed.bytes, for: here) }
        for index in 0..<sealed.count {
            let bad = try SecretBuffer(copying: sealed.bytes)
            bad.mutableBytes[index] ^= 0x40
            #expect(throws: index == 0 ? .version : Failure.corrupt(.record)) {
                try sealer.open(bad.bytes, for: here)
            }
        }
        for count in 0..<sealed.count {
            #expect(throws: Failure.corrupt(.record)) {
                try sealer.open(Bytes(rebasing: sealed.bytes[..<count]), for: here)
            }
        }
    }

    /// Numbers and times: readable without the key, and as hard to change or move as what is sealed.
    @Test func aStampIsForItsPlaceOnly() throws {
        let sealer = try Sealer()
        let here = RowKey(.item).appending(1)
        let stamped = try withText("number") { try sealer.seal($0, for: here) }
        #expect(stamped.count == 1 + 6 + 8 && text(stamped.bytes).contains("number"))
        #expect(text(try sealer.open(stamped.bytes, for: here)) == "number")
        for elsewhere in [
            RowKey(.item).appending(2), here.with(.ticket), here.with(.jobTime), here.with(.clock),
        ] {
            #expect(throws: Failure.corrupt(.record)) {
                try sealer.open(stamped.bytes, for: elsewhere)
            }
        }
        #expect(throws: Failure.version) {
            try sealer.open(stamped.bytes, for: here.with(.session))
        }
        #expect(throws: Failure.corrupt(.record)) { try Sealer().open(stamped.bytes, for: here) }
        for index in 1..<stamped.count {
            let bad = try SecretBuffer(copying: stamped.bytes)
            bad.mutableBytes[index] ^= 0x40
            #expect(throws: Failure.corrupt(.record)) { try sealer.open(bad.bytes, for: here) }
        }
        for count in 0..<stamped.count {
            #expect(throws: Failure.corrupt(.record)) {
                try sealer.open(Bytes(rebasing: stamped.bytes[..<count]), for: here)
            }
        }
    }

    /// What an engine of the host has may be longer than any key of ours.
    @Test func aKeyThatIsTooLong() {
        let bytes = [UInt8](repeating: 7, count: 87)
        let longest = bytes[1...].withUnsafeBytes { RowKey(copying: $0) }
        #expect(longest?.count == 86 && longest?.next.count == 87)
        #expect(bytes.withUnsafeBytes { RowKey(copying: $0) } == nil)
    }

    @Test func namesAreHiddenByScope() throws {
        let sealer = try Sealer()
        func key(_ path: String...) throws -> RowKey {
            try path.reduce(RowKey(.credential)) { parent, name in
                try withText(name) { try sealer.child(of: parent, named: $0) }
            }
        }
        #expect(try key("a", "b", "c") == key("a", "b", "c"))
        #expect(try key("a", "b", "c") != key("a", "x", "c"))
        #expect(try key("a", "b", "c").count == 49)
        // The last component depends on all above it.
        let tails = try [key("a", "b"), key("b", "b"), key("ab"), key("a", "")].map {
            $0.withBytes { Array($0.suffix(16)) }
        }
        #expect(Set(tails).count == 4)
    }

    @Test func endOfARange() {
        func key(_ bytes: [UInt8]) -> RowKey? { bytes.withUnsafeBytes { RowKey(copying: $0) } }
        #expect(key([0x20, 0x01])?.end == key([0x20, 0x02]))
        #expect(key([0x20, 0xFF, 0xFF])?.end == key([0x21]))
        #expect(key([0x20])?.next == key([0x20, 0]))
    }

    @Test func recoveryKeys() throws {
        let written = try RecoveryKey.generate(.store)
        let typed = text(written.bytes)
        #expect(typed.hasPrefix("pawl stor e1"))
        let key = try withText(typed) { array(try RecoveryKey.decode($0, .store)) }
        #expect(key.count == 32)
        for same in [
            typed.uppercased(), typed.replacing(" ", with: "-"), typed.replacing(" ", with: ""),
        ] {
            #expect(try withText(same) { array(try RecoveryKey.decode($0, .store)) } == key)
        }
        #expect(throws: Failure.misuse(.recoveryPrefix)) {
            try withText(typed) { try RecoveryKey.decode($0, .backup) }
        }
        // bech32m finds every single wrong letter and every swap of two neighbours.
        let letters = Array(typed.replacing(" ", with: ""))
        for index in 10..<letters.count {
            var wrong = letters
            wrong[index] = letters[index] == "q" ? "p" : "q"
            #expect(throws: Failure.misuse(.recovery)) {
                try withText(String(wrong)) { try RecoveryKey.decode($0, .store) }
            }
            guard index + 1 < letters.count, letters[index] != letters[index + 1] else { continue }
            var swapped = letters
            swapped.swapAt(index, index + 1)
            #expect(throws: Failure.misuse(.recovery)) {
                try withText(String(swapped)) { try RecoveryKey.decode($0, .store) }
            }
        }
        for count in 0..<letters.count {
            #expect(throws: Failure.self) {
                try withText(String(letters[..<count])) { try RecoveryKey.decode($0, .store) }
            }
        }
        #expect(throws: Failure.misuse(.recovery)) {
            try withText("Pawl" + typed.dropFirst(4)) { try RecoveryKey.decode($0, .store) }
        }
    }

    @Test func hashingLimits() throws {
        for (memory, passes) in [
            (64 << 20 - 1024, 3), (1 << 30 + 1024, 3), (64 << 20, 2), (64 << 20, 11),
        ] {
            #expect(throws: Failure.misuse(.hashing)) {
                try PasswordHash(memory: UInt64(memory), passes: UInt32(passes))
            }
        }
        #expect(throws: Failure.misuse(.hashing)) {
            try PasswordHash(memory: 64 << 20 + 1, passes: 3)
        }
        _ = try PasswordHash(memory: 64 << 20, passes: 3)
        _ = try PasswordHash(memory: 1 << 30, passes: 10)
    }
}
