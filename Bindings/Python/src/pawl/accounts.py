# SPDX-License-Identifier: Apache-2.0
"""Accounts and all that is theirs: key packages, peers, sessions, messages, items to settle."""

from __future__ import annotations

import ctypes
from contextlib import ExitStack
from ctypes import c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any, Iterable, Iterator, List, Optional, Tuple, Union

from . import _abi
from ._abi import Borrowed, borrowed, copied, counted, library, room, text
from ._backup import item_backup, item_backup_request
from ._handle import Handle, filled, row, rows
from .errors import PawlError, Status, error_of
from .values import (
    Account,
    Buffer,
    Duration,
    Event,
    History,
    HistoryMessage,
    Identity,
    Item,
    ItemKind,
    Kept,
    OneTimeKey,
    Package,
    PackageState,
    Peer,
    Received,
    RekeyLimits,
    Request,
    Rotation,
    RotationOptions,
    Session,
    Suite,
    Trust,
    bounded,
    duration_ns,
    ever,
    frozen,
    identity_struct,
    size_of,
    sized,
)


class Accounts:
    """What a store and a batch have in common about accounts.

    Every method may raise what those of `Credentials` may; the other errors are named. Ids have 16
    bytes (MisuseError, `MISUSE_SIZE`), names of accounts and peers 1-255 bytes of UTF-8 without NUL
    (`MISUSE_ACCOUNT`). Plaintexts, frames and packages go in from any buffer, where it lies.
    """

    _handle: Handle

    # ------------------------------------------------------------ accounts

    def create_account(self, name: str) -> bytes:
        """Draws an identity under a name, which peers will see, and returns its account's id.

        Names need not differ.
        """
        id = ctypes.create_string_buffer(_abi.PAWL_ACCOUNT_ID_SIZE)
        self._handle.call(library.pawl_account_create, *counted(name), id)
        return id.raw

    def account(self, id: bytes) -> Account:
        """The account of this id. NotFoundError."""
        return row(self._handle, _account, library.pawl_account_get, _id(id))

    def accounts(self, after: Optional[bytes] = None, limit: int = 1000) -> List[Account]:
        """One page: at most `limit` (1-10000) in the order of their ids, after the id `after`.

        Fewer than `limit` are the last page. A damaged one is left out; `verify` names it.
        """
        return rows(
            self._handle, _account, library.pawl_account_list, _after(after), size_of(limit)
        )

    def iterate_accounts(self, page: int = 1000) -> Iterator[Account]:
        """All accounts, read `page` at a time; each page is a snapshot of its own."""
        after = None
        while True:
            found = self.accounts(after, page)
            yield from found
            if len(found) < page:
                return
            after = found[-1].id

    def delete_account(self, id: bytes) -> None:
        """Erases an account and its secret keys. NotFoundError."""
        self._handle.call(library.pawl_account_delete, _id(id))

    def set_min_suite(self, account: bytes, suite: Suite) -> None:
        """Sets the weakest suite that this account uses. NotFoundError."""
        self._handle.call(library.pawl_account_set_min_suite, _id(account), _code(suite))

    # ------------------------------------------------------------ key packages

    def create_package(
        self, account: bytes, *, one_time_keys: int = 0, lifetime: Optional[Duration] = None
    ) -> Tuple[Package, List[OneTimeKey]]:
        """Draws a key package and its one-time keys (0-500), to be given to a server.

        Initiators take its `data`, followed by that of at most one of its one-time keys. It is
        valid for `lifetime`: a timedelta or seconds, by default and at most 90 days.

        NotFoundError. LimitError (`LIMIT_PACKAGES`): the account has 16 packages. StateError
        (`STATE_ROTATION`): they rotate by themselves.
        """
        options = _abi.PackageOptions(
            lifetime_ns=0 if lifetime is None else duration_ns(lifetime) or -1,  # 0: the default
            one_time_count=bounded(one_time_keys, 32, Status.MISUSE_SIZE),
        )
        first, *others = rows(
            self._handle, _package, library.pawl_package_create, _id(account), options
        )
        return _signed(*first), [_one_time(*key) for key in others]

    def packages(self, account: bytes) -> List[Package]:
        """The account's packages, oldest first."""
        found = rows(self._handle, _package, library.pawl_package_list, _id(account))
        return [_signed(*row) for row in found]

    def delete_package(self, account: bytes, package: bytes) -> None:
        """Erases the private half of a package (by its id) and of its one-time keys.

        Who uses it from now on cannot be read. NotFoundError. StateError (`STATE_ROTATION`): it is
        staged or current.
        """
        self._handle.call(
            library.pawl_package_delete, _id(account), sized(package, _abi.PAWL_PACKAGE_ID_SIZE)
        )

    # ------------------------------------------------------------ packages that come and go

    def begin_rotation(self, account: bytes, options: Optional[RotationOptions] = None) -> None:
        """Has an account's packages rotate from now on, or with other options than before.

        `run_due` draws a package, at once the first time, and asks for it to be published
        (`Request.PUBLISH`). When that is answered it is current, and the one before, of
        `create_package` too, is superseded: its private half is erased after `keep`.

        NotFoundError. MisuseError: `MISUSE_TIME`, `MISUSE_SIZE`.
        """
        table = None if options is None else _rotation_options(options)
        self._handle.call(library.pawl_rotation_begin, _id(account), table)

    def rotate_now(self, account: bytes) -> None:
        """Replaces the current package now; one that is staged already is not replaced.

        NotFoundError: its packages do not rotate.
        """
        self._handle.call(library.pawl_rotation_now, _id(account))

    def report_one_time_keys(self, account: bytes, count: int) -> None:
        """How many one-time keys the server still has, whenever it says so.

        It gives keys to initiators whose welcomes may never come. NotFoundError: no rotation.
        """
        self._handle.call(
            library.pawl_rotation_report, _id(account), bounded(count, 32, Status.MISUSE_SIZE)
        )

    def rotation(self, account: bytes) -> Rotation:
        """What is planned for an account's packages. NotFoundError: they do not rotate."""
        found = _abi.Rotation()
        self._handle.call(library.pawl_rotation_get, _id(account), found)
        return Rotation(
            rotate_ns=found.rotate_ns,
            readback_ns=found.readback_ns,
            one_time_count=found.one_time_count,
            superseded=found.superseded,
        )

    # ------------------------------------------------------------ peers

    def peer(self, account: bytes, name: str) -> Peer:
        """Whom this account knows under a name. NotFoundError."""
        return row(self._handle, _peer, library.pawl_peer_get, _id(account), *counted(name))

    def peers(self, account: bytes, after: str = "", limit: int = 1000) -> List[Peer]:
        """One page: at most `limit` (1-10000) of an account's peers, after the one named `after`.

        The order is stable and means nothing. Fewer than `limit` are the last page.
        """
        return rows(
            self._handle,
            _peer,
            library.pawl_peer_list,
            _id(account),
            *counted(after),
            size_of(limit),
        )

    def iterate_peers(self, account: bytes, page: int = 1000) -> Iterator[Peer]:
        """All peers of an account, read `page` at a time; each page is a snapshot of its own."""
        after = ""
        while True:
            found = self.peers(account, after, page)
            yield from found
            if len(found) < page:
                return
            after = found[-1].identity.name

    def trust_peer(self, account: bytes, identity: Identity, trust: Trust) -> None:
        """Says what is thought of a peer's identity; accepts it if it waited to be accepted.

        Sessions with the peer's former keys become receive-only. One that is not known yet is
        noted. One whose record is damaged gets a new one, and all its sessions become receive-only.
        NotFoundError: no such account.
        """
        self._handle.call(
            library.pawl_peer_trust, _id(account), identity_struct(identity), _code(trust)
        )

    def allow_suite(self, account: bytes, name: str, suite: Suite) -> None:
        """Allows a weaker suite again than this peer once used. NotFoundError."""
        self._handle.call(library.pawl_peer_allow_suite, _id(account), *counted(name), _code(suite))

    # ------------------------------------------------------------ sessions

    def start_session(self, account: bytes, peer_name: str, package: Buffer) -> bytes:
        """Starts a session with whoever signed a key package, and returns its id.

        `peer_name` is whom the host means, and the package must carry it. `package` is the `data`
        of a package, followed by that of one of its one-time keys if there is one. No frame is
        needed: until the first answer every message carries what the peer needs to join. After 24
        hours without an answer a fresh package is asked for (`Request.PACKAGE`).

        NotFoundError: no such account. MisuseError (`MISUSE_PACKAGE`): not a package. VersionError.
        AuthError: a wrong signature, name or key. TimeError: expired, not yet valid, or valid for
        too long. StateError: `STATE_IDENTITY`, `STATE_SUITE`, `STATE_SELF`. LimitError
        (`LIMIT_SESSIONS`).
        """
        id = ctypes.create_string_buffer(_abi.PAWL_SESSION_ID_SIZE)
        name, name_size = counted(peer_name)
        with Borrowed(package) as (address, size):
            options = _abi.StartOptions(
                peer_name=name, peer_name_size=name_size, package=address, package_size=size
            )
            self._handle.call(library.pawl_session_start, _id(account), options, id)
        return id.raw

    def reset_session(self, session: bytes, package: Buffer) -> bytes:
        """Starts a session in place of one that is desynchronized, and returns its id.

        `package` is a fresh one of the same identity (another is AuthError); the old session
        becomes receive-only. Else as `start_session`. BusyError (`BUSY_RATE`): at most one a minute
        for each peer.
        """
        id = ctypes.create_string_buffer(_abi.PAWL_SESSION_ID_SIZE)
        with Borrowed(package) as (address, size):
            self._handle.call(library.pawl_session_reset, _id(session), address, size, id)
        return id.raw

    def close_session(self, session: bytes) -> None:
        """Erases a session's keys, and its kept messages; frames in the outbox stay.

        The peer is told. Messages that waited for an epoch are `Event.UNSENT`. NotFoundError.
        """
        self._handle.call(library.pawl_session_close, _id(session))

    def session(self, id: bytes) -> Session:
        """The session of this id. NotFoundError."""
        return row(self._handle, _session, library.pawl_session_get, _id(id))

    def sessions(self, account: bytes, peer_name: str) -> List[Session]:
        """All sessions of an account with one peer, oldest first."""
        return rows(
            self._handle, _session, library.pawl_session_list, _id(account), *counted(peer_name)
        )

    # ------------------------------------------------------------ rekeying

    def rekey(self, session: bytes, *, fresh: bool = False) -> int:
        """Asks for the next epoch, or joins the rekey under way; returns the epoch to wait for.

        Wait with `Store.wait`, or for `Event.EPOCH`. With `fresh` it is an epoch for which this
        side draws keys after this call, even if a rekey is under way: a theft of this side's state
        before the call is healed. An offer of the peer's that crosses may be older; for a theft of
        the peer's state ask there, or here for a second fresh epoch, too. NotFoundError.
        StateError: `STATE_RECEIVE_ONLY`, `STATE_IDENTITY`. LimitError (`LIMIT_INDEX`).
        """
        epoch = c_uint32()
        flags = _abi.PAWL_REKEY_FRESH if fresh else 0
        self._handle.call(library.pawl_session_rekey, _id(session), flags, epoch)
        return epoch.value

    def set_limits(self, session: bytes, limits: RekeyLimits) -> None:
        """Says when a session rekeys by itself; it begins with no limits. NotFoundError.

        MisuseError: a negative interval (`MISUSE_TIME`), a number out of range (`MISUSE_SIZE`).
        """
        table = _abi.RekeyLimits(
            flags=_abi.PAWL_LIMITS_PERFECT if limits.perfect else 0,
            messages=bounded(limits.messages, 32, Status.MISUSE_SIZE),
            queue=bounded(limits.queue, 32, Status.MISUSE_SIZE),
            bytes=bounded(limits.bytes, 64, Status.MISUSE_SIZE),
            interval_ns=duration_ns(limits.interval),
        )
        self._handle.call(library.pawl_session_set_limits, _id(session), table)

    # ------------------------------------------------------------ messages

    def encrypt(self, session: bytes, plaintext: Buffer) -> bytes:
        """Encrypts 0 bytes to 16 MiB and returns the frame, at most 4096 bytes longer.

        Delivering it is the caller's. No crash, copy or other process makes its key be used again.

        NotFoundError. StateError: `STATE_RECEIVE_ONLY`, `STATE_IDENTITY`, `STATE_RESERVATION` (in a
        batch: encrypt outside, or send), `STATE_MODE` (with `RekeyLimits.perfect`: send).
        TimeError: the peer's package expired before the first message. LimitError:
        `LIMIT_MESSAGE`, `LIMIT_INDEX`.
        """
        written = c_size_t()
        with Borrowed(plaintext) as (address, size):
            most = size + _abi.PAWL_FRAME_OVERHEAD_MAX
            out = room(most)
            self._handle.call(
                library.pawl_session_encrypt, _id(session), address, size, out, most, written
            )
        frame: bytes = out[: written.value]
        return frame

    def send(self, session: bytes, plaintext: Buffer) -> int:
        """Encrypts and puts the frame into the outbox; durable when it returns the item's `seq`.

        With `RekeyLimits.perfect` it is a ticket, if the message has to wait for its epoch: the
        `count` of the item, later. Errors as of `encrypt`, but `STATE_RESERVATION` and
        `STATE_MODE`. LimitError (`LIMIT_QUEUE`): as many wait as may.
        """
        ticket = c_uint64()
        with Borrowed(plaintext) as (address, size):
            self._handle.call(library.pawl_session_send, _id(session), address, size, ticket)
        return ticket.value

    def receive(self, account: bytes, frame: Buffer, *, keep: bool = False) -> Received:
        """Decrypts a frame that arrived for an account, setting a session up if need be.

        What it used up is durable before the plaintext is returned: a crash may lose it, but with
        `keep` it is kept, sealed, until `forget`, and the same frame returns it again.

        AuthError: not from the peer, or damaged. NotFoundError: no such account, session or
        package. ReplayError: received before. DesynchronizedError: from the peer, but its key
        cannot be had here; told once, as `Event.DESYNCHRONIZED`. VersionError: a frame of a newer
        Pawl. LimitError (`LIMIT_SESSIONS`). TimeError: the package that it uses is over.
        StateError: `STATE_SUITE`, `STATE_SELF`.
        """
        found, given, written = _abi.Received(), _abi.Frame(), c_size_t()
        given.bytes, size, lent = borrowed(frame)
        given.size, given.flags, out = size, _keep(keep), room(size)
        try:
            self._handle.call(
                library.pawl_account_receive, _id(account), given, out, size, written, found
            )
            plaintext = out[: written.value]
        finally:
            out.raw = bytes(size)
            del lent
        _, flags, session, epoch, index = found.layout.unpack_from(found)
        return _received(flags, session, epoch, index, plaintext)

    def receive_many(
        self, account: bytes, frames: Iterable[Buffer], *, keep: bool = False
    ) -> List[Union[Received, PawlError]]:
        """The same for up to 10000 frames in one transaction: a result or an error for each.

        If it raises, nothing was received.
        """
        with ExitStack() as stack:
            borrowed = [stack.enter_context(Borrowed(frame)) for frame in frames]
            total = sum(size for _, size in borrowed)
            out = room(total)
            at = ctypes.addressof(out)
            deliveries = (_abi.Delivery * len(borrowed))()
            struct_size, flags = ctypes.sizeof(_abi.Delivery), _keep(keep)
            for delivery, (address, size) in zip(deliveries, borrowed):
                delivery.struct_size, delivery.flags = struct_size, flags
                delivery.frame, delivery.frame_size = address, size
                delivery.out, delivery.out_size = at, size
                at += size
            try:
                self._handle.call(
                    library.pawl_account_receive_many, _id(account), deliveries, len(borrowed)
                )
                return [_delivered(each) for each in _abi.Delivery.layout.iter_unpack(deliveries)]
            finally:
                out.raw = bytes(total)

    def kept(self, session: bytes, limit: int = 1000) -> List[Kept]:
        """Messages that were received with `keep` and not forgotten yet, by epoch and index.

        At most `limit` (1-10000), and at most 32 MiB but always one: forget them and ask again.
        """
        return rows(self._handle, _kept, library.pawl_session_kept, _id(session), size_of(limit))

    def forget(self, session: bytes, epoch: int, index: int) -> None:
        """Erases a kept message: the host has it. Forgetting again is fine."""
        self._handle.call(
            library.pawl_session_forget,
            _id(session),
            bounded(epoch, 32, Status.MISUSE_SIZE),
            bounded(index, 32, Status.MISUSE_SIZE),
        )

    # ------------------------------------------------------------ history

    def keep_history(self, account: bytes, on: bool = True) -> None:
        """Keeps what opens the account's messages again, of epochs that begin from now on.

        Forward secrecy is given up for them: who steals store and frames reads them all. `on=False`
        erases all that was kept. NotFoundError.
        """
        self._handle.call(library.pawl_history_enable, _id(account), int(bool(on)))

    def keeps_history(self, account: bytes) -> bool:
        """Whether the account keeps history. NotFoundError."""
        on = c_uint32()
        self._handle.call(library.pawl_history_enabled, _id(account), on)
        return bool(on.value)

    def history(
        self, account: bytes, after: Optional[History] = None, limit: int = 1000
    ) -> List[History]:
        """One page of what is kept: at most `limit` (1-10000), of one session together, by epoch.

        Fewer than `limit` are the last page. A damaged one is left out; `verify` names it.
        NotFoundError.
        """
        return rows(
            self._handle,
            _history,
            library.pawl_history_list,
            _id(account),
            None if after is None else _history_place(after),
            size_of(limit),
        )

    def iterate_history(self, account: bytes, page: int = 1000) -> Iterator[History]:
        """All that is kept, read `page` at a time; each page is a snapshot of its own."""
        after = None
        while True:
            found = self.history(account, after, page)
            yield from found
            if len(found) < page:
                return
            after = found[-1]

    def open_history(self, account: bytes, frame: Buffer) -> HistoryMessage:
        """Opens a frame that the account sent or received before, any number of times.

        No session is looked at or changed. NotFoundError: its epoch is not kept. AuthError: not a
        frame of that epoch, or damaged. LimitError (`LIMIT_INDEX`): more than 2^22 messages behind
        the first. VersionError: a frame of a newer Pawl.
        """
        found = _abi.HistoryMessage()
        with Borrowed(frame) as (address, size):
            written, out = c_size_t(), room(size)
            try:
                self._handle.call(
                    library.pawl_history_decrypt,
                    _id(account),
                    address,
                    size,
                    out,
                    size,
                    written,
                    found,
                )
                plaintext = out[: written.value]
            finally:
                out.raw = bytes(size)
        return _history_message(found, plaintext)

    # ------------------------------------------------------------ settling items

    def ack(self, *seqs: int) -> None:
        """Items are done (delivered, noted), or requests given up: all of up to 10000, or none.

        What is to be published is asked for again an hour later, what a backup needs ever later.
        This, `fail` and `answer` settle items with or without a lease, from anywhere, and may be
        repeated. NotFoundError: no item ever had this number.
        """
        numbers = (c_uint64 * len(seqs))(*map(_seq, seqs))
        self._handle.call(library.pawl_outbox_ack, numbers, len(seqs))

    def fail(self, seq: int, retry_after: Optional[Duration] = None) -> None:
        """An item is not done: it can be taken again after `retry_after` (seconds or timedelta).

        None: later each time, at most after an hour. NotFoundError.
        """
        after = 0 if retry_after is None else duration_ns(retry_after) or 1  # 0: Pawl decides
        self._handle.call(library.pawl_outbox_fail, _seq(seq), after)

    def answer(self, seq: int, body: Buffer) -> None:
        """A request is done, and this is what it asked for.

        `Request.PACKAGE`: what `start_session` takes as `package`; on its errors the request stays.
        The others say what they take; MisuseError (`MISUSE_SIZE`): something to a request to
        publish. MisuseError (`MISUSE_FLAGS`): not a request, or a backup's. NotFoundError.
        """
        with Borrowed(body) as (address, size):
            self._handle.call(library.pawl_outbox_answer, _seq(seq), address, size)


