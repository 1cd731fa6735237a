package import PawlCrypto

/// A recovery key as text: bech32m (BIP 350) over one version byte and 32 random bytes, in lower case
/// and groups of 4. Never a key itself: what it opens is derived from it.
package enum RecoveryKey {
    package enum Kind {
        case store
        case backup

        fileprivate var prefix: StaticString {
            switch self {
            case .store: "pawlstore"
            case .backup: "pawlbackup"
            }
        }
    }

    private static let version: UInt8 = 1
    private static let size = 32
    private static let groups = 53  // ⌈33 · 8 / 5⌉
    private static let checksumSize = 6
    private static let alphabet: StaticString = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    private static let constant: UInt32 = 0x2bc8_30a3

    /// Draws a key and returns its text.
    package static func generate(_ kind: Kind) throws(Failure) -> SecretBuffer {
        let key = try SecretBuffer(count: size)
        fillRandom(key.mutableBytes)
        return try withExtendedLifetime(key) { () throws(Failure) in try text(of: key.bytes, kind) }
    }

    /// The text of a key of 32 bytes.
    package static func text(of key: Bytes, _ kind: Kind) throws(Failure) -> SecretBuffer {
        guard key.count == size else { throw .misuse(.size) }
        let payload = try SecretBuffer(count: 1 + size)
        var writer = ByteWriter(payload.mutableBytes)
        writer.integer(version)
        writer.append(key)
        try writer.finish()
        return try withExtendedLifetime(payload) { () throws(Failure) in
            try encode(payload.bytes, kind)
        }
    }

    static func encode(_ payload: Bytes, _ kind: Kind) throws(Failure) -> SecretBuffer {
        let prefix = kind.prefix
        let symbols = try SecretBuffer(count: groups + checksumSize)
        var bits: UInt32 = 0
        var held = 0
        var position = 0
        for byte in payload {
            bits = (bits << 8 | UInt32(byte)) & 0xFFFF
            held += 8
            while held >= 5 {
                held -= 5
                symbols.mutableBytes[position] =
                    UInt8(truncatingIfNeeded: bits >> UInt32(held)) & 31
                position += 1
            }
        }
        if held > 0 {
            symbols.mutableBytes[position] =
                UInt8(truncatingIfNeeded: bits << UInt32(5 - held)) & 31
        }
        var sum = checksum(prefix, Bytes(rebasing: symbols.bytes[..<groups]))
        for _ in 0..<checksumSize { sum = step(sum, 0) }
        sum ^= constant
        for index in 0..<checksumSize {
            symbols.mutableBytes[groups + index] =
                UInt8(truncatingIfNeeded: sum >> UInt32(5 * (5 - index))) & 31
        }

        let length = prefix.utf8CodeUnitCount + 1 + symbols.count
        let text = try SecretBuffer(count: length + (length - 1) / 4)
        var writer = ByteWriter(text.mutableBytes)
        for index in 0..<length {
            if index > 0, index % 4 == 0 { writer.integer(UInt8(ascii: " ")) }
            let symbol = index - prefix.utf8CodeUnitCount - 1
            if symbol < -1 {
                writer.integer(prefix.utf8Start[index])
            } else if symbol == -1 {
                writer.integer(UInt8(ascii: "1"))
            } else {
                writer.integer(alphabet.utf8Start[Int(symbols.bytes[symbol])])
            }
        }
        try writer.finish()
        return text
    }

    /// The 32 bytes behind a text that a person may have typed: spaces and hyphens are skipped, all
    /// upper case is as good as all lower case.
    package static func decode(_ text: Bytes, _ kind: Kind) throws(Failure) -> SecretBuffer {
        guard text.count <= 1024 else { throw .misuse(.recovery) }
        let letters = try SecretBuffer(count: text.count)
        var count = 0
        var upper = false
        var lower = false
        for byte in text {
            switch byte {
            case UInt8(ascii: " "), UInt8(ascii: "-"), UInt8(ascii: "\n"), UInt8(ascii: "\r"),
                UInt8(ascii: "\t"):
                continue
            case UInt8(ascii: "A")...UInt8(ascii: "Z"):
                upper = true
                letters.mutableBytes[count] = byte | 0x20
            case UInt8(ascii: "a")...UInt8(ascii: "z"):
                lower = true
                letters.mutableBytes[count] = byte
            default: letters.mutableBytes[count] = byte
            }
            count += 1
        }
        guard !(upper && lower) else { throw .misuse(.recovery) }
        let typed = Bytes(rebasing: letters.bytes[..<count])
        guard let separator = typed.lastIndex(of: UInt8(ascii: "1")) else {
            throw .misuse(.recovery)
        }
        let prefix = kind.prefix
        let wanted = Bytes(start: prefix.utf8Start, count: prefix.utf8CodeUnitCount)
        guard Bytes(rebasing: typed[..<separator]).sameBytes(as: wanted) else {
            throw .misuse(.recoveryPrefix)
        }
        let data = Bytes(rebasing: typed[(separator + 1)...])
        guard data.count == groups + checksumSize else { throw .misuse(.recovery) }
        let symbols = try SecretBuffer(count: data.count)
        for index in 0..<data.count {
            guard let value = value(of: data[index]) else { throw .misuse(.recovery) }
            symbols.mutableBytes[index] = value
        }
        guard checksum(prefix, symbols.bytes) == constant else { throw .misuse(.recovery) }

        let payload = try SecretBuffer(count: 1 + size)
        var bits: UInt32 = 0
        var held = 0
        var position = 0
        for symbol in symbols.bytes[..<groups] {
            bits = (bits << 5 | UInt32(symbol)) & 0xFFFF
            held += 5
            if held >= 8, position < payload.count {
                held -= 8
                payload.mutableBytes[position] = UInt8(truncatingIfNeeded: bits >> UInt32(held))
                position += 1
            }
        }
        guard bits & (1 << UInt32(held) - 1) == 0 else { throw .misuse(.recovery) }
        guard payload.bytes[0] == version else { throw .version }
        return try SecretBuffer(copying: Bytes(rebasing: payload.bytes[1...]))
    }

    private static func value(of letter: UInt8) -> UInt8? {
        for index in 0..<alphabet.utf8CodeUnitCount where alphabet.utf8Start[index] == letter {
            return UInt8(truncatingIfNeeded: index)
        }
        return nil
    }

    private static func checksum(_ prefix: StaticString, _ symbols: Bytes) -> UInt32 {
        var sum: UInt32 = 1
        for index in 0..<prefix.utf8CodeUnitCount { sum = step(sum, prefix.utf8Start[index] >> 5) }
        sum = step(sum, 0)
        for index in 0..<prefix.utf8CodeUnitCount { sum = step(sum, prefix.utf8Start[index] & 31) }
        for symbol in symbols { sum = step(sum, symbol) }
        return sum
    }

    private static func step(_ sum: UInt32, _ symbol: UInt8) -> UInt32 {
        let generator: InlineArray<5, UInt32> = [
            0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3,
        ]
        let top = sum >> 25
        var next = (sum & 0x1ff_ffff) << 5 ^ UInt32(symbol)
        for index in 0..<5 where top >> UInt32(index) & 1 == 1 { next ^= generator[index] }
        return next
    }
}
