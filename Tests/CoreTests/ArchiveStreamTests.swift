import Foundation
import PawlCore
import PawlCrypto
import PawlEngine
import PawlStore
import Testing

/// An archive while a vault is asked for what goes into it.
@Suite struct ArchiveStreamTests {
    /// A vault that does something before it gives a value.
    private final class AskedVault: SecretVault {
        private let vault = MemoryVault()
        var onGet: () -> Void = {}
        let lease = Backoff.minute

        func set(_ id: VaultID, _ value: Bytes) -> Int32 { vault.set(id, value) }
        func get(_ id: VaultID, _ value: UnsafeMutableRawBufferPointer) -> VaultValue {
            onGet()
            return vault.get(id, value)
        }
        func remove(_ id: VaultID) -> Int32 { vault.remove(id) }
        func next(after: VaultID?) -> VaultNext { vault.next(after: after) }
    }

    /// The vault is asked under no lock: how far the archive is can be seen meanwhile, there and by others.
    @Test func aReportWaitsForNoVault() throws {
        let vault = AskedVault()
        let store = try openStore(on: MemoryStorage(), vault: vault)
        for name in ["a", "b", "c"] { try store.put(name, "secret") }
        nonisolated(unsafe) let stream = try testKey.withUnsafeBytes {
            try ArchiveStream(exporting: store, .everything, for: .raw($0))
        }
        var asked = 0
        vault.onGet = {
            asked += 1
            let isSeen = DispatchSemaphore(value: 0)
            Thread.detachNewThread {
                if (try? stream.report().credentials) == 0 { isSeen.signal() }
            }
            #expect(isSeen.wait(timeout: .now() + 5) == .success)
        }
        var all = [UInt8](repeating: 0, count: 4_096)
        let size = try all.withUnsafeMutableBytes { try stream.read(into: $0) }
        #expect(size > 0 && size < all.count && asked == 3)
        #expect(try stream.report().credentials == 3)
        store.close {}
        #expect(try stream.report().credentials == 3)
    }
}
