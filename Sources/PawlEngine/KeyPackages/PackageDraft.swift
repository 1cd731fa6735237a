internal import PawlCore
internal import PawlCrypto
internal import PawlStore

/// Key packages and one-time keys on their way into the store: drawn and signed before it is locked, because a hundred
/// keys take some milliseconds.
struct PackageDraft {
    let id: Identifier
    /// Nanoseconds.
    let notAfter: Int64
    /// The package (0), unless it is there already, and one-time keys.
    private(set) var rows: [(number: UInt32, row: SecretBuffer)] = []
    /// As they are published, in the same order.
    private(set) var bytes: [SecretBuffer] = []

    /// A package with one-time keys.
    init(
        _ record: AccountRecord, _ suites: SuiteList, now: Int64, lifetime: Int64,
        oneTimeKeys: UInt32
    ) throws(Failure) {
        id = Identifier.random()
        let start = Store.milliseconds(now)
        let end = start.addingSaturated(lifetime / 1_000_000)
        notAfter = Store.nanoseconds(end)
        let keys = try PackageRecord.Drawn.draw(suites)
        let package = try KeyPackage.write(
            id: id, identity: record.triple, suites: suites,
            notBefore: start.subtractingSaturated(KeyPackage.clockSkew), notAfter: end,
            keys: keys.publicKeys, seed: record.signingSeed)
        rows.append((0, try keys.encoded(published: package, created: now)))
        bytes.append(package)
        let hash = try KeyPackage.hash(package.bytes)
        try addKeys(record, suites, hash, oneTimeKeys, from: 1, now: now)
    }

    /// More one-time keys of a package.
    init(
        _ record: AccountRecord, keysOf package: KeyPackage, count: UInt32, from first: UInt32,
        now: Int64
    ) throws(Failure) {
        id = package.id
        notAfter = Store.nanoseconds(package.notAfter)
        try addKeys(record, package.suites, package.hash, count, from: first, now: now)
    }

    private mutating func addKeys(
        _ record: AccountRecord, _ suites: SuiteList, _ hash: SecretBuffer, _ count: UInt32,
        from first: UInt32, now: Int64
    ) throws(Failure) {
        for number in 0..<count {
            let (number, overflow) = first.addingReportingOverflow(number)
            guard !overflow else { throw .limit(.packages) }
            let keys = try PackageRecord.Drawn.draw(suites)
            let key = try KeyPackage.writeOneTime(
                package: id, hash: hash.bytes, number: number, keys: keys.publicKeys,
                seed: record.signingSeed)
            rows.append((number, try keys.encoded(published: key, created: now)))
            bytes.append(key)
        }
        withExtendedLifetime(record) {}
    }

    func store(of account: Identifier, in transaction: Transaction) {
        for (number, row) in rows {
            transaction.put(
                number == 0 ? .package(account, id) : .oneTime(account, id, number), row)
        }
    }
}

extension PackageRecord.Drawn {
    fileprivate static func draw(_ suites: SuiteList) throws(Failure) -> PackageRecord.Drawn {
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
