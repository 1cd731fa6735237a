"""Pawl and the independent peer understand each other, and refuse the same things, in both directions."""

import copy
import itertools
import json
import os
import random
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Set, Tuple

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "Vectors")]

import libpawl  # noqa: E402
import make_vectors  # noqa: E402
import wire  # noqa: E402
from make_vectors import Initiator, Responder, forged  # noqa: E402
from wire import DAY, GAP, HOUR, LIFETIME, Refused  # noqa: E402


class Oracle(Initiator, Responder):
    """The oracle with what libpawl.Peer shows besides."""

    def __init__(self, name: str, now: Callable[[], int]) -> None:
        super().__init__(name, os.urandom, now)

    def restored(self, folder: Path) -> "Oracle":
        peer = copy.deepcopy(self)
        for session in peer.sessions.values():
            session.sending.lane = os.urandom(8)
        return peer

    def shut(self) -> None:
        """Nothing is open."""

    def confirmed(self, session: bytes) -> bool:
        return self.session(session).confirmed

    def desynchronized(self, session: bytes) -> bool:
        return self.session(session).desynchronized

    def lost(self, session: bytes) -> int:
        return self.session(session).lost

    def epoch(self, session: bytes) -> int:
        return self.session(session).rekey.epoch

    def told(self, event: str, session: bytes) -> List[int]:
        return [0 for what in self.events if what == (event, session)]

    def state(self, peer: bytes) -> object:
        return copy.deepcopy((
            [(s.id, s.confirmed, s.welcome, vars(s.sending), vars(s.receiving),
              s.previous and vars(s.previous),
              {epoch: (vars(chain), *rest) for epoch, (chain, *rest) in s.closed.items()}, s.skipped, s.lost, s.rekey._replace(kem=None))
             for s in self.sessions.values() if s.peer.name == peer],
            [private.one_time for private in self.packages.values()], self.welcomes))


KINDS: Dict[str, Callable[[str, Callable[[], int]], Any]] = {"oracle": Oracle, "library": libpawl.Peer}


class World:
    """Peers that share a clock."""

    def __init__(self) -> None:
        self.time, self.peers = make_vectors.NOW, []  # type: Tuple[int, List[Any]]

    def __call__(self, kind: str, name: str) -> Any:
        self.peers.append(KINDS[kind](name, lambda: self.time))
        return self.peers[-1]

    def restored(self, peer: Any, folder: Path) -> Any:
        self.peers.append(peer.restored(folder))
        return self.peers[-1]


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    for peer in made.peers:
        peer.shut()


@pytest.fixture(params=itertools.product(KINDS, KINDS), ids="-".join)
def pair(world: World, request: Any) -> Tuple[Any, Any]:
    first, second = request.param
    return world(first, "ada"), world(second, "żółw")


@pytest.fixture(params=KINDS)
def bob(world: World, request: Any) -> Any:
    return world(request.param, "bob")


def refusing(code: str) -> Any:
    return pytest.raises(Refused, match=f"^{code}$")


def answer_to(peer: Any, frame: bytes) -> str:
    try:
        peer.receive(frame)
    except Refused as refused:
        return str(refused)
    return "OK"


def invite(peer: Any, one_time: int = 1) -> bytes:
    return b"".join(peer.package(one_time)[::one_time or 1])


def meet(ada: Any, bob: Any) -> Tuple[bytes, bytes]:
    """Both ids of a session that both know of."""
    mine = ada.start(bob.identity.name, invite(bob))
    theirs = bob.receive(ada.encrypt(mine, b"hello")).session
    ada.receive(bob.encrypt(theirs, b"welcome"))
    bob.receive(ada.encrypt(mine, b"thanks"))
    assert ada.confirmed(mine) and bob.confirmed(theirs)
    return mine, theirs


def index(frame: bytes) -> int:
    return wire.read_frame(frame).index


# ---------------------------------------------------------------- conversations


@pytest.mark.parametrize("one_time", [0, 1, 2], ids=["without", "with", "second"])
def test_a_conversation(pair: Tuple[Any, Any], one_time: int) -> None:
    ada, bob = pair
    mine = ada.start(bob.identity.name, invite(bob, one_time))
    for number, text in enumerate((b"hello", b"", bytes(64))):
        frame = ada.encrypt(mine, text)
        assert frame[1] == 2 and not ada.confirmed(mine)
        received = bob.receive(frame)
        assert received[::2] == (text, number) and received.new == (number == 0)
    theirs = received.session
    assert mine[15] & 1 == 0 and theirs == mine[:15] + bytes([mine[15] | 1])
    assert not bob.confirmed(theirs)
    for sender, id, receiver, other in ((bob, theirs, ada, mine), (ada, mine, bob, theirs)) * 3:
        text = os.urandom(64)
        frame = sender.encrypt(id, text)
        assert len(frame) == 134 and frame[1] == 1
        assert receiver.receive(frame) == (text, other, index(frame), False)
        assert receiver.confirmed(other)


def test_a_large_message(pair: Tuple[Any, Any]) -> None:
    ada, bob = pair
    mine, _ = meet(ada, bob)
    text = os.urandom(wire.MESSAGE)
    assert bob.receive(ada.encrypt(mine, text)).text == text
    with refusing("LIMIT_MESSAGE"):
        ada.encrypt(mine, text + b"!")


def test_a_frame_that_is_too_large(world: World, bob: Any) -> None:
    ada = world("oracle", "ada")
    mine, theirs = meet(ada, bob)
    plaintext = bytes(wire.MESSAGE + wire.OVERHEAD)
    assert answer_to(bob, ada.session(mine).sending.seal(mine, None, plaintext, bytes(16))) == "AUTH"


def test_frames_arrive_in_any_order_and_once(pair: Tuple[Any, Any]) -> None:
    ada, bob = pair
    mine = ada.start(bob.identity.name, invite(bob))
    frames = [ada.encrypt(mine, str(number).encode()) for number in range(40)]
    order = random.Random(1).sample(range(40), 30)
    for number in order:
        assert bob.receive(frames[number])[::2] == (str(number).encode(), number)
        assert answer_to(bob, frames[number]) == "REPLAY"
    theirs = bob.receive(ada.encrypt(mine, b"last")).session
    before = bob.state(ada.identity.name)
    assert {answer_to(bob, frames[number]) for number in order} == {"REPLAY"}
    assert bob.state(ada.identity.name) == before and not bob.desynchronized(theirs)
    for number in set(range(40)) - set(order):
        assert bob.receive(frames[number]).text == str(number).encode()


def test_of_a_gap_the_newest_keys_are_kept(pair: Tuple[Any, Any]) -> None:
    ada, bob = pair
    mine, theirs = meet(ada, bob)
    frames = [ada.encrypt(mine, b"") for _ in range(wire.KEPT_OF_GAP + 100)]
    bob.receive(ada.encrypt(mine, b""))
    assert bob.lost(theirs) == 100
    assert [answer_to(bob, frames[at]) for at in (0, 99, 100, -1)] == ["REPLAY", "REPLAY", "OK", "OK"]
    assert not bob.desynchronized(theirs)


