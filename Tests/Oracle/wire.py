"""An independent peer of wire version 1, from Protocol.md alone, on PyNaCl and kyber-py, without glare.

It shares no line with Pawl, so that what both agree on is what the page says. With `random` and `now`
given, every byte it makes is determined. It reserves no indices: the wire does not show it."""

import hashlib
import os
import struct
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

from kyber_py.ml_kem import ML_KEM_768
from nacl import bindings
from nacl.exceptions import BadSignatureError, CryptoError

HOUR = 3_600_000
DAY = 24 * HOUR
LIFETIME = 90 * DAY
PRIME = 2**255 - 19
INDEX_END = 2**31
APPLICATION_END = INDEX_END - 1024
GAP = 2**20
KEPT_OF_GAP, KEPT_OF_SESSION, KEPT_FOR = 2048, 8192, 7 * DAY
LANES = 16
SESSIONS_OF_IDENTITY, UNCONFIRMED = 8, 256
MESSAGE, OVERHEAD = 16 << 20, 4096
KNOWN_SUITES = {1, 2}
KEM_PUBLIC, KEM_CIPHERTEXT = 1216, 1120
CLOSED_EPOCHS, TOMBSTONE = 8, 7 * DAY
PARTS = 16
ANSWERS, NUDGE, FIRST_RETRY, LAST_RETRY, STALL = 4096, 1000, 200, 600_000, 8
OFFER, ANSWER, FINISH, BUSY, CLOSE = 1, 2, 3, 4, 5
HEAD, TAG = 54, 16


class Refused(Exception):
    """What pawl.h calls PAWL_ and the text of this."""


# ---------------------------------------------------------------- primitives


def fields(*inputs: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(x)) + x for x in inputs)


def kdf(key: bytes, label: str, *inputs: bytes, size: int = 32) -> bytes:
    return hashlib.blake2b(fields(label.encode(), *inputs), key=key, digest_size=size).digest()


def digest(label: str, *inputs: bytes) -> bytes:
    return kdf(b"", label, *inputs)


def step(chain: bytes) -> Tuple[bytes, bytes]:
    """The next chain key and the message key."""
    both = hashlib.blake2b(b"", digest_size=64, key=chain, salt=struct.pack("<QQ", 1, 0),
                           person=b"pawlchn1" + bytes(8)).digest()
    return both[:32], both[32:]


def siphash(key: bytes, data: bytes) -> bytes:
    return bindings.crypto_shorthash_siphash24(data, key)


def canonical(public: bytes) -> bytes:
    if int.from_bytes(public, "little") >= PRIME:
        raise Refused("AUTH")
    return public


def dh(secret: bytes, public: bytes) -> bytes:
    try:
        return bindings.crypto_scalarmult(secret, canonical(public))
    except RuntimeError:  # 32 zeros
        raise Refused("AUTH") from None


def sign(seed: bytes, label: str, data: bytes) -> bytes:
    secret = bindings.crypto_sign_seed_keypair(seed)[1]
    return bindings.crypto_sign(label.encode() + data, secret)[:64]


def verify(public: bytes, label: str, data: bytes, signature: bytes) -> None:
    try:
        bindings.crypto_sign_open(signature + label.encode() + data, public)
    except BadSignatureError:
        raise Refused("AUTH") from None


# ---------------------------------------------------------------- bytes


class Reader:
    """Takes bytes apart; whatever has not the form is refused with the code given."""

    def __init__(self, data: bytes, refusal: str) -> None:
        self.data, self.at, self.refusal = data, 0, refusal

    def require(self, condition: bool) -> None:
        if not condition:
            raise Refused(self.refusal)

    def take(self, size: int) -> bytes:
        part = self.data[self.at:self.at + size]
        self.require(len(part) == size)
        self.at += size
        return part

    def number(self, form: str) -> int:
        return int(struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0])

    def version(self) -> None:
        version = self.number("B")
        if version > 1:
            raise Refused("VERSION")
        self.require(version == 1)

    def name(self) -> bytes:
        name = self.take(self.number("B"))
        self.require(len(name) > 0 and b"\0" not in name)
        try:
            name.decode()
        except UnicodeDecodeError:
            raise Refused(self.refusal) from None
        return name

    def suites(self) -> bytes:
        suites = self.take(self.number("B"))
        self.require(len(suites) > 0 and all(a < b for a, b in zip(suites, suites[1:])))
        return suites

    def end(self) -> None:
        self.require(self.at == len(self.data))


def counted(data: bytes) -> bytes:
    """A name or a suite list behind its length."""
    return bytes([len(data)]) + data


class Identity(NamedTuple):
    signing: bytes
    agreement: bytes
    name: bytes


class Package(NamedTuple):
    id: bytes
    identity: Identity
    suites: bytes
    not_before: int
    not_after: int
    init: bytes
    kem: bytes

    def head(self) -> bytes:
        return (b"\x01\x01" + self.id + self.identity.signing + self.identity.agreement
                + counted(self.identity.name) + counted(self.suites)
                + struct.pack("<qq", self.not_before, self.not_after) + self.init + self.kem)

    def signed(self, seed: bytes) -> bytes:
        return self.head() + sign(seed, "pawl/1 package", self.head())


