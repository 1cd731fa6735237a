package import PawlCrypto

/// One message on the wire, read in place: header, welcome if there is one, ciphertext. The layout stands in
/// Protocol.md, "Messages".
package struct Frame {
    package static let version: UInt8 = 1
    package static let headerSize = 54
    /// What filter and associated data begin with: everything before the nonce.
    package static let fixedSize = 22
    package static let filteredSize = 46
    package static let applicationData: UInt8 = 0
    /// The most by which a frame is longer than its message.
    package static let overheadLimit = 4_096
    package static let messageLimit = 16 << 20

    package enum Kind: UInt8 {
        case plain = 1
        case withWelcome = 2
    }

    package let bytes: Bytes
    package let session: SessionHalf
    package let epoch: UInt32
    package let index: UInt32
    package let previousLength: UInt32
    package let lane: UInt64
    package let filter: UInt64
    package let welcome: Bytes?
    package let ciphertext: Bytes

    /// `auth` for anything that is no frame, `version` for one of a newer Pawl.
    package init(_ bytes: Bytes) throws(Failure) {
        self.bytes = bytes
        var reader = ByteReader(bytes)
        do throws(Failure) {
            let version = try reader.integer(UInt8.self)
            guard version <= Self.version else { throw .version }
            guard version == Self.version,
                let kind = Kind(rawValue: try reader.integer(UInt8.self))
            else { throw .auth }
            session = SessionHalf(rawValue: try reader.integer(UInt64.self))
            epoch = try reader.integer(UInt32.self)
            index = try reader.integer(UInt32.self)
            previousLength = try reader.integer(UInt32.self)
            lane = try reader.integer(UInt64.self)
            _ = try reader.take(16)
            filter = try reader.integer(UInt64.self)
            switch kind {
            case .plain: welcome = nil
            case .withWelcome: welcome = try reader.field(UInt16.self)
            }
            let start = Self.headerSize + (welcome.map { $0.count + 2 } ?? 0)
            ciphertext = Bytes(rebasing: bytes[start...])
        } catch {
            throw error == .corrupt(.record) ? .auth : error
        }
        guard ciphertext.count >= Seal.messageTagSize,
            bytes.count <= Self.messageLimit + Self.overheadLimit
        else { throw .auth }
    }

    package func isFiltered(by key: Bytes) throws(Failure) -> Bool {
        try Filter.hash(Bytes(rebasing: bytes[..<Self.filteredSize]), key: key) == filter
    }

    /// The plaintext, or nil if the key is not the right one.
    package func open(_ key: Bytes) throws(Failure) -> SecretBuffer? {
        let out = try SecretBuffer(count: ciphertext.count - Seal.messageTagSize)
        let nonce = Bytes(rebasing: bytes[Self.fixedSize..<Self.filteredSize])
        let isOpen = try Self.withAssociated(
            bytes, upTo: bytes.count - ciphertext.count
        ) { (associated) in
            Seal.open(
                ciphertext, key: key, nonce: nonce, associated: associated, into: out.mutableBytes)
        }
        return isOpen ? out : nil
    }

    /// All bytes before the ciphertext but the nonce.
    private static func withAssociated<R>(
        _ frame: Bytes, upTo end: Int, _ body: (Bytes) throws(Failure) -> R
    ) throws(Failure) -> R {
        // Without a welcome it is small, and on every message's way.
        guard end > headerSize else {
            var small: InlineArray<30, UInt8> = .init(repeating: 0)
            var span = small.mutableSpan
            return try span.withUnsafeMutableBytes { (buffer) throws(Failure) in
                try fill(buffer, frame, end)
                return try body(Bytes(buffer))
            }
        }
        let buffer = try SecretBuffer(count: end - Seal.messageNonceSize)
        try fill(buffer.mutableBytes, frame, end)
        return try body(buffer.bytes)
    }

    private static func fill(
        _ buffer: UnsafeMutableRawBufferPointer, _ frame: Bytes, _ end: Int
    ) throws(Failure) {
        var writer = ByteWriter(buffer)
        writer.append(Bytes(rebasing: frame[..<fixedSize]))
        writer.append(Bytes(rebasing: frame[filteredSize..<end]))
        try writer.finish()
    }

    // MARK: Writing

    /// What a sender needs for one message, apart from its text.
    package struct Envelope {
        package let session: SessionHalf
        package let epoch: UInt32
        package let index: UInt32
        package let previousLength: UInt32
        package let lane: UInt64
        package let filterKey: Bytes
        package let welcome: Bytes?

        package init(
            session: SessionHalf, epoch: UInt32, index: UInt32, previousLength: UInt32,
            lane: UInt64, filterKey: Bytes, welcome: Bytes?
        ) {
            self.session = session
            self.epoch = epoch
            self.index = index
            self.previousLength = previousLength
            self.lane = lane
            self.filterKey = filterKey
            self.welcome = welcome
        }

        /// The size of a frame around application data of `count` bytes, or around nothing.
        package func size(around count: Int?) -> Int {
            headerSize + (welcome.map { $0.count + 2 } ?? 0) + (count.map { $0 + 1 } ?? 0)
                + Seal.messageTagSize
        }
    }

    /// Fills `out`, of exactly the size that the envelope says. `message` may lie inside of `out`; nil makes
    /// an empty frame. `random` is the nonce's second half, drawn for this frame alone.
    package static func write(
        _ envelope: Envelope, message: Bytes?, key: Bytes, random: RandomWords,
        into out: UnsafeMutableRawBufferPointer
    ) throws(Failure) {
        guard out.count == envelope.size(around: message?.count) else { throw .internal }
        let textSize = message.map { $0.count + 1 } ?? 0
        let textStart = out.count - Seal.messageTagSize - textSize
        let text = UnsafeMutableRawBufferPointer(rebasing: out[textStart...])
        if let message {
            // First, because the rest may be written over it.
            if message.count > 0 {
                UnsafeMutableRawBufferPointer(rebasing: text[1...message.count]).copyMemory(
                    from: message)
            }
            text[0] = applicationData
        }
        var writer = ByteWriter(UnsafeMutableRawBufferPointer(rebasing: out[..<textStart]))
        writer.integer(version)
        writer.integer(envelope.welcome == nil ? Kind.plain.rawValue : Kind.withWelcome.rawValue)
        writer.integer(envelope.session.rawValue)
        writer.integer(envelope.epoch)
        writer.integer(envelope.index)
        writer.integer(envelope.previousLength)
        writer.integer(envelope.lane)
        writer.integer(random.0)
        writer.integer(random.1)
        writer.integer(
            try Filter.hash(
                Bytes(rebasing: out[..<filteredSize]), key: envelope.filterKey))
        if let welcome = envelope.welcome { writer.field(welcome, UInt16.self) }
        try writer.finish()
        let nonce = Bytes(rebasing: out[fixedSize..<filteredSize])
        try withAssociated(Bytes(out), upTo: textStart) { (associated) throws(Failure) in
            try Seal.close(inPlace: text, key: key, nonce: nonce, associated: associated)
        }
    }

    package static func isWellFormed(_ plaintext: Bytes) -> Bool {
        do throws(Failure) {
            _ = try application(plaintext)
            return true
        } catch {
            return false
        }
    }

    /// The application data of a decrypted message: nil if it carries none, `auth` if it has no right form.
    /// Control parts, of which this version knows none, are skipped.
    package static func application(_ plaintext: Bytes) throws(Failure) -> Bytes? {
        var reader = ByteReader(plaintext)
        do throws(Failure) {
            while !reader.isAtEnd {
                guard try reader.integer(UInt8.self) != applicationData else {
                    return reader.rest()
                }
                _ = try reader.field(UInt16.self)
            }
        } catch {
            throw error == .corrupt(.record) ? .auth : error
        }
        return nil
    }
}

/// The first 8 bytes of a session id, as frames carry them.
package struct SessionHalf: Hashable {
    package let rawValue: UInt64

    package init(rawValue: UInt64) { self.rawValue = rawValue }

    package init(_ session: Identifier) {
        rawValue = session.half
    }

    package func withBytes<R, E: Error>(_ body: (Bytes) throws(E) -> R) throws(E) -> R {
        try withUnsafeBytes(of: rawValue.littleEndian, body)
    }
}
