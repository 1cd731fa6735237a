"""Plants bugs in the machines, one at a time: the exploration of each has to find every one of its own."""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("PawlCrypto", "PawlCore")

MAIN = """
@main struct Planted {
    static func main() throws {
        for bound in EXPLORATION.short {
            let exploration = try EXPLORATION(bound)
            try exploration.run()
            if let failure = exploration.failure { return print("found: " + failure) }
        }
        print("nothing found")
    }
}
"""

# What is broken, what stands there, what is put in its place.
REKEY = [
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

BACKUP = [
    ("the event comes before what it tells of",
     "        next.goOn(&turn)\n        next.tell(since: snapshot, &turn.outcome)\n",
     "        next.tell(since: snapshot, &turn.outcome)\n        next.goOn(&turn)\n"),
    ("the key is said to be cached while the server is asked",
     "if let active, active != before.active { events.append(.keyCached(active)) }",
     "if let body = making?.body, let next = try? BackupVersion(number: [65], body: body) {\n"
     "            events.append(.keyCached(next))\n"
     "        }"),
    ("the key is said to be cached at every status",
     "if let active, active != before.active {",
     "if let active {"),
    ("active without its key",
     "        key = Held(version: version, secret: creation.secret)\n",
     ""),
    ("active before it is escrowed",
     "guard !creation.needsEscrow else {",
     "guard !creation.needsEscrow || server == .absent else {"),
    ("deleted before it is replaced",
     "active.hash == successor, upload.cursor >= changes else {",
     "active.hash == successor else {"),
    ("filled but for what has changed since",
     "active.hash == successor, upload.cursor >= changes else {",
     "active.hash == successor, upload.cursor >= fill else {"),
    ("a check overwrites a newer command",
     "        if phase != .creating, phase != .deleting {\n",
     "        if phase != .creating, phase != .deleting, phase != .checking {\n"),
    ("what was overtaken is not asked again",
     "        failures = 0\n        again = true\n    }\n\n    /// Once more",
     "        failures = 0\n    }\n\n    /// Once more"),
    ("a change during an upload is lost",
     "upload.cursor = upload.upTo\n            upload.failures = 0",
     "upload.cursor = changes\n            upload.failures = 0"),
    ("an upload that failed is not tried again",
     "isDue(at, turn.now) { upload.retryAt = nil }",
     "isDue(at, turn.now) { upload.retryAt = turn.now }"),
    ("a new version is not filled",
     "            upload = Upload()\n",
     ""),
    ("a version that is lost is not looked for",
     "        if phase == .checking {\n            phase = .idle\n            request = 0\n"
     "        }\n        recheck()\n",
     ""),
    ("a secret is judged by what was known before it came",
     "received.append(Candidate(secret: secret, highest: highest))",
     "received.append(Candidate(secret: secret, highest: highest, isAsked: true))"),
    ("what may have been created is forgotten",
     "            wish = creation\n",
     "            goal = .none\n"),
    ("what another device created is taken for what was made here",
     "let isMade = body == version?.body\n",
     "let isMade = version != nil\n"),
    ("a lower generation becomes active",
     "        guard version.generation >= highest else {\n            active = nil",
     "        guard version.generation > 0 else {\n            active = nil"),
    ("a failure turns it off",
     "        failures = failures < UInt32.max ? failures + 1 : failures\n        phase =",
     "        intent = .off\n        failures = failures < UInt32.max ? failures + 1 : failures\n        phase ="),
]

# The machine, its exploration, its bugs.
MACHINES = [
    ("PawlCore/Session", "RekeyExploration", REKEY),
    ("PawlCore/Backup", "BackupExploration", BACKUP),
]


def explore(folder: Path, machine: str, exploration: str, old: str, new: str) -> str:
    """What the exploration prints with `old` replaced, which stands in the machine's folder once."""
    files = []
    count = 0
    for room in ROOMS:
        for source in sorted((ROOT / "Sources" / room).rglob("*.swift")):
            text = source.read_text(encoding="utf-8")
            if str(source.parent).endswith(machine) and old:
                count += text.count(old)
                text = text.replace(old, new)
            files.append(folder / source.name)
            files[-1].write_text(text, encoding="utf-8")
    if old and count != 1:
        return f"stands there {count} times: {old.strip()}"
    maps = [ROOT / "Sources/CSodium/module.modulemap", folder / "module.modulemap"]
    maps[1].write_text("".join(f"module {room} {{}}\n" for room in ROOMS), encoding="utf-8")
    main = folder / "Planted.swift"
    main.write_text(MAIN.replace("EXPLORATION", exploration), encoding="utf-8")
    program = folder / "planted"
    made = subprocess.run(
        ["swiftc", "-parse-as-library", "-wmo", "-module-name", "Planted", "-package-name", "pawl",
         "-swift-version", "6", "-suppress-warnings", "-enable-experimental-feature", "Lifetimes",
         "-enable-upcoming-feature", "InternalImportsByDefault",
         *(word for path in maps for word in ("-Xcc", f"-fmodule-map-file={path}")),
         *sodium(), *map(str, files), str(ROOT / f"Tests/CoreTests/{exploration}.swift"), str(main), "-o", str(program)],
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
    passed = missed = 0
    with tempfile.TemporaryDirectory() as folder:
        for machine, exploration, bugs in MACHINES:
            for name, old, new in [("no bug", "", ""), *bugs]:
                out = explore(Path(folder), machine, exploration, old, new)
                good = out.startswith("found: " if old else "nothing found")
                passed += good
                missed += not good
                print(f"planted: {name}: {out.splitlines()[0]}" if good
                      else f"planted: NOT {name}: {out}", flush=True)
    print(f"{passed} passed, {missed} failed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
