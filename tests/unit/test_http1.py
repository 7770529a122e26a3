# SPDX-License-Identifier: Apache-2.0
"""HTTP/1: what real programs said, every rule of framing, and input of bad faith."""

import pytest
from hypothesis import given, settings
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
    Parser,
    Protocol,
    Side,
    Unreadable,
    detect,
    every_split,
    read,
    stitch,
)

HTTP = Protocol.HTTP
METHODS = (
    *("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"),
    *(
        "PROPFIND",
        "PROPPATCH",
        "MKCOL",
        "COPY",
        "MOVE",
        "LOCK",
        "UNLOCK",
        "REPORT",
        "SEARCH",
        "ACL",
        "CHECKOUT",
        "CHECKIN",
        "MERGE",
        "BIND",
        "MKCALENDAR",
    ),
)
TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


def request(data: bytes, *, truncated: bool = False, options: Options | None = None) -> Message:
    framed, message = Parser(HTTP, Side.REQUEST, options).frame(data, truncated=truncated)
    assert framed is Framed.MESSAGE
    return message


def response(data: bytes, asked: bytes = b"GET / HTTP/1.1\r\n\r\n", *, truncated: bool = False) -> Message:
    framed, message = Parser(HTTP, Side.RESPONSE).frame(data, truncated=truncated, waiting=request(asked))
    assert framed is Framed.MESSAGE
    return message


def head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


# --- recordings -------------------------------------------------------------------------------------------------------

RECORDINGS = {
    "http-curl-nginx": [
        ("/", 200, False),
        ("/missing", 404, True),
        ("/moved", 301, False),
        ("/body/*", 200, False),
        ("/body/*", 200, False),
        ("/error", 500, True),
        ("/status/*", 204, False),
    ],
    "http-curl-nginx-head": [("/body/*", 200, False), ("/missing", 404, True), ("/", 200, False)],
    "http-wrk-nginx": [("/body/*", 200, False)] * 10,
    "http-pipelined-nginx": [("/", 200, False), ("/missing", 404, True)] * 3,
    "http-aiohttp": [
        ("/stream/a", 200, False),
        ("/stream/b/*", 200, False),
        ("/stream/c", 200, False),
        ("/stream/d", 200, False),
        ("/stream/e", 200, False),
        ("/none", 404, True),
    ],
    "http-curl-continue": [("/stream/upload", 200, False)] * 2,
    "http-curl-python": [("/*", 200, False)],
}


@pytest.mark.parametrize("name", RECORDINGS)
def test_recordings(name: str) -> None:
    conversation = load(name)
    client, server = conversation.sent("client"), conversation.sent("server")
    found = requests_of(HTTP, client, server)
    assert [(outcome.request_content, outcome.status, outcome.error) for _, _, outcome in found] == RECORDINGS[name]
    assert [outcome.response_content for _, _, outcome in found] == [str(status) for _, status, _ in RECORDINGS[name]]
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    assert sum(asked.length for asked, _, _ in found) == len(b"".join(client))
    assert sum(answered.length for _, answered, _ in found) == len(b"".join(server).replace(interim, b""))


@pytest.mark.parametrize("name", RECORDINGS)
def test_recordings_split_at_every_byte(name: str) -> None:
    conversation = load(name)
    client, server = b"".join(conversation.sent("client")), b"".join(conversation.sent("server"))
    asked = read(HTTP, Side.REQUEST, [client])
    answered = read(HTTP, Side.RESPONSE, [server], asked)
    # Inside of the longer bodies every place is like the next.
    for at in range(1, len(client), 1 if len(client) < 1500 else 7):
        assert read(HTTP, Side.REQUEST, [client[:at], client[at:]]) == asked
    for at in range(1, len(server), 1 if len(server) < 1500 else 7):
        assert read(HTTP, Side.RESPONSE, [server[:at], server[at:]], asked) == answered
    assert read(HTTP, Side.REQUEST, [client[at : at + 1] for at in range(len(client))]) == asked


