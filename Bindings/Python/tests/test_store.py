# SPDX-License-Identifier: Apache-2.0
"""Opening, keys, slots, copies, damage, closing."""

from __future__ import annotations

import gc
import io
import os
import sqlite3
import stat
import tempfile
import threading
import time
import weakref
from ctypes import byref, c_void_p
from pathlib import Path
from typing import Any, Callable

import pytest

import pawl
from doubles import DictStorage, Time, exit_code, refused
from pawl import BackupReply, KeyKind, Passphrase, RawKey, RecoveryKey, Scope, Status, Store, _abi
from pawl._handle import Handle
from pawl.hosts import Host

MEMORY, PASSES = 64 << 20, 3


def test_create_and_exclusive(path: Path, key: RawKey) -> None:
    with refused(Status.NOT_FOUND):
        Store.open(path, key=key)
    assert not path.exists()
    Store.open(path, key=key, create=True, exclusive=True).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with refused(Status.EXISTS):
        Store.open(path, key=key, create=True, exclusive=True)
    with Store.open(str(path), key=key), Store.open(os.fsencode(path), key=key, create=True):
        pass
    with refused(Status.AUTH):
        Store.open(path, key=RawKey.generate())


def test_bad_paths(tmp_path: Path, key: RawKey) -> None:
    for wrong in ("", "a\0b", "x" * 4097):
        with refused(Status.MISUSE_PATH):
            Store.open(wrong, key=key, create=True)
    with refused(Status.STORE_CANNOT_OPEN):
        Store.open(tmp_path / "no folder" / "store", key=key, create=True)
    other = tmp_path / "other"
    other.write_bytes(b"not a store, and longer than a header would be" * 99)
    before = other.read_bytes()
    with refused(Status.CORRUPT_NOT_PAWL):
        Store.open(other, key=key, create=True)
    assert other.read_bytes() == before
    database = tmp_path / "database"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE t(x)")
    connection.close()
    with refused(Status.CORRUPT_NOT_PAWL):
        Store.open(database, key=key, create=True)


def test_bad_keys(key: RawKey) -> None:
    for wrong in (RawKey(b"x" * 31), RawKey(b""), Passphrase(""), Passphrase("x" * 1025)):
        with refused(Status.MISUSE_KEY):
            Store.memory(key=wrong)
    for memory, passes in ((MEMORY - 1, 3), (MEMORY, 2), ((1 << 30) + 1, 3), (MEMORY, 11)):
        with refused(Status.MISUSE_HASHING):
            Store.memory(key=Passphrase("x", memory=memory, passes=passes))
    for memory, passes in ((-1, 3), (1 << 64, 3), (MEMORY, -1), (MEMORY, 1 << 32)):
        with refused(Status.MISUSE_HASHING):
            Store.memory(key=Passphrase("x", memory=memory, passes=passes))
    recovery = RecoveryKey.generate()
    wrong_letter = "q" if recovery.text[-1] != "q" else "p"
    with refused(Status.MISUSE_RECOVERY):
        Store.memory(key=RecoveryKey(recovery.text[:-1] + wrong_letter))
    with refused(Status.MISUSE_RECOVERY_PREFIX):
        Store.memory(key=RecoveryKey.generate(backup=True))
    with pytest.raises(TypeError, match="RawKey"):
        Store.memory(key=b"x" * 32)  # type: ignore[arg-type]
    with refused(Status.MISUSE_TIME):
        Store.memory(key=key, busy_timeout=-1)


def test_keys_hide_themselves() -> None:
    recovery = RecoveryKey.generate()
    assert recovery.text != RecoveryKey.generate().text
    for shown in (repr(RawKey(b"hidden!")), repr(Passphrase("hidden!", memory=5)), repr(recovery)):
        assert "hidden!" not in shown and "pawlstore" not in shown
    assert recovery.text.replace(" ", "").startswith("pawlstore1")
    assert RecoveryKey.generate(backup=True).text.replace(" ", "").startswith("pawlbackup1")
    assert max(map(len, recovery.text.split())) == 4


