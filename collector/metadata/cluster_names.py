# SPDX-License-Identifier: Apache-2.0
"""From what the cluster index knows to the Party that an edge shows."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from analyzers.resolver import NOT_FOUND_INTERNAL, NOT_TOLD_YET, Party
from collector.metadata.cluster import ClusterIndex
from collector.metadata.containers import CgroupOwner
from collector.metadata.kube_objects import PodRecord, ServiceRecord

_ID_LENGTH = 12
_SECOND_NS = 10**9


def _yes() -> bool:
    return True


class ClusterNames:
    """Answers from memory. None where the cluster has nothing to say, so that the host's own names are used."""

    def __init__(
        self, index: ClusterIndex, sources: Callable[[], Sequence[str]] = tuple, knows_addresses: Callable[[], bool] = _yes
    ) -> None:  # fmt: skip
        """`sources` says who tells the names, and what nobody does, as sentences for people. `knows_addresses` says whether an
        address that nobody has is outside; once it does, it does for good."""
        self._index = index
        self.sources = sources
        self.knows_addresses = knows_addresses

    @property
    def version(self) -> int:
        return self._index.version + self.knows_addresses()

    def owner(self, owner: CgroupOwner) -> Party | None:
        """Whose a local process is, by the container and pod that its cgroup names."""
        found = self._index.container(owner.container_id) if owner.container_id else None
        if found is not None:
            pod, container = found
            return replace(self._pod(pod), container=container, container_id=owner.container_id[:_ID_LENGTH])
        pod_found = self._index.pod_of_cgroup(owner.pod_uid) if owner.pod_uid else None
        if pod_found is None:
            return None
        return replace(self._pod(pod_found), container_id=owner.container_id[:_ID_LENGTH])

    def owner_of_address(self, ip: str, party: Party) -> Party:
        """Of a socket here whose process is gone, `party`: the pod that has its address now, which no other has. Who has none
        may be a pod that was not told yet."""
        found = self.pod_of_address(ip, party)
        return found if found.pod or self._index.node_at(ip) else replace(party, reason=NOT_TOLD_YET)

    def pod_of_address(self, ip: str, party: Party) -> Party:
        """Of a socket here that no process has (the kernel goes on with it by itself), `party`: as `owner_of_address`, if told."""
        pod = None if self._index.node_at(ip) else self._index.pod_at(ip)
        if pod is not None and pod.node == party.node and self._index.ages_of(pod)[1] is None:
            return self._pod(pod)
        return party

    def serving(self, party: Party, ip: str, port: int) -> Party:
        """The same party with the Service of which it is a backend, if that is only one."""
        if not port or party.service:
            return party
        service = self._index.service_of_backend(ip, port)
        return replace(party, service=service) if service else party

    def dialled(self, ip: str, port: int) -> str:
        """The Service that is asked for at an address of its own, or at this port of a node; empty if there is none."""
        service = self._index.service_at(ip, port)
        if service is None and self._index.node_at(ip):
            service = self._index.service_of_node_port(port)
        return service.name if service else ""

    def address(self, ip: str, port: int, at_ns: int = 0) -> Party | None:
        """Who has an address, or had it then: a pod, a Service of which nobody saw which pod answered, or a node."""
        pod, former = self._index.pod_at_time(ip, at_ns)
        pod = pod or self._index.pod_at_port(ip, port)
        if pod is not None:
            party = self.serving(self._pod(pod), ip, port)
            return replace(party, former=True) if former else party
        service = self._index.service_at(ip, port)
        if service is not None:
            return _service(service, "service_only")
        node = self._index.node_at(ip)
        return self._node(node, ip, port) if node else None

    def explained(self, ip: str, port: int) -> list[str]:
        """One sentence for each thing that the cluster knows of an address."""
        told: list[str] = []
        if (pod := self._index.pod_at(ip)) is not None:
            workload = self._index.workload_of(pod)
            told.append(f"{ip} is pod {pod.namespace}/{pod.name} of {workload.kind} {workload.name} on node {pod.node}")
            told.append(self._age(pod))
        for service in self._index.services_at(ip):
            name = f"{service.namespace}/{service.name}"
            told += [f"{ip} is Service {name}, ports {list(service.ports)}", self._known("Service", name)]
        owner = self._index.pod_at_port(ip, port)
        if not told and owner is not None and not self._index.node_at(ip):
            told += [f"{ip}:{port} is pod {owner.namespace}/{owner.name}, by an EndpointSlice", self._age(owner)]
        if node := self._index.node_at(ip):
            told += [f"{ip} is node {node}", self._known("node", node)]
            if owner is not None:
                told.append(f"port {port} there is pod {owner.namespace}/{owner.name}, with hostNetwork or by hostPort")
                told.append(self._age(owner))
            if port and (by_port := self._index.service_of_node_port(port)) is not None:
                told.append(f"port {port} of every node is Service {by_port.namespace}/{by_port.name}")
        told += _backend(ip, port, sorted(self._index.services_of_backend(ip, port)) if port else ())
        return [*told, *self.sources()] if told else []

    def _known(self, kind: str, key: str) -> str:
        return f"{kind} {key} has been known for {self._index.age_of(kind, key) / _SECOND_NS:.0f} s"

    def _age(self, pod: PodRecord) -> str:
        known, over = self._index.ages_of(pod)
        since = f"{pod.namespace}/{pod.name} has been known for {known / _SECOND_NS:.0f} s"
        if over is None:
            return since
        left = max(0, self._index.tombstone_ns - over) / _SECOND_NS
        ended = f"it ended {over / _SECOND_NS:.0f} s ago, and is named for {left:.0f} s more"
        return f"{since}; {ended}, unless another pod has the address before"

    def _pod(self, pod: PodRecord) -> Party:
        workload = self._index.workload_of(pod)
        return Party(
            node=pod.node,
            namespace=pod.namespace,
            workload_kind=workload.kind,
            workload_name=workload.name,
            pod=pod.name,
            observed=self._index.is_observed(pod.node),
        )

    def _node(self, node: str, ip: str, port: int) -> Party:
        """A node's address belongs to whoever listens there; from elsewhere a Service may tell who that is."""
        party = Party(node, NOT_FOUND_INTERNAL, "node", node, reason="node", observed=self._index.is_observed(node))
        by_port = self._index.service_of_node_port(port) if port else None
        if by_port is not None:
            return replace(_service(by_port, "node_port"), node=node, observed=party.observed)
        return self.serving(party, ip, port)


def _backend(ip: str, port: int, services: Sequence[str]) -> list[str]:
    if not services:
        return []
    if len(services) == 1:
        return [f"{ip}:{port} is a backend of Service {services[0].partition('/')[2]}"]
    why = "which of them was meant is known only where a translation tells what was dialled; else service is empty"
    return [f"{ip}:{port} is a backend of Services {', '.join(services)}: {why}"]


def _service(service: ServiceRecord, reason: str) -> Party:
    """The pod that answered is not known: a Service stands for it, named as dashboards name unknown workloads."""
    return Party(
        namespace=service.namespace,
        workload_kind="service",
        workload_name=service.name,
        service=service.name,
        reason=reason,
    )
