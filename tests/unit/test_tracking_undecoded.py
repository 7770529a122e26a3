# SPDX-License-Identifier: Apache-2.0
"""Conversations that are not decoded, and datagrams: exchanges, bytes, DNS by id, both ends of one socket pair."""

import struct
from collections.abc import Iterator

import pytest

from tests.events import (
    IN,
    LENGTH_ONLY,
    NO_PROCESS,
    OUT,
    PEER_UNKNOWN,
    SECOND,
    Conversation,
    Endpoint,
    close,
    data,
    datagram,
    listen,
    open_event,
)
from tests.inprocess import InProcessEngine

MS = 1_000_000
CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 7000)
RESOLVER: Endpoint = ("10.0.0.53", 53)


@pytest.fixture
def engine() -> Iterator[InProcessEngine]:
    with InProcessEngine() as made:
        yield made


def client(conn_id: int = 7, **values: int) -> Conversation:
    return Conversation(conn_id, CLIENT, SERVER, "client", comm="app", pid=5, **values)


def query(number: int, name: str = "example.com", kind: int = 1) -> bytes:
    question = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + question + struct.pack(">HH", kind, 1)


def answer(asked: bytes, rcode: int = 0) -> bytes:
    return asked[:2] + struct.pack(">H", 0x8180 | rcode) + asked[4:]


def test_exchanges_are_flips_and_bytes_are_all_bytes(engine: InProcessEngine) -> None:
    c = client()
    engine.feed([c.open(0)])
    for i in range(4):
        engine.feed([c.sends(10 * i + 1, b"\x01ab"), c.sends(10 * i + 2, b"c"), c.receives(10 * i + 5, b"\x02xyz")])
        engine.feed([c.receives(10 * i + 7, b"12345")])
    engine.feed([c.close(99)])
    (row,) = engine.rows()
    assert (row.protocol, row.request, row.response, row.count) == ("NOSUPPORT", "", "", 4)
    assert (row.request_bytes, row.response_bytes, row.duration_ns) == (16, 36, 4 * 6)
    assert row.last == (1, 3, 2, 0)
    assert (engine.stat("exchanges"), engine.stat("requests")) == (4, 0)


def test_the_last_exchange_is_counted_after_a_silence(engine: InProcessEngine) -> None:
    c = client()
    engine.feed([c.open(0), c.sends(SECOND, b"\x01"), c.receives(SECOND + 1, b"\x02")])
    engine.tick(SECOND + 2).tick(2 * SECOND + 3).tick(3 * SECOND + 4)
    assert engine.rows()[0].count == 1


def test_bytes_in_one_direction_show_while_they_flow(engine: InProcessEngine) -> None:
    c = client()
    engine.feed([c.open(0)])
    for i in range(40):
        engine.feed([c.sends(i * 100 * MS + 1, b"\x01", length=1000)])
        engine.tick(i * 100 * MS + 2)
    (row,) = engine.rows()
    assert row.count == 0
    assert 25_000 <= row.request_bytes <= 40_000
    engine.feed([c.close(5 * SECOND)])
    assert engine.rows()[0].request_bytes == 40_000


def test_an_unknown_protocol_is_given_up_after_six_messages_and_then_only_told_in_lengths(
    engine: InProcessEngine,
) -> None:
    c = client()
    engine.feed([c.open(0)])
    for i in range(3):
        assert engine.mode(7) is None
        engine.feed([c.sends(10 * i + 1, b"\xff" * 30), c.receives(10 * i + 5, b"\xfe" * 30)])
    assert engine.mode(7) == "lengths"
    for i in range(17):
        engine.feed([c.sends(100 + i, b"", length=10, reason=LENGTH_ONLY)])
    assert engine.mode(7) == "flips"
    engine.tick(SECOND).tick(2 * SECOND).tick(3 * SECOND)
    assert engine.mode(7) == "lengths"


def test_what_had_no_event_in_flips_mode_is_known_from_the_offsets(engine: InProcessEngine) -> None:
    c = client()
    engine.feed([c.open(0)])
    for i in range(3):
        engine.feed([c.sends(10 * i + 1, b"\xff" * 30), c.receives(10 * i + 5, b"\xfe" * 30)])
    for i in range(20):
        engine.feed([c.sends(100 + i, b"", length=10, reason=LENGTH_ONLY)])
    assert engine.mode(7) == "flips"
    c.skips(OUT, 5000)
    engine.feed([c.receives(200, b"", length=7, reason=LENGTH_ONLY)])
    c.skips(IN, 2000)
    engine.feed([c.sends(210, b"", length=1, reason=LENGTH_ONLY), c.close(300)])
    (row,) = engine.rows()
    assert (row.count, row.request_bytes, row.response_bytes) == (4, 90 + 200 + 5001, 90 + 7 + 2000)


