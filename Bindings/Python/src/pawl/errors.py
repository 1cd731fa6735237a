# SPDX-License-Identifier: Apache-2.0
"""What can go wrong: the statuses of pawl.h and one exception per primary code.

`str(error)` is one sentence that says what to do, and the status's name. Neither it nor anything
else in an error holds a secret, a name or a path.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Dict, Type, TypeVar

from ._abi import library

C = TypeVar("C", bound="Code")


class Code(IntEnum):
    """A number of the header. One that only a newer library knows is kept as it is."""

    @classmethod
    def _missing_(cls: Type[C], value: object) -> C:
        if not isinstance(value, int):
            raise ValueError(f"{value!r} is not a {cls.__name__}")
        member = int.__new__(cls, value)
        member._name_ = f"UNKNOWN_{value}"
        member._value_ = value
        return member


class Status(Code):
    """PAWL_* status codes: primaries (up to 0xFF), and details of a primary (above)."""

    OK = 0
    MISUSE = 1
    BUFFER = 2
    NOT_FOUND = 3
    EXISTS = 4
    STATE = 5
    TIME = 6
    AUTH = 7
    REPLAY = 8
    LIMIT = 9
    VERSION = 10
    CORRUPT = 11
    STORE = 12
    BUSY = 13
    CLOSED = 14
    DESYNCHRONIZED = 15
    INTERNAL = 16

    MISUSE_NULL = 0x0101
    MISUSE_SIZE = 0x0201
    MISUSE_STRUCT = 0x0301
    MISUSE_FLAGS = 0x0401
    MISUSE_NAME = 0x0501
    MISUSE_USER = 0x0601
    MISUSE_PROJECT = 0x0701
    MISUSE_LABEL = 0x0801
    MISUSE_ATTRIBUTE = 0x0901
    MISUSE_PATH = 0x0A01
    MISUSE_KEY = 0x0B01
    MISUSE_HASHING = 0x0C01
    MISUSE_RECOVERY = 0x0D01
    MISUSE_RECOVERY_PREFIX = 0x0E01
    MISUSE_ROW = 0x0F01
    MISUSE_TIME = 0x1001
    MISUSE_HANDLE = 0x1101
    MISUSE_ACCOUNT = 0x1201
    MISUSE_PACKAGE = 0x1301
    STATE_BATCH = 0x0105
    STATE_CONFLICT = 0x0205
    STATE_WITHDRAWN = 0x0305
    STATE_LAST_SLOT = 0x0405
    STATE_NO_VAULT = 0x0505
    STATE_IDENTITY = 0x0605
    STATE_RECEIVE_ONLY = 0x0705
    STATE_SUITE = 0x0805
    STATE_SELF = 0x0905
    STATE_RESERVATION = 0x0A05
    STATE_MODE = 0x0B05
    STATE_ROTATION = 0x0C05
    STATE_BACKUP = 0x0D05
    LIMIT_SECRET = 0x0109
    LIMIT_ATTRIBUTES = 0x0209
    LIMIT_SLOTS = 0x0309
    LIMIT_MEMORY = 0x0409
    LIMIT_COUNTER = 0x0509
    LIMIT_MESSAGE = 0x0609
    LIMIT_INDEX = 0x0709
    LIMIT_SESSIONS = 0x0809
    LIMIT_PACKAGES = 0x0909
    LIMIT_QUEUE = 0x0A09
    CORRUPT_KEY_LOST = 0x010B
    CORRUPT_NOT_PAWL = 0x020B
    STORE_INDETERMINATE = 0x010C
    STORE_VAULT = 0x020C
    STORE_FULL = 0x030C
    STORE_READ_ONLY = 0x040C
    STORE_CANNOT_OPEN = 0x050C
    STORE_HOST = 0x060C
    STORE_LOST = 0x070C
    BUSY_REENTERED = 0x010D
    BUSY_CHANGED = 0x020D
    BUSY_RATE = 0x030D
    BUSY_WAITING = 0x040D
    CLOSED_FORKED = 0x010E
    CLOSED_SESSION = 0x020E


class PawlError(Exception):
    """A call that did not succeed; unless its text says otherwise, it changed nothing.

    When a vault, storage or clock written in Python was the reason, `__cause__` is what it raised.
    """

    status: int
    """The whole `pawl_status`."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = int(status)

    @property
    def primary(self) -> Status:
        """The primary code, which also chose the class."""
        return Status(self.status & 0xFF)

    @property
    def reason(self) -> Status:
        """The code with its detail: `error.reason is Status.STATE_CONFLICT`."""
        return Status(self.status & 0xFFFF)

    @property
    def code(self) -> int:
        """The number that the storage engine, vault or operating system gave; 0: none."""
        return (self.status >> 16) & 0x7FFF

    @property
    def name(self) -> str:
        """The name in the header: "PAWL_STATE_CONFLICT"."""
        name: bytes = library.pawl_status_name(self.status)
        return name.decode()

    def __str__(self) -> str:
        text: bytes = library.pawl_status_text(self.status)
        code = f", code {self.code}" if self.code else ""
        return f"{text.decode()} ({self.name}{code})"


