import CPawl

/// A struct of `pawl.h` that says its own size, so that none is ever passed without.
protocol Sized {
    init()
    var struct_size: UInt32 { get set }
}

extension Sized {
    static func sized() -> Self {
        var value = Self()
        value.struct_size = UInt32(MemoryLayout<Self>.stride)
        return value
    }
}

extension pawl_clock: Sized {}
extension pawl_storage: Sized {}
extension pawl_vault: Sized {}
extension pawl_key: Sized {}
extension pawl_store_options: Sized {}
extension pawl_damage: Sized {}
extension pawl_stats: Sized {}
extension pawl_slot: Sized {}
extension pawl_scope: Sized {}
extension pawl_put_options: Sized {}
extension pawl_credential: Sized {}
extension pawl_archive_report: Sized {}
extension pawl_orphan: Sized {}
extension pawl_reconcile_options: Sized {}
extension pawl_identity: Sized {}
extension pawl_account: Sized {}
extension pawl_item: Sized {}
extension pawl_job: Sized {}
extension pawl_runner: Sized {}
extension pawl_package_options: Sized {}
extension pawl_package: Sized {}
extension pawl_rotation_options: Sized {}
extension pawl_rotation: Sized {}
extension pawl_peer: Sized {}
extension pawl_start_options: Sized {}
extension pawl_session: Sized {}
extension pawl_rekey_limits: Sized {}
extension pawl_trace: Sized {}
extension pawl_frame: Sized {}
extension pawl_received: Sized {}
extension pawl_delivery: Sized {}
extension pawl_kept: Sized {}
extension pawl_history: Sized {}
extension pawl_history_message: Sized {}
extension pawl_backup: Sized {}
extension pawl_backup_request: Sized {}
extension pawl_backup_entry: Sized {}
extension pawl_backup_reply: Sized {}

/// Lends the UTF-8 bytes of a text, NULL for an empty one.
func withBytes<Result>(
    of text: String, _ body: (UnsafeRawPointer?, Int) -> Result
) -> Result {
    var text = text
    return text.withUTF8 { body($0.isEmpty ? nil : UnsafeRawPointer($0.baseAddress), $0.count) }
}

/// The text in a row. The library stores valid UTF-8 alone, so nothing is ever replaced here.
func text(_ start: UnsafePointer<UInt8>?, _ count: Int) -> String {
    String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
}

private func text(_ start: UnsafeRawPointer?, _ count: Int) -> String {
    String(decoding: UnsafeRawBufferPointer(start: start, count: count), as: UTF8.self)
}

/// The bytes of a fixed-size array of C, which Swift knows as a tuple.
func array<Tuple>(_ tuple: Tuple) -> [UInt8] { withUnsafeBytes(of: tuple) { Array($0) } }

/// The bytes in a row.
func array(_ start: UnsafePointer<UInt8>?, _ count: Int) -> [UInt8] {
    Array(UnsafeBufferPointer(start: start, count: count))
}

/// Lends memory for secrets, which is wiped afterwards.
func withScratch<Result, Failure: Error>(
    _ size: Int, _ body: (UnsafeMutableRawBufferPointer) throws(Failure) -> Result
) throws(Failure) -> Result {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 1)
    defer {
        wipe(memory)
        memory.deallocate()
    }
    return try body(memory)
}

/// The rows that a call returned, wiped when this goes out of scope.
struct View: ~Copyable {
    private let view: OpaquePointer?

    init(_ call: (UnsafeMutablePointer<OpaquePointer?>) -> pawl_status) throws(PawlError) {
        var view: OpaquePointer?
        let status = call(&view)
        self.view = view
        try check(status)
    }

    deinit { pawl_view_close(view) }

    /// Makes a value of each row, whose pointers are good for as long as `make` runs.
    borrowing func map<Row: Sized, Value>(
        _ read: (OpaquePointer?, Int, UnsafeMutablePointer<Row>?) -> pawl_status,
        _ make: (Row) -> Value
    ) throws(PawlError) -> [Value] {
        var values: [Value] = []
        for index in 0..<pawl_view_count(view) {
            var row = Row.sized()
            try check(read(view, index, &row))
            values.append(make(row))
        }
        return values
    }

    /// The same for rows of several kinds, some of which `make` passes over.
    borrowing func compactMap<Row: Sized, Value>(
        _ read: (OpaquePointer?, Int, UnsafeMutablePointer<Row>?) -> pawl_status,
        _ make: (Row) -> Value?
    ) throws(PawlError) -> [Value] {
        try map(read, make).compactMap { $0 }
    }

