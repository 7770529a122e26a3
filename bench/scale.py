# SPDX-License-Identifier: Apache-2.0
"""`make bench-scale`: what the names of a large cluster cost an agent, the names service and the API server, into docs/scale.md.

Agent, service and API server are processes of their own. The server is the tests' (tests/fake_kube.py), with objects of the
size of real ones, lists packed as a real server packs them, and changes as a cluster makes them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench import machine
from tests.agents import FIRESTEEL
from tests.fake_kube import FakeKube, fake_kube, kubeconfig
from tests.servers import free_port

ROOT = Path(__file__).resolve().parent.parent
PODS, SERVICES, NODES = 10_000, 1_000, 500
CHANGES_PER_SECOND = 50
OWN_NODE = "node-0"
LARGE = 5_000
"""Nodes to extrapolate to, with as many pods on each."""
_MIB = 1 << 20
_HOUR = 3600
_FILLING = "x" * 40
# About as much as a pod of a usual chart has: 1.6 KB of managedFields, and 4 KB of specification and conditions.
_FIELDS = [
    {
        "manager": "kubelet",
        "operation": "Update",
        "apiVersion": "v1",
        "fieldsV1": {f"f:{number}{_FILLING}": {} for number in range(32)},
    }
]
_CONTAINERS = [
    {
        "name": name, "image": f"registry.example.com/{name}:1.2.3@sha256:{'0' * 64}",
        "env": [{"name": f"SETTING_{number}", "value": _FILLING} for number in range(20)],
        "volumeMounts": [{"name": f"volume-{number}", "mountPath": f"/{_FILLING}"} for number in range(6)],
    }
    for name in ("main", "proxy")
]  # fmt: skip
_CONDITIONS = [
    {"type": f"Condition{number}", "status": "True", "lastTransitionTime": "2025-01-01T00:00:00Z"}
    for number in range(5)
]
Object = dict[str, Any]


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


def _pod(number: int, node: str, address: str, *, phase: str = "Running", revision: int = 0) -> Object:
    workload = number // 10
    name = f"service-{workload}-5d4f8c7b9-{number:05}"
    return {
        "kind": "Pod",
        "metadata": {
            "name": name, "namespace": f"team-{workload % 50}", "uid": f"{number:08x}-0000-4000-8000-{revision:012x}",
            "labels": {"app": f"service-{workload}", "pod-template-hash": "5d4f8c7b9"}, "managedFields": _FIELDS,
            "ownerReferences": [{"kind": "ReplicaSet", "name": f"service-{workload}-5d4f8c7b9", "uid": f"rs-{workload}", "controller": True}],
        },
        "spec": {"nodeName": node, "containers": _CONTAINERS},
        "status": {
            "phase": phase, "podIP": address, "podIPs": [{"ip": address}], "hostIP": "10.0.0.1", "conditions": _CONDITIONS,
            "containerStatuses": [{"name": "main", "containerID": f"containerd://{number:064x}"}],
        },
    }  # fmt: skip


def _address(number: int) -> str:
    return f"10.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def fill(kube: FakeKube, pods: int, services: int, nodes: int) -> None:
    """A Deployment of ten pods for each Service, spread over the nodes; two old ReplicaSets for each."""
    for number in range(nodes):
        status = {
            "addresses": [{"type": "InternalIP", "address": f"10.0.{number >> 8}.{number & 255}"}],
            "images": [{"names": [_FILLING]}] * 50,
        }
        kube.put("nodes", {"metadata": {"name": f"node-{number}", "uid": f"n-{number}"}, "status": status})
    for number in range(pods):
        kube.put("pods", _pod(number, f"node-{number % nodes}", _address(number)))
    for number in range(services):
        namespace, name = f"team-{number % 50}", f"service-{number}"
        above = [{"kind": "Deployment", "name": name, "uid": f"d-{number}", "controller": True}]
        for old in range(3):
            metadata = {
                "namespace": namespace,
                "name": f"{name}-{'5d4f8c7b9' if not old else f'old{old}'}",
                "uid": f"rs-{number}{'x' * old}",
            }
            kube.put("replicasets", {"metadata": {**metadata, "ownerReferences": above}})
        address = f"10.96.{number >> 8}.{number & 255}"
        kube.put("services", {
            "metadata": {"namespace": namespace, "name": name, "uid": f"s-{number}", "managedFields": _FIELDS},
            "spec": {"clusterIP": address, "clusterIPs": [address], "ports": [{"port": 80, "targetPort": 8080}]},
        })  # fmt: skip
        members = range(number * 10, min(pods, number * 10 + 10))
        kube.put("endpointslices", {
            "metadata": {"namespace": namespace, "name": f"{name}-1", "uid": f"e-{number}", "labels": {"kubernetes.io/service-name": name}},
            "endpoints": [
                {"addresses": [_address(member)], "nodeName": f"node-{member % nodes}",
                 "targetRef": {"kind": "Pod", "uid": f"{member:08x}-0000-4000-8000-{0:012x}"}}
                for member in members
            ],
            "ports": [{"port": 8080}],
        })  # fmt: skip
    kube.events.clear()
    kube.oldest = kube.version


def change(kube: FakeKube, seconds: float, pods: int, nodes: int) -> int:
    """Half are status updates that change no name, a quarter new pods, a quarter ends. Answers how many there were."""
    rnd, made, began = random.Random(1), 0, time.monotonic()
    born: list[tuple[int, str]] = []
    while (elapsed := time.monotonic() - began) < seconds:
        while made < elapsed * CHANGES_PER_SECOND:
            made += 1
            if made % 4 == 0:
                number = pods + made
                item = _pod(number, f"node-{1 + rnd.randrange(nodes - 1)}", _address(number))
                born.append((number, f"{item['metadata']['namespace']}/{item['metadata']['name']}"))
                kube.put("pods", item)
            elif made % 4 == 2 and len(born) > 5:
                kube.delete("pods", born.pop(0)[1])
            else:
                number = 1 + rnd.randrange(pods - 1)
                kube.put("pods", _pod(number, f"node-{number % nodes}", _address(number)))
        time.sleep(0.005)
    return made


@contextmanager
def cluster_api(folder: Path, pods: int, services: int, nodes: int) -> Iterator[FakeKube]:
    with fake_kube(token="secret") as kube:
        kube.bookmark_seconds = 60.0  # as often as a real server
        fill(kube, pods, services, nodes)
        kubeconfig(folder, kube.port)
        yield kube


def serve(folder: Path, pods: int, services: int, nodes: int) -> None:
    """The API server's process: what it is told on standard input it does, and says when it is done."""
    with cluster_api(folder, pods, services, nodes) as kube:
        kube.accounts["secret"] = {"/names/v1/stream"}
        print(json.dumps({"port": kube.port}), flush=True)
        for line in sys.stdin:
            before = kube.bytes_sent, len(kube.requests)
            made = change(kube, float(line), pods, nodes) if float(line) else 0
            print(
                json.dumps({"made": made, "bytes": before[0], "requests": before[1], "after": kube.bytes_sent}),
                flush=True,
            )


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


