# SPDX-License-Identifier: Apache-2.0
"""What only some protocols do: messages in several pieces and mixed, pieces of nobody, greetings, roles exchanged.

The parsers are those of tests/toy_protocols.c: `?` asks and `!` answers by id, `~` greets, `<` and `>` are in order.
"""

import time
from collections.abc import Iterator

import pytest

from tests.events import IN, LOST_BEFORE, OUT, SECOND, SEEDED, Conversation
from tests.inprocess import InProcessEngine, Row
from tests.parsing import Body, Flag, Protocol
from tests.toy import message, native

MS = 1_000_000
CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 80)
OPEN, MORE, SKIP, TELLS, REVERSED = Flag.OPEN, Flag.MORE, Flag.SKIP, Flag.TELLS, Flag.REVERSED


@pytest.fixture
def engine() -> Iterator[InProcessEngine]:
    with InProcessEngine(native=native()) as made:
        yield made


def server(conn_id: int = 7) -> Conversation:
    return Conversation(conn_id, SERVER, CLIENT, "server", comm="backend", pid=5)


def client(conn_id: int = 7) -> Conversation:
    return Conversation(conn_id, CLIENT, SERVER, "client", comm="caller", pid=5)


def contents(rows: list[Row]) -> list[tuple[str, str, int]]:
    return [(row.request, row.response, row.count) for row in rows]


def test_pieces_of_requests_and_responses_mix_and_are_put_together_by_id(engine: InProcessEngine) -> None:
    c = server()
    pieces = [
        (IN, 1, message("?", "/a", number=1, flags=OPEN)),
        (IN, 2, message("?", "/b", number=2, flags=OPEN)),
        (IN, 5, message("?", ";" * 100, number=1, flags=MORE | OPEN)),
        (OUT, 6, message("!", "B", number=2, flags=OPEN)),
        (IN, 7, message("?", ";" * 50, number=2, flags=MORE)),
        (IN, 9, message("?", ";" * 10, number=1, flags=MORE)),
        (OUT, 12, message("!", "A", number=1, flags=OPEN)),
        (OUT, 13, message("!", ";" * 200, number=2, flags=MORE)),
        (OUT, 20, message("!", ";" * 300, number=1, flags=MORE)),
    ]
    engine.feed([c.open(0)])
    engine.feed(c.moves(direction, at * MS, piece) for direction, at, piece in pieces)
    a, b = engine.rows()
    assert (a.request, a.response, a.protocol, a.count) == ("/a", "A", "http2", 1)
    assert (a.request_bytes, a.response_bytes, a.duration_ns) == (16 * 3 + 112, 16 * 2 + 301, 19 * MS)
    assert a.last == (8 * MS, 3 * MS, 8 * MS, 0)
    assert (b.request, b.response, b.count) == ("/b", "B", 1)
    assert (b.request_bytes, b.response_bytes, b.duration_ns) == (16 * 2 + 52, 16 * 2 + 201, 11 * MS)
    assert (engine.stat("requests"), engine.stat("orphan_responses"), engine.stat("discarded_exchanges")) == (2, 0, 0)


@pytest.mark.parametrize("cut", range(1, 40))
def test_pieces_are_put_together_wherever_the_stream_is_cut(engine: InProcessEngine, cut: int) -> None:
    c = client()
    asked = b"".join(
        message("?", f"/{i}", number=i, flags=OPEN) + message("?", ";" * i, number=i, flags=MORE) for i in range(1, 6)
    )
    answered = b"".join(message("!", "yes", number=i, flags=OPEN) for i in range(5, 0, -1))
    answered += b"".join(message("!", ";", number=i, flags=MORE) for i in range(1, 6))
    engine.feed([c.open(0)])
    engine.feed(c.pieces(OUT, 1, asked, list(range(cut, len(asked), cut))))
    engine.feed(c.pieces(IN, 9, answered, list(range(cut, len(answered), cut))))
    rows = engine.rows()
    assert contents(rows) == [(f"/{i}", "yes", 1) for i in range(1, 6)]
    assert sum(row.request_bytes for row in rows) == len(asked)
    assert sum(row.response_bytes for row in rows) == len(answered)


