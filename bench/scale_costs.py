# SPDX-License-Identifier: Apache-2.0
"""What an agent's names and the names service take of a machine and ask of the API server: processes of `bench.scale`, measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from bench.scale_cluster import CHANGES_PER_SECOND, Object
from tests.agents import FIRESTEEL
from tests.servers import free_port

OWN_NODE = "node-0"
_ROOT = Path(__file__).resolve().parent.parent
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one process. Bytes and requests are the API server's side; `names_bytes` came from the names service."""

    complete_seconds: float
    start_cpu_seconds: float
    memory_mib: float
    """What the names add to the process, after the changes."""
    change_cpu: float
    """Share of one core while the cluster changes."""
    start_requests: int
    start_bytes: int
    change_bytes: float
    """A second, while the cluster changes."""
    names_start_bytes: int = 0
    names_change_bytes: float = 0.0


def follow(folder: Path, place: str) -> None:
    """An agent's names and nothing else of it: told when to report."""
    from collector.metadata.kube_api import KubeApi  # noqa: PLC0415 - its memory is counted from here on
    from collector.metadata.kubernetes import Cluster  # noqa: PLC0415
    from collector.metadata.names_connection import NamesSettings  # noqa: PLC0415

    api = KubeApi.connect(str(folder / "kubeconfig"))
    before = _resident(os.getpid())
    cluster = Cluster(api, OWN_NODE, 300 * 10**9, NamesSettings(place) if place else None, 0.0)
    began, cpu = time.monotonic(), time.process_time()
    cluster.start()
    while not cluster.is_complete:
        time.sleep(0.01)
    told = {"complete": time.monotonic() - began, "cpu": time.process_time() - cpu}
    for _ in sys.stdin:
        state = cluster.names or SimpleNamespace(bytes_read=0)
        told |= {
            "cpu_now": time.process_time(), "at": time.monotonic(), "memory": _resident(os.getpid()) - before,
            "requests": api.requests, "bytes": api.bytes_read, "names_bytes": state.bytes_read, "pods": cluster.index.counts().pods,
        }  # fmt: skip
        print(json.dumps(told), flush=True)
    cluster.stop()


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Child:
    """A process that answers one line of JSON for each line that it is told."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "bench.scale", *arguments]
        self.process = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def hear(self) -> Object:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a process of the benchmark ended with {self.process.wait()}")
        answer: Object = json.loads(line)
        return answer

    def ask(self, text: str = "") -> Object:
        assert self.process.stdin
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()
        return self.hear()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def agent_cost(server: Child, folder: Path, place: str, seconds: float) -> Cost:
    agent = Child("follow", str(folder), place)
    try:
        first = agent.ask()
        changes = server.ask(str(seconds))
        if changes["made"] < 0.9 * CHANGES_PER_SECOND * seconds:
            print(f"only {changes['made']} changes in {seconds:.0f} s", file=sys.stderr)
        last = agent.ask()
    finally:
        agent.end()
    span = last["at"] - first["at"]
    return Cost(
        first["complete"], first["cpu"], last["memory"] / _MIB, (last["cpu_now"] - first["cpu_now"]) / span,
        first["requests"], first["bytes"], (last["bytes"] - first["bytes"]) / span,
        first["names_bytes"], (last["names_bytes"] - first["names_bytes"]) / span,
    )  # fmt: skip


@contextmanager
def names_service(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Where it answers, where its metrics are, and which process it is."""
    port, pages = free_port(), free_port()
    settings = (
        f"kubernetes.kubeconfig={folder / 'kubeconfig'}",
        f"listen.names=127.0.0.1:{port}",
        f"listen.metrics=127.0.0.1:{pages}",
    )
    process = subprocess.Popen(
        [*FIRESTEEL, "names", *(part for setting in settings for part in ("--set", setting))], stderr=subprocess.DEVNULL
    )
    try:
        yield f"127.0.0.1:{port}", pages, process.pid
    finally:
        process.terminate()
        process.wait(20)


def _metrics(pages: int) -> dict[str, float]:
    import urllib.request  # noqa: PLC0415

    with urllib.request.urlopen(f"http://127.0.0.1:{pages}/metrics", timeout=10) as answer:
        lines = [line.rpartition(" ") for line in answer.read().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def service_cost(folder: Path, server: Child, seconds: float) -> tuple[Cost, Cost]:
    """Of the names service, and of an agent that follows it."""
    began = time.monotonic()
    with names_service(folder) as (place, pages, pid):
        while True:
            try:
                if _metrics(pages).get('firesteel_names_objects{resource="endpointslices"}', 0) and _ready(pages):
                    break
            except OSError:
                pass
            time.sleep(0.05)
        complete, cpu, first = time.monotonic() - began, _cpu(pid), _metrics(pages)
        agent = agent_cost(server, folder, place, seconds)
        # The agent's start is in here as well; it is what the service does for one.
        last, span = _metrics(pages), seconds
        name_requests, name_bytes = "firesteel_kubernetes_requests_total", "firesteel_kubernetes_received_bytes_total"
        cost = Cost(
            complete, cpu, _resident(pid) / _MIB, (_cpu(pid) - cpu) / span, int(first[name_requests]), int(first[name_bytes]),
            (last[name_bytes] - first[name_bytes]) / span,
        )  # fmt: skip
    return cost, agent


def _ready(pages: int) -> bool:
    import urllib.error  # noqa: PLC0415
    import urllib.request  # noqa: PLC0415

    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{pages}/readyz", timeout=10):
            return True
    except urllib.error.HTTPError:
        return False
