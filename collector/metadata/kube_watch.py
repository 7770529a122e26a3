# SPDX-License-Identifier: Apache-2.0
"""Keeping the index as the API has it: one thread for each kind lists once, then watches, and begins anew when it must.

List and watch as the API reference has them (API concepts, "Efficient detection of changes"): a list from the server's own
cache (resourceVersion=0) in pages, a watch from its version, bookmarks that move the version on, and 410 for one that the
server no longer has. Failures are waited out, longer each time and at random, so that a cluster of agents does not come
back as one; what is known by then stays known.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from collector.metadata import kube_objects
from collector.metadata.cluster import ClusterIndex
from collector.metadata.kube_api import JSON, METADATA, TABLE, WATCHED_METADATA, KubeApi, Refused, Unavailable
from collector.metadata.kube_objects import Json, Malformed

_PAGE: Final = "1000"
_WATCH_SECONDS: Final = (240, 300)
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
_GONE: Final = 410
_log = logging.getLogger(__name__)

Columns = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Resource:
    """One row of what is watched. `put` stores an object and answers its key; `drop` forgets one by its key."""

    name: str
    path: str
    put: Callable[[ClusterIndex, Json, Columns], str]
    drop: Callable[[ClusterIndex, str], None]
    key: Callable[[Json], str]
    selector: str = ""
    listed: str = JSON
    watched: str = JSON


@dataclass(slots=True)
class WatchState:
    """For status and metrics. Times are CLOCK_MONOTONIC seconds, 0 for never."""

    name: str
    complete: bool = False
    fault: str = ""
    heard: float = 0.0
    lists: int = 0
    watches: int = 0
    failures: int = 0
    malformed: int = 0
    last_malformed: str = ""


class Watch:
    """Runs in a thread of its own until `stop` is set."""

    def __init__(self, api: KubeApi, index: ClusterIndex, resource: Resource, stop: threading.Event) -> None:
        self._api = api
        self._index = index
        self._resource = resource
        self._stop = stop
        self._columns: Columns = {}
        self.state = WatchState(resource.name)

    def run(self) -> None:
        """Never raises: what goes wrong is told in `state`, waited out and tried again."""
        version, pause = "", _FIRST_PAUSE
        while not self._stop.is_set():
            try:
                if not version:
                    version = self._list()
                    pause = _FIRST_PAUSE
                version = self._watch(version)
                pause = _FIRST_PAUSE
            except Refused as refusal:
                if refusal.status == _GONE:
                    version = ""
                    self.state.fault = ""
                    self._wait(random.uniform(0, _FIRST_PAUSE))
                    continue
                pause = self._failed(str(refusal), pause)
            except Unavailable as fault:
                pause = self._failed(str(fault), pause)
            except Exception as error:  # noqa: BLE001 - an object that nobody thought of must not end the names
                version = ""
                pause = self._failed(f"{self._resource.name}: {type(error).__name__}: {error}", pause)

    def _failed(self, fault: str, pause: float) -> float:
        self.state.failures += 1
        self.state.fault = fault
        _log.warning("the Kubernetes API cannot be watched: %s; names known so far stay", fault)
        self._wait(random.uniform(pause / 2, pause))
        return min(2 * pause, _LONGEST_PAUSE)

    def _wait(self, seconds: float) -> None:
        self._stop.wait(seconds)

    def _list(self) -> str:
        """Everything, in pages; answers the version to watch from."""
        self.state.lists += 1
        keys: list[str] = []
        parameters = {"limit": _PAGE, "resourceVersion": "0"} | self._selected()
        while True:
            answer = self._api.get(self._resource.path, parameters, self._resource.listed)
            keys += self._take_all(answer)
            metadata = answer.get("metadata") or {}
            following = metadata.get("continue")
            if not following or self._stop.is_set():
                break
            parameters = {"limit": _PAGE, "continue": str(following)} | self._selected()
        self._index.keep_only(self._resource.name, keys)
        self._heard()
        self.state.complete = True
        return str(metadata.get("resourceVersion") or "0")

    def _watch(self, version: str) -> str:
        """Until the server ends it; answers the version to go on from."""
        self.state.watches += 1
        seconds = random.randint(*_WATCH_SECONDS)
        parameters = {"resourceVersion": version} | self._selected()
        for event in self._api.watch(self._resource.path, parameters, self._resource.watched, seconds):
            self._heard()
            told = event["object"]
            if event.get("type") == "BOOKMARK":
                version = _version(told) or version
            elif event.get("type") == "DELETED":
                for item in _items(told):
                    self._drop(item)
                    version = _version(item) or version
            else:
                self._take_all(told)
                version = _version(told) or version
            if self._stop.is_set():
                break
        self._index.sweep()
        return version

    def _take_all(self, told: Json) -> list[str]:
        """Objects of a list, the rows of a table, or one object. One that is malformed loses only itself."""
        if columns := kube_objects.columns_of(told):
            self._columns = columns
        keys: list[str] = []
        for item in _items(told):
            try:
                keys.append(self._resource.put(self._index, item, self._columns))
            except Malformed as fault:
                self.state.malformed += 1
                self.state.last_malformed = str(fault)
        return keys

    def _drop(self, item: Json) -> None:
        try:
            self._resource.drop(self._index, self._resource.key(item))
        except Malformed as fault:
            self.state.malformed += 1
            self.state.last_malformed = str(fault)

    def _selected(self) -> dict[str, str]:
        return {"fieldSelector": self._resource.selector} if self._resource.selector else {}

    def _heard(self) -> None:
        self.state.heard = time.monotonic()
        self.state.fault = ""


def _items(told: Json) -> list[Json]:
    """What is in a list or table, or the object itself."""
    for name in ("rows", "items"):
        if isinstance(told.get(name), list):
            return [item for item in told[name] if isinstance(item, Mapping)]
    return [told] if told.get("kind") not in {"Table", "List"} else []


def _version(told: Json) -> str:
    items = _items(told)
    inner = items[-1] if items else told
    metadata = (inner.get("object") or inner).get("metadata") or told.get("metadata") or {}
    return str(metadata.get("resourceVersion") or "")


def _uid(item: Json) -> str:
    metadata = (item.get("object") or item).get("metadata") or {}
    if not metadata.get("uid"):
        raise Malformed("an object without metadata.uid was deleted")
    return str(metadata["uid"])


def _path(item: Json) -> str:
    metadata = item.get("metadata") or {}
    return f"{metadata.get('namespace')}/{metadata.get('name')}"


def _name(item: Json) -> str:
    return str((item.get("metadata") or {}).get("name"))


def _put_pod(index: ClusterIndex, item: Json, _columns: Columns) -> str:
    pod = kube_objects.pod(item)
    index.put_pod(pod)
    return pod.uid


def _put_row(index: ClusterIndex, item: Json, columns: Columns) -> str:
    pod = kube_objects.pod_of_row(columns, item)
    index.put_pod(pod)
    return pod.uid


def _put_service(index: ClusterIndex, item: Json, _columns: Columns) -> str:
    record = kube_objects.service(item)
    index.put_service(record)
    return f"{record.namespace}/{record.name}"


def _put_slice(index: ClusterIndex, item: Json, _columns: Columns) -> str:
    record = kube_objects.endpoint_slice(item)
    index.put_slice(record)
    return f"{record.namespace}/{record.name}"


def _put_node(index: ClusterIndex, item: Json, _columns: Columns) -> str:
    record = kube_objects.node(item)
    index.put_node(record)
    return record.name


def _put_controller(kind: str) -> Callable[[ClusterIndex, Json, Columns], str]:
    def put(index: ClusterIndex, item: Json, _columns: Columns) -> str:
        record = kube_objects.controller(kind, item)
        index.put_controller(record)
        return record.uid

    return put


def resources(node: str) -> tuple[Resource, ...]:
    """Everything that is watched, and all that RBAC must allow: list and watch of these, nothing else."""
    pod, service = ClusterIndex.drop_pod, ClusterIndex.drop_service
    return (
        Resource("pods", "/api/v1/pods", _put_pod, pod, _uid, f"spec.nodeName={node}"),
        Resource(
            "elsewhere",
            "/api/v1/pods",
            _put_row,
            ClusterIndex.drop_elsewhere,
            _uid,
            f"spec.nodeName!={node}",
            TABLE,
            TABLE,
        ),
        Resource("services", "/api/v1/services", _put_service, service, _path),
        Resource(
            "endpointslices", "/apis/discovery.k8s.io/v1/endpointslices", _put_slice, ClusterIndex.drop_slice, _path
        ),
        Resource("nodes", "/api/v1/nodes", _put_node, ClusterIndex.drop_node, _name),
        *(
            Resource(
                name, path, _put_controller(kind), ClusterIndex.drop_controller, _uid, "", METADATA, WATCHED_METADATA
            )
            for name, path, kind in (
                ("replicasets", "/apis/apps/v1/replicasets", "ReplicaSet"),
                ("jobs", "/apis/batch/v1/jobs", "Job"),
            )
        ),
    )
