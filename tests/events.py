# SPDX-License-Identifier: Apache-2.0
"""Binary events as a driver writes them (probes/include/event.h), built by hand, and conversations made of them.

An endpoint is (address text, port). Times are nanoseconds. Every function returns the bytes of one event.
"""

import ipaddress
import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

IN, OUT = 0, 1
ROLES = {"unknown": 0, "client": 1, "server": 2}
TRANSPORTS = {"tcp": 6, "udp": 17}
TYPES = {
    name: number
    for number, name in enumerate(
        ("open", "data", "exchange", "datagram", "connect", "close", "listen", "trouble", "process"), start=1
    )
}
LOST_BEFORE, NO_PROCESS, PEER_UNKNOWN = 1, 2, 4
SEEDED, REPEATED, LATE, MPTCP = 1, 2, 4, 8
TRUNCATED, LENGTH_ONLY, SYSCALL = 1, 2, 3
RETRANSMIT, SYNACK_RETRANSMIT, RESET_SENT, RESET_RECEIVED, PACKET_DROPPED = 1, 2, 3, 4, 5
EXEC, EXIT = 1, 2
SECOND = 1_000_000_000

Endpoint = tuple[str, int]


def address(text: str) -> bytes:
    """16 bytes; IPv4 is v4-mapped, an unspecified address is zero."""
    parsed = ipaddress.ip_address(text)
    if parsed.is_unspecified:
        return bytes(16)
    return parsed.packed if parsed.version == 6 else bytes(10) + b"\xff\xff" + parsed.packed


def tuple_of(local: Endpoint, remote: Endpoint, role: str = "unknown", l4: str = "tcp") -> bytes:
    family = ipaddress.ip_address(local[0]).version
    return (
        address(local[0])
        + address(remote[0])
        + struct.pack("<HHBBBB", local[1], remote[1], family, TRANSPORTS[l4], ROLES[role], 0)
    )


def event(
    kind: str,
    body: bytes,
    *,
    time_ns: int,
    conn_id: int = 0,
    pid: int = 0,
    cgroup_id: int = 0,
    netns: int = 1,
    cpu: int = 0,
    flags: int = 0,
) -> bytes:
    head = struct.pack(
        "<QQQIIIHHII", time_ns, conn_id, cgroup_id, pid, pid, netns, TYPES[kind], cpu, 48 + len(body), flags
    )
    return head + body


def open_event(
    time_ns: int,
    conn_id: int,
    local: Endpoint,
    remote: Endpoint,
    *,
    role: str = "unknown",
    l4: str = "tcp",
    comm: str = "",
    send_seq: int = 0,
    recv_seq: int = 0,
    srtt_us: int = 0,
    start_ns: int = 0,
    open_flags: int = 0,
    **head: int,
) -> bytes:
    body = tuple_of(local, remote, role, l4) + struct.pack(
        "<QQQIIII16s", 0, 0, start_ns, send_seq & 0xFFFFFFFF, recv_seq & 0xFFFFFFFF, srtt_us, open_flags, comm.encode()
    )
    return event("open", body, time_ns=time_ns, conn_id=conn_id, **head)


def data(
    time_ns: int,
    conn_id: int,
    direction: int,
    seq: int,
    peer_seq: int,
    payload: bytes,
    *,
    length: int | None = None,
    reason: int | None = None,
    srtt_us: int = 0,
    **head: int,
) -> bytes:
    """`length` bytes moved, of which `payload` was captured."""
    moved = len(payload) if length is None else length
    why = (TRUNCATED if moved > len(payload) else 0) if reason is None else reason
    body = struct.pack(
        "<QIIIHBB", moved, seq & 0xFFFFFFFF, peer_seq & 0xFFFFFFFF, srtt_us, len(payload), direction, why
    )
    return event("data", body + payload, time_ns=time_ns, conn_id=conn_id, **head)


def exchange(
    time_ns: int,
    conn_id: int,
    direction: int,
    first_seq: int,
    first: bytes,
    second_seq: int,
    second: bytes,
    *,
    first_start_ns: int,
    first_end_ns: int | None = None,
    first_length: int | None = None,
    second_length: int | None = None,
    **head: int,
) -> bytes:
    first_moved = len(first) if first_length is None else first_length
    second_moved = len(second) if second_length is None else second_length
    body = struct.pack(
        "<QQQQIIIHHBBB5x",
        first_start_ns,
        first_start_ns if first_end_ns is None else first_end_ns,
        first_moved,
        second_moved,
        first_seq & 0xFFFFFFFF,
        second_seq & 0xFFFFFFFF,
        0,
        len(first),
        len(second),
        direction,
        TRUNCATED if first_moved > len(first) else 0,
        TRUNCATED if second_moved > len(second) else 0,
    )
    return event("exchange", body + first + second, time_ns=time_ns, conn_id=conn_id, **head)


def datagram(
    time_ns: int,
    conn_id: int,
    direction: int,
    local: Endpoint,
    remote: Endpoint,
    payload: bytes,
    *,
    length: int | None = None,
    role: str = "unknown",
    **head: int,
) -> bytes:
    moved = len(payload) if length is None else length
    body = tuple_of(local, remote, role, "udp") + struct.pack(
        "<IHBB", moved, len(payload), direction, TRUNCATED if moved > len(payload) else 0
    )
    return event("datagram", body + payload, time_ns=time_ns, conn_id=conn_id, **head)