def test_an_exchange_is_counted_although_its_response_is_told_first(engine: InProcessEngine) -> None:
    c = client()
    engine.feed([c.open(0)])
    for i in range(4):
        engine.feed([c.sends(10 * i + 1, b"\x01"), c.receives(10 * i + 5, b"\x02")])
    first, second = c.sends(100, b"\x01"), c.receives(105, b"\x02")
    engine.feed([second, first, c.sends(110, b"\x01"), c.receives(115, b"\x02"), c.close(120)])
    (row,) = engine.rows()
    assert (row.count, row.request_bytes, row.response_bytes) == (6, 6, 6)


def test_a_greeting_is_bytes_but_no_exchange(engine: InProcessEngine) -> None:
    c = client()
    engine.feed([c.open(0), c.receives(1, b"\x0ahello"), c.sends(2, b"\x01"), c.receives(3, b"\x02"), c.close(4)])
    (row,) = engine.rows()
    assert (row.count, row.request_bytes, row.response_bytes) == (1, 1, 7)


def test_a_connection_without_bytes_is_an_edge_without_requests(engine: InProcessEngine) -> None:
    c = client()
    engine.feed([c.open(0, srtt_us=5), c.close(4)])
    assert engine.rows() == []
    (row,) = engine.rows(with_empty=True)
    assert (row.protocol, row.role, row.remote, row.count) == ("NOSUPPORT", "client", SERVER, 0)


def test_a_peer_that_stops_answering_is_an_error_but_a_log_stream_is_none(engine: InProcessEngine) -> None:
    talking, logging = client(7), client(8)
    engine.feed([talking.open(0), logging.open(0)])
    for i in range(4):
        engine.feed([talking.sends(10 * i + 1, b"\x01"), talking.receives(10 * i + 5, b"\x02")])
    engine.feed([talking.sends(SECOND, b"\x01"), logging.sends(SECOND, b"\x01")])
    for second in range(2, 15):
        engine.tick(second * SECOND)
    assert [(row.count, row.flags) for row in engine.rows() if row.count] == [
        (4, frozenset()),
        (1, frozenset({"error", "slow", "no_response"})),
    ]


def test_tls_is_counted_by_exchanges_under_the_name_that_was_asked_for(engine: InProcessEngine) -> None:
    name = b"example.com"
    sni = struct.pack(">HHHBH", 0, len(name) + 5, len(name) + 3, 0, len(name)) + name
    hello = b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0" + struct.pack(">H", len(sni)) + sni
    hello = b"\x16\x03\x01" + struct.pack(">H", len(hello) + 4) + b"\x01" + len(hello).to_bytes(3, "big") + hello
    server_hello = b"\x03\x03" + bytes(32) + b"\0" + b"\x13\x01\0"
    server_hello = (
        b"\x16\x03\x03"
        + struct.pack(">H", len(server_hello) + 4)
        + b"\x02"
        + len(server_hello).to_bytes(3, "big")
        + server_hello
    )
    record = b"\x17\x03\x03\x00\x10" + bytes(16)
    c = client()
    engine.feed([c.open(0), c.sends(1, hello), c.receives(2, server_hello)])
    for i in range(3):
        engine.feed([c.sends(10 + i * 10, record), c.receives(15 + i * 10, record)])
    assert engine.mode(7) == "lengths"
    engine.feed([c.close(99)])
    later, shaken = engine.rows()
    assert (later.protocol, later.request, later.response, later.count) == ("tls", "example.com", "", 3)
    assert (later.request_bytes, later.response_bytes) == (63, 63)
    assert (shaken.protocol, shaken.request, shaken.response, shaken.count) == ("tls", "example.com", "TLSv1.2", 1)
    assert (shaken.request_bytes, shaken.response_bytes) == (len(hello), len(server_hello))
    assert engine.stat("discarded_exchanges") == 0


