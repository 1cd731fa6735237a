import Pawl
import Testing

/// Ada, whose packages rotate, her server, and time.
private struct Publisher {
    let clock = TestClock()
    let store: Store
    let ada: Account

    init(_ options: RotationOptions = RotationOptions()) async throws {
        store = try await Store.inMemory(key: key, options: clock.options)
        ada = try await account(named: "Ada", in: store)
        try await store.beginRotation(of: ada.id, options: options)
    }

    /// What is due now, and the items that it left.
    func run() async throws -> [Item] {
        while try await store.runDue().ran > 0 {}
        return try await store.take()
    }

    /// The one request that there is.
    func request(_ kind: Item.Request, _ at: SourceLocation = #_sourceLocation) async throws -> Item
    {
        let items = try await run()
        #expect(items.map(\.content) == [.request(kind)], sourceLocation: at)
        return try #require(items.first, sourceLocation: at)
    }

    /// Publishes what is asked for, and says so.
    @discardableResult
    func publish(_ at: SourceLocation = #_sourceLocation) async throws -> KeyPackage {
        let item = try await request(.publish, at)
        try await store.answer(item.id)
        return try #require(item.packages?.package, sourceLocation: at)
    }

    /// The states of the packages, oldest first.
    func states() async throws -> [KeyPackage.State?] { try await ada.packages().map(\.state) }

    /// What is found in what the server serves.
    func readBack(
        _ served: [UInt8], _ at: SourceLocation = #_sourceLocation
    ) async throws -> [Item] {
        let item = try await request(.readBack, at)
        #expect(item.peer == ada.identity && item.packages == nil, sourceLocation: at)
        try await store.answer(item.id, with: served)
        return try await run()
    }
}

private let day = Duration.seconds(86_400)

@Suite(.timeLimit(.minutes(2))) struct RotationTests {
    @Test func whatIsPublishedAndAnsweredIsCurrent() async throws {
        let publisher = try await Publisher()
        let (store, ada) = (publisher.store, publisher.ada)
        #expect(try await ada.packages().isEmpty)
        let item = try await publisher.request(.publish)
        let packages = try #require(item.packages)
        let package = try #require(packages.package)
        #expect(item.account == ada.id && item.peer == ada.identity && item.session == nil)
        #expect(packages.oneTimeKeys.map(\.number) == Array(1...100))
        #expect(packages.oneTimeKeys.allSatisfy { $0.package == package.id && !$0.bytes.isEmpty })
        #expect(Set(packages.oneTimeKeys.map(\.bytes)).count == 100)
        #expect(package.state == .staged && package.removal == nil)
        #expect(package.oneTimeKeyCount == 100)
        #expect(package.notAfter - package.notBefore == day * 90 + .seconds(3_600))
        #expect(try await publisher.states() == [.staged])
        #expect(try await store.rotation(of: ada.id).oneTimeKeyCount == 0)

        #expect(
            await refusal { try await store.answer(item.id, with: [1]) }?.reason == .misuseSize)
        #expect(try await publisher.states() == [.staged])
        try await store.answer(item.id)
        let current = try #require(try await ada.packages().first)
        #expect(try await publisher.states() == [.current])
        #expect(current.id == package.id && current.bytes == package.bytes)
        #expect(current.notBefore == package.notBefore && current.notAfter == package.notAfter)
        #expect(current.oneTimeKeyCount == 100)
        let rotation = try await store.rotation(of: ada.id)
        #expect(rotation.oneTimeKeyCount == 100 && rotation.superseded == 0)
        #expect(rotation.readback == publisher.clock.now + day * 7)
        let left = rotation.rotate - publisher.clock.now
        #expect(left > day * 24 && left <= day * 30)
        #expect(try await publisher.run().isEmpty)

        // A peer starts a session with what was published.
        let bobs = try await Store.inMemory(key: otherKey, options: publisher.clock.options)
        let bob = try await account(named: "Bob", in: bobs)
        let bundle = package.bytes + packages.oneTimeKeys[7].bytes
        let session = try await bob.startSession(with: "Ada", package: bundle)
        let frame = try await session.encrypt(Secret("hello"))
        #expect(try await ada.receive(frame).plaintext?.text == "hello")
        #expect(try await store.rotation(of: ada.id).oneTimeKeyCount == 99)
        #expect(try await ada.packages().map(\.oneTimeKeyCount) == [99])
    }

