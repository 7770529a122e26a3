# SPDX-License-Identifier: Apache-2.0
"""The kernel module for a machine, built by scripts/recompile-module.sh as on a node: in the kernel's own distribution.

A kernel's headers bring programs along that want their release's C library, and the module its compiler. So the release's
gcc, make and what they stand on are unpacked into a folder of the cache beside the kernel's packages, and the script runs
in there (chroot in a mount namespace of its own). Nothing is installed on this machine.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from probes import module_file
from tests.vm import debug_kernel, kernels
from tests.vm.kernels import NEVER, Apt, Kernel, Lacking, Unpacked, alone, need, with_apt
from tests.vm.machine import EXCHANGE, ROOT, patient

SCRIPT = Path("scripts/recompile-module.sh")
_SECONDS = 900.0
_PROGRAMS = "make binutils bash dash coreutils sed grep mawk findutils diffutils tar xz-utils perl-base kmod openssl base-files libelf1"
_META = re.compile(r"linux-headers-(\d+\.\d+-)?(cloud-|rt-)?amd64$")
_HEADERS = re.compile(r"linux-(headers-\d+\.\d+\.\d+|kbuild-)")
_TREE, _MODULES = "firesteel", "var/lib/firesteel/modules"
_ENTER = """
set -e
root=$1 kernel=$2 tree=$3 modules=$4
shift 4
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --bind "$tree" "$root/firesteel"
mount --bind "$modules" "$root/var/lib/firesteel/modules"
mount --bind "$kernel/usr/src" "$root/usr/src"
mount --bind "$kernel/usr/lib/modules" "$root/lib/modules"
for kbuild in "$kernel"/usr/lib/linux-kbuild-*; do
    mount --bind "$kbuild" "$root/usr/lib/${kbuild##*/}"
done
cd "$root"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C chroot "$root" "$@"
"""


def built(name: str) -> Path:
    """firesteel.ko for the kernel of this name, of today's sources. Raises Lacking if it cannot be had here."""
    kernel = kernels.get(name)
    if name == kernels.DEBUG.name:
        return debug_kernel.module()
    finished = recompile(name, "--kernel", kernel.release)
    if finished.returncode != 0 or "the compiler warned" in finished.stderr:
        raise AssertionError(f"no module for {kernel.release}, or not without warnings:\n{finished.stderr}")
    (module,) = (_modules(name) / kernel.release).glob("*/firesteel.ko")
    return module


def handed_over(name: str, exchange: Path) -> str:
    """Puts the module into the exchange, and gives the line for the machine's shell after which an agent there finds it."""
    (exchange / "firesteel.ko").write_bytes(built(name).read_bytes())
    place = module_file.BUILT / kernels.get(name).release / str(module_file.CONTRACT)
    return f"mkdir -p {place} && cp {EXCHANGE}/firesteel.ko {place}/"


