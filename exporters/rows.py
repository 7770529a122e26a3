# SPDX-License-Identifier: Apache-2.0
"""Rows of the page: one set of labels, the counters under it, and how long they live.

A new counter is shown as 0 for one scrape interval and then with its value, because a scraper that first meets a counter
at 3 takes that for its beginning: with promtool, three calls in an hour made an increase() of 0 without this, and of 3
with it. What is shown depends on the time alone, so every scraper reads the same.
"""

from operator import add
from typing import Final, NamedTuple

from analyzers.accounts import Values

NO_GAUGE: Final = -1
_ALWAYS: Final = 1 << 63


class Single(NamedTuple):
    """One counter of a row that has labels of its own, and appears with its first count. `labels` starts with what joins
    them to the row's, if it has any."""

    labels: str
    value: int
    created_ns: int


class Shown(NamedTuple):
    """A row as a page shows it. `gauge` is NO_GAUGE if there is no fresh reading."""

    body: str
    values: Values
    singles: tuple[Single, ...]
    gauge: int
    created_ns: int


class Row:
    """Counters only grow. Times are those of the events' clock."""

    __slots__ = (
        "_shown",
        "_shown_until",
        "body",
        "created_ns",
        "ended",
        "feeders",
        "gauge",
        "gauge_ns",
        "moved_ns",
        "singles",
        "values",
    )

    def __init__(self, body: str, width: int, now_ns: int) -> None:
        self.body = body
        self.values: Values = (0,) * width
        self.singles: dict[str, tuple[int, int]] = {}
        self.gauge = NO_GAUGE
        self.gauge_ns = 0
        self.created_ns = now_ns
        self.moved_ns = now_ns
        self.ended = False
        self.feeders = 0
        self._shown: Shown | None = None
        self._shown_until = 0

    def add(self, amount: Values, now_ns: int) -> None:
        self.values = tuple(map(add, self.values, amount))
        self.moved_ns = now_ns
        self._shown = None

    def add_single(self, labels: str, amount: int, now_ns: int) -> None:
        """Count under labels of its own. An amount of 0 makes the series known, with 0."""
        value, created_ns = self.singles.get(labels, (0, now_ns))
        self.singles[labels] = (value + amount, created_ns)
        self.moved_ns = now_ns
        self._shown = None

    def set_gauge(self, value: int, moved_ns: int) -> None:
        """A reading; the newest of those that are merged here counts."""
        if moved_ns >= self.gauge_ns:
            self.gauge, self.gauge_ns = value, moved_ns
            self._shown = None

    def show(self, now_ns: int, interval_ns: int, gauge_ttl_ns: int, joint: str = ",") -> Shown:
        """The row at `now_ns`. The same object again while nothing about it depends on the time."""
        if self._shown is not None and now_ns <= self._shown_until:
            return self._shown
        settled = known = now_ns - self.created_ns >= interval_ns
        values = self.values if known else (0,) * len(self.values)
        joint = joint if self.body else ""
        singles: list[Single] = []
        for labels, (value, created_ns) in self.singles.items():
            known = now_ns - created_ns >= interval_ns
            settled = settled and known
            singles.append(Single(joint + labels if labels else "", value if known else 0, created_ns))
        fresh = self.gauge != NO_GAUGE and now_ns - self.gauge_ns <= gauge_ttl_ns
        shown = Shown(self.body, values, tuple(singles), self.gauge if fresh else NO_GAUGE, self.created_ns)
        if settled:
            self._shown = shown
            self._shown_until = self.gauge_ns + gauge_ttl_ns if fresh else _ALWAYS
        return shown


class RowTable:
    """Rows by their label text: at most `limit`, and one more for all others."""

    def __init__(self, width: int, limit: int, joint: str = ",") -> None:
        self.limit = limit
        self._width = width
        self._joint = joint
        self._rows: dict[str, Row] = {}
        self._beyond: set[str] = set()

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, body: str, now_ns: int) -> Row | None:
        """The row of these labels, made if there is room; None if there is not."""
        row = self._rows.get(body)
        if row is None and len(self._rows) - len(self._beyond) < self.limit:
            row = self._rows[body] = Row(body, self._width, now_ns)
        return row

    def overflow(self, body: str, now_ns: int) -> Row:
        """The row for what found none. It is made even where the limit is reached, and takes no room of others."""
        row = self._rows.get(body)
        self._beyond.add(body)
        if row is None:
            row = self._rows[body] = Row(body, self._width, now_ns)
        return row

    def end(self, row: Row) -> None:
        """No account feeds it any more. What finds no room still may, where it is the row for that: this one ends when it is idle."""
        if row.body not in self._beyond:
            self._rows.pop(row.body, None)
            row.ended = True

    def expire(self, before_ns: int) -> None:
        """End the rows that last moved before `before_ns`."""
        for body in [body for body, row in self._rows.items() if row.moved_ns < before_ns]:
            self._rows.pop(body).ended = True
            self._beyond.discard(body)

    def show(self, now_ns: int, interval_ns: int, gauge_ttl_ns: int) -> list[Shown]:
        return [row.show(now_ns, interval_ns, gauge_ttl_ns, self._joint) for row in self._rows.values()]
