# SPDX-License-Identifier: Apache-2.0
"""Tests/Vectors/session-1.json, which another program made, in a store that it made as well.

Tests/Fixtures/session-1.pawl holds both sides' secrets: the initiator's two sessions as right
after their starts, the responder's package. Derivations are out of reach here; the core's tests
have them.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Dict, Iterator

import pytest

from doubles import Time, refused
from pawl import Identity, RawKey, Status, Store, Suite

TESTS = Path(__file__).parents[3] / "Tests"
VECTORS: Dict[str, Any] = json.loads((TESTS / "Vectors" / "session-1.json").read_text("utf-8"))
FIXTURE = TESTS / "Fixtures" / "session-1.pawl"
HELD: Dict[str, str] = json.loads(FIXTURE.with_suffix(".json").read_text("utf-8"))
ACCOUNTS = {side: bytes.fromhex(HELD[side]) for side in ("initiator", "responder")}
NAME: str = VECTORS["responder"]["name"]
PACKAGE = bytes.fromhex(VECTORS["package"]["bytes"])
MILLISECOND = 1_000_000


@pytest.fixture
def store(key: RawKey, clock: Time) -> Iterator[Store]:
    clock.now = VECTORS["now"] * MILLISECOND
    with Store.memory(key=key, clock=clock) as store:
        yield store


@pytest.fixture
def held(path: Path, clock: Time) -> Iterator[Store]:
    """A copy of the fixture, at the time of the vectors."""
    shutil.copy(FIXTURE, path)
    clock.now = VECTORS["now"] * MILLISECOND
    with Store.open(path, key=RawKey(bytes.fromhex(HELD["key"])), clock=clock) as store:
        assert store.verify() == []
        yield store


def session_ids(session: Dict[str, Any]) -> Dict[str, bytes]:
    return dict(zip(ACCOUNTS, map(bytes.fromhex, session["ids"])))


@pytest.mark.parametrize("session", VECTORS["sessions"], ids=["long", "short"])
def test_first_message(held: Store, session: Dict[str, Any]) -> None:
    """The stored initiator's first message begins as that of the vectors; its peer reads it."""
    ids = session_ids(session)
    row = held.session(ids["initiator"])
    assert (row.initiator, row.confirmed, row.received, row.skipped) == (True, False, 0, 0)
    assert row.created_ns == session["created"] * MILLISECOND and row.peer.name == NAME
    frame = held.encrypt(ids["initiator"], b"hello")
    assert frame[:22] == bytes.fromhex(session["frames"][0]["bytes"])[:22]
    assert frame[56:].startswith(bytes.fromhex(session["welcome"]))
    received = held.receive(ACCOUNTS["responder"], frame)
    assert (received.plaintext, received.session) == (b"hello", ids["responder"])
    answer = held.encrypt(ids["responder"], b"answer")
    assert held.receive(ACCOUNTS["initiator"], answer).plaintext == b"answer"
    assert held.session(ids["initiator"]).confirmed


@pytest.mark.parametrize("session", VECTORS["sessions"], ids=["long", "short"])
def test_deliveries(held: Store, session: Dict[str, Any]) -> None:
    ids, joined = session_ids(session), False
    assert {delivery["to"] for delivery in session["deliveries"]} == set(ids)
    for delivery in session["deliveries"]:
        frame, side = session["frames"][delivery["frame"]], delivery["to"]
        data, id = bytes.fromhex(frame["bytes"]), ids[side]
        if delivery["status"] == "OK":
            received = held.receive(ACCOUNTS[side], data)
            text = delivery["text"]
            assert received.plaintext == (None if text is None else bytes.fromhex(text))
            assert (received.session, received.epoch) == (id, 0)
            assert received.index == frame["index"]
            assert received.new_session == (side == "responder" and not joined)
            joined |= received.new_session
        else:
            with refused(Status[delivery["status"]]):
                held.receive(ACCOUNTS[side], data)
        row = held.session(id)
        assert (row.received, row.skipped) == (delivery["next"], len(delivery["skipped"]))


def test_refused_frames(held: Store) -> None:
    responder = ACCOUNTS["responder"]
    for case in VECTORS["refused_frames"]:
        with refused(Status[case["status"]]):
            held.receive(responder, bytes.fromhex(case["bytes"]))
            pytest.fail(case["why"])
    assert VECTORS["refused_frames"] and held.peers(responder) == []
    assert [row.one_time_count for row in held.packages(responder)] == [2]


@pytest.mark.parametrize("one_time", ["", *(key["bytes"] for key in VECTORS["one_time_keys"])])
def test_packages(store: Store, one_time: str) -> None:
    """A session with the peer of the vectors starts, and its first frame names what it used."""
    account = store.create_account(VECTORS["initiator"]["name"])
    key = bytes.fromhex(one_time) if one_time else b""
    session = store.start_session(account, NAME, PACKAGE + key)
    row = store.session(session)
    responder = VECTORS["responder"]
    signing_key, agreement_key = map(
        bytes.fromhex, (responder["signing_key"], responder["agreement_key"])
    )
    assert row.peer == Identity(signing_key, agreement_key, NAME)
    assert row.suite is Suite.X25519 and row.initiator
    frame = store.encrypt(session, b"hello")
    one_time_id = key[18:22] or bytes(4)
    assert frame[:10] == b"\1\2" + session[:8]
    assert NAME.encode() in frame
    assert bytes.fromhex(VECTORS["package"]["id"]) + one_time_id in frame


@pytest.mark.parametrize("case", VECTORS["refused_packages"], ids=lambda case: case["why"])
def test_refused_packages(store: Store, case: Dict[str, str]) -> None:
    account = store.create_account("ada")
    with refused(Status[case["status"]]):
        store.start_session(account, NAME, bytes.fromhex(case["bytes"]))
    assert store.sessions(account, NAME) == [] and store.peers(account) == []
    store.start_session(account, NAME, PACKAGE)


def test_refused_packages_of_a_known_peer(held: Store) -> None:
    initiator = ACCOUNTS["initiator"]
    before = held.peers(initiator), held.sessions(initiator, NAME)
    for case in VECTORS["refused_packages"]:
        with refused(Status[case["status"]]):
            held.start_session(initiator, NAME, bytes.fromhex(case["bytes"]))
            pytest.fail(case["why"])
    assert VECTORS["refused_packages"] and len(before[1]) == 2
    assert (held.peers(initiator), held.sessions(initiator, NAME)) == before


def test_frames_for_others(store: Store) -> None:
    """Who holds none of the private halves can read no frame, and is not disturbed by any."""
    account = store.create_account(NAME)
    for session in VECTORS["sessions"]:
        for frame in session["frames"]:
            with refused(Status.NOT_FOUND):
                store.receive(account, bytes.fromhex(frame["bytes"]), keep=True)
    assert store.peers(account) == [] and store.take() == []
