#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Replaces one secret of a scope: `update_env.py STORE USER PROJECT NAME [--stdin]`.

The new value is random, or with --stdin what is read there. The passphrase comes from the
environment variable PAWL_PASSPHRASE. Names and versions are printed, secrets never.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys

import pawl


def update(store: pawl.Store, scope: pawl.Scope, name: str, value: bytes) -> tuple[int, int]:
    """Replaces the secret that is there now; starts again if someone else was faster."""
    while True:
        old = store.get(scope, name)
        try:
            return old.version, store.put(scope, name, value, if_version=old.version)
        except pawl.StateError as error:
            if error.reason is not pawl.Status.STATE_CONFLICT:
                raise


def main() -> int:
    parser = argparse.ArgumentParser(description="Replace one secret of a scope.")
    for argument in ("store", "user", "project", "name"):
        parser.add_argument(argument)
    parser.add_argument("--stdin", action="store_true", help="read the new value, one line")
    arguments = parser.parse_args()
    passphrase = os.environ.get("PAWL_PASSPHRASE")
    if not passphrase:
        print("Set PAWL_PASSPHRASE to the store's passphrase.", file=sys.stderr)
        return 2

    if arguments.stdin:
        value = sys.stdin.buffer.readline().rstrip(b"\r\n")
    else:
        value = secrets.token_urlsafe(32).encode()
    scope = pawl.Scope(arguments.user, arguments.project)
    try:
        with pawl.Store.open(arguments.store, key=pawl.Passphrase(passphrase)) as store:
            names = sorted(row.name for row in store.iterate(scope))
            print(f"{len(names)} names:", ", ".join(names))
            old, new = update(store, scope, arguments.name, value)
            print(f"{arguments.name}: version {old} -> {new}")
    except pawl.PawlError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
