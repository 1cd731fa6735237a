"""The steps of `demo` that look behind the scenes, each run as a process of its own.

The passphrase comes from PAWL_PASSPHRASE. Every command ends with an error if what it looks for is not so.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Callable

import pawl
import pawl.backup
from bad_link import BadLink


def key(variable: str = "PAWL_PASSPHRASE") -> pawl.Passphrase:
    return pawl.Passphrase(os.environ[variable])


def promise(kept: bool, what: str) -> None:
    if not kept:
        sys.exit(f"demo: NOT as promised: {what}")


def entries(env_file: str) -> dict[str, bytes]:
    """A .env file, read independently of the C example that stored it."""
    pattern = re.compile(
        r"""^[ \t]*(?:export[ \t]+)?([A-Za-z_][\w.-]*)[ \t]*=[ \t]*
            (?:'([^']*)'|"((?:\\.|[^"\\])*)"|([^\n]*))""",
        re.M | re.X | re.S,
    )
    escapes = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "$": "$"}
    found = {}
    text = Path(env_file).read_bytes().decode("utf-8-sig", "surrogateescape")
    text = re.sub(r"\A", "\n", text)
    for name, single, double, plain in pattern.findall(text):
        if double:
            value = re.sub(r"\\(.)", lambda m: escapes.get(m[1], m[0]), double, flags=re.S)
        else:
            value = single or re.sub(r"(?:^|[ \t])#.*|[ \t\r]+$", "", plain).rstrip(" \t\r")
        found[name] = value.encode("utf-8", "surrogateescape")
    return found


def compare(store_path: str, user: str, project: str, env_file: str, updated: str) -> None:
    """All values are those of the file, but for the one that was updated."""
    expected = entries(env_file)
    scope = pawl.Scope(user, project)
    with pawl.Store.open(store_path, key=key()) as store:
        promise(not store.verify(), "verify finds no damage")
        names = {row.name for row in store.iterate(scope)}
        promise(names == set(expected), "the names in the store are those of the file")
        for name, value in expected.items():
            same = store.get(scope, name).secret == value
            promise(same != (name == updated), f"{name} is what it should be")
    print(f"{len(expected) - 1} values are those of the file, {updated} is not; no record is damaged")


def change(store_path: str) -> None:
    with pawl.Store.open(store_path, key=key()) as store:
        slots = store.slots()
        store.change_slot(slots[0].number, key("PAWL_NEW_PASSPHRASE"))
        print(f"slot {slots[0].number} holds the new one")


def refused(store_path: str) -> None:
    try:
        pawl.Store.open(store_path, key=key()).close()
    except pawl.AuthError as error:
        print(f"the old one: {error}")
    else:
        promise(False, "the old passphrase is refused")


def fingerprint(step: int) -> bytes:
    """The secret of a step: of a size and content that only this step has."""
    seed = hashlib.sha256(str(step).encode()).digest()
    return seed * (1 + step % 300)


def write(store_path: str, user: str, project: str, acknowledged: str, ready: str) -> None:
    """Writes pairs until it is killed, and notes each one that was acknowledged."""
    scope = pawl.Scope(user, project)
    lines = Path(acknowledged).read_text().splitlines()
    with pawl.Store.open(store_path, key=key()) as store, open(acknowledged, "a", buffering=1) as log:
        step = int(lines[-1]) if lines and lines[-1].isdigit() else 0
        while True:
            step += 1
            with store.batch() as batch:
                batch.put(scope, "left", fingerprint(step), label=str(step))
                batch.put(scope, "right", fingerprint(step), label=str(step))
            log.write(f"{step}\n")
            if step % 3 == 0:
                Path(ready).write_text("writing")


