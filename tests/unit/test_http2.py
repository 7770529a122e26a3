# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 and gRPC: what real programs said, h2's and hpack's idea of every kind of frame, and input of bad faith."""

import struct

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conversations import load
from tests.multiplexed import Call, Chunk, Conversation, calls_of, split_everywhere, summed
from tests.parsing import Clustering, Detected, Flag, Framed, Options, Parser, Protocol, Side, detect, new_state
from tests.recordings.parsers.capture_http2 import EXPECTED

HTTP2 = Protocol.HTTP2
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RESET, SETTINGS, PROMISE, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, PRIORITISED = 1, 4, 8, 0x20
GRPC_REQUEST = [
    *((":method", "POST"), (":scheme", "http"), (":path", "/shop.v1.Orders/Get"), (":authority", "a")),
    *(("content-type", "application/grpc+proto"), ("te", "trailers")),
]
OK = [(":status", "200"), ("content-type", "application/grpc")]
RECORDED = tuple(EXPECTED)
Said = tuple[str, str, int, bool]
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def said(calls: list[Call]) -> list[Said]:
    outcomes = [(call.request.content, call.outcome) for call in calls]
    return [(content, one.response_content, one.status, one.error) for content, one in outcomes if one]


class Peers:
    """Both ends' header compression, and what they have sent."""

    def __init__(self) -> None:
        self.encoders = {"client": hpack.Encoder(), "server": hpack.Encoder()}
        self.chunks: list[Chunk] = [("client", PREFACE + frame(SETTINGS, 0, 0)), ("server", frame(SETTINGS, 0, 0))]

    def head(self, who: str, stream: int, fields: list[tuple[str, str]], *, end: bool = False) -> None:
        block = self.encoders[who].encode(fields)
        self.send(who, frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block))

    def send(self, who: str, data: bytes) -> None:
        self.chunks.append((who, data))

    def calls(self, options: Options | None = None) -> list[Call]:
        return calls_of(HTTP2, self.chunks, options)


def get(path: str) -> list[tuple[str, str]]:
    return [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "a")]


# --- recordings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECORDED)
def test_recordings(name: str) -> None:
    conversation = load(name)
    reader = Conversation(HTTP2)
    for who, data in conversation.chunks:
        reader.feed(who, data)
    calls = reader.close()
    assert summed(HTTP2, calls) == conversation.expected
    assert reader.orphans == 0
    everything = sum(len(data) for _, data in conversation.chunks)
    assert sum(sum(call.bytes) for call in calls) + reader.skipped == everything
    wanted = Protocol.GRPC if name.startswith("grpc") else Protocol.NOSUPPORT
    assert {call.request.protocol for call in calls} == {wanted}


@pytest.mark.parametrize("name", RECORDED)
def test_recordings_byte_by_byte(name: str) -> None:
    conversation = load(name)
    whole, bytewise = calls_of(HTTP2, conversation.chunks), calls_of(HTTP2, split_everywhere(conversation.chunks))
    assert [(call.request.id, call.bytes) for call in bytewise] == [(call.request.id, call.bytes) for call in whole]
    assert summed(HTTP2, bytewise) == conversation.expected


@pytest.mark.parametrize("name", sorted(set(RECORDED) - {"http2-nghttp-nginx", "http2-h2load-nginx", "grpc-many"}))
def test_recordings_of_which_only_the_first_bytes_of_an_operation_are_captured(name: str) -> None:
    """Where every frame starts within the captured bytes, nothing is lost: lengths carry over the rest."""
    conversation = load(name)
    assert summed(HTTP2, calls_of(HTTP2, conversation.chunks, captured=1000)) == conversation.expected


def test_the_trace_of_a_call() -> None:
    calls = calls_of(HTTP2, load("grpc-unary").chunks)
    assert [call.request.trace_id for call in calls] == [TRACE] * 3 + [""] * 5
    assert calls[0].request.parent_id == SPAN


