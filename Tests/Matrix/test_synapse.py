# SPDX-License-Identifier: Apache-2.0
"""Backups on Synapse, a Matrix homeserver that others wrote: what it keeps, what is done to it."""

from __future__ import annotations

import base64
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Tuple

import pytest
from real_server import NAME, Synapse

from backups import HOME, Device, backed_up, recovered
from doubles import SECOND, Time
from pawl import (
    BackupEntry,
    BackupFinding,
    BackupRefusal,
    BackupReply,
    BackupRequest,
    BackupResult,
    Download,
    Event,
    NotFoundError,
    Request,
)
from pawl.backup import MatrixTransport, entry_rank, serve

HOUR = 3600 * SECOND
SECRETS = {"token": "t0p", "large": "L" * 300_000, "empty": ""}
PLACE = bytes.fromhex("3f" + "07" * 15)


@pytest.fixture(scope="session")
def synapse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synapse]:
    with Synapse(tmp_path_factory.mktemp("synapse")).run() as running:
        yield running


@pytest.fixture
def user(request: pytest.FixtureRequest) -> str:
    name: str = request.node.name
    return "".join(letter for letter in name.lower() if letter.isalnum())


@pytest.fixture
def matrix(synapse: Synapse, user: str) -> Iterator[MatrixTransport]:
    with MatrixTransport(synapse.url, synapse.register(user)) as transport:
        yield transport


@pytest.fixture
def clock() -> Time:
    return Time()


def ask(
    transport: MatrixTransport,
    what: Request,
    version: str = "",
    *entries: BackupEntry,
    body: bytes = b"",
    place: bytes = PLACE,
) -> BackupReply:
    return transport.carry_out(BackupRequest(what, version, body, entries, place))


def entry(first: int, kind: int, data: bytes = b"", place: bytes = PLACE) -> BackupEntry:
    whole = b"\x01" + first.to_bytes(4, "little") + bytes([kind]) + data
    return BackupEntry(place, whole, *entry_rank(whole))


# ---------------------------------------------------------------- what it accepts


def test_versions(matrix: MatrixTransport) -> None:
    none = BackupReply(BackupResult.NO_VERSION)
    assert ask(matrix, Request.BACKUP_VERSION) == none
    assert ask(matrix, Request.BACKUP_PUT, "1", entry(0, 1)) == none
    first = ask(matrix, Request.BACKUP_CREATE, body=b"\0\xff").version
    second = ask(matrix, Request.BACKUP_CREATE, body=b"2").version
    assert ask(matrix, Request.BACKUP_VERSION) == BackupReply(version=second, body=b"2")
    wrong = BackupReply(BackupResult.WRONG_VERSION)
    assert ask(matrix, Request.BACKUP_PUT, first, entry(0, 1)) == wrong
    for number in ("666", "..", "a/b?c#d"):
        for what in (Request.BACKUP_PUT, Request.BACKUP_PAGE, Request.BACKUP_ITEM):
            assert ask(matrix, what, number) == none, (what, number)
        assert ask(matrix, Request.BACKUP_DELETE, number).result in (none.result, 0)
    assert ask(matrix, Request.BACKUP_ITEM, second) == BackupReply(BackupResult.NO_ITEM)
    assert ask(matrix, Request.BACKUP_PAGE, second) == BackupReply()
    assert ask(matrix, Request.BACKUP_DELETE, second) == BackupReply()
    assert ask(matrix, Request.BACKUP_VERSION) == BackupReply(version=first, body=b"\0\xff")
    assert ask(matrix, Request.BACKUP_DELETE, first) == BackupReply()
    assert ask(matrix, Request.BACKUP_VERSION) == none
    third = ask(matrix, Request.BACKUP_CREATE).version
    assert third not in (first, second), "numbers are not used again"


