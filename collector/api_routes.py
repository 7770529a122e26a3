# SPDX-License-Identifier: Apache-2.0
"""The routes of `listen.api`: checks what was asked, asks the agent, answers JSON. docs/api.md describes them."""

import asyncio
import hashlib
import ipaddress
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from aiohttp import web

from collector import node_graph
from collector.api import AgentView, Json, explain_json, status_json, traces_json
from collector.ends import Level
from collector.http_guard import refusal
from collector.kinds import nearest
from collector.rates import RateWindow
from collector.request_stream import MAX_LISTENERS, RequestStream, StreamFull
from collector.topology import EDGE_LIMIT, TCP_ONLY, EdgeKey, edge_id, topology_json
from collector.topology_rows import address_rows_json, rows_json
from collector.traffic import Traffic

FRESH_SECONDS: Final = 1.0
"""An answer is given again for so long, or for REUSE times as long as it took to make if that is more."""
REUSE: Final = 10
_WRITE_SECONDS: Final = 30.0
TRACES_LIMIT: Final = 1000

_TYPES: Final = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


class BadQuery(ValueError):
    """A query parameter is wrong; `remedy` says what is allowed."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class _Asset:
    body: bytes
    content_type: str
    etag: str


@dataclass(frozen=True, slots=True)
class _Answer:
    body: bytes
    good_until: float


class ApiRoutes:
    """One agent's API. Holds what lives between requests: the rate window, recent answers, open streams."""

    def __init__(self, view: AgentView, metrics_url: str = "") -> None:
        self._view = view
        self._metrics_url = metrics_url
        self._window = RateWindow()
        self._answers: dict[str, _Answer] = {}
        self.stream = RequestStream(view)
        self._assets = _load_assets()

    def add_to(self, app: web.Application) -> None:
        get = app.router.add_get
        get("/", self._page)
        get("/live/{name}", self._asset)
        get("/api/v1/status", self._status)
        get("/api/v1/topology", self._topology)
        get("/api/v1/rows", self._rows)
        get("/api/v1/traces", self._traces)
        get("/api/v1/explain", self._explain)
        get("/api/v1/stream", self._stream, allow_head=False)  # its head would never be followed by an end
        get("/api/graph/fields", self._graph_fields)
        get("/api/graph/data", self._graph_data)
        get("/api/graph/health", self._graph_health)
        get("/api/health", self._graph_health)  # where version 1 of the data source asks for it

    async def _page(self, request: web.Request) -> web.StreamResponse:
        return _asset_response(request, self._assets["index.html"])

    async def _asset(self, request: web.Request) -> web.StreamResponse:
        asset = self._assets.get(request.match_info["name"])
        if asset is None:
            return refusal(404, "there is no such file", "the live page is at /")
        return _asset_response(request, asset)

    async def _status(self, _request: web.Request) -> web.Response:
        status = status_json(self._view.status(), time.time(), time.monotonic_ns())
        return _json(
            {
                **status,
                "listen": {"metrics": self._metrics_url},
                "stream": {
                    "listeners": self.stream.listeners,
                    "listeners_max": MAX_LISTENERS,
                    "dropped": self.stream.dropped_total,
                },
            }
        )

    async def _topology(self, request: web.Request) -> web.Response:
        level = _level(request)
        limit = _number(request, "limit", EDGE_LIMIT, 1, EDGE_LIMIT)
        return self._answer(request, f"topology {level} {limit}", lambda: self._graph(level, limit))

    def _graph(self, level: Level, limit: int) -> dict[str, Json]:
        traffic = self._view.traffic()
        return topology_json(level, traffic, self._observe(traffic), limit)

    def _observe(self, traffic: Traffic) -> Any:
        return self._window.observe(traffic.clock_ns, (n.row for n in traffic.requests), (n.row for n in traffic.tcp))

    async def _rows(self, request: web.Request) -> web.Response:
        """Of one edge (`edge`) or of all edges of one node (`node`)."""
        level = _level(request)
        edge, node = request.query.get("edge"), request.query.get("node")
        if (edge is None) == (node is None):
            raise BadQuery("either edge or node must be given", "use an id from /api/v1/topology of the same level")

        def wanted(key: EdgeKey) -> bool:
            if node is not None:
                return node in key[:2]
            # TCP rows know no protocol: they belong to every edge between these two.
            return edge_id(key) == edge or (
                key[2] == TCP_ONLY and edge is not None and edge.startswith(edge_id((key[0], key[1], "")))
            )

        def make() -> dict[str, Json]:
            traffic = self._view.traffic()
            return rows_json(level, traffic, self._observe(traffic), wanted)

        return self._answer(request, f"rows {level} {edge!r} {node!r}", make)

    async def _traces(self, request: web.Request) -> web.Response:
        limit = _number(request, "limit", 100, 1, TRACES_LIMIT)
        after = _number(request, "after", 0, 0, 2**63)
        samples = self._view.samples(after, limit)
        return _json(traces_json(samples, self._view.wall_minus_monotonic_ns()))

    async def _explain(self, request: web.Request) -> web.Response:
        ip, port = _address(request.query.get("address", ""))
        found = explain_json(ip, port, self._view.explain(ip, port))
        traffic = self._view.traffic()
        seen = address_rows_json(traffic, self._observe(traffic), ip, port)
        return _json({**found, "rows": seen["rows"], "tcp": seen["tcp"], "left_off": seen["left_off"]})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        backlog = _number(request, "backlog", 100, 0, TRACES_LIMIT)
        last = request.headers.get("Last-Event-ID", "")
        try:
            listener = self.stream.join(int(last) if last.isascii() and last.isdigit() else None, backlog)
        except StreamFull as full:
            return refusal(503, str(full), "close another page, or poll /api/v1/traces", {"Retry-After": "5"})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        try:
            await response.prepare(request)
            async for piece in self.stream.events(listener):
                await asyncio.wait_for(response.write(piece), _WRITE_SECONDS)
        except (ConnectionError, TimeoutError):
            pass  # the reader went away, or stopped reading for so long that it may as well have
        finally:
            self.stream.leave(listener)
        return response

    async def _graph_fields(self, _request: web.Request) -> web.Response:
        return _json(node_graph.fields_json())

    async def _graph_data(self, request: web.Request) -> web.Response:
        level = _level(request)
        return self._answer(request, f"graph {level}", lambda: node_graph.data_json(self._graph(level, EDGE_LIMIT)))

    async def _graph_health(self, _request: web.Request) -> web.Response:
        return _json({"status": "ok"})

    def _answer(self, request: web.Request, name: str, make: Callable[[], dict[str, Json]]) -> web.Response:
        """Answers from memory while the last answer is fresh, so that pollers share the cost of one."""
        now = time.monotonic()
        answer = self._answers.get(name)
        if answer is None or now >= answer.good_until:
            body = _encode(make())
            done = time.monotonic()
            for old in [key for key, kept in self._answers.items() if now >= kept.good_until]:
                del self._answers[old]
            answer = _Answer(body, done + max(FRESH_SECONDS, REUSE * (done - now)))
            if len(self._answers) < 64:
                self._answers[name] = answer
        response = web.Response(body=answer.body, content_type="application/json", charset="utf-8")
        if len(answer.body) > 8192 and "gzip" in request.headers.get("Accept-Encoding", ""):
            response.enable_compression(web.ContentCoding.gzip)
        return response


