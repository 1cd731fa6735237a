"""An independent reader and writer of store files, from StorageFormat.md alone, on PyNaCl and SQLite.

It shares no line with Pawl, so that what both agree on is what the page says."""

import hashlib
import os
import sqlite3
import struct
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

from nacl import bindings

NEVER = 2**63 - 1
AT_ONCE = -2**63
CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def kdf(key: bytes, label: str, *inputs: bytes, size: int = 32) -> bytes:
    message = b"".join(struct.pack("<I", len(x)) + x for x in (label.encode(), *inputs))
    return hashlib.blake2b(message, key=key, digest_size=size).digest()


def seal(key: bytes, plaintext: bytes, associated: bytes) -> bytes:
    nonce = os.urandom(24)
    return nonce + bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
        plaintext, associated, nonce, key)


def unseal(key: bytes, sealed: bytes, associated: bytes) -> bytes:
    return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
        sealed[24:], associated, sealed[:24], key)


class Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        part = self.data[self.at:self.at + size]
        assert len(part) == size, "truncated"
        self.at += size
        return part

    def number(self, form: str) -> int:
        return int(struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0])

    def field(self, form: str = "H") -> bytes:
        return self.take(self.number(form))

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.at)


@dataclass
class Credential:
    user: str
    project: str
    name: str
    label: str
    provider: str
    attributes: Dict[str, str]
    version: int
    created: int
    updated: int
    expires: int
    purge: int
    secret: Optional[bytes]
    vault_id: Optional[bytes] = None
    size: int = 0


def recovery_bytes(text: str, wanted: str = "pawlstore") -> bytes:
    text = text.replace(" ", "").replace("-", "").lower()
    prefix, _, data = text.rpartition("1")
    assert prefix == wanted
    values = [CHARSET.index(c) for c in data]
    checked = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix] + values
    sum_ = 1
    for value in checked:
        top = sum_ >> 25
        sum_ = (sum_ & 0x1FFFFFF) << 5 ^ value
        for i, g in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            sum_ ^= g if top >> i & 1 else 0
    assert sum_ == 0x2BC830A3, "checksum"
    bits = "".join(f"{v:05b}" for v in values[:-6])
    payload = bytes(int(bits[i:i + 8], 2) for i in range(0, 33 * 8, 8))
    assert payload[0] == 1
    return payload[1:]


class Slot:
    def __init__(self, data: bytes) -> None:
        assert len(data) == 159 and data[0] == 1
        r = Reader(data)
        r.take(1)
        self.store = r.take(16)
        self.kind, self.number, self.created = r.number("B"), r.number("B"), r.number("q")
        self.salt, self.passes, self.memory = r.take(16), r.number("I"), r.number("Q")
        self.head = data[:r.at]
        self.commitment = r.take(32)
        self.associated, self.wrapped = data[:r.at], data[r.at:]

    def unwrap(self, kind: int, secret: bytes) -> Optional[bytes]:
        if kind != self.kind:
            return None
        if kind == 2:
            secret = bindings.crypto_pwhash_alg(
                32, secret, self.salt, self.passes, self.memory,
                bindings.crypto_pwhash_ALG_ARGON2ID13)
        elif kind == 3:
            secret = recovery_bytes(secret.decode())
        keys = kdf(secret, "pawl/1 slot", self.head, size=64)
        return unseal(keys[:32], self.wrapped, self.associated) if keys[32:] == self.commitment else None


def write_slot(store: bytes, master: bytes, raw: bytes) -> bytes:
    head = b"\x01" + store + b"\x01\x00" + struct.pack("<q", 1) + os.urandom(16) + bytes(12)
    keys = kdf(raw, "pawl/1 slot", head, size=64)
    associated = head + keys[32:]
    return associated + seal(keys[:32], master, associated)