def test_trace_context_of_a_recording() -> None:
    conversation = load("http-aiohttp")
    asked = read(HTTP, Side.REQUEST, conversation.sent("client"))
    assert [(one.trace_id, one.parent_id) for one in asked] == [(TRACE, SPAN)] * 6


def test_the_websocket_recording_switches() -> None:
    conversation = load("http-websocket")
    client, server = conversation.sent("client"), conversation.sent("server")
    (asked,) = read(HTTP, Side.REQUEST, client[:1])
    framed, answered = Parser(HTTP, Side.RESPONSE).frame(server[0], waiting=asked)
    assert (framed, answered.flags, answered.next_protocol) == (Framed.MESSAGE, Flag.SWITCH, Protocol.WEBSOCKET)
    assert (asked.content, answered.status, answered.length) == ("/socket", 101, len(server[0]))


# --- detection --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_every_method_is_detected(method: str, version: str) -> None:
    line = f"{method} {'h:443' if method == 'CONNECT' else '/a/b'} HTTP/{version}\r\n".encode()
    assert detect(HTTP, line) is Detected.REQUEST
    assert request(line + b"Host: h\r\n\r\n").content == ("h:443" if method == "CONNECT" else "/a/b")
    for length in range(len(line) - 1):
        assert detect(HTTP, line[:length]) is Detected.TOO_SHORT, line[:length]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n", Detected.RESPONSE),
        (b"HTTP/1.0 404\r\n", Detected.RESPONSE),
        (b"HTTP/1.1 999 Odd\n", Detected.RESPONSE),
        (b"HTTP/1.1 20", Detected.TOO_SHORT),
        (b"HTTP/1.1 200", Detected.TOO_SHORT),
        (b"HTTP/1.", Detected.TOO_SHORT),
        (b"HTTP/1.1 2000", Detected.NOT_MINE),
        (b"HTTP/1.1 012 ", Detected.NOT_MINE),
        (b"HTTP/2.0 200 OK\r\n", Detected.NOT_MINE),
        (b"HTTP/1.2 200 OK\r\n", Detected.NOT_MINE),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Detected.NOT_MINE),
        (b"\r\n\r\nGET / HTTP/1.1\r\n", Detected.REQUEST),
        (b"PURGE /x HTTP/1.1\r\n", Detected.REQUEST),
        (b"OPTIONS * HTTP/1.1\r\n", Detected.REQUEST),
        (b"GET http://h/a HTTP/1.1\r\n", Detected.REQUEST),
        (b"GET /a b HTTP/1.1\r\n", Detected.REQUEST),
        (b"GET /\xc3\xa9 HTTP/1.1\n", Detected.REQUEST),
        (b"GET /\r\n", Detected.NOT_MINE),
        (b"GET key\r\n", Detected.NOT_MINE),
        (b"get / HTTP/1.1\r\n", Detected.NOT_MINE),
        (b"OPTIONS rtsp://h/a RTSP/1.0\r\n", Detected.NOT_MINE),
        (b"OPTIONS sip:a@b SIP/2.0\r\n", Detected.NOT_MINE),
        (b"GET /a\x00b HTTP/1.1\r\n", Detected.NOT_MINE),
        (b"GET nothing HTTP/1.1\r\n", Detected.NOT_MINE),
        (b"HELO example.com\r\n", Detected.NOT_MINE),
        (b"EHLO", Detected.NOT_MINE),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Detected.NOT_MINE),
        (b"PING\r\n", Detected.NOT_MINE),
        (b"", Detected.TOO_SHORT),
        (b"\r\n", Detected.TOO_SHORT),
        (b"\x00", Detected.NOT_MINE),
    ],
)
def test_detect(data: bytes, expected: Detected) -> None:
    assert detect(HTTP, data) is expected
    assert detect(HTTP, data, datagram=True) is Detected.NOT_MINE


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"GET /very/long", Detected.REQUEST),
        (b"GET http://h", Detected.REQUEST),
        (b"GET /very/long HTTP/1.1\r", Detected.REQUEST),
        (b"GET /very\r/long", Detected.NOT_MINE),
        (b"HTTP/1.1 200", Detected.RESPONSE),
        (b"HTTP/1.1 20", Detected.NOT_MINE),
        (b"GET", Detected.NOT_MINE),
        (b"PURGE /x", Detected.NOT_MINE),
        (b"OPTIONS rt", Detected.NOT_MINE),
        (b"", Detected.NOT_MINE),
    ],
)
def test_detect_what_the_capture_cut_off(data: bytes, expected: Detected) -> None:
    assert detect(HTTP, data, truncated=True) is expected


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=300), st.booleans())
def test_random_bytes_are_no_request(data: bytes, truncated: bool) -> None:
    answer = detect(HTTP, data, truncated=truncated)
    assert answer in {Detected.NOT_MINE, Detected.TOO_SHORT}


