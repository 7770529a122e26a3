# SPDX-License-Identifier: Apache-2.0
"""A recording to standard output, with a few lines in the place of the engine: it arrives whole, and a reader that goes or is slow ends it."""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from analyzers.recording import read_head
from collector import record_stream

# Prints what it should not, writes as the engine does, which ends before `finish`, and tells the size and the fault.
_ENGINE = """
import os, sys, threading
from collector import record_stream
record_stream._REST_SECONDS = 0.5
record_stream._BEHIND_BYTES = int(sys.argv[3]) << 20
stream = record_stream.Stream("core")
print("a stray line", flush=True)
content = bytes(range(256)) * int(sys.argv[1])
stream.start()
engine = threading.Thread(target=lambda: os.write(stream.file, content))
engine.start()
engine.join(5)
assert not engine.is_alive(), "it was held"
for _ in range(int(sys.argv[2])):  # an engine that is quiet
    if stream.fault:
        break
    threading.Event().wait(0.05)
print(stream.finish(), stream.fault, file=sys.stderr)
"""
_BYTES = 256 * 40_000  # ten times a pipe
_HEAD = 104


def _run(blocks: int, wait: int, out: int, behind_mib: int = 32) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", _ENGINE, str(blocks), str(wait), str(behind_mib)]
    return subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, text=True)


def test_it_arrives_whole_and_alone(tmp_path: Path) -> None:
    read, write = os.pipe()
    running = _run(40_000, 0, write)
    os.close(write)
    path = tmp_path / "a.fsrec"
    with os.fdopen(read, "rb") as reader:
        path.write_bytes(reader.read())
    told = running.communicate(timeout=30)[1]
    assert told == f"a stray line\n{_HEAD + _BYTES} \n"
    assert path.read_bytes()[_HEAD:] == bytes(range(256)) * 40_000
    assert read_head(path).driver == "core"


def test_a_reader_that_goes_ends_it_though_nothing_is_written() -> None:
    read, write = os.pipe()
    running = _run(0, 400, write)
    os.close(write)
    assert len(os.read(read, 200)) == _HEAD
    os.close(read)
    assert running.communicate(timeout=30)[1] == f"a stray line\n{_HEAD} nobody reads standard output any more\n"


def test_a_reader_that_goes_in_the_middle_does_not_hold_the_engine() -> None:
    read, write = os.pipe()
    running = _run(40_000, 400, write)
    os.close(write)
    os.read(read, 200)
    os.close(read)
    assert running.communicate(timeout=30)[1].count("standard output") == 1


def test_a_reader_that_sleeps_does_not_hold_the_engine() -> None:
    read, write = os.pipe()
    running = _run(40_000, 0, write)
    os.close(write)
    told = running.communicate(timeout=30)[1]
    os.close(read)
    assert told.endswith("standard output did not take the rest within 0.5 s\n")


def test_a_reader_that_is_slow_gets_the_beginning_and_does_not_hold_the_engine() -> None:
    read, write = os.pipe()
    running = _run(40_000, 400, write, 2)
    os.close(write)
    taken = b""
    while running.poll() is None:  # pages, so that it always takes something
        taken += os.read(read, 4096)
        time.sleep(0.05)
    while page := os.read(read, 1 << 16):
        taken += page
    os.close(read)
    assert running.communicate(timeout=30)[1].endswith(f"{len(taken)} standard output is more than 2 MiB behind\n")
    assert taken[_HEAD:] == (bytes(range(256)) * 40_000)[: len(taken) - _HEAD]


def test_a_reader_that_pauses_gets_it_whole() -> None:
    read, write = os.pipe()
    running = _run(40_000, 20, write)
    os.close(write)
    time.sleep(0.8)  # longer than it takes to write
    with os.fdopen(read, "rb") as reader:
        assert len(reader.read()) == _HEAD + _BYTES
    assert running.communicate(timeout=30)[1].endswith(f"{_HEAD + _BYTES} \n")


def test_a_kernel_that_grants_no_larger_pipe_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    read, write = os.pipe()
    before = os.dup(1)
    os.dup2(write, 1)
    os.close(write)
    try:
        stream = record_stream.Stream("core")
    finally:
        os.dup2(before, 1)
        os.close(before)
    stream.start()
    assert (stream.finish(), stream.fault) == (_HEAD, "")
    assert len(os.read(read, 200)) == _HEAD
    os.close(read)