class MisuseError(PawlError):
    """An argument breaks a rule: `reason` names it."""


class BufferTooSmallError(PawlError):
    """The output does not fit."""


class NotFoundError(PawlError):
    """No such record (an expired one counts as absent)."""


class ExistsError(PawlError):
    """There is one already."""


class StateError(PawlError):
    """Not in this state: `reason` says which (a conflict, a batch, a receive-only session, ...)."""


class TimeError(PawlError):
    """A time lies on the wrong side of now."""


class AuthError(PawlError):
    """A wrong key, or a frame or package that is not from the peer. Never says which part."""


class ReplayError(PawlError):
    """This message was received before, or its session is closed."""


class LimitError(PawlError):
    """A documented limit is reached."""


class VersionError(PawlError):
    """Written by a newer Pawl; untouched."""


class CorruptError(PawlError):
    """A record is damaged or in the wrong place; the others stay readable."""


class StoreError(PawlError):
    """The storage engine or the vault failed."""


class BusyError(PawlError):
    """Try again later: another writer, too often, not in time, or from inside a callback."""


class ClosedError(PawlError):
    """The store, batch or session is closed, or the store was inherited through fork()."""


class DesynchronizedError(PawlError):
    """This state and the peer's have parted: reset the session. The report of it is recorded."""


class InternalError(PawlError):
    """A bug in Pawl: please report it."""


_CLASSES: Dict[int, Type[PawlError]] = {
    Status.MISUSE: MisuseError,
    Status.BUFFER: BufferTooSmallError,
    Status.NOT_FOUND: NotFoundError,
    Status.EXISTS: ExistsError,
    Status.STATE: StateError,
    Status.TIME: TimeError,
    Status.AUTH: AuthError,
    Status.REPLAY: ReplayError,
    Status.LIMIT: LimitError,
    Status.VERSION: VersionError,
    Status.CORRUPT: CorruptError,
    Status.STORE: StoreError,
    Status.BUSY: BusyError,
    Status.CLOSED: ClosedError,
    Status.DESYNCHRONIZED: DesynchronizedError,
    Status.INTERNAL: InternalError,
}


def error_of(status: int) -> PawlError:
    """The exception of a status that is not OK."""
    return _CLASSES.get(status & 0xFF, PawlError)(status)


class HostError(Exception):
    """Raise it in a vault or storage to choose the code that Pawl sees, 1-32767.

    From a storage, `Status.BUSY`, `STORE_FULL`, `STORE_READ_ONLY` and (from commit alone)
    `STORE_INDETERMINATE` keep their meaning; 3 from a vault's `get` or `next` means "absent". Every
    other exception arrives as code 1.
    """

    def __init__(self, code: int, *details: Any) -> None:
        if not 1 <= code <= 32767:
            raise ValueError("a host's code lies in 1-32767")
        super().__init__(code, *details)
        self.code = int(code)
