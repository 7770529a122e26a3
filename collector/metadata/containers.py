# SPDX-License-Identifier: Apache-2.0
"""Whose a process is, from its cgroup path: container, pod and systemd unit.

Runtimes write the container into the last components of the path, each in its own way; the table below has one row for
each way, and tests/unit/test_containers.py a path from the field for each row. Sources: the runtimes' own code (runc's
systemd driver, containerd's CRI plugin, CRI-O, Docker, Podman's libpod) and the kubelet's cgroup manager.
"""

import re
from dataclasses import dataclass
from typing import Final

_ID: Final = r"(?P<id>[0-9a-f]{64})"


@dataclass(frozen=True, slots=True)
class PathFormat:
    """How one runtime names a container's cgroup. `component` matches one whole path component."""

    runtime: str
    driver: str
    component: re.Pattern[str]


FORMATS: Final = (
    PathFormat("containerd", "systemd", re.compile(rf"cri-containerd-{_ID}\.scope")),
    PathFormat("containerd", "systemd path with the cgroupfs driver", re.compile(rf"[^:]+:cri-containerd:{_ID}")),
    PathFormat("cri-o", "systemd", re.compile(rf"crio-{_ID}\.scope")),
    PathFormat("cri-o", "cgroupfs", re.compile(rf"crio-{_ID}")),
    PathFormat("cri-o", "systemd path with the cgroupfs driver", re.compile(rf"[^:]+:crio:{_ID}")),
    PathFormat("docker", "systemd", re.compile(rf"docker-{_ID}\.scope")),
    PathFormat("podman", "systemd", re.compile(rf"libpod-{_ID}\.scope")),
    PathFormat("podman", "cgroupfs", re.compile(rf"libpod-{_ID}")),
    PathFormat("nerdctl", "systemd", re.compile(rf"nerdctl-{_ID}\.scope")),
    # containerd, Docker and cri-dockerd with the cgroupfs driver, and ECS, use the bare id.
    PathFormat("", "cgroupfs", re.compile(_ID)),
)

_POD_UID: Final = r"[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}"
# Static pods carry the hash of their manifest instead of a UID (annotation kubernetes.io/config.hash).
_POD: Final = re.compile(rf"(?:.*-)?pod(?P<uid>{_POD_UID}|[0-9a-f]{{32}})(?:\.slice(?::.*)?)?")


@dataclass(frozen=True, slots=True)
class CgroupOwner:
    """What a path says; empty text where it says nothing. `container_id` is the whole id, `pod_uid` has dashes."""

    runtime: str = ""
    container_id: str = ""
    pod_uid: str = ""
    unit: str = ""


def owner_of(path: str) -> CgroupOwner:
    """Read a path as /proc/PID/cgroup shows it, `/../..` of a private cgroup namespace included.

    The deepest container counts (a node of kind is a container itself). A unit that is above the container is the
    runtime's and is not told; one below runs inside of it.
    """
    runtime = container_id = pod_uid = unit = ""
    for component in path.split("/"):
        if component in {"", ".."}:
            continue
        pod = _POD.fullmatch(component)
        if pod:
            pod_uid = pod["uid"].replace("_", "-")
        if component.endswith(".service"):
            unit = component
        for known in FORMATS:
            match = known.component.fullmatch(component)
            if match:
                runtime, container_id, unit = known.runtime, match["id"], ""
                break
    return CgroupOwner(runtime, container_id, pod_uid, unit)


def paths_of(text: str) -> tuple[str, ...]:
    """The different paths in the text of /proc/PID/cgroup, the ones that tell most first: the unified hierarchy's, then
    systemd's own, then the controllers'. The root tells nothing and is left out."""
    ranked: list[tuple[int, str]] = []
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if path in {"", "/"}:
            continue
        rank = 0 if number == "0" else 1 if controllers == "name=systemd" else 2
        ranked.append((rank, path.removesuffix(" (deleted)")))
    return tuple(dict.fromkeys(path for _, path in sorted(ranked, key=lambda entry: entry[0])))
