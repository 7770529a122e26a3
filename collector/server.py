# SPDX-License-Identifier: Apache-2.0
"""The two HTTP listeners: `listen.metrics` for Prometheus and probes, `listen.api` for people and tools.

Both run in the agent's event loop. What they show comes from an AgentView, so they can be tested without an agent.
"""

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from collector.api import AgentView
from collector.api_routes import ApiRoutes, explain_bad_queries
from collector.http_guard import (
    Gate,
    Handler,
    ListenError,
    TokenFile,
    Turnstile,
    add_headers,
    guards,
    refusal,
)
from collector.kinds import Endpoint
from collector.listen_keys import Listeners
from collector.listening import BACKLOG, bind, close_all
from collector.token_review import Reviewer, TokenReviews
from exporters.prometheus import CONTENT_TYPES, accepts_gzip, compressed, negotiate

log = logging.getLogger(__name__)

STALLED_SECONDS: Final = 60.0
"""/healthz fails when the agent's loop has not finished a turn for so long."""
WRITE_SECONDS: Final = 30.0
"""A scraper that takes nothing of the page for so long is cut off: it holds the page in memory."""
PAGES_MAX: Final = 16
"""Pages that are written at once."""
_KEEPALIVE_SECONDS: Final = 75.0
_SHUTDOWN_SECONDS: Final = 3.0
_GATES: Final[Mapping[str, Callable[[Listeners], str]]] = {
    "listen.auth": lambda listeners: listeners.auth,
    "listen.metrics_auth": lambda listeners: listeners.metrics_auth,
}


class _Listener:
    """One application on the sockets of one endpoint."""

    def __init__(self, sockets: Sequence[socket.socket], app: web.Application, tls: ssl.SSLContext | None) -> None:
        self._sockets, self._tls = sockets, tls
        self._turnstile: Turnstile | None = None
        app.middlewares.insert(0, self._let_in())
        app.on_response_prepare.append(add_headers)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            keepalive_timeout=_KEEPALIVE_SECONDS,
            shutdown_timeout=_SHUTDOWN_SECONDS,
            max_line_size=8190,
            max_field_size=8190,
            max_headers=64,
            handler_cancellation=True,
        )
        self._servers: list[asyncio.Server] = []

    def _let_in(self) -> Middleware:
        @web.middleware
        async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
            if self._turnstile is not None:
                self._turnstile.asked(request.protocol)
            return await handler(request)

        return note

    async def start(self) -> None:
        await self._runner.setup()
        server = self._runner.server
        assert server is not None
        self._turnstile = Turnstile(server)
        loop = asyncio.get_running_loop()
        handshake = 10.0 if self._tls else None
        for sock in self._sockets:
            self._servers.append(
                await loop.create_server(
                    self._turnstile, sock=sock, ssl=self._tls, backlog=BACKLOG, ssl_handshake_timeout=handshake
                )
            )

    @property
    def port(self) -> int:
        return int(self._servers[0].sockets[0].getsockname()[1])

    def sockets_again(self) -> list[socket.socket]:
        """The same sockets for a successor: what connects in between waits, and no privilege is needed again."""
        return [sock.dup() for server in self._servers for sock in server.sockets]

    async def stop(self) -> None:
        for server in self._servers:
            server.close()
        for sock in self._sockets:
            sock.close()
        self._servers.clear()
        await self._runner.cleanup()


