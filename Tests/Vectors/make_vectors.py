"""make_vectors.py writes session-1.json: fixed secrets, and all that wire version 1 makes of them; and session-2.json,
set-ups in suite 2.

Bytes are hex, times milliseconds. Of each pair the initiator's part comes first. `deliveries` are in
their order: who gets which frame, what is answered, and the receiver's epoch, next index and skipped keys
(epoch << 32 | index) then. `rekeying` is a session of several epochs; its deliveries `held` (from, up to) can be repeated
by who holds that side as it is before the first of them: Tests/Fixtures/rekeying-1.pawl. A round of suite 2
stands beside them.
`refused_frames` are fresh welcomes to the responder before any delivery."""

import copy
import hashlib
import json
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "Oracle")]

import wire  # noqa: E402

NOW = 1_800_000_000_000
TARGET = HERE / "session-1.json"
TARGET_2 = HERE / "session-2.json"


def drawer(label: str) -> Callable[[int], bytes]:
    """Bytes that look random and are the same each time."""
    drawn = [0]

    def draw(size: int) -> bytes:
        drawn[0] += 1
        return hashlib.blake2b(f"{label} {drawn[0]}".encode(), digest_size=size).digest()

    return draw


class Noting(wire.Kem):
    """Remembers the last secret that it drew to encapsulate."""

    def encapsulate(self, random: Callable[[int], bytes], offered: bytes) -> Tuple[bytes, bytes]:
        self.noted = random(self.drawn)
        self.made = super().encapsulate(lambda size: self.noted, offered)
        return self.made


class Kem1(Noting, wire.Kem):
    pass


class Kem2(Noting, wire.XWing):
    pass


class Sender(wire.Peer):
    """Remembers the chain key behind each frame, and what its exchanges drew."""

    def kem(self, suite: int) -> wire.Kem:
        return self.kems[suite]

    def __init__(self, *arguments: Any) -> None:
        self.sealed: Dict[bytes, bytes] = {}
        self.kems: Dict[int, wire.Kem] = {1: Kem1(), 2: Kem2()}
        super().__init__(*arguments)

    def seal(self, s: wire.Session, *arguments: Any) -> bytes:
        chain = s.sending.chain
        frame = super().seal(s, *arguments)
        self.sealed[frame] = chain
        return frame


class Initiator(Sender):
    """Remembers what it would forget, and lies if told to: in its welcomes, or about the agreements."""

    welcome_lies: Dict[str, Any] = {}
    false_agreements: Optional[List[bytes]] = None

    def draw_welcome(self, welcome: wire.Welcome) -> wire.Welcome:
        return welcome._replace(**self.welcome_lies)

    def agree(self, ephemeral: bytes, package: wire.Package,
              one_time: Optional[wire.OneTimeKey]) -> List[bytes]:
        self.ephemeral = ephemeral
        self.agreements = self.false_agreements or super().agree(ephemeral, package, one_time)
        return self.agreements


class Responder(Sender):
    package_lies: Dict[str, Any] = {}

    def draw_package(self, package: wire.Package) -> wire.Package:
        return package._replace(**self.package_lies)


def hexes(parts: Sequence[bytes]) -> List[str]:
    return [part.hex() for part in parts]


def identity(peer: wire.Peer) -> Dict[str, str]:
    return {"name": peer.identity.name.decode(),
            "signing_seed": peer.seed.hex(), "signing_key": peer.identity.signing.hex(),
            "agreement_secret": peer.secret.hex(), "agreement_key": peer.identity.agreement.hex()}


def forged(session: wire.Session, frame: bytes, at: int, number: int) -> bytes:
    """The frame with another number at this place in the header, and the right filter for it."""
    head = frame[:at] + number.to_bytes(4, "little") + frame[at + 4:46]
    return head + wire.siphash(session.sending.filter, head) + frame[54:]


