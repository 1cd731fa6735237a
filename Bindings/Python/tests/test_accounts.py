# SPDX-License-Identifier: Apache-2.0
"""Accounts in a store and a batch, on every engine, and what two people compare."""

from __future__ import annotations

import ctypes
import pickle
import re
import sqlite3
from dataclasses import FrozenInstanceError, replace
from datetime import datetime, timezone
from itertools import combinations
from pathlib import Path
from typing import Any, Callable

import pytest

import pawl
from conftest import Open
from doubles import SECOND, Time, refused
from pawl import Account, Identity, RawKey, Scope, Status, Store, _abi

BAD_NAMES = ["", "x" * 256, "é" * 128, "a\0b", "\ud800"]
BAD_IDS = [b"", b"x" * 15, b"x" * 17]
UNKNOWN = b"\xff" * 16


def test_create_and_read(store: Store, clock: Time) -> None:
    id = store.create_account("Ada Łovelace")
    assert type(id) is bytes and len(id) == 16
    found = store.account(id)
    assert (found.id, found.identity.name, found.created_ns) == (id, "Ada Łovelace", clock.now)
    assert found.created == datetime(2027, 1, 15, 8, tzinfo=timezone.utc)
    keys = found.identity.signing_key, found.identity.agreement_key
    assert [len(key) for key in keys] == [32, 32]
    assert store.account(id) == found and hash(store.account(id)) == hash(found)
    assert pickle.loads(pickle.dumps(found)) == found
    for frozen, field in ((found, "id"), (found.identity, "name")):
        with pytest.raises(FrozenInstanceError):
            setattr(frozen, field, "other")


def test_names_need_not_differ(store: Store, clock: Time) -> None:
    first = store.account(store.create_account("ada"))
    clock.now += SECOND
    second = store.account(store.create_account("ada"))
    assert first.identity.name == second.identity.name == "ada"
    assert second.created_ns == first.created_ns + SECOND
    drawn = [
        part
        for account in (first, second)
        for part in (account.id, account.identity.signing_key, account.identity.agreement_key)
    ]
    assert len(set(drawn)) == 6


@pytest.mark.parametrize("name", ["x", "x" * 255, "é" * 127 + "x", "\U0001f511"])
def test_limits_of_names_are_inclusive(store: Store, name: str) -> None:
    assert store.account(store.create_account(name)).identity.name == name
    assert [row.identity.name for row in store.accounts()] == [name]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names(store: Store, name: str) -> None:
    with refused(Status.MISUSE_ACCOUNT):
        store.create_account(name)
    with store.batch() as batch, refused(Status.MISUSE_ACCOUNT):
        batch.create_account(name)
    assert store.accounts() == []


@pytest.mark.parametrize(
    "name", [b"\xff", b"a\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"]
)
def test_names_that_are_not_utf8(key: RawKey, name: bytes) -> None:
    """No `str` becomes most of these, so C is called directly; the output is wiped."""
    with Store.memory(key=key) as store:
        id = ctypes.create_string_buffer(b"\x55" * 16, 16)
        with refused(Status.MISUSE_ACCOUNT):
            store._handle.call(_abi.library.pawl_account_create, name, len(name), id)
        assert id.raw == bytes(16) and store.accounts() == []


def test_unknown_ids(store: Store) -> None:
    known = store.create_account("ada")
    for id in (UNKNOWN, bytes(16), known[:-1] + bytes([known[-1] ^ 1])):
        with refused(Status.NOT_FOUND):
            store.account(id)
        with refused(Status.NOT_FOUND):
            store.delete_account(id)
    assert [row.id for row in store.accounts()] == [known]


def test_bad_arguments(store: Store) -> None:
    id = store.create_account("ada")
    calls: list[Callable[[Any], object]] = [
        store.account,
        store.delete_account,
        lambda wrong: store.accounts(after=wrong),
    ]
    for call in calls:
        for wrong in BAD_IDS:
            with refused(Status.MISUSE_SIZE):
                call(wrong)
        for type_ in ("x" * 16, bytearray(16), 16):
            with pytest.raises(TypeError, match="16 bytes"):
                call(type_)
    for limit in (0, 10001, -1, 1 << 64):
        with refused(Status.MISUSE_SIZE):
            store.accounts(limit=limit)
        with refused(Status.MISUSE_SIZE):
            next(store.iterate_accounts(limit))
    assert len(store.accounts(limit=10000)) == 1 and store.account(id).identity.name == "ada"


def test_delete(store: Store, scope: Scope) -> None:
    store.put(scope, "n", b"x")
    first, second = (store.create_account(name) for name in ("ada", "bob"))
    kept = store.account(second)
    store.delete_account(first)
    with refused(Status.NOT_FOUND):
        store.account(first)
    with refused(Status.NOT_FOUND):
        store.delete_account(first)
    assert store.accounts() == [kept] and store.has(scope, "n")
    store.delete_all(Scope(scope.user), all_projects=True)
    assert store.accounts() == [kept] and store.verify() == []


