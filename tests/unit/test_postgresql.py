# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL: messages as its documentation has them; what real programs said is in test_conversations.py."""

import struct
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conversations import Conversation, counted, events_of
from tests.parsing import Body, Detected, Flag, Framed, Message, Parser, Protocol, Side, detect
from tests.playing import Chunk, byte_by_byte, split_everywhere

POSTGRESQL = Protocol.POSTGRESQL
Said = tuple[str, str, bool]


def message(kind: str, body: bytes = b"") -> bytes:
    return kind.encode() + struct.pack(">I", len(body) + 4) + body


def startup(code: int = 3 << 16, body: bytes = b"user\0me\0database\0secret\0\0") -> bytes:
    return struct.pack(">II", len(body) + 8, code) + body


def query(text: str) -> bytes:
    return message("Q", text.encode() + b"\0")


def parse(name: str, text: str) -> bytes:
    return message("P", name.encode() + b"\0" + text.encode() + b"\0\0\0")


def bind(name: str, portal: str = "", values: bytes = b"\0\0") -> bytes:
    return message("B", portal.encode() + b"\0" + name.encode() + b"\0\0\0" + values + b"\0\0")


def describe(what: str, name: str) -> bytes:
    return message("D", what.encode() + name.encode() + b"\0")


def execute(portal: str = "", rows: int = 0) -> bytes:
    return message("E", portal.encode() + b"\0" + struct.pack(">I", rows))


def close(what: str, name: str) -> bytes:
    return message("C", what.encode() + name.encode() + b"\0")


def complete(tag: str = "SELECT 1") -> bytes:
    return message("C", tag.encode() + b"\0")


def error(state: str, severity: str = "ERROR", kind: str = "E") -> bytes:
    fields = f"S{severity}\0V{severity}\0C{state}\0Msecret relation\0\0"
    return message(kind, fields.encode())


def row(size: int = 1) -> bytes:
    return message("D", struct.pack(">HI", 1, size) + b"x" * size)


SYNC, FLUSH = message("S"), message("H")
READY, PARSED, BOUND, CLOSED = message("Z", b"I"), message("1"), message("2"), message("3")
NO_DATA, SUSPENDED, EMPTY = message("n"), message("s"), message("I")
COLUMNS = message("T", b"\0\1a\0" + bytes(18))
PARAMETERS = message("t", b"\0\1\0\0\0\x17")
NOTICE = error("00000", "NOTICE", "N")
SELECT = query("SELECT a FROM t WHERE b = 'secret'")
ROWS = COLUMNS + row() + complete() + READY
PREPARED = parse("s1", "SELECT a FROM t WHERE b = $1")
ONE: list[Said] = [("SELECT t *", "00000", False)]


def counted_of(chunks: list[Chunk], captured: int | None = None) -> list[Said]:
    """What the engine counts, each as often as it does, in order of the alphabet."""
    rows, stats = counted(events_of(Conversation("made", "postgresql", tuple(chunks)), captured=captured))
    assert {"orphan_responses", "discarded_exchanges", "resyncs", "contradictions"}.isdisjoint(stats)
    found = Counter({(row.request, row.response, "error" in row.flags): row.count for row in rows if row.count})
    return sorted(found.elements())


def talk(*pieces: bytes) -> list[Chunk]:
    """Client first, then in turns."""
    return [("client" if i % 2 == 0 else "server", data) for i, data in enumerate(pieces)]


def assert_said(chunks: list[Chunk], *expected: Said) -> None:
    """However it is cut. A query in front of it has the protocol known before the pieces get small."""
    for cut in [chunks, byte_by_byte(chunks), *split_everywhere(chunks, 1 + sum(len(d) for _, d in chunks) // 40)]:
        assert counted_of(cut) == sorted(expected)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (ROWS, ("SELECT t *", "00000", False)),
        (COLUMNS + complete("SELECT 0") + READY, ("SELECT t *", "00000", False)),
        (complete("UPDATE 1") + READY, ("SELECT t *", "00000", False)),
        (EMPTY + READY, ("SELECT t *", "00000", False)),
        (NOTICE + ROWS, ("SELECT t *", "00000", False)),
        (COLUMNS + row() + NOTICE + row() + complete() + READY, ("SELECT t *", "00000", False)),
        (ROWS[: -len(READY)] + complete("UPDATE 2") + COLUMNS + row() + complete() + READY, ONE[0]),
        (error("42P01") + READY, ("SELECT t *", "42P01", True)),
        (COLUMNS + row() * 3 + error("22012") + READY, ("SELECT t *", "22012", True)),
        (error("57P01", "FATAL"), ("SELECT t *", "57P01", True)),
        (error("42601", "FEHLER") + READY, ("SELECT t *", "42601", True)),
    ],
)
def test_a_query_and_its_answers(answer: bytes, outcome: Said) -> None:
    assert_said(talk(SELECT, answer), outcome)
    if answer.endswith(READY):
        assert_said(talk(SELECT, answer, SELECT, ROWS), outcome, *ONE)


