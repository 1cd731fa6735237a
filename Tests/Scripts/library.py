"""library.py SO ARCHIVE HEADER: what was built is what the header promises, and needs no Swift."""

import re
import subprocess
import sys


def lines(*command: str) -> list[str]:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def main(so: str, archive: str, header: str) -> int:
    checks = failed = 0

    def check(what: str, good: bool, detail: object = "") -> None:
        nonlocal checks, failed
        checks += 1
        failed += not good
        print(f"library: {what}" if good else f"library: NOT {what}: {detail}")

    text = re.sub(r"/\*.*?\*/", " ", open(header, encoding="utf-8").read(), flags=re.S)
    declared = set(re.findall(r"\b(pawl_[a-z0-9_]+)\s*\((?!\s*\*)", text))
    check("the header declares functions", len(declared) > 30, len(declared))

    # A version script adds an absolute symbol that names the version itself.
    symbols = [line.split() for line in lines("nm", "-D", "--defined-only", so)]
    exported = {name.split("@")[0] for _, kind, name in symbols if kind != "A"}
    check("exported names equal the header's", exported == declared, sorted(exported ^ declared))

    symbols = [line.split() for line in lines("nm", "-g", "--defined-only", archive)]
    static = {row[2] for row in symbols if len(row) == 3}
    check("the archive's global names equal the header's", static == declared, sorted(static ^ declared))

    dynamic = "\n".join(lines("readelf", "-d", so))
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic))
    allowed = r"lib(sodium|sqlite3|m|c|pthread)\.so\.\d+|ld-linux.*"
    odd = {name for name in needed if not re.fullmatch(allowed, name)}
    check("needs libsodium, SQLite and libc alone", bool(needed) and not odd, sorted(odd))
    check("SONAME is libpawl.so.0", "soname: [libpawl.so.0]" in dynamic)
    check("binds everything at load", "BIND_NOW" in dynamic)

    sections = "\n".join(lines("readelf", "-W", "-S", "-l", so))
    check("is stripped", ".symtab" not in sections)
    check("has no executable stack", bool(re.search(r"GNU_STACK.*RW ", sections)))
    print(f"{checks - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
