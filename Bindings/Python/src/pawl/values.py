# SPDX-License-Identifier: Apache-2.0
"""What goes into a store and what comes out of it: keys, scopes, and frozen results.

Times ending in `_ns` are exact: integer nanoseconds since 1970-01-01 UTC, `None` for "no such
time". The properties beside them are aware datetimes in UTC, cut to microseconds.
"""

from __future__ import annotations

import ctypes
import operator
import secrets
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from enum import Enum
from mmap import mmap
from typing import (
    Any,
    Callable,
    Dict,
    Final,
    Iterator,
    Mapping,
    Optional,
    SupportsIndex,
    Tuple,
    Type,
    TypeVar,
    Union,
)

from . import _abi
from .errors import Code, MisuseError, PawlError, Status, error_of

Buffer = Union[bytes, bytearray, memoryview, mmap]
"""Any contiguous buffer. It is read where it is, and only during the call."""

Duration = Union[timedelta, int, float]
"""A timedelta, or a number of seconds."""

Moment = Union[datetime, int]
"""An aware datetime, or integer nanoseconds since 1970-01-01 UTC."""


class Keep(Enum):
    """The type of `KEEP`."""

    KEEP = "keep"

    def __repr__(self) -> str:
        return "KEEP"


KEEP: Final = Keep.KEEP
"""Leave what is there as it is."""

# ---------------------------------------------------------------- time and numbers

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


def bounded(value: SupportsIndex, bits: int, reason: Status, signed: bool = False) -> int:
    """An integer that C can take; ctypes would silently drop the upper bits."""
    number = operator.index(value)
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
    if not low <= number < high:
        raise MisuseError(reason)
    return number


def sized(value: bytes, size: int) -> bytes:
    """Bytes of the size that C reads, which it cannot check."""
    if not isinstance(value, bytes):
        raise TypeError(f"{size} bytes are needed, not {type(value).__name__}")
    if len(value) != size:
        raise MisuseError(Status.MISUSE_SIZE)
    return value


_SIZE_BITS = ctypes.sizeof(ctypes.c_size_t) * 8


def size_of(value: SupportsIndex) -> int:
    """A limit or a count that C can take."""
    return bounded(value, _SIZE_BITS, Status.MISUSE_SIZE)


