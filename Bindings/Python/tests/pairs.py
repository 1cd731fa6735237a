# SPDX-License-Identifier: Apache-2.0
"""Two accounts that talk to each other, for tests."""

from __future__ import annotations

from typing import Callable, List, Optional, Tuple

from pawl import Item, ItemKind, Received, Store

HEADER = 54  # bytes of a frame before the welcome or ciphertext (Protocol.md)


class Pair:
    """Ada starts sessions with Bob. Both accounts may live in the same store."""

    def __init__(self, store: Store, other: Optional[Store] = None) -> None:
        self.store, self.other = store, other or store
        self.ada = self.store.create_account("ada")
        self.bob = self.other.create_account("bob")

    def package(self, one_time: bool = False) -> bytes:
        """What Bob's server gives to one initiator."""
        package, keys = self.other.create_package(self.bob, one_time_keys=int(one_time))
        return package.data + b"".join(key.data for key in keys)

    def start(self, one_time: bool = True) -> bytes:
        """Ada's side of a session that Bob does not know of yet."""
        return self.store.start_session(self.ada, "bob", self.package(one_time))

    def connect(self) -> Tuple[bytes, bytes]:
        """Both sides of a session that each has heard the other in."""
        ours = self.start()
        theirs = self.other.receive(self.bob, self.store.encrypt(ours, b"hello")).session
        answer = self.store.receive(self.ada, self.other.encrypt(theirs, b"welcome"))
        assert answer.session == ours and answer.plaintext == b"welcome"
        return ours, theirs


    def pump(self, lost: Callable[[Item], bool] = lambda item: False) -> List[Item]:
        """Carries frames between the two until both are silent; returns what each had to do."""
        found: List[Item] = []
        while True:
            stores = dict.fromkeys((self.store, self.other))
            items = [item for store in stores for item in drained(store)]
            if not items:
                return found
            found += items
            for item in items:
                if item.kind is ItemKind.FRAME and not lost(item):
                    self.deliver(item)

    def deliver(self, item: Item) -> Received:
        """Gives a frame to whom it is for."""
        if item.account == self.ada:
            return self.other.receive(self.bob, item.body)
        return self.store.receive(self.ada, item.body)


def drained(store: Store) -> List[Item]:
    """All that is to be done, acknowledged."""
    found: List[Item] = []
    while True:
        while store.run_due():
            pass
        items = store.take()
        if not items:
            return found
        store.ack(*(item.seq for item in items))
        found += items


def frames(items: List[Item]) -> List[bytes]:
    return [item.body for item in items if item.kind is ItemKind.FRAME]


def events(items: List[Item]) -> List[str]:
    """The names of the events and requests among items."""
    names = [item.event or item.request for item in items]
    return [name.name for name in names if name is not None]


def changed(data: bytes, at: int) -> bytes:
    """The same with one bit flipped."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
