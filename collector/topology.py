# SPDX-License-Identifier: Apache-2.0
"""Nodes and edges at one level, with totals and rates, out of the table's rows. docs/api.md describes every field."""

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from analyzers.rows import Role
from collector.api import API_VERSION, Json, end_json
from collector.ends import End, Label, Level, directed, label
from collector.rates import NANOSECONDS, Baseline, Tally, TcpTally, duration_json
from collector.traffic import NamedRequest, NamedTcp, Traffic

EDGE_LIMIT = 2000
"""Edges of one answer; the busiest are kept and the rest counted in `left_off`."""
ROW_LIMIT = 300
"""Rows of one detail answer."""
_PORTS_SHOWN = 16
_ADDRESSES_SHOWN = 16

TCP_ONLY = "tcp"
"""Protocol of an edge that has connections or attempts but no request yet."""

EdgeKey = tuple[str, str, str]


@dataclass(slots=True)
class Edge:
    """All rows between two nodes in one protocol."""

    total: Tally = field(default_factory=Tally)
    recent: Tally = field(default_factory=Tally)
    tcp: TcpTally = field(default_factory=TcpTally)
    recent_tcp: TcpTally = field(default_factory=TcpTally)
    ports: dict[int, int] = field(default_factory=dict)
    l4: set[str] = field(default_factory=set)
    rows: int = 0
    updated_ns: int = 0
    created_ns: int = 0
    certain: bool = True
    both_ends: bool = False

    def born(self, at_ns: int) -> None:
        self.created_ns = min(self.created_ns or at_ns, at_ns)


@dataclass(slots=True)
class Node:
    label: Label
    end: End
    addresses: dict[str, None] = field(default_factory=dict)
    asked: Tally = field(default_factory=Tally)
    answered: Tally = field(default_factory=Tally)
    recent_asked: Tally = field(default_factory=Tally)
    recent_answered: Tally = field(default_factory=Tally)


@dataclass(slots=True)
class Graph:
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: dict[EdgeKey, Edge] = field(default_factory=dict)

    def node(self, found: Label, end: End) -> Node:
        node = self.nodes.get(found.node_id)
        if node is None:
            node = self.nodes[found.node_id] = Node(found, end)
        if len(node.addresses) < _ADDRESSES_SHOWN:
            node.addresses[end.ip] = None
        return node


def edge_id(key: EdgeKey) -> str:
    """`source > destination > protocol`, ids as in the nodes."""
    return " > ".join(key)


def build_graph(level: Level, traffic: Traffic, baseline: Baseline | None) -> Graph:
    graph = Graph()
    for named in traffic.requests:
        _add_request(graph, level, named, baseline)
    # The protocol of a connection is in the request rows: TCP facts go to the busiest protocol on the same port.
    spoken: dict[tuple[str, str, int], EdgeKey] = {}
    for key, edge in sorted(graph.edges.items(), key=lambda item: item[1].total.requests):
        for port in edge.ports:
            spoken[(key[0], key[1], port)] = key
    for named_tcp in traffic.tcp:
        _add_tcp(graph, level, named_tcp, baseline, spoken)
    return graph


def _add_request(graph: Graph, level: Level, named: NamedRequest, baseline: Baseline | None) -> None:
    row, key = named.row, named.row.key
    source, destination = directed(key, named.ends)
    asking, answering = label(level, source, serving=False), label(level, destination, serving=True)
    edge_key = (asking.node_id, answering.node_id, key.protocol)
    edge = graph.edges.get(edge_key)
    if edge is None:
        edge = graph.edges[edge_key] = Edge()
    source_node, destination_node = graph.node(asking, source), graph.node(answering, destination)
    for tally in (edge.total, source_node.asked, destination_node.answered):
        tally.add(row, None)
    if baseline is not None:
        since = baseline.requests.get((key.index, key.generation))
        for tally in (edge.recent, source_node.recent_asked, destination_node.recent_answered):
            tally.add(row, since)
    edge.rows += 1
    edge.updated_ns = max(edge.updated_ns, row.last.ended_ns)
    edge.born(key.created_ns)
    edge.l4.add(key.l4)
    edge.certain = edge.certain and key.role is not Role.UNKNOWN
    edge.both_ends = edge.both_ends or key.peer is not None
    if len(edge.ports) < _PORTS_SHOWN or destination.port in edge.ports:
        edge.ports[destination.port] = edge.ports.get(destination.port, 0) + row.count