# --- requests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "rest", "body"),
    [
        (["GET / HTTP/1.1"], 0, Body.DONE),
        (["POST / HTTP/1.1", "Content-Length: 12"], 12, Body.DONE),
        (["POST / HTTP/1.1", "content-length:12"], 12, Body.DONE),
        (["POST / HTTP/1.1", "CONTENT-LENGTH:  12  "], 12, Body.DONE),
        (["POST / HTTP/1.1", "Content-Length: 12, 12"], 12, Body.DONE),
        (["POST / HTTP/1.1", "Content-Length: 12", "Content-Length: 12"], 12, Body.DONE),
        (["POST / HTTP/1.1", "Content-Length: 9999999999"], 9999999999, Body.DONE),
        (["POST / HTTP/1.1", "Content-Length: 0"], 0, Body.DONE),
        (["POST / HTTP/1.1", "Content-Length:", " 12"], 12, Body.DONE),
        (["POST / HTTP/1.1", "X: Content-Length: 5", "Y-Content-Length: 6"], 0, Body.DONE),
        (["POST / HTTP/1.1", "X: a", "\tContent-Length: 5"], 0, Body.DONE),
        (["POST / HTTP/1.1", "Content-Length: 12", "Content-Length: 13"], 0, Body.UNTIL_FLIP),
        (["POST / HTTP/1.1", "Content-Length: 12, 13"], 0, Body.UNTIL_FLIP),
        (["POST / HTTP/1.1", "Content-Length: -1"], 0, Body.UNTIL_FLIP),
        (["POST / HTTP/1.1", "Content-Length: 0x10"], 0, Body.UNTIL_FLIP),
        (["POST / HTTP/1.1", "Content-Length: 99999999999999999999"], 0, Body.UNTIL_FLIP),
        (["POST / HTTP/1.1", "Transfer-Encoding: chunked"], 0, Body.PARTS),
        (["POST / HTTP/1.1", "Transfer-Encoding: chunked", "Content-Length: 5"], 0, Body.PARTS),
        (["POST / HTTP/1.1", "Content-Length: 5", "Transfer-Encoding: gzip, chunked"], 0, Body.PARTS),
        (["POST / HTTP/1.1", "Transfer-Encoding: gzip", "Transfer-Encoding: Chunked;q=1"], 0, Body.PARTS),
        (["POST / HTTP/1.1", "Transfer-Encoding:", " chunked"], 0, Body.PARTS),
        (["POST / HTTP/1.1", "Transfer-Encoding: chunked, gzip"], 0, Body.UNTIL_FLIP),
        (["POST / HTTP/1.1", "Transfer-Encoding: identity", "Content-Length: 5"], 5, Body.DONE),
        (["POST / HTTP/1.1", "no colon here", "Content-Length: 5"], 5, Body.DONE),
        (["HEAD / HTTP/1.1", "Content-Length: 3"], 3, Body.DONE),
    ],
)
def test_how_long_a_request_is(lines: list[str], rest: int, body: Body) -> None:
    data = head(*lines)
    message = request(data)
    assert (message.length, message.body) == (len(data) + rest, body)


