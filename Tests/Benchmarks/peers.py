"""peers.py LIBRARY [METRIC...]: what peers.h is, for the libraries that Python sees: Pawl,
vodozemac and python-olm. It prints `name,metric,value` lines, or, without a metric, the names of
those that there are."""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

SECONDS = float(os.environ.get("PAWL_BENCH_SECONDS", "0.2"))
TEXT = {size: b"x" * size for size in (64, 1024, 65536)}
PICKLE_KEY = b"0123456789abcdef0123456789abcdef"

# A block of work: what is made before, outside the measurement, is given to what is timed.
Work = Tuple[int, Callable[[], Any], Callable[[Any], None]]


class Library:
    """A session between two sides; side 0 began it. Both sides have confirmed it."""

    name: str
    late_max = 1000

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept: Optional[List[sqlite3.Connection]] = None

    def open(self, on_disk: bool) -> None:
        raise NotImplementedError

    def encrypt(self, side: int, text: bytes) -> Any:
        raise NotImplementedError

    def decrypt(self, side: int, message: Any) -> bytes:
        raise NotImplementedError

    def publish(self, count: int) -> Sequence[Any]:
        """One-time keys."""
        raise NotImplementedError

    def set_up(self, key: Any) -> None:
        raise NotImplementedError

    def turn(self, side: int) -> None:
        """A message under a key made for it alone, said and heard."""
        if self.decrypt(1 - side, self.encrypt(side, TEXT[64])) != TEXT[64]:
            raise SystemExit("turn: another text")

    def sizes(self) -> Dict[str, Callable[[], float]]:
        return {}

    def others(self) -> Dict[str, Work]:
        return {}

    # ---------------------------------------------------------------- the rows

    def works(self) -> Dict[str, Work]:
        found: Dict[str, Work] = {}
        for size, block in ((64, 256), (1024, 256), (65536, 16)):
            found[f"encrypt_{size}_per_s"] = self._encrypting(size, block)
            found[f"decrypt_{size}_per_s"] = self._decrypting(size, block)
        found["encrypt_64_durable_per_s"] = self._encrypting(64, 256)
        found["decrypt_64_durable_per_s"] = self._decrypting(64, 64)
        for block in (32, 1000):
            if block <= self.late_max:
                found[f"late_{block}_per_s"] = self._decrypting(64, block, late=True)
        found["turn_64_per_s"] = (32, lambda: None, self._turns)
        found["setup_per_s"] = (48, lambda: self.publish(48), self._set_ups)
        found.update(self.others())
        return found

    def _encrypting(self, size: int, block: int) -> Work:
        def timed(_: None) -> None:
            for _ in range(block):
                self.encrypt(0, TEXT[size])

        return block, lambda: None, timed

    def _decrypting(self, size: int, block: int, late: bool = False) -> Work:
        def before() -> List[Any]:
            made = [self.encrypt(0, TEXT[size]) for _ in range(block)]
            return made[::-1] if late else made

        def timed(messages: List[Any]) -> None:
            for message in messages:
                self.decrypt(1, message)

        return block, before, timed

    def _turns(self, _: None) -> None:
        for i in range(32):
            self.turn(i % 2)

    def _set_ups(self, keys: Sequence[Any]) -> None:
        for key in keys:
            self.set_up(key)


