# SPDX-License-Identifier: Apache-2.0
"""The store for asyncio.

    async with AsyncStore.open("app.pawl", key=key, create=True) as store:
        await store.put(scope, "API_KEY", b"...")
        await store.batch(lambda batch: batch.delete_all(scope))
        async for item in store.items():
            ...  # do it, then await store.ack(item.seq)

Every store has a worker thread, on which its calls run one after another, since a durable commit
or a passphrase takes milliseconds to seconds, which the loop must not wait for; `wait` and
`answer_backup` have threads of their own beside it. Clock, storage and vault are called on all of
these and on a runner's, several at once, but never on the loop's. A call that is cancelled still
runs to its end; only its result is dropped.
"""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial, wraps
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Optional,
    Set,
    Type,
    TypeVar,
)

from .errors import ClosedError, Status
from .store import Batch, Store
from .values import Account, BackupReply, Duration, History, Item, Metadata, Peer, Scope

if TYPE_CHECKING:
    from typing_extensions import Concatenate, ParamSpec

    P = ParamSpec("P")

R = TypeVar("R")


def _awaited(
    method: Callable[Concatenate[Store, P], R],
) -> Callable[Concatenate[AsyncStore, P], Coroutine[Any, Any, R]]:
    """The same method, run on the store's worker."""

    @wraps(method)
    async def call(self: AsyncStore, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self._run(partial(method, self._store, *args, **kwargs))

    return call


def _opened(function: Callable[P, Store]) -> Callable[P, Opening]:
    """The same function, run on a new worker."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Opening:
        return Opening(partial(function, *args, **kwargs))

    return call


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


class Opening:
    """A store being opened: `await` it, or use it in `async with`, which closes the store."""

    def __init__(self, function: Callable[[], Store]) -> None:
        self._function = function

    async def _open(self) -> AsyncStore:
        worker = ThreadPoolExecutor(1, thread_name_prefix="pawl")
        try:
            store = await asyncio.get_running_loop().run_in_executor(worker, self._function)
        except BaseException:
            worker.shutdown(wait=False)
            raise
        return AsyncStore(store, worker)

    def __await__(self) -> Generator[Any, None, AsyncStore]:
        return self._open().__await__()

    async def __aenter__(self) -> AsyncStore:
        self._store = await self
        return self._store

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        await self._store.close()


class AsyncStore:
    """A `Store` whose methods are coroutines: same names, arguments, results and errors."""

    def __init__(self, store: Store, worker: ThreadPoolExecutor) -> None:
        """Use `AsyncStore.open` or `AsyncStore.memory`."""
        self._store = store
        self._worker = worker
        self._background = ThreadPoolExecutor(1, thread_name_prefix="pawl-background")
        self._process = os.getpid()
        self._closing = False
        self._waiting: Set[asyncio.Future[None]] = set()

    open = staticmethod(_opened(Store.open))
    memory = staticmethod(_opened(Store.memory))

    put = _awaited(Store.put)
    get = _awaited(Store.get)
    metadata = _awaited(Store.metadata)
    has = _awaited(Store.has)
    delete = _awaited(Store.delete)
    restore = _awaited(Store.restore)
    deleted = _awaited(Store.deleted)
    list = _awaited(Store.list)
    delete_all = _awaited(Store.delete_all)
    create_account = _awaited(Store.create_account)
    account = _awaited(Store.account)
    accounts = _awaited(Store.accounts)
    delete_account = _awaited(Store.delete_account)
    set_min_suite = _awaited(Store.set_min_suite)
    create_package = _awaited(Store.create_package)
    packages = _awaited(Store.packages)
    delete_package = _awaited(Store.delete_package)
    begin_rotation = _awaited(Store.begin_rotation)
    rotate_now = _awaited(Store.rotate_now)
    report_one_time_keys = _awaited(Store.report_one_time_keys)
    rotation = _awaited(Store.rotation)
    peer = _awaited(Store.peer)
    peers = _awaited(Store.peers)
    trust_peer = _awaited(Store.trust_peer)
    allow_suite = _awaited(Store.allow_suite)
    start_session = _awaited(Store.start_session)
    reset_session = _awaited(Store.reset_session)
    close_session = _awaited(Store.close_session)
    rekey = _awaited(Store.rekey)
    set_limits = _awaited(Store.set_limits)
    session = _awaited(Store.session)
    sessions = _awaited(Store.sessions)
    encrypt = _awaited(Store.encrypt)
    send = _awaited(Store.send)
    receive = _awaited(Store.receive)
    receive_many = _awaited(Store.receive_many)
    kept = _awaited(Store.kept)
    forget = _awaited(Store.forget)
    keep_history = _awaited(Store.keep_history)
    keeps_history = _awaited(Store.keeps_history)
    history = _awaited(Store.history)
    open_history = _awaited(Store.open_history)
    create_backup = _awaited(Store.create_backup)
    reset_backup = _awaited(Store.reset_backup)
    enable_backup = _awaited(Store.enable_backup)
    disable_backup = _awaited(Store.disable_backup)
    delete_backup = _awaited(Store.delete_backup)
    recover_backup = _awaited(Store.recover_backup)
    backup_recovery_key = _awaited(Store.backup_recovery_key)
    include_in_backup = _awaited(Store.include_in_backup)
    exclude_from_backup = _awaited(Store.exclude_from_backup)
    backup = _awaited(Store.backup)
    restore_backup = _awaited(Store.restore_backup)
    stop_restore = _awaited(Store.stop_restore)
    fetch_credential = _awaited(Store.fetch_credential)
    fetch_history = _awaited(Store.fetch_history)
    ask_for_backup_secret = _awaited(Store.ask_for_backup_secret)
    share_backup_secret = _awaited(Store.share_backup_secret)
    receive_backup_secret = _awaited(Store.receive_backup_secret)
    take = _awaited(Store.take)
    ack = _awaited(Store.ack)
    fail = _awaited(Store.fail)
    answer = _awaited(Store.answer)
    run_due = _awaited(Store.run_due)
    next_deadline = _awaited(Store.next_deadline)
    nudge = _awaited(Store.nudge)
    start_runner = _awaited(Store.start_runner)
    stop_runner = _awaited(Store.stop_runner)
    jobs = _awaited(Store.jobs)
    revive = _awaited(Store.revive)
    trace = _awaited(Store.trace)
    orphans = _awaited(Store.orphans)
    reconcile = _awaited(Store.reconcile)
    verify = _awaited(Store.verify)
    stats = _awaited(Store.stats)
    copy = _awaited(Store.copy)
    export = _awaited(Store.export)
    import_archive = _awaited(Store.import_archive)
    slots = _awaited(Store.slots)
    add_slot = _awaited(Store.add_slot)
    change_slot = _awaited(Store.change_slot)
    remove_slot = _awaited(Store.remove_slot)

    async def iterate(self, scope: Scope, page: int = 1000) -> AsyncIterator[Metadata]:
        """All of a scope, read `page` at a time; each page is a snapshot of its own."""
        after = ""
        while True:
            found = await self.list(scope, after, page)
            for row in found:
                yield row
            if len(found) < page:
                return
            after = found[-1].name

    async def iterate_accounts(self, page: int = 1000) -> AsyncIterator[Account]:
        """All accounts, read `page` at a time; each page is a snapshot of its own."""
        after = None
        while True:
            found = await self.accounts(after, page)
            for row in found:
                yield row
            if len(found) < page:
                return
            after = found[-1].id

    async def iterate_peers(self, account: bytes, page: int = 1000) -> AsyncIterator[Peer]:
        """All peers of an account, read `page` at a time; each page is a snapshot of its own."""
        after = ""
        while True:
            found = await self.peers(account, after, page)
            for row in found:
                yield row
            if len(found) < page:
                return
            after = found[-1].identity.name

    async def iterate_history(self, account: bytes, page: int = 1000) -> AsyncIterator[History]:
        """All that is kept, read `page` at a time; each page is a snapshot of its own."""
        after = None
        while True:
            found = await self.history(account, after, page)
            for row in found:
                yield row
            if len(found) < page:
                return
            after = found[-1]

    async def items(self, limit: int = 1, lease: Duration = 30) -> AsyncIterator[Item]:
        """Runs what is due and yields what is to be done, waiting in between.

        It ends when the store is closed, and raises what `run_due` and `take` raise; then it can be
        called again. Several may run at once, here and in other processes. An item whose task was
        cancelled comes again at the end of its lease, or after `fail`. Items are taken `limit` at a
        time, as `take` does, so with more than one, those not yielded yet are lent too. With a
        `clock` of the host, or where the system has no descriptor, it looks ten times a second.
        """
        descriptor = await self._run(self._store._descriptor)
        try:
            while True:
                found = await self._run(partial(self._store._turn, limit, lease))
                for item in found:
                    if await self._run(partial(self._store._is_lent, item)):
                        yield item
                if not found:
                    patience = partial(self._store._patience, descriptor)
                    await self._wait(descriptor, await self._run(patience))
        except ClosedError as error:
            if error.reason is not Status.CLOSED:
                raise

    async def wait(self, session: bytes, epoch: int, timeout: Optional[Duration] = None) -> int:
        """The same on a thread of its own, so that the worker goes on; it may be cancelled."""
        stop = threading.Event()
        thread = ThreadPoolExecutor(1, thread_name_prefix="pawl-wait")
        try:
            return await asyncio.get_running_loop().run_in_executor(
                thread, self._store._wait, session, epoch, timeout, stop
            )
        finally:
            stop.set()
            thread.shutdown(wait=False)

    async def answer_backup(self, seq: int, reply: BackupReply) -> None:
        """The same on a thread of its own, so that the worker goes on; closing ends it."""
        await self._run(partial(self._store.answer_backup, seq, reply), self._background)

    async def _wait(self, descriptor: Optional[int], seconds: Optional[float]) -> None:
        """Waits until the descriptor is readable, the time is over, or somebody closes."""
        if self._closing:
            return
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        # A loop knows one reader of a descriptor: every waiter needs its own. It also outlives the
        # store's, so that closing need not wait for waiters.
        own = None if descriptor is None else os.dup(descriptor)
        self._waiting.add(woken)
        try:
            if own is not None:
                loop.add_reader(own, _wake, woken)
            await asyncio.wait([woken], timeout=seconds)
        finally:
            self._waiting.discard(woken)
            if own is not None:
                loop.remove_reader(own)
                os.close(own)

    async def batch(self, function: Callable[[Batch], R]) -> R:
        """Runs an ordinary function inside a batch on the worker and returns its result.

        Commits when it returns, rolls back when it raises. It must not wait for the loop.
        """

        def run() -> R:
            with self._store.batch() as batch:
                return function(batch)

        return await self._run(run)

    async def close(self) -> None:
        """Closes the store after the calls made before, and ends `items`. Twice is fine.

        `wait` and `answer_backup` are not waited for: they raise ClosedError.
        """
        self._closing = True
        for woken in self._waiting:
            _wake(woken)
        try:
            await asyncio.shield(self._run(self._store.close))
        except ClosedError:
            pass
        self._worker.shutdown(wait=False)
        self._background.shutdown(wait=False)

    @property
    def closed(self) -> bool:
        """Whether the store was closed."""
        return self._store.closed

    async def __aenter__(self) -> AsyncStore:
        return self

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        await self.close()

    async def _run(
        self, function: Callable[[], R], worker: Optional[ThreadPoolExecutor] = None
    ) -> R:
        if os.getpid() != self._process:
            return function()  # fork() left the workers behind; the store answers ClosedError
        try:
            future = asyncio.get_running_loop().run_in_executor(worker or self._worker, function)
        except RuntimeError:
            raise ClosedError(Status.CLOSED) from None  # the worker was shut down
        return await future
