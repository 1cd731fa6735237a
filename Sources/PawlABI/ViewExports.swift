// Documented in pawl.h, the only home of C-level facts.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

public import CPawl
internal import PawlCore
internal import PawlCrypto
internal import PawlEngine
internal import PawlStore

@_cdecl("pawl_view_count")
public func pawl_view_count(_ view: OpaquePointer?) -> Int {
    object(view, as: View.self)?.count ?? 0
}

@_cdecl("pawl_view_close")
public func pawl_view_close(_ view: OpaquePointer?) {
    if let view { release(view, as: View.self) }
}

@_cdecl("pawl_view_credential")
public func pawl_view_credential(
    _ view: OpaquePointer?, _ row: Int, _ credential: UnsafeMutablePointer<pawl_credential>?
) -> pawl_status {
    fillRow(view, credential) { (rows, credential) throws(Failure) in
        guard case .credentials(let rows) = rows, rows.indices.contains(row) else {
            throw .misuse(.row)
        }
        let record = rows[row].record
        credential.version = record.version
        credential.created_ns = record.created
        credential.updated_ns = record.updated
        credential.expires_ns = record.expires
        credential.purge_ns = record.purge
        var flags = record.purge == CredentialRules.never ? 0 : PAWL_CREDENTIAL_DELETED
        if case .vault = record.secret { flags |= PAWL_CREDENTIAL_IN_VAULT }
        credential.flags = UInt32(bitPattern: flags)
        (credential.name, credential.name_size) = field(record.name)
        (credential.label, credential.label_size) = field(record.label)
        (credential.provider, credential.provider_size) = field(record.provider)
        credential.secret = rows[row].secret?.octets
        credential.secret_size = record.secret.size
        credential.attribute_count = Attributes.count(record.attributes)
    }
}

@_cdecl("pawl_view_attribute")
public func pawl_view_attribute(
    _ view: OpaquePointer?, _ row: Int, _ index: Int,
    _ attribute: UnsafeMutablePointer<pawl_attribute>?
) -> pawl_status {
    attribute?.pointee = pawl_attribute()
    return boundary { () throws(Failure) in
        guard let view = object(view, as: View.self) else { throw .misuse(.null) }
        let attribute = try output(attribute)
        guard case .credentials(let rows) = view.rows, rows.indices.contains(row),
            let found = Attributes.at(index, in: rows[row].record.attributes)
        else { throw .misuse(.row) }
        attribute.pointee.key = UnsafeRawPointer(found.key.octets)
        attribute.pointee.key_size = found.key.count
        attribute.pointee.value = UnsafeRawPointer(found.value.octets)
        attribute.pointee.value_size = found.value.count
    }
}

@_cdecl("pawl_view_slot")
public func pawl_view_slot(
    _ view: OpaquePointer?, _ row: Int, _ slot: UnsafeMutablePointer<pawl_slot>?
) -> pawl_status {
    fillRow(view, slot) { (rows, slot) throws(Failure) in
        guard case .slots(let rows) = rows, rows.indices.contains(row) else {
            throw .misuse(.row)
        }
        slot.number = UInt32(rows[row].number)
        slot.kind = UInt32(rows[row].kind.rawValue)
        slot.passes = rows[row].hash?.passes ?? 0
        slot.memory_size = rows[row].hash?.memory ?? 0
        slot.created_ns = rows[row].created
    }
}

@_cdecl("pawl_view_damage")
public func pawl_view_damage(
    _ view: OpaquePointer?, _ row: Int, _ damage: UnsafeMutablePointer<pawl_damage>?
) -> pawl_status {
    fillRow(view, damage) { (rows, damage) throws(Failure) in
        guard case .damages(let rows) = rows, rows.indices.contains(row) else {
            throw .misuse(.row)
        }
        damage.status = status(rows[row].failure)
        (damage.key, damage.key_size) = field(rows[row].key.bytes)
    }
}

@_cdecl("pawl_view_orphan")
public func pawl_view_orphan(
    _ view: OpaquePointer?, _ row: Int, _ orphan: UnsafeMutablePointer<pawl_orphan>?
) -> pawl_status {
    fillRow(view, orphan) { (rows, orphan) throws(Failure) in
        guard case .unfinished(let rows) = rows, rows.indices.contains(row) else {
            throw .misuse(.row)
        }
        let record = rows[row].record
        orphan.kind = number(rows[row].kind)
        orphan.outcome = number(rows[row].outcome)
        orphan.attempts = record.attempts
        withUnsafeMutableBytes(of: &orphan.vault_id) { target in
            record.id.withBytes { target.copyMemory(from: $0) }
        }
        orphan.version = record.version
        orphan.recorded_ns = record.recorded
        orphan.lease_ns = record.lease
        orphan.sighted_ns = record.sighted
        orphan.cause_set = record.causeSet
        orphan.cause_remove = record.causeRemove
        (orphan.user, orphan.user_size) = field(record.user)
        (orphan.project, orphan.project_size) = field(record.project)
        (orphan.name, orphan.name_size) = field(record.name)
    }
}

