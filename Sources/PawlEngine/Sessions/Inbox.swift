internal import PawlCore
internal import PawlCrypto
internal import PawlStore

/// One call's work on the sessions of an account: each is read once, and written when all frames are through.
final class Inbox {
    private let account: Identifier
    private let transaction: Transaction
    private let outgoing: Outgoing
    /// What a batch gives back could be rolled back after its indices were used.
    private let givesBack: Bool
    private var now: Int64 { outgoing.now }
    /// nil: ended by this call, which does not read what it has erased as gone.
    private var open: [SessionHalf: OpenSession?] = [:]
    /// What is left of sessions that this side has closed, as this call has changed it.
    private var graves: [SessionHalf: Session] = [:]
    private var peers: [RowKey: OpenPeer] = [:]
    private var welcomes: [RowKey: SessionHalf] = [:]
    private let own: OpenAccount
    private var spentKeys: Set<RowKey> = []

    init(_ account: Identifier, _ outgoing: Outgoing, givesBack: Bool) {
        self.account = account
        self.outgoing = outgoing
        self.givesBack = givesBack
        transaction = outgoing.transaction
        own = OpenAccount(account, outgoing.transaction)
    }

    func receive(_ bytes: Bytes, _ keeps: Bool) throws(Failure) -> Store.Received {
        do throws(Failure) {
            let frame = try Frame(bytes)
            guard let part = frame.welcome else {
                guard let session = try session(frame.session) else {
                    _ = try own.record()
                    try answerClosed(frame)
                    throw .notFound
                }
                return try receive(frame, in: session, keeps)
            }
            let welcome = try Welcome(part)
            let row = try RowKey.welcome(account, welcome)
            if let half = try knownWelcome(row) {
                guard let session = try session(half) else {
                    try answerClosed(frame)
                    throw .replay
                }
                return try receive(frame, in: session, keeps)
            }
            return try accept(frame, welcome, row, keeps)
        } catch {
            guard error.isOfOneFrame else { throw error }
            return Store.Received(error)
        }
    }

    // MARK: Known sessions

    private func session(_ half: SessionHalf) throws(Failure) -> OpenSession? {
        if let found = open[half] { return found }
        guard let stored = try transaction.session(half, of: account) else { return nil }
        let session = OpenSession(stored)
        open[half] = session
        return session
    }

    /// A peer that did not see that this side has closed the session is told again.
    private func answerClosed(_ frame: Frame) throws(Failure) {
        let known = graves[frame.session]
        guard
            let grave = try known == nil
                ? transaction.session(frame.session, of: account, .tombstone) : known
        else { return }
        graves[frame.session] = grave
        guard try grave.isFromPeer(frame), grave.pace.maySayClosed(now: now) else { return }
        _ = try outgoing.post(grave, nil, [.close])
        try transaction.put(.of(.tombstone, grave.id), grave.encoded())
    }

    private func receive(
        _ frame: Frame, in open: OpenSession, _ keeps: Bool
    ) throws(Failure) -> Store.Received {
        let session = open.session
        do throws(Failure) {
            // The filter first: what cannot be the peer's costs no more than finding the session.
            let place = try session.place(of: frame)
            let peer = try peer(of: open)
            let late = place.isBehind ? try lateKey(frame, open) : nil
            if place.isBehind, late == nil, let kept = try kept(frame, open) {
                var again = Store.Received(session, frame, kept, isAgain: true)
                again.isUnaccepted = peer.isWaiting(session.id)
                return again
            }
            if place == .behind(.closed), late == nil { throw try verdict(frame, open) }
            let opened = try session.open(frame, place, late: late?.bytes)
            withExtendedLifetime(late) {}
            let isAnswer = session.welcome != nil
            let decision = try decide(opened, frame, session)
            try commit(opened, frame, decision, open, peer, keeps)
            var received = Store.Received(session, frame, opened.text)
            received.isUnaccepted = peer.isWaiting(session.id)
            received.isAnswer = isAnswer
            return received
        } catch {
            if error == .desynchronized, !session.isReported {
                try report(.desynchronized, session)
                session.isReported = true
                open.isChanged = true
            }
            throw error
        }
    }

