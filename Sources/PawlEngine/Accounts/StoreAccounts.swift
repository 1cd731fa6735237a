internal import PawlCore
package import PawlCrypto
internal import PawlStore

/// Accounts: identities in a store.
extension Store {
    /// Draws an identity and answers its account's id.
    package func createAccount(named name: Bytes) throws(Failure) -> Identifier {
        let keys = try IdentityKeys.draw()
        return try transact(.write) { (transaction) throws(Failure) in
            let id = Identifier.random()
            let record = try AccountRecord.encode(name: name, keys: keys, created: now())
            transaction.put(.account(id), record)
            return id
        }
    }

    package func account(_ id: Identifier) throws(Failure) -> AccountRow {
        let buffer = try transact(.read) { (transaction) throws(Failure) in
            try transaction.get(.account(id))
        }
        guard let buffer else { throw .notFound }
        return try AccountRow(id: id, record: AccountRecord(decoding: buffer))
    }

    /// In the order of their ids, at most `limit` after `after`. Damaged ones are left to verify.
    package func accounts(after: Identifier?, limit: Int) throws(Failure) -> [AccountRow] {
        try transact(.read) { (transaction) throws(Failure) in
            var rows: [AccountRow] = []
            let start = after.map { RowKey.account($0) }
            try transaction.scanRaw(RowKey(.account), after: start) {
                (row, value) throws(Failure) in
                if let id = row.accountID,
                    let buffer = try? transaction.sealer.open(value, for: row),
                    let record = try? AccountRecord(decoding: buffer)
                {
                    rows.append(AccountRow(id: id, record: record))
                }
                return rows.count < limit
            }
            return rows
        }
    }

    /// With its packages, peers and sessions, and what the outbox holds of them.
    package func deleteAccount(_ id: Identifier) throws(Failure) {
        let sessions = try transact(.write) { (transaction) throws(Failure) in
            var isThere = false
            try transaction.getRaw(.account(id)) { _ in isThere = true }
            guard isThere else { throw .notFound }
            // Either record may be damaged.
            var sessions: Set<Identifier> = []
            try transaction.eachPeer(of: id) { (peer) in
                for entry in peer.entries { sessions.insert(entry.id) }
            }
            try transaction.eachSession(of: id) { (session) in sessions.insert(session.id) }
            for session in sessions {
                try transaction.erase(session)
                try transaction.deleteAll(.of(.kept, session))
            }
            try transaction.endBackup(of: id)
            for kind in [
                RowKind.account, .accountState, .package, .oneTime, .welcome, .peer, .history,
            ] {
                try transaction.deleteAll(.of(kind, id))
            }
            try transaction.endRotation(of: id)
            try transaction.deleteTombstones(of: id)
            try transaction.dropItems(of: id)
            try transaction.scheduleCheckpoint()
            return sessions
        }
        shared.history.forgetAll()
        for session in sessions { shared.reservations.forget(session) }
    }
}

extension RowKey {
    fileprivate static func account(_ id: Identifier) -> RowKey { of(.account, id) }

    fileprivate var accountID: Identifier? { identifier(at: 0) }
}
