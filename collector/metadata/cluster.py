# SPDX-License-Identifier: Apache-2.0
"""What is known of the cluster: pods, services, nodes and their addresses, as of now and as of a little while ago.

Filled by watches, in threads of their own; asked by the resolver. A pod that was deleted keeps its names for a while
(`tombstone_ns`): its last requests are named after it. An address that another pod has since taken is the new one's.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from collector.metadata.cluster_services import ServiceTable
from collector.metadata.cluster_workloads import Workload, workload
from collector.metadata.kube_objects import (
    ControllerRecord,
    NodeRecord,
    Owner,
    PodRecord,
    ServiceRecord,
    SliceRecord,
)
from collector.metadata.pod_places import Place, host_places, keys_of, leave, own_addresses, places

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
    clock: Callable[[], int]
    node: str = ""
    """Name of the own node, whose pods are told in full by a watch of their own."""
    version: int = 1
    """Grows whenever an answer that was given may have changed; what nobody asked for does not count."""
    handing_over: Callable[[], None] | None = None
    """Called, from any thread, when a pod that has an address that was asked for is over, or another pod gets the address."""
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _pods: dict[str, PodRecord] = field(default_factory=dict)
    _gone: dict[str, int] = field(default_factory=dict)
    _known: dict[str, int] = field(default_factory=dict)
    _here: set[str] = field(default_factory=set)
    """Pods of this node; of all nodes where it has no name."""
    _by_cgroup: dict[str, str] = field(default_factory=dict)
    _by_container: dict[str, tuple[str, str]] = field(default_factory=dict)
    _by_address: dict[str, list[str]] = field(default_factory=dict)
    _services: ServiceTable = field(default_factory=ServiceTable)
    _took: dict[tuple[str, str], int] = field(default_factory=dict)
    """Since when a pod has an address that another one had: (address, uid)."""
    _host_ports: dict[tuple[str, int], list[str]] = field(default_factory=dict)
    _nodes: dict[str, NodeRecord] = field(default_factory=dict)
    _node_at: dict[str, str] = field(default_factory=dict)
    _controllers: dict[str, ControllerRecord] = field(default_factory=dict)
    _left_out: int = 0
    _asked: set[object] = field(default_factory=set)
    _observer: Owner | None = None
    _observers: dict[str, int] = field(default_factory=dict)

    # --- what the watches tell

    def put_pod(self, pod: PodRecord) -> None:
        with self._lock:
            before = self._pods.get(pod.uid)
            if before == pod and (pod.is_over or pod.uid not in self._gone):
                return
            ended = self._gone.pop(pod.uid, None)
            if before is None and len(self._pods) >= POD_LIMIT:
                self._left_out += 1
                return
            kept = places(before) & places(pod) if before else frozenset()
            if before is not None:
                self._unlink_pod(before, kept)
            self._pods[pod.uid] = pod
            if not self.node or pod.node == self.node:
                self._here.add(pod.uid)
            else:
                self._here.discard(pod.uid)
            self._known.setdefault(pod.uid, self.clock())
            for uid in pod.cgroup_uids:
                self._by_cgroup[uid] = pod.uid
            for container, name in pod.containers:
                self._by_container[container] = (pod.uid, name)
            self._link_places(pod, kept)
            if pod.is_over:
                self._gone[pod.uid] = self.clock() if ended is None else ended
                if ended is None:
                    self._hand_over(*own_addresses(pod))
            self._count_observer(pod, 1)
            self._touch(*keys_of(pod), *(keys_of(before) if before else ()))

    def drop_pod(self, uid: str) -> None:
        """It is named for some time yet."""
        with self._lock:
            if uid in self._pods and uid not in self._gone:
                self._gone[uid] = self.clock()
                self._touch(*keys_of(self._pods[uid]))
                self._hand_over(*own_addresses(self._pods[uid]))

    def drop_elsewhere(self, uid: str) -> None:
        """A pod left the watch of the other nodes' pods: it is gone, unless it was scheduled to this node just now."""
        with self._lock:
            pod = self._pods.get(uid)
            if pod is not None and (not self.node or pod.node != self.node):
                self.drop_pod(uid)

    def put_service(self, service: ServiceRecord) -> None:
        key = f"{service.namespace}/{service.name}"
        with self._lock:
            if self._services.services.get(key) == service:
                return
            self._touch(*self._services.drop(key))
            if self._room(self._services.services, key):
                self._touch(*self._services.put(key, service))

    def drop_service(self, key: str) -> None:
        with self._lock:
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
            self.drop_node(node.name)
            self._nodes[node.name] = node
            for address in node.addresses:
                self._node_at[address] = node.name
            self._touch(*node.addresses)

    def drop_node(self, name: str) -> None:
        with self._lock:
            gone = self._nodes.pop(name, None)
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
            "pods": self._pods, "elsewhere": self._pods, "services": self._services.services,
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
        if uid in self._here:
            self.drop_pod(uid)

    def gone_pods(self) -> frozenset[tuple[str, str]]:
        """Namespace and name of each pod that is over and still named here, unless another one has its name by now."""
        with self._lock:
            if not self._gone:
                return frozenset()
            gone = {(self._pods[uid].namespace, self._pods[uid].name) for uid in self._gone}
            return frozenset(gone.difference(
                (pod.namespace, pod.name) for uid, pod in self._pods.items() if uid not in self._gone
            ))  # fmt: skip

    def running_here(self) -> frozenset[tuple[str, str]]:
        """Namespace and name of each pod of this node that is not over."""
        with self._lock:
            running = [self._pods[uid] for uid in self._here.difference(self._gone)]
        return frozenset((pod.namespace, pod.name) for pod in running)

    def sweep(self) -> None:
        """Forgets pods whose time after their end is over."""
        with self._lock:
            now = self.clock()
            for uid in [uid for uid, at in self._gone.items() if now - at > self.tombstone_ns]:
                del self._gone[uid]
                self._here.discard(uid)
                self._known.pop(uid, None)
                pod = self._pods.pop(uid, None)
                if pod is not None:
                    self._unlink_pod(pod)
                    self._touch(*keys_of(pod))
                    self._asked.difference_update(keys_of(pod))  # who still wants to know asks again after this

    # --- what the resolver asks

    def pod_of_cgroup(self, uid: str) -> PodRecord | None:
        """By the UID in a cgroup's path: the pod's own, or the hash of a static pod's manifest."""
        with self._lock:
            self._ask(uid)
            return self._pods.get(self._by_cgroup.get(uid, uid))

    def container(self, container_id: str) -> tuple[PodRecord, str] | None:
        """The pod and the container's name there."""
        with self._lock:
            self._ask(container_id)
            uid, name = self._by_container.get(container_id, ("", ""))
            pod = self._pods.get(uid)
            return (pod, name) if pod else None

    def pod_at(self, address: str) -> PodRecord | None:
        """Who has this address; if nobody has, who had it last. A node's address is no pod's: those that are told to have it
        share it with hostNetwork, which rows of a table do not say."""
        with self._lock:
            self._ask(address)
            if address in self._node_at:
                return None
            return self._newest(self._by_address.get(address, ()))

    def ages_of(self, pod: PodRecord) -> tuple[int, int | None]:
        """For how long it has been known, and how long it has been over (None: it is not), in nanoseconds."""
        with self._lock:
            now, gone = self.clock(), self._gone.get(pod.uid)
            return now - self._known.get(pod.uid, now), None if gone is None else now - gone

    def pod_at_time(self, address: str, at_ns: int) -> tuple[PodRecord | None, bool]:
        """Who had this address at that time (0: now), and whether somebody else has it now. Goes back as far as tombstones."""
        with self._lock:
            now = self.pod_at(address)
            if now is None or not at_ns or self._took.get((address, now.uid), 0) <= at_ns:
                return now, False
            earlier = [(self._took.get((address, uid), 0), uid) for uid in self._by_address.get(address, ())]
            _, uid = max((entry for entry in earlier if entry[0] <= at_ns), default=(0, now.uid))
            return self._pods[uid], uid != now.uid

    def pod_at_port(self, address: str, port: int) -> PodRecord | None:
        """Whose this port is, where the address alone does not say: a node's (hostNetwork, hostPort), or one of a pod's that
        only its EndpointSlices tell of."""
        with self._lock:
            self._ask((address, port))
            if port and (found := self._newest(self._host_ports.get((address, port), ()))) is not None:
                return found
            uids = self._services.targets(address, port) if port else ()
            return self._newest([uid for uid in uids if uid in self._pods])

    def _newest(self, uids: Iterable[str]) -> PodRecord | None:
        pods = [self._pods[uid] for uid in uids]
        alive = [pod for pod in pods if pod.uid not in self._gone]
        if alive:
            return alive[-1]
        return max(pods, key=lambda pod: self._gone[pod.uid], default=None)

    def service_at(self, address: str) -> ServiceRecord | None:
        with self._lock:
            self._ask(address)
            return self._services.at(address)

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

    def observe_by(self, owner: Owner | None) -> None:
        """The controller whose pods are the agents: a node that has one of them is seen from its own side."""
        with self._lock:
            self._observer, self._observers = owner, {}
            for pod in self._pods.values():
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
            return {
                (pod.namespace, workload(pod, self._controllers))
                for uid, pod in self._pods.items()
                if uid not in self._gone
            }

    def counts(self) -> Counts:
        with self._lock:
            return Counts(
                len(self._pods), len(self._services.services), len(self._services.slices), len(self._nodes), len(self._controllers),
                self._left_out,
            )  # fmt: skip

    # --- links

    def _ask(self, key: object) -> None:
        """Remembers what was asked for, so that only what changes it counts as news."""
        if len(self._asked) >= ASKED_LIMIT:
            self._asked.clear()
            self.version += 1  # and everybody asks again
        self._asked.add(key)

    def _touch(self, *keys: object) -> None:
        if not self._asked.isdisjoint(keys):
            self.version += 1

    def _hand_over(self, *addresses: str) -> None:
        if self.handing_over is not None and not self._asked.isdisjoint(addresses):
            self.handing_over()

    def _count_observer(self, pod: PodRecord, by: int) -> None:
        if self._observer is None or pod.owner != self._observer or not pod.node:
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

    def _link_places(self, pod: PodRecord, kept: frozenset[Place]) -> None:
        """After those that have them already. What it has `kept` stays in its order: news of a pod that ended must not take an
        address back from its heir."""
        for address in own_addresses(pod):
            if address not in kept:
                others = self._by_address.setdefault(address, [])
                if others:
                    self._took[address, pod.uid] = self.clock()
                    self._hand_over(address)
                others.append(pod.uid)
        for place in host_places(pod):
            if place not in kept:
                self._host_ports.setdefault(place, []).append(pod.uid)

    def _unlink_pod(self, pod: PodRecord, kept: frozenset[Place] = frozenset()) -> None:
        self._count_observer(pod, -1)
        for uid in pod.cgroup_uids:
            if self._by_cgroup.get(uid) == pod.uid:
                del self._by_cgroup[uid]
        for container, _ in pod.containers:
            if self._by_container.get(container, ("",))[0] == pod.uid:
                del self._by_container[container]
        for address in own_addresses(pod):
            if address not in kept:
                self._took.pop((address, pod.uid), None)
                leave(self._by_address, address, pod.uid)
        for place in host_places(pod):
            if place not in kept:
                leave(self._host_ports, place, pod.uid)
