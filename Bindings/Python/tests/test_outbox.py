# SPDX-License-Identifier: Apache-2.0
"""What is due and what is to be done: the schedule, the outbox, and waiting for both."""

from __future__ import annotations

import select
import selectors
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest

import pawl
from conftest import Open
from doubles import SECOND, DictStorage, Time, refused
from pairs import Pair, drained, events, frames
from pawl import Event, ItemKind, JobKind, RawKey, Request, Scope, Status, Store

DAY = 24 * 3600 * SECOND


@pytest.fixture
def pair(store: Store) -> Pair:
    return Pair(store)


@pytest.fixture
def ticking(path: Path, key: RawKey) -> Iterator[Store]:
    """A store in a file that goes by the system's clock."""
    with Store.open(path, key=key, create=True) as store:
        yield store


def readable(descriptor: int, seconds: float = 0) -> bool:
    return bool(select.select([descriptor], [], [], seconds)[0])


def delete_later(store: Store, scope: Scope, name: str, recovery: float) -> None:
    """Plans a job: what was deleted is purged when its time is over."""
    store.put(scope, name, b"x")
    store.delete(scope, name, recovery=recovery)


def wait_for_the_job(store: Store) -> None:
    """Somebody else runs what is planned now."""
    due, until = store.next_deadline(), time.monotonic() + 20
    while store.next_deadline() == due:
        assert due is not None and time.monotonic() < until
        time.sleep(0.01)


# ---------------------------------------------------------------- schedule


def test_jobs(store: Store, scope: Scope, clock: Time) -> None:
    for name in "abc":
        delete_later(store, scope, name, 10 + ord(name))
    found = [job for job in store.jobs() if job.kind is JobKind.CREDENTIAL_PURGE]
    assert [job.due_ns for job in found] == [clock.now + (10 + ord(c)) * SECOND for c in "abc"]
    assert all(not job.dead and job.attempts == 0 for job in found)
    assert all(job.last_status is Status.OK and len(job.subject) == 16 for job in found)
    assert store.jobs(limit=1) + store.jobs(store.jobs(limit=1)[0]) == store.jobs()
    assert store.jobs(found[-1]) == [] == store.jobs(dead=True)
    with refused(Status.NOT_FOUND):
        store.revive(found[0])
    with refused(Status.MISUSE_SIZE):
        store.jobs(limit=0)


def test_a_job_that_fails_for_ever_is_set_aside(key: RawKey, clock: Time, scope: Scope) -> None:
    storage = DictStorage()
    with Store.open(key=key, create=True, clock=clock, storage=storage) as store:
        pair = Pair(store)
        session = pair.start()
        (row,) = (row for row in storage.records if row[0] == 0x38)
        whole = storage.records[row]
        storage.records[row] = b"\x01"
        (job,) = (job for job in store.jobs() if job.kind is JobKind.SETUP_DEADLINE)
        assert job.subject == session and job.due is not None
        for attempt in range(10):
            (job,) = (job for job in store.jobs() if job.subject == session)
            assert job.attempts == attempt
            clock.now = max(clock.now, job.due_ns or 0)
            assert store.run_due() > 0
        (letter,) = store.jobs(dead=True)
        assert letter.dead and letter.attempts == 10 and letter.last_status is Status.CORRUPT
        assert (letter.kind, letter.subject) == (JobKind.SETUP_DEADLINE, session)
        assert letter.due_ns == clock.now
        (item,) = (item for item in store.take() if item.event is Event.DEAD_LETTER)
        assert item.count == JobKind.SETUP_DEADLINE
        assert item.account == bytes(16) and item.session is None and item.peer.name == ""

        storage.records[row] = whole
        store.revive(letter)
        assert store.jobs(dead=True) == [] and store.run_due() > 0
        assert Event.SETUP_EXPIRED in [item.event for item in store.take()]


