"""Backups, from Protocol.md alone: what Pawl uploads is opened here with the recovery key, and what is written here
Pawl restores."""

import ctypes
import os
import struct
import sys
from ctypes import byref, c_char, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]

import backup  # noqa: E402
import libpawl  # noqa: E402
import read_store  # noqa: E402
import test_archive  # noqa: E402
import wire  # noqa: E402
from backup import IMPORTED, MANIFEST, OWN, PAGE, Backup, Item, credential_first, credential_name  # noqa: E402
from libpawl import FLAGS, ID, address, struct as struct_of  # noqa: E402
from read_store import NEVER, Credential  # noqa: E402

NOW = 1_800_000_000_000  # milliseconds
MS = 1_000_000
SECRET = bytes(range(32))
WRITER = bytes(range(100, 116))
REQUESTS = {5: "version", 6: "escrow", 7: "create", 8: "delete", 9: "put", 10: "page", 11: "item", 12: "secret"}
RESTORED, FINDING = 16, 17
WRONG_VERSION, NO_VERSION, NO_ITEM = 1, 2, 3
ROLLED_BACK, FORKED, WITHHELD, SWAPPED, INSERTED, UNLISTED, MALFORMED = 1, 2, 3, 7, 8, 9, 11

Scope = struct_of(FLAGS, "user", "project")
Row = struct_of(FLAGS, ("version", c_uint64), ("created", c_int64), ("updated", c_int64), ("expires", c_int64),
                ("purge", c_int64), "name", "label", "provider", "secret", ("attribute_count", c_size_t))
State = struct_of(
    FLAGS, ("revision", c_uint64), ("phase", c_uint32), ("download", c_uint32), ("generation", c_uint64),
    ("server_generation", c_uint64), ("key_generation", c_uint64), ("hash", c_char * 32), ("server_hash", c_char * 32),
    ("key_hash", c_char * 32), *((name, c_uint64) for name in ("server_items", "pending", "acknowledged")),
    ("retry", c_int64), *((name, c_uint64) for name in (
        "imported", "known", "improved", "undecryptable", "malformed", "foreign", "findings", "writers")), ("as_of", c_int64))
Request = struct_of(("what", c_uint32), "version", "body", ("entry_count", c_size_t), ("place", c_char * 16))
Entry = struct_of(("first", c_uint32), ("order", c_uint32), FLAGS, ("place", c_char * 16), "bytes")
Reply = struct_of(("result", c_uint32), ("until", c_int64), ("count", c_uint64), "version", "body",
                  ("entries", c_void_p), ("entry_count", c_size_t), ("is_closing", c_void_p), ("context", c_void_p))


class Server:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.bodies: List[bytes] = []
        self.entries: Dict[bytes, bytes] = {}
        self.ranks: Dict[bytes, Tuple[int, int]] = {}

    def put(self, place: bytes, entry: bytes, ranked: Tuple[int, int]) -> None:
        if place not in self.ranks or ranked < self.ranks[place]:
            self.entries[place], self.ranks[place] = entry, ranked

    def show(self, body: bytes, entries: Dict[bytes, bytes]) -> None:
        self.bodies, self.entries = [body], dict(entries)
        self.ranks = {place: backup.two_numbers(entry) for place, entry in entries.items()}


