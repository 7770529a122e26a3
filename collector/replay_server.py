# SPDX-License-Identifier: Apache-2.0
"""`firesteel replay FILE --serve`: the metrics page and the live view go along with a recording, and stay at its end."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from analyzers.engine import HANG_SECONDS, Engine, FileSource
from analyzers.packets.conversion import CaptureAccount
from analyzers.packets.feed import PIPE_HANG_SECONDS, CaptureFeed
from analyzers.recording import RecordingError, RecordingHead, read_head
from analyzers.samples import NamedSample
from analyzers.settings import ConfigBlock
from analyzers.table import SharedTable
from collector.api import AgentStatus, Configuration, Driver, Explanation, Problem
from collector.config import Loaded
from collector.config_rules import not_yet
from collector.http_guard import ListenError
from collector.options import Exit
from collector.part_settings import engine_settings, metrics_settings
from collector.plugins import Plugins
from collector.problems import of_accounts, of_losses, of_plugins
from collector.recorded_names import RecordedNames, RecordedRows
from collector.replay import Unplayable, capture_told, is_capture, refused
from collector.server import HttpServer
from collector.table_view import TableView
from collector.traffic import Traffic
from collector.version import VERSION
from exporters.own import OwnMetrics, OwnState

TURN_SECONDS = 1.0


def serve(loaded: Loaded, path: Path, *, paced: bool = False) -> Exit:
    """Serve the recording until an interrupt; `paced` at the speed at which it was recorded."""
    try:
        with contextlib.closing(_playing(loaded, path, paced=paced)) as playing:
            return asyncio.run(playing.run())
    except (Unplayable, RecordingError, OSError) as error:
        return refused(path, error)


def _playing(loaded: Loaded, path: Path, *, paced: bool) -> "_Playing":
    """Raises Unplayable, RecordingError and OSError."""
    if is_capture(path):
        feed = CaptureFeed(path, paced=paced)
        return _Playing(loaded, path, feed.head, feed.source, feed)
    head = read_head(path)
    return _Playing(loaded, path, head, FileSource(os.open(path, os.O_RDONLY | os.O_CLOEXEC), paced))


class _Playing:
    """The agent of a recording (an AgentView), and the loop that goes along with its engine.

    `feed` is what fills `source` when the file is a packet capture.
    """

    def __init__(
        self, loaded: Loaded, path: Path, head: RecordingHead, source: FileSource, feed: CaptureFeed | None = None
    ) -> None:
        self._config = loaded.config
        self._origin = str(loaded.source.path) if loaded.source.path and loaded.source.path.exists() else "defaults"
        self._beside = loaded.beside_the_file()
        self._path = path
        self._head = head
        self._started = time.time()
        self._turned = time.monotonic()
        self._names = RecordedNames()
        self._own = OwnMetrics()
        self._source = source
        self._feed = feed
        self._table = SharedTable.create()
        # The recording's time may pass faster than rows are read: none ends before it was.
        self._block = ConfigBlock(replace(engine_settings(loaded.config), early_idle_ns=0))
        patience = PIPE_HANG_SECONDS if feed else HANG_SECONDS
        self._engine = Engine(source, self._table, self._block, hang_seconds=patience)
        # The clock stands still at the end, so a counter that showed 0 first would show it for ever.
        settings = replace(metrics_settings(loaded.config), scrape_interval_ns=0)
        self._view = TableView(RecordedRows(self._table, self._names), self._names, settings, loaded.config.scope)
        self._plugins = Plugins(loaded.config.protocols.plugins)
        self._view.told_by_plugins = self._plugins.apply

    def close(self) -> None:
        self._own.close()
        self._plugins.close()
        self._engine.stop()
        self._table.close()
        self._block.close()
        if self._feed is not None:
            self._feed.close()
        else:
            os.close(self._source.file)

    async def run(self) -> Exit:
        """Raises OSError when the engine cannot be started."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        server = HttpServer(self._config.listen, self)
        self._engine.start()
        if self._feed is not None:
            self._feed.start()
        await self._turn()
        try:
            await server.start()
        except ListenError as error:
            print(f"firesteel replay: {error}", file=sys.stderr)
            return error.exit_code
        try:
            for what, key in (("live page", "listen.api"), ("metrics", "listen.metrics")):
                if url := server.url(key):
                    print(f"{what}: {url}/{'metrics' if what == 'metrics' else ''}", file=sys.stderr)
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), TURN_SECONDS)
                await self._turn()
        finally:
            await server.stop()
        return Exit.DONE

    async def _turn(self) -> None:
        self._engine.poll()
        if self._plugins.names:
            batch = self._table.samples_since(self._plugins.next_sample)
            await asyncio.to_thread(self._plugins.turn, batch.samples, batch.next_sequence)
            self._view.samples_before = self._plugins.next_sample
        self._view.turn(self._clock())
        self._turned = time.monotonic()

    def _clock(self) -> int:
        return self._table.state().clock_ns

    # --- what the server asks

    def status(self) -> AgentStatus:
        engine = self._table.state()
        problems = [Problem("warning", "configuration", told, "remove the key") for told in not_yet(self._config)]
        if engine.failure:
            problems.append(Problem("error", str(self._path), engine.failure, "what came before it is counted"))
        if self._feed is not None:
            problems += _of_capture(self._path, self._feed.account)
        problems += of_losses(None, engine)
        plugins = self._plugins.report()
        problems += of_accounts(self._view.snapshot, self._view.report(), plugins.skipped)
        problems += of_plugins(plugins)
        return AgentStatus(
            version=VERSION,
            node="",
            kernel=self._head.kernel,
            mode="replay",
            started=self._started,
            driver=Driver("replay", self._origin_of_events()),
            engine=engine,
            counters=None,
            configuration=Configuration(self._origin, beside=self._beside),
            detail=self._view.report().detail,
            problems=problems,
            undirected=self._view.snapshot.undirected,
            unresolved=self._view.snapshot.unresolved,
        )

    def _origin_of_events(self) -> str:
        if self._feed is None:
            return f"{self._path.name}, recorded with the {self._head.driver} driver"
        return f"{self._path.name}, a packet capture ({self._feed.account.format})"

    def last_turn(self) -> float:
        return self._turned

    def wall_minus_monotonic_ns(self) -> int:
        return self._head.wall_minus_monotonic_ns

    def traffic(self) -> Traffic:
        return self._view.traffic(self._clock())

    def samples(self, after: int, limit: int) -> Sequence[NamedSample]:
        return self._view.samples(after, limit)

    def metrics(self, *, openmetrics: bool) -> Iterator[bytes]:
        state = self._table.state()
        own = OwnState(
            version=VERSION,
            now_ns=state.heartbeat_ns,
            engine=state,
            snapshot=self._view.snapshot,
            series=self._view.report(),
            restarts=max(0, state.starts - 1),
            plugins=self._plugins.report() if self._plugins.names else None,
        )
        told = self._own.render(own, "openmetrics" if openmetrics else "text")
        return self._view.page(state.clock_ns, self._head.wall_minus_monotonic_ns, openmetrics=openmetrics, own=told)

    def explain(self, ip: str, port: int) -> Explanation:  # noqa: ARG002 - a recording knows no ports
        return Explanation(self._names.remote(ip, 0, 0), self._names.explained(ip))


def _of_capture(path: Path, account: CaptureAccount) -> list[Problem]:
    problems = [
        Problem("warning", str(path), told, "nothing is to be done if this was to be expected")
        for told in capture_told(account)
    ]
    if account.fault:
        problems.append(Problem("error", str(path), account.fault, "what came before it is counted"))
    return problems
