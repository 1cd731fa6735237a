import CPlatform
import CSQLite
package import PawlCrypto

/// A store in one SQLite file: a table of keys and values in WAL mode.
///
/// The file is only ever touched through SQLite, because closing any other descriptor of it would
/// drop the locks that this process holds.
package final class SQLiteStorage: StoragePort {
    private static let application: Int64 = 0x5041_574C  // "PAWL"
    private static let schema: Int64 = 1

    private let db: OpaquePointer
    private let path: StorePath
    private var prepared = [OpaquePointer?](repeating: nil, count: Statement.allCases.count)
    private var transaction: TransactionMode?
    /// Whether commits wait for the disk.
    private var isDurable = true

    private init(_ db: OpaquePointer, _ path: StorePath) {
        self.db = db
        self.path = path
    }

    // MARK: Opening and creating

    /// `notFound` if there is no file. A file that is not a Pawl store, or a newer Pawl's, is left as
    /// it is. Waits for nobody.
    package static func open(path: [UInt8]) throws(Failure) -> SQLiteStorage {
        do throws(Failure) {
            return try open(StorePath(path))
        } catch {
            // Where the folder is missing, so is the store.
            throw error == .store(.cannotOpen, code: ENOENT) ? .notFound : error
        }
    }

    private static func open(_ path: StorePath) throws(Failure) -> SQLiteStorage {
        switch platform_file_kind(path.file) {
        case 1: break
        case 0: throw .notFound
        case 2: throw .store(.cannotOpen, code: SQLITE_CANTOPEN)
        default: throw .store(.cannotOpen, code: platform_errno())
        }
        let storage = try connect(path)
        do throws(Failure) {
            try storage.configure(SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            try storage.keepLog()
            try storage.examine()
            try storage.configure(SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
            try storage.settle()
        } catch {
            storage.close()
            // The log or its index can neither be written nor be made.
            if case .store(.cannotOpen, let code) = error, platform_is_read_only(path.file) != 0 {
                throw .store(.readOnly, code: code)
            }
            throw error
        }
        return storage
    }

    /// Creates a store with what `fill` puts into the write transaction that it is given, whole or not
    /// at all: it is built under another name, and the name is linked when all is on disk.
    package static func create(
        path: [UInt8], fill: (any StoragePort) throws(Failure) -> Void
    ) throws(Failure) {
        let path = try StorePath(path)
        guard platform_name_exists(path.file) == 0 else { throw .exists }
        // The log of a store that was deleted without it would be replayed into the new one.
        for suffix: StaticString in ["-wal", "-journal"] {
            guard platform_file_size(path.beside(suffix).file) == 0 else {
                // Or of one that somebody else created since the look above.
                guard platform_name_exists(path.file) == 0 else { throw .exists }
                throw .store(.cannotOpen, code: EEXIST)
            }
        }
        let draft = path.draft()
        let descriptor = platform_create_private(draft.file)
        guard descriptor >= 0 else { throw systemFailure(platform_errno()) }
        CPlatform.close(descriptor)
        defer {
            unlink(draft.file)
            for suffix: StaticString in ["-journal", "-wal", "-shm"] {
                unlink(draft.beside(suffix).file)
            }
        }
        try build(draft, fill: fill)
        guard link(draft.file, path.file) == 0 else {
            let code = platform_errno()
            throw code == EEXIST ? .exists : systemFailure(code)
        }
        // A name that others may have opened by now is not taken back.
        guard platform_sync_folder(path.folder) == 0 || platform_errno() == EINVAL else {
            throw .store(.indeterminate, code: platform_errno())
        }
    }

    private static func build(
        _ draft: StorePath, fill: (any StoragePort) throws(Failure) -> Void
    ) throws(Failure) {
        let storage = try connect(draft)
        defer { storage.close() }
        try storage.run("PRAGMA synchronous=FULL")
        try storage.begin(.write)
        try storage.run("CREATE TABLE kv(k BLOB PRIMARY KEY, v BLOB NOT NULL)")
        try storage.run("PRAGMA application_id=0x5041574C")
        try storage.run("PRAGMA user_version=1")
        try fill(storage)
        try storage.commit()
        try storage.run("PRAGMA journal_mode=WAL")
        guard try storage.header().isLogged else { throw .store(.failed, code: 0) }
    }

    private static func connect(
        _ path: StorePath
    ) throws(Failure) -> SQLiteStorage {
        var handle: OpaquePointer?
        let flags =
            SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW
            | SQLITE_OPEN_EXRESCODE
        let result = sqlite3_open_v2(path.file, &handle, flags, nil)
        guard result == SQLITE_OK, let handle else {
            sqlite3_close(handle)
            throw result == SQLITE_OK ? .limit(.memory) : failure(result)
        }
        let storage = SQLiteStorage(handle, path)
        do throws(Failure) {
            try storage.configure(SQLITE_DBCONFIG_DEFENSIVE, 1)
            try storage.configure(SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
            try storage.configure(SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
            try storage.configure(SQLITE_DBCONFIG_ENABLE_VIEW, 0)
            try storage.configure(SQLITE_DBCONFIG_ENABLE_FKEY, 0)
        } catch {
            storage.close()
            throw error
        }
        return storage
    }

    /// Is this a store of ours? Reads only: first the header in the file, which tells another program's
    /// file before SQLite so much as makes a log for it, then the same through the log.
    private func examine() throws(Failure) {
        let header = try header()
        guard header.isSQLite, header.application == Self.application else {
            throw .corrupt(.notPawl)
        }
        try examine(schema: header.version)
        do throws(Failure) {
            guard try number("PRAGMA application_id") == Self.application else {
                throw .corrupt(.notPawl)
            }
            try examine(schema: number("PRAGMA user_version"))
            let known = try number(
                """
                SELECT count(*) = 2
                AND sum(type = 'table' AND name = 'kv' AND tbl_name = 'kv'
                    AND sql = 'CREATE TABLE kv(k BLOB PRIMARY KEY, v BLOB NOT NULL)') = 1
                AND sum(type = 'index' AND name = 'sqlite_autoindex_kv_1' AND tbl_name = 'kv'
                    AND sql IS NULL) = 1
                FROM sqlite_master
                """)
            guard known == 1 else { throw .corrupt(.notPawl) }
        } catch {
            throw error == .corrupt(.record) ? .corrupt(.notPawl) : error
        }
    }

    private func examine(schema: Int64) throws(Failure) {
        guard schema <= Self.schema else { throw .version }
        guard schema == Self.schema else { throw .corrupt(.notPawl) }
    }

    /// The log and its index stay when the last connection goes: whoever deletes them races with
    /// whoever opens them.
    private func keepLog() throws(Failure) {
        var on: Int32 = 1
        try check(sqlite3_file_control(db, "main", SQLITE_FCNTL_PERSIST_WAL, &on))
    }

    private func settle() throws(Failure) {
        try run("PRAGMA synchronous=FULL")
        try run("PRAGMA secure_delete=ON")
        try run("PRAGMA cell_size_check=ON")
        try run("PRAGMA temp_store=MEMORY")
        // With a limit, the last connection empties the log that it keeps.
        try run("PRAGMA journal_size_limit=8388608")
        // A copy that a tool made may have lost the mode.
        if try !header().isLogged, sqlite3_db_readonly(db, "main") == 0 {
            try run("PRAGMA journal_mode=WAL")
        }
    }

    // MARK: The port

    package func begin(_ mode: TransactionMode) throws(Failure) {
        try begin(mode, isDurable: true)
    }

    package func beginRelaxed() throws(Failure) { try begin(.write, isDurable: false) }

    private func begin(_ mode: TransactionMode, isDurable: Bool) throws(Failure) {
        guard transaction == nil else { throw .internal }
        if mode == .write {
            // SQLite would quietly begin a read transaction.
            guard sqlite3_db_readonly(db, "main") == 0 else {
                throw .store(.readOnly, code: SQLITE_READONLY)
            }
            if isDurable != self.isDurable {
                // It takes effect when it is prepared, so there is no keeping it.
                try run(isDurable ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL")
                self.isDurable = isDurable
            }
        }
        try perform(mode == .read ? .read : .write)
        transaction = mode
    }

    package func get(
        _ key: Bytes, _ body: (Bytes) throws(Failure) -> Void
    ) throws(Failure) -> Bool {
        try requireTransaction()
        let statement = try statement(.get)
        defer { finish(statement) }
        try bind(statement, 1, key)
        let result = sqlite3_step(statement)
        if result == SQLITE_DONE { return false }
        guard result == SQLITE_ROW else { throw Self.failure(result) }
        try body(column(statement, 0))
        return true
    }

    package func put(_ key: Bytes, _ value: Bytes) throws(Failure) {
        try requireTransaction(.write)
        let statement = try statement(.put)
        defer { finish(statement) }
        try bind(statement, 1, key)
        try bind(statement, 2, value)
        try complete(statement)
    }

    package func delete(_ key: Bytes) throws(Failure) {
        try requireTransaction(.write)
        let statement = try statement(.delete)
        defer { finish(statement) }
        try bind(statement, 1, key)
        try complete(statement)
    }

    package func scan(
        from: Bytes, to: Bytes, limit: Int, _ body: (Bytes, Bytes) throws(Failure) -> Bool
    ) throws(Failure) {
        try requireTransaction()
        guard limit > 0 else { return }
        let statement = try statement(.scan)
        defer { finish(statement) }
        try bind(statement, 1, from)
        try bind(statement, 2, to)
        try check(sqlite3_bind_int64(statement, 3, Int64(limit)))
        while true {
            let result = sqlite3_step(statement)
            if result == SQLITE_DONE { return }
            guard result == SQLITE_ROW else { throw Self.failure(result) }
            guard try body(column(statement, 0), column(statement, 1)) else { return }
        }
    }

    package func commit() throws(Failure) {
        guard let mode = transaction else { throw .internal }
        defer { transaction = nil }
        try requireTransaction()
        do throws(Failure) {
            try perform(.commit)
        } catch {
            abandon()
            guard mode == .write else { throw error }
            switch error {
            // Only these are certain to come before the record of the commit is in the log.
            case .busy, .store(.full, _), .store(.readOnly, _): throw error
            case .store(_, let code): throw .store(.indeterminate, code: code)
            default: throw .store(.indeterminate, code: 0)
            }
        }
    }

    package func rollback() {
        transaction = nil
        abandon()
    }

    package var canCheckpoint: Bool { true }

    package func checkpoint() throws(Failure) -> Bool {
        guard transaction == nil else { throw .internal }
        let result = sqlite3_wal_checkpoint_v2(db, "main", SQLITE_CHECKPOINT_TRUNCATE, nil, nil)
        guard result & 0xFF != SQLITE_BUSY else { return false }
        try check(result)
        return true
    }

    package var bellPath: [CChar]? { path.beside("-bell").file }

    package func sibling() throws(Failure) -> any StoragePort {
        // Another file under the same name would be another store.
        var moved: Int32 = 0
        try check(sqlite3_file_control(db, "main", SQLITE_FCNTL_HAS_MOVED, &moved))
        guard moved == 0 else { throw .store(.cannotOpen, code: SQLITE_CANTOPEN) }
        return try Self.open(path)
    }

    package func close() {
        rollback()
        for statement in prepared { sqlite3_finalize(statement) }
        sqlite3_close(db)
    }

    // MARK: Statements

    private enum Statement: Int, CaseIterable {
        case read, write, commit, rollback, get, put, delete, scan

        var sql: StaticString {
            switch self {
            case .read: "BEGIN"
            case .write: "BEGIN IMMEDIATE"
            case .commit: "COMMIT"
            case .rollback: "ROLLBACK"
            case .get: "SELECT v FROM kv WHERE k = ?1"
            case .put:
                """
                INSERT INTO kv(k, v) VALUES(?1, ?2) ON CONFLICT(k) DO UPDATE SET v = excluded.v
                """
            case .delete: "DELETE FROM kv WHERE k = ?1"
            case .scan: "SELECT k, v FROM kv WHERE k >= ?1 AND k < ?2 ORDER BY k LIMIT ?3"
            }
        }
    }

    private func statement(_ which: Statement) throws(Failure) -> OpaquePointer {
        if let statement = prepared[which.rawValue] { return statement }
        let statement = try prepare(which.sql)
        prepared[which.rawValue] = statement
        return statement
    }

    private func prepare(_ sql: StaticString) throws(Failure) -> OpaquePointer {
        let text = UnsafeRawPointer(sql.utf8Start).assumingMemoryBound(to: CChar.self)
        var statement: OpaquePointer?
        try check(
            sqlite3_prepare_v3(
                db, text, Int32(truncatingIfNeeded: sql.utf8CodeUnitCount),
                UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil))
        guard let statement else { throw .internal }
        return statement
    }

    private func perform(_ which: Statement) throws(Failure) {
        let statement = try statement(which)
        defer { sqlite3_reset(statement) }
        try complete(statement)
    }

    private func complete(_ statement: OpaquePointer) throws(Failure) {
        let result = sqlite3_step(statement)
        guard result == SQLITE_DONE else { throw Self.failure(result) }
    }

    /// Ends a statement; the bytes that were bound to it are the caller's.
    private func finish(_ statement: OpaquePointer) {
        sqlite3_reset(statement)
        sqlite3_clear_bindings(statement)
    }

    /// Runs a statement that is needed once, whatever rows it gives.
    private func run(_ sql: StaticString) throws(Failure) {
        let statement = try prepare(sql)
        defer { sqlite3_finalize(statement) }
        while true {
            let result = sqlite3_step(statement)
            if result == SQLITE_DONE { return }
            guard result == SQLITE_ROW else { throw Self.failure(result) }
        }
    }

    private func number(_ sql: StaticString) throws(Failure) -> Int64 {
        let statement = try prepare(sql)
        defer { sqlite3_finalize(statement) }
        let result = sqlite3_step(statement)
        guard result == SQLITE_ROW else { throw Self.failure(result) }
        return sqlite3_column_int64(statement, 0)
    }

    private func bind(
        _ statement: OpaquePointer, _ index: Int32, _ bytes: Bytes
    ) throws(Failure) {
        let size = UInt64(truncatingIfNeeded: bytes.count)
        try check(sqlite3_bind_blob64(statement, index, bytes.octets, size, nil))
    }

    private func column(_ statement: OpaquePointer, _ index: Int32) throws(Failure) -> Bytes {
        guard sqlite3_column_type(statement, index) == SQLITE_BLOB else { throw .corrupt(.record) }
        let start = sqlite3_column_blob(statement, index)
        let count = Int(sqlite3_column_bytes(statement, index))
        guard start != nil || count == 0 else { throw .limit(.memory) }
        return Bytes(start: start, count: count)
    }

    // MARK: Transactions

    /// SQLite ends a transaction by itself after some errors; what came after would then commit alone.
    private func requireTransaction(_ mode: TransactionMode = .read) throws(Failure) {
        guard let transaction, mode == .read || transaction == .write else { throw .internal }
        guard sqlite3_get_autocommit(db) == 0 else { throw .store(.lost, code: 0) }
    }

    /// Rolls back if there is still something to roll back.
    private func abandon() {
        guard sqlite3_get_autocommit(db) == 0 else { return }
        try? perform(.rollback)
    }

    // MARK: Header, options, errors

    private func header() throws(Failure) -> SQLiteHeader {
        var bytes = [UInt8](repeating: 0, count: SQLiteHeader.size)
        let result = sqlite_read_header(db, &bytes, Int32(SQLiteHeader.size))
        let shortRead = SQLITE_IOERR | 2 << 8
        guard result != shortRead else { throw .corrupt(.notPawl) }
        try check(result)
        return SQLiteHeader(bytes)
    }

    private func configure(_ option: Int32, _ value: Int32) throws(Failure) {
        try check(sqlite_configure(db, option, value))
    }

    private func check(_ result: Int32) throws(Failure) {
        guard result == SQLITE_OK else { throw Self.failure(result) }
    }

    private static func failure(_ result: Int32) -> Failure {
        let code = (0...32767).contains(result) ? result : 0
        return switch result & 0xFF {
        case SQLITE_BUSY, SQLITE_PROTOCOL: .busy(.writer)
        case SQLITE_FULL: .store(.full, code: code)
        case SQLITE_READONLY: .store(.readOnly, code: code)
        case SQLITE_CANTOPEN: .store(.cannotOpen, code: code)
        case SQLITE_CORRUPT, SQLITE_NOTADB: .corrupt(.record)
        case SQLITE_NOMEM: .limit(.memory)
        case SQLITE_TOOBIG: .limit(.secret)
        default: .store(.failed, code: code)
        }
    }

    fileprivate static func systemFailure(_ code: Int32) -> Failure {
        switch code {
        case ENOSPC, EDQUOT: .store(.full, code: code)
        case EACCES, EPERM, EROFS: .store(.readOnly, code: code)
        default: .store(.cannotOpen, code: code)
        }
    }
}