def test_a_thousand_streams_of_one_connection_wait_at_once(engine: InProcessEngine) -> None:
    c = client()
    engine.feed([c.open(0)])
    engine.feed(c.sends(i, message("?", "/a", number=i)) for i in range(1, 1001))
    engine.tick(1001)
    assert engine.table.pending == 1000
    engine.feed(c.receives(2000 + i, message("!", "ok", number=i * 77 % 1009)) for i in range(1, 1009))
    assert contents(engine.rows()) == [("/a", "ok", 1000)]
    assert engine.stat("orphan_responses") == 8
    assert (engine.stat("discarded_exchanges"), engine.stat("pending_overflow")) == (0, 0)


def test_a_response_that_is_complete_before_its_request_ends_is_counted_and_the_rest_is_only_bytes(
    engine: InProcessEngine,
) -> None:
    c = server()
    engine.feed([c.open(0), c.receives(1, message("?", "/a", number=1, flags=OPEN))])
    engine.feed(
        [c.sends(5, message("!", "no", number=1, status=0x81)), c.receives(9, message("?", "x", number=1, flags=MORE))]
    )
    (row,) = engine.rows()
    assert (row.request, row.response, row.status, row.flags) == ("/a", "no", 0x81, frozenset({"error"}))
    assert (row.count, row.duration_ns, row.request_bytes, row.response_bytes) == (1, 4, 18 + 17, 18)
    assert engine.stat("orphan_responses") == 0


def test_trailers_overrule_what_the_head_said_and_leave_the_rest(engine: InProcessEngine) -> None:
    c = server()
    engine.feed([c.open(0), c.receives(1, message("?", "/a", number=1)), c.receives(2, message("?", "/b", number=2))])
    engine.feed([c.sends(5, message("!", "ok", number=1, status=1, flags=OPEN))])
    engine.feed([c.sends(6, message("!", "late", number=1, status=0x85, flags=MORE | TELLS))])
    engine.feed([c.sends(7, message("!", "ok", number=2, status=1, flags=OPEN))])
    engine.feed([c.sends(8, message("!", ";", number=2, flags=MORE | TELLS))])
    a, b = engine.rows()
    assert (a.request, a.response, a.status, a.flags) == ("/a", "late", 0x85, frozenset({"error"}))
    assert (b.request, b.response, b.status, b.flags) == ("/b", "ok", 1, frozenset())


def test_a_later_piece_of_a_request_may_say_what_is_asked(engine: InProcessEngine) -> None:
    c = server()
    engine.feed([c.open(0), c.receives(1, message("?", number=1, flags=OPEN))])
    engine.feed(
        [c.receives(2, message("?", "/told", number=1, flags=MORE | TELLS)), c.sends(3, message("!", "ok", number=1))]
    )
    assert contents(engine.rows()) == [("/told", "ok", 1)]


@pytest.mark.parametrize("answered", [False, True])
def test_a_request_that_is_called_off_is_counted_with_what_called_it_off(
    engine: InProcessEngine, answered: bool
) -> None:
    c = client()
    engine.feed([c.open(0), c.sends(1, message("?", "/a", number=1, flags=OPEN))])
    if answered:
        engine.feed([c.receives(3, message("!", "begun", number=1, flags=OPEN))])
    engine.feed([c.sends(9, message("?", "cancel", number=1, status=0x88, flags=MORE))])
    (row,) = engine.rows()
    assert (row.request, row.response, row.status, row.count) == ("/a", "cancel", 0x88, 1)
    assert (row.duration_ns, row.request_bytes) == (8, 18 + 22)
    engine.tick(60 * SECOND)
    assert engine.stat("no_response") == 0


def test_a_request_that_is_refused_by_its_other_side_is_answered(engine: InProcessEngine) -> None:
    c = client()
    engine.feed([c.open(0), c.sends(1, message("?", "/a", number=1))])
    engine.feed([c.receives(4, message("!", "reset", number=1, status=0x82, flags=MORE))])
    assert contents(engine.rows()) == [("/a", "reset", 1)]
    assert engine.stat("orphan_responses") == 0


def test_later_pieces_of_an_unknown_response_are_no_further_orphans(engine: InProcessEngine) -> None:
    c = client()
    engine.feed([c.open(0), c.sends(1, message("?", "/a", number=1))])
    engine.feed(
        [c.receives(2, message("!", "x", number=9, flags=OPEN)), c.receives(3, message("!", "x", number=9, flags=MORE))]
    )
    engine.feed([c.receives(4, message("!", "ok", number=1))])
    (row,) = engine.rows()
    assert (row.response, row.count, row.response_bytes) == ("ok", 1, 18 + 2 * 17)
    assert engine.stat("orphan_responses") == 1