def whole(store_path: str, user: str, project: str, acknowledged: str) -> None:
    """Both halves are of one step, which is the last acknowledged one or the one after it."""
    scope = pawl.Scope(user, project)
    last = int(Path(acknowledged).read_text().splitlines()[-1])
    with pawl.Store.open(store_path, key=key()) as store:
        promise(not store.verify(), "verify finds no damage")
        left, right = store.get(scope, "left"), store.get(scope, "right")
        step = int(left.label)
        promise(left.label == right.label, "both halves of a batch are of one step")
        promise(step in (last, last + 1), f"step {step} is the last acknowledged one, {last}, or the next")
        for half in (left, right):
            promise(half.secret == fingerprint(step), "a secret belongs to its metadata")
    with open(acknowledged, "a") as log:
        log.write(f"{step}\n" if step > last else "")
    print(f"{last} pairs acknowledged, none lost, none half-done; no record is damaged")


def copy(store_path: str, user: str, project: str, to: str) -> None:
    """Copies, and leaves what the store has in its log there, as a crash would."""
    with pawl.Store.open(store_path, key=key()) as store:
        store.put(pawl.Scope(user, project + "-2"), "ANOTHER", b"x")
        store.copy(to)
    with pawl.Store.open(to, key=key()) as store:
        count = len(list(store.iterate(pawl.Scope(user, project))))
    promise(count > 0, "the copy opens and holds the credentials")
    print(f"the copy opens with the same passphrase and holds {count} credentials")


def search(env_file: str, *paths: str) -> None:
    found = entries(env_file)
    # A value of a few bytes would be found anywhere.
    needles = [name.encode() for name in found if len(name) > 3]
    needles += [value for value in found.values() if len(value) > 5]
    needles += [line for value in found.values() for line in value.split(b"\n") if len(line) > 5]
    needles += [os.environ["PAWL_PASSPHRASE"].encode()]
    total = 0
    for path in map(Path, paths):
        if not path.exists():
            continue
        content = path.read_bytes()
        total += len(content)
        for needle in needles:
            promise(needle not in content, f"{path.name} holds none of the names and values")
    promise(total > 4096, "there is something to search")
    promise(all(needle in Path(env_file).read_bytes() for needle in needles[:1]), "the search finds what is there")
    print(f"{len(needles)} names and values are nowhere in {total} bytes")


def transfer(sender: str, receiver: str, file: str, folder: str, seed: str) -> None:
    """Two processes send a file across a bad link, and both are killed half way."""
    Transfer(sender, receiver, Path(file).resolve(), Path(folder), int(seed)).run()


def settle(store: pawl.Store, server: pawl.backup.MemoryServer) -> list[pawl.Event]:
    """Does what the store wants to be done, and answers what it told."""
    told = []
    while (ran := store.run_due()) + len(items := store.take()) > 0:
        for item in items:
            if not pawl.backup.serve(store, item, server):
                if item.event is not None:
                    told.append(item.event)
                store.ack(item.seq)
    promise(ran == 0, "nothing is left to be done")
    return told