    @Test func whatWasGivenUpIsAskedForAgainWithTheSameBytes() async throws {
        let publisher = try await Publisher(RotationOptions(oneTimeKeys: 3))
        let item = try await publisher.request(.publish)
        #expect(item.packages?.oneTimeKeys.count == 3)
        try await publisher.store.ack([item.id])
        publisher.clock.advance(.seconds(3_600) - .nanoseconds(1))
        #expect(try await publisher.run().isEmpty)
        publisher.clock.advance(.nanoseconds(1))
        let again = try await publisher.request(.publish)
        #expect(again.id > item.id)
        #expect(again.packages?.package?.bytes == item.packages?.package?.bytes)
        #expect(again.packages?.oneTimeKeys == item.packages?.oneTimeKeys)
        // The answer to the first request is late, and changes nothing.
        try await publisher.store.answer(item.id)
        #expect(try await publisher.states() == [.staged])
        try await publisher.store.answer(again.id)
        #expect(try await publisher.states() == [.current])
    }

    @Test func aReplacedPackageIsKeptAndThenErased() async throws {
        let publisher = try await Publisher(RotationOptions(keep: day * 2, readback: day * 60))
        let (store, ada, clock) = (publisher.store, publisher.ada, publisher.clock)
        let first = try await publisher.publish()
        let due = try await store.rotation(of: ada.id).rotate
        clock.advance(due - clock.now - .nanoseconds(1))
        #expect(try await publisher.run().isEmpty)
        clock.advance(.nanoseconds(1))
        let item = try await publisher.request(.publish)
        // Publish before retire.
        #expect(try await publisher.states() == [.current, .staged])
        clock.advance(.seconds(5))
        try await store.answer(item.id)
        #expect(try await publisher.states() == [.superseded, .current])
        let old = try #require(try await ada.packages().first)
        #expect(old.id == first.id && old.removal == clock.now + day * 2)
        #expect(try await store.rotation(of: ada.id).superseded == 1)
        #expect(try await store.rotation(of: ada.id).rotate == clock.now - .seconds(5) + day * 30)

        // It can be read until then.
        let bobs = try await Store.inMemory(key: otherKey, options: clock.options)
        var frames: [[UInt8]] = []
        for name in ["Bob", "Eve"] {
            let peer = try await account(named: name, in: bobs)
            let session = try await peer.startSession(with: "Ada", package: first.bytes)
            frames.append(try await session.encrypt(Secret("late")))
        }
        clock.advance(day * 2 - .nanoseconds(1))
        _ = try await publisher.run()
        #expect(try await ada.receive(frames[0]).plaintext?.text == "late")
        clock.advance(.nanoseconds(1))
        _ = try await publisher.run()
        #expect(try await publisher.states() == [.current])
        #expect(try await store.rotation(of: ada.id).superseded == 0)
        #expect(await refusal { try await ada.receive(frames[1]) }?.code == .notFound)
    }

    @Test func aPackageIsReplacedOnDemandAndWhenItWasUsedWithoutAKey() async throws {
        let publisher = try await Publisher(RotationOptions(oneTimeKeys: 0))
        let (store, ada, clock) = (publisher.store, publisher.ada, publisher.clock)
        let first = try await publisher.publish()
        clock.advance(.seconds(1))
        try await store.rotateNow(ada.id)
        try await store.rotateNow(ada.id)
        let second = try await publisher.publish()
        #expect(second.id != first.id)
        #expect(try await publisher.states() == [.superseded, .current])

        let bobs = try await Store.inMemory(key: otherKey, options: clock.options)
        let bob = try await account(named: "Bob", in: bobs)
        let session = try await bob.startSession(with: "Ada", package: second.bytes)
        _ = try await ada.receive(try await session.encrypt(Secret("x")))
        #expect(try await store.rotation(of: ada.id).rotate == clock.now + .seconds(5))
        clock.advance(.seconds(5))
        try await publisher.publish()
        #expect(try await publisher.states() == [.superseded, .superseded, .current])
    }