def test_of_a_session_the_newest_keys_are_kept(pair: Tuple[Any, Any]) -> None:
    ada, bob = pair
    mine, theirs = meet(ada, bob)
    gaps = []
    for _ in range(5):
        gaps.append([ada.encrypt(mine, b"") for _ in range(wire.KEPT_OF_GAP)])
        bob.receive(ada.encrypt(mine, b""))
    assert bob.lost(theirs) == wire.KEPT_OF_GAP
    assert [answer_to(bob, gap[at]) for gap in gaps[:2] for at in (0, -1)] == ["REPLAY"] * 2 + ["OK"] * 2


def test_skipped_keys_live_for_seven_days(world: World, pair: Tuple[Any, Any]) -> None:
    ada, bob = pair
    mine, theirs = meet(ada, bob)
    late = [ada.encrypt(mine, b"late") for _ in range(2)]
    bob.receive(ada.encrypt(mine, b""))
    world.time += 7 * DAY - 1
    bob.run_due()
    assert answer_to(bob, late[0]) == "OK"
    world.time += 1
    bob.run_due()
    assert answer_to(bob, late[1]) == "REPLAY"
    assert not bob.desynchronized(theirs)


def test_a_sender_from_an_old_copy_is_told(world: World, pair: Tuple[Any, Any], tmp_path: Path) -> None:
    ada, bob = pair
    mine, theirs = meet(ada, bob)
    old = world.restored(ada, tmp_path)
    frames = [ada.encrypt(mine, b"new") for _ in range(40)]
    assert {answer_to(bob, frame) for frame in frames} == {"OK"}
    assert not bob.desynchronized(theirs)
    collisions = [frame for frame in (old.encrypt(mine, b"old") for _ in range(40))
                  if index(frame) <= index(frames[-1])]
    assert collisions
    assert {answer_to(bob, frame) for frame in collisions} == {"DESYNCHRONIZED"}
    assert bob.desynchronized(theirs)
    assert bob.receive(ada.encrypt(mine, b"goes on")).text == b"goes on"
    assert {answer_to(bob, frame) for frame in frames} == {"REPLAY"}


def test_a_frame_sent_back_is_refused(pair: Tuple[Any, Any]) -> None:
    ada, bob = pair
    mine = ada.start(bob.identity.name, invite(bob))
    welcome = ada.encrypt(mine, b"")
    assert answer_to(ada, welcome) == "NOT_FOUND"
    theirs = bob.receive(welcome).session
    ada.receive(bob.encrypt(theirs, b""))
    assert answer_to(bob, bob.encrypt(theirs, b"")) == "AUTH"
    assert answer_to(ada, ada.encrypt(mine, b"")) == "AUTH"


def test_a_closed_session_does_not_come_back(pair: Tuple[Any, Any]) -> None:
    ada, bob = pair
    package = invite(bob)
    mine = ada.start(bob.identity.name, package)
    first, second = ada.encrypt(mine, b""), ada.encrypt(mine, b"")
    theirs = bob.receive(first).session
    ada.receive(bob.encrypt(theirs, b""))
    third = ada.encrypt(mine, b"")
    bob.close(theirs)
    assert [answer_to(bob, frame) for frame in (first, second, third)] == ["REPLAY", "REPLAY", "NOT_FOUND"]
    bob.delete_package(wire.read_packages(package)[0].id)
    assert [answer_to(bob, frame) for frame in (first, second)] == ["NOT_FOUND"] * 2


def test_a_one_time_key_serves_once(world: World, pair: Tuple[Any, Any]) -> None:
    ada, bob = pair
    eve, package = world("oracle", "eve"), invite(bob)
    first, second = (peer.encrypt(peer.start(bob.identity.name, package), b"") for peer in (ada, eve))
    assert [answer_to(bob, frame) for frame in (first, second)] == ["OK", "NOT_FOUND"]


# ---------------------------------------------------------------- limits


def test_times_of_a_package(world: World, pair: Tuple[Any, Any]) -> None:
    ada, bob = pair
    package = invite(bob, 0)
    read = wire.read_packages(package)[0]
    assert (read.not_before, read.not_after) == (world.time - HOUR, world.time + LIFETIME)
    mine, slow = (ada.start(bob.identity.name, package) for _ in range(2))
    world.time = read.not_after
    frames = [ada.encrypt(mine, b"") for _ in range(2)]
    world.time += 1
    with refusing("TIME"):
        ada.encrypt(slow, b"")
    with refusing("TIME"):
        ada.start(bob.identity.name, package)
    late = ada.encrypt(mine, b"")
    world.time = read.not_after + HOUR
    assert answer_to(bob, frames[0]) == "OK"
    world.time += 1
    assert answer_to(bob, late) == "OK"
    world.time = read.not_before - 1
    with refusing("TIME"):
        ada.start(bob.identity.name, package)


def test_a_welcome_that_comes_too_late(world: World, pair: Tuple[Any, Any]) -> None:
    ada, bob = pair
    package = invite(bob)
    frame = ada.encrypt(ada.start(bob.identity.name, package), b"")
    world.time = wire.read_packages(package)[0].not_after + HOUR + 1
    assert answer_to(bob, frame) == "TIME"


def test_sessions_of_one_identity(pair: Tuple[Any, Any]) -> None:
    ada, bob = pair
    package = invite(bob, 0)
    ids = [ada.start(bob.identity.name, package) for _ in range(8)]
    with refusing("LIMIT_SESSIONS"):
        ada.start(bob.identity.name, package)
    frames = [ada.encrypt(id, b"") for id in ids]
    ada.close(ids[0])
    frames.append(ada.encrypt(ada.start(bob.identity.name, package), b""))
    assert [answer_to(bob, frame) for frame in frames] == ["OK"] * 8 + ["LIMIT_SESSIONS"]


def test_unconfirmed_sessions_of_an_account(world: World, bob: Any) -> None:
    package, ada = invite(bob, 0), world("oracle", "ada")
    meet(ada, bob)
    for number in range(257):
        peer = world("oracle", f"peer {number}")
        last = peer.encrypt(peer.start(bob.identity.name, package), b"")
        assert answer_to(bob, last) == ("OK" if number < 256 else "LIMIT_SESSIONS")
    received = bob.receive(world.peers[-2].encrypt(next(iter(world.peers[-2].sessions)), b""))
    world.peers[-2].receive(bob.encrypt(received.session, b""))
    bob.receive(world.peers[-2].encrypt(next(iter(world.peers[-2].sessions)), b""))
    assert answer_to(bob, last) == "OK"


# ---------------------------------------------------------------- a peer that follows the page and no program


def test_suites_that_nobody_knows(world: World, bob: Any) -> None:
    ada = world("oracle", "ada")
    ada.suites = b"\x00\x01\x09\xff"
    mine, theirs = meet(ada, bob)
    bob.receive(ada.encrypt(mine, b""))
    peer = world("oracle", "peer")
    peer.suites = ada.suites
    meet(bob, peer)


def test_a_package_with_a_suite_that_is_not_taken(world: World, bob: Any) -> None:
    """A one-time key goes into the transcript with its KEM key, whatever suite is taken."""
    ada = world("oracle", "ada")
    ada.suites = b"\x01\x02"
    meet(bob, ada)


def test_control_parts_are_skipped(world: World, bob: Any) -> None:
    ada = world("oracle", "ada")
    mine, theirs = meet(ada, bob)
    controls = [(6, b""), (255, bytes(300)), (7, b"\0hidden")]
    assert bob.receive(ada.encrypt(mine, b"text", controls)).text == b"text"
    assert bob.receive(ada.encrypt(mine, b"", controls)).text == b""
    assert bob.receive(ada.encrypt(mine, None, controls)).text is None
    assert bob.receive(ada.encrypt(mine, None)).text is None