def restore(file: str, folder: str) -> None:
    """Bob's store is lost; what he has are the frames, a server that can read nothing, and a recovery key."""
    path, scope = Path(folder) / "bob.pawl", pawl.Scope("bob", "transfers")
    server = pawl.backup.MemoryServer()
    with pawl.Store.open(path, key=key()) as store:
        account = store.accounts()[0].id
        (session,) = store.sessions(account, "alice")
        store.close_session(session.id)  # what is over can leave the store
        store.include_in_backup(account, scope)
        store.create_backup(account)
        told = settle(store, server)
        status = told.index(pawl.Event.BACKUP_STATUS)
        promise(status < told.index(pawl.Event.BACKUP_KEY_CACHED), "the status comes before the key")
        promise(store.backup(account).pending == 0, "all is uploaded")
        recovery = store.backup_recovery_key(account)
        known, kept = len(list(store.iterate_history(account))), store.get(scope, "incoming").secret
    stored = [data for version in server.versions.values() for data in version.entries.values()]
    uploaded = b"".join(stored)
    for secret in (b"incoming", b"transfers", kept, recovery.text.encode()):
        promise(secret not in uploaded, "the server can read nothing")
    for each in path.parent.glob("bob.pawl*"):
        each.unlink()
    content = bytearray(Path(file).read_bytes())
    arrived = bytearray(len(content))
    opened, control = 0, 0
    with pawl.Store.open(path, key=key(), create=True) as store:
        account = store.create_account("bob")
        store.include_in_backup(account, scope)
        store.recover_backup(account, pawl.RecoveryKey(recovery.text.upper()))
        settle(store, server)
        store.restore_backup(account)
        promise(pawl.Event.BACKUP_FINDING not in settle(store, server), "the server shows what was put there")
        promise(store.get(scope, "incoming").secret == kept, "the credential is here")
        history = list(store.iterate_history(account))
        promise(len(history) == known, "all keys of history are here")
        for line in (Path(folder) / "frames").read_text().splitlines():
            message = store.open_history(account, bytes.fromhex(line)).plaintext
            if message is None:
                control += 1
                continue
            number = int.from_bytes(message[8:12], "little")
            arrived[number * 4096 : number * 4096 + len(message) - 16] = message[16:]
            opened += 1
    promise(arrived == content, "yesterday's messages say what they said")
    print(f"the server {len(stored)} entries, {len(uploaded)} bytes, none of which it can read")
    print(f"restored   1 credential, the keys of {len(history)} directions of {len({row.epoch for row in history})} epochs")
    print(f"read again {opened} frames of messages, {control} that carried none; the file they make is the same")


