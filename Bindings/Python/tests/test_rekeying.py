# SPDX-License-Identifier: Apache-2.0
"""Rekeying: on demand, by limits, in perfect mode; and waiting for it."""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, Iterator, List, Tuple

import pytest

import pawl
from doubles import SECOND, Time, refused
from pairs import Pair, drained, events, frames
from pawl import Event, ItemKind, RawKey, RekeyLimits, Status, Store
from pawl.aio import AsyncStore

SPAWN = multiprocessing.get_context("spawn")
PERFECT = RekeyLimits(perfect=True)


@pytest.fixture
def pair(store: Store, clock: Time) -> Iterator[Pair]:
    """Two stores, and so two links."""
    with Store.memory(key=RawKey.generate(), clock=clock) as other:
        yield Pair(store, other)


def epochs(pair: Pair, sides: Tuple[bytes, bytes]) -> Tuple[int, int]:
    return pair.store.session(sides[0]).epoch, pair.other.session(sides[1]).epoch


# ---------------------------------------------------------------- on demand


def test_rekey(pair: Pair) -> None:
    sides = ours, theirs = pair.connect()
    assert pair.store.session(ours).target is None
    assert pair.store.rekey(ours) == 1 == pair.store.rekey(ours)
    row = pair.store.session(ours)
    assert (row.epoch, row.target, row.queued) == (0, 1, 0)
    assert pickle.loads(pickle.dumps(row)) == row
    items = pair.pump()
    assert epochs(pair, sides) == (1, 1) and events(items) == ["EPOCH"]
    (event,) = (item for item in items if item.event is Event.EPOCH)
    assert (event.count, event.session, event.account) == (1, ours, pair.ada)
    assert pair.store.session(ours).target is None
    got = pair.other.receive(pair.bob, pair.store.encrypt(ours, b"after"))
    assert (got.plaintext, got.epoch, got.session) == (b"after", 1, theirs)


def test_fresh_begins_afterwards(pair: Pair) -> None:
    sides = ours, _ = pair.connect()
    assert pair.store.rekey(ours, fresh=True) == 1
    assert pair.store.rekey(ours, fresh=True) == 2
    assert events(pair.pump()) == ["EPOCH", "EPOCH"] and epochs(pair, sides) == (2, 2)


def test_both_at_the_same_time(pair: Pair) -> None:
    sides = ours, theirs = pair.connect()
    for epoch in range(1, 6):
        assert pair.store.rekey(ours) == epoch == pair.other.rekey(theirs)
        assert sorted(events(pair.pump())) == ["EPOCH", "EPOCH"]
        assert epochs(pair, sides) == (epoch, epoch)


def test_what_is_lost_is_said_again(pair: Pair, clock: Time) -> None:
    sides = ours, _ = pair.connect()
    pair.store.rekey(ours)
    assert frames(pair.pump(lambda item: True)) and epochs(pair, sides) == (0, 0)
    due = pair.store.next_deadline()
    assert due is not None and clock.now < due <= clock.now + SECOND
    clock.now = due
    pair.pump()
    assert epochs(pair, sides) == (1, 1)


def test_stalled(pair: Pair, clock: Time) -> None:
    ours, _ = pair.connect()
    pair.store.rekey(ours)
    told: List[pawl.Item] = []
    for _ in range(9):
        clock.now += 700 * SECOND
        told += drained(pair.store)
    (event,) = (item for item in told if item.kind is ItemKind.EVENT)
    assert (event.event, event.count, event.session) == (Event.STALLED, 8, ours)


def test_a_batch_rekeys_or_not(pair: Pair) -> None:
    ours, _ = pair.connect()
    with pytest.raises(ZeroDivisionError), pair.store.batch() as batch:
        assert batch.rekey(ours) == 1
        batch.set_limits(ours, RekeyLimits(messages=7))
        raise ZeroDivisionError
    row = pair.store.session(ours)
    assert row.target is None and row.limits == RekeyLimits()
    with pair.store.batch() as batch:
        batch.rekey(ours)
        batch.set_limits(ours, RekeyLimits(messages=7))
    row = pair.store.session(ours)
    assert row.target == 1 and row.limits.messages == 7
    assert not hasattr(batch, "wait")


