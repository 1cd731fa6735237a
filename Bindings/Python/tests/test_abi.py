# SPDX-License-Identifier: Apache-2.0
"""The function table, structs and numbers against Include/pawl.h and the C compiler."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from ctypes import c_int32, c_int64, c_size_t, c_uint32, c_uint64
from pathlib import Path
from typing import Any, Dict, Tuple

import pytest

import pawl
from pawl import _abi

INCLUDE = Path(__file__).parents[3] / "Include"
HEADER = (INCLUDE / "pawl.h").read_text()
CODE = re.sub(r"/\*.*?\*/", "", HEADER, flags=re.S)
STRUCTS = dict(re.findall(r"typedef struct (pawl_\w+) \{(.*?)\} \1;", CODE, flags=re.S))
PROTOTYPES = {
    name: (result, arguments)
    for result, name, arguments in re.findall(
        r"^((?:const )?\w+ \**)(pawl_\w+)\(([^()]*)\);", CODE, flags=re.M
    )
}
SCALARS = {
    "void": None,
    "int32_t": c_int32,
    "pawl_status": c_int32,
    "uint32_t": c_uint32,
    "uint64_t": c_uint64,
    "int64_t": c_int64,
    "size_t": c_size_t,
}


def is_pointer(kind: Any) -> bool:
    return kind in (ctypes.c_void_p, ctypes.c_char_p) or hasattr(kind, "contents")


def assert_fits(kind: Any, declared: str, where: str) -> None:
    """The ctypes type `kind` stands for the C declaration `declared`."""
    words = [word for word in re.findall(r"\w+", declared) if word != "const"]
    if "*" in declared or "[" in declared:
        assert is_pointer(kind), where
        if words[0] in _abi.STRUCTS:
            assert kind._type_ is _abi.STRUCTS[words[0]], where
    elif words[0] == "pawl_visit":
        assert kind is _abi.VISIT, where
    else:
        assert kind is SCALARS[words[0]], where


def assert_signature(result: Any, arguments: Any, declared: Tuple[str, str], where: str) -> None:
    parts = [part.strip() for part in declared[1].split(",")]
    if parts == ["void"]:
        parts = []
    assert len(arguments) == len(parts), where
    assert_fits(result, declared[0], f"result of {where}")
    for index, (kind, part) in enumerate(zip(arguments, parts)):
        assert_fits(kind, part, f"argument {index} of {where}")


def test_table_is_header() -> None:
    table = {name: (result, arguments) for name, result, arguments in _abi.FUNCTIONS}
    assert len(table) == len(_abi.FUNCTIONS)
    assert set(table) == set(re.findall(r"\b(pawl_\w+)\(", CODE))
    assert set(table) == set(PROTOTYPES)
    for name, (result, arguments) in table.items():
        assert_signature(result, arguments, PROTOTYPES[name], name)


def test_callbacks_are_header() -> None:
    seen = 0
    for struct, body in STRUCTS.items():
        kinds: Dict[str, Any] = {field[0]: field[1] for field in _abi.STRUCTS[struct]._fields_}
        for result, name, arguments in re.findall(r"(\w+) \(\*(\w+)\)\((.*?)\);", body, re.S):
            kind = kinds[name]
            where = f"{struct}.{name}"
            assert_signature(kind._restype_, kind._argtypes_, (result, arguments), where)
            seen += 1
    assert seen == 15


def test_library_exports_header() -> None:
    command = ["nm", "-D", "--defined-only", "--without-symbol-versions", pawl.library_path]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    exported = {line.split()[2] for line in lines if line.split()[1] != "A"}
    assert exported == set(PROTOTYPES)


def test_layouts_and_numbers_are_what_the_compiler_says(tmp_path: Path) -> None:
    assert set(_abi.STRUCTS) == set(STRUCTS)
    macros = sorted(re.findall(r"^#define (PAWL_\w+) +\S", HEADER, flags=re.M))
    lines = []
    for name, struct in _abi.STRUCTS.items():
        # Every member of the header's struct, so that a field missing here is noticed too.
        body = re.sub(r"\[.*?\]", "", STRUCTS[name])
        members = re.findall(r"\(\*(\w+)\)\(|(\w+);", re.sub(r"\)\([^;]*\);", ")(;", body))
        assert [a or b for a, b in members] == [field[0] for field in struct._fields_], name
        lines.append(f'P("{name}", sizeof({name}));')
        for field in struct._fields_:
            at = f"{name}, {field[0]}"
            lines.append(f'P("{name}.{field[0]}", offsetof({at}));')
            lines.append(f'P("{name}.{field[0]} size", sizeof((({name} *)0)->{field[0]}));')
    lines += [f'P("{macro}", {macro});' for macro in macros]
    source = tmp_path / "layout.c"
    source.write_text(
        "#include <stdio.h>\n#include <pawl.h>\n"
        '#define P(name, value) printf("%s=%lld\\n", name, (long long)(value))\n'
        "int main(void) {\n" + "\n".join(lines) + "\nreturn 0; }\n"
    )
    program = tmp_path / "layout"
    compiler = shutil.which("gcc") or "cc"
    flags = ["-std=c99", "-Wall", "-Werror", f"-I{INCLUDE}"]
    subprocess.run([compiler, *flags, str(source), "-o", str(program)], check=True)
    printed = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    expected = {
        name: int(number) for name, number in (x.split("=") for x in printed.split("\n")[:-1])
    }

    ours: Dict[str, int] = {}
    for name, struct in _abi.STRUCTS.items():
        ours[name] = ctypes.sizeof(struct)
        for field in struct._fields_:
            ours[f"{name}.{field[0]}"] = getattr(struct, field[0]).offset
            ours[f"{name}.{field[0]} size"] = getattr(struct, field[0]).size
    ours |= {name: value for name, value in vars(_abi).items() if name.startswith("PAWL_")}
    for prefix, enum in [
        ("PAWL_", pawl.Status),
        ("PAWL_KEY_", pawl.KeyKind),
        ("PAWL_ORPHAN_", pawl.OrphanKind),
        ("PAWL_OUTCOME_", pawl.OrphanOutcome),
        ("PAWL_ITEM_", pawl.ItemKind),
        ("PAWL_EVENT_", pawl.Event),
        ("PAWL_REQUEST_", pawl.Request),
        ("PAWL_PUBLICATION_", pawl.Publication),
        ("PAWL_PACKAGE_", pawl.PackageState),
        ("PAWL_JOB_", pawl.JobKind),
        ("PAWL_SUITE_", pawl.Suite),
        ("PAWL_TRUST_", pawl.Trust),
        ("PAWL_STEP_", pawl.StepEvent),
        ("PAWL_CONSTRUCTOR_", pawl.Constructor),
        ("PAWL_BACKUP_", pawl.BackupPhase),
        ("PAWL_DOWNLOAD_", pawl.Download),
        ("PAWL_REFUSED_", pawl.BackupRefusal),
        ("PAWL_FINDING_", pawl.BackupFinding),
        ("PAWL_REPLY_", pawl.BackupResult),
    ]:
        ours |= {prefix + name: member.value for name, member in enum.__members__.items()}
    assert ours == expected


def test_layouts_read_what_ctypes_reads() -> None:
    for name, struct in _abi.STRUCTS.items():
        if not issubclass(struct, _abi.Sized):
            continue
        pattern = bytes(index % 251 for index in range(ctypes.sizeof(struct)))
        read = []
        for field in struct._fields_:
            kind, offset = field[1], getattr(struct, field[0]).offset
            if is_pointer(kind) or hasattr(kind, "_restype_"):
                kind = ctypes.c_void_p
            found: Any = kind.from_buffer_copy(pattern, offset)
            read.append(bytes(found) if hasattr(kind, "_length_") else found.value)
        assert struct.layout.unpack_from(pattern) == tuple(read), name


def test_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a slice cannot reach."""
    text = ctypes.create_string_buffer(b"text")
    at = ctypes.addressof(text)
    for memory in (_abi._memory, (ctypes.c_char * at).from_address(0)):
        monkeypatch.setattr(_abi, "_memory", memory)
        assert (_abi.copied(at, 4), _abi.text(at, 4), _abi.copied(at, 0)) == (b"text", "text", b"")
        assert (_abi.copied(None, 0), _abi.text(None, 0)) == (b"", "")


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 16 << 20])
def test_room(size: int) -> None:
    assert _abi.room(size)[:size] == bytes(size)


