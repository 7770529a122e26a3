# SPDX-License-Identifier: Apache-2.0
"""The trace view: per edge and side the newest request, and at most three newest slow or failed ones of different content.

It is a view of a bounded table, not a log. Whoever lists it sees every edge whose counter moved within the idle time.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from analyzers.edges import Edge
from analyzers.rows import LastRequest

EXTRAS: Final = 3


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One request that stands for its edge: the newest, or one of its newest slow or failed ones."""

    edge: Edge
    is_server: bool
    request_content: str
    response_content: str
    is_error: bool
    is_slow: bool
    last: LastRequest


class _Shelf:
    __slots__ = ("extras", "moved_ns", "newest")

    def __init__(self, newest: TraceRow) -> None:
        self.newest = newest
        self.extras: dict[str, TraceRow] = {}
        self.moved_ns = 0


class TraceTable:
    """Traces by (edge, side). A shelf ends when its edge has been idle, or when `limit` shelves are newer."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.evicted = 0
        self._before_ns = 0
        self._shelves: dict[tuple[Edge, bool], _Shelf] = {}

    def put(self, row: TraceRow, now_ns: int) -> None:
        """Take the newest request of a table row that moved; one older than what is here only keeps the edge alive."""
        key = (row.edge, row.is_server)
        shelf = self._shelves.get(key)
        if shelf is None:
            if len(self._shelves) >= self.limit + self.limit // 8:
                self.expire(self._before_ns)  # what is idle is not put out, it ends
            shelf = self._shelves[key] = _Shelf(row)
        shelf.moved_ns = max(shelf.moved_ns, now_ns)
        if row.last.ended_ns >= shelf.newest.last.ended_ns:
            shelf.newest = row
        if row.is_error or row.is_slow:
            _keep_extra(shelf.extras, row)

    def expire(self, before_ns: int) -> None:
        """End the shelves of edges that last moved before `before_ns`, then the longest idle beyond the limit."""
        self._before_ns = before_ns
        for key in [key for key, shelf in self._shelves.items() if shelf.moved_ns < before_ns]:
            del self._shelves[key]
        excess = len(self._shelves) - self.limit
        if excess > 0:
            for key in sorted(self._shelves, key=lambda key: self._shelves[key].moved_ns)[:excess]:
                del self._shelves[key]
            self.evicted += excess

    def rows(self) -> tuple[TraceRow, ...]:
        return tuple(row for shelf in self._shelves.values() for row in _shelf_rows(shelf))


def _keep_extra(extras: dict[str, TraceRow], row: TraceRow) -> None:
    known = extras.get(row.request_content)
    if known is not None and known.last.ended_ns > row.last.ended_ns:
        return
    extras[row.request_content] = row
    # One more than is shown: the newest request may be among them, and then it is not an extra.
    if len(extras) > EXTRAS + 1:
        del extras[min(extras, key=lambda content: extras[content].last.ended_ns)]


def _shelf_rows(shelf: _Shelf) -> Iterable[TraceRow]:
    yield shelf.newest
    extras = [row for row in shelf.extras.values() if row is not shelf.newest]
    extras.sort(key=lambda row: -row.last.ended_ns)
    yield from extras[:EXTRAS]
