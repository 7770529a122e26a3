# SPDX-License-Identifier: Apache-2.0
"""What a driver says in the kernel, event by event, with no engine between: for tests of the hooks."""

import ipaddress
import mmap
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from analyzers._native import lib as contract
from probes import drivers, facts, selftest
from probes._libbpf import ffi, lib
from probes.attachment import ITERATOR, PERF_RING
from probes.control import ControlPage
from probes.driver import Loaded, Rejection

RING_BYTES = 4 << 20
DRIVER = os.environ.get("FIRESTEEL_TEST_DRIVER", "core")
"""Whose events are looked at."""
STREAM, MESSAGE, LENGTHS, SILENT, FLIPS, AGAIN, LONG_ANSWERS, REQUESTS_OUT = 0, 1, 2, 3, 4, 5, 0x40, 0x80
_SLOTS = 65536
_CPUS = 256
_COUNTERS = struct.Struct("=16Q16Q16QQQ14Q")
_HEAD = struct.Struct("=QQQIIIHHII")
_TUPLE = struct.Struct("=16s16sHHBBBB")
_BODIES = {
    "open": (_TUPLE, struct.Struct("=QQQIIII16s"), ("sock", "cookie", "start_ns", "send_seq", "recv_seq", "srtt_us",
             "open_flags", "comm")),
    "data": (None, struct.Struct("=QIIIHBB"), ("bytes", "seq", "peer_seq", "srtt_us", "captured", "direction",
             "reason")),
    "exchange": (None, struct.Struct("=QQQQIIIHHBBB5x"), ("first_start_ns", "first_end_ns", "first_bytes",
                 "second_bytes", "first_seq", "second_seq", "srtt_us", "first_captured", "second_captured",
                 "direction", "first_reason", "second_reason")),
    "datagram": (_TUPLE, struct.Struct("=IHBB"), ("bytes", "captured", "direction", "reason")),
    "connect": (_TUPLE, struct.Struct("=QiI16s"), ("duration_ns", "error", "reserved", "comm")),
    "close": (None, struct.Struct("=QQIIiI"), ("bytes_sent", "bytes_received", "srtt_us", "retransmits", "error",
              "reserved")),
    "listen": (_TUPLE, struct.Struct("=16s"), ("comm",)),
    "trouble": (_TUPLE, struct.Struct("=II"), ("kind", "reason")),
    "process": (None, struct.Struct("=II16s"), ("kind", "parent", "comm")),
}  # fmt: skip
_NAMES = ("", *_BODIES)


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `fields` has the rest of its struct by name, `payload` the bytes behind it."""

    kind: str
    time_ns: int
    conn_id: int
    cgroup_id: int
    pid: int
    tid: int
    netns: int
    flags: int
    local: str
    local_port: int
    remote: str
    remote_port: int
    role: int
    fields: dict[str, Any]
    payload: bytes

    def __getattr__(self, name: str) -> Any:
        try:
            return self.fields[name]
        except KeyError:
            raise AttributeError(name) from None


@dataclass(frozen=True, slots=True)
class Counters:
    """struct fs_cpu_counters, summed over the CPUs: by kind of event, `absent` by number of the reason."""

    written: dict[str, int]
    lost: dict[str, int]
    absent: list[int]
    storage_failed: int
    merged: int


class Capture:
    """A driver in place that writes into a ring of our own. `take` empties it."""

    def __init__(self, loaded: Loaded, control: ControlPage, reader: Any) -> None:
        descriptors = loaded.one()
        self._reader = reader
        self._modes = mmap.mmap(descriptors["modes"], 8 * _SLOTS)
        self._counters = mmap.mmap(descriptors["counters"], _COUNTERS.size * _CPUS, prot=mmap.PROT_READ)
        self._seeds = iter(loaded.many().get(ITERATOR, ()))
        self.loaded = loaded
        self.control = control

    @property
    def most_pieces(self) -> int:
        """How many events a long read or write may be."""
        return 1 if DRIVER == "bcc" or self.loaded.many().get(PERF_RING) else int(contract.FS_LONG_EVENTS)

    def set_mode(self, conn_id: int, mode: int, budget: int = 512) -> None:
        """As an engine does: fs_slot_of and fs_slot_make of control.h."""
        slot = (conn_id * 0x9E3779B97F4A7C15 >> 48) & (_SLOTS - 1)
        value = (conn_id << 24 | mode << 16 | budget) & (1 << 64) - 1
        struct.pack_into("=Q", self._modes, 8 * slot, value)

    def counters(self) -> Counters:
        """What the driver counted since it was loaded."""
        sums = [0] * (_COUNTERS.size // 8)
        for cpu in range(_CPUS):
            sums = [
                a + b for a, b in zip(sums, _COUNTERS.unpack_from(self._counters, cpu * _COUNTERS.size), strict=True)
            ]
        kinds = range(1, len(_NAMES))
        return Counters({_NAMES[i]: sums[i] for i in kinds}, {_NAMES[i]: sums[16 + i] for i in kinds}, sums[32:48],
                        sums[48], sums[49])  # fmt: skip

    def unmap(self) -> None:
        self._modes.close()
        self._counters.close()

    def take(self) -> list[Event]:
        """What came since the last call, in the order of the ring."""
        count = ffi.new("unsigned int *")
        found = []
        while (record := lib.fs_reader_next(self._reader, count)) != ffi.NULL:
            found.append(decode(bytes(ffi.buffer(record, count[0]))))
        lib.fs_reader_release(self._reader)
        return found

    def seed(self) -> None:
        """Has the driver tell what is older than itself. Once for each start that it reckons with."""
        iterator = next(self._seeds)
        while os.read(iterator, 1 << 16):
            pass


@contextmanager
def capturing(
    epoch: int = 7, *, ring_bytes: int = RING_BYTES, only_ports: Iterable[int] | None = None
) -> Iterator[Capture]:
    """Needs root and BPF. Everything is off again at the end.

    With `only_ports` whatever else the machine talks about stays out: both ports of a connection must be among them.
    """
    loaded = _first_working(ring_bytes)
    control = ControlPage(loaded.one()["control"])
    rings = list(loaded.many().get(PERF_RING, ()))
    reader = (
        lib.fs_reader_open_perf(rings, len(rings), loaded.ring_bytes)
        if rings
        else lib.fs_reader_open(loaded.one()["ring"], loaded.ring_bytes)
    )
    capture = Capture(loaded, control, reader)
    try:
        control.prepare()
        if only_ports is not None:
            control.leave_out_ports(set(range(1, 65536)) - set(only_ports))
        control.set_epoch(epoch)
        yield capture
    finally:
        control.set_epoch(0)
        control.close()
        capture.unmap()
        lib.fs_reader_close(reader)
        loaded.close()


def _first_working(ring_bytes: int) -> Loaded:
    """The column of hooks that the agent would use here. Raises Rejection with the reasons of all."""
    reasons = []
    for load in drivers.DRIVERS[DRIVER](facts.gather(), ring_bytes):
        try:
            loaded = load()
        except Rejection as rejection:
            reasons.append(rejection.reason)
            continue
        if not (fault := selftest.run(loaded)):
            return loaded
        loaded.close()
        reasons.append(f"{loaded.hook_set}: {fault}")
    raise Rejection("; ".join(reasons), "")


def decode(record: bytes) -> Event:
    """One record of the ring; it may be longer than its event."""
    time_ns, conn_id, cgroup_id, pid, tid, netns, kind, _, size, flags = _HEAD.unpack_from(record)
    name = _NAMES[kind]
    tuple_struct, body, names = _BODIES[name]
    at = _HEAD.size
    local = remote = ""
    local_port = remote_port = role = 0
    if tuple_struct is not None:
        raw_local, raw_remote, local_port, remote_port, _, _, role, _ = tuple_struct.unpack_from(record, at)
        local, remote = _address(raw_local), _address(raw_remote)
        at += tuple_struct.size
    fields = dict(zip(names, body.unpack_from(record, at), strict=True))
    if "comm" in fields:
        fields["comm"] = fields["comm"].split(b"\0")[0].decode()
    payload = record[at + body.size : size]
    return Event(name, time_ns, conn_id, cgroup_id, pid, tid, netns, flags, local, local_port, remote, remote_port,
                 role, fields, payload)  # fmt: skip


def _address(raw: bytes) -> str:
    address = ipaddress.IPv6Address(raw)
    return str(address.ipv4_mapped or address)
