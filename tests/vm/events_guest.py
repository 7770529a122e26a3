# SPDX-License-Identifier: Apache-2.0
"""Runs inside of a virtual machine, as root: what a driver tells of a workload that is the same each time, event by event.

`FIRESTEEL_TEST_DRIVER=kmod python -m tests.vm.events_guest RESULT` writes the events of each connection in their order,
every field but identities, times and the kernel's addresses; offsets count from those that the connection was told with.
"""

import contextlib
import json
import os
import socket
import struct
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.captures import MESSAGE, REQUESTS_OUT, Capture, Event, capturing
from tests.events import OUT, RETRANSMIT
from tests.vm.machine import patient

_LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
_PORTS = range(21000, 21200)
_SIZES = (1, 128, 512, 513, 5000)
_NOT_COMPARED = {
    "sock",
    "cookie",
    "start_ns",
    "duration_ns",
    "first_start_ns",
    "first_end_ns",
    "srtt_us",
    "parent",
    "retransmits",
}
_OFFSETS = {"seq": 0, "peer_seq": 1, "first_seq": 0, "second_seq": 1}
"""0: of the direction that the event is of; 1: of the other."""


class Ports:
    """A fresh one for each socket, and the same ones in each run."""

    def __init__(self) -> None:
        self.next = _PORTS[0]

    def bound(self, family: int, kind: int) -> socket.socket:
        bound = socket.socket(family, kind)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((_LOOPBACK[socket.AddressFamily(family)], self.next))
        self.next += 1
        return bound


@contextlib.contextmanager
def _connected(ports: Ports, family: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    with ports.bound(family, socket.SOCK_STREAM) as listener, ports.bound(family, socket.SOCK_STREAM) as client:
        listener.listen()
        client.connect(listener.getsockname())
        with listener.accept()[0] as server:
            yield client, server


def _read(end: socket.socket, size: int) -> None:
    while size:
        size -= len(end.recv(size))


def _streams(ports: Ports, family: int, capture: Capture) -> None:
    for size in _SIZES:
        with _connected(ports, family) as (client, server):
            client.sendall(b"q" * size)
            _read(server, size)
            server.sendmsg([b"a" * size, b"", b"b" * size])
            _read(client, 2 * size)
            client.sendall(b"looked at")
            server.recv(99, socket.MSG_PEEK)
            server.recvmsg(4)
            server.recv(99)
    with _connected(ports, family) as (client, server), tempfile.TemporaryFile() as file:
        file.write(b"f" * 3000)
        file.flush()
        os.sendfile(client.fileno(), file.fileno(), 0, 3000)
        _read(server, 3000)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.close()
        time.sleep(0.2)
    with _connected(ports, family) as (client, server):
        client.sendall(b"first")
        _read(server, 5)
        port = client.getsockname()[1]
        opened = [event for event in _seen(capture) if event.kind == "open" and event.local_port == port]
        capture.set_mode(opened[0].conn_id, MESSAGE | REQUESTS_OUT)
        for size in _SIZES:
            client.sendall(b"r" * size)
            _read(server, size)
            server.sendall(b"s" * size)
            _read(client, size)
    with ports.bound(family, socket.SOCK_STREAM) as client, contextlib.suppress(ConnectionRefusedError):
        client.connect((_LOOPBACK[socket.AddressFamily(family)], ports.next))
    ports.next += 1


def _datagrams(ports: Ports, family: int) -> None:
    with ports.bound(family, socket.SOCK_DGRAM) as near, ports.bound(family, socket.SOCK_DGRAM) as far:
        for size in _SIZES:
            near.sendto(b"d" * size, far.getsockname())
            far.recvfrom(9999)
        far.connect(near.getsockname())
        far.send(b"back")
        near.recv(2)


_ALL: list[Event] = []


def _seen(capture: Capture) -> list[Event]:
    """All so far: the last one written may be a moment away."""
    time.sleep(0.2)
    _ALL.extend(capture.take())
    return _ALL


def observed() -> dict[str, list[dict[str, Any]]]:
    """Events by their connection's ports."""
    ports = Ports()
    with capturing(only_ports=_PORTS) as capture:
        for family in _LOOPBACK:
            _streams(ports, family, capture)
            _datagrams(ports, family)
        end, told = time.monotonic() + patient(20), -1
        while told != len(_ALL) and time.monotonic() < end:
            told = len(_ALL)
            time.sleep(1)
            _seen(capture)
    return compared(_ALL)


def compared(events: list[Event]) -> dict[str, list[dict[str, Any]]]:
    names: dict[int, str] = {}
    begins: dict[int, tuple[int, int]] = {}
    for event in events:
        if event.conn_id and event.local_port:
            names.setdefault(event.conn_id, _ends(event))
        if event.kind == "open":
            begins[event.conn_id] = (event.send_seq, event.recv_seq)
    found = defaultdict(list)
    for event in events:
        # Resets and drops of nobody's connections are told whatever their ports; what is late may be sent again.
        ours = event.conn_id or {event.local_port, event.remote_port} & set(_PORTS)
        if ours and event.kind != "process" and not (event.kind == "trouble" and event.fields["kind"] == RETRANSMIT):
            found[names.get(event.conn_id) or _ends(event)].append(_plain(event, begins.get(event.conn_id)))
    return dict(found)


def _ends(event: Event) -> str:
    return f"{event.local}:{event.local_port} {event.remote}:{event.remote_port}"


def _plain(event: Event, begins: tuple[int, int] | None) -> dict[str, Any]:
    fields = {name: value for name, value in event.fields.items() if name not in _NOT_COMPARED}
    fields.pop("send_seq", None)
    fields.pop("recv_seq", None)
    for name, other in _OFFSETS.items():
        if name in fields and begins is not None:
            inward = (event.fields["direction"] != OUT) ^ bool(other)
            fields[name] = (fields[name] - begins[inward]) & 0xFFFFFFFF
    return {
        "event": event.kind,
        "by_us": event.pid == os.getpid(),
        "thread_is_first": event.tid == event.pid,
        "flags": event.flags,
        "ends": [event.local, event.local_port, event.remote, event.remote_port],
        "role": event.role,
        "netns": event.netns,
        "cgroup_id": event.cgroup_id,
        **fields,
        "payload": event.payload.hex(),
    }


def main() -> None:
    Path(sys.argv[1]).write_text(json.dumps(observed()))


if __name__ == "__main__":
    main()
