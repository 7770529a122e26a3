# SPDX-License-Identifier: Apache-2.0
"""The two ends of a conversation, and what they are called at each level of the topology."""

from dataclasses import dataclass
from enum import StrEnum

from analyzers.edges import Ends
from analyzers.resolver import NOT_FOUND_EXTERNAL, NOT_FOUND_INTERNAL, Party
from analyzers.rows import Identity, RequestKey, Role, TcpKey
from analyzers.samples import NamedSample


class Level(StrEnum):
    """How much is folded into one node of the topology, coarsest first."""

    NAMESPACE = "namespace"
    WORKLOAD = "workload"
    POD = "pod"
    ADDRESS = "address"


@dataclass(frozen=True, slots=True)
class End:
    """One end: names, the owner of the socket if it is on this node, address. `port` is 0 for a client's."""

    party: Party
    identity: Identity | None
    ip: str
    port: int

    @property
    def process(self) -> str:
        return self.identity.comm if self.identity else ""


@dataclass(frozen=True, slots=True)
class Label:
    """What is shown for a node: `kind` is a word such as Deployment, systemd, process, outside, address."""

    node_id: str
    kind: str
    title: str
    subtitle: str


def directed(seen: RequestKey | TcpKey, names: Ends) -> tuple[End, End]:
    """(who asked, who answered) of a table row; the one that asked has no port.

    A row of unknown role is read as if the local end had asked.
    """
    if seen.role is Role.SERVER:
        return (
            End(names.remote, seen.peer, names.remote_ip, 0),
            End(names.local, seen.identity, names.local_ip, seen.local_port),
        )
    return (
        End(names.local, seen.identity, names.local_ip, 0),
        End(names.remote, seen.peer, names.remote_ip, seen.remote_port),
    )


def directed_sample(named: NamedSample) -> tuple[End, End]:
    """As `directed`, but a sample knows both ports."""
    sample, names = named.sample, named.ends
    local = End(names.local, sample.identity, names.local_ip, sample.local_port)
    remote = End(names.remote, sample.peer, names.remote_ip, sample.remote_port)
    return (remote, local) if sample.role is Role.SERVER else (local, remote)


def host_port(ip: str, port: int) -> str:
    """`ip:port` with IPv6 in brackets; the address alone without a port."""
    if not port:
        return ip
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def label(level: Level, end: End, *, serving: bool) -> Label:
    """The node that `end` is folded into. Equal ids mean the same node; ids are stable while names are."""
    if level is Level.NAMESPACE:
        return _namespace(end)
    if level is Level.WORKLOAD:
        return _workload(end)
    if level is Level.POD:
        return _pod(end)
    return _address(end, serving=serving)


def _namespace(end: End) -> Label:
    namespace = end.party.namespace
    if end.party.outside or namespace == NOT_FOUND_EXTERNAL:
        return Label("outside", "outside", "outside", "beyond this cluster and host")
    if namespace == NOT_FOUND_INTERNAL:
        return Label("host", "host", end.party.node or "this host", "no namespace")
    return Label(f"namespace/{namespace}", "namespace", namespace or "unnamed", "")


def _workload(end: End) -> Label:
    party = end.party
    if party.workload_name:
        node_id = f"{party.namespace}/{party.workload_kind}/{party.workload_name}"
        kind = party.workload_kind or "workload"
        return Label(node_id, kind, party.workload_name, _where(end, party.workload_name) or kind)
    if party.service and not party.outside:
        subtitle = _where(end, party.service) or "Service"
        return Label(f"{party.namespace}/Service/{party.service}", "Service", party.service, subtitle)
    if party.outside:
        title = party.domain or end.ip
        return Label(f"outside/{title}", "outside", title, end.ip if party.domain else "outside")
    if end.process:
        return Label(f"{party.namespace}/process/{end.process}", "process", end.process, "process")
    return Label(f"{party.namespace}/address/{end.ip}", "address", end.ip, _where(end, "") or "address")


def _pod(end: End) -> Label:
    party = end.party
    if party.pod:
        return Label(f"{party.namespace}/Pod/{party.pod}", "Pod", party.pod, _where(end, party.pod) or "Pod")
    if party.container:
        container_id = party.container_id or party.container
        return Label(f"{party.namespace}/container/{container_id}", "container", party.container, party.container_id)
    if end.process:
        # Without a cluster the finest owner that is not an address: the process within its unit.
        unit = party.workload_name if party.workload_name != end.process else ""
        node_id = f"{party.namespace}/process/{unit}/{end.process}"
        return Label(node_id, "process", end.process, unit or "process")
    return _workload(end)


def _address(end: End, *, serving: bool) -> Label:
    owner = _workload(end).title
    subtitle = "" if owner == end.ip else owner
    if serving:
        # 127.0.0.1:80 in two network namespaces is two servers: their owners tell them apart.
        shown = host_port(end.ip, end.port)
        return Label(f"server/{subtitle}/{shown}", "server", shown, subtitle)
    name = end.process or subtitle
    return Label(f"client/{subtitle}/{name}/{end.ip}", "client", end.ip, name)


def _where(end: End, title: str) -> str:
    """What tells a node from others of its kind: its namespace in a cluster, else the process if the title does not."""
    namespace = end.party.namespace
    if namespace not in {"", NOT_FOUND_EXTERNAL, NOT_FOUND_INTERNAL}:
        return namespace
    return "" if end.process in title else end.process
