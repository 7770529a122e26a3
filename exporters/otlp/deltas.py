# SPDX-License-Identifier: Apache-2.0
"""What a counter is said to have counted, and since when.

Cumulative: its whole value since its row began. Delta: what it grew since the last push that was acknowledged, so that
what a failed push carried goes out with the next one and nothing is told twice.
"""

from typing import Final

from analyzers.accounts import Values

Key = tuple[str, str, str]
"""Metric, text of the row, text of the series."""

_TURN_NS: Final = 10**9  # a row is made in the turn after its first request


class Deltas:
    """One push at a time: `begin`, a batch for each request, `end`."""

    def __init__(self, delta: bool) -> None:
        self.delta = delta
        self._told: dict[Key, tuple[int, int, Values]] = {}  # created, told at, values
        self._seen: set[Key] = set()
        self._clock_ns = 0

    def begin(self, clock_ns: int) -> None:
        self._clock_ns = clock_ns
        self._seen = set()

    def end(self) -> None:
        """Forget the rows that are gone."""
        if self.delta:
            self._told = {key: told for key, told in self._told.items() if key in self._seen}

    def batch(self) -> "Batch":
        return Batch(self)

    def growth(self, key: Key, values: Values, created_ns: int) -> tuple[Values | None, int]:
        began_ns = created_ns - _TURN_NS
        if not self.delta:
            return values, began_ns
        self._seen.add(key)
        of_ns, since_ns, last = self._told.get(key, (created_ns, began_ns, ()))
        if of_ns != created_ns or not last:  # new, or ended and begun anew
            since_ns, last = began_ns, (0,) * len(values)
        if values == last:
            return None, 0
        return tuple(new - old for new, old in zip(values, last, strict=True)), since_ns

    def acknowledge(self, told: dict[Key, tuple[int, Values]]) -> None:
        for key, (created_ns, values) in told.items():
            self._told[key] = (created_ns, self._clock_ns, values)


class Batch:
    """The counters of one request."""

    def __init__(self, deltas: Deltas) -> None:
        self._deltas = deltas
        self._told: dict[Key, tuple[int, Values]] = {}

    def growth(self, key: Key, values: Values, created_ns: int) -> tuple[Values | None, int]:
        """What to tell of a row, and since when; None if there is nothing new."""
        grown, since_ns = self._deltas.growth(key, values, created_ns)
        if grown is not None and self._deltas.delta:
            self._told[key] = (created_ns, values)
        return grown, since_ns

    def acknowledged(self) -> None:
        """The receiver has them."""
        self._deltas.acknowledge(self._told)
