# SPDX-License-Identifier: Apache-2.0
"""`make soak`: an agent under load for as long as wished, with churn of connections, pods and paths, scraped, pushing.

It fails if memory grows by 1 MiB an hour or more after the warm-up, if descriptors or threads grow, or if a count falls. The
readings go to build/soak.csv, the graph and the verdict to the folder that --out names.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import pairwise
from pathlib import Path

from tests.agents import Agent, running_agent
from tests.clients import wrk
from tests.fake_kube import FakeKube, fake_kube, kubeconfig
from tests.pods import container, described
from tests.receivers import Receiver, http_receiver
from tests.servers import Server, nginx, program

EVERY_SECONDS = 5.0
WARM_UP = 0.25
MOST_MIB_AN_HOUR = 1.0
SHORTEST_VERDICT_SECONDS = 1800.0
"""A line through less than half an hour of readings says little."""
_PAGE = 4096
_LIVING_PODS = 10
# Keep-alive but for each two hundredth request; the answer of nginx to an unknown path is as quick as any.
_PATHS = """
local n = 0
request = function()
  n = n + 1
  local headers = n % 200 == 0 and { Connection = "close" } or {}
  return wrk.format("GET", "/" .. string.char(97 + n % 26) .. "/" .. n, headers)
end
function delay() return MILLISECONDS end
"""

_LEGEND = '<tspan fill="#1f77b4">agent</tspan>, <tspan fill="#d62728">engine</tspan>: MiB resident'


@dataclass(frozen=True, slots=True)
class Reading:
    seconds: float
    agent_mib: float
    engine_mib: float
    descriptors: int
    threads: int
    requests: float
    series: float


def reading(agent: Agent, began: float) -> Reading:
    pid = agent.process.pid
    engine = _children(pid)
    agent.page()
    return Reading(
        round(time.monotonic() - began, 1),
        _resident(pid),
        sum(map(_resident, engine)),
        len(list(Path(f"/proc/{pid}/fd").iterdir())),
        len(list(Path(f"/proc/{pid}/task").iterdir())),
        agent.total("firesteel_engine_stat_total", stat="requests"),
        agent.total("firesteel_series"),
    )


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Least squares: units of y an hour."""
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return 3600 * sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def verdict(readings: Sequence[Reading]) -> list[str]:
    """What grew that must not."""
    settled = readings[int(len(readings) * WARM_UP) :]
    faults = []
    if settled[-1].seconds - settled[0].seconds >= SHORTEST_VERDICT_SECONDS * (1 - WARM_UP):
        for name in ("agent_mib", "engine_mib"):
            grown = slope([(one.seconds, getattr(one, name)) for one in settled])
            if grown >= MOST_MIB_AN_HOUR:
                faults.append(f"{name} grew by {grown:.2f} MiB an hour")
    half = len(settled) // 2
    for name in ("descriptors", "threads"):
        before, after = (max(getattr(one, name) for one in part) for part in (settled[:half], settled[half:]))
        if after > before + 2:
            faults.append(f"{name} grew from {before} to {after}")
    if any(after.requests < before.requests for before, after in pairwise(readings)):
        faults.append("a count fell")
    return faults


def graph(readings: Sequence[Reading]) -> str:
    """Memory of both processes over time, as SVG."""
    width, height, left, top = 720, 260, 46, 14
    most = max(one.agent_mib + one.engine_mib for one in readings) * 1.15
    last = readings[-1].seconds

    def line(value: Callable[[Reading], float]) -> str:
        return " ".join(
            f"{left + (width - left - 8) * one.seconds / last:.1f},{top + (height - top - 26) * (1 - value(one) / most):.1f}"
            for one in readings
        )

    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = top + (height - top - 26) * (1 - share)
        drawn.append(f'<path d="M{left} {y:.1f}H{width - 8}" stroke="#ddd"/>')
        drawn.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{most * share:.0f}</text>')
    drawn += [
        f'<polyline fill="none" stroke="#1f77b4" stroke-width="1.5" points="{line(lambda one: one.agent_mib)}"/>',
        f'<polyline fill="none" stroke="#d62728" stroke-width="1.5" points="{line(lambda one: one.engine_mib)}"/>',
        f'<text x="{left}" y="{height - 8}">0</text>',
        f'<text x="{width - 8}" y="{height - 8}" text-anchor="end">{last / 60:.0f} min</text>',
        f'<text x="{width // 2}" y="{height - 8}" text-anchor="middle">{_LEGEND}</text>',
        "</svg>",
    ]
    return "\n".join(drawn) + "\n"