@pytest.mark.parametrize(
    ("target", "content"),
    [
        ("/a/b?token=secret#x", "/a/b"),
        ("http://user:password@h:80/a/7?q", "/a/*"),
        ("*", "*"),
        ("/", "/"),
    ],
)
def test_request_content(target: str, content: str) -> None:
    assert request(head(f"OPTIONS {target} HTTP/1.1")).content == content


def test_clustering_is_the_users_choice() -> None:
    data = head("GET /user/17?a=b HTTP/1.1")
    contents = [request(data, options=Options(how)).content for how in Clustering]
    assert contents == ["/user/17", "/user/*", "", "/user/*"]


def test_bare_line_feeds_and_empty_lines_before_a_request() -> None:
    data = b"\r\n\nPOST /a HTTP/1.1\nContent-Length: 3\n\n"
    message = request(data)
    assert (message.content, message.length) == ("/a", len(data) + 3)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"GET / HTTP/3.0\r\n\r\n",
        b"GET /\r\n\r\n",
        b" GET / HTTP/1.1\r\n\r\n",
        b"get / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01",
        b"A" * 30,
    ],
)
def test_what_is_no_request(data: bytes) -> None:
    assert Parser(HTTP, Side.REQUEST).frame(data)[0] is Framed.INVALID


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 OK\r\n\r\n", b"\x00"])
def test_what_is_no_response(data: bytes) -> None:
    assert Parser(HTTP, Side.RESPONSE).frame(data)[0] is Framed.INVALID


# --- trace context ----------------------------------------------------------------------------------------------------

NARROW = "0" * 16 + "8448eb211c80319c"


@pytest.mark.parametrize(
    ("fields", "trace_id", "parent_id"),
    [
        ([f"traceparent: 00-{TRACE}-{SPAN}-01"], TRACE, SPAN),
        ([f"Traceparent: 01-{TRACE}-{SPAN}-01-what-comes-later"], TRACE, SPAN),
        ([f"traceparent: ff-{TRACE}-{SPAN}-01"], "", ""),
        ([f"traceparent: 00-{'0' * 32}-{SPAN}-01"], "", ""),
        ([f"traceparent: 00-{TRACE}-{'0' * 16}-01"], "", ""),
        ([f"traceparent: 00-{TRACE}-{SPAN}"], "", ""),
        ([f"traceparent: 00-{TRACE[:-1]}-{SPAN}-01"], "", ""),
        ([f"traceparent: 00-{TRACE[:-1]}g-{SPAN}-01"], "", ""),
        ([f"b3: {TRACE}-{SPAN}-1-05e3ac9a4f6e3b90"], TRACE, SPAN),
        ([f"B3: {NARROW[16:]}-{SPAN}"], NARROW, SPAN),
        (["b3: 0"], "", ""),
        ([f"X-B3-TraceId: {TRACE}", f"X-B3-SpanId: {SPAN}", "X-B3-Sampled: 1"], TRACE, SPAN),
        ([f"X-B3-SpanId: {SPAN}", f"X-B3-TraceId: {NARROW[16:]}"], NARROW, SPAN),
        ([f"traceparent: 00-{TRACE}-{SPAN}-01", f"b3: {NARROW[16:]}-{SPAN[::-1]}"], TRACE, SPAN),
        ([f"b3: {NARROW[16:]}-{SPAN[::-1]}", f"traceparent: 00-{TRACE}-{SPAN}-01"], TRACE, SPAN),
        (["Host: h"], "", ""),
    ],
)
def test_trace_context(fields: list[str], trace_id: str, parent_id: str) -> None:
    message = request(head("GET / HTTP/1.1", *fields))
    assert (message.trace_id, message.parent_id) == (trace_id, parent_id)


