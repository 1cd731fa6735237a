package import PawlCrypto

/// What a person or a program opens a store or an archive with.
package enum UnlockKey {
    case raw(Bytes)
    case passphrase(Bytes, PasswordHash)
    /// The text of a recovery key.
    case recovery(Bytes)

    package static let rawSize = 32
    package static let passphraseSizes = 1...1024

    package enum Kind: UInt8 {
        case raw = 1
        case passphrase = 2
        case recovery = 3
    }

    package var kind: Kind {
        switch self {
        case .raw: .raw
        case .passphrase: .passphrase
        case .recovery: .recovery
        }
    }

    /// The 32 bytes that keys are derived from. Costs the Argon2id time of a passphrase.
    func stretch(
        _ hash: PasswordHash?, salt: Bytes, _ recovery: RecoveryKey.Kind
    ) throws(Failure) -> SecretBuffer {
        switch self {
        case .raw(let key): return try SecretBuffer(copying: key)
        case .recovery(let text): return try RecoveryKey.decode(text, recovery)
        case .passphrase(let text, _):
            guard let hash else { throw .corrupt(.record) }
            return try hash.hash(text, salt: salt)
        }
    }
}

/// The row that makes a set of rows a store.
///
/// Layout: format 1, store id 16, slot revision 8.
package struct StoreHeader: Equatable {
    package static var key: RowKey { RowKey(.header) }
    private static let format: UInt8 = 1

    package let id: Identifier
    /// Grows with every change of a slot, so that a change decided on an older view cannot commit.
    package var slotRevision: UInt64 = 0

    package init() { id = Identifier.random() }

    package init(decoding bytes: Bytes) throws(Failure) {
        var reader = ByteReader(bytes)
        try reader.format(Self.format)
        id = try Identifier(reader.take(Identifier.size))
        slotRevision = try reader.integer(UInt64.self)
        try reader.finish()
    }

    package func encoded() throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(count: 1 + Identifier.size + 8)
        var writer = ByteWriter(buffer.mutableBytes)
        writer.integer(Self.format)
        id.withBytes { writer.append($0) }
        writer.integer(slotRevision)
        try writer.finish()
        return buffer
    }
}

