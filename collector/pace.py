# SPDX-License-Identifier: Apache-2.0
"""When the agent's loop takes its next turn: once a second, and earlier where what was counted would get another's name."""

import asyncio
import contextlib
import time
from typing import Final

TURN_SECONDS: Final = 1.0
_FIRST_TURNS_SECONDS: Final = 0.2
_FIRST_SECONDS: Final = 5.0
"""Turns come faster at first: whoever starts the agent looks at once."""
_SHARE: Final = 20
"""A turn may take a twentieth of the time between two, so that on a large node they come less often: down to the longest pause."""
_LONGEST_SECONDS: Final = 10.0
"""Whatever the last one took: names of very many at once are learned once, and what the budget allows is judged by the turns after."""
_EARLY_SECONDS: Final = 0.1
_SETTLE_SECONDS: Final = 0.025
"""The engine sleeps for 20 ms at most: what was asked before is in its table by then."""


class Pace:
    """`hurry` may be called from any thread, the rest from the loop's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._began = time.monotonic()
        self._over = asyncio.Event()
        self._early = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """Whether there is to be no other turn."""
        return self._over.is_set()

    def end(self) -> None:
        """No other turn, and no further waiting for one."""
        self._over.set()
        self._early.set()

    def hurry(self) -> None:
        """An address changes hands: what was counted until now is its former owner's, and is to be read before more comes."""
        if not self._early.is_set():
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it all turns
                self._loop.call_soon_threadsafe(self._early.set)

    async def pause(self, took: float) -> None:
        """Until the next turn is due, or none is. `took` is how long the last one took, in seconds."""
        first = time.monotonic() - self._began < _FIRST_SECONDS
        share = min(_SHARE * took, _LONGEST_SECONDS)
        whole = max(_FIRST_TURNS_SECONDS if first else TURN_SECONDS, share)
        least = max(_EARLY_SECONDS, share)
        await _within(self._over, least)
        if self.is_over:
            return
        await _within(self._early, whole - least)
        if self._early.is_set():
            await _within(self._over, _SETTLE_SECONDS)
            self._early.clear()


async def _within(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), max(0.0, seconds))