@pytest.mark.parametrize("huffman", [True, False])
@pytest.mark.parametrize(
    ("fields", "trace_id", "parent_id"),
    [
        ([("traceparent", f"00-{TRACE}-{SPAN}-01")], TRACE, SPAN),
        ([("b3", f"{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90")], TRACE, SPAN),
        ([("b3", f"{TRACE[16:]}-{SPAN}")], "0" * 16 + TRACE[16:], SPAN),
        ([("b3", "0")], "", ""),
        ([("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-sampled", "1")], TRACE, SPAN),
        ([("x-b3-spanid", SPAN), ("x-b3-traceid", TRACE[16:])], "0" * 16 + TRACE[16:], SPAN),
        ([("x-b3-parentspanid", SPAN), ("x-b3-sampled", "1")], "", ""),
        ([("b3", f"{TRACE[::-1]}-{SPAN[::-1]}"), ("traceparent", f"00-{TRACE}-{SPAN}-01")], TRACE, SPAN),
    ],
)
def test_trace_context(fields: list[tuple[str, str]], trace_id: str, parent_id: str, huffman: bool) -> None:
    """First as text, then as an entry of the table; a request without it has none of the one before."""
    peers = Peers()
    for stream, more in ((1, fields), (3, fields), (5, [])):
        block = peers.encoders["client"].encode([*get("/"), *more], huffman=huffman)
        peers.send("client", frame(HEADERS, END_HEADERS | END_STREAM, stream, block))
    found = [(call.request.trace_id, call.request.parent_id) for call in peers.calls()]
    assert found == [(trace_id, parent_id)] * 2 + [("", "")]


def test_secrets_are_in_no_label() -> None:
    for name in RECORDED:
        for call in calls_of(HTTP2, load(name).chunks, Options(clustering=Clustering.NOPARAM)):
            assert call.outcome
            assert not any(word in str(call.outcome) for word in ("secret", "key", "Bearer", "word"))


def test_the_upgrade_from_http1_names_http2() -> None:
    chunks = load("http-upgrade-h2c").chunks
    answer, request = Parser(Protocol.HTTP, Side.REQUEST).frame(chunks[0][1])
    assert (answer, request.content) == (Framed.MESSAGE, "/orders/*")
    answer, switched = Parser(Protocol.HTTP, Side.RESPONSE).frame(chunks[1][1], waiting=request)
    assert (answer, switched.status, switched.next_protocol) == (Framed.MESSAGE, 101, HTTP2)
    rest = [("server", chunks[1][1][switched.length :]), *chunks[2:]]
    assert calls_of(HTTP2, rest) == []  # the first request is HTTP/1's


# --- frames -----------------------------------------------------------------------------------------------------------


def test_padding_priority_and_continuation() -> None:
    peers = Peers()
    block = peers.encoders["client"].encode([*get("/padded"), ("x-long", "v" * 300)])
    pieces = [block[:7], block[7:8], block[8:100], block[100:]]
    padded = bytes([5]) + b"\0\0\0\3\x10" + pieces[0] + bytes(5)
    peers.send("client", frame(HEADERS, END_STREAM | PADDED | PRIORITISED, 1, padded))
    for index, piece in enumerate(pieces[1:]):
        peers.send("client", frame(CONTINUATION, END_HEADERS if index == 2 else 0, 1, piece))
    peers.head("server", 1, [(":status", "200")], end=True)
    peers.head("client", 3, get("/padded"), end=True)
    peers.head("server", 3, [(":status", "302")], end=True)
    calls = peers.calls()
    assert said(calls) == [("/padded", "200", 200, False), ("/padded", "302", 302, False)]
    assert calls[0].bytes[0] == 4 * 9 + 6 + 5 + len(block)
    assert said(calls_of(HTTP2, split_everywhere(peers.chunks))) == said(calls)


@pytest.mark.parametrize("pieces", [[b"\x08"], [b"\x5f\x01t", b"\x08"]])
def test_a_block_that_is_broken_off_takes_nothing_of_the_frame_behind_it(pieces: list[bytes]) -> None:
    """`:status` (RFC 7541, appendix A, entry 8) without a value, and one that goes on with another stream."""
    begun = frame(HEADERS, 0, 1, pieces[0]) + b"".join(frame(CONTINUATION, 0, 1, piece) for piece in pieces[1:])
    answer, message = Parser(HTTP2, Side.RESPONSE).frame(begun + frame(CONTINUATION, END_HEADERS, 3, b"\x03200"))
    assert (answer, message.length, message.status) == (Framed.MESSAGE, len(begun), 0)


