# SPDX-License-Identifier: Apache-2.0
"""What the kernel would hand over, made of memfds: rings in both layouts, control page, mode slots."""

import mmap
import os
import struct
from typing import Any

from analyzers._native import ffi, lib
from analyzers.engine import RingSource
from analyzers.memory import SharedBlock

PAGE = mmap.PAGESIZE
BUSY = 1 << 31
DISCARD = 1 << 30


class FakeRing:
    """The producer's side of a ring of `size` bytes. Writing fails, as the kernel's would, when it is full."""

    def __init__(self, size: int = 1 << 20) -> None:
        self.size = size
        self.fd = os.memfd_create("ring")
        os.ftruncate(self.fd, 2 * PAGE + 2 * size)
        self._memory = mmap.mmap(self.fd, 2 * PAGE + 2 * size)
        self._view: Any = ffi.from_buffer(self._memory)
        self._words: Any = ffi.cast("uint64_t *", self._view)  # whole words, or the reader sees half a position
        self.produced = 0

    @property
    def consumed(self) -> int:
        """The position that the reader published."""
        return int(self._words[0])

    def write(self, event: bytes, flags: int = 0) -> bool:
        """Appends one record; False if there is no room."""
        step = (len(event) + 8 + 7) & ~7
        if self.produced + step - self.consumed > self.size:
            return False
        self.put(self.produced % self.size, struct.pack("=II", len(event) | flags, 0) + event)
        self.publish(self.produced + step)
        return True

    def put(self, offset: int, data: bytes) -> None:
        """Bytes at an offset of the data area, and again where the second mapping of the data would show them."""
        at = offset % self.size
        fitting = data[: self.size - at]
        for start, part in ((at, fitting), (0, data[len(fitting) :])):
            for copy in (2 * PAGE, 2 * PAGE + self.size):
                self._memory[copy + start : copy + start + len(part)] = part

    def publish(self, produced: int) -> None:
        """Moves the producer's position, honestly or not."""
        self.produced = produced
        self._words[PAGE // 8] = produced

    def close(self) -> None:
        ffi.release(self._view)
        self._memory.close()
        os.close(self.fd)


class FakePerfRing:
    """The kernel's side of one processor's perf ring: a head page, then `size` bytes of data."""

    SAMPLE, LOST, THROTTLE = 9, 2, 5

    def __init__(self, size: int = 1 << 16) -> None:
        self.size = size
        self.fd = os.memfd_create("perf-ring")
        os.ftruncate(self.fd, PAGE + size)
        self._memory = mmap.mmap(self.fd, PAGE + size)
        self._view: Any = ffi.from_buffer(self._memory)
        self._words: Any = ffi.cast("uint64_t *", self._view)
        self.head = 0

    @property
    def tail(self) -> int:
        """The position up to which the reader gave room back."""
        return int(self._words[1032 // 8])

    def write(self, event: bytes, time_ns: int) -> bool:
        """Appends one sample; False if there is no room."""
        padded = event + bytes(-(len(event) + 4) % 8)
        return self.record(self.SAMPLE, struct.pack("=QI", time_ns, len(padded)) + padded)

    def lose(self, count: int) -> bool:
        """As the kernel does before the first sample that finds room again."""
        return self.record(self.LOST, struct.pack("=QQ", 77, count))

    def record(self, kind: int, body: bytes, length: int | None = None) -> bool:
        """Any record, with its own length or a wrong one."""
        data = struct.pack("=IHH", kind, 0, len(body) + 8 if length is None else length) + body
        if self.head + len(data) - self.tail > self.size:
            return False
        at = self.head % self.size
        fitting = data[: self.size - at]
        self._memory[PAGE + at : PAGE + at + len(fitting)] = fitting
        self._memory[PAGE : PAGE + len(data) - len(fitting)] = data[len(fitting) :]
        self.head += len(data)
        self._words[1024 // 8] = self.head
        return True

    def close(self) -> None:
        ffi.release(self._view)
        self._memory.close()
        os.close(self.fd)


class FakeDriver:
    """All that a live engine is handed. With `processors` it has a perf ring for each, and no other ring is used."""

    def __init__(self, ring_bytes: int = 1 << 20, processors: int = 0) -> None:
        self.ring = FakeRing(ring_bytes)
        self.perf_rings = [FakePerfRing(ring_bytes) for _ in range(processors)]
        self.control = SharedBlock.create("control", "struct fs_control")
        self.control.pointer.magic = lib.FS_MAGIC
        self.control.pointer.contract = lib.FS_CONTRACT_VERSION
        self.modes_fd = os.memfd_create("modes")
        os.ftruncate(self.modes_fd, 8 * lib.FS_SLOTS)

    def source(self, record: int | None = None) -> RingSource:
        perf = tuple(ring.fd for ring in self.perf_rings)
        return RingSource(-1 if perf else self.ring.fd, self.ring.size, self.control.fd, self.modes_fd, record, perf)

    @property
    def epoch(self) -> int:
        return int(self.control.pointer.epoch)

    def close(self) -> None:
        self.ring.close()
        for ring in self.perf_rings:
            ring.close()
        self.control.close()
        os.close(self.modes_fd)


def struct_bytes(struct_name: str, /, **values: object) -> bytes:
    """A contract struct as bytes, from its fields by name; "head" and "tuple" take dictionaries."""
    return bytes(ffi.buffer(ffi.new(f"struct {struct_name} *", values)))
