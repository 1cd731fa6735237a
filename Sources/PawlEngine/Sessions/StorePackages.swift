internal import PawlCore
package import PawlCrypto
internal import PawlStore

/// Key packages: what others start sessions from.
extension Store {
    /// The package, then its one-time keys.
    package func createPackage(
        _ account: Identifier, lifetime: Int64, oneTimeKeys: UInt32
    ) throws(Failure) -> [PackageRow] {
        // All of it is drawn and signed before the store is locked: a hundred keys take some milliseconds.
        let (record, state) = try ownRecords(account)
        let now = now()
        let draft = try PackageDraft(
            record, SuiteList(from: state.minSuite), now: now, lifetime: lifetime,
            oneTimeKeys: oneTimeKeys)
        return try transact(.write) { (transaction) throws(Failure) in
            _ = try transaction.accountRecord(account)
            var count = 0
            try transaction.scanRaw(.of(.package, account)) { (_, _) in
                count += 1
                return true
            }
            guard count < PackageRecord.limit else { throw .limit(.packages) }
            for (number, row) in draft.rows {
                try transaction.put(
                    number == 0
                        ? .package(account, draft.id) : .oneTime(account, draft.id, number), row)
            }
            return try draft.published(now)
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
            for place in rows.indices {
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
            let row = RowKey.package(account, id)
            guard try transaction.get(row) != nil else { throw .notFound }
            transaction.delete(row)
            for kind in [RowKind.oneTime, .welcome] {
                try transaction.deleteAll(id.withBytes { RowKey.of(kind, account).appending($0) })
            }
            try transaction.scheduleCheckpoint()
        }
    }

    package func setMinSuite(_ account: Identifier, _ suite: Suite) throws(Failure) {
        guard suite <= .strongest else { throw .state(.suite) }
        try transact(.write) { (transaction) throws(Failure) in
            _ = try transaction.accountRecord(account)
            var state = try transaction.accountState(account)
            state.minSuite = suite
            try transaction.put(.accountState(account), state.encoded())
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

extension PackageRecord.Drawn {
    static func draw(_ suites: SuiteList) throws(Failure) -> PackageRecord.Drawn {
        guard suites.contains(.xwing) else {
            return PackageRecord.Drawn(agreement: try Agreement.draw(), encapsulation: nil)
        }
        let pair = try SecretBuffer(
            count: Encapsulation.secretSize + Encapsulation.publicSize)
        try Encapsulation.draw(
            secret: UnsafeMutableRawBufferPointer(
                rebasing: pair.mutableBytes[..<Encapsulation.secretSize]),
            public: UnsafeMutableRawBufferPointer(
                rebasing: pair.mutableBytes[Encapsulation.secretSize...]))
        return PackageRecord.Drawn(agreement: try Agreement.draw(), encapsulation: pair)
    }
}

/// A package on its way into the store: number 0, and its one-time keys from 1 on.
private struct PackageDraft {
    let id = Identifier.random()
    private(set) var rows: [(number: UInt32, row: SecretBuffer)] = []
    private var bytes: [SecretBuffer] = []

    init(
        _ record: AccountRecord, _ suites: SuiteList, now: Int64, lifetime: Int64,
        oneTimeKeys: UInt32
    ) throws(Failure) {
        let start = Store.milliseconds(now)
        let keys = try PackageRecord.Drawn.draw(suites)
        let package = try KeyPackage.write(
            id: id, identity: record.triple, suites: suites,
            notBefore: start.subtractingSaturated(KeyPackage.clockSkew),
            notAfter: start.addingSaturated(lifetime / 1_000_000), keys: keys.publicKeys,
            seed: record.signingSeed)
        rows.append((0, try keys.encoded(published: package, created: now)))
        bytes.append(package)
        let hash = try KeyPackage.hash(package.bytes)
        for number in 0..<oneTimeKeys {
            let keys = try PackageRecord.Drawn.draw(suites)
            let key = try KeyPackage.writeOneTime(
                package: id, hash: hash.bytes, number: number + 1, keys: keys.publicKeys,
                seed: record.signingSeed)
            rows.append((number + 1, try keys.encoded(published: key, created: now)))
            bytes.append(key)
        }
        withExtendedLifetime(record) {}
    }

    func published(_ now: Int64) throws(Failure) -> [PackageRow] {
        var published: [PackageRow] = []
        guard let first = bytes.first else { throw .internal }
        let package = try KeyPackage(own: first.bytes)
        for (place, (number, _)) in rows.enumerated() {
            published.append(
                PackageRow(
                    package, number: number == 0 ? nil : number, created: now,
                    oneTimeCount: number == 0 ? UInt32(bytes.count - 1) : 0, bytes: bytes[place]))
        }
        return published
    }
}
