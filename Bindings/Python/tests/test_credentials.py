# SPDX-License-Identifier: Apache-2.0
"""Every method that a store and a batch share, on every engine."""

from __future__ import annotations

import copy
import mmap
import pickle
from array import array
from dataclasses import FrozenInstanceError, replace
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Iterator

import pytest

import pawl
from conftest import Open
from doubles import SECOND, Time, refused
from pawl import Scope, Status, Store


def test_put_and_get(store: Store, scope: Scope, clock: Time) -> None:
    version = store.put(
        scope,
        "API_KEY",
        b"s3cret\0tail",
        label="the label",
        provider="prövider",
        attributes={"region": "eu", "empty": ""},
    )
    found = store.get(scope, "API_KEY")
    assert found.secret == b"s3cret\0tail"
    assert (found.name, found.version, found.secret_size) == ("API_KEY", version, 11)
    assert (found.label, found.provider) == ("the label", "prövider")
    assert found.attributes == {"region": "eu", "empty": ""}
    assert found.created_ns == found.updated_ns == clock.now
    assert (found.expires_ns, found.purge_ns) == (found.expires, found.purge) == (None, None)
    assert found.deleted is False
    assert found.created == datetime(2027, 1, 15, 8, tzinfo=timezone.utc)
    assert "s3cret" not in repr(found) and "API_KEY" in repr(found)
    with pytest.raises(FrozenInstanceError):
        found.secret = b""  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(found)) == found

    clock.now += SECOND
    later = store.put(scope, "API_KEY", b"")
    found = store.get(scope, "API_KEY")
    assert later > version and found.version == later
    assert (found.secret, found.secret_size) == (b"", 0)
    assert (found.created_ns, found.updated_ns) == (clock.now - SECOND, clock.now)
    assert (found.label, found.attributes["region"]) == ("the label", "eu")


def test_clear_and_keep(store: Store, scope: Scope, clock: Time) -> None:
    store.put(
        scope, "n", b"1", label="l", provider="p", attributes={"k": "v"}, expires=clock.now + 9
    )
    store.put(scope, "n", b"2", label=None, attributes=None, expires=None)
    found = store.metadata(scope, "n")
    assert (found.label, found.provider, found.attributes) == ("", "p", {})
    assert found.expires_ns is None
    store.put(scope, "n", b"3", provider="", attributes={"a": "b"}, label=pawl.KEEP)
    found = store.metadata(scope, "n")
    assert (found.label, found.provider, found.attributes) == ("", "", {"a": "b"})


def test_metadata_and_has(store: Store, scope: Scope) -> None:
    assert store.has(scope, "n") is False
    with refused(Status.NOT_FOUND):
        store.metadata(scope, "n")
    with refused(Status.NOT_FOUND):
        store.get(scope, "n")
    store.put(scope, "n", b"12345")
    assert store.has(scope, "n") is True
    found = store.metadata(scope, "n")
    assert found.secret_size == 5 and not hasattr(found, "secret")
    assert type(found) is pawl.Metadata


def test_in_vault(path: Any, key: pawl.RawKey, reopen: Open, scope: Scope) -> None:
    with reopen() as store:
        store.put(scope, "n", b"x")
        vaulted = store.get(scope, "n").in_vault
        assert vaulted == (store.stats().vault_calls > 0)


