# SPDX-License-Identifier: Apache-2.0
"""RocketMQ: what its own client, broker and name server said, both ways of writing headers, and input of bad faith."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conversations import load, load_all
from tests.multiplexed import Chunk, Conversation, calls_of, split_everywhere, summed
from tests.parsing import Detected, Flag, Framed, Message, Parser, Protocol, Side, detect

ROCKETMQ = Protocol.ROCKETMQ
RECORDED = [one.name for one in load_all() if one.protocol == "rocketmq"]
SEND, SEND_V2, BATCH, PULL, HEART_BEAT, UPDATE_OFFSET = 10, 310, 320, 11, 34, 15
NOTIFY_CHANGED, RUNNING_INFO = 40, 307
RESPONSE, ONEWAY = 1, 2
JSON, BINARY = 0, 1
LOOKED_AT = 4000
Write = Callable[..., bytes]


def framed(kind: int, header: bytes, body: bytes) -> bytes:
    return struct.pack(">II", 4 + len(header) + len(body), kind << 24 | len(header)) + header + body


def in_json(
    code: int, opaque: int, fields: Mapping[str, str] | None = None, *, flag: int = 0, body: bytes = b""
) -> bytes:
    """As Java's client writes it: members in the order of the alphabet, no blanks."""
    members = {"code": code, "extFields": fields, "flag": flag, "language": "JAVA", "opaque": opaque, "version": 435}
    header = {name: value for name, value in members.items() if value is not None}
    return framed(JSON, json.dumps(header, separators=(",", ":")).encode(), body)


def in_binary(
    code: int, opaque: int, fields: Mapping[str, str] | None = None, *, flag: int = 0, body: bytes = b""
) -> bytes:
    pairs = b"".join(
        struct.pack(">H", len(name)) + name.encode() + struct.pack(">I", len(value)) + value.encode()
        for name, value in (fields or {}).items()
    )
    header = struct.pack(">HBHiiI", code, 0, 435, opaque, flag, 0) + struct.pack(">I", len(pairs)) + pairs
    return framed(BINARY, header, body)


both = pytest.mark.parametrize("write", [in_json, in_binary])


def only(data: bytes, side: Side = Side.REQUEST, *, truncated: bool = False) -> Message:
    answer, message = Parser(ROCKETMQ, side).frame(data, truncated=truncated)
    assert answer is Framed.MESSAGE
    return message


@pytest.mark.parametrize("name", RECORDED)
def test_recordings(name: str) -> None:
    conversation = load(name)
    assert conversation.expected
    # What was still waited for when the connection ended is the engine's to tell.
    answered = tuple(one for one in conversation.expected if one.response != "no response")
    for chunks in (conversation.chunks, split_everywhere(conversation.chunks)):
        reader = Conversation(ROCKETMQ)
        for who, data in chunks:
            reader.feed(who, data)
        calls = reader.close()
        assert summed(ROCKETMQ, calls) == answered
        assert len(calls) == sum(one.count for one in conversation.expected)
        assert (reader.orphans, reader.skipped) == (0, 0)
        assert sum(sum(call.bytes) for call in calls) == sum(len(data) for _, data in chunks)


def test_the_recordings_have_both_headers() -> None:
    kinds = {name: load(name).chunks[0][1][4] for name in RECORDED}
    assert len(kinds) == 6
    assert kinds == {name: JSON if name.endswith("json") else BINARY for name in RECORDED}


@both
@pytest.mark.parametrize(
    ("code", "fields", "content"),
    [
        (SEND, {"topic": "orders", "a": "b"}, "Topic:orders"),
        (SEND_V2, {"a": "shop", "b": "orders", "i": "KEYS\1k\2"}, "Topic:orders"),
        (BATCH, {"b": "orders"}, "Topic:orders"),
        (PULL, {"b": "not a topic", "topic": "%RETRY%readers"}, "Topic:%RETRY%readers"),
        (UPDATE_OFFSET, {"topic": "x" * 200}, "Topic:" + "x" * 200),
        (PULL, {"topic": "x" * 256}, "Topic:*"),
        (PULL, {"topic": ""}, "Topic:*"),
        (PULL, {"topic": 'a"b'}, "Topic:*"),
        (PULL, {"topic": "a b"}, "Topic:*"),
        (HEART_BEAT, {}, "HEART_BEAT"),
        (HEART_BEAT, None, "HEART_BEAT"),
        (HEART_BEAT, {"b": "no topic"}, "HEART_BEAT"),
        (PULL, {"consumerGroup": "the group", "subscription": "a = 'secret'"}, "PULL_MESSAGE"),
        (999, {}, "999"),
    ],
)
def test_what_is_asked(write: Write, code: int, fields: Mapping[str, str] | None, content: str) -> None:
    data = write(code, 7, fields, body=b"payload")
    message = only(data)
    assert (message.length, message.id, message.content, message.flags) == (len(data), 7, content, Flag.NONE)