    /// The key of a late message, if it is kept and its time is not over.
    private func lateKey(_ frame: Frame, _ open: OpenSession) throws(Failure) -> SecretBuffer? {
        if let pending = open.skipped[frame.position] { return pending }
        let row = RowKey.skipped(open.session.id, frame.epoch, frame.index)
        guard !open.usedKeys.contains(frame.position), let buffer = try transaction.get(row) else {
            return nil
        }
        let record = try SkippedRecord(decoding: buffer)
        return record.expires > now ? try SecretBuffer(copying: record.key) : nil
    }

    /// The message in this very frame, if the host has not forgotten it.
    private func kept(_ frame: Frame, _ open: OpenSession) throws(Failure) -> SecretBuffer? {
        let row = RowKey.kept(open.session.id, frame.epoch, frame.index)
        let pending = open.kept[frame.position]
        guard let buffer = try pending == nil ? transaction.get(row) : pending else { return nil }
        let record = try KeptRecord(decoding: buffer)
        guard try record.isOf(frame) else { return nil }
        return try record.copy()
    }

    /// What a message of an epoch is whose chain is gone, and its key. Of one that is forgotten nothing can be said but
    /// how far this side is.
    private func verdict(_ frame: Frame, _ open: OpenSession) throws(Failure) -> Failure {
        let closed = try closedEpoch(frame, open)
        let verdict = closed?.verdict(frame) ?? .replay
        // A peer that goes on in an epoch that is over was put back, or does not know that the session is closed.
        let reminder = open.session.rekey.reminder
        if closed == nil || verdict == .auth || reminder == .closed {
            var outcome = Rekey.Outcome()
            outcome.say(reminder)
            open.session.ration(&outcome, now: now)
            if !outcome.says.isEmpty {
                open.outcome.merge(outcome)
                open.isChanged = true
            }
        }
        return verdict
    }

    private func closedEpoch(
        _ frame: Frame, _ open: OpenSession
    ) throws(Failure) -> ClosedEpoch? {
        if let closed = open.closed.first(where: { $0.epoch == frame.epoch }) { return closed }
        guard let buffer = try transaction.get(.epoch(open.session.id, frame.epoch)) else {
            return nil
        }
        return try ClosedEpoch(decoding: buffer, epoch: frame.epoch)
    }

    /// A late message of an epoch whose chain is gone: its lane is noted, or a repeat would look like a peer that was
    /// put back.
    private func note(_ frame: Frame, in closed: ClosedEpoch, _ open: OpenSession) {
        var closed = closed
        closed.note(frame)
        open.closed.removeAll { $0.epoch == frame.epoch }
        open.closed.append(closed)
    }

    private func commit(
        _ opened: Session.Opened, _ frame: Frame, _ decision: Session.Decision,
        _ open: OpenSession, _ peer: OpenPeer, _ keeps: Bool
    ) throws(Failure) {
        let session = open.session
        let kept = keeps ? try KeptRecord.encode(frame, opened.text) : nil
        // A peer that cannot have seen an answer confirms nothing, whatever it leaves out.
        let isConfirming =
            frame.welcome == nil && (session.side == .initiator || session.hasSent)
        // Before the message counts: a damaged row that is met here must refuse it whole.
        if decision.outcome.committed != nil || opened.closed != nil,
            try own.state().keepsHistory
        {
            try session.keepHistory()
        }
        let closed = try opened.source == .closed ? closedEpoch(frame, open) : nil
        if isConfirming, let entry = peer.record.entry(session.id), !entry.isConfirmed {
            try confirm(entry)
        }
        if !peer.record.isSettled(session.id) {
            peer.change { $0.heard(session.id, withWelcome: !isConfirming) }
        }
        if let closed { note(frame, in: closed, open) }
        try session.accept(opened, frame, decision, now: now)
        withExtendedLifetime(opened) {}
        open.isChanged = true
        if !decision.isPlain {
            var outcome = decision.outcome
            session.ration(&outcome, now: now)
            open.outcome.merge(outcome)
            if outcome.isClosed { peer.change { $0.close(session.id) } }
        }
        if let closed = opened.closed { open.closed.append(closed) }
        for gap in opened.gaps { try keep(gap, open) }
        if opened.isLate {
            if open.skipped.removeValue(forKey: frame.position) == nil {
                open.usedKeys.insert(frame.position)
            }
            session.skipped = session.skipped > 0 ? session.skipped - 1 : 0
        }
        if let kept { open.kept[frame.position] = kept }
    }

