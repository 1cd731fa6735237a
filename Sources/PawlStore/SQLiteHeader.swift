/// The first bytes of a database file (SQLite file format, section 1.3), which tell whose it is before
/// SQLite so much as makes a log for it.
struct SQLiteHeader {
    static let size = 100
    private let bytes: [UInt8]

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var isSQLite: Bool {
        let magic: StaticString = "SQLite format 3\0"
        return bytes.starts(with: UnsafeBufferPointer(start: magic.utf8Start, count: 16))
    }
    var isLogged: Bool { bytes[18] == 2 && bytes[19] == 2 }
    var version: Int64 { integer(60) }
    var application: Int64 { integer(68) }

    private func integer(_ offset: Int) -> Int64 {
        var value: UInt32 = 0
        for byte in bytes[offset..<offset + 4] { value = value << 8 | UInt32(byte) }
        return Int64(Int32(bitPattern: value))
    }
}
