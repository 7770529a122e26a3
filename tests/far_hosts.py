# SPDX-License-Identifier: Apache-2.0
"""Hosts that are not on this machine: their packets come out of a tunnel device, so no process and no socket of this kernel
is theirs, and an agent sees what it sees of another node or of the internet.

They take every TCP connection and answer each HTTP request in one segment, and ask the same way (RFC 9293, as much of it as a
lossless device needs).
"""

import fcntl
import os
import select
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.namespaces import Namespace, _ip

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_FIN, _SYN, _RST, _PSH, _ACK = 0x01, 0x02, 0x04, 0x08, 0x10
_IPV4 = struct.Struct(">BBHHHBBH4s4s")
_TCP = struct.Struct(">HHIIBBHHH")
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_FAILURE = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\nno"
_QUESTION = b"GET /orders HTTP/1.1\r\nHost: far\r\nConnection: close\r\n\r\n"
_WINDOW = 65535
_ASKING_PORTS = 40_000
"""From here on a port is one that asks."""


@dataclass(slots=True)
class FarHosts:
    """`requests` counts those that each (address, port) answered, `answers` those that each address got."""

    device: str
    space: Namespace
    tunnel: int
    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    failing: set[str] = field(default_factory=set)
    """Addresses that answer 500."""
    asked: int = 0

    def add(self, ipv4: str) -> str:
        """An address that is there from now on."""
        _ip("-n", self.space.name, "route", "add", f"{ipv4}/32", "dev", self.device)
        return ipv4

    def ask(self, source: str, destination: str, port: int, times: int) -> None:
        """A connection for each, from an address that was added. AssertionError if one is not answered in time."""
        expected, end = self.answers[source] + times, time.monotonic() + 20
        for _ in range(times):
            self.asked += 1
            ends = (socket.inet_aton(source), _ASKING_PORTS + self.asked, socket.inet_aton(destination), port)
            os.write(self.tunnel, _segment(ends, 0, 0, _SYN))
        while self.answers[source] < expected:
            assert time.monotonic() < end, f"{source} got {self.answers[source]} answers of {expected}"
            time.sleep(0.02)


@contextmanager
def far_hosts(space: Namespace, device: str = "far0") -> Iterator[FarHosts]:
    """To be called while this thread is in that network namespace: the device is made in it."""
    tunnel = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tunnel, _TUNSETIFF, struct.pack("16sH", device.encode(), _IFF_TUN | _IFF_NO_PI))
    _ip("-n", space.name, "link", "set", device, "up")
    space.set(f"ipv4/conf/{device}/rp_filter", 0)
    hosts = FarHosts(device, space, tunnel)
    stop_read, stop_write = os.pipe()
    thread = threading.Thread(target=_answer_all, args=(hosts, tunnel, stop_read))
    thread.start()
    try:
        yield hosts
    finally:
        os.close(stop_write)
        thread.join()
        os.close(stop_read)
        os.close(tunnel)


def _answer_all(hosts: FarHosts, tunnel: int, stop: int) -> None:
    while True:
        readable, _, _ = select.select([tunnel, stop], [], [])
        if stop in readable:
            return
        for packet in _answers(hosts, os.read(tunnel, 65_536)):
            os.write(tunnel, packet)


def _answers(hosts: FarHosts, packet: bytes) -> Iterator[bytes]:
    if packet[0] >> 4 != 4 or packet[9] != socket.IPPROTO_TCP:
        return
    *_, source, destination = _IPV4.unpack_from(packet)
    head = (packet[0] & 15) * 4
    length = int.from_bytes(packet[2:4], "big")
    source_port, port, sequence, acknowledged, offset, flags, *_ = _TCP.unpack_from(packet, head)
    data = packet[head + (offset >> 4) * 4 : length]
    if flags & _RST:
        return
    following = (sequence + len(data) + bool(flags & (_SYN | _FIN))) & 0xFFFFFFFF
    ends = (destination, port, source, source_port)
    if port >= _ASKING_PORTS:
        yield from _asks(hosts, ends, following, acknowledged, flags, data)
        return
    if flags & _SYN:
        # The first sequence number is 0, so what the peer acknowledges is all there is to know of a connection.
        yield _segment(ends, 0, following, _SYN | _ACK)
        return
    answered = 0
    if data:
        count = data.count(b"\r\n\r\n")
        hosts.requests[socket.inet_ntoa(destination), port] += count
        for _ in range(count):
            answer = _FAILURE if socket.inet_ntoa(destination) in hosts.failing else _ANSWER
            yield _segment(ends, acknowledged + answered, following, _PSH | _ACK, answer)
            answered += len(answer)
    if flags & _FIN:
        yield _segment(ends, acknowledged + answered, following, _FIN | _ACK)
    elif data and not answered:
        yield _segment(ends, acknowledged, following, _ACK)


def _asks(
    hosts: FarHosts, ends: tuple[bytes, int, bytes, int], following: int, acknowledged: int, flags: int, data: bytes
) -> Iterator[bytes]:
    """The other side: asks once the connection is there, and ends it with the answer."""
    if flags & _SYN:
        yield _segment(ends, acknowledged, following, _PSH | _ACK, _QUESTION)
    elif data:
        hosts.answers[socket.inet_ntoa(ends[0])] += data.count(b"HTTP/1.1 200")
        yield _segment(ends, acknowledged, following, _ACK)
    if flags & _FIN:
        yield _segment(ends, acknowledged, following, _FIN | _ACK)


def _segment(
    ends: tuple[bytes, int, bytes, int], sequence: int, acknowledged: int, flags: int, data: bytes = b""
) -> bytes:
    source, source_port, destination, port = ends
    body = _TCP.pack(source_port, port, sequence & 0xFFFFFFFF, acknowledged, 5 << 4, flags, _WINDOW, 0, 0) + data
    pseudo = source + destination + struct.pack(">BBH", 0, socket.IPPROTO_TCP, len(body))
    body = body[:16] + _sum(pseudo + body).to_bytes(2, "big") + body[18:]
    head = _IPV4.pack(0x45, 0, 20 + len(body), 0, 0x4000, 64, socket.IPPROTO_TCP, 0, source, destination)
    return head[:10] + _sum(head).to_bytes(2, "big") + head[12:] + body


def _sum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
