package import PawlCore
package import PawlCrypto
internal import PawlStore

/// History: kept if the account wants it, and read without touching a session.
extension Store {
    /// Off erases what there is, also of an account that never kept any and was given it.
    package func keepHistory(_ account: Identifier, _ isOn: Bool) throws(Failure) {
        try transact(.write) { (transaction) throws(Failure) in
            _ = try transaction.accountRecord(account)
            var state = try transaction.accountState(account)
            if state.keepsHistory != isOn {
                state.keepsHistory = isOn
                try transaction.put(.accountState(account), state.encoded())
            }
            guard !isOn else { return }
            var isThere = false
            try transaction.scanRaw(.of(.history, account)) { (row, _) in
                transaction.delete(row)
                isThere = true
                return true
            }
            if isThere { try transaction.scheduleCheckpoint() }
        }
        if !isOn { shared.history.forgetAll() }
    }

    package func keepsHistory(_ account: Identifier) throws(Failure) -> Bool {
        try transact(.read) { (transaction) throws(Failure) in
            try transaction.ownRecords(account).state.keepsHistory
        }
    }

    /// At most `limit` after `after`, in the order of their keys. Damaged ones are left to verify.
    package func history(
        _ account: Identifier, after: HistoryPlace?, limit: Int
    ) throws(Failure) -> [HistoryRow] {
        try transact(.read) { (transaction) throws(Failure) in
            _ = try transaction.accountRecord(account)
            var rows: [HistoryRow] = []
            let start = after.map { RowKey.history(account, $0) }
            try transaction.scanRaw(.of(.history, account), after: start) {
                (row, value) throws(Failure) in
                if let place = row.historyPlace,
                    let buffer = try? transaction.sealer.open(value, for: row),
                    let record = try? HistoryRecord(decoding: buffer)
                {
                    rows.append(HistoryRow(place: place, record: record))
                }
                return rows.count < limit
            }
            return rows
        }
    }

    // MARK: Reading

    /// Opens a frame that was sent or received before, as often as is asked for.
    package func openHistory(
        _ account: Identifier, _ bytes: Bytes
    ) throws(Failure) -> HistoryMessage {
        let frame = try Frame(bytes)
        let row = try transact(.read) { (transaction) throws(Failure) in
            try transaction.history(account, of: frame)
        }
        try row.record.check(frame)
        // In no transaction and under no lock: it may be a long way.
        let chain = try shared.history.take(row.record, before: frame.index)
        let text = try row.record.open(frame, with: chain)
        try shared.history.keep(chain, of: row.record)
        return HistoryMessage(row, frame, text)
    }
}

extension Transaction {
    /// Whose frame it is: of two directions, the one whose filter it passes.
    fileprivate func history(
        _ account: Identifier, of frame: Frame
    ) throws(Failure) -> HistoryRow {
        var found: HistoryRow?
        var verdict = Failure.notFound
        try scanRaw(.history(account, frame.session, frame.epoch)) {
            (row, value) throws(Failure) in
            if verdict == .notFound { verdict = .auth }
            do throws(Failure) {
                let record = try HistoryRecord(decoding: sealer.open(value, for: row))
                guard let place = row.historyPlace else { throw .corrupt(.record) }
                if try frame.isFiltered(by: record.filterKey) {
                    found = HistoryRow(place: place, record: record)
                }
            } catch {
                // It may be the other direction's.
                verdict = error
            }
            return found == nil
        }
        guard let found else { throw verdict }
        return found
    }
}

/// One direction of an epoch of a session.
package struct HistoryPlace: Equatable {
    package let session: Identifier
    package let epoch: UInt32
    package let direction: History.Direction

    package init(session: Identifier, epoch: UInt32, direction: History.Direction) {
        self.session = session
        self.epoch = epoch
        self.direction = direction
    }
}

package struct HistoryRow {
    package let place: HistoryPlace
    package let record: HistoryRecord
}

package struct HistoryMessage {
    package let row: HistoryRow
    package let index: UInt32
    /// nil: no message, not even an empty one.
    package let message: Bytes?
    /// Where the message lies.
    private let text: SecretBuffer

    fileprivate init(_ row: HistoryRow, _ frame: Frame, _ text: SecretBuffer) {
        self.row = row
        index = frame.index
        self.text = text
        message = try? frame.application(text.bytes)
    }
}

/// Chains of history at the messages that were opened last, so that who reads on walks on. Nothing is in them that is not
/// in the store.
final class HistoryChains {
    private static let capacity = 4

    private struct Entry {
        /// The chain key that it begins with.
        let start: SecretBuffer
        let chain: Chain
    }
    private let lock = Lock()
    /// The last one used stands last.
    private var entries: [Entry] = []

    /// A chain of `record` that stands at `index` at most; nobody else has it.
    func take(_ record: HistoryRecord, before index: UInt32) throws(Failure) -> Chain {
        let kept = try lock.withLock { () throws(Failure) -> Chain? in
            let place = entries.firstIndex {
                Seal.sameSecret($0.start.bytes, record.chainKey) && $0.chain.index <= index
            }
            return place.map { entries.remove(at: $0).chain }
        }
        if let kept { return kept }
        return try Chain(key: record.chainKey, index: record.first)
    }

    func keep(_ chain: Chain, of record: HistoryRecord) throws(Failure) {
        let entry = Entry(start: try SecretBuffer(copying: record.chainKey), chain: chain)
        try lock.withLock {
            entries.removeAll { Seal.sameSecret($0.start.bytes, record.chainKey) }
            if entries.count == Self.capacity { entries.removeFirst() }
            entries.append(entry)
        }
    }

    func forgetAll() { try? lock.withLock { entries = [] } }

    /// The same in a forked child: see `Reservations.abandon`.
    func abandon() {
        if !lock.tryLock({ entries = [] }) { _ = Unmanaged.passRetained(self) }
    }
}
