# SPDX-License-Identifier: Apache-2.0
"""TCP sockets as the kernel lists them, for a node on which no probe may be loaded. Needs no capability.

In the own network namespace sock_diag(7) tells round-trip time, retransmits, bytes and the cgroup of each socket. To ask
in another one takes CAP_SYS_ADMIN, so the others are read from /proc/PID/net, which everybody may read and which has
addresses and states only. Network namespaces are told apart by the inode of that file (proc_alloc_inum: one for each
namespace), because the link that names the namespace itself is closed to others.
"""

import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import Any, Final

ESTABLISHED: Final = 1
LISTEN: Final = 10
_CONNECTED: Final = frozenset({1, 4, 5, 8, 9, 11})
"""States in which bytes went or may go: ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING."""
_PEER_HAS_ENDED: Final = frozenset({8, 9, 11})
"""Its FIN came, which the kernel counts as a byte received."""
_STATES_MASK: Final = sum(1 << state for state in (*_CONNECTED, LISTEN))
_INFO_EXTENSION: Final = 1 << 1  # 1 << (INET_DIAG_INFO - 1), linux/inet_diag.h
NAMESPACE_LIMIT: Final = 512
PROCESS_LIMIT: Final = 32768
SOCKET_LIMIT: Final = 65536


@dataclass(frozen=True, slots=True)
class SeenSocket:
    """One TCP socket. Addresses are text, v4-mapped folded to IPv4. `pid` is a process of its network namespace.

    `is_detailed`: the four after it are known; bytes are of the payload that was acknowledged and received. `dialled_ip`
    and `dialled_port` are what the socket asked for where the remote end is somebody else who answers, "" and 0 elsewhere.
    """

    netns: int
    pid: int
    state: int
    local_ip: str
    local_port: int
    remote_ip: str
    remote_port: int
    inode: int
    cgroup_id: int = 0
    is_detailed: bool = False
    srtt_us: int = 0
    retransmits: int = 0
    sent: int = 0
    received: int = 0
    dialled_ip: str = ""
    dialled_port: int = 0


class SocketLister:
    """Lists the sockets of every network namespace that a process lives in. One call of `read` at a time."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self.detail_fault = ""
        """Why the own namespace has no detail; empty if it has."""
        self.left_out = 0
        """Sockets and namespaces beyond the limits in the newest reading."""

    def read(self) -> list[SeenSocket]:
        """All of them now, at most SOCKET_LIMIT. Raises OSError only if /proc itself cannot be read."""
        self.left_out = 0
        own = self._namespace_of("self")
        found: list[SeenSocket] = []
        for sockets in (self._own(own), *(self._listed(netns, pid) for netns, pid in self._namespaces(own).items())):
            for seen in sockets:
                if len(found) < SOCKET_LIMIT:
                    found.append(seen)
                else:
                    self.left_out += 1
        return found

    def _own(self, netns: int) -> Iterator[SeenSocket]:
        try:
            # All of it or nothing: what one family had would be listed twice.
            yield from list(_diagnosed(netns))
            self.detail_fault = ""
        except OSError as error:
            self.detail_fault = f"sock_diag cannot be used: {error}"
            yield from self._listed(netns, 0)

    def _namespaces(self, own: int) -> dict[int, int]:
        """A process of each network namespace but the own one, by the namespace's number."""
        found: dict[int, int] = {}
        processes = sorted(int(entry.name) for entry in self._proc.iterdir() if entry.name.isdigit())
        self.left_out += max(0, len(processes) - PROCESS_LIMIT)
        for pid in processes[:PROCESS_LIMIT]:
            try:
                netns = self._namespace_of(str(pid))
            except OSError:
                continue  # it has ended
            if netns == own or netns in found:
                continue
            if len(found) >= NAMESPACE_LIMIT:
                self.left_out += 1
                continue
            found[netns] = pid
        return found

    def _namespace_of(self, process: str) -> int:
        return (self._proc / process / "net" / "tcp").stat().st_ino

    def _listed(self, netns: int, pid: int) -> Iterator[SeenSocket]:
        for name in ("tcp", "tcp6"):
            try:
                text = (self._proc / (str(pid) if pid else "self") / "net" / name).read_text()
            except OSError:
                continue  # the process has ended, or there is no IPv6
            for line in text.splitlines()[1:]:
                if (seen := _from_line(line, netns, pid)) is not None:
                    yield seen


def _from_line(line: str, netns: int, pid: int) -> SeenSocket | None:
    """A line of /proc/net/tcp (proc(5)): addresses are words of the machine's byte order, in hexadecimal."""
    fields = line.split()
    try:
        (local, local_port), (remote, remote_port) = (_address(field) for field in fields[1:3])
        state, inode = int(fields[3], 16), int(fields[9])
    except (IndexError, ValueError):
        return None
    if state not in _CONNECTED and state != LISTEN:
        return None
    return SeenSocket(netns, pid, state, local, local_port, remote, remote_port, inode)


def _address(field: str) -> tuple[str, int]:
    words, port = field.split(":")
    packed = b"".join(struct.pack("=I", int(words[at : at + 8], 16)) for at in range(0, len(words), 8))
    return _folded(socket.inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed)), int(port, 16)


def _folded(address: str) -> str:
    if not address.startswith("::ffff:"):
        return address
    mapped = getattr(ip_address(address), "ipv4_mapped", None)
    return str(mapped) if mapped else address


def _diagnosed(netns: int) -> Iterator[SeenSocket]:
    """Raises OSError where sock_diag is not there or not allowed."""
    from pyroute2 import DiagSocket  # noqa: PLC0415 - 20 MiB that only this driver has a use for
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

    try:
        with DiagSocket() as diag:
            diag.bind()
            for family in (AF_INET, AF_INET6):
                for message in diag.get_sock_stats(family=family, states=_STATES_MASK, extensions=_INFO_EXTENSION):
                    if "idiag_state" not in message:
                        # A refusal comes as a message, not as an exception, where no module of sock_diag can be loaded.
                        raise OSError(errno.ENOENT, "the kernel has no inet_diag and tcp_diag, and loads none")
                    yield _from_message(message, netns)
    except NetlinkError as error:
        raise OSError(error.code or errno.EIO, str(error)) from None


def _from_message(message: Any, netns: int) -> SeenSocket:
    info = message.get_attr("INET_DIAG_INFO") or {}
    return SeenSocket(
        netns=netns,
        pid=0,
        state=message["idiag_state"],
        local_ip=_folded(message["idiag_src"]),
        local_port=message["idiag_sport"],
        remote_ip=_folded(message["idiag_dst"]),
        remote_port=message["idiag_dport"],
        inode=message["idiag_inode"],
        cgroup_id=message.get_attr("INET_DIAG_CGROUP_ID") or 0,
        is_detailed=bool(info),
        srtt_us=info.get("tcpi_rtt", 0),
        retransmits=info.get("tcpi_total_retrans", 0),
        sent=_sent(info),
        received=max(0, (info.get("tcpi_bytes_received") or 0) - (message["idiag_state"] in _PEER_HAS_ENDED)),
    )


def _sent(info: dict[str, int]) -> int:
    """Payload, each byte once. Before Linux 4.19 (ba113c3aa79a) what was acknowledged, in which a client's SYN counts."""
    if info.get("tcpi_bytes_sent") is not None:
        return max(0, info["tcpi_bytes_sent"] - (info.get("tcpi_bytes_retrans") or 0))
    return info.get("tcpi_bytes_acked") or 0
