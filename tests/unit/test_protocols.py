# SPDX-License-Identifier: Apache-2.0
"""The table of protocols as a whole: every recording is found by its own parser and by no other."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conversations import Conversation, load_all, rest_of
from tests.parsing import Detected, Flag, Framed, Parser, Protocol, Side, detect, has_parser, listed, name_of

LISTED = listed()
# By the name of a recording or greeting, who has to find it.
OF_NAME = {name_of(protocol): protocol for protocol in LISTED} | {"grpc": Protocol.HTTP2}
FOUND = {Detected.REQUEST, Detected.RESPONSE, Detected.GREETING}
MYSQL_HEADER = 4
# Recordings that go on in another protocol.
SWITCHING = {
    ("http-upgrade-h2c", Protocol.HTTP2),
    ("mysql-tls", Protocol.TLS),
    ("postgresql-tls", Protocol.TLS),
}
# A length stands where these have a type: their framing, without detection before it, takes one of 20 to 23, or of a letter.
LENGTH_FIRST = {Protocol.TLS, Protocol.POSTGRESQL}
# Commands that both have, or that any may have, in lines of the same form: which of the two it is shows in the answer.
SAME_LINES = {
    ("redis-inline", Protocol.MEMCACHED),
    ("other-smtp", Protocol.MEMCACHED),
    ("other-smtp", Protocol.REDIS),
} | {(f"memcached-{name}", Protocol.REDIS) for name in ("commands", "pipelined", "pymemcache")}
# A number in a line, or a header that is nearly empty, is a packet of much else.
SHORT = {
    *((f"memcached-{name}", Protocol.MQTT) for name in ("commands", "pymemcache")),
    *((f"memcached-{name}", Protocol.DNS) for name in ("packets", "quiet-packets")),
}
LENGTHS = (1, 2, 3, 4, 5, 6, 8, 9, 12, 16, 17, 20, 24, 40, 64, 100, 300, 512)
RECORD_TYPES = {20, 21, 22, 23}
BUDGET_NS = 1000.0
# A debug or busy machine is slower than the budget's; nothing but an accident is this much slower.
ALLOWANCE = 5.0


def greetings() -> dict[str, list[bytes]]:
    """First words of many protocols by their specifications; those of a protocol that is decoded are for it alone."""
    return {
        "redis": [b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n", b"PING\r\n", b"$-1\r\n", b"-ERR unknown\r\n", b":1000\r\n"],
        "memcached": [b"get key\r\n", b"set key 0 0 5\r\nhello\r\n", b"END\r\n", b"\x80\x00\x00\x03" + bytes(20)],
        "mysql": [
            b"\x4a\x00\x00\x00\x0a8.0.36\x00"
            b"\x08\x00\x00\x00" + b"\x3a" * 8 + b"\x00\xff\xf7\xff\x02\x00\xff\xc1\x15" + bytes(30),
            b"\x21\x00\x00\x00\x03SELECT * FROM t WHERE name = 'GET /'",
            b"\x07\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00",
        ],
        "postgresql": [
            b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
            b"\x00\x00\x00\x21\x00\x03\x00\x00user\x00me\x00database\x00db\x00\x00",
            b"Q\x00\x00\x00\x0dSELECT 1\x00",
            b"R\x00\x00\x00\x08\x00\x00\x00\x00S\x00\x00\x00\x16application_name\x00\x00Z\x00\x00\x00\x05I",
        ],
        "mongodb": [b"\x3a\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xdd\x07\x00\x00" + bytes(42)],
        "kafka": [
            b"\x00\x00\x00\x18\x00\x12\x00\x03\x00\x00\x00\x01\x00\x08consumer\x00\x00\x00",
            b"\x00\x00\x00\x2a\x00\x03\x00\x0c\x00\x00\x00\x02\x00\x08consumer\x00\x02\x06topic" + bytes(14),
            b"\x00\x00\x00\x10\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        ],
        "amqp": [b"AMQP\x00\x00\x09\x01", b"\x01\x00\x00\x00\x00\x00\x0c\x00\x0a\x00\x0a\x00\x09\x00\x00\x00\x00\xce"],
        "mqtt": [b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04test", b"\x20\x02\x00\x00", b"\x30\x07\x00\x03a/bhi"],
        "http2": [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x06\x04" + bytes(11),
            b"\x00\x00\x00\x04\x01" + bytes(4),
        ],
        "rocketmq": [b"\x00\x00\x00\x20\x00\x00\x00\x1c" + b'{"code":105,"flag":0,"opaqu'],
        "dubbo": [b"\xda\xbb\xc2\x00" + bytes(11) + b"\x05hello"],
        "ssh": [b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", b"\x00\x00\x05\xdc\x07\x14" + bytes(40)],
        "smtp": [b"220 mail.example.com ESMTP\r\n", b"EHLO example.com\r\n", b"MAIL FROM:<a@b>\r\n", b"DATA\r\n"],
        "ftp": [b"220 (vsFTPd 3.0.3)\r\n", b"USER anonymous\r\n"],
        "rtsp": [b"OPTIONS rtsp://h/a RTSP/1.0\r\nCSeq: 1\r\n\r\n", b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n"],
        "sip": [b"INVITE sip:a@b SIP/2.0\r\n\r\n", b"SIP/2.0 200 OK\r\n\r\n"],
        "ldap": [b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00"],
        "postfix-policy": [b"request=smtpd_access_policy\n\n"],
        "ntp": [b"\x23\x00\x06\xec" + bytes(44), b"\x24\x01\x00\xe8" + bytes(44)],
        "snmp": [b"\x30\x26\x02\x01\x01\x04\x06public\xa0\x19\x02\x04\x00\x00\x00\x01\x02\x01\x00\x02\x01\x00\x30\x0b"],
        "dhcp": [b"\x01\x01\x06\x00" + bytes(232) + b"\x63\x82\x53\x63\x35\x01\x01\xff"],
        "ssdp": [b'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\n\r\n'],
        "quic": [b"\xc3\x00\x00\x00\x01\x08" + bytes(range(8)) + b"\x00\x00\x44\x9e" + bytes(1100)],
        "stun": [b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)],
        "syslog": [b"<34>1 2026-01-01T00:00:00Z host app - - message"],
        "statsd": [b"requests:1|c"],
        "wireguard": [b"\x01\x00\x00\x00" + bytes(144)],
        "nfs": [b"\x80\x00\x00\x28" + bytes(8) + b"\x00\x00\x00\x02\x00\x01\x86\xa3" + bytes(24)],
    }


DATAGRAMS = {"ntp", "snmp", "dhcp", "ssdp", "quic", "stun", "syslog", "statsd", "wireguard"}
CONVERSATIONS = load_all()
BARE_ANSWERS = {Protocol.POSTGRESQL, Protocol.REDIS, Protocol.MEMCACHED, Protocol.KAFKA}


def is_datagram(conversation: Conversation) -> bool:
    return conversation.name in {"dns-dig-udp", "dns-dig-dnsmasq"}


def test_names_and_numbers_are_those_of_the_contract() -> None:
    names = ["NOSUPPORT", "http", "dns", "tls", "websocket", "NOSUPPORT"]
    assert [name_of(number) for number in (0, 1, 2, 3, 4, 31)] == names
    assert [name_of(protocol) for protocol in Protocol if protocol] == [protocol.name.lower() for protocol in Protocol][
        1:
    ]
    assert len(set(LISTED)) == len(LISTED)
    assert [number for number in range(256) if has_parser(number)] == sorted(LISTED)


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda conversation: conversation.name)
@pytest.mark.parametrize("protocol", LISTED, ids=lambda protocol: str(protocol.name.lower()))
def test_recordings_are_found_by_their_own_parser_only(conversation: Conversation, protocol: Protocol) -> None:
    datagram = is_datagram(conversation)
    own = OF_NAME.get(conversation.protocol)
    if own is protocol:
        first = [conversation.sent(side)[0] for side in ("client", "server")]
        found = [detect(protocol, data, datagram=datagram) for data in first]
        # Some answers are told from others by their requests alone: +OK, a byte, or a length and a number.
        bare = found[1] is Detected.NOT_MINE and protocol in BARE_ANSWERS
        assert found[0] is Detected.REQUEST
        assert bare or found[1] in {Detected.RESPONSE, Detected.GREETING}
        return
    if (conversation.name, protocol) in SWITCHING:
        return
    for side, data in conversation.chunks:
        for truncated in (False, True):
            for length in (len(data), 512, 128):
                assert detect(protocol, data[:length], truncated=truncated, datagram=datagram) not in FOUND
        answer, said = Parser(protocol, Side.REQUEST if side == "client" else Side.RESPONSE).frame(data, truncated=True)
        is_length = conversation.protocol == "mongodb" and protocol in LENGTH_FIRST
        if is_length or (conversation.name, protocol) in SAME_LINES | SHORT:
            continue
        # Of a line end alone, which a length may look like, Redis takes no notice.
        assert answer is not Framed.MESSAGE or (protocol is Protocol.REDIS and said.flags == Flag.SKIP)


@pytest.mark.parametrize(
    ("name", "missing", "protocol"),
    [
        ("kafka-groups", 352, Protocol.HTTP2),  # zeros that are an empty SETTINGS frame, and no frame behind
        ("tls-no-name", 47, Protocol.HTTP2),  # a head that goes on in other frames
        ("rocketmq-ask-binary", 2834, Protocol.HTTP2),
        ("postgresql-pgbench-extended", 877, Protocol.MYSQL),  # a Bind that executes statement 0
        ("mysql-pymysql", 57, Protocol.MEMCACHED),  # an answer of 486 MB to a counter
    ],
)
@pytest.mark.parametrize("length", [512, 64])
def test_what_is_left_of_a_message_is_nobody_elses(name: str, missing: int, protocol: Protocol, length: int) -> None:
    data = next(rest_of(next(one for one in CONVERSATIONS if one.name == name).chunks, missing))[1]
    for captured in (data, data[:length]):
        assert detect(protocol, captured, truncated=len(captured) < len(data)) is Detected.NOT_MINE


def test_random_bytes_are_nobodys() -> None:
    dice = random.Random(7)
    for _ in range(10_000):
        data = dice.randbytes(dice.choice(LENGTHS))
        for protocol in LISTED:
            for truncated, datagram in ((False, False), (True, False), (False, True)):
                assert detect(protocol, data, truncated=truncated, datagram=datagram) not in FOUND, data.hex()


@pytest.mark.parametrize("protocol", LISTED, ids=lambda protocol: str(protocol.name.lower()))
def test_sealed_bytes_are_nobodys_but_those_of_tls(protocol: Protocol) -> None:
    """From every byte of what was said under TLS, of which only a record's header may be found."""
    for conversation in (one for one in CONVERSATIONS if one.protocol == "tls"):
        for side in ("client", "server"):
            said = b"".join(conversation.sent(side))
            for at in range(len(said)):
                is_record = protocol is Protocol.TLS and said[at] in RECORD_TYPES
                for length, truncated in ((512, False), (512, True), (64, True)):
                    found = detect(protocol, said[at : at + length], truncated=truncated) in FOUND
                    assert not found or is_record, (conversation.name, at)