class Ratchet(Library):
    """A library that stores nothing: with `durable` its host keeps each side in SQLite."""

    late_max = 32
    sides: List[Any]

    def pickle(self, session: Any) -> Any:
        raise NotImplementedError

    def unpickle(self, pickled: Any) -> Any:
        raise NotImplementedError

    def pair(self, key: Any) -> List[Any]:
        raise NotImplementedError

    def length(self, message: Any) -> int:
        raise NotImplementedError

    def open(self, on_disk: bool) -> None:
        self.kept = None
        self.sides = self.pair(self.publish(1)[0])
        self.turn(1)
        self.turn(0)
        if on_disk:
            self.kept = []
            for side in ("alice", "bob"):
                made = sqlite3.connect(self.folder / f"{side}.sqlite", isolation_level=None)
                made.execute("PRAGMA journal_mode=WAL")
                made.execute("PRAGMA synchronous=FULL")
                made.execute("CREATE TABLE session(id INTEGER PRIMARY KEY, state BLOB NOT NULL)")
                self.kept.append(made)

    def keep(self, side: int) -> None:
        if self.kept is not None:
            self.kept[side].execute(
                "INSERT OR REPLACE INTO session(id, state) VALUES(1, ?)",
                (self.pickle(self.sides[side]),),
            )

    def encrypt(self, side: int, text: bytes) -> Any:
        message = self.sides[side].encrypt(text)
        self.keep(side)
        return message

    def decrypt(self, side: int, message: Any) -> bytes:
        text = self.sides[side].decrypt(message)
        self.keep(side)
        return text.encode() if isinstance(text, str) else text

    def set_up(self, key: Any) -> None:
        self.pair(key)

    def sizes(self) -> Dict[str, Callable[[], float]]:
        return {
            "overhead_64_bytes": lambda: self.length(self.encrypt(0, TEXT[64])) - 64,
            "session_stored_bytes": lambda: len(self.pickle(self.sides[0])),
            "session_memory_bytes": self._memory,
        }

    def _memory(self) -> float:
        count, pickled, before = 5000, self.pickle(self.sides[0]), resident()
        many = [self.unpickle(pickled) for _ in range(count)]
        return (resident() - before) / len(many)


class Vodozemac(Ratchet):
    name = "vodozemac-py"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import vodozemac

        self.module = vodozemac
        self.accounts = vodozemac.Account(), vodozemac.Account()

    def publish(self, count: int) -> Sequence[Any]:
        bob = self.accounts[1]
        bob.generate_one_time_keys(count)
        keys = list(bob.one_time_keys.values())[:count]
        bob.mark_keys_as_published()
        return keys

    def pair(self, key: Any) -> List[Any]:
        alice, bob = self.accounts
        ours = alice.create_outbound_session(bob.curve25519_key, key)
        first = ours.encrypt(TEXT[64]).to_pre_key()
        theirs, text = bob.create_inbound_session(alice.curve25519_key, first)
        if text != TEXT[64]:
            raise SystemExit("set-up: another text")
        return [ours, theirs]

    def pickle(self, session: Any) -> Any:
        return session.pickle(PICKLE_KEY)

    def unpickle(self, pickled: Any) -> Any:
        return self.module.Session.from_pickle(pickled, PICKLE_KEY)

    def length(self, message: Any) -> int:
        return len(message.to_parts()[1])


class PythonOlm(Ratchet):
    name = "python-olm"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import olm

        self.module = olm
        self.accounts = olm.Account(), olm.Account()
        self.ids = [account.identity_keys["curve25519"] for account in self.accounts]

    def publish(self, count: int) -> Sequence[Any]:
        bob = self.accounts[1]
        bob.generate_one_time_keys(count)
        keys = list(bob.one_time_keys["curve25519"].values())[:count]
        bob.mark_keys_as_published()
        return keys

    def pair(self, key: Any) -> List[Any]:
        alice, bob = self.accounts
        ours = self.module.OutboundSession(alice, self.ids[1], key)
        first = ours.encrypt(TEXT[64])
        theirs = self.module.InboundSession(bob, first, self.ids[0])
        if len(theirs.decrypt(first)) != 64:
            raise SystemExit("set-up: another text")
        bob.remove_one_time_keys(theirs)
        return [ours, theirs]

    def pickle(self, session: Any) -> Any:
        return session.pickle(PICKLE_KEY.decode())

    def unpickle(self, pickled: Any) -> Any:
        return self.module.Session.from_pickle(pickled, PICKLE_KEY.decode())

    def length(self, message: Any) -> int:
        return len(message.ciphertext)


