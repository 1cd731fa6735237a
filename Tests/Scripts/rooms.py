"""The rooms of the core: imports point one way, nothing below the facade can trap the host's process,
and file names are unique, because one module is made of them all."""

import re
import sys
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[2] / "Sources"

# What each room may import. The facade may import the header and whatever the system has.
MAY = {
    "PawlCrypto": {"CSodium"},
    "PawlCore": {"PawlCrypto"},
    "PawlStore": {"PawlCrypto", "CSQLite", "CPlatform"},
    "PawlEngine": {"PawlCore", "PawlStore", "PawlCrypto", "CPlatform"},
    "PawlABI": {"PawlEngine", "PawlStore", "PawlCore", "PawlCrypto", "CPawl", "CPlatform"},
}
EVERYWHERE = {"Synchronization"}
INNER = set(MAY) | {"CSodium", "CSQLite", "CPlatform"}

TRAPS = {
    r"\btry!": "try!",
    r"\bas!": "as!",
    r"\b(fatalError|preconditionFailure|precondition|assertionFailure|assert|abort|exit)\s*\(":
        "a call that ends the process",
    r"[\w)\]>?]!(?!=)": "a forced unwrap",
    r"\bunsafelyUnwrapped\b": "a forced unwrap",
    r"\.\.<\s*Int\.min|\bunsafeDowncast\b": "an unchecked cast",
}

IMPORT = re.compile(
    r"^\s*(?:@\w+(?:\([^)]*\))?\s+)*(?:(?:public|package|internal|fileprivate|private)\s+)?"
    r"import\s+(?:(?:struct|class|enum|func|typealias|protocol|let|var)\s+)?(\w+)",
    re.M,
)
NOISE = re.compile(r'"""(?:.|\n)*?"""|"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*(?:.|\n)*?\*/')


def code(text: str) -> str:
    """The text without comments and strings, with the same lines."""
    return NOISE.sub(lambda match: '""' + "\n" * match.group().count("\n"), text)


def faults(room: str, path: Path) -> list[str]:
    text = code(path.read_text(encoding="utf-8"))
    where = path.relative_to(SOURCES.parent)
    found = []

    def report(position: int, what: str) -> None:
        found.append(f"{where}:{text.count(chr(10), 0, position) + 1}: {what}")

    for match in IMPORT.finditer(text):
        module = match.group(1)
        if room in MAY and module not in MAY[room] | EVERYWHERE:
            report(match.start(1), f"{room} may not import {module}")
        if room == "Pawl" and module in INNER:
            report(match.start(1), f"the facade may not reach around the header to {module}")
    if room in MAY:
        for pattern, what in TRAPS.items():
            for match in re.finditer(pattern, text):
                report(match.start(), f"{what} below the facade")
    return found


def main() -> int:
    found: list[str] = []
    names: dict[str, Path] = {}
    count = 0
    for room in [*MAY, "Pawl"]:
        files = sorted((SOURCES / room).rglob("*.swift"))
        if not files:
            found.append(f"Sources/{room} holds no Swift file")
        for path in files:
            count += 1
            found += faults(room, path)
            if room in MAY and names.setdefault(path.name, path) != path:
                found.append(f"{path.relative_to(SOURCES)}: also {names[path.name].relative_to(SOURCES)}")
    print("\n".join(found) or f"rooms: {count} files, imports one way, no traps, names unique")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