@web.middleware
async def explain_bad_queries(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
    """Turns BadQuery, and a path that does not exist, into an answer that says what to do."""
    try:
        response: web.StreamResponse = await handler(request)
    except BadQuery as error:
        return refusal(400, str(error), error.remedy)
    except web.HTTPNotFound:
        return refusal(404, f"{request.path} does not exist", "the live page is at /, docs/api.md lists the rest")
    return response


def _load_assets() -> dict[str, _Asset]:
    found = {}
    for file in resources.files("collector").joinpath("live").iterdir():
        content_type = _TYPES.get(file.name[file.name.rfind(".") :])
        if content_type:
            body = file.read_bytes()
            found[file.name] = _Asset(body, content_type, hashlib.sha256(body).hexdigest()[:32])
    return found


def _asset_response(request: web.Request, asset: _Asset) -> web.Response:
    headers = {"ETag": f'"{asset.etag}"', "Cache-Control": "no-cache"}
    if any(tag.value == asset.etag for tag in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    return web.Response(body=asset.body, content_type=asset.content_type, charset="utf-8", headers=headers)


def _encode(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _json(value: object) -> web.Response:
    return web.Response(body=_encode(value), content_type="application/json", charset="utf-8")


def _level(request: web.Request) -> Level:
    given = request.query.get("level", Level.WORKLOAD.value)
    try:
        return Level(given)
    except ValueError:
        allowed = [level.value for level in Level]
        meant = nearest(given[:64], allowed)
        hint = f"; did you mean {meant}?" if meant else ""
        raise BadQuery(f'level "{given[:64]}" is unknown', f"use one of {', '.join(allowed)}{hint}") from None


def _number(request: web.Request, name: str, default: int, least: int, most: int) -> int:
    given = request.query.get(name)
    if given is None:
        return default
    if not (given.isascii() and given.isdigit() and len(given) < 20 and least <= int(given) <= most):
        raise BadQuery(f'{name} "{given[:32]}" is not allowed', f"use a whole number from {least} to {most}")
    return int(given)


def _address(given: str) -> tuple[str, int]:
    """`1.2.3.4`, `1.2.3.4:80`, `::1` or `[::1]:80`; port 0 when there is none. v4-mapped is folded to IPv4."""
    remedy = "use address=1.2.3.4, 1.2.3.4:80, 2001:db8::1 or [2001:db8::1]:80"
    host, port = given, ""
    if given.startswith("["):
        host, _, rest = given[1:].partition("]")
        port = rest.removeprefix(":")
        if rest and not rest.startswith(":"):
            raise BadQuery(f'"{given[:64]}" is not an address', remedy)
    elif given.count(":") == 1:
        host, _, port = given.partition(":")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise BadQuery(f'"{given[:64]}" is not an address', remedy) from None
    if port and not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise BadQuery(f'port "{port[:32]}" is not a number up to 65535', remedy)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address), int(port or 0)