class HttpServer:
    """Opens both listeners, or neither."""

    def __init__(self, listeners: Listeners, view: AgentView, reviewer: Reviewer | None = None) -> None:
        """`reviewer` is the cluster to ask where a listener's clients are accounts of it."""
        self._listeners, self._view, self._reviewer = listeners, view, reviewer
        self._tls: ssl.SSLContext | None = None
        self._tls_fault = ""
        self._gates: dict[str, Gate] = {}
        self._api: ApiRoutes | None = None
        self._paused = False
        self._dropped_before = 0
        self._open: dict[str, _Listener] = {}

    async def start(self) -> None:
        """Raises ListenError: a port in use, an address that is not ours, an API that would be open to everybody."""
        await self._take_over(self._listeners)

    async def replace(self, listeners: Listeners) -> None:
        """Takes over changed settings. Raises ListenError, and then the old ones are in force as if nothing was."""
        if listeners != self._listeners:
            await self._take_over(listeners)

    async def _take_over(self, listeners: Listeners) -> None:
        """Everything that can fail comes first. What was opened or read with privileges is used again."""
        check_listeners(listeners)
        tls = self._context(listeners)
        gates = {key: gate for key in _GATES if (gate := self._gate(key, listeners)) is not None}
        sockets = await self._sockets(listeners)
        await self.stop()
        self._listeners, self._tls, self._gates = listeners, tls, gates
        try:
            if listeners.metrics is not None:
                gate = gates.get("listen.metrics_auth")
                app = metrics_app(self._view, loopback=listeners.metrics.loopback, gate=gate)
                await self._start("listen.metrics", sockets, app)
            if listeners.api is not None:
                self._api = ApiRoutes(self._view, self.url("listen.metrics"))
                self._api.stream.pause(self._paused)
                await self._start("listen.api", sockets, api_app(self._api, listeners.api, gates.get("listen.auth")))
        except BaseException:
            await self.stop()
            close_all(sockets)
            raise

    def _gate(self, key: str, listeners: Listeners) -> Gate | None:
        """The one in use if it is the same. Raises ListenError."""
        wanted = _GATES[key](listeners)
        if key in self._gates and wanted == _GATES[key](self._listeners):
            return self._gates[key]
        return open_gate(key, wanted, self._reviewer)

    def _context(self, listeners: Listeners) -> ssl.SSLContext | None:
        """Read anew each time; files that can no longer be read, or not in this moment, leave what was read before."""
        try:
            return tls_context(listeners)
        except ListenError:
            if self._tls is not None and listeners.tls == self._listeners.tls:
                return self._tls
            raise

    async def _sockets(self, listeners: Listeners) -> dict[str, list[socket.socket]]:
        old = {"listen.metrics": self._listeners.metrics, "listen.api": self._listeners.api}
        sockets: dict[str, list[socket.socket]] = {}
        try:
            for key, endpoint in (("listen.metrics", listeners.metrics), ("listen.api", listeners.api)):
                if endpoint is not None:
                    running = self._open.get(key) if endpoint == old[key] else None
                    sockets[key] = running.sockets_again() if running else list(await bind(key, endpoint))
        except BaseException:
            close_all(sockets)
            raise
        return sockets

    async def _start(self, key: str, sockets: dict[str, list[socket.socket]], app: web.Application) -> None:
        listener = self._open[key] = _Listener(sockets[key], app, self._tls)
        await listener.start()

    async def stop(self) -> None:
        """Ends open streams and lets running answers finish for a few seconds."""
        if self._api is not None:
            self._api.stream.close()
            self._dropped_before += self._api.stream.dropped_total
        for listener in list(self._open.values()):
            await listener.stop()
        self._open.clear()
        self._api = None

    def read_certificate_again(self) -> str:
        """One that was renewed holds from the next connection on. Says why it cannot be read, once; what was read before holds."""
        before = self._tls_fault
        self._tls_fault = renew_certificate(self._tls, self._listeners) if self._tls is not None else ""
        return self._tls_fault if self._tls_fault != before else ""

    def pause_stream(self, paused: bool) -> None:
        """Whether nobody may follow requests as they come."""
        self._paused = paused
        if self._api is not None:
            self._api.stream.pause(paused)

    @property
    def stream_dropped(self) -> int:
        """Requests that listeners of the live stream were too slow for, since the start."""
        return self._dropped_before + (self._api.stream.dropped_total if self._api is not None else 0)

    @property
    def ports(self) -> frozenset[int]:
        """That are listened on now."""
        return frozenset(listener.port for listener in self._open.values())

    def url(self, key: str) -> str:
        """Where `listen.metrics` or `listen.api` can be opened from this machine; empty if it is off."""
        listener = self._open.get(key)
        endpoint = self._listeners.metrics if key == "listen.metrics" else self._listeners.api
        if listener is None or endpoint is None:
            return ""
        scheme = "https" if self._listeners.tls.cert else "http"
        host = endpoint.host if endpoint.host not in {"", "0.0.0.0", "::"} else "127.0.0.1"  # noqa: S104 - compared
        return f"{scheme}://{Endpoint(host, listener.port)}"


def open_gate(key: str, wanted: str, reviewer: Reviewer | None) -> Gate | None:
    """Who may ask, by the value of `key`; None for everybody. Raises ListenError."""
    if wanted == "none":
        return None
    if wanted != "kubernetes":
        return TokenFile(wanted, key)
    if reviewer is None:
        raise ListenError(key, "there is no cluster that could review tokens", "name the file of a token instead")
    return TokenReviews(reviewer)


