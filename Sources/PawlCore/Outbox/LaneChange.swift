package import PawlCrypto

/// How an item goes through the outbox.
///
///                   ┌──────── its lease ends ────────┐
///                   ▼                                │
///     enqueue ──► free ──────────── take ─────────► lent ── ack, answer ──► gone
///                   ▲                                │
///                   └── retry time ── failed ◄─ fail ┘
///
/// All four states are one number, the time from which it can be taken; ack and fail may come in any. A lane
/// hands out what is at its front: items in order, up to the first that cannot be taken.
///
/// Layout (little endian): format 1, how often it was handed out 4, failures 4, free from 8.
package struct ItemState: Equatable {
    package private(set) var attempts: UInt32 = 0
    package private(set) var failures: UInt32 = 0
    /// Before all times: at once.
    package private(set) var free = Int64.min

    package static let size = 17
    private static let format: UInt8 = 1

    package init() {}

    package init(decoding buffer: SecretBuffer) throws(Failure) {
        var reader = ByteReader(buffer.bytes)
        try reader.format(Self.format)
        attempts = try reader.integer(UInt32.self)
        failures = try reader.integer(UInt32.self)
        free = try reader.integer(Int64.self)
        try reader.finish()
    }

    package func encoded() throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(count: Self.size)
        var writer = ByteWriter(buffer.mutableBytes)
        writer.integer(Self.format)
        writer.integer(attempts)
        writer.integer(failures)
        writer.integer(free)
        try writer.finish()
        return buffer
    }

    package func canBeTaken(now: Int64) -> Bool { now >= free }

    package mutating func release() { free = Int64.min }

    package mutating func lend(now: Int64, for lease: Int64) {
        attempts = attempts == UInt32.max ? attempts : attempts + 1
        free = Backoff.after(now, lease)
    }

    /// Whoever has it is still at work.
    package mutating func renew(now: Int64, for lease: Int64) {
        free = max(free, Backoff.after(now, lease))
    }

    /// `wait` 0: ever longer.
    package mutating func fail(now: Int64, wait: Int64, random: UInt64) {
        failures = failures == UInt32.max ? failures : failures + 1
        free = Backoff.after(
            now,
            wait > 0 ? wait : Backoff.wait(failures: failures, limit: Backoff.hour, random: random))
    }
}

/// What one call does to a lane, and what is at its front afterwards.
package struct LaneChange {
    package struct Front: Equatable {
        package let seq: UInt64
        package let state: ItemState
        /// When the lane can be taken from.
        package var time: Int64 { state.free }

        package init(seq: UInt64, state: ItemState) {
            self.seq = seq
            self.state = state
        }
    }

    private var added: UInt64?
    private var removed: Set<UInt64> = []
    private var changed: [UInt64: ItemState] = [:]

    package init() {}

    /// Items are added behind all that are there.
    package mutating func add(_ seq: UInt64) { added = min(added ?? seq, seq) }
    package mutating func remove(_ seq: UInt64) { removed.insert(seq) }
    package mutating func change(_ seq: UInt64, to state: ItemState) { changed[seq] = state }

    package func removes(_ seq: UInt64) -> Bool { removed.contains(seq) }

    /// A stored item as it is afterwards; nil: gone.
    package func after(_ stored: Front) -> Front? {
        guard !removed.contains(stored.seq) else { return nil }
        return Front(seq: stored.seq, state: changed[stored.seq] ?? stored.state)
    }

    /// The front of a lane that keeps none of its stored items.
    package var firstAdded: Front? { added.map { Front(seq: $0, state: ItemState()) } }
}
