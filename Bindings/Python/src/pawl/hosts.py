# SPDX-License-Identifier: Apache-2.0
"""Clocks, vaults and storage engines written in Python.

Their methods are called on the thread that called Pawl, or on a runner's: all must be safe to call
from several threads at once. What they raise becomes a code for Pawl,
and the `__cause__` of the `PawlError` that the call then raises, if it does. An exception that is
no `Exception` (KeyboardInterrupt), or that comes from a clock or a tracer, is raised as it is when
the call returns; the call itself may have succeeded. On the thread of a runner, where no call is to
return, `sys.unraisablehook` is told of it.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
import time
from typing import Any, Callable, Dict, Iterable, List, Optional, Protocol, Tuple, TypeVar, Union

from . import _abi
from .errors import ClosedError, HostError, Status, error_of
from .values import Buffer, Constructor, Duration, Step, StepEvent, duration_ns

Clock = Callable[[], int]
"""Nanoseconds since 1970-01-01 UTC. Called while the store is locked: it must return at once."""

T = TypeVar("T")


Tracer = Callable[[Step], None]
"""Told of each step, by the thread whose call made it. It must not call the store."""


class Vault(Protocol):
    """Where secrets live instead of in the store: a keychain, an HSM, a cloud secret manager.

    Values arrive sealed, at most 16 MiB + 8 KiB, under 16-byte ids. Every method must be safe to
    repeat, and to call from several threads if several use the store; none may call the store.
    """

    def set(self, id: bytes, value: bytes) -> None:
        """Stores a value under a new id; durable when this returns."""

    def get(self, id: bytes) -> Optional[Buffer]:
        """The value, or None if there is none."""

    def remove(self, id: bytes) -> None:
        """Forgets a value; one that is not there is no error."""


class ListedVault(Vault, Protocol):
    """A vault that can be walked, so that `reconcile` also finds values nobody knows of."""

    def next(self, after: Optional[bytes]) -> Optional[bytes]:
        """The lowest id above `after` (None: the first), or None after the last."""


class Storage(Protocol[T]):
    """A storage engine: an ordered map of bytes to bytes with transactions of type T.

    Keys have 1-81 bytes and compare as unsigned bytes; values have up to 17 MiB + 128 KiB. A
    transaction sees one consistent snapshot; a writing one is the only one of its kind until it
    ends, so `begin` raises `HostError(Status.BUSY)` while there is another. Called while the store
    is locked; no method may call the store.
    """

    def begin(self, write: bool) -> T:
        """Starts a transaction."""

    def get(self, transaction: T, key: bytes) -> Optional[bytes]:
        """The value, or None."""

    def put(self, transaction: T, key: bytes, value: bytes) -> None:
        """Creates or replaces a record."""

    def remove(self, transaction: T, key: bytes) -> None:
        """Removes a record; one that is not there is no error."""

    def scan(
        self, transaction: T, start: bytes, stop: bytes, limit: int
    ) -> Iterable[Tuple[bytes, bytes]]:
        """At most `limit` records with start <= key < stop, in ascending order of keys."""

    def commit(self, transaction: T) -> None:
        """Ends the transaction. When this returns, what it wrote survives a crash."""

    def rollback(self, transaction: T) -> None:
        """Ends the transaction and forgets what it wrote."""


_OTHER = 1  # the code of an exception that did not choose one
_ANSWERS = (Status.BUSY, _abi.PAWL_VAULT_ABSENT)  # codes that are no failures


class Host:
    """The callback tables of one store, and what their functions raised, by thread."""

    def __init__(
        self,
        clock: Optional[Clock],
        vault: Optional[Union[Vault, ListedVault]],
        storage: Optional[Storage[Any]],
        vault_lease: Duration,
    ) -> None:
        self._local = threading.local()
        self._traces: List[_abi.Sized] = []
        self._now: Clock = time.time_ns if clock is None else clock
        self.clock = None if clock is None else self._clock_table(clock)
        self.vault = None if vault is None else self._vault_table(vault, vault_lease)
        self.storage = None if storage is None else self._storage_table(storage)
        self.present = (clock, vault, storage) != (None, None, None)
        """Whether C may call back, so that it is to be called through this."""

    def now(self) -> int:
        """What the store's clock says, or raises."""
        return self._now().__index__()

    def call(self, function: Callable[..., int], *arguments: Any) -> None:
        """Calls into C, then raises what its status, or a callback meanwhile, says."""
        outer = getattr(self._local, "failures", None)
        failures: Dict[Optional[int], BaseException] = {}
        self._local.failures = failures
        try:
            status = function(*arguments)
        finally:
            self._local.failures = outer
        if None in failures:
            raise failures[None]
        if status:
            error = error_of(status)
            cause = failures.get(error.code) or failures.get(error.reason)
            if cause is not None:
                raise error from cause
            raise error

    def _record(self, code: Optional[int], error: BaseException) -> None:
        # The first of a code is the one that explains; a busy loop must not collect thousands.
        failures = getattr(self._local, "failures", None)
        if failures is not None:
            failures.setdefault(code, error)
        elif not (isinstance(error, HostError) and error.code in _ANSWERS):
            _tell_of(error)

    def _failed(self, error: BaseException) -> int:
        code = error.code if isinstance(error, HostError) else _OTHER
        self._record(code if isinstance(error, Exception) else None, error)
        return code

    def _safe(self, function: Callable[..., Optional[int]]) -> Callable[..., int]:
        """A callback that answers a status whatever happens: C cannot be thrown through."""

        def call(_context: Optional[int], *arguments: Any) -> int:
            try:
                return function(*arguments) or Status.OK
            except BaseException as error:
                return self._failed(error)

        return call

    def trace_table(self, trace: Tracer) -> _abi.Trace:
        """A table that stays for as long as the store: a call under way may still use it."""

        def step(_context: Optional[int], found: Any) -> None:
            try:
                trace(_step(found[0]))
            except BaseException as error:
                self._record(None, error)

        self.present = True
        table = _abi.Trace(step=_abi.STEP(step))
        self._traces.append(table)
        return table

    def runner_table(self, items_ready: Optional[Callable[[], object]]) -> _abi.Runner:
        """The same for a runner, which calls on a thread of its own: nobody can raise there."""

        def ready(_context: Optional[int]) -> None:
            try:
                if items_ready is not None:
                    items_ready()
            except ClosedError as error:
                if error.reason is not Status.CLOSED:
                    raise  # to sys.unraisablehook, by ctypes

        table = _abi.Runner(items_ready=_abi.ITEMS_READY(ready))
        self._traces.append(table)
        return table

    def is_closing(self, ask: Callable[[], bool]) -> Any:
        """A function by which C asks in the midst of a call; what is raised there ends that too."""

        def asked(_context: Optional[int]) -> int:
            try:
                return int(ask())
            except BaseException as error:
                self._record(None, error)
                return 1

        return _abi.IS_CLOSING(asked)

    def _clock_table(self, clock: Clock) -> _abi.Clock:
        last = time.time_ns()

        def now(_context: Optional[int]) -> int:
            nonlocal last
            try:
                last = clock().__index__()
            except BaseException as error:
                self._record(None, error)
            return last  # A clock has no way to fail, and a wrong time would expire what is not.

        return _abi.Clock(now_ns=_abi.NOW(now))

    def _vault_table(self, vault: Union[Vault, ListedVault], lease: Duration) -> _abi.Vault:
        def set(id: int, value: Optional[int], size: int) -> None:
            vault.set(_id(id), _abi.copied(value, size))

        def get(id: int, out: Optional[int], out_size: int, out_len: Any) -> Optional[int]:
            value = vault.get(_id(id))
            if value is None:
                return _abi.PAWL_VAULT_ABSENT
            with _abi.Borrowed(value) as (address, size):
                out_len[0] = size
                if out and address and size <= out_size:
                    ctypes.memmove(out, address, size)
            return None

        def remove(id: int) -> None:
            vault.remove(_id(id))

        def following(after: Optional[int], out: int) -> Optional[int]:
            found = walk(_id(after) if after else None)
            if found is None:
                return _abi.PAWL_VAULT_ABSENT
            if len(found) != _abi.PAWL_VAULT_ID_SIZE:
                raise ValueError("a vault's id has 16 bytes")
            ctypes.memmove(out, found, _abi.PAWL_VAULT_ID_SIZE)
            return None

        walk: Any = getattr(vault, "next", None)
        table = _abi.Vault(
            set=_abi.VAULT_SET(self._safe(set)),
            get=_abi.VAULT_GET(self._safe(get)),
            remove=_abi.VAULT_REMOVE(self._safe(remove)),
            lease_ns=duration_ns(lease) or 1,  # C reads 0 as the default
        )
        if walk is not None:
            table.next = _abi.VAULT_NEXT(self._safe(following))
        return table

    def _storage_table(self, storage: Storage[Any]) -> _abi.Storage:
        numbers = itertools.count(1)
        open: Dict[int, Any] = {}

        def begin(mode: int, transaction: Any) -> None:
            begun = storage.begin(mode == _abi.PAWL_TRANSACTION_WRITE)
            number = next(numbers)
            open[number] = begun
            transaction[0] = number

        def get(number: int, key: int, size: int, visit: Any, visitor: int) -> Optional[int]:
            name = _abi.copied(key, size)
            value = storage.get(open[number], name)
            if value is None:
                return None
            status: int = visit(visitor, name, len(name), value, len(value))
            return status

        def put(number: int, key: int, size: int, value: int, value_size: int) -> None:
            storage.put(open[number], _abi.copied(key, size), _abi.copied(value, value_size))

        def remove(number: int, key: int, size: int) -> None:
            storage.remove(open[number], _abi.copied(key, size))

        def scan(
            number: int,
            start: int,
            start_size: int,
            stop: int,
            stop_size: int,
            limit: int,
            visit: Any,
            visitor: int,
        ) -> Optional[int]:
            first, end = _abi.copied(start, start_size), _abi.copied(stop, stop_size)
            for key, value in storage.scan(open[number], first, end, limit):
                status: int = visit(visitor, key, len(key), value, len(value))
                if status:
                    return status
            return None

        def commit(number: int) -> None:
            storage.commit(open.pop(number))

        def rollback(number: int) -> None:
            storage.rollback(open.pop(number))

        return _abi.Storage(
            begin=_abi.BEGIN(self._safe(begin)),
            get=_abi.GET(self._safe(get)),
            put=_abi.PUT(self._safe(put)),
            remove=_abi.REMOVE(self._safe(remove)),
            scan=_abi.SCAN(self._safe(scan)),
            commit=_abi.COMMIT(self._safe(commit)),
            rollback=_abi.ROLLBACK(self._safe(rollback)),
        )


def _tell_of(error: BaseException) -> None:
    """Hands it to `sys.unraisablehook`. Only C can make what that takes, so ctypes is to do it."""

    def raised_in_a_callback(_context: Optional[int]) -> None:
        raise error

    _abi.ITEMS_READY(raised_in_a_callback)(None)


def _step(found: Any) -> Step:
    return Step(
        event=StepEvent(found.event),
        session=bytes(found.session),
        offer=bytes(found.offer),
        before=getattr(found, "from"),
        after=found.to,
        target=found.target,
        constructor=Constructor(found.constructor),
    )


def _id(address: Optional[int]) -> bytes:
    return _abi.copied(address, _abi.PAWL_VAULT_ID_SIZE)
