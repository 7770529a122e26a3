# SPDX-License-Identifier: Apache-2.0
"""TLS: whom a connection was for and whether it was refused, from the first message of each side."""

import ssl
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conversations import counted, events_of, load
from tests.parsing import Body, Detected, Flag, Framed, Message, Outcome, Parser, Protocol, Side, detect, stitch

TLS = Protocol.TLS
HEADER = 5


def framed(data: bytes, side: Side, *, truncated: bool = False) -> Message:
    answer, message = Parser(TLS, side).frame(data, truncated=truncated)
    assert answer is Framed.MESSAGE
    return message


def outcome_of(client: bytes, server: bytes) -> Outcome:
    return stitch(TLS, framed(client, Side.REQUEST), framed(server, Side.RESPONSE))


def client_hello(name: str | None, *, version: ssl.TLSVersion | None = None) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version:
        context.maximum_version = version
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = context.wrap_bio(into, out, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return out.read()


def named(raw: bytes) -> bytes:
    """A ClientHello with `raw` as its server name."""
    name = struct.pack(">HBH", len(raw) + 3, 0, len(raw)) + raw
    extensions = struct.pack(">HH", 0xFF01, 1) + b"\0" + struct.pack(">HH", 0, len(name)) + name
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\0\2\x13\x01" + b"\1\0" + struct.pack(">H", len(extensions)) + extensions
    hello = b"\1" + struct.pack(">I", len(body))[1:] + body
    return b"\x16\x03\x01" + struct.pack(">H", len(hello)) + hello


@pytest.mark.parametrize(
    ("name", "server_name", "told", "status", "error", "offered", "chosen"),
    [
        ("tls12", "shop.example.com", "TLSv1.2", 0, False, 0x0303, 0x0303),
        ("tls13", "api.example.com", "TLSv1.3", 0, False, 0x0304, 0x0304),
        ("tls-no-name", "", "TLSv1.2", 0, False, 0x0303, 0x0303),
        ("tls-version", "localhost", "protocol_version", 70, True, 0x0304, 0),
        ("tls-refused", "", "handshake_failure", 40, True, 0x0303, 0),
        ("tls-distrusted", "bad.test", "TLSv1.2", 0, False, 0x0304, 0x0303),
    ],
)
def test_recordings(
    name: str, server_name: str, told: str, status: int, error: bool, offered: int, chosen: int
) -> None:
    conversation = load(name)
    client, server = conversation.sent("client")[0], conversation.sent("server")[0]
    assert detect(TLS, client) is Detected.REQUEST
    assert detect(TLS, server) is Detected.RESPONSE
    outcome = outcome_of(client, server)
    found = (outcome.request_content, outcome.response_content, outcome.status, outcome.error)
    assert found == (server_name if name != "tls-refused" else outcome.request_content, told, status, error)
    assert framed(client, Side.REQUEST).note == offered
    assert framed(server, Side.RESPONSE).note == chosen
    assert framed(client, Side.REQUEST).length == len(client)


def test_a_client_that_refuses_the_certificate() -> None:
    conversation = load("tls-distrusted")
    alert = framed(conversation.sent("client")[1], Side.REQUEST)
    outcome = stitch(TLS, alert, None)
    assert (outcome.response_content, outcome.error) == ("unknown_ca", True)


@pytest.mark.parametrize("side", ["server", "client"])
@pytest.mark.parametrize(
    ("name", "request_", "told", "error"),
    [
        ("tls12", "shop.example.com", "TLSv1.2", False),
        ("tls13", "api.example.com", "TLSv1.3", False),
        ("tls-version", "localhost", "protocol_version", True),
        ("tls-distrusted", "bad.test", "unknown_ca", True),
    ],
)
def test_a_connection_has_one_handshake(name: str, request_: str, told: str, error: bool, side: str) -> None:
    """Whatever else is said on it has nothing in its place."""
    rows, _ = counted(events_of(load(name), side=side))
    found = {(row.request, row.response, "error" in row.flags): row.count for row in rows if row.response}
    assert found == {(request_, told, error): 1}
    assert {row.request for row in rows} == {request_}


def test_a_refusal_that_is_read_in_two_calls() -> None:
    made = events_of(load("tls-distrusted"), cut=lambda number, _: [HEADER] if number == 2 else [])
    (told,) = (row for row in counted(made)[0] if row.response)
    assert (told.request, told.response, told.status, told.count) == ("bad.test", "unknown_ca", 48, 1)


@pytest.mark.parametrize("name", ["tls12", "tls13", "tls-no-name"])
def test_every_chunk_of_a_recording_is_recognised_mid_stream(name: str) -> None:
    conversation = load(name)
    for side, data in conversation.chunks:
        assert detect(TLS, data) in {Detected.REQUEST, Detected.RESPONSE} or (data[0] == 22 and data[5] not in {1, 2})
        answer, message = Parser(TLS, Side.REQUEST if side == "client" else Side.RESPONSE).frame(data)
        assert answer is Framed.MESSAGE
        assert message.body is Body.UNTIL_FLIP
        assert message.length == HEADER + int.from_bytes(data[3:5])


@pytest.mark.parametrize("name", ["example.com", "a.b.c.d.e.test", "xn--mnchen-3ya.de", "h" * 63 + ".test"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_server_name(name: str, version: ssl.TLSVersion) -> None:
    hello = client_hello(name, version=version)
    message = framed(hello, Side.REQUEST)
    assert (message.content, message.length) == (name, len(hello))
    assert message.note == int(version)


def test_a_hello_is_waited_for_and_then_the_same() -> None:
    hello = client_hello("example.com")
    whole = framed(hello, Side.REQUEST)
    for length in range(len(hello)):
        assert Parser(TLS, Side.REQUEST).frame(hello[:length])[0] is Framed.MORE
        expected = Detected.TOO_SHORT if length < 11 else Detected.REQUEST
        assert length in range(6, 11) or detect(TLS, hello[:length]) is expected
    assert framed(hello + b"\x17\x03\x03", Side.REQUEST) == whole


def test_a_hello_whose_record_header_was_read_before() -> None:
    hello = client_hello("example.com")
    message = framed(hello[HEADER:], Side.REQUEST)
    assert (message.content, message.length) == ("example.com", len(hello) - HEADER)
    server = load("tls12").sent("server")[0]
    assert framed(server[HEADER:], Side.RESPONSE).note == 0x0303


def test_a_hello_cut_off_by_the_capture() -> None:
    hello = client_hello("example.com")
    at = hello.index(b"example.com")
    early = framed(hello[:at], Side.REQUEST, truncated=True)
    assert (early.content, early.flags, early.length) == ("", Flag.CUT, len(hello))
    late = framed(hello[: at + len("example.com")], Side.REQUEST, truncated=True)
    assert (late.content, late.flags, late.length) == ("example.com", Flag.CUT, len(hello))


@pytest.mark.parametrize(
    ("raw", "content"),
    [
        (b"Example.COM", "example.com"),
        (b"a_b-c.1", "a_b-c.1"),
        (b"", ""),
        (b"a b", ""),
        (b"a\0b", ""),
        (b"a/b", ""),
        (b"\xff\xfe", ""),
        (b"x" * 253, "x" * 253),
        (b"x" * 300, "x" * 253),
    ],
)
def test_names_that_are_none_are_not_shown(raw: bytes, content: str) -> None:
    assert framed(named(raw), Side.REQUEST).content == content


@pytest.mark.parametrize(
    ("level", "number", "name", "error"),
    [
        (1, 0, "close_notify", False),
        (2, 40, "handshake_failure", True),
        (2, 48, "unknown_ca", True),
        (2, 112, "unrecognized_name", True),
        (1, 112, "unrecognized_name", False),
        (2, 116, "certificate_required", True),
        (2, 200, "alert_200", True),
    ],
)
def test_alerts(level: int, number: int, name: str, error: bool) -> None:
    outcome = outcome_of(named(b"a.test"), bytes([21, 3, 3, 0, 2, level, number]))
    assert (outcome.response_content, outcome.status, outcome.error) == (name, number, error)
    assert outcome.request_content == "a.test"


def test_an_alert_whose_record_header_was_read_before() -> None:
    parser = Parser(TLS, Side.RESPONSE)
    assert parser.frame(b"\x15\x03\x03\x00\x02")[0] is Framed.MORE
    answer, message = parser.frame(b"\x02\x46")
    assert (answer, message.status, message.length) == (Framed.MESSAGE, 70, 2)
    assert parser.frame(b"\x02\x46")[0] is Framed.INVALID
    assert parser.frame(b"\x15\x03\x03\x00\x02")[0] is Framed.MORE
    answer, message = parser.frame(b"\x15\x03\x03\x00\x02\x02\x46")
    assert (answer, message.status, message.length) == (Framed.MESSAGE, 70, 7)


def test_an_encrypted_alert_says_nothing() -> None:
    outcome = outcome_of(named(b"a.test"), b"\x15\x03\x03\x00\x1a" + bytes(26))
    assert (outcome.response_content, outcome.status, outcome.error) == ("", 0, False)


HELLO = named(b"a.test")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x17\x03\x03\x00\x40", Detected.REQUEST),
        (b"\x17\x03\x03\x00\x00", Detected.NOT_MINE),
        (b"\x17\x03\x03\xff\xff", Detected.NOT_MINE),
        (b"\x17\x03\x05\x00\x40", Detected.NOT_MINE),
        (b"\x18\x03\x03\x00\x40", Detected.NOT_MINE),
        (b"\x14\x03\x03\x00\x01\x01", Detected.REQUEST),
        (b"\x14\x03\x03\x00\x02\x01", Detected.NOT_MINE),
        (b"\x15\x03\x01\x00\x02\x02\x28", Detected.RESPONSE),
        (b"\x15\x03\x01\x00\x02\x02\xee", Detected.NOT_MINE),
        (b"\x15\x03\x03\x00\x02", Detected.TOO_SHORT),
        (b"\x15\x03\x03\x00\x1a" + bytes(26), Detected.REQUEST),
        (b"\x17\x03\x03\x00\x11" + bytes(17) + b"\x15\x03\x03", Detected.REQUEST),
        # A length in little endian and a number, as a reply of MongoDB begins.
        (b"\x15\x03\x00\x00\x09\x00\x00\x00\x05\x00\x00\x00\xdd\x07\x00\x00" + bytes(773), Detected.NOT_MINE),
        (b"\x15\x03\x01\x00\x1a\x00\x00\x00\x05\x00\x00\x00\xdd\x07\x00\x00" + bytes(773), Detected.NOT_MINE),
        (b"\x17\x03\x00\x00\x40\x00\x00\x00\x05\x00\x00\x00\xdd\x07\x00\x00" + bytes(773), Detected.NOT_MINE),
        (b"\x17\x03\x01\x00\x40\x00\x00\x00\x05\x00\x00\x00\xdd\x07\x00\x00" + bytes(773), Detected.NOT_MINE),
        (b"\x16\x03\x01\x00\xf0", Detected.TOO_SHORT),
        (b"\x16\x03\x01\x00\xf0\x05\x00", Detected.NOT_MINE),
        (b"\x16\x03\x01\x00\xf0\x01\x00\x00\x01\x03\x03", Detected.NOT_MINE),
        (b"\x16\x03\x01\x00\xf0\x01\x00\x00\xec\x05\x03", Detected.NOT_MINE),
        (b"\x16", Detected.TOO_SHORT),
        (b"\x16\x02", Detected.NOT_MINE),
        (b"", Detected.TOO_SHORT),
        (b"GET / HTTP/1.1\r\n", Detected.NOT_MINE),
    ],
)
def test_detect(data: bytes, expected: Detected) -> None:
    assert detect(TLS, data) is expected
    assert detect(TLS, data, datagram=True) is Detected.NOT_MINE
    if expected is Detected.TOO_SHORT:
        assert detect(TLS, data, truncated=True) is Detected.NOT_MINE


def test_sides_are_not_mixed_up() -> None:
    assert Parser(TLS, Side.RESPONSE).frame(HELLO)[0] is Framed.INVALID
    assert Parser(TLS, Side.REQUEST).frame(load("tls12").sent("server")[0])[0] is Framed.INVALID


@settings(deadline=None)
@given(st.binary(min_size=5, max_size=200), st.booleans())
def test_random_bytes_are_no_hello(data: bytes, truncated: bool) -> None:
    answer = detect(TLS, data, truncated=truncated)
    assert answer is Detected.NOT_MINE or (data[0] in {20, 21, 22, 23} and data[1] == 3)


@settings(deadline=None)
@given(st.data(), st.sampled_from(Side), st.booleans())
def test_anything_may_come(data: st.DataObject, side: Side, truncated: bool) -> None:
    wire = bytearray(data.draw(st.sampled_from([HELLO, client_hello("example.com"), load("tls13").sent("server")[0]])))
    for _ in range(data.draw(st.integers(0, 8))):
        wire[data.draw(st.integers(0, min(len(wire) - 1, 300)))] = data.draw(st.integers(0, 255))
    sent = bytes(wire)[: data.draw(st.integers(0, len(wire)))]
    detect(TLS, sent, truncated=truncated)
    answer, message = Parser(TLS, side).frame(sent, truncated=truncated)
    assert answer in {Framed.MORE, Framed.INVALID, Framed.MESSAGE}
    if answer is Framed.MESSAGE:
        assert message.length > 0
    if answer is Framed.MORE:
        assert not truncated


def test_the_rest_of_a_hello_is_no_hello() -> None:
    """Cut where what is left begins as one does: a 2, a length, and a version, which are of an extension and the record behind."""
    made = events_of(load("postgresql-tls"), cut=lambda number, _: [90] if number == 3 else [])
    rows, _ = counted(made)
    assert {row.response for row in rows} <= {"", "TLSv1.3"}
