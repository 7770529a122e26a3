# SPDX-License-Identifier: Apache-2.0
"""`firesteel run`: the wiring of loader, engine, names, exporters and HTTP, and their one loop.

Order at start: the loader attaches and exits; HTTP ports and keys are opened; every privilege is given up; the engine
starts. From then on nothing here can open a file of root's or call bpf().
"""

import asyncio
import gc
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from analyzers.samples import NamedSample
from analyzers.settings import ConfigBlock
from analyzers.table import SharedTable
from collector import log, own_state, privileges, problems, system_calls
from collector.api import AgentStatus, Configuration, Driver, Explanation, Hook, RejectedDriver
from collector.aside import OwnersAside
from collector.capture import Capture
from collector.config_rules import not_yet
from collector.exports import Exports
from collector.http_guard import ListenError
from collector.left_out import left_out
from collector.metadata import conntrack, kubernetes
from collector.metadata.cgroups import Cgroups
from collector.metadata.cluster_names import ClusterNames
from collector.metadata.dns_names import DnsNames
from collector.metadata.host import HostResolver
from collector.metadata.processes import Processes
from collector.options import Exit, RunOptions
from collector.pace import Pace
from collector.part_settings import engine_settings, metrics_settings, names_settings
from collector.plugins import Plugins
from collector.polling import Polling
from collector.schema import Config
from collector.server import HttpServer
from collector.step_down import StepDown
from collector.table_view import TableView
from collector.traffic import Traffic
from collector.version import VERSION
from collector.watcher import ConfigWatcher, Rejected, Reloaded
from exporters.own import OwnMetrics, OwnState
from probes import loader
from probes.attachment import Attachment, not_taken

_REFRESH_SECONDS = 30.0
# Addresses of new network namespaces are read at once, but for no more than a twentieth of the time.
_REFRESH_SHARE = 20.0
_THREADS = 2

_log = log.Log("agent")