# --- responses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "lines", "rest", "body"),
    [
        ("GET", ["HTTP/1.1 200 OK", "Content-Length: 9"], 9, Body.DONE),
        ("GET", ["HTTP/1.1 200"], 0, Body.UNTIL_CLOSE),
        ("GET", ["HTTP/1.0 200 OK"], 0, Body.UNTIL_CLOSE),
        ("GET", ["HTTP/1.1 200 OK", "Transfer-Encoding: chunked"], 0, Body.PARTS),
        ("GET", ["HTTP/1.1 200 OK", "Transfer-Encoding: gzip"], 0, Body.UNTIL_CLOSE),
        ("GET", ["HTTP/1.1 200 OK", "Content-Length: 9", "Content-Length: 8"], 0, Body.UNTIL_FLIP),
        ("HEAD", ["HTTP/1.1 200 OK", "Content-Length: 9"], 0, Body.DONE),
        ("HEAD", ["HTTP/1.1 200 OK", "Transfer-Encoding: chunked"], 0, Body.DONE),
        ("HEAD", ["HTTP/1.1 404 Not Found"], 0, Body.DONE),
        ("GET", ["HTTP/1.1 204 No Content", "Content-Length: 9"], 0, Body.DONE),
        ("GET", ["HTTP/1.1 304 Not Modified", "Content-Length: 9"], 0, Body.DONE),
        ("POST", ["HTTP/1.1 201 Created", "Content-Length: 0"], 0, Body.DONE),
        ("CONNECT", ["HTTP/1.1 407 Proxy", "Content-Length: 9"], 9, Body.DONE),
    ],
)
def test_how_long_a_response_is(asked: str, lines: list[str], rest: int, body: Body) -> None:
    data = head(*lines)
    message = response(data, head(f"{asked} /x HTTP/1.1"))
    assert (message.length, message.body, message.flags) == (len(data) + rest, body, Flag.NONE)


@pytest.mark.parametrize("status", [100, 102, 103, 199])
def test_interim_responses_have_no_body_and_are_not_final(status: int) -> None:
    data = head(f"HTTP/1.1 {status} Wait", "Content-Length: 9", "Link: </a.css>")
    message = response(data)
    assert (message.status, message.flags, message.body, message.length) == (status, Flag.INTERIM, Body.DONE, len(data))


def test_final_responses_after_interim_ones() -> None:
    interim = [head("HTTP/1.1 100 Continue"), head("HTTP/1.1 103 Early Hints", "Link: </a>")]
    final = [head("HTTP/1.1 200 OK", "Content-Length: 2"), head("HTTP/1.1 404 Not Found", "Content-Length: 2") + b"no"]
    asked = [request(head("HEAD / HTTP/1.1")), request(head("GET / HTTP/1.1"))]
    expected = [(100, len(interim[0])), (103, len(interim[1])), (200, len(final[0])), (404, len(final[1]))]
    data = b"".join([*interim, *final])
    for pieces in [[data], *every_split(data)]:
        found = read(HTTP, Side.RESPONSE, pieces, asked)
        assert [(message.status, message.length) for message in found] == expected


@pytest.mark.parametrize(
    ("asked", "answer", "protocol"),
    [
        ("Upgrade: websocket", "Upgrade: WebSocket", Protocol.WEBSOCKET),
        ("Upgrade: websocket", "X: y", Protocol.WEBSOCKET),
        ("Upgrade: h2c", "Upgrade: h2c", Protocol.HTTP2),
        ("Upgrade: IRC/6.9", "Upgrade: IRC/6.9", Protocol.NOSUPPORT),
        ("Upgrade: h2c, websocket", "Upgrade: websocket", Protocol.WEBSOCKET),
        ("Upgrade: TLS/1.0", "Upgrade: TLS/1.0, HTTP/1.1", Protocol.TLS),
        ("Upgrade: something", "X: y", Protocol.NOSUPPORT),
    ],
)
def test_upgrade_switches(asked: str, answer: str, protocol: Protocol) -> None:
    message = response(head("HTTP/1.1 101 Switching", answer), head("GET /s HTTP/1.1", "Connection: Upgrade", asked))
    assert (message.flags, message.next_protocol, message.body) == (Flag.SWITCH, protocol, Body.DONE)


