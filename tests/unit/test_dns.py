# SPDX-License-Identifier: Apache-2.0
"""DNS: what real programs said, dnspython's idea of every kind of message, and input of bad faith."""

import struct

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset
import dns.update
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.conversations import load, requests_of
from tests.parsing import (
    Body,
    Clustering,
    Detected,
    Flag,
    Framed,
    Message,
    Options,
    Outcome,
    Parser,
    Protocol,
    Side,
    detect,
    every_split,
    read,
    stitch,
)

DNS = Protocol.DNS


def framed(data: bytes, side: Side, waiting: Message | None = None, options: Options | None = None) -> Message:
    answer, message = Parser(DNS, side, options, datagram=True).frame(data, waiting=waiting)
    assert answer is Framed.MESSAGE
    assert message.length == len(data)
    return message


def query(name: str, kind: str = "A", **values: object) -> dns.message.QueryMessage:
    return dns.message.make_query(name, kind, **values)  # type: ignore[arg-type]


def answer_to(asked: dns.message.Message, rcode: int = 0, records: tuple[str, ...] = ()) -> dns.message.Message:
    reply = dns.message.make_response(asked)
    reply.set_rcode(dns.rcode.Rcode.make(rcode))
    for record in records:
        name, ttl, rdclass, kind, data = record.split(maxsplit=4)
        reply.answer.append(dns.rrset.from_text(name, int(ttl), rdclass, kind, data))
    return reply


def outcome_of(asked: dns.message.Message, reply: dns.message.Message, options: Options | None = None) -> Outcome:
    request = framed(asked.to_wire(), Side.REQUEST, options=options)
    response = framed(reply.to_wire(), Side.RESPONSE, request, options)
    assert request.id == response.id
    return stitch(DNS, request, response, options)


def stream(*messages: bytes) -> bytes:
    return b"".join(struct.pack(">H", len(message)) + message for message in messages)


# --- recordings -------------------------------------------------------------------------------------------------------

DIG = [
    ("www.test A", "NOERROR"),
    ("www.test AAAA", "NOERROR"),
    ("www.test TXT", "NOERROR"),
    ("test MX", "NOERROR"),
    ("alias.test A", "NOERROR"),
    ("_http._tcp.test SRV", "NOERROR"),
    ("www.test A", "NOERROR"),
    ("missing.test A", "NXDOMAIN"),
    ("www.elsewhere A", "REFUSED"),
    ("www.test HTTPS", "NOERROR"),
    ("www.test TYPE65280", "NOERROR"),
]
DNSMASQ = [("www.test A", "NOERROR"), ("no.test A", "NXDOMAIN"), ("x.elsewhere PTR", "REFUSED")]


@pytest.mark.parametrize(("name", "expected"), [("dns-dig-udp", DIG), ("dns-dig-dnsmasq", DNSMASQ)])
def test_recordings_of_datagrams(name: str, expected: list[tuple[str, str]]) -> None:
    conversation = load(name)
    found = []
    asked = conversation.sent("client")
    for ask, reply in zip(asked, conversation.sent("server"), strict=True):
        assert detect(DNS, ask, datagram=True) is Detected.REQUEST
        assert detect(DNS, reply, datagram=True) is Detected.RESPONSE
        request = framed(ask, Side.REQUEST)
        response = framed(reply, Side.RESPONSE)
        assert request.id == response.id
        outcome = stitch(DNS, request, response)
        found.append((outcome.request_content, outcome.response_content))
        assert outcome.error == (outcome.response_content != "NOERROR")
    assert found == expected


def test_recording_over_tcp_split_at_every_byte() -> None:
    conversation = load("dns-dig-tcp")
    client, server = b"".join(conversation.sent("client")), b"".join(conversation.sent("server"))
    found = requests_of(DNS, [client], [server])
    assert [(outcome.request_content, outcome.response_content) for _, _, outcome in found] == DIG
    assert sum(ask.length for ask, _, _ in found) == len(client)
    assert sum(reply.length for _, reply, _ in found) == len(server)
    asked, answered = [ask for ask, _, _ in found], [reply for _, reply, _ in found]
    assert all(read(DNS, Side.REQUEST, pieces) == asked for pieces in every_split(client))
    assert all(read(DNS, Side.RESPONSE, pieces) == answered for pieces in every_split(server))
    assert detect(DNS, client) is Detected.REQUEST
    assert detect(DNS, server) is Detected.RESPONSE
    for length in range(31):
        assert detect(DNS, client[:length]) in {Detected.TOO_SHORT, Detected.REQUEST}
        assert detect(DNS, client[:length]) is not Detected.REQUEST or length > 24