def test_a_block_that_has_ended_takes_nothing_of_a_continuation_of_nobody() -> None:
    ended = frame(HEADERS, END_HEADERS, 1, b"\x5f\x01t")
    answer, message = Parser(HTTP2, Side.RESPONSE).frame(ended + frame(CONTINUATION, 0, 3, b"\x88"))
    assert (answer, message.length, message.status) == (Framed.MESSAGE, len(ended), 0)


def test_interim_responses_and_resets() -> None:
    peers = Peers()
    for stream in (1, 3, 5, 7, 9):
        peers.head("client", stream, get("/a"), end=stream != 1)
    peers.head("server", 1, [(":status", "100")])
    peers.head("server", 1, [(":status", "103")])
    peers.send("client", frame(DATA, END_STREAM, 1, b"body"))
    peers.head("server", 1, [(":status", "201")])
    peers.send("server", frame(DATA, END_STREAM, 1, b"x") + frame(RESET, 0, 1, bytes(4)))
    peers.send("server", frame(RESET, 0, 3, struct.pack(">I", 7)))
    peers.head("server", 5, [(":status", "200")])
    peers.send("server", frame(RESET, 0, 5, struct.pack(">I", 2)))
    peers.send("client", frame(RESET, 0, 7, struct.pack(">I", 8)))
    peers.send("server", frame(RESET, 0, 9, struct.pack(">I", 99)))
    expected = [
        ("/a", "201", 201, False),
        ("/a", "REFUSED_STREAM", 0, True),
        ("/a", "INTERNAL_ERROR", 200, True),
        ("/a", "CANCEL", 0, True),
        ("/a", "*", 0, True),
    ]
    assert said(peers.calls()) == expected


@pytest.mark.parametrize(
    ("fields", "end", "trailers", "content", "status", "error"),
    [
        (OK, False, [("grpc-status", "0")], "0", 0, False),
        (OK, False, [("grpc-message", "no"), ("grpc-status", "16")], "16", 16, True),
        ([*OK, ("grpc-status", "5")], True, None, "5", 5, True),
        ([*OK, ("grpc-status", "0")], True, None, "0", 0, False),
        ([(":status", "503")], True, None, "14", 14, True),
        ([(":status", "404"), ("content-type", "text/html")], True, None, "12", 12, True),
        ([(":status", "418")], True, None, "2", 2, True),
        (OK, True, None, "2", 2, True),
        (OK, False, [("grpc-message", "why")], "2", 2, True),
        (OK, False, [("grpc-status", "1000")], "2", 2, True),
        (OK, False, [("grpc-status", "")], "2", 2, True),
        ([*OK, ("grpc-status", "0")], False, [("x", "y")], "0", 0, False),
        ([(":status", "503")], False, [("x", "y")], "14", 14, True),
        ([(":status", "200"), ("content-type", "text/html")], False, [("x", "y")], "2", 2, True),
    ],
)
def test_grpc_status(
    fields: list[tuple[str, str]],
    end: bool,
    trailers: list[tuple[str, str]] | None,
    content: str,
    status: int,
    error: bool,
) -> None:
    peers = Peers()
    peers.head("client", 1, GRPC_REQUEST)
    peers.send("client", frame(DATA, END_STREAM, 1, b"\0\0\0\0\0"))
    peers.head("server", 1, fields, end=end)
    if trailers:
        peers.send("server", frame(DATA, 0, 1, b"\0\0\0\0\0"))
        peers.head("server", 1, trailers, end=True)
    assert said(peers.calls()) == [("/shop.v1.Orders/Get", content, status, error)]


@pytest.mark.parametrize(
    ("fields", "said_of_it"),
    [
        (OK, ("2", 2, True)),
        ([(":status", "502")], ("14", 14, True)),
        ([*OK, ("grpc-status", "0")], ("0", 0, False)),
        ([(":status", "100")], None),
    ],
)
def test_a_call_whose_last_word_is_data(
    fields: list[tuple[str, str]], said_of_it: tuple[str, int, bool] | None
) -> None:
    peers = Peers()
    peers.head("client", 1, GRPC_REQUEST, end=True)
    peers.head("server", 1, fields)
    peers.send("server", frame(DATA, 0, 1, bytes(5)) + frame(DATA, END_STREAM, 1, b""))
    expected = [("/shop.v1.Orders/Get", *said_of_it)] if said_of_it else []
    assert said(peers.calls()) == expected
    assert said(calls_of(HTTP2, split_everywhere(peers.chunks))) == expected


