# SPDX-License-Identifier: Apache-2.0
"""What watching costs the watched: the same load with and without the agent, in turn.

Both ends of every load are on this machine and share its cores with the agent: the worst case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from bench import agent
from bench.figures import Line, Pair, Section, Table, kept_above, median_ratio, quick, spread
from tests import clients, servers
from tests.servers import Server


@dataclass(frozen=True, slots=True)
class Load:
    """A server, and what a client gets out of it (a rate, the higher the better)."""

    name: str
    title: str
    unit: str
    serve: Callable[[], AbstractContextManager[Server]]
    rate: Callable[[Server], float]
    budget: float | None = None


def _seconds() -> int:
    return 2 if quick() else 5


LOADS = (
    Load(
        "nginx",
        "nginx at saturation by wrk, keep-alive, 32 connections",
        "requests/s",
        servers.nginx,
        lambda server: clients.wrk(server, seconds=_seconds()).rate,
        0.92,
    ),
    Load(
        "redis",
        "redis-server at saturation by redis-benchmark, GET, 32 connections",
        "commands/s",
        servers.redis,
        lambda server: clients.redis_benchmark(server, requests=60_000 * _seconds()),
    ),
    Load(
        "redis-pipelined",
        "the same with 16 commands in flight on each connection",
        "commands/s",
        servers.redis,
        lambda server: clients.redis_benchmark(server, requests=400_000 * _seconds(), pipeline=16),
    ),
    Load(
        "iperf3",
        "iperf3, one TCP stream over loopback",
        "Gbit/s",
        servers.iperf3,
        lambda server: clients.iperf3(server, seconds=_seconds()) / 1e9,
    ),
)


@contextmanager
def _agent_if(wanted: bool) -> Iterator[None]:
    if wanted:
        with agent.running():
            yield
    else:
        yield


def measure(load: Load, rounds: int) -> list[Pair]:
    """`rounds` pairs on one server; which of the two comes first changes from pair to pair."""
    pairs = []
    with load.serve() as server:
        load.rate(server)  # warms caches and the frequency governor; not counted
        for number in range(rounds):
            rates = {}
            for wanted in (False, True) if number % 2 == 0 else (True, False):
                with _agent_if(wanted):
                    rates[wanted] = load.rate(server)
            pairs.append(Pair(rates[False], rates[True]))
    return pairs


def run() -> Section:
    rounds = 3 if quick() else 7
    lines, tables, recorded = [], [], {}
    for load in LOADS:
        pairs = measure(load, rounds)
        ratio = median_ratio(pairs)
        recorded[f"overhead.{load.name}"] = round(ratio, 4)
        lines.append(
            Line(
                f"{load.title}: rate with agent / without",
                spread([pair.ratio for pair in pairs], "{:.3f}".format),
                f"at least {load.budget}" if load.budget else "",
                kept_above(ratio, load.budget) if load.budget else None,
            )
        )
        rows = [[f"{p.without:,.1f}", f"{p.with_agent:,.1f}", f"{p.ratio:.3f}"] for p in pairs]
        tables.append(Table(f"{load.title} ({load.unit})", ("without", "with agent", "ratio"), rows))
    return Section(lines, tables, recorded)
