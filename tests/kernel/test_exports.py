# SPDX-License-Identifier: Apache-2.0
"""What a real agent pushes and writes: exact counts, traces of both ends, a real OpenTelemetry Collector in between."""

import json
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.agents import running_agent
from tests.otel_servers import otel_collector, otelcol
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
        *more,
    ]


def ask(port: int) -> None:
    header = f"traceparent: 00-{TRACE}-{PARENT}-01"
    for _ in range(REQUESTS):
        subprocess.run(
            [program("curl"), "-s", "-o", "/dev/null", "-H", header, f"http://127.0.0.1:{port}/"],
            check=True,
            timeout=10,
        )


def count(told: Receiver, name: str, port: int) -> int:
    """Of the newest push."""
    newest: dict[str, int] = {}
    for attributes, point in told.points(name):
        if attributes.get("server.port") == port:
            newest[json.dumps(attributes, sort_keys=True)] = point.count
    return sum(newest.values())


@pytest.mark.parametrize("way", ["grpc", "http", *(["collector"] if otelcol() else [])])
def test_requests_arrive_as_metrics_and_as_spans_of_both_ends(tmp_path: Path, way: str) -> None:
    with ExitStack() as stack:
        told = stack.enter_context(grpc_receiver() if way == "grpc" else http_receiver())
        port = told.port
        if way == "collector":
            port = free_port()
            stack.enter_context(otel_collector(tmp_path, told.port, port))
        server = stack.enter_context(nginx())
        protocol = "http" if way == "http" else "grpc"
        agent = stack.enter_context(running_agent(tmp_path, settings(port, protocol)))
        ask(server.port)
        for side in ("server", "client"):
            until(lambda side=side: count(told, f"http.{side}.request.duration", server.port) >= REQUESTS, 20)  # type: ignore[misc]
            assert count(told, f"http.{side}.request.duration", server.port) == REQUESTS
        until(lambda: len([span for _, span in told.spans() if span.trace_id.hex() == TRACE]) >= 2 * REQUESTS)
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
        assert agent.status()["problems"] == [
            problem for problem in agent.status()["problems"] if "push" not in problem["what"]
        ]


def test_lines_of_json(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    tmp_path.chmod(0o777)
    more = (f"export.jsonl.path={path}", "export.jsonl.interval=1s", "samples.normal=1.0", "samples.per_edge=1000")
    with nginx() as server, running_agent(tmp_path, more) as agent:
        ask(server.port)
        agent.counts("kindling_topology_request_total", REQUESTS, dst_port=str(server.port))
        until(lambda: sum(line.get("requests", 0) for line in of(path, server.port)) >= REQUESTS)
        lines = of(path, server.port)
        assert sum(line["requests"] for line in lines if line["type"] == "edge") == REQUESTS
        assert len([line for line in lines if line["type"] == "request" and line["trace_id"] == TRACE]) == REQUESTS
        agent.page()
        assert agent.total("firesteel_exported_total", exporter="jsonl") >= REQUESTS + 1


def of(path: Path, port: int) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []
    return [line for line in lines if line["destination"]["port"] == port]


def test_a_collector_that_is_not_there_costs_no_count(tmp_path: Path) -> None:
    with nginx() as server, running_agent(tmp_path, settings(free_port(), "grpc")) as agent:
        ask(server.port)
        counted = agent.counts("kindling_entity_request_total", REQUESTS, port=str(server.port))
        assert counted == REQUESTS
        agent.wait(lambda a: a.total("firesteel_export_failures_total", exporter="otlp_metrics") > 0)
        told = [problem["what"] for problem in agent.status()["problems"]]
        assert any(what.startswith("metrics cannot be pushed") for what in told)


def test_above_its_budget_the_agent_does_less_says_so_and_counts_on(tmp_path: Path) -> None:
    with nginx() as server, running_agent(tmp_path, ["budget.memory=1MiB", "budget.cpu=0"]) as agent:
        ask(server.port)
        agent.wait(lambda a: a.total("firesteel_step_down_level") >= 2, 60)
        assert agent.total("firesteel_step_down_level") >= 2
        told = [problem["what"] for problem in agent.status()["problems"]]
        assert any("the live stream is closed, no request is sampled" in what for what in told)
        with pytest.raises(HTTPError, match="503"):
            agent.get("/api/v1/stream")
        written = agent.total("firesteel_samples_total", outcome="written")
        ask(server.port)
        counted = agent.counts("kindling_entity_request_total", 2 * REQUESTS, port=str(server.port))
        assert counted == 2 * REQUESTS
        assert agent.total("firesteel_samples_total", outcome="written") == written
