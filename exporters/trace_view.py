# SPDX-License-Identifier: Apache-2.0
"""The trace view at the detail in force, within its limit."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from analyzers.edges import Edge
from analyzers.traces import EXTRAS, TraceRow
from exporters.projection import Projection

_EXTRA: Final = 0
_INSIDE: Final = 1
_OUTSIDE: Final = 2


@dataclass(frozen=True, slots=True)
class TraceSeries:
    body: str
    duration_ns: int


@dataclass(frozen=True, slots=True)
class _Ranked:
    rank: int  # the higher, the longer it is held on to
    row: TraceRow
    shared: bytes


class TraceView:
    """Merges the traces of edges that are one edge at this detail: the newest stays, and three extras.

    When there are too many, extras go first, then edges inside, edges to outside addresses last; of each the oldest.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.overflowed = 0
        self.series: tuple[TraceSeries, ...] = ()
        self._shared: dict[tuple[int, bool], tuple[Edge, bytes]] = {}
        self._whole: dict[int, tuple[TraceRow, str]] = {}
        self._left_out: set[tuple[bytes, str]] = set()
        self._epoch = -1

    def take(self, rows: Iterable[TraceRow], projection: Projection, epoch: int) -> None:
        """Show these from now on. Text is made anew when `epoch` differs from the last one's."""
        if epoch != self._epoch:
            self._shared, self._whole, self._epoch = {}, {}, epoch
        shelves: dict[bytes, list[TraceRow]] = {}
        shared: dict[tuple[int, bool], tuple[Edge, bytes]] = {}
        for row in rows:
            # The edge is kept with what its text comes to, so its id cannot come to mean another one.
            key = (id(row.edge), row.is_server)
            known = shared.get(key) or self._shared.get(key) or (row.edge, _digest(projection.trace_edge(row)))
            shared[key] = known
            shelves.setdefault(known[1], []).append(row)
        self._shared = shared
        ranked = [entry for text, shelf in shelves.items() for entry in _ranked(text, shelf)]
        ranked.sort(key=lambda entry: (-entry.rank, -entry.row.last.ended_ns))
        self._fill(ranked, projection)

    def _fill(self, ranked: list[_Ranked], projection: Projection) -> None:
        series: dict[str, TraceSeries] = {}
        whole: dict[int, tuple[TraceRow, str]] = {}
        for entry in ranked[: self.limit]:
            row = entry.row
            known = self._whole.get(id(row)) or (row, projection.trace(row, projection.trace_edge(row)))
            whole[id(row)] = known
            series.setdefault(known[1], TraceSeries(known[1], row.last.duration_ns))
        self._whole = whole
        # The newest of an edge is the same row of the view whatever it asked; an extra is one for each content.
        left_out = {
            (entry.shared, entry.row.request_content if entry.rank == _EXTRA else "") for entry in ranked[self.limit :]
        }
        self.overflowed += len(left_out - self._left_out)
        self._left_out = left_out
        self.series = tuple(series.values())


def _digest(text: str) -> bytes:
    """In the place of half a kilobyte of labels for each of more edges than are shown."""
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()


def _ranked(shared: bytes, shelf: list[TraceRow]) -> Iterable[_Ranked]:
    """What is shown of one edge and side."""
    shelf.sort(key=lambda row: -row.last.ended_ns)
    newest = shelf[0]
    yield _Ranked(_OUTSIDE if newest.edge.dst.outside else _INSIDE, newest, shared)
    contents: set[str] = set()
    for row in shelf[1:]:
        if (row.is_error or row.is_slow) and row.request_content not in contents:
            contents.add(row.request_content)
            yield _Ranked(_EXTRA, row, shared)
            if len(contents) == EXTRAS:
                return