class _Child:
    """A process that answers one line of JSON for each line that it is told."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "bench.scale", *arguments]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

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


def agent_cost(server: _Child, folder: Path, place: str, seconds: float) -> Cost:
    agent = _Child("follow", str(folder), place)
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


def service_cost(folder: Path, server: _Child, seconds: float) -> tuple[Cost, Cost]:
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


def table(costs: dict[str, Cost]) -> Iterator[str]:
    yield "| | " + " | ".join(costs) + " |"
    yield "|---|" + "---|" * len(costs)
    rows = {
        "start to complete, s": [f"{cost.complete_seconds:.1f}" for cost in costs.values()],
        "processor time for that, s": [f"{cost.start_cpu_seconds:.1f}" for cost in costs.values()],
        "memory for names, MiB (service: all of it)": [f"{cost.memory_mib:.0f}" for cost in costs.values()],
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
    pages = [2 * watches + (cost.start_requests - 2 * watches) * scale for watches, cost in ((7, alone), (6, service))]
    requests = f"{LARGE * pages[0]:.0f} | {2 * pages[1] + LARGE * follows.start_requests:.0f}"
    yield f"| requests when all agents start | {requests} |"
    yield f"| GiB of the API server's answers then, unpacked | {alone_start:.0f} | {with_start:.1f} ({own:.2f} MiB for each agent's own pods) |"
    yield f"| GiB of them in an hour | {alone_hour:.0f} | {with_hour:.1f} |"
    yield f"| GiB from the names services when all agents start | none | {names_start:.1f} |"
    yield f"| GiB from them in an hour | none | {names_hour:.0f} |"
    yield f"| memory for names of an agent, MiB | {alone.memory_mib * scale:.0f} | {follows.memory_mib * scale:.0f} |"


def report(costs: dict[str, Cost], load: float, sizes: tuple[int, int, int], seconds: float) -> str:
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
        "The agent's budget: complete within 5 s, 0.5 % of a core at 50 changes/s. An agent's memory is what its process grows by",
        "from before the first request until after the changes.",
        "",
        "A watch is asked for anew every four to five minutes: 7 watches are about 93 requests an hour for an agent that asks the API server,",
        "1 watch is 13 for one that follows the names service, and 6 watches are 80 for each service.",
        "",
        "## Extrapolated",
        "",
        "Bytes and requests by proportion: what is told of the whole cluster grows with it, and is told to every agent.",
        "",
        *extrapolated(alone, service, follows, nodes),
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
        server = _Child("serve", name, *map(str, given.sizes))
        try:
            server.hear()
            warm = _Child("follow", name, "")  # the server packs its lists once
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
    text = report(costs, load, tuple(given.sizes), given.seconds)
    given.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(Path(sys.argv[2]), *map(int, sys.argv[3:6]))
    elif sys.argv[1:2] == ["follow"]:
        follow(Path(sys.argv[2]), sys.argv[3])
    else:
        main()
