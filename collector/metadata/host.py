# SPDX-License-Identifier: Apache-2.0
"""Names of this host's sockets and of addresses: pods where a cluster tells of them, else systemd units and processes.

- A socket of this host belongs to the systemd unit of its process (workload_kind `systemd`), else to the process itself
  (`process`, by its command); the container's id is told where the cgroup path has one.
- Everything on this host has the namespace NOT_FOUND_INTERNAL and this host as its node; every other address has
  NOT_FOUND_EXTERNAL and is outside.
- An address of this host whose owner was not seen has the name of whoever was seen serving at it, if anybody was.

`unknown` and `learn` are for the agent: before a snapshot it hands new owners to `learn` in a thread, so that everything
else answers from memory.
"""

import platform
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from analyzers.resolver import NOT_FOUND_EXTERNAL, NOT_FOUND_INTERNAL, NOT_READ_YET, NOT_TOLD_YET, Party
from analyzers.rows import Identity
from collector.metadata.addresses import HostAddresses, is_loopback
from collector.metadata.cluster_names import ClusterNames
from collector.metadata.containers import CgroupOwner
from collector.metadata.dns_names import DnsNames
from collector.metadata.processes import Processes

OWNER_LIMIT: Final = 16384
SERVING_LIMIT: Final = 16384
READS_PER_TURN: Final = 1024

_PROCESS_GONE: Final = "process_gone"

OUTSIDE: Final = Party(namespace=NOT_FOUND_EXTERNAL, outside=True, reason="outside")
_NOT_TOLD: Final = replace(OUTSIDE, reason=NOT_TOLD_YET)


@dataclass(frozen=True, slots=True)
class _Owner:
    """What was learned of one generation of an identity; no owner: there is none to be had."""

    generation: int
    owner: CgroupOwner | None
    reason: str


