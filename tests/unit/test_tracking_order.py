# SPDX-License-Identifier: Apache-2.0
"""Order, gaps and loss: events overtake each other, are dropped, or begin in the middle; no wrong pair may come of it."""

import random
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.events import IN, LATE, LOST_BEFORE, OUT, SECOND, SYSCALL, Conversation
from tests.inprocess import InProcessEngine, Row

MS = 1_000_000
CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 80)


def request(path: str, body: bytes = b"") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def response(status: int = 200, body: bytes = b"hello") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def client(conn_id: int = 7, **values: int) -> Conversation:
    return Conversation(conn_id, CLIENT, SERVER, "client", comm="curl", pid=5, **values)


def server(conn_id: int = 7, **values: int) -> Conversation:
    return Conversation(conn_id, SERVER, CLIENT, "server", comm="nginx", pid=5, **values)


def counts(engine: InProcessEngine) -> list[tuple[str, str, int]]:
    return [(row.request, row.response, row.count) for row in engine.rows()]


@pytest.fixture
def engine() -> Iterator[InProcessEngine]:
    with InProcessEngine() as made:
        yield made


def test_a_response_that_overtakes_its_request_waits_for_it(engine: InProcessEngine) -> None:
    c = client()
    events = [c.open(0), c.sends(10, request("/a")), c.receives(20, response())]
    events += [c.sends(30, request("/b")), c.receives(40, response(404))]
    order = [events[0], events[2], events[1], events[4], events[3]]
    engine.feed(order)
    assert counts(engine) == [("/a", "200", 1), ("/b", "404", 1)]
    assert all(row.duration_ns == 10 for row in engine.rows())
    assert "stream_gaps" not in engine.stats()
    assert "stream_late" not in engine.stats()


def shifted(event: bytes, *, seq: int = 0, peer_seq: int = 0) -> bytes:
    """A read or write whose offsets were read after so many more bytes had moved: seq and peer_seq of struct fs_data."""
    mine, other = struct.unpack_from("<II", event, 56)
    return event[:56] + struct.pack("<II", mine + seq & 0xFFFFFFFF, other + peer_seq & 0xFFFFFFFF) + event[64:]


@pytest.mark.parametrize("others", [["/b"], ["/b", "/c"], ["/b", "/c", "/ddd"]])
def test_a_write_whose_thread_told_of_it_after_those_of_others(engine: InProcessEngine, others: list[str]) -> None:
    """Its offset is the end of what they wrote less its own length: bytes that are theirs."""
    c = client()
    opened, first = c.open(0), c.sends(1 * MS, request("/a-first"))
    later = [c.sends((2 + n) * MS, request(path)) for n, path in enumerate(others)]
    late = shifted(first, seq=sum(len(request(path)) for path in others))
    answers = [c.receives((10 + n) * MS, response(200 + n)) for n in range(1 + len(others))]
    engine.feed([opened, *later, late, *answers])
    assert counts(engine) == [(path, str(200 + n), 1) for n, path in enumerate(["/a-first", *others])]
    assert "stream_gaps" not in engine.stats()
    assert "stream_late" not in engine.stats()
    assert engine.stat("stream_replaced") == 1


def test_a_write_whose_thread_told_of_it_after_its_answer_was_read(engine: InProcessEngine) -> None:
    """Then each seems to come behind the other."""
    c = client()
    opened, asked, answer = c.open(0), c.sends(1 * MS, request("/a")), c.receives(2 * MS, response())
    engine.feed([opened, answer, shifted(asked, peer_seq=len(response()))])
    assert counts(engine) == [("/a", "200", 1)]
    assert "stream_gaps" not in engine.stats()
    assert engine.stat("stream_replaced") == 1


@pytest.mark.parametrize("begin", [1, 7, 1_261_272_017, 3_261_272_017, 0xFFFFFFFF])
def test_a_fast_open_that_was_told_before_its_answer_came(engine: InProcessEngine, begin: int) -> None:
    """The other direction begins at 0 in all that is said until then, whatever it begins with."""
    c = client(recv_seq=begin)
    asked = shifted(c.sends(1 * MS, request("/a")), peer_seq=-begin)
    events = [client(recv_seq=0).open(0), asked, c.receives(2 * MS, response())]
    engine.feed([*events, c.sends(3 * MS, request("/b")), c.receives(4 * MS, response(404))])
    assert counts(engine) == [("/a", "200", 1), ("/b", "404", 1)]
    assert "stream_gaps" not in engine.stats()
    assert "stream_late" not in engine.stats()


