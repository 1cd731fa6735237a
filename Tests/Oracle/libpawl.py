"""The library behind the same face as wire.Peer: a thin shim over pawl.h, without the pawl package."""

import ctypes
import os
from ctypes import byref, c_char, c_int32, c_int64, c_size_t, c_uint32, c_void_p
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, List, Optional, Tuple, Type

from wire import OVERHEAD, Identity, Received, Refused, milliseconds

ID, KEY = c_char * 16, c_char * 32
NOW = ctypes.CFUNCTYPE(c_int64, c_void_p)
MS = 1_000_000
STORE_CREATE, STORE_MEMORY, KEY_RAW = 1, 4, 1
SESSION_CONFIRMED, SESSION_DESYNCHRONIZED = 2, 8
RECEIVED_EMPTY, RECEIVED_NEW = 1, 4
REKEY_FRESH = 1
ITEM_FRAME, ITEM_EVENT = 1, 3
EVENTS = {2: "LOST", 3: "DESYNCHRONIZED", 6: "EPOCH", 7: "STALLED", 8: "SESSION_CLOSED", 9: "UNSENT"}


class Struct(ctypes.Structure):
    _fields_: List[Any]

    def __init__(self, **values: Any) -> None:
        super().__init__(struct_size=ctypes.sizeof(self), **values)

    def copied(self) -> SimpleNamespace:
        """Its numbers, and the bytes of its arrays and of what its pointers show."""
        found = {}
        for name, type in self._fields_:
            at = getattr(self.__class__, name)
            if issubclass(type, ctypes.Array):
                found[name] = bytes(self)[at.offset:at.offset + at.size]
            elif type is c_void_p and hasattr(self, name + "_size"):
                found[name] = ctypes.string_at(getattr(self, name) or b"", getattr(self, name + "_size"))
            else:
                found[name] = getattr(self, name)
        return SimpleNamespace(**found)


def struct(*parts: Any) -> Type[Struct]:
    """A struct of pawl.h after its struct_size; a name alone is bytes and their size."""
    listed: List[Any] = [("struct_size", c_uint32)]
    for part in parts:
        listed += [(part, c_void_p), (part + "_size", c_size_t)] if isinstance(part, str) else [part]
    return type("Struct", (Struct,), {"_fields_": listed})


FLAGS, PEER = ("flags", c_uint32), [("peer_signing_key", KEY), ("peer_agreement_key", KEY), "peer_name"]
Clock = struct(FLAGS, ("context", c_void_p), ("now", NOW))
Key = struct(("kind", c_uint32), "secret", ("memory", ctypes.c_uint64), ("passes", c_uint32),
             ("reserved", c_uint32))
StoreOptions = struct(FLAGS, "path", ("key", c_void_p), ("busy_timeout", c_int64), ("clock", c_void_p),
                      ("storage", c_void_p), ("vault", c_void_p))
Account = struct(FLAGS, ("id", ID), ("signing_key", KEY), ("agreement_key", KEY), ("created", c_int64),
                 "name")
PackageOptions = struct(FLAGS, ("lifetime", c_int64), ("one_time_count", c_uint32),
                        ("reserved", c_uint32))
Package = struct(("kind", c_uint32), ("id", ID), ("key_id", c_uint32), ("one_time_count", c_uint32),
                 ("not_before", c_int64), ("not_after", c_int64), "bytes", ("remove", c_int64),
                 ("state", c_uint32), ("reserved", c_uint32))
StartOptions = struct(FLAGS, "peer_name", "package")
Session = struct(FLAGS, ("id", ID), ("account", ID), ("suite", c_uint32), ("epoch", c_uint32),
                 ("sent", c_uint32), ("received", c_uint32), ("skipped", c_uint32),
                 ("target", c_uint32), ("messages", c_uint32), ("limit_flags", c_uint32),
                 ("bytes", ctypes.c_uint64), ("interval", c_int64), ("queue", c_uint32),
                 ("queued", c_uint32), ("created", c_int64), ("ends", c_int64), *PEER)
