package import PawlCore
package import PawlCrypto
internal import PawlStore

/// Sessions: started, reset, closed, looked at.
extension Store {
    package func startSession(
        _ account: Identifier, peer name: Bytes, _ package: Bytes
    ) throws(Failure) -> Identifier {
        let start = try prepare(account, package) { (package) throws(Failure) in
            guard package.identity.name.sameBytes(as: name) else { throw .auth }
        }
        let refusal = try transact(.write) { (transaction) throws(Failure) in
            try begin(start, in: transaction)
        }
        if let refusal { throw refusal }
        return start.id
    }

    /// In place of a session that has parted from its peer's.
    package func resetSession(
        _ id: Identifier, _ package: Bytes
    ) throws(Failure) -> Identifier {
        let old = try transact(.read) { (transaction) throws(Failure) in
            try transaction.session(id)
        }
        try checkRate(old.peer)
        let start = try prepare(old.session.account, package) { (package) throws(Failure) in
            guard package.identity.isSame(as: old.session.peer) else { throw .auth }
        }
        let refusal = try transact(.write) { (transaction) throws(Failure) in
            try checkRate(transaction.session(id).peer)
            return try begin(start, replacing: id, isReset: true, in: transaction)
        }
        if let refusal { throw refusal }
        shared.reservations.forget(id)
        return start.id
    }

    /// Once a minute at most: a reset costs the peer a key package.
    private func checkRate(_ peer: PeerRecord) throws(Failure) {
        let since = now().subtractingSaturated(peer.lastReset)
        guard peer.lastReset == .min || since < 0 || since >= Backoff.minute else {
            throw .busy(.rate)
        }
    }

    // MARK: Starting

    /// Checks a package and computes the session: under no lock, unless inside of a transaction.
    func prepare(
        _ account: Identifier, _ bytes: Bytes, in transaction: Transaction? = nil,
        _ check: (KeyPackage) throws(Failure) -> Void
    ) throws(Failure) -> Session {
        let package = try KeyPackage(bytes)
        try check(package)
        let now = Self.milliseconds(now())
        try package.checkLifetime(now: now)
        let (record, state) =
            if let transaction { try transaction.ownRecords(account) } else {
                try ownRecords(account)
            }
        let suites = try SuiteList(from: state.minSuite)
        guard let suite = suites.strongest(in: package.suites) else { throw .state(.suite) }
        return try SetUp.start(
            SetUp.Own(account: account, record: record), package, suite: suite, suites: suites,
            drawn: SetUp.Drawn.draw(for: package, suite), created: now)
    }

    /// Stores a session and gives its set-up a deadline. Answers why it was refused, if the new keys of a verified
    /// peer, which are noted, were the reason.
    func begin(
        _ session: Session, replacing old: Identifier? = nil, isReset: Bool = false,
        in transaction: Transaction
    ) throws(Failure) -> Failure? {
        let now = now()
        _ = try transaction.accountRecord(session.account)
        guard try transaction.session(session.half, of: session.account) == nil else {
            throw .exists
        }
        let row = try transaction.peerRow(session.account, session.peer.name)
        let before = try transaction.peer(row)
        var peer = if let before { before } else { try PeerRecord(session.peer, now: now) }
        let sighting = try peer.see(session.peer.keys, session.suite, now: now)
        if let surplus = try outgoing(transaction).surplus(of: peer, session.account) {
            if peer.entry(surplus.id)?.isUnconfirmedInbound == true {
                try forgetUnconfirmed(session.account, in: transaction)
            }
            peer.end(surplus.id)
            try outgoing(transaction).finish(surplus)
        }
        let isWaiting = try peer.isWaiting(session.peer.keys)
        if sighting == .changed, before != nil {
            _ = try transaction.enqueue(
                .event(
                    SessionEvent.identityChanged.rawValue, account: session.account,
                    session: isWaiting ? nil : session.id, peer: session.peer))
        }
        guard !isWaiting else {
            try transaction.put(peer, at: row, before: before, now: now)
            return .state(.identity)
        }
        try peer.start(session.id, created: session.created)
        if let old { peer.replace(old, by: session.id, isReset: isReset) }
        if isReset { peer.lastReset = now }
        session.pace.begin(now: now)
        if try transaction.accountState(session.account).keepsHistory {
            try session.keepHistory(isNew: true)
        }
        try transaction.put(session)
        try transaction.put(peer, at: row, before: before, now: now)
        try transaction.schedule(
            Job(.setUpDeadline, session.id), at: Backoff.after(now, Session.answerDeadline))
        return nil
    }

