// Documented in pawl.h, the only home of C-level facts.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

public import CPawl
internal import PawlCore
internal import PawlCrypto
internal import PawlEngine

@_cdecl("pawl_credential_put")
public func pawl_credential_put(
    _ store: OpaquePointer?, _ scope: UnsafePointer<pawl_scope>?, _ name: UnsafeRawPointer?,
    _ name_size: Int, _ secret: UnsafeRawPointer?, _ secret_size: Int,
    _ options: UnsafePointer<pawl_put_options>?, _ version: UnsafeMutablePointer<UInt64>?
) -> pawl_status {
    version?.pointee = 0
    return withStore(store) { (store) throws(Failure) in
        let (put, attributes) = try putOptions(options)
        let given = try withExtendedLifetime(attributes) { () throws(Failure) in
            try store.put(
                PawlABI.scope(scope), input(name, name_size), secret: input(secret, secret_size),
                put)
        }
        version?.pointee = given
    }
}

@_cdecl("pawl_credential_get")
public func pawl_credential_get(
    _ store: OpaquePointer?, _ scope: UnsafePointer<pawl_scope>?, _ name: UnsafeRawPointer?,
    _ name_size: Int, _ credential: UnsafeMutablePointer<OpaquePointer?>?
) -> pawl_status {
    one(store, scope, name, name_size, .secret, credential)
}

@_cdecl("pawl_credential_metadata")
public func pawl_credential_metadata(
    _ store: OpaquePointer?, _ scope: UnsafePointer<pawl_scope>?, _ name: UnsafeRawPointer?,
    _ name_size: Int, _ credential: UnsafeMutablePointer<OpaquePointer?>?
) -> pawl_status {
    one(store, scope, name, name_size, .metadata, credential)
}

private func one(
    _ store: OpaquePointer?, _ scope: UnsafePointer<pawl_scope>?, _ name: UnsafeRawPointer?,
    _ size: Int, _ detail: Store.Detail, _ view: UnsafeMutablePointer<OpaquePointer?>?
) -> pawl_status {
    view?.pointee = nil
    return withStore(store) { (store) throws(Failure) in
        let view = try output(view)
        let row = try store.credential(PawlABI.scope(scope), input(name, size), detail)
        view.pointee = handle(owning: View(.credentials([row])))
    }
}

@_cdecl("pawl_credential_has")
public func pawl_credential_has(
    _ store: OpaquePointer?, _ scope: UnsafePointer<pawl_scope>?, _ name: UnsafeRawPointer?,
    _ name_size: Int, _ has: UnsafeMutablePointer<Int32>?
) -> pawl_status {
    has?.pointee = 0
    return withStore(store) { (store) throws(Failure) in
        let has = try output(has)
        let isThere = try store.hasCredential(PawlABI.scope(scope), input(name, name_size))
        has.pointee = isThere ? 1 : 0
    }
}

@_cdecl("pawl_credential_list")
public func pawl_credential_list(
    _ store: OpaquePointer?, _ scope: UnsafePointer<pawl_scope>?, _ after_name: UnsafeRawPointer?,
    _ after_name_size: Int, _ limit: Int, _ credentials: UnsafeMutablePointer<OpaquePointer?>?
) -> pawl_status {
    credentials?.pointee = nil
    return withStore(store) { (store) throws(Failure) in
        let credentials = try output(credentials)
        let rows = try store.credentials(
            PawlABI.scope(scope), after: input(after_name, after_name_size), limit: page(limit))
        credentials.pointee = handle(owning: View(.credentials(rows)))
    }
}

@_cdecl("pawl_credential_deleted")
public func pawl_credential_deleted(
    _ store: OpaquePointer?, _ scope: UnsafePointer<pawl_scope>?, _ name: UnsafeRawPointer?,
    _ name_size: Int, _ credentials: UnsafeMutablePointer<OpaquePointer?>?
) -> pawl_status {
    credentials?.pointee = nil
    return withStore(store) { (store) throws(Failure) in
        let credentials = try output(credentials)
        let rows = try store.deletedCredentials(PawlABI.scope(scope), input(name, name_size))
        credentials.pointee = handle(owning: View(.credentials(rows)))
    }
}

@_cdecl("pawl_credential_delete")
public func pawl_credential_delete(
    _ store: OpaquePointer?, _ scope: UnsafePointer<pawl_scope>?, _ name: UnsafeRawPointer?,
    _ name_size: Int, _ recovery_ns: Int64
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in
        try store.delete(PawlABI.scope(scope), input(name, name_size), recovery: recovery_ns)
    }
}

@_cdecl("pawl_credential_restore")
public func pawl_credential_restore(
    _ store: OpaquePointer?, _ scope: UnsafePointer<pawl_scope>?, _ name: UnsafeRawPointer?,
    _ name_size: Int, _ version: UInt64
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in
        try store.restore(PawlABI.scope(scope), input(name, name_size), version: version)
    }
}

