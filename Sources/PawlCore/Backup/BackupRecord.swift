package import PawlCrypto

/// A backup as it is stored, with its secrets.
///
/// Layout (little endian): format 1; revision 8, next request 8, requests that are out 4 × 8 (of the phase, an upload, a
/// restore, for the secret; 0: none); intent 1, stopped 1, check wanted 1, highest generation 8, failures 4, changes 8,
/// fill 8, successor 32, whole 32; phase 1, until 8; goal 1, left 1; server 1, and if 2: version, count 8; active 1, and if 1: version;
/// key and what is offered, each: 1, and if 1: version, secret 32; wish 1, and if 1: creation; making 1, and if 1: creation,
/// body; doomed (u8 count): versions; received (u8 count), each: secret 32, highest 8, asked 1; upload: 1, and if 1: version; cursor 8,
/// up to 8, failures 4, retry at 9; restore 1, and if 1: version, cursor (u8 length), progress 6 × 8, failures 4, retry at 9,
/// stopped 1; fetches (u8 count), each: request 8, place 16; misses (u8 count), each: place 16, failures 4, until 8.
/// Creation: secret 32, escrow 1, replaces 1, and if 1: version. Retry at: 1, time 8.
extension Backup {
    private static let format: UInt8 = 1

    package func encoded() throws(Failure) -> SecretBuffer {
        var measure = Sink(nil)
        write(to: &measure)
        let buffer = try SecretBuffer(count: measure.count)
        var sink = Sink(ByteWriter(buffer.mutableBytes))
        write(to: &sink)
        try sink.finish()
        return buffer
    }

    package init(decoding buffer: SecretBuffer) throws(Failure) {
        var reader = ByteReader(buffer.bytes)
        try reader.format(Self.format)
        revision = try reader.integer(UInt64.self)
        nextRequest = try reader.integer(UInt64.self)
        request = try reader.integer(UInt64.self)
        upload.request = try reader.integer(UInt64.self)
        let restoreRequest = try reader.integer(UInt64.self)
        secretRequest = try reader.integer(UInt64.self)
        intent = try reader.flag() ? .on : .off
        isStopped = try reader.flag()
        again = try reader.flag()
        highest = try reader.integer(UInt64.self)
        failures = try reader.integer(UInt32.self)
        changes = try reader.integer(UInt64.self)
        fill = try reader.integer(UInt64.self)
        successor = try Digest(&reader)
        whole = try Digest(&reader)
        phase = try Phase(&reader)
        goal = try Goal(&reader)
        switch try reader.integer(UInt8.self) {
        case 0: server = .unknown
        case 1: server = .absent
        case 2:
            let version = try BackupVersion(&reader)
            server = .present(version, count: try reader.integer(UInt64.self))
        default: throw .corrupt(.record)
        }
        active = try reader.version()
        key = try Held(&reader)
        offered = try Held(&reader)
        if try reader.flag() { wish = try Creation(&reader) }
        if try reader.flag() {
            let creation = try Creation(&reader)
            let body = try reader.take(BackupVersion.bodySize)
            making = (creation, try BackupVersion.Body(decoding: body))
        }
        for _ in 0..<(try reader.integer(UInt8.self)) { doomed.append(try BackupVersion(&reader)) }
        for _ in 0..<(try reader.integer(UInt8.self)) {
            let secret = try reader.secret()
            let highest = try reader.integer(UInt64.self)
            received.append(
                Candidate(secret: secret, highest: highest, isAsked: try reader.flag()))
        }
        upload.version = try reader.version()
        upload.cursor = try reader.integer(UInt64.self)
        upload.upTo = try reader.integer(UInt64.self)
        upload.failures = try reader.integer(UInt32.self)
        upload.retryAt = try reader.time()
        if try reader.flag() { restore = try Restore(&reader, request: restoreRequest) }
        for _ in 0..<(try reader.integer(UInt8.self)) {
            let request = try reader.integer(UInt64.self)
            fetches.append(
                Fetch(request: request, place: try Identifier(reader.take(Identifier.size))))
        }
        for _ in 0..<(try reader.integer(UInt8.self)) {
            misses.append(
                Miss(
                    place: try Identifier(reader.take(Identifier.size)),
                    failures: try reader.integer(UInt32.self),
                    until: try reader.integer(Int64.self)))
        }
        try reader.finish()
        // What active means, whoever wrote this.
        if let active, server.version != active || key?.version != active || intent == .off {
            throw .corrupt(.record)
        }
    }

