# SPDX-License-Identifier: Apache-2.0
"""The built kernel module: where it lies for a release, what it says of itself, loading and unloading it."""

import ctypes
import errno
import lzma
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from probes.driver import Rejection

NAME = "firesteel"
CONTRACT = 1
"""FS_CONTRACT_VERSION of include/event.h: a module of another one cannot be read."""

BUILT = Path("/var/lib/firesteel/modules")
"""Where scripts/recompile-module.sh leaves what it built: <release>/<contract>/firesteel.ko."""

IMAGE = Path("/usr/share/firesteel/modules")
"""The same of an image that `--image` made: not in BUILT, over which a pod has the node's folder mounted."""

DKMS = Path("/lib/modules")
TREE = Path(__file__).parent / "kmod"
RECOMPILE = "scripts/recompile-module.sh"

_SYSTEM = Path("/")
_CAP_SYS_MODULE = 16
_NONBLOCK = os.O_NONBLOCK
_CALLS = {"x86_64": (175, 176, 313), "aarch64": (105, 106, 273)}
"""init_module, delete_module, finit_module: the C library has no functions for all of them."""


@dataclass(frozen=True, slots=True)
class ModuleFile:
    """A module on disk. `release` and `version` are what its own .modinfo section says."""

    path: Path
    release: str
    version: str
    content: bytes


def find(release: str, built: Path = BUILT, image: Path = IMAGE, dkms: Path = DKMS, tree: Path = TREE) -> ModuleFile:
    """The module for a kernel release. Raises Rejection that names the places which were looked at."""
    unfit: list[str] = []
    for path in _places(release, built, image, dkms, tree):
        if not path.exists():
            continue
        try:
            found = _read(path)
        except (OSError, lzma.LZMAError, ValueError) as error:
            unfit.append(f"{path} cannot be read: {error}")
            continue
        if found.release != release:
            unfit.append(f"{path} is for {found.release}")
        elif fault := next((_exposed(path, root) for root in (built, image) if path.is_relative_to(root)), ""):
            unfit.append(f"{path} is not loaded: {fault}")
        else:
            return found
    place = built / release / str(CONTRACT)
    raise Rejection("; ".join([f"no module was built for Linux {release} (in {place})", *unfit]), f"sudo {RECOMPILE}")


def _places(release: str, built: Path, image: Path, dkms: Path, tree: Path) -> Iterator[Path]:
    for root in (built, image):
        yield root / release / str(CONTRACT) / f"{NAME}.ko"
    for folder in ("updates/dkms", "extra"):
        yield dkms / release / folder / f"{NAME}.ko"
        yield dkms / release / folder / f"{NAME}.ko.xz"
    yield tree / f"{NAME}.ko"


def _exposed(path: Path, root: Path) -> str:
    """Why a file that others than root may write is not to be put into the kernel; empty if only root may."""
    for part in (path, *path.parents):
        facts = part.stat()
        if facts.st_uid != 0:
            return f"{part} belongs to uid {facts.st_uid}, not to root"
        if facts.st_mode & 0o022:
            return f"others than root may write {part}: chmod go-w {part}"
        if part == root:
            break
    return ""


def _read(path: Path) -> ModuleFile:
    content = path.read_bytes()
    if path.suffix == ".xz":
        content = lzma.decompress(content)
    magic = _told(content, b"vermagic")
    if not content.startswith(b"\x7fELF") or not magic:
        raise ValueError("it is no kernel module")
    return ModuleFile(path, magic.split()[0], _told(content, b"version"), content)


def _told(content: bytes, name: bytes) -> str:
    """A value of .modinfo: strings that end with a zero byte."""
    found = re.search(rb"(?:^|\0)" + name + rb"=([^\0]*)\0", content)
    return found[1].decode(errors="replace") if found else ""


