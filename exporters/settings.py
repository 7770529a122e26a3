# SPDX-License-Identifier: Apache-2.0
"""The part of the configuration that decides what the metrics page looks like: keys `metrics.*` of docs/config.md."""

from dataclasses import dataclass, field
from typing import Final, Literal

Detail = Literal["auto", "pod", "workload"]
DetailInForce = Literal["pod", "workload"]
Histograms = Literal["none", "entity", "topology", "both"]

SECOND_NS: Final = 10**9
DEFAULT_BOUNDS_NS: Final = tuple(milliseconds * 10**6 for milliseconds in (5, 10, 25, 50, 100, 250, 500, 2500))


@dataclass(frozen=True, slots=True)
class RowLimits:
    """How many rows (sets of labels, of which each gives a few series) a node may have."""

    entity: int = 5000
    topology: int = 5000
    tcp: int = 5000
    trace: int = 3000


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Names, detail, limits and life of the traffic metrics. All times in nanoseconds.

    A `scrape_interval_ns` of 0 shows new counters with their value at once, as a replay wants it. `bounds_ns` are the
    upper bounds of the histograms' buckets, the same that the engine was given.
    """

    prefix: str = "kindling"
    detail: Detail = "auto"
    pod_detail_namespaces: frozenset[str] = frozenset()
    histograms: Histograms = "entity"
    scrape_interval_ns: int = 30 * SECOND_NS
    counter_ttl_ns: int = 3600 * SECOND_NS
    gauge_ttl_ns: int = 300 * SECOND_NS
    rows: RowLimits = field(default_factory=RowLimits)
    contents_per_workload: int = 50
    outside_addresses: int = 500
    process_info: bool = False
    drop_labels: frozenset[str] = frozenset()
    cluster_label: str = ""
    bounds_ns: tuple[int, ...] = DEFAULT_BOUNDS_NS
