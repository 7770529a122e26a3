# SPDX-License-Identifier: Apache-2.0
"""Which cgroup a local socket's owner is in, from /proc and the cgroup file system.

Works for uid 65532 without any capability: /proc/PID/cgroup and /proc/PID/stat are readable by everyone. Every read is of
one small file, but there may be many, so callers do this in a thread.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from analyzers.rows import Identity
from collector.metadata.containers import CgroupOwner, owner_of, paths_of

CACHE_LIMIT: Final = 2048
WALK_LIMIT: Final = 20000  # directories of one pass over the cgroup file system
WALK_SHARE: Final = 20.0  # a pass waits as many times as long as the last one took
WALK_PAUSE_S: Final = (0.25, 10.0)  # shortest, longest


class Processes:
    """Answers from /proc for a process that lives, else by the cgroup id from a pass over the cgroup file system.

    `hierarchy` is where the hierarchy is mounted whose ids the driver tells.
    """

    def __init__(
        self,
        proc: Path = Path("/proc"),
        hierarchy: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._proc = proc
        self._hierarchy = default_hierarchy() if hierarchy is None else hierarchy
        self._clock = clock
        self._paths: dict[tuple[int, int], tuple[str, ...]] = {}
        self._walked: dict[int, str] = {}
        self._next_walk = -1.0
        self.postponed = False
        """The last answer was None only because the next pass over the cgroups is not due yet: ask again."""

    def owner(self, identity: Identity) -> CgroupOwner | None:
        """Whose the socket is; None if the process is gone and its cgroup with it, or if `postponed` is set."""
        self.postponed = False
        paths = self._paths_of_process(identity)
        if paths is None:
            path = self._path_of_cgroup(identity.cgroup_id)
            paths = None if path is None else (path,)
        if paths is None:
            return None
        owners = [owner_of(path) for path in paths]
        told = [owner for owner in owners if owner != CgroupOwner()]
        containers = [owner for owner in told if owner.container_id]
        return (containers or told or [CgroupOwner()])[0]

    def _paths_of_process(self, identity: Identity) -> tuple[str, ...] | None:
        """The paths of the process that was seen, unless its number has come to mean another one."""
        if not identity.pid:
            return None
        comm, started = self._stat(identity.pid)
        if comm is None:
            return None
        key = (identity.pid, started)
        paths = self._paths.get(key)
        if paths is None:
            try:
                paths = paths_of((self._proc / str(identity.pid) / "cgroup").read_text(errors="replace"))
            except OSError:
                return None
            if len(self._paths) >= CACHE_LIMIT:
                del self._paths[next(iter(self._paths))]
            self._paths[key] = paths
        if comm == identity.comm or identity.cgroup_id in self._inodes(paths):
            return paths
        return None

    def _stat(self, pid: int) -> tuple[str | None, int]:
        """Name and start time (clock ticks since boot) of a process; a name of None if there is none."""
        try:
            text = (self._proc / str(pid) / "stat").read_text(errors="replace")
        except OSError:
            return None, 0
        name, _, rest = text.partition("(")[2].rpartition(")")
        fields = rest.split()
        return (name, int(fields[19])) if len(fields) > 19 else (None, 0)

    def _inodes(self, paths: tuple[str, ...]) -> Iterator[int]:
        """The ids of these cgroups. A cgroup's id is the inode number of its directory (kernfs, on 64-bit kernels)."""
        for path in paths:
            try:
                yield (self._hierarchy / path.lstrip("/")).stat().st_ino
            except OSError:
                continue

    def _path_of_cgroup(self, cgroup_id: int) -> str | None:
        """The path of a cgroup by its id, for a process that has ended. Passes are bounded and take a share of time."""
        if not cgroup_id:
            return None
        path = self._walked.get(cgroup_id)
        if path is not None:
            return path
        began = self._clock()
        if began < self._next_walk:
            self.postponed = True
            return None
        self._walked = dict(self._walk())
        ended = self._clock()
        self._next_walk = ended + min(max(WALK_SHARE * (ended - began), WALK_PAUSE_S[0]), WALK_PAUSE_S[1])
        return self._walked.get(cgroup_id)

    def _walk(self) -> Iterator[tuple[int, str]]:
        waiting = [self._hierarchy]
        for _ in range(WALK_LIMIT):
            if not waiting:
                return
            directory = waiting.pop()
            try:
                waiting += [child for child in directory.iterdir() if child.is_dir() and not child.is_symlink()]
                yield directory.stat().st_ino, "/" + str(directory.relative_to(self._hierarchy)).removeprefix(".")
            except OSError:
                continue


def default_hierarchy(mounted: Path = Path("/sys/fs/cgroup")) -> Path:
    """Version 2 where it is mounted, alone or beside the old ones; else the memory controller's, in which pods live."""
    if (mounted / "cgroup.controllers").exists():
        return mounted
    return mounted / "unified" if (mounted / "unified").is_dir() else mounted / "memory"
