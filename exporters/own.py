# SPDX-License-Identifier: Apache-2.0
"""The agent's own metrics, through the OpenTelemetry SDK and its Prometheus exporter, on the same page as the traffic.

A page reads one frozen OwnState; nothing is counted here. The SDK is imported with this module and costs about 15 MiB:
import it where a page is served, and nowhere else.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from analyzers.losses import LOSSES
from analyzers.rows import DriverCounters, EngineState
from analyzers.snapshot import EMPTY, Snapshot
from exporters import registry_cluster as cluster
from exporters import registry_own as own
from exporters.metric import Metric
from exporters.prometheus import Format
from exporters.series import SeriesReport

Reading = tuple[float, tuple[str, ...]]  # a value and its labels, in the registry's order
Readings = Iterable[Reading]

_GENERATORS: Final[Mapping[Format, Callable[[CollectorRegistry], bytes]]] = {
    "text": generate_latest,
    "openmetrics": generate_openmetrics,
}
_SECOND_NS: Final = 10**9


@dataclass(frozen=True, slots=True)
class DriverReport:
    """What watches this kernel. `hooks` names the hook set; `attached` says of each hook whether it could attach;
    `rejected` has driver and reason of each that was tried and not taken.
    """

    driver: str
    hooks: str
    kernel: str
    attached: Mapping[str, bool] = field(default_factory=dict)
    rejected: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """What one of the agent's processes has used so far (CPU) and uses now (resident memory)."""

    cpu_seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What one exporter delivered, dropped and failed at so far, and what waits now. Points, spans or lines."""

    delivered: int
    dropped: int
    failures: int
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class ApiReport:
    """What the API server was asked for so far, and since when it has said nothing of each resource."""

    requests: int
    bytes_read: int
    ages: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FollowReport:
    """How an agent follows the names service. `starts`: how often it came to, by how."""

    up: bool
    age: float
    bytes_read: int
    starts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ServeReport:
    """What a names service knows and tells."""

    agents: int
    objects: Mapping[str, int]
    streams: Mapping[str, int]
    bytes_sent: int
    history_bytes: int
    left_out: int


@dataclass(frozen=True, slots=True)
class TableSizes:
    """Capacity of the shared table's parts, in entries."""

    rows: int = 32768
    tcp_rows: int = 16384
    strings: int = 32768
    owners: int = 8192
    connections: int = 65536


@dataclass(frozen=True, slots=True)
class PluginReport:
    """How many exchanges each plugin was `decoded`, `failed` (raised), `timeout` or `crashed` at, by (plugin, result);
    `skipped` is for want of time. `failed` says why an entry point is not in use, `last_fault` what a plugin raised last."""

    counts: Mapping[tuple[str, str], int]
    failed: Mapping[str, str]
    last_fault: Mapping[str, str]
    skipped: int
    given_up: str


@dataclass(frozen=True, slots=True)
class OwnState:
    """Everything the agent tells of itself at one moment. None, or an empty mapping, leaves the metrics out.

    `absent` has the reason for each metric that cannot be had, by its full name; `watches` says of each resource of the
    API server whether it is being watched; `step_level` is how many steps the agent went down to stay within its budget, and
    `steps` how often it took each; `restarts` is how often the engine was started again. `samples_missed` were overwritten
    before they were read, `stream_dropped` listeners of the live stream were too slow for; `left_out` is how many
    cgroups the engine was told to leave out. `now_ns` is of the engine's clock.
    """

    version: str
    now_ns: int = 0
    driver: DriverReport | None = None
    engine: EngineState | None = None
    counters: DriverCounters | None = None
    sizes: TableSizes = field(default_factory=TableSizes)
    snapshot: Snapshot = EMPTY
    series: SeriesReport | None = None
    absent: Mapping[str, str] = field(default_factory=dict)
    exports: Mapping[str, ExportReport] = field(default_factory=dict)
    plugins: PluginReport | None = None
    step_level: int = 0
    steps: Mapping[str, int] = field(default_factory=dict)
    watches: Mapping[str, bool] = field(default_factory=dict)
    api: ApiReport | None = None
    follows: FollowReport | None = None
    serves: ServeReport | None = None
    processes: Mapping[str, ProcessUse] = field(default_factory=dict)
    restarts: int = 0
    samples_missed: int | None = None
    stream_dropped: int | None = None
    left_out: int | None = None
    conntrack: bool | None = None
    """Whether translations are read. None: there is nothing to apply them to."""
    config_valid: bool = True


