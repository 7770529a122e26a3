# SPDX-License-Identifier: Apache-2.0
"""Captures through the reader and an engine in the test's own process."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from analyzers.packets.conversion import CaptureAccount, Conversion
from tests.inprocess import InProcessEngine, Row, TcpRow

HEAD_BYTES = 104


@dataclass(frozen=True, slots=True)
class Replayed:
    """`events` are the made ones, without padding."""

    account: CaptureAccount
    events: list[bytes]
    rows: list[Row]
    tcp: list[TcpRow]
    stats: dict[str, int]

    @property
    def counts(self) -> dict[tuple[str, str, str], int]:
        """Requests by protocol, content and response."""
        found: dict[tuple[str, str, str], int] = {}
        for row in self.rows:
            if row.count:
                key = (row.protocol, row.request, row.response)
                found[key] = found.get(key, 0) + row.count
        return found


def events_of(path: Path) -> tuple[CaptureAccount, list[bytes]]:
    pieces: list[bytes] = []
    conversion = Conversion(path)
    with closing(conversion):
        conversion.run(pieces.append)
    raw = b"".join(pieces)[HEAD_BYTES:]
    events: list[bytes] = []
    while raw:
        size = int.from_bytes(raw[40:44], "little")
        events.append(raw[:size])
        raw = raw[(size + 7) & ~7 :]
    return conversion.account, events


def replayed(path: Path, **settings: int) -> Replayed:
    account, events = events_of(path)
    with InProcessEngine(**settings) as engine:
        tick_ns = 0
        for event in events:
            now_ns = int.from_bytes(event[:8], "little")
            if now_ns - tick_ns >= 10_000_000:
                tick_ns = now_ns
                engine.tick(now_ns)
            engine.feed([event])
        engine.finish()
        stats = engine.stats()
        assert "events_invalid" not in stats
        return Replayed(account, events, engine.rows(), engine.tcp_rows(), stats)
