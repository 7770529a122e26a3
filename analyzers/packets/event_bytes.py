# SPDX-License-Identifier: Apache-2.0
"""Binary events of probes/include/event.h, packed as a driver writes them; sizes are checked against the header's."""

from dataclasses import dataclass
from struct import Struct
from typing import Final

from analyzers._native import ffi, lib

IN: Final[int] = lib.FS_IN
OUT: Final[int] = lib.FS_OUT
PAYLOAD_MAX: Final[int] = lib.FS_PAYLOAD_MAX
LOST_BEFORE: Final[int] = lib.FS_LOST_BEFORE
LATE: Final[int] = lib.FS_OPEN_LATE
RETRANSMIT: Final[int] = lib.FS_TROUBLE_RETRANSMIT
SYNACK_RETRANSMIT: Final[int] = lib.FS_TROUBLE_SYNACK_RETRANSMIT
RESET_SENT: Final[int] = lib.FS_TROUBLE_RESET_SENT
RESET_RECEIVED: Final[int] = lib.FS_TROUBLE_RESET_RECEIVED
UNKNOWN, CLIENT, SERVER = lib.FS_ROLE_UNKNOWN, lib.FS_ROLE_CLIENT, lib.FS_ROLE_SERVER

_TCP, _UDP = lib.FS_TCP, lib.FS_UDP
_TRUNCATED: Final[int] = lib.FS_REASON_TRUNCATED
_NETNS: Final = 1
"""A capture tells no network namespaces apart: all of its sockets are in one."""
_MASK: Final = 0xFFFFFFFF

_HEAD: Final = "QQQIIIHHII"
_OPEN: Final = Struct(f"={_HEAD}40sQQQIIII16s")
_DATA: Final = Struct(f"={_HEAD}QIIIHBB")
_DATAGRAM: Final = Struct(f"={_HEAD}40sIHBB")
_CONNECT: Final = Struct(f"={_HEAD}40sQiI16s")
_CLOSE: Final = Struct(f"={_HEAD}QQIIiI")
_TROUBLE: Final = Struct(f"={_HEAD}40sII")

for _layout, _name in (
    (_OPEN, "open"),
    (_DATA, "data"),
    (_DATAGRAM, "datagram"),
    (_CONNECT, "connect"),
    (_CLOSE, "close"),
    (_TROUBLE, "trouble"),
):
    if _layout.size != ffi.sizeof(f"struct fs_{_name}"):
        raise ImportError(f"struct fs_{_name} has changed: {__name__} must follow probes/include/event.h")


@dataclass(frozen=True, slots=True)
class Endpoints:
    """A socket and its peer as the kernel would know them: 4 or 16 bytes of address, and ports."""

    local: bytes
    remote: bytes
    local_port: int
    remote_port: int

    def packed(self, role: int, l4: int) -> bytes:
        """struct fs_tuple."""
        return (
            _mapped(self.local)
            + _mapped(self.remote)
            + _PORTS.pack(self.local_port, self.remote_port, 4 if len(self.local) == 4 else 6, l4, role, 0)
        )


_PORTS: Final = Struct("=HHBBBB")


def tcp_tuple(ends: Endpoints, role: int) -> bytes:
    return ends.packed(role, _TCP)


def udp_tuple(ends: Endpoints) -> bytes:
    return ends.packed(UNKNOWN, _UDP)


def _mapped(address: bytes) -> bytes:
    return address if len(address) == 16 else b"\0\0\0\0\0\0\0\0\0\0\xff\xff" + address


def open_event(
    time_ns: int, conn_id: int, ends: bytes, start_ns: int, send_seq: int, recv_seq: int, open_flags: int
) -> bytes:
    """`start_ns`: when the attempt began, 0 if before the capture. Offsets are raw sequence numbers."""
    return _OPEN.pack(
        time_ns, conn_id, 0, 0, 0, _NETNS, lib.FS_EV_OPEN, 0, _OPEN.size, 0,
        ends, 0, 0, start_ns, send_seq & _MASK, recv_seq & _MASK, 0, open_flags, b"",
    )  # fmt: skip


def data_events(
    time_ns: int,
    conn_id: int,
    direction: int,
    seq: int,
    peer_seq: int,
    captured: bytes,
    length: int,
    srtt_us: int,
    flags: int,
) -> bytes:
    """`length` bytes that moved at once, in as many events as it takes to hold all that was captured of them."""
    held = len(captured)
    if held <= PAYLOAD_MAX:
        return _DATA.pack(
            time_ns, conn_id, 0, 0, 0, _NETNS, _EV_DATA, 0, 72 + held, flags,
            length, seq & _MASK, peer_seq & _MASK, srtt_us, held, direction, _TRUNCATED if held < length else 0,
        ) + captured + bytes(-held % 8)  # fmt: skip
    made = []
    for at in range(0, held, PAYLOAD_MAX):
        piece = captured[at : at + PAYLOAD_MAX]
        moved = length - at if at + PAYLOAD_MAX >= held else len(piece)
        made.append(data_events(time_ns, conn_id, direction, seq + at, peer_seq, piece, moved, srtt_us, flags))
        flags = 0
    return b"".join(made)


def datagram_event(time_ns: int, conn_id: int, ends: bytes, direction: int, captured: bytes, length: int) -> bytes:
    captured = captured[:PAYLOAD_MAX]
    held = len(captured)
    return _DATAGRAM.pack(
        time_ns, conn_id, 0, 0, 0, _NETNS, _EV_DATAGRAM, 0, 96 + held, 0,
        ends, length, held, direction, _TRUNCATED if held < length else 0,
    ) + captured + bytes(-held % 8)  # fmt: skip


def connect_event(time_ns: int, conn_id: int, ends: bytes, duration_ns: int, error: int) -> bytes:
    """`error` is 0 or a positive errno."""
    return _CONNECT.pack(
        time_ns, conn_id, 0, 0, 0, _NETNS, lib.FS_EV_CONNECT, 0, _CONNECT.size, 0, ends, duration_ns, error, 0, b""
    )


def close_event(
    time_ns: int, conn_id: int, sent: int, received: int, srtt_us: int, retransmits: int, error: int, flags: int
) -> bytes:
    return _CLOSE.pack(
        time_ns, conn_id, 0, 0, 0, _NETNS, lib.FS_EV_CLOSE, 0, _CLOSE.size, flags,
        sent, received, srtt_us, retransmits, error, 0,
    )  # fmt: skip


def trouble_event(time_ns: int, conn_id: int, ends: bytes, kind: int) -> bytes:
    """`conn_id` is 0 where there is no connection (any more)."""
    return _TROUBLE.pack(time_ns, conn_id, 0, 0, 0, _NETNS, lib.FS_EV_TROUBLE, 0, _TROUBLE.size, 0, ends, kind, 0)


_EV_DATA: Final[int] = lib.FS_EV_DATA
_EV_DATAGRAM: Final[int] = lib.FS_EV_DATAGRAM
