# SPDX-License-Identifier: Apache-2.0
"""Reads both sides of a connection whose messages are paired by id, as the engine does it, from recorded chunks."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.conversations import Expected
from tests.parsing import (
    Flag,
    Framed,
    Message,
    Options,
    Outcome,
    Parser,
    Protocol,
    Side,
    Unreadable,
    message_of,
    name_of,
    new_shared,
    new_state,
    stitch,
)

Chunk = tuple[str, bytes]
_SIDES = {"client": Side.REQUEST, "server": Side.RESPONSE}


@dataclass(slots=True)
class Call:
    """A request with all its pieces, and what came of it. `bytes` are the request's and the response's."""

    request: Message
    outcome: Outcome | None = None
    reversed: bool = False
    bytes: list[int] = field(default_factory=lambda: [0, 0])
    ended: list[bool] = field(default_factory=lambda: [False, False])


@dataclass(slots=True)
class _Stream:
    parser: Parser
    buffer: bytes = b""
    remaining: int = 0


class Conversation:
    """Both sides of one connection. `calls` are in the order in which they were asked."""

    def __init__(self, protocol: Protocol, options: Options | None = None, *, shared: Any = None) -> None:
        self._protocol = protocol
        self._options = options
        state = new_state(protocol)
        shared = new_shared(protocol) if shared is None else shared
        self._streams = {side: _Stream(Parser(protocol, side, options, state=state, shared=shared)) for side in Side}
        self._open: dict[tuple[bool, int], Call] = {}
        self.calls: list[Call] = []
        self.skipped = 0
        self.orphans = 0

    def feed(self, who: str, data: bytes, *, captured: int | None = None) -> None:
        """What one side sent in one operation; only the first `captured` bytes of it can be seen."""
        side = _SIDES[who]
        stream = self._streams[side]
        seen = data if captured is None else data[:captured]
        hidden = len(data) - len(seen)
        stream.buffer += seen
        while stream.buffer or (stream.remaining and hidden):
            here = min(stream.remaining, len(stream.buffer))
            stream.buffer = stream.buffer[here:]
            stream.remaining -= here
            if not stream.buffer:
                over = min(stream.remaining, hidden)
                stream.remaining -= over
                hidden -= over
                if hidden:
                    raise Unreadable(f"{hidden} bytes that were not captured")
                return
            answer, message = stream.parser.frame(stream.buffer, truncated=bool(hidden))
            if answer is Framed.MORE and not hidden:
                return
            if answer is not Framed.MESSAGE:
                raise Unreadable(f"{answer.name} at {stream.buffer[:80]!r} of the {who}")
            stream.remaining = message.length
            self._take(side, message)

    def close(self) -> list[Call]:
        for side, stream in self._streams.items():
            if stream.buffer or stream.remaining:
                raise Unreadable(f"unfinished {side.name}: {stream.remaining} {stream.buffer[:80]!r}")
        return self.calls

    def _take(self, side: Side, message: Message) -> None:
        if message.flags & Flag.SKIP:
            self.skipped += message.length
            return
        is_reversed = bool(message.flags & Flag.REVERSED)
        part = Side(side ^ is_reversed)
        key = is_reversed, message.id
        call = self._open.get(key)
        if part is Side.REQUEST and not message.flags & Flag.MORE:
            call = self._open[key] = Call(message, reversed=is_reversed)
            self.calls.append(call)
        if call is None:
            self.orphans += 1
            return
        call.bytes[part] += message.length
        self._tell(call, part, message)
        call.ended[part] = not message.flags & (Flag.OPEN | Flag.INTERIM)
        is_over = call.ended[0] and call.request.flags & Flag.NO_ANSWER
        if is_over:
            call.outcome = stitch(self._protocol, call.request, None, self._options)
        if is_over or (part is Side.REQUEST and message.flags & Flag.MORE and message.status and call.ended[0]):
            call.ended[1] = True
        if call.ended[1]:
            self._open.pop(key, None)

    @staticmethod
    def _tell_request(call: Call, more: Message) -> None:
        raw = call.request.raw
        raw.flags |= more.flags & Flag.NO_ANSWER
        for field_name in ("status", "method", "note", "protocol"):
            setattr(raw, field_name, getattr(more.raw, field_name) or getattr(raw, field_name))
        if more.content:
            raw.content = more.raw.content
        call.request = message_of(raw)

    def _tell(self, call: Call, part: Side, message: Message) -> None:
        is_first = part is Side.RESPONSE and not message.flags & (Flag.MORE | Flag.INTERIM)
        calls_off = part is Side.REQUEST and message.flags & Flag.MORE and message.status
        if part is Side.REQUEST and not calls_off and message.flags & Flag.TELLS:
            self._tell_request(call, message)
        if not is_first and not calls_off and not (part is Side.RESPONSE and message.flags & Flag.TELLS):
            return
        said = stitch(self._protocol, call.request, message, self._options)
        before = call.outcome
        if before is None or is_first:
            call.outcome = said
            return
        call.outcome = Outcome(
            said.status or before.status,
            said.error or before.error,
            said.request_content or before.request_content,
            said.response_content or before.response_content,
        )


def calls_of(
    protocol: Protocol,
    chunks: Iterable[Chunk],
    options: Options | None = None,
    *,
    captured: int | None = None,
    shared: Any = None,
) -> list[Call]:
    """The calls of a whole conversation."""
    conversation = Conversation(protocol, options, shared=shared)
    for who, data in chunks:
        conversation.feed(who, data, captured=captured)
    return conversation.close()


def summed(protocol: Protocol, calls: Iterable[Call]) -> tuple[Expected, ...]:
    """Calls as the recordings' `expected` has them."""
    kinds: Counter[tuple[str, str, str, int, bool]] = Counter()
    for call in calls:
        if call.outcome:
            name = name_of(call.request.protocol or protocol)
            said = call.outcome
            kinds[name, said.request_content, said.response_content, said.status, said.error] += 1
    return tuple(sorted(Expected(*kind, count) for kind, count in kinds.items()))


def split_everywhere(chunks: Sequence[Chunk]) -> list[Chunk]:
    """The same bytes in the same order, one at a time."""
    return [(who, data[at : at + 1]) for who, data in chunks for at in range(len(data))]
