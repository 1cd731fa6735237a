# SPDX-License-Identifier: Apache-2.0
"""Key packages that come and go by themselves."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import replace
from datetime import timedelta
from typing import Dict, Iterator, List, Tuple

import pytest

import pawl
from doubles import SECOND, Time, refused
from pairs import Pair
from pawl import (
    Event,
    Item,
    OneTimeKey,
    Package,
    PackageState,
    Publication,
    RawKey,
    Request,
    RotationOptions,
    Status,
    Store,
)
from pawl.aio import AsyncStore

HOUR = 3600 * SECOND
DAY = 24 * HOUR
FEW = RotationOptions(one_time_keys=3, one_time_floor=1)


@pytest.fixture
def pair(store: Store, clock: Time) -> Iterator[Pair]:
    """Bob's packages are in the store, and Ada is elsewhere."""
    with Store.memory(key=RawKey.generate(), clock=clock) as other:
        yield Pair(other, store)


def turn(store: Store) -> List[Item]:
    """Runs what is due, and takes what is to be done."""
    while store.run_due():
        pass
    return store.take()


def asked(store: Store, request: Request) -> Item:
    """The one request, and nothing else."""
    (item,) = turn(store)
    assert item.request is request
    return item


def carried(item: Item) -> Tuple[List[Package], List[OneTimeKey]]:
    packages = [one for one in item.packages if isinstance(one, Package)]
    keys = [one for one in item.packages if isinstance(one, OneTimeKey)]
    assert item.packages == (*packages, *keys) and item.count == len(keys)
    return packages, keys


def publish(store: Store) -> Tuple[Package, List[OneTimeKey]]:
    """The host's side of a rotation that is due."""
    item = asked(store, Request.PUBLISH)
    (package,), keys = carried(item)
    store.answer(item.seq, b"")
    assert states(store, item.account)[package.id] is PackageState.CURRENT
    return package, keys


def begun(pair: Pair, options: RotationOptions = FEW) -> Tuple[Package, List[OneTimeKey]]:
    """Bob's packages rotate, and the first is current."""
    pair.other.begin_rotation(pair.bob, options)
    return publish(pair.other)


def states(store: Store, account: bytes) -> Dict[bytes, PackageState]:
    return {package.id: package.state for package in store.packages(account)}


def welcome(pair: Pair, package: bytes) -> bytes:
    """The first frame of a session that Ada starts from a package."""
    return pair.store.encrypt(pair.store.start_session(pair.ada, "bob", package), b"hello")


# ---------------------------------------------------------------- one after another


def test_the_first_is_published(pair: Pair, clock: Time) -> None:
    store = pair.other
    store.begin_rotation(pair.bob)
    assert store.rotation(pair.bob) == pawl.Rotation(clock.now, clock.now + 7 * DAY, 0, 0)
    item = asked(store, Request.PUBLISH)
    assert (item.account, item.session) == (pair.bob, None)
    assert item.peer == store.account(pair.bob).identity
    (package,), keys = carried(item)
    assert package.state is PackageState.STAGED and package.remove is None
    assert [(key.package, key.key_id) for key in keys] == [
        (package.id, number) for number in range(1, 101)
    ]
    assert package.one_time_count == 100
    assert store.packages(pair.bob) == [package]
    assert store.rotation(pair.bob).one_time_count == 0
    with refused(Status.MISUSE_SIZE):
        store.answer(item.seq, b"nothing is to be said")
    store.answer(item.seq, b"")
    current = replace(package, state=PackageState.CURRENT)
    assert store.packages(pair.bob) == [current]
    planned = store.rotation(pair.bob)
    assert (planned.one_time_count, planned.superseded) == (100, 0)
    assert clock.now + 24 * DAY < planned.rotate_ns <= clock.now + 30 * DAY
    assert planned.readback - planned.rotate == timedelta(
        microseconds=planned.readback_ns // 1000 - planned.rotate_ns // 1000
    )
    assert turn(store) == []
    got = store.receive(pair.bob, welcome(pair, package.data + keys[41].data))
    assert got.plaintext == b"hello" and got.new_session
    assert store.rotation(pair.bob).one_time_count == 99
    assert store.rotation(pair.bob).rotate_ns == planned.rotate_ns
    for row in (item, current, planned, FEW):
        assert pickle.loads(pickle.dumps(row)) == row


