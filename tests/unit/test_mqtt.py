# SPDX-License-Identifier: Apache-2.0
"""MQTT: what mosquitto and paho said in 3.1.1 and 5, packets of every kind, and input of bad faith."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conversations import load
from tests.multiplexed import Chunk, Conversation, calls_of, split_everywhere, summed
from tests.parsing import Clustering, Detected, Flag, Framed, Message, Options, Parser, Protocol, Side, detect

MQTT = Protocol.MQTT
RECORDED = ("mqtt-work-3", "mqtt-work-5", "mqtt-denied-3", "mqtt-denied-5")
CONNECT_5 = b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x03abc"


def packet(kind: int, flags: int, body: bytes) -> bytes:
    length, digits = len(body), b""
    while True:
        digits += bytes([length % 128 | (0x80 if length > 127 else 0)])
        length //= 128
        if not length:
            return bytes([kind << 4 | flags]) + digits + body


def text(value: str) -> bytes:
    return struct.pack(">H", len(value)) + value.encode()


def publish(topic: str, quality: int, number: int, payload: bytes = b"") -> bytes:
    return packet(3, quality << 1, text(topic) + (struct.pack(">H", number) if quality else b"") + payload)


def framed(data: bytes, side: Side = Side.REQUEST, options: Options | None = None) -> Message:
    answer, message = Parser(MQTT, side, options).frame(data)
    assert answer is Framed.MESSAGE
    assert message.length == len(data)
    return message


@pytest.mark.parametrize("name", RECORDED)
def test_recordings(name: str) -> None:
    conversation = load(name)
    for chunks in (conversation.chunks, split_everywhere(conversation.chunks)):
        reader = Conversation(MQTT)
        for who, data in chunks:
            reader.feed(who, data)
        calls = reader.close()
        assert summed(MQTT, calls) == conversation.expected
        assert reader.orphans == 0
        everything = sum(len(data) for _, data in chunks)
        assert sum(sum(call.bytes) for call in calls) + reader.skipped == everything


def test_a_password_is_in_no_label() -> None:
    for name in RECORDED:
        for call in calls_of(MQTT, load(name).chunks, Options(clustering=Clustering.NOPARAM)):
            assert "secret" not in str(call)


def test_the_same_identifier_both_ways_and_of_two_kinds() -> None:
    chunks: list[Chunk] = [
        ("client", publish("up", 1, 7)),
        ("server", publish("down", 1, 7)),
        ("client", packet(8, 2, b"\0\7" + text("sub") + b"\0")),
        ("client", packet(4, 0, b"\0\7")),
        ("server", packet(9, 0, b"\0\7\x80")),
        ("server", packet(4, 0, b"\0\7\x87")),
    ]
    calls = calls_of(MQTT, chunks)
    said = [(call.request.content, call.reversed, call.outcome and call.outcome.status) for call in calls]
    assert said == [("PUBLISH up", False, 0x87), ("PUBLISH down", True, 0), ("SUBSCRIBE sub", False, 0x80)]


def test_long_messages_of_which_the_beginning_is_captured() -> None:
    chunks: list[Chunk] = [("client", publish("t", 0, 0, bytes(300_000))), ("client", packet(12, 0, b""))]
    chunks.append(("server", packet(13, 0, b"")))
    calls = calls_of(MQTT, chunks, captured=64)
    assert [call.request.content for call in calls] == ["PUBLISH t", "PINGREQ"]
    assert calls[0].bytes == [len(chunks[0][1]), 0]


def test_a_broker_of_version_5_says_why_it_hangs_up() -> None:
    (call,) = calls_of(MQTT, [("server", packet(14, 0, b"\x8e"))])
    assert call.outcome
    assert (call.outcome.request_content, call.outcome.status, call.outcome.error) == ("DISCONNECT", 0x8E, True)
    assert framed(packet(14, 0, b"")).flags == Flag.SKIP


def test_topics_are_clustered() -> None:
    assert framed(publish("home/4711/+/state", 0, 0)).content == "PUBLISH home/*/+/state"
    assert (
        framed(publish("home/4711", 0, 0), options=Options(clustering=Clustering.NOPARAM)).content
        == "PUBLISH home/4711"
    )
    assert framed(publish("home/4711", 0, 0), options=Options(clustering=Clustering.BLANK)).content == "PUBLISH"
    assert framed(publish("", 0, 0)).content == "PUBLISH"  # an alias of version 5


def test_detection() -> None:
    assert detect(MQTT, CONNECT_5) is Detected.REQUEST
    for length in range(1, 9):
        assert detect(MQTT, CONNECT_5[:length]) is Detected.TOO_SHORT
    assert detect(MQTT, b"\x20\x02\x00\x00") is Detected.RESPONSE
    assert detect(MQTT, b"\x20\x02\x00\x00\x01") is Detected.NOT_MINE
    assert detect(MQTT, packet(8, 2, b"\0\1" + text("a/b") + b"\1")) is Detected.REQUEST
    assert detect(MQTT, packet(8, 2, b"\0\1\0" + text("a/b") + b"\1")) is Detected.REQUEST


def test_what_is_no_packet() -> None:
    for side, data in (
        (Side.REQUEST, b"\x00\x00"),
        (Side.REQUEST, b"\x36\x04\0\1ab"),
        (Side.REQUEST, b"\x80\x08" + bytes(8)),
        (Side.REQUEST, b"\x20\x02\0\0"),
        (Side.RESPONSE, CONNECT_5),
        (Side.REQUEST, b"\x30\xff\xff\xff\xff\x01"),
        (Side.REQUEST, b"\x30\x80\x00"),
        (Side.REQUEST, b"\x30\x03\x00\x09a"),
    ):
        assert Parser(MQTT, side).frame(data)[0] is Framed.INVALID


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=60), st.sampled_from(list(Side)), st.integers(0, 255))
def test_input_of_bad_faith(data: bytes, side: Side, first: int) -> None:
    answer, message = Parser(MQTT, side).frame(packet(first >> 4, first & 15, data))
    assert answer in {Framed.MESSAGE, Framed.INVALID}
    if answer is Framed.MESSAGE:
        assert message.length == 2 + len(data)
