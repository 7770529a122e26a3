# SPDX-License-Identifier: Apache-2.0
"""What the engine counted, as Python reads it out of the shared table: one record per table row, no names yet.

Times are CLOCK_MONOTONIC nanoseconds. Addresses are text: IPv4 dotted, IPv6 compressed, v4-mapped folded to IPv4.
A row's (index, generation) never means another key, so whatever is derived from a key can be cached under it.
"""

from dataclasses import dataclass
from enum import IntEnum


class Role(IntEnum):
    """Which side the local end is, by evidence (connect/accept, listening sockets, who asked)."""

    UNKNOWN = 0
    CLIENT = 1
    SERVER = 2


@dataclass(frozen=True, slots=True)
class Identity:
    """The owner of a local socket: `comm` of the process in `cgroup_id` and `netns`; `pid` is one that was seen."""

    index: int
    generation: int
    netns: int
    cgroup_id: int
    pid: int
    comm: str


@dataclass(frozen=True, slots=True)
class RequestKey:
    """Who asked whom for what, seen from the local end.

    `local_port` is 0 for a client, `remote_port` is 0 for a server. Addresses are those that really talk; where the client
    asked another one, of a Service for example, that is `dialled_ip` and `dialled_port`, else "" and 0. `peer` is the other end's owner when both ends are
    on this node. `status` is the protocol's number (HTTP status, DNS rcode), 0 if none. `overflow` marks the one row
    that holds what found no row of its own. `method` is HTTP's, if rows are kept apart by it and it is one of VERBS.
    """

    index: int
    generation: int
    role: Role
    protocol: str
    l4: str
    identity: Identity
    peer: Identity | None
    local_ip: str
    local_port: int
    remote_ip: str
    remote_port: int
    status: int
    request_content: str
    response_content: str
    is_error: bool
    is_slow: bool
    no_response: bool
    overflow: bool
    created_ns: int
    dialled_ip: str = ""
    dialled_port: int = 0
    method: str = ""


@dataclass(frozen=True, slots=True)
class LastRequest:
    """The newest request of a row: when it ended and how long its phases took, all in nanoseconds."""

    ended_ns: int
    duration_ns: int
    connect_ns: int
    request_ns: int
    processing_ns: int
    response_ns: int


@dataclass(frozen=True, slots=True)
class RequestRow:
    """Counters of one key. They only grow while the key's generation stands. `fine` are the buckets of struct fs_fine, or
    nothing if durations are not counted so."""

    key: RequestKey
    count: int
    duration_ns: int
    request_bytes: int
    response_bytes: int
    buckets: tuple[int, ...]
    last: LastRequest
    fine: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TcpKey:
    """A TCP relation. `error` is None for a health row, else the errno (0: success) of connection attempts."""

    index: int
    generation: int
    role: Role
    identity: Identity
    peer: Identity | None
    local_ip: str
    local_port: int
    remote_ip: str
    remote_port: int
    error: int | None
    overflow: bool
    created_ns: int
    dialled_ip: str = ""
    dialled_port: int = 0


@dataclass(frozen=True, slots=True)
class TcpRow:
    key: TcpKey
    updated_ns: int
    srtt_us: int
    connects: int
    connect_ns: int
    retransmits: int
    synack_retransmits: int
    drops: int
    resets_sent: int
    resets_received: int
    closed: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One whole request from the bounded queue. `why` is new_edge, error, slow or normal. `method` is HTTP's, empty if
    it is none of VERBS."""

    sequence: int
    why: str
    role: Role
    protocol: str
    l4: str
    identity: Identity
    peer: Identity | None
    pid: int
    conn_id: int
    local_ip: str
    local_port: int
    remote_ip: str
    remote_port: int
    status: int
    is_error: bool
    is_slow: bool
    no_response: bool
    start_ns: int
    duration_ns: int
    connect_ns: int
    request_ns: int
    processing_ns: int
    response_ns: int
    request_bytes: int
    response_bytes: int
    request_content: str
    response_content: str
    request_text: str
    response_text: str
    trace_id: str
    parent_id: str
    dialled_ip: str = ""
    dialled_port: int = 0
    method: str = ""
    undecoded: tuple[bytes, bytes] = (b"", b"")
    """How both sides of an exchange that the engine does not decode begin, for plugins; it is shown nowhere."""


@dataclass(frozen=True, slots=True)
class Domain:
    """By what name processes of a network namespace asked for an address. Told again when it is asked after it expired."""

    generation: int
    netns: int
    ip: str
    name: str
    expires_ns: int


@dataclass(frozen=True, slots=True)
class EngineState:
    """The engine's own account: `stats` are the fields of FS_STATS by name, the rest keyed by event or protocol name."""

    state: str
    heartbeat_ns: int
    clock_ns: int
    cpu_ns: int
    starts: int
    connections: int
    pending: int
    rows_used: int
    tcp_rows_used: int
    strings_used: int
    idents_used: int
    failure: str
    events: dict[str, int]
    parse_failures: dict[str, int]
    parse_ns: dict[str, int]
    parsed: dict[str, int]
    stats: dict[str, int]


@dataclass(frozen=True, slots=True)
class DriverCounters:
    """What the driver counted in the kernel, summed over CPUs and keyed by event name or missing-payload reason."""

    written: dict[str, int]
    lost: dict[str, int]
    absent: dict[str, int]
    storage_failed: int
    merged: int
    missed: int = 0
    """Calls that no hook saw. Only the module can tell."""
