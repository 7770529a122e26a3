# SPDX-License-Identifier: Apache-2.0
"""What is bounded: rows, contents, strings, samples; what outlives a crash; TCP rows; configuration under way."""

from collections.abc import Iterator
from typing import Any

import pytest

from analyzers._native import ffi, lib
from tests.events import (
    PACKET_DROPPED,
    RESET_RECEIVED,
    RESET_SENT,
    RETRANSMIT,
    SECOND,
    SYNACK_RETRANSMIT,
    Conversation,
    connect,
    listen,
    trouble,
)
from tests.inprocess import InProcessEngine

MS = 1_000_000
CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 80)
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def get(path: str, fields: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode()


def reply(status: int = 200) -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode()


def path(number: int) -> str:
    """Letters only, so that clustering leaves it alone."""
    return f"/{LETTERS[number // 676]}{LETTERS[number // 26 % 26]}{LETTERS[number % 26]}"


def server(conn_id: int = 7, comm: str = "nginx") -> Conversation:
    return Conversation(conn_id, SERVER, CLIENT, "server", comm=comm, pid=5)


@pytest.fixture
def engine() -> Iterator[InProcessEngine]:
    with InProcessEngine() as made:
        yield made


def ask(engine: InProcessEngine, c: Conversation, at_ns: int, what: str = "/a", status: int = 200) -> None:
    engine.feed([c.receives(at_ns, get(what)), c.sends(at_ns + 1, reply(status))])


def test_contents_of_a_workload_beyond_the_limit_are_other() -> None:
    with InProcessEngine(contents_per_workload=3) as engine:
        c, neighbour = server(7), server(8, comm="other-app")
        engine.feed([c.open(0), neighbour.open(0)])
        for i in range(10):
            ask(engine, c, 10 * i + 1, path(i))
        ask(engine, c, 200, path(1))
        ask(engine, neighbour, 300, path(9))
        assert [(row.owner, row.request, row.count) for row in engine.rows()] == [
            ("nginx", "/aaa", 1),
            ("nginx", "/aab", 2),
            ("nginx", "/aac", 1),
            ("nginx", "other", 7),
            ("other-app", "/aaj", 1),
        ]
        assert engine.stat("contents_overflow") == 7


def test_answers_of_a_workload_beyond_the_limit_are_other() -> None:
    """Whoever answers chooses what: HTTP has 900 numbers, others 65 536. They are limited as what is asked is."""
    statuses, most = range(200, 400), 64  # as state.h has it
    with InProcessEngine(contents_per_workload=3) as engine:
        c, neighbour = server(7), server(8, comm="other-app")
        engine.feed([c.open(0), neighbour.open(0)])
        for at, status in enumerate((*statuses, 200)):
            ask(engine, c, 10 * at + 1, status=status)
        engine.crash()
        engine.feed([c.open(9000), neighbour.open(9000)])
        ask(engine, c, 9010, status=399)
        ask(engine, neighbour, 9020, status=399)
        told = [(row.owner, row.response, row.status, row.count) for row in engine.rows()]
        assert sorted(told) == [
            *(("nginx", str(status), status, 1 + (status == 200)) for status in statuses[:most]),
            ("nginx", "other", 0, len(statuses) - most + 1),
            ("other-app", "399", 399, 1),
        ]
        assert engine.stat("contents_overflow") == len(statuses) - most + 1


def test_more_answers_than_that_for_whom_more_contents_are_allowed() -> None:
    with InProcessEngine(contents_per_workload=150) as engine:
        c = server()
        engine.feed([c.open(0)])
        for status in range(200, 400):
            ask(engine, c, 10 * status, status=status)
        assert len(engine.rows()) == 151


def test_answers_make_room_when_their_rows_end() -> None:
    with InProcessEngine(row_idle_ns=10 * SECOND, connection_idle_ns=500 * SECOND) as engine:
        c = server()
        engine.feed([c.open(0)])
        for status in range(200, 300):
            ask(engine, c, 10 * status, status=status)
        for second in range(1, 40):
            engine.tick(second * SECOND)
        assert engine.rows() == []
        ask(engine, c, 41 * SECOND, status=299)
        assert [row.response for row in engine.rows()] == ["299"]


def test_more_rows_than_allowed_fall_into_one() -> None:
    with InProcessEngine(row_limit=4, contents_per_workload=0) as engine:
        c = server()
        engine.feed([c.open(0)])
        for i in range(20):
            ask(engine, c, 10 * i + 1, path(i))
        ask(engine, c, 300, path(0))
        rows = engine.rows()
        assert [(row.request, row.count) for row in rows if "overflow" not in row.flags] == [
            ("/aaa", 2),
            ("/aab", 1),
            ("/aac", 1),
            ("/aad", 1),
        ]
        (overflow,) = [row for row in rows if "overflow" in row.flags]
        assert (overflow.count, engine.stat("rows_overflow"), engine.stat("requests")) == (16, 16, 21)


def test_a_full_string_table_gives_other() -> None:
    with InProcessEngine(contents_per_workload=0, slow_ns=0) as engine:
        ends = [server(i + 1, comm=f"app{i % 100}") for i in range(10)]
        engine.feed([c.open(0) for c in ends])
        total = 0
        for first in range(26):
            for i in range(1300):
                text = f"/{LETTERS[first]}{path(i)[1:]}" if i < 676 * 26 else ""
                ask(engine, ends[first % 10], total * 10, text)
                total += 1
        assert sum(row.count for row in engine.rows()) == total
        assert engine.stat("strings_overflow") + engine.stat("rows_overflow") > 0
        assert engine.table.strings_used <= lib.FS_STRINGS
        assert engine.table.rows_used <= lib.FS_ROWS


def test_idle_rows_end_with_what_only_they_referred_to() -> None:
    with InProcessEngine(row_idle_ns=10 * SECOND, connection_idle_ns=5 * SECOND) as engine:
        c = server()
        engine.feed([c.open(0)])
        for i in range(20):
            ask(engine, c, i + 1, path(i))
        assert (engine.table.rows_used, engine.table.strings_used) == (20, 23)
        first = {row.request: engine.table.rows[i].generation for i, row in enumerate(engine.rows(), start=1)}
        for second in range(1, 40):
            engine.tick(second * SECOND)
        assert (engine.table.rows_used, engine.table.strings_used, engine.stat("rows_expired")) == (0, 2, 20)
        assert engine.table.idents_used == 1
        c = server(8)
        engine.feed([c.open(40 * SECOND)])
        ask(engine, c, 41 * SECOND, path(3))
        (row,) = engine.rows()
        assert (row.request, row.count) == ("/aad", 1)
        generations = [engine.table.rows[i].generation for i in range(30) if engine.table.rows[i].generation]
        assert min(generations) > max(first.values())


def test_a_new_engine_on_a_used_table_goes_on_counting() -> None:
    with InProcessEngine() as before:
        c = server()
        before.feed([c.open(0)])
        for i in range(5):
            ask(before, c, 10 * i + 1, path(i))
        before.feed([connect(60, 99, CLIENT, SERVER, duration_ns=5, error=111, comm="curl")])
        table, generation, epoch = before.table, before.table.generation, before.control.epoch
        rows = before.rows(with_empty=True)
        keys = [(table.rows[i].generation, bytes(table.rows[i].local)) for i in range(8)]
    assert (generation, epoch) != (0, 0)
    with InProcessEngine(table=table) as after:
        assert after.rows(with_empty=True) == rows
        assert [(table.rows[i].generation, bytes(table.rows[i].local)) for i in range(8)] == keys
        c = server(8)
        after.feed([c.open(100, open_flags=2)])
        for i in range(6):
            ask(after, c, 100 + 10 * i, path(i))
        after.feed([connect(200, 99, CLIENT, SERVER, duration_ns=5, error=111, comm="curl")])
        assert [(row.request, row.count) for row in after.rows()] == [(path(i), 2 if i < 5 else 1) for i in range(6)]
        assert [row.connects for row in after.tcp_rows() if row.kind == "connect"] == [2]
        assert (after.table.starts, after.stat("requests")) == (2, 11)
        assert after.table.generation > generation
        used = after.table.strings_used
    with InProcessEngine(table=table, row_idle_ns=SECOND) as last:
        for second in range(1, 40):
            last.tick(second * SECOND)
        assert (last.table.rows_used, last.table.tcp_rows_used, last.table.strings_used, last.table.idents_used) == (
            0,
            0,
            2,
            1,
        )
        assert used > 2


def test_counters_of_a_row_never_shrink_while_its_generation_stands() -> None:
    with InProcessEngine() as engine:
        c = server()
        engine.feed([c.open(0)])
        seen: dict[tuple[int, int], int] = {}
        for i in range(200):
            ask(engine, c, i * 10 + 1, path(i % 7), 200 + i % 3 * 100)
            for index in range(30):
                row = engine.table.rows[index]
                if row.generation:
                    key = (index, row.generation)
                    assert row.count >= seen.get(key, 0)
                    seen[key] = row.count
        assert sum(seen.values()) == 200


def test_a_changed_configuration_is_taken_over_with_the_next_tick(engine: InProcessEngine) -> None:
    c = server()
    engine.feed([c.open(0)])
    ask(engine, c, 1)
    engine.config.slow_ns = [0] * 1 + [5] * 31
    engine.feed([c.receives(100, get("/a")), c.sends(110, reply())])
    assert [row.flags for row in engine.rows()] == [frozenset()]
    engine.config.generation += 1
    engine.tick(120)
    engine.feed([c.receives(200, get("/a")), c.sends(210, reply())])
    assert [(row.flags, row.count) for row in engine.rows()] == [(frozenset(), 2), (frozenset({"slow"}), 1)]


def test_a_protocol_that_is_switched_off_is_not_decoded() -> None:
    with InProcessEngine(protocols_enabled=0xFFFFFFFF & ~(1 << 1)) as engine:
        c = server()
        engine.feed([c.open(0)])
        for i in range(4):
            ask(engine, c, 10 * i + 1)
        engine.feed([c.close(99)])
        assert [(row.protocol, row.count) for row in engine.rows()] == [("NOSUPPORT", 4)]


@pytest.mark.parametrize(("protocol", "expected"), [(255, "NOSUPPORT"), (2, "NOSUPPORT"), (1, "http")])
def test_a_port_rule_pins_or_excludes(protocol: int, expected: str) -> None:
    with InProcessEngine() as engine:
        engine.config.port_rule[0].port, engine.config.port_rule[0].protocol = 80, protocol
        engine.config.port_rules = 1
        engine.config.generation += 1
        engine.tick(0)
        c = server()
        engine.feed([c.open(0)])
        for i in range(4):
            ask(engine, c, 10 * i + 1)
        engine.feed([c.close(99)])
        assert [(row.protocol, row.count) for row in engine.rows()] == [(expected, 4)]


def test_excluded_namespaces_are_left_out_and_counted(engine: InProcessEngine) -> None:
    engine.config.excluded_netns[0] = 1
    engine.config.generation += 1
    engine.tick(0)
    c = server()
    engine.feed([c.open(0)])
    ask(engine, c, 1)
    assert (engine.rows(), engine.stat("events_excluded")) == ([], 3)


def test_parsing_is_measured_only_when_asked_for() -> None:
    for measure in (0, 1):
        with InProcessEngine(measure=measure) as engine:
            c = server()
            engine.feed([c.open(0)])
            ask(engine, c, 1)
            assert (engine.table.parse_ns[1] > 0) == bool(measure)
            assert (engine.table.parsed[1], engine.table.parsing) == (2, 0)


def samples(engine: InProcessEngine) -> list[tuple[str, int]]:
    why = ("", "new_edge", "error", "slow", "normal")
    return [(why[sample.why], sample.status) for sample in engine.samples()]


def test_samples_are_rationed_per_edge_and_the_rest_is_counted() -> None:
    with InProcessEngine(sample_rate=100, sample_per_edge=3, sample_normal_permille=1000) as engine:
        c = server()
        engine.feed([c.open(0)])
        for i in range(10):
            ask(engine, c, SECOND + i * 10, "/a", 500 if i == 4 else 200)
        assert samples(engine) == [("new_edge", 200), ("normal", 200), ("normal", 200)]
        assert (engine.stat("samples_written"), engine.stat("samples_shed")) == (3, 7)
        ask(engine, c, 2 * SECOND, "/a", 500)
        assert samples(engine)[-1] == ("error", 500)


def test_what_matters_more_is_sampled_when_tokens_are_short() -> None:
    with InProcessEngine(sample_rate=20, sample_per_edge=1000, sample_normal_permille=1000) as engine:
        c = server()
        engine.feed([c.open(0)])
        for i in range(30):
            ask(engine, c, SECOND + i * 10)
        for i in range(30):
            ask(engine, c, SECOND + 1000 + i * 10, status=500)
        other = Conversation(8, SERVER, ("10.0.0.9", 1), "server", comm="nginx")
        engine.feed([other.open(SECOND + 2000)])
        ask(engine, other, SECOND + 3000)
        kinds = [kind for kind, _ in samples(engine)]
        assert (kinds.count("new_edge"), kinds.count("normal"), kinds.count("error")) == (2, 10, 8)
        assert engine.stat("samples_shed") == 61 - 20


def test_a_sample_has_the_whole_four_tuple_phases_and_trace(engine: InProcessEngine) -> None:
    engine.config.sample_rate, engine.config.sample_per_edge, engine.config.generation = 10, 5, 1
    engine.tick(0)
    c = server()
    trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
    engine.feed([c.open(0), c.receives(SECOND, get("/a", trace)), c.sends(SECOND + 7, reply(404))])
    (sample,) = engine.samples()
    assert (sample.conn_id, sample.local_port, sample.remote_port, sample.pid) == (7, 80, 40000, 5)
    assert (sample.start_ns, sample.duration_ns, sample.processing_ns) == (SECOND, 7, 7)
    assert bytes(sample.trace_id).hex() == "0af7651916cd43dd8448eb211c80319c"
    assert bytes(sample.parent_id).hex() == "b7ad6b7169203331"
    assert engine.table.rows[sample.row].generation == sample.row_generation
    assert (sample.request_text_length, sample.response_text_length) == (0, 0)


def test_captured_text_is_blanked_before_it_leaves() -> None:
    with InProcessEngine(sample_rate=10, sample_per_edge=5, capture_bytes=200) as engine:
        c = server()
        secret = "Authorization: Basic c2VjcmV0\r\nCookie: a=secret\r\nX-Api-Key: secret\r\nReferer: http://bob:secret@h/x?y=secret\r\n"
        engine.feed([c.open(0), c.receives(SECOND, get("/a?token=secret", secret))])
        engine.feed([c.sends(SECOND + 7, b"HTTP/1.1 200 OK\r\nSet-Cookie: s=secret\r\nContent-Length: 2\r\n\r\nhi")])
        (sample,) = engine.samples()
        asked = bytes(ffi.buffer(sample.request_text, sample.request_text_length)).decode()
        answered = bytes(ffi.buffer(sample.response_text, sample.response_text_length)).decode()
        assert "secret" not in asked + answered
        assert "c2VjcmV0" not in asked
        assert asked.startswith("GET /a?* HTTP/1.1 \nHost: x \nAuthorization: *\nCookie: *\n")
        assert answered == "HTTP/1.1 200 OK \nSet-Cookie: *\nContent-Length: 2 \n"


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        (b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n", b"+OK\r\n"),
        (b"Q\0\0\0\x19select 'secret', 42;\0", b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I"),
    ],
)
def test_only_heads_of_http_are_captured(asked: bytes, answered: bytes) -> None:
    """Other protocols have secrets anywhere: statements, keys, logins."""
    with InProcessEngine(sample_rate=10, sample_per_edge=5, capture_bytes=200) as engine:
        c = server()
        engine.feed([c.open(0), c.receives(SECOND, asked), c.sends(SECOND + 7, answered)])
        (sample,) = engine.samples()
        assert (sample.request_text_length, sample.response_text_length) == (0, 0)


def tcp(engine: InProcessEngine, kind: str) -> list[Any]:
    return [row for row in engine.tcp_rows() if row.kind == kind]


def test_attempts_to_connect_are_counted_by_result_and_make_an_edge(engine: InProcessEngine) -> None:
    for i in range(3):
        c = Conversation(10 + i, ("10.0.0.1", 40000 + i), SERVER, "client", comm="curl", pid=5)
        error = 0 if i == 2 else 111
        engine.feed(
            [
                c.open(i, srtt_us=0),
                connect(i + 1, 10 + i, c.local, SERVER, duration_ns=1000, error=error, comm="curl", pid=5),
            ]
        )
        engine.feed([c.close(i + 2)])
    rows = tcp(engine, "connect")
    assert [(row.error, row.connects, row.connect_ns, row.local[1], row.remote) for row in rows] == [
        (0, 1, 1000, 0, SERVER),
        (111, 2, 2000, 0, SERVER),
    ]
    assert [(row.role, row.protocol, row.remote, row.count) for row in engine.rows(with_empty=True)] == [
        ("client", "NOSUPPORT", SERVER, 0)
    ]


def test_an_attempt_without_a_result_is_an_edge_after_a_second(engine: InProcessEngine) -> None:
    c = Conversation(10, CLIENT, SERVER, "client", comm="curl", pid=5)
    engine.feed([c.open(SECOND)]).tick(SECOND).tick(3 * SECOND).tick(4 * SECOND)
    assert [(row.remote, row.count) for row in engine.rows(with_empty=True)] == [(SERVER, 0)]


def test_an_attempt_of_an_unknown_connection_counts_as_well(engine: InProcessEngine) -> None:
    engine.feed([connect(1, 0, CLIENT, SERVER, duration_ns=7, error=110, comm="curl", pid=5)])
    assert [(row.owner, row.error, row.connects) for row in tcp(engine, "connect")] == [("curl", 110, 1)]
    assert len(engine.rows(with_empty=True)) == 1


def test_trouble_is_counted_with_its_connection_or_listener(engine: InProcessEngine) -> None:
    c = server()
    engine.feed([listen(0, 3, ("0.0.0.0", 80), comm="nginx", pid=5), c.open(1, srtt_us=120)])
    kinds = [RETRANSMIT] * 3 + [RESET_SENT] * 2 + [RESET_RECEIVED] + [PACKET_DROPPED] * 4
    engine.feed([trouble(2, 7, SERVER, CLIENT, kind) for kind in kinds])
    engine.feed([trouble(3, 0, SERVER, CLIENT, SYNACK_RETRANSMIT)])
    engine.feed([trouble(4, 55, ("10.0.0.3", 9), ("10.0.0.4", 99), RETRANSMIT)])
    engine.feed([c.close(5, srtt_us=130)])
    rows = {row.owner: row for row in tcp(engine, "health")}
    nginx = rows["nginx"]
    assert (nginx.retransmits, nginx.resets_sent, nginx.resets_received, nginx.drops) == (3, 2, 1, 4)
    assert (nginx.synack_retransmits, nginx.srtt_us, nginx.closed) == (1, 130, 1)
    assert (nginx.local, nginx.remote) == (SERVER, ("10.0.0.1", 0))
    assert (rows[""].retransmits, engine.stat("retransmits_unmatched")) == (1, 1)


def test_a_refused_connection_is_told_and_nothing_of_it_is_lost(engine: InProcessEngine) -> None:
    """A closed port sends a reset and the client gets it; a reset that comes after the close has no connection either."""
    engine.feed([trouble(1, 0, SERVER, CLIENT, RESET_SENT), trouble(1, 0, CLIENT, SERVER, RESET_RECEIVED)])
    engine.feed([trouble(1, 0, SERVER, CLIENT, PACKET_DROPPED)])
    c = server()
    engine.feed([c.open(2, srtt_us=120), c.close(3, srtt_us=130), trouble(4, 7, SERVER, CLIENT, RESET_RECEIVED)])
    rows = tcp(engine, "health")
    assert (sum(row.resets_sent for row in rows), sum(row.resets_received for row in rows)) == (1, 2)
    assert sum(row.drops for row in rows) == 1
    assert engine.stat("retransmits_unmatched") == 0


def test_round_trip_times_show_while_the_connection_lives(engine: InProcessEngine) -> None:
    c = server()
    engine.feed([c.open(0), c.moves(0, 1, get("/a"), srtt_us=77), c.moves(1, 2, reply(), srtt_us=99)])
    engine.tick(SECOND).tick(3 * SECOND)
    assert [row.srtt_us for row in tcp(engine, "health")] == [99]


def test_tcp_rows_are_bounded() -> None:
    with InProcessEngine(tcp_row_limit=3) as engine:
        for i in range(10):
            engine.feed([connect(i, 0, CLIENT, ("10.0.1.1", i + 1), duration_ns=7, comm="curl")])
        assert sum(row.connects for row in engine.tcp_rows()) == 10
        assert (len(engine.tcp_rows()), engine.stat("tcp_rows_overflow")) == (4, 7)
