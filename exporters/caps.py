# SPDX-License-Identifier: Apache-2.0
"""How many different values a label may have."""

from collections.abc import Hashable, Iterable


class ValueCap:
    """At most `limit` values in each scope. A value that was admitted stays so until `retain` leaves it out."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.full = False
        self._admitted: dict[Hashable, dict[str, int | None]] = {}
        """By scope and value, when `retain` last knew it to be in use."""

    def admits(self, scope: Hashable, value: str) -> bool:
        """Whether `value` may be shown. Sets `full` when it may not."""
        values = self._admitted.setdefault(scope, {})
        if value in values:
            return True
        if len(values) >= self.limit:
            self.full = True
            return False
        values[value] = None
        return True

    def retain(self, live: Iterable[tuple[Hashable, str]], now_ns: int = 0, linger_ns: int = 0) -> None:
        """Keep only the admitted values that are still in use, or were within `linger_ns`, so that others find room."""
        in_use = set(live)
        kept: dict[Hashable, dict[str, int | None]] = {}
        for scope, values in self._admitted.items():
            for value, known_ns in values.items():
                used_ns = now_ns if known_ns is None or (scope, value) in in_use else known_ns
                if (scope, value) in in_use or now_ns - used_ns < linger_ns:
                    kept.setdefault(scope, {})[value] = used_ns
        self._admitted = kept
        self.full = False