def test_the_type_says_what_the_text_is(world: World, bob: Any) -> None:
    ada = world("oracle", "ada")
    mine, theirs = meet(ada, bob)
    sending = ada.session(mine).sending
    for text in (b"\1", b"\0text", b"\7\0\0\0text", b"\1\2\0x"):
        assert bob.receive(sending.seal(mine, None, text, bytes(16))).text == text
    # Nobody sends a list of data alone; it is read all the same.
    assert bob.receive(sending.seal(mine, None, b"\0text", bytes(16), parts=True)).text == b"text"
    assert bob.receive(sending.seal(mine, None, b"\0", bytes(16), parts=True)).text == b""


@pytest.mark.parametrize("kind", KINDS)
def test_the_type_of_what_is_sent(world: World, bob: Any, kind: str) -> None:
    ada = world(kind, "ada")
    mine = ada.start(b"bob", invite(bob))
    theirs = bob.receive(ada.encrypt(mine, b"")).session
    assert [ada.encrypt(mine, text)[1] for text in (b"", b"\0", b"text")] == [2, 2, 2]
    ada.receive(bob.encrypt(theirs, b""))
    assert [len(ada.encrypt(mine, bytes(size))) - size for size in (0, 1, 64)] == [70] * 3
    assert ada.encrypt(mine, b"")[1] == 1


def test_parts_that_are_cut_off(world: World, bob: Any) -> None:
    ada = world("oracle", "ada")
    mine, theirs = meet(ada, bob)
    session, before = ada.session(mine), bob.state(b"ada")
    for plaintext in (b"\x01", b"\x01\x00", b"\x01\x02\x00x", b"\x01\x00\x00\x07"):
        frame = copy.deepcopy(session.sending).seal(mine, None, plaintext, bytes(16), parts=True)
        assert answer_to(bob, frame) == "DESYNCHRONIZED"
        assert bob.state(b"ada") == before
    assert bob.receive(ada.encrypt(mine, b"text")).text == b"text"


def test_what_the_header_says_is_diagnosed(world: World, bob: Any) -> None:
    ada = world("oracle", "ada")
    mine, theirs = meet(ada, bob)
    session, before = ada.session(mine), bob.state(b"ada")
    frame, next = ada.encrypt(mine, b"text"), session.sending.index - 1
    for at, number, answer in (
            (10, 1, "DESYNCHRONIZED"), (10, 2**32 - 1, "DESYNCHRONIZED"),
            (14, next + 1, "DESYNCHRONIZED"), (14, next - 1, "REPLAY"), (14, 0, "REPLAY"),
            (14, next + GAP, "DESYNCHRONIZED"), (14, next + GAP + 1, "DESYNCHRONIZED"),
            (14, 2**31 - 1, "DESYNCHRONIZED"), (14, 2**31, "LIMIT_INDEX"), (14, 2**32 - 1, "LIMIT_INDEX")):
        assert answer_to(bob, forged(session, frame, at, number)) == answer, (at, number)
        assert bob.state(b"ada") == before
    both = forged(session, forged(session, frame, 10, 1), 14, 2**31)
    assert answer_to(bob, both) == "LIMIT_INDEX"
    assert bob.receive(frame).text == b"text"


def test_an_epoch_that_is_not_known_and_a_prev_len(world: World, bob: Any) -> None:
    ada = world("oracle", "ada")
    mine, theirs = meet(ada, bob)
    session = ada.session(mine)
    later = copy.deepcopy(session.sending)
    later.epoch = 1
    assert answer_to(bob, later.seal(mine, None, b"", bytes(16))) == "DESYNCHRONIZED"
    session.sending.prev_len = 7
    assert answer_to(bob, ada.encrypt(mine, b"")) == "OK"


def test_the_widest_gap(world: World, bob: Any) -> None:
    ada = world("oracle", "ada")
    mine, theirs = meet(ada, bob)
    sending = ada.session(mine).sending
    for _ in range(GAP):
        sending.chain, _ = wire.step(sending.chain)
    sending.index += GAP
    edge, beyond = ada.encrypt(mine, b"edge"), ada.encrypt(mine, b"beyond")
    before = bob.state(b"ada")
    assert answer_to(bob, beyond) == "DESYNCHRONIZED"
    assert bob.state(b"ada") == before
    assert [answer_to(bob, frame) for frame in (edge, beyond)] == ["OK", "OK"]
    assert bob.lost(theirs) == GAP - wire.KEPT_OF_GAP


def test_lanes_are_remembered_and_forgotten(world: World, bob: Any) -> None:
    ada = world("oracle", "ada")
    mine, theirs = meet(ada, bob)
    sending, sent = ada.session(mine).sending, []
    old = copy.deepcopy(sending)
    for number in range(20):
        sending.lane = bytes([number] * 8)
        sent += [ada.encrypt(mine, b"") for _ in range(3)]
        assert answer_to(bob, sent[-1]) == answer_to(bob, sent[-3]) == "OK"
    # 21 lanes with the one of the beginning, 5 of them forgotten: up to 3 messages in each of 4.
    for number in range(60):
        frame = copy.deepcopy(old).seal(mine, None, b"", bytes(16))
        frame = forged(ada.session(mine), frame, 14, old.index + number)
        if number % 3 == 1:
            continue  # its key is kept
        assert answer_to(bob, frame) == ("REPLAY" if number < 12 else "DESYNCHRONIZED"), number
    assert {answer_to(bob, frame) for at, frame in enumerate(sent) if at % 3 != 1} == {"REPLAY"}
    assert {answer_to(bob, frame) for at, frame in enumerate(sent) if at % 3 == 1} == {"OK"}


def test_forgotten_lanes_are_not_told_from_unknown_ones(world: World, bob: Any) -> None:
    ada = world("oracle", "ada")
    mine, theirs = meet(ada, bob)
    sending = ada.session(mine).sending
    wide, sent = sending.lane, []
    for number in range(17):
        sending.lane = bytes([number] * 8)
        sent.append(ada.encrypt(mine, b""))
        sending.lane = wide
        assert answer_to(bob, sent[-1]) == answer_to(bob, ada.encrypt(mine, b"")) == "OK"
    # 18 lanes, 2 of them forgotten; all of this lies in the range of the wide one.
    sending.lane = bytes([99] * 8)
    for number, answer in enumerate(["REPLAY"] * 2 + ["DESYNCHRONIZED"] * 3):
        sending.index = index(sent[number])
        assert answer_to(bob, ada.encrypt(mine, b"")) == answer, number


# ---------------------------------------------------------------- rekeying


@pytest.fixture(params=[("oracle", "library"), ("library", "oracle"), ("library", "library")], ids="-".join)
def talk(world: World, request: Any) -> "Talk":
    return Talk(world, *request.param)


