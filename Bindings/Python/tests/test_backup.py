# SPDX-License-Identifier: Apache-2.0
"""Backups, on a server in memory and on a homeserver in this process."""

from __future__ import annotations

import asyncio
import base64
import pickle
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import pytest

import pawl
from backups import HOME, Device, backed_up, recovered
from doubles import SECOND, DictVault, Time, refused
from homeserver import TOKEN, Homeserver, Version, refusal
from pawl import (
    Backup,
    BackupEntry,
    BackupFinding,
    BackupPhase,
    BackupRefusal,
    BackupReply,
    BackupRequest,
    BackupResult,
    Download,
    Event,
    Passphrase,
    RawKey,
    RecoveryKey,
    Request,
    Scope,
    Status,
    Store,
)
from pawl.aio import AsyncStore
from pawl.backup import MatrixTransport, MemoryServer, Transport, entry_rank, serve, serve_async

HOUR = 3600 * SECOND


@pytest.fixture
def homeserver() -> Iterator[Homeserver]:
    with Homeserver() as server:
        yield server


@pytest.fixture
def matrix(homeserver: Homeserver, clock: Time) -> Iterator[MatrixTransport]:
    with MatrixTransport(homeserver.url, TOKEN, timeout=10, clock=clock) as transport:
        yield transport


@pytest.fixture(params=["memory", "matrix"])
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    if request.param == "memory":
        yield MemoryServer(page=2)
    else:
        yield request.getfixturevalue("matrix")


SECRETS = {"token": "t0p", "large": "L" * 40_000, "empty": ""}

# ---------------------------------------------------------------- lost and found


def test_a_lost_store_is_recovered(transport: Transport, clock: Time) -> None:
    lost = backed_up(transport, clock, **SECRETS)
    lost.put(token="updated", gone="soon")
    lost.store.delete(HOME, "gone")
    lost.run()
    state = lost.backup
    assert state.on and state.server_known and state.phase is BackupPhase.IDLE
    assert state.download is Download.READY and state.pending == 0 and state.retry is None
    assert state.active is not None and state.active == state.server == state.key
    assert state.active.generation == 1 and len(state.active.hash) == 32
    assert state.server_items > 4 and state.acknowledged > 4
    text = lost.store.backup_recovery_key(lost.account).text
    lost.store.close()

    device = Device(transport, "found", clock)
    with refused(Status.NOT_FOUND):
        device.backup
    device.store.recover_backup(device.account, RecoveryKey(text.upper().replace(" ", "-")))
    device.run()
    assert device.backup.active == state.active and not device.secrets
    device.store.include_in_backup(device.account, HOME)
    device.store.restore_backup(device.account)
    device.run()
    assert device.secrets == {**SECRETS, "token": "updated"}
    report = device.restored()
    assert (report.imported, report.known, report.improved) == (3, 1, 0)
    assert (report.undecryptable, report.malformed, report.foreign, report.findings) == (0, 0, 0, 0)
    assert report.writers == 1 and report.as_of_ns == clock.now and report.as_of is not None
    assert not device.findings() and not device.backup.restoring
    assert device.names()[-1] == "RESTORED"
    assert device.store.backup_recovery_key(device.account).text == text
    assert not device.store.verify()


def test_history_comes_back(transport: Transport, clock: Time) -> None:
    lost, bob = Device(transport, clock=clock), Device(transport, "bob", clock)
    lost.store.keep_history(lost.account)
    lost.store.create_backup(lost.account)
    ours, theirs = lost.connect(bob)
    for number in range(4):
        lost.store.send(ours, b"ours %d" % number)
        bob.store.send(theirs, b"theirs %d" % number)
        lost.run()
        lost.store.rekey(ours)
        lost.run()
    closed = [row for row in lost.store.iterate_history(lost.account) if row.closed]
    assert len(closed) >= 4 and not any(row.imported for row in closed)
    said = {frame: text for frame, text in lost.frames.items() if b"ours" in text}
    said |= {frame: text for frame, text in lost.frames.items() if b"theirs" in text}
    assert len(said) == 8
    opened = {frame: lost.store.open_history(lost.account, frame) for frame in said}
    end = max(row.epoch for row in closed)

    device = recovered(lost, transport, clock)
    found = list(device.store.iterate_history(device.account))
    assert [(row.session, row.epoch, row.sent, row.first, row.end) for row in found] == [
        (row.session, row.epoch, row.sent, row.first, row.end) for row in closed
    ]
    assert all(row.imported and row.closed for row in found)
    count = 0
    for frame, message in opened.items():
        if message.epoch <= end:
            assert device.store.open_history(device.account, frame) == message
            count += 1
    assert count >= 6
    with refused(Status.NOT_FOUND):
        device.store.send(ours, b"history gives no session")


def test_what_is_restored_twice(transport: Transport, clock: Time) -> None:
    lost = backed_up(transport, clock, **SECRETS)
    device = recovered(lost, transport, clock)
    device.store.put(HOME, "token", b"later")
    device.store.restore_backup(device.account)
    device.run()
    report = device.restored()
    assert (report.imported, report.improved, report.known) == (0, 0, 3)
    assert device.secrets["token"] == "later"
    clock.now += 3600 * SECOND
    lost.put(token="latest")
    lost.run()
    device.store.restore_backup(device.account)
    device.run()
    assert device.restored().improved == 1 and device.secrets["token"] == "latest"


