# SPDX-License-Identifier: Apache-2.0
"""An HTTP client down at the socket: it sends exactly the bytes it is told to, and knows how many went each way."""

from __future__ import annotations

import socket
import ssl
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers import Server

CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: its status, its bytes on the wire with its head, and the 1xx statuses that came before it."""

    status: int
    size: int
    interim: tuple[int, ...] = ()


class RawConnection:
    """One connection. `sent` and `received` count the bytes of HTTP, which under TLS are not those of the wire."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self._stream = link.makefile("rb")
        self.sent = 0
        self.received = 0

    def send(self, data: bytes) -> int:
        self.link.sendall(data)
        self.sent += len(data)
        return len(data)

    def answer(self, method: str = "GET") -> Answer:
        """Reads one response to the end. Raises EOFError if the peer closes before it is whole."""
        interim: list[int] = []
        before = self.received
        while True:
            status, fields = self._head()
            if status >= 200 or status == 101:
                break
            interim.append(status)
        self._skip_body(method, status, fields)
        return Answer(status, self.received - before, tuple(interim))

    def ask(self, method: str, path: str, body: bytes | None = None, *fields: str, version: str = "1.1") -> Answer:
        """Sends one request in two calls, head and body, and reads its response."""
        self.send(head(method, path, *fields, size=None if body is None else len(body), version=version))
        if body:
            self.send(body)
        return self.answer(method)

    def take(self, size: int) -> bytes:
        """Exactly so many bytes of what follows the last response."""
        data = self._stream.read(size)
        self.received += len(data)
        return data

    def close(self) -> None:
        self._stream.close()
        self.link.close()

    def _line(self) -> bytes:
        line = self._stream.readline()
        if not line.endswith(b"\n"):
            raise EOFError(f"the peer closed after {line!r}")
        self.received += len(line)
        return line

    def _head(self) -> tuple[int, dict[str, str]]:
        status = int(self._line().split()[1])
        fields = {}
        while (line := self._line().strip()) != b"":
            name, _, value = line.decode().partition(":")
            fields[name.lower()] = value.strip().lower()
        return status, fields

    def _skip(self, size: int) -> None:
        while size:
            part = self._stream.read(min(size, CHUNK))
            if not part:
                raise EOFError(f"the peer closed {size} bytes early")
            self.received += len(part)
            size -= len(part)

    def _skip_body(self, method: str, status: int, fields: dict[str, str]) -> None:
        if method == "HEAD" or status in {101, 204, 304}:
            return
        if fields.get("transfer-encoding") == "chunked":
            while size := int(self._line(), 16):
                self._skip(size + 2)
            self._line()
        elif "content-length" in fields:
            self._skip(int(fields["content-length"]))
        else:
            while part := self._stream.read(CHUNK):
                self.received += len(part)


def head(method: str, path: str, *fields: str, size: int | None = None, version: str = "1.1") -> bytes:
    """A request's head; `size` becomes its Content-Length."""
    length = () if size is None else (f"Content-Length: {size}",)
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: firesteel.test", *fields, *length, "", ""]).encode()


def chunked(body: bytes, size: int) -> bytes:
    """A body in chunks of `size` bytes."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@contextmanager
def connected(server: Server, *, tls: int = 0) -> Iterator[RawConnection]:
    """A connection to `server`; `tls` is an ssl.TLSVersion, or 0 for none."""
    link = socket.create_connection((server.address, server.port), timeout=30)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls:
        context = ssl.create_default_context(cafile=str(server.folder / "cert.pem"))
        context.minimum_version = context.maximum_version = ssl.TLSVersion(tls)
        link = context.wrap_socket(link, server_hostname="localhost")
    connection = RawConnection(link)
    try:
        yield connection
    finally:
        connection.close()


@dataclass(frozen=True, slots=True)
class Figures:
    """Requests and bytes, of a log or of the metrics page."""

    requests: int = 0
    request_bytes: int = 0
    response_bytes: int = 0

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            self.requests + other.requests,
            self.request_bytes + other.request_bytes,
            self.response_bytes + other.response_bytes,
        )


def access_log(folder: Path) -> dict[str, Figures]:
    """What nginx says that it did, by status."""
    found: defaultdict[str, Figures] = defaultdict(Figures)
    with (folder / "access.log").open() as lines:
        for line in lines:
            status, request, response, _ = line.split(" ", 3)
            found[status] += Figures(1, int(request), int(response))
    return dict(found)


def total(figures: dict[str, Figures]) -> Figures:
    return sum(figures.values(), Figures())