class OneTimeKey(NamedTuple):
    package: bytes
    number: int
    public: bytes  # X25519, then X-Wing if the package's list has it

    def head(self) -> bytes:
        return b"\x01\x02" + self.package + struct.pack("<I", self.number) + self.public

    def signed(self, seed: bytes, package: bytes) -> bytes:
        return self.head() + sign(seed, "pawl/1 one-time key", package_hash(package) + self.head())


def package_hash(package: bytes) -> bytes:
    return digest("pawl/1 package hash", package)


def read_packages(data: bytes) -> Tuple[Package, bytes, Optional[OneTimeKey]]:
    """A package, its bytes, and the one-time key behind it; of the right form and signed."""
    r = Reader(data, "MISUSE_PACKAGE")
    r.version()
    r.require(r.number("B") == 1)
    id, signing, agreement, name, suites = (
        r.take(16), r.take(32), r.take(32), r.name(), r.suites())
    kem_size = KEM_PUBLIC if 2 in suites else 0
    package = Package(id, Identity(signing, agreement, name), suites,
                      r.number("q"), r.number("q"), r.take(32), r.take(kem_size))
    signature = r.take(64)
    whole = data[:r.at]
    one_time, one_time_signature = None, b""
    if r.at < len(data):
        r.version()
        r.require(r.number("B") == 2)
        one_time = OneTimeKey(r.take(16), r.number("I"), r.take(32 + kem_size))
        r.require(one_time.number > 0)
        one_time_signature = r.take(64)
    r.end()
    verify(signing, "pawl/1 package", package.head(), signature)
    canonical(agreement), canonical(package.init)
    if one_time:
        verify(signing, "pawl/1 one-time key", package_hash(whole) + one_time.head(),
               one_time_signature)
        canonical(one_time.public[:32])
        if one_time.package != id:
            raise Refused("AUTH")
    return package, whole, one_time


class Welcome(NamedTuple):
    suite: int
    initiator: Identity
    responder: bytes  # the name
    suites: bytes
    package: bytes
    one_time: int
    ephemeral: bytes
    kem: bytes
    created: int

    def data(self) -> bytes:
        return (bytes([self.suite]) + self.initiator.signing + self.initiator.agreement
                + counted(self.initiator.name) + counted(self.responder) + counted(self.suites)
                + self.package + struct.pack("<I", self.one_time) + self.ephemeral + self.kem
                + struct.pack("<q", self.created))


def read_welcome(data: bytes) -> Welcome:
    r = Reader(data, "AUTH")
    suite = r.number("B")
    r.require(suite in KNOWN_SUITES)
    welcome = Welcome(suite, Identity(r.take(32), r.take(32), r.name()), r.name(), r.suites(),
                      r.take(16), r.number("I"), r.take(32),
                      r.take(KEM_CIPHERTEXT if suite == 2 else 0), r.number("q"))
    r.end()
    return welcome


class Frame(NamedTuple):
    session: bytes
    epoch: int
    index: int
    nonce: bytes
    filter: bytes
    filtered: bytes
    prev_len: int
    welcome: Optional[Welcome]
    parts: bool  # else the text is application data alone
    associated: bytes
    sealed: bytes

    @property
    def lane(self) -> bytes:
        return self.nonce[:8]


def read_frame(data: bytes) -> Frame:
    r = Reader(data, "AUTH")
    r.version()
    r.require(len(data) <= MESSAGE + OVERHEAD)
    type = r.number("B")
    r.require(type in (1, 2, 3, 4))
    session, epoch, index = r.take(8), r.number("I"), r.number("I")
    prev_len = r.number("I")
    nonce, filter = r.take(24), r.take(8)
    welcome = read_welcome(r.take(r.number("H"))) if type in (2, 4) else None
    r.require(len(data) >= r.at + TAG)
    return Frame(session, epoch, index, nonce, filter, data[:HEAD - 8], prev_len, welcome, type > 2,
                 data[:22] + data[HEAD - 8:r.at], data[r.at:])


def unseal(key: bytes, frame: Frame) -> bytes:
    try:
        return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            frame.sealed, frame.associated, frame.nonce, key)
    except CryptoError:
        raise Refused("AUTH") from None


class Part(NamedTuple):
    """A control part; what its type has not is left empty. `data`: key or ciphertext."""

    type: int
    target: int = 0
    offer: bytes = b""
    confirmation: bytes = b""
    data: bytes = b""
    suite: int = 1
    pause: int = 0

    def body(self) -> bytes:
        if self.type == OFFER:
            return struct.pack("<IB", self.target, self.suite) + self.data
        if self.type == BUSY:
            return self.offer + struct.pack("<I", self.pause)
        if self.type == CLOSE:
            return b""
        return struct.pack("<I", self.target) + self.offer + self.confirmation + self.data


def framed(type: int, body: bytes) -> bytes:
    return struct.pack("<BH", type, len(body)) + body


def read_part(type: int, body: bytes) -> Optional[Part]:
    """None: of an unknown type."""
    r = Reader(body, "DESYNCHRONIZED")
    if type == OFFER:
        part = Part(type, target=r.number("I"), suite=r.number("B"), data=body[5:])
    elif type in (ANSWER, FINISH):
        part = Part(type, r.number("I"), r.take(16), r.take(32), body[52:])
        r.require(type == ANSWER or r.at == len(body))
    elif type == BUSY:
        part = Part(type, offer=r.take(16), pause=r.number("I"))
        r.end()
    elif type == CLOSE:
        part = Part(type)
        r.end()
    else:
        return None
    return part