def test_a_login_counts_only_if_it_fails() -> None:
    sasl = message("R", struct.pack(">I", 10) + b"SCRAM-SHA-256\0\0")
    welcome = message("R", bytes(4)) + message("S", b"TimeZone\0UTC\0") + message("K", bytes(8)) + READY
    secret = message("p", b"SCRAM-SHA-256\0\0\0\0\x08n,,n=,r=")
    assert_said([*talk(startup(), sasl, secret, welcome, SELECT, ROWS)], *ONE)
    assert_said([*talk(startup(), sasl, secret, error("28P01", "FATAL"))], ("LOGIN", "28P01", True))


def test_a_server_without_tls_is_asked_and_then_logged_into() -> None:
    ask, welcome = startup(80877103, b""), message("R", bytes(4)) + READY
    assert_said(talk(ask, b"N", startup(), welcome, SELECT, ROWS), *ONE)
    assert_said(talk(startup(80877104, b""), b"N", ask, b"N", startup(), welcome, SELECT, ROWS), *ONE)
    assert_said(talk(ask, error("0A000", "FATAL")), ("SSL REQUEST", "0A000", True))


def test_a_server_with_tls_speaks_it() -> None:
    _, asked = Parser(POSTGRESQL, Side.REQUEST).frame(startup(80877103, b""))
    for answer, protocol in ((b"S", Protocol.TLS), (b"G", Protocol.NOSUPPORT)):
        framing, said = Parser(POSTGRESQL, Side.RESPONSE).frame(answer, waiting=asked)
        assert (framing, said.length, said.flags) == (Framed.MESSAGE, 1, Flag.SWITCH)
        assert said.next_protocol is protocol


def test_a_wish_to_cancel_is_not_answered() -> None:
    assert_said([("client", startup(80877102, bytes(8)))], ("CANCEL", "", False))


def test_parse_bind_describe_and_execute_are_one_request() -> None:
    sent = parse("", "SELECT a FROM t WHERE b = $1") + bind("") + describe("P", "") + execute() + SYNC
    answer = PARSED + BOUND + COLUMNS + row() + complete() + READY
    assert_said(talk(sent, answer, sent, answer), *ONE * 2)


@pytest.mark.parametrize("end", [SYNC, FLUSH])
def test_prepared_statements_are_remembered(end: bytes) -> None:
    ready = READY if end is SYNC else b""
    chunks = talk(PREPARED + describe("S", "s1") + end, PARSED + PARAMETERS + COLUMNS + ready)
    run, ran = bind("s1") + execute() + SYNC, BOUND + row() + complete() + READY
    chunks += talk(run, ran, run, ran, describe("S", "s1") + SYNC, PARAMETERS + COLUMNS + READY)
    chunks += talk(close("S", "s1") + SYNC, CLOSED + READY, run, error("26000") + READY)
    assert_said(
        chunks,
        ("PREPARE SELECT t *", "00000", False),
        *ONE * 2,
        ("DESCRIBE SELECT t *", "00000", False),
        ("*", "26000", True),
    )


def test_what_cannot_be_prepared_or_described() -> None:
    chunks = talk(PREPARED + SYNC, error("42P01") + READY, PREPARED + FLUSH, error("42P01"), SYNC, READY)
    chunks += talk(describe("S", "s9") + SYNC, error("26000") + READY, SELECT, ROWS)
    assert_said(chunks, *[("PREPARE SELECT t *", "42P01", True)] * 2, ("DESCRIBE *", "26000", True), *ONE)


def test_a_portal_gives_its_rows_in_portions() -> None:
    first = parse("", "SELECT a FROM t") + bind("", "c1") + execute("c1", 2) + SYNC
    chunks = talk(first, PARSED + BOUND + row() * 2 + SUSPENDED + READY)
    chunks += talk(execute("c1", 2) + SYNC, row() + complete() + READY, execute("c2", 2) + SYNC, error("34000") + READY)
    assert_said(chunks, *ONE * 2, ("*", "34000", True))


def test_a_portal_closed_behind_its_end_is_no_request() -> None:
    sent = parse("", "SELECT a FROM t") + bind("") + execute() + close("P", "") + SYNC
    assert_said(talk(sent, PARSED + BOUND + row() + complete() + CLOSED + READY, SELECT, ROWS), *ONE * 2)


UNIT = parse("", "SELECT a FROM t") + bind("") + execute()
DONE = PARSED + BOUND + row() + complete()