class Transcript:
    """A session between two peers, written down."""

    def __init__(self, ada: Initiator, bob: Responder, package: bytes, one_time: bytes) -> None:
        self.peers = {"initiator": ada, "responder": bob}
        self.ids = {"initiator": ada.start(bob.identity.name, package + one_time)}
        session = ada.session(self.ids["initiator"])
        read, whole, key = wire.read_packages(package + one_time)
        assert session.welcome
        kem = ada.kems[2] if session.welcome.suite == 2 else None
        secrets = wire.derive(session.welcome, bob.identity, whole, key, ada.agreements, kem.made[1] if kem else b"")
        self.ids["responder"] = secrets.id[:15] + bytes([secrets.id[15] | 1])
        self.frames: List[Dict[str, Any]] = []
        self.deliveries: List[Dict[str, Any]] = []
        self.found = {
            **({"kem_ephemeral_secret": kem.noted.hex(), "kem_secret": kem.made[1].hex()} if kem else {}),
            "one_time_key": key.number if key else 0,
            "ephemeral_secret": ada.ephemeral.hex(), "ephemeral_key": session.welcome.ephemeral.hex(),
            "created": session.welcome.created, "welcome": session.welcome.data().hex(),
            "agreements": hexes(ada.agreements), "transcript": secrets.transcript.hex(),
            "e": secrets.e.hex(), "root": secrets.root.hex(), "chains": hexes(secrets.chains),
            "filters": hexes(secrets.filters),
            "ids": hexes([self.ids["initiator"], self.ids["responder"]]),
            "frames": self.frames, "deliveries": self.deliveries}

    def session(self, side: str) -> wire.Session:
        return self.peers[side].session(self.ids[side])

    def send(self, side: str, text: Optional[bytes], controls: Any = (),
             peer: Optional[wire.Peer] = None) -> int:
        """The number of a new frame; by a copy of the peer if one is given."""
        peer = peer or self.peers[side]
        return self.note(side, peer.encrypt(self.ids[side], text, controls), peer)

    def note(self, side: str, data: bytes, peer: Any = None) -> int:
        """The number of a frame that a peer has made."""
        frame = wire.read_frame(data)
        key = wire.step((peer or self.peers[side]).sealed[data])[1]
        self.frames.append({
            "from": side, "epoch": frame.epoch, "index": frame.index, "prev_len": frame.prev_len,
            "lane": frame.lane.hex(), "random": frame.nonce[8:].hex(), "message_key": key.hex(),
            "plaintext": wire.unseal(key, frame).hex(), "bytes": data.hex()})
        return len(self.frames) - 1

    def said(self, side: str) -> int:
        """The number of the one frame that a peer has sent by itself."""
        (data,) = self.peers[side].sent()
        return self.note(side, data)

    def forge(self, side: str, number: int, at: int, value: int) -> int:
        data = forged(self.session(side), bytes.fromhex(self.frames[number]["bytes"]), at, value)
        self.frames.append({"from": side, "bytes": data.hex()})
        return len(self.frames) - 1

    def deliver(self, number: int, status: str = "OK") -> None:
        side = "initiator" if self.frames[number]["from"] == "responder" else "responder"
        entry: Dict[str, Any] = {"frame": number, "to": side, "status": status}
        try:
            received = self.peers[side].receive(bytes.fromhex(self.frames[number]["bytes"]))
            assert status == "OK"
            entry["text"] = None if received.text is None else received.text.hex()
        except wire.Refused as refused:
            assert str(refused) == status, (number, refused)
        session = self.session(side)
        self.deliveries.append({
            **entry, "epoch": session.rekey.epoch, "next": session.receiving.next,
            "skipped": sorted(epoch << 32 | index for epoch, index in session.skipped)})


