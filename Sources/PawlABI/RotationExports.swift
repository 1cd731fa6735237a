// Documented in pawl.h, the only home of C-level facts.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

public import CPawl
internal import PawlCore
internal import PawlCrypto
internal import PawlEngine

@_cdecl("pawl_rotation_begin")
public func pawl_rotation_begin(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?,
    _ options: UnsafePointer<pawl_rotation_options>?
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in
        let options =
            try options.map { (options) throws(Failure) in
                try rotationOptions(structure(options))
            }
        try store.beginRotation(identifier(account), options ?? Rotation.Options())
    }
}

@_cdecl("pawl_rotation_now")
public func pawl_rotation_now(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in
        try store.changeRotation(identifier(account)) { (rotation, now) in
            rotation.rotate(now: now)
        }
    }
}

@_cdecl("pawl_rotation_report")
public func pawl_rotation_report(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?, _ one_time_count: UInt32
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in
        try store.changeRotation(identifier(account)) { (rotation, _) in
            rotation.report(available: one_time_count)
        }
    }
}

@_cdecl("pawl_rotation_get")
public func pawl_rotation_get(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?,
    _ rotation: UnsafeMutablePointer<pawl_rotation>?
) -> pawl_status {
    let cleared = cleared(rotation)
    return withStore(store) { (store) throws(Failure) in
        try fill(rotation, cleared) { (rotation) throws(Failure) in
            let found = try store.rotation(identifier(account))
            rotation.rotate_ns = found.rotateAt
            rotation.readback_ns = found.readbackAt
            rotation.one_time_count = found.available
            rotation.superseded = UInt32(truncatingIfNeeded: found.superseded.count)
        }
    }
}

@_cdecl("pawl_view_item_package")
public func pawl_view_item_package(
    _ view: OpaquePointer?, _ row: Int, _ index: Int,
    _ package: UnsafeMutablePointer<pawl_package>?
) -> pawl_status {
    fillRow(view, package) { (rows, package) throws(Failure) in
        guard case .items(let rows) = rows, rows.indices.contains(row),
            let found = try rows[row].published(at: index)
        else { throw .misuse(.row) }
        package.kind = UInt32(found.number == nil ? PAWL_PACKAGE : PAWL_PACKAGE_ONE_TIME)
        package.state = UInt32(PAWL_PACKAGE_STAGED)
        copy(found.id, to: &package.id)
        package.key_id = found.number ?? 0
        if found.number == nil {
            package.one_time_count = UInt32(truncatingIfNeeded: rows[row].item.count)
        }
        package.not_before_ns = Store.nanoseconds(found.notBefore)
        package.not_after_ns = Store.nanoseconds(found.notAfter)
        package.remove_ns = CredentialRules.never
        (package.bytes, package.bytes_size) = field(found.bytes)
    }
}

/// 0 stands for the default.
private func rotationOptions(
    _ given: pawl_rotation_options
) throws(Failure) -> Rotation.Options {
    guard given.flags & ~UInt32(PAWL_ROTATION_NO_KEYS) == 0 else { throw .misuse(.flags) }
    var options = Rotation.Options()
    if given.rotate_ns != 0 { options.rotate = given.rotate_ns }
    if given.lifetime_ns != 0 { options.lifetime = given.lifetime_ns }
    if given.keep_ns != 0 { options.keep = given.keep_ns }
    if given.welcome_delay_ns != 0 { options.welcomeDelay = given.welcome_delay_ns }
    if given.welcome_pause_ns != 0 { options.welcomePause = given.welcome_pause_ns }
    if given.readback_ns != 0 { options.readback = given.readback_ns }
    if given.one_time_count != 0 { options.pool = given.one_time_count }
    if given.one_time_floor != 0 { options.poolFloor = given.one_time_floor }
    options.poolFloor = min(options.poolFloor, options.pool)
    if given.flags != 0 {
        guard given.one_time_count == 0, given.one_time_floor == 0 else { throw .misuse(.flags) }
        options.pool = 0
        options.poolFloor = 0
    }
    return options
}
