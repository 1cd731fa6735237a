package import PawlCrypto

/// What is sealed in an item: 0 for a credential that is no more; 1 and a credential's record with its secret; or of history
/// 2, the direction 1 and its record.
package enum BackupContent {
    case deleted
    case credential(CredentialRecord)
    case history(History.Direction, HistoryRecord)

    package init(_ content: SecretBuffer) throws(Failure) {
        var reader = ByteReader(content.bytes)
        defer { withExtendedLifetime(content) {} }
        switch try reader.integer(UInt8.self) {
        case 0: self = .deleted
        case 1:
            let record = try CredentialRecord(decoding: SecretBuffer(copying: reader.rest()))
            try record.check()
            self = .credential(record)
        case 2:
            guard let direction = History.Direction(rawValue: try reader.integer(UInt8.self))
            else { throw .corrupt(.record) }
            self = .history(
                direction, try HistoryRecord(decoding: SecretBuffer(copying: reader.rest())))
        default: throw .version
        }
    }

    package static func deleted() throws(Failure) -> SecretBuffer { try write([0], nil) }

    package static func credential(_ record: SecretBuffer) throws(Failure) -> SecretBuffer {
        try write([1], record)
    }

    package static func history(
        _ direction: History.Direction, _ record: SecretBuffer
    ) throws(Failure) -> SecretBuffer {
        try write([2, direction.rawValue], record)
    }

    private static func write(
        _ head: [UInt8], _ record: SecretBuffer?
    ) throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(count: head.count + (record?.count ?? 0))
        var writer = ByteWriter(buffer.mutableBytes)
        for byte in head { writer.integer(byte) }
        if let record { writer.append(record.bytes) }
        try writer.finish()
        return withExtendedLifetime(record) { buffer }
    }
}
