package import PawlCrypto

/// One message on the wire, read in place: header, welcome if there is one, ciphertext. The layout stands in
/// Protocol.md, "Messages".
package struct Frame {
    package static let version: UInt8 = 1
    package static let headerSize = 54
    /// What filter and associated data begin with: everything before the nonce.
    package static let fixedSize = 22
    package static let filteredSize = 46
    /// The most by which a frame is longer than its message.
    package static let overheadLimit = 4_096
    package static let messageLimit = 16 << 20

    package enum Kind: UInt8 {
        /// The text is application data and nothing else.
        case plain = 1
        case withWelcome = 2
        /// The text is a list of parts.
        case parts = 3
        case partsWithWelcome = 4

        fileprivate init(hasParts: Bool, hasWelcome: Bool) {
            switch (hasParts, hasWelcome) {
            case (false, false): self = .plain
            case (false, true): self = .withWelcome
            case (true, false): self = .parts
            case (true, true): self = .partsWithWelcome
            }
        }
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
    private let hasParts: Bool

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
            case .plain, .parts: welcome = nil
            case .withWelcome, .partsWithWelcome: welcome = try reader.field(UInt16.self)
            }
            hasParts = kind == .parts || kind == .partsWithWelcome
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

    /// The text, or nil if the key is not the right one or the text has no right form.
    package func open(_ key: Bytes) throws(Failure) -> SecretBuffer? {
        let out = try SecretBuffer(count: ciphertext.count - Seal.messageTagSize)
        let nonce = Bytes(rebasing: bytes[Self.fixedSize..<Self.filteredSize])
        let isOpen = try Self.withAssociated(
            bytes, upTo: bytes.count - ciphertext.count
        ) { (associated) in
            Seal.open(
                ciphertext, key: key, nonce: nonce, associated: associated, into: out.mutableBytes)
        }
        return isOpen && isWellFormed(out.bytes) ? out : nil
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

        /// The size of a frame around control parts of `parts` bytes and application data of `count` bytes, or
        /// none.
        package func size(parts: Int = 0, around count: Int?) -> Int {
            let typeSize = parts > 0 && count != nil ? 1 : 0
            return textStart + parts + typeSize + (count ?? 0) + Seal.messageTagSize
        }

        fileprivate var textStart: Int { headerSize + (welcome.map { $0.count + 2 } ?? 0) }
    }

    /// Fills `out`, of exactly the size that the envelope says. `parts` are control parts as they go over the wire;
    /// `message` may lie inside of `out`, nil means no application data. `random` is the nonce's second half, drawn
    /// for this frame alone.
    package static func write(
        _ envelope: Envelope, parts: Bytes = .empty, message: Bytes?, key: Bytes,
        random: RandomWords, into out: UnsafeMutableRawBufferPointer
    ) throws(Failure) {
        guard out.count == envelope.size(parts: parts.count, around: message?.count) else {
            throw .internal
        }
        let messageEnd = out.count - Seal.messageTagSize
        let messageStart = messageEnd - (message?.count ?? 0)
        if let message, message.count > 0 {
            // First, because the rest may be written over it.
            UnsafeMutableRawBufferPointer(rebasing: out[messageStart..<messageEnd]).copyMemory(
                from: message)
        }
        let hasParts = parts.count > 0 || message == nil
        var writer = ByteWriter(UnsafeMutableRawBufferPointer(rebasing: out[..<messageStart]))
        writer.integer(version)
        writer.integer(Kind(hasParts: hasParts, hasWelcome: envelope.welcome != nil).rawValue)
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
        writer.append(parts)
        if hasParts, message != nil { writer.integer(Parts.applicationData) }
        try writer.finish()
        let textStart = envelope.textStart
        let text = UnsafeMutableRawBufferPointer(rebasing: out[textStart...])
        let nonce = Bytes(rebasing: out[fixedSize..<filteredSize])
        try withAssociated(Bytes(out), upTo: textStart) { (associated) throws(Failure) in
            try Seal.close(inPlace: text, key: key, nonce: nonce, associated: associated)
        }
    }

    // MARK: Reading a text

    /// The application data in this frame's text: nil if there is none, `auth` if the text has no right form.
    package func application(_ text: Bytes) throws(Failure) -> Bytes? {
        guard hasParts else { return text }
        var parts = Parts(text)
        while try parts.next() != nil {}
        return parts.application
    }

    /// The control parts in this frame's text.
    package func parts(in text: Bytes) -> Parts { Parts(hasParts ? text : .empty) }

    /// Those that this version knows; they borrow from the text.
    package func controlParts(_ text: Bytes) throws(Failure) -> [Part] {
        var known: [Part] = []
        var parts = parts(in: text)
        while let (type, body) = try parts.next() {
            if let part = try Part(type, body) { known.append(part) }
        }
        return known
    }

    private func isWellFormed(_ text: Bytes) -> Bool {
        do throws(Failure) {
            _ = try application(text)
            return true
        } catch {
            return false
        }
    }

    /// A list of parts, one after the other.
    package struct Parts {
        fileprivate static let applicationData: UInt8 = 0

        /// More than an engine ever says at once.
        package static let limit = 16

        private var reader: ByteReader
        private var count = 0
        /// What stands behind the control parts, once they are read.
        fileprivate private(set) var application: Bytes?

        fileprivate init(_ text: Bytes) { reader = ByteReader(text) }

        /// The next control part; `auth` for what is none.
        package mutating func next() throws(Failure) -> (type: UInt8, body: Bytes)? {
            guard !reader.isAtEnd else { return nil }
            do throws(Failure) {
                let type = try reader.integer(UInt8.self)
                guard type == Self.applicationData else {
                    count += 1
                    guard count <= Self.limit else { throw .auth }
                    return (type, try reader.field(UInt16.self))
                }
                application = reader.rest()
                reader = ByteReader(.empty)
                return nil
            } catch {
                throw error == .corrupt(.record) ? .auth : error
            }
        }
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
