# SPDX-License-Identifier: Apache-2.0
"""Engine CPU for a request of each protocol: what real programs once said, said over and over.

On each of some connections the second half of a conversation comes many times, and what the whole costs that comes once is
taken off: with it goes what a connection costs (opening, login, recognition, header tables that are new) and not a request.
So does the reading of the file, in whose place a live engine has a ring in memory.
"""

from __future__ import annotations

import statistics
import struct
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from analyzers import recording
from bench import engine
from bench.figures import Line, Section, Table, quick, spread
from tests import events
from tests.conversations import Conversation, events_of, load, load_all

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
"""Recordings of each protocol's everyday requests, the first of which has the line in the summary; all have a verdict."""
BUDGET_NS = 1000.0
VERDICT = {True: "kept", False: "**missed**"}
HANDSHAKE = "tls13"
_EVENTS = 200_000
_CONNECTIONS = 20
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


def told_of(conversation: Conversation) -> list[bytes]:
    """Its events, as a driver tells them."""
    return list(_datagrams(conversation) if conversation.datagrams else events_of(conversation))


def _to_ring(file: BinaryIO, made: Iterable[tuple[int, int, bytes]]) -> None:
    """Events with another time and connection in each."""
    for time_ns, number, event in made:
        padded = bytearray(event.ljust((len(event) + 7) & ~7, b"\0"))
        _HEAD.pack_into(padded, 0, time_ns, number)
        file.write(padded)


def write(path: Path, made: Sequence[bytes], connections: int) -> None:
    """The same events for one connection after the other."""
    times = [_HEAD.unpack_from(event)[0] for event in made]
    lasts = max(times) + _BETWEEN_NS
    with path.open("wb") as file:
        file.write(recording.pack_head("core", "made-up", 0))
        for number in range(1, connections + 1):
            _to_ring(file, ((number * lasts + at, number, event) for at, event in zip(times, made, strict=True)))


def write_mixed(path: Path, rounds: int) -> None:
    """All recorded conversations at once, event by event in the order of their times, so many times over."""
    talks = list(map(told_of, load_all()))
    told = [(_HEAD.unpack_from(event)[0], number, event) for number, talk in enumerate(talks, 1) for event in talk]
    one = sorted(told, key=lambda each: each[:2])
    lasts = one[-1][0] + _BETWEEN_NS
    with path.open("wb") as file:
        file.write(recording.pack_head("core", "made-up", 0))
        for turn in range(1, rounds + 1):
            _to_ring(file, ((turn * lasts + at, turn * len(talks) + number, event) for at, number, event in one))


