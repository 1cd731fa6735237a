internal import CPawl
internal import PawlCore
internal import PawlCrypto
internal import PawlEngine

// What every export goes through: handles, arguments in, results out. Nothing that C passes may trap.

// MARK: Calls

/// Runs `body` and answers its status.
func boundary(_ body: () throws(Failure) -> Void) -> pawl_status {
    do throws(Failure) {
        try body()
        return PAWL_OK
    } catch {
        return status(error)
    }
}

/// Runs `body` on a store or batch.
func withStore(
    _ handle: OpaquePointer?, _ body: (Store) throws(Failure) -> Void
) -> pawl_status {
    boundary { () throws(Failure) in
        guard let store = object(handle, as: Store.self) else { throw .misuse(.null) }
        try store.call { () throws(Failure) in try body(store) }
    }
}

// MARK: Handles

func object<T: AnyObject>(_ handle: OpaquePointer?, as _: T.Type) -> T? {
    handle.map { Unmanaged<T>.fromOpaque(UnsafeRawPointer($0)).takeUnretainedValue() }
}

/// A handle that owns `object` until `release`.
func handle<T: AnyObject>(owning object: T) -> OpaquePointer {
    OpaquePointer(Unmanaged.passRetained(object).toOpaque())
}

func release<T: AnyObject>(_ handle: OpaquePointer, as _: T.Type) {
    Unmanaged<T>.fromOpaque(UnsafeRawPointer(handle)).release()
}

// MARK: Arguments

/// An input. Its size is checked against its documented limit by whoever reads it.
func input(_ start: UnsafeRawPointer?, _ size: Int) throws(Failure) -> Bytes {
    guard size >= 0 else { throw .misuse(.size) }
    guard start != nil || size == 0 else { throw .misuse(.null) }
    return Bytes(start: start, count: size)
}

func output<T>(_ pointer: UnsafeMutablePointer<T>?) throws(Failure) -> UnsafeMutablePointer<T> {
    guard let pointer else { throw .misuse(.null) }
    return pointer
}

/// Zeroes an output before anything happens, so that a refused call leaves nothing old in it.
func clear<T: FixedWidthInteger>(_ out: UnsafeMutablePointer<T>?, _ size: Int, upTo limit: Int) {
    if size > 0 { out?.update(repeating: 0, count: min(size, limit)) }
}

/// No struct of this interface will ever be larger; a larger struct_size is a mistake.
private let structSizeLimit = 4096

/// The struct behind a pointer, if its struct_size is right and nothing is set that this library
/// does not know.
func structure<T>(_ pointer: UnsafePointer<T>?) throws(Failure) -> T {
    guard let pointer else { throw .misuse(.null) }
    try checkSize(UnsafeRawPointer(pointer), MemoryLayout<T>.size)
    return pointer.pointee
}

private func checkSize(_ pointer: UnsafeRawPointer, _ known: Int) throws(Failure) {
    let size = Int(pointer.loadUnaligned(as: UInt32.self))
    guard size >= known, size <= structSizeLimit else { throw .misuse(.structure) }
    for offset in known..<size
    where pointer.loadUnaligned(fromByteOffset: offset, as: UInt8.self) != 0 {
        throw .misuse(.structure)
    }
}

/// Where a result goes. The struct is cleared at once, but for its struct_size, whatever becomes of the
/// call; nil if there is none or its size is not right.
func cleared<T>(_ pointer: UnsafeMutablePointer<T>?) -> UnsafeMutablePointer<T>? {
    guard let pointer else { return nil }
    let raw = UnsafeMutableRawPointer(pointer)
    let size = Int(raw.loadUnaligned(as: UInt32.self))
    guard size >= MemoryLayout<T>.size, size <= structSizeLimit else { return nil }
    let head = MemoryLayout<UInt32>.size
    UnsafeMutableRawBufferPointer(start: raw + head, count: size - head).initializeMemory(
        as: UInt8.self, repeating: 0)
    return pointer
}

/// Fills what `cleared` gave for `pointer`.
func fill<T>(
    _ pointer: UnsafeMutablePointer<T>?, _ target: UnsafeMutablePointer<T>?,
    _ body: (inout T) throws(Failure) -> Void
) throws(Failure) {
    guard pointer != nil else { throw .misuse(.null) }
    guard let target else { throw .misuse(.structure) }
    try body(&target.pointee)
}

func check(flags: UInt32, allowed: Int32) throws(Failure) {
    guard flags & ~UInt32(bitPattern: allowed) == 0 else { throw .misuse(.flags) }
}

func has(_ flags: UInt32, _ flag: Int32) -> Bool { flags & UInt32(bitPattern: flag) != 0 }

/// A page size.
func page(_ limit: Int) throws(Failure) -> Int {
    guard (1...10_000).contains(limit) else { throw .misuse(.size) }
    return limit
}

func path(_ start: UnsafeRawPointer?, _ size: Int) throws(Failure) -> [UInt8] {
    let bytes = try input(start, size)
    guard (1...4096).contains(bytes.count), !bytes.contains(0) else { throw .misuse(.path) }
    return [UInt8](bytes)
}

func scope(_ pointer: UnsafePointer<pawl_scope>?) throws(Failure) -> Scope {
    let scope = try structure(pointer)
    guard scope.flags == 0 else { throw .misuse(.flags) }
    return try Scope(
        user: input(scope.user, scope.user_size), project: input(scope.project, scope.project_size))
}

/// The address of a field in a row, never NULL.
func field(_ bytes: Bytes) -> (UnsafePointer<UInt8>, Int) { (bytes.octets, bytes.count) }

func identifier(_ start: UnsafePointer<UInt8>?) throws(Failure) -> Identifier {
    guard let start else { throw .misuse(.null) }
    return try Identifier(Bytes(start: start, count: Identifier.size))
}

/// An output of a size known before: checked before anything happens.
func room<T>(
    _ out: UnsafeMutablePointer<T>?, _ size: Int, _ length: UnsafeMutablePointer<Int>?,
    for needed: Int
) throws(Failure) -> (UnsafeMutablePointer<T>, UnsafeMutablePointer<Int>) {
    let length = try output(length)
    guard size >= 0 else { throw .misuse(.size) }
    guard size >= needed else {
        length.pointee = needed
        throw .buffer
    }
    return (try output(out), length)
}

/// The keys of a `pawl_identity` are arrays inside it, so they are borrowed for one call.
func withIdentity(
    _ pointer: UnsafePointer<pawl_identity>?,
    _ body: (Identity) throws(Failure) -> Void
) throws(Failure) {
    let identity = try structure(pointer)
    guard identity.flags == 0 else { throw .misuse(.flags) }
    let name = try input(identity.name, identity.name_size)
    try withUnsafeBytes(of: identity.signing_key) { (signing) throws(Failure) in
        try withUnsafeBytes(of: identity.agreement_key) { (agreement) throws(Failure) in
            let keys = try IdentityPublic(signing: signing, agreement: agreement)
            try body(Identity(keys: keys, name: name))
        }
    }
}

/// Fills an array inside of a struct; what the bytes do not fill stays zero.
func copy<T>(_ bytes: Bytes, to array: inout T) {
    withUnsafeMutableBytes(of: &array) { target in
        if bytes.count <= target.count { target.copyMemory(from: bytes) }
    }
}

func copy<T>(_ id: Identifier, to array: inout T) { id.withBytes { copy($0, to: &array) } }
