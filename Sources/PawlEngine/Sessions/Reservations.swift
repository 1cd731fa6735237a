internal import CPlatform
internal import PawlCore
package import PawlCrypto

/// Indices that this handle and its batches may use: taken out of the stored chains before, so that using one
/// touches no storage. The keys inside live here and nowhere else.
package final class Reservations {
    /// What a message is sent with, apart from its key.
    struct Ticket {
        let index: UInt32
        let terms: Terms
    }

    /// What all messages of a reservation have in common.
    final class Terms {
        let half: SessionHalf
        let epoch: UInt32
        let previousLength: UInt32
        let lane: UInt64
        let filterKey: SecretBuffer
        let welcome: SecretBuffer?

        init(_ session: Session, lane: UInt64) throws(Failure) {
            half = session.half
            epoch = session.epoch
            previousLength = session.previousLength
            self.lane = lane
            filterKey = try SecretBuffer(copying: session.outgoingFilter)
            welcome = session.welcome
        }

        init(withoutWelcome other: Terms) {
            half = other.half
            epoch = other.epoch
            previousLength = other.previousLength
            lane = other.lane
            filterKey = other.filterKey
            welcome = nil
        }

        func envelope(_ index: UInt32) -> Frame.Envelope {
            Frame.Envelope(
                session: half, epoch: epoch, index: index, previousLength: previousLength,
                lane: lane, filterKey: filterKey.bytes, welcome: welcome?.bytes)
        }
    }

    /// A reservation: chain keys from `chain.index` up to `end`.
    final class Entry {
        let session: Identifier
        let chain: Chain
        let end: UInt32
        private(set) var terms: Terms
        let size: UInt32
        let slot: Int
        let begun: Int64
        var checked: Int64
        var wasUsed = true
        var bytes: UInt64 = 0

        init(_ session: Session, _ place: Place, _ terms: Terms) {
            self.session = session.id
            chain = place.chain
            end = session.sending.index
            self.terms = terms
            size = place.size
            slot = place.slot
            begun = platform_monotonic_ns()
            checked = begun
        }

        /// Whether its keys are kept, instead of made once more when they are used.
        var isAhead: Bool { chain.room > 1 }

        var isUsedUp: Bool { chain.index >= end }

        func dropWelcome() {
            if terms.welcome != nil { terms = Terms(withoutWelcome: terms) }
        }
    }

    /// What a reservation did not use, and what it was used for, in memory of its own: the slot it came from may be taken by now.
    struct Rest {
        let session: Identifier
        let chain: Chain
        let end: UInt32
        let epoch: UInt32
        /// What was sent with it.
        let bytes: UInt64

        /// nil: there is nothing to say.
        fileprivate init?(_ entry: Entry) {
            guard !entry.isUsedUp || entry.bytes > 0, let chain = try? entry.chain.copy() else {
                return nil
            }
            session = entry.session
            self.chain = chain
            end = entry.end
            epoch = entry.terms.epoch
            bytes = entry.bytes
        }
    }

    /// Where a new reservation may be made, and whose place it takes.
    struct Place {
        let slot: Int
        let size: UInt32
        /// Begins when the indices are taken out of their session.
        let chain: Chain
        /// What was here before, of this session or another: to be given back.
        let evicted: Rest?
    }

    /// Sessions with keys in memory at once: 1,024 take 96 KiB.
    private static let capacity = 1_024
    private static let sizes: ClosedRange<UInt32> = 16...512
    /// Reservations with their keys in memory at once: 64 of 512 take 2 MiB.
    private static let aheadCapacity = 64
    /// How long a reservation is used without looking whether its session is still what it was.
    private static let trust: Int64 = 1_000_000_000

    private let lock = Lock()
    /// Held while one is made, so that two threads do not make two of one session.
    let making = Lock()
    private var arena: KeyArena?
    private var entries: [Identifier: Entry] = [:]
    /// For whom a place was found last; nil: forgotten since.
    private var latest: Identifier?
    private var slots: [Identifier?] = []
    private var hand = 0
    private let laneKey: SecretBuffer

    package init() throws(Failure) {
        laneKey = try SecretBuffer(count: Filter.keySize)
        fillRandom(laneKey.mutableBytes)
    }

    /// Random for each opening of a store and session; drawn from a key, so that nothing has to be remembered.
    func lane(_ session: Identifier) throws(Failure) -> UInt64 {
        var lane: UInt64 = 0
        try session.withBytes { (id) throws(Failure) in
            lane = try Filter.hash(id, key: laneKey.bytes)
        }
        return lane
    }

    enum Answer {
        case ticket(Ticket)
        /// Look whether the session is still what it was, then `confirm`.
        case stale
        case none
    }

    /// The next index of a session, for a message of `bytes`. Its key goes to `key` (32 bytes), and is wiped here.
    func next(
        _ session: Identifier, bytes: Int, into key: UnsafeMutableRawBufferPointer
    ) throws(Failure) -> Answer {
        try lock.withLock { () throws(Failure) in
            guard let entry = entries[session], !entry.isUsedUp else { return .none }
            guard platform_monotonic_ns() &- entry.checked < Self.trust else { return .stale }
            key.copyMemory(from: try entry.chain.messageKey())
            let index = entry.chain.index
            try entry.chain.advance()
            entry.wasUsed = true
            entry.bytes &+= UInt64(bytes)
            return .ticket(Ticket(index: index, terms: entry.terms))
        }
    }

    func has(_ session: Identifier) -> Bool {
        (try? lock.withLock { entries[session].map { !$0.isUsedUp } }) == true
    }

    /// The session is still what it was; if it has another epoch, what is left here is skipped.
    func confirm(_ session: Identifier, epoch: UInt32) {
        try? lock.withLock {
            guard let entry = entries[session] else { return }
            guard entry.terms.epoch == epoch else { return _ = remove(session) }
            entry.checked = platform_monotonic_ns()
        }
    }

    /// The peer has answered.
    func dropWelcome(_ session: Identifier) {
        try? lock.withLock { entries[session]?.dropWelcome() }
    }

    /// Takes a session's reservation out, to be given back.
    func take(_ session: Identifier) -> Rest? {
        let rest: Rest?? = try? lock.withLock { remove(session) }
        return rest ?? nil
    }

    /// The same when the session is not what it was: one that is being made does not count, either.
    @discardableResult
    func forget(_ session: Identifier) -> Rest? {
        let rest: Rest?? = try? lock.withLock {
            if latest == session { latest = nil }
            return remove(session)
        }
        return rest ?? nil
    }

    /// The session has come to `epoch`: what is left of one before is skipped, and one that is being made may be of that.
    func skip(_ session: Identifier, before epoch: UInt32) {
        try? lock.withLock {
            if let entry = entries[session], entry.terms.epoch >= epoch { return }
            if latest == session { latest = nil }
            _ = remove(session)
        }
    }

    private func remove(_ session: Identifier) -> Rest? {
        guard let entry = entries.removeValue(forKey: session) else { return nil }
        slots[entry.slot] = nil
        return Rest(entry)
    }

    /// Takes all out, and wipes the keys.
    func takeAll() -> [Rest] {
        let rests: [Rest]? = try? lock.withLock {
            let rests = entries.values.compactMap { Rest($0) }
            entries = [:]
            slots = []
            hand = 0
            arena = nil
            return rests
        }
        return rests ?? []
    }

    /// The same in a forked child. What a thread of the parent was changing stays as it was then, for ever: nobody may
    /// look at it, nor free it.
    func abandon() {
        arena?.zero()
        let isFree = lock.tryLock {
            entries = [:]
            arena = nil
        }
        if !isFree { _ = Unmanaged.passRetained(self) }
    }

    /// Finds room for a reservation. The caller holds `making`.
    func place(for session: Identifier) throws(Failure) -> Place {
        try lock.withLock { () throws(Failure) in
            let arena = if let arena { arena } else { try KeyArena(keys: 3 * Self.capacity) }
            self.arena = arena
            latest = session
            var size = Self.sizes.lowerBound
            var evicted: Rest?
            var chain: Chain?
            let slot: Int
            if let last = entries.removeValue(forKey: session) {
                // Used up, or it would be used.
                if platform_monotonic_ns() &- last.begun < Self.trust {
                    size = min(last.size * 2, Self.sizes.upperBound)
                }
                slot = last.slot
                evicted = Rest(last)
                if last.chain.room >= size { chain = last.chain }
            } else if slots.count < Self.capacity {
                slots.append(nil)
                slot = slots.count - 1
            } else {
                slot = sweep()
                if let session = slots[slot], let entry = entries.removeValue(forKey: session) {
                    evicted = Rest(entry)
                }
            }
            slots[slot] = nil
            if chain == nil {
                var ahead = 0
                for entry in entries.values where entry.isAhead { ahead += 1 }
                let isAhead = size > Self.sizes.lowerBound && ahead < Self.aheadCapacity
                chain =
                    isAhead
                    ? try Chain(room: Int(size))
                    : try Chain(in: arena.keys(3 * slot, count: 3), ownedBy: arena)
            }
            guard let chain else { throw .internal }
            return Place(slot: slot, size: size, chain: chain, evicted: evicted)
        }
    }

    /// A slot that was not used since the hand passed it last.
    private func sweep() -> Int {
        while true {
            hand = (hand + 1) % Self.capacity
            guard let session = slots[hand], let entry = entries[session] else { return hand }
            guard entry.wasUsed else { return hand }
            entry.wasUsed = false
        }
    }

    /// What was reserved for a session counts from now on, unless it was forgotten. The caller holds `making`.
    func insert(_ session: Session, at place: Place, lane: UInt64) throws(Failure) {
        let terms = try Terms(session, lane: lane)
        try lock.withLock { () throws(Failure) in
            // Taken out and wiped with all others in the meantime: the store is being closed.
            guard slots.indices.contains(place.slot) else { throw .closed(.closed) }
            guard latest == session.id else { return }
            entries[session.id] = Entry(session, place, terms)
            slots[place.slot] = session.id
        }
    }
}
