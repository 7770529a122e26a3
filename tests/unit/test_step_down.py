# SPDX-License-Identifier: Apache-2.0
"""Doing less above the budget and more again below it: the order, the pace, and what is in force at each step."""

import dataclasses

import pytest

from collector.schema import Budget, Config
from collector.step_down import LONGEST_WAIT, STEPS, WINDOW_SECONDS, WINDOWS_ABOVE, WINDOWS_BELOW, StepDown, Use

MIB = 1 << 20


class Clocked:
    """A step-down that is turned window by window."""

    def __init__(self, cpu: int = 100, memory: int = 0) -> None:
        self.step = StepDown(Budget(cpu=cpu, memory=memory))
        self.now = 100.0
        self.cpu = 0.0
        self.step.turn(self.now, Use(self.cpu, 0))

    def windows(self, count: int, share: float = 0.0, memory: int = 0) -> int:
        """The level after so many windows at this share of a core."""
        for _ in range(count):
            self.now += WINDOW_SECONDS
            self.cpu += share * WINDOW_SECONDS
            self.step.turn(self.now, Use(self.cpu, memory))
        return self.step.level


def test_it_goes_down_step_by_step_and_up_again() -> None:
    clocked = Clocked()
    for level in range(1, len(STEPS) + 1):
        assert clocked.windows(WINDOWS_ABOVE - 1, 1.5) == level - 1
        assert clocked.windows(1, 1.5) == level
    assert clocked.windows(50, 1.5) == len(STEPS)
    assert clocked.step.taken == dict.fromkeys(STEPS, 1)
    for level in reversed(range(len(STEPS))):
        assert clocked.windows(WINDOWS_BELOW, 0.2) == level
    assert not list(clocked.step.problems())


def test_a_burst_is_no_reason_and_just_below_is_not_room() -> None:
    clocked = Clocked()
    for _ in range(20):
        clocked.windows(WINDOWS_ABOVE - 1, 3.0)
        assert clocked.windows(1, 0.9) == 0
    clocked.windows(WINDOWS_ABOVE, 1.5)
    assert clocked.windows(200, 0.9) == 1


def test_what_was_taken_back_soon_is_waited_longer_for() -> None:
    clocked = Clocked()
    waited = []
    for _ in range(10):
        assert clocked.windows(WINDOWS_ABOVE, 1.5) == 1
        count = 0
        while clocked.windows(1, 0.2):
            count += 1
            assert count < 1000
        waited.append(count + 1)
    assert waited[:4] == [WINDOWS_BELOW, 2 * WINDOWS_BELOW, 4 * WINDOWS_BELOW, 8 * WINDOWS_BELOW]
    assert max(waited) == LONGEST_WAIT


def test_memory_has_a_budget_too() -> None:
    clocked = Clocked(cpu=0, memory=100 * MIB)
    assert clocked.windows(WINDOWS_ABOVE, 5.0, 90 * MIB) == 0
    assert clocked.windows(WINDOWS_ABOVE, 0.0, 101 * MIB) == 1
    (problem,) = clocked.step.problems()
    assert problem.what.endswith("the live stream is closed")
    assert problem.cause.startswith("101 MiB resident, budget.memory is 100 MiB")


def test_without_a_budget_nothing_is_left_out() -> None:
    assert Clocked(cpu=0, memory=0).windows(100, 50.0, 1 << 40) == 0


def test_a_process_that_began_anew_is_no_negative_use() -> None:
    clocked = Clocked()
    clocked.windows(2, 1.5)
    clocked.cpu = 0.0
    assert clocked.windows(1, 0.1) == 0
    assert clocked.step.window.cpu >= 0


@pytest.mark.parametrize(("level", "changed"), [(0, set()), (1, set()), (2, {"samples"}), (3, {"samples", "requests"})])
def test_each_step_changes_what_it_says(level: int, changed: set[str]) -> None:
    step = StepDown(Budget())
    step.level = level
    config = Config()
    lessened = step.lessened(config)
    assert {
        f.name for f in dataclasses.fields(config) if getattr(config, f.name) != getattr(lessened, f.name)
    } == changed
    assert step.streams == (level == 0)


def test_the_last_step_leaves_out_pods() -> None:
    step = StepDown(Budget())
    step.level = len(STEPS)
    lessened = step.lessened(Config())
    assert (lessened.metrics.detail, lessened.requests.url_clustering, lessened.samples.rate) == (
        "workload",
        "blank",
        0,
    )
    (problem,) = step.problems()
    assert problem.what.count(",") == 3 + 2  # four steps; the second names three things