Limits = struct(FLAGS, ("messages", c_uint32), ("queue", c_uint32), ("bytes", ctypes.c_uint64),
                ("interval", c_int64))
Frame = struct(FLAGS, ("bytes", c_void_p), ("size", c_size_t))
ReceivedFrame = struct(FLAGS, ("session", ID), ("epoch", c_uint32), ("index", c_uint32))
Item = struct(("kind", c_uint32), ("what", c_uint32), ("attempts", c_uint32),
              ("seq", ctypes.c_uint64), ("count", ctypes.c_uint64), ("account", ID), ("session", ID),
              ("created", c_int64), ("lease", c_int64), *PEER, "body")

class Library:
    def __init__(self, path: str) -> None:
        self.loaded = ctypes.CDLL(path)
        self.loaded.pawl_status_name.restype = ctypes.c_char_p
        self.loaded.pawl_view_count.restype = c_size_t
        self.loaded.pawl_view_count.argtypes = self.loaded.pawl_view_close.argtypes = [c_void_p]
        self.loaded.pawl_view_close.restype = self.loaded.pawl_store_close.restype = None

    def __call__(self, name: str, *arguments: Any) -> None:
        """Calls pawl_<name>. An int is passed as a size_t, bytes as their address alone."""
        status = getattr(self.loaded, "pawl_" + name)(*(
            c_size_t(a) if isinstance(a, int) else a for a in arguments))
        if status != 0:
            raise Refused(self.loaded.pawl_status_name(c_int32(status)).decode()[len("PAWL_"):])

    def rows(self, call: str, *arguments: Any, of: Type[Struct], kind: str) -> List[SimpleNamespace]:
        """The rows of the view that the call's last argument receives."""
        view, rows = c_void_p(), []
        self(call, *arguments, byref(view))
        try:
            for number in range(self.loaded.pawl_view_count(view)):
                row = of()
                self("view_" + kind, view, number, byref(row))
                rows.append(row.copied())
        finally:
            self.loaded.pawl_view_close(view)
        return rows


def address(data: bytes) -> c_void_p:
    return ctypes.cast(ctypes.c_char_p(data), c_void_p)


