# SPDX-License-Identifier: Apache-2.0
"""The emulator of virtual machines: this machine's, or where that is too old for what we do in them, one of Debian's backports.

Hooks are put into code while another processor runs it. Up to 8.0 qemu may go on with what it had translated of the old code
(https://lore.kernel.org/lkml/, July 2023, "qemu-x86_64 booting with 8.0.0 stil see int3"). With 7.2 a kernel that puts kretprobes of its
own on and takes them off again panicked once in five runs of a minute, with no module there; with 10.0 it did not in four
(docs/decisions/0026-which-emulator.md).
"""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from tests.vm import kernels
from tests.vm.kernels import NEVER, Apt, Lacking, alone, need

_PROGRAM: Final = "qemu-system-x86_64"
_SOUND: Final = (10, 0)
"""Of the versions that were tried."""
_VERSION: Final = re.compile(r"version (\d+)\.(\d+)")
# The program, and the files that it gives to its machines.
_PACKAGES: Final = ("qemu-system-x86", "qemu-system-data", "seabios")
_FILES: Final = ("usr/share/qemu", "usr/share/seabios")


@dataclass(frozen=True, slots=True)
class Emulator:
    """`command` starts it. Where it is not `sound` several processors may only run in turn."""

    command: tuple[str, ...]
    version: tuple[int, int]

    def __str__(self) -> str:
        return f"qemu {'.'.join(map(str, self.version))}"

    @property
    def sound(self) -> bool:
        return self.version >= _SOUND


@cache
def get(ends: float = NEVER) -> Emulator:
    """The one to use, fetched until `ends` if there is none that is sound. Raises Lacking where there is none at all."""
    here = of_this_machine()
    if here.sound:
        return here
    try:
        newer = _fetched(ends)
        if not newer.sound:
            raise Lacking(f"this release's backports have {newer} only")
    except Lacking as lacking:
        print(f"firesteel-vm: {here} runs one processor at a time, twice as long: {lacking}", file=sys.stderr)
        return here
    return newer


def of_this_machine() -> Emulator:
    """Raises Lacking."""
    program = need(_PROGRAM, "qemu-system-x86")
    return Emulator((program,), _version(program))


def _fetched(ends: float) -> Emulator:
    """Debian's backport, in a folder beside the kernels: its libraries are those of the release. Raises Lacking."""
    place = kernels.cache() / "qemu"
    with alone(kernels.cache()):
        if not (place / "root").exists():
            _fetch(place, ends)
    program = str(place / "root/usr/bin" / _PROGRAM)
    folders = [part for folder in _FILES for part in ("-L", str(place / "root" / folder))]
    return Emulator((program, *folders), _version(program))


def _fetch(place: Path, ends: float) -> None:
    need("apt-get", "apt")
    release = _release()
    new = place.with_name("qemu.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        apt = Apt(new, [kernels.line_of(f"{release}-backports")], ends)
        apt.run("apt-get", "update", "-q")
        apt.unpack(_PACKAGES, new / "root", new / "packages")
        for done in ("lists", "cache"):
            shutil.rmtree(new / done)
        _version(str(new / "root/usr/bin" / _PROGRAM))  # before it is kept: a library may be missing
        new.rename(place)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _release() -> str:
    """Debian's name of this machine's release."""
    lines = Path("/etc/os-release").read_text().splitlines()
    told = dict(line.split("=", 1) for line in lines if "=" in line)
    if told.get("ID") != "debian":
        raise Lacking("this machine is not Debian, whose backports have a newer one")
    return told.get("VERSION_CODENAME", "").strip('"')


def _version(program: str) -> tuple[int, int]:
    try:
        told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip()
        raise Lacking(f"{program} does not start: {said}") from None
    found = _VERSION.search(told)
    if found is None:
        raise Lacking(f"{program} does not tell its version: {told.strip()}")
    return int(found[1]), int(found[2])
