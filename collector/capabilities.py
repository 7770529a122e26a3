# SPDX-License-Identifier: Apache-2.0
"""What this process may do, against what each driver needs: the table of capability profiles.

Numbers are those of linux/capability.h. CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON, as in the kernel
(bpf_capable, perfmon_capable), which is how it was before 5.8.
"""

from collections.abc import Iterable
from pathlib import Path

NUMBERS = {"SETGID": 6, "SETUID": 7, "SETPCAP": 8, "NET_ADMIN": 12, "SYS_MODULE": 16, "SYS_ADMIN": 21,
           "SYS_RESOURCE": 24, "PERFMON": 38, "BPF": 39}  # fmt: skip
PROFILES = {
    "core": ("BPF", "PERFMON", "NET_ADMIN", "SETUID", "SETGID", "SETPCAP"),
    "bcc": ("SYS_ADMIN", "SYS_RESOURCE", "NET_ADMIN", "SETUID", "SETGID", "SETPCAP"),
    "kmod": ("SYS_MODULE", "NET_ADMIN", "SETUID", "SETGID", "SETPCAP"),
    "none": ("SETUID", "SETGID", "SETPCAP"),
}
_ADMIN_STANDS_FOR = {"BPF", "PERFMON"}


def effective(status: Path = Path("/proc/self/status")) -> frozenset[str]:
    """Names (without CAP_) of those of NUMBERS that this process has; raises OSError."""
    return capabilities_in(status.read_text())


def capabilities_in(status: str) -> frozenset[str]:
    """The same, from the text of a /proc/PID/status."""
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            mask = int(line.split()[1], 16)
            return frozenset(name for name, number in NUMBERS.items() if mask >> number & 1)
    return frozenset()


def missing(driver: str, have: Iterable[str]) -> tuple[str, ...]:
    """What `driver` needs and `have` lacks, in the order of the profile."""
    present = set(have)
    if "SYS_ADMIN" in present:
        present |= _ADMIN_STANDS_FOR
    return tuple(name for name in PROFILES[driver] if name not in present)


def remedy(names: Iterable[str]) -> str:
    """How to get them, as one sentence."""
    wanted = list(names)
    added = " ".join(f"--cap-add={name}" for name in wanted)
    return (
        f"run as root (sudo firesteel run), in a container add {added}, "
        f"in Kubernetes list {', '.join(wanted)} under securityContext.capabilities.add"
    )
