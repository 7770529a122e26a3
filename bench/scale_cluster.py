# SPDX-License-Identifier: Apache-2.0
"""A large cluster for `bench.scale`: objects of the size of real ones in the tests' API server, and changes as a cluster makes them."""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fake_kube import FakeKube, fake_kube, kubeconfig

CHANGES_PER_SECOND = 50
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
