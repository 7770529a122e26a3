# SPDX-License-Identifier: Apache-2.0
"""Kubernetes objects as the API tells them, reduced to what a name needs. No typed models: raw JSON in, small records out.

Sources: the API reference of core/v1 (Pod, Service, Node), discovery.k8s.io/v1 (EndpointSlice), apps/v1 (ReplicaSet),
batch/v1 (Job), and metav1.Table for rows. Whatever lacks what makes it useful is a Malformed, which names the object.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from socket import AF_INET, inet_pton
from typing import Any, Final

Json = Mapping[str, Any]
STATIC_POD_HASH: Final = "kubernetes.io/config.hash"
_HEADLESS: Final = "None"


class Malformed(ValueError):
    """An API object that does not have what its kind promises; the text names it."""


@dataclass(frozen=True, slots=True)
class Owner:
    """What keeps a pod alive, as its ownerReference tells: the direct owner, not yet its owner's owner."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class PodRecord:
    """`containers` are (container id without its scheme, name). `cgroup_uids`: how its cgroup may be called, the UID and for
        a static pod the hash of its manifest. `is_over`: it ended, so its addresses may already be another's. `host_ports` are its own at
    `host_addresses`, those of its node: with hostNetwork every container port, else what hostPort asks for."""

    uid: str
    namespace: str
    name: str
    node: str
    owner: Owner | None
    addresses: tuple[str, ...] = ()
    host_network: bool = False
    containers: tuple[tuple[str, str], ...] = ()
    cgroup_uids: tuple[str, ...] = ()
    is_over: bool = False
    host_ports: tuple[int, ...] = ()
    host_addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """`addresses` are every one at which it may be dialled on `ports`; `node_ports` are dialled at any node."""

    namespace: str
    name: str
    addresses: tuple[str, ...]
    ports: tuple[int, ...]
    node_ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SliceRecord:
    """One EndpointSlice: the backends of a Service, as (address, port) pairs. Port 0: all of them. `targets` are the UIDs of
    the pods behind them, one for each, empty where it is no pod."""

    namespace: str
    name: str
    service: str
    backends: tuple[tuple[str, int], ...]
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeRecord:
    name: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ControllerRecord:
    """A ReplicaSet or a Job, and what controls it in turn, if anything does."""

    kind: str
    namespace: str
    name: str
    uid: str
    owner: Owner | None


def folded(address: str) -> str:
    """One text for each address: v4-mapped becomes IPv4, IPv6 is compressed. Raises ValueError."""
    if ":" not in address:
        try:
            inet_pton(AF_INET, address)
        except OSError:
            raise ValueError(f"{address} is no address") from None
        return address  # there is one way only to write an IPv4 address, and this is much cheaper than to parse it
    parsed = ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)
    return str(mapped or parsed)


def pod(item: Json) -> PodRecord:
    """A whole Pod."""
    metadata, spec, status = _metadata(item, "Pod"), _part(item, "spec"), _part(item, "status")
    told = [status.get("podIP"), *(entry.get("ip") for entry in _list(status, "podIPs"))]
    every = [entry for kind in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
             for entry in _list(status, kind)]  # fmt: skip
    static = (metadata.get("annotations") or {}).get(STATIC_POD_HASH)
    host_network = bool(spec.get("hostNetwork"))
    host_ports = _host_ports(spec, host_network=host_network)
    nodes = [status.get("hostIP"), *(entry.get("ip") for entry in _list(status, "hostIPs"))] if host_ports else []
    return PodRecord(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        node=spec.get("nodeName") or "",
        owner=controller_of(metadata),
        addresses=_addresses(told),
        host_network=host_network,
        containers=tuple(
            (entry["containerID"].rpartition("//")[2], entry.get("name") or "")
            for entry in every
            if isinstance(entry.get("containerID"), str) and entry["containerID"]
        ),
        cgroup_uids=(metadata["uid"], static) if isinstance(static, str) and static else (metadata["uid"],),
        is_over=status.get("phase") in {"Succeeded", "Failed"},
        host_ports=host_ports,
        host_addresses=_addresses([*nodes, *told] if host_network and host_ports else nodes),
    )


def _host_ports(spec: Json, *, host_network: bool) -> tuple[int, ...]:
    """Ports of the node that are this pod's (core/v1 ContainerPort): with hostNetwork hostPort is the containerPort."""
    names = ("hostPort", "containerPort") if host_network else ("hostPort",)
    ports = [port.get(name) for part in ("containers", "initContainers") for container in _list(spec, part)
             for port in _list(container, "ports") for name in names]  # fmt: skip
    return tuple(dict.fromkeys(port for port in ports if isinstance(port, int) and port > 0))


