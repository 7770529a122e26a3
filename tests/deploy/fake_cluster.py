# SPDX-License-Identifier: Apache-2.0
"""An API server with the controllers that matter to an installation: objects by REST, DaemonSets and Jobs that make pods.

What a real one refuses is refused here, too: objects that the API's schema does not know (kubernetes_validate), unborn
namespaces (404), what exists (409), outdated versions (409), changed immutable fields (422), what is new in a namespace that is being
deleted (403), which stays for a while, pods that Pod Security does not let in, and those of a system class of priority where no quota allows it (GKE).
Its default level is baseline, as on clusters that are careful. What runs in a container is up to the test: `work`.
"""

import asyncio
import copy
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import kubernetes_validate
from aiohttp import web

from tests.deploy.fake_queries import at, discovery, fields_match, labels_match
from tests.deploy.forwarded import forwarded
from tests.deploy.manifests import runs_on
from tests.deploy.served import Ended, Object, executed, served

Key = tuple[str, str, str]
"""(plural, namespace, name)."""

_PATH: Final = re.compile(
    r"/(?:api/v1|apis/[^/]+/v1)(?:/namespaces/(?P<namespace>[^/]+)(?=/))?/(?P<plural>[a-z]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<sub>[a-z]+))?"
)
_IMMUTABLE: Final = {
    "daemonsets": ("spec", "selector"),
    "deployments": ("spec", "selector"),
    "jobs": ("spec", "template"),
    "clusterrolebindings": ("roleRef",),
}


