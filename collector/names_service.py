# SPDX-License-Identifier: Apache-2.0
"""`firesteel names`: watches the API once for the whole cluster, and tells every agent what changes."""

import asyncio
import contextlib
import os
import signal
import ssl
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from aiohttp import web

from collector import log, own_state, privileges, system_calls
from collector.http_guard import Handler, ListenError, Turnstile, add_headers, guards, read_only, refusal
from collector.kinds import Endpoint
from collector.listening import BACKLOG, bind
from collector.metadata.kube_api import KubeApi, Unavailable
from collector.metadata.kube_watch import Watch, WatchState, of_cluster
from collector.metadata.kubernetes import problems_of
from collector.metadata.names_journal import NamesJournal
from collector.metadata.names_stream import PATH
from collector.names_feed import AGENTS_MAX, NamesFeed
from collector.options import Exit
from collector.schema import Config
from collector.server import open_gate, renew_certificate, tls_context
from collector.token_review import TokenReviews
from collector.version import VERSION
from exporters.own import OwnMetrics, OwnState, ServeReport
from exporters.prometheus import CONTENT_TYPES, negotiate

_STALLED_SECONDS: Final = 60.0
_HANDSHAKE_SECONDS: Final = 10.0
_RELOAD_SECONDS: Final = 60.0
_SPARE_CONNECTIONS: Final = 256
_TOLD_SECONDS: Final = 60.0
_log = log.Log("names")