    @Test func aServerWithFewKeysGetsMore() async throws {
        let publisher = try await Publisher(RotationOptions(oneTimeKeys: 10, oneTimeFloor: 4))
        let (store, ada) = (publisher.store, publisher.ada)
        let package = try await publisher.publish()
        try await store.reportOneTimeKeys(4, of: ada.id)
        #expect(try await publisher.run().isEmpty)
        try await store.reportOneTimeKeys(3, of: ada.id)
        let item = try await publisher.request(.publishKeys)
        #expect(item.packages?.package == nil)
        let keys = try #require(item.packages?.oneTimeKeys)
        #expect(keys.map(\.number) == Array(11...17))
        #expect(keys.allSatisfy { $0.package == package.id })
        try await store.answer(item.id)
        #expect(try await store.rotation(of: ada.id).oneTimeKeyCount == 10)
        #expect(try await publisher.run().isEmpty)
    }

    @Test func aFloorOfNoneMeansNone() async throws {
        let publisher = try await Publisher(RotationOptions(oneTimeKeys: 10, oneTimeFloor: 0))
        try await publisher.publish()
        try await publisher.store.reportOneTimeKeys(1, of: publisher.ada.id)
        #expect(try await publisher.run().isEmpty)
        try await publisher.store.reportOneTimeKeys(0, of: publisher.ada.id)
        #expect(try await publisher.request(.publishKeys).packages?.oneTimeKeys.count == 10)
    }

    // MARK: what the server serves

    @Test func whatTheServerServesAsItShouldIsFine() async throws {
        let publisher = try await Publisher()
        let package = try await publisher.publish()
        publisher.clock.advance(day * 7 - .nanoseconds(1))
        #expect(try await publisher.run().isEmpty)
        publisher.clock.advance(.nanoseconds(1))
        #expect(try await publisher.readBack(package.bytes).isEmpty)
        #expect(try await publisher.states() == [.current])
        let next = try await publisher.store.rotation(of: publisher.ada.id).readback
        #expect(next == publisher.clock.now + day * 7)
    }

    @Test(arguments: Item.Publication.allCases.filter { $0 != .expired })
    func whatItShouldNotServeIsToldAndReplaced(finding: Item.Publication) async throws {
        let publisher = try await Publisher(
            RotationOptions(rotate: day * 20, lifetime: day * 30, keep: day * 30))
        let (store, ada, clock) = (publisher.store, publisher.ada, publisher.clock)
        let old = try await publisher.publish()
        clock.advance(.seconds(1))
        try await store.rotateNow(ada.id)
        let package = try await publisher.publish()
        let served: [UInt8]
        switch finding {
        case .absent: served = []
        case .superseded: served = old.bytes
        case .unreadable: served = Array(package.bytes.dropLast())
        case .foreign:
            let others = try await Store.inMemory(key: otherKey, options: clock.options)
            served = try await account(named: "Ada", in: others).createPackage(oneTimeKeys: 0)
                .package.bytes
        case .unknown:
            clock.advance(day)
            try await ada.deletePackage(old.id)
            served = old.bytes
        case .expired: served = package.bytes  // has a test of its own
        }
        clock.advance(day * 7)
        let items = try await publisher.readBack(served)
        #expect(items.compactMap(\.event) == [.publication(finding)])
        let asked = items.filter { $0.content == .request(.publish) }
        #expect(asked.count == 1 && asked.first?.packages?.package?.bytes != package.bytes)
        #expect(try await publisher.states().suffix(2) == [.current, .staged])
    }

