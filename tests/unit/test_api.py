# SPDX-License-Identifier: Apache-2.0
"""Rows in, JSON out: every number is checked against the rows it was made of."""

import errno
import json
from dataclasses import replace
from typing import Any, cast

import pytest

from analyzers.edges import Ends
from analyzers.resolver import NOT_FOUND_EXTERNAL, Party
from analyzers.rows import DriverCounters, Identity, RequestRow, Role, TcpRow
from collector.api import loss_json, sample_json, status_json, traces_json
from collector.ends import Level, host_port
from collector.rates import RateWindow, quantile
from collector.topology import TCP_ONLY, build_graph, topology_json
from collector.topology_rows import ROW_LIMIT, address_rows_json, rows_json
from collector.traffic import NamedRequest, NamedTcp, Traffic, TrafficNames
from exporters.own import ProcessUse
from tests.fake_agent import BOUNDS, MS, SECOND, WALL, FakeAgent, Peer, engine_state, grown, request, sample_of, tcp
from tests.rows import last

CURL = Peer("127.0.0.1", "curl", comm="curl", pid=10)
NGINX = Peer("127.0.0.1", "nginx.service", "systemd", comm="nginx", pid=20)
GITHUB = Peer("140.82.121.3", outside=True, domain="github.com")
BARE = Peer("203.0.113.9", outside=True)


def graph(level: str, requests: list[NamedRequest], tcp_rows: list[NamedTcp] | None = None, **more: Any) -> Any:
    traffic = Traffic(100 * SECOND, requests, tcp_rows or [], BOUNDS)
    return topology_json(Level(level), traffic, more.get("baseline"), more.get("limit", 2000))


def window(before: list[NamedRequest], tcp_before: list[NamedTcp], clock_ns: int) -> Any:
    rates = RateWindow()
    assert rates.observe(clock_ns, [n.row for n in before], [n.row for n in tcp_before]) is None
    return rates.observe(100 * SECOND, [n.row for n in before], [n.row for n in tcp_before])


def test_one_edge_has_the_sums_of_its_rows() -> None:
    shown = graph(
        "workload",
        [
            request(1, CURL, NGINX, 80, count=8),
            request(2, CURL, NGINX, 80, status=404, error=True, count=2, content="/x"),
            request(3, CURL, NGINX, 8080, slow=True, duration_ns=700 * MS, count=1),
        ],
    )
    (edge,) = shown["edges"]
    assert edge["source"] == "NOT_FOUND_INTERNAL/process/curl"
    assert edge["destination"] == "NOT_FOUND_INTERNAL/systemd/nginx.service"
    assert edge["id"] == f"{edge['source']} > {edge['destination']} > http"
    assert edge["ports"] == [80, 8080]
    assert edge["rows"] == 3
    total = edge["total"]
    assert (total["requests"], total["errors"], total["slow"]) == (11, 2, 1)
    assert (total["request_bytes"], total["response_bytes"]) == (1100, 11000)
    assert total["duration_seconds"]["mean"] == pytest.approx((10 * 0.002 + 0.7) / 11)
    assert edge["window"] is None
    assert shown["window_seconds"] is None
    assert shown["counted_seconds"] == 99.0
    assert {node["title"] for node in shown["nodes"]} == {"curl", "nginx.service"}


def test_an_edge_tells_when_it_was_last_and_first_seen() -> None:
    rows = [request(1, CURL, NGINX, 80, ended_ns=70 * SECOND), request(2, CURL, NGINX, 80, ended_ns=88 * SECOND)]
    (edge,) = graph("workload", rows, [tcp(1, CURL, NGINX, 80, updated_ns=60 * SECOND)])["edges"]
    assert (edge["idle_seconds"], edge["age_seconds"]) == (12.0, 99.0)


