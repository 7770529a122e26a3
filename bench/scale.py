# SPDX-License-Identifier: Apache-2.0
"""`make bench-scale`: what the names of a large cluster cost an agent, the names service and the API server, into docs/scale.md.

Agent, service and API server are processes of their own. The server is the tests' (tests/fake_kube.py), with objects of the
size of real ones, lists packed as a real server packs them, and changes as a cluster makes them.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import conntrack, machine
from bench.scale_cluster import CHANGES_PER_SECOND, serve
from bench.scale_costs import Child, Cost, agent_cost, follow, service_cost

ROOT = Path(__file__).resolve().parent.parent
PODS, SERVICES, NODES = 10_000, 1_000, 500
LARGE = 5_000
"""Nodes to extrapolate to, with as many pods on each."""
BUDGET_MIB, LIMIT_MIB, SERVICE_LIMIT_MIB = 320, 400, 1024
"""An agent's `budget.memory` by default, its container's limit in the chart, and that of the names service there."""
REST_MIB = 100
"""What an agent is besides the names: agent and engine at 5000 requests/s with the client of the API, when the soak began (docs/soak.md)."""
_MIB = 1 << 20
_HOUR = 3600
_WATCH_SECONDS = 270
"""After so long in the mean a watch is asked for anew."""
_WATCHES, _SERVICE_WATCHES = 7, 6


def table(costs: dict[str, Cost]) -> Iterator[str]:
    yield "| | " + " | ".join(costs) + " |"
    yield "|---|" + "---|" * len(costs)
    rows = {
        "start to complete, s": [f"{cost.complete_seconds:.1f}" for cost in costs.values()],
        "processor time for that, s": [f"{cost.start_cpu_seconds:.1f}" for cost in costs.values()],
        "memory for names, MiB (service: all of it)": [f"{cost.memory_mib:.0f}" for cost in costs.values()],
        f"with the {REST_MIB} MiB that an agent is besides": [
            f"{REST_MIB + cost.memory_mib:.0f}" if name.startswith("agent") else "" for name, cost in costs.items()
        ],
        f"of one core at {CHANGES_PER_SECOND} pod changes/s": [f"{cost.change_cpu:.2%}" for cost in costs.values()],
        "requests to the API server at the start": [str(cost.start_requests) for cost in costs.values()],
        "MiB of its answers, unpacked, at the start": [f"{cost.start_bytes / _MIB:.1f}" for cost in costs.values()],
        "MiB of them in an hour of such changes": [
            f"{cost.change_bytes * _HOUR / _MIB:.0f}" for cost in costs.values()
        ],
        "MiB from the names service at the start": [f"{cost.names_start_bytes / _MIB:.2f}" for cost in costs.values()],
        "MiB from it in such an hour": [f"{cost.names_change_bytes * _HOUR / _MIB:.0f}" for cost in costs.values()],
    }
    for name, values in rows.items():
        yield f"| {name} | " + " | ".join(values) + " |"


def extrapolated(alone: Cost, service: Cost, follows: Cost, nodes: int) -> Iterator[str]:
    """To a cluster of LARGE nodes, of the same number of pods on each, and of as many changes for each."""
    scale = LARGE / nodes
    gib = 1 << 30
    own = follows.start_bytes / _MIB
    alone_start, alone_hour = LARGE * alone.start_bytes * scale / gib, LARGE * alone.change_bytes * scale * _HOUR / gib
    with_start = (2 * service.start_bytes * scale + LARGE * follows.start_bytes) / gib
    with_hour = (2 * service.change_bytes * scale + LARGE * follows.change_bytes) * _HOUR / gib
    names_start, names_hour = (
        LARGE * follows.names_start_bytes * scale / gib,
        LARGE * follows.names_change_bytes * scale * _HOUR / gib,
    )
    yield f"| At {LARGE} nodes, {int(PODS * scale)} pods, {int(CHANGES_PER_SECOND * scale)} changes/s | every agent asks the API server | two names services |"
    yield "|---|---|---|"
    pages = [
        2 * watches + (cost.start_requests - 2 * watches) * scale
        for watches, cost in ((_WATCHES, alone), (_SERVICE_WATCHES, service))
    ]
    requests = f"{LARGE * pages[0]:.0f} | {2 * pages[1] + LARGE * follows.start_requests:.0f}"
    yield f"| requests when all agents start | {requests} |"
    hourly = [_HOUR / _WATCH_SECONDS * watches for watches in (LARGE * _WATCHES, 2 * _SERVICE_WATCHES + LARGE)]
    yield f"| requests in an hour | {hourly[0]:.0f} | {hourly[1]:.0f} |"
    yield f"| GiB of the API server's answers then, unpacked | {alone_start:.0f} | {with_start:.1f} ({own:.2f} MiB for each agent's own pods) |"
    yield f"| GiB of them in an hour | {alone_hour:.0f} | {with_hour:.1f} |"
    yield f"| GiB from the names services when all agents start | none | {names_start:.1f} |"
    yield f"| GiB from them in an hour | none | {names_hour:.0f} |"
    names = [cost.memory_mib * scale for cost in (alone, follows)]
    yield f"| memory for names of an agent, MiB | {names[0]:.0f} | {names[1]:.0f} |"
    yield f"| with the {REST_MIB} MiB that an agent is besides | {_held(names[0])} | {_held(names[1])} |"
    yield f"| memory of a names service, GiB, at most | none | {service.memory_mib * scale / 1024:.1f} (limit in the chart: {SERVICE_LIMIT_MIB / 1024:.0f}) |"


def _held(names_mib: float) -> str:
    """An agent's memory, and what it is too much for."""
    whole = REST_MIB + names_mib
    over = [
        name
        for name, most in (("`budget.memory`", BUDGET_MIB), ("the container's limit", LIMIT_MIB))
        if round(whole) > most
    ]
    return f"{whole:.0f}, above {' and '.join(over)}" if over else f"{whole:.0f}"


