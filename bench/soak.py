# SPDX-License-Identifier: Apache-2.0
"""`make soak`: an agent under load for as long as wished, with churn of connections, pods and paths, scraped, pushing.

It fails if memory grows by 1 MiB an hour or more after the warm-up, if descriptors or threads grow, if a count falls, or if what a
real Prometheus has in the end is not what the clients did. The readings go to build/soak.csv, the graph and the verdict to the
folder that --out names.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from bench.soak_report import EVERY_SECONDS, Counts, Reading, graph, report, verdict
from tests.agents import Agent, running_agent
from tests.clients import HttpLoad, wrk
from tests.fake_kube import FakeKube, fake_kube, kubeconfig
from tests.pages import promtool_check
from tests.pods import container, described
from tests.prometheus import faults, number, prometheus
from tests.receivers import Receiver, http_receiver
from tests.servers import Server, nginx, program

_CONNECTIONS = 100
_CSV = Path("build/soak.csv")
_ANSWER_MS = 3  # what an answer takes beside all that runs here, and how late wrk's timers are
_PAGE = 4096
_SETTLED_SECONDS = 10.0
_LIVING_PODS = 10
_POD_NAMESPACE = "shop"
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


@dataclass(frozen=True, slots=True)
class Soaked:
    """`pushed`: requests of metrics and of spans that arrived."""

    readings: list[Reading]
    counts: Counts
    pushed: tuple[int, int]


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


def run(seconds: float, rate: int) -> Soaked:
    with (
        tempfile.TemporaryDirectory() as named,
        http_receiver() as told,
        nginx() as server,
        fake_kube(token="secret") as kube,
    ):
        folder = Path(named)
        settings = [
            "kubernetes.enabled=true", f"kubernetes.kubeconfig={kubeconfig(folder, kube.port)}",
            f"export.otlp.endpoint=http://127.0.0.1:{told.port}", "export.otlp.protocol=http",
            "export.otlp.interval=5s", "export.otlp.spans=true", "samples.normal=0.1", "metrics.ttl.counter=10m",
        ]  # fmt: skip
        with (
            running_agent(folder, settings) as agent,
            prometheus(folder, agent.metrics_port) as url,
            ThreadPoolExecutor(2) as threads,
        ):
            stop = threading.Event()
            load = threads.submit(_load, server, int(seconds), rate)
            churn = threads.submit(_churn, server, kube, stop)
            try:
                readings, pushed, complaints = _watch(agent, told, load)
            finally:
                stop.set()
            time.sleep(_SETTLED_SECONDS)
            log = (folder / "prometheus.log").read_text()
            counts = _counts(url, agent, server, load.result(), churn.result(), f"{seconds + 60:.0f}s", log)
            counts.faults.extend(complaints)
    return Soaked(readings, counts, pushed)


def _load(server: Server, seconds: int, rate: int) -> HttpLoad:
    script = _PATHS.replace("MILLISECONDS", str(round(1000 * _CONNECTIONS / rate) - _ANSWER_MS))
    return wrk(server, seconds=seconds, connections=_CONNECTIONS, script=script)


def _watch(agent: Agent, told: Receiver, load: Future[HttpLoad]) -> tuple[list[Reading], tuple[int, int], list[str]]:
    """Until the load is over: readings, how many requests of metrics and of spans came, what promtool says of the page."""
    readings: list[Reading] = []
    complaints: list[str] = []
    _CSV.parent.mkdir(exist_ok=True)
    _CSV.write_text(",".join(field.name for field in fields(Reading)) + "\n")
    began = time.monotonic()
    metrics = traces = 0
    while not load.done():
        time.sleep(EVERY_SECONDS)
        readings.append(reading(agent, began))
        with _CSV.open("a") as file:  # what was read is not lost with what goes wrong at the end
            file.write(",".join(map(str, astuple(readings[-1]))) + "\n")
        metrics, traces = metrics + len(told.metrics), traces + len(told.traces)
        told.metrics, told.traces, told.headers = [], [], []
        if len(readings) % 12 == 0:
            complaints += promtool_check(agent.get("/metrics", api=False).decode())
    return readings, (metrics, traces), sorted(set(complaints))


def _counts(url: str, agent: Agent, server: Server, load: HttpLoad, pods: int, over: str, log: str) -> Counts:
    page = agent.get("/metrics", api=False).decode()

    def by_job(begin: str, end: str = "") -> dict[str, float]:
        return {job: number(url, f'sum({begin},job="{job}"}}{end})') for job in ("often", "seldom")}

    to_server = f'dst_port="{server.port}"'
    from_pods = f'{to_server},src_namespace="{_POD_NAMESPACE}"'
    edges = "kindling_topology_request_total"
    named = f'count_over_time({edges}{{{from_pods},job="often"}}[{over}])'
    return Counts(
        at_wrk=load.requests,
        by_pods=pods,
        pods_named=round(number(url, f"count(count by (src_pod) ({named}))")),
        in_flight=_CONNECTIONS,
        edges=by_job(f"{edges}{{{to_server},src_workload_name='wrk'"),
        # Their rows end ten minutes later.
        from_pods=by_job(f"max_over_time({edges}{{{from_pods}", f"[{over}])"),
        entity=by_job(f'kindling_entity_request_total{{port="{server.port}"'),
        faults=[
            *faults(url, page, log, over, server.port),
            *([f"wrk had {load.socket_errors} errors of its sockets"] if load.socket_errors else []),
        ],
    )


def _churn(server: Server, kube: FakeKube, stop: threading.Event) -> int:
    """A pod of its own for each request, whose cgroup stays for a second as a runtime's does. How many were answered."""
    number = answered = 0
    while not stop.is_set():
        number += 1
        uid = f"11111111-2222-3333-4444-{number:012}"
        container_id = hashlib.sha256(f"{os.getpid()} {number}".encode()).hexdigest()
        kube.put("pods", described(uid, f"churn-{number}", container_id))
        with container(f"kubepods/besteffort/pod{uid}/{container_id}") as prefix:
            command = [*prefix, program("curl"), "-s", "-o", "/dev/null", f"http://127.0.0.1:{server.port}/p{number}"]
            answered += subprocess.run(command, check=False, timeout=20).returncode == 0
            stop.wait(1.0)
        if number > _LIVING_PODS:
            kube.delete("pods", f"{_POD_NAMESPACE}/churn-{number - _LIVING_PODS}")
    return answered


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
    soaked = run(given.seconds, given.rate)
    wrong = [*verdict(soaked.readings), *soaked.counts.wrong()]
    given.out.mkdir(exist_ok=True)
    (given.out / "soak.svg").write_text(graph(soaked.readings), encoding="utf-8")
    text = report(soaked.readings, given.rate, soaked.counts, soaked.pushed, wrong)
    (given.out / "soak.md").write_text(text, encoding="utf-8")
    for sentence in wrong:
        print(f"soak: {sentence}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
