# SPDX-License-Identifier: Apache-2.0
"""The store, batches on it, the credentials in both, and what a store does over time."""

from __future__ import annotations

import ctypes
import os
import threading
import time
import weakref
from contextlib import contextmanager
from ctypes import c_int32, c_int64, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from functools import partial
from types import TracebackType
from typing import (
    Any,
    BinaryIO,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    Optional,
    Tuple,
    Type,
    TypeVar,
    Union,
)

from . import _abi
from ._abi import copied, counted, library, text, utf8
from ._backup import Backups
from ._handle import Handle, filled, row, rows
from .accounts import Accounts, item_row
from .errors import BusyError, ClosedError, Status, StoreError
from .hosts import Clock, Host, ListedVault, Storage, Tracer, Vault
from .values import (
    KEEP,
    ArchiveReport,
    Buffer,
    Credential,
    Damage,
    Duration,
    Item,
    Job,
    JobKind,
    Keep,
    Key,
    KeyKind,
    Metadata,
    Moment,
    Orphan,
    OrphanKind,
    OrphanOutcome,
    Scope,
    Slot,
    Stats,
    bounded,
    duration_ns,
    ever,
    frozen,
    key_struct,
    moment_ns,
    size_of,
    sized,
)
from .values import (
    scope_struct as _scope,
)

_CHUNK = 64 << 10

Path = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
S = TypeVar("S", bound="Store")
M = TypeVar("M", bound=Metadata)