def test_what_is_given_up_is_asked_for_again(pair: Pair, clock: Time) -> None:
    store = pair.other
    store.begin_rotation(pair.bob, FEW)
    item = asked(store, Request.PUBLISH)
    store.ack(item.seq)
    clock.now += HOUR - 1
    assert turn(store) == []
    clock.now += 1
    again = asked(store, Request.PUBLISH)
    assert again.seq > item.seq and again.packages == item.packages
    store.answer(again.seq, b"")
    assert states(store, pair.bob) == {carried(item)[0][0].id: PackageState.CURRENT}


def test_the_next_supersedes(pair: Pair, clock: Time) -> None:
    store = pair.other
    first, _ = begun(pair)
    used, late = welcome(pair, first.data), welcome(pair, first.data)
    clock.now = store.rotation(pair.bob).rotate_ns - 1
    store.answer(asked(store, Request.READ_BACK).seq, first.data)
    assert turn(store) == []
    clock.now += 1
    item = asked(store, Request.PUBLISH)
    (second,), keys = carried(item)
    assert states(store, pair.bob) == {
        first.id: PackageState.CURRENT,
        second.id: PackageState.STAGED,
    }, "publish before retire"
    store.answer(item.seq, b"")
    end = clock.now + 14 * DAY
    (row,) = (row for row in store.packages(pair.bob) if row.id == first.id)
    assert (row.state, row.remove_ns) == (PackageState.SUPERSEDED, end)
    assert row.remove is not None and row.remove.timestamp() == end // 1000 / 1e6
    planned = store.rotation(pair.bob)
    assert (planned.rotate_ns, planned.superseded) == (clock.now + 30 * DAY, 1)
    clock.now = end - 1
    turn(store)
    assert store.receive(pair.bob, used).plaintext == b"hello"
    clock.now = end
    turn(store)
    assert states(store, pair.bob) == {second.id: PackageState.CURRENT}
    assert store.rotation(pair.bob).superseded == 0
    with refused(Status.NOT_FOUND):
        store.receive(pair.bob, late)
    got = store.receive(pair.bob, welcome(pair, second.data + keys[0].data))
    assert got.plaintext == b"hello"


def test_packages_of_before_are_superseded(pair: Pair, clock: Time) -> None:
    own, _ = pair.other.create_package(pair.bob)
    assert (own.state, own.remove_ns) == (PackageState.OWN, None)
    package, _ = begun(pair, replace(FEW, keep=0))
    assert states(pair.other, pair.bob) == {
        own.id: PackageState.SUPERSEDED,
        package.id: PackageState.CURRENT,
    }
    clock.now += 1
    assert turn(pair.other) == []
    assert list(states(pair.other, pair.bob)) == [package.id]


def test_now(pair: Pair) -> None:
    first, _ = begun(pair)
    for _ in range(2):
        pair.other.rotate_now(pair.bob)
    item = asked(pair.other, Request.PUBLISH)
    pair.other.rotate_now(pair.bob)
    assert turn(pair.other) == [], "what is staged is not replaced"
    pair.other.answer(item.seq, b"")
    assert states(pair.other, pair.bob)[first.id] is PackageState.SUPERSEDED


# ---------------------------------------------------------------- what the server has


def told(store: Store, account: bytes) -> List[Publication]:
    """What was found, of which the next package is the remedy."""
    items = turn(store)
    events = [item for item in items if item.event is Event.PUBLICATION]
    assert [item.account for item in events] == [account] * len(events)
    requests = [item.request for item in items if item.request is not None]
    assert requests == [Request.PUBLISH] * len(events) and len(items) == 2 * len(events)
    return [Publication(item.count) for item in events]


