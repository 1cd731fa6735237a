import PawlCore
import PawlCrypto
import PawlEngine
import PawlStore
import Testing

/// A handle remembers values of rows without secrets by their bytes.
@Suite struct OpenedValuesTests {
    private static let here = RowKey(.peer).appending(1)
    private static let elsewhere = RowKey(.peer).appending(2)

    private static func put(_ text: String, in store: Store) throws {
        let value = try SecretBuffer(text)
        try store.transact(.write) { (transaction) in transaction.put(here, value) }
    }

    private static func putRaw(_ bytes: [UInt8], at row: RowKey, in store: Store) throws {
        let value = try bytes.withUnsafeBytes { try SecretBuffer(copying: $0) }
        try store.transact(.write) { (transaction) in transaction.putRaw(row, value) }
    }

    private static func read(_ row: RowKey, in store: Store) throws -> String? {
        let buffer = try store.transact(.read) { (transaction) throws(Failure) in
            try transaction.get(row)
        }
        return buffer.map { text($0) }
    }

    private static func raw(in store: Store) throws -> [UInt8] {
        var bytes: [UInt8] = []
        try store.transact(.read) { (transaction) throws(Failure) in
            try transaction.getRaw(here) { (value) in bytes = Array(value) }
        }
        return bytes
    }

    @Test func whatAnotherHandleWritesIsSeen() throws {
        let data = MemoryStorage()
        let one = try openStore(on: data)
        let two = try openStore(on: data.sibling())
        var sealed: [(text: String, bytes: [UInt8])] = []
        for number in 0..<300 {
            let text = "text \(number)"
            try Self.put(text, in: number % 2 == 0 ? one : two)
            sealed.append((text, try Self.raw(in: one)))
            for _ in 0..<2 {
                #expect(try Self.read(Self.here, in: one) == text)
                #expect(try Self.read(Self.here, in: two) == text)
            }
        }
        // What was there before is what it was.
        for (text, bytes) in sealed {
            try Self.putRaw(bytes, at: Self.here, in: two)
            #expect(try Self.read(Self.here, in: one) == text)
        }
    }

    @Test func aKnownValueOpensInItsPlaceOnly() throws {
        let store = try openStore(on: MemoryStorage())
        try Self.put("text", in: store)
        #expect(try Self.read(Self.here, in: store) == "text")
        let sealed = try Self.raw(in: store)
        try Self.putRaw(sealed, at: Self.elsewhere, in: store)
        #expect(throws: Failure.corrupt(.record)) { try Self.read(Self.elsewhere, in: store) }
        for index in sealed.indices {
            var bad = sealed
            bad[index] ^= 0x40
            try Self.putRaw(bad, at: Self.here, in: store)
            #expect(throws: index == 0 ? .version : Failure.corrupt(.record)) {
                try Self.read(Self.here, in: store)
            }
        }
        for count in [0, 1, sealed.count - 1] {
            try Self.putRaw(Array(sealed[..<count]), at: Self.here, in: store)
            #expect(throws: Failure.corrupt(.record)) { try Self.read(Self.here, in: store) }
        }
        try Self.putRaw(sealed, at: Self.here, in: store)
        #expect(try Self.read(Self.here, in: store) == "text")
    }
}
