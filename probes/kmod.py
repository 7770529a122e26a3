# SPDX-License-Identifier: Apache-2.0
"""The driver of old kernels, and of any by `driver: kmod`: a kernel module that is read through /proc/firesteel.

The descriptors it gives are mapped like those of the eBPF drivers, so the engine knows no difference. When the last of
them is gone the module takes its hooks off and frees its memory; it stays loaded, does nothing, and is used again by the
next start, or removed by `unload`. kmod/interface.h is the agreement.
"""

import errno
import fcntl
import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from probes import module_file
from probes.attachment import ITERATOR, HookReport
from probes.driver import Rejection
from probes.facts import Facts
from probes.module_file import CONTRACT, ModuleFile

PROC = Path("/proc/firesteel")
_MAGIC = 0x4C545346
_INTERFACE = 1
_HELLO = struct.Struct("=IIII16s64s")  # struct fs_kmod_hello
_START = struct.Struct("=IIII")  # struct fs_kmod_start
_HOOK = struct.Struct("=IiQ32s16s")  # struct fs_kmod_hook
_ITERATORS = 4
"""One for each start of an engine, as the eBPF drivers have."""

_ROLES = ("ring", "control", "modes", "counters")
"""In the order of enum fs_kmod_part; the seed follows."""

_WAIT_SECONDS = 2.0
"""A reader that was killed is gone when the kernel has freed what it had mapped."""

_REPLACED = 1
"""Result of a row whose work another one does."""


def _request(direction: int, number: int, size: int) -> int:
    """include/uapi/asm-generic/ioctl.h"""
    return direction << 30 | size << 16 | 0xF5 << 8 | number


_IOC_HELLO = _request(2, 0, _HELLO.size)
_IOC_START = _request(1, 1, _START.size)
_IOC_HOOK = _request(3, 2, _HOOK.size)
_IOC_OPEN = _request(0, 3, 0)


@dataclass(frozen=True, slots=True)
class Watched:
    """What is lost where none of `names` can be put in place; the first is what the kernel should have."""

    names: tuple[str, ...]
    purpose: str
    loses: str = ""
    required: bool = False


WATCHED = (
    Watched(("inet_sendmsg",), "what is sent", required=True),
    Watched(("inet_recvmsg",), "what is received", required=True),
    Watched(("inet6_sendmsg",), "what is sent over IPv6, from 5.3 on", "what is sent over IPv6, if the kernel is newer"),
    Watched(("inet6_recvmsg",), "what is received over IPv6, from 5.3 on", "what is received over IPv6, if the kernel is newer"),
    Watched(("inet_sendpage",), "what sendfile sends, below 6.5", "what sendfile sends below 6.5"),
    Watched(("tcp_splice_read",), "what splice receives", "what splice receives"),
    Watched(("inet_sock_set_state", "tcp_set_state"), "connections, attempts", required=True),
    Watched(("inet_sock_set_state", "inet_csk_listen_start"), "listeners", required=True),
    Watched(("tcp_destroy_sock", "tcp_v4_destroy_sock"), "the end of connections", required=True),
    Watched(("inet_release",), "the end of datagram sockets", "UDP sockets then stay known until they are idle"),
    Watched(("tcp_retransmit_skb",), "retransmits", "kindling_tcp_retransmit_total"),
    Watched(("tcp_retransmit_synack", "inet_rtx_syn_ack"), "retransmits of SYN-ACK",
            "the share of SYN-ACKs in kindling_tcp_retransmit_total"),
    Watched(("tcp_send_reset", "tcp_v4_send_reset", "tcp_v6_send_reset", "tcp_send_active_reset"), "resets sent",
            "resets sent"),
    Watched(("tcp_receive_reset", "tcp_reset"), "resets received", "resets received"),
    Watched(("kfree_skb",), "dropped packets, from 5.17 on", "kindling_tcp_packet_loss_total"),
    Watched(("sched_process_exec",), "names of processes", "the name of a process that changed its program"),
    Watched(("sched_process_exit",), "the end of processes"),
)  # fmt: skip


