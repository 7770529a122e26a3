# SPDX-License-Identifier: Apache-2.0
"""Which workload a pod belongs to: the controller that a person knows, above the one that the pod itself names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from collector.metadata.kube_objects import ControllerRecord, PodRecord

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