def test_slots(path: Path, key: RawKey, clock: Time, scope: Scope) -> None:
    passphrase = Passphrase("correct horse", memory=MEMORY, passes=PASSES)
    recovery = RecoveryKey.generate()
    with Store.open(path, key=key, create=True, clock=clock) as store:
        store.put(scope, "n", b"x")
        (first,) = store.slots()
        assert (first.number, first.kind, first.memory, first.passes) == (0, KeyKind.RAW, 0, 0)
        assert first.created_ns == clock.now and first.created.year == 2027
        with refused(Status.STATE_LAST_SLOT):
            store.remove_slot(0)
        second = store.add_slot(passphrase)
        third = store.add_slot(recovery)
        kinds = {slot.number: (slot.kind, slot.memory, slot.passes) for slot in store.slots()}
        assert kinds == {
            0: (KeyKind.RAW, 0, 0),
            second: (KeyKind.PASSPHRASE, MEMORY, PASSES),
            third: (KeyKind.RECOVERY, 0, 0),
        }
    typed = RecoveryKey(recovery.text.upper().replace(" ", "-"))
    for other in (key, Passphrase(bytearray(b"correct horse")), typed):
        with Store.open(path, key=other) as store:
            assert store.get(scope, "n").secret == b"x"
    with refused(Status.AUTH):
        Store.open(path, key=Passphrase("correct house"))
    fresh = RawKey(bytearray(range(32)))
    with Store.open(path, key=key) as store:
        store.change_slot(second, fresh)
        store.remove_slot(0)
        for missing in (0, 15, 16, 4_000_000_000):
            with refused(Status.NOT_FOUND):
                store.remove_slot(missing)
            with refused(Status.NOT_FOUND):
                store.change_slot(missing, key)
        for number in (-1, 1 << 32):
            with refused(Status.MISUSE_SIZE):
                store.remove_slot(number)
    for refused_key in (key, passphrase):
        with refused(Status.AUTH):
            Store.open(path, key=refused_key)
    Store.open(path, key=fresh).close()


def test_sixteen_slots(key: RawKey) -> None:
    with Store.memory(key=key) as store:
        numbers = [store.add_slot(RawKey.generate()) for _ in range(15)]
        assert sorted(numbers) == list(range(1, 16)) and len(store.slots()) == 16
        with refused(Status.LIMIT_SLOTS):
            store.add_slot(key)
        store.remove_slot(7)
        assert store.add_slot(key) == 7


def test_store_calls_inside_a_batch(path: Path, key: RawKey) -> None:
    with Store.open(path, key=key, create=True) as store, store.batch() as batch:
        # Python's Batch has no such methods; C refuses them as well.
        view = c_void_p()
        for function in (_abi.library.pawl_slot_list, _abi.library.pawl_batch_begin):
            with refused(Status.STATE_BATCH):
                batch._handle.call(function, byref(view))
        for name in ("slots", "add_slot", "copy", "batch", "reconcile", "close"):
            assert not hasattr(batch, name)


def test_copy(path: Path, key: RawKey, scope: Scope, tmp_path: Path) -> None:
    with Store.open(path, key=key, create=True) as store:
        store.put(scope, "n", b"x")
        store.copy(tmp_path / "copy")
        with refused(Status.EXISTS):
            store.copy(tmp_path / "copy")
        with refused(Status.MISUSE_PATH):
            store.copy("")
        store.put(scope, "n", b"y")
    with Store.open(tmp_path / "copy", key=key) as store:
        assert store.get(scope, "n").secret == b"x" and store.verify() == []


def test_memory_copies_to_a_file(path: Path, key: RawKey, scope: Scope) -> None:
    with Store.memory(key=key) as store:
        store.put(scope, "n", b"x")
        store.copy(path)
    with Store.open(path, key=key) as store:
        assert store.get(scope, "n").secret == b"x"