def test_what_is_no_call_owes_no_status() -> None:
    peers = Peers()
    peers.head("client", 1, get("/a"), end=True)
    peers.head("server", 1, OK)
    peers.send("server", frame(DATA, END_STREAM, 1, b"x"))
    peers.head("client", 3, get("/a"), end=True)
    peers.head("server", 3, OK)
    peers.head("server", 3, [("x", "y")], end=True)
    peers.head("client", 5, get("/a"), end=True)
    peers.head("server", 5, OK, end=True)
    assert said(peers.calls()) == [("/a", "200", 200, False)] * 3


def test_the_place_of_a_stream_is_used_again() -> None:
    """The streams 1 and 4097 have one bit: what the first one owed is not owed by the second."""
    peers = Peers()
    for stream, fields, tail in ((1, OK, [("x", "y")]), (4097, [(":status", "429")], [("x", "y")])):
        peers.head("client", stream, GRPC_REQUEST, end=True)
        peers.head("server", stream, fields)
        peers.head("server", stream, tail, end=True)
    assert [(code, error) for _, code, _, error in said(peers.calls())] == [("2", True), ("14", True)]


def unknown_status(chunks: list[Chunk], seen: int, missing: int) -> tuple[str, int, bool]:
    """What is said of one call, of whose last but `missing` server's chunk only the first `seen` bytes were captured."""
    reader = Conversation(HTTP2)
    last = max(i for i, (who, _) in enumerate(chunks) if who == "server") - missing
    for index, (who, data) in enumerate(chunks):
        reader.feed(who, data, captured=seen if index == last else None)
    ((_, code, status, error),) = said(reader.close())
    return code, status, error


def test_a_status_that_may_not_have_been_captured_is_not_made_up() -> None:
    """Trailers, and heads, of which anything is missing: a field, or the table that it refers to."""
    for fields, tail, fine in (
        (OK, [("x-long", "y" * 30)], ("2", 2, True)),
        (OK, [("x-long", "y" * 30), ("grpc-status", "0")], ("0", 0, False)),
    ):
        peers = Peers()
        peers.head("client", 1, GRPC_REQUEST, end=True)
        peers.head("server", 1, fields)
        peers.head("server", 1, tail, end=True)
        whole = len(peers.chunks[-1][1])
        assert unknown_status(peers.chunks, whole, 0) == fine
        for seen in range(9, whole):
            assert unknown_status(peers.chunks, seen, 0) in {("", 0, False), fine}
            assert fine[2] or unknown_status(peers.chunks, seen, 0)[2] is False
            assert not fine[2] or unknown_status(peers.chunks, seen, 0) == ("", 0, False)
        head = len(peers.chunks[-2][1])
        for seen in range(9, head):
            found = unknown_status(peers.chunks, seen, 1)
            assert found[2] is False, (seen, found)


def test_a_status_that_stands_in_a_table_nobody_has_is_not_made_up() -> None:
    peers = Peers()
    peers.head("server", 1, [("grpc-status", "0")])  # into the server's table
    late = len(peers.chunks)
    peers.head("client", 3, GRPC_REQUEST, end=True)
    peers.head("server", 3, [(":status", "200")])
    peers.head("server", 3, [("grpc-status", "0")], end=True)
    peers.head("client", 5, GRPC_REQUEST, end=True)
    peers.head("server", 5, [(":status", "200"), ("grpc-status", "0")], end=True)
    # The requests are in a table of their own, which is known from here on.
    fresh = [*peers.chunks[:1], *peers.chunks[late:]]
    assert [(code, error) for _, code, _, error in said(calls_of(HTTP2, fresh))] == [("", False), ("", False)]


@pytest.mark.parametrize(("code", "status"), [(7, 14), (8, 1), (11, 8), (12, 7), (2, 13)])
def test_a_reset_call(code: int, status: int) -> None:
    peers = Peers()
    peers.head("client", 1, GRPC_REQUEST, end=True)
    peers.send("server", frame(RESET, 0, 1, struct.pack(">I", code)))
    assert said(peers.calls()) == [("/shop.v1.Orders/Get", str(status), status, True)]


