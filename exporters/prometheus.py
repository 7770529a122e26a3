# SPDX-License-Identifier: Apache-2.0
"""The metrics page as text, in chunks: Prometheus exposition format 0.0.4, or OpenMetrics 1.0.0 where it is asked for.

Formats: https://prometheus.io/docs/instrumenting/exposition_formats/ and the OpenMetrics 1.0.0 specification. Label text
is cached in the rows, so a page is joined, not formatted. Nothing here waits: the server sends one chunk, lets others
run, and takes the next.
"""

import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeVar

from exporters import registry_traffic as traffic
from exporters.labels import escaped
from exporters.metric import Metric
from exporters.rows import NO_GAUGE, Shown
from exporters.series import TrafficPage

_Row = TypeVar("_Row")

Format = Literal["text", "openmetrics"]

CONTENT_TYPES: Final[Mapping[Format, str]] = {
    "text": "text/plain; version=0.0.4; charset=utf-8",
    "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8",
}
LINES_PER_CHUNK: Final = 200
COMPRESSION_LEVEL: Final = 1  # level 6 costs twice the time of a whole page for a tenth of its size

_SECOND_NS: Final = 10**9
_UNITS: Final = {"ns": "nanoseconds", "us": "microseconds", "s": "seconds", "By": "bytes"}
_GZIP: Final = 31  # zlib's window bits for a gzip stream


@dataclass(frozen=True, slots=True)
class PageSource:
    """What one page is made of. `own` is the agent's own part, in the format of the page. `workloads` is the label text
    of each workload of the cluster. `wall_offset_ns` turns the events' clock into time of day. `absent` gives the reason
    for each metric (by its name in the registry, with {prefix}) that cannot be had."""

    traffic: TrafficPage
    own: bytes = b""
    wall_offset_ns: int = 0
    workloads: tuple[str, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)


def negotiate(accept: str) -> Format:
    """The format for an Accept header: OpenMetrics for those who name it and do not name plain text.

    Prometheus names both and would rather have OpenMetrics. It gets text, because it stores the `_created` lines of
    OpenMetrics as series: nearly twice as many, for what showing new counters as 0 already gives. With
    `scrape_protocols: [OpenMetricsText1.0.0]` it gets OpenMetrics, and exemplars with it.
    """
    named: set[str] = set()
    for part in accept.lower().split(","):
        media, *parameters = [piece.strip() for piece in part.split(";")]
        if _weight(parameters) > 0:
            named.add(media)
    return "openmetrics" if "application/openmetrics-text" in named and "text/plain" not in named else "text"


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header admits gzip. What it says of gzip itself goes before what it says of anything."""
    told: dict[str, bool] = {}
    for part in accept_encoding.lower().split(","):
        coding, *parameters = [piece.strip() for piece in part.split(";")]
        told[coding] = _weight(parameters) > 0
    return next((told[coding] for coding in ("gzip", "x-gzip", "*") if coding in told), False)


def _weight(parameters: list[str]) -> float:
    """Of RFC 9110, 12.4.2. One that cannot be read asks for nothing."""
    for parameter in parameters:
        name, _, weight = parameter.partition("=")
        if name.strip() == "q":
            return float(weight) if re.fullmatch(r"\s*[01](\.\d{0,3})?", weight) else 0.0
    return 1.0


def render(source: PageSource, style: Format = "text") -> Iterator[bytes]:
    """The page in chunks of some tens of kilobytes."""
    page = _Page(source, style)
    yield from page.chunks()
    if source.own:
        yield source.own
    if style == "openmetrics":
        yield b"# EOF\n"


def compressed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same as a gzip stream. Chunks that gave nothing yet are left out."""
    stream = zlib.compressobj(COMPRESSION_LEVEL, zlib.DEFLATED, _GZIP)
    for chunk in chunks:
        piece = stream.compress(chunk)
        if piece:
            yield piece
    yield stream.flush()


def render_text(source: PageSource, style: Format = "text") -> str:
    """The whole page at once, for a terminal or a test."""
    return b"".join(render(source, style)).decode()


