# SPDX-License-Identifier: Apache-2.0
"""The terminal view, fed by real answers of the API's functions and by a real server."""

import asyncio
import errno
import io
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from analyzers.rows import DriverCounters
from collector.api import Driver, Problem, status_json, traces_json
from collector.cli import main
from collector.client import AgentClient, Unanswered
from collector.ends import Level
from collector.kinds import Endpoint
from collector.options import Exit
from collector.rates import RateWindow
from collector.schema import Config
from collector.server import HttpServer
from collector.top import SORTS, bytes_text, cut, lines, rate_text, shown, time_text, top
from collector.topology import topology_json
from tests.fake_agent import MS, SECOND, WALL, FakeAgent, Peer, grown, request, sample_of, tcp

CURL = Peer("127.0.0.1", "curl", comm="curl", pid=10)
NGINX = Peer("127.0.0.1", "nginx.service", "systemd", comm="nginx", pid=20)
FAR = Peer("203.0.113.9", outside=True)


class Answering:
    """An agent's API without HTTP: each look is two seconds after the one before."""

    def __init__(self, agent: FakeAgent, growth: dict[int, int] | None = None) -> None:
        self.agent, self.growth = agent, growth or {}
        self.window = RateWindow()
        self.gone = False

    def get(self, path: str, **query: str) -> dict[str, Any]:
        if self.gone:
            raise Unanswered("no agent answers", "start one")
        agent = self.agent
        if path == "/api/v1/status":
            return dict(status_json(agent.status(), agent.now.started + 9, 0))
        if path == "/api/v1/traces":
            return dict(traces_json(agent.samples(0, int(query["limit"])), WALL))
        assert path == "/api/v1/topology"
        agent.clock_ns += 2 * SECOND
        agent.requests = [grown(n, self.growth.get(n.row.key.index, 0)) for n in agent.requests]
        traffic = agent.traffic()
        seen = self.window.observe(traffic.clock_ns, [n.row for n in traffic.requests], [n.row for n in traffic.tcp])
        return dict(topology_json(Level(query["level"]), traffic, seen))


def agent() -> FakeAgent:
    ok = request(1, CURL, NGINX, 80, count=10, content="/ok")
    bad = request(2, CURL, NGINX, 80, count=5, status=500, error=True, content="/bad")
    return FakeAgent(
        requests=[ok, bad, request(3, CURL, FAR, 443, protocol="tls", count=100, status=0, duration_ns=40 * MS)],
        tcp=[tcp(1, CURL, FAR, 25, error=errno.ECONNREFUSED, connects=3)],
        recorded=[sample_of(ok, 1), sample_of(bad, 2)],
    )


def output(source: Any, width: int = 140, **options: Any) -> str:
    out = io.StringIO()
    assert top(source, once=True, interval=0, console=Console(file=out, width=width), **options) is Exit.DONE
    return out.getvalue()


def test_lines_have_rates_of_the_window() -> None:
    source = Answering(agent(), {1: 6, 2: 2})
    source.get("/api/v1/topology", level="workload")
    found = lines(source.get("/api/v1/topology", level="workload"))
    busiest = found[0]
    assert (busiest.source, busiest.destination, busiest.protocol) == ("curl", "nginx.service:80", "http")
    assert busiest.rate == 4.0
    assert busiest.failed == 0.25
    assert (busiest.requests, busiest.errors) == (10 + 12 + 5 + 4, 9)
    assert [(line.rate, line.failed) for line in found[1:]] == [(0.0, 0.0), (0.0, 1.0)]


def test_without_a_window_lines_have_rates_since_the_start() -> None:
    found = lines(Answering(agent()).get("/api/v1/topology", level="workload"), "requests")
    assert found[0].rate == pytest.approx(100 / 101)
    refused = next(line for line in found if line.protocol == "tcp")
    assert (refused.failed, refused.errors, refused.p99) == (1.0, 3, None)