def long_session(ada: Initiator, bob: Responder, package: bytes, one_time: bytes) -> Dict[str, Any]:
    t = Transcript(ada, bob, package, one_time)
    first = [t.send("initiator", text) for text in (b"hello", b"", None)]
    t.deliver(first[1])
    t.deliver(first[0])
    t.deliver(first[0], "REPLAY")
    answers = [t.send("responder", text) for text in (bytes(range(64)), "żółw".encode())]
    t.deliver(answers[1])
    t.deliver(answers[0])
    t.deliver(first[2])
    old = copy.deepcopy(ada)
    old.session(t.ids["initiator"]).sending.lane = drawer("other lane")(8)
    later = [t.send("initiator", bytes(64)), t.send("initiator", b"four"),
             t.send("initiator", b"behind a control part", [(7, b"unknown"), (255, b"")])]
    t.deliver(later[2])
    t.deliver(later[0])
    t.deliver(later[2], "REPLAY")
    restored = [t.send("initiator", text, peer=old) for text in (b"from an old copy", b"", b"")]
    t.deliver(restored[0], "DESYNCHRONIZED")
    t.deliver(t.forge("initiator", later[1], 10, 1), "DESYNCHRONIZED")
    t.deliver(t.forge("initiator", later[1], 14, 6 + wire.GAP + 1), "DESYNCHRONIZED")
    t.deliver(t.forge("initiator", later[1], 14, wire.INDEX_END), "LIMIT_INDEX")
    t.deliver(t.forge("initiator", later[1], 14, 7), "DESYNCHRONIZED")
    # The copy's second message takes the late one's key, and its lane has a range from then on.
    t.deliver(restored[1])
    t.deliver(restored[2], "DESYNCHRONIZED")
    t.deliver(restored[1], "REPLAY")
    t.deliver(later[1], "REPLAY")
    return t.found


def short_session(ada: Initiator, bob: Responder, package: bytes, one_time: bytes = b"") -> Dict[str, Any]:
    t = Transcript(ada, bob, package, one_time)
    t.deliver(t.send("initiator", b"with a one-time key" if one_time else b"without a one-time key"))
    t.deliver(t.send("responder", b"answer"))
    t.deliver(t.send("initiator", None, [(9, b"no text")]))
    return t.found


def round_between(offerer: wire.Outcome, answerer: wire.Outcome) -> Dict[str, Any]:
    """A round from one side to the other, written down. Both outcomes are of sides that are Idle."""
    offerer.want(0)
    (offer,) = offerer.phase
    pair = offerer.rekey.state.pair  # type: ignore[union-attr]
    answerer.message([offer], offerer.rekey.epoch)
    (answer,) = answerer.phase
    return written(offerer.rekey, pair, answer, answerer.rekey.kem.noted)  # type: ignore[attr-defined]


def written(offerer: wire.Rekey, pair: Tuple[bytes, bytes], answer: wire.Part,
            ephemeral: bytes) -> Dict[str, Any]:
    """All that a round makes of the offerer's state, and of the answer to its offer."""
    secret = offerer.kem.decapsulate(pair, answer.data)
    made = offerer.round(answer.target, pair[1], answer.data, secret, True)
    finish = wire.Part(wire.FINISH, made.target, made.offer, made.of_finish)
    assert made.of_answer == answer.confirmation
    return {
        "from": "initiator" if offerer.initiator else "responder", "suite": offerer.kem.suite,
        "target": made.target, "offered_secret": pair[0].hex(), "offered_key": pair[1].hex(),
        "ephemeral_secret": ephemeral.hex(), "ciphertext": answer.data.hex(), "kem_secret": secret.hex(),
        "offer_id": made.offer.hex(),
        "transcript": made.transcript.hex(), "e": made.e.hex(), "root": made.root.hex(),
        "chains": hexes(made.chains), "confirmations": hexes([made.of_answer, made.of_finish]),
        "parts": hexes([wire.framed(part.type, part.body()) for part in (
            wire.Part(wire.OFFER, made.target, data=pair[1], suite=offerer.kem.suite), answer, finish)])}


