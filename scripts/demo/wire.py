# SPDX-License-Identifier: Apache-2.0
"""Just enough of two protocols for the shop to ask its cache and its database: Redis (RESP2) and PostgreSQL 3.0.

No client library, so that the demo needs nothing beyond what the agent itself does.
"""

import socket
import struct
from typing import Final

TIMEOUT: Final = 10.0


class Refused(Exception):
    """The server answered with an error."""


class Cache:
    """A connection to Redis (https://redis.io/docs/latest/develop/reference/protocol-spec/)."""

    def __init__(self, address: str, port: int) -> None:
        self._socket = socket.create_connection((address, port), TIMEOUT)
        self._file = self._socket.makefile("rb")

    def ask(self, *words: str) -> bytes | None:
        """The answer of a command whose answer is a line or one text; None for nothing."""
        parts = [f"*{len(words)}\r\n".encode()]
        parts += [f"${len(word.encode())}\r\n{word}\r\n".encode() for word in words]
        self._socket.sendall(b"".join(parts))
        line = self._file.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            raise Refused(rest.decode())
        if kind != b"$":
            return rest
        if int(rest) < 0:
            return None
        return self._file.read(int(rest) + 2)[:-2]


class Database:
    """A connection to PostgreSQL that trusts us, with simple queries
    (https://www.postgresql.org/docs/current/protocol-message-formats.html)."""

    def __init__(self, address: str, port: int, user: str, name: str) -> None:
        self._socket = socket.create_connection((address, port), TIMEOUT)
        self._file = self._socket.makefile("rb")
        words = b"".join(word.encode() + b"\0" for word in ("user", user, "database", name)) + b"\0"
        self._socket.sendall(struct.pack("!ii", 8 + len(words), 3 << 16) + words)
        self._until_ready()

    def query(self, statement: str) -> int:
        """How many rows came back; raises Refused with the server's message."""
        text = statement.encode() + b"\0"
        self._socket.sendall(b"Q" + struct.pack("!i", 4 + len(text)) + text)
        return self._until_ready()

    def _until_ready(self) -> int:
        rows, refused = 0, ""
        while True:
            kind, size = struct.unpack("!ci", self._file.read(5))
            body = self._file.read(size - 4)
            if kind == b"D":
                rows += 1
            elif kind == b"E":
                fields = {field[:1]: field[1:].decode() for field in body.split(b"\0") if field}
                refused = f"{fields.get(b'C', '')} {fields.get(b'M', '')}"
            elif kind == b"Z":
                if refused:
                    raise Refused(refused)
                return rows
