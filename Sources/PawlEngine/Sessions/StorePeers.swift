package import PawlCore
package import PawlCrypto
internal import PawlStore

/// Peers: who an account deals with, and what the host thinks of them.
extension Store {
    package func peer(_ account: Identifier, named name: Bytes) throws(Failure) -> PeerRecord {
        try transact(.read) { (transaction) throws(Failure) in
            _ = try transaction.accountRecord(account)
            let row = try transaction.peerRow(account, name)
            guard let peer = try transaction.peer(row) else { throw .notFound }
            return peer
        }
    }

    /// At most `limit` after the one named `name` (empty: from the start), in the order of their keys. Damaged ones
    /// are left to verify.
    package func peers(
        _ account: Identifier, after name: Bytes, limit: Int
    ) throws(Failure) -> [PeerRecord] {
        try transact(.read) { (transaction) throws(Failure) in
            _ = try transaction.accountRecord(account)
            var peers: [PeerRecord] = []
            let after = name.isEmpty ? nil : try transaction.peerRow(account, name)
            try transaction.scanRaw(.of(.peer, account), after: after) {
                (row, value) throws(Failure) in
                if let buffer = try? transaction.sealer.open(value, for: row),
                    let peer = try? PeerRecord(decoding: buffer)
                {
                    peers.append(peer)
                }
                return peers.count < limit
            }
            return peers
        }
    }

    package func trust(
        _ account: Identifier, _ identity: Identity, _ trust: PeerRecord.Trust
    ) throws(Failure) {
        try Agreement.check(identity.keys.agreement)
        try changePeer(account, identity.name, mending: identity) { (peer, now) throws(Failure) in
            var peer = if let peer { peer } else { try PeerRecord(identity, now: now) }
            try peer.judge(identity.keys, trust, now: now)
            return peer
        }
    }

    package func allow(
        _ account: Identifier, _ suite: Suite, ofPeerNamed name: Bytes
    ) throws(Failure) {
        try changePeer(account, name) { (peer, _) throws(Failure) in
            guard var peer else { throw .notFound }
            peer.allow(suite)
            return peer
        }
    }

    /// In place of a damaged record. The peer's sessions are read as before, and nothing is sent in them.
    private func restored(
        _ account: Identifier, _ identity: Identity, _ transaction: Transaction
    ) throws(Failure) -> PeerRecord {
        var peer = try PeerRecord(identity, now: now())
        try transaction.eachSession(of: account) { (session) in
            if session.peer.name.sameBytes(as: identity.name) { peer.restore(session, identity) }
        }
        // How many of its sessions nobody has confirmed is known of the others alone.
        var state = try transaction.accountState(account)
        var unconfirmed = 0
        try transaction.eachPeer(of: account) { (peer) in
            for entry in peer.entries where entry.isUnconfirmedInbound { unconfirmed += 1 }
        }
        state.setUnconfirmed(unconfirmed)
        try transaction.put(.accountState(account), state.encoded())
        return peer
    }

    /// `identity`: a damaged record is made anew of it.
    private func changePeer(
        _ account: Identifier, _ name: Bytes, mending identity: Identity? = nil,
        _ body: (PeerRecord?, Int64) throws(Failure) -> PeerRecord
    ) throws(Failure) {
        let ended = try transact(.write) { (transaction) throws(Failure) in
            _ = try transaction.accountRecord(account)
            let row = try transaction.peerRow(account, name)
            var before: PeerRecord?
            var known: PeerRecord?
            do throws(Failure) {
                before = try transaction.peer(row)
                known = before
            } catch {
                guard let identity, error == .corrupt(.record) else { throw error }
                known = try restored(account, identity, transaction)
            }
            let now = now()
            let peer = try body(known, now)
            try transaction.put(peer, at: row, before: before, now: now)
            // The deadline of an epoch may have passed while its session could begin no other.
            for entry in peer.entries where entry.isSendable && !entry.isWaiting {
                guard before?.entry(entry.id)?.isWaiting == true,
                    let session = try transaction.readableSession(entry.id, of: account)
                else { continue }
                try outgoing(transaction).plan(session)
            }
            return peer.entries.filter { !$0.isSendable }.map { $0.id }
        }
        for id in ended { shared.reservations.forget(id) }
    }
}