class Credentials:
    """What a store and a batch have in common.

    Every method may raise `StoreError`, `BusyError`, `ClosedError`, `CorruptError`, `VersionError`
    and, for an argument that breaks a rule, `MisuseError`; the others are named. Names have 1-256
    bytes of UTF-8 without NUL, secrets 0 bytes to 16 MiB.
    """

    _handle: Handle

    # ------------------------------------------------------------ one credential

    def put(
        self,
        scope: Scope,
        name: str,
        secret: Buffer,
        *,
        create_only: bool = False,
        if_version: Optional[int] = None,
        expires: Union[Moment, Keep, None] = KEEP,
        label: Union[str, Keep, None] = KEEP,
        provider: Union[str, Keep, None] = KEEP,
        attributes: Union[Mapping[str, str], Keep, None] = KEEP,
    ) -> int:
        """Creates or replaces a secret and returns its version; durable when it returns.

        The version is greater than every version committed here before, of any name. What is
        KEEP stays as it is; None clears it. `expires` is an aware datetime or nanoseconds since
        1970; `label` and `provider` have up to 256 bytes; there are up to 64 `attributes`, keys of
        1-128 and values of up to 512 bytes.

        With `create_only`: ExistsError if there is one. With `if_version`: StateError
        (`STATE_CONFLICT`) unless that is the current version, NotFoundError if there is none.
        StateError (`STATE_WITHDRAWN`): a `delete_all` overtook this put. TimeError: `expires` is
        not in the future. LimitError: the secret or the attributes are too many.
        """
        options, keeps = None, expires is label is provider is attributes is KEEP
        if create_only or if_version is not None or not keeps:
            options = _put_options(create_only, if_version, expires, label, provider, attributes)
        version = c_uint64()
        with _abi.Borrowed(secret) as (address, size):
            self._handle.call(
                library.pawl_credential_put,
                _scope(scope),
                *counted(name),
                address,
                size,
                options,
                version,
            )
        return version.value

    def get(self, scope: Scope, name: str) -> Credential:
        """Secret and metadata of the same version.

        NotFoundError. StateError (`STATE_NO_VAULT`). CorruptError (`CORRUPT_KEY_LOST`): the record
        is there and its secret is gone.
        """
        get = library.pawl_credential_get
        return row(self._handle, _credential, get, _scope(scope), *counted(name))

    def metadata(self, scope: Scope, name: str) -> Metadata:
        """The same without the secret; a vault is not asked. NotFoundError."""
        get = library.pawl_credential_metadata
        return row(self._handle, _metadata, get, _scope(scope), *counted(name))

    def has(self, scope: Scope, name: str) -> bool:
        """Whether there is one that has not expired."""
        has = c_int32()
        self._handle.call(library.pawl_credential_has, _scope(scope), *counted(name), has)
        return bool(has.value)

    def delete(self, scope: Scope, name: str, *, recovery: Duration = 0) -> None:
        """Deletes a credential; it can be restored for `recovery` (seconds or timedelta).

        NotFoundError.
        """
        self._handle.call(
            library.pawl_credential_delete, _scope(scope), *counted(name), duration_ns(recovery)
        )

    def restore(self, scope: Scope, name: str, version: Optional[int] = None) -> None:
        """Brings a deleted version back, by default the newest.

        ExistsError: there is a current one. NotFoundError: none to restore, or its time is over.
        """
        self._handle.call(
            library.pawl_credential_restore,
            _scope(scope),
            *counted(name),
            bounded(version or 0, 64, Status.MISUSE_SIZE),
        )

    def deleted(self, scope: Scope, name: str) -> List[Metadata]:
        """The deleted versions of a name that can be restored, oldest first."""
        return rows(
            self._handle, _metadata, library.pawl_credential_deleted, _scope(scope), *counted(name)
        )

    # ------------------------------------------------------------ a scope

    def list(self, scope: Scope, after: str = "", limit: int = 1000) -> List[Metadata]:
        """One page: at most `limit` (1-10000) of a scope, after the one named `after`.

        The order is stable and means nothing. Fewer than `limit` are the last page.
        """
        return rows(
            self._handle,
            _metadata,
            library.pawl_credential_list,
            _scope(scope),
            *counted(after),
            size_of(limit),
        )

    def iterate(self, scope: Scope, page: int = 1000) -> Iterator[Metadata]:
        """All of a scope, read `page` at a time; each page is a snapshot of its own."""
        after = ""
        while True:
            found = self.list(scope, after, page)
            yield from found
            if len(found) < page:
                return
            after = found[-1].name

    def delete_all(self, scope: Scope, *, all_projects: bool = False) -> int:
        """Deletes all of a scope at once and returns how many current ones there were.

        Deleted versions and puts in flight are included. With `all_projects` every project of the
        user, and the scope's own project must be empty.
        """
        count = c_uint64()
        flags = _abi.PAWL_DELETE_ALL_PROJECTS if all_projects else 0
        self._handle.call(library.pawl_credential_delete_all, _scope(scope), flags, count)
        return count.value

    # ------------------------------------------------------------ looking inside

    def orphans(self, after: Optional[bytes] = None, limit: int = 1000) -> List[Orphan]:
        """Unfinished vault writes: at most `limit` (1-10000), after the one with id `after`."""
        return rows(
            self._handle,
            _orphan,
            library.pawl_credential_orphans,
            None if after is None else sized(after, _abi.PAWL_VAULT_ID_SIZE),
            size_of(limit),
        )

    def verify(self) -> List[Damage]:
        """Reads and authenticates every record and returns those that are damaged."""
        return rows(self._handle, _damage, library.pawl_store_verify)

    def stats(self) -> Stats:
        """Counters since this was opened."""
        stats = _abi.Stats()
        self._handle.call(library.pawl_store_stats, stats)
        return Stats(
            memory_locked=bool(stats.memory_locked),
            transactions=stats.transactions,
            commits=stats.commits,
            reads=stats.reads,
            scanned=stats.scanned,
            writes=stats.writes,
            vault_calls=stats.vault_calls,
        )

    @property
    def closed(self) -> bool:
        """Whether this was closed here. (A forked child's copy answers ClosedError anyway.)"""
        return self._handle.closed


class Batch(Credentials, Accounts, Backups):
    """One write transaction, made by `Store.batch()`; used by one thread at a time.

    Others see what it wrote after the commit, all at once. A call that raises changed nothing, and
    the batch goes on. Nothing that needs a host's vault works inside: StateError (`STATE_BATCH`).
    """

    def __init__(self, handle: Handle, store: Store) -> None:
        self._handle = handle
        self._store = store  # keeps it open


