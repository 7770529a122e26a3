# SPDX-License-Identifier: Apache-2.0
"""The agent's own metrics, as the OpenTelemetry SDK's Prometheus exporter writes them: names, labels, values, absence."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from analyzers.losses import LOSSES
from analyzers.rows import DriverCounters, EngineState
from analyzers.snapshot import EMPTY
from exporters.own import (
    ApiReport,
    DriverReport,
    ExportReport,
    FollowReport,
    OwnMetrics,
    OwnState,
    PluginReport,
    ProcessUse,
    ServeReport,
    TableSizes,
)
from exporters.registry_own import OWN
from exporters.series import SeriesReport
from tests.pages import promtool_check
from tests.rows import SECOND

ENGINE = EngineState(
    state="running",
    heartbeat_ns=7 * SECOND,
    clock_ns=7 * SECOND,
    cpu_ns=3,
    starts=2,
    connections=16,
    pending=3,
    rows_used=64,
    tcp_rows_used=128,
    strings_used=0,
    idents_used=8,
    failure="",
    events={"DATA": 90, "OPEN": 4},
    parse_failures={"http": 1},
    parse_ns={},
    parsed={"http": 40, "dns": 0},
    stats=dict.fromkeys(LOSSES, 2) | {"intra_pod": 11, "samples_written": 5, "samples_shed": 6, "requests": 40},
)
STATE = OwnState(
    version="1.2.3",
    now_ns=10 * SECOND,
    driver=DriverReport(
        "core", "tracepoints", "6.18", {"tcp_destroy_sock": True, "kfree_skb": False}, (("core", "no trampolines"),)
    ),
    engine=ENGINE,
    counters=DriverCounters(
        written={"DATA": 100}, lost={"DATA": 10}, absent={"SYSCALL": 4}, storage_failed=1, merged=700, missed=3
    ),
    sizes=TableSizes(rows=128, tcp_rows=128, strings=128, owners=128, connections=64),
    snapshot=replace(EMPTY, undirected=9, unresolved={"outside": 3}, evicted={"topology": 1}),
    series=SeriesReport({"entity": 12, "trace": 3}, {"entity": 0, "trace": 2}, "workload"),
    absent={"kindling_k8s_workload_info": "there is no cluster"},
    plugins=PluginReport({("teatime", "decoded"): 28, ("teatime", "failed"): 29}, {}, {}, 30, ""),
    exports={"otlp_spans": ExportReport(50, 7, 2, 3)},
    watches={"pods": True, "nodes": False},
    api=ApiReport(21, 22, {"pods": 1.5}),
    follows=FollowReport(up=True, age=2.5, bytes_read=23, starts={"whole": 1, "resumed": 2}),
    serves=ServeReport(3, {"pods": 24}, {"whole": 4, "token": 1}, 25, 26, 27),
    processes={"agent": ProcessUse(1.5, 60_000_000), "engine": ProcessUse(0.25, 9_000_000)},
    restarts=1,
    samples_missed=4,
    stream_dropped=6,
    left_out=28,
    conntrack=True,
    step_level=2,
    steps={"stream": 3, "samples": 1},
    config_valid=False,
)


@pytest.fixture
def metrics() -> Iterator[OwnMetrics]:
    own = OwnMetrics()
    yield own
    own.close()


def told(page: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def series(page: bytes, name: str) -> dict[tuple[str, ...], float]:
    """The values of one metric by its labels' values, labels in the order of their names."""
    return {
        tuple(text for _, text in labels): value for (metric, labels), value in told(page).items() if metric == name
    }


def test_names_and_labels_are_those_of_the_registry(metrics: OwnMetrics) -> None:
    found = {(name, tuple(label for label, _ in labels)) for name, labels in told(metrics.render(STATE))}
    assert found == {(metric.name, tuple(sorted(metric.labels))) for metric in OWN}


