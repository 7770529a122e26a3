# SPDX-License-Identifier: Apache-2.0
"""A cluster of a real etcd, kube-apiserver and kube-controller-manager, in which a test is the scheduler and the kubelet.

So DaemonSets, Deployments, Jobs, quotas, garbage and the end of a namespace are Kubernetes' own affair; that a container runs means that
a command of the test's runs, whose output is its log, and that `kubectl exec` runs another one.
"""

import asyncio
import json
import subprocess
import threading
import urllib.error
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.cluster.real_api import ADMIN, RealApi, built, kubeconfig, real_api
from tests.deploy.served import Ended, Object, executed, served

_CONTROLLERS = (
    "daemonset-controller", "deployment-controller", "replicaset-controller", "job-controller", "namespace-controller",
    "garbage-collector-controller", "resourcequota-controller", "serviceaccount-controller", "disruption-controller",
)  # fmt: skip
# Else the API server speaks SPDY with a kubelet, whatever kubectl speaks.
_FLAGS = ("--feature-gates=TranslateStreamCloseWebsocketRequests=false",)
_STEP = 0.2
_NOT_ONES_OWN = 409


@dataclass
class RealCluster:
    """`work(pod, command)` is what a container does."""

    api: RealApi
    folder: Path
    """With `kubeconfig`, the administrator's."""
    work: Callable[[Object, Sequence[str]], Ended]
    kubelet: int = 0
    """The port of all nodes' kubelets."""
    logs: dict[tuple[str, str], str] = field(default_factory=dict)
    """What pods printed, by namespace and name."""
    broken_nodes: set[str] = field(default_factory=set)
    """Where no image can be pulled."""
    lost: list[str] = field(default_factory=list)
    """Faults of the kubelet itself: none."""

    def node(self, name: str, os: str = "linux", **labels: str) -> None:
        info = dict.fromkeys(
            ("machineID", "systemUUID", "bootID", "containerRuntimeVersion", "kubeletVersion", "kubeProxyVersion"), "-"
        )
        info |= {"kernelVersion": "6.1.0-13-amd64", "osImage": "Debian GNU/Linux 12", "operatingSystem": os, "architecture": "amd64"}  # fmt: skip
        status = {
            "nodeInfo": info, "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.kubelet}}, "allocatable": {"cpu": "8", "memory": "32Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        }  # fmt: skip
        metadata = {"name": name, "labels": {"kubernetes.io/os": os, **labels}}
        made = self.api.ask("POST", "/api/v1/nodes", {"metadata": metadata})
        self.api.ask("PUT", f"/api/v1/nodes/{name}/status", {**made, "status": status})

    def names(self, path: str) -> list[str]:
        return [item["metadata"]["name"] for item in self.items(path)]

    def items(self, path: str) -> list[Object]:
        return list(self.api.ask("GET", path)["items"])

    # --- kubelet and scheduler ---------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Every pod goes one step on."""
        for pod in self.items("/api/v1/pods"):
            try:
                self._step(pod)
            except urllib.error.HTTPError as error:
                if error.code not in {404, _NOT_ONES_OWN}:
                    raise

    def _step(self, pod: Object) -> None:
        metadata, spec = pod["metadata"], pod["spec"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        if "deletionTimestamp" in metadata:
            self.api.ask("DELETE", path, {"gracePeriodSeconds": 0})
        elif not spec.get("nodeName"):
            target = {"apiVersion": "v1", "kind": "Node", "name": self._place(spec)}
            self.api.ask("POST", f"{path}/binding", {"metadata": {"name": metadata["name"]}, "target": target})
        elif pod["status"]["phase"] == "Pending":
            self.api.ask("PUT", f"{path}/status", {**pod, "status": self._started(pod)})

    def _place(self, spec: Object) -> str:
        """The node that the pod insists on, else the first."""
        wanted = (
            spec.get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", {})
        )
        for term in wanted.get("nodeSelectorTerms", ()):
            for expression in term.get("matchFields", ()):
                return str(expression["values"][0])
        return self.names("/api/v1/nodes")[0]

    def _started(self, pod: Object) -> Object:
        (container,) = pod["spec"]["containers"]
        told = {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "ready": False,
            "restartCount": 0,
        }
        if pod["spec"]["nodeName"] in self.broken_nodes:
            waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}
            return {**pod["status"], "containerStatuses": [{**told, "state": waiting}]}
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if pod["spec"]["restartPolicy"] == "Never":
            code, out, err = self.work(pod, container["args"])
            self.logs[pod["metadata"]["namespace"], pod["metadata"]["name"]] = out + err
            ended = {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed", "startedAt": now, "finishedAt": now}}  # fmt: skip
            phase = "Failed" if code else "Succeeded"
            return {**pod["status"], "phase": phase, "startTime": now, "containerStatuses": [{**told, "state": ended}]}
        ready = [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in ("Ready", "ContainersReady", "Initialized", "PodScheduled")]  # fmt: skip
        running = {**told, "ready": True, "started": True, "state": {"running": {"startedAt": now}}}
        return {**pod["status"], "phase": "Running", "podIP": "127.0.0.1", "startTime": now, "conditions": ready,
                "containerStatuses": [running]}  # fmt: skip

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """What the API server asks of a kubelet: /containerLogs/NAMESPACE/POD/CONTAINER and /exec/..."""
        _, what, namespace, name, _ = request.path.split("/")
        if what == "containerLogs":
            if "previous" in request.query:
                return web.Response(status=400, text="previous terminated container not found")
            return web.Response(text=self.logs.get((namespace, name), ""))
        pod = await asyncio.to_thread(self.api.ask, "GET", f"/api/v1/namespaces/{namespace}/pods/{name}")
        return await executed(request, lambda command: self.work(pod, command)) or web.Response(status=400)


@contextmanager
def real_cluster(folder: Path, work: Callable[[Object, Sequence[str]], Ended]) -> Iterator[RealCluster]:
    """Without nodes at first. Raises MissingProgram where its parts were not built."""
    controllers = built("kube-controller-manager")
    own = folder / "api"
    own.mkdir()
    with real_api(own, _FLAGS) as api:
        cluster = RealCluster(api, folder, work)
        _without_roles(api)
        config = kubeconfig(folder / "kubeconfig", int(api.url.rpartition(":")[2]), ADMIN)
        with (
            served(folder, cluster.answer) as cluster.kubelet,
            _controllers(controllers, config, folder),
            _turning(cluster),
        ):
            yield cluster
        assert cluster.lost == []


def _without_roles(api: RealApi) -> None:
    """What tests of names begin with is what tests of installing make."""
    group = "/apis/rbac.authorization.k8s.io/v1"
    for kind in ("clusterrolebindings", "clusterroles"):
        for item in api.ask("GET", f"{group}/{kind}")["items"]:
            if item["metadata"]["name"].startswith("firesteel"):
                api.ask("DELETE", f"{group}/{kind}/{item['metadata']['name']}")


@contextmanager
def _controllers(path: str, config: Path, folder: Path) -> Iterator[None]:
    command = [
        path, "--kubeconfig", str(config), "--leader-elect=false", "--secure-port=0", f"--controllers={','.join(_CONTROLLERS)}",
        "--concurrent-gc-syncs=2", "--resource-quota-sync-period=2s",
    ]  # fmt: skip
    with (folder / "controllers.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield
            assert process.poll() is None, (folder / "controllers.log").read_text()[-2000:]
        finally:
            process.kill()
            process.wait()


@contextmanager
def _turning(cluster: RealCluster) -> Iterator[None]:
    ended = threading.Event()

    def turn() -> None:
        while not ended.wait(_STEP):
            try:
                cluster.turn()
            except Exception as error:  # noqa: BLE001  # the test's own thread is told at the end
                cluster.lost.append(repr(error))

    thread = threading.Thread(target=turn)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def as_json(items: Sequence[Any]) -> str:
    """One text for `kubectl apply -f -`."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(items)})