def test_an_upgrade_that_is_refused_does_not_switch() -> None:
    message = response(head("HTTP/1.1 200 OK", "Content-Length: 1"), head("GET /s HTTP/1.1", "Upgrade: websocket"))
    assert (message.flags, message.next_protocol) == (Flag.NONE, Protocol.NOSUPPORT)


@pytest.mark.parametrize("status", [200, 204, 299])
def test_connect_switches(status: int) -> None:
    data = head(f"HTTP/1.1 {status} Established", "Content-Length: 9")
    message = response(data, head("CONNECT h:443 HTTP/1.1"))
    assert (message.flags, message.next_protocol, message.length) == (Flag.SWITCH, None, len(data))


@pytest.mark.parametrize(
    ("target", "alphabet", "noparam"),
    [
        ("api.example.com:443", "api.example.com:443", "api.example.com:443"),
        ("API.Example.COM:0443", "api.example.com:443", "api.example.com:443"),
        ("db-1.prod_a.svc:5432", "db-1.prod_a.svc:5432", "db-1.prod_a.svc:5432"),
        ("localhost:22", "localhost:22", "localhost:22"),
        ("10.1.2.3:443", "*:443", "10.1.2.3:443"),
        ("[2001:DB8::1]:443", "*:443", "[2001:db8::1]:443"),
        ("[::ffff:1.2.3.4]:8443", "*:8443", "[::ffff:1.2.3.4]:8443"),
        ("user:secret@api.example.com:443", "api.example.com:443", "api.example.com:443"),
        ("a@b:secret@api.example.com:443", "api.example.com:443", "api.example.com:443"),
        ("api.example.com", "api.example.com", "api.example.com"),
        ("api.example.com.:443", "api.example.com:443", "api.example.com:443"),
        (".:443", "*:443", "*:443"),
        ("api.example.com:99999", "*", "*"),
        ("api.example.com:https", "*", "*"),
        ("h?secret=1:443", "*:443", "*:443"),
        ("caf\u00e9.example:443", "*:443", "*:443"),
        ("/path:443", "*:443", "*:443"),
        (":443", "*:443", "*:443"),
        ("@", "*", "*"),
        ("h" * 253 + ":65535", "*:65535", "*:65535"),
        ("h" * 200 + ":65535", "h" * 200 + ":65535", "h" * 200 + ":65535"),
    ],
)
def test_what_a_tunnel_leads_to(target: str, alphabet: str, noparam: str) -> None:
    """A name, as those of DNS and TLS, with its port; no address, unless all of a path is kept; never a user."""
    asked = f"CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    expected = {
        Clustering.ALPHABET: alphabet,
        Clustering.LEARN: alphabet,
        Clustering.NOPARAM: noparam,
        Clustering.BLANK: "",
    }
    for how, content in expected.items():
        framed, message = Parser(HTTP, Side.REQUEST, Options(clustering=how)).frame(asked)
        assert (framed, message.content, message.length) == (Framed.MESSAGE, content, len(asked)), how


def test_what_a_tunnel_leads_to_is_not_guessed_where_it_was_cut_off() -> None:
    line = b"CONNECT api.example.com:443 HTTP/1.1\r\nHost: x\r\n"
    for captured in range(len(b"CONNECT a"), len(line)):
        framed, message = Parser(HTTP, Side.REQUEST).frame(line[:captured], truncated=True)
        is_told = captured > line.index(b" HTTP")
        assert (framed, message.content) == (Framed.MESSAGE, "api.example.com:443" if is_told else "*"), captured
        assert (message.flags & Flag.CUT, message.body) == (Flag.CUT, Body.UNTIL_FLIP)


def test_what_a_client_says_before_its_tunnel_is_there_is_no_request() -> None:
    message = request(head("CONNECT h:443 HTTP/1.1", "Content-Length: 5"))
    assert (message.body, message.length) == (Body.UNTIL_FLIP, len(head("CONNECT h:443 HTTP/1.1", "Content-Length: 5")))


def test_a_response_whose_request_was_not_seen() -> None:
    data = head("HTTP/1.1 200 OK", "Content-Length: 4")
    framed, message = Parser(HTTP, Side.RESPONSE).frame(data)
    assert (framed, message.length) == (Framed.MESSAGE, len(data) + 4)


