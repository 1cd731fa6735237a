// Documented in pawl.h, the only home of C-level facts.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

public import CPawl
internal import PawlCore
internal import PawlCrypto
internal import PawlEngine

@_cdecl("pawl_peer_get")
public func pawl_peer_get(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?, _ name: UnsafeRawPointer?,
    _ name_size: Int, _ peer: UnsafeMutablePointer<OpaquePointer?>?
) -> pawl_status {
    peer?.pointee = nil
    return withStore(store) { (store) throws(Failure) in
        let peer = try output(peer)
        let found = try store.peer(
            identifier(account), named: accountName(input(name, name_size)))
        peer.pointee = handle(owning: View(.peers([found])))
    }
}

@_cdecl("pawl_peer_list")
public func pawl_peer_list(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?, _ after_name: UnsafeRawPointer?,
    _ after_name_size: Int, _ limit: Int, _ peers: UnsafeMutablePointer<OpaquePointer?>?
) -> pawl_status {
    peers?.pointee = nil
    return withStore(store) { (store) throws(Failure) in
        let peers = try output(peers)
        let after = try input(after_name, after_name_size)
        let found = try store.peers(
            identifier(account), after: after.isEmpty ? after : accountName(after),
            limit: page(limit))
        peers.pointee = handle(owning: View(.peers(found)))
    }
}

@_cdecl("pawl_view_peer")
public func pawl_view_peer(
    _ view: OpaquePointer?, _ row: Int, _ peer: UnsafeMutablePointer<pawl_peer>?
) -> pawl_status {
    fillRow(view, peer) { (rows, peer) throws(Failure) in
        guard case .peers(let rows) = rows, rows.indices.contains(row) else {
            throw .misuse(.row)
        }
        let found = rows[row]
        let (identity, waiting) = (try found.identity, try found.waitingIdentity)
        var flags: Int32 = 0
        if waiting != nil { flags |= PAWL_PEER_CHANGED }
        if found.sending != nil { flags |= PAWL_PEER_HAS_SESSION }
        peer.flags = UInt32(bitPattern: flags)
        peer.trust = UInt32(found.trust.rawValue)
        peer.suite = UInt32(found.suite.rawValue)
        copy(identity.signing, to: &peer.signing_key)
        copy(identity.agreement, to: &peer.agreement_key)
        copy(waiting?.signing ?? .empty, to: &peer.new_signing_key)
        copy(waiting?.agreement ?? .empty, to: &peer.new_agreement_key)
        copy(found.sending ?? .none, to: &peer.session)
        peer.changed_ns = found.changed
        (peer.name, peer.name_size) = field(found.name.bytes)
    }
}

@_cdecl("pawl_peer_trust")
public func pawl_peer_trust(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?,
    _ identity: UnsafePointer<pawl_identity>?, _ trust: UInt32
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in
        let account = try identifier(account)
        guard let trust = UInt8(exactly: trust).flatMap({ PeerRecord.Trust(rawValue: $0) }) else {
            throw .misuse(.flags)
        }
        try withIdentity(identity) { (identity) throws(Failure) in
            try store.trust(account, identity, trust)
        }
    }
}

@_cdecl("pawl_peer_allow_suite")
public func pawl_peer_allow_suite(
    _ store: OpaquePointer?, _ account: UnsafePointer<UInt8>?, _ name: UnsafeRawPointer?,
    _ name_size: Int, _ suite: UInt32
) -> pawl_status {
    withStore(store) { (store) throws(Failure) in
        try store.allow(
            identifier(account), PawlABI.suite(suite),
            ofPeerNamed: accountName(input(name, name_size)))
    }
}

/// The name of an account, one's own or a peer's.
func accountName(_ name: Bytes) throws(Failure) -> Bytes {
    guard name.isText(AccountRecord.nameSizes) else { throw .misuse(.account) }
    return name
}
