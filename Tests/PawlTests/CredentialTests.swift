import Pawl
import Testing

@Suite(.timeLimit(.minutes(2))) struct CredentialTests {
    @Test func whatIsPutComesBack() async throws {
        let clock = TestClock()
        let store = try await Store.inMemory(key: key, options: clock.options)
        let options = PutOptions(
            expiry: .at(clock.now + .seconds(60)), label: "CI", provider: "hub",
            attributes: ["region": "eu", "empty": "", "größe": "µ"])
        let version = try await store.put("schlüssel 🗝", Secret([0, 255, 0]), in: alice, options)

        let credential = try await store.get("schlüssel 🗝", in: alice)
        #expect(credential.secret.bytes == [0, 255, 0])
        #expect(credential.name == "schlüssel 🗝")
        #expect(credential.version == version)
        #expect(credential.created == clock.now)
        #expect(credential.updated == clock.now)
        #expect(credential.expires == clock.now + .seconds(60))
        #expect(credential.purge == nil)
        #expect(credential.label == "CI")
        #expect(credential.provider == "hub")
        #expect(credential.attributes == ["region": "eu", "empty": "", "größe": "µ"])
        #expect(credential.secretSize == 3)
        #expect(!credential.isDeleted)
        #expect(!credential.isInVault)
        #expect(try await store.metadata("schlüssel 🗝", in: alice) == credential.metadata)
        #expect(try await store.list(in: alice) == [credential.metadata])
    }

    @Test func anUpdateKeepsWhatItDoesNotName() async throws {
        let clock = TestClock()
        let store = try await Store.inMemory(key: key, options: clock.options)
        let expires = clock.now + .seconds(60)
        let first = try await store.put(
            "a", Secret("1"), in: alice,
            PutOptions(expiry: .at(expires), label: "L", provider: "P", attributes: ["k": "v"]))
        let created = clock.now
        clock.advance(.seconds(1))

        let second = try await store.put("a", Secret("2"), in: alice)
        var now = try await store.get("a", in: alice)
        #expect(second > first)
        #expect(now.secret == Secret("2"))
        #expect(now.created == created)
        #expect(now.updated == clock.now)
        #expect(now.expires == expires)
        #expect([now.label, now.provider] == ["L", "P"])
        #expect(now.attributes == ["k": "v"])

        try await store.put(
            "a", Secret("3"), in: alice,
            PutOptions(expiry: .clear, label: "", provider: "Q", attributes: [:]))
        now = try await store.get("a", in: alice)
        #expect(now.expires == nil)
        #expect([now.label, now.provider] == ["", "Q"])
        #expect(now.attributes.isEmpty)
    }

    @Test func conditionsHold() async throws {
        let store = try await Store.inMemory(key: key)
        #expect(
            await refusal { try await store.put("a", Secret("0"), in: alice, .init(.version(1))) }?
                .code == .notFound)
        let first = try await store.put("a", Secret("1"), in: alice, .init(.absent))
        #expect(
            await refusal { try await store.put("a", Secret("2"), in: alice, .init(.absent)) }?.code
                == .exists)
        let second = try await store.put("a", Secret("2"), in: alice, .init(.version(first)))
        let stale = PutOptions(.version(first))
        #expect(
            await refusal { try await store.put("a", Secret("3"), in: alice, stale) }?.reason
                == .stateConflict)
        let now = try await store.get("a", in: alice)
        #expect(now.version == second)
        #expect(now.secret == Secret("2"))
    }

    @Test func anExpiredCredentialIsGoneForGood() async throws {
        let clock = TestClock()
        let store = try await Store.inMemory(key: key, options: clock.options)
        let past = PutOptions(expiry: .at(clock.now))
        #expect(
            await refusal { try await store.put("a", Secret("1"), in: alice, past) }?.code == .time)

        let soon = PutOptions(expiry: .at(clock.now + .seconds(10)))
        try await store.put("a", Secret("1"), in: alice, soon)
        clock.advance(.seconds(10) - .nanoseconds(1))
        #expect(try await store.has("a", in: alice))
        clock.advance(.nanoseconds(1))
        #expect(await refusal { try await store.get("a", in: alice) }?.code == .notFound)
        #expect(try await !store.has("a", in: alice))
        #expect(try await store.list(in: alice).isEmpty)
        clock.advance(.seconds(-20))
        #expect(try await !store.has("a", in: alice))
    }

    @Test func absentMeansNotFound() async throws {
        let store = try await Store.inMemory(key: key)
        #expect(await refusal { try await store.get("a", in: alice) }?.code == .notFound)
        #expect(await refusal { try await store.metadata("a", in: alice) }?.code == .notFound)
        #expect(await refusal { try await store.delete("a", in: alice) }?.code == .notFound)
        #expect(await refusal { try await store.restore("a", in: alice) }?.code == .notFound)
        #expect(try await !store.has("a", in: alice))
        #expect(try await store.deleted("a", in: alice).isEmpty)
        #expect(try await store.deleteAll(in: alice) == 0)
        #expect(try await store.orphans().isEmpty)
    }

    @Test func badArgumentsAreNamed() async throws {
        let store = try await Store.inMemory(key: key)
        let long = String(repeating: "x", count: 257)
        func put(
            _ name: String = "a", _ scope: Scope = alice, _ options: PutOptions = .init()
        ) async -> PawlError.Reason? {
            await refusal { try await store.put(name, Secret("1"), in: scope, options) }?.reason
        }
        #expect(await put("") == .misuseName)
        #expect(await put(long) == .misuseName)
        #expect(await put("a\0b") == .misuseName)
        #expect(await put("a", Scope(user: "")) == .misuseUser)
        #expect(await put("a", Scope(user: long)) == .misuseUser)
        #expect(await put("a", Scope(user: "u", project: long)) == .misuseProject)
        #expect(await put("a", alice, .init(label: long)) == .misuseLabel)
        #expect(await put("a", alice, .init(provider: "\0")) == .misuseLabel)
        #expect(await put("a", alice, .init(attributes: ["": "v"])) == .misuseAttribute)
        let key129 = String(repeating: "k", count: 129)
        #expect(await put("a", alice, .init(attributes: [key129: "v"])) == .misuseAttribute)
        let many = Dictionary(uniqueKeysWithValues: (0..<65).map { ("k\($0)", "v") })
        #expect(await put("a", alice, .init(attributes: many)) == .limitAttributes)
        #expect(await refusal { try await store.list(in: alice, limit: 0) }?.reason == .misuseSize)
        #expect(await refusal { try await store.list(in: alice, limit: -1) }?.reason == .misuseSize)
        #expect(
            await refusal { try await store.list(in: alice, limit: 10_001) }?.reason == .misuseSize)
        #expect(
            await refusal { for try await _ in store.credentials(in: alice, pageSize: 0) {} }?
                .reason
                == .misuseSize)
        #expect(await refusal { try await store.orphans(limit: 0) }?.reason == .misuseSize)
        try await store.put("a", Secret("1"), in: alice)
        #expect(
            await refusal { try await store.delete("a", in: alice, recovery: .seconds(-1)) }?.reason
                == .misuseTime)
        #expect(try await store.list(in: alice).count == 1)
    }

    @Test func limitsAreReached() async throws {
        let store = try await Store.inMemory(key: key)
        let full = PutOptions(
            label: String(repeating: "l", count: 256), provider: String(repeating: "p", count: 256),
            attributes: Dictionary(
                uniqueKeysWithValues: (10..<74).map {
                    (
                        String(repeating: "k", count: 126) + "\($0)",
                        String(repeating: "v", count: 512)
                    )
                }))
        let name = String(repeating: "n", count: 256)
        let scope = Scope(user: name, project: name)
        for size in [0, 1, 4096, 4097, 16 << 20] {
            try await store.put(name, Secret([UInt8](repeating: 9, count: size)), in: scope, full)
            let credential = try await store.get(name, in: scope)
            #expect(credential.secret.bytes == [UInt8](repeating: 9, count: size))
            #expect(credential.secretSize == size)
            #expect(credential.attributes == full.attributes)
        }
        let tooLarge = Secret([UInt8](repeating: 9, count: (16 << 20) + 1))
        #expect(
            await refusal { try await store.put(name, tooLarge, in: scope) }?.reason == .limitSecret
        )
        #expect(try await store.metadata(name, in: scope).secretSize == 16 << 20)
    }

    @Test func pagesCoverAScopeOnceAndNothingElse() async throws {
        let store = try await Store.inMemory(key: key)
        let names = (0..<10).map { "name \($0)" }
        for name in names {
            try await store.put(name, Secret(name), in: alice)
            try await store.put(name, Secret("x"), in: Scope(user: "alice"))
            try await store.put(name, Secret("x"), in: Scope(user: "aliceweb"))
        }
        for pageSize in [1, 3, 5, 10, 11] {
            var seen: [String] = []
            for try await credential in store.credentials(in: alice, pageSize: pageSize) {
                seen.append(credential.name)
            }
            #expect(seen.sorted() == names, "pages of \(pageSize)")
        }
        let firstPage = try await store.list(in: alice, limit: 4)
        #expect(firstPage.count == 4)
        // The cursor need not exist any more.
        let last = try #require(firstPage.last?.name)
        try await store.delete(last, in: alice)
        let rest = try await store.list(in: alice, after: last)
        #expect(Set(firstPage.map(\.name)).union(rest.map(\.name)) == Set(names))
        #expect(rest.count == 6)
    }

    @Test func aDeletedVersionCanBeRestoredUntilItsWindowEnds() async throws {
        let clock = TestClock()
        let store = try await Store.inMemory(key: key, options: clock.options)
        let first = try await store.put("a", Secret("1"), in: alice)
        try await store.delete("a", in: alice, recovery: .seconds(10))
        #expect(try await !store.has("a", in: alice))
        let gone = try #require(try await store.deleted("a", in: alice).first)
        #expect(gone.version == first)
        #expect(gone.isDeleted)
        #expect(gone.purge == clock.now + .seconds(10))

        let second = try await store.put("a", Secret("2"), in: alice)
        #expect(await refusal { try await store.restore("a", in: alice) }?.code == .exists)
        clock.advance(.seconds(5))
        try await store.delete("a", in: alice, recovery: .seconds(10))
        #expect(try await store.deleted("a", in: alice).map(\.version) == [first, second])

        try await store.restore("a", in: alice, version: first)
        #expect(try await store.get("a", in: alice).secret == Secret("1"))
        try await store.delete("a", in: alice)
        try await store.restore("a", in: alice)
        #expect(try await store.get("a", in: alice).secret == Secret("2"))

        try await store.delete("a", in: alice, recovery: .seconds(1))
        clock.advance(.seconds(1))
        #expect(await refusal { try await store.restore("a", in: alice) }?.code == .notFound)
        #expect(try await store.deleted("a", in: alice).isEmpty)
    }

    @Test func deleteAllDeletesAScopeOrAUser() async throws {
        let store = try await Store.inMemory(key: key)
        let user = Scope(user: "alice")
        let bob = Scope(user: "bob", project: "web")
        for scope in [alice, user, bob] {
            for name in ["a", "b", "c"] { try await store.put(name, Secret("1"), in: scope) }
        }
        try await store.delete("c", in: alice, recovery: .seconds(3600))
        #expect(try await store.deleteAll(in: alice) == 2)
        #expect(await refusal { try await store.restore("c", in: alice) }?.code == .notFound)
        #expect(try await store.list(in: user).count == 3)

        try await store.put("a", Secret("1"), in: alice)
        #expect(try await store.deleteAll(ofUser: "alice") == 4)
        #expect(try await store.list(in: alice).isEmpty)
        #expect(try await store.list(in: user).isEmpty)
        #expect(try await store.list(in: bob).count == 3)
    }
}