class Rekeying(Transcript):
    """A session of four epochs, and its two sides as they are `held` in between."""

    def __init__(self, ada: Initiator, bob: Responder, package: bytes) -> None:
        super().__init__(ada, bob, package, b"")
        self.rounds: List[Dict[str, Any]] = []
        self.sides: Dict[str, wire.Session] = {}
        self.held: Dict[str, List[int]] = {}
        self.talk()
        self.found.update(rounds=self.rounds, held=self.held)

    def hold(self, side: str) -> None:
        self.sides[side] = copy.deepcopy(self.session(side))
        self.held[side] = [len(self.deliveries)]

    def let_go(self, side: str) -> None:
        self.held[side].append(len(self.deliveries))

    def offer(self, side: str) -> int:
        self.peers[side].rekey(self.ids[side])
        return self.said(side)

    def answered(self, side: str, other: str) -> int:
        """The frame with the answer of `other` to the offer of `side`."""
        offerer, answerer = (self.session(it).rekey for it in (side, other))
        self.rounds.append(written(  # type: ignore
            offerer, offerer.state.pair, answerer.state.answer, answerer.kem.noted))
        return self.said(other)

    def talk(self) -> None:
        ada, bob = "initiator", "responder"
        self.deliver(self.send(ada, b"hello"))
        self.deliver(self.send(bob, b"answer"))
        late = [self.send(ada, b"late in epoch 0"), self.send(ada, None)]
        offer = self.offer(ada)
        self.hold(ada)
        self.deliver(offer)
        answer = self.answered(ada, bob)
        under = [self.send(bob, b"still under epoch 0"), self.send(bob, b"and late")]
        self.deliver(answer)
        finish = self.said(ada)
        self.deliver(under[0])
        self.deliver(answer, "REPLAY")
        self.deliver(finish)
        self.deliver(self.send(bob, b"in epoch 1"))
        self.deliver(under[1])
        self.deliver(under[0], "REPLAY")
        self.let_go(ada)
        self.deliver(late[0])
        stale = self.send(ada, b"late in epoch 1")
        offer = self.offer(ada)
        self.deliver(offer)
        answer = self.answered(ada, bob)
        self.hold(bob)
        self.deliver(answer)
        finish = self.said(ada)
        again = self.send(ada, b"with the finish again", [
            (wire.FINISH, bytes.fromhex(self.rounds[1]["parts"][2])[3:]), (7, b"unknown")])
        self.deliver(stale)
        wrong = bytes.fromhex(self.rounds[1]["parts"][2])[3:-1] + b"!"
        liar = copy.deepcopy(self.peers[ada])
        self.deliver(self.send(ada, b"", [(wire.FINISH, wrong)], peer=liar), "DESYNCHRONIZED")
        self.deliver(again)
        self.deliver(finish)
        self.deliver(offer, "REPLAY")
        self.deliver(late[1])
        self.deliver(late[1], "REPLAY")
        self.deliver(self.forge(ada, stale, 14, 99), "AUTH")
        self.peers[bob].sent()  # the empty message that answers it
        self.deliver(self.forge(ada, stale, 10, 4), "DESYNCHRONIZED")
        self.let_go(bob)
        self.deliver(self.send(bob, b"in epoch 2"))
        # Crossed: one of the two yields.
        offers = {side: self.offer(side) for side in (ada, bob)}
        self.deliver(offers[ada])
        self.deliver(offers[bob])
        leads, yields = (ada, bob) if isinstance(self.session(ada).rekey.state, wire.Offered) else (bob, ada)
        self.deliver(self.answered(leads, yields))
        self.deliver(self.said(leads))
        self.deliver(self.send(yields, b"in epoch 3"))
        self.deliver(self.send(leads, b"and this", [(wire.CLOSE, b"")]))


def round_of_suite_2(session: Dict[str, Any]) -> Dict[str, Any]:
    kem, random, root = Kem2(), drawer("suite 2"), bytes.fromhex(session["root"])
    sides = [wire.Outcome(wire.Rekey(bytes.fromhex(session["ids"][0]), initiator, kem, root), random, True)
             for initiator in (False, True)]
    return round_between(*sides)


