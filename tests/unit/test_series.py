# SPDX-License-Identifier: Apache-2.0
"""Life of the page's series: first as 0, never backwards, merged and never doubled, within limits, gone when idle."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers.rows import RequestRow, Role
from exporters.detail import DetailRule
from exporters.projection import PHASE_LIMITS_NS, WHOLE_LIMITS_NS, traffic_light
from exporters.registry_traffic import (
    CONNECT_LABELS,
    EDGE_LABELS,
    ENTITY_LABELS,
    OUTCOME_LABELS,
    TCP_LABELS,
    TRACE_LABELS,
)
from exporters.settings import DetailInForce, MetricsSettings, RowLimits
from tests.pages import Bench, labels_of, parse, values
from tests.rows import CLIENT, OUTSIDE, SECOND, FixedResolver, identity, last, pod, request_row, tcp_row

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
NOW = MetricsSettings(scrape_interval_ns=0)
TOTAL = "kindling_topology_request_total"


def both_ends(index: int = 1, count: int = 1, **fields: object) -> RequestRow:
    return request_row(index, Role.SERVER, count=count, peer=CLIENT, **fields)


def test_every_label_of_the_contract_is_there_and_filled() -> None:
    rows = [both_ends(count=3)]
    tcp = [tcp_row(1, srtt_us=250, retransmits=1), tcp_row(2, error=111, connects=2, connect_ns=60)]
    page = Bench().feed(rows, tcp, now_ns=SECOND).page()
    (labels,) = labels_of(page, "kindling_entity_request_total")
    assert set(labels) == {*ENTITY_LABELS, *OUTCOME_LABELS}
    assert labels == {
        "node": "node-1",
        "namespace": "shop",
        "workload_kind": "deployment",
        "workload_name": "server",
        "service": "server-service",
        "pod": "server-pod",
        "container": "server-main",
        "container_id": "0123456789ab",
        "ip": "10.0.0.2",
        "port": "80",
        "protocol": "http",
        "request_content": "/a",
        "response_content": "200",
        "is_slow": "false",
        "is_error": "false",
    }
    (labels,) = labels_of(page, TOTAL)
    assert set(labels) == {*EDGE_LABELS, *OUTCOME_LABELS}
    assert labels["src_workload_name"] == "client"
    assert (labels["dst_ip"], labels["dst_port"], labels["status_code"]) == ("10.0.0.2", "80", "200")
    (labels,) = labels_of(page, "kindling_trace_request_duration_nanoseconds")
    assert set(labels) == set(TRACE_LABELS)
    assert (labels["is_server"], labels["dnat_ip"], labels["dnat_port"]) == ("true", "", "")
    (labels,) = labels_of(page, "kindling_tcp_srtt_microseconds")
    assert set(labels) == set(TCP_LABELS)
    (labels,) = labels_of(page, "kindling_tcp_connect_total")
    assert set(labels) == set(CONNECT_LABELS)
    assert (labels["success"], labels["errno"]) == ("false", "111")


def test_values_are_those_of_the_rows() -> None:
    page = Bench().feed([both_ends(count=3)], [tcp_row(1, srtt_us=250, retransmits=4, drops=2)], now_ns=SECOND).page()
    series = {name: value for (name, _), value in parse(page).items() if not name.endswith("_bucket")}
    assert series == {
        "kindling_entity_request_total": 3,
        "kindling_entity_request_duration_nanoseconds_total": 3000,
        "kindling_entity_request_send_bytes_total": 300,
        "kindling_entity_request_receive_bytes_total": 30,
        "kindling_entity_request_duration_seconds_count": 3,
        "kindling_entity_request_duration_seconds_sum": 3e-06,
        "kindling_topology_request_total": 3,
        "kindling_topology_request_duration_nanoseconds_total": 3000,
        "kindling_topology_request_request_bytes_total": 30,
        "kindling_topology_request_response_bytes_total": 300,
        "kindling_trace_request_duration_nanoseconds": 1000,
        "kindling_tcp_srtt_microseconds": 250,
        "kindling_tcp_retransmit_total": 4,
        "kindling_tcp_packet_loss_total": 2,
    }


def test_histogram_buckets_are_cumulative() -> None:
    row = both_ends(count=6, buckets=(1, 0, 2, 0, 0, 0, 0, 1, 2), duration_ns=9 * SECOND)
    page = Bench().feed([row], now_ns=SECOND).page()
    assert values(page, "kindling_entity_request_duration_seconds_bucket", "le") == {
        ("0.005",): 1,
        ("0.01",): 1,
        ("0.025",): 3,
        ("0.05",): 3,
        ("0.1",): 3,
        ("0.25",): 3,
        ("0.5",): 3,
        ("2.5",): 4,
        ("+Inf",): 6,
    }
    assert values(page, "kindling_entity_request_duration_seconds_sum") == {(): 9.0}


@pytest.mark.parametrize(
    ("histograms", "entity", "topology"),
    [("none", 0, 0), ("entity", 1, 0), ("topology", 0, 1), ("both", 1, 1)],
)
def test_histograms_by_choice(histograms: str, entity: int, topology: int) -> None:
    page = Bench(replace(NOW, histograms=histograms)).feed([both_ends()], now_ns=1).page()  # type: ignore[arg-type]
    assert len(values(page, "kindling_entity_request_duration_seconds_count")) == entity
    assert len(values(page, "kindling_topology_request_duration_seconds_count")) == topology


def test_a_new_counter_is_0_for_one_interval_and_then_its_value() -> None:
    bench = Bench(MetricsSettings(scrape_interval_ns=30 * SECOND))
    bench.feed([both_ends(count=3)], now_ns=100 * SECOND)
    for now, expected in ((100, 0), (129, 0), (130, 3), (131, 3)):
        assert set(values(bench.page(now * SECOND), TOTAL).values()) == {expected}
        assert set(values(bench.page(now * SECOND), "kindling_entity_request_duration_seconds_count").values()) == {
            expected
        }
    # What came within the interval is not lost either, and a second outcome begins with 0 of its own.
    bench.feed([both_ends(count=5), both_ends(2, count=2, is_slow=True)], now_ns=140 * SECOND)
    assert values(bench.page(), TOTAL, "is_slow") == {("false",): 5, ("true",): 0}
    assert values(bench.page(170 * SECOND), TOTAL, "is_slow") == {("false",): 5, ("true",): 2}


def test_two_scrapers_read_the_same_and_a_page_does_not_change_afterwards() -> None:
    bench = Bench().feed([both_ends(count=3)], now_ns=SECOND)
    early = bench.store.page(SECOND)
    assert bench.page() == bench.page()
    bench.feed([both_ends(count=9)], now_ns=2 * SECOND)
    assert early.edges[0].singles[0].value == 3
    assert bench.store.page(2 * SECOND).edges[0].singles[0].value == 9


def test_counters_end_after_an_hour_and_gauges_after_five_minutes() -> None:
    bench = Bench()
    rows, tcp = [both_ends(count=3)], [tcp_row(1, srtt_us=250, retransmits=1, updated_ns=SECOND)]
    bench.feed(rows, tcp, now_ns=SECOND)
    srtt = "kindling_tcp_srtt_microseconds"
    assert values(bench.page(SECOND + 5 * MINUTE), srtt) == {(): 250}
    assert values(bench.page(SECOND + 5 * MINUTE + 1), srtt) == {}
    assert values(bench.page(SECOND + 5 * MINUTE + 1), "kindling_tcp_retransmit_total") == {(): 1}
    assert values(bench.feed(rows, tcp, now_ns=SECOND + HOUR).page(), TOTAL) == {(): 3}
    assert parse(bench.feed(rows, tcp, now_ns=SECOND + HOUR + 1).page()) == {}


def test_workload_detail_empties_pods_and_addresses_but_those_outside() -> None:
    rows = [both_ends(1), request_row(2, remote_ip="203.0.113.7", remote_port=443, protocol="tls")]
    page = Bench(replace(NOW, detail="workload")).feed(rows, now_ns=SECOND).page()
    inside, outside = sorted(labels_of(page, TOTAL), key=lambda labels: labels["protocol"])
    assert (inside["dst_ip"], inside["dst_port"], inside["dst_workload_name"]) == ("", "80", "server")
    assert (outside["dst_ip"], outside["dst_port"]) == ("203.0.113.7", "443")
    empty = ("node", "pod", "container", "container_id", "ip")
    assert {inside[f"{side}_{label}"] for side in ("src", "dst") for label in empty} == {""}
    assert {outside[f"src_{label}"] for label in empty} == {""}
    (entity,) = labels_of(page, "kindling_entity_request_total")
    assert {entity[label] for label in empty} == {""}
    assert set(entity) == {*ENTITY_LABELS, *OUTCOME_LABELS}


def test_pod_detail_namespaces_keep_their_labels() -> None:
    resolver = FixedResolver(owners={1: pod("client", "kept"), 2: pod("server", "other")})
    settings = replace(NOW, detail="workload", pod_detail_namespaces=frozenset({"kept"}))
    (labels,) = labels_of(Bench(settings, resolver).feed([both_ends()], now_ns=1).page(), TOTAL)
    assert (labels["src_pod"], labels["src_ip"], labels["dst_pod"], labels["dst_ip"]) == (
        "client-pod",
        "10.0.0.1",
        "",
        "",
    )


def test_dropped_labels_merge_rows() -> None:
    rows = [both_ends(1, 3, status=200), both_ends(2, 4, status=404, is_error=True), both_ends(3, 5, is_slow=True)]
    drop = frozenset({"status_code", "is_error", "is_slow", "response_content", "request_content"})
    page = Bench(replace(NOW, drop_labels=drop)).feed(rows, now_ns=1).page()
    assert values(page, TOTAL) == {(): 12}
    assert values(page, "kindling_entity_request_total") == {(): 12}
    assert not drop & set(labels_of(page, TOTAL)[0])


def test_all_labels_may_be_dropped() -> None:
    every = {*ENTITY_LABELS, *EDGE_LABELS, *OUTCOME_LABELS, *TRACE_LABELS, *CONNECT_LABELS}
    tcp = [tcp_row(1, srtt_us=5, resets_sent=2), tcp_row(2, error=0, connects=1)]
    page = Bench(replace(NOW, drop_labels=frozenset(every))).feed([both_ends(count=2)], tcp, now_ns=1).page()
    assert values(page, TOTAL) == {(): 2}
    assert values(page, "kindling_tcp_reset_total", "direction") == {("sent",): 2}
    assert len(labels_of(page, "kindling_entity_request_duration_seconds_bucket")) == 9


def test_a_cluster_label_is_on_every_traffic_series() -> None:
    settings = replace(NOW, cluster_label='prod "1"', histograms="both")
    page = Bench(settings).feed([both_ends()], [tcp_row(srtt_us=1)], now_ns=1).page()
    assert {dict(labels)["cluster"] for _, labels in parse(page)} == {'prod \\"1\\"'}


def test_process_info_adds_pid_and_comm() -> None:
    page = Bench(replace(NOW, process_info=True)).feed((), [tcp_row(error=0, connects=1)], now_ns=1).page()
    (labels,) = labels_of(page, "kindling_tcp_connect_total")
    assert (labels["pid"], labels["comm"], labels["success"], labels["errno"]) == ("4001", "curl", "true", "0")


def test_rows_beyond_the_limit_are_one_row_called_other_and_counted() -> None:
    bench = Bench(replace(NOW, rows=RowLimits(entity=2, topology=3, tcp=1)))
    rows = [both_ends(n, count=1, status=500 + n, request_content=f"/{n}") for n in range(6)]
    tcp = [tcp_row(n, remote_port=n + 1, retransmits=1) for n in range(3)]
    for count in (1, 4):
        moved = [both_ends(n, count=count, status=500 + n, request_content=f"/{n}") for n in range(6)]
        page = bench.feed(moved if count > 1 else rows, tcp, now_ns=count).page()
    assert values(page, TOTAL, "dst_namespace", "dst_ip", "protocol") == {
        ("shop", "10.0.0.2", "http"): 12,
        ("other", "other", "other"): 12,
    }
    assert values(page, "kindling_entity_request_total", "namespace") == {("shop",): 8, ("other",): 16}
    assert values(page, "kindling_tcp_retransmit_total", "dst_namespace") == {("shop",): 1, ("other",): 2}
    report = bench.store.report()
    assert (report.overflow["topology"], report.overflow["entity"], report.overflow["tcp"]) == (3, 4, 2)
    assert (report.rows["topology"], report.rows["entity"]) == (4, 3)


def test_the_engines_overflow_row_and_the_pages_are_the_same_series() -> None:
    bench = Bench(replace(NOW, rows=RowLimits(topology=1)))
    rows = [both_ends(1), both_ends(2, status=404), request_row(3, Role.UNKNOWN, count=7, overflow=True)]
    page = bench.feed(rows, now_ns=1).page()
    assert values(page, TOTAL, "dst_namespace") == {("shop",): 1, ("other",): 8}


def test_the_row_of_all_others_goes_on_when_the_engines_own_has_ended() -> None:
    """It has counts of the page's overflow as well, which go on: a counter that is still moved does not begin again."""
    bench = Bench(replace(NOW, rows=RowLimits(topology=1)))
    beyond = request_row(3, Role.UNKNOWN, count=7, overflow=True)
    bench.feed([both_ends(1), both_ends(2, status=404), beyond], now_ns=1)
    for now_ns, count in ((HOUR // 2, 2), (HOUR + 1, 3), (HOUR + 2, 4)):
        page = bench.feed([both_ends(1, count), both_ends(2, count, status=404), beyond], now_ns=now_ns).page()
        assert values(page, TOTAL, "dst_namespace") == {("shop",): count, ("other",): count + 7}


def test_room_that_became_free_is_used_again() -> None:
    bench = Bench(replace(NOW, rows=RowLimits(topology=1), counter_ttl_ns=MINUTE))
    bench.feed([both_ends(1, 1, status=200), both_ends(2, 1, status=404)], now_ns=1)
    bench.feed([both_ends(1, 1, status=200), both_ends(2, 2, status=404)], now_ns=1 + MINUTE)
    bench.feed([both_ends(1, 1, status=200), both_ends(2, 3, status=404)], now_ns=2 + MINUTE)
    page = bench.feed([both_ends(1, 1, status=200), both_ends(2, 7, status=404)], now_ns=3 + MINUTE).page()
    assert values(page, TOTAL, "status_code", "dst_namespace") == {("404", "shop"): 4, ("", "other"): 3}


def test_outside_addresses_and_contents_are_capped() -> None:
    settings = replace(NOW, outside_addresses=2, contents_per_workload=2)
    rows = [request_row(n, remote_ip=f"203.0.113.{n}", remote_port=443) for n in range(4)]
    rows += [both_ends(10 + n, request_content=f"/{n}") for n in range(5)]
    page = Bench(settings).feed(rows, now_ns=1).page()
    outside = values(page, TOTAL, "dst_namespace", "dst_ip", "dst_port")
    assert outside == {
        ("NOT_FOUND_EXTERNAL", "203.0.113.0", "443"): 1,
        ("NOT_FOUND_EXTERNAL", "203.0.113.1", "443"): 1,
        ("NOT_FOUND_EXTERNAL", "other", ""): 2,
        ("shop", "10.0.0.2", "80"): 5,
    }
    contents = values(page, "kindling_entity_request_total", "request_content")
    assert contents == {("/0",): 1, ("/1",): 1, ("other",): 3}


def test_capped_values_that_are_out_of_use_make_room() -> None:
    bench = Bench(replace(NOW, outside_addresses=1, counter_ttl_ns=MINUTE))
    bench.builder.idle_ns = MINUTE
    bench.builder.gauge_idle_ns = MINUTE
    bench.feed([request_row(1, remote_ip="203.0.113.1"), request_row(2, remote_ip="203.0.113.2")], now_ns=1)
    page = bench.feed([request_row(3, remote_ip="203.0.113.3")], now_ns=2 + MINUTE).page()
    assert values(page, TOTAL, "dst_ip") == {("203.0.113.3",): 1}


@pytest.mark.parametrize("detail", ["pod", "workload"])
def test_a_cap_is_not_passed_by_values_whose_accounts_ended_before_their_rows(detail: DetailInForce) -> None:
    """At workload detail a row stays for its hour after the accounts that fed it: of pods that are gone, or of too many."""
    gone: set[tuple[str, str]] = set()
    owners = {n: replace(pod("server"), pod=f"server-{n}") for n in range(1, 13)}
    bench = Bench(
        replace(NOW, detail=detail, outside_addresses=2, contents_per_workload=2), FixedResolver(owners=owners)
    )
    bench.builder.gone_pods = lambda: gone
    for n in range(1, 7):
        now_ns = n * 3 * MINUTE
        asked = request_row(n, remote_ip=f"203.0.113.{n}", identity=identity(n), remote_port=443)
        served = both_ends(10 + n, request_content=f"/{n}", identity=identity(n))
        page = bench.feed([asked, served], now_ns=now_ns).page()
        outside = {labels["dst_ip"] for labels in labels_of(page, TOTAL) if labels["dst_ip"].startswith("203.")}
        contents = {labels["request_content"] for labels in labels_of(page, "kindling_entity_request_total")}
        assert len(outside) <= 2
        assert len(contents - {"other"}) <= 2
        gone.add(("shop", f"server-{n}"))
    page = bench.feed([request_row(20, remote_ip="203.0.113.20")], now_ns=3 * HOUR).page()
    assert {labels["dst_ip"] for labels in labels_of(page, TOTAL)} == {"203.0.113.20"}


def test_detail_switches_with_hysteresis_at_most_once_an_hour() -> None:
    rule = DetailRule()
    turns = [(60, 0, "pod"), (61, 1, "workload"), (10, 2, "workload"), (55, 61, "workload"), (50, 62, "pod")]
    turns += [(61, 63, "pod"), (61, 122, "workload")]
    assert [rule.update("auto", pods, minute * MINUTE) for pods, minute, _ in turns] == [wish for *_, wish in turns]
    assert rule.update("pod", 500, 0) == "pod"


def test_counters_stay_when_the_detail_changes() -> None:
    bench = Bench(replace(NOW, detail="pod")).feed([both_ends(count=5)], now_ns=1)
    bench.store.configure(replace(NOW, detail="workload"))
    page = bench.feed([both_ends(count=8)], now_ns=2).page()
    assert values(page, TOTAL, "dst_pod") == {("server-pod",): 5, ("",): 3}


@pytest.mark.parametrize(
    ("milliseconds", "whole", "phase"),
    [(0, "1", "1"), (200, "1", "1"), (200.001, "1", "2"), (800, "1", "2"), (800.001, "2", "2"), (999.9, "2", "2"), (1000, "2", "3"), (1499.9, "2", "3"), (1500, "3", "3")],
)  # fmt: skip
def test_traffic_lights(milliseconds: float, whole: str, phase: str) -> None:
    duration_ns = int(milliseconds * 10**6)
    assert traffic_light(duration_ns, WHOLE_LIMITS_NS) == whole
    assert traffic_light(duration_ns, PHASE_LIMITS_NS) == phase


def test_the_trace_view_lets_go_of_extras_first_and_of_outside_edges_last() -> None:
    resolver = FixedResolver(addresses={"10.0.0.2": pod("server"), "10.0.0.3": pod("third")})
    rows = [
        request_row(1, remote_ip="203.0.113.1", last=last(ended_ns=1)),
        request_row(2, remote_ip="10.0.0.2", last=last(ended_ns=10)),
        request_row(3, remote_ip="10.0.0.3", last=last(ended_ns=20)),
        request_row(4, remote_ip="10.0.0.2", is_slow=True, request_content="/slow", last=last(ended_ns=9)),
    ]
    expected = {
        4: {("203.0.113.1", "/a"), ("10.0.0.2", "/a"), ("10.0.0.3", "/a"), ("10.0.0.2", "/slow")},
        3: {("203.0.113.1", "/a"), ("10.0.0.2", "/a"), ("10.0.0.3", "/a")},
        2: {("203.0.113.1", "/a"), ("10.0.0.3", "/a")},
        1: {("203.0.113.1", "/a")},
    }
    for limit, shown in expected.items():
        bench = Bench(replace(NOW, rows=RowLimits(trace=limit)), resolver).feed(rows, now_ns=SECOND)
        page = bench.feed(rows, now_ns=SECOND + 1).page()
        labels = labels_of(page, "kindling_trace_request_duration_nanoseconds")
        assert {(label["dst_ip"], label["request_content"]) for label in labels} == shown
        assert bench.store.report().rows["trace"] == limit
        assert bench.store.report().overflow["trace"] == 4 - limit


def test_traces_of_edges_that_merge_are_the_traces_of_one_edge() -> None:
    rows = [request_row(n, local_ip=f"10.0.0.{n}", request_content=f"/{n}", last=last(ended_ns=n)) for n in range(1, 4)]
    page = Bench(replace(NOW, detail="workload")).feed(rows, now_ns=SECOND).page()
    (labels,) = labels_of(page, "kindling_trace_request_duration_nanoseconds")
    assert labels["request_content"] == "/3"


def test_a_users_query_lists_every_outside_address_in_use() -> None:
    rows = [request_row(n, remote_ip=f"198.51.100.{n}", remote_port=443, protocol="tls") for n in range(1, 40)]
    page = Bench().feed(rows, now_ns=SECOND).page()
    found = {
        labels["dst_ip"]
        for labels in labels_of(page, "kindling_trace_request_duration_nanoseconds")
        if labels["dst_namespace"] == "NOT_FOUND_EXTERNAL"
    }
    assert found == {f"198.51.100.{n}" for n in range(1, 40)}


SETTINGS = st.builds(
    MetricsSettings,
    detail=st.sampled_from(["pod", "workload"]),
    histograms=st.just("both"),
    scrape_interval_ns=st.sampled_from([0, 2]),
    drop_labels=st.frozensets(st.sampled_from(sorted({*EDGE_LABELS, *ENTITY_LABELS, *OUTCOME_LABELS})), max_size=12),
    rows=st.builds(RowLimits, st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), st.integers(1, 6)),
    contents_per_workload=st.integers(1, 3),
    outside_addresses=st.integers(1, 3),
)
ROW = st.tuples(
    st.sampled_from([Role.CLIENT, Role.SERVER]),
    st.sampled_from(["10.0.0.1", "10.0.0.2", "203.0.113.1", "203.0.113.2"]),
    st.sampled_from([200, 404]),
    st.sampled_from(["/a", '"\\\n', "/c"]),
    st.booleans(),
)


@given(SETTINGS, SETTINGS, st.lists(ROW, min_size=1, max_size=8), st.lists(st.integers(0, 9), min_size=2, max_size=5))
def test_no_series_is_there_twice_and_none_falls(
    settings: MetricsSettings,
    later: MetricsSettings,
    kinds: list[tuple[Role, str, int, str, bool]],
    growth: list[int],
) -> None:
    bench = Bench(settings, FixedResolver(addresses={"10.0.0.2": pod("server"), "203.0.113.9": OUTSIDE}))
    before: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    count = 0
    for turn, amount in enumerate(growth):
        count += amount
        rows = [
            request_row(n, role, count=count, remote_ip=ip, status=status, request_content=content, is_error=error)
            for n, (role, ip, status, content, error) in enumerate(kinds)
        ]
        if turn == 2:
            bench.store.configure(later)
        page = bench.feed(rows, now_ns=turn + 1).page(turn + 1)
        after = {key: value for key, value in parse(page).items() if not key[0].endswith("_nanoseconds")}
        falling = {key: value for key, value in before.items() if after.get(key, value) < value}
        if turn != 2 or later.scrape_interval_ns <= settings.scrape_interval_ns:
            assert not falling
        before = after
    bench.store.configure(replace(later, scrape_interval_ns=0))
    total = sum(values(bench.page(), TOTAL).values())
    edges = [kind for kind in kinds if kind[0] is Role.CLIENT or kind[1] != "10.0.0.2"]
    assert total == count * len(edges)
