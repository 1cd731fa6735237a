package import PawlCrypto

/// One put whose secret lives in a vault that cannot join the store's transaction.
///
///     intended ──set ok──► stored ──flip──► flipped ──remove old──► settled (stored)
///        │                   │                 └─ no old value ───► settled (stored)
///        └──set failed───────┴──flip refused──► withdrawing ──remove new──► settled (refused)
///
/// Each arrow is one step that may be the last before a crash. `intended` and `stored` leave the intent
/// behind, `flipped` and a failed removal leave an orphan; reconcile settles both. The flip is the
/// one point at which readers see the new value.
package struct VaultWrite: Equatable {
    private enum State: Equatable {
        /// The intent is committed; the vault may or may not hold the new value.
        case intended
        /// The vault holds the new value, nothing points to it.
        case stored
        /// The new value cannot become current and has to leave the vault.
        case withdrawing(Failure, cause: Int32)
        /// The record points to the new value; the old one, an orphan by then, has to go.
        case flipped
        case settled
    }

    /// What the engine does next.
    package enum Action: Equatable {
        case setNew
        /// Point the record to the new value, drop the intent and record the old value as an
        /// orphan, in one transaction.
        case flip
        case removeNew
        case removeOld
        /// Drop the intent and answer with the failure.
        case forgetIntent(Failure)
        /// Turn the intent into an orphan with both causes and answer with the failure.
        case recordOrphan(Failure, causeSet: Int32, causeRemove: Int32)
        case forgetOrphan
        /// Note the cause in the orphan; the put has succeeded all the same.
        case keepOrphan(causeRemove: Int32)
        case done
    }

    package enum Flip: Equatable {
        /// The record points to the new value; `replaced`: it pointed to another vault value before.
        case flipped(replaced: Bool)
        /// Refused, with nothing changed.
        case refused(Failure)
    }

    private var state = State.intended

    /// The intent is committed.
    package init() {}

    package var first: Action { .setNew }

    /// The vault answered the set; 0 is success.
    package mutating func setAnswered(_ code: Int32) throws(Failure) -> Action {
        guard state == .intended else { throw .internal }
        guard code == 0 else {
            state = .withdrawing(.store(.vault, code: code), cause: code)
            return .removeNew
        }
        state = .stored
        return .flip
    }

    package mutating func flipAnswered(_ flip: Flip) throws(Failure) -> Action {
        guard state == .stored else { throw .internal }
        switch flip {
        case .flipped(replaced: true):
            state = .flipped
            return .removeOld
        case .flipped(replaced: false):
            state = .settled
            return .done
        case .refused(let failure):
            state = .withdrawing(failure, cause: 0)
            return .removeNew
        }
    }

    /// The vault answered the removal of the new value, or of the old one; 0 is success.
    package mutating func removeAnswered(_ code: Int32) throws(Failure) -> Action {
        switch state {
        case .withdrawing(let failure, let cause):
            state = .settled
            return code == 0
                ? .forgetIntent(failure)
                : .recordOrphan(failure, causeSet: cause, causeRemove: code)
        case .flipped:
            state = .settled
            return code == 0 ? .forgetOrphan : .keepOrphan(causeRemove: code)
        case .intended, .stored, .settled: throw .internal
        }
    }
}
