# SPDX-License-Identifier: Apache-2.0
"""Sampled requests as server-sent events: one reader of the samples, any bounded number of listeners.

https://html.spec.whatwg.org/multipage/server-sent-events.html. Nothing here runs while nobody listens. A listener that
reads too slowly loses its oldest requests and is told how many.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator

from collector.api import AgentView, sample_json

MAX_LISTENERS = 16
QUEUE_REQUESTS = 1000
"""Requests kept for a listener that does not read."""
POLL_SECONDS = 0.25
BATCH = 500
KEEPALIVE_SECONDS = 15.0


class StreamFull(Exception):
    """Nobody else may listen now; says why."""


class Listener:
    """The queue of one open stream."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[int, bytes]] = deque()
        self.dropped = 0
        self.ready = asyncio.Event()

    def put(self, sequence: int, line: bytes) -> None:
        if len(self.waiting) >= QUEUE_REQUESTS:
            self.waiting.popleft()
            self.dropped += 1
        self.waiting.append((sequence, line))
        self.ready.set()

    def take(self) -> bytes:
        """What waits, as one event of at most BATCH requests, and how many were dropped before it."""
        events = b""
        if self.dropped:
            events = b'event: dropped\ndata: {"dropped": %d}\n\n' % self.dropped
            self.dropped = 0
        batch = [self.waiting.popleft() for _ in range(min(BATCH, len(self.waiting)))]
        if not self.waiting:
            self.ready.clear()
        if not batch:
            return events
        data = b",".join(line for _, line in batch)
        return events + b"event: requests\nid: %d\ndata: [%s]\n\n" % (batch[-1][0], data)


class RequestStream:
    """Reads samples while somebody listens and hands each listener its own copy."""

    def __init__(self, view: AgentView) -> None:
        self._view = view
        self._listeners: set[Listener] = set()
        self._reader: asyncio.Task[None] | None = None
        self._after = 0
        self._closed = False
        self._paused = False
        self.dropped_total = 0
        """Requests that listeners were too slow for, since the start."""

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    def close(self) -> None:
        """Ends every stream, and lets no new one begin."""
        self._closed = True
        for listener in self._listeners:
            listener.ready.set()
        if self._reader is not None:
            self._reader.cancel()

    def pause(self, paused: bool) -> None:
        """Ends every stream and lets none begin until it is called again."""
        if paused == self._paused:
            return
        self._paused = paused
        for listener in self._listeners:
            listener.ready.set()

    def join(self, after: int | None, backlog: int) -> Listener:
        """Opens a stream: what came after sequence `after`, or else the newest `backlog` requests, then all new ones.

        Raises StreamFull.
        """
        if self._paused:
            raise StreamFull("the agent does less to stay within its budget: see its status")
        if self._closed or len(self._listeners) >= MAX_LISTENERS:
            raise StreamFull(f"{MAX_LISTENERS} streams are open already")
        listener = Listener()
        self._read()  # so that everybody who listens already has what the newcomer gets as its backlog
        if after is None or after > self._after:  # a sequence of an earlier run means nothing now
            past = self._view.samples(0, backlog) if backlog else ()
        else:
            past = self._view.samples(after, QUEUE_REQUESTS)
        wall = self._view.wall_minus_monotonic_ns()
        for named in past:
            self._after = max(self._after, named.sample.sequence)
            listener.put(named.sample.sequence, _line(sample_json(named, wall)))
        self._listeners.add(listener)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._poll(), name="request stream")
        return listener

    def leave(self, listener: Listener) -> None:
        self._listeners.discard(listener)

    async def events(self, listener: Listener) -> AsyncIterator[bytes]:
        """Pieces of the response's body, until the server stops. A comment keeps a quiet connection open."""
        yield b"retry: 2000\n\n"
        while not (self._closed or self._paused):
            try:
                await asyncio.wait_for(listener.ready.wait(), KEEPALIVE_SECONDS)
            except TimeoutError:
                yield b": quiet\n\n"
                continue
            self.dropped_total += listener.dropped
            piece = listener.take()
            if piece:
                yield piece

    async def _poll(self) -> None:
        while self._listeners:
            await asyncio.sleep(POLL_SECONDS)
            self._read()

    def _read(self) -> None:
        fresh = self._view.samples(self._after, QUEUE_REQUESTS)
        if not fresh:
            return
        # Only a full answer can have left some out; other gaps are samples that the agent does not show.
        skipped = fresh[0].sample.sequence - self._after - 1 if len(fresh) >= QUEUE_REQUESTS else 0
        self._after = fresh[-1].sample.sequence
        if not self._listeners:
            return
        for listener in self._listeners:
            listener.dropped += skipped
        wall = self._view.wall_minus_monotonic_ns()
        for named in fresh:
            line = _line(sample_json(named, wall))
            for listener in self._listeners:
                listener.put(named.sample.sequence, line)


def _line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
