# SPDX-License-Identifier: Apache-2.0
"""Debian's kernels with their headers, for virtual machines: fetched once, with apt's own tools, into a cache folder.

The mirror is the one that this machine's apt sources name, or Debian's archive for what that no longer has; the package lists
and everything else apt writes are private to the cache. A kernel's packages are unpacked over each other into one tree with merged /usr, which the machine lays over
the host's file system: so /lib/modules, /usr/src and /usr/lib/linux-kbuild-* are where the packages expect them.
"""

import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.servers import MissingProgram

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_DEPENDENCY = re.compile(r"(?:^|, )(linux-(?:image|headers|kbuild|modules|binary|base)-[^ ,|]+)")
_PACKAGES = ("linux-image-{arch}", "linux-headers-{arch}")
_ARCHIVE = {False: "http://archive.debian.org/debian", True: "http://archive.debian.org/debian-security"}
"""By whether it is of security updates. Where a release goes when its mirrors drop it (https://www.debian.org/distrib/archive)."""
_FETCH_SECONDS = 600.0
_FRESH_SECONDS = 7 * 24 * 3600.0
NEVER = float("inf")
"""When a fetch without a limit must end; others are times of time.monotonic()."""
Made = TypeVar("Made")


class Lacking(MissingProgram):
    """A kernel or a program that cannot be had here: skips the test that wants it. The text says why."""

    def __init__(self, text: str) -> None:
        Exception.__init__(self, text)
        self.name = text


def need(program: str, package: str) -> str:
    """The path of a program, also from the folders of root's PATH. Raises Lacking."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
    found = shutil.which(program, path=path)
    if found is None:
        raise Lacking(f"no {program}: apt-get install {package}")
    return found


@dataclass(frozen=True, slots=True)
class Kernel:
    """`name` is how a test and a developer call it, `suite` the Debian release whose kernel it is."""

    name: str
    suite: str
    security: bool = True


KERNELS = (
    Kernel("5.10", "bullseye"),
    Kernel("6.1", "bookworm"),
    Kernel("6.12", "trixie"),
    Kernel("newest", "sid", security=False),
)
DEBUG = Kernel("debug", "bookworm")
"""Not fetched but built, see debug_kernel.py; tests that are to run in all kernels leave it out."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A kernel that is here: its `release` as uname tells it, and the tree of its packages."""

    name: str
    release: str
    root: Path

    @property
    def image(self) -> Path:
        """Debian keeps it beside the modules since 7.0, and in /boot before."""
        beside = self.modules / "vmlinuz"
        return beside if beside.exists() else self.root / "boot" / f"vmlinuz-{self.release}"

    @property
    def modules(self) -> Path:
        return self.root / "usr/lib/modules" / self.release