def test_grpc_web_is_not_grpc_and_odd_paths_are_clustered() -> None:
    peers = Peers()
    web = [*GRPC_REQUEST[:4], ("content-type", "application/grpc-web+proto")]
    odd = [*GRPC_REQUEST[:2], (":path", "/a/b/c1"), *GRPC_REQUEST[3:]]
    connect = [(":method", "CONNECT"), (":authority", "a:443")]
    long = get("/" + "a" * 20 + "/" + "b" * 300 + "?q=1")
    for index, fields in enumerate((web, odd, connect, long)):
        peers.head("client", 2 * index + 1, fields, end=True)
    found = [(call.request.content, call.request.protocol) for call in peers.calls()]
    names = ["/*/Get", "/a/b/*", "*", "/" + "a" * 20 + "/*"]
    assert found == [(name, Protocol.GRPC if name == "/a/b/*" else Protocol.NOSUPPORT) for name in names]


def test_pushed_streams_are_bytes_only() -> None:
    peers = Peers()
    peers.head("client", 1, get("/"), end=True)
    block = peers.encoders["server"].encode(get("/pushed"))
    peers.send("server", frame(PROMISE, END_HEADERS, 1, struct.pack(">I", 2) + block))
    peers.head("server", 2, [(":status", "200"), ("x", "y")])
    peers.head("server", 1, [(":status", "200"), ("x", "y")], end=True)
    peers.send("server", frame(DATA, END_STREAM, 2, b"pushed"))
    assert said(peers.calls()) == [("/", "200", 200, False)]


def test_frames_as_large_as_the_receiver_allows() -> None:
    peers = Peers()
    large = frame(DATA, END_STREAM, 1, bytes(20000))
    parser = Parser(HTTP2, Side.REQUEST)
    assert parser.frame(large)[0] is Framed.INVALID
    peers.send("server", frame(SETTINGS, 0, 0, struct.pack(">HI", 5, 32768)))
    peers.head("client", 1, get("/"))
    peers.send("client", large)
    peers.head("server", 1, [(":status", "200")], end=True)
    assert said(peers.calls()) == [("/", "200", 200, False)]


