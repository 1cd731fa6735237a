# SPDX-License-Identifier: Apache-2.0
"""Include/pawl.h for ctypes: its numbers, its structs and one table of its functions."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_char_p,
    c_int32,
    c_int64,
    c_size_t,
    c_uint8,
    c_uint32,
    c_uint64,
    c_void_p,
)
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

# ---------------------------------------------------------------- numbers
# Status codes are an enum in `errors`, kinds and outcomes are enums in `values`; here is the rest.

PAWL_ABI_VERSION = 1
PAWL_NEVER = 2**63 - 1

PAWL_TRANSACTION_READ = 1
PAWL_TRANSACTION_WRITE = 2

PAWL_EXPORT_ALL_PROJECTS = 1

PAWL_VAULT_ID_SIZE = 16
PAWL_VAULT_ABSENT = 3

PAWL_HASHING_MEMORY_MIN = 64 << 20
PAWL_HASHING_MEMORY_DEFAULT = 256 << 20
PAWL_HASHING_MEMORY_MAX = 1 << 30
PAWL_HASHING_PASSES_MIN = 3
PAWL_HASHING_PASSES_DEFAULT = 3
PAWL_HASHING_PASSES_MAX = 10

PAWL_STORE_CREATE = 1
PAWL_STORE_EXCLUSIVE = 2
PAWL_STORE_MEMORY = 4
PAWL_BUSY_TIMEOUT_DEFAULT = 5_000_000_000

PAWL_RECOVERY_STORE = 1
PAWL_RECOVERY_BACKUP = 2
PAWL_RECOVERY_SIZE_MAX = 128

PAWL_PUT_CREATE_ONLY = 1
PAWL_PUT_IF_VERSION = 2
PAWL_PUT_SET_EXPIRY = 4
PAWL_PUT_CLEAR_EXPIRY = 8
PAWL_PUT_SET_LABEL = 16
PAWL_PUT_SET_PROVIDER = 32
PAWL_PUT_SET_ATTRIBUTES = 64

PAWL_SECRET_SIZE_MAX = 16 << 20

PAWL_CREDENTIAL_DELETED = 1
PAWL_CREDENTIAL_IN_VAULT = 2
PAWL_DELETE_ALL_PROJECTS = 1
PAWL_RECONCILE_DRY_RUN = 1

PAWL_ACCOUNT_ID_SIZE = 16
PAWL_IDENTITY_KEY_SIZE = 32
PAWL_SAFETY_NUMBER_SIZE = 72
PAWL_SAFETY_CODE_SIZE = 65
PAWL_SESSION_ID_SIZE = 16

PAWL_PACKAGE = 1
PAWL_PACKAGE_ONE_TIME = 2
PAWL_PACKAGE_ID_SIZE = 16
PAWL_PACKAGE_SIZE_MAX = 4096
PAWL_PACKAGE_LIFETIME_DEFAULT = 7_776_000_000_000_000
PAWL_ROTATION_NO_KEYS = 1

PAWL_JOB_DEAD = 1
PAWL_JOBS_DEAD = 1

PAWL_PEER_CHANGED = 1
PAWL_PEER_HAS_SESSION = 2

PAWL_SESSION_INITIATOR = 1
PAWL_SESSION_CONFIRMED = 2
PAWL_SESSION_RECEIVE_ONLY = 4
PAWL_SESSION_DESYNCHRONIZED = 8

PAWL_REKEY_FRESH = 1
PAWL_LIMITS_PERFECT = 1
PAWL_QUEUE_MAX = 4096

PAWL_MESSAGE_SIZE_MAX = 16 << 20
PAWL_FRAME_OVERHEAD_MAX = 4096
PAWL_RECEIVE_KEEP = 1
PAWL_RECEIVED_EMPTY = 1
PAWL_RECEIVED_AGAIN = 2
PAWL_RECEIVED_NEW_SESSION = 4
PAWL_RECEIVED_UNACCEPTED = 8

PAWL_HISTORY_RECEIVED = 1
PAWL_HISTORY_SENT = 2
PAWL_HISTORY_CLOSED = 1
PAWL_HISTORY_IMPORTED = 2
PAWL_HISTORY_EMPTY = 1

PAWL_BACKUP_SECRET_SIZE = 32
PAWL_BACKUP_HASH_SIZE = 32
PAWL_BACKUP_PLACE_SIZE = 16
PAWL_BACKUP_SHARE_SIZE = 49
PAWL_BACKUP_ESCROW = 1
PAWL_BACKUP_ALL_PROJECTS = 1
PAWL_BACKUP_ON = 1
PAWL_BACKUP_UPLOADING = 2
PAWL_BACKUP_RESTORING = 4
PAWL_BACKUP_STOPPED = 8
PAWL_BACKUP_OLDER = 16
PAWL_BACKUP_SERVER_KNOWN = 32
PAWL_RECOVERY_WRAPPED_SIZE_MAX = 512
PAWL_RESTORE_ACCEPT_OLDER = 1

# ---------------------------------------------------------------- callbacks
# Pointers arrive as addresses (int, or None for NULL).

NOW = CFUNCTYPE(c_int64, c_void_p)

VISIT = CFUNCTYPE(c_int32, c_void_p, c_char_p, c_size_t, c_char_p, c_size_t)
BEGIN = CFUNCTYPE(c_int32, c_void_p, c_uint32, POINTER(c_void_p))
GET = CFUNCTYPE(c_int32, c_void_p, c_void_p, c_void_p, c_size_t, VISIT, c_void_p)
PUT = CFUNCTYPE(c_int32, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t)
REMOVE = CFUNCTYPE(c_int32, c_void_p, c_void_p, c_void_p, c_size_t)
SCAN = CFUNCTYPE(
    c_int32, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, c_size_t, VISIT, c_void_p
)
COMMIT = CFUNCTYPE(c_int32, c_void_p, c_void_p)
ROLLBACK = CFUNCTYPE(None, c_void_p, c_void_p)

VAULT_SET = CFUNCTYPE(c_int32, c_void_p, c_void_p, c_void_p, c_size_t)
VAULT_GET = CFUNCTYPE(c_int32, c_void_p, c_void_p, c_void_p, c_size_t, POINTER(c_size_t))
VAULT_REMOVE = CFUNCTYPE(c_int32, c_void_p, c_void_p)
VAULT_NEXT = CFUNCTYPE(c_int32, c_void_p, c_void_p, c_void_p)


class Sized(Structure):
    """A struct of the header; fills in `struct_size`."""

    layout: struct.Struct
    """The same for `struct`, which reads all fields at once: arrays as bytes, pointers as ints."""

    def __init__(self, **fields: Any) -> None:
        self.struct_size = ctypes.sizeof(self)
        if fields:
            super().__init__(**fields)

    def __init_subclass__(cls) -> None:
        cls.layout = struct.Struct("".join(_letter(field[1]) for field in cls._fields_))


def _letter(kind: Any) -> str:
    """A type of a field as `struct` calls it."""
    if hasattr(kind, "_length_"):
        return f"{kind._length_}s"
    letter = getattr(kind, "_type_", None)
    return letter if isinstance(letter, str) and letter != "z" else "P"


class Step(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("event", c_uint32),
        ("session", c_uint8 * PAWL_SESSION_ID_SIZE),
        ("offer", c_uint8 * 16),
        ("from", c_uint32),
        ("to", c_uint32),
        ("target", c_uint32),
        ("constructor", c_uint32),
    ]


STEP = CFUNCTYPE(None, c_void_p, POINTER(Step))

# ---------------------------------------------------------------- structs
# What only goes in is c_char_p: assigning bytes keeps them alive with the struct. What comes out is
# c_void_p, because it does not end with NUL.


class Clock(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("context", c_void_p),
        ("now_ns", NOW),
    ]


class Storage(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("context", c_void_p),
        ("begin", BEGIN),
        ("get", GET),
        ("put", PUT),
        ("remove", REMOVE),
        ("scan", SCAN),
        ("commit", COMMIT),
        ("rollback", ROLLBACK),
    ]


class Vault(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("context", c_void_p),
        ("set", VAULT_SET),
        ("get", VAULT_GET),
        ("remove", VAULT_REMOVE),
        ("next", VAULT_NEXT),
        ("lease_ns", c_int64),
    ]


class Key(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("kind", c_uint32),
        ("secret", c_char_p),
        ("secret_size", c_size_t),
        ("memory_size", c_uint64),
        ("passes", c_uint32),
        ("reserved", c_uint32),
    ]


class StoreOptions(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("path", c_char_p),
        ("path_size", c_size_t),
        ("key", POINTER(Key)),
        ("busy_timeout_ns", c_int64),
        ("clock", POINTER(Clock)),
        ("storage", POINTER(Storage)),
        ("vault", POINTER(Vault)),
    ]


class Damage(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("status", c_int32),
        ("key", c_void_p),
        ("key_size", c_size_t),
    ]


class Stats(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("memory_locked", c_uint32),
        ("transactions", c_uint64),
        ("commits", c_uint64),
        ("reads", c_uint64),
        ("scanned", c_uint64),
        ("writes", c_uint64),
        ("vault_calls", c_uint64),
    ]


class ArchiveReport(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("credentials", c_uint64),
        ("imported", c_uint64),
        ("improved", c_uint64),
        ("kept", c_uint64),
        ("expired", c_uint64),
        ("unreadable", c_uint64),
    ]


class Slot(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("number", c_uint32),
        ("kind", c_uint32),
        ("passes", c_uint32),
        ("memory_size", c_uint64),
        ("created_ns", c_int64),
    ]


class Scope(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("user", c_char_p),
        ("user_size", c_size_t),
        ("project", c_char_p),
        ("project_size", c_size_t),
    ]


class Attribute(Structure):
    _fields_ = [
        ("key", c_void_p),
        ("key_size", c_size_t),
        ("value", c_void_p),
        ("value_size", c_size_t),
    ]


class PutOptions(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("if_version", c_uint64),
        ("expires_ns", c_int64),
        ("label", c_char_p),
        ("label_size", c_size_t),
        ("provider", c_char_p),
        ("provider_size", c_size_t),
        ("attributes", POINTER(Attribute)),
        ("attribute_count", c_size_t),
    ]


class Credential(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("version", c_uint64),
        ("created_ns", c_int64),
        ("updated_ns", c_int64),
        ("expires_ns", c_int64),
        ("purge_ns", c_int64),
        ("name", c_void_p),
        ("name_size", c_size_t),
        ("label", c_void_p),
        ("label_size", c_size_t),
        ("provider", c_void_p),
        ("provider_size", c_size_t),
        ("secret", c_void_p),
        ("secret_size", c_size_t),
        ("attribute_count", c_size_t),
    ]


class Orphan(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("kind", c_uint32),
        ("outcome", c_uint32),
        ("attempts", c_uint32),
        ("vault_id", c_uint8 * PAWL_VAULT_ID_SIZE),
        ("version", c_uint64),
        ("recorded_ns", c_int64),
        ("lease_ns", c_int64),
        ("sighted_ns", c_int64),
        ("cause_set", c_int32),
        ("cause_remove", c_int32),
        ("user", c_void_p),
        ("user_size", c_size_t),
        ("project", c_void_p),
        ("project_size", c_size_t),
        ("name", c_void_p),
        ("name_size", c_size_t),
    ]


class ReconcileOptions(Sized):
    _fields_ = [("struct_size", c_uint32), ("flags", c_uint32), ("grace_ns", c_int64)]


class Identity(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("signing_key", c_uint8 * PAWL_IDENTITY_KEY_SIZE),
        ("agreement_key", c_uint8 * PAWL_IDENTITY_KEY_SIZE),
        ("name", c_char_p),
        ("name_size", c_size_t),
    ]


class Account(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("id", c_uint8 * PAWL_ACCOUNT_ID_SIZE),
        ("signing_key", c_uint8 * PAWL_IDENTITY_KEY_SIZE),
        ("agreement_key", c_uint8 * PAWL_IDENTITY_KEY_SIZE),
        ("created_ns", c_int64),
        ("name", c_void_p),
        ("name_size", c_size_t),
    ]


class Job(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("kind", c_uint32),
        ("subject", c_uint8 * 16),
        ("due_ns", c_int64),
        ("attempts", c_uint32),
        ("last_status", c_int32),
        ("flags", c_uint32),
        ("reserved", c_uint32),
    ]


class Item(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("kind", c_uint32),
        ("what", c_uint32),
        ("attempts", c_uint32),
        ("seq", c_uint64),
        ("count", c_uint64),
        ("account", c_uint8 * PAWL_ACCOUNT_ID_SIZE),
        ("session", c_uint8 * PAWL_SESSION_ID_SIZE),
        ("created_ns", c_int64),
        ("lease_ns", c_int64),
        ("peer_signing_key", c_uint8 * PAWL_IDENTITY_KEY_SIZE),
        ("peer_agreement_key", c_uint8 * PAWL_IDENTITY_KEY_SIZE),
        ("peer_name", c_void_p),
        ("peer_name_size", c_size_t),
        ("body", c_void_p),
        ("body_size", c_size_t),
    ]


class PackageOptions(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("lifetime_ns", c_int64),
        ("one_time_count", c_uint32),
        ("reserved", c_uint32),
    ]


class Package(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("kind", c_uint32),
        ("id", c_uint8 * PAWL_PACKAGE_ID_SIZE),
        ("key_id", c_uint32),
        ("one_time_count", c_uint32),
        ("not_before_ns", c_int64),
        ("not_after_ns", c_int64),
        ("bytes", c_void_p),
        ("bytes_size", c_size_t),
        ("remove_ns", c_int64),
        ("state", c_uint32),
        ("reserved", c_uint32),
    ]


class RotationOptions(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("rotate_ns", c_int64),
        ("lifetime_ns", c_int64),
        ("keep_ns", c_int64),
        ("welcome_delay_ns", c_int64),
        ("welcome_pause_ns", c_int64),
        ("readback_ns", c_int64),
        ("one_time_count", c_uint32),
        ("one_time_floor", c_uint32),
    ]


class Rotation(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("rotate_ns", c_int64),
        ("readback_ns", c_int64),
        ("one_time_count", c_uint32),
        ("superseded", c_uint32),
    ]


class Peer(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("trust", c_uint32),
        ("suite", c_uint32),
        ("signing_key", c_uint8 * PAWL_IDENTITY_KEY_SIZE),
        ("agreement_key", c_uint8 * PAWL_IDENTITY_KEY_SIZE),
        ("new_signing_key", c_uint8 * PAWL_IDENTITY_KEY_SIZE),
        ("new_agreement_key", c_uint8 * PAWL_IDENTITY_KEY_SIZE),
        ("session", c_uint8 * PAWL_SESSION_ID_SIZE),
        ("changed_ns", c_int64),
        ("name", c_void_p),
        ("name_size", c_size_t),
    ]


class StartOptions(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("peer_name", c_char_p),
        ("peer_name_size", c_size_t),
        ("package", c_char_p),
        ("package_size", c_size_t),
    ]


class Session(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("id", c_uint8 * PAWL_SESSION_ID_SIZE),
        ("account", c_uint8 * PAWL_ACCOUNT_ID_SIZE),
        ("suite", c_uint32),
        ("epoch", c_uint32),
        ("sent", c_uint32),
        ("received", c_uint32),
        ("skipped", c_uint32),
        ("target", c_uint32),
        ("messages", c_uint32),
        ("limit_flags", c_uint32),
        ("bytes", c_uint64),
        ("interval_ns", c_int64),
        ("queue", c_uint32),
        ("queued", c_uint32),
        ("created_ns", c_int64),
        ("ends_ns", c_int64),
        ("peer_signing_key", c_uint8 * PAWL_IDENTITY_KEY_SIZE),
        ("peer_agreement_key", c_uint8 * PAWL_IDENTITY_KEY_SIZE),
        ("peer_name", c_void_p),
        ("peer_name_size", c_size_t),
    ]


class RekeyLimits(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("messages", c_uint32),
        ("queue", c_uint32),
        ("bytes", c_uint64),
        ("interval_ns", c_int64),
    ]


class Trace(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("context", c_void_p),
        ("step", STEP),
    ]


ITEMS_READY = CFUNCTYPE(None, c_void_p)


class Runner(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("context", c_void_p),
        ("items_ready", ITEMS_READY),
    ]


class Frame(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("bytes", c_char_p),
        ("size", c_size_t),
    ]


class Received(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("session", c_uint8 * PAWL_SESSION_ID_SIZE),
        ("epoch", c_uint32),
        ("index", c_uint32),
    ]


class Delivery(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("frame", c_char_p),
        ("frame_size", c_size_t),
        ("out", c_void_p),
        ("out_size", c_size_t),
        ("out_len", c_size_t),
        ("status", c_int32),
        ("received_flags", c_uint32),
        ("session", c_uint8 * PAWL_SESSION_ID_SIZE),
        ("epoch", c_uint32),
        ("index", c_uint32),
    ]


class Kept(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("session", c_uint8 * PAWL_SESSION_ID_SIZE),
        ("epoch", c_uint32),
        ("index", c_uint32),
        ("plaintext", c_void_p),
        ("plaintext_size", c_size_t),
    ]


class History(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("session", c_uint8 * PAWL_SESSION_ID_SIZE),
        ("epoch", c_uint32),
        ("direction", c_uint32),
        ("first", c_uint32),
        ("end", c_uint32),
        ("created_ns", c_int64),
        ("peer_signing_key", c_uint8 * PAWL_IDENTITY_KEY_SIZE),
        ("peer_agreement_key", c_uint8 * PAWL_IDENTITY_KEY_SIZE),
        ("peer_name", c_void_p),
        ("peer_name_size", c_size_t),
    ]


class HistoryMessage(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("session", c_uint8 * PAWL_SESSION_ID_SIZE),
        ("epoch", c_uint32),
        ("index", c_uint32),
        ("direction", c_uint32),
        ("peer_name_size", c_uint32),
        ("peer_signing_key", c_uint8 * PAWL_IDENTITY_KEY_SIZE),
        ("peer_agreement_key", c_uint8 * PAWL_IDENTITY_KEY_SIZE),
        ("peer_name", c_uint8 * 256),
    ]


class Backup(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("revision", c_uint64),
        ("phase", c_uint32),
        ("download", c_uint32),
        ("generation", c_uint64),
        ("server_generation", c_uint64),
        ("key_generation", c_uint64),
        ("hash", c_uint8 * PAWL_BACKUP_HASH_SIZE),
        ("server_hash", c_uint8 * PAWL_BACKUP_HASH_SIZE),
        ("key_hash", c_uint8 * PAWL_BACKUP_HASH_SIZE),
        ("server_items", c_uint64),
        ("pending", c_uint64),
        ("acknowledged", c_uint64),
        ("retry_ns", c_int64),
        ("imported", c_uint64),
        ("known", c_uint64),
        ("improved", c_uint64),
        ("undecryptable", c_uint64),
        ("malformed", c_uint64),
        ("foreign", c_uint64),
        ("findings", c_uint64),
        ("writers", c_uint64),
        ("as_of_ns", c_int64),
    ]


class BackupRequest(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("what", c_uint32),
        ("version", c_void_p),
        ("version_size", c_size_t),
        ("body", c_void_p),
        ("body_size", c_size_t),
        ("entry_count", c_size_t),
        ("place", c_uint8 * PAWL_BACKUP_PLACE_SIZE),
    ]


class BackupEntry(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("first", c_uint32),
        ("order", c_uint32),
        ("flags", c_uint32),
        ("place", c_uint8 * PAWL_BACKUP_PLACE_SIZE),
        ("bytes", c_void_p),
        ("bytes_size", c_size_t),
    ]


IS_CLOSING = CFUNCTYPE(c_int32, c_void_p)


class BackupReply(Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("result", c_uint32),
        ("until_ns", c_int64),
        ("count", c_uint64),
        ("version", c_char_p),
        ("version_size", c_size_t),
        ("body", c_char_p),
        ("body_size", c_size_t),
        ("entries", POINTER(BackupEntry)),
        ("entry_count", c_size_t),
        ("is_closing", IS_CLOSING),
        ("context", c_void_p),
    ]


# The header's name of each struct above.
STRUCTS: Dict[str, type[Structure]] = {
    "pawl_clock": Clock,
    "pawl_storage": Storage,
    "pawl_vault": Vault,
    "pawl_key": Key,
    "pawl_store_options": StoreOptions,
    "pawl_damage": Damage,
    "pawl_stats": Stats,
    "pawl_slot": Slot,
    "pawl_scope": Scope,
    "pawl_attribute": Attribute,
    "pawl_put_options": PutOptions,
    "pawl_credential": Credential,
    "pawl_archive_report": ArchiveReport,
    "pawl_orphan": Orphan,
    "pawl_reconcile_options": ReconcileOptions,
    "pawl_identity": Identity,
    "pawl_account": Account,
    "pawl_item": Item,
    "pawl_job": Job,
    "pawl_runner": Runner,
    "pawl_package_options": PackageOptions,
    "pawl_package": Package,
    "pawl_rotation_options": RotationOptions,
    "pawl_rotation": Rotation,
    "pawl_peer": Peer,
    "pawl_start_options": StartOptions,
    "pawl_session": Session,
    "pawl_rekey_limits": RekeyLimits,
    "pawl_step": Step,
    "pawl_trace": Trace,
    "pawl_frame": Frame,
    "pawl_received": Received,
    "pawl_delivery": Delivery,
    "pawl_kept": Kept,
    "pawl_history": History,
    "pawl_history_message": HistoryMessage,
    "pawl_backup": Backup,
    "pawl_backup_request": BackupRequest,
    "pawl_backup_entry": BackupEntry,
    "pawl_backup_reply": BackupReply,
}

# ---------------------------------------------------------------- functions

_HANDLE = c_void_p
_OUT = POINTER(c_void_p)
_SCOPE = POINTER(Scope)
_TEXT = (c_char_p, c_size_t)
_NAME = (_HANDLE, _SCOPE, *_TEXT)
_ID = (_HANDLE, c_char_p)  # of an account or a session
_DATA = (c_void_p, c_size_t)
_ROOM = (c_void_p, c_size_t, POINTER(c_size_t))
_SAFETY = (POINTER(Identity), POINTER(Identity), *_ROOM)

# (name, result, arguments): the only place that knows how a function is called.
FUNCTIONS: List[Tuple[str, Any, Sequence[Any]]] = [
    ("pawl_abi_version", c_uint32, ()),
    ("pawl_status_name", c_char_p, (c_int32,)),
    ("pawl_status_text", c_char_p, (c_int32,)),
    ("pawl_view_count", c_size_t, (c_void_p,)),
    ("pawl_view_close", None, (c_void_p,)),
    ("pawl_store_open", c_int32, (POINTER(StoreOptions), _OUT)),
    ("pawl_store_close", None, (_HANDLE,)),
    ("pawl_store_copy", c_int32, (_HANDLE, *_TEXT)),
    ("pawl_store_verify", c_int32, (_HANDLE, _OUT)),
    ("pawl_view_damage", c_int32, (c_void_p, c_size_t, POINTER(Damage))),
    ("pawl_store_stats", c_int32, (_HANDLE, POINTER(Stats))),
    ("pawl_slot_list", c_int32, (_HANDLE, _OUT)),
    ("pawl_view_slot", c_int32, (c_void_p, c_size_t, POINTER(Slot))),
    ("pawl_slot_add", c_int32, (_HANDLE, POINTER(Key), POINTER(c_uint32))),
    ("pawl_slot_change", c_int32, (_HANDLE, c_uint32, POINTER(Key))),
    ("pawl_slot_remove", c_int32, (_HANDLE, c_uint32)),
    ("pawl_recovery_key_generate", c_int32, (c_uint32, *_ROOM)),
    ("pawl_batch_begin", c_int32, (_HANDLE, _OUT)),
    ("pawl_batch_commit", c_int32, (_HANDLE,)),
    ("pawl_batch_rollback", None, (_HANDLE,)),
    (
        "pawl_credential_put",
        c_int32,
        (*_NAME, *_DATA, POINTER(PutOptions), POINTER(c_uint64)),
    ),
    ("pawl_credential_get", c_int32, (*_NAME, _OUT)),
    ("pawl_credential_metadata", c_int32, (*_NAME, _OUT)),
    ("pawl_credential_has", c_int32, (*_NAME, POINTER(c_int32))),
    ("pawl_credential_list", c_int32, (*_NAME, c_size_t, _OUT)),
    ("pawl_credential_deleted", c_int32, (*_NAME, _OUT)),
    ("pawl_view_credential", c_int32, (c_void_p, c_size_t, POINTER(Credential))),
    ("pawl_view_attribute", c_int32, (c_void_p, c_size_t, c_size_t, POINTER(Attribute))),
    ("pawl_credential_delete", c_int32, (*_NAME, c_int64)),
    ("pawl_credential_restore", c_int32, (*_NAME, c_uint64)),
    ("pawl_credential_delete_all", c_int32, (_HANDLE, _SCOPE, c_uint32, POINTER(c_uint64))),
    ("pawl_credential_orphans", c_int32, (_HANDLE, c_char_p, c_size_t, _OUT)),
    ("pawl_view_orphan", c_int32, (c_void_p, c_size_t, POINTER(Orphan))),
    ("pawl_export_begin", c_int32, (_HANDLE, _SCOPE, c_uint32, POINTER(Key), _OUT)),
    ("pawl_import_begin", c_int32, (_HANDLE, POINTER(Key), _OUT)),
    ("pawl_stream_read", c_int32, (_HANDLE, c_void_p, c_size_t, POINTER(c_size_t))),
    ("pawl_stream_write", c_int32, (_HANDLE, *_TEXT)),
    ("pawl_stream_finish", c_int32, (_HANDLE,)),
    ("pawl_stream_report", c_int32, (_HANDLE, POINTER(ArchiveReport))),
    ("pawl_stream_close", None, (_HANDLE,)),
    ("pawl_credential_reconcile", c_int32, (_HANDLE, POINTER(ReconcileOptions), _OUT)),
    ("pawl_account_create", c_int32, (_HANDLE, *_TEXT, c_void_p)),
    ("pawl_account_get", c_int32, (*_ID, _OUT)),
    ("pawl_account_list", c_int32, (*_ID, c_size_t, _OUT)),
    ("pawl_account_delete", c_int32, _ID),
    ("pawl_view_account", c_int32, (c_void_p, c_size_t, POINTER(Account))),
    ("pawl_safety_number", c_int32, _SAFETY),
    ("pawl_safety_code", c_int32, _SAFETY),
    ("pawl_store_fd", c_int32, (_HANDLE, POINTER(c_int32))),
    ("pawl_store_next_deadline", c_int32, (_HANDLE, POINTER(c_int64))),
    ("pawl_store_run_due", c_int32, (_HANDLE, c_size_t, POINTER(c_size_t), POINTER(c_int64))),
    ("pawl_store_nudge", c_int32, (_HANDLE,)),
    ("pawl_outbox_take", c_int32, (_HANDLE, c_size_t, c_int64, _OUT)),
    ("pawl_view_item", c_int32, (c_void_p, c_size_t, POINTER(Item))),
    ("pawl_store_start_runner", c_int32, (_HANDLE, POINTER(Runner))),
    ("pawl_store_stop_runner", c_int32, (_HANDLE,)),
    ("pawl_store_jobs", c_int32, (_HANDLE, c_uint32, POINTER(Job), c_size_t, _OUT)),
    ("pawl_view_job", c_int32, (c_void_p, c_size_t, POINTER(Job))),
    ("pawl_job_revive", c_int32, (_HANDLE, c_uint32, c_char_p)),
    ("pawl_outbox_ack", c_int32, (_HANDLE, POINTER(c_uint64), c_size_t)),
    ("pawl_outbox_fail", c_int32, (_HANDLE, c_uint64, c_int64)),
    ("pawl_outbox_answer", c_int32, (_HANDLE, c_uint64, *_DATA)),
    ("pawl_package_create", c_int32, (*_ID, POINTER(PackageOptions), _OUT)),
    ("pawl_package_list", c_int32, (*_ID, _OUT)),
    ("pawl_package_delete", c_int32, (*_ID, c_char_p)),
    ("pawl_view_package", c_int32, (c_void_p, c_size_t, POINTER(Package))),
    ("pawl_view_item_package", c_int32, (c_void_p, c_size_t, c_size_t, POINTER(Package))),
    ("pawl_rotation_begin", c_int32, (*_ID, POINTER(RotationOptions))),
    ("pawl_rotation_now", c_int32, _ID),
    ("pawl_rotation_report", c_int32, (*_ID, c_uint32)),
    ("pawl_rotation_get", c_int32, (*_ID, POINTER(Rotation))),
    ("pawl_account_set_min_suite", c_int32, (*_ID, c_uint32)),
    ("pawl_peer_get", c_int32, (*_ID, *_TEXT, _OUT)),
    ("pawl_peer_list", c_int32, (*_ID, *_TEXT, c_size_t, _OUT)),
    ("pawl_view_peer", c_int32, (c_void_p, c_size_t, POINTER(Peer))),
    ("pawl_peer_trust", c_int32, (*_ID, POINTER(Identity), c_uint32)),
    ("pawl_peer_allow_suite", c_int32, (*_ID, *_TEXT, c_uint32)),
    ("pawl_session_start", c_int32, (*_ID, POINTER(StartOptions), c_void_p)),
    ("pawl_session_reset", c_int32, (*_ID, *_DATA, c_void_p)),
    ("pawl_session_close", c_int32, _ID),
    ("pawl_session_get", c_int32, (*_ID, _OUT)),
    ("pawl_session_list", c_int32, (*_ID, *_TEXT, _OUT)),
    ("pawl_view_session", c_int32, (c_void_p, c_size_t, POINTER(Session))),
    ("pawl_session_rekey", c_int32, (*_ID, c_uint32, POINTER(c_uint32))),
    ("pawl_session_wait", c_int32, (*_ID, c_uint32, c_int64, POINTER(c_uint32))),
    ("pawl_session_set_limits", c_int32, (*_ID, POINTER(RekeyLimits))),
    ("pawl_store_trace", c_int32, (_HANDLE, POINTER(Trace))),
    ("pawl_session_encrypt", c_int32, (*_ID, *_DATA, *_ROOM)),
    ("pawl_session_send", c_int32, (*_ID, *_DATA, POINTER(c_uint64))),
    ("pawl_account_receive", c_int32, (*_ID, POINTER(Frame), *_ROOM, POINTER(Received))),
    ("pawl_account_receive_many", c_int32, (*_ID, POINTER(Delivery), c_size_t)),
    ("pawl_session_kept", c_int32, (*_ID, c_size_t, _OUT)),
    ("pawl_view_kept", c_int32, (c_void_p, c_size_t, POINTER(Kept))),
    ("pawl_session_forget", c_int32, (*_ID, c_uint32, c_uint32)),
    ("pawl_history_enable", c_int32, (*_ID, c_uint32)),
    ("pawl_history_enabled", c_int32, (*_ID, POINTER(c_uint32))),
    ("pawl_history_list", c_int32, (*_ID, POINTER(History), c_size_t, _OUT)),
    ("pawl_view_history", c_int32, (c_void_p, c_size_t, POINTER(History))),
    ("pawl_history_decrypt", c_int32, (*_ID, *_DATA, *_ROOM, POINTER(HistoryMessage))),
    ("pawl_backup_create", c_int32, (*_ID, POINTER(Key), c_uint32)),
    ("pawl_backup_reset", c_int32, (*_ID, POINTER(Key), c_uint32)),
    ("pawl_backup_enable", c_int32, _ID),
    ("pawl_backup_disable", c_int32, _ID),
    ("pawl_backup_delete", c_int32, _ID),
    ("pawl_backup_recover", c_int32, (*_ID, POINTER(Key))),
    ("pawl_backup_recovery_key", c_int32, (*_ID, *_ROOM)),
    ("pawl_recovery_wrap", c_int32, (*_TEXT, POINTER(Key), *_ROOM)),
    ("pawl_recovery_unwrap", c_int32, (*_DATA, POINTER(Key), *_ROOM)),
    ("pawl_backup_include", c_int32, (*_ID, _SCOPE, c_uint32)),
    ("pawl_backup_exclude", c_int32, (*_ID, _SCOPE, c_uint32)),
    ("pawl_backup_get", c_int32, (*_ID, POINTER(Backup))),
    ("pawl_view_item_backup", c_int32, (c_void_p, c_size_t, POINTER(Backup))),
    ("pawl_backup_restore", c_int32, (*_ID, c_uint32)),
    ("pawl_backup_stop_restore", c_int32, _ID),
    ("pawl_backup_fetch_credential", c_int32, (*_ID, _SCOPE, *_TEXT)),
    ("pawl_backup_fetch_history", c_int32, (*_ID, c_char_p, c_uint32)),
    ("pawl_backup_ask", c_int32, _ID),
    ("pawl_backup_share", c_int32, (*_ID, c_uint64, c_void_p)),
    ("pawl_backup_receive", c_int32, (*_ID, *_DATA)),
    ("pawl_view_item_backup_request", c_int32, (c_void_p, c_size_t, POINTER(BackupRequest))),
    (
        "pawl_view_item_backup_entry",
        c_int32,
        (c_void_p, c_size_t, c_size_t, POINTER(BackupEntry)),
    ),
    ("pawl_backup_entry_rank", c_int32, (*_DATA, POINTER(c_uint32), POINTER(c_uint32))),
    ("pawl_backup_answer", c_int32, (_HANDLE, c_uint64, POINTER(BackupReply))),
]

# ---------------------------------------------------------------- the library


def _name() -> str:
    return "libpawl.0.dylib" if sys.platform == "darwin" else "libpawl.so.0"


def _find() -> str:
    """PAWL_LIBRARY, else beside this package, else the source tree's build, else the loader's."""
    chosen = os.environ.get("PAWL_LIBRARY")
    if chosen:
        return chosen
    package = Path(__file__).resolve().parent
    if (package / _name()).exists():
        return str(package / _name())
    for root in list(package.parents)[2:4]:  # <repo>/Bindings/Python[/src]/pawl
        built = root / "build" / _name()
        if (root / "Include" / "pawl.h").exists() and built.exists():
            return str(built)
    return _name()


def _load(path: str) -> ctypes.CDLL:
    remedy = "Build it with `make`, install it, or name it in PAWL_LIBRARY."
    try:
        # What only reads memory keeps the interpreter's lock: to get it back may take milliseconds.
        loaded, reader = ctypes.CDLL(path), ctypes.PyDLL(path)
    except OSError as error:
        raise ImportError(f"Pawl's library cannot be loaded ({error}). {remedy}") from error
    try:
        for name, result, arguments in FUNCTIONS:
            function = getattr(reader if name.startswith("pawl_view_") else loaded, name)
            setattr(loaded, name, function)
            function.restype = result
            function.argtypes = list(arguments)
    except AttributeError as error:
        raise ImportError(f"{path} is not the libpawl that this package needs. {remedy}") from error
    if loaded.pawl_abi_version() < PAWL_ABI_VERSION:
        raise ImportError(
            f"{path} has ABI {loaded.pawl_abi_version()}, this package needs {PAWL_ABI_VERSION}: "
            "install a newer libpawl."
        )
    return loaded


library_path = _find()
library = _load(library_path)

# ---------------------------------------------------------------- memory


class _PyBuffer(Structure):
    """Py_buffer of CPython, the same since 3.3."""

    _fields_ = [
        ("buf", c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", c_char_p),
        ("shape", c_void_p),
        ("strides", c_void_p),
        ("suboffsets", c_void_p),
        ("internal", c_void_p),
    ]


_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = [ctypes.py_object, POINTER(_PyBuffer), ctypes.c_int]
_get_buffer.restype = ctypes.c_int
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = [POINTER(_PyBuffer)]
_release_buffer.restype = None


def borrowed(data: object) -> Tuple[Union[bytes, int, None], int, object]:
    """The bytes of any contiguous buffer, where they are: their address, size, and what keeps them.

    Copying them would leave a secret in memory that nobody wipes. The last is to be deleted, also
    when an error leaves with the frame that has it. ctypes takes a `bytes` as an address itself.
    """
    if type(data) is bytes:
        return data, len(data), None
    view = _PyBuffer()
    _get_buffer(data, view, 0)
    return view.buf, view.len, _Lent(view)


class _Lent:
    def __init__(self, view: _PyBuffer) -> None:
        self._view = view

    def __del__(self) -> None:
        _release_buffer(self._view)


class Borrowed:
    """The same for the length of a block: `with Borrowed(data) as (address, size)`."""

    def __init__(self, data: object) -> None:
        self._data = data

    def __enter__(self) -> Tuple[Union[bytes, int, None], int]:
        address, size, self._lent = borrowed(self._data)
        return address, size

    def __exit__(self, *_: object) -> None:
        del self._lent


@lru_cache(256)
def _kibibytes(count: int) -> Any:
    return ctypes.c_char * (count << 10)


def room(size: int) -> Any:
    """Zeroed memory of at least this size; `room(9)[:4]` are bytes.

    Of whole KiB, for ctypes makes a type of each size, which takes longer than most calls do.
    """
    return _kibibytes((size >> 10) + 1)()


_memory: Any = (ctypes.c_char * sys.maxsize).from_address(0)  # a slice of it costs no call into C


def copied(address: Optional[int], size: int) -> bytes:
    """The bytes at an address; none for NULL."""
    if not address:
        return b""
    found: bytes = _memory[address : address + size]
    # An address may be beyond what a slice can name.
    return found if len(found) == size else ctypes.string_at(address, size)


def text(address: Optional[int], size: int) -> str:
    """The UTF-8 at an address."""
    return copied(address, size).decode() if size else ""


def utf8(value: str) -> bytes:
    """The bytes of a string. What is not text (a lone surrogate) is left for Pawl to refuse."""
    return value.encode("utf-8", "surrogatepass")


def counted(value: str) -> Tuple[bytes, int]:
    """The same as C takes a text: its bytes and how many."""
    encoded = value.encode("utf-8", "surrogatepass")
    return encoded, len(encoded)