def test_stop_and_go_on(clock: Time) -> None:
    server = MemoryServer(page=3)
    lost = backed_up(server, clock, **{f"n{number}": "x" for number in range(30)})
    device = Device(server, "found", clock)
    device.store.include_in_backup(device.account, HOME)
    key = lost.store.backup_recovery_key(lost.account)
    device.store.recover_backup(device.account, key)
    device.run()
    device.store.restore_backup(device.account)
    while device.backup.imported < 8:
        assert device.turn() and device.backup.restoring
    device.look()
    device.store.stop_restore(device.account)
    device.run()
    before = device.backup
    assert before.restoring and before.stopped and 8 <= before.imported < 30
    progress = [item.backup.imported for item in device.of(Event.BACKUP_RESTORING) if item.backup]
    assert len(progress) >= 3 and progress == sorted(progress) and progress[-1] == before.imported
    assert len(device.secrets) == before.imported
    clock.now += 24 * HOUR
    device.run()
    assert device.backup.imported == before.imported, "it stays stopped"
    device.store.restore_backup(device.account)
    device.run()
    assert not device.backup.restoring and not device.backup.stopped
    assert device.restored().imported == 30 == len(device.secrets)
    assert not device.findings()


def test_one_item(transport: Transport, clock: Time) -> None:
    lost = backed_up(transport, clock, **SECRETS)
    device = Device(transport, "found", clock)
    with refused(Status.STATE_BACKUP):
        device.store.fetch_credential(device.account, HOME, "token")
    key = lost.store.backup_recovery_key(lost.account)
    device.store.recover_backup(device.account, key)
    device.run()
    device.store.fetch_credential(device.account, HOME, "token")
    device.run()
    assert device.refusals() == [BackupRefusal.MISSING] and not device.secrets, "not included"
    device.events.clear()
    device.store.include_in_backup(device.account, HOME)
    clock.now += HOUR
    for _ in range(2):
        device.store.fetch_credential(device.account, HOME, "token")
    device.run()
    assert device.secrets == {"token": SECRETS["token"]}
    device.store.fetch_credential(device.account, HOME, "nothing")
    device.store.fetch_history(device.account, bytes(16), 7)
    device.run()
    assert device.refusals() == [BackupRefusal.MISSING] * 3
    device.store.fetch_credential(device.account, HOME, "nothing")
    device.run()
    assert device.refusals()[3:] in ([], [BackupRefusal.MISSING]), "not asked for again"


# ---------------------------------------------------------------- versions


def test_events_come_in_order(transport: Transport, clock: Time) -> None:
    """Each carries what `Device.note` is told when it asks, while it handles the event."""
    device = backed_up(transport, clock, **SECRETS)
    items = list(device.events)
    names = device.names()
    assert names.count("KEY_CACHED") == 1
    at = names.index("KEY_CACHED")
    status, cached = items[at - 1].backup, items[at].backup
    assert names[at - 1] == "STATUS" and status == cached is not None
    assert cached.uploading and not device.backup.uploading
    assert cached.active is not None and items[at].count == cached.active.generation == 1
    revisions = [item.backup.revision for item in items if item.backup]
    assert revisions == sorted(revisions)
    earlier = [item.backup for item in items[: at - 1]]
    assert earlier and all(backup and backup.active is None for backup in earlier)
    assert pickle.loads(pickle.dumps(items)) == items
    device.store.reset_backup(device.account)
    device.run()
    names = device.names()
    at = names.index("KEY_CACHED")
    assert names[at - 1] == "STATUS" and names.count("KEY_CACHED") == 1


def test_reset(transport: Transport, clock: Time) -> None:
    device = backed_up(transport, clock, **SECRETS)
    before = device.backup
    old = device.store.backup_recovery_key(device.account)
    device.store.reset_backup(device.account)
    device.run()
    after = device.backup
    assert after.active is not None and after.active.generation == 2
    assert after.active != before.active
    assert after.server_items == before.server_items and after.pending == 0
    if isinstance(transport, MemoryServer):
        assert len(transport.versions) == 1, "the old one is deleted"

    other = Device(transport, "late", clock)
    other.store.recover_backup(other.account, old)
    other.run()
    assert other.refusals() == [BackupRefusal.WRONG_KEY]
    assert other.backup.download is Download.KEY_MISSING and other.backup.active is None
    assert recovered(device, transport, clock).secrets == SECRETS


def test_a_reset_deletes_what_is_here(clock: Time) -> None:
    """A version that was made elsewhere stays, unless it was restored to its end."""
    server = MemoryServer(page=2)
    old = backed_up(server, clock, **{f"n{number}": "x" for number in range(20)})
    key = old.store.backup_recovery_key(old.account)
    new = Device(server, "a new one", clock)
    new.store.include_in_backup(new.account, HOME)
    new.store.recover_backup(new.account, key)
    new.run()
    new.store.restore_backup(new.account)
    while not new.backup.imported:
        assert new.turn()
    new.look()
    new.store.stop_restore(new.account)
    new.run()
    assert new.backup.stopped
    new.store.reset_backup(new.account)
    new.run()
    assert list(server.versions) == ["1", "2"]
    newest = recovered(new, server, clock)
    newest.store.reset_backup(newest.account)
    newest.run()
    assert list(server.versions) == ["1", "3"]


