// Documented in pawl.h, the only home of C-level facts.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

public import CPawl
internal import PawlCrypto

/// The numbers of the header for each failure.
func status(_ failure: Failure) -> pawl_status {
    switch failure {
    case .misuse(let rule): number(rule)
    case .buffer: PAWL_BUFFER
    case .notFound: PAWL_NOT_FOUND
    case .exists: PAWL_EXISTS
    case .state(let state): number(state)
    case .time: PAWL_TIME
    case .auth: PAWL_AUTH
    case .replay: PAWL_REPLAY
    case .limit(let limit): number(limit)
    case .version: PAWL_VERSION
    case .corrupt(.record): PAWL_CORRUPT
    case .corrupt(.keyLost): PAWL_CORRUPT_KEY_LOST
    case .corrupt(.notPawl): PAWL_CORRUPT_NOT_PAWL
    case .store(let storage, let code): number(storage) | (min(max(code, 0), 0x7FFF) << 16)
    case .busy(.writer): PAWL_BUSY
    case .busy(.reentered): PAWL_BUSY_REENTERED
    case .busy(.changed): PAWL_BUSY_CHANGED
    case .busy(.rate): PAWL_BUSY_RATE
    case .busy(.waiting): PAWL_BUSY_WAITING
    case .closed(.closed): PAWL_CLOSED
    case .closed(.forked): PAWL_CLOSED_FORKED
    case .closed(.session): PAWL_CLOSED_SESSION
    case .desynchronized: PAWL_DESYNCHRONIZED
    case .internal: PAWL_INTERNAL
    }
}

private func number(_ rule: Failure.Misuse) -> pawl_status {
    switch rule {
    case .null: PAWL_MISUSE_NULL
    case .size: PAWL_MISUSE_SIZE
    case .structure: PAWL_MISUSE_STRUCT
    case .flags: PAWL_MISUSE_FLAGS
    case .name: PAWL_MISUSE_NAME
    case .user: PAWL_MISUSE_USER
    case .project: PAWL_MISUSE_PROJECT
    case .label: PAWL_MISUSE_LABEL
    case .attribute: PAWL_MISUSE_ATTRIBUTE
    case .path: PAWL_MISUSE_PATH
    case .key: PAWL_MISUSE_KEY
    case .hashing: PAWL_MISUSE_HASHING
    case .recovery: PAWL_MISUSE_RECOVERY
    case .recoveryPrefix: PAWL_MISUSE_RECOVERY_PREFIX
    case .row: PAWL_MISUSE_ROW
    case .time: PAWL_MISUSE_TIME
    case .handle: PAWL_MISUSE_HANDLE
    case .account: PAWL_MISUSE_ACCOUNT
    case .package: PAWL_MISUSE_PACKAGE
    }
}

private func number(_ state: Failure.State) -> pawl_status {
    switch state {
    case .batch: PAWL_STATE_BATCH
    case .conflict: PAWL_STATE_CONFLICT
    case .withdrawn: PAWL_STATE_WITHDRAWN
    case .lastSlot: PAWL_STATE_LAST_SLOT
    case .noVault: PAWL_STATE_NO_VAULT
    case .identity: PAWL_STATE_IDENTITY
    case .receiveOnly: PAWL_STATE_RECEIVE_ONLY
    case .suite: PAWL_STATE_SUITE
    case .ownIdentity: PAWL_STATE_SELF
    case .reservation: PAWL_STATE_RESERVATION
    case .mode: PAWL_STATE_MODE
    case .rotation: PAWL_STATE_ROTATION
    case .backup: PAWL_STATE_BACKUP
    }
}

private func number(_ limit: Failure.Limit) -> pawl_status {
    switch limit {
    case .secret: PAWL_LIMIT_SECRET
    case .attributes: PAWL_LIMIT_ATTRIBUTES
    case .slots: PAWL_LIMIT_SLOTS
    case .memory: PAWL_LIMIT_MEMORY
    case .counter: PAWL_LIMIT_COUNTER
    case .message: PAWL_LIMIT_MESSAGE
    case .index: PAWL_LIMIT_INDEX
    case .sessions: PAWL_LIMIT_SESSIONS
    case .packages: PAWL_LIMIT_PACKAGES
    case .queue: PAWL_LIMIT_QUEUE
    }
}

