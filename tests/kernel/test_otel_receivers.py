# SPDX-License-Identifier: Apache-2.0
"""A real agent before real receivers, of which some are slow, broken, refuse or have a certificate that nobody vouches for:
capture goes on, counts stay exact, what is dropped is counted, memory stays bounded, and it recovers by itself.

The Collector and Jaeger where they are built (make otelcol, make jaeger); the troubles also with the receivers of the tests.
"""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.agents import Agent, running_agent
from tests.kernel.test_exports import count, settings
from tests.otel_servers import jaeger, jaeger_store, otel_collector, otelcol
from tests.receivers import Receiver, grpc_receiver, http_receiver, self_signed, until
from tests.servers import Server, free_port, nginx, program

QUEUE = 16
DURING, AFTER = 40, 3
MOST_GROWTH_MIB = 40.0
TROUBLES = ("absent", "slow", "refusing", "untrusted")


def ask(server: Server, count: int, trace: str) -> None:
    for _ in range(count):
        header = f"traceparent: 00-{trace}-b7ad6b7169203331-01"
        command = [program("curl"), "-s", "-o", "/dev/null", "-H", header, f"http://127.0.0.1:{server.port}/"]
        subprocess.run(command, check=True, timeout=20)


def resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / (1 << 20)


@dataclass
class Trouble:
    """`told` is where things arrive in the end; `heal` ends the trouble."""

    told: Receiver
    endpoint: str
    heal: Callable[[], object]
    settings: tuple[str, ...] = ()


@contextmanager
def trouble(kind: str, folder: Path, *, real: bool) -> Iterator[Trouble]:
    """A receiver at a fixed port that does not work yet."""
    port = free_port()
    with ExitStack() as stack:
        if real:
            told = stack.enter_context(http_receiver())

            def start(certificate: tuple[Path, Path] | None = None) -> ExitStack:
                inner = stack.enter_context(ExitStack())
                inner.enter_context(otel_collector(folder, told.port, port, certificate))
                return inner
        else:
            told = Receiver()

            def start(certificate: tuple[Path, Path] | None = None) -> ExitStack:
                inner = stack.enter_context(ExitStack())
                made = inner.enter_context(grpc_receiver(port, certificate))
                made.metrics, made.traces = told.metrics, told.traces
                made.status, made.stall = told.status, told.stall
                receivers.append(made)
                return inner

        receivers: list[Receiver] = []
        endpoint = f"http://127.0.0.1:{port}"
        if kind == "absent":
            yield Trouble(told, endpoint, start)
        elif kind == "slow":
            if real:
                inner = otel_collector(folder, told.port, port)
                process = stack.enter_context(inner)
                process.send_signal(signal.SIGSTOP)
                stack.callback(process.send_signal, signal.SIGCONT)
                yield Trouble(told, endpoint, lambda: process.send_signal(signal.SIGCONT))
            else:
                told.stall = 3.0
                start()
                yield Trouble(told, endpoint, lambda: setattr(receivers[0], "stall", 0.0))
        elif kind == "refusing":
            told.status = 503 if real else 14  # UNAVAILABLE
            start()
            working, place = (200, told) if real else (0, receivers[0])
            yield Trouble(told, endpoint, lambda: setattr(place, "status", working))
        else:
            (folder / "good").mkdir()
            (folder / "bad").mkdir()
            good, bad = self_signed(folder / "good"), self_signed(folder / "bad")
            first = start(bad)

            def replace() -> None:
                first.close()
                start(good)

            yield Trouble(told, f"https://127.0.0.1:{port}", replace, (f"export.otlp.tls.ca={good[0]}",))


