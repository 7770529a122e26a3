# SPDX-License-Identifier: Apache-2.0
"""A recording of made-up HTTP traffic, as large as wanted, laid out as probes/include/event.h says."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from analyzers import recording

Mode = Literal["stream", "message"]

_HEAD = struct.Struct("=QQQIIIHHII")  # fs_head
_TUPLE = struct.Struct("=16s16sHHBBBx")  # fs_tuple
_OPEN = struct.Struct("=QQQIIII16s")  # what follows head and tuple in fs_open
_DATA = struct.Struct("=QIIIHBB")  # what follows the head in fs_data
_EXCHANGE = struct.Struct("=QQQQIIIHHBBB5x")  # what follows the head in fs_exchange
_EV_OPEN, _EV_DATA, _EV_EXCHANGE = 1, 2, 3
_IN, _OUT = 0, 1
_SERVER, _TCP = 2, 6

_REQUEST = b"GET /api/orders/17 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: made-up\r\nAccept: */*\r\n\r\n"
_RESPONSE = b"HTTP/1.1 200 OK\r\nServer: made-up\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n"
_STEP_NS = 10_000


def _mapped(a: int, b: int, c: int, d: int) -> bytes:
    return bytes(10) + b"\xff\xff" + bytes((a, b, c, d))


def _event(kind: int, time_ns: int, number: int, body: bytes) -> bytes:
    size = _HEAD.size + len(body)
    head = _HEAD.pack(time_ns, number, 4242, 100 + number % 8, 100 + number % 8, 4026531840, kind, number % 2, size, 0)
    return (head + body).ljust((size + 7) & ~7, b"\0")


def _open(time_ns: int, number: int) -> bytes:
    client = _mapped(10, 0, number // 256 % 256, number % 256)
    ends = _TUPLE.pack(_mapped(10, 1, 0, 7), client, 8080, 40000 + number % 20000, 4, _TCP, _SERVER)
    rest = _OPEN.pack(number, number, time_ns, 0, 0, 200, 0, b"server")
    return _event(_EV_OPEN, time_ns, number, ends + rest)


def _stream(time_ns: int, number: int, asked: int, answered: int) -> bytes:
    request = _DATA.pack(len(_REQUEST), asked, answered, 200, len(_REQUEST), _IN, 0)
    response = _DATA.pack(len(_RESPONSE), answered, asked + len(_REQUEST), 200, len(_RESPONSE), _OUT, 0)
    first = _event(_EV_DATA, time_ns, number, request + _REQUEST)
    return first + _event(_EV_DATA, time_ns + _STEP_NS // 2, number, response + _RESPONSE)


def _message(time_ns: int, number: int, asked: int, answered: int) -> bytes:
    times = (time_ns, time_ns, len(_REQUEST), len(_RESPONSE))
    captured = (len(_REQUEST), len(_RESPONSE))
    body = _EXCHANGE.pack(*times, asked, answered, 200, *captured, _IN, 0, 0)
    return _event(_EV_EXCHANGE, time_ns + _STEP_NS // 2, number, body + _REQUEST + _RESPONSE)


def _events(connections: int, exchanges: int, mode: Mode) -> Iterator[bytes]:
    one = _stream if mode == "stream" else _message
    time_ns = 10**9
    for number in range(1, connections + 1):
        yield _open(time_ns, number)
    for turn in range(exchanges):
        time_ns += _STEP_NS
        number, round_ = turn % connections + 1, turn // connections
        yield one(time_ns, number, round_ * len(_REQUEST), round_ * len(_RESPONSE))


def write_http(path: Path, *, connections: int, exchanges: int, mode: Mode) -> None:
    """Writes `exchanges` requests with their responses, in turn over `connections` keep-alive connections to one server.

    In stream mode each is two DATA events, in message mode one EXCHANGE.
    """
    with path.open("wb") as file:
        file.write(recording.pack_head("core", "made-up", 0))
        file.writelines(_events(connections, exchanges, mode))
