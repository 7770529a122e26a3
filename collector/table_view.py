# SPDX-License-Identifier: Apache-2.0
"""One shared table as everybody wants to see it: named traffic, samples, and the metrics page.

`turn` goes on with the counters; call it at the pace of the snapshots. The other calls answer from memory.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Protocol

from analyzers.resolver import Resolver
from analyzers.rows import Identity, RequestKey, RequestRow, Role, Sample, TcpKey, TcpRow
from analyzers.samples import NamedSample, name_sample
from analyzers.scope import EVERYTHING, Scope
from analyzers.snapshot import EMPTY, MINUTE_NS, Snapshot, SnapshotBuilder
from analyzers.table import SampleBatch
from collector.schema import Scope as ScopeSection
from collector.traffic import Traffic, TrafficNames
from exporters.prometheus import PageSource, render
from exporters.series import SeriesReport, SeriesStore
from exporters.settings import MetricsSettings

ReachesUs = Callable[[str, int], bool]
"""Whether an address, seen from a network namespace, is one of the agent's own namespace."""


class RowSource(Protocol):
    """Where rows come from: the engine's table, or lists of sockets where there is no probe."""

    def requests(self) -> list[RequestRow]: ...

    def tcp(self) -> list[TcpRow]: ...

    def samples_since(self, sequence: int) -> SampleBatch: ...


