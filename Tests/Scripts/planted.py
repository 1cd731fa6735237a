"""Plants bugs in the rekeying machine, one at a time: the exploration has to find each of them."""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("PawlCrypto", "PawlCore")
EXPLORATION = ROOT / "Tests/CoreTests/RekeyExploration.swift"
MACHINE = "PawlCore/Session/Rekey.swift"

MAIN = """
@main struct Planted {
    static func main() throws {
        for bound in RekeyExploration.short {
            let exploration = try RekeyExploration(bound)
            try exploration.run()
            if let failure = exploration.failure { return print("found: " + failure) }
        }
        print("nothing found")
    }
}
"""

# What is broken, what stands there, what is put in its place.
BUGS = [
    ("crossed offers are ordered by side",
     "guard id < own.id else {",
     "guard (id < own.id) == (parties.side == .initiator) else {"),
    ("the finish is not said again",
     "        outcome.says.insert(.finish)\n        outcome.note(.repeated",
     "        outcome.note(.repeated"),
    ("who yields keeps its constructor",
     "            outcome.note(.crossedYields, epoch, epoch, offer.target, id, .wiped)",
     "            phase = .offered(own)\n"
     "            outcome.note(.crossedYields, epoch, epoch, offer.target, id)"),
    ("a finish commits the next epoch, whichever it names",
     "if case .answered(let candidate) = phase, epoch > self.epoch {",
     "if case .answered(let candidate) = phase,\n"
     "            epoch > self.epoch || parts.contains(where: { $0.kind == .finish }) {"),
    ("an answer counts for the next epoch, whichever it names",
     "            guard answer.target > self.epoch else { return try repeated(answer, &outcome) }\n"
     "            guard epoch == self.epoch, answer.target == (try self.next(epoch)) else { return }\n",
     ""),
    ("an offer that is repeated gets another answer",
     "            outcome.says.insert(.phase)\n            outcome.note(.repeated",
     "            try answer(offer, id, exchange, &outcome)\n            outcome.note(.repeated"),
    ("busy wipes the constructor",
     "            outcome.note(.postponed, epoch, epoch, epoch &+ 1, id)",
     "            phase = .idle\n"
     "            outcome.note(.postponed, epoch, epoch, epoch &+ 1, id, .wiped)"),
    ("an offer counts under any epoch",
     "            guard offer.target > self.epoch else {\n"
     "                return stale(offer.target, try id(of: offer), &outcome)\n"
     "            }\n"
     "            guard epoch == self.epoch, offer.target == (try self.next(epoch)) else { return }\n",
     ""),
    ("the old epoch goes while the peer is in it",
     "hasPrevious: Bool { heard < epoch }",
     "hasPrevious: Bool { false }"),
    ("the old epoch stays",
     "        next.heard = max(next.heard, epoch)\n",
     ""),
    ("a fresh round is forgotten",
     "        if wanted > epoch { try self.offer(exchange, &outcome) }\n",
     ""),
    ("a stale offer gets no reply",
     "        outcome.says.insert(.nudge)\n",
     ""),
    ("close leaves the candidate",
     "            phase = .closed\n",
     "            if case .offered = phase { phase = .closed }\n"),
]


def explore(folder: Path, old: str, new: str) -> str:
    """What the exploration prints with `old` replaced."""
    files = []
    for room in ROOMS:
        for source in sorted((ROOT / "Sources" / room).rglob("*.swift")):
            text = source.read_text(encoding="utf-8")
            if str(source).endswith(MACHINE) and old:
                if text.count(old) != 1:
                    return f"stands there {text.count(old)} times: {old.strip()}"
                text = text.replace(old, new)
            files.append(folder / source.name)
            files[-1].write_text(text, encoding="utf-8")
    maps = [ROOT / "Sources/CSodium/module.modulemap", folder / "module.modulemap"]
    maps[1].write_text("".join(f"module {room} {{}}\n" for room in ROOMS), encoding="utf-8")
    main = folder / "Planted.swift"
    main.write_text(MAIN, encoding="utf-8")
    program = folder / "planted"
    made = subprocess.run(
        ["swiftc", "-parse-as-library", "-wmo", "-module-name", "Planted", "-package-name", "pawl",
         "-swift-version", "6", "-suppress-warnings", "-enable-experimental-feature", "Lifetimes",
         "-enable-upcoming-feature", "InternalImportsByDefault",
         *(word for path in maps for word in ("-Xcc", f"-fmodule-map-file={path}")),
         *sodium(), *map(str, files), str(EXPLORATION), str(main), "-o", str(program)],
        capture_output=True, text=True)
    if made.returncode != 0:
        return "does not compile:\n" + made.stderr[:2000]
    run = subprocess.run([program], capture_output=True, text=True, timeout=300)
    return run.stdout if run.returncode == 0 else f"ended with {run.returncode}"


def sodium() -> list[str]:
    """libsodium's, for the compiler and the linker."""
    def config(what: str) -> list[str]:
        return subprocess.run(["pkg-config", what, "libsodium"], check=True, capture_output=True,
                              text=True).stdout.split()
    return [*(word for flag in config("--cflags") for word in ("-Xcc", flag)), *config("--libs")]


def main() -> int:
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, old, new in [("no bug", "", ""), *BUGS]:
            out = explore(Path(folder), old, new)
            good = out.startswith("found: " if old else "nothing found")
            missed += not good
            print(f"planted: {name}: {out.splitlines()[0]}" if good else f"planted: NOT {name}: {out}")
    print(f"{len(BUGS) + 1 - missed} passed, {missed} failed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