/// The master key, wrapped for one key.
///
/// Layout (little endian): format 1, store id 16, kind 1, number 1, created 8, salt 16, Argon2id passes 4
/// and memory 8 (0 unless a passphrase), commitment 32, nonce 24, wrapped master key 32, tag 16.
///
/// wrapping key ‖ commitment = KDF(stretched key; "slot", all before the commitment). All before the
/// nonce is associated data. The commitment is compared first, because XChaCha20-Poly1305 by itself
/// can be made to open under two keys.
package struct SlotRecord {
    package static let limit = 16
    private static let format: UInt8 = 1
    private static let headSize = 1 + Identifier.size + 1 + 1 + 8 + PasswordHash.saltSize + 4 + 8
    private static let commitmentSize = 32
    private static let size = headSize + commitmentSize + Seal.overhead + Sealer.masterSize

    package let store: Identifier
    package let number: UInt8
    package let kind: UnlockKey.Kind
    package let created: Int64
    /// Of a passphrase.
    package let hash: PasswordHash?
    /// The record as stored.
    package let bytes: SecretBuffer

    package static func key(_ number: UInt8) -> RowKey {
        withUnsafeBytes(of: number) { RowKey(.slot).appending($0) }
    }
    package var key: RowKey { Self.key(number) }

    private var head: Bytes { Bytes(rebasing: bytes.bytes[..<Self.headSize]) }
    private var salt: Bytes {
        let end = Self.headSize - 12
        return Bytes(rebasing: bytes.bytes[(end - PasswordHash.saltSize)..<end])
    }

    package init(decoding stored: Bytes) throws(Failure) {
        var reader = ByteReader(stored)
        try reader.format(Self.format)
        guard stored.count == Self.size else { throw .corrupt(.record) }
        store = try Identifier(reader.take(Identifier.size))
        guard let kind = UnlockKey.Kind(rawValue: try reader.integer(UInt8.self)) else {
            throw .corrupt(.record)
        }
        self.kind = kind
        number = try reader.integer(UInt8.self)
        guard Int(number) < Self.limit else { throw .corrupt(.record) }
        created = try reader.integer(Int64.self)
        _ = try reader.take(PasswordHash.saltSize)
        let passes = try reader.integer(UInt32.self)
        let memory = try reader.integer(UInt64.self)
        if kind == .passphrase {
            // Checked before hashing: a forged record must not cost more than the ceiling.
            guard let hash = try? PasswordHash(memory: memory, passes: passes) else {
                throw .corrupt(.record)
            }
            self.hash = hash
        } else {
            hash = nil
        }
        bytes = try SecretBuffer(copying: stored)
    }

    /// Wraps the master key of `sealer`. Runs under no lock and in no transaction.
    package static func wrap(
        _ sealer: Sealer, for key: UnlockKey, number: UInt8, store: Identifier, now: Int64
    ) throws(Failure) -> SlotRecord {
        var hash: PasswordHash?
        if case .passphrase(_, let wanted) = key { hash = wanted }
        let record = try SecretBuffer(count: size)
        let salt = try SecretBuffer(count: PasswordHash.saltSize)
        fillRandom(salt.mutableBytes)

        let headBytes = UnsafeMutableRawBufferPointer(rebasing: record.mutableBytes[..<headSize])
        var writer = ByteWriter(headBytes)
        writer.integer(format)
        store.withBytes { writer.append($0) }
        writer.integer(key.kind.rawValue)
        writer.integer(number)
        writer.integer(now)
        writer.append(salt.bytes)
        writer.integer(hash?.passes ?? 0)
        writer.integer(hash?.memory ?? 0)
        try writer.finish()

        let derived = try derive(
            key.stretch(hash, salt: salt.bytes, .store), head: Bytes(headBytes))
        let end = headSize + commitmentSize
        record.mutableBytes[headSize..<end].copyBytes(from: derived.bytes[KeyArena.keySize...])
        try sealer.withMaster { (master) throws(Failure) in
            try Seal.close(
                master, key: Bytes(rebasing: derived.bytes[..<KeyArena.keySize]),
                associated: Bytes(rebasing: record.bytes[..<end]),
                into: UnsafeMutableRawBufferPointer(rebasing: record.mutableBytes[end...]))
        }
        return try SlotRecord(decoding: record.bytes)
    }

    /// The master key, or nil when `key` is another slot's.
    package func unwrap(_ key: UnlockKey) throws(Failure) -> Sealer? {
        guard key.kind == kind else { return nil }
        let derived = try Self.derive(key.stretch(hash, salt: salt, .store), head: head)
        let end = Self.headSize + Self.commitmentSize
        guard
            Seal.sameSecret(
                Bytes(rebasing: derived.bytes[KeyArena.keySize...]),
                Bytes(rebasing: bytes.bytes[Self.headSize..<end]))
        else { return nil }
        guard
            let master = try Seal.open(
                Bytes(rebasing: bytes.bytes[end...]),
                key: Bytes(rebasing: derived.bytes[..<KeyArena.keySize]),
                associated: Bytes(rebasing: bytes.bytes[..<end]))
        else { throw .corrupt(.record) }
        return try Sealer(master: master)
    }

    /// Wrapping key ‖ commitment.
    private static func derive(_ stretched: SecretBuffer, head: Bytes) throws(Failure)
        -> SecretBuffer
    {
        let out = try SecretBuffer(count: KeyArena.keySize + commitmentSize)
        try KeyedHash.derive(
            into: out.mutableBytes, key: stretched.bytes, label: "pawl/1 slot", head)
        return out
    }
}