def test_nothing_is_uploaded_during_a_restore(clock: Time) -> None:
    server = MemoryServer(page=2)
    lost = backed_up(server, clock, **{f"n{number}": "x" for number in range(8)})
    device = Device(server, "found", clock)
    device.store.include_in_backup(device.account, HOME)
    key = lost.store.backup_recovery_key(lost.account)
    device.store.recover_backup(device.account, key)
    device.run()
    device.store.restore_backup(device.account)
    before = dict(server.versions["1"].entries)
    device.look()
    device.put(new="new")
    while not device.of(Event.BACKUP_RESTORED):
        assert server.versions["1"].entries == before
        assert device.turn()
    device.run()
    assert device.backup.pending == 0
    assert recovered(device, server, clock).secrets["new"] == "new"


def test_with_a_key_of_ones_own(transport: Transport, clock: Time) -> None:
    device = Device(transport, clock=clock)
    key = RecoveryKey.generate(backup=True)
    device.store.create_backup(device.account, key)
    device.run()
    assert device.store.backup_recovery_key(device.account).text == key.text
    raw = RawKey(bytearray(range(32)))
    device.store.reset_backup(device.account, raw)
    device.run()
    other = Device(transport, "other", clock)
    other.store.recover_backup(other.account, raw)
    other.run()
    assert other.backup.active == device.backup.active is not None


def test_bad_keys(transport: Transport) -> None:
    device = Device(transport)
    store, account = device.store, device.account
    typed = RecoveryKey.generate(backup=True).text
    wrong = typed[:-1] + ("q" if typed[-1] != "q" else "p")
    calls: List[Callable[[Any], object]] = [
        lambda key: store.create_backup(account, key),
        lambda key: store.reset_backup(account, key),
        lambda key: store.recover_backup(account, key),
    ]
    for call in calls:
        with refused(Status.MISUSE_KEY):
            call(Passphrase("pass"))
        with refused(Status.MISUSE_RECOVERY):
            call(RecoveryKey(wrong))
        with refused(Status.MISUSE_RECOVERY_PREFIX):
            call(RecoveryKey.generate())
        with refused(Status.MISUSE_KEY):
            call(RawKey(bytes(31)))
    with refused(Status.NOT_FOUND):
        device.backup


def test_there_is_one_already(transport: Transport, clock: Time) -> None:
    device = backed_up(transport, clock)
    device.store.create_backup(device.account)
    device.run()
    other = Device(transport, "other", clock)
    other.store.create_backup(other.account)
    other.run()
    assert device.refusals() == other.refusals() == [BackupRefusal.EXISTS]
    assert other.backup.server == device.backup.server and other.backup.active is None


def test_there_is_none(transport: Transport, clock: Time) -> None:
    device = Device(transport, clock=clock)
    device.store.recover_backup(device.account, RecoveryKey.generate(backup=True))
    device.run()
    assert device.refusals() == [BackupRefusal.NO_BACKUP]
    assert device.backup.server_known and device.backup.server is None
    assert device.backup.download is Download.ABSENT
    device.store.restore_backup(device.account)
    device.run()
    assert device.refusals()[1:] == [BackupRefusal.NOT_READY]
    with refused(Status.STATE_BACKUP):
        device.store.backup_recovery_key(device.account)


def test_off_and_on(transport: Transport, clock: Time) -> None:
    device = backed_up(transport, clock, **SECRETS)
    device.store.disable_backup(device.account)
    device.run()
    assert not device.backup.on and device.backup.download is Download.OFF
    device.put(token="while it was off")
    device.run()
    device.store.enable_backup(device.account)
    device.run()
    assert device.backup.on and device.backup.pending == 0
    assert recovered(device, transport, clock).secrets["token"] == "while it was off"


def test_deleting_falls_back(homeserver: Homeserver, matrix: MatrixTransport, clock: Time) -> None:
    """To older versions, which are deleted as well."""
    device = backed_up(matrix, clock, **SECRETS)
    info = homeserver.versions["1"].info
    kept = {number: Version(info) for number in ("a", "b", "c")}
    homeserver.versions = {**kept, **homeserver.versions}
    device.store.delete_backup(device.account)
    device.run()
    assert homeserver.versions == {} and homeserver.asked[-1] == "GET version"
    state = device.backup
    assert state.key is state.active is state.server is None and not state.on
    with refused(Status.STATE_BACKUP):
        device.store.backup_recovery_key(device.account)
    device.put(token="later")
    device.run()
    assert homeserver.asked[-1] == "GET version", "it is off"


def test_endless_versions(homeserver: Homeserver, matrix: MatrixTransport, clock: Time) -> None:
    device = backed_up(matrix, clock, **SECRETS)
    info = homeserver.versions["1"].info

    def lie(method: str, path: str) -> Optional[Any]:
        if method != "DELETE":
            return None
        homeserver.made += 1
        homeserver.versions.clear()
        homeserver.versions[str(homeserver.made)] = Version(info)
        return 200, {}

    homeserver.lie = lie
    homeserver.asked.clear()
    device.store.delete_backup(device.account)
    device.run()
    assert device.refusals() == [BackupRefusal.ENDLESS]
    assert sum(asked.startswith("DELETE") for asked in homeserver.asked) == 8


