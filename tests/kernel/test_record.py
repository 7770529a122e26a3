# SPDX-License-Identifier: Apache-2.0
"""`firesteel record -`, which is how a recording leaves a pod: replay takes what came through the pipe, and has all of it."""

import json
import os
import signal
import subprocess
from pathlib import Path

from tests import clients, servers
from tests.agents import FIRESTEEL

_REQUESTS = 20
_HEAD = 104


def test_what_comes_out_of_standard_output_is_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "a.fsrec"
    # A pipe, as kubectl's.
    with servers.nginx() as web, path.open("wb") as out, _recording("8s") as recording:
        assert recording.stdout is not None
        assert recording.stderr is not None
        out.write(recording.stdout.read(_HEAD + 1))  # events come: it watches
        for _ in range(_REQUESTS):
            clients.curl(web, "/missing")
        out.write(recording.stdout.read())
        told = recording.stderr.read().decode()
        assert recording.wait(timeout=20) == 0, told
    assert f"events, {path.stat().st_size} bytes\n" in told
    done = subprocess.run([*FIRESTEEL, "replay", str(path), "--json"], capture_output=True, text=True, check=True)
    account = json.loads(done.stdout)
    assert account["recording"]["complete"] is True
    counts = [row["count"] for row in account["requests"] if row["destination"].endswith(f":{web.port}")]
    assert sum(counts) == _REQUESTS


def test_a_reader_that_goes_ends_it() -> None:
    with _recording("60s") as recording:
        assert recording.stdout is not None
        assert recording.stderr is not None
        recording.stdout.read(_HEAD)
        recording.stdout.close()
        told = recording.stderr.read().decode()
        assert recording.wait(timeout=20) == 1
    assert "the recording ends before its time" in told
    assert "Traceback" not in told


def test_an_engine_that_dies_ends_it(tmp_path: Path) -> None:
    path = tmp_path / "a.fsrec"
    # On a quiet machine nothing else would come: that there is a server is told at the start.
    with servers.nginx(), path.open("wb") as out, _recording("60s") as recording:
        assert recording.stdout is not None
        assert recording.stderr is not None
        out.write(recording.stdout.read(_HEAD + 1))
        engines = Path(f"/proc/{recording.pid}/task/{recording.pid}/children").read_text().split()
        assert len(engines) == 1
        os.kill(int(engines[0]), signal.SIGKILL)
        out.write(recording.stdout.read())
        told = recording.stderr.read().decode()
        assert recording.wait(timeout=20) == 1
    assert "the engine failed (SIGKILL outside of the parsers), the recording ends before its time" in told
    subprocess.run([*FIRESTEEL, "replay", str(path), "--json"], capture_output=True, check=True)


def _recording(duration: str) -> "subprocess.Popen[bytes]":
    command = [*FIRESTEEL, "record", "-", "--duration", duration]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
