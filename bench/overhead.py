# SPDX-License-Identifier: Apache-2.0
"""What watching costs the watched: the same load with and without the agent, in turn.

Both ends of every load are on this machine and share its cores with the agent: the worst case. Next to the rate stands
the CPU time that server, client and agent together took for each unit of work: what else runs on the machine changes
it less than a rate.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from bench import agent
from bench.figures import Line, Pair, Section, Table, kept_above, median_ratio, quick, spread
from bench.processes import tree_cpu_seconds
from tests import clients, servers
from tests.servers import Server


@dataclass(frozen=True, slots=True)
class Done:
    """What one run of a client did: units of work, and their rate by the client's own clock."""

    units: float
    rate: float


@dataclass(frozen=True, slots=True)
class Load:
    """A server, and a client that gets as much out of it as it can."""

    name: str
    title: str
    unit: str
    serve: Callable[[], AbstractContextManager[Server]]
    run: Callable[[Server], Done]
    budget: float | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """One pair: rates, and CPU seconds of server, client and agent for each unit of work."""

    rate: Pair
    cpu: Pair


def _seconds() -> int:
    return 2 if quick() else 5


def _wrk(server: Server) -> Done:
    load = clients.wrk(server, seconds=_seconds())
    return Done(load.requests, load.rate)


def _redis(requests: int, pipeline: int) -> Callable[[Server], Done]:
    def run(server: Server) -> Done:
        count = requests * _seconds()
        return Done(count, clients.redis_benchmark(server, requests=count, pipeline=pipeline))

    return run


def _iperf3(server: Server) -> Done:
    rate = clients.iperf3(server, seconds=_seconds()) / 1e9
    return Done(rate * _seconds(), rate)


LOADS = (
    Load("nginx", "nginx at saturation by wrk, keep-alive, 32 connections", "requests/s", servers.nginx, _wrk, 0.92),
    Load(
        "redis",
        "redis-server at saturation by redis-benchmark, GET, 32 connections",
        "commands/s",
        servers.redis,
        _redis(60_000, 1),
    ),
    Load(
        "redis-pipelined",
        "the same with 16 commands in flight on each connection",
        "commands/s",
        servers.redis,
        _redis(400_000, 16),
    ),
    Load("iperf3", "iperf3, one TCP stream over loopback", "Gbit/s", servers.iperf3, _iperf3),
)


@contextmanager
def _agent_if(wanted: bool) -> Iterator[agent.RunningAgent | None]:
    if wanted:
        with agent.running() as running:
            yield running
    else:
        yield None


def _once(load: Load, server: Server, running: agent.RunningAgent | None) -> tuple[float, float]:
    """Rate, and CPU seconds of server, client and agent for a unit of work."""
    before = _spent(server, running)
    done = load.run(server)
    return done.rate, (_spent(server, running) - before) / done.units


def _spent(server: Server, running: agent.RunningAgent | None) -> float:
    return tree_cpu_seconds(server.pid) + _children_seconds() + (running.cpu_seconds() if running else 0.0)


def _children_seconds() -> float:
    """CPU time of this process's children that ended: the client is one, the agent ends outside of the measured run."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(load: Load, rounds: int) -> list[Round]:
    """`rounds` pairs on one server; which of the two comes first changes from pair to pair."""
    pairs = []
    with load.serve() as server:
        load.run(server)  # warms caches and the frequency governor; not counted
        for number in range(rounds):
            found = {}
            for wanted in (False, True) if number % 2 == 0 else (True, False):
                with _agent_if(wanted) as running:
                    found[wanted] = _once(load, server, running)
            (rate, cpu), (rate_with, cpu_with) = found[False], found[True]
            pairs.append(Round(Pair(rate, rate_with), Pair(cpu, cpu_with)))
    return pairs


def _lines(load: Load, rounds: Sequence[Round]) -> list[Line]:
    rates, cpus = [one.rate for one in rounds], [one.cpu for one in rounds]
    budget = f"at least {load.budget}" if load.budget else ""
    kept = kept_above(median_ratio(rates), load.budget) if load.budget else None
    return [
        Line(f"{load.title}: rate with agent / without", _ratios(rates), budget, kept),
        Line(f"{load.title}: CPU of server, client and agent per unit, with agent / without", _ratios(cpus)),
    ]


def _ratios(pairs: Sequence[Pair]) -> str:
    return spread([pair.ratio for pair in pairs], "{:.3f}".format)


def _table(load: Load, rounds: Sequence[Round]) -> Table:
    head = ("without", "with agent", "ratio", "CPU without, microseconds per unit", "CPU with", "ratio")
    rows = [
        [
            f"{one.rate.without:,.1f}",
            f"{one.rate.with_agent:,.1f}",
            f"{one.rate.ratio:.3f}",
            f"{one.cpu.without * 1e6:,.2f}",
            f"{one.cpu.with_agent * 1e6:,.2f}",
            f"{one.cpu.ratio:.3f}",
        ]
        for one in rounds
    ]
    return Table(f"{load.title} ({load.unit})", head, rows)


def run() -> Section:
    count = 3 if quick() else 7
    lines, tables, recorded = [], [], {}
    for load in LOADS:
        rounds = measure(load, count)
        recorded[f"overhead.{load.name}"] = round(median_ratio([one.rate for one in rounds]), 4)
        recorded[f"overhead.{load.name}.cpu"] = round(median_ratio([one.cpu for one in rounds]), 4)
        lines += _lines(load, rounds)
        tables.append(_table(load, rounds))
    return Section(lines, tables, recorded)