def test_escrow(transport: Transport, clock: Time) -> None:
    device = Device(transport, clock=clock)
    device.store.create_backup(device.account, escrow=True)
    device.run()
    item = device.asked(Request.BACKUP_ESCROW)
    request = item.backup_request
    assert request is not None and request.what is Request.BACKUP_ESCROW
    assert request.entries == () and request.place is None and item.body == b""
    assert device.backup.phase is BackupPhase.ESCROWING and device.backup.active is None
    assert not serve(device.store, item, transport), "it is the host's own"
    with pytest.raises(ValueError, match="not for a server"):
        transport.carry_out(request)
    device.store.answer_backup(item.seq, BackupReply())
    device.run()
    assert device.backup.active is not None
    assert device.store.backup_recovery_key(device.account).text == request.body.decode()
    assert request.body.decode() not in repr(item) + repr(request)


# ---------------------------------------------------------------- from account to account


def test_the_secret_over_a_session(transport: Transport, clock: Time) -> None:
    """Two accounts of one user."""
    old = backed_up(transport, clock, **SECRETS)
    new = Device(transport, "a new one", clock)
    new.store.include_in_backup(new.account, HOME)
    ours, theirs = new.connect(old)
    new.store.enable_backup(new.account)
    new.run()
    assert new.backup.download is Download.KEY_MISSING
    new.store.ask_for_backup_secret(new.account)
    new.run()
    item = new.asked(Request.BACKUP_SECRET)
    assert item.count > 0 and not serve(new.store, item, transport)
    new.store.ack(item.seq)
    shared = old.store.share_backup_secret(theirs, item.count)
    assert len(shared) == 49
    old.store.send(theirs, shared)
    new.run()
    assert new.heard[-1] == shared
    new.names()
    new.store.receive_backup_secret(ours, bytearray(new.heard[-1]))
    new.run()
    names = new.names()
    at = names.index("KEY_CACHED")
    assert names[at - 1] == "STATUS" and "REFUSED" not in names
    assert new.backup.active == old.backup.active is not None
    new.store.restore_backup(new.account)
    new.run()
    assert new.secrets == SECRETS
    clock.now += SECOND
    new.put(token="from the other one")
    new.run()
    old.store.restore_backup(old.account)
    old.run()
    assert old.restored().writers == 2 and old.secrets == new.secrets


def test_secrets_that_are_refused(transport: Transport, clock: Time) -> None:
    old = backed_up(transport, clock)
    new = Device(transport, "a new one", clock)
    ours, theirs = new.connect(old)
    shared = old.store.share_backup_secret(theirs, 1)
    with refused(Status.STATE_BACKUP):
        new.store.receive_backup_secret(ours, shared)
    with refused(Status.NOT_FOUND):
        new.store.backup(new.account)
    new.store.enable_backup(new.account)
    new.store.receive_backup_secret(ours, shared)
    new.run()
    assert new.refusals() == [BackupRefusal.UNASKED]
    for bad in (b"", shared[:-1], shared + b"x", b"\x09" + shared[1:]):
        with pytest.raises((pawl.CorruptError, pawl.VersionError)):
            new.store.receive_backup_secret(ours, bad)
    for session in (bytes(16), theirs[:-1] + b"\xff"):
        with refused(Status.NOT_FOUND):
            new.store.receive_backup_secret(session, shared)
        with refused(Status.NOT_FOUND):
            old.store.share_backup_secret(session, 1)
    with refused(Status.STATE_BACKUP):
        new.store.share_backup_secret(ours, 1)
    identity = new.store.account(new.account).identity
    old.store.trust_peer(old.account, identity, pawl.Trust.UNVERIFIED)
    with refused(Status.STATE_IDENTITY):
        old.store.share_backup_secret(theirs, 1)


def test_a_wrong_secret_over_a_session(clock: Time) -> None:
    """That of another backup, by somebody who is trusted and was asked."""
    server, elsewhere = MemoryServer(), MemoryServer()
    backed_up(server, clock)
    old = backed_up(elsewhere, clock)
    new = Device(server, "a new one", clock)
    ours, theirs = new.connect(old)
    new.store.enable_backup(new.account)
    new.store.ask_for_backup_secret(new.account)
    new.run()
    item = new.asked(Request.BACKUP_SECRET)
    new.store.ack(item.seq)
    shared = old.store.share_backup_secret(theirs, item.count)
    new.store.receive_backup_secret(ours, shared)
    new.run()
    assert new.refusals() == [BackupRefusal.WRONG_KEY] and new.backup.key is None


