package import PawlCore
package import PawlCrypto
internal import PawlStore

/// The outbox as rows. An item is a payload, which never changes, and a state in its lane; a row of the index
/// says when a lane can be taken from, so that taking costs what is taken and not what is stored.
extension RowKey {
    static func payload(_ seq: UInt64) -> RowKey { RowKey(.payload).appending(seq) }

    static func items(of lane: OutboxLane) -> RowKey { RowKey(.item).appending(lane) }

    static func item(_ lane: OutboxLane, _ seq: UInt64) -> RowKey {
        items(of: lane).appending(seq)
    }

    static func ready(_ lane: OutboxLane, _ front: LaneChange.Front) -> RowKey {
        RowKey(.ready).appending(front.time.ordered).appending(front.seq).appending(lane)
    }

    private consuming func appending(_ lane: OutboxLane) -> RowKey {
        appending(lane.kind.rawValue).appending(lane.id)
    }

    fileprivate var lane: OutboxLane? {
        withBytes { bytes in
            var reader = ByteReader(Bytes(rebasing: bytes.dropFirst()))
            return (try? reader.take(OutboxLane.size)).flatMap { try? OutboxLane(decoding: $0) }
        }
    }

    fileprivate var seq: UInt64? {
        withBytes { bytes in
            guard bytes.count == 1 + OutboxLane.size + 8 else { return nil }
            return UInt64(
                bigEndian: bytes.loadUnaligned(
                    fromByteOffset: 1 + OutboxLane.size, as: UInt64.self))
        }
    }

    /// nil: of a lane that this Pawl does not know.
    fileprivate var ready: (time: Int64, lane: OutboxLane)? {
        withBytes { bytes in
            var reader = ByteReader(Bytes(rebasing: bytes.dropFirst()))
            guard let time = try? reader.ordered(), (try? reader.take(8)) != nil,
                let lane = try? OutboxLane(decoding: reader.rest())
            else { return nil }
            return (time, lane)
        }
    }
}

/// What one call does to the outbox.
struct OutboxChange {
    struct Lane {
        var change = LaneChange()
        /// The item at the front as it is stored, if this call has read it.
        var stored: LaneChange.Front?
        /// The row of the index that led here and is to be written anew.
        var met: RowKey?
    }
    var lanes: [OutboxLane: Lane] = [:]
    /// The number of the last item, if this call drew one.
    var ticket: UInt64?
    /// Whether an item can be taken later because of this call.
    var setsTimes = false
}

struct ReadyLane {
    let row: RowKey
    let time: Int64
    let lane: OutboxLane
}

extension Transaction {
    // MARK: Clocks

    /// Frees what is lent, or put off, for longer than `Store.leaseLimit`, by a clock that was ahead.
    func freeFarItems(_ now: Int64) throws(Failure) {
        let latest = Backoff.after(now, Store.leaseLimit)
        try scanRaw(RowKey(.item)) { (row, value) throws(Failure) in
            guard let lane = row.lane, let seq = row.seq,
                var state = try? itemState(value, at: row), state.free > latest
            else { return true }
            state.release()
            try change(lane, seq, to: state)
            return true
        }
    }

    // MARK: Adding

    /// Puts an item into the outbox and answers its number.
    package func enqueue(_ item: OutboxItem) throws(Failure) -> UInt64 {
        let seq = try nextTicket()
        try put(.payload(seq), item.encoded(created: clock.now()))
        putMark(.item(item.lane, seq))
        outbox.lanes[item.lane, default: .init()].change.add(seq)
        return seq
    }

    /// Draws a number.
    func nextTicket() throws(Failure) -> UInt64 {
        let last = try lastTicket()
        guard last < UInt64.max else { throw .limit(.counter) }
        outbox.ticket = last + 1
        return last + 1
    }

    /// The number of the last item that there ever was.
    func lastTicket() throws(Failure) -> UInt64 {
        if let ticket = outbox.ticket { return ticket }
        do throws(Failure) {
            guard let buffer = try get(RowKey(.ticket)) else { return try ticketAfterLoss() }
            var reader = ByteReader(buffer.bytes)
            let ticket = try reader.integer(UInt64.self)
            try reader.finish()
            return ticket
        } catch {
            guard error == .corrupt(.record) else { throw error }
            return try ticketAfterLoss()
        }
    }

    /// Where to go on when the number is damaged or gone: a leap clears the numbers of items that are no
    /// longer here.
    private func ticketAfterLoss() throws(Failure) -> UInt64 {
        var highest: UInt64 = 0
        for kind in [RowKind.item, .queued] {
            try scanRaw(RowKey(kind)) { (row, _) in
                highest = max(highest, row.number)
                return true
            }
        }
        guard highest > 0 else { return 0 }
        let (leap, overflow) = highest.addingReportingOverflow(1 << 32)
        return overflow ? UInt64.max : leap
    }

