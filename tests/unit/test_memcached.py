# SPDX-License-Identifier: Apache-2.0
"""memcached, text and binary: what a real server and its clients said, and input of bad faith."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conversations import Conversation, Expected, counted, events_of, in_short, load
from tests.memcached_client import packet
from tests.parsing import Body, Detected, Flag, Framed, Message, Parser, Protocol, Side, detect, every_split, read

MEMCACHED = Protocol.MEMCACHED
RECORDED = ("commands", "pipelined", "quiet-meta", "packets", "quiet-packets", "pymemcache")


def asked(line: bytes) -> Message:
    answer, message = Parser(MEMCACHED, Side.REQUEST).frame(line)
    assert answer is Framed.MESSAGE
    return message


def said(*chunks: tuple[str, bytes]) -> tuple[Expected, ...]:
    rows, stats = counted(events_of(Conversation("made up", "memcached", chunks)))
    assert {"orphan_responses", "discarded_exchanges", "resyncs", "contradictions"}.isdisjoint(stats)
    assert sum(row.request_bytes + row.response_bytes for row in rows) == sum(len(data) for _, data in chunks)
    return in_short(rows)


def one(request: str, response: str, status: int = 0, error: bool = False, count: int = 1) -> Expected:
    return Expected("memcached", request, response, status, error, count)


@pytest.mark.parametrize("name", RECORDED)
def test_no_key_or_value_is_in_a_label(name: str) -> None:
    rows, _ = counted(events_of(load(f"memcached-{name}")))
    for word in ("fruit", "apple", "absent", "number", "key", "session", "user:"):
        assert not any(word in row.request or word in row.response for row in rows)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"get key\r\n", Detected.REQUEST),
        (b"get key\n", Detected.REQUEST),
        (b"gets a b c\r\n", Detected.REQUEST),
        (b"gat 10 a b\r\n", Detected.REQUEST),
        (b"set k 0 -1 5\r\nhello\r\n", Detected.REQUEST),
        (b"cas k 0 0 5 17 noreply\r\n", Detected.REQUEST),
        (b"incr k 1\r\n", Detected.REQUEST),
        (b"delete k\r\n", Detected.REQUEST),
        (b"stats\r\n", Detected.REQUEST),
        (b"mg k v t\r\n", Detected.REQUEST),
        (b"ms k 2 T0\r\n", Detected.REQUEST),
        (b"mn\r\n", Detected.REQUEST),
        (b"get " + b"key " * 2000, Detected.REQUEST),
        (b"VALUE k 0 5\r\nhello\r\nEND\r\n", Detected.RESPONSE),
        (b"STORED\r\n", Detected.RESPONSE),
        (b"STAT pid 17\r\n", Detected.RESPONSE),
        (packet(0x00, b"k"), Detected.REQUEST),
        (b"\x81" + packet(0x00)[1:], Detected.RESPONSE),
        (b"se", Detected.TOO_SHORT),
        (b"set k 0 0 5", Detected.TOO_SHORT),
        (b"\x80\x01", Detected.TOO_SHORT),
        # Jobs of beanstalkd, a subscription, a mail, a page, a wrong number of words.
        (b"delete 17\r\n", Detected.NOT_MINE),
        (b"touch 17\r\n", Detected.NOT_MINE),
        (b"quit\r\n", Detected.NOT_MINE),
        (b"OK\r\n", Detected.NOT_MINE),
        (b"get / HTTP/1.1 \x01\r\n", Detected.NOT_MINE),
        (b"set k 0 0\r\n", Detected.NOT_MINE),
        (b"GET key\r\n", Detected.NOT_MINE),
        (b"\x80\x00\x00\x00" + bytes(20), Detected.NOT_MINE),
        (b"\x80\x99" + bytes(22), Detected.NOT_MINE),
    ],
)
def test_detection(data: bytes, expected: Detected) -> None:
    assert detect(MEMCACHED, data) is expected


def test_what_gets_no_answer() -> None:
    assert asked(b"set k 0 0 1 noreply\r\nx\r\n").flags == Flag.NO_ANSWER
    assert asked(b"quit\r\n").flags == Flag.NO_ANSWER
    assert asked(packet(0x17)).flags == Flag.NO_ANSWER
    assert asked(b"get noreply\r\n").flags == Flag.NONE
    assert asked(b"mg k q v\r\n").flags == Flag.QUIET
    assert asked(packet(0x09, b"k")).flags == Flag.QUIET


def test_lengths_of_values() -> None:
    assert asked(b"set k 0 0 1000000\r\n").length == 19 + 1_000_002
    assert asked(b"ms k 7\r\n").length == 8 + 9
    # Refused for what the line says: what follows is not its value.
    assert asked(b"set k 0 0 -1\r\n").length == 14
    assert asked(b"set " + b"k" * 251 + b" 0 0 5\r\n").length == 263


def test_a_long_line_of_keys_need_not_be_waited_for() -> None:
    line = b"get " + b" ".join(b"key%05d" % i for i in range(2000)) + b"\r\n"
    for pieces in ([line], [line[:3000], line[3000:]], [line[i : i + 1000] for i in range(0, len(line), 1000)]):
        (message,) = read(MEMCACHED, Side.REQUEST, pieces)
        assert (message.content, message.length) == ("get", len(line))
    answer, message = Parser(MEMCACHED, Side.REQUEST).frame(line[:4096], truncated=True)
    assert (answer, message.body, message.flags) == (Framed.MESSAGE, Body.UNTIL_FLIP, Flag.CUT)


def test_a_value_is_not_read() -> None:
    value = b"END\r\nSTORED\r\nVALUE k 0 5\r\n"
    reply = b"VALUE k 0 %d\r\n%s\r\nVALUE l 0 0\r\n\r\nEND\r\n" % (len(value), value)
    for pieces in ([reply], *every_split(reply)):
        (message,) = read(MEMCACHED, Side.RESPONSE, pieces, [asked(b"get k l m\r\n")])
        assert (message.length, message.status) == (len(reply), 0)


def test_an_error_instead_of_the_end() -> None:
    reply = b"VALUE k 0 1\r\nx\r\nSERVER_ERROR out of memory writing get response\r\n"
    assert said(("client", b"get k l\r\n"), ("server", reply)) == (one("get", "SERVER_ERROR", 0x84, True),)


def test_the_end_behind_a_value_that_was_not_captured() -> None:
    """All keys were answered, so the end is known to be there, and what is asked next is paired."""
    head, asks = b"VALUE k 0 100000\r\n", b"get k\r\nget k\r\n"
    chunks = [("client", asks), ("server", head + bytes(100_000) + b"\r\nEND\r\n"), ("server", head[:6])]
    chunks[-1] = ("server", b"END\r\n")
    rows, stats = counted(events_of(Conversation("long", "memcached", tuple(chunks)), captured=4096))
    assert in_short(rows) == (one("get", "NOT_FOUND", 1), one("get", "OK"))
    assert "stream_gaps" not in stats


@pytest.mark.parametrize("last", [[], [("client", b"mn\r\n"), ("server", b"MN\r\n")]])
def test_quiet_requests_that_stay_without_an_answer_are_no_failures(last: Sequence[tuple[str, bytes]]) -> None:
    start = [("client", b"mg k v\r\n"), ("server", b"EN\r\n")]
    found = said(*start, ("client", b"ms k 1 q\r\nx\r\n" * 20 + b"mg l q v\r\n" * 5), *last)
    ends = (one("mn", "OK"),) if last else ()
    assert found == (one("mg", "NOT_FOUND", 1, count=6), *ends, one("ms", "", count=20))


def test_more_quiet_requests_than_may_wait() -> None:
    batch = b"".join(packet(0x09, b"k", opaque=i) for i in range(1, 6001))
    hit = b"\x81\x09" + bytes(9) + b"\x04" + (6000).to_bytes(4, "big") + bytes(12)
    chunks = [("client", batch[i : i + 3000]) for i in range(0, len(batch), 3000)]
    found = said(*chunks, ("client", packet(0x0A)), ("server", hit + b"\x81" + packet(0x0A)[1:]))
    assert found == (one("getq", "NOT_FOUND", 1, count=5999), one("getq", "OK"), one("noop", "OK"))


@pytest.mark.parametrize(("flags", "framed"), [(250, Framed.PASSED), (260, Framed.INVALID)])
def test_a_line_that_is_held_against_each_quiet_request_is_short(flags: int, framed: Framed) -> None:
    _, quiet = Parser(MEMCACHED, Side.REQUEST).frame(b"mg k q v O1\r\n")
    line = b"VA 1" + b" t" * flags + b"\r\nv\r\n"
    assert Parser(MEMCACHED, Side.RESPONSE).frame(line, waiting=quiet)[0] is framed


def test_an_answer_of_the_other_protocol_or_command_is_none() -> None:
    for request, reply in (
        (packet(0x00, b"k"), b"END\r\n"),
        (b"get k\r\n", b"\x81" + packet(0x0A)[1:]),
        (packet(0x00, b"k"), b"\x81" + packet(0x0A)[1:]),
        (b"get k\r\n", b"+OK\r\n"),
    ):
        assert Parser(MEMCACHED, Side.RESPONSE).frame(reply, waiting=asked(request))[0] is Framed.INVALID


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.sampled_from([b"VALUE k 0 3\r\n", b"abc\r\n", b"END\r\n", b"STAT a b\r\n", b"ERROR\r\n", b"VA 2 q\r\n"])
    ),
    st.binary(max_size=20),
    st.sampled_from(list(Side)),
)
def test_input_of_bad_faith(lines: list[bytes], tail: bytes, side: Side) -> None:
    data = b"".join(lines) + tail
    parser = Parser(MEMCACHED, side)
    for _ in range(20):
        answer, message = parser.frame(data)
        if answer in {Framed.MORE, Framed.INVALID}:
            break
        assert message.length > 0
        data = data[message.length :]
