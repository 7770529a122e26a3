# SPDX-License-Identifier: Apache-2.0
"""A recording of made-up HTTP traffic, as large as wanted and the same on every machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from analyzers import recording
from tests.events import Conversation

Mode = Literal["stream", "message"]

_SERVER = ("10.1.0.7", 8080)
_REQUEST = b"GET /api/orders/17 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: made-up\r\nAccept: */*\r\n\r\n"
_RESPONSE = b"HTTP/1.1 200 OK\r\nServer: made-up\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n"
_STEP_NS = 10_000


def _served(number: int) -> Conversation:
    client = (f"10.0.{number // 256 % 256}.{number % 256}", 40000 + number % 20000)
    owner = {"pid": 100 + number % 8, "netns": 4026531840, "cgroup_id": 4242}
    return Conversation(number, _SERVER, client, "server", comm="server", **owner)


def _padded(event: bytes) -> bytes:
    return event.ljust((len(event) + 7) & ~7, b"\0")


def _events(connections: int, exchanges: int, mode: Mode) -> Iterator[bytes]:
    served = [_served(number) for number in range(1, connections + 1)]
    time_ns = 10**9
    for conversation in served:
        yield conversation.open(time_ns)
    for turn in range(exchanges):
        conversation = served[turn % connections]
        time_ns += _STEP_NS
        answered_ns = time_ns + _STEP_NS // 2
        if mode == "stream":
            yield conversation.receives(time_ns, _REQUEST)
            yield conversation.sends(answered_ns, _RESPONSE)
        else:
            yield conversation.exchanges(answered_ns, _REQUEST, _RESPONSE, first_start_ns=time_ns)


def write_http(path: Path, *, connections: int, exchanges: int, mode: Mode) -> None:
    """Writes `exchanges` requests with their responses, in turn over `connections` keep-alive connections to one server.

    In stream mode each is two DATA events, in message mode one EXCHANGE.
    """
    with path.open("wb") as file:
        file.write(recording.pack_head("core", "made-up", 0))
        file.writelines(map(_padded, _events(connections, exchanges, mode)))
