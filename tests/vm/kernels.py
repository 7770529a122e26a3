# SPDX-License-Identifier: Apache-2.0
"""Debian's kernels with their headers, for virtual machines: fetched once, with apt's own tools, into a cache folder.

The mirror is the one that this machine's apt sources name; the package lists and everything else apt writes are private
to the cache. A kernel's packages are unpacked over each other into one tree with merged /usr, which the machine lays over
the host's file system: so /lib/modules, /usr/src and /usr/lib/linux-kbuild-* are where the packages expect them.
"""

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers import MissingProgram

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_DEPENDENCY = re.compile(r"(?:^|, )(linux-(?:image|headers|kbuild|modules|binary|base)-[^ ,|]+)")
_PACKAGES = ("linux-image-{arch}", "linux-headers-{arch}")
_FETCH_SECONDS = 600.0


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
    for kernel in KERNELS:
        if kernel.name == name:
            return kernel
    raise ValueError(f"no kernel {name}: there are {', '.join(kernel.name for kernel in KERNELS)}")


def get(name: str) -> Unpacked:
    """The kernel, fetched if it is not here. Raises Lacking if it cannot be had."""
    kernel = named(name)
    place = cache() / name
    with alone(cache()):
        if not (place / "release").exists():
            _fetch(kernel, place)
    return Unpacked(name, (place / "release").read_text().strip(), place / "root")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Two sessions never fetch at once."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(kernel: Kernel, place: Path) -> None:
    fresh = place.with_name(place.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(place, ignore_errors=True)
    fresh.mkdir(parents=True)
    root = fresh / "root"
    need("apt-get", "apt")
    apt = Apt(kernel, fresh)
    apt.run("apt-get", "update", "-q")
    apt.unpack(apt.closure(), root, fresh / "packages")
    release = next((root / "usr/lib/modules").iterdir()).name
    _run([need("depmod", "kmod"), "-b", str(root / "usr"), release])
    for done in (fresh / "lists", fresh / "cache"):
        shutil.rmtree(done)
    (fresh / "release").write_text(release + "\n")
    fresh.rename(place)


def _merge(root: Path) -> None:
    """Moves /lib into /usr/lib, for as a layer over the host's tree it would hide the link that is there."""
    old = root / "lib"
    if old.is_dir() and not old.is_symlink():
        shutil.copytree(old, root / "usr/lib", symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(old)


class Apt:
    """apt's tools with lists of their own, in `folder`."""

    def __init__(self, kernel: Kernel, folder: Path) -> None:
        self._kernel = kernel
        for made in ("lists/partial", "cache/archives/partial"):
            (folder / made).mkdir(parents=True)
        sources = folder / "sources.list"
        sources.write_text("".join(f"{line}\n" for line in _sources(kernel)))
        options = {
            "Dir::Etc::sourcelist": sources,
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State::lists": folder / "lists",
            "Dir::Cache": folder / "cache",
            "Acquire::Languages": "none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
            "Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled": "false",
            "APT::Sandbox::User": "root",
        }
        self._options = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]

    def run(self, program: str, *arguments: str, cwd: Path | None = None) -> str:
        try:
            return _run([program, *self._options, *arguments], cwd)
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", "") or str(error)
            last = said.strip().splitlines()[-1] if said.strip() else type(error).__name__
            raise Lacking(f"no kernel {self._kernel.name} ({self._kernel.suite}): {last}") from None

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
            _run(["dpkg", "-x", str(package), str(root)])
        _merge(root)
        shutil.rmtree(scratch)


def _sources(kernel: Kernel) -> Iterator[str]:
    """Lines of a sources.list, from the mirrors that apt already uses for Debian."""
    if not _KEYRING.exists():
        raise Lacking("no Debian keyring: apt-get install debian-archive-keyring")
    form = "$(REPO_URI)|$(ORIGIN)|$(RELEASE)"
    rows = [line.split("|") for line in _run(["apt-get", "indextargets", "--format", form]).splitlines()]
    debian = {release.endswith("-security"): uri for uri, origin, release in rows if origin == "Debian"}
    if False not in debian:
        raise Lacking(f"no kernel {kernel.name}: this machine's apt sources name no mirror of Debian")
    yield f"deb [signed-by={_KEYRING}] {debian[False]} {kernel.suite} main"
    if kernel.security and True in debian:
        yield f"deb [signed-by={_KEYRING}] {debian[True]} {kernel.suite}-security main"


def _run(command: Sequence[str], cwd: Path | None = None) -> str:
    return subprocess.run(
        command, cwd=cwd, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=_FETCH_SECONDS
    ).stdout