def run(config: Config, options: RunOptions, loading: loader.Loading) -> int:
    """Watches this machine until SIGTERM or SIGINT, with what the loader brings."""
    agent: Agent | None = None
    try:
        agent = Agent(config, options, loading.finish())
        return asyncio.run(agent.serve())
    except privileges.PrivilegeError as error:
        print(f"firesteel run: {error}", file=sys.stderr)
        return Exit.NOT_PERMITTED
    except (ListenError, OSError) as error:
        print(f"firesteel run: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, ListenError) else Exit.NOT_AS_WISHED
    finally:
        if agent is not None:
            agent.close()


class Agent:
    """The running agent: an AgentView for the server, and the loop that keeps everything going."""

    def __init__(self, config: Config, options: RunOptions, attachment: Attachment) -> None:
        self._config = config
        self._watcher = ConfigWatcher(options.loaded)
        source = options.loaded.source.path
        self._origin = str(source) if source and source.exists() else "defaults"
        self._beside = options.loaded.beside_the_file()
        self._started = time.time()
        self._turned = time.monotonic()
        self._turn_took = 0.0
        self._turn_failure = ""
        self._refreshed = 0.0
        self._read_at = self._read_took = 0.0
        self._table = SharedTable.create()
        self._block = ConfigBlock(engine_settings(config))
        self._conntrack = conntrack.listen() if attachment.has_ring else conntrack.Conntrack(None)
        self._capture = Capture(attachment, self._table, self._block, conntrack=self._conntrack.fd)
        report = self._capture.report
        self._cgroups = Cgroups(own_state.hierarchy(report))
        settings = config.kubernetes
        self._cluster, self._cluster_fault = kubernetes.connect(
            settings.enabled, settings.kubeconfig, settings.tombstones, names_settings(config)
        )
        self._domains = DnsNames()
        self._names = HostResolver(
            processes=Processes(cgroups=self._cgroups),
            node=self._cluster.node if self._cluster else None,
            cluster=(
                ClusterNames(self._cluster.index, self._cluster.sources, self._cluster.knows_addresses)
                if self._cluster
                else None
            ),
            domains=self._domains,
        )
        metrics = metrics_settings(config)
        self._polling = Polling(metrics.counter_ttl_ns) if report.driver == "none" else None
        rows = self._polling.rows if self._polling else self._table
        self._view = TableView(rows, self._names, metrics, config.scope)
        self._aside = OwnersAside(self._names)
        self._aside.configure(self._view.scope)
        if self._cluster is not None:
            self._view.know_pods(self._cluster.index.gone_pods, self._cluster.index.running_here)
        self._own = OwnMetrics()
        self._exports = Exports(config, self._names.node)
        self._view.count_calls(self._exports.counts_calls, fine=self._exports.counts_finely)
        self._plugins = Plugins(config.protocols.plugins)
        self._view.told_by_plugins = self._plugins.apply
        self._server = HttpServer(config.listen, self, self._cluster.api if self._cluster else None)
        self._step_down = StepDown(config.budget)
        self._listen_fault = ""
        self._unfiltered = ""
        self._capture.configure(config)

    def close(self) -> None:
        self._exports.stop()
        self._capture.stop()
        self._plugins.close()
        self._conntrack.close()
        self._cgroups.stop()
        if self._polling is not None:
            self._polling.close()
        if self._cluster is not None:
            self._cluster.stop()
        self._own.close()
        self._table.close()
        self._block.close()

    async def serve(self) -> Exit:
        """Raises ListenError, PrivilegeError or OSError if it cannot start."""
        loop = asyncio.get_running_loop()
        pace = Pace(loop)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, pace.end)
        loop.add_signal_handler(signal.SIGHUP, self._watcher.request)
        await self._open_listeners(loop)
        # Also has every module imported that a page needs, while the files can still be read.
        for openmetrics in (False, True):
            for _ in self.metrics(openmetrics=openmetrics):
                pass
        self._leave_out_own()
        privileges.drop()
        if fault := system_calls.forbid():
            self._unfiltered = fault
        self._capture.start(loop)
        self._cgroups.start()
        if self._cluster is not None:
            self._cluster.index.handing_over = pace.hurry
            self._cluster.start()
        self._exports.start()
        self._tell_start()
        gc.freeze()
        try:
            while not pace.is_over:
                await self._turn_or_tell()
                await pace.pause(self._turn_took)
        finally:
            await self._server.stop()
        return Exit.DONE

    async def _turn_or_tell(self) -> None:
        """A turn that fails costs that turn: counting goes on in the engine, and status says what failed."""
        try:
            await self._turn()
            self._turn_failure = ""
        except Exception as error:  # noqa: BLE001 - whatever it is, the agent goes on
            self._turn_failure = f"{type(error).__name__}: {error}"
            _log.error(f"a turn of the agent failed: {self._turn_failure}", remedy="please report it")

    async def _open_listeners(self, loop: asyncio.AbstractEventLoop) -> None:
        """With threads (for names of hosts) that end here: one that goes on would keep its privileges."""
        with ThreadPoolExecutor(1) as executor:
            loop.set_default_executor(executor)
            await self._server.start()
        loop.set_default_executor(ThreadPoolExecutor(_THREADS, "firesteel"))

    def _tell_start(self) -> None:
        report = self._capture.report
        if report.driver == "none":
            for problem in problems.of_driver(report):
                _log.warning(problem.what, cause=problem.cause, remedy=problem.remedy)
        else:
            attached = sum(hook.attached for hook in report.hooks)
            _log.info(
                f"driver {report.driver} by {report.hook_set}: {attached} of {len(report.hooks)} hooks attached, "
                f"self-test {report.self_test}"
            )
            for rejected in report.rejected:  # nothing is wrong: status, doctor and the metrics have them
                _log.debug(not_taken(rejected.driver, report.driver), cause=rejected.reason, remedy=rejected.remedy)
        for what, key, path in (("live page", "listen.api", "/"), ("metrics", "listen.metrics", "/metrics")):
            if url := self._server.url(key):
                _log.info(f"{what}: {url}{path}")

    async def _turn(self) -> None:
        """Everything that happens once a second, or earlier."""
        began = time.monotonic()
        self._capture.turn()
        if self._polling is not None:
            await self._polling.turn()
        await self._reload()
        if self._step_down.turn(began, own_state.whole_use(self._capture)):
            self._stepped()
        await self._learn(began)
        # After the rows, so that a connection that they tell of finds the name that it was asked for by.
        self._domains.learn(self._table.domains, self._clock())
        if self._plugins.names:
            batch = self._table.samples_since(self._plugins.next_sample)
            await asyncio.to_thread(self._plugins.turn, batch.samples, batch.next_sequence)
            self._view.samples_before = self._plugins.next_sample
        started = time.thread_time()
        snapshot = self._view.turn(self._clock())
        if news := self._view.detail_news():
            _log.info(news)
        self._exports.turn(snapshot, self.wall_minus_monotonic_ns(), self._own_state, self._absent())
        self._turn_took = time.thread_time() - started
        self._turned = time.monotonic()

    async def _learn(self, now: float) -> None:
        """Reads /proc for owners that were not seen before, off the loop's thread."""
        owners = self._view.owners()
        everybody = self._table.identities() if self._aside.wanted else []
        if unknown := self._names.unknown([*owners, *everybody]):
            await asyncio.to_thread(self._names.learn, unknown)
        if self._aside.turn(everybody, now):
            self._tell_engine()
        due = now - self._refreshed > _REFRESH_SECONDS
        if due or (self._names.has_new_namespaces and now - self._read_at > _REFRESH_SHARE * self._read_took):
            began = time.monotonic()
            await asyncio.to_thread(self._names.refresh)
            self._read_at = time.monotonic()
            self._read_took = self._read_at - began
        if due:
            self._refreshed = now
            if fault := self._server.read_certificate_again():
                _log.warning("a renewed certificate is not in force: it cannot be read", cause=fault)
            if self._cluster is not None:
                await asyncio.to_thread(self._cluster.turn)

    async def _reload(self) -> None:
        news = self._watcher.poll()
        if isinstance(news, Rejected):
            for fault in news.faults:
                _log.error(f"the changed configuration was not taken over: {fault}", remedy="correct the file")
        elif isinstance(news, Reloaded):
            await self._take_over(news)

    async def _take_over(self, news: Reloaded) -> None:
        config = self._config = news.config
        log.configure(config.log)
        self._capture.configure(config)
        self._step_down.budget = config.budget
        self._put_in_force(config)
        if news.changed:
            _log.info(f"configuration changed: {', '.join(news.changed)}")
        for name in news.waiting:
            _log.warning(f"{name} was changed and waits for a restart of the agent")
        for sentence in not_yet(config):
            _log.warning(sentence, remedy="remove the key, or use a version that has it")
        try:
            await self._server.replace(config.listen)
            self._listen_fault = ""
        except ListenError as error:
            self._listen_fault = str(error)
            _log.error("the changed listeners were not taken over", cause=str(error))
        self._leave_out_own()

    def _put_in_force(self, config: Config) -> None:
        """What depends on the level of the step-down."""
        lessened = self._step_down.lessened(config)
        self._view.configure(metrics_settings(lessened), lessened.scope)
        self._aside.configure(self._view.scope)
        self._tell_engine()
        self._exports.configure(lessened)
        self._view.count_calls(self._exports.counts_calls, fine=self._exports.counts_finely)
        self._server.pause_stream(not self._step_down.streams)

    def _tell_engine(self) -> None:
        settings = engine_settings(self._step_down.lessened(self._config))
        self._block.apply(replace(settings, cgroups_aside=self._aside.cgroups))

    def _stepped(self) -> None:
        self._put_in_force(self._config)
        self._step_down.say(_log)

    def _leave_out_own(self) -> None:
        own = self._config.scope.own_traffic
        ports, asked = (frozenset[int](),) * 2 if own else (self._server.ports, self._exports.asked_ports)
        self._view.leave_out_own(ports, self._names.reaches_us, asked)

    def _faults(self) -> list[str]:
        """Of the configuration as it now stands: what was not taken over, and why."""
        told = [str(fault) for fault in self._watcher.faults]
        return [*told, self._listen_fault] if self._listen_fault else told

    def _clock(self) -> int:
        return time.monotonic_ns()

    # --- what the server asks

    def status(self) -> AgentStatus:
        report = self._capture.report
        state, counters = self._table.state(), self._capture.counters()
        faults, plugins = self._faults(), self._plugins.report()
        found = [
            *problems.of_driver(report),
            *problems.of_sandbox(self._unfiltered),
            *problems.of_cgroups(self._cgroups.fault),
            *problems.of_cluster(self._cluster_fault),
            *(problems.of_translations(self._conntrack, state.stats["nat_lost"]) if self._cluster else ()),
            *(self._cluster.problems() if self._cluster else ()),
            *(self._polling.problems(in_cluster=self._cluster is not None) if self._polling else ()),
            *problems.of_engine(self._capture.status(), state, self._clock()),
            *problems.of_agent(self._turn_failure, self._capture.seeds_missed, self._view.missed_samples),
            *problems.of_losses(counters, state),
            *problems.of_accounts(self._view.snapshot, self._view.report(), plugins.skipped),
            *self._exports.problems(),
            *self._step_down.problems(),
            *problems.of_plugins(plugins),
            *problems.of_configuration(not_yet(self._config), faults),
        ]
        passed = f"self-test {report.self_test}" if report.self_test else ""
        why = passed or "no probe is in place: connections are listed, requests are not seen"
        return AgentStatus(
            version=VERSION,
            node=self._names.node,
            kernel=report.kernel,
            mode="live",
            started=self._started,
            driver=Driver(
                report.driver,
                why,
                [Hook(hook.name, hook.attached, hook.required, hook.reason, hook.loses) for hook in report.hooks],
                [RejectedDriver(rejected.driver, rejected.reason, rejected.remedy) for rejected in report.rejected],
                report.hook_set,
            ),
            engine=state,
            counters=counters,
            configuration=Configuration(self._origin, "; ".join(faults), self._watcher.waiting, self._beside),
            detail=self._view.report().detail,
            problems=found,
            undirected=self._view.snapshot.undirected,
            unresolved=self._view.snapshot.unresolved,
            processes=own_state.process_uses(self._capture),
            undelivered=sum(report.dropped for report in self._exports.reports().values()),
            kubernetes=self._cluster.state() if self._cluster else kubernetes.without(self._cluster_fault),
        )

    def last_turn(self) -> float:
        return self._turned

    def wall_minus_monotonic_ns(self) -> int:
        return time.time_ns() - time.monotonic_ns()

    def traffic(self) -> Traffic:
        return self._view.traffic(self._clock())

    def samples(self, after: int, limit: int) -> Sequence[NamedSample]:
        return self._view.samples(after, limit)

    def metrics(self, *, openmetrics: bool) -> Iterator[bytes]:
        clock, absent = self._clock(), self._absent()
        told = self._own.render(self._own_state(), "openmetrics" if openmetrics else "text")
        return self._view.page(
            clock, self.wall_minus_monotonic_ns(), openmetrics=openmetrics, own=told, absent=absent,
            workloads=own_state.workloads(self._cluster),
        )  # fmt: skip

    def _absent(self) -> Mapping[str, str]:
        return own_state.absent(self._capture.report, self._cluster)

    def _own_state(self) -> OwnState:
        return own_state.gather(
            self._capture, self._table, self._view, self._config,
            config_valid=not self._faults(), cluster=self._cluster, exports=self._exports.reports(),
            step_down=self._step_down, plugins=self._plugins.report(), stream_dropped=self._server.stream_dropped,
            left_out=len(self._aside.cgroups), conntrack=self._conntrack,
        )  # fmt: skip

    def explain(self, ip: str, port: int) -> Explanation:
        netns = Path("/proc/self/ns/net").stat().st_ino
        party = self._names.remote(ip, port, netns)
        return Explanation(party, [*self._names.explained(ip, port, netns), *left_out(party, port, self._config.scope)])