def test_a_runner(ticking: Store, scope: Scope) -> None:
    done: List[int] = []
    answers: List[Status] = []
    told = threading.Event()

    def items_ready() -> None:
        done.extend(item.seq for item in drained(ticking))
        try:
            ticking.stop_runner()
        except pawl.BusyError as error:
            answers.append(error.reason)
        told.set()

    def purges() -> List[pawl.Job]:
        return [job for job in ticking.jobs() if job.kind is JobKind.CREDENTIAL_PURGE]

    ticking.start_runner(items_ready)
    with refused(Status.EXISTS):
        ticking.start_runner()
    delete_later(ticking, scope, "n", 0.2)
    until = time.monotonic() + 20
    while purges():
        assert time.monotonic() < until
        time.sleep(0.01)
    seq = ticking.send(Pair(ticking).start(), b"x")
    assert told.wait(20) and done == [seq] and answers[0] is Status.BUSY_REENTERED
    ticking.stop_runner()
    ticking.stop_runner()
    delete_later(ticking, scope, "m", 0.01)
    time.sleep(0.2)
    assert len(purges()) == 1
    ticking.start_runner(lambda: None)
    ticking.close()


def test_a_runner_that_is_stopped_closes_its_store(path: Path, key: RawKey) -> None:
    """Whoever closes there does not wait for whoever waits for the runner."""
    store = Store.open(path, key=key, create=True)
    answers: List[Status] = []
    closed = threading.Event()

    def stop() -> None:
        try:
            store.stop_runner()
            answers.append(Status.OK)
        except pawl.ClosedError as error:  # it came too late
            answers.append(error.reason)

    stopper = threading.Thread(target=stop, daemon=True)

    def items_ready() -> None:
        stopper.start()
        while stopper.ident not in store._handle._inside:
            time.sleep(0.001)
        store.close()
        store.close()
        closed.set()

    store.send(Pair(store).start(), b"x")
    store.start_runner(items_ready)
    assert closed.wait(20), "close waits for ever"
    stopper.join(20)
    assert answers in ([Status.OK], [Status.CLOSED]) and store._handle._ended
    with Store.open(path, key=key) as again:
        assert again.take() != []


def test_a_runner_tells_nobody_after_close(path: Path, key: RawKey) -> None:
    """Whoever closes waits for who is told, and a store that is closed tells nobody."""
    store = Store.open(path, key=key, create=True)
    steps: List[str] = []
    told = threading.Event()

    def items_ready() -> None:
        told.set()
        while not store.closed:
            time.sleep(0.001)
        time.sleep(0.1)
        steps.append("told")

    store.send(Pair(store).start(), b"x")
    store.start_runner(items_ready)
    assert told.wait(20)
    store.close()
    assert steps == ["told"]