@_cdecl("pawl_view_account")
public func pawl_view_account(
    _ view: OpaquePointer?, _ row: Int, _ account: UnsafeMutablePointer<pawl_account>?
) -> pawl_status {
    fillRow(view, account) { (rows, account) throws(Failure) in
        guard case .accounts(let rows) = rows, rows.indices.contains(row) else {
            throw .misuse(.row)
        }
        let record = rows[row].record
        withUnsafeMutableBytes(of: &account.id) { target in
            rows[row].id.withBytes { target.copyMemory(from: $0) }
        }
        withUnsafeMutableBytes(of: &account.signing_key) {
            $0.copyMemory(from: record.identity.signing)
        }
        withUnsafeMutableBytes(of: &account.agreement_key) {
            $0.copyMemory(from: record.identity.agreement)
        }
        account.created_ns = record.created
        (account.name, account.name_size) = field(record.name)
    }
}

@_cdecl("pawl_view_item")
public func pawl_view_item(
    _ view: OpaquePointer?, _ row: Int, _ item: UnsafeMutablePointer<pawl_item>?
) -> pawl_status {
    fillRow(view, item) { (rows, item) throws(Failure) in
        guard case .items(let rows) = rows, rows.indices.contains(row) else {
            throw .misuse(.row)
        }
        let found = rows[row].item
        item.kind = number(found.lane.kind)
        item.what = found.what
        item.attempts = rows[row].attempts
        item.seq = rows[row].seq
        item.count = found.count
        withUnsafeMutableBytes(of: &item.account) { target in
            found.account.withBytes { target.copyMemory(from: $0) }
        }
        withUnsafeMutableBytes(of: &item.session) { target in
            (found.session ?? .none).withBytes { target.copyMemory(from: $0) }
        }
        item.created_ns = found.created
        item.lease_ns = rows[row].lease
        if let peer = found.peer {
            copy(peer.keys.signing, to: &item.peer_signing_key)
            copy(peer.keys.agreement, to: &item.peer_agreement_key)
        }
        (item.peer_name, item.peer_name_size) = field(found.peer?.name ?? .empty)
        (item.body, item.body_size) = field(found.body)
    }
}

/// Fills a row; `body` finds it in the rows of the right type, else it is `misuse(.row)`.
func fillRow<Row>(
    _ view: OpaquePointer?, _ target: UnsafeMutablePointer<Row>?,
    _ body: (View.Rows, inout Row) throws(Failure) -> Void
) -> pawl_status {
    let cleared = cleared(target)
    return boundary { () throws(Failure) in
        guard let view = object(view, as: View.self) else { throw .misuse(.null) }
        try fill(target, cleared) { (target) throws(Failure) in try body(view.rows, &target) }
    }
}

private func number(_ kind: UnfinishedRow.Kind) -> UInt32 {
    switch kind {
    case .intent: UInt32(PAWL_ORPHAN_INTENT)
    case .orphan: UInt32(PAWL_ORPHAN_RECORDED)
    case .unattributed: UInt32(PAWL_ORPHAN_UNATTRIBUTED)
    }
}

private func number(_ kind: OutboxLane.Kind) -> UInt32 {
    switch kind {
    case .frames, .control: UInt32(PAWL_ITEM_FRAME)
    case .requests, .publishing, .backup: UInt32(PAWL_ITEM_REQUEST)
    case .events: UInt32(PAWL_ITEM_EVENT)
    }
}

private func number(_ outcome: UnfinishedRow.Outcome) -> UInt32 {
    switch outcome {
    case .listed: UInt32(PAWL_OUTCOME_NONE)
    case .waiting: UInt32(PAWL_OUTCOME_WAITING)
    case .wouldRemove: UInt32(PAWL_OUTCOME_WOULD_REMOVE)
    case .removed: UInt32(PAWL_OUTCOME_REMOVED)
    case .failed: UInt32(PAWL_OUTCOME_FAILED)
    }
}
