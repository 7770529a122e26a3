# SPDX-License-Identifier: Apache-2.0
"""The driver's counters, read out of the kernel's mapped memory without any privilege."""

from typing import Any

from analyzers._native import ffi, lib
from analyzers.contract import EVENTS, REASONS
from analyzers.memory import SharedBlock
from analyzers.rows import DriverCounters


class MappedCounters:
    """struct fs_cpu_counters[FS_CPUS], one per possible CPU, mapped read-only. Takes the descriptor over."""

    def __init__(self, fd: int) -> None:
        """Raises OSError or ValueError if `fd` is not such an array."""
        self._block = SharedBlock(fd, "struct fs_cpu_counters", count=lib.FS_CPUS, writable=False)
        self._width = ffi.sizeof("struct fs_cpu_counters") // 8

    def read(self) -> DriverCounters:
        """Sums over CPUs. Each number is exact, all together are not of one instant."""
        words: Any = ffi.unpack(ffi.cast("uint64_t *", self._block.pointer), self._width * lib.FS_CPUS)
        total = [sum(words[column :: self._width]) for column in range(self._width)]
        return DriverCounters(
            written={name: total[number] for number, name in enumerate(EVENTS) if name},
            lost={name: total[16 + number] for number, name in enumerate(EVENTS) if name},
            absent={name: total[32 + number] for number, name in enumerate(REASONS) if number},
            storage_failed=total[48],
            merged=total[49],
            missed=total[50],
        )

    def close(self) -> None:
        self._block.close()