# ---------------------------------------------------------------- to C


def _id(id: bytes) -> bytes:
    """Of an account or a session."""
    return sized(id, _abi.PAWL_ACCOUNT_ID_SIZE)


def _after(id: Optional[bytes]) -> Optional[bytes]:
    """The id that a page starts behind; None: at the start."""
    return None if id is None else _id(id)


def _code(value: int) -> int:
    return bounded(value, 32, Status.MISUSE_FLAGS)


def _seq(value: int) -> int:
    return bounded(value, 64, Status.MISUSE_SIZE)


def _keep(keep: bool) -> int:
    return _abi.PAWL_RECEIVE_KEEP if keep else 0


def _history_place(row: History) -> _abi.History:
    place = _abi.History(
        epoch=bounded(row.epoch, 32, Status.MISUSE_SIZE),
        direction=_abi.PAWL_HISTORY_SENT if row.sent else _abi.PAWL_HISTORY_RECEIVED,
    )
    place.session[:] = _id(row.session)
    return place


def _rotation_options(options: RotationOptions) -> _abi.RotationOptions:
    count = bounded(options.one_time_keys, 32, Status.MISUSE_SIZE)
    floor = bounded(options.one_time_floor, 32, Status.MISUSE_SIZE)
    return _abi.RotationOptions(
        flags=0 if count else _abi.PAWL_ROTATION_NO_KEYS,
        # C reads 0 as the default
        rotate_ns=duration_ns(options.rotate) or 1,
        lifetime_ns=duration_ns(options.lifetime) or 1,
        keep_ns=duration_ns(options.keep) or 1,
        welcome_delay_ns=duration_ns(options.welcome_delay) or 1,
        welcome_pause_ns=duration_ns(options.welcome_pause) or 1,
        readback_ns=duration_ns(options.readback) or 1,
        one_time_count=count,
        one_time_floor=(floor or 1) if count else 0,
    )