    private func write(to sink: inout Sink) {
        sink.integer(Self.format)
        let requests = [request, upload.request, restore?.request ?? 0, secretRequest]
        for number in [revision, nextRequest] + requests { sink.integer(number) }
        sink.integer(intent.rawValue)
        sink.flag(isStopped)
        sink.flag(again)
        sink.integer(highest)
        sink.integer(failures)
        sink.integer(changes)
        sink.integer(fill)
        sink.digest(successor)
        sink.digest(whole)
        phase.write(to: &sink)
        goal.write(to: &sink)
        switch server {
        case .unknown: sink.integer(UInt8(0))
        case .absent: sink.integer(UInt8(1))
        case .present(let version, let count):
            sink.integer(UInt8(2))
            sink.version(version)
            sink.integer(count)
        }
        sink.optional(active)
        for held in [key, offered] {
            sink.optional(held?.version)
            if let held { sink.append(held.secret.bytes) }
        }
        sink.flag(wish != nil)
        if let wish { wish.write(to: &sink) }
        sink.flag(making != nil)
        if let (creation, body) = making {
            creation.write(to: &sink)
            sink.body(body)
        }
        sink.integer(UInt8(truncatingIfNeeded: doomed.count))
        for version in doomed { sink.version(version) }
        sink.integer(UInt8(truncatingIfNeeded: received.count))
        for candidate in received {
            sink.append(candidate.secret.bytes)
            sink.integer(candidate.highest)
            sink.flag(candidate.isAsked)
        }
        sink.optional(upload.version)
        sink.integer(upload.cursor)
        sink.integer(upload.upTo)
        sink.integer(upload.failures)
        sink.time(upload.retryAt)
        sink.flag(restore != nil)
        if let restore { restore.write(to: &sink) }
        sink.integer(UInt8(truncatingIfNeeded: fetches.count))
        for fetch in fetches {
            sink.integer(fetch.request)
            sink.identifier(fetch.place)
        }
        sink.integer(UInt8(truncatingIfNeeded: misses.count))
        for miss in misses {
            sink.identifier(miss.place)
            sink.integer(miss.failures)
            sink.integer(miss.until)
        }
    }
}

/// Where a record is written to; without a writer it is measured.
private struct Sink {
    private var writer: ByteWriter?
    private(set) var count = 0

    init(_ writer: ByteWriter?) { self.writer = writer }

    mutating func integer<T: FixedWidthInteger>(_ value: T) {
        count += MemoryLayout<T>.size
        writer?.integer(value)
    }

    mutating func append(_ bytes: Bytes) {
        count += bytes.count
        writer?.append(bytes)
    }

    mutating func flag(_ flag: Bool) { integer(UInt8(flag ? 1 : 0)) }

    mutating func digest(_ digest: Digest) {
        count += Digest.size
        writer?.digest(digest)
    }

    mutating func identifier(_ id: Identifier) {
        count += Identifier.size
        id.withBytes { writer?.append($0) }
    }

    mutating func body(_ body: BackupVersion.Body) {
        count += BackupVersion.bodySize
        writer?.body(body)
    }

    mutating func version(_ version: BackupVersion) {
        count += version.size
        writer?.version(version)
    }

    mutating func optional(_ version: BackupVersion?) {
        flag(version != nil)
        if let version { self.version(version) }
    }

    mutating func time(_ time: Int64?) {
        flag(time != nil)
        integer(time ?? 0)
    }

    func finish() throws(Failure) { try writer?.finish() }
}

extension ByteWriter {
    fileprivate mutating func digest(_ digest: Digest) { digest.write(to: &self) }
    fileprivate mutating func body(_ body: BackupVersion.Body) { body.write(to: &self) }
    fileprivate mutating func version(_ version: BackupVersion) { version.write(to: &self) }
}

