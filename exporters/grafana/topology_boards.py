# SPDX-License-Identifier: Apache-2.0
"""The two dashboards with a map: for the project's own panel, and for Grafana's node graph without any plugin."""

from typing import Final

from exporters import registry_own as own
from exporters import registry_traffic as traffic
from exporters.grafana.board_forms import CLUSTER, FAILED_ATTEMPT, BoardForms
from exporters.grafana.expressions import selector, total
from exporters.grafana.panels import WIDTH, Dashboard, Panel, Query, Row, Variable
from exporters.metric import Metric

PANEL: Final = "firesteel-topology-panel"
_WINDOW: Final = "$window"

_WORKLOAD: Final = ("namespace", "workload_kind", "workload_name", "service")
_POD: Final = (*_WORKLOAD, "pod", "node")
_ABROAD: Final = ("dst_domain", "dst_ip")
_EXTERNAL: Final = 'dst_namespace="NOT_FOUND_EXTERNAL"'
_INTERNAL: Final = 'dst_namespace!="NOT_FOUND_EXTERNAL"'


def _both(labels: tuple[str, ...]) -> str:
    return ", ".join(f"{side}_{label}" for side in ("src", "dst") for label in labels)


# (what people read, labels of both ends): $detail stands in the middle of `sum by (…)`.
DETAILS: Final = (("workloads", _both(_WORKLOAD)), ("pods and nodes", _both(_POD)))


class TopologyBoards:
    """The dashboards for one `metrics.prefix`."""

    def __init__(self, prefix: str = "kindling") -> None:
        self._prefix = prefix
        self._boards = BoardForms(prefix)

    def all(self) -> tuple[Dashboard, ...]:
        return (self.panel(), self.node_graph())

    def panel(self) -> Dashboard:
        variables = self._boards.variables(
            Variable("detail", "Detail", choices=DETAILS),
            Variable("window", "Window", choices=tuple((w, w) for w in ("5m", "1m", "15m", "1h", "6h", "1d"))),
            Variable("compare", "Compare with", choices=tuple((f"{w} earlier", w) for w in ("1h", "15m", "1d", "7d"))),
        )
        topology = Panel(
            "Topology",
            PANEL,
            self._panel_queries(),
            "Who asks whom. The badge says how complete the picture is.",
            width=WIDTH,
            height=22,
        )
        return Dashboard(
            "firesteel-topology",
            "Firesteel / Topology",
            "The map of the cluster, drawn by the panel firesteel-topology-panel",
            variables,
            (Row("Map", (topology,)),),
        )

    def _edges(self, metric: Metric, *matchers: str, offset: str = "", labels: str = "$detail, protocol") -> str:
        """Edges with an end in the wanted namespaces; destinations outside keep their address and domain."""

        def part(by: tuple[str, ...], place: str) -> str:
            inner = [
                f"rate({selector(metric, self._prefix, CLUSTER, side, place, *matchers)}[{_WINDOW}]"
                f"{f' offset {offset}' if offset else ''})"
                for side in ('src_namespace=~"$namespace"', 'dst_namespace=~"$namespace"')
            ]
            return f"sum by ({', '.join((labels, *by))}) ({inner[0]} or {inner[1]})"

        return f"{part((), _INTERNAL)} or {part(_ABROAD, _EXTERNAL)}"

    def _panel_queries(self) -> tuple[Query, ...]:
        requests = traffic.TOPOLOGY_TOTAL
        failed = 'is_error="true"'
        # TCP metrics have no protocol: their edges get the one of the requests between the same ends, or none.
        tcp = "$detail"
        asked = {
            "requests": self._edges(requests),
            "errors": self._edges(requests, failed),
            "slow": self._edges(requests, 'is_slow="true"'),
            "duration": self._edges(traffic.TOPOLOGY_DURATION),
            "request_bytes": self._edges(traffic.TOPOLOGY_REQUEST_BYTES),
            "response_bytes": self._edges(traffic.TOPOLOGY_RESPONSE_BYTES),
            "connect_failures": f"({self._edges(traffic.CONNECTS, FAILED_ATTEMPT, labels=tcp)}) > 0",
            "requests_before": self._edges(requests, offset="$compare"),
            "errors_before": self._edges(requests, failed, offset="$compare"),
            "lost": total(own.LOST, self._prefix, (), CLUSTER, window=_WINDOW),
            "agents": f"up{{{CLUSTER}}} * on (job, instance) group_left () (count by (job, instance) (last_over_time({selector(own.DRIVER_INFO, self._prefix, CLUSTER)}[1d])) * 0 + 1)",
        }
        return tuple(Query(expr, name=name, table=True) for name, expr in asked.items())

    def node_graph(self) -> Dashboard:
        """Grafana's own panel wants two tables: nodes with an id, edges with id, source and target."""
        requests = traffic.TOPOLOGY_TOTAL
        window = Variable("window", "Window", choices=tuple((w, w) for w in ("5m", "1m", "15m", "1h", "6h")))

        def named(expr: str, label: str, side: str) -> str:
            """`label` becomes namespace/name, or for an address outside its domain or address."""
            name = f'label_join({expr}, "{label}", "/", "{side}_namespace", "{side}_workload_name")'
            if side == "dst":
                name = f'label_replace({name}, "{label}", "$1", "dst_ip", "(.+)")'
                name = f'label_replace({name}, "{label}", "$1", "dst_domain", "(.+)")'
            return name

        edges = self._edges(requests, labels=_both(("namespace", "workload_name")) + ", protocol")
        ends = named(named(edges, "source", "src"), "target", "dst")
        joined = f'label_join({ends}, "id", " > ", "source", "target", "protocol")'
        shown = f"sum by (id, source, target, protocol) ({joined})"

        def nodes(side: str) -> str:
            return f"sum by (id) ({named(edges, 'id', side)})"

        every = f"{nodes('dst')} or {nodes('src')} * 0"
        title = f'label_replace({every}, "title", "$1", "id", "(?:.*/)?(.*)")'
        subtitle = f'label_replace({title}, "subtitle", "$1", "id", "(.*)/.*")'
        graph = Panel(
            "Topology",
            "nodeGraph",
            (Query(subtitle, name="nodes", table=True), Query(shown, name="edges", table=True)),
            "Requests a second. For views, health and comparison install the panel firesteel-topology-panel.",
            width=WIDTH,
            height=22,
            unit="reqps",
            options={"nodes": {"mainStatUnit": "reqps"}, "edges": {"mainStatUnit": "reqps"}},
            transformations=(
                {
                    "id": "organize",
                    "options": {
                        "excludeByName": {"Time": True},
                        "renameByName": {
                            "Value #nodes": "mainstat",
                            "Value #edges": "mainstat",
                            "protocol": "secondarystat",
                        },
                    },
                },
            ),
        )
        return Dashboard(
            "firesteel-node-graph",
            "Firesteel / Topology (node graph)",
            "The map with what Grafana has built in",
            self._boards.variables(window),
            (Row("Map", (graph,)),),
        )
