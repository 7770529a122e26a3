# SPDX-License-Identifier: Apache-2.0
"""A perf ring for each processor, where the kernel has no BPF ring (before 5.8): opening them, and holding them mapped.

The kernel keeps a ring only while somebody has it mapped, and only the first mapping costs locked memory. So the agent
maps what the loader hands over at once, while it is privileged; the engine's own mapping is then free of charge.
"""

import contextlib
import mmap
import os
import resource
from collections.abc import Sequence
from pathlib import Path

from probes import bpf_calls

SMALLEST = 1 << 16
MOST_PROCESSORS = 192
"""A message over a socket carries 253 descriptors, and the links need some."""


def share_of(ring_bytes: int, processors: int) -> int:
    """Bytes of each ring, a power of two, so that together they are about `ring_bytes`."""
    share = max(ring_bytes // max(processors, 1), SMALLEST)
    return 1 << (share.bit_length() - 1)


def online(path: Path = Path("/sys/devices/system/cpu/online")) -> list[int]:
    """The processors that run now. One that is added later has no ring: what happens there is counted as lost."""
    found: list[int] = []
    for part in path.read_text().strip().split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def open_rings(processors: Sequence[int]) -> list[int]:
    """Descriptors in the order of `processors`. Raises OSError."""
    rings: list[int] = []
    try:
        rings += (bpf_calls.open_perf_ring(processor) for processor in processors)
    except OSError:
        for ring in rings:
            os.close(ring)
        raise
    return rings


def hold(rings: Sequence[int], ring_bytes: int) -> list[mmap.mmap]:
    """Maps each, which keeps it alive. Raises OSError: EPERM means that locked memory is limited."""
    with contextlib.suppress(ValueError, OSError):  # not permitted: the limit that there is may do
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return [mmap.mmap(ring, mmap.PAGESIZE + ring_bytes) for ring in rings]