# --- questions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("example.com", "example.com A"),
        ("EXAMPLE.Com.", "example.com A"),
        (".", ". A"),
        ("_sip._udp.example.com", "_sip._udp.example.com A"),
        ("xn--mnchen-3ya.de", "xn--mnchen-3ya.de A"),
        (r"a\.b.test", r"a\046b.test A"),
        (r"a\032b\255.test", r"a\032b\255.test A"),
        (r"a\"b\\c.test", r"a\034b\092c.test A"),
        ("4.3.2.1.in-addr.arpa", "*.in-addr.arpa A"),
        ("1.0.0.2.ip6.arpa", "*.ip6.arpa A"),
        ("in-addr.arpa", "in-addr.arpa A"),
        (".".join(["a" * 63] * 3 + ["b" * 61]), "*" + ".".join(["a" * 44, "a" * 63, "a" * 63, "b" * 61]) + " A"),
    ],
)
def test_the_domain_asked_for(name: str, content: str) -> None:
    wire = query(name).to_wire()
    assert detect(DNS, wire, datagram=True) is Detected.REQUEST
    assert framed(wire, Side.REQUEST).content == content


def test_reverse_lookups_in_full_if_the_user_wants_them() -> None:
    wire = query("4.3.2.1.in-addr.arpa", "PTR").to_wire()
    assert framed(wire, Side.REQUEST, options=Options(Clustering.NOPARAM)).content == "4.3.2.1.in-addr.arpa PTR"


TYPES = [kind for kind in dns.rdatatype.RdataType if kind not in {dns.rdatatype.TYPE0, dns.rdatatype.OPT}]
UNNAMED = {31, 32, 34, 56, 57, 58}


@pytest.mark.parametrize("kind", TYPES)
def test_types_by_the_name_that_dnspython_has_for_them(kind: dns.rdatatype.RdataType) -> None:
    asked = query("example.com")
    asked.question[0].rdtype = kind
    content = framed(asked.to_wire(), Side.REQUEST).content
    number = f"TYPE{int(kind)}"
    assert content.removeprefix("example.com ") in {dns.rdatatype.to_text(kind).replace("_", "-"), number}
    assert content != f"example.com {number}" or int(kind) > 65 or int(kind) in UNNAMED


@pytest.mark.parametrize("number", [66, 1000, 65280, 65535])
def test_types_without_a_name(number: int) -> None:
    asked = query("example.com")
    asked.question[0].rdtype = dns.rdatatype.RdataType.make(number)
    assert framed(asked.to_wire(), Side.REQUEST).content == f"example.com TYPE{number}"


def test_case_does_not_separate_a_question_from_its_answer() -> None:
    asked = query("wWw.ExAmPlE.cOm")
    reply = asked.to_wire().replace(b"wWw", b"www").replace(b"ExAmPlE", b"EXAMPLE")
    reply = reply[:2] + b"\x81\x80" + reply[4:]
    assert framed(asked.to_wire(), Side.REQUEST).id == framed(reply, Side.RESPONSE).id


def test_questions_in_flight_with_one_id_are_told_apart() -> None:
    asked = [query(name, kind) for name in ("a.test", "b.test", "c.test") for kind in ("A", "AAAA")]
    for one in asked:
        one.id = 7
    ids = [framed(one.to_wire(), Side.REQUEST).id for one in asked]
    assert len(set(ids)) == 6
    assert all(number & 0xFFFF == 7 for number in ids)
    replies = [framed(answer_to(one).to_wire(), Side.RESPONSE).id for one in asked]
    assert replies == ids


# --- answers ----------------------------------------------------------------------------------------------------------


RCODES = [(rcode, edns) for rcode in dns.rcode.Rcode for edns in (True, False) if edns or int(rcode) < 16]