@pytest.mark.parametrize(
    ("sort", "first"),
    [("rate", "http"), ("errors", "http"), ("p99", "tls"), ("bytes", "http"), ("requests", "tls")],
)
def test_sorting(sort: str, first: str) -> None:
    source = Answering(agent(), {1: 6, 2: 2})
    source.get("/api/v1/topology", level="workload")
    assert lines(source.get("/api/v1/topology", level="workload"), sort)[0].protocol == first


@pytest.fixture
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_utc")
def test_once_prints_edges_and_requests() -> None:
    text = output(Answering(agent(), {1: 6, 2: 2}))
    edge = next(line for line in text.splitlines() if "nginx.service:80" in line)
    for part in ("curl", "http", "4/s", "✕ 25.0%", "31"):
        assert part in edge
    assert "RATE↓" in text
    assert "✕ 500" in text
    assert "/bad" in text
    assert "22:14:50.000" in text


def test_of_what_is_quicker_or_slower_than_the_buckets_only_the_bound_is_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    quick = request(1, CURL, NGINX, 80, count=10, duration_ns=35_000)
    slow = request(2, CURL, FAR, 443, protocol="tls", count=10, status=0, duration_ns=9 * SECOND)
    source = Answering(FakeAgent(requests=[quick, slow]))
    printed = output(source)
    assert (printed.count("<1 ms"), printed.count("≥5 s")) == (2, 2)
    assert top(source, once=True, interval=0, as_json=True) is Exit.DONE
    edges = {edge["protocol"]: edge for edge in json.loads(capsys.readouterr().out)["edges"]}
    assert (edges["http"]["p99"], edges["http"]["at_most"], edges["http"]["at_least"]) == (
        0.001,
        ["p50", "p90", "p99"],
        [],
    )
    assert (edges["tls"]["p99"], edges["tls"]["at_most"], edges["tls"]["at_least"]) == (5.0, [], ["p50", "p90", "p99"])


def test_no_more_lines_than_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    everything = lines(Answering(agent()).get("/api/v1/topology", level="workload"))
    assert len(everything) > 1
    text = output(Answering(agent()), most=1)
    assert f"and {len(everything) - 1} more" in text
    top(Answering(agent()), once=True, as_json=True, interval=0.0, most=1)
    told = json.loads(capsys.readouterr().out)
    assert (len(told["edges"]), told["left_off"]) == (1, len(everything) - 1)
    for wrong in ("0", "-1", "many"):
        with pytest.raises(SystemExit) as refused:
            main(["top", "--lines", wrong])
        assert refused.value.code == 2
        assert "1 or more" in capsys.readouterr().err


@pytest.mark.parametrize("sort", SORTS)
def test_a_narrow_terminal_leaves_columns_out_but_none_that_is_sorted_by_breaks(sort: str) -> None:
    text = output(Answering(agent()), width=80, sort=sort)
    assert "RESENT" not in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (60, "RATE FAILED"),
        (80, "RATE FAILED P50 P99"),
        (100, "RATE FAILED P50 P99 TOTAL"),
        (160, "RATE FAILED P50 P99 SENT RECEIVED RESENT TOTAL"),
    ],
)
def test_a_narrow_terminal_cuts_names_but_no_port_and_drops_what_is_needed_least(width: int, columns: str) -> None:
    far = Peer("127.0.0.1", "checkout-of-the-whole-shop-and-more", "container", comm="python3", pid=30)
    slow = request(
        1, replace(CURL, name="a-client-with-quite-a-long-name"), far, 18080, count=46_600, duration_ns=12 * MS
    )
    text = output(Answering(FakeAgent(requests=[slow]), {1: 6}), width=width)
    head, edge = text.splitlines()[1:3]
    assert (":18080 " if width == 160 else "…:18080 ") in edge
    assert "a-client-with" in edge
    assert head.replace("↓", "").split()[3 if "PROTOCOL" in head else 2 :] == columns.split()
    assert max(map(len, text.splitlines())) <= width


