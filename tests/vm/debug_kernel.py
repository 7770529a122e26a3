# SPDX-License-Identifier: Apache-2.0
"""A kernel that watches over what runs in it: Debian's sources of 6.1 with KASAN, lockdep and the checks of lists, timers and RCU.

`python -m tests.vm debug-kernel` builds it into the cache, which takes half an hour of two processors; then it is `debug` among the
kernels, and FIRESTEEL_VM_KERNELS=debug has the module's tests run in it. It cannot be had ready-made: Debian has none.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.vm import kernels
from tests.vm.kernels import DEBUG, Lacking, alone, need, with_apt

_CONFIG: Final = Path(__file__).with_name("debug_kernel.config")
_LOCAL: Final = "-firesteel-debug"
_SOURCE: Final = "linux-source-6.1"
_PROGRAMS: Final = (("make", "make"), ("gcc", "gcc"), ("flex", "flex"), ("bison", "bison"), ("bc", "bc"))
_PROBES: Final = Path(__file__).resolve().parents[2] / "probes"


def build() -> str:
    """Its release. Raises Lacking with what is in the way."""
    for program, package in _PROGRAMS:
        need(program, package)
    place = kernels.cache() / DEBUG.name
    with alone(kernels.cache()):
        if (place / "release").exists() and (place / _CONFIG.name).read_text() == _CONFIG.read_text():
            return (place / "release").read_text().strip()
        new = place.with_name(f"{DEBUG.name}.new")
        with_apt(DEBUG, new, lambda apt: apt.unpack((_SOURCE,), new / "source", new / "packages"))
        tree = new / "tree"
        tree.mkdir()
        archive = new / f"source/usr/src/{_SOURCE}.tar.xz"
        _run("tar", "xf", str(archive), "--strip-components=1", "-C", str(tree))
        shutil.rmtree(new / "source")
        _configure(tree)
        _make(tree, "bzImage", "modules")
        release = _make(tree, "-s", "kernelrelease").split()[-1]
        _install(tree, release, new / "root")
        shutil.copyfile(_CONFIG, new / _CONFIG.name)
        (new / "release").write_text(release + "\n")
        shutil.rmtree(place, ignore_errors=True)
        new.rename(place)
    return release


def module() -> Path:
    """firesteel.ko for it, of today's sources. Raises Lacking where it was never built, AssertionError with the compiler's words."""
    kernel = kernels.get(DEBUG.name)
    folder = kernels.cache() / f"{DEBUG.name}.modules"
    with alone(folder):
        for part in ("kmod", "include"):
            shutil.rmtree(folder / part, ignore_errors=True)
        built = shutil.ignore_patterns("*.o", "*.ko", "*.mod*", ".*")
        shutil.copytree(_PROBES / "kmod", folder / "kmod", ignore=built)
        shutil.copytree(_PROBES / "include", folder / "include")
        tree = kernel.root.with_name("tree")
        made = subprocess.run(
            [need("make", "make"), "-C", str(folder / "kmod"), f"KERNEL_BUILD={tree}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if made.returncode != 0 or "warning:" in made.stderr:
        raise AssertionError(f"no module for {kernel.release}, or not without warnings:\n{made.stdout}{made.stderr}")
    return folder / "kmod/firesteel.ko"


def _configure(tree: Path) -> None:
    wanted = tree / "firesteel.config"
    wanted.write_text(_CONFIG.read_text() + f'CONFIG_LOCALVERSION="{_LOCAL}"\n')
    _make(tree, f"KCONFIG_ALLCONFIG={wanted}", "allnoconfig")
    got = set((tree / ".config").read_text().splitlines())
    lost = [line for line in wanted.read_text().splitlines() if line.startswith("CONFIG_") and line not in got]
    if lost:
        raise Lacking(f"a kernel of these sources cannot have {', '.join(lost)}: see {_CONFIG.name}")


def _install(tree: Path, release: str, root: Path) -> None:
    """As Debian's packages have it. All that a machine needs is built in, so there is no module of its own."""
    modules = root / "usr/lib/modules" / release
    modules.mkdir(parents=True)
    shutil.copyfile(tree / "arch/x86/boot/bzImage", modules / "vmlinuz")
    (modules / "modules.dep").touch()


def _make(tree: Path, *arguments: str) -> str:
    return _run("make", "-C", str(tree), f"-j{os.cpu_count()}", *arguments)


def _run(*command: str) -> str:
    finished = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if finished.returncode != 0:
        raise Lacking(f"{' '.join(command[:4])} failed: {' | '.join(_errors(finished.stderr))}")
    return finished.stdout


def _errors(said: str) -> Iterator[str]:
    lines = [line for line in said.splitlines() if line.strip()]
    yield from [line for line in lines if re.search("error|Error", line)][:3] or lines[-3:]