class Wrong(Exception):
    """An answer other than success."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


@dataclass
class FakeCluster:
    """`work(pod, command)` is what a container does; a Job's pod is told its args, exec its command."""

    minor: int
    folder: Path
    """With the certificate: kubectl shows its token to nobody without TLS."""
    work: Callable[[Object, Sequence[str]], Ended]
    token: str = "secret"
    port: int = 0
    version: int = 1
    store: dict[Key, Object] = field(default_factory=dict)
    logs: dict[Key, str] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    """(method, path with query)."""
    broken_nodes: set[str] = field(default_factory=set)
    """Where no image can be pulled."""
    ports: dict[int, int] = field(default_factory=dict)
    """What `kubectl port-forward` reaches: a port of a pod, and that of loopback which stands for it."""
    end_seconds: float = 2.0
    """How long a namespace that is being deleted stays."""
    ends: dict[str, float] = field(default_factory=dict)
    """When those that are will be gone, CLOCK_MONOTONIC."""
    lock: threading.RLock = field(default_factory=threading.RLock)

    def kubeconfig(self) -> Path:
        path = self.folder / "kubeconfig"
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": f"https://127.0.0.1:{self.port}", "certificate-authority": str(self.folder / "cert.pem")}}],
            "users": [{"name": "test", "user": {"token": self.token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }  # fmt: skip
        path.write_text(json.dumps(config))
        path.chmod(0o600)
        return path

    def node(
        self, name: str, labels: Mapping[str, str] | None = None, os: str = "linux", system: str = "Debian GNU/Linux 12"
    ) -> None:
        info = {"kernelVersion": "6.1.0-13-amd64", "osImage": system, "operatingSystem": os}
        self.put({"kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/os": os, **(labels or {})}},
                  "spec": {}, "status": {"nodeInfo": info}}, "nodes")  # fmt: skip

    def put(self, item: Object, plural: str) -> Object:
        with self.lock:
            self.version += 1
            metadata = {
                "uid": str(uuid.uuid4()),
                "generation": 1,
                **item["metadata"],
                "resourceVersion": str(self.version),
            }
            stored = {**item, "metadata": metadata}
            self.store[plural, metadata.get("namespace", ""), metadata["name"]] = stored
            return stored

    def of(self, plural: str) -> list[Object]:
        with self.lock:
            return [item for key, item in sorted(self.store.items()) if key[0] == plural]

    def wrote(self) -> list[tuple[str, str]]:
        """Requests that changed something."""
        return [(method, path) for method, path in self.requests if method != "GET" and "dryRun" not in path]

    # --- requests ----------------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: Mapping[str, str], body: Object | None) -> Object | str:
        if path == "/version":
            return {"major": "1", "minor": f"{self.minor}+", "gitVersion": f"v1.{self.minor}.0"}
        if (found := discovery(path)) is not None:
            return found
        match = _PATH.fullmatch(path)
        if match is None:
            raise Wrong(404, "NotFound", "the server could not find the requested resource")
        namespace, plural, name = match["namespace"] or "", match["plural"], match["name"] or ""
        key = (plural, namespace, name)
        dry = query.get("dryRun") == "All"
        with self.lock:
            self._end_namespaces()
            if match["sub"] == "log":
                return self._log(key, query)
            if method == "GET":
                return self._get(key) if name else self._list(plural, namespace, query)
            if method == "POST":
                return self._create(plural, namespace, body or {}, dry=dry)
            if method == "PUT":
                return self._replace(key, body or {}, dry=dry)
            if method == "DELETE":
                return self._delete(key)
        raise Wrong(405, "MethodNotAllowed", method)

    def _get(self, key: Key) -> Object:
        if key not in self.store:
            raise Wrong(404, "NotFound", f'{key[0]} "{key[2]}" not found')
        return self.store[key]

    def _list(self, plural: str, namespace: str, query: Mapping[str, str]) -> Object:
        found = [
            item
            for item in self.of(plural)
            if (not namespace or item["metadata"].get("namespace") == namespace)
            and labels_match(query.get("labelSelector", ""), item["metadata"].get("labels", {}))
            and fields_match(query.get("fieldSelector", ""), item)
        ]
        # Items of a list have no kind of their own, as in a real answer.
        return {
            "kind": "PodList" if plural == "pods" else "List",
            "apiVersion": "v1",
            "items": [{n: v for n, v in item.items() if n not in {"kind", "apiVersion"}} for item in found],
        }

    def _log(self, key: Key, query: Mapping[str, str]) -> str:
        self._get(key)
        if query.get("previous") == "true":
            raise Wrong(400, "BadRequest", f'previous terminated container "agent" in pod "{key[2]}" not found')
        return self.logs.get(key, "")

    def _create(self, plural: str, namespace: str, item: Object, *, dry: bool) -> Object:
        self._valid(plural, namespace, item)
        if (plural, namespace, item["metadata"]["name"]) in self.store:
            raise Wrong(409, "AlreadyExists", f'{plural} "{item["metadata"]["name"]}" already exists')
        if namespace in self.ends:
            what = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise Wrong(403, "Forbidden", f'{plural} "{item["metadata"]["name"]}" is forbidden: {what}')
        if dry:
            return item
        stored = self.put(item, plural)
        self._control(plural, stored)
        return stored

    def _replace(self, key: Key, item: Object, *, dry: bool) -> Object:
        before = self._get(key)
        self._valid(key[0], key[1], item)
        if (
            item["metadata"].get("resourceVersion", before["metadata"]["resourceVersion"])
            != before["metadata"]["resourceVersion"]
        ):
            raise Wrong(409, "Conflict", "the object has been modified")
        path = _IMMUTABLE.get(key[0], ())
        if path and at(before, path) != at(item, path):
            raise Wrong(422, "Invalid", f"{'.'.join(path)}: field is immutable")
        if dry:
            return item
        metadata = {
            **item["metadata"],
            "uid": before["metadata"]["uid"],
            "generation": before["metadata"]["generation"] + 1,
        }
        if "deletionTimestamp" in before["metadata"]:
            metadata["deletionTimestamp"] = before["metadata"]["deletionTimestamp"]
        stored = self.put({**item, "metadata": metadata}, key[0])
        self._control(key[0], stored)
        return stored

    def _delete(self, key: Key) -> Object:
        gone = self._get(key)
        if key[0] == "namespaces":
            return self._end(gone)
        del self.store[key]
        owner = gone["metadata"]["uid"]
        for other in [k for k, v in self.store.items() if v["metadata"].get("ownerUid") == owner]:
            del self.store[other]
        return {"kind": "Status", "status": "Success"}

    def _end(self, namespace: Object) -> Object:
        """It goes later, and what is in it with it."""
        name = namespace["metadata"]["name"]
        if name in self.ends:
            raise Wrong(409, "Conflict", "the system is ensuring all content is removed from this namespace")
        namespace["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        namespace["status"] = {"phase": "Terminating"}
        self.ends[name] = time.monotonic() + self.end_seconds
        return namespace

    def _end_namespaces(self) -> None:
        for name in [name for name, end in self.ends.items() if time.monotonic() >= end]:
            del self.ends[name]
            for key in [k for k in self.store if name in {k[1], k[2] if k[0] == "namespaces" else ""}]:
                del self.store[key]

    def _valid(self, plural: str, namespace: str, item: Object) -> None:
        metadata = item.get("metadata", {})
        if metadata.get("namespace", "") != namespace:
            raise Wrong(400, "BadRequest", "the namespace of the object does not match the one of the request")
        if namespace and ("namespaces", "", namespace) not in self.store:
            raise Wrong(404, "NotFound", f'namespaces "{namespace}" not found')
        if not re.fullmatch(r"[a-z0-9]([a-z0-9.:-]{0,61}[a-z0-9])?", metadata.get("name", "")):
            raise Wrong(422, "Invalid", f"metadata.name: {metadata.get('name')!r}")
        checked = copy.deepcopy(item)
        try:
            kubernetes_validate.validate(checked, f"1.{self.minor}", strict=True)
        except kubernetes_validate.ValidationError as error:
            raise Wrong(422, "Invalid", f"{plural}: {error.message}") from None

    # --- controllers -------------------------------------------------------------------------------------------------

    def _control(self, plural: str, item: Object) -> None:
        if plural == "daemonsets":
            self._daemonset(item)
        if plural == "deployments":
            wanted = item["spec"]["replicas"]
            item["status"] = {
                "observedGeneration": item["metadata"]["generation"],
                "updatedReplicas": wanted,
                "readyReplicas": wanted,
            }
        if plural == "jobs":
            self._job(item)

    def _daemonset(self, item: Object) -> None:
        nodes = [node["metadata"]["name"] for node in self.of("nodes") if runs_on(item, node["metadata"]["labels"])]
        ready = 0
        for key in [k for k, pod in self.store.items() if pod["metadata"].get("ownerUid") == item["metadata"]["uid"]]:
            del self.store[key]
        for node in nodes:
            pod = self._pod(item, f"{item['metadata']['name']}-{node}", node)
            ready += bool(pod and "running" in pod["status"]["containerStatuses"][0]["state"])
        item["status"] = {
            "observedGeneration": item["metadata"]["generation"], "desiredNumberScheduled": len(nodes),
            "updatedNumberScheduled": len(nodes), "numberReady": ready,
        }  # fmt: skip

    def _job(self, item: Object) -> None:
        spec = item["spec"]["template"]["spec"]
        term = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"][
            0
        ]
        (node,) = term["matchFields"][0]["values"]
        pod = self._pod(item, f"{item['metadata']['name']}-xyz", node)
        item["status"] = {}
        if pod is None:
            return
        pod["metadata"]["labels"]["job-name"] = item["metadata"]["name"]
        if node in self.broken_nodes:
            return
        code, out, err = self.work(pod, spec["containers"][0]["args"])
        pod["status"]["phase"] = "Failed" if code else "Succeeded"
        self.logs["pods", item["metadata"]["namespace"], pod["metadata"]["name"]] = out + err
        item["status"] = {"failed": 1} if code else {"succeeded": 1}

    def _pod(self, owner: Object, name: str, node: str) -> Object | None:
        """None where Pod Security or a quota does not let it in."""
        template, namespace = owner["spec"]["template"], owner["metadata"]["namespace"]
        labels = self.store["namespaces", "", namespace]["metadata"].get("labels", {})
        host = any(template["spec"].get(name) for name in ("hostPID", "hostNetwork")) or any(
            "hostPath" in volume for volume in template["spec"].get("volumes", ())
        )
        if host and labels.get("pod-security.kubernetes.io/enforce", "baseline") != "privileged":
            message = (
                f'Error creating: pods "{name}" is forbidden: violates PodSecurity "baseline:latest": host namespaces'
            )
            self._event(owner, "FailedCreate", message)
            return None
        priority = template["spec"].get("priorityClassName", "")
        if priority.startswith("system-") and not any(key[:2] == ("resourcequotas", namespace) for key in self.store):
            message = f'Error creating: pods "{name}" is forbidden: insufficient quota to match these scopes: [{{PriorityClass In [{priority}]}}]'
            self._event(owner, "FailedCreate", message)
            return None
        waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}
        state = waiting if node in self.broken_nodes else {"running": {}}
        return self.put(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": namespace, "labels": dict(template["metadata"]["labels"]),
                             "ownerUid": owner["metadata"]["uid"]},
                "spec": {**template["spec"], "nodeName": node},
                "status": {"phase": "Pending" if node in self.broken_nodes else "Running", "podIP": "10.0.0.1",
                           "containerStatuses": [{"name": "agent", "state": state}]},
            },
            "pods",
        )  # fmt: skip

    def _event(self, of: Object, reason: str, message: str) -> None:
        metadata = of["metadata"]
        self.put({
            "metadata": {"name": f"{metadata['name']}.{self.version}", "namespace": metadata["namespace"]},
            "involvedObject": {"kind": of["kind"], "name": metadata["name"], "uid": metadata["uid"]}, "reason": reason, "message": message,
            "lastTimestamp": f"2026-01-01T00:00:00.{self.version:06}Z",
        }, "events")  # fmt: skip