    /// What rekeying makes of a message.
    private func decide(
        _ opened: Session.Opened, _ frame: Frame, _ session: Session
    ) throws(Failure) -> Session.Decision {
        let parts = try parts(opened, frame)
        if givesBack, !parts.isEmpty || opened.source == .candidate {
            // An epoch may end here, and what was reserved in it.
            if let rest = outgoing.reservations.forget(session.id) { session.giveBack(rest) }
        }
        let decision = try session.decide(opened, frame, parts, now: now, Libsodium())
        withExtendedLifetime(opened) {}
        let outcome = decision.outcome
        if !givesBack, outcome.committed != nil || outcome.isClosed {
            // Skipped, also by a batch that is rolled back.
            outgoing.reservations.forget(session.id)
        }
        return decision
    }

    /// What the peer's engine says. A part without its form is not from one that has stayed with this side.
    private func parts(_ opened: Session.Opened, _ frame: Frame) throws(Failure) -> [Part] {
        do throws(Failure) {
            return try frame.controlParts(opened.text.bytes)
        } catch {
            throw error == .auth ? .desynchronized : error
        }
    }

    /// Keys of messages that have not come.
    private func keep(_ gap: Session.Gap, _ open: OpenSession) throws(Failure) {
        for number in 0..<gap.count {
            let first = Int(number) * Chain.keySize
            let position = UInt64(gap.epoch) << 32 | UInt64(gap.first &+ number)
            open.skipped[position] = try SecretBuffer(
                copying: Bytes(rebasing: gap.keys.bytes[first..<first + Chain.keySize]))
        }
        open.session.skipped += gap.count
        open.lost += UInt64(gap.lost)
        let surplus = open.skipped.count - Int(Session.skippedLimit)
        if surplus > 0 {
            for position in open.skipped.keys.sorted().prefix(surplus) {
                open.skipped[position] = nil
            }
            open.session.skipped -= UInt32(surplus)
            open.lost += UInt64(surplus)
        }
    }

    /// The peer has shown that it has a session, too.
    private func confirm(_ entry: PeerRecord.Entry) throws(Failure) {
        guard !entry.isOutbound else {
            return try transaction.cancel(Job(.setUpDeadline, entry.id))
        }
        var state = try own.state()
        // A receive-only session keeps its last deadline.
        if entry.isSendable { try transaction.cancel(Job(.sessionEnd, entry.id)) }
        state.removeUnconfirmed()
        own.change(state)
    }

    // MARK: Fresh welcomes

    private func knownWelcome(_ row: RowKey) throws(Failure) -> SessionHalf? {
        if let half = welcomes[row] { return half }
        guard let buffer = try transaction.get(row) else { return nil }
        return SessionHalf(try Identifier(buffer.bytes))
    }

