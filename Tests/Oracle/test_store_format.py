"""Pawl and the independent reader agree on every byte, in both directions; old formats open for ever."""

import json
import shutil
import sys
from datetime import timedelta
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "Bindings" / "Python" / "src")]

import pawl  # noqa: E402
import read_store  # noqa: E402

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