extension ByteReader {
    fileprivate mutating func flag() throws(Failure) -> Bool {
        switch try integer(UInt8.self) {
        case 0: false
        case 1: true
        default: throw .corrupt(.record)
        }
    }

    fileprivate mutating func version() throws(Failure) -> BackupVersion? {
        guard try flag() else { return nil }
        return try BackupVersion(&self)
    }

    fileprivate mutating func secret() throws(Failure) -> SecretBuffer {
        try SecretBuffer(copying: take(BackupKeys.secretSize))
    }

    fileprivate mutating func time() throws(Failure) -> Int64? {
        let isSet = try flag()
        let time = try integer(Int64.self)
        return isSet ? time : nil
    }
}

extension Backup.Held {
    /// nil: none.
    fileprivate init?(_ reader: inout ByteReader) throws(Failure) {
        guard let version = try reader.version() else { return nil }
        self.init(version: version, secret: try reader.secret())
    }
}

extension Backup.Creation {
    fileprivate init(_ reader: inout ByteReader) throws(Failure) {
        self.init(
            secret: try reader.secret(), needsEscrow: try reader.flag(),
            replaces: try reader.version())
    }

    fileprivate func write(to sink: inout Sink) {
        sink.append(secret.bytes)
        sink.flag(needsEscrow)
        sink.optional(replaces)
    }
}

extension Backup.Phase {
    fileprivate init(_ reader: inout ByteReader) throws(Failure) {
        let number = try reader.integer(UInt8.self)
        let until = try reader.integer(Int64.self)
        switch number {
        case 0: self = .idle
        case 1: self = .checking
        case 2: self = .escrowing
        case 3: self = .creating
        case 4: self = .deleting
        case 5: self = .waiting(until: until)
        default: throw .corrupt(.record)
        }
    }

    fileprivate func write(to sink: inout Sink) {
        var time: Int64 = 0
        if case .waiting(let until) = self { time = until }
        let number: UInt8 =
            switch self {
            case .idle: 0
            case .checking: 1
            case .escrowing: 2
            case .creating: 3
            case .deleting: 4
            case .waiting: 5
            }
        sink.integer(number)
        sink.integer(time)
    }
}

extension Backup.Goal {
    fileprivate init(_ reader: inout ByteReader) throws(Failure) {
        let number = try reader.integer(UInt8.self)
        let left = try reader.integer(UInt8.self)
        switch number {
        case 0: self = .none
        case 1: self = .create
        case 2: self = .reset
        case 3: self = .delete(left: left)
        default: throw .corrupt(.record)
        }
    }

    fileprivate func write(to sink: inout Sink) {
        switch self {
        case .none: sink.integer(UInt16(0))
        case .create: sink.integer(UInt16(1))
        case .reset: sink.integer(UInt16(2))
        case .delete(let left): sink.integer(UInt16(3) | UInt16(left) << 8)
        }
    }
}

extension Backup.Restore {
    fileprivate init(_ reader: inout ByteReader, request: UInt64) throws(Failure) {
        self.init(version: try BackupVersion(&reader), request: request)
        cursor = [UInt8](try reader.field(UInt8.self))
        progress.imported = try reader.integer(UInt64.self)
        progress.known = try reader.integer(UInt64.self)
        progress.improved = try reader.integer(UInt64.self)
        progress.undecryptable = try reader.integer(UInt64.self)
        progress.malformed = try reader.integer(UInt64.self)
        progress.foreign = try reader.integer(UInt64.self)
        failures = try reader.integer(UInt32.self)
        retryAt = try reader.time()
        isStopped = try reader.flag()
    }

    fileprivate func write(to sink: inout Sink) {
        sink.version(version)
        sink.integer(UInt8(truncatingIfNeeded: cursor.count))
        cursor.withUnsafeBytes { sink.append($0) }
        for count in [
            progress.imported, progress.known, progress.improved, progress.undecryptable,
            progress.malformed, progress.foreign,
        ] {
            sink.integer(count)
        }
        sink.integer(failures)
        sink.time(retryAt)
        sink.flag(isStopped)
    }
}