class Keys:
    def __init__(self, master: bytes) -> None:
        self.names, self.values = kdf(master, "pawl/1 names"), kdf(master, "pawl/1 values")
        self.stamps = kdf(master, "pawl/1 stamps")[:16]

    def path(self, *names: str) -> bytes:
        path = b""
        for count, name in enumerate(names):
            path += self.hash(bytes([count]) + path + name.encode())
        return path

    def peer(self, account: bytes, name: bytes) -> bytes:
        return self.hash(b"\x01" + account + name)

    def hash(self, data: bytes) -> bytes:
        return hashlib.blake2b(data, key=self.names, digest_size=16).digest()

    def stamp(self, row: bytes, plaintext: bytes) -> bytes:
        return b"\x02" + plaintext + bindings.crypto_shorthash_siphash24(b"\x02" + row + plaintext, self.stamps)

    def open(self, row: bytes, value: bytes) -> bytes:
        if row[0] in STAMPED and value[0] == 2:
            assert value == self.stamp(row, value[1:-8])
            return value[1:-8]
        assert value[0] == 1
        return unseal(self.values, value[1:], b"\x01" + row)

    def seal(self, row: bytes, plaintext: bytes) -> bytes:
        if row[0] in STAMPED:
            return self.stamp(row, plaintext)
        return b"\x01" + seal(self.values, plaintext, b"\x01" + row)


def credential(data: bytes) -> Credential:
    r = Reader(data)
    assert r.number("B") == 1
    location = r.number("B")
    version, created, updated = r.number("Q"), r.number("q"), r.number("q")
    expires, purge = r.number("q"), r.number("q")
    user, project, name, label, provider = (r.field().decode() for _ in range(5))
    pairs = Reader(r.field("I"))
    attributes = {}
    while pairs.at < len(pairs.data):
        key = pairs.field().decode()
        attributes[key] = pairs.field().decode()
    size = r.number("I")
    secret = r.take(size) if location == 0 else None
    vault_id = r.take(16) if location == 2 else None
    assert r.at == len(data)
    return Credential(user, project, name, label, provider, attributes, version, created, updated,
                      expires, purge, secret, vault_id, size)


def encode(c: Credential) -> bytes:
    def field(text: str) -> bytes:
        return struct.pack("<H", len(text.encode())) + text.encode()

    assert c.secret is not None
    pairs = b"".join(field(k) + field(v) for k, v in c.attributes.items())
    return (b"\x01\x00" + struct.pack("<Qqqqq", c.version, c.created, c.updated, c.expires, c.purge)
            + b"".join(map(field, (c.user, c.project, c.name, c.label, c.provider)))
            + struct.pack("<I", len(pairs)) + pairs + struct.pack("<I", len(c.secret)) + c.secret)


@dataclass
class Account:
    id: bytes
    created: int
    seed: bytes
    secret: bytes
    signing: bytes
    agreement: bytes
    name: bytes

    def matches(self) -> bool:
        """Whether the public keys are those of the secret ones."""
        return (bindings.crypto_sign_seed_keypair(self.seed)[0] == self.signing
                and bindings.crypto_scalarmult_base(self.secret) == self.agreement)


def account(id: bytes, data: bytes) -> Account:
    r = Reader(data)
    assert r.number("B") == 1
    found = Account(id, r.number("q"), *(r.take(32) for _ in range(4)), r.field())
    assert r.at == len(data)
    return found


# ---------------------------------------------------------------- sessions, outbox, schedule


