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

private func withSides(
    _ a: UnsafePointer<pawl_identity>?, _ b: UnsafePointer<pawl_identity>?,
    _ body: (Identity, Identity) throws(Failure) -> Void
) throws(Failure) {
    try withIdentity(a) { (a) throws(Failure) in
        try withIdentity(b) { (b) throws(Failure) in try body(a, b) }
    }
}
