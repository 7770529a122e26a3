# SPDX-License-Identifier: Apache-2.0
"""The cluster's Services: at which address and node port each is dialled, and which backends its EndpointSlices name."""

from dataclasses import dataclass, field

from collector.metadata.kube_objects import ServiceRecord, SliceRecord
from collector.metadata.pod_places import leave

Place = tuple[str, int]


@dataclass(slots=True)
class ServiceTable:
    """By namespace/name. Not locked. What changes a table answers with the keys by which answers may have been asked for."""

    services: dict[str, ServiceRecord] = field(default_factory=dict)
    slices: dict[str, SliceRecord] = field(default_factory=dict)
    _at: dict[str, list[str]] = field(default_factory=dict)
    _node_ports: dict[int, list[str]] = field(default_factory=dict)
    _backends: dict[Place, dict[str, int]] = field(default_factory=dict)
    _targets: dict[Place, dict[str, int]] = field(default_factory=dict)

    def put(self, key: str, service: ServiceRecord) -> tuple[object, ...]:
        """A new one."""
        self.services[key] = service
        for address in service.addresses:
            self._at.setdefault(address, []).append(key)
        for port in service.node_ports:
            self._node_ports.setdefault(port, []).append(key)
        return (*service.addresses, *service.node_ports)

    def drop(self, key: str) -> tuple[object, ...]:
        """Nothing, if there is none."""
        gone = self.services.pop(key, None)
        if gone is None:
            return ()
        for address in gone.addresses:
            leave(self._at, address, key)
        for port in gone.node_ports:
            leave(self._node_ports, port, key)
        return (*gone.addresses, *gone.node_ports)

    def put_slice(self, key: str, record: SliceRecord) -> tuple[object, ...]:
        """A new one."""
        self.slices[key] = record
        self._count_slice(record, 1)
        return record.backends

    def drop_slice(self, key: str) -> tuple[object, ...]:
        """Nothing, if there is none."""
        gone = self.slices.pop(key, None)
        if gone is None:
            return ()
        self._count_slice(gone, -1)
        return gone.backends

    def all_at(self, address: str) -> list[ServiceRecord]:
        """Every Service that has this address: one of a load balancer's or of a node may be shared."""
        return [self.services[key] for key in self._at.get(address, ())]

    def at(self, address: str, port: int) -> ServiceRecord | None:
        """Who is dialled there: of several that share an address the only one that has this port."""
        found = self.all_at(address)
        if len(found) > 1:
            found = [service for service in found if port in service.ports]
        return found[0] if len(found) == 1 else None

    def of_node_port(self, port: int) -> ServiceRecord | None:
        """Who is dialled at that port of any node; nobody if two are, one by TCP and one by UDP."""
        found = self._node_ports.get(port, ())
        return self.services[found[0]] if len(found) == 1 else None

    def of_backend(self, address: str, port: int) -> str:
        """The name of the only Service that has this backend; empty if there is none or more than one."""
        found = self.all_of_backend(address, port)
        return found[0].partition("/")[2] if len(found) == 1 else ""

    def all_of_backend(self, address: str, port: int) -> tuple[str, ...]:
        """Namespace/name of every Service that has this backend."""
        return tuple({**self._backends.get((address, port), {}), **self._backends.get((address, 0), {})})

    def targets(self, address: str, port: int) -> tuple[str, ...]:
        """UIDs of the pods that slices name there."""
        return tuple(self._targets.get((address, port), ()))

    def _count_slice(self, record: SliceRecord, by: int) -> None:
        for backend in record.backends if record.service else ():  # one that somebody made may be of no Service
            _count(self._backends, backend, f"{record.namespace}/{record.service}", by)
        for backend, uid in zip(record.backends, record.targets, strict=False):
            if uid:
                _count(self._targets, backend, uid, by)


def _count(table: dict[Place, dict[str, int]], place: Place, key: str, by: int) -> None:
    """How many slices say so; what nobody says any more is gone from the table."""
    counts = table.setdefault(place, {})
    counts[key] = counts.get(key, 0) + by
    if counts[key] <= 0:
        del counts[key]
    if not counts:
        del table[place]
