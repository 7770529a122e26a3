# SPDX-License-Identifier: Apache-2.0
"""Decoders that are switched off, and ports that are told: what of a conversation is decoded then, and that the rest counts."""

from collections import Counter
from dataclasses import replace

import pytest

from analyzers.contract import PROTOCOLS
from collector.part_settings import engine_settings
from collector.schema import Config
from tests import toy
from tests.conversations import events_of, load
from tests.events import Conversation
from tests.inprocess import InProcessEngine, Row
from tests.parsing import Protocol

ALL = 0xFFFFFFFF
PORT = 8000
"""Of the server in recorded conversations."""
GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def without(*off: Protocol) -> int:
    return ALL & ~sum(1 << one for one in off)


def rows_of(name: str, *, enabled: int = ALL, pinned: Protocol | None = None) -> list[Row]:
    with InProcessEngine(protocols_enabled=enabled) as engine:
        if pinned is not None:
            protocols = replace(Config().protocols, ports={PORT: PROTOCOLS[pinned]})
            (rule,) = engine_settings(replace(Config(), protocols=protocols)).port_rules
            assert rule.protocol is not None
            engine.config.port_rule[0].port = rule.port
            engine.config.port_rule[0].protocol = PROTOCOLS.index(rule.protocol)
            engine.config.port_rules = 1
            engine.config.generation += 1
            engine.tick(0)
        return engine.feed(events_of(load(name))).finish().rows()


def counts(rows: list[Row]) -> Counter[str]:
    found: Counter[str] = Counter()
    for row in rows:
        found[row.protocol] += row.count
    return +found


@pytest.mark.parametrize(
    ("name", "pinned"),
    [
        ("grpc-unary", Protocol.GRPC),
        ("http-websocket", Protocol.WEBSOCKET),
        ("http2-nginx", Protocol.HTTP2),
        ("redis-cli", Protocol.REDIS),
        ("mysql-client", Protocol.MYSQL),
    ],
)
def test_a_port_that_is_told_is_decoded_as_one_that_is_recognised(name: str, pinned: Protocol) -> None:
    rows = rows_of(name, pinned=pinned)
    assert rows == rows_of(name)
    assert counts(rows)[PROTOCOLS[pinned]] > 0


@pytest.mark.parametrize(("asked", "brought"), [("grpc", "http2"), ("websocket", "http"), ("redis", "redis")])
def test_what_comes_in_another_protocol_brings_it(asked: str, brought: str) -> None:
    config = Config()
    settings = engine_settings(replace(config, protocols=replace(config.protocols, enabled=(asked,))))
    assert settings.protocols_enabled == {asked, brought, "NOSUPPORT"}


@pytest.mark.parametrize(
    ("name", "off", "expected"),
    [
        ("http-websocket", [Protocol.WEBSOCKET], {"http": 1, "NOSUPPORT": 4}),
        ("http-upgrade-h2c", [Protocol.HTTP2, Protocol.GRPC], {"http": 1, "NOSUPPORT": 1}),
        ("mysql-tls", [Protocol.TLS], {"NOSUPPORT": 4}),
        ("postgresql-tls", [Protocol.TLS], {"NOSUPPORT": 7}),
    ],
)
def test_what_another_protocol_leads_to_is_counted_undecoded_if_it_is_off(
    name: str, off: list[Protocol], expected: dict[str, int]
) -> None:
    assert counts(rows_of(name, enabled=without(*off))) == expected


def test_a_decoder_that_is_switched_off_under_way_leaves_an_undecoded_conversation() -> None:
    with InProcessEngine() as engine:
        c = Conversation(7, ("10.0.0.2", 80), ("10.0.0.1", 40000), "server", comm="nginx", pid=5)
        engine.feed([c.open(0)])
        for turn in range(8):
            at = 1000 * turn
            engine.feed([c.receives(at + 1, GET), c.sends(at + 5, OK)])
            if turn == 2:
                engine.config.protocols_enabled = without(Protocol.HTTP)
                engine.config.generation += 1
                engine.tick(at + 10)
        rows = engine.feed([c.close(9000)]).finish().rows()
        assert counts(rows) == {"http": 3, "NOSUPPORT": 5}
        assert sum(row.request_bytes for row in rows) == 8 * len(GET)
        assert sum(row.response_bytes for row in rows) == 8 * len(OK)


def test_a_request_that_waits_while_its_decoder_is_switched_off_is_discarded() -> None:
    with InProcessEngine(native=toy.native()) as engine:
        c = Conversation(7, ("10.0.0.2", 80), ("10.0.0.1", 40000), "server", comm="backend", pid=5)
        engine.feed(
            [
                c.open(0),
                c.receives(1, toy.message("?", "/a", number=1)),
                c.receives(2, toy.message("?", "/b", number=2)[:7]),
            ]
        )
        engine.config.protocols_enabled = without(Protocol.HTTP2)
        engine.config.generation += 1
        engine.tick(3)
        engine.feed([c.receives(4, b"rest"), c.sends(5, b"answer"), c.receives(6, b"more"), c.sends(7, b"answer")])
        assert counts(engine.feed([c.close(8)]).finish().rows()) == {"NOSUPPORT": 2}
        assert (engine.stat("discarded_exchanges"), engine.stat("requests"), engine.stat("exchanges")) == (1, 0, 2)
