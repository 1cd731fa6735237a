# SPDX-License-Identifier: Apache-2.0
"""Key packages, peers, sessions and messages, on every engine."""

from __future__ import annotations

import pickle
import random
from dataclasses import FrozenInstanceError, replace
from itertools import permutations
from pathlib import Path
from typing import Any, Callable, List

import pytest

import pawl
from conftest import Open
from doubles import SECOND, Time, refused
from pairs import HEADER, Pair, changed, drained, events
from pawl import Identity, RawKey, Received, Scope, Status, Store, Suite, Trust, _abi

HOUR = 3600 * SECOND
DAY = 24 * HOUR
UNKNOWN = b"\xfe" * 16
LARGEST = 16 << 20
OVERHEAD = 4096


@pytest.fixture
def pair(store: Store) -> Pair:
    return Pair(store)


# ---------------------------------------------------------------- key packages


def test_create_package(pair: Pair, clock: Time) -> None:
    store = pair.store
    package, keys = store.create_package(pair.bob, one_time_keys=3)
    assert len(package.id) == 16 and package.one_time_count == 3
    assert package.not_before_ns == clock.now - HOUR
    assert package.not_after_ns == clock.now + 90 * DAY
    assert package.not_before.year == 2027 and package.not_after > package.not_before
    assert [key.key_id for key in keys] == [1, 2, 3]
    assert {key.package for key in keys} == {package.id}
    data = [package.data, *(key.data for key in keys)]
    assert len(set(data)) == 4 and all(0 < len(part) <= 4096 for part in data)
    assert store.packages(pair.bob) == [package] and store.packages(pair.ada) == []
    assert pickle.loads(pickle.dumps(package)) == package and hash(keys[0]) != hash(keys[1])
    clock.now += SECOND
    second, none = store.create_package(pair.bob, lifetime=60)
    assert second.not_after_ns == clock.now + 60 * SECOND and none == []
    assert store.packages(pair.bob) == [package, second]
    store.delete_package(pair.bob, package.id)
    assert store.packages(pair.bob) == [second]
    for account, id in ((pair.bob, package.id), (pair.ada, second.id), (UNKNOWN, second.id)):
        with refused(Status.NOT_FOUND):
            store.delete_package(account, id)


def test_limits_of_packages(pair: Pair) -> None:
    store = pair.store
    for count in (501, -1, 1 << 32):
        with pytest.raises(pawl.MisuseError):
            store.create_package(pair.bob, one_time_keys=count)
    for lifetime in (0, -1, 90 * 86400 + 1, float("nan")):
        with pytest.raises(pawl.MisuseError):
            store.create_package(pair.bob, lifetime=lifetime)
    assert store.packages(pair.bob) == []
    for call in (store.create_package, store.packages):
        with refused(Status.NOT_FOUND):
            call(UNKNOWN)
    _, keys = store.create_package(pair.bob, one_time_keys=500, lifetime=90 * 86400)
    assert len({key.data for key in keys}) == 500
    for _ in range(15):
        store.create_package(pair.bob)
    with refused(Status.LIMIT_PACKAGES):
        store.create_package(pair.bob)
    store.create_package(pair.ada)
    assert len(store.packages(pair.bob)) == 16


def test_packages_in_a_batch(pair: Pair) -> None:
    with pytest.raises(ZeroDivisionError), pair.store.batch() as batch:
        batch.create_package(pair.bob)
        raise ZeroDivisionError
    assert pair.store.packages(pair.bob) == []
    with pair.store.batch() as batch:
        package, _ = batch.create_package(pair.bob)
        assert batch.packages(pair.bob) == [package]
    assert pair.store.packages(pair.bob) == [package]


def test_a_one_time_key_is_used_once(pair: Pair) -> None:
    store = pair.store
    package, (key,) = store.create_package(pair.bob, one_time_keys=1)
    eve = store.create_account("eve")
    ours = store.start_session(pair.ada, "bob", package.data + key.data)
    hers = store.start_session(eve, "bob", package.data + key.data)
    frame = store.encrypt(hers, b"late")
    assert store.receive(pair.bob, store.encrypt(ours, b"first")).new_session
    assert [row.one_time_count for row in store.packages(pair.bob)] == [0]
    with refused(Status.NOT_FOUND):
        store.receive(pair.bob, frame)
    assert store.sessions(pair.bob, "eve") == []
    other = store.start_session(eve, "bob", package.data)
    assert store.receive(pair.bob, store.encrypt(other, b"without")).plaintext == b"without"


