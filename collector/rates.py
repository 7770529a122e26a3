# SPDX-License-Identifier: Apache-2.0
"""Rates and latency from counters that only grow: tallies, a short memory of earlier counters, quantiles.

Times are nanoseconds of the engine's clock (CLOCK_MONOTONIC live, the events' own time in a replay).
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import add, sub
from typing import Literal

from analyzers.rows import RequestRow, TcpRow

NANOSECONDS = 1_000_000_000

WINDOW_NS = 10 * NANOSECONDS
"""How far back a rate looks."""
OBSERVE_NS = NANOSECONDS
"""Counters are remembered at most this often."""
STALE_NS = 3 * WINDOW_NS
"""A memory older than this says nothing about now: nobody asked for a while."""

Bound = Literal["", "at_most", "at_least"]

_QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))


@dataclass(slots=True)
class Tally:
    """Sums over any number of request rows; `buckets` are per bucket, not cumulative."""

    requests: int = 0
    errors: int = 0
    slow: int = 0
    no_response: int = 0
    duration_ns: int = 0
    request_bytes: int = 0
    response_bytes: int = 0
    buckets: list[int] = field(default_factory=list)

    def add(self, row: RequestRow, since: "RequestCounters | None") -> None:
        """Adds what `row` counted, or what it counted since `since`."""
        count, duration_ns, request_bytes, response_bytes, buckets = since or _NOTHING
        requests = row.count - count
        if since and not requests and row.request_bytes == request_bytes and row.response_bytes == response_bytes:
            return  # most rows of a large table stand still
        key = row.key
        self.requests += requests
        self.errors += requests if key.is_error else 0
        self.slow += requests if key.is_slow else 0
        self.no_response += requests if key.no_response else 0
        self.duration_ns += row.duration_ns - duration_ns
        self.request_bytes += row.request_bytes - request_bytes
        self.response_bytes += row.response_bytes - response_bytes
        grown = map(sub, row.buckets, buckets) if buckets else row.buckets
        self.buckets = list(map(add, self.buckets, grown)) if self.buckets else list(grown)


RequestCounters = tuple[int, int, int, int, tuple[int, ...]]
_NOTHING: RequestCounters = (0, 0, 0, 0, ())


@dataclass(slots=True)
class TcpTally:
    """Sums over TCP rows. `srtt_us` is the newest one seen; `failures` counts failed connects by errno."""

    connects: int = 0
    connect_ns: int = 0
    failures: dict[int, int] = field(default_factory=dict)
    retransmits: int = 0
    synack_retransmits: int = 0
    drops: int = 0
    resets_sent: int = 0
    resets_received: int = 0
    closed: int = 0
    srtt_us: int = 0
    _srtt_at: int = 0

    def add(self, row: TcpRow, since: "TcpCounters | None") -> None:
        connects, connect_ns, retransmits, synack_retransmits, drops, sent, received, closed = since or _NO_TCP
        made = row.connects - connects
        if row.key.error:
            if made:
                self.failures[row.key.error] = self.failures.get(row.key.error, 0) + made
        else:
            self.connects += made
            self.connect_ns += row.connect_ns - connect_ns
        self.retransmits += row.retransmits - retransmits
        self.synack_retransmits += row.synack_retransmits - synack_retransmits
        self.drops += row.drops - drops
        self.resets_sent += row.resets_sent - sent
        self.resets_received += row.resets_received - received
        self.closed += row.closed - closed
        if row.srtt_us and row.updated_ns >= self._srtt_at:
            self.srtt_us, self._srtt_at = row.srtt_us, row.updated_ns

    @property
    def connect_failures(self) -> int:
        return sum(self.failures.values())


TcpCounters = tuple[int, int, int, int, int, int, int, int]
_NO_TCP: TcpCounters = (0, 0, 0, 0, 0, 0, 0, 0)

RowId = tuple[int, int]
"""(index, generation): never names another key."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """All counters as they were at `clock_ns`."""

    clock_ns: int
    requests: dict[RowId, RequestCounters]
    tcp: dict[RowId, TcpCounters]


class RateWindow:
    """Remembers counters of the last seconds, so that a difference can be taken.

    It only costs while somebody asks: `observe` is called with each answer, keeps at most one memory per OBSERVE_NS,
    shares the tuples of rows that did not move, and forgets what is older than the window.
    """

    def __init__(self) -> None:
        self._baselines: deque[Baseline] = deque()

    def observe(self, clock_ns: int, requests: Iterable[RequestRow], tcp: Iterable[TcpRow]) -> Baseline | None:
        """Remembers the rows and returns what to take the difference to; None if nothing recent is known."""
        kept = self._baselines
        if kept and clock_ns < kept[-1].clock_ns:
            kept.clear()  # another recording, or the table was made anew
        while kept and clock_ns - kept[0].clock_ns > STALE_NS:
            kept.popleft()
        while len(kept) > 1 and clock_ns - kept[1].clock_ns >= WINDOW_NS:
            kept.popleft()
        chosen = kept[0] if kept and kept[0].clock_ns < clock_ns else None
        if not kept or clock_ns - kept[-1].clock_ns >= OBSERVE_NS:
            kept.append(_remember(clock_ns, requests, tcp, kept[-1] if kept else None))
        return chosen


def _remember(
    clock_ns: int, requests: Iterable[RequestRow], tcp: Iterable[TcpRow], before: Baseline | None
) -> Baseline:
    old_requests = before.requests if before else {}
    new_requests: dict[RowId, RequestCounters] = {}
    for row in requests:
        row_id = (row.key.index, row.key.generation)
        old = old_requests.get(row_id)
        unmoved = old is not None and old[0] == row.count and old[1] == row.duration_ns and old[2] == row.request_bytes
        if old is not None and unmoved and old[3] == row.response_bytes:
            new_requests[row_id] = old
        else:
            new_requests[row_id] = (row.count, row.duration_ns, row.request_bytes, row.response_bytes, row.buckets)
    new_tcp: dict[RowId, TcpCounters] = {}
    for tcp_row in tcp:
        row_id = (tcp_row.key.index, tcp_row.key.generation)
        new_tcp[row_id] = (
            tcp_row.connects,
            tcp_row.connect_ns,
            tcp_row.retransmits,
            tcp_row.synack_retransmits,
            tcp_row.drops,
            tcp_row.resets_sent,
            tcp_row.resets_received,
            tcp_row.closed,
        )
    return Baseline(clock_ns, new_requests, new_tcp)


def quantile(buckets: Sequence[int], bounds_ns: Sequence[int], share: float) -> tuple[float, Bound] | None:
    """The latency in seconds below which `share` of the requests stayed, linear inside its bucket as Prometheus does.

    `buckets` has one more entry than `bounds_ns` (upper bounds). In the first bucket and in the open last one only their
    bound is known, and the second value says which side of it the latency is on: a first bucket of 5 ms would make 2.5 ms
    of everything that takes microseconds. None without a request.
    """
    total = sum(buckets)
    if total <= 0 or not bounds_ns:
        return None
    wanted = share * total
    seen = 0
    lower = 0
    for count, upper in zip(buckets, bounds_ns, strict=False):
        if count and seen + count >= wanted:
            if not lower:
                return upper / NANOSECONDS, "at_most"
            return (lower + (upper - lower) * (wanted - seen) / count) / NANOSECONDS, ""
        seen += count
        lower = upper
    return bounds_ns[-1] / NANOSECONDS, "at_least"


def duration_json(tally: Tally, bounds_ns: Sequence[int]) -> dict[str, float | list[str] | None]:
    """Mean (exact) and quantiles (from the buckets) in seconds; null without a request.

    `at_most` names the quantiles that fell into the first bucket, `at_least` those that fell into the open last one.
    """
    out: dict[str, float | list[str] | None] = {
        "mean": tally.duration_ns / tally.requests / NANOSECONDS if tally.requests else None
    }
    bounds: dict[str, list[str]] = {"at_most": [], "at_least": []}
    for name, share in _QUANTILES:
        found = quantile(tally.buckets, bounds_ns, share)
        out[name] = found[0] if found else None
        if found and found[1]:
            bounds[found[1]].append(name)
    return out | bounds
