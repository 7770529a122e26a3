# SPDX-License-Identifier: Apache-2.0
"""A cardinality bomb: values that are all different, and hostile ones. No cap is passed, no count is lost, pages stay right."""

import itertools
import os
import time
from collections.abc import Sequence

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from analyzers.accounts import Ledger
from analyzers.rows import RequestRow, Role
from analyzers.snapshot import ACCOUNT_LIMIT
from exporters.own import OwnState
from exporters.settings import MetricsSettings, RowLimits
from tests.pages import Bench, labels_of, parse, promtool_check, values
from tests.rows import SECOND, request_row, tcp_row
from tests.unit.test_otlp_metrics import Pushing

# Of 4 000 rows each. FIRESTEEL_BOMB_TURNS=250 is a million different values, and minutes.
TURNS, ROWS = int(os.environ.get("FIRESTEEL_BOMB_TURNS", "2")), 4000
HOSTILE = (
    '"',
    "\\",
    "\n",
    "\r\n",
    "\x00",
    "\udcff",
    "\ufffe",
    "é" * 300,
    "x" * 65_536,
    "{}",
    'a="b",c="d"',
    "# EOF\n",
    "\u2028",
)


# What the content of a request is, by protocol: a path, a host, a topic, a table.
CONTENTS = {"http": "/{}", "dns": "{}.example.com", "kafka": "Produce topic-{}", "mysql": "select table_{}"}


def bomb(turn: int, protocols: Sequence[str] = ("http",)) -> list[RequestRow]:
    """Every row with a path, host, topic or table, a port and an address of its own; every tenth with something nasty in it."""
    numbers = itertools.count(turn * ROWS)
    rows = []
    for index in range(1, ROWS + 1):
        number = next(numbers)
        nasty = HOSTILE[number % len(HOSTILE)] if number % 10 == 0 else ""
        side = Role.SERVER if index % 2 else Role.CLIENT
        protocol = protocols[index // 2 % len(protocols)]
        port = {"local_port": 1 + number % 60_000} if side is Role.SERVER else {"remote_port": 1 + number % 60_000}
        rows.append(
            request_row(
                index, side, generation=turn + 1, count=1, remote_ip=f"198.{18 + (number >> 16)}.{number >> 8 & 255}.{number & 255}",
                protocol=protocol, request_content=CONTENTS[protocol].format(f"{number}{nasty}"),
                response_content=f"{nasty}200", **port,
            )
        )  # fmt: skip
    return rows


def test_the_page_keeps_its_caps_its_counts_and_its_form() -> None:
    limits = RowLimits(entity=300, topology=300, tcp=100, trace=100)
    settings = MetricsSettings(scrape_interval_ns=0, rows=limits, contents_per_workload=20, outside_addresses=30)
    bench = Bench(settings)
    for turn in range(TURNS):
        bench.feed(bomb(turn, tuple(CONTENTS)), [tcp_row(index, remote_ip=f"203.0.{index >> 8}.{index & 255}") for index in range(1, 500)],
                   now_ns=(turn + 1) * SECOND)  # fmt: skip
    page = bench.page()
    assert promtool_check(page) == []
    for kind, most in (("entity", TURNS * ROWS // 2), ("topology", TURNS * ROWS)):
        # Beyond as many accounts the longest idle end, and with them the few that had a row of their own.
        ended = 300 if most > ACCOUNT_LIMIT else 0
        assert most - ended <= sum(values(page, f"kindling_{kind}_request_total").values()) <= most
    for name, most in (("entity_request_total", 300), ("topology_request_total", 300), ("tcp_retransmit_total", 100)):
        assert len({tuple(labels.items()) for labels in labels_of(page, f"kindling_{name}")}) <= most + 2
    assert len(labels_of(page, "kindling_trace_request_duration_nanoseconds")) <= 100
    assert len({labels["request_content"] for labels in labels_of(page, "kindling_entity_request_total")}) <= 22
    assert bench.store.report().overflow["topology"] > 0
    assert (
        max(len(value) for labels in labels_of(page, "kindling_entity_request_total") for value in labels.values())
        <= 256
    )
    assert parse(bench.page(style="text"))


def test_what_is_pushed_keeps_the_caps_too() -> None:
    limits = RowLimits(entity=300, topology=300, tcp=100, trace=100)
    pushing = Pushing(settings=MetricsSettings(rows=limits, outside_addresses=30))
    for turn in range(TURNS):
        pushing.feed(bomb(turn), now_ns=(turn + 1) * SECOND)
    points = 0
    for request in pushing.made(OwnState("1")):
        ExportMetricsServiceRequest.FromString(request.body)
        assert len(request.body) < 4 << 20, "what a collector takes by default"
        points += request.items
    assert points < 20 * 300
    told = pushing.push()
    assert sum(point.as_int for _, point in told.points("firesteel.network.topology.requests")) == TURNS * ROWS
    assert sum(point.count for _, point in told.points("http.client.request.duration")) == TURNS * ROWS / 2


def test_newcomers_of_a_full_ledger_are_not_dear() -> None:
    ledger: Ledger[int] = Ledger(65_536)
    began = time.process_time()
    for number in range(3 * 65_536):
        ledger.book(number, 4, number)
    assert time.process_time() - began < 10, "looking at all for each took minutes"
    assert len(ledger) <= 65_536
    assert len(ledger) + ledger.evicted == 3 * 65_536


@pytest.mark.parametrize("limit", [1, 5, 100])
def test_the_longest_idle_goes_first(limit: int) -> None:
    ledger: Ledger[int] = Ledger(limit)
    for number in range(limit + 1):
        ledger.book(number, 1, number)
    assert ledger.evicted == max(1, limit // 16)
    assert {account.labels for account in ledger.accounts()} == set(range(ledger.evicted, limit + 1))
