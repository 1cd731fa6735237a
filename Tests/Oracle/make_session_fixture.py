"""make_session_fixture.py writes session-1.pawl, as StorageFormat.md says, from the vectors' secrets.

Two accounts: the initiator with its side of both sessions, as right after their starts, and the
responder with its package and one-time keys. The vectors' frames can be received in it. Once released
it is never made again."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List, Tuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]

import read_store  # noqa: E402
from read_store import AT_ONCE, Account, Records, untouched  # noqa: E402

VECTORS = HERE.parent / "Vectors" / "session-1.json"
TARGET = HERE.parent / "Fixtures" / "session-1.pawl"
RAW, INITIATOR, RESPONDER = bytes(range(32)), bytes(range(16)), bytes(range(16, 32))
DAY = 86_400 * 10**9
OUTBOUND, SENDABLE = 1, 4
SET_UP_DEADLINE = 3


def h(*texts: str) -> bytes:
    return bytes.fromhex("".join(texts))


def account(id: bytes, it: Dict[str, str], now: int) -> Account:
    return Account(id, now, h(it["signing_seed"]), h(it["agreement_secret"]), h(it["signing_key"]),
                   h(it["agreement_key"]), it["name"].encode())


def content(vectors: Dict[str, Any]) -> Tuple[List[Account], Records]:
    now, package, its = vectors["now"] * 10**6, vectors["package"], vectors["responder"]
    ids = [h(session["ids"][0]) for session in vectors["sessions"]]
    theirs = {"signing": h(its["signing_key"]), "agreement": h(its["agreement_key"]),
              "name": its["name"].encode()}
    deadlines = [{"kind": SET_UP_DEADLINE, "subject": id, "due": now + DAY} for id in ids]
    private = {"account": RESPONDER, "package": h(package["id"]), "created": now, "kem": b""}
    return [account(INITIATOR, vectors["initiator"], now), account(RESPONDER, its, now)], {
        0x32: [SimpleNamespace(
            **private, secret=h(package["init_secret"]), published=h(package["bytes"]))],
        0x33: [SimpleNamespace(
            **private, number=key["id"], secret=h(key["secret"]), published=h(key["bytes"]))
            for key in vectors["one_time_keys"]],
        0x35: [SimpleNamespace(
            **theirs, account=INITIATOR, trust=0, suite=1, changed=now, reset=AT_ONCE, waiting=[],
            sending=len(ids) - 1, sessions=[SimpleNamespace(
                id=id, created=vectors["now"], flags=OUTBOUND | SENDABLE) for id in ids])],
        0x38: [SimpleNamespace(
            **theirs, id=id, account=INITIATOR, side=0, suite=1, created=session["created"],
            not_after=package["not_after"], filters=h(*session["filters"]),
            sending=h(session["chains"][0]), receiving=h(session["chains"][1]),
            **untouched(now, h(session["root"])),
            welcome=h(session["welcome"])) for id, session in zip(ids, vectors["sessions"])],
        0x50: [SimpleNamespace(**job, failures=0, cause=0, detail=b"") for job in deadlines],
        0x51: [SimpleNamespace(**job) for job in deadlines]}


def load() -> Dict[str, Any]:
    return dict(json.loads(VECTORS.read_text(encoding="utf-8")))


if __name__ == "__main__":
    assert not TARGET.exists(), "a fixture is never made again"
    read_store.write(str(TARGET), RAW, [], *content(load()))
    TARGET.with_suffix(".json").write_text(json.dumps(
        {"key": RAW.hex(), "initiator": INITIATOR.hex(), "responder": RESPONDER.hex()}, indent=1) + "\n")
