package import PawlCore
package import PawlCrypto
internal import PawlStore

/// Key packages: what others start sessions from.
extension Store {
    /// The package, then its one-time keys.
    package func createPackage(
        _ account: Identifier, lifetime: Int64, oneTimeKeys: UInt32
    ) throws(Failure) -> [PackageRow] {
        let (record, state) = try ownRecords(account)
        let now = now()
        let draft = try PackageDraft(
            record, SuiteList(from: state.minSuite), now: now, lifetime: lifetime,
            oneTimeKeys: oneTimeKeys)
        return try transact(.write) { (transaction) throws(Failure) in
            _ = try transaction.accountRecord(account)
            guard try transaction.rotation(of: account) == nil else { throw .state(.rotation) }
            var count = 0
            try transaction.scanRaw(.of(.package, account)) { (_, _) in
                count += 1
                return true
            }
            guard count < PackageRecord.limit else { throw .limit(.packages) }
            draft.store(of: account, in: transaction)
            return try PackageRow.published(draft, now)
        }
    }

    /// Oldest first, without one-time keys.
    package func packages(_ account: Identifier) throws(Failure) -> [PackageRow] {
        try transact(.read) { (transaction) throws(Failure) in
            _ = try transaction.accountRecord(account)
            var rows: [PackageRow] = []
            try transaction.scanRaw(.of(.package, account)) { (row, value) throws(Failure) in
                // A damaged one is left to verify.
                if let buffer = try? transaction.sealer.open(value, for: row),
                    let record = try? PackageRecord(decoding: buffer),
                    let row = try? PackageRow(record)
                {
                    rows.append(row)
                }
                return true
            }
            let rotation = try transaction.readableRotation(of: account)
            for place in rows.indices {
                rows[place].standing = rotation?.standing(of: rows[place].id)
                let prefix = rows[place].id.withBytes {
                    RowKey.of(.oneTime, account).appending($0)
                }
                try transaction.scanRaw(prefix) { (_, _) in
                    rows[place].oneTimeCount += 1
                    return true
                }
            }
            return rows.sorted { ($0.created, $0.id) < ($1.created, $1.id) }
        }
    }

    package func deletePackage(_ account: Identifier, _ id: Identifier) throws(Failure) {
        try transact(.write) { (transaction) throws(Failure) in
            guard try transaction.get(.package(account, id)) != nil else { throw .notFound }
            if var rotation = try transaction.rotation(of: account) {
                guard rotation.forget(id) else { throw .state(.rotation) }
                transaction.change(rotation, of: account)
                try transaction.cancel(Job(.deletePackage, id))
            }
            try transaction.erasePackage(account, id)
        }
    }

    package func setMinSuite(_ account: Identifier, _ suite: Suite) throws(Failure) {
        guard suite <= .strongest else { throw .state(.suite) }
        try transact(.write) { (transaction) throws(Failure) in
            _ = try transaction.accountRecord(account)
            var state = try transaction.accountState(account)
            guard state.minSuite != suite else { return }
            state.minSuite = suite
            try transaction.put(.accountState(account), state.encoded())
            // What is published, or about to be, does not offer what is wanted.
            guard var rotation = try transaction.readableRotation(of: account) else { return }
            rotation.renew(now: now())
            transaction.change(rotation, of: account)
        }
    }

    func ownRecords(
        _ account: Identifier
    ) throws(Failure) -> (record: AccountRecord, state: AccountState) {
        try transact(.read) { (transaction) throws(Failure) in
            try transaction.ownRecords(account)
        }
    }
}

extension Transaction {
    func ownRecords(
        _ account: Identifier
    ) throws(Failure) -> (record: AccountRecord, state: AccountState) {
        (try accountRecord(account), try accountState(account))
    }

    /// With its one-time keys, and what is known of who used them.
    func erasePackage(_ account: Identifier, _ id: Identifier) throws(Failure) {
        delete(.package(account, id))
        for kind in [RowKind.oneTime, .welcome] {
            try deleteAll(RowKey.of(kind, account).appending(id))
        }
        try scheduleCheckpoint()
    }
}

package struct PackageRow {
    package let id: Identifier
    /// nil: the package itself.
    package let number: UInt32?
    /// Nanoseconds.
    package let created: Int64
    package let notBefore: Int64
    package let notAfter: Int64
    package fileprivate(set) var oneTimeCount: UInt32
    package let bytes: SecretBuffer
    /// nil: the host made it, and has to delete it.
    package fileprivate(set) var standing: Rotation.Standing?

    /// A package as it is listed.
    fileprivate init(_ record: PackageRecord) throws(Failure) {
        let package = try KeyPackage(own: record.published)
        self.init(
            package, number: nil, created: record.created, oneTimeCount: 0,
            bytes: try SecretBuffer(copying: record.published))
    }

    fileprivate init(
        _ package: KeyPackage, number: UInt32?, created: Int64, oneTimeCount: UInt32,
        bytes: SecretBuffer
    ) {
        id = package.id
        self.number = number
        self.created = created
        notBefore = Store.nanoseconds(package.notBefore)
        notAfter = Store.nanoseconds(package.notAfter)
        self.oneTimeCount = oneTimeCount
        self.bytes = bytes
    }
}

extension PackageRow {
    fileprivate static func published(
        _ draft: PackageDraft, _ now: Int64
    ) throws(Failure) -> [PackageRow] {
        var published: [PackageRow] = []
        guard let first = draft.bytes.first else { throw .internal }
        let package = try KeyPackage(own: first.bytes)
        for (place, (number, _)) in draft.rows.enumerated() {
            published.append(
                PackageRow(
                    package, number: number == 0 ? nil : number, created: now,
                    oneTimeCount: number == 0 ? UInt32(draft.bytes.count - 1) : 0,
                    bytes: draft.bytes[place]))
        }
        return published
    }
}
