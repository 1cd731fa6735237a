# SPDX-License-Identifier: Apache-2.0
"""What a Matrix homeserver says, and what comes of it; the truth and then lies."""

from __future__ import annotations

import socket
import threading
from email.utils import formatdate
from typing import Any, Dict, Iterator, List, Optional, Tuple

import pytest

from doubles import SECOND, Time
from homeserver import TOKEN, Homeserver, refusal
from pawl import BackupEntry, BackupReply, BackupRequest, BackupResult, Request
from pawl.backup import MatrixTransport, MemoryServer, Transport, entry_rank

FAILED = BackupResult.FAILED
PLACE = bytes.fromhex("3f" + "07" * 15)


@pytest.fixture
def server() -> Iterator[Homeserver]:
    with Homeserver() as server:
        yield server


@pytest.fixture
def matrix(server: Homeserver, clock: Time) -> Iterator[MatrixTransport]:
    with MatrixTransport(server.url, TOKEN, timeout=5, clock=clock) as transport:
        yield transport


def ask(
    transport: Transport,
    what: Request,
    version: str = "",
    body: bytes = b"",
    entries: Tuple[BackupEntry, ...] = (),
    place: Optional[bytes] = None,
) -> BackupReply:
    return transport.carry_out(BackupRequest(what, version, body, entries, place))


def entry(place: bytes, first: int = 0, kind: int = 1, data: bytes = b"") -> BackupEntry:
    whole = b"\x01" + first.to_bytes(4, "little") + bytes([kind]) + data
    return BackupEntry(place, whole, *entry_rank(whole))


def pages(transport: Transport, version: str) -> List[Tuple[bytes, bytes]]:
    """All that a version has, and in order."""
    found: List[Tuple[bytes, bytes]] = []
    cursor = b""
    for _ in range(1000):
        reply = ask(transport, Request.BACKUP_PAGE, version, cursor)
        assert reply.result is BackupResult.DONE and len(reply.body) <= 64
        found += [(one.place, one.data) for one in reply.entries]
        cursor = reply.body
        if not cursor:
            break
    assert found == sorted(found)
    return found


# ---------------------------------------------------------------- the truth


@pytest.fixture(params=["memory", "matrix"])
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    if request.param == "memory":
        yield MemoryServer(page=3)
    else:
        yield request.getfixturevalue("matrix")


def test_versions(transport: Transport) -> None:
    assert ask(transport, Request.BACKUP_VERSION).result is BackupResult.NO_VERSION
    assert ask(transport, Request.BACKUP_DELETE, "1").result is BackupResult.NO_VERSION
    numbers = [
        ask(transport, Request.BACKUP_CREATE, body=b"body \0\xff %d" % number).version
        for number in range(3)
    ]
    assert len(set(numbers)) == 3
    for number in (2, 1, 0):
        reply = ask(transport, Request.BACKUP_VERSION)
        assert reply == BackupReply(version=numbers[number], body=b"body \0\xff %d" % number)
        assert ask(transport, Request.BACKUP_DELETE, numbers[number]) == BackupReply()
    assert ask(transport, Request.BACKUP_VERSION).result is BackupResult.NO_VERSION


def test_entries(transport: Transport) -> None:
    version = ask(transport, Request.BACKUP_CREATE).version
    entries = [entry(bytes([n * 23 % 256]) * 16, data=bytes([n])) for n in range(20)]
    entries += [entry(bytes(15) + bytes([n]), data=b"of one room") for n in range(1, 10)]
    reply = ask(transport, Request.BACKUP_PUT, version, entries=tuple(entries))
    assert reply == BackupReply(count=29)
    assert ask(transport, Request.BACKUP_PUT, version).count == 29
    assert pages(transport, version) == sorted((one.place, one.data) for one in entries)
    for one in entries:
        found = ask(transport, Request.BACKUP_ITEM, version, place=one.place)
        assert found == BackupReply(entries=(BackupEntry(one.place, one.data),))
    assert ask(transport, Request.BACKUP_VERSION).count == 29
    missing = ask(transport, Request.BACKUP_ITEM, version, place=PLACE)
    assert missing.result is BackupResult.NO_ITEM