def test_a_response_that_goes_on_is_not_unanswered_and_ends_with_its_connection(engine: InProcessEngine) -> None:
    c = client()
    engine.feed([c.open(0), c.sends(1, message("?", "/watch", number=1)), c.sends(1, message("?", "/gone", number=2))])
    engine.feed([c.receives(2, message("!", "ok", number=1, flags=OPEN))])
    engine.tick(SECOND).tick(30 * SECOND).tick(31 * SECOND)
    assert contents(engine.rows()) == [("/gone", "no response", 1)]
    engine.feed([c.receives(40 * SECOND, message("!", "event", number=1, flags=OPEN | MORE)), c.close(50 * SECOND)])
    _, row = engine.rows()
    assert (row.request, row.response, row.count, row.duration_ns) == ("/watch", "ok", 1, 40 * SECOND - 1)


def test_bytes_of_nobody_wait_for_the_first_row(engine: InProcessEngine) -> None:
    c = server()
    engine.feed([c.open(0), c.sends(1, message("~", "hello", flags=SKIP)), c.receives(2, message("?", flags=SKIP))])
    assert engine.rows() == []
    engine.feed([c.receives(3, message("?", "/a", number=1)), c.sends(4, message("!", "ok", number=1))])
    engine.feed([c.receives(5, message("?", ";;", flags=SKIP)), c.sends(6, message("!", ";;;", flags=SKIP))])
    (row,) = engine.rows()
    assert (row.request, row.count, row.duration_ns) == ("/a", 1, 1)
    assert (row.request_bytes, row.response_bytes) == (16 + 18 + 18, 21 + 18 + 19)
    assert "orphan_responses" not in engine.stats()


def test_a_connection_on_which_nothing_was_asked_leaves_its_bytes_when_it_closes(engine: InProcessEngine) -> None:
    c = server()
    engine.feed([c.open(0), c.sends(1, message("~", "hello", flags=SKIP))])
    engine.tick(SECOND).tick(5 * SECOND).feed([c.close(6 * SECOND)])
    (row,) = engine.rows()
    assert (row.protocol, row.count, row.request_bytes, row.response_bytes) == ("http2", 0, 0, 21)


@pytest.mark.parametrize("side", ["server", "client"])
def test_a_greeting_tells_who_serves(engine: InProcessEngine, side: str) -> None:
    c = Conversation(7, SERVER, CLIENT, "unknown") if side == "server" else Conversation(7, CLIENT, SERVER, "unknown")
    mine = OUT if side == "server" else IN
    engine.feed([c.open(0), c.moves(mine, 1, message("~", "hello", flags=SKIP))])
    engine.feed([c.moves(1 - mine, 2, message("?", "/a", number=1)), c.moves(mine, 3, message("!", "ok", number=1))])
    (row,) = engine.rows()
    assert (row.role, row.count, row.response_bytes) == (side, 1, 21 + 18)


def test_a_greeting_from_the_side_that_connected_is_none(engine: InProcessEngine) -> None:
    c = client()
    engine.feed([c.open(0), c.sends(1, message("~", "hello", flags=SKIP)), c.receives(2, b"whatever")])
    assert [row.protocol for row in engine.finish().rows()] == ["NOSUPPORT"]


def test_requests_of_the_serving_side_have_ids_of_their_own(engine: InProcessEngine) -> None:
    c = server()
    engine.feed(
        [
            c.open(0),
            c.receives(1, message("?", "ask", number=1)),
            c.sends(2, message("!", "PUSH", number=1, flags=REVERSED)),
        ]
    )
    engine.feed(
        [c.receives(5, message("?", "ack", number=1, flags=REVERSED)), c.sends(9, message("!", "answer", number=1))]
    )
    pushed, asked = engine.rows()
    assert (pushed.role, pushed.request, pushed.response) == ("server", "PUSH", "ack")
    assert (pushed.duration_ns, pushed.request_bytes, pushed.response_bytes) == (3, 20, 19)
    assert (asked.role, asked.request, asked.response, asked.duration_ns) == ("server", "ask", "answer", 8)


