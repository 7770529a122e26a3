# SPDX-License-Identifier: Apache-2.0
"""The two HTTP listeners: `listen.metrics` for Prometheus and probes, `listen.api` for people and tools.

Both run in the agent's event loop. What they show comes from an AgentView, so they can be tested without an agent.
"""

import asyncio
import errno
import logging
import socket
import ssl
import time
import zlib
from collections.abc import Iterable, Sequence
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from collector.api import AgentView
from collector.api_routes import ApiRoutes, explain_bad_queries
from collector.http_guard import (
    Handler,
    ListenError,
    TokenFile,
    Turnstile,
    add_headers,
    only_this_machine,
    read_only,
    refusal,
    with_token,
)
from collector.kinds import Endpoint
from collector.schema import Listeners

log = logging.getLogger(__name__)

STALLED_SECONDS: Final = 60.0
"""/healthz fails when the agent's loop has not finished a turn for so long."""
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_GZIP_LEVEL: Final = 1  # level 6 costs three times the CPU for a tenth of the bytes
_GZIP_WBITS: Final = 31
_KEEPALIVE_SECONDS: Final = 75.0
_SHUTDOWN_SECONDS: Final = 3.0
_BACKLOG: Final = 128


class _Listener:
    """One application on one endpoint."""

    def __init__(self, key: str, endpoint: Endpoint, app: web.Application, tls: ssl.SSLContext | None) -> None:
        self._key, self._endpoint, self._tls = key, endpoint, tls
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
        """Raises ListenError; then nothing is left open."""
        sockets = await _bind(self._key, self._endpoint)
        await self._runner.setup()
        server = self._runner.server
        assert server is not None
        self._turnstile = Turnstile(server)
        loop = asyncio.get_running_loop()
        handshake = 10.0 if self._tls else None
        for sock in sockets:
            self._servers.append(
                await loop.create_server(
                    self._turnstile, sock=sock, ssl=self._tls, backlog=_BACKLOG, ssl_handshake_timeout=handshake
                )
            )

    @property
    def port(self) -> int:
        return int(self._servers[0].sockets[0].getsockname()[1])

    async def stop(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        await self._runner.cleanup()


class HttpServer:
    """Opens both listeners, or neither."""

    def __init__(self, listeners: Listeners, view: AgentView) -> None:
        self._listeners, self._view = listeners, view
        self._api: ApiRoutes | None = None
        self._open: dict[str, _Listener] = {}

    async def start(self) -> None:
        """Raises ListenError: a port in use, an address that is not ours, an API that would be open to everybody."""
        listeners = self._listeners
        check_listeners(listeners)
        tls = _tls_context(listeners)
        token = TokenFile(listeners.token_file) if listeners.token_file else None
        try:
            if listeners.metrics is not None:
                app = metrics_app(self._view, loopback=listeners.metrics.loopback)
                await self._start("listen.metrics", listeners.metrics, app, tls)
            if listeners.api is not None:
                self._api = ApiRoutes(self._view, self.url("listen.metrics"))
                await self._start("listen.api", listeners.api, api_app(self._api, listeners.api, token), tls)
        except BaseException:
            await self.stop()
            raise

    async def _start(self, key: str, endpoint: Endpoint, app: web.Application, tls: ssl.SSLContext | None) -> None:
        listener = _Listener(key, endpoint, app, tls)
        await listener.start()
        self._open[key] = listener

    async def stop(self) -> None:
        """Ends open streams and lets running answers finish for a few seconds."""
        if self._api is not None:
            self._api.stream.close()
        for listener in list(self._open.values()):
            await listener.stop()
        self._open.clear()
        self._api = None

    async def replace(self, listeners: Listeners) -> None:
        """Takes over changed settings. Raises ListenError, and then the old ones are in force again."""
        if listeners == self._listeners:
            return
        check_listeners(listeners)
        old = self._listeners
        await self.stop()
        self._listeners = listeners
        try:
            await self.start()
        except ListenError:
            self._listeners = old
            await self.start()
            raise

    def url(self, key: str) -> str:
        """Where `listen.metrics` or `listen.api` can be opened from this machine; empty if it is off."""
        listener = self._open.get(key)
        endpoint = self._listeners.metrics if key == "listen.metrics" else self._listeners.api
        if listener is None or endpoint is None:
            return ""
        scheme = "https" if self._listeners.tls.cert else "http"
        host = endpoint.host if endpoint.host not in {"", "0.0.0.0", "::"} else "127.0.0.1"  # noqa: S104 - compared
        return f"{scheme}://{Endpoint(host, listener.port)}"


def check_listeners(listeners: Listeners) -> None:
    """Raises ListenError for settings that contradict each other or would show traffic to strangers."""
    if bool(listeners.tls.cert) != bool(listeners.tls.key):
        raise ListenError("listen.tls", "a certificate needs its key, and a key its certificate", "set cert and key")
    api = listeners.api
    if api is not None and not api.loopback and not listeners.token_file:
        raise ListenError(
            "listen.api",
            f"{api} can be reached from other machines, and the API shows who talks to whom and which paths they ask for",
            "set listen.auth to the path of a file with a token, or listen.api to 127.0.0.1:9501",
        )


def metrics_app(view: AgentView, *, loopback: bool) -> web.Application:
    """/metrics, /healthz and /readyz."""

    async def metrics(request: web.Request) -> web.StreamResponse:
        openmetrics = wants_openmetrics(request.headers.get("Accept", ""))
        chunks = iter(view.metrics(openmetrics=openmetrics))
        first = next(chunks, b"")  # before the head is sent, so that a failure is still a 500
        response = web.StreamResponse(headers={"Vary": "Accept, Accept-Encoding"})
        response.headers["Content-Type"] = OPENMETRICS if openmetrics else TEXT
        zipped = accepts(request.headers.get("Accept-Encoding", ""), "gzip") > 0
        if zipped:
            response.headers["Content-Encoding"] = "gzip"
        await response.prepare(request)
        await _send(
            response, first, chunks, zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WBITS) if zipped else None
        )
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

    middlewares: list[Middleware] = [explain_bad_queries]
    if loopback:
        middlewares.append(only_this_machine)
    app = web.Application(middlewares=[*middlewares, read_only])
    for path, handler in (("/", index), ("/metrics", metrics), ("/healthz", healthz), ("/readyz", readyz)):
        app.router.add_get(path, handler)
    return app


