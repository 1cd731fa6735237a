package import PawlCrypto

/// The first byte of every key in the storage engine. Written into files: numbers are never reused.
package enum RowKind: UInt8 {
    /// Format, store id and slot revision, in the clear.
    case header = 0x01
    /// A wrapped master key, then its number.
    case slot = 0x02
    /// The last version given out.
    case sequence = 0x10
    /// Then user, project, name.
    case credential = 0x20
    /// A large secret: then user, project, name, version.
    case secret = 0x21
    /// Deleted, can be restored: then user, project, name, version.
    case deleted = 0x22
    /// A put under way in a vault: then user, project, name, vault id.
    case intent = 0x23
    /// A vault value to be removed: then vault id.
    case orphan = 0x24
    /// The number of the outbox's last item.
    case ticket = 0x11
    /// An identity of this store's user: then account id.
    case account = 0x30
    /// What an account counts and allows: then account id.
    case accountState = 0x31
    /// A key package's private half: then account id, package id.
    case package = 0x32
    /// A one-time key's private half: then account id, package id, key id.
    case oneTime = 0x33
    /// A welcome that was accepted: then account id, package id, hash of the ephemeral key.
    case welcome = 0x34
    /// Then account id, name.
    case peer = 0x35
    /// How an account's packages come and go: then account id.
    case rotation = 0x36
    /// One direction of an epoch, kept: then account id, half of the session id, epoch, session id, direction.
    case history = 0x37
    /// Then session id.
    case session = 0x38
    /// The key of a message that is late: then session id, epoch, index.
    case skipped = 0x39
    /// A message kept for the host: then session id, epoch, index.
    case kept = 0x3A
    /// An epoch whose receiving chain is gone: then session id, epoch.
    case epoch = 0x3B
    /// A message that waits for an epoch: then session id, ticket.
    case queued = 0x3C
    /// A session that was closed and still says so: then session id.
    case tombstone = 0x3D
    /// What is known of an item: then lane, number.
    case item = 0x41
    /// What an item carries: then number.
    case payload = 0x42
    /// When a lane can be taken from: then time, number of its first item, lane.
    case ready = 0x43
    /// Then due time, kind of job, subject.
    case job = 0x50
    /// When a job is due: then kind of job, subject.
    case jobTime = 0x51
    /// About when the schedule was changed last.
    case clock = 0x53
    /// A job that was set aside: then kind of job, subject.
    case deadLetter = 0x54
    /// A backup's machine: then account id.
    case backup = 0x60
    /// Which item changed last under a number: then account id, number.
    case backupChange = 0x61
    /// What is known of an item: then account id, key of the row that is backed up.
    case backupItem = 0x62
    /// The newest manifests that are known of a version: then account id, generation, start of its hash.
    case backupWriters = 0x63
    /// Credentials that are backed up: then user, project (zeros: all), account id.
    case backupScope = 0x64
    /// How far the own listing is: then account id.
    case backupListing = 0x65
    /// A page of it: then account id, generation, start of the version's hash, number.
    case backupPage = 0x66
    /// What a server had at a place, while a restore is under way: then account id, place.
    case backupShown = 0x67
    /// A manifest, or a page of a listing, of the same: then account id, writer, 0 or number of the page + 1.
    case backupSeen = 0x68

    /// Whether its values hold neither keys nor messages, so that a handle may keep them in memory.
    package var isHarmless: Bool {
        switch self {
        case .accountState, .peer, .payload: true
        default: false
        }
    }

    /// Whether its values are numbers and times that need not be hidden.
    package var isStamped: Bool {
        switch self {
        case .ticket, .item, .jobTime, .clock: true
        default: false
        }
    }
}

/// A key of the storage engine, or the prefix that a range of them shares. Made too often to be on the heap.
package struct RowKey: Hashable {
    /// With room for more than the keys of this Pawl have, which are 81 bytes at most.
    private var storage = InlineArray<87, UInt8>(repeating: 0)
    private var size: UInt8 = 0

    package init(_ kind: RowKind) {
        storage[0] = kind.rawValue
        size = 1
    }

    /// nil: longer than any of this Pawl's.
    package init?(copying bytes: Bytes) {
        // One byte is left for the key that comes next.
        guard bytes.count < storage.count else { return nil }
        append(bytes)
    }

    /// What there is no room for is left out.
    private mutating func append(_ bytes: Bytes) {
        let start = count
        let part = min(bytes.count, storage.count - start)
        var span = storage.mutableSpan
        span.withUnsafeMutableBytes {
            UnsafeMutableRawBufferPointer(rebasing: $0[start..<start + part])
                .copyMemory(from: Bytes(rebasing: bytes[..<part]))
        }
        size += UInt8(truncatingIfNeeded: part)
    }

    package consuming func appending(_ bytes: Bytes) -> RowKey {
        append(bytes)
        return self
    }

    package consuming func appending(_ id: Identifier) -> RowKey {
        id.withBytes { append($0) }
        return self
    }

    /// Big endian, so that the order of keys is the order of numbers.
    package consuming func appending<T: FixedWidthInteger>(_ number: T) -> RowKey {
        withUnsafeBytes(of: number.bigEndian) { append($0) }
        return self
    }

    /// nil: a kind that this Pawl does not know.
    package var kind: RowKind? { RowKind(rawValue: storage[0]) }

    /// The same name under another kind.
    package func with(_ kind: RowKind) -> RowKey {
        var key = self
        if count > 0 { key.storage[0] = kind.rawValue }
        return key
    }

    /// The first `count` bytes.
    package func trimmed(to count: Int) -> RowKey {
        var key = self
        while key.count > count, key.removeLast() != nil {}
        return key
    }

    /// The first key after all that begin with this one. A kind is never 0xFF, so there is one.
    package var end: RowKey {
        var key = self
        while let last = key.removeLast() {
            if last < 0xFF { return key.appending(last + 1) }
        }
        return key
    }

    /// The first key after this one.
    package var next: RowKey { appending(UInt8(0)) }

    package var count: Int { Int(size) }

    private mutating func removeLast() -> UInt8? {
        guard size > 0 else { return nil }
        size -= 1
        return exchange(&storage[count], with: 0)
    }

    package func withBytes<R: ~Copyable, E: Error>(
        _ body: (Bytes) throws(E) -> R
    ) throws(E) -> R {
        try storage.span.bytes.withUnsafeBytes { (bytes) throws(E) in
            try body(Bytes(rebasing: bytes[..<count]))
        }
    }

    package static func == (a: RowKey, b: RowKey) -> Bool {
        var areSame = false
        a.withBytes { a in b.withBytes { b in areSame = a.sameBytes(as: b) } }
        return areSame
    }

    package func hash(into hasher: inout Hasher) { withBytes { hasher.combine(bytes: $0) } }
}
