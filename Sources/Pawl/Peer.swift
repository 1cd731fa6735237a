import CPawl

/// Somebody an account has, had or expects a session with, known by name.
public struct Peer: Sendable, Hashable {
    /// What the user thinks of a peer's identity.
    public enum Trust: UInt32, Sendable, Hashable {
        /// Whatever keys this name shows are taken, and a change is told.
        case unverified = 0
        /// The user compared safety numbers: other keys must be accepted first.
        case verified = 1
    }

    /// Who the peer is.
    public let identity: Identity
    /// The same name with other keys, which were seen and wait to be accepted; nil: none.
    public let newIdentity: Identity?
    /// What the user thinks of ``identity``; nil for a trust that this version does not know.
    public let trust: Trust?
    /// The strongest suite seen, the weakest if there was none yet; a weaker one is refused. Nil for
    /// a suite that this version does not know.
    public let suite: Suite?
    /// The session to send in; nil: none.
    public let session: Session.ID?
    /// When its keys were first seen, or changed last.
    public let changed: Timestamp

    init(_ row: pawl_peer) {
        identity = Identity(row.signing_key, row.agreement_key, row.name, row.name_size)
        newIdentity =
            row.flags & UInt32(PAWL_PEER_CHANGED) == 0
            ? nil
            : Identity(row.new_signing_key, row.new_agreement_key, row.name, row.name_size)
        trust = Trust(rawValue: row.trust)
        suite = Suite(rawValue: row.suite)
        session =
            row.flags & UInt32(PAWL_PEER_HAS_SESSION) == 0 ? nil : Session.ID(row: row.session)
        changed = Timestamp(nanoseconds: row.changed_ns)
    }
}

extension Account {
    /// What is known of the peer of a name.
    ///
    /// - Throws: ``PawlError/Code/notFound``.
    public func peer(named name: String) async throws(PawlError) -> Peer {
        try await store.run { calls throws(PawlError) in try calls.peer(name, id) }
    }

    /// One page of peers, after the one called `name`. The order is stable and means nothing.
    ///
    /// - Parameters:
    ///   - name: the last of the page before; nil: from the start.
    ///   - limit: 1 to 10,000; a page with fewer is the last.
    public func peers(
        after name: String? = nil, limit: Int = 1000
    ) async throws(PawlError) -> [Peer] {
        try await store.run { calls throws(PawlError) in
            try calls.peers(id, after: name ?? "", limit: limit)
        }
    }

    /// All peers, asked for by the page.
    ///
    /// - Parameter pageSize: how many to ask for at a time, 1 to 10,000.
    public func allPeers(pageSize: Int = 1000) -> Pages<Peer> {
        Pages(of: pageSize) { last throws(PawlError) in
            try await self.peers(after: last?.identity.name, limit: pageSize)
        }
    }

    /// Says what the user thinks of a peer's identity, and accepts it if it was waiting for that.
    /// Sessions with its former keys become receive-only. A peer that is not known yet is noted.
    /// One whose record is damaged gets a new one, and all its sessions become receive-only.
    ///
    /// - Throws: ``PawlError/Reason/misuseAccount`` if the name breaks the rules,
    ///   ``PawlError/Code/notFound`` (no such account any more).
    public func trust(_ identity: Identity, as trust: Peer.Trust) async throws(PawlError) {
        try await store.run { calls throws(PawlError) in try calls.trust(identity, trust, id) }
    }

    /// Allows a weaker suite again than a peer once used.
    ///
    /// - Throws: ``PawlError/Code/notFound``.
    public func allowSuite(_ suite: Suite, ofPeerNamed name: String) async throws(PawlError) {
        try await store.run { calls throws(PawlError) in try calls.allowSuite(suite, name, id) }
    }
}