def test_a_deleted_package(pair: Pair) -> None:
    store = pair.store
    frame = store.encrypt(pair.start(), b"late")
    store.delete_package(pair.bob, store.packages(pair.bob)[0].id)
    with refused(Status.NOT_FOUND):
        store.receive(pair.bob, frame)


# ---------------------------------------------------------------- starting


@pytest.mark.parametrize("one_time", [False, True])
def test_round_trip(pair: Pair, one_time: bool) -> None:
    store = pair.store
    ours = pair.start(one_time)
    assert type(ours) is bytes and len(ours) == 16 and ours[-1] & 1 == 0
    first = store.encrypt(ours, b"one")
    received = store.receive(pair.bob, first)
    theirs = ours[:-1] + bytes([ours[-1] | 1])
    assert received == Received(b"one", theirs, 0, 0, False, True, False)
    again = store.receive(pair.bob, store.encrypt(ours, b"two"))
    assert again == Received(b"two", theirs, 0, 1, False, False, False)
    answer = store.encrypt(theirs, b"three")
    assert store.receive(pair.ada, answer) == Received(b"three", ours, 0, 0, False, False, False)
    last = store.receive(pair.bob, store.encrypt(ours, b"four"))
    assert (last.plaintext, last.index) == (b"four", 2)
    assert b"one" not in first and b"three" not in answer
    assert store.verify() == []


def test_session_rows(pair: Pair, clock: Time) -> None:
    store = pair.store
    ada, bob = (store.account(id).identity for id in (pair.ada, pair.bob))
    ours = pair.start()
    before = store.session(ours)
    assert (before.id, before.account, before.peer) == (ours, pair.ada, bob)
    assert (before.epoch, before.received, before.skipped) == (0, 0, 0)
    assert before.suite in (Suite.X25519, Suite.XWING) and before.created_ns == clock.now
    assert before.initiator and not before.confirmed
    assert not before.receive_only and not before.desynchronized
    assert before.created.year == 2027
    theirs = store.receive(pair.bob, store.encrypt(ours, b"1")).session
    other = store.session(theirs)
    assert (other.account, other.peer, other.received) == (pair.bob, ada, 1)
    assert not other.initiator and not other.confirmed and other.suite is before.suite
    assert other.ends_ns == clock.now + 7 * DAY and other.ends is not None
    store.receive(pair.ada, store.encrypt(theirs, b"2"))
    confirmed = store.session(ours)
    assert confirmed.confirmed and confirmed.ends_ns is None is confirmed.ends
    assert confirmed.received == 1 and confirmed.sent > 0
    store.receive(pair.bob, store.encrypt(ours, b"3"))
    assert store.session(theirs).confirmed and store.session(theirs).ends_ns is None
    assert store.sessions(pair.ada, "bob") == [confirmed]
    assert [row.id for row in store.sessions(pair.bob, "ada")] == [theirs]
    clock.now += SECOND
    second = pair.start()
    assert [row.id for row in store.sessions(pair.ada, "bob")] == [ours, second]
    assert pickle.loads(pickle.dumps(confirmed)) == confirmed
    with pytest.raises(FrozenInstanceError):
        setattr(confirmed, "epoch", 1)


def test_packages_that_are_refused(pair: Pair, clock: Time) -> None:
    store = pair.store
    package, (key,) = store.create_package(pair.bob, one_time_keys=1)
    _, (stranger,) = store.create_package(pair.bob, one_time_keys=1)
    whole = package.data + key.data

    def start(data: Any, name: str = "bob", account: bytes = pair.ada) -> bytes:
        return store.start_session(account, name, data)

    for name in ("Bob", "eve", "bob "):
        with refused(Status.AUTH):
            start(whole, name)
    for name in ("", "x" * 256, "a\0b", "\ud800"):
        with refused(Status.MISUSE_ACCOUNT):
            start(whole, name)
    for data in (b"", whole[:-1], whole + b"\0", key.data, b"\1\1"):
        with refused(Status.MISUSE_PACKAGE):
            start(data)
    with refused(Status.VERSION):
        start(b"\2" + whole[1:])
    for data in (changed(whole, 20), changed(whole, len(whole) - 1), package.data + stranger.data):
        with refused(Status.AUTH):
            start(data)
    with refused(Status.STATE_SELF):
        start(whole, account=pair.bob)
    with refused(Status.NOT_FOUND):
        start(whole, account=UNKNOWN)
    with pytest.raises(TypeError):
        start("package")
    now = clock.now
    for wrong in (now - HOUR - SECOND, now + 90 * DAY + SECOND):
        clock.now = wrong
        with refused(Status.TIME):
            start(whole)
    clock.now = now
    assert store.sessions(pair.ada, "bob") == []
    session = start(bytearray(whole))
    clock.now += 90 * DAY + SECOND
    with refused(Status.TIME):
        store.encrypt(session, b"the package is over before the first message")