class Device(libpawl.Peer):
    """An account that backs up."""

    def __init__(self, name: str, server: Server) -> None:
        self.time = NOW
        super().__init__(name, lambda: self.time)
        self.server = server
        self.told: List[Tuple[int, int]] = []
        self.end = State()

    def put(self, user: bytes, project: bytes, name: bytes, secret: bytes) -> None:
        scope = self.scope(user, project)
        self.call("credential_put", self.store, byref(scope), name, len(name), secret, len(secret), None, None)

    def get(self, user: bytes, project: bytes, name: bytes) -> Any:
        scope = self.scope(user, project)
        (row,) = self.call.rows(
            "credential_get", self.store, byref(scope), name, len(name), of=Row, kind="credential")
        return row

    @staticmethod
    def scope(user: bytes, project: bytes) -> Any:
        return Scope(user=address(user), user_size=len(user), project=address(project), project_size=len(project))

    def include(self, user: bytes, project: bytes) -> None:
        scope = self.scope(user, project)
        self.call("backup_include", self.store, self.account, byref(scope), c_uint32(0))

    def key(self, call: str, secret: bytes) -> None:
        key = libpawl.Key(kind=libpawl.KEY_RAW, secret=address(secret), secret_size=len(secret))
        arguments = (c_uint32(0),) if call != "recover" else ()
        self.call("backup_" + call, self.store, self.account, byref(key), *arguments)
        self.settle()

    def create(self) -> str:
        self.call("backup_create", self.store, self.account, None, c_uint32(0))
        self.settle()
        return self.recovery_key()

    def recovery_key(self) -> str:
        out, size = ctypes.create_string_buffer(128), c_size_t()
        self.call("backup_recovery_key", self.store, self.account, out, len(out), byref(size))
        return out.raw[:size.value].decode()

    def restore(self) -> Any:
        self.told = []
        self.call("backup_restore", self.store, self.account, c_uint32(0))
        self.settle()
        return self.end.copied()

    def findings(self) -> List[int]:
        return [count for what, count in self.told if what == FINDING]

    def settle(self) -> None:
        while True:
            self.run_due()
            view = c_void_p()
            self.call("outbox_take", self.store, 100, c_int64(0), byref(view))
            count = self.call.loaded.pawl_view_count(view)
            for number in range(count):
                item = libpawl.Item()
                self.call("view_item", view, number, byref(item))
                if item.kind == 2 and item.what in REQUESTS:
                    self.carry_out(view, number, item)
                    continue
                if item.kind == libpawl.ITEM_EVENT:
                    self.told.append((item.what, item.count))
                    if item.what == RESTORED:
                        self.end = State()
                        self.call("view_item_backup", view, number, byref(self.end))
                self.call("outbox_ack", self.store, (c_uint64 * 1)(item.seq), 1)
            self.call.loaded.pawl_view_close(view)
            if count == 0:
                return

    def carry_out(self, view: c_void_p, number: int, item: Any) -> None:
        request = Request()
        self.call("view_item_backup_request", view, number, byref(request))
        asked, server, reply = request.copied(), self.server, Reply()
        version, rows = str(len(server.bodies)).encode(), []
        what = REQUESTS[asked.what]
        if what == "create":
            server.bodies.append(asked.body)
            server.entries, server.ranks = {}, {}
            version = str(len(server.bodies)).encode()
        elif not server.bodies:
            reply.result = NO_VERSION
        elif what == "version":
            reply.body, reply.body_size = address(server.bodies[-1]), len(server.bodies[-1])
        elif what == "put" and asked.version != version:
            reply.result = WRONG_VERSION
        elif what == "put":
            for place in range(asked.entry_count):
                row = Entry()
                self.call("view_item_backup_entry", view, number, place, byref(row))
                one = row.copied()
                server.put(one.place, one.bytes, (one.first, one.order))
        elif what == "page":
            rows = list(server.entries.items())
        elif what == "item":
            rows = [(asked.place, server.entries[asked.place])] if asked.place in server.entries else []
            reply.result = 0 if rows else NO_ITEM
        if what in ("version", "create"):
            reply.version, reply.version_size = address(version), len(version)
        reply.count = len(server.entries)
        entries = (Entry * max(len(rows), 1))(*(
            Entry(place=place, bytes=address(entry), bytes_size=len(entry)) for place, entry in rows))
        for row, (place, _) in zip(entries, rows):
            ctypes.memmove(ctypes.addressof(row) + Entry.place.offset, place, 16)
        reply.entries, reply.entry_count = ctypes.addressof(entries), len(rows)
        self.call("backup_answer", self.store, c_uint64(item.seq), byref(reply))


@pytest.fixture
def devices() -> Any:
    made: List[Device] = []

    def make(name: str, server: Server) -> Device:
        made.append(Device(name, server))
        return made[-1]

    yield make
    for device in made:
        device.shut()


Make = Callable[[str, Server], Device]


def opened(found: Backup, entries: Dict[bytes, bytes]) -> Dict[int, List[Any]]:
    """Everything on a server, by its kind."""
    by_kind: Dict[int, List[Any]] = {OWN: [], IMPORTED: [], MANIFEST: [], PAGE: []}
    for place, entry in entries.items():
        kind = entry[5]
        read = {MANIFEST: found.read_manifest, PAGE: found.read_page}.get(kind, found.open)
        by_kind[kind].append(read(place, entry))
    return by_kind


