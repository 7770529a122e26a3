# SPDX-License-Identifier: Apache-2.0
"""The single rows (four-tuple, content, status) behind an edge, a node or an address. docs/api.md describes every field."""

import os
from collections.abc import Callable, Iterable

from collector.api import API_VERSION, Json, end_json
from collector.ends import End, Level, directed, label
from collector.rates import NANOSECONDS, Baseline, Tally, TcpTally
from collector.topology import TCP_ONLY, EdgeKey, errno_name, tcp_json, total_json, window_json, window_seconds
from collector.traffic import NamedRequest, NamedTcp, Traffic

ROW_LIMIT = 300
"""Rows of one answer."""


def rows_json(
    level: Level, traffic: Traffic, baseline: Baseline | None, wanted: Callable[[EdgeKey], bool]
) -> dict[str, Json]:
    """The single rows (four-tuple, content, status) behind the edges of `level` whose key is `wanted`; busiest first."""
    seconds = window_seconds(traffic, baseline)
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
    return _selected_json(Level.ADDRESS, traffic, baseline, window_seconds(traffic, baseline), requests, tcp)


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
