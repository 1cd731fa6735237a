package import PawlCrypto

/// The key of a message that is late: format 1, the time after which it is not used 8, key 32.
package struct SkippedRecord {
    package let expires: Int64
    package let key: Bytes
    private let owner: SecretBuffer

    private static let format: UInt8 = 1

    package static func encode(key: SecretBuffer, expires: Int64) throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(count: 9 + Chain.keySize)
        var writer = ByteWriter(buffer.mutableBytes)
        writer.integer(format)
        writer.integer(expires)
        writer.append(key.bytes)
        try writer.finish()
        return buffer
    }

    package init(decoding buffer: SecretBuffer) throws(Failure) {
        var reader = ByteReader(buffer.bytes)
        try reader.format(Self.format)
        expires = try reader.integer(Int64.self)
        key = try reader.take(Chain.keySize)
        try reader.finish()
        owner = buffer
    }
}

/// A message that the host has not forgotten yet: format 1, hash of its frame 32, application data (the rest).
package struct KeptRecord {
    package let message: Bytes
    private let hash: Bytes
    private let owner: SecretBuffer

    private static let format: UInt8 = 1

    /// nil without application data: then there is nothing to keep for the host.
    package static func encode(
        _ frame: Frame, _ plaintext: SecretBuffer
    ) throws(Failure) -> SecretBuffer? {
        guard let message = try frame.application(plaintext.bytes) else { return nil }
        let buffer = try SecretBuffer(count: 33 + message.count)
        let hash = try hash(frame)
        var writer = ByteWriter(buffer.mutableBytes)
        writer.integer(format)
        writer.append(hash.bytes)
        writer.append(message)
        try writer.finish()
        withExtendedLifetime(plaintext) {}
        return buffer
    }

    package init(decoding buffer: SecretBuffer) throws(Failure) {
        var reader = ByteReader(buffer.bytes)
        try reader.format(Self.format)
        hash = try reader.take(32)
        message = reader.rest()
        owner = buffer
    }

    package func isOf(_ frame: Frame) throws(Failure) -> Bool {
        let other = try Self.hash(frame)
        return other.bytes.sameBytes(as: hash)
    }

    package func copy() throws(Failure) -> SecretBuffer { try SecretBuffer(copying: message) }

    private static func hash(_ frame: Frame) throws(Failure) -> SecretBuffer {
        let hash = try SecretBuffer(count: 32)
        try KeyedHash.hash(into: hash.mutableBytes, key: .empty, frame.bytes)
        return hash
    }
}

/// What is kept of an epoch whose chain is gone: where it ended, and its lanes; format 1, not used after 8, end 4, lanes.
package struct ClosedEpoch {
    package let epoch: UInt32
    package let end: UInt32
    private var lanes: Lanes
    private static let format: UInt8 = 1

    package init(epoch: UInt32, end: UInt32, lanes: Lanes) {
        self.epoch = epoch
        self.end = end
        self.lanes = lanes
    }

    /// A late message has come.
    package mutating func note(_ frame: Frame) { lanes.note(frame.lane, frame.index) }

    /// What a frame of this epoch is whose key is not kept.
    package func verdict(_ frame: Frame) -> Failure {
        frame.index >= end ? .auth : lanes.verdict(frame.lane, frame.index)
    }

    package func encoded(expires: Int64) throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(count: 13 + lanes.size)
        var writer = ByteWriter(buffer.mutableBytes)
        writer.integer(Self.format)
        writer.integer(expires)
        writer.integer(end)
        lanes.write(to: &writer)
        try writer.finish()
        return buffer
    }

    package init(
        decoding buffer: SecretBuffer, epoch: UInt32
    ) throws(Failure) {
        var reader = ByteReader(buffer.bytes)
        try reader.format(Self.format)
        _ = try reader.integer(Int64.self)
        self.epoch = epoch
        end = try reader.integer(UInt32.self)
        lanes = try Lanes(&reader)
        try reader.finish()
    }

    /// Not used after.
    package static func expiry(_ buffer: SecretBuffer) throws(Failure) -> Int64 {
        var reader = ByteReader(buffer.bytes)
        try reader.format(format)
        return try reader.integer(Int64.self)
    }
}
