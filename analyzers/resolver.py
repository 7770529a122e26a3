# SPDX-License-Identifier: Apache-2.0
"""The seam between counting and naming: `collector.metadata` implements `Resolver`, `analyzers` only asks it."""

from dataclasses import dataclass, field
from typing import Final, Protocol

from analyzers.rows import Identity

NOT_FOUND_INTERNAL = "NOT_FOUND_INTERNAL"
NOT_FOUND_EXTERNAL = "NOT_FOUND_EXTERNAL"
NOT_READ_YET = "not_read_yet"
"""The reason of a name that will be another one in a moment: nobody has looked yet whose process it is."""
NOT_TOLD_YET = "pod_not_told_yet"
"""The same of a process in a pod's cgroup, of which pod the API server has said nothing."""
MISSING_NAMES: Final = {
    NOT_READ_YET: "who uses it was not read yet; ask again in a moment",
    NOT_TOLD_YET: "the API server has not said which pod has it",
    "process_gone": "the process ended, with its cgroup, before the agent saw either",
    "process_unknown": "the recording does not say which process used it",
    "no_owner_seen": "nobody was seen to use this address of this host",
    "no_process": "the socket is the kernel's own and belongs to no process",
    "outside": "it is outside of this host and of its cluster",
    "node": "it is a node's address, and no pod is known at this port",
    "service_only": "it is a Service's address, and which pod answered was not seen",
    "node_port": "it is a Service's port at a node, and which pod answered was not seen",
    "peer_unknown": "the kernel did not show the other end",
    "overflow": "it found no place in a full table and is counted as other",
    "recording": "a recording has the names of processes only",
}
"""A sentence for each reason."""


@dataclass(frozen=True, slots=True)
class Party:
    """The names of one end of an edge; text that is not known is empty, and `reason` then says why.

    `namespace` is NOT_FOUND_INTERNAL for an address of this host or a cluster node that belongs to no pod or service,
    NOT_FOUND_EXTERNAL for any other that is neither. `domain` is the DNS name of an outside address, if one was seen.
    `outside` is true for an address beyond this cluster and host. `observed` is true when an agent sees this end from
    its own side, so that the other side need not tell what this one does. `former` is true for who had an address at the
    time that was asked about, and has it no more; it makes no other party.
    """

    node: str = ""
    namespace: str = ""
    workload_kind: str = ""
    workload_name: str = ""
    service: str = ""
    pod: str = ""
    container: str = ""
    container_id: str = ""
    domain: str = ""
    outside: bool = False
    reason: str = ""
    observed: bool = False
    former: bool = field(default=False, compare=False)


class Resolver(Protocol):
    """Who is behind a socket or an address. Answers at once, from memory, and never fails: unknown is an answer."""

    def local(self, identity: Identity, ip: str, port: int) -> Party:
        """The owner of a socket on this node. `port` is 0 for a client's."""
        ...

    def remote(self, ip: str, port: int, netns: int, at_ns: int = 0) -> Party:
        """The owner of an address elsewhere, as seen from network namespace `netns`, at a time of the engine's clock (0: now).
        `port` is 0 for a client's."""
        ...

    def service(self, ip: str, port: int) -> str:
        """The Service that answers at an address that was dialled (its own, or a node's port); empty if there is none."""
        ...

    def bound_address(self, remote_ip: str, netns: int) -> str:
        """The address of this node at which `remote_ip` reaches a socket bound to none (0.0.0.0, ::). Never empty."""
        ...

    def version(self) -> int:
        """Grows whenever an earlier answer may have changed, so that derived labels are rebuilt only then."""
        ...
