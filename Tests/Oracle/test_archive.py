"""Archives, from Archives.md alone: what Pawl writes is read here, and what is written here Pawl reads."""

import io
import struct
import sys
from pathlib import Path
from typing import List, Tuple

import pytest
from nacl import bindings

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "Bindings" / "Python" / "src")]

import pawl  # noqa: E402
import read_store  # noqa: E402
from read_store import NEVER, kdf  # noqa: E402

RAW = bytes(range(32))
SCOPE = pawl.Scope("ada", "engine")
CHUNK = 65536
FINAL = bindings.crypto_secretstream_xchacha20poly1305_TAG_FINAL
MESSAGE = bindings.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE


def stretched(kind: int, secret: bytes, salt: bytes, passes: int, memory: int) -> bytes:
    if kind == 2:
        return bindings.crypto_pwhash_alg(
            32, secret, salt, passes, memory, bindings.crypto_pwhash_ALG_ARGON2ID13)
    return read_store.recovery_bytes(secret.decode(), "pawlbackup") if kind == 3 else secret


def read(archive: bytes, kind: int, secret: bytes) -> List[Tuple[int, bytes]]:
    assert archive[:8] == b"PAWLARC\1" and archive[8] == kind
    passes, memory = struct.unpack("<IQ", archive[33:45])
    derived = kdf(stretched(kind, secret, archive[17:33], passes, memory), "pawl/1 archive", archive[:45], size=64)
    assert archive[45:77] == derived[32:]
    header = archive[:101]
    state = bindings.crypto_secretstream_xchacha20poly1305_state()
    bindings.crypto_secretstream_xchacha20poly1305_init_pull(state, header[77:], derived[:32])
    plain, at, tag = b"", 101, MESSAGE
    while tag == MESSAGE:
        sealed = archive[at : at + CHUNK + 17]
        part, tag = bindings.crypto_secretstream_xchacha20poly1305_pull(state, sealed, header)
        assert tag == FINAL or len(part) == CHUNK
        plain, at = plain + part, at + len(sealed)
    assert tag == FINAL and at == len(archive)
    entries = []
    while plain:
        entry, size = struct.unpack("<BI", plain[:5])
        entries.append((entry, plain[5 : 5 + size]))
        assert len(entries[-1][1]) == size
        plain = plain[5 + size :]
    return entries


def write(entries: List[Tuple[int, bytes]], cut: int = 0, always: int = MESSAGE) -> bytes:
    head = b"PAWLARC\1" + struct.pack("<Bq", 1, 5) + bytes(16) + struct.pack("<IQ", 0, 0)
    derived = kdf(RAW, "pawl/1 archive", head, size=64)
    state = bindings.crypto_secretstream_xchacha20poly1305_state()
    header = head + derived[32:]
    header += bindings.crypto_secretstream_xchacha20poly1305_init_push(state, derived[:32])
    plain = b"".join(struct.pack("<BI", kind, len(body)) + body for kind, body in entries)
    plain = plain[: len(plain) - cut]
    archive = header
    for at in range(0, max(len(plain), 1), CHUNK):
        tag = FINAL if at + CHUNK >= len(plain) else always
        archive += bindings.crypto_secretstream_xchacha20poly1305_push(
            state, plain[at : at + CHUNK], header, tag)
    return archive


def record(name: bytes, secret: bytes, user: bytes = b"ada", expires: int = NEVER, location: int = 0,
           attributes: bytes = b"", form: int = 1) -> bytes:
    fields = b"".join(struct.pack("<H", len(x)) + x for x in (user, b"engine", name, b"", b""))
    return (struct.pack("<BBQqqqq", form, location, 7, 1, 2, expires, NEVER) + fields
            + struct.pack("<I", len(attributes)) + attributes + struct.pack("<I", len(secret)) + secret)


@pytest.mark.parametrize("kind", ["raw", "passphrase", "recovery"])
def test_the_oracle_reads_what_pawl_writes(kind: str) -> None:
    recovery = pawl.RecoveryKey.generate(backup=True)
    key, number, secret = {
        "raw": (pawl.RawKey(RAW), 1, RAW),
        "passphrase": (pawl.Passphrase("open sesame", memory=64 << 20, passes=3), 2, b"open sesame"),
        "recovery": (recovery, 3, recovery.text.encode()),
    }[kind]
    large = bytes(range(256)) * 1000
    file = io.BytesIO()
    with pawl.Store.memory(key=pawl.RawKey(bytes(32))) as store:
        store.put(SCOPE, "small", b"secret", label="l", provider="p", attributes={"a": "1", "b": ""})
        store.put(SCOPE, "large", large)
        store.put(SCOPE, "gone", b"x")
        store.delete(SCOPE, "gone")
        store.export(file, key)
    found = [read_store.credential(body) for entry, body in read(file.getvalue(), number, secret) if entry == 1]
    by_name = {c.name: c for c in found}
    assert set(by_name) == {"small", "large"} and by_name["large"].secret == large
    small = by_name["small"]
    assert (small.user, small.project, small.label, small.provider) == ("ada", "engine", "l", "p")
    assert small.attributes == {"a": "1", "b": ""} and small.secret == b"secret" and small.purge == NEVER


