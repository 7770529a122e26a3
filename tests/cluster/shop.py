# SPDX-License-Identifier: Apache-2.0
"""A cluster on this machine: pods as network namespaces with cable and cgroups, Services by kube-proxy's rules, other nodes
and the internet behind a tunnel, and an API that tells of all of it."""

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests import servers
from tests.cluster.api import Api, Object
from tests.far_hosts import FarHosts, far_hosts
from tests.http_scripts import ASK, SERVE
from tests.namespaces import Namespace
from tests.nodes import Node, node
from tests.pods import container

_NUMBERS = itertools.count(1)
NAMESPACES = ("shop", "kube-system")
_TIES = {"deployment": ("apps/v1", "Deployment"), "statefulset": ("apps/v1", "StatefulSet"), "daemonset": ("apps/v1", "DaemonSet"),
         "cronjob": ("batch/v1", "CronJob"), "rollout": ("argoproj.io/v1alpha1", "Rollout")}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pod:
    """One that runs here. `prefixes` has a command run in each of its containers."""

    name: str
    namespace: str
    uid: str
    ip: str
    ip6: str
    item: Object
    prefixes: dict[str, tuple[str, ...]]
    space: Namespace | None
    kind: str
    workload: str


@dataclass(slots=True)
class Shop:
    node: Node
    api: Api
    far: FarHosts
    name: str
    folder: Path
    stack: ExitStack
    pods: dict[str, Pod] = field(default_factory=dict)
    waiting: list[AbstractContextManager[servers.Server]] = field(default_factory=list)
    addresses: set[str] = field(default_factory=set)
    """Of the cluster: nodes, pods and Services."""

    def owner(self, kind: str, name: str, namespace: str = "shop") -> Object:
        """A reference to what keeps pods of that kind of workload alive; the ReplicaSet or Job in between is made."""
        version, above = _TIES[kind]
        reference = {"apiVersion": version, "kind": above, "name": name, "uid": f"{kind}-{name}", "controller": True}
        if kind not in {"deployment", "cronjob"}:
            return reference
        resource, between, made = ("replicasets", "ReplicaSet", f"{name}-5d4f8c7b9") if kind == "deployment" else ("jobs", "Job", f"{name}-29384756")  # fmt: skip
        labels = {"app": name}
        template: Object = {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "main", "image": "none"}], "restartPolicy": "Always" if kind == "deployment" else "Never"},
        }  # fmt: skip
        spec: Object = (
            {"template": template} if between == "Job" else {"selector": {"matchLabels": labels}, "template": template}
        )
        uid = self.api.put(resource, {
            "apiVersion": version, "kind": between, "spec": spec,
            "metadata": {"name": made, "namespace": namespace, "ownerReferences": [reference]},
        })  # fmt: skip
        return {"apiVersion": version, "kind": between, "name": made, "uid": uid, "controller": True}

    def pod(
        self, name: str, kind: str, workload: str, *, namespace: str = "shop", containers: Sequence[str] = ("main",),
        host_network: bool = False, ipv6: bool = False, port: int = 0, static: str = "", systemd: bool = False,
    ) -> Pod:  # fmt: skip
        """Runs nothing yet. `static` is the hash of its manifest; then it is the mirror of a pod that only the kubelet knows."""
        number = next(_NUMBERS)
        space = None if host_network else self.node.pod(number, ipv6=ipv6)
        ip, ip6 = (space.ipv4, space.ipv6) if space else (self.node.ipv4, "")
        owner: Object | None = None
        metadata: Object = {"name": name, "namespace": namespace}
        if static:
            owner = {"apiVersion": "v1", "kind": "Node", "name": self.name, "uid": "node", "controller": True}
            metadata["annotations"] = {"kubernetes.io/config.hash": static, "kubernetes.io/config.mirror": static}
        elif kind != "pod":
            owner = self.owner(kind, workload, namespace)
        if owner:
            metadata["ownerReferences"] = [owner]
        ids = {
            container_name: f"{os.getpid():024x}{number:08x}{index:032x}"
            for index, container_name in enumerate(containers)
        }
        ports = [{"containerPort": port, **({"hostPort": port} if host_network else {})}] if port else []
        item: Object = {
            "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
            "spec": {
                "nodeName": self.name, "hostNetwork": host_network,
                "containers": [{"name": name, "image": "none", "ports": ports if not index else []} for index, name in enumerate(containers)],
            },
            "status": {
                "phase": "Running", "hostIP": self.node.ipv4, "podIP": ip,
                "podIPs": [{"ip": address} for address in (ip, ip6) if address],
                "containerStatuses": [
                    {"name": name, "containerID": f"containerd://{identity}", "image": "none", "imageID": "none", "ready": True, "restartCount": 0}
                    for name, identity in ids.items()
                ],
            },
        }  # fmt: skip
        uid = self.api.put("pods", item)
        self.addresses |= {ip} if not ip6 else {ip, ip6}
        known = static or uid
        slices = f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{known.replace('-', '_')}.slice/cri-containerd-"
        prefixes = {}
        for container_name, identity in ids.items():
            path = f"{slices}{identity}.scope" if systemd else f"kubepods/burstable/pod{known}/{identity}"
            inside = self.stack.enter_context(container(path))
            prefixes[container_name] = (*inside, *(space.prefix if space else ()))
        self.pods[name] = Pod(name, namespace, uid, ip, ip6, item, prefixes, space, kind, workload)
        return self.pods[name]

    def far_pod(self, name: str, kind: str, workload: str, ip: str, far_node: str, *, namespace: str = "shop") -> str:
        """One on another node; its address answers. Answers its UID."""
        owner = self.owner(kind, workload, namespace)
        uid = self.api.put("pods", {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "ownerReferences": [owner]},
            "spec": {"nodeName": far_node, "containers": [{"name": "main", "image": "none"}]},
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]},
        })  # fmt: skip
        if ip not in self.addresses:
            self.far.add(ip)
            self.addresses.add(ip)
        return uid

    def put_node(self, name: str, ip: str) -> None:
        self.api.put("nodes", {
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
            "status": {"addresses": [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}]},
        })  # fmt: skip
        self.addresses.add(ip)

    def serve(
        self, pod: Pod | None, port: int, script: str = SERVE, *, container: str = "", address: str = "", kind: str = "tcp"
    ) -> None:  # fmt: skip
        """In a pod or on the host, from the next `start` on, until the cluster ends."""
        name, prefix = (pod.name, pod.prefixes[container or next(iter(pod.prefixes))]) if pod else ("host", ())
        address = address or (pod.ip if pod else self.node.ipv4)
        folder = self.folder / f"{name}-{port}"
        folder.mkdir()
        command = [sys.executable, "-c", script, address, str(port)]
        self.waiting.append(
            servers.running(name, command, address, port, folder, kinds=(kind,), prefix=prefix, seconds=60.0)
        )

    def start(self) -> None:
        """All that `serve` named, at once: an interpreter takes its time to start."""
        with ThreadPoolExecutor(len(self.waiting)) as pool:
            begun = list(pool.map(_begun, self.waiting))
        for server, fault in zip(self.waiting, begun, strict=True):
            if fault is None:
                self.stack.push(server)
        self.waiting.clear()
        if faults := [fault for fault in begun if fault]:
            raise faults[0]

    def ask(
        self, pod: Pod | None, address: str, port: int, times: int, script: str = ASK, *, container: str = ""
    ) -> None:
        """From a pod, or from the host. AssertionError with what it said if not every request was answered."""
        prefix = pod.prefixes[container or next(iter(pod.prefixes))] if pod else ()
        command = [*prefix, sys.executable, "-c", script, address, str(port), str(times)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr

    def service(
        self, name: str, port: int, backends: Sequence[tuple[Pod | str, str, int]], *, vip: str = "", node_port: int = 0,
        l4: str = "TCP", namespace: str = "shop", policy: str = "", balancer: str = "",
    ) -> None:  # fmt: skip
        """`backends` are (pod or the UID of one elsewhere, address, port). Without `vip` it is headless. `balancer` is the
        address of a load balancer before the nodes, whose packets they take for the Service's own."""
        targets = [(address, at) for _, address, at in backends]
        v6 = ":" in targets[0][0]
        for address, at in ((vip, port), (self.node.ipv4 if node_port else "", node_port), (balancer, port)):
            if address:
                self.node.service(l4.lower(), (address, at), targets)
        told: Object = {"name": "main", "port": port, "targetPort": targets[0][1], "protocol": l4}
        address = vip or "None"
        spec: Object = {
            "type": "LoadBalancer" if balancer else "NodePort" if node_port else "ClusterIP", "clusterIP": address, "clusterIPs": [address],
            "ipFamilies": ["IPv6" if v6 else "IPv4"], "ipFamilyPolicy": "SingleStack",
            "ports": [{**told, "nodePort": node_port} if node_port else told],
        }  # fmt: skip
        if policy:
            spec["externalTrafficPolicy"] = policy
        status: Object = {"loadBalancer": {"ingress": [{"ip": balancer}]}} if balancer else {}
        self.api.put("services", {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": spec,
            "status": status,
        })  # fmt: skip
        endpoints = [
            {"addresses": [ip], "targetRef": {"kind": "Pod", "namespace": namespace, "name": pod.name if isinstance(pod, Pod) else "elsewhere",
                                              "uid": pod.uid if isinstance(pod, Pod) else pod}}
            for pod, ip, _ in backends
        ]  # fmt: skip
        self.api.put("endpointslices", {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv6" if v6 else "IPv4",
            "metadata": {"name": f"{name}-1", "namespace": namespace, "labels": {"kubernetes.io/service-name": name}},
            "endpoints": endpoints, "ports": [{"name": "main", "port": targets[0][1], "protocol": l4}],
        })  # fmt: skip
        self.addresses |= {address for address in (vip, balancer) if address}


def _begun(server: AbstractContextManager[servers.Server]) -> Exception | None:
    try:
        server.__enter__()
    except Exception as fault:  # noqa: BLE001 - told by the caller, once the others can be ended
        return fault
    return None


@contextmanager
def shop(folder: Path, api: AbstractContextManager[Api]) -> Iterator[Shop]:
    """`api` is entered in the node's network namespace, where the agent finds it on loopback."""
    with ExitStack() as stack:
        made = stack.enter_context(node())
        stack.enter_context(made.entered())
        kept = stack.enter_context(api)
        far = stack.enter_context(far_hosts(made.space))
        cluster = Shop(made, kept, far, os.uname().nodename.lower(), folder, stack)
        cluster.put_node(cluster.name, made.ipv4)
        yield cluster