def moment_ns(moment: Moment) -> int:
    """Nanoseconds since 1970 of an aware datetime; an int is that already."""
    if not isinstance(moment, datetime):
        return bounded(moment, 64, Status.MISUSE_SIZE, signed=True)
    if moment.utcoffset() is None:
        raise ValueError(
            "this datetime has no time zone: use for instance datetime.now(timezone.utc)"
        )
    return bounded((moment - _EPOCH) // _MICROSECOND * 1000, 64, Status.MISUSE_SIZE, signed=True)


def _moment(nanoseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)


def moment_of(nanoseconds: Optional[int]) -> Optional[datetime]:
    """The datetime in UTC, cut to microseconds."""
    return None if nanoseconds is None else _moment(nanoseconds)


def duration_ns(duration: Duration) -> int:
    """Nanoseconds of a timedelta or of a number of seconds."""
    if isinstance(duration, timedelta):
        number: float = duration // _MICROSECOND * 1000
    elif isinstance(duration, float):
        number = duration * 1e9
    else:
        number = operator.index(duration) * 1_000_000_000
    if not 0 <= number < 1 << 63:  # not a number is neither
        raise MisuseError(Status.MISUSE_TIME)
    return round(number)


V = TypeVar("V")


def frozen(kind: Type[V], fields: Dict[str, Any]) -> V:
    """A frozen dataclass of all its fields; its own `__init__` takes a call for each."""
    value = kind.__new__(kind)
    object.__setattr__(value, "__dict__", fields)
    return value


def ever(nanoseconds: int) -> Optional[int]:
    """None instead of PAWL_NEVER."""
    return None if nanoseconds == _abi.PAWL_NEVER else nanoseconds


# ---------------------------------------------------------------- keys


class KeyKind(Code):
    """What a slot is opened with."""

    RAW = 1
    PASSPHRASE = 2
    RECOVERY = 3


@dataclass(frozen=True, eq=False)
class RawKey:
    """32 bytes that are hard to guess. A `bytearray` can be wiped after use; `bytes` cannot."""

    secret: Buffer = field(repr=False)

    @classmethod
    def generate(cls) -> RawKey:
        """Draws a key from the operating system's random numbers."""
        return cls(secrets.token_bytes(32))


@dataclass(frozen=True, eq=False)
class Passphrase:
    """1-1024 bytes (a `str` counts as its UTF-8, not normalised), hashed with Argon2id.

    `memory` in bytes (64 MiB to 1 GiB, default 256 MiB) and `passes` (3 to 10, default 3) count
    when a slot is written. Opening takes what the slot says.
    """

    secret: Union[str, Buffer] = field(repr=False)
    memory: Optional[int] = None
    passes: Optional[int] = None


@dataclass(frozen=True, eq=False)
class RecoveryKey:
    """A key to write down. Case, spaces and hyphens do not matter when it is typed back."""

    text: str = field(repr=False)

    @classmethod
    def generate(cls, *, backup: bool = False) -> RecoveryKey:
        """Draws a recovery key: for a store, or with `backup` for a backup."""
        kind = _abi.PAWL_RECOVERY_BACKUP if backup else _abi.PAWL_RECOVERY_STORE
        generate = _abi.library.pawl_recovery_key_generate
        return cls(recovery_text(lambda *room: check(generate(kind, *room))))

    def wrap(self, key: Key) -> bytes:
        """Seals a backup's recovery key for another one, which may be a passphrase.

        So whoever wants that can keep it on a server; who has the result can try passphrases.
        MisuseError: `MISUSE_RECOVERY`, `MISUSE_RECOVERY_PREFIX`, `MISUSE_HASHING`.
        """
        out = ctypes.create_string_buffer(_abi.PAWL_RECOVERY_WRAPPED_SIZE_MAX)
        size = ctypes.c_size_t()
        text = _abi.counted(self.text)
        with key_struct(key) as borrowed:
            wrap = _abi.library.pawl_recovery_wrap
            check(wrap(*text, borrowed, out, len(out), size))
        return out.raw[: size.value]

    @classmethod
    def unwrap(cls, wrapped: Buffer, key: Key) -> RecoveryKey:
        """The recovery key that `wrap` sealed. AuthError: for another key. CorruptError."""
        unwrap = _abi.library.pawl_recovery_unwrap
        with _abi.Borrowed(wrapped) as data, key_struct(key) as borrowed:
            return cls(recovery_text(lambda *room: check(unwrap(*data, borrowed, *room))))


def recovery_text(write: Callable[[Any, int, Any], object]) -> str:
    """What `write` writes into room for a recovery key, which is wiped."""
    out = ctypes.create_string_buffer(_abi.PAWL_RECOVERY_SIZE_MAX)
    size = ctypes.c_size_t()
    try:
        write(out, len(out), size)
        return out.raw[: size.value].decode()
    finally:
        ctypes.memset(out, 0, len(out))


Key = Union[RawKey, Passphrase, RecoveryKey]


def check(status: int) -> None:
    """Raises what a status stands for."""
    if status:
        raise error_of(status)


@contextmanager
def key_struct(key: Key) -> Iterator[_abi.Key]:
    """A key as C takes it, for the length of one call."""
    memory = passes = 0
    if isinstance(key, Passphrase):
        kind = KeyKind.PASSPHRASE
        secret: object = _abi.utf8(key.secret) if isinstance(key.secret, str) else key.secret
        memory = bounded(key.memory or 0, 64, Status.MISUSE_HASHING)
        passes = bounded(key.passes or 0, 32, Status.MISUSE_HASHING)
    elif isinstance(key, RecoveryKey):
        kind, secret = KeyKind.RECOVERY, _abi.utf8(key.text)
    elif isinstance(key, RawKey):
        kind, secret = KeyKind.RAW, key.secret
    else:
        raise TypeError("key must be a pawl.RawKey, pawl.Passphrase or pawl.RecoveryKey")
    with _abi.Borrowed(secret) as (address, size):
        yield _abi.Key(
            kind=kind, secret=address, secret_size=size, memory_size=memory, passes=passes
        )


# ---------------------------------------------------------------- credentials


@dataclass(frozen=True)
class Scope:
    """Whose credentials: user 1-256 bytes, project 0-256 bytes of UTF-8. No scope sees another."""

    user: str
    project: str = ""

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), (self.user, self.project)  # without the struct


def scope_struct(scope: Scope) -> _abi.Scope:
    """A scope as C takes it, made once and kept with it."""
    struct: Optional[_abi.Scope] = scope.__dict__.get("_struct")
    if struct is None:
        user, user_size = _abi.counted(scope.user)
        project, project_size = _abi.counted(scope.project)
        struct = _abi.Scope(
            user=user, user_size=user_size, project=project, project_size=project_size
        )
        object.__setattr__(scope, "_struct", struct)
    return struct


