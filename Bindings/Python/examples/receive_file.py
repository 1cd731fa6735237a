#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bob receives a file from Alice: `receive_file.py STORE SOCKET PACKAGE FILE [TRACE]`.

The other end is Bindings/C/send_file.c; the socket between them may lose, repeat and reorder what
it carries. Killed anywhere and started again, it goes on: a message is kept in the store until what
it says is on disk. While messages flow, both sides ask for new keys at the same instants; what that
takes comes out of the store like all else. TRACE is a file that gets a line for each step of it.
PACKAGE is where Bob publishes his key package; it stands for a server. Before
trusting what arrives, Alice and Bob compare safety numbers: see `Identity.safety_number`. The
passphrase comes from the environment variable PAWL_PASSPHRASE.
"""

from __future__ import annotations

import argparse
import os
import selectors
import socket
import struct
import sys
import time
from contextlib import suppress
from typing import List, Optional

import pawl

SCOPE = pawl.Scope("bob", "transfers")
HEADER = struct.Struct("<8sII")  # of a message: the transfer's id, the chunk's number, how many
CHUNK = 4096
BURST = 64  # frames received in one transaction
PATIENCE = 30.0  # seconds without a frame
REKEY = 0.1  # seconds: new keys whenever the clock shows a multiple of this
PACKET_MAX = 65536


def report(what: str) -> None:
    print(f"receive_file: {what}", file=sys.stderr)


def publish(store: pawl.Store, path: str) -> bytes:
    """Bob's account, whose package can be had at `path`."""
    accounts = store.accounts(limit=1)
    account = accounts[0].id if accounts else store.create_account("bob")
    store.keep_history(account)  # what Bob has read he can read again, if he keeps the frames
    if not os.path.exists(path):
        package, keys = store.create_package(account, one_time_keys=1)
        with open(path + ".new", "wb") as file:
            file.write(package.data + keys[0].data)
        os.rename(path + ".new", path)  # whole or not at all
    return account