class Layout:
    """The parts of a record in their order, "name form" each. A form is a number's letter or a count of
    bytes as struct has them; H* and B*: a field with such a length; *: the rest; or, in brackets, a
    layout that is repeated, behind a count (B unless it says otherwise), or one for each value of the
    byte before it."""

    def __init__(
            self, *parts: Union[str, Tuple[str, "Layout"], Tuple[str, "Choice"]], count: str = "B") -> None:
        self.count = count
        self.parts: List[Tuple[str, Any]] = [
            (part.split()[0], part.split()[1]) if isinstance(part, str) else part
            for part in parts]

    def take(self, r: Reader) -> SimpleNamespace:
        found = SimpleNamespace()
        for name, form in self.parts:
            if isinstance(form, Layout):
                value: Any = [form.take(r) for _ in range(r.number(form.count))]
            elif isinstance(form, dict):
                which = r.number("B")
                value = SimpleNamespace(which=which, **vars(form[which].take(r)))
            elif form == "*":
                value = r.rest()
            elif form.endswith("*"):
                value = r.field(form[:-1])
            else:
                value = r.take(int(form[:-1])) if form.endswith("s") else r.number(form)
            setattr(found, name, value)
        return found

    def give(self, values: SimpleNamespace) -> bytes:
        data = b""
        for name, form in self.parts:
            value = getattr(values, name)
            if isinstance(form, Layout):
                data += struct.pack("<" + form.count, len(value)) + b"".join(map(form.give, value))
            elif isinstance(form, dict):
                data += bytes([value.which]) + form[value.which].give(value)
            elif form.endswith("*"):
                data += (struct.pack("<" + form[:-1], len(value)) if form != "*" else b"") + value
            else:
                data += struct.pack("<" + form, value)
        return data


Choice = Dict[int, Layout]


class Kind(NamedTuple):
    """What a key holds behind its first byte, big endian (T: a time; *: the rest), and what is sealed."""

    key: str
    value: Layout
    has_format: bool = True

    def parts(self) -> List[List[str]]:
        return [part.split() for part in self.key.split(", ") if part]

    def form(self, rest: int = 0) -> str:
        return ">" + "".join(form.replace("T", "Q").replace("*", f"{rest}s") for _, form in self.parts())


KEYS = ("signing 32s", "agreement 32s")
PACKAGE = Layout("created q", "secret 32s", "kem H*", "published H*")
LANES = "forgotten I", ("lanes", Layout("lane 8s", "first I", "last I"))
INBOUND = "receiving 32s", "received I", *LANES
SESSION = Layout(
    "side B", "suite B", "account 16s", "created q", "not_after q", *KEYS, "name B*", "filters 32s",
    "prev_len I", "sending 32s", "sent I", *INBOUND, ("previous", Layout(*INBOUND)), "skipped I", "told B",
    "welcome H*",
    # Pace
    "messages I", "bytes Q", "interval q", "perfect B", "queue I", "begun q", "sent_bytes Q",
    "next_epoch I", "queued I", "nudged q", "window q", "answers I",
    # Rekeying
    "epoch I", "heard I", "wanted I", "attempts I", "root 32s",
    ("finished", Layout("target I", "offer 16s", "of_answer 32s", "of_finish 32s")),
    ("phase", {
        0: Layout(), 1: Layout("offer 16s", "pair H*"),
        2: Layout("offer 16s", "answer H*", "root 32s", "chains 64s", "of_answer 32s", "of_finish 32s"),
        3: Layout()}))
ASKING: Choice = {1: Layout("seq Q"), 2: Layout("at q")}
ROTATION = Layout(
    "rotate q", "lifetime q", "keep q", "welcome_delay q", "welcome_pause q", "readback q", "pool I",
    "floor I", "rotate_at q", "readback_at q", "asked Q", "last_welcome q", "available I", "next_key I",
    ("current", Layout("id 16s", "not_after q", "expired B")),
    ("staged", Layout(
        "id 16s", "not_after q", "keys I", "drawn q", "rotate_at q", ("asking", ASKING))),
    ("batch", Layout("first I", "count I", ("asking", ASKING))),
    ("superseded", Layout("id 16s", "remove_at q", count="I")))
