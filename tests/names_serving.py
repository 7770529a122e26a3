# SPDX-License-Identifier: Apache-2.0
"""The names service in this process, in a loop of its own thread: what it serves can be changed while it runs."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

from aiohttp import web

from collector.metadata.kube_api import KubeApi
from collector.metadata.kube_watch import Watch, of_cluster
from collector.metadata.names_journal import NamesJournal
from collector.metadata.names_stream import PATH
from collector.names_feed import NamesFeed
from collector.token_review import TokenReviews
from tests.fake_kube import FakeKube
from tests.servers import free_port


@dataclass(slots=True)
class Serving:
    port: int
    journal: NamesJournal
    feed: NamesFeed
    watches: list[Watch]
    api: KubeApi
    silent: float = 0.0
    """What it says of how long the API was not heard."""


def api_of(kube: FakeKube, token: str = "") -> KubeApi:
    settings = {"BearerToken": {"value": f"Bearer {token}"}} if token else {}
    return KubeApi(SimpleNamespace(host=f"http://127.0.0.1:{kube.port}", auth_settings=lambda: settings))


@contextmanager
def serving(kube: FakeKube, port: int = 0, journal: NamesJournal | None = None) -> Iterator[Serving]:
    """Watches `kube`, answers on loopback. With a journal of before, it is the same service, back from a broken network."""
    loop = asyncio.new_event_loop()
    port, api = port or free_port(), api_of(kube)
    journal = journal or NamesJournal()
    stop = threading.Event()
    watches = [Watch(api, journal, resource, stop) for resource in of_cluster()]
    made: list[Serving] = []

    def silent() -> float | None:
        return made[0].silent if all(watch.state.complete for watch in watches) else None

    feed = NamesFeed(journal, TokenReviews(api), silent)
    made.append(Serving(port, journal, feed, watches, api))
    app = web.Application()
    app.router.add_get(PATH, feed.stream)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1.0)

    async def begin() -> "asyncio.Task[None]":
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
        return asyncio.get_running_loop().create_task(feed.run())

    async def end(packing: "asyncio.Task[None]") -> None:
        packing.cancel()
        feed.stop()
        await asyncio.gather(packing, return_exceptions=True)
        await runner.cleanup()
        await asyncio.get_running_loop().shutdown_default_executor()

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    threads = [threading.Thread(target=watch.run, daemon=True) for watch in watches]
    packing = asyncio.run_coroutine_threadsafe(begin(), loop).result(10)
    for watching in threads:
        watching.start()
    try:
        yield made[0]
    finally:
        stop.set()
        asyncio.run_coroutine_threadsafe(end(packing), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
