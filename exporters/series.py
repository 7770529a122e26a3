# SPDX-License-Identifier: Apache-2.0
"""The traffic series of the page: fed by snapshots, read by any number of scrapers.

`update` is called for each snapshot, `page` for each scrape. Both are of one thread; a page is frozen, so writing it out
may be spread over time while updates go on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from analyzers.accounts import BUCKETS, COUNT, DURATION_NS, REQUEST_BYTES, RESPONSE_BYTES, Account, Values
from analyzers.edges import OVERFLOW_EDGE, EdgeLabels
from analyzers.entities import OVERFLOW_ENTITY, EntityLabels
from analyzers.health import (
    CONNECT_NS,
    CONNECTS,
    DROPS,
    RESETS_RECEIVED,
    RESETS_SENT,
    RETRANSMITS,
    TcpLabels,
    overflow_of,
)
from analyzers.resolver import Party
from analyzers.snapshot import Snapshot
from exporters.caps import ValueCap
from exporters.detail import DetailRule
from exporters.exemplars import Exemplar, ExemplarTable
from exporters.feed import Feed
from exporters.labels import PROMETHEUS, LabelForm
from exporters.projection import ADDRESS_SCOPE, Projection, content_scope
from exporters.rows import Row, Shown
from exporters.settings import DetailInForce, MetricsSettings
from exporters.trace_view import TraceSeries, TraceView

_POD_LABELS: Final = frozenset({"pod", "src_pod", "dst_pod"})


@dataclass(frozen=True, slots=True)
class TrafficPage:
    """Everything of the traffic that one scrape shows, frozen. Histograms are None where they are switched off."""

    prefix: str
    bounds_ns: tuple[int, ...]
    entities: list[Shown]
    entity_histogram: list[Shown] | None
    edges: list[Shown]
    edge_histogram: list[Shown] | None
    health: list[Shown]
    connects: list[Shown]
    traces: tuple[TraceSeries, ...]
    exemplars: Mapping[tuple[str, int], Exemplar]


@dataclass(frozen=True, slots=True)
class SeriesReport:
    """Rows now and overflow so far by kind of metric, and the detail in force."""

    rows: Mapping[str, int]
    overflow: Mapping[str, int]
    detail: DetailInForce


class SeriesStore:
    def __init__(self, settings: MetricsSettings, form: LabelForm = PROMETHEUS) -> None:
        self._settings = settings
        self._form = form
        self._rule = DetailRule()
        self._detail: DetailInForce = self._rule.in_force
        self._epoch = self._fed_epoch = 0
        self._lasting_ns = -settings.counter_ttl_ns
        """When there last were rows that outlive the accounts that feed them: of workloads, or of an earlier epoch."""
        self._addresses = ValueCap(settings.outside_addresses)
        self._contents = ValueCap(settings.contents_per_workload)
        self._projection = self._project()
        limits = settings.rows
        wide = len(settings.bounds_ns) + 2  # the buckets, infinity and duration
        self._entities: Feed[EntityLabels] = Feed(
            3, limits.entity, self._entity_text, self._post_entity, _other_entity, form.joint
        )
        self._entity_times: Feed[EntityLabels] = Feed(
            wide, limits.entity, self._entity_time_text, _post_times, _other_entity, form.joint
        )
        self._edges: Feed[EdgeLabels] = Feed(
            3, limits.topology, self._edge_text, self._post_edge, _other_edge, form.joint
        )
        self._edge_times: Feed[EdgeLabels] = Feed(
            wide, limits.topology, self._edge_time_text, _post_times, _other_edge, form.joint
        )
        self._health: Feed[TcpLabels] = Feed(
            2, limits.tcp, self._health_text, self._post_health, overflow_of, form.joint
        )
        self._connects: Feed[TcpLabels] = Feed(
            2, limits.tcp, self._connect_text, _post_connects, overflow_of, form.joint
        )
        self._traces = TraceView(limits.trace)
        self._exemplars = ExemplarTable()

    def configure(self, settings: MetricsSettings) -> None:
        """Go on with other settings. Rows stay; where labels change, growth goes to new rows."""
        self._settings = settings
        limits = settings.rows
        for table, limit in (
            (self._entities.table, limits.entity),
            (self._entity_times.table, limits.entity),
            (self._edges.table, limits.topology),
            (self._edge_times.table, limits.topology),
            (self._health.table, limits.tcp),
            (self._connects.table, limits.tcp),
        ):
            table.limit = limit
        self._traces.limit = limits.trace
        self._addresses.limit = settings.outside_addresses
        self._contents.limit = settings.contents_per_workload
        self._change()

    def update(self, snapshot: Snapshot, now_ns: int | None = None) -> None:
        """Take a snapshot. `now_ns` is of the events' clock, and the snapshot's own if it is not given."""
        now_ns = snapshot.clock_ns if now_ns is None else now_ns
        detail = self._rule.update(self._settings.detail, snapshot.local_pods, now_ns)
        if detail != self._detail:
            self._detail = detail
            self._change()
        if detail != "pod" or self._merges_pods or self._fed_epoch != self._epoch:
            self._lasting_ns, self._fed_epoch = now_ns, self._epoch
        if self._addresses.full or self._contents.full:
            self._make_room(snapshot, now_ns)
        self._entities.take(snapshot.entities, self._epoch, now_ns, self._entity_is_brief)
        self._edges.take(snapshot.edges, self._epoch, now_ns, self._edge_is_brief)
        if self._settings.histograms in {"entity", "both"}:
            self._entity_times.take(snapshot.entities, self._epoch, now_ns, self._entity_is_brief)
            self._exemplars.take(snapshot.samples, self._projection.entity_histogram, self._settings.bounds_ns)
        if self._settings.histograms in {"topology", "both"}:
            self._edge_times.take(snapshot.edges, self._epoch, now_ns, self._edge_is_brief)
        self._health.take(snapshot.health, self._epoch, now_ns, self._relation_is_brief)
        self._connects.take(snapshot.connects, self._epoch, now_ns, self._relation_is_brief)
        self._traces.take(snapshot.traces, self._projection, self._epoch)
        self._expire(now_ns)

    def page(self, now_ns: int) -> TrafficPage:
        """What a scraper sees at `now_ns` of the events' clock."""
        settings = self._settings
        times = (now_ns, settings.scrape_interval_ns, settings.gauge_ttl_ns)
        histograms = settings.histograms
        return TrafficPage(
            prefix=settings.prefix,
            bounds_ns=settings.bounds_ns,
            entities=self._entities.table.show(*times),
            entity_histogram=self._entity_times.table.show(*times) if histograms in {"entity", "both"} else None,
            edges=self._edges.table.show(*times),
            edge_histogram=self._edge_times.table.show(*times) if histograms in {"topology", "both"} else None,
            health=self._health.table.show(*times),
            connects=self._connects.table.show(*times),
            traces=self._traces.series,
            exemplars=self._exemplars.freeze(),
        )

    def shows_address(self, ip: str) -> bool:
        """Whether an address outside has a value of its own, within `metrics.outside_addresses`."""
        return self._addresses.admits(ADDRESS_SCOPE, ip)

    def report(self) -> SeriesReport:
        feeds = (
            ("entity", self._entities.table, self._entities.overflowed),
            ("entity_histogram", self._entity_times.table, self._entity_times.overflowed),
            ("topology", self._edges.table, self._edges.overflowed),
            ("topology_histogram", self._edge_times.table, self._edge_times.overflowed),
            ("tcp", self._health.table, self._health.overflowed),
            ("tcp_connect", self._connects.table, self._connects.overflowed),
        )
        rows = {name: len(table) for name, table, _ in feeds}
        overflow = {name: overflowed for name, _, overflowed in feeds}
        rows["trace"] = len(self._traces.series)
        overflow["trace"] = self._traces.overflowed
        return SeriesReport(rows, overflow, self._detail)

    def _project(self) -> Projection:
        return Projection(self._settings, self._detail, self._addresses, self._contents, self._form)

    def _change(self) -> None:
        self._epoch += 1
        self._projection = self._project()

    def _make_room(self, snapshot: Snapshot, now_ns: int) -> None:
        """Let go of capped values that no account has any more, nor a row that outlived its accounts."""
        ttl_ns = self._settings.counter_ttl_ns
        linger_ns = ttl_ns if now_ns - self._lasting_ns <= ttl_ns else 0
        parties = [(account.labels.edge.src, account.labels.edge.src_ip) for account in snapshot.edges]
        parties += [(account.labels.edge.dst, account.labels.edge.dst_ip) for account in snapshot.edges]
        parties += [(account.labels.dst, account.labels.dst_ip) for account in (*snapshot.health, *snapshot.connects)]
        parties += [(account.labels.dst, account.labels.dnat_ip) for account in snapshot.connects]
        for edge in (trace.edge for trace in snapshot.traces):
            parties += ((edge.src, edge.src_ip), (edge.dst, edge.dialled_ip), (edge.dst, edge.dst_ip))
        outside = ((ADDRESS_SCOPE, ip) for party, ip in parties if party.outside)
        self._addresses.retain(outside, now_ns, linger_ns)
        contents = (
            (content_scope(account.labels.entity.party), account.labels.request_content)
            for account in snapshot.entities
        )
        self._contents.retain(contents, now_ns, linger_ns)

    def _expire(self, now_ns: int) -> None:
        before_ns = now_ns - self._settings.counter_ttl_ns
        for table in (
            self._entities.table,
            self._entity_times.table,
            self._edges.table,
            self._edge_times.table,
            self._health.table,
            self._connects.table,
        ):
            table.expire(before_ns)

    @property
    def _merges_pods(self) -> bool:
        """Whether rows of several pods are one because a label is dropped."""
        return bool(self._settings.drop_labels & _POD_LABELS)

    def _is_brief(self, *parties: Party) -> bool:
        """A row of single pods ends with them; one of a workload is taken up by the next pod."""
        pods = [party for party in parties if party.pod]
        told_apart = all(map(self._projection.full, pods)) and not self._merges_pods
        return told_apart and (bool(pods) or self._detail == "pod")

    def _entity_is_brief(self, labels: EntityLabels) -> bool:
        return self._is_brief(labels.entity.party)

    def _edge_is_brief(self, labels: EdgeLabels) -> bool:
        return self._is_brief(labels.edge.src, labels.edge.dst)

    def _relation_is_brief(self, labels: TcpLabels) -> bool:
        return self._is_brief(labels.src, labels.dst)

    def _entity_text(self, labels: EntityLabels) -> str:
        return self._projection.entity(labels)

    def _entity_time_text(self, labels: EntityLabels) -> str:
        return self._projection.entity_histogram(labels.entity)

    def _edge_text(self, labels: EdgeLabels) -> str:
        return self._projection.edge(labels)

    def _edge_time_text(self, labels: EdgeLabels) -> str:
        return self._projection.edge_histogram(labels.edge)

    def _health_text(self, labels: TcpLabels) -> str:
        return self._projection.health(labels)

    def _connect_text(self, labels: TcpLabels) -> str:
        return self._projection.connect(labels)

    def _post_entity(self, row: Row, account: Account[EntityLabels], amount: Values, now_ns: int) -> None:
        labels = account.labels
        row.add((amount[DURATION_NS], amount[RESPONSE_BYTES], amount[REQUEST_BYTES]), now_ns)
        outcome = self._projection.outcome(is_slow=labels.is_slow, is_error=labels.is_error)
        row.add_single(outcome, amount[COUNT], now_ns)

    def _post_edge(self, row: Row, account: Account[EdgeLabels], amount: Values, now_ns: int) -> None:
        labels = account.labels
        row.add((amount[DURATION_NS], amount[REQUEST_BYTES], amount[RESPONSE_BYTES]), now_ns)
        outcome = self._projection.outcome(is_slow=labels.is_slow, is_error=labels.is_error)
        row.add_single(outcome, amount[COUNT], now_ns)

    def _post_health(self, row: Row, account: Account[TcpLabels], amount: Values, now_ns: int) -> None:
        row.add((amount[RETRANSMITS], amount[DROPS]), now_ns)
        row.set_gauge(account.gauge, account.moved_ns)
        for name, index in (("sent", RESETS_SENT), ("received", RESETS_RECEIVED)):
            if amount[index]:
                row.add_single(self._projection.single((("direction", name),)), amount[index], now_ns)


def _other_edge(labels: EdgeLabels) -> EdgeLabels:
    return EdgeLabels(OVERFLOW_EDGE, "", labels.is_error, labels.is_slow)


def _other_entity(labels: EntityLabels) -> EntityLabels:
    return EntityLabels(OVERFLOW_ENTITY, "", "", labels.is_error, labels.is_slow)


def _post_times(row: Row, _account: Account[EntityLabels] | Account[EdgeLabels], amount: Values, now_ns: int) -> None:
    row.add((*amount[BUCKETS:], amount[DURATION_NS]), now_ns)


def _post_connects(row: Row, _account: Account[TcpLabels], amount: Values, now_ns: int) -> None:
    row.add((amount[CONNECTS], amount[CONNECT_NS]), now_ns)
