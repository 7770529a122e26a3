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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from collector.metadata import kube_objects, kube_shapes
from collector.metadata.kube_api import JSON, METADATA, TABLE, WATCHED_METADATA, KubeApi, Refused, Unavailable
from collector.metadata.kube_objects import (
    ControllerRecord,
    Json,
    Malformed,
    NodeRecord,
    PodRecord,
    ServiceRecord,
    SliceRecord,
)

_PAGE: Final = "1000"
_WATCH_SECONDS: Final = (240, 300)
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
_IDLE_SECONDS: Final = 1.0
_REST_AFTER: Final = 0.002
_REST_SECONDS: Final = 0.2
"""An event that had to be waited for is taken at once, and those of so long afterwards together: fifty changes a second are
five times to wake up for, not fifty."""
_GONE: Final = 410
_log = logging.getLogger(__name__)

Columns = Mapping[str, int]


class Names(Protocol):
    """What is kept of the API's objects: an agent's index, or what the names service tells. Safe from any thread."""

    def put_pod(self, pod: PodRecord) -> None: ...
    def drop_pod(self, uid: str) -> None: ...
    def drop_elsewhere(self, uid: str) -> None: ...
    def put_service(self, service: ServiceRecord) -> None: ...
    def drop_service(self, key: str) -> None: ...
    def put_slice(self, record: SliceRecord) -> None: ...
    def drop_slice(self, key: str) -> None: ...
    def put_node(self, node: NodeRecord) -> None: ...
    def drop_node(self, name: str) -> None: ...
    def put_controller(self, record: ControllerRecord) -> None: ...
    def drop_controller(self, uid: str) -> None: ...

    def keep_only(self, kind: str, keys: Iterable[str]) -> None:
        """After a whole list: what is not in it went away while nobody watched."""
        ...

    def sweep(self) -> None: ...


class TurnedOff(Exception):
    """What was heard is not wanted any more: somebody else tells it."""


