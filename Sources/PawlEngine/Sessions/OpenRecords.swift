internal import PawlCore
internal import PawlCrypto

// What a call that receives works on: read once, changed in memory, written when all frames are through.

/// What a welcome asks for of one's own.
struct PrivateHalves {
    let record: PackageRecord
    let oneTime: PackageRecord?
    let package: KeyPackage
    private let published: SecretBuffer

    init(
        _ record: PackageRecord, _ oneTime: PackageRecord?, published: SecretBuffer
    ) throws(Failure) {
        self.record = record
        self.oneTime = oneTime
        self.published = published
        package = try KeyPackage(own: published.bytes)
    }
}

/// The account that a call receives for. Its record, in which its keys are, is opened only where they are needed.
final class OpenAccount {
    private let id: Identifier
    private let transaction: Transaction
    private var known: AccountRecord?
    private var stored: AccountState?
    private var changed: AccountState?

    init(_ id: Identifier, _ transaction: Transaction) {
        self.id = id
        self.transaction = transaction
    }

    func record() throws(Failure) -> AccountRecord {
        if let known { return known }
        let record = try transaction.accountRecord(id)
        known = record
        return record
    }

    func state() throws(Failure) -> AccountState {
        if let state = changed ?? stored { return state }
        let state = try transaction.accountState(id)
        stored = state
        return state
    }

    func change(_ state: AccountState) { changed = state }

    func finish() throws(Failure) {
        if let changed { try transaction.put(.accountState(id), changed.encoded()) }
    }
}

/// A peer while a call receives.
final class OpenPeer {
    let stored: PeerRecord?
    private(set) var record: PeerRecord
    private(set) var isChanged = false

    /// `stored` nil: not known before.
    init(_ record: PeerRecord, stored: PeerRecord?) {
        self.stored = stored
        self.record = record
    }

    func change(_ body: (inout PeerRecord) -> Void) {
        let before = record
        body(&record)
        if !record.hasSameSessions(as: before) { isChanged = true }
    }

    func isWaiting(_ session: Identifier) -> Bool { record.entry(session)?.isWaiting == true }

    func replace(by record: PeerRecord) {
        self.record = record
        isChanged = true
    }
}

/// A session that a call receives in, with what the call has changed.
final class OpenSession {
    let session: Session
    /// Not before a frame has passed the filter.
    var peer: OpenPeer?
    var isChanged = false
    /// Keys of late messages that this call found, by epoch and index.
    var skipped: [UInt64: SecretBuffer] = [:]
    /// Stored ones that it used.
    var usedKeys: Set<UInt64> = []
    var kept: [UInt64: SecretBuffer] = [:]
    var lost: UInt64 = 0
    /// Epochs whose chains went.
    var closed: [ClosedEpoch] = []
    /// What is to be said and done for all frames of the call.
    var outcome = Rekey.Outcome()

    init(_ session: Session) { self.session = session }
}

extension Frame {
    /// Epoch and index, in their order.
    var position: UInt64 { UInt64(epoch) << 32 | UInt64(index) }
}

extension Failure {
    /// Whether it concerns one frame, and not the store.
    var isOfOneFrame: Bool {
        switch self {
        case .store, .busy, .closed, .internal, .limit(.memory), .limit(.counter): false
        default: true
        }
    }
}
