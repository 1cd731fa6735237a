# SPDX-License-Identifier: Apache-2.0
"""Threads, processes and fork()."""

from __future__ import annotations

import gc
import hashlib
import multiprocessing
import os
import random
import select
import threading
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

import pawl
from doubles import FolderVault, exit_code
from pairs import Pair, drained, frames
from pawl import RawKey, Scope, Status, Store
from pawl._abi import library
from test_store import CALLS

FORK = multiprocessing.get_context("fork")
SPAWN = multiprocessing.get_context("spawn")
SCOPE = Scope("u", "p")


def run(*targets: Any, context: Any = FORK) -> None:
    """Runs each in a process of its own; all must succeed.

    No child can open a file if this process forgot to close one before it forked.
    """
    gc.collect()
    processes = [context.Process(target=target[0], args=target[1:]) for target in targets]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert codes == [0] * len(codes)


def put_checked(store: Store, name: str, random: random.Random) -> None:
    secret = random.randbytes(random.choice([0, 10, 1000, 4096, 5000, 20000]))
    store.put(SCOPE, name, secret, attributes={"digest": hashlib.sha256(secret).hexdigest()})


def assert_whole(store: Store, name: str) -> None:
    found = store.get(SCOPE, name)
    assert found.attributes["digest"] == hashlib.sha256(found.secret).hexdigest()
    assert found.secret_size == len(found.secret)


# ---------------------------------------------------------------- fork


def in_child(store: Store, batch: pawl.Batch, report: Any) -> None:
    reasons = []
    calls: List[Callable[[Store, Scope], Any]] = [*CALLS]
    calls.append(lambda store, scope: batch.put(scope, "n", b"child"))
    calls.append(lambda store, scope: batch._handle.commit(library.pawl_batch_commit))
    for call in calls:
        try:
            call(store, SCOPE)
            reasons.append("no error")
        except pawl.PawlError as error:
            reasons.append(error.reason.name)
    batch._handle.close()
    store.close()
    try:
        store.get(SCOPE, "n")
    except pawl.ClosedError as error:
        reasons.append("after close: " + error.primary.name)
    report.send(reasons)
    report.close()


def test_fork(path: Path, key: RawKey) -> None:
    with Store.open(path, key=key, create=True) as store:
        store.put(SCOPE, "before", b"1")
        with store.batch() as batch:
            batch.put(SCOPE, "in batch", b"2")
            here, there = FORK.Pipe(duplex=False)
            child = FORK.Process(target=in_child, args=(store, batch, there))
            child.start()
            there.close()
            reasons = here.recv()
            child.join()
            assert child.exitcode == 0
            batch.put(SCOPE, "after child", b"3")
        assert reasons == ["CLOSED_FORKED"] * (len(CALLS) + 2) + ["after close: CLOSED"]
        store.put(SCOPE, "after", b"4")
    with Store.open(path, key=key) as store:
        names = {row.name for row in store.list(SCOPE)}
        assert names == {"before", "in batch", "after child", "after"}
        assert store.verify() == []


def test_fork_while_threads_work(path: Path, key: RawKey) -> None:
    """Whatever lock a thread of the parent holds, the child's calls answer."""
    stop = threading.Event()
    with Store.open(path, key=key, create=True) as store:
        put_checked(store, "0", random.Random(0))

        def work(seed: int) -> None:
            source = random.Random(seed)
            while not stop.is_set():
                put_checked(store, "0", source)
                assert_whole(store, "0")

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(20):
                child = os.fork()
                if child == 0:
                    code = 1
                    try:
                        store.get(SCOPE, "0")
                    except pawl.ClosedError as error:
                        code = 0 if error.reason is Status.CLOSED_FORKED else 2
                        store.close()
                    finally:
                        os._exit(code)
                assert exit_code(child) == 0
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert_whole(store, "0")