def test_a_generation_is_believed_with_the_secret(clock: Time) -> None:
    """Who has the secret says that a later version was there; who has another one says nothing."""
    server = MemoryServer()
    old = backed_up(server, clock)
    new = Device(server, "a new one", clock)
    ours, theirs = new.connect(old)
    new.store.enable_backup(new.account)

    def receive(secret: Optional[bytes], highest: int) -> None:
        new.store.ask_for_backup_secret(new.account)
        new.run()
        item = new.asked(Request.BACKUP_SECRET)
        new.store.ack(item.seq)
        shared = old.store.share_backup_secret(theirs, item.count)
        forged = shared[:9] + highest.to_bytes(8, "little") + (secret or shared[17:])
        new.store.receive_backup_secret(ours, forged)
        new.run()

    receive(bytes(32), 7)
    assert new.refusals() == [BackupRefusal.WRONG_KEY]
    receive(None, 1)
    assert new.backup.download is Download.READY
    receive(None, 7)
    assert new.refusals()[1:] == [BackupRefusal.ROLLED_BACK]
    state = new.backup
    assert (state.download, state.active, state.older) == (Download.ROLLED_BACK, None, True)


# ---------------------------------------------------------------- bad servers


def place_of(homeserver: Homeserver, skip: int = 0) -> Tuple[Dict[str, Any], str]:
    """A session that is a credential, and its room."""
    found = [
        (room, name)
        for room in homeserver.versions[homeserver.current or ""].rooms.values()
        for name, session in sorted(room.items())
        if stored(session)[5] == 1
    ]
    return found[skip]


def stored(session: Dict[str, Any]) -> bytes:
    text = session["session_data"]["bytes"]
    return base64.b64decode(text + "=" * (-len(text) % 4))


def test_tampering_is_found(homeserver: Homeserver, matrix: MatrixTransport, clock: Time) -> None:
    lost = backed_up(matrix, clock, **{f"n{number}": "x" for number in range(6)})
    (room, malformed), (other, undecryptable), (third, omitted) = (
        place_of(homeserver, skip) for skip in range(3)
    )
    room[malformed] = {"session_data": 5}
    text = other[undecryptable]["session_data"]["bytes"]
    other[undecryptable]["session_data"]["bytes"] = text[:-4] + "AAAA"
    del third[omitted]
    device = recovered(lost, matrix, clock)
    found = {(item.count, item.body.hex()) for item in device.of(Event.BACKUP_FINDING)}
    assert {
        (BackupFinding.MALFORMED, malformed),
        (BackupFinding.UNDECRYPTABLE, undecryptable),
        (BackupFinding.OMITTED, omitted),
    } <= found
    report = device.restored()
    assert (report.imported, report.malformed, report.undecryptable) == (3, 1, 1)
    assert report.findings >= 3 and len(device.secrets) == 3


def test_an_older_state_is_found(
    homeserver: Homeserver, matrix: MatrixTransport, clock: Time
) -> None:
    """All rows of a version as they were before."""
    lost = backed_up(matrix, clock, **SECRETS)
    device = recovered(lost, matrix, clock)
    older = {room: dict(there) for room, there in homeserver.versions["1"].rooms.items()}
    clock.now += HOUR
    lost.put(token="later")
    lost.run()
    device.store.restore_backup(device.account)
    device.run()
    assert device.secrets["token"] == "later" and not device.findings()
    homeserver.versions["1"].rooms = older
    device.store.restore_backup(device.account)
    device.run()
    assert BackupFinding.ROLLED_BACK in device.findings()
    assert device.secrets["token"] == "later"


def test_an_older_version_is_offered(
    homeserver: Homeserver, matrix: MatrixTransport, clock: Time
) -> None:
    lost = backed_up(matrix, clock, **SECRETS)
    old = dict(homeserver.versions)
    key = lost.store.backup_recovery_key(lost.account)
    lost.store.reset_backup(lost.account)
    lost.run()
    homeserver.versions = old
    lost.store.enable_backup(lost.account)
    lost.run()
    state = lost.backup
    assert state.download is Download.ROLLED_BACK and state.active is None
    lost.store.recover_backup(lost.account, key)
    lost.run()
    assert lost.refusals() == [BackupRefusal.ROLLED_BACK] and lost.backup.older
    lost.store.delete_all(HOME)
    lost.store.restore_backup(lost.account)
    lost.run()
    assert lost.refusals()[1:] == [BackupRefusal.NOT_READY]
    lost.store.restore_backup(lost.account, accept_older=True)
    lost.run()
    assert lost.restored().known + lost.restored().imported == 3
    assert lost.backup.active is None, "it is restored from, and no more"


def test_items_that_are_alike(transport: Transport, clock: Time) -> None:
    """Two accounts upload what both had restored. A server may keep what either wrote."""
    first = backed_up(transport, clock, **{f"n{number}": "x" for number in range(12)})
    one, other = recovered(first, transport, clock), recovered(first, transport, clock)
    one.store.reset_backup(one.account)
    one.run()
    key = one.store.backup_recovery_key(one.account)
    other.store.recover_backup(other.account, key)
    other.run()
    clock.now = other.backup.retry_ns or clock.now
    other.run()
    assert one.backup.active == other.backup.active and other.backup.acknowledged >= 12
    device = recovered(one, transport, clock)
    assert device.restored().writers == 2 and len(device.secrets) == 12
    assert device.findings() == []