def test_what_fits_into_no_hole_is_not_moved(engine: InProcessEngine) -> None:
    c = client()
    opened, first, second = c.open(0), c.sends(1 * MS, request("/lost")), c.sends(2 * MS, request("/b"))
    third = shifted(c.sends(3 * MS, request("/another")), seq=-5)
    assert first
    engine.feed([opened, second, third])
    assert "stream_replaced" not in engine.stats()


def test_an_event_is_held_no_longer_than_two_ticks_and_then_its_exchange_is_discarded(engine: InProcessEngine) -> None:
    c = client()
    opened, first = c.open(0), c.sends(1 * MS, request("/lost"))
    assert first
    engine.feed([opened, c.receives(2 * MS, response(500))])
    engine.tick(40 * MS)
    assert engine.stats() == {"connections_opened": 1}
    engine.tick(60 * MS)
    assert engine.stat("stream_gaps") == 1
    engine.feed([c.sends(70 * MS, request("/b")), c.receives(80 * MS, response())])
    assert counts(engine) == [("/b", "200", 1)]


def test_a_marked_loss_is_not_waited_for(engine: InProcessEngine) -> None:
    c = server()
    engine.feed([c.open(0), c.receives(1, request("/a")), c.sends(2, response())])
    c.moves(IN, 3, request("/lost"))
    c.moves(OUT, 4, response(500))
    engine.feed([c.moves(IN, 5, request("/b"), flags=LOST_BEFORE), c.sends(6, response(404))])
    assert counts(engine) == [("/a", "200", 1), ("/b", "404", 1)]
    assert engine.stat("resyncs") == 1
    assert "no_response" not in engine.stats()


def test_a_loss_before_the_close_leaves_no_unanswered_request(engine: InProcessEngine) -> None:
    c, other = server(), server(8)
    engine.feed([c.open(0), c.receives(1, request("/a")), c.sends(2, response()), c.receives(3, request("/b"))])
    c.moves(OUT, 4, response(500))
    engine.feed([c.close(5, flags=LOST_BEFORE)])
    assert counts(engine) == [("/a", "200", 1)]
    assert engine.stat("discarded_exchanges") == 1
    engine.feed([other.open(6), other.receives(7, request("/c")), other.close(8)])
    assert counts(engine) == [("/a", "200", 1), ("/c", "no response", 1)]


@pytest.mark.parametrize("lost", ["request", "response"])
def test_one_lost_half_never_makes_a_wrong_pair(engine: InProcessEngine, lost: str) -> None:
    c = server()
    engine.feed([c.open(0)])
    for i in range(20):
        t = SECOND + i * 100 * MS
        asked, answered = c.receives(t, request(f"/{'abcdefghijklmnopqrst'[i]}")), c.sends(t + 1, response(200 + i))
        drop = i == 9
        engine.feed([] if drop and lost == "request" else [asked])
        engine.feed([] if drop and lost == "response" else [answered])
        engine.tick(t + 60 * MS)
    found = {row.request: row.status for row in engine.rows()}
    expected = {f"/{'abcdefghijklmnopqrst'[i]}": 200 + i for i in range(20)}
    assert found.items() <= expected.items()
    assert len(found) >= 18
    assert "/j" not in found
    assert engine.stat("requests") == len(found)


