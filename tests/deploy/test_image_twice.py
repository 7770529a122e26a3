# SPDX-License-Identifier: Apache-2.0
"""The small image's root, compiled twice from the same sources, in folders of different names: the same bytes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.agents import ROOT
from tests.deploy import dockerfile, trees

# Two builds: two or three minutes on two quiet processors.
pytestmark = pytest.mark.timeout(1500)
_EPOCH = "1700000000"


def step() -> str:
    """The Dockerfile's own line."""
    _, (build, *_) = dockerfile.stages((dockerfile.IMAGES / "Dockerfile").read_text())
    (line,) = [line for line in build.of("RUN") if "build.sh" in line]
    return line


def test_compiled_in_two_folders_it_is_the_same(tmp_path: Path) -> None:
    names, places = dockerfile.context(), [tmp_path / "one", tmp_path / "another" / "with" / "a" / "longer" / "name"]
    for place in places:
        dockerfile.hand_over(names, place / "src")
        with_our_environment(place / "src")
    for place in places:
        built(place)
    assert trees.differences(*(place / "image" for place in places)) == set()
    for place in places:
        subprocess.run(["rm", "-r", str(place)], check=True)


def with_our_environment(source: Path) -> None:
    """The packages of the lock file are the same bytes from wherever pip has them: both builds take those that are here."""
    (source / ".venv").symlink_to(sys.prefix)
    stamps = source / "build" / "stamps"
    stamps.mkdir(parents=True)
    (stamps / "python").write_bytes((ROOT / "build/stamps/python").read_bytes())
    (stamps / "venv-run").touch()
    # Or make would have setup.sh renew it.
    made_of = ("requirements.txt", "pyproject.toml", "scripts/setup.sh")
    assert max((source / name).stat().st_mtime for name in made_of) < (stamps / "venv-run").stat().st_mtime


def built(place: Path) -> None:
    line = step().replace(" /image", f" {place / 'image'}")
    environment = {
        name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    }
    ended = subprocess.run(
        ["sh", "-c", line], cwd=place / "src", env={**environment, "SOURCE_DATE_EPOCH": _EPOCH}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, f"{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"
