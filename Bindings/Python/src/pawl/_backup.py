# SPDX-License-Identifier: Apache-2.0
"""What a store and a batch have in common about backups. `backup` has servers for them."""

from __future__ import annotations

import ctypes
from ctypes import c_void_p
from typing import Any, Optional, Tuple

from . import _abi
from ._abi import Borrowed, copied, counted, library, text
from ._handle import Handle, filled
from .errors import Status
from .values import (
    Backup,
    BackupEntry,
    BackupPhase,
    BackupReply,
    BackupRequest,
    BackupVersion,
    Buffer,
    Download,
    Key,
    RecoveryKey,
    Request,
    Scope,
    bounded,
    ever,
    key_struct,
    recovery_text,
    scope_struct,
    sized,
)


class Backups:
    """An account's credentials and the keys of its history, on a server that can read neither.

    Pawl talks to no server: it asks by items (`Item.backup_request`), the host carries them out and
    answers with `answer_backup`; `pawl.backup.serve` does both. Each version of a backup has a
    secret of 32 bytes, which a recovery key is the text of. Backed up are the credentials of the
    scopes that were included, and the history of an account that keeps it, epoch by epoch when it
    is closed. Keeping history keys gives up forward secrecy for what they open.

    What a method sets going ends with events: first BACKUP_STATUS, then the others. Failure changes
    nothing of what is wanted: it is tried again, ever later. NotFoundError: no such account.
    """

    _handle: Handle

    # ------------------------------------------------------------ versions

    def create_backup(
        self, account: bytes, key: Optional[Key] = None, *, escrow: bool = False
    ) -> None:
        """Makes the first version, with the secret of `key` or with one that is drawn.

        `key` is a `RawKey`, or a `RecoveryKey` that was generated with `backup=True`. With `escrow`
        the version is made when a BACKUP_ESCROW was answered. `BackupRefusal.EXISTS` comes if there
        is one, here or on the server, another program's as well. MisuseError: `MISUSE_KEY`, a passphrase (that is for
        `RecoveryKey.wrap`), or the secret of the version before; `MISUSE_RECOVERY`, a typing error; `MISUSE_RECOVERY_PREFIX`.
        """
        self._make(library.pawl_backup_create, account, key, escrow)

    def reset_backup(
        self, account: bytes, key: Optional[Key] = None, *, escrow: bool = False
    ) -> None:
        """Makes the next version, with another secret, whatever there is, and fills it.

        The one before is deleted then, if all that is in it is here: if this account made it or has
        restored it to its end, and its last restore left nothing out and found nothing wrong. If not,
        it stays on the server until `delete_backup`. The same arguments and errors;
        `BackupRefusal.EXISTS` comes if the server's version has this very secret.
        """
        self._make(library.pawl_backup_reset, account, key, escrow)

    def _make(self, function: Any, account: bytes, key: Optional[Key], escrow: bool) -> None:
        flags = _abi.PAWL_BACKUP_ESCROW if escrow else 0
        if key is None:
            self._handle.call(function, _id(account), None, flags)
        else:
            with key_struct(key) as borrowed:
                self._handle.call(function, _id(account), borrowed, flags)

    def enable_backup(self, account: bytes) -> None:
        """Turns it on, if it is off, and has the server asked which version is current.

        That becomes active if its secret is here.
        """
        self._handle.call(library.pawl_backup_enable, _id(account))

    def disable_backup(self, account: bytes) -> None:
        """Turns it off; what the server has stays there."""
        self._handle.call(library.pawl_backup_disable, _id(account))

    def delete_backup(self, account: bytes) -> None:
        """Turns it off, has the server delete its versions, and forgets the secret.

        At most 8 of them: then `BackupRefusal.ENDLESS` comes. One that is another program's stays:
        NO_BACKUP.
        """
        self._handle.call(library.pawl_backup_delete, _id(account))

    def recover_backup(self, account: bytes, key: Key) -> None:
        """Turns it on with a secret, as in `create_backup`.

        The version that the server has becomes active if it is its secret; else `BackupRefusal`
        WRONG_KEY, NO_BACKUP or ROLLED_BACK comes. MisuseError: as of `create_backup`, but for the
        secret of the version before.
        """
        with key_struct(key) as borrowed:
            self._handle.call(library.pawl_backup_recover, _id(account), borrowed)

    def backup_recovery_key(self, account: bytes) -> RecoveryKey:
        """The recovery key of the version whose secret is here, for the user to keep.

        StateError (`STATE_BACKUP`): none is.
        """
        get = library.pawl_backup_recovery_key
        id = _id(account)
        return RecoveryKey(recovery_text(lambda *room: self._handle.call(get, id, *room)))

    # ------------------------------------------------------------ what is in it

    def include_in_backup(
        self, account: bytes, scope: Scope, *, all_projects: bool = False
    ) -> None:
        """Has the account back up a scope's credentials, those that are there and those to come.

        They come back in a restore, and no others do. With `all_projects` every project of the
        user; the scope's own must be empty. One that is deleted, or expires, leaves the server too;
        one that is put into a vault later is not backed up any more.
        One transaction, a second or so for 100,000. ExistsError. StateError (`STATE_BATCH`): the
        store has a vault, whose values no transaction can hold.
        """
        self._handle.call(
            library.pawl_backup_include, _id(account), scope_struct(scope), _all(all_projects)
        )

    def exclude_from_backup(
        self, account: bytes, scope: Scope, *, all_projects: bool = False
    ) -> None:
        """No longer; what is in the backup stays in it until the next reset. NotFoundError."""
        self._handle.call(
            library.pawl_backup_exclude, _id(account), scope_struct(scope), _all(all_projects)
        )

    def backup(self, account: bytes) -> Backup:
        """The state of an account's backup. NotFoundError: nothing was ever wanted of it."""
        found = _abi.Backup()
        self._handle.call(library.pawl_backup_get, _id(account), found)
        return _backup(found)

    # ------------------------------------------------------------ back from it

    def restore_backup(self, account: bytes, *, accept_older: bool = False) -> None:
        """Fetches all that the active version has, or goes on where that was stopped.

        What is here and as good stays; credentials come back of the scopes that were included.
        Nothing is uploaded until it is over or stopped, unless it fails again and again. With `accept_older`,
        if no version is active, from an older one that is offered: see `Backup.older`.
        `BackupRefusal.NOT_READY` comes if there is none. StateError (`STATE_BATCH`): the store has
        a vault.
        """
        flags = _abi.PAWL_RESTORE_ACCEPT_OLDER if accept_older else 0
        self._handle.call(library.pawl_backup_restore, _id(account), flags)

    def stop_restore(self, account: bytes) -> None:
        """Stops it after the page that is on its way."""
        self._handle.call(library.pawl_backup_stop_restore, _id(account))

    def fetch_credential(self, account: bytes, scope: Scope, name: str) -> None:
        """Fetches one credential, of a scope that was included.

        Nothing is done if it is asked for already. StateError: `STATE_BACKUP`, no version is
        active; `STATE_BATCH`, the store has a vault.
        """
        self._handle.call(
            library.pawl_backup_fetch_credential, _id(account), scope_struct(scope), *counted(name)
        )

    def fetch_history(self, account: bytes, session: bytes, epoch: int) -> None:
        """Fetches both directions of an epoch, as `fetch_credential` does."""
        number = bounded(epoch, 32, Status.MISUSE_SIZE)
        self._handle.call(library.pawl_backup_fetch_history, _id(account), _id(session), number)

    # ------------------------------------------------------------ the secret, to another account

    def ask_for_backup_secret(self, account: bytes) -> None:
        """Asks another account of the same user for the secret.

        A BACKUP_SECRET comes, which names a number; the host tells the others, the user agrees on
        one of them, and what `share_backup_secret` gives for that number is sent in a message. Both
        must have verified each other (`trust_peer`).
        """
        self._handle.call(library.pawl_backup_ask, _id(account))

    def share_backup_secret(self, session: bytes, request: int) -> bytes:
        """What the account at the other end of a session asked for under a number: 49 bytes.

        Whoever has them has the backup. NotFoundError: no such session. StateError:
        `STATE_IDENTITY`, its peer is not verified; `STATE_BACKUP`, no version is active.
        """
        number = bounded(request, 64, Status.MISUSE_SIZE)
        out = ctypes.create_string_buffer(_abi.PAWL_BACKUP_SHARE_SIZE)
        try:
            self._handle.call(library.pawl_backup_share, _id(session), number, out)
            return out.raw
        finally:
            ctypes.memset(out, 0, len(out))

    def receive_backup_secret(self, session: bytes, shared: Buffer) -> None:
        """Takes the text of a message that came over a session.

        It is kept until the server was asked which version is current, and judged by the answer:
        see `BackupRefusal`. CorruptError: not what `share_backup_secret` gives. StateError:
        `STATE_BACKUP`, no backup was ever wanted here. NotFoundError: no such session.
        """
        with Borrowed(shared) as (address, size):
            self._handle.call(library.pawl_backup_receive, _id(session), address, size)

    # ------------------------------------------------------------ answers

    def answer_backup(self, seq: int, reply: BackupReply) -> None:
        """Answers a backup's request and settles it.

        What was fetched is checked, opened and kept, more slowly while other threads use the store,
        and ClosedError ends it between two entries when one of them closes it.
        What is answered twice, or is not wanted any more, changes nothing, and an answer that makes
        no sense counts as FAILED. NotFoundError: no item ever had this number. MisuseError (`MISUSE_FLAGS`): not a backup's request. StateError
        (`STATE_BATCH`): entries given to a batch.
        """
        number = bounded(seq, 64, Status.MISUSE_SIZE)
        struct, handle = _reply_struct(reply), self._handle
        struct.is_closing = handle.host.is_closing(lambda: handle.closed)

        def answer(*arguments: Any) -> int:
            handle.host.call(library.pawl_backup_answer, *arguments)
            return Status.OK

        handle.call(answer, number, struct)