class Talk:
    """Two peers in a session, whose control frames the test carries."""

    def __init__(self, world: World, first: str, second: str) -> None:
        self.world = world
        self.ada, self.bob = world(first, "ada"), world(second, "bob")
        self.mine, self.theirs = meet(self.ada, self.bob)
        self.sides = (self.ada, self.mine, self.bob, self.theirs), (self.bob, self.theirs, self.ada, self.mine)

    def settle(self) -> None:
        """Carries until nobody says anything more."""
        while True:
            frames = [(to, frame) for peer, _, to, _ in self.sides for frame in peer.sent()]
            for to, frame in frames:
                assert answer_to(to, frame) == "OK"
            if not frames:
                return

    def wait(self, milliseconds: int = 400) -> None:
        self.world.time += milliseconds
        for peer in (self.ada, self.bob):
            peer.run_due()

    def epochs(self) -> Tuple[int, int]:
        return self.ada.epoch(self.mine), self.bob.epoch(self.theirs)

    def works(self) -> None:
        for peer, id, to, other in self.sides:
            text = os.urandom(8)
            received = to.receive(peer.encrypt(id, text))
            assert (received.text, received.session) == (text, other)


def one(frames: List[bytes]) -> bytes:
    (frame,) = frames
    return frame


def test_epochs_follow_each_other(talk: Talk) -> None:
    late: List[Tuple[Any, bytes, bytes]] = []
    for target in range(1, 7):
        peer, id, _, _ = talk.sides[target % 2]
        for sender, session, to, _ in talk.sides:
            text = os.urandom(9)
            late.append((to, sender.encrypt(session, text), text))
        assert peer.rekey(id) == target
        assert peer.rekey(id) == target, "joins"
        talk.settle()
        assert talk.epochs() == (target, target)
        talk.works()
        talk.works()
    for to, frame, text in late:
        assert to.receive(frame).text == text
        assert answer_to(to, frame) == "REPLAY"
    assert not talk.ada.desynchronized(talk.mine) and not talk.bob.desynchronized(talk.theirs)


def test_a_fresh_epoch_is_offered_with_the_finish(talk: Talk) -> None:
    for peer, id, to, other in talk.sides:
        before = peer.epoch(id)
        peer.rekey(id)
        assert peer.rekey(id, fresh=True) == before + 2
        to.receive(one(peer.sent()))
        peer.receive(one(to.sent()))
        frame = one(peer.sent())
        assert wire.read_frame(frame).epoch == before + 1 == peer.epoch(id)
        to.receive(frame)
        talk.settle()
        assert talk.epochs() == (before + 2,) * 2
        talk.works()


def test_crossed_offers(talk: Talk) -> None:
    led: Set[bool] = set()
    for target in range(1, 17):
        talk.ada.rekey(talk.mine)
        talk.bob.rekey(talk.theirs)
        offers = [(to, one(peer.sent())) for peer, _, to, _ in talk.sides]
        said = {}
        for to, offer in offers if target % 2 else offers[::-1]:
            assert answer_to(to, offer) == "OK"
            said[to is talk.ada] = to.sent()
        # One of the two answers, the other waits for it.
        assert sorted(len(frames) for frames in said.values()) == [0, 1]
        led.add(not said[True])
        for peer, _, to, _ in talk.sides:
            for frame in said[peer is talk.ada]:
                to.receive(frame)
        talk.settle()
        assert talk.epochs() == (target, target)
        talk.works()
    assert led == {True, False}


def test_what_is_lost_is_said_again(talk: Talk) -> None:
    for peer, id, to, other in talk.sides:
        before = peer.epoch(id)
        peer.rekey(id)
        lost = [one(peer.sent())]
        talk.wait()
        to.receive(one(peer.sent()))  # the offer
        lost.append(one(to.sent()))  # the answer
        talk.wait()
        talk.wait()
        peer.receive(to.sent()[-1])
        assert (peer.epoch(id), to.epoch(other)) == (before + 1, before)
        lost += peer.sent()  # the finish
        late = peer.encrypt(id, b"commits")
        assert peer.receive(to.encrypt(other, b"under the old")).text == b"under the old"
        talk.wait(1000)
        talk.settle()
        assert talk.epochs() == (before + 1,) * 2
        talk.wait(700_000)
        assert talk.ada.sent() == talk.bob.sent() == []
        assert to.receive(late).text == b"commits"
        # What was lost comes after all.
        assert [answer_to(who, frame) for who, frame in zip((to, peer, to), lost)] == ["OK"] * 3
        talk.settle()
        assert talk.epochs() == (before + 1,) * 2
        talk.wait(1000)
        talk.works()


def test_any_message_under_the_next_epoch_commits_it(talk: Talk) -> None:
    talk.ada.rekey(talk.mine)
    talk.bob.receive(one(talk.ada.sent()))
    under_0 = talk.bob.encrypt(talk.theirs, b"0")
    talk.ada.receive(one(talk.bob.sent()))
    talk.ada.sent()
    assert talk.epochs() == (1, 0)
    frames = [talk.ada.encrypt(talk.mine, text) for text in (b"first", b"second")]
    assert talk.bob.receive(frames[1]).text == b"second"
    assert talk.epochs() == (1, 1)
    assert talk.bob.receive(frames[0]).text == b"first"
    talk.wait(2000)
    assert talk.bob.sent() == []
    assert talk.ada.receive(talk.bob.encrypt(talk.theirs, b"1")).text == b"1"
    assert talk.ada.receive(under_0).text == b"0"


def test_a_rekey_before_the_first_answer(world: World) -> None:
    for kinds in (("oracle", "library"), ("library", "oracle")):
        ada, bob = (world(kind, name) for kind, name in zip(kinds, ("ada", "bob")))
        mine = ada.start(b"bob", invite(bob))
        assert ada.rekey(mine) == 1
        frame = one(ada.sent())
        assert frame[1] == 4
        theirs = bob.receive(frame).session
        ada.receive(one(bob.sent()))
        bob.receive(one(ada.sent()))
        assert ada.epoch(mine) == bob.epoch(theirs) == 1 and ada.confirmed(mine) and bob.confirmed(theirs)
        assert bob.receive(ada.encrypt(mine, b"text")).text == b"text"


def test_an_offer_that_is_put_off(world: World) -> None:
    talk = Talk(world, "library", "oracle")
    talk.bob.session(talk.theirs).answers = [world.time] * wire.ANSWERS
    talk.ada.rekey(talk.mine)
    talk.bob.receive(one(talk.ada.sent()))
    talk.ada.receive(one(talk.bob.sent()))
    talk.wait(999)
    assert talk.ada.sent() == []
    talk.wait(1)
    talk.settle()
    assert talk.epochs() == (1, 1)


def test_too_many_offers_are_put_off(world: World) -> None:
    talk = Talk(world, "oracle", "library")
    for target in range(1, wire.ANSWERS + 2):
        talk.ada.rekey(talk.mine)
        talk.bob.receive(one(talk.ada.sent()))
        talk.ada.receive(one(talk.bob.sent()))
        for finish in talk.ada.sent():
            talk.bob.receive(finish)
    assert talk.epochs() == (wire.ANSWERS, wire.ANSWERS)
    due = talk.ada.session(talk.mine).due
    assert due is not None and 1000 <= due - world.time <= 1001
    talk.wait(1001)
    talk.settle()
    assert talk.epochs() == (target, target)
    talk.works()


def test_a_round_that_stalls(talk: Talk) -> None:
    talk.ada.rekey(talk.mine)
    for retry in range(wire.STALL):
        assert talk.ada.told("STALLED", talk.mine) == []
        talk.ada.sent()
        talk.wait(400 << retry)
    assert len(talk.ada.told("STALLED", talk.mine)) == 1
    talk.settle()
    assert talk.epochs() == (1, 1)


