package import PawlCrypto

/// Layout (little endian): format 1; options: rotate 8, lifetime 8, keep 8, welcome delay 8, welcome pause 8, readback 8,
/// pool 4, pool floor 4; next rotation 8, next readback 8, readback's request 8 (0: none), last welcome 8, available 4, next
/// key 4; current 1, and if 1: id 16, not after 8, told that it expired 1; staged 1, and if 1: id 16, not after 8, one-time keys 4,
/// drawn 8, next rotation 8, asking 9; keys on their way 1, and if 1: first 4, count 4, asking 9; superseded (u32 count), each:
/// id 16, removed at 8. Asking: 1 and the request's number 8, or 2 and the time of the next 8.
extension Rotation {
    private static let format: UInt8 = 1

    package init(decoding buffer: SecretBuffer) throws(Failure) {
        var reader = ByteReader(buffer.bytes)
        try reader.format(Self.format)
        var options = Options()
        options.rotate = try reader.integer(Int64.self)
        options.lifetime = try reader.integer(Int64.self)
        options.keep = try reader.integer(Int64.self)
        options.welcomeDelay = try reader.integer(Int64.self)
        options.welcomePause = try reader.integer(Int64.self)
        options.readback = try reader.integer(Int64.self)
        options.pool = try reader.integer(UInt32.self)
        options.poolFloor = try reader.integer(UInt32.self)
        do throws(Failure) { try options.check() } catch { throw .corrupt(.record) }
        self.options = options
        rotateAt = try reader.integer(Int64.self)
        readbackAt = try reader.integer(Int64.self)
        let seq = try reader.integer(UInt64.self)
        readback = seq == 0 ? nil : seq
        lastWelcome = try reader.integer(Int64.self)
        available = try reader.integer(UInt32.self)
        nextKey = try reader.integer(UInt32.self)
        if try reader.isNext() {
            current = Current(
                id: try Identifier(reader.take(Identifier.size)),
                notAfter: try reader.integer(Int64.self), hasExpired: try reader.isNext())
        }
        if try reader.isNext() {
            staged = Staged(
                id: try Identifier(reader.take(Identifier.size)),
                notAfter: try reader.integer(Int64.self), oneTime: try reader.integer(UInt32.self),
                drawn: try reader.integer(Int64.self), rotateAt: try reader.integer(Int64.self),
                asking: try Asking(&reader))
        }
        if try reader.isNext() {
            batch = Batch(
                first: try reader.integer(UInt32.self), count: try reader.integer(UInt32.self),
                asking: try Asking(&reader))
        }
        for _ in 0..<(try reader.integer(UInt32.self)) {
            superseded.append(
                Superseded(
                    id: try Identifier(reader.take(Identifier.size)),
                    removeAt: try reader.integer(Int64.self)))
        }
        try reader.finish()
    }

    package func encoded() throws(Failure) -> SecretBuffer {
        let size =
            104 + (current == nil ? 0 : 25) + (staged == nil ? 0 : 53) + (batch == nil ? 0 : 17)
            + 24 * superseded.count
        let buffer = try SecretBuffer(count: size)
        var writer = ByteWriter(buffer.mutableBytes)
        writer.integer(Self.format)
        for time in [
            options.rotate, options.lifetime, options.keep, options.welcomeDelay,
            options.welcomePause, options.readback,
        ] {
            writer.integer(time)
        }
        writer.integer(options.pool)
        writer.integer(options.poolFloor)
        writer.integer(rotateAt)
        writer.integer(readbackAt)
        writer.integer(readback ?? 0)
        writer.integer(lastWelcome)
        writer.integer(available)
        writer.integer(nextKey)
        writer.integer(UInt8(current == nil ? 0 : 1))
        if let current {
            current.id.withBytes { writer.append($0) }
            writer.integer(current.notAfter)
            writer.integer(UInt8(current.hasExpired ? 1 : 0))
        }
        writer.integer(UInt8(staged == nil ? 0 : 1))
        if let staged {
            staged.id.withBytes { writer.append($0) }
            writer.integer(staged.notAfter)
            writer.integer(staged.oneTime)
            writer.integer(staged.drawn)
            writer.integer(staged.rotateAt)
            staged.asking.write(to: &writer)
        }
        writer.integer(UInt8(batch == nil ? 0 : 1))
        if let batch {
            writer.integer(batch.first)
            writer.integer(batch.count)
            batch.asking.write(to: &writer)
        }
        writer.integer(UInt32(truncatingIfNeeded: superseded.count))
        for package in superseded {
            package.id.withBytes { writer.append($0) }
            writer.integer(package.removeAt)
        }
        try writer.finish()
        return buffer
    }
}

extension Rotation.Asking {
    fileprivate init(_ reader: inout ByteReader) throws(Failure) {
        switch try reader.integer(UInt8.self) {
        case 1: self = .asked(seq: try reader.integer(UInt64.self))
        case 2: self = .again(at: try reader.integer(Int64.self))
        default: throw .corrupt(.record)
        }
    }

    fileprivate func write(to writer: inout ByteWriter) {
        switch self {
        case .asked(let seq):
            writer.integer(UInt8(1))
            writer.integer(seq)
        case .again(let at):
            writer.integer(UInt8(2))
            writer.integer(at)
        }
    }
}

extension ByteReader {
    fileprivate mutating func isNext() throws(Failure) -> Bool {
        switch try integer(UInt8.self) {
        case 0: false
        case 1: true
        default: throw .corrupt(.record)
        }
    }
}