def test_a_pipeline_with_a_sync_behind_each() -> None:
    assert_said(talk((UNIT + SYNC) * 5, (DONE + READY) * 5, SELECT, ROWS), *ONE * 6)
    chunks = talk((UNIT + SYNC) * 3, DONE + READY + error("42P01") + READY + DONE + READY)
    assert_said(chunks, *ONE * 2, ("SELECT t *", "42P01", True))


def test_after_an_error_a_pipeline_is_skipped_up_to_the_sync() -> None:
    chunks = talk(UNIT * 4 + SYNC + UNIT + SYNC, DONE + error("42P01") + READY + DONE + READY, SELECT, ROWS)
    aborted = ("SELECT t *", "aborted", True)
    assert_said(chunks, *ONE * 3, ("SELECT t *", "42P01", True), aborted, aborted)


def test_what_is_sent_after_an_error_and_before_the_sync_is_skipped() -> None:
    chunks = talk(UNIT + FLUSH, error("42P01"), UNIT + UNIT, NOTICE, SYNC, READY, SELECT, ROWS)
    aborted = ("SELECT t *", "aborted", True)
    assert_said(chunks, *ONE, ("SELECT t *", "42P01", True), aborted, aborted)


def test_copy_in_both_ways() -> None:
    rows = b"".join(message("d", b"1\tsecret\n") for _ in range(20))
    copy_in, copy_out = query("COPY t FROM STDIN"), query("COPY t TO STDOUT")
    format_ = b"\0\0\1\0\0"
    done = complete("COPY 20") + READY
    chunks = talk(copy_in, message("G", format_), rows + message("c"), done)
    chunks += talk(copy_out, message("H", format_) + rows + message("c") + done)
    chunks += talk(
        copy_in, message("G", format_), rows + message("f", b"secret\0"), error("57014") + READY, SELECT, ROWS
    )
    copied = ("COPY t *", "00000", False)
    assert_said(chunks, copied, copied, ("COPY t *", "57014", True), *ONE)


def test_a_function_call() -> None:
    sent = message("F", struct.pack(">IHHIH", 2, 0, 1, 0, 0))
    answer = message("V", struct.pack(">I", 4) + bytes(4)) + READY
    assert_said(talk(sent + b"", answer, SELECT, ROWS)[2:], *ONE)
    assert_said(talk(SELECT, ROWS, sent, answer), *ONE, ("FUNCTION CALL", "00000", False))


def test_what_a_server_says_of_its_own_is_skipped() -> None:
    news = message("A", struct.pack(">I", 7) + b"channel\0secret\0")
    farewell = error("57P01", "FATAL")
    chunks = [*talk(SELECT, ROWS), ("server", news + NOTICE + message("S", b"TimeZone\0UTC\0")), *talk(SELECT, ROWS)]
    assert_said([*chunks, ("server", farewell)], *ONE * 2)


def test_a_replica_is_sent_the_log_until_the_end() -> None:
    _, asked = Parser(POSTGRESQL, Side.REQUEST).frame(query("START_REPLICATION 0/1000000"))
    framing, answer = Parser(POSTGRESQL, Side.RESPONSE).frame(message("W", b"\0\0\0"), waiting=asked)
    assert (framing, answer.flags, answer.next_protocol) == (Framed.MESSAGE, Flag.SWITCH, Protocol.NOSUPPORT)


def test_long_statements_and_values_have_their_lengths() -> None:
    long = query("UPDATE t SET a = '" + "x" * 100_000 + "'")
    answer, said = Parser(POSTGRESQL, Side.REQUEST).frame(long[:512], truncated=True)
    assert (answer, said.length, said.content, said.flags) == (Framed.MESSAGE, len(long), "UPDATE t *", Flag.CUT)
    answer, said = Parser(POSTGRESQL, Side.REQUEST).frame(long[:6000])
    assert (answer, said.length, said.content, said.flags) == (Framed.MESSAGE, len(long), "UPDATE t *", Flag.NONE)
    parser = Parser(POSTGRESQL, Side.REQUEST)
    parser.frame(parse("", "INSERT INTO t VALUES ($1)"))
    value = bind("", values=b"\0\1" + struct.pack(">I", 50_000) + b"y" * 50_000)
    answer, said = parser.frame(value[:400])
    assert (answer, said.length, said.content) == (Framed.PART, len(value), "")


def test_rows_to_copy_that_were_captured_in_part_last_until_the_answer() -> None:
    rows = message("d", b"secret\n") * 10
    answer, said = Parser(POSTGRESQL, Side.REQUEST).frame(rows)
    assert (answer, said.flags, said.body, said.length) == (Framed.MESSAGE, Flag.SKIP, Body.DONE, 12)
    answer, said = Parser(POSTGRESQL, Side.REQUEST).frame(rows[:9], truncated=True)
    assert (answer, said.flags, said.body) == (Framed.MESSAGE, Flag.SKIP, Body.UNTIL_FLIP)