@contextmanager
def fake_cluster(minor: int, folder: Path, work: Callable[[Object, Sequence[str]], Ended]) -> Iterator[FakeCluster]:
    """Writes `kubeconfig` into `folder`."""
    cluster = FakeCluster(minor, folder, work)

    async def handle(request: web.Request) -> web.StreamResponse:
        return await _handle(cluster, request)

    with served(folder, handle) as port:
        cluster.port = port
        cluster.kubeconfig()
        yield cluster


async def _handle(cluster: FakeCluster, request: web.Request) -> web.StreamResponse:
    cluster.requests.append((request.method, request.path_qs))
    try:
        if request.headers.get("Authorization") != f"Bearer {cluster.token}":
            raise Wrong(401, "Unauthorized", "Unauthorized")
        if request.path.endswith("/exec"):
            return await _exec(cluster, request)
        if request.path.endswith("/portforward"):
            return await _port_forward(cluster, request)
        text = await request.text()
        body = json.loads(text) if text else None
        found = await asyncio.to_thread(cluster.answer, request.method, request.path, request.query, body)
    except Wrong as wrong:
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": wrong.reason, "message": str(wrong),
                  "code": wrong.code}  # fmt: skip
        return web.json_response(status, status=wrong.code)
    if isinstance(found, str):
        return web.Response(text=found)
    return web.json_response(found, status=201 if request.method == "POST" else 200)


async def _exec(cluster: FakeCluster, request: web.Request) -> web.StreamResponse:
    namespace, name = request.path.split("/")[-4], request.path.split("/")[-2]
    pod = cluster.store["pods", namespace, name]
    socket = await executed(request, lambda command: cluster.work(pod, command))
    if socket is None:
        raise Wrong(400, "BadRequest", "only WebSockets are served here")
    return socket


async def _port_forward(cluster: FakeCluster, request: web.Request) -> web.StreamResponse:
    namespace, name = request.path.split("/")[-4], request.path.split("/")[-2]
    if ("pods", namespace, name) not in cluster.store:
        raise Wrong(404, "NotFound", f'pods "{name}" not found')
    socket = await forwarded(request, cluster.ports.__getitem__)
    if socket is None:
        raise Wrong(400, "BadRequest", "only WebSockets are served here")
    return socket
