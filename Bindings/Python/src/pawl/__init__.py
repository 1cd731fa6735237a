# SPDX-License-Identifier: Apache-2.0
"""Pawl, an embeddable key engine: sealed credentials in one file.

    with pawl.Store.open("app.pawl", key=pawl.Passphrase("..."), create=True) as store:
        scope = pawl.Scope("alice", "billing")
        store.put(scope, "API_KEY", b"...")
        secret = store.get(scope, "API_KEY").secret

Secrets go in from any buffer, where it lies, and come out as `bytes`. Python cannot wipe a `bytes`,
nor keep it from being copied: Pawl wipes its own memory, not the interpreter's.
"""

__version__ = "0.1.0"

from ._abi import library_path
from .errors import (
    AuthError,
    BufferTooSmallError,
    BusyError,
    ClosedError,
    CorruptError,
    DesynchronizedError,
    ExistsError,
    HostError,
    InternalError,
    LimitError,
    MisuseError,
    NotFoundError,
    PawlError,
    ReplayError,
    StateError,
    Status,
    StoreError,
    TimeError,
    VersionError,
)
from .hosts import Clock, ListedVault, Storage, Vault
from .store import Batch, Credentials, Store
from .values import (
    KEEP,
    Account,
    Buffer,
    Credential,
    Damage,
    Duration,
    Identity,
    Keep,
    Key,
    KeyKind,
    Metadata,
    Moment,
    Orphan,
    OrphanKind,
    OrphanOutcome,
    Passphrase,
    RawKey,
    RecoveryKey,
    Scope,
    Slot,
    Stats,
)

__all__ = [
    "KEEP",
    "Account",
    "AuthError",
    "Batch",
    "Buffer",
    "BufferTooSmallError",
    "BusyError",
    "Clock",
    "ClosedError",
    "CorruptError",
    "Credential",
    "Credentials",
    "Damage",
    "DesynchronizedError",
    "Duration",
    "ExistsError",
    "HostError",
    "Identity",
    "InternalError",
    "Keep",
    "Key",
    "KeyKind",
    "LimitError",
    "ListedVault",
    "Metadata",
    "MisuseError",
    "Moment",
    "NotFoundError",
    "Orphan",
    "OrphanKind",
    "OrphanOutcome",
    "Passphrase",
    "PawlError",
    "RawKey",
    "RecoveryKey",
    "ReplayError",
    "Scope",
    "Slot",
    "StateError",
    "Stats",
    "Status",
    "Storage",
    "Store",
    "StoreError",
    "TimeError",
    "Vault",
    "VersionError",
    "library_path",
]