@dataclass(slots=True)
class Loaded:
    """The module with its hooks in place. Its descriptors are this object's until `close`."""

    ring_bytes: int
    descriptors: dict[str, int]
    seeds: list[int]
    hooks: list[HookReport] = field(default_factory=list)

    @property
    def hook_set(self) -> str:
        return "module"

    @property
    def tells_peers(self) -> bool:
        return True

    def one(self) -> dict[str, int]:
        return dict(self.descriptors)

    def many(self) -> dict[str, list[int]]:
        return {ITERATOR: self.seeds}

    def close(self) -> None:
        """The module stays loaded, without a hook."""
        for fd in (*self.descriptors.values(), *self.seeds):
            os.close(fd)
        self.descriptors.clear()
        self.seeds.clear()


def candidates(facts: Facts, ring_bytes: int) -> Iterator[Callable[[], Loaded]]:
    """One: the module."""
    yield lambda: load(facts, ring_bytes)


def load(facts: Facts, ring_bytes: int) -> Loaded:
    """Raises Rejection."""
    reader = _open(facts.release)
    try:
        return _start(reader, facts, ring_bytes)
    finally:
        os.close(reader)


def unload() -> str:
    """Takes the module out of the kernel, if it is there. Empty, or why it stays. Needs CAP_SYS_MODULE."""
    return module_file.unload() if module_file.loaded_version() is not None else ""


def _open(release: str) -> int:
    """/proc/firesteel of a module that speaks our contract: the one that is loaded, else the one that was built."""
    version = module_file.loaded_version()
    if version is None:
        module_file.load(module_file.find(release))
        return _expect(_connect())
    # A module of ours that is older than the built one is exchanged; one that cannot be is used, if it speaks as we do.
    newer = _built_otherwise(release, version)
    if newer is not None and not module_file.unload():
        module_file.load(newer)
        return _expect(_connect())
    reader = _connect()
    fault = _differs(reader)
    if not fault:
        return reader
    os.close(reader)
    stays = module_file.unload()
    if stays:
        raise Rejection(
            f"the kernel has a module of another version: {fault}, and {stays}",
            "stop the agent that uses it, then rmmod firesteel",
        )
    module_file.load(module_file.find(release))
    return _expect(_connect())


def _built_otherwise(release: str, version: str) -> ModuleFile | None:
    try:
        built = module_file.find(release)
    except Rejection:
        return None
    return built if built.version != version else None


