# SPDX-License-Identifier: Apache-2.0
"""Clocks, vaults and storage engines in Python: what they raise, and what they must not do."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Optional

import pytest

import pawl
from doubles import SECOND, DictStorage, DictVault, ListedDictVault, Time, refused
from pawl import HostError, OrphanKind, OrphanOutcome, RawKey, Scope, Status, Store


def vaulted(path: Path, key: RawKey, clock: Time, vault: DictVault, **more: Any) -> Store:
    return Store.open(path, key=key, create=True, clock=clock, vault=vault, **more)


# ---------------------------------------------------------------- vault


def test_vault_holds_sealed_secrets(path: Path, key: RawKey, clock: Time, scope: Scope) -> None:
    vault = DictVault()
    with vaulted(path, key, clock, vault) as store:
        store.put(scope, "n", b"plainly a secret")
        (id, value) = next(iter(vault.values.items()))
        assert len(id) == 16 and b"plainly" not in value
        assert store.get(scope, "n").in_vault
        store.put(scope, "n", b"another")
        assert len(vault.values) == 1 and id not in vault.values
        calls = len(vault.calls)
        assert store.metadata(scope, "n").secret_size == 7 and len(vault.calls) == calls
        store.delete(scope, "n")
        assert vault.values == {} and store.orphans() == []
    store = Store.open(path, key=key)
    with store, refused(Status.STATE_NO_VAULT):
        store.reconcile()


def test_without_its_vault(path: Path, key: RawKey, clock: Time, scope: Scope) -> None:
    vault = DictVault()
    with vaulted(path, key, clock, vault) as store:
        store.put(scope, "n", b"x")
    with Store.open(path, key=key, clock=clock) as store:
        assert store.has(scope, "n") and store.metadata(scope, "n").in_vault
        with refused(Status.STATE_NO_VAULT):
            store.get(scope, "n")
    vault.values.clear()
    with vaulted(path, key, clock, vault) as store, refused(Status.CORRUPT_KEY_LOST):
        store.get(scope, "n")


@pytest.mark.parametrize("error, code", [(HostError(4711, "why"), 4711), (OSError("why"), 1)])
def test_vault_refuses_to_set(
    path: Path, key: RawKey, clock: Time, scope: Scope, error: Exception, code: int
) -> None:
    vault = DictVault()
    with vaulted(path, key, clock, vault) as store:
        version = store.put(scope, "n", b"old")
        vault.faults["set"] = error
        with pytest.raises(pawl.StoreError) as raised:
            store.put(scope, "n", b"new")
        assert raised.value.reason is Status.STORE_VAULT and raised.value.code == code
        assert raised.value.__cause__ is error
        assert "why" not in str(raised.value)
        found = store.get(scope, "n")
        assert (found.secret, found.version) == (b"old", version)
        assert len(vault.values) == 1 and store.orphans() == []


def test_vault_refuses_everything(path: Path, key: RawKey, clock: Time, scope: Scope) -> None:
    """The write is recorded with both causes, and reconcile clears it away later."""
    vault = DictVault()
    with vaulted(path, key, clock, vault, vault_lease=5) as store:
        vault.faults["set"] = HostError(11)
        vault.faults["remove"] = HostError(22)
        with pytest.raises(pawl.StoreError) as raised:
            store.put(scope, "n", b"new")
        assert raised.value.reason is Status.STORE_VAULT
        assert raised.value.__cause__ in vault.faults.values()
        assert not store.has(scope, "n")
        (orphan,) = store.orphans()
        assert (orphan.cause_set, orphan.cause_remove) == (11, 22)
        assert (orphan.user, orphan.project, orphan.name) == ("ada", "engine", "n")
        assert orphan.kind in (OrphanKind.INTENT, OrphanKind.RECORDED)
        assert orphan.outcome is OrphanOutcome.NONE
        assert len(orphan.vault_id) == 16 and orphan.recorded_ns == clock.now
        assert store.orphans(after=orphan.vault_id) == []

        vault.faults.clear()
        clock.now += 6 * SECOND
        (orphan,) = store.reconcile(grace=10)
        assert orphan.outcome is OrphanOutcome.WAITING
        clock.now += 9 * SECOND
        (orphan,) = store.reconcile(grace=10)
        assert orphan.outcome is OrphanOutcome.WAITING and orphan.sighted_ns is not None
        clock.now += SECOND
        (orphan,) = store.reconcile(dry_run=True, grace=10)
        assert orphan.outcome is OrphanOutcome.WOULD_REMOVE
        vault.faults["remove"] = HostError(33)
        (orphan,) = store.reconcile(grace=10)
        assert orphan.outcome is OrphanOutcome.FAILED and orphan.cause_remove == 33
        assert orphan.attempts > 0
        vault.faults.clear()
        (orphan,) = store.reconcile(grace=0)
        assert orphan.outcome is OrphanOutcome.REMOVED
        assert store.orphans() == [] == store.reconcile(grace=0)


def test_old_value_cannot_be_removed(path: Path, key: RawKey, clock: Time, scope: Scope) -> None:
    """The put has happened; what is left over is an orphan, not an error."""
    vault = DictVault()
    with vaulted(path, key, clock, vault) as store:
        store.put(scope, "n", b"old")
        vault.faults["remove"] = HostError(9)
        store.put(scope, "n", b"new")
        assert store.get(scope, "n").secret == b"new" and len(vault.values) == 2
        (orphan,) = store.orphans()
        assert orphan.kind is OrphanKind.RECORDED and orphan.cause_remove == 9
        vault.faults.clear()
        for _ in range(3):
            clock.now += 120 * SECOND
            store.reconcile()
        assert len(vault.values) == 1 and store.orphans() == []
        assert store.get(scope, "n").secret == b"new"


def test_unknown_values_are_reported(path: Path, key: RawKey, clock: Time, scope: Scope) -> None:
    vault = ListedDictVault()
    with vaulted(path, key, clock, vault) as store:
        store.put(scope, "n", b"x")
        stray = bytes(range(16))
        vault.values[stray] = b"?"
        for _ in range(3):
            clock.now += 120 * SECOND
            (orphan,) = store.reconcile()
            assert (orphan.kind, orphan.vault_id) == (OrphanKind.UNATTRIBUTED, stray)
        assert stray in vault.values and "next" in vault.calls
        vault.faults["next"] = HostError(8)
        with pytest.raises(pawl.StoreError) as raised:
            store.reconcile()
        assert raised.value.code == 8 and raised.value.__cause__ is vault.faults["next"]


def test_vault_get_fails(path: Path, key: RawKey, clock: Time, scope: Scope) -> None:
    vault = DictVault()
    with vaulted(path, key, clock, vault) as store:
        store.put(scope, "n", b"x")
        vault.faults["get"] = ConnectionError("down")
        with pytest.raises(pawl.StoreError) as raised:
            store.get(scope, "n")
        assert raised.value.reason is Status.STORE_VAULT
        assert raised.value.__cause__ is vault.faults["get"]
        vault.faults.clear()
        assert store.get(scope, "n").secret == b"x"
        for id in vault.values:
            vault.values[id] = vault.values[id][:-1]
        with pytest.raises(pawl.CorruptError):
            store.get(scope, "n")


def test_interrupt_in_vault(path: Path, key: RawKey, clock: Time, scope: Scope) -> None:
    vault = DictVault()
    with vaulted(path, key, clock, vault) as store:
        vault.faults["set"] = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            store.put(scope, "n", b"x")
        vault.faults.clear()
        assert not store.has(scope, "n")
        store.put(scope, "n", b"y")
        assert store.get(scope, "n").secret == b"y"


def test_vault_may_not_call_its_store(path: Path, key: RawKey, clock: Time, scope: Scope) -> None:
    vault = DictVault()
    reasons: list[Status] = []
    with vaulted(path, key, clock, vault) as store:

        def reenter(name: str) -> None:
            try:
                store.has(scope, "n")
            except pawl.BusyError as error:
                reasons.append(error.reason)

        vault.hook = reenter
        store.put(scope, "n", b"x")
        assert reasons == [Status.BUSY_REENTERED]
        vault.hook = lambda name: None
        assert store.get(scope, "n").secret == b"x"


def test_close_inside_a_callback(path: Path, key: RawKey, clock: Time, scope: Scope) -> None:
    """It takes effect when the outer call returns."""
    vault = DictVault()
    store = vaulted(path, key, clock, vault)
    vault.hook = lambda name: store.close()
    store.put(scope, "n", b"x")
    assert store.closed and store._handle._ended
    with refused(Status.CLOSED):
        store.get(scope, "n")
    vault.hook = lambda name: None
    with vaulted(path, key, clock, vault) as store:
        assert store.get(scope, "n").secret == b"x"


def test_delete_all_overtakes_a_put(path: Path, key: RawKey, clock: Time, scope: Scope) -> None:
    vault = DictVault()
    with vaulted(path, key, clock, vault) as store, vaulted(path, key, clock, vault) as other:

        def overtake(name: str) -> None:
            if name == "set":
                other.delete_all(scope)

        vault.hook = overtake
        with refused(Status.STATE_WITHDRAWN):
            store.put(scope, "n", b"x")
        vault.hook = lambda name: None
        assert not store.has(scope, "n") and vault.values == {} and store.orphans() == []


def test_vault_is_called_on_the_callers_thread(
    path: Path, key: RawKey, clock: Time, scope: Scope
) -> None:
    vault = DictVault()
    threads: set[int] = set()
    vault.hook = lambda name: threads.add(threading.get_ident())
    with vaulted(path, key, clock, vault) as store:
        store.put(scope, "n", b"x")
        assert threads == {threading.get_ident()}


# ---------------------------------------------------------------- storage


@pytest.mark.parametrize("name", ["begin", "get", "put", "scan", "commit"])
@pytest.mark.parametrize(
    "error, reason, code",
    [
        (ValueError("why"), Status.STORE_HOST, 1),
        (HostError(4242), Status.STORE_HOST, 4242),
        (HostError(Status.STORE_FULL), Status.STORE_FULL, 0),
        (HostError(Status.STORE_READ_ONLY), Status.STORE_READ_ONLY, 0),
    ],
)
def test_storage_fails(
    key: RawKey, scope: Scope, name: str, error: Exception, reason: Status, code: int
) -> None:
    storage = DictStorage()
    with Store.open(key=key, create=True, storage=storage) as store:
        store.put(scope, "n", b"old")
        before = dict(storage.records)
        storage.calls.clear()
        storage.faults[name] = error
        with pytest.raises(pawl.StoreError) as raised:
            store.list(scope) if name == "scan" else store.put(scope, "n", b"new")
        assert name in storage.calls
        assert (raised.value.reason, raised.value.code) == (reason, code)
        assert raised.value.__cause__ is error
        assert storage.records == before and storage.open == 0
        storage.faults.clear()
        assert store.get(scope, "n").secret == b"old"
        store.put(scope, "n", b"newer")
        assert store.get(scope, "n").secret == b"newer"


def test_storage_commit_indeterminate(key: RawKey, scope: Scope) -> None:
    storage = DictStorage()
    with Store.open(key=key, create=True, storage=storage) as store:
        storage.faults["commit"] = HostError(Status.STORE_INDETERMINATE)
        with refused(Status.STORE_INDETERMINATE):
            store.put(scope, "n", b"x")


def test_storage_is_busy(key: RawKey, scope: Scope) -> None:
    storage = DictStorage()
    with Store.open(key=key, create=True, storage=storage, busy_timeout=0.05) as store:
        transaction = storage.begin(True)
        with pytest.raises(pawl.BusyError) as raised:
            store.put(scope, "n", b"x")
        assert raised.value.reason is Status.BUSY
        assert isinstance(raised.value.__cause__, HostError)
        storage.rollback(transaction)
        store.put(scope, "n", b"x")


def test_storage_sees_neither_names_nor_secrets(key: RawKey) -> None:
    storage = DictStorage()
    with Store.open(key=key, create=True, storage=storage) as store:
        store.put(
            Scope("user-name", "the-project"), "credential-name", b"secret-value", label="lab"
        )
        everything = b"".join(part for row in storage.records.items() for part in row)
        for word in (b"user-name", b"the-project", b"credential-name", b"secret-value", b"lab"):
            assert word not in everything
    assert storage.open == 0


def test_two_stores_on_one_storage(key: RawKey, scope: Scope) -> None:
    storage = DictStorage()
    with (
        Store.open(key=key, create=True, storage=storage) as one,
        Store.open(key=key, storage=storage) as two,
    ):
        version = one.put(scope, "n", b"1")
        assert two.get(scope, "n").version == version
        assert two.put(scope, "n", b"2") > version
        assert one.get(scope, "n").secret == b"2"
        with one.batch() as batch:
            batch.put(scope, "n", b"3")
            assert two.get(scope, "n").secret == b"2"
        assert two.get(scope, "n").secret == b"3"
    with refused(Status.NOT_FOUND):
        Store.open(key=key, storage=DictStorage())
    with refused(Status.EXISTS):
        Store.open(key=key, storage=storage, create=True, exclusive=True)


# ---------------------------------------------------------------- clock


def test_clock_that_fails(key: RawKey, scope: Scope) -> None:
    good: Optional[int] = 5_000
    broken = ZeroDivisionError()

    def clock() -> int:
        if good is None:
            raise broken
        return good

    with Store.memory(key=key, clock=clock) as store:
        store.put(scope, "n", b"x")
        good = None
        with pytest.raises(ZeroDivisionError):
            store.put(scope, "n", b"y")
        good = 6_000
        found = store.get(scope, "n")
        assert (found.secret, found.updated_ns) == (b"y", 5_000)


def test_hosts_outlive_their_names(path: Path, key: RawKey, scope: Scope) -> None:
    """The store keeps tables and functions alive, whatever the caller forgets."""
    import gc

    store = Store.open(
        path, key=key, create=True, clock=lambda: 77, vault=ListedDictVault(), vault_lease=0
    )
    for _ in range(50):
        gc.collect()
        store.put(scope, "n", b"x" * 5000)
        assert store.get(scope, "n").updated_ns == 77
        store.reconcile()
    store.close()


@pytest.mark.parametrize("code", [0, -1, 32768])
def test_host_codes(code: int) -> None:
    with pytest.raises(ValueError):
        HostError(code)
