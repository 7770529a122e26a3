# SPDX-License-Identifier: Apache-2.0
"""When turns are taken: at their time, earlier when an address changes hands, and never more often than they may."""

import asyncio
import threading
import time

import pytest

from collector import pace as module
from collector.pace import Pace
from collector.server import STALLED_SECONDS


@pytest.fixture(autouse=True)
def slow_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a turn at its time and an early one cannot be taken for each other."""
    monkeypatch.setattr(module, "TURN_SECONDS", 20.0)
    monkeypatch.setattr(module, "_FIRST_SECONDS", 0.0)


async def paused(pace: Pace, took: float = 0.0) -> float:
    began = time.monotonic()
    await pace.pause(took)
    return time.monotonic() - began


async def test_a_turn_is_taken_at_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_SECONDS", 0.5)
    pace = Pace(asyncio.get_running_loop())
    assert 0.5 <= await paused(pace) < 10
    assert not pace.is_over


async def test_first_turns_come_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_SECONDS", 60.0)
    assert 0.2 <= await paused(Pace(asyncio.get_running_loop())) < 10


async def test_an_address_that_changes_hands_makes_the_next_one_early_and_no_other() -> None:
    pace = Pace(asyncio.get_running_loop())
    timer = threading.Timer(0.3, pace.hurry)
    timer.start()
    assert 0.3 <= await paused(pace) < 10
    timer.join()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pace.pause(0.0), 1.0)


async def test_what_changes_while_a_turn_is_taken_is_not_forgotten_and_waits_a_little() -> None:
    pace = Pace(asyncio.get_running_loop())
    pace.hurry()
    await asyncio.sleep(0)
    assert module._EARLY_SECONDS + module._SETTLE_SECONDS <= await paused(pace) < 10


async def test_early_turns_take_no_more_than_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    pace = Pace(asyncio.get_running_loop())
    pace.hurry()
    await asyncio.sleep(0)
    assert 1.0 <= await paused(pace, took=0.05) < 10


async def test_a_turn_that_took_long_is_not_waited_for_until_the_agent_is_taken_for_hung(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert module._LONGEST_SECONDS < STALLED_SECONDS / 4, (
        "a busy machine makes of a turn several times its processor time"
    )
    monkeypatch.setattr(module, "TURN_SECONDS", 0.0)
    monkeypatch.setattr(module, "_LONGEST_SECONDS", 0.3)
    assert 0.3 <= await paused(Pace(asyncio.get_running_loop()), took=4.0) < 10


async def test_the_end_is_at_once() -> None:
    pace = Pace(asyncio.get_running_loop())
    asyncio.get_running_loop().call_later(0.05, pace.end)
    assert await paused(pace, took=1.0) < 10
    assert pace.is_over
    assert await paused(pace, took=1.0) < 10


def test_who_hurries_after_the_loop_has_ended_is_not_told() -> None:
    loop = asyncio.new_event_loop()
    pace = Pace(loop)
    loop.close()
    pace.hurry()
    assert not pace.is_over
