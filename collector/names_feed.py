# SPDX-License-Identifier: Apache-2.0
"""The stream of the names service: who may follow it, from where, and how often it is told.

What changed is packed once for all agents. The more agents there are, the longer is gathered before: writing to one agent takes
a tenth of a millisecond, and five thousand of them must not take a processor.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from collector.http_guard import Gate, refusal
from collector.metadata import names_stream
from collector.metadata.names_journal import NamesJournal
from collector.token_review import CannotTell
from collector.version import VERSION

AGENTS_MAX: Final = 8192
HEARTBEAT_SECONDS: Final = 10.0
WRITE_SECONDS: Final = 30.0
"""An agent that takes nothing for so long is cut off."""
STALE_SECONDS: Final = 60.0
"""Nobody new is let in when the API was not heard for so long."""
WHOLES_MAX: Final = 16
"""Agents that are told everything at once; who comes beyond that waits."""
_GATHER_SECONDS: Final = 0.1
_PER_AGENT_SECONDS: Final = 0.001
_LONGEST_GATHER: Final = 2.0


@dataclass(slots=True)
class FeedCounts:
    """For metrics. `refused` by reason."""

    wholes: int = 0
    resumed: int = 0
    bytes_sent: int = 0
    fell_behind: int = 0
    refused: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("token", "version", "not_ready", "too_many"), 0)
    )


class NamesFeed:
    """One per service, in its event loop. `silent` says how long the API was not heard, None before everything was listed."""

    def __init__(self, journal: NamesJournal, gate: Gate, silent: Callable[[], float | None]) -> None:
        self._journal = journal
        self._gate = gate
        self._silent = silent
        self._news = asyncio.Event()
        self._wholes = asyncio.Semaphore(WHOLES_MAX)
        self._stopping = False
        self.agents = 0
        self.packed = 0.0
        self.counts = FeedCounts()

    async def run(self) -> None:
        """Packs what changed, now and then, until cancelled."""
        while True:
            if await asyncio.to_thread(self._journal.pack):
                self._tell()
            self.packed = time.monotonic()
            await asyncio.sleep(min(_LONGEST_GATHER, _GATHER_SECONDS + _PER_AGENT_SECONDS * self.agents))

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    @property
    def is_ready(self) -> bool:
        """Whether agents are let in: everything was listed, and the API is heard."""
        silent = self._silent()
        return silent is not None and silent <= STALE_SECONDS

    def stop(self) -> None:
        """Ends every stream; agents go on elsewhere."""
        self._stopping = True
        self._tell()

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """The route."""
        try:
            if not await self._gate.admits(request.headers.get("Authorization", ""), request.path):
                what = "the token is of nobody who may follow the names"
                return self._refused(
                    "token", 401, what, f"allow its account to get the nonResourceURL {names_stream.PATH}"
                )
        except CannotTell as error:
            return self._refused("not_ready", 503, f"the token cannot be reviewed: {error}", "ask again")
        agreed = names_stream.agreed(names_stream.spoken(), _spoken(request))
        if not agreed:
            low, high = names_stream.spoken()
            what = f"stream {low} to {high} is spoken here, which this agent does not"
            return self._refused("version", 400, what, "bring agent and names service to one version")
        if not self.is_ready:
            silent = self._silent()
            what = "not everything was listed yet" if silent is None else f"the API was not heard for {silent:.0f} s"
            return self._refused("not_ready", 503, what, "ask again, or the API server")
        if self.agents >= AGENTS_MAX:
            return self._refused("too_many", 503, f"{AGENTS_MAX} agents follow already", "run more replicas")
        self.agents += 1
        try:
            return await self._serve(request, agreed)
        finally:
            self.agents -= 1

    def _refused(self, why: str, status: int, what: str, remedy: str) -> web.Response:
        self.counts.refused[why] += 1
        return refusal(status, what, remedy, {"Retry-After": "5"} if status == 503 else None)

    async def _serve(self, request: web.Request, stream: int) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": names_stream.CONTENT_TYPE})
        await response.prepare(request)
        epoch, _, at_text = request.query.get("since", "").partition(".")
        at = int(at_text) if epoch == self._journal.epoch and at_text.isascii() and at_text.isdigit() else -1
        hello = {"stream": stream, "epoch": self._journal.epoch, "version": VERSION}
        try:
            if at >= 0 and self._journal.after(at) is not None:
                self.counts.resumed += 1
                await self._write(response, names_stream.frame({**hello, "at": at, "whole": False}))
            else:
                at = await self._whole(response, hello)
            await self._follow(response, at)
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        return response

    async def _whole(self, response: web.StreamResponse, hello: dict[str, object]) -> int:
        async with self._wholes:
            self.counts.wholes += 1
            whole = await asyncio.to_thread(self._journal.whole)
            await self._write(response, names_stream.frame({**hello, "at": whole.at, "whole": True}))
            for packed in whole.frames:
                await self._write(response, packed)
        return whole.at

    async def _follow(self, response: web.StreamResponse, at: int) -> None:
        """Changes as they come, and a sign of life where there are none. Ends when the service does."""
        beat = time.monotonic() + HEARTBEAT_SECONDS
        while not self._stopping:
            news = self._news
            changes = self._journal.after(at)
            if changes is None:
                self.counts.fell_behind += 1
                break
            for change in changes:
                await self._write(response, change.packed)
                at = change.at
            if time.monotonic() >= beat:
                beat = time.monotonic() + HEARTBEAT_SECONDS
                body = {"at": at, "silent": round(self._silent() or 0.0, 1)}
                await self._write(response, names_stream.frame(body))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, beat - time.monotonic())):
                    await news.wait()

    async def _write(self, response: web.StreamResponse, packed: bytes) -> None:
        """Raises TimeoutError for an agent that takes nothing any more."""
        async with asyncio.timeout(WRITE_SECONDS):
            await response.write(packed)
        self.counts.bytes_sent += len(packed)


def _spoken(request: web.Request) -> tuple[int, int]:
    """Which versions the agent speaks; nothing that can be agreed on where it does not say."""
    low, high = (request.query.get(name, "") for name in ("low", "high"))
    numbers = low.isascii() and low.isdigit() and high.isascii() and high.isdigit()
    return (int(low), int(high)) if numbers else (0, 0)
