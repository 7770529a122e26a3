# SPDX-License-Identifier: Apache-2.0
"""What dkms built lies where an agent's pod looks (probes/kmod/dkms-modules.sh), with a tree of links as dkms 3.0 makes it."""

import gzip
import lzma
import shutil
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from probes import module_file
from tests.servers import MissingProgram

KMOD = Path(__file__).resolve().parent.parent.parent / "probes" / "kmod"
VERSION, ARCH = "0.1.0", "x86_64"
OLD, NEW = "4.4.0-a", "4.4.0-b"
# dkms' read_conf and run_build_script: the file is sourced, the folder is that of the sources, words are split at blanks.
_HOOK = """
dkms_tree=$1 kernelver=$3
. "$dkms_tree/firesteel/$4/source/dkms.conf"
cd "$dkms_tree/firesteel/$4/source"
run="$dkms_tree/firesteel/$4/source/${!2}"
[ -x "${run%% *}" ] && exec $run
"""


@dataclass
class Dkms:
    """`root` has dkms' tree and is the node."""

    root: Path

    @property
    def tree(self) -> Path:
        return self.root / "dkms"

    @property
    def modules(self) -> Path:
        return self.root / "var/lib/firesteel/modules"

    def has_sources(self, version: str = VERSION) -> None:
        source = self.root / f"usr/src/firesteel-{version}"
        (source / "include").mkdir(parents=True)
        for path in (KMOD / "dkms.conf", *KMOD.glob("*.sh")):
            shutil.copy(path, source)
        shutil.copy(KMOD.parent / "include/event.h", source / "include")
        (self.tree / "firesteel" / version).mkdir(parents=True)
        (self.tree / "firesteel" / version / "source").symlink_to(source)

    def install(
        self, release: str, suffix: str = "", pack: Callable[[bytes], bytes] = bytes, version: str = VERSION
    ) -> str:
        """What dkms says of its script; empty if all is well."""
        folder = self.tree / "firesteel" / version / release / ARCH / "module"
        folder.mkdir(parents=True)
        (folder / f"firesteel.ko{suffix}").write_bytes(pack(_module(release)))
        (self.tree / "firesteel" / f"kernel-{release}-{ARCH}").symlink_to(f"{version}/{release}/{ARCH}")
        return self._hook("POST_INSTALL", release, version)

    def remove(self, *releases: str) -> None:
        """Of several kernels dkms names the first one each time, for it has read dkms.conf for that."""
        for release in releases:
            (self.tree / "firesteel" / f"kernel-{release}-{ARCH}").unlink()
            assert self._hook("POST_REMOVE", releases[0]) == ""

    def _hook(self, name: str, release: str, version: str = VERSION) -> str:
        finished = subprocess.run(
            ["bash", "-c", _HOOK, "dkms", str(self.tree), name, release, version],
            env={"PATH": "/usr/bin:/bin", "FIRESTEEL_NODE_ROOT": str(self.root)},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert finished.stdout == ""
        assert (finished.returncode == 0) == (finished.stderr == ""), finished
        return finished.stderr

    def copies(self) -> dict[str, bytes]:
        return {path.parent.parent.name: path.read_bytes() for path in self.modules.glob("*/1/firesteel.ko")}


def _module(release: str) -> bytes:
    return b"\x7fELF...\0version=0.1.0\0vermagic=" + release.encode() + b" SMP mod_unload \0"


def _zstd(content: bytes) -> bytes:
    if shutil.which("zstd") is None:
        raise MissingProgram("zstd")
    return subprocess.run(["zstd", "-qc"], input=content, stdout=subprocess.PIPE, check=True).stdout


@pytest.fixture
def dkms(tmp_path: Path) -> Dkms:
    made = Dkms(tmp_path)
    made.has_sources()
    return made


@pytest.mark.parametrize(
    ("suffix", "pack"), [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress), (".zst", _zstd)]
)
def test_what_dkms_installs_is_where_the_pod_looks(
    dkms: Dkms, suffix: str, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dkms.install(OLD, suffix, pack) == ""
    monkeypatch.setattr(module_file, "_exposed", lambda *_: "")  # as if all belonged to root
    found = module_file.find(OLD, built=dkms.modules)
    assert found.path == dkms.modules / OLD / "1/firesteel.ko"
    assert found.content == _module(OLD)
    assert stat.S_IMODE(found.path.stat().st_mode) == 0o644
    assert {stat.S_IMODE(path.stat().st_mode) for path in (dkms.modules, *dkms.modules.glob("**/"))} == {0o755}
    assert {path.name for path in found.path.parent.iterdir()} == {"firesteel.ko", "built-from"}


def test_each_kernel_has_its_own_until_dkms_removes_it(dkms: Dkms) -> None:
    dkms.install(OLD)
    dkms.install(NEW)
    assert dkms.copies() == {OLD: _module(OLD), NEW: _module(NEW)}
    dkms.remove(OLD)
    assert dkms.copies() == {NEW: _module(NEW)}
    dkms.install("4.4.0-c")
    dkms.remove(NEW, "4.4.0-c")
    assert not dkms.modules.parent.exists()


def test_a_release_is_not_one_whose_name_it_begins(dkms: Dkms) -> None:
    dkms.install("6.1.0")
    dkms.install("6.1.0-13-amd64")
    dkms.remove("6.1.0")
    assert dkms.copies() == {"6.1.0-13-amd64": _module("6.1.0-13-amd64")}


def test_what_uninstall_took_does_not_come_back_by_a_removal(dkms: Dkms) -> None:
    dkms.install(OLD)
    dkms.install(NEW)
    shutil.rmtree(dkms.modules.parent)
    dkms.remove(OLD)
    assert not dkms.modules.parent.exists()


def test_what_the_script_built_stays(dkms: Dkms) -> None:
    """It may have another signature, and dkms' removal of older sources comes after it was built."""
    folder = dkms.modules / OLD / "1"
    folder.mkdir(parents=True)
    (folder / "firesteel.ko").write_bytes(b"signed")
    (folder / "built-from").write_text(f"release {OLD}\ncompiler gcc-5\n")
    dkms.install(OLD)
    assert dkms.copies() == {OLD: b"signed"}
    dkms.remove(OLD)
    assert dkms.copies() == {OLD: b"signed"}


def test_what_cannot_be_unpacked_leaves_the_last_copy(dkms: Dkms) -> None:
    dkms.install(OLD)
    told = dkms.install(NEW, ".xz")  # not packed at all
    assert "4.4.0-b/x86_64/module/firesteel.ko.xz cannot be unpacked: no copy in" in told
    assert dkms.copies() == {OLD: _module(OLD)}


def test_sources_that_are_gone_cost_no_other_kernel_its_copy(dkms: Dkms) -> None:
    dkms.install(OLD)
    dkms.has_sources("0.2.0")
    shutil.rmtree(dkms.root / f"usr/src/firesteel-{VERSION}")
    told = dkms.install(NEW, version="0.2.0")
    assert told.endswith(f"{VERSION}/source/include/event.h tells no contract: no copy for {OLD}\n")
    assert dkms.copies() == {OLD: _module(OLD), NEW: _module(NEW)}


def test_what_cannot_be_unpacked_costs_no_other_kernel_its_copy(dkms: Dkms) -> None:
    dkms.install(OLD, ".xz")  # not packed at all
    assert f"{OLD}/{ARCH}/module/firesteel.ko.xz cannot be unpacked" in dkms.install(NEW)
    assert dkms.copies() == {NEW: _module(NEW)}
    assert [path.name for path in dkms.modules.iterdir()] == [NEW]
