# SPDX-License-Identifier: Apache-2.0
"""A peer that speaks MongoDB's wire protocol to pymongo: no real server can be had from Debian or PyPI.

Nor is there FerretDB 1: the Go module proxy has no version of it (asked on 2026-11-22). FerretDB 2 is an extension of PostgreSQL besides.

It keeps documents in memory, finds by equality, and answers as a server of version 6 does: OP_MSG, the OP_QUERY that a
driver says hello with, OP_COMPRESSED with zlib, cursors with batches, and errors with MongoDB's codes.
"""

import socketserver
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import bson

_REPLY, _QUERY, _COMPRESSED, _MSG = 1, 2004, 2012, 2013
_MORE_TO_COME, _ZLIB = 2, 2
_UNSQUEEZED = {"hello", "ismaster"}
Document = dict[str, Any]


class _Refused(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.reply: Document = {"ok": 0.0, "errmsg": message, "code": code}


class MongoServer(socketserver.ThreadingTCPServer):
    """Its collections by name, and cursors that are still open."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, *, compression: bool) -> None:
        super().__init__(("127.0.0.1", port), _Connection)
        self.compression = ["zlib"] if compression else []
        self.lock = threading.Lock()
        self.collections: dict[str, dict[Any, Document]] = {}
        self.cursors: dict[int, tuple[str, list[Document]]] = {}

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def run(self, command: Document) -> Document:
        """The reply to a command: its first key names it."""
        name = next(iter(command))
        handler = getattr(self, f"_{name.lower()}", None)
        try:
            if handler is None:
                raise _Refused(59, f"no such command: '{name}'")
            with self.lock:
                return {**handler(command), "ok": 1.0}
        except _Refused as refused:
            return refused.reply

    def _hello(self, _: Document) -> Document:
        limits = {"maxBsonObjectSize": 1 << 24, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000}
        return {"isWritablePrimary": True, "ismaster": True, "maxWireVersion": 17, "minWireVersion": 0, **limits} | {
            "compression": self.compression
        }

    _ismaster = _hello

    def _ping(self, _: Document) -> Document:
        return {}

    _endsessions = _ping

    def _insert(self, command: Document) -> Document:
        rows = self.collections.setdefault(command["insert"], {})
        wrong = []
        for index, row in enumerate(command["documents"]):
            if row["_id"] in rows:
                wrong.append({"index": index, "code": 11000, "errmsg": "E11000 duplicate key error"})
                break
            rows[row["_id"]] = row
        return {"n": len(command["documents"]) - len(wrong), **({"writeErrors": wrong} if wrong else {})}

    def _found(self, collection: str, wanted: Document) -> list[Document]:
        if any(key.startswith("$") for key in wanted):
            raise _Refused(2, "unknown top level operator")
        rows = self.collections.get(collection, {}).values()
        return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]

    def _find(self, command: Document) -> Document:
        collection = command["find"]
        rows = self._found(collection, command.get("filter", {}))
        return self._batch("firstBatch", collection, rows, command.get("batchSize", 101))

    def _batch(self, key: str, collection: str, rows: list[Document], size: int) -> Document:
        number = len(self.cursors) + 1 if len(rows) > size else 0
        if number:
            self.cursors[number] = (collection, rows[size:])
        return {"cursor": {key: rows[:size], "id": bson.Int64(number), "ns": f"shop.{collection}"}}

    def _getmore(self, command: Document) -> Document:
        try:
            collection, rows = self.cursors.pop(command["getMore"])
        except KeyError:
            raise _Refused(43, "cursor not found") from None
        return self._batch("nextBatch", collection, rows, command.get("batchSize", 101))

    def _update(self, command: Document) -> Document:
        changed = 0
        for update in command["updates"]:
            for row in self._found(command["update"], update["q"]):
                row.update(update["u"]["$set"])
                changed += 1
        return {"n": changed, "nModified": changed}

    def _delete(self, command: Document) -> Document:
        rows = self.collections.get(command["delete"], {})
        gone = [row["_id"] for one in command["deletes"] for row in self._found(command["delete"], one["q"])]
        for number in gone:
            del rows[number]
        return {"n": len(gone)}


class _Connection(socketserver.BaseRequestHandler):
    def _take(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.request.recv(size - len(data))
            if not piece:
                raise ConnectionResetError
            data += piece
        return data

    def handle(self) -> None:
        server = cast("MongoServer", self.server)
        self.sent = 0
        try:
            while True:
                length, number, _, opcode = struct.unpack("<IIII", self._take(16))
                body = self._take(length - 16)
                squeezed = opcode == _COMPRESSED
                if squeezed:
                    opcode, _, _ = struct.unpack_from("<IIB", body)
                    body = zlib.decompress(body[9:])
                self._answer(server, number, opcode, body, squeezed)
        except (ConnectionError, OSError):
            return

    def _answer(self, server: MongoServer, number: int, opcode: int, body: bytes, squeezed: bool) -> None:
        if opcode == _QUERY:
            at = body.index(b"\0", 4) + 1 + 8
            reply = server.run(bson.decode(body[at:]))
            self._send(_REPLY, struct.pack("<IqII", 8, 0, 0, 1) + bson.encode(reply), number, squeezed)
            return
        (flags,) = struct.unpack_from("<I", body)
        reply = server.run(_command(body))
        if not flags & _MORE_TO_COME:
            self._send(_MSG, bytes(5) + bson.encode(reply), number, squeezed)

    def _send(self, opcode: int, body: bytes, to: int, squeezed: bool) -> None:
        self.sent += 1
        if squeezed:
            body = struct.pack("<IIB", opcode, len(body), _ZLIB) + zlib.compress(body)
            opcode = _COMPRESSED
        self.request.sendall(struct.pack("<IIII", 16 + len(body), self.sent, to, opcode) + body)


def _command(body: bytes) -> Document:
    """Of an OP_MSG, with the documents of its sections put where they belong."""
    at, command, more = 4, Document(), Document()
    while at < len(body):
        kind, (size,) = body[at], struct.unpack_from("<I", body, at + 1)
        section = body[at + 1 : at + 1 + size]
        if kind == 0:
            command = bson.decode(section)
        else:
            name, _, rows = section[4:].partition(b"\0")
            more[name.decode()] = bson.decode_all(rows)
        at += 1 + size
    return command | more


@contextmanager
def mongodb(port: int = 0, *, compression: bool = False) -> Iterator[MongoServer]:
    """Such a server on loopback, on a free port if none is given. With `compression` it offers zlib."""
    with MongoServer(port, compression=compression) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
