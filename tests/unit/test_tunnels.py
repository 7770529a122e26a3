# SPDX-License-Identifier: Apache-2.0
"""CONNECT through a proxy (RFC 9110, section 9.3.6): one request, and behind it whatever is spoken in the tunnel."""

from collections.abc import Iterable, Sequence
from itertools import accumulate

import pytest

from analyzers.contract import PROTOCOLS
from tests.conversations import Conversation, counted, events_of, load
from tests.events import Conversation as Talk
from tests.inprocess import InProcessEngine, Row
from tests.parsing import Protocol

ASKED = b"CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\nProxy-Connection: Keep-Alive\r\n\r\n"
THERE = b"HTTP/1.1 200 Connection established\r\n\r\n"
DENIED = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nno"
GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
TUNNEL = ("http", "api.example.com:443", "200", False, 1)
BANNERS = (("server", b"SSH-2.0-OpenSSH_9.2\r\n"), ("client", b"SSH-2.0-OpenSSH_9.2\r\n"))
SEALED = (("server", bytes(range(200, 256)) * 4), ("client", bytes(range(256)))) * 5
MS = 10**6
Said = tuple[str, bytes]


def through(*chunks: Said, asked: bytes = ASKED, there: bytes = THERE) -> Conversation:
    return Conversation("made", "http", (("client", asked), ("server", there), *chunks))


def inside(name: str) -> Conversation:
    return through(*load(name).chunks)


def kinds(rows: Iterable[Row]) -> list[tuple[str, str, str, bool, int]]:
    return sorted(
        (row.protocol, row.request, row.response, "error" in row.flags, row.count) for row in rows if row.count
    )


def alone(name: str) -> list[tuple[str, str, str, bool, int]]:
    """What is counted of it on a connection of its own."""
    return kinds(counted(events_of(load(name)))[0])


@pytest.mark.parametrize("side", ["server", "client"])
@pytest.mark.parametrize(
    "name",
    [
        "tls13",
        "tls12",
        "redis-resp3",
        "mysql-client",
        "http-curl-nginx",
        "http2-curl-upload",
        "postgresql-psql",
        "amqp-work",
    ],
)
def test_what_is_spoken_in_a_tunnel_is_recognised_as_anywhere(name: str, side: str) -> None:
    rows, stats = counted(events_of(inside(name), side=side))
    assert kinds(rows) == sorted([TUNNEL, *alone(name)])
    assert {"orphan_responses", "discarded_exchanges", "resyncs", "contradictions"}.isdisjoint(stats)
    everything = sum(len(data) for _, data in inside(name).chunks)
    assert sum(row.request_bytes + row.response_bytes for row in rows) == everything


@pytest.mark.parametrize("name", ["tls13", "http-curl-nginx", "mysql-client"])
def test_nothing_in_a_tunnel_is_parsed_as_http(name: str) -> None:
    with InProcessEngine() as engine:
        engine.feed(events_of(inside(name))).finish()
        assert list(engine.table.parse_failures) == [0] * 32


def test_a_server_that_speaks_first_may_do_so_in_the_segment_of_the_answer() -> None:
    """MySQL greets: its greeting stands right behind the proxy's answer."""
    (who, greeting), *rest = load("mysql-client").chunks
    assert who == "server"
    rows, stats = counted(events_of(through(*rest, there=THERE + greeting)))
    assert kinds(rows) == sorted([TUNNEL, *alone("mysql-client")])
    assert {"orphan_responses", "discarded_exchanges", "resyncs"}.isdisjoint(stats)


@pytest.mark.parametrize("together", [True, False])
def test_a_client_that_speaks_before_the_tunnel_is_there(together: bool) -> None:
    """What it said then is not seen as what it is, but as no request either; what follows is."""
    (_, hello), *rest = load("tls13").chunks
    asked = (("client", ASKED + hello),) if together else (("client", ASKED), ("client", hello))
    rows, stats = counted(events_of(Conversation("made", "http", (*asked, ("server", THERE), *rest))))
    assert TUNNEL in kinds(rows)
    assert {row.protocol for row in rows} == {"http", "tls"}
    assert {"orphan_responses", "resyncs"}.isdisjoint(stats)


