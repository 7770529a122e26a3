# SPDX-License-Identifier: Apache-2.0
"""What was asked by a workload and of it, each seen from its own side, with what was asked and by which method.

Edges leave out what was asked, so that a node has few of them, and entities the method. Who pushes histograms by operation
asks for these on top.
"""

from dataclasses import dataclass
from typing import Final

from analyzers.edges import OTHER, OTHER_PARTY, Edge, status_code
from analyzers.entities import OVERFLOW_ENTITY, Entity
from analyzers.resolver import Party
from analyzers.rows import RequestKey, Role


@dataclass(frozen=True, slots=True)
class CallLabels:
    """One account of calls. `status_code` is the protocol's status as text, empty if there is none."""

    src: Party
    dst: Party
    dst_ip: str
    dst_port: int
    protocol: str
    request_content: str
    status_code: str
    is_error: bool
    no_response: bool
    method: str = ""


@dataclass(frozen=True, slots=True)
class ServedLabels:
    """One account of what an entity was asked. The rest as in CallLabels."""

    entity: Entity
    request_content: str
    response_content: str
    status_code: str
    is_error: bool
    no_response: bool
    method: str = ""


OVERFLOW_CALL: Final = CallLabels(OTHER_PARTY, OTHER_PARTY, OTHER, 0, OTHER, "", "", False, False)
OVERFLOW_SERVED: Final = ServedLabels(OVERFLOW_ENTITY, "", "", "", False, False)


def call_of(key: RequestKey, edge: Edge) -> CallLabels | None:
    """The call behind a row of `edge`, if the asking end is on this node."""
    if key.role is not Role.CLIENT and key.peer is None:
        return None
    return CallLabels(
        src=edge.src,
        dst=edge.dst,
        dst_ip=edge.dialled_ip,
        dst_port=edge.dialled_port,
        protocol=key.protocol,
        request_content=key.request_content,
        status_code=status_code(key),
        is_error=key.is_error,
        no_response=key.no_response,
        method=key.method,
    )


def served_of(key: RequestKey, entity: Entity) -> ServedLabels:
    """The same, as the asked end sees it."""
    return ServedLabels(
        entity=entity,
        request_content=key.request_content,
        response_content=key.response_content,
        status_code=status_code(key),
        is_error=key.is_error,
        no_response=key.no_response,
        method=key.method,
    )
