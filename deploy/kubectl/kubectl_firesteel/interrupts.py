# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and its like end what is under way; what takes it away again is not ended by another one."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

_ENDS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE: Final = b"kubectl firesteel: still taking away what was made; Ctrl-\\ leaves it there\n"


def raise_once() -> None:
    """From now on the first of these signals raises KeyboardInterrupt, and no other one does. One that is ignored, as under nohup, stays so."""
    _take(_first)


@contextlib.contextmanager
def to_the_end() -> Iterator[None]:
    """What is in it is done as a whole: a signal that comes meanwhile counts after it. For the main thread."""
    if _another in map(signal.getsignal, _ENDS):
        yield
        return
    came: list[int] = []

    def later(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    before = {number: signal.getsignal(number) for number in _ENDS}
    _take(later)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def _take(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in _ENDS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def _first(_number: int, _frame: FrameType | None) -> None:
    _take(_another)
    raise KeyboardInterrupt


def _another(number: int, _frame: FrameType | None) -> None:
    # Who pressed it a second time waits for something; a service manager sends the others one after the other.
    if number == signal.SIGINT:
        with contextlib.suppress(OSError):
            os.write(2, _PATIENCE)
