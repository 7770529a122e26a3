# SPDX-License-Identifier: Apache-2.0
"""The far end of `kubectl port-forward`: SPDY/3.1 in the messages of a WebSocket, as an API server of 1.30 and later speaks it.

Of SPDY (draft 3) what kubectl uses: two streams for each connection, of errors and of data, their headers compressed with the draft's
dictionary, pings, and no windows.
"""

import asyncio
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from aiohttp import WSMsgType, web

PROTOCOL = "SPDY/3.1+portforward.k8s.io"
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING = 1, 2, 3, 6
_CONTROL, _FIN, _VERSION, _CANCEL = 0x80, 1, 3, 5
_PIECE = 16_384
_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow authorization "
    "cache-control connection content-base content-encoding content-language content-length content-location content-md5 content-range "
    "content-type date etag expect expires from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified "
    "location max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding "
    "upgrade user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie keep-alive origin"
)
_REST = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative Information204 No "
    "Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 "
    "Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,"
    "image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,"
    "sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(struct.pack(">I", len(word)) + word.replace("_", " ").encode() for word in _WORDS.split())
DICTIONARY += _REST.encode()


async def forwarded(request: web.Request, place: Callable[[int], int]) -> web.WebSocketResponse | None:
    """Until kubectl goes: `place` has the port of loopback that stands for one of the pod. None if it does not ask so."""
    socket = web.WebSocketResponse(protocols=(PROTOCOL,))
    if not socket.can_prepare(request) or PROTOCOL not in request.headers.get("Sec-WebSocket-Protocol", ""):
        return None
    await socket.prepare(request)
    session = _Session(socket, place)
    try:
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                await session.take(message.data)
    finally:
        await session.end()
    return socket


@dataclass
class _Session:
    socket: web.WebSocketResponse
    place: Callable[[int], int]
    got: bytes = b""
    inflate: "zlib._Decompress" = field(default_factory=lambda: zlib.decompressobj(zdict=DICTIONARY))
    deflate: "zlib._Compress" = field(default_factory=lambda: zlib.compressobj(zdict=DICTIONARY))
    errors: dict[str, int] = field(default_factory=dict)
    """Streams by the number of their connection."""
    writers: dict[int, asyncio.StreamWriter] = field(default_factory=dict)
    pumps: list["asyncio.Task[None]"] = field(default_factory=list)

    async def take(self, piece: bytes) -> None:
        for head, payload in self._frames(piece):
            if head[0] & _CONTROL:
                await self._control(head[3], payload)
            elif (writer := self.writers.get(int.from_bytes(head[:4]))) is not None:
                writer.write(payload)
                if head[4] & _FIN:
                    writer.write_eof()

    def _frames(self, piece: bytes) -> Iterator[tuple[bytes, bytes]]:
        """(eight bytes of head, the rest) of each that is whole."""
        self.got += piece
        while len(self.got) >= 8 and len(self.got) >= (end := 8 + int.from_bytes(self.got[5:8])):
            head, payload, self.got = self.got[:8], self.got[8:end], self.got[end:]
            yield head, payload

    async def _control(self, kind: int, payload: bytes) -> None:
        if kind == _PING:
            await self._send(_PING, payload)
        elif kind == _SYN_STREAM:
            stream, headers = int.from_bytes(payload[:4]), self._headers(payload[10:])
            connection = headers["requestid"]
            if headers["streamtype"] == "error":
                self.errors[connection] = stream
                await self._replied(stream)
            else:
                await self._connected(stream, self.errors[connection], int(headers["port"]))

    async def _connected(self, stream: int, errors: int, port: int) -> None:
        try:
            reader, self.writers[stream] = await asyncio.open_connection("127.0.0.1", self.place(port))
        except (LookupError, OSError) as error:
            await self._replied(stream)
            await self._data(errors, f"port {port}: {error}".encode(), _FIN)
            await self._send(_RST_STREAM, struct.pack(">II", stream, _CANCEL))
            return
        await self._replied(stream)
        self.pumps.append(asyncio.create_task(self._pump(reader, stream, errors)))

    async def _pump(self, reader: asyncio.StreamReader, stream: int, errors: int) -> None:
        while piece := await reader.read(_PIECE):
            await self._data(stream, piece)
        await self._data(stream, b"", _FIN)
        await self._data(errors, b"", _FIN)

    def _headers(self, block: bytes) -> dict[str, str]:
        text = self.inflate.decompress(block)
        words, at = [], 4
        for _ in range(2 * int.from_bytes(text[:4])):
            size = int.from_bytes(text[at : at + 4])
            words.append(text[at + 4 : at + 4 + size].decode())
            at += 4 + size
        return dict(zip(words[::2], words[1::2], strict=True))

    async def _replied(self, stream: int) -> None:
        none = self.deflate.compress(bytes(4)) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        await self._send(_SYN_REPLY, struct.pack(">I", stream) + none)

    async def _send(self, kind: int, payload: bytes) -> None:
        head = bytes([_CONTROL, _VERSION, 0, kind, 0]) + len(payload).to_bytes(3)
        await self.socket.send_bytes(head + payload)

    async def _data(self, stream: int, payload: bytes, flags: int = 0) -> None:
        await self.socket.send_bytes(struct.pack(">IB", stream, flags) + len(payload).to_bytes(3) + payload)

    async def end(self) -> None:
        for pump in self.pumps:
            pump.cancel()
        await asyncio.gather(*self.pumps, return_exceptions=True)
        for writer in self.writers.values():
            writer.close()