def test_entries(matrix: MatrixTransport) -> None:
    version = ask(matrix, Request.BACKUP_CREATE).version
    entries = [
        entry(n, 1 + n % 4, bytes([n]), bytes([n * 37 % 256]) + bytes(15)) for n in range(40)
    ]
    large = entry(2**31 - 1, 2, bytes(range(256)) * (16 << 12), b"\xff" * 16)
    assert ask(matrix, Request.BACKUP_PUT, version, *entries) == BackupReply(count=40)
    assert ask(matrix, Request.BACKUP_PUT, version, large) == BackupReply(count=41)
    expected = {one.place: one.data for one in [*entries, large]}
    found: Dict[bytes, bytes] = {}
    cursor = b""
    while True:
        reply = ask(matrix, Request.BACKUP_PAGE, version, body=cursor)
        assert reply.result is BackupResult.DONE
        found.update((one.place, one.data) for one in reply.entries)
        cursor = reply.body
        if not cursor:
            break
    assert found == expected
    for one in [entries[3], large]:
        reply = ask(matrix, Request.BACKUP_ITEM, version, place=one.place)
        assert reply.entries == (BackupEntry(one.place, one.data),)


def test_which_of_two_stays(matrix: MatrixTransport) -> None:
    """Synapse replaces if one of two numbers is lower; the better of two stays nonetheless."""
    ranks = [(first, kind) for first in (0, 1, 5, 6, 2**30, 2**31 - 2) for kind in (1, 2)]
    for index, (one, other) in enumerate(zip(ranks, ranks[1:])):
        better, worse = entry(*one, b"\xff" * index), entry(*other)
        for order in ((better, worse), (worse, better), (worse, better, worse)):
            version = ask(matrix, Request.BACKUP_CREATE).version
            for put in order:
                assert ask(matrix, Request.BACKUP_PUT, version, put) == BackupReply(count=1)
            reply = ask(matrix, Request.BACKUP_ITEM, version)
            assert reply.entries == (BackupEntry(PLACE, better.data),)


def test_a_token_that_is_over(synapse: Synapse, matrix: MatrixTransport) -> None:
    matrix.access_token = "nobody's"
    reply = ask(matrix, Request.BACKUP_VERSION)
    assert reply == BackupReply(BackupResult.FAILED, detail="401 M_UNKNOWN_TOKEN")


# ---------------------------------------------------------------- all of it


def test_lost_and_found(matrix: MatrixTransport, clock: Time) -> None:
    """Two accounts of one user: a reset, the secret from one to the other, one is lost."""
    phone, laptop, bob = (Device(matrix, name, clock) for name in ("phone", "laptop", "bob"))
    phone.store.keep_history(phone.account)
    phone.store.include_in_backup(phone.account, HOME)
    phone.put(**SECRETS)
    phone.store.create_backup(phone.account)
    ours, theirs = phone.connect(bob)
    for number in range(4):
        phone.store.send(ours, b"ours %d" % number)
        bob.store.send(theirs, b"theirs %d" % number)
        phone.run()
        phone.store.rekey(ours)
        phone.run()
    said = dict(phone.frames)
    assert phone.backup.pending == 0 and phone.backup.server_items > 8

    laptop.store.include_in_backup(laptop.account, HOME)
    ours, theirs = laptop.connect(phone)
    laptop.store.enable_backup(laptop.account)
    laptop.store.ask_for_backup_secret(laptop.account)
    laptop.run()
    item = laptop.asked(Request.BACKUP_SECRET)
    laptop.store.ack(item.seq)
    phone.store.send(theirs, phone.store.share_backup_secret(theirs, item.count))
    laptop.run()
    laptop.store.receive_backup_secret(ours, laptop.heard[-1])
    laptop.run()
    assert laptop.backup.active == phone.backup.active is not None
    laptop.store.restore_backup(laptop.account)
    laptop.run()
    assert laptop.secrets == SECRETS and not laptop.findings()

    phone.store.reset_backup(phone.account)
    phone.run()
    clock.now += HOUR
    laptop.put(token="while another version was made")
    laptop.run()
    assert laptop.backup.active is None and laptop.backup.download is Download.KEY_MISSING
    laptop.store.recover_backup(laptop.account, phone.store.backup_recovery_key(phone.account))
    laptop.run()
    assert laptop.backup.active == phone.backup.active is not None
    assert laptop.backup.active.generation == 2
    clock.now = laptop.backup.retry_ns or clock.now
    laptop.run()
    assert laptop.backup.pending == 0

    found = recovered(phone, matrix, clock)
    phone.store.close()
    report = found.restored()
    assert (report.writers, report.findings, report.malformed) == (2, 0, 0), found.findings()
    assert found.secrets == {**SECRETS, "token": "while another version was made"}
    closed = {(row.session, row.epoch) for row in found.store.iterate_history(found.account)}
    opened = []
    for frame in said:
        try:
            message = found.store.open_history(found.account, frame)
        except NotFoundError:
            continue  # its epoch was not over, for both sides, when the device was lost
        assert (message.session, message.epoch) in closed
        opened.append(message.plaintext)
    for number in range(3):
        assert b"ours %d" % number in opened and b"theirs %d" % number in opened