private func number(_ storage: Failure.Storage) -> pawl_status {
    switch storage {
    case .failed: PAWL_STORE
    case .indeterminate: PAWL_STORE_INDETERMINATE
    case .vault: PAWL_STORE_VAULT
    case .full: PAWL_STORE_FULL
    case .readOnly: PAWL_STORE_READ_ONLY
    case .cannotOpen: PAWL_STORE_CANNOT_OPEN
    case .host: PAWL_STORE_HOST
    case .lost: PAWL_STORE_LOST
    }
}

/// Name and text of each status; the last answers for the numbers that are none.
private func entry(_ status: pawl_status) -> (name: StaticString, text: StaticString)? {
    switch status {
    case PAWL_OK: ("PAWL_OK", "Done.")
    case PAWL_MISUSE: ("PAWL_MISUSE", "An argument breaks a rule of pawl.h; correct the call.")
    case PAWL_BUFFER: ("PAWL_BUFFER", "The output does not fit; call again with the size it says.")
    case PAWL_NOT_FOUND:
        (
            "PAWL_NOT_FOUND",
            "Nothing of that name is here, or it has expired; check the name, or create it."
        )
    case PAWL_EXISTS: ("PAWL_EXISTS", "There is one already; use another name or replace it.")
    case PAWL_STATE: ("PAWL_STATE", "This is not possible in the present state.")
    case PAWL_TIME:
        ("PAWL_TIME", "This has expired, or does not hold yet; check its time and the clock.")
    case PAWL_AUTH:
        (
            "PAWL_AUTH",
            "The key is wrong, or this is not from whom it should be; try the right key, or drop it."
        )
    case PAWL_REPLAY: ("PAWL_REPLAY", "This was seen before; drop it.")
    case PAWL_LIMIT: ("PAWL_LIMIT", "A documented limit is reached.")
    case PAWL_VERSION:
        ("PAWL_VERSION", "A newer Pawl wrote this; it is untouched. Update to read it.")
    case PAWL_CORRUPT:
        (
            "PAWL_CORRUPT",
            "A record is damaged or not where it was written; restore it from a copy, or replace it."
        )
    case PAWL_STORE: ("PAWL_STORE", "The storage engine failed; the code is its own.")
    case PAWL_BUSY: ("PAWL_BUSY", "Another writer holds the store; try again.")
    case PAWL_CLOSED: ("PAWL_CLOSED", "The store is closed; open it again.")
    case PAWL_DESYNCHRONIZED:
        ("PAWL_DESYNCHRONIZED", "The two sides no longer share a state; reset the session.")
    case PAWL_INTERNAL: ("PAWL_INTERNAL", "This is a bug in Pawl; please report it.")
    case PAWL_MISUSE_NULL:
        ("PAWL_MISUSE_NULL", "A required pointer is NULL, or NULL came with a size.")
    case PAWL_MISUSE_SIZE: ("PAWL_MISUSE_SIZE", "A size or count is outside its range.")
    case PAWL_MISUSE_STRUCT:
        (
            "PAWL_MISUSE_STRUCT",
            "struct_size is not the size of the struct, or its unknown tail is not zero."
        )
    case PAWL_MISUSE_FLAGS:
        ("PAWL_MISUSE_FLAGS", "A flag, kind or mode is unknown or contradicts another.")
    case PAWL_MISUSE_NAME: ("PAWL_MISUSE_NAME", "A name must be 1-256 bytes of UTF-8 without NUL.")
    case PAWL_MISUSE_USER: ("PAWL_MISUSE_USER", "A user must be 1-256 bytes of UTF-8 without NUL.")
    case PAWL_MISUSE_PROJECT:
        (
            "PAWL_MISUSE_PROJECT",
            "A project must be 0-256 bytes of UTF-8 without NUL, and empty with all projects."
        )
    case PAWL_MISUSE_LABEL:
        (
            "PAWL_MISUSE_LABEL",
            "A label or provider must be at most 256 bytes of UTF-8 without NUL."
        )
    case PAWL_MISUSE_ATTRIBUTE:
        (
            "PAWL_MISUSE_ATTRIBUTE",
            "Attribute keys must be distinct and 1-128 bytes, values 0-512 bytes of UTF-8 without NUL."
        )
    case PAWL_MISUSE_PATH: ("PAWL_MISUSE_PATH", "A path must be 1-4096 bytes without NUL.")
    case PAWL_MISUSE_KEY:
        ("PAWL_MISUSE_KEY", "A raw key must be 32 bytes, a passphrase 1-1024 bytes.")
    case PAWL_MISUSE_HASHING:
        (
            "PAWL_MISUSE_HASHING",
            "Argon2id needs 64 MiB to 1 GiB in whole KiB and 3 to 10 passes."
        )
    case PAWL_MISUSE_RECOVERY:
        ("PAWL_MISUSE_RECOVERY", "The recovery key has a typing error; compare it and type again.")
    case PAWL_MISUSE_RECOVERY_PREFIX:
        (
            "PAWL_MISUSE_RECOVERY_PREFIX",
            "This recovery key is for something else; look at its start."
        )
    case PAWL_MISUSE_ROW:
        ("PAWL_MISUSE_ROW", "The view has no such row, or rows of another type.")
    case PAWL_MISUSE_TIME:
        ("PAWL_MISUSE_TIME", "A duration is negative, or outside its documented range.")
    case PAWL_MISUSE_HANDLE:
        ("PAWL_MISUSE_HANDLE", "This call needs a batch and got a store, or the reverse.")
    case PAWL_MISUSE_ACCOUNT:
        ("PAWL_MISUSE_ACCOUNT", "An account's name must be 1-255 bytes of UTF-8 without NUL.")
    case PAWL_MISUSE_PACKAGE:
        (
            "PAWL_MISUSE_PACKAGE",
            "These bytes are no key package; pass them on as they were published."
        )
    case PAWL_STATE_BATCH:
        ("PAWL_STATE_BATCH", "This is not possible inside a batch; end it first.")
    case PAWL_STATE_CONFLICT:
        (
            "PAWL_STATE_CONFLICT",
            "The credential has another version by now; read it and decide again."
        )
    case PAWL_STATE_WITHDRAWN:
        (
            "PAWL_STATE_WITHDRAWN",
            "The scope was deleted or the write cleared away meanwhile; nothing was stored."
        )
    case PAWL_STATE_LAST_SLOT:
        ("PAWL_STATE_LAST_SLOT", "The last slot cannot be removed; add another key first.")
    case PAWL_STATE_NO_VAULT:
        ("PAWL_STATE_NO_VAULT", "The secret lives in a vault; open the store with it.")
    case PAWL_STATE_IDENTITY:
        (
            "PAWL_STATE_IDENTITY",
            "This verified peer has other keys now; compare safety numbers, then accept them."
        )
    case PAWL_STATE_RECEIVE_ONLY:
        (
            "PAWL_STATE_RECEIVE_ONLY",
            "Another session took its place; send in the peer's current one."
        )
    case PAWL_STATE_SUITE:
        (
            "PAWL_STATE_SUITE",
            "The suite is weaker than allowed or used before; if that is meant, allow it."
        )
    case PAWL_STATE_SELF:
        ("PAWL_STATE_SELF", "A session needs a peer other than the account itself.")
    case PAWL_STATE_RESERVATION:
        (
            "PAWL_STATE_RESERVATION",
            "No index was reserved before this batch; encrypt outside of it, or send."
        )
    case PAWL_STATE_ROTATION:
        (
            "PAWL_STATE_ROTATION",
            "This account's key packages rotate by themselves: use pawl_rotation_now."
        )
    case PAWL_STATE_BACKUP:
        (
            "PAWL_STATE_BACKUP",
            "This account's backup has no key or no version yet; create, recover or enable it first."
        )
    case PAWL_STATE_MODE:
        (
            "PAWL_STATE_MODE",
            "Messages of this session wait for epochs of their own; send, do not encrypt."
        )
    case PAWL_LIMIT_SECRET: ("PAWL_LIMIT_SECRET", "A secret can have 16 MiB at most.")
    case PAWL_LIMIT_ATTRIBUTES:
        ("PAWL_LIMIT_ATTRIBUTES", "A credential can have 64 attributes at most.")
    case PAWL_LIMIT_SLOTS:
        ("PAWL_LIMIT_SLOTS", "A store can have 16 slots at most; remove one first.")
    case PAWL_LIMIT_MEMORY: ("PAWL_LIMIT_MEMORY", "Out of memory.")
    case PAWL_LIMIT_COUNTER: ("PAWL_LIMIT_COUNTER", "A counter of this store is used up.")
    case PAWL_LIMIT_MESSAGE: ("PAWL_LIMIT_MESSAGE", "A message can have 16 MiB at most; split it.")
    case PAWL_LIMIT_INDEX:
        ("PAWL_LIMIT_INDEX", "An epoch has 2^31 messages, history opens 2^22 of them; rekey.")
    case PAWL_LIMIT_SESSIONS:
        (
            "PAWL_LIMIT_SESSIONS",
            "Too many sessions with this peer, or unconfirmed ones; close some."
        )
    case PAWL_LIMIT_PACKAGES:
        ("PAWL_LIMIT_PACKAGES", "Too many key packages or one-time keys; delete old packages.")
    case PAWL_LIMIT_QUEUE:
        (
            "PAWL_LIMIT_QUEUE",
            "As many messages wait for an epoch as may; deliver frames, then send again."
        )
    case PAWL_CORRUPT_KEY_LOST:
        ("PAWL_CORRUPT_KEY_LOST", "What held the key or secret is gone; restore it from a copy.")
    case PAWL_CORRUPT_NOT_PAWL:
        ("PAWL_CORRUPT_NOT_PAWL", "The file is not a Pawl store and is untouched; check the path.")
    case PAWL_STORE_INDETERMINATE:
        (
            "PAWL_STORE_INDETERMINATE",
            "Whether the commit happened is unknown; read again and compare versions."
        )
    case PAWL_STORE_VAULT:
        (
            "PAWL_STORE_VAULT",
            "The vault failed; the code is its own. What it may still hold is listed as an orphan."
        )
    case PAWL_STORE_FULL: ("PAWL_STORE_FULL", "No space is left; free some and try again.")
    case PAWL_STORE_READ_ONLY:
        ("PAWL_STORE_READ_ONLY", "The file or its folder cannot be written; check permissions.")
    case PAWL_STORE_CANNOT_OPEN:
        (
            "PAWL_STORE_CANNOT_OPEN",
            "The file cannot be opened; check path and permissions. A link is not followed."
        )
    case PAWL_STORE_HOST: ("PAWL_STORE_HOST", "A storage callback failed; the code is its own.")
    case PAWL_STORE_LOST:
        ("PAWL_STORE_LOST", "The batch's transaction is lost; roll it back and start again.")
    case PAWL_BUSY_REENTERED:
        ("PAWL_BUSY_REENTERED", "A callback must not call back into its own store.")
    case PAWL_BUSY_CHANGED:
        ("PAWL_BUSY_CHANGED", "Somebody else kept changing the same thing; try again.")
    case PAWL_BUSY_RATE: ("PAWL_BUSY_RATE", "Too often; wait a minute and try again.")
    case PAWL_BUSY_WAITING: ("PAWL_BUSY_WAITING", "It has not happened yet; wait again.")
    case PAWL_CLOSED_SESSION:
        ("PAWL_CLOSED_SESSION", "The session is closed; start another with this peer.")
    case PAWL_CLOSED_FORKED:
        (
            "PAWL_CLOSED_FORKED",
            "A store was open across fork(); fork before opening, or start a new program (exec, spawn)."
        )
    default: nil
    }
}

private func lookUp(_ status: pawl_status) -> (name: StaticString, text: StaticString) {
    entry(status & 0xFFFF) ?? entry(status & 0xFF)
        ?? ("PAWL_UNKNOWN", "This number is no status of this library.")
}

/// Its literal ends with a NUL, as all literals do.
private func cString(_ literal: StaticString) -> UnsafePointer<CChar> {
    UnsafeRawPointer(literal.utf8Start).assumingMemoryBound(to: CChar.self)
}

@_cdecl("pawl_status_name")
public func pawl_status_name(_ status: pawl_status) -> UnsafePointer<CChar>? {
    cString(lookUp(status).name)
}

@_cdecl("pawl_status_text")
public func pawl_status_text(_ status: pawl_status) -> UnsafePointer<CChar>? {
    cString(lookUp(status).text)
}

@_cdecl("pawl_abi_version")
public func pawl_abi_version() -> UInt32 { UInt32(PAWL_ABI_VERSION) }