def check_listeners(listeners: Listeners) -> None:
    """Raises ListenError for settings that contradict each other or would show traffic to strangers."""
    if bool(listeners.tls.cert) != bool(listeners.tls.key):
        raise ListenError("listen.tls", "a certificate needs its key, and a key its certificate", "set cert and key")
    api = listeners.api
    if api is not None and not api.loopback and listeners.auth == "none":
        raise ListenError(
            "listen.api",
            f"{api} can be reached from other machines, and the API shows who talks to whom and which paths they ask for",
            "set listen.auth to kubernetes or the path of a file with a token, or listen.api to 127.0.0.1:9501",
        )


def metrics_app(view: AgentView, *, loopback: bool, gate: Gate | None = None) -> web.Application:
    """/metrics behind `gate`, /healthz and /readyz for everybody."""

    writing = 0

    async def metrics(request: web.Request) -> web.StreamResponse:
        nonlocal writing
        if writing >= PAGES_MAX:
            return refusal(503, f"{PAGES_MAX} pages are being read already", "scrape less often", {"Retry-After": "5"})
        writing += 1
        try:
            return await page(request)
        finally:
            writing -= 1

    async def page(request: web.Request) -> web.StreamResponse:
        style = negotiate(request.headers.get("Accept", ""))
        zipped = accepts_gzip(request.headers.get("Accept-Encoding", ""))
        chunks = iter(view.metrics(openmetrics=style == "openmetrics"))
        pieces = compressed(chunks) if zipped else chunks
        first = next(pieces, b"")  # before the head is sent, so that a failure is still a 500
        response = web.StreamResponse(headers={"Vary": "Accept, Accept-Encoding"})
        response.headers["Content-Type"] = CONTENT_TYPES[style]
        if zipped:
            response.headers["Content-Encoding"] = "gzip"
        await response.prepare(request)
        if request.method != "HEAD":
            try:
                await _send(response, first, pieces)
            except TimeoutError:
                if request.transport is not None:
                    request.transport.abort()
        return response

    async def healthz(_request: web.Request) -> web.Response:
        idle = time.monotonic() - view.last_turn()
        if idle > STALLED_SECONDS:
            return refusal(503, f"the agent's loop has not finished a turn for {idle:.0f} s", "restart the agent")
        return web.json_response({"status": "ok", "last_turn_seconds": round(max(0.0, idle), 3)})

    async def readyz(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def index(_request: web.Request) -> web.Response:
        return web.Response(text="firesteel: /metrics /healthz /readyz\n")

    asked = guards(loopback=loopback, gate=gate, guarded="/metrics", key="listen.metrics_auth")
    app = web.Application(middlewares=[explain_bad_queries, *asked])
    for path, handler in (("/", index), ("/metrics", metrics), ("/healthz", healthz), ("/readyz", readyz)):
        app.router.add_get(path, handler)
    return app


def api_app(routes: ApiRoutes, endpoint: Endpoint, gate: Gate | None) -> web.Application:
    """The live page and the API behind the guards that its endpoint calls for."""
    asked = guards(loopback=endpoint.loopback, gate=gate, guarded="/api", key="listen.auth")
    app = web.Application(middlewares=[explain_bad_queries, *asked])
    routes.add_to(app)
    return app


async def _send(response: web.StreamResponse, first: bytes, rest: Iterator[bytes]) -> None:
    """Writes the page piece by piece and lets the loop run in between: a large page takes a while to make.

    Raises TimeoutError for a reader that takes nothing any more.
    """
    piece: bytes | None = first
    while piece is not None:
        async with asyncio.timeout(WRITE_SECONDS):
            await response.write(piece)
        await asyncio.sleep(0)
        piece = next(rest, None)
    async with asyncio.timeout(WRITE_SECONDS):
        await response.write_eof()


def tls_context(listeners: Listeners) -> ssl.SSLContext | None:
    if not listeners.tls.cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(listeners.tls.cert, listeners.tls.key)
    except (OSError, ssl.SSLError) as error:
        raise ListenError(
            "listen.tls",
            f"{listeners.tls.cert} and {listeners.tls.key}: {error}",
            "both must be readable PEM files that belong together",
        ) from error
    return context


def renew_certificate(context: ssl.SSLContext, listeners: Listeners) -> str:
    """Why it cannot be read; empty if it was. Read aside first: one that does not fit its key would leave `context` without either."""
    try:
        tls_context(listeners)
        context.load_cert_chain(listeners.tls.cert, listeners.tls.key)
    except (ListenError, OSError) as error:
        return str(error)
    return ""
