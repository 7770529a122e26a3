# SPDX-License-Identifier: Apache-2.0
"""What each mode of a connection writes into the ring, as an engine sets it while the connection is in use."""

import random
import subprocess
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import pytest

from analyzers._native import lib as contract
from tests import socket_calls
from tests.captures import FLIPS, LENGTHS, LONG_ANSWERS, MESSAGE, REQUESTS_OUT, SILENT, Event, capturing
from tests.socket_calls import IN, LENGTH_ONLY, NONE, OUT, TRUNCATED, Ground, Pair, assert_contiguous, io_of

ANSWER_MAX = int(contract.FS_ANSWER_MAX)
ASK, ANSWER = b"what is the question?", b"forty-two, and no more"


class Watched:
    """A connection whose ends are in a mode, and where its streams stood when it began."""

    def __init__(self, ground: Ground, pair: Pair, client: int | None = None, server: int | None = None) -> None:
        self._ground = ground
        self.pair = pair
        ask(pair)
        answer(pair)
        events = ground.capture.take()
        ends = {event.local_port: event for event in events if event.kind == "open"}
        self.client, self.server = ends[pair.near_port].conn_id, ends[pair.far_port].conn_id
        told = [event for event in io_of(events) if event.conn_id == self.client]
        self.sent, self.received = (event.seq + event.bytes & 0xFFFFFFFF for event in told)
        self.set(client, server)

    def set(self, client: int | None = None, server: int | None = None, budget: int = 512) -> None:
        for conn_id, mode in ((self.client, client), (self.server, server)):
            if mode is not None:
                self._ground.capture.set_mode(conn_id, mode, budget)

    def take(self) -> tuple[list[Event], list[Event]]:
        """Of the client and of the server; everything else would be a fault."""
        events = [event for event in self._ground.capture.take() if event.kind not in ("process", "trouble")]
        mine, theirs = ([e for e in events if e.conn_id == conn_id] for conn_id in (self.client, self.server))
        assert len(mine) + len(theirs) == len(events)
        return mine, theirs


def ask(pair: Pair, text: bytes = ASK) -> None:
    pair.near.sendall(text)
    left = len(text)
    while left:
        left -= len(pair.far.recv(min(left, 65536)))


def answer(pair: Pair, text: bytes = ANSWER) -> None:
    pair.far.sendall(text)
    left = len(text)
    while left:
        left -= len(pair.near.recv(min(left, 65536)))


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    ports = socket_calls.free_ports(90)
    with capturing(only_ports=ports) as capture:
        yield Ground(capture, ports)


