# SPDX-License-Identifier: Apache-2.0
"""A metrics page from rows, and a strict reader of it."""

import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence

import pytest

from analyzers.resolver import Resolver
from analyzers.rows import RequestRow, Sample, TcpRow
from analyzers.snapshot import SnapshotBuilder
from exporters.prometheus import Format, PageSource, render_text
from exporters.series import SeriesStore
from exporters.settings import MetricsSettings
from tests.rows import FixedResolver

Labels = tuple[tuple[str, str], ...]
Series = dict[tuple[str, Labels], float]

_LINE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\} (\S+)')
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\[\\"n])*)"')


def parse(page: str) -> Series:
    """Every series of a text page. Fails on a line that is not in the format and on a series that is there twice."""
    series: Series = {}
    for line in page.removesuffix("\n").split("\n"):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        assert match, f"not a series: {line!r}"
        labels = tuple(sorted(_LABEL.findall(match[2])))
        assert (match[1], labels) not in series, f"twice: {line!r}"
        series[match[1], labels] = float(match[3])
    return series


def values(page: str, name: str, *shown: str) -> dict[tuple[str, ...], float]:
    """The series of one metric by the values of some labels, added up."""
    found: dict[tuple[str, ...], float] = {}
    for (metric, labels), value in parse(page).items():
        if metric == name:
            key = tuple(dict(labels).get(label, "") for label in shown)
            found[key] = found.get(key, 0) + value
    return found


def labels_of(page: str, name: str) -> list[dict[str, str]]:
    return [dict(labels) for (metric, labels) in parse(page) if metric == name]


def promtool_check(page: str) -> list[str]:
    """What promtool finds wrong, but for the units that the drop-in names prescribe. Skips where it is not installed."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing: install the Debian package prometheus")
    result = subprocess.run([promtool, "check", "metrics"], input=page, text=True, capture_output=True, check=False)
    assert result.returncode in {0, 3}, result.stderr
    found = (result.stdout + result.stderr).splitlines()
    return [line for line in found if 'use base unit "seconds"' not in line]


class Bench:
    """Snapshot builder and series store together, fed with rows at given times."""

    def __init__(self, settings: MetricsSettings | None = None, resolver: Resolver | None = None) -> None:
        self.settings = settings or MetricsSettings(scrape_interval_ns=0)
        self.builder = SnapshotBuilder(resolver or FixedResolver())
        self.store = SeriesStore(self.settings)
        self.now_ns = 0

    def feed(
        self,
        requests: Iterable[RequestRow] = (),
        tcp: Iterable[TcpRow] = (),
        samples: Sequence[Sample] = (),
        now_ns: int = 0,
    ) -> "Bench":
        self.now_ns = now_ns
        self.store.update(self.builder.build(requests, tcp, samples, now_ns))
        return self

    def page(self, now_ns: int | None = None, style: Format = "text", **source: object) -> str:
        traffic = self.store.page(self.now_ns if now_ns is None else now_ns)
        return render_text(PageSource(traffic, **source), style)  # type: ignore[arg-type]
