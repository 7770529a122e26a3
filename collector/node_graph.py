# SPDX-License-Identifier: Apache-2.0
"""The topology in the shape of Grafana's node graph panel, for its "Node Graph API" data source.

Field names are Grafana's: https://grafana.com/docs/grafana/latest/panels-visualizations/visualizations/node-graph/.
The data source asks for the fields once and then for the data.
"""

from typing import Any, Final

from collector.api import Json

_HEALTHY: Final = "#0072b2"
_FAILED: Final = "#d55e00"  # of a palette that colour-blind people can tell apart

NODE_FIELDS: Final[tuple[dict[str, Json], ...]] = (
    {"field_name": "id", "type": "string"},
    {"field_name": "title", "type": "string"},
    {"field_name": "subTitle", "type": "string"},
    {"field_name": "mainStat", "type": "string", "displayName": "answered"},
    {"field_name": "secondaryStat", "type": "string", "displayName": "errors"},
    {"field_name": "arc__healthy", "type": "number", "color": _HEALTHY, "displayName": "healthy"},
    {"field_name": "arc__failed", "type": "number", "color": _FAILED, "displayName": "failed"},
    {"field_name": "detail__kind", "type": "string", "displayName": "kind"},
    {"field_name": "detail__namespace", "type": "string", "displayName": "namespace"},
    {"field_name": "detail__addresses", "type": "string", "displayName": "addresses"},
)
EDGE_FIELDS: Final[tuple[dict[str, Json], ...]] = (
    {"field_name": "id", "type": "string"},
    {"field_name": "source", "type": "string"},
    {"field_name": "target", "type": "string"},
    {"field_name": "mainStat", "type": "string", "displayName": "rate"},
    {"field_name": "secondaryStat", "type": "string", "displayName": "p99"},
    {"field_name": "detail__protocol", "type": "string", "displayName": "protocol"},
    {"field_name": "detail__errors", "type": "number", "displayName": "errors"},
    {"field_name": "detail__retransmits", "type": "number", "displayName": "retransmits"},
)


def fields_json() -> dict[str, Json]:
    return {"nodes_fields": NODE_FIELDS, "edges_fields": EDGE_FIELDS}


def data_json(topology: dict[str, Any]) -> dict[str, Json]:
    """`topology` is what `collector.topology.topology_json` made."""
    return {
        "nodes": [_node(node) for node in topology["nodes"]],
        "edges": [_edge(edge, topology["counted_seconds"]) for edge in topology["edges"]],
    }


def _node(node: dict[str, Any]) -> dict[str, Json]:
    # A node that only asks is drawn by what it asked: Grafana draws no circle without arcs that add up to 1.
    side = node["answered"] if node["answered"]["requests"] else node["asked"]
    failed = side["errors"] / side["requests"] if side["requests"] else 0.0
    rate = side["requests_per_second"]
    return {
        "id": node["id"],
        "title": node["title"],
        "subTitle": node["subtitle"],
        "mainStat": f"{side['requests']} requests" if rate is None else f"{rate:.3g}/s",
        "secondaryStat": f"{failed:.1%} errors",
        "arc__healthy": 1.0 - failed,
        "arc__failed": failed,
        "detail__kind": node["kind"],
        "detail__namespace": node["namespace"],
        "detail__addresses": ", ".join(node["addresses"]),
    }


def _edge(edge: dict[str, Any], counted_seconds: float | None) -> dict[str, Json]:
    window = edge["window"]
    if window is not None:
        rate = window["requests_per_second"]
    else:
        rate = edge["total"]["requests"] / counted_seconds if counted_seconds else 0.0
    durations = (window or edge["total"])["duration_seconds"]
    p99 = durations["p99"]
    sign = "<" if "p99" in durations["at_most"] else "≥" if "p99" in durations["at_least"] else ""
    return {
        "id": edge["id"],
        "source": edge["source"],
        "target": edge["destination"],
        "mainStat": f"{rate:.3g}/s {edge['protocol']}",
        "secondaryStat": "" if p99 is None else f"p99 {sign}{p99 * 1000:.3g} ms",
        "detail__protocol": edge["protocol"],
        "detail__errors": edge["total"]["errors"] + sum(edge["tcp"]["connect_failures"].values()),
        "detail__retransmits": edge["tcp"]["retransmits"] + edge["tcp"]["synack_retransmits"],
    }
