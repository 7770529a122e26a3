# SPDX-License-Identifier: Apache-2.0
"""A cardinality bomb: values that are all different, and hostile ones. No cap is passed, no count is lost, pages stay right."""

import gc
import itertools
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from analyzers.accounts import Ledger, fitting
from analyzers.edges import OTHER
from analyzers.rows import RequestRow, Role, TcpRow
from analyzers.snapshot import ACCOUNT_LIMIT, TCP_ACCOUNT_LIMIT, SnapshotBuilder
from exporters.own import OwnState, TableSizes
from exporters.registry_otel import OPERATIONS
from exporters.rows import Shown
from exporters.settings import MetricsSettings, RowLimits
from tests.pages import Bench, labels_of, parse, promtool_check, values
from tests.rows import SECOND, FixedResolver, request_row, tcp_row
from tests.unit.test_otlp_metrics import Pushing

# Of 4 000 rows each. FIRESTEEL_BOMB_TURNS=250 is a million different values, and minutes.
TURNS, ROWS = int(os.environ.get("FIRESTEEL_BOMB_TURNS", "2")), 4000
LIMITS = RowLimits(entity=300, topology=300, tcp=100, trace=100)
ADDRESSES = 30
SETTLED = -(-4 * ACCOUNT_LIMIT // ROWS)
"""After half as many turns the slowest ledger, which takes half of a turn's rows, is full; after so many all that was in it has
been put out by others. From then on nothing may grow."""
SIZES = TableSizes()
MOST_MIB, MOST_GROWTH_MIB = 640.0, 16.0
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


STEADY = "198.51.100.7"
"""Who is asked in each turn, as before the bomb: never hidden by what comes and goes."""

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
        port = {"local_port": 1 + number % 65_535} if side is Role.SERVER else {"remote_port": 1 + number % 65_535}
        rows.append(
            request_row(
                index, side, generation=turn + 1, count=1, remote_ip=_address(198, number),
                protocol=protocol, request_content=CONTENTS[protocol].format(f"{number}{nasty}"),
                response_content=f"{nasty}200", **port,
            )
        )  # fmt: skip
    rows[1] = request_row(2, Role.CLIENT, count=turn + 1, remote_ip=STEADY, remote_port=443, request_content="/steady",
                          protocol=protocols[1 % len(protocols)])  # fmt: skip
    return rows


def tcp_bomb(turn: int) -> list[TcpRow]:
    """Half of the rows to an address of their own, half to a port of a neighbour; of each, half are attempts to connect."""
    numbers = range(turn * ROWS, (turn + 1) * ROWS)
    return [
        tcp_row(
            index, generation=turn + 1, remote_ip="10.0.0.2" if index % 4 < 2 else _address(203, number),
            remote_port=1 + number % 65_535, updated_ns=(turn + 1) * SECOND,
            retransmits=1, error=111 if index % 2 else None, connects=index % 2,
        )
        for index, number in enumerate(numbers, start=1)
    ]  # fmt: skip


def _address(first: int, number: int) -> str:
    return f"{first}.{18 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


class Memory:
    """What the process has resident, turn by turn."""

    def __init__(self) -> None:
        gc.collect()
        self.before = self.full = self._now()

    def turn(self, number: int) -> None:
        if number <= SETTLED:
            self.full = self._now()

    def told(self) -> tuple[float, float]:
        """MiB that were added in all, and those that were added once everything had been full and put out again."""
        now = self._now()
        print(f"{now - self.before:.0f} MiB in {TURNS} turns, {now - self.full:.1f} of them after {SETTLED}")
        return now - self.before, now - self.full

    def _now(self) -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _in_singles(row: Shown) -> int:
    return sum(single.value for single in row.singles)


def _in_buckets(row: Shown) -> int:
    return sum(row.values[:-1])


class Ended:
    """Adds up what rows had counted that are told no more: a counter that ends takes its count along."""

    def __init__(self, counted: Callable[[Shown], int] = _in_singles) -> None:
        self.count = self.rows = 0
        self._counted = counted
        self._known: dict[tuple[str, int], int] = {}

    def look(self, rows: Sequence[Shown]) -> None:
        now = {(row.body, row.created_ns): self._counted(row) for row in rows}
        ended = [count for key, count in self._known.items() if key not in now]
        self.count += sum(ended)
        self.rows += len(ended)
        self._known = now


@pytest.mark.timeout(90 + 20 * TURNS)
def test_the_page_keeps_its_caps_its_counts_and_its_form() -> None:
    settings = MetricsSettings(scrape_interval_ns=0, rows=LIMITS, contents_per_workload=20, outside_addresses=ADDRESSES)
    bench = Bench(settings)
    memory, entities, edges = Memory(), Ended(), Ended()
    for turn in range(TURNS):
        bench.feed(bomb(turn, tuple(CONTENTS)), tcp_bomb(turn), now_ns=(turn + 1) * SECOND)
        shown = bench.store.page(bench.now_ns)
        entities.look(shown.entities)
        edges.look(shown.edges)
        memory.turn(turn + 1)
    page = bench.page()
    assert promtool_check(page) == []
    print(f"ended: {entities.rows} entities with {entities.count}, {edges.rows} edges with {edges.count}")
    for kind, ended, made in (("entity", entities, TURNS * ROWS // 2), ("topology", edges, TURNS * ROWS)):
        assert sum(values(page, f"kindling_{kind}_request_total").values()) + ended.count == made
        # Beyond as many accounts a sixteenth of them end, the longest idle, and with them the few that had a row of their own. Others
        # of the same turn take the room, of whom the first came with the turn: so long at least a row lives.
        lives = ACCOUNT_LIMIT - ACCOUNT_LIMIT // 16 - made // TURNS
        assert ended.rows <= 300 * (made // lives)
    for name, most in (
        ("entity_request_total", 300), ("topology_request_total", 300), ("tcp_retransmit_total", 100), ("tcp_connect_total", 100),
    ):  # fmt: skip
        assert most <= len({tuple(labels.items()) for labels in labels_of(page, f"kindling_{name}")}) <= most + 2
    assert len(labels_of(page, "kindling_trace_request_duration_nanoseconds")) <= 100
    assert len({labels["request_content"] for labels in labels_of(page, "kindling_entity_request_total")}) <= 22
    found = addresses(
        labels
        for name in ("topology_request_total", "tcp_retransmit_total", "tcp_connect_total")
        for labels in labels_of(page, f"kindling_{name}")
    )
    assert_addresses(found)
    assert bench.store.report().overflow["topology"] > 0
    assert (
        max(len(value) for labels in labels_of(page, "kindling_entity_request_total") for value in labels.values())
        <= 256
    )
    assert parse(bench.page(style="text"))
    _assert_bounded(memory)


def addresses(found: Iterable[Mapping[str, Any]], source: str = "src_ip", destination: str = "dst_ip") -> set[str]:
    """Those of outside, and what stands for more of them."""
    shown = {str(labels.get(name, "")) for labels in found for name in (source, destination)}
    return {ip for ip in shown if ip == OTHER or ip.startswith(("198.", "203."))}


def assert_addresses(found: set[str]) -> None:
    """As many as may be. Of those that come and go in each turn it is chance how many have a row at the end of very many."""
    assert {OTHER, STEADY} <= found
    assert len(found - {OTHER}) <= ADDRESSES
    assert TURNS > 2 or len(found - {OTHER}) == ADDRESSES


def _assert_bounded(memory: Memory) -> None:
    whole, late = memory.told()
    assert whole < MOST_MIB
    assert TURNS <= SETTLED or late < MOST_GROWTH_MIB


# The clients' half of the bomb, in equal parts.
_OPERATIONS = ("http.client.request.duration", "dns.lookup.duration", "messaging.client.operation.duration",
               "db.client.operation.duration")  # fmt: skip


@pytest.mark.timeout(90 + 20 * TURNS)
def test_what_is_pushed_keeps_the_caps_too() -> None:
    pushing = Pushing(settings=MetricsSettings(rows=LIMITS, outside_addresses=ADDRESSES))
    memory, edges, operations = Memory(), Ended(), {name: Ended(_in_buckets) for name in _OPERATIONS}
    for turn in range(TURNS):
        pushing.feed(bomb(turn, tuple(CONTENTS)), tcp_bomb(turn), now_ns=(turn + 1) * SECOND)
        told_now = pushing.series.page(pushing.now_ns)
        edges.look(told_now.traffic.edges)
        for name, ended in operations.items():
            ended.look([row for row in told_now.operations if OPERATIONS[ord(row.body[0])].name == name])
        memory.turn(turn + 1)
    points = 0
    for request in pushing.made(OwnState("1")):
        ExportMetricsServiceRequest.FromString(request.body)
        assert len(request.body) < 4 << 20, "what a collector takes by default"
        points += request.items
    assert points < 25 * 300
    told = pushing.push()
    assert (
        sum(point.as_int for _, point in told.points("firesteel.network.topology.requests")) + edges.count
        == TURNS * ROWS
    )
    servers: set[str] = set()
    for name, ended in operations.items():
        assert sum(point.count for _, point in told.points(name)) + ended.count == TURNS * ROWS / 2 / len(_OPERATIONS)
        servers |= addresses((labels for labels, _ in told.points(name)), destination="server.address")
    assert len(servers - {OTHER}) <= ADDRESSES
    assert OTHER in servers
    names = ("topology.requests", "tcp.retransmits", "tcp.connects")
    sent = (labels for name in names for labels, _ in told.points(f"firesteel.network.{name}"))
    found = addresses(sent, "source.address", "destination.address")
    assert_addresses(found)
    _assert_bounded(memory)


def test_what_is_remembered_is_what_the_table_holds_and_little_more() -> None:
    """Of TCP, too: as many relations as requests would take more memory than an agent may have."""
    builder = SnapshotBuilder(FixedResolver())
    turns = SIZES.tcp_rows * 3 // ROWS
    for turn in range(turns):
        snapshot = builder.build((), tcp_bomb(turn), (), (turn + 1) * SECOND)
        assert max(len(snapshot.health), len(snapshot.connects)) <= TCP_ACCOUNT_LIMIT
    assert min(len(snapshot.health), len(snapshot.connects)) > SIZES.tcp_rows
    assert snapshot.evicted["tcp"] > 0
    assert (fitting(SIZES.rows), fitting(SIZES.tcp_rows)) == (ACCOUNT_LIMIT, TCP_ACCOUNT_LIMIT)
    assert SIZES.rows * 1.07 > ACCOUNT_LIMIT


@pytest.mark.parametrize("live", [1, 15, 16, 160, 1000])
def test_nobody_who_moved_in_this_turn_is_put_out(live: int) -> None:
    """Not even where all that the table has room for moves, and a few of them are new in each turn."""
    ledger: Ledger[tuple[str, int]] = Ledger(fitting(live))
    fresh = live // 32 + 1
    numbers = itertools.count()
    for turn in range(1, 200):
        labels = [("steady", number) for number in range(live - fresh)]
        labels += [("fresh", next(numbers)) for _ in range(fresh)]
        books = []
        for one in labels if turn % 2 else reversed(labels):
            books.append(ledger.book(one, 4, turn))
            books[-1].post((1, 0, 0, 0), turn)
        assert not any(book.ended for book in books)
    assert ledger.evicted > 0


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
