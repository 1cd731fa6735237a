"""An independent peer of wire version 1, from Protocol.md alone, on PyNaCl: suite 1, without glare.

It shares no line with Pawl, so that what both agree on is what the page says. With `random` and `now`
given, every byte it makes is determined. It reserves no indices: the wire does not show it."""

import hashlib
import os
import struct
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from nacl import bindings
from nacl.exceptions import BadSignatureError, CryptoError

HOUR = 3_600_000
DAY = 24 * HOUR
LIFETIME = 90 * DAY
PRIME = 2**255 - 19
INDEX_END = 2**31
GAP = 2**20
KEPT_OF_GAP, KEPT_OF_SESSION, KEPT_FOR = 2048, 8192, 7 * DAY
LANES = 16
SESSIONS_OF_IDENTITY, UNCONFIRMED = 8, 256
MESSAGE, OVERHEAD = 16 << 20, 4096
KNOWN_SUITES = {1, 2}  # with 2 known only so far that it is the stronger one
KEM_PUBLIC, KEM_CIPHERTEXT = 1216, 1120
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
    """`kem` is the X-Wing key that a package with suite 2 carries; this peer never uses it."""

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
    r.take(4)  # prev_len
    nonce, filter = r.take(24), r.take(8)
    welcome = read_welcome(r.take(r.number("H"))) if type in (2, 4) else None
    r.require(len(data) >= r.at + TAG)
    return Frame(session, epoch, index, nonce, filter, data[:HEAD - 8], welcome, type > 2,
                 data[:22] + data[HEAD - 8:r.at], data[r.at:])


def unseal(key: bytes, frame: Frame) -> bytes:
    try:
        return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            frame.sealed, frame.associated, frame.nonce, key)
    except CryptoError:
        raise Refused("AUTH") from None


def application_data(frame: Frame, plaintext: bytes) -> Optional[bytes]:
    """What is for the host, None if there is nothing; control parts are skipped."""
    if not frame.parts:
        return plaintext
    r = Reader(plaintext, "AUTH")
    while r.at < len(plaintext):
        if r.number("B") == 0:
            return plaintext[r.at:]
        r.take(r.number("H"))
    return None


# ---------------------------------------------------------------- set-up


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


class Receiving:
    def __init__(self, chain: bytes, filter: bytes) -> None:
        self.chain, self.filter, self.next = chain, filter, 0
        self.skipped: Dict[int, Tuple[bytes, int]] = {}  # index: its key, kept since
        self.lanes: Dict[bytes, Tuple[int, int]] = {}  # first and last index of each
        self.forgotten = 0  # the end of all ranges of forgotten lanes
        self.lost = 0

    def open(self, frame: Frame, now: int) -> Optional[bytes]:
        """The application data. A refusal leaves everything as it was."""
        if siphash(self.filter, frame.filtered) != frame.filter:
            raise Refused("AUTH")
        if frame.index >= INDEX_END:
            raise Refused("LIMIT_INDEX")
        if frame.epoch != 0 or frame.index - self.next > GAP:
            raise Refused("DESYNCHRONIZED")
        chain, gap = self.chain, []
        if frame.index >= self.next:
            for index in range(self.next, frame.index):
                chain, key = step(chain)
                if index >= frame.index - KEPT_OF_GAP:
                    gap.append((index, (key, now)))
            chain, key = step(chain)
        else:
            key, since = self.skipped.get(frame.index, (b"", 0))
            if not key or now - since >= KEPT_FOR:
                raise Refused(self.diagnosis(frame))
        try:
            text = application_data(frame, unseal(key, frame))
        except Refused:
            raise Refused("DESYNCHRONIZED") from None
        self.consume(frame, chain, gap, now)
        return text

    def diagnosis(self, frame: Frame) -> str:
        """Of an index that was passed and has no key."""
        using = {lane for lane, (first, last) in self.lanes.items() if first <= frame.index <= last}
        if using and frame.lane not in using and frame.index >= self.forgotten:
            return "DESYNCHRONIZED"
        return "REPLAY"

    def consume(self, frame: Frame, chain: bytes, gap: List[Tuple[int, Tuple[bytes, int]]],
                now: int) -> None:
        self.skipped.pop(frame.index, None)
        self.skipped = {i: kept for i, kept in self.skipped.items() if now - kept[1] < KEPT_FOR}
        if frame.index >= self.next:
            self.lost += frame.index - self.next - len(gap)
            self.skipped.update(gap)
            self.chain, self.next = chain, frame.index + 1
        for index in sorted(self.skipped)[:-KEPT_OF_SESSION]:
            del self.skipped[index]
            self.lost += 1
        first, last = self.lanes.get(frame.lane, (frame.index, frame.index))
        self.lanes[frame.lane] = min(first, frame.index), max(last, frame.index)
        if len(self.lanes) > LANES:
            oldest = min(self.lanes, key=lambda lane: self.lanes[lane][1])
            self.forgotten = max(self.forgotten, self.lanes.pop(oldest)[1] + 1)