@both
def test_the_least_and_the_greatest_code(write: Write) -> None:
    assert only(write(10, 1)).content == "SEND_MESSAGE"
    assert only(write(2004, 1)).content == "SET_COMMITLOG_READ_MODE"
    assert only(write(9, 1)).content == "9"
    assert only(in_json(200151, 1)).content == "BATCH_ACK_MESSAGE"
    assert only(in_json(200152, 1)).content == "200152"


@both
def test_answers_are_found_by_their_number_in_any_order(write: Write) -> None:
    chunks: list[Chunk] = [("client", b"".join(write(SEND_V2, 1000 + n, {"b": f"t{n}"}) for n in range(50)))]
    chunks += [("server", write(n % 3, 1000 + n, {"msgId": "x"}, flag=RESPONSE)) for n in reversed(range(50))]
    calls = calls_of(ROCKETMQ, chunks)
    said = [(call.request.content, call.outcome and call.outcome.response_content) for call in calls]
    assert said == [(f"Topic:t{n}", str(n % 3)) for n in range(50)]
    assert [call.outcome and call.outcome.error for call in calls] == [n % 3 != 0 for n in range(50)]


@both
def test_numbers_beyond_those_of_an_integer_are_negative(write: Write) -> None:
    (call,) = calls_of(
        ROCKETMQ, [("client", write(PULL, -(2**31), {"topic": "t"})), ("server", write(19, -(2**31), flag=RESPONSE))]
    )
    assert call.outcome
    assert (call.request.id, call.outcome.status, call.outcome.response_content) == (2**31, 19, "19")


@both
@pytest.mark.parametrize(
    ("code", "error"),
    [(0, False), (1, True), (2, True), (19, False), (20, False), (21, True), (209, True), (210, False)],
)
def test_a_long_poll_that_ends_in_vain_is_no_error(write: Write, code: int, error: bool) -> None:
    """PULL_NOT_FOUND, PULL_RETRY_IMMEDIATELY and POLLING_TIMEOUT; an offset that moved (21) and a full broker (209) are."""
    (call,) = calls_of(
        ROCKETMQ, [("client", write(PULL, 1, {"topic": "t"})), ("server", write(code, 1, flag=RESPONSE))]
    )
    assert call.outcome
    assert (call.outcome.status, call.outcome.response_content, call.outcome.error) == (code, str(code), error)


@both
def test_who_wants_no_answer_gets_none(write: Write) -> None:
    (call,) = calls_of(ROCKETMQ, [("client", write(UPDATE_OFFSET, 1, {"topic": "orders"}, flag=ONEWAY))])
    assert call.outcome
    assert (call.outcome.error, call.outcome.response_content) == (False, "")


@both
def test_a_broker_asks_too(write: Write) -> None:
    """The numbers of both sides are their own."""
    calls = calls_of(
        ROCKETMQ,
        [
            ("client", write(PULL, 5, {"topic": "orders"})),
            ("server", write(NOTIFY_CHANGED, 5, {"consumerGroup": "g"}, flag=ONEWAY)),
            ("server", write(RUNNING_INFO, 6, {"consumerGroup": "g"})),
            ("client", write(HEART_BEAT, 6)),
            ("client", write(1, 6, flag=RESPONSE)),
            ("server", write(0, 6, flag=RESPONSE)),
            ("server", write(0, 5, flag=RESPONSE)),
        ],
    )
    said = [(call.request.content, call.reversed, call.outcome and call.outcome.status) for call in calls]
    assert said == [
        ("Topic:orders", False, 0),
        ("NOTIFY_CONSUMER_IDS_CHANGED", True, 0),
        ("GET_CONSUMER_RUNNING_INFO", True, 1),
        ("HEART_BEAT", False, 0),
    ]


def test_other_clients_write_json_in_their_own_way() -> None:
    blanks = (
        b'{ "code" : 11 , "extFields" : { "a": null, "n": -1.5e3, "l": [1, {"x": "]"}], "topic" : "orders" },\r\n'
        b'\t"flag" : 0, "language" : "CPP", "opaque" : 7, "remark": null, "version" : 1 }\n'
    )
    headers = [
        blanks,
        b'{"opaque":7,"code":11,"flag":0,"language":"GO","version":317,"remark":"","extFields":{"topic":"orders"}}',
        b'{"code":11,"extFields":{"q":"\\"topic\\":\\\\","topic":"orders"},"flag":0,"opaque":7,"x":true}',
    ]
    for header in headers:
        message = only(framed(JSON, header, b""))
        assert (message.id, message.content) == (7, "Topic:orders")
        assert detect(ROCKETMQ, framed(JSON, header, b"")) is Detected.REQUEST


def test_nothing_but_the_topic_is_kept() -> None:
    for name in RECORDED:
        for call in calls_of(ROCKETMQ, load(name).chunks[:80]):
            text = str(call)
            assert not any(word in text for word in ("shop", "readers", "key10", "said", "tag"))


