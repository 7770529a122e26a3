# SPDX-License-Identifier: Apache-2.0
"""Which detail is in force: every label, or only those of workloads.

On a node of 300 pods every label means 269 000 series, workloads alone 50 000; so `auto` gives way above 60 pods. It
comes back only below 50 and changes at most once an hour, because each change starts new series.
"""

from typing import Final

from exporters.settings import SECOND_NS, Detail, DetailInForce

MOST_PODS: Final = 60
BACK_AT_PODS: Final = 50
LEAST_TIME_NS: Final = 3600 * SECOND_NS


class DetailRule:
    """Holds the detail in force. A fixed `metrics.detail` is obeyed at once."""

    def __init__(self) -> None:
        self.in_force: DetailInForce = "pod"
        self._changed_ns: int | None = None

    def update(self, wished: Detail, pods: int, now_ns: int) -> DetailInForce:
        """`pods` is how many run on this node now."""
        if wished != "auto":
            self.in_force = wished
            return self.in_force
        target: DetailInForce = self.in_force
        if pods > MOST_PODS:
            target = "workload"
        elif pods <= BACK_AT_PODS:
            target = "pod"
        rested = self._changed_ns is None or now_ns - self._changed_ns >= LEAST_TIME_NS
        if target != self.in_force and rested:
            self.in_force = target
            self._changed_ns = now_ns
        return self.in_force
