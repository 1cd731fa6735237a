#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws how Ada and Bob rekey at the same time over a link that loses frames, and prints it as
Mermaid text: `draw_rekey.py PICTURE.svg`.

It comes out the same each time: the clocks are set by hand, what is lost is fixed, and the offers,
whose ids are random, go by whose they are.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import List

from pawl import ItemKind, RawKey, Step, StepEvent, Store, trace

SECOND = 1_000_000_000
NAMES = ("Ada", "Bob")
OFFERS = (b"\xad\xa1", b"\xb0\xb1")  # what the picture calls theirs


class Side:
    def __init__(self, name: str) -> None:
        self.now = 1_700_000_000 * SECOND
        self.store = Store.memory(key=RawKey.generate(), clock=lambda: self.now)
        self.account = self.store.create_account(name)

    def tell(self, peer: Side, *, lost: bool = False) -> None:
        """Does what is due, and what leaves arrives, or does not."""
        while self.store.run_due():
            pass
        for item in self.store.take():
            if item.kind is ItemKind.FRAME and not lost:
                peer.store.receive(peer.account, item.body)
            self.store.ack(item.seq)

    def tell_again(self, peer: Side, *, lost: bool = False) -> None:
        """Nothing has come for a second."""
        self.now += SECOND
        self.tell(peer, lost=lost)


def play() -> List[Step]:
    """One round, with its losses; if Bob leads it, they are others and it is not over."""
    ada, bob = (Side(name) for name in NAMES)
    package, _ = bob.store.create_package(bob.account)
    here = ada.store.start_session(ada.account, "Bob", package.data)
    there = bob.store.receive(bob.account, ada.store.encrypt(here, b"hello")).session
    ada.store.receive(ada.account, bob.store.encrypt(there, b"welcome"))
    with ada.store, bob.store:
        steps = trace.collect(ada.store, bob.store)
        ada.store.rekey(here)
        bob.store.rekey(there)
        ada.tell(bob, lost=True)  # her offer
        bob.tell(ada)
        ada.tell_again(bob)
        bob.tell(ada, lost=True)  # his answer
        bob.tell_again(ada)
        ada.tell(bob, lost=True)  # her finish
        bob.tell_again(ada)
        ada.tell(bob)
        return trace.of(here, steps)


def steps() -> List[Step]:
    """A round that Ada leads, as the lower id does: every other one."""
    while True:
        found = play()
        if any(step.event is StepEvent.LEADS and not step.session[-1] & 1 for step in found):
            break
    names = {
        step.offer: OFFERS[step.session[-1] & 1]
        for step in found
        if step.event is StepEvent.OFFERED
    }
    return [replace(step, offer=names[step.offer]) for step in found]


def main() -> None:
    parser = argparse.ArgumentParser(description="Draws a crossed rekey with losses.")
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    found = steps()
    arguments.picture.write_text(trace.svg(found, NAMES), encoding="utf-8")
    print(trace.mermaid(found, NAMES), end="")


if __name__ == "__main__":
    main()