@pytest.mark.parametrize(
    "data",
    [
        frame(DATA, 0, 0, b"x"),
        frame(HEADERS, END_HEADERS, 0, b"\x82"),
        frame(SETTINGS, 0, 1),
        frame(SETTINGS, 0, 0, b"12345"),
        frame(PING, 0, 0, b"1234567"),
        frame(WINDOW, 0, 0, b"123"),
        frame(RESET, 0, 1, b"12345"),
        frame(99, 0, 1, b"x"),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_frame(data: bytes) -> None:
    for side in Side:
        assert Parser(HTTP2, side).frame(data)[0] is Framed.INVALID
    assert detect(HTTP2, data) is Detected.NOT_MINE


# --- header compression -----------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["x-a", "accept", "content-type", "grpc-status", "user-agent", "x-" + "long" * 20])
FIELDS = st.lists(st.tuples(NAMES, st.text("abcXYZ 0129/~\x7f\xff", max_size=200)), max_size=8)
PATHS = st.sampled_from(["/", "/index.html", "/a/b", "/c", "/d/e/f", "/g-h_i"])


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(PATHS, FIELDS, st.sampled_from([None, 0, 60, 300, 4096, 20000]), st.booleans()), max_size=25))
def test_paths_are_what_hpack_encoded(requests: list[tuple[str, list[tuple[str, str]], int | None, bool]]) -> None:
    peers = Peers()
    for index, (path, fields, size, plain) in enumerate(requests):
        encoder = peers.encoders["client"]
        if size is not None:
            encoder.header_table_size = size
        block = encoder.encode([*get(path), *fields], huffman=not plain)
        peers.send("client", frame(HEADERS, END_HEADERS | END_STREAM, 2 * index + 1, block))
    calls = peers.calls(Options(clustering=Clustering.NOPARAM))
    assert [call.request.content for call in calls] == [path for path, _, _, _ in requests]


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60))
def test_every_byte_has_its_code(value: bytes) -> None:
    """A value that is all wrong would leave the rest of the block unreadable."""
    peers = Peers()
    block = peers.encoders["client"].encode([(b"x-any", value), *((k.encode(), v.encode()) for k, v in get("/rest"))])
    peers.send("client", frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
    assert [call.request.content for call in peers.calls()] == ["/rest"]


def test_an_entry_of_a_hundred_kilobytes_and_thousands_of_small_ones() -> None:
    peers = Peers()
    peers.encoders["client"].header_table_size = 1 << 16
    for index in range(1500):
        peers.head("client", 2 * index + 1, [*get("/same"), (f"x-{index}", "v")], end=True)
    contents = [call.request.content for call in peers.calls()]
    assert set(contents) <= {"/same", "*"}
    assert contents[:200] == ["/same"] * 200
    peers = Peers()
    peers.head("client", 1, [*get("/one"), ("x-huge", "v" * 9000)], end=True)
    peers.head("client", 3, get("/one"), end=True)
    assert [call.request.content for call in peers.calls()] == ["/one", "/one"]


# --- joining late, losing bytes ---------------------------------------------------------------------------------------


def test_joined_in_the_middle_unknown_fields_are_stars() -> None:
    peers = Peers()
    peers.head("client", 1, GRPC_REQUEST, end=True)
    peers.head("server", 1, [(":status", "302"), *OK[1:]], end=True)
    late = len(peers.chunks)
    peers.head("client", 3, GRPC_REQUEST, end=True)
    peers.head("server", 3, [(":status", "302"), *OK[1:]], end=True)
    peers.head("client", 5, get("/new/path"), end=True)
    peers.head("server", 5, [(":status", "404")], end=True)
    assert said(calls_of(HTTP2, peers.chunks[late:])) == [("*", "*", 0, False), ("/new/path", "404", 404, True)]


def test_a_block_of_which_only_the_beginning_was_captured() -> None:
    peers = Peers()
    peers.head("client", 1, get("/before"), end=True)
    conversation = Conversation(HTTP2)
    for who, data in peers.chunks:
        conversation.feed(who, data)
    block = peers.encoders["client"].encode([*get("/cut/short"), ("x-a", "v" * 50), ("x-b", "w" * 50)])
    conversation.feed("client", frame(HEADERS, END_HEADERS | END_STREAM, 3, block), captured=40)
    for stream, path in ((5, "/before"), (7, "/after"), (9, "/after")):
        block = peers.encoders["client"].encode(get(path))
        conversation.feed("client", frame(HEADERS, END_HEADERS | END_STREAM, stream, block))
    assert [call.request.content for call in conversation.close()] == ["/before", "/cut/short", "*", "/after", "/after"]


def test_bytes_that_were_lost_empty_the_table() -> None:
    """The engine clears the scratch of a side of which it lost bytes."""
    peers = Peers()
    state = new_state(HTTP2)
    parser = Parser(HTTP2, Side.REQUEST, state=state)
    encode = peers.encoders["client"].encode
    blocks = [frame(HEADERS, END_HEADERS | END_STREAM, stream, encode(get("/kept"))) for stream in (1, 3, 5)]
    assert [parser.frame(block)[1].content for block in blocks[:2]] == ["/kept", "/kept"]
    assert Parser(HTTP2, Side.REQUEST, state=state).frame(blocks[2])[1].content == "*"


@pytest.mark.parametrize("name", RECORDED)
def test_any_first_bytes_may_be_missing(name: str) -> None:
    client = b"".join(load(name).sent("client"))
    for missing in range(0, min(len(client), 4096), 7):
        answer, message = Parser(HTTP2, Side.REQUEST).frame(client[missing : missing + 600])
        assert answer in {Framed.INVALID, Framed.MORE, Framed.MESSAGE}
        assert answer is not Framed.MESSAGE or message.length >= 9


def test_either_side_is_recognised_in_the_middle() -> None:
    for name in RECORDED:
        conversation = load(name)
        for side, wrong in (("client", Detected.RESPONSE), ("server", Detected.REQUEST)):
            verdicts = [detect(HTTP2, data) for data in conversation.sent(side)]
            assert wrong not in verdicts
            assert Detected.REQUEST in verdicts or Detected.RESPONSE in verdicts


def test_a_call_that_is_nobody_s() -> None:
    peers = Peers()
    peers.head("server", 1, [(":status", "200")], end=True)
    reader = Conversation(HTTP2)
    for who, data in peers.chunks:
        reader.feed(who, data)
    assert reader.close() == []
    assert reader.orphans == 1
    assert Flag.SKIP not in Parser(HTTP2, Side.RESPONSE).frame(peers.chunks[-1][1])[1].flags