@dataclass(frozen=True)
class Metadata:
    """One version of a credential, without its secret."""

    name: str
    version: int
    created_ns: int
    """When its first version was put."""
    updated_ns: int
    """When this version was put."""
    expires_ns: Optional[int]
    """None: it does not expire."""
    purge_ns: Optional[int]
    """Until when it can be restored; None: it is not deleted."""
    label: str
    provider: str
    attributes: Mapping[str, str] = field(hash=False)
    secret_size: int
    deleted: bool
    in_vault: bool

    @property
    def created(self) -> datetime:
        """`created_ns` as a datetime in UTC."""
        return _moment(self.created_ns)

    @property
    def updated(self) -> datetime:
        """`updated_ns` as a datetime in UTC."""
        return _moment(self.updated_ns)

    @property
    def expires(self) -> Optional[datetime]:
        """`expires_ns` as a datetime in UTC."""
        return moment_of(self.expires_ns)

    @property
    def purge(self) -> Optional[datetime]:
        """`purge_ns` as a datetime in UTC."""
        return moment_of(self.purge_ns)


@dataclass(frozen=True)
class Credential(Metadata):
    """One version of a credential. `secret` is a copy in a `bytes`, which Python cannot wipe."""

    secret: bytes = field(repr=False)


# ---------------------------------------------------------------- accounts


@dataclass(frozen=True)
class Identity:
    """The public side of an account, or of a peer's; peers see all of it."""

    signing_key: bytes
    """Ed25519, 32 bytes."""
    agreement_key: bytes
    """X25519, 32 bytes."""
    name: str
    """1-255 bytes of UTF-8 without NUL."""

    def safety_number(self, other: Identity) -> str:
        """What two people read to each other to know that nobody stands between them.

        12 groups of 5 digits, the same on both sides; another one as soon as a key or a name of
        either differs. Takes a few milliseconds. MisuseError: a key or a name breaks its rule.
        """
        size = _abi.PAWL_SAFETY_NUMBER_SIZE
        return self._with(other, _abi.library.pawl_safety_number, size).decode()

    def safety_code(self, other: Identity) -> bytes:
        """The same to show as a QR code: 65 bytes, to be compared whole."""
        return self._with(other, _abi.library.pawl_safety_code, _abi.PAWL_SAFETY_CODE_SIZE)

    def _with(self, other: Identity, function: Any, room: int) -> bytes:
        out = ctypes.create_string_buffer(room)
        size = ctypes.c_size_t()
        mine, theirs = identity_struct(self), identity_struct(other)
        check(function(mine, theirs, out, room, size))
        return out.raw[: size.value]


def identity_struct(identity: Identity) -> _abi.Identity:
    """An identity as C takes it."""
    size = _abi.PAWL_IDENTITY_KEY_SIZE
    array = ctypes.c_uint8 * size
    name, name_size = _abi.counted(identity.name)
    return _abi.Identity(
        signing_key=array(*sized(identity.signing_key, size)),
        agreement_key=array(*sized(identity.agreement_key, size)),
        name=name,
        name_size=name_size,
    )


@dataclass(frozen=True)
class Account:
    """An identity in a store. Its secret keys never leave it."""

    id: bytes
    """16 bytes, random."""
    identity: Identity
    created_ns: int

    @property
    def created(self) -> datetime:
        """`created_ns` as a datetime in UTC."""
        return _moment(self.created_ns)


# ---------------------------------------------------------------- key packages and peers


class Suite(Code):
    """The key agreement of a session."""

    X25519 = 1
    XWING = 2
    """With X-Wing, where libsodium has it (1.0.22)."""


class PackageState(Code):
    """Where a package is on its way."""

    OWN = 0
    """`create_package` made it; `delete_package` is the host's."""
    STAGED = 1
    """Drawn, and not answered for yet."""
    CURRENT = 2
    """Published."""
    SUPERSEDED = 3
    """Replaced; kept until `remove_ns`."""


@dataclass(frozen=True)
class Package:
    """A signed key package. Initiators take its `data`, then that of one of its one-time keys."""

    id: bytes
    """16 bytes."""
    one_time_count: int
    """How many of its one-time keys were not used yet."""
    not_before_ns: int
    not_after_ns: int
    data: bytes
    """What a server may give to anybody."""
    state: PackageState
    remove_ns: Optional[int]
    """When a superseded one is erased."""

    @property
    def not_before(self) -> datetime:
        """`not_before_ns` as a datetime in UTC."""
        return _moment(self.not_before_ns)

    @property
    def not_after(self) -> datetime:
        """`not_after_ns` as a datetime in UTC."""
        return _moment(self.not_after_ns)

    @property
    def remove(self) -> Optional[datetime]:
        """`remove_ns` as a datetime in UTC."""
        return moment_of(self.remove_ns)


@dataclass(frozen=True)
class OneTimeKey:
    """A one-time key of a package. A server gives each to one initiator."""

    package: bytes
    """The id of its package."""
    key_id: int
    data: bytes


