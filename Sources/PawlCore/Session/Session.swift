package import PawlCrypto

/// One side of a session: who the peer is, the epochs, and a chain for each direction of each.
///
///     start ─► awaiting answer ──message of the peer──► confirmed         (initiator; sends its welcome until then)
///     accept ─► answering ──message without welcome──► confirmed         (responder)
///
/// `Rekey` decides which epoch counts; here are its keys. The chain in which the peer sent before lives on until the peer
/// is heard under the epoch that counts: then the keys of what has not come are taken out, and the chain is gone.
///
///     receives under:   epoch - 1 (until the peer is heard under epoch)   epoch   epoch + 1 (while Answered)
///     sends under:      epoch
///
/// Which sessions of a peer may still be sent in is the peer's record, see `PeerRecord`; rows of their own hold the keys
/// of late messages. Protocol.md says what each part is derived from.
package final class Session {
    package enum Side: UInt8 {
        case initiator = 0
        case responder = 1

        package var other: Side { self == .initiator ? .responder : .initiator }
    }

    package static let indexLimit: UInt32 = 1 << 31
    /// What is above is for what the engines say to each other: a rekey is what helps then.
    package static let messageLimit: UInt32 = indexLimit - 1_024
    package static let gapLimit: UInt32 = 1 << 20
    /// Of one gap, and of a session in all.
    package static let skipLimit: UInt32 = 2_048
    package static let skippedLimit: UInt32 = 8_192
    /// Nanoseconds.
    package static let skippedLifetime: Int64 = 7 * 86_400_000_000_000
    package static let answerDeadline: Int64 = 86_400_000_000_000
    package static let endDelay: Int64 = 7 * 86_400_000_000_000
    /// While the host has not forgotten its kept messages.
    package static let endRetry: Int64 = 86_400_000_000_000

    package let id: Identifier
    package let side: Side
    package let suite: Suite
    package let account: Identifier
    /// Milliseconds, by the initiator's clock.
    package let created: Int64
    /// Of the package that an initiator used, in milliseconds.
    package let packageEnd: Int64
    /// Borrowed from this object.
    package let peer: Identity
    package private(set) var rekey: Rekey
    package var pace: Pace
    /// The end of what was sent in the epoch before.
    package private(set) var previousLength: UInt32
    /// At the end of the last reservation.
    package private(set) var sending: Chain
    package private(set) var receiving: Inbound
    /// Of the epoch before.
    package private(set) var previous: Inbound?
    /// Rows with keys of late messages.
    package var skipped: UInt32
    /// Whether the host was told that the two sides have parted.
    package var isReported: Bool
    /// What an initiator's messages carry until the peer answers.
    package private(set) var welcome: SecretBuffer?
    /// What its account's history has to note of this call; nil: none is kept.
    var history: History?
    let filters: Bytes
    private let owner: SecretBuffer

    package var epoch: UInt32 { rekey.epoch }
    /// Whether the peer can have heard of this side.
    package var hasSent: Bool { epoch > 0 || sending.index > 0 }

    /// What the peer sends in one epoch.
    package struct Inbound {
        package fileprivate(set) var chain: Chain
        package fileprivate(set) var lanes: Lanes

        init(_ chain: Chain, _ lanes: Lanes = Lanes()) {
            self.chain = chain
            self.lanes = lanes
        }
    }

    /// What changes in a session.
    struct State {
        let previousLength: UInt32
        let sending: Chain
        let receiving: Inbound
        var previous: Inbound?
        var skipped: UInt32 = 0
        var isReported = false
        let welcome: SecretBuffer?
        var pace = Pace()
        let rekey: Rekey
    }

    /// `fixed` and `filters` are borrowed from `owner`.
    init(
        _ id: Identifier, _ fixed: Fixed, _ state: State, filters: Bytes, owner: SecretBuffer
    ) {
        self.id = id
        side = fixed.side
        suite = fixed.suite
        account = fixed.account
        created = fixed.created
        packageEnd = fixed.packageEnd
        peer = fixed.peer
        previousLength = state.previousLength
        sending = state.sending
        receiving = state.receiving
        previous = state.previous
        skipped = state.skipped
        isReported = state.isReported
        welcome = state.welcome
        pace = state.pace
        rekey = state.rekey
        self.filters = filters
        self.owner = owner
    }

    /// The id ends differently on the two sides, which may live in one store.
    static func parties(
        _ id: Identifier, _ side: Side, _ suite: Suite
    ) throws(Failure) -> Round.Parties {
        let wire = try id.withBytes { (bytes) throws(Failure) in try SecretBuffer(copying: bytes) }
        wire.mutableBytes[Identifier.size - 1] &= 0xFE
        return Round.Parties(session: try Identifier(wire.bytes), side: side, suite: suite)
    }

    // MARK: Parts

    package struct Fixed {
        package let side: Side
        package let suite: Suite
        package let account: Identifier
        package let created: Int64
        package let packageEnd: Int64
        package let peer: Identity
    }
    package struct Derived {
        package let root: Bytes
        package let filters: Bytes
        package let sending: Chain
        package let receiving: Chain
    }

    /// A session at its beginning. `peer` and `filters` are copied.
    package convenience init(
        id: Identifier, _ fixed: Fixed, _ derived: Derived, welcome: SecretBuffer?
    ) throws(Failure) {
        let name = fixed.peer.name
        let owner = try SecretBuffer(count: 64 + 32 + name.count)
        var writer = ByteWriter(owner.mutableBytes)
        writer.append(fixed.peer.keys.signing)
        writer.append(fixed.peer.keys.agreement)
        writer.append(derived.filters)
        writer.append(name)
        try writer.finish()
        var reader = ByteReader(owner.bytes)
        let keys = try IdentityPublic(&reader)
        let filters = try reader.take(2 * Filter.keySize)
        let copied = try Fixed(
            side: fixed.side, suite: fixed.suite, account: fixed.account, created: fixed.created,
            packageEnd: fixed.packageEnd, peer: Identity(keys: keys, name: reader.rest()))
        let state = try State(
            previousLength: 0, sending: derived.sending, receiving: Inbound(derived.receiving),
            welcome: welcome,
            rekey: Rekey(Self.parties(id, fixed.side, fixed.suite), root: derived.root))
        self.init(id, copied, state, filters: filters, owner: owner)
    }

    // MARK: Both directions

    package var half: SessionHalf { SessionHalf(id) }

    /// The filter key of what this side sends.
    package var outgoingFilter: Bytes { filter(of: side) }
    var incomingFilter: Bytes {
        filter(of: side == .initiator ? .responder : .initiator)
    }

    private func filter(of side: Side) -> Bytes {
        let first = side == .initiator ? 0 : Filter.keySize
        return Bytes(rebasing: filters[first..<first + Filter.keySize])
    }

    // MARK: Sending

    /// Takes `count` indices out of the stored chain and has `chain` begin at the first of them, which lives in
    /// memory only.
    package func reserve(_ count: UInt32, in chain: Chain) throws(Failure) {
        guard sending.index < Self.messageLimit, count > 0 else { throw .limit(.index) }
        let count = min(
            pace.room(at: sending.index, count), Self.messageLimit - sending.index)
        try chain.restart(key: sending.key, index: sending.index)
        sending = try chain.after(count)
    }

    /// Takes back what a reservation of `epoch` did not use, if nobody reserved above it. Answers whether it did.
    package func giveBack(_ chain: Chain, end: UInt32, epoch: UInt32) -> Bool {
        guard epoch == self.epoch, sending.index == end, chain.index < end,
            let own = try? chain.copy()
        else { return false }
        sending = own
        return true
    }

    // MARK: Receiving

    /// Under which of the epochs a frame came.
    package enum Source {
        case previous
        case current
        /// The one that counts as soon as something came in it.
        case candidate
        /// One whose chain is gone.
        case closed
    }

    /// Where the key of a frame's message is to be found.
    package enum Place: Equatable {
        case next(Source)
        /// After so many that have not come.
        case ahead(Source, UInt32)
        /// In a row of its own, or used.
        case behind(Source)

        package var isBehind: Bool {
            if case .behind = self { true } else { false }
        }
    }

    /// A wrong filter costs one hash and says no more than `auth`.
    package func place(of frame: Frame) throws(Failure) -> Place {
        guard try frame.isFiltered(by: incomingFilter) else { throw .auth }
        guard frame.index < Self.indexLimit else { throw .limit(.index) }
        let (source, index) = try source(frame.epoch)
        guard let index, frame.index >= index else { return .behind(source) }
        let gap = frame.index - index
        guard gap <= Self.gapLimit else { throw .desynchronized }
        return gap == 0 ? .next(source) : .ahead(source, gap)
    }

    /// Whose frames of an epoch are, and where their chain stands.
    private func source(_ epoch: UInt32) throws(Failure) -> (Source, UInt32?) {
        if epoch == self.epoch { return (.current, receiving.chain.index) }
        guard epoch > self.epoch else {
            guard let previous, epoch == self.epoch - 1 else { return (.closed, nil) }
            return (.previous, previous.chain.index)
        }
        guard epoch - self.epoch == 1, rekey.candidate != nil else { throw .desynchronized }
        return (.candidate, 0)
    }

    /// A message, and what became of those before it. Nothing of the session has changed yet.
    package struct Opened {
        package let text: SecretBuffer
        package fileprivate(set) var source: Source
        /// The chain behind the message, nil if that was late.
        fileprivate var chain: Chain?
        /// What has not come, in the message's epoch and in the one that it closes.
        package fileprivate(set) var gaps: [Gap] = []
        /// The epoch before, if this message is the first under its own.
        package fileprivate(set) var closed: ClosedEpoch?
        package var isLate: Bool { chain == nil }

        fileprivate init(_ text: SecretBuffer, _ source: Source, _ chain: Chain?) {
            self.text = text
            self.source = source
            self.chain = chain
        }
    }

    package func open(_ frame: Frame, _ place: Place, late key: Bytes?) throws(Failure) -> Opened {
        switch place {
        case .next(let source):
            let chain = try chain(source)
            let text = try text(frame, chain.messageKey())
            return try closing(frame, Opened(text, source, chain))
        case .behind(let source):
            guard let key else { throw verdict(frame, source) }
            return Opened(try text(frame, key), source, nil)
        case .ahead(let source, _):
            let chain = try chain(source).copy()
            let gap = try Gap(chain, to: frame.index, epoch: frame.epoch)
            var opened = Opened(try text(frame, chain.messageKey()), source, chain)
            opened.gaps = [gap]
            return try closing(frame, opened)
        }
    }

    /// What a frame is whose key is gone; `desynchronized` at most. Of a closed epoch its row tells.
    private func verdict(_ frame: Frame, _ source: Source) -> Failure {
        switch source {
        case .current: receiving.lanes.verdict(frame.lane, frame.index)
        case .previous: previous?.lanes.verdict(frame.lane, frame.index) ?? .replay
        case .candidate, .closed: .replay
        }
    }

    private func chain(_ source: Source) throws(Failure) -> Chain {
        switch source {
        case .current: return receiving.chain
        case .previous:
            guard let previous else { throw .internal }
            return previous.chain
        case .candidate:
            guard let candidate = rekey.candidate else { throw .internal }
            return try Chain(key: candidate.chain(of: side.other), index: 0)
        case .closed: throw .internal
        }
    }

    private func text(_ frame: Frame, _ key: Bytes) throws(Failure) -> SecretBuffer {
        guard let text = try frame.open(key) else { throw .desynchronized }
        return text
    }

    /// The first message under an epoch says where the epoch before it ends.
    private func closing(_ frame: Frame, _ opened: Opened) throws(Failure) -> Opened {
        let old: Inbound
        switch opened.source {
        case .current:
            guard let previous else { return opened }
            old = previous
        case .candidate: old = receiving
        case .previous, .closed: return opened
        }
        let end = frame.previousLength
        guard end <= old.chain.index || end - old.chain.index <= Self.gapLimit else {
            throw .desynchronized
        }
        var opened = opened
        let epoch = frame.epoch - 1
        opened.gaps.append(try Gap(old.chain.copy(), to: end, epoch: epoch))
        opened.closed = ClosedEpoch(epoch: epoch, end: end, lanes: old.lanes)
        return opened
    }

    /// What rekeying makes of a message. Nothing of the session has changed yet.
    package struct Decision {
        /// nil: it stays as it is.
        fileprivate let rekey: Rekey?
        package let outcome: Rekey.Outcome

        package var isPlain: Bool { rekey == nil }
    }

    /// `desynchronized` for parts that only a peer says which was put back.
    package func decide(
        _ opened: Opened, _ frame: Frame, _ parts: [Part], now: Int64, _ exchange: some Exchange
    ) throws(Failure) -> Decision {
        guard !rekey.isSettled(parts, under: frame.epoch) else {
            return Decision(rekey: nil, outcome: Rekey.Outcome())
        }
        var next = rekey
        let outcome = try next.receive(
            parts, under: frame.epoch, mayAnswer: pace.mayAnswer(now: now), exchange)
        return Decision(rekey: next, outcome: outcome)
    }

    /// Makes what was opened count.
    package func accept(
        _ opened: Opened, _ frame: Frame, _ decision: Decision, now: Int64
    ) throws(Failure) {
        if side == .initiator { welcome = nil }
        if let closed = opened.closed {
            let old = opened.source == .candidate ? receiving : previous
            history?.note(
                closed.epoch, .received, end: max(closed.end, old?.chain.index ?? 0),
                isClosed: true)
        }
        guard let next = decision.rekey else {
            if let chain = opened.chain { try chain.advance() }
            return note(opened, frame)
        }
        let outcome = decision.outcome
        rekey = next
        if opened.source == .candidate, let round = outcome.committed { try begin(round, now: now) }
        if let chain = opened.chain { try chain.advance() }
        note(opened, frame)
        if opened.source != .candidate, let round = outcome.committed { try begin(round, now: now) }
        if !rekey.hasPrevious { previous = nil }
        if outcome.hasAnswered { pace.hasAnswered(now: now) }
        if outcome.isClosed { pace.forget() }
    }

    private func note(_ opened: Opened, _ frame: Frame) {
        switch opened.source {
        case .current, .candidate: receiving.note(frame, behind: opened.chain)
        case .previous: previous?.note(frame, behind: opened.chain)
        case .closed: break
        }
    }

    /// Takes out what must not be said so soon again.
    package func ration(_ outcome: inout Rekey.Outcome, now: Int64) {
        if outcome.says.contains(.nudge), !pace.mayNudge(now: now) { outcome.unsay(.nudge) }
        if outcome.says.contains(.closed), !pace.maySayClosed(now: now) { outcome.unsay(.closed) }
    }

    /// The next epoch's chains take the place of those that counted.
    private func begin(_ round: Round, now: Int64) throws(Failure) {
        previousLength = sending.index
        sending = try Chain(key: round.chain(of: side), index: 0)
        previous = receiving
        receiving = try Inbound(Chain(key: round.chain(of: side.other), index: 0))
        pace.begin(now: now)
        history?.note(epoch - 1, .sent, end: previousLength)
        if epoch > 1 { history?.note(epoch - 2, .sent, isClosed: true) }
        try history?.begin(epoch, sent: sending.key, received: receiving.chain.key)
    }

    // MARK: Rekeying

    /// Asks for the next epoch; see `Rekey.trigger`.
    package func trigger(
        isFresh: Bool = false, isWaited: Bool = false, _ exchange: some Exchange
    ) throws(Failure) -> (target: UInt32, Rekey.Outcome) {
        try rekey.trigger(isFresh: isFresh, isWaited: isWaited, exchange)
    }

    package func retry() -> Rekey.Outcome { rekey.retry() }

    // MARK: Closing

    /// What is left of a session that this side has closed: enough to say so.
    package func bury() throws(Failure) {
        try rekey.bury()
        let zeros = try SecretBuffer(zeros: Chain.keySize)
        receiving = Inbound(try Chain(key: zeros.bytes, index: 0))
        withExtendedLifetime(zeros) {}
        previous = nil
        welcome = nil
        pace.forget()
    }

    package func isFromPeer(_ frame: Frame) throws(Failure) -> Bool {
        try frame.isFiltered(by: incomingFilter)
    }
}

extension Session.Inbound {
    fileprivate mutating func note(_ frame: Frame, behind chain: Chain?) {
        if let chain { self.chain = chain }
        lanes.note(frame.lane, frame.index)
    }
}
