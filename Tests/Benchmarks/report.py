"""report.py MEASURED DOCUMENTATION: what measure.py wrote to MEASURED (values.csv, machine.json),
as tables between the two comments in DOCUMENTATION/Benchmarks.md, and as two pictures in
DOCUMENTATION/Resources."""

from __future__ import annotations

import json
import math
import statistics
import sys
from html import escape
from pathlib import Path
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

BEGIN = "<!-- measured: written by make bench-docs -->\n"
END = "<!-- end of what was measured -->\n"
COUNTS = (1000, 100_000, 1_000_000)
TITLES = {
    "floor": "libsodium's floor",
    "pawl": "Pawl",
    "libolm": "libolm",
    "libsignal-protocol-c": "libsignal-protocol-c",
    "pawl-py": "Pawl",
    "vodozemac-py": "vodozemac",
    "python-olm": "python-olm",
    "sqlite": "SQLite",
    "sqlite-sealed": "SQLite, values sealed",
    "sqlcipher": "SQLCipher",
}
MESSAGES = {
    "encrypt_64_per_s": "encrypt 64 B",
    "encrypt_1024_per_s": "encrypt 1 KiB",
    "encrypt_65536_per_s": "encrypt 64 KiB",
    "decrypt_64_per_s": "decrypt 64 B",
    "decrypt_1024_per_s": "decrypt 1 KiB",
    "decrypt_65536_per_s": "decrypt 64 KiB",
    "encrypt_64_durable_per_s": "encrypt 64 B, on disk",
    "encrypt_65536_durable_per_s": "encrypt 64 KiB, on disk",
    "decrypt_64_durable_per_s": "decrypt 64 B, on disk",
    "receive_many_64_durable_per_s": "decrypt 256 × 64 B at once, on disk",
    "receive_many_65536_durable_per_s": "decrypt 256 × 64 KiB at once, on disk",
    "late_32_per_s": "decrypt 32 in reverse",
    "late_1000_per_s": "decrypt 1,000 in reverse",
    "turn_64_per_s": "a fresh key for each message",
    "rekey_rounds_per_s": "rounds of rekeying",
    "setup_per_s": "set-up, one by one",
    "setup_durable_per_s": "set-up, 16 at once, on disk",
}
SIZES = {
    "overhead_64_bytes": "overhead of a message",
    "session_stored_bytes": "a session, stored",
    "session_memory_bytes": "a session, in memory",
    "library_bytes": "the library, without what it needs",
}
STORES = {
    "put_per_s": "put, each on disk",
    "get_per_s": "get",
    "list_rows_per_s": "list, rows",
    "delete_all_rows_per_s": "delete all, rows",
    "fill_rows_per_s": "put, 10,000 in a transaction",
    "open_get_close_us": "open, get one, close: µs",
    "stored_bytes": "bytes in the file for each",
}
PYTHON = {
    "encrypt_64_per_s": "encrypt",
    "decrypt_64_per_s": "receive",
    "has_memory_per_s": "has",
    "get_memory_per_s": "get",
    "put_memory_per_s": "put",
}
# The row of another name that stands for one.
SAME = {
    ("libolm", "rekey_rounds_per_s"): "turn_64_per_s",
    ("libsignal-protocol-c", "rekey_rounds_per_s"): "turn_64_per_s",
    ("pawl", "session_stored_bytes"): "session_stored_bytes_among_10000",
    ("pawl", "session_memory_bytes"): "session_memory_bytes_among_10000",
}


class Range(NamedTuple):
    """A median over the passes, and the lowest and highest of them."""

    middle: float
    low: float
    high: float


class Measured:
    def __init__(self, lines: Iterable[str]) -> None:
        self.rows: Dict[Tuple[str, str], List[float]] = {}
        for line in lines:
            name, metric, value = line.strip().split(",")
            self.rows.setdefault((name, metric), []).append(float(value))

    def values(self, name: str, metric: str) -> List[float]:
        return self.rows.get((name, metric)) or self.rows.get(
            (name, SAME.get((name, metric), "")), []
        )

    def of(self, name: str, metric: str) -> Optional[Range]:
        return _range(self.values(name, metric))

    def ratio(self, ours: Tuple[str, str], *theirs: Tuple[str, str]) -> Optional[Range]:
        """Of the same pass each, to the greatest of theirs."""
        greatest = [max(each) for each in zip(*(self.values(*row) for row in theirs))]
        return _range([a / b for a, b in zip(self.values(*ours), greatest)])

    def loss(self, metric: str) -> Optional[Range]:
        """Microseconds that a call through Python takes longer than in C."""
        pairs = zip(self.values("pawl-py", metric), self.values("pawl", metric))
        return _range([1e6 / python - 1e6 / c for python, c in pairs])