def test_the_oracle_opens_what_pawl_uploads(devices: Make) -> None:
    server = Server()
    ada, bob = devices("ada", server), devices("bob", Server())
    ada.call("history_enable", ada.store, ada.account, c_uint32(1))
    recovery = ada.create()
    ada.include(b"user", b"project")
    for number in range(300):
        ada.put(b"user", b"project", b"name %d" % number, b"%d" % number)
    ada.put(b"user", b"project", b"large", bytes(100_000))
    ada.put(b"user", b"elsewhere", b"not included", b"x")
    ada.settle()
    ada.time += 600_000
    ada.put(b"user", b"project", b"name 7", b"again")
    ada.put(b"user", b"project", b"name 8", b"a")
    ada.put(b"user", b"project", b"name 8", b"b")
    scope = ada.scope(b"user", b"project")
    ada.call("credential_delete", ada.store, byref(scope), b"name 9", 6, c_int64(0))
    session = ada.start(b"bob", b"".join(bob.package(1)))
    said = [ada.encrypt(session, b"hello")]
    theirs = bob.receive(said[0]).session
    said.append(bob.encrypt(theirs, b"hello yourself"))
    ada.receive(said[1])
    ada.close(session)
    ada.settle()

    assert len(server.bodies) == 1
    secret = read_store.recovery_bytes(recovery, "pawlbackup")
    found = Backup(secret, server.bodies[0])
    assert (found.generation, found.previous) == (1, bytes(32))
    by_kind = opened(found, server.entries)
    assert by_kind[IMPORTED] == []
    (manifest,) = by_kind[MANIFEST]
    pages = sorted(by_kind[PAGE], key=lambda page: page.number)
    listing = [listed for page in pages for listed in page.entries]
    numbers = [listed.number for listed in listing]
    assert numbers == sorted(set(numbers)) and [page.number for page in pages] == list(range(len(pages)))
    assert all(len(page.entries) == 128 for page in pages[:-1])
    assert all(page.counter > page.entries[-1].number for page in pages)
    assert pages[-1].counter == manifest.counter
    assert (manifest.writer, manifest.count, manifest.root) == (ada.account, len(listing), found.root(listing))
    assert manifest.others == [] and manifest.time == ada.time * MS and manifest.counter > max(numbers)
    by_number = {listed.number: listed for listed in listing}
    credentials, history = {}, []
    for item in by_kind[OWN]:
        place, entry = found.seal(item)
        first, kind, digest = backup.rank(entry)
        assert item.writer == ada.account
        assert by_number[item.number] == backup.Listed(item.number, place, first, kind, digest)
        assert server.ranks[place] == backup.two_numbers(entry)
        if item.content[0] == backup.HISTORY:
            history.append(item)
            continue
        assert item.content[0] in (backup.CREDENTIAL, backup.DELETED)
        credentials[item.name] = item

    def one(name: bytes) -> Item:
        return credentials.pop(credential_name(b"user", b"project", name))

    early, late = credential_first(NOW * MS), credential_first(ada.time * MS)
    assert early - late == 600
    assert (one(b"name 9").content, one(b"name 7").first) == (b"\x00", late)
    row = read_store.credential(one(b"name 8").content[1:])
    assert (row.user, row.project, row.name, row.secret, row.purge) == ("user", "project", "name 8", b"b", NEVER)
    large = read_store.credential(one(b"large").content[1:])
    assert large.secret == bytes(100_000) and large.vault_id is None
    assert {item.first for item in credentials.values()} == {early} and len(credentials) == 297

    layout = read_store.KINDS[0x37].value
    assert len(history) == 2
    for item in history:
        r = read_store.Reader(item.content[1:])
        direction = r.number("B")
        assert r.number("B") == 1
        record = layout.take(r)
        assert r.at == len(r.data) and direction in (1, 2)
        by_responder = direction == 1
        assert item.name == backup.history_name(session, 0, by_responder)
        assert (item.first, record.first, record.marks) == (0, 0, 3 if by_responder else 1)
        frame = wire.read_frame(said[by_responder])
        chain = record.chain
        for _ in range(frame.index + 1):
            chain, key = wire.step(chain)
        assert wire.read_text(frame, wire.unseal(key, frame))[0] == (b"hello", b"hello yourself")[by_responder]


