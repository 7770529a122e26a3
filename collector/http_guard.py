# SPDX-License-Identifier: Apache-2.0
"""Who may ask what: Host check, bearer token, methods, bodies, response headers, slow and numerous connections.

Each guard is an aiohttp middleware or wraps the connection factory; a listener is given those it needs.
"""

import asyncio
import contextlib
import hmac
import ipaddress
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypeAlias

from aiohttp import web
from aiohttp.typedefs import Middleware

from collector.options import Exit
from collector.token_review import CannotTell

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

CONNECTIONS_MAX = 128
"""Open connections per listener."""
FIRST_REQUEST_SECONDS = 10.0
"""A connection that has not sent a whole request head by then is closed a second later."""
_SECOND_LOOK_SECONDS = 1.0
TOKEN_MIN_LENGTH = 16
_TOKEN_MAX_BYTES = 4096
_TOKEN_REREAD_SECONDS = 2.0

# The page needs only its own files and its own API. https://www.w3.org/TR/CSP3/
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class ListenError(Exception):
    """A listener cannot be opened, or must not be. `remedy` says what to do, `exit_code` how a command that needs it ends."""

    exit_code = Exit.WRONG_USE

    def __init__(self, key: str, problem: str, remedy: str) -> None:
        super().__init__(f"{key}: {problem}; {remedy}")
        self.key, self.problem, self.remedy = key, problem, remedy


class Gate(Protocol):
    """Who may ask for what."""

    async def admits(self, authorization: str, path: str) -> bool:
        """Whether the Authorization header of a request lets it have `path`. Raises CannotTell."""
        ...


class TokenFile:
    """A Gate: the bearer token in a file, read again when the file changes, so that it can be rotated.

    If the file becomes unreadable the last token stays in force. Raises ListenError if it cannot be read at first.
    """

    def __init__(self, path: str, key: str = "listen.auth") -> None:
        self._path = Path(path)
        self._read_at = time.monotonic()
        try:
            self._token = self._read()
        except PermissionError as error:
            remedy = "let user 65532 read it, as which the agent goes on once it has started, or restart the agent"
            raise ListenError(key, f"{path}: {error.strerror}", remedy) from error
        except (OSError, ValueError) as error:
            raise ListenError(key, f"{path}: {error}", "write a token of at least 16 characters into it") from error

    def _read(self) -> bytes:
        with self._path.open("rb") as file:
            token = file.read(_TOKEN_MAX_BYTES + 1).strip()
        if not TOKEN_MIN_LENGTH <= len(token) <= _TOKEN_MAX_BYTES:
            message = f"the token has {len(token)} characters, allowed are {TOKEN_MIN_LENGTH} to {_TOKEN_MAX_BYTES}"
            raise ValueError(message)
        return token

    async def admits(self, authorization: str, path: str) -> bool:  # noqa: ARG002 - one token is for everything
        """Whether an Authorization header carries the token; takes the same time for every wrong one."""
        now = time.monotonic()
        if now - self._read_at >= _TOKEN_REREAD_SECONDS:
            self._read_at = now
            # Half-written, or no longer readable after privileges were dropped: the old one holds.
            with contextlib.suppress(OSError, ValueError):
                self._token = self._read()
        scheme, _, given = authorization.partition(" ")
        # aiohttp tells bytes that are no UTF-8 as surrogates.
        sent = given.strip().encode("utf-8", "surrogateescape")
        return scheme.lower() == "bearer" and hmac.compare_digest(sent, self._token)


def refusal(status: int, what: str, remedy: str, headers: dict[str, str] | None = None) -> web.Response:
    """Every error of the API has this shape."""
    return web.json_response({"error": {"what": what, "remedy": remedy}}, status=status, headers=headers)


def is_loopback_name(host: str) -> bool:
    """Whether a Host header (port included) names this machine's loopback.

    A page of another site that makes its own name resolve to 127.0.0.1 (DNS rebinding) still sends that name here.
    """
    name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
    name = name.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


@web.middleware
async def only_this_machine(request: web.Request, handler: Handler) -> web.StreamResponse:
    """For listeners on loopback: refuses requests that a foreign web page may have caused."""
    if not is_loopback_name(request.headers.get("Host", "")):
        return refusal(
            421,
            "this listener only answers to localhost, 127.0.0.1 and [::1]",
            "use http://127.0.0.1, or have it listen elsewhere: listen.metrics, or listen.api with listen.auth",
        )
    return await handler(request)


@web.middleware
async def read_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Nothing here changes anything, takes a body, or is for other sites' scripts."""
    if request.method not in {"GET", "HEAD"}:
        return refusal(405, f"{request.method} is not allowed", "use GET", {"Allow": "GET, HEAD"})
    if request.body_exists:
        return refusal(413, "requests have no body here", "send the request without one", {"Connection": "close"})
    foreign = request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}
    if foreign and request.headers.get("Sec-Fetch-Mode") != "navigate":
        return refusal(403, "another web site asked for this", "open the page at this listener's own address")
    return await handler(request)


def with_gate(gate: Gate, guarded: str, key: str) -> Middleware:
    """Asks for a bearer token on every route under `guarded`; the page itself holds no data and asks the user for it."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith(guarded):
            return await handler(request)
        try:
            admitted = await gate.admits(request.headers.get("Authorization", ""), request.path)
        except CannotTell as error:
            return refusal(503, f"the token cannot be reviewed: {error}", "ask again", {"Retry-After": "5"})
        if not admitted:
            return refusal(
                401,
                "a bearer token is required",
                f"send `Authorization: Bearer TOKEN` with a token that {key} admits: the one in its file, or one of an account "
                "that may get this path",
                {"WWW-Authenticate": 'Bearer realm="firesteel"'},
            )
        return await handler(request)

    return check


def guards(*, loopback: bool, gate: Gate | None, guarded: str, key: str) -> list[Middleware]:
    """Those that a listener of pages calls for, in the order in which they are asked. `key` is the setting of the gate before what is `guarded`."""
    asked: list[Middleware] = [only_this_machine] if loopback else []
    asked.append(read_only)
    if gate is not None:
        asked.append(with_gate(gate, guarded, key))
    return asked


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """On every response, errors included: an on_response_prepare signal."""
    response.headers.update(_HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["Server"] = "firesteel"


class Turnstile:
    """Makes the protocol of each new connection, unless there are too many; closes those that never ask.

    aiohttp has a time limit between requests of one connection, but none for the first.
    """

    def __init__(self, server: web.Server, most: int | None = None) -> None:
        self._server = server
        self._most = CONNECTIONS_MAX if most is None else most
        self._silent: set[asyncio.BaseProtocol] = set()
        self.refused = 0

    def __call__(self) -> asyncio.BaseProtocol:
        if len(self._server.connections) >= self._most:
            self.refused += 1
            return _Refuse()
        protocol = self._server()
        self._silent.add(protocol)
        loop = asyncio.get_running_loop()
        # In two steps: a loop that was held up for so long has timers first, and what was sent long ago after them.
        loop.call_later(FIRST_REQUEST_SECONDS, loop.call_later, _SECOND_LOOK_SECONDS, self._check, protocol)
        return protocol

    def asked(self, protocol: asyncio.BaseProtocol) -> None:
        """A whole request head arrived on this connection."""
        self._silent.discard(protocol)

    def _check(self, protocol: web.RequestHandler) -> None:
        if protocol in self._silent:
            self._silent.discard(protocol)
            if protocol.transport is not None:
                protocol.transport.abort()


class _Refuse(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