@dataclass(frozen=True)
class RotationOptions:
    """How an account's packages come and go; times in seconds or as timedelta."""

    rotate: Duration = timedelta(days=30)
    """Less than `lifetime`; the first package's is up to a fifth shorter, at random."""
    lifetime: Duration = timedelta(days=90)
    """A minute to 90 days."""
    keep: Duration = timedelta(days=14)
    """From the answer for the next package; never past the end by more than an hour."""
    welcome_delay: Duration = timedelta(seconds=5)
    """A welcome without a one-time key rotates after it, at most an hour, ..."""
    welcome_pause: Duration = timedelta(hours=1)
    """... but this after the last rotation for that reason at the earliest."""
    readback: Duration = timedelta(days=7)
    """How often the host is asked what the server serves; at least a minute."""
    one_time_keys: int = 100
    """With the server, at most 500; 0: none."""
    one_time_floor: int = 20
    """The server gets more keys when it has fewer; 0: when it has none."""


@dataclass(frozen=True)
class Rotation:
    """What is planned for an account's packages."""

    rotate_ns: int
    """When the current package is due to be replaced."""
    readback_ns: int
    """When the host is asked next, unless it is being asked."""
    one_time_count: int
    """One-time keys with the server, as far as known."""
    superseded: int
    """Packages that wait to be erased."""

    @property
    def rotate(self) -> datetime:
        """`rotate_ns` as a datetime in UTC."""
        return _moment(self.rotate_ns)

    @property
    def readback(self) -> datetime:
        """`readback_ns` as a datetime in UTC."""
        return _moment(self.readback_ns)


class Trust(Code):
    """What is thought of a peer's identity."""

    UNVERIFIED = 0
    """Whatever keys its name shows are taken, and a change is told."""
    VERIFIED = 1
    """The user compared safety numbers: other keys must be accepted first."""


@dataclass(frozen=True)
class Peer:
    """Somebody an account has, had or expects a session with, known by name."""

    identity: Identity
    trust: Trust
    suite: Suite
    """The strongest seen; a weaker one is refused."""
    new_identity: Optional[Identity]
    """Other keys that were seen and wait to be accepted, with `trust_peer`."""
    session: Optional[bytes]
    """The id of the one to send in."""
    changed_ns: int
    """When its keys were first seen, or changed last."""

    @property
    def changed(self) -> datetime:
        """`changed_ns` as a datetime in UTC."""
        return _moment(self.changed_ns)


# ---------------------------------------------------------------- sessions and messages


@dataclass(frozen=True)
class RekeyLimits:
    """By what an epoch of a session is over; 0: not by that."""

    messages: int = 0
    """That this side has sent."""
    bytes: int = 0
    """That this side has sent; those of `encrypt` are counted with the next reservation."""
    interval: Duration = 0
    """Since it began, in seconds or as a timedelta: a job of the schedule."""
    perfect: bool = False
    """Each message leaves under an epoch that began after the one before it was sent."""
    queue: int = 0
    """Messages that may wait for an epoch then, at most 4096; 0: 64."""


@dataclass(frozen=True)
class Session:
    """One side of two accounts' shared ratchet."""

    id: bytes
    """16 bytes. The sides of a session differ in the last bit, 0 on the initiator's."""
    account: bytes
    """The id of the account on this side."""
    peer: Identity
    suite: Suite
    epoch: int
    sent: int
    """The next index to be reserved in this epoch."""
    received: int
    """The next index expected in this epoch."""
    skipped: int
    """Keys kept for messages that are late."""
    target: Optional[int]
    """The epoch that a rekey under way leads to. None: none is."""
    queued: int
    """Messages that wait for an epoch."""
    limits: RekeyLimits
    """What `set_limits` has set, the interval in seconds."""
    initiator: bool
    """This side started it."""
    confirmed: bool
    """Both sides are known to have it."""
    receive_only: bool
    """Another one has taken its place."""
    desynchronized: bool
    """It was reported, and waits for `reset_session`."""
    created_ns: int
    ends_ns: Optional[int]
    """When it is erased, being receive-only or unconfirmed. None: it is not."""

    @property
    def created(self) -> datetime:
        """`created_ns` as a datetime in UTC."""
        return _moment(self.created_ns)

    @property
    def ends(self) -> Optional[datetime]:
        """`ends_ns` as a datetime in UTC."""
        return moment_of(self.ends_ns)


@dataclass(frozen=True)
class Received:
    """A frame that was decrypted. `plaintext` is a copy in a `bytes`, which Python cannot wipe."""

    plaintext: Optional[bytes] = field(repr=False)
    """None: it carried no message, not even one of 0 bytes."""
    session: bytes
    epoch: int
    index: int
    again: bool
    """It was kept from an earlier time."""
    new_session: bool
    """It set the session up."""
    unaccepted: bool
    """It is from new keys of a verified peer, which were not accepted yet."""


