# SPDX-License-Identifier: Apache-2.0
"""Requests over one connection: what is paired with what, when it ends, how long its phases took."""

from collections.abc import Iterator

import pytest

from tests.events import IN, LENGTH_ONLY, OUT, SECOND, Conversation, connect
from tests.inprocess import InProcessEngine

MS = 1_000_000
CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 80)


def request(path: str = "/a", method: str = "GET", body: bytes = b"", fields: str = "") -> bytes:
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{fields}{length}\r\n".encode() + body


def response(status: int = 200, body: bytes = b"hello", fields: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture
def engine() -> Iterator[InProcessEngine]:
    with InProcessEngine() as made:
        yield made


def server(conn_id: int = 7, **values: int) -> Conversation:
    return Conversation(conn_id, SERVER, CLIENT, "server", comm="nginx", pid=5, **values)


def client(conn_id: int = 7, **values: int) -> Conversation:
    return Conversation(conn_id, CLIENT, SERVER, "client", comm="curl", pid=5, **values)


def test_requests_of_a_keep_alive_connection_are_one_row_with_their_bytes_and_times(engine: InProcessEngine) -> None:
    c = server()
    engine.feed([c.open(0)])
    for i in range(3):
        start = i * SECOND
        engine.feed([c.receives(start + 1 * MS, request()), c.sends(start + 8 * MS, response())])
    (row,) = engine.rows()
    assert (row.role, row.protocol, row.owner) == ("server", "http", "nginx")
    assert (row.local, row.remote) == (("10.0.0.2", 80), ("10.0.0.1", 0))
    assert (row.request, row.response, row.status, row.flags) == ("/a", "200", 200, frozenset())
    assert (row.count, row.duration_ns) == (3, 3 * 7 * MS)
    assert (row.request_bytes, row.response_bytes) == (3 * len(request()), 3 * len(response()))
    assert row.last == (0, 7 * MS, 0, 0)
    assert row.buckets == (0, 3, 0, 0, 0, 0, 0, 0, 0)
    assert engine.stats()["requests"] == 3
    assert "discarded_exchanges" not in engine.stats()


def test_the_phases_end_with_the_last_byte_of_each_side(engine: InProcessEngine) -> None:
    c = client()
    ask, answer = request(method="POST", body=b"x" * 1000), response(body=b"y" * 2000)
    engine.feed([c.open(0)])
    engine.feed(
        [
            c.sends(1 * MS, ask[:200]),
            c.sends(5 * MS, ask[200:]),
            c.receives(25 * MS, answer[:100]),
            c.receives(125 * MS, answer[100:]),
        ]
    )
    (row,) = engine.rows()
    assert row.last == (4 * MS, 20 * MS, 100 * MS, 0)
    assert (row.duration_ns, row.request_bytes, row.response_bytes) == (124 * MS, len(ask), len(answer))
    assert (row.local, row.remote) == (("10.0.0.1", 0), ("10.0.0.2", 80))


def test_a_declared_body_need_not_be_captured(engine: InProcessEngine) -> None:
    c = server()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\n"
    engine.feed([c.open(0), c.receives(1, request()), c.sends(2, head)])
    for i in range(10):
        engine.feed([c.sends(10 + i, b"", length=1 << 20, reason=LENGTH_ONLY)])
    engine.feed([c.receives(30, request()), c.sends(40, response())])
    (row,) = engine.rows()
    assert (row.count, row.duration_ns) == (2, 18 + 10)
    assert row.response_bytes == len(head) + (10 << 20) + len(response())


def test_bytes_without_an_event_inside_a_declared_body_are_counted(engine: InProcessEngine) -> None:
    c = server()
    engine.feed([c.open(0), c.receives(1, request())])
    engine.feed([c.sends(2, b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")])
    c.skips(OUT, 4000)
    engine.feed([c.sends(3, b"z" * 1000), c.receives(9, request("/b")), c.sends(10, response(404))])
    first, second = engine.rows()
    assert (first.request, first.count, first.response_bytes) == ("/a", 1, 41 + 5000)
    assert (second.request, second.status, second.flags) == ("/b", 404, frozenset({"error"}))
    assert engine.stat("stream_gaps") == 1


@pytest.mark.parametrize("pace", [1, 7, 1000])
def test_a_chunked_body_is_followed_however_it_is_cut(engine: InProcessEngine, pace: int) -> None:
    c = client()
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWiki\r\n1a;x=y\r\n" + b"z" * 26 + b"\r\n0\r\n\r\n"
    )
    engine.feed([c.open(0)])
    for i in range(2):
        engine.feed([c.sends(100 * i + 1, request(f"/{'ab'[i]}"))])
        engine.feed(c.pieces(IN, 100 * i + 5, answer, list(range(0, len(answer), pace))))
    assert [(row.request, row.count, row.response_bytes) for row in engine.rows()] == [
        ("/a", 1, len(answer)),
        ("/b", 1, len(answer)),
    ]


def test_a_chunked_body_whose_lengths_were_not_captured_ends_where_the_client_asks_again(
    engine: InProcessEngine,
) -> None:
    c = client()
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWiki\r\n"
    engine.feed([c.open(0), c.sends(1, request()), c.receives(5, head, length=3000), c.receives(9, b"", length=2000)])
    assert engine.rows() == []
    engine.feed([c.sends(20, request("/b")), c.receives(21, response())])
    assert [(row.request, row.count, row.duration_ns, row.response_bytes) for row in engine.rows()] == [
        ("/a", 1, 8, 5000),
        ("/b", 1, 1, len(response())),
    ]


def test_a_response_of_unknown_end_is_counted_after_a_second_of_silence_and_its_rest_is_added(
    engine: InProcessEngine,
) -> None:
    c = client()
    engine.feed([c.open(0), c.sends(SECOND, request()), c.receives(SECOND + 5, b"HTTP/1.1 200 OK\r\nServ", length=300)])
    engine.tick(SECOND + 5).tick(SECOND + 500 * MS)
    assert engine.rows() == []
    engine.tick(2 * SECOND + 5).tick(3 * SECOND + 6)
    (row,) = engine.rows()
    assert (row.count, row.response_bytes, row.duration_ns) == (1, 300, 5)
    engine.feed([c.receives(4 * SECOND, b"", length=700), c.sends(5 * SECOND, request("/b"))])
    (row,) = engine.rows()
    assert (row.count, row.response_bytes) == (1, 1000)


def test_a_body_until_close_ends_with_the_connection(engine: InProcessEngine) -> None:
    c = client()
    engine.feed([c.open(0), c.sends(1, request()), c.receives(5, b"HTTP/1.0 200 OK\r\n\r\nabc"), c.receives(9, b"def")])
    assert engine.rows() == []
    engine.feed([c.close(50)])
    (row,) = engine.rows()
    assert (row.count, row.response_bytes, row.duration_ns) == (1, 25, 8)


def test_pipelined_requests_are_answered_in_order(engine: InProcessEngine) -> None:
    c = server()
    engine.feed([c.open(0), c.receives(1, request("/a") + request("/b")), c.receives(2, request("/c"))])
    assert engine.mode(7) == "stream"
    engine.feed([c.sends(5, response(200) + response(404)), c.sends(6, response(500))])
    assert [(row.request, row.status, row.duration_ns) for row in engine.rows()] == [
        ("/a", 200, 4),
        ("/b", 404, 4),
        ("/c", 500, 4),
    ]


def test_a_response_head_that_was_cut_is_not_paired_past_the_next_request(engine: InProcessEngine) -> None:
    """What was cut away may hold the responses to the other requests in flight: later ones are not theirs."""
    c = server()
    engine.feed([c.open(0), c.receives(1, request("/a") + request("/b") + request("/c"))])
    answers = response(200) + response(404) + response(404)
    engine.feed([c.sends(2, answers[: len(response(200)) + 20], length=len(answers))])
    engine.feed([c.receives(3, request("/d") + request("/e")), c.sends(4, response(500) + response(500))])
    engine.finish()
    assert [(row.request, row.status, row.count) for row in engine.rows()] == [("/a", 200, 1)]
    assert engine.stats()["discarded_exchanges"] == 2


def test_a_response_to_head_has_no_body(engine: InProcessEngine) -> None:
    c = server()
    engine.feed([c.open(0), c.receives(1, request(method="HEAD"))])
    engine.feed([c.sends(2, b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")])
    engine.feed([c.receives(3, request("/b")), c.sends(4, response())])
    assert [(row.request, row.count) for row in engine.rows()] == [("/a", 1), ("/b", 1)]


def test_an_interim_response_belongs_to_its_request(engine: InProcessEngine) -> None:
    c = server()
    head = b"POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    engine.feed(
        [c.open(0), c.receives(1, head), c.sends(2, interim), c.receives(3, b"body"), c.sends(9, response(201))]
    )
    (row,) = engine.rows()
    assert (row.status, row.count, row.request_bytes) == (201, 1, len(head) + 4)
    assert row.response_bytes == len(interim) + len(response(201))
    assert row.last[:3] == (2, 6, 0)


def test_an_upgraded_connection_goes_on_under_the_new_protocols_name(engine: InProcessEngine) -> None:
    c = server()
    ask = request("/chat", fields="Connection: Upgrade\r\nUpgrade: websocket\r\n")
    answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    engine.feed(
        [c.open(0), c.receives(1, ask), c.sends(2, answer), c.receives(3, b"\x81\x01a"), c.sends(4, b"\x81\x01bcd")]
    )
    engine.feed([c.receives(5, b"\x81\x01c"), c.sends(6, b"\x81\x01d"), c.close(9)])
    http, websocket = engine.rows()
    assert (http.protocol, http.request, http.status, http.count) == ("http", "/chat", 101, 1)
    assert (websocket.protocol, websocket.request, websocket.count) == ("websocket", "/chat", 2)
    assert (websocket.request_bytes, websocket.response_bytes) == (6, 8)


def test_an_early_response_is_counted_and_the_rest_of_its_request_is_added(engine: InProcessEngine) -> None:
    c = server()
    head = b"POST /a HTTP/1.1\r\nContent-Length: 1000\r\n\r\n"
    engine.feed([c.open(0), c.receives(1, head + b"x" * 100), c.sends(2, response(413)), c.receives(3, b"x" * 900)])
    engine.feed([c.receives(4, request("/b")), c.sends(5, response())])
    first, second = engine.rows()
    assert (first.status, first.count, first.request_bytes) == (413, 1, len(head) + 1000)
    assert (second.request, second.count) == ("/b", 1)


def test_a_connection_that_closes_while_a_request_waits_is_no_response(engine: InProcessEngine) -> None:
    c = server()
    engine.feed([c.open(0), c.receives(1 * MS, request()), c.close(4 * MS)])
    (row,) = engine.rows()
    assert (row.count, row.status, row.response, row.flags) == (
        1,
        0,
        "no response",
        frozenset({"error", "no_response"}),
    )
    assert (row.duration_ns, row.request_bytes, row.response_bytes) == (3 * MS, len(request()), 0)
    assert engine.stat("no_response") == 1


def test_a_request_is_given_up_after_the_configured_time_and_its_late_response_is_nobodys(
    engine: InProcessEngine,
) -> None:
    c = server()
    engine.feed([c.open(0), c.receives(SECOND, request())])
    engine.tick(10 * SECOND).tick(11 * SECOND)
    assert engine.rows() == []
    engine.tick(12 * SECOND).tick(13 * SECOND + 1)
    (row,) = engine.rows()
    assert (row.count, row.flags) == (1, frozenset({"error", "slow", "no_response"}))
    engine.feed(
        [c.sends(14 * SECOND, response()), c.receives(15 * SECOND, request("/b")), c.sends(15 * SECOND, response())]
    )
    assert [(row.request, row.count, row.response) for row in engine.rows()] == [
        ("/a", 1, "no response"),
        ("/b", 1, "200"),
    ]
    assert engine.stat("orphan_responses") == 1


def test_a_late_response_is_not_taken_for_the_next_requests(engine: InProcessEngine) -> None:
    c = server()
    engine.feed([c.open(0), c.receives(SECOND, request())])
    engine.tick(11 * SECOND).tick(12 * SECOND).tick(13 * SECOND)
    engine.feed(
        [
            c.receives(14 * SECOND, request("/b")),
            c.sends(15 * SECOND, response(500)),
            c.sends(16 * SECOND, response(202)),
        ]
    )
    assert [(row.request, row.response) for row in engine.rows()] == [("/a", "no response"), ("/b", "202")]


def test_a_slow_request_has_a_row_of_its_own(engine: InProcessEngine) -> None:
    c = server()
    engine.feed([c.open(0), c.receives(1, request()), c.sends(500 * MS + 1, response())])
    engine.feed([c.receives(SECOND, request()), c.sends(SECOND + 500 * MS + 1, response())])
    assert [(row.flags, row.count, row.buckets[7]) for row in engine.rows()] == [
        (frozenset(), 1, 0),
        (frozenset({"slow"}), 1, 1),
    ]


def test_message_mode_starts_after_three_exchanges_and_its_events_count_the_same(engine: InProcessEngine) -> None:
    c = server()
    engine.feed([c.open(0)])
    for i in range(3):
        assert engine.mode(7) is None
        engine.feed([c.receives(10 * i + 1, request()), c.sends(10 * i + 4, response())])
    assert engine.mode(7) == "message"
    answer = b"HTTP/1.1 200 X\r\nContent-Length: 1000\r\n\r\n"
    engine.feed([c.exchanges(48, request(), answer, first_start_ns=41, first_end_ns=42, second_length=500)])
    engine.feed([c.sends(49, b"", length=500 + len(answer), reason=LENGTH_ONLY)])
    (row,) = engine.rows()
    assert (row.count, row.duration_ns) == (4, 9 + 8)
    assert row.last[:3] == (1, 6, 1)
    assert row.response_bytes == 3 * len(response()) + 1000 + len(answer)
    engine.feed([c.close(60)])
    assert engine.mode(7) is None


def test_message_mode_is_left_when_the_client_pipelines(engine: InProcessEngine) -> None:
    c = server()
    engine.feed([c.open(0)])
    for i in range(3):
        engine.feed([c.receives(10 * i + 1, request()), c.sends(10 * i + 4, response())])
    engine.feed(
        [c.exchanges(48, request("/b") + request("/c"), response(), first_start_ns=41), c.sends(50, response())]
    )
    assert [(row.request, row.count) for row in engine.rows()] == [("/a", 3), ("/b", 1), ("/c", 1)]
    assert engine.mode(7) == "stream"
    assert engine.slots[engine_slot(7)] & 0xFFFF == 4096


def engine_slot(conn_id: int) -> int:
    return (conn_id * 0x9E3779B97F4A7C15 >> 48) & 0xFFFF


def test_message_mode_can_be_switched_off() -> None:
    with InProcessEngine(message_mode=0) as engine:
        c = server()
        engine.feed([c.open(0)])
        for i in range(5):
            engine.feed([c.receives(10 * i + 1, request()), c.sends(10 * i + 4, response())])
        assert engine.mode(7) is None
        assert engine.rows()[0].count == 5


def test_the_connect_time_belongs_to_the_first_request_only(engine: InProcessEngine) -> None:
    c = client()
    engine.feed([c.open(0), connect(500, 7, CLIENT, SERVER, duration_ns=400, comm="curl", pid=5)])
    engine.feed([c.sends(600, request()), c.receives(700, response())])
    assert engine.rows()[0].last[3] == 400
    engine.feed([c.sends(800, request()), c.receives(900, response())])
    assert engine.rows()[0].last[3] == 0


def test_a_connect_that_is_told_before_its_connection_is_kept_for_it(engine: InProcessEngine) -> None:
    c = client()
    engine.feed([connect(500, 7, CLIENT, SERVER, duration_ns=400, comm="curl", pid=5)])
    assert engine.stats() == {}
    engine.feed([c.open(550), c.sends(600, request()), c.receives(700, response()), c.close(900)])
    assert [(row.owner, row.count, row.last[3]) for row in engine.rows()] == [("curl", 1, 400)]
    assert [(row.kind, row.connects) for row in engine.tcp_rows()] == [("connect", 1), ("health", 0)]
    assert engine.stats() == {"connections_opened": 1, "connections_closed": 1, "requests": 1, "samples_shed": 1}


def test_a_connection_that_never_moved_a_byte_is_forgotten_after_a_minute(engine: InProcessEngine) -> None:
    engine.feed([connect(SECOND, 7, CLIENT, SERVER, duration_ns=400, comm="curl", pid=5)])
    engine.tick(2 * SECOND)
    assert engine.table.connections == 1
    engine.tick(62 * SECOND)
    assert (engine.table.connections, engine.stats()) == (0, {})


def test_more_waiting_requests_than_allowed_are_counted_and_nothing_is_paired_wrongly(engine: InProcessEngine) -> None:
    c = server()
    engine.feed([c.open(0)])
    for i in range(1025):
        engine.feed([c.receives(i + 1, request())])
    assert (engine.stat("pending_overflow"), engine.stat("discarded_exchanges")) == (1, 1024)
    for i in range(1025):
        engine.feed([c.sends(2000 + i, response())])
    assert engine.rows() == []
    engine.feed([c.receives(2 * SECOND, request("/b")), c.sends(2 * SECOND + 1, response())])
    assert [(row.request, row.count) for row in engine.rows()] == [("/b", 1)]


def test_finish_discards_what_is_young_and_counts_what_waited(engine: InProcessEngine) -> None:
    young, old = server(7), server(8)
    engine.feed([young.open(0), old.open(0), old.receives(1, request("/old")), young.receives(5 * SECOND, request())])
    engine.finish()
    assert [(row.request, row.response) for row in engine.rows()] == [("/old", "no response")]
    assert engine.stat("discarded_exchanges") == 1