def test_damage(path: Path, key: RawKey, scope: Scope) -> None:
    """One byte of one record is turned around; the others stay readable."""
    with Store.open(path, key=key, create=True) as store:
        before = {row.name for row in store.list(scope)}
        for name in "abc":
            store.put(scope, name, name.encode() * 100)
        assert store.verify() == [] and not before
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT k, v FROM kv ORDER BY length(v) DESC").fetchall()
        size = len(rows[0][1])
        damaged = [k for k, v in rows if len(v) == size][0]
        value = bytearray(dict(rows)[damaged])
        value[-1] ^= 1
        connection.execute("UPDATE kv SET v = ? WHERE k = ?", (bytes(value), damaged))
    connection.close()
    with Store.open(path, key=key) as store:
        (damage,) = store.verify()
        assert damage.key == damaged
        assert damage.status == Status.CORRUPT and isinstance(damage.error, pawl.CorruptError)
        readable = [row.name for row in store.list(scope)]
        assert len(readable) == 2
        for name in "abc":
            if name in readable:
                assert store.get(scope, name).secret == name.encode() * 100
            else:
                with refused(Status.CORRUPT):
                    store.get(scope, name)


IDENTITY = pawl.Identity(bytes(range(32)), bytes(range(32, 64)), "bob")
JOB = pawl.Job(pawl.JobKind.CHECKPOINT, bytes(16), 0, 0, Status.OK, True)
CALLS: list[Callable[[Store, Scope], Any]] = [
    lambda store, scope: store.put(scope, "n", b"x"),
    lambda store, scope: store.get(scope, "n"),
    lambda store, scope: store.metadata(scope, "n"),
    lambda store, scope: store.has(scope, "n"),
    lambda store, scope: store.delete(scope, "n"),
    lambda store, scope: store.restore(scope, "n"),
    lambda store, scope: store.deleted(scope, "n"),
    lambda store, scope: store.list(scope),
    lambda store, scope: list(store.iterate(scope)),
    lambda store, scope: store.delete_all(scope),
    lambda store, scope: store.create_account("ada"),
    lambda store, scope: store.account(bytes(16)),
    lambda store, scope: store.accounts(),
    lambda store, scope: list(store.iterate_accounts()),
    lambda store, scope: store.delete_account(bytes(16)),
    lambda store, scope: store.set_min_suite(bytes(16), pawl.Suite.X25519),
    lambda store, scope: store.create_package(bytes(16)),
    lambda store, scope: store.packages(bytes(16)),
    lambda store, scope: store.begin_rotation(bytes(16)),
    lambda store, scope: store.rotate_now(bytes(16)),
    lambda store, scope: store.report_one_time_keys(bytes(16), 1),
    lambda store, scope: store.rotation(bytes(16)),
    lambda store, scope: store.delete_package(bytes(16), bytes(16)),
    lambda store, scope: store.peer(bytes(16), "bob"),
    lambda store, scope: store.peers(bytes(16)),
    lambda store, scope: list(store.iterate_peers(bytes(16))),
    lambda store, scope: store.trust_peer(bytes(16), IDENTITY, pawl.Trust.VERIFIED),
    lambda store, scope: store.allow_suite(bytes(16), "bob", pawl.Suite.X25519),
    lambda store, scope: store.start_session(bytes(16), "bob", b"x"),
    lambda store, scope: store.reset_session(bytes(16), b"x"),
    lambda store, scope: store.close_session(bytes(16)),
    lambda store, scope: store.rekey(bytes(16)),
    lambda store, scope: store.set_limits(bytes(16), pawl.RekeyLimits()),
    lambda store, scope: store.wait(bytes(16), 1),
    lambda store, scope: store.trace(None),
    lambda store, scope: store.session(bytes(16)),
    lambda store, scope: store.sessions(bytes(16), "bob"),
    lambda store, scope: store.encrypt(bytes(16), b"x"),
    lambda store, scope: store.send(bytes(16), b"x"),
    lambda store, scope: store.receive(bytes(16), b"x"),
    lambda store, scope: store.receive_many(bytes(16), [b"x"]),
    lambda store, scope: store.kept(bytes(16)),
    lambda store, scope: store.forget(bytes(16), 0, 0),
    lambda store, scope: store.export(io.BytesIO(), RawKey(bytes(32))),
    lambda store, scope: store.import_archive(io.BytesIO(b"x"), RawKey(bytes(32))),
    lambda store, scope: store.keep_history(bytes(16)),
    lambda store, scope: store.keeps_history(bytes(16)),
    lambda store, scope: store.history(bytes(16)),
    lambda store, scope: list(store.iterate_history(bytes(16))),
    lambda store, scope: store.open_history(bytes(16), b"x"),
    lambda store, scope: store.create_backup(bytes(16)),
    lambda store, scope: store.reset_backup(bytes(16), RawKey(bytes(32))),
    lambda store, scope: store.enable_backup(bytes(16)),
    lambda store, scope: store.disable_backup(bytes(16)),
    lambda store, scope: store.delete_backup(bytes(16)),
    lambda store, scope: store.recover_backup(bytes(16), RawKey(bytes(32))),
    lambda store, scope: store.backup_recovery_key(bytes(16)),
    lambda store, scope: store.include_in_backup(bytes(16), scope),
    lambda store, scope: store.exclude_from_backup(bytes(16), scope),
    lambda store, scope: store.backup(bytes(16)),
    lambda store, scope: store.restore_backup(bytes(16)),
    lambda store, scope: store.stop_restore(bytes(16)),
    lambda store, scope: store.fetch_credential(bytes(16), scope, "n"),
    lambda store, scope: store.fetch_history(bytes(16), bytes(16), 0),
    lambda store, scope: store.ask_for_backup_secret(bytes(16)),
    lambda store, scope: store.share_backup_secret(bytes(16), 1),
    lambda store, scope: store.receive_backup_secret(bytes(16), b"x"),
    lambda store, scope: store.answer_backup(1, BackupReply()),
    lambda store, scope: store.take(),
    lambda store, scope: store.ack(1),
    lambda store, scope: store.fail(1),
    lambda store, scope: store.answer(1, b"x"),
    lambda store, scope: next(store.items()),
    lambda store, scope: store.run_due(),
    lambda store, scope: store.next_deadline(),
    lambda store, scope: store.fileno(),
    lambda store, scope: store.nudge(),
    lambda store, scope: store.start_runner(),
    lambda store, scope: store.stop_runner(),
    lambda store, scope: store.jobs(),
    lambda store, scope: store.revive(JOB),
    lambda store, scope: store.orphans(),
    lambda store, scope: store.reconcile(),
    lambda store, scope: store.verify(),
    lambda store, scope: store.stats(),
    lambda store, scope: store.copy("/nowhere/at all"),
    lambda store, scope: store.slots(),
    lambda store, scope: store.add_slot(RawKey.generate()),
    lambda store, scope: store.change_slot(0, RawKey.generate()),
    lambda store, scope: store.remove_slot(0),
    lambda store, scope: store.batch().__enter__(),
]


