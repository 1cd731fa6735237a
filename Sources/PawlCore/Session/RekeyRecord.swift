package import PawlCrypto

/// A machine as it is stored, in its session's record.
///
/// Layout (little endian): epoch 4, heard 4, wanted 4, attempts 4, root 32, finished (0, or 1 with target 4, offer 16,
/// the two confirmations 32 + 32), phase 1, and for Offered the offer's id 16 and its pair (u16 length), for Answered the
/// offer's id 16, the answer (u16 length) and its round 160.
extension Rekey {
    package var size: Int {
        let phase =
            switch phase {
            case .idle, .closed: 0
            case .offered(let own): Identifier.size + 2 + own.pair.count
            case .answered(let candidate):
                Identifier.size + 2 + candidate.answer.count + Round.size
            }
        return 4 * 4 + 32 + 1 + (finished == nil ? 0 : 4 + Identifier.size + 64) + 1 + phase
    }

    package func write(to writer: inout ByteWriter) {
        for number in [epoch, heard, wanted, attempts] { writer.integer(number) }
        writer.append(root.bytes)
        writer.integer(UInt8(finished == nil ? 0 : 1))
        if let finished {
            writer.integer(finished.target)
            finished.offer.withBytes { writer.append($0) }
            writer.append(finished.answerConfirmation.bytes)
            writer.append(finished.finishConfirmation.bytes)
        }
        switch phase {
        case .idle: writer.integer(UInt8(0))
        case .offered(let own):
            writer.integer(UInt8(1))
            own.id.withBytes { writer.append($0) }
            writer.field(own.pair.bytes, UInt16.self)
        case .answered(let candidate):
            writer.integer(UInt8(2))
            candidate.offer.withBytes { writer.append($0) }
            writer.field(candidate.answer.bytes, UInt16.self)
            writer.append(candidate.round.keys.bytes)
        case .closed: writer.integer(UInt8(3))
        }
    }

    package init(_ reader: inout ByteReader, _ parties: Round.Parties) throws(Failure) {
        self.init(
            parties, epoch: try reader.integer(UInt32.self),
            heard: try reader.integer(UInt32.self), wanted: try reader.integer(UInt32.self),
            attempts: try reader.integer(UInt32.self),
            root: try SecretBuffer(copying: reader.take(32)), finished: try Finished(&reader),
            phase: try Phase(&reader, parties.suite))
    }
}

extension Rekey.Finished {
    /// nil: none is remembered.
    fileprivate init?(_ reader: inout ByteReader) throws(Failure) {
        guard try reader.integer(UInt8.self) != 0 else { return nil }
        self.init(
            target: try reader.integer(UInt32.self),
            offer: try Identifier(reader.take(Identifier.size)),
            answerConfirmation: try SecretBuffer(copying: reader.take(32)),
            finishConfirmation: try SecretBuffer(copying: reader.take(32)))
    }
}

extension Rekey.Phase {
    fileprivate init(_ reader: inout ByteReader, _ suite: Suite) throws(Failure) {
        switch try reader.integer(UInt8.self) {
        case 0: self = .idle
        case 1:
            let id = try Identifier(reader.take(Identifier.size))
            let pair = try SecretBuffer(copying: reader.field(UInt16.self))
            guard pair.count == KeyExchange.secretSize + KeyExchange.publicSize(suite) else {
                throw .corrupt(.record)
            }
            self = .offered(Rekey.OwnOffer(id: id, pair: pair))
        case 2:
            let id = try Identifier(reader.take(Identifier.size))
            let answer = try SecretBuffer(copying: reader.field(UInt16.self))
            let round = try Round(decoding: reader.take(Round.size))
            self = .answered(Rekey.Candidate(offer: id, answer: answer, round: round))
        case 3: self = .closed
        default: throw .corrupt(.record)
        }
    }
}