@pytest.mark.parametrize(
    "served", ["current", "ABSENT", "EXPIRED", "SUPERSEDED", "FOREIGN", "UNREADABLE"]
)
def test_read_back(pair: Pair, clock: Time, served: str) -> None:
    store = pair.other
    if served == "EXPIRED":
        begun(pair, replace(FEW, lifetime=60, rotate=59))
        clock.now += 60 * SECOND
        assert told(store, pair.bob) == [Publication.EXPIRED] and turn(store) == []
        return
    old, _ = begun(pair)
    store.rotate_now(pair.bob)
    current, _ = publish(store)
    foreign, _ = pair.store.create_package(pair.ada)
    due = store.rotation(pair.bob).readback_ns
    clock.now = due - 1
    assert turn(store) == []
    clock.now = due
    item = asked(store, Request.READ_BACK)
    assert item.packages == () and item.body == b""
    body = {
        "current": current.data,
        "ABSENT": b"",
        "SUPERSEDED": old.data,
        "FOREIGN": foreign.data,
        "UNREADABLE": b"garbage",
    }[served]
    store.answer(item.seq, body)
    assert store.rotation(pair.bob).readback_ns == clock.now + 7 * DAY
    assert told(store, pair.bob) == ([] if served == "current" else [Publication[served]])


def test_a_lost_answer_is_read_back(pair: Pair, clock: Time) -> None:
    store = pair.other
    begun(pair)
    clock.now += 7 * DAY
    back = asked(store, Request.READ_BACK)
    store.rotate_now(pair.bob)
    while store.run_due():
        pass
    (staged,) = (row for row in store.packages(pair.bob) if row.state is PackageState.STAGED)
    store.answer(back.seq, staged.data)
    assert states(store, pair.bob)[staged.id] is PackageState.CURRENT
    assert turn(store) == [], "nothing is left to publish"


# ---------------------------------------------------------------- what peers do


def test_a_welcome_without_a_one_time_key(pair: Pair, clock: Time) -> None:
    store = pair.other
    package, keys = begun(pair)
    store.receive(pair.bob, welcome(pair, package.data + keys[0].data))
    assert store.rotation(pair.bob).rotate_ns > clock.now + 24 * DAY
    store.receive(pair.bob, welcome(pair, package.data))
    wanted = clock.now + 5 * SECOND
    assert store.rotation(pair.bob).rotate_ns == wanted
    clock.now += SECOND
    store.receive(pair.bob, welcome(pair, package.data))
    assert store.rotation(pair.bob).rotate_ns == wanted, "not pushed ahead"
    clock.now = wanted - 1
    assert turn(store) == []
    clock.now = wanted
    second, _ = publish(store)
    store.receive(pair.bob, welcome(pair, second.data))
    assert store.rotation(pair.bob).rotate_ns == wanted + HOUR, "once in a while"


def test_one_time_keys_run_out(pair: Pair) -> None:
    store = pair.other
    package, drawn = begun(pair, RotationOptions())
    store.report_one_time_keys(pair.bob, 20)
    assert turn(store) == [] and store.rotation(pair.bob).one_time_count == 20
    store.report_one_time_keys(pair.bob, 19)
    item = asked(store, Request.PUBLISH_KEYS)
    packages, keys = carried(item)
    assert packages == [] and {key.package for key in keys} == {package.id}
    assert [key.key_id for key in keys] == list(range(101, 182))
    store.answer(item.seq, b"")
    assert store.rotation(pair.bob).one_time_count == 100 and turn(store) == []
    for key in (drawn[0], keys[-1]):
        got = store.receive(pair.bob, welcome(pair, package.data + key.data))
        assert got.plaintext == b"hello"


def test_keys_that_are_given_up_are_asked_for_again(pair: Pair, clock: Time) -> None:
    store = pair.other
    begun(pair)
    store.report_one_time_keys(pair.bob, 0)
    item = asked(store, Request.PUBLISH_KEYS)
    store.ack(item.seq)
    clock.now += HOUR
    assert asked(store, Request.PUBLISH_KEYS).packages == item.packages != ()


@pytest.mark.parametrize("floor", [0, 1])
def test_floors(pair: Pair, floor: int) -> None:
    store = pair.other
    begun(pair, replace(FEW, one_time_floor=floor))
    store.report_one_time_keys(pair.bob, 1)
    assert turn(store) == []
    store.report_one_time_keys(pair.bob, 0)
    assert asked(store, Request.PUBLISH_KEYS).count == 3


def test_no_one_time_keys(pair: Pair) -> None:
    package, keys = begun(pair, RotationOptions(one_time_keys=0))
    assert keys == [] and package.one_time_count == 0
    pair.other.report_one_time_keys(pair.bob, 0)
    assert turn(pair.other) == []