def test_rates_are_the_difference_to_the_baseline_over_its_age() -> None:
    first = request(1, CURL, NGINX, 80, count=50)
    failed = tcp(1, CURL, NGINX, 80, error=errno.ECONNREFUSED, connects=3)
    baseline = window([first], [failed], 90 * SECOND)
    new = request(2, CURL, NGINX, 80, status=500, error=True, count=4)
    more_failed = tcp(1, CURL, NGINX, 80, error=errno.ECONNREFUSED, connects=8)
    shown = graph("workload", [grown(first, 20), new], [more_failed], baseline=baseline)
    (edge,) = shown["edges"]
    assert shown["window_seconds"] == 10.0
    recent = edge["window"]
    assert recent["requests"] == 24
    assert recent["requests_per_second"] == 2.4
    assert recent["errors_per_second"] == 0.4
    assert recent["request_bytes_per_second"] == 240.0
    assert recent["connect_failures"] == 5
    assert edge["total"]["requests"] == 74
    assert edge["tcp"]["connect_failures"] == {"ECONNREFUSED": 8}
    by_title = {node["title"]: node for node in shown["nodes"]}
    assert by_title["nginx.service"]["answered"]["requests_per_second"] == 2.4
    assert by_title["curl"]["asked"]["errors"] == 4
    assert by_title["curl"]["answered"]["requests"] == 0


def test_a_server_row_points_the_same_way_as_a_client_row() -> None:
    from_client = graph("address", [request(1, CURL, NGINX, 80, role=Role.CLIENT)])["edges"][0]
    from_server = graph("address", [request(1, CURL, NGINX, 80, role=Role.SERVER)])["edges"][0]
    assert from_client["source"] == from_server["source"]
    assert from_client["destination"] == from_server["destination"]
    assert from_client["ports"] == from_server["ports"] == [80]


def test_unknown_direction_is_drawn_but_marked() -> None:
    (edge,) = graph("workload", [request(1, CURL, NGINX, 80, role=Role.UNKNOWN)])["edges"]
    assert edge["certain_direction"] is False


@pytest.mark.parametrize(
    ("level", "source", "destination"),
    [
        ("namespace", "this host", "outside"),
        ("workload", "curl", "github.com"),
        ("pod", "curl", "github.com"),
        ("address", "127.0.0.1", "140.82.121.3:443"),
    ],
)
def test_what_a_node_is_called_at_each_level(level: str, source: str, destination: str) -> None:
    named = request(1, Peer("127.0.0.1", "curl", comm="curl"), GITHUB, 443)
    titles = {node["id"]: node["title"] for node in graph(level, [named])["nodes"]}
    edge = graph(level, [named])["edges"][0]
    if level == "namespace":
        source = "box"
    assert (titles[edge["source"]], titles[edge["destination"]]) == (source, destination)


def test_pods_and_workloads_fold() -> None:
    cart_a = Peer("10.0.0.1", "cart", "Deployment", namespace="shop", pod="cart-a")
    cart_b = Peer("10.0.0.2", "cart", "Deployment", namespace="shop", pod="cart-b")
    db = Peer("10.0.0.3", "db", "StatefulSet", namespace="data", pod="db-0")
    rows = [request(1, cart_a, db, 5432), request(2, cart_b, db, 5432)]
    assert len(graph("pod", rows)["edges"]) == 2
    assert [e["id"] for e in graph("workload", rows)["edges"]] == ["shop/Deployment/cart > data/StatefulSet/db > http"]
    assert [e["id"] for e in graph("namespace", rows)["edges"]] == ["namespace/shop > namespace/data > http"]
    assert graph("workload", rows)["nodes"][1]["addresses"] == ["10.0.0.1", "10.0.0.2"]


def test_an_outside_address_without_a_name_is_its_address() -> None:
    nodes = graph("workload", [request(1, CURL, BARE, 443)])["nodes"]
    assert [n["title"] for n in nodes if n["outside"]] == ["203.0.113.9"]


def test_failed_attempts_alone_make_an_edge() -> None:
    shown = graph("workload", [], [tcp(1, CURL, BARE, 25, error=errno.ETIMEDOUT, connects=2)])
    (edge,) = shown["edges"]
    assert edge["protocol"] == TCP_ONLY
    assert edge["tcp"]["connect_failures"] == {"ETIMEDOUT": 2}
    assert edge["total"]["requests"] == 0
    assert edge["total"]["duration_seconds"] == {
        "mean": None, "p50": None, "p90": None, "p99": None, "at_most": [], "at_least": [],
    }  # fmt: skip