def loaded_version(system: Path = _SYSTEM) -> str | None:
    """None if no module of this name is in the kernel."""
    try:
        return (system / "sys/module" / NAME / "version").read_text().strip()
    except OSError:
        return "" if (system / "sys/module" / NAME / "refcnt").exists() else None


def load(module: ModuleFile, system: Path = _SYSTEM) -> None:
    """Raises Rejection."""
    init, _, finit = _numbers()
    libc = ctypes.CDLL(None, use_errno=True)
    if module.path.suffix == ".xz":
        result = libc.syscall(init, module.content, ctypes.c_ulong(len(module.content)), b"")
        number = ctypes.get_errno()
    else:
        with module.path.open("rb") as file:
            result = libc.syscall(finit, file.fileno(), b"", 0)
            number = ctypes.get_errno()
    if result != 0 and number != errno.EEXIST:
        reason, remedy = refusal(number, module, system)
        raise Rejection(reason, remedy)


def unload() -> str:
    """Takes the module out of the kernel. Empty, or why that cannot be (EAGAIN: somebody reads)."""
    _, delete, _ = _numbers()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(delete, NAME.encode(), _NONBLOCK) == 0:
        return ""
    number = ctypes.get_errno()
    if number == errno.ENOENT:
        return ""
    if number in {errno.EAGAIN, errno.EBUSY}:
        return "it is in use"
    return os.strerror(number)


def refusal(number: int, module: ModuleFile, system: Path = _SYSTEM) -> tuple[str, str]:
    """Reason and remedy for an error of init_module(2)."""
    sign = f"sudo {RECOMPILE} --sign KEY CERT, with a certificate that the kernel trusts (mokutil --import CERT)"
    if number == errno.EPERM:
        return _not_permitted(system, sign)
    if number in {errno.EKEYREJECTED, errno.ENOKEY, errno.EBADMSG}:
        return "the kernel loads only modules that are signed with a key it trusts", sign
    if number == errno.ENOEXEC:
        return (
            f"the kernel does not take {module.path}: it was built for another configuration or compiler",
            f"sudo {RECOMPILE} --force; dmesg names what differs",
        )
    if number == errno.ENOENT:
        return (
            "the kernel lacks functions that the module calls (dmesg names them; register_kretprobe: no kprobes)",
            "a kernel with CONFIG_KPROBES=y and CONFIG_TRACEPOINTS=y, or another driver",
        )
    if number == errno.ENOSYS:
        return "this kernel has no loadable modules", "a kernel with CONFIG_MODULES=y, or another driver"
    return f"the kernel refused {module.path}: {os.strerror(number)}", "dmesg says more"


def _not_permitted(system: Path, sign: str) -> tuple[str, str]:
    if _text(system / "proc/sys/kernel/modules_disabled") == "1":
        return (
            "loading modules was switched off until the next boot (kernel.modules_disabled)",
            "boot without kernel.modules_disabled=1, and load the module before it is set",
        )
    capabilities = re.search(r"^CapEff:\s*([0-9a-f]+)", _text(system / "proc/self/status"), re.MULTILINE)
    if capabilities and not int(capabilities[1], 16) & 1 << _CAP_SYS_MODULE:
        return (
            "this process may not load modules: CAP_SYS_MODULE is missing",
            "run as root, or with the capabilities of the kmod profile",
        )
    if re.search(r"\[(integrity|confidentiality)\]", _text(system / "sys/kernel/security/lockdown")):
        return "the kernel is locked down (Secure Boot): it loads signed modules only", sign
    return (
        "loading modules is not permitted here: seccomp or a security module forbids it",
        "firesteel doctor says more",
    )


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _numbers() -> tuple[int, int, int]:
    machine = platform.machine()
    if machine not in _CALLS:
        raise Rejection(f"there is no module for {machine}", "another driver")
    return _CALLS[machine]


def version_of(path: Path) -> str:
    """The version that a built module tells of itself. Raises OSError, or ValueError if it is none."""
    return _read(path).version