@pytest.mark.parametrize("size", [0, 4096, 4097, CHUNK - 52 - 14, CHUNK, 3 * CHUNK, 16 << 20])
def test_pawl_reads_what_the_oracle_writes(size: int) -> None:
    archive = write([(1, record(b"a", bytes(size))), (1, record(b"b", b"2"))])
    with pawl.Store.memory(key=pawl.RawKey(RAW)) as store:
        report = store.import_archive(io.BytesIO(archive), pawl.RawKey(RAW))
        assert report == pawl.ArchiveReport(2, 2, 0, 0, 0, 0)
        assert store.get(SCOPE, "a").secret == bytes(size) and store.get(SCOPE, "b").secret == b"2"


def test_an_archive_that_ends_with_a_full_chunk() -> None:
    body = record(b"a", b"")
    archive = write([(1, record(b"a", bytes(CHUNK - 5 - len(body))))])
    assert len(archive) == 101 + CHUNK + 17
    with pawl.Store.memory(key=pawl.RawKey(RAW)) as store:
        assert store.import_archive(io.BytesIO(archive), pawl.RawKey(RAW)).imported == 1


def test_an_end_between_entries_is_no_end() -> None:
    """Nothing but the tag tells that a whole chunk of whole entries is not all."""
    full = CHUNK - 5 - len(record(b"a", b""))
    entries = [(1, record(b"a", bytes(full))), (1, record(b"b", b"2"))]
    with pawl.Store.memory(key=pawl.RawKey(RAW)) as store:
        for bad in (write(entries)[: 101 + CHUNK + 17], write(entries, always=FINAL)):
            with pytest.raises(pawl.CorruptError):
                store.import_archive(io.BytesIO(bad), pawl.RawKey(RAW))
            assert list(store.iterate(SCOPE)) == []
        assert store.import_archive(io.BytesIO(write(entries)), pawl.RawKey(RAW)).imported == 2


def test_an_empty_archive() -> None:
    with pawl.Store.memory(key=pawl.RawKey(RAW)) as store:
        assert store.import_archive(io.BytesIO(write([])), pawl.RawKey(RAW)).credentials == 0


def test_what_cannot_be_used_costs_itself() -> None:
    good = (1, record(b"good", b"1"))
    pair = struct.pack("<H", 1) + b"a" + struct.pack("<H", 1) + b"b"
    bad = [
        (2, b"of a newer Pawl"), (0, b""), (1, b""), (1, b"x" * 1000), (1, good[1][:-1]), (1, good[1] + b"x"),
        (1, record(b"", b"1")), (1, record(b"n" * 257, b"1")), (1, record(b"n", b"1", user=b"")),
        (1, record(b"n\xff", b"1")), (1, record(b"n", b"1", location=1)), (1, record(b"n", b"x" * 16, location=2)),
        (1, record(b"n", b"1", attributes=b"x")), (1, record(b"n", b"1", attributes=pair * 2)),
        (1, record(b"n", b"1", form=2)), (1, record(b"n", bytes((16 << 20) + 1))),
    ]
    with pawl.Store.memory(key=pawl.RawKey(RAW)) as store:
        archive = write([*bad, good, (1, record(b"over", b"1", expires=3))])
        report = store.import_archive(io.BytesIO(archive), pawl.RawKey(RAW))
        assert (report.imported, report.expired, report.unreadable) == (1, 1, len(bad))
        assert [row.name for row in store.iterate(SCOPE)] == ["good"]


@pytest.mark.parametrize("cut", [1, 5, 50])
def test_half_an_entry_is_no_archive(cut: int) -> None:
    with pawl.Store.memory(key=pawl.RawKey(RAW)) as store:
        archive = write([(1, record(b"a", b"1")), (1, record(b"b", b"1"))], cut)
        with pytest.raises(pawl.CorruptError):
            store.import_archive(io.BytesIO(archive), pawl.RawKey(RAW))
        with pytest.raises(pawl.LimitError):
            store.import_archive(io.BytesIO(write([(1, bytes(17 << 20))])), pawl.RawKey(RAW))
        assert list(store.iterate(SCOPE)) == []
