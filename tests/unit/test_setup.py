# SPDX-License-Identifier: Apache-2.0
"""scripts/setup.sh on a system whose Python is too old, or that has none: what it says to do is what helps."""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What the script itself calls until it has looked for Python.
_PROGRAMS = ("bash", "dirname", "sort", "tr", "id", "cat", "mkdir")


def told(folder: Path, *, python: str = "") -> subprocess.CompletedProcess[str]:
    """`setup.sh packages run` where /usr/bin/python3 is one of the version `python`, or is not there; no other Python is."""
    (folder / "scripts").mkdir()
    (folder / "bin").mkdir()
    for name in _PROGRAMS:
        found = shutil.which(name)
        assert found is not None
        (folder / "bin" / name).symlink_to(found)
    system = folder / "python3"
    if python:
        system.write_text(f"#!/bin/sh\n[ \"$1\" != --version ] || {{ echo 'Python {python}'; exit 0; }}\nexit 1\n")
        system.chmod(0o755)
    text = (ROOT / "scripts" / "setup.sh").read_text(encoding="utf-8").replace("/usr/bin/python3", str(system))
    # Nothing is installed: there is no apt-get here.
    script = folder / "scripts" / "setup.sh"
    script.write_text(text.replace('PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" ', ""))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON"}
    return subprocess.run(
        [shutil.which("bash") or "bash", str(script), "packages", "run"], env=environment | {"PATH": str(folder / "bin")},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_a_python_that_is_too_old_is_named_and_not_installed_again(tmp_path: Path) -> None:
    done = told(tmp_path, python="3.9.2")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "firesteel: Python 3.9.2 is this system's, and 3.11 or later is needed: Debian 12 and Ubuntu 24.04"
    )
    assert "missing" not in done.stderr


def test_where_there_is_none_it_is_a_package(tmp_path: Path) -> None:
    done = told(tmp_path)
    assert done.returncode == 1
    assert " python3 python3-venv python3-dev " in f" {done.stderr.splitlines()[0]} "
