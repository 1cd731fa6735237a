"""Suite 2 against the independent peer, whose KEM is the same stand-in as in sodium.h: what goes where, not X-Wing itself."""

import hashlib
import itertools
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Optional, Tuple

import pytest
from nacl import bindings

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "Oracle")]

import wire  # noqa: E402
from test_wire import KINDS, Oracle, Talk, World, answer_to, invite  # noqa: E402
from wire import Refused  # noqa: E402


def public_of(secret: bytes, size: int) -> bytes:
    return bindings.crypto_scalarmult_base(secret) * (size // 32)


def secret_of(mine: bytes, theirs: bytes, ciphertext: bytes, public: bytes) -> bytes:
    return hashlib.blake2b(ciphertext + public, key=wire.dh(mine, theirs[:32]), digest_size=32).digest()


class Kem2(wire.Kem):
    suite = 2

    def pair(self, random: Callable[[int], bytes]) -> Tuple[bytes, bytes]:
        secret = random(32)
        return secret, public_of(secret, wire.KEM_PUBLIC)

    def encapsulate(self, random: Callable[[int], bytes], offered: bytes) -> Tuple[bytes, bytes]:
        fresh = random(32)
        ciphertext = public_of(fresh, wire.KEM_CIPHERTEXT)
        return ciphertext, secret_of(fresh, offered, ciphertext, offered)

    def decapsulate(self, pair: Tuple[bytes, bytes], ciphertext: bytes) -> bytes:
        return secret_of(pair[0], ciphertext, ciphertext, pair[1])


class KemOracle(Oracle):
    suites = b"\x01\x02"

    def kem(self, suite: int) -> wire.Kem:
        return Kem2() if suite == 2 else wire.Kem()
    false_secret: Optional[bytes] = None

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.secrets: Dict[Tuple[bytes, int], bytes] = {}
        self.encapsulated: Tuple[bytes, bytes] = b"", b""

    def kem_public(self, package: bytes, number: int) -> bytes:
        secret = self.secrets.setdefault((package, number), self.random(32))
        return public_of(secret, wire.KEM_PUBLIC)

    def draw_package(self, package: wire.Package) -> wire.Package:
        return super().draw_package(package._replace(kem=self.kem_public(package.id, 0)))

    def one_time_key(self, private: wire.Private, number: int) -> wire.OneTimeKey:
        key = super().one_time_key(private, number)
        return key._replace(public=key.public[:32] + self.kem_public(key.package, number))

    def start(self, name: bytes, data: bytes) -> bytes:
        package, _, one_time = wire.read_packages(data)
        self.encapsulated = b"", b""
        if 2 in package.suites:
            public, ephemeral = one_time.public[32:] if one_time else package.kem, self.random(32)
            ciphertext = public_of(ephemeral, wire.KEM_CIPHERTEXT)
            self.encapsulated = ciphertext, secret_of(ephemeral, public, ciphertext, public)
        return super().start(name, data)

    def draw_welcome(self, welcome: wire.Welcome) -> wire.Welcome:
        ciphertext = self.encapsulated[0]
        return super().draw_welcome(welcome._replace(suite=2 if ciphertext else 1, kem=ciphertext))

    def kem_secret(self, welcome: wire.Welcome) -> bytes:
        if welcome.initiator == self.identity:
            return self.encapsulated[1] if self.false_secret is None else self.false_secret
        if welcome.suite == 1:
            return b""
        secret = self.secrets[welcome.package, welcome.one_time]
        return secret_of(secret, welcome.kem, welcome.kem, public_of(secret, wire.KEM_PUBLIC))


ALL = {**KINDS, "kem": KemOracle}


@pytest.fixture
def world(monkeypatch: Any) -> Iterator[World]:
    monkeypatch.setitem(KINDS, "kem", KemOracle)
    made = World()
    yield made
    for peer in made.peers:
        peer.shut()


@pytest.mark.parametrize("one_time", [0, 1, 2], ids=["without", "with", "second"])
@pytest.mark.parametrize("kinds", list(itertools.product(ALL, ALL)), ids="-".join)
def test_the_strongest_suite_of_both(world: World, kinds: Tuple[str, str], one_time: int) -> None:
    ada, bob = world(kinds[0], "ada"), world(kinds[1], "żółw")
    mine = ada.start(bob.identity.name, invite(bob, one_time))
    frame = ada.encrypt(mine, b"hello")
    welcome = wire.read_frame(frame).welcome
    assert welcome is not None and welcome.suite == (1 if "oracle" in kinds else 2)
    received = bob.receive(frame)
    assert received.text == b"hello" and received.new and received.session[:15] == mine[:15]
    assert ada.receive(bob.encrypt(received.session, b"welcome")).text == b"welcome"
    assert bob.receive(ada.encrypt(mine, b"thanks")).text == b"thanks"
    if "library" in kinds:
        peer, id = (ada, mine) if kinds[0] == "library" else (bob, received.session)
        assert peer.row(id).suite == welcome.suite


@pytest.mark.parametrize("kinds", [("kem", "library"), ("library", "kem"), ("library", "library")], ids="-".join)
def test_rekeying(world: World, kinds: Tuple[str, str]) -> None:
    talk = Talk(world, *kinds)
    for target in range(1, 5):
        peer, id, to, _ = talk.sides[target % 2]
        late = peer.encrypt(id, b"late")
        peer.rekey(id)
        offer, *more = peer.sent()
        # 54 of header, 16 of tag, 3 before the body.
        assert more == [] and len(offer) == 54 + 16 + 3 + 5 + wire.KEM_PUBLIC
        to.receive(offer)
        answer, *more = to.sent()
        assert more == [] and len(answer) == 54 + 16 + 3 + 52 + wire.KEM_CIPHERTEXT
        peer.receive(answer)
        talk.settle()
        assert talk.epochs() == (target, target)
        talk.works()
        assert to.receive(late).text == b"late"
    # Crossed.
    talk.ada.rekey(talk.mine)
    talk.bob.rekey(talk.theirs)
    talk.settle()
    assert talk.epochs() == (5, 5)
    talk.works()


@pytest.mark.parametrize("one_time", [0, 1])
def test_the_secret_counts(world: World, one_time: int) -> None:
    """An initiator who knows all but the KEM's secret is refused, one who knows it is not."""
    ada, bob = world("kem", "ada"), world("library", "bob")
    bundle = invite(bob, one_time)
    for ada.false_secret in (b"", bytes(32)):
        assert answer_to(bob, ada.encrypt(ada.start(b"bob", bundle), b"")) == "AUTH"
    ada.false_secret = None
    assert answer_to(bob, ada.encrypt(ada.start(b"bob", bundle), b"")) == "OK"


def test_each_key_has_its_own_ciphertext(world: World) -> None:
    """With a one-time key the encapsulation is to that, and not to the init key."""
    ada, bob = world("kem", "ada"), world("library", "bob")
    package, key = bob.package(1)
    mine = ada.start(b"bob", package)
    frame = wire.read_frame(ada.encrypt(mine, b""))
    assert frame.welcome is not None and frame.welcome.one_time == 0
    start = super(KemOracle, ada).start  # keeps what was encapsulated to the init key
    assert answer_to(bob, ada.encrypt(start(b"bob", package + key), b"")) == "AUTH"


def test_packages_without_their_kem_key(world: World) -> None:
    ada, bob = world("library", "ada"), world("kem", "bob")
    package, key = bob.package(1)
    parsed = wire.read_packages(package)[0]
    short = parsed._replace(kem=parsed.kem[:-1]).signed(bob.seed)
    with pytest.raises(Refused, match="^(MISUSE_PACKAGE|AUTH)$"):
        ada.start(b"bob", short)
    with pytest.raises(Refused, match="^MISUSE_PACKAGE$"):
        ada.start(b"bob", parsed._replace(kem=b"").signed(bob.seed))
    number = wire.OneTimeKey(parsed.id, 1, wire.read_packages(package + key)[2].public[:32])
    with pytest.raises(Refused, match="^MISUSE_PACKAGE$"):
        ada.start(b"bob", package + number.signed(bob.seed, package))