def test_closed(path: Path, key: RawKey, scope: Scope) -> None:
    store = Store.open(path, key=key, create=True)
    assert not store.closed
    with store:
        pass
    assert store.closed
    store.close()
    for call in CALLS:
        with refused(Status.CLOSED):
            call(store, scope)
    assert not Path(f"{path}-journal").exists()


def test_every_method_is_among_the_calls() -> None:
    """So that closing and fork() are tried with each."""
    named = {name for call in CALLS for name in call.__code__.co_names}
    public = {name for name in dir(Store) if not name.startswith("_")}
    assert public - named == {"open", "memory", "close", "closed"}


def test_garbage_closes(path: Path, key: RawKey) -> None:
    store = Store.open(path, key=key, create=True)
    gone = weakref.ref(store)
    handle = store._handle
    del store
    gc.collect()
    assert gone() is None and handle.closed and handle._ended


def test_close_while_others_call(path: Path, key: RawKey, scope: Scope) -> None:
    """Whoever comes too late is refused; nobody crashes or hangs."""
    for _ in range(20):
        store = Store.open(path, key=key, create=True)
        started = threading.Barrier(5)
        surprises: list[BaseException] = []

        def work(number: int) -> None:
            started.wait()
            try:
                while True:
                    store.put(scope, f"{number}", b"x")
                    store.list(scope)
            except pawl.ClosedError:
                pass
            except BaseException as error:
                surprises.append(error)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        started.wait()
        store.close()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
        assert surprises == []


