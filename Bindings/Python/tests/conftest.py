# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, Iterator

import pytest

import pawl
from doubles import DictStorage, DictVault, Time

# Programs started by tests find the package too.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parents[1] / "src"), os.environ.get("PYTHONPATH", "")]
).rstrip(os.pathsep)

Open = Callable[[], pawl.Store]


@pytest.fixture
def key() -> pawl.RawKey:
    return pawl.RawKey.generate()


@pytest.fixture
def scope() -> pawl.Scope:
    return pawl.Scope("ada", "engine")


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.pawl"


@pytest.fixture(params=["file", "storage", "vault", "storage and vault"])
def reopen(request: pytest.FixtureRequest, path: Path, key: pawl.RawKey, clock: Time) -> Open:
    """Opens the same durable store again, on every engine."""
    storage = DictStorage() if "storage" in request.param else None
    vault = DictVault() if "vault" in request.param else None

    def open() -> pawl.Store:
        where = None if storage else path
        return pawl.Store.open(
            where, key=key, create=True, clock=clock, vault=vault, storage=storage
        )

    return open


@pytest.fixture(params=["file", "memory", "storage", "vault"])
def store(
    request: pytest.FixtureRequest, path: Path, key: pawl.RawKey, clock: Time
) -> Iterator[pawl.Store]:
    if request.param == "memory":
        opened = pawl.Store.memory(key=key, clock=clock)
    elif request.param == "storage":
        opened = pawl.Store.open(key=key, create=True, clock=clock, storage=DictStorage())
    else:
        vault = DictVault() if request.param == "vault" else None
        opened = pawl.Store.open(path, key=key, create=True, clock=clock, vault=vault)
    with opened:
        yield opened
