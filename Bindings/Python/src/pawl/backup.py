# SPDX-License-Identifier: Apache-2.0
"""Servers that keep backups: a Matrix homeserver, or this process's memory.

    with MatrixTransport("https://matrix.example", access_token) as transport:
        for item in store.items():
            if not serve(store, item, transport):
                ...  # another item

They see opaque bytes. What a server of one's own has to do is what `MemoryServer` does.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import ssl
import threading
import time
from ctypes import c_uint32
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import BadStatusLine, HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Protocol, Tuple, Type
from urllib.parse import quote, urlencode, urlsplit

from ._abi import Borrowed, library
from .store import Store
from .values import (
    BackupEntry,
    BackupReply,
    BackupRequest,
    BackupResult,
    Buffer,
    Duration,
    Item,
    Request,
    check,
    duration_ns,
)

if TYPE_CHECKING:
    from .aio import AsyncStore

__all__ = ["MatrixTransport", "MemoryServer", "Transport", "entry_rank", "serve", "serve_async"]


class Transport(Protocol):
    """Carries a backup's requests to a server."""

    def carry_out(self, request: BackupRequest) -> BackupReply:
        """Does what is asked for; what a server says wrong is a reply, and no exception."""


def _asked(item: Item) -> Optional[BackupRequest]:
    """What a server is asked for by an item."""
    if item.request in (Request.BACKUP_ESCROW, Request.BACKUP_SECRET):
        return None
    return item.backup_request


def serve(store: Store, item: Item, transport: Transport) -> bool:
    """Carries out and answers an item, if it is a backup's request to a server.

    False: it is something else, and nothing was done about it. That includes BACKUP_ESCROW and
    BACKUP_SECRET, which are the host's own.
    """
    request = _asked(item)
    if request is None:
        return False
    store.answer_backup(item.seq, transport.carry_out(request))
    return True


async def serve_async(store: AsyncStore, item: Item, transport: Transport) -> bool:
    """The same; the transport runs on a thread of the loop's."""
    request = _asked(item)
    if request is None:
        return False
    loop = asyncio.get_running_loop()
    reply = await loop.run_in_executor(None, transport.carry_out, request)
    await store.answer_backup(item.seq, reply)
    return True


def entry_rank(data: Buffer) -> Tuple[int, int]:
    """(first, order) of what is stored at a place; the lower stays. CorruptError: no entry."""
    first, order = c_uint32(), c_uint32()
    with Borrowed(data) as (address, size):
        check(library.pawl_backup_entry_rank(address, size, first, order))
    return first.value, order.value


# ---------------------------------------------------------------- in memory


class MemoryVersion:
    """A version as a server has it."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.entries: Dict[bytes, bytes] = {}

    def put(self, entry: BackupEntry) -> None:
        """Keeps the entry, or the one that is at its place."""
        there = self.entries.get(entry.place)
        if there is None or entry_rank(entry.data) < entry_rank(there):
            self.entries[entry.place] = entry.data

    def page(self, after: bytes, size: int) -> BackupReply:
        """The next so many entries behind a place."""
        places = sorted(place for place in self.entries if place > after)
        return BackupReply(
            entries=tuple(BackupEntry(place, self.entries[place]) for place in places[:size]),
            body=places[size - 1] if len(places) > size else b"",
        )


class MemoryServer:
    """All that a server has to do, for one user. May be called by any thread."""

    def __init__(self, page: int = 100) -> None:
        self.versions: Dict[str, MemoryVersion] = {}
        """By the server's numbers; the last one is current."""
        self._page = page
        self._made = 0
        self._lock = threading.Lock()

    @property
    def current(self) -> Optional[str]:
        """The number of the current version."""
        return next(reversed(self.versions), None)

    def carry_out(self, request: BackupRequest) -> BackupReply:
        with self._lock:
            return self._carry_out(request)

    def _carry_out(self, request: BackupRequest) -> BackupReply:
        what = request.what
        if what not in _ASKS:
            raise _not_for_servers(request)
        if what is Request.BACKUP_CREATE:
            self._made += 1
            self.versions[str(self._made)] = MemoryVersion(request.body)
            return BackupReply(version=str(self._made))
        number = self.current if what is Request.BACKUP_VERSION else request.version
        version = self.versions.get(number or "")
        if number is None or version is None:
            return BackupReply(BackupResult.NO_VERSION)
        if what is Request.BACKUP_VERSION:
            return BackupReply(count=len(version.entries), version=number, body=version.body)
        if what is Request.BACKUP_DELETE:
            del self.versions[number]
            return BackupReply()
        if what is Request.BACKUP_PUT:
            if number != self.current:
                return BackupReply(BackupResult.WRONG_VERSION)
            for entry in request.entries:
                version.put(entry)
            return BackupReply(count=len(version.entries))
        if what is Request.BACKUP_PAGE:
            return version.page(request.body, self._page)
        place = request.place or b""
        data = version.entries.get(place)
        if data is None:
            return BackupReply(BackupResult.NO_ITEM)
        return BackupReply(entries=(BackupEntry(place, data),))


