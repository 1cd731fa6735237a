/// Why a call was refused: the one error type of everything below the facade.
///
/// The numbers belong to `Include/pawl.h`; `PawlABI` translates case by case, so a case
/// without a number does not compile.
package enum Failure: Error, Equatable {
    case misuse(Misuse)
    case buffer
    case notFound
    case exists
    case state(State)
    case time
    case auth
    /// Received before.
    case replay
    case limit(Limit)
    case version
    case corrupt(Damage)
    /// `code` is the number that the engine, the vault or the operating system gave.
    case store(Storage, code: Int32)
    case busy(Busy)
    case closed(Closed)
    /// From the peer, and not readable with what is here.
    case desynchronized
    /// A bug in Pawl.
    case `internal`

    package enum Misuse: Equatable {
        case null, size, structure, flags, name, user, project, label, attribute, path, key
        case hashing, recovery, recoveryPrefix, row, time, handle, account, package
    }
    package enum State: Equatable {
        case batch, conflict, withdrawn, lastSlot, noVault
        case identity, receiveOnly, suite, ownIdentity, reservation, mode, rotation
        case backup
    }
    package enum Limit: Equatable {
        case secret, attributes, slots, memory, counter
        case message, index, sessions, packages, queue
    }
    package enum Damage: Equatable { case record, keyLost, notPawl }
    package enum Storage: Equatable {
        case failed, indeterminate, vault, full, readOnly, cannotOpen, host, lost
    }
    package enum Busy: Equatable { case writer, reentered, changed, rate, waiting }
    package enum Closed: Equatable { case closed, forked, session }
}
