# SPDX-License-Identifier: Apache-2.0
"""Recordings: heads, whole, truncated, damaged and newer files, and what the replay still counts."""

import os
import platform
import struct
import time
from pathlib import Path

import pytest

from analyzers._native import lib
from analyzers.engine import Engine, FileSource
from analyzers.recording import RecordingError, create, pack_head, read_head, replay
from analyzers.settings import ConfigBlock, EngineSettings
from analyzers.table import SharedTable
from tests.engines import engine_program
from tests.fake_ring import struct_bytes

HEAD = 104
EVENT = 72


@pytest.fixture(params=["plain", "asan"])
def program(request: pytest.FixtureRequest) -> Path:
    return engine_program(request.param)


def events(count: int, step_ns: int = 1_000_000) -> bytes:
    """Process events, `step_ns` apart."""
    made = (
        struct_bytes(
            "fs_process",
            head={"time_ns": 1_000_000_000 + n * step_ns, "pid": n + 1, "type": lib.FS_EV_PROCESS, "size": EVENT},
            kind=lib.FS_PROCESS_EXEC,
        )
        for n in range(count)
    )
    return b"".join(made)


def a_file(tmp_path: Path, content: bytes, **head: int) -> Path:
    raw = bytearray(pack_head("core", "6.1.0", 5))
    for name, value in head.items():
        offset, form = {"magic": (0, "=I"), "contract": (4, "=H"), "schema": (6, "=H"), "head_size": (16, "=I")}[name]
        struct.pack_into(form, raw, offset, value)
    path = tmp_path / "a.fsrec"
    path.write_bytes(bytes(raw) + content)
    return path


def outcome(path: Path, program: Path) -> tuple[str, str, int]:
    """State, failure and process events counted after a replay."""
    table = replay(path, EngineSettings(), program=program)
    state = table.state()
    table.close()
    return state.state, state.failure, state.events["process"]


def test_the_head_says_where_it_comes_from(tmp_path: Path) -> None:
    path = tmp_path / "new.fsrec"
    os.close(create(path, "core"))
    head = read_head(path)
    assert (head.contract, head.schema, head.driver, head.kernel) == (1, 1, "core", platform.release())
    assert abs(head.wall_minus_monotonic_ns - (time.time_ns() - time.monotonic_ns())) < 1_000_000_000
    assert path.stat().st_mode & 0o777 == 0o600  # it holds payload
    with pytest.raises(FileExistsError):
        create(path, "core")
    os.close(create(path, "bcc", overwrite=True))
    assert read_head(path).driver == "bcc"


def test_a_whole_file(tmp_path: Path, program: Path) -> None:
    assert outcome(a_file(tmp_path, events(5000)), program) == ("finished", "", 5000)


def test_an_empty_recording_is_no_fault(tmp_path: Path, program: Path) -> None:
    assert outcome(a_file(tmp_path, b""), program) == ("finished", "", 0)


def test_a_longer_head_of_a_later_version_is_stepped_over(tmp_path: Path, program: Path) -> None:
    path = a_file(tmp_path, bytes(24) + events(3), head_size=HEAD + 24)
    assert outcome(path, program) == ("finished", "", 3)


@pytest.mark.parametrize("cut", [1, 8, 24, 71])
def test_truncated(tmp_path: Path, program: Path, cut: int) -> None:
    path = a_file(tmp_path, events(100)[:-cut])
    state, failure, counted = outcome(path, program)
    assert (state, counted) == ("failed", 99)
    assert failure == (
        f"byte {HEAD + 99 * EVENT}: the file ends inside an event (truncated); everything before was counted; record again"
    )


@pytest.mark.parametrize(
    ("offset", "form", "value"),
    [(40, "=I", 7), (40, "=I", 71), (40, "=I", 0xFFFFFFFF), (36, "=H", 0), (36, "=H", 99), (36, "=H", 1)],
)
def test_damaged(tmp_path: Path, program: Path, offset: int, form: str, value: int) -> None:
    content = bytearray(events(50))
    struct.pack_into(form, content, 30 * EVENT + offset, value)
    state, failure, counted = outcome(a_file(tmp_path, bytes(content)), program)
    assert (state, counted) == ("failed", 30)
    assert failure.startswith(f"byte {HEAD + 30 * EVENT}: no event (type ")
    assert failure.endswith("damaged; everything before was counted; record again")