def child_opens_again(path: Path, key: RawKey) -> None:
    with Store.open(path, key=key) as store:
        store.put(SCOPE, "child", b"x")


def child_may_not_open(path: Path, key: RawKey) -> None:
    with pytest.raises(pawl.ClosedError) as caught:
        Store.open(path, key=key)
    assert caught.value.reason is Status.CLOSED_FORKED


def test_child_opens_the_file_if_none_was_open_across_the_fork(path: Path, key: RawKey) -> None:
    with Store.open(path, key=key, create=True) as store:
        run((child_may_not_open, path, key))
        store.put(SCOPE, "parent", b"x")
    run((child_opens_again, path, key))
    with Store.open(path, key=key) as store:
        assert {row.name for row in store.list(SCOPE)} == {"child", "parent"}


# ---------------------------------------------------------------- torn reads


def test_threads_never_read_torn(store: Store) -> None:
    names = ["a", "b", "c"]
    for name in names:
        put_checked(store, name, random.Random(name))
    failures: List[BaseException] = []

    def work(seed: int) -> None:
        source = random.Random(seed)
        try:
            for _ in range(60):
                if seed % 2:
                    put_checked(store, source.choice(names), source)
                assert_whole(store, source.choice(names))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and store.verify() == []


def mix(path: Path, key: RawKey, vault: Any, seed: int) -> None:
    source = random.Random(seed)
    with Store.open(path, key=key, vault=vault) as store:
        for _ in range(60):
            put_checked(store, source.choice("abc"), source)
            assert_whole(store, source.choice("abc"))


@pytest.mark.parametrize("with_vault", [False, True])
def test_processes_never_read_torn(
    path: Path, key: RawKey, tmp_path: Path, with_vault: bool
) -> None:
    vault = FolderVault(tmp_path) if with_vault else None
    with Store.open(path, key=key, create=True, vault=vault) as store:
        for name in "abc":
            put_checked(store, name, random.Random(name))
    run(*((mix, path, key, vault, seed) for seed in range(4)))
    with Store.open(path, key=key, vault=vault) as store:
        for name in "abc":
            assert_whole(store, name)
        assert store.verify() == [] and store.orphans() == []


def add(path: Path, key: RawKey, times: int) -> None:
    with Store.open(path, key=key) as store:
        for _ in range(times):
            while True:
                found = store.get(SCOPE, "n")
                try:
                    store.put(SCOPE, "n", b"%d" % (int(found.secret) + 1), if_version=found.version)
                    break
                except pawl.StateError as error:
                    assert error.reason is Status.STATE_CONFLICT


def test_compare_and_swap_counts(path: Path, key: RawKey) -> None:
    with Store.open(path, key=key, create=True) as store:
        store.put(SCOPE, "n", b"0")
    run(*[(add, path, key, 25)] * 4)
    with Store.open(path, key=key) as store:
        assert store.get(SCOPE, "n").secret == b"100"


# ---------------------------------------------------------------- delete_all against puts


def put_many(path: Path, key: RawKey, vault: Any, seed: int, finished: Any) -> None:
    with Store.open(path, key=key, vault=vault) as store:
        for index in range(100):
            try:
                store.put(SCOPE, f"{seed} {index % 7}", b"x" * (index * 100))
            except pawl.StateError as error:
                assert error.reason is Status.STATE_WITHDRAWN
    with finished.get_lock():
        finished.value += 1


def delete_many(path: Path, key: RawKey, vault: Any, finished: Any, deleted: Any) -> None:
    """What got its version before a delete_all began must not be there after it."""
    with Store.open(path, key=key, vault=vault) as store:
        while finished.value < 3:
            mark = store.put(Scope("marks"), "mark", b"")
            deleted.value += store.delete_all(SCOPE)
            for row in store.list(SCOPE):
                assert row.version > mark, "resurrected"