# ---------------------------------------------------------------- from C


def _identity(signing_key: Any, agreement_key: Any, name: str) -> Identity:
    return Identity(bytes(signing_key), bytes(agreement_key), name)


def _account(view: c_void_p, row: int) -> Account:
    found = filled(_abi.Account(), library.pawl_view_account, view, row)
    name = text(found.name, found.name_size)
    identity = _identity(found.signing_key, found.agreement_key, name)
    return Account(bytes(found.id), identity, found.created_ns)


def _package(view: c_void_p, row: int) -> Tuple[_abi.Package, bytes]:
    """A package or a one-time key, and its bytes, which end with the view."""
    found = filled(_abi.Package(), library.pawl_view_package, view, row)
    return found, copied(found.bytes, found.bytes_size)


def _signed(found: _abi.Package, data: bytes) -> Package:
    return Package(
        id=bytes(found.id),
        one_time_count=found.one_time_count,
        not_before_ns=found.not_before_ns,
        not_after_ns=found.not_after_ns,
        data=data,
        state=PackageState(found.state),
        remove_ns=ever(found.remove_ns),
    )


def _one_time(found: _abi.Package, data: bytes) -> OneTimeKey:
    return OneTimeKey(bytes(found.id), found.key_id, data)


def _published(view: c_void_p, row: int, index: int) -> Union[Package, OneTimeKey]:
    found = filled(_abi.Package(), library.pawl_view_item_package, view, row, index)
    data = copied(found.bytes, found.bytes_size)
    if found.kind == _abi.PAWL_PACKAGE_ONE_TIME:
        return _one_time(found, data)
    return _signed(found, data)


