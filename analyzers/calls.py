# SPDX-License-Identifier: Apache-2.0
"""What a workload asked others, seen from the asking side, with what was asked.

Edges leave out what was asked, so that a node has few of them. Who pushes histograms by operation asks for calls on top.
"""

from dataclasses import dataclass
from typing import Final

from analyzers.edges import OTHER, OTHER_PARTY, Edge, status_code
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


OVERFLOW_CALL: Final = CallLabels(OTHER_PARTY, OTHER_PARTY, OTHER, 0, OTHER, "", "", False, False)


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
    )