@pytest.mark.parametrize(("status", "error"), [(200, False), (302, False), (399, False), (400, True), (503, True)])
def test_errors(status: int, error: bool) -> None:
    outcome = stitch(HTTP, request(head("GET /a HTTP/1.1")), response(head(f"HTTP/1.1 {status} X")))
    assert (outcome.status, outcome.error, outcome.request_content) == (status, error, "/a")
    assert outcome.response_content == str(status)


def test_no_response_is_an_error_without_content() -> None:
    outcome = stitch(HTTP, request(head("GET /a HTTP/1.1")), None)
    assert (outcome.status, outcome.error, outcome.response_content) == (0, True, "")


# --- chunked bodies ---------------------------------------------------------------------------------------------------

CHUNKED = head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked")
BODIES = [
    b"0\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5;name=value;b\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n",
    b"00005\r\nhello\r\n0\r\nTrailer: x\r\nOther: y z\r\n\r\n",
    b"5\nhello\n0\n\n",
    b"3\r\n\r\n\r\r\n1\r\n0\r\n0\r\n\r\n",
    b"f\r\nHTTP/1.1 200 OK\r\n0\r\n\r\n",
    b"1 \r\nx\r\n000\r\n\r\n",
]


@pytest.mark.parametrize("body", BODIES)
def test_chunked_bodies_split_at_every_byte(body: bytes) -> None:
    following = head("HTTP/1.1 404 Not Found", "Content-Length: 1") + b"x"
    data = CHUNKED + body + following
    expected = [(200, len(CHUNKED + body)), (404, len(following))]
    for pieces in [[data], *every_split(data)]:
        found = read(HTTP, Side.RESPONSE, pieces, [request(head("GET / HTTP/1.1"))] * 2)
        assert [(message.status, message.length) for message in found] == expected


@pytest.mark.parametrize(
    "body",
    [b"x\r\n", b"\r\n", b"-1\r\n", b"5 5\r\nhello", b"1234567890abcdef\r\n", b"2\r\nabc\r\n", b";\r\n", b"5" * 5000],
)
def test_what_is_no_chunk(body: bytes) -> None:
    with pytest.raises(Unreadable):
        read(HTTP, Side.RESPONSE, [CHUNKED + body])


def test_a_chunk_of_which_little_was_captured() -> None:
    parser = Parser(HTTP, Side.RESPONSE)
    assert parser.frame(CHUNKED)[1].body is Body.PARTS
    framed, part = parser.frame(b"1000\r\nabc", truncated=True)
    assert (framed, part.length) == (Framed.PART, 6 + 0x1000)
    assert parser.frame(b"\r\n10", truncated=False)[0] is Framed.PART
    assert parser.frame(b"10")[0] is Framed.MORE
    # The rest of the chunk's header is in a gap: the end cannot be found, and another message may come next.
    assert parser.frame(b"10", truncated=True)[0] is Framed.MORE
    assert parser.frame(head("HTTP/1.1 200 OK", "Content-Length: 0"))[0] is Framed.MESSAGE


@pytest.mark.parametrize("before", [b"", b"5\r\n", b"0\r\n"])
def test_the_next_message_after_the_end_of_a_body_was_lost(before: bytes) -> None:
    for side, start in ((Side.RESPONSE, head("HTTP/1.1 500 E")), (Side.REQUEST, head("DELETE http://h/ HTTP/1.1"))):
        parser = Parser(HTTP, side)
        parser.frame(CHUNKED if side is Side.RESPONSE else head("POST / HTTP/1.1", "Transfer-Encoding: chunked"))
        if before:
            assert parser.frame(before)[0] is Framed.PART
        assert parser.frame(start)[0] is Framed.MESSAGE


