"""An independent reader and writer of backups, from Protocol.md, "Backups", alone.

It shares no line with Pawl, so that what both agree on is what the page says."""

import hashlib
import struct
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Tuple

from nacl import bindings

from read_store import Reader, kdf

NOTHING = bytes(32)
LIMIT = 2**31 - 1
OWN, IMPORTED, MANIFEST, PAGE = 1, 2, 3, 4
PAGE_SIZE = 128
DELETED, CREDENTIAL, HISTORY = 0, 1, 2
SECOND, YEAR_2025 = 10**9, 1_735_689_600


def hashed(label: str, *inputs: bytes, size: int = 32) -> bytes:
    """As KDF, without a key."""
    message = b"".join(struct.pack("<I", len(x)) + x for x in (label.encode(), *inputs))
    return hashlib.blake2b(message, digest_size=size).digest()


def seal(key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
    return nonce + bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, associated, nonce, key)


def unseal(key: bytes, sealed: bytes, associated: bytes) -> bytes:
    return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(sealed[24:], associated, sealed[:24], key)


def header(first: int, kind: int) -> bytes:
    return struct.pack("<BIB", 1, first, kind)


def rank(entry: bytes) -> Tuple[int, int, bytes]:
    form, first, kind = struct.unpack("<BIB", entry[:6])
    assert form == 1
    return first, kind, hashed("pawl/1 backup rank", entry)


def two_numbers(entry: bytes) -> Tuple[int, int]:
    """What a server compares that has two numbers."""
    first, kind, digest = rank(entry)
    return first, (kind - 1 & 3) << 29 | int.from_bytes(digest[:4], "big") >> 3


def credential_name(user: bytes, project: bytes, name: bytes) -> bytes:
    return b"\x01" + hashed("pawl/1 backup credential", user, project, name, size=16) + bytes(8)


def history_name(session: bytes, epoch: int, by_responder: bool) -> bytes:
    return b"\x02" + session + struct.pack("<II", epoch, by_responder)


