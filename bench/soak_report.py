# SPDX-License-Identifier: Apache-2.0
"""What the readings of `make soak` say: what grew that must not, a graph, and the text beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

EVERY_SECONDS = 5.0
WARM_UP = 0.25
MOST_MIB_AN_HOUR = 1.0
SHORTEST_VERDICT_SECONDS = 1800.0
"""A line through less than half an hour of readings says little."""

_LEGEND = '<tspan fill="#1f77b4">agent</tspan>, <tspan fill="#d62728">engine</tspan>: MiB resident'


@dataclass(frozen=True, slots=True)
class Reading:
    seconds: float
    agent_mib: float
    engine_mib: float
    descriptors: int
    threads: int
    requests: float
    series: float


@dataclass(frozen=True, slots=True)
class Counts:
    """What the clients had answered, and what Prometheus has of it in the end, by each of its two jobs.

    `at_wrk`: by wrk. `by_pods`: by the pods, of which `pods_named` are on the page by their names. `in_flight`: asked by wrk and cut off at its end, at most.
    `edges`: of the topology from wrk to the server, `from_pods`: from all pods. `entity`: of the server, whoever asked. `faults`: see tests.prometheus.
    """

    at_wrk: int
    by_pods: int
    pods_named: int
    in_flight: int
    edges: dict[str, float]
    from_pods: dict[str, float]
    entity: dict[str, float]
    faults: list[str]

    def wrong(self) -> list[str]:
        """Sentences; empty if everything was counted, once."""
        found = list(self.faults)
        for name, counted, done, more in (
            ("the topology", self.edges, self.at_wrk, self.in_flight),
            ("the topology of the pods", self.from_pods, self.by_pods, 0),
            ("the entity", self.entity, self.at_wrk + self.by_pods, self.in_flight),
        ):
            found += [
                f"{name} has {value:.0f} requests by the job {job}, {done} were answered"
                for job, value in counted.items()
                if not done <= value <= done + more
            ]
            if len(set(counted.values())) != 1:
                found.append(f"the two jobs disagree on {name}")
        if self.pods_named != self.by_pods:
            found.append(f"{self.by_pods - self.pods_named} of {self.by_pods} pods have no name")
        return found


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Least squares: units of y an hour."""
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return 3600 * sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def verdict(readings: Sequence[Reading]) -> list[str]:
    """What grew that must not."""
    settled = readings[int(len(readings) * WARM_UP) :]
    faults = []
    if settled[-1].seconds - settled[0].seconds >= SHORTEST_VERDICT_SECONDS * (1 - WARM_UP):
        for name in ("agent_mib", "engine_mib"):
            grown = slope([(one.seconds, getattr(one, name)) for one in settled])
            if grown >= MOST_MIB_AN_HOUR:
                faults.append(f"{name} grew by {grown:.2f} MiB an hour")
    half = len(settled) // 2
    for name in ("descriptors", "threads"):
        before, after = (max(getattr(one, name) for one in part) for part in (settled[:half], settled[half:]))
        if after > before + 2:
            faults.append(f"{name} grew from {before} to {after}")
    if any(after.requests < before.requests for before, after in pairwise(readings)):
        faults.append("a count fell")
    return faults


def graph(readings: Sequence[Reading]) -> str:
    """Memory of both processes over time, as SVG."""
    width, height, left, top = 720, 260, 46, 14
    most = max(one.agent_mib + one.engine_mib for one in readings) * 1.15
    last = readings[-1].seconds

    def line(value: Callable[[Reading], float]) -> str:
        return " ".join(
            f"{left + (width - left - 8) * one.seconds / last:.1f},{top + (height - top - 26) * (1 - value(one) / most):.1f}"
            for one in readings
        )

    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = top + (height - top - 26) * (1 - share)
        drawn.append(f'<path d="M{left} {y:.1f}H{width - 8}" stroke="#ddd"/>')
        drawn.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{most * share:.0f}</text>')
    drawn += [
        f'<polyline fill="none" stroke="#1f77b4" stroke-width="1.5" points="{line(lambda one: one.agent_mib)}"/>',
        f'<polyline fill="none" stroke="#d62728" stroke-width="1.5" points="{line(lambda one: one.engine_mib)}"/>',
        f'<text x="{left}" y="{height - 8}">0</text>',
        f'<text x="{width - 8}" y="{height - 8}" text-anchor="end">{last / 60:.0f} min</text>',
        f'<text x="{width // 2}" y="{height - 8}" text-anchor="middle">{_LEGEND}</text>',
        "</svg>",
    ]
    return "\n".join(drawn) + "\n"


def report(
    readings: Sequence[Reading], rate: int, counts: Counts, pushed: tuple[int, int], faults: Sequence[str]
) -> str:
    """The text beside the graph. `pushed`: requests of metrics and of spans that arrived."""
    settled = readings[int(len(readings) * WARM_UP) :]
    first, last = readings[0], readings[-1]
    done = (last.requests - first.requests) / (last.seconds - first.seconds)
    grown = {
        name: slope([(one.seconds, getattr(one, name)) for one in settled]) for name in ("agent_mib", "engine_mib")
    }
    return f"""\
<!-- SPDX-License-Identifier: Apache-2.0 -->
<!-- Written by make soak. -->
# Soak

{time.strftime("%Y-%m-%d")}, {last.seconds / 60:.0f} minutes, {rate} requests/s wished for, {done:.0f} counted, paths all different, each two hundredth
request on a connection of its own; a pod of its own every second that asks once and is deleted ten seconds later; a real Prometheus that
scrapes by two jobs, each second and every three, and a reader every {EVERY_SECONDS:.0f} s; OTLP pushed every 5 s ({pushed[0]} requests of metrics and {pushed[1]} of
spans arrived). All of it on this host.

![memory over time](soak.svg)

| | at the start | at the end | line through the last three quarters |
|---|---|---|---|
| agent, MiB resident | {first.agent_mib:.1f} | {last.agent_mib:.1f} | {grown["agent_mib"]:+.2f} MiB/h |
| engine, MiB resident | {first.engine_mib:.1f} | {last.engine_mib:.1f} | {grown["engine_mib"]:+.2f} MiB/h |
| descriptors of the agent | {first.descriptors} | {last.descriptors} | |
| threads of the agent | {first.threads} | {last.threads} | |
| rows on the page | {first.series:.0f} | {last.series:.0f} | |

wrk had {counts.at_wrk} requests answered (up to {counts.in_flight} more were cut off at its end), the pods {counts.by_pods}, of which {counts.pods_named} are named. Prometheus has
{_told(counts.edges)} on the edge of wrk, {_told(counts.from_pods)} on those of the pods, {_told(counts.entity)} on the server.

{_judged(readings, faults)}
"""


def _told(counted: dict[str, float]) -> str:
    return " and ".join(f"{value:.0f} by the job `{job}`" for job, value in counted.items())


def _judged(readings: Sequence[Reading], faults: Sequence[str]) -> str:
    if faults:
        return "; ".join(faults) + "."
    if readings[-1].seconds < SHORTEST_VERDICT_SECONDS:
        return (
            "Too short for a verdict on memory; nothing else grew that must not, no count fell, promtool found nothing."
        )
    return "Nothing grew that must not, no count fell, promtool found nothing."