def _range(values: Sequence[float]) -> Optional[Range]:
    return Range(statistics.median(values), min(values), max(values)) if values else None


# ---------------------------------------------------------------- targets


class Target(NamedTuple):
    what: str
    wanted: float  # at least; `us`: at most, and microseconds
    found: Optional[Range]
    why: str  # said only if it is missed
    us: bool = False

    @property
    def is_missed(self) -> bool:
        found = self.found
        return found is not None and (
            found.middle > self.wanted if self.us else found.middle < self.wanted
        )


def targets(of: Measured) -> List[Target]:
    def pawl(metric: str, *theirs: Tuple[str, str]) -> Optional[Range]:
        return of.ratio(("pawl", metric), *theirs)

    among = "credential {} among {:,} ÷ SQLCipher"
    return [
        Target(
            "encrypt 64 B on disk ÷ floor",
            0.6,
            pawl("encrypt_64_durable_per_s", ("floor", "encrypt_64_durable_per_s")),
            "The floor draws no random numbers; each message of Pawl does, 0.3 µs in the kernel, "
            "so that a copied store repeats no nonce. As much goes into waiting for the disk when "
            "indices are reserved.",
        ),
        Target(
            "encrypt 64 B on disk ÷ the fastest C library's in memory",
            5,
            pawl(
                "encrypt_64_durable_per_s",
                ("libolm", "encrypt_64_per_s"),
                ("libsignal-protocol-c", "encrypt_64_per_s"),
            ),
            "libsignal-protocol-c takes its hash functions from the host. Here it has OpenSSL's "
            "oldest interface, which costs a short message least; with the one that OpenSSL 3 "
            "documents, or with libsodium's functions, it makes half as many.",
        ),
        Target(
            "decrypt 256 × 64 B at once on disk ÷ floor",
            0.5,
            pawl("receive_many_64_durable_per_s", ("floor", "receive_many_64_durable_per_s")),
            "A third of the time is the kernel's, most of it for the one durable commit.",
        ),
        Target(
            "encrypt 64 KiB on disk ÷ floor",
            0.9,
            pawl("encrypt_65536_durable_per_s", ("floor", "encrypt_65536_durable_per_s")),
            "It is what is on top of one pass of XChaCha20-Poly1305 over the message.",
        ),
        Target(
            "decrypt 256 × 64 KiB at once on disk ÷ floor",
            0.9,
            pawl("receive_many_65536_durable_per_s", ("floor", "receive_many_65536_durable_per_s")),
            "The 16 MiB of texts of one call stay in memory until its commit, which the floor's "
            "one text does not: a sixth of the time goes into fresh pages for them.",
        ),
        Target(
            "rounds of rekeying ÷ the key encapsulation in them",
            0.75,
            pawl("rekey_rounds_per_s", ("floor", "rekey_rounds_per_s")),
            "A round is three frames, each taken, received and acknowledged: ten calls, each a "
            "transaction that opens and seals rows of session, outbox and schedule.",
        ),
        Target(
            "rounds of rekeying ÷ libolm's fresh key for each message",
            3,
            pawl("rekey_rounds_per_s", ("libolm", "turn_64_per_s")),
            "libolm's turn makes one key pair, a round two, besides two agreements each; and the "
            "calls of a round are the ten of the line above.",
        ),
        Target(
            "set-up, 16 at once on disk ÷ the X3DH in it",
            0.75,
            pawl("setup_durable_per_s", ("floor", "setup_durable_per_s")),
            "What sixteen set-ups wait for the disk together, and the way of their first frames "
            "through the outbox.",
        ),
        *(
            Target(
                among.format("get", count),
                1.5,
                pawl(f"get_per_s_among_{count}", ("sqlcipher", f"get_per_s_among_{count}")),
                "A page that SQLCipher has in its cache lies there in the clear and is read like "
                "SQLite's own. Pawl opens each row when it is read, and caches no secret.",
            )
            for count in COUNTS
        ),
        *(
            Target(
                among.format("put", count),
                1,
                pawl(f"put_per_s_among_{count}", ("sqlcipher", f"put_per_s_among_{count}")),
                "The disk decides, and Pawl opens what it replaces.",
            )
            for count in COUNTS
        ),
        *(
            Target(
                f"what Python adds to {what}: µs",
                3,
                of.loss(metric),
                "Arguments are converted by `ctypes`, in Python, and results copied into objects: "
                "there is no C extension to build and to ship.",
                us=True,
            )
            for metric, what in PYTHON.items()
        ),
    ]