@pytest.mark.parametrize("name", greetings())
def test_other_protocols_are_found_by_nobody(name: str) -> None:
    for data in greetings()[name]:
        for protocol in LISTED:
            if protocol is OF_NAME.get(name):
                continue
            assert detect(protocol, data, datagram=name in DATAGRAMS) not in FOUND
            assert detect(protocol, data, truncated=True, datagram=name in DATAGRAMS) not in FOUND


@pytest.mark.parametrize("name", [name for name in greetings() if name not in DATAGRAMS])
def test_other_protocols_are_not_waited_for(name: str) -> None:
    for data in greetings()[name]:
        whole = data[:64]
        waiting = {protocol for protocol in LISTED if detect(protocol, whole) is not Detected.NOT_MINE}
        if len(data) == MYSQL_HEADER:  # a length, and of MySQL a number, which servers read before the rest
            waiting -= {Protocol.MYSQL, Protocol.MONGODB}
        assert waiting <= {OF_NAME.get(name)}


@settings(deadline=None, max_examples=300)
@given(st.binary(min_size=1, max_size=100), st.sampled_from(LISTED))
def test_more_bytes_never_take_a_verdict_back(data: bytes, protocol: Protocol) -> None:
    verdicts = [detect(protocol, data[:length]) for length in range(1, len(data) + 1)]
    decided = [verdict for verdict in verdicts if verdict is not Detected.TOO_SHORT]
    if decided and decided[0] is Detected.NOT_MINE:
        assert set(decided) == {Detected.NOT_MINE}