@pytest.mark.parametrize(("rcode", "edns"), RCODES)
def test_every_rcode(rcode: dns.rcode.Rcode, edns: bool) -> None:
    asked = query("a.test", use_edns=edns)
    outcome = outcome_of(asked, answer_to(asked, rcode))
    assert outcome.status == int(rcode)
    assert outcome.response_content == ("BADVERS" if int(rcode) == 16 else dns.rcode.to_text(rcode))
    assert outcome.error == (int(rcode) != 0)


def test_an_rcode_without_a_name() -> None:
    asked = query("a.test")
    assert outcome_of(asked, answer_to(asked, 13)).response_content == "RCODE13"


def test_nxdomain_is_an_error_unless_the_user_says_otherwise() -> None:
    asked = query("a.test")
    for rcode, expected in ((3, False), (2, True), (0, False)):
        outcome = outcome_of(asked, answer_to(asked, rcode), Options(nxdomain_is_error=False))
        assert outcome.error is expected
    assert outcome_of(asked, answer_to(asked, 3)).error is True


def test_no_response_is_an_error_without_content() -> None:
    outcome = stitch(DNS, framed(query("a.test").to_wire(), Side.REQUEST), None)
    assert (outcome.status, outcome.error, outcome.response_content) == (0, True, "")


def test_records_compressed_and_flagged_as_truncated() -> None:
    asked = query("www.example.com")
    records = ("www.example.com. 60 IN CNAME a.example.com.", "a.example.com. 60 IN A 192.0.2.1")
    reply = answer_to(asked, 0, records)
    assert b"\xc0" in reply.to_wire()
    assert detect(DNS, reply.to_wire(), datagram=True) is Detected.RESPONSE
    assert outcome_of(asked, reply).response_content == "NOERROR"
    reply.flags |= dns.flags.TC
    assert outcome_of(asked, reply).response_content == "NOERROR"


def test_an_answer_without_its_question_belongs_to_the_oldest_request_of_its_id() -> None:
    asked = query("a.test")
    request = framed(asked.to_wire(), Side.REQUEST)
    reply = struct.pack(">HHHHHH", asked.id, 0x8001, 0, 0, 0, 0)
    response = framed(reply, Side.RESPONSE, request)
    assert response.id == request.id
    assert stitch(DNS, request, response).response_content == "FORMERR"
    other = struct.pack(">HHHHHH", asked.id ^ 1, 0x8001, 0, 0, 0, 0)
    assert framed(other, Side.RESPONSE, request).id != request.id
    assert framed(reply, Side.RESPONSE).id != request.id


# --- other operations -------------------------------------------------------------------------------------------------


def test_notify_and_update() -> None:
    notify = query("example.com", "SOA")
    notify.set_opcode(dns.opcode.NOTIFY)
    notify.flags |= dns.flags.AA
    notify.answer = [dns.rrset.from_text("example.com.", 60, "IN", "SOA", "ns. admin. 1 2 3 4 5")]
    assert detect(DNS, notify.to_wire(), datagram=True) is Detected.REQUEST
    assert framed(notify.to_wire(), Side.REQUEST).content == "example.com NOTIFY"
    update = dns.update.UpdateMessage("example.com")
    update.add("www", 300, "A", "192.0.2.1")
    update.present("www")
    assert detect(DNS, update.to_wire(), datagram=True) is Detected.REQUEST
    assert framed(update.to_wire(), Side.REQUEST).content == "example.com UPDATE"
    refused = dns.message.make_response(update)
    refused.set_rcode(dns.rcode.NOTAUTH)
    assert outcome_of(update, refused).response_content == "NOTAUTH"


def soa(serial: int = 1) -> str:
    return f"example.com. 60 IN SOA ns.example.com. admin.example.com. {serial} 2 3 4 5"


def zone(records: int) -> tuple[str, ...]:
    return tuple(f"h{number}.example.com. 60 IN A 192.0.2.{number % 250}" for number in range(records))


def wire_of(asked: dns.message.Message, *records: str) -> bytes:
    # dnspython keeps one set per owner; a zone's two SOA records must stay two.
    reply = answer_to(asked)
    reply.answer = []
    body = dns.message.make_response(asked).to_wire()
    raw = b""
    for one in records:
        name, ttl, _, kind, data = one.split(maxsplit=4)
        rdata = dns.rdata.from_text("IN", kind, data).to_wire() or b""
        kind_number = int(dns.rdatatype.from_text(kind))
        raw += (dns.name.from_text(name).to_wire() or b"") + struct.pack(">HHIH", kind_number, 1, int(ttl), len(rdata))
        raw += rdata
    return body[:6] + struct.pack(">H", len(records)) + body[8:] + raw