# ---------------------------------------------------------------- to C


def _id(id: bytes) -> bytes:
    """Of an account or a session."""
    return sized(id, _abi.PAWL_ACCOUNT_ID_SIZE)


def _all(all_projects: bool) -> int:
    return _abi.PAWL_BACKUP_ALL_PROJECTS if all_projects else 0


def _entry_struct(entry: BackupEntry) -> _abi.BackupEntry:
    struct = _abi.BackupEntry(
        first=bounded(entry.first, 32, Status.MISUSE_SIZE),
        order=bounded(entry.order, 32, Status.MISUSE_SIZE),
        bytes=ctypes.cast(ctypes.c_char_p(entry.data), c_void_p),
        bytes_size=len(entry.data),
    )
    struct.place[:] = sized(entry.place, _abi.PAWL_BACKUP_PLACE_SIZE)
    return struct


def _reply_struct(reply: BackupReply) -> _abi.BackupReply:
    """The reply's entries stay where they are: it has to outlive this."""
    version, version_size = counted(reply.version)
    count = len(reply.entries)
    return _abi.BackupReply(
        result=bounded(reply.result, 32, Status.MISUSE_FLAGS),
        until_ns=bounded(reply.until_ns or 0, 64, Status.MISUSE_TIME, signed=True),
        count=bounded(reply.count, 64, Status.MISUSE_SIZE),
        version=version,
        version_size=version_size,
        body=reply.body,
        body_size=len(reply.body),
        entries=(_abi.BackupEntry * count)(*map(_entry_struct, reply.entries)),
        entry_count=count,
    )