def read_text(frame: Frame, plaintext: bytes) -> Tuple[Optional[bytes], List[Part]]:
    """What is for the host, None if there is nothing, and the control parts."""
    if not frame.parts:
        return plaintext, []
    r, parts, count = Reader(plaintext, "DESYNCHRONIZED"), [], 0
    while r.at < len(plaintext):
        type = r.number("B")
        if type == 0:
            return plaintext[r.at:], parts
        count += 1
        require(count <= PARTS)
        part = read_part(type, r.take(r.number("H")))
        if part:
            parts.append(part)
    return None, parts


# ---------------------------------------------------------------- rekeying


class Kem:
    """Of suite 1. A pair is secret and public key, `drawn` what an encapsulation draws."""

    suite = 1
    drawn = 32

    def pair(self, random: Callable[[int], bytes]) -> Tuple[bytes, bytes]:
        secret = random(32)
        return secret, bindings.crypto_scalarmult_base(secret)

    def secret(self, mine: bytes, theirs: bytes, ciphertext: bytes, offered: bytes) -> bytes:
        return kdf(dh(mine, theirs), "pawl/1 x25519", ciphertext, offered)

    def encapsulate(self, random: Callable[[int], bytes], offered: bytes) -> Tuple[bytes, bytes]:
        """Ciphertext and secret."""
        if len(offered) != 32:
            raise Refused("AUTH")
        fresh, ciphertext = self.pair(random)
        return ciphertext, self.secret(fresh, offered, ciphertext, offered)

    def decapsulate(self, pair: Tuple[bytes, bytes], ciphertext: bytes) -> bytes:
        if len(ciphertext) != 32:
            raise Refused("DESYNCHRONIZED")
        return self.secret(pair[0], ciphertext, ciphertext, pair[1])


class XWing(Kem):
    """Of suite 2: X-Wing. What is kept as the secret key is its seed."""

    suite = 2
    drawn = 64

    def expand(self, seed: bytes) -> Tuple[bytes, bytes, bytes, bytes]:
        """Secret and public key of ML-KEM-768, then of X25519."""
        expanded = hashlib.shake_256(seed).digest(96)
        public, secret = ML_KEM_768.key_derive(expanded[:64])
        return secret, public, expanded[64:], bindings.crypto_scalarmult_base(expanded[64:])

    def combine(self, *parts: bytes) -> bytes:
        return hashlib.sha3_256(b"".join(parts) + b"\\.//^\\").digest()

    def pair(self, random: Callable[[int], bytes]) -> Tuple[bytes, bytes]:
        seed = random(32)
        _, lattice, _, curve = self.expand(seed)
        return seed, lattice + curve

    def encapsulate(self, random: Callable[[int], bytes], offered: bytes) -> Tuple[bytes, bytes]:
        if len(offered) != KEM_PUBLIC:
            raise Refused("AUTH")
        drawn, lattice, curve = random(self.drawn), offered[:-32], offered[-32:]
        try:
            shared, ciphertext = ML_KEM_768._encaps_internal(lattice, drawn[:32])
        except ValueError:
            raise Refused("AUTH") from None
        ephemeral = bindings.crypto_scalarmult_base(drawn[32:])
        return ciphertext + ephemeral, self.combine(
            shared, bindings.crypto_scalarmult(drawn[32:], curve), ephemeral, curve)

    def decapsulate(self, pair: Tuple[bytes, bytes], ciphertext: bytes) -> bytes:
        if len(ciphertext) != KEM_CIPHERTEXT:
            raise Refused("DESYNCHRONIZED")
        lattice, _, secret, curve = self.expand(pair[0])
        ephemeral = ciphertext[-32:]
        return self.combine(ML_KEM_768.decaps(lattice, ciphertext[:-32]),
                            bindings.crypto_scalarmult(secret, ephemeral), ephemeral, curve)


class Round(NamedTuple):
    """What an offer and its answer lead to."""

    target: int
    offer: bytes
    transcript: bytes
    e: bytes
    root: bytes
    chains: Tuple[bytes, bytes]  # the initiator's, the responder's
    of_answer: bytes
    of_finish: bytes


class Offered(NamedTuple):
    id: bytes
    pair: Tuple[bytes, bytes]


class Answered(NamedTuple):
    answer: Part
    round: Round


class Closed(NamedTuple):
    pass


class Rekey(NamedTuple):
    """One side of the rekeying of a session. A refusal leaves no trace: the next state is another one."""

    session: bytes  # the initiator's id
    initiator: bool
    kem: Kem
    root: bytes
    epoch: int = 0
    heard: int = 0
    wanted: int = 0
    state: Union[None, Offered, Answered, Closed] = None
    finished: Optional[Round] = None

    def facts(self, target: int, mine: bool) -> bytes:
        return (self.session + bytes([self.initiator != mine]) + struct.pack("<I", target)
                + bytes([self.kem.suite]))

    def offer_id(self, target: int, key: bytes, mine: bool) -> bytes:
        message = fields(b"pawl/1 offer", self.facts(target, mine), key)
        return hashlib.blake2b(message, digest_size=16).digest()

    def round(self, target: int, key: bytes, ciphertext: bytes, secret: bytes, mine: bool) -> Round:
        id = self.offer_id(target, key, mine)
        transcript = digest("pawl/1 rekey", self.facts(target, mine), id, key, ciphertext)
        e = kdf(self.root, "pawl/1 epoch", secret, transcript)
        chains = kdf(e, "pawl/1 chains", size=64)
        confirmations = kdf(e, "pawl/1 confirmations", transcript, size=64)
        return Round(target, id, transcript, e, kdf(e, "pawl/1 root"), (chains[:32], chains[32:]),
                     confirmations[:32], confirmations[32:])

    def offer(self) -> Part:
        assert isinstance(self.state, Offered)
        return Part(OFFER, self.epoch + 1, data=self.state.pair[1], suite=self.kem.suite)

    def said(self) -> List[Part]:
        """What is said again until it has an effect."""
        if isinstance(self.state, Offered):
            return [self.offer()]
        return [self.state.answer] if isinstance(self.state, Answered) else []


