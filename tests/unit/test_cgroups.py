# SPDX-License-Identifier: Apache-2.0
"""Paths of cgroups by their ids, of such as are gone by the time that somebody asks too."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from collector.metadata import cgroups
from collector.metadata.cgroups import WALK_PAUSE_S, Cgroups
from tests.receivers import until


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Cgroups]:
    (tmp_path / "system.slice").mkdir()
    made = Cgroups(tmp_path)
    made.start()
    until(lambda: made.path(tmp_path.stat().st_ino) == "/", 5)
    yield made
    made.stop()
    assert made.fault == ""


def made(directory: Path) -> int:
    directory.mkdir(parents=True)
    return directory.stat().st_ino


def has(cgroups: Cgroups, ino: int, path: str) -> bool:
    return cgroups.path(ino) == path


def is_unwatched(cgroups: Cgroups, directory: Path) -> bool:
    return directory not in cgroups._watch_of


def test_what_was_there_before_and_what_comes_is_known(watched: Cgroups, tmp_path: Path) -> None:
    assert watched.path((tmp_path / "system.slice").stat().st_ino) == "/system.slice"
    deep = made(tmp_path / "kubepods" / "pod1" / "c1")
    until(lambda: watched.path(deep) == "/kubepods/pod1/c1", 5)
    late = made(tmp_path / "kubepods" / "pod1" / "c2")
    until(lambda: watched.path(late) == "/kubepods/pod1/c2", 5)
    assert watched.id_of("/kubepods/pod1/c2") == late
    assert watched.id_of("/kubepods/pod2") is None


def test_what_was_there_for_a_moment_is_known_afterwards(watched: Cgroups, tmp_path: Path) -> None:
    made(tmp_path / "kubepods")
    for number in range(50):
        directory = tmp_path / "kubepods" / f"pod{number}"
        ino, shown = made(directory), f"/kubepods/pod{number}"
        until(partial(has, watched, ino, shown), 5)
        directory.rmdir()
        until(partial(is_unwatched, watched, directory), 5)
        assert watched.path(ino) == shown


def test_only_so_many_that_are_gone_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "GONE_LIMIT", 3)
    known = Cgroups(tmp_path, lambda: 0.0)
    known._paths = {number: f"/{number}" for number in range(1, 6)}
    for number in range(1, 6):
        known._went(number)
    assert known._paths == {3: "/3", 4: "/4", 5: "/5"}


def test_without_watches_a_pass_tells_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.setattr(cgroups, "WATCH_LIMIT", 2)
    now = 0.0
    known = Cgroups(tmp_path, lambda: now)
    known.start()
    until(lambda: bool(known.fault), 5)
    known.stop()
    assert known.fault == "cgroups cannot be watched: there are more than 2"
    assert (known.path(made(tmp_path / "c")), known.postponed) == ("/c", False)
    late = made(tmp_path / "d")
    assert (known.path(late), known.postponed) == (None, True)
    now = WALK_PAUSE_S[0]
    assert (known.path(late), known.postponed) == ("/d", False)