class Unraisable:
    """What was raised where nobody could raise it, once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: List[BaseException] = []
        self._came = threading.Condition()
        monkeypatch.setattr(sys, "unraisablehook", self._take)

    def _take(self, found: Any) -> None:
        assert found.exc_type is type(found.exc_value) and found.exc_traceback is not None
        with self._came:
            self.seen.append(found.exc_value)
            self._came.notify_all()

    def wait(self, kind: type) -> bool:
        with self._came:
            return self._came.wait_for(lambda: kind in [type(one) for one in self.seen], 20)


def test_what_callbacks_raise_on_the_runners_thread(
    key: RawKey, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    unraisable = Unraisable(monkeypatch)
    host = threading.get_ident()
    wrong: List[BaseException] = []

    def answer() -> int:
        if wrong and threading.get_ident() != host:
            raise wrong[0]
        return clock.now

    storage = DictStorage()
    with Store.open(key=key, create=True, clock=answer, storage=storage) as store:
        store.start_runner()
        wrong.append(ZeroDivisionError())
        store.nudge()
        assert unraisable.wait(ZeroDivisionError), "a clock"
        wrong.clear()
        store.stop_runner()

        # Another writer is no failure; everything else is told of.
        begins = storage.begin

        def begin(write: bool) -> Any:
            if threading.get_ident() != host:
                first = wrong.pop(0) if wrong else None
                if first is not None:
                    raise first
            return begins(write)

        monkeypatch.setattr(storage, "begin", begin)
        wrong[:] = [pawl.HostError(Status.BUSY), pawl.HostError(77), KeyError()]
        unraisable.seen.clear()
        store.start_runner()
        until = time.monotonic() + 20
        while wrong:
            assert time.monotonic() < until
            time.sleep(0.001)
        assert unraisable.wait(KeyError), "a storage engine"
        store.stop_runner()
        assert [type(one) for one in unraisable.seen] == [pawl.HostError, KeyError]


def test_what_items_ready_raises(ticking: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    unraisable = Unraisable(monkeypatch)
    told = threading.Event()

    def of_a_session() -> None:
        told.set()
        ticking.wait(bytes(16), 1, 0)

    ticking.send(Pair(ticking).start(), b"x")
    ticking.start_runner(of_a_session)
    assert told.wait(20) and unraisable.wait(pawl.ClosedError)
    ticking.stop_runner()

    def of_the_store() -> None:
        ticking.close()
        told.set()
        ticking.take()

    unraisable.seen.clear()
    told.clear()
    ticking.start_runner(of_the_store)
    assert told.wait(20)
    until = time.monotonic() + 20
    while not ticking._handle._ended:
        assert time.monotonic() < until
        time.sleep(0.001)
    assert unraisable.seen == []


def test_a_clock_that_fails_between_calls(key: RawKey, clock: Time) -> None:
    """`items` asks it by itself whether what it took is still lent."""
    taken: List[int] = []

    def answer() -> int:
        if taken:
            raise ZeroDivisionError
        return clock.now

    with Store.memory(key=key, clock=answer) as store:
        store.send(Pair(store).start(), b"x")
        take = store.take

        def take_last(limit: int, lease: float) -> Any:
            items = take(limit, lease)
            taken.append(len(items))
            return items

        store.take = take_last  # type: ignore[method-assign, assignment]
        with pytest.raises(ZeroDivisionError):
            next(store.items())
        taken.clear()


def test_a_clock_that_is_put_right(store: Store, scope: Scope, clock: Time) -> None:
    """What was planned by a clock that was a year ahead runs at once."""
    clock.now += 365 * DAY
    Pair(store).start()
    clock.now -= 365 * DAY
    deadline = store.next_deadline()
    assert deadline is not None and deadline <= clock.now
    assert store.run_due() > 0
    assert Event.SETUP_EXPIRED in [item.event for item in store.take()]


def test_nothing_is_planned(store: Store) -> None:
    assert store.next_deadline() is None
    assert store.run_due() == 0 and store.take() == []
    store.nudge()
    assert store.next_deadline() is None


def test_a_job_runs_at_its_time(store: Store, scope: Scope, clock: Time) -> None:
    delete_later(store, scope, "n", 50)  # before what that erased leaves the log
    due = clock.now + 50 * SECOND
    assert store.next_deadline() == due
    clock.now = due - 1
    assert store.run_due() == 0 and len(store.deleted(scope, "n")) == 1
    clock.now = due
    assert store.run_due() == 1
    assert store.deleted(scope, "n") == []
    assert store.next_deadline() != due


def test_jobs_run_in_pages(store: Store, scope: Scope, clock: Time) -> None:
    for number in range(5):
        delete_later(store, scope, f"{number}", 50 + number)
    clock.now += 59 * SECOND
    assert [store.run_due(limit=2) for _ in range(3)] == [2, 2, 1]
    assert all(store.deleted(scope, f"{number}") == [] for number in range(5))
    for limit in (0, 10001, -1, 1 << 64):
        with refused(Status.MISUSE_SIZE):
            store.run_due(limit)


def test_jobs_survive_reopening(reopen: Open, scope: Scope, clock: Time) -> None:
    with reopen() as store:
        delete_later(store, scope, "n", 50)
        due = store.next_deadline()
    clock.now += 51 * SECOND
    with reopen() as store:
        assert due is not None and store.next_deadline() == due <= clock.now
        assert store.run_due() == 1 and store.deleted(scope, "n") == []


# ---------------------------------------------------------------- items


def test_an_item(pair: Pair, clock: Time) -> None:
    store = pair.store
    ours, theirs = pair.connect()
    assert store.take() == []
    clock.now += SECOND
    seq = store.send(ours, b"x")
    deadline = store.next_deadline()
    assert deadline is not None and deadline <= clock.now
    (item,) = store.take(lease=7)
    assert (item.kind, item.event, item.request) == (ItemKind.FRAME, None, None)
    assert (item.seq, item.attempts, item.count) == (seq, 0, 0)
    assert (item.account, item.session) == (pair.ada, ours)
    assert item.peer == store.account(pair.bob).identity
    assert item.created_ns == clock.now and item.created.year == 2027
    assert item.lease_ns == clock.now + 7 * SECOND and item.lease > item.created
    assert store.receive(pair.bob, item.body).plaintext == b"x"
    assert store.take() == []
    store.ack(seq)
    clock.now += 8 * SECOND
    assert store.take() == []
    store.ack(seq)
    store.ack()
    store.ack(seq, seq)
    store.fail(seq)
    assert store.take() == []


def test_items_survive_reopening(reopen: Open, clock: Time) -> None:
    with reopen() as store:
        pair = Pair(store)
        ours = pair.start()
        seqs = [store.send(ours, b"%d" % number) for number in range(3)]
        assert seqs == sorted(set(seqs))
        taken = store.take(limit=1)
        assert [item.seq for item in taken] == seqs[:1]
    with reopen() as store:
        assert store.take() == [], "the lease outlives its taker, and holds up its lane"
        clock.now += 31 * SECOND
        items = drained(store)
        assert [item.seq for item in items] == seqs
        assert [item.attempts for item in items] == [1, 0, 0]
        got = store.receive_many(pair.bob, frames(items))
        assert [one.plaintext for one in got if isinstance(one, pawl.Received)] == [
            b"0",
            b"1",
            b"2",
        ]


def test_a_lane_that_is_stuck_holds_up_no_other(pair: Pair, clock: Time) -> None:
    store = pair.store
    first, second = pair.start(), pair.start()
    stuck = [store.send(first, b"%d" % number) for number in range(2)]
    other = store.send(second, b"other")
    (item,) = store.take(limit=1)
    assert item.seq == stuck[0]
    assert [item.seq for item in store.take()] == [other]
    store.fail(stuck[0], retry_after=60)
    store.ack(other)
    clock.now += 59 * SECOND
    assert store.take() == []
    clock.now += SECOND
    items = drained(store)
    assert [item.seq for item in items] == stuck and items[0].attempts == 1


def test_failing(pair: Pair, clock: Time) -> None:
    store = pair.store
    seq = store.send(pair.start(), b"x")
    store.take()
    store.fail(seq, 0)
    clock.now += 1
    (item,) = store.take()
    assert item.seq == seq and item.attempts == 1
    store.fail(seq)
    assert store.take() == []
    clock.now += 3601 * SECOND
    assert [item.seq for item in store.take()] == [seq]
    for wrong in (-1, float("nan"), 1e10):
        with refused(Status.MISUSE_TIME):
            store.fail(seq, wrong)


def test_settling_what_never_was(pair: Pair) -> None:
    store = pair.store
    seq = store.send(pair.start(), b"x")
    calls: List[Callable[[int], object]] = [
        store.ack,
        store.fail,
        lambda unknown: store.answer(unknown, b"x"),
        lambda unknown: store.ack(seq, unknown),
    ]
    for call in calls:
        with refused(Status.NOT_FOUND):
            call(seq + 1)
        for wrong in (-1, 1 << 64):
            with refused(Status.MISUSE_SIZE):
                call(wrong)
        with pytest.raises(TypeError):
            call("1")  # type: ignore[arg-type]
    assert [item.seq for item in store.take()] == [seq], "all or none"
    with refused(Status.MISUSE_FLAGS):
        store.answer(seq, b"a frame is no request")
    with refused(Status.MISUSE_SIZE):
        store.ack(*[seq] * 10001)
    for limit in (0, 10001, -1, 1 << 64):
        with refused(Status.MISUSE_SIZE):
            store.take(limit)
    for lease in (-1, 1e10):
        with refused(Status.MISUSE_TIME):
            store.take(lease=lease)
    with pytest.raises(pawl.MisuseError):
        store.take(lease=86401)


def test_settling_in_a_batch(pair: Pair) -> None:
    """What was delivered is noted and acknowledged at once, or not at all."""
    store = pair.store
    seq = store.send(pair.start(), b"x")
    with pytest.raises(ZeroDivisionError), store.batch() as batch:
        batch.ack(seq)
        raise ZeroDivisionError
    assert [item.seq for item in store.take()] == [seq]
    with store.batch() as batch:
        batch.create_account("delivered")
        batch.ack(seq)
    assert drained(store) == [] and len(store.accounts()) == 3


def test_a_set_up_that_nobody_answers(pair: Pair, clock: Time) -> None:
    store = pair.store
    ours = pair.start()
    store.encrypt(ours, b"anybody?")
    clock.now += DAY - 1
    assert store.run_due() <= 1 and events(store.take()) == []  # the log may have been due
    assert store.next_deadline() == clock.now + 1
    clock.now += 1
    assert store.run_due() > 0
    items = store.take()
    assert sorted(events(items)) == ["PACKAGE", "SETUP_EXPIRED"]
    for item in items:
        assert item.account == pair.ada and item.peer.name == "bob" and item.body == b""
        if item.kind is ItemKind.EVENT:
            assert (item.event, item.request, item.session) == (Event.SETUP_EXPIRED, None, ours)
            store.ack(item.seq)
        else:
            assert (item.kind, item.request) == (ItemKind.REQUEST, Request.PACKAGE)
            with refused(Status.MISUSE_PACKAGE):
                store.answer(item.seq, b"\1 no package")
            store.answer(item.seq, bytearray(pair.package()))
            store.answer(item.seq, b"again")
    (welcome,) = drained(store)
    fresh = store.peer(pair.ada, "bob").session
    assert fresh is not None and fresh != ours and welcome.session == fresh
    received = store.receive(pair.bob, welcome.body)
    assert received.plaintext is None and received.new_session
    received = store.receive(pair.bob, store.encrypt(fresh, b"at last"))
    assert received.plaintext == b"at last"


def test_lost_messages_are_told(pair: Pair) -> None:
    """Of a gap the newest 2,048 keys are kept."""
    store = pair.store
    ours, theirs = pair.connect()
    frame = b""
    for _ in range(2048 + 11):
        frame = store.encrypt(ours, b"x")
    assert store.receive(pair.bob, frame).plaintext == b"x"
    (item,) = drained(store)
    assert (item.event, item.count, item.session) == (Event.LOST, 10, theirs)


# ---------------------------------------------------------------- the descriptor


def test_descriptor(ticking: Store, scope: Scope) -> None:
    store = ticking
    pair = Pair(store)
    descriptor = store.fileno()
    assert type(descriptor) is int and store.fileno() == descriptor
    ours = pair.start()
    assert not readable(descriptor)
    seqs = [store.send(ours, b"%d" % number) for number in range(2)]
    assert readable(descriptor, 5)
    for seq in seqs:
        assert [item.seq for item in store.take(limit=1)] == [seq]
        assert not readable(descriptor), "what is lent wakes nobody"
        store.ack(seq)
    assert not readable(descriptor)
    delete_later(store, scope, "n", 0.5)
    due = store.next_deadline()
    assert not readable(descriptor) and due is not None
    assert readable(descriptor, 5) and time.time_ns() >= due
    assert store.run_due() == 1
    assert not readable(descriptor)
    store.nudge()
    assert readable(descriptor, 5)
    assert store.run_due() == 0 and store.take() == []
    assert not readable(descriptor)


def test_selectors(ticking: Store) -> None:
    pair = Pair(ticking)
    with selectors.DefaultSelector() as selector:
        selector.register(ticking, selectors.EVENT_READ, "store")
        assert selector.select(0) == []
        ticking.send(pair.start(), b"x")
        ((key, mask),) = selector.select(5)
        assert key.data == "store" and mask == selectors.EVENT_READ
        selector.unregister(ticking)


def test_another_handle_is_heard(path: Path, key: RawKey) -> None:
    with (
        Store.open(path, key=key, create=True) as store,
        Store.open(path, key=key) as other,
    ):
        pair = Pair(store)
        ours = pair.start()
        descriptor = store.fileno()
        seq = other.send(ours, b"x")
        assert readable(descriptor, 5)
        assert [item.seq for item in store.take()] == [seq]


def test_nudge(key: RawKey) -> None:
    """For what another handle commits to a storage engine of the host."""
    storage = DictStorage()
    with (
        Store.open(key=key, create=True, storage=storage) as store,
        Store.open(key=key, storage=storage) as other,
    ):
        ours = Pair(other).start()
        descriptor = store.fileno()
        seq = other.send(ours, b"x")
        assert not readable(descriptor)
        store.nudge()
        assert readable(descriptor, 5)
        assert [item.seq for item in store.take()] == [seq]
        assert not readable(descriptor)


def test_a_lease_that_ends_is_heard(ticking: Store) -> None:
    pair = Pair(ticking)
    seq = ticking.send(pair.start(), b"x")
    descriptor = ticking.fileno()
    (item,) = ticking.take(lease=0.5)
    assert not readable(descriptor)
    assert readable(descriptor, 5) and time.time_ns() >= item.lease_ns
    assert [item.seq for item in ticking.take()] == [seq]


# ---------------------------------------------------------------- waiting


class Consumer(threading.Thread):
    """Goes through a store's items until it is closed."""

    def __init__(self, store: Store, **options: Any) -> None:
        super().__init__()
        self.items: List[pawl.Item] = []
        self.errors: List[BaseException] = []
        self._store, self._options = store, options
        self._changed = threading.Condition()
        self.start()

    def run(self) -> None:
        try:
            for item in self._store.items(**self._options):
                self._store.ack(item.seq)
                with self._changed:
                    self.items.append(item)
                    self._changed.notify_all()
        except BaseException as error:
            self.errors.append(error)

    def wait(self, count: int) -> List[int]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.items) >= count, 20), self.errors
            return [item.seq for item in self.items]

    def end(self) -> None:
        self._store.close()
        self.join(20)
        assert not self.is_alive() and self.errors == []


