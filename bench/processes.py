# SPDX-License-Identifier: Apache-2.0
"""What processes used, read from /proc and a memory control group: CPU seconds, resident and charged memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_KTHREADD = 2


def _stat(pid: int) -> list[str]:
    # The name may contain spaces and brackets: the fields start after the last bracket, with the state.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def parents() -> dict[int, int]:
    """Every process's parent."""
    found = {}
    for pid in _pids():
        try:
            found[pid] = int(_stat(pid)[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def tree(root: int) -> list[int]:
    """`root` and all its descendants that live now."""
    parent = parents()
    members = {root}
    grown = True
    while grown:
        more = {pid for pid, of in parent.items() if of in members} - members
        members |= more
        grown = bool(more)
    return sorted(members & (parent.keys() | {root}))


def cpu_seconds(pid: int, *, with_children: bool = True) -> float:
    """User and system time of a process, and of its children that have ended and were waited for."""
    try:
        fields = _stat(pid)
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    # Fields 14 to 17 of proc(5): utime stime cutime cstime; the list starts with field 3.
    return sum(map(int, fields[11 : 15 if with_children else 13])) / _TICKS


def tree_cpu_seconds(root: int) -> float:
    return sum(cpu_seconds(pid) for pid in tree(root))


def kernel_thread_seconds() -> float:
    """CPU time of all kernel threads: what rises here with the agent is the agent's."""
    return sum(cpu_seconds(pid, with_children=False) for pid, of in parents().items() if of == _KTHREADD)


def resident_bytes(pid: int) -> int:
    """Proportional set size where the kernel tells it (shared pages count once over a tree), else resident size."""
    for name, field in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        try:
            lines = Path(f"/proc/{pid}/{name}").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    return 0


@dataclass(frozen=True, slots=True)
class Charged:
    """What a control group is charged, in bytes, and how much of that is file cache that may go at any time."""

    total: int
    file_cache: int

    @property
    def kept(self) -> int:
        return self.total - self.file_cache


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """A memory control group of this benchmark's own. `v2` says which of the two interfaces it has."""

    path: Path
    v2: bool

    def charged(self) -> Charged:
        total = int((self.path / ("memory.current" if self.v2 else "memory.usage_in_bytes")).read_text())
        rows = dict(line.split() for line in (self.path / "memory.stat").read_text().splitlines())
        # Shared memory (our table, memfd) is counted with the cache, but is no cache: it cannot be given back.
        cached = int(rows["file"] if self.v2 else rows["total_cache"])
        shared = int(rows["shmem"] if self.v2 else rows.get("total_shmem", rows.get("shmem", "0")))
        return Charged(total, cached - shared)

    def entering(self, command: list[str]) -> list[str]:
        """The command, started inside the group from its first instruction on."""
        return ["/bin/sh", "-c", f'echo $$ > {self.path}/cgroup.procs && exec "$@"', "sh", *command]


@contextmanager
def memory_group(name: str = "firesteel-bench") -> Iterator[MemoryGroup | None]:
    """A fresh memory group, removed afterwards; None where this machine lets nobody make one."""
    for root, v2 in ((Path("/sys/fs/cgroup/memory"), False), (Path("/sys/fs/cgroup"), True)):
        path = root / name
        try:
            path.mkdir(exist_ok=True)
        except OSError:
            continue
        if (path / ("memory.current" if v2 else "memory.usage_in_bytes")).exists():
            try:
                yield MemoryGroup(path, v2)
            finally:
                path.rmdir()
            return
        path.rmdir()
    yield None
