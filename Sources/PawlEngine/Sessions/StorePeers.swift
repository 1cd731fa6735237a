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
        try changePeer(account, identity.name) { (peer, now) throws(Failure) in
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

    private func changePeer(
        _ account: Identifier, _ name: Bytes,
        _ body: (PeerRecord?, Int64) throws(Failure) -> PeerRecord
    ) throws(Failure) {
        let ended = try transact(.write) { (transaction) throws(Failure) in
            _ = try transaction.accountRecord(account)
            let row = try transaction.peerRow(account, name)
            let before = try transaction.peer(row)
            let now = now()
            let peer = try body(before, now)
            try transaction.put(peer, at: row, before: before, now: now)
            return peer.entries.filter { !$0.isSendable }.map { $0.id }
        }
        for id in ended { shared.reservations.forget(id) }
    }
}
