# SPDX-License-Identifier: Apache-2.0
"""Doing less above the budget, in a stated order, and more again once there is room. Counts stay right at every step.

The order is that of what is missed least: the live stream, samples (spans, lines of JSON, exemplars), paths, pods. Requests
and bytes go on being counted; above a step they only carry fewer labels.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from collector.api import Problem
from collector.log import Log
from collector.schema import Budget, Config

STEPS: Final = ("stream", "samples", "paths", "pods")
_MEANS: Final = {
    "stream": "the live stream is closed",
    "samples": "no request is sampled (spans, lines of JSON, exemplars)",
    "paths": "paths are no labels",
    "pods": "labels of single pods are empty",
}
WINDOW_SECONDS: Final = 5.0
WINDOWS_ABOVE: Final = 3
"""Above the budget for so many windows in a row is a reason to do less; one burst is not."""
WINDOWS_BELOW: Final = 12
LONGEST_WAIT: Final = 360  # windows: half an hour
ROOM: Final = 0.8
"""Below this share of the budget there is room for more."""


@dataclass(frozen=True, slots=True)
class Use:
    """CPU seconds so far and resident bytes now, of all of the agent's processes."""

    cpu_seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Window:
    """What was used in the last window: `cpu` is a share of one core."""

    cpu: float = 0.0
    memory_bytes: int = 0


class StepDown:
    """`level` is how many of STEPS are taken; `taken` counts how often each was."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.level = 0
        self.taken = dict.fromkeys(STEPS, 0)
        self.window = Window()
        self._began = 0.0
        self._cpu_seconds = 0.0
        self._above = self._below = 0
        self._wait = WINDOWS_BELOW
        self._since = 0

    def turn(self, now: float, use: Use) -> bool:
        """Call at least once a window with a monotonic clock. True if `level` changed."""
        if not self._began or use.cpu_seconds < self._cpu_seconds:  # the first, or a process began anew
            self._began, self._cpu_seconds = now, use.cpu_seconds
            return False
        if now - self._began < WINDOW_SECONDS:
            return False
        self.window = Window((use.cpu_seconds - self._cpu_seconds) / (now - self._began), use.memory_bytes)
        self._began, self._cpu_seconds = now, use.cpu_seconds
        self._since += 1
        return self._judge()

    def _judge(self) -> bool:
        worst = max(self._shares(), default=0.0)
        self._above = self._above + 1 if worst > 1.0 else 0
        self._below = self._below + 1 if worst < ROOM else 0
        if self._above >= WINDOWS_ABOVE and self.level < len(STEPS):
            # What had to be taken back soon after it was given is waited longer for.
            recent = self._since <= 2 * WINDOWS_BELOW and self.taken[STEPS[self.level]] > 0
            self._wait = min(self._wait * 2, LONGEST_WAIT) if recent else WINDOWS_BELOW
            self.taken[STEPS[self.level]] += 1
            self._move(1)
            return True
        if self._below >= self._wait and self.level:
            self._move(-1)
            return True
        return False

    def _move(self, by: int) -> None:
        self.level += by
        self._above = self._below = self._since = 0

    def _shares(self) -> Iterator[float]:
        if self.budget.cpu:
            yield self.window.cpu * 100 / self.budget.cpu
        if self.budget.memory:
            yield self.window.memory_bytes / self.budget.memory

    @property
    def streams(self) -> bool:
        """Whether the live stream is open."""
        return self.level < 1

    def lessened(self, config: Config) -> Config:
        """`config` as it is in force at this level."""
        if self.level >= 2:
            config = replace(config, samples=replace(config.samples, rate=0))
        if self.level >= 3:
            config = replace(config, requests=replace(config.requests, url_clustering="blank"))
        if self.level >= 4:
            metrics = replace(config.metrics, detail="workload", pod_detail_namespaces=())
            config = replace(config, metrics=metrics)
        return config

    def told(self) -> str:
        """What was used, against the budget."""
        window, budget = self.window, self.budget
        parts = []
        if budget.cpu:
            parts.append(f"{window.cpu * 100:.0f} % of a core, budget.cpu is {budget.cpu}")
        if budget.memory:
            parts.append(f"{window.memory_bytes >> 20} MiB resident, budget.memory is {budget.memory >> 20} MiB")
        return "; ".join(parts)

    def say(self, log: Log) -> None:
        """After a change of the level."""
        for problem in self.problems():
            log.warning(problem.what, cause=problem.cause, remedy=problem.remedy)
        if not self.level:
            log.info("the agent does all of its work again", cause=self.told())

    def problems(self) -> Iterator[Problem]:
        """What is left out now, and why."""
        if self.level:
            yield Problem(
                "warning",
                "the agent does less to stay within its budget: "
                + ", ".join(_MEANS[step] for step in STEPS[: self.level]),
                f"{self.told()}; all requests are counted all the same",
                "raise budget.cpu or budget.memory, or leave out ports and namespaces; it does more again by itself",
            )