def test_limit_of_sessions(pair: Pair) -> None:
    for _ in range(8):
        pair.store.start_session(pair.ada, "bob", pair.package())
        pair.store.delete_package(pair.bob, pair.store.packages(pair.bob)[0].id)
    with refused(Status.LIMIT_SESSIONS):
        pair.start()
    assert len(pair.store.sessions(pair.ada, "bob")) == 8


def test_close_session(pair: Pair) -> None:
    store = pair.store
    ours, theirs = pair.connect()
    frame = store.encrypt(ours, b"late")
    store.close_session(theirs)
    assert store.sessions(pair.bob, "ada") == []
    for call in (store.session, store.close_session):
        with refused(Status.NOT_FOUND):
            call(theirs)
    for data in (b"", b"x"):
        with refused(Status.NOT_FOUND):
            store.encrypt(theirs, data)
        with refused(Status.NOT_FOUND):
            store.send(theirs, data)
    with pytest.raises((pawl.NotFoundError, pawl.ReplayError)):
        store.receive(pair.bob, frame)
    assert store.session(ours).confirmed


def test_a_welcome_of_a_closed_session_is_a_replay(pair: Pair) -> None:
    store = pair.store
    ours = pair.start()
    first, second = store.encrypt(ours, b"1"), store.encrypt(ours, b"2")
    store.close_session(store.receive(pair.bob, first).session)
    for frame in (first, second):
        with refused(Status.REPLAY):
            store.receive(pair.bob, frame)


def test_deleting_an_account_ends_its_sessions(pair: Pair) -> None:
    ours, theirs = pair.connect()
    pair.store.delete_account(pair.ada)
    with refused(Status.NOT_FOUND):
        pair.store.encrypt(ours, b"x")
    assert pair.store.session(theirs).id == theirs


# ---------------------------------------------------------------- messages


@pytest.mark.parametrize("size", [0, 1, 1000, LARGEST])
def test_sizes(key: RawKey, size: int) -> None:
    with Store.memory(key=key) as store:
        pair = Pair(store)
        ours, theirs = pair.connect()
        plaintext = random.Random(size).randbytes(size)
        frame = store.encrypt(ours, plaintext)
        assert size < len(frame) <= size + OVERHEAD
        received = store.receive(pair.bob, memoryview(frame))
        assert received.plaintext == plaintext and type(received.plaintext) is bytes
        for call in (store.encrypt, store.send):
            with refused(Status.LIMIT_MESSAGE):
                call(ours, bytes(LARGEST + 1))


def test_the_size_of_a_frame(pair: Pair) -> None:
    """As Protocol.md counts it: header and tag; a welcome only until the answer."""
    frame = pair.store.encrypt(pair.start(), bytes(64))
    assert frame[1] == 2 and len(frame) > 134
    frame = pair.store.encrypt(pair.connect()[0], bytes(64))
    assert frame[1] == 1 and len(frame) == HEADER + 64 + 16 == 134


def test_buffers(pair: Pair) -> None:
    ours, theirs = pair.connect()
    for buffer in (b"abc", bytearray(b"abc"), memoryview(b"xabcx")[1:4]):
        frame = pair.store.encrypt(ours, buffer)
        assert pair.store.receive(pair.bob, bytearray(frame)).plaintext == b"abc"
    calls: List[Callable[[Any], object]] = [
        lambda data: pair.store.encrypt(ours, data),
        lambda data: pair.store.send(ours, data),
        lambda data: pair.store.receive(pair.bob, data),
        lambda data: pair.store.receive_many(pair.bob, [data]),
    ]
    for call in calls:
        with pytest.raises(TypeError):
            call("abc")
        with pytest.raises(BufferError):
            call(memoryview(b"abcdef")[::2])
    again = bytearray(frame)
    with pytest.raises(pawl.ReplayError) as raised:
        pair.store.receive(pair.bob, again)
    again.append(1)  # not held by the error
    assert raised.value.reason is Status.REPLAY


