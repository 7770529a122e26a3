# SPDX-License-Identifier: Apache-2.0
"""All rows of the table with the names of both ends: what the API's graphs and rates are made of."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from analyzers.edges import Ends, draws_edge, name_ends
from analyzers.resolver import Resolver
from analyzers.rows import RequestKey, RequestRow, Role, TcpKey, TcpRow


@dataclass(frozen=True, slots=True)
class NamedRequest:
    row: RequestRow
    ends: Ends


@dataclass(frozen=True, slots=True)
class NamedTcp:
    row: TcpRow
    ends: Ends


@dataclass(frozen=True, slots=True)
class Traffic:
    """Everything that is counted now. `clock_ns` is the time up to which events were seen.

    `bucket_ns` are the upper bounds of the rows' histogram buckets, one fewer than buckets.
    """

    clock_ns: int
    requests: Sequence[NamedRequest]
    tcp: Sequence[NamedTcp]
    bucket_ns: Sequence[int]


class TrafficNames:
    """Names rows, and asks the resolver about each row once per version of its answers."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._version = -1
        self._requests: dict[tuple[int, int], Ends] = {}
        self._tcp: dict[tuple[int, int], Ends] = {}

    def name(
        self, clock_ns: int, requests: Iterable[RequestRow], tcp: Iterable[TcpRow], bucket_ns: Sequence[int]
    ) -> Traffic:
        """Rows that repeat what the peer's own row tells are left out (`analyzers.edges.draws_edge`)."""
        version = self._resolver.version()
        if version != self._version:
            self._requests, self._tcp, self._version = {}, {}, version
        known_requests, known_tcp = self._requests, self._tcp
        # Rebuilt from what is there now, so names of rows that ended do not pile up.
        self._requests, self._tcp = {}, {}
        named_requests = []
        for row in requests:
            ends = self._ends(row.key, known_requests, self._requests)
            if row.key.role is Role.UNKNOWN or draws_edge(row.key, ends):
                named_requests.append(NamedRequest(row, ends))
        named_tcp = [NamedTcp(row, self._ends(row.key, known_tcp, self._tcp)) for row in tcp]
        return Traffic(clock_ns, named_requests, named_tcp, bucket_ns)

    def _ends(
        self, key: RequestKey | TcpKey, known: dict[tuple[int, int], Ends], kept: dict[tuple[int, int], Ends]
    ) -> Ends:
        row_id = (key.index, key.generation)
        ends = known.get(row_id) or name_ends(key, self._resolver)
        kept[row_id] = ends
        return ends