def cache() -> Path:
    """Where kernels lie: outside of the tree, and kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "firesteel" / "kernels"


def named(name: str) -> Kernel:
    """Raises ValueError with the names there are."""
    for kernel in (*KERNELS, DEBUG):
        if kernel.name == name:
            return kernel
    raise ValueError(f"no kernel {name}: there are {', '.join(kernel.name for kernel in KERNELS)}")


def get(name: str) -> Unpacked:
    """The kernel, fetched if it is not here, however old it is. Raises Lacking if it cannot be had."""
    kernel = named(name)
    with alone(cache()):
        if not _release(name).exists():
            if kernel is DEBUG:
                raise Lacking("no kernel debug: python -m tests.vm debug-kernel builds it, in half an hour")
            _fetch(kernel, NEVER)
    return _here(name)


def fresh(name: str, ends: float = NEVER) -> tuple[Unpacked, str]:
    """The kernel as its Debian release had it a week ago at most, and why it is older than that, or ''. Raises Lacking as get()."""
    kernel, why = named(name), ""
    with alone(cache()):
        try:
            if not _release(name).exists() or time.time() - _release(name).stat().st_mtime > _FRESH_SECONDS:
                _fetch(kernel, ends)
        except Lacking as lacking:
            if not _release(name).exists():
                raise
            why = str(lacking)
    return _here(name), why


def _release(name: str) -> Path:
    return cache() / name / "release"


def _here(name: str) -> Unpacked:
    return Unpacked(name, _release(name).read_text().strip(), cache() / name / "root")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Two sessions never fetch at once."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(kernel: Kernel, ends: float) -> None:
    """What is here stays until there is another."""
    place = cache() / kernel.name
    new, old = (place.with_name(f"{kernel.name}.{word}") for word in ("new", "old"))
    need("apt-get", "apt")
    with_apt(kernel, new, lambda apt: _unpack(apt, new), ends)
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def _unpack(apt: "Apt", folder: Path) -> None:
    root = folder / "root"
    apt.unpack(apt.closure(), root, folder / "packages")
    releases = [modules.name for modules in (root / "usr/lib/modules").glob("*")]
    if len(releases) != 1:
        raise Lacking(f"its packages have modules of {', '.join(releases) or 'no kernel'}")
    apt.tool(need("depmod", "kmod"), "-b", str(root / "usr"), releases[0])
    for done in (folder / "lists", folder / "cache"):
        shutil.rmtree(done)
    (folder / "release").write_text(releases[0] + "\n")


def with_apt(kernel: Kernel, folder: Path, work: Callable[["Apt"], Made], ends: float = NEVER) -> Made:
    """What `work` makes with the first mirror that has all it asks for. Each attempt begins with `folder` empty. Raises Lacking."""
    reasons = []
    for mirror, lines in _sources(kernel):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            apt = Apt(folder, lines, ends)
            apt.run("apt-get", "update", "-q")
            return work(apt)
        except Lacking as lacking:
            reasons.append(f"{mirror}: {lacking}")
    shutil.rmtree(folder, ignore_errors=True)
    raise Lacking(f"no kernel {kernel.name} ({kernel.suite}): {'; '.join(reasons)}")


def _merge(root: Path) -> None:
    """Moves /lib into /usr/lib, for as a layer over the host's tree it would hide the link that is there."""
    old = root / "lib"
    if old.is_dir() and not old.is_symlink():
        shutil.copytree(old, root / "usr/lib", symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(old)


class Apt:
    """apt's tools with lists of their own, in `folder`. All of them raise Lacking, also when they are not done when time `ends`."""

    def __init__(self, folder: Path, lines: Sequence[str], ends: float = NEVER) -> None:
        self._ends = ends
        for made in ("lists/partial", "cache/archives/partial"):
            (folder / made).mkdir(parents=True)
        sources = folder / "sources.list"
        sources.write_text("".join(f"{line}\n" for line in lines))
        options = {
            "Dir::Etc::sourcelist": sources,
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State::lists": folder / "lists",
            "Dir::Cache": folder / "cache",
            "Acquire::Languages": "none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
            "Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled": "false",
            # A mirror that does not answer is no reason to wait, and one that answers half of it has not answered.
            "Acquire::http::Timeout": "20",
            "Acquire::Retries": "1",
            "APT::Update::Error-Mode": "any",
            "APT::Sandbox::User": "root",
        }
        self._options = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]

    def run(self, program: str, *arguments: str, cwd: Path | None = None) -> str:
        return self.tool(program, *self._options, *arguments, cwd=cwd)

    def tool(self, *command: str, cwd: Path | None = None) -> str:
        """Any other program, in the same time."""
        return _run(command, cwd, self._ends)

    def closure(self, *wanted: str) -> Sequence[str]:
        """The kernel's own packages that these lead to; none named: image and headers."""
        arch = _run(["dpkg", "--print-architecture"]).strip()
        found = list(wanted) or [package.format(arch=arch) for package in _PACKAGES]
        looked = 0
        while looked < len(found):
            shown = self.run("apt-cache", "show", "--no-all-versions", *found[looked:])
            looked = len(found)
            for line in shown.splitlines():
                if line.startswith("Depends: "):
                    found += [name for name in dict.fromkeys(_DEPENDENCY.findall(line[9:])) if name not in found]
        return found

    def unpack(self, packages: Sequence[str], root: Path, scratch: Path) -> None:
        """Downloads them and lays them over each other in `root`, with merged /usr. `scratch` is used up."""
        scratch.mkdir(parents=True)
        root.mkdir(exist_ok=True)
        self.run("apt-get", "download", "-q", *packages, cwd=scratch)
        for package in sorted(scratch.iterdir()):
            self.tool("dpkg", "-x", str(package), str(root))
        _merge(root)
        shutil.rmtree(scratch)


def _sources(kernel: Kernel) -> Iterator[tuple[str, Sequence[str]]]:
    """Names of mirrors and lines of a sources.list: what apt already uses for Debian, its archive, and no security updates."""
    debian = _mirrors()
    # What lies in the archive is never signed again.
    mirrors = {"apt's mirror": (debian, ""), "Debian's archive": (_ARCHIVE, " check-valid-until=no")}
    if not kernel.security:
        del mirrors["Debian's archive"]  # what has no security updates is not released, and never archived
    for security in sorted({kernel.security, False}, reverse=True):
        for mirror, (uris, option) in mirrors.items():
            deb = f"deb [signed-by={_KEYRING}{option}]"
            lines = [f"{deb} {uris[False]} {kernel.suite} main"]
            if security and True in uris:
                lines.append(f"{deb} {uris[True]} {kernel.suite}-security main")
            yield mirror if security == kernel.security else f"{mirror} without security updates", lines


def line_of(suite: str) -> str:
    """The line of a sources.list for a suite of Debian, from the mirror that apt already uses. Raises Lacking."""
    return f"deb [signed-by={_KEYRING}] {_mirrors()[False]} {suite} main"


def _mirrors() -> dict[bool, str]:
    """Of Debian, by whether it is of security updates. The first one is always there. Raises Lacking."""
    if not _KEYRING.exists():
        raise Lacking("no Debian keyring: apt-get install debian-archive-keyring")
    form = "$(REPO_URI)|$(ORIGIN)|$(RELEASE)"
    rows = [line.split("|") for line in _run(["apt-get", "indextargets", "--format", form]).splitlines()]
    debian = {release.endswith("-security"): uri for uri, origin, release in rows if origin == "Debian"}
    if False not in debian:
        raise Lacking("this machine's apt sources name no mirror of Debian")
    return debian


def _run(command: Sequence[str], cwd: Path | None = None, ends: float = NEVER) -> str:
    """What the program writes. Raises Lacking with the first error that it tells of."""
    seconds = min(_FETCH_SECONDS, ends - time.monotonic())
    if seconds <= 0:
        raise Lacking("no time was left")
    try:
        return subprocess.run(
            command, cwd=cwd, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=seconds
        ).stdout
    except subprocess.TimeoutExpired:
        raise Lacking(f"{command[0]} took longer than {seconds:.0f} s") from None
    except (OSError, subprocess.SubprocessError) as error:
        said = [line.strip() for line in (getattr(error, "stderr", "") or str(error)).splitlines() if line.strip()]
        errors = [line for line in said if line.startswith("E: ")] or said[-1:] or [type(error).__name__]
        raise Lacking(f"{command[0]}: {errors[0]}") from None