@pytest.mark.parametrize("cut", [7, 5], ids=["whole", "header first"])
def test_a_refused_handshake_is_an_error(engine: InProcessEngine, cut: int) -> None:
    hello = b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0\0\0"
    hello = b"\x16\x03\x01" + struct.pack(">H", len(hello) + 4) + b"\x01" + len(hello).to_bytes(3, "big") + hello
    c = client()
    alert = b"\x15\x03\x03\x00\x02\x02\x28"
    engine.feed([c.open(0), c.sends(1, hello), c.receives(2, alert[:cut])])
    engine.feed([*([c.receives(3, alert[cut:])] if cut < len(alert) else []), c.close(9)])
    (row,) = engine.rows()
    assert (row.protocol, row.status, row.response, row.flags) == ("tls", 40, "handshake_failure", frozenset({"error"}))


def test_dns_over_udp_is_paired_by_id_and_question(engine: InProcessEngine) -> None:
    me = ("10.0.0.1", 5353)
    asked = [query(1), query(1, kind=28), query(2, "missing.example.com")]
    engine.feed([open_event(0, 3, me, ("0.0.0.0", 0), l4="udp", comm="app", pid=5)])
    engine.feed(datagram(10 + i, 3, OUT, me, RESOLVER, text, pid=5) for i, text in enumerate(asked))
    engine.feed(
        [
            datagram(20, 3, IN, me, RESOLVER, answer(asked[2], rcode=3), pid=5),
            datagram(31, 3, IN, me, RESOLVER, answer(asked[1]), pid=5),
            datagram(40, 3, IN, me, RESOLVER, answer(asked[0]), pid=5),
            close(50, 3),
        ]
    )
    assert [
        (r.role, r.l4, r.owner, r.request, r.response, r.status, r.duration_ns, sorted(r.flags)) for r in engine.rows()
    ] == [
        ("client", "udp", "app", "example.com A", "NOERROR", 0, 30, []),
        ("client", "udp", "app", "example.com AAAA", "NOERROR", 0, 20, []),
        ("client", "udp", "app", "missing.example.com A", "NXDOMAIN", 3, 8, ["error"]),
    ]
    assert {(row.remote, row.local[1]) for row in engine.rows()} == {(RESOLVER, 0)}
    assert engine.table.pending == 0


def test_an_unanswered_query_is_no_response(engine: InProcessEngine) -> None:
    me = ("10.0.0.1", 5353)
    engine.feed([open_event(0, 3, me, RESOLVER, l4="udp", comm="app", pid=5)])
    engine.feed(
        [
            datagram(SECOND, 3, OUT, me, RESOLVER, query(1), pid=5),
            datagram(SECOND, 3, OUT, me, RESOLVER, query(2), pid=5),
        ]
    )
    engine.feed([datagram(2 * SECOND, 3, IN, me, RESOLVER, answer(query(2)), pid=5)])
    for second in range(3, 14):
        engine.tick(second * SECOND)
    assert [(row.request, row.response, row.count, sorted(row.flags)) for row in engine.rows()] == [
        ("example.com A", "NOERROR", 1, ["slow"]),
        ("example.com A", "no response", 1, ["error", "no_response", "slow"]),
    ]
    engine.feed([datagram(20 * SECOND, 3, IN, me, RESOLVER, answer(query(1)), pid=5)])
    assert engine.stat("orphan_responses") == 1


def test_a_dns_server_has_a_row_per_client_address_and_counts_after_a_moment(engine: InProcessEngine) -> None:
    engine.feed([open_event(0, 3, RESOLVER, ("0.0.0.0", 0), l4="udp", comm="dnsmasq", pid=9)])
    for port in range(1000, 1100):
        who = ("10.0.0.1", port)
        engine.feed(
            [
                datagram(port, 3, IN, RESOLVER, who, query(port), pid=9),
                datagram(port, 3, OUT, RESOLVER, who, answer(query(port)), pid=9),
            ]
        )
    engine.tick(10 * MS)
    assert engine.rows() == []
    engine.tick(60 * MS)
    (row,) = engine.rows()
    assert (row.role, row.local, row.remote, row.count) == ("server", RESOLVER, ("10.0.0.1", 0), 100)
    assert (engine.table.connections, engine.table.pending) == (101, 0)
    engine.tick(3 * SECOND)
    assert engine.table.connections == 1


