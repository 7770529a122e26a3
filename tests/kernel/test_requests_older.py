# SPDX-License-Identifier: Apache-2.0
"""Servers and connections that are older than the agent: counted from its first moment on."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.agents import Agent
from tests.raw_http import Figures, RawConnection, connected, total
from tests.requests_seen import counts, edge, entity, protocols, wait_for, watching
from tests.servers import Server, nginx

REQUESTS = 40
_TCP_INFO_ACKED = 120  # offset of tcpi_bytes_acked; tcpi_bytes_received is behind it


@dataclass(frozen=True, slots=True)
class Old:
    """What was there before the agent."""

    agent: Agent
    plain: Server
    plain_v6: Server
    secure: Server
    plain_client: RawConnection
    plain_v6_client: RawConnection
    secure_client: RawConnection


@pytest.fixture(scope="module")
def old() -> Iterator[Old]:
    with ExitStack() as stack:
        plain = stack.enter_context(nginx(access_log=True))
        plain_v6 = stack.enter_context(nginx(address="::1"))
        secure = stack.enter_context(nginx(tls=True))
        clients = [
            stack.enter_context(connected(plain)),
            stack.enter_context(connected(plain_v6)),
            stack.enter_context(connected(secure, tls=ssl.TLSVersion.TLSv1_3)),
        ]
        for client in clients:
            for _ in range(5):
                assert client.ask("GET", "/").status == 200
        agent = stack.enter_context(watching())
        yield Old(agent, plain, plain_v6, secure, *clients)


def wire_bytes(client: RawConnection) -> tuple[int, int]:
    """Bytes of this connection that the peer has acknowledged, and that came: with those of TLS."""
    info = client.link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    acked, received = struct.unpack_from("=QQ", info, _TCP_INFO_ACKED)
    return acked, received


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_an_old_connection_to_an_old_server(old: Old, family: str) -> None:
    server, client = (old.plain, old.plain_client) if family == "IPv4" else (old.plain_v6, old.plain_v6_client)
    sent, received = client.sent, client.received
    for _ in range(REQUESTS):
        assert client.ask("GET", "/").status == 200
        assert client.ask("GET", "/missing").status == 404
    wait_for(old.agent, server.port, 2 * REQUESTS)
    assert counts(entity(old.agent, server.port)) == {"200": REQUESTS, "404": REQUESTS}
    assert entity(old.agent, server.port) == edge(old.agent, server.port)
    expected = Figures(2 * REQUESTS, client.sent - sent, client.received - received)
    assert total(entity(old.agent, server.port)) == expected


def test_an_old_tls_connection_is_counted_in_exchanges(old: Old) -> None:
    sent, received = wire_bytes(old.secure_client)
    for _ in range(REQUESTS):
        assert old.secure_client.ask("GET", "/").status == 200
    wait_for(old.agent, old.secure.port, REQUESTS, "tls")
    sent_now, received_now = wire_bytes(old.secure_client)
    expected = Figures(REQUESTS, sent_now - sent, received_now - received)
    assert protocols(old.agent, old.secure.port) == {"tls"}
    assert total(entity(old.agent, old.secure.port, "tls")) == expected
    assert total(edge(old.agent, old.secure.port, "tls")) == expected


def test_a_new_tls_connection_counts_its_handshake_too(old: Old) -> None:
    """Two round trips with TLS 1.2, then the requests."""
    with nginx(tls=True) as server, connected(server, tls=ssl.TLSVersion.TLSv1_2) as client:
        for _ in range(REQUESTS):
            assert client.ask("GET", "/").status == 200
        wait_for(old.agent, server.port, REQUESTS + 2, "tls")
        sent, received = wire_bytes(client)
    # What is acknowledged has the SYN in it.
    expected = Figures(REQUESTS + 2, sent - 1, received)
    assert total(entity(old.agent, server.port, "tls")) == expected
    assert total(edge(old.agent, server.port, "tls")) == expected