class Transfer:
    """What has arrived: the chunks in a file, and in the store a bit for each of them."""

    def __init__(self, store: pawl.Store, path: str) -> None:
        self.file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self.id, self.bits, self.count = b"", bytearray(), 0
        if store.has(SCOPE, "incoming"):
            record = store.get(SCOPE, "incoming").secret
            self.id, _, self.count = HEADER.unpack_from(record)
            self.bits = bytearray(record[HEADER.size :])

    @property
    def record(self) -> bytes:
        return HEADER.pack(self.id, 0, self.count) + self.bits

    @property
    def complete(self) -> bool:
        return 0 < self.count == sum(bin(byte).count("1") for byte in self.bits)

    def write(self, message: bytes) -> None:
        """A transfer with another id is a new one, as Alice ends one before she starts the next."""
        if len(message) < HEADER.size:
            return
        id, number, count = HEADER.unpack_from(message)
        if id != self.id:
            self.id, self.bits, self.count = id, bytearray((count + 7) // 8), count
            os.ftruncate(self.file, 0)
        if number >= self.count:
            return
        os.pwrite(self.file, message[HEADER.size :], number * CHUNK)
        self.bits[number // 8] |= 1 << number % 8


def note_steps(store: pawl.Store, path: str) -> None:
    file = open(path, "a", buffering=1)

    def note(step: pawl.Step) -> None:
        numbers = f"{step.event.value} {step.before} {step.after} {step.target}"
        file.write(f"{time.time_ns()} {numbers} {step.offer.hex()} {step.constructor.value}\n")

    store.trace(note)


class Receiver:
    def __init__(self, store: pawl.Store, account: bytes, link: socket.socket, path: str) -> None:
        self.store, self.account, self.link = store, account, link
        self.transfer = Transfer(store, path)
        self.heard = time.monotonic()
        self.next_rekey = time.time()

    @property
    def session(self) -> Optional[bytes]:
        with suppress(pawl.NotFoundError):
            return self.store.peer(self.account, "alice").session
        return None

    def rekey(self) -> None:
        self.next_rekey = (time.time() // REKEY + 1) * REKEY
        if session := self.session:
            self.store.rekey(session)

    def receive(self, frames: List[bytes]) -> None:
        """From here on the messages are kept, whatever happens to this process."""
        for result in self.store.receive_many(self.account, frames, keep=True):
            if isinstance(result, pawl.ReplayError):
                pass  # the link or Alice repeated it: she will be told again what is here
            elif isinstance(result, pawl.PawlError):
                report(f"a frame was refused: {result}")  # anybody can send anything
            elif result.new_session:
                name = self.store.session(result.session).peer.name
                if name != "alice":
                    report(f"{name} is not welcome")
                    self.store.close_session(result.session)

    def handle(self) -> None:
        """Writes what is kept, from now or from before a crash, and then forgets it."""
        for session in self.store.sessions(self.account, "alice"):
            while messages := self.store.kept(session.id, BURST):
                for message in messages:
                    self.transfer.write(message.plaintext)
                os.fsync(self.transfer.file)
                with self.store.batch() as batch:
                    batch.put(SCOPE, "incoming", self.transfer.record)
                    for message in messages:
                        batch.forget(message.session, message.epoch, message.index)

    def acknowledge(self) -> None:
        """Tells Alice all that is here. This may get lost, so it needs no place in the outbox."""
        session = self.session
        if session is not None and self.transfer.count > 0:
            with suppress(BlockingIOError):
                self.link.send(self.store.encrypt(session, self.transfer.id + self.transfer.bits))

    def work(self) -> bool:
        """Does what the store wants to be done. Its frames carry no messages of Bob's: what is lost
        of them is said again."""
        while self.store.run_due() == 100:
            pass
        for item in self.store.take():
            if item.kind is pawl.ItemKind.FRAME:
                with suppress(BlockingIOError):
                    self.link.send(item.body)
            elif item.event not in (pawl.Event.EPOCH, pawl.Event.LOST):  # Alice repeats what is lost
                report(f"{item.event or item.request!r} about {item.peer.name}")
            self.store.ack(item.seq)
        return True

    def read(self) -> bool:
        """Takes in a burst of frames; False when the link is closed."""
        frames: List[bytes] = []
        with suppress(BlockingIOError):
            while len(frames) < BURST:
                frames.append(self.link.recv(PACKET_MAX))
                if not frames[-1]:
                    return False
        self.heard = time.monotonic()
        self.receive(frames)
        self.handle()
        self.acknowledge()
        return True

    def run(self) -> None:
        """Goes on when all is here, as Alice may not know yet, until she closes the link."""
        self.handle()
        with selectors.DefaultSelector() as selector:
            selector.register(self.link, selectors.EVENT_READ, self.read)
            selector.register(self.store, selectors.EVENT_READ, self.work)
            while time.monotonic() - self.heard < PATIENCE:
                ready = selector.select(max(0.0, self.next_rekey - time.time()))
                if not all([key.data() for key, _ in ready]):
                    break
                if time.time() >= self.next_rekey:
                    self.rekey()
        if not self.transfer.complete:
            sys.exit("receive_file: nothing arrives any more, and not all is here")
        print(f"{self.transfer.count} messages, all here")


def main() -> None:
    parser = argparse.ArgumentParser(description="Receive a file.")
    for argument in ("store", "socket", "package", "file"):
        parser.add_argument(argument)
    parser.add_argument("trace", nargs="?")
    arguments = parser.parse_args()
    passphrase = os.environ.get("PAWL_PASSPHRASE")
    if not passphrase:
        sys.exit("Set PAWL_PASSPHRASE to the store's passphrase.")
    key = pawl.Passphrase(passphrase)
    try:
        with pawl.Store.open(arguments.store, key=key, create=True) as store:
            account = publish(store, arguments.package)
            if arguments.trace:
                note_steps(store, arguments.trace)
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
                link.connect(arguments.socket)
                link.setblocking(False)
                Receiver(store, account, link, arguments.file).run()
    except (pawl.PawlError, OSError) as error:
        sys.exit(f"receive_file: {error}")


if __name__ == "__main__":
    main()