def recompile(name: str, *arguments: str, modules: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Runs the script in the kernel's distribution; what it builds goes to `modules`, or is kept for the next time."""
    return inside(name, ["bash", f"/{_TREE}/{SCRIPT}", *arguments], modules=modules)


def inside(name: str, command: Sequence[str], modules: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Runs a command in the kernel's distribution, this tree in /firesteel, `modules` in /var/lib/firesteel/modules."""
    _need_root()
    return _in_distribution(kernels.named(name), kernels.get(name), command, modules or _modules(name))


def _in_distribution(
    kernel: Kernel, unpacked: Unpacked, command: Sequence[str], target: Path
) -> "subprocess.CompletedProcess[str]":
    place = kernels.cache() / f"{kernel.name}.tools"
    with alone(place):
        root = _distribution(kernel, unpacked, place)
        target.mkdir(parents=True, exist_ok=True)
        arguments = [str(root), str(unpacked.root), str(ROOT), str(target), *command]
        return subprocess.run(
            [need("unshare", "util-linux"), "-m", "--propagation", "private", "sh", "-c", _ENTER, "sh", *arguments],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=patient(_SECONDS), check=False,
        )  # fmt: skip


def every_kernel(name: str, folder: Path) -> Iterator[tuple[str, "subprocess.CompletedProcess[str]"]]:
    """Compiles for each kernel that this one's Debian release can install, the newest of each series and flavour.

    Headers are unpacked into `folder`, modules left in `folder`/modules. A release, and how the script ended. What the
    release lists but its mirror no longer has cannot be installed: it is printed, and left out.
    """
    _need_root()
    kernel = kernels.named(name)
    apt = with_apt(kernel, folder / "apt", lambda apt: apt)
    listed = apt.run("apt-cache", "pkgnames", "linux-headers-").split()
    for meta in sorted(package for package in listed if _META.match(package)):
        try:
            packages = [package for package in apt.closure(meta) if _HEADERS.match(package)]
            apt.unpack(packages, folder / "root", folder / f"{meta}.packages")
        except Lacking as lacking:
            print(f"{meta} is not to be had: {lacking}", flush=True)
    for headers in sorted((folder / "root/usr/lib/modules").iterdir()):
        unpacked = Unpacked(name, headers.name, folder / "root")
        command = ["bash", f"/{_TREE}/{SCRIPT}", "--kernel", headers.name]
        yield headers.name, _in_distribution(kernel, unpacked, command, folder / "modules")


def fetch(name: str, ends: float = NEVER) -> str:
    """Has the kernel's compiler here, and answers which it is. Raises Lacking."""
    kernel, unpacked = kernels.named(name), kernels.get(name)
    place = kernels.cache() / f"{name}.tools"
    with alone(place):
        _distribution(kernel, unpacked, place, ends)
    return _compiler(unpacked)


def _need_root() -> None:
    if os.geteuid() != 0:
        raise Lacking("not root: building a module for another kernel takes chroot (sudo make test-vm)")


def _modules(name: str) -> Path:
    return kernels.cache() / f"{name}.modules"


def _distribution(kernel: Kernel, unpacked: Unpacked, place: Path, ends: float = NEVER) -> Path:
    """The folder with the compiler and its surroundings, fetched if it is not here."""
    root, compiler = place / "root", _compiler(unpacked)
    ready = place / "compiler"
    if not ready.exists() or ready.read_text() != compiler:
        fresh = place / "new"
        with_apt(kernel, fresh, lambda apt: _fetch(apt, compiler, fresh), ends)
        ready.unlink(missing_ok=True)
        shutil.rmtree(root, ignore_errors=True)
        (fresh / "root").rename(root)
        shutil.rmtree(fresh)
        ready.write_text(compiler)
    for folder in ("dev", "proc", "sys", "tmp", "lib/modules", "usr/src", _TREE, _MODULES):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for kbuild in (unpacked.root / "usr/lib").glob("linux-kbuild-*"):
        (root / "usr/lib" / kbuild.name).mkdir(exist_ok=True)
    return root


def _compiler(kernel: Unpacked) -> str:
    """gcc-12: what Debian built this kernel with."""
    config = kernel.root / "usr/src" / f"linux-headers-{kernel.release}" / ".config"
    found = re.search(r'^CONFIG_CC_VERSION_TEXT="(?:\S*-)?(gcc-\d+) ', config.read_text(), re.MULTILINE)
    if found is None:
        raise Lacking(f"no module for {kernel.release}: its configuration does not tell the compiler")
    return found[1]


def _fetch(apt: Apt, compiler: str, folder: Path) -> None:
    """Unpacks the compiler and what it depends on, as if nothing were installed."""
    packages, root = folder / "packages", folder / "root"
    packages.mkdir()
    root.mkdir()
    (folder / "status").touch()
    bare = ("-o", f"Dir::State::status={folder / 'status'}")
    wanted = (compiler, *_PROGRAMS.split())
    plan = apt.run("apt-get", *bare, "-s", "--no-install-recommends", "install", *wanted)
    names = re.findall(r"^Inst (\S+)", plan, re.MULTILINE)
    apt.run("apt-get", *bare, "download", "-q", *names, cwd=packages)
    # base-files brings the links /bin, /lib and /sbin of newer releases: first.
    for package in sorted(packages.iterdir(), key=lambda path: not path.name.startswith("base-files_")):
        apt.tool("dpkg", "-x", str(package), str(root))
    for link, target in (("sh", "dash"), ("awk", "mawk")):
        place = root / "usr/bin" / link
        if not place.exists() and not (root / "bin" / link).exists():
            place.symlink_to(target)