def test_delete(synapse: Synapse, matrix: MatrixTransport, user: str, clock: Time) -> None:
    device = backed_up(matrix, clock, **SECRETS)
    device.store.reset_backup(device.account)
    device.run()
    assert len(set(row[0] for row in rows(synapse, user, "version"))) == 1
    device.store.delete_backup(device.account)
    device.run()
    assert rows(synapse, user, "version") == [] and device.backup.server is None
    assert ask(matrix, Request.BACKUP_VERSION).result is BackupResult.NO_VERSION


def test_two_write_at_once(matrix: MatrixTransport, clock: Time) -> None:
    """The same credential, each minute anew; both have the same in the end."""
    one = backed_up(matrix, clock, token="0")
    two = recovered(one, matrix, clock)
    for number in range(1, 6):
        clock.now += 60 * SECOND
        first, second = (one, two) if number % 2 else (two, one)
        first.put(token=f"{number} by the first")
        clock.now += 60 * SECOND
        second.put(token=f"{number} by the second")
        while any([device.turn() for device in (first, second)]):
            pass
    found = recovered(one, matrix, clock)
    assert found.secrets == {"token": "5 by the second"}
    assert not found.findings() and found.restored().writers == 2


# ---------------------------------------------------------------- what others may do to it


def rows(synapse: Synapse, user: str, columns: str) -> List[Tuple[str, ...]]:
    with closing(sqlite3.connect(synapse.database, timeout=30)) as database:
        sql = f"SELECT {columns} FROM e2e_room_keys WHERE user_id = ? ORDER BY session_id"
        return database.execute(sql, (f"@{user}:{NAME}",)).fetchall()


def change(synapse: Synapse, user: str, sql: str, *values: str) -> None:
    with closing(sqlite3.connect(synapse.database, timeout=30)) as database, database:
        changed = database.execute(f"{sql} AND user_id = ?", (*values, f"@{user}:{NAME}"))
        assert changed.rowcount > 0


def items(synapse: Synapse, user: str) -> List[Tuple[str, str]]:
    """Names and contents of the sessions that are credentials: they alone may be told apart."""
    found = rows(synapse, user, "session_id, session_data")
    return [(name, data) for name, data in found if stored(data)[5] == 1]


def stored(data: str) -> bytes:
    text = json.loads(data)["bytes"]
    return base64.b64decode(text + "=" * (-len(text) % 4))


UPDATE = "UPDATE e2e_room_keys SET session_data = ? WHERE session_id = ?"


def damaged(synapse: Synapse, user: str) -> Tuple[BackupFinding, str]:
    name, data = items(synapse, user)[0]
    text = json.loads(data)["bytes"]
    text = text[:-8] + ("AAAA" if text[-8:-4] != "AAAA" else "BBBB") + text[-4:]
    change(synapse, user, UPDATE, json.dumps({"bytes": text}), name)
    return BackupFinding.UNDECRYPTABLE, name