def test_what_is_cut() -> None:
    assert [cut(name, 10) for name in ("short:80", "127.0.0.1:8000", "2001:db8::7:1", "a-long-name-without")] == [
        "short:80", "127.…:8000", "2001:db…:1", "a-long-na…",
    ]  # fmt: skip
    assert cut("name:65535", 6) == "name:…"


def test_losses_problems_and_a_blind_driver_are_told() -> None:
    watched = agent()
    watched.now = replace(
        watched.now,
        counters=DriverCounters({}, {"DATA": 12}, {}, 0, 0),
        driver=Driver("none", "BPF is refused"),
        problems=(Problem("warning", "dns", "no answer", "check it"),),
    )
    text = output(Answering(watched))
    assert "12 lost" in text
    assert "BPF is refused" not in text  # the problems say it
    assert "dns: no answer; check it" in text
    watched.now = replace(watched.now, problems=())
    assert "BPF is refused" in output(Answering(watched))


def test_an_empty_table_says_what_to_try() -> None:
    assert "Nothing yet: try curl" in output(Answering(FakeAgent()))


def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert top(Answering(agent(), {1: 6}), once=True, as_json=True, interval=0) is Exit.DONE
    told = json.loads(capsys.readouterr().out)
    assert told["edges"][0]["rate"] == 3.0
    assert told["window_seconds"] == 2.0
    assert [r["sequence"] for r in told["requests"]] == [2, 1]
    assert told["lost"] == 0


def test_what_strangers_sent_cannot_steer_the_terminal() -> None:
    evil = "/\x1b[2J\x1b]0;owned\x07[red]x[/red]\n\u202e"
    named = request(1, replace(CURL, name=evil), NGINX, 80, content=evil)
    text = output(Answering(FakeAgent(requests=[named], recorded=[sample_of(named, 1)])))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert "[red]x[/red]" in text
    assert shown(evil) == "/·[2J·]0;owned·[red]x[/red]··"


def test_an_agent_that_goes_away_leaves_the_last_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Answering(agent())
    shots: list[str] = []
    out = io.StringIO()

    def sleep(_seconds: float) -> None:
        shots.append(out.getvalue())
        source.gone = len(shots) >= 2
        if len(shots) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr("collector.top.time.sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        top(source, console=Console(file=out, width=120, height=30, force_terminal=True))
    last = shots[3].removeprefix(shots[2])
    assert "no agent answers" in last
    assert "nginx.service:80" in last


def test_numbers() -> None:
    assert [rate_text(v) for v in (0, 0.001, 0.5, 12, 999.7, 1234, 5e6)] == [
        "0/s", "<0.01/s", "0.5/s", "12/s", "1000/s", "1.23k/s", "5M/s",
    ]  # fmt: skip
    assert [time_text(v) for v in (None, 0.0000005, 0.00025, 0.012, 2.5)] == ["-", "0.5 µs", "250 µs", "12 ms", "2.5 s"]
    assert [bytes_text(v) for v in (0, 999, 1500, 2e6)] == ["0 B", "999 B", "1.5 kB", "2 MB"]


async def test_it_understands_a_real_server() -> None:
    settings = replace(Config().listen, metrics=None, api=Endpoint("127.0.0.1", 0))
    http = HttpServer(settings, agent())
    await http.start()
    try:
        text = await asyncio.to_thread(output, AgentClient(http.url("listen.api")), level="address")
    finally:
        await http.stop()
    assert "127.0.0.1:80" in text
    assert "203.0.113.9:443" in text


def test_without_an_agent_it_exits_1_with_a_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert main(["top", "--once", "--url", f"http://127.0.0.1:{port}"]) == Exit.NOT_AS_WISHED
    told = capsys.readouterr().err
    assert f"no agent answers at http://127.0.0.1:{port}" in told
    assert "sudo firesteel run" in told