VERSION = "number B*", "body 106s"
CREATION = "secret 32s", "escrow B", ("replaces", Layout(*VERSION))
RETRY = "put_off B", "until q"
HELD = Layout(*VERSION, "secret 32s")
BACKUP = Layout(
    "revision Q", "next Q", "asked Q", "upload_asked Q", "restore_asked Q", "secret_asked Q", "on B", "stopped B",
    "again B", "highest Q", "failures I", "changes Q", "fill Q", "successor 32s", "whole 32s", "phase B", "until q", "goal B",
    "left B", ("server", {0: Layout(), 1: Layout(), 2: Layout(*VERSION, "count Q")}), ("active", Layout(*VERSION)),
    ("key", HELD), ("offered", HELD), ("wish", Layout(*CREATION)), ("making", Layout(*CREATION, "body 106s")),
    ("doomed", Layout(*VERSION)), ("received", Layout("secret 32s", "highest Q", "asked B")),
    ("uploading", Layout(*VERSION)), "acknowledged Q", "up_to Q", "upload_failures I", "upload_put_off B",
    "upload_until q",
    ("restore", Layout(*VERSION, "cursor B*", "imported Q", "known Q", "improved Q", "undecryptable Q", "malformed Q",
                       "foreign Q", "failures I", *RETRY, "stopped B")),
    ("fetches", Layout("request Q", "place 16s")), ("misses", Layout("place 16s", "failures I", "until q")))
KINDS = {
    0x11: Kind("", Layout("number Q"), False),
    0x31: Kind("account 16s", Layout("suite B", "unconfirmed I", "history *")),
    0x32: Kind("account 16s, package 16s", PACKAGE),
    0x33: Kind("account 16s, package 16s, number Q", PACKAGE),
    0x34: Kind("account 16s, package 16s, ephemeral 16s", Layout("session 16s"), False),
    0x35: Kind("account 16s, hash 16s", Layout(
        "trust B", "suite B", *KEYS, "changed q", "reset q", ("waiting", Layout(*KEYS, "suite B")), "sending B",
        "name B*", ("sessions", Layout("id 16s", "created q", "flags B")))),
    0x36: Kind("account 16s", ROTATION),
    0x37: Kind("account 16s, half 8s, epoch I, session 16s, direction B", Layout(
        "created q", "first I", "end I", "marks B", "filter 16s", "chain 32s", *KEYS, "name B*")),
    0x38: Kind("id 16s", SESSION),
    0x39: Kind("session 16s, epoch I, index I", Layout("until q", "message_key 32s")),
    0x3A: Kind("session 16s, epoch I, index I", Layout("hash 32s", "message *")),
    0x3B: Kind("session 16s, epoch Q", Layout("until q", "end I", *LANES)),
    0x3C: Kind("session 16s, number Q", Layout("message *"), False),
    0x3D: Kind("id 16s", SESSION),
    0x41: Kind("lane 17s, number Q", Layout("attempts I", "failures I", "free q")),
    0x42: Kind("number Q", Layout(
        "lane 17s", "what I", "count Q", "created q", "account 16s", "session 16s", *KEYS, "name H*",
        "body *")),
    0x43: Kind("free T, number Q, lane 17s", Layout(), False),
    0x50: Kind("due T, kind B, subject 16s", Layout("failures I", "cause B", "detail B*")),
    0x51: Kind("kind B, subject 16s", Layout("due q"), False),
    0x53: Kind("", Layout("time q"), False),
    0x54: Kind("kind B, subject 16s", Layout("failures I", "cause B", "detail B*", "since q")),
    0x60: Kind("account 16s", BACKUP),
    0x61: Kind("account 16s, number Q", Layout("row *"), False),
    0x62: Kind("account 16s, row *", Layout("number Q", "first I", "kind B", "id 16s")),
    0x63: Kind("account 16s, generation Q, hash 8s", Layout(
        ("writers", Layout("writer 16s", "counter Q", "root 32s", count="H")))),
    0x64: Kind("user 16s, project 16s, account 16s", Layout("user_name H*", "project_name H*"), False),
    0x65: Kind("account 16s", Layout(
        "version 32s", "before 80s", "count Q", "up_to Q", "full 32s", "root 32s")),
    0x66: Kind("account 16s, generation Q, hash 8s, number Q", Layout("entries *"), False),
    0x67: Kind("account 16s, place 16s", Layout(
        "writer 16s", "number Q", "first I", "kind B", "hash 32s", "standing B")),
    0x68: Kind("account 16s, writer 16s, number Q", Layout("content *"), False),
}
# Ticket, item, job time and clock.
STAMPED = (0x11, 0x41, 0x51, 0x53)

