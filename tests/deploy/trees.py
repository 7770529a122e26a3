# SPDX-License-Identifier: Apache-2.0
"""What can be told of the root of a small image by its files alone, for whichever machine it is."""

import hashlib
import re
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

LARGEST_MB: Final = 120
# elf.h.
_MACHINES: Final = {62: "x86_64", 183: "aarch64", 247: "bpf"}


def size_mb(tree: Path) -> float:
    """Unpacked, in millions of bytes."""
    return sum(path.lstat().st_size for path in tree.rglob("*") if not path.is_dir()) / 1e6


def machines(tree: Path) -> set[str]:
    """For which machines its programs and libraries are, as uname -m says it; BPF programs left out."""
    return {machine for _, machine in _elf_files(tree) if machine != "bpf"}


def bpf_objects(tree: Path) -> set[str]:
    """Names of the files that hold BPF programs."""
    return {path.name for path, machine in _elf_files(tree) if machine == "bpf"}


def missing_libraries(tree: Path) -> set[tuple[str, str]]:
    """(program or library, what it is linked with and is not in the tree)."""
    missing = set()
    for path, machine in _elf_files(tree):
        if machine == "bpf":
            continue
        told = subprocess.run(["readelf", "--dynamic", str(path)], capture_output=True, text=True, check=False).stdout
        for name in re.findall(r"\(NEEDED\).*\[(.+)\]", told):
            if not list(tree.glob(f"usr/lib*/{name}")) and not list(tree.glob(f"usr/lib/*/{name}")):
                missing.add((path.name, name))
    return missing


def differences(one: Path, other: Path) -> set[str]:
    """Names of what is not the same in two trees: there, its mode, its time, its bytes or where it points."""
    first, second = _contents(one), _contents(other)
    return {name for name in first.keys() | second.keys() if first.get(name) != second.get(name)}


def _contents(tree: Path) -> dict[str, tuple[int, float, str]]:
    return {
        str(path.relative_to(tree)): (path.lstat().st_mode, path.lstat().st_mtime, _content(path))
        for path in tree.rglob("*")
    }


def _content(path: Path) -> str:
    if path.is_symlink():
        return str(path.readlink())
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _elf_files(tree: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(tree.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as file:
            head = file.read(20)
        if head.startswith(b"\x7fELF"):
            (machine,) = struct.unpack_from("<H", head, 18)
            yield path, _MACHINES.get(machine, str(machine))
