# SPDX-License-Identifier: Apache-2.0
"""The trace view at the detail in force, within its limit."""

from collections.abc import Iterable
from dataclasses import dataclass

from analyzers.traces import EXTRAS, TraceRow
from exporters.projection import Projection, TraceText


@dataclass(frozen=True, slots=True)
class TraceSeries:
    body: str
    duration_ns: int


class TraceView:
    """Merges the traces of edges that are one edge at this detail: the newest stays, and three extras.

    When there are too many, extras go first, then edges inside, edges to outside addresses last; of each the oldest.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.overflowed = 0
        self.series: tuple[TraceSeries, ...] = ()
        self._texts: dict[int, tuple[TraceRow, TraceText]] = {}
        self._left_out: set[str] = set()
        self._epoch = -1

    def take(self, rows: Iterable[TraceRow], projection: Projection, epoch: int) -> None:
        if epoch != self._epoch:
            self._texts, self._epoch = {}, epoch
        shelves: dict[str, list[tuple[TraceRow, TraceText]]] = {}
        texts: dict[int, tuple[TraceRow, TraceText]] = {}
        for row in rows:
            # The row is kept with its text, so its id cannot come to mean another one.
            known = self._texts.get(id(row)) or (row, projection.trace(row))
            texts[id(row)] = known
            shelves.setdefault(known[1].edge, []).append(known)
        self._texts = texts
        ranked: list[tuple[int, int, str, int]] = []
        for shelf in shelves.values():
            ranked += _ranked(shelf)
        self._fill(ranked)

    def _fill(self, ranked: list[tuple[int, int, str, int]]) -> None:
        ranked.sort(key=lambda entry: (-entry[0], -entry[1]))
        kept: dict[str, TraceSeries] = {}
        left_out: set[str] = set()
        for _, _, body, duration_ns in ranked:
            if body in kept:
                continue
            if len(kept) < self.limit:
                kept[body] = TraceSeries(body, duration_ns)
            else:
                left_out.add(body)
        self.overflowed += len(left_out - self._left_out)
        self._left_out = left_out
        self.series = tuple(kept.values())


def _ranked(shelf: list[tuple[TraceRow, TraceText]]) -> Iterable[tuple[int, int, str, int]]:
    """(how long to hold on to it, when it ended, label text, duration) of what is shown of one edge and side."""
    shelf.sort(key=lambda entry: -entry[0].last.ended_ns)
    newest, text = shelf[0]
    yield 2 if text.outside else 1, newest.last.ended_ns, text.whole, newest.last.duration_ns
    contents: set[str] = set()
    for row, text in shelf[1:]:
        if not (row.is_error or row.is_slow) or row.request_content in contents:
            continue
        contents.add(row.request_content)
        yield 0, row.last.ended_ns, text.whole, row.last.duration_ns
        if len(contents) == EXTRAS:
            return