class Peer:
    """One account in a store of its own, in memory or, opened again, in a file."""

    def __init__(self, name: str, now: Callable[[], int] = milliseconds,
                 path: Optional[Path] = None) -> None:
        root = Path(__file__).resolve().parents[2]
        self.call = Library(os.environ.get("PAWL_LIBRARY") or str(root / "build" / "libpawl.so.0"))
        self.now = now
        self.frames: List[bytes] = []
        self.events: List[Tuple[str, bytes, int]] = []
        self.clock = Clock(now=NOW(lambda _: now() * MS))
        where, raw = os.fsencode(path or ""), bytes(32)
        key = Key(kind=KEY_RAW, secret=address(raw), secret_size=32)
        options = StoreOptions(
            flags=0 if path else STORE_CREATE | STORE_MEMORY, path=address(where), path_size=len(where),
            key=ctypes.cast(byref(key), c_void_p), clock=ctypes.cast(byref(self.clock), c_void_p))
        self.store = c_void_p()
        self.call("store_open", byref(options), byref(self.store))
        if path is None:
            id = ID()
            self.call("account_create", self.store, name.encode(), len(name.encode()), id)
        (row,) = self.call.rows("account_list", self.store, None, 10, of=Account, kind="account")
        self.account = row.id
        self.identity = Identity(row.signing_key, row.agreement_key, row.name)

    def shut(self) -> None:
        self.call.loaded.pawl_store_close(self.store)

    def copy(self, path: Path) -> Path:
        """The store as it is now."""
        self.call("store_copy", self.store, os.fsencode(path), len(os.fsencode(path)))
        return path

    def restored(self, folder: Path) -> "Peer":
        """The store as it is now, opened from a copy."""
        return Peer("", self.now, self.copy(folder / "copy.pawl"))

    def run_due(self) -> None:
        self.call("store_run_due", self.store, 10_000, None, None)

    def package(self, one_time: int = 0) -> List[bytes]:
        options = PackageOptions(one_time_count=one_time)
        return [row.bytes for row in self.call.rows(
            "package_create", self.store, self.account, byref(options), of=Package, kind="package")]

    def packages(self) -> List[SimpleNamespace]:
        return self.call.rows("package_list", self.store, self.account, of=Package, kind="package")

    def delete_package(self, id: bytes) -> None:
        self.call("package_delete", self.store, self.account, id)

    def start(self, name: bytes, package: bytes) -> bytes:
        options = StartOptions(peer_name=address(name), peer_name_size=len(name),
                               package=address(package), package_size=len(package))
        id = ID()
        self.call("session_start", self.store, self.account, byref(options), id)
        return bytes(id)

    def encrypt(self, session: bytes, text: bytes) -> bytes:
        out, size = ctypes.create_string_buffer(len(text) + OVERHEAD), c_size_t()
        self.call("session_encrypt", self.store, session, text, len(text), out, len(out), byref(size))
        return out.raw[:size.value]

    def send(self, session: bytes, text: bytes) -> int:
        ticket = ctypes.c_uint64()
        self.call("session_send", self.store, session, text, len(text), byref(ticket))
        return ticket.value

    def limit(self, session: bytes, **limits: int) -> None:
        self.call("session_set_limits", self.store, session, byref(Limits(**limits)))

    def receive(self, data: bytes) -> Received:
        frame, received = Frame(bytes=address(data), size=len(data)), ReceivedFrame()
        out, size = ctypes.create_string_buffer(max(len(data), 1)), c_size_t()
        self.call("account_receive", self.store, self.account, byref(frame), out, len(out), byref(size),
                  byref(received))
        return Received(None if received.flags & RECEIVED_EMPTY else out.raw[:size.value],
                        received.copied().session, received.index, bool(received.flags & RECEIVED_NEW))

    def close(self, session: bytes) -> None:
        self.call("session_close", self.store, session)

    def row(self, session: bytes) -> SimpleNamespace:
        (row,) = self.call.rows("session_get", self.store, session, of=Session, kind="session")
        return row

    def confirmed(self, session: bytes) -> bool:
        return bool(self.row(session).flags & SESSION_CONFIRMED)

    def desynchronized(self, session: bytes) -> bool:
        return bool(self.row(session).flags & SESSION_DESYNCHRONIZED)

    def state(self, peer: bytes) -> object:
        """What may not change when a frame is refused."""
        sessions = self.call.rows("session_list", self.store, self.account, peer, len(peer),
                                  of=Session, kind="session")
        for row in sessions:
            row.flags &= ~SESSION_DESYNCHRONIZED
        return sessions, [(row.id, row.one_time_count) for row in self.packages()]

    def rekey(self, session: bytes, fresh: bool = False) -> int:
        epoch = c_uint32()
        self.call("session_rekey", self.store, session, c_uint32(REKEY_FRESH if fresh else 0), byref(epoch))
        return epoch.value

    def epoch(self, session: bytes) -> int:
        return int(self.row(session).epoch)

    def take(self) -> None:
        """What is in the outbox, and is not any more."""
        rows = self.call.rows("outbox_take", self.store, 100, c_int64(0), of=Item, kind="item")
        self.call("outbox_ack", self.store, (ctypes.c_uint64 * len(rows))(*(row.seq for row in rows)),
                  len(rows))
        for row in rows:
            if row.kind == ITEM_FRAME:
                self.frames.append(row.body)
            elif row.kind == ITEM_EVENT and row.what in EVENTS:
                self.events.append((EVENTS[row.what], row.session, row.count))
        if rows:
            self.take()

    def sent(self) -> List[bytes]:
        """The frames that have left by themselves since this was asked last."""
        self.take()
        frames, self.frames = self.frames, []
        return frames

    def told(self, event: str, session: bytes) -> List[int]:
        """The counts of such events."""
        self.take()
        return [count for what, id, count in self.events if (what, id) == (event, session)]

    def lost(self, session: bytes) -> int:
        """How many messages were told to be lost since this was asked last."""
        lost = sum(self.told("LOST", session))
        self.events = [event for event in self.events if event[:2] != ("LOST", session)]
        return lost