def test_received_hides_its_plaintext(pair: Pair) -> None:
    ours, _ = pair.connect()
    received = pair.store.receive(pair.bob, pair.store.encrypt(ours, b"hidden!"), keep=True)
    kept = pair.store.kept(received.session)
    assert received.plaintext == b"hidden!" == kept[0].plaintext
    assert "hidden!" not in repr(received) + repr(kept)


@pytest.mark.parametrize("size", [1, 100, 5000])
def test_plaintexts_are_wiped(pair: Pair, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the copies that were returned."""
    used: List[Any] = []

    def room(size: int) -> Any:
        used.append(_abi.room(size))
        return used[-1]

    pair.store.keep_history(pair.bob)
    ours, _ = pair.connect()
    pair.store.rekey(ours)
    pair.pump()
    frame, other = (pair.store.encrypt(ours, bytes([7]) * size) for _ in range(2))
    monkeypatch.setattr("pawl.accounts.room", room)
    found: List[Any] = [
        pair.store.receive(pair.bob, frame),
        *pair.store.receive_many(pair.bob, [other, frame]),
        pair.store.open_history(pair.bob, frame),
    ]
    with refused(Status.REPLAY):
        pair.store.receive(pair.bob, frame)
    assert isinstance(found.pop(2), pawl.ReplayError)
    assert [each.plaintext for each in found] == [bytes([7]) * size] * 3
    assert len(used) == 4 and not any(any(out.raw) for out in used)


def test_values_have_all_their_fields(pair: Pair, scope: Scope) -> None:
    ours, _ = pair.connect()
    pair.store.put(scope, "n", b"x")
    pair.store.send(ours, b"x")
    values: List[Any] = [
        pair.store.receive(pair.bob, pair.store.encrypt(ours, b"x")),
        pair.store.get(scope, "n"),
        pair.store.metadata(scope, "n"),
        *drained(pair.store),
    ]
    assert len(values) == 4
    for value in values:
        assert replace(value) == value and hash(value) == hash(replace(value))
        assert list(vars(replace(value))) == list(vars(value))


def test_out_of_order(pair: Pair) -> None:
    ours, theirs = pair.connect()
    for order in permutations(range(4)):
        sent = [pair.store.encrypt(ours, b"%d" % number) for number in range(4)]
        for number in order:
            assert pair.store.receive(pair.bob, sent[number]).plaintext == b"%d" % number
    assert pair.store.session(theirs).skipped == 0


def test_lost_and_late(pair: Pair) -> None:
    ours, theirs = pair.connect()
    sent = [pair.store.encrypt(ours, b"%d" % number) for number in range(40)]
    assert pair.store.receive(pair.bob, sent[-1]).plaintext == b"39"
    assert pair.store.session(theirs).skipped == 39
    assert pair.store.receive(pair.bob, sent[7]).plaintext == b"7"
    assert pair.store.session(theirs).skipped == 38


def test_replay(pair: Pair) -> None:
    store = pair.store
    ours = pair.start()
    first = store.encrypt(ours, b"1")
    theirs = store.receive(pair.bob, first).session
    answer = store.encrypt(theirs, b"2")
    store.receive(pair.ada, answer)
    third, fourth = store.encrypt(ours, b"3"), store.encrypt(ours, b"4")
    store.receive(pair.bob, fourth)
    store.receive(pair.bob, third)
    before = store.session(ours), store.session(theirs)
    for account, frame in [(pair.bob, first), (pair.ada, answer), (pair.bob, third)]:
        with pytest.raises(pawl.ReplayError):
            store.receive(account, frame)
    assert (store.session(ours), store.session(theirs)) == before
    assert "DESYNCHRONIZED" not in events(drained(store))


def test_damaged_frames(pair: Pair) -> None:
    """Refused, and the message can still be read afterwards."""
    store = pair.store
    ours, theirs = pair.connect()
    frame = store.encrypt(ours, b"whole")
    before = store.session(theirs)
    with refused(Status.VERSION):
        store.receive(pair.bob, b"\7" + frame[1:])
    with refused(Status.NOT_FOUND):
        store.receive(pair.bob, changed(frame, 2))
    for at in range(10, HEADER):
        with refused(Status.AUTH):
            store.receive(pair.bob, changed(frame, at))
    for size in (0, 1, HEADER - 1, HEADER, HEADER + 15):
        with pytest.raises(pawl.AuthError):
            store.receive(pair.bob, frame[:size])
    with pytest.raises(pawl.AuthError):
        store.receive(pair.ada, frame)  # thrown back at its sender
    with refused(Status.NOT_FOUND):
        store.receive(UNKNOWN, frame)
    assert store.session(theirs) == before and drained(store) == []
    for at in (HEADER, len(frame) - 1):
        with refused(Status.DESYNCHRONIZED):
            store.receive(pair.bob, changed(frame, at))
    assert store.session(theirs) == replace(before, desynchronized=True)
    assert events(drained(store)) == ["DESYNCHRONIZED"]
    assert store.receive(pair.bob, frame).plaintext == b"whole"


def test_keep(pair: Pair) -> None:
    store = pair.store
    ours, theirs = pair.connect()
    sent = [store.encrypt(ours, b"%d" % number) for number in range(5)]
    assert store.kept(theirs) == [] == store.kept(ours)
    for number in (4, 0, 2):
        received = store.receive(pair.bob, sent[number], keep=True)
        assert (received.plaintext, received.again) == (b"%d" % number, False)
    store.receive(pair.bob, sent[1])
    kept = store.kept(theirs)
    assert [message.plaintext for message in kept] == [b"0", b"2", b"4"]
    assert [message.index for message in kept] == sorted(message.index for message in kept)
    assert {(message.session, message.epoch) for message in kept} == {(theirs, 0)}
    assert store.kept(theirs, limit=2) == kept[:2]
    again = store.receive(pair.bob, sent[2], keep=True)
    assert again.again and again.plaintext == b"2" and again.index == kept[1].index
    assert store.receive(pair.bob, sent[2]).again
    with pytest.raises(pawl.ReplayError):
        store.receive(pair.bob, sent[1], keep=True)
    for _ in range(2):
        store.forget(theirs, 0, kept[1].index)
    assert store.kept(theirs) == [kept[0], kept[2]]
    with pytest.raises(pawl.ReplayError):
        store.receive(pair.bob, sent[2], keep=True)
    for limit in (0, 10001, -1, 1 << 64):
        with refused(Status.MISUSE_SIZE):
            store.kept(theirs, limit)
    for epoch, index in ((-1, 0), (1 << 32, 0), (0, -1), (0, 1 << 32)):
        with refused(Status.MISUSE_SIZE):
            store.forget(theirs, epoch, index)
    store.close_session(theirs)
    assert store.verify() == []


def test_forgetting_in_no_session(pair: Pair) -> None:
    ours, theirs = pair.connect()
    pair.store.receive(pair.bob, pair.store.encrypt(ours, b"x"), keep=True)
    pair.store.close_session(theirs)
    for session in (theirs, UNKNOWN):
        pair.store.forget(session, 0, 1)
        assert pair.store.kept(session) == []


def test_everything_survives_reopening(reopen: Open) -> None:
    with reopen() as store:
        pair = Pair(store)
        ours, theirs = pair.connect()
        frames = [store.encrypt(ours, b"%d" % number) for number in range(3)]
        assert store.receive(pair.bob, frames[2], keep=True).index == 3
        (before,) = store.sessions(pair.bob, "ada")
        rows = store.peers(pair.bob), store.packages(pair.bob)
    with reopen() as store:
        assert (store.peers(pair.bob), store.packages(pair.bob)) == rows
        (row,) = store.sessions(pair.bob, "ada")
        assert replace(row, sent=0) == replace(before, sent=0)
        assert row.sent <= before.sent, "what was reserved and not used is given back"
        assert [message.plaintext for message in store.kept(theirs)] == [b"2"]
        assert store.receive(pair.bob, frames[2], keep=True).again
        assert store.receive(pair.bob, frames[0]).plaintext == b"0"
        late = store.receive(pair.bob, store.encrypt(ours, b"later"))
        assert late.plaintext == b"later" and late.index > 3
        assert store.receive(pair.bob, frames[1]).plaintext == b"1"
        assert store.verify() == []


# ---------------------------------------------------------------- many at once


def test_receive_many(pair: Pair) -> None:
    store = pair.store
    ours, theirs = pair.connect()
    first, second, third = (store.encrypt(ours, b"%d" % number) for number in range(3))
    empty = store.encrypt(ours, b"")
    given = [second, first, second, changed(third, HEADER - 1), b"\7" + third, b"", third, empty]
    got = store.receive_many(pair.bob, iter(given))
    whole = [one for one in got if isinstance(one, Received)]
    assert [got.index(one) for one in whole] == [0, 1, 6, 7]
    assert [one.plaintext for one in whole] == [b"1", b"0", b"2", b""]
    assert [one.index for one in whole] == [2, 1, 3, 4]
    assert {one.session for one in whole} == {theirs}
    refusals = [one.reason for one in got if isinstance(one, pawl.PawlError)]
    assert refusals == [Status.REPLAY, Status.AUTH, Status.VERSION, Status.AUTH]
    assert isinstance(got[2], pawl.ReplayError) and isinstance(got[3], pawl.AuthError)
    assert store.receive_many(pair.bob, []) == []
    assert store.session(theirs).received == 5


def test_receive_many_keeps(pair: Pair) -> None:
    store = pair.store
    ours = pair.start()
    sent = [bytearray(store.encrypt(ours, b"%d" % number)) for number in range(3)]
    got = store.receive_many(pair.bob, sent, keep=True)
    assert [one.new_session for one in got if isinstance(one, Received)] == [True, False, False]
    got = store.receive_many(pair.bob, sent, keep=True)
    assert [one.again for one in got if isinstance(one, Received)] == [True] * 3
    assert isinstance(got[0], Received)
    assert [kept.plaintext for kept in store.kept(got[0].session)] == [b"0", b"1", b"2"]


def test_receive_many_of_nobody(pair: Pair) -> None:
    ours, _ = pair.connect()
    frame = pair.store.encrypt(ours, b"x")
    try:
        (error,) = pair.store.receive_many(UNKNOWN, [frame])
    except pawl.NotFoundError:
        pass
    else:
        assert isinstance(error, pawl.NotFoundError)
    with refused(Status.MISUSE_SIZE):
        pair.store.receive_many(pair.bob, [b""] * 10001)
    assert pair.store.receive(pair.bob, frame).plaintext == b"x"


# ---------------------------------------------------------------- batches


def test_batch(pair: Pair) -> None:
    """A message, its answer and something else: all or nothing."""
    store = pair.store
    ours, theirs = pair.connect()
    frame = store.encrypt(ours, b"question")
    with pytest.raises(ZeroDivisionError), store.batch() as batch:
        received = batch.receive(pair.bob, frame)
        assert received.plaintext == b"question"
        batch.create_account("lost")
        batch.send(theirs, b"lost")
        raise ZeroDivisionError
    assert drained(store) == [] and len(store.accounts()) == 2
    with store.batch() as batch:
        assert batch.receive(pair.bob, frame, keep=True).plaintext == b"question"
        batch.create_account("seen")
        ticket = batch.send(theirs, b"answer")
        with refused(Status.AUTH):
            batch.receive(pair.bob, changed(frame, HEADER - 1))
        assert [kept.plaintext for kept in batch.kept(theirs)] == [b"question"]
        assert batch.session(theirs).received == 2
        assert batch.peer(pair.bob, "ada").session == theirs
    (item,) = drained(store)
    assert item.seq == ticket
    assert store.receive(pair.ada, item.body).plaintext == b"answer"
    assert len(store.accounts()) == 3


def test_encrypting_in_a_batch(pair: Pair) -> None:
    store = pair.store
    ours = pair.start()
    with store.batch() as batch, refused(Status.STATE_RESERVATION):
        batch.encrypt(ours, b"nothing reserved")
    first = store.encrypt(ours, b"1")
    with store.batch() as batch:
        second = batch.encrypt(ours, b"2")
    for frame, plaintext in ((second, b"2"), (first, b"1")):
        assert store.receive(pair.bob, frame).plaintext == plaintext


# ---------------------------------------------------------------- peers


def test_peers(pair: Pair, clock: Time) -> None:
    store = pair.store
    assert store.peers(pair.ada) == [] == list(store.iterate_peers(pair.ada, 1))
    with refused(Status.NOT_FOUND):
        store.peer(pair.ada, "bob")
    ours = pair.start()
    peer = store.peer(pair.ada, "bob")
    assert peer.identity == store.account(pair.bob).identity
    assert (peer.trust, peer.session, peer.new_identity) == (Trust.UNVERIFIED, ours, None)
    assert peer.changed_ns == clock.now and peer.changed.year == 2027
    assert peer.suite is store.session(ours).suite
    assert store.peers(pair.ada) == [peer]
    store.trust_peer(pair.ada, peer.identity, Trust.VERIFIED)
    assert store.peer(pair.ada, "bob") == replace(peer, trust=Trust.VERIFIED)
    store.allow_suite(pair.ada, "bob", Suite.X25519)
    assert store.peer(pair.ada, "bob").suite is Suite.X25519
    assert pickle.loads(pickle.dumps(peer)) == peer
    with refused(Status.NOT_FOUND):
        store.allow_suite(pair.ada, "eve", Suite.X25519)


def test_pages_of_peers(pair: Pair) -> None:
    store = pair.store
    names = {f"peer {number}" for number in range(7)}
    for name in names:
        identity = Identity(bytes(range(32)), bytes(range(32, 64)), name)
        store.trust_peer(pair.ada, identity, Trust.VERIFIED)
    whole = store.peers(pair.ada)
    assert {peer.identity.name for peer in whole} == names
    assert all(peer.trust is Trust.VERIFIED and peer.session is None for peer in whole)
    assert {peer.suite for peer in whole} == {Suite.X25519}
    assert store.peers(pair.ada, limit=3) == whole[:3]
    assert store.peers(pair.ada, whole[2].identity.name, 3) == whole[3:6]
    for page in (1, 3, 7, 8, 10000):
        assert list(store.iterate_peers(pair.ada, page)) == whole
    assert store.peers(pair.bob) == []
    for limit in (0, 10001, -1, 1 << 64):
        with refused(Status.MISUSE_SIZE):
            store.peers(pair.ada, limit=limit)


def test_other_keys_of_an_unverified_peer(pair: Pair) -> None:
    """They are taken, and the host is told."""
    store = pair.store
    ours, _ = pair.connect()
    pair.bob = store.create_account("bob")
    fresh = pair.start()
    (event,) = [item for item in drained(store) if item.event]
    assert event.event is pawl.Event.IDENTITY_CHANGED and event.account == pair.ada
    peer = store.peer(pair.ada, "bob")
    assert peer.identity == store.account(pair.bob).identity == event.peer
    assert peer.session == fresh and peer.new_identity is None
    assert store.receive(pair.bob, store.encrypt(fresh, b"x")).plaintext == b"x"


def test_other_keys_of_a_verified_peer(pair: Pair) -> None:
    """Nothing is sent to them before they are accepted, and what they send says so."""
    store = pair.store
    ours, _ = pair.connect()
    known = store.peer(pair.ada, "bob").identity
    store.trust_peer(pair.ada, known, Trust.VERIFIED)
    pair.bob = store.create_account("bob")
    changed_identity = store.account(pair.bob).identity
    with refused(Status.STATE_IDENTITY):
        pair.start()
    package, _keys = store.create_package(pair.ada)
    theirs = store.start_session(pair.bob, "ada", package.data)
    received = store.receive(pair.ada, store.encrypt(theirs, b"it is me"))
    assert received.unaccepted and received.plaintext == b"it is me"
    assert "IDENTITY_CHANGED" in events(drained(store))
    peer = store.peer(pair.ada, "bob")
    assert (peer.identity, peer.trust, peer.session) == (known, Trust.VERIFIED, ours)
    assert peer.new_identity == changed_identity
    with refused(Status.STATE_IDENTITY):
        store.encrypt(received.session, b"to whom?")
    assert store.encrypt(ours, b"still to the former keys")
    store.trust_peer(pair.ada, changed_identity, Trust.VERIFIED)
    peer = store.peer(pair.ada, "bob")
    assert (peer.identity, peer.new_identity) == (changed_identity, None)
    assert store.session(ours).receive_only and store.session(ours).ends_ns is not None
    for call in (store.encrypt, store.send):
        with refused(Status.STATE_RECEIVE_ONLY):
            call(ours, b"x")
    answer = store.receive(pair.bob, store.encrypt(received.session, b"hello"))
    assert answer.plaintext == b"hello"


def test_suites(pair: Pair) -> None:
    store = pair.store
    store.set_min_suite(pair.ada, Suite.X25519)
    with refused(Status.NOT_FOUND):
        store.set_min_suite(UNKNOWN, Suite.X25519)
    for wrong in (0, 3, -1, 1 << 32):
        with pytest.raises(pawl.MisuseError):
            store.set_min_suite(pair.ada, Suite(wrong))
        with pytest.raises(pawl.MisuseError):
            store.allow_suite(pair.ada, "bob", Suite(wrong))
    identity = store.account(pair.bob).identity
    for wrong in (2, -1, 1 << 32):
        with pytest.raises(pawl.MisuseError):
            store.trust_peer(pair.ada, identity, Trust(wrong))
    pair.connect()


# ---------------------------------------------------------------- a peer from an old copy


def test_reset(path: Path, key: RawKey, clock: Time, tmp_path: Path) -> None:
    """Ada is put back to an old copy; Bob notices at once, is told once, and starts anew."""
    copy = tmp_path / "copy"
    with Store.memory(key=key, clock=clock) as other:
        with Store.open(path, key=key, create=True, clock=clock) as store:
            pair = Pair(store, other)
            ours, theirs = pair.connect()
            store.copy(copy)
            copied = store.session(ours).sent
            while other.receive(pair.bob, store.encrypt(ours, b"lost")).index <= copied:
                pass
        with Store.open(copy, key=key, clock=clock) as store:
            with refused(Status.DESYNCHRONIZED):
                other.receive(pair.bob, store.encrypt(ours, b"again"))
            with refused(Status.DESYNCHRONIZED):
                other.receive(pair.bob, store.encrypt(ours, b"and again"))
            assert other.session(theirs).desynchronized
            assert events(drained(other)) == ["DESYNCHRONIZED"]
            package, _ = store.create_package(pair.ada)
            wrong, _ = store.create_package(store.create_account("ada"))
            with refused(Status.AUTH):
                other.reset_session(theirs, wrong.data)
            with refused(Status.NOT_FOUND):
                other.reset_session(UNKNOWN, package.data)
            fresh = other.reset_session(theirs, bytearray(package.data))
            assert other.session(theirs).receive_only and other.session(fresh).initiator
            with refused(Status.STATE_RECEIVE_ONLY):
                other.encrypt(theirs, b"x")
            answer = store.receive(pair.ada, other.encrypt(fresh, b"anew"))
            assert answer.new_session and answer.plaintext == b"anew"
            with refused(Status.BUSY_RATE):
                other.reset_session(theirs, package.data)


# ---------------------------------------------------------------- bad arguments


def test_bad_ids(pair: Pair) -> None:
    store = pair.store
    identity = store.account(pair.bob).identity
    package, _ = store.create_package(pair.bob)
    calls: List[Callable[[Any], object]] = [
        store.create_package,
        store.packages,
        lambda id: store.delete_package(id, package.id),
        lambda id: store.delete_package(pair.bob, id),
        lambda id: store.set_min_suite(id, Suite.X25519),
        lambda id: store.peer(id, "bob"),
        store.peers,
        lambda id: list(store.iterate_peers(id)),
        lambda id: store.trust_peer(id, identity, Trust.VERIFIED),
        lambda id: store.allow_suite(id, "bob", Suite.X25519),
        lambda id: store.start_session(id, "bob", package.data),
        lambda id: store.reset_session(id, package.data),
        store.close_session,
        store.session,
        lambda id: store.sessions(id, "bob"),
        lambda id: store.encrypt(id, b"x"),
        lambda id: store.send(id, b"x"),
        lambda id: store.receive(id, b"x"),
        lambda id: store.receive_many(id, [b"x"]),
        store.kept,
        lambda id: store.forget(id, 0, 0),
    ]
    for call in calls:
        for wrong in (b"", b"x" * 15, b"x" * 17):
            with refused(Status.MISUSE_SIZE):
                call(wrong)
        for type_ in ("x" * 16, bytearray(16), None):
            with pytest.raises(TypeError, match="16 bytes"):
                call(type_)
    assert store.packages(pair.bob) == [package] and store.peers(pair.ada) == []


def test_bad_names_of_peers(pair: Pair) -> None:
    store = pair.store
    calls: List[Callable[[str], object]] = [
        lambda name: store.peer(pair.ada, name),
        lambda name: store.sessions(pair.ada, name),
        lambda name: store.allow_suite(pair.ada, name, Suite.X25519),
    ]
    for call in calls:
        for name in ("", "x" * 256, "a\0b", "\ud800"):
            with refused(Status.MISUSE_ACCOUNT):
                call(name)
    identity = store.account(pair.bob).identity
    with refused(Status.MISUSE_ACCOUNT):
        store.trust_peer(pair.ada, replace(identity, name=""), Trust.VERIFIED)
    with refused(Status.MISUSE_SIZE):
        store.trust_peer(pair.ada, replace(identity, signing_key=b""), Trust.VERIFIED)


def test_types_are_public() -> None:
    names = "Accounts Event Item ItemKind Kept OneTimeKey Package Peer Received Request Session"
    assert {*names.split(), "Suite", "Trust"} <= set(pawl.__all__)
    assert all(hasattr(pawl, name) for name in pawl.__all__)
