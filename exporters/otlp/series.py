# SPDX-License-Identifier: Apache-2.0
"""What is pushed of the traffic: the same rows as on the Prometheus page, with attributes for labels, and operations."""

from dataclasses import dataclass, replace

from analyzers.snapshot import Snapshot
from exporters.otlp.operations import OperationSeries
from exporters.otlp.settings import HistogramForm, Origin
from exporters.otlp.wire import POINTS
from exporters.rows import Shown
from exporters.series import SeriesStore, TrafficPage
from exporters.settings import MetricsSettings


@dataclass(frozen=True, slots=True)
class OtlpPage:
    """Everything of the traffic that one push tells, frozen, as of `clock_ns` of the events' clock."""

    clock_ns: int
    traffic: TrafficPage
    operations: list[Shown]


class OtlpSeries:
    def __init__(self, settings: MetricsSettings, origin: Origin, form: HistogramForm = "explicit") -> None:
        settings = _without_page(settings)
        self._store = SeriesStore(settings, POINTS)
        self._operations = OperationSeries(settings, origin, self._store.shows_address, form)

    def configure(self, settings: MetricsSettings, origin: Origin) -> None:
        settings = _without_page(settings)
        self._store.configure(settings)
        self._operations.configure(settings, origin)

    def update(self, snapshot: Snapshot) -> None:
        self._store.update(snapshot)
        self._operations.update(snapshot, self._store.report().detail)

    def page(self, clock_ns: int) -> OtlpPage:
        return OtlpPage(clock_ns, self._store.page(clock_ns), self._operations.shown(clock_ns))


def _without_page(settings: MetricsSettings) -> MetricsSettings:
    """What has a place of its own over OTLP: histograms by operation, spans, the cluster's name in the resource, and a
    start time instead of a 0."""
    rows = replace(settings.rows, trace=0)
    return replace(settings, histograms="none", cluster_label="", scrape_interval_ns=0, rows=rows)