def _connect() -> int:
    """Raises Rejection."""
    give_up = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            return os.open(PROC, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.EBUSY and time.monotonic() < give_up:
                time.sleep(0.05)
                continue
            raise _not_opened(error) from None


def _not_opened(error: OSError) -> Rejection:
    if error.errno == errno.EBUSY:
        return Rejection(
            f"{PROC} has a reader already: one agent at a time can use the module",
            "stop the other agent of this node, or let this one use another driver",
        )
    if error.errno in {errno.EPERM, errno.EACCES}:
        return Rejection(
            f"{PROC} may not be opened: that takes CAP_SYS_MODULE",
            "run as root, or with the kmod profile's capabilities",
        )
    return Rejection(f"{PROC} cannot be opened: {error.strerror}", "dmesg says more; mount /proc if it is hidden here")


def _expect(reader: int) -> int:
    """The module that was just loaded must be ours."""
    if fault := _differs(reader):
        os.close(reader)
        raise Rejection(f"the built module is of another version: {fault}", f"sudo {module_file.RECOMPILE}")
    return reader


def _differs(reader: int) -> str:
    """How the module's side of the agreement differs from ours; empty if it does not."""
    answer = bytearray(_HELLO.size)
    try:
        fcntl.ioctl(reader, _IOC_HELLO, answer)
    except OSError as error:
        return f"it does not say what it speaks ({error.strerror})"
    magic, interface, contract, _schema, version, _built_for = _HELLO.unpack(answer)
    if magic != _MAGIC:
        return "it is somebody else's"
    if (interface, contract) != (_INTERFACE, CONTRACT):
        told = version.rstrip(b"\0").decode(errors="replace")
        return f"{told} speaks contract {contract}, interface {interface}; this agent speaks {CONTRACT}, {_INTERFACE}"
    return ""


def _start(reader: int, facts: Facts, ring_bytes: int) -> Loaded:
    hierarchy = 1 if facts.controller == "memory" else 0
    try:
        fcntl.ioctl(reader, _IOC_START, _START.pack(CONTRACT, ring_bytes, hierarchy, facts.pid_namespace))
    except OSError as error:
        raise _not_started(reader, error, ring_bytes) from None
    opened: list[int] = []
    try:
        parts_wanted = (*range(len(_ROLES)), *[len(_ROLES)] * _ITERATORS)
        opened.extend(fcntl.ioctl(reader, _IOC_OPEN, part) for part in parts_wanted)
    except OSError as error:
        for fd in opened:
            os.close(fd)
        raise Rejection(f"the module gives no descriptors: {error.strerror}", "see ulimit -n") from None
    parts = dict(zip(_ROLES, opened, strict=False))
    return Loaded(ring_bytes, parts, opened[len(_ROLES) :], reports(_rows(reader)))


def _not_started(reader: int, error: OSError, ring_bytes: int) -> Rejection:
    failed = [row for row in reports(_rows(reader)) if row.required and not row.attached]
    if failed:
        return Rejection(
            f"{failed[0].name} cannot be watched: {failed[0].reason}",
            "a kernel with CONFIG_KPROBES=y whose functions are not all inlined, or another driver; dmesg says more",
        )
    if error.errno == errno.ENOMEM:
        return Rejection(
            f"a ring of {ring_bytes} bytes and the tables are more than a quarter of the memory, or that is not free",
            "a smaller ring.size, or max_connections of /sys/module/firesteel/parameters",
        )
    if error.errno == errno.EINVAL:
        return Rejection(f"ring.size {ring_bytes} is not possible", "a power of two, at least a page")
    return Rejection(f"the module cannot start: {error.strerror}", "dmesg says more")


@dataclass(frozen=True, slots=True)
class Row:
    """What the module says of one of its hooks. `result` is 0 in place, 1 not needed, else minus an errno."""

    name: str
    kind: str
    result: int
    missed: int


def _rows(reader: int) -> list[Row]:
    """Empty if the module never came to its hooks."""
    rows: list[Row] = []
    while True:
        answer = bytearray(_HOOK.pack(len(rows), 0, 0, b"", b""))
        try:
            fcntl.ioctl(reader, _IOC_HOOK, answer)
        except OSError:
            return rows
        _, result, missed, name, kind = _HOOK.unpack(answer)
        rows.append(Row(name.rstrip(b"\0").decode(), kind.rstrip(b"\0").decode(), result, missed))


def reports(rows: list[Row]) -> list[HookReport]:
    """A report of each purpose: the hook that serves it, or the one that should and why it does not."""
    if not rows:
        return []
    told: dict[str, HookReport] = {}
    for watched in WATCHED:
        mine = [row for row in rows if row.name in watched.names]
        placed = [row for row in mine if row.result == 0]
        for row in placed:
            told[row.name] = HookReport(row.name, True, watched.required, "", watched.loses)
        if not placed:
            reason = _reason(mine[-1]) if mine else "the module was built for a kernel that does not have it"
            told[watched.names[0]] = HookReport(watched.names[0], False, watched.required, reason, watched.loses)
    return list(told.values())


def _reason(row: Row) -> str:
    if row.result == -errno.ENOENT:
        return f"this kernel has no {'tracepoint' if row.kind == 'tracepoint' else 'function'} {row.name}"
    if row.result == -errno.EINVAL:
        return f"{row.name} may not be watched by a {row.kind}"
    if row.result < 0:
        return os.strerror(-row.result)
    return "it was not tried"