class Transfer:
    PATIENCE = 60  # seconds

    def __init__(self, sender: str, receiver: str, file: Path, folder: Path, seed: int) -> None:
        self.file, self.folder, self.seed = file, folder, seed
        self.content = file.read_bytes()
        self.messages = len(self.content) // 4096 + 1
        self.stores = {name: folder / f"{name}.pawl" for name in ("alice", "bob")}
        self.package, self.arrived = folder / "package", folder / "arrived"
        self.traces = {name: folder / f"{name}.trace" for name in self.stores}
        self.commands = {"alice": [sender], "bob": [sys.executable, receiver]}
        self.running: dict[str, subprocess.Popen[str]] = {}
        self.deadline = time.monotonic() + self.PATIENCE

    def run(self) -> None:
        if len(self.content) < 1 << 16:
            sys.exit(f"demo: {self.file.name} is too small to show anything: 64 KiB")
        # The programs would create their stores themselves, with a passphrase that costs more time.
        quick = pawl.Passphrase(os.environ["PAWL_PASSPHRASE"], memory=64 << 20)
        for path in self.stores.values():
            pawl.Store.open(path, key=quick, create=True).close()
        started = time.monotonic()
        with BadLink(str(self.folder), self.seed, cut=self.messages // 2 + 1) as link, ExitStack() as stack:
            stack.callback(self.kill)
            self.start("bob", self.arrived)
            self.wait("Bob's package", self.package.exists)
            self.start("alice", self.file)
            self.wait("half of the messages", lambda: link.is_cut)
            self.kill()
            seen = self.bytes_of_stores()
            link.is_cut = False
            self.start("bob", self.arrived)
            self.start("alice", self.file)
            self.end("alice")
            link.stop()
            self.end("bob")
            seconds = time.monotonic() - started
            directions = link.directions
        # As a host does that shows what was said: Bob keeps the frames, not what they say.
        (self.folder / "frames").write_text("\n".join(map(bytes.hex, directions["alice"].packets)))
        seen += self.bytes_of_stores()
        packets = [packet for direction in directions.values() for packet in direction.packets]
        self.find_no_plaintext(seen + packets)
        epochs = []
        for name, path in self.stores.items():
            with pawl.Store.open(path, key=key()) as store:
                promise(not store.verify(), "verify finds no damage")
                account = store.accounts()[0].id
                (session,) = store.sessions(account, "bob" if name == "alice" else "alice")
                epochs.append(session.epoch)
        promise(abs(epochs[0] - epochs[1]) <= 1, "the two sides are at most one epoch apart")
        steps = self.steps()
        counts = {
            name: sum(getattr(direction, name) for direction in directions.values())
            for name in ("dropped", "repeated", "reordered", "undeliverable")
        }
        promise(min(counts["dropped"], counts["repeated"], counts["reordered"]) > 0, "the link was bad")
        before, after = (hashlib.sha256(data).hexdigest() for data in (self.content, self.arrived.read_bytes()))
        sent, answers = (len(direction.packets) for direction in directions.values())
        print(f"bytes      {len(self.content)}, nowhere in {sum(map(len, seen + packets))} of both stores and the wire")
        print(f"messages   {self.messages}, {sent - self.messages} of them sent again; {answers} acknowledgements")
        print(f"epochs     {max(epochs)}; {steps[pawl.StepEvent.YIELDS]} crossed rounds, {steps[pawl.StepEvent.RETRIED]} retries")
        promise(max(epochs) > 1 and steps[pawl.StepEvent.YIELDS] > 0, "the keys were replaced again and again")
        print(f"the link   {', '.join(f'{count} {name}' for name, count in counts.items())} (seed {self.seed})")
        print("processes  the link was cut half way, both killed, with SIGKILL, and started again")
        print(f"seconds    {seconds:.1f}: {max(epochs) / seconds:.0f} epochs and {self.messages / seconds:.0f} messages in each")
        print(f"SHA-256    {before} sent")
        print(f"           {after} arrived: {'the same' if before == after else 'NOT the same'}")
        promise(before == after, "what arrived is what was sent")

    def start(self, name: str, file: Path) -> None:
        arguments = (self.stores[name], self.folder / name, self.package, file, self.traces[name])
        command = [*self.commands[name], *map(str, arguments)]
        self.running[name] = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def wait(self, what: str, is_there: Callable[[], bool]) -> None:
        while not is_there():
            promise(time.monotonic() < self.deadline, f"{what} in time")
            for name, process in self.running.items():
                if process.poll() is not None:
                    self.end(name)
                    promise(is_there(), f"{name} goes on until there is: {what}")
            time.sleep(0.002)

    def kill(self) -> None:
        for process in self.running.values():
            process.kill()
            process.communicate()

    def end(self, name: str) -> None:
        """A process ends well, and has nothing to complain about."""
        try:
            _, errors = self.running[name].communicate(timeout=max(0, self.deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            promise(False, f"{name} ends in time")
        promise(self.running[name].returncode == 0 and not errors, f"{name} ends well: {errors.strip()}")

    def steps(self) -> Counter[pawl.StepEvent]:
        """What happened to the keys, at both sides."""
        lines = [line.split() for path in self.traces.values() for line in path.read_text().splitlines()]
        return Counter(pawl.StepEvent(int(line[1])) for line in lines)

    def bytes_of_stores(self) -> list[bytes]:
        """To be called while no process has them open."""
        return [path.read_bytes() for path in self.folder.glob("*.pawl*")]

    def find_no_plaintext(self, places: list[bytes]) -> None:
        """Looks for 32 bytes here and there in every chunk, unless they are in any store anyway."""
        empty = self.folder / "empty.pawl"
        pawl.Store.open(empty, key=pawl.RawKey.generate(), create=True).close()
        ordinary = empty.read_bytes()
        pieces = [self.content[at : at + 32] for at in range(0, len(self.content), 2048)]
        pieces = [piece for piece in pieces if len(set(piece)) > 8 and piece not in ordinary]
        promise(len(pieces) > 0, "there is something to search for")
        arrived, place = self.arrived.read_bytes(), b"".join(places)
        for piece in pieces:
            promise(piece in arrived, "the search finds what is there")
            promise(piece not in place, "no plaintext is in a store or on the wire")


if __name__ == "__main__":
    steps = (compare, change, refused, write, whole, copy, search, transfer, restore)
    commands = {f.__name__: f for f in steps}
    commands[sys.argv[1]](*sys.argv[2:])