@pytest.mark.parametrize(
    "interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"]
)
def test_an_interim_answer_opens_no_tunnel_and_ends_nothing(interim: bytes) -> None:
    (_, hello), *rest = load("tls13").chunks
    talk = (("client", ASKED), ("server", interim), ("client", hello), ("server", THERE), *rest)
    rows, stats = counted(events_of(Conversation("made", "http", talk)))
    assert TUNNEL in kinds(rows)
    assert {row.protocol for row in rows} == {"http", "tls"}
    assert {"orphan_responses", "resyncs", "discarded_exchanges"}.isdisjoint(stats)


def test_what_was_asked_between_a_connect_and_its_answer_is_no_request_of_the_tunnel() -> None:
    """A client that pipelines: its GET behind the CONNECT is what the tunnel gets, and nobody's request."""
    inner = [
        (f"/{letter}".encode(), answer) for letter, answer in (("c", OK), ("d", OK.replace(b"200", b"500")), ("e", OK))
    ]
    asked = [part for path, answer in inner for part in (("client", GET.replace(b"/a", path)), ("server", answer))]
    early = (
        ("client", GET),
        ("client", ASKED),
        ("server", OK),
        ("client", GET.replace(b"/a", b"/b")),
        ("server", THERE),
    )
    rows, stats = counted(events_of(Conversation("made", "http", (*early, *asked))))
    assert kinds(rows) == sorted([
        ("http", "/a", "200", False, 1), TUNNEL,
        ("http", "/c", "200", False, 1), ("http", "/d", "500", True, 1), ("http", "/e", "200", False, 1),
    ])  # fmt: skip
    assert stats["discarded_exchanges"] == 1


def test_what_nobody_decodes_in_a_tunnel_is_counted_under_what_it_leads_to() -> None:
    rows, _ = counted(events_of(through(*BANNERS, *SEALED)))
    found = kinds(rows)
    assert TUNNEL in found
    assert {row[:3] for row in found if row != TUNNEL} == {("NOSUPPORT", "api.example.com:443", "")}


def test_a_decoder_that_is_off_is_off_in_a_tunnel() -> None:
    enabled = 0xFFFFFFFF & ~(1 << Protocol.TLS | 1 << Protocol.REDIS)
    for name in ("tls13", "redis-resp2"):
        rows, _ = counted(events_of(inside(name)), protocols_enabled=enabled)
        assert {row.protocol for row in rows} == {"http", "NOSUPPORT"}


def test_a_proxy_that_refuses_goes_on_in_http() -> None:
    no = Conversation("made", "http", (("client", ASKED), ("server", DENIED), ("client", GET), ("server", OK)))
    assert kinds(counted(events_of(no))[0]) == [
        ("http", "/a", "200", False, 1),
        ("http", "api.example.com:443", "407", True, 1),
    ]


def test_a_tunnel_in_a_tunnel() -> None:
    second = ASKED.replace(b"api.", b"inner.")
    rows, _ = counted(events_of(through(("client", second), ("server", THERE), *load("tls13").chunks)))
    assert kinds(rows) == sorted([TUNNEL, ("http", "inner.example.com:443", "200", False, 1), *alone("tls13")])


def test_a_tunnel_that_nobody_answers_is_an_error() -> None:
    rows, _ = counted(events_of(Conversation("made", "http", (("client", ASKED),))))
    assert kinds(rows) == [("http", "api.example.com:443", "no response", True, 1)]
    assert rows[0].request_bytes == len(ASKED)


def cut_once(place: int, chunks: Sequence[Said]) -> list[Said]:
    """The chunks, with one more cut at this place of all their bytes."""
    begins = [0, *accumulate(len(data) for _, data in chunks)]
    cut: list[Said] = []
    for begin, (who, data) in zip(begins, chunks, strict=False):
        at = place - begin
        cut += [(who, data[:at]), (who, data[at:])] if 0 < at < len(data) else [(who, data)]
    return cut