def test_accounts_survive_reopening(reopen: Open) -> None:
    with reopen() as store:
        before = [store.account(store.create_account(name)) for name in ("ada", "bob")]
    with reopen() as store:
        assert [store.account(account.id) for account in before] == before
        assert store.accounts() == sorted(before, key=lambda account: account.id)
        assert store.verify() == []
        store.delete_account(before[0].id)
    with reopen() as store:
        assert store.accounts() == [before[1]]


def test_pages(store: Store) -> None:
    made = {store.create_account(f"name {i}"): f"name {i}" for i in range(25)}
    assert len(made) == 25
    whole = store.accounts()
    assert [row.id for row in whole] == sorted(made)
    assert {row.id: row.identity.name for row in whole} == made
    assert store.accounts(limit=10) == whole[:10]
    assert store.accounts(after=whole[9].id, limit=10) == whole[10:20]
    assert store.accounts(whole[19].id, 10) == whole[20:]
    assert store.accounts(after=whole[24].id) == [] == store.accounts(after=UNKNOWN)
    assert store.accounts(after=bytes(16)) == whole
    for page in (1, 5, 7, 24, 25, 26, 10000):
        assert list(store.iterate_accounts(page)) == whole
    assert list(store.iterate_accounts()) == whole
    store.delete_account(whole[9].id)
    assert store.accounts(after=whole[9].id, limit=2) == whole[10:12]
    assert list(store.iterate_accounts(3)) == whole[:9] + whole[10:]


def test_an_empty_store_has_none(store: Store, scope: Scope) -> None:
    store.put(scope, "n", b"x")
    assert store.accounts() == [] == list(store.iterate_accounts(1))


def test_batch(reopen: Open) -> None:
    with reopen() as store:
        old = store.account(store.create_account("old"))
        with store.batch() as batch:
            id = batch.create_account("new")
            new = batch.account(id)
            assert new.identity.name == "new"
            assert {row.id for row in batch.accounts()} == {old.id, id}
            assert {row.id for row in batch.iterate_accounts(1)} == {old.id, id}
            batch.delete_account(old.id)
            for call in (batch.account, batch.delete_account):
                with refused(Status.NOT_FOUND):
                    call(old.id)
            with refused(Status.MISUSE_ACCOUNT):
                batch.create_account("")
        with refused(Status.CLOSED):
            batch.account(id)
        assert store.accounts() == [new]
    with reopen() as store:
        assert store.accounts() == [new]


def test_rollback(reopen: Open) -> None:
    with reopen() as store:
        kept = store.account(store.create_account("kept"))
        with pytest.raises(ZeroDivisionError), store.batch() as batch:
            lost = batch.create_account("lost")
            batch.delete_account(kept.id)
            assert [row.id for row in batch.accounts()] == [lost]
            raise ZeroDivisionError
        with refused(Status.NOT_FOUND):
            store.account(lost)
        assert store.accounts() == [kept]
    with reopen() as store:
        assert store.accounts() == [kept] and store.verify() == []


def test_others_see_a_batch_after_its_commit(path: Path, key: RawKey) -> None:
    with (
        Store.open(path, key=key, create=True) as store,
        Store.open(path, key=key, busy_timeout=0) as other,
    ):
        with store.batch() as batch:
            id = batch.create_account("ada")
            assert other.accounts() == []
            with refused(Status.BUSY):
                other.create_account("bob")
        assert [row.id for row in other.accounts()] == [id]


def test_damage(path: Path, key: RawKey) -> None:
    """A damaged account is left out of lists, named by verify, and can be deleted."""
    with Store.open(path, key=key, create=True) as store:
        ids = sorted(store.create_account(name) for name in ("ada", "bob", "eve"))
        whole = store.accounts()
    row = b"\x30" + ids[1]
    with sqlite3.connect(path) as connection:
        (value,) = connection.execute("SELECT v FROM kv WHERE k = ?", (row,)).fetchone()
        damaged = value[:-1] + bytes([value[-1] ^ 1])
        connection.execute("UPDATE kv SET v = ? WHERE k = ?", (damaged, row))
    connection.close()
    with Store.open(path, key=key) as store:
        with refused(Status.CORRUPT):
            store.account(ids[1])
        assert store.accounts() == [whole[0], whole[2]]
        assert list(store.iterate_accounts(1)) == [whole[0], whole[2]]
        assert [damage.key for damage in store.verify()] == [row]
        store.delete_account(ids[1])
        assert store.verify() == [] and store.accounts() == [whole[0], whole[2]]


def test_an_account_in_the_place_of_another(path: Path, key: RawKey) -> None:
    with Store.open(path, key=key, create=True) as store:
        ids = [store.create_account(name) for name in ("ada", "eve")]
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE kv SET v = (SELECT v FROM kv WHERE k = ?) WHERE k = ?",
            (b"\x30" + ids[1], b"\x30" + ids[0]),
        )
    connection.close()
    with Store.open(path, key=key) as store:
        with refused(Status.CORRUPT):
            store.account(ids[0])
        assert [row.identity.name for row in store.accounts()] == ["eve"]


# ---------------------------------------------------------------- safety numbers