def test_a_wrong_version_is_checked(
    homeserver: Homeserver, matrix: MatrixTransport, clock: Time
) -> None:
    """What the error calls the current version counts for nothing."""
    device = backed_up(matrix, clock, **SECRETS)
    lies = [refusal(403, "M_WRONG_ROOM_KEYS_VERSION", current_version="666")]
    homeserver.lie = lambda method, path: lies.pop() if method == "PUT" and lies else None
    homeserver.asked.clear()
    device.put(token="later")
    device.run()
    for _ in range(3):
        clock.now += HOUR
        device.run()
    assert not lies and not any("666" in asked for asked in homeserver.asked)
    assert homeserver.asked[:2] == ["PUT keys", "GET version"]
    assert device.backup.pending == 0
    assert recovered(device, matrix, clock).secrets["token"] == "later"


@pytest.mark.parametrize(
    "said, seconds",
    [
        ((429, {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 90_000}), 90),
        ((429, {"errcode": "M_LIMIT_EXCEEDED"}, {"Retry-After": "90"}), 90),
        ((429, {"errcode": "M_LIMIT_EXCEEDED"}), None),
        ((500, b"oops"), None),
    ],
)
def test_later(
    homeserver: Homeserver, matrix: MatrixTransport, clock: Time, said: Any, seconds: Optional[int]
) -> None:
    device = backed_up(matrix, clock)
    homeserver.lie = lambda method, path: said
    device.put(token="t")
    device.run()
    at = device.backup.retry_ns
    assert at is not None and at > clock.now and device.backup.pending == 1
    assert device.backup.retry is not None and device.backup.on
    if seconds is not None:
        assert at >= clock.now + seconds * SECOND
        clock.now += seconds * SECOND - 1
        homeserver.asked.clear()
        device.run()
        assert homeserver.asked == []
    clock.now = at
    homeserver.lie = lambda method, path: None
    device.run()
    assert device.backup.pending == 0 and device.backup.retry_ns is None


def test_stale_counts(homeserver: Homeserver, matrix: MatrixTransport, clock: Time) -> None:
    """Whatever it counts, all is uploaded and restored."""
    counts = iter(range(1000, 0, -1))

    def lie(method: str, path: str) -> Optional[Any]:
        if method == "GET" and path == "version" and homeserver.current:
            info = homeserver.versions[homeserver.current].info
            return 200, {**info, "version": homeserver.current, "count": next(counts) % 3}
        return None

    homeserver.lie = lie
    lost = backed_up(matrix, clock, **SECRETS)
    assert lost.backup.pending == 0
    assert recovered(lost, matrix, clock).secrets == SECRETS


def test_another_programs_backup_stays(
    homeserver: Homeserver, matrix: MatrixTransport, clock: Time
) -> None:
    """To create and to delete are refused; a reset makes one nonetheless."""
    homeserver.answer("POST", "version", {}, {"algorithm": "m.megolm_backup.v1", "auth_data": {}})
    device = Device(matrix, clock=clock)
    device.store.create_backup(device.account)
    device.run()
    assert device.refusals() == [BackupRefusal.EXISTS]
    device.store.delete_backup(device.account)
    for _ in range(5):
        device.run()
        clock.now += 24 * HOUR
    assert device.refusals()[1:] == [BackupRefusal.NO_BACKUP] and not device.backup.on
    assert list(homeserver.versions) == ["1"] and set(homeserver.asked) == {"GET version"}
    device.store.reset_backup(device.account)
    device.run()
    assert list(homeserver.versions) == ["1", "2"] and device.backup.active is not None
    device.store.delete_backup(device.account)
    device.run()
    assert list(homeserver.versions) == ["1"] and not device.backup.on


def test_deleting_falls_back_to_another_programs(
    homeserver: Homeserver, matrix: MatrixTransport, clock: Time
) -> None:
    homeserver.answer("POST", "version", {}, {"algorithm": "m.megolm_backup.v1", "auth_data": {}})
    device = Device(matrix, clock=clock)
    device.store.reset_backup(device.account)
    device.run()
    device.store.delete_backup(device.account)
    device.run()
    assert list(homeserver.versions) == ["1"] and device.backup.key is None


# ---------------------------------------------------------------- answers


def test_answers(clock: Time) -> None:
    server = MemoryServer()
    device = Device(server, clock=clock)
    store = device.store
    store.enable_backup(device.account)
    items = store.take()
    (item,) = [item for item in items if item.backup_request]
    request = item.backup_request
    assert request == BackupRequest(Request.BACKUP_VERSION, "", b"", (), None)
    assert item.request is Request.BACKUP_VERSION and item.backup is None
    for reply, status in [
        (BackupReply(until_ns=-1), Status.MISUSE_TIME),
        (BackupReply(until_ns=1 << 63), Status.MISUSE_TIME),
        (BackupReply(count=-1), Status.MISUSE_SIZE),
        (BackupReply(BackupResult(99)), Status.MISUSE_FLAGS),
        (BackupReply(entries=(BackupEntry(b"short", b""),)), Status.MISUSE_SIZE),
        (BackupReply(entries=(BackupEntry(bytes(16), b""),) * 10_001), Status.MISUSE_SIZE),
        (BackupReply(entries=(BackupEntry(bytes(16), b"", first=-1),)), Status.MISUSE_SIZE),
    ]:
        with refused(status):
            store.answer_backup(item.seq, reply)
    with refused(Status.NOT_FOUND):
        store.answer_backup(item.seq + 1000, BackupReply())
    with refused(Status.MISUSE_FLAGS):
        store.answer(item.seq, b"")
    with store.batch() as batch, refused(Status.STATE_BATCH):
        entry = BackupEntry(bytes(16), b"x")
        batch.answer_backup(item.seq, BackupReply(entries=(entry,)))
    for _ in range(2):
        store.answer_backup(item.seq, BackupReply(BackupResult.NO_VERSION))
    assert device.backup.server_known and device.backup.download is Download.ABSENT
    event = next(item for item in items if item.event)
    with refused(Status.MISUSE_FLAGS):
        store.answer_backup(event.seq, BackupReply())