def _peer(view: c_void_p, row: int) -> Peer:
    found = filled(_abi.Peer(), library.pawl_view_peer, view, row)
    name = text(found.name, found.name_size)
    changed = found.flags & _abi.PAWL_PEER_CHANGED
    other = _identity(found.new_signing_key, found.new_agreement_key, name)
    return Peer(
        identity=_identity(found.signing_key, found.agreement_key, name),
        trust=Trust(found.trust),
        suite=Suite(found.suite),
        new_identity=other if changed else None,
        session=bytes(found.session) if found.flags & _abi.PAWL_PEER_HAS_SESSION else None,
        changed_ns=found.changed_ns,
    )


def _session(view: c_void_p, row: int) -> Session:
    found = filled(_abi.Session(), library.pawl_view_session, view, row)
    name = text(found.peer_name, found.peer_name_size)
    return Session(
        id=bytes(found.id),
        account=bytes(found.account),
        peer=_identity(found.peer_signing_key, found.peer_agreement_key, name),
        suite=Suite(found.suite),
        epoch=found.epoch,
        sent=found.sent,
        received=found.received,
        skipped=found.skipped,
        target=found.target or None,
        queued=found.queued,
        limits=RekeyLimits(
            messages=found.messages,
            bytes=found.bytes,
            interval=found.interval_ns / 1e9,
            perfect=bool(found.limit_flags & _abi.PAWL_LIMITS_PERFECT),
            queue=found.queue,
        ),
        initiator=bool(found.flags & _abi.PAWL_SESSION_INITIATOR),
        confirmed=bool(found.flags & _abi.PAWL_SESSION_CONFIRMED),
        receive_only=bool(found.flags & _abi.PAWL_SESSION_RECEIVE_ONLY),
        desynchronized=bool(found.flags & _abi.PAWL_SESSION_DESYNCHRONIZED),
        created_ns=found.created_ns,
        ends_ns=ever(found.ends_ns),
    )


