# SPDX-License-Identifier: Apache-2.0
"""Commands in the documents that only look are run as they are written, against the bundled recording as an agent shows it."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from collector.options import Exit
from tests.command_rules import COMMANDS, named
from tests.documents import ROOT, Command
from tests.servers import free_port


@contextmanager
def shown() -> Iterator[tuple[int, int]]:
    """The bundled recording, served as an agent does: (metrics port, API port)."""
    metrics, api = free_port(), free_port()
    command = [str(Path(sys.executable).parent / "firesteel"), "replay", "tests/recordings/demo.fsrec", "--serve"]
    command += ["--set", f"listen.metrics=127.0.0.1:{metrics}", "--set", f"listen.api=127.0.0.1:{api}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{api}/api/v1/status", timeout=5) as answer:
                    if json.load(answer)["engine"]["state"] == "finished":
                        break
            except (OSError, ValueError):
                pass
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
        yield metrics, api
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def ports() -> Iterator[tuple[int, int]]:
    with shown() as made:
        yield made


def runnable(command: Command) -> bool:
    """Whether it only looks, and at nothing but this repository and an agent that shows itself on this machine."""
    words = command.words[1:]
    if command.program == "curl":
        return bool(re.search(r"(localhost|127\.0\.0\.1):950[01]/", command.line))
    if command.program == "firesteel":
        if words[:1] == ("replay",):
            return (ROOT / words[1]).is_file()
        return words[:1] in {("version",), ("status",), ("top",), ("explain",), ("doctor",)} and "--url" not in words
    return command.program == "make" and words in {(), ("help",)}


LOOKS: Final = [command for command in COMMANDS if runnable(command)]


def test_there_is_something_to_run() -> None:
    run = {command.program for command in LOOKS}
    assert run >= {"curl", "firesteel"}


@pytest.mark.parametrize("command", LOOKS, ids=named)
def test_what_only_looks_is_run(command: Command, ports: tuple[int, int]) -> None:
    """As it is written, but for the ports, and for `top` and what is served, which go on until somebody leaves them."""
    metrics, api = ports
    words = [re.sub(r":950([01])/", lambda found: f":{(metrics, api)[int(found[1])]}/", word) for word in command.words]
    if command.program == "curl":
        words += ["--fail", "--max-time", "20"]
    elif command.program == "firesteel":
        words[0] = str(Path(sys.executable).parent / "firesteel")
        words += ["--once"] if words[1] == "top" and "--once" not in words else []
        words = [word for word in words if word not in {"--serve", "--pace"}]
    settings = {"FIRESTEEL_LISTEN__API": f"127.0.0.1:{api}", "FIRESTEEL_LISTEN__METRICS": f"127.0.0.1:{metrics}"}
    done = subprocess.run(
        words, cwd=ROOT, env=os.environ | settings, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    # What is wrong with a recording, or with the machine that tests, is told as 1.
    allowed = {Exit.DONE, Exit.NOT_AS_WISHED} if words[1] in {"status", "doctor"} else {Exit.DONE}
    assert done.returncode in allowed, done.stdout + done.stderr
    assert done.stdout