def test_closing(talk: Talk) -> None:
    talk.ada.rekey(talk.mine)
    talk.settle()
    late = talk.ada.encrypt(talk.mine, b"late")
    talk.bob.rekey(talk.theirs)
    offer = one(talk.bob.sent())
    talk.ada.close(talk.mine)
    lost, later = one(talk.ada.sent()), talk.bob.encrypt(talk.theirs, b"")
    for again, frame in ((1, offer), (0, later)):
        assert answer_to(talk.ada, frame) == "NOT_FOUND"
        assert len(frames := talk.ada.sent()) == again
        if frames:
            assert answer_to(talk.bob, frames[0]) == "OK"
    assert len(talk.bob.told("SESSION_CLOSED", talk.theirs)) == 1
    assert answer_to(talk.bob, lost) == "OK" and talk.bob.sent() == []
    with refusing("STATE_RECEIVE_ONLY"):
        talk.bob.rekey(talk.theirs)
    assert talk.bob.receive(late).text == b"late"
    # What comes after a close is told so; and who has closed says so no sooner than after a second.
    assert answer_to(talk.ada, one(talk.bob.sent())) == "NOT_FOUND" and talk.ada.sent() == []
    talk.wait(1000)
    assert talk.bob.sent() == []
    assert answer_to(talk.ada, later) == "NOT_FOUND" and len(talk.ada.sent()) == 1
    talk.world.time += 7 * DAY
    talk.ada.run_due()
    assert answer_to(talk.ada, later) == "NOT_FOUND" and talk.ada.sent() == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_has_at_most_16_parts(world: World, kind: str) -> None:
    talk = Talk(world, "oracle", kind)
    for count in (16, 17):
        frame = talk.ada.encrypt(talk.mine, b"x", [(99, b"")] * count)
        assert answer_to(talk.bob, frame) == ("OK" if count == 16 else "DESYNCHRONIZED")


@pytest.mark.parametrize("kind", KINDS)
def test_closing_in_an_epoch_in_which_nothing_was_sent(world: World, kind: str) -> None:
    talk = Talk(world, kind, "oracle")
    talk.bob.rekey(talk.theirs)
    talk.settle()
    assert talk.epochs() == (1, 1)
    talk.ada.close(talk.mine)
    talk.bob.receive(one(talk.ada.sent()))
    assert talk.bob.told("SESSION_CLOSED", talk.theirs)


def test_keys_of_eight_epochs_are_kept(talk: Talk) -> None:
    frames = []
    for target in range(1, 12):
        frames.append(talk.ada.encrypt(talk.mine, b"late"))
        talk.ada.rekey(talk.mine)
        talk.settle()
        talk.works()
    # Of epochs 0 to 10, all closed, 3 to 10 are remembered.
    assert talk.bob.lost(talk.theirs) >= 3
    assert [answer_to(talk.bob, frame) for frame in frames] == ["REPLAY"] * 3 + ["OK"] * 8
    empty = one(talk.bob.sent())
    assert talk.ada.receive(empty).text is None and talk.ada.sent() == []
    assert answer_to(talk.bob, frames[0]) == "REPLAY" and talk.bob.sent() == []
    talk.wait(1000)
    assert answer_to(talk.bob, frames[0]) == "REPLAY" and len(talk.bob.sent()) == 1
    assert [answer_to(talk.bob, frame) for frame in frames[3:]] == ["REPLAY"] * 8
    assert talk.bob.sent() == []


def test_a_stolen_chain_ends_with_its_epoch(world: World, bob: Any, tmp_path: Path) -> None:
    ada = world("oracle", "ada")
    mine, theirs = meet(ada, bob)
    late = ada.encrypt(mine, b"late")
    thief = copy.deepcopy(ada.session(mine).sending)
    ada.rekey(mine)
    bob.receive(one(ada.sent()))
    ada.receive(one(bob.sent()))
    finish = one(ada.sent())
    # Below prev_len there is the offer; the thief's next index is not its own.
    thief.chain, thief.index = wire.step(thief.chain)[0], thief.index + 1
    before = bob.state(b"ada")
    assert thief.index == wire.read_frame(finish).prev_len
    bob.receive(finish)
    after = bob.state(b"ada")
    assert before != after
    assert answer_to(bob, thief.seal(mine, None, b"forged", bytes(16))) == "AUTH"
    # It may be a peer that was put back, and shall learn how far Bob is, once a second.
    assert one(bob.sent())
    after = bob.state(b"ada")
    for _ in range(3):
        assert answer_to(bob, thief.seal(mine, None, b"forged", bytes(16))) == "AUTH"
    assert bob.state(b"ada") == after and bob.sent() == []
    thief.index = index(late)
    assert answer_to(bob, thief.seal(mine, None, b"forged", bytes(16))) == "DESYNCHRONIZED"
    assert bob.receive(late).text == b"late"


def test_a_prev_len_that_is_too_high(world: World, bob: Any) -> None:
    ada = world("oracle", "ada")
    mine, theirs = meet(ada, bob)
    ada.rekey(mine)
    bob.receive(one(ada.sent()))
    ada.receive(one(bob.sent()))
    sending, before = ada.session(mine).sending, bob.state(b"ada")
    ada.sent()
    for extra, answer in ((GAP + 1, "DESYNCHRONIZED"), (GAP, "OK")):
        assert bob.state(b"ada") == before
        lying = copy.deepcopy(sending)
        lying.prev_len += extra
        assert answer_to(bob, lying.seal(mine, None, b"", bytes(16))) == answer
    assert bob.lost(theirs) == GAP - wire.KEPT_OF_GAP


# States of a side for the next epoch, and how the other brings it there.


def idle(ada: Any, mine: bytes, bob: Any, theirs: bytes) -> None:
    """Nothing is under way."""


def offered(ada: Any, mine: bytes, bob: Any, theirs: bytes) -> None:
    bob.rekey(theirs)
    ada.receive(one(bob.sent()))  # answers
    ada.sent()


def answered(ada: Any, mine: bytes, bob: Any, theirs: bytes) -> None:
    ada.rekey(mine)
    bob.receive(one(ada.sent()))
    bob.sent()


Part = wire.Part
HIGH = bytes(31) + b"\x80"


def refused_parts(state: Callable[..., None], ada: Any, mine: bytes) -> Iterator[Tuple[Part, str]]:
    """Parts that are refused in a message under the epoch that counts, which is 1."""
    s = ada.session(mine)
    yield Part(wire.ANSWER, 2, bytes(16), bytes(32), bytes(32)), "DESYNCHRONIZED"
    yield Part(wire.OFFER, 2, data=bytes(32), suite=2), "DESYNCHRONIZED"
    if state is idle:
        for key in (HIGH, bytes(32), bytes(31), bytes(33), b""):
            yield Part(wire.OFFER, 2, data=key), "AUTH"
    elif state is answered:
        other = wire.Kem().pair(os.urandom)[1]
        yield Part(wire.OFFER, 2, data=other), "DESYNCHRONIZED"
    else:
        answer = s.rekey.said()[0]
        assert answer.type == wire.ANSWER
        for data, status in ((HIGH, "AUTH"), (bytes(32), "AUTH"), (bytes(31), "DESYNCHRONIZED"),
                             (os.urandom(31) + b"\0", "DESYNCHRONIZED")):
            yield answer._replace(data=data), status
        yield answer._replace(confirmation=bytes(32)), "DESYNCHRONIZED"
        yield answer._replace(offer=bytes(16)), "DESYNCHRONIZED"