def _halves(conversation: Conversation) -> tuple[Conversation, Conversation]:
    """Cut where the client asks after the server has spoken: at the first such turn from the middle on, else at the last one."""
    said = conversation.chunks
    turns = [at for at in range(1, len(said)) if said[at][0] == "client" and said[at - 1][0] == "server"]
    last = turns[-1] if turns else 0
    cut = next((at for at in turns if at >= len(said) // 2), last)
    return replace(conversation, chunks=said[:cut]), replace(conversation, chunks=said[cut:])


def _engine_ns(path: Path) -> tuple[int, int]:
    """Its CPU time over one replay without the reading, and the requests and exchanges it counted."""
    ns, state = engine.spent(path)
    return ns, state.stats["requests"] + state.stats["exchanges"]


def _said_again(second: Conversation, times: int) -> Iterable[tuple[str, bytes]]:
    """Its chunks so many times; of HTTP/2 with streams that follow on each other, as a stream is used only once."""
    if second.protocol not in {"http2", "grpc"}:
        yield from second.chunks * times
        return
    streams = max(map(max, (_streams(second.sent(side)) for side in ("client", "server")))) + 1
    for number in range(times):
        rest = {side: b"".join(_renumbered(second.sent(side), number * streams)) for side in ("client", "server")}
        for side, chunk in second.chunks:
            yield side, rest[side][: len(chunk)]
            rest[side] = rest[side][len(chunk) :]


def _frames(sent: Sequence[bytes]) -> Iterable[tuple[bytes, int, bytes]]:
    """Length, type and flags of each HTTP/2 frame, its stream, and what it carries (RFC 9113, section 4.1)."""
    data = b"".join(sent)
    while data:
        length, stream = int.from_bytes(data[:3], "big"), int.from_bytes(data[5:9], "big")
        yield data[:5], stream, data[9 : 9 + length]
        data = data[9 + length :]


def _streams(sent: Sequence[bytes]) -> list[int]:
    return [stream for _, stream, _ in _frames(sent)]


def _renumbered(sent: Sequence[bytes], by: int) -> Iterable[bytes]:
    for head, stream, payload in _frames(sent):
        yield head + (stream + by if stream else 0).to_bytes(4, "big") + payload


def costs(name: str, folder: Path, *, total: int, rounds: int) -> tuple[list[float], int]:
    """Nanoseconds of engine CPU for a request of that recording's second half, by round, and how many it has.

    RuntimeError if the engine does not count as many each time that the half comes: then it did other work than a request's.
    """
    first, second = _halves(load(name))
    times = 1 + max(1, total // _CONNECTIONS // len(told_of(second)))
    once, often = folder / f"{name}-once", folder / f"{name}-often"
    counted = []
    for path, repeated in ((once, 1), (often, times)):
        chunks = (*first.chunks, *_said_again(second, repeated))
        write(path, told_of(replace(first, chunks=chunks)), _CONNECTIONS)
        counted.append(_engine_ns(path)[1])
    requests = counted[1] - counted[0]
    each, odd = divmod(requests, (times - 1) * _CONNECTIONS)
    if not each or odd:
        raise RuntimeError(
            f"{name}: {counted[0]} requests with its second half once, {counted[1]} with it {times} times"
        )
    found = [(_engine_ns(often)[0] - _engine_ns(once)[0]) / requests for _ in range(rounds)]
    once.unlink()
    often.unlink()
    return found, each


def handshakes(folder: Path, *, connections: int, rounds: int) -> list[float]:
    """Nanoseconds of engine CPU for a connection that shakes hands and ends, by round."""
    path = folder / HANDSHAKE
    whole = load(HANDSHAKE)
    shaken = replace(whole, chunks=whole.chunks[:2])
    found: list[float] = []
    for count in (connections, 2 * connections):
        write(path, told_of(shaken), count)
        spent = [_engine_ns(path) for _ in range(rounds)]
        if {counted for _, counted in spent} != {count}:
            raise RuntimeError(f"{HANDSHAKE}: {spent[0][1]} handshakes counted of {count}")
        # The larger without the smaller: with that goes what a replay costs.
        found = (
            [ns - before for (ns, _), before in zip(spent, found, strict=True)] if found else [ns for ns, _ in spent]
        )
    path.unlink()
    return [ns / connections for ns in found]


def in_nanoseconds(found: Sequence[float]) -> str:
    return spread(found, lambda value: f"{value:,.0f} ns")


def run() -> Section:
    lines, rows = [], []
    with tempfile.TemporaryDirectory(prefix="firesteel-bench-") as folder:
        for protocol, names in TYPICAL.items():
            for name in names:
                total, rounds = (_EVENTS // 10, 2) if quick() else (_EVENTS, _ROUNDS)
                found, each = costs(name, Path(folder), total=total, rounds=rounds)
                middle = statistics.median(found)
                kept = middle <= BUDGET_NS
                rows.append((protocol, name, f"{each}", in_nanoseconds(found), VERDICT[kept]))
                if name == names[0]:
                    what = f"engine, a request of {protocol}"
                    lines.append(Line(what, f"{middle:,.0f} ns", "at most 1,000 ns", kept))
        mixed = Path(folder, "mixed")
        write_mixed(mixed, 20 if quick() else 400)
        lines.append(engine.measured("all recordings of parsers at once", mixed))
        found = handshakes(Path(folder), connections=_CONNECTIONS * (10 if quick() else 100), rounds=rounds)
        rows.append(("tls", HANDSHAKE, "a handshake", in_nanoseconds(found), ""))
    table = Table(
        "Engine time per request, by protocol",
        ("protocol", "recording", "requests of the second half", "CPU per request", "at most 1,000 ns"),
        rows,
        "CPU of the engine's process for the second half of each conversation, said over and over, without reading the recording. "
        "That of TLS is sealed; a handshake is there with all that a connection costs: opening, recognition, its names, its end.",
    )
    return Section(lines, (table,))