class Switch:
    """Whether a group of watches runs and may write. It is turned between two writes, never within one."""

    def __init__(self, *, on: bool = True) -> None:
        self._lock = threading.Lock()
        self._on = threading.Event()
        self.turn(on=on)

    @property
    def on(self) -> bool:
        return self._on.is_set()

    def turn(self, *, on: bool) -> None:
        with self._lock:
            if on:
                self._on.set()
            else:
                self._on.clear()

    def wait(self, seconds: float) -> bool:
        return self._on.wait(seconds)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Raises TurnedOff."""
        with self._lock:
            if not self._on.is_set():
                raise TurnedOff
            yield


@dataclass(frozen=True, slots=True)
class Resource:
    """One row of what is watched. `put` stores an object and answers its key; `drop` forgets one by its key."""

    name: str
    path: str
    put: Callable[[Names, Json, Columns], str]
    drop: Callable[[Names, str], None]
    key: Callable[[Json], str]
    shape: kube_shapes.Shape
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

    def __init__(
        self, api: KubeApi, index: Names, resource: Resource, stop: threading.Event, switch: Switch | None = None
    ) -> None:
        self._api = api
        self._index = index
        self._resource = resource
        self._stop = stop
        self._switch = switch or Switch()
        self._columns: Columns = {}
        self._version = ""
        """To go on watching from; empty: everything is to be listed first."""
        self._decoders = kube_shapes.decoders(resource.shape)
        self.state = WatchState(resource.name)

    def run(self) -> None:
        """Never raises: what goes wrong is told in `state`, waited out and tried again."""
        pause = _FIRST_PAUSE
        while not self._stop.is_set():
            try:
                if not self._switch.wait(_IDLE_SECONDS):
                    continue
                if not self._version:
                    self._version = self._list()
                    pause = _FIRST_PAUSE
                self._watch()
                pause = _FIRST_PAUSE
            except TurnedOff:
                self._version, pause = "", _FIRST_PAUSE
                self.state.fault = ""
            except Refused as refusal:
                if refusal.status == _GONE:
                    self._version = ""
                    self.state.fault = ""
                    self._wait(random.uniform(0, _FIRST_PAUSE))
                    continue
                pause = self._failed(str(refusal), pause)
            except Unavailable as fault:
                pause = self._failed(str(fault), pause)
            except Exception as error:  # noqa: BLE001 - an object that nobody thought of must not end the names
                self._version = ""
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
            answer = self._api.get(self._resource.path, parameters, self._resource.listed, self._decoders.listed)
            with self._switch.writing():
                keys += self._take_all(answer)
            metadata = answer.get("metadata") or {}
            following = metadata.get("continue")
            if not following or self._stop.is_set():
                break
            parameters = {"limit": _PAGE, "continue": str(following)} | self._selected()
        with self._switch.writing():
            self._index.keep_only(self._resource.name, keys)
        self._heard()
        self.state.complete = True
        return str(metadata.get("resourceVersion") or "0")

    def _watch(self) -> None:
        """Until the server ends it, or the connection breaks: what was heard before that is not asked for again."""
        self.state.watches += 1
        seconds = random.randint(*_WATCH_SECONDS)
        parameters = {"resourceVersion": self._version} | self._selected()
        asked = time.monotonic()
        events = self._api.watch(self._resource.path, parameters, self._resource.watched, seconds, self._decoders.event)
        for event in events:
            rests = time.monotonic() - asked > _REST_AFTER
            with self._switch.writing():
                self._version = self._take(event) or self._version
            self._heard()
            if rests:
                self._wait(_REST_SECONDS)
            if self._stop.is_set():
                break
            asked = time.monotonic()
        self._index.sweep()

    def _take(self, event: Json) -> str:
        """One event; answers the version that it moves on to, empty if it says none."""
        told = event["object"]
        if event.get("type") == "DELETED":
            for item in _items(told):
                self._drop(item)
        elif event.get("type") != "BOOKMARK":
            self._take_all(told)
        return _version(told)

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


def _put_pod(index: Names, item: Json, _columns: Columns) -> str:
    pod = kube_objects.pod(item)
    index.put_pod(pod)
    return pod.uid


def _put_row(index: Names, item: Json, columns: Columns) -> str:
    pod = kube_objects.pod_of_row(columns, item)
    index.put_pod(pod)
    return pod.uid


def _put_service(index: Names, item: Json, _columns: Columns) -> str:
    record = kube_objects.service(item)
    index.put_service(record)
    return f"{record.namespace}/{record.name}"


def _put_slice(index: Names, item: Json, _columns: Columns) -> str:
    record = kube_objects.endpoint_slice(item)
    index.put_slice(record)
    return f"{record.namespace}/{record.name}"


def _put_node(index: Names, item: Json, _columns: Columns) -> str:
    record = kube_objects.node(item)
    index.put_node(record)
    return record.name


def _put_controller(kind: str) -> Callable[[Names, Json, Columns], str]:
    def put(index: Names, item: Json, _columns: Columns) -> str:
        record = kube_objects.controller(kind, item)
        index.put_controller(record)
        return record.uid

    return put


def of_node(node: str) -> tuple[Resource, ...]:
    """The pods of one node, whole."""
    return (Resource("pods", "/api/v1/pods", _put_pod, _drop_pod, _uid, kube_shapes.POD, f"spec.nodeName={node}"),)


def of_others(node: str) -> tuple[Resource, ...]:
    """Everything else of the cluster, of pods as little as is needed."""
    selector = f"spec.nodeName!={node}"
    return (
        Resource(
            "elsewhere", "/api/v1/pods", _put_row, _drop_elsewhere, _uid, kube_shapes.TABLE, selector, TABLE, TABLE
        ),
        *_COMMON,
    )


def of_cluster() -> tuple[Resource, ...]:
    """All of the cluster: pods whole, for some of their addresses and ports are in no table."""
    return (Resource("pods", "/api/v1/pods", _put_pod, _drop_pod, _uid, kube_shapes.POD), *_COMMON)


def _drop_pod(index: Names, key: str) -> None:
    index.drop_pod(key)


def _drop_elsewhere(index: Names, key: str) -> None:
    index.drop_elsewhere(key)


def _drop_controller(index: Names, key: str) -> None:
    index.drop_controller(key)


_COMMON: Final = (
    Resource(
        "services", "/api/v1/services", _put_service, lambda index, key: index.drop_service(key), _path,
        kube_shapes.SERVICE,
    ),
    Resource(
        "endpointslices", "/apis/discovery.k8s.io/v1/endpointslices", _put_slice,
        lambda index, key: index.drop_slice(key), _path, kube_shapes.SLICE,
    ),
    Resource(
        "nodes", "/api/v1/nodes", _put_node, lambda index, key: index.drop_node(key), _name, kube_shapes.NODE
    ),
    *(
        Resource(name, path, _put_controller(kind), _drop_controller, _uid, kube_shapes.CONTROLLER, "", METADATA, WATCHED_METADATA)
        for name, path, kind in (
            ("replicasets", "/apis/apps/v1/replicasets", "ReplicaSet"),
            ("jobs", "/apis/batch/v1/jobs", "Job"),
        )
    ),
)  # fmt: skip
"""With pods, all that RBAC must allow: list and watch of these, nothing else."""