    private func accept(
        _ frame: Frame, _ welcome: Welcome, _ row: RowKey, _ keeps: Bool
    ) throws(Failure) -> Store.Received {
        let keys = try SetUp.Own(account: account, record: own.record())
        var state = try own.state()
        let found = try privateHalves(welcome)
        let millis = Store.milliseconds(now)
        guard millis <= found.package.notAfter.addingSaturated(KeyPackage.clockSkew) else {
            throw .time
        }
        try SetUp.check(welcome, keys, found.package)
        guard welcome.suite >= state.minSuite else { throw .state(.suite) }
        let initiator = welcome.initiator
        let peerRow = try transaction.peerRow(account, initiator.name)
        let known = try peer(peerRow)
        var peer = if let known { known.record } else { try PeerRecord(initiator, now: now) }
        let sighting = try peer.see(initiator.keys, welcome.suite, now: now)
        let isWaiting = try peer.isWaiting(initiator.keys)
        let surplus = try outgoing.surplus(of: peer, account) { open[SessionHalf($0)] == nil }
        if let surplus {
            if peer.entry(surplus.id)?.isUnconfirmedInbound == true { state.removeUnconfirmed() }
            peer.end(surplus.id)
        }
        try state.addUnconfirmed()
        try peer.checkRoom(isWaiting: isWaiting)

        // Only now the agreements, which cost most.
        let session = try SetUp.accept(
            keys, welcome, found.package, initKeys: found.record.opening,
            oneTime: found.oneTime?.opening)
        try peer.accept(
            session.id, created: min(welcome.created, millis), isWaiting: isWaiting)
        session.pace.begin(now: now)
        let (opened, decision, isFree) = try firstMessage(frame, session)
        guard isFree else { throw .auth }
        // Over before it began: it takes the place of no other.
        guard !decision.outcome.isClosed else { throw .replay }

        if sighting == .changed, known != nil { try report(.identityChanged, session) }
        if let surplus {
            try outgoing.finish(surplus)
            open.updateValue(nil, forKey: surplus.half)
        }
        // From here on nothing is refused.
        let shared = known ?? remember(OpenPeer(peer, stored: nil), peerRow)
        shared.replace(by: peer)
        let fresh = OpenSession(session)
        if state.keepsHistory { try session.keepHistory(isNew: true) }
        try commit(opened, frame, decision, fresh, shared, keeps)
        open[session.half] = fresh
        own.change(state)
        welcomes[row] = session.half
        try session.id.withBytes { (id) throws(Failure) in try transaction.put(row, id) }
        if let number = welcome.oneTime {
            let spent = RowKey.oneTime(account, welcome.package, number)
            spentKeys.insert(spent)
            transaction.delete(spent)
        }
        if var rotation = try transaction.readableRotation(of: account) {
            rotation.used(welcome.package, withOneTimeKey: welcome.oneTime != nil, now: now)
            transaction.change(rotation, of: account)
        }
        if peer.entry(session.id)?.isSendable == true {
            try transaction.schedule(
                Job(.sessionEnd, session.id), at: Backoff.after(now, Session.endDelay))
        }
        var received = Store.Received(session, frame, opened.text)
        received.isNewSession = true
        received.isUnaccepted = isWaiting
        return received
    }

    /// A fresh session that cannot read its first message, or whose name is taken, is none.
    private func firstMessage(
        _ frame: Frame, _ session: Session
    ) throws(Failure) -> (Session.Opened, Session.Decision, isFree: Bool) {
        guard frame.session == session.half else { throw .auth }
        do throws(Failure) {
            let opened = try session.open(frame, session.place(of: frame), late: nil)
            let decision = try decide(opened, frame, session)
            return (opened, decision, try self.session(session.half) == nil)
        } catch {
            throw error.isOfOneFrame ? .auth : error
        }
    }

    private func privateHalves(
        _ welcome: Welcome
    ) throws(Failure) -> PrivateHalves {
        guard let buffer = try transaction.get(.package(account, welcome.package)) else {
            throw .notFound
        }
        let record = try PackageRecord(decoding: buffer)
        guard let number = welcome.oneTime else {
            return try PrivateHalves(
                record, nil, published: SecretBuffer(copying: record.published))
        }
        let row = RowKey.oneTime(account, welcome.package, number)
        guard !spentKeys.contains(row), let buffer = try transaction.get(row) else {
            throw .notFound
        }
        let oneTime = try PackageRecord(decoding: buffer)
        let published = try SecretBuffer(
            count: record.published.count + oneTime.published.count)
        var writer = ByteWriter(published.mutableBytes)
        writer.append(record.published)
        writer.append(oneTime.published)
        try writer.finish()
        return try PrivateHalves(record, oneTime, published: published)
    }

