internal import PawlCore
package import PawlCrypto
internal import PawlStore

/// The host's side of the outbox: take, ack, fail, answer. What a failure of the machine undoes of the first three
/// is merely handed out again.
extension Store {
    fileprivate static let leaseStandard: Int64 = 30 * Backoff.second
    static let leaseLimit: Int64 = 24 * Backoff.hour
    /// Of bodies handed out at once.
    private static let sizeLimit = 32 << 20

    package func takeItems(limit: Int, lease: Int64) throws(Failure) -> [ItemRow] {
        guard !isBatch else { throw .state(.batch) }
        guard (0...Self.leaseLimit).contains(lease) else { throw .misuse(.time) }
        defer { lookAgainForItems() }
        return try transact(.write, .relaxed) { (transaction) throws(Failure) in
            var taking = Taking(
                now: now(), lease: lease == 0 ? Self.leaseStandard : lease, limit: limit,
                sizeLimit: Self.sizeLimit)
            var after: RowKey?
            while !taking.isFull {
                let wanted = taking.left
                let lanes = try transaction.readyLanes(after: after, limit: wanted, now: taking.now)
                for ready in lanes where !taking.isFull {
                    try transaction.take(from: ready, &taking)
                }
                guard lanes.count == wanted else { break }
                after = lanes.last?.row
            }
            return taking.items
        }
    }

    /// All or none. Numbers whose items are gone are fine.
    package func acknowledge(_ seqs: some Sequence<UInt64>) throws(Failure) {
        defer { lookAgain() }
        try transact(.write, .relaxed) { (transaction) throws(Failure) in
            for seq in seqs {
                var lane = transaction.memory.takeLane(of: seq)
                if lane == nil, let item = try transaction.readableItem(seq) {
                    if item.lane.kind.isOfRequests {
                        try transaction.giveUp(seq, of: item.lane.id)
                    }
                    try transaction.giveUpBackup(item)
                    lane = item.lane
                }
                transaction.remove(seq, from: lane)
            }
        }
    }

    /// `retry` 0: ever later.
    package func failItem(_ seq: UInt64, retry: Int64) throws(Failure) {
        guard retry >= 0 else { throw .misuse(.time) }
        defer { lookAgainForItems() }
        try transact(.write, .relaxed) { (transaction) throws(Failure) in
            guard let item = try transaction.item(seq) else { return }
            var state = try transaction.state(of: item.lane, seq)
            state.fail(now: now(), wait: retry, random: randomNumber())
            try transaction.change(item.lane, seq, to: state)
        }
    }

    /// What is lent or put off comes back later, which a runner must know.
    private func lookAgainForItems() {
        lookAgain()
        shared.waiters.runner?.nudge()
    }

    package func answerRequest(_ seq: UInt64, body: Bytes) throws(Failure) {
        defer { lookAgain() }
        try transact(.write) { (transaction) throws(Failure) in
            guard let item = try transaction.item(seq) else { return }
            guard item.lane.kind.isOfRequests else { throw .misuse(.flags) }
            switch Request(rawValue: item.what) {
            case .package: try answerPackage(item, body: body, in: transaction)
            case .publish, .publishKeys, .readBack:
                try answerRotation(item, seq, body: body, in: transaction)
            case nil: throw .version
            }
            try transaction.settle(seq)
        }
    }
}

/// A take under way.
private struct Taking {
    let now: Int64
    let lease: Int64
    let limit: Int
    let sizeLimit: Int
    private(set) var items: [ItemRow] = []
    private var size = 0
    private(set) var isFull = false
    /// How many more, at most; at least one.
    var left: Int { max(limit - items.count, 1) }

    init(now: Int64, lease: Int64, limit: Int, sizeLimit: Int) {
        self.now = now
        self.lease = lease
        self.limit = limit
        self.sizeLimit = sizeLimit
    }

    /// False if it does not fit any more; the first always does.
    mutating func add(_ item: ItemRow) -> Bool {
        guard items.isEmpty || item.item.body.count <= sizeLimit - size else {
            isFull = true
            return false
        }
        items.append(item)
        size += item.item.body.count
        isFull = items.count >= limit || size >= sizeLimit
        return true
    }
}

extension Transaction {
    /// Hands out what is at the front of a lane.
    fileprivate func take(from ready: ReadyLane, _ taking: inout Taking) throws(Failure) {
        var last: UInt64?
        while !taking.isFull {
            let wanted = taking.left
            let fronts = try freeItems(ready.lane, after: last, limit: wanted, now: taking.now)
            if last == nil {
                // The index is wrong if this is what it spoke of.
                guard let first = fronts.first else { return meet(ready) }
                outbox.lanes[ready.lane, default: .init()].stored = first
            }
            for front in fronts {
                guard try take(front, from: ready, &taking) else { return }
            }
            guard fronts.count == wanted else { return }
            last = fronts.last?.seq
        }
    }

