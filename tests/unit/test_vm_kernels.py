# SPDX-License-Identifier: Apache-2.0
"""Kernels of virtual machines: where they are fetched, when anew, and what is said where they cannot be had. apt is not asked."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.vm import kernels
from tests.vm.kernels import Lacking

MIRROR, SECURITY = "http://mirror.test/debian", "http://mirror.test/debian-security"
ARCHIVE, ARCHIVED_SECURITY = "http://archive.debian.org/debian", "http://archive.debian.org/debian-security"
DAY = 24 * 3600.0


class Debian:
    """What apt and dpkg do where a mirror has a `release` of the kernel, unless it is `gone`."""

    def __init__(self) -> None:
        self.gone: set[str] = set()
        self.release = "5.10.0-1-amd64"
        self.fetched: list[list[str]] = []

    def run(self, command: Sequence[str], cwd: Path | None = None, ends: float = kernels.NEVER) -> str:
        del ends
        options = dict(part.partition("=")[::2] for part in command if "::" in part)
        words = [word for word in command if word != "-o" and "::" not in word]
        if words[:2] == ["apt-get", "indextargets"]:
            return f"{MIRROR}|Debian|trixie\n{SECURITY}|Debian|trixie-security\nhttp://other.test|Other|stable\n"
        if "update" in words:
            lines = Path(options["Dir::Etc::sourcelist"]).read_text().splitlines()
            uris = [line.rpartition("] ")[2].split()[0] for line in lines]
            if missing := [uri for uri in uris if uri in self.gone]:
                raise Lacking(f"no Release in {missing[0]}")
            self.fetched.append(uris)
        if words[:2] == ["apt-cache", "show"]:
            return f"Depends: linux-image-{self.release} (= 1)\n" if "linux-image-amd64" in words else ""
        if "download" in words:
            assert cwd
            (cwd / "package.deb").touch()
        if words[0] == "dpkg" and "-x" in words:
            (Path(words[-1]) / "lib/modules" / self.release).mkdir(parents=True)
        return "amd64\n" if "--print-architecture" in words else ""


@pytest.fixture
def debian(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Debian:
    made = Debian()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kernels, "_run", made.run)
    monkeypatch.setattr(kernels, "_KEYRING", tmp_path)
    monkeypatch.setattr(kernels, "need", lambda program, _: program)
    return made


def aged(name: str, days: float) -> None:
    then = time.time() - days * DAY
    os.utime(kernels.cache() / name / "release", (then, then))


@pytest.mark.parametrize(
    ("gone", "taken"),
    [
        ((), [MIRROR, SECURITY]),
        ((SECURITY,), [ARCHIVE, ARCHIVED_SECURITY]),
        ((MIRROR, SECURITY), [ARCHIVE, ARCHIVED_SECURITY]),
        ((SECURITY, ARCHIVE, ARCHIVED_SECURITY), [MIRROR]),
        ((MIRROR, SECURITY, ARCHIVED_SECURITY), [ARCHIVE]),
    ],
)
def test_the_archive_has_what_the_mirror_dropped(debian: Debian, gone: Sequence[str], taken: list[str]) -> None:
    debian.gone |= set(gone)
    unpacked, why = kernels.fresh("5.10")
    assert (unpacked.release, why, debian.fetched) == (debian.release, "", [taken])
    assert sorted(path.name for path in kernels.cache().iterdir()) == ["5.10", "lock"]


def test_what_was_never_released_is_in_no_archive(debian: Debian) -> None:
    debian.gone.add(MIRROR)
    with pytest.raises(Lacking, match=rf"^no kernel newest \(sid\): apt's mirror: no Release in {MIRROR}$"):
        kernels.fresh("newest")
    assert debian.fetched == []
    assert [path.name for path in kernels.cache().iterdir()] == ["lock"]


def test_it_is_fetched_anew_after_a_week(debian: Debian) -> None:
    old = debian.release
    assert kernels.get("newest").release == old
    debian.release = "7.3.1-amd64"
    aged("newest", 6.9)
    assert kernels.fresh("newest")[0].release == old
    aged("newest", 7.1)
    assert kernels.get("newest").release == old
    unpacked, _ = kernels.fresh("newest")
    assert (unpacked.release, unpacked.modules.is_dir()) == ("7.3.1-amd64", True)
    assert len(debian.fetched) == 2


def test_an_old_one_stays_where_there_is_no_other(debian: Debian) -> None:
    kernels.get("5.10")
    aged("5.10", 30)
    debian.gone |= {MIRROR, ARCHIVE}
    unpacked, why = kernels.fresh("5.10")
    assert (unpacked.release, unpacked.modules.is_dir()) == (debian.release, True)
    assert f"apt's mirror: no Release in {MIRROR}; Debian's archive: no Release in {ARCHIVE};" in why


def test_what_a_program_complained_of_is_the_reason() -> None:
    fails = "import sys; sys.exit('W: slow\\nE: no such release\\nE: all in all')"
    with pytest.raises(Lacking, match=r": E: no such release$"):
        kernels._run([sys.executable, "-c", fails])
    with pytest.raises(Lacking, match=r"No such file or directory"):
        kernels._run(["firesteel-is-no-program"])


def test_no_fetch_takes_longer_than_it_may() -> None:
    with pytest.raises(Lacking, match="no time was left"):
        kernels._run(["true"], None, time.monotonic())
    with pytest.raises(Lacking, match="took longer than 0 s"):
        kernels._run([sys.executable, "-c", "import time; time.sleep(60)"], None, time.monotonic() + 0.4)
