# SPDX-License-Identifier: Apache-2.0
"""The recorded conversations of tests/recordings/parsers, as its README describes them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.parsing import Flag, Message, Options, Outcome, Parser, Protocol, Reader, Side, stitch

FOLDER = Path(__file__).parent / "recordings" / "parsers"


@dataclass(frozen=True, slots=True)
class Conversation:
    name: str
    protocol: str
    chunks: tuple[tuple[str, bytes], ...]

    def sent(self, side: str) -> list[bytes]:
        return [data for who, data in self.chunks if who == side]


def load(name: str) -> Conversation:
    content = json.loads((FOLDER / f"{name}.json").read_text())
    chunks = tuple((side, bytes.fromhex(data)) for side, data in content["chunks"])
    return Conversation(name, content["protocol"], chunks)


def load_all() -> list[Conversation]:
    return [load(path.stem) for path in sorted(FOLDER.glob("*.json"))]


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
