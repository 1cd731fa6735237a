#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ada and Bob talk, each with a store of their own: `two_peers.py [MESSAGE ...]`.

Every message goes through an outbox and is kept until it was handled: with stores in files, such a
program may stop anywhere and loses none. `Server` stands for what is reached over the network.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Callable, Dict, List

import pawl
from pawl.aio import AsyncStore


class Server:
    """Hands out key packages and passes frames on. It can read neither."""

    def __init__(self) -> None:
        self._packages: Dict[str, pawl.Package] = {}
        self._one_time_keys: Dict[str, List[pawl.OneTimeKey]] = {}
        self.mailboxes: Dict[str, asyncio.Queue[bytes]] = {}

    def publish(self, name: str, package: pawl.Package, keys: List[pawl.OneTimeKey]) -> None:
        self._packages[name], self._one_time_keys[name] = package, keys
        self.mailboxes[name] = asyncio.Queue()

    def package(self, name: str) -> bytes:
        """The package, then one of its one-time keys while there are any."""
        keys = self._one_time_keys[name]
        return self._packages[name].data + (keys.pop().data if keys else b"")


async def deliver(store: AsyncStore, server: Server) -> None:
    """Does what the store wants to be done, as long as it is open."""
    async for item in store.items():
        if item.kind is pawl.ItemKind.FRAME:
            server.mailboxes[item.peer.name].put_nowait(item.body)
            await store.ack(item.seq)
        elif item.request is pawl.Request.PACKAGE:
            await store.answer(item.seq, server.package(item.peer.name))
        else:
            print(f"event {item.event!r} about {item.peer.name}")
            await store.ack(item.seq)


async def listen(
    store: AsyncStore, account: pawl.Account, server: Server, handle: Callable[[pawl.Kept], bytes]
) -> None:
    """Handles what arrives, then forgets it, and answers if there is an answer."""
    mailbox = server.mailboxes[account.identity.name]
    while True:
        try:
            received = await store.receive(account.id, await mailbox.get(), keep=True)
        except pawl.ReplayError:
            continue  # the server delivered it twice
        for message in await store.kept(received.session):
            answer = handle(message)

            def settle(batch: pawl.Batch) -> None:
                batch.forget(message.session, message.epoch, message.index)
                if answer:
                    batch.send(message.session, answer)

            await store.batch(settle)


async def join(store: AsyncStore, name: str, server: Server) -> pawl.Account:
    """Makes an account and publishes a key package of it."""
    account = await store.account(await store.create_account(name))
    server.publish(name, *await store.create_package(account.id, one_time_keys=10))
    return account


async def talk(messages: List[str]) -> None:
    server = Server()
    answers: asyncio.Queue[str] = asyncio.Queue()
    key = pawl.RawKey.generate()

    def shout(message: pawl.Kept) -> bytes:
        return message.plaintext.decode().upper().encode()

    def note(message: pawl.Kept) -> bytes:
        answers.put_nowait(message.plaintext.decode())
        return b""

    async with AsyncStore.memory(key=key) as hers:
        async with AsyncStore.memory(key=key) as his:
            ada, bob = await join(hers, "ada", server), await join(his, "bob", server)
            print("safety number:", ada.identity.safety_number(bob.identity))
            tasks = [
                asyncio.create_task(deliver(hers, server)),
                asyncio.create_task(deliver(his, server)),
                asyncio.create_task(listen(hers, ada, server, note)),
                asyncio.create_task(listen(his, bob, server, shout)),
            ]
            session = await hers.start_session(ada.id, "bob", server.package("bob"))
            for message in messages:
                await hers.send(session, message.encode())
            for message in messages:
                print(f"ada: {message}\nbob: {await answers.get()}")
            for task in tasks:
                task.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description="Two peers in one program.")
    parser.add_argument("messages", nargs="*", default=["hello", "how are you?"])
    arguments = parser.parse_args()
    asyncio.run(talk(arguments.messages))


if __name__ == "__main__":
    main()
