package import PawlCrypto

/// Which lanes a peer has sent in, and with which indices: what tells a repeated frame from a peer that was put back
/// to an old copy. Each opening of the peer's store draws a lane of its own.
package struct Lanes: Equatable {
    package static let limit = 16

    package struct Range: Equatable {
        package let lane: UInt64
        package var low: UInt32
        package var high: UInt32
    }
    package private(set) var ranges: [Range]
    /// Indices below may have come in a lane that is forgotten.
    package private(set) var forgotten: UInt32

    package init() {
        ranges = []
        forgotten = 0
    }

    package mutating func note(_ lane: UInt64, _ index: UInt32) {
        if let place = ranges.firstIndex(where: { $0.lane == lane }) {
            ranges[place].low = min(ranges[place].low, index)
            ranges[place].high = max(ranges[place].high, index)
            return
        }
        if ranges.count == Self.limit,
            let oldest = ranges.indices.min(by: { ranges[$0].high < ranges[$1].high })
        {
            forgotten = max(forgotten, ranges.remove(at: oldest).high &+ 1)
        }
        ranges.append(Range(lane: lane, low: index, high: index))
    }

    /// What a frame is whose index has passed and whose key is gone. A lane that uses what another used, and not
    /// itself, is that of a peer of which there are two: one of them was put back.
    package func verdict(_ lane: UInt64, _ index: UInt32) -> Failure {
        let using = ranges.filter { $0.low <= index && index <= $0.high }
        guard index >= forgotten, !using.isEmpty, !using.contains(where: { $0.lane == lane }) else {
            return .replay
        }
        return .desynchronized
    }

    // MARK: Bytes

    package var size: Int { 4 + 1 + ranges.count * 16 }

    package func write(to writer: inout ByteWriter) {
        writer.integer(forgotten)
        writer.integer(UInt8(truncatingIfNeeded: ranges.count))
        for range in ranges {
            writer.integer(range.lane)
            writer.integer(range.low)
            writer.integer(range.high)
        }
    }

    package init(_ reader: inout ByteReader) throws(Failure) {
        forgotten = try reader.integer(UInt32.self)
        let count = try reader.integer(UInt8.self)
        guard count <= Self.limit else { throw .corrupt(.record) }
        ranges = []
        for _ in 0..<count {
            let lane = try reader.integer(UInt64.self)
            let low = try reader.integer(UInt32.self)
            ranges.append(Range(lane: lane, low: low, high: try reader.integer(UInt32.self)))
        }
    }
}
