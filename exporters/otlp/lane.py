# SPDX-License-Identifier: Apache-2.0
"""One thread that delivers the requests of one signal: retries with growing pauses, gives up, counts.

A receiver that is slow, gone or hostile holds up this thread and nothing else. What waits meanwhile is bounded where
it waits; what finds no room there is counted as dropped.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from exporters.otlp.delivery import Channel, Outcome, Signal

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
LONGEST_ASKED: Final = 300.0
"""A receiver may ask for a longer pause than ours, but not for any."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """One message on its way: `items` are the points or spans in it; `acknowledged` is called once it was delivered."""

    body: bytes
    items: int
    acknowledged: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class LaneAccount:
    """What a lane did so far. `fault` is why the newest attempt failed, empty if it did not."""

    delivered: int = 0
    dropped: int = 0
    failures: int = 0
    waiting: int = 0
    fault: str = ""


class Lane:
    """`take` makes the requests that are due; it is called in the lane's thread after each `wake`.

    A request is tried for `patience` seconds; then its items are dropped. `keeps` says that nothing is lost with a
    request that failed, because what it told is told again with the next.
    """

    def __init__(
        self,
        signal: Signal,
        channel: Channel,
        take: Callable[[], Iterator[Request]],
        patience: float,
        *,
        keeps: bool = False,
    ) -> None:
        self._signal, self._channel, self._take = signal, channel, take
        self._patience, self._keeps = patience, keeps
        self._due = threading.Event()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._delivered = self._dropped = self._failures = 0
        self._fault = ""
        self._busy = False
        self._thread = threading.Thread(target=self._run, name=f"otlp {signal}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> bool:
        """Something is due. False if the lane is still at work on the last time's."""
        idle = not self._busy
        self._due.set()
        return idle

    def busy(self) -> bool:
        return self._busy or self._due.is_set()

    def stop(self, wait: float = 2.0) -> None:
        """Ends the thread. What is being tried may still be delivered within `wait` seconds."""
        self._stop.set()
        self._due.set()
        if self._thread.is_alive():
            self._thread.join(wait)

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def account(self) -> LaneAccount:
        with self._lock:
            return LaneAccount(self._delivered, self._dropped, self._failures, 0, self._fault)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._due.wait()
            self._busy = True
            self._due.clear()
            try:
                for request in self._take():
                    if self._stop.is_set():
                        self._drop(request)
                        break
                    if not self._deliver(request) and self._keeps:
                        break  # the rest would fare no better, and is told again
            except Exception as error:  # noqa: BLE001 - the thread must outlive whatever one request did
                _log.exception("a push of %s failed", self._signal)
                with self._lock:
                    self._failures += 1
                    self._fault = f"{type(error).__name__}: {error}"
            finally:
                self._busy = False

    def _deliver(self, request: Request) -> bool:
        """False if the receiver could not be had for as long as patience lasts."""
        give_up = time.monotonic() + self._patience
        pause = FIRST_PAUSE
        while True:
            outcome = self._channel.send(self._signal, request.body)
            self._count(request, outcome)
            if outcome.delivered:
                if request.acknowledged is not None:
                    request.acknowledged()
                return True
            wait = min(outcome.wait, LONGEST_ASKED) or pause * random.uniform(0.5, 1.0)
            if not outcome.retry or time.monotonic() + wait > give_up or self._stop.wait(wait):
                self._drop(request)
                return not outcome.retry
            pause = min(pause * 2, LONGEST_PAUSE)

    def _count(self, request: Request, outcome: Outcome) -> None:
        with self._lock:
            if outcome.delivered:
                self._delivered += request.items - outcome.rejected
                self._dropped += outcome.rejected
                self._fault = f"the receiver refused {outcome.rejected} {self._signal}" if outcome.rejected else ""
            else:
                self._failures += 1
                self._fault = outcome.error

    def _drop(self, request: Request) -> None:
        if not self._keeps:
            with self._lock:
                self._dropped += request.items