class Outcome:
    """What a message made of the rekeying, and what is to be said to it."""

    def __init__(self, rekey: Rekey, random: Callable[[int], bytes], may_answer: bool) -> None:
        self.rekey, self.random, self.may_answer = rekey, random, may_answer
        self.committed: Optional[Round] = None
        self.finish: List[Part] = []
        self.phase: List[Part] = []
        self.busy: List[Part] = []
        self.pause: Optional[int] = None
        self.nudge = self.answered = self.closed = self.farewell = False

    def parts(self) -> List[Part]:
        return self.finish + self.phase + self.busy

    def become(self, state: Union[None, Offered, Answered, Closed]) -> None:
        self.rekey = self.rekey._replace(state=state)
        self.phase = self.rekey.said()

    def want(self, target: int) -> None:
        """An offer, if nothing is under way."""
        self.rekey = self.rekey._replace(wanted=max(target, self.rekey.wanted))
        if self.rekey.state is None:
            pair = self.rekey.kem.pair(self.random)
            self.become(Offered(self.rekey.offer_id(self.rekey.epoch + 1, pair[1], True), pair))

    def commit(self, round: Round, finished: Optional[Round]) -> None:
        self.committed = round
        self.rekey = self.rekey._replace(
            epoch=self.rekey.epoch + 1, root=round.root, finished=finished, state=None)
        self.phase = []
        if self.rekey.wanted > self.rekey.epoch:
            self.want(0)

    def message(self, parts: List[Part], under: int) -> None:
        state = self.rekey.state
        if under == self.rekey.epoch + 1:
            assert isinstance(state, Answered)
            for part in parts:
                if part.type == FINISH and part.offer == state.round.offer:
                    require(part.confirmation == state.round.of_finish)
            self.commit(state.round, None)
        self.rekey = self.rekey._replace(heard=max(under, self.rekey.heard))
        if isinstance(self.rekey.state, Closed):
            self.farewell = all(part.type != CLOSE for part in parts)
        for part in parts:
            if isinstance(self.rekey.state, Closed):
                return
            self.part(part, under)

    def part(self, part: Part, under: int) -> None:
        n, state = self.rekey.epoch, self.rekey.state
        own = isinstance(state, Offered) and state.id == part.offer
        if part.type == CLOSE:
            self.become(Closed())
            self.finish, self.busy, self.nudge, self.closed = [], [], False, True
        elif part.type == BUSY:
            if own and under == n:
                self.pause = part.pause
        elif part.type in (OFFER, ANSWER) and part.target <= n:
            finished = self.rekey.finished
            if (part.type == ANSWER and finished
                    and (part.target, part.offer) == (finished.target, finished.offer)):
                require(part.confirmation == finished.of_answer)
                self.finish = [self.finish_of(finished)]
            else:
                self.nudge = True
        elif part.type in (OFFER, ANSWER) and part.target == n + 1 and under == n:
            if part.type == OFFER:
                self.offered(part)
                return
            require(own)
            assert isinstance(state, Offered)
            secret = self.rekey.kem.decapsulate(state.pair, part.data)
            round = self.rekey.round(part.target, state.pair[1], part.data, secret, True)
            require(part.confirmation == round.of_answer)
            self.commit(round, round)
            self.finish = [self.finish_of(round)]

    def finish_of(self, round: Round) -> Part:
        return Part(FINISH, round.target, round.offer, round.of_finish)

    def offered(self, part: Part) -> None:
        require(part.suite == self.rekey.kem.suite)
        id, state = self.rekey.offer_id(part.target, part.data, False), self.rekey.state
        if isinstance(state, Answered):
            require(state.round.offer == id)
            self.phase = self.rekey.said()
        elif isinstance(state, Offered) and state.id <= id:
            return
        elif state is None and not self.may_answer:
            self.busy = [Part(BUSY, offer=id, pause=1000)]
        else:
            ciphertext, secret = self.rekey.kem.encapsulate(self.random, part.data)
            round = self.rekey.round(part.target, part.data, ciphertext, secret, False)
            self.become(Answered(Part(ANSWER, part.target, id, round.of_answer, ciphertext), round))
            self.answered = True


def require(condition: bool) -> None:
    if not condition:
        raise Refused("DESYNCHRONIZED")


# ---------------------------------------------------------------- set-up


def strongest(mine: bytes, theirs: bytes) -> int:
    """Of both lists, or 0."""
    return max(set(mine) & set(theirs) & KNOWN_SUITES, default=0)


