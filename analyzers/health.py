# SPDX-License-Identifier: Apache-2.0
"""TCP relations by name. They are told from the local socket to its peer whichever side asked, because round-trip time
and retransmits belong to the end that measured them; the two ends of one connection are two relations."""

from dataclasses import dataclass
from typing import Final

from analyzers.accounts import Values
from analyzers.edges import OTHER, OTHER_PARTY, Ends
from analyzers.resolver import Party
from analyzers.rows import TcpKey, TcpRow

# A port at or above this is the choice of a client's kernel, not a service: it is left blank.
FIRST_EPHEMERAL_PORT: Final = 32768

# What a tuple of TCP values holds.
CONNECTS: Final = 0
CONNECT_NS: Final = 1
RETRANSMITS: Final = 2  # of SYN-ACKs as well: each is a segment that was sent again
DROPS: Final = 3
RESETS_SENT: Final = 4
RESETS_RECEIVED: Final = 5
CLOSED: Final = 6


@dataclass(frozen=True, slots=True)
class TcpLabels:
    """One relation. `errno` is None for its health, else the result of connection attempts (0: success); `pid` and
    `comm` name one process that tried. A port of 0 is not shown. `dnat_*` are empty where nothing was translated."""

    src: Party
    dst: Party
    src_ip: str
    src_port: int
    dst_ip: str
    dst_port: int
    errno: int | None
    dnat_ip: str
    dnat_port: int
    pid: int
    comm: str


def tcp_labels(key: TcpKey, ends: Ends) -> TcpLabels:
    """An attempt goes to what was dialled, with the translation beside it; health is of the ends that really talk."""
    translated = key.error is not None and key.dialled_port
    return TcpLabels(
        src=ends.local,
        dst=ends.remote,
        src_ip=ends.local_ip,
        src_port=shown_port(key.local_port),
        dst_ip=key.dialled_ip if translated else ends.remote_ip,
        dst_port=shown_port(key.dialled_port if translated else key.remote_port),
        errno=key.error,
        dnat_ip=ends.remote_ip if translated else "",
        dnat_port=key.remote_port if translated else 0,
        pid=0 if key.error is None else key.identity.pid,
        comm="" if key.error is None else key.identity.comm,
    )


def overflow_labels(key: TcpKey) -> TcpLabels:
    """The relation that stands for all that found no row: one for health, one for each result of an attempt."""
    return _other(key.error)


def overflow_of(labels: TcpLabels) -> TcpLabels:
    """The same for a relation that has a name but finds no room further on."""
    return _other(labels.errno)


def _other(errno: int | None) -> TcpLabels:
    return TcpLabels(OTHER_PARTY, OTHER_PARTY, OTHER, 0, OTHER, 0, errno, "", 0, 0, "")


def shown_port(port: int) -> int:
    return port if port < FIRST_EPHEMERAL_PORT else 0


def tcp_values(row: TcpRow) -> Values:
    return (
        row.connects,
        row.connect_ns,
        row.retransmits + row.synack_retransmits,
        row.drops,
        row.resets_sent,
        row.resets_received,
        row.closed,
    )