class _Page:
    def __init__(self, source: PageSource, style: Format) -> None:
        self._source = source
        self._open = style == "openmetrics"
        self._prefix = source.traffic.prefix

    def chunks(self) -> Iterator[bytes]:
        page = self._source.traffic
        yield from self._singles(traffic.ENTITY_TOTAL, page.entities)
        yield from self._counter(traffic.ENTITY_DURATION, page.entities, 0)
        yield from self._counter(traffic.ENTITY_SENT, page.entities, 1)
        yield from self._counter(traffic.ENTITY_RECEIVED, page.entities, 2)
        yield from self._histogram(traffic.ENTITY_HISTOGRAM, page.entity_histogram)
        yield from self._singles(traffic.TOPOLOGY_TOTAL, page.edges)
        yield from self._counter(traffic.TOPOLOGY_DURATION, page.edges, 0)
        yield from self._counter(traffic.TOPOLOGY_REQUEST_BYTES, page.edges, 1)
        yield from self._counter(traffic.TOPOLOGY_RESPONSE_BYTES, page.edges, 2)
        yield from self._histogram(traffic.TOPOLOGY_HISTOGRAM, page.edge_histogram)
        yield from self._plain(traffic.TRACE, page.traces, lambda row: f"{{{row.body}}} {row.duration_ns}\n")
        fresh = [row for row in page.health if row.gauge != NO_GAUGE]
        yield from self._plain(traffic.SRTT, fresh, lambda row: f"{{{row.body}}} {row.gauge}\n")
        yield from self._counter(traffic.RETRANSMIT, page.health, 0)
        yield from self._counter(traffic.PACKET_LOSS, page.health, 1)
        yield from self._singles(traffic.RESET, page.health)
        yield from self._counter(traffic.CONNECTS, page.connects, 0)
        yield from self._counter(traffic.CONNECT_DURATION, page.connects, 1)
        yield from self._plain(traffic.WORKLOAD_INFO, self._source.workloads, lambda body: f"{{{body}}} 1\n")

    def _counter(self, metric: Metric, rows: list[Shown], index: int) -> Iterator[bytes]:
        name = metric.full_name(self._prefix)
        if self._open:
            created = name.removesuffix("_total") + "_created"
            yield from self._family(
                metric,
                rows,
                lambda row: (
                    f"{name}{{{row.body}}} {row.values[index]}\n{created}{{{row.body}}} {self._time(row.created_ns)}\n"
                ),
            )
        else:
            yield from self._family(metric, rows, lambda row: f"{name}{{{row.body}}} {row.values[index]}\n")

    def _singles(self, metric: Metric, rows: list[Shown]) -> Iterator[bytes]:
        name = metric.full_name(self._prefix)
        created = name.removesuffix("_total") + "_created"
        having = [row for row in rows if row.singles]

        def plain(row: Shown) -> str:
            return "".join([f"{name}{{{row.body}{labels}}} {value}\n" for labels, value, _ in row.singles])

        def dated(row: Shown) -> str:
            lines = [
                f"{name}{{{row.body}{labels}}} {value}\n{created}{{{row.body}{labels}}} {self._time(created_ns)}\n"
                for labels, value, created_ns in row.singles
            ]
            return "".join(lines)

        yield from self._family(metric, having, dated if self._open else plain)

    def _plain(self, metric: Metric, rows: Iterable[_Row], line: Callable[[_Row], str]) -> Iterator[bytes]:
        name = metric.full_name(self._prefix)
        yield from self._family(metric, list(rows), lambda row: name + line(row))

    def _histogram(self, metric: Metric, rows: list[Shown] | None) -> Iterator[bytes]:
        if rows is None:
            return
        name = metric.full_name(self._prefix)
        bounds = [repr(bound / _SECOND_NS) for bound in self._source.traffic.bounds_ns] + ["+Inf"]

        def lines(row: Shown) -> str:
            comma = "," if row.body else ""
            parts = []
            total = 0
            for index, (bound, value) in enumerate(zip(bounds, row.values, strict=False)):
                total += value
                end = self._exemplar(row.body, index) if self._open and total else ""
                parts.append(f'{name}_bucket{{{row.body}{comma}le="{bound}"}} {total}{end}\n')
            seconds = row.values[-1] / _SECOND_NS
            parts.append(f"{name}_count{{{row.body}}} {total}\n{name}_sum{{{row.body}}} {seconds!r}\n")
            if self._open:
                parts.append(f"{name}_created{{{row.body}}} {self._time(row.created_ns)}\n")
            return "".join(parts)

        yield from self._family(metric, rows, lines, len(bounds) + 2)

    def _family(
        self, metric: Metric, rows: list[_Row], lines: Callable[[_Row], str], lines_each: int = 1
    ) -> Iterator[bytes]:
        name = metric.full_name(self._prefix)
        reason = self._source.absent.get(metric.name)
        if reason is not None:
            if not self._open:
                yield f"# {name} is absent: {' '.join(reason.split())}\n".encode()
            return
        if not rows:
            return
        yield self._head(metric, name)
        step = LINES_PER_CHUNK // lines_each
        for start in range(0, len(rows), step):
            yield "".join([lines(row) for row in rows[start : start + step]]).encode()

    def _head(self, metric: Metric, name: str) -> bytes:
        text = metric.help.replace("\\", "\\\\").replace("\n", "\\n")
        if not self._open:
            return f"# HELP {name} {text}\n# TYPE {name} {metric.kind}\n".encode()
        family = name.removesuffix("_total") if metric.kind == "counter" else name
        text = text.replace('"', '\\"')
        unit = _UNITS.get(metric.unit, "")
        unit_line = f"# UNIT {family} {unit}\n" if unit and family.endswith(f"_{unit}") else ""
        return f"# HELP {family} {text}\n# TYPE {family} {metric.kind}\n{unit_line}".encode()

    def _time(self, time_ns: int) -> str:
        milliseconds = (time_ns + self._source.wall_offset_ns) // 10**6
        return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"

    def _exemplar(self, body: str, index: int) -> str:
        exemplar = self._source.traffic.exemplars.get((body, index))
        if exemplar is None:
            return ""
        seconds = exemplar.duration_ns / _SECOND_NS
        return f' # {{trace_id="{escaped(exemplar.trace_id)}"}} {seconds!r} {self._time(exemplar.ended_ns)}'