@pytest.mark.parametrize(
    "real", [False, *([True] if otelcol() else [])], ids=lambda real: "collector" if real else "own"
)
@pytest.mark.parametrize("kind", TROUBLES)
def test_trouble_with_a_receiver_costs_no_count_and_ends_by_itself(tmp_path: Path, kind: str, real: bool) -> None:
    with trouble(kind, tmp_path, real=real) as bad, nginx() as server:
        more = (
            f"export.otlp.endpoint={bad.endpoint}",
            f"export.otlp.queue={QUEUE}",
            "export.otlp.timeout=1s",
            *bad.settings,
        )
        with running_agent(tmp_path, [*settings(1, "grpc"), *more]) as agent:
            before = resident_mib(agent.process.pid)
            ask(server, DURING, "0" * 31 + "1")
            counted = agent.counts("kindling_entity_request_total", DURING, port=str(server.port))
            assert counted == DURING
            agent.wait(lambda one: one.total("firesteel_export_failures_total", exporter="otlp_metrics") > 0)
            assert agent.total("firesteel_export_failures_total", exporter="otlp_metrics") > 0
            agent.wait(lambda one: lost(one) > 0)
            assert lost(agent) > 0
            assert agent.total("firesteel_export_waiting", exporter="otlp_spans") <= QUEUE
            assert any("cannot be pushed" in problem["what"] for problem in agent.status()["problems"])
            bad.heal()
            healed_ns = time.time_ns()
            until(lambda: count(bad.told, "http.server.request.duration", server.port) >= DURING, 60)
            asked = DURING

            def arrives() -> bool:
                """Spans flow again, of whomever: what else this machine does may push ours out of so short a queue."""
                nonlocal asked
                asked += 1
                ask(server, 1, f"{asked:032x}")
                return any(span.start_time_unix_nano > healed_ns for _, span in bad.told.spans())

            until(arrives, 60)
            until(lambda: count(bad.told, "http.server.request.duration", server.port) >= asked, 60)
            assert count(bad.told, "http.server.request.duration", server.port) == asked
            until(lambda: not told_problems(agent), 60)
            assert resident_mib(agent.process.pid) - before < MOST_GROWTH_MIB
            agent.page()
            assert agent.total("kindling_entity_request_total", port=str(server.port)) == asked
            assert agent.total("firesteel_lost_total", stage="ring") == 0


def lost(agent: Agent) -> float:
    return agent.total("firesteel_lost_total", stage="export", type="otlp_spans")


def told_problems(agent: Agent) -> list[str]:
    return [problem["what"] for problem in agent.status()["problems"] if "cannot be pushed" in problem["what"]]


@pytest.mark.parametrize("form", ["explicit", "exponential"])
def test_durations_arrive_in_either_form(tmp_path: Path, form: str) -> None:
    with ExitStack() as stack:
        told = stack.enter_context(http_receiver())
        port = told.port
        if otelcol():
            port = free_port()
            stack.enter_context(otel_collector(tmp_path, told.port, port))
        server = stack.enter_context(nginx())
        protocol = "grpc" if otelcol() else "http"
        stack.enter_context(running_agent(tmp_path, settings(port, protocol, f"export.otlp.histograms={form}")))
        ask(server, DURING, "0" * 31 + "3")
        for name in ("http.server.request.duration", "http.client.request.duration"):
            until(lambda name=name: count(told, name, server.port) >= DURING, 30)  # type: ignore[misc]
            points = [point for found, point in told.points(name) if found.get("server.port") == server.port]
            assert points[-1].count == DURING
            assert hasattr(points[-1], "zero_count") is (form == "exponential")
            found = {attributes["http.request.method"] for attributes, _ in told.points(name)
                     if attributes.get("server.port") == server.port}  # fmt: skip
            assert found == {"GET"}
            if form == "exponential":
                assert points[-1].zero_count + sum(points[-1].positive.bucket_counts) == DURING


if jaeger():

    def test_a_trace_store_joins_the_ends_below_the_callers_span(tmp_path: Path) -> None:
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        with jaeger_store(tmp_path) as store, nginx() as server:
            with running_agent(tmp_path, settings(store.port, "grpc", "export.otlp.metrics=false")):
                ask(server, AFTER, trace)
                until(lambda: len(store.spans(trace)) >= 2 * AFTER, 30)
            found = store.spans(trace)
        assert len(found) == 2 * AFTER
        kinds = {kind: [span for span in found if span["tags"]["span.kind"] == kind] for kind in ("client", "server")}
        above = {span["spanID"] for span in kinds["client"]}
        assert {reference["spanID"] for span in kinds["server"] for reference in span["references"]} == above
        assert {reference["spanID"] for span in kinds["client"] for reference in span["references"]} == {
            "b7ad6b7169203331"
        }
        for span in found:
            assert span["operationName"] == "GET /"
            assert span["tags"]["http.request.method"] == "GET"
            assert span["tags"]["http.response.status_code"] == 200
            assert [log["fields"][0]["value"] for log in span["logs"]] == ["request.sent", "response.started"]
        assert {span["process"]["serviceName"] for span in kinds["client"]} == {"curl"}