def test_refusals(pair: Pair) -> None:
    for call in (
        lambda id: pair.store.rekey(id),
        lambda id: pair.store.set_limits(id, RekeyLimits()),
    ):
        with refused(Status.NOT_FOUND):
            call(bytes(16))
        with refused(Status.MISUSE_SIZE):
            call(bytes(15))
    ours, _ = pair.connect()
    for limits, reason in (
        (RekeyLimits(messages=-1), Status.MISUSE_SIZE),
        (RekeyLimits(messages=1 << 32), Status.MISUSE_SIZE),
        (RekeyLimits(bytes=1 << 64), Status.MISUSE_SIZE),
        (RekeyLimits(queue=4097), Status.MISUSE_SIZE),
        (RekeyLimits(interval=-1), Status.MISUSE_TIME),
    ):
        with refused(reason):
            pair.store.set_limits(ours, limits)
    assert pair.store.session(ours).limits == RekeyLimits()


# ---------------------------------------------------------------- limits


def test_limits_are_kept(pair: Pair) -> None:
    ours, _ = pair.connect()
    assert pair.store.session(ours).limits == RekeyLimits()
    limits = RekeyLimits((1 << 32) - 1, (1 << 64) - 1, timedelta(minutes=2), True, 4096)
    pair.store.set_limits(ours, limits)
    kept = pair.store.session(ours).limits
    assert kept == RekeyLimits(limits.messages, limits.bytes, 120, True, 4096)
    pair.store.set_limits(ours, RekeyLimits(interval=0.5))
    assert pair.store.session(ours).limits == RekeyLimits(interval=0.5)


@pytest.mark.parametrize(
    "limits", [RekeyLimits(messages=4), RekeyLimits(bytes=40)], ids=["messages", "bytes"]
)
def test_enough_was_sent(pair: Pair, limits: RekeyLimits) -> None:
    sides = ours, _ = pair.connect()
    pair.store.rekey(ours)
    pair.pump()
    start = pair.store.session(ours).sent  # what the rekey itself took
    pair.store.set_limits(ours, limits)
    for _ in range(4 - (start if limits.messages else 0)):
        assert epochs(pair, sides) == (1, 1)
        pair.store.send(ours, b"x" * 10)
        pair.pump()
    pair.store.send(ours, b"x" * 10)
    pair.pump()
    assert epochs(pair, sides) == (2, 2)


def test_an_interval_is_a_deadline(pair: Pair, clock: Time) -> None:
    sides = ours, _ = pair.connect()
    pair.store.rekey(ours)
    pair.pump()
    pair.store.set_limits(ours, RekeyLimits(interval=90))
    end = clock.now + 90 * SECOND
    clock.now = end - 1
    pair.pump()
    assert epochs(pair, sides) == (1, 1)
    clock.now = end
    pair.pump()
    assert epochs(pair, sides) == (2, 2)


# ---------------------------------------------------------------- perfect mode


def test_perfect(pair: Pair) -> None:
    """Each message in an epoch of its own, in their order, and each is told by its ticket."""
    ours, theirs = pair.connect()
    pair.store.set_limits(ours, PERFECT)
    with refused(Status.STATE_MODE):
        pair.store.encrypt(ours, b"x")
    tickets = [pair.store.send(ours, b"%d" % number) for number in range(5)]
    assert len(set(tickets)) == 5 and pair.store.session(ours).queued > 0
    got: List[pawl.Received] = []
    carried: List[pawl.Item] = []
    while items := [item for store in (pair.store, pair.other) for item in drained(store)]:
        for item in items:
            if item.kind is ItemKind.FRAME:
                received = pair.deliver(item)
                if received.plaintext is not None:
                    got.append(received)
                    carried.append(item)
    assert [one.plaintext for one in got] == [b"0", b"1", b"2", b"3", b"4"]
    assert len({one.epoch for one in got}) == 5 and pair.store.session(ours).queued == 0
    waited = {item.count for item in carried if item.count}
    assert len(waited) >= 4 and waited <= set(tickets)
    assert [item.count or item.seq for item in carried] == tickets


def test_the_queue_is_full(pair: Pair) -> None:
    ours, _ = pair.connect()
    pair.store.set_limits(ours, RekeyLimits(perfect=True, queue=2))
    sent = 0
    with refused(Status.LIMIT_QUEUE):
        for sent in range(10):
            pair.store.send(ours, b"%d" % sent)
    assert 2 <= sent <= 3 and pair.store.session(ours).queued == 2
    plaintexts = []
    while items := [item for store in (pair.store, pair.other) for item in drained(store)]:
        plaintexts += [pair.deliver(i).plaintext for i in items if i.kind is ItemKind.FRAME]
    assert [text for text in plaintexts if text] == [b"%d" % number for number in range(sent)]


