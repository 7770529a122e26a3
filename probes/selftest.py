# SPDX-License-Identifier: Apache-2.0
"""Is the driver what it says? One TCP and one UDP exchange of known bytes over loopback must come out of the ring.

A program that attaches can still be silent, and feature queries lie in both directions. So only this counts: the right
number of events, their payload, their lengths, and the datagrams' peer.
"""

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from probes._libbpf import ffi, lib
from probes.attachment import PERF_RING
from probes.control import ControlPage
from probes.driver import Loaded

SELF_TEST_EPOCH = 0xFFFFFFFF
_HEAD = struct.Struct("=QQQIIIHHII")  # struct fs_head
_DATA = struct.Struct("=QIIIHBB")  # struct fs_data after its head
_DATAGRAM = struct.Struct("=16s16sHHBBBBIHBB")  # struct fs_datagram after its head
_DATA_TYPE, _DATAGRAM_TYPE = 2, 4
_ASK, _ANSWER = b"firesteel asks: is anybody there?", b"firesteel answers: yes, loud and clear"
_TIMEOUT = 2.0
_ATTEMPTS = 3
"""What the whole machine does meanwhile comes out of the same ring, and may have filled it."""


@dataclass(frozen=True, slots=True)
class _Seen:
    kind: int
    direction: int
    moved: int
    payload: bytes
    peer_port: int


def run(loaded: Loaded) -> str:
    """Empty if the driver told everything as it was, else what was wrong."""
    descriptors = loaded.one()
    page = ControlPage(descriptors["control"])
    rings = loaded.many().get(PERF_RING, ())
    reader = (
        lib.fs_reader_open_perf(list(rings), len(rings), loaded.ring_bytes)
        if rings
        else lib.fs_reader_open(descriptors["ring"], loaded.ring_bytes)
    )
    if reader == ffi.NULL:
        page.close()
        return "the ring cannot be mapped"
    try:
        page.prepare()
        for _ in range(_ATTEMPTS):
            fault = _attempt(page, reader, peers=loaded.tells_peers)
            if not fault:
                break
        return fault
    finally:
        lib.fs_reader_close(reader)
        page.close()


def _attempt(page: ControlPage, reader: object, *, peers: bool) -> str:
    page.set_epoch(SELF_TEST_EPOCH)
    try:
        ports = _talk()
    except OSError as error:
        return f"loopback cannot be used for the self-test: {error}"
    finally:
        page.set_epoch(0)
        events = list(_events(reader))
        lib.fs_reader_release(reader)
    return _judge(events, ports, peers=peers)


@dataclass(frozen=True, slots=True)
class _Ports:
    udp_client: int
    udp_server: int


def _talk() -> _Ports:
    """The known exchanges, both ends in this thread: loopback buffers take them at once."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        client = stack.enter_context(socket.create_connection(listener.getsockname(), timeout=_TIMEOUT))
        server = stack.enter_context(listener.accept()[0])
        server.settimeout(_TIMEOUT)
        client.sendall(_ASK)
        server.recv(4096)
        server.sendall(_ANSWER)
        client.recv(4096)
        here, there = (stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2))
        for end in (here, there):
            end.bind(("127.0.0.1", 0))
            end.settimeout(_TIMEOUT)
        here.sendto(_ASK, there.getsockname())
        _, sender = there.recvfrom(4096)
        there.sendto(_ANSWER, sender)
        here.recvfrom(4096)
        return _Ports(here.getsockname()[1], there.getsockname()[1])


def _events(reader: object) -> Iterator[_Seen]:
    """This thread's own data events."""
    pid, tid = os.getpid(), threading.get_native_id()
    count = ffi.new("unsigned int *")
    while (event := lib.fs_reader_next(reader, count)) != ffi.NULL:
        record = bytes(ffi.buffer(event, count[0]))
        _, _, _, event_pid, event_tid, _, kind, _, size, _ = _HEAD.unpack_from(record)
        if (event_pid, event_tid) != (pid, tid) or size > len(record):
            continue
        if kind == _DATA_TYPE:
            moved, _, _, _, captured, direction, _ = _DATA.unpack_from(record, _HEAD.size)
            start = _HEAD.size + _DATA.size
            yield _Seen(kind, direction, moved, record[start : start + captured], 0)
        elif kind == _DATAGRAM_TYPE:
            _, _, _, port, _, _, _, _, moved, captured, direction, _ = _DATAGRAM.unpack_from(record, _HEAD.size)
            start = _HEAD.size + _DATAGRAM.size
            yield _Seen(kind, direction, moved, record[start : start + captured], port)


def _judge(seen: list[_Seen], ports: _Ports, *, peers: bool) -> str:
    for kind, name in ((_DATA_TYPE, "TCP"), (_DATAGRAM_TYPE, "UDP")):
        told = [event for event in seen if event.kind == kind]
        wanted = [(1, _ASK), (0, _ASK), (1, _ANSWER), (0, _ANSWER)]
        if [(event.direction, event.payload) for event in told] != wanted:
            return f"{name}: of 4 known reads and writes {len(told)} came out, not all with their payload"
        if any(event.moved != len(event.payload) for event in told):
            return f"{name}: lengths do not match what was sent"
    if peers:
        used = [event.peer_port for event in seen if event.kind == _DATAGRAM_TYPE]
        if used != [ports.udp_server, ports.udp_client, ports.udp_client, ports.udp_server]:
            return "UDP: the peers are not those that were used"
    return ""