@pytest.mark.parametrize("limit", [1, 100])
def test_items(ticking: Store, scope: Scope, limit: int) -> None:
    pair = Pair(ticking)
    ours = pair.start()
    seqs = [ticking.send(ours, b"%d" % number) for number in range(3)]
    consumer = Consumer(ticking, limit=limit)
    assert consumer.wait(3) == seqs
    seqs.append(ticking.send(ours, b"later"))
    assert consumer.wait(4) == seqs
    delete_later(ticking, scope, "n", 0.1)
    wait_for_the_job(ticking)
    time.sleep(0.05)
    before = ticking.stats()
    time.sleep(0.3)
    after = ticking.stats()
    assert after == before, "nothing runs while nothing is due"
    consumer.end()
    assert frames(consumer.items) and len(consumer.items) == 4


def test_items_of_two_threads(ticking: Store) -> None:
    pair = Pair(ticking)
    sessions = [pair.start(), pair.start(), pair.start()]
    consumers = [Consumer(ticking), Consumer(ticking, limit=3)]
    seqs = [ticking.send(sessions[number % 3], b"x") for number in range(60)]
    until = time.monotonic() + 20
    while sum(len(consumer.items) for consumer in consumers) < 60:
        assert time.monotonic() < until
        time.sleep(0.01)
    for consumer in consumers:
        consumer.end()
    found = [item.seq for consumer in consumers for item in consumer.items]
    assert sorted(found) == seqs