def content(name: bytes, secret: bytes, updated: int = NOW * MS) -> bytes:
    row = Credential("user", "project", name.decode(), "label", "", {"k": "v"}, 5, 1, updated, NEVER, NEVER, secret)
    return b"\x01" + read_store.encode(row)


def item(name: bytes, secret: bytes, number: int, updated: int = NOW * MS, writer: bytes = WRITER,
         kind: int = OWN) -> Item:
    return Item(credential_name(b"user", b"project", name), writer, number, credential_first(updated), kind,
                content(name, secret, updated))


@pytest.mark.parametrize("count", [1, 127, 128, 129, 300])
def test_pawl_restores_what_the_oracle_writes(devices: Make, count: int) -> None:
    server, written = Server(), Backup.new(SECRET, generation=7, previous=bytes(range(32)))
    items = [item(b"name %d" % n, b"%d" % n, n + 1) for n in range(count)]
    large = item(b"large", bytes(100_000), count + 1, kind=IMPORTED)
    gone = Item(credential_name(b"user", b"project", b"gone"), WRITER, count + 2, 5, OWN, b"\x00")
    server.show(written.body, written.written(WRITER, [*items, large, gone], NOW * MS - 5))
    ada = devices("ada", server)
    ada.include(b"user", b"project")
    ada.key("recover", SECRET)
    end = ada.restore()
    assert (end.imported, end.undecryptable, end.malformed, end.findings, end.writers, end.as_of) == (
        count + 1, 0, 0, 0, 1, NOW * MS - 5)
    assert (end.generation, end.hash, ada.findings()) == (7, written.hash, [])
    for n in range(count):
        row = ada.get(b"user", b"project", b"name %d" % n)
        assert (row.secret, row.label, row.updated) == (b"%d" % n, b"label", NOW * MS)
    assert ada.get(b"user", b"project", b"large").secret == bytes(100_000)
    # It goes on from there: what was restored is not uploaded again, what is new is, by another writer.
    before = dict(server.entries)
    ada.put(b"user", b"project", b"new", b"new")
    ada.settle()
    added = opened(written, {place: entry for place, entry in server.entries.items() if place not in before})
    assert [one.name for one in added[OWN]] == [credential_name(b"user", b"project", b"new")]
    (manifest,) = added[MANIFEST]
    assert manifest.others == [(WRITER, count + 3)] and manifest.writer == ada.account


def test_pawl_reads_history_that_the_oracle_writes(devices: Make) -> None:
    """A chain of the oracle's own, and a frame under it."""
    server = Server()
    ada, bob = devices("ada", server), devices("bob", Server())
    ada.call("history_enable", ada.store, ada.account, c_uint32(1))
    recovery = ada.create()
    session = ada.start(b"bob", b"".join(bob.package()))
    frame = ada.encrypt(session, b"hello")
    ada.close(session)
    ada.settle()
    first = Backup(read_store.recovery_bytes(recovery, "pawlbackup"), server.bodies[-1])
    again, items = Backup.new(SECRET), []
    for number, found in enumerate(opened(first, server.entries)[OWN]):
        items.append(Item(found.name, WRITER, number + 1, found.first, IMPORTED, found.content))
    server.show(again.body, again.written(WRITER, items, NOW * MS))
    fresh = devices("ada", server)
    fresh.key("recover", SECRET)
    end = fresh.restore()
    assert (end.imported, end.findings) == (2, 0)
    message = struct_of(FLAGS, ("session", ID), ("epoch", c_uint32), ("index", c_uint32), ("direction", c_uint32),
                        ("peer_name_size", c_uint32), ("signing", c_char * 32), ("agreement", c_char * 32),
                        ("peer_name", c_char * 256))()
    out, size = ctypes.create_string_buffer(len(frame)), c_size_t()
    fresh.call("history_decrypt", fresh.store, fresh.account, frame, len(frame), out, len(out), byref(size),
               byref(message))
    assert out.raw[:size.value] == b"hello" and message.copied().session == session