class OwnMetrics:
    """One per process. `render` is not to be called from two threads at once."""

    def __init__(self) -> None:
        self._state: OwnState | None = None
        self._registry = CollectorRegistry(auto_describe=False)
        reader = PrometheusMetricReader(disable_target_info=True, scope_info_enabled=False, registry=self._registry)
        self._provider = MeterProvider(metric_readers=[reader], resource=Resource.get_empty(), shutdown_on_exit=False)
        self._meter = self._provider.get_meter("firesteel")
        for metric, read in READERS:
            self._register(metric, read)

    def render(self, state: OwnState, style: Format = "text") -> bytes:
        """The part of the page that tells of the agent, without an end mark."""
        self._state = state
        return _GENERATORS[style](self._registry).removesuffix(b"# EOF\n")

    def close(self) -> None:
        self._provider.shutdown()

    def _register(self, metric: Metric, read: Callable[[OwnState], Readings]) -> None:
        def observe(_options: CallbackOptions) -> Iterator[Observation]:
            if self._state is not None:
                for value, labels in read(self._state):
                    yield Observation(value, dict(zip(metric.labels, labels, strict=True)))

        # A unit of 1 or {items} has no place in a Prometheus name.
        unit = metric.unit if metric.unit in {"s", "By"} else ""
        if metric.kind == "counter":
            self._meter.create_observable_counter(metric.otel, [observe], unit, metric.help)
        else:
            self._meter.create_observable_gauge(metric.otel, [observe], unit, metric.help)


def _build(state: OwnState) -> Readings:
    yield 1, (state.version,)


def _driver(state: OwnState) -> Readings:
    if state.driver is not None:
        yield 1, (state.driver.driver, state.driver.hooks, state.driver.kernel)


def _rejected(state: OwnState) -> Readings:
    if state.driver is not None:
        for driver, reason in dict.fromkeys(state.driver.rejected):
            yield 1, (driver, reason)


def _hooks(state: OwnState) -> Readings:
    if state.driver is not None:
        for hook, attached in state.driver.attached.items():
            yield int(attached), (hook,)


def _events(state: OwnState) -> Readings:
    if state.counters is not None:
        for name, count in state.counters.written.items():
            yield count, (name, "kernel")
    if state.engine is not None:
        for name, count in state.engine.events.items():
            yield count, (name, "engine")


def _merged(state: OwnState) -> Readings:
    if state.counters is not None:
        yield state.counters.merged, ()


def _lost(state: OwnState) -> Readings:
    if state.counters is not None:
        for name, count in state.counters.lost.items():
            yield count, (name, "ring")
        yield state.counters.storage_failed, ("connection", "ring")
        if state.driver is not None and state.driver.driver == "kmod":
            yield state.counters.missed, ("call", "hook")
    if state.engine is not None:
        totals: dict[tuple[str, str], int] = {}
        for stat, loss in LOSSES.items():
            where = (loss.kind, loss.stage)
            totals[where] = totals.get(where, 0) + state.engine.stats.get(stat, 0)
        for where, count in totals.items():
            yield count, where
    yield state.snapshot.undirected, ("request", "resolve")
    for kind, count in state.snapshot.evicted.items():
        yield count, (kind, "resolve")
    if state.samples_missed is not None:
        yield state.samples_missed, ("sample", "table")
    if state.stream_dropped is not None:
        yield state.stream_dropped, ("stream", "export")
    for exporter, report in state.exports.items():
        yield report.dropped, (exporter, "export")


def _not_visible(state: OwnState) -> Readings:
    if state.counters is not None:
        for reason, count in state.counters.absent.items():
            yield count, (reason,)


def _plugins(state: OwnState) -> Readings:
    if state.plugins is not None:
        for which, count in state.plugins.counts.items():
            yield count, which
        if state.plugins.skipped:
            yield state.plugins.skipped, ("", "skipped")


def _from_engine(read: Callable[[EngineState], Readings]) -> Callable[[OwnState], Readings]:
    return lambda state: () if state.engine is None else read(state.engine)


def _stat(name: str) -> Callable[[OwnState], Readings]:
    return _from_engine(lambda engine: [(engine.stats.get(name, 0), ())])


def _by_name(read: Callable[[EngineState], Mapping[str, int]]) -> Callable[[OwnState], Readings]:
    return _from_engine(lambda engine: [(count, (name,)) for name, count in read(engine).items()])


def _table_fill(state: OwnState) -> Readings:
    engine, sizes = state.engine, state.sizes
    if engine is not None:
        yield engine.rows_used / sizes.rows, ("rows",)
        yield engine.tcp_rows_used / sizes.tcp_rows, ("tcp_rows",)
        yield engine.strings_used / sizes.strings, ("strings",)
        yield engine.idents_used / sizes.owners, ("owners",)
        yield engine.connections / sizes.connections, ("connections",)


def _samples(engine: EngineState) -> Readings:
    yield engine.stats.get("samples_written", 0), ("written",)
    yield engine.stats.get("samples_shed", 0), ("shed",)


def _lag(state: OwnState) -> Readings:
    if state.engine is not None:
        yield max(0, state.now_ns - state.engine.heartbeat_ns) / _SECOND_NS, ()


def _series(state: OwnState) -> Readings:
    if state.series is not None:
        for name, count in state.series.rows.items():
            yield count, (name,)