def parts_without_effect() -> Iterator[Part]:
    for target in (3, 2**32 - 1):
        yield Part(wire.OFFER, target, data=b"")
        yield Part(wire.ANSWER, target, bytes(16), bytes(32))
    for target in (0, 1, 2, 3):
        yield Part(wire.FINISH, target, bytes(16), bytes(32))
    yield Part(wire.BUSY, offer=bytes(16), pause=2**32 - 1)


@pytest.mark.parametrize("state", [idle, offered, answered], ids=lambda state: state.__name__)
def test_parts_that_are_refused(world: World, bob: Any, state: Callable[..., None]) -> None:
    ada = world("oracle", "ada")
    mine, theirs = meet(ada, bob)
    ada.rekey(mine)
    bob.receive(one(ada.sent()))
    ada.receive(one(bob.sent()))
    bob.receive(one(ada.sent()))
    state(ada, mine, bob, theirs)
    before, sending = bob.state(b"ada"), ada.session(mine).sending

    def frame(parts: List[Part], text: Any = None) -> bytes:
        trial = copy.deepcopy(ada)
        return bytes(trial.encrypt(mine, text, [(part.type, part.body()) for part in parts]))

    for part, status in refused_parts(state, ada, mine):
        for text in (None, b"text"):
            harmless = Part(wire.FINISH, 1, bytes(16), bytes(32))
            assert answer_to(bob, frame([harmless, part], text)) == status, part
            assert bob.state(b"ada") == before and bob.sent() == [], part
    assert bob.desynchronized(theirs)
    for part in parts_without_effect():
        assert bob.receive(ada.encrypt(mine, b"text", [(part.type, part.body())])).text == b"text", part
        assert bob.sent() == [] and bob.epoch(theirs) == 1, part
    # All goes on as if nothing had been.
    world.time += 400
    for peer in (ada, bob):
        peer.run_due()
    if state is idle:
        ada.rekey(mine)
    for _ in range(4):
        for peer, to in ((ada, bob), (bob, ada)):
            for data in peer.sent():
                assert answer_to(to, data) == "OK"
    assert ada.epoch(mine) == bob.epoch(theirs) == 2
    assert bob.receive(ada.encrypt(mine, b"on")).text == b"on"


def test_confirmations_are_compared(world: World, bob: Any) -> None:
    ada = world("oracle", "ada")
    mine, theirs = meet(ada, bob)
    s = ada.session(mine)
    ada.rekey(mine)
    bob.receive(one(ada.sent()))
    answer = one(bob.sent())
    ada.receive(answer)
    before, finish = bob.state(b"ada"), one(ada.sent())
    right = s.rekey.finished
    assert right
    wrong = Part(wire.FINISH, 1, right.offer, right.of_answer)
    assert answer_to(bob, copy.deepcopy(ada).encrypt(mine, b"", [(wrong.type, wrong.body())])) == "DESYNCHRONIZED"
    assert bob.state(b"ada") == before and bob.epoch(theirs) == 0
    assert answer_to(bob, finish) == "OK" and bob.epoch(theirs) == 1
    # The other way: an answer that comes again with another confirmation.
    bob.rekey(theirs)
    ada.receive(one(bob.sent()))
    answered = s.rekey.said()[0]
    bob.receive(one(ada.sent()))
    finish, before = one(bob.sent()), bob.state(b"ada")
    for part, status in ((answered._replace(confirmation=bytes(32)), "DESYNCHRONIZED"), (answered, "OK")):
        assert bob.state(b"ada") == before
        assert answer_to(bob, copy.deepcopy(ada).encrypt(mine, None, [(part.type, part.body())])) == status
    again = one(bob.sent())
    ada.receive(again)
    assert ada.epoch(mine) == 2
    assert answer_to(ada, finish) == "OK"


def test_a_stale_offer_is_answered_once_a_second(world: World, bob: Any) -> None:
    ada = world("oracle", "ada")
    mine, theirs = meet(ada, bob)
    ada.rekey(mine)
    stale = ada.session(mine).rekey.said()[0]
    bob.receive(one(ada.sent()))
    ada.receive(one(bob.sent()))
    bob.receive(one(ada.sent()))
    other = Part(wire.ANSWER, 1, bytes(16), bytes(32), bytes(32))
    said = []
    for part, wait in ((stale, 0), (other, 999), (stale, 1), (stale, 0), (other, 1000)):
        world.time += wait
        assert bob.receive(ada.encrypt(mine, b"text", [(part.type, part.body())])).text == b"text"
        said.append(bob.sent())
    assert [len(frames) for frames in said] == [1, 0, 1, 0, 1]
    for frame in itertools.chain.from_iterable(said):
        assert ada.receive(frame).text is None and ada.sent() == []
        assert wire.read_frame(frame).epoch == 1 and len(frame) == wire.HEAD + wire.TAG


def test_the_form_of_parts(world: World, bob: Any) -> None:
    ada = world("oracle", "ada")
    mine, theirs = meet(ada, bob)
    before = bob.state(b"ada")
    fixed = {wire.OFFER: 5, wire.ANSWER: 52, wire.FINISH: 52, wire.BUSY: 20, wire.CLOSE: 0}
    for type, size in fixed.items():
        bad = list(range(size)) + ([size + 1] if type > wire.ANSWER else [])
        for length in bad:
            frame = copy.deepcopy(ada).encrypt(mine, b"text", [(type, bytes(length))])
            assert answer_to(bob, frame) == "DESYNCHRONIZED", (type, length)
            # No part has an effect before the form of all was looked at.
            frame = copy.deepcopy(ada).encrypt(mine, None, [(wire.CLOSE, b""), (type, bytes(length))])
            assert answer_to(bob, frame) == "DESYNCHRONIZED", (type, length)
    assert bob.state(b"ada") == before and bob.sent() == []
    assert bob.receive(ada.encrypt(mine, b"text")).text == b"text"


@pytest.mark.parametrize("part", ["offer", "answer", "finish"])
def test_every_flip_and_cut_of_a_control_frame_is_refused(world: World, bob: Any, part: str) -> None:
    ada = world("oracle", "ada")
    mine, theirs = meet(ada, bob)
    peers = (bob, theirs, ada) if part == "answer" else (ada, mine, bob)
    peers[0].rekey(peers[1])
    frame = one(peers[0].sent())
    if part != "offer":
        peers[2].receive(frame)
        frame = one(peers[2].sent())
    if part == "finish":
        ada.receive(frame)
        frame = one(ada.sent())
    before, epoch = bob.state(b"ada"), bob.epoch(theirs)
    assert frame[1] == 3
    for bit, (bad, expected) in enumerate(zip(
            flips(frame), (answers for answers in regions(frame, False) for _ in range(8)))):
        answer = answer_to(bob, bad)
        assert answer in expected, (bit, answer)
        assert bob.state(b"ada") == before, bit
    for size in range(len(frame)):
        assert answer_to(bob, frame[:size]) == (DESYNCHRONIZED if size >= wire.HEAD + wire.TAG else AUTH)
        assert bob.state(b"ada") == before, size
    assert bob.sent() == [] and bob.epoch(theirs) == epoch
    assert answer_to(bob, frame) == "OK"
    assert (bob.epoch(theirs) == epoch) == (part == "offer")


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_welcome_with_refused_parts(world: World, kind: str) -> None:
    bob = world(kind, "bob")
    for type, body in ((wire.OFFER, b""), (wire.CLOSE, b"!"), (wire.OFFER, b"\1\0\0\0\1" + bytes(32)),
                       (wire.ANSWER, b"\1\0\0\0" + bytes(80)), (wire.OFFER, b"\1\0\0\0\2" + bytes(32))):
        ada = world("oracle", "ada")
        package = invite(bob, 0)
        frame = ada.encrypt(ada.start(b"bob", package), b"hello", [(type, body)])
        before = bob.state(b"ada"), bob.state(b"bob")
        for _ in range(9):
            assert answer_to(bob, frame) == "AUTH", (type, body)
        assert (bob.state(b"ada"), bob.state(b"bob")) == before, (type, body)
        assert answer_to(bob, ada.encrypt(ada.start(b"bob", package), b"hello")) == "OK"