def test_reversed_requests_in_order_wait_apart(engine: InProcessEngine) -> None:
    c = client()
    engine.feed([c.open(0), c.sends(1, message("<", "a")), c.receives(2, message(">", "PUSH", flags=REVERSED))])
    engine.feed([c.receives(3, message(">", "A")), c.sends(4, message("<", "ack", flags=REVERSED))])
    engine.feed([c.sends(5, message("<", "b")), c.receives(6, message(">", "B"))])
    assert contents(engine.rows()) == [("PUSH", "ack", 1), ("a", "A", 1), ("b", "B", 1)]


@pytest.mark.parametrize(("pushed", "seen"), [(0, "ask"), (16, "ask"), (17, "@")])
def test_the_oldest_request_is_looked_for_behind_few_of_the_other_sides(
    engine: InProcessEngine, pushed: int, seen: str
) -> None:
    """A server that pushes thousands which nobody answers would have all of them looked at for each message."""
    c = server()
    engine.feed([c.open(0), c.receives(1, message("?", "first", number=1)), c.sends(2, message("!", "A", number=1))])
    engine.feed([c.sends(3, message("!", "PUSH", number=i, flags=REVERSED)) for i in range(pushed)])
    engine.feed([c.receives(4, message("?", "ask", number=2)), c.sends(5, message("!", "@", number=2))])
    assert contents(engine.rows()) == [("ask", seen, 1), ("first", "A", 1)]


def asked_and_answered(same: bool) -> float:
    """CPU seconds of 40 000 exchanges, while 4 000 requests wait that were asked before."""
    c = server()

    def many(kind: str, numbers: range) -> bytes:
        return b"".join(message(kind, number=1 if same else number) for number in numbers)

    with InProcessEngine(native=native()) as engine:
        engine.feed([c.open(0)])
        engine.feed([c.receives(1, many("?", range(at, at + 200))) for at in range(0, 4000, 200)])
        news = range(4000, 4080)
        turns = [[c.receives(at, many("?", news)), c.sends(at + 1, many("!", news))] for at in range(2, 1002, 2)]
        began = time.process_time()
        for turn in turns:
            engine.feed(turn)
        took = time.process_time() - began
        engine.tick(SECOND)
        assert (engine.table.pending, engine.stat("requests")) == (4000, 40_000)
        return took


def test_thousands_of_requests_with_one_id_cost_no_more_than_with_their_own() -> None:
    """In the index of ids each would be one more that all others are looked for behind: tens of times as much."""
    assert min(asked_and_answered(True) for _ in range(2)) < 6 * min(asked_and_answered(False) for _ in range(2))


def test_of_several_requests_with_one_id_the_oldest_is_answered_first(engine: InProcessEngine) -> None:
    c = server()
    names = [f"/{letter}" for letter in "abcdef"]
    engine.feed([c.open(0)] + [c.receives(1 + i, message("?", name, number=1)) for i, name in enumerate(names)])
    engine.feed([c.receives(10, message("?", "/other", number=2)), c.sends(11, message("!", "O", number=2))])
    for i, name in enumerate(names):
        engine.feed([c.sends(20 + i, message("!", name.upper(), number=1))])
    expected = [("/other", "O", 1), *((name, name.upper(), 1) for name in names)]
    assert contents(engine.rows()) == sorted(expected)
    assert engine.stat("orphan_responses") == 0
    engine.feed([c.sends(30, message("!", "late", number=1))])
    assert engine.stat("orphan_responses") == 1


def test_requests_with_one_id_that_are_given_up_leave_the_others_to_be_found() -> None:
    """Of three the oldest went first, the newest goes with the connection; those of another connection stay."""
    with InProcessEngine(native=native(), no_response_ns=10 * SECOND) as engine:
        c, other = server(), server(8)
        engine.feed([c.open(0), other.open(0), other.receives(1, message("?", "/there", number=1))])
        engine.feed([c.receives(SECOND * i, message("?", f"/{'abc'[i // 6]}", number=1)) for i in (1, 6, 12)])
        engine.tick(13 * SECOND)
        assert contents(engine.rows()) == [("/a", "no response", 1), ("/there", "no response", 1)]
        engine.feed([c.sends(14 * SECOND, message("!", "B", number=1)), c.close(15 * SECOND)])
        assert ("/b", "B", 1) in contents(engine.rows())
        assert ("/c", "no response", 1) in contents(engine.rows())
        engine.tick(16 * SECOND)
        assert engine.table.pending == 0


