"""Pawl and the independent reader agree on every byte, in both directions; old formats open for ever."""

import json
import shutil
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from nacl import bindings
from nacl.exceptions import BadSignatureError

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
