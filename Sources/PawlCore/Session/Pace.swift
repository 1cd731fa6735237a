internal import PawlCrypto

/// When a session is rekeyed by itself, and how its messages wait for it. What the host chose, and what is counted for it
/// since the epoch began.
///
/// Layout (little endian): messages 4, bytes 8, interval 8, is perfect 1, queue 4, begun 8, sent bytes 8, next epoch 4, queued 4,
/// nudged 8, window 8, answers 4.
package struct Pace {
    /// 0: never for that reason; times in nanoseconds.
    package struct Limits: Equatable {
        package var messages: UInt32 = 0
        package var bytes: UInt64 = 0
        package var interval: Int64 = 0
        /// Each message under an epoch that began after the one before it was sent.
        package var isPerfect = false
        /// How many messages may wait then; 0: as many as `queueStandard`.
        package var queue: UInt32 = 0

        package init() {}

        package init(
            messages: UInt32, bytes: UInt64, interval: Int64, isPerfect: Bool, queue: UInt32
        ) {
            self.messages = messages
            self.bytes = bytes
            self.interval = interval
            self.isPerfect = isPerfect
            self.queue = queue
        }
    }

    package static let queueStandard: UInt32 = 64
    package static let queueCeiling: UInt32 = 4_096
    /// New offers of the peer's that are answered in one second: more would be work for nothing.
    package static let answerLimit: UInt32 = 4_096
    /// Between two empty messages that answer what is over, in nanoseconds.
    package static let nudgeInterval: Int64 = 1_000_000_000
    /// The first wait for an answer, and the longest.
    package static let firstRetry: Int64 = 200_000_000
    package static let lastRetry: Int64 = 600_000_000_000
    /// Before looking again whether a frame has left.
    package static let absence: Int64 = 10_000_000_000
    static let size = 4 + 8 + 8 + 1 + 4 + 8 + 8 + 4 + 4 + 8 + 8 + 4

    package var limits = Limits()
    /// When the epoch was committed, in nanoseconds.
    package private(set) var begun: Int64 = 0
    package var sentBytes: UInt64 = 0
    /// The first epoch in which a message may leave, in perfect mode.
    package var nextEpoch: UInt32 = 0
    package var queued: UInt32 = 0
    private var nudged = Int64.min
    private var window = Int64.min
    private var answers: UInt32 = 0

    package init() {}

    package var hasRoom: Bool {
        queued < (limits.queue == 0 ? Self.queueStandard : limits.queue)
    }

    /// An epoch has begun.
    package mutating func begin(now: Int64) {
        begun = now
        sentBytes = 0
    }

    /// An epoch cannot have begun later than now: the clock was ahead.
    package mutating func distrust(now: Int64) { begun = min(begun, now) }

    /// A message left that waits for no other in its epoch.
    package mutating func wasSent(in epoch: UInt32) {
        nextEpoch = max(nextEpoch, epoch < UInt32.max ? epoch + 1 : epoch)
    }

    /// Whether the epoch is over, by what was sent in it. `index`: messages.
    package func isOver(index: UInt32) -> Bool {
        (limits.messages > 0 && index >= limits.messages)
            || (limits.bytes > 0 && sentBytes >= limits.bytes)
    }

    /// How many of `count` messages may follow in this epoch; all of them when it is over and the next one does not come.
    package func room(at index: UInt32, _ count: UInt32) -> UInt32 {
        limits.messages > index ? min(count, limits.messages - index) : count
    }

    /// When the epoch is over by its time.
    package var end: Int64? {
        limits.interval > 0 ? Backoff.after(begun, limits.interval) : nil
    }

    /// Whether an empty message may leave now.
    package mutating func mayNudge(now: Int64) -> Bool {
        let since = now.subtractingSaturated(nudged)
        guard nudged == .min || since < 0 || since >= Self.nudgeInterval else { return false }
        nudged = now
        return true
    }

    /// The session is closed: what was counted counts no more.
    mutating func forget() {
        limits = Limits()
        nudged = .min
        window = .min
        answers = 0
    }

    /// Whether a closed session may say so now: after ever longer times, as the peer may have closed it, too, and answer
    /// in the same way.
    package mutating func maySayClosed(now: Int64) -> Bool {
        let since = now.subtractingSaturated(nudged)
        let interval = Self.nudgeInterval << Int64(min(max(answers, 1) - 1, 30))
        guard nudged == .min || since < 0 || since >= interval else { return false }
        nudged = now
        answers = answers < UInt32.max ? answers + 1 : answers
        return true
    }

    /// Whether a new offer may be answered now.
    package func mayAnswer(now: Int64) -> Bool {
        !isInWindow(now) || answers < Self.answerLimit
    }

    package mutating func hasAnswered(now: Int64) {
        if !isInWindow(now) {
            window = now
            answers = 0
        }
        answers += 1
    }

    /// Milliseconds until an offer that was refused may come again.
    package func pause(now: Int64) -> UInt32 {
        let left = window.addingSaturated(Backoff.second).subtractingSaturated(now)
        return UInt32(min(max(left / 1_000_000, 0), 1_000)) + 1
    }

    private func isInWindow(_ now: Int64) -> Bool {
        guard window != .min else { return false }
        let since = now.subtractingSaturated(window)
        return since >= 0 && since < Backoff.second
    }

    // MARK: Bytes

    func write(to writer: inout ByteWriter) {
        writer.integer(limits.messages)
        writer.integer(limits.bytes)
        writer.integer(limits.interval)
        writer.integer(UInt8(limits.isPerfect ? 1 : 0))
        writer.integer(limits.queue)
        writer.integer(begun)
        writer.integer(sentBytes)
        writer.integer(nextEpoch)
        writer.integer(queued)
        writer.integer(nudged)
        writer.integer(window)
        writer.integer(answers)
    }

    init(_ reader: inout ByteReader) throws(Failure) {
        limits.messages = try reader.integer(UInt32.self)
        limits.bytes = try reader.integer(UInt64.self)
        limits.interval = try reader.integer(Int64.self)
        limits.isPerfect = try reader.integer(UInt8.self) != 0
        limits.queue = try reader.integer(UInt32.self)
        begun = try reader.integer(Int64.self)
        sentBytes = try reader.integer(UInt64.self)
        nextEpoch = try reader.integer(UInt32.self)
        queued = try reader.integer(UInt32.self)
        nudged = try reader.integer(Int64.self)
        window = try reader.integer(Int64.self)
        answers = try reader.integer(UInt32.self)
    }
}
