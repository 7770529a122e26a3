# SPDX-License-Identifier: Apache-2.0
"""Builds `probes._libbpf`: libbpf for the loader, by cffi. Run as `python probes/build_libbpf.py`."""

import re
import tempfile
from pathlib import Path

from cffi import FFI

PROBES = Path(__file__).resolve().parent


def build() -> None:
    """Compile in a folder of its own and put only the module next to this file."""
    header = (PROBES / "ebpf/binding.h").read_text()
    declarations = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    declarations = "\n".join(line for line in declarations.splitlines() if not line.startswith("#"))
    ffi = FFI()
    ffi.cdef(declarations)
    with tempfile.TemporaryDirectory() as folder:
        ffi.set_source(
            "probes._libbpf",
            (PROBES / "ebpf/binding.c").read_text(),
            libraries=["bpf", "elf", "z"],
            include_dirs=[str(PROBES / "ebpf")],
            # The same bytes in whichever folder it is compiled.
            extra_compile_args=["-O2", "-std=gnu11", f"-ffile-prefix-map={folder}=.", f"-ffile-prefix-map={PROBES}=."],
        )
        built = Path(ffi.compile(tmpdir=folder))
        target = PROBES / built.name
        fresh = target.with_suffix(".new")
        fresh.write_bytes(built.read_bytes())
        fresh.chmod(0o755)
        fresh.replace(target)


if __name__ == "__main__":
    build()
