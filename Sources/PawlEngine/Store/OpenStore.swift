package import PawlCrypto
package import PawlStore

/// How a store is opened or created.
package struct OpenRequest {
    package enum Place {
        /// NUL-free bytes.
        case file([UInt8])
        case memory
        case host(any StoragePort)
    }
    package var place: Place
    package var key: UnlockKey
    package var createsIfAbsent: Bool
    package var mustCreate: Bool
    /// How long a writer waits for another, in nanoseconds; 0: not at all.
    package var timeout: Int64
    package var clock: any Clock
    package var vault: (any SecretVault)?

    package init(
        place: Place, key: UnlockKey, createsIfAbsent: Bool, mustCreate: Bool, timeout: Int64,
        clock: any Clock, vault: (any SecretVault)?
    ) {
        self.place = place
        self.key = key
        self.createsIfAbsent = createsIfAbsent
        self.mustCreate = mustCreate
        self.timeout = timeout
        self.clock = clock
        self.vault = vault
    }
}

extension Store {
    package static func open(_ request: OpenRequest) throws(Failure) -> Store {
        guard sodiumIsReady else { throw .internal }
        switch request.place {
        case .memory:
            let port = MemoryStorage()
            try create(on: port, request)
            return try unlock(port, request)
        case .host(let port):
            do throws(Failure) {
                try Wait(request.timeout).retrying { () throws(Failure) in
                    if try isEmpty(port) {
                        guard request.createsIfAbsent else { throw .notFound }
                        try create(on: port, request)
                    } else if request.mustCreate {
                        throw .exists
                    }
                }
                return try unlock(port, request)
            } catch {
                port.close()
                throw error
            }
        case .file(let path):
            guard !Fork.hasInheritedFiles else { throw .closed(.forked) }
            Fork.fileOpened()
            do throws(Failure) {
                return try openStore(path, request)
            } catch {
                Fork.fileClosed()
                throw error
            }
        }
    }

    private static func openStore(
        _ path: [UInt8], _ request: OpenRequest
    ) throws(Failure) -> Store {
        let port = try Wait(request.timeout).retrying { () throws(Failure) in
            try openFile(path, request)
        }
        do throws(Failure) {
            let store = try unlock(port, request)
            store.isFile = true
            return store
        } catch {
            port.close()
            throw error
        }
    }

    private static func openFile(
        _ path: [UInt8], _ request: OpenRequest
    ) throws(Failure) -> SQLiteStorage {
        if !request.mustCreate {
            do throws(Failure) {
                return try SQLiteStorage.open(path: path)
            } catch {
                guard error == .notFound, request.createsIfAbsent else { throw error }
            }
        }
        let rows = try firstRows(request)
        do throws(Failure) {
            try SQLiteStorage.create(path: path) {
                (port) throws(Failure) in
                try write(rows, to: port)
            }
        } catch {
            // Somebody else created it in the meantime, which is as good.
            guard error == .exists, !request.mustCreate else { throw error }
        }
        return try SQLiteStorage.open(path: path)
    }

    // MARK: Creating

    private typealias Rows = (header: SecretBuffer, slot: SlotRecord)

    private static func firstRows(_ request: OpenRequest) throws(Failure) -> Rows {
        let header = StoreHeader()
        let slot = try SlotRecord.wrap(
            Sealer(), for: request.key, number: 0, store: header.id, now: request.clock.now())
        return (try header.encoded(), slot)
    }

    private static func write(_ rows: Rows, to port: any StoragePort) throws(Failure) {
        try StoreHeader.key.withBytes { (key) throws(Failure) in
            try port.put(key, rows.header.bytes)
        }
        try rows.slot.key.withBytes { (key) throws(Failure) in
            try port.put(key, rows.slot.bytes.bytes)
        }
    }

    private static func create(on port: any StoragePort, _ request: OpenRequest) throws(Failure) {
        let rows = try firstRows(request)
        try port.begin(.write)
        do throws(Failure) {
            guard try isEmpty(inside: port) else {
                guard !request.mustCreate else { throw .exists }
                return port.rollback()
            }
            try write(rows, to: port)
        } catch {
            port.rollback()
            throw error
        }
        try port.commit()
    }

    private static func isEmpty(_ port: any StoragePort) throws(Failure) -> Bool {
        try port.begin(.read)
        defer { port.rollback() }
        return try isEmpty(inside: port)
    }

    private static func isEmpty(inside port: any StoragePort) throws(Failure) -> Bool {
        var isEmpty = true
        let first: InlineArray<1, UInt8> = [0x00]
        let last: InlineArray<1, UInt8> = [0xFF]
        try first.span.bytes.withUnsafeBytes { (from) throws(Failure) in
            try last.span.bytes.withUnsafeBytes { (to) throws(Failure) in
                try port.scan(from: from, to: to, limit: 1) { (_, _) in
                    isEmpty = false
                    return false
                }
            }
        }
        return isEmpty
    }

    // MARK: Unlocking

    private static func unlock(
        _ port: any StoragePort, _ request: OpenRequest
    ) throws(Failure) -> Store {
        let table = try Wait(request.timeout).retrying { () throws(Failure) in
            try readSlots(port)
        }
        for slot in table.slots {
            guard let sealer = try slot.unwrap(request.key) else { continue }
            let shared = try Shared(
                id: table.header.id, sealer: sealer, clock: request.clock, vault: request.vault,
                timeout: request.timeout)
            let store = Store(shared: shared, port: port)
            // Whoever had this file open last may have died between a commit and its ring.
            store.ringOthers()
            return store
        }
        // The key may be that of a slot that could not be read.
        if table.unread.contains(where: { $0.failure == .version }) { throw .version }
        guard table.slots.contains(where: { $0.kind == request.key.kind }) || table.unread.isEmpty
        else {
            throw .corrupt(.keyLost)
        }
        throw .auth
    }

    private static func readSlots(_ port: any StoragePort) throws(Failure) -> SlotTable {
        try port.begin(.read)
        defer { port.rollback() }
        let table = try SlotTable.read(port)
        guard !table.slots.isEmpty || !table.unread.isEmpty else { throw .corrupt(.keyLost) }
        return table
    }
}

/// Header and slots, which are read before there is a key. A slot that cannot be read costs itself alone.
struct SlotTable {
    let header: StoreHeader
    let slots: [SlotRecord]
    let unread: [(number: UInt8, failure: Failure)]

    static func read(_ port: any StoragePort) throws(Failure) -> SlotTable {
        var header: StoreHeader?
        try StoreHeader.key.withBytes { (key) throws(Failure) in
            _ = try port.get(key) { (value) throws(Failure) in
                header = try StoreHeader(decoding: value)
            }
        }
        guard let header else { throw .corrupt(.keyLost) }
        var slots: [SlotRecord] = []
        var unread: [(number: UInt8, failure: Failure)] = []
        let first = RowKey(.slot)
        try first.withBytes { (from) throws(Failure) in
            try first.end.withBytes { (to) throws(Failure) in
                try port.scan(from: from, to: to, limit: Int.max) { (key, value) throws(Failure) in
                    do throws(Failure) {
                        let slot = try SlotRecord(decoding: value)
                        guard slot.key == RowKey(copying: key), slot.store == header.id else {
                            throw .corrupt(.record)
                        }
                        slots.append(slot)
                    } catch {
                        guard error == .corrupt(.record) || error == .version else { throw error }
                        unread.append((key.last ?? 0, error))
                    }
                    return true
                }
            }
        }
        return SlotTable(header: header, slots: slots, unread: unread)
    }
}
