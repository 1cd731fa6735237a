internal import PawlCore
internal import PawlCrypto
internal import PawlStore

/// Where history lies in the store: found by what a frame says in the clear.
extension RowKey {
    static func history(
        _ account: Identifier, _ session: SessionHalf, _ epoch: UInt32
    ) -> RowKey {
        let half = session.withBytes { of(.history, account).appending($0) }
        return withUnsafeBytes(of: epoch.bigEndian) { half.appending($0) }
    }

    static func history(_ account: Identifier, _ place: HistoryPlace) -> RowKey {
        let half = history(account, SessionHalf(place.session), place.epoch)
        let session = place.session.withBytes { half.appending($0) }
        return withUnsafeBytes(of: place.direction.rawValue) { session.appending($0) }
    }

    var historyPlace: HistoryPlace? {
        guard let session = identifier(at: Identifier.size + 12) else { return nil }
        var place: HistoryPlace?
        withBytes { key in
            let start = 1 + Identifier.size + 8
            guard key.count == start + 4 + Identifier.size + 1,
                let direction = History.Direction(rawValue: key[key.count - 1])
            else { return }
            place = HistoryPlace(
                session: session,
                epoch: UInt32(
                    bigEndian: key.loadUnaligned(fromByteOffset: start, as: UInt32.self)),
                direction: direction)
        }
        return place
    }
}

extension Transaction {
    /// Writes what became of a session's epochs. What began before history was kept is not in it.
    func putHistory(_ changes: [History.Change], of session: Session) throws(Failure) {
        for change in changes {
            let row = RowKey.history(
                session.account,
                HistoryPlace(
                    session: session.id, epoch: change.epoch, direction: change.direction))
            if let record = try HistoryRecord.encode(change, of: session) {
                put(row, record)
                if change.isClosed {
                    try noteClosed(row, HistoryRecord(decoding: record), of: session.account)
                }
            } else if var record = try readable(row, HistoryRecord.init), !record.isClosed {
                record.apply(change)
                try put(row, record.encoded())
                if record.isClosed { noteClosed(row, record, of: session.account) }
            }
        }
    }

    /// A session is erased: whatever it was about is over.
    func closeHistory(of id: Identifier) throws(Failure) {
        let session = try readable(.session(id)) { (buffer) throws(Failure) in
            try Session(decoding: buffer, id: id)
        }
        if let session { try putHistory(session.ending, of: session) }
    }

    /// What is damaged, or a newer Pawl's, is left as it is.
    func readable<R>(
        _ row: RowKey, _ decode: (SecretBuffer) throws(Failure) -> R
    ) throws(Failure) -> R? {
        do throws(Failure) {
            guard let buffer = try get(row) else { return nil }
            return try decode(buffer)
        } catch {
            switch error {
            case .corrupt, .version: return nil
            default: throw error
            }
        }
    }
}