def test_idle_queries_make_room_for_new_ones() -> None:
    with InProcessEngine(max_connections=10) as engine:
        engine.feed([open_event(0, 3, RESOLVER, ("0.0.0.0", 0), l4="udp", comm="dnsmasq", pid=9)])
        for port in range(1000, 1100):
            who = ("10.0.0.1", port)
            engine.feed(
                [
                    datagram(port * 100 * MS, 3, IN, RESOLVER, who, query(1), pid=9),
                    datagram(port * 100 * MS, 3, OUT, RESOLVER, who, answer(query(1)), pid=9),
                ]
            )
            engine.tick((port * 100 + 60) * MS)
        engine.finish()
        assert (engine.rows()[0].count, engine.stat("connections_rejected")) == (100, 0)


@pytest.mark.parametrize("first", ["client", "server"])
def test_a_query_inside_the_node_is_one_request_whichever_end_is_told_first(
    engine: InProcessEngine, first: str
) -> None:
    me, bound = ("127.0.0.1", 4444), ("0.0.0.0", 53)
    loop: Endpoint = ("127.0.0.1", 53)
    engine.feed([open_event(0, 3, bound, ("0.0.0.0", 0), l4="udp", comm="dnsmasq", pid=9)])
    engine.feed([open_event(0, 4, me, loop, l4="udp", comm="dig", pid=5)])
    for i in range(3):
        t = SECOND + i * SECOND
        out = datagram(t, 4, OUT, me, loop, query(i), pid=5)
        served = [
            datagram(t + 1, 3, IN, bound, me, query(i), pid=9),
            datagram(t + 5, 3, OUT, bound, me, answer(query(i)), pid=9),
        ]
        engine.feed([out, *served] if first == "client" else [*served, out])
        engine.feed([datagram(t + 6, 4, IN, me, loop, answer(query(i)), pid=5)])
        engine.tick(t + 100 * MS)
    engine.feed([close(9 * SECOND, 4), close(9 * SECOND, 3)])
    engine.finish()
    (row,) = engine.rows()
    assert (row.role, row.owner, row.peer, row.count, row.flags) == (
        "server",
        "dnsmasq",
        "dig",
        3,
        frozenset({"both_ends"}),
    )
    assert engine.table.pending == 0


def test_other_datagrams_are_exchanges_and_bytes(engine: InProcessEngine) -> None:
    me, far = ("10.0.0.1", 5000), ("10.0.0.9", 6000)
    engine.feed([open_event(0, 3, me, ("0.0.0.0", 0), l4="udp", comm="app", pid=5)])
    for i in range(3):
        engine.feed(
            [
                datagram(10 * i, 3, OUT, me, far, b"\xff" * 10, pid=5),
                datagram(10 * i + 5, 3, IN, me, far, b"\xfe" * 4, pid=5),
            ]
        )
    engine.feed([close(99, 3)])
    (row,) = engine.rows()
    assert (row.protocol, row.l4, row.role, row.count) == ("NOSUPPORT", "udp", "client", 3)
    assert (row.request_bytes, row.response_bytes, row.remote) == (30, 12, far)


def test_one_socket_with_two_peers_is_two_conversations(engine: InProcessEngine) -> None:
    me, first, second = ("10.0.0.1", 5000), ("10.0.0.9", 6000), ("10.0.0.8", 6000)
    engine.feed([datagram(1, 3, IN, me, first, b"\xff", pid=5), datagram(2, 3, IN, me, second, b"\xff\xff", pid=5)])
    engine.feed([datagram(3, 3, OUT, me, second, b"\x01", pid=5), datagram(4, 3, OUT, me, first, b"\x01", pid=5)])
    engine.finish()
    assert [(row.role, row.remote[0], row.count, row.request_bytes) for row in engine.rows()] == [
        ("server", "10.0.0.8", 1, 2),
        ("server", "10.0.0.9", 1, 1),
    ]