    /// Hands out an item; false if none that comes behind it can be.
    private func take(
        _ front: LaneChange.Front, from ready: ReadyLane, _ taking: inout Taking
    ) throws(Failure) -> Bool {
        let lane = ready.lane
        var state = front.state
        do throws(Failure) {
            guard let item = try payload(front.seq), item.lane == lane else {
                throw .corrupt(.record)
            }
            state.lend(now: taking.now, for: taking.lease)
            let row = ItemRow(
                seq: front.seq, attempts: front.state.attempts, lease: state.free, item: item)
            guard taking.add(row) else { return false }
            meet(ready)
            try change(lane, front.seq, to: state)
            memory.lent(front.seq, from: lane)
            return !taking.isFull
        } catch {
            meet(ready)
            switch error {
            case .corrupt:
                // It cannot be handed out and must not hold up its lane. What is left of it stays
                // for verify to name. What it asked for is asked for again.
                removeState(lane, front.seq)
                if lane.kind.isOfRequests { try giveUp(front.seq, of: lane.id) }
                if lane.kind == .backup, var machine = try readableBackup(of: lane.id) {
                    try step(lane.id, &machine, .requestsLost)
                }
                return true
            case .version:
                // A newer Pawl's, which can hand it out.
                state.fail(now: taking.now, wait: 0, random: randomNumber())
                try change(lane, front.seq, to: state)
                return false
            default: throw error
            }
        }
    }

    /// An item that is or was in the outbox; nil if it is settled.
    func item(_ seq: UInt64) throws(Failure) -> OutboxItem? {
        if let item = try payload(seq) { return item }
        guard seq > 0, try seq <= lastTicket() else { throw .notFound }
        return nil
    }

    /// nil, too, if it is damaged.
    fileprivate func readableItem(_ seq: UInt64) throws(Failure) -> OutboxItem? {
        do throws(Failure) {
            return try item(seq)
        } catch {
            guard error == .corrupt(.record) else { throw error }
            return nil
        }
    }

    private func payload(_ seq: UInt64) throws(Failure) -> OutboxItem? {
        guard let buffer = try get(.payload(seq)) else { return nil }
        return try OutboxItem(decoding: buffer)
    }

    fileprivate func state(of lane: OutboxLane, _ seq: UInt64) throws(Failure) -> ItemState {
        let row = RowKey.item(lane, seq)
        var state = ItemState()
        try getRaw(row) { (value) throws(Failure) in state = try itemState(value, at: row) }
        return state
    }

    /// An item that takes long stays with whoever has it.
    func renewLease(
        _ lane: OutboxLane, _ seq: UInt64, now: Int64
    ) throws(Failure) {
        var state = try state(of: lane, seq)
        guard state.free < Backoff.after(now, Store.leaseStandard / 2) else { return }
        state.renew(now: now, for: Store.leaseStandard)
        try change(lane, seq, to: state)
    }

    func change(
        _ lane: OutboxLane, _ seq: UInt64, to state: ItemState
    ) throws(Failure) {
        outbox.setsTimes = true
        try put(.item(lane, seq), state.encoded())
        outbox.lanes[lane, default: .init()].change.change(seq, to: state)
    }

    /// Settles the items of a lane whose counts `isOver` names; damaged ones, too.
    func dropItems(
        in lane: OutboxLane, where isOver: (UInt64) -> Bool
    ) throws(Failure) {
        var seqs: [UInt64] = []
        try scanRaw(.items(of: lane)) { (row, _) in
            seqs.append(row.number)
            return true
        }
        for seq in seqs {
            if let item = try readableItem(seq), !isOver(item.count) { continue }
            remove(seq, from: lane)
        }
    }

    func settle(_ seq: UInt64) throws(Failure) {
        remove(seq, from: try readableItem(seq)?.lane)
    }

    /// Removes an item. A damaged one no longer says which lane it is in; the lane drops it when it comes
    /// to its front.
    fileprivate func remove(_ seq: UInt64, from lane: OutboxLane?) {
        if let lane { removeState(lane, seq) }
        delete(.payload(seq))
    }

    private func removeState(_ lane: OutboxLane, _ seq: UInt64) {
        delete(.item(lane, seq))
        outbox.lanes[lane, default: .init()].change.remove(seq)
    }

    /// Has the row of the index that led to a lane written anew.
    private func meet(_ ready: ReadyLane) {
        outbox.lanes[ready.lane, default: .init()].met = ready.row
    }
}
