import Pawl
import Testing

@Suite struct ValueTests {
    @Test func aSecretNeverPrintsItself() {
        let secret = Secret("hunter2")
        let key = RecoveryKey("hunter2")
        var dumped = ""
        dump((secret, key, Key.passphrase("hunter2")), to: &dumped)
        for text in [
            "\(secret)", "\(key)", "\(Key.raw(secret))", String(reflecting: secret),
            String(reflecting: key), String(reflecting: Key.raw(secret)), dumped,
        ] {
            #expect(!text.contains("hunter2"))
            #expect(!text.contains("104"))  // The first byte, as dump shows arrays.
        }
    }

    @Test func secretsCompareByTheirBytes() {
        #expect(Secret("abc") == Secret([97, 98, 99]))
        #expect(Secret("abc") != Secret("abd"))
        #expect(Secret("abc") != Secret("ab"))
        #expect(Secret("") == Secret([]))
        #expect(Secret("abc").text == "abc")
        #expect(Secret([0xFF]).text == nil)
        #expect(Secret("abc").withUnsafeBytes { $0.count } == 3)
    }

    @Test func recoveryKeysAreDrawnAnew() throws {
        let first = try RecoveryKey.generate()
        #expect(try RecoveryKey.generate() != first)
        #expect(first.text.replacing(" ", with: "").hasPrefix("pawlstore1"))
        #expect(
            try RecoveryKey.generate(.backup).text.replacing(" ", with: "").hasPrefix("pawlbackup1")
        )
    }

    @Test func timestampsAddWithoutOverflowing() {
        let time = Timestamp(nanoseconds: 5)
        #expect(time + .nanoseconds(7) == Timestamp(nanoseconds: 12))
        #expect(time - .seconds(1) == Timestamp(nanoseconds: -999_999_995))
        #expect(time - Timestamp(nanoseconds: 2) == .nanoseconds(3))
        #expect(time < time + .nanoseconds(1))
        let last = Timestamp(nanoseconds: .max)
        #expect(last + .seconds(1) == last)
        #expect(time + .seconds(Int64.max) == last)
        let early = Timestamp(nanoseconds: -5)
        #expect(early - .seconds(Int64.max) == Timestamp(nanoseconds: .min))
        #expect(early + .seconds(Int64.min) == Timestamp(nanoseconds: .min))
        #expect(Timestamp(nanoseconds: 1_600_000_000_000_000_000) < .now)
    }

    @Test func vaultIDsAreSixteenBytesInOrder() {
        #expect(VaultID([1, 2]) == nil)
        let low = VaultID([UInt8](repeating: 0x0A, count: 16))!
        let high = VaultID([0x0A, 0xFF] + [UInt8](repeating: 0, count: 14))!
        #expect(low < high)
        #expect(!(high < low))
        #expect(low.description == String(repeating: "0a", count: 16))
    }

    @Test func hostErrorsAreBroughtIntoRange() {
        #expect(VaultError(code: 0).code == 1)
        #expect(VaultError(code: 40_000).code == 32767)
        #expect(VaultError(code: 12).code == 12)
    }

    @Test func anErrorSaysWhatToDo() async {
        let error = await refusal { try await Store.open(path: "", key: key, options: create) }
        #expect(error?.description.hasPrefix("PAWL_MISUSE_PATH: ") == true)
        #expect((error?.description.count ?? 0) > 30)
        #expect(error?.engineCode == 0)
    }
}