def nonsense(synapse: Synapse, user: str) -> Tuple[BackupFinding, str]:
    name, _ = items(synapse, user)[0]
    change(synapse, user, UPDATE, json.dumps({"ephemeral": "x", "mac": 5}), name)
    return BackupFinding.MALFORMED, name


def deleted(synapse: Synapse, user: str) -> Tuple[BackupFinding, str]:
    name, _ = items(synapse, user)[0]
    change(synapse, user, "DELETE FROM e2e_room_keys WHERE session_id = ?", name)
    return BackupFinding.OMITTED, name


def swapped(synapse: Synapse, user: str) -> Tuple[BackupFinding, str]:
    (one, _), (_, data) = items(synapse, user)[:2]
    change(synapse, user, UPDATE, data, one)
    return BackupFinding.UNDECRYPTABLE, one


@pytest.mark.parametrize("tamper", [damaged, nonsense, deleted, swapped])
def test_tampering_is_reported(
    synapse: Synapse,
    matrix: MatrixTransport,
    user: str,
    clock: Time,
    tamper: Callable[[Synapse, str], Tuple[BackupFinding, str]],
) -> None:
    lost = backed_up(matrix, clock, **{f"n{number}": "x" for number in range(5)})
    assert len(items(synapse, user)) == 5
    finding, place = tamper(synapse, user)
    device = recovered(lost, matrix, clock)
    told = [(item.count, item.body.hex()) for item in device.of(Event.BACKUP_FINDING)]
    assert (finding, place) in told
    assert {name for _, name in told} == {place}, "nothing else is wrong"
    assert device.restored().findings == len(told) and len(device.secrets) == 4


def test_a_state_that_is_put_back_is_reported(
    synapse: Synapse, matrix: MatrixTransport, user: str, clock: Time
) -> None:
    """All rows of before. Who has seen later ones notices; a first restore says of when it is."""
    lost = backed_up(matrix, clock, **SECRETS)
    seen = recovered(lost, matrix, clock)
    before = {name: data for name, data in rows(synapse, user, "session_id, session_data")}
    then = clock.now
    clock.now += HOUR
    lost.put(token="later")
    lost.run()
    seen.store.restore_backup(seen.account)
    seen.run()
    assert seen.secrets["token"] == "later" and not seen.findings()
    for name, data in before.items():
        change(synapse, user, UPDATE, data, name)
    seen.store.restore_backup(seen.account)
    seen.run()
    assert BackupFinding.ROLLED_BACK in seen.findings() and seen.secrets["token"] == "later"
    first = recovered(lost, matrix, clock)
    assert first.restored().as_of_ns == then and first.secrets == SECRETS


def test_a_version_that_is_put_back_is_refused(
    synapse: Synapse, matrix: MatrixTransport, user: str, clock: Time
) -> None:
    device = backed_up(matrix, clock, **SECRETS)
    old = device.store.backup_recovery_key(device.account)
    device.store.reset_backup(device.account)
    device.run()
    hide = "UPDATE e2e_room_keys_versions SET deleted = "
    change(synapse, user, hide + "1 WHERE version = '2'")
    change(synapse, user, hide + "0 WHERE version = '1'")
    device.store.enable_backup(device.account)
    device.run()
    assert device.backup.download is Download.ROLLED_BACK and device.backup.active is None
    device.store.recover_backup(device.account, old)
    device.run()
    assert device.refusals() == [BackupRefusal.ROLLED_BACK] and device.backup.older


def test_nothing_is_readable(synapse: Synapse, matrix: MatrixTransport, clock: Time) -> None:
    device = backed_up(matrix, clock, needle="nEEdLe-in-a-haystack")
    device.put(other="another nEEdLe-in-a-haystack")
    device.run()
    secret = device.store.backup_recovery_key(device.account).text
    for path in Path(synapse.folder).glob("homeserver.db*"):
        everything = path.read_bytes()
        for word in (b"nEEdLe", b"needle", secret.encode(), secret.replace(" ", "").encode()):
            assert word not in everything
    assert not serve(device.store, device.events[0], matrix)