class Pawl(Library):
    name = "pawl-py"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import pawl

        self.module = pawl
        self.scope = pawl.Scope("user")

    def store(self, on_disk: bool, name: str) -> Any:
        key = self.module.RawKey(b"thirty-two bytes for a raw key!!")
        if not on_disk:
            return self.module.Store.memory(key=key)
        made = self.module.Store.open(str(self.folder / f"{name}.pawl"), key=key, create=True)
        for _ in range(100):  # the log has the size that it keeps
            made.put(self.scope, "x", bytes(60000))
        return made

    def open(self, on_disk: bool) -> None:
        self.stores = [self.store(on_disk, name) for name in ("alice", "bob")]
        pairs = zip(self.stores, ("alice", "bob"))
        self.accounts = [store.create_account(name) for store, name in pairs]
        package, keys = self.stores[1].create_package(self.accounts[1], one_time_keys=1)
        both = package.data + keys[0].data
        ours = self.stores[0].start_session(self.accounts[0], "bob", both)
        self.sessions = [ours, b""]
        for side in (0, 1, 0):
            there, frame = 1 - side, self.encrypt(side, TEXT[64])
            received = self.stores[there].receive_many(self.accounts[there], [frame])[0]
            self.sessions[there] = received.session
        self.is_perfect = False
        for i in range(1000):
            self.stores[0].put(self.scope, f"secret/{i:08d}", bytes(256))

    def encrypt(self, side: int, text: bytes) -> Any:
        return self.stores[side].encrypt(self.sessions[side], text)

    def decrypt(self, side: int, message: Any) -> bytes:
        text: bytes = self.stores[side].receive(self.accounts[side], message).plaintext
        return text

    def deliver(self, side: int) -> int:
        items = self.stores[side].take()
        arrived = 0
        for item in items:
            if item.kind is self.module.ItemKind.FRAME:
                there = 1 - side
                received = self.stores[there].receive(self.accounts[there], item.body)
                arrived += bool(received.plaintext)
        self.stores[side].ack(*(item.seq for item in items))
        return arrived

    def turn(self, side: int) -> None:
        if not self.is_perfect:
            limits = self.module.RekeyLimits(perfect=True)
            for store, session in zip(self.stores, self.sessions):
                store.set_limits(session, limits)
            self.is_perfect = True
        self.stores[side].send(self.sessions[side], TEXT[64])
        while not self.deliver(side):
            self.deliver(1 - side)

    def publish(self, count: int) -> Sequence[Any]:
        self.open(False)  # an account lets few strangers wait
        package, keys = self.stores[1].create_package(self.accounts[1], one_time_keys=count)
        return [
            (self.stores[0].create_account(f"alice-{i}"), package.data + key.data)
            for i, key in enumerate(keys)
        ]

    def set_up(self, key: Any) -> None:
        account, package = key
        session = self.stores[0].start_session(account, "bob", package)
        self.stores[1].receive(self.accounts[1], self.stores[0].encrypt(session, TEXT[64]))

    def others(self) -> Dict[str, Work]:
        def many(messages: List[Any]) -> None:
            self.stores[1].receive_many(self.accounts[1], messages)

        def rekeys(_: None) -> None:
            for i in range(32):
                store, session = self.stores[i % 2], self.sessions[i % 2]
                store.rekey(session)
                for side in (i % 2, 1 - i % 2, i % 2):
                    self.deliver(side)

        def each(call: Callable[[str], object]) -> Work:
            names = [f"secret/{i * 7 % 1000:08d}" for i in range(256)]

            def timed(_: None) -> None:
                for name in names:
                    call(name)

            return 256, lambda: None, timed

        return {
            "receive_many_64_durable_per_s": (256, self._decrypting(64, 256)[1], many),
            "rekey_rounds_per_s": (32, lambda: None, rekeys),
            "has_memory_per_s": each(lambda name: self.stores[0].has(self.scope, name)),
            "get_memory_per_s": each(lambda name: self.stores[0].get(self.scope, name)),
            "put_memory_per_s": each(lambda name: self.stores[0].put(self.scope, name, bytes(256))),
        }


def resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def rate(work: Work) -> float:
    """How often in a second; what comes first is not counted."""
    block, before, timed = work
    took, cold, count = 0.0, SECONDS / 2, 0
    while took < SECONDS:
        given = before()
        begun = time.perf_counter()
        timed(given)
        passed = time.perf_counter() - begun
        if cold > 0:
            cold -= passed
        else:
            took += passed
            count += block
    return count / took


LIBRARIES = {library.name: library for library in (Pawl, Vodozemac, PythonOlm)}


def main(name: str, wanted: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="pawl-bench-") as folder:
        library = LIBRARIES[name](Path(folder))
        works, sizes = library.works(), library.sizes()
        for metric in wanted:
            library.open("durable" in metric)
            value = rate(works[metric]) if metric in works else sizes[metric]()
            print(f"{name},{metric},{value:.6g}", flush=True)
        if not wanted:
            print("\n".join([*works, *sizes]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
