# SPDX-License-Identifier: Apache-2.0
"""A recording to standard output, with a few lines in the place of the engine: it arrives whole, and a reader that goes or sleeps ends it."""

import os
import subprocess
import sys
from pathlib import Path

from analyzers.recording import read_head

# Prints what it should not, writes as the engine does, which ends before `finish`, and tells the size and the fault.
_ENGINE = """
import os, sys, threading
from collector import record_stream
record_stream._STALLED = 0.5
stream = record_stream.Stream("core")
print("a stray line", flush=True)
content = bytes(range(256)) * int(sys.argv[1])
stream.start()
engine = threading.Thread(target=lambda: os.write(stream.file, content))
engine.start()
engine.join()
for _ in range(int(sys.argv[2])):  # an engine that is quiet
    if stream.fault:
        break
    threading.Event().wait(0.05)
print(stream.finish(), stream.fault, file=sys.stderr)
"""
_BYTES = 256 * 40_000  # ten times a pipe
_HEAD = 104


def _run(blocks: int, wait: int, out: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", _ENGINE, str(blocks), str(wait)]
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
    running = _run(40_000, 400, write)
    os.close(write)
    told = running.communicate(timeout=30)[1]
    os.close(read)
    assert told.endswith("standard output took nothing for 0.5 s\n")
