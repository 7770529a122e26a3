# SPDX-License-Identifier: Apache-2.0
"""From named records to label text, at the detail in force.

Two records whose text is the same are one row: leaving a label empty or out can merge rows, never duplicate them.
"""

from typing import Final

from analyzers.edges import OTHER, Edge, EdgeLabels
from analyzers.entities import Entity, EntityLabels
from analyzers.health import TcpLabels
from analyzers.resolver import Party
from analyzers.traces import TraceRow
from exporters.caps import ValueCap
from exporters.labels import PROMETHEUS, LabelForm
from exporters.settings import DetailInForce, MetricsSettings

Pairs = list[tuple[str, str]]

ADDRESS_SCOPE: Final = "outside"
MILLISECOND_NS: Final = 10**6
WHOLE_LIMITS_NS: Final = (800 * MILLISECOND_NS, 1500 * MILLISECOND_NS)
PHASE_LIMITS_NS: Final = (200 * MILLISECOND_NS, 1000 * MILLISECOND_NS)


class Projection:
    """Makes label text. `addresses` and `contents` say which values may still be shown."""

    def __init__(
        self,
        settings: MetricsSettings,
        detail: DetailInForce,
        addresses: ValueCap,
        contents: ValueCap,
        form: LabelForm = PROMETHEUS,
    ) -> None:
        self._settings = settings
        self._form = form
        self._pod_detail = detail == "pod"
        self._addresses = addresses
        self._contents = contents
        self._outcomes = {
            (slow, error): self.single((("is_slow", _truth(slow)), ("is_error", _truth(error))))
            for slow in (False, True)
            for error in (False, True)
        }

    def entity(self, labels: EntityLabels) -> str:
        entity = labels.entity
        party = entity.party
        scope = content_scope(party)
        content = labels.request_content
        if content and not self._contents.admits(scope, content):
            content = OTHER
        pairs = self._entity(entity)
        pairs += (("request_content", content), ("response_content", labels.response_content))
        return self._text(pairs)

    def entity_histogram(self, entity: Entity) -> str:
        return self._text(self._entity(entity))

    def edge(self, labels: EdgeLabels) -> str:
        pairs = self._edge(labels.edge)
        pairs.append(("status_code", labels.status_code))
        return self._text(pairs)

    def edge_histogram(self, edge: Edge) -> str:
        return self._text(self._edge(edge))

    def health(self, labels: TcpLabels) -> str:
        return self._text(self._tcp(labels))

    def connect(self, labels: TcpLabels) -> str:
        pairs = self._tcp(labels)
        pairs += (
            ("dnat_ip", self._address(labels.dst, labels.dnat_ip, is_dst=True)),
            ("dnat_port", _port(labels.dnat_port)),
            ("success", _truth(labels.errno == 0)),
            ("errno", str(labels.errno or 0)),
        )
        if self._settings.process_info:
            pairs += (("pid", _port(labels.pid)), ("comm", labels.comm))
        return self._text(pairs)

    def trace_edge(self, row: TraceRow) -> str:
        """What all traces of one edge and side share."""
        edge = row.edge
        capped = self._address(edge.dst, edge.dialled_ip, is_dst=True) == OTHER
        translated = (edge.dialled_ip, edge.dialled_port) != (edge.dst_ip, edge.dst_port)
        pairs = self._side("src", edge.src, edge.src_ip)
        pairs += self._side("dst", edge.dst, edge.dialled_ip)
        pairs += (
            ("dst_domain", "" if capped else edge.dst.domain),
            ("dst_port", "" if capped else _port(edge.dialled_port)),
            ("protocol", edge.protocol),
            ("dnat_ip", self._address(edge.dst, edge.dst_ip, is_dst=True) if translated else ""),
            ("dnat_port", _port(edge.dst_port) if translated else ""),
            ("is_server", _truth(row.is_server)),
        )
        return self._text(pairs)

    def trace(self, row: TraceRow, shared: str) -> str:
        """The whole text of one trace, of which `shared` is the edge's part."""
        last = row.last
        own = self.single(
            (
                ("request_content", row.request_content),
                ("response_content", row.response_content),
                ("request_duration_status", traffic_light(last.duration_ns, WHOLE_LIMITS_NS)),
                ("request_reqxfer_status", traffic_light(last.request_ns, PHASE_LIMITS_NS)),
                ("request_processing_status", traffic_light(last.processing_ns, PHASE_LIMITS_NS)),
                ("response_rspxfer_status", traffic_light(last.response_ns, PHASE_LIMITS_NS)),
            )
        )
        return f"{shared},{own}" if shared and own else shared or own

    def outcome(self, *, is_slow: bool, is_error: bool) -> str:
        """The labels that only the request counters have."""
        return self._outcomes[is_slow, is_error]

    def single(self, pairs: tuple[tuple[str, str], ...]) -> str:
        """Labels of a single series of a row, without those that are dropped."""
        return self._form.write([pair for pair in pairs if pair[0] not in self._settings.drop_labels])

    def _entity(self, entity: Entity) -> Pairs:
        pairs = self._side("", entity.party, entity.ip)
        pairs += (("port", _port(entity.port)), ("protocol", entity.protocol))
        return pairs

    def _edge(self, edge: Edge) -> Pairs:
        pairs = self._side("src", edge.src, edge.src_ip)
        pairs += self._side("dst", edge.dst, edge.dst_ip)
        capped = self._address(edge.dst, edge.dst_ip, is_dst=True) == OTHER
        pairs += (
            ("dst_domain", "" if capped else edge.dst.domain),
            ("dst_port", "" if capped else _port(edge.dst_port)),
            ("protocol", edge.protocol),
        )
        return pairs

    def _tcp(self, labels: TcpLabels) -> Pairs:
        sides = self._side("src", labels.src, labels.src_ip) + self._side("dst", labels.dst, labels.dst_ip)
        pairs = [pair for pair in sides if not pair[0].endswith("_container_id")]
        capped = self._address(labels.dst, labels.dst_ip, is_dst=True) == OTHER
        pairs += (
            ("dst_domain", "" if capped else labels.dst.domain),
            ("src_port", _port(labels.src_port)),
            ("dst_port", "" if capped else _port(labels.dst_port)),
        )
        return pairs

    def _side(self, side: str, party: Party, ip: str) -> Pairs:
        prefix = f"{side}_" if side else ""
        full = self.full(party)
        return [
            (f"{prefix}node", party.node if full else ""),
            (f"{prefix}namespace", party.namespace),
            (f"{prefix}workload_kind", party.workload_kind),
            (f"{prefix}workload_name", party.workload_name),
            (f"{prefix}service", party.service),
            (f"{prefix}pod", party.pod if full else ""),
            (f"{prefix}container", party.container if full else ""),
            (f"{prefix}container_id", party.container_id[:12] if full else ""),
            (f"{prefix}ip", self._address(party, ip, is_dst=side == "dst")),
        ]

    def full(self, party: Party) -> bool:
        """Whether labels of single pods are shown of it."""
        return self._pod_detail or party.namespace in self._settings.pod_detail_namespaces

    def _address(self, party: Party, ip: str, *, is_dst: bool) -> str:
        """At workload detail only where an edge leads outside; there, and for outside clients, within the cap."""
        if not self.full(party) and not (is_dst and party.outside):
            return ip if ip == OTHER else ""
        if not party.outside or not ip:
            return ip
        return ip if self._addresses.admits(ADDRESS_SCOPE, ip) else OTHER

    def _text(self, pairs: Pairs) -> str:
        drop = self._settings.drop_labels
        if drop:
            pairs = [pair for pair in pairs if pair[0] not in drop]
        if self._settings.cluster_label:
            pairs = [*pairs, ("cluster", self._settings.cluster_label)]
        return self._form.write(pairs)


def content_scope(party: Party) -> tuple[str, str, str]:
    """Whose contents are capped together."""
    return (party.namespace, party.workload_kind, party.workload_name)


def traffic_light(duration_ns: int, limits_ns: tuple[int, int]) -> str:
    """1 (green) up to the first limit, 2 (yellow) under the second, 3 (red) from there on."""
    green, red = limits_ns
    if duration_ns <= green:
        return "1"
    return "2" if duration_ns < red else "3"


def _port(port: int) -> str:
    return str(port) if port else ""


def _truth(value: bool) -> str:
    return "true" if value else "false"