class Secrets(NamedTuple):
    """All that two peers derive, the initiator's part of each pair first."""

    transcript: bytes
    e: bytes
    root: bytes
    chains: Tuple[bytes, bytes]
    filters: Tuple[bytes, bytes]
    id: bytes  # the initiator's


def derive(welcome: Welcome, responder: Identity, package: bytes, one_time: Optional[OneTimeKey],
           agreements: Sequence[bytes], kem: bytes = b"") -> Secrets:
    transcript = digest(
        "pawl/1 transcript", b"\x01", *welcome.initiator, *responder, package_hash(package),
        welcome.ephemeral, welcome.kem,
        struct.pack("<I", one_time.number) if one_time else b"",
        one_time.public if one_time else b"",
        bytes([welcome.suite]), counted(welcome.suites))
    e = kdf(transcript, "pawl/1 set-up", *agreements, kem)
    root = kdf(e, "pawl/1 root")
    chains = kdf(e, "pawl/1 chains", size=64)
    filters = kdf(root, "pawl/1 filters")
    id = kdf(root, "pawl/1 session id")[:16]
    return Secrets(transcript, e, root, (chains[:32], chains[32:]), (filters[:16], filters[16:]),
                   id[:15] + bytes([id[15] & 0xFE]))


# ---------------------------------------------------------------- sessions


class Sending:
    def __init__(self, chain: bytes, filter: bytes, lane: bytes) -> None:
        self.chain, self.filter, self.lane = chain, filter, lane
        self.index = self.epoch = self.prev_len = 0

    def begin(self, chain: bytes) -> None:
        """The next epoch."""
        self.prev_len, self.index, self.chain = self.index, 0, chain
        self.epoch += 1

    def seal(self, session: bytes, welcome: Optional[Welcome], plaintext: bytes, random: bytes,
             parts: bool = False) -> bytes:
        """The plaintext is application data, or a list of parts."""
        if self.index == INDEX_END:
            raise Refused("LIMIT_INDEX")
        nonce = self.lane + random
        type = (4 if welcome else 3) if parts else (2 if welcome else 1)
        visible = struct.pack("<BB8sIII", 1, type, session[:8], self.epoch, self.index, self.prev_len)
        rest = siphash(self.filter, visible + nonce)
        if welcome:
            data = welcome.data()
            rest += struct.pack("<H", len(data)) + data
        self.chain, key = step(self.chain)
        self.index += 1
        return visible + nonce + rest + bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
            plaintext, visible + rest, nonce, key)


Gap = Dict[Tuple[int, int], bytes]  # epoch, index: message key


class Receiving:
    """What the peer sends in one epoch."""

    def __init__(self, chain: bytes) -> None:
        self.chain, self.next = chain, 0
        self.lanes: Dict[bytes, Tuple[int, int]] = {}  # first and last index of each
        self.forgotten = 0  # the end of all ranges of forgotten lanes

    def keys(self, epoch: int, end: int) -> Tuple[bytes, Gap, int]:
        """The chain key at `end`, the keys before that are kept, and how many are not."""
        chain, gap = self.chain, {}
        for index in range(self.next, end):
            chain, key = step(chain)
            if index >= end - KEPT_OF_GAP:
                gap[epoch, index] = key
        return chain, gap, max(end - self.next, 0) - len(gap)

    def diagnosis(self, frame: Frame) -> str:
        """Of an index that was passed and has no key."""
        using = {lane for lane, (first, last) in self.lanes.items() if first <= frame.index <= last}
        if using and frame.lane not in using and frame.index >= self.forgotten:
            return "DESYNCHRONIZED"
        return "REPLAY"

    def note(self, frame: Frame) -> None:
        first, last = self.lanes.get(frame.lane, (frame.index, frame.index))
        self.lanes[frame.lane] = min(first, frame.index), max(last, frame.index)
        if len(self.lanes) > LANES:
            oldest = min(self.lanes, key=lambda lane: self.lanes[lane][1])
            self.forgotten = max(self.forgotten, self.lanes.pop(oldest)[1] + 1)