    // MARK: Records

    /// A peer's record, as this call has changed it.
    private func peer(of open: OpenSession) throws(Failure) -> OpenPeer {
        if let peer = open.peer { return peer }
        let row = try transaction.peerRow(account, open.session.peer.name)
        guard let peer = try peer(row) else { throw .corrupt(.record) }
        open.peer = peer
        return peer
    }

    private func peer(_ row: RowKey) throws(Failure) -> OpenPeer? {
        if let found = peers[row] { return found }
        guard let stored = try transaction.peer(row) else { return nil }
        return remember(OpenPeer(stored, stored: stored), row)
    }

    private func remember(_ peer: OpenPeer, _ row: RowKey) -> OpenPeer {
        peers[row] = peer
        return peer
    }

    private func report(
        _ event: SessionEvent, _ session: Session, count: UInt64 = 0
    ) throws(Failure) {
        try outgoing.tell(event, session, count: count)
    }

    // MARK: Writing

    func finish() throws(Failure) {
        for case let session? in open.values where session.isChanged { try finish(session) }
        for (row, peer) in peers where peer.isChanged {
            try transaction.put(peer.record, at: row, before: peer.stored, now: now)
        }
        try own.finish()
    }

    private func finish(_ open: OpenSession) throws(Failure) {
        let session = open.session
        let expires = Backoff.after(now, Session.skippedLifetime)
        for (position, key) in open.skipped {
            try transaction.put(
                .skipped(session.id, position),
                SkippedRecord.encode(key: key, expires: expires))
        }
        for position in open.usedKeys { transaction.delete(.skipped(session.id, position)) }
        for closed in open.closed {
            try transaction.put(
                .epoch(session.id, closed.epoch), closed.encoded(expires: expires))
            try forgetEpoch(before: closed.epoch, open)
        }
        if session.skipped > Session.skippedLimit { try giveUpOldest(open) }
        let job = Job(.skippedKeys, session.id)
        if !open.skipped.isEmpty || !open.closed.isEmpty {
            try transaction.pullIn(job, to: expires)
        } else if session.skipped == 0, session.epoch == 0, !open.usedKeys.isEmpty {
            try transaction.cancel(job)
        }
        for (position, kept) in open.kept { transaction.put(.kept(session.id, position), kept) }
        try outgoing.follow(open.outcome, of: session)
        if open.lost > 0 { try report(.lost, session, count: open.lost) }
        try transaction.put(session)
        // The chain key that was there is in the log until then.
        try transaction.scheduleCheckpoint()
    }

    /// Late keys live for so many epochs.
    private func forgetEpoch(before epoch: UInt32, _ open: OpenSession) throws(Failure) {
        guard epoch >= Outgoing.epochLimit else { return }
        let session = open.session
        let old = epoch - Outgoing.epochLimit
        transaction.delete(.epoch(session.id, old))
        try transaction.scanRaw(.skipped(session.id, epoch: old)) { (row, _) throws(Failure) in
            if !open.usedKeys.contains(row.number) {
                session.skipped = session.skipped > 0 ? session.skipped - 1 : 0
                open.lost += 1
            }
            open.usedKeys.insert(row.number)
            transaction.delete(row)
            return true
        }
    }

    /// Of all that are kept the oldest go first.
    private func giveUpOldest(_ open: OpenSession) throws(Failure) {
        let session = open.session
        var surplus = session.skipped - Session.skippedLimit
        let given = UInt64(surplus)
        var positions: [UInt64] = Array(open.skipped.keys)
        try transaction.scanRaw(.of(.skipped, session.id)) { (row, _) in
            if !open.usedKeys.contains(row.number) { positions.append(row.number) }
            return positions.count < Int(surplus) + open.skipped.count
        }
        for position in positions.sorted() where surplus > 0 {
            transaction.delete(.skipped(session.id, position))
            surplus -= 1
        }
        session.skipped = Session.skippedLimit
        open.lost += given
    }
}
