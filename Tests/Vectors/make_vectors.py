"""make_vectors.py writes session-1.json: fixed secrets, and all that wire version 1 makes of them.

Bytes are hex, times milliseconds. Of each pair the initiator's part comes first. `deliveries` are in
their order: who gets which frame, what is answered, and the receiver's next index and skipped keys then.
`refused_frames` are fresh welcomes to the responder before any delivery."""

import copy
import hashlib
import json
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "Oracle")]

import wire  # noqa: E402

NOW = 1_800_000_000_000
TARGET = HERE / "session-1.json"


def drawer(label: str) -> Callable[[int], bytes]:
    """Bytes that look random and are the same each time."""
    drawn = [0]

    def draw(size: int) -> bytes:
        drawn[0] += 1
        return hashlib.blake2b(f"{label} {drawn[0]}".encode(), digest_size=size).digest()

    return draw


class Initiator(wire.Peer):
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


class Responder(wire.Peer):
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
        secrets = wire.derive(session.welcome, bob.identity, whole, key, ada.agreements)
        self.ids["responder"] = secrets.id[:15] + bytes([secrets.id[15] | 1])
        self.frames: List[Dict[str, Any]] = []
        self.deliveries: List[Dict[str, Any]] = []
        self.found = {
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
        chain = peer.session(self.ids[side]).sending.chain
        data = peer.encrypt(self.ids[side], text, controls)
        frame = wire.read_frame(data)
        key = wire.step(chain)[1]
        plaintext = wire.unseal(key, frame)
        self.frames.append({
            "from": side, "index": frame.index, "lane": frame.lane.hex(), "random": frame.nonce[8:].hex(),
            "message_key": key.hex(), "plaintext": plaintext.hex(), "bytes": data.hex()})
        return len(self.frames) - 1

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
        receiving = self.session(side).receiving
        self.deliveries.append({**entry, "next": receiving.next, "skipped": sorted(receiving.skipped)})


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


def short_session(ada: Initiator, bob: Responder, package: bytes) -> Dict[str, Any]:
    t = Transcript(ada, bob, package, b"")
    t.deliver(t.send("initiator", b"without a one-time key"))
    t.deliver(t.send("responder", b"answer"))
    t.deliver(t.send("initiator", None, [(1, b"no text")]))
    return t.found


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


def vectors() -> Dict[str, Any]:
    ada = Initiator("ada", drawer("ada"), lambda: NOW)
    bob = Responder("żółw", drawer("bob"), lambda: NOW)
    package, *keys = bob.package(2)
    (private,) = bob.packages.values()
    secrets = dict(private.one_time)
    found = {
        "now": NOW, "initiator": identity(ada), "responder": identity(bob),
        "package": {
            "id": private.package.id.hex(), "suites": private.package.suites.hex(),
            "not_before": private.package.not_before, "not_after": private.package.not_after,
            "init_secret": private.init.hex(), "init_key": private.package.init.hex(),
            "hash": wire.package_hash(package).hex(), "bytes": package.hex()},
        "one_time_keys": [
            {"id": number, "secret": secrets[number].hex(),
             "key": wire.read_packages(package + data)[2].public.hex(),  # type: ignore[union-attr]
             "bytes": data.hex()}
            for number, data in enumerate(keys, 1)]}
    return {**found, "refused_packages": refused_packages(bob),
            "refused_frames": refused_frames(bob, package),
            "sessions": [long_session(ada, bob, package, keys[1]), short_session(ada, bob, package)]}


def text() -> str:
    return json.dumps(vectors(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
