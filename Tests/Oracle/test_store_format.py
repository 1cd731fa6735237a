"""Pawl and the independent reader agree on every byte, in both directions; old formats open for ever."""

import hashlib
import itertools
import json
import shutil
import sqlite3
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List, Sequence, Tuple

import pytest
from nacl import bindings
from nacl.exceptions import BadSignatureError

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "Bindings" / "Python" / "src")]

import backup  # noqa: E402
import libpawl  # noqa: E402
import make_session_fixture  # noqa: E402
import pawl  # noqa: E402
import pawl.backup  # noqa: E402
import read_store  # noqa: E402
import wire  # noqa: E402
from read_store import AT_ONCE, Account, Records  # noqa: E402

FIXTURES = HERE.parent / "Fixtures"
RAW = bytes(range(32))
SCOPE = pawl.Scope("ada", "engine")
LARGE = bytes(range(256)) * 40


def fill(store: pawl.Store) -> None:
    store.put(SCOPE, "small", b"secret", label="l", provider="p", attributes={"a": "1", "b": ""})
    store.put(SCOPE, "large", LARGE)
    store.put(pawl.Scope("żółw"), "empty", b"", expires=2**62)
    store.put(SCOPE, "gone", b"deleted")
    store.delete(SCOPE, "gone", recovery=timedelta(days=36500))


@pytest.mark.parametrize("kind", ["raw", "passphrase", "recovery"])
def test_the_oracle_reads_what_pawl_writes(tmp_path: Path, kind: str) -> None:
    path = str(tmp_path / "s.pawl")
    recovery = pawl.RecoveryKey.generate()
    key, number, secret = {
        "raw": (pawl.RawKey(RAW), 1, RAW),
        "passphrase": (pawl.Passphrase("open sesame", memory=64 << 20, passes=3), 2, b"open sesame"),
        "recovery": (recovery, 3, recovery.text.encode()),
    }[kind]
    with pawl.Store.open(path, key=key, create=True) as store:
        fill(store)
        versions = {row.name: row.version for row in store.iterate(SCOPE)}
    current, deleted, sequence = read_store.read(path, number, secret)
    by_name = {c.name: c for c in current}
    assert set(by_name) == {"small", "large", "empty"}
    small = by_name["small"]
    assert (small.user, small.project, small.label, small.provider) == ("ada", "engine", "l", "p")
    assert small.attributes == {"a": "1", "b": ""} and small.secret == b"secret"
    assert small.version == versions["small"] and small.expires == read_store.NEVER
    assert by_name["large"].secret == LARGE
    assert by_name["empty"].secret == b"" and by_name["empty"].expires == 2**62
    assert [c.secret for c in deleted] == [b"deleted"] and deleted[0].purge < read_store.NEVER
    assert sequence == max(c.version for c in current + deleted)


NAMES = ["ada", "ada", "x" * 255, "żółw"]


def test_the_oracle_reads_accounts(tmp_path: Path) -> None:
    path = str(tmp_path / "s.pawl")
    with pawl.Store.open(path, key=pawl.RawKey(RAW), create=True, clock=lambda: 2**60) as store:
        fill(store)
        for name in NAMES:
            store.create_account(name)
        store.delete_account(store.create_account("gone"))
        made = store.accounts()
    found = read_store.accounts(path, 1, RAW)
    assert [
        (a.id, a.created, a.signing, a.agreement, a.name.decode()) for a in found
    ] == [
        (a.id, a.created_ns, a.identity.signing_key, a.identity.agreement_key, a.identity.name)
        for a in made
    ]
    assert sorted(a.name.decode() for a in found) == sorted(NAMES)
    assert all(a.created == 2**60 and a.matches() for a in found)
    keys = [key for a in found for key in (a.seed, a.secret, a.signing, a.agreement)]
    assert len(set(keys)) == 4 * len(NAMES)
    assert len(read_store.read(path, 1, RAW)[0]) == 3


def test_the_oracle_notices_foreign_keys(tmp_path: Path) -> None:
    """A public key of another secret does not match: the check above can fail."""
    path = str(tmp_path / "s.pawl")
    with pawl.Store.open(path, key=pawl.RawKey(RAW), create=True) as store:
        store.create_account("ada")
        store.create_account("bob")
    ada, bob = read_store.accounts(path, 1, RAW)
    assert not replace(ada, signing=bob.signing).matches()
    assert not replace(ada, agreement=bob.agreement).matches()


def test_the_keys_of_an_account_work(tmp_path: Path) -> None:
    path = str(tmp_path / "s.pawl")
    with pawl.Store.open(path, key=pawl.RawKey(RAW), create=True) as store:
        for name in ("ada", "bob"):
            store.create_account(name)
        ada, bob = (row.identity for row in store.accounts())
    ours, theirs = read_store.accounts(path, 1, RAW)
    signed = bindings.crypto_sign(b"hello", bindings.crypto_sign_seed_keypair(ours.seed)[1])
    assert bindings.crypto_sign_open(signed, ada.signing_key) == b"hello"
    with pytest.raises(BadSignatureError):
        bindings.crypto_sign_open(signed, bob.signing_key)
    assert (bindings.crypto_scalarmult(ours.secret, bob.agreement_key)
            == bindings.crypto_scalarmult(theirs.secret, ada.agreement_key))


def test_pawl_reads_accounts_that_the_oracle_writes(tmp_path: Path) -> None:
    path = str(tmp_path / "s.pawl")
    seed, secret = bytes(range(32, 64)), bytes(range(64, 96))
    made = read_store.Account(
        bytes(range(16)), 5, seed, secret, bindings.crypto_sign_seed_keypair(seed)[0],
        bindings.crypto_scalarmult_base(secret), "żółw".encode())
    read_store.write(path, RAW, [], [made])
    with pawl.Store.open(path, key=pawl.RawKey(RAW)) as store:
        assert store.verify() == []
        (row,) = store.accounts()
        assert row == store.account(made.id) == pawl.Account(
            made.id, pawl.Identity(made.signing, made.agreement, "żółw"), 5)