def _add_tcp(
    graph: Graph,
    level: Level,
    named: NamedTcp,
    baseline: Baseline | None,
    spoken: dict[tuple[str, str, int], EdgeKey],
) -> None:
    row, key = named.row, named.row.key
    source, destination = directed(key, named.ends)
    asking, answering = label(level, source, serving=False), label(level, destination, serving=True)
    edge_key = spoken.get((asking.node_id, answering.node_id, destination.port))
    if edge_key is None:
        edge_key = (asking.node_id, answering.node_id, TCP_ONLY)
        graph.node(asking, source)
        graph.node(answering, destination)
    edge = graph.edges.get(edge_key)
    if edge is None:
        edge = graph.edges[edge_key] = Edge()
        edge.l4.add(TCP_ONLY)
    edge.tcp.add(row, None)
    if baseline is not None:
        edge.recent_tcp.add(row, baseline.tcp.get((key.index, key.generation)))
    if edge_key[2] == TCP_ONLY:
        edge.rows += 1
        if len(edge.ports) < _PORTS_SHOWN:
            edge.ports.setdefault(destination.port, 0)
    edge.updated_ns = max(edge.updated_ns, row.updated_ns)
    edge.born(key.created_ns)


def topology_json(
    level: Level, traffic: Traffic, baseline: Baseline | None, limit: int = EDGE_LIMIT
) -> dict[str, Json]:
    """The whole graph; `window_seconds` is null and so is every `window` when nothing recent is known to compare with."""
    graph = build_graph(level, traffic, baseline)
    seconds = _window_seconds(traffic, baseline)
    ranked = sorted(
        graph.edges.items(),
        key=lambda item: (-item[1].recent.requests, -item[1].total.requests, -item[1].tcp.connect_failures, item[0]),
    )
    kept = sorted(ranked[:limit])
    used = {node_id for key, _ in kept for node_id in key[:2]}
    return {
        "version": API_VERSION,
        "level": level.value,
        "window_seconds": seconds,
        "counted_seconds": _counted_seconds(traffic),
        "nodes": [_node_json(node, seconds) for node_id, node in sorted(graph.nodes.items()) if node_id in used],
        "edges": [_edge_json(key, edge, traffic, seconds) for key, edge in kept],
        "left_off": max(0, len(ranked) - limit),
    }


def _counted_seconds(traffic: Traffic) -> float | None:
    """From the first row's creation to now: what a total is divided by for a rate since the start."""
    created = [named.row.key.created_ns for named in traffic.requests]
    created += [named.row.key.created_ns for named in traffic.tcp]
    return max(0, traffic.clock_ns - min(created)) / NANOSECONDS if created else None


def _window_seconds(traffic: Traffic, baseline: Baseline | None) -> float | None:
    return (traffic.clock_ns - baseline.clock_ns) / NANOSECONDS if baseline else None


def _node_json(node: Node, seconds: float | None) -> dict[str, Json]:
    party = node.end.party
    return {
        "id": node.label.node_id,
        "kind": node.label.kind,
        "title": node.label.title,
        "subtitle": node.label.subtitle,
        "namespace": party.namespace,
        "outside": party.outside,
        "node": party.node,
        "domain": party.domain,
        "process": node.end.process,
        "addresses": list(node.addresses),
        "answered": node_side_json(node.answered, node.recent_answered, seconds),
        "asked": node_side_json(node.asked, node.recent_asked, seconds),
    }


