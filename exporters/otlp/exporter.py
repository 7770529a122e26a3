# SPDX-License-Identifier: Apache-2.0
"""The push to a collector: one channel, one lane for metrics and one for spans.

`turn` belongs to the agent's loop and never waits. Everything that can wait happens in the lanes' threads.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from analyzers.snapshot import Snapshot
from exporters.otlp.delivery import Channel, Signal
from exporters.otlp.http_channel import HttpChannel
from exporters.otlp.lane import Lane, LaneAccount, Request
from exporters.otlp.metrics import MetricRequests, Push
from exporters.otlp.series import OtlpSeries
from exporters.otlp.settings import Origin, OtlpSettings
from exporters.otlp.spans import SpanMaker, SpanQueue
from exporters.own import OwnState
from exporters.settings import MetricsSettings

SPAN_PATIENCE = 300.0
"""How long a batch of spans is tried. Newer ones wait meanwhile, and beyond the queue the oldest go."""


@dataclass(frozen=True, slots=True)
class OtlpAccount:
    """What was pushed so far. `late` counts pushes of metrics that were left out because the last one was still going."""

    metrics: LaneAccount
    spans: LaneAccount
    late: int


class OtlpExporter:
    """Made while files of root's can still be read; `start` makes threads, so it comes after privileges are given up."""

    def __init__(
        self,
        settings: OtlpSettings,
        metrics: MetricsSettings,
        origin: Origin,
        before: "OtlpExporter | None" = None,
    ) -> None:
        """Goes on with the counts of `before`, which has ended, where it told them in the same form. Raises ChannelError."""
        self.settings = settings
        self._origin = origin
        self.series = OtlpSeries(metrics, origin, settings.histograms)
        self.requests = MetricRequests(origin, settings.temporality, metrics.bounds_ns, settings.histograms)
        self.before: OtlpExporter | None = None
        """Whose counts these go on with, until it is over."""
        if before is not None and settings.tells_as(before.settings):
            self.series = before.series
            self.series.configure(metrics, origin)
            self.before = before.before or before  # one that still waited itself has told nothing
        self._waits_until = time.monotonic() + 2 * settings.timeout
        self._queue = SpanQueue(settings.queue)
        self._push: Push | None = None
        self._wall_offset_ns = 0
        self._late = 0
        self._due = time.monotonic() + settings.interval
        self._channel = open_channel(settings)
        # A push that fails is told again by the next; until then there is no hurry to give up.
        patience = max(settings.interval, settings.timeout)
        self._metrics = Lane(Signal.METRICS, self._channel, self._take_push, patience, keeps=True)
        self._spans = Lane(Signal.SPANS, self._channel, self._take_spans, SPAN_PATIENCE)

    def start(self) -> None:
        if self.settings.metrics:
            self._metrics.start()
        if self.settings.spans:
            self._spans.start()

    def stop(self, wait: float = 2.0) -> None:
        """What is on its way may still be delivered for `wait` seconds."""
        self._metrics.stop(wait)
        self._spans.stop(wait)
        self._channel.close()

    @property
    def is_over(self) -> bool:
        """Whether nothing is being sent any more, after `stop`."""
        return self._metrics.is_over and self._spans.is_over

    def configure(self, metrics: MetricsSettings, origin: Origin) -> None:
        """Go on with other names, limits or detail."""
        self._origin = origin
        self.series.configure(metrics, origin)

    def turn(
        self, snapshot: Snapshot, wall_offset_ns: int, own: Callable[[], OwnState], absent: frozenset[str] = frozenset()
    ) -> None:
        """Take what is new, and begin a push if it is time."""
        self._wall_offset_ns = wall_offset_ns
        if self.settings.metrics:
            self.series.update(snapshot)
            if time.monotonic() >= self._due and self._may_push():
                self._due = time.monotonic() + self.settings.interval
                self._begin(Push(self.series.page(snapshot.clock_ns), own(), wall_offset_ns, absent))
        if self.settings.spans and snapshot.samples:
            self._queue.put(snapshot.samples)
            self._spans.wake()

    def account(self) -> OtlpAccount:
        spans = self._spans.account()
        spans = replace(spans, dropped=spans.dropped + self._queue.dropped, waiting=len(self._queue))
        return OtlpAccount(self._metrics.account(), spans, self._late)

    def _may_push(self) -> bool:
        """Not before what another exporter had on its way was acknowledged or given up: it would be told twice."""
        if self.before is not None and (self.before.is_over or time.monotonic() > self._waits_until):
            self.requests.go_on_from(self.before.requests)
            self.before = None
        return self.before is None

    def _begin(self, push: Push) -> None:
        if self._metrics.busy():
            self._late += 1
            return
        self._push = push
        self._metrics.wake()

    def _take_push(self) -> Iterator[Request]:
        push, self._push = self._push, None
        if push is not None:
            yield from self.requests.requests(push)

    def _take_spans(self) -> Iterator[Request]:
        while samples := self._queue.take():
            yield from SpanMaker(self._origin, self._wall_offset_ns).requests(samples)


def open_channel(settings: OtlpSettings) -> Channel:
    """gRPC is imported only where it is asked for. Raises ChannelError."""
    if settings.protocol == "http":
        return HttpChannel(settings)
    from exporters.otlp.grpc_channel import GrpcChannel  # noqa: PLC0415

    return GrpcChannel(settings)
