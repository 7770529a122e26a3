# SPDX-License-Identifier: Apache-2.0
"""From a connection's two ends to a named edge: who asked whom.

The rules, of docs/metrics.md:
- An edge comes from the client's side. The serving side makes it only when nobody sees the client's end: it is neither
  a pod nor a node of this cluster (without a cluster: not on this host), or sits on a node without an agent.
- A row of a connection whose both ends are here stands for both of them, so it always makes the edge.
- Which end asked is evidence. A row whose direction nobody could tell makes no edge: it is counted as undirected.
- Where conntrack told that another address answered than was asked, the edge is to who answered, `service` is what
  was asked for, and the ends are matched by the addresses that really talk.
- An address is never empty: a socket bound to none (0.0.0.0, ::) gets this node's address towards its peer; a peer that
  the kernel did not show is "unknown".
"""

from dataclasses import dataclass, replace
from typing import Final, Protocol

from analyzers.resolver import Party, Resolver
from analyzers.rows import Identity, RequestKey, Role, Sample

OTHER: Final = "other"
UNKNOWN_ADDRESS: Final = "unknown"
OTHER_PARTY: Final = Party(namespace=OTHER, workload_kind=OTHER, workload_name=OTHER, reason="overflow")
UNKNOWN_PEER: Final = Party(reason="peer_unknown")

# Protocols whose 0 is a status (NOERROR, OK) and not the absence of one.
_ZERO_IS_A_STATUS: Final = frozenset({"dns", "grpc", "kafka", "mysql", "rocketmq"})
_WILDCARDS: Final = frozenset({"", "::", "0.0.0.0"})  # noqa: S104  what to recognise, not where to listen


class Observation(Protocol):
    """What request rows, TCP rows and samples have in common: a local socket and its peer."""

    @property
    def role(self) -> Role: ...
    @property
    def identity(self) -> Identity: ...
    @property
    def peer(self) -> Identity | None: ...
    @property
    def local_ip(self) -> str: ...
    @property
    def local_port(self) -> int: ...
    @property
    def remote_ip(self) -> str: ...
    @property
    def remote_port(self) -> int: ...
    @property
    def dialled_ip(self) -> str: ...
    @property
    def dialled_port(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Ends:
    """Both ends by name; the addresses are what a label shows, never empty."""

    local: Party
    remote: Party
    local_ip: str
    remote_ip: str


@dataclass(frozen=True, slots=True)
class Edge:
    """Client to server with every detail. `dst_ip` and `dst_port` are those after address translation, `dialled_*` those
    that the client asked for; they are equal where nothing was translated."""

    src: Party
    dst: Party
    src_ip: str
    dst_ip: str
    dst_port: int
    dialled_ip: str
    dialled_port: int
    protocol: str
    l4: str


@dataclass(frozen=True, slots=True)
class EdgeLabels:
    """One account of an edge."""

    edge: Edge
    status_code: str
    is_error: bool
    is_slow: bool


OVERFLOW_EDGE: Final = Edge(OTHER_PARTY, OTHER_PARTY, OTHER, OTHER, 0, OTHER, 0, OTHER, "")


def name_ends(seen: Observation, resolver: Resolver, at_ns: int = 0) -> Ends:
    """Ask who is at both ends, now or at a time of the engine's clock. Only the serving end's port says who that is, so a client's is never asked with."""
    netns = seen.identity.netns
    remote_ip = UNKNOWN_ADDRESS if seen.remote_ip in _WILDCARDS else seen.remote_ip
    local_ip = resolver.bound_address(seen.remote_ip, netns) if seen.local_ip in _WILDCARDS else seen.local_ip
    local_port = seen.local_port if seen.role is Role.SERVER else 0
    remote_port = seen.remote_port if seen.role is Role.CLIENT else 0
    local = resolver.local(seen.identity, local_ip, local_port)
    if seen.peer is not None:
        remote = resolver.local(seen.peer, remote_ip, remote_port)
    elif remote_ip == UNKNOWN_ADDRESS:
        remote = UNKNOWN_PEER
    else:
        remote = resolver.remote(remote_ip, remote_port, netns, at_ns)
    if seen.dialled_port and (service := resolver.service(seen.dialled_ip, seen.dialled_port)):
        if seen.role is Role.CLIENT:
            remote = replace(remote, service=service)
        else:
            local = replace(local, service=service)
    return Ends(local, remote, local_ip, remote_ip)


def edge_of(seen: Observation, ends: Ends, protocol: str, l4: str) -> Edge | None:
    """The edge in the direction of the request; None if the direction is not known."""
    if seen.role is Role.CLIENT:
        address, port = ends.remote_ip, seen.remote_port
        dialled = (seen.dialled_ip, seen.dialled_port) if seen.dialled_port else (address, port)
        return Edge(ends.local, ends.remote, ends.local_ip, address, port, *dialled, protocol, l4)
    if seen.role is Role.SERVER:
        address, port = ends.local_ip, seen.local_port
        dialled = (seen.dialled_ip, seen.dialled_port) if seen.dialled_port else (address, port)
        return Edge(ends.remote, ends.local, ends.remote_ip, address, port, *dialled, protocol, l4)
    return None


def draws_edge(key: RequestKey, ends: Ends) -> bool:
    """Whether this row is the one that makes the edge, and not the peer's own row, here or on another node."""
    if key.role is Role.CLIENT:
        return True
    return key.role is Role.SERVER and (key.peer is not None or not ends.remote.observed)


def status_code(key: RequestKey | Sample) -> str:
    """The protocol's status as text; empty if there was no response, the protocol has no number for it, or it is one of
    more different ones than its owner may have."""
    if key.no_response or key.response_content == OTHER or (key.status == 0 and key.protocol not in _ZERO_IS_A_STATUS):
        return ""
    return str(key.status)