# What a mark in place of a sealed record says.
MARKED = {0x41: b"\x01" + struct.pack("<IIq", 0, 0, AT_ONCE), 0x43: b""}
Records = Dict[int, List[SimpleNamespace]]


def untouched(begun: int, root: bytes) -> Dict[str, Any]:
    """What a session's record holds of rekeying at its beginning."""
    return dict(
        prev_len=0, sent=0, received=0, forgotten=0, lanes=[], previous=[], skipped=0, told=0, messages=0,
        bytes=0, interval=0, perfect=0, queue=0, begun=begun, sent_bytes=0, next_epoch=0, queued=0,
        nudged=AT_ONCE, window=AT_ONCE, answers=0, epoch=0, heard=0, wanted=0, attempts=0, root=root,
        finished=[], phase=SimpleNamespace(which=0))


def read_records(path: str, kind: int, secret: bytes) -> Tuple[Records, Keys]:
    """All records of sessions, outbox and schedule of a closed store's file, in the order of keys."""
    rows, keys = unlock(path, kind, secret)
    found: Records = {number: [] for number in KINDS}
    for row in sorted(row for row in rows if row[0] in KINDS):
        shape = KINDS[row[0]]
        r = Reader(MARKED[row[0]] if rows[row] == b"\x01" else keys.open(row, rows[row]))
        assert not shape.has_format or r.number("B") == 1
        record = shape.value.take(r)
        assert r.at == len(r.data)
        rest = len(row) - 1 - struct.calcsize(shape.form())
        for (name, form), value in zip(shape.parts(), struct.unpack(shape.form(rest), row[1:])):
            setattr(record, name, value - 2**63 if form == "T" else value)
        found[row[0]].append(record)
    return found, keys


def seal_record(kind: int, record: SimpleNamespace, keys: Keys) -> Tuple[bytes, bytes]:
    """A row and its value. What only the store's keys give is filled in: the key of a peer."""
    if kind == 0x35:
        record.hash = keys.peer(record.account, record.name)
    shape = KINDS[kind]
    parts = [getattr(record, name) + 2**63 if form == "T" else getattr(record, name)
             for name, form in shape.parts()]
    rest = sum(len(getattr(record, name)) for name, form in shape.parts() if form == "*")
    row = bytes([kind]) + struct.pack(shape.form(rest), *parts)
    return row, keys.seal(row, (b"\x01" if shape.has_format else b"") + shape.value.give(record))


def publication(body: bytes, count: int) -> Tuple[bytes, List[bytes]]:
    """The package (empty: none) and the one-time keys that a request to publish carries."""
    r = Reader(body)
    package, keys = r.field(), r.rest()
    size = len(keys) // max(count, 1)
    assert size * count == len(keys)
    return package, [keys[at * size:(at + 1) * size] for at in range(count)]


def ephemeral_hash(ephemeral: bytes) -> bytes:
    """What the row of an accepted welcome is found by."""
    return hashlib.blake2b(ephemeral, digest_size=16).digest()


def fingerprint(signing: bytes, agreement: bytes, name: bytes) -> bytes:
    h = b""
    for _ in range(5200):
        h = kdf(b"", "pawl/1 safety number", b"\x01", h, signing, agreement, name, size=64)
    return h