def node_side_json(total: Tally, recent: Tally, seconds: float | None) -> dict[str, Json]:
    return {
        "requests": total.requests,
        "errors": total.errors,
        "requests_per_second": _per_second(recent.requests, seconds),
        "errors_per_second": _per_second(recent.errors, seconds),
    }


def _edge_json(key: EdgeKey, edge: Edge, traffic: Traffic, seconds: float | None) -> dict[str, Json]:
    idle_ns = traffic.clock_ns - edge.updated_ns
    return {
        "id": edge_id(key),
        "source": key[0],
        "destination": key[1],
        "protocol": key[2],
        "l4": sorted(edge.l4),
        "ports": sorted(edge.ports),
        "certain_direction": edge.certain,
        "both_ends": edge.both_ends,
        "rows": edge.rows,
        "idle_seconds": max(0, idle_ns) / NANOSECONDS if edge.updated_ns else None,
        "age_seconds": max(0, traffic.clock_ns - edge.created_ns) / NANOSECONDS,
        "total": total_json(edge.total, traffic.bucket_ns),
        "window": window_json(edge.recent, edge.recent_tcp, traffic.bucket_ns, seconds),
        "tcp": tcp_json(edge.tcp),
    }


def total_json(tally: Tally, bucket_ns: Sequence[int]) -> dict[str, Json]:
    return {
        "requests": tally.requests,
        "errors": tally.errors,
        "slow": tally.slow,
        "no_response": tally.no_response,
        "request_bytes": tally.request_bytes,
        "response_bytes": tally.response_bytes,
        "duration_seconds": duration_json(tally, bucket_ns),
    }


def window_json(tally: Tally, tcp: TcpTally, bucket_ns: Sequence[int], seconds: float | None) -> dict[str, Json] | None:
    if not seconds:
        return None
    return {
        "requests": tally.requests,
        "requests_per_second": tally.requests / seconds,
        "errors_per_second": tally.errors / seconds,
        "slow_per_second": tally.slow / seconds,
        "request_bytes_per_second": tally.request_bytes / seconds,
        "response_bytes_per_second": tally.response_bytes / seconds,
        "duration_seconds": duration_json(tally, bucket_ns),
        "connect_failures": tcp.connect_failures,
        "retransmits": tcp.retransmits + tcp.synack_retransmits,
    }


def tcp_json(tcp: TcpTally) -> dict[str, Json]:
    return {
        "srtt_seconds": tcp.srtt_us / 1e6 if tcp.srtt_us else None,
        "connects": tcp.connects,
        "connect_seconds_mean": tcp.connect_ns / tcp.connects / NANOSECONDS if tcp.connects else None,
        "connect_failures": {errno_name(code): count for code, count in sorted(tcp.failures.items())},
        "retransmits": tcp.retransmits,
        "synack_retransmits": tcp.synack_retransmits,
        "drops": tcp.drops,
        "resets_sent": tcp.resets_sent,
        "resets_received": tcp.resets_received,
        "closed": tcp.closed,
    }


def errno_name(code: int) -> str:
    return errno.errorcode.get(code, str(code))


def _per_second(count: int, seconds: float | None) -> float | None:
    return count / seconds if seconds else None


def rows_json(
    level: Level, traffic: Traffic, baseline: Baseline | None, wanted: Callable[[EdgeKey], bool]
) -> dict[str, Json]:
    """The single rows (four-tuple, content, status) behind the edges of `level` whose key is `wanted`; busiest first."""
    seconds = _window_seconds(traffic, baseline)
    requests: list[NamedRequest] = []
    for named in traffic.requests:
        source, destination = directed(named.row.key, named.ends)
        asking, answering = label(level, source, serving=False), label(level, destination, serving=True)
        if wanted((asking.node_id, answering.node_id, named.row.key.protocol)):
            requests.append(named)
    tcp: list[NamedTcp] = []
    for named_tcp in traffic.tcp:
        source, destination = directed(named_tcp.row.key, named_tcp.ends)
        asking, answering = label(level, source, serving=False), label(level, destination, serving=True)
        if wanted((asking.node_id, answering.node_id, TCP_ONLY)):
            tcp.append(named_tcp)
    return _selected_json(level, traffic, baseline, seconds, requests, tcp)


