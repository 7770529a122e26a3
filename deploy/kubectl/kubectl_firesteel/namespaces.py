# SPDX-License-Identifier: Apache-2.0
"""The namespace. One that is being deleted stays for seconds or longer, and nothing new is let into it until it is gone.

One that was there before the first installation is somebody's: it gets what lets our pods in, not our name, and stays when we go. Our name
alone does not tell: `kubectl apply` writes it on one that was there as well. One that this plugin made has its mark.
"""

import time
from collections.abc import Callable
from typing import Final

from .kubectl import Kubectl, Object, Refused

_STEP: Final = 1.0
_SECURITY: Final = "pod-security.kubernetes.io/"
_MARK: Final = {"firesteel/made-by": "kubectl-firesteel"}


def path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}"


def settled(kubectl: Kubectl, namespace: str, seconds: float, say: Callable[[str], None]) -> Object | None:
    """The namespace, None where there is none; one that is being deleted is waited for, `seconds` at most.

    Raises Refused where it does not go in that time.
    """
    there = kubectl.find(path(namespace))
    if not _is_ending(there):
        return there
    say(f"waiting until namespace/{namespace} is gone, which is being deleted")
    there = _waited_for(kubectl, namespace, seconds)
    if _is_ending(there):
        raise Refused(f"namespace {namespace} is being deleted and {_does_not_go(namespace)}")
    return there


def ensure(kubectl: Kubectl, namespace: str, seconds: float, say: Callable[[str], None]) -> bool:
    """Whether it had to be made, for Jobs: with the level of Pod Security that they need."""
    if settled(kubectl, namespace, seconds, say) is not None:
        return False
    labels = {f"{_SECURITY}enforce": "privileged", "app.kubernetes.io/name": "firesteel"}
    item = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
    kubectl.create("/api/v1/namespaces", marked(item))
    return True


def is_ours(there: Object | None) -> bool:
    """Whether it has our name: from this plugin, or from one of the manifests, which may have found it there."""
    return there is not None and (there["metadata"].get("labels") or {}).get("app.kubernetes.io/name") == "firesteel"


def marked(item: Object) -> Object:
    """As one that this plugin makes, and so takes away."""
    annotations = {**item["metadata"].get("annotations", {}), **_MARK}
    return {**item, "metadata": {**item["metadata"], "annotations": annotations}}


def is_marked(there: Object) -> bool:
    return _MARK.items() <= (there["metadata"].get("annotations") or {}).items()


def as_a_guest(item: Object) -> Object:
    """What of our Namespace goes into somebody else's: the labels of Pod Security."""
    labels = {name: value for name, value in item["metadata"]["labels"].items() if name.startswith(_SECURITY)}
    return {**item, "metadata": {**item["metadata"], "labels": labels}}


def delete(kubectl: Kubectl, namespace: str, seconds: float, say: Callable[[str], None]) -> bool:
    """Whether it is gone in that time, with all that was in it."""
    there = kubectl.find(path(namespace))
    if there is None:
        return True
    if not _is_ending(there):
        kubectl.delete(path(namespace))
    gone = not _is_ending(_waited_for(kubectl, namespace, seconds))
    say(f"deleted namespace/{namespace}" if gone else f"namespace/{namespace} {_does_not_go(namespace)}")
    return gone


def _waited_for(kubectl: Kubectl, namespace: str, seconds: float) -> Object | None:
    """As it is once it is not being deleted any more (None, or another one of that name), or when time is up."""
    end = time.monotonic() + seconds
    while _is_ending(there := kubectl.find(path(namespace))) and time.monotonic() < end:
        time.sleep(_STEP)
    return there


def _is_ending(there: Object | None) -> bool:
    return there is not None and "deletionTimestamp" in there["metadata"]


def _does_not_go(namespace: str) -> str:
    return f"does not go: kubectl get namespace {namespace} -o yaml says why"