def api_app(routes: ApiRoutes, endpoint: Endpoint, token: TokenFile | None) -> web.Application:
    """The live page and the API behind the guards that its endpoint calls for."""
    middlewares: list[Middleware] = [explain_bad_queries]
    if endpoint.loopback:
        middlewares.append(only_this_machine)
    middlewares.append(read_only)
    if token is not None:
        middlewares.append(with_token(token))
    app = web.Application(middlewares=middlewares)
    routes.add_to(app)
    return app


async def _send(
    response: web.StreamResponse, first: bytes, chunks: Iterable[bytes], packer: "zlib._Compress | None"
) -> None:
    """Writes the page piece by piece and lets the loop run in between: a large page takes a while to make."""
    chunk: bytes | None = first
    rest = iter(chunks)
    while chunk is not None:
        data = packer.compress(chunk) if packer else chunk
        if data:
            await response.write(data)
        await asyncio.sleep(0)
        chunk = next(rest, None)
    if packer:
        await response.write(packer.flush())
    await response.write_eof()


def accepts(header: str, name: str) -> float:
    """The weight (RFC 9110, 12.4.2) that an Accept or Accept-Encoding header gives to exactly `name`; 0 if none."""
    best = 0.0
    for part in header.split(","):
        value, *parameters = (piece.strip() for piece in part.split(";"))
        if value.lower() != name:
            continue
        weight = 1.0
        for parameter in parameters:
            key, _, given = parameter.partition("=")
            if key.strip().lower() == "q":
                try:
                    weight = float(given)
                except ValueError:
                    weight = 0.0
        best = max(best, weight)
    return best


def wants_openmetrics(header: str) -> bool:
    """Whether OpenMetrics is asked for, and not less than the plain text format."""
    wanted = accepts(header, "application/openmetrics-text")
    return wanted > 0 and wanted >= accepts(header, "text/plain")


def _tls_context(listeners: Listeners) -> ssl.SSLContext | None:
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


async def _bind(key: str, endpoint: Endpoint) -> Sequence[socket.socket]:
    """Sockets that listen on every address that the endpoint's name stands for. Raises ListenError."""
    if not endpoint.host:
        found = [(socket.AF_INET6, ("::", endpoint.port)), (socket.AF_INET, ("0.0.0.0", endpoint.port))]  # noqa: S104
    else:
        try:
            infos = await asyncio.get_running_loop().getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
        except OSError as error:
            message = f'the name "{endpoint.host}" cannot be resolved ({error.strerror})'
            raise ListenError(key, message, "use an address of this machine") from error
        found = [(socket.AddressFamily(family), (str(name[0]), endpoint.port)) for family, _, _, _, name in infos]
    opened: list[socket.socket] = []
    failed: OSError | None = None
    for family, name in dict.fromkeys(found):
        try:
            opened.append(_bind_one(family, name, both=not endpoint.host))
        except OSError as error:
            failed = error
        if opened and not endpoint.host:
            break  # an IPv6 socket for all addresses takes IPv4 as well
        if failed and failed.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
            break
    if not opened or (failed and failed.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}):
        for sock in opened:
            sock.close()
        assert failed is not None
        raise _bind_error(key, endpoint, failed) from failed
    return opened


def _bind_one(family: socket.AddressFamily, name: tuple[str, int], *, both: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if both else 1)
        sock.bind(name)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_error(key: str, endpoint: Endpoint, error: OSError) -> ListenError:
    other = Endpoint(endpoint.host, endpoint.port + 10 if endpoint.port < 65525 else 9510)
    if error.errno == errno.EADDRINUSE:
        remedy = f"see who uses it with `ss -ltnp sport = :{endpoint.port}`, or choose another: --set {key}={other}"
        return ListenError(key, f"{endpoint} is in use", remedy)
    if error.errno in {errno.EACCES, errno.EPERM}:
        remedy = f"choose a port above 1023: --set {key}={Endpoint(endpoint.host, endpoint.port + 9000)}"
        return ListenError(key, f"{endpoint} may not be opened by this user", remedy)
    if error.errno == errno.EADDRNOTAVAIL:
        return ListenError(key, f"{endpoint.host} is no address of this machine", "see `ip address` for those that are")
    return ListenError(key, f"{endpoint} cannot be opened ({error.strerror})", "choose another address")