@both
def test_a_long_body_of_which_the_beginning_is_captured(write: Write) -> None:
    data = write(SEND_V2, 3, {"b": "orders"}, body=bytes(300_000))
    for chunks in (
        [("client", data), ("server", write(0, 3, flag=RESPONSE))],
        [("client", data[:100]), ("client", data[100:])],
    ):
        calls = calls_of(ROCKETMQ, chunks, captured=4096)
        assert [(call.request.content, call.bytes[0]) for call in calls] == [("Topic:orders", len(data))]


def test_properties_of_kilobytes_hide_a_number_that_stands_behind_them() -> None:
    fields = {"b": "orders", "i": "x" * LOOKED_AT}
    for truncated, data in ((False, in_json(SEND_V2, 3, fields)), (True, in_json(SEND_V2, 3, fields)[:4096])):
        message = only(data, truncated=truncated)
        assert (message.length, message.flags) == (len(in_json(SEND_V2, 3, fields)), Flag.SKIP)
        assert detect(ROCKETMQ, data, truncated=truncated) is Detected.NOT_MINE
    data = in_binary(SEND_V2, 3, fields)
    message = only(data[:4096], truncated=True)
    assert (message.length, message.id, message.content) == (len(data), 3, "Topic:orders")
    assert message.flags == Flag.CUT
    assert detect(ROCKETMQ, data[:4096], truncated=True) is Detected.REQUEST


@both
def test_detection(write: Write) -> None:
    request, response = write(SEND_V2, 1, {"b": "orders"}), write(0, 1, flag=RESPONSE)
    assert detect(ROCKETMQ, request) is Detected.REQUEST
    assert detect(ROCKETMQ, request + b"anything") is Detected.REQUEST
    assert detect(ROCKETMQ, response) is Detected.RESPONSE
    assert detect(ROCKETMQ, write(NOTIFY_CHANGED, 1, flag=ONEWAY)) is Detected.GREETING
    # Asked by administrators of brokers, and by those of their clients.
    assert detect(ROCKETMQ, write(RUNNING_INFO, 1)) is Detected.NOT_MINE
    for length in range(1, len(request)):
        assert detect(ROCKETMQ, request[:length]) is Detected.TOO_SHORT
        assert detect(ROCKETMQ, request[:length], truncated=True) is Detected.NOT_MINE
    assert detect(ROCKETMQ, request, datagram=True) is Detected.NOT_MINE


GOOD = in_binary(SEND_V2, 1, {"b": "orders"})


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">II", 65 << 20, 30) + bytes(40),
        struct.pack(">II", 40, 2 << 24 | 30) + bytes(40),
        struct.pack(">II", 40, 37) + bytes(40),
        struct.pack(">II", 40, 20) + bytes(40),
        struct.pack(">II", 1 << 20, 300 << 10) + bytes(40),
        framed(JSON, b"[" + b" " * 30, b""),
        framed(JSON, b'{"code":1,"flag":0,"opaque":2,"a":"b', b"c"),
        framed(JSON, b'{"code":12345678901,"flag":0,"opaque":2}', b""),
        framed(JSON, b'{"code":"11","flag":0,"opaque":2}', b""),
        framed(JSON, b'{"code":11,"flag":0,"language":"JAVA"}', b""),
        framed(JSON, b'{"code":11;"flag":0,"opaque":2}', b""),
        framed(JSON, b'{"a name of more than 25 bytes":1,"code":1,"flag":0,"opaque":2}', b""),
        framed(JSON, b'{"code":11,"flag":0,"opaque":2,"remark":\x00}', b""),
        GOOD[:10] + b"\x20" + GOOD[11:],  # language
        GOOD[:17] + b"\x01" + GOOD[18:],  # flag
        GOOD[:21] + b"\x00\x00\x00\xff" + GOOD[25:],  # length of the remark
        GOOD[:25] + b"\x00\x00\x00\x0c" + GOOD[29:],  # length of the fields
        GOOD[:25] + bytes(4) + GOOD[29:],
        GOOD[:29] + b"\x00\x99" + GOOD[31:],  # length of a name
        GOOD[:32] + b"\x00\x00\x00\x07" + GOOD[36:],  # length of a value
    ],
)
def test_what_is_no_message(data: bytes) -> None:
    for side in Side:
        assert Parser(ROCKETMQ, side).frame(data)[0] is Framed.INVALID
    assert detect(ROCKETMQ, data) is Detected.NOT_MINE


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=80), st.sampled_from([JSON, BINARY]), st.sampled_from(list(Side)), st.booleans())
def test_input_of_bad_faith(data: bytes, kind: int, side: Side, truncated: bool) -> None:
    for bytes_ in (
        framed(kind, data, b""),
        framed(kind, b'{"code":11,"extFields":{' + data, b""),
        GOOD[:29] + data,
        data,
    ):
        detect(ROCKETMQ, bytes_, truncated=truncated)
        answer, message = Parser(ROCKETMQ, side).frame(bytes_, truncated=truncated)
        if answer is Framed.MESSAGE:
            assert message.length == 4 + int.from_bytes(bytes_[:4], "big")