def test_the_newest_request_with_an_id_is_the_one_that_goes_on(engine: InProcessEngine) -> None:
    c = server()
    engine.feed([c.open(0), c.receives(1, message("?", "/a", number=1))])
    engine.feed([c.receives(2, message("?", "/b", number=1, flags=OPEN))])
    engine.feed([c.receives(3, message("?", ";" * 90, number=1, flags=MORE))])
    engine.feed([c.sends(4, message("!", "A", number=1)), c.sends(5, message("!", "B", number=1))])
    a, b = engine.rows()
    assert (a.request, a.response, a.request_bytes) == ("/a", "A", 18)
    assert (b.request, b.response, b.request_bytes) == ("/b", "B", 18 + 106)


def test_notices_between_responses_answer_nothing(engine: InProcessEngine) -> None:
    c = client()
    engine.feed([c.open(0), c.sends(1, message("<", "a") + message("<", "b"))])
    engine.feed([c.receives(2, message(">", "notice", flags=SKIP) + message(">", "A"))])
    engine.feed([c.receives(3, message(">", "notice", flags=SKIP)), c.receives(4, message(">", "B"))])
    engine.feed([c.receives(5, message(">", "notice", flags=SKIP))])
    rows = engine.rows()
    assert contents(rows) == [("a", "A", 1), ("b", "B", 1)]
    assert sum(row.response_bytes for row in rows) == 3 * 22 + 2 * 17


def test_the_last_part_of_a_body_may_say_that_it_failed(engine: InProcessEngine) -> None:
    c = client()
    engine.feed([c.open(0), c.sends(1, message("<", "query"))])
    engine.feed([c.receives(2, message(">", "rows", body=Body.PARTS) + message("+", ";" * 40))])
    engine.feed([c.receives(5, message(".", "broken", status=0x90, flags=TELLS))])
    engine.feed([c.sends(6, message("<", "query")), c.receives(8, message(">", "rows"))])
    good, bad = sorted(engine.rows(), key=lambda row: row.status)
    assert (good.request, good.response, good.status, good.flags) == ("query", "rows", 0, frozenset())
    assert (bad.request, bad.response, bad.status, bad.flags) == ("query", "broken", 0x90, frozenset({"error"}))
    assert (bad.duration_ns, bad.response_bytes) == (4, 20 + 56 + 22)


def test_a_request_may_be_counted_under_another_protocol(engine: InProcessEngine) -> None:
    c = client()
    engine.config.slow_ns[Protocol.GRPC] = 2
    engine.config.generation += 1
    engine.tick(0).feed([c.open(0)])
    for i in range(4):
        protocol = Protocol.GRPC if i % 2 else Protocol.NOSUPPORT
        engine.feed([c.sends(10 * i + 1, message("?", "/a", number=i, protocol=protocol))])
        engine.feed([c.receives(10 * i + 5, message("!", "ok", number=i))])
    grpc, http2 = engine.rows()
    assert (grpc.protocol, grpc.count, grpc.flags) == ("grpc", 2, frozenset({"slow"}))
    assert (http2.protocol, http2.count, http2.flags) == ("http2", 2, frozenset())


def test_a_sample_has_the_protocol_of_its_request() -> None:
    rate = {"sample_rate": 1000, "sample_per_edge": 10, "sample_normal_permille": 1000}
    with InProcessEngine(native=native(), **rate) as engine:
        c = client()
        engine.feed([c.open(0), c.sends(1, message("?", "/a", number=1, protocol=Protocol.GRPC))])
        engine.feed([c.receives(2, message("!", "ok", number=1))])
        assert [sample.protocol for sample in engine.samples()] == [Protocol.GRPC]


def test_a_label_that_is_not_enabled_is_not_used() -> None:
    with InProcessEngine(native=native(), protocols_enabled=1 << Protocol.HTTP2) as engine:
        c = client()
        engine.feed([c.open(0), c.sends(1, message("?", "/a", number=1, protocol=Protocol.GRPC))])
        engine.feed([c.receives(2, message("!", "ok", number=1))])
        assert [row.protocol for row in engine.rows()] == ["http2"]


def test_state_lasts_as_long_as_its_connection_and_both_sides_share_it(engine: InProcessEngine) -> None:
    for conn_id in (1, 2):
        c = client(conn_id)
        engine.feed([c.open(0), c.sends(1, message("?", "#", number=1)), c.receives(2, message("!", "#", number=1))])
        engine.feed([c.sends(3, message("?", "#", number=2)), c.receives(4, message("!", "#", number=2)), c.close(5)])
    assert contents(engine.rows()) == [("1", "2", 2), ("3", "4", 2)]