def test_safety_numbers_are_those_of_the_page(tmp_path: Path) -> None:
    with pawl.Store.memory(key=pawl.RawKey(RAW)) as store:
        for name in NAMES:
            store.create_account(name)
        drawn = [row.identity for row in store.accounts()]
    # Keys that are no points: a safety number is of bytes.
    fixed = [pawl.Identity(bytes([i] * 32), bytes([255 - i] * 32), name)
             for i, name in enumerate(("a", "b", "x" * 255))]
    identities = drawn + fixed
    for ours, theirs in zip(identities, identities[1:] + identities[:1]):
        sides = [(i.signing_key, i.agreement_key, i.name.encode()) for i in (ours, theirs)]
        number, code = read_store.safety(*sides)
        for a, b in ((ours, theirs), (theirs, ours)):
            assert (a.safety_number(b), a.safety_code(b)) == (number, code)
    ours = identities[0]
    side = (ours.signing_key, ours.agreement_key, ours.name.encode())
    assert (ours.safety_number(ours), ours.safety_code(ours)) == read_store.safety(side, side)


def test_pawl_reads_what_the_oracle_writes(tmp_path: Path) -> None:
    path = str(tmp_path / "s.pawl")
    made = read_store.Credential("ada", "engine", "API_KEY", "l", "p", {"k": "v"}, 41, 5, 6,
                                 read_store.NEVER, read_store.NEVER, b"from the page")
    read_store.write(path, RAW, [made])
    with pawl.Store.open(path, key=pawl.RawKey(RAW)) as store:
        assert store.verify() == []
        row = store.get(SCOPE, "API_KEY")
        assert (row.secret, row.label, row.version) == (b"from the page", "l", 41)
        assert dict(row.attributes) == {"k": "v"}
        assert store.put(SCOPE, "next", b"") == 42


# ---------------------------------------------------------------- sessions, outbox, schedule

NOW = 1_800_000_000 * 10**9
SECOND = 10**9
DAY = 86_400 * SECOND
NOBODY = bytes(16)
FRAMES, REQUESTS, EVENTS, PUBLISHING = b"\x01", b"\x02", b"\x03", b"\x06"
IDENTITY_CHANGED, LOST, DESYNCHRONIZED, SETUP_EXPIRED = 1, 2, 3, 4
UNSENT = 9
PUBLISH, PUBLISH_KEYS, READ_BACK = 2, 3, 4
DEAD_LETTER = 11
PURGE, CHECKPOINT, SET_UP_DEADLINE, SKIPPED_KEYS, END, REKEY_RETRY, EPOCH_END, TOMBSTONE = range(1, 9)
ROTATE, REMOVE, REPLENISH, LOOK = range(9, 13)


class World:
    """A store of two accounts, of which Ada has started a session with Bob."""

    def __init__(self, path: Path) -> None:
        self.path, self.now, self.copies = path, NOW, 0
        self.store = pawl.Store.open(path, key=pawl.RawKey(RAW), create=True, clock=lambda: self.now)
        self.ada, self.bob = (self.store.create_account(name) for name in ("ada", "żółw"))
        self.package, self.one_time = self.store.create_package(self.bob, one_time_keys=3)
        self.ours = self.store.start_session(
            self.ada, "żółw", self.package.data + self.one_time[1].data)
        self.theirs = self.ours[:15] + bytes([self.ours[15] | 1])

    def records(self) -> Tuple[Dict[bytes, Account], Records, read_store.Keys]:
        """What is in the store now: of a copy, because it stays open."""
        self.copies += 1
        copy = str(self.path.with_suffix(f".{self.copies}"))
        self.store.copy(copy)
        records, keys = read_store.read_records(copy, 1, RAW)
        check(records, keys)
        return {a.id: a for a in read_store.accounts(copy, 1, RAW)}, records, keys

    def hear(self, *frames: bytes, keep: bool = False) -> None:
        for frame in frames:
            self.store.receive(self.bob, frame, keep=keep)


@pytest.fixture
def world(tmp_path: Path) -> Any:
    made = World(tmp_path / "s.pawl")
    with made.store:
        yield made


def check(records: Records, keys: read_store.Keys) -> None:
    """What the page says of rows that belong together."""
    for peer in records[0x35]:
        assert peer.hash == keys.peer(peer.account, peer.name)
    for session in records[0x38]:
        (peer,) = (p for p in records[0x35] if (p.account, p.name) == (session.account, session.name))
        assert session.id in [entry.id for entry in peer.sessions]
        assert session.id[15] & 1 == session.side
        assert session.skipped == sum(key.session == session.id for key in records[0x39])
    jobs = sorted((job.kind, job.subject, job.due) for job in records[0x50])
    assert jobs == sorted((time.kind, time.subject, time.due) for time in records[0x51])
    lanes: Dict[bytes, SimpleNamespace] = {}
    for item in sorted(records[0x41], key=lambda item: int(item.number)):
        lanes.setdefault(item.lane, item)
    assert sorted((ready.free, ready.number, ready.lane) for ready in records[0x43]) == sorted(
        (item.free, item.number, item.lane) for item in lanes.values())
    numbers = sorted((item.number, item.lane) for item in records[0x41])
    assert numbers == sorted((item.number, item.lane) for item in records[0x42])
    assert not numbers or records[0x11][0].number >= numbers[-1][0]


def jobs(records: Records) -> List[Tuple[int, bytes, int]]:
    return [(job.kind, job.subject, job.due) for job in records[0x50] if job.kind != CHECKPOINT]


def the(records: Sequence[SimpleNamespace], **values: object) -> SimpleNamespace:
    (found,) = (r for r in records if all(getattr(r, name) == it for name, it in values.items()))
    return found


def sides(world: World, records: Records) -> Tuple[SimpleNamespace, SimpleNamespace]:
    return the(records[0x38], id=world.ours), the(records[0x38], id=world.theirs)


def stepped(chain: bytes, count: int) -> bytes:
    for _ in range(count):
        chain = wire.step(chain)[0]
    return chain


