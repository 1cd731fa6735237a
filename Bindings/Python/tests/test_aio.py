# SPDX-License-Identifier: Apache-2.0
"""The same store, awaited."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from pathlib import Path

import pytest

import pawl
from doubles import DictVault, exit_code, refused
from pawl import Passphrase, RawKey, Scope, Status, Store
from pawl.aio import AsyncStore


def test_everything_is_there() -> None:
    """Every public method of Store, with the same parameters."""
    public = {name for name in dir(Store) if not name.startswith("_")}
    assert public <= {name for name in dir(AsyncStore) if not name.startswith("_")}
    for name in public - {"open", "memory", "batch", "closed"}:
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