def test_a_side_that_was_put_back(talk: Talk, tmp_path: Path) -> None:
    old = talk.world.restored(talk.bob, tmp_path)
    for _ in range(2):
        talk.ada.rekey(talk.mine)
        talk.settle()
        talk.works()
    assert answer_to(old, talk.ada.encrypt(talk.mine, b"")) == "DESYNCHRONIZED"
    assert old.desynchronized(talk.theirs)


def test_a_side_that_was_put_back_within_a_round_heals(talk: Talk, tmp_path: Path) -> None:
    """Who had answered is put back to that, and hears the other side under the next epoch."""
    talk.ada.rekey(talk.mine)
    talk.bob.receive(one(talk.ada.sent()))
    old = talk.world.restored(talk.bob, tmp_path)
    answer = one(talk.bob.sent())
    talk.ada.receive(answer)
    talk.bob.receive(one(talk.ada.sent()))
    assert talk.epochs() == (1, 1)
    assert old.receive(talk.ada.encrypt(talk.mine, b"under 1")).text == b"under 1"
    assert old.epoch(talk.theirs) == 1
    assert talk.ada.receive(old.encrypt(talk.theirs, b"also")).text == b"also"


# ---------------------------------------------------------------- what is refused


def test_packages_that_are_refused(world: World, bob: Any) -> None:
    ada = world("oracle", "ada")
    for case in make_vectors.refused_packages(ada):
        with refusing(case["status"]):
            bob.start(ada.identity.name, bytes.fromhex(case["bytes"]))
            pytest.fail(case["why"])
        assert bob.state(b"ada") == bob.state(b"nobody"), case["why"]
    with refusing("STATE_SELF"):
        bob.start(b"bob", invite(bob))
    with refusing("MISUSE_PACKAGE"):
        bob.start(b"ada", b"\x01")
    bob.start(b"ada", invite(ada))


def test_every_flip_and_cut_of_a_package_is_refused(world: World, bob: Any) -> None:
    ada, eve = world("oracle", "ada"), world("oracle", "eve")
    package = invite(ada)

    def answer(peer: Any, data: bytes) -> str:
        with pytest.raises(Refused) as refused:
            peer.start(b"ada", data)
        return str(refused.value)

    alone = len(ada.package()[0])
    for bad in itertools.chain(flips(package), (package[:size] for size in range(len(package)))):
        if len(bad) != alone:
            assert answer(bob, bad) == answer(eve, bad) in ("VERSION", "MISUSE_PACKAGE", "AUTH")


def test_lying_initiators_are_refused(world: World, bob: Any) -> None:
    package = invite(bob)
    before = bob.state(b"eve"), bob.state(b"bob")
    for case in make_vectors.refused_frames(bob, package):
        assert answer_to(bob, bytes.fromhex(case["bytes"])) == case["status"], case["why"]
        assert (bob.state(b"eve"), bob.state(b"bob")) == before, case["why"]
    eve = world("oracle", "eve")
    assert answer_to(bob, eve.encrypt(eve.start(b"bob", package), b"")) == "OK"


def test_a_suite_list_that_was_stripped_on_the_way(world: World, bob: Any) -> None:
    ada = world("oracle", "ada")
    ada.suites = b"\x01\x09"
    frame = ada.encrypt(ada.start(b"bob", invite(bob)), b"")
    welcome = wire.read_frame(frame).welcome
    assert welcome
    data, stripped = welcome.data(), welcome._replace(suites=b"\x01").data()
    at = len(data).to_bytes(2, "little") + data
    assert at in frame
    bad = frame.replace(at, len(stripped).to_bytes(2, "little") + stripped)
    assert answer_to(bob, bad) == "AUTH"
    assert answer_to(bob, frame) == "OK"


def flips(data: bytes) -> Iterator[bytes]:
    """The bytes with each bit changed in turn."""
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


AUTH, NOT_FOUND, DESYNCHRONIZED = "AUTH", "NOT_FOUND", "DESYNCHRONIZED"


def regions(frame: bytes, fresh: bool) -> List[Set[str]]:
    """What may be answered when a bit of each byte is changed, in the order of the bytes."""
    read = wire.read_frame(frame)
    welcome = read.welcome
    passed = {AUTH} if fresh else {DESYNCHRONIZED}
    header: List[Tuple[int, Set[str]]] = [
        (1, {"VERSION", AUTH}), (1, {AUTH, NOT_FOUND} if fresh else {AUTH}), (8, {AUTH} if welcome else {NOT_FOUND}), (44, {AUTH})]
    if welcome:
        form = {AUTH, NOT_FOUND}
        header += [
            (2, {AUTH}), (1, {AUTH}), (64, passed),
            (1, form), (len(welcome.initiator.name), {AUTH} | passed),
            (1, form), (len(welcome.responder), {AUTH} | passed),
            (1, form), (len(welcome.suites), {AUTH} | passed),
            (16, {NOT_FOUND}), (4, form if fresh else passed),
            (32, {AUTH} if fresh else {NOT_FOUND}), (8, passed)]
    header.append((len(read.sealed), passed))
    return [answers for size, answers in header for _ in range(size)]


