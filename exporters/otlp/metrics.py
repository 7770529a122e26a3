# SPDX-License-Identifier: Apache-2.0
"""From a frozen page to ExportMetricsServiceRequests of bounded size, made one at a time while they are sent."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Final, TypeVar

from exporters import registry_traffic as traffic
from exporters.metric import Metric
from exporters.otlp import wire
from exporters.otlp.deltas import Batch, Deltas
from exporters.otlp.lane import Request
from exporters.otlp.operations import OperationRow, unpacked
from exporters.otlp.resources import of_agent
from exporters.otlp.series import OtlpPage
from exporters.otlp.settings import HistogramForm, Origin, Temporality
from exporters.own import READERS, OwnState
from exporters.registry_otel import OPERATIONS, SCHEMA_URL, SCOPE
from exporters.rows import NO_GAUGE, Shown
from exporters.series import TrafficPage

POINTS_PER_REQUEST: Final = 1000
_SECOND_NS: Final = 10**9
_SCOPE: Final = wire.field(1, SCOPE.encode())

_Point = tuple[str, str, int, int]  # labels of the row, labels of the series, value, created
_Item = TypeVar("_Item")


def _of_rows(rows: list[Shown], index: int) -> Iterator[_Point]:
    for row in rows:
        yield row.body, "", row.values[index], row.created_ns


def _of_singles(rows: list[Shown]) -> Iterator[_Point]:
    for row in rows:
        for labels, value, created_ns in row.singles:
            yield row.body, labels, value, created_ns


_COUNTERS: Final[tuple[tuple[Metric, Callable[[TrafficPage], Iterator[_Point]]], ...]] = (
    (traffic.ENTITY_TOTAL, lambda page: _of_singles(page.entities)),
    (traffic.ENTITY_DURATION, lambda page: _of_rows(page.entities, 0)),
    (traffic.ENTITY_SENT, lambda page: _of_rows(page.entities, 1)),
    (traffic.ENTITY_RECEIVED, lambda page: _of_rows(page.entities, 2)),
    (traffic.TOPOLOGY_TOTAL, lambda page: _of_singles(page.edges)),
    (traffic.TOPOLOGY_DURATION, lambda page: _of_rows(page.edges, 0)),
    (traffic.TOPOLOGY_REQUEST_BYTES, lambda page: _of_rows(page.edges, 1)),
    (traffic.TOPOLOGY_RESPONSE_BYTES, lambda page: _of_rows(page.edges, 2)),
    (traffic.RETRANSMIT, lambda page: _of_rows(page.health, 0)),
    (traffic.PACKET_LOSS, lambda page: _of_rows(page.health, 1)),
    (traffic.RESET, lambda page: _of_singles(page.health)),
    (traffic.CONNECTS, lambda page: _of_rows(page.connects, 0)),
    (traffic.CONNECT_DURATION, lambda page: _of_rows(page.connects, 1)),
)


@dataclass(frozen=True, slots=True)
class Push:
    """What one push tells, all of it frozen. `wall_offset_ns` turns the events' clock into time of day; `absent` names
    metrics of the registry that cannot be had."""

    page: OtlpPage
    own: OwnState | None
    wall_offset_ns: int
    absent: frozenset[str] = frozenset()

    @property
    def now_ns(self) -> int:
        return self.page.clock_ns + self.wall_offset_ns


class MetricRequests:
    """Makes the requests of each push, one push after the other."""

    def __init__(
        self,
        origin: Origin,
        temporality: Temporality,
        bounds_ns: tuple[int, ...],
        form: HistogramForm = "explicit",
    ) -> None:
        self._resource = of_agent(origin)
        self._temporality = wire.DELTA if temporality == "delta" else wire.CUMULATIVE
        self.deltas = Deltas(temporality == "delta")
        self._exponential = form == "exponential"
        self._bounds = [bound / _SECOND_NS for bound in bounds_ns]
        self.began_ns = 0

    def go_on_from(self, before: "MetricRequests") -> None:
        """As if these were the next pushes of `before`, of which none is on its way any more."""
        self.began_ns, self.deltas = before.began_ns, before.deltas

    def requests(self, push: Push) -> Iterator[Request]:
        """The whole push, at most POINTS_PER_REQUEST points at a time."""
        self.began_ns = self.began_ns or push.page.clock_ns
        self.deltas.begin(push.page.clock_ns)
        for metric, points in _COUNTERS:
            if metric.name not in push.absent:
                yield from self._counter(metric, points(push.page.traffic), push)
        yield from self._round_trips(push)
        yield from self._operations(push)
        if push.own is not None:
            yield self._own(push.own, push)
        self.deltas.end()

    def _counter(self, metric: Metric, points: Iterator[_Point], push: Push) -> Iterator[Request]:
        for some in _chunks(points):
            batch = self.deltas.batch()
            encoded: list[bytes] = []
            for body, labels, value, created_ns in some:
                grown, start_ns = batch.growth((metric.otel, body, labels), (value,), created_ns)
                if grown is not None:
                    attributes = (body + labels).encode("latin-1")
                    start_ns += push.wall_offset_ns
                    encoded.append(wire.number_point(attributes, start_ns, push.now_ns, grown[0]))
            if encoded:
                content = wire.sum_metric(metric.otel, metric.unit, metric.help, encoded, self._temporality)
                yield self._of_agent([content], len(encoded), batch)

    def _round_trips(self, push: Push) -> Iterator[Request]:
        metric = traffic.SRTT
        for some in _chunks(row for row in push.page.traffic.health if row.gauge != NO_GAUGE):
            points = [wire.number_point(row.body.encode("latin-1"), 0, push.now_ns, row.gauge) for row in some]
            yield self._of_agent([wire.gauge_metric(metric.otel, metric.unit, metric.help, points)], len(points))

    def _operations(self, push: Push) -> Iterator[Request]:
        rows = sorted(unpacked(push.page.operations), key=lambda row: (row.resource, row.number))
        for some in _chunks(rows):
            batch = self.deltas.batch()
            blocks: list[bytes] = []
            count = 0
            for resource, of_resource in groupby(some, key=lambda row: row.resource):
                metrics: list[bytes] = []
                for number, of_metric in groupby(of_resource, key=lambda row: row.number):
                    points = [point for row in of_metric if (point := self._histogram(row, push, batch))]
                    if points:
                        metrics.append(self._histograms(number, points))
                        count += len(points)
                if metrics:
                    blocks.append(wire.resource_block(resource, _SCOPE, wire.joined(2, metrics), SCHEMA_URL))
            if blocks:
                yield Request(wire.joined(1, blocks), count, batch.acknowledged)

    def _histograms(self, number: int, points: list[bytes]) -> bytes:
        operation = OPERATIONS[number]
        form = self._exponential
        return wire.histogram_metric(operation.name, "s", operation.help, points, self._temporality, exponential=form)

    def _histogram(self, row: OperationRow, push: Push, batch: Batch) -> bytes:
        """A point, or nothing if there is nothing new to tell."""
        grown, start_ns = batch.growth(("", row.key, ""), row.values, row.created_ns)
        if grown is None:
            return b""
        seconds = grown[-1] / _SECOND_NS
        start_ns += push.wall_offset_ns
        if self._exponential:
            zeros, *counts = grown[:-1]
            offset, counts = _trimmed(counts)
            return wire.exponential_point(row.body, start_ns, push.now_ns, zeros, offset, counts, seconds)
        return wire.histogram_point(row.body, start_ns, push.now_ns, grown[:-1], seconds, self._bounds)

    def _own(self, own: OwnState, push: Push) -> Request:
        """The agent's own metrics, as on the page."""
        batch = self.deltas.batch()
        metrics: list[bytes] = []
        count = 0
        for metric, read in READERS:
            points: list[bytes] = []
            for value, labels in read(own):
                named = [(f"firesteel.{name}", label) for name, label in zip(metric.labels, labels, strict=True)]
                body = wire.attributes(wire.NUMBER_ATTRIBUTES, named)
                if metric.kind == "counter":
                    points += self._own_counter(metric.otel, body, value, push, batch)
                else:
                    points.append(wire.number_point(body, 0, push.now_ns, value))
            count += len(points)
            if points and metric.kind == "counter":
                metrics.append(wire.sum_metric(metric.otel, metric.unit, metric.help, points, self._temporality))
            elif points:
                metrics.append(wire.gauge_metric(metric.otel, metric.unit, metric.help, points))
        return self._of_agent(metrics, count, batch)

    def _own_counter(self, name: str, body: bytes, value: float, push: Push, batch: Batch) -> list[bytes]:
        """Parts of a second are counted in nanoseconds, so that deltas of them add up."""
        whole = value if isinstance(value, int) else round(value * _SECOND_NS)
        grown, start_ns = batch.growth((name, body.decode("latin-1"), ""), (whole,), self.began_ns)
        if grown is None:
            return []
        told = grown[0] if isinstance(value, int) else grown[0] / _SECOND_NS
        return [wire.number_point(body, start_ns + push.wall_offset_ns, push.now_ns, told)]

    def _of_agent(self, metrics: list[bytes], count: int, batch: Batch | None = None) -> Request:
        block = wire.resource_block(self._resource, _SCOPE, wire.joined(2, metrics), SCHEMA_URL)
        return Request(wire.field(1, block), count, batch.acknowledged if batch else None)


def _trimmed(counts: list[int]) -> tuple[int, list[int]]:
    """Fine buckets without the empty ones at either end, and the number of the first as the exponent of its lower bound:
    what struct fs_fine calls 1 begins at (2**0.5)**-34 s."""
    first = next((number for number, count in enumerate(counts) if count), len(counts))
    last = next((number for number in range(len(counts), first, -1) if counts[number - 1]), first)
    return first - 2 * wire.ZERO_OCTAVES, counts[first:last]


def _chunks(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    rest = iter(items)
    while some := list(islice(rest, POINTS_PER_REQUEST)):
        yield some
