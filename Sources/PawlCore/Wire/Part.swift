package import PawlCrypto

/// What the two engines say to one another inside of messages. Fields borrow from the message that was read. The layout
/// stands in Protocol.md, "Control parts".
package enum Part {
    case offer(Offer)
    case answer(Answer)
    case finish(Finish)
    /// Not now: `milliseconds` is when to come again.
    case busy(offer: Identifier, milliseconds: UInt32)
    /// The sender has closed the session.
    case close

    package struct Offer {
        package let target: UInt32
        package let suite: UInt8
        package let key: Bytes

        package init(target: UInt32, suite: UInt8, key: Bytes) {
            self.target = target
            self.suite = suite
            self.key = key
        }
    }
    package struct Answer {
        package let target: UInt32
        package let offer: Identifier
        package let confirmation: Bytes
        package let ciphertext: Bytes
    }
    package struct Finish {
        package let target: UInt32
        package let offer: Identifier
        package let confirmation: Bytes
    }

    package static let confirmationSize = 32
    /// Type and length, before the body.
    package static let headerSize = 3

    /// Which part it is.
    package enum Kind: UInt8 {
        case offer = 1
        case answer = 2
        case finish = 3
        case busy = 4
        case close = 5
    }

    /// nil: of a kind that this version does not know, and skips. `auth` for a known one without its form.
    package init?(_ type: UInt8, _ body: Bytes) throws(Failure) {
        guard let kind = Kind(rawValue: type) else { return nil }
        var reader = ByteReader(body)
        do throws(Failure) {
            switch kind {
            case .offer:
                self = .offer(
                    try Offer(
                        target: reader.integer(UInt32.self), suite: reader.integer(UInt8.self),
                        key: reader.rest()))
                return
            case .answer:
                self = .answer(try Answer(&reader))
                return
            case .finish:
                self = .finish(
                    try Finish(
                        target: reader.integer(UInt32.self),
                        offer: Identifier(reader.take(Identifier.size)),
                        confirmation: reader.take(Self.confirmationSize)))
            case .busy:
                self = .busy(
                    offer: try Identifier(reader.take(Identifier.size)),
                    milliseconds: try reader.integer(UInt32.self))
            case .close: self = .close
            }
            try reader.finish()
        } catch {
            throw error == .corrupt(.record) ? .auth : error
        }
    }

    /// One after the other.
    package static func encode(_ parts: [Part]) throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(count: parts.reduce(0) { $0 + $1.size })
        var writer = ByteWriter(buffer.mutableBytes)
        for part in parts { part.write(to: &writer) }
        try writer.finish()
        return buffer
    }

    package var kind: Kind {
        switch self {
        case .offer: .offer
        case .answer: .answer
        case .finish: .finish
        case .busy: .busy
        case .close: .close
        }
    }

    /// With type and length.
    package var size: Int {
        let body =
            switch self {
            case .offer(let offer): 5 + offer.key.count
            case .answer(let answer): answer.size
            case .finish: 4 + Identifier.size + Self.confirmationSize
            case .busy: Identifier.size + 4
            case .close: 0
            }
        return Self.headerSize + body
    }

    package func write(to writer: inout ByteWriter) {
        writer.integer(kind.rawValue)
        writer.integer(UInt16(truncatingIfNeeded: size - Self.headerSize))
        switch self {
        case .offer(let offer):
            writer.integer(offer.target)
            writer.integer(offer.suite)
            writer.append(offer.key)
        case .answer(let answer): answer.write(to: &writer)
        case .finish(let finish):
            writer.integer(finish.target)
            finish.offer.withBytes { writer.append($0) }
            writer.append(finish.confirmation)
        case .busy(let offer, let milliseconds):
            offer.withBytes { writer.append($0) }
            writer.integer(milliseconds)
        case .close: break
        }
    }
}

extension Part.Answer {
    package var size: Int { 4 + Identifier.size + confirmation.count + ciphertext.count }

    package init(_ reader: inout ByteReader) throws(Failure) {
        target = try reader.integer(UInt32.self)
        offer = try Identifier(reader.take(Identifier.size))
        confirmation = try reader.take(Part.confirmationSize)
        ciphertext = reader.rest()
    }

    package func write(to writer: inout ByteWriter) {
        writer.integer(target)
        offer.withBytes { writer.append($0) }
        writer.append(confirmation)
        writer.append(ciphertext)
    }
}
