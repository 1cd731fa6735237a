import CPlatform
package import PawlCrypto

/// A store in memory, for tests and for accounts that shall leave nothing behind. It lives as long as
/// one of its connections.
///
/// A transaction works on a copy of the map, which costs little because copies share what they do not
/// change. So readers and the one writer are never in each other's way.
package final class MemoryStorage: StoragePort {
    private let shared: MemoryShared
    private var rows = MemoryRows()
    private var transaction: TransactionMode?

    package convenience init() { self.init(MemoryShared(MemoryRows())) }

    private init(_ shared: MemoryShared) { self.shared = shared }

    /// A store of its own with what is committed now.
    package func snapshot() -> MemoryStorage {
        MemoryStorage(MemoryShared(shared.current()))
    }

    package func begin(_ mode: TransactionMode) throws(Failure) {
        guard transaction == nil else { throw .internal }
        switch mode {
        case .read: rows = shared.current()
        case .write: rows = try shared.beginWriting()
        }
        transaction = mode
    }

    package func get(
        _ key: Bytes, _ body: (Bytes) throws(Failure) -> Void
    ) throws(Failure) -> Bool {
        guard transaction != nil else { throw .internal }
        guard let row = rows.row(key) else { return false }
        try body(row.value)
        return true
    }

    package func put(_ key: Bytes, _ value: Bytes) throws(Failure) {
        guard transaction == .write else { throw .internal }
        guard let row = MemoryRow(key, value) else { throw .limit(.memory) }
        rows.put(row)
    }

    package func delete(_ key: Bytes) throws(Failure) {
        guard transaction == .write else { throw .internal }
        rows.remove(key)
    }

    package func scan(
        from: Bytes, to: Bytes, limit: Int, _ body: (Bytes, Bytes) throws(Failure) -> Bool
    ) throws(Failure) {
        guard transaction != nil else { throw .internal }
        var place = rows.place(of: from)
        var left = limit
        while left > 0, let row = rows.row(at: &place), memoryOrder(row.key, to) < 0 {
            guard try body(row.key, row.value) else { return }
            left -= 1
        }
    }

    package func commit() throws(Failure) {
        guard let mode = transaction else { throw .internal }
        if mode == .write { shared.endWriting(rows) }
        forget()
    }

    package func rollback() {
        if transaction == .write { shared.endWriting(nil) }
        forget()
    }

    package func sibling() throws(Failure) -> any StoragePort {
        MemoryStorage(shared)
    }

    package func close() { rollback() }

    private func forget() {
        transaction = nil
        rows = MemoryRows()
    }
}

/// What is committed, and whether somebody writes.
private final class MemoryShared {
    private let lock: UnsafeMutablePointer<pthread_mutex_t>
    private var committed: MemoryRows
    private var isWriting = false

    init(_ rows: MemoryRows) {
        committed = rows
        lock = .allocate(capacity: 1)
        lock.initialize(to: pthread_mutex_t())
        pthread_mutex_init(lock, nil)
    }

    deinit { lock.deallocate() }

    func current() -> MemoryRows {
        pthread_mutex_lock(lock)
        defer { pthread_mutex_unlock(lock) }
        return committed
    }

    func beginWriting() throws(Failure) -> MemoryRows {
        pthread_mutex_lock(lock)
        defer { pthread_mutex_unlock(lock) }
        guard !isWriting else { throw .busy(.writer) }
        isWriting = true
        return committed
    }

    /// Nil leaves everything as it was.
    func endWriting(_ rows: MemoryRows?) {
        // The old rows are freed after the lock: there may be many.
        var old = rows
        pthread_mutex_lock(lock)
        if let rows {
            old = committed
            committed = rows
        }
        isWriting = false
        pthread_mutex_unlock(lock)
        withExtendedLifetime(old) {}
    }
}

/// One record, which never changes. `malloc` says when there is no memory, where an array would trap.
private final class MemoryRow {
    let key: Bytes
    let value: Bytes
    private let block: UnsafeMutableRawPointer

    init?(_ key: Bytes, _ value: Bytes) {
        let (size, overflow) = key.count.addingReportingOverflow(value.count)
        guard !overflow, let block = malloc(max(size, 1)) else { return nil }
        let bytes = UnsafeMutableRawBufferPointer(start: block, count: size)
        let (head, tail) = (bytes[..<key.count], bytes[key.count...])
        UnsafeMutableRawBufferPointer(rebasing: head).copyMemory(from: key)
        UnsafeMutableRawBufferPointer(rebasing: tail).copyMemory(from: value)
        self.key = Bytes(rebasing: head)
        self.value = Bytes(rebasing: tail)
        self.block = block
    }

    deinit { free(block) }
}

/// The rows in order, in runs of at most `MemoryRows.most`; no run is empty. A copy shares its runs
/// with the original until one of them changes.
private struct MemoryRows {
    private static let most = 256
    private var runs: [[MemoryRow]] = []

    /// Where a row is, or would be.
    struct Place {
        var run: Int
        var index: Int
    }

    func place(of key: Bytes) -> Place {
        // The last run that begins at or before the key.
        let after = partition(runs.count) { memoryOrder(runs[$0][0].key, key) <= 0 }
        guard after > 0 else { return Place(run: 0, index: 0) }
        let run = runs[after - 1]
        return Place(
            run: after - 1, index: partition(run.count) { memoryOrder(run[$0].key, key) < 0 })
    }

    /// The row there, or the next one; moves the place behind it.
    func row(at place: inout Place) -> MemoryRow? {
        if place.run < runs.count, place.index >= runs[place.run].count {
            place = Place(run: place.run + 1, index: 0)
        }
        guard place.run < runs.count else { return nil }
        defer { place.index += 1 }
        return runs[place.run][place.index]
    }

    func row(_ key: Bytes) -> MemoryRow? {
        found(key).map { runs[$0.run][$0.index] }
    }

    mutating func put(_ row: MemoryRow) {
        if let place = found(row.key) {
            runs[place.run][place.index] = row
            return
        }
        guard !runs.isEmpty else {
            runs = [[row]]
            return
        }
        let place = place(of: row.key)
        runs[place.run].insert(row, at: place.index)
        if runs[place.run].count > Self.most {
            let half = Array(runs[place.run][(Self.most / 2)...])
            runs[place.run].removeSubrange((Self.most / 2)...)
            runs.insert(half, at: place.run + 1)
        }
    }

    mutating func remove(_ key: Bytes) {
        guard let place = found(key) else { return }
        runs[place.run].remove(at: place.index)
        if runs[place.run].isEmpty { runs.remove(at: place.run) }
    }

    private func found(_ key: Bytes) -> Place? {
        let place = place(of: key)
        guard place.run < runs.count, place.index < runs[place.run].count,
            memoryOrder(runs[place.run][place.index].key, key) == 0
        else { return nil }
        return place
    }

    /// How many of the first numbers, which come first, pass the test.
    private func partition(_ count: Int, _ passes: (Int) -> Bool) -> Int {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if passes(middle) { low = middle + 1 } else { high = middle }
        }
        return low
    }
}

/// The order of two keys as unsigned bytes: below, at or above zero.
private func memoryOrder(_ a: Bytes, _ b: Bytes) -> Int {
    let common = Int(memcmp(a.octets, b.octets, min(a.count, b.count)))
    return common != 0 ? common : a.count - b.count
}