@dataclass(frozen=True)
class Kept:
    """A message that was received with `keep` and not forgotten yet."""

    session: bytes
    epoch: int
    index: int
    plaintext: bytes = field(repr=False)


@dataclass(frozen=True)
class History:
    """What an account keeps of one direction of an epoch, so that its messages open again."""

    session: bytes
    epoch: int
    sent: bool
    """By the account, and not by the peer."""
    first: int
    """The first index that opens."""
    end: Optional[int]
    """The index behind the last one; None: not known yet."""
    closed: bool
    """Its epoch is over for both sides, or its session is here: its key forges no more than what is
    still on its way. Until then it forges whatever follows."""
    imported: bool
    """It came from a backup."""
    created_ns: int
    """When the epoch began here."""
    peer: Identity


@dataclass(frozen=True)
class HistoryMessage:
    """A stored frame, opened by history. That says who wrote it, not that it was ever received."""

    plaintext: Optional[bytes] = field(repr=False)
    """None: it carried no message, not even one of 0 bytes."""
    session: bytes
    epoch: int
    index: int
    sent: bool
    """By the account, and not by the peer."""
    peer: Identity


# ---------------------------------------------------------------- backups


class BackupPhase(Code):
    """What a backup waits for."""

    IDLE = 0
    CHECKING = 1
    """The server is asked for its version."""
    ESCROWING = 2
    """The recovery key is being put away."""
    CREATING = 3
    DELETING = 4
    WAITING = 5
    """Until `retry`."""


class Download(Code):
    """Whether there is something to restore from."""

    READY = 0
    OFF = 1
    UNKNOWN = 2
    """The server was not asked yet."""
    ABSENT = 3
    """It has none."""
    KEY_MISSING = 4
    """Recover, or ask another account."""
    ROLLED_BACK = 5
    """It shows an older version than one that was seen."""


class BackupRefusal(Code):
    """Why something was not done."""

    OFF = 1
    EXISTS = 2
    """There is a version already: reset, or recover its secret."""
    ENDLESS = 3
    """The server shows ever more versions to be deleted."""
    GENERATION = 4
    """There is no higher generation."""
    UNASKED = 5
    """A secret from somebody who is not verified, or that nobody asked for."""
    WRONG_KEY = 6
    """Not the secret of the version that the server has."""
    NO_BACKUP = 7
    """The server has no version that it could be of."""
    ROLLED_BACK = 8
    """Of a version older than one that was seen: see `Backup.older`."""
    TOO_MANY = 9
    """Secrets that wait, or fetches."""
    NOT_READY = 10
    """No version is active."""
    MISSING = 11
    """The item is not there; it is not asked for again for a while, which grows."""


class BackupFinding(Code):
    """What is wrong with what a server shows. While another account uploads, one of it can mean
    that only."""

    ROLLED_BACK = 1
    """A writer's manifest is older than one that is known."""
    FORKED = 2
    """There are two of one number: a store of this writer was put back to an old copy."""
    WITHHELD = 3
    """A writer's manifest is known and not shown."""
    LISTING = 4
    """What a writer listed is not what its manifest says."""
    OMITTED = 5
    """Nothing is where a writer put an item."""
    OLDER = 6
    """Something worse is there, from an older state."""
    SWAPPED = 7
    """Something else of this writer is there."""
    INSERTED = 8
    """Its writer knows nothing of it."""
    UNLISTED = 9
    """Newer than its writer's manifest, or the manifest is withheld."""
    UNDECRYPTABLE = 10
    """Not sealed for its place with this secret."""
    MALFORMED = 11


@dataclass(frozen=True)
class BackupVersion:
    """Which version of a backup."""

    generation: int
    """Each version's is higher than those before."""
    hash: bytes
    """32 bytes, over all that makes the version."""


@dataclass(frozen=True)
class Backup:
    """The state of an account's backup."""

    on: bool
    """It is wanted, whatever fails."""
    uploading: bool
    restoring: bool
    stopped: bool
    """So is the restore: `restore_backup` goes on with it."""
    older: bool
    """The server shows a version older than one that was seen: `restore_backup` can take it with
    `accept_older`."""
    server_known: bool
    """The server was asked; it has no version if `server` is None."""
    revision: int
    """One higher with each change, but of what waits to be uploaded."""
    phase: BackupPhase
    download: Download
    active: Optional[BackupVersion]
    """What is uploaded to and restored from. None: none is."""
    server: Optional[BackupVersion]
    """The one that the server has, as its last answer has it."""
    key: Optional[BackupVersion]
    """The one whose secret is here."""
    server_items: int
    """Entries that the server says it has."""
    pending: int
    """Changes that are to be uploaded."""
    acknowledged: int
    """Changes that are uploaded."""
    retry_ns: Optional[int]
    """When what failed is tried again."""
    imported: int
    """Of a restore, so far: what was not here."""
    known: int
    """What was here, and as good."""
    improved: int
    """What was here, and not as good."""
    undecryptable: int
    """What was not sealed for its place with this secret."""
    malformed: int
    """What is none of Pawl's, or of a newer one."""
    foreign: int
    """Credentials of scopes that this account does not include; they are left out."""
    findings: int
    """With `Event.BACKUP_RESTORED` only: how many; the first 16 come as events."""
    writers: int
    """The same: accounts that wrote."""
    as_of_ns: Optional[int]
    """The same: when the newest of them did. None: none says."""

    @property
    def retry(self) -> Optional[datetime]:
        """`retry_ns` as a datetime in UTC."""
        return moment_of(self.retry_ns)

    @property
    def as_of(self) -> Optional[datetime]:
        """`as_of_ns` as a datetime in UTC."""
        return moment_of(self.as_of_ns)