    // MARK: Looking

    /// The lane that can be taken from first, or the next one after a row of the index.
    func firstReady(after: RowKey? = nil) throws(Failure) -> ReadyLane? {
        try readyLanes(after: after, limit: 1).first
    }

    /// The same of more, in the order of their times.
    func readyLanes(
        after: RowKey?, limit: Int, now: Int64 = Int64.max
    ) throws(Failure) -> [ReadyLane] {
        var lanes: [ReadyLane] = []
        try scanRaw(RowKey(.ready), after: after) { (row, _) throws(Failure) in
            guard let (time, lane) = row.ready else { return true }
            guard now >= time else { return false }
            lanes.append(ReadyLane(row: row, time: time, lane: lane))
            return lanes.count < limit
        }
        return lanes
    }

    /// At most `limit` stored items from the front of a lane, or after `after`, up to the first that cannot be taken.
    func freeItems(
        _ lane: OutboxLane, after: UInt64?, limit: Int, now: Int64
    ) throws(Failure) -> [LaneChange.Front] {
        var found: [LaneChange.Front] = []
        let start = after.map { RowKey.item(lane, $0) }
        try scanRaw(.items(of: lane), after: start) { (row, value) throws(Failure) in
            guard let seq = row.seq else { return true }
            let state = try itemState(value, at: row)
            guard state.canBeTaken(now: now) else { return false }
            found.append(LaneChange.Front(seq: seq, state: state))
            return found.count < limit
        }
        return found
    }

    /// Whether a lane has no item.
    func isEmpty(_ lane: OutboxLane) throws(Failure) -> Bool {
        var isEmpty = true
        try scanRaw(.items(of: lane)) { (row, _) in
            isEmpty = row.seq == nil
            return isEmpty
        }
        return isEmpty
    }

    /// A new one is a mark. A damaged state counts as new: the item itself is elsewhere.
    func itemState(_ value: Bytes, at row: RowKey) throws(Failure) -> ItemState {
        guard !Sealer.isMark(value) else { return ItemState() }
        do throws(Failure) {
            return try ItemState(decoding: open(value, at: row))
        } catch {
            guard error == .corrupt(.record) else { throw error }
            return ItemState()
        }
    }

    /// Removes all items of an account, those of sessions included that are closed. A damaged one no longer says
    /// whose it is.
    func dropItems(of account: Identifier) throws(Failure) {
        try scanRaw(RowKey(.payload)) { (row, value) throws(Failure) in
            guard let buffer = try? sealer.open(value, for: row),
                let item = try? OutboxItem(decoding: buffer), item.account == account
            else { return true }
            delete(row)
            delete(.item(item.lane, row.number))
            outbox.lanes[item.lane, default: .init()].change.remove(row.number)
            return true
        }
    }

    // MARK: Concluding

    /// Turns what happened to lanes into rows of the index and answers the earliest new time.
    func concludeOutbox() throws(Failure) -> Int64? {
        if let ticket = outbox.ticket {
            try withUnsafeBytes(of: ticket.littleEndian) { (bytes) throws(Failure) in
                try put(RowKey(.ticket), bytes)
            }
        }
        var earliest: Int64?
        for (lane, touched) in outbox.lanes {
            let (stored, front) = try fronts(of: lane, touched)
            var before = stored.map { RowKey.ready(lane, $0) }
            let after = front.map { RowKey.ready(lane, $0) }
            if let met = touched.met {
                delete(met)
                if met != before, let before { delete(before) }
                before = nil
            }
            guard before != after else { continue }
            if let before { delete(before) }
            guard let front, let after else { continue }
            putMark(after)
            earliest = min(earliest ?? front.time, front.time)
        }
        return earliest
    }

    /// What is at the front of a lane, and what is there after this call.
    private func fronts(
        of lane: OutboxLane, _ touched: OutboxChange.Lane
    ) throws(Failure) -> (stored: LaneChange.Front?, after: LaneChange.Front?) {
        var stored = touched.stored
        if let stored, let after = touched.change.after(stored) { return (stored, after) }
        var after: LaneChange.Front?
        try scanRaw(.items(of: lane)) { (row, value) throws(Failure) in
            guard let seq = row.seq, stored == nil || !touched.change.removes(seq) else {
                return true
            }
            let item = LaneChange.Front(seq: seq, state: try itemState(value, at: row))
            if stored == nil { stored = item }
            after = touched.change.after(item)
            return after == nil
        }
        return (stored, after ?? touched.change.firstAdded)
    }
}
