# SPDX-License-Identifier: Apache-2.0
"""How many bytes of an I/O the engine asks the driver for, when requests lie behind those it was given."""

from collections.abc import Iterator

import pytest

from tests.events import SECOND, Conversation
from tests.inprocess import InProcessEngine

SERVER, CLIENT = ("10.0.0.2", 6379), ("10.0.0.1", 40000)
COMMAND = b"*2\r\n$3\r\nGET\r\n$8\r\nkey12345\r\n"
REPLY = b"$2\r\nok\r\n"
STREAM, DEEP = 4096, 32768


@pytest.fixture
def engine() -> Iterator[InProcessEngine]:
    with InProcessEngine() as made:
        yield made


class Batches:
    """A server whose client sends so many commands in one write, of which the driver tells what it was asked for."""

    def __init__(self, engine: InProcessEngine, conn_id: int = 7) -> None:
        self.engine, self.conn_id, self.at = engine, conn_id, 0
        self.conversation = Conversation(conn_id, SERVER, CLIENT, "server", comm="redis", pid=5)
        engine.feed([self.conversation.open(0)])

    @property
    def budget(self) -> int:
        """What its slot says; before that, what is whole of a first write."""
        return self.engine.slots[self.conn_id * 0x9E3779B97F4A7C15 >> 48 & 0xFFFF] & 0xFFFF or STREAM

    def ask(self, commands: int, apart_ns: int = SECOND) -> None:
        self.at += apart_ns
        self.tell(COMMAND * commands, REPLY * commands)

    def tell(self, asked: bytes, answered: bytes) -> None:
        """As drivers do: a read or write in pieces, of which the last has the rest."""
        for moves, text in ((self.conversation.receives, asked), (self.conversation.sends, answered)):
            at = 0
            while at < len(text):
                is_last = at + STREAM >= self.budget or at + STREAM >= len(text)
                bytes_moved = len(text) - at if is_last else STREAM
                self.engine.feed([moves(self.at, text[at : min(self.budget, at + STREAM)], length=bytes_moved)])
                at += bytes_moved
            self.at += 1000

    def counted(self) -> int:
        return sum(row.count for row in self.engine.rows())


def test_a_write_that_holds_more_requests_than_were_captured_has_more_of_the_next_captured(
    engine: InProcessEngine,
) -> None:
    batches = Batches(engine)
    batches.ask(1)
    assert (batches.counted(), batches.budget) == (1, STREAM)
    batches.ask(500)
    assert batches.budget == DEEP
    before = batches.counted()
    for _ in range(5):
        batches.ask(250)
    assert batches.counted() == before + 5 * 250
    assert batches.budget == DEEP


def test_what_fits_is_asked_for_no_further(engine: InProcessEngine) -> None:
    batches = Batches(engine)
    batches.ask(1)
    for _ in range(20):
        batches.ask(STREAM // len(COMMAND))
    assert batches.budget == STREAM


def test_a_connection_that_is_cut_again_and_again_is_given_up(engine: InProcessEngine) -> None:
    batches = Batches(engine)
    batches.ask(1)
    batches.ask(500)
    assert batches.budget == DEEP
    cuts = 0
    while batches.budget == DEEP:
        batches.ask(2000)
        cuts += 1
        assert cuts < 20
    assert batches.budget == STREAM
    batches.ask(500)
    assert batches.budget == STREAM


VALUE = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$40000\r\n" + b"v" * 40000 + b"\r\n"
SHARE = 1 << 20  # FS_DEEP_BYTES: in 10 ms, where there is no ring
REST = 10 * SECOND


def deep(engine: InProcessEngine, conn_id: int) -> Batches:
    batches = Batches(engine, conn_id)
    batches.ask(1)
    batches.ask(500)
    assert batches.budget == DEEP
    return batches


def test_who_brings_most_of_too_much_rests_and_the_others_do_not(engine: InProcessEngine) -> None:
    bulk, small = deep(engine, 7), deep(engine, 8)
    small.at = bulk.at = 9 * SECOND
    for turn in range(SHARE // DEEP):
        assert bulk.budget == DEEP, turn
        bulk.tell(VALUE, b"+OK\r\n")
        small.tell(COMMAND, REPLY)
    assert (bulk.budget, small.budget) == (STREAM, DEEP)
    bulk.ask(500)
    assert bulk.budget == STREAM
    bulk.ask(500, REST)
    assert bulk.budget == DEEP


def test_bulk_at_a_slow_pace_is_no_burden(engine: InProcessEngine) -> None:
    bulk = deep(engine, 7)
    for _ in range(100):
        bulk.at += SECOND // 100
        bulk.tell(VALUE, b"+OK\r\n")
    assert bulk.budget == DEEP