def credential_first(time: int, before: Optional[int] = None) -> int:
    first = LIMIT - min(max(time // SECOND - YEAR_2025, 0), LIMIT)
    return first if before is None else min(first, max(before - 1, 0))


@dataclass(frozen=True)
class Listed:
    number: int
    place: bytes
    first: int
    kind: int
    digest: bytes

    def encode(self) -> bytes:
        return struct.pack("<Q16sIB32s", self.number, self.place, self.first, self.kind, self.digest)


@dataclass(frozen=True)
class Item:
    name: bytes
    writer: bytes
    number: int
    first: int
    kind: int
    content: bytes

    def facts(self) -> bytes:
        return self.name + self.writer + struct.pack("<Q", self.number)


@dataclass(frozen=True)
class Manifest:
    writer: bytes
    counter: int
    time: int
    count: int
    root: bytes
    others: List[Tuple[bytes, int]] = field(default_factory=list)

    def vouched(self) -> bytes:
        return (b"\x01" + self.writer + struct.pack("<QqQ", self.counter, self.time, self.count) + self.root
                + struct.pack("<H", len(self.others))
                + b"".join(writer + struct.pack("<Q", counter) for writer, counter in self.others))


@dataclass(frozen=True)
class Page:
    writer: bytes
    number: int
    entries: List[Listed]
    counter: int


class Backup:
    """One version, and what its secret opens."""

    def __init__(self, secret: bytes, body: bytes) -> None:
        assert len(secret) == 32 and len(body) == 106
        self.secret, self.body = secret, body
        self.check, self.manifest, self.places, self.name = (
            kdf(secret, "pawl/1 backup " + purpose) for purpose in ("check", "manifest", "place", "name"))
        r = Reader(body)
        assert (r.number("B"), r.number("B")) == (1, 1)
        self.generation = r.number("Q")
        self.previous, self.public = r.take(32), r.take(32)
        assert r.rest() == kdf(self.check, "pawl/1 backup mac", body[:74]), "another secret's"
        assert self.public == bindings.crypto_scalarmult_base(kdf(secret, "pawl/1 backup identity"))
        self.hash = hashed("pawl/1 backup version", body)

    @classmethod
    def new(cls, secret: bytes, generation: int = 1, previous: bytes = NOTHING) -> "Backup":
        public = bindings.crypto_scalarmult_base(kdf(secret, "pawl/1 backup identity"))
        vouched = b"\x01\x01" + struct.pack("<Q", generation) + previous + public
        mac = kdf(kdf(secret, "pawl/1 backup check"), "pawl/1 backup mac", vouched)
        return cls(secret, vouched + mac)

    def place(self, name: bytes) -> bytes:
        assert len(name) == 25
        return kdf(self.places, "pawl/1 backup place", name, size=16)

    def manifest_place(self, writer: bytes) -> bytes:
        return self.place(b"\xff" + writer + bytes(8))

    def page_place(self, writer: bytes, number: int) -> bytes:
        return self.place(b"\xfe" + writer + struct.pack("<Q", number))

    def seal(self, item: Item) -> Tuple[bytes, bytes]:
        """A place, and what belongs there."""
        place, head = self.place(item.name), header(item.first, item.kind)
        inside = self.hash + item.facts() + head
        key = kdf(self.secret, "pawl/1 backup item", inside)
        nonce = kdf(key, "pawl/1 backup nonce", item.content, size=24)
        return place, (head + seal(self.name, nonce, item.facts(), self.hash + place + head)
                       + seal(key, nonce, item.content, inside))

    def open(self, place: bytes, entry: bytes) -> Item:
        head, sealed_name, content = entry[:6], entry[6:95], entry[95:]
        facts = unseal(self.name, sealed_name, self.hash + place + head)
        inside = self.hash + facts + head
        key = kdf(self.secret, "pawl/1 backup item", inside)
        first, kind = struct.unpack("<xIB", head)
        item = Item(facts[:25], facts[25:41], struct.unpack("<Q", facts[41:])[0], first, kind,
                    unseal(key, content, inside))
        assert self.place(item.name) == place and self.seal(item) == (place, entry)
        return item

    def write_manifest(self, manifest: Manifest) -> Tuple[bytes, bytes]:
        vouched = manifest.vouched()
        return self.manifest_place(manifest.writer), (
            header(LIMIT - min(manifest.counter, LIMIT), MANIFEST) + vouched
            + kdf(self.manifest, "pawl/1 backup writer", self.hash, vouched))

    def read_manifest(self, place: bytes, entry: bytes) -> Manifest:
        r = Reader(entry[6:-32])
        assert r.number("B") == 1
        writer, counter, time, count, root = (
            r.take(16), r.number("Q"), r.number("q"), r.number("Q"), r.take(32))
        found = Manifest(writer, counter, time, count, root, [
            (r.take(16), r.number("Q")) for _ in range(r.number("H"))])
        assert r.at == len(r.data) and found.others == sorted(found.others)
        assert self.write_manifest(found) == (place, entry)
        return found

    def write_page(self, page: Page) -> Tuple[bytes, bytes]:
        return self.page_place(page.writer, page.number), (
            header(LIMIT - min(page.counter, LIMIT), PAGE) + page.writer + struct.pack("<Q", page.number)
            + b"".join(listed.encode() for listed in page.entries))

    def read_page(self, place: bytes, entry: bytes) -> Page:
        r = Reader(entry[6:])
        found = Page(r.take(16), r.number("Q"), [], LIMIT - struct.unpack("<xI", entry[:5])[0])
        while r.at < len(r.data):
            found.entries.append(Listed(
                r.number("Q"), r.take(16), r.number("I"), r.number("B"), r.take(32)))
        assert 0 < len(found.entries) <= PAGE_SIZE and self.write_page(found) == (place, entry)
        return found

    def root(self, entries: List[Listed]) -> bytes:
        root = NOTHING
        for at in range(0, len(entries), PAGE_SIZE):
            page = b"".join(listed.encode() for listed in entries[at:at + PAGE_SIZE])
            root = kdf(self.manifest, "pawl/1 backup listing", root + page)
        return root

    def written(self, writer: bytes, items: List[Item], time: int, unlisted: Tuple[Item, ...] = (),
                others: Tuple[Tuple[bytes, int], ...] = ()) -> Dict[bytes, bytes]:
        """All that one writer puts on a server: items, their listing, and the manifest."""
        entries, listing = {}, []
        for item in items:
            place, entry = self.seal(item)
            entries[place] = entry
            listing.append(Listed(item.number, place, *rank(entry)))
        entries.update(self.seal(item) for item in unlisted)
        counter = max([item.number for item in items] + [item.number for item in unlisted] + [0]) + 1
        for at in range(0, len(listing), PAGE_SIZE):
            place, entry = self.write_page(
                Page(writer, at // PAGE_SIZE, listing[at:at + PAGE_SIZE], counter))
            entries[place] = entry
        place, entry = self.write_manifest(Manifest(
            writer, counter, time, len(listing), self.root(listing), sorted(others)))
        entries[place] = entry
        return entries