@pytest.mark.parametrize("captured", range(200, 214))
def test_a_copy_is_counted_wherever_the_capture_of_its_rows_ends(captured: int) -> None:
    """A row has 14 bytes, and so the capture ends in each byte of one, its header's included."""
    rows = message("d", b"1\tsecret\n") * 40
    chunks = talk(
        query("COPY t FROM STDIN"), message("G", b"\0\0\1\0\0"), rows + message("c"), complete("COPY 40") + READY
    )
    assert counted_of([*chunks, *talk(SELECT, ROWS)], captured) == [("COPY t *", "00000", False), *ONE]


DETECTED = [
    (startup(), Detected.REQUEST),
    (startup(body=b"client_encoding\0'utf-8'\0user\0me\0\0"), Detected.REQUEST),
    (startup(80877103, b""), Detected.REQUEST),
    (startup(80877104, b""), Detected.REQUEST),
    (startup(80877102, bytes(8)), Detected.REQUEST),
    (SELECT, Detected.REQUEST),
    (PREPARED, Detected.REQUEST),
    (bind("s1") + describe("P", "") + execute() + SYNC, Detected.REQUEST),
    (execute("c1", 2) + SYNC, Detected.REQUEST),
    (ROWS, Detected.RESPONSE),
    (PARSED + BOUND, Detected.RESPONSE),
    (BOUND + row() + complete() + READY, Detected.RESPONSE),
    (error("42P01") + READY, Detected.RESPONSE),
    (complete("INSERT 0 1") + READY, Detected.RESPONSE),
    (message("R", struct.pack(">I", 10) + b"SCRAM-SHA-256\0\0"), Detected.RESPONSE),
    (NOTICE, Detected.RESPONSE),
    (query("hello, world"), Detected.NOT_MINE),
    (startup(2 << 16), Detected.NOT_MINE),
    (startup(body=b"\x01\x02\0me\0\0\0\0\0\0\0"), Detected.NOT_MINE),
    (message("X"), Detected.NOT_MINE),
    (message("R", struct.pack(">I", 77)), Detected.NOT_MINE),
    (complete("INSERT 0 1") + b"GET / HTTP/1.1\r\n", Detected.NOT_MINE),
    (b"DELETE / HTTP/1.1\r\n", Detected.NOT_MINE),
    (b"BEGIN:VCARD\r\n", Detected.NOT_MINE),
]


@pytest.mark.parametrize(("data", "found"), DETECTED)
def test_found_from_either_side_and_in_the_middle(data: bytes, found: Detected) -> None:
    assert detect(POSTGRESQL, data) is found
    assert detect(POSTGRESQL, data, datagram=True) is Detected.NOT_MINE
    for length in range(1, len(data)):
        start = detect(POSTGRESQL, data[:length])
        if found is not Detected.NOT_MINE:
            assert start in {found, Detected.TOO_SHORT}
        assert detect(POSTGRESQL, data[:length], truncated=True) is not Detected.TOO_SHORT


@pytest.mark.parametrize(
    "data", [message("y", b"1"), message("Q")[:4] + b"\x00", b"\0\0\0\x09\0\2\0\0\0", message("S", b"1"), b"\xff" * 9]
)
def test_what_cannot_start_a_request_does_not(data: bytes) -> None:
    assert Parser(POSTGRESQL, Side.REQUEST).frame(data)[0] is Framed.INVALID


@pytest.mark.parametrize("data", [message("y", b"1"), row(), READY[:4] + b"\x09" + b"IIIII", message("d", b"x")])
def test_what_cannot_start_a_response_does_not(data: bytes) -> None:
    waiting: Message | None = None
    assert Parser(POSTGRESQL, Side.RESPONSE).frame(data, waiting=waiting)[0] is Framed.INVALID


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_anything_may_come(data: st.DataObject) -> None:
    chunks = talk(startup(), message("R", bytes(4)) + READY, UNIT * 2 + SYNC, DONE + error("42P01") + READY)
    chunks += talk(PREPARED + SYNC, PARSED + READY, bind("s1") + execute() + SYNC, BOUND + complete() + READY)
    made: list[Chunk] = []
    for side, sent in chunks:
        wire = bytearray(sent)
        for _ in range(data.draw(st.integers(0, 3))):
            wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
        made.append((side, bytes(wire)))
    rows, stats = counted(events_of(Conversation("made", "postgresql", tuple(made))))
    assert stats["connections_closed"] == 1
    assert sum(row.count for row in rows) <= 30
