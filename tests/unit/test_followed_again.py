# SPDX-License-Identifier: Apache-2.0
"""Connections of whoever is no longer left out: what passed unseen may have been anything, and none of it is counted."""

from collections.abc import Callable, Iterator

import pytest

from tests.events import SECOND, Conversation
from tests.inprocess import InProcessEngine
from tests.unit.test_aside import ASKING, ends, tell, total
from tests.unit.test_http2 import Peers, get
from tests.unit.test_tracking_http import request, response
from tests.unit.test_websocket import SWITCH, TEXT, UPGRADE, closes, frame

Talk = Callable[[int, str, bytes], None]


@pytest.fixture
def engine() -> Iterator[InProcessEngine]:
    with InProcessEngine() as made:
        yield made


@pytest.fixture
def client(engine: InProcessEngine) -> Conversation:
    conversation, _ = ends(far=True)
    return conversation


@pytest.fixture
def talk(engine: InProcessEngine, client: Conversation) -> Talk:
    """One side says something in that second, as the client's end tells it."""

    def say(second: int, side: str, text: bytes) -> None:
        moves = client.sends if side == "client" else client.receives
        engine.feed([moves(second * SECOND + (side == "server"), text)])

    return say


def unseen(client: Conversation, asked: bytes, answered: bytes) -> None:
    """The kernel sends nothing of these; the streams go on."""
    client.sends(0, asked)
    client.receives(0, answered)


def asks(talk: Talk, *seconds: int) -> None:
    for second in seconds:
        talk(second, "client", request("/a"))
        talk(second, "server", response())


def test_one_that_was_opened_while_it_was_left_out(engine: InProcessEngine, client: Conversation, talk: Talk) -> None:
    tell(engine, ASKING)
    engine.feed([client.open(0)])
    for _ in range(3):
        unseen(client, request("/a"), response())
    tell(engine)
    asks(talk, 4, 5, 6, 7)
    assert total(engine) == 4


def test_what_was_under_way_is_nobodys_bytes(engine: InProcessEngine, client: Conversation, talk: Talk) -> None:
    body = b"x" * 100_000
    engine.feed([client.open(0)])
    asks(talk, 1)
    sent = request("/a", method="POST", body=body)
    talk(2, "client", sent[:50_000])
    tell(engine, ASKING)
    unseen(client, sent[50_000:], response())
    tell(engine)
    asks(talk, 4, 5)
    assert total(engine) == 3
    assert sum(row.request_bytes for row in engine.rows()) == 3 * len(request("/a"))


def test_headers_of_http2_refer_to_nothing_that_passed(
    engine: InProcessEngine, client: Conversation, talk: Talk
) -> None:
    """What an index of the table means is not known any more: a star, and no other path."""
    peers, second = Peers(), 0
    engine.feed([client.open(0)])

    def call(stream: int, path: str) -> list[tuple[str, bytes]]:
        begun = len(peers.chunks)
        peers.head("client", stream, get(path), end=True)
        peers.head("server", stream, [(":status", "200")], end=True)
        return peers.chunks[begun:]

    for said in [*peers.chunks, *call(1, "/alpha"), *call(3, "/beta")]:
        second += 1
        talk(second, *said)
    tell(engine, ASKING)
    (_, asked), (_, answered) = call(5, "/gamma")
    unseen(client, asked, answered)
    tell(engine)
    for said in [*call(7, "/beta"), *call(9, "/beta")]:
        second += 1
        talk(second, *said)
    assert {row.request: row.count for row in engine.rows()} == {"/alpha": 1, "/beta": 1, "*": 2}


def test_a_close_behind_a_frame_that_passed_half_unseen(
    engine: InProcessEngine, client: Conversation, talk: Talk
) -> None:
    engine.feed([client.open(0)])
    talk(1, "client", UPGRADE)
    talk(1, "server", SWITCH)
    talk(2, "client", frame(TEXT, b"go on", "client"))
    long = frame(TEXT, b"y" * 60_000, "server")
    talk(3, "server", long[:20_000])
    tell(engine, ASKING)
    unseen(client, b"", long[20_000:])
    tell(engine)
    talk(9, *closes("server", 1000))
    talk(10, *closes("client", 1000))
    engine.feed([client.close(11 * SECOND)])
    found = {
        (row.response, "error" in row.flags, "slow" in row.flags)
        for row in engine.rows()
        if row.protocol == "websocket"
    }
    assert found == {("1000", False, False)}


def test_of_what_nobody_decodes_lengths_are_enough_again(
    engine: InProcessEngine, client: Conversation, talk: Talk
) -> None:
    engine.feed([client.open(0)])
    for second in range(1, 20):
        talk(second, "client", bytes([0xF1, 0x8E, second]) * 11)
        talk(second, "server", bytes([0x9D, 0xE2, second]) * 7)
    assert engine.mode(1) == "lengths"
    tell(engine, ASKING)
    assert engine.mode(1) == "silent"
    unseen(client, b"?" * 10, b"!" * 10)
    tell(engine)
    assert engine.mode(1) == "lengths"
