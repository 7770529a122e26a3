# SPDX-License-Identifier: Apache-2.0
"""The cluster's pods, by all that they are found by, as of now and as of a little while ago.

A pod that is over keeps its names for a while: its last requests are named after it. An address that another pod has since
taken is the new one's, and the old one's where it is asked about the time before that.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from collector.metadata.kube_objects import PodRecord
from collector.metadata.pod_places import Place, host_places, keys_of, leave, own_addresses, places


class Change(NamedTuple):
    """By what answers that it changes may have been asked for, and the addresses whose pod is over, or another one by now."""

    keys: tuple[object, ...] = ()
    handed_over: tuple[str, ...] = ()


@dataclass(slots=True)
class PodTable:
    """By UID. Not locked. Times are CLOCK_MONOTONIC nanoseconds."""

    clock: Callable[[], int]
    node: str = ""
    """Name of the own node."""
    pods: dict[str, PodRecord] = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)
    """Since when a pod is over."""
    known: dict[str, int] = field(default_factory=dict)
    """Since when there is something to tell of it."""
    here: set[str] = field(default_factory=set)
    """Those of the own node; of all nodes where that has no name."""
    _by_cgroup: dict[str, str] = field(default_factory=dict)
    _by_container: dict[str, tuple[str, str]] = field(default_factory=dict)
    _by_address: dict[str, list[str]] = field(default_factory=dict)
    _took: dict[tuple[str, str], int] = field(default_factory=dict)
    """Since when a pod has an address that another one had: (address, uid)."""
    _host_ports: dict[tuple[str, int], list[str]] = field(default_factory=dict)

    def put(self, pod: PodRecord) -> Change:
        """A new one, or what is new of it."""
        before = self.pods.get(pod.uid)
        ended = self.gone.pop(pod.uid, None)
        kept = places(before) & places(pod) if before else frozenset()
        if before is not None:
            self._unlink(before, kept)
        self.pods[pod.uid] = pod
        self.known.setdefault(pod.uid, self.clock())
        if not self.node or pod.node == self.node:
            self.here.add(pod.uid)
        else:
            self.here.discard(pod.uid)
        handed_over = self._link(pod, kept)
        if pod.is_over:
            self.gone[pod.uid] = self.clock() if ended is None else ended
            if ended is None:
                handed_over += own_addresses(pod)
        return Change((*keys_of(pod), *(keys_of(before) if before else ())), handed_over)

    def end(self, uid: str) -> Change:
        """It is over, and named for some time yet. Nothing where it was, or is not known."""
        pod = self.pods.get(uid)
        if pod is None or uid in self.gone:
            return Change()
        self.gone[uid] = self.clock()
        return Change(keys_of(pod), own_addresses(pod))

    def forget(self, tombstone_ns: int) -> list[PodRecord]:
        """Those that were over for longer than that: nothing is left of them."""
        now = self.clock()
        forgotten = []
        for uid in [uid for uid, at in self.gone.items() if now - at > tombstone_ns]:
            del self.gone[uid]
            self.here.discard(uid)
            self.known.pop(uid, None)
            pod = self.pods.pop(uid)
            self._unlink(pod)
            forgotten.append(pod)
        return forgotten

    def of_cgroup(self, uid: str) -> PodRecord | None:
        """By the UID in a cgroup's path: the pod's own, or the hash of a static pod's manifest."""
        return self.pods.get(self._by_cgroup.get(uid, uid))

    def of_container(self, container_id: str) -> tuple[PodRecord, str] | None:
        """The pod and the container's name there."""
        uid, name = self._by_container.get(container_id, ("", ""))
        pod = self.pods.get(uid)
        return (pod, name) if pod else None

    def at(self, address: str) -> PodRecord | None:
        """Who has this address of its own; if nobody has, who had it last."""
        return self.newest(self._by_address.get(address, ()))

    def at_time(self, address: str, now: PodRecord, at_ns: int) -> PodRecord:
        """Who had this address at that time, where `now` has it now. Goes back as far as there are pods that are over."""
        if self._took.get((address, now.uid), 0) <= at_ns:
            return now
        earlier = [(self._took.get((address, uid), 0), uid) for uid in self._by_address.get(address, ())]
        _, uid = max((entry for entry in earlier if entry[0] <= at_ns), default=(0, now.uid))
        return self.pods[uid]

    def at_host_port(self, address: str, port: int) -> PodRecord | None:
        """Whose this port of a node's address is."""
        return self.newest(self._host_ports.get((address, port), ()))

    def newest(self, uids: Iterable[str]) -> PodRecord | None:
        """The newest of those that run; if none does, the one that ended last."""
        pods = [self.pods[uid] for uid in uids if uid in self.pods]
        alive = [pod for pod in pods if pod.uid not in self.gone]
        if alive:
            return alive[-1]
        return max(pods, key=lambda pod: self.gone[pod.uid], default=None)

    def running(self) -> list[PodRecord]:
        """Of the whole cluster."""
        return [pod for uid, pod in self.pods.items() if uid not in self.gone]

    def running_here(self) -> list[PodRecord]:
        return [self.pods[uid] for uid in self.here.difference(self.gone)]

    def _link(self, pod: PodRecord, kept: frozenset[Place]) -> tuple[str, ...]:
        """After those that have its places already; the addresses that it takes over. What it has `kept` stays in its order: news
        of a pod that ended must not take an address back from its heir."""
        for uid in pod.cgroup_uids:
            self._by_cgroup[uid] = pod.uid
        for container, name in pod.containers:
            self._by_container[container] = (pod.uid, name)
        taken_over = []
        for address in own_addresses(pod):
            if address not in kept:
                others = self._by_address.setdefault(address, [])
                if others:
                    self._took[address, pod.uid] = self.clock()
                    taken_over.append(address)
                others.append(pod.uid)
        for place in host_places(pod):
            if place not in kept:
                self._host_ports.setdefault(place, []).append(pod.uid)
        return tuple(taken_over)

    def _unlink(self, pod: PodRecord, kept: frozenset[Place] = frozenset()) -> None:
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