def test_a_fresh_session_is_what_the_oracle_derives(world: World) -> None:
    bob = wire.Peer("bob", now=lambda: NOW // 10**6)
    package, one_time = bob.package(1)
    id = world.store.start_session(world.ada, "bob", package + one_time)
    accounts, records, _ = world.records()
    ada, session = accounts[world.ada], the(records[0x38], id=id)
    welcome = wire.read_welcome(session.welcome)
    assert welcome.initiator == (ada.signing, ada.agreement, ada.name)
    read, whole, key = wire.read_packages(package + one_time)
    private = bob.packages[read.id]
    secrets = wire.derive(welcome, bob.identity, whole, key, [
        wire.dh(private.init, ada.agreement), wire.dh(bob.secret, welcome.ephemeral),
        wire.dh(private.init, welcome.ephemeral), wire.dh(private.one_time[1], welcome.ephemeral)])
    theirs = {"signing": bob.identity.signing, "agreement": bob.identity.agreement, "name": b"bob"}
    assert session == SimpleNamespace(
        **theirs, id=secrets.id, side=0, suite=1, account=world.ada, created=NOW // 10**6,
        not_after=read.not_after, filters=b"".join(secrets.filters), sending=secrets.chains[0],
        receiving=secrets.chains[1], welcome=welcome.data(),
        **read_store.untouched(NOW, secrets.root))
    peer = the(records[0x35], name=b"bob")
    del peer.hash
    assert peer == SimpleNamespace(
        **theirs, account=world.ada, trust=0, suite=1, changed=NOW, reset=AT_ONCE, waiting=[], sending=0,
        sessions=[SimpleNamespace(id=id, created=NOW // 10**6, flags=1 | 4)])
    assert jobs(records) == [(SET_UP_DEADLINE, one, NOW + DAY) for one in sorted((id, world.ours))]
    # The stored chain stands at the end of a reservation; a store that is closed gives the rest back.
    world.store.encrypt(id, b"")
    session = the(world.records()[1][0x38], id=id)
    assert (session.sending, session.sent) == (stepped(secrets.chains[0], 16), 16)
    world.store.close()
    session = the(read_store.read_records(str(world.path), 1, RAW)[0][0x38], id=id)
    assert (session.sending, session.sent) == (stepped(secrets.chains[0], 1), 1)


def test_the_oracle_reads_packages(world: World) -> None:
    _, records, _ = world.records()
    package, keys = records[0x32][0], records[0x33]
    assert (package.account, package.package) == (world.bob, world.package.id)
    assert [key.number for key in keys] == [1, 2, 3]
    assert [r.published for r in (package, *keys)] == [
        it.data for it in (world.package, *world.one_time)]
    read = wire.read_packages(package.published)[0]
    public = [read.init]
    for key in keys:
        one_time = wire.read_packages(package.published + key.published)[2]
        assert one_time and one_time.number == key.number
        public.append(one_time.public[:32])
    assert [bindings.crypto_scalarmult_base(r.secret) for r in (package, *keys)] == public
    kem = 32 if 2 in read.suites else 0
    assert [(r.created, len(r.kem)) for r in (package, *keys)] == [(NOW, kem)] * 4


def test_the_oracle_reads_both_sides_of_a_session(world: World) -> None:
    chain = world.records()[1][0x38][0].sending
    frames = [world.store.encrypt(world.ours, str(number).encode()) for number in range(8)]
    world.hear(frames[0])
    accounts, records, _ = world.records()
    ours, theirs = sides(world, records)
    (joined,) = records[0x34]
    ephemeral = wire.read_welcome(ours.welcome).ephemeral
    assert joined == SimpleNamespace(
        account=world.bob, package=world.package.id, ephemeral=read_store.ephemeral_hash(ephemeral),
        session=world.theirs)
    assert [key.number for key in records[0x33]] == [1, 3]
    (state,) = records[0x31]
    assert state == SimpleNamespace(account=world.bob, suite=1, unconfirmed=1, history=b"")
    ada = accounts[world.ada]
    assert (theirs.signing, theirs.agreement, theirs.name) == (ada.signing, ada.agreement, ada.name)
    assert (theirs.side, theirs.account, theirs.welcome) == (1, world.bob, b"")
    assert (theirs.root, theirs.filters, theirs.created, theirs.not_after) == (
        ours.root, ours.filters, ours.created, ours.not_after)
    assert (theirs.sending, theirs.receiving) == (ours.receiving, stepped(chain, 1))
    assert the(records[0x35], account=world.bob).sessions == [
        SimpleNamespace(id=world.theirs, created=NOW // 10**6, flags=4)]
    assert (END, world.theirs, NOW + 7 * DAY) in jobs(records)
    lane = wire.read_frame(frames[0]).lane
    assert theirs.lanes == [SimpleNamespace(lane=lane, first=0, last=0)]

    world.now += SECOND
    world.hear(frames[5], frames[2], keep=True)
    world.store.receive(world.ada, world.store.encrypt(world.theirs, b"answer"))
    world.hear(world.store.encrypt(world.ours, b"confirms"))
    _, records, _ = world.records()
    ours, theirs = sides(world, records)
    until = NOW + SECOND + 7 * DAY
    assert records[0x39] == [
        SimpleNamespace(session=world.theirs, epoch=0, index=index, until=until,
                        message_key=wire.step(stepped(chain, index))[1]) for index in (1, 3, 4, 6, 7)]
    assert records[0x3A] == [
        SimpleNamespace(session=world.theirs, epoch=0, index=index, message=text,
                        hash=hashlib.blake2b(frames[index], digest_size=32).digest())
        for index, text in ((2, b"2"), (5, b"5"))]
    assert (theirs.received, theirs.receiving) == (9, stepped(chain, 9))
    assert theirs.lanes == [SimpleNamespace(lane=lane, first=0, last=8)] and ours.welcome == b""
    for account, flags in ((world.ada, 1 | 2 | 4), (world.bob, 2 | 4)):
        assert [entry.flags for entry in the(records[0x35], account=account).sessions] == [flags]
    assert records[0x31][0].unconfirmed == 0
    assert jobs(records) == [(SKIPPED_KEYS, world.theirs, until)]


def test_the_oracle_reads_the_outbox_and_the_schedule(world: World) -> None:
    fill(world.store)
    seqs = [world.store.send(world.ours, text) for text in (b"first", b"second")]
    (lent,) = world.store.take(limit=1, lease=timedelta(seconds=60))
    assert lent.seq == seqs[0]
    accounts, records, keys = world.records()
    bob = accounts[world.bob]
    assert records[0x41] == [
        SimpleNamespace(lane=FRAMES + world.ours, number=seq, attempts=attempts, failures=0, free=free)
        for seq, attempts, free in ((seqs[0], 1, NOW + 60 * SECOND), (seqs[1], 0, AT_ONCE))]
    for item in records[0x42]:
        frame = wire.read_frame(item.body)
        assert frame.index == item.number - seqs[0] and frame.session == world.ours[:8]
        del item.body, item.number
        assert item == SimpleNamespace(
            lane=FRAMES + world.ours, what=0, count=0, created=NOW, account=world.ada,
            session=world.ours, signing=bob.signing, agreement=bob.agreement, name=bob.name)
    purged = {
        b"\x20" + keys.path("żółw", "", "empty"): 2**62,
        b"\x22" + keys.path("ada", "engine", "gone")
        + world.store.deleted(SCOPE, "gone")[0].version.to_bytes(8, "big"): NOW + 36500 * DAY}
    purges = [(job.due, job.subject, job.detail) for job in records[0x50] if job.kind == PURGE]
    assert purges == sorted((due, keys.hash(b"\0" + row), row) for row, due in purged.items())
    assert the(records[0x50], kind=CHECKPOINT).subject == NOBODY

    # Nobody answers: an event and a request. Of a wide gap the oldest is lost, and the sides part.
    world.now += DAY
    while world.store.run_due():
        pass
    frames = [world.store.encrypt(world.ours, b"") for _ in range(wire.KEPT_OF_GAP + 1)]
    world.hear(frames[-1])
    lost = wire.read_frame(frames[-1]).index - wire.KEPT_OF_GAP
    parted = bytearray(world.store.encrypt(world.ours, b""))
    parted[-1] ^= 1
    with pytest.raises(pawl.DesynchronizedError):
        world.store.receive(world.bob, bytes(parted))
    world.store.fail(seqs[0], retry_after=timedelta(hours=2))
    _, records, _ = world.records()
    told = [(item.lane, item.what, item.count, item.session, item.created, item.body)
            for item in records[0x42] if item.lane[:1] != FRAMES]
    assert told == [
        (EVENTS + world.ada, SETUP_EXPIRED, 0, world.ours, world.now, b""),
        (REQUESTS + world.ada, 1, 0, world.ours, world.now, b""),
        (EVENTS + world.bob, LOST, lost, world.theirs, world.now, b""),
        (EVENTS + world.bob, DESYNCHRONIZED, 0, world.theirs, world.now, b"")]
    assert lost > 0 and the(records[0x38], id=world.theirs).told == 1
    state = the(records[0x41], number=seqs[0])
    assert (state.attempts, state.failures, state.free) == (1, 1, world.now + 7200 * SECOND)


def test_the_oracle_reads_a_rotation(world: World, tmp_path: Path) -> None:
    store, bob, hour = world.store, world.bob, 3600 * SECOND

    def run() -> List[pawl.Item]:
        while store.run_due():
            pass
        return store.take()

    def read() -> Tuple[SimpleNamespace, Records, List[Tuple[int, bytes, int]]]:
        _, records, _ = world.records()
        return records[0x36][0], records, [job for job in jobs(records) if job[0] >= ROTATE]

    def request(records: Records, item: pawl.Item, what: int) -> SimpleNamespace:
        found = the(records[0x42], number=item.seq)
        me = store.account(bob).identity
        lane = REQUESTS if what == READ_BACK else PUBLISHING
        assert (found.lane, found.what, found.session) == (lane + bob, what, NOBODY)
        assert (found.signing, found.agreement, found.name.decode()) == (
            me.signing_key, me.agreement_key, me.name)
        return found

    # Begun: what the host made is superseded.
    store.begin_rotation(bob, pawl.RotationOptions(
        20 * 86_400, 90 * 86_400, 10 * 86_400, 6, 7, 86_400, one_time_keys=4, one_time_floor=2))
    row, records, due = read()
    options = SimpleNamespace(
        account=bob, rotate=20 * DAY, lifetime=90 * DAY, keep=10 * DAY, welcome_delay=6 * SECOND,
        welcome_pause=7 * SECOND, readback=DAY, pool=4, floor=2)
    old = SimpleNamespace(id=world.package.id, remove_at=world.package.not_after_ns + hour)
    assert row == SimpleNamespace(
        **vars(options), rotate_at=NOW, readback_at=NOW + DAY, asked=0, last_welcome=AT_ONCE, available=0,
        next_key=1, current=[], staged=[], batch=[], superseded=[old])
    assert due == [(ROTATE, bob, NOW), (REMOVE, old.id, old.remove_at)]
    assert the(records[0x50], kind=REMOVE).detail == bob
    assert the(records[0x50], kind=ROTATE).detail == b""

    # Staged, given up, and asked for again.
    (item,) = run()
    first, *keys = item.packages
    assert isinstance(first, pawl.Package)
    row, records, due = read()
    (staged,) = row.staged
    assert staged == SimpleNamespace(
        id=first.id, not_after=first.not_after_ns, keys=4, drawn=NOW, rotate_at=staged.rotate_at,
        asking=SimpleNamespace(which=1, seq=item.seq))
    assert NOW + 16 * DAY < staged.rotate_at <= NOW + 20 * DAY
    found = request(records, item, PUBLISH)
    assert read_store.publication(found.body, found.count) == (first.data, [key.data for key in keys])
    assert the(records[0x32], package=first.id).published == first.data
    assert (ROTATE, bob, NOW + 20 * DAY) in due
    store.ack(item.seq)
    row, _, due = read()
    assert row.staged[0].asking == SimpleNamespace(which=2, at=NOW + hour)
    assert (ROTATE, bob, NOW + hour) in due

    # Current, and one-time keys on their way.
    world.now += hour
    (item,) = run()
    store.answer(item.seq, b"")
    store.report_one_time_keys(bob, 1)
    assert (REPLENISH, bob, world.now) in read()[2]
    (item,) = run()
    row, records, due = read()
    assert (row.staged, row.available, row.next_key, row.rotate_at) == ([], 1, 8, staged.rotate_at)
    assert row.current == [SimpleNamespace(id=first.id, not_after=first.not_after_ns, expired=0)]
    assert row.batch == [
        SimpleNamespace(first=5, count=3, asking=SimpleNamespace(which=1, seq=item.seq))]
    found = request(records, item, PUBLISH_KEYS)
    assert read_store.publication(found.body, found.count) == (
        b"", [key.data for key in item.packages])
    old.remove_at = world.now + 10 * DAY
    assert row.superseded == [old] and due == [
        (LOOK, bob, NOW + DAY), (REMOVE, old.id, old.remove_at), (ROTATE, bob, row.rotate_at)]
    store.answer(item.seq, b"")

    # Without a one-time key.
    started = store.start_session(world.ada, "żółw", first.data)
    world.hear(store.encrypt(started, b""))
    row = read()[0]
    assert row.rotate_at == row.last_welcome == world.now + 6 * SECOND
    world.now = row.rotate_at
    (item,) = run()
    store.answer(item.seq, b"")
    row, _, due = read()
    assert row.superseded == [old, SimpleNamespace(id=first.id, remove_at=world.now + 10 * DAY)]

    # The server has another one.
    world.now = NOW + DAY
    (item,) = (item for item in run() if item.request is pawl.Request.READ_BACK)
    row, records, due = read()
    assert (row.asked, request(records, item, READ_BACK).body) == (item.seq, b"")
    assert LOOK not in [kind for kind, _, _ in due]
    store.answer(item.seq, first.data)
    row, records, _ = read()
    assert (row.asked, row.rotate_at, row.readback_at) == (0, world.now, world.now + DAY)
    told = the(records[0x42], lane=EVENTS + bob)
    assert (told.what, told.count, told.body) == (10, pawl.Publication.SUPERSEDED, b"")

    # All of it written anew.
    accounts, records, _ = world.records()
    path = str(tmp_path / "other.pawl")
    read_store.write(path, bytes(32), [], list(accounts.values()), records)
    with pawl.Store.open(path, key=pawl.RawKey(bytes(32)), clock=lambda: world.now) as other:
        assert other.verify() == []
        assert (other.rotation(bob), other.packages(bob)) == (store.rotation(bob), store.packages(bob))
        assert other.rotation(bob).superseded == 2
        while other.run_due():
            pass
        (item,) = (item for item in other.take() if item.request is pawl.Request.PUBLISH)
        other.answer(item.seq, b"")
        assert other.rotation(bob).superseded == 3
        world.now = row.superseded[-1].remove_at
        while other.run_due():
            pass
        assert (len(other.packages(bob)), other.rotation(bob).superseded) == (2, 1)


def test_the_oracle_reads_a_job_that_failed(world: World) -> None:
    world.store.close()
    session = (b"\x38" + world.ours,)
    with sqlite3.connect(world.path) as db:
        db.execute("UPDATE kv SET v = x'01' WHERE k = ?", session)
    db.close()
    world.now += DAY
    with pawl.Store.open(world.path, key=pawl.RawKey(RAW), clock=lambda: world.now) as store:
        assert store.run_due() == 1
    with sqlite3.connect(world.path) as db:
        db.execute("DELETE FROM kv WHERE k = ?", session)
    db.close()
    records = read_store.read_records(str(world.path), 1, RAW)[0]
    (job,) = records[0x50]
    assert (job.kind, job.subject, job.detail) == (SET_UP_DEADLINE, world.ours, b"")
    assert (job.failures, job.cause) == (1, pawl.Status.CORRUPT) and job.due > world.now
    assert [clock.time for clock in records[0x53]] == [world.now] and not records[0x54]


def test_the_oracle_reads_a_dead_letter(world: World) -> None:
    world.store.close()
    session = (b"\x38" + world.ours,)
    with sqlite3.connect(world.path) as db:
        db.execute("UPDATE kv SET v = x'01' WHERE k = ?", session)
    db.close()
    with pawl.Store.open(world.path, key=pawl.RawKey(RAW), clock=lambda: world.now) as store:
        for _ in range(10):
            world.now += DAY
            assert store.run_due() > 0
    with sqlite3.connect(world.path) as db:
        db.execute("DELETE FROM kv WHERE k = ?", session)
    db.close()
    records, _ = read_store.read_records(str(world.path), 1, RAW)
    (letter,) = records[0x54]
    assert (letter.kind, letter.subject, letter.detail) == (SET_UP_DEADLINE, world.ours, b"")
    assert (letter.failures, letter.cause, letter.since) == (10, pawl.Status.CORRUPT, world.now)
    assert SET_UP_DEADLINE not in [job.kind for job in records[0x50] + records[0x51]]
    item = the(records[0x42], what=DEAD_LETTER)
    assert (item.count, item.account, item.session) == (SET_UP_DEADLINE, bytes(16), bytes(16))
    assert (item.signing, item.agreement, item.name) == (bytes(32), bytes(32), b"")
    assert item.lane == b"\x03" + bytes(16)


def test_the_oracle_reads_a_peer_with_other_keys(world: World) -> None:
    world.hear(world.store.encrypt(world.ours, b"of the first"))
    world.store.trust_peer(world.bob, world.store.account(world.ada).identity, pawl.Trust.VERIFIED)
    other = world.store.create_account("ada")
    started = world.store.start_session(other, "żółw", world.package.data + world.one_time[0].data)
    world.now += SECOND
    assert world.store.receive(world.bob, world.store.encrypt(started, b"")).unaccepted
    accounts, records, _ = world.records()
    old, new = (SimpleNamespace(signing=accounts[id].signing, agreement=accounts[id].agreement)
                for id in (world.ada, other))
    joined = started[:15] + bytes([started[15] | 1])
    peer = the(records[0x35], account=world.bob)
    assert (peer.trust, peer.signing, peer.agreement) == (1, old.signing, old.agreement)
    waiting = [SimpleNamespace(**vars(new), suite=max(wire.read_packages(world.package.data)[0].suites))]
    assert (peer.changed, peer.waiting, peer.sending) == (world.now, waiting, 0)
    assert [(entry.id, entry.flags) for entry in peer.sessions] == [(world.theirs, 4), (joined, 4 | 8)]
    assert the(records[0x31], account=world.bob).unconfirmed == 2
    (told,) = (item for item in records[0x42] if item.lane == EVENTS + world.bob)
    assert (told.what, told.session) == (IDENTITY_CHANGED, joined)

    world.store.trust_peer(
        world.bob, pawl.Identity(new.signing, new.agreement, "ada"), pawl.Trust.UNVERIFIED)
    peer = the(world.records()[1][0x35], account=world.bob)
    assert (peer.trust, peer.signing, peer.waiting, peer.sending) == (0, new.signing, [], 1)
    assert [entry.flags for entry in peer.sessions] == [16, 4]

    # A reset: a new session takes the old one's place.
    again = world.store.reset_session(world.ours, world.package.data)
    _, records, _ = world.records()
    peer = the(records[0x35], account=world.ada)
    assert (peer.reset, peer.sending) == (world.now, 1)
    assert [(entry.id, entry.flags) for entry in peer.sessions] == [(world.ours, 1), (again, 1 | 4)]
    assert (END, world.ours, world.now + 7 * DAY) in jobs(records)


def test_the_oracle_reads_rekeying(tmp_path: Path) -> None:
    """The library's side of a session, of which the oracle holds the other."""
    time, copies = [NOW], itertools.count()
    ada = wire.Peer("ada", now=lambda: time[0] // 10**6)
    bob = libpawl.Peer("bob", lambda: time[0] // 10**6)
    theirs = bob.receive(ada.encrypt(ada.start(b"bob", bob.package()[0]), b"")).session
    ours = ada.session(theirs)
    ada.receive(bob.encrypt(theirs, b""))

    def read(kind: int = 0x38) -> Tuple[SimpleNamespace, Records]:
        path = bob.copy(tmp_path / str(next(copies)))
        records = read_store.read_records(str(path), 1, bytes(32))[0]
        return the(records[kind], id=theirs), records

    def pass_on(frame: bytes = b"") -> bytes:
        """From the library to the oracle, and what that says."""
        (frame,) = bob.sent() if not frame else (frame,)
        ada.receive(frame)
        return b"".join(ada.sent())

    def due(records: Records, kind: int) -> List[int]:
        return [due for what, subject, due in jobs(records) if (what, subject) == (kind, theirs)]

    try:
        # Offered.
        late = ada.encrypt(theirs, b"late")
        bob.rekey(theirs)
        row, records = read()
        pair = row.phase.pair
        assert (row.phase.which, row.wanted, len(pair)) == (1, 1, 64)
        assert bindings.crypto_scalarmult_base(pair[:32]) == pair[32:]
        (retry,) = due(records, REKEY_RETRY)
        assert NOW + SECOND // 5 <= retry < NOW + 2 * SECOND // 5
        answer = pass_on()
        made = ours.rekey.state.round  # type: ignore[union-attr]
        assert row.phase.offer == made.offer and row.root == ours.rekey.root
        # Committed, and the peer was not heard in it.
        time[0] += SECOND
        bob.receive(answer)
        row, records = read()
        (finished,), (previous,) = row.finished, row.previous
        assert (row.epoch, row.heard, row.root, row.phase.which) == (1, 0, made.root, 0)
        assert vars(finished) == {"target": 1, "offer": made.offer, "of_answer": made.of_answer,
                                  "of_finish": made.of_finish}
        assert (row.sending, row.sent) == (stepped(made.chains[1], 1), 1)
        assert (row.receiving, row.received, row.lanes) == (made.chains[0], 0, [])
        assert (previous.receiving, previous.received) == (ours.sending.chain, ours.sending.index)
        assert row.begun == time[0] and due(records, REKEY_RETRY) == records[0x3B] == []
        # Heard: the epoch before is closed.
        pass_on()
        assert row.prev_len == ours.closed[0][1]
        (missing,) = records[0x39]
        assert (missing.epoch, missing.index) == (0, wire.read_frame(late).index)
        bob.receive(ada.encrypt(theirs, b"under 1"))
        row, records = read()
        (closed,) = records[0x3B]
        until = time[0] + 7 * DAY
        assert (closed.session, closed.epoch, closed.until, closed.end) == (
            theirs, 0, until, ours.sending.prev_len)
        assert closed.lanes == [SimpleNamespace(lane=ours.sending.lane, first=0, last=closed.end - 1)]
        assert (row.heard, row.previous, due(records, SKIPPED_KEYS)) == (1, [], [until])
        # Answered.
        ada.rekey(theirs)
        bob.receive(b"".join(ada.sent()))
        row, records = read()
        (frame,) = bob.sent()
        pass_on(frame)
        assert len(due(records, REKEY_RETRY)) == row.answers == 1 and row.window == time[0]
        made = ours.rekey.finished  # type: ignore[assignment]
        assert vars(row.phase) == {
            "which": 2, "offer": made.offer, "answer": row.phase.answer, "root": made.root,
            "chains": b"".join(made.chains), "of_answer": made.of_answer, "of_finish": made.of_finish}
        part = wire.read_part(wire.ANSWER, row.phase.answer)
        assert part and (part.target, part.offer, part.confirmation) == (2, made.offer, made.of_answer)
        # The pace, and messages that wait.
        bob.limit(theirs, flags=1, messages=9, bytes=10, interval=11 * SECOND, queue=3)
        tickets = [bob.send(theirs, text) for text in (b"first", b"second")]
        row, records = read()
        assert (row.perfect, row.messages, row.bytes, row.interval, row.queue, row.queued) == (
            1, 9, 10, 11 * SECOND, 3, 2)
        assert [(q.session, q.number, q.message) for q in records[0x3C]] == [
            (theirs, ticket, text) for ticket, text in zip(tickets, (b"first", b"second"))]
        assert due(records, EPOCH_END) == [row.begun + 11 * SECOND] and row.next_epoch == row.epoch + 1
        assert records[0x11][0].number == tickets[1]
        # Closed.
        bob.sent()
        bob.close(theirs)
        row, records = read(0x3D)
        assert (row.phase.which, row.root, row.receiving, row.finished) == (3, bytes(32), bytes(32), [])
        assert due(records, TOMBSTONE) == [time[0] + 7 * DAY] and len(due(records, EPOCH_END)) == 0
        assert records[0x38] == records[0x39] == records[0x3B] == records[0x3C] == []
        unsent = [(item.what, item.count) for item in records[0x42] if item.lane[:1] == EVENTS]
        assert [(what, count) for what, count in unsent if what == UNSENT] == [(UNSENT, it) for it in tickets]
    finally:
        bob.shut()


def test_the_oracle_reads_history(world: World, tmp_path: Path) -> None:
    """Stored frames open by the rows alone, and by rows that the oracle wrote."""
    said: Dict[bytes, bytes] = {}
    store, joined = world.store, world.theirs
    store.keep_history(world.bob)
    for number in range(3):
        text = b"%d" % number
        said[store.encrypt(world.ours, text)] = text
        world.hear(*[frame for frame, one in said.items() if one == text])
        said[store.encrypt(joined, text)] = text
        store.receive(world.ada, list(said)[-1])
        world.now += SECOND
        store.rekey(world.ours)
        while items := store.take():
            for item in items:
                if item.kind is pawl.ItemKind.FRAME:
                    store.receive(world.bob if item.account == world.ada else world.ada, item.body)
                store.ack(item.seq)

    accounts, records, _ = world.records()
    ada = accounts[world.ada]
    assert [(state.account, state.history) for state in records[0x31]] == [(world.bob, b"\x01")]
    RECEIVED, SENT, OPEN = 1, 2, 2**32 - 1
    for row in records[0x37]:
        assert (row.account, row.half, row.session) == (world.bob, joined[:8], joined)
        assert (row.signing, row.agreement, row.name) == (ada.signing, ada.agreement, b"ada")
        assert (row.first, row.created) == (0, NOW + row.epoch * SECOND)
        by_responder = row.direction == SENT
        assert row.marks == ((row.epoch, row.direction) < (2, SENT)) + 2 * by_responder
        assert (row.end == OPEN) == (row.epoch == 3)
    assert [(row.epoch, row.direction) for row in records[0x37]] == [
        (epoch, direction) for epoch in range(4) for direction in (RECEIVED, SENT)]
    for number, (data, text) in enumerate(said.items()):
        frame = wire.read_frame(data)
        row = the(records[0x37], epoch=frame.epoch, direction=SENT if number % 2 else RECEIVED)
        assert wire.siphash(row.filter, frame.filtered) == frame.filter and frame.index < row.end
        key = wire.step(stepped(row.chain, frame.index))[1]
        assert wire.read_text(frame, wire.unseal(key, frame))[0] == text

    path = str(tmp_path / "other.pawl")
    read_store.write(path, bytes(32), [], list(accounts.values()), {
        kind: records[kind] for kind in (0x31, 0x37)})
    with pawl.Store.open(path, key=pawl.RawKey(bytes(32))) as other:
        assert other.verify() == []
        assert other.history(world.bob) == store.history(world.bob) and other.keeps_history(world.bob)
        for data, text in said.items():
            opened = other.open_history(world.bob, data)
            assert opened == store.open_history(world.bob, data) and opened.plaintext == text
            with pytest.raises(pawl.NotFoundError):
                other.open_history(world.ada, data)


def test_the_oracle_reads_a_backup(world: World, tmp_path: Path) -> None:
    """Each row of one, while it is made, filled and restored; a restore goes on in rows of the oracle."""
    store, ada, server = world.store, world.ada, pawl.backup.MemoryServer(page=3)
    secret, none = bytes(range(32)), SimpleNamespace

    def serve(store: pawl.Store, rounds: int = 1000) -> None:
        while rounds > 0 and (store.run_due() + len(items := store.take())):
            rounds -= 1
            for item in items:
                if not pawl.backup.serve(store, item, server):
                    store.ack(item.seq)

    serve(store)
    store.keep_history(ada)
    store.create_backup(ada, pawl.RawKey(secret), escrow=True)
    _, records, _ = world.records()
    (machine,) = records[0x60]
    wish = none(secret=secret, escrow=1, replaces=[])
    assert (machine.account, machine.on, machine.phase, machine.goal, machine.wish) == (ada, 1, 1, 1, [wish])
    assert (machine.revision, machine.asked, machine.next, machine.server.which) == (1, 1, 2, 0)
    BACKUP, (CURRENT, ESCROW, STATUS) = b"\x05", (5, 6, 12)
    asked = the(records[0x42], lane=BACKUP + ada)
    assert (asked.what, asked.count, asked.body) == (CURRENT, 1, b"\x00")
    report = the(records[0x42], what=STATUS)
    assert (report.count, report.account, len(report.body)) == (1, ada, 236)
    assert report.body[:12] == b"\x01" + (1).to_bytes(8, "little") + b"\x01\x01\x02"
    serve(store, 1)
    asked = the(world.records()[1][0x42], lane=BACKUP + ada)
    assert (asked.what, read_store.recovery_bytes(asked.body[1:].decode(), "pawlbackup")) == (ESCROW, secret)
    store.answer_backup(asked.number, pawl.BackupReply())
    store.include_in_backup(ada, SCOPE)
    store.include_in_backup(ada, pawl.Scope("user"), all_projects=True)
    for name in ("one", "two", "three"):
        store.put(SCOPE, name, name.encode())
    store.put(pawl.Scope("user", "any"), "four", b"four")
    session = store.start_session(ada, "żółw", world.package.data + world.one_time[2].data)
    frame = store.encrypt(session, b"hello")
    store.close_session(session)
    serve(store)

    accounts, records, keys = world.records()
    (version,) = server.versions.values()
    found = backup.Backup(secret, version.body)
    as_made = none(number=b"1", body=version.body)
    (machine,) = records[0x60]
    held = none(**vars(as_made), secret=secret)
    assert (machine.active, machine.key) == ([as_made], [held])
    assert machine.offered == machine.wish == machine.making == []
    assert vars(machine.server) == {"which": 2, **vars(as_made), "count": len(version.entries)}
    assert (machine.phase, machine.goal, machine.highest, machine.successor) == (0, 0, 1, found.hash)
    assert (machine.uploading, machine.acknowledged, machine.changes) == ([as_made], machine.changes, machine.changes)
    changes = {change.number: change.row for change in records[0x61]}
    known = {item.row: item for item in records[0x62]}
    assert {item.number: row for row, item in known.items()} == changes and len(changes) == 6
    shown = {place: found.open(place, entry) for place, entry in version.entries.items() if entry[5] < 3}
    for item in shown.values():
        ours = known[changes[item.number]]
        assert (ours.first, ours.kind) == (item.first, item.kind)
        assert (ours.id == item.name[1:17]) == (changes[item.number][0] == 0x20)
    row = known[b"\x20" + keys.path("user", "any", "four")]
    assert row.id == backup.credential_name(b"user", b"any", b"four")[1:17]
    assert {(r.user + r.project, r.user_name, r.project_name) for r in records[0x64]} == {
        (keys.path("ada", "engine"), b"ada", b"engine"), (keys.path("user") + bytes(16), b"user", b"")}
    (listing,), (page,) = records[0x65], records[0x66]
    (listed,) = (found.read_page(place, entry) for place, entry in version.entries.items() if entry[5] == 4)
    manifest = next(found.read_manifest(place, entry) for place, entry in version.entries.items() if entry[5] == 3)
    assert vars(listing) == {
        "account": ada, "version": found.hash, "before": bytes(80), "count": 6, "up_to": 6, "full": bytes(32),
        "root": manifest.root}
    assert (page.generation, page.hash, page.number) == (1, found.hash[:8], 0)
    assert page.entries == b"".join(one.encode() for one in listed.entries)
    wrote = [none(writer=ada, counter=7, root=manifest.root)]
    (writers,) = records[0x63]
    assert (writers.generation, writers.hash, writers.writers) == (1, found.hash[:8], wrote)
    assert records[0x67] == records[0x68] == []
    assert [job for job in jobs(records) if job[0] == 14] == []

    path = str(tmp_path / "fresh.pawl")
    with pawl.Store.open(path, key=pawl.RawKey(RAW), create=True, clock=lambda: world.now) as fresh:
        eve = fresh.create_account("ada")
        fresh.include_in_backup(eve, SCOPE)
        fresh.recover_backup(eve, pawl.RawKey(secret))
        serve(fresh)
        fresh.restore_backup(eve)
        serve(fresh, 1)
        fresh.stop_restore(eve)
        serve(fresh)
    records, keys = read_store.read_records(path, 1, RAW)
    (machine,) = records[0x60]
    (restore,) = machine.restore
    places = sorted(version.entries)
    assert (restore.number, restore.stopped) == (b"1", 1) and restore.cursor in places
    passed = places[:places.index(restore.cursor) + 1]
    assert 0 < len(passed) < len(places) and restore.imported + restore.foreign == len(records[0x67])
    for row in records[0x67]:
        item = shown[row.place]
        first, kind, digest = backup.rank(version.entries[row.place])
        assert vars(row) == {"account": eve, "place": row.place, "writer": ada, "number": item.number, "first": first,
                             "kind": kind, "hash": digest, "standing": 0}
    seen = {(row.writer, row.number): row.content for row in records[0x68]}
    wanted = {(ada, 0 if entry[5] == 3 else 1): entry[6 if entry[5] == 3 else 30:]
              for place, entry in version.entries.items() if place in passed and entry[5] >= 3}
    assert seen == wanted and {row.place for row in records[0x67]} == {place for place in passed if place in shown}

    # Names of credentials are hashed under the keys of their store.
    for kind in (0x61, 0x62):
        records[kind] = [row for row in records[kind] if row.row[0] == 0x37]
    records[0x64] = []
    path = str(tmp_path / "other.pawl")
    read_store.write(path, bytes(32), [], read_store.accounts(str(tmp_path / "fresh.pawl"), 1, RAW), records)
    with pawl.Store.open(path, key=pawl.RawKey(bytes(32)), clock=lambda: world.now) as other:
        assert other.verify() == []
        other.restore_backup(eve)
        world.now += 60 * SECOND
        ended = []
        while items := other.take():
            for item in items:
                ended += [item] if item.event is pawl.Event.BACKUP_RESTORED else []
                if not pawl.backup.serve(other, item, server):
                    other.ack(item.seq)
        (item,) = ended
        end = item.backup
        assert (item.count, end.findings, end.writers, end.as_of_ns) == (6, 0, 1, NOW)
        assert other.open_history(eve, frame).plaintext == b"hello"
    records, _ = read_store.read_records(path, 1, bytes(32))
    (writers,) = records[0x63]
    assert (writers.generation, writers.writers) == (1, wrote)
    assert records[0x67] == records[0x68] == []


def test_pawl_goes_on_in_a_store_that_the_oracle_wrote(world: World, tmp_path: Path) -> None:
    """All records of a store, written anew with other keys: everything is there and works."""
    frames = [world.store.encrypt(world.ours, str(number).encode()) for number in range(8)]
    world.hear(frames[0], frames[5])
    world.hear(frames[2], keep=True)
    world.store.send(world.theirs, b"answer")
    world.store.take()
    world.store.trust_peer(world.bob, world.store.account(world.ada).identity, pawl.Trust.VERIFIED)
    accounts, records, _ = world.records()
    path = str(tmp_path / "other.pawl")
    read_store.write(path, bytes(32), [], list(accounts.values()), records)

    def seen(store: pawl.Store) -> object:
        views = [store.accounts(), store.kept(world.theirs), store.next_deadline()]
        for account, name in ((world.ada, "żółw"), (world.bob, "ada")):
            views += [store.packages(account), store.peers(account), store.sessions(account, name)]
        return views

    with pawl.Store.open(path, key=pawl.RawKey(bytes(32)), clock=lambda: world.now) as store:
        assert store.verify() == []
        assert seen(store) == seen(world.store)
        assert [kept.plaintext for kept in store.kept(world.theirs)] == [b"2"]
        assert store.receive(world.bob, frames[3]).plaintext == b"3"
        with pytest.raises(pawl.ReplayError):
            store.receive(world.bob, frames[0])
        assert store.receive(world.bob, frames[2]).again
        assert store.take() == []
        world.now += 30 * SECOND
        (item,) = store.take()
        assert (item.attempts, item.created_ns, item.peer.name) == (1, NOW, "ada")
        answer = store.receive(world.ada, item.body)
        assert (answer.plaintext, answer.session) == (b"answer", world.ours)
        assert store.receive(world.bob, store.encrypt(world.ours, b"on")).plaintext == b"on"
        assert store.session(world.theirs).confirmed
        package = store.packages(world.bob)[0]
        assert package.one_time_count == 2
        other = store.start_session(world.ada, "żółw", package.data + world.one_time[0].data)
        assert store.receive(world.bob, store.encrypt(other, b"new")).new_session
        world.now += 7 * DAY
        while store.run_due():
            pass
        with pytest.raises(pawl.ReplayError):
            store.receive(world.bob, frames[1])


@pytest.mark.parametrize("fixture, make", make_session_fixture.MAKERS.items(), ids=["session", "suite 2", "rekeying"])
def test_a_fixture_is_what_its_maker_makes(tmp_path: Path, fixture: Path, make: Any) -> None:
    path = str(shutil.copy(fixture, tmp_path))
    records, keys = read_store.read_records(path, 1, RAW)
    check(records, keys)
    accounts, wanted = make(make_session_fixture.load(fixture))
    assert {RAW, *(a.id for a in accounts)} == {
        bytes.fromhex(text) for text in json.loads(fixture.with_suffix(".json").read_text()).values()}
    assert read_store.accounts(path, 1, RAW) == accounts
    assert all(a.matches() for a in accounts)
    for peer in wanted[0x35]:
        peer.hash = keys.peer(peer.account, peer.name)
    for kind in read_store.KINDS:
        found, made = (sorted((sorted(vars(r).items()) for r in some.get(kind, [])), key=str)
                       for some in (records, wanted))
        assert found == made, kind


# ---------------------------------------------------------------- fixtures


@pytest.mark.parametrize("fixture", sorted(FIXTURES.glob("store-*.json")), ids=lambda p: p.stem)
def test_every_format_ever_released_opens(tmp_path: Path, fixture: Path) -> None:
    wanted = json.loads(fixture.read_text())
    path = tmp_path / "s.pawl"
    shutil.copy(fixture.with_suffix(".pawl"), path)
    for key in (pawl.RawKey(RAW), pawl.Passphrase("open sesame"), pawl.RecoveryKey(wanted["recovery"])):
        with pawl.Store.open(str(path), key=key) as store:
            assert store.verify() == []
            for user, project, name, secret in wanted["credentials"]:
                row = store.get(pawl.Scope(user, project), name)
                assert row.secret.hex() == secret
            assert [row.version for row in store.deleted(SCOPE, "gone")] == wanted["deleted"]


def test_there_is_a_fixture_of_the_present_format() -> None:
    assert (FIXTURES / "store-1.json").exists()
