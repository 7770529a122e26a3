# SPDX-License-Identifier: Apache-2.0
"""Memory shared with the engine or the kernel: a sealed memfd, or a descriptor somebody else made, mapped for cffi."""

import errno
import fcntl
import mmap
import os
import stat
from collections.abc import Iterator
from typing import Any, Self

from analyzers._native import ffi


class SharedBlock:
    """C structs in shared memory: `pointer` is a cffi pointer to the first, `fd` the descriptor.

    The descriptor belongs to this object from here on, until `close`.
    """

    def __init__(self, fd: int, struct: str, *, count: int = 1, writable: bool = True) -> None:
        """Maps `count` structs named `struct` ("struct fs_table").

        Raises OSError if the descriptor cannot be mapped so and ValueError if the file behind it is too small.
        """
        size = ffi.sizeof(struct) * count
        facts = os.fstat(fd)
        # A BPF array map has no size that fstat knows, and is mapped in whole pages.
        if not stat.S_ISREG(facts.st_mode):
            size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self.fd = fd
        self._memory = mmap.mmap(fd, size, mmap.MAP_SHARED, access)
        # Not require_writable: the mapping itself decides, and a read-only one is fine.
        self._view: Any = ffi.from_buffer(self._memory)
        self.pointer: Any = ffi.cast(f"{struct} *", self._view)

    @classmethod
    def create(cls, name: str, struct: str) -> Self:
        """A new struct of zeros. The size is sealed, so that neither side can make the other fault."""
        fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, ffi.sizeof(struct))
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        return cls(fd, struct)

    def written(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The parts of [start, end) that were ever written, in whole pages.

        Looking at a page that was never written would allocate it, and a table is mostly such pages.
        """
        position = start
        while position < end:
            try:
                data = os.lseek(self.fd, position, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:  # which says that no data follows; anything else, that nobody knows
                    yield position, end
                return
            position = os.lseek(self.fd, data, os.SEEK_HOLE)
            if data < end:
                yield data, min(position, end)

    def close(self) -> None:
        """Unmaps and closes; what `pointer` pointed at is gone."""
        ffi.release(self._view)
        self.pointer = ffi.NULL
        self._memory.close()
        os.close(self.fd)
