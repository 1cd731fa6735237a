package import PawlCrypto

/// What an account counts and allows. No record: the defaults.
///
/// Layout (little endian): format 1, weakest suite 1, unconfirmed inbound sessions 4, then 1 if history is kept.
package struct AccountState {
    package static let unconfirmedLimit: UInt32 = 256
    private static let format: UInt8 = 1

    package var minSuite = Suite.x25519
    package private(set) var unconfirmed: UInt32 = 0
    package var keepsHistory = false

    package init() {}

    package init(decoding buffer: SecretBuffer) throws(Failure) {
        var reader = ByteReader(buffer.bytes)
        try reader.format(Self.format)
        guard let suite = Suite(rawValue: try reader.integer(UInt8.self)) else {
            throw .corrupt(.record)
        }
        minSuite = suite
        unconfirmed = try reader.integer(UInt32.self)
        if !reader.isAtEnd { keepsHistory = try reader.integer(UInt8.self) != 0 }
        try reader.finish()
    }

    package func encoded() throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(count: keepsHistory ? 7 : 6)
        var writer = ByteWriter(buffer.mutableBytes)
        writer.integer(Self.format)
        writer.integer(minSuite.rawValue)
        writer.integer(unconfirmed)
        if keepsHistory { writer.integer(UInt8(1)) }
        try writer.finish()
        return buffer
    }

    package mutating func addUnconfirmed() throws(Failure) {
        guard unconfirmed < Self.unconfirmedLimit else { throw .limit(.sessions) }
        unconfirmed += 1
    }

    /// They were counted anew.
    package mutating func setUnconfirmed(_ count: Int) { unconfirmed = UInt32(clamping: count) }

    package mutating func removeUnconfirmed() { if unconfirmed > 0 { unconfirmed -= 1 } }
}