def address_rows_json(traffic: Traffic, baseline: Baseline | None, ip: str, port: int) -> dict[str, Json]:
    """The rows that touch an address, and its port if that is not 0; busiest first."""

    def touches(source: End, destination: End) -> bool:
        if port:
            return destination.ip == ip and destination.port == port
        return ip in (source.ip, destination.ip)

    requests = [n for n in traffic.requests if touches(*directed(n.row.key, n.ends))]
    tcp = [n for n in traffic.tcp if touches(*directed(n.row.key, n.ends))]
    return _selected_json(Level.ADDRESS, traffic, baseline, _window_seconds(traffic, baseline), requests, tcp)


def _selected_json(
    level: Level,
    traffic: Traffic,
    baseline: Baseline | None,
    seconds: float | None,
    requests: Iterable[NamedRequest],
    tcp: Iterable[NamedTcp],
) -> dict[str, Json]:
    busiest = sorted(requests, key=lambda named: (-named.row.count, named.row.key.index))
    relations = sorted(tcp, key=lambda named: (-named.row.updated_ns, named.row.key.index))
    return {
        "version": API_VERSION,
        "level": level.value,
        "window_seconds": seconds,
        "rows": [_row_json(named, traffic, baseline, seconds) for named in busiest[:ROW_LIMIT]],
        "tcp": [_tcp_row_json(named) for named in relations[:ROW_LIMIT]],
        "left_off": max(0, len(busiest) - ROW_LIMIT) + max(0, len(relations) - ROW_LIMIT),
    }


def _row_json(named: NamedRequest, traffic: Traffic, baseline: Baseline | None, seconds: float | None) -> Json:
    row, key = named.row, named.row.key
    source, destination = directed(key, named.ends)
    total, recent = Tally(), Tally()
    total.add(row, None)
    if baseline is not None:
        recent.add(row, baseline.requests.get((key.index, key.generation)))
    last = row.last
    return {
        "source": end_json(source),
        "destination": end_json(destination),
        "protocol": key.protocol,
        "l4": key.l4,
        "seen_from": key.role.name.lower(),
        "request_content": key.request_content,
        "response_content": key.response_content,
        "status": key.status,
        "error": key.is_error,
        "slow": key.is_slow,
        "no_response": key.no_response,
        "overflow": key.overflow,
        "total": total_json(total, traffic.bucket_ns),
        "window": window_json(recent, TcpTally(), traffic.bucket_ns, seconds),
        "last": {
            "idle_seconds": max(0, traffic.clock_ns - last.ended_ns) / NANOSECONDS,
            "duration_seconds": last.duration_ns / NANOSECONDS,
            "phases_seconds": {
                "connect": last.connect_ns / NANOSECONDS,
                "request": last.request_ns / NANOSECONDS,
                "processing": last.processing_ns / NANOSECONDS,
                "response": last.response_ns / NANOSECONDS,
            },
        },
    }


def _tcp_row_json(named: NamedTcp) -> Json:
    row, key = named.row, named.row.key
    source, destination = directed(key, named.ends)
    tally = TcpTally()
    tally.add(row, None)
    error = key.error
    return {
        "source": end_json(source),
        "destination": end_json(destination),
        "seen_from": key.role.name.lower(),
        "overflow": key.overflow,
        "kind": "health" if error is None else "connect",
        "error": errno_name(error) if error else "",
        "error_text": os.strerror(error) if error else "",
        **tcp_json(tally),
    }
