# SPDX-License-Identifier: Apache-2.0
"""The same store, awaited."""

from __future__ import annotations

import asyncio
import inspect
import os
import selectors
import threading
from pathlib import Path
from typing import Any, List, Optional, Set, Tuple

import pytest

import pawl
from backups import HOME, backed_up
from doubles import SECOND, DictVault, Time, exit_code, refused
from pairs import events, frames
from pawl import (
    BackupEntry,
    BackupReply,
    Passphrase,
    RawKey,
    Request,
    Scope,
    Status,
    Store,
)
from pawl.aio import AsyncStore
from pawl.backup import MemoryServer, serve_async


def test_everything_is_there() -> None:
    """Every public method of Store, with the same parameters."""
    public = {name for name in dir(Store) if not name.startswith("_")}
    ours_public = {name for name in dir(AsyncStore) if not name.startswith("_")}
    assert public - ours_public == {"fileno"}  # it is `items` that watches the descriptor
    for name in public - {"open", "memory", "batch", "closed", "fileno"}:
        ours = inspect.signature(getattr(AsyncStore, name))
        assert list(ours.parameters) == list(inspect.signature(getattr(Store, name)).parameters)


def test_methods(path: Path, key: RawKey, scope: Scope, tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncStore.open(path, key=key, create=True) as store:
            version = await store.put(scope, "n", b"1", label="l")
            assert (await store.get(scope, "n")).secret == b"1"
            assert (await store.metadata(scope, "n")).version == version
            assert await store.has(scope, "n")
            assert [row.name for row in await store.list(scope)] == ["n"]
            await store.put(scope, "m", b"2", if_version=None)
            assert {row.name async for row in store.iterate(scope, page=1)} == {"n", "m"}
            await store.delete(scope, "n", recovery=60)
            assert len(await store.deleted(scope, "n")) == 1
            await store.restore(scope, "n")
            assert await store.orphans() == [] == await store.verify()
            assert (await store.stats()).commits > 0
            await store.copy(tmp_path / "copy")
            slot = await store.add_slot(Passphrase("pass", memory=64 << 20, passes=3))
            await store.change_slot(slot, RawKey.generate())
            assert len(await store.slots()) == 2
            await store.remove_slot(slot)
            with refused(Status.STATE_NO_VAULT):
                await store.reconcile()
            with refused(Status.NOT_FOUND):
                await store.get(scope, "nothing")
            assert await store.delete_all(scope) == 2
            assert not store.closed
        assert store.closed
        await store.close()
        with refused(Status.CLOSED):
            await store.get(scope, "n")
        with refused(Status.CLOSED):
            await store.batch(lambda batch: None)
        with refused(Status.AUTH):
            await AsyncStore.open(path, key=RawKey.generate())

    asyncio.run(main())


def test_batch(key: RawKey, scope: Scope) -> None:
    async def main() -> None:
        store = await AsyncStore.memory(key=key)
        async with store:

            def both(batch: pawl.Batch) -> int:
                batch.put(scope, "a", b"1")
                return batch.put(scope, "b", b"2")

            version = await store.batch(both)
            assert (await store.get(scope, "b")).version == version

            def fails(batch: pawl.Batch) -> None:
                batch.put(scope, "a", b"3")
                raise ZeroDivisionError

            with pytest.raises(ZeroDivisionError):
                await store.batch(fails)
            assert (await store.get(scope, "a")).secret == b"1"

    asyncio.run(main())


def test_accounts(key: RawKey) -> None:
    async def main() -> None:
        async with AsyncStore.memory(key=key) as store:
            ids = sorted([await store.create_account(f"name {i}") for i in range(25)])
            whole = await store.accounts()
            assert [row.id for row in whole] == ids
            assert await store.account(ids[3]) == whole[3]
            assert await store.accounts(after=ids[9], limit=10) == whole[10:20]
            for page in (1, 7, 25, 1000):
                assert [row async for row in store.iterate_accounts(page)] == whole
            assert await store.batch(lambda batch: batch.accounts(limit=2)) == whole[:2]
            await store.delete_account(ids[0])
            with refused(Status.NOT_FOUND):
                await store.account(ids[0])
            with refused(Status.NOT_FOUND):
                await store.delete_account(ids[0])
            with refused(Status.MISUSE_ACCOUNT):
                await store.create_account("")
            with refused(Status.MISUSE_SIZE):
                await store.account(b"short")

            def fails(batch: pawl.Batch) -> None:
                batch.create_account("lost")
                raise ZeroDivisionError

            with pytest.raises(ZeroDivisionError):
                await store.batch(fails)
            assert await store.accounts() == whole[1:]
        with refused(Status.CLOSED):
            await store.create_account("late")

    asyncio.run(main())


# ---------------------------------------------------------------- sessions and items


async def connect(store: AsyncStore) -> tuple[bytes, bytes, bytes]:
    """Two accounts and a session that the first has started with the second."""
    ada, bob = await store.create_account("ada"), await store.create_account("bob")
    package, (key,) = await store.create_package(bob, one_time_keys=1)
    return ada, bob, await store.start_session(ada, "bob", package.data + key.data)


async def collect(store: AsyncStore, count: int, **options: Any) -> List[pawl.Item]:
    """Acknowledges that many items."""
    found: List[pawl.Item] = []
    async for item in store.items(**options):
        await store.ack(item.seq)
        found.append(item)
        if len(found) == count:
            break
    return found


def test_sessions(key: RawKey) -> None:
    async def main() -> None:
        async with AsyncStore.memory(key=key) as store:
            ada, bob, ours = await connect(store)
            frame = await store.encrypt(ours, b"1")
            received = await store.receive(bob, frame, keep=True)
            theirs = received.session
            assert received.plaintext == b"1" and received.new_session
            assert [kept.plaintext for kept in await store.kept(theirs)] == [b"1"]
            await store.forget(theirs, received.epoch, received.index)
            assert await store.kept(theirs) == []
            answer = await store.encrypt(theirs, b"2")
            first, second = await store.receive_many(ada, [answer, answer])
            assert isinstance(first, pawl.Received) and first.plaintext == b"2"
            assert isinstance(second, pawl.ReplayError)
            assert (await store.session(ours)).confirmed
            assert [row.id for row in await store.sessions(bob, "ada")] == [theirs]
            peer = await store.peer(ada, "bob")
            assert [row async for row in store.iterate_peers(ada, 1)] == [peer]
            assert await store.peers(ada, limit=1) == [peer]
            await store.trust_peer(ada, peer.identity, pawl.Trust.VERIFIED)
            await store.allow_suite(ada, "bob", pawl.Suite.X25519)
            await store.set_min_suite(ada, pawl.Suite.X25519)
            (package,) = await store.packages(bob)
            await store.delete_package(bob, package.id)
            seq = await store.send(ours, b"3")
            (item,) = await store.take()
            assert item.seq == seq and await store.next_deadline() is not None
            await store.fail(seq, retry_after=60)
            with refused(Status.MISUSE_FLAGS):
                await store.answer(seq, b"x")
            await store.nudge()
            assert await store.run_due() == 0
            with refused(Status.NOT_FOUND):
                await store.reset_session(bytes(16), b"x")
            await store.close_session(ours)
            with refused(Status.NOT_FOUND):
                await store.session(ours)

    asyncio.run(main())


def test_items(path: Path, key: RawKey, scope: Scope) -> None:
    async def main() -> None:
        async with AsyncStore.open(path, key=key, create=True) as store:
            ada, bob, ours = await connect(store)
            seqs = [await store.send(ours, b"%d" % number) for number in range(3)]
            assert [item.seq for item in await collect(store, 3)] == seqs
            waiting = asyncio.create_task(collect(store, 2))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            for number in range(2):
                seqs.append(await store.send(ours, b"later"))
            items = await asyncio.wait_for(waiting, 20)
            assert [item.seq for item in items] == seqs[3:]
            got = await store.receive_many(bob, frames(items))
            assert [one.plaintext for one in got if isinstance(one, pawl.Received)] == [
                b"later",
                b"later",
            ]

    asyncio.run(main())


def test_one_task_waits_again_and_again(path: Path, key: RawKey) -> None:
    async def main() -> None:
        async with AsyncStore.open(path, key=key, create=True) as store:
            _, _, ours = await connect(store)
            items = store.items().__aiter__()
            for _ in range(5):
                waiting = asyncio.ensure_future(items.__anext__())
                await asyncio.wait({waiting}, timeout=0.05)
                assert not waiting.done()
                seq = await store.send(ours, b"x")
                item = await asyncio.wait_for(waiting, 20)
                assert item.seq == seq
                await store.ack(seq)

    asyncio.run(main())


def test_items_run_what_is_due(path: Path, key: RawKey, scope: Scope) -> None:
    async def main() -> None:
        async with AsyncStore.open(path, key=key, create=True) as store:
            consuming = asyncio.create_task(collect(store, 1))
            await store.put(scope, "n", b"x")
            await store.delete(scope, "n", recovery=0.1)
            due = await store.next_deadline()

            async def run() -> None:
                while await store.next_deadline() == due:
                    await asyncio.sleep(0.01)

            await asyncio.wait_for(run(), 20)
            assert due is not None and not consuming.done()
            consuming.cancel()

    asyncio.run(main())


def test_items_of_many_tasks(path: Path, key: RawKey) -> None:
    """Each item goes to one of them, and waiters do not disturb each other."""

    async def main() -> None:
        async with AsyncStore.open(path, key=key, create=True) as store:
            _, bob, first = await connect(store)
            package, _ = await store.create_package(bob)
            eve = await store.create_account("eve")
            second = await store.start_session(eve, "bob", package.data)
            found: List[int] = []

            async def consume(limit: int) -> None:
                async for item in store.items(limit):
                    await store.ack(item.seq)
                    found.append(item.seq)

            tasks = [asyncio.create_task(consume(limit)) for limit in (1, 2, 5)]
            seqs = [await store.send(session, b"x") for session in [first, second] * 15]

            async def all_found() -> None:
                while len(found) < 30:
                    await asyncio.sleep(0.01)

            await asyncio.wait_for(all_found(), 20)
            assert sorted(found) == seqs
            await store.close()
            await asyncio.wait_for(asyncio.gather(*tasks), 20)

    asyncio.run(main())


def test_a_cancelled_task_loses_no_item(path: Path, key: RawKey) -> None:
    async def main() -> None:
        async with AsyncStore.open(path, key=key, create=True) as store:
            _, _, ours = await connect(store)
            seqs = [await store.send(ours, b"%d" % number) for number in range(3)]
            met = asyncio.Event()

            async def stuck() -> None:
                async for item in store.items(lease=1):
                    met.set()
                    await asyncio.sleep(3600)

            task = asyncio.create_task(stuck())
            await asyncio.wait_for(met.wait(), 20)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await store.take() == []
            items = await asyncio.wait_for(collect(store, 3), 20)
            assert [item.seq for item in items] == seqs
            assert [item.attempts for item in items] == [1, 0, 0]

    asyncio.run(main())


def test_waiting_leaves_nothing_behind(path: Path, key: RawKey) -> None:
    """Neither descriptors nor readers, however it ends."""
    selector = selectors.DefaultSelector()

    async def main() -> None:
        async with AsyncStore.open(path, key=key, create=True) as store:
            await asyncio.wait({asyncio.create_task(collect(store, 1))}, timeout=0.1)
            before = len(os.listdir("/proc/self/fd")), len(selector.get_map())
            for _ in range(5):
                task = asyncio.create_task(collect(store, 1))
                await asyncio.wait({task}, timeout=0.05)
                assert len(store._waiting) == 2
                task.cancel()
                await asyncio.wait({task})
            assert len(store._waiting) == 1
            after = len(os.listdir("/proc/self/fd")), len(selector.get_map())
            assert after == before

    loop = asyncio.SelectorEventLoop(selector)
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def test_items_end_with_their_store(path: Path, key: RawKey) -> None:
    async def main() -> None:
        store = await AsyncStore.open(path, key=key, create=True)
        tasks = [asyncio.create_task(collect(store, 1)) for _ in range(3)]
        await asyncio.sleep(0.1)
        await store.close()
        assert await asyncio.wait_for(asyncio.gather(*tasks), 20) == [[], [], []]
        with refused(Status.CLOSED):
            await collect(store, 1)

    asyncio.run(main())


@pytest.mark.parametrize("clock", [None, Time()])
def test_items_without_a_descriptor(
    path: Path, key: RawKey, monkeypatch: pytest.MonkeyPatch, clock: Optional[Time]
) -> None:
    def refuse(store: Store) -> int:
        raise pawl.StoreError(Status.STORE_CANNOT_OPEN)

    monkeypatch.setattr(Store, "fileno", refuse)

    async def main() -> None:
        async with AsyncStore.open(path, key=key, create=True, clock=clock) as store:
            _, _, ours = await connect(store)
            waiting = asyncio.create_task(collect(store, 2))
            await asyncio.sleep(0.05)
            seqs = [await store.send(ours, b"x") for _ in range(2)]
            items = await asyncio.wait_for(waiting, 20)
            assert [item.seq for item in items] == seqs

    asyncio.run(main())


def test_items_by_a_clock_of_the_host(path: Path, key: RawKey) -> None:
    async def main() -> None:
        clock = Time()
        async with AsyncStore.open(path, key=key, create=True, clock=clock) as store:
            await connect(store)
            waiting = asyncio.create_task(collect(store, 2))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            clock.now += 25 * 3600 * SECOND
            items = await asyncio.wait_for(waiting, 20)
            assert sorted(events(items)) == ["PACKAGE", "SETUP_EXPIRED"]

    asyncio.run(main())


# ---------------------------------------------------------------- the loop


def test_the_loop_goes_on(path: Path, key: RawKey, scope: Scope) -> None:
    """While a vault is waited for, the loop runs, and it is the loop that lets the vault go on."""

    async def main() -> None:
        vault = DictVault()
        go = threading.Event()
        vault.hook = lambda name: None if go.wait(10) else pytest.fail("the loop stood still")
        async with AsyncStore.open(path, key=key, create=True, vault=vault) as store:
            writing = asyncio.create_task(store.put(scope, "n", b"x"))
            while not vault.calls:
                await asyncio.sleep(0.001)
            go.set()
            await writing
            assert (await store.get(scope, "n")).secret == b"x"
            await asyncio.gather(*(store.put(scope, f"{i}", b"x") for i in range(20)))
            assert len(await store.list(scope)) == 21

    asyncio.run(main())


class HoldingClock(Time):
    """Holds whoever asks for the time next until it is released, and notes who asked."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: Set[str] = set()
        self.held, self.released = threading.Event(), threading.Event()
        self.armed = False

    def __call__(self) -> int:
        self.threads.add(threading.current_thread().name)
        if self.armed:
            self.armed = False
            self.held.set()
            assert self.released.wait(20)
        return self.now


async def restoring(store: AsyncStore) -> Tuple[int, BackupReply]:
    """A restore that has asked for its first page, and the page."""
    server = MemoryServer()
    old = backed_up(server, name="secret")
    account = await store.create_account("a new one")
    await store.include_in_backup(account, HOME)
    await store.recover_backup(account, old.store.backup_recovery_key(old.account))
    for _ in range(100):
        items = await store.take()
        if not items:
            await store.restore_backup(account)
        for item in items:
            if item.request is Request.BACKUP_PAGE:
                entries = [BackupEntry(n.to_bytes(16, "big"), b"x") for n in range(10_000)]
                return item.seq, BackupReply(entries=tuple(entries))
            if not await serve_async(store, item, server):
                await store.ack(item.seq)
    raise AssertionError("it finds no rest")


def test_others_need_not_wait_for_a_page(key: RawKey, scope: Scope) -> None:
    async def main() -> None:
        clock = HoldingClock()
        async with AsyncStore.memory(key=key, clock=clock) as store:
            seq, page = await restoring(store)
            ends: List[str] = []
            clock.armed = True
            answering = asyncio.create_task(store.answer_backup(seq, page))
            answering.add_done_callback(lambda _: ends.append("page"))
            await asyncio.get_running_loop().run_in_executor(None, clock.held.wait, 20)
            putting = asyncio.create_task(store.put(scope, "meanwhile", b"x"))
            putting.add_done_callback(lambda _: ends.append("put"))
            await asyncio.sleep(0)
            clock.released.set()
            await asyncio.gather(answering, putting)
            assert ends == ["put", "page"]

    asyncio.run(main())


def test_closing_ends_a_page_between_two_entries(key: RawKey) -> None:
    async def main() -> None:
        clock = HoldingClock()
        store = await AsyncStore.memory(key=key, clock=clock)
        seq, page = await restoring(store)
        clock.armed = True
        answering = asyncio.create_task(store.answer_backup(seq, page))
        await asyncio.get_running_loop().run_in_executor(None, clock.held.wait, 20)
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        clock.released.set()
        with refused(Status.CLOSED):
            await answering
        await closing

    asyncio.run(main())


def test_the_clock_is_not_asked_on_the_loops_thread(path: Path, key: RawKey) -> None:
    async def main() -> None:
        clock = HoldingClock()
        async with AsyncStore.open(path, key=key, create=True, clock=clock) as store:
            _, _, ours = await connect(store)
            for _ in range(3):
                await store.send(ours, b"x")
            assert len(await collect(store, 3, limit=2)) == 3
        assert clock.threads and threading.current_thread().name not in clock.threads

    asyncio.run(main())


def test_cancelled_calls_run_to_their_end(path: Path, key: RawKey, scope: Scope) -> None:
    async def main() -> None:
        vault = DictVault()
        go = threading.Event()
        vault.hook = lambda name: None if go.wait(10) else pytest.fail("never let go")
        async with AsyncStore.open(path, key=key, create=True, vault=vault) as store:
            writing = asyncio.create_task(store.put(scope, "n", b"x"))
            while not vault.calls:
                await asyncio.sleep(0.001)
            writing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await writing
            go.set()
            assert await store.has(scope, "n")

    asyncio.run(main())


def test_fork_leaves_the_worker_behind(path: Path, key: RawKey, scope: Scope) -> None:
    async def main() -> None:
        async with AsyncStore.open(path, key=key, create=True) as store:
            await store.put(scope, "n", b"x")
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    store.get(scope, "n").send(None)
                except pawl.ClosedError as error:
                    code = 0 if error.reason is Status.CLOSED_FORKED else 2
                finally:
                    os._exit(code)
            assert exit_code(child) == 0
            assert await store.has(scope, "n")

    asyncio.run(main())