def test_items_end_with_their_store(ticking: Store) -> None:
    consumer = Consumer(ticking)
    time.sleep(0.1)
    consumer.end()
    assert consumer.items == []
    with refused(Status.CLOSED):
        next(ticking.items())


def test_items_left_early_come_again(ticking: Store) -> None:
    ours = Pair(ticking).start()
    seqs = [ticking.send(ours, b"%d" % number) for number in range(3)]
    for item in ticking.items(lease=0.5):
        assert item.seq == seqs[0]
        break
    for item in ticking.items():
        ticking.ack(item.seq)
        assert item.attempts == (1 if item.seq == seqs[0] else 0)
        if item.seq == seqs[-1]:
            break


def test_an_item_whose_lease_ended_unseen_is_taken_again(ticking: Store) -> None:
    """While it waited for its turn, somebody else may have taken it."""
    pair = Pair(ticking)
    seqs = [ticking.send(session, b"x") for session in (pair.start(), pair.start())]
    items = ticking.items(limit=2, lease=0.5)
    first = next(items)
    ticking.ack(first.seq)
    time.sleep(0.6)
    second = next(items)
    assert [first.seq, second.seq] == seqs and second.attempts == 1


def test_items_by_a_clock_of_the_host(path: Path, key: RawKey, scope: Scope) -> None:
    """The descriptor does not know this clock: the loop watches it, and sees its jumps."""
    clock = Time()
    with Store.open(path, key=key, create=True, clock=clock) as store:
        ours = Pair(store).start()
        consumer = Consumer(store)
        seq = store.send(ours, b"x")
        assert consumer.wait(1) == [seq]
        clock.now += 2 * DAY
        assert len(consumer.wait(3)) == 3
        assert sorted(events(consumer.items)) == ["PACKAGE", "SETUP_EXPIRED"]
        consumer.end()


