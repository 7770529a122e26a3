# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of the benchmark, and the pages it reads: a wrong figure there would never be noticed."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from analyzers import recording
from analyzers.settings import EngineSettings
from bench import engine, footprint, fuzzed, machine, page, processes, protocols, report, scale, traffic, tripwire
from bench.figures import Line, Pair, Section, Table, median_ratio, spread
from bench.scale import extrapolated
from bench.scale_costs import Cost
from collector.schema import Budget
from tests.agents import ROOT
from tests.conversations import counted, in_short, load, load_all
from tests.parsing import listed, name_of


def test_the_ratio_is_the_median_of_pairs_and_not_of_rates() -> None:
    pairs = [Pair(100, 95), Pair(50, 20), Pair(200, 192)]
    assert median_ratio(pairs) == pytest.approx(0.95)


def test_spread_shows_median_and_range() -> None:
    assert spread([0.9, 0.7, 0.95], "{:.2f}".format) == "0.90 (0.70 to 0.95)"


def test_what_benchmarks_write_is_no_difference_to_what_they_measured(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(
            ["git", *identity, *words], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    assert machine.revision(tmp_path) == "not a git checkout"
    git("init", "--quiet")
    for name in ("docs/scale.md", "bench/recorded.json", "engine.c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    git("add", ".")
    git("commit", "--quiet", "--message", "one")
    commit = git("rev-parse", "--short", "HEAD").strip()
    (tmp_path / "docs/scale.md").write_text("2")
    (tmp_path / "bench/recorded.json").write_text("2")
    assert machine.revision(tmp_path) == commit
    (tmp_path / "engine.c").write_text("2")
    assert machine.revision(tmp_path) == f"{commit}-dirty"


@pytest.mark.parametrize(("measured", "trips"), [(1.05, False), (1.25, False), (1.27, True), (3.0, True)])
def test_the_tripwire_trips_at_a_loss_of_a_fifth(measured: float, trips: bool) -> None:
    assert tripwire.tripped(measured, 1.05) is trips


def test_cpu_of_a_tree_counts_children_that_ended() -> None:
    spin = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    script = f"python3 -c '{spin}'; python3 -c '{spin}'; sleep 5"
    with subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 20
            while processes.tree_cpu_seconds(process.pid) < 0.6 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert processes.tree_cpu_seconds(process.pid) == pytest.approx(0.7, abs=0.15)
        finally:
            process.kill()


def test_a_tree_is_a_process_and_its_descendants() -> None:
    with subprocess.Popen(["/bin/sh", "-c", "sleep 30 & sleep 30 & wait"]) as process:
        deadline = time.monotonic() + 5
        while len(processes.tree(process.pid)) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        members = processes.tree(process.pid)
        for pid in members:
            os.kill(pid, 9)
    assert len(members) == 3
    assert process.pid in members
    assert os.getpid() not in members


def test_percent_per_ten_thousand_requests() -> None:
    spent = footprint.Spent(seconds=10, requests=50_000, agent_seconds=0.4, kernel_seconds=0.0)
    assert spent.rate == 5000
    assert spent.percent == pytest.approx(4.0)
    # 0.4 s for 50 000 requests is 0.08 s for each 10 000: 8 % of one core at 10 000 a second.
    assert spent.percent_per_10k == pytest.approx(8.0)


@pytest.mark.parametrize(("mode", "kind", "events"), [("stream", "data", 2000), ("message", "exchange", 1000)])
def test_made_up_traffic_is_what_it_says(tmp_path: Path, mode: traffic.Mode, kind: str, events: int) -> None:
    path = tmp_path / "made-up"
    traffic.write_http(path, connections=10, exchanges=1000, mode=mode)
    table = recording.replay(path, EngineSettings())
    state, rows = table.state(), table.requests()
    table.close()
    assert state.state == "finished", state.failure
    assert {name.lower(): count for name, count in state.events.items() if count} == {"open": 10, kind: events}
    assert sum(row.count for row in rows if row.key.protocol == "http") == 1000
    assert state.stats["requests"] == 1000


def test_every_protocol_has_recordings_to_measure() -> None:
    assert {name_of(number) for number in listed()} | {"grpc", "websocket"} == set(protocols.TYPICAL)
    for protocol, names in protocols.TYPICAL.items():
        recorded = {load(name).protocol for name in names}
        assert recorded == {"http" if protocol == "websocket" else protocol}


@pytest.mark.parametrize(
    ("name", "requests"),
    [("dns-dig-udp", 5), ("http-websocket", 2), ("redis-resp2", 15), ("http2-h2load-nginx", 10), ("grpc-unary", 5)],
)
def test_a_request_costs_what_its_connection_does_not(tmp_path: Path, name: str, requests: int) -> None:
    found, each = protocols.costs(name, tmp_path, total=400, rounds=1)
    assert each == requests
    assert len(found) == 1


def test_the_report_says_what_was_missed_and_what_was_not_measured() -> None:
    lines = [Line("rate", "0.80", "at least 0.92", False), Line("loss", "0", "0", True), Line("other", "1")]
    section = Section(lines, [Table("Rates | raw", ("a", "b"), [["1", "2|3"]], "A note.")])
    text = report.page([("System", "test")], "2026-01-02", [section], ["page: no wrk"])
    assert "| rate | 0.80 | at least 0.92 | **missed** |" in text
    assert "| loss | 0 | 0 | kept |" in text
    assert "| other | 1 |  |  |" in text
    assert "- page: no wrk" in text
    assert "| 1 | 2\\|3 |" in text
    assert "Measured 2026-01-02." in text


def test_all_recordings_at_once_are_what_each_is_alone(tmp_path: Path) -> None:
    protocols.write_mixed(tmp_path / "mixed", 3)
    stats = engine.replayed(tmp_path / "mixed").stats
    alone = [in_short(counted(protocols.told_of(one))[0]) for one in load_all()]
    assert stats["requests"] + stats["exchanges"] == 3 * sum(row.count for rows in alone for row in rows)
    assert (stats["stream_gaps"], stats["stream_late"], stats["discarded_exchanges"]) == (0, 0, 0)


def test_a_handshake_is_measured_alone(tmp_path: Path) -> None:
    assert len(protocols.handshakes(tmp_path, connections=20, rounds=2)) == 2
    assert not list(tmp_path.iterdir())


def test_a_run_of_the_present_state_stands_in_the_place_of_a_shorter_or_an_earlier_one() -> None:
    before = {
        "dns": {"inputs": 100, "date": "2026-01-01"},
        "http1": {"inputs": 100, "date": "2026-01-01", "note": "an earlier state"},
    }
    found = fuzzed.merged(before, ["dns 99\n", "http1 50\n", "tls 7\n"], "2026-02-02")
    assert found == {
        "dns": {"inputs": 100, "date": "2026-01-01"},
        "http1": {"inputs": 50, "date": "2026-02-02"},
        "tls": {"inputs": 7, "date": "2026-02-02"},
    }
    assert fuzzed.merged(found, ["dns 101\n"], "2026-03-03")["dns"] == {"inputs": 101, "date": "2026-03-03"}


def test_the_report_says_how_many_inputs_each_fuzzer_had() -> None:
    text = report.page([], "2026-01-02", [], [])
    fuzzers = {path.stem.removeprefix("fuzz-") for path in (ROOT / "tests/fuzz").glob("fuzz-*.c")}
    assert set(fuzzed.kept()) == fuzzers
    for name, one in fuzzed.kept().items():
        assert f"| {name} | {one['inputs']:,} | {one['date']} | {one.get('note', '')} |" in text


def test_a_page_is_not_held_while_it_is_sent() -> None:
    told = page.streamed(page.full_store())
    assert told.series > 50_000
    assert told.packed < told.bytes / 5
    assert told.longest_chunk < 256_000
    assert told.held < told.bytes / 10


def test_a_series_is_not_heavy() -> None:
    assert page.bytes_per_series() < 1500


def test_the_scale_report_extrapolates_by_proportion() -> None:
    alone = Cost(2.0, 1.5, 60.0, 0.004, 25, 26 << 20, 100_000.0)
    follows = Cost(1.0, 0.5, 25.0, 0.002, 2, 1 << 20, 0.0, 1 << 20, 1000.0)
    service = Cost(5.0, 4.0, 170.0, 0.05, 23, 74 << 20, 300_000.0)
    (requests, hourly, start, _, sent, _, memory, whole, kept) = list(extrapolated(alone, service, follows, 500))[2:]
    # 14 requests of an agent's 25 are the first pages and the watches, 12 of the service's 23; the other pages grow tenfold.
    assert requests == "| requests when all agents start | 620000 | 10244 |"
    assert (
        start == "| GiB of the API server's answers then, unpacked | 1270 | 6.3 (1.00 MiB for each agent's own pods) |"
    )
    assert sent == "| GiB from the names services when all agents start | none | 48.8 |"
    assert memory == "| memory for names of an agent, MiB | 600 | 250 |"
    # 13.3 an hour for each watch: 7 of each agent, or 1 and 12 of both services.
    assert hourly == "| requests in an hour | 466667 | 66827 |"
    assert whole.endswith("| 700, above `budget.memory` and the container's limit | 350, above `budget.memory` |")
    assert kept == "| memory of a names service, GiB, at most | none | 1.7 (limit in the chart: 1) |"
    costs = {
        "agent that asks the API server": alone,
        "agent that follows the names service": follows,
        "names service": service,
    }
    text = scale.report(costs, 3.0, (10_000, 1_000, 500), 30.0, ["| translations | 1 |"])
    assert "The machine was busy" in text
    assert "| translations | 1 |" in text
    assert "The machine was busy" not in scale.report(costs, 0.1, (10_000, 1_000, 500), 30.0, [])
    assert "| of one core at 50 pod changes/s | 0.40% | 0.20% | 5.00% |" in text
    assert "| with the 100 MiB that an agent is besides | 160 | 125 |  |" in text
    assert "with the names service, `budget.memory: 448MiB`\n(without: 896MiB)" in text


def test_the_scale_report_knows_the_budget_and_the_limits_of_the_chart() -> None:
    values = yaml.safe_load((ROOT / "deploy/helm/firesteel/values.yaml").read_text())
    assert Budget().memory == scale.BUDGET_MIB << 20
    assert values["resources"]["limits"]["memory"] == f"{scale.LIMIT_MIB}Mi"
    assert values["names"]["resources"]["limits"]["memory"] == f"{scale.SERVICE_LIMIT_MIB >> 10}Gi"