@dataclass(frozen=True)
class BackupEntry:
    """What a server has at a place.

    Of two at one place it keeps the one whose (first, order) is lower, and of two that are alike in
    that the one that is there.
    """

    place: bytes
    """16 bytes."""
    data: bytes = field(repr=False)
    first: int = 0
    """Below 2^31, as the other. Both may be 0 in a reply."""
    order: int = 0


@dataclass(frozen=True)
class BackupRequest:
    """What a server is asked for."""

    what: Request
    version: str
    """The server's own number of the version, as it was answered; empty: it is about none."""
    body: bytes = field(repr=False)
    """BACKUP_CREATE: the version's bytes; BACKUP_ESCROW: a recovery key as text; BACKUP_PAGE: the
    cursor that the last page's reply gave, empty: the first page; else empty."""
    entries: Tuple[BackupEntry, ...] = field(repr=False)
    """BACKUP_PUT."""
    place: Optional[bytes]
    """BACKUP_ITEM: 16 bytes."""


class BackupResult(Code):
    """How a request ended."""

    DONE = 0
    WRONG_VERSION = 1
    """The version is there, and not the current one any more."""
    NO_VERSION = 2
    """There is no such version; to BACKUP_VERSION: there is none at all."""
    NO_ITEM = 3
    """Nothing is at this place of the version."""
    RATE_LIMITED = 4
    """Later: `until_ns`, or None if the server does not say."""
    FAILED = 5
    """Anything else: it is tried again later."""


@dataclass(frozen=True)
class BackupReply:
    """What a server answered."""

    result: BackupResult = BackupResult.DONE
    until_ns: Optional[int] = None
    count: int = 0
    """BACKUP_VERSION, BACKUP_PUT: entries that the server has in the version."""
    version: str = ""
    """BACKUP_VERSION, BACKUP_CREATE: the server's number of it, 1-64 bytes of UTF-8 without NUL."""
    body: bytes = field(default=b"", repr=False)
    """BACKUP_VERSION: the bytes that it was made of. BACKUP_PAGE: the next page's cursor, at most 64
    bytes, empty: this was the last one."""
    entries: Tuple[BackupEntry, ...] = field(default=(), repr=False)
    """BACKUP_PAGE, BACKUP_ITEM: at most 10000."""
    detail: str = ""
    """Why it was not done, in words that are a transport's own. Pawl does not read it."""


# ---------------------------------------------------------------- the outbox


class ItemKind(Code):
    """What is to be done about an item."""

    FRAME = 1
    """Deliver `body` to `peer`, then `ack`."""
    REQUEST = 2
    """Do what `request` says, then `answer`."""
    EVENT = 3
    """Note what `event` says, then `ack`."""


class Event(Code):
    """Something that is true now."""

    IDENTITY_CHANGED = 1
    """This peer has other keys than before: show it to the user."""
    LOST = 2
    """`count` messages of this session will never be readable."""
    DESYNCHRONIZED = 3
    """Fetch a key package of this peer and call `reset_session`."""
    SETUP_EXPIRED = 4
    """Nobody answered this session's set-up; a request asks for a new package."""
    SESSION_ENDED = 5
    """A session that was receive-only, or never confirmed, is erased."""
    EPOCH = 6
    """`count` is the epoch that counts: one that `rekey` promised, or later."""
    STALLED = 7
    """The peer did not answer a rekey `count` times; it goes on being asked."""
    SESSION_CLOSED = 8
    """The peer has closed this session; it is receive-only."""
    UNSENT = 9
    """The message with ticket `count` will not be sent: its session is over."""
    PUBLICATION = 10
    """The server does not serve what it should; `count` is a `Publication`."""
    DEAD_LETTER = 11
    """A job failed so often that it is not tried any more; `count` is its `JobKind`. See `jobs`."""
    BACKUP_STATUS = 12
    """The state of a backup is another one: `backup`, as in those that follow but FINDING."""
    BACKUP_KEY_CACHED = 13
    """The secret of the active version is here, and its key can be had."""
    BACKUP_REFUSED = 14
    """Something was not done; `count` is a `BackupRefusal`."""
    BACKUP_RESTORING = 15
    """A page was restored."""
    BACKUP_RESTORED = 16
    """All was restored; the `findings` came before it."""
    BACKUP_FINDING = 17
    """Something is wrong with what the server shows; `count` is a `BackupFinding`."""


