# SPDX-License-Identifier: Apache-2.0
"""The registry against what it promises: the committed documentation, the page, and Prometheus' rules for names."""

import re
from pathlib import Path

import pytest

from collector.metrics_keys import LABELS
from exporters.metric import Metric
from exporters.own import READERS
from exporters.registry import METRICS, find, main, page
from exporters.registry_own import OWN
from exporters.registry_traffic import PROCESS_LABELS, TRAFFIC
from exporters.settings import DEFAULT_BOUNDS_NS

ROOT = Path(__file__).parents[2]
_SUFFIX = {"ns": "_nanoseconds", "us": "_microseconds", "s": "_seconds", "By": "_bytes"}


def test_the_committed_documentation_is_what_the_registry_says(tmp_path: Path) -> None:
    assert main([str(tmp_path / "metrics.md")]) == 0
    assert (tmp_path / "metrics.md").read_text(encoding="utf-8") == page()
    committed = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert committed == page(), "run: python -m exporters.registry"


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_the_rules(metric: Metric) -> None:
    assert re.fullmatch(r"(\{prefix\}|firesteel)_[a-z0-9_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    suffix = _SUFFIX.get(metric.unit)
    assert suffix is None or metric.name.removesuffix("_total").endswith(suffix)
    assert len(set(metric.labels)) == len(metric.labels)
    assert metric.help.endswith(".")
    assert "\n" not in metric.help


def test_each_metric_is_there_once() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS) == len(TRAFFIC) + len(OWN)
    pushed = [metric.otel for metric in METRICS if metric.otel]
    assert len(set(pushed)) == len(pushed)
    assert find("firesteel_build_info").labels == ("version",)
    with pytest.raises(KeyError):
        find("kindling_nothing")


def test_every_own_metric_has_a_reader() -> None:
    assert [metric.name for metric, _ in READERS] == [metric.name for metric in OWN]


def test_every_label_of_the_traffic_may_be_dropped_by_configuration() -> None:
    labels = {label for metric in TRAFFIC for label in metric.labels} | set(PROCESS_LABELS)
    assert set(LABELS) == labels


def test_the_buckets_are_those_the_engine_is_given() -> None:
    settings = pytest.importorskip("analyzers.settings", reason="analyzers._native is not built: make build")
    assert settings.EngineSettings().bucket_ns == DEFAULT_BOUNDS_NS