    @Test func aPackageThatExpiresBeforeTheNextOneIsPublishedIsToldOf() async throws {
        let publisher = try await Publisher(
            RotationOptions(rotate: day * 20, lifetime: day * 30, readback: day * 90))
        let (store, clock) = (publisher.store, publisher.clock)
        let first = try await publisher.publish()
        clock.advance(day * 20)
        let item = try await publisher.request(.publish)
        clock.advance(first.notAfter - clock.now - .nanoseconds(1))
        #expect(try await publisher.run().map(\.id) == [item.id])
        clock.advance(.nanoseconds(1))
        #expect(try await publisher.run().map(\.event) == [.publication(.expired)])
        clock.advance(.seconds(1))
        #expect(try await publisher.run().isEmpty)
        try await store.answer(item.id)
        #expect(try await publisher.states() == [.superseded, .current])
    }

    // MARK: refusals

    @Test func whoRotatesDoesNotCreateByHand() async throws {
        let clock = TestClock()
        let store = try await Store.inMemory(key: key, options: clock.options)
        let ada = try await account(named: "Ada", in: store)
        #expect(await refusal { try await store.rotation(of: ada.id) }?.code == .notFound)
        #expect(await refusal { try await store.rotateNow(ada.id) }?.code == .notFound)
        #expect(
            await refusal { try await store.reportOneTimeKeys(1, of: ada.id) }?.code == .notFound)
        let own = try await ada.createPackage(oneTimeKeys: 2).package
        #expect(own.state == .own && own.removal == nil)
        try await store.beginRotation(of: ada.id)
        #expect(try await ada.packages().map(\.state) == [.superseded])
        #expect(await refusal { try await ada.createPackage() }?.reason == .stateRotation)
        try await store.runDue()
        let item = try #require(try await store.take().first)
        let staged = try #require(item.packages?.package?.id)
        #expect(await refusal { try await ada.deletePackage(staged) }?.reason == .stateRotation)
        try await store.answer(item.id)
        #expect(await refusal { try await ada.deletePackage(staged) }?.reason == .stateRotation)
        #expect(
            await refusal { try await store.reportOneTimeKeys(-1, of: ada.id) }?.reason
                == .misuseSize)
        try await ada.deletePackage(own.id)
        #expect(try await ada.packages().map(\.id) == [staged])
    }

    @Test(arguments: [
        RotationOptions(rotate: day * 90), RotationOptions(lifetime: day * 91),
        RotationOptions(lifetime: .zero), RotationOptions(keep: .seconds(-1)),
        RotationOptions(welcomeDelay: .seconds(3_601)),
        RotationOptions(welcomePause: .seconds(-1)), RotationOptions(readback: .zero),
    ])
    func timesThatContradictAreRefused(options: RotationOptions) async throws {
        let store = try await Store.inMemory(key: key)
        let ada = try await store.createAccount(named: "Ada")
        let error = await refusal { try await store.beginRotation(of: ada, options: options) }
        #expect(error?.reason == .misuseTime)
        #expect(await refusal { try await store.rotation(of: ada) }?.code == .notFound)
    }

    @Test func numbersThatContradictAreRefused() async throws {
        let store = try await Store.inMemory(key: key)
        let ada = try await store.createAccount(named: "Ada")
        for keys in [-1, 501, .max] {
            let options = RotationOptions(oneTimeKeys: keys)
            let error = await refusal { try await store.beginRotation(of: ada, options: options) }
            #expect(error?.reason == .misuseSize)
        }
        let none = RotationOptions(oneTimeKeys: 0, oneTimeFloor: 0)
        try await store.beginRotation(of: ada, options: none)
        let options = RotationOptions(oneTimeKeys: 0, oneTimeFloor: 1)
        let error = await refusal { try await store.beginRotation(of: ada, options: options) }
        #expect(error?.reason == .misuseFlags)
    }

    @Test func whatABatchBeganIsUndoneWithIt() async throws {
        struct Undo: Error {}
        let store = try await Store.inMemory(key: key)
        let ada = try await store.createAccount(named: "Ada")
        await #expect(throws: Undo.self) {
            try await store.batch { batch in
                try batch.beginRotation(of: ada, options: RotationOptions(oneTimeKeys: 5))
                try batch.rotateNow(ada)
                try batch.reportOneTimeKeys(3, of: ada)
                #expect(try batch.rotation(of: ada).superseded == 0)
                throw Undo()
            }
        }
        #expect(await refusal { try await store.rotation(of: ada) }?.code == .notFound)
    }
}