def test_every_status_has_a_class_and_texts() -> None:
    from pawl.errors import error_of

    for name, status in pawl.Status.__members__.items():
        if status is pawl.Status.OK:
            continue
        error = error_of(status)
        assert error.reason is status
        assert error.name == f"PAWL_{name}"
        assert error.name in str(error) and len(str(error)) > len(error.name) + 10
        assert type(error) is type(error_of(error.primary)) is not pawl.PawlError
    error = error_of(pawl.Status.STORE_VAULT | 77 << 16)
    assert (error.code, error.reason, error.primary) == (77, pawl.Status.STORE_VAULT, 12)
    assert "code 77" in str(error)
    assert str(error_of(200)) and error_of(200).reason == 200


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_main_says_what_is_loaded() -> None:
    shown = python("-m", "pawl", PAWL_LIBRARY=pawl.library_path)
    assert shown.returncode == 0
    assert shown.stdout.splitlines() == [
        f"pawl {pawl.__version__}",
        f"library {pawl.library_path}, ABI {_abi.library.pawl_abi_version()}",
    ]


@pytest.mark.parametrize(
    "source, says",
    [
        ("", "is not the libpawl"),
        ("abi 0", "has ABI 0"),
    ],
)
def test_another_library_is_refused(tmp_path: Path, source: str, says: str) -> None:
    code = "int nothing;"
    if source:
        code = "".join(f"int {name}(void) {{ return 0; }}\n" for name in PROTOTYPES)
    (tmp_path / "other.c").write_text(code)
    other = str(tmp_path / "other.so")
    command = ["gcc", "-shared", "-fPIC", str(tmp_path / "other.c"), "-o", other]
    subprocess.run(command, check=True)
    shown = python("-c", "import pawl", PAWL_LIBRARY=other)
    assert shown.returncode != 0 and "ImportError" in shown.stderr and says in shown.stderr


def test_a_missing_library_is_an_import_error() -> None:
    shown = python("-c", "import pawl", PAWL_LIBRARY="/nowhere/libpawl.so.0")
    assert "ImportError" in shown.stderr and "PAWL_LIBRARY" in shown.stderr
