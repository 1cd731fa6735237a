internal import PawlCore
internal import PawlCrypto
internal import PawlStore

/// An account's rotation is read once in a call, and written when the call is over, together with the jobs that follow
/// from it.
extension Transaction {
    func rotation(of account: Identifier) throws(Failure) -> Rotation? {
        if let rotation = rotations[account] { return rotation }
        guard let buffer = try get(.of(.rotation, account)) else { return nil }
        return try Rotation(decoding: buffer)
    }

    /// For those to whom a damaged one is as good as none.
    func readableRotation(of account: Identifier) throws(Failure) -> Rotation? {
        do throws(Failure) {
            return try rotation(of: account)
        } catch {
            guard error == .corrupt(.record) else { throw error }
            return nil
        }
    }

    func change(_ rotation: Rotation, of account: Identifier) { rotations[account] = rotation }

    /// No job of an account's packages is left, and no record.
    func endRotation(of account: Identifier) throws(Failure) {
        for package in try readableRotation(of: account)?.superseded ?? [] {
            try cancel(Job(.deletePackage, package.id))
        }
        for kind in [JobKind.rotatePackage, .replenish, .verifyPublication] {
            try cancel(Job(kind, account))
        }
        delete(.of(.rotation, account))
    }

    /// Turns what has changed into records and jobs.
    func concludeRotations() throws(Failure) {
        let now = clock.now()
        for (account, rotation) in rotations {
            try put(.of(.rotation, account), rotation.encoded())
            let due = rotation.deadlines(now: now)
            try plan(Job(.rotatePackage, account), at: due.rotate)
            try plan(Job(.verifyPublication, account), at: due.readback)
            let keys = Job(.replenish, account)
            if let due = due.keys { try pullIn(keys, to: due) } else { try plan(keys, at: nil) }
            for package in rotation.superseded {
                try plan(Job(.deletePackage, package.id), at: package.removeAt, of: account)
            }
        }
    }

    private func plan(
        _ job: Job, at time: Int64?, of account: Identifier? = nil
    ) throws(Failure) {
        guard try due(of: job) != time else { return }
        guard let time else { return try cancel(job) }
        try schedule(job, at: time, detail: account.map { $0.withBytes { [UInt8]($0) } } ?? [])
    }
}