def test_payload_longer_than_its_event(tmp_path: Path, program: Path) -> None:
    head = {"time_ns": 1, "conn_id": 1, "type": lib.FS_EV_DATA, "size": EVENT}
    content = events(2) + struct_bytes("fs_data", head=head, bytes=500, captured=500) + events(2)
    state, failure, counted = outcome(a_file(tmp_path, content), program)
    assert (state, counted) == ("failed", 2)
    assert failure.startswith(f"byte {HEAD + 2 * EVENT}: payload exceeds its event")


def test_an_event_type_of_a_newer_schema_is_skipped(tmp_path: Path, program: Path) -> None:
    unknown = bytearray(events(1))
    struct.pack_into("=H", unknown, 36, 12)
    path = a_file(tmp_path, events(2) + bytes(unknown) + events(2), schema=lib.FS_SCHEMA_VERSION + 1)
    table = replay(path, EngineSettings(), program=program)
    state = table.state()
    table.close()
    assert (state.state, state.events["process"], state.stats["events_invalid"]) == ("finished", 4, 1)


@pytest.mark.parametrize(
    ("content", "offset", "words"),
    [
        (b"", 0, "not a recording of firesteel"),
        (b"FS", 0, "not a recording of firesteel"),
        (b"\xd4\xc3\xb2\xa1" + bytes(200), 0, "not a recording of firesteel"),
        (pack_head("core", "6.1", 0)[:50], 50, "the file ends inside its head (truncated)"),
        (pack_head("core", "6.1", 0)[:4] + b"\x02\x00" + bytes(98), 4, "recorded by a newer version (contract 2"),
        (pack_head("core", "6.1", 0)[:4] + bytes(100), 4, "the head is damaged (contract 0, head of 0 bytes)"),
    ],
)
def test_a_file_that_is_no_recording_is_refused(
    tmp_path: Path, program: Path, content: bytes, offset: int, words: str
) -> None:
    path = tmp_path / "strange"
    path.write_bytes(content)
    with pytest.raises(RecordingError) as raised:
        replay(path, EngineSettings())
    assert raised.value.offset == offset
    assert str(raised.value).startswith(f"{path}: byte {offset}: {words}")
    assert raised.value.remedy
    # The engine does not rely on that check.
    table, config = SharedTable.create(), ConfigBlock(EngineSettings())
    with path.open("rb") as file:
        engine = Engine(FileSource(file.fileno()), table, config, program=program)
        engine.start()
        status = engine.wait(10)
    state = table.state()
    assert status.finished
    assert (state.state, status.crashes) == ("failed", 0)
    # It reads a whole head or none, so a short one is told at its beginning.
    told = f"byte {offset}: {words}" if len(content) >= HEAD else "byte 0: shorter than the head of a recording"
    assert state.failure.startswith(told)
    table.close()
    config.close()


def test_a_crash_during_a_replay_is_told(tmp_path: Path, program: Path) -> None:
    table, config = SharedTable.create(), ConfigBlock(EngineSettings())
    reader, writer = os.pipe()  # a file that does not end
    os.write(writer, a_file(tmp_path, events(3)).read_bytes())
    engine = Engine(FileSource(reader), table, config, program=program)
    engine.start()
    deadline = time.monotonic() + 10
    while table.state().events["process"] < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    process = engine._process
    assert process is not None
    table.pointer.parsing = 1
    process.kill()
    status = engine.wait(10)
    assert status.finished
    assert table.state().failure == "the engine died (SIGKILL) while parsing http; please report the recording"
    assert table.state().state == "failed"
    for fd in (reader, writer):
        os.close(fd)
    table.close()
    config.close()


def test_paced_replay_takes_the_time_it_took(tmp_path: Path, program: Path) -> None:
    table, config = SharedTable.create(), ConfigBlock(EngineSettings())
    path = a_file(tmp_path, events(11, step_ns=50_000_000))
    begin = time.monotonic()
    with path.open("rb") as file:
        engine = Engine(FileSource(file.fileno(), paced=True), table, config, program=program)
        engine.start()
        engine.wait(10)
    assert time.monotonic() - begin >= 0.5
    assert table.state().events["process"] == 11
    table.close()
    config.close()


def test_a_paced_replay_can_be_stopped(tmp_path: Path, program: Path) -> None:
    table, config = SharedTable.create(), ConfigBlock(EngineSettings())
    path = a_file(tmp_path, events(3, step_ns=3_600_000_000_000))
    with path.open("rb") as file:
        engine = Engine(FileSource(file.fileno(), paced=True), table, config, program=program)
        engine.start()
        with pytest.raises(TimeoutError):
            engine.wait(0.3)
        begin = time.monotonic()
        engine.stop()
    assert time.monotonic() - begin < 2
    assert table.state().state == "finished"
    table.close()
    config.close()
