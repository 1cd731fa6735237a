import Foundation
import Pawl
import Testing

/// Archives through the facade: what they hold, and that an import is all or nothing.
struct ArchiveTests {
    private let scope = Scope(user: "ada", project: "home")

    private func filled() async throws -> Store {
        let store = try await Store.inMemory(key: .raw(Secret([UInt8](repeating: 1, count: 32))))
        try await store.put("token", Secret("t"), in: scope)
        try await store.put("large", Secret([UInt8](repeating: 7, count: 200_000)), in: scope)
        try await store.put("other", Secret(""), in: Scope(user: "bob"))
        return store
    }

    private func archive(
        _ contents: ArchiveContents = .everything, for key: Key
    ) async throws -> (bytes: [UInt8], report: ArchiveReport) {
        let store = try await filled()
        let bytes = Locked<[UInt8]>([])
        let report = try await store.export(contents, for: key) { part in
            bytes.withLock { $0 += part }
        }
        return (bytes.withLock { $0 }, report)
    }

    private func bring(
        _ bytes: [UInt8], into store: Store, _ key: Key
    ) async throws -> ArchiveReport {
        let offset = Locked(0)
        return try await store.importArchive(with: key) { buffer in
            offset.withLock { offset in
                let part = bytes[offset..<min(offset + min(buffer.count, 10_000), bytes.count)]
                buffer.copyBytes(from: part)
                offset += part.count
                return part.count
            }
        }
    }

    @Test func allComesBack() async throws {
        let key = Key.recovery(try .generate(.backup))
        let (bytes, report) = try await archive(for: key)
        #expect(report.credentials == 3)
        let store = try await Store.inMemory(key: .raw(Secret([UInt8](repeating: 2, count: 32))))
        #expect(try await bring(bytes, into: store, key).imported == 3)
        #expect(try await store.get("token", in: scope).secret == Secret("t"))
        #expect(try await bring(bytes, into: store, key).kept == 3)
    }

    @Test func contentsAreWhatWasAskedFor() async throws {
        let key = Key.raw(Secret([UInt8](repeating: 3, count: 32)))
        for (contents, count) in [
            (ArchiveContents.everything, UInt64(3)), (.scope(scope), 2), (.user("ada"), 2),
            (.user("bob"), 1), (.scope(Scope(user: "ada")), 0),
        ] {
            #expect(try await archive(contents, for: key).report.credentials == count)
        }
    }

    @Test func aPartIsNothing() async throws {
        let key = Key.raw(Secret([UInt8](repeating: 3, count: 32)))
        let bytes = try await archive(for: key).bytes
        let store = try await Store.inMemory(key: key)
        for size in [0, 50, bytes.count / 2, bytes.count - 1] {
            await #expect(throws: PawlError.self) {
                try await bring([UInt8](bytes[..<size]), into: store, key)
            }
        }
        struct Gone: Error {}
        await #expect(throws: Gone.self) {
            try await store.importArchive(with: key) { _ in throw Gone() }
        }
        await #expect(throws: Gone.self) {
            try await store.export(for: key) { _ in throw Gone() }
        }
        #expect(try await store.list(in: scope).isEmpty)
        #expect(try await bring(bytes, into: store, key).imported == 3)
    }
}
