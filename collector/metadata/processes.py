# SPDX-License-Identifier: Apache-2.0
"""Which cgroup a local socket's owner is in, from /proc and the cgroup file system.

Works for uid 65532 without any capability: /proc/PID/cgroup and /proc/PID/stat are readable by everyone. Every read is of
one small file, but there may be many, so callers do this in a thread.
"""

from pathlib import Path
from typing import Final

from analyzers.rows import Identity
from collector.metadata.cgroups import Cgroups
from collector.metadata.containers import CgroupOwner, owner_of, paths_of

CACHE_LIMIT: Final = 1024


class Processes:
    """Answers from /proc for a process that lives, else by the id of its cgroup."""

    def __init__(self, proc: Path = Path("/proc"), cgroups: Cgroups | None = None) -> None:
        self._proc = proc
        self._cgroups = Cgroups() if cgroups is None else cgroups
        self._paths: dict[tuple[int, int], tuple[str, ...]] = {}
        self.postponed = False
        """The last answer was None only because it is too early to say: ask again."""

    def owner(self, identity: Identity) -> CgroupOwner | None:
        """Whose the socket is; None if the process is gone and its cgroup with it, or if `postponed` is set."""
        self.postponed = False
        paths = self._paths_of_process(identity)
        if not paths and (identity.cgroup_id or paths is None):
            # Gone, or about to be: one that ends is back in the root, as cgroup_exit() leaves it.
            path = self._cgroups.path(identity.cgroup_id)
            self.postponed = path is None and self._cgroups.postponed
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
        if comm == identity.comm or identity.cgroup_id in map(self._cgroups.id_of, paths):
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
