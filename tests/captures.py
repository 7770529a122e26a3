# SPDX-License-Identifier: Apache-2.0
"""What the programs in the kernel say, event by event, with no engine between: for tests of the hooks."""

import ipaddress
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from probes import core, facts
from probes._libbpf import ffi, lib
from probes.control import ControlPage

RING_BYTES = 4 << 20
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


class Capture:
    """Loaded programs that write into a ring of our own. `take` empties it."""

    def __init__(self, loaded: core.Loaded, control: ControlPage, reader: Any) -> None:
        self._reader = reader
        self.loaded = loaded
        self.control = control

    def take(self) -> list[Event]:
        """What came since the last call, in the order of the ring."""
        count = ffi.new("unsigned int *")
        found = []
        while (record := lib.fs_reader_next(self._reader, count)) != ffi.NULL:
            found.append(decode(bytes(ffi.buffer(record, count[0]))))
        lib.fs_reader_release(self._reader)
        return found

    def seed(self) -> None:
        """Has the programs tell what is older than they are."""
        iterator = self.loaded.iterators.pop()
        while os.read(iterator, 1 << 16):
            pass
        os.close(iterator)


@contextmanager
def capturing(epoch: int = 7) -> Iterator[Capture]:
    """Needs root and BPF. Everything is off again at the end."""
    loaded = core.load(facts.gather(), RING_BYTES)
    control = ControlPage(loaded.map_fd(".data.control"))
    reader = lib.fs_reader_open(loaded.map_fd("events"), RING_BYTES)
    try:
        control.prepare()
        control.set_epoch(epoch)
        yield Capture(loaded, control, reader)
    finally:
        control.set_epoch(0)
        control.close()
        lib.fs_reader_close(reader)
        loaded.close()


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
