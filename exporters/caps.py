# SPDX-License-Identifier: Apache-2.0
"""How many different values a label may have."""

from collections.abc import Hashable, Iterable


class ValueCap:
    """At most `limit` values in each scope. A value that was admitted stays so until `retain` leaves it out."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.full = False
        self._admitted: dict[Hashable, set[str]] = {}

    def admits(self, scope: Hashable, value: str) -> bool:
        """Whether `value` may be shown. Sets `full` when it may not."""
        values = self._admitted.setdefault(scope, set())
        if value in values:
            return True
        if len(values) >= self.limit:
            self.full = True
            return False
        values.add(value)
        return True

    def retain(self, live: Iterable[tuple[Hashable, str]]) -> None:
        """Keep only the admitted values that are still in use, so that others find room."""
        kept: dict[Hashable, set[str]] = {}
        for scope, value in live:
            if value in self._admitted.get(scope, ()):
                kept.setdefault(scope, set()).add(value)
        self._admitted = kept
        self.full = False
