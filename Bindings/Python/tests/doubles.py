# SPDX-License-Identifier: Apache-2.0
"""A clock, vaults and a storage engine for tests."""

from __future__ import annotations

import os
import signal
import threading
import time
from bisect import bisect_left
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from pawl import HostError, PawlError, Status

SECOND = 1_000_000_000


def refused(status: Status) -> Any:
    """Raises a PawlError of exactly this reason."""

    class Refused:
        def __enter__(self) -> None:
            pass

        def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
            assert isinstance(error, PawlError), f"not refused with {status.name}: {error!r}"
            assert error.reason is status, f"{error.name} instead of {status.name}"
            return True

    return Refused()


def exit_code(child: int, seconds: float = 30) -> int:
    """Waits for a forked child; one that hangs is killed and answers -9."""
    deadline = time.monotonic() + seconds
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            ended = os.waitpid(child, 0)
            break
        time.sleep(0.002)
    return os.WEXITSTATUS(ended[1]) if os.WIFEXITED(ended[1]) else -os.WTERMSIG(ended[1])


class Time:
    """A clock that stands still until told."""

    def __init__(self) -> None:
        self.now = 1_800_000_000 * SECOND

    def __call__(self) -> int:
        return self.now


class Faults:
    """Raises what it was told to, each time a method of that name is called."""

    def __init__(self) -> None:
        self.faults: Dict[str, BaseException] = {}
        self.calls: List[str] = []
        self.hook: Callable[[str], None] = lambda name: None

    def called(self, name: str) -> None:
        self.calls.append(name)
        self.hook(name)
        if name in self.faults:
            raise self.faults[name]


class DictVault(Faults):
    def __init__(self) -> None:
        super().__init__()
        self.values: Dict[bytes, bytes] = {}

    def set(self, id: bytes, value: bytes) -> None:
        self.called("set")
        self.values[id] = value

    def get(self, id: bytes) -> Optional[bytes]:
        self.called("get")
        return self.values.get(id)

    def remove(self, id: bytes) -> None:
        self.called("remove")
        self.values.pop(id, None)


class ListedDictVault(DictVault):
    def next(self, after: Optional[bytes]) -> Optional[bytes]:
        self.called("next")
        return min((id for id in self.values if after is None or id > after), default=None)


class FolderVault:
    """One file for each value, so that several processes share it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def set(self, id: bytes, value: bytes) -> None:
        draft = self.folder / f"{id.hex()}.{os.getpid()}"
        draft.write_bytes(value)
        draft.rename(self.folder / id.hex())

    def get(self, id: bytes) -> Optional[bytes]:
        try:
            return (self.folder / id.hex()).read_bytes()
        except FileNotFoundError:
            return None

    def remove(self, id: bytes) -> None:
        (self.folder / id.hex()).unlink(missing_ok=True)


class Transaction:
    def __init__(self, records: Dict[bytes, bytes], write: bool) -> None:
        self.records = records
        self.write = write


class DictStorage(Faults):
    """Every transaction works on a snapshot, which a commit puts in place."""

    def __init__(self) -> None:
        super().__init__()
        self.records: Dict[bytes, bytes] = {}
        self.open = 0
        self._writer = threading.Lock()

    def begin(self, write: bool) -> Transaction:
        self.called("begin")
        if write and not self._writer.acquire(blocking=False):
            raise HostError(Status.BUSY)
        self.open += 1
        return Transaction(dict(self.records), write)

    def get(self, transaction: Transaction, key: bytes) -> Optional[bytes]:
        self.called("get")
        return transaction.records.get(key)

    def put(self, transaction: Transaction, key: bytes, value: bytes) -> None:
        self.called("put")
        assert transaction.write and 1 <= len(key) <= 81
        transaction.records[key] = value

    def remove(self, transaction: Transaction, key: bytes) -> None:
        self.called("remove")
        assert transaction.write
        transaction.records.pop(key, None)

    def scan(
        self, transaction: Transaction, start: bytes, stop: bytes, limit: int
    ) -> Iterator[Tuple[bytes, bytes]]:
        self.called("scan")
        keys = sorted(transaction.records)
        for key in keys[bisect_left(keys, start) : bisect_left(keys, stop)][:limit]:
            yield key, transaction.records[key]

    def commit(self, transaction: Transaction) -> None:
        try:
            self.called("commit")
            if transaction.write:
                self.records = transaction.records
        finally:
            self._end(transaction)

    def rollback(self, transaction: Transaction) -> None:
        try:
            self.called("rollback")
        finally:
            self._end(transaction)

    def _end(self, transaction: Transaction) -> None:
        self.open -= 1
        if transaction.write:
            self._writer.release()
