import Pawl
import Testing

@Suite(.timeLimit(.minutes(2))) struct AccountTests {
    private let ada: Identity
    private let jules: Identity

    init() throws {
        ada = try Identity(
            signingKey: Array(0..<32), agreementKey: Array(32..<64), name: "Ada")
        jules = try Identity(
            signingKey: Array(64..<96), agreementKey: Array(96..<128), name: "Жюль 🗝")
    }

    // MARK: accounts

    @Test func anAccountIsWhatWasCreated() async throws {
        let clock = TestClock()
        let store = try await Store.inMemory(key: key, options: clock.options)
        let created = clock.now
        let id = try await store.createAccount(named: "größe 🗝")
        clock.advance(.seconds(1))

        let account = try await store.account(id)
        #expect(account.id == id)
        #expect(account.created == created)
        #expect(account.identity.name == "größe 🗝")
        #expect(account.identity.signingKey.count == 32)
        #expect(account.identity.agreementKey.count == 32)
        #expect(account.identity.signingKey != account.identity.agreementKey)
        #expect(try await store.account(id) == account)
        #expect(try await store.accounts() == [account])
    }

    @Test func namesNeedNotDifferAndKeysDo() async throws {
        let store = try await Store.inMemory(key: key)
        var accounts: [Account] = []
        for _ in 0..<8 {
            accounts.append(try await store.account(try await store.createAccount(named: "a")))
        }
        #expect(Set(accounts.map(\.id)).count == 8)
        #expect(Set(accounts.map(\.identity)).count == 8)
        let keys = accounts.flatMap { [$0.identity.signingKey, $0.identity.agreementKey] }
        #expect(Set(keys).count == 16)
    }

    @Test func anAccountSurvivesReopening() async throws {
        let folder = try Folder()
        var store = try await Store.open(path: folder.path("a"), key: key, options: create)
        let id = try await store.createAccount(named: "a")
        let account = try await store.account(id)
        await store.close()
        store = try await Store.open(path: folder.path("a"), key: key)
        #expect(try await store.account(id) == account)
        await store.close()
    }

    @Test func pagesCoverAllAccountsInTheOrderOfTheirIDs() async throws {
        let store = try await Store.inMemory(key: key)
        for try await account in store.allAccounts() { Issue.record("\(account.id) from nowhere") }
        try await store.put("a", Secret("1"), in: alice)
        var ids: [Account.ID] = []
        for number in 0..<10 { ids.append(try await store.createAccount(named: "\(number)")) }
        ids.sort()
        for pageSize in [1, 3, 5, 10, 11] {
            var seen: [Account.ID] = []
            for try await account in store.allAccounts(pageSize: pageSize) {
                seen.append(account.id)
            }
            #expect(seen == ids, "pages of \(pageSize)")
        }
        #expect(try await store.accounts(limit: 4).map(\.id) == Array(ids[..<4]))
        // The cursor need not exist any more.
        try await store.deleteAccount(ids[3])
        #expect(try await store.accounts(after: ids[3]).map(\.id) == Array(ids[4...]))
        #expect(try await store.accounts(after: ids[9]).isEmpty)
    }

    @Test func aDeletedAccountIsGone() async throws {
        let store = try await Store.inMemory(key: key)
        let kept = try await store.createAccount(named: "a")
        let gone = try await store.createAccount(named: "a")
        try await store.deleteAccount(gone)
        #expect(await refusal { try await store.account(gone) }?.code == .notFound)
        #expect(await refusal { try await store.deleteAccount(gone) }?.code == .notFound)
        #expect(try await store.accounts().map(\.id) == [kept])
    }

    @Test func badArgumentsAreNamed() async throws {
        let store = try await Store.inMemory(key: key)
        for name in ["", "a\0b", String(repeating: "x", count: 256)] {
            let error = await refusal { try await store.createAccount(named: name) }
            #expect(error?.reason == .misuseAccount)
            #expect(error?.code == .misuse)
        }
        #expect(try await store.accounts().isEmpty)
        let longest = String(repeating: "x", count: 255)
        let id = try await store.createAccount(named: longest)
        #expect(try await store.account(id).identity.name == longest)
        for limit in [0, -1, 10_001] {
            #expect(await refusal { try await store.accounts(limit: limit) }?.reason == .misuseSize)
        }
        #expect(
            await refusal { for try await _ in store.allAccounts(pageSize: 0) {} }?.reason
                == .misuseSize)
        let nobody = try #require(Account.ID([UInt8](repeating: 0, count: 16)))
        #expect(await refusal { try await store.account(nobody) }?.code == .notFound)
        #expect(await refusal { try await store.deleteAccount(nobody) }?.code == .notFound)
    }

    @Test func aClosedStoreRefuses() async throws {
        let store = try await Store.inMemory(key: key)
        let id = try await store.createAccount(named: "a")
        await store.close()
        #expect(await refusal { try await store.createAccount(named: "a") }?.code == .closed)
        #expect(await refusal { try await store.account(id) }?.code == .closed)
        #expect(await refusal { try await store.accounts() }?.code == .closed)
        #expect(await refusal { try await store.deleteAccount(id) }?.code == .closed)
    }

    @Test func aDamagedAccountIsNamedAndTheOthersStayReadable() async throws {
        let storage = TestStorage()
        let store = try await Store.open(storage: storage, key: key, options: create)
        let whole = try await store.createAccount(named: "whole")
        let before = Set(storage.records.keys)
        let damaged = try await store.createAccount(named: "damaged")
        let row = try #require(Set(storage.records.keys).subtracting(before).first)
        storage.state.withLock { $0.records[row]![$0.records[row]!.count - 1] ^= 1 }

        #expect(await refusal { try await store.account(damaged) }?.code == .corrupt)
        #expect(try await store.accounts().map(\.id) == [whole])
        #expect(try await store.verify().map(\.key) == [row])
        try await store.deleteAccount(damaged)
        #expect(try await store.verify().isEmpty)
        #expect(try await store.account(whole).identity.name == "whole")
    }

    @Test func aBatchHoldsAccountsToo() async throws {
        let store = try await Store.inMemory(key: key)
        let old = try await store.createAccount(named: "old")
        let id = try await store.batch { batch throws(PawlError) in
            let id = try batch.createAccount(named: "new")
            #expect(try batch.account(id).identity.name == "new")
            #expect(try batch.accounts().map(\.id) == [old, id].sorted())
            #expect(try batch.accounts(after: min(old, id), limit: 1).map(\.id) == [max(old, id)])
            try batch.deleteAccount(old)
            try batch.put("a", Secret("1"), in: alice)
            return id
        }
        #expect(try await store.accounts().map(\.id) == [id])

        let error = await refusal {
            try await store.batch { batch throws(PawlError) in
                _ = try batch.createAccount(named: "undone")
                try batch.deleteAccount(id)
                _ = try batch.account(id)
            }
        }
        #expect(error?.code == .notFound)
        #expect(try await store.accounts().map(\.id) == [id])
    }

    @Test func idsAreSixteenBytesInOrder() {
        #expect(Account.ID([1, 2]) == nil)
        #expect(Account.ID([UInt8](repeating: 0, count: 17)) == nil)
        let low = Account.ID([UInt8](repeating: 0x0A, count: 16))!
        let high = Account.ID([0x0A, 0xFF] + [UInt8](repeating: 0, count: 14))!
        #expect(low < high)
        #expect(!(high < low))
        #expect(low.description == String(repeating: "0a", count: 16))
    }

    // MARK: safety numbers

    /// Both expectations come from Python's hashlib and the description in Accounts.md.
    @Test func safetyNumberAndCodeAreAsDescribed() throws {
        let digits = "51077 39191 88695 35982 87631 18991 85439 86354 57729 25415 43248 34141"
        let code = """
            01353e8ddc6522dfff4f37af2a8be7b740d7f3092ebf2e9850cf72f2088f4f01ac\
            49cda0e1bf1a3f769792ea9fed04414e2bea5087173ca74630ae9f9334bd1250
            """
        for (one, other) in [(ada, jules), (jules, ada)] {
            #expect(try one.safetyNumber(with: other) == digits)
            let hex = try one.safetyCode(with: other).map {
                ($0 < 16 ? "0" : "") + String($0, radix: 16)
            }
            #expect(hex.joined() == code)
        }
    }

    @Test func everyFieldOfEitherSideMatters() throws {
        func changed(_ key: [UInt8]) -> [UInt8] { key.dropLast() + [key[31] ^ 1] }
        let others = try [
            Identity(
                signingKey: changed(jules.signingKey), agreementKey: jules.agreementKey,
                name: jules.name),
            Identity(
                signingKey: jules.signingKey, agreementKey: changed(jules.agreementKey),
                name: jules.name),
            Identity(
                signingKey: jules.signingKey, agreementKey: jules.agreementKey,
                name: jules.name + " "),
        ]
        let all = [jules] + others
        #expect(Set(all).count == 4)
        #expect(try Set(all.map { try ada.safetyNumber(with: $0) }).count == 4)
        #expect(try Set(all.map { try $0.safetyNumber(with: ada) }).count == 4)
        #expect(try Set(all.map { try ada.safetyCode(with: $0) }).count == 4)
    }

    @Test func accountsOfTwoStoresAgree() async throws {
        let one = try await Store.inMemory(key: key)
        let other = try await Store.inMemory(key: otherKey)
        let a = try await one.account(try await one.createAccount(named: "a")).identity
        let b = try await other.account(try await other.createAccount(named: "b")).identity
        let sent = try Identity(
            signingKey: a.signingKey, agreementKey: a.agreementKey, name: a.name)
        #expect(sent == a)
        #expect(try a.safetyNumber(with: b) == b.safetyNumber(with: sent))
        #expect(try a.safetyCode(with: b) == b.safetyCode(with: sent))
    }

    /// Swift calls two spellings of é equal; a safety number does not, so an identity must not.
    @Test func namesAreComparedByTheirBytes() throws {
        let composed = try Identity(
            signingKey: ada.signingKey, agreementKey: ada.agreementKey, name: "\u{E9}")
        let decomposed = try Identity(
            signingKey: ada.signingKey, agreementKey: ada.agreementKey, name: "e\u{301}")
        #expect(composed.name == decomposed.name)
        #expect(composed != decomposed)
        #expect(Set([composed, decomposed]).count == 2)
        #expect(try composed.safetyNumber(with: jules) != decomposed.safetyNumber(with: jules))
    }

    @Test func badIdentitiesAreRefused() async throws {
        for size in [0, 31, 33] {
            let bad = [UInt8](repeating: 1, count: size)
            #expect(
                await refusal {
                    try Identity(signingKey: bad, agreementKey: ada.agreementKey, name: "a")
                }?.reason == .misuseSize)
            #expect(
                await refusal {
                    try Identity(signingKey: ada.signingKey, agreementKey: bad, name: "a")
                }?.reason == .misuseSize)
        }
        for name in ["", "a\0b", String(repeating: "x", count: 256)] {
            let bad = try Identity(
                signingKey: ada.signingKey, agreementKey: ada.agreementKey, name: name)
            #expect(await refusal { try bad.safetyNumber(with: jules) }?.reason == .misuseAccount)
            #expect(await refusal { try jules.safetyNumber(with: bad) }?.reason == .misuseAccount)
            #expect(await refusal { try bad.safetyCode(with: jules) }?.reason == .misuseAccount)
            #expect(await refusal { try jules.safetyCode(with: bad) }?.reason == .misuseAccount)
        }
    }
}
