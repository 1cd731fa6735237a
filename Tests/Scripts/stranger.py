"""stranger.py ARTICLE: what the article tells a stranger works, as written: in an empty folder, with the files that it shows,
each language takes five commands or fewer to a program that runs. The source is a clone of what is committed here."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
FILES = {
    "Swift": ["program/Package.swift", "program/main.swift"],
    "Python": ["program.py"],
    "C": ["program.c"],
}


def run(commands: str, folder: Path) -> None:
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    subprocess.run(["bash", "-euc", commands], cwd=folder, check=True, stdout=sys.stderr,
                   env={**environment, "PAWL": str(ROOT)})


def main(article: str) -> int:
    overview, *sections = re.split(r"^### ", Path(article).read_text(encoding="utf-8"), flags=re.M)
    first = [text for kind, text in FENCE.findall(overview) if kind == "sh"]
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run("".join(first), folder)
        for section in sections:
            language, _, text = section.partition("\n")
            blocks = FENCE.findall(text.split("\n## ")[0])
            commands = "".join(block for kind, block in blocks if kind == "sh")
            sources = [block for kind, block in blocks if kind != "sh"]
            count = len(first) + len(commands.splitlines())
            store = folder / "secrets.pawl"
            try:
                assert len(sources) == len(FILES[language]) and 1 < count <= 5
                for path, source in zip(FILES[language], sources):
                    (folder / path).parent.mkdir(exist_ok=True)
                    (folder / path).write_text(source)
                run(commands, folder)
                assert store.exists()
                store.unlink()
                print(f"stranger: {language}: {count} commands to a program that runs")
            except (AssertionError, subprocess.CalledProcessError) as error:
                failed += 1
                print(f"stranger: {language} FAILS: {error!r}")
    print(f"{len(sections) - failed} passed, {failed} failed")
    return 1 if failed or len(sections) != len(FILES) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