class Session:
    """One side. `welcome` is set as long as messages carry it."""

    def __init__(self, secrets: Secrets, initiator: bool, peer: Identity, lane: bytes, kem: Kem) -> None:
        self.mine, self.theirs = (0, 1) if initiator else (1, 0)
        self.id = secrets.id[:15] + bytes([secrets.id[15] | self.mine])
        self.peer, self.initiator = peer, initiator
        self.sending = Sending(secrets.chains[self.mine], secrets.filters[self.mine], lane)
        self.filter = secrets.filters[self.theirs]
        self.receiving = Receiving(secrets.chains[self.theirs])
        self.previous: Optional[Receiving] = None
        self.closed: Dict[int, Tuple[Receiving, int, int]] = {}  # epoch: its lanes, end, closed when
        self.skipped: Dict[Tuple[int, int], Tuple[bytes, int]] = {}  # epoch, index: its key, kept since
        self.lost = 0
        self.rekey = Rekey(secrets.id, initiator, kem, secrets.root)
        self.confirmed = self.desynchronized = False
        self.welcome: Optional[Welcome] = None
        self.not_after = 0
        self.answers: List[int] = []  # when new offers were answered
        self.nudged: Optional[int] = None
        self.farewells: List[int] = []
        self.due: Optional[int] = None  # when the same is said again
        self.attempts = 0

    def open(self, frame: Frame, now: int, random: Callable[[int], bytes]) -> Tuple[Optional[bytes], Outcome]:
        """The application data, and what is to be said. A refusal leaves everything as it was."""
        if siphash(self.filter, frame.filtered) != frame.filter:
            raise Refused("AUTH")
        if frame.index >= INDEX_END:
            raise Refused("LIMIT_INDEX")
        chain = self.chain(frame.epoch)
        gap: Gap = {}
        lost = 0
        if chain and frame.index >= chain.next:
            require(frame.index - chain.next <= GAP)
            at, gap, lost = chain.keys(frame.epoch, frame.index)
            after, key = step(at)
        else:
            after = b""
            key, since = self.skipped.get((frame.epoch, frame.index), (b"", 0))
            if not key or now - since >= KEPT_FOR:
                raise self.diagnosis(frame, chain)
        try:
            plaintext = unseal(key, frame)
            text, parts = read_text(frame, plaintext)
        except Refused:
            raise Refused("DESYNCHRONIZED") from None
        ended = self.ended(frame.epoch)
        if ended:
            require(frame.prev_len - ended.next <= GAP)
        outcome = Outcome(
            self.rekey, random, sum(0 <= now - at < 1000 for at in self.answers) < ANSWERS)
        outcome.message(parts, frame.epoch)
        # From here on nothing is refused.
        if ended:
            _, more, given_up = ended.keys(frame.epoch - 1, frame.prev_len)
            gap.update(more)
            lost += given_up
            self.closed[frame.epoch - 1] = ended, frame.prev_len, now
            self.previous = None
        self.skipped.pop((frame.epoch, frame.index), None)
        if chain and after:
            chain.chain, chain.next = after, frame.index + 1
        if chain:
            chain.note(frame)
        self.follow(outcome, chain, frame.epoch)
        self.keep(gap, now)
        self.lost += lost
        return text, outcome

    def chain(self, epoch: int) -> Optional[Receiving]:
        """None: closed."""
        n, state = self.rekey.epoch, self.rekey.state
        if epoch == n:
            return self.receiving
        if epoch > n:
            require(epoch == n + 1 and isinstance(state, Answered))
            assert isinstance(state, Answered)
            return Receiving(state.round.chains[self.theirs])
        return self.previous if epoch == n - 1 else None

    def ended(self, epoch: int) -> Optional[Receiving]:
        """What the first message under an epoch ends."""
        if epoch == self.rekey.epoch:
            return self.previous
        return self.receiving if epoch > self.rekey.epoch else None

    def diagnosis(self, frame: Frame, chain: Optional[Receiving]) -> Refused:
        if chain:
            return Refused(chain.diagnosis(frame))
        if frame.epoch not in self.closed:
            return Forgotten("REPLAY")
        lanes, end, _ = self.closed[frame.epoch]
        return Forgotten("AUTH") if frame.index >= end else Refused(lanes.diagnosis(frame))

    def follow(self, outcome: Outcome, chain: Optional[Receiving], epoch: int) -> None:
        """The state that an outcome leads to; `chain` is that of a message, which came under `epoch`."""
        round = outcome.committed
        if round:
            self.sending.begin(round.chains[self.mine])
            if epoch == round.target:  # under the candidate: what was current has ended
                assert chain
                self.receiving = chain
            else:
                self.previous = self.receiving
                self.receiving = Receiving(round.chains[self.theirs])
        self.rekey = outcome.rekey

    def keep(self, gap: Gap, now: int) -> None:
        self.skipped = {i: kept for i, kept in self.skipped.items() if now - kept[1] < KEPT_FOR}
        self.skipped.update((place, (key, now)) for place, key in gap.items())
        for epoch in sorted(self.closed)[:-CLOSED_EPOCHS]:
            del self.closed[epoch]
            for place in [place for place in self.skipped if place[0] == epoch]:
                del self.skipped[place]
                self.lost += 1
        for place in sorted(self.skipped)[:-KEPT_OF_SESSION]:
            del self.skipped[place]
            self.lost += 1


class Forgotten(Refused):
    """Of a closed epoch: one of which nothing is known any more, or above its end."""


# ---------------------------------------------------------------- a peer


class Private(NamedTuple):
    """The half of a package that stays here."""

    package: Package
    data: bytes
    init: bytes
    one_time: Dict[int, bytes]
    kem: Dict[int, Tuple[bytes, bytes]]  # in suite 2, of each one-time key and, at 0, of the init key


class Received(NamedTuple):
    text: Optional[bytes]
    session: bytes
    index: int
    new: bool


def milliseconds() -> int:
    return time.time_ns() // 1_000_000


