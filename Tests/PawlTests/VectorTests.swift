import Foundation
import Pawl
import Testing

/// `Tests/Vectors/session-1.json`, which another program made, in a store that it made as well:
/// `Tests/Fixtures/session-1.pawl` holds both sides' secrets. The initiator's two sessions are as
/// right after their starts.
@Suite(.timeLimit(.minutes(2))) struct VectorTests {
    private let folder: Folder
    private let vectors: Vectors
    private let store: Store
    private let initiator: Account
    private let responder: Account

    init() async throws {
        let tests = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "..")
        func decoded<Value: Decodable>(_ path: String) throws -> Value {
            let decoder = JSONDecoder()
            decoder.keyDecodingStrategy = .convertFromSnakeCase
            return try decoder.decode(
                Value.self, from: Data(contentsOf: tests.appending(path: path)))
        }
        let vectors: Vectors = try decoded("Vectors/session-1.json")
        let fixture: Fixture = try decoded("Fixtures/session-1.json")
        folder = try Folder()
        let path = folder.path("vectors.pawl")
        try FileManager.default.copyItem(
            atPath: tests.appending(path: "Fixtures/session-1.pawl").path, toPath: path)
        let now = Timestamp(nanoseconds: vectors.now * 1_000_000)
        store = try await Store.open(
            path: path, key: .raw(Secret(octets(fixture.key))), options: .init(clock: { now }))
        initiator = try await store.account(#require(Identifier(octets(fixture.initiator))))
        responder = try await store.account(#require(Identifier(octets(fixture.responder))))
        self.vectors = vectors
        #expect(try await store.verify().isEmpty)
    }

    /// The initiator's and the responder's side.
    private func sides(_ vector: Vectors.Session) throws -> [Session] {
        try vector.ids.map { store.session(try #require(Identifier(octets($0)))) }
    }

    @Test(arguments: [0, 1]) func firstMessages(number: Int) async throws {
        let vector = vectors.sessions[number]
        let sides = try sides(vector)
        let start = try await sides[0].status()
        #expect(start.isInitiator && !start.isConfirmed && start.peer == responder.identity)
        #expect(start.created == Timestamp(nanoseconds: vector.created * 1_000_000))
        #expect(start.received == 0 && start.skipped == 0)

        let frame = try await sides[0].encrypt(Secret("hello"))
        #expect(frame.prefix(22) == octets(vector.frames[0].bytes).prefix(22))
        #expect(frame.dropFirst(56).starts(with: octets(vector.welcome)))
        let received = try await responder.receive(frame)
        #expect(received.plaintext == Secret("hello") && received.session == sides[1])
        let answer = try await initiator.receive(try await sides[1].encrypt(Secret("answer")))
        #expect(answer.plaintext == Secret("answer"))
        #expect(try await sides[0].status().isConfirmed)
    }

    @Test(arguments: [0, 1]) func deliveries(number: Int) async throws {
        let vector = vectors.sessions[number]
        let sides = try sides(vector)
        #expect(Set(vector.deliveries.map(\.to)) == ["initiator", "responder"])
        var hasJoined = false
        for delivery in vector.deliveries {
            let isToInitiator = delivery.to == "initiator"
            let account = isToInitiator ? initiator : responder
            let session = sides[isToInitiator ? 0 : 1]
            let frame = vector.frames[delivery.frame]
            if delivery.status == "OK" {
                let received = try await account.receive(octets(frame.bytes))
                #expect(received.plaintext == delivery.text.map { Secret(octets($0)) })
                #expect(received.session == session)
                #expect(received.epoch == 0 && received.index == frame.index)
                #expect(received.isNewSession == (!isToInitiator && !hasJoined))
                hasJoined = hasJoined || received.isNewSession
            } else {
                let error = await refusal { try await account.receive(octets(frame.bytes)) }
                #expect(name(of: error) == delivery.status, "frame \(delivery.frame)")
            }
            let status = try await session.status()
            #expect(status.received == delivery.next)
            #expect(status.skipped == delivery.skipped.count)
        }
    }

    @Test func refusedFrames() async throws {
        #expect(!vectors.refusedFrames.isEmpty)
        for refused in vectors.refusedFrames {
            let error = await refusal { try await responder.receive(octets(refused.bytes)) }
            #expect(name(of: error) == refused.status, "\(refused.why)")
        }
        #expect(try await responder.peers().isEmpty)
        #expect(try await responder.packages().map(\.oneTimeKeyCount) == [2])
    }

    @Test func refusedPackages() async throws {
        let peer = vectors.responder.name
        #expect(!vectors.refusedPackages.isEmpty)
        for refused in vectors.refusedPackages {
            let error = await refusal {
                try await initiator.startSession(with: peer, package: octets(refused.bytes))
            }
            #expect(name(of: error) == refused.status, "\(refused.why)")
        }
        #expect(try await initiator.sessions(with: peer).count == 2)
        #expect(try await initiator.peer(named: peer).identity == responder.identity)

        let package = octets(vectors.package.bytes) + octets(vectors.oneTimeKeys[0].bytes)
        let session = try await initiator.startSession(with: peer, package: package)
        let received = try await responder.receive(try await session.encrypt(Secret("hello")))
        #expect(received.plaintext == Secret("hello"))
        #expect(try await responder.packages().map(\.oneTimeKeyCount) == [1])
    }
}

/// As the vectors call a status: what follows PAWL_ in its name.
private func name(of error: PawlError?) -> String? {
    error?.description.prefix { $0 != ":" }.dropFirst("PAWL_".count).description
}

/// The bytes of hexadecimal digits, two for each.
private func octets(_ digits: String) -> [UInt8] {
    let digits = digits.compactMap(\.hexDigitValue)
    return stride(from: 0, to: digits.count, by: 2).map {
        UInt8(digits[$0] << 4 | digits[$0 + 1])
    }
}

private struct Fixture: Decodable {
    let key, initiator, responder: String
}

private struct Vectors: Decodable {
    struct Named: Decodable { let name: String }
    struct Published: Decodable { let bytes: String }
    struct Refused: Decodable { let why, status, bytes: String }
    struct Frame: Decodable {
        let index: UInt32?
        let bytes: String
    }
    struct Delivery: Decodable {
        let frame: Int
        let to, status: String
        let text: String?
        let next: UInt32
        let skipped: [UInt32]
    }
    struct Session: Decodable {
        let created: Int64
        let welcome: String
        let ids: [String]
        let frames: [Frame]
        let deliveries: [Delivery]
    }
    let now: Int64
    let responder: Named
    let package: Published
    let oneTimeKeys: [Published]
    let refusedPackages, refusedFrames: [Refused]
    let sessions: [Session]
}
