# SPDX-License-Identifier: Apache-2.0
"""What is known of the cluster: pods, services, nodes and their addresses, as of now and as of a little while ago.

Filled by watches, in threads of their own; asked by the resolver, which hears of what changed an answer that it was given.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from collector.metadata.cluster_pods import Change, PodTable
from collector.metadata.cluster_services import ServiceTable
from collector.metadata.cluster_workloads import Agents, Workload, agents_beside, workload
from collector.metadata.kube_objects import (
    ControllerRecord,
    NodeRecord,
    PodRecord,
    ServiceRecord,
    SliceRecord,
)
from collector.metadata.pod_places import keys_of

POD_LIMIT: Final = 200_000
OTHER_LIMIT: Final = 100_000
ASKED_LIMIT: Final = 32_768


@dataclass(slots=True)
class Counts:
    """For status and metrics."""

    pods: int = 0
    services: int = 0
    slices: int = 0
    nodes: int = 0
    controllers: int = 0
    left_out: int = 0


@dataclass(slots=True)
class ClusterIndex:
    """All methods may be called from any thread. Times are CLOCK_MONOTONIC nanoseconds."""

    tombstone_ns: int
    """How long a pod that is over keeps its names."""
    clock: Callable[[], int]
    node: str = ""
    """Name of the own node, whose pods are told in full by a watch of their own."""
    version: int = 1
    """Grows whenever an answer that was given may have changed; what nobody asked for does not count."""
    handing_over: Callable[[], None] | None = None
    """Called, from any thread, when a pod that has an address that was asked for is over, or another pod gets the address."""
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _pods: PodTable = field(init=False)
    _services: ServiceTable = field(default_factory=ServiceTable)
    _nodes: dict[str, NodeRecord] = field(default_factory=dict)
    _node_at: dict[str, str] = field(default_factory=dict)
    _controllers: dict[str, ControllerRecord] = field(default_factory=dict)
    _since: dict[tuple[str, str], int] = field(default_factory=dict)
    """Since when there is something to tell of a Service or node, by kind and key."""
    _left_out: int = 0
    _asked: set[object] = field(default_factory=set)
    _agents: Agents | None = None
    _observers: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._pods = PodTable(self.clock, self.node)

    # --- what the watches tell

    def put_pod(self, pod: PodRecord) -> None:
        with self._lock:
            before = self._pods.pods.get(pod.uid)
            if before == pod and (pod.is_over or pod.uid not in self._pods.gone):
                return
            if before is None and len(self._pods.pods) >= POD_LIMIT:
                self._left_out += 1
                return
            if before is not None:
                self._count_observer(before, -1)
            self._count_observer(pod, 1)
            self._tell(self._pods.put(pod))

    def drop_pod(self, uid: str) -> None:
        """It is named for some time yet."""
        with self._lock:
            self._tell(self._pods.end(uid))

    def drop_elsewhere(self, uid: str) -> None:
        """A pod left the watch of the other nodes' pods: it is gone, unless it was scheduled to this node just now."""
        with self._lock:
            pod = self._pods.pods.get(uid)
            if pod is not None and (not self.node or pod.node != self.node):
                self.drop_pod(uid)

    def put_service(self, service: ServiceRecord) -> None:
        key = f"{service.namespace}/{service.name}"
        with self._lock:
            if self._services.services.get(key) == service:
                return
            self._touch(*self._services.drop(key))
            if self._room(self._services.services, key):
                self._since.setdefault(("Service", key), self.clock())
                self._touch(*self._services.put(key, service))

    def drop_service(self, key: str) -> None:
        with self._lock:
            self._since.pop(("Service", key), None)
            self._touch(*self._services.drop(key))

    def put_slice(self, record: SliceRecord) -> None:
        key = f"{record.namespace}/{record.name}"
        with self._lock:
            if self._services.slices.get(key) == record:
                return
            self._touch(*self._services.drop_slice(key))
            if self._room(self._services.slices, key):
                self._touch(*self._services.put_slice(key, record))

    def drop_slice(self, key: str) -> None:
        with self._lock:
            self._touch(*self._services.drop_slice(key))

    def put_node(self, node: NodeRecord) -> None:
        with self._lock:
            if self._nodes.get(node.name) == node or not self._room(self._nodes, node.name):
                return
            since = self._since.get(("node", node.name), self.clock())
            self.drop_node(node.name)
            self._nodes[node.name], self._since["node", node.name] = node, since
            for address in node.addresses:
                self._node_at[address] = node.name
            self._touch(*node.addresses)

    def drop_node(self, name: str) -> None:
        with self._lock:
            gone = self._nodes.pop(name, None)
            self._since.pop(("node", name), None)
            for address in gone.addresses if gone else ():
                if self._node_at.get(address) == name:
                    del self._node_at[address]
            self._touch(*(gone.addresses if gone else ()))

    def put_controller(self, record: ControllerRecord) -> None:
        with self._lock:
            if self._controllers.get(record.uid) != record and self._room(self._controllers, record.uid):
                self._controllers[record.uid] = record
                self._touch(record.uid)

    def drop_controller(self, uid: str) -> None:
        """Stays while a pod of it may still be named: it is found by the pod's own owner's name then."""
        with self._lock:
            self._controllers.pop(uid, None)

    def keep_only(self, kind: str, keys: Iterable[str]) -> None:
        """After a whole list: what is not in it went away while nobody watched."""
        tables: dict[str, Mapping[str, object]] = {
            "pods": self._pods.pods, "elsewhere": self._pods.pods, "services": self._services.services,
            "endpointslices": self._services.slices, "nodes": self._nodes,
            "replicasets": self._controllers, "jobs": self._controllers,
        }  # fmt: skip
        known = tables[kind]
        drop = {
            "pods": self._drop_own, "elsewhere": self.drop_elsewhere, "services": self.drop_service, "endpointslices": self.drop_slice,
            "nodes": self.drop_node, "replicasets": self.drop_controller, "jobs": self.drop_controller,
        }[kind]  # fmt: skip
        wanted = {"replicasets": "ReplicaSet", "jobs": "Job"}.get(kind)
        with self._lock:
            listed = set(keys)
            for key in [key for key in known if key not in listed]:
                if wanted is None or self._controllers[key].kind == wanted:
                    drop(key)

    def _drop_own(self, uid: str) -> None:
        if uid in self._pods.here:
            self.drop_pod(uid)

    def gone_pods(self) -> frozenset[tuple[str, str]]:
        """Namespace and name of each pod that is over and still named here, unless another one has its name by now."""
        with self._lock:
            if not self._pods.gone:
                return frozenset()
            gone = {(self._pods.pods[uid].namespace, self._pods.pods[uid].name) for uid in self._pods.gone}
            return frozenset(gone.difference((pod.namespace, pod.name) for pod in self._pods.running()))

    def running_here(self) -> frozenset[tuple[str, str]]:
        """Namespace and name of each pod of this node that is not over."""
        with self._lock:
            running = self._pods.running_here()
        return frozenset((pod.namespace, pod.name) for pod in running)

    def sweep(self) -> None:
        """Forgets pods whose time after their end is over."""
        with self._lock:
            for pod in self._pods.forget(self.tombstone_ns):
                self._count_observer(pod, -1)
                self._touch(*keys_of(pod))
                self._asked.difference_update(keys_of(pod))  # who still wants to know asks again after this

    # --- what the resolver asks

    def pod_of_cgroup(self, uid: str) -> PodRecord | None:
        """By the UID in a cgroup's path: the pod's own, or the hash of a static pod's manifest."""
        with self._lock:
            self._ask(uid)
            return self._pods.of_cgroup(uid)

    def container(self, container_id: str) -> tuple[PodRecord, str] | None:
        """The pod and the container's name there."""
        with self._lock:
            self._ask(container_id)
            return self._pods.of_container(container_id)

    def pod_at(self, address: str) -> PodRecord | None:
        """Who has this address; if nobody has, who had it last. A node's address is no pod's: those that are told to have it
        share it with hostNetwork, which rows of a table do not say."""
        with self._lock:
            self._ask(address)
            if address in self._node_at:
                return None
            return self._pods.at(address)

    def ages_of(self, pod: PodRecord) -> tuple[int, int | None]:
        """For how long it has been known, and how long it has been over (None: it is not), in nanoseconds."""
        with self._lock:
            now, gone = self.clock(), self._pods.gone.get(pod.uid)
            return now - self._pods.known.get(pod.uid, now), None if gone is None else now - gone

    def age_of(self, kind: str, key: str) -> int:
        """For how long a "Service" (by namespace/name) or a "node" has been known, in nanoseconds."""
        with self._lock:
            now = self.clock()
            return now - self._since.get((kind, key), now)

    def pod_at_time(self, address: str, at_ns: int) -> tuple[PodRecord | None, bool]:
        """Who had this address at that time (0: now), and whether somebody else has it now. Goes back as far as tombstones."""
        with self._lock:
            now = self.pod_at(address)
            if now is None or not at_ns:
                return now, False
            then = self._pods.at_time(address, now, at_ns)
            return then, then.uid != now.uid

    def pod_at_port(self, address: str, port: int) -> PodRecord | None:
        """Whose this port is, where the address alone does not say: a node's (hostNetwork, hostPort), or one of a pod's that
        only its EndpointSlices tell of."""
        with self._lock:
            self._ask((address, port))
            if not port:
                return None
            return self._pods.at_host_port(address, port) or self._pods.newest(self._services.targets(address, port))

    def service_at(self, address: str, port: int = 0) -> ServiceRecord | None:
        """Who is dialled there. A node's address is a Service's (externalIPs, a balancer that is the nodes) at its ports only."""
        with self._lock:
            self._ask(address)
            found = self._services.at(address, port)
            return None if found and address in self._node_at and port not in found.ports else found

    def services_at(self, address: str) -> list[ServiceRecord]:
        """Every one that is dialled there, at whichever port."""
        with self._lock:
            return self._services.all_at(address)

    def service_of_node_port(self, port: int) -> ServiceRecord | None:
        with self._lock:
            self._ask(port)
            return self._services.of_node_port(port)

    def service_of_backend(self, address: str, port: int) -> str:
        """The name of the only Service that has this backend; empty if there is none or more than one."""
        with self._lock:
            self._ask((address, port))
            return self._services.of_backend(address, port)

    def services_of_backend(self, address: str, port: int) -> tuple[str, ...]:
        """Namespace/name of every Service that has this backend."""
        with self._lock:
            return self._services.all_of_backend(address, port)

    def node_at(self, address: str) -> str:
        with self._lock:
            self._ask(address)
            return self._node_at.get(address, "")

    def observe_by(self, agent: PodRecord) -> None:
        """This agent's own pod, which tells whose pods the agents are: a node that has one of them is seen from its own side."""
        with self._lock:
            self._agents, self._observers = agents_beside(agent), {}
            for pod in self._pods.pods.values():
                self._count_observer(pod, 1)
            self.version += 1

    def is_observed(self, node: str) -> bool:
        """Whether an agent runs on that node; this one's own always has one."""
        with self._lock:
            return bool(node) and (node == self.node or self._observers.get(node, 0) > 0)

    def workload_of(self, pod: PodRecord) -> Workload:
        """The controller that a person knows: the Deployment behind a ReplicaSet, the CronJob behind a Job."""
        with self._lock:
            self._ask(pod.owner.uid if pod.owner else "")
            return workload(pod, self._controllers)

    def workloads(self) -> set[tuple[str, Workload]]:
        """Every workload that has a pod now, with its namespace."""
        with self._lock:
            return {(pod.namespace, workload(pod, self._controllers)) for pod in self._pods.running()}

    def counts(self) -> Counts:
        with self._lock:
            return Counts(
                len(self._pods.pods), len(self._services.services), len(self._services.slices), len(self._nodes), len(self._controllers),
                self._left_out,
            )  # fmt: skip

    # --- whom news concern

    def _ask(self, key: object) -> None:
        """Remembers what was asked for, so that only what changes it counts as news."""
        if len(self._asked) >= ASKED_LIMIT:
            self._asked.clear()
            self.version += 1  # and everybody asks again
        self._asked.add(key)

    def _touch(self, *keys: object) -> None:
        if not self._asked.isdisjoint(keys):
            self.version += 1

    def _tell(self, change: Change) -> None:
        self._touch(*change.keys)
        if self.handing_over is not None and not self._asked.isdisjoint(change.handed_over):
            self.handing_over()

    def _count_observer(self, pod: PodRecord, by: int) -> None:
        if self._agents is None or not pod.node or not self._agents.has(pod):
            return
        before = self._observers.get(pod.node, 0)
        self._observers[pod.node] = before + by
        if (before > 0) != (before + by > 0):
            self.version += 1

    def _room(self, table: Mapping[str, object], key: str) -> bool:
        if key in table or len(table) < OTHER_LIMIT:
            return True
        self._left_out += 1
        return False
