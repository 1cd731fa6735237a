# SPDX-License-Identifier: Apache-2.0
"""History: stored frames open again, after their sessions and for as long as the account keeps it."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import replace
from typing import Dict, Iterator, List, Tuple

import pytest

from doubles import SECOND, Time, refused
from pairs import Pair, changed, frames
from pawl import RawKey, RekeyLimits, Status, Store
from pawl.aio import AsyncStore


@pytest.fixture
def pair(store: Store, clock: Time) -> Iterator[Pair]:
    with Store.memory(key=RawKey.generate(), clock=clock) as other:
        yield Pair(store, other)


def keep(pair: Pair) -> None:
    pair.store.keep_history(pair.ada)
    pair.other.keep_history(pair.bob)


def talk(pair: Pair, ours: bytes, theirs: bytes, perfect: bool = False) -> Dict[bytes, bytes]:
    """Several epochs of messages both ways; each frame with what it says."""
    said: Dict[bytes, bytes] = {}
    if perfect:
        pair.store.set_limits(ours, RekeyLimits(perfect=True))
        pair.other.set_limits(theirs, RekeyLimits(perfect=True))
    for number in range(4):
        sides = [(pair.store, ours), (pair.other, theirs)]
        if not perfect:
            store, session = sides[number % 2]
            store.rekey(session)
            pair.pump()
        for store, session in sides:
            store.send(session, b"%d" % number)
            for frame in frames(pair.pump()):
                said[frame] = b"%d" % number
    return said


@pytest.mark.parametrize("perfect", [False, True])
def test_everything_opens(pair: Pair, clock: Time, perfect: bool) -> None:
    keep(pair)
    assert pair.store.keeps_history(pair.ada)
    ours, theirs = pair.connect()
    said = talk(pair, ours, theirs, perfect)
    pair.store.close_session(ours)
    pair.other.close_session(theirs)
    pair.pump(lost=lambda item: True)
    clock.now += 30 * 86_400 * SECOND
    for store in (pair.store, pair.other):
        while store.run_due():
            pass
    with refused(Status.NOT_FOUND):
        pair.store.session(ours)
    seen: List[Tuple[bool, bool]] = []
    for frame, text in said.items():
        for _ in range(2):
            at_ada = pair.store.open_history(pair.ada, frame)
            at_bob = pair.other.open_history(pair.bob, bytearray(frame))
            assert at_ada.plaintext in (text, None) and at_ada.plaintext == at_bob.plaintext
            assert (at_ada.epoch, at_ada.index) == (at_bob.epoch, at_bob.index)
            assert (at_ada.session, at_bob.session) == (ours, theirs)
            assert (at_ada.peer.name, at_bob.peer.name) == ("bob", "ada")
            assert at_ada.sent is not at_bob.sent
            seen.append((at_ada.sent, at_ada.plaintext is None))
    assert seen.count((True, False)) == seen.count((False, False)) == 8
    assert not pair.store.verify()


def test_off(pair: Pair) -> None:
    ours, theirs = pair.connect()
    said = talk(pair, ours, theirs)
    assert not pair.store.keeps_history(pair.ada)
    assert pair.store.history(pair.ada) == []
    keep(pair)
    for frame in said:
        with refused(Status.NOT_FOUND):
            pair.store.open_history(pair.ada, frame)
    pair.store.rekey(ours)
    pair.pump()
    frame = pair.store.encrypt(ours, b"kept")
    assert pair.store.open_history(pair.ada, frame).plaintext == b"kept"
    for _ in range(2):
        pair.store.keep_history(pair.ada, False)
    assert pair.store.history(pair.ada) == []
    pair.store.keep_history(pair.ada)
    with refused(Status.NOT_FOUND):
        pair.store.open_history(pair.ada, frame)
    with refused(Status.NOT_FOUND):
        pair.store.keep_history(pair.bob)
    with refused(Status.NOT_FOUND):
        pair.store.keeps_history(pair.bob)


def test_tampered(pair: Pair) -> None:
    keep(pair)
    ours, _ = pair.connect()
    frame = pair.store.encrypt(ours, b"as it was")
    for at in range(22, len(frame)):
        with refused(Status.AUTH):
            pair.store.open_history(pair.ada, changed(frame, at))
    with refused(Status.AUTH):
        pair.store.open_history(pair.ada, b"")
    assert pair.store.open_history(pair.ada, frame).plaintext == b"as it was"


def test_list(pair: Pair, clock: Time) -> None:
    keep(pair)
    ours, theirs = pair.connect()
    talk(pair, ours, theirs)
    rows = pair.store.history(pair.ada)
    assert [(row.epoch, row.sent) for row in rows] == [(n // 2, n % 2 == 1) for n in range(10)]
    assert {row.session for row in rows} == {ours} and {row.first for row in rows} == {0}
    assert {row.peer for row in rows} == {pair.other.account(pair.bob).identity}
    assert all(row.closed for row in rows[:6]) and not any(row.closed for row in rows[8:])
    assert rows[0].end is not None and rows[-1].end is None
    assert pickle.loads(pickle.dumps(rows)) == rows
    assert list(pair.store.iterate_history(pair.ada, page=3)) == rows
    assert pair.store.history(pair.ada, after=rows[3], limit=2) == rows[4:6]
    with refused(Status.MISUSE_SIZE):
        pair.store.history(pair.ada, limit=0)
    with refused(Status.MISUSE_SIZE):
        pair.store.history(pair.ada, after=replace(rows[0], session=b""))


def test_asyncio() -> None:
    async def main() -> None:
        async with await AsyncStore.memory(key=RawKey.generate()) as store:
            account = await store.create_account("ada")
            assert not await store.keeps_history(account)
            await store.keep_history(account)
            assert await store.keeps_history(account)
            package, _ = await store.create_package(await store.create_account("bob"))
            session = await store.start_session(account, "bob", package.data)
            frame = await store.encrypt(session, b"hello")
            assert (await store.open_history(account, frame)).plaintext == b"hello"
            rows = await store.history(account)
            assert [row async for row in store.iterate_history(account, page=1)] == rows
            assert len(rows) == 2

    asyncio.run(main())