def memory_advice(alone: Cost, follows: Cost, nodes: int) -> Iterator[str]:
    """What an agent of that large a cluster has to be given."""
    scale = LARGE / nodes
    needs = [64 * math.ceil(1.2 * (REST_MIB + cost.memory_mib * scale) / 64) for cost in (follows, alone)]
    yield f"Memory is not within the budget there by itself. Above `budget.memory` ({BUDGET_MIB} MiB by default) an agent does less: it drops the labels"
    yield "of single pods in the end, though names are what fills it. Above its container's limit"
    yield f"({LIMIT_MIB} MiB in the chart) it is killed. In a cluster of that size give it, with the names service, `budget.memory: {needs[0]}MiB`"
    yield f"(without: {needs[1]}MiB), which has a fifth of room, and a limit that is 80 MiB higher; the names service a limit of twice what is told above."


def report(
    costs: dict[str, Cost], load: float, sizes: tuple[int, int, int], seconds: float, translations: Sequence[str]
) -> str:
    alone, follows, service = costs.values()
    pods, services, nodes = sizes
    told = dict(machine.description("none", (load, "not asked"), ROOT))
    busy = "**The machine was busy meanwhile: times and shares of a core are too high.** " if load > 0.5 else ""
    lines = [
        "<!-- Made by `make bench-scale`. Do not edit. -->",
        "# Names of a large cluster, and what they cost",
        "",
        f"{pods} pods, {services} Services, {nodes} nodes, {CHANGES_PER_SECOND} pod changes/s for {seconds:.0f} s (half of them updates that change no",
        "name, a quarter new pods, a quarter ends). Pods are of 6 KB, lists come in pages of 1000, packed as the API server does.",
        f"{busy}{told['Processor']}, {told['System']}, load {load:.1f} before, {time.strftime('%Y-%m-%d', time.gmtime())}, {told['Firesteel']}.",
        "",
        *table(costs),
        "",
        f"The agent's budget: complete within 5 s, 0.5 % of a core at {CHANGES_PER_SECOND} changes/s, and of memory what `budget.memory` leaves for the names:",
        f"{BUDGET_MIB - REST_MIB} MiB of its default of {BUDGET_MIB}. An agent's memory for names is what its process grows by from before the first request until after",
        f"the changes. What it is besides: about {REST_MIB} MiB, agent and engine under load with the client of the API ([soak](soak.md)).",
        "",
        f"A watch is asked for anew every four to five minutes: {_WATCHES} watches are about {_HOUR / _WATCH_SECONDS * _WATCHES:.0f} requests an hour for an agent that asks the API server,",
        f"1 watch is {_HOUR / _WATCH_SECONDS:.0f} for one that follows the names service, and {_SERVICE_WATCHES} watches are {_HOUR / _WATCH_SECONDS * _SERVICE_WATCHES:.0f} for each service.",
        "",
        "## Extrapolated",
        "",
        "Bytes and requests by proportion: what is told of the whole cluster grows with it, and is told to every agent.",
        "",
        *extrapolated(alone, service, follows, nodes),
        "",
        *memory_advice(alone, follows, nodes),
        "",
        "## Translations",
        "",
        "What the engine takes to read what conntrack tells, by its own clock (a busy machine adds to it):",
        "",
        *translations,
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="of changes, for each")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "scale.md")
    parser.add_argument(
        "--sizes", type=int, nargs=3, default=(PODS, SERVICES, NODES), metavar=("PODS", "SERVICES", "NODES")
    )
    given = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="firesteel-scale-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = Child("serve", name, *map(str, given.sizes))
        try:
            server.hear()
            warm = Child("follow", name, "")  # the server packs its lists once
            warm.ask()
            warm.end()
            alone = agent_cost(server, folder, "", given.seconds)
            service, follows = service_cost(folder, server, given.seconds)
        finally:
            server.end()
    costs = {
        "agent that asks the API server": alone,
        "agent that follows the names service": follows,
        "names service": service,
    }
    text = report(costs, load, tuple(given.sizes), given.seconds, conntrack.lines())
    given.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(Path(sys.argv[2]), *map(int, sys.argv[3:6]))
    elif sys.argv[1:2] == ["follow"]:
        follow(Path(sys.argv[2]), sys.argv[3])
    else:
        main()
