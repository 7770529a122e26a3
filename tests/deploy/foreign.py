# SPDX-License-Identifier: Apache-2.0
"""Programs of another kind of machine that run here as this one's own do, by qemu: for as long as a test wants it. Needs root.

What Debian's binfmt-support registers for good is registered here by hand and taken back (Documentation/admin-guide/binfmt-misc.rst).
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.servers import program

MACHINES: Final = {"arm64": ("aarch64", 183)}
"""By Debian's name: as uname and qemu say it, and its number in elf.h."""
# Of an ELF file's head: 64 bits, little end first, whichever ABI; a program, or a library that is one.
_HEAD: Final = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00"
_SEEN: Final = b"\xff" * 7 + b"\x00" + b"\xff" * 8 + b"\xfe\xff"


@contextmanager
def emulated(architecture: str, folder: Path) -> Iterator[None]:
    """`architecture` is a key of MACHINES, `folder` is made and taken away. MissingProgram without qemu's static programs."""
    machine, number = MACHINES[architecture]
    qemu = program(f"qemu-{machine}-static")
    head, seen = _HEAD + number.to_bytes(2, "little"), _SEEN + b"\xff\xff"
    name = f"firesteel-{machine}"
    folder.mkdir()
    try:
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(folder)], check=True)
        try:
            # P: the program's own name is handed on. F: qemu is opened now, so that it is found from within any root.
            (folder / "register").write_text(f":{name}:M::{_escaped(head)}:{_escaped(seen)}:{qemu}:PF")
            try:
                yield
            finally:
                (folder / name).write_text("-1")
        finally:
            subprocess.run(["umount", str(folder)], check=True)
    finally:
        folder.rmdir()


def _escaped(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)
