# SPDX-License-Identifier: Apache-2.0
"""Nodes and edges at one level, with totals and rates, out of the table's rows. docs/api.md describes every field."""

import errno
from collections.abc import Sequence
from dataclasses import dataclass, field

from analyzers.rows import Role
from collector.api import API_VERSION, Json
from collector.ends import End, Label, Level, directed, label
from collector.rates import NANOSECONDS, Baseline, Tally, TcpTally, duration_json
from collector.traffic import NamedRequest, NamedTcp, Traffic

EDGE_LIMIT = 2000
"""Edges of one answer; the busiest are kept and the rest counted in `left_off`."""
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
class Side:
    """Requests that a node asked, or answered: the sum of its edges."""

    requests: int = 0
    errors: int = 0
    recent_requests: int = 0
    recent_errors: int = 0

    def add(self, edge: Edge) -> None:
        self.requests += edge.total.requests
        self.errors += edge.total.errors
        self.recent_requests += edge.recent.requests
        self.recent_errors += edge.recent.errors


@dataclass(slots=True)
class Node:
    label: Label
    end: End
    addresses: dict[str, None] = field(default_factory=dict)
    asked: Side = field(default_factory=Side)
    answered: Side = field(default_factory=Side)


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
    graph, spoken = Graph(), _Spoken()
    for named in traffic.requests:
        _add_request(graph, level, named, baseline, spoken)
    # The protocol of a connection is in the request rows: TCP facts go to the busiest protocol on the same port.
    for key, edge in sorted(graph.edges.items(), key=lambda item: item[1].total.requests):
        for port in edge.ports:
            spoken.between[(key[0], key[1], port)] = key
    # Relations that the kernel told without a process (resets in softirq) come last: they look for a known edge.
    for named_tcp in sorted(traffic.tcp, key=_is_nameless):
        _add_tcp(graph, level, named_tcp, baseline, spoken)
    for (source, destination, _), edge in graph.edges.items():
        graph.nodes[source].asked.add(edge)
        graph.nodes[destination].answered.add(edge)
    return graph


@dataclass(slots=True)
class _Spoken:
    """Which edge a TCP relation belongs to: by both nodes and the server's port, or by the serving side alone."""

    between: dict[tuple[str, str, int], EdgeKey] = field(default_factory=dict)
    by_address: dict[tuple[str, int], set[EdgeKey]] = field(default_factory=dict)
    """By address and port of the serving side: a relation of no process has no domain, so its node is another one."""

    def at(self, destination: str, port: int) -> EdgeKey | None:
        """The edge to this port, if there is only one."""
        found = {
            key for (_, serving, at_port), key in self.between.items() if (serving, at_port) == (destination, port)
        }
        return found.pop() if len(found) == 1 else None

    def at_address(self, ip: str, port: int) -> EdgeKey | None:
        """The edge to this address and port, if there is only one."""
        found = self.by_address.get((ip, port), set())
        return next(iter(found)) if len(found) == 1 else None


def _is_nameless(named: NamedTcp) -> bool:
    """Whether it tells neither a process nor a name for an asking end of this host."""
    source, _ = directed(named.row.key, named.ends)
    party = source.party
    return not (source.process or party.workload_name or party.service or party.pod or party.outside)


def _add_request(graph: Graph, level: Level, named: NamedRequest, baseline: Baseline | None, spoken: _Spoken) -> None:
    row, key = named.row, named.row.key
    source, destination = directed(key, named.ends)
    asking, answering = label(level, source, serving=False), label(level, destination, serving=True)
    edge_key = (asking.node_id, answering.node_id, key.protocol)
    spoken.by_address.setdefault((destination.ip, destination.port), set()).add(edge_key)
    edge = graph.edges.get(edge_key)
    if edge is None:
        edge = graph.edges[edge_key] = Edge()
    graph.node(asking, source)
    graph.node(answering, destination)
    edge.total.add(row, None)
    if baseline is not None:
        edge.recent.add(row, baseline.requests.get((key.index, key.generation)))
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
    spoken: _Spoken,
) -> None:
    row, key = named.row, named.row.key
    source, destination = directed(key, named.ends)
    asking, answering = label(level, source, serving=False), label(level, destination, serving=True)
    place = (asking.node_id, answering.node_id, destination.port)
    edge_key = spoken.between.get(place)
    if edge_key is None and _is_nameless(named):
        edge_key = spoken.at(answering.node_id, destination.port) or spoken.at_address(destination.ip, destination.port)
        if edge_key is None and not destination.party.outside:
            return  # an edge from nobody to this host itself says nothing; the address's own rows still tell it
    if edge_key is None:
        edge_key = spoken.between[place] = (asking.node_id, answering.node_id, TCP_ONLY)
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
    seconds = window_seconds(traffic, baseline)
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


def window_seconds(traffic: Traffic, baseline: Baseline | None) -> float | None:
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
        "answered": _side_json(node.answered, seconds),
        "asked": _side_json(node.asked, seconds),
    }


def _side_json(side: Side, seconds: float | None) -> dict[str, Json]:
    return {
        "requests": side.requests,
        "errors": side.errors,
        "requests_per_second": _per_second(side.recent_requests, seconds),
        "errors_per_second": _per_second(side.recent_errors, seconds),
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
