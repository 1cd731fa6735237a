"""make_session_fixture.py writes session-1.pawl, session-2.pawl (suite 2) and rekeying-1.pawl, as StorageFormat.md says,
from the vectors' secrets.

In the first two are two accounts: the initiator with its side of both sessions, as right after their starts, and the
responder with its package and one-time keys. In the last are both sides of the vectors' rekeying as they are `held`: the
initiator's when it has offered epoch 1, the responder's when it has answered for epoch 2. The vectors' frames can be
received in both. Once released they are never made again."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List, Tuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "Vectors")]

import make_vectors  # noqa: E402
import read_store  # noqa: E402
import wire  # noqa: E402
from read_store import AT_ONCE, Account, Records, untouched  # noqa: E402

TARGET = HERE.parent / "Fixtures" / "session-1.pawl"
SUITE_2, REKEYING = TARGET.with_name("session-2.pawl"), TARGET.with_name("rekeying-1.pawl")
RAW, INITIATOR, RESPONDER = bytes(range(32)), bytes(range(16)), bytes(range(16, 32))
DAY = 86_400 * 10**9
OUTBOUND, CONFIRMED, SENDABLE = 1, 2, 4
SET_UP_DEADLINE, SKIPPED_KEYS, REKEY_RETRY = 3, 4, 6


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
    private = {"account": RESPONDER, "package": h(package["id"]), "created": now}
    suite = max(h(package["suites"]))
    return [account(INITIATOR, vectors["initiator"], now), account(RESPONDER, its, now)], {
        0x32: [SimpleNamespace(
            **private, secret=h(package["init_secret"]), kem=h(package.get("kem_secret", "")),
            published=h(package["bytes"]))],
        0x33: [SimpleNamespace(
            **private, number=key["id"], secret=h(key["secret"]), kem=h(key.get("kem_secret", "")),
            published=h(key["bytes"]))
            for key in vectors["one_time_keys"]],
        0x35: [SimpleNamespace(
            **theirs, account=INITIATOR, trust=0, suite=suite, changed=now, reset=AT_ONCE, waiting=[],
            sending=len(ids) - 1, sessions=[SimpleNamespace(
                id=id, created=vectors["now"], flags=OUTBOUND | SENDABLE) for id in ids])],
        0x38: [SimpleNamespace(
            **theirs, id=id, account=INITIATOR, side=0, suite=suite, created=session["created"],
            not_after=package["not_after"], filters=h(*session["filters"]),
            sending=h(session["chains"][0]), receiving=h(session["chains"][1]),
            **untouched(now, h(session["root"])),
            welcome=h(session["welcome"])) for id, session in zip(ids, vectors["sessions"])],
        0x50: [SimpleNamespace(**job, failures=0, cause=0, detail=b"") for job in deadlines],
        0x51: [SimpleNamespace(**job) for job in deadlines]}


def inbound(one: wire.Receiving) -> Dict[str, Any]:
    return {"receiving": one.chain, "received": one.next, "forgotten": one.forgotten,
            "lanes": [SimpleNamespace(lane=lane, first=first, last=last)
                      for lane, (first, last) in one.lanes.items()]}


def phase(state: Any) -> SimpleNamespace:
    if isinstance(state, wire.Offered):
        return SimpleNamespace(which=1, offer=state.id, pair=b"".join(state.pair))
    made = state.round
    return SimpleNamespace(
        which=2, offer=made.offer, answer=state.answer.body(), root=made.root, chains=b"".join(made.chains),
        of_answer=made.of_answer, of_finish=made.of_finish)


def side(s: wire.Session, now: int, not_after: int) -> Records:
    """All rows of one side of a session, in the account of its side."""
    account, until, ours = INITIATOR if s.initiator else RESPONDER, now * 10**6 + 7 * DAY, s.sending.filter
    its = {"signing": s.peer.signing, "agreement": s.peer.agreement, "name": s.peer.name}
    jobs = [{"kind": REKEY_RETRY, "subject": s.id, "due": (now + wire.FIRST_RETRY) * 10**6}]
    if s.skipped or s.closed:
        jobs.append({"kind": SKIPPED_KEYS, "subject": s.id, "due": until})
    changed = untouched(now * 10**6, s.rekey.root)
    changed.update(
        **inbound(s.receiving), previous=[SimpleNamespace(**inbound(one)) for one in [s.previous] if one],
        prev_len=s.sending.prev_len, sent=s.sending.index, skipped=len(s.skipped), epoch=s.rekey.epoch,
        heard=s.rekey.heard, wanted=s.rekey.wanted, phase=phase(s.rekey.state), finished=[])
    return {
        0x35: [SimpleNamespace(
            **its, account=account, trust=0, suite=1, changed=now * 10**6, reset=AT_ONCE, waiting=[],
            sending=0, sessions=[SimpleNamespace(
                id=s.id, created=now, flags=CONFIRMED | SENDABLE | (OUTBOUND if s.initiator else 0))])],
        0x38: [SimpleNamespace(
            **its, id=s.id, account=account, side=int(not s.initiator), suite=1, created=now, not_after=not_after,
            filters=ours + s.filter if s.initiator else s.filter + ours, sending=s.sending.chain, welcome=b"",
            **changed)],
        0x39: [SimpleNamespace(session=s.id, epoch=epoch, index=index, until=until, message_key=key)
               for (epoch, index), (key, _) in s.skipped.items()],
        0x3B: [SimpleNamespace(session=s.id, epoch=epoch, until=until, end=end, forgotten=one.forgotten,
                               lanes=inbound(one)["lanes"]) for epoch, (one, end, _) in s.closed.items()],
        0x50: [SimpleNamespace(**job, failures=0, cause=0, detail=b"") for job in jobs],
        0x51: [SimpleNamespace(**job) for job in jobs]}


def rekeying(vectors: Dict[str, Any]) -> Tuple[List[Account], Records]:
    now, both = vectors["now"], make_vectors.Made().sides
    rows = [side(both[name], now, vectors["package"]["not_after"]) for name in ("initiator", "responder")]
    return ([account(INITIATOR, vectors["initiator"], now * 10**6),
             account(RESPONDER, vectors["responder"], now * 10**6)],
            {kind: rows[0][kind] + rows[1][kind] for kind in rows[0]})


def load(fixture: Path) -> Dict[str, Any]:
    source = make_vectors.TARGET_2 if fixture == SUITE_2 else make_vectors.TARGET
    return dict(json.loads(source.read_text(encoding="utf-8")))


MAKERS = {TARGET: content, SUITE_2: content, REKEYING: rekeying}


if __name__ == "__main__":
    for target, make in MAKERS.items():
        assert not target.exists(), "a fixture is never made again"
        read_store.write(str(target), RAW, [], *make(load(target)))
        target.with_suffix(".json").write_text(json.dumps(
            {"key": RAW.hex(), "initiator": INITIATOR.hex(), "responder": RESPONDER.hex()}, indent=1) + "\n")