def refused_packages(bob: Any) -> List[Dict[str, str]]:
    """What an initiator who asks for the responder, any kind of peer, refuses."""
    def lie(**lies: Any) -> bytes:
        liar = Responder(bob.identity.name.decode(), drawer("liar"), bob.now)
        liar.package_lies = lies
        return liar.package()[0]

    other = Responder(bob.identity.name.decode(), drawer("other"), bob.now)
    good, key = other.package(1)
    one_time = wire.read_packages(good + key)[2]
    assert one_time
    high = bytes(31) + b"\x80"

    def lie_about_key(**lies: Any) -> bytes:
        return good + one_time._replace(**lies).signed(other.seed, good)

    def named(name: bytes) -> bytes:
        return lie(identity=bob.identity._replace(name=name))

    cases = [
        ("a newer version", "VERSION", b"\x02" + good[1:]),
        ("a one-time key of a newer version", "VERSION", good + b"\x02" + key[1:]),
        ("a one-time key first", "MISUSE_PACKAGE", key),
        ("cut off", "MISUSE_PACKAGE", good[:-1]),
        ("two one-time keys", "MISUSE_PACKAGE", good + key + key),
        ("suites that do not ascend", "MISUSE_PACKAGE", lie(suites=b"\x01\x01")),
        ("no suites", "MISUSE_PACKAGE", lie(suites=b"")),
        ("no name", "MISUSE_PACKAGE", named(b"")),
        ("a name with NUL", "MISUSE_PACKAGE", named(b"a\0")),
        ("a name that is not UTF-8", "MISUSE_PACKAGE", named(b"\xff")),
        ("a key id of 0", "MISUSE_PACKAGE", lie_about_key(number=0)),
        ("a wrong signature", "AUTH", good[:-1] + bytes([good[-1] ^ 1])),
        ("another's one-time key", "AUTH", lie() + key),
        ("a one-time key with another package's id", "AUTH", lie_about_key(package=bytes(16))),
        ("a one-time key that is not canonical", "AUTH", lie_about_key(public=high)),
        ("a key that is not canonical", "AUTH", lie(init=high)),
        ("a key of small order", "AUTH", lie(init=bytes(32))),
        ("another name", "AUTH", Responder("eve", drawer("eve"), bob.now).package()[0]),
        ("not valid yet", "TIME", lie(not_before=bob.now() + 1)),
        ("not valid any more", "TIME", lie(not_after=bob.now() - 1)),
        ("valid for too long", "TIME", lie(not_after=bob.now() + wire.LIFETIME + 1)),
        ("no suite in common", "STATE_SUITE", lie(suites=b"\x00\x09")),
    ]
    return [{"why": why, "status": status, "bytes": data.hex()} for why, status, data in cases]


