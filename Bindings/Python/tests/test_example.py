# SPDX-License-Identifier: Apache-2.0
"""The examples, run as a user would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Optional

from pawl import Passphrase, Scope, Store

EXAMPLES = Path(__file__).parents[1] / "examples"
KEY = Passphrase("let me in", memory=64 << 20, passes=3)


def update(
    path: Path, *arguments: str, passphrase: Optional[str] = "let me in", stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PAWL_PASSPHRASE"}
    if passphrase is not None:
        environment["PAWL_PASSPHRASE"] = passphrase
    return subprocess.run(
        [sys.executable, EXAMPLES / "update_env.py", path, *arguments],
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
    )


def test_update(path: Path) -> None:
    scope = Scope("u", "p")
    with Store.open(path, key=KEY, create=True) as store:
        old = store.put(scope, "B", b"old value", label="kept")
        store.put(scope, "A", b"other")
    shown = update(path, "u", "p", "B", "--stdin", stdin="fresh value\n")
    assert shown.returncode == 0, shown.stderr
    with Store.open(path, key=KEY) as store:
        found = store.get(scope, "B")
        assert (found.secret, found.label) == (b"fresh value", "kept")
    assert shown.stdout == f"2 names: A, B\nB: version {old} -> {found.version}\n"
    shown = update(path, "u", "p", "B")
    with Store.open(path, key=KEY) as store:
        random = store.get(scope, "B")
    assert shown.stdout.endswith(f"B: version {found.version} -> {random.version}\n")
    assert len(random.secret) == 43 and random.secret.decode() not in shown.stdout


def test_refusals(path: Path) -> None:
    Store.open(path, key=KEY, create=True).close()
    shown = update(path, "u", "p", "B", passphrase=None)
    assert shown.returncode == 2 and "PAWL_PASSPHRASE" in shown.stderr
    shown = update(path, "u", "p", "B", passphrase="wrong")
    assert shown.returncode == 1 and "PAWL_AUTH" in shown.stderr
    shown = update(path, "u", "p", "B")
    assert shown.returncode == 1 and "PAWL_NOT_FOUND" in shown.stderr


def test_two_peers() -> None:
    command = [sys.executable, str(EXAMPLES / "two_peers.py"), "good morning", "é"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0 and shown.stderr == "", shown.stderr
    number, *lines = shown.stdout.splitlines()
    assert re.fullmatch(r"safety number:( \d{5}){12}", number, re.ASCII)
    assert lines == ["ada: good morning", "bob: GOOD MORNING", "ada: é", "bob: É"]