class Store(Credentials, Accounts, Backups):
    """A sealed database, usable from any number of threads and processes at once.

    `with` closes it, and so does the end of its life. After fork() the child's copy answers
    ClosedError to everything: open the file again there.
    """

    def __init__(self, handle: Handle) -> None:
        """Use `Store.open` or `Store.memory`."""
        self._handle = handle
        self._finalizer = weakref.finalize(self, handle.close)

    @classmethod
    def open(
        cls: Type[S],
        path: Optional[Path] = None,
        *,
        key: Key,
        create: bool = False,
        exclusive: bool = False,
        busy_timeout: Duration = 5.0,
        clock: Optional[Clock] = None,
        vault: Union[Vault, ListedVault, None] = None,
        vault_lease: Duration = 60,
        storage: Optional[Storage[Any]] = None,
    ) -> S:
        """Opens the store in the file `path`, or with `storage` in that storage engine.

        With `create` it is created if there is none; with `exclusive` too there must be none
        (ExistsError). `busy_timeout` says how long to wait for other writers (0: not at all).
        `clock`, `vault` and `storage` replace the system's clock, the store itself as the home of
        secrets, and SQLite; `vault_lease` is how long one write to the vault may take before
        `reconcile` may clear it away.

        NotFoundError: no store there. AuthError: wrong key. VersionError: written by a newer Pawl.
        CorruptError (`CORRUPT_NOT_PAWL`): another program's file. In all these cases the file is
        untouched. While a store is open, its process must not open and close the file otherwise.
        """
        flags = (_abi.PAWL_STORE_CREATE if create else 0) | (
            _abi.PAWL_STORE_EXCLUSIVE if exclusive else 0
        )
        host = Host(clock, vault, storage, vault_lease)
        encoded = None if path is None else os.fsencode(path)
        return cls._opened(host, flags, encoded, key, busy_timeout)

    @classmethod
    def memory(
        cls: Type[S],
        *,
        key: Key,
        busy_timeout: Duration = 5.0,
        clock: Optional[Clock] = None,
        vault: Union[Vault, ListedVault, None] = None,
        vault_lease: Duration = 60,
    ) -> S:
        """A new store in memory, which ends when it is closed."""
        host = Host(clock, vault, None, vault_lease)
        return cls._opened(host, _abi.PAWL_STORE_MEMORY, None, key, busy_timeout)

    @classmethod
    def _opened(
        cls: Type[S], host: Host, flags: int, path: Optional[bytes], key: Key, busy: Duration
    ) -> S:
        pointer = c_void_p()
        with key_struct(key) as borrowed:
            options = _abi.StoreOptions(
                flags=flags,
                path=path,
                path_size=len(path or b""),
                key=ctypes.pointer(borrowed),
                busy_timeout_ns=duration_ns(busy) or -1,  # C reads 0 as the default
            )
            if host.clock is not None:
                options.clock = ctypes.pointer(host.clock)
            if host.storage is not None:
                options.storage = ctypes.pointer(host.storage)
            if host.vault is not None:
                options.vault = ctypes.pointer(host.vault)
            try:
                host.call(library.pawl_store_open, options, pointer)
            except BaseException:
                library.pawl_store_close(pointer)
                raise
        return cls(Handle(pointer, library.pawl_store_close, host))

    def close(self) -> None:
        """Refuses further calls, waits for those in flight, rolls back open batches and wipes.

        Closing twice is fine. Called from a callback, it takes effect when the outer call returns;
        from `items_ready`, when that has returned and nobody else is in a call.
        """
        self._handle.close()
        self._finalizer.detach()

    def __enter__(self: S) -> S:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    @contextmanager
    def batch(self) -> Iterator[Batch]:
        """`with store.batch() as batch:` commits at the end, or rolls back if the block raises.

        Other writers wait meanwhile (this thread's own calls on the store too, until BusyError):
        keep it short, and use `batch` inside. StoreError (`STORE_LOST`): the transaction was lost
        and nothing was written.
        """
        pointer = c_void_p()
        try:
            self._handle.call(library.pawl_batch_begin, pointer)
        except BaseException:
            library.pawl_batch_rollback(pointer)
            raise
        handle = Handle(pointer, library.pawl_batch_rollback, self._handle.host)
        try:
            yield Batch(handle, self)
            handle.commit(library.pawl_batch_commit)
        finally:
            handle.close()  # rolls back, unless it was committed

    def copy(self, path: Path) -> None:
        """Writes a consistent copy, which opens with the same keys, to a new file.

        ExistsError: there is a file. (Copying an open store's file otherwise loses commits.)
        """
        encoded = os.fsencode(path)
        self._handle.call(library.pawl_store_copy, encoded, len(encoded))

    # ------------------------------------------------------------ archives

    def export(
        self,
        file: BinaryIO,
        key: Key,
        scope: Optional[Scope] = None,
        *,
        all_projects: bool = False,
    ) -> ArchiveReport:
        """Writes an archive: current credentials, secrets included, sealed for a key of its own.

        Of `scope`, with `all_projects` of all projects of its user, or else of the whole store. Whoever
        has the file and the key has them all. A recovery key is one that was generated with `backup=True`.
        Each credential is as it is when the archive comes to it; deleted versions are left out.
        """
        with key_struct(key) as borrowed, self._stream(
            library.pawl_export_begin,
            None if scope is None else _scope(scope),
            _abi.PAWL_EXPORT_ALL_PROJECTS if all_projects else 0,
            borrowed,
        ) as stream:
            buffer = ctypes.create_string_buffer(_CHUNK)
            size = c_size_t(_CHUNK)
            while size.value == _CHUNK:
                stream.call(library.pawl_stream_read, buffer, _CHUNK, size)
                file.write(buffer.raw[: size.value])
            return _archive_report(stream)

    def import_archive(self, file: BinaryIO, key: Key) -> ArchiveReport:
        """Imports an archive, all of it or nothing.

        What was updated later wins, here or there; a credential that was deleted here comes back.
        Others wait to write meanwhile. AuthError: it is for another key. CorruptError: it was
        changed, its end is missing, or it is no archive. StateError (`STATE_BATCH`): the store has
        a vault.
        """
        with key_struct(key) as borrowed, self._stream(
            library.pawl_import_begin, borrowed
        ) as stream:
            while part := file.read(_CHUNK):
                stream.call(library.pawl_stream_write, part, len(part))
            stream.call(library.pawl_stream_finish)
            return _archive_report(stream)

    @contextmanager
    def _stream(self, begin: Any, *arguments: Any) -> Iterator[Handle]:
        pointer = c_void_p()
        try:
            self._handle.call(begin, *arguments, pointer)
        except BaseException:
            library.pawl_stream_close(pointer)
            raise
        handle = Handle(pointer, library.pawl_stream_close, self._handle.host)
        try:
            yield handle
        finally:
            handle.close()

    # ------------------------------------------------------------ slots

    def slots(self) -> List[Slot]:
        """The keys that open this store, without the keys."""
        return rows(self._handle, _slot, library.pawl_slot_list)

    def add_slot(self, key: Key) -> int:
        """Lets another key open the store; returns its slot, 0-15.

        LimitError (`LIMIT_SLOTS`): all 16 are taken. BusyError (`BUSY_CHANGED`): another process
        changed the slots meanwhile.
        """
        number = c_uint32()
        with key_struct(key) as borrowed:
            self._handle.call(library.pawl_slot_add, borrowed, number)
        return number.value

    def change_slot(self, number: int, key: Key) -> None:
        """Replaces the key of a slot. The old one still opens old copies of the file.

        NotFoundError: no such slot. BusyError (`BUSY_CHANGED`).
        """
        with key_struct(key) as borrowed:
            self._handle.call(
                library.pawl_slot_change, bounded(number, 32, Status.MISUSE_SIZE), borrowed
            )

    def remove_slot(self, number: int) -> None:
        """Removes a slot. Its key still opens old copies of the file.

        NotFoundError: no such slot. StateError (`STATE_LAST_SLOT`). BusyError (`BUSY_CHANGED`).
        """
        self._handle.call(library.pawl_slot_remove, bounded(number, 32, Status.MISUSE_SIZE))

    # ------------------------------------------------------------ unfinished vault writes

    def reconcile(self, *, dry_run: bool = False, grace: Duration = 60) -> List[Orphan]:
        """Settles what a crash or a failing vault left unfinished; says what it found and did.

        What was sighted twice with `grace` between, after its lease, is removed from the vault.
        With `dry_run` nothing changes. StateError (`STATE_NO_VAULT`).
        """
        options = _abi.ReconcileOptions(
            flags=_abi.PAWL_RECONCILE_DRY_RUN if dry_run else 0,
            grace_ns=duration_ns(grace) or -1,  # C reads 0 as the default
        )
        return rows(self._handle, _orphan, library.pawl_credential_reconcile, options)

    # ------------------------------------------------------------ what is due, what is to be done

    def items(self, limit: int = 1, lease: Duration = 30) -> Iterator[Item]:
        """Runs what is due and yields what is to be done, waiting in between.

            for item in store.items():
                ...  # do it, then store.ack(item.seq)

        It ends when the store is closed, and raises what `run_due` and `take` raise; then it can be
        called again. Several may run at once, in this process and others. Items are taken `limit`
        at a time, as `take` does, so with more than one, those not yielded yet are lent too: when
        the loop is left they come again at the end of their lease. With a `clock` of the host, or
        where the system has no descriptor (see `fileno`), it looks ten times a second.
        """
        descriptor = self._descriptor()
        try:
            while True:
                found = self._turn(limit, lease)
                for item in found:
                    if self._is_lent(item):
                        yield item
                if not found:
                    self._handle.wait(descriptor, self._patience(descriptor))
        except ClosedError as error:
            if error.reason is not Status.CLOSED:
                raise

    def take(self, limit: int = 100, lease: Duration = 30) -> List[Item]:
        """At most `limit` (1-10000) items to be done now, lent for `lease` (at most a day).

        Nobody else gets one of them, or a later one of its lane, before it is settled (`ack`,
        `fail`, `answer`) or its lease ends. Items of one lane (the frames of a session that
        carry messages, those that carry none, the requests of an account to publish, all others
        that are not a backup's, those of its backup, its events) come in the order of `seq`. At
        most 32 MiB at once, but always one.
        """
        return rows(
            self._handle,
            item_row,
            library.pawl_outbox_take,
            size_of(limit),
            duration_ns(lease) or 1,  # C reads 0 as the default
        )

    def run_due(self, limit: int = 100) -> int:
        """Runs at most `limit` (1-10000) jobs that are due, and returns how many.

        Fewer than `limit` mean that none is left. Each runs in a transaction of its own, and one
        that fails is tried again later.
        """
        ran = c_size_t()
        self._handle.call(library.pawl_store_run_due, size_of(limit), ran, None)
        return ran.value

    def next_deadline(self) -> Optional[int]:
        """When the next job is due or the next item can be taken: nanoseconds since 1970.

        In the past if that is now, None if nothing is planned.
        """
        deadline = c_int64()
        self._handle.call(library.pawl_store_next_deadline, deadline)
        return ever(deadline.value)

    def start_runner(self, items_ready: Optional[Callable[[], object]] = None) -> None:
        """Has a thread of the library run what is due, until `stop_runner` or `close`.

        It calls `items_ready` when items can be taken: take until there are none, there or
        elsewhere. What that raises, or another callback on that thread, goes to
        `sys.unraisablehook`, which prints it, as nobody is there to raise it to; but it may go on
        after the store was closed (`CLOSED`). ExistsError: there is one. With a `clock` of the host it looks after each `nudge` and commit only.
        """
        visit = None if items_ready is None else partial(self._handle.visit, items_ready)
        table = self._handle.host.runner_table(visit)
        self._handle.call(library.pawl_store_start_runner, table)

    def stop_runner(self) -> None:
        """Returns when the thread has ended, also if there is none.

        BusyError (`BUSY_REENTERED`): called by `items_ready`.
        """
        self._handle.call(library.pawl_store_stop_runner)

    def jobs(
        self, after: Optional[Job] = None, limit: int = 1000, *, dead: bool = False
    ) -> List[Job]:
        """At most `limit` (1-10000) jobs after `after`, in the order of their times.

        With `dead` those that were set aside, because they failed 10 times or their records are
        damaged, in the order of kind and subject. `after` need not be there any more.
        """
        return rows(
            self._handle,
            _job,
            library.pawl_store_jobs,
            _abi.PAWL_JOBS_DEAD if dead else 0,
            None if after is None else _job_struct(after),
            size_of(limit),
        )

    def revive(self, job: Job) -> None:
        """Has a dead letter tried again, now and as if it had never failed. NotFoundError."""
        self._handle.call(library.pawl_job_revive, job.kind, sized(job.subject, 16))

    def wait(self, session: bytes, epoch: int, timeout: Optional[Duration] = None) -> int:
        """Waits until a session has reached `epoch`, which `rekey` said; returns the one it has.

        At most `timeout` (seconds or timedelta; None: as long as it takes). Wakes for what any
        thread or process does with the store's file, and at once for what has happened already;
        somebody must go on with `items` meanwhile. What this store encrypts afterwards is of no
        epoch before the one returned. BusyError (`BUSY_WAITING`): not in time.
        ClosedError: `CLOSED_SESSION`, by this side or the other; `CLOSED`, the store.
        """
        return self._wait(session, epoch, timeout, threading.Event())

    def _wait(
        self, session: bytes, epoch: int, timeout: Optional[Duration], stop: threading.Event
    ) -> int:
        id = sized(session, _abi.PAWL_SESSION_ID_SIZE)
        epoch = bounded(epoch, 32, Status.MISUSE_SIZE)
        end = None if timeout is None else time.monotonic_ns() + duration_ns(timeout)
        reached = c_uint32()
        while True:
            left = _SLICE if end is None else max(0, end - time.monotonic_ns())
            try:
                # Not for longer: until it comes back nobody can close the store, nor a signal in.
                self._handle.call(
                    library.pawl_session_wait, id, epoch, min(left, _SLICE), reached
                )
                return reached.value
            except BusyError as error:
                is_over = stop.is_set() or (end is not None and left <= _SLICE)
                if is_over or error.reason is not Status.BUSY_WAITING:
                    raise

    def trace(self, tracer: Optional[Tracer]) -> None:
        """Has each step of a session's rekeying told, once it is committed; None ends that.

        Those alone that calls through this store made, or its runner. What the tracer raises, the
        call raises that made the step; it was committed nonetheless. `pawl.trace` draws pictures
        of steps.
        """
        table = None if tracer is None else self._handle.host.trace_table(tracer)
        self._handle.call(library.pawl_store_trace, table)

    def fileno(self) -> int:
        """A descriptor that is readable while a job is due or an item can be taken.

        So a store can be registered in `select` and `selectors`; take it out again before `close`.
        Never read, write or close it. With a `clock` it tells of new items and earlier deadlines
        only. StoreError (`STORE_CANNOT_OPEN`): the system refused one, or this is no Linux.
        """
        descriptor = c_int32()
        self._handle.call(library.pawl_store_fd, descriptor)
        return descriptor.value

    def nudge(self) -> None:
        """Makes who waits on this store look again.

        Needed after another process committed to a `storage` of the host.
        """
        self._handle.call(library.pawl_store_nudge)

    def _descriptor(self) -> Optional[int]:
        try:
            return self.fileno()
        except StoreError as error:
            if error.reason is not Status.STORE_CANNOT_OPEN:
                raise
            return None

    def _turn(self, limit: int, lease: Duration) -> List[Item]:
        """One turn of `items`: runs all that is due, then takes."""
        while self.run_due(_JOBS) == _JOBS:
            pass
        return self.take(limit, lease)

    def _is_lent(self, item: Item) -> bool:
        """Whether an item that was taken is still nobody else's."""
        return self._handle.host.now() < item.lease_ns

    def _patience(self, descriptor: Optional[int]) -> Optional[float]:
        """How many seconds `items` waits at most; None: the descriptor tells it when to look."""
        if descriptor is not None and self._handle.host.clock is None:
            return None
        # The descriptor knows nothing of a host's clock, and a change may reach one waiter alone.
        deadline = self.next_deadline()
        if deadline is None:
            return _LOOK
        return min(max(0, deadline - self._handle.host.now()) / 1e9, _LOOK)