class HostResolver:
    """Implements `analyzers.resolver.Resolver`. Reads nothing but in `learn` and `refresh`."""

    def __init__(
        self,
        addresses: HostAddresses | None = None,
        processes: Processes | None = None,
        node: str | None = None,
        cluster: ClusterNames | None = None,
        domains: DnsNames | None = None,
    ) -> None:
        self.node = platform.node() if node is None else node
        self._addresses = HostAddresses() if addresses is None else addresses
        self._processes = Processes() if processes is None else processes
        self._cluster = cluster
        self._domains = domains
        self._owners: dict[int, _Owner] = {}
        """By index of the identity: of those that had it, the newest that was learned."""
        self._serving: dict[tuple[int, str, int], Party] = {}
        self._nameless: set[tuple[int, str, int]] = set()
        self._provisional: set[tuple[int, int]] = set()
        self._namespaces: dict[int, int] = {}
        self.has_new_namespaces = False
        """Sockets of a network namespace were seen whose addresses were not read yet: `refresh` is due."""
        self._version = 1
        self._nobody = Party(self.node, NOT_FOUND_INTERNAL, reason="no_owner_seen", observed=True)
        self._no_process = Party(self.node, NOT_FOUND_INTERNAL, reason="no_process", observed=True)

    def version(self) -> int:
        cluster = self._cluster.version if self._cluster else 0
        return self._version + cluster + (self._domains.version if self._domains else 0)

    def local(self, identity: Identity, ip: str, port: int) -> Party:
        """The owner of a socket. One that was not learned yet is told by its command, until it has been."""
        known = self._known(identity)
        if known is not None:
            party = self._no_process if known.owner is None else self._party(identity, known.owner, known.reason)
            if known.reason == _PROCESS_GONE and self._cluster and not is_loopback(ip):
                party = self._cluster.owner_of_address(ip, party)
        else:
            party = self._party(identity, CgroupOwner(), NOT_READ_YET) if identity.comm else self._no_process
            if len(self._provisional) >= OWNER_LIMIT:
                self._provisional.clear()
            self._provisional.add((identity.index, identity.generation))
        if party is self._no_process and self._cluster and not is_loopback(ip):
            party = self._cluster.pod_of_address(ip, party)
        if self._cluster and party.pod:
            party = self._cluster.serving(party, ip, port)
        if port and party.workload_name:
            self._serve(self._place(ip, port, identity.netns), party)
        return party

    def remote(self, ip: str, port: int, netns: int, at_ns: int = 0) -> Party:
        """The owner of an address that is no socket the caller knows."""
        place = self._place(ip, port, netns)
        told = self._cluster.address(ip, port, at_ns) if self._cluster and not is_loopback(ip) else None
        served = self._serving.get(place) if port else None
        # Who was seen serving there is known down to the container, unless the address is another pod's by now.
        same = told.pod in {"", served.pod} if told and served else self._addresses.contains(ip)
        if served is not None and same:
            return replace(served, former=True) if told is not None and told.former else served
        if told is not None:
            return told
        if not self._addresses.contains(ip):
            domain = self._domains.name(ip, netns) if self._domains else ""
            known = self._cluster is None or self._cluster.knows_addresses()
            outside = OUTSIDE if known else _NOT_TOLD
            return replace(outside, domain=domain) if domain else outside
        if port and len(self._nameless) < SERVING_LIMIT:
            self._nameless.add(place)
        return self._nobody

    def service(self, ip: str, port: int) -> str:
        return self._cluster.dialled(ip, port) if self._cluster else ""

    def bound_address(self, remote_ip: str, netns: int) -> str:
        return self._addresses.towards(remote_ip, netns)

    def reaches_us(self, ip: str, netns: int) -> bool:
        """Whether whoever talks to this address from that network namespace talks to the agent's own."""
        return self._addresses.reaches_us(ip, netns)

    def unknown(self, identities: Iterable[Identity | None]) -> list[Identity]:
        """Those of them that `learn` should be given, each once."""
        found = {
            (identity.index, identity.generation): identity
            for identity in identities
            if identity is not None and self._known(identity) is None
        }
        return list(found.values())

    def learn(self, identities: Iterable[Identity]) -> None:
        """Read who these are. At most READS_PER_TURN in one call; the rest stay unknown and may be handed in again."""
        for count, identity in enumerate(identities):
            if count >= READS_PER_TURN:
                return
            if identity.pid:
                if self._namespaces.pop(identity.netns, None) is None:
                    self.has_new_namespaces = True
                self._namespaces[identity.netns] = identity.pid
            owner = self._processes.owner(identity)
            if owner is None and self._processes.postponed:
                continue  # stays unknown, and is handed in again
            if not identity.comm and owner in (None, CgroupOwner()):
                known = _Owner(identity.generation, None, "no_process")
            else:
                known = _Owner(identity.generation, owner or CgroupOwner(), "" if owner else _PROCESS_GONE)
            if len(self._owners) >= OWNER_LIMIT:
                del self._owners[next(iter(self._owners))]
            self._owners[identity.index] = known
            if (identity.index, identity.generation) in self._provisional:
                self._provisional.discard((identity.index, identity.generation))
                self._version += 1
        while len(self._namespaces) > OWNER_LIMIT:
            del self._namespaces[next(iter(self._namespaces))]

    def _known(self, identity: Identity) -> _Owner | None:
        known = self._owners.get(identity.index)
        return known if known is not None and known.generation == identity.generation else None

    def explained(self, ip: str, port: int, netns: int) -> list[str]:
        """One sentence per thing that is known of an address, in the order in which it counted."""
        party = self.remote(ip, port, netns)
        if self._cluster and (told := self._cluster.explained(ip, port)):
            return told
        if party.outside:
            names = self._domains.told(ip) if self._domains else []
            asked = [f"it was asked for by the name {name}" for name in names] or [
                "no DNS answer with this address was seen on this node"
            ]
            if len(names) > 1:
                asked.append("all its requests are counted under the name that their network namespace asked for last")
            nobody = (
                ["no pod, Service or node of the cluster has it", *self._cluster.sources()] if self._cluster else []
            )
            here = f"{ip} is not an address of this host or of a network namespace on it"
            return [f"{here}, so it is outside", *nobody, *asked]
        told = [f"{ip} is an address of this host or of a network namespace on it"]
        if party.workload_name:
            told.append(f"port {port} there was seen in use by {party.workload_kind} {party.workload_name}")
        elif port:
            told.append(f"nobody was seen to use port {port} there since the agent started")
        if self._cluster:
            told += ["no pod, Service or node of the cluster has this address", *self._cluster.sources()]
        else:
            told.append("there is no cluster to ask, so pods and services are not known")
        return told

    def refresh(self) -> None:
        """Read the host's addresses again; every half a minute is enough, unless there are new namespaces."""
        self.has_new_namespaces = False
        if self._addresses.refresh(dict(self._namespaces)):
            self._version += 1

    def _party(self, identity: Identity, owner: CgroupOwner, reason: str) -> Party:
        if self._cluster and (found := self._cluster.owner(owner)):
            return found
        if self._cluster and owner.pod_uid and not reason:
            reason = NOT_TOLD_YET
        kind, name = ("systemd", owner.unit) if owner.unit else ("process", identity.comm)
        if not name and owner.container_id:
            kind, name = "container", owner.container_id[:12]
        return Party(
            node=self.node,
            namespace=NOT_FOUND_INTERNAL,
            workload_kind=kind,
            workload_name=name,
            container_id=owner.container_id[:12],
            reason=reason,
            observed=True,
        )

    def _serve(self, place: tuple[int, str, int], party: Party) -> None:
        if self._serving.get(place) == party:
            return
        if len(self._serving) >= SERVING_LIMIT:
            del self._serving[next(iter(self._serving))]
        self._serving[place] = party
        if place in self._nameless:
            self._nameless.discard(place)
            self._version += 1

    def _place(self, ip: str, port: int, netns: int) -> tuple[int, str, int]:
        """A loopback address means another place in each network namespace; any other is one place."""
        return (netns if is_loopback(ip) else 0, ip, port)