def test_given_up(clock: Time) -> None:
    """It is asked again, later each time."""
    device = Device(MemoryServer(), clock=clock)
    device.store.enable_backup(device.account)
    waits = []
    for _ in range(4):
        (item,) = [item for item in device.store.take() if item.backup_request]
        device.store.ack(item.seq)
        at = device.backup.retry_ns
        assert at is not None and device.backup.phase is BackupPhase.WAITING
        waits.append(at - clock.now)
        clock.now = at
        while device.store.run_due():
            pass
    assert waits[0] < waits[-1]


def test_entry_rank() -> None:
    assert entry_rank(b"\x01\x05\x00\x00\x00\x01") < entry_rank(b"\x01\x05\x00\x00\x00\x02")
    assert entry_rank(bytearray(b"\x01\x05\x00\x00\x00\x02")) < entry_rank(b"\x01\x06\0\0\0\x01")
    for bad in (b"", b"\x01\x05", b"\x07\x05\0\0\0\x01"):
        with pytest.raises((pawl.CorruptError, pawl.VersionError)):
            entry_rank(bad)


def test_entries_carry_their_rank(clock: Time) -> None:
    seen: List[BackupEntry] = []

    class Spy(MemoryServer):
        def carry_out(self, request: BackupRequest) -> BackupReply:
            seen.extend(request.entries)
            assert bool(request.entries) is (request.what is Request.BACKUP_PUT)
            assert "t0p" not in repr(request)
            return super().carry_out(request)

    backed_up(Spy(), clock, **SECRETS)
    assert len(seen) >= 5 and {len(one.place) for one in seen} == {16}
    assert all((one.first, one.order) == entry_rank(one.data) for one in seen)
    assert not any(b"t0p" in one.data or b"LLLL" in one.data for one in seen)


# ---------------------------------------------------------------- what is in it


def test_scopes(clock: Time) -> None:
    server = MemoryServer()
    device = Device(server, clock=clock)
    store, account = device.store, device.account
    work, bob = Scope("ada", "work"), Scope("bob")
    for scope in (HOME, work, bob):
        store.put(scope, "n", scope.project.encode())
    store.include_in_backup(account, HOME)
    with refused(Status.EXISTS):
        store.include_in_backup(account, HOME)
    with refused(Status.NOT_FOUND):
        store.exclude_from_backup(account, work)
    with refused(Status.MISUSE_PROJECT):
        store.include_in_backup(account, HOME, all_projects=True)
    store.create_backup(account)
    device.run()

    def found() -> List[Tuple[str, str]]:
        other = Device(server, "found", clock)
        other.store.include_in_backup(other.account, Scope("ada"), all_projects=True)
        other.store.include_in_backup(other.account, bob)
        key = store.backup_recovery_key(account)
        other.store.recover_backup(other.account, key)
        other.run()
        other.store.restore_backup(other.account)
        other.run()
        scopes = (HOME, work, bob)
        return [(one.project, row.name) for one in scopes for row in other.store.iterate(one)]

    assert found() == [("home", "n")]
    store.include_in_backup(account, Scope("ada"), all_projects=True)
    device.run()
    assert found() == [("home", "n"), ("work", "n")]
    store.exclude_from_backup(account, Scope("ada"), all_projects=True)
    store.put(work, "later", b"x")
    device.run()
    assert ("work", "later") not in found()


def test_what_is_not_included_stays_out(transport: Transport, clock: Time) -> None:
    """Who has the secret must not reach scopes that nobody opened to the backup."""
    work = Scope("ada", "work")
    lost = backed_up(transport, clock, **SECRETS)
    lost.store.put(work, "at work", b"w")
    lost.store.include_in_backup(lost.account, work)
    lost.run()
    device = Device(transport, "found", clock)
    device.store.include_in_backup(device.account, work)
    device.store.put(HOME, "token", b"mine")
    device.store.recover_backup(device.account, lost.store.backup_recovery_key(lost.account))
    device.run()
    device.store.restore_backup(device.account)
    device.run()
    report = device.restored()
    assert (report.imported, report.foreign, report.findings) == (1, len(SECRETS), 0)
    assert device.secrets == {"token": "mine"} and device.store.has(work, "at work")
    assert device.backup.pending == 0
    with refused(Status.NOT_FOUND):
        device.store.exclude_from_backup(device.account, HOME)
    clock.now += HOUR
    device.put(token="later", other="o")
    device.run()
    assert recovered(device, transport, clock).secrets == SECRETS, "nor is it uploaded"
    device.store.include_in_backup(device.account, HOME)
    device.store.restore_backup(device.account)
    device.run()
    assert device.restored().foreign == 0
    assert device.secrets == {**SECRETS, "token": "later", "other": "o"}


