package import PawlCrypto

/// A value in the vault that is not (any more) what a credential points to: an intent while a put is
/// under way, an orphan once its removal is all that is left.
///
/// Layout (little endian): format 1, vault id 16, version 8, base 8, recorded 8, lease 8, sighted 8,
/// cause set 4, cause remove 4, attempts 4, user, project, name (u16 length each).
package struct UnfinishedRecord {
    package var id: VaultID
    package var version: UInt64
    /// The version that was current when the put began; 0: none.
    package var base: UInt64
    package var recorded: Int64
    package var lease: Int64
    package var sighted = CredentialRules.never
    package var causeSet: Int32 = 0
    package var causeRemove: Int32 = 0
    package var attempts: UInt32 = 0
    package var user: Bytes
    package var project: Bytes
    package var name: Bytes
    /// What the names borrow from.
    private let owner: Owner

    private enum Owner {
        /// The arguments of the call that built it.
        case call
        case record(CredentialRecord)
        case buffer(SecretBuffer)
    }

    private static let format: UInt8 = 1
    private static let fixedSize = 1 + VaultID.size + 5 * 8 + 3 * 4 + 3 * 2

    package init(
        id: VaultID, version: UInt64, base: UInt64, recorded: Int64, lease: Int64, user: Bytes,
        project: Bytes, name: Bytes
    ) {
        owner = .call
        self.id = id
        self.version = version
        self.base = base
        self.recorded = recorded
        self.lease = lease
        self.user = user
        self.project = project
        self.name = name
    }

    /// The value of a credential that is no longer current. Nobody writes it, so it has no lease.
    package init(orphan id: VaultID, of record: CredentialRecord, now: Int64) {
        owner = .record(record)
        self.id = id
        version = record.version
        base = 0
        recorded = now
        lease = now
        user = record.user
        project = record.project
        name = record.name
    }

    package init(decoding buffer: SecretBuffer) throws(Failure) {
        var reader = ByteReader(buffer.bytes)
        try reader.format(Self.format)
        id = try VaultID(reader.take(VaultID.size))
        version = try reader.integer(UInt64.self)
        base = try reader.integer(UInt64.self)
        recorded = try reader.integer(Int64.self)
        lease = try reader.integer(Int64.self)
        sighted = try reader.integer(Int64.self)
        causeSet = try reader.integer(Int32.self)
        causeRemove = try reader.integer(Int32.self)
        attempts = try reader.integer(UInt32.self)
        user = try reader.field(UInt16.self)
        project = try reader.field(UInt16.self)
        name = try reader.field(UInt16.self)
        try reader.finish()
        owner = .buffer(buffer)
    }

    package func encoded() throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(
            count: Self.fixedSize + user.count + project.count + name.count)
        var writer = ByteWriter(buffer.mutableBytes)
        writer.integer(Self.format)
        id.withBytes { writer.append($0) }
        writer.integer(version)
        writer.integer(base)
        for time in [recorded, lease, sighted] { writer.integer(time) }
        writer.integer(causeSet)
        writer.integer(causeRemove)
        writer.integer(attempts)
        for field in [user, project, name] { writer.field(field, UInt16.self) }
        try writer.finish()
        return buffer
    }

    /// Reconcile met it. A sighting that lies in the future is one of a clock that was wrong.
    package mutating func sight(_ now: Int64) { sighted = min(sighted, now) }

    /// What reconcile does about it now. Two sightings with the grace period between, after the lease.
    package enum Verdict: Equatable {
        case waiting
        case remove
    }

    package func verdict(now: Int64, grace: Int64) -> Verdict {
        guard now >= lease, sighted != CredentialRules.never,
            now >= CredentialRules.after(sighted, grace)
        else { return .waiting }
        return .remove
    }

    /// A removal that the vault refused.
    package mutating func removalFailed(_ code: Int32) {
        causeRemove = code
        if attempts < UInt32.max { attempts += 1 }
    }
}