def test_unsent(pair: Pair) -> None:
    ours, theirs = pair.connect()
    pair.store.set_limits(ours, PERFECT)
    tickets = [pair.store.send(ours, b"%d" % number) for number in range(4)]
    queued = pair.store.session(ours).queued
    pair.store.close_session(ours)
    items = drained(pair.store)
    unsent = [item for item in items if item.event is Event.UNSENT]
    assert [item.count for item in unsent] == tickets[-queued:]
    assert queued >= 3 and {item.session for item in unsent} == {ours}


def test_the_peer_closes(pair: Pair) -> None:
    ours, theirs = pair.connect()
    pair.store.close_session(ours)
    assert events(pair.pump()) == ["SESSION_CLOSED"]
    assert pair.other.session(theirs).receive_only
    for call in (pair.other.rekey, lambda id: pair.other.send(id, b"x")):
        with refused(Status.STATE_RECEIVE_ONLY):
            call(theirs)


# ---------------------------------------------------------------- waiting


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as threads:
        yield threads


def outcome(waiting: Future[int]) -> Any:
    """What a wait answered, or by which status it was refused."""
    try:
        return waiting.result(20)
    except pawl.PawlError as error:
        return error.reason


def test_what_has_happened_is_not_waited_for(pair: Pair) -> None:
    ours, theirs = pair.connect()
    assert pair.store.wait(ours, 0, 0) == 0
    assert pair.store.wait(ours, pair.store.rekey(ours) - 1) == 0
    pair.pump()
    for timeout in (0, 0.0, timedelta(0), None):
        assert pair.store.wait(ours, 1, timeout) == 1 == pair.other.wait(theirs, 1, timeout)
    assert pair.store.wait(ours, 0) == 1


@pytest.mark.parametrize("timeout", [0, 0.03, timedelta(milliseconds=250)])
def test_not_in_time(pair: Pair, timeout: pawl.Duration) -> None:
    ours, _ = pair.connect()
    least = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    start = time.monotonic()
    with refused(Status.BUSY_WAITING):
        pair.store.wait(ours, pair.store.rekey(ours), timeout)
    assert least <= time.monotonic() - start < least + 10
    with refused(Status.MISUSE_TIME):
        pair.store.wait(ours, 1, -1)
    for epoch in (-1, 1 << 32):
        with refused(Status.MISUSE_SIZE):
            pair.store.wait(ours, epoch, timeout)


def test_threads_wait(pair: Pair, threads: ThreadPoolExecutor) -> None:
    """Many at once, on both sides; none holds the interpreter up, and all are woken."""
    ours, theirs = pair.connect()
    epoch = pair.store.rekey(ours, fresh=True)
    waiting = [threads.submit(pair.store.wait, ours, epoch, 30) for _ in range(20)]
    waiting += [threads.submit(pair.other.wait, theirs, epoch, 30) for _ in range(20)]
    later = threads.submit(pair.store.wait, ours, epoch + 1, 30)
    time.sleep(0.25)  # longer than one turn of theirs
    assert not any(one.done() for one in waiting)
    pair.pump()
    assert [outcome(one) for one in waiting] == [epoch] * 40
    assert not later.done()
    pair.other.rekey(theirs)
    pair.pump()
    assert outcome(later) == epoch + 1