@pytest.mark.parametrize("type", ["fresh welcome", "known welcome", "without welcome", "answer"])
def test_every_flip_and_cut_of_a_frame_is_refused(world: World, bob: Any, type: str) -> None:
    ada = world("oracle", "ada")
    if type in ("fresh welcome", "known welcome"):
        mine = ada.start(b"bob", b"".join(bob.package(3)[::2]))
        if type == "known welcome":
            bob.receive(ada.encrypt(mine, b"first"))
    elif type == "without welcome":
        mine, _ = meet(ada, bob)
    else:
        theirs = bob.start(b"ada", invite(ada))
        mine = ada.receive(bob.encrypt(theirs, b"first")).session
    frame, fresh = ada.encrypt(mine, bytes(64)), type == "fresh welcome"
    expected = regions(frame, fresh)
    assert len(expected) == len(frame)
    before = bob.state(b"ada")
    for bit, bad in enumerate(flips(frame)):
        answer = answer_to(bob, bad)
        assert answer in expected[bit // 8], (bit // 8, bit % 8, answer)
        assert bob.state(b"ada") == before, bit
    shortest = len(frame) - len(wire.read_frame(frame).sealed) + wire.TAG
    for size in range(len(frame)):
        cut = DESYNCHRONIZED if size >= shortest and not fresh else AUTH
        assert answer_to(bob, frame[:size]) == cut, size
        assert bob.state(b"ada") == before, size
    assert answer_to(bob, frame + b"\0") == (AUTH if fresh else DESYNCHRONIZED)
    assert bob.receive(frame).text == bytes(64)


def test_the_type_is_under_the_filter(world: World, bob: Any) -> None:
    ada = world("oracle", "ada")
    mine = ada.start(b"bob", invite(bob))
    frame = ada.encrypt(mine, b"")
    retyped = [frame[:1] + bytes([type]) + frame[2:] for type in (1, 3, 4)]
    assert [answer_to(bob, bad) for bad in retyped] == ["NOT_FOUND", "NOT_FOUND", "AUTH"]
    assert answer_to(bob, frame) == "OK"
    assert [answer_to(bob, bad) for bad in retyped] == ["AUTH"] * 3


# ---------------------------------------------------------------- vectors


def test_the_vectors_are_those_that_the_oracle_makes() -> None:
    for target, made in ((make_vectors.TARGET, make_vectors.vectors()),
                         (make_vectors.TARGET_2, make_vectors.of_suite_2())):
        assert target.read_text(encoding="utf-8") == make_vectors.text(made)
        assert target.stat().st_size < 80_000


def test_the_vectors_of_rounds_suffice() -> None:
    """Two sides that draw what the file says say its parts, and have its keys."""
    it = json.loads(make_vectors.TARGET.read_text(encoding="utf-8"))["rekeying"]
    keys = {0: (it["root"], it["chains"])}
    sides = {name: wire.Rekey(bytes.fromhex(it["ids"][0]), name == "initiator", wire.Kem(), bytes.fromhex(it["root"]))
             for name in ("initiator", "responder")}
    for target, round in enumerate(it["rounds"], 1):
        drawn = [bytes.fromhex(round[name]) for name in ("offered_secret", "ephemeral_secret")]
        first, second = sorted(sides, key=lambda name: name != round["from"])
        offerer, answerer = (wire.Outcome(sides[name], lambda size: drawn.pop(0), True) for name in (first, second))
        offerer.want(0)
        (offer,) = offerer.phase
        answerer.message([offer], target - 1)
        (answer,) = answerer.phase
        offerer.message([answer], target - 1)
        (finish,) = offerer.finish
        answerer.message([finish], target)
        assert [wire.framed(p.type, p.body()).hex() for p in (offer, answer, finish)] == round["parts"]
        for outcome in (offerer, answerer):
            made = outcome.committed
            assert made and (made.target, outcome.rekey.epoch) == (target, target) and not outcome.parts()[1:]
            assert [x.hex() for x in (made.offer, made.transcript, made.e, made.root, *made.chains)] == [
                round["offer_id"], round["transcript"], round["e"], round["root"], *round["chains"]]
            assert [made.of_answer.hex(), made.of_finish.hex()] == round["confirmations"]
        sides = {first: offerer.rekey, second: answerer.rekey}
        keys[target] = round["root"], round["chains"]
    for frame in it["frames"]:
        if "random" in frame:
            side = frame["from"] == "responder"
            sending = wire.Sending(bytes.fromhex(keys[frame["epoch"]][1][side]),
                                   bytes.fromhex(it["filters"][side]), bytes.fromhex(frame["lane"]))
            for _ in range(frame["index"]):
                sending.chain = wire.step(sending.chain)[0]
            sending.epoch, sending.index, sending.prev_len = (frame[x] for x in ("epoch", "index", "prev_len"))
            assert wire.step(sending.chain)[1].hex() == frame["message_key"]
            data = bytes.fromhex(frame["bytes"])
            assert sending.seal(bytes.fromhex(it["ids"][0]), wire.read_frame(data).welcome,
                                bytes.fromhex(frame["plaintext"]), bytes.fromhex(frame["random"]),
                                data[1] > 2) == data
    assert {frame["epoch"] for frame in it["frames"] if "random" in frame} == {0, 1, 2, 3}


@pytest.mark.parametrize("target", [make_vectors.TARGET, make_vectors.TARGET_2], ids=["suite 1", "suite 2"])
def test_the_vectors_suffice(target: Path) -> None:
    """Two peers made from what the file says, and nothing else, do and answer what it says."""
    found = json.loads(target.read_text(encoding="utf-8"))

    def kem(of: Any, name: str = "kem_secret") -> List[str]:
        return [of[name]] if name in of else []

    def peer(side: str, *drawn: str) -> wire.Peer:
        it = found[side]
        draws = iter([bytes.fromhex(x) for x in (it["signing_seed"], it["agreement_secret"], *drawn)])

        def draw(size: int) -> bytes:
            part = next(draws)
            assert len(part) == size
            return part

        made = wire.Peer(it["name"], draw, lambda: found["now"])
        made.suites = bytes.fromhex(found["package"]["suites"])
        return made

    for wanted in found["sessions"]:
        sent: Dict[str, List[Any]] = {"initiator": [], "responder": []}
        for frame in wanted["frames"]:
            if "random" in frame:
                sent[frame["from"]].append(frame)
        lanes = {side: frames[0]["lane"] for side, frames in sent.items()}
        randoms = {side: [f["random"] for f in frames if f["lane"] == lanes[side]]
                   for side, frames in sent.items()}
        keys = found["one_time_keys"]
        ada = peer("initiator", wanted["ephemeral_secret"], *kem(wanted, "kem_ephemeral_secret"),
                   lanes["initiator"], *randoms["initiator"])
        bob = peer("responder", found["package"]["init_secret"], found["package"]["id"], *kem(found["package"]),
                   *(part for key in keys for part in (key["secret"], *kem(key))), lanes["responder"], *randoms["responder"])
        assert [data.hex() for data in bob.package(2)] == [it["bytes"] for it in (found["package"], *keys)]
        number = wanted["one_time_key"]
        ids = {"initiator": ada.start(bob.identity.name, bytes.fromhex(
            found["package"]["bytes"] + (keys[number - 1]["bytes"] if number else "")))}
        ids["responder"] = bytes.fromhex(wanted["ids"][1])
        peers, made = {"initiator": ada, "responder": bob}, set()
        for delivery in wanted["deliveries"]:
            # Whoever has not sent the frame by now sends all up to it.
            for at, frame in enumerate(wanted["frames"][:delivery["frame"] + 1]):
                if at in made or frame.get("lane") != lanes[frame["from"]]:
                    continue
                made.add(at)
                plaintext, has_parts = bytes.fromhex(frame["plaintext"]), frame["bytes"][3] in "34"
                s = peers[frame["from"]].session(ids[frame["from"]])
                assert s.sending.seal(s.id, s.welcome, plaintext, bytes.fromhex(frame["random"]),
                                      has_parts).hex() == frame["bytes"]
            receiver = peers[delivery["to"]]
            data = bytes.fromhex(wanted["frames"][delivery["frame"]]["bytes"])
            if delivery["status"] == "OK":
                text = receiver.receive(data).text
                assert (None if text is None else text.hex()) == delivery["text"]
            else:
                assert answer_to(receiver, data) == delivery["status"]
            session = receiver.session(ids[delivery["to"]])
            assert (session.receiving.next, sorted(epoch << 32 | index for epoch, index in session.skipped)) == (
                delivery["next"], delivery["skipped"])
