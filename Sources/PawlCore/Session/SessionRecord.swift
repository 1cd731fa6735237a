package import PawlCrypto

/// A session as it is stored.
///
/// Layout (little endian): format 1, side 1, suite 1, account 16, created 8, package's end 8, peer's Ed25519 32, X25519 32,
/// name (u8 length), filter keys 16 + 16 (initiator's, responder's), previous length 4, sending chain key 32 and index 4,
/// receiving chain key 32, index 4 and lanes, 0 or 1 with the same of the epoch before, skipped 4, reported 1, welcome
/// (u16 length), pace, rekey.
extension Session {
    private static let format: UInt8 = 1

    package convenience init(decoding buffer: SecretBuffer, id: Identifier) throws(Failure) {
        var reader = ByteReader(buffer.bytes)
        try reader.format(Self.format)
        guard let side = Side(rawValue: try reader.integer(UInt8.self)),
            let suite = Suite(rawValue: try reader.integer(UInt8.self))
        else { throw .corrupt(.record) }
        let fixed = try Fixed(
            side: side, suite: suite, account: Identifier(reader.take(Identifier.size)),
            created: reader.integer(Int64.self), packageEnd: reader.integer(Int64.self),
            peer: Identity(stored: &reader))
        let filters = try reader.take(2 * Filter.keySize)
        let previousLength = try reader.integer(UInt32.self)
        let sending = try Chain(
            key: reader.take(Chain.keySize), index: reader.integer(UInt32.self))
        let receiving = try Inbound(&reader)
        let previous = try reader.integer(UInt8.self) == 0 ? nil : Inbound(&reader)
        let skipped = try reader.integer(UInt32.self)
        let isReported = try reader.integer(UInt8.self) != 0
        let welcome = try reader.field(UInt16.self)
        let state = try State(
            previousLength: previousLength, sending: sending, receiving: receiving,
            previous: previous, skipped: skipped, isReported: isReported,
            welcome: welcome.isEmpty ? nil : SecretBuffer(copying: welcome), pace: Pace(&reader),
            rekey: Rekey(&reader, Self.parties(id, side, suite)))
        try reader.finish()
        self.init(id, fixed, state, filters: filters, owner: buffer)
    }

    package func encoded() throws(Failure) -> SecretBuffer {
        let size =
            3 + Identifier.size + 16 + 64 + 1 + peer.name.count + 32 + 4 + 36 + receiving.size + 1
            + (previous?.size ?? 0) + 5 + 2 + (welcome?.count ?? 0) + Pace.size + rekey.size
        let buffer = try SecretBuffer(count: size)
        var writer = ByteWriter(buffer.mutableBytes)
        writer.integer(Self.format)
        writer.integer(side.rawValue)
        writer.integer(suite.rawValue)
        account.withBytes { writer.append($0) }
        writer.integer(created)
        writer.integer(packageEnd)
        writer.append(peer.keys.signing)
        writer.append(peer.keys.agreement)
        writer.field(peer.name, UInt8.self)
        writer.append(filters)
        writer.integer(previousLength)
        writer.append(sending.key)
        writer.integer(sending.index)
        receiving.write(to: &writer)
        writer.integer(UInt8(previous == nil ? 0 : 1))
        previous?.write(to: &writer)
        writer.integer(skipped)
        writer.integer(UInt8(isReported ? 1 : 0))
        writer.field(welcome?.bytes ?? .empty, UInt16.self)
        pace.write(to: &writer)
        rekey.write(to: &writer)
        try writer.finish()
        return buffer
    }
}

extension Session.Inbound {
    fileprivate init(_ reader: inout ByteReader) throws(Failure) {
        let chain = try Chain(
            key: reader.take(Chain.keySize), index: reader.integer(UInt32.self))
        self.init(chain, try Lanes(&reader))
    }

    fileprivate var size: Int { Chain.keySize + 4 + lanes.size }

    fileprivate func write(to writer: inout ByteWriter) {
        writer.append(chain.key)
        writer.integer(chain.index)
        lanes.write(to: &writer)
    }
}
