"""readme.py README: runs each fenced C, Python and Swift block of it as a program, as written.

A C block without `main` is taken as the body of one. Every program starts in a new, empty folder."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
FENCE = re.compile(r"^```(c|python|swift)\s*\n(.*?)^```\s*$", re.M | re.S)

PACKAGE = """// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "readme",
    platforms: [.macOS(.v26)],
    dependencies: [.package(name: "pawl", path: "{root}")],
    targets: [
        .executableTarget(name: "readme", dependencies: [.product(name: "Pawl", package: "pawl")])
    ],
    swiftLanguageModes: [.v6]
)
"""


def run(*command: object, cwd: object = None, **environment: str) -> None:
    subprocess.run([str(word) for word in command], cwd=str(cwd) if cwd else None, check=True,
                   env={**os.environ, **environment}, stdout=sys.stderr)


def run_c(text: str, folder: Path) -> None:
    if not re.search(r"\bmain\s*\(", text):
        lines = text.splitlines(keepends=True)
        top = "".join(line for line in lines if line.startswith("#"))
        text = top + "int main(void) {\n" + "".join(
            line for line in lines if not line.startswith("#")) + "return 0;\n}\n"
    (folder / "readme.c").write_text(text)
    run(os.environ.get("CC", "cc"), "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror",
        f"-I{ROOT / 'Include'}", "readme.c", "-o", "program", f"-L{BUILD}", "-lpawl",
        f"-Wl,-rpath,{BUILD}", cwd=folder)
    run(folder / "program", cwd=folder)


def run_python(text: str, folder: Path) -> None:
    (folder / "readme_block.py").write_text(text)
    python = Path(os.environ.get("PAWL_PYTHON", BUILD / "venv/bin/python"))
    run(python, "-W", "error", "readme_block.py", cwd=folder,
        PYTHONPATH=python_path(), PAWL_LIBRARY=str(BUILD / "libpawl.so.0"))


def python_path() -> str:
    binding = ROOT / "Bindings" / "Python"
    return str(binding / "src" if (binding / "src").is_dir() else binding)


def run_swift(text: str, folder: Path) -> None:
    package = BUILD / "readme"
    source = package / "Sources" / "readme"
    source.mkdir(parents=True, exist_ok=True)
    (package / "Package.swift").write_text(PACKAGE.format(root=ROOT))
    (source / "main.swift").write_text(text)
    scratch = ROOT / ".build" / "readme"
    run("swift", "build", "--package-path", package, "--scratch-path", scratch)
    run(scratch / "debug" / "readme", cwd=folder)


RUNNERS = {"c": run_c, "python": run_python, "swift": run_swift}


def main(readme: str) -> int:
    blocks = FENCE.findall(Path(readme).read_text(encoding="utf-8"))
    passed = failed = 0
    for language in RUNNERS:
        if not any(found == language for found, _ in blocks):
            print(f"readme: there is no {language} block")
            failed += 1
    for language, text in blocks:
        with tempfile.TemporaryDirectory() as folder:
            try:
                RUNNERS[language](text, Path(folder))
                passed += 1
                print(f"readme: the {language} block runs")
            except (subprocess.CalledProcessError, OSError) as error:
                failed += 1
                print(f"readme: the {language} block fails: {error}\n{text}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