def run(config: Config) -> Exit:
    """Serves until SIGTERM or SIGINT."""
    try:
        endpoint = check(config)
        api = KubeApi.connect(config.kubernetes.kubeconfig)
        return asyncio.run(NamesService(config, endpoint, api).serve())
    except privileges.PrivilegeError as error:
        print(f"firesteel names: {error}", file=sys.stderr)
        return Exit.NOT_PERMITTED
    except Unavailable as error:
        remedy = "run it in a pod with a service account, or set kubernetes.kubeconfig"
        print(f"firesteel names: there is no cluster to tell of: {error}; {remedy}", file=sys.stderr)
        return Exit.NOT_AS_WISHED
    except (ListenError, OSError) as error:
        print(f"firesteel names: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, ListenError) else Exit.NOT_AS_WISHED


def check(config: Config) -> Endpoint:
    """Where to listen. Raises ListenError for what would send tokens and names in the clear."""
    listeners = config.listen
    if listeners.names is None:
        raise ListenError("listen.names", "it is off, and nothing else is to be done", "set it to :9502")
    if not listeners.names.loopback and not listeners.tls.cert:
        what = f"{listeners.names} can be reached from other machines, and agents show their tokens there"
        raise ListenError("listen.names", what, "set listen.tls.cert and listen.tls.key, or listen on 127.0.0.1")
    if bool(listeners.tls.cert) != bool(listeners.tls.key):
        raise ListenError("listen.tls", "a certificate needs its key, and a key its certificate", "set cert and key")
    return listeners.names


class NamesService:
    """Watches in threads, everything else in one loop."""

    def __init__(self, config: Config, endpoint: Endpoint, api: KubeApi) -> None:
        self._config, self._endpoint, self._api = config, endpoint, api
        self._journal = NamesJournal()
        self._stop = threading.Event()
        self._watches = [Watch(api, self._journal, resource, self._stop) for resource in of_cluster()]
        self._feed = NamesFeed(self._journal, TokenReviews(api), self._silent)
        self._own = OwnMetrics()
        self._tls: ssl.SSLContext | None = None
        self._closing: list[asyncio.Server] = []
        self._runners: list[web.AppRunner] = []
        self._turned = time.monotonic()

    async def serve(self) -> Exit:
        """Raises ListenError, PrivilegeError or OSError if it cannot start."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        with ThreadPoolExecutor(1) as executor:
            # Threads that are there when privileges are given up would keep them.
            loop.set_default_executor(executor)
            await self._open()
        loop.set_default_executor(ThreadPoolExecutor(6, "firesteel"))
        self._own.render(self._state())  # imports what a page needs
        if os.getuid() == 0:
            privileges.drop()
        if fault := system_calls.forbid():
            _log.warning("no seccomp filter", cause=fault, remedy="install libseccomp2")
        for watch in self._watches:
            threading.Thread(target=watch.run, name=f"kube-{watch.state.name}", daemon=True).start()
        packing = loop.create_task(self._feed.run())
        _log.info(f"agents are answered at {self._endpoint}{PATH}, version {VERSION}")
        try:
            await self._turns(stop, packing)
        finally:
            self._stop.set()
            packing.cancel()
            self._feed.stop()
            with contextlib.suppress(asyncio.CancelledError):
                await packing
            await self._close()
            self._own.close()
        return Exit.DONE

    async def _turns(self, stop: asyncio.Event, packing: "asyncio.Task[None]") -> None:
        reloaded = told = 0.0
        while not stop.is_set():
            now = self._turned = time.monotonic()
            if packing.done():
                packing.result()  # raises what ended it
            if now - reloaded > _RELOAD_SECONDS:
                reloaded = now
                self._reload_certificate()
            if now - told > _TOLD_SECONDS:
                told = now
                for problem in problems_of(self._states(), "the account of the names service"):
                    _log.warning(problem.what, cause=problem.cause, remedy=problem.remedy)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 1.0)

    # --- HTTP

    async def _open(self) -> None:
        listeners = self._config.listen
        self._tls = tls_context(listeners)
        app = web.Application(middlewares=[read_only])
        app.router.add_get(PATH, self._feed.stream)
        await self._start("listen.names", self._endpoint, app, AGENTS_MAX + _SPARE_CONNECTIONS)
        if listeners.metrics is not None:
            gate = open_gate("listen.metrics_auth", listeners.metrics_auth, self._api)
            asked = guards(
                loopback=listeners.metrics.loopback, gate=gate, guarded="/metrics", key="listen.metrics_auth"
            )
            pages = web.Application(middlewares=asked)
            for path, handler in (("/metrics", self._metrics), ("/healthz", self._healthz), ("/readyz", self._readyz)):
                pages.router.add_get(path, handler)
            await self._start("listen.metrics", listeners.metrics, pages, _SPARE_CONNECTIONS)

    async def _start(self, key: str, endpoint: Endpoint, app: web.Application, most: int) -> None:
        app.on_response_prepare.append(add_headers)
        turnstiles: list[Turnstile] = []

        @web.middleware
        async def asked(request: web.Request, handler: Handler) -> web.StreamResponse:
            turnstiles[0].asked(request.protocol)
            return await handler(request)

        app.middlewares.insert(0, asked)
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=3.0, max_line_size=8190,
            max_field_size=16_384, max_headers=64,
        )  # fmt: skip
        await runner.setup()
        assert runner.server is not None
        turnstiles.append(Turnstile(runner.server, most))
        self._runners.append(runner)
        handshake = _HANDSHAKE_SECONDS if self._tls else None
        for sock in await bind(key, endpoint):
            self._closing.append(
                await asyncio.get_running_loop().create_server(
                    turnstiles[0], sock=sock, ssl=self._tls, backlog=BACKLOG, ssl_handshake_timeout=handshake
                )
            )

    async def _close(self) -> None:
        for server in self._closing:
            server.close()
        for runner in self._runners:
            await runner.cleanup()

    def _reload_certificate(self) -> None:
        """A certificate that was renewed holds from the next connection on."""
        if self._tls is not None and (fault := renew_certificate(self._tls, self._config.listen)):
            _log.warning("listen.tls: the certificate could not be read again", cause=fault)

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        style = negotiate(request.headers.get("Accept", ""))
        body = self._own.render(self._state(), style)
        end = b"# EOF\n" if style == "openmetrics" else b""
        return web.Response(body=body + end, headers={"Content-Type": CONTENT_TYPES[style]})

    async def _healthz(self, _request: web.Request) -> web.StreamResponse:
        idle = time.monotonic() - min(self._turned, self._feed.packed or self._turned)
        if idle > _STALLED_SECONDS:
            return refusal(503, f"nothing was packed for {idle:.0f} s", "restart it")
        return web.json_response({"status": "ok"})

    async def _readyz(self, _request: web.Request) -> web.StreamResponse:
        """Also how it stands, resource by resource."""
        now, ready = time.monotonic(), self._feed.is_ready
        told = {
            "status": "ok" if ready else "not ready",
            "version": VERSION,
            "agents": self._feed.agents,
            "at": self._journal.at,
            "objects": self._journal.counts(),
            "resources": [
                {
                    "name": state.name, "complete": state.complete, "fault": state.fault,
                    "heard_age_seconds": round(now - state.heard, 3) if state.heard else None,
                }
                for state in self._states()
            ],
        }  # fmt: skip
        return web.json_response(told, status=200 if ready else 503)

    # --- how it is

    def _states(self) -> Sequence[WatchState]:
        return [watch.state for watch in self._watches]

    def _silent(self) -> float | None:
        """For how long the longest silent of what fails was not heard; None before everything was told once."""
        states = self._states()
        if not all(state.complete for state in states):
            return None
        now = time.monotonic()
        return max((now - state.heard for state in states if state.fault), default=0.0)

    def _state(self) -> OwnState:
        counts, states = self._feed.counts, self._states()
        streams = {"whole": counts.wholes, "resumed": counts.resumed, "fell_behind": counts.fell_behind}
        use = own_state.process_use(os.getpid())
        serves = ServeReport(
            self._feed.agents, self._journal.counts(), streams | counts.refused, counts.bytes_sent,
            self._journal.history[1], self._journal.left_out,
        )  # fmt: skip
        return OwnState(
            version=VERSION,
            now_ns=time.monotonic_ns(),
            watches=own_state.watches(states),
            api=own_state.api_report(self._api, states),
            serves=serves,
            processes={"names": use} if use else {},
        )
