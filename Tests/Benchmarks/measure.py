"""measure.py BUILD: runs every program of `make bench-peers` in interleaved passes on one core, and
writes BUILD/bench/values.csv (`name,metric,value`, a line for each pass), medians.csv
(`name,metric,median,lowest,highest`) and machine.json.

A pass asks one metric of all programs before the next metric, and every other pass asks them the
other way round: a machine drifts by tens of percent within minutes, so only neighbours compare.
PAWL_BENCH_QUICK=1 makes one short pass. No pass begins that would end after PAWL_BENCH_MINUTES
(20). What fails is named at the end, and its rows are left out."""

from __future__ import annotations

import csv
import datetime
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(sys.argv[1]).resolve()
OUT = BUILD / "bench"
PYTHON = OUT / "venv/bin/python"
QUICK = "PAWL_BENCH_QUICK" in os.environ
PASSES = 1 if QUICK else 5
END = time.monotonic() + 60 * float(os.environ.get("PAWL_BENCH_MINUTES", "20"))
ROWS = (1000, 100_000)
MANY = 1_000_000

Command = Sequence[object]
SESSIONS: List[Command] = [
    [OUT / "peer_floor"],
    [OUT / "peer_pawl"],
    [OUT / "peer_olm"],
    [OUT / "peer_signal"],
    *(
        [PYTHON, ROOT / "Tests/Benchmarks/peers.py", name]
        for name in ("pawl-py", "vodozemac-py", "python-olm")
    ),
]
STORES: List[Command] = [
    [OUT / f"credentials_{name}"] for name in ("sqlite", "sealed", "pawl", "sqlcipher")
]
CURVES: List[Command] = [
    [BUILD / "sessions_bench"],
    [BUILD / "schedule_bench"],
    [BUILD / "backup_bench", "growth"],
]

ENVIRONMENT = {
    **os.environ,
    "TMPDIR": str(OUT / "data"),
    "PAWL_BENCH_SECONDS": "0.05" if QUICK else "0.2",
    "PAWL_BENCH_RESET": "10000" if QUICK else os.environ.get("PAWL_BENCH_RESET", str(MANY)),
    "PAWL_LIBRARY": str(BUILD / "libpawl.so.0"),
    "PYTHONPATH": str(ROOT / "Bindings/Python/src"),
}

values: List[Tuple[str, str, str]] = []
failed: List[str] = []


def said(command: Command) -> List[str]:
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout.splitlines()
        why = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    except OSError as error:
        why = str(error)
    failed.append(" ".join(Path(word).name for word in words) + f": {why}")
    return []


def measure(command: Command) -> None:
    for line in said(command):
        name, metric, value = line.split(",")
        values.append((name, metric, value))
        print(line, flush=True)


def libraries() -> None:
    """Bytes of each library by itself, without what it needs."""
    found = {"pawl": BUILD / "libpawl.so.0"}
    for name, program, library in (
        ("floor", "peer_floor", "libsodium"),
        ("libolm", "peer_olm", "libolm"),
        ("libsignal-protocol-c", "peer_signal", "libsignal-protocol-c"),
        ("sqlite", "credentials_sqlite", "libsqlite3"),
        ("sqlcipher", "credentials_sqlcipher", "libsqlcipher"),
    ):
        needed = " ".join(said(["ldd", OUT / program]))
        match = re.search(rf"{re.escape(library)}\S* => (\S+)", needed)
        if match:
            found[name] = Path(match.group(1))
    wheels = list(OUT.glob("venv/lib/python*/site-packages/vodozemac/*.so"))
    if wheels:
        found["vodozemac-py"] = wheels[0]
    for name, path in found.items():
        values.append((name, "library_bytes", str(path.stat().st_size)))


def first(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.M)
    return match.group(1).strip() if match else "unknown"


def machine(passes: int) -> Dict[str, str]:
    packages = "libolm3 libsignal-protocol-c2.3.2 libsodium23 libsqlite3-0 libsqlcipher0 libssl3"
    versions = said(["dpkg-query", "-W", "-f=${Package} ${Version}\n", *packages.split()])
    versions += [
        line.replace("==", " ")
        for line in said([PYTHON, "-m", "pip", "freeze", "--disable-pip-version-check"])
        if line.startswith(("vodozemac", "python-olm"))
    ]
    commit = said(["git", "-C", ROOT, "describe", "--always", "--dirty"])
    load = os.getloadavg()
    disk = said(["df", "--output=fstype", ENVIRONMENT["TMPDIR"]])
    return {
        "date": datetime.date.today().isoformat(),
        "pawl": commit[0] if commit else "unknown",
        "processor": first(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text()),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "system": first(r'PRETTY_NAME="(.*)"', Path("/etc/os-release").read_text()),
        "kernel": platform.release(),
        "file system": disk[-1] if disk else "unknown",
        "python": platform.python_version(),
        "versions": ", ".join(versions),
        "passes": str(passes),
        "load": " ".join(f"{each:.1f}" for each in load),
        "trial": "a quick run" if QUICK else "the machine had other work" if load[1] > 1.3 else "",
    }


def run_pass(number: int, metrics: Dict[str, List[Command]]) -> None:
    order = -1 if number % 2 else 1
    for metric, commands in metrics.items():
        for command in commands[::order]:
            measure([*command, metric])
    for rows in ROWS:
        for command in STORES[::order]:
            measure([*command, rows])


def main() -> int:
    shutil.rmtree(OUT / "data", ignore_errors=True)
    (OUT / "data").mkdir(parents=True)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    began = time.monotonic()
    libraries()
    for command in CURVES:
        measure(command)
    for command in STORES if not QUICK else ():
        measure([*command, MANY])
    metrics: Dict[str, List[Command]] = {}
    for command in SESSIONS:
        for metric in said(command):
            metrics.setdefault(metric, []).append(command)
    passes, longest = 0, 0.0
    while passes < PASSES and (passes == 0 or time.monotonic() + longest < END):
        start = time.monotonic()
        run_pass(passes, metrics)
        longest = max(longest, time.monotonic() - start)
        passes += 1
    with (OUT / "values.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(values)
    by_row: Dict[Tuple[str, str], List[float]] = {}
    for name, metric, value in values:
        by_row.setdefault((name, metric), []).append(float(value))
    with (OUT / "medians.csv").open("w") as file:
        for (name, metric), all_of in by_row.items():
            middle = statistics.median(all_of)
            file.write(f"{name},{metric},{middle:.6g},{min(all_of):.6g},{max(all_of):.6g}\n")
    (OUT / "machine.json").write_text(json.dumps(machine(passes), indent=1) + "\n")
    minutes = (time.monotonic() - began) / 60
    print(
        f"measure: {passes} passes in {minutes:.1f} minutes;",
        f"{len(by_row)} rows in {OUT / 'medians.csv'}",
        file=sys.stderr,
    )
    for line in sorted(set(failed)):
        print(f"measure: failed: {line}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
