// Documented in pawl.h, the only home of C-level facts.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

public import CPawl
internal import PawlCore
internal import PawlCrypto
internal import PawlEngine

@_cdecl("pawl_account_create")
public func pawl_account_create(
    _ store: OpaquePointer?, _ name: UnsafeRawPointer?, _ name_size: Int,
    _ account: UnsafeMutablePointer<UInt8>?
) -> pawl_status {
    account?.update(repeating: 0, count: Identifier.size)
    return withStore(store) { (store) throws(Failure) in
        let account = try output(account)
        let id = try store.createAccount(named: input(name, name_size))
        id.withBytes { account.update(from: $0.octets, count: $0.count) }
    }
}

@_cdecl("pawl_account_get")
public func pawl_account_get(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?,
    _ view: UnsafeMutablePointer<OpaquePointer?>?
) -> pawl_status {
    view?.pointee = nil
    return withStore(store) { (store) throws(Failure) in
        let view = try output(view)
        view.pointee = handle(owning: View(.accounts([try store.account(identifier(account))])))
    }
}

@_cdecl("pawl_account_list")
public func pawl_account_list(
    _ store: OpaquePointer?, _ after_id: UnsafePointer<UInt8>?, _ limit: Int,
    _ accounts: UnsafeMutablePointer<OpaquePointer?>?
) -> pawl_status {
    accounts?.pointee = nil
    return withStore(store) { (store) throws(Failure) in
        let accounts = try output(accounts)
        let after = try after_id.map { (id) throws(Failure) in try identifier(id) }
        let rows = try store.accounts(after: after, limit: page(limit))
        accounts.pointee = handle(owning: View(.accounts(rows)))
    }
}

@_cdecl("pawl_account_delete")
public func pawl_account_delete(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in try store.deleteAccount(identifier(account)) }
}

// MARK: Safety numbers

@_cdecl("pawl_safety_number")
public func pawl_safety_number(
    _ a: UnsafePointer<pawl_identity>?, _ b: UnsafePointer<pawl_identity>?,
    _ out: UnsafeMutablePointer<CChar>?, _ out_size: Int, _ out_len: UnsafeMutablePointer<Int>?
) -> pawl_status {
    out_len?.pointee = 0
    clear(out, out_size, upTo: SafetyNumber.textSize + 1)
    return boundary { () throws(Failure) in
        let needed = SafetyNumber.textSize + 1
        let (out, length) = try room(out, out_size, out_len, for: needed)
        try withSides(a, b) { (a, b) throws(Failure) in
            let text = try SafetyNumber.text(a, b)
            for (index, letter) in text.bytes.enumerated() {
                out[index] = CChar(bitPattern: letter)
            }
        }
        out[needed - 1] = 0
        length.pointee = needed - 1
    }
}

@_cdecl("pawl_safety_code")
public func pawl_safety_code(
    _ a: UnsafePointer<pawl_identity>?, _ b: UnsafePointer<pawl_identity>?,
    _ out: UnsafeMutablePointer<UInt8>?, _ out_size: Int, _ out_len: UnsafeMutablePointer<Int>?
) -> pawl_status {
    out_len?.pointee = 0
    clear(out, out_size, upTo: SafetyNumber.codeSize)
    return boundary { () throws(Failure) in
        let (out, length) = try room(out, out_size, out_len, for: SafetyNumber.codeSize)
        try withSides(a, b) { (a, b) throws(Failure) in
            let code = try SafetyNumber.code(a, b)
            out.update(from: code.bytes.octets, count: code.count)
        }
        length.pointee = SafetyNumber.codeSize
    }
}

// MARK: Arguments

private func identifier(_ start: UnsafePointer<UInt8>?) throws(Failure) -> Identifier {
    guard let start else { throw .misuse(.null) }
    return try Identifier(Bytes(start: start, count: Identifier.size))
}

/// An output of a size known before: checked before anything happens.
private func room<T>(
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
private func withSides(
    _ a: UnsafePointer<pawl_identity>?, _ b: UnsafePointer<pawl_identity>?,
    _ body: (SafetyNumber.Side, SafetyNumber.Side) throws(Failure) -> Void
) throws(Failure) {
    try withSide(a) { (a) throws(Failure) in
        try withSide(b) { (b) throws(Failure) in try body(a, b) }
    }
}

private func withSide(
    _ pointer: UnsafePointer<pawl_identity>?,
    _ body: (SafetyNumber.Side) throws(Failure) -> Void
) throws(Failure) {
    let identity = try structure(pointer)
    guard identity.flags == 0 else { throw .misuse(.flags) }
    let name = try input(identity.name, identity.name_size)
    try withUnsafeBytes(of: identity.signing_key) { (signing) throws(Failure) in
        try withUnsafeBytes(of: identity.agreement_key) { (agreement) throws(Failure) in
            let keys = try IdentityPublic(signing: signing, agreement: agreement)
            try body(SafetyNumber.Side(identity: keys, name: name))
        }
    }
}
