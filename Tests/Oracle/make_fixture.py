"""make_fixture.py FORMAT: writes the fixture of a new store format. Old ones are never made again."""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "Bindings" / "Python" / "src")]

import pawl  # noqa: E402
from test_store_format import FIXTURES, RAW, SCOPE, fill  # noqa: E402

target = FIXTURES / f"store-{int(sys.argv[1])}.pawl"
assert not target.exists(), "a fixture is never made again"
draft = target.with_suffix(".draft")
with pawl.Store.open(str(draft), key=pawl.RawKey(RAW), create=True) as store:
    fill(store)
    recovery = pawl.RecoveryKey.generate()
    store.add_slot(recovery)
    store.add_slot(pawl.Passphrase("open sesame", memory=64 << 20, passes=3))
    deleted = [row.version for row in store.deleted(SCOPE, "gone")]
    credentials = [[scope.user, scope.project, row.name, store.get(scope, row.name).secret.hex()]
                   for scope in (SCOPE, pawl.Scope("żółw")) for row in store.iterate(scope)]
    store.copy(str(target))
for leftover in FIXTURES.glob("store-*.draft*"):
    leftover.unlink()
target.with_suffix(".json").write_text(json.dumps(
    {"recovery": recovery.text, "credentials": credentials, "deleted": deleted}, indent=1) + "\n")