def target_table(of: Measured) -> List[str]:
    rows: List[List[str]] = []
    missed: Dict[str, List[str]] = {}
    for target in targets(of):
        limit = f"{'≤' if target.us else '≥'} {target.wanted:g}"
        verdict = "not measured"
        if target.found is not None:
            verdict = "met"
            if target.is_missed:
                verdict = f"missed by {abs(1 - target.found.middle / target.wanted):.0%}"
                missed.setdefault(target.why, []).append(f"{target.what}, {verdict}")
        rows.append([target.what, limit, ranged(target.found), verdict])
    reasons = [f"- *{'; '.join(which)}.* {why}" for why, which in missed.items()]
    said = ["Where a target was missed, and why:", "", *reasons, ""] if reasons else []
    return [*table(["target", "wanted", "measured", ""], rows), "", *said]


# ---------------------------------------------------------------- tables


def short(value: float) -> str:
    """Three digits, with k, M and G."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size * 0.9995:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def ranged(found: Optional[Range]) -> str:
    if found is None:
        return "—"
    middle, low, high = (
        f"{value:.2g}"
        if abs(value) < 0.1
        else f"{value:.2f}"
        if abs(value) < 9.95
        else f"{value:.0f}"
        for value in found
    )
    return middle if low == high else f"{middle} ({low} … {high})"


def valued(found: Optional[Range]) -> str:
    if found is None:
        return "—"
    spread = (found.high - found.low) / 2 / found.middle if found.middle else 0
    return short(found.middle) + (f" ± {spread:.0%}" if found.high > found.low else "")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> List[str]:
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def compared(
    of: Measured, ours: str, theirs: Sequence[str], metrics: Dict[str, str], *, ratios: bool = True
) -> List[str]:
    """What each has, and what Pawl has of it: a column for each of theirs."""
    names = [ours, *theirs]
    heads = ["", *(TITLES[name] for name in names)]
    heads += [f"Pawl ÷ {TITLES[name]}" for name in theirs] if ratios else []
    rows = []
    for metric, title in metrics.items():
        row = [title, *(valued(of.of(name, metric)) for name in names)]
        if ratios:
            row += [ranged(of.ratio((ours, metric), (name, metric))) for name in theirs]
        if any(cell != "—" for cell in row[1:]):
            rows.append(row)
    return [*table(heads, rows), ""]


def growth(of: Measured, columns: Dict[str, Tuple[str, str]]) -> List[str]:
    rows = []
    for count in (10**power for power in range(7)):
        cells = [
            valued(of.of(name.format(count), metric.format(count)))
            for name, metric in columns.values()
        ]
        if any(cell != "—" for cell in cells):
            rows.append([f"{count:,}", *cells])
    return [*table(["among", *columns], rows), ""]


GROWTH = {
    "session: start, µs": ("pawl", "session_start_us_among_{}"),
    "first message, µs": ("pawl", "session_first_message_us_among_{}"),
    "next message, µs": ("pawl", "session_next_message_us_among_{}"),
    "stored, B": ("pawl", "session_stored_bytes_among_{}"),
    "in memory, B": ("pawl", "session_memory_bytes_among_{}"),
    "job: next deadline, µs": ("schedule_{}_jobs", "next_deadline_us"),
    "run one, µs": ("schedule_{}_jobs", "run_due_one_us"),
    "stored with its credential, B": ("schedule_{}_jobs", "stored_bytes_each"),
}

BACKUP_GROWTH = {
    "an item of a backup: upload, µs": ("backup_{}_items", "upload_us"),
    "restore, µs": ("backup_{}_items", "restore_us"),
    "stored, B": ("backup_{}_items", "stored_bytes_each"),
    "in memory while it is restored, B": ("backup_{}_items", "resident_bytes_each"),
}


def text(of: Measured, machine: Dict[str, str]) -> str:
    trial = f" **Nothing but a trial: {machine['trial']}.**" if machine["trial"] else ""
    lines = [
        "Measured on {date}: Pawl {pawl} on {processor}, {cores} cores, {memory}, {system}, Linux "
        "{kernel}, {file system}, Python {python}. {versions}. Medians of {passes} passes; load at "
        "the end {load}.".format(**machine)
        + trial,
        "",
        "### Targets",
        "",
        *target_table(of),
        "### Messages in C, per second",
        "",
        *compared(of, "pawl", ("floor", "libolm", "libsignal-protocol-c"), MESSAGES),
        "### Messages in Python, per second",
        "",
        *compared(of, "pawl-py", ("vodozemac-py", "python-olm"), MESSAGES),
        "### Bytes",
        "",
        *compared(
            of,
            "pawl",
            ("libolm", "libsignal-protocol-c", "vodozemac-py", "python-olm", "sqlite", "sqlcipher"),
            SIZES,
            ratios=False,
        ),
        "![Bars: messages and credentials per second, by library](benchmark-peers)",
        "",
    ]
    for count in COUNTS:
        metrics = {f"{metric}_among_{count}": title for metric, title in STORES.items()}
        part = compared(of, "pawl", ("sqlite", "sqlite-sealed", "sqlcipher"), metrics)
        if len(part) > 3:
            lines += [f"### Credentials among {count:,}, per second", "", *part]
    lines += [
        "### What more of them cost",
        "",
        *growth(of, GROWTH),
        *growth(of, BACKUP_GROWTH),
        "![Curves: what a session, a credential, a job and an item of a backup cost among more]"
        "(benchmark-growth)",
        "",
    ]
    return "\n".join(lines)


# ---------------------------------------------------------------- pictures

WIDTH = 720
DRAWN = (
    "encrypt_64_per_s",
    "encrypt_65536_per_s",
    "decrypt_64_per_s",
    "encrypt_64_durable_per_s",
    "decrypt_64_durable_per_s",
    "late_32_per_s",
    "turn_64_per_s",
    "setup_per_s",
)
COLORS = {
    "floor": "#999999",
    "pawl": "#1a4d8f",
    "libolm": "#b03a2e",
    "libsignal-protocol-c": "#d98e04",
    "vodozemac-py": "#3a7d44",
    "sqlite": "#999999",
    "sqlite-sealed": "#3a7d44",
    "sqlcipher": "#b03a2e",
}
STYLE = (
    "text{font:12px sans-serif}.head{font-weight:bold}.end{text-anchor:end}"
    ".mid{text-anchor:middle}.grid{stroke:#ddd}.line{fill:none;stroke-width:2}"
)


def svg(height: int, title: str, parts: Iterable[str]) -> str:
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            box(0, 0, WIDTH, height, "#fff"),
            *parts,
            "</svg>",
            "",
        ]
    )


def words(x: float, y: float, what: str, kind: str = "", color: str = "#222") -> str:
    place = f'x="{x:.0f}" y="{y:.0f}"'
    return f'<text {place} class="{kind}" fill="{color}">{escape(what)}</text>'


def box(x: float, y: float, width: float, height: float, color: str) -> str:
    size = f'width="{width:.1f}" height="{height}"'
    return f'<rect x="{x}" y="{y}" {size} fill="{color}"/>'


def bars(of: Measured) -> str:
    """Each row as wide as its logarithm: a length of ours says nothing, a difference does."""
    ratchets = ("floor", "pawl", "libolm", "libsignal-protocol-c", "vodozemac-py")
    stores = ("pawl", "sqlite", "sqlite-sealed", "sqlcipher")
    groups: List[Tuple[str, str, Tuple[str, ...]]]
    groups = [(MESSAGES[metric], metric, ratchets) for metric in DRAWN]
    groups += [
        (f"{STORES[metric]}, 100,000", f"{metric}_among_100000", stores)
        for metric in ("put_per_s", "get_per_s")
    ]
    left, right, y, low, high = 190, WIDTH - 70, 40, 2.0, 7.0
    parts = [words(10, 20, "per second, logarithmic", "head")]
    for title, metric, names in groups:
        found = [(name, of.values(name, metric)) for name in names]
        present = [(name, statistics.median(values)) for name, values in found if values]
        if not present:
            continue
        parts.append(words(left - 10, y + 7 * len(present) + 3, title, "end"))
        for name, value in present:
            width = (min(max(math.log10(value), low), high) - low) / (high - low) * (right - left)
            label = f"{short(value)} {TITLES[name]}" + (" (Python)" if name[-3:] == "-py" else "")
            parts.append(box(left, y, width, 12, COLORS[name]))
            if width > (right - left) * 0.66:
                parts.append(words(left + width - 5, y + 10, label, "end", "#fff"))
            else:
                parts.append(words(left + width + 5, y + 10, label))
            y += 14
        y += 10
    return svg(y, "Per second, by library", parts)


def curves(of: Measured) -> str:
    """Two panels with logarithmic axes: microseconds, and bytes."""

    def line(pattern: Tuple[str, str], *, per_second: bool = False) -> List[Tuple[int, float]]:
        found = []
        for count in (10**power for power in range(7)):
            values = of.values(pattern[0].format(count), pattern[1].format(count))
            if values and statistics.median(values) > 0:
                middle = statistics.median(values)
                found.append((count, 1e6 / middle if per_second else middle))
        return found

    panels = [
        (
            "microseconds",
            [
                ("session: start", "#1a4d8f", line(GROWTH["session: start, µs"])),
                ("session: first message", "#d98e04", line(GROWTH["first message, µs"])),
                ("session: next message", "#b03a2e", line(GROWTH["next message, µs"])),
                (
                    "credential: put",
                    "#3a7d44",
                    line(("pawl", "put_per_s_among_{}"), per_second=True),
                ),
                (
                    "credential: get",
                    "#7b3fa0",
                    line(("pawl", "get_per_s_among_{}"), per_second=True),
                ),
                ("job: run one", "#222222", line(GROWTH["run one, µs"])),
                ("job: next deadline", "#888888", line(GROWTH["job: next deadline, µs"])),
                (
                    "backup: upload of one",
                    "#0a8f8f",
                    line(BACKUP_GROWTH["an item of a backup: upload, µs"]),
                ),
                ("backup: restore of one", "#c2185b", line(BACKUP_GROWTH["restore, µs"])),
            ],
        ),
        (
            "bytes for each",
            [
                ("session, stored", "#1a4d8f", line(GROWTH["stored, B"])),
                ("session, in memory", "#d98e04", line(GROWTH["in memory, B"])),
                ("credential, stored", "#3a7d44", line(("pawl", "stored_bytes_among_{}"))),
                (
                    "job and credential, stored",
                    "#222222",
                    line(GROWTH["stored with its credential, B"]),
                ),
                ("backup: restored, stored", "#c2185b", line(BACKUP_GROWTH["stored, B"])),
            ],
        ),
    ]
    left, right, tall, top = 60, WIDTH - 190, 240, 36
    parts: List[str] = []
    for title, lines in panels:
        values = [value for _, _, points in lines for _, value in points] or [1.0, 10.0]
        low = math.floor(math.log10(min(values)))
        high = max(low + 1, math.ceil(math.log10(max(values))))

        def x(count: int) -> float:
            return left + math.log10(count) / 6 * (right - left)

        def y(value: float) -> float:
            return top + tall - (math.log10(value) - low) / (high - low) * tall

        parts.append(words(left, top - 14, title, "head"))
        for power in range(low, high + 1):
            height = y(10.0**power)
            parts.append(f'<path class="grid" d="M{left} {height:.1f}H{right}"/>')
            parts.append(words(left - 6, height + 4, f"{10**power:,}", "end"))
        for power in range(7):
            parts.append(words(x(10**power), top + tall + 18, f"{10**power:,}", "mid"))
        taken: List[float] = []
        drawn = [each for each in lines if each[2]]
        for name, color, points in sorted(drawn, key=lambda each: -each[2][-1][1]):
            path = "L".join(f"{x(count):.1f} {y(value):.1f}" for count, value in points)
            parts.append(f'<path class="line" d="M{path}" stroke="{color}"/>')
            for count, value in points:
                at = f'cx="{x(count):.1f}" cy="{y(value):.1f}"'
                parts.append(f'<circle {at} r="3" fill="{color}"/>')
            lowest = max([y(points[-1][1]) + 4, *(other + 15 for other in taken)])
            taken.append(lowest)
            parts.append(words(right + 12, lowest, name, color=color))
        top += tall + 66
    return svg(top - 30, "What more sessions, credentials, jobs and items of a backup cost", parts)


def main(measured: Path, documentation: Path) -> None:
    of = Measured((measured / "values.csv").read_text().splitlines())
    machine = json.loads((measured / "machine.json").read_text())
    article = documentation / "Benchmarks.md"
    before, rest = article.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    parts = [before, BEGIN, "\n", text(of, machine), "\n", END, after]
    article.write_text("".join(parts), encoding="utf-8")
    pictures = documentation / "Resources"
    (pictures / "benchmark-peers.svg").write_text(bars(of), encoding="utf-8")
    (pictures / "benchmark-growth.svg").write_text(curves(of), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