class Publication(Code):
    """What was found instead of the current package; another is published as soon as may be."""

    ABSENT = 1
    """The server has none."""
    EXPIRED = 2
    """Its time is over, and nobody answered for the next one."""
    SUPERSEDED = 3
    """One of this account that is no longer published."""
    UNKNOWN = 4
    """One of this identity that is not stored here."""
    FOREIGN = 5
    """One of another identity: somebody may stand between."""
    UNREADABLE = 6
    """No package, or one that nobody signed."""


class Request(Code):
    """Something to fetch or publish. But for PACKAGE, `peer` is the account itself.

    Those from BACKUP_VERSION on have a `backup_request`, and `answer_backup` answers them: see
    `pawl.backup.serve`.
    """

    PACKAGE = 1
    """Fetch a key package of `peer`; answer with its bytes."""
    PUBLISH = 2
    """Have the server serve `packages` in place of what it has; answer with nothing."""
    PUBLISH_KEYS = 3
    """Give the server `packages`, more one-time keys of what it serves; answer with nothing."""
    READ_BACK = 4
    """Fetch the account's own package as an initiator would; answer with its bytes or none."""
    BACKUP_VERSION = 5
    """Which version is the server's current one?"""
    BACKUP_ESCROW = 6
    """Put the recovery key in `body` away."""
    BACKUP_CREATE = 7
    """Make a version of `body`, which is the current one from then on."""
    BACKUP_DELETE = 8
    """Delete a version and all that is in it."""
    BACKUP_PUT = 9
    """Store `entries` in a version."""
    BACKUP_PAGE = 10
    """Fetch so many entries of a version as you like, from the cursor in `body` on."""
    BACKUP_ITEM = 11
    """Fetch the entry at `place`."""
    BACKUP_SECRET = 12
    """Ask the user's other accounts for the secret, naming `count`; then `ack`. What one of them
    sends over a session is for `receive_backup_secret`."""


@dataclass(frozen=True)
class Item:
    """What leaves the library, handed out at least once."""

    kind: ItemKind
    event: Optional[Event]
    """None unless `kind` is EVENT."""
    request: Optional[Request]
    """None unless `kind` is REQUEST."""
    seq: int
    """Increasing; what `ack`, `fail` and `answer` take."""
    attempts: int
    """How often it was handed out before."""
    count: int
    """As its event says; of a request to publish its one-time keys; of a frame the ticket of its
    message, if that had to wait; else 0."""
    account: bytes
    """The id of the account it is about; zeros: the store itself."""
    session: Optional[bytes]
    """The id of the session it is about."""
    peer: Identity
    body: bytes = field(repr=False)
    """The frame; of a backup's finding the place, or the writer, that it is about; else empty."""
    packages: Tuple[Union[Package, OneTimeKey], ...] = field(repr=False)
    """Of a request to publish: the package, unless it is there already, then its one-time keys."""
    backup: Optional[Backup]
    """Of a backup's event, but a finding: the state as it was committed together with it."""
    backup_request: Optional[BackupRequest] = field(repr=False)
    """Of a backup's request."""
    created_ns: int
    lease_ns: int
    """When it may be handed out to somebody else."""

    @property
    def created(self) -> datetime:
        """`created_ns` as a datetime in UTC."""
        return _moment(self.created_ns)

    @property
    def lease(self) -> datetime:
        """`lease_ns` as a datetime in UTC."""
        return _moment(self.lease_ns)


# ---------------------------------------------------------------- the schedule


class JobKind(Code):
    """What is to be done later."""

    CREDENTIAL_PURGE = 1
    """Remove an expired credential or a deleted version."""
    CHECKPOINT = 2
    """Bring what was erased out of the log."""
    SETUP_DEADLINE = 3
    """Nobody answered a session's set-up."""
    LATE_KEYS = 4
    """Erase keys of messages that are late."""
    SESSION_END = 5
    """Erase a receive-only or unconfirmed session."""
    REKEY_RETRY = 6
    """Say again what was not answered."""
    EPOCH_END = 7
    """Rekey a session by time."""
    TOMBSTONE = 8
    """Forget a closed session."""
    ROTATE_PACKAGE = 9
    """Replace an account's key package."""
    DELETE_PACKAGE = 10
    """Erase the private half of a superseded key package."""
    REPLENISH = 11
    """Make one-time keys."""
    VERIFY_PUBLICATION = 12
    """Ask what the server really serves."""
    ORPHAN_RETRY = 13
    """Remove a value that the vault kept when it was to go."""
    BACKUP = 14
    """Go on with an account's backup."""