def safety(*sides: Tuple[bytes, bytes, bytes]) -> Tuple[str, bytes]:
    """The safety number and the safety code of two sides: signing key, agreement key and name."""
    low, high = sorted(fingerprint(*side) for side in sides)
    numbers = [int.from_bytes(h[at:at + 5], "big") for h in (low, high) for at in range(0, 30, 5)]
    return (" ".join(f"{number % 100_000:05}" for number in numbers),
            b"\x01" + low[:32] + high[:32])


def unlock(path: str, kind: int, secret: bytes) -> Tuple[Dict[bytes, bytes], Keys]:
    """The rows of a closed store's file and the keys to them."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        assert db.execute("PRAGMA application_id").fetchone()[0] == 0x5041574C
        assert db.execute("PRAGMA user_version").fetchone()[0] == 1
        rows = dict(db.execute("SELECT k, v FROM kv"))
    finally:
        db.close()
    header = rows.pop(b"\x01")
    assert header[0] == 1 and len(header) == 25
    slots = [Slot(value) for row, value in rows.items() if row[0] == 2]
    assert all(slot.store == header[1:17] for slot in slots)
    master = next(m for m in (slot.unwrap(kind, secret) for slot in slots) if m is not None)
    return rows, Keys(master)


def accounts(path: str, kind: int, secret: bytes) -> List[Account]:
    """The accounts of a closed store's file, in the order of their ids."""
    rows, keys = unlock(path, kind, secret)
    found = [row for row in sorted(rows) if row[0] == 0x30]
    assert all(len(row) == 17 for row in found)
    return [account(row[1:], keys.open(row, rows[row])) for row in found]


def read(path: str, kind: int, secret: bytes) -> Tuple[List[Credential], List[Credential], int]:
    """Current and deleted credentials and the last version of a closed store's file."""
    rows, keys = unlock(path, kind, secret)
    sequence = struct.unpack("<Q", keys.open(b"\x10", rows[b"\x10"]))[0] if b"\x10" in rows else 0
    found: Dict[int, List[Credential]] = {0x20: [], 0x22: []}
    for row, value in rows.items():
        if row[0] not in found:
            continue
        c = credential(keys.open(row, value))
        path_ = keys.path(c.user, c.project, c.name)
        version = struct.pack(">Q", c.version)
        assert row[1:] == path_ + (version if row[0] == 0x22 else b"")
        if c.secret is None and c.vault_id is None:
            secret_row = b"\x21" + path_ + version
            c.secret = keys.open(secret_row, rows[secret_row])
            assert len(c.secret) == c.size
        found[row[0]].append(c)
    return found[0x20], found[0x22], sequence


def write(path: str, raw: bytes, credentials: List[Credential],
          accounts: Sequence[Account] = (), records: Optional[Records] = None) -> None:
    """A store file made from the page, which Pawl must open."""
    master, store = os.urandom(32), os.urandom(16)
    keys = Keys(master)
    rows = {b"\x01": b"\x01" + store + bytes(8), b"\x02\x00": write_slot(store, master, raw)}
    sequence = max((c.version for c in credentials), default=0)
    rows[b"\x10"] = keys.seal(b"\x10", struct.pack("<Q", sequence))
    for c in credentials:
        row = b"\x20" + keys.path(c.user, c.project, c.name)
        rows[row] = keys.seal(row, encode(c))
    for a in accounts:
        row = b"\x30" + a.id
        rows[row] = keys.seal(row, b"\x01" + struct.pack("<q", a.created) + a.seed + a.secret
                              + a.signing + a.agreement + struct.pack("<H", len(a.name)) + a.name)
    rows.update(seal_record(kind, record, keys)
                for kind, several in (records or {}).items() for record in several)
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA application_id=0x5041574C")
    db.execute("PRAGMA user_version=1")
    db.execute("CREATE TABLE kv(k BLOB PRIMARY KEY, v BLOB NOT NULL)")
    db.executemany("INSERT INTO kv VALUES(?, ?)", rows.items())
    db.commit()
    db.close()
