# SPDX-License-Identifier: Apache-2.0
"""What a test session says at its end about what could not run, and that CI cannot pass with a part left out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
SKIPPING = """
import pytest
from tests.servers import MissingProgram

def test_runs():
    pass

def test_lacks_a_program():
    raise MissingProgram("wrk")

@pytest.fixture
def server():
    raise MissingProgram("wrk")

def test_lacks_it_in_a_fixture(server):
    pass
"""


def session(folder: Path, required: str) -> subprocess.CompletedProcess[str]:
    """Runs our conftest over a small tree of its own, with one whole group and one that skips twice."""
    for name in ("__init__.py", "conftest.py", "servers.py"):
        (folder / "tests").mkdir(exist_ok=True)
        shutil.copy(TESTS / name, folder / "tests" / name)
    for group, text in (("unit", "def test_runs():\n    pass\n"), ("live", SKIPPING)):
        (folder / "tests" / group).mkdir(exist_ok=True)
        (folder / "tests" / group / f"test_{group}.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\npythonpath = .\naddopts = --import-mode=importlib\n")
    environment = {**os.environ, "FIRESTEEL_REQUIRED_GROUPS": required}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_skips_are_one_line_per_missing_part(tmp_path: Path) -> None:
    done = session(tmp_path, "")
    assert done.returncode == 0, done.stdout
    assert "2 skipped: no wrk: apt-get install wrk" in done.stdout.splitlines()
    assert "live 1, unit 1" in done.stdout.splitlines()


def test_a_group_without_skips_may_be_required(tmp_path: Path) -> None:
    assert session(tmp_path, "unit").returncode == 0


def test_what_is_optional_is_told_and_fails_no_session(tmp_path: Path) -> None:
    (tmp_path / "tests" / "unit").mkdir(parents=True)
    optional = "import pytest\n\ndef test_extra():\n    pytest.skip('optional: no collector: make otelcol')\n"
    (tmp_path / "tests" / "unit" / "test_extra.py").write_text(optional)
    done = session(tmp_path, "unit")
    assert done.returncode == 0, done.stdout
    assert "1 skipped: optional: no collector: make otelcol" in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("required", "told"),
    [
        ("unit,live", "skipped in required group 'live': tests/live/test_live.py::test_lacks_a_program (no wrk"),
        ("unit,kernel", "required group 'kernel' ran no test"),
    ],
)
def test_a_required_group_left_out_fails_the_session(tmp_path: Path, required: str, told: str) -> None:
    done = session(tmp_path, required)
    assert done.returncode == 1, done.stdout
    assert told in done.stdout
