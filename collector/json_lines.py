# SPDX-License-Identifier: Apache-2.0
"""What a line of JSON tells: a sampled request as the API tells it, and an edge with what it counted."""

import json
import time
from collections.abc import Iterator
from typing import Final

from analyzers.accounts import Account, Values, growth
from analyzers.edges import EdgeLabels
from analyzers.snapshot import Snapshot
from collector.api import Json, party_json, rfc3339, sample_json
from collector.export_keys import Jsonl
from exporters.jsonl import SCHEMA_VERSION, Sink, open_sink

_SECOND_NS: Final = 10**9
_LIMIT: Final = 16_384
"""Longest line; of a longer one the texts are left out."""


class JsonLines:
    """Writes what each snapshot brings."""

    def __init__(self, settings: Jsonl, before: "JsonLines | None" = None) -> None:
        """What `before`, which has ended, told of edges is not told again. Raises SinkError."""
        self.settings = settings
        self.sink: Sink = open_sink(settings.path, settings.max_size, settings.files)
        self.known: dict[int, Values] = before.known if before is not None else {}
        self._due = time.monotonic() + settings.interval / _SECOND_NS

    def close(self) -> None:
        self.sink.close()

    def turn(self, snapshot: Snapshot, wall_offset_ns: int) -> None:
        lines: list[bytes] = []
        if self.settings.requests:
            lines += [
                _line({"schema": SCHEMA_VERSION, "type": "request", **_one_ended(sample_json(named, wall_offset_ns))})
                for named in snapshot.samples
            ]
        if self.settings.edges and time.monotonic() >= self._due:
            self._due = time.monotonic() + self.settings.interval / _SECOND_NS
            lines += self._edges(snapshot, wall_offset_ns)
        if lines or self.sink.fault:
            self.sink.write(lines)

    def _edges(self, snapshot: Snapshot, wall_offset_ns: int) -> Iterator[bytes]:
        known, self.known = self.known, {}
        told = rfc3339((snapshot.clock_ns + wall_offset_ns) / _SECOND_NS)
        for account in snapshot.edges:
            before = known.get(account.id)
            self.known[account.id] = account.values
            if before != account.values:
                yield _line(_edge(account, before or (0,) * len(account.values), told))


def _edge(account: Account[EdgeLabels], before: Values, told: str) -> dict[str, Json]:
    labels, edge = account.labels, account.labels.edge
    count, duration_ns, request_bytes, response_bytes = growth(account.values, before)[:4]
    return {
        "schema": SCHEMA_VERSION,
        "type": "edge",
        "time": told,
        "source": {"ip": edge.src_ip, **party_json(edge.src)},
        "destination": {"ip": edge.dst_ip, "port": edge.dst_port, **party_json(edge.dst)},
        "dialled": {"ip": edge.dialled_ip, "port": edge.dialled_port},
        "protocol": edge.protocol,
        "l4": edge.l4,
        "status": labels.status_code,
        "error": labels.is_error,
        "slow": labels.is_slow,
        "requests": count,
        "duration_seconds": duration_ns / _SECOND_NS,
        "request_bytes": request_bytes,
        "response_bytes": response_bytes,
        "requests_total": account.count,
    }


def _one_ended(sample: dict[str, Json]) -> dict[str, Json]:
    """Without what only the live page needs."""
    for side in ("source", "destination"):
        end = sample[side]
        if isinstance(end, dict):
            sample[side] = {name: value for name, value in end.items() if name not in {"ids", "title"}}
    return sample


def _line(value: dict[str, Json]) -> bytes:
    """One line whatever is in the texts: JSON writes a newline as two characters, and what is no Unicode as an escape."""
    made = json.dumps(value, separators=(",", ":")).encode() + b"\n"
    if len(made) > _LIMIT:
        made = json.dumps({**value, "request_text": "", "response_text": ""}, separators=(",", ":")).encode() + b"\n"
    return made