def _not_for_servers(request: BackupRequest) -> ValueError:
    return ValueError(f"{request.what!r} is not for a server")


# ---------------------------------------------------------------- a Matrix homeserver


class _Refused(Exception):
    """A reply that is not what was asked for."""

    def __init__(
        self, result: BackupResult, detail: str = "", until_ns: Optional[int] = None
    ) -> None:
        self.reply = BackupReply(result, until_ns, detail=detail)


def _malformed(what: str) -> _Refused:
    return _Refused(BackupResult.FAILED, f"malformed: {what}")


class MatrixTransport:
    """A backup in the `room_keys` of a user of a Matrix homeserver. Any thread may call it.

    A backup of another Matrix client stays as it is, as a version that is none of Pawl's: creating
    and deleting are refused, and only a reset makes one that is current in its stead. `timeout` (seconds or timedelta) is how long an answer may take, `limit` the most bytes
    that one may have. Redirects are not followed, as the access token would go with them.

    An entry is a session in one of 256 rooms that do not exist, named by its place. Servers replace
    a session if its first index is lower, or else its forwarded count, and Synapse if either is:
    both numbers rise together (see `_numbers`), so that the rules agree.
    """

    ALGORITHM = "org.pawl.backup.v1"

    def __init__(
        self,
        base_url: str,
        access_token: str,
        *,
        timeout: Duration = 30,
        context: Optional[ssl.SSLContext] = None,
        limit: int = 256 << 20,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        url = urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
            raise ValueError("a base URL is http[s]://host[:port][/path]")
        self.access_token = access_token
        """May be set to a fresh one."""
        self._path = url.path.rstrip("/") + "/_matrix/client/v3/room_keys"
        self._timeout = duration_ns(timeout) / 1e9
        self._limit = limit
        self._clock = clock
        self._idle: List[HTTPConnection] = []
        host, port, is_secure = url.hostname, url.port, url.scheme == "https"

        def connect() -> HTTPConnection:
            if is_secure:
                return HTTPSConnection(host, port, timeout=self._timeout, context=context)
            return HTTPConnection(host, port, timeout=self._timeout)

        self._connect = connect

    def carry_out(self, request: BackupRequest) -> BackupReply:
        """Does what is asked for. Whatever the server or the network do wrong is FAILED."""
        ask = _ASKS.get(request.what)
        if ask is None:
            raise _not_for_servers(request)
        try:
            return ask(self, request)
        except _Refused as refused:
            return refused.reply
        except (OSError, HTTPException, ValueError) as error:
            return BackupReply(BackupResult.FAILED, detail=type(error).__name__)

    def close(self) -> None:
        """Closes what is open, as `with` does; the next request connects again."""
        while self._idle:
            self._idle.pop().close()

    def __enter__(self) -> MatrixTransport:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    # ------------------------------------------------------------ requests

    def _version(self, request: BackupRequest) -> BackupReply:
        answer = self._ask("GET", "version")
        algorithm = answer.get("algorithm")
        if not isinstance(algorithm, str):
            raise _malformed("algorithm")
        if algorithm != self.ALGORITHM:
            # Another program's. No bytes are those of a version.
            return BackupReply(version=_number(answer))
        auth_data = answer.get("auth_data")
        body = _bytes(auth_data.get("body")) if isinstance(auth_data, dict) else None
        if body is None:
            raise _malformed("auth_data")
        return BackupReply(count=_count(answer), version=_number(answer), body=body)

    def _create(self, request: BackupRequest) -> BackupReply:
        answer = self._ask(
            "POST",
            "version",
            {"algorithm": self.ALGORITHM, "auth_data": {"body": _text(request.body)}},
        )
        return BackupReply(version=_number(answer))

    def _delete(self, request: BackupRequest) -> BackupReply:
        self._ask("DELETE", _path("version", request.version))
        return BackupReply()

    def _put(self, request: BackupRequest) -> BackupReply:
        rooms: Dict[str, Dict[str, Dict[str, object]]] = {}
        for entry in request.entries:
            first, count = _numbers(entry)
            rooms.setdefault(_room(entry.place[0]), {"sessions": {}})["sessions"][
                entry.place.hex()
            ] = {
                "first_message_index": first,
                "forwarded_count": count,
                "is_verified": False,
                "session_data": {"bytes": _text(entry.data)},
            }
        answer = self._ask("PUT", "keys", {"rooms": rooms}, version=request.version)
        return BackupReply(count=_count(answer))

    def _item(self, request: BackupRequest) -> BackupReply:
        place = request.place or b""
        path = _path("keys", _room(place[0]), place.hex())
        try:
            answer = self._ask("GET", path, version=request.version)
        except _Refused as refused:
            # Not found: the version or the session.
            if refused.reply.result is BackupResult.NO_VERSION:
                self._ask("GET", _path("version", request.version))
                return BackupReply(BackupResult.NO_ITEM)
            raise
        return BackupReply(entries=(_entry(place, answer),))

    def _page(self, request: BackupRequest) -> BackupReply:
        """A room's sessions, as many as fit. The cursor is a room, or the last place in one."""
        cursor = request.body.decode()
        if not re.fullmatch("(|[0-9a-f]{2}|[0-9a-f]{32})", cursor):
            raise _malformed("cursor")
        room = int(cursor[:2] or "0", 16)
        end = time.monotonic() + self._timeout
        while True:
            sessions = self._sessions(room, request.version)
            places = sorted(
                place
                for place in sessions
                if place > cursor and re.fullmatch(f"{room:02x}[0-9a-f]{{30}}", place)
            )
            page = places[:_PAGE]
            if len(places) > _PAGE:
                cursor = page[-1]
            else:
                room += 1
                cursor = f"{room:02x}" if room < _ROOMS else ""
            if page or not cursor or time.monotonic() > end:
                entries = (_entry(bytes.fromhex(place), sessions[place]) for place in page)
                return BackupReply(entries=tuple(entries), body=cursor.encode())

    def _sessions(self, room: int, version: str) -> Dict[str, Any]:
        try:
            sessions = self._ask("GET", _path("keys", _room(room)), version=version).get("sessions")
        except _Refused as refused:
            # Not found: the version or, with some servers, the room.
            if refused.reply.result is BackupResult.NO_VERSION:
                self._ask("GET", _path("version", version))
                return {}
            raise
        if not isinstance(sessions, dict):
            raise _malformed("sessions")
        return sessions

    # ------------------------------------------------------------ HTTP

    def _ask(
        self, method: str, path: str, body: Optional[object] = None, **query: str
    ) -> Dict[str, Any]:
        """What a server answers when all is well, or else raises what it means."""
        target = f"{self._path}/{path}" + (f"?{urlencode(query)}" if query else "")
        status, headers, data = self._send(
            method, target, None if body is None else json.dumps(body).encode()
        )
        answer = _object(data)
        if 200 <= status < 300:
            if answer is None:
                raise _malformed("not an object")
            return answer
        answer = answer or {}
        code = answer.get("errcode")
        if status == 429:
            until = self._until(answer.get("retry_after_ms"), headers.get("Retry-After"))
            raise _Refused(BackupResult.RATE_LIMITED, "429", until)
        if (status, code) == (403, "M_WRONG_ROOM_KEYS_VERSION"):
            raise _Refused(BackupResult.WRONG_VERSION)
        if (status, code) == (404, "M_NOT_FOUND"):
            raise _Refused(BackupResult.NO_VERSION)
        named = code if isinstance(code, str) and re.fullmatch("[A-Z_]{1,64}", code) else ""
        raise _Refused(BackupResult.FAILED, f"{status} {named}".rstrip())

    def _until(self, milliseconds: object, header: Optional[str]) -> Optional[int]:
        """The time that a server says, at most a day from now."""
        now = self._clock()
        if isinstance(milliseconds, (int, float)) and milliseconds >= 0:
            return now + int(min(milliseconds, _DAY)) * 1_000_000
        if header and re.fullmatch("[0-9]{1,9}", header, re.ASCII):
            return self._until(int(header) * 1000, None)
        if header:
            try:
                then = parsedate_to_datetime(header).timestamp()
            except (TypeError, ValueError, IndexError, OverflowError):
                return None
            return self._until(max(0.0, then * 1e3 - now / 1e6), None)
        return None

    def _send(self, method: str, target: str, body: Optional[bytes]) -> Tuple[int, Message, bytes]:
        """One exchange, over a connection that is open or else a new one."""
        headers = {"Authorization": f"Bearer {self.access_token}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        while True:
            is_new = method == "POST"  # to make a version twice is no good
            try:
                connection = self._connect() if is_new else self._idle.pop()
            except IndexError:
                connection, is_new = self._connect(), True
            try:
                connection.request(method, target, body, headers)
                with connection.getresponse() as response:
                    data = self._read(response)
            except BaseException as error:
                connection.close()
                # The server may have closed one that was idle.
                if is_new or not isinstance(error, (ConnectionError, BadStatusLine)):
                    raise
            else:
                self._idle.append(connection)
                return response.status, response.headers, data

    def _read(self, response: HTTPResponse) -> bytes:
        end = time.monotonic() + self._timeout
        data = bytearray()
        while part := response.read1(1 << 16):
            data += part
            if len(data) > self._limit or time.monotonic() > end:
                raise _Refused(BackupResult.FAILED, "too much, or too slow")
        return bytes(data)


_ASKS: Dict[Request, Callable[[MatrixTransport, BackupRequest], BackupReply]] = {
    Request.BACKUP_VERSION: MatrixTransport._version,
    Request.BACKUP_CREATE: MatrixTransport._create,
    Request.BACKUP_DELETE: MatrixTransport._delete,
    Request.BACKUP_PUT: MatrixTransport._put,
    Request.BACKUP_PAGE: MatrixTransport._page,
    Request.BACKUP_ITEM: MatrixTransport._item,
}
_ROOMS = 256
_PAGE = 10_000
_DAY = 86_400_000  # milliseconds
_HIGHEST = 2**31 - 1


def _room(number: int) -> str:
    return f"!pawl-{number:02x}:backup.invalid"


def _numbers(entry: BackupEntry) -> Tuple[int, int]:
    """First index and forwarded count of a session, 31 bits each.

    Neither may fall when the entry's rank rises, or Synapse would replace by it what is better. So
    there is room for `first` and the highest bits of `order`, which say how its writer came by it;
    of two that are alike in both, the one that is there stays.
    """
    is_second_hand = entry.order >> 29 > 0
    return min(entry.first + is_second_hand, _HIGHEST), entry.first


def _path(*parts: str) -> str:
    return "/".join(quote(part, safe="") for part in parts)


def _text(data: bytes) -> str:
    """Unpadded base64."""
    return base64.b64encode(data).rstrip(b"=").decode()


def _bytes(text: object) -> Optional[bytes]:
    if not isinstance(text, str):
        return None
    text = text.rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return None


def _entry(place: bytes, session: object) -> BackupEntry:
    """What is at a place, whatever it is."""
    data = session.get("session_data") if isinstance(session, dict) else None
    text = data.get("bytes") if isinstance(data, dict) else None
    found = _bytes(text)
    if found is None:
        found = text.encode("utf-8", "replace") if isinstance(text, str) else b""
    return BackupEntry(place, found)


def _object(data: bytes) -> Optional[Dict[str, Any]]:
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _count(answer: Dict[str, Any]) -> int:
    count = answer.get("count")
    if type(count) is not int or not 0 <= count < 1 << 63:
        raise _malformed("count")
    return count


def _number(answer: Dict[str, Any]) -> str:
    """The server's number of a version."""
    version = answer.get("version")
    if not isinstance(version, str) or not 1 <= len(version.encode()) <= 64 or "\0" in version:
        raise _malformed("version")
    return version
