# SPDX-License-Identifier: Apache-2.0
"""HTTPS on a port of loopback from a thread of its own, and what `kubectl exec` speaks there: for clusters that tests make."""

import asyncio
import json
import ssl
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from tests.servers import program

Object = dict[str, Any]
Ended = tuple[int, str, str]
"""(exit code, standard output, standard error)."""
_PIECE = 30_000
_GOODBYE = 0.2


@contextmanager
def served(folder: Path, handle: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Iterator[int]:
    """The port; every request goes to `handle`. The certificate is `cert.pem` in `folder`."""
    context = _certificate(folder)
    loop = asyncio.new_event_loop()
    started = threading.Event()
    ports: list[int] = []

    async def serve() -> None:
        app = web.Application(client_max_size=8 << 20)
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        ports.append(runner.addresses[0][1])
        started.set()
        await ended.wait()
        await runner.cleanup()
        await asyncio.sleep(_GOODBYE)  # an end of TLS takes a few turns of the loop after its connection was closed

    ended = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(20)
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


def _certificate(folder: Path) -> ssl.SSLContext:
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


async def executed(request: web.Request, work: Callable[[list[str]], Ended]) -> web.WebSocketResponse | None:
    """Runs the command that the request asks for; None if it is not for a WebSocket.

    Channels of v5.channel.k8s.io: a first byte says which stream a frame is of.
    """
    socket = web.WebSocketResponse(protocols=("v5.channel.k8s.io",))
    if not socket.can_prepare(request):
        return None
    await socket.prepare(request)
    code, out, err = await asyncio.to_thread(work, request.query.getall("command"))
    for channel, text in ((1, out), (2, err)):
        for start in range(0, len(text), _PIECE):
            await socket.send_bytes(bytes([channel]) + text[start : start + _PIECE].encode())
    status: Object = {"metadata": {}, "status": "Success"}
    if code:
        causes = [{"reason": "ExitCode", "message": str(code)}]
        status = {"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode", "message": f"exit code {code}",
                  "details": {"causes": causes}}  # fmt: skip
    await socket.send_bytes(b"\x03" + json.dumps(status).encode())
    await socket.close()
    async for message in socket:
        if message.type is WSMsgType.ERROR:
            break
    return socket
