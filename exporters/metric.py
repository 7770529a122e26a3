# SPDX-License-Identifier: Apache-2.0
"""What the registry knows of one metric."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """`name` is what Prometheus shows, with {prefix} for `metrics.prefix`; `otel` is the name over OTLP, empty if it is not pushed. `unit` is UCUM.
    `absent` says when the metric is not on the page at all, which is never the same as 0; empty: always there."""

    name: str
    otel: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    help: str
    absent: str = ""

    def full_name(self, prefix: str) -> str:
        return self.name.format(prefix=prefix)