def _received(flags: int, session: bytes, epoch: int, index: int, plaintext: bytes) -> Received:
    return frozen(
        Received,
        {
            "plaintext": None if flags & _abi.PAWL_RECEIVED_EMPTY else plaintext,
            "session": session,
            "epoch": epoch,
            "index": index,
            "again": flags & _abi.PAWL_RECEIVED_AGAIN != 0,
            "new_session": flags & _abi.PAWL_RECEIVED_NEW_SESSION != 0,
            "unaccepted": flags & _abi.PAWL_RECEIVED_UNACCEPTED != 0,
        },
    )


def _delivered(found: Tuple[Any, ...]) -> Union[Received, PawlError]:
    _, _, _, _, out, _, size, status, flags, session, epoch, index = found
    if status:
        return error_of(status)
    return _received(flags, session, epoch, index, copied(out, size))


def _kept(view: c_void_p, row: int) -> Kept:
    found = filled(_abi.Kept(), library.pawl_view_kept, view, row)
    plaintext = copied(found.plaintext, found.plaintext_size)
    return Kept(bytes(found.session), found.epoch, found.index, plaintext)


def _history(view: c_void_p, row: int) -> History:
    found = filled(_abi.History(), library.pawl_view_history, view, row)
    name = text(found.peer_name, found.peer_name_size)
    return History(
        session=bytes(found.session),
        epoch=found.epoch,
        sent=found.direction == _abi.PAWL_HISTORY_SENT,
        first=found.first,
        end=None if found.end == 2**32 - 1 else found.end,
        closed=bool(found.flags & _abi.PAWL_HISTORY_CLOSED),
        imported=bool(found.flags & _abi.PAWL_HISTORY_IMPORTED),
        created_ns=found.created_ns,
        peer=_identity(found.peer_signing_key, found.peer_agreement_key, name),
    )


