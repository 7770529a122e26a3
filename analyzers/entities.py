# SPDX-License-Identifier: Apache-2.0
"""What a workload was asked, seen from the serving side."""

from dataclasses import dataclass
from typing import Final

from analyzers.edges import OTHER, OTHER_PARTY, Ends
from analyzers.resolver import Party
from analyzers.rows import RequestKey, Role


@dataclass(frozen=True, slots=True)
class Entity:
    """One serving address: its owner, the address and port it serves at, and what it speaks."""

    party: Party
    ip: str
    port: int
    protocol: str


@dataclass(frozen=True, slots=True)
class EntityLabels:
    """One account of an entity."""

    entity: Entity
    request_content: str
    response_content: str
    is_error: bool
    is_slow: bool


OVERFLOW_ENTITY: Final = Entity(OTHER_PARTY, OTHER, 0, OTHER)


def entity_of(key: RequestKey, ends: Ends) -> Entity | None:
    """The serving end, if it is on this node: the local end of a server's row, or the peer of a client's whose both ends
    are here (then no row tells of the server itself)."""
    if key.role is Role.SERVER:
        return Entity(ends.local, ends.local_ip, key.local_port, key.protocol)
    if key.role is Role.CLIENT and key.peer is not None:
        return Entity(ends.remote, ends.remote_ip, key.remote_port, key.protocol)
    return None