_JOBS = 100
_LOOK = 0.1  # seconds
_SLICE = 100_000_000  # nanoseconds

# ---------------------------------------------------------------- to C


def _archive_report(stream: Handle) -> ArchiveReport:
    report = _abi.ArchiveReport()
    stream.call(library.pawl_stream_report, report)
    return ArchiveReport(
        credentials=report.credentials,
        imported=report.imported,
        improved=report.improved,
        kept=report.kept,
        expired=report.expired,
        unreadable=report.unreadable,
    )


def _put_options(
    create_only: bool,
    if_version: Optional[int],
    expires: Union[Moment, Keep, None],
    label: Union[str, Keep, None],
    provider: Union[str, Keep, None],
    attributes: Union[Mapping[str, str], Keep, None],
) -> _abi.PutOptions:
    options = _abi.PutOptions()
    flags = _abi.PAWL_PUT_CREATE_ONLY if create_only else 0
    if if_version is not None:
        flags |= _abi.PAWL_PUT_IF_VERSION
        options.if_version = bounded(if_version, 64, Status.MISUSE_SIZE)
    if expires is None:
        flags |= _abi.PAWL_PUT_CLEAR_EXPIRY
    elif not isinstance(expires, Keep):
        flags |= _abi.PAWL_PUT_SET_EXPIRY
        options.expires_ns = moment_ns(expires)
    if not isinstance(label, Keep):
        flags |= _abi.PAWL_PUT_SET_LABEL
        options.label, options.label_size = counted(label or "")
    if not isinstance(provider, Keep):
        flags |= _abi.PAWL_PUT_SET_PROVIDER
        options.provider, options.provider_size = counted(provider or "")
    if not isinstance(attributes, Keep):
        flags |= _abi.PAWL_PUT_SET_ATTRIBUTES
        pairs = [(utf8(key), utf8(value)) for key, value in (attributes or {}).items()]
        options.attributes = (_abi.Attribute * len(pairs))(*map(_attribute, pairs))
        options.attribute_count = len(pairs)
    options.flags = flags
    return options


