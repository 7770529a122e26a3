# SPDX-License-Identifier: Apache-2.0
"""AMQP 0-9-1: what RabbitMQ and pika said, methods and contents of every kind, and input of bad faith."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conversations import load
from tests.multiplexed import Call, Chunk, Conversation, calls_of, split_everywhere, summed
from tests.parsing import Clustering, Detected, Flag, Framed, Message, Options, Parser, Protocol, Side, detect

AMQP = Protocol.AMQP
RECORDED = ("amqp-work", "amqp-fail", "amqp-denied")
METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
OPENING = b"AMQP\x00\x00\x09\x01"
Said = tuple[str, str, int, bool]


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def method(channel: int, class_id: int, method_id: int, arguments: bytes = b"") -> bytes:
    return frame(METHOD, channel, struct.pack(">HH", class_id, method_id) + arguments)


def short(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


def publish(channel: int, exchange: str, key: str, *parts: bytes) -> bytes:
    size = sum(map(len, parts))
    head = frame(HEADER, channel, struct.pack(">HHQH", 60, 0, size, 0))
    start = method(channel, 60, 40, bytes(2) + short(exchange) + short(key) + b"\0")
    return start + head + b"".join(frame(BODY, channel, part) for part in parts)


def close(channel: int, code: int, *, connection: bool = False) -> bytes:
    ids = (10, 50) if connection else (20, 40)
    return method(channel, *ids, struct.pack(">H", code) + short("reason") + bytes(4))


def framed(data: bytes, side: Side = Side.REQUEST, options: Options | None = None) -> Message:
    answer, message = Parser(AMQP, side, options).frame(data)
    assert answer is Framed.MESSAGE
    assert message.length == len(data)
    return message


def said(calls: list[Call]) -> list[Said | None]:
    return [
        (call.outcome.request_content, call.outcome.response_content, call.outcome.status, call.outcome.error)
        if call.outcome
        else None
        for call in calls
    ]


def fine(content: str) -> Said:
    return content, "", 0, False


@pytest.mark.parametrize("name", RECORDED)
def test_recordings(name: str) -> None:
    conversation = load(name)
    for chunks in (conversation.chunks, split_everywhere(conversation.chunks)):
        reader = Conversation(AMQP)
        for who, data in chunks:
            reader.feed(who, data)
        calls = reader.close()
        assert summed(AMQP, calls) == conversation.expected
        assert reader.orphans == 0
        everything = sum(len(data) for _, data in chunks)
        assert sum(sum(call.bytes) for call in calls) + reader.skipped == everything


def test_bodies_of_which_only_the_beginning_is_captured_keep_the_stream_in_step() -> None:
    chunks: list[Chunk] = [("client", publish(1, "e", "k", bytes(5000)))]
    chunks.append(("client", publish(1, "e", "k") + method(1, 60, 10, bytes(7))))
    chunks.append(("server", method(1, 60, 11)))
    assert said(calls_of(AMQP, chunks, captured=100)) == [
        fine("basic.publish e"),
        fine("basic.publish e"),
        fine("basic.qos"),
    ]


def test_the_frames_of_a_body_that_was_not_captured_are_counted_on() -> None:
    """Their headers are not seen: each is taken to be as long as the first, the last for what is left."""
    body = publish(1, "e", "k", *[bytes(1000)] * 4, bytes(1)) + publish(1, "f", "k")
    whole = len(publish(1, "e", "k", *[bytes(1000)] * 4, bytes(1)))
    reader = Conversation(AMQP)
    reader.feed("client", body[:2000], captured=100)
    reader.feed("client", body[2000:whole], captured=0)
    reader.feed("client", body[whole:])
    assert [(call.request.content, call.bytes[0]) for call in reader.close()] == [
        ("basic.publish e", whole),
        ("basic.publish f", len(body) - whole),
    ]


def test_a_password_is_in_no_label() -> None:
    for call in calls_of(AMQP, load("amqp-denied").chunks, Options(clustering=Clustering.NOPARAM)):
        assert "secret" not in str(call)


def test_contents_of_two_channels_take_turns() -> None:
    one, two = publish(1, "one", "k", b"a" * 10, b"b" * 10), publish(2, "two", "k", b"c" * 20)
    pieces_one = [one[:-36], one[-36:-18], one[-18:]]
    head = len(two) - 28
    chunks: list[Chunk] = [("client", pieces_one[0] + two[:head] + pieces_one[1] + two[head:] + pieces_one[2])]
    calls = calls_of(AMQP, chunks)
    assert said(calls) == [fine("basic.publish one"), fine("basic.publish two")]
    assert [call.bytes[0] for call in calls] == [len(one), len(two)]


def test_a_delivery_is_a_request_of_the_server() -> None:
    deliver = method(3, 60, 60, short("tag") + bytes(9) + short("") + short("queue"))
    deliver += frame(HEADER, 3, struct.pack(">HHQH", 60, 0, 4, 0)) + frame(BODY, 3, b"body")
    (call,) = calls_of(AMQP, [("server", deliver), ("client", method(3, 60, 80, bytes(9)))])[:1]
    assert call.reversed
    assert call.bytes == [len(deliver), 0]
    assert said([call]) == [fine("basic.deliver queue")]


def test_a_close_with_a_reason_answers_what_waits_and_else_stands_for_itself() -> None:
    chunks: list[Chunk] = [
        ("client", method(1, 50, 10, bytes(2) + short("gone") + b"\x01" + bytes(4))),
        ("server", close(1, 404)),
        ("client", method(1, 20, 41)),
        ("server", close(2, 406)),
        ("client", method(2, 20, 41)),
        ("server", close(0, 320, connection=True)),
        ("client", method(0, 10, 51)),
    ]
    assert said(calls_of(AMQP, chunks)) == [
        ("queue.declare gone", "404", 404, True),
        ("channel.close", "406", 406, True),
        ("connection.close", "320", 320, True),
    ]


def test_a_close_of_the_clients_is_an_ordinary_request() -> None:
    chunks: list[Chunk] = [("client", close(4, 200)), ("server", method(4, 20, 41))]
    assert said(calls_of(AMQP, chunks)) == [fine("channel.close")]


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (method(1, 50, 10, bytes(2) + short("q") + b"\x10" + bytes(4)), "queue.declare q"),
        (method(1, 40, 10, bytes(2) + short("e") + short("topic") + b"\x10" + bytes(4)), "exchange.declare e"),
        (method(1, 60, 20, bytes(2) + short("q") + short("t") + b"\x08" + bytes(4)), "basic.consume q"),
        (method(1, 60, 30, short("tag") + b"\x01"), "basic.cancel"),
        (method(1, 50, 40, bytes(2) + short("q") + b"\x04"), "queue.delete q"),
        (method(1, 85, 10, b"\x01"), "confirm.select"),
    ],
)
def test_no_wait_is_obeyed(data: bytes, content: str) -> None:
    message = framed(data)
    assert (message.content, message.flags) == (content, Flag.NO_ANSWER)


@pytest.mark.parametrize(
    ("name", "clustering", "content"),
    [
        ("orders.new", Clustering.ALPHABET, "queue.purge orders.new"),
        ("reply.4711", Clustering.ALPHABET, "queue.purge reply.*"),
        ("amq.gen-JzTY20BRgKO_HjmUJj0wLg", Clustering.ALPHABET, "queue.purge amq.*"),
        ("reply.4711", Clustering.NOPARAM, "queue.purge reply.4711"),
        ("orders", Clustering.BLANK, "queue.purge"),
    ],
)
def test_names_are_clustered(name: str, clustering: Clustering, content: str) -> None:
    data = method(1, 50, 30, bytes(2) + short(name) + b"\0")
    assert framed(data, options=Options(clustering=clustering)).content == content


def test_heartbeats_handshake_and_confirms_are_nobodys() -> None:
    for side, data in (
        (Side.REQUEST, OPENING),
        (Side.REQUEST, frame(HEARTBEAT, 0, b"")),
        (Side.RESPONSE, frame(HEARTBEAT, 0, b"")),
        (Side.RESPONSE, method(0, 10, 10, bytes(20))),
        (Side.REQUEST, method(0, 10, 11, bytes(20))),
        (Side.RESPONSE, method(1, 60, 80, bytes(9))),
        (Side.REQUEST, method(1, 20, 20, b"\1")),
    ):
        assert framed(data, side).flags == Flag.SKIP


def test_what_is_no_frame() -> None:
    for data in (
        frame(METHOD, 1, bytes(4))[:-1] + b"\xcd",
        frame(4, 1, bytes(4)),
        frame(HEADER, 0, bytes(14)),
        frame(HEARTBEAT, 1, b""),
        frame(METHOD, 1, b"abc"),
    ):
        assert Parser(AMQP, Side.REQUEST).frame(data)[0] is Framed.INVALID


def test_detection_from_either_side() -> None:
    assert detect(AMQP, OPENING) is Detected.REQUEST
    assert detect(AMQP, publish(1, "e", "k", b"x")) is Detected.REQUEST
    assert detect(AMQP, method(1, 50, 11, short("q") + bytes(8))) is Detected.RESPONSE
    for length in range(1, 8):
        assert detect(AMQP, OPENING[:length]) is Detected.TOO_SHORT
    assert detect(AMQP, b"AMQP\x00\x01\x00\x00") is Detected.NOT_MINE  # version 1.0 is another protocol
    # A heartbeat or an acknowledgement may be anybody's: the next frame tells.
    assert detect(AMQP, frame(HEARTBEAT, 0, b"")) is Detected.TOO_SHORT
    assert detect(AMQP, frame(HEARTBEAT, 0, b"") + method(1, 60, 60, bytes(12))) is Detected.RESPONSE
    assert detect(AMQP, method(1, 99, 10)) is Detected.NOT_MINE


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=60), st.sampled_from(list(Side)), st.integers(0, 200))
def test_arguments_of_bad_faith(data: bytes, side: Side, kind: int) -> None:
    whole = method(kind % 5, (60, 50, 40, 20, 10)[kind % 5], kind // 5 * 10 // 4, data)
    answer, message = Parser(AMQP, side).frame(whole)
    assert answer is Framed.MESSAGE
    assert message.length == len(whole)
    for length in range(len(whole)):
        assert Parser(AMQP, side).frame(whole[:length])[0] is Framed.MORE