    /// Makes a value of the one row of a view that can have no other number.
    borrowing func only<Row: Sized, Value>(
        _ read: (OpaquePointer?, Int, UnsafeMutablePointer<Row>?) -> pawl_status,
        _ make: (Row) -> Value
    ) throws(PawlError) -> Value {
        guard let only = try map(read, make).first else { throw PawlError(PAWL_INTERNAL) }
        return only
    }

    /// The items, with what only some of them carry.
    borrowing func items() throws(PawlError) -> [Item] {
        var values: [Item] = []
        for index in 0..<pawl_view_count(view) {
            var row = pawl_item.sized()
            try check(pawl_view_item(view, index, &row))
            let packages = try packages(Item.packageCount(row), ofItem: index)
            values.append(Item(row, try content(row, ofItem: index), packages))
        }
        return values
    }

    private borrowing func content(
        _ row: pawl_item, ofItem index: Int
    ) throws(PawlError) -> Item.Content? {
        switch row.kind {
        case UInt32(PAWL_ITEM_FRAME): .frame(array(row.body, row.body_size))
        case UInt32(PAWL_ITEM_REQUEST): try request(row, ofItem: index).map { .request($0) }
        case UInt32(PAWL_ITEM_EVENT): try event(row, ofItem: index).map { .event($0) }
        default: nil
        }
    }

    private borrowing func request(
        _ row: pawl_item, ofItem index: Int
    ) throws(PawlError) -> Item.Request? {
        if let request = Item.Request(row) { return request }
        guard BackupRequest.isOne(row) else { return nil }
        var found = pawl_backup_request.sized()
        try check(pawl_view_item_backup_request(view, index, &found))
        var entries: [BackupEntry] = []
        for place in 0..<found.entry_count {
            var entry = pawl_backup_entry.sized()
            try check(pawl_view_item_backup_entry(view, index, place, &entry))
            entries.append(BackupEntry(entry))
        }
        return BackupRequest(found, number: row.count, entries).map { .backup($0) }
    }

    private borrowing func event(
        _ row: pawl_item, ofItem index: Int
    ) throws(PawlError) -> Item.Event? {
        guard Item.Event.hasBackup(row) else { return Item.Event(row, nil) }
        var found = pawl_backup.sized()
        try check(pawl_view_item_backup(view, index, &found))
        return Item.Event(row, Backup(found))
    }

    private borrowing func packages(
        _ count: Int?, ofItem index: Int
    ) throws(PawlError) -> Item.Packages? {
        guard let count else { return nil }
        var package: KeyPackage?
        var keys: [OneTimeKey] = []
        for place in 0..<count {
            var row = pawl_package.sized()
            try check(pawl_view_item_package(view, index, place, &row))
            package = package ?? KeyPackage(row)
            if let key = OneTimeKey(row) { keys.append(key) }
        }
        return Item.Packages(package: package, oneTimeKeys: keys)
    }

    /// What the rows say without their secrets.
    borrowing func metadata() throws(PawlError) -> [Credential.Metadata] {
        var values: [Credential.Metadata] = []
        for index in 0..<pawl_view_count(view) {
            var row = pawl_credential.sized()
            try check(pawl_view_credential(view, index, &row))
            var attributes: [String: String] = [:]
            for number in 0..<row.attribute_count {
                var attribute = pawl_attribute()
                try check(pawl_view_attribute(view, index, number, &attribute))
                attributes[text(attribute.key, attribute.key_size)] =
                    text(attribute.value, attribute.value_size)
            }
            values.append(Credential.Metadata(row, attributes))
        }
        return values
    }

    /// The one row without its secret.
    borrowing func onlyMetadata() throws(PawlError) -> Credential.Metadata {
        guard let only = try metadata().first else { throw PawlError(PAWL_INTERNAL) }
        return only
    }

    /// The one row, with its secret.
    borrowing func credential() throws(PawlError) -> Credential {
        let secret = try only(pawl_view_credential) { row in
            Secret(copying: UnsafeRawBufferPointer(start: row.secret, count: row.secret_size))
        }
        return Credential(metadata: try onlyMetadata(), secret: secret)
    }
}

extension Credential.Metadata {
    init(_ row: pawl_credential, _ attributes: [String: String]) {
        name = text(row.name, row.name_size)
        version = row.version
        created = Timestamp(nanoseconds: row.created_ns)
        updated = Timestamp(nanoseconds: row.updated_ns)
        expires = .unlessNever(row.expires_ns)
        purge = .unlessNever(row.purge_ns)
        label = text(row.label, row.label_size)
        provider = text(row.provider, row.provider_size)
        self.attributes = attributes
        secretSize = row.secret_size
        isDeleted = row.flags & UInt32(PAWL_CREDENTIAL_DELETED) != 0
        isInVault = row.flags & UInt32(PAWL_CREDENTIAL_IN_VAULT) != 0
    }
}