def test_a_store_with_a_vault(clock: Time) -> None:
    with Store.memory(key=RawKey(bytes(32)), clock=clock, vault=DictVault()) as store:
        account = store.create_account("ada")
        with refused(Status.STATE_BATCH):
            store.include_in_backup(account, HOME)
        store.create_backup(account)
        with refused(Status.STATE_BATCH):
            store.restore_backup(account)
        with refused(Status.STATE_BATCH):
            store.fetch_credential(account, HOME, "n")
        with refused(Status.STATE_BATCH):
            store.fetch_history(account, bytes(16), 0)


def test_in_a_batch(clock: Time) -> None:
    device = Device(MemoryServer(), clock=clock)
    with pytest.raises(ZeroDivisionError), device.store.batch() as batch:
        batch.include_in_backup(device.account, HOME)
        batch.create_backup(device.account)
        assert batch.backup(device.account).on
        raise ZeroDivisionError
    with refused(Status.NOT_FOUND):
        device.backup
    device.run()
    assert device.events == []


def test_unknown_accounts(key: RawKey) -> None:
    with Store.memory(key=key) as store:
        calls: List[Callable[[bytes], object]] = [
            store.create_backup,
            store.reset_backup,
            store.enable_backup,
            store.disable_backup,
            store.delete_backup,
            store.restore_backup,
            store.stop_restore,
            store.ask_for_backup_secret,
            store.backup,
            store.backup_recovery_key,
            lambda id: store.recover_backup(id, RawKey(bytes(32))),
            lambda id: store.include_in_backup(id, HOME),
            lambda id: store.fetch_credential(id, HOME, "n"),
            lambda id: store.fetch_history(id, bytes(16), 0),
        ]
        for call in calls:
            with refused(Status.NOT_FOUND):
                call(bytes(16))
            with refused(Status.MISUSE_SIZE):
                call(bytes(15))


# ---------------------------------------------------------------- recovery keys


def test_wrapped_recovery_keys() -> None:
    key = RecoveryKey.generate(backup=True)
    passphrase = Passphrase("correct horse", memory=64 << 20, passes=3)
    pairs: List[Tuple[pawl.Key, pawl.Key]] = [
        (passphrase, Passphrase("wrong")),
        (RawKey.generate(), RawKey.generate()),
        (RecoveryKey.generate(backup=True), RecoveryKey.generate(backup=True)),
    ]
    for with_, wrong in pairs:
        wrapped = key.wrap(with_)
        assert len(wrapped) <= 512 and key.text.encode() not in wrapped
        assert RecoveryKey.unwrap(bytearray(wrapped), with_).text == key.text
        with refused(Status.AUTH):
            RecoveryKey.unwrap(wrapped, wrong)
        with refused(Status.CORRUPT_NOT_PAWL):
            RecoveryKey.unwrap(b"something else" * 10, with_)
        with pytest.raises(pawl.CorruptError):
            RecoveryKey.unwrap(wrapped[:-1], with_)
    typed = RecoveryKey(key.text.upper().replace(" ", "-"))
    assert RecoveryKey.unwrap(typed.wrap(passphrase), passphrase).text == key.text
    with refused(Status.MISUSE_RECOVERY_PREFIX):
        RecoveryKey.generate().wrap(passphrase)
    with refused(Status.MISUSE_RECOVERY):
        RecoveryKey("pawlbackup1 nonsense").wrap(passphrase)
    with refused(Status.MISUSE_HASHING):
        key.wrap(Passphrase("x", memory=1))


# ---------------------------------------------------------------- asyncio


def test_asyncio(transport: Transport) -> None:
    async def device(store: AsyncStore, account: bytes, until: Callable[[Backup], bool]) -> None:
        async for item in store.items():
            if not await serve_async(store, item, transport):
                await store.ack(item.seq)
                if item.backup is not None and until(item.backup):
                    return

    def is_uploaded(backup: Backup) -> bool:
        return backup.active is not None and backup.pending == 0 and not backup.uploading

    async def main() -> None:
        key = RawKey(bytes(32))
        async with AsyncStore.memory(key=key) as store:
            account = await store.create_account("ada")
            await store.put(HOME, "token", b"t0p")
            await store.include_in_backup(account, HOME)
            await store.create_backup(account)
            await asyncio.wait_for(device(store, account, is_uploaded), 30)
            recovery = await store.backup_recovery_key(account)
        async with AsyncStore.memory(key=key) as store:
            account = await store.create_account("ada")
            await store.include_in_backup(account, HOME)
            await store.recover_backup(account, recovery)
            await asyncio.wait_for(device(store, account, lambda b: b.active is not None), 30)
            await store.restore_backup(account)
            await asyncio.wait_for(device(store, account, lambda b: b.writers == 1), 30)
            assert (await store.get(HOME, "token")).secret == b"t0p"

    asyncio.run(main())
