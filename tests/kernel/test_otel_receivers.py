# SPDX-License-Identifier: Apache-2.0
"""A real agent before real receivers, of which some are slow, refuse, break off, talk nonsense or show a certificate that nobody vouches for:
capture goes on, counts stay exact, what is dropped is counted, memory stays bounded, and it recovers by itself.

The receivers of the tests, and a real Collector and Jaeger where they are built (make otelcol, make jaeger).
"""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.agents import Agent, running_agent
from tests.kernel.test_exports import count, settings
from tests.otel_servers import jaeger_store, otel_collector, otelcol
from tests.receivers import Receiver, grpc_receiver, http_receiver, self_signed, until
from tests.relays import relay
from tests.servers import Server, free_port, nginx, program

QUEUE = 16
DURING, AFTER = 40, 3
MOST_GROWTH_MIB = 40.0


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


class Place:
    """A fixed port for a receiver that is started there, once or again: a real Collector that hands on, or our own."""

    def __init__(self, stack: ExitStack, folder: Path, *, real: bool) -> None:
        if real:
            otelcol()  # before anything else is done, if it is not there
        self.port = free_port()
        self.told = stack.enter_context(http_receiver()) if real else Receiver()
        self.answering = self.told
        """Who decides what becomes of a request: the one behind the Collector, or the one that was started last."""
        self.fine = 200 if real else 0
        self._stack, self._folder, self._real = stack, folder, real

    def start(self, certificate: tuple[Path, Path] | None = None) -> ExitStack:
        inner = self._stack.enter_context(ExitStack())
        if self._real:
            inner.enter_context(otel_collector(self._folder, self.told.port, self.port, certificate))
            return inner
        made = inner.enter_context(grpc_receiver(self.port, certificate))
        made.metrics, made.traces = self.told.metrics, self.told.traces
        made.status, made.stall = self.told.status, self.told.stall
        self.answering = made
        return inner


@contextmanager
def trouble(kind: str, folder: Path, *, real: bool) -> Iterator[Trouble]:
    """A receiver at a fixed port that does not work yet."""
    with ExitStack() as stack:
        place = Place(stack, folder, real=real)
        yield _TROUBLES[kind](stack, place, folder, real)


def _absent(_stack: ExitStack, place: Place, _folder: Path, _real: bool) -> Trouble:
    return Trouble(place.told, f"http://127.0.0.1:{place.port}", place.start)


def _slow(stack: ExitStack, place: Place, folder: Path, real: bool) -> Trouble:
    endpoint = f"http://127.0.0.1:{place.port}"
    if real:
        process = stack.enter_context(otel_collector(folder, place.told.port, place.port))
        process.send_signal(signal.SIGSTOP)
        stack.callback(process.send_signal, signal.SIGCONT)
        return Trouble(place.told, endpoint, lambda: process.send_signal(signal.SIGCONT))
    place.told.stall = 3.0
    place.start()
    return Trouble(place.told, endpoint, lambda: setattr(place.answering, "stall", 0.0))


def _refusing(_stack: ExitStack, place: Place, _folder: Path, real: bool) -> Trouble:
    place.told.status = 503 if real else 14  # UNAVAILABLE
    place.start()
    heal = partial(setattr, place.answering, "status", place.fine)
    return Trouble(place.told, f"http://127.0.0.1:{place.port}", heal)


def _untrusted(_stack: ExitStack, place: Place, folder: Path, _real: bool) -> Trouble:
    (folder / "good").mkdir()
    (folder / "bad").mkdir()
    good, bad = self_signed(folder / "good"), self_signed(folder / "bad")
    first = place.start(bad)

    def replace() -> None:
        first.close()
        place.start(good)

    return Trouble(place.told, f"https://127.0.0.1:{place.port}", replace, (f"export.otlp.tls.ca={good[0]}",))


def _breaking(stack: ExitStack, place: Place, _folder: Path, _real: bool) -> Trouble:
    """The connection ends between a request and its answer."""
    place.start()
    between = stack.enter_context(relay(place.port))
    place.answering.asked = between.cut

    def heal() -> None:
        assert between.cuts > 0
        place.answering.asked = lambda: False

    return Trouble(place.told, f"http://127.0.0.1:{between.port}", heal)


def _nonsense(stack: ExitStack, place: Place, _folder: Path, _real: bool) -> Trouble:
    """Something answers that it is done, and is no receiver."""
    first = stack.enter_context(ExitStack())
    first.enter_context(grpc_receiver(place.port)).nonsense = b"<html>It works!</html>"

    def replace() -> None:
        first.close()
        place.start()

    return Trouble(place.told, f"http://127.0.0.1:{place.port}", replace)


_TROUBLES: Mapping[str, Callable[[ExitStack, Place, Path, bool], Trouble]] = {
    "absent": _absent,
    "slow": _slow,
    "refusing": _refusing,
    "untrusted": _untrusted,
    "breaking": _breaking,
    "nonsense": _nonsense,
}


@pytest.mark.parametrize("real", [False, True], ids=["own", "collector"])
@pytest.mark.parametrize("kind", _TROUBLES)
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


@pytest.mark.parametrize("real", [False, True], ids=["own", "collector"])
@pytest.mark.parametrize("form", ["explicit", "exponential"])
def test_durations_arrive_in_either_form(tmp_path: Path, form: str, real: bool) -> None:
    with ExitStack() as stack:
        told = stack.enter_context(http_receiver())
        port = told.port
        if real:
            port = free_port()
            stack.enter_context(otel_collector(tmp_path, told.port, port))
        server = stack.enter_context(nginx())
        protocol = "grpc" if real else "http"
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
    assert {reference["spanID"] for span in kinds["client"] for reference in span["references"]} == {"b7ad6b7169203331"}
    for span in found:
        assert span["operationName"] == "GET /"
        assert span["tags"]["http.request.method"] == "GET"
        assert span["tags"]["http.response.status_code"] == 200
        assert [log["fields"][0]["value"] for log in span["logs"]] == ["request.sent", "response.started"]
    assert {span["process"]["serviceName"] for span in kinds["client"]} == {"curl"}
