"""The steps of `demo` that look behind the scenes, each run as a process of its own.

The passphrase comes from PAWL_PASSPHRASE. Every command ends with an error if what it looks for is not so.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path

import pawl


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


if __name__ == "__main__":
    commands = {f.__name__: f for f in (compare, change, refused, write, whole, copy, search)}
    commands[sys.argv[1]](*sys.argv[2:])