def test_close_waits_for_whoever_is_inside() -> None:
    """The pointer is freed when nobody can use it any more, however long a call takes."""
    ended: list[object] = []
    entered, leave = threading.Event(), threading.Event()

    def call(pointer: c_void_p) -> int:
        entered.set()
        return 0 if leave.wait(30) and not ended else -1

    handle = Handle(c_void_p(8), ended.append, Host(None, None, None, 1))
    calling = threading.Thread(target=handle.call, args=(call,))
    calling.start()
    assert entered.wait(30)
    closing = threading.Thread(target=handle.close)
    closing.start()
    closing.join(0.1)
    assert closing.is_alive() and ended == []
    with refused(Status.CLOSED):
        handle.call(call)
    leave.set()
    calling.join(30)
    closing.join(30)
    handle.close()
    assert len(ended) == 1


def test_fork_inside_a_call() -> None:
    """The child goes on inside; nobody else is, and it may close."""
    ended: list[object] = []
    entered, leave = threading.Event(), threading.Event()

    def call(pointer: c_void_p) -> int:
        entered.set()
        return 0 if leave.wait(30) else -1

    handle = Handle(c_void_p(8), ended.append, Host(None, None, None, 1))
    other = threading.Thread(target=handle.call, args=(call,))
    other.start()
    assert entered.wait(30)
    child = -1

    def fork(pointer: c_void_p) -> int:
        nonlocal child
        child = os.fork()
        if child == 0:
            handle.close()
        return len(ended)

    code = 1
    try:
        handle.call(fork)
        code = 0 if len(ended) == 1 else 2
    finally:
        if child == 0:
            os._exit(code)
    assert exit_code(child) == 0
    leave.set()
    other.join(30)
    handle.close()
    assert len(ended) == 1


def test_a_closed_batch_is_committed_once() -> None:
    """Whoever leaves it meanwhile does not end it another way."""
    ended: list[object] = []
    entered, leave = threading.Event(), threading.Event()

    def call(pointer: c_void_p) -> int:
        entered.set()
        return 0 if leave.wait(30) else -1

    def commit(pointer: c_void_p) -> int:
        ended.append("commit")
        return 0

    for _ in range(20):
        entered.clear()
        leave.clear()
        del ended[:]
        host = Host(None, None, None, 1)
        handle = Handle(c_void_p(8), lambda pointer: ended.append("rollback"), host)
        calling = threading.Thread(target=handle.call, args=(call,))
        calling.start()
        assert entered.wait(30)
        committing = threading.Thread(target=handle.commit, args=(commit,))
        committing.start()
        while not handle.closed:
            time.sleep(0)
        leave.set()
        calling.join(30)
        committing.join(30)
        handle.close()
        assert ended == ["commit"]


def test_read_only(key: RawKey, scope: Scope) -> None:
    """As an ordinary user, for root may write everywhere."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        path = Path(folder) / "store"
        with Store.open(path, key=key, create=True) as store:
            store.put(scope, "n", b"x")
        for file in Path(folder).iterdir():
            file.chmod(0o444)
        os.chmod(folder, 0o555)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                if os.geteuid() == 0:
                    os.setuid(65534)
                with Store.open(path, key=key) as store:
                    store.put(scope, "n", b"y")
            except pawl.StoreError as error:
                code = 0 if error.reason is Status.STORE_READ_ONLY else 2
                print(repr(error), error)
            finally:
                os._exit(code)
        assert exit_code(child) == 0
        os.chmod(folder, 0o755)
        for file in Path(folder).iterdir():
            file.chmod(0o600)
        with Store.open(path, key=key) as store:
            assert store.get(scope, "n").secret == b"x"


def test_concurrent_opens_create_one_store(path: Path, key: RawKey, scope: Scope) -> None:
    stores: list[Store] = []
    threads = [
        threading.Thread(target=lambda: stores.append(Store.open(path, key=key, create=True)))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stores) == 6
    for index, store in enumerate(stores):
        store.put(scope, f"{index}", b"x")
    assert all(len(store.list(scope)) == 6 for store in stores)
    for store in stores:
        store.close()


def test_no_path_or_two_homes(path: Path, key: RawKey) -> None:
    with pytest.raises(pawl.MisuseError):
        Store.open(key=key, create=True)
    with pytest.raises(pawl.MisuseError):
        Store.open(path, key=key, create=True, storage=DictStorage())
    with pytest.raises(pawl.MisuseError):
        Store.open(path, key=key, exclusive=True)
    assert not path.exists()