@pytest.fixture(scope="module")
def duplex(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return socket_calls.built("duplex", tmp_path_factory.mktemp("programs"))


def test_message_mode_is_one_event_for_a_request_and_its_response(ground: Ground) -> None:
    with ground.pair("tcp4") as pair:
        watched = Watched(ground, pair, MESSAGE | REQUESTS_OUT, MESSAGE)
        merged = ground.capture.counters().merged
        for _ in range(3):
            ask(pair)
            answer(pair)
        for told, direction in zip(watched.take(), (OUT, IN), strict=True):
            assert [event.kind for event in told] == ["exchange"] * 3
            for turn, event in enumerate(told):
                assert (event.direction, event.first_reason, event.second_reason) == (direction, NONE, NONE)
                assert (event.first_bytes, event.first_captured) == (len(ASK), len(ASK))
                assert (event.second_bytes, event.second_captured) == (len(ANSWER), len(ANSWER))
                assert event.payload == ASK + ANSWER
                assert event.first_seq == watched.sent + turn * len(ASK) & 0xFFFFFFFF
                assert event.second_seq == watched.received + turn * len(ANSWER) & 0xFFFFFFFF
                assert event.first_start_ns == event.first_end_ns <= event.time_ns
        assert ground.capture.counters().merged - merged == 6


def test_a_request_in_two_chunks_is_put_together(ground: Ground) -> None:
    with ground.pair("tcp4") as pair:
        watched = Watched(ground, pair, MESSAGE | REQUESTS_OUT, SILENT)
        ask(pair)
        ask(pair, ASK[::-1])
        answer(pair)
        (event,), nothing = watched.take()
        assert (event.kind, event.first_bytes, event.second_bytes) == ("exchange", 2 * len(ASK), len(ANSWER))
        assert event.payload == ASK + ASK[::-1] + ANSWER
        assert event.first_start_ns < event.first_end_ns < event.time_ns
        assert nothing == []


def test_a_long_answer_is_data_where_all_of_it_is_wanted(ground: Ground) -> None:
    long = random.Random(7).randbytes(ANSWER_MAX + 1)
    with ground.pair("tcp4") as pair:
        watched = Watched(ground, pair, MESSAGE | LONG_ANSWERS | REQUESTS_OUT, MESSAGE | LONG_ANSWERS)
        for text in (long, long[:-1], long):
            ask(pair)
            answer(pair, text)
        for told, direction in zip(watched.take(), (OUT, IN), strict=True):
            assert [event.kind for event in told] == ["exchange", "data", "exchange", "exchange", "data"]
            alone, answered, together, *_ = told
            assert (alone.direction, alone.payload, alone.second_bytes) == (direction, ASK, 0)
            assert (answered.bytes, answered.captured, answered.reason) == (len(long), len(long), NONE)
            assert (answered.direction, answered.payload) == (1 - direction, long)
            assert (together.second_bytes, together.payload) == (ANSWER_MAX, ASK + long[:-1])


def test_later_chunks_of_a_response_are_data(ground: Ground) -> None:
    with ground.pair("tcp4") as pair:
        watched = Watched(ground, pair, MESSAGE | REQUESTS_OUT, SILENT)
        ask(pair)
        for _ in range(3):
            answer(pair)
        told, _ = watched.take()
        assert [event.kind for event in told] == ["exchange", "data", "data"]
        assert [(event.direction, event.payload) for event in told[1:]] == [(IN, ANSWER)] * 2
        assert told[1].seq == told[0].second_seq + len(ANSWER) & 0xFFFFFFFF
        assert_contiguous(told[1:])


@pytest.mark.parametrize("size", [512, 513, 4096, 4097, 100_000])
def test_a_long_request_goes_out_as_data_if_it_does_not_fit(ground: Ground, size: int) -> None:
    text = (b"0123456789abcdef" * 6250)[:size]
    with ground.pair("tcp4") as pair:
        watched = Watched(ground, pair, MESSAGE | REQUESTS_OUT, SILENT)
        ask(pair, text)
        answer(pair)
        told, _ = watched.take()
        if size <= 512:
            assert [(e.kind, e.payload) for e in told] == [("exchange", text + ANSWER)]
            return
        kept = text if size <= 4096 else text[:512]
        assert [(e.kind, e.bytes, e.payload) for e in told] == [("data", size, kept), ("data", len(ANSWER), ANSWER)]
        assert told[0].reason == (NONE if size <= 4096 else TRUNCATED)


def test_a_second_chunk_that_does_not_fit_flushes_the_first(ground: Ground) -> None:
    more = b"m" * 129
    with ground.pair("tcp4") as pair:
        watched = Watched(ground, pair, MESSAGE | REQUESTS_OUT, SILENT)
        ask(pair)
        ask(pair, more)
        answer(pair)
        told, _ = watched.take()
        assert [event.kind for event in told] == ["exchange", "data", "data"]
        assert (told[0].payload, told[0].second_bytes) == (ASK, 0)
        assert [event.payload for event in told[1:]] == [more, ANSWER]
        assert told[1].seq == told[0].first_seq + len(ASK) & 0xFFFFFFFF


@pytest.mark.parametrize("size", [128, 129, 5000])
def test_of_a_response_the_first_bytes_are_kept(ground: Ground, size: int) -> None:
    text = (b"0123456789abcdef" * 400)[:size]
    with ground.pair("tcp4") as pair:
        watched = Watched(ground, pair, SILENT, MESSAGE)
        ask(pair)
        answer(pair, text)
        _, (event,) = watched.take()
        assert (event.second_bytes, event.payload) == (size, ASK + text[:128])
        assert event.second_reason == (NONE if size <= 128 else TRUNCATED)


def test_a_response_out_of_turn_is_data(ground: Ground) -> None:
    with ground.pair("tcp4") as pair:
        watched = Watched(ground, pair, MESSAGE | REQUESTS_OUT, SILENT)
        answer(pair)
        told, _ = watched.take()
        assert [(event.kind, event.direction, event.payload) for event in told] == [("data", IN, ANSWER)]


def test_lengths_have_no_payload(ground: Ground) -> None:
    with ground.pair("tcp4") as pair:
        watched = Watched(ground, pair, LENGTHS, LENGTHS)
        absent = ground.capture.counters().absent[LENGTH_ONLY]
        for _ in range(2):
            ask(pair)
            answer(pair)
        for told, first in zip(watched.take(), (OUT, IN), strict=True):
            assert [(e.kind, e.direction, e.bytes, e.payload, e.reason) for e in told] == [
                ("data", first, len(ASK), b"", LENGTH_ONLY), ("data", 1 - first, len(ANSWER), b"", LENGTH_ONLY)
            ] * 2  # fmt: skip
            assert_contiguous(told)
        assert ground.capture.counters().absent[LENGTH_ONLY] - absent == 8


def test_flips_are_one_event_for_each_turn(ground: Ground) -> None:
    with ground.pair("tcp4") as pair:
        watched = Watched(ground, pair, FLIPS, SILENT)
        for _ in range(2):
            for _ in range(5):
                ask(pair)
            for _ in range(3):
                answer(pair)
        told, _ = watched.take()
        lengths = [(OUT, 5 * len(ASK)), (IN, 3 * len(ANSWER)), (OUT, 5 * len(ASK))]
        assert [(event.direction, event.bytes) for event in told] == lengths
        assert {(event.kind, event.payload, event.reason) for event in told} == {("data", b"", LENGTH_ONLY)}
        assert_contiguous(told)
        pair.close()
        told, _ = watched.take()
        assert [event.kind for event in told] == ["data", "close"]
        assert (told[0].direction, told[0].bytes) == (IN, 3 * len(ANSWER))


def test_a_long_turn_is_told_in_between(ground: Ground) -> None:
    with ground.pair("tcp4") as pair:
        watched = Watched(ground, pair, FLIPS, SILENT)
        for _ in range(144):
            ask(pair, b"z" * (1 << 16))
        answer(pair)
        told, _ = watched.take()
        assert [event.direction for event in told] == [OUT] * len(told)
        assert sum(event.bytes for event in told) == 9 << 20
        assert [event.bytes >> 20 for event in told] == [4, 4, 1]
        assert_contiguous(told)


def test_silence_is_a_gap_in_the_offsets(ground: Ground) -> None:
    with ground.pair("tcp4") as pair:
        watched = Watched(ground, pair, SILENT, SILENT)
        for _ in range(50):
            ask(pair)
            answer(pair)
        assert watched.take() == ([], [])
        watched.set(0, 0)
        ask(pair)
        (sent,), (received,) = watched.take()
        assert sent.seq == received.seq == watched.sent + 50 * len(ASK) & 0xFFFFFFFF


def test_a_change_of_mode_loses_nothing_that_waited(ground: Ground) -> None:
    with ground.pair("tcp4") as pair:
        watched = Watched(ground, pair, MESSAGE | REQUESTS_OUT, FLIPS)
        ask(pair)
        assert watched.take() == ([], [])
        watched.set(0, MESSAGE)
        answer(pair)
        mine, theirs = watched.take()
        assert [event.kind for event in mine] == ["exchange", "data"]
        assert (mine[0].payload, mine[1].payload) == (ASK, ANSWER)
        assert [(e.kind, e.direction, e.bytes) for e in theirs] == [("data", IN, len(ASK)), ("data", OUT, len(ANSWER))]


def test_the_budget_of_a_slot_holds(ground: Ground) -> None:
    text = b"0123456789abcdef" * 400
    with ground.pair("tcp4") as pair:
        watched = Watched(ground, pair)
        for budget in (0, 1, 512, 2000, 4096):
            watched.set(0, SILENT, budget)
            ask(pair, text)
            (event,), _ = watched.take()
            assert event.payload == text[:budget]
            assert event.reason == (TRUNCATED if budget else LENGTH_ONLY)


LONG = b"0123456789abcdef" * 80  # more than the budget, less than what comes whole
EARLY_IOS = 64  # in the drivers
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def test_long_writes_come_whole_at_first_then_only_where_the_direction_turns(ground: Ground) -> None:
    """Until the engine says how much it wants. What fits the budget anyhow takes nothing from the long ones."""
    with ground.pair("tcp4") as pair:
        watched = Watched(ground, pair)
        for _ in range(3 * EARLY_IOS):
            ask(pair)
        watched.take()
        for _ in range(EARLY_IOS + 2):
            ask(pair, LONG)
        told, _ = watched.take()
        assert [len(event.payload) for event in told] == [len(LONG)] * EARLY_IOS + [512] * 2
        answer(pair)
        ask(pair, LONG)
        told, _ = watched.take()
        assert [event.payload for event in told] == [ANSWER, LONG]


@pytest.mark.parametrize("first", [PREFACE, PREFACE[:8], PREFACE[:7] + b"X", PREFACE[:7]], ids=repr)
def test_what_follows_the_preface_of_http2_is_captured_deep(ground: Ground, first: bytes) -> None:
    """The engine looks every few milliseconds: a client has sent hundreds of requests by then."""
    text = random.Random(5).randbytes(20_000)
    with ground.pair("tcp4") as pair:
        watched = Watched(ground, pair)
        ask(pair, first)
        watched.take()
        assert pair.near.send(text) == len(text)
        assert len(pair.far.recv(len(text))) == len(text)
        whole = 4096 * ground.capture.most_pieces if PREFACE.startswith(first) and len(first) >= 8 else 512
        for told in watched.take():
            assert b"".join(event.payload for event in told) == text[:whole]
            assert sum(event.bytes for event in told) == len(text)


SCATTERED = (0, 1, 5000, 0, 3, 4095, 8192, 4097, 12)


@pytest.mark.parametrize("sizes", [(21_400,), SCATTERED], ids=["one", "scattered"])
@pytest.mark.parametrize("budget", [5000, 8192, 32_767, 32_768, 65_535])
def test_a_budget_of_more_than_an_event_holds_is_several(ground: Ground, budget: int, sizes: tuple[int, ...]) -> None:
    text = random.Random(3).randbytes(sum(sizes))
    ends = list(accumulate(sizes))
    parts = [text[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    with ground.pair("tcp4") as pair:
        watched = Watched(ground, pair)
        watched.set(0, SILENT, budget)
        assert pair.near.sendmsg(parts) == len(text)
        told, _ = watched.take()
        assert_contiguous(told)
        whole = min(budget, len(text), 4096 * ground.capture.most_pieces)
        assert b"".join(event.payload for event in told) == text[:whole]
        assert sum(event.bytes for event in told) == len(text)
        assert [len(event.payload) for event in told[:-1]] == [event.bytes for event in told[:-1]]
        assert len(told) == -(-whole // 4096)
        assert [event.reason for event in told] == [NONE] * (len(told) - 1) + [TRUNCATED if whole < len(text) else NONE]
        assert len({(event.time_ns, event.peer_seq, event.direction) for event in told}) == 1


def test_the_last_of_many_pieces_has_the_rest(ground: Ground) -> None:
    text = random.Random(4).randbytes(60_000)
    with ground.pair("tcp4") as pair:
        watched = Watched(ground, pair)
        watched.set(0, SILENT, 65_535)
        assert pair.near.send(text) == len(text)
        told, _ = watched.take()
        pieces = ground.capture.most_pieces
        assert [event.bytes for event in told] == [4096] * (pieces - 1) + [len(text) - 4096 * (pieces - 1)]
        assert b"".join(event.payload for event in told) == text[: 4096 * pieces]
        assert told[-1].reason == TRUNCATED


def test_a_slot_of_another_connection_changes_nothing(ground: Ground) -> None:
    with ground.pair("tcp4") as pair:
        watched = Watched(ground, pair)
        slot = watched.client * 0x9E3779B97F4A7C15 >> 48 & 65535
        stranger = next(
            number for number in range(1 << 32) if number * 0x9E3779B97F4A7C15 >> 48 & 65535 == slot
            and number not in (watched.client, watched.server)
        )  # fmt: skip
        ground.capture.set_mode(stranger, SILENT)
        ask(pair)
        mine, theirs = watched.take()
        assert [event.payload for event in (*mine, *theirs)] == [ASK, ASK]


def _stream(events: list[Event], direction: int) -> list[tuple[int, int, bytes]]:
    """Offset, length and payload of each piece that moved in `direction`, in the order of the stream."""
    pieces = []
    for event in events:
        if event.kind == "data" and event.direction == direction:
            pieces.append((event.seq, event.bytes, event.payload))
        elif event.kind == "exchange":
            first = event.payload[: event.first_captured], event.payload[event.first_captured :]
            if event.direction == direction:
                pieces.append((event.first_seq, event.first_bytes, first[0]))
            elif event.second_bytes:
                pieces.append((event.second_seq, event.second_bytes, first[1]))
    return sorted(pieces)


@pytest.mark.parametrize("mode", [MESSAGE | REQUESTS_OUT, FLIPS])
def test_a_reader_and_a_writer_thread_at_once_keep_every_byte_in_its_place(
    ground: Ground, duplex: Path, mode: int
) -> None:
    rounds, record = 4000, 64
    with ground.pair("tcp4") as pair:
        watched = Watched(ground, pair, mode, SILENT)

        ends = (pair.near.fileno(), pair.far.fileno())
        pair.far.setblocking(True)
        running = [subprocess.Popen([duplex, str(end), str(rounds)], pass_fds=[end]) for end in ends]
        assert [process.wait(socket_calls.TIMEOUT) for process in running] == [0, 0]
        pair.close()
        told = [event for event in watched.take()[0] if event.kind != "close"]
    assert ground.capture.counters().lost["data"] == ground.capture.counters().lost["exchange"] == 0
    for direction, start in ((OUT, watched.sent), (IN, watched.received)):
        at = 0
        for seq, length, payload in sorted((seq - start & 0xFFFFFFFF, n, p) for seq, n, p in _stream(told, direction)):
            assert seq == at
            at += length
            text = b"".join(b"%0*d" % (record, n) for n in range(seq // record, (seq + length) // record))
            assert payload == text[: len(payload)]
        assert at == rounds * record
