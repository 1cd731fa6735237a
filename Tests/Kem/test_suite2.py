"""Suite 2 against the independent peer. Its KEM is the same stand-in as in sodium.h, which shows what goes where; with
PAWL_KEM=X-Wing it is X-Wing, which a library over a libsodium that has it has to agree with."""

import hashlib
import itertools
import os
import sys
from pathlib import Path
from typing import Any, Callable, Iterator, Optional, Tuple

import pytest
from nacl import bindings

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "Oracle"), str(HERE.parents[1] / "Bindings" / "Python" / "src")]

import pawl  # noqa: E402
import wire  # noqa: E402
from test_wire import KINDS, Oracle, Talk, World, answer_to, invite  # noqa: E402
from wire import Refused  # noqa: E402


class StandIn(wire.XWing):
    drawn = 32

    def public(self, secret: bytes, size: int) -> bytes:
        return bindings.crypto_scalarmult_base(secret) * (size // 32)

    def secret_of(self, mine: bytes, theirs: bytes, ciphertext: bytes, public: bytes) -> bytes:
        return hashlib.blake2b(ciphertext + public, key=wire.dh(mine, theirs[:32]), digest_size=32).digest()

    def pair(self, random: Callable[[int], bytes]) -> Tuple[bytes, bytes]:
        secret = random(32)
        return secret, self.public(secret, wire.KEM_PUBLIC)

    def encapsulate(self, random: Callable[[int], bytes], offered: bytes) -> Tuple[bytes, bytes]:
        fresh = random(32)
        ciphertext = self.public(fresh, wire.KEM_CIPHERTEXT)
        return ciphertext, self.secret_of(fresh, offered, ciphertext, offered)

    def decapsulate(self, pair: Tuple[bytes, bytes], ciphertext: bytes) -> bytes:
        return self.secret_of(pair[0], ciphertext, ciphertext, pair[1])


Kem2 = wire.XWing if os.environ.get("PAWL_KEM") == "X-Wing" else StandIn


class KemOracle(Oracle):
    suites = b"\x01\x02"
    kem2: wire.Kem = Kem2()

    def kem(self, suite: int) -> wire.Kem:
        return self.kem2 if suite == 2 else super().kem(suite)


class Altered(Kem2):  # type: ignore[misc, valid-type]
    """Encapsulates to another key than it is told, or claims another secret."""

    def __init__(self, secret: Optional[bytes] = None, to: Optional[bytes] = None) -> None:
        self.false_secret, self.to = secret, to

    def encapsulate(self, random: Callable[[int], bytes], offered: bytes) -> Tuple[bytes, bytes]:
        ciphertext, secret = super().encapsulate(random, self.to or offered)
        return ciphertext, secret if self.false_secret is None else self.false_secret


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


def test_a_package_of_other_suites_is_replaced_also_on_its_way() -> None:
    now = 1_800_000_000 * 10**9
    with pawl.Store.memory(key=pawl.RawKey(bytes(32)), clock=lambda: now) as store:
        account = store.create_account("ada")
        store.begin_rotation(account)

        def suites() -> bytes:
            while store.run_due():
                pass
            (item,) = store.take()
            package = wire.read_packages(item.packages[0].data)[0]
            store.answer(item.seq, b"")
            return bytes(package.suites)

        while store.run_due():
            pass
        store.set_min_suite(account, pawl.Suite.XWING)
        assert suites() == b"\x01\x02", "it is offered: peers have none yet"
        assert store.rotation(account).rotate_ns <= now
        assert suites() == b"\x02"
        assert store.rotation(account).rotate_ns > now
        store.set_min_suite(account, pawl.Suite.X25519)
        assert suites() == b"\x01\x02"
        assert store.take() == []


@pytest.mark.parametrize("one_time", [0, 1])
def test_the_secret_counts(world: World, one_time: int) -> None:
    """An initiator who knows all but the KEM's secret is refused, one who knows it is not."""
    ada, bob = world("kem", "ada"), world("library", "bob")
    bundle = invite(bob, one_time)
    for ada.kem2 in (Altered(b""), Altered(bytes(32))):
        assert answer_to(bob, ada.encrypt(ada.start(b"bob", bundle), b"")) == "AUTH"
    ada.kem2 = Kem2()
    assert answer_to(bob, ada.encrypt(ada.start(b"bob", bundle), b"")) == "OK"


def test_each_key_has_its_own_ciphertext(world: World) -> None:
    """With a one-time key the encapsulation is to that, and not to the init key."""
    ada, bob = world("kem", "ada"), world("library", "bob")
    package, key = bob.package(1)
    ada.kem2 = Altered(to=wire.read_packages(package)[0].kem)
    assert answer_to(bob, ada.encrypt(ada.start(b"bob", package + key), b"")) == "AUTH"
    assert answer_to(bob, ada.encrypt(ada.start(b"bob", package), b"")) == "OK"


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


def test_the_vector_of_the_draft() -> None:
    """What the draft draws for its first vector is SHAKE128 of nothing."""
    drawn = hashlib.shake_128(b"").digest(96)
    kem = wire.XWing()
    pair = kem.pair(lambda size: drawn[:32])
    ciphertext, secret = kem.encapsulate(lambda size: drawn[32:], pair[1])
    assert secret.hex() == "d2df0522128f09dd8e2c92b1e905c793d8f57a54c3da25861f10bf4ca613e384"
    assert kem.decapsulate(pair, ciphertext) == secret
