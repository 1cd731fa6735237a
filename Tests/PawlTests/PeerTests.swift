import Pawl
import Testing

@Suite(.timeLimit(.minutes(2))) struct PeerTests {
    // MARK: key packages

    @Test func aPackageIsWhatWasCreated() async throws {
        let clock = TestClock()
        let store = try await Store.inMemory(key: key, options: clock.options)
        let ada = try await account(named: "Ada", in: store)
        let (package, keys) = try await ada.createPackage(oneTimeKeys: 3)
        #expect(package.oneTimeKeyCount == 3)
        #expect(package.notBefore == clock.now - .seconds(3600))
        #expect(package.notAfter == clock.now + .seconds(90 * 86400))
        #expect(keys.map(\.number) == [1, 2, 3])
        #expect(keys.allSatisfy { $0.package == package.id })
        #expect(Set(keys.map(\.bytes)).count == 3)
        #expect(package.bytes.starts(with: [1, 1] + package.id.bytes))
        #expect(try await ada.packages() == [package])

        clock.advance(.seconds(1))
        let other = try await ada.createPackage(oneTimeKeys: 0, lifetime: .seconds(60))
        #expect(other.oneTimeKeys.isEmpty)
        #expect(other.package.notAfter == clock.now + .seconds(60))
        #expect(try await ada.packages() == [package, other.package])
        try await ada.deletePackage(package.id)
        #expect(try await ada.packages() == [other.package])
        #expect(await refusal { try await ada.deletePackage(package.id) }?.code == .notFound)
    }

    @Test func anAccountHasSixteenPackagesAtMost() async throws {
        let ada = try await account(named: "Ada", in: try await Store.inMemory(key: key))
        for _ in 0..<16 { _ = try await ada.createPackage(oneTimeKeys: 0) }
        #expect(await refusal { try await ada.createPackage() }?.reason == .limitPackages)
        #expect(try await ada.packages().count == 16)
    }

    @Test func badPackageOptionsAreRefused() async throws {
        let ada = try await account(named: "Ada", in: try await Store.inMemory(key: key))
        for count in [-1, 501, Int(UInt32.max) + 1] {
            #expect(
                await refusal { try await ada.createPackage(oneTimeKeys: count) }?.code == .misuse)
        }
        for lifetime in [Duration.seconds(-1), .seconds(90 * 86400 + 1), .nanoseconds(-1)] {
            #expect(
                await refusal { try await ada.createPackage(lifetime: lifetime) }?.code == .misuse)
        }
        #expect(try await ada.createPackage(oneTimeKeys: 500).oneTimeKeys.count == 500)
        #expect(try await ada.packages().count == 1)
    }

    @Test func aOneTimeKeyIsUsedOnce() async throws {
        let meeting = try await Meeting()
        let (package, keys) = try await meeting.bob.createPackage(oneTimeKeys: 1)
        let bytes = package.bytes + keys[0].bytes
        let first = try await meeting.ada.startSession(with: "Bob", package: bytes)
        let second = try await meeting.ada.startSession(with: "Bob", package: bytes)
        let frame = try await first.encrypt(Secret("first"))
        #expect(try await meeting.bob.receive(frame).plaintext == Secret("first"))
        let packages = try await meeting.bob.packages()
        #expect(packages.first { $0.id == package.id }?.oneTimeKeyCount == 0)
        let late = try await second.encrypt(Secret("second"))
        #expect(await refusal { try await meeting.bob.receive(late) }?.code == .notFound)
    }

    @Test func whatUsesADeletedPackageCannotBeRead() async throws {
        let meeting = try await Meeting()
        let frame = try await meeting.session.encrypt(Secret("x"))
        for package in try await meeting.bob.packages() {
            try await meeting.bob.deletePackage(package.id)
        }
        #expect(await refusal { try await meeting.bob.receive(frame) }?.code == .notFound)
    }

    // MARK: peers

    @Test func aPeerIsKnownFromItsSession() async throws {
        let meeting = try await Meeting()
        let peer = try await meeting.ada.peer(named: "Bob")
        #expect(peer.identity == meeting.bob.identity)
        #expect(peer.newIdentity == nil)
        #expect(peer.trust == .unverified)
        #expect(peer.suite == .x25519)
        #expect(peer.session == meeting.session.id)
        #expect(peer.changed == meeting.clock.now)
        #expect(await refusal { try await meeting.bob.peer(named: "Ada") }?.code == .notFound)
        let joined = try await meeting.confirm()
        #expect(try await meeting.bob.peer(named: "Ada").identity == meeting.ada.identity)
        #expect(try await meeting.bob.peer(named: "Ada").session == joined.id)
        try await joined.close()
        #expect(try await meeting.bob.peer(named: "Ada").session == nil)
    }

    @Test func aPeerCanBeNotedBeforeItIsMet() async throws {
        let meeting = try await Meeting()
        try await meeting.bob.trust(meeting.ada.identity, as: .verified)
        let noted = try await meeting.bob.peer(named: "Ada")
        #expect(noted.identity == meeting.ada.identity)
        #expect(noted.trust == .verified)
        #expect(noted.session == nil && noted.newIdentity == nil)
        let first = try await meeting.bob.receive(try await meeting.session.encrypt(Secret("x")))
        #expect(!first.isUnaccepted)
        #expect(try await meeting.bob.peer(named: "Ada").trust == .verified)
        try await meeting.bob.trust(meeting.ada.identity, as: .unverified)
        #expect(try await meeting.bob.peer(named: "Ada").trust == .unverified)
        let nameless = try Identity(
            signingKey: meeting.ada.identity.signingKey,
            agreementKey: meeting.ada.identity.agreementKey, name: "")
        #expect(
            await refusal { try await meeting.bob.trust(nameless, as: .verified) }?.code == .misuse)
    }

    @Test func pagesCoverAllPeers() async throws {
        let store = try await Store.inMemory(key: key)
        let me = try await account(named: "me", in: store)
        let other = try await account(named: "other", in: store)
        try await other.trust(me.identity, as: .verified)
        for try await peer in me.allPeers() { Issue.record("\(peer.identity.name) from nowhere") }
        var names: Set<String> = []
        for number in 0..<10 {
            let peer = try Identity(
                signingKey: other.identity.signingKey, agreementKey: other.identity.agreementKey,
                name: "peer \(number)")
            try await me.trust(peer, as: .unverified)
            names.insert(peer.name)
        }
        let all = try await me.peers().map(\.identity.name)
        #expect(Set(all) == names && all.count == 10)
        for pageSize in [1, 3, 5, 10, 11] {
            var seen: [String] = []
            for try await peer in me.allPeers(pageSize: pageSize) {
                seen.append(peer.identity.name)
            }
            #expect(seen == all, "pages of \(pageSize)")
        }
        #expect(
            try await me.peers(after: all[3], limit: 2).map(\.identity.name) == Array(all[4...5]))
        for limit in [0, -1, 10_001] {
            #expect(await refusal { try await me.peers(limit: limit) }?.reason == .misuseSize)
        }
    }

    @Test func aChangeOfAnUnverifiedPeerIsTold() async throws {
        let meeting = try await Meeting()
        let joined = try await meeting.confirm()
        let impostor = try await account(named: "Ada", in: try await meeting.elsewhere())
        let session = try await impostor.startSession(
            with: "Bob", package: try await published(by: meeting.bob))
        let received = try await meeting.bob.receive(try await session.encrypt(Secret("me")))
        #expect(received.plaintext == Secret("me") && !received.isUnaccepted)
        let told = try await meeting.bobs.take()
        #expect(told.map(\.event) == [.identityChanged])
        #expect(told.first?.peer == impostor.identity)
        #expect(told.first?.account == meeting.bob.id)
        let peer = try await meeting.bob.peer(named: "Ada")
        #expect(peer.identity == impostor.identity)
        #expect(peer.session == received.session.id)
        #expect(try await joined.status().peer == meeting.ada.identity)
    }

    @Test func otherKeysOfAVerifiedPeerMustBeAccepted() async throws {
        let meeting = try await Meeting()
        let joined = try await meeting.confirm()
        try await meeting.bob.trust(meeting.ada.identity, as: .verified)
        let anew = try await account(named: "Ada", in: try await meeting.elsewhere())
        let session = try await anew.startSession(
            with: "Bob", package: try await published(by: meeting.bob))

        let received = try await meeting.bob.receive(try await session.encrypt(Secret("me")))
        #expect(received.plaintext == Secret("me"))
        #expect(received.isUnaccepted)
        var peer = try await meeting.bob.peer(named: "Ada")
        #expect(peer.identity == meeting.ada.identity)
        #expect(peer.newIdentity == anew.identity)
        #expect(peer.trust == .verified)
        #expect(peer.session == joined.id)
        #expect(try await meeting.bobs.take().map(\.event) == [.identityChanged])
        #expect(
            await refusal { try await received.session.encrypt(Secret("x")) }?.reason
                == .stateIdentity)
        #expect(
            await refusal {
                try await meeting.bob.startSession(with: "Ada", package: published(by: anew))
            }?.reason == .stateIdentity)

        try await meeting.bob.trust(anew.identity, as: .verified)
        peer = try await meeting.bob.peer(named: "Ada")
        #expect(peer.identity == anew.identity)
        #expect(peer.newIdentity == nil)
        let answer = try await received.session.encrypt(Secret("you"))
        #expect(try await anew.receive(answer).plaintext == Secret("you"))
        #expect(
            await refusal { try await joined.encrypt(Secret("x")) }?.reason == .stateReceiveOnly)
        let former = try await joined.status()
        #expect(former.isReceiveOnly && !former.isDesynchronized)
        #expect(former.ends == meeting.clock.now + .seconds(7 * 86400))
    }

    @Test func aSuiteCanBeAllowedAgain() async throws {
        let meeting = try await Meeting()
        try await meeting.ada.allowSuite(.x25519, ofPeerNamed: "Bob")
        #expect(try await meeting.ada.peer(named: "Bob").suite == .x25519)
        #expect(
            await refusal { try await meeting.ada.allowSuite(.x25519, ofPeerNamed: "nobody") }?.code
                == .notFound)
    }

    @Test func aBatchHoldsPeersAndPackagesToo() async throws {
        let meeting = try await Meeting()
        let id = meeting.bob.id
        let package = try await meeting.bobs.batch { batch throws(PawlError) in
            try batch.trust(meeting.ada.identity, as: .verified, for: id)
            #expect(try batch.peer(named: "Ada", of: id).trust == .verified)
            #expect(try batch.peers(of: id).map(\.identity) == [meeting.ada.identity])
            #expect(try batch.peers(of: id, after: "Ada").isEmpty)
            try batch.allowSuite(.x25519, ofPeerNamed: "Ada", for: id)
            try batch.setMinimumSuite(.x25519, of: id)
            let first = try batch.createPackage(for: id, oneTimeKeys: 2)
            let second = try batch.createPackage(for: id, oneTimeKeys: 0)
            try batch.deletePackage(first.package.id, of: id)
            let packages = try batch.packages(of: id)
            #expect(packages.count == 2 && packages.contains(second.package))
            return second.package
        }
        #expect(try await meeting.bob.packages().contains(package))
        #expect(try await meeting.bob.peer(named: "Ada").trust == .verified)
    }

    @Test func aDeletedAccountIsNotFound() async throws {
        let meeting = try await Meeting()
        let package = try await published(by: meeting.bob)
        let other = try await meeting.bob.startSession(
            with: "Ada", package: try await published(by: meeting.ada))
        let frame = try await other.encrypt(Secret("x"))
        try await meeting.adas.deleteAccount(meeting.ada.id)
        let ada = meeting.ada
        let calls: [@Sendable () async throws -> Void] = [
            { _ = try await ada.createPackage() },
            { try await ada.deletePackage(KeyPackage.ID([UInt8](repeating: 0, count: 16))!) },
            { try await ada.setMinimumSuite(.x25519) },
            { _ = try await ada.peer(named: "Bob") },
            { try await ada.trust(meeting.bob.identity, as: .verified) },
            { try await ada.allowSuite(.x25519, ofPeerNamed: "Bob") },
            { _ = try await ada.startSession(with: "Bob", package: package) },
            { _ = try await ada.receive(frame) },
            { _ = try await ada.packages() },
            { _ = try await ada.peers() },
            { _ = try await ada.sessions(with: "Bob") },
            { _ = try await meeting.session.encrypt(Secret("x")) },
        ]
        for (number, call) in calls.enumerated() {
            #expect(await refusal { try await call() }?.code == .notFound, "call \(number)")
        }
    }
}
