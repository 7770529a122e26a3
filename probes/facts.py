# SPDX-License-Identifier: Apache-2.0
"""What this kernel and machine are, as far as a driver must know before it loads anything. Reads only."""

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

BTF = Path("/sys/kernel/btf/vmlinux")
_CGROUP_V2_MAGIC = "cgroup2"
_ROOT_GROUP = 1  # inode of a kernfs root: fs/kernfs/dir.c gives it the first number
_FIRST_PID_NAMESPACE = 0xEFFFFFFC  # include/linux/proc_ns.h, PROC_PID_INIT_INO


@dataclass(frozen=True, slots=True)
class Facts:
    """`cgroup_root` is the mount of cgroup v2 (None: there is none, so no cgroup hook).

    `pod_hierarchy` is the mount in which pods have their groups: the v2 root, or on hybrid and v1 nodes the memory
    controller's, where `controller` is that controller's name.
    """

    release: str
    machine: str
    has_btf: bool
    cgroup_root: Path | None
    pod_hierarchy: Path | None
    controller: str | None
    pid_namespace: int = 0
    """Inode of this process's pid namespace where that is not the machine's own: a node that is a container."""
    cgroup_subtree: bool = False
    """`cgroup_root` is a part of the hierarchy only: a private cgroup namespace. Its hooks see that part."""
    btf: Path | None = None
    """A file with this kernel's types, for one that does not tell them (`--btf`)."""

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor of the release; (0, 0) where it has none."""
        numbers = re.match(r"(\d+)\.(\d+)", self.release)
        return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)


def gather(mounts: Path = Path("/proc/self/mounts"), btf: Path | None = None) -> Facts:
    """Raises OSError only if /proc cannot be read."""
    unified, memory = _cgroup_mounts(mounts.read_text())
    # A v2 mount beside v1 controllers (hybrid) is not where kubelet and the runtimes put pods.
    controller = "memory" if memory is not None else None
    own = Path("/proc/self/ns/pid").stat().st_ino
    return Facts(
        release=os.uname().release,
        machine=platform.machine(),
        has_btf=BTF.exists(),
        cgroup_root=unified,
        pod_hierarchy=memory or unified,
        controller=controller,
        cgroup_subtree=_is_subtree(unified),
        pid_namespace=0 if own == _FIRST_PID_NAMESPACE else own,
        btf=btf,
    )


def _cgroup_mounts(text: str) -> tuple[Path | None, Path | None]:
    """Mount points of cgroup v2 and of v1's memory controller."""
    unified = memory = None
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 4:
            continue
        place = Path(fields[1].encode().decode("unicode_escape"))
        if fields[2] == _CGROUP_V2_MAGIC and unified is None:
            unified = place
        elif fields[2] == "cgroup" and "memory" in fields[3].split(",") and memory is None:
            memory = place
    return unified, memory


def _is_subtree(hierarchy: Path | None) -> bool:
    try:
        return hierarchy is not None and hierarchy.stat().st_ino != _ROOT_GROUP
    except OSError:
        return False
