# SPDX-License-Identifier: Apache-2.0
"""Builds `analyzers._native`: the shared layouts, a fast reader of the table, and the engine itself for tests.

Run as `python analyzers/native/build_ffi.py`; the module lands next to the package and is left alone while it is newer
than everything it is made of. The C declarations come from the headers themselves, so there is nothing to keep in step.
"""

import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cffi import FFI

NATIVE = Path(__file__).resolve().parent
ROOT = NATIVE.parent.parent
MODULE = "analyzers._native"
TARGET = NATIVE.parent / f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"
LAYOUT_HEADERS = (
    ROOT / "probes/include/event.h",
    ROOT / "probes/include/control.h",
    NATIVE / "table.h",
    NATIVE / "engine.h",
    NATIVE / "reader.h",
)
# The program around the engine is not wanted inside Python.
PROGRAM_ONLY = {"main.c", "live.c", "replay.c", "recorder.c", "ring.c", "sandbox.c", "translations.c"}
FIXED_TYPES = """
typedef uint8_t __u8; typedef uint16_t __u16; typedef uint32_t __u32; typedef uint64_t __u64;
typedef int32_t __s32;
"""
COMPILER_FLAGS = ("-std=gnu11", "-O2", "-g", "-fPIC", "-shared", "-fvisibility=hidden", "-fno-strict-aliasing")


def sources() -> list[Path]:
    """The C files of the engine, without those of the program around it."""
    return sorted(
        path for path in (*NATIVE.glob("*.c"), *NATIVE.glob("protocols/*.c")) if path.name not in PROGRAM_ONLY
    )


def preprocess(headers: tuple[Path, ...], compiler: str) -> str:
    """One text of C declarations without what the C library's headers would add."""
    with tempfile.TemporaryDirectory() as empty_headers:
        for name in ("stdint.h", "stdbool.h", "stddef.h", "string.h", "linux/types.h"):
            stand_in = Path(empty_headers, name)
            stand_in.parent.mkdir(exist_ok=True)
            stand_in.touch()
        text = "".join(f'#include "{header}"\n' for header in headers)
        command = [compiler, "-E", "-P", "-nostdinc", f"-I{empty_headers}", "-x", "c", "-"]
        output = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if output.returncode:
        raise SystemExit(f"build_ffi: {compiler} could not preprocess the contract headers:\n{output.stderr}")
    # Size assertions: cffi takes sizes from the compiler, which checks them as it compiles the headers.
    return re.sub(r"typedef char fs_size_of_\w+\[[^;]*;", "", output.stdout)


def constants(headers: tuple[Path, ...]) -> str:
    """`#define` lines of every plain number in the headers."""
    found: list[str] = []
    for header in headers:
        found += re.findall(
            r"^#define\s+(FS_[A-Z0-9_]+)\s+(?:0x[0-9a-fA-F]+|\d+)u?\s*(?:/\*.*)?$", header.read_text(), re.MULTILINE
        )
    return "".join(f"#define {name} ...\n" for name in found)


def is_current(target: Path = TARGET, files: Sequence[Path] = ()) -> bool:
    """Whether the module is newer than everything that `files`, by default those of the engine, are made of."""
    if not target.exists():
        return False
    built = target.stat().st_mtime
    headers = [*NATIVE.glob("*.h"), *NATIVE.glob("protocols/*.h"), *LAYOUT_HEADERS]
    inputs = [Path(__file__), *(files or sources()), *headers]
    return all(path.stat().st_mtime <= built for path in inputs)


def build(module: str = MODULE, target: Path = TARGET, files: Sequence[Path] = ()) -> None:
    """Writes the extension module, of `files` if it is not the engine as it is.

    Ends the program with the compiler's words if that fails.
    """
    compiler = sysconfig.get_config_var("CC").split()[0]
    ffi = FFI()
    ffi.cdef(constants(LAYOUT_HEADERS) + FIXED_TYPES + preprocess(LAYOUT_HEADERS, compiler))
    ffi.set_source(module, "".join(f'#include "{header}"\n' for header in LAYOUT_HEADERS))
    with tempfile.TemporaryDirectory() as scratch:
        glue = Path(scratch, "_native.c")
        ffi.emit_c_code(str(glue))
        library = Path(scratch, target.name)
        include = sysconfig.get_path("include")
        inputs = [str(path) for path in (glue, *(files or sources()))]
        # The same bytes in whichever folder the repository is.
        nowhere = (f"-ffile-prefix-map={ROOT}=.", f"-ffile-prefix-map={scratch}=.")
        command = [compiler, *COMPILER_FLAGS, *nowhere, f"-I{include}", "-o", str(library), *inputs]
        output = subprocess.run(command, capture_output=True, text=True, check=False)
        if output.returncode:
            raise SystemExit(f"build_ffi: {compiler} could not build {module}:\n{output.stderr}")
        # A rename, so that a Python that has the old one mapped is not disturbed.
        staged = target.with_suffix(".new")
        staged.write_bytes(library.read_bytes())
        staged.chmod(0o755)
        staged.replace(target)


if __name__ == "__main__":
    if "--force" in sys.argv[1:] or not is_current():
        build()
