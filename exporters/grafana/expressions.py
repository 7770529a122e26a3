# SPDX-License-Identifier: Apache-2.0
"""PromQL over the registry: a name or a label that the registry does not have is an error here, not an empty panel."""

from collections.abc import Sequence
from typing import Final

from exporters.metric import Metric

# What Prometheus, or metrics.cluster_label, adds to every series.
_ADDED: Final = frozenset({"cluster", "job", "instance", "le"})

RATE: Final = "$__rate_interval"


class UnknownLabelError(Exception):
    """A query asks for a label that its metric does not have."""


def selector(metric: Metric, prefix: str, *matchers: str, suffix: str = "") -> str:
    """`name{a="b",c=~"d"}` with each matcher's label looked up in the registry."""
    for matcher in matchers:
        label = matcher.split('"')[0].rstrip("!=~")
        _known(metric, label)
    body = ",".join(matchers)
    return metric.full_name(prefix) + suffix + (f"{{{body}}}" if body else "")


def total(metric: Metric, prefix: str, by: Sequence[str], *matchers: str, window: str = RATE, offset: str = "") -> str:
    """`sum by (…) (rate(…))` of a counter, or of a histogram's buckets when `le` is among the labels."""
    for label in by:
        _known(metric, label)
    suffix = "_bucket" if metric.kind == "histogram" else ""
    shifted = f" offset {offset}" if offset else ""
    rate = f"rate({selector(metric, prefix, *matchers, suffix=suffix)}[{window}]{shifted})"
    return f"sum by ({', '.join(by)}) ({rate})" if by else f"sum({rate})"


def quantile(metric: Metric, prefix: str, share: float, by: Sequence[str], *matchers: str, window: str = RATE) -> str:
    return f"histogram_quantile({share}, {total(metric, prefix, ['le', *by], *matchers, window=window)})"


def _known(metric: Metric, label: str) -> None:
    if label not in metric.labels and label not in _ADDED:
        raise UnknownLabelError(f"{metric.name} has no label {label!r}; it has {', '.join(metric.labels)}")
