# SPDX-License-Identifier: Apache-2.0
"""What the kernel would hand over, made of memfds: a ring in the BPF ring buffer's layout, control page, mode slots."""

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


class FakeDriver:
    """All that a live engine is handed."""

    def __init__(self, ring_bytes: int = 1 << 20) -> None:
        self.ring = FakeRing(ring_bytes)
        self.control = SharedBlock.create("control", "struct fs_control")
        self.control.pointer.magic = lib.FS_MAGIC
        self.control.pointer.contract = lib.FS_CONTRACT_VERSION
        self.modes_fd = os.memfd_create("modes")
        os.ftruncate(self.modes_fd, 8 * lib.FS_SLOTS)

    def source(self, record: int | None = None) -> RingSource:
        return RingSource(self.ring.fd, self.ring.size, self.control.fd, self.modes_fd, record)

    @property
    def epoch(self) -> int:
        return int(self.control.pointer.epoch)

    def close(self) -> None:
        self.ring.close()
        self.control.close()
        os.close(self.modes_fd)


def struct_bytes(struct_name: str, /, **values: object) -> bytes:
    """A contract struct as bytes, from its fields by name; "head" and "tuple" take dictionaries."""
    return bytes(ffi.buffer(ffi.new(f"struct {struct_name} *", values)))