def report(readings: Sequence[Reading], rate: int, told: Receiver, faults: Sequence[str]) -> str:
    """The text beside the graph."""
    settled = readings[int(len(readings) * WARM_UP) :]
    first, last = readings[0], readings[-1]
    done = (last.requests - first.requests) / (last.seconds - first.seconds)
    grown = {
        name: slope([(one.seconds, getattr(one, name)) for one in settled]) for name in ("agent_mib", "engine_mib")
    }
    return f"""\
<!-- SPDX-License-Identifier: Apache-2.0 -->
<!-- Written by make soak. -->
# Soak

{time.strftime("%Y-%m-%d")}, {last.seconds / 60:.0f} minutes, {rate} requests/s wished for, {done:.0f} counted (both ends on this host), paths all different, each
two hundredth request on a connection of its own, a pod of its own every second that asks once and is deleted ten seconds later, scraped every {EVERY_SECONDS:.0f} s, OTLP pushed every 5 s ({len(told.metrics)}
requests of metrics and {len(told.traces)} of spans arrived).

![memory over time](soak.svg)

| | at the start | at the end | line through the last three quarters |
|---|---|---|---|
| agent, MiB resident | {first.agent_mib:.1f} | {last.agent_mib:.1f} | {grown["agent_mib"]:+.2f} MiB/h |
| engine, MiB resident | {first.engine_mib:.1f} | {last.engine_mib:.1f} | {grown["engine_mib"]:+.2f} MiB/h |
| descriptors of the agent | {first.descriptors} | {last.descriptors} | |
| threads of the agent | {first.threads} | {last.threads} | |
| rows on the page | {first.series:.0f} | {last.series:.0f} | |

{_judged(readings, faults)}
"""


def _judged(readings: Sequence[Reading], faults: Sequence[str]) -> str:
    if faults:
        return "; ".join(faults) + "."
    if readings[-1].seconds < SHORTEST_VERDICT_SECONDS:
        return "Too short for a verdict on memory; nothing else grew that must not."
    return "Nothing grew that must not."


def run(seconds: float, rate: int) -> tuple[list[Reading], Receiver]:
    connections = 50
    script = _PATHS.replace("MILLISECONDS", str(round(1000 * connections / rate)))
    with (
        tempfile.TemporaryDirectory() as folder,
        http_receiver() as told,
        nginx() as server,
        fake_kube(token="secret") as kube,
    ):
        settings = [
            "kubernetes.enabled=true", f"kubernetes.kubeconfig={kubeconfig(Path(folder), kube.port)}",
            f"export.otlp.endpoint=http://127.0.0.1:{told.port}", "export.otlp.protocol=http",
            "export.otlp.interval=5s", "export.otlp.spans=true", "samples.normal=0.1", "metrics.ttl.counter=10m",
        ]  # fmt: skip
        with running_agent(Path(folder), settings) as agent:
            stop = threading.Event()
            load = threading.Thread(target=wrk, args=(server,), kwargs={
                "seconds": int(seconds), "connections": connections, "script": script,
            })  # fmt: skip
            churn = threading.Thread(target=_churn, args=(server, kube, stop))
            load.start()
            churn.start()
            readings = []
            began = time.monotonic()
            while load.is_alive():
                time.sleep(EVERY_SECONDS)
                readings.append(reading(agent, began))
                told.metrics, told.traces, told.headers = told.metrics[-1000:], told.traces[-1000:], []
            stop.set()
            load.join()
            churn.join()
    return readings, told


def _churn(server: Server, kube: FakeKube, stop: threading.Event) -> None:
    """A pod of its own for each request."""
    number = 0
    while not stop.wait(1.0):
        number += 1
        uid = f"11111111-2222-3333-4444-{number:012}"
        container_id = f"{os.getpid():032x}{number:032x}"
        kube.put("pods", described(uid, f"churn-{number}", container_id))
        with container(f"kubepods/besteffort/pod{uid}/{container_id}") as prefix:
            command = [*prefix, program("curl"), "-s", "-o", "/dev/null", f"http://127.0.0.1:{server.port}/p{number}"]
            subprocess.run(command, check=False, timeout=20)
        if number > _LIVING_PODS:
            kube.delete("pods", f"shop/churn-{number - _LIVING_PODS}")


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def _resident(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / (1 << 20)
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak")
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--rate", type=int, default=5000, help="requests per second")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of soak.md and soak.svg")
    given = parser.parse_args(arguments)
    readings, told = run(given.seconds, given.rate)
    target = Path("build/soak.csv")
    target.parent.mkdir(exist_ok=True)
    with target.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(Reading)])
        writer.writerows(map(astuple, readings))
    faults = verdict(readings)
    given.out.mkdir(exist_ok=True)
    (given.out / "soak.svg").write_text(graph(readings), encoding="utf-8")
    (given.out / "soak.md").write_text(report(readings, given.rate, told, faults), encoding="utf-8")
    for fault in faults:
        print(f"soak: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
