# SPDX-License-Identifier: Apache-2.0
"""Durations by operation, as the histograms that the semantic conventions define, under each workload's resource.

A row's text holds everything that makes it one: the number of its metric, its resource and its attributes.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from analyzers.accounts import BUCKETS, DURATION_NS, FINE, FINE_BUCKETS, Account, Values
from analyzers.calls import CallLabels, ServedLabels
from analyzers.edges import OTHER, OTHER_PARTY
from analyzers.entities import Entity
from analyzers.resolver import Party
from analyzers.snapshot import Snapshot
from exporters.feed import Feed
from exporters.otlp.conventions import Facts, Side, tell
from exporters.otlp.resources import of_party
from exporters.otlp.settings import HistogramForm, Origin
from exporters.otlp.wire import EXPONENTIAL_ATTRIBUTES, HISTOGRAM_ATTRIBUTES, attributes
from exporters.registry_otel import OPERATIONS
from exporters.rows import Row, Shown
from exporters.settings import DetailInForce, MetricsSettings

_NUMBERS: Final = {operation.name: number for number, operation in enumerate(OPERATIONS)}
_HEAD: Final = struct.Struct("<BH")
_OVERFLOW: Final = ("otel.metric.overflow", True)


def _protocols(side: Side) -> frozenset[str]:
    return frozenset(name for operation in OPERATIONS if operation.side == side for name in operation.protocols)


_SERVED: Final = _protocols("server")
_CALLED: Final = _protocols("client")


@dataclass(frozen=True, slots=True)
class OperationRow:
    """`number` is the place in OPERATIONS. `values` are the buckets and, last, nanoseconds."""

    key: str
    number: int
    resource: bytes
    body: bytes
    values: Values
    created_ns: int


class OperationSeries:
    """Fed by snapshots like the rows of the page, and limited like them. `shows_address` says which addresses outside
    still have a value of their own."""

    def __init__(
        self,
        settings: MetricsSettings,
        origin: Origin,
        shows_address: Callable[[str], bool],
        form: HistogramForm = "explicit",
    ) -> None:
        self._settings = settings
        self._shows_address = shows_address
        self._origin = origin
        self._field = EXPONENTIAL_ATTRIBUTES if form == "exponential" else HISTOGRAM_ATTRIBUTES
        self._detail: DetailInForce = "pod"
        self._epoch = 0
        wide, post = (FINE_BUCKETS, _post_fine) if form == "exponential" else (FINE - BUCKETS, _post)
        rows = settings.rows
        self._served: Feed[ServedLabels] = Feed(wide + 1, rows.entity, self._served_text, post, _other_served, "")
        self._called: Feed[CallLabels] = Feed(wide + 1, rows.topology, self._called_text, post, _other_call, "")

    def configure(self, settings: MetricsSettings, origin: Origin) -> None:
        """Go on with other settings."""
        self._settings, self._origin = settings, origin
        self._served.table.limit = settings.rows.entity
        self._called.table.limit = settings.rows.topology
        self._epoch += 1

    def update(self, snapshot: Snapshot, detail: DetailInForce) -> None:
        if detail != self._detail:
            self._detail = detail
            self._epoch += 1
        now_ns = snapshot.clock_ns
        served = [one for one in snapshot.served if one.labels.entity.protocol in _SERVED]
        called = [one for one in snapshot.calls if one.labels.protocol in _CALLED]
        self._served.take(served, self._epoch, now_ns, lambda labels: self._full(labels.entity.party))
        self._called.take(called, self._epoch, now_ns, lambda labels: self._full(labels.src))
        for table in (self._served.table, self._called.table):
            table.expire(now_ns - self._settings.counter_ttl_ns)

    def shown(self, now_ns: int) -> list[Shown]:
        """Every row as of now, frozen."""
        return [row for feed in (self._served, self._called) for row in feed.table.show(now_ns, 0, 0)]

    @property
    def overflowed(self) -> int:
        return self._served.overflowed + self._called.overflowed

    def _served_text(self, labels: ServedLabels) -> str:
        entity = labels.entity
        facts = Facts(
            side="server",
            protocol=entity.protocol,
            content=labels.request_content,
            status=labels.status_code,
            answer="" if labels.no_response else labels.response_content,
            is_error=labels.is_error,
            no_response=labels.no_response,
            address=self._address(entity.party, entity.ip),
            port=entity.port,
            method=labels.method,
        )
        return self._text(entity.party, facts)

    def _called_text(self, labels: CallLabels) -> str:
        capped = labels.dst.outside and not self._shows_address(labels.dst_ip)
        address = server_address(labels.dst, self._address(labels.dst, labels.dst_ip))
        facts = Facts(
            side="client",
            protocol=labels.protocol,
            content=labels.request_content,
            status=labels.status_code,
            answer="",
            is_error=labels.is_error,
            no_response=labels.no_response,
            address=OTHER if capped else address,
            port=0 if capped else labels.dst_port,
            method=labels.method,
        )
        return self._text(labels.src, facts)

    def _text(self, party: Party, facts: Facts) -> str:
        told = tell(facts)
        resource = of_party(party, self._origin, self._full(party))
        body = attributes(self._field, [_OVERFLOW] if party is OTHER_PARTY else told.pairs)
        head = _HEAD.pack(_NUMBERS[told.metric], len(resource))
        return (head + resource + body).decode("latin-1")

    def _full(self, party: Party) -> bool:
        return self._detail == "pod" or party.namespace in self._settings.pod_detail_namespaces

    def _address(self, party: Party, ip: str) -> str:
        return ip if self._full(party) or party.outside else ""


def server_address(party: Party, ip: str) -> str:
    """What a client calls its server: a DNS name rather than a Service rather than an address. The conventions want something,
    so where addresses are left out it is the workload."""
    return party.domain or party.service or ip or party.workload_name


def unpacked(rows: Iterable[Shown]) -> Iterator[OperationRow]:
    """The rows with their parts."""
    for row in rows:
        key = row.body.encode("latin-1")
        number, length = _HEAD.unpack_from(key)
        end = _HEAD.size + length
        yield OperationRow(row.body, number, key[_HEAD.size : end], key[end:], row.values, row.created_ns)


def _post(row: Row, _account: Account[ServedLabels] | Account[CallLabels], amount: Values, now_ns: int) -> None:
    row.add((*amount[BUCKETS:FINE], amount[DURATION_NS]), now_ns)


def _post_fine(row: Row, _account: Account[ServedLabels] | Account[CallLabels], amount: Values, now_ns: int) -> None:
    row.add((*amount[FINE:], amount[DURATION_NS]), now_ns)


def _other_served(labels: ServedLabels) -> ServedLabels:
    return ServedLabels(Entity(OTHER_PARTY, OTHER, 0, labels.entity.protocol), "", "", "", False, False)


def _other_call(labels: CallLabels) -> CallLabels:
    return CallLabels(OTHER_PARTY, OTHER_PARTY, OTHER, 0, labels.protocol, "", "", False, False)