def test_a_lost_chunk_of_a_body_loses_nothing(engine: InProcessEngine) -> None:
    c = server()
    engine.feed([c.open(0), c.receives(1, request("/a"))])
    engine.feed([c.sends(2, b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n")])
    c.skips(OUT, 1000)
    engine.feed(
        [c.moves(OUT, 4, b"", length=2000, flags=LOST_BEFORE), c.receives(5, request("/b")), c.sends(6, response())]
    )
    assert counts(engine) == [("/a", "200", 1), ("/b", "200", 1)]
    assert "discarded_exchanges" not in engine.stats()


def test_a_connection_seen_from_the_middle_counts_from_the_next_request_on(engine: InProcessEngine) -> None:
    c = client()
    engine.feed([c.open(0, open_flags=LATE), c.receives(1, b"rest of some body"), c.receives(2, b"more of it")])
    engine.feed([c.sends(3, request("/a")), c.receives(4, response())])
    assert counts(engine) == [("/a", "200", 1)]
    assert (engine.rows()[0].request_bytes, engine.rows()[0].response_bytes) == (len(request("/a")), len(response()))


def test_a_connection_seen_from_a_response_on_counts_from_the_next_request_on(engine: InProcessEngine) -> None:
    c = server()
    engine.feed(
        [c.open(0, open_flags=LATE), c.sends(1, response(500)), c.receives(3, request("/a")), c.sends(4, response())]
    )
    assert counts(engine) == [("/a", "200", 1)]
    assert engine.stat("orphan_responses") == 1


def test_offsets_that_wrap_are_extended(engine: InProcessEngine) -> None:
    c = client(send_seq=0xFFFFFFF0, recv_seq=0xFFFFFF00)
    engine.feed([c.open(0)])
    for i in range(20):
        engine.feed([c.sends(10 * i + 1, request("/a")), c.receives(10 * i + 2, response())])
    assert counts(engine) == [("/a", "200", 20)]


def test_offsets_of_an_open_before_the_handshake_may_be_unknown_or_miss_the_syn(engine: InProcessEngine) -> None:
    for conn_id, (send_seq, recv_seq) in enumerate(((0, 0), (1000, 0), (999, 4999)), start=1):
        c = client(conn_id)
        c.seq = {OUT: send_seq, IN: recv_seq}
        engine.feed([c.open(0)])
        c.seq = {OUT: 1000, IN: 5000}
        engine.feed([c.sends(1, request("/a")), c.receives(2, response())])
    engine.tick(60 * MS)
    assert counts(engine) == [("/a", "200", 3)]
    assert engine.stat("stream_gaps") == 0


def test_a_first_chunk_of_one_byte_may_be_overtaken(engine: InProcessEngine) -> None:
    c = client()
    opened = c.open(0)
    pieces = list(c.pieces(OUT, 1, request("/a"), [1]))
    engine.feed([opened, pieces[1], pieces[0], c.receives(2, response())])
    assert counts(engine) == [("/a", "200", 1)]
    assert engine.rows()[0].request_bytes == len(request("/a"))


def test_a_head_larger_than_what_was_captured_asks_for_more_bytes(engine: InProcessEngine) -> None:
    c = server()
    engine.feed([c.open(0), c.receives(1, b"", length=500), c.sends(2, response())])
    engine.feed([c.receives(3, request("/a")), c.sends(4, response())])
    assert counts(engine) == [("/a", "200", 1)]
    engine.feed([c.receives(5, b"", length=500, reason=SYSCALL), c.sends(6, response(404))])
    assert counts(engine) == [("/a", "200", 1)]
    assert engine.mode(7) == "stream"
    engine.feed([c.receives(7, request("/a")), c.sends(8, response())])
    assert counts(engine) == [("/a", "200", 2)]


def test_a_request_right_behind_an_unreadable_one_is_not_paired_with_its_response(engine: InProcessEngine) -> None:
    c = server()
    engine.feed([c.open(0), c.receives(1, request("/a")), c.sends(2, response())])
    engine.feed([c.receives(3, b"", length=100, reason=SYSCALL), c.receives(4, request("/b"))])
    engine.feed([c.sends(5, response(500)), c.sends(6, response(202))])
    engine.feed([c.receives(7, request("/c")), c.sends(8, response(203))])
    assert counts(engine) == [("/a", "200", 1), ("/c", "203", 1)]


def test_a_pipelining_client_is_only_followed_again_after_a_silence(engine: InProcessEngine) -> None:
    c = server()
    engine.feed([c.open(0), c.receives(1, request("/a") + request("/b")), c.sends(2, response(200) + response(201))])
    c.moves(IN, 3, request("/lost1") + request("/lost2"))
    engine.feed([c.moves(OUT, 4, response(500), flags=LOST_BEFORE)])
    engine.feed([c.receives(5, request("/c")), c.sends(6, response(501)), c.sends(7, response(202))])
    assert counts(engine) == [("/a", "200", 1), ("/b", "201", 1)]
    engine.feed([c.receives(SECOND, request("/d")), c.sends(SECOND + 1, response(203))])
    assert counts(engine) == [("/a", "200", 1), ("/b", "201", 1), ("/d", "203", 1)]


def test_a_connection_that_only_looked_like_http_is_doubted_and_becomes_unknown(engine: InProcessEngine) -> None:
    c = server()
    engine.feed([c.open(0)])
    for i in range(40):
        engine.feed([c.receives(2 * i + 1, b"GET /x HTTP/1.1\r\n\r\n"), c.sends(2 * i + 2, b"\x00\x01\x02garbage")])
    assert engine.stat("contradictions") >= 1
    assert {row.protocol for row in engine.rows()} == {"NOSUPPORT"}
    assert engine.stat("requests") == 0


EXCHANGES = st.lists(
    st.tuples(
        st.sampled_from(["/a", "/b", "/c/d"]),
        st.integers(0, 300),
        st.sampled_from([200, 301, 404, 503]),
        st.integers(0, 700),
    ),
    min_size=1,
    max_size=8,
)


def conversation(role: str, exchanges: list[tuple[str, int, int, int]], cut: random.Random | None) -> list[bytes]:
    c = client() if role == "client" else server()
    asks, answers = (OUT, IN) if role == "client" else (IN, OUT)
    events = [c.open(0)]
    for i, (path, body, status, length) in enumerate(exchanges):
        for direction, text, at in (
            (asks, request(path, b"q" * body), 1000 * i + 1),
            (answers, response(status, b"r" * length), 1000 * i + 500),
        ):
            cuts = sorted(cut.randrange(len(text)) for _ in range(cut.randrange(5))) if cut else []
            events += c.pieces(direction, at, text, cuts)
    return [*events, c.close(10**6)]


def outcome(events: list[bytes]) -> list[Row]:
    with InProcessEngine() as engine:
        rows = engine.feed(events).rows()
        assert engine.stat("discarded_exchanges") == 0
        assert engine.table.events[2] == sum(1 for event in events if event[36] == 2)
        return rows


@settings(max_examples=60, deadline=None)
@given(EXCHANGES, st.sampled_from(["client", "server"]), st.randoms(use_true_random=False))
def test_any_cut_of_the_streams_gives_the_same_rows(
    exchanges: list[tuple[str, int, int, int]], role: str, cut: random.Random
) -> None:
    assert outcome(conversation(role, exchanges, cut)) == outcome(conversation(role, exchanges, None))


@settings(max_examples=60, deadline=None)
@given(EXCHANGES, st.sampled_from(["client", "server"]), st.randoms(use_true_random=False))
def test_any_bounded_reordering_gives_the_same_rows(
    exchanges: list[tuple[str, int, int, int]], role: str, dice: random.Random
) -> None:
    events = conversation(role, exchanges, dice)
    shuffled = events[1:-1]
    # Every event is at most four places late: as far as a few CPUs can overtake each other.
    keyed = sorted(range(len(shuffled)), key=lambda place: place + dice.random() * 4)
    assert outcome([events[0], *(shuffled[place] for place in keyed), events[-1]]) == outcome(events)


@settings(max_examples=60, deadline=None)
@given(EXCHANGES, st.sampled_from(["client", "server"]), st.randoms(use_true_random=False), st.floats(0.02, 0.4))
def test_no_loss_makes_a_pair_that_never_was(
    exchanges: list[tuple[str, int, int, int]], role: str, dice: random.Random, rate: float
) -> None:
    """Paths and statuses are numbered alike, so that a wrong pair shows."""
    numbered = [(f"/{'abcdefgh'[i]}", body, 200 + i, length) for i, (_, body, _, length) in enumerate(exchanges)]
    events = conversation(role, numbered, dice)
    kept = [event for event in events[1:-1] if dice.random() >= rate]
    with InProcessEngine() as engine:
        engine.feed([events[0]])
        for i, event in enumerate(kept):
            engine.feed([event])
            if dice.random() < 0.5:
                engine.tick((i + 1) * 100 * MS)
        engine.feed([events[-1]])
        for row in engine.rows():
            assert (
                row.protocol == "NOSUPPORT"
                or row.response == "no response"
                or "abcdefgh".index(row.request[1]) == row.status - 200
            )


LETTERS = "abcdefghij"


def batches(c: Conversation, start: int, sizes: list[int], name: str) -> Iterator[bytes]:
    """A client that sends requests in batches and waits for all answers; each answer's status tells its request."""
    for turn, size in enumerate(sizes):
        at = start + turn * MS
        asked = [f"/{name}{LETTERS[i]}" for i in range(size)]
        yield c.receives(at, b"".join(map(request, asked)))
        answers = [response(200 + i) for i in range(size)]
        half = size // 2
        if half:
            yield c.sends(at + 10, b"".join(answers[:half]))
        yield c.sends(at + 20, b"".join(answers[half:]))


def wrong_pairs(engine: InProcessEngine) -> list[Row]:
    return [row for row in engine.rows() if row.count and LETTERS[row.status - 200] != row.request[-1]]


@pytest.fixture
def batching(engine: InProcessEngine) -> Conversation:
    c = server()
    engine.feed([c.open(0), *batches(c, 1, [4] * 20, "warm")])
    return c


def test_a_client_that_waits_for_all_answers_before_it_asks_again_is_followed_without_a_silence(
    engine: InProcessEngine, batching: Conversation
) -> None:
    c = batching
    list(batches(c, 30 * MS, [4, 4], "lost"))
    proof, *rest = batches(c, 40 * MS, [4] * 5, "on")
    engine.feed([proof[:44] + LOST_BEFORE.to_bytes(4, "little") + proof[48:], *rest])
    assert engine.stat("resyncs") == 1
    assert sum(row.count for row in engine.rows() if row.request.startswith("/on")) == 16
    assert engine.stat("discarded_exchanges") == 4
    assert not wrong_pairs(engine)


def test_more_answers_than_were_asked_for_show_that_something_waited(
    engine: InProcessEngine, batching: Conversation
) -> None:
    c = batching
    c.moves(IN, 30 * MS, request("/losta") + request("/lostb"))
    engine.feed([c.moves(OUT, 31 * MS, response(201), flags=LOST_BEFORE)])
    engine.feed([c.receives(32 * MS, request("/ca")), c.sends(33 * MS, response(202)), c.sends(34 * MS, response(200))])
    engine.feed(batches(c, 40 * MS, [2] * 30, "on"))
    assert not [row for row in engine.rows() if row.request.startswith(("/c", "/on"))]
    engine.feed(batches(c, 4 * SECOND, [2] * 3, "later"))
    assert sum(row.count for row in engine.rows() if row.request.startswith("/later")) == 6
    assert not wrong_pairs(engine)


def test_who_asks_while_he_waits_is_only_followed_again_after_a_silence(
    engine: InProcessEngine, batching: Conversation
) -> None:
    c = batching
    engine.feed([c.receives(30 * MS, request("/xa") + request("/xb")), c.sends(31 * MS, response(200))])
    engine.feed([c.receives(32 * MS, request("/xc")), c.sends(33 * MS, response(201) + response(202))])
    list(batches(c, 35 * MS, [2], "lost"))
    proof, *rest = batches(c, 40 * MS, [2] * 5, "on")
    engine.feed([proof[:44] + LOST_BEFORE.to_bytes(4, "little") + proof[48:], *rest])
    assert not [row for row in engine.rows() if row.request.startswith("/on")]
    engine.feed(batches(c, 4 * SECOND, [2] * 3, "later"))
    assert sum(row.count for row in engine.rows() if row.request.startswith("/later")) == 6


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=30, max_size=60),
    st.floats(0.02, 0.3),
    st.randoms(use_true_random=False),
)
def test_whatever_is_lost_of_batches_nothing_is_paired_wrong_and_counting_goes_on(
    sizes: list[int], loss: float, dice: random.Random
) -> None:
    with InProcessEngine() as engine:
        c = server()
        engine.feed([c.open(0), *batches(c, 1, [3] * 20, "warm")])
        lost = False
        for event in batches(c, 30 * MS, sizes, "on"):
            if dice.random() < loss:
                lost = True
                continue
            marked = event[:44] + LOST_BEFORE.to_bytes(4, "little") + event[48:] if lost else event
            engine.feed([marked])
            lost = False
        before = engine.stat("requests")
        engine.feed(batches(c, 200 * MS, [3] * 5, "end"))
        assert not wrong_pairs(engine)
        assert engine.stat("requests") - before >= 9


@pytest.mark.parametrize("by", ["another connection", "the driver's counters", "nothing"])
def test_what_waits_while_events_are_lost_is_not_unanswered(by: str) -> None:
    """Its answer may be among them, and on a connection that stays silent no flag comes any more."""
    with InProcessEngine(no_response_ns=5 * SECOND) as engine:
        asked, other = client(7), client(8)
        engine.feed([asked.open(0), other.open(0), asked.sends(1 * MS, request("/a"))])
        if by == "another connection":
            engine.feed(
                [other.moves(OUT, 2 * MS, request("/b"), flags=LOST_BEFORE), other.receives(3 * MS, response())]
            )
        engine.tick(4 * MS).lost(1 if by == "the driver's counters" else 0)
        engine.tick(1 * SECOND).tick(8 * SECOND).tick(9 * SECOND)
        engine.feed([asked.close(10 * SECOND)])
        unanswered = [row for row in engine.rows() if row.response == "no response"]
        assert [row.request for row in unanswered] == (["/a"] if by == "nothing" else [])
        assert engine.stat("discarded_exchanges") == (0 if by == "nothing" else 1)


def test_what_is_asked_after_a_loss_is_unanswered_again() -> None:
    with InProcessEngine(no_response_ns=5 * SECOND) as engine:
        c = client()
        engine.feed([c.open(0)]).tick(1 * MS).lost(4)
        engine.feed([c.sends(2 * MS, request("/a"))])
        engine.tick(3 * MS).lost(4)
        engine.tick(8 * SECOND).tick(9 * SECOND)
        assert counts(engine) == [("/a", "no response", 1)]