# ---------------------------------------------------------------- from C


def _version(generation: int, hash: Any) -> Optional[BackupVersion]:
    return BackupVersion(generation, bytes(hash)) if generation else None


def _backup(found: _abi.Backup) -> Backup:
    return Backup(
        on=bool(found.flags & _abi.PAWL_BACKUP_ON),
        uploading=bool(found.flags & _abi.PAWL_BACKUP_UPLOADING),
        restoring=bool(found.flags & _abi.PAWL_BACKUP_RESTORING),
        stopped=bool(found.flags & _abi.PAWL_BACKUP_STOPPED),
        older=bool(found.flags & _abi.PAWL_BACKUP_OLDER),
        server_known=bool(found.flags & _abi.PAWL_BACKUP_SERVER_KNOWN),
        revision=found.revision,
        phase=BackupPhase(found.phase),
        download=Download(found.download),
        active=_version(found.generation, found.hash),
        server=_version(found.server_generation, found.server_hash),
        key=_version(found.key_generation, found.key_hash),
        server_items=found.server_items,
        pending=found.pending,
        acknowledged=found.acknowledged,
        retry_ns=ever(found.retry_ns),
        imported=found.imported,
        known=found.known,
        improved=found.improved,
        undecryptable=found.undecryptable,
        malformed=found.malformed,
        foreign=found.foreign,
        findings=found.findings,
        writers=found.writers,
        as_of_ns=found.as_of_ns or None,
    )


def item_backup(view: c_void_p, row: int) -> Backup:
    """What an event about a backup carries."""
    return _backup(filled(_abi.Backup(), library.pawl_view_item_backup, view, row))


def item_backup_request(view: c_void_p, row: int) -> BackupRequest:
    """What a backup's request asks for."""
    found = filled(_abi.BackupRequest(), library.pawl_view_item_backup_request, view, row)
    what = Request(found.what)
    return BackupRequest(
        what=what,
        version=text(found.version, found.version_size),
        body=copied(found.body, found.body_size),
        entries=_entries(view, row, found.entry_count),
        place=bytes(found.place) if what is Request.BACKUP_ITEM else None,
    )


def _entries(view: c_void_p, row: int, count: int) -> Tuple[BackupEntry, ...]:
    entry = library.pawl_view_item_backup_entry
    found = [filled(_abi.BackupEntry(), entry, view, row, index) for index in range(count)]
    return tuple(
        BackupEntry(bytes(one.place), copied(one.bytes, one.bytes_size), one.first, one.order)
        for one in found
    )