    // MARK: Ending

    package func closeSession(_ id: Identifier) throws(Failure) {
        let reserved = takeReserved(id)
        try transact(.write) { (transaction) throws(Failure) in
            let conversation = try transaction.session(id)
            if let reserved { conversation.session.giveBack(reserved) }
            try bury(conversation, in: transaction)
            try takeOut(conversation, in: transaction)
            try transaction.erase(id)
            try transaction.deleteAll(.of(.kept, id))
        }
        shared.reservations.forget(id)
    }

    /// Tells the peer, if it can know of the session, and keeps what it takes to tell again.
    private func bury(
        _ conversation: Conversation, in transaction: Transaction
    ) throws(Failure) {
        let session = conversation.session
        let outgoing = outgoing(transaction)
        try outgoing.dropQueue(session)
        if case .closed = session.rekey.phase { return }
        guard session.hasSent || session.side == .responder else { return }
        if session.sending.index < Session.indexLimit {
            _ = try outgoing.post(session, nil, [.close])
        }
        try session.bury()
        try transaction.put(.of(.tombstone, session.id), session.encoded())
        try transaction.schedule(
            Job(.tombstone, session.id), at: Backoff.after(now(), Outgoing.tombstoneLife))
    }

    /// Out of its peer's record.
    func takeOut(_ conversation: Conversation, in transaction: Transaction) throws(Failure) {
        let session = conversation.session
        if conversation.peer.entry(session.id)?.isUnconfirmedInbound == true {
            try forgetUnconfirmed(session.account, in: transaction)
        }
        conversation.peer.end(session.id)
        try transaction.put(conversation.peerRow, conversation.peer.encoded())
    }

    private func forgetUnconfirmed(
        _ account: Identifier, in transaction: Transaction
    ) throws(Failure) {
        var state = try transaction.accountState(account)
        state.removeUnconfirmed()
        try transaction.put(.accountState(account), state.encoded())
    }

    // MARK: Looking

    package func session(_ id: Identifier) throws(Failure) -> SessionRow {
        try transact(.read) { (transaction) throws(Failure) in
            try SessionRow(transaction.session(id), transaction)
        }
    }

    /// All with one peer, oldest first. Damaged ones are left to verify.
    package func sessions(
        _ account: Identifier, peer name: Bytes
    ) throws(Failure) -> [SessionRow] {
        try transact(.read) { (transaction) throws(Failure) in
            _ = try transaction.accountRecord(account)
            let row = try transaction.peerRow(account, name)
            var rows: [SessionRow] = []
            for entry in try transaction.peer(row)?.entries ?? [] {
                do throws(Failure) {
                    rows.append(try SessionRow(transaction.session(entry.id), transaction))
                } catch {
                    switch error {
                    case .corrupt, .notFound, .version: continue
                    default: throw error
                    }
                }
            }
            return rows
        }
    }
}

extension SetUp.Drawn {
    fileprivate static func draw(
        for package: KeyPackage, _ suite: Suite
    ) throws(Failure) -> SetUp.Drawn {
        let keys = package.oneTime?.keys ?? package.initKeys
        return SetUp.Drawn(
            ephemeral: try Agreement.draw(),
            encapsulated: suite == .xwing
                ? try Encapsulation.encapsulate(to: keys.encapsulation) : nil)
    }
}

package struct SessionRow {
    package let session: Session
    package let entry: PeerRecord.Entry
    /// When it is erased; `CredentialRules.never`: it is not.
    package let ends: Int64

    init(_ conversation: Conversation, _ transaction: Transaction) throws(Failure) {
        session = conversation.session
        guard let entry = conversation.peer.entry(session.id) else { throw .corrupt(.record) }
        self.entry = entry
        ends =
            try transaction.due(of: Job(.sessionEnd, session.id)) ?? CredentialRules.never
    }
}
