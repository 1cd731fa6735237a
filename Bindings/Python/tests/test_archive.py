# SPDX-License-Identifier: Apache-2.0
"""Archives: credentials in a file of their own."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest

import pawl
from pawl.aio import AsyncStore

ADA = pawl.Scope("ada", "home")
WORK = pawl.Scope("ada", "work")
BOB = pawl.Scope("bob")


def filled() -> pawl.Store:
    store = pawl.Store.memory(key=pawl.RawKey(bytes(32)))
    store.put(ADA, "token", b"t")
    store.put(WORK, "large", bytes(range(256)) * 1000)
    store.put(BOB, "empty", b"")
    return store


def test_an_archive_brings_all_back(tmp_path: Path) -> None:
    key = pawl.RecoveryKey.generate(backup=True)
    path = tmp_path / "archive"
    with filled() as store, path.open("wb") as file:
        assert store.export(file, key) == pawl.ArchiveReport(3, 0, 0, 0, 0, 0)
    with pawl.Store.memory(key=pawl.RawKey(bytes(32))) as store:
        with path.open("rb") as file:
            report = store.import_archive(file, pawl.RecoveryKey(key.text.upper()))
        assert (report.credentials, report.imported) == (3, 3)
        assert store.get(ADA, "token").secret == b"t"
        assert store.get(WORK, "large").secret == bytes(range(256)) * 1000
        with path.open("rb") as file:
            assert store.import_archive(file, key).kept == 3


@pytest.mark.parametrize(
    "scope, all_projects, count", [(ADA, False, 1), (pawl.Scope("ada"), True, 2), (None, False, 3)]
)
def test_what_is_exported(scope: pawl.Scope, all_projects: bool, count: int) -> None:
    with filled() as store:
        key = pawl.RawKey(bytes(range(32)))
        report = store.export(io.BytesIO(), key, scope, all_projects=all_projects)
        assert report.credentials == count


def test_what_was_changed_or_is_for_others_is_refused() -> None:
    key = pawl.RawKey(bytes(range(32)))
    file = io.BytesIO()
    with filled() as store:
        store.export(file, key)
    good = file.getvalue()
    changed = bytearray(good)
    changed[len(good) // 2] ^= 1
    with pawl.Store.memory(key=pawl.RawKey(bytes(32))) as store:
        for bad in (bytes(changed), good[:-1], good + b"\0", b"", b"something else" * 100):
            with pytest.raises(pawl.CorruptError):
                store.import_archive(io.BytesIO(bad), key)
        with pytest.raises(pawl.AuthError):
            store.import_archive(io.BytesIO(good), pawl.RawKey(bytes(32)))
        with pytest.raises(pawl.AuthError):
            store.import_archive(io.BytesIO(good), pawl.RecoveryKey.generate(backup=True))
        assert not list(store.list(ADA))
        assert store.import_archive(io.BytesIO(good), key).imported == 3


def test_a_file_that_fails_leaves_nothing() -> None:
    class Failing(io.BytesIO):
        def read(self, size: object = -1) -> bytes:
            if self.tell() > 100_000:
                raise OSError("the disk is gone")
            return super().read(50_000)

    key = pawl.RawKey(bytes(range(32)))
    file = io.BytesIO()
    with filled() as store:
        store.export(file, key)
    with pawl.Store.memory(key=pawl.RawKey(bytes(32))) as store:
        with pytest.raises(OSError, match="the disk is gone"):
            store.import_archive(Failing(file.getvalue()), key)
        assert not list(store.list(ADA))
        store.put(ADA, "free", b"again")


def test_with_asyncio() -> None:
    async def main() -> None:
        key = pawl.RawKey(bytes(range(32)))
        file = io.BytesIO()
        async with AsyncStore.memory(key=key) as store:
            await store.put(ADA, "token", b"t")
            await store.export(file, key)
            file.seek(0)
            assert (await store.import_archive(file, key)).kept == 1

    asyncio.run(main())
