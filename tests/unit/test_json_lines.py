# SPDX-License-Identifier: Apache-2.0
"""Lines of JSON: what is in them, and files, sockets and pipes that fill up, go away and come back."""

import json
import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from analyzers.rows import Role
from analyzers.snapshot import Snapshot, SnapshotBuilder
from collector.export_keys import Jsonl
from collector.json_lines import JsonLines
from exporters.jsonl import QUEUE_BYTES, SCHEMA_VERSION, FileSink, SinkError, StreamSink, open_sink
from tests.json_lines import PAGE, faults, fields
from tests.rows import SECOND, FixedResolver, request_row, sample

WALL = 1_700_000_000 * SECOND


def written(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def snapshot(builder: SnapshotBuilder, count: int, *samples: Any, now_ns: int = 8 * SECOND) -> Snapshot:
    return builder.build([request_row(1, count=count)], [], samples, now_ns)


def test_requests_and_edges(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    lines = JsonLines(Jsonl(path=str(path), interval=0))
    builder = SnapshotBuilder(FixedResolver())
    lines.turn(snapshot(builder, 3, sample(sequence=7, trace_id="ab" * 16)), WALL)
    lines.turn(snapshot(builder, 8), WALL)
    lines.turn(snapshot(builder, 8), WALL)
    lines.close()
    request, first, second = written(path)
    assert {line["schema"] for line in (request, first, second)} == {SCHEMA_VERSION}
    assert (request["type"], request["sequence"], request["trace_id"]) == ("request", 7, "ab" * 16)
    assert request["start"] == "2023-11-14T22:13:25.000Z"
    assert "ids" not in request["source"]
    assert (first["type"], first["requests"], second["requests"], second["requests_total"]) == ("edge", 3, 5, 8)
    assert (first["source"]["workload_name"], first["destination"]["port"]) == ("client", 80)
    assert first["time"] == "2023-11-14T22:13:28.000Z"
    assert (lines.sink.written, lines.sink.dropped) == (3, 0)


def test_every_line_is_as_its_schema_says(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    lines = JsonLines(Jsonl(path=str(path), interval=0))
    traced = {"trace_id": "ab" * 16, "parent_id": "cd" * 8}
    samples = [
        sample(),
        sample(Role.CLIENT, connect_ns=SECOND, **traced),
        sample(Role.UNKNOWN),
        sample(no_response=True),
    ]
    rows = [
        request_row(1, count=3),
        request_row(2, Role.SERVER, remote_ip="192.0.2.7", protocol="dns", l4="udp", no_response=True, is_error=True),
        request_row(3, overflow=True, protocol="other", l4=""),
    ]
    lines.turn(SnapshotBuilder(FixedResolver()).build(rows, [], samples, 8 * SECOND), WALL)
    lines.close()
    found = written(path)
    assert [faults(line) for line in found] == [[]] * len(found)
    assert [line["type"] for line in found] == ["request"] * 4 + ["edge"] * 3


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"requests": "3"}, "$.requests: '3' is not of type 'integer'"),
        ({"more": 1}, "$: Additional properties are not allowed ('more' was unexpected)"),
        ({"schema": SCHEMA_VERSION + 1}, f"$.schema: {SCHEMA_VERSION} was expected"),
        ({"time": "2023-11-14 22:13"}, "$.time: '2023-11-14 22:13' does not match"),
        ({"dialled": {"ip": "10.0.0.2"}}, "$.dialled: 'port' is a required property"),
    ],
)
def test_the_schema_refuses_what_it_does_not_say(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    path = tmp_path / "lines"
    lines = JsonLines(Jsonl(path=str(path), interval=0, requests=False))
    lines.turn(snapshot(SnapshotBuilder(FixedResolver()), 3), WALL)
    lines.close()
    (fault,) = faults(written(path)[0] | change)
    assert fault.startswith(told)


@pytest.mark.parametrize("kind", ["request", "edge"])
def test_the_page_tells_every_field_of_the_schema(kind: str) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert f"version of this page's shapes, now **{SCHEMA_VERSION}**" in text
    head, request, edge = text.split("\n## ")
    documented = set(re.findall(r"`\"?([a-z0-9_]+)\"?(?:: [^`]*)?`", head + (request if kind == "request" else edge)))
    assert fields(kind) <= documented


@pytest.mark.parametrize("which", ["requests", "edges"])
def test_either_can_be_left_out(tmp_path: Path, which: str) -> None:
    path = tmp_path / "lines"
    choice: dict[str, Any] = {"requests": which == "requests", "edges": which == "edges"}
    lines = JsonLines(Jsonl(path=str(path), interval=0, **choice))
    lines.turn(snapshot(SnapshotBuilder(FixedResolver()), 3, sample()), WALL)
    assert {line["type"] for line in written(path)} == {which.removesuffix("s")}


def test_hostile_text_stays_in_its_line(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    lines = JsonLines(Jsonl(path=str(path), edges=False))
    hostile = sample(request_content='a"\n\u2028\udcff\x00', request_text="x" * 70_000)
    lines.turn(snapshot(SnapshotBuilder(FixedResolver()), 1, hostile), WALL)
    ((line),) = written(path)
    assert line["request_content"] == 'a"\n\u2028\udcff\x00'
    assert path.stat().st_size < 16_384


def test_a_full_file_is_put_aside_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    sink = FileSink(path, max_size=100, files=2)
    for number in range(50):
        sink.write([b"%09d\n" % number])
    sink.close()
    assert sorted(found.name for found in tmp_path.iterdir()) == ["lines", "lines.1", "lines.2"]
    kept = b"".join((tmp_path / name).read_bytes() for name in ("lines.2", "lines.1", "lines"))
    assert kept.split() == [b"%09d" % number for number in range(20, 50)]
    assert all(found.stat().st_size <= 100 for found in tmp_path.iterdir())
    assert (sink.written, sink.dropped) == (50, 0)


def test_a_file_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"x" * 95 + b"\n")
    sink = FileSink(path, max_size=100, files=1)
    sink.write([b"123456789\n"])
    assert path.read_bytes() == b"123456789\n"


def test_a_file_that_cannot_be_put_aside_is_not_outgrown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "lines"
    sink = FileSink(path, max_size=100, files=2)
    monkeypatch.setattr(Path, "rename", refused)
    for number in range(20):
        sink.write([b"%09d\n" % number])
    assert path.stat().st_size == 100
    assert (sink.written, sink.dropped) == (10, 10)
    assert "cannot be put aside" in sink.fault


def test_a_full_disk_leaves_no_half_line() -> None:
    sink = FileSink(Path("/dev/full"), max_size=1 << 20, files=1)
    sink.write([b"1\n", b"2\n"])
    assert (sink.written, sink.dropped, sink.failures) == (0, 2, 1)
    assert "No space left" in sink.fault


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="No such file"):
        open_sink(str(tmp_path / "missing" / "lines"), 100, 1)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_socket_of_either_kind(tmp_path: Path, kind: socket.SocketKind) -> None:
    path = tmp_path / "socket"
    listening = socket.socket(socket.AF_UNIX, kind)
    listening.bind(str(path))
    if kind == socket.SOCK_STREAM:
        listening.listen()
    sink = open_sink(f"unix:{path}", 100, 1)
    sink.write([b"1\n", b"2\n"])
    peer = listening.accept()[0] if kind == socket.SOCK_STREAM else listening
    peer.settimeout(5)
    assert peer.recv(100) == (b"1\n2\n" if kind == socket.SOCK_STREAM else b"1\n")
    assert (sink.written, sink.dropped, sink.fault) == (2, 0, "")
    sink.close()
    peer.close()
    listening.close()


