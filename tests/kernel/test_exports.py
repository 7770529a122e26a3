# SPDX-License-Identifier: Apache-2.0
"""What a real agent pushes and writes: exact counts, traces of both ends, a real OpenTelemetry Collector in between."""

import json
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.agents import running_agent
from tests.http2_client import http2_client
from tests.json_lines import faults
from tests.otel_servers import otel_collector
from tests.receivers import Receiver, grpc_receiver, http_receiver, until
from tests.servers import free_port, nginx, program

REQUESTS = 7
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def settings(port: int, protocol: str, *more: str) -> list[str]:
    return [
        f"export.otlp.endpoint=http://127.0.0.1:{port}",
        f"export.otlp.protocol={protocol}",
        "export.otlp.spans=true",
        "export.otlp.interval=1s",
        "samples.normal=1.0",
        "samples.per_edge=1000",
        "samples.rate=2000",
        *more,
    ]


CARRIED = {
    "w3c": {"traceparent": f"00-{TRACE}-{PARENT}-01"},
    "b3": {"b3": f"{TRACE}-{PARENT}-1"},
    "x-b3": {"x-b3-traceid": TRACE, "x-b3-spanid": PARENT, "x-b3-sampled": "1"},
}


def ask(port: int, carried: str = "w3c") -> None:
    """The trace in the header fields of that kind, in the letters that people write them with."""
    fields = [part for name, value in CARRIED[carried].items() for part in ("-H", f"{name.title()}: {value}")]
    for _ in range(REQUESTS):
        command = [program("curl"), "-s", "-o", "/dev/null", *fields, f"http://127.0.0.1:{port}/"]
        subprocess.run(command, check=True, timeout=10)


def ask_http2(port: int, carried: str) -> None:
    with http2_client(port) as client:
        for _ in range(REQUESTS):
            assert client.get("/", headers=list(CARRIED[carried].items())) == 200


def count(told: Receiver, name: str, port: int) -> int:
    """Of the newest push."""
    newest: dict[str, int] = {}
    for attributes, point in told.points(name):
        if attributes.get("server.port") == port:
            newest[json.dumps(attributes, sort_keys=True)] = point.count
    return sum(newest.values())


@pytest.mark.parametrize(
    ("way", "carried", "speaks"),
    [
        ("grpc", "w3c", "http"), ("http", "b3", "http"), ("http", "x-b3", "http"), ("grpc", "b3", "http2"), ("http", "x-b3", "http2"),
        ("collector", "w3c", "http"), ("collector", "b3", "http2"),
    ],
)  # fmt: skip
def test_requests_arrive_as_metrics_and_as_spans_of_both_ends(
    tmp_path: Path, way: str, carried: str, speaks: str
) -> None:
    with ExitStack() as stack:
        told = stack.enter_context(grpc_receiver() if way == "grpc" else http_receiver())
        port = told.port
        if way == "collector":
            port = free_port()
            stack.enter_context(otel_collector(tmp_path, told.port, port))
        server = stack.enter_context(nginx(http2=speaks == "http2"))
        protocol = "http" if way == "http" else "grpc"
        agent = stack.enter_context(running_agent(tmp_path, settings(port, protocol)))
        (ask_http2 if speaks == "http2" else ask)(server.port, carried)
        for side in ("server", "client"):
            until(lambda side=side: count(told, f"http.{side}.request.duration", server.port) >= REQUESTS, 45)  # type: ignore[misc]
            assert count(told, f"http.{side}.request.duration", server.port) == REQUESTS
        until(lambda: len([span for _, span in told.spans() if span.trace_id.hex() == TRACE]) >= 2 * REQUESTS, 45)
        spans = [(attributes, span) for attributes, span in told.spans() if span.trace_id.hex() == TRACE]
        assert len(spans) == 2 * REQUESTS
        clients = {span.span_id: attributes for attributes, span in spans if span.kind == Span.SPAN_KIND_CLIENT}
        servers = [(attributes, span) for attributes, span in spans if span.kind == Span.SPAN_KIND_SERVER]
        assert {span.parent_span_id for _, span in servers} == set(clients)
        assert {span.parent_span_id.hex() for _, span in spans if span.kind == Span.SPAN_KIND_CLIENT} == {PARENT}
        assert {attributes["http.response.status_code"] for attributes in clients.values()} == {200}
        assert all(span.start_time_unix_nano < span.end_time_unix_nano for _, span in spans)
        # The agent does not tell of its own pushes, and nothing was lost.
        assert not [attributes for attributes, _ in told.spans() if attributes.get("server.port") == port]
        agent.page()
        assert agent.total("firesteel_export_failures_total") == 0
        assert agent.total("firesteel_lost_total", stage="export") == 0
        # A push may be left out where the one before takes its time; that loses nothing.
        assert [problem for problem in agent.status()["problems"] if "cannot be pushed" in problem["what"]] == []


