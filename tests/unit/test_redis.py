# SPDX-License-Identifier: Apache-2.0
"""Redis: what real servers and clients said, every type of RESP2 and RESP3, and input of bad faith."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conversations import load
from tests.parsing import (
    Body,
    Detected,
    Flag,
    Framed,
    Message,
    Outcome,
    Parser,
    Protocol,
    Side,
    detect,
    every_split,
    read,
    stitch,
)
from tests.playing import byte_by_byte, in_one_piece, play, split_everywhere
from tests.recordings.parsers.capture_redis import command

REDIS = Protocol.REDIS


def framed(data: bytes, side: Side = Side.REQUEST, waiting: Message | None = None) -> Message:
    answer, message = Parser(REDIS, side).frame(data, waiting=waiting)
    assert answer is Framed.MESSAGE
    return message


def outcome_of(reply: bytes, *words: str) -> Outcome:
    request = framed(command(*words))
    (response,) = read(REDIS, Side.RESPONSE, [reply], [request])
    assert response.length == len(reply)
    return stitch(REDIS, request, response)


# --- recordings -------------------------------------------------------------------------------------------------------

FAILED = {"NOSUCHCOMMAND", "AUTH"}
COMMANDS = [
    *("SET", "GET", "GET", "INCR", "INCR!", "LPUSH", "LRANGE", "HSET", "HGETALL", "SADD", "SMEMBERS", "ZADD", "ZSCORE"),
    *("NOSUCHCOMMAND!", "GET!", "CONFIG GET", "CLIENT SETNAME", "OBJECT ENCODING", "MULTI", "SET", "LPUSH", "EXEC"),
    *("EXEC!", "EVAL", "SCRIPT LOAD", "XADD", "XRANGE", "AUTH!", "DEL", "PING"),
]
SUBSCRIBED = ["PING", "SUBSCRIBE", "PSUBSCRIBE", "PING", "UNSUBSCRIBE", "PUNSUBSCRIBE", "GET"]
# Each command in order, with ! behind those that fail, ~ behind those that are not answered; and what is skipped.
RECORDED: dict[str, tuple[list[str], int]] = {
    "redis-resp2": (COMMANDS, 0),
    "redis-resp3": (["HELLO", *COMMANDS], 0),
    "redis-pipe": ([*COMMANDS, "ECHO"], 1),
    "redis-subscribed-resp2": (SUBSCRIBED, 4),
    "redis-subscribed-resp3": (["HELLO", *SUBSCRIBED], 4),
    "redis-monitor": (["MONITOR", "QUIT"], 3),
    "redis-inline": (
        [
            *("PING", "SET", "GET", "INFO", "CLIENT REPLY~", "GET~", "CLIENT REPLY", "CLIENT REPLY~", "GET~", "GET"),
            *("INCR!", "QUIT"),
        ],
        1,
    ),
    "redis-big": (["SET", "GET", "DEL"], 0),
}


def as_written(said: tuple[str, str, bool]) -> str:
    content, answer, error = said
    assert answer == ("error" if error else "noerror") or (answer, error) == ("", False)
    return content + ("!" if error else "" if answer else "~")


@pytest.mark.parametrize("name", RECORDED)
def test_recordings_however_they_are_cut(name: str) -> None:
    conversation = load(name)
    expected, skipped = RECORDED[name]
    joined = in_one_piece(conversation.chunks)
    ways = [conversation.chunks, joined, byte_by_byte(conversation.chunks)]
    total = sum(len(data) for _, data in conversation.chunks)
    ways += list(split_everywhere(joined, 1 + total // 300))
    for chunks in ways:
        played = play(REDIS, chunks)
        assert [as_written(exchange.said) for exchange in played.exchanges] == expected
        assert (len(played.skipped), played.orphans, played.switched) == (skipped, [], None)
        sizes = [exchange.request.length for exchange in played.exchanges]
        sizes += [exchange.response.length for exchange in played.exchanges if exchange.response]
        assert sum(sizes) + sum(message.length for message in played.skipped) == total


def test_recording_of_a_benchmark_with_sixteen_in_flight() -> None:
    conversation = load("redis-pipelined")
    for chunks in (conversation.chunks, byte_by_byte(conversation.chunks)):
        played = play(REDIS, chunks)
        counted = Counter(exchange.said for exchange in played.exchanges)
        assert {said for said in counted if said[2]} == set()
        assert {said[0]: count for said, count in counted.items()} == {
            "CONFIG GET": 2,
            "SET": 32,
            "GET": 32,
            "LPUSH": 32,
        }


def test_a_replica_is_given_up_to_its_stream() -> None:
    played = play(REDIS, load("redis-replica").chunks)
    assert [exchange.said[0] for exchange in played.exchanges] == ["PING", "REPLCONF", "REPLCONF", "PSYNC"]
    assert played.switched is Protocol.NOSUPPORT


# --- requests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "content"),
    [
        (("get", "key"), "GET"),
        (("Set", "key", "value", "EX", "10"), "SET"),
        (("AUTH", "secret"), "AUTH"),
        (("AUTH", "me", "secret"), "AUTH"),
        (("HELLO", "3", "AUTH", "me", "secret"), "HELLO"),
        (("CONFIG", "SET", "requirepass", "secret"), "CONFIG SET"),
        (("ACL", "setuser", "me", ">secret"), "ACL SETUSER"),
        (("client", "no-evict", "on"), "CLIENT NO-EVICT"),
        (("CLIENT", "x" * 33), "CLIENT"),
        (("COMMAND",), "COMMAND"),
        (("FT.SEARCH", "index", "words"), "FT.SEARCH"),
        (("EVAL_RO", "return 1", "0"), "EVAL_RO"),
        (("RESTORE-ASKING", "k", "0", ""), "RESTORE-ASKING"),
        (("secret word",), "*"),
        (("",), "*"),
        (("4711",), "*"),
        (("x" * 33, "1"), "*"),
        (("XGROUP", "CREATE", "s", "g", "$"), "XGROUP CREATE"),
        (("XGROUP", "not a subcommand"), "XGROUP"),
    ],
)
def test_the_command_and_never_its_arguments(words: tuple[str, ...], content: str) -> None:
    data = command(*words)
    for pieces in [[data], *every_split(data)]:
        (message,) = read(REDIS, Side.REQUEST, pieces)
        assert (message.content, message.length) == (content, len(data))


@pytest.mark.parametrize("data", [b"*0\r\n", b"*-1\r\n", b"\r\n", b"\n", b"  \r\n"])
def test_what_a_server_takes_no_notice_of(data: bytes) -> None:
    assert framed(data).flags == Flag.SKIP


def test_a_long_value_that_was_not_captured() -> None:
    data = command("SET", "key", "x" * 100_000)
    answer, message = Parser(REDIS, Side.REQUEST).frame(data[:4096], truncated=True)
    assert (answer, message.content, message.length, message.body) == (Framed.MESSAGE, "SET", len(data), Body.DONE)
    several = command("MSET", "a", "x" * 100_000, "b", "c")
    parser = Parser(REDIS, Side.REQUEST)
    answer, message = parser.frame(several[:4096], truncated=True)
    assert (answer, message.content, message.body) == (Framed.MESSAGE, "MSET", Body.PARTS)
    answer, rest = parser.frame(several[message.length :])
    assert (answer, message.length + rest.length) == (Framed.END, len(several))


def test_a_command_that_was_cut_lasts_until_the_answer() -> None:
    data = command("CLIENT", "SETNAME", "x" * 100)
    for length, content in ((6, "*"), (11, "*"), (18, "CLIENT"), (30, "CLIENT SETNAME")):
        answer, message = Parser(REDIS, Side.REQUEST).frame(data[:length], truncated=True)
        assert (answer, message.content, message.body) == (Framed.MESSAGE, content, Body.UNTIL_FLIP)
        assert message.flags == Flag.CUT
    assert Parser(REDIS, Side.REQUEST).frame(b"*2", truncated=True)[0] is Framed.INVALID


@pytest.mark.parametrize(
    "data",
    [b"howdy there\r\n", b"RETR 1\r\n", b"$3\r\nGET\r\n", b"*2\r\n:1\r\n", b"*x\r\n", b"*1\r\n$-1\r\n", b"+OK\r\n"],
)
def test_what_is_no_request(data: bytes) -> None:
    assert Parser(REDIS, Side.REQUEST).frame(data)[0] is Framed.INVALID


def test_replies_that_were_switched_off() -> None:
    off = command("CLIENT", "REPLY", "OFF") + command("GET", "a") + command("client", "reply", "on")
    skip = command("CLIENT", "REPLY", "SKIP") + command("GET", "a") + command("GET", "b")
    messages = read(REDIS, Side.REQUEST, [off + skip])
    unanswered = [bool(message.flags & Flag.NO_ANSWER) for message in messages]
    assert unanswered == [True, True, False, True, True, False]
    assert stitch(REDIS, messages[1], None) == Outcome(0, False, "GET", "")
    assert stitch(REDIS, messages[5], None) == Outcome(0, True, "GET", "")


# --- responses --------------------------------------------------------------------------------------------------------

REPLIES = [
    b"+OK\r\n",
    b":-5\r\n",
    b"$5\r\nhello\r\n",
    b"$0\r\n\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"*3\r\n:1\r\n$2\r\nab\r\n*2\r\n+a\r\n-ERR inside\r\n",
    b"_\r\n",
    b"#t\r\n",
    b",3.25\r\n",
    b",-inf\r\n",
    b"(3492890328409238509324850943850943825024385\r\n",
    b"=7\r\ntxt:abc\r\n",
    b"%2\r\n+a\r\n:1\r\n+b\r\n%1\r\n+c\r\n*0\r\n",
    b"~2\r\n+x\r\n~1\r\n+y\r\n",
    b"|1\r\n+ttl\r\n:3600\r\n*2\r\n:1\r\n:2\r\n",
    b"|1\r\n+a\r\n%1\r\n+b\r\n+c\r\n|1\r\n+d\r\n+e\r\n+OK\r\n",
    b"*2\r\n|1\r\n+a\r\n+b\r\n:1\r\n:2\r\n",
    b"$?\r\n;4\r\nHell\r\n;5\r\no wor\r\n;1\r\nd\r\n;0\r\n",
    b"*?\r\n:1\r\n*2\r\n:2\r\n:3\r\n.\r\n",
    b"%?\r\n+a\r\n*?\r\n$1\r\nx\r\n.\r\n+b\r\n:2\r\n.\r\n",
    b"*2\r\n*?\r\n*?\r\n.\r\n.\r\n+end\r\n",
    b"*1\r\n" * 60 + b":1\r\n",
]
ERRORS = [b"-ERR unknown command\r\n", b"-WRONGTYPE no\r\n", b"!10\r\nSYNTAX bad\r\n", b"|1\r\n+a\r\n+b\r\n-ERR no\r\n"]


@pytest.mark.parametrize("reply", [*REPLIES, *ERRORS])
def test_every_type_of_answer_however_it_is_cut(reply: bytes) -> None:
    assert outcome_of(reply, "GET", "k") == (
        Outcome(1, True, "GET", "error") if reply in ERRORS else Outcome(0, False, "GET", "noerror")
    )
    waiting = [framed(command("GET", "k")), framed(command("PING"))]
    both = reply + b"+PONG\r\n"
    for pieces in every_split(both):
        messages = read(REDIS, Side.RESPONSE, pieces, waiting)
        assert [(message.length, message.status) for message in messages] == [(len(reply), reply in ERRORS), (7, 0)]


@pytest.mark.parametrize(
    "reply",
    [
        b"*2\r\n:1\r\nx\r\n",
        b"%-1\r\n",
        b"*99999999999999\r\n",
        b"$12x\r\n",
        b".\r\n",
        b"*?\r\n*1\r\n.\r\n",
        b"*?\r\n*?\r\n*?\r\n*?\r\n.\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"\x00\x01",
    ],
)
def test_what_is_no_answer(reply: bytes) -> None:
    parser = Parser(REDIS, Side.RESPONSE)
    answer, message = parser.frame(reply, waiting=framed(command("GET", "k")))
    while answer in {Framed.MESSAGE, Framed.PART} and message.length < len(reply):
        reply = reply[message.length :]
        answer, message = parser.frame(reply)
    assert answer is Framed.INVALID


def test_an_answer_longer_than_what_was_captured() -> None:
    asked = framed(command("LRANGE", "k", "0", "-1"))
    element = b"$1000\r\n" + b"v" * 1000 + b"\r\n"
    reply = b"*10\r\n" + element * 10
    parser = Parser(REDIS, Side.RESPONSE)
    answer, message = parser.frame(reply[:4096], truncated=True, waiting=asked)
    assert (answer, message.body, message.length) == (Framed.MESSAGE, Body.PARTS, 5 + 5 * len(element))
    at = message.length
    assert parser.frame(reply[at : at + 2], truncated=True)[0] is Framed.MORE
    answer, rest = parser.frame(reply[at:])
    assert (answer, at + rest.length) == (Framed.END, len(reply))
    answer, message = Parser(REDIS, Side.RESPONSE).frame(b"-ERR wr", truncated=True, waiting=asked)
    assert (answer, message.status, message.flags, message.body) == (
        Framed.MESSAGE,
        1,
        Flag.CUT,
        Body.UNTIL_FLIP,
    )


def test_pushes_between_answers_belong_to_nobody() -> None:
    pushed = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"
    waiting = [framed(command("GET", "k"))]
    messages = read(REDIS, Side.RESPONSE, [pushed + b"+OK\r\n" + pushed], waiting)
    assert [message.flags for message in messages] == [Flag.SKIP, Flag.NONE, Flag.SKIP]
    message = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n"
    assert [one.flags for one in read(REDIS, Side.RESPONSE, [message])] == [Flag.SKIP]
    # A list may hold such words.
    assert framed(message, Side.RESPONSE, waiting[0]).flags == Flag.NONE


def test_a_subscription_is_answered_once_and_confirmed_for_each_channel() -> None:
    asked = [framed(command("SUBSCRIBE", "a", "b", "c")), framed(command("SUBSCRIBE", "d")), framed(command("PING"))]
    replies = [f"*3\r\n$9\r\nsubscribe\r\n$1\r\n{name}\r\n:1\r\n".encode() for name in "abcd"]
    pong = b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"
    messages = read(REDIS, Side.RESPONSE, [b"".join(replies) + pong], asked)
    assert [bool(message.flags & Flag.SKIP) for message in messages] == [False, True, True, False, False]


# --- detection --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"*1\r\n$4\r\nPING\r\n", Detected.REQUEST),
        (b"*3\r\n$3\r\nset\r\n$1\r\nk\r\n$5\r\nva", Detected.REQUEST),
        (b"*4\r\n$9\r\nFT.SEARCH\r\n", Detected.REQUEST),
        (b"*2\r\n$4\r\nsave\r\n$0\r\n\r\n", Detected.RESPONSE),
        (b"*480\r\n$6\r\nbitpos\r\n*12\r\n", Detected.RESPONSE),
        (b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n", Detected.RESPONSE),
        (b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n$1\r\nb\r\n", Detected.REQUEST),
        (b"*2\r\n$5\r\nhello\r\n$5\r\nworld\r\n", Detected.REQUEST),
        (b"*2\r\n$5\r\napple\r\n$5\r\nbirch\r\n", Detected.RESPONSE),
        (b"*2\r\n:1\r\n:2\r\n", Detected.RESPONSE),
        (b"PING\r\n", Detected.REQUEST),
        (b"info replication\r\n", Detected.REQUEST),
        (b"$5\r\nhello\r\n", Detected.RESPONSE),
        (b"$500\r\nhello", Detected.RESPONSE),
        (b"$-1\r\n", Detected.RESPONSE),
        (b"+PONG\r\n", Detected.RESPONSE),
        (b"-WRONGTYPE Operation", Detected.RESPONSE),
        (b"-NOAUTH Authentication required.\r\n", Detected.RESPONSE),
        (b"%1\r\n$6\r\nserver\r\n", Detected.RESPONSE),
        (b"*", Detected.TOO_SHORT),
        (b"*12", Detected.TOO_SHORT),
        (b"*12\r", Detected.TOO_SHORT),
        (b"*1\r\n$4\r\nPI", Detected.TOO_SHORT),
        (b"PIN", Detected.TOO_SHORT),
        (b"+OK\r\n", Detected.NOT_MINE),
        (b"-ERR no such mailbox\r\n", Detected.NOT_MINE),
        (b"+OK POP3 ready\r\n", Detected.NOT_MINE),
        (b'INFO {"server_id":"N"}\r\n', Detected.NOT_MINE),
        (b"INFO sip:a@b SIP/2.0\r\n", Detected.NOT_MINE),
        (b"PING :irc.example\r\n", Detected.NOT_MINE),
        (b"get key\r\n", Detected.NOT_MINE),
        (b"set key 0 0 5\r\nhello\r\n", Detected.NOT_MINE),
        (b"* 1 FETCH (FLAGS)\r\n", Detected.NOT_MINE),
        (b"* OK IMAP4 ready\r\n", Detected.NOT_MINE),
        (b"*\xff\x00", Detected.NOT_MINE),
        (b"$abc\r\n", Detected.NOT_MINE),
        (b"220 mail ESMTP\r\n", Detected.NOT_MINE),
        (b"AUTH PLAIN AHUA\r\n", Detected.NOT_MINE),
    ],
)
def test_detection(data: bytes, expected: Detected) -> None:
    assert detect(REDIS, data) is expected
    if expected is Detected.TOO_SHORT:
        assert detect(REDIS, data, truncated=True) is Detected.NOT_MINE
    assert detect(REDIS, data, datagram=True) is Detected.NOT_MINE


@pytest.mark.parametrize("name", [name for name in RECORDED if name != "redis-inline"])
def test_recordings_are_found_from_either_side(name: str) -> None:
    conversation = load(name)
    for data in conversation.sent("client"):
        if data.startswith(b"*"):
            known = b"NOSUCH" not in data[:40]
            assert detect(REDIS, data) is (Detected.REQUEST if known else Detected.RESPONSE)
    for data in conversation.sent("server"):
        assert detect(REDIS, data) is not Detected.REQUEST


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=80), st.sampled_from(list(Side)), st.booleans())
def test_any_bytes_are_taken_or_left(data: bytes, side: Side, truncated: bool) -> None:
    detect(REDIS, data, truncated=truncated)
    Parser(REDIS, side).frame(b"*3\r\n" + data, truncated=truncated)
    Parser(REDIS, side).frame(data, truncated=truncated)