@pytest.fixture
def ada() -> Identity:
    return Identity(bytes(range(32)), bytes(range(32, 64)), "ada")


@pytest.fixture
def bob() -> Identity:
    return Identity(bytes(range(64, 96)), bytes(range(96, 128)), "bob")


def test_safety_of_accounts(store: Store) -> None:
    """What is read from the store again, or rebuilt by a peer, gives the same."""
    ada, bob = (store.account(store.create_account(name)) for name in ("ada", "bob"))
    number, code = ada.identity.safety_number(bob.identity), ada.identity.safety_code(bob.identity)
    assert re.fullmatch(r"\d{5}( \d{5}){11}", number, re.ASCII)
    assert len(code) == 65 and code[0] == 1 and code[1:33] < code[33:]
    assert bob.identity.safety_number(ada.identity) == number
    assert bob.identity.safety_code(ada.identity) == code
    known = bob.identity
    peer = Identity(known.signing_key, known.agreement_key, known.name)
    assert store.account(ada.id).identity.safety_number(peer) == number


def test_every_field_of_either_side_counts(ada: Identity, bob: Identity) -> None:
    swapped = Identity(bob.agreement_key, bob.signing_key, bob.name)
    others = [
        bob,
        replace(bob, signing_key=bob.signing_key[:-1] + b"\0"),
        replace(bob, agreement_key=b"\0" + bob.agreement_key[1:]),
        replace(bob, name="bob "),
        replace(bob, name="Bob"),
        swapped,
        ada,
    ]
    pairs = [(ada.safety_number(other), ada.safety_code(other)) for other in others]
    assert all(
        one != two and code != other for (one, code), (two, other) in combinations(pairs, 2)
    )


def test_the_digits_are_those_of_the_code(ada: Identity, bob: Identity) -> None:
    code, number = ada.safety_code(bob), ada.safety_number(bob)
    groups = [
        f"{int.from_bytes(half[at : at + 5], 'big') % 100_000:05}"
        for half in (code[1:33], code[33:])
        for at in range(0, 30, 5)
    ]
    assert number == " ".join(groups)


def test_bad_identities(ada: Identity, bob: Identity) -> None:
    wrong = [(replace(bob, name=name), Status.MISUSE_ACCOUNT) for name in BAD_NAMES]
    for size in (0, 31, 33):
        wrong.append((replace(bob, signing_key=bytes(size)), Status.MISUSE_SIZE))
        wrong.append((replace(bob, agreement_key=bytes(size)), Status.MISUSE_SIZE))
    for bad, reason in wrong:
        for call in (ada.safety_number, ada.safety_code):
            with refused(reason):
                call(bad)
        for call in (bad.safety_number, bad.safety_code):
            with refused(reason):
                call(ada)
    with pytest.raises(TypeError, match="32 bytes"):
        replace(bob, signing_key="x" * 32).safety_code(ada)  # type: ignore[arg-type]
    longest = replace(bob, name="x" * 255)
    assert longest.safety_code(ada) == ada.safety_code(longest) != ada.safety_code(bob)


@pytest.mark.parametrize(
    "function, needed, written",
    [
        (_abi.library.pawl_safety_number, _abi.PAWL_SAFETY_NUMBER_SIZE, 71),
        (_abi.library.pawl_safety_code, _abi.PAWL_SAFETY_CODE_SIZE, 65),
    ],
)
def test_room_and_flags(
    ada: Identity, bob: Identity, function: Any, needed: int, written: int
) -> None:
    a, b = pawl.values.identity_struct(ada), pawl.values.identity_struct(bob)
    size = ctypes.c_size_t()

    def call(room: int) -> bytes:
        out = ctypes.create_string_buffer(b"\x55" * 80, 80)
        status = function(a, b, out, room, ctypes.byref(size))
        pawl.values.check(status)
        assert out.raw[needed:] == b"\x55" * (80 - needed)
        return out.raw[:needed]

    for room in (0, 1, needed - 1):
        with refused(Status.BUFFER):
            call(room)
        assert size.value == needed
    assert call(needed) == call(80) and size.value == written
    a.flags = 1
    with refused(Status.MISUSE_FLAGS):
        call(80)
    assert size.value == 0


def test_rows_of_another_type(store: Store) -> None:
    """A view of accounts has no row past its end, and a view of something else has no accounts."""
    store.create_account("ada")

    def past(view: ctypes.c_void_p, row: int) -> Any:
        return _abi.library.pawl_view_account(view, row + 1, ctypes.byref(_abi.Account()))

    def other(view: ctypes.c_void_p, row: int) -> Any:
        return _abi.library.pawl_view_account(view, row, ctypes.byref(_abi.Account()))

    listed = pawl._handle.rows(store._handle, past, _abi.library.pawl_account_list, None, 10)
    assert listed == [Status.MISUSE_ROW]
    slots = pawl._handle.rows(store._handle, other, _abi.library.pawl_slot_list)
    assert slots == [Status.MISUSE_ROW]


def test_types_are_public() -> None:
    assert {"Account", "Identity"} <= set(pawl.__all__)
    assert pawl.Account is Account and pawl.Identity is Identity