def _overflow(state: OwnState) -> Readings:
    if state.series is not None:
        for name, count in state.series.overflow.items():
            yield count, (name,)


def _detail(state: OwnState) -> Readings:
    if state.series is not None:
        yield 1, (state.series.detail,)


def _follows(read: Callable[[FollowReport], Readings]) -> Callable[[OwnState], Readings]:
    return lambda state: () if state.follows is None else read(state.follows)


def _serves(read: Callable[[ServeReport], Readings]) -> Callable[[OwnState], Readings]:
    return lambda state: () if state.serves is None else read(state.serves)


READERS: Final[tuple[tuple[Metric, Callable[[OwnState], Readings]], ...]] = (
    (own.BUILD_INFO, _build),
    (own.DRIVER_INFO, _driver),
    (own.DRIVER_REJECTED, _rejected),
    (own.HOOK_ATTACHED, _hooks),
    (own.EVENTS, _events),
    (own.MERGED, _merged),
    (own.LOST, _lost),
    (own.NOT_VISIBLE, _not_visible),
    (own.PARSED, _by_name(lambda engine: engine.parsed)),
    (own.PARSE_FAILURES, _by_name(lambda engine: engine.parse_failures)),
    (own.PLUGIN, _plugins),
    (own.ENGINE_STAT, _by_name(lambda engine: engine.stats)),
    (own.INTRA_POD, _stat("intra_pod")),
    (own.UNDIRECTED, lambda state: [(state.snapshot.undirected, ())]),
    (own.CONNECTIONS, _from_engine(lambda engine: [(engine.connections, ())])),
    (own.PENDING, _from_engine(lambda engine: [(engine.pending, ())])),
    (own.TABLE_FILL, _table_fill),
    (own.UNRESOLVED, lambda state: [(count, (reason,)) for reason, count in state.snapshot.unresolved.items()]),
    (own.SERIES, _series),
    (own.SERIES_OVERFLOW, _overflow),
    (own.DETAIL, _detail),
    (own.METRIC_ABSENT, lambda state: [(1, pair) for pair in state.absent.items()]),
    (own.SAMPLES, _from_engine(_samples)),
    (own.EXPORTED, lambda state: [(report.delivered, (name,)) for name, report in state.exports.items()]),
    (own.EXPORT_FAILURES, lambda state: [(report.failures, (name,)) for name, report in state.exports.items()]),
    (own.EXPORT_WAITING, lambda state: [(report.waiting, (name,)) for name, report in state.exports.items()]),
    (own.ENGINE_RESTARTS, lambda state: [(state.restarts, ())]),
    (own.ENGINE_LAG, _lag),
    (own.LEFT_OUT, lambda state: [] if state.left_out is None else [(state.left_out, ())]),
    (own.STEP_LEVEL, lambda state: [(state.step_level, ())]),
    (own.STEPS, lambda state: [(count, (step,)) for step, count in state.steps.items()]),
    (own.CONFIG_VALID, lambda state: [(int(state.config_valid), ())]),
    (cluster.WATCH_UP, lambda state: [(int(up), (resource,)) for resource, up in state.watches.items()]),
    (cluster.WATCH_AGE, lambda state: [(age, (name,)) for name, age in state.api.ages.items()] if state.api else ()),
    (cluster.API_REQUESTS, lambda state: [(state.api.requests, ())] if state.api else ()),
    (cluster.API_BYTES, lambda state: [(state.api.bytes_read, ())] if state.api else ()),
    (cluster.CONNTRACK_UP, lambda state: [] if state.conntrack is None else [(int(state.conntrack), ())]),
    (cluster.NAMES_UP, _follows(lambda report: [(int(report.up), ())])),
    (cluster.NAMES_AGE, _follows(lambda report: [(report.age, ())])),
    (cluster.NAMES_BYTES, _follows(lambda report: [(report.bytes_read, ())])),
    (cluster.NAMES_STARTS, _follows(lambda report: [(count, (how,)) for how, count in report.starts.items()])),
    (cluster.NAMES_AGENTS, _serves(lambda report: [(report.agents, ())])),
    (cluster.NAMES_OBJECTS, _serves(lambda report: [(count, (name,)) for name, count in report.objects.items()])),
    (cluster.NAMES_SERVED, _serves(lambda report: [(count, (how,)) for how, count in report.streams.items()])),
    (cluster.NAMES_SENT, _serves(lambda report: [(report.bytes_sent, ())])),
    (cluster.NAMES_HISTORY, _serves(lambda report: [(report.history_bytes, ())])),
    (cluster.NAMES_LEFT_OUT, _serves(lambda report: [(report.left_out, ())])),
    (own.CPU, lambda state: [(use.cpu_seconds, (name,)) for name, use in state.processes.items()]),
    (own.MEMORY, lambda state: [(use.memory_bytes, (name,)) for name, use in state.processes.items()]),
)
