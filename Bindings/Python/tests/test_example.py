# SPDX-License-Identifier: Apache-2.0
"""examples/update_env.py, run as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Optional

from pawl import Passphrase, Scope, Store

EXAMPLE = Path(__file__).parents[1] / "examples" / "update_env.py"
KEY = Passphrase("let me in", memory=64 << 20, passes=3)


def update(
    path: Path, *arguments: str, passphrase: Optional[str] = "let me in", stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PAWL_PASSPHRASE"}
    if passphrase is not None:
        environment["PAWL_PASSPHRASE"] = passphrase
    return subprocess.run(
        [sys.executable, EXAMPLE, path, *arguments],
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
