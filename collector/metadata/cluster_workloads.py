# SPDX-License-Identifier: Apache-2.0
"""Which workload a pod belongs to: the controller that a person knows, above the one that the pod itself names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from collector.metadata.kube_objects import ControllerRecord, PodRecord

_SEEING: Final = ("core", "bcc", "kmod")
_PROFILES: Final = (*_SEEING, "none")
"""The chart makes a DaemonSet for each profile, RELEASE-PROFILE. Agents of the last one see no requests, so their nodes are told from
the other side."""

_TEMPLATE_HASH: Final = re.compile(r"(?P<name>.+)-[bcdfghjklmnpqrstvwxz2456789]{5,10}")
"""A ReplicaSet is named after its Deployment and the hash of its template, in the API's safe alphabet (rand.SafeEncodeString)."""
_SCHEDULED_JOB: Final = re.compile(r"(?P<name>.+)-\d{8,10}")
"""A Job of a CronJob carries its scheduled time in minutes."""


@dataclass(frozen=True, slots=True)
class Workload:
    """`kind` in lower case, as dashboards made for Kindling expect it."""

    kind: str
    name: str


def workload(pod: PodRecord, controllers: Mapping[str, ControllerRecord]) -> Workload:
    """The Deployment behind a ReplicaSet, the CronJob behind a Job; `controllers` by UID."""
    owner = pod.owner
    if owner is None:
        return Workload("pod", pod.name)
    if owner.kind == "Node":  # a static pod's mirror
        return Workload("staticpod", pod.name.removesuffix(f"-{owner.name}"))
    known = controllers.get(owner.uid)
    if known is not None:
        above = known.owner
        return Workload(above.kind.lower(), above.name) if above else Workload(known.kind.lower(), known.name)
    guess = {"ReplicaSet": ("deployment", _TEMPLATE_HASH), "Job": ("cronjob", _SCHEDULED_JOB)}.get(owner.kind)
    match = guess[1].fullmatch(owner.name) if guess else None
    if guess and match:  # not told yet: by how its owner names it
        return Workload(guess[0], match["name"])
    return Workload(owner.kind.lower(), owner.name)


@dataclass(frozen=True, slots=True)
class Agents:
    """Of which pods it is known that they are agents: of one's own controller, and of those for the other profiles."""

    namespace: str
    kind: str
    names: frozenset[str]

    def has(self, pod: PodRecord) -> bool:
        owner = pod.owner
        return (
            owner is not None
            and (pod.namespace, owner.kind) == (self.namespace, self.kind)
            and owner.name in self.names
        )


def agents_beside(own: PodRecord) -> Agents | None:
    """By the pod of an agent; None if nothing keeps that alive."""
    if own.owner is None:
        return None
    names, (release, _, profile) = {own.owner.name}, own.owner.name.rpartition("-")
    if own.owner.kind == "DaemonSet" and release and profile in _PROFILES:
        names.update(f"{release}-{other}" for other in _SEEING)
    return Agents(own.namespace, own.owner.kind, frozenset(names))
