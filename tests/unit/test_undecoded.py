# SPDX-License-Identifier: Apache-2.0
"""What nobody decodes, through the engine: random bytes, and TLS that was joined anywhere in it."""

import random
from collections.abc import Iterator

import pytest

from tests import events
from tests.conversations import Conversation, counted, events_of, in_short, load_all
from tests.events import SEEDED

STREAMS = 300
SEALED = [one for one in load_all() if one.protocol == "tls" or one.name.endswith("-tls")]
PLACES = 200


def noise(conn_id: int, dice: random.Random) -> Iterator[bytes]:
    """A connection on which both sides say nothing but random bytes, in turns of one to three pieces."""
    talk = events.Conversation(conn_id, ("10.0.0.2", 8000 + conn_id), ("10.0.0.1", 40000), "server", pid=5)
    yield talk.open(0, open_flags=dice.choice([0, SEEDED]))
    time_ns = 0
    for turn in range(dice.randrange(2, 20)):
        for _ in range(dice.randrange(1, 4)):
            time_ns += 1_000_000
            data = dice.randbytes(dice.choice([1, 2, 3, 4, 5, 9, 24, 100, 500]))
            yield talk.moves(events.IN if turn % 2 == 0 else events.OUT, time_ns, data)
    yield talk.close(time_ns + 1_000_000)


def test_random_bytes_are_counted_as_undecoded_and_as_nothing_else() -> None:
    dice = random.Random(11)
    rows, stats = counted(event for number in range(1, STREAMS + 1) for event in noise(number, dice))
    assert {row.protocol for row in rows} == {"NOSUPPORT"}
    assert {row.local[1] for row in rows if row.count} == {8000 + number for number in range(1, STREAMS + 1)}
    assert stats["connections_closed"] == stats["connections_opened"] == STREAMS


def joined(conversation: Conversation, first: int, missing: int) -> Conversation:
    """From the middle of a chunk on."""
    side, data = conversation.chunks[first]
    chunks = ((side, data[missing:]), *conversation.chunks[first + 1 :])
    return Conversation(conversation.name, conversation.protocol, chunks)


@pytest.mark.parametrize("conversation", SEALED, ids=lambda one: str(one.name))
def test_tls_joined_anywhere_is_tls_or_undecoded(conversation: Conversation) -> None:
    sealed = [number for number, (_, data) in enumerate(conversation.chunks) if data[0] in range(20, 24)]
    places = [(number, at) for number in sealed for at in range(len(conversation.chunks[number][1]))]
    random.Random(conversation.name).shuffle(places)
    for first, missing in places[:PLACES]:
        rows, stats = counted(events_of(joined(conversation, first, missing), open_flags=SEEDED))
        assert {one.protocol for one in in_short(rows)} <= {"tls", "NOSUPPORT"}, (first, missing)
        assert stats["connections_closed"] == stats["connections_opened"] == 1
