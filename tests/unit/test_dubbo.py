# SPDX-License-Identifier: Apache-2.0
"""Dubbo: what its own client and provider said in Hessian 2 and fastjson2, messages of every kind, and input of bad faith."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conversations import load, load_all
from tests.multiplexed import Chunk, Conversation, calls_of, split_everywhere, summed
from tests.parsing import Detected, Flag, Framed, Message, Parser, Protocol, Side, detect

DUBBO = Protocol.DUBBO
RECORDED = [one.name for one in load_all() if one.protocol == "dubbo"]
REQUEST, TWO_WAY, EVENT = 0x80, 0x40, 0x20
HESSIAN2, JAVA, FASTJSON2 = 2, 3, 23
STATUSES = (30, 31, 35, 40, 50, 60, 70, 80, 90, 100)
CART = ("2.0.2", "shop.Cart", "1.0", "add", "Ljava/lang/String;I")


def framed(flags: int, number: int, body: bytes = b"", status: int = 0) -> bytes:
    return struct.pack(">HBBQI", 0xDABB, flags, status, number, len(body)) + body


def hessian(text: str | None) -> bytes:
    if text is None:
        return b"N"
    length = len(text)
    if length < 0x20:
        return bytes([length]) + text.encode()
    if length < 0x400:
        return bytes([0x30 + (length >> 8), length & 0xFF]) + text.encode()
    return b"S" + struct.pack(">H", length) + text.encode()


def jsonb(text: str | None) -> bytes:
    if text is None:
        value = b"\xaf"
    elif len(text) < 48:
        value = bytes([0x49 + len(text)]) + text.encode()
    else:
        value = b"\x79" + bytes([0x38 + (len(text) >> 8), len(text) & 0xFF]) + text.encode()
    return struct.pack(">I", len(value)) + value


def request(
    number: int, *texts: str | None, serialization: int = HESSIAN2, two_way: bool = True, more: bytes = b""
) -> bytes:
    write = jsonb if serialization == FASTJSON2 else hessian
    flags = REQUEST | (TWO_WAY if two_way else 0) | serialization
    return framed(flags, number, b"".join(map(write, texts or CART)) + more)


def response(number: int, status: int = 20, *, kind: int = 4, serialization: int = HESSIAN2) -> bytes:
    begin = bytes([0x90 + kind]) if serialization == HESSIAN2 else struct.pack(">I", 2) + bytes([0xBD, kind])
    return framed(serialization, number, begin + b"the value", status)


def only(data: bytes, side: Side = Side.REQUEST, *, truncated: bool = False) -> Message:
    answer, message = Parser(DUBBO, side).frame(data, truncated=truncated)
    assert answer is Framed.MESSAGE
    return message


both = pytest.mark.parametrize("serialization", [HESSIAN2, FASTJSON2])


@pytest.mark.parametrize("name", RECORDED)
def test_recordings(name: str) -> None:
    conversation = load(name)
    for chunks in (conversation.chunks, split_everywhere(conversation.chunks)):
        reader = Conversation(DUBBO)
        for who, data in chunks:
            reader.feed(who, data)
        calls = reader.close()
        assert summed(DUBBO, calls) == conversation.expected
        assert reader.orphans == 0
        assert sum(sum(call.bytes) for call in calls) + reader.skipped == sum(len(data) for _, data in chunks)


def test_the_recordings_have_what_they_are_named_for() -> None:
    assert {name: load(name).chunks[0][1][2] & 0x1F for name in RECORDED} == {
        "dubbo-fastjson2": FASTJSON2,
        "dubbo-hessian2": HESSIAN2,
        "dubbo-refused": HESSIAN2,
    }
    heartbeats = [data for _, data in load("dubbo-hessian2").chunks if data[2] & EVENT]
    assert len(heartbeats) > 3


def test_no_argument_is_in_a_label() -> None:
    for name in RECORDED:
        for call in calls_of(DUBBO, load(name).chunks):
            assert not any(word in str(call) for word in ("apple", "pear", "plum", "answers", "anybody", "cart-client"))


@both
@pytest.mark.parametrize(
    ("texts", "content"),
    [
        (CART, "shop.Cart#add"),
        (("2.0.2", "group/shop.Cart$Inner:1.0", None, "$invoke"), "group/shop.Cart$Inner:1.0#$invoke"),
        (("2.0.2", "a" * 50, "", "b" * 40), "a" * 50 + "#" + "b" * 40),
        (("2.0.2", "a" * 200, "0.0.0", "b" * 100), ("a" * 200 + "#" + "b" * 100)[:253]),
        (("2.0.2", "a" * 241, "0.0.0", "add"), "*#add"),
        (("2.0.2", "a" * 300, "0.0.0", "add"), "*#add"),
        (("2.0.2", "shop Cart", "0.0.0", "a=b"), "*#*"),
        (("2.0.2", "", "0.0.0", None), "*#*"),
        (("2.0.2", "shop.Cart"), "shop.Cart#*"),
        (("2.0.2",), "*"),
    ],
)
def test_what_is_called(serialization: int, texts: tuple[str | None, ...], content: str) -> None:
    data = request(7, *texts, serialization=serialization)
    message = only(data)
    assert (message.length, message.id, message.content, message.flags) == (len(data), 7, content, Flag.NONE)


def test_texts_of_other_lengths_and_other_serializations() -> None:
    assert only(request(1, "x" * 600, "shop.Cart", "1.0", "add")).content == "shop.Cart#add"
    assert only(framed(REQUEST | TWO_WAY | HESSIAN2, 1, b"R\0\x01ax")).content == "*"
    assert only(framed(REQUEST | TWO_WAY | JAVA, 1, b"\xac\xed\0\x05")).content == "*"
    assert only(request(1, "v" * 2000, "shop.Cart", "1.0", "add")).content == "*"
    kanji = jsonb("2.0.2") + struct.pack(">I", 4) + b"\x7a\x03\xe8\xbb"
    assert only(framed(REQUEST | TWO_WAY | FASTJSON2, 1, kanji)).content == "*"


@both
def test_answers_are_found_by_their_number(serialization: int) -> None:
    first = 2**63 + 5
    chunks: list[Chunk] = [("client", b"".join(request(first + n, serialization=serialization) for n in range(40)))]
    chunks += [("server", response(first + n, kind=n % 6, serialization=serialization)) for n in reversed(range(40))]
    calls = calls_of(DUBBO, chunks)
    said = [(call.outcome.response_content, call.outcome.error, call.outcome.status) for call in calls if call.outcome]
    assert said == [("exception", True, 20) if n % 6 in {0, 3} else ("20", False, 20) for n in range(40)]


@both
@pytest.mark.parametrize("status", STATUSES)
def test_every_other_status_is_an_error(serialization: int, status: int) -> None:
    answer = response(1, status, kind=0, serialization=serialization)
    (call,) = calls_of(DUBBO, [("client", request(1)), ("server", answer)])
    assert call.outcome
    assert (call.outcome.response_content, call.outcome.status, call.outcome.error) == (str(status), status, True)


def test_who_wants_no_answer_gets_none() -> None:
    (call,) = calls_of(DUBBO, [("client", request(1, two_way=False))])
    assert call.outcome
    assert (call.outcome.error, call.outcome.response_content) == (False, "")


def test_heartbeats_are_nobodys_and_a_provider_calls_too() -> None:
    reader = Conversation(DUBBO)
    for who, data in [
        ("client", framed(REQUEST | TWO_WAY | EVENT | HESSIAN2, 1, b"N")),
        ("client", request(1)),
        ("server", framed(EVENT | HESSIAN2, 1, b"N", 20)),
        ("server", request(1, "2.0.2", "shop.Listener", "1.0", "changed")),
        ("client", response(1, kind=3)),
        ("server", framed(REQUEST | EVENT | HESSIAN2, 9, b"\x01R")),
        ("server", response(1)),
    ]:
        reader.feed(who, data)
    said = [(c.request.content, c.reversed, c.outcome and c.outcome.response_content) for c in reader.close()]
    assert said == [("shop.Cart#add", False, "20"), ("shop.Listener#changed", True, "exception")]
    assert (reader.skipped, reader.orphans) == (17 + 17 + 18, 0)


@both
def test_a_long_body_of_which_the_beginning_is_captured(serialization: int) -> None:
    data = request(3, serialization=serialization, more=bytes(300_000))
    for captured in (4096, 1100):
        (call,) = calls_of(
            DUBBO, [("client", data), ("server", response(3, serialization=serialization))], captured=captured
        )
        assert (call.request.content, call.bytes[0], call.request.flags) == ("shop.Cart#add", len(data), Flag.NONE)
    message = only(data[:60], truncated=True)
    assert (message.length, message.flags) == (len(data), Flag.CUT)
    message = only(response(3)[:16], Side.RESPONSE, truncated=True)
    assert (message.status, message.note, message.flags) == (20, 0, Flag.CUT)


def test_detection() -> None:
    data = request(1)
    assert detect(DUBBO, data) is Detected.REQUEST
    assert detect(DUBBO, framed(REQUEST | TWO_WAY | EVENT | HESSIAN2, 1, b"N")) is Detected.REQUEST
    assert detect(DUBBO, framed(REQUEST | EVENT | HESSIAN2, 1, b"\x01R")) is Detected.GREETING
    assert detect(DUBBO, response(1)) is Detected.RESPONSE
    assert detect(DUBBO, data, datagram=True) is Detected.NOT_MINE
    for length in range(1, 16):
        assert detect(DUBBO, data[:length]) is Detected.TOO_SHORT
        assert detect(DUBBO, data[:length], truncated=True) is Detected.NOT_MINE
        assert Parser(DUBBO, Side.REQUEST).frame(data[:length])[0] is Framed.MORE
        assert Parser(DUBBO, Side.REQUEST).frame(data[:length], truncated=True)[0] is Framed.INVALID


@pytest.mark.parametrize(
    "data",
    [
        b"\xdb\xbb\xc2\x00",
        b"\xda\xbc\xc2\x00",
        framed(REQUEST | TWO_WAY, 1),
        framed(REQUEST | TWO_WAY | HESSIAN2, 1, status=20),
        framed(HESSIAN2, 1, status=0),
        framed(HESSIAN2, 1, status=19),
        framed(HESSIAN2, 1, status=121),
        struct.pack(">HBBQI", 0xDABB, 0xC2, 0, 1, 257 << 20),
    ],
)
def test_what_is_no_message(data: bytes) -> None:
    for side in Side:
        assert Parser(DUBBO, side).frame(data)[0] is Framed.INVALID
    assert detect(DUBBO, data) is Detected.NOT_MINE


@settings(deadline=None, max_examples=300)
@given(
    st.binary(max_size=80),
    st.sampled_from([HESSIAN2, FASTJSON2, JAVA]),
    st.sampled_from([0, REQUEST, REQUEST | TWO_WAY, EVENT]),
    st.sampled_from(list(Side)),
    st.booleans(),
)
def test_input_of_bad_faith(data: bytes, serialization: int, flags: int, side: Side, truncated: bool) -> None:
    detect(DUBBO, data, truncated=truncated)
    message = framed(flags | serialization, 1, data, 0 if flags & REQUEST else 20)
    assert only(message, side).length == len(message)
    Parser(DUBBO, side).frame(message[: len(message) // 2], truncated=truncated)