def test_tcp_facts_go_to_the_busiest_protocol_on_their_port() -> None:
    rows = [
        request(1, CURL, NGINX, 80, protocol="http", count=9),
        request(2, CURL, NGINX, 80, protocol="websocket", count=1),
        request(3, CURL, NGINX, 53, protocol="dns", count=99),
    ]
    health = tcp(1, CURL, NGINX, 80, connects=4, connect_ns=8 * MS, srtt_us=250, retransmits=7)
    found = {edge["protocol"]: edge["tcp"] for edge in graph("workload", rows, [health])["edges"]}
    assert found["http"]["retransmits"] == 7
    assert found["http"]["srtt_seconds"] == 0.00025
    assert found["http"]["connect_seconds_mean"] == 0.002
    assert found["websocket"]["retransmits"] == found["dns"]["retransmits"] == 0


def test_what_the_kernel_told_without_a_process_finds_the_only_edge_it_can_belong_to() -> None:
    nobody = Peer("127.0.0.1")
    other = Peer("127.0.0.1", "wget", comm="wget", pid=11)
    reset = tcp(1, nobody, NGINX, 80, retransmits=5)
    (edge,) = graph("workload", [request(1, CURL, NGINX, 80)], [reset])["edges"]
    assert edge["tcp"]["retransmits"] == 5
    (edge,) = graph("workload", [], [reset, tcp(2, CURL, NGINX, 80, connects=1)])["edges"]
    assert (edge["tcp"]["retransmits"], edge["tcp"]["connects"]) == (5, 1)
    two = [request(1, CURL, NGINX, 80), request(2, other, NGINX, 80)]
    assert [edge["tcp"]["retransmits"] for edge in graph("workload", two, [reset])["edges"]] == [0, 0]
    assert graph("workload", [], [reset])["edges"] == []
    assert len(graph("workload", [], [tcp(1, nobody, BARE, 80, retransmits=5)])["edges"]) == 1
    named = Peer("203.0.113.9", domain="bank.example", outside=True)
    (edge,) = graph("workload", [request(1, CURL, named, 80)], [tcp(1, nobody, BARE, 80, retransmits=5)])["edges"]
    assert (edge["destination"], edge["tcp"]["retransmits"]) == ("outside/bank.example", 5)


def test_the_newest_round_trip_time_wins() -> None:
    rows = [tcp(1, CURL, NGINX, 80, srtt_us=90, updated_ns=50), tcp(2, CURL, NGINX, 80, srtt_us=40, updated_ns=60)]
    assert graph("workload", [], rows)["edges"][0]["tcp"]["srtt_seconds"] == 40e-6
    assert graph("workload", [], rows[::-1])["edges"][0]["tcp"]["srtt_seconds"] == 40e-6


def test_beyond_the_limit_the_busiest_edges_stay_and_the_rest_is_counted() -> None:
    rows = [request(i, Peer(f"10.0.0.{i}", f"w{i}"), NGINX, 80, count=i) for i in range(1, 11)]
    shown = graph("workload", rows, limit=3)
    assert sorted(edge["total"]["requests"] for edge in shown["edges"]) == [8, 9, 10]
    assert shown["left_off"] == 7
    assert len(shown["nodes"]) == 4


def test_rows_of_an_edge_and_of_a_node() -> None:
    rows = [
        request(1, CURL, NGINX, 80, count=3, content="/a"),
        request(2, CURL, NGINX, 80, count=5, content="/b"),
        request(3, CURL, GITHUB, 443, protocol="tls"),
    ]
    traffic = Traffic(100 * SECOND, rows, [tcp(1, CURL, NGINX, 80, retransmits=2)], BOUNDS)
    edge = build_graph(Level.WORKLOAD, traffic, None).edges
    key = next(key for key in edge if key[2] == "http")
    found = cast("Any", rows_json(Level.WORKLOAD, traffic, None, lambda k: k == key or k == (*key[:2], TCP_ONLY)))
    assert [row["request_content"] for row in found["rows"]] == ["/b", "/a"]
    assert found["tcp"][0]["retransmits"] == 2
    assert found["rows"][0]["destination"]["port"] == 80
    assert found["rows"][0]["last"]["phases_seconds"]["processing"] == pytest.approx(0.001)
    assert found["rows"][0]["last"]["idle_seconds"] == 0
    of_node = cast("Any", rows_json(Level.WORKLOAD, traffic, None, lambda k: key[0] in k[:2]))
    assert len(of_node["rows"]) == 3