# ---------------------------------------------------------------- options and refusals


def test_options_are_changed(pair: Pair, clock: Time) -> None:
    store = pair.other
    begun(pair)
    store.begin_rotation(
        pair.bob, RotationOptions(rotate=timedelta(hours=2), readback=HOUR // SECOND)
    )
    planned = store.rotation(pair.bob)
    assert (planned.rotate_ns, planned.readback_ns) == (clock.now + 2 * HOUR, clock.now + HOUR)


@pytest.mark.parametrize(
    "reason, options",
    [
        (Status.MISUSE_TIME, RotationOptions(rotate=-1)),
        (Status.MISUSE_TIME, RotationOptions(rotate=0)),
        (Status.MISUSE_TIME, RotationOptions(rotate=60, lifetime=60)),
        (Status.MISUSE_TIME, RotationOptions(lifetime=timedelta(days=91))),
        (Status.MISUSE_TIME, RotationOptions(lifetime=0)),
        (Status.MISUSE_TIME, RotationOptions(welcome_delay=3601)),
        (Status.MISUSE_TIME, RotationOptions(readback=0)),
        (Status.MISUSE_SIZE, RotationOptions(one_time_keys=501)),
        (Status.MISUSE_SIZE, RotationOptions(one_time_keys=-1)),
        (Status.MISUSE_SIZE, RotationOptions(one_time_keys=1 << 32)),
        (Status.MISUSE_SIZE, RotationOptions(one_time_floor=-1)),
    ],
)
def test_options_are_refused(pair: Pair, reason: Status, options: RotationOptions) -> None:
    with refused(reason):
        pair.other.begin_rotation(pair.bob, options)
    with refused(Status.NOT_FOUND):
        pair.other.rotation(pair.bob)


def test_refusals(pair: Pair) -> None:
    store, other = pair.other, pair.other.create_account("other")
    for call in (
        lambda id: store.rotate_now(id),
        lambda id: store.report_one_time_keys(id, 1),
        lambda id: store.rotation(id),
    ):
        for account in (other, bytes(16)):
            with refused(Status.NOT_FOUND):
                call(account)
        with refused(Status.MISUSE_SIZE):
            call(bytes(15))
    with refused(Status.NOT_FOUND):
        store.begin_rotation(bytes(16))
    own, _ = store.create_package(pair.bob)
    package, _ = begun(pair)
    for count in (-1, 1 << 32):
        with refused(Status.MISUSE_SIZE):
            store.report_one_time_keys(pair.bob, count)
    with refused(Status.STATE_ROTATION):
        store.create_package(pair.bob)
    with refused(Status.STATE_ROTATION):
        store.delete_package(pair.bob, package.id)
    store.delete_package(pair.bob, own.id)
    assert list(states(store, pair.bob)) == [package.id]
    store.create_package(other)


def test_in_a_batch(pair: Pair) -> None:
    with pytest.raises(ZeroDivisionError), pair.other.batch() as batch:
        batch.begin_rotation(pair.bob, FEW)
        assert batch.rotation(pair.bob).superseded == 0
        raise ZeroDivisionError
    with refused(Status.NOT_FOUND):
        pair.other.rotation(pair.bob)
    assert turn(pair.other) == []


def test_deleting_the_account_ends_it(pair: Pair, clock: Time) -> None:
    begun(pair)
    pair.other.rotate_now(pair.bob)
    pair.other.delete_account(pair.bob)
    with refused(Status.NOT_FOUND):
        pair.other.rotation(pair.bob)
    clock.now += 60 * DAY
    assert turn(pair.other) == []


def test_asyncio(key: RawKey) -> None:
    async def main() -> None:
        async with AsyncStore.memory(key=key) as store:
            bob = await store.create_account("bob")
            await store.begin_rotation(bob, FEW)
            async for item in store.items():
                assert item.request is Request.PUBLISH and len(item.packages) == 4
                await store.answer(item.seq, b"")
                break
            assert (await store.rotation(bob)).one_time_count == 3
            await store.report_one_time_keys(bob, 0)
            await store.rotate_now(bob)
            (package,) = await store.packages(bob)
            assert package.state is PackageState.CURRENT

    asyncio.run(main())
