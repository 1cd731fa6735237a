# SPDX-License-Identifier: Apache-2.0
"""Devices whose accounts are backed up, for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, List, Optional, Tuple

from pawl import (
    Backup,
    BackupFinding,
    BackupRefusal,
    Event,
    Item,
    ItemKind,
    RawKey,
    Request,
    Scope,
    Store,
    Trust,
)
from pawl.backup import Transport, serve
from pawl.hosts import Clock

HOME = Scope("ada", "home")


class Device:
    """One account in a store of its own. It talks to `other`, if there is one."""

    def __init__(
        self, transport: Transport, name: str = "ada", clock: Optional[Clock] = None
    ) -> None:
        self.store = Store.memory(key=RawKey(bytes(32)), clock=clock)
        self.account = self.store.create_account(name)
        self.name = name
        self.transport = transport
        self.other: Optional[Device] = None
        self.events: List[Item] = []
        self.requests: List[Item] = []
        """That are the host's own: to put the key away, to ask for the secret."""
        self.frames: Dict[bytes, bytes] = {}
        """All that was sent and received, with what it says."""
        self.heard: List[bytes] = []
        self.queue: List[Item] = []

    @property
    def backup(self) -> Backup:
        return self.store.backup(self.account)

    # ------------------------------------------------------------ what is to be done

    def turn(self) -> bool:
        """Notes all that has happened, then does one thing; False: there is nothing to do."""
        has_looked = self.look()
        if self.queue:
            self.do(self.queue.pop(0))
            return True
        return has_looked

    def look(self) -> bool:
        """Notes all that has happened; False: nothing has."""
        while self.store.run_due():
            pass
        items = self.store.take()
        for item in items:
            if item.kind is ItemKind.EVENT:
                self.note(item)
        self.queue += [item for item in items if item.kind is not ItemKind.EVENT]
        return bool(items)

    def note(self, item: Item) -> None:
        """Nothing was committed since, so that asking tells the same."""
        self.store.ack(item.seq)
        self.events.append(item)
        if item.backup is not None:
            restored = {"findings": 0, "writers": 0, "as_of_ns": None}
            carried = replace(item.backup, **restored)  # type: ignore[arg-type]
            asked = self.backup
            if item.event is Event.BACKUP_RESTORED:
                # It is over, and the state is no longer one of restoring.
                counts = "imported known improved undecryptable malformed foreign".split()
                carried = replace(carried, **dict.fromkeys(counts, 0))  # type: ignore[arg-type]
            assert carried == asked

    def do(self, item: Item) -> None:
        if item.kind is ItemKind.FRAME:
            self.store.ack(item.seq)
            if self.other is not None:
                self.other.receive(item.body)
                self.frames[item.body] = self.other.frames[item.body]
        elif not serve(self.store, item, self.transport):
            self.requests.append(item)

    def run(self) -> None:
        """Until there is nothing to do, on the other side either."""
        devices = [self] if self.other is None else [self, self.other]
        while any([device.turn() for device in devices]):
            pass

    # ------------------------------------------------------------ talking

    def connect(self, other: Device) -> Tuple[bytes, bytes]:
        """Both ends of a session with somebody whom this one verified, and the reverse."""
        self.other, other.other = other, self
        package, _ = other.store.create_package(other.account)
        ours = self.store.start_session(self.account, other.name, package.data)
        self.store.send(ours, b"hello")
        self.run()
        (theirs,) = other.store.sessions(other.account, self.name)
        for one, peer in ((self, other), (other, self)):
            identity = peer.store.account(peer.account).identity
            one.store.trust_peer(one.account, identity, Trust.VERIFIED)
        return ours, theirs.id

    def receive(self, frame: bytes) -> None:
        text = self.store.receive(self.account, frame).plaintext
        self.frames[frame] = text or b""
        if text is not None:
            self.heard.append(text)

    # ------------------------------------------------------------ what has happened

    def names(self) -> List[str]:
        """Of the events of the backup since the last time, without BACKUP_."""
        events, self.events = self.events, []
        named = [item.event.name for item in events if item.event is not None]
        return [name[7:] for name in named if name.startswith("BACKUP_")]

    def refusals(self) -> List[BackupRefusal]:
        return [BackupRefusal(item.count) for item in self.of(Event.BACKUP_REFUSED)]

    def findings(self) -> List[BackupFinding]:
        return [BackupFinding(item.count) for item in self.of(Event.BACKUP_FINDING)]

    def restored(self) -> Backup:
        """What the last restore came to."""
        found = self.of(Event.BACKUP_RESTORED)[-1].backup
        assert found is not None
        return found

    def of(self, event: Event) -> List[Item]:
        return [item for item in self.events if item.event is event]

    def asked(self, request: Request) -> Item:
        """The host's own request, the last one."""
        return [item for item in self.requests if item.request is request][-1]

    # ------------------------------------------------------------ credentials

    def put(self, **secrets: str) -> None:
        for name, secret in secrets.items():
            self.store.put(HOME, name, secret.encode())

    @property
    def secrets(self) -> Dict[str, str]:
        return {
            row.name: self.store.get(HOME, row.name).secret.decode()
            for row in self.store.iterate(HOME)
        }


def backed_up(transport: Transport, clock: Optional[Clock] = None, **secrets: str) -> Device:
    """A device whose credentials are uploaded."""
    device = Device(transport, clock=clock)
    device.store.include_in_backup(device.account, HOME)
    device.put(**secrets)
    device.store.create_backup(device.account)
    device.run()
    return device


def recovered(lost: Device, transport: Transport, clock: Optional[Clock] = None) -> Device:
    """A new device with the recovery key of one that is lost, which has restored all."""
    device = Device(transport, "a new one", clock)
    device.store.include_in_backup(device.account, HOME)
    key = lost.store.backup_recovery_key(lost.account)
    device.store.recover_backup(device.account, key)
    device.run()
    device.store.restore_backup(device.account)
    device.run()
    return device
