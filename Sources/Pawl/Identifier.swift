/// Names something in a store or a vault: 16 bytes, ordered as unsigned bytes.
public struct Identifier<Subject>: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// How many bytes an id has.
    public static var size: Int { 16 }

    /// The 16 bytes.
    public let bytes: [UInt8]

    /// An id by its bytes, or nil if they are not 16.
    public init?(_ bytes: [UInt8]) {
        guard bytes.count == Self.size else { return nil }
        self.bytes = bytes
    }

    init(unchecked bytes: [UInt8]) { self.bytes = bytes }

    /// The id in a row of C.
    init<Row>(row: Row) { bytes = array(row) }

    /// Nil for the zeros that say in a row of C that there is none.
    static func unlessZero<Row>(_ row: Row) -> Self? {
        let id = Self(row: row)
        return id.bytes.allSatisfy { $0 == 0 } ? nil : id
    }

    /// The order of lists.
    public static func < (left: Self, right: Self) -> Bool {
        left.bytes.lexicographicallyPrecedes(right.bytes)
    }

    /// 32 hexadecimal digits.
    public var description: String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