def test_a_waiter_is_woken(
    pair: Pair, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the commit, and not because it looks again now and then."""
    monkeypatch.setattr(pawl.store, "_SLICE", 3600 * SECOND)
    ours, _ = pair.connect()
    waiting = threads.submit(pair.store.wait, ours, pair.store.rekey(ours), 60)
    time.sleep(0.2)
    assert not waiting.done()
    pair.pump()
    assert outcome(waiting) == 1


@pytest.mark.parametrize("here", [True, False])
def test_closing_the_session_ends_waits(
    pair: Pair, threads: ThreadPoolExecutor, here: bool
) -> None:
    ours, theirs = pair.connect()
    waiting = threads.submit(pair.store.wait, ours, pair.store.rekey(ours))
    time.sleep(0.1)
    assert not waiting.done()
    if here:
        pair.store.close_session(ours)
    else:
        pair.other.close_session(theirs)
        for body in frames(drained(pair.other)):
            pair.store.receive(pair.ada, body)
    assert outcome(waiting) is Status.CLOSED_SESSION
    with refused(Status.CLOSED_SESSION):
        pair.store.wait(ours, 1)
    with refused(Status.CLOSED_SESSION):
        pair.store.wait(bytes(16), 1)


def test_closing_the_store_ends_waits(pair: Pair, threads: ThreadPoolExecutor) -> None:
    ours, _ = pair.connect()
    epoch = pair.store.rekey(ours)
    waiting = [threads.submit(pair.store.wait, ours, epoch) for _ in range(8)]
    time.sleep(0.1)
    assert not any(one.done() for one in waiting)
    start = time.monotonic()
    pair.store.close()
    assert time.monotonic() - start < 10
    assert [outcome(one) for one in waiting] == [Status.CLOSED] * 8
    with refused(Status.CLOSED):
        pair.store.wait(ours, epoch)


def elsewhere(path: Path, key: RawKey, session: bytes, ready: Any, answers: Any) -> None:
    with Store.open(path, key=key) as store:
        # The commit alone wakes it: it does not look by itself while this lasts.
        pawl.store._SLICE = 3600 * SECOND
        ready.wait(60)
        try:
            answers.put(store.wait(session, 1, 60))
            answers.put(store.wait(session, 2, 60))
        except pawl.PawlError as error:
            answers.put(error.reason)


def test_another_process_waits(path: Path, key: RawKey) -> None:
    with Store.memory(key=key) as other:
        with Store.open(path, key=key, create=True) as store:
            pair = Pair(store, other)
            ours, _ = pair.connect()
            ready, answers = SPAWN.Barrier(3), SPAWN.Queue()
            children = [
                SPAWN.Process(target=elsewhere, args=(path, key, ours, ready, answers))
                for _ in range(2)
            ]
            for child in children:
                child.start()
            try:
                ready.wait(60)
                time.sleep(0.3)
                assert answers.empty()
                store.rekey(ours)
                pair.pump()
                assert [answers.get(timeout=20) for _ in children] == [1, 1]
                time.sleep(0.2)
                store.close_session(ours)
                closed = Status.CLOSED_SESSION
                assert [answers.get(timeout=20) for _ in children] == [closed, closed]
            finally:
                for child in children:
                    child.join(20)
                    child.kill()
            assert [child.exitcode for child in children] == [0, 0]


# ---------------------------------------------------------------- asyncio


def test_asyncio(key: RawKey) -> None:
    """The store goes on working while many wait, and serves the rekey meanwhile."""

    async def main() -> None:
        async with AsyncStore.memory(key=key) as store:
            ada, bob = await store.create_account("ada"), await store.create_account("bob")
            package, _ = await store.create_package(bob)
            ours = await store.start_session(ada, "bob", package.data)
            theirs = (await store.receive(bob, await store.encrypt(ours, b"1"))).session
            await store.receive(ada, await store.encrypt(theirs, b"2"))
            await store.set_limits(ours, RekeyLimits(messages=1000))
            steps: List[pawl.Step] = []
            await store.trace(steps.append)
            epoch = await store.rekey(ours)
            waiting = [asyncio.create_task(store.wait(ours, epoch, 20)) for _ in range(30)]
            cancelled = asyncio.create_task(store.wait(ours, epoch + 1))
            with refused(Status.BUSY_WAITING):
                await store.wait(theirs, epoch, 0.05)

            async def serve() -> None:
                async for item in store.items():
                    if item.kind is ItemKind.FRAME:
                        await store.receive(bob if item.account == ada else ada, item.body)
                    await store.ack(item.seq)

            serving = asyncio.create_task(serve())
            assert await asyncio.wait_for(asyncio.gather(*waiting), 20) == [epoch] * 30
            assert await store.wait(theirs, epoch) == epoch
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            await asyncio.wait_for(nobody_waits(), 20)
            last = asyncio.create_task(store.wait(ours, epoch + 1))
            await asyncio.sleep(0.1)
            await store.close()
            with refused(Status.CLOSED):
                await asyncio.wait_for(last, 20)
            await asyncio.wait_for(serving, 20)
            assert [step.event for step in steps if step.session == theirs] == [
                pawl.StepEvent.ANSWERED,
                pawl.StepEvent.COMMITTED,
            ]

    async def nobody_waits() -> None:
        while any(thread.name.startswith("pawl-wait") for thread in threading.enumerate()):
            await asyncio.sleep(0.01)

    asyncio.run(main())
