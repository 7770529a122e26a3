# SPDX-License-Identifier: Apache-2.0
"""Both sides of a conversation through a parser, in the order in which they spoke, paired as the engine does it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from tests.parsing import Body, Flag, Framed, Message, Options, Outcome, Parser, Protocol, Side, Unreadable, stitch

Chunk = tuple[str, bytes]
_SIDES = {"client": Side.REQUEST, "server": Side.RESPONSE}


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request, its response (None: it gets none, or none came) and what they come to."""

    request: Message
    response: Message | None
    outcome: Outcome

    @property
    def said(self) -> tuple[str, str, bool]:
        return self.outcome.request_content, self.outcome.response_content, self.outcome.error


@dataclass(slots=True)
class _Half:
    parser: Parser
    buffer: bytes = b""
    remaining: int = 0
    message: Message | None = None


@dataclass(slots=True)
class Played:
    """What was found. `skipped` are the messages that are neither request nor response, in the order of their ends."""

    exchanges: list[Exchange] = field(default_factory=list)
    skipped: list[Message] = field(default_factory=list)
    orphans: list[Message] = field(default_factory=list)
    switched: Protocol | None = None


class Player:
    """Takes chunks until the connection switches to another protocol; `bytes_seen` counts both sides' messages."""

    def __init__(self, protocol: Protocol, *, by_id: bool = False, options: Options | None = None) -> None:
        self._protocol = protocol
        self._by_id = by_id
        self._options = options
        request = Parser(protocol, Side.REQUEST, options)
        response = Parser(protocol, Side.RESPONSE, options, state=request.state)
        self._halves = {Side.REQUEST: _Half(request), Side.RESPONSE: _Half(response)}
        self._waiting: list[Message] = []
        self.played = Played()

    def feed(self, side: Side, data: bytes) -> None:
        half = self._halves[side]
        half.buffer += data
        while self.played.switched is None and self._step(side, half):
            pass

    def close(self) -> Played:
        """What was found; requests that still wait are exchanges without a response. Unreadable if bytes are left."""
        for half in self._halves.values():
            if self.played.switched is None and (half.buffer or half.remaining or half.message):
                raise Unreadable(f"unfinished: {half}")
        for request in self._waiting:
            self.played.exchanges.append(Exchange(request, None, stitch(self._protocol, request, None, self._options)))
        return self.played

    def _step(self, side: Side, half: _Half) -> bool:
        if half.remaining:
            here = min(half.remaining, len(half.buffer))
            half.buffer = half.buffer[here:]
            half.remaining -= here
            if not half.remaining and half.message and half.message.body is Body.DONE:
                self._end(side, half)
            return here > 0
        if not half.buffer:
            return False
        waiting = self._waiting[0] if side is Side.RESPONSE and self._waiting else None
        answer, said = half.parser.frame(half.buffer, waiting=waiting)
        if answer is Framed.MORE:
            return False
        if answer is Framed.INVALID or (half.message is None) != (answer is Framed.MESSAGE):
            raise Unreadable(f"{side.name} {answer.name} at {half.buffer[:100]!r}")
        assert said.length > 0
        half.remaining = said.length
        if half.message is None:
            half.message = said
        else:
            body = Body.DONE if answer is Framed.END else Body.PARTS
            half.message = replace(half.message, length=half.message.length + said.length, body=body)
        return True

    def _end(self, side: Side, half: _Half) -> None:
        message = half.message
        assert message
        half.message = None
        if message.flags & Flag.SKIP:
            self.played.skipped.append(message)
        elif (side is Side.REQUEST) != bool(message.flags & Flag.REVERSED):
            self._asked(message)
        else:
            self._answered(message)

    def _asked(self, message: Message) -> None:
        if message.flags & Flag.NO_ANSWER:
            outcome = stitch(self._protocol, message, None, self._options)
            self.played.exchanges.append(Exchange(message, None, outcome))
        else:
            self._waiting.append(message)

    def _answered(self, message: Message) -> None:
        def fits(request: Message) -> bool:
            reversed_alike = not (request.flags ^ message.flags) & Flag.REVERSED
            return not self._by_id or (request.id == message.id and reversed_alike)

        request = next((one for one in self._waiting if fits(one)), None)
        if request is None:
            self.played.orphans.append(message)
            return
        if message.flags & Flag.INTERIM:
            return
        self._waiting.remove(request)
        outcome = stitch(self._protocol, request, message, self._options)
        self.played.exchanges.append(Exchange(request, message, outcome))
        if message.flags & Flag.SWITCH:
            self.played.switched = message.next_protocol


def play(protocol: Protocol, chunks: Iterable[Chunk], *, by_id: bool = False, options: Options | None = None) -> Played:
    """A whole conversation."""
    player = Player(protocol, by_id=by_id, options=options)
    for side, data in chunks:
        player.feed(_SIDES[side], data)
    return player.close()


def byte_by_byte(chunks: Sequence[Chunk]) -> list[Chunk]:
    return [(side, data[at : at + 1]) for side, data in chunks for at in range(len(data))]


def split_everywhere(chunks: Sequence[Chunk], step: int = 1) -> Iterator[list[Chunk]]:
    """The conversation again and again, each time with another of its chunks cut in two at another place."""
    for place, (side, data) in enumerate(chunks):
        for at in range(1, len(data), step):
            yield [*chunks[:place], (side, data[:at]), (side, data[at:]), *chunks[place + 1 :]]


def in_one_piece(chunks: Sequence[Chunk]) -> list[Chunk]:
    """What came in several pieces from one side without the other speaking, joined."""
    joined: list[Chunk] = []
    for side, data in chunks:
        if joined and joined[-1][0] == side:
            joined[-1] = (side, joined[-1][1] + data)
        else:
            joined.append((side, data))
    return joined