def test_values(metrics: OwnMetrics) -> None:
    page = metrics.render(STATE)
    expected: dict[str, dict[tuple[str, ...], float]] = {
        "firesteel_build_info": {("1.2.3",): 1},
        "firesteel_driver_info": {("core", "tracepoints", "6.18"): 1},
        "firesteel_hook_attached": {("tcp_destroy_sock",): 1, ("kfree_skb",): 0},
        "firesteel_events_total": {("kernel", "DATA"): 100, ("engine", "DATA"): 90, ("engine", "OPEN"): 4},
        "firesteel_io_merged_total": {(): 700},
        "firesteel_payload_not_visible_total": {("SYSCALL",): 4},
        "firesteel_parsed_messages_total": {("http",): 40, ("dns",): 0},
        "firesteel_parse_failures_total": {("http",): 1},
        "firesteel_intra_pod_requests_total": {(): 11},
        "firesteel_undirected_requests_total": {(): 9},
        "firesteel_connections": {(): 16},
        "firesteel_pending_requests": {(): 3},
        "firesteel_table_fill_ratio": {
            ("rows",): 0.5,
            ("tcp_rows",): 1.0,
            ("strings",): 0.0,
            ("owners",): 0.0625,
            ("connections",): 0.25,
        },
        "firesteel_unresolved_addresses": {("outside",): 3},
        "firesteel_series": {("entity",): 12, ("trace",): 3},
        "firesteel_series_overflow_total": {("entity",): 0, ("trace",): 2},
        "firesteel_metrics_detail_info": {("workload",): 1},
        "firesteel_metric_absent_info": {("kindling_k8s_workload_info", "there is no cluster"): 1},
        "firesteel_samples_total": {("written",): 5, ("shed",): 6},
        "firesteel_exported_total": {("otlp_spans",): 50},
        "firesteel_export_failures_total": {("otlp_spans",): 2},
        "firesteel_export_waiting": {("otlp_spans",): 3},
        "firesteel_engine_restarts_total": {(): 1},
        "firesteel_engine_lag_seconds": {(): 3},
        "firesteel_left_out_containers": {(): 28},
        "firesteel_step_down_level": {(): 2},
        "firesteel_step_downs_total": {("stream",): 3, ("samples",): 1},
        "firesteel_config_valid": {(): 0},
        "firesteel_kubernetes_watch_up": {("pods",): 1, ("nodes",): 0},
        "firesteel_kubernetes_heard_age_seconds": {("pods",): 1.5},
        "firesteel_kubernetes_requests_total": {(): 21},
        "firesteel_kubernetes_received_bytes_total": {(): 22},
        "firesteel_conntrack_up": {(): 1},
        "firesteel_names_up": {(): 1},
        "firesteel_names_heard_age_seconds": {(): 2.5},
        "firesteel_names_received_bytes_total": {(): 23},
        "firesteel_names_subscriptions_total": {("whole",): 1, ("resumed",): 2},
        "firesteel_names_agents": {(): 3},
        "firesteel_names_objects": {("pods",): 24},
        "firesteel_names_streams_total": {("whole",): 4, ("token",): 1},
        "firesteel_names_sent_bytes_total": {(): 25},
        "firesteel_names_history_bytes": {(): 26},
        "firesteel_names_left_out_total": {(): 27},
        "firesteel_cpu_seconds_total": {("agent",): 1.5, ("engine",): 0.25},
        "firesteel_memory_bytes": {("agent",): 60_000_000, ("engine",): 9_000_000},
    }
    assert {name: series(page, name) for name in expected} == expected
    assert series(page, "firesteel_engine_stat_total")[("requests",)] == 40


def test_loss_is_told_by_type_and_stage(metrics: OwnMetrics) -> None:
    assert series(metrics.render(STATE), "firesteel_lost_total") == {
        ("ring", "DATA"): 10,
        ("ring", "connection"): 1,
        ("parse", "batch"): 2,
        ("table", "connection"): 2,
        ("table", "conversation"): 2,
        ("table", "entry"): 2,
        ("table", "owner"): 2,
        ("table", "command"): 2,
        ("table", "request"): 2,
        ("table", "tcp"): 2,
        ("table", "content"): 4,
        ("table", "sample"): 4,
        ("recording", "event"): 2,
        ("parse", "event"): 4,
        ("parse", "byte"): 2,
        ("parse", "state"): 2,
        ("pair", "response"): 2,
        ("pair", "request"): 4,
        ("pair", "exchange"): 2,
        ("pair", "conversation"): 2,
        ("resolve", "trouble"): 2,
        ("resolve", "translation"): 2,
        ("resolve", "request"): 9,
        ("resolve", "topology"): 1,
        ("export", "stream"): 6,
        ("export", "otlp_spans"): 7,
    }


def test_only_the_module_knows_what_its_hooks_missed(metrics: OwnMetrics) -> None:
    assert ("hook", "call") not in series(metrics.render(STATE), "firesteel_lost_total")
    module = replace(STATE, driver=DriverReport("kmod", "module", "4.4"))
    assert series(metrics.render(module), "firesteel_lost_total")["hook", "call"] == 3


def test_what_is_not_known_is_absent(metrics: OwnMetrics) -> None:
    names = {name for name, _ in told(metrics.render(OwnState(version="1")))}
    assert names == {
        "firesteel_build_info",
        "firesteel_config_valid",
        "firesteel_engine_restarts_total",
        "firesteel_lost_total",
        "firesteel_step_down_level",
        "firesteel_undirected_requests_total",
    }


def test_drivers_that_were_not_taken_are_told_with_the_reason(metrics: OwnMetrics) -> None:
    """A driver that was tried by several columns for one reason is one series: a second one would break the page."""
    rejected = (("core", "no BTF"), ("core", "no BTF"), ("bcc", 'no "headers"'))
    page = metrics.render(replace(STATE, driver=DriverReport("kmod", "module", "4.4", rejected=rejected)))
    assert series(page, "firesteel_driver_rejected_info") == {("core", "no BTF"): 1, ("bcc", 'no "headers"'): 1}
    assert promtool_check(page.decode()) == []
    assert series(metrics.render(STATE), "firesteel_driver_rejected_info") == {("core", "no trampolines"): 1}


def test_a_series_that_is_over_does_not_stay(metrics: OwnMetrics) -> None:
    metrics.render(STATE)
    page = metrics.render(replace(STATE, driver=replace(STATE.driver or DriverReport("", "", ""), driver="none")))
    assert series(page, "firesteel_driver_info") == {("none", "tracepoints", "6.18"): 1}


def test_promtool_accepts_it(metrics: OwnMetrics) -> None:
    assert promtool_check(metrics.render(STATE).decode()) == []


def test_openmetrics_has_no_end_mark_of_its_own(metrics: OwnMetrics) -> None:
    page = metrics.render(STATE, "openmetrics")
    assert b"# TYPE firesteel_events counter\n" in page
    assert b"# EOF" not in page
