package import PawlCrypto

/// What an account counts and allows. No record: the defaults.
///
/// Layout (little endian): format 1, weakest suite 1, unconfirmed inbound sessions 4.
package struct AccountState {
    package static let unconfirmedLimit: UInt32 = 256
    private static let format: UInt8 = 1

    package var minSuite = Suite.x25519
    package private(set) var unconfirmed: UInt32 = 0

    package init() {}

    package init(decoding buffer: SecretBuffer) throws(Failure) {
        var reader = ByteReader(buffer.bytes)
        try reader.format(Self.format)
        guard let suite = Suite(rawValue: try reader.integer(UInt8.self)) else {
            throw .corrupt(.record)
        }
        minSuite = suite
        unconfirmed = try reader.integer(UInt32.self)
        try reader.finish()
    }

    package func encoded() throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(count: 6)
        var writer = ByteWriter(buffer.mutableBytes)
        writer.integer(Self.format)
        writer.integer(minSuite.rawValue)
        writer.integer(unconfirmed)
        try writer.finish()
        return buffer
    }

    package mutating func addUnconfirmed() throws(Failure) {
        guard unconfirmed < Self.unconfirmedLimit else { throw .limit(.sessions) }
        unconfirmed += 1
    }

    package mutating func removeUnconfirmed() { if unconfirmed > 0 { unconfirmed -= 1 } }
}
