# SPDX-License-Identifier: Apache-2.0
"""Packet captures built by hand: frames, the two file formats, and a TCP conversation with its sequence numbers.

Times are nanoseconds since 1970. A frame is the bytes on the wire; `Cut(frame, n)` keeps the first n of them.
"""

import ipaddress
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
START = 1_700_000_000_000_000_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 80)
CLIENT6, SERVER6 = ("2001:db8::1", 40000), ("2001:db8::2", 80)

Endpoint = tuple[str, int]


class Cut(NamedTuple):
    frame: bytes
    kept: int


Frame = bytes | Cut
Timed = tuple[int, Frame]


def _parts(frame: Frame) -> tuple[bytes, int]:
    return (frame.frame[: frame.kept], len(frame.frame)) if isinstance(frame, Cut) else (frame, len(frame))


def pcap(
    path: Path, frames: Iterable[Timed], *, link: int = 1, order: str = "<", nano: bool = False, snaplen: int = 65535
) -> Path:
    made = [struct.pack(f"{order}IHHiIII", 0xA1B23C4D if nano else 0xA1B2C3D4, 2, 4, 0, 0, snaplen, link)]
    for time_ns, frame in frames:
        data, length = _parts(frame)
        unit = 1 if nano else 1000
        made += [struct.pack(f"{order}IIII", time_ns // SECOND, time_ns % SECOND // unit, len(data), length), data]
    path.write_bytes(b"".join(made))
    return path


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack(f"{order}I", len(body) + 12)
    return struct.pack(f"{order}I", kind) + length + body + length


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(
    link: int = 1, order: str = "<", *, resolution: int | None = None, offset: int = 0, options: bytes = b""
) -> bytes:
    if resolution is not None:
        options += struct.pack(f"{order}HHB3x", 9, 1, resolution)
    if offset:
        options += struct.pack(f"{order}HHq", 14, 8, offset)
    options += struct.pack(f"{order}HH", 0, 0) if options else b""
    return block(1, struct.pack(f"{order}HHI", link, 0, 65535) + options, order)


def packet(
    time_ns: int, frame: Frame, *, on: int = 0, order: str = "<", units: int = 1_000_000, options: bytes = b""
) -> bytes:
    data, length = _parts(frame)
    time = time_ns * units // SECOND
    body = struct.pack(f"{order}IIIII", on, time >> 32, time & 0xFFFFFFFF, len(data), length)
    return block(6, body + data + bytes(-len(data) % 4) + options, order)


def pcapng(path: Path, frames: Iterable[Timed], *, link: int = 1, order: str = "<") -> Path:
    blocks = [section(order), interface(link, order), *(packet(when, frame, order=order) for when, frame in frames)]
    path.write_bytes(b"".join(blocks))
    return path


# --- frames


def ethernet(ip: bytes, tags: Iterable[int] = ()) -> bytes:
    tagged = b"".join(struct.pack("!HH", tag, 7) for tag in tags)
    return bytes(12) + tagged + struct.pack("!H", 0x0800 if ip[0] >> 4 == 4 else 0x86DD) + ip


def cooked(ip: bytes, kind: int = 0) -> bytes:
    """https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL.html"""
    return struct.pack("!HHH8sH", kind, 1, 6, bytes(8), 0x0800 if ip[0] >> 4 == 4 else 0x86DD) + ip


def cooked2(ip: bytes, kind: int = 0, index: int = 2) -> bytes:
    """https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html"""
    number = 0x0800 if ip[0] >> 4 == 4 else 0x86DD
    return struct.pack("!HHIHBB8s", number, 0, index, 1, kind, 6, bytes(8)) + ip


def loopback(ip: bytes, order: str = "<", ipv6: int = 10) -> bytes:
    return struct.pack(f"{order}I", 2 if ip[0] >> 4 == 4 else ipv6) + ip


def ipv4(source: str, target: str, protocol: int, carried: bytes, *, number: int = 1, fragment: int = 0) -> bytes:
    return struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(carried), number, fragment, 64, protocol, 0,
        ipaddress.ip_address(source).packed, ipaddress.ip_address(target).packed,
    ) + carried  # fmt: skip


def ipv6(source: str, target: str, protocol: int, carried: bytes) -> bytes:
    addresses = ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed
    return struct.pack("!IHBB", 6 << 28, len(carried), protocol, 64) + addresses + carried


def ip(source: str, target: str, protocol: int, carried: bytes) -> bytes:
    return (ipv6 if ":" in source else ipv4)(source, target, protocol, carried)


def fragments(source: str, target: str, protocol: int, carried: bytes, size: int, number: int = 77) -> list[bytes]:
    """The same packet in pieces of `size` bytes (a multiple of 8)."""
    made = []
    for at in range(0, len(carried), size):
        piece, more = carried[at : at + size], at + size < len(carried)
        if ":" in source:
            head = struct.pack("!BBHI", protocol, 0, at | more, number)
            made.append(ipv6(source, target, 44, head + piece))
        else:
            made.append(ipv4(source, target, protocol, piece, number=number, fragment=at // 8 | more << 13))
    return made


def udp(source: Endpoint, target: Endpoint, payload: bytes) -> bytes:
    head = struct.pack("!HHHH", source[1], target[1], 8 + len(payload), 0)
    return ip(source[0], target[0], 17, head + payload)


def tcp_segment(
    source: Endpoint, target: Endpoint, seq: int, ack: int, flags: int, payload: bytes = b"", options: bytes = b""
) -> bytes:
    offset = (20 + len(options)) // 4 << 4
    mask = 0xFFFFFFFF
    head = struct.pack("!HHIIBBHHH", source[1], target[1], seq & mask, ack & mask, offset, flags, 512, 0, 0)
    return head + options + payload


def tcp(
    source: Endpoint, target: Endpoint, seq: int, ack: int, flags: int, payload: bytes = b"", options: bytes = b""
) -> bytes:
    return ip(source[0], target[0], 6, tcp_segment(source, target, seq, ack, flags, payload, options))


# --- a conversation


@dataclass(slots=True)
class Talk:
    """A TCP connection as IP packets; each call gives the next one, with the clock a millisecond further.

    `from_client` and `from_server` say who sends. Sequence numbers count on and wrap.
    """

    client: Endpoint = CLIENT
    server: Endpoint = SERVER
    client_seq: int = 1000
    server_seq: int = 5000
    now: int = START
    step: int = MILLISECOND

    def _sent(self, from_client: bool, flags: int, payload: bytes, *, moves: int) -> tuple[int, bytes]:
        ends = (self.client, self.server) if from_client else (self.server, self.client)
        seq, other = (self.client_seq, self.server_seq) if from_client else (self.server_seq, self.client_seq)
        made = (self.now, tcp(*ends, seq, other if flags & ACK else 0, flags, payload))
        self.now += self.step
        if from_client:
            self.client_seq += moves
        else:
            self.server_seq += moves
        return made

    def handshake(self) -> list[tuple[int, bytes]]:
        return [
            self._sent(True, SYN, b"", moves=1),
            self._sent(False, SYN | ACK, b"", moves=1),
            self._sent(True, ACK, b"", moves=0),
        ]

    def from_client(self, payload: bytes, flags: int = 0) -> tuple[int, bytes]:
        return self._sent(True, ACK | PSH | flags, payload, moves=len(payload) + bool(flags & FIN))

    def from_server(self, payload: bytes, flags: int = 0) -> tuple[int, bytes]:
        return self._sent(False, ACK | PSH | flags, payload, moves=len(payload) + bool(flags & FIN))

    def acknowledged(self, *, by_client: bool) -> tuple[int, bytes]:
        return self._sent(by_client, ACK, b"", moves=0)

    def goodbye(self) -> list[tuple[int, bytes]]:
        return [self.from_client(b"", FIN), self.from_server(b"", FIN), self.acknowledged(by_client=True)]