class Peer:
    suites = b"\x01"

    def kem(self, suite: int) -> Kem:
        return XWing() if suite == 2 else Kem()

    def __init__(self, name: str, random: Callable[[int], bytes] = os.urandom,
                 now: Callable[[], int] = milliseconds) -> None:
        self.random, self.now = random, now
        self.seed, self.secret = random(32), random(32)
        self.identity = Identity(bindings.crypto_sign_seed_keypair(self.seed)[0],
                                 bindings.crypto_scalarmult_base(self.secret), name.encode())
        self.packages: Dict[bytes, Private] = {}
        self.sessions: Dict[bytes, Session] = {}  # by the first half of the id
        self.welcomes: Dict[Tuple[bytes, bytes], bytes] = {}  # package, ephemeral: first half
        self.graves: Dict[bytes, Tuple[Session, int]] = {}  # what was closed, and when
        self.outbox: List[bytes] = []
        self.events: List[Tuple[str, bytes]] = []

    # Packages

    def package(self, one_time: int = 0) -> List[bytes]:
        """A package and its one-time keys."""
        init, now = self.random(32), self.now()
        id, kem = self.random(16), {0: self.kem_pair()}
        package = self.draw_package(Package(
            id, self.identity, self.suites, now - HOUR, now + LIFETIME,
            bindings.crypto_scalarmult_base(init), kem[0][1]))
        data = package.signed(self.seed)
        private = Private(package, data, init, {}, kem)
        keys = []
        for number in range(1, one_time + 1):
            private.one_time[number], kem[number] = self.random(32), self.kem_pair()
            keys.append(self.one_time_key(private, number).signed(self.seed, data))
        self.packages[package.id] = private
        return [data, *keys]

    def kem_pair(self) -> Tuple[bytes, bytes]:
        return self.kem(2).pair(self.random) if 2 in self.suites else (b"", b"")

    def draw_package(self, package: Package) -> Package:
        return package

    def one_time_key(self, private: Private, number: int) -> OneTimeKey:
        public = bindings.crypto_scalarmult_base(private.one_time[number])
        return OneTimeKey(private.package.id, number, public + private.kem[number][1])

    def delete_package(self, id: bytes) -> None:
        del self.packages[id]
        self.welcomes = {key: half for key, half in self.welcomes.items() if key[0] != id}

    # Set-up

    def start(self, name: bytes, data: bytes) -> bytes:
        package, whole, one_time = read_packages(data)
        if package.identity.name != name:
            raise Refused("AUTH")
        now = self.now()
        if (not package.not_before <= now <= package.not_after
                or package.not_after - package.not_before > LIFETIME + HOUR):
            raise Refused("TIME")
        suite = strongest(self.suites, package.suites)
        if suite == 0:
            raise Refused("STATE_SUITE")
        if package.identity[:2] == self.identity[:2]:
            raise Refused("STATE_SELF")
        self.require_room(package.identity)
        ephemeral, ciphertext, secret = self.random(32), b"", b""
        if suite == 2:
            ciphertext, secret = self.kem(2).encapsulate(
                self.random, one_time.public[32:] if one_time else package.kem)
        welcome = self.draw_welcome(Welcome(
            suite, self.identity, name, self.suites, package.id, one_time.number if one_time else 0,
            bindings.crypto_scalarmult_base(ephemeral), ciphertext, now))
        secrets = derive(welcome, package.identity, whole, one_time,
                         self.agree(ephemeral, package, one_time), secret)
        session = Session(secrets, True, package.identity, self.random(8), self.kem(welcome.suite))
        session.welcome, session.not_after = welcome, package.not_after
        self.sessions[session.id[:8]] = session
        return session.id

    def draw_welcome(self, welcome: Welcome) -> Welcome:
        return welcome

    def agree(self, ephemeral: bytes, package: Package,
              one_time: Optional[OneTimeKey]) -> List[bytes]:
        return [dh(self.secret, package.init), dh(ephemeral, package.identity.agreement),
                dh(ephemeral, package.init), dh(ephemeral, one_time.public[:32]) if one_time else b""]

    def require_room(self, peer: Identity) -> None:
        if sum(s.peer == peer for s in self.sessions.values()) >= SESSIONS_OF_IDENTITY:
            raise Refused("LIMIT_SESSIONS")

    def accept(self, frame: Frame, welcome: Welcome) -> Received:
        private = self.packages.get(welcome.package)
        if private is None or welcome.one_time and welcome.one_time not in private.one_time:
            raise Refused("NOT_FOUND")
        package = private.package
        if self.now() > package.not_after + HOUR:
            raise Refused("TIME")
        suite = strongest(welcome.suites, package.suites)
        if welcome.responder != self.identity.name or welcome.suite != suite:
            raise Refused("AUTH")
        if welcome.initiator[:2] == self.identity[:2]:
            raise Refused("STATE_SELF")
        if sum(not (s.confirmed or s.initiator) for s in self.sessions.values()) >= UNCONFIRMED:
            raise Refused("LIMIT_SESSIONS")
        self.require_room(welcome.initiator)
        one_time, dh4 = None, b""
        if welcome.one_time:
            one_time = self.one_time_key(private, welcome.one_time)
            dh4 = dh(private.one_time[welcome.one_time], welcome.ephemeral)
        secret = b""
        if suite == 2:
            secret = self.kem(2).decapsulate(private.kem[welcome.one_time], welcome.kem)
        secrets = derive(welcome, self.identity, private.data, one_time, [
            dh(private.init, welcome.initiator.agreement), dh(self.secret, welcome.ephemeral),
            dh(private.init, welcome.ephemeral), dh4], secret)
        if frame.session != secrets.id[:8] or frame.session in self.sessions:
            raise Refused("AUTH")
        session = Session(secrets, False, welcome.initiator, self.random(8), self.kem(welcome.suite))
        try:
            text, outcome = session.open(frame, self.now(), self.random)
        except Refused:
            raise Refused("AUTH") from None
        self.sessions[frame.session] = session
        self.welcomes[welcome.package, welcome.ephemeral] = frame.session
        if welcome.one_time:
            del private.one_time[welcome.one_time], private.kem[welcome.one_time]
        self.say(session, outcome)
        return Received(text, session.id, frame.index, True)

    # Messages

    def encrypt(self, session: bytes, text: Optional[bytes],
                controls: Sequence[Tuple[int, bytes]] = ()) -> bytes:
        """A frame with control parts, and application data unless it is None."""
        s = self.session(session)
        if s.welcome and s.sending.index == 0 and self.now() > s.not_after:
            raise Refused("TIME")
        if text is not None and len(text) > MESSAGE:
            raise Refused("LIMIT_MESSAGE")
        if text is not None and s.sending.index >= APPLICATION_END:
            raise Refused("LIMIT_INDEX")
        return self.seal(s, text, controls)

    def seal(self, s: Session, text: Optional[bytes], controls: Sequence[Tuple[int, bytes]]) -> bytes:
        if text is not None and not controls:
            return s.sending.seal(s.id, s.welcome, text, self.random(16))
        parts = b"".join(framed(*control) for control in controls)
        if text is not None:
            parts += b"\0" + text
        return s.sending.seal(s.id, s.welcome, parts, self.random(16), parts=True)

    def receive(self, data: bytes) -> Received:
        frame = read_frame(data)
        half = frame.session
        if frame.welcome:
            known = self.welcomes.get((frame.welcome.package, frame.welcome.ephemeral))
            if known is None:
                return self.accept(frame, frame.welcome)
            if known not in self.sessions:
                self.answer_closed(frame)
                raise Refused("REPLAY")
            half = known
        elif half not in self.sessions:
            self.answer_closed(frame)
        s = self.session(half)
        try:
            text, outcome = s.open(frame, self.now(), self.random)
        except Refused as refused:
            if isinstance(s.rekey.state, Closed) and frame.epoch in {*s.closed} or isinstance(refused, Forgotten):
                self.remind(s)
            s.desynchronized |= str(refused) == "DESYNCHRONIZED"
            raise
        s.confirmed |= s.initiator or frame.welcome is None
        if s.initiator:
            s.welcome = None
        self.say(s, outcome)
        return Received(text, s.id, frame.index, False)

    # Rekeying

    def rekey(self, id: bytes, fresh: bool = False) -> int:
        """Asks for the next epoch, and answers which one that is."""
        s = self.session(id)
        if isinstance(s.rekey.state, Closed):
            raise Refused("STATE_RECEIVE_ONLY")
        target = s.rekey.epoch + (2 if fresh and s.rekey.state else 1)
        outcome = Outcome(s.rekey, self.random, True)
        outcome.want(target)
        s.rekey = outcome.rekey
        self.say(s, outcome)
        return target

    def say(self, s: Session, outcome: Outcome) -> None:
        now = self.now()
        if outcome.answered:
            s.answers = [at for at in s.answers if now - at < 1000] + [now]
        if outcome.committed or outcome.answered:
            s.attempts = 0
        if outcome.closed:
            self.events.append(("SESSION_CLOSED", s.id))
        if not s.rekey.said():
            s.due = None
        elif outcome.pause is not None:
            s.due = now + min(outcome.pause, LAST_RETRY)
        elif outcome.phase:
            s.due = now + min(FIRST_RETRY << min(s.attempts, 20), LAST_RETRY)
        if outcome.parts():
            self.post(s, outcome.parts())
        elif outcome.farewell or outcome.nudge:
            self.remind(s)

    def remind(self, s: Session) -> None:
        """Shows a peer that is behind how far this side is, or that the session is closed."""
        if isinstance(s.rekey.state, Closed):
            self.say_closed(s)
        elif s.nudged is None or self.now() - s.nudged >= NUDGE:
            s.nudged = self.now()
            self.post(s, [])

    def say_closed(self, s: Session) -> None:
        if not s.farewells or self.now() - s.farewells[-1] >= NUDGE << (len(s.farewells) - 1):
            s.farewells.append(self.now())
            self.post(s, [Part(CLOSE)])

    def post(self, s: Session, parts: List[Part]) -> None:
        self.outbox.append(self.seal(s, None, [(part.type, part.body()) for part in parts]))

    def sent(self) -> List[bytes]:
        """What has left by itself since this was asked last."""
        frames, self.outbox = self.outbox, []
        return frames

    def run_due(self) -> None:
        """Says again what was not answered."""
        for s in self.sessions.values():
            if s.due is not None and s.due <= self.now():
                s.attempts += 1
                s.due = self.now() + min(FIRST_RETRY << min(s.attempts, 20), LAST_RETRY)
                if s.attempts == STALL:
                    self.events.append(("STALLED", s.id))
                self.post(s, s.rekey.said())

    def session(self, id: bytes) -> Session:
        if id[:8] not in self.sessions:
            raise Refused("NOT_FOUND")
        return self.sessions[id[:8]]

    def close(self, id: bytes) -> None:
        s = self.session(id)
        if not isinstance(s.rekey.state, Closed) and not (
                s.initiator and s.sending.epoch == s.sending.index == 0):
            self.post(s, [Part(CLOSE)])
            self.graves[s.id[:8]] = s, self.now()
        del self.sessions[s.id[:8]]

    def answer_closed(self, frame: Frame) -> None:
        s, at = self.graves.get(frame.session, (None, 0))
        if s and self.now() - at < TOMBSTONE and siphash(s.filter, frame.filtered) == frame.filter:
            self.say_closed(s)