@dataclass(frozen=True)
class Job:
    """Something that Pawl has to do later."""

    kind: JobKind
    subject: bytes
    """What it is about, mostly the id of a session or an account: 16 bytes."""
    due_ns: Optional[int]
    """Of a dead letter: since when it is one. None: its record is damaged."""
    attempts: int
    """That failed."""
    last_status: Status
    """Why the last one did, the primary code alone; OK: none did."""
    dead: bool
    """It is not tried any more."""

    @property
    def due(self) -> Optional[datetime]:
        """`due_ns` as a datetime in UTC."""
        return moment_of(self.due_ns)


# ---------------------------------------------------------------- the trace


class StepEvent(Code):
    """What happened to the rekeying of a session."""

    OFFERED = 1
    """This side asks for an epoch."""
    ANSWERED = 2
    """It answers the peer's offer."""
    LEADS = 3
    """Both have offered; this side's counts."""
    YIELDS = 4
    """Both have offered; the peer's counts, and is answered."""
    REPEATED = 5
    """It says again what the peer has not seen."""
    COMMITTED = 6
    """The epoch counts."""
    REFUSED = 7
    """Too many offers: come again later."""
    POSTPONED = 8
    """The peer asks to come again later."""
    STALE = 9
    """The peer speaks of an epoch that is over."""
    RETRIED = 10
    """Nothing came back in time: the same again."""
    CLOSED = 11
    """The peer has closed the session."""


class Constructor(Code):
    """What became of the key pair behind this side's offer."""

    NONE = 0
    CREATED = 1
    USED = 2
    WIPED = 3


@dataclass(frozen=True)
class Step:
    """A transition of a session's rekeying. No secret is in it."""

    event: StepEvent
    session: bytes
    """The id of this side of the session."""
    offer: bytes
    """Which exchange: 16 bytes, the same on both sides."""
    before: int
    """The epoch before."""
    after: int
    """The epoch after."""
    target: int
    """The epoch that it is about."""
    constructor: Constructor


# ---------------------------------------------------------------- the store itself


@dataclass(frozen=True)
class Slot:
    """One of at most 16 keys that open the store."""

    number: int
    """0-15."""
    kind: KeyKind
    passes: int
    """Of Argon2id; 0 unless a passphrase."""
    memory: int
    """Of Argon2id, in bytes; 0 unless a passphrase."""
    created_ns: int

    @property
    def created(self) -> datetime:
        """`created_ns` as a datetime in UTC."""
        return _moment(self.created_ns)


@dataclass(frozen=True)
class Stats:
    """Counters since the store was opened; a batch reports its own."""

    memory_locked: bool
    """Whether key memory is locked against swapping."""
    transactions: int
    commits: int
    reads: int
    scanned: int
    writes: int
    vault_calls: int


@dataclass(frozen=True)
class ArchiveReport:
    """What becomes of an archive's credentials."""

    credentials: int
    """In the archive."""
    imported: int
    """There was none of the name."""
    improved: int
    """The one that was here had been updated earlier, and was replaced."""
    kept: int
    """The one that was here had been updated as late, or later."""
    expired: int
    """Over before they were imported."""
    unreadable: int
    """Damaged here and left out, or in the archive and of a newer version."""


@dataclass(frozen=True)
class Damage:
    """A record that cannot be read."""

    status: int
    key: bytes
    """The record's key in the storage engine."""

    @property
    def error(self) -> PawlError:
        """What reading the record raises."""
        return error_of(self.status)


class OrphanKind(Code):
    """What an unfinished vault write left."""

    INTENT = 1
    RECORDED = 2
    UNATTRIBUTED = 3


class OrphanOutcome(Code):
    """What `reconcile` did about it."""

    NONE = 0
    WAITING = 1
    WOULD_REMOVE = 2
    REMOVED = 3
    FAILED = 4


@dataclass(frozen=True)
class Orphan:
    """A value in the vault that no credential points to, or does not point to yet."""

    kind: OrphanKind
    outcome: OrphanOutcome
    attempts: int
    """To remove it."""
    vault_id: bytes
    """16 bytes."""
    version: int
    recorded_ns: int
    lease_ns: int
    """When its writer's lease ends."""
    sighted_ns: Optional[int]
    """When `reconcile` first met it."""
    cause_set: int
    """What the vault's `set` answered; 0: nothing wrong."""
    cause_remove: int
    """What the vault's `remove` answered last."""
    user: str
    project: str
    name: str