def _history_message(found: _abi.HistoryMessage, plaintext: bytes) -> HistoryMessage:
    name = bytes(found.peer_name)[: found.peer_name_size].decode()
    return HistoryMessage(
        plaintext=None if found.flags & _abi.PAWL_HISTORY_EMPTY else plaintext,
        session=bytes(found.session),
        epoch=found.epoch,
        index=found.index,
        sent=found.direction == _abi.PAWL_HISTORY_SENT,
        peer=_identity(found.peer_signing_key, found.peer_agreement_key, name),
    )


_NO_ID = bytes(_abi.PAWL_SESSION_ID_SIZE)
_OF_BACKUP = {
    Event.BACKUP_STATUS,
    Event.BACKUP_KEY_CACHED,
    Event.BACKUP_REFUSED,
    Event.BACKUP_RESTORING,
    Event.BACKUP_RESTORED,
}
_TO_BACKUP = {
    Request.BACKUP_VERSION,
    Request.BACKUP_ESCROW,
    Request.BACKUP_CREATE,
    Request.BACKUP_DELETE,
    Request.BACKUP_PUT,
    Request.BACKUP_PAGE,
    Request.BACKUP_ITEM,
    Request.BACKUP_SECRET,
}


def item_row(view: c_void_p, row: int) -> Item:
    """An item, from a row of `pawl_outbox_take`."""
    found = filled(_abi.Item(), library.pawl_view_item, view, row)
    (
        _,
        number,
        what,
        attempts,
        seq,
        count,
        account,
        session,
        created_ns,
        lease_ns,
        signing_key,
        agreement_key,
        name,
        name_size,
        body,
        body_size,
    ) = found.layout.unpack_from(found)
    kind = ItemKind(number)
    event = Event(what) if kind is ItemKind.EVENT else None
    request = Request(what) if kind is ItemKind.REQUEST else None
    has_body = kind is ItemKind.FRAME or event is Event.BACKUP_FINDING
    carries = request in (Request.PUBLISH, Request.PUBLISH_KEYS)
    published = count + (request is Request.PUBLISH) if carries else 0
    fields = {
        "kind": kind,
        "event": event,
        "request": request,
        "seq": seq,
        "attempts": attempts,
        "count": count,
        "account": account,
        "session": session if session != _NO_ID else None,
        "peer": Identity(signing_key, agreement_key, text(name, name_size)),
        "body": copied(body, body_size) if has_body else b"",
        "packages": tuple(_published(view, row, index) for index in range(published)),
        "backup": item_backup(view, row) if event in _OF_BACKUP else None,
        "backup_request": item_backup_request(view, row) if request in _TO_BACKUP else None,
        "created_ns": created_ns,
        "lease_ns": lease_ns,
    }
    return frozen(Item, fields)
