# SPDX-License-Identifier: Apache-2.0
"""The few system calls that load BPF programs without libbpf: bpf(), perf_event_open() and its ioctls.

For programs that come as plain instructions (BCC), and for perf rings. Layouts: include/uapi/linux/bpf.h and perf_event.h.
Every function raises OSError with the kernel's errno.
"""

import ctypes
import fcntl
import os
import platform
import struct
from pathlib import Path

_NUMBERS = {"x86_64": (321, 298), "aarch64": (280, 241)}
_MAP_CREATE, _MAP_UPDATE, _PROG_LOAD, _RAW_TRACEPOINT_OPEN = 0, 2, 5, 17
KPROBE, TRACEPOINT, RAW_TRACEPOINT = 2, 5, 17
"""enum bpf_prog_type"""
HASH, ARRAY, PERF_EVENT_ARRAY, PERCPU_ARRAY, RINGBUF = 1, 2, 4, 6, 27
"""enum bpf_map_type"""
MMAPABLE = 1 << 10
"""Arrays that user space may map, since 5.5 (fc9702273e2e)."""

_TYPE_SOFTWARE, _TYPE_TRACEPOINT = 1, 2
_SW_BPF_OUTPUT = 10
_SAMPLE_TIME, _SAMPLE_RAW = 1 << 2, 1 << 10
_USE_CLOCKID = 1 << 25  # of the flag bits; with CLOCK_MONOTONIC since 4.1 (34f439278cef)
_FLAG_CLOEXEC = 8
_IOC_ENABLE, _IOC_SET_BPF = 0x2400, 0x40042408
# type, size, config, sample period, sample type, read format, flags, wakeup, breakpoint type, config1, config2, branches,
# registers, stack, clock, registers at interrupts, aux watermark, stack depth, reserved
_EVENT = struct.Struct("=IIQQQQQIIQQQQIiQIHH")
_LICENSE = b"Dual BSD/GPL"
_LOG_BYTES = (1 << 24) - 1  # the most before 5.2 (7a9f5c65abcc)

_libc = ctypes.CDLL(None, use_errno=True)


class Refused(OSError):
    """The verifier did not take a program; `log` is the end of what it said."""

    def __init__(self, number: int, log: str) -> None:
        super().__init__(number, os.strerror(number))
        self.log = log


def _call(which: int, *arguments: int) -> int:
    number = _NUMBERS[platform.machine()][which]
    result = int(_libc.syscall(ctypes.c_long(number), *(ctypes.c_long(argument) for argument in arguments)))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return _call(0, command, ctypes.addressof(buffer), len(attributes))


def create_map(kind: int, key: int, value: int, entries: int, name: str, flags: int = 0) -> int:
    """A map's descriptor. Kernels before 4.15 know no names of maps: then it has none."""
    plain = struct.pack("=IIIIIII", kind, key, value, entries, flags, 0, 0)
    try:
        return _bpf(_MAP_CREATE, plain + name.encode()[:15].ljust(16, b"\0"))
    except OSError as error:
        if error.errno != 7:  # E2BIG: a field that this kernel does not know
            raise
    return _bpf(_MAP_CREATE, plain)


def update(descriptor: int, key: bytes, value: bytes) -> None:
    """Sets one element."""
    keys, values = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value, len(value))
    _bpf(_MAP_UPDATE, struct.pack("=IIQQQ", descriptor, 0, ctypes.addressof(keys), ctypes.addressof(values), 0))


def load_program(kind: int, instructions: bytes, name: str, version: int) -> int:
    """A program's descriptor. `version` is LINUX_VERSION_CODE, which kprobes had to know before 5.0. Raises Refused."""
    code = ctypes.create_string_buffer(instructions, len(instructions))
    license_text = ctypes.create_string_buffer(_LICENSE)
    names = name.encode()[:15].ljust(16, b"\0")

    def attributes(log: int, log_bytes: int, names: bytes) -> bytes:
        return struct.pack(
            "=IIQQIIQII",
            kind, len(instructions) // 8, ctypes.addressof(code), ctypes.addressof(license_text),
            1 if log else 0, log_bytes, log, version, 0,
        ) + names  # fmt: skip

    try:
        return _bpf(_PROG_LOAD, attributes(0, 0, names))
    except OSError as error:
        refused = error.errno or 0
    if refused == 7:  # E2BIG: names of programs came in 4.15; or too many instructions, which is told by the second try
        names = b""
    log = ctypes.create_string_buffer(_LOG_BYTES)
    try:
        return _bpf(_PROG_LOAD, attributes(ctypes.addressof(log), _LOG_BYTES, names))
    except OSError as error:
        text = log.value.decode(errors="replace")
        # A log that is full hides the errno of the refusal (ENOSPC).
        raise Refused(refused if error.errno == 28 else error.errno or refused, text[-4096:]) from None


def open_raw_tracepoint(name: str, program: int) -> int:
    """A link: the program runs as long as the descriptor is open. Since 4.17 (c4f6699dfcb8)."""
    text = ctypes.create_string_buffer(name.encode())
    return _bpf(_RAW_TRACEPOINT_OPEN, struct.pack("=QII", ctypes.addressof(text), program, 0))


def open_perf_ring(processor: int) -> int:
    """A descriptor that a processor's ring can be mapped from: for BPF programs' output, with the time of writing."""
    event = _event(
        _TYPE_SOFTWARE,
        _SW_BPF_OUTPUT,
        sample_period=1,
        sample_type=_SAMPLE_TIME | _SAMPLE_RAW,
        flags=_USE_CLOCKID,
        clock=1,
    )
    ring = _open_event(event, processor)
    fcntl.ioctl(ring, _IOC_ENABLE, 0)
    return ring


def open_kprobe(function: str, program: int, *, at_return: bool) -> int:
    """A link, that goes with its descriptor. Since 4.17 (33ea4b24277b)."""
    source = Path("/sys/bus/event_source/devices/kprobe")
    bit = (source / "format/retprobe").read_text().strip().removeprefix("config:") if at_return else ""
    name = ctypes.create_string_buffer(function.encode())
    config = 1 << int(bit) if at_return else 0
    event = _event(int((source / "type").read_text()), config, config1=ctypes.addressof(name))
    return _with_program(_open_event(event, 0), program)


def open_trace_event(number: int, program: int) -> int:
    """A link to the event with this number in tracefs."""
    return _with_program(_open_event(_event(_TYPE_TRACEPOINT, number, sample_period=1), 0), program)


def _with_program(event: int, program: int) -> int:
    try:
        fcntl.ioctl(event, _IOC_SET_BPF, program)
        fcntl.ioctl(event, _IOC_ENABLE, 0)
    except OSError:
        os.close(event)
        raise
    return event


def _event(
    kind: int,
    config: int,
    *,
    sample_period: int = 0,
    sample_type: int = 0,
    flags: int = 0,
    config1: int = 0,
    clock: int = 0,
) -> bytes:
    return _EVENT.pack(
        kind, _EVENT.size, config, sample_period, sample_type, 0, flags, 0, 0, config1, 0, 0, 0, 0, clock, 0, 0, 0, 0
    )


def _open_event(event: bytes, processor: int) -> int:
    buffer = ctypes.create_string_buffer(event, len(event))
    return _call(1, ctypes.addressof(buffer), -1, processor, -1, _FLAG_CLOEXEC)
