# SPDX-License-Identifier: Apache-2.0
"""Durations in the buckets of exponential histograms: counted by the engine, read from the table, pushed, and held against
the mapping of the OpenTelemetry SDK."""

from collections.abc import Iterator
from math import isqrt

import pytest
from opentelemetry.sdk.metrics._internal.exponential_histogram.mapping.logarithm_mapping import LogarithmMapping

from analyzers._native import lib
from analyzers.table import SharedTable
from exporters.otlp.settings import Temporality
from tests.events import SECOND, Conversation
from tests.inprocess import InProcessEngine
from tests.rows import request_row
from tests.unit.test_otlp_metrics import Pushing, value
from tests.unit.test_tracking_http import request, response, server

BUCKETS = lib.FS_FINE_BUCKETS
# floor(10**9 * 2**(i / 2 - 17)), in whole numbers
BOUNDS = [isqrt(10**18 * 2**number >> 34) for number in range(BUCKETS - 1)]


@pytest.fixture
def table() -> Iterator[SharedTable]:
    made = SharedTable.create()
    yield made
    made.close()


def took(engine: InProcessEngine, c: Conversation, start_ns: int, duration_ns: int, path: str = "/a") -> int:
    engine.feed([c.receives(start_ns, request(path)), c.sends(start_ns + duration_ns, response())])
    return start_ns + duration_ns + SECOND


def test_each_duration_is_in_its_bucket(table: SharedTable) -> None:
    wanted = [0] * BUCKETS
    with InProcessEngine(table=table.pointer, count_fine=1, no_response_ns=0, connection_idle_ns=0) as engine:
        c, now_ns = server(), SECOND
        engine.feed([c.open(0)])
        for number, bound in enumerate(BOUNDS):
            for duration_ns, bucket in ((bound, number), (bound + 1, number + 1)):
                now_ns = took(engine, c, now_ns, duration_ns)
                wanted[bucket] += 1
        rows = [row for row in table.requests() if row.count]
        summed = [sum(column) for column in zip(*(row.fine for row in rows), strict=True)]
    assert summed == wanted
    assert all(sum(row.fine) == row.count for row in rows)


def test_bounds_are_those_of_the_sdk() -> None:
    mapping = LogarithmMapping(1)
    for bucket in range(1, BUCKETS - 1):
        below, above = BOUNDS[bucket - 1] + 1, BOUNDS[bucket] - 1
        for duration_ns in (below + 1, above):  # a nanosecond aside: the SDK calculates in floating point
            assert mapping.map_to_index(duration_ns / SECOND) == bucket - 1 - 34


def test_without_being_asked_nothing_is_counted_finely(table: SharedTable) -> None:
    with InProcessEngine(table=table.pointer) as engine:
        c = server()
        engine.feed([c.open(0)])
        took(engine, c, SECOND, 1000)
        assert [row.fine for row in table.requests()] == [()]


def test_a_row_that_takes_the_place_of_another_begins_at_nothing(table: SharedTable) -> None:
    with InProcessEngine(table=table.pointer, count_fine=1, row_idle_ns=SECOND) as engine:
        c = server()
        engine.feed([c.open(0)])
        now_ns = took(engine, c, SECOND, 1000)
        (first,) = table.requests()
        for _ in range(5):
            now_ns += 3 * SECOND
            engine.tick(now_ns)
        assert table.requests() == []
        took(engine, c, now_ns, 10_000_000, "/b")
        (second,) = table.requests()
        assert (second.key.index, second.key.request_content) == (first.key.index, "/b")
        assert (sum(second.fine), second.fine[0]) == (1, 0)


def fine(**counts: int) -> tuple[int, ...]:
    """`b3=2`: two in bucket 3."""
    given = {int(name[1:]): count for name, count in counts.items()}
    return tuple(given.get(number, 0) for number in range(BUCKETS))


@pytest.mark.parametrize("temporality", ["cumulative", "delta"])
def test_what_is_pushed_has_the_form_of_the_protocol(temporality: Temporality) -> None:
    pushing = Pushing(temporality, form="exponential")
    pushing.feed([request_row(1, count=7, duration_ns=14 * SECOND, fine=fine(b0=1, b35=2, b37=4))])
    told = pushing.push()
    point = value(told, "http.client.request.duration")
    # Bucket 35 is for what is longer than a second: the lower bound of number 0.
    assert (point.scale, point.zero_threshold, point.zero_count) == (1, 2.0**-17, 1)
    assert (point.positive.offset, list(point.positive.bucket_counts)) == (0, [2, 0, 4])
    assert (point.count, point.sum) == (7, 14.0)
    kinds = {
        metric.WhichOneof("data")
        for push in told.metrics
        for resource in push.resource_metrics
        for metric in resource.scope_metrics[0].metrics
        if metric.name == "http.client.request.duration"
    }
    assert kinds == {"exponential_histogram"}
    pushing.feed(
        [request_row(1, count=9, duration_ns=15 * SECOND, fine=fine(b0=1, b1=2, b35=2, b37=4))], now_ns=9 * SECOND
    )
    point = value(pushing.push(), "http.client.request.duration")
    if temporality == "delta":
        assert (point.count, point.zero_count, point.sum) == (2, 0, 1.0)
        assert (point.positive.offset, list(point.positive.bucket_counts)) == (-34, [2])
    else:
        assert (point.count, point.zero_count, point.sum) == (9, 1, 15.0)
        assert point.positive.offset == -34
        assert list(point.positive.bucket_counts) == [2, *[0] * 33, 2, 0, 4]


def test_a_driver_without_fine_buckets_pushes_empty_ones() -> None:
    pushing = Pushing(form="exponential")
    pushing.feed([request_row(1, count=1)])
    point = value(pushing.push(), "http.client.request.duration")
    assert (point.count, list(point.positive.bucket_counts)) == (0, [])


def test_the_form_can_change_while_it_runs() -> None:
    pushing = Pushing()
    pushing.feed([request_row(1, count=2, fine=fine(b9=2))])
    for finely in (True, False, True):
        pushing.builder.count_calls(True, fine=finely)
        pushing.feed([request_row(1, count=3, fine=fine(b9=3))], now_ns=2 * SECOND)
        edge = pushing.builder.build([request_row(1, count=3, fine=fine(b9=3))], [], [], 3 * SECOND).edges[0]
        assert (edge.count, edge.buckets) == (3, (3, 0, 0, 0, 0, 0, 0, 0, 0))