def test_a_reader_that_comes_late_gets_what_waited(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    sink = open_sink(f"unix:{path}", 100, 1)
    sink.write([b"1\n"])
    assert sink.fault
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        for _ in range(10):
            sink.write([])
        peer, _ = listening.accept()
        assert peer.recv(100) == b"1\n"
        peer.close()
    assert (sink.written, sink.fault) == (1, "")
    sink.close()


def test_a_slow_reader_loses_the_oldest_and_never_blocks(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        sink = open_sink(f"unix:{path}", 100, 1)
        line = b"x" * 999 + b"\n"
        for _ in range(50):
            sink.write([line] * 100)
        peer, _ = listening.accept()
        assert sink.dropped > 0
        assert sink.fault == "the reader does not keep up"
        waiting = 5000 - sink.written - sink.dropped
        assert waiting * 1000 <= QUEUE_BYTES + 1000
        got = b""
        peer.settimeout(0.2)
        for _ in range(200):
            sink.write([])
            try:
                got += peer.recv(1 << 20)
            except TimeoutError:
                break
        peer.close()
    assert len(got) == sink.written * 1000
    assert set(got.split(b"\n")) == {line[:-1], b""}
    sink.close()


def test_a_pipe_that_nobody_reads_does_not_block(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as out:
        monkeypatch.setattr("sys.stdout", out)
        sink = StreamSink(None)
        sink.write([b"x" * 999 + b"\n"] * 3000)
        assert sink.written >= 32
        assert sink.dropped > 0
        sink.close()
    os.close(reading)