@_cdecl("pawl_credential_delete_all")
public func pawl_credential_delete_all(
    _ store: OpaquePointer?, _ scope: UnsafePointer<pawl_scope>?, _ flags: UInt32,
    _ count: UnsafeMutablePointer<UInt64>?
) -> pawl_status {
    count?.pointee = 0
    return withStore(store) { (store) throws(Failure) in
        try check(flags: flags, allowed: PAWL_DELETE_ALL_PROJECTS)
        let deleted = try store.deleteAll(
            PawlABI.scope(scope), allProjects: has(flags, PAWL_DELETE_ALL_PROJECTS))
        count?.pointee = deleted
    }
}

// MARK: Unfinished vault writes

@_cdecl("pawl_credential_orphans")
public func pawl_credential_orphans(
    _ store: OpaquePointer?, _ after_id: UnsafePointer<UInt8>?, _ limit: Int,
    _ orphans: UnsafeMutablePointer<OpaquePointer?>?
) -> pawl_status {
    orphans?.pointee = nil
    return withStore(store) { (store) throws(Failure) in
        let orphans = try output(orphans)
        let after = try after_id.map { (id) throws(Failure) in
            try VaultID(Bytes(start: id, count: VaultID.size))
        }
        let rows = try store.unfinished(after: after, limit: page(limit))
        orphans.pointee = handle(owning: View(.unfinished(rows)))
    }
}

@_cdecl("pawl_credential_reconcile")
public func pawl_credential_reconcile(
    _ store: OpaquePointer?, _ options: UnsafePointer<pawl_reconcile_options>?,
    _ orphans: UnsafeMutablePointer<OpaquePointer?>?
) -> pawl_status {
    orphans?.pointee = nil
    return withStore(store) { (store) throws(Failure) in
        let orphans = try output(orphans)
        let options = try options.map { (options) throws(Failure) in try structure(options) }
        try check(flags: options?.flags ?? 0, allowed: PAWL_RECONCILE_DRY_RUN)
        let grace: Int64
        switch options?.grace_ns ?? 0 {
        case 0: grace = 60_000_000_000
        case -1: grace = 0
        case let given where given > 0: grace = given
        default: throw .misuse(.time)
        }
        let rows = try store.reconcile(
            grace: grace, dryRun: has(options?.flags ?? 0, PAWL_RECONCILE_DRY_RUN))
        orphans.pointee = handle(owning: View(.unfinished(rows)))
    }
}

// MARK: Arguments

/// The options and the encoded attributes that they borrow.
private func putOptions(
    _ pointer: UnsafePointer<pawl_put_options>?
) throws(Failure) -> (CredentialRules.Put, SecretBuffer?) {
    var put = CredentialRules.Put()
    guard pointer != nil else { return (put, nil) }
    let options = try structure(pointer)
    let flags = options.flags
    try check(
        flags: flags,
        allowed: PAWL_PUT_CREATE_ONLY | PAWL_PUT_IF_VERSION | PAWL_PUT_SET_EXPIRY
            | PAWL_PUT_CLEAR_EXPIRY | PAWL_PUT_SET_LABEL | PAWL_PUT_SET_PROVIDER
            | PAWL_PUT_SET_ATTRIBUTES)
    put.createOnly = has(flags, PAWL_PUT_CREATE_ONLY)
    if has(flags, PAWL_PUT_IF_VERSION) { put.ifVersion = options.if_version }
    guard !put.createOnly || put.ifVersion == nil else { throw .misuse(.flags) }
    switch (has(flags, PAWL_PUT_SET_EXPIRY), has(flags, PAWL_PUT_CLEAR_EXPIRY)) {
    case (true, true): throw .misuse(.flags)
    case (true, false): put.expiry = .set(options.expires_ns)
    case (false, true): put.expiry = .clear
    case (false, false): break
    }
    if has(flags, PAWL_PUT_SET_LABEL) { put.label = try label(options.label, options.label_size) }
    if has(flags, PAWL_PUT_SET_PROVIDER) {
        put.provider = try label(options.provider, options.provider_size)
    }
    guard has(flags, PAWL_PUT_SET_ATTRIBUTES) else { return (put, nil) }
    let list = options.attributes
    let encoded = try Attributes.encode(count: options.attribute_count) { (index) throws(Failure) in
        guard let list else { throw .misuse(.null) }
        let attribute = list[index]
        return (
            try input(attribute.key, attribute.key_size),
            try input(attribute.value, attribute.value_size)
        )
    }
    put.attributes = encoded.bytes
    return (put, encoded)
}

private func label(_ start: UnsafeRawPointer?, _ size: Int) throws(Failure) -> Bytes {
    let label = try input(start, size)
    guard label.isText(CredentialRules.labelSizes) else { throw .misuse(.label) }
    return label
}
