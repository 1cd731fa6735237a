# SPDX-License-Identifier: Apache-2.0
"""The `room_keys` of a Matrix homeserver, in this process on loopback, which lies when told to."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Callable, Dict, List, Optional, Tuple, Type
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "a token"

Answer = Tuple[int, Any]
"""A status (0: nothing is said), and what is said: an object, or bytes as they are."""


def refusal(status: int, code: str, **more: Any) -> Answer:
    return status, {"errcode": code, "error": "no", **more}


class Version:
    def __init__(self, info: Dict[str, Any]) -> None:
        self.info = info
        self.rooms: Dict[str, Dict[str, Any]] = {}

    @property
    def count(self) -> int:
        return sum(map(len, self.rooms.values()))


def is_better(one: Dict[str, Any], other: Dict[str, Any]) -> bool:
    """As Synapse has it: either number is enough."""
    return bool(
        one["first_message_index"] < other["first_message_index"]
        or one["forwarded_count"] < other["forwarded_count"]
    )


class Homeserver(ThreadingHTTPServer):
    """`lie` is asked first: what it returns is said, with headers as a third, None: the truth."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.versions: Dict[str, Version] = {}
        self.made = 0
        self.asked: List[str] = []
        self.connections = 0
        self.lie: Callable[[str, str], Optional[Any]] = lambda method, path: None
        self.lock = threading.Lock()

    def __enter__(self) -> Homeserver:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.shutdown()
        self.server_close()

    @property
    def current(self) -> Optional[str]:
        return next(reversed(self.versions), None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is none of ours."""

    # ------------------------------------------------------------ the truth

    def answer(self, method: str, path: str, query: Dict[str, str], body: Any) -> Answer:
        number = query.get("version", "")
        if path == "version" and method == "POST":
            self.made += 1
            self.versions[str(self.made)] = Version(body)
            return 200, {"version": str(self.made)}
        if named := re.fullmatch("version(?:/([^/]+))?", path):
            number = unquote(named[1] or self.current or "")
        version = self.versions.get(number)
        if version is None:
            return refusal(404, "M_NOT_FOUND")
        if path.startswith("version"):
            if method == "DELETE":
                del self.versions[number]
                return 200, {}
            return 200, {**version.info, "version": number, "count": version.count, "etag": "0"}
        if method == "PUT":
            if number != self.current:
                return refusal(403, "M_WRONG_ROOM_KEYS_VERSION", current_version=self.current)
            for room, sessions in body["rooms"].items():
                there = version.rooms.setdefault(room, {})
                for name, session in sessions["sessions"].items():
                    if name not in there or is_better(session, there[name]):
                        there[name] = session
            return 200, {"count": version.count, "etag": "0"}
        _, room, *session = map(unquote, path.split("/"))
        there = version.rooms.get(room, {})
        if not session:
            return 200, {"sessions": there}
        if session[0] not in there:
            return refusal(404, "M_NOT_FOUND")
        return 200, there[session[0]]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Homeserver

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.connections += 1

    def do(self) -> None:
        url = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        prefix = "/_matrix/client/v3/room_keys/"
        assert url.path.startswith(prefix), url.path
        path = url.path[len(prefix) :]
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        with self.server.lock:
            self.server.asked.append(f"{self.command} {path}")
            said = self.server.lie(self.command, path)
            if said is None and self.headers["Authorization"] != f"Bearer {TOKEN}":
                said = refusal(401, "M_UNKNOWN_TOKEN")
            if said is None:
                said = self.server.answer(self.command, path, query, body)
        status, content, *headers = said
        if not status:
            self.close_connection = True
            return
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in dict(*headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = do

    def log_message(self, *_: Any) -> None:
        pass