def pod_of_row(columns: Mapping[str, int], row: Json) -> PodRecord:
    """A row of `kubectl get pods -o wide` (metav1.Table): one address, the node, and the metadata. Whether it ended is a condition
    of the row; its column Status has whatever the last container ended with (OOMKilled, ExitCode:3), ended pod or not."""
    metadata = _metadata(_part(row, "object"), "Pod")
    cells = row.get("cells") or []

    def cell(name: str) -> str:
        index = columns.get(name, -1)
        text = cells[index] if 0 <= index < len(cells) else ""
        return text if isinstance(text, str) and text != "<none>" else ""

    return PodRecord(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        node=cell("Node"),
        owner=controller_of(metadata),
        addresses=_addresses([cell("IP")]),
        is_over=any(
            entry.get("type") == "Completed" and entry.get("status") == "True" for entry in _list(row, "conditions")
        ),
    )


def columns_of(table: Json) -> dict[str, int]:
    """Where each column of a Table is, by its name."""
    return {str(column.get("name")): index for index, column in enumerate(_list(table, "columnDefinitions"))}


def service(item: Json) -> ServiceRecord:
    metadata, spec, status = _metadata(item, "Service"), _part(item, "spec"), _part(item, "status")
    ingress = _list(_part(status, "loadBalancer"), "ingress")
    told = [spec.get("clusterIP"), *_texts(spec, "clusterIPs"), *_texts(spec, "externalIPs")]
    told += [entry.get("ip") for entry in ingress]
    ports = _list(spec, "ports")
    return ServiceRecord(
        namespace=metadata["namespace"],
        name=metadata["name"],
        addresses=_addresses([address for address in told if address != _HEADLESS]),
        ports=tuple(port["port"] for port in ports if isinstance(port.get("port"), int)),
        node_ports=tuple(
            port["nodePort"] for port in ports if isinstance(port.get("nodePort"), int) and port["nodePort"]
        ),
    )


def endpoint_slice(item: Json) -> SliceRecord:
    """Of every endpoint, ready or not: a request that was sent to it was sent to that Service."""
    metadata = _metadata(item, "EndpointSlice")
    service_name = (metadata.get("labels") or {}).get("kubernetes.io/service-name") or ""
    ports = [entry["port"] for entry in _list(item, "ports") if isinstance(entry.get("port"), int)] or [0]
    behind = {address: _target(entry) for entry in _list(item, "endpoints")
              for address in _addresses(_texts(entry, "addresses"))}  # fmt: skip
    return SliceRecord(
        metadata["namespace"], metadata["name"], service_name,
        tuple((address, port) for address in behind for port in ports),
        tuple(target for target in behind.values() for _ in ports),
    )  # fmt: skip


def _target(endpoint: Json) -> str:
    target = _part(endpoint, "targetRef")
    return str(target.get("uid") or "") if target.get("kind") == "Pod" else ""


def node(item: Json) -> NodeRecord:
    metadata = _metadata(item, "Node", namespaced=False)
    told = [entry.get("address") for entry in _list(_part(item, "status"), "addresses") if _is_ip(entry)]
    return NodeRecord(metadata["name"], _addresses(told))


def controller(kind: str, item: Json) -> ControllerRecord:
    """A ReplicaSet or Job, of which the metadata is enough (PartialObjectMetadata)."""
    metadata = _metadata(item, kind)
    return ControllerRecord(kind, metadata["namespace"], metadata["name"], metadata["uid"], controller_of(metadata))


def controller_of(metadata: Json) -> Owner | None:
    """The managing owner (metav1.OwnerReference.controller), else the first one."""
    owners = [owner for owner in _list(metadata, "ownerReferences") if owner.get("kind") and owner.get("name")]
    managing = [owner for owner in owners if owner.get("controller")]
    chosen = next(iter(managing or owners), None)
    return Owner(str(chosen["kind"]), str(chosen["name"]), str(chosen.get("uid") or "")) if chosen else None


def _metadata(item: Json, kind: str, *, namespaced: bool = True) -> Json:
    metadata = _part(item, "metadata")
    wanted = ["name", "uid", "namespace"] if namespaced else ["name", "uid"]
    missing = [name for name in wanted if not isinstance(metadata.get(name), str) or not metadata[name]]
    if missing:
        raise Malformed(f"{kind} {metadata.get('namespace')}/{metadata.get('name')}: no metadata.{missing[0]}")
    return metadata


def _part(item: Json, name: str) -> Json:
    part = item.get(name)
    return part if isinstance(part, Mapping) else {}


def _list(item: Json, name: str) -> list[Json]:
    entries = item.get(name)
    return [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, Sequence) else []


def _texts(item: Json, name: str) -> list[str]:
    entries = item.get(name)
    return [entry for entry in entries if isinstance(entry, str)] if isinstance(entries, Sequence) else []


def _is_ip(entry: Json) -> bool:
    return entry.get("type") in {"InternalIP", "ExternalIP"}


def _addresses(told: Sequence[object]) -> tuple[str, ...]:
    """Each once, in order; what is no address is left out."""
    found: dict[str, None] = {}
    for address in told:
        try:
            if isinstance(address, str) and address:
                found[folded(address)] = None
        except ValueError:
            continue
    return tuple(found)