def refused_frames(bob: Any, package: bytes) -> List[Dict[str, str]]:
    """Fresh welcomes that the responder, any kind of peer, refuses."""
    def lie(agreements: Optional[List[bytes]] = None, **lies: Any) -> bytes:
        eve = Initiator("eve", drawer("eve"), bob.now)
        eve.welcome_lies, eve.false_agreements = lies, agreements
        return eve.encrypt(eve.start(bob.identity.name, package), b"lies")

    eve = Initiator("eve", drawer("eve"), bob.now)
    session = eve.session(eve.start(bob.identity.name, package))
    welcome, read = session.welcome, wire.read_packages(package)[0]
    assert welcome

    def seal(id: bytes = session.id, **header: int) -> bytes:
        sending = copy.deepcopy(session.sending)
        vars(sending).update(header)
        return sending.seal(id, welcome, b"lies", bytes(16))

    def named(name: bytes) -> bytes:
        return lie(initiator=eve.identity._replace(name=name))

    zeros = [wire.dh(eve.secret, read.init), bytes(32), bytes(32), b""]
    cases = [
        ("another responder's name", "AUTH", lie(responder=b"eve")),
        ("a suite that is not in the list", "AUTH", lie(suites=b"\x09")),
        ("an ephemeral key that is not canonical", "AUTH",
         lie(ephemeral=welcome.ephemeral[:31] + bytes([welcome.ephemeral[31] | 0x80]))),
        ("an ephemeral key of small order", "AUTH", lie(zeros, ephemeral=bytes(32))),
        ("another package", "NOT_FOUND", lie(package=bytes(16))),
        ("an unknown one-time key", "NOT_FOUND", lie(one_time=9)),
        ("the responder's own keys", "STATE_SELF", lie(initiator=bob.identity._replace(name=b"eve"))),
        ("no name", "AUTH", named(b"")),
        ("a name with NUL", "AUTH", named(b"a\0")),
        ("a name that is not UTF-8", "AUTH", named(b"\xff")),
        ("another session's id", "AUTH", seal(bytes(16))),
        ("another epoch", "AUTH", seal(epoch=1)),
        ("an index too far ahead", "AUTH", seal(index=wire.GAP + 1)),
    ]
    return [{"why": why, "status": status, "bytes": data.hex()} for why, status, data in cases]


def both(label: str, suites: bytes) -> Tuple[Initiator, Responder]:
    peers = Initiator("ada", drawer("ada" + label), lambda: NOW), Responder("żółw", drawer("bob" + label), lambda: NOW)
    for peer in peers:
        peer.suites = suites
    return peers


def invitation(ada: Initiator, bob: Responder, package: bytes, keys: List[bytes]) -> Dict[str, Any]:
    """Who they are, and what the responder has published."""
    (private,) = bob.packages.values()

    def kem_of(number: int) -> Dict[str, str]:
        return {"kem_secret": private.kem[number][0].hex()} if 2 in bob.suites else {}

    return {
        "now": NOW, "initiator": identity(ada), "responder": identity(bob),
        "package": {
            "id": private.package.id.hex(), "suites": private.package.suites.hex(),
            "not_before": private.package.not_before, "not_after": private.package.not_after,
            "init_secret": private.init.hex(), "init_key": private.package.init.hex(), **kem_of(0),
            "hash": wire.package_hash(package).hex(), "bytes": package.hex()},
        "one_time_keys": [
            {"id": number, "secret": private.one_time[number].hex(), **kem_of(number),
             "key": wire.read_packages(package + data)[2].public.hex(),  # type: ignore[union-attr]
             "bytes": data.hex()}
            for number, data in enumerate(keys, 1)]}


def of_suite_2() -> Dict[str, Any]:
    ada, bob = both(" 2", b"\1\2")
    package, *keys = bob.package(2)
    return {**invitation(ada, bob, package, keys), "sessions": [
        short_session(ada, bob, package, keys[1]), short_session(ada, bob, package)]}


def vectors() -> Dict[str, Any]:
    return Made().vectors


class Made:
    """All vectors, and both sides of the rekeying while they are held."""

    def __init__(self) -> None:
        ada, bob = both("", b"\1")
        package, *keys = bob.package(2)
        found = invitation(ada, bob, package, keys)
        refused = {"refused_packages": refused_packages(bob), "refused_frames": refused_frames(bob, package)}
        sessions = [long_session(ada, bob, package, keys[1]), short_session(ada, bob, package)]
        rekeying = Rekeying(ada, bob, package)
        self.sides = rekeying.sides
        self.vectors = {
            **found, **refused, "sessions": sessions,
            "rekeying": {**rekeying.found, "suite_2": round_of_suite_2(rekeying.found)}}


def text(vectors: Dict[str, Any]) -> str:
    return json.dumps(vectors, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text(vectors()), encoding="utf-8")
    TARGET_2.write_text(text(of_suite_2()), encoding="utf-8")
