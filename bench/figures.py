# SPDX-License-Identifier: Apache-2.0
"""Figures of a benchmark: repeated measurements, pairs with and without the agent, and lines of the report."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass


def quick() -> bool:
    """BENCH_QUICK=1: fewer and shorter rounds, for a first look and for CI."""
    return os.environ.get("BENCH_QUICK", "") not in {"", "0"}


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the report: what was measured, the figure, the budget and whether it is kept (None: no budget)."""

    what: str
    figure: str
    budget: str = ""
    kept: bool | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table with details below the summary."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """What one part of the benchmark found. `recorded` goes into bench/recorded.json, for the tripwire."""

    lines: Sequence[Line]
    tables: Sequence[Table] = ()
    recorded: dict[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """The same load once without and once with the agent, right after each other."""

    without: float
    with_agent: float

    @property
    def ratio(self) -> float:
        return self.with_agent / self.without


def median_ratio(pairs: Sequence[Pair]) -> float:
    """The median of the pairs' ratios: what happened to one round of a shared machine does not decide."""
    return statistics.median(pair.ratio for pair in pairs)


def spread(values: Sequence[float], form: Callable[[float], str]) -> str:
    """Median and range, as text."""
    return f"{form(statistics.median(values))} ({form(min(values))} to {form(max(values))})"


def kept_above(value: float, least: float) -> bool:
    return value >= least


def mebibytes(count: float) -> str:
    return f"{count / (1 << 20):.1f} MiB"
