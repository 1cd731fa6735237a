import PawlCore
import PawlCrypto
import Testing

/// What stands in a frame: its type, control parts, application data.
@Suite struct FrameTests {
    private static let hello = [UInt8]("hello".utf8)
    /// Type 7 with nothing in it, type 255 with three bytes.
    private static let controls: [UInt8] = [7, 0, 0, 255, 3, 0, 97, 98, 99]

    @Test(
        arguments: [
            // control parts, message, type without a welcome, by how much the frame is longer
            ([], hello, 1, 70), ([], [], 1, 70), ([], nil, 3, 70),
            (controls, hello, 3, 80), (controls, [], 3, 80), (controls, nil, 3, 79),
        ] as [([UInt8], [UInt8]?, UInt8, Int)])
    func forms(parts: [UInt8], message: [UInt8]?, type: UInt8, overhead: Int) throws {
        for welcome in [nil, [UInt8](repeating: 1, count: 100)] {
            let frame = try write(parts, message, welcome: welcome)
            #expect(frame[1] == (welcome == nil ? type : type + 1))
            let longer = overhead + (welcome == nil ? 0 : 102)
            #expect(frame.count == (message?.count ?? 0) + longer)
            let text = try #require(try read(frame))
            #expect(text.message == message)
            #expect(text.parts.map(\.type) == (parts.isEmpty ? [] : [7, 255]))
            #expect(text.parts.map(\.body) == (parts.isEmpty ? [] : [[], [97, 98, 99]]))
        }
    }

    /// The message lies anywhere in the room for its frame.
    @Test(arguments: [[], controls] as [[UInt8]]) func inPlace(parts: [UInt8]) throws {
        let size = try write(parts, Self.hello).count
        for start in 0...size - 5 {
            var out = [UInt8](repeating: 0, count: size)
            out.replaceSubrange(start..<start + 5, with: Self.hello)
            try out.withUnsafeMutableBytes { out in
                try fill(out, parts, Bytes(rebasing: Bytes(out)[start..<start + 5]))
            }
            #expect(try read(out)?.message == Self.hello)
        }
    }

    @Test(
        arguments: [
            // list, its application data
            ([], nil), ([0], []), ([0, 104], [104]), ([7, 0, 0], nil), ([7, 0, 0, 0], []),
            ([7, 1, 0, 0, 0, 1], [1]), ([0, 7, 0, 0], [7, 0, 0]),
        ] as [([UInt8], [UInt8]?)])
    func aTextIsWhatTheTypeSays(text: [UInt8], message: [UInt8]?) throws {
        #expect(try read(write(text, nil))?.message == message)
        let data = try read(write([], text))
        #expect(data?.message == text && data?.parts.isEmpty == true)
    }

    @Test(arguments: [[1], [1, 0], [1, 2, 0, 104], [1, 0, 0, 7]] as [[UInt8]])
    func partsThatAreCutOff(text: [UInt8]) throws {
        #expect(try read(write(text, nil)) == nil)
        #expect(try read(write([], text))?.message == text)
    }

    @Test func otherTypesAreNone() throws {
        var frame = try write([], Self.hello)
        for type: UInt8 in 0...255 where !(1...4).contains(type) {
            frame[1] = type
            #expect(throws: Failure.auth) { try frame.withUnsafeBytes { _ = try Frame($0) } }
        }
    }

    @Test func onlyTheRightSizeIsWritten() throws {
        for size in 0...100 where size != 75 {
            var out = [UInt8](repeating: 0, count: size)
            #expect(throws: Failure.internal) {
                try Self.hello.withUnsafeBytes { hello in
                    try out.withUnsafeMutableBytes { try fill($0, [], hello) }
                }
            }
        }
    }

    // MARK: Helpers

    private let key = [UInt8](repeating: 9, count: 32)

    private func write(
        _ parts: [UInt8], _ message: [UInt8]?, welcome: [UInt8]? = nil
    ) throws -> [UInt8] {
        let size = try envelope(welcome) { $0.size(parts: parts.count, around: message?.count) }
        var out = [UInt8](repeating: 0, count: size)
        try (message ?? []).withUnsafeBytes { text in
            try out.withUnsafeMutableBytes {
                try fill($0, parts, message == nil ? nil : text, welcome: welcome)
            }
        }
        return out
    }

    private func fill(
        _ out: UnsafeMutableRawBufferPointer, _ parts: [UInt8], _ message: Bytes?,
        welcome: [UInt8]? = nil
    ) throws {
        try envelope(welcome) { envelope in
            try key.withUnsafeBytes { key in
                try parts.withUnsafeBytes { parts in
                    try Frame.write(
                        envelope, parts: parts, message: message, key: key, random: randomWords(),
                        into: out)
                }
            }
        }
    }

    private func envelope<R>(
        _ welcome: [UInt8]?, _ body: (Frame.Envelope) throws -> R
    ) throws -> R {
        try key[..<16].withUnsafeBytes { filterKey in
            try (welcome ?? []).withUnsafeBytes {
                try body(
                    Frame.Envelope(
                        session: SessionHalf(rawValue: 1), epoch: 2, index: 3, previousLength: 4,
                        lane: 5, filterKey: filterKey, welcome: welcome == nil ? nil : $0))
            }
        }
    }

    /// What the text says, nil if it has no right form.
    private func read(
        _ bytes: [UInt8]
    ) throws -> (parts: [(type: UInt8, body: [UInt8])], message: [UInt8]?)? {
        try bytes.withUnsafeBytes { bytes in
            let frame = try Frame(bytes)
            guard let text = try key.withUnsafeBytes({ try frame.open($0) }) else { return nil }
            return try withExtendedLifetime(text) {
                var list = frame.parts(in: text.bytes)
                var parts: [(type: UInt8, body: [UInt8])] = []
                while let part = try list.next() { parts.append((part.type, [UInt8](part.body))) }
                return (parts, try frame.application(text.bytes).map { [UInt8]($0) })
            }
        }
    }
}