def test_connections_without_state_are_parsed_and_counted(engine: InProcessEngine) -> None:
    talks = [Conversation(i + 1, CLIENT, ("10.0.0.9", 80), "client", comm="caller") for i in range(600)]
    for c in talks:
        engine.feed([c.open(0), c.sends(1, message("?", "#", number=1)), c.receives(2, message("!", "ok", number=1))])
    assert contents(engine.rows()) == [("#", "ok", 88), ("1", "ok", 512)]
    assert engine.stat("parser_state_exhausted") == 88
    engine.feed(c.close(3) for c in talks[:10])
    engine.feed([talks[-1].sends(4, message("?", "#", number=2)), talks[-1].receives(5, message("!", "ok", number=2))])
    assert contents(engine.rows()) == [("#", "ok", 89), ("1", "ok", 512)]
    fresh = client(1000)
    engine.feed(
        [fresh.open(6), fresh.sends(7, message("?", "#", number=2)), fresh.receives(8, message("!", "ok", number=2))]
    )
    assert engine.stat("parser_state_exhausted") == 88


@pytest.mark.parametrize("lost", [IN, OUT])
def test_by_id_one_direction_is_lost_alone_and_comes_back_at_a_message(engine: InProcessEngine, lost: int) -> None:
    c = client()
    engine.feed([c.open(0), c.sends(1, message("?", "/a", number=1)), c.sends(2, message("?", "/b", number=2))])
    engine.feed([c.receives(3, message("!", "ok", number=1))])
    c.skips(lost, 100)
    engine.feed([c.moves(lost, 4, b"the middle of something", flags=LOST_BEFORE)])
    engine.feed([c.moves(lost, 5, message("?" if lost == OUT else "!", "after", number=2))])
    engine.feed([c.sends(6, message("?", "/c", number=3)), c.receives(7, message("!", "ok", number=3))])
    if lost == OUT:
        engine.feed([c.receives(8, message("!", "ok", number=2))])
        assert contents(engine.rows()) == [("/a", "ok", 1), ("/c", "ok", 1), ("after", "ok", 1)]
        assert (engine.stat("discarded_exchanges"), engine.stat("orphan_responses")) == (1, 0)
    else:
        assert contents(engine.rows()) == [("/a", "ok", 1), ("/c", "ok", 1)]
        assert (engine.stat("discarded_exchanges"), engine.stat("orphan_responses")) == (1, 1)
    assert engine.stat("resyncs") == 1


def test_what_waits_while_the_answers_are_lost_is_not_called_unanswered(engine: InProcessEngine) -> None:
    c = client()
    engine.feed([c.open(0), c.sends(1, message("?", "/a", number=1)), c.receives(2, message("!", "ok", number=1))])
    engine.feed([c.sends(3, message("?", "/b", number=2))])
    c.skips(IN, 100)
    engine.feed([c.sends(4, message("?", "/c", number=3))])
    engine.tick(SECOND).tick(30 * SECOND).tick(31 * SECOND)
    assert contents(engine.rows()) == [("/a", "ok", 1)]
    assert engine.stat("no_response") == 0


def test_a_connection_that_was_joined_in_the_middle_is_followed_from_either_side(engine: InProcessEngine) -> None:
    first, second = client(1), client(2)
    engine.feed([first.open(0, open_flags=SEEDED), first.receives(1, message("!", "old", number=1))])
    engine.feed([first.sends(2, message("?", "/a", number=2)), first.receives(3, message("!", "ok", number=2))])
    engine.feed([second.open(0, open_flags=SEEDED), second.sends(1, message("?", "/a", number=2))])
    engine.feed([second.receives(3, message("!", "ok", number=2))])
    assert contents(engine.rows()) == [("/a", "ok", 2)]
    assert engine.stat("orphan_responses") == 1


def test_protocols_that_are_not_one_at_a_time_are_read_with_the_large_budget(engine: InProcessEngine) -> None:
    c = client()
    engine.feed([c.open(0), c.sends(1, message("?", "/a", number=1))])
    slot = engine.slots[native().lib.fs_read_slot_of(7)]
    assert engine.mode(7) == "stream"
    assert slot & 0xFFFF == 4096