def connect(
    time_ns: int,
    conn_id: int,
    local: Endpoint,
    remote: Endpoint,
    *,
    duration_ns: int,
    error: int = 0,
    comm: str = "",
    **head: int,
) -> bytes:
    body = tuple_of(local, remote, "client") + struct.pack("<QiI16s", duration_ns, error, 0, comm.encode())
    return event("connect", body, time_ns=time_ns, conn_id=conn_id, **head)


def close(
    time_ns: int, conn_id: int, *, sent: int = 0, received: int = 0, srtt_us: int = 0, error: int = 0, **head: int
) -> bytes:
    body = struct.pack("<QQIIiI", sent, received, srtt_us, 0, error, 0)
    return event("close", body, time_ns=time_ns, conn_id=conn_id, **head)


def listen(time_ns: int, conn_id: int, local: Endpoint, *, comm: str = "", l4: str = "tcp", **head: int) -> bytes:
    any_address = "::" if ":" in local[0] else "0.0.0.0"
    body = tuple_of(local, (any_address, 0), "unknown", l4) + struct.pack("<16s", comm.encode())
    return event("listen", body, time_ns=time_ns, conn_id=conn_id, **head)


def trouble(
    time_ns: int, conn_id: int, local: Endpoint, remote: Endpoint, kind: int, *, reason: int = 0, **head: int
) -> bytes:
    return event(
        "trouble", tuple_of(local, remote) + struct.pack("<II", kind, reason), time_ns=time_ns, conn_id=conn_id, **head
    )


def process(time_ns: int, kind: int, *, pid: int, comm: str = "", parent: int = 0) -> bytes:
    return event("process", struct.pack("<II16s", kind, parent, comm.encode()), time_ns=time_ns, pid=pid)


class Conversation:
    """One end of a TCP connection: keeps the offsets, so that a test only says who sends what and when.

    `sends` and `receives` are seen from this end. Offsets start where `send_seq` and `recv_seq` say and wrap at 2^32.
    """

    def __init__(
        self,
        conn_id: int,
        local: Endpoint,
        remote: Endpoint,
        role: str,
        *,
        comm: str = "",
        pid: int = 0,
        netns: int = 1,
        cgroup_id: int = 0,
        send_seq: int = 1000,
        recv_seq: int = 5000,
    ) -> None:
        self.conn_id, self.local, self.remote, self.role, self.comm = conn_id, local, remote, role, comm
        self.head: dict[str, Any] = {"pid": pid, "netns": netns, "cgroup_id": cgroup_id}
        self.seq = {OUT: send_seq, IN: recv_seq}

    def open(self, time_ns: int, *, open_flags: int = 0, flags: int = 0, srtt_us: int = 0) -> bytes:
        return open_event(
            time_ns,
            self.conn_id,
            self.local,
            self.remote,
            role=self.role,
            comm=self.comm,
            send_seq=self.seq[OUT],
            recv_seq=self.seq[IN],
            open_flags=open_flags,
            flags=flags,
            srtt_us=srtt_us,
            **self.head,
        )

    def moves(
        self,
        direction: int,
        time_ns: int,
        payload: bytes,
        *,
        length: int | None = None,
        reason: int | None = None,
        flags: int = 0,
        srtt_us: int = 0,
    ) -> bytes:
        made = data(
            time_ns,
            self.conn_id,
            direction,
            self.seq[direction],
            self.seq[1 - direction],
            payload,
            length=length,
            reason=reason,
            flags=flags,
            srtt_us=srtt_us,
            **self.head,
        )
        self.seq[direction] += len(payload) if length is None else length
        return made

    def sends(self, time_ns: int, payload: bytes, *, length: int | None = None, reason: int | None = None) -> bytes:
        return self.moves(OUT, time_ns, payload, length=length, reason=reason)

    def receives(self, time_ns: int, payload: bytes, *, length: int | None = None, reason: int | None = None) -> bytes:
        return self.moves(IN, time_ns, payload, length=length, reason=reason)

    def skips(self, direction: int, length: int) -> None:
        """Bytes that move without an event."""
        self.seq[direction] += length

    def exchanges(
        self,
        time_ns: int,
        first: bytes,
        second: bytes,
        *,
        first_start_ns: int,
        first_end_ns: int | None = None,
        first_length: int | None = None,
        second_length: int | None = None,
    ) -> bytes:
        """A request and the first chunk of its response in one event; a client's first message goes out."""
        direction = OUT if self.role == "client" else IN
        made = exchange(
            time_ns,
            self.conn_id,
            direction,
            self.seq[direction],
            first,
            self.seq[1 - direction],
            second,
            first_start_ns=first_start_ns,
            first_end_ns=first_end_ns,
            first_length=first_length,
            second_length=second_length,
            **self.head,
        )
        self.seq[direction] += len(first) if first_length is None else first_length
        self.seq[1 - direction] += len(second) if second_length is None else second_length
        return made

    def close(self, time_ns: int, *, sent: int = 0, received: int = 0, srtt_us: int = 0, **head: int) -> bytes:
        values = {**self.head, **head}
        return close(time_ns, self.conn_id, sent=sent, received=received, srtt_us=srtt_us, **values)

    def pieces(self, direction: int, time_ns: int, payload: bytes, cuts: list[int]) -> Iterator[bytes]:
        """The payload in several I/Os, cut at the given places."""
        places = [0, *sorted(cut for cut in cuts if 0 < cut < len(payload)), len(payload)]
        for begin, end in pairwise(places):
            if end > begin:
                yield self.moves(direction, time_ns, payload[begin:end])