def test_what_is_no_version_any_more(transport: Transport) -> None:
    version = ask(transport, Request.BACKUP_CREATE).version
    ask(transport, Request.BACKUP_PUT, version, entries=(entry(PLACE),))
    other = ask(transport, Request.BACKUP_CREATE).version
    reply = ask(transport, Request.BACKUP_PUT, version, entries=(entry(PLACE),))
    assert reply.result is BackupResult.WRONG_VERSION
    assert pages(transport, version) == [(PLACE, entry(PLACE).data)] and not pages(transport, other)
    ask(transport, Request.BACKUP_DELETE, version)
    for what in (Request.BACKUP_PUT, Request.BACKUP_PAGE, Request.BACKUP_ITEM):
        reply = ask(transport, what, version, place=PLACE)
        assert reply.result is BackupResult.NO_VERSION, what


def test_which_of_two_stays(transport: Transport) -> None:
    """Whatever comes first. Of each pair the first is better."""
    better = [
        (entry(PLACE, 5), entry(PLACE, 6)),
        (entry(PLACE, 5, kind=1), entry(PLACE, 5, kind=2)),
        (entry(PLACE, 5, kind=2), entry(PLACE, 6, kind=1)),
        (entry(PLACE, 0, kind=2), entry(PLACE, 1, kind=1)),
        (entry(PLACE, 0), entry(PLACE, 2**31 - 1, kind=2)),
        (entry(PLACE, 2**31 - 2, kind=2), entry(PLACE, 2**31 - 1, kind=1)),
        (entry(PLACE, 7, kind=3), entry(PLACE, 8, kind=3)),
        (entry(PLACE, 7, kind=4), entry(PLACE, 8, kind=4)),
    ]
    for index, pair in enumerate(better):
        for order in (pair, pair[::-1], (*pair, *pair)):
            version = ask(transport, Request.BACKUP_CREATE).version
            for one in order:
                assert ask(transport, Request.BACKUP_PUT, version, entries=(one,)).count == 1
            (found,) = ask(transport, Request.BACKUP_ITEM, version, place=PLACE).entries
            assert found.data == pair[0].data, index
            ask(transport, Request.BACKUP_DELETE, version)


def test_what_is_no_servers(transport: Transport) -> None:
    for what in (Request.BACKUP_SECRET, Request.BACKUP_ESCROW, Request.PACKAGE):
        with pytest.raises(ValueError, match="not for a server"):
            transport.carry_out(BackupRequest(what, "1", b"", (), None))


def test_paths(server: Homeserver, matrix: MatrixTransport) -> None:
    """As the specification has them."""
    for version in ("a/b?c=d&e", "..", "%2e", "é"):
        ask(matrix, Request.BACKUP_DELETE, version)
        ask(matrix, Request.BACKUP_ITEM, version, place=PLACE)
    session = "keys/%21pawl-3f%3Abackup.invalid/" + PLACE.hex()
    assert server.asked == [
        asked
        for version in ("a%2Fb%3Fc%3Dd%26e", "..", "%252e", "%C3%A9")
        for asked in (f"DELETE version/{version}", f"GET {session}", f"GET version/{version}")
    ]
    assert server.connections == 1, "it is kept open"


def test_what_is_stored(server: Homeserver, matrix: MatrixTransport) -> None:
    version = ask(matrix, Request.BACKUP_CREATE, body=b"\xff\xfe").version
    assert server.versions[version].info == {
        "algorithm": "org.pawl.backup.v1",
        "auth_data": {"body": "//4"},
    }
    ask(matrix, Request.BACKUP_PUT, version, entries=(entry(PLACE, 5, 2, b"\xff"),))
    assert server.versions[version].rooms == {
        "!pawl-3f:backup.invalid": {
            PLACE.hex(): {
                "first_message_index": 6,
                "forwarded_count": 5,
                "is_verified": False,
                "session_data": {"bytes": "AQUAAAAC/w"},
            }
        }
    }