@pytest.mark.parametrize("name", ["redis-resp2", "http-curl-nginx-head"])
def test_cut_at_every_byte_the_same_is_counted(name: str) -> None:
    made = inside(name)
    expected = kinds(counted(events_of(made))[0])
    everything = sum(len(data) for _, data in made.chunks)
    for place in range(1, min(everything, 300)):
        cut = Conversation("made", "http", tuple(cut_once(place, made.chunks)))
        assert kinds(counted(events_of(cut))[0]) == expected, place


def test_a_head_of_an_answer_that_was_cut_off() -> None:
    """What is left of it is nobody's; the tunnel begins where the client speaks."""
    there = THERE[:-2] + b"".join(b"Via: %d proxy.example.com\r\n" % i for i in range(40)) + b"\r\n"
    rows, _ = counted(events_of(through(*load("redis-resp2").chunks, there=there), captured=512))
    assert kinds(rows) == sorted([TUNNEL, *alone("redis-resp2")])


class Proxied:
    """A keep-alive connection to a proxy, event by event, as the proxy's end tells it, and the driver's mode."""

    def __init__(self, engine: InProcessEngine, conn_id: int = 7) -> None:
        self._engine = engine
        self._talk = Talk(conn_id, ("10.0.0.2", 3128), ("10.0.0.1", 40000), "server", comm="proxy", pid=5)
        self._id, self._ms = conn_id, 0
        engine.feed([self._talk.open(0)])

    def hears(self, *chunks: Said) -> str | None:
        for side, data in chunks:
            self._ms += 1
            move = self._talk.sends if side == "server" else self._talk.receives
            self._engine.feed([move(self._ms * MS, data)])
        return self._engine.mode(self._id)

    def exchanges(self, asked: bytes, answered: bytes) -> str | None:
        """As the driver tells it in message mode."""
        self._ms += 2
        self._engine.feed([self._talk.exchanges(self._ms * MS, asked, answered, first_start_ns=(self._ms - 1) * MS)])
        return self._engine.mode(self._id)


def test_what_the_driver_is_told_of_a_tunnel() -> None:
    """Message mode, for which a proxy's client asked often enough, ends with it, and may come again in it."""
    with InProcessEngine() as engine:
        proxied = Proxied(engine)
        for _ in range(3):
            mode = proxied.hears(("client", ASKED), ("server", DENIED))
        assert mode == "message"
        assert proxied.exchanges(ASKED, THERE) == "stream"
        for _ in range(3):
            mode = proxied.hears(("client", GET), ("server", OK))
        assert mode == "message"
        assert kinds(engine.finish().rows()) == [
            ("http", "/a", "200", False, 3),
            ("http", "api.example.com:443", "200", False, 1),
            ("http", "api.example.com:443", "407", True, 3),
        ]


def test_sealed_bytes_of_a_tunnel_are_not_wanted() -> None:
    with InProcessEngine() as engine:
        proxied = Proxied(engine)
        assert proxied.hears(("client", ASKED), ("server", THERE)) == "stream"
        assert proxied.hears(*load("tls13").chunks) == "lengths"


@pytest.mark.parametrize("ruled", [Protocol.HTTP, None])
def test_the_port_says_nothing_of_what_is_in_a_tunnel(ruled: Protocol | None) -> None:
    """Neither what `protocols.ports` says of it, nor is its next connection taken for what was in a tunnel."""
    with InProcessEngine() as engine:
        if ruled is not None:
            engine.config.port_rule[0].port = 3128
            engine.config.port_rule[0].protocol = PROTOCOLS.index("http")
            engine.config.port_rules = 1
            engine.config.generation += 1
            engine.tick(0)
        Proxied(engine, 7).hears(("client", ASKED), ("server", THERE), *load("redis-resp2").chunks)
        Proxied(engine, 8).hears(("client", ASKED), ("server", THERE), *load("tls13").chunks)
        found = kinds(engine.finish().rows())
        assert {kind[0] for kind in found} == {"http", "redis", "tls"}
        assert ("http", "api.example.com:443", "200", False, 2) in found
