# SPDX-License-Identifier: Apache-2.0
"""`python -m pawl demo`: secrets, messages, a rekey and history, in a folder that goes away."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import List

from . import Account, Event, ItemKind, RecoveryKey, Scope, Store

FILE = "pawl.demo"


def _join(store: Store, name: str) -> Account:
    account = store.account(store.create_account(name))
    store.keep_history(account.id)
    return account


def _deliver(store: Store, to: Store, account: Account, frames: List[bytes]) -> List[str]:
    """Carries over what one side has to say, and answers what was written in it."""
    heard = []
    while items := store.take():
        for item in items:
            if item.kind is ItemKind.FRAME:
                frames.append(item.body)
                received = to.receive(account.id, item.body)
                if received.plaintext:
                    heard.append(received.plaintext.decode())
            elif item.event is Event.EPOCH:
                print(f"  {store.account(item.account).identity.name}: epoch {item.count} has begun")
            store.ack(item.seq)
    return heard


def main() -> None:
    key = RecoveryKey.generate()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, FILE)
        with Store.open(path, key=key, create=True) as hers, Store.memory(key=key) as his:
            scope = Scope("ada")
            hers.put(scope, "API_KEY", b"s3cret")
            found = hers.get(scope, "API_KEY")
            hidden = b"s3cret" not in b"".join(p.read_bytes() for p in Path(folder).iterdir())
            print(f"credential: version {found.version}; its text is in no file: {hidden}")

            ada, bob = _join(hers, "ada"), _join(his, "bob")
            package, keys = his.create_package(bob.id, one_time_keys=1)
            session = hers.start_session(ada.id, "bob", package.data + keys[0].data)
            print(f"safety number: {ada.identity.safety_number(bob.identity)}")
            frames: List[bytes] = []
            hers.send(session, b"hello, bob")
            print(f"  bob reads: {_deliver(hers, his, bob, frames)}")
            his.send(his.sessions(bob.id, "ada")[0].id, b"hello, ada")
            print(f"  ada reads: {_deliver(his, hers, ada, frames)}")

            epoch = hers.rekey(session)
            while hers.session(session).epoch < epoch:
                _deliver(hers, his, bob, frames)
                _deliver(his, hers, ada, frames)
            hers.send(session, b"under fresh keys")
            print(f"  bob reads: {_deliver(hers, his, bob, frames)}")
            hers.close_session(session)
        with Store.open(path, key=key) as again:
            texts = [again.open_history(ada.id, frame).plaintext for frame in frames]
            print(f"opened again, from history: {[text.decode() for text in texts if text]}")