def _attribute(pair: Tuple[bytes, bytes]) -> _abi.Attribute:
    key, value = (ctypes.cast(ctypes.c_char_p(part), c_void_p) for part in pair)
    return _abi.Attribute(key, len(pair[0]), value, len(pair[1]))


def _job_struct(job: Job) -> _abi.Job:
    subject = sized(job.subject, 16)
    due = _abi.PAWL_NEVER if job.due_ns is None else job.due_ns
    return _abi.Job(kind=job.kind, subject=(c_uint8 * 16)(*subject), due_ns=due)


# ---------------------------------------------------------------- from C


def _job(view: c_void_p, row: int) -> Job:
    found = filled(_abi.Job(), library.pawl_view_job, view, row)
    return Job(
        kind=JobKind(found.kind),
        subject=bytes(found.subject),
        due_ns=ever(found.due_ns),
        attempts=found.attempts,
        last_status=Status(found.last_status),
        dead=bool(found.flags & _abi.PAWL_JOB_DEAD),
    )


def _version(kind: Type[M], view: c_void_p, row: int) -> M:
    found = filled(_abi.Credential(), library.pawl_view_credential, view, row)
    (
        _,
        flags,
        version,
        created_ns,
        updated_ns,
        expires_ns,
        purge_ns,
        name,
        name_size,
        label,
        label_size,
        provider,
        provider_size,
        secret,
        secret_size,
        attribute_count,
    ) = found.layout.unpack_from(found)
    attributes = {}
    for index in range(attribute_count):
        pair = filled(_abi.Attribute(), library.pawl_view_attribute, view, row, index)
        attributes[text(pair.key, pair.key_size)] = text(pair.value, pair.value_size)
    fields = {
        "name": text(name, name_size),
        "version": version,
        "created_ns": created_ns,
        "updated_ns": updated_ns,
        "expires_ns": ever(expires_ns),
        "purge_ns": ever(purge_ns),
        "label": text(label, label_size),
        "provider": text(provider, provider_size),
        "attributes": attributes,
        "secret_size": secret_size,
        "deleted": flags & _abi.PAWL_CREDENTIAL_DELETED != 0,
        "in_vault": flags & _abi.PAWL_CREDENTIAL_IN_VAULT != 0,
    }
    if kind is Credential:
        fields["secret"] = copied(secret, secret_size)
    return frozen(kind, fields)


_metadata = partial(_version, Metadata)
_credential = partial(_version, Credential)


def _damage(view: c_void_p, row: int) -> Damage:
    found = filled(_abi.Damage(), library.pawl_view_damage, view, row)
    return Damage(found.status, copied(found.key, found.key_size))


def _slot(view: c_void_p, row: int) -> Slot:
    found = filled(_abi.Slot(), library.pawl_view_slot, view, row)
    return Slot(
        found.number, KeyKind(found.kind), found.passes, found.memory_size, found.created_ns
    )


def _orphan(view: c_void_p, row: int) -> Orphan:
    found = filled(_abi.Orphan(), library.pawl_view_orphan, view, row)
    return Orphan(
        kind=OrphanKind(found.kind),
        outcome=OrphanOutcome(found.outcome),
        attempts=found.attempts,
        vault_id=bytes(found.vault_id),
        version=found.version,
        recorded_ns=found.recorded_ns,
        lease_ns=found.lease_ns,
        sighted_ns=ever(found.sighted_ns),
        cause_set=found.cause_set,
        cause_remove=found.cause_remove,
        user=text(found.user, found.user_size),
        project=text(found.project, found.project_size),
        name=text(found.name, found.name_size),
    )