@pytest.mark.parametrize("size", [0, 1, 4096, 4097, 1 << 20])
def test_sizes_survive_reopening(reopen: Open, scope: Scope, size: int) -> None:
    secret = bytes(i * 7 & 0xFF for i in range(256)) * (size // 256 + 1)
    secret = secret[:size]
    with reopen() as store:
        version = store.put(scope, "n", secret)
    with reopen() as store:
        found = store.get(scope, "n")
        assert found.secret == secret and found.version == version
        assert store.verify() == []


def test_largest_secret(store: Store, scope: Scope) -> None:
    data = bytearray(16 << 20)
    data[-1] = 7
    store.put(scope, "n", data)
    assert store.get(scope, "n").secret == data
    data.append(0)
    with refused(Status.LIMIT_SECRET):
        store.put(scope, "n", data)
    assert store.get(scope, "n").secret_size == 16 << 20


def buffers() -> Iterator[Any]:
    yield b"abc"
    yield bytearray(b"abc")
    yield memoryview(b"xabcx")[1:4]
    yield memoryview(bytearray(b"xabcx"))[1:4]
    yield array("B", b"abc")
    with mmap.mmap(-1, 3) as mapped:
        mapped[:] = b"abc"
        yield mapped


def test_any_buffer(key: pawl.RawKey, scope: Scope) -> None:
    with Store.memory(key=key) as store:
        for index, buffer in enumerate(buffers()):
            store.put(scope, f"{index}", buffer)
            assert store.get(scope, f"{index}").secret == b"abc"
        assert index == 5
        data = bytearray(b"abc")
        store.put(scope, "n", data)
        data.append(1)  # not held any more
        with pytest.raises(BufferError):
            store.put(scope, "n", memoryview(b"a_b_c_")[::2])
        with pytest.raises(TypeError):
            store.put(scope, "n", "text")  # type: ignore[arg-type]
        with pytest.raises(pawl.MisuseError) as raised:
            store.put(scope, "", data)
        data.append(1)  # nor by the error
        assert raised.value.reason is Status.MISUSE_NAME
        assert store.get(scope, "n").secret == b"abc"


def test_a_scope_in_use_can_be_copied(store: Store, scope: Scope) -> None:
    store.put(scope, "n", b"x")
    for made in (pickle.loads(pickle.dumps(scope)), copy.copy(scope), copy.deepcopy(scope)):
        assert made == scope and hash(made) == hash(scope) and repr(made) == repr(scope)
        assert store.get(made, "n").secret == b"x"
    assert not store.has(replace(scope, user="bob"), "n")


def test_create_only_and_if_version(store: Store, scope: Scope) -> None:
    with refused(Status.NOT_FOUND):
        store.put(scope, "n", b"0", if_version=1)
    first = store.put(scope, "n", b"1", create_only=True)
    with refused(Status.EXISTS):
        store.put(scope, "n", b"2", create_only=True)
    second = store.put(scope, "n", b"2", if_version=first)
    with refused(Status.STATE_CONFLICT):
        store.put(scope, "n", b"3", if_version=first)
    assert store.get(scope, "n").secret == b"2"
    assert store.metadata(scope, "n").version == second
    for wrong in (-1, 1 << 64):
        with refused(Status.MISUSE_SIZE):
            store.put(scope, "n", b"3", if_version=wrong)


def test_versions_grow_across_names(store: Store, scope: Scope) -> None:
    versions = [store.put(scope, f"{i % 3}", b"x") for i in range(9)]
    assert versions == sorted(set(versions))


def test_expiry(store: Store, scope: Scope, clock: Time) -> None:
    at = clock.now + 10 * SECOND
    store.put(scope, "int", b"x", expires=at)
    store.put(scope, "date", b"x", expires=datetime.fromtimestamp(at // SECOND, timezone.utc))
    east = timezone(timedelta(hours=5, minutes=30))
    store.put(scope, "zone", b"x", expires=datetime.fromtimestamp(at // SECOND, east))
    store.put(scope, "never", b"x")
    for name in ("int", "date", "zone"):
        found = store.metadata(scope, name)
        assert found.expires_ns == at and found.expires is not None
        assert found.expires.timestamp() == at // SECOND
    store.put(scope, "int", b"y")
    assert store.metadata(scope, "int").expires_ns == at
    clock.now = at - 1
    assert len(store.list(scope)) == 4
    clock.now = at
    assert [row.name for row in store.list(scope)] == ["never"]
    with refused(Status.NOT_FOUND):
        store.get(scope, "int")
    clock.now = at - 1
    assert store.has(scope, "int") is False  # it met its expiry; that is final


def test_wrong_times(store: Store, scope: Scope, clock: Time) -> None:
    for past in (clock.now, clock.now - 1, 0, -1):
        with refused(Status.TIME):
            store.put(scope, "n", b"x", expires=past)
    with pytest.raises(ValueError, match="time zone"):
        store.put(scope, "n", b"x", expires=datetime(2030, 1, 1))
    with pytest.raises(TypeError):
        store.put(scope, "n", b"x", expires=1.5)  # type: ignore[arg-type]
    with refused(Status.MISUSE_SIZE):
        store.put(scope, "n", b"x", expires=1 << 63)
    with refused(Status.MISUSE_TIME):
        store.delete(scope, "n", recovery=-1)
    with refused(Status.MISUSE_TIME):
        store.delete(scope, "n", recovery=float("nan"))
    with refused(Status.MISUSE_TIME):
        store.delete(scope, "n", recovery=1e300)
    assert store.list(scope) == []


@pytest.mark.parametrize(
    "name, reason",
    [
        ("", Status.MISUSE_NAME),
        ("x" * 257, Status.MISUSE_NAME),
        ("é" * 129, Status.MISUSE_NAME),
        ("a\0b", Status.MISUSE_NAME),
        ("\ud800", Status.MISUSE_NAME),
    ],
)
def test_bad_names(store: Store, scope: Scope, name: str, reason: Status) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.put(scope, name, b""),
        lambda: store.get(scope, name),
        lambda: store.metadata(scope, name),
        lambda: store.has(scope, name),
        lambda: store.delete(scope, name),
        lambda: store.restore(scope, name),
        lambda: store.deleted(scope, name),
    ]
    for call in calls:
        with refused(reason):
            call()
    if name:
        with refused(reason):
            store.list(scope, after=name)


def test_bad_arguments(store: Store, scope: Scope) -> None:
    with refused(Status.MISUSE_USER):
        store.put(Scope(""), "n", b"")
    with refused(Status.MISUSE_USER):
        store.list(Scope("u" * 257))
    with refused(Status.MISUSE_PROJECT):
        store.put(Scope("u", "p" * 257), "n", b"")
    with refused(Status.MISUSE_LABEL):
        store.put(scope, "n", b"", label="l" * 257)
    with refused(Status.MISUSE_LABEL):
        store.put(scope, "n", b"", provider="p\0")
    for bad in ({"": "v"}, {"k" * 129: "v"}, {"k": "v" * 513}):
        with refused(Status.MISUSE_ATTRIBUTE):
            store.put(scope, "n", b"", attributes=bad)
    with refused(Status.LIMIT_ATTRIBUTES):
        store.put(scope, "n", b"", attributes={f"{i}": "" for i in range(65)})
    for limit in (0, 10001, -1, 1 << 64):
        with refused(Status.MISUSE_SIZE):
            store.list(scope, limit=limit)
        with refused(Status.MISUSE_SIZE):
            store.orphans(limit=limit)
    with refused(Status.MISUSE_SIZE):
        store.orphans(after=b"short")
    assert store.list(scope) == []


def test_limits_are_inclusive(store: Store) -> None:
    scope = Scope("u" * 256, "p" * 256)
    attributes = {f"{i:0128}": f"{i:0512}" for i in range(64)}
    store.put(scope, "é" * 128, b"x", label="l" * 256, provider="p" * 256, attributes=attributes)
    found = store.get(scope, "é" * 128)
    assert found.attributes == attributes and found.secret == b"x"
    assert found.label == "l" * 256 and found.provider == "p" * 256
    assert [row.name for row in store.list(scope, limit=10000)] == ["é" * 128]


def test_scopes_do_not_see_each_other(store: Store) -> None:
    scopes = [Scope("a"), Scope("a", "b"), Scope("ab"), Scope("b", "a")]
    for index, scope in enumerate(scopes):
        store.put(scope, "n", b"%d" % index)
    for index, scope in enumerate(scopes):
        assert store.get(scope, "n").secret == b"%d" % index
        assert len(store.list(scope)) == 1


def test_pages(store: Store, scope: Scope) -> None:
    names = {f"name {i}" for i in range(25)}
    for name in names:
        store.put(scope, name, b"x")
    whole = [row.name for row in store.list(scope)]
    assert set(whole) == names and len(whole) == 25
    first = store.list(scope, limit=10)
    assert [row.name for row in first] == whole[:10]
    assert [row.name for row in store.list(scope, after=whole[9], limit=10)] == whole[10:20]
    assert [row.name for row in store.list(scope, after=whole[19], limit=10)] == whole[20:]
    store.delete(scope, whole[9])
    assert [row.name for row in store.list(scope, after=whole[9], limit=2)] == whole[10:12]
    for page in (1, 5, 7, 24, 25):
        assert [row.name for row in store.iterate(scope, page)] == whole[:9] + whole[10:]
    assert list(store.iterate(Scope("nobody"), 1)) == []


def test_delete_at_once(store: Store, scope: Scope) -> None:
    store.put(scope, "n", b"1")
    store.delete(scope, "n")
    assert not store.has(scope, "n") and store.deleted(scope, "n") == []
    with refused(Status.NOT_FOUND):
        store.restore(scope, "n")
    with refused(Status.NOT_FOUND):
        store.delete(scope, "n")


def test_delete_and_restore(store: Store, scope: Scope, clock: Time) -> None:
    first = store.put(scope, "n", b"1", label="one")
    store.delete(scope, "n", recovery=timedelta(seconds=10))
    with refused(Status.NOT_FOUND):
        store.get(scope, "n")
    assert store.list(scope) == []
    second = store.put(scope, "n", b"2")
    clock.now += SECOND
    store.delete(scope, "n", recovery=20.5)
    rows = store.deleted(scope, "n")
    assert [row.version for row in rows] == [first, second]
    assert [row.label for row in rows] == ["one", ""]
    assert all(row.deleted for row in rows)
    assert rows[0].purge_ns == clock.now + 9 * SECOND
    assert rows[1].purge_ns == clock.now + 20 * SECOND + SECOND // 2
    with refused(Status.NOT_FOUND):
        store.restore(scope, "n", second + 1)
    store.restore(scope, "n", first)
    found = store.get(scope, "n")
    assert (found.secret, found.label, found.deleted, found.purge_ns) == (b"1", "one", False, None)
    with refused(Status.EXISTS):
        store.restore(scope, "n")
    store.delete(scope, "n")
    store.restore(scope, "n")
    assert store.get(scope, "n").secret == b"2"
    store.delete(scope, "n", recovery=1)
    clock.now += SECOND
    assert store.deleted(scope, "n") == []
    with refused(Status.NOT_FOUND):
        store.restore(scope, "n")


def test_delete_all(store: Store) -> None:
    one, two, other = Scope("u", "1"), Scope("u", "2"), Scope("v", "1")
    for scope in (one, two, other):
        for name in "abc":
            store.put(scope, name, b"x")
    store.delete(one, "a", recovery=60)
    assert store.delete_all(one) == 2
    assert store.list(one) == [] and store.deleted(one, "a") == []
    assert store.delete_all(one) == 0
    assert len(store.list(two)) == len(store.list(other)) == 3
    store.put(Scope("u"), "d", b"x")
    with pytest.raises(pawl.MisuseError):
        store.delete_all(two, all_projects=True)
    assert store.delete_all(Scope("u"), all_projects=True) == 4
    assert store.list(two) == [] == store.list(Scope("u"))
    assert len(store.list(other)) == 3


def test_stats(store: Store, scope: Scope) -> None:
    before = store.stats()
    assert isinstance(before.memory_locked, bool)
    store.put(scope, "n", b"x")
    store.list(scope)
    after = store.stats()
    assert after.commits > before.commits and after.writes > before.writes
    assert after.transactions > before.transactions and after.scanned > before.scanned


def test_batch(reopen: Open, scope: Scope) -> None:
    with reopen() as store:
        if store.put(scope, "old", b"0") and store.get(scope, "old").in_vault:
            with store.batch() as batch, refused(Status.STATE_BATCH):
                batch.put(scope, "n", b"x")
            return
        with store.batch() as batch:
            version = batch.put(scope, "n", b"1", create_only=True)
            with refused(Status.EXISTS):
                batch.put(scope, "n", b"2", create_only=True)
            batch.put(scope, "m", b"2", if_version=batch.put(scope, "m", b"1"))
            batch.delete(scope, "old", recovery=60)
            batch.restore(scope, "old")
            batch.delete(scope, "old", recovery=60)
            assert [row.version for row in batch.deleted(scope, "old")]
            assert batch.get(scope, "n").secret == b"1" and batch.has(scope, "m")
            assert batch.metadata(scope, "n").version == version
            assert {row.name for row in batch.iterate(scope, 1)} == {"n", "m"}
            assert batch.orphans() == []
            assert batch.stats().writes > 0
            assert not batch.closed
        assert batch.closed
        with refused(Status.CLOSED):
            batch.get(scope, "n")
        assert {row.name for row in store.list(scope)} == {"n", "m"}

        with pytest.raises(ZeroDivisionError), store.batch() as batch:
            assert batch.delete_all(scope) == 2
            assert batch.list(scope) == []
            raise ZeroDivisionError
        with refused(Status.CLOSED):
            batch.put(scope, "n", b"x")
        assert {row.name for row in store.list(scope)} == {"n", "m"}
    with reopen() as store:
        assert store.get(scope, "m").secret == b"2"


def test_batch_is_seen_after_commit_only(path: Any, key: pawl.RawKey, scope: Scope) -> None:
    with (
        Store.open(path, key=key, create=True) as store,
        Store.open(path, key=key, busy_timeout=0) as other,
    ):
        with store.batch() as batch:
            batch.put(scope, "n", b"x")
            assert not other.has(scope, "n")
            with refused(Status.BUSY):
                other.put(scope, "m", b"x")
        assert other.has(scope, "n")


def test_commit_after_close_is_an_error(path: Any, key: pawl.RawKey, scope: Scope) -> None:
    store = Store.open(path, key=key, create=True)
    with refused(Status.CLOSED), store.batch() as batch:
        batch.put(scope, "n", b"x")
        store.close()
        with refused(Status.CLOSED):
            batch.put(scope, "n", b"y")
    with Store.open(path, key=key) as store:
        assert not store.has(scope, "n")


def test_abandoned_batch_is_rolled_back(path: Any, key: pawl.RawKey, scope: Scope) -> None:
    with Store.open(path, key=key, create=True, busy_timeout=0) as store:
        context = store.batch()
        context.__enter__().put(scope, "n", b"x")
        with refused(Status.BUSY):
            store.put(scope, "m", b"x")
        del context
        store.put(scope, "m", b"x")
        assert [row.name for row in store.list(scope)] == ["m"]
