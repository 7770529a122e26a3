# SPDX-License-Identifier: Apache-2.0
"""Lines of the documents that want nothing but a clone are typed as they are written, but for ports and files. tests/command_runs.py
says which; those that ask an agent ask the bundled recording, served as an agent serves."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from collector.options import Exit
from tests.command_runs import Line, of_a_terminal, run_by
from tests.documents import ROOT, Block, Command, commands
from tests.servers import free_port, program

_HERE: Final = "tests/unit/test_docs_run.py"
_DEMO: Final = "tests/recordings/demo.fsrec"
# What a reader captured a moment ago.
_FILES: Final = {"/tmp/shop.pcap": "tests/recordings/captures/shop-lo-nano.pcap"}
_FIRESTEEL: Final = str(Path(sys.executable).parent / "firesteel")
LOOKS: Final = list(run_by(f"{_HERE}::test_what_only_looks_is_run"))
SERVED: Final = list(run_by(f"{_HERE}::test_what_is_served_is_served"))
MADE: Final = list(run_by(f"{_HERE}::test_make_would_do_it"))
# What `make --dry-run` prints of the line: the last that it would run.
WOULD: Final = {
    'make test TESTS=tests/unit ARGS="-k dns"': r"-m pytest --ignore=tests/vm .*--ignore=tests/deploy tests/unit -k dns$",
    "make test-unit test-replay test-live test-kernel": r"(?s)pytest tests/unit.*tests/replay.*tests/live.*pytest tests/kernel",
    "make bench": r"-m bench\s*$",
}


def command_of(line: Line) -> Command:
    """The one command of a line, without sudo."""
    (command,) = commands(Block(ROOT / line.place.partition(":")[0], 1, "sh", line.text + "\n"))
    return command


@contextmanager
def served(words: Sequence[str]) -> Iterator[tuple[int, int]]:
    """`firesteel` with these words and ports of its own, as soon as it answers: (metrics port, API port)."""
    metrics, api = free_port(), free_port()
    command = [
        _FIRESTEEL,
        *words,
        "--set",
        f"listen.metrics=127.0.0.1:{metrics}",
        "--set",
        f"listen.api=127.0.0.1:{api}",
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(api, "driver")
        yield metrics, api
    finally:
        process.terminate()
        assert process.wait(20) == Exit.DONE


def until(api: int, field: str, state: str = "") -> None:
    """Until the status has a field, with `state` in its `state`."""
    end = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{api}/api/v1/status", timeout=5) as answer:
                found = json.load(answer).get(field)
            if found and (not state or found["state"] == state):
                return
        except (OSError, ValueError):
            pass
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture(scope="module")
def ports() -> Iterator[tuple[int, int]]:
    with served(["replay", _DEMO, "--serve"]) as made:
        until(made[1], "engine", "finished")
        yield made


def test_there_is_something_to_run() -> None:
    assert {command_of(line).words[1] for line in LOOKS} >= {"status", "explain", "doctor", "replay", "-m"}
    assert {"--pace" in line.text for line in SERVED} == {True, False}
    assert {line.text for line in MADE} == WOULD.keys()


@pytest.mark.parametrize("line", LOOKS, ids=lambda line: line.text)
def test_what_only_looks_is_run(line: Line, ports: tuple[int, int]) -> None:
    words = [_FILES.get(word, word) for word in command_of(line).words]
    words[0] = _FIRESTEEL if words[0].endswith("firesteel") else sys.executable
    # No agent is running when a reader asks doctor, or it says so; the others ask the one that is shown.
    metrics, api = (free_port(), free_port()) if words[1] == "doctor" else ports
    settings = {"FIRESTEEL_LISTEN__API": f"127.0.0.1:{api}", "FIRESTEEL_LISTEN__METRICS": f"127.0.0.1:{metrics}"}
    done = subprocess.run(
        words, cwd=ROOT, env=os.environ | settings, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    # What is wrong with a recording, or with the machine that tests, is told as 1.
    allowed = {Exit.DONE, Exit.NOT_AS_WISHED} if words[1] in {"status", "doctor"} else {Exit.DONE}
    assert done.returncode in allowed, done.stdout + done.stderr
    assert done.stdout
    assert "in use, perhaps by a running agent" not in done.stdout


@pytest.mark.parametrize("line", SERVED, ids=lambda line: line.text)
def test_what_is_served_is_served(line: Line) -> None:
    words = [_FILES.get(word, word) for word in command_of(line).words[1:]]
    with served(words) as (metrics, api):
        for port, path in ((metrics, "/metrics"), (api, "/")):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
                assert answer.status == 200
                assert answer.read()


@pytest.mark.parametrize("line", MADE, ids=lambda line: line.text)
def test_make_would_do_it(line: Line) -> None:
    words = [program("make"), "--dry-run", "--no-print-directory", *command_of(line).words[1:]]
    done = subprocess.run(words, cwd=ROOT, env=of_a_terminal(), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    would = done.stdout.replace("\\\n", "")
    assert re.search(WOULD[line.text], would, re.MULTILINE), would[-500:]


def test_a_clone_is_made(tmp_path: Path) -> None:
    """Of this repository, which may be somebody else's than who tests."""
    (line,) = run_by(f"{_HERE}::test_a_clone_is_made")
    (tmp_path / "gitconfig").write_text("[safe]\n\tdirectory = *\n")
    done = subprocess.run(
        ["bash", "-c", line.text.replace("REPOSITORY", f"'{ROOT}'") + " && pwd"], cwd=tmp_path, text=True, check=False,
        env=os.environ | {"GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig")}, capture_output=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path}/firesteel\n"
    assert (tmp_path / "firesteel" / "Makefile").is_file()