class Session:
    """One side. `welcome` is set as long as messages carry it."""

    def __init__(self, secrets: Secrets, initiator: bool, peer: Identity, lane: bytes) -> None:
        mine, theirs = (0, 1) if initiator else (1, 0)
        self.id = secrets.id[:15] + bytes([secrets.id[15] | mine])
        self.peer, self.initiator = peer, initiator
        self.sending = Sending(secrets.chains[mine], secrets.filters[mine], lane)
        self.receiving = Receiving(secrets.chains[theirs], secrets.filters[theirs])
        self.confirmed = self.desynchronized = False
        self.welcome: Optional[Welcome] = None
        self.not_after = 0


# ---------------------------------------------------------------- a peer


class Private(NamedTuple):
    """The half of a package that stays here."""

    package: Package
    data: bytes
    init: bytes
    one_time: Dict[int, bytes]


class Received(NamedTuple):
    text: Optional[bytes]
    session: bytes
    index: int
    new: bool


def milliseconds() -> int:
    return time.time_ns() // 1_000_000


class Peer:
    suites = b"\x01"

    def __init__(self, name: str, random: Callable[[int], bytes] = os.urandom,
                 now: Callable[[], int] = milliseconds) -> None:
        self.random, self.now = random, now
        self.seed, self.secret = random(32), random(32)
        self.identity = Identity(bindings.crypto_sign_seed_keypair(self.seed)[0],
                                 bindings.crypto_scalarmult_base(self.secret), name.encode())
        self.packages: Dict[bytes, Private] = {}
        self.sessions: Dict[bytes, Session] = {}  # by the first half of the id
        self.welcomes: Dict[Tuple[bytes, bytes], bytes] = {}  # package, ephemeral: first half

    # Packages

    def package(self, one_time: int = 0) -> List[bytes]:
        """A package and its one-time keys."""
        init, now = self.random(32), self.now()
        package = self.draw_package(Package(
            self.random(16), self.identity, self.suites, now - HOUR, now + LIFETIME,
            bindings.crypto_scalarmult_base(init), bytes(KEM_PUBLIC if 2 in self.suites else 0)))
        data = package.signed(self.seed)
        private = Private(package, data, init, {})
        keys = []
        for number in range(1, one_time + 1):
            private.one_time[number] = self.random(32)
            keys.append(self.one_time_key(private, number).signed(self.seed, data))
        self.packages[package.id] = private
        return [data, *keys]

    def draw_package(self, package: Package) -> Package:
        return package

    def one_time_key(self, private: Private, number: int) -> OneTimeKey:
        public = bindings.crypto_scalarmult_base(private.one_time[number])
        return OneTimeKey(private.package.id, number, public + private.package.kem)

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
        if 1 not in package.suites:
            raise Refused("STATE_SUITE")
        if package.identity[:2] == self.identity[:2]:
            raise Refused("STATE_SELF")
        self.require_room(package.identity)
        ephemeral = self.random(32)
        welcome = self.draw_welcome(Welcome(
            1, self.identity, name, self.suites, package.id, one_time.number if one_time else 0,
            bindings.crypto_scalarmult_base(ephemeral), b"", now))
        secrets = derive(welcome, package.identity, whole, one_time,
                         self.agree(ephemeral, package, one_time), self.kem_secret(welcome))
        session = Session(secrets, True, package.identity, self.random(8))
        session.welcome, session.not_after = welcome, package.not_after
        self.sessions[session.id[:8]] = session
        return session.id

    def draw_welcome(self, welcome: Welcome) -> Welcome:
        return welcome

    def kem_secret(self, welcome: Welcome) -> bytes:
        """Of suite 2, which Tests/Kem/test_suite2.py adds."""
        return b""

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
        strongest = max(set(welcome.suites) & set(package.suites) & KNOWN_SUITES, default=0)
        if welcome.responder != self.identity.name or welcome.suite != strongest:
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
        secrets = derive(welcome, self.identity, private.data, one_time, [
            dh(private.init, welcome.initiator.agreement), dh(self.secret, welcome.ephemeral),
            dh(private.init, welcome.ephemeral), dh4], self.kem_secret(welcome))
        if frame.session != secrets.id[:8] or frame.session in self.sessions:
            raise Refused("AUTH")
        session = Session(secrets, False, welcome.initiator, self.random(8))
        try:
            text = session.receiving.open(frame, self.now())
        except Refused:
            raise Refused("AUTH") from None
        self.sessions[frame.session] = session
        self.welcomes[welcome.package, welcome.ephemeral] = frame.session
        private.one_time.pop(welcome.one_time, None)
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
        if text is not None and not controls:
            return s.sending.seal(s.id, s.welcome, text, self.random(16))
        parts = b"".join(struct.pack("<BH", type, len(data)) + data for type, data in controls)
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
                raise Refused("REPLAY")
            half = known
        s = self.session(half)
        try:
            text = s.receiving.open(frame, self.now())
        except Refused as refused:
            s.desynchronized |= str(refused) == "DESYNCHRONIZED"
            raise
        s.confirmed |= s.initiator or frame.welcome is None
        if s.initiator:
            s.welcome = None
        return Received(text, s.id, frame.index, False)

    def session(self, id: bytes) -> Session:
        if id[:8] not in self.sessions:
            raise Refused("NOT_FOUND")
        return self.sessions[id[:8]]

    def close(self, id: bytes) -> None:
        del self.sessions[self.session(id).id[:8]]