@pytest.mark.parametrize(
    ("kind", "messages", "body"),
    [
        ("AXFR", [(soa(), *zone(3), soa())], Body.DONE),
        ("AXFR", [(soa(), *zone(300), soa())], Body.UNTIL_FLIP),
        ("AXFR", [(soa(), *zone(3)), (*zone(3), soa())], Body.UNTIL_FLIP),
        ("AXFR", [(soa(), *zone(3)), zone(3), (soa(),)], Body.UNTIL_FLIP),
        ("AXFR", [(soa(),), (*zone(3), soa())], Body.UNTIL_FLIP),
        ("IXFR", [(soa(),)], Body.DONE),
        ("IXFR", [(soa(3), soa(2), *zone(1), soa(3), *zone(2), soa(3))], Body.DONE),
    ],
)
def test_zone_transfers_are_one_request(kind: str, messages: list[tuple[str, ...]], body: Body) -> None:
    asked = query("example.com", kind, use_edns=False)
    request = read(DNS, Side.REQUEST, [stream(asked.to_wire())])[0]
    assert request.content == f"example.com {kind}"
    data = stream(*[wire_of(asked, *records) for records in messages])
    for pieces in [
        [data],
        [data[:1], data[1:]],
        [data[:2], data[2:]],
        [data[:100], data[100:]],
        [data[:-1], data[-1:]],
    ]:
        (response,) = read(DNS, Side.RESPONSE, pieces, [request])
        assert (response.id, response.body, response.length) == (request.id, body, len(data))


def test_a_refused_transfer_ends_at_once() -> None:
    asked = query("example.com", "AXFR")
    data = stream(answer_to(asked, dns.rcode.REFUSED).to_wire())
    (response,) = read(DNS, Side.RESPONSE, [data])
    assert (response.status, response.body) == (5, Body.DONE)


# --- what only looks like it ------------------------------------------------------------------------------------------


def multicast(name: str, kind: str, flags: int = 0) -> bytes:
    asked = query(name, kind, use_edns=False)
    return b"\0\0" + struct.pack(">H", flags) + asked.to_wire()[4:]


@pytest.mark.parametrize(
    "data",
    [
        multicast("printer.local", "A"),
        multicast("_services._dns-sd._udp.local", "PTR"),
        multicast("printer.local", "A", 0x8400),
        multicast("1.0.254.169.in-addr.arpa", "PTR"),
        multicast("printer.local", "A").replace(b"\0\1", b"\x80\1"),
        b"\x12\x34" + multicast("wpad", "A")[2:],
        b"\x12\x34" + multicast("wpad", "A", 0x8000)[2:],
        b"\x12\x34\x01\x10\0\1\0\0\0\0\0\0\x20" + b"CK" + b"A" * 30 + b"\0\0\x21\0\1",
        b"\x12\x34\x01\x10\0\1\0\0\0\0\0\0\x20" + b"CK" + b"A" * 30 + b"\0\0\x20\0\1",
    ],
)
def test_multicast_dns_llmnr_and_netbios_are_not_dns(data: bytes) -> None:
    assert detect(DNS, data, datagram=True) is Detected.NOT_MINE


@pytest.mark.parametrize(
    "data",
    [
        query("com", "NS", flags=0).to_wire(),
        query("com", "A", flags=0, use_edns=0).to_wire(),
        query("host", "A").to_wire(),
        query("printer.local", "A").to_wire(),
        query("4.3.2.1.in-addr.arpa", "PTR").to_wire(),
    ],
)
def test_near_to_those_but_dns(data: bytes) -> None:
    assert detect(DNS, data, datagram=True) is Detected.REQUEST


