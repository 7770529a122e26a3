# SPDX-License-Identifier: Apache-2.0
"""The recorded conversations of tests/recordings/parsers, as its README describes them."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from tests import events
from tests.inprocess import InProcessEngine, Row
from tests.parsing import Flag, Message, Options, Outcome, Parser, Protocol, Reader, Side, stitch

FOLDER = Path(__file__).parent / "recordings" / "parsers"


@dataclass(frozen=True, slots=True, order=True)
class Expected:
    """One kind of request: label values, status and whether it failed, and how often it was made."""

    protocol: str
    request: str
    response: str
    status: int
    error: bool
    count: int


@dataclass(frozen=True, slots=True)
class Conversation:
    name: str
    protocol: str
    chunks: tuple[tuple[str, bytes], ...]
    expected: tuple[Expected, ...] | None = None
    """What must be counted, as the client's own log says; None if that stands in a test of its own."""
    datagrams: bool = False

    def sent(self, side: str) -> list[bytes]:
        return [data for who, data in self.chunks if who == side]


def load(name: str) -> Conversation:
    content = json.loads((FOLDER / f"{name}.json").read_text())
    chunks = tuple((side, bytes.fromhex(data)) for side, data in content["chunks"])
    expected = content.get("expected")
    return Conversation(
        name,
        content["protocol"],
        chunks,
        None if expected is None else tuple(sorted(Expected(*one) for one in expected)),
        content.get("datagrams", name in {"dns-dig-udp", "dns-dig-dnsmasq"}),
    )


def load_all() -> list[Conversation]:
    return [load(path.stem) for path in sorted(FOLDER.glob("*.json"))]


def rest_of(chunks: Iterable[tuple[str, bytes]], missing: int) -> Iterator[tuple[str, bytes]]:
    """The chunks without as many of their first bytes."""
    for side, data in chunks:
        if missing < len(data):
            yield side, data[missing:]
        missing = max(0, missing - len(data))


def requests_of(
    protocol: Protocol,
    client: Sequence[bytes],
    server: Sequence[bytes],
    options: Options | None = None,
) -> list[tuple[Message, Message, Outcome]]:
    """Every request of a stream with its final response, paired as the engine does: by id for DNS, else in order."""
    ask = Reader(Parser(protocol, Side.REQUEST, options))
    for piece in client:
        ask.feed(piece)
    asked = ask.close()
    reply = Reader(Parser(protocol, Side.RESPONSE, options), asked)
    for piece in server:
        reply.feed(piece)
    answered = [message for message in reply.close() if not message.flags & Flag.INTERIM]
    if protocol is Protocol.DNS:
        by_id = {message.id: message for message in answered}
        assert len(by_id) == len(answered)
        answered = [by_id[message.id] for message in asked]
    assert len(asked) == len(answered)
    return [(one, other, stitch(protocol, one, other, options)) for one, other in zip(asked, answered, strict=True)]


def without_raw(message: Message) -> Message:
    return replace(message, raw=None)


_CLIENT, _SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 8000)
STREAM_BYTES = 4096
"""What a driver captures of one I/O where requests are not one at a time."""


def events_of(
    conversation: Conversation,
    *,
    side: str = "server",
    cut: Callable[[int, bytes], Sequence[int]] = lambda _, data: (),
    captured: int | None = None,
    first: int = 0,
    open_flags: int = 0,
    conn_id: int = 7,
) -> Iterator[bytes]:
    """The conversation as a driver tells it of the end `side`: opened, a millisecond per chunk, closed.

    `cut` gives the places at which a chunk, of which it gets the number, is cut into I/Os of their own. Of each I/O
    at most `captured` bytes are told; without a limit, long ones are cut so that they are told whole. The first `first` chunks happened before anybody looked.
    """
    ends = (_SERVER, _CLIENT) if side == "server" else (_CLIENT, _SERVER)
    talk = events.Conversation(conn_id, *ends, side, comm=side, pid=5)
    yield talk.open(0, open_flags=open_flags)
    time_ns = 0
    for number, (who, data) in enumerate(conversation.chunks[first:]):
        time_ns += 1_000_000
        whole = range(0, len(data), STREAM_BYTES if captured is None else len(data))
        places = sorted({0, len(data), *whole, *(place for place in cut(number, data) if 0 < place < len(data))})
        for begin, end in pairwise(places):
            direction = events.OUT if who == side else events.IN
            yield talk.moves(
                direction, time_ns, data[begin : min(end, begin + (captured or STREAM_BYTES))], length=end - begin
            )
    yield talk.close(time_ns + 1_000_000)


def counted(made: Iterable[bytes], **settings: int) -> tuple[list[Row], dict[str, int]]:
    """What the engine counts of these events: its rows, and those of its statistics that are not zero."""
    with InProcessEngine(**settings) as engine:
        engine.feed(made).finish()
        return engine.rows(), engine.stats()


def in_short(rows: Iterable[Row]) -> tuple[Expected, ...]:
    """Rows as recordings expect them; those that only hold bytes are left out."""
    return tuple(
        sorted(
            Expected(row.protocol, row.request, row.response, row.status, "error" in row.flags, row.count)
            for row in rows
            if row.count
        )
    )
