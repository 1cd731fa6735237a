# SPDX-License-Identifier: Apache-2.0
"""Pawl, an embeddable key engine: sealed credentials and sessions between accounts, in one file.

    with pawl.Store.open("app.pawl", key=pawl.Passphrase("..."), create=True) as store:
        scope = pawl.Scope("alice", "billing")
        store.put(scope, "API_KEY", b"...")
        secret = store.get(scope, "API_KEY").secret

        alice = store.create_account("alice")
        session = store.start_session(alice, "bob", bobs_package)
        store.send(session, b"hello")
        for item in store.items():
            ...  # deliver item.body to item.peer, then store.ack(item.seq)

Secrets go in from any buffer, where it lies, and come out as `bytes`. Python cannot wipe a `bytes`,
nor keep it from being copied: Pawl wipes its own memory, not the interpreter's.
"""

__version__ = "0.1.0"

from ._abi import library_path
from .accounts import Accounts
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
from .hosts import Clock, ListedVault, Storage, Tracer, Vault
from .store import Batch, Credentials, Store
from .values import (
    KEEP,
    Account,
    Buffer,
    Constructor,
    Credential,
    Damage,
    Duration,
    Event,
    Identity,
    Item,
    ItemKind,
    Keep,
    Kept,
    Key,
    KeyKind,
    Metadata,
    Moment,
    OneTimeKey,
    Orphan,
    OrphanKind,
    OrphanOutcome,
    Package,
    Passphrase,
    Peer,
    RawKey,
    Received,
    RecoveryKey,
    RekeyLimits,
    Request,
    Scope,
    Session,
    Slot,
    Stats,
    Step,
    StepEvent,
    Suite,
    Trust,
)

__all__ = [
    "KEEP",
    "Account",
    "Accounts",
    "AuthError",
    "Batch",
    "Buffer",
    "BufferTooSmallError",
    "BusyError",
    "Clock",
    "ClosedError",
    "Constructor",
    "CorruptError",
    "Credential",
    "Credentials",
    "Damage",
    "DesynchronizedError",
    "Duration",
    "Event",
    "ExistsError",
    "HostError",
    "Identity",
    "InternalError",
    "Item",
    "ItemKind",
    "Keep",
    "Kept",
    "Key",
    "KeyKind",
    "LimitError",
    "ListedVault",
    "Metadata",
    "MisuseError",
    "Moment",
    "NotFoundError",
    "OneTimeKey",
    "Orphan",
    "OrphanKind",
    "OrphanOutcome",
    "Package",
    "Passphrase",
    "PawlError",
    "Peer",
    "RawKey",
    "Received",
    "RecoveryKey",
    "RekeyLimits",
    "ReplayError",
    "Request",
    "Scope",
    "Session",
    "Slot",
    "StateError",
    "Stats",
    "Status",
    "Step",
    "StepEvent",
    "Storage",
    "Store",
    "StoreError",
    "Suite",
    "TimeError",
    "Tracer",
    "Trust",
    "Vault",
    "VersionError",
    "library_path",
]