@pytest.mark.parametrize("way", ["file", "stdout", "socket"])
def test_lines_of_json(tmp_path: Path, way: str) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o777)
        path, read = WAYS[way](stack, folder, tmp_path / "agent.log")
        more = (
            f"export.jsonl.path={path}",
            "export.jsonl.interval=1s",
            "samples.normal=1.0",
            "samples.per_edge=1000",
            "samples.rate=2000",
        )
        server = stack.enter_context(nginx())
        agent = stack.enter_context(running_agent(tmp_path, more))
        ask(server.port)
        agent.counts("kindling_topology_request_total", REQUESTS, dst_port=str(server.port))
        until(lambda: sum(line.get("requests", 0) for line in of(read(), server.port)) >= REQUESTS, 45)
        lines = of(read(), server.port)
        assert sum(line["requests"] for line in lines if line["type"] == "edge") == REQUESTS
        assert len([line for line in lines if line["type"] == "request" and line["trace_id"] == TRACE]) == REQUESTS
        assert [faults(line) for line in lines] == [[]] * len(lines)
        agent.page()
        assert agent.total("firesteel_exported_total", exporter="jsonl") >= REQUESTS + 1
        assert agent.total("firesteel_lost_total", stage="export", type="jsonl") == 0


Read = Callable[[], bytes]


def _file(_stack: ExitStack, folder: Path, _log: Path) -> tuple[str, Read]:
    path = folder / "lines"
    return str(path), lambda: path.read_bytes() if path.exists() else b""


def _stdout(_stack: ExitStack, _folder: Path, log: Path) -> tuple[str, Read]:
    """The agent's own words are beside them."""
    return "-", lambda: b"".join(line for line in log.read_bytes().splitlines(True) if line.startswith(b'{"schema"'))


def _socket(stack: ExitStack, folder: Path, _log: Path) -> tuple[str, Read]:
    """Made before the agent is there, for whoever it will be."""
    listening = stack.enter_context(socket.socket(socket.AF_UNIX))
    listening.bind(str(folder / "socket"))
    (folder / "socket").chmod(0o777)
    listening.listen()
    got = bytearray()

    def take() -> None:
        with suppress(OSError):
            peer, _ = listening.accept()
            with peer:
                while data := peer.recv(1 << 16):
                    got.extend(data)

    threading.Thread(target=take, daemon=True).start()
    stack.callback(_end, listening)
    return f"unix:{folder / 'socket'}", lambda: bytes(got)


def _end(ended: socket.socket) -> None:
    """Also wakes who waits there."""
    with suppress(OSError):
        ended.shutdown(socket.SHUT_RDWR)


WAYS = {"file": _file, "stdout": _stdout, "socket": _socket}


def of(text: bytes, port: int) -> list[dict[str, Any]]:
    """Lines that concern the port; of the last one perhaps only a part is there."""
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith(b"\n")]
    return [line for line in lines if line["destination"]["port"] == port]


def test_a_collector_that_is_not_there_costs_no_count(tmp_path: Path) -> None:
    with nginx() as server, running_agent(tmp_path, settings(free_port(), "grpc")) as agent:
        ask(server.port)
        counted = agent.counts("kindling_entity_request_total", REQUESTS, port=str(server.port))
        assert counted == REQUESTS
        agent.wait(lambda a: a.total("firesteel_export_failures_total", exporter="otlp_metrics") > 0)
        told = [problem["what"] for problem in agent.status()["problems"]]
        assert any(what.startswith("metrics cannot be pushed") for what in told)
