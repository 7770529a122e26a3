# SPDX-License-Identifier: Apache-2.0
"""Engine CPU for a request of each protocol: what real programs once said, said again on thousands of connections.

It is the cost of the second half of each conversation: the first half, replayed by itself, is taken off, and with it what
a connection costs (opening, login, recognition, names and header tables that are new) and not a request. So is the
reading of the file, in whose place a live engine has a ring in memory.
"""

from __future__ import annotations

import statistics
import struct
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from analyzers import recording
from bench import engine
from bench.figures import Line, Section, Table, quick, spread
from tests import events
from tests.conversations import Conversation, events_of, load

TYPICAL = {
    "http": ("http-wrk-nginx", "http-curl-nginx"),
    "http2": ("http2-h2load-nginx",),
    "grpc": ("grpc-unary",),
    "dns": ("dns-dig-udp", "dns-dig-tcp"),
    "tls": ("tls12", "tls13"),
    "websocket": ("http-websocket",),
    "mysql": ("mysql-pymysql", "mysql-prepared"),
    "postgresql": ("postgresql-pgbench-simple", "postgresql-pgbench-extended", "postgresql-pgbench-prepared"),
    "mongodb": ("mongodb-pymongo",),
    "redis": ("redis-resp2", "redis-resp3", "redis-pipelined"),
    "memcached": ("memcached-pymemcache", "memcached-packets"),
    "kafka": ("kafka-topics", "kafka-groups"),
    "rocketmq": ("rocketmq-work-json", "rocketmq-work-binary"),
    "dubbo": ("dubbo-hessian2", "dubbo-fastjson2"),
    "amqp": ("amqp-work",),
    "mqtt": ("mqtt-work-3", "mqtt-work-5"),
}
"""Recordings of each protocol's everyday requests, the first of which has the line in the summary."""
BUDGET_NS = 1000.0
_EVENTS = 200_000
_ROUNDS = 5
_BETWEEN_NS = 1_000_000
_HEAD = struct.Struct("<QQ")  # time and connection of struct fs_head
_SERVER, _CLIENT = ("10.0.0.2", 53), ("10.0.0.1", 40000)


def _datagrams(conversation: Conversation) -> Iterable[bytes]:
    yield events.open_event(0, 1, _SERVER, ("0.0.0.0", 0), l4="udp", comm="server", pid=5)
    for number, (side, data) in enumerate(conversation.chunks, 1):
        direction = events.OUT if side == "server" else events.IN
        yield events.datagram(number * 1000, 1, direction, _SERVER, _CLIENT, data, pid=5)
    yield events.close(len(conversation.chunks) * 1000 + 1000, 1)


def _once(conversation: Conversation) -> list[bytes]:
    return list(_datagrams(conversation) if conversation.datagrams else events_of(conversation))


def write(path: Path, once: Sequence[bytes], connections: int) -> None:
    """The same events for one connection after the other."""
    lasts = max(_HEAD.unpack_from(event)[0] for event in once) + _BETWEEN_NS
    padded = [bytearray(event.ljust((len(event) + 7) & ~7, b"\0")) for event in once]
    times = [_HEAD.unpack_from(event)[0] for event in once]
    with path.open("wb") as file:
        file.write(recording.pack_head("core", "made-up", 0))
        for number in range(1, connections + 1):
            for event, time_ns in zip(padded, times, strict=True):
                _HEAD.pack_into(event, 0, number * lasts + time_ns, number)
                file.write(event)


def _first_half(conversation: Conversation) -> Conversation:
    """Up to the first turn from the middle on, at which the client asks after the server has spoken; else the last one."""
    said = conversation.chunks
    turns = [at for at in range(1, len(said)) if said[at][0] == "client" and said[at - 1][0] == "server"]
    last = turns[-1] if turns else 0
    return replace(conversation, chunks=said[: next((at for at in turns if at >= len(said) // 2), last)])


def _reading_ns(path: Path) -> int:
    """CPU time to have the file's bytes in memory."""
    block = bytearray(1 << 18)
    began = time.process_time_ns()
    with path.open("rb", buffering=0) as file:
        while file.readinto(block):
            pass
    return time.process_time_ns() - began


def _engine_ns(path: Path) -> tuple[int, int]:
    """Its CPU time over one replay without the reading, and the requests and exchanges it counted."""
    state = engine.replayed(path)
    return state.cpu_ns - _reading_ns(path), state.stats["requests"] + state.stats["exchanges"]


def costs(name: str, folder: Path, *, total: int, rounds: int) -> tuple[list[float], int]:
    """Nanoseconds of engine CPU for a request of that recording's second half, by round, and how many it has."""
    conversation = load(name)
    once = _once(conversation)
    connections = max(1, total // len(once))
    whole, half = folder / name, folder / f"{name}-half"
    write(whole, once, connections)
    write(half, _once(_first_half(conversation)), connections)
    found = []
    for _ in range(rounds):
        (spent, requests), (before_ns, before) = _engine_ns(whole), _engine_ns(half)
        if requests <= before:
            raise RuntimeError(f"the engine counted no request in the second half of {name}")
        found.append((spent - before_ns) / (requests - before))
    whole.unlink()
    half.unlink()
    return found, (requests - before) // connections


def run() -> Section:
    lines, rows = [], []
    with tempfile.TemporaryDirectory(prefix="firesteel-bench-") as folder:
        for protocol, names in TYPICAL.items():
            for name in names:
                total, rounds = (_EVENTS // 10, 2) if quick() else (_EVENTS, _ROUNDS)
                found, each = costs(name, Path(folder), total=total, rounds=rounds)
                rows.append((protocol, name, f"{each}", spread(found, lambda value: f"{value:,.0f} ns")))
                if name == names[0]:
                    middle = statistics.median(found)
                    what = f"engine, a request of {protocol}"
                    lines.append(Line(what, f"{middle:,.0f} ns", "at most 1,000 ns", middle <= BUDGET_NS))
    table = Table(
        "Engine time per request, by protocol",
        ("protocol", "recording", "requests of the second half", "CPU per request"),
        rows,
        "CPU of the engine's process for what comes after the first half of each conversation, without reading the recording.",
    )
    return Section(lines, (table,))
