package import PawlCrypto

/// The rules of credentials: limits, what a put may do, and when a time is over. Pure.
package enum CredentialRules {
    /// "No such time."
    package static let never = Int64.max

    package static let userSizes = 1...256
    package static let projectSizes = 0...256
    package static let nameSizes = 1...256
    package static let labelSizes = 0...256
    package static let attributeKeySizes = 1...128
    package static let attributeValueSizes = 0...512
    package static let attributeLimit = 64
    /// 16 MiB: what a C caller can hold in memory twice without thinking.
    package static let secretLimit = 16 << 20
    /// A secret up to this size lives in its metadata's record: one look-up for most credentials,
    /// and listing still reads little.
    package static let inlineLimit = 4 << 10

    package struct Put {
        package enum Expiry: Equatable {
            case keep
            case clear
            case set(Int64)
        }
        package var createOnly = false
        package var ifVersion: UInt64?
        package var expiry = Expiry.keep
        /// nil keeps what is there.
        package var label: Bytes?
        package var provider: Bytes?
        package var attributes: Bytes?

        package init() {}
    }

    /// A due time is reached iff now ≥ due.
    package static func isOver(_ due: Int64, now: Int64) -> Bool { due != never && now >= due }

    /// Whether `put` may replace `current` (nil: absent or expired) at `now`.
    package static func admit(
        _ put: Put, over current: CredentialRecord?, now: Int64
    ) throws(Failure) {
        if put.createOnly, current != nil { throw .exists }
        if let wanted = put.ifVersion {
            guard let current else { throw .notFound }
            guard current.version == wanted else { throw .state(.conflict) }
        }
        if case .set(let expires) = put.expiry, isOver(expires, now: now) { throw .time }
    }

    /// The record that follows `current` when `put` was admitted.
    package static func successor(
        of current: CredentialRecord?, by put: Put, scope: Scope, name: Bytes,
        secret: CredentialRecord.Secret, version: UInt64, now: Int64
    ) -> CredentialRecord {
        let expires: Int64 =
            switch put.expiry {
            case .keep: current?.expires ?? never
            case .clear: never
            case .set(let time): time
            }
        return CredentialRecord(
            version: version, created: current?.created ?? now, updated: now, expires: expires,
            user: scope.user, project: scope.project, name: name,
            label: put.label ?? current?.label ?? .empty,
            provider: put.provider ?? current?.provider ?? .empty,
            attributes: put.attributes ?? current?.attributes ?? .empty, secret: secret,
            keeping: current)
    }

    /// `time` + `duration`, saturating: far in the future is never, not a trap and not the past.
    package static func after(_ time: Int64, _ duration: Int64) -> Int64 {
        let (sum, overflow) = time.addingReportingOverflow(duration)
        return overflow ? (duration < 0 ? Int64.min : never) : sum
    }
}

/// Whose credential: a user, and one of the user's projects (may be empty).
package struct Scope {
    package let user: Bytes
    package let project: Bytes

    package init(user: Bytes, project: Bytes) throws(Failure) {
        guard user.isText(CredentialRules.userSizes) else { throw .misuse(.user) }
        guard project.isText(CredentialRules.projectSizes) else { throw .misuse(.project) }
        self.user = user
        self.project = project
    }
}