def test_rows_are_capped_and_counted() -> None:
    rows = [request(i, CURL, NGINX, 80, content=f"/{i}") for i in range(ROW_LIMIT + 4)]
    found = cast("Any", rows_json(Level.WORKLOAD, Traffic(0, rows, [], BOUNDS), None, lambda _key: True))
    assert (len(found["rows"]), found["left_off"]) == (ROW_LIMIT, 4)


def test_rows_of_an_address() -> None:
    rows = [request(1, CURL, NGINX, 80), request(2, CURL, GITHUB, 443)]
    traffic = Traffic(0, rows, [], BOUNDS)
    by_ip = cast("Any", address_rows_json(traffic, None, "127.0.0.1", 0))
    by_port = cast("Any", address_rows_json(traffic, None, "127.0.0.1", 80))
    assert (len(by_ip["rows"]), len(by_port["rows"])) == (2, 1)
    assert len(cast("Any", address_rows_json(traffic, None, "127.0.0.1", 81))["rows"]) == 0


def test_quantiles_are_linear_inside_a_bucket() -> None:
    assert quantile((0, 100, 0), (10 * MS, 20 * MS), 0.9) == pytest.approx((0.019, ""))
    assert quantile((50, 50, 0), (10 * MS, 20 * MS), 0.6) == pytest.approx((0.012, ""))
    assert quantile((0, 0, 0), (10 * MS, 20 * MS), 0.5) is None


def test_a_quantile_in_the_open_bucket_says_at_least() -> None:
    assert quantile((1, 0, 9), (10 * MS, 20 * MS), 0.5) == (0.02, "at_least")
    (edge,) = graph("workload", [request(1, CURL, NGINX, 80, duration_ns=9 * SECOND)])["edges"]
    assert edge["total"]["duration_seconds"]["p99"] == 5.0
    assert edge["total"]["duration_seconds"]["at_least"] == ["p50", "p90", "p99"]
    assert edge["total"]["duration_seconds"]["at_most"] == []


def test_a_quantile_in_the_first_bucket_says_at_most() -> None:
    """Redis answers in microseconds: half of the first bucket's 5 ms would be far from it."""
    assert quantile((100, 0, 0), (10 * MS, 20 * MS), 0.5) == (0.01, "at_most")
    assert quantile((50, 50, 0), (10 * MS, 20 * MS), 0.5) == (0.01, "at_most")
    shown = graph("workload", [request(1, CURL, NGINX, 80, duration_ns=35_000)])
    (edge,) = shown["edges"]
    durations = edge["total"]["duration_seconds"]
    assert (durations["p50"], durations["p99"]) == (0.001, 0.001)
    assert durations["at_most"] == ["p50", "p90", "p99"]