# --- captures that end early ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b"GET /a/b HTTP/1.1\r\nCookie: aaaaaaaaa", "/a/b"),
        (b"POST /a/b HTTP/1.1\r\nContent-Length: 5\r\nX", "/a/b"),
        (b"GET /a/b HTT", "/a/b"),
        (b"GET /a/b?q=aaaaaaaaaaaaaaaaa", "/a/b"),
        (b"GET /shop/orde", "/shop/*"),
        (b"GET /shop", "/*"),
        (b"GET /shop/", "/shop/*"),
        (b"GET /shop/cart HTTP/1.1\r", "/shop/cart"),
        (b"GET http://host.example", "/*"),
        (b"GET /" + b"a/" * 300, "/" + "a/" * 125 + "*"),
    ],
)
def test_a_request_cut_off_by_the_capture(data: bytes, content: str) -> None:
    message = request(data, truncated=True)
    assert (message.content, message.flags) == (content, Flag.CUT)
    assert (message.length, message.body) == (len(data), Body.UNTIL_FLIP)
    assert Parser(HTTP, Side.REQUEST).frame(data)[0] is Framed.MORE


@pytest.mark.parametrize("data", [b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServ"])
def test_a_response_cut_off_by_the_capture(data: bytes) -> None:
    message = response(data, truncated=True)
    assert (message.status, message.flags, message.body, message.length) == (200, Flag.CUT, Body.UNTIL_FLIP, len(data))


def test_a_switch_cut_off_by_the_capture() -> None:
    asked = head("GET /s HTTP/1.1", "Upgrade: websocket")
    message = response(b"HTTP/1.1 101 Switching Protocols\r\nUpgr", asked, truncated=True)
    assert message.flags == Flag.SWITCH | Flag.CUT
    assert message.next_protocol is Protocol.WEBSOCKET


def test_an_interim_response_cut_off_needs_more_bytes() -> None:
    parser = Parser(HTTP, Side.RESPONSE)
    assert parser.frame(b"HTTP/1.1 103 Early Hints\r\nLink: <", truncated=True)[0] is Framed.MORE


# --- bad faith --------------------------------------------------------------------------------------------------------


def test_huge_heads() -> None:
    field = f"X-{'n' * 60}: {'v' * 900}"
    data = head("GET /a HTTP/1.1", *[field] * 60, "Content-Length: 7")
    assert request(data).length == len(data) + 7
    assert Parser(HTTP, Side.REQUEST).frame(data[:-2])[0] is Framed.MORE


pieces_of_http = st.sampled_from(
    [b"GET ", b"/a", b" HTTP/1.1", b"\r\n", b"\n", b"HTTP/1.1 ", b"200", b"101", b" OK", b"Content-Length:", b"5", b","]
    + [
        b"Transfer-Encoding:",
        b"chunked",
        b" ",
        b"\t",
        b"Upgrade:",
        b"websocket",
        b"0\r\n",
        b"\r\n\r\n",
        b";",
        b"ff\r\n",
    ]
    + [b"traceparent: 00-", b"b3:", b"0" * 32, b"-", b"a" * 16, b"\x00", b"\xff", b"A" * 70, b"://", b"?"]
)


@settings(deadline=None)
@given(
    st.lists(st.one_of(pieces_of_http, st.binary(max_size=4)), max_size=40).map(b"".join),
    st.sampled_from(Side),
    st.booleans(),
    st.integers(1, 9),
)
def test_anything_may_come(data: bytes, side: Side, truncated: bool, step: int) -> None:
    parser = Parser(HTTP, side)
    detect(HTTP, data, truncated=truncated)
    for end in range(0, len(data) + step, step):
        framed, message = parser.frame(data[:end], truncated=truncated and end >= len(data), waiting=None)
        if framed is Framed.MESSAGE:
            assert message.length >= 0
            assert message.length > 0 or end == 0
        elif framed in {Framed.PART, Framed.END}:
            assert message.length > 0


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([b"GET /a HTTP/1.1\r\n\r\n", b"POST /b HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"])),
    st.data(),
)
def test_pipelines_cut_anywhere_are_the_same_requests(parts: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert [message.length for message in read(HTTP, Side.REQUEST, pieces)] == [len(part) for part in parts]
