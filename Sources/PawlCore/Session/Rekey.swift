package import PawlCrypto

/// One side of the rekeying of a session: which epoch counts, and what is under way for the next one. The whole protocol
/// is here; Protocol.md, "Rekeying", says what the parts look like, and the article "Rekeying" why this is all.
///
///                 trigger: draw, say offer                       answer of the peer: commit n+1, say finish
///     ┌─ Idle n ────────────────────────────► Offered n→n+1 ─────────────────────────────────► Idle n+1
///     │    │                                      │
///     │    │ offer of the peer: say answer        │ crossed, and the peer's offer has the lower id: wipe
///     │    ▼                                      ▼ one's own, say answer
///     │  Answered n→n+1 ◄─────────────────────────┘
///     │    │
///     └────┴── anything of the peer's under n+1, its finish first of all: commit n+1 ──────────► Idle n+1
///
/// An offer, an answer or a busy for epoch t counts in a message of epoch t - 1, a finish in one of t, and nowhere else.
/// What is said is said again by the retry deadline, and when the peer repeats what it answers to. So every round ends,
/// whatever the link loses; and no side counts epochs by itself: the target is in the part.
package struct Rekey {
    /// How often something is said in vain before the host is told.
    package static let stallLimit: UInt32 = 8

    package enum Phase {
        case idle
        case offered(OwnOffer)
        case answered(Candidate)
        /// The peer has closed the session.
        case closed
    }

    /// Secret ‖ public key, and the name of the offer that carries the latter.
    package struct OwnOffer {
        package let id: Identifier
        package let pair: SecretBuffer
    }

    /// The peer's offer, the answer that was given, and the epoch that is reached by both.
    package struct Candidate {
        package let offer: Identifier
        package let answer: SecretBuffer
        package let round: Round
    }

    /// The last offer of this side that was answered, until the next commit.
    struct Finished {
        let target: UInt32
        let offer: Identifier
        let answerConfirmation: SecretBuffer
        let finishConfirmation: SecretBuffer
    }

    package let parties: Round.Parties
    package private(set) var epoch: UInt32
    /// The newest epoch in which the peer was heard.
    package private(set) var heard: UInt32
    /// Somebody waits for all epochs up to this one.
    package private(set) var wanted: UInt32
    /// How often the phase was said without an effect.
    package private(set) var attempts: UInt32
    package private(set) var phase: Phase
    private(set) var root: SecretBuffer
    private(set) var finished: Finished?

    /// Epoch 0.
    package init(_ parties: Round.Parties, root: Bytes) throws(Failure) {
        self.init(
            parties, epoch: 0, heard: 0, wanted: 0, attempts: 0,
            root: try SecretBuffer(copying: root), finished: nil, phase: .idle)
    }

    init(
        _ parties: Round.Parties, epoch: UInt32, heard: UInt32, wanted: UInt32, attempts: UInt32,
        root: SecretBuffer, finished: Finished?, phase: Phase
    ) {
        self.parties = parties
        self.epoch = epoch
        self.heard = heard
        self.wanted = wanted
        self.attempts = attempts
        self.root = root
        self.finished = finished
        self.phase = phase
    }

    // MARK: What comes out

    /// What is to be said at once. The words are in the state, so that saying them later says what is true then.
    package struct Says: OptionSet {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }
        /// The offer or the answer of the phase, if it is one.
        package static let phase = Says(rawValue: 1)
        package static let finish = Says(rawValue: 2)
        /// Come again later.
        package static let busy = Says(rawValue: 4)
        /// An empty message: what the peer said is over, and under this epoch it sees it.
        package static let nudge = Says(rawValue: 8)
        /// The peer speaks in a session that it has closed: it was put back to an old copy, or this comes late.
        package static let closed = Says(rawValue: 16)
    }

    /// What one input did. The new epoch's chain keys are in `committed`.
    package struct Outcome {
        package fileprivate(set) var says: Says = []
        package fileprivate(set) var committed: Round?
        /// Whose offer is answered with busy.
        package fileprivate(set) var refused: Identifier?
        /// The peer asks for so much time.
        package fileprivate(set) var pause: UInt32?
        package fileprivate(set) var isClosed = false
        /// A new offer of the peer's was answered.
        package fileprivate(set) var hasAnswered = false
        package fileprivate(set) var isStalled = false
        package fileprivate(set) var steps: [Step] = []

        package init() {}

        package mutating func say(_ more: Says) { says.formUnion(more) }
        package mutating func unsay(_ less: Says) { says.subtract(less) }

        /// With what a later input did.
        package mutating func merge(_ later: Outcome) {
            says = later.isClosed ? [] : says.union(later.says)
            committed = later.committed ?? committed
            refused = later.refused ?? refused
            pause = later.pause ?? (later.says.contains(.phase) ? nil : pause)
            isClosed = isClosed || later.isClosed
            hasAnswered = hasAnswered || later.hasAnswered
            isStalled = isStalled || later.isStalled
            steps += later.steps
        }
    }

    /// For the trace: what happened, without secrets.
    package struct Step: Equatable {
        /// Numbers are those of the header.
        package enum Event: UInt32 {
            case trigger = 1
            case answered = 2
            case crossedLeads = 3
            case crossedYields = 4
            case repeated = 5
            case committed = 6
            case refused = 7
            case postponed = 8
            case stale = 9
            case retried = 10
            case closed = 11
        }
        package enum Constructor: UInt32 {
            case none = 0
            case created = 1
            case used = 2
            case wiped = 3
        }
        package let event: Event
        package let from: UInt32
        package let to: UInt32
        package let target: UInt32
        package let offer: Identifier
        package let constructor: Constructor
    }

    // MARK: Inputs

    /// Asks for the next epoch, or joins the round that is under way; answers the epoch to wait for. `isFresh`: one for
    /// which this side has drawn nothing. `isWaited`: somebody wants to be told.
    package mutating func trigger(
        isFresh: Bool, isWaited: Bool, _ exchange: some Exchange
    ) throws(Failure) -> (target: UInt32, Outcome) {
        var outcome = Outcome()
        var target = try next(epoch)
        switch phase {
        case .closed: throw .state(.receiveOnly)
        case .idle: try offer(exchange, &outcome)
        case .offered, .answered: if isFresh { target = try next(target) }
        }
        if isWaited || isFresh { wanted = max(wanted, target) }
        return (target, outcome)
    }

    /// The parts of one message, which authenticated under `epoch`. `mayAnswer`: new offers are not too many. Throws
    /// `desynchronized`, and stays as it is, for what only a peer says that was put back to an old copy.
    package mutating func receive(
        _ parts: [Part], under epoch: UInt32, mayAnswer: Bool, _ exchange: some Exchange
    ) throws(Failure) -> Outcome {
        guard !isSettled(parts, under: epoch) else { return Outcome() }
        var next = self
        var outcome = Outcome()
        if case .answered(let candidate) = phase, epoch > self.epoch {
            try next.checkFinish(parts, candidate)
            try next.commit(
                candidate.round, offer: candidate.offer, finished: nil, exchange, &outcome)
        }
        guard epoch <= next.epoch else { throw .desynchronized }
        if case .closed = phase, !parts.contains(where: { $0.kind == .close }) {
            outcome.says = .closed
        }
        next.heard = max(next.heard, epoch)
        for part in parts {
            try next.receive(part, under: epoch, mayAnswer, exchange, &outcome)
        }
        self = next
        return outcome
    }

    /// Whether a message says nothing that is not known. Of most it is so, and they shall cost little.
    package func isSettled(_ parts: [Part], under epoch: UInt32) -> Bool {
        if case .closed = phase { return false }
        return parts.isEmpty && epoch <= heard && heard <= self.epoch
    }

    /// Nothing came back in time: the same is said again.
    package mutating func retry() -> Outcome {
        var outcome = Outcome()
        guard let (offer, target) = pending else { return outcome }
        attempts = attempts < UInt32.max ? attempts + 1 : attempts
        outcome.says = .phase
        outcome.isStalled = attempts == Self.stallLimit
        outcome.note(.retried, epoch, epoch, target, offer)
        return outcome
    }

    // MARK: Rules

    private mutating func receive(
        _ part: Part, under epoch: UInt32, _ mayAnswer: Bool, _ exchange: some Exchange,
        _ outcome: inout Outcome
    ) throws(Failure) {
        if case .closed = phase { return }
        switch part {
        case .offer(let offer):
            guard offer.target > self.epoch else {
                return stale(offer.target, try id(of: offer), &outcome)
            }
            guard epoch == self.epoch, offer.target == (try self.next(epoch)) else { return }
            guard offer.suite == parties.suite.rawValue else { throw .desynchronized }
            try meet(offer, mayAnswer, exchange, &outcome)
        case .answer(let answer):
            guard answer.target > self.epoch else { return try repeated(answer, &outcome) }
            guard epoch == self.epoch, answer.target == (try self.next(epoch)) else { return }
            guard case .offered(let own) = phase, own.id == answer.offer else {
                throw .desynchronized
            }
            let round = try round(own, answer, exchange)
            let finished = Finished(
                target: answer.target, offer: own.id,
                answerConfirmation: try SecretBuffer(copying: round.answerConfirmation),
                finishConfirmation: try SecretBuffer(copying: round.finishConfirmation))
            outcome.says.insert(.finish)
            try commit(round, offer: own.id, finished: finished, exchange, &outcome)
        case .finish: return  // Whoever can say it under its epoch has been heard there.
        case .busy(let id, let milliseconds):
            guard epoch == self.epoch, case .offered(let own) = phase, own.id == id else { return }
            outcome.pause = milliseconds
            outcome.note(.postponed, epoch, epoch, epoch &+ 1, id)
        case .close:
            outcome.isClosed = true
            outcome.says = []
            let over = pending
            var constructor = Step.Constructor.none
            if case .offered = phase { constructor = .wiped }
            phase = .closed
            outcome.note(
                .closed, self.epoch, self.epoch, over?.target ?? self.epoch,
                over?.offer ?? .none, constructor)
        }
    }

    /// An offer for the next epoch, in its place.
    private mutating func meet(
        _ offer: Part.Offer, _ mayAnswer: Bool, _ exchange: some Exchange, _ outcome: inout Outcome
    ) throws(Failure) {
        let id = try id(of: offer)
        switch phase {
        case .idle:
            guard mayAnswer else {
                outcome.says.insert(.busy)
                outcome.refused = id
                return outcome.note(.refused, epoch, epoch, offer.target, id)
            }
            try answer(offer, id, exchange, &outcome)
            outcome.note(.answered, epoch, epoch, offer.target, id)
        case .offered(let own):
            // Crossed: the lower id leads.
            guard id < own.id else {
                return outcome.note(.crossedLeads, epoch, epoch, offer.target, id)
            }
            try answer(offer, id, exchange, &outcome)
            outcome.note(.crossedYields, epoch, epoch, offer.target, id, .wiped)
        case .answered(let candidate):
            guard candidate.offer == id else { throw .desynchronized }
            outcome.says.insert(.phase)
            outcome.note(.repeated, epoch, epoch, offer.target, id)
        case .closed: return
        }
    }

    private mutating func offer(
        _ exchange: some Exchange, _ outcome: inout Outcome
    ) throws(Failure) {
        let pair = try exchange.draw(parties.suite)
        let offer = Part.Offer(
            target: try next(epoch), suite: parties.suite.rawValue, key: publicKey(pair))
        let id = try Round.id(of: offer, by: parties.side, parties)
        withExtendedLifetime(pair) {}
        phase = .offered(OwnOffer(id: id, pair: pair))
        attempts = 0
        outcome.says.insert(.phase)
        outcome.note(.trigger, epoch, epoch, offer.target, id, .created)
    }

    /// Once for each offer: the answer is stored, and given again.
    private mutating func answer(
        _ offer: Part.Offer, _ id: Identifier, _ exchange: some Exchange, _ outcome: inout Outcome
    ) throws(Failure) {
        let made = try exchange.encapsulate(parties.suite, to: offer.key)
        let size = made.count - KeyExchange.sharedSize
        guard size == KeyExchange.ciphertextSize(parties.suite) else { throw .internal }
        let ciphertext = Bytes(rebasing: made.bytes[..<size])
        let round = try Round(
            parties, offer: offer, id: id, by: parties.side.other, ciphertext: ciphertext,
            shared: Bytes(rebasing: made.bytes[size...]), root: root.bytes)
        let answer = Part.Answer(
            target: offer.target, offer: id, confirmation: round.answerConfirmation,
            ciphertext: ciphertext)
        let stored = try SecretBuffer(count: answer.size)
        var writer = ByteWriter(stored.mutableBytes)
        answer.write(to: &writer)
        try writer.finish()
        withExtendedLifetime(made) {}
        phase = .answered(Candidate(offer: id, answer: stored, round: round))
        attempts = 0
        outcome.says.insert(.phase)
        outcome.hasAnswered = true
    }

    /// The keys that an answer to one's own offer leads to.
    private func round(
        _ own: OwnOffer, _ answer: Part.Answer, _ exchange: some Exchange
    ) throws(Failure) -> Round {
        guard answer.ciphertext.count == KeyExchange.ciphertextSize(parties.suite) else {
            throw .desynchronized
        }
        let shared = try exchange.decapsulate(
            parties.suite, answer.ciphertext, pair: own.pair.bytes)
        let offer = Part.Offer(
            target: answer.target, suite: parties.suite.rawValue, key: publicKey(own.pair))
        let round = try Round(
            parties, offer: offer, id: own.id, by: parties.side, ciphertext: answer.ciphertext,
            shared: shared.bytes, root: root.bytes)
        withExtendedLifetime((own, shared)) {}
        guard Seal.sameSecret(round.answerConfirmation, answer.confirmation) else {
            throw .desynchronized
        }
        return round
    }

    private mutating func commit(
        _ round: Round, offer id: Identifier, finished: Finished?, _ exchange: some Exchange,
        _ outcome: inout Outcome
    ) throws(Failure) {
        let target = try next(epoch)
        outcome.committed = round
        outcome.note(
            .committed, epoch, target, target, id, finished == nil ? .none : .used)
        epoch = target
        root = try SecretBuffer(copying: round.root)
        self.finished = finished
        phase = .idle
        attempts = 0
        if wanted > epoch { try self.offer(exchange, &outcome) }
    }

    /// A finish that names the candidate proves that the peer has its keys.
    private func checkFinish(_ parts: [Part], _ candidate: Candidate) throws(Failure) {
        for case .finish(let finish) in parts where finish.offer == candidate.offer {
            guard Seal.sameSecret(finish.confirmation, candidate.round.finishConfirmation) else {
                throw .desynchronized
            }
        }
    }

    /// An answer that comes again: the peer has not seen the finish.
    private func repeated(_ answer: Part.Answer, _ outcome: inout Outcome) throws(Failure) {
        guard let finished, finished.target == answer.target, finished.offer == answer.offer else {
            return stale(answer.target, answer.offer, &outcome)
        }
        guard Seal.sameSecret(finished.answerConfirmation.bytes, answer.confirmation) else {
            throw .desynchronized
        }
        outcome.says.insert(.finish)
        outcome.note(.repeated, epoch, epoch, answer.target, answer.offer)
    }

    private func stale(_ target: UInt32, _ id: Identifier, _ outcome: inout Outcome) {
        outcome.says.insert(.nudge)
        outcome.note(.stale, epoch, epoch, target, id)
    }

    private func id(of offer: Part.Offer) throws(Failure) -> Identifier {
        try Round.id(of: offer, by: parties.side.other, parties)
    }

    private func next(_ epoch: UInt32) throws(Failure) -> UInt32 {
        guard epoch < UInt32.max else { throw .limit(.index) }
        return epoch + 1
    }

    private func publicKey(_ pair: SecretBuffer) -> Bytes {
        Bytes(rebasing: pair.bytes[min(KeyExchange.secretSize, pair.count)...])
    }

    /// This side has closed the session: nothing is left that could become a key.
    mutating func bury() throws(Failure) {
        phase = .closed
        root = try SecretBuffer(zeros: 32)
        finished = nil
    }

    // MARK: What can be said

    /// The round that is under way.
    package var pending: (offer: Identifier, target: UInt32)? {
        switch phase {
        case .offered(let own): (own.id, epoch &+ 1)
        case .answered(let candidate): (candidate.offer, epoch &+ 1)
        case .idle, .closed: nil
        }
    }

    /// The chain keys under which the peer may already send, and this side does not yet.
    package var candidate: Round? {
        guard case .answered(let candidate) = phase else { return nil }
        return candidate.round
    }

    /// What answers a message of an epoch that is over, whose keys are gone.
    package var reminder: Says {
        if case .closed = phase { .closed } else { .nudge }
    }

    /// Whether the peer may still send under the epoch before: it was not heard in this one.
    package var hasPrevious: Bool { heard < epoch }

    /// The parts that say `says`, as they are true now; they borrow from this machine.
    package func parts(
        _ says: Says, refused: Identifier?, pause: UInt32
    ) throws(Failure) -> [Part] {
        var parts: [Part] = []
        if says.contains(.finish), let finished, finished.target == epoch {
            parts.append(
                .finish(
                    Part.Finish(
                        target: epoch, offer: finished.offer,
                        confirmation: finished.finishConfirmation.bytes)))
        }
        if says.contains(.phase) {
            switch phase {
            case .offered(let own):
                parts.append(
                    .offer(
                        Part.Offer(
                            target: try next(epoch), suite: parties.suite.rawValue,
                            key: publicKey(own.pair))))
            case .answered(let candidate):
                var reader = ByteReader(candidate.answer.bytes)
                parts.append(.answer(try Part.Answer(&reader)))
            case .idle, .closed: break
            }
        }
        if says.contains(.busy), let refused {
            parts.append(.busy(offer: refused, milliseconds: pause))
        }
        if says.contains(.closed) { parts.append(.close) }
        return parts
    }
}

extension Rekey.Outcome {
    fileprivate mutating func note(
        _ event: Rekey.Step.Event, _ from: UInt32, _ to: UInt32, _ target: UInt32,
        _ offer: Identifier, _ constructor: Rekey.Step.Constructor = .none
    ) {
        steps.append(
            Rekey.Step(
                event: event, from: from, to: to, target: target, offer: offer,
                constructor: constructor))
    }
}