def typical() -> list[tuple[str, Protocol, Side, bytes, bool]]:
    of = {conversation.name: conversation for conversation in CONVERSATIONS}
    aiohttp, nginx, dig, tls = of["http-aiohttp"], of["http-curl-nginx"], of["dns-dig-udp"], of["tls13"]
    mq_json, mq_binary, dubbo = of["rocketmq-ask-json"], of["rocketmq-ask-binary"], of["dubbo-refused"]
    return [
        ("http request, curl", Protocol.HTTP, Side.REQUEST, nginx.sent("client")[0], False),
        ("http request, aiohttp with traceparent", Protocol.HTTP, Side.REQUEST, aiohttp.sent("client")[0], False),
        ("http response, nginx", Protocol.HTTP, Side.RESPONSE, nginx.sent("server")[0], False),
        ("http response, aiohttp", Protocol.HTTP, Side.RESPONSE, aiohttp.sent("server")[0], False),
        ("dns request", Protocol.DNS, Side.REQUEST, dig.sent("client")[0], True),
        ("dns response", Protocol.DNS, Side.RESPONSE, dig.sent("server")[0], True),
        ("tls ClientHello", Protocol.TLS, Side.REQUEST, tls.sent("client")[0], False),
        ("tls ServerHello", Protocol.TLS, Side.RESPONSE, tls.sent("server")[0], False),
        ("rocketmq request, JSON", Protocol.ROCKETMQ, Side.REQUEST, mq_json.sent("client")[0], False),
        ("rocketmq response, JSON", Protocol.ROCKETMQ, Side.RESPONSE, mq_json.sent("server")[0], False),
        ("rocketmq request, binary", Protocol.ROCKETMQ, Side.REQUEST, mq_binary.sent("client")[0], False),
        ("dubbo request, Hessian 2", Protocol.DUBBO, Side.REQUEST, dubbo.sent("client")[0], False),
    ]


@pytest.mark.parametrize("case", typical(), ids=lambda case: str(case[0]))
def test_a_typical_message_costs_less_than_a_microsecond(case: tuple[str, Protocol, Side, bytes, bool]) -> None:
    name, protocol, side, data, datagram = case
    parser = Parser(protocol, side, datagram=datagram)
    spent = min(parser.nanoseconds(data) for _ in range(5))
    print(f"{name}: {spent:.0f} ns for {len(data)} bytes")
    assert spent < BUDGET_NS * ALLOWANCE