def test_an_answer_whose_sender_was_not_asked_for_finds_its_question(engine: InProcessEngine) -> None:
    me, nobody, second = ("10.0.0.1", 5353), ("0.0.0.0", 0), ("10.0.0.54", 53)
    engine.feed([open_event(0, 3, me, nobody, l4="udp", comm="app", pid=5)])
    engine.feed([datagram(1, 3, OUT, me, RESOLVER, query(1), pid=5), datagram(2, 3, OUT, me, second, query(2), pid=5)])
    engine.feed([datagram(5, 3, IN, me, nobody, answer(query(1)), pid=5, flags=PEER_UNKNOWN)])
    engine.feed([datagram(6, 3, IN, me, nobody, answer(query(2), 3), pid=5, flags=PEER_UNKNOWN)])
    assert [(row.remote, row.response, row.count) for row in engine.rows()] == [
        (RESOLVER, "NOERROR", 1),
        (second, "NXDOMAIN", 1),
    ]
    assert engine.stat("orphan_responses") == 0


def test_a_datagram_of_nobody_is_of_the_peer_that_was_talked_to_last(engine: InProcessEngine) -> None:
    me, nobody, first, second = ("10.0.0.1", 5000), ("0.0.0.0", 0), ("10.0.0.9", 6000), ("10.0.0.8", 6000)
    engine.feed([open_event(0, 3, me, nobody, l4="udp", comm="app", pid=5)])
    engine.feed([datagram(1, 3, OUT, me, first, b"\xff", pid=5), datagram(2, 3, OUT, me, second, b"\xff", pid=5)])
    engine.feed([datagram(3, 3, IN, me, nobody, b"\xff\xff", pid=5, flags=PEER_UNKNOWN), close(4, 3)])
    assert [(row.remote[0], row.count, row.response_bytes) for row in engine.rows()] == [
        ("10.0.0.8", 1, 2),
        ("10.0.0.9", 0, 0),
    ]


def test_dns_over_tcp_is_paired_by_id(engine: InProcessEngine) -> None:
    def framed(text: bytes) -> bytes:
        return struct.pack(">H", len(text)) + text

    c = Conversation(7, CLIENT, RESOLVER, "client", comm="app", pid=5)
    engine.feed(
        [
            c.open(0),
            c.sends(1, framed(query(1)) + framed(query(2, "b.org"))),
            c.receives(5, framed(answer(query(2, "b.org")))),
        ]
    )
    engine.feed(c.pieces(IN, 9, framed(answer(query(1), 2)), [1, 5]))
    assert [(row.request, row.response, row.duration_ns) for row in engine.rows()] == [
        ("b.org A", "NOERROR", 4),
        ("example.com A", "SERVFAIL", 8),
    ]


def test_multicast_is_no_query_that_somebody_must_answer(engine: InProcessEngine) -> None:
    me, group = ("10.0.0.1", 5353), ("224.0.0.251", 53)
    engine.feed([datagram(1, 3, OUT, me, group, query(7), pid=5)])
    for second in range(1, 15):
        engine.tick(second * SECOND)
    assert [(row.protocol, row.count, row.request_bytes) for row in engine.rows()] == [("NOSUPPORT", 0, len(query(7)))]


def test_a_listening_datagram_port_is_a_server_also_where_it_speaks_first(engine: InProcessEngine) -> None:
    me, far = ("10.0.0.1", 5000), ("10.0.0.9", 6000)
    engine.feed([listen(0, 3, me, comm="app", l4="udp", pid=5), datagram(1, 3, OUT, me, far, b"\xff", pid=5)])
    engine.feed(
        [datagram(2, 3, IN, me, far, b"\xff\xff", pid=5), datagram(3, 3, OUT, me, far, b"\xff", pid=5), close(4, 3)]
    )
    engine.finish()
    assert [(row.role, row.local, row.count) for row in engine.rows()] == [("server", me, 1)]


def test_events_without_a_process_keep_the_socket_owner(engine: InProcessEngine) -> None:
    me, far = ("10.0.0.1", 5000), ("10.0.0.9", 6000)
    engine.feed([open_event(0, 3, me, far, l4="udp", comm="app", pid=5)])
    engine.feed(
        [
            datagram(1, 3, OUT, me, far, b"\xff", flags=NO_PROCESS),
            datagram(2, 3, IN, me, far, b"\xff", flags=NO_PROCESS),
        ]
    )
    engine.finish()
    assert engine.rows()[0].owner == "app"


def test_a_data_event_of_a_datagram_socket_is_refused(engine: InProcessEngine) -> None:
    engine.feed([open_event(0, 3, CLIENT, SERVER, l4="udp", comm="app", pid=5), data(1, 3, OUT, 1, 1, b"x")])
    assert (engine.rows(), engine.stat("connections_unknown")) == ([], 1)