def test_items_wait_by_a_clock_of_the_host(path: Path, key: RawKey, scope: Scope) -> None:
    with Store.open(path, key=key, create=True, clock=time.time_ns) as store:
        consumer = Consumer(store)
        delete_later(store, scope, "n", 0.3)
        due = store.next_deadline()
        time.sleep(1)  # without a call, which would bring the descriptor up to date
        assert due is not None and store.next_deadline() != due
        consumer.end()


def test_items_without_a_descriptor(
    ticking: Store, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(store: Store) -> int:
        raise pawl.StoreError(Status.STORE_CANNOT_OPEN)

    monkeypatch.setattr(Store, "fileno", refuse)
    ours = Pair(ticking).start()
    consumer = Consumer(ticking)
    time.sleep(0.05)
    seqs = [ticking.send(ours, b"%d" % number) for number in range(3)]
    assert consumer.wait(3) == seqs
    delete_later(ticking, scope, "n", 0.1)
    wait_for_the_job(ticking)
    consumer.end()


def test_items_raise_what_is_wrong(key: RawKey, clock: Time) -> None:
    """Also what a storage engine raised."""
    storage = DictStorage()
    with Store.open(key=key, create=True, clock=clock, storage=storage) as store:
        items = store.items()
        storage.faults["begin"] = OSError("no engine")
        with pytest.raises(pawl.StoreError) as raised:
            next(items)
        assert raised.value.__cause__ is storage.faults["begin"]
        storage.faults.clear()
        with refused(Status.MISUSE_SIZE):
            next(store.items(limit=0))