@pytest.mark.parametrize("with_vault", [False, True])
def test_delete_all_racing_puts(path: Path, key: RawKey, tmp_path: Path, with_vault: bool) -> None:
    folder = tmp_path / "vault"
    folder.mkdir()
    vault = FolderVault(folder) if with_vault else None
    finished, deleted = FORK.Value("i", 0), FORK.Value("i", 0)
    Store.open(path, key=key, create=True, vault=vault).close()
    run(
        *((put_many, path, key, vault, seed, finished) for seed in range(3)),
        (delete_many, path, key, vault, finished, deleted),
    )
    with Store.open(path, key=key, vault=vault) as store:
        assert deleted.value > 0, "nothing raced"
        store.delete_all(SCOPE)
        store.delete(Scope("marks"), "mark")
        assert store.list(SCOPE) == [] and store.orphans() == [] and store.verify() == []
        assert list(folder.iterdir()) == []


# ---------------------------------------------------------------- one session, several processes


def send_many(path: Path, key: RawKey, session: bytes, seed: int, ready: Any) -> None:
    """In turn through the outbox and by itself, so that both kinds of index are drawn at once."""
    with Store.open(path, key=key) as store:
        ready.wait(60)
        for number in range(40):
            if number % 2:
                store.send(session, b"%d %d" % (seed, number))
            else:
                frame = store.encrypt(session, b"%d %d" % (seed, number))
                store.put(SCOPE, f"{seed} {number}", frame)


def test_processes_send_on_one_session(path: Path, key: RawKey) -> None:
    """No index is used twice, and every message can be read once."""
    with Store.memory(key=key) as other:
        with Store.open(path, key=key, create=True) as store:
            pair = Pair(store, other)
            ours, theirs = pair.connect()
        ready = SPAWN.Barrier(3)
        run(*((send_many, path, key, ours, seed, ready) for seed in range(3)), context=SPAWN)
        with Store.open(path, key=key) as store:
            sent = frames(drained(store))
            assert len(sent) == 60
            sent += [store.get(SCOPE, row.name).secret for row in store.list(SCOPE)]
            assert store.verify() == []
        random.Random(1).shuffle(sent)
        got = [one for one in other.receive_many(pair.bob, sent) if isinstance(one, pawl.Received)]
        expected = {b"%d %d" % (seed, number) for seed in range(3) for number in range(40)}
        assert {one.plaintext for one in got} == expected
        assert len({one.index for one in got}) == len(got) == 120
        assert not other.session(theirs).desynchronized


def take_many(path: Path, key: RawKey, count: Any, ready: Any) -> None:
    """Works off items like one of several, and checks the order within each lane."""
    with Store.open(path, key=key) as store:
        ready.wait(60)
        last: Dict[Any, int] = {}
        while count.value < 60:
            for item in store.take(limit=1, lease=60):
                assert item.seq > last.get(item.session, 0)
                last[item.session] = item.seq
                store.put(SCOPE, f"{item.seq}", b"", create_only=True)
                store.ack(item.seq)
                with count.get_lock():
                    count.value += 1
            select.select([store], [], [], 0.1)


def test_processes_share_an_outbox(path: Path, key: RawKey) -> None:
    """Each item goes to one of them, in the order of its lane."""
    with Store.open(path, key=key, create=True) as store:
        pair = Pair(store)
        sessions = [pair.start() for _ in range(3)]
    ready, count = SPAWN.Barrier(3), SPAWN.Value("i", 0)
    workers = [(take_many, path, key, count, ready) for _ in range(2)]
    run(*workers, (fill, path, key, sessions, ready), context=SPAWN)
    with Store.open(path, key=key) as store:
        assert len(store.list(SCOPE)) == 60 and store.take() == []


def fill(path: Path, key: RawKey, sessions: List[bytes], ready: Any) -> None:
    with Store.open(path, key=key) as store:
        ready.wait(60)
        for number in range(60):
            store.send(sessions[number % 3], b"%d" % number)
