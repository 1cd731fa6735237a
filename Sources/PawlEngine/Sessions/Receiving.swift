internal import PawlCore
package import PawlCrypto
internal import PawlStore

/// Messages in: find, verify, commit.
extension Store {
    /// What a frame gave.
    package struct Received {
        package var failure: Failure?
        package var session: Identifier?
        package var epoch: UInt32 = 0
        package var index: UInt32 = 0
        package var isAgain = false
        package var isNewSession = false
        package var isUnaccepted = false
        /// nil: no message, not even an empty one.
        package private(set) var message: Bytes?
        /// Where the message lies.
        private var text: SecretBuffer?
        /// The peer has the session that this side started.
        var isAnswer = false

        /// Refused.
        package init(_ failure: Failure) { self.failure = failure }

        init(_ session: Session, _ frame: Frame, _ text: SecretBuffer, isAgain: Bool = false) {
            self.session = session.id
            epoch = frame.epoch
            index = frame.index
            self.isAgain = isAgain
            self.text = text
            message = isAgain ? text.bytes : try? frame.application(text.bytes)
        }
    }

    /// Receives frames for an account in one transaction, in their order.
    package func receive(
        _ account: Identifier, _ frames: [(bytes: Bytes, keeps: Bool)]
    ) throws(Failure) -> [Received] {
        let received = try transact(.write) { (transaction) throws(Failure) in
            let inbox = try Inbox(account, transaction, now: now())
            var received: [Received] = []
            for frame in frames { received.append(try inbox.receive(frame.bytes, frame.keeps)) }
            try inbox.finish()
            return received
        }
        for one in received {
            if one.isAnswer, let session = one.session {
                shared.reservations.dropWelcome(session)
            }
        }
        return received
    }

    /// Messages kept of a session, at most `limit`, and no more than `bytes` but one.
    package func kept(
        _ session: Identifier, limit: Int, bytes: Int
    ) throws(Failure) -> [KeptRow] {
        try transact(.read) { (transaction) throws(Failure) in
            var rows: [KeptRow] = []
            var size = 0
            try transaction.scanRaw(.of(.kept, session)) { (row, value) throws(Failure) in
                guard rows.isEmpty || size + value.count <= bytes else { return false }
                // A damaged one is left to verify.
                guard let buffer = try? transaction.sealer.open(value, for: row),
                    let record = try? KeptRecord(decoding: buffer)
                else { return true }
                size += value.count
                rows.append(KeptRow(session: session, position: row.number, record: record))
                return rows.count < limit
            }
            return rows
        }
    }

    package func forget(
        _ session: Identifier, epoch: UInt32, index: UInt32
    ) throws(Failure) {
        try transact(.write) { (transaction) throws(Failure) in
            let row = RowKey.kept(session, epoch, index)
            var isThere = false
            try transaction.getRaw(row) { _ in isThere = true }
            guard isThere else { return }
            transaction.delete(row)
            try transaction.scheduleCheckpoint()
        }
    }
}

package struct KeptRow {
    package let session: Identifier
    package let epoch: UInt32
    package let index: UInt32
    package var message: Bytes { record.message }
    private let record: KeptRecord

    fileprivate init(session: Identifier, position: UInt64, record: KeptRecord) {
        self.session = session
        epoch = UInt32(truncatingIfNeeded: position >> 32)
        index = UInt32(truncatingIfNeeded: position)
        self.record = record
    }
}
