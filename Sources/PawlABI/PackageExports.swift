// Documented in pawl.h, the only home of C-level facts.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

public import CPawl
internal import PawlCore
internal import PawlCrypto
internal import PawlEngine

@_cdecl("pawl_package_create")
public func pawl_package_create(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?,
    _ options: UnsafePointer<pawl_package_options>?,
    _ packages: UnsafeMutablePointer<OpaquePointer?>?
) -> pawl_status {
    packages?.pointee = nil
    return withStore(store) { (store) throws(Failure) in
        let packages = try output(packages)
        var options =
            try options.map { (options) throws(Failure) in try structure(options) }
            ?? pawl_package_options()
        guard options.flags == 0 else { throw .misuse(.flags) }
        guard options.reserved == 0 else { throw .misuse(.structure) }
        let longest = KeyPackage.lifetimeLimit * 1_000_000
        if options.lifetime_ns == 0 { options.lifetime_ns = longest }
        guard (1_000_000...longest).contains(options.lifetime_ns) else {
            throw .misuse(.time)
        }
        guard options.one_time_count <= PackageRecord.oneTimeLimit else { throw .misuse(.size) }
        let rows = try store.createPackage(
            identifier(account), lifetime: options.lifetime_ns,
            oneTimeKeys: options.one_time_count)
        packages.pointee = handle(owning: View(.packages(rows)))
    }
}

@_cdecl("pawl_package_list")
public func pawl_package_list(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?,
    _ packages: UnsafeMutablePointer<OpaquePointer?>?
) -> pawl_status {
    packages?.pointee = nil
    return withStore(store) { (store) throws(Failure) in
        let packages = try output(packages)
        packages.pointee = handle(
            owning: View(.packages(try store.packages(identifier(account)))))
    }
}

@_cdecl("pawl_package_delete")
public func pawl_package_delete(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?, _ package: UnsafePointer<UInt8>?
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in
        try store.deletePackage(identifier(account), identifier(package))
    }
}

@_cdecl("pawl_view_package")
public func pawl_view_package(
    _ view: OpaquePointer?, _ row: Int, _ package: UnsafeMutablePointer<pawl_package>?
) -> pawl_status {
    fillRow(view, package) { (rows, package) throws(Failure) in
        guard case .packages(let rows) = rows, rows.indices.contains(row) else {
            throw .misuse(.row)
        }
        let found = rows[row]
        package.kind = UInt32(found.number == nil ? PAWL_PACKAGE : PAWL_PACKAGE_ONE_TIME)
        copy(found.id, to: &package.id)
        package.key_id = found.number ?? 0
        package.one_time_count = found.oneTimeCount
        package.not_before_ns = found.notBefore
        package.not_after_ns = found.notAfter
        (package.bytes, package.bytes_size) = field(found.bytes.bytes)
        package.remove_ns = CredentialRules.never
        switch found.standing {
        case .staged: package.state = UInt32(PAWL_PACKAGE_STAGED)
        case .current: package.state = UInt32(PAWL_PACKAGE_CURRENT)
        case .superseded(let time):
            package.state = UInt32(PAWL_PACKAGE_SUPERSEDED)
            package.remove_ns = time
        case nil: package.state = UInt32(PAWL_PACKAGE_OWN)
        }
    }
}

@_cdecl("pawl_account_set_min_suite")
public func pawl_account_set_min_suite(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?, _ suite: UInt32
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in
        try store.setMinSuite(identifier(account), PawlABI.suite(suite))
    }
}

func suite(_ number: UInt32) throws(Failure) -> Suite {
    switch number {
    case UInt32(PAWL_SUITE_X25519): .x25519
    case UInt32(PAWL_SUITE_XWING): .xwing
    default: throw .misuse(.flags)
    }
}
