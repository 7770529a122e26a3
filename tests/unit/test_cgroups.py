# SPDX-License-Identifier: Apache-2.0
"""Paths of cgroups by their ids, of such as are gone by the time that somebody asks too."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from inotify_simple import Event, INotify, flags

from collector.metadata import cgroups
from collector.metadata.cgroups import WALK_PAUSE_S, Cgroups
from tests.receivers import until


def made(directory: Path) -> int:
    directory.mkdir(parents=True)
    return directory.stat().st_ino


def without_passes(root: Path) -> Cgroups:
    """Its clock stands still, and the one pass that is due is used up."""
    known = Cgroups(root, lambda: 0.0)
    assert (known.path(1), known.postponed) == (None, False)
    return known


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[Cgroups]:
    (tmp_path / "system.slice").mkdir()
    known = without_passes(tmp_path)
    known.start()
    until(lambda: len(known._tree.directories) == 2, 5)
    yield known
    known.stop()
    assert (known.fault, known._tree.directories) == ("", {})


def tells(known: Cgroups, ino: int, path: str) -> Callable[[], bool]:
    return lambda: known.path(ino) == path


def watches(known: Cgroups, *directories: Path) -> Callable[[], bool]:
    return lambda: set(known._tree.directories.values()) == set(map(str, directories))


def test_what_was_there_before_and_what_comes_is_known(watching: Cgroups, tmp_path: Path) -> None:
    assert watching.path((tmp_path / "system.slice").stat().st_ino) == "/system.slice"
    deep = made(tmp_path / "kubepods" / "pod1" / "c1")
    until(tells(watching, deep, "/kubepods/pod1/c1"), 5)
    late = made(tmp_path / "kubepods" / "pod1" / "c2")
    until(tells(watching, late, "/kubepods/pod1/c2"), 5)
    assert watching.id_of("/kubepods/pod1/c2") == late
    assert watching.id_of("/kubepods/pod2") is None


def test_what_was_there_for_a_moment_is_known_afterwards(watching: Cgroups, tmp_path: Path) -> None:
    pods = tmp_path / "kubepods"
    pods.mkdir()
    for number in range(20):
        ino, shown = made(pods / f"pod{number}"), f"/kubepods/pod{number}"
        until(tells(watching, ino, shown), 5)
        (pods / f"pod{number}").rmdir()
        until(watches(watching, tmp_path, tmp_path / "system.slice", pods), 5)
        assert watching.path(ino) == shown
        assert ino in watching._gone


def test_one_that_is_made_again_under_its_name_is_watched(watching: Cgroups, tmp_path: Path) -> None:
    pod = tmp_path / "pod"
    for _ in range(20):
        made(pod)
        pod.rmdir()
    again = made(pod)
    until(tells(watching, again, "/pod"), 5)
    until(lambda: again in watching._tree.by_ino and again not in watching._gone, 5)
    inner = made(pod / "inner")
    until(tells(watching, inner, "/pod/inner"), 5)


def test_lost_events_are_made_up_for(watching: Cgroups, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue ran over: what ended is not watched any more, and what came is."""
    real, lose = INotify.read, True

    def read(self: INotify, timeout: float | None = None, read_delay: float | None = None) -> list[Event]:
        events = real(self, timeout, read_delay)
        return [Event(-1, flags.Q_OVERFLOW, 0, "")] if lose and events else events

    monkeypatch.setattr(INotify, "read", read)
    ended = (tmp_path / "system.slice").stat().st_ino
    came = made(tmp_path / "kubepods")
    (tmp_path / "system.slice").rmdir()
    until(tells(watching, came, "/kubepods"), 5)
    until(watches(watching, tmp_path, tmp_path / "kubepods"), 5)
    assert ended in watching._gone
    lose = False
    late = made(tmp_path / "kubepods" / "pod1")
    until(tells(watching, late, "/kubepods/pod1"), 5)


def test_only_so_many_that_are_gone_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "GONE_LIMIT", 3)
    known = Cgroups(tmp_path)
    for number in range(1, 6):
        known._saw(number, f"{tmp_path}/{number}")
        known._went(number)
    known._saw(3, f"{tmp_path}/3")
    known._went(3)
    known._went(6)
    assert (known._paths, list(known._gone)) == ({5: "/5", 3: "/3"}, [5, 3, 6])


def test_what_no_watch_is_left_for_a_pass_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(cgroups, "WATCH_LIMIT", 2)
    now = 0.0
    known = Cgroups(tmp_path, lambda: now)
    known.start()
    until(lambda: bool(known.fault), 5)
    assert (known.fault, len(known._tree.directories)) == ("only 2 may be watched", 2)
    known.stop()
    assert (known.path(made(tmp_path / "c")), known.postponed) == ("/c", False)
    late = made(tmp_path / "d")
    assert (known.path(late), known.postponed) == (None, True)
    now = WALK_PAUSE_S[0]
    assert (known.path(late), known.postponed) == ("/d", False)
    assert late not in known._paths  # nobody will say when it ends: only the last pass has it


def test_what_cannot_be_read_hides_nothing_else(tmp_path: Path) -> None:
    """A path that is longer than the kernel takes, which anybody can make who has a cgroup of his own."""
    at = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("x" * 240, dir_fd=at)
        inner = os.open("x" * 240, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)
    known = Cgroups(tmp_path)
    known.start()
    ino = made(tmp_path / "kubepods")
    until(tells(known, ino, "/kubepods"), 5)
    assert known.path(1) is None
    known.stop()
    assert known.fault == ""


def test_a_hierarchy_that_is_not_there_is_told(tmp_path: Path) -> None:
    known = Cgroups(tmp_path / "none")
    known.start()
    until(lambda: bool(known.fault), 5)
    known.stop()
    assert "No such file or directory" in known.fault
    assert known.path(1) is None
