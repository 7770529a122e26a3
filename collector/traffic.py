# SPDX-License-Identifier: Apache-2.0
"""All rows of the table with the names of both ends: what the API's graphs and rates are made of."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from analyzers.edges import Ends, draws_edge, name_ends
from analyzers.resolver import Resolver
from analyzers.rows import RequestKey, RequestRow, Role, TcpKey, TcpRow
from analyzers.scope import EVERYTHING


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
        self.scope = EVERYTHING
        self._resolver = resolver
        self._version = -1
        self._requests: dict[tuple[int, int], Ends] = {}
        self._tcp: dict[tuple[int, int], Ends] = {}

    def name(
        self, clock_ns: int, requests: Iterable[RequestRow], tcp: Iterable[TcpRow], bucket_ns: Sequence[int]
    ) -> Traffic:
        """Rows of an edge that the peer's own row draws are left out, as in `analyzers.edges.draws_edge`.

        Of these the API loses nothing but a TCP relation without a known client, such as resets for a closed port.
        """
        version = self._resolver.version()
        if version != self._version:
            self._requests, self._tcp, self._version = {}, {}, version
        known_requests, known_tcp = self._requests, self._tcp
        # Rebuilt from what is there now, so names of rows that ended do not pile up.
        self._requests, self._tcp = {}, {}
        named_requests = []
        for row in requests:
            ends = self._ends(row.key, row.last.ended_ns, known_requests, self._requests)
            shown = row.key.role is Role.UNKNOWN or draws_edge(row.key, ends)
            if shown and self.scope.has_row(row.key.role, ends, both_here=row.key.peer is not None):
                named_requests.append(NamedRequest(row, ends))
        named_tcp = []
        for tcp_row in tcp:
            ends = self._ends(tcp_row.key, tcp_row.updated_ns, known_tcp, self._tcp)
            shown = tcp_row.key.role is not Role.SERVER or tcp_row.key.peer is not None or not ends.remote.observed
            if shown and self.scope.has_row(tcp_row.key.role, ends):
                named_tcp.append(NamedTcp(tcp_row, ends))
        return Traffic(clock_ns, named_requests, named_tcp, bucket_ns)

    def _ends(
        self,
        key: RequestKey | TcpKey,
        at_ns: int,
        known: dict[tuple[int, int], Ends],
        kept: dict[tuple[int, int], Ends],
    ) -> Ends:
        """After who had the addresses when the row moved last."""
        row_id = (key.index, key.generation)
        ends = known.get(row_id) or name_ends(key, self._resolver, at_ns)
        if not ends.remote.former:  # what moves after that is the successor's
            kept[row_id] = ends
        return ends
