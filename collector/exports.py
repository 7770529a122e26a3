# SPDX-License-Identifier: Apache-2.0
"""What the agent sends elsewhere, beside what it is asked for: OTLP and lines of JSON, as the configuration has it.

What cannot be made (a certificate that cannot be read, a folder that cannot be written to) is a fault that status tells;
the agent goes on without it.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from analyzers.snapshot import Snapshot
from collector import log
from collector.api import Problem
from collector.config_rules import endpoint_port, otlp_protocol
from collector.json_lines import JsonLines
from collector.part_settings import counts_finely, metrics_settings
from collector.schema import Config
from collector.version import VERSION
from exporters.jsonl import SinkError
from exporters.own import ExportReport, OwnState

if TYPE_CHECKING:  # imported where an endpoint is set, and nowhere else: it costs memory
    from exporters.otlp.exporter import OtlpExporter
    from exporters.otlp.settings import Origin, OtlpSettings

_log = log.Log("export")


class Exports:
    """Belongs to the agent's loop; nothing here waits. `start` comes after privileges are given up."""

    def __init__(self, config: Config, node: str) -> None:
        self._config = config
        self._node = node
        self._started = False
        self._faults: dict[str, str] = {}
        self._ended: list[OtlpExporter] = []
        """Whose threads may still be at their last request."""
        self._newest: OtlpExporter | None = None
        """Of these the last: what it told is not told again, even if nothing was pushed for a while."""
        self._before: dict[str, ExportReport] = {}
        """What came of those that are over, by exporter."""
        self._otlp: OtlpExporter | None = self._make_otlp()
        self._lines: JsonLines | None = self._make_lines()

    @property
    def counts_calls(self) -> bool:
        """Whether snapshots are to have calls."""
        return self._otlp is not None and self._config.export.otlp.metrics

    @property
    def counts_finely(self) -> bool:
        """Whether calls are to have fine buckets."""
        return counts_finely(self._config)

    @property
    def asked_ports(self) -> frozenset[int]:
        """Where the agent pushes to."""
        return frozenset({endpoint_port(self._config)}) if self._otlp is not None else frozenset()

    def start(self) -> None:
        self._started = True
        if self._otlp is not None:
            self._otlp.start()

    def stop(self) -> None:
        if self._otlp is not None:
            self._otlp.stop()
        if self._lines is not None:
            self._lines.close()

    def configure(self, config: Config) -> None:
        """Take over a changed configuration. What did not change goes on; what changed begins anew."""
        before, self._config = self._config, config
        if config.export.otlp != before.export.otlp:
            if self._otlp is not None:
                self._otlp.stop(0)
                self._ended.append(self._otlp)
                self._newest = self._otlp
            self._otlp = self._make_otlp(self._newest)
            if self._otlp is not None and self._started:
                self._otlp.start()
        elif self._otlp is not None:
            self._otlp.configure(metrics_settings(config), self._origin())
        if config.export.jsonl != before.export.jsonl:
            lines = self._lines
            if lines is not None:
                lines.close()
                self._keep(_report_of(lines))
            self._lines = self._make_lines(lines)

    def turn(
        self, snapshot: Snapshot, wall_offset_ns: int, own: Callable[[], OwnState], absent: Mapping[str, str]
    ) -> None:
        if self._otlp is not None:
            self._otlp.turn(snapshot, wall_offset_ns, own, frozenset(absent))
        if self._lines is not None:
            self._lines.turn(snapshot, wall_offset_ns)

    def reports(self) -> Mapping[str, ExportReport]:
        """By exporter and since the start, for the agent's own metrics."""
        for otlp in [otlp for otlp in self._ended if otlp.is_over]:
            self._ended.remove(otlp)
            self._keep(_reports_of(otlp))
        found = _reports_of(self._otlp) if self._otlp is not None else {}
        if self._lines is not None:
            found |= _report_of(self._lines)
        for earlier in (self._before, *map(_reports_of, self._ended)):
            found |= {name: _after(earlier[name], report) for name, report in found.items() if name in earlier}
        return found

    def _keep(self, reports: Mapping[str, ExportReport]) -> None:
        """Of one that is over."""
        for name, report in reports.items():
            self._before[name] = _after(report, self._before.get(name, ExportReport(0, 0, 0)))

    def problems(self) -> Iterator[Problem]:
        """What cannot be delivered, and why."""
        for key, fault in self._faults.items():
            yield Problem("error", f"{key} is not in force", fault, "correct it; a changed file is taken over at once")
        if self._lines is not None and self._lines.sink.fault:
            yield Problem(
                "warning",
                "lines of JSON cannot be written",
                f"{self._lines.sink.fault}; {self._lines.sink.dropped} dropped since the start",
                "see export.jsonl.path; it is tried again by itself",
            )
        if self._otlp is not None:
            yield from self._otlp_problems(self._otlp)

    def _otlp_problems(self, otlp: "OtlpExporter") -> Iterator[Problem]:
        account, endpoint = otlp.account(), otlp.settings.endpoint
        for name, lane in (("metrics", account.metrics), ("spans", account.spans)):
            if lane.fault:
                dropped = f"; {lane.dropped} {name} dropped since the start" if lane.dropped else ""
                yield Problem(
                    "warning",
                    f"{name} cannot be pushed to {endpoint}",
                    lane.fault + dropped,
                    "it is tried again by itself; see export.otlp and the collector",
                )
        if account.late:
            yield Problem(
                "warning",
                f"{account.late} pushes of metrics were left out",
                "the one before was still going",
                "raise export.otlp.interval, or give the collector more room; counters lose nothing by it",
            )

    def _make_otlp(self, before: "OtlpExporter | None" = None) -> "OtlpExporter | None":
        self._faults.pop("export.otlp", None)
        if not self._config.export.otlp.endpoint:
            return None
        # What these modules import may not be readable once the privileges are gone.
        try:
            from exporters.otlp.delivery import ChannelError  # noqa: PLC0415
            from exporters.otlp.exporter import OtlpExporter  # noqa: PLC0415
        except ImportError as error:
            self._faults["export.otlp"] = f"{error}; restart the agent"
            return None
        try:
            settings = self._otlp_settings()
            return OtlpExporter(settings, metrics_settings(self._config), self._origin(), before)
        except (ChannelError, ImportError, OSError, ValueError) as error:
            self._faults["export.otlp"] = str(error)
            _log.error("nothing is pushed", cause=str(error), remedy="correct export.otlp")
            return None

    def _make_lines(self, before: JsonLines | None = None) -> JsonLines | None:
        self._faults.pop("export.jsonl", None)
        if not self._config.export.jsonl.path:
            return None
        try:
            return JsonLines(self._config.export.jsonl, before)
        except SinkError as error:
            self._faults["export.jsonl"] = str(error)
            _log.error("no lines of JSON are written", cause=str(error), remedy="correct export.jsonl.path")
            return None

    def _otlp_settings(self) -> "OtlpSettings":
        """Raises OSError or ValueError for a header whose file cannot be read or does not hold one line."""
        from exporters.otlp.settings import OtlpSettings, TlsFiles  # noqa: PLC0415

        otlp = self._config.export.otlp
        return OtlpSettings(
            endpoint=otlp.endpoint,
            protocol=otlp_protocol(self._config),
            metrics=otlp.metrics,
            spans=otlp.spans,
            headers={name: _header(value) for name, value in otlp.headers.items()},
            interval=otlp.interval / 1e9,
            timeout=otlp.timeout / 1e9,
            compression="gzip" if otlp.compression == "gzip" else "none",
            temporality="delta" if otlp.temporality == "delta" else "cumulative",
            histograms="exponential" if otlp.histograms == "exponential" else "explicit",
            tls=TlsFiles(otlp.tls.ca, otlp.tls.cert, otlp.tls.key),
            queue=otlp.queue,
        )

    def _origin(self) -> "Origin":
        from exporters.otlp.settings import Origin  # noqa: PLC0415

        cluster = self._config.metrics.cluster_label
        return Origin(VERSION, self._node, cluster, f"firesteel.{self._node}")


def _reports_of(otlp: "OtlpExporter") -> dict[str, ExportReport]:
    account, settings = otlp.account(), otlp.settings
    lanes = (
        (settings.metrics, "otlp_metrics", account.metrics),
        (settings.spans, "otlp_spans", account.spans),
    )
    return {
        name: ExportReport(lane.delivered, lane.dropped, lane.failures, lane.waiting)
        for wanted, name, lane in lanes
        if wanted
    }


def _report_of(lines: JsonLines) -> dict[str, ExportReport]:
    return {"jsonl": ExportReport(lines.sink.written, lines.sink.dropped, lines.sink.failures)}


def _after(ended: ExportReport, report: ExportReport) -> ExportReport:
    """`report` with what came of the one before it, in which nothing that waited was sent any more."""
    return ExportReport(
        report.delivered + ended.delivered,
        report.dropped + ended.dropped + ended.waiting,
        report.failures + ended.failures,
        report.waiting,
    )


def _header(value: str) -> str:
    if not value.startswith("@/"):
        return value
    told = Path(value[1:]).read_text(encoding="ascii").strip()
    if not told.isprintable():
        raise ValueError(f"{value[1:]} does not hold one line of text")
    return told