def test_what_others_with_the_secret_do_is_found(devices: Make) -> None:
    """What no server can: items and manifests that are sealed as they should be, and are not right."""
    server, written = Server(), Backup.new(SECRET)
    ada = devices("ada", server)
    good = [item(b"a", b"1", 1), item(b"b", b"2", 2), item(b"c", b"3", 4)]

    def found(entries: Dict[bytes, bytes]) -> List[int]:
        server.show(written.body, entries)
        ada.restore()
        return sorted(set(ada.findings()))

    server.show(written.body, written.written(WRITER, good, 5))
    ada.include(b"user", b"project")
    ada.key("recover", SECRET)
    assert ada.restore().findings == 0
    # Numbers that its writer gave to nothing, and to something else.
    entries = written.written(WRITER, good, 5)
    later = NOW * MS + 60 * 10**9
    assert found({**entries, **dict([written.seal(item(b"d", b"4", 3))])}) == [INSERTED]
    assert found({**entries, **dict([written.seal(item(b"a", b"another", 2, later))])}) == [SWAPPED]
    assert found({**entries, **dict([written.seal(item(b"a", b"newer", 9, later))])}) == [UNLISTED]
    # A second manifest of the same number, an older one, one of which another writer has seen more, none.
    assert found(written.written(WRITER, [*good, item(b"e", b"5", 3)], 8)) == [FORKED]
    assert found(written.written(WRITER, good[:2], 9)) == [ROLLED_BACK]
    other = bytes(16)
    told = written.written(other, [item(b"f", b"6", 1, writer=other)], 9, others=((WRITER, 77),))
    assert found({**entries, **told}) == [ROLLED_BACK]
    assert found(entries) == [ROLLED_BACK, WITHHELD]
    # Sealed well, and nonsense.
    bad = [b"", b"\x01", b"\x09", content(b"a", b"1")[:-1], content(b"other", b"1"), b"\x02\x01",
           b"\x02\x03" + bytes(100)]
    for number, text in enumerate(bad):
        odd = Item(credential_name(b"user", b"project", b"odd"), WRITER, 50 + number, 1, OWN, text)
        server.show(written.body, {**entries, **told, **dict([written.seal(odd)])})
        assert ada.restore().malformed == 1 and MALFORMED in ada.findings(), text
    assert ada.get(b"user", b"project", b"b").secret == b"2"


def test_a_server_without_a_key_tells_which_stays() -> None:
    written = Backup.new(SECRET)
    call = libpawl.Library(os.environ.get("PAWL_LIBRARY") or str(HERE.parents[1] / "build" / "libpawl.so.0"))
    for number in range(50):
        entries = written.written(WRITER, [item(b"a", b"%d" % number, number + 1, kind=1 + number % 2)], number)
        for entry in entries.values():
            first, order = c_uint32(), c_uint32()
            call("backup_entry_rank", entry, len(entry), byref(first), byref(order))
            assert (first.value, order.value) == backup.two_numbers(entry)


def test_a_share_and_a_wrapped_key(devices: Make) -> None:
    server = Server()
    ada, bob = devices("ada", server), devices("bob", server)
    recovery = ada.create()
    secret = read_store.recovery_bytes(recovery, "pawlbackup")
    session = ada.start(b"bob", b"".join(bob.package()))
    identity = struct_of(FLAGS, ("signing", c_char * 32), ("agreement", c_char * 32), "name")(
        name=address(b"bob"), name_size=3)
    for offset, key in ((identity.__class__.signing.offset, bob.identity.signing),
                        (identity.__class__.agreement.offset, bob.identity.agreement)):
        ctypes.memmove(ctypes.addressof(identity) + offset, key, 32)
    ada.call("peer_trust", ada.store, ada.account, byref(identity), c_uint32(1))
    out = ctypes.create_string_buffer(49)
    ada.call("backup_share", ada.store, session, c_uint64(77), out)
    assert out.raw == b"\x01" + struct.pack("<QQ", 77, 1) + secret

    wrapped, size = ctypes.create_string_buffer(512), c_size_t()
    key = libpawl.Key(kind=libpawl.KEY_RAW, secret=address(SECRET), secret_size=32)
    ada.call("recovery_wrap", recovery.encode(), len(recovery), byref(key), wrapped, len(wrapped), byref(size))
    assert wrapped.raw[9:17] == bytes(8)
    assert test_archive.read(wrapped.raw[:size.value], 1, SECRET) == [(2, secret)]
    ours = test_archive.write([(2, secret)])
    text = ctypes.create_string_buffer(128)
    key = libpawl.Key(kind=libpawl.KEY_RAW, secret=address(test_archive.RAW), secret_size=32)
    ada.call("recovery_unwrap", ours, len(ours), byref(key), text, len(text), byref(size))
    assert text.raw[:size.value].decode() == recovery