WIRE = query("www.example.com", use_edns=False, id=0x1234).to_wire()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        WIRE[:11],
        WIRE[:-1],
        WIRE + b"\0",
        WIRE[:2] + b"\x01\x40" + WIRE[4:],
        WIRE[:2] + b"\x01\x03" + WIRE[4:],
        WIRE[:2] + b"\x01\x80" + WIRE[4:],
        WIRE[:2] + b"\x79\x00" + WIRE[4:],
        WIRE[:4] + b"\0\2" + WIRE[6:],
        WIRE[:4] + b"\0\0" + WIRE[6:],
        WIRE[:6] + b"\0\1" + WIRE[8:],
        WIRE[:10] + b"\0\1" + WIRE[12:],
        WIRE[:12] + b"\xc0\x0c" + WIRE[12:],
        WIRE[:12] + b"\x40" + WIRE[13:],
        WIRE[:12] + b"\x40" + b"a" * 64 + b"\0\0\1\0\1",
        WIRE[:-2] + b"\0\7",
        WIRE[:-4] + b"\0\0\0\1",
        WIRE[:12]
        + b"\x3f"
        + b"a" * 63
        + b"\x3f"
        + b"b" * 63
        + b"\x3f"
        + b"c" * 63
        + b"\x3f"
        + b"d" * 63
        + b"\0\0\1\0\1",
    ],
)
def test_what_is_not_plausible(data: bytes) -> None:
    assert detect(DNS, data, datagram=True) is Detected.NOT_MINE


@pytest.mark.parametrize("data", [b"", WIRE[:11], WIRE[:20], WIRE[:2] + b"\x01\x40" + WIRE[4:], b"\xff" * 40])
@pytest.mark.parametrize("side", Side)
def test_what_is_no_message(data: bytes, side: Side) -> None:
    assert Parser(DNS, side, datagram=True).frame(data)[0] is Framed.INVALID


def test_sides_are_not_mixed_up() -> None:
    reply = answer_to(query("a.test")).to_wire()
    assert Parser(DNS, Side.REQUEST, datagram=True).frame(reply)[0] is Framed.INVALID
    assert Parser(DNS, Side.RESPONSE, datagram=True).frame(WIRE)[0] is Framed.INVALID


def test_a_capture_that_ends_early_still_has_the_question() -> None:
    asked = query("a.test")
    reply = answer_to(asked, 0, zone(40)).to_wire()
    assert detect(DNS, reply[:100], truncated=True, datagram=True) is Detected.RESPONSE
    framing, message = Parser(DNS, Side.RESPONSE, datagram=True).frame(reply[:100], truncated=True)
    assert (framing, message.flags) == (Framed.MESSAGE, Flag.CUT)
    assert message.id == framed(asked.to_wire(), Side.REQUEST).id
    framing, message = Parser(DNS, Side.RESPONSE).frame(stream(reply)[:100], truncated=True)
    assert (framing, message.length, message.flags) == (Framed.MESSAGE, len(reply) + 2, Flag.CUT)
    assert Parser(DNS, Side.RESPONSE).frame(stream(reply)[:20], truncated=True)[0] is Framed.INVALID


@pytest.mark.parametrize(
    "data", [b"PING\r\n", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"*1\r\n"]
)
def test_other_streams_are_not_waited_for(data: bytes) -> None:
    for length in range(1, len(data)):
        assert detect(DNS, data[:length]) is Detected.NOT_MINE


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=200), st.booleans(), st.booleans())
@example(WIRE, True, False)
def test_random_bytes_are_not_dns(data: bytes, datagram: bool, truncated: bool) -> None:
    if data != WIRE:
        assert detect(DNS, data, truncated=truncated, datagram=datagram) in {Detected.NOT_MINE, Detected.TOO_SHORT}


@settings(deadline=None)
@given(st.data(), st.booleans(), st.sampled_from(Side), st.booleans())
def test_anything_may_come(data: st.DataObject, datagram: bool, side: Side, truncated: bool) -> None:
    seeds = [WIRE, answer_to(query("a.test"), 0, zone(3)).to_wire(), wire_of(query("a.test", "AXFR"), soa(), soa())]
    wire = bytearray(data.draw(st.sampled_from(seeds)))
    for _ in range(data.draw(st.integers(0, 6))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    sent = bytes(wire) if datagram else stream(bytes(wire))
    sent = sent[: data.draw(st.integers(0, len(sent)))]
    detect(DNS, sent, truncated=truncated, datagram=datagram)
    answer, message = Parser(DNS, side, datagram=datagram).frame(sent, truncated=truncated)
    if answer is Framed.MESSAGE:
        assert message.length == len(sent) if datagram else message.length >= 14
    else:
        assert answer in {Framed.INVALID, Framed.MORE}
        assert answer is Framed.INVALID or not (datagram or truncated)