def test_a_large_room_is_read_in_parts(
    server: Homeserver, matrix: MatrixTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pawl.backup._PAGE", 4)
    version = ask(matrix, Request.BACKUP_CREATE).version
    entries = [entry(bytes([room]) * 15 + bytes([n])) for room in (0, 5, 255) for n in range(10)]
    ask(matrix, Request.BACKUP_PUT, version, entries=tuple(entries))
    assert len(pages(matrix, version)) == 30
    for cursor in (b"x", b"3", b"\xff", b"100", b"3F"):
        assert ask(matrix, Request.BACKUP_PAGE, version, cursor).result is FAILED


# ---------------------------------------------------------------- lies

EVERY: List[Tuple[Request, Dict[str, Any]]] = [
    (Request.BACKUP_VERSION, {}),
    (Request.BACKUP_CREATE, {"body": b"x"}),
    (Request.BACKUP_DELETE, {"version": "1"}),
    (Request.BACKUP_PUT, {"version": "1", "entries": (BackupEntry(PLACE, b"x"),)}),
    (Request.BACKUP_PAGE, {"version": "1"}),
    (Request.BACKUP_ITEM, {"version": "1", "place": PLACE}),
]


@pytest.mark.parametrize(
    "said",
    [
        (500, b"<html>oops</html>"),
        (502, b""),
        (404, b"not here"),
        refusal(404, "M_UNRECOGNIZED"),
        refusal(403, "M_FORBIDDEN"),
        refusal(401, "M_UNKNOWN_TOKEN"),
        refusal(413, "M_TOO_LARGE"),
        (403, {"errcode": ["M_WRONG_ROOM_KEYS_VERSION"]}),
        (200, b"{"),
        (200, b""),
        (200, b"[" * 100_000),
        (200, b"\xff\xfe\x00"),
        (200, [1, 2]),
        (200, None),
        (200, b"1" * 5000),
        (302, {}, {"Location": "http://127.0.0.1:9/elsewhere"}),
        (101, b""),
    ],
)
def test_nonsense_is_a_failure(server: Homeserver, matrix: MatrixTransport, said: Any) -> None:
    server.lie = lambda method, path: said
    for what, arguments in EVERY:
        reply = ask(matrix, what, **arguments)
        assert reply.result is FAILED and reply.detail and not reply.entries, what
    server.lie = lambda method, path: None
    assert ask(matrix, Request.BACKUP_VERSION).result is BackupResult.NO_VERSION


@pytest.mark.parametrize(
    "change",
    [
        {"version": 1},
        {"version": ""},
        {"version": "x" * 65},
        {"version": "a\0b"},
        {"version": "\ud800"},
        {"version": None},
        {"algorithm": None},
        {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "version": 1},
        {"auth_data": []},
        {"auth_data": {"body": 5}},
        {"auth_data": {"body": "*"}},
        {"count": "5"},
        {"count": -1},
        {"count": 1.5},
        {"count": True},
        {"count": 10**30},
        {"count": None},
    ],
)
def test_a_version_of_wrong_types(server: Homeserver, matrix: MatrixTransport, change: Any) -> None:
    """It is not "no version", after which one would be made."""
    good: Dict[str, Any] = {"algorithm": "org.pawl.backup.v1", "auth_data": {"body": "eA"}}
    good |= {"version": "7", "count": 3, "etag": "1"}
    server.lie = lambda method, path: (200, {**good, **change})
    assert ask(matrix, Request.BACKUP_VERSION).result is FAILED
    if "version" in change:
        assert ask(matrix, Request.BACKUP_CREATE, body=b"x").result is FAILED
    if "count" in change:
        assert ask(matrix, Request.BACKUP_PUT, "7").result is FAILED
    server.lie = lambda method, path: (200, {**good, "more": [{}]})
    assert ask(matrix, Request.BACKUP_VERSION) == BackupReply(count=3, version="7", body=b"x")


def test_another_programs_version(server: Homeserver, matrix: MatrixTransport) -> None:
    """It is there, and its bytes are none of ours, whatever they are."""
    theirs: Dict[str, Any] = {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2"}
    auth_datas: List[Any] = [{"public_key": "x"}, {"body": "eA"}, None, [5]]
    for auth_data in auth_datas:
        server.lie = lambda method, path: (200, {**theirs, "version": "7", "auth_data": auth_data})
        assert ask(matrix, Request.BACKUP_VERSION) == BackupReply(version="7")


def test_the_current_version_of_an_error_is_not_believed(
    server: Homeserver, matrix: MatrixTransport
) -> None:
    version = ask(matrix, Request.BACKUP_CREATE).version
    server.lie = lambda method, path: refusal(
        403, "M_WRONG_ROOM_KEYS_VERSION", current_version=version
    )
    reply = ask(matrix, Request.BACKUP_PUT, version)
    assert reply == BackupReply(BackupResult.WRONG_VERSION)


@pytest.mark.parametrize("what", [Request.BACKUP_ITEM, Request.BACKUP_PAGE])
def test_not_found_means_two_things(
    server: Homeserver, matrix: MatrixTransport, what: Request
) -> None:
    """The one and the other, and what comes when the server does not say which."""

    def answer(about_version: Any) -> BackupReply:
        def lie(method: str, path: str) -> Any:
            return about_version if path == "version/7" else refusal(404, "M_NOT_FOUND")

        server.lie = lie
        return ask(matrix, what, "7", place=PLACE)

    there = answer((200, {"version": "7"}))
    if what is Request.BACKUP_ITEM:
        assert there.result is BackupResult.NO_ITEM
    else:
        assert there == BackupReply(), "the rooms are empty"
    assert answer(refusal(404, "M_NOT_FOUND")).result is BackupResult.NO_VERSION
    assert answer((500, {})).result is FAILED
    assert answer(refusal(429, "M_LIMIT_EXCEEDED")).result is BackupResult.RATE_LIMITED


@pytest.mark.parametrize(
    "body, header, seconds",
    [
        ({"retry_after_ms": 1500}, None, 1.5),
        ({"retry_after_ms": 1500}, "7", 1.5),
        ({"retry_after_ms": 0}, None, 0),
        ({}, "7", 7),
        ({"retry_after_ms": "soon"}, "7", 7),
        ({"retry_after_ms": -1}, "7", 7),
        ({}, "date", 90),
        ({}, "past", 0),
        ({"retry_after_ms": 10**40}, None, 86_400),
        ({}, "999999999", 86_400),
        ({}, None, None),
        ({}, "soon", None),
        ({}, "-5", None),
        ({"retry_after_ms": None}, "Mon, 99 Foo 2026 00:00:00 GMT", None),
    ],
)
def test_rate_limits(
    server: Homeserver,
    matrix: MatrixTransport,
    clock: Time,
    body: Any,
    header: Optional[str],
    seconds: Optional[float],
) -> None:
    at = {"date": 90, "past": -90}.get(header or "")
    if at is not None:
        header = formatdate(clock.now / SECOND + at, usegmt=True)
    more = {} if header is None else {"Retry-After": header}
    server.lie = lambda method, path: (429, {"errcode": "M_LIMIT_EXCEEDED", **body}, more)
    until = None if seconds is None else clock.now + int(seconds * SECOND)
    for what, arguments in EVERY:
        reply = ask(matrix, what, **arguments)
        assert (reply.result, reply.until_ns) == (BackupResult.RATE_LIMITED, until)
    server.lie = lambda method, path: (429, b"slow down", more)
    assert ask(matrix, Request.BACKUP_VERSION).result is BackupResult.RATE_LIMITED


@pytest.mark.parametrize(
    "session, data",
    [
        ({"session_data": {"bytes": "*no base64*"}}, b"*no base64*"),
        ({"session_data": {"bytes": "AAAAA"}}, b"AAAAA"),
        ({"session_data": {"bytes": "\ud800"}}, b"?"),
        ({"session_data": {"bytes": 5}}, b""),
        ({"session_data": "AAAA"}, b""),
        ({}, b""),
        ("nothing of the kind", b""),
        (None, b""),
        ({"session_data": {"bytes": "AA=="}, "first_message_index": "x"}, b"\0"),
    ],
)
def test_a_bad_item_among_good_ones(
    server: Homeserver, matrix: MatrixTransport, session: Any, data: bytes
) -> None:
    """The good ones come, and the bad one's place with what there is of it."""
    version = ask(matrix, Request.BACKUP_CREATE).version
    good = [entry(PLACE[:15] + bytes([n])) for n in (1, 99)]
    ask(matrix, Request.BACKUP_PUT, version, entries=tuple(good))
    bad = PLACE[:15] + b"\x03"
    room = server.versions[version].rooms["!pawl-3f:backup.invalid"]
    room[bad.hex()] = session
    for name in ("", "x", "00" * 16, bad.hex().upper(), bad.hex() + "\n", "3f"):
        room[name] = room[good[0].place.hex()]
    expected = sorted([(one.place, one.data) for one in good] + [(bad, data)])
    assert pages(matrix, version) == expected
    if isinstance(session, dict):
        reply = ask(matrix, Request.BACKUP_ITEM, version, place=bad)
        assert reply == BackupReply(entries=(BackupEntry(bad, data),))


def test_rooms_of_wrong_types(server: Homeserver, matrix: MatrixTransport) -> None:
    wrong: List[Any] = [[], None, "x", 5]
    for sessions in wrong:
        server.lie = lambda method, path: (200, {"sessions": sessions})
        assert ask(matrix, Request.BACKUP_PAGE, "1").result is FAILED


# ---------------------------------------------------------------- the network


def test_nobody_is_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        transport = MatrixTransport(f"http://127.0.0.1:{free.getsockname()[1]}", TOKEN)
        for what, arguments in EVERY:
            reply = ask(transport, what, **arguments)
            assert reply == BackupReply(FAILED, detail="ConnectionRefusedError")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,
        None,
    ],
)
def test_a_server_that_speaks_no_http(said: Optional[bytes]) -> None:
    """None: it never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1 << 16)
                    if said is None:
                        connection.recv(1)
                    else:
                        connection.sendall(said)

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with MatrixTransport(url, TOKEN, timeout=0.3) as transport:
            for what in (Request.BACKUP_VERSION, Request.BACKUP_CREATE):
                assert ask(transport, what).result is FAILED
        listener.shutdown(socket.SHUT_RDWR)


def test_too_much_or_too_slow(server: Homeserver, clock: Time) -> None:
    with MatrixTransport(server.url, TOKEN, limit=1000) as small:
        server.lie = lambda method, path: (200, {"version": "1", "more": "x" * 1000})
        assert ask(small, Request.BACKUP_CREATE).result is FAILED
        server.lie = lambda method, path: (200, {"version": "1", "more": "x" * 900})
        assert ask(small, Request.BACKUP_CREATE).version == "1"

    drips = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
                try:
                    while not drips.wait(0.05):
                        connection.sendall(b" ")
                except OSError:
                    pass

        thread = threading.Thread(target=drip)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        slow = MatrixTransport(url, TOKEN, timeout=0.4)
        assert ask(slow, Request.BACKUP_CREATE).detail == "too much, or too slow"
        drips.set()
        thread.join()


def test_a_connection_that_was_closed_meanwhile(
    server: Homeserver, matrix: MatrixTransport
) -> None:
    version = ask(matrix, Request.BACKUP_CREATE).version
    ask(matrix, Request.BACKUP_VERSION)
    (idle,) = matrix._idle
    assert idle.sock is not None
    idle.sock.shutdown(socket.SHUT_RDWR)
    assert ask(matrix, Request.BACKUP_VERSION).version == version
    (idle,) = matrix._idle
    assert idle.sock is not None
    idle.sock.shutdown(socket.SHUT_RDWR)
    assert ask(matrix, Request.BACKUP_CREATE).version == "2"
    assert server.made == 2


def test_an_answer_that_is_lost(server: Homeserver, matrix: MatrixTransport) -> None:
    """A version is not made twice; all else may be done twice."""

    def lie(method: str, path: str) -> Optional[Any]:
        server.lie = lambda method, path: None
        if method == "POST":
            server.answer("POST", "version", {}, {})
        return 0, b""

    version = ask(matrix, Request.BACKUP_CREATE).version
    server.lie = lie
    assert ask(matrix, Request.BACKUP_DELETE, "7").result is BackupResult.NO_VERSION
    server.lie = lie
    assert ask(matrix, Request.BACKUP_CREATE).result is FAILED
    assert server.made == 2 and version == "1"


def test_the_token_goes_nowhere_else(server: Homeserver, matrix: MatrixTransport) -> None:
    with Homeserver() as other:
        server.lie = lambda method, path: (307, {}, {"Location": other.url})
        assert ask(matrix, Request.BACKUP_VERSION).result is FAILED
        assert other.asked == []
    matrix.access_token = "another"
    server.lie = lambda method, path: None
    assert ask(matrix, Request.BACKUP_VERSION).detail == "401 M_UNKNOWN_TOKEN"


def test_bad_urls() -> None:
    for url in ("", "matrix.example", "ftp://host", "http://", "https://host?x", "http://h:x"):
        with pytest.raises(ValueError):
            MatrixTransport(url, TOKEN)


def test_a_slash_at_the_end(server: Homeserver) -> None:
    with MatrixTransport(server.url + "/", TOKEN) as transport:
        assert ask(transport, Request.BACKUP_VERSION).result is BackupResult.NO_VERSION
    assert server.asked == ["GET version"]