class TableView:
    """What `excluded` names is left out everywhere: by process (exclude_comms) and by namespace (exclude_namespaces)."""

    def __init__(
        self, table: RowSource, resolver: Resolver, settings: MetricsSettings, excluded: ScopeSection | None = None
    ) -> None:
        self._table = table
        self._resolver = resolver
        self._settings = settings
        self._excluded: frozenset[str] = frozenset()
        self._own_ports: frozenset[int] = frozenset()
        self._asked_ports: frozenset[int] = frozenset()
        self._reaches_us: ReachesUs = _nobody
        self._names = TrafficNames(resolver)
        self._builder = SnapshotBuilder(resolver, settings.counter_ttl_ns, settings.gauge_ttl_ns)
        self._builder.gone_idle_ns = _gone_idle_ns(settings)
        self._series = SeriesStore(settings)
        self._next_sample = 1
        self.scope = EVERYTHING
        self._leave_out(excluded)
        self._read: tuple[list[RequestRow], list[TcpRow]] | None = None
        self.snapshot: Snapshot = EMPTY
        self.missed_samples = 0
        self._detail_told = ""
        self.told_by_plugins: Callable[[Sample], Sample] = _as_it_is
        self.samples_before = 0
        """Only samples with a lower sequence are told with a turn: plugins have not looked at others. 0: all are."""

    def _leave_out(self, excluded: ScopeSection | None) -> None:
        self._excluded = frozenset(excluded.exclude_comms if excluded else ())
        scope = Scope(
            frozenset(excluded.exclude_namespaces if excluded else ()),
            frozenset(excluded.exclude_workloads if excluded else ()),
        )
        self.scope = scope
        if scope != self._builder.scope:
            self._builder.leave_out(scope)
            self._names.scope = scope

    def configure(self, settings: MetricsSettings, excluded: ScopeSection | None = None) -> None:
        """Go on with other settings."""
        self._settings = settings
        self._leave_out(excluded)
        self._builder.idle_ns = settings.counter_ttl_ns
        self._builder.gauge_idle_ns = settings.gauge_ttl_ns
        self._builder.gone_idle_ns = _gone_idle_ns(settings)
        self._series.configure(settings)

    def count_calls(self, wanted: bool, *, fine: bool = False) -> None:
        """Whether snapshots have calls from now on, with fine buckets."""
        self._builder.count_calls(wanted, fine=fine)

    def know_pods(
        self, gone: Callable[[], Collection[tuple[str, str]]], running: Callable[[], Collection[tuple[str, str]]]
    ) -> None:
        """By namespace and name: pods whose rows end two scrapes after they moved last, and those that run on this node."""
        self._builder.gone_pods = gone
        self._builder.running_pods = running

    def leave_out_own(self, ports: frozenset[int], reaches_us: ReachesUs, asked: frozenset[int] = frozenset()) -> None:
        """Leaves out, everywhere, what clients on this host ask the agent itself at `ports`, and what the agent asks
        servers on this host at `asked`; no ports: nothing is left out.

        The agent's end is left out by the programs, which know the process; the other end they cannot know.
        """
        self._own_ports = ports
        self._asked_ports = asked
        self._reaches_us = reaches_us

    def owners(self) -> list[Identity | None]:
        """Reads the table for the next turn, and says who is in it, so that they can be looked up before."""
        requests, tcp = self._read = self._requests(), self._tcp()
        keys: list[RequestKey | TcpKey] = [row.key for row in requests]
        keys += [row.key for row in tcp]
        return [owner for key in keys for owner in (key.identity, key.peer)]

    def turn(self, clock_ns: int) -> Snapshot:
        """Post what grew since the last turn. `clock_ns` is the events' clock."""
        requests, tcp = self._read or (self._requests(), self._tcp())
        self._read = None
        batch = self._table.samples_since(self._next_sample)
        until = min(batch.next_sequence, self.samples_before or batch.next_sequence)
        self._next_sample = max(self._next_sample, until)
        self.missed_samples += batch.overwritten
        samples = [
            self.told_by_plugins(sample) for sample in batch.samples if sample.sequence < until and self._wanted(sample)
        ]
        self.snapshot = self._builder.build(requests, tcp, samples, clock_ns)
        self._series.update(self.snapshot)
        return self.snapshot

    def detail_news(self) -> str:
        """For the log: which detail is in force, when it is another one than this said last; else nothing."""
        detail = self._series.report().detail
        if detail == self._detail_told:
            return ""
        self._detail_told = detail
        pods = self.snapshot.local_pods
        return f"metrics have {detail} detail: metrics.detail is {self._settings.detail}, {pods} pods run here"

    def report(self) -> SeriesReport:
        return self._series.report()

    def traffic(self, clock_ns: int) -> Traffic:
        """Every row with the names of both ends, as of now."""
        return self._names.name(clock_ns, self._requests(), self._tcp(), self._settings.bounds_ns)

    def samples(self, after: int, limit: int) -> Sequence[NamedSample]:
        """Samples with a sequence above `after`, oldest first; the newest `limit` of them if there are more."""
        found = [sample for sample in self._table.samples_since(after + 1).samples if self._wanted(sample)]
        kept = [self.told_by_plugins(sample) for sample in found[-limit:]] if limit > 0 else []
        named = [name_sample(sample, self._resolver) for sample in kept]
        scope = self._names.scope
        return [n for n in named if scope.has_row(n.sample.role, n.ends, both_here=n.sample.peer is not None)]

    def page(
        self,
        clock_ns: int,
        wall_minus_monotonic_ns: int,
        *,
        openmetrics: bool = False,
        own: bytes = b"",
        absent: Mapping[str, str] | None = None,
        workloads: tuple[str, ...] = (),
    ) -> Iterator[bytes]:
        """The metrics page in chunks; `own` is the agent's own part in the same format."""
        source = PageSource(self._series.page(clock_ns), own, wall_minus_monotonic_ns, workloads, absent or {})
        return render(source, "openmetrics" if openmetrics else "text")

    def _requests(self) -> list[RequestRow]:
        rows = self._table.requests()
        return [row for row in rows if self._wanted(row.key)] if self._picky else rows

    def _tcp(self) -> list[TcpRow]:
        rows = self._table.tcp()
        return [row for row in rows if self._wanted(row.key)] if self._picky else rows

    @property
    def _picky(self) -> bool:
        return bool(self._excluded or self._own_ports or self._asked_ports)

    def _wanted(self, seen: RequestKey | TcpKey | Sample) -> bool:
        if (
            seen.remote_port in self._own_ports
            and seen.role is not Role.SERVER
            and self._reaches_us(seen.remote_ip, seen.identity.netns)
        ):
            return False
        # Only socket lists have the agent's own end.
        if seen.local_port in self._own_ports and seen.role is Role.SERVER and self._reaches_us(*_local(seen)):
            return False
        # Whoever else on this host asks there has an owner: only the agent's own end is not seen.
        if (
            seen.local_port in self._asked_ports
            and seen.role is Role.SERVER
            and seen.peer is None
            and self._reaches_us(seen.remote_ip, seen.identity.netns)
        ):
            return False
        ends: tuple[Identity | None, Identity | None] = (seen.identity, seen.peer)
        return not self._excluded or not any(end is not None and end.comm in self._excluded for end in ends)


def _gone_idle_ns(settings: MetricsSettings) -> int:
    """Two scrapes; at least a minute, because there may be slower scrapers than the one that the setting speaks of."""
    return max(2 * settings.scrape_interval_ns, MINUTE_NS)


def _local(seen: RequestKey | TcpKey | Sample) -> tuple[str, int]:
    return seen.local_ip, seen.identity.netns


def _as_it_is(sample: Sample) -> Sample:
    return sample


def _nobody(_ip: str, _netns: int) -> bool:
    return False