class TestRateWindow:
    def rows(self, count: int) -> tuple[list[RequestRow], list[TcpRow]]:
        return [request(1, CURL, NGINX, 80, count=count).row], []

    def test_looks_back_ten_seconds_when_asked_every_two(self) -> None:
        rates = RateWindow()
        for second in range(0, 60, 2):
            found = rates.observe(second * SECOND, *self.rows(second + 1))
        assert found is not None
        assert 58 - found.clock_ns / SECOND == 10

    def test_forgets_what_is_old(self) -> None:
        rates = RateWindow()
        assert rates.observe(0, *self.rows(1)) is None
        assert rates.observe(31 * SECOND, *self.rows(5)) is None
        assert rates.observe(32 * SECOND, *self.rows(6)) is not None

    def test_asked_often_it_remembers_once_a_second(self) -> None:
        rates = RateWindow()
        for step in range(100):
            rates.observe(step * SECOND // 10, *self.rows(step + 1))
        assert len(rates._baselines) == 10

    def test_rows_that_did_not_move_share_their_memory(self) -> None:
        rates = RateWindow()
        rates.observe(0, *self.rows(7))
        rates.observe(2 * SECOND, *self.rows(7))
        first, second = rates._baselines
        assert first.requests[(1, 1)] is second.requests[(1, 1)]

    def test_a_clock_that_goes_back_starts_anew(self) -> None:
        rates = RateWindow()
        rates.observe(50 * SECOND, *self.rows(7))
        assert rates.observe(1 * SECOND, *self.rows(1)) is None


def test_a_sample_names_both_ends_with_both_ports() -> None:
    named = request(1, CURL, NGINX, 80, status=404, error=True, content="/missing", role=Role.SERVER)
    shown = cast("Any", sample_json(sample_of(named, 7, start_ns=1_500 * MS), WALL))
    assert shown["start"] == "2023-11-14T22:13:21.500Z"
    assert (shown["source"]["title"], shown["source"]["port"]) == ("curl", 40000)
    assert (shown["destination"]["title"], shown["destination"]["port"]) == ("nginx.service", 80)
    assert shown["request_content"] == "/missing"
    assert (shown["status"], shown["error"], shown["why"], shown["seen_from"]) == (404, True, "error", "server")
    assert sum(shown["phases_seconds"].values()) == pytest.approx(shown["duration_seconds"])


@pytest.mark.parametrize("level", [level.value for level in Level])
@pytest.mark.parametrize("role", [Role.CLIENT, Role.SERVER])
def test_a_sample_leads_to_its_edge_at_every_level(level: str, role: Role) -> None:
    named = request(1, CURL, NGINX, 80, role=role)
    shown = cast("Any", sample_json(sample_of(named, 1), WALL))
    edge = graph(level, [named])["edges"][0]
    assert (shown["source"]["ids"][level], shown["destination"]["ids"][level]) == (edge["source"], edge["destination"])


def test_traces_are_newest_first() -> None:
    named = request(1, CURL, NGINX, 80)
    shown = cast("Any", traces_json([sample_of(named, 1), sample_of(named, 2)], WALL))
    assert [r["sequence"] for r in shown["requests"]] == [2, 1]


def test_losses_by_stage_add_up() -> None:
    state = engine_state(
        stats={
            "connections_rejected": 1, "pending_overflow": 2, "discarded_exchanges": 4, "requests": 9,
            "flows_evicted": 64, "ring_contradictions": 128, "rows_overflow": 256, "orphan_responses": 512,
        }
    )  # fmt: skip
    counters = DriverCounters({"DATA": 100}, {"DATA": 8, "OPEN": 16, "CLOSE": 0}, {}, 32, 0)
    assert loss_json(state, counters) == {
        "ring": 24, "storage": 32, "hook": 0, "connections": 1, "table": 64, "parse": 128, "pair": 2, "recording": 0,
        "export": 0, "total": 251,
        "events": {"DATA": 8, "OPEN": 16},
    }  # fmt: skip
    assert loss_json(state, counters, 5)["total"] == loss_json(state, counters)["total"] + 5  # type: ignore[operator]
    assert loss_json(engine_state(), None)["total"] == 0


def test_status_is_json_and_tells_the_heartbeat_only_live() -> None:
    status = FakeAgent().now
    beat = status.engine.heartbeat_ns
    shown = cast("Any", json.loads(json.dumps(status_json(status, status.started + 5, beat + 2 * SECOND))))
    assert shown["engine"]["heartbeat_age_seconds"] == 2.0
    assert shown["agent"]["uptime_seconds"] == 5.0
    assert shown["driver"]["hooks"][0]["attached"] is True


def test_status_has_what_the_agents_own_metrics_have() -> None:
    used = {"agent": ProcessUse(1.5, 60_000_000)}
    status = replace(FakeAgent().now, processes=used, unresolved={"outside": 3, "node": 1})
    shown = cast("Any", json.loads(json.dumps(status_json(status, 0, 0))))
    assert shown["processes"] == {"agent": {"cpu_seconds": 1.5, "memory_bytes": 60_000_000}}
    assert shown["unresolved"] == {"node": 1, "outside": 3}


def test_host_port_brackets_ipv6() -> None:
    assert host_port("::1", 80) == "[::1]:80"
    assert host_port("::1", 0) == "::1"
    assert host_port("127.0.0.1", 80) == "127.0.0.1:80"


class Answers:
    """A resolver that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.number = 1
        self.far = Party(namespace=NOT_FOUND_EXTERNAL, outside=True)

    def local(self, identity: Identity, ip: str, port: int) -> Party:
        self.asked += 1
        return Party(workload_name=f"{identity.comm}-{self.number}")

    def remote(self, ip: str, port: int, netns: int, at_ns: int = 0) -> Party:
        return self.far

    def service(self, ip: str, port: int) -> str:
        return ""

    def bound_address(self, remote_ip: str, netns: int) -> str:
        return "192.0.2.1"

    def version(self) -> int:
        return self.number


def test_names_are_asked_once_until_the_resolver_changes_its_mind() -> None:
    resolver = Answers()
    names = TrafficNames(resolver)
    row = request(1, CURL, BARE, 80).row
    for _ in range(3):
        traffic = names.name(5, [row], [], BOUNDS)
    assert resolver.asked == 1
    resolver.number = 2
    assert names.name(5, [row], [], BOUNDS).requests[0].ends.local.workload_name == "curl-2"
    assert traffic.requests[0].ends.local.workload_name == "curl-1"


def test_a_server_row_whose_client_tells_itself_is_left_out() -> None:
    resolver = Answers()
    row = request(1, BARE, NGINX, 80, role=Role.SERVER).row
    rows = [tcp(n, end, NGINX, 80, role=role).row for n, (end, role) in enumerate(_TOLD_BY)]
    traffic = TrafficNames(resolver).name(5, [row], rows, BOUNDS)
    assert (len(traffic.requests), len(traffic.tcp)) == (1, 3)
    resolver.far = Party(namespace="shop", observed=True)
    traffic = TrafficNames(resolver).name(5, [row], rows, BOUNDS)
    assert (len(traffic.requests), [named.row.key.index for named in traffic.tcp]) == (0, [1, 2])


class _Handover(Answers):
    """The far end was the old pod's until 5."""

    def remote(self, ip: str, port: int, netns: int, at_ns: int = 0) -> Party:
        self.asked += 1
        return Party(workload_name="old" if 0 < at_ns < 5 else "new", former=0 < at_ns < 5)


def test_a_row_shows_who_had_the_address_when_it_moved_last() -> None:
    resolver = _Handover()
    names = TrafficNames(resolver)
    before = replace(request(1, CURL, BARE, 80).row, last=last(4))
    told = tcp(1, CURL, BARE, 80).row

    def shown(ended: int, updated: int) -> tuple[str, str]:
        row = replace(before, last=last(ended))
        traffic = names.name(9, [row], [replace(told, updated_ns=updated)], BOUNDS)
        return traffic.requests[0].ends.remote.workload_name, traffic.tcp[0].ends.remote.workload_name

    assert [shown(4, 4), shown(4, 6), shown(6, 6)] == [("old", "old"), ("old", "new"), ("new", "new")]
    asked = resolver.asked
    assert shown(7, 7) == ("new", "new")
    assert resolver.asked == asked  # who has it still is asked for once


_TOLD_BY = ((BARE, Role.SERVER), (CURL, Role.SERVER), (BARE, Role.CLIENT))


def test_ends_keep_the_addresses_that_the_resolver_gave() -> None:
    named = request(1, CURL, NGINX, 80)
    moved = NamedRequest(named.row, Ends(named.ends.local, named.ends.remote, "192.0.2.7", "192.0.2.8"))
    shown = graph("address", [moved])["nodes"]
    assert sorted(n["title"] for n in shown) == ["192.0.2.7", "192.0.2.8:80"]
