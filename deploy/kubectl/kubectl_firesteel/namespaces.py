# SPDX-License-Identifier: Apache-2.0
"""The namespace. One that is being deleted stays for seconds or longer, and nothing new is let into it until it is gone.

One that was there before the first installation is somebody's: it gets what lets our pods in, not our name, and stays when we go. Our name
alone does not tell: `kubectl apply` writes it on one that was there as well. One that this plugin made has its mark.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Final

from . import interrupts
from .kubectl import Kubectl, Object, Refused
from .temporary import taken_away

_STEP: Final = 1.0
_SECURITY: Final = "pod-security.kubernetes.io/"
_LEVEL: Final = "privileged"
_BEFORE: Final = "firesteel/pod-security-before"
"""The annotation with what we wrote over, as JSON: label -> value, null where there was none."""
_CONFLICTS: Final = 10
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


@contextlib.contextmanager
def for_jobs(kubectl: Kubectl, namespace: str, seconds: float, say: Callable[[str], None]) -> Iterator[bool]:
    """It is there in the body, settled as above. Yields whether it is made for that: then it is deleted after it, whatever happens, and may
    still be on its way."""
    with taken_away(kubectl) as made:
        if settled(kubectl, namespace, seconds, say) is None:
            with interrupts.to_the_end():
                _make(kubectl, namespace)
                made.append(path(namespace))
        yield bool(made)


def _make(kubectl: Kubectl, namespace: str) -> None:
    """With the level of Pod Security that Jobs need."""
    labels = {f"{_SECURITY}enforce": _LEVEL, "app.kubernetes.io/name": "firesteel"}
    item = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
    kubectl.create("/api/v1/namespaces", marked(item))


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


def remembering(item: Object, there: Object) -> tuple[Object, str]:
    """Ours, with the levels of Pod Security that it writes over in one that was there before; and what changes, empty if nothing does."""
    had = there["metadata"].get("labels") or {}
    ours = {name: value for name, value in item["metadata"]["labels"].items() if name.startswith(_SECURITY)}
    changed = {name: had.get(name) for name, value in ours.items() if had.get(name) != value}
    if not changed or is_marked(there):
        return item, ""
    annotations = {**item["metadata"].get("annotations", {}), _BEFORE: json.dumps({**_before(there), **changed})}
    told = _told(item["metadata"]["name"], {name: (old, ours[name]) for name, old in changed.items()})
    return {**item, "metadata": {**item["metadata"], "annotations": annotations}}, f"{told}; uninstall puts that back"


def put_back(kubectl: Kubectl, namespace: str, say: Callable[[str], None], *, dry: bool = False) -> None:
    """The levels that it had before us, but those that somebody set since."""
    for left in reversed(range(_CONFLICTS)):
        there = kubectl.find(path(namespace))
        if there is None or _is_ending(there) or _BEFORE not in (there["metadata"].get("annotations") or {}):
            return
        labels, annotations = dict(there["metadata"].get("labels") or {}), dict(there["metadata"]["annotations"])
        back = {name: old for name, old in _before(there).items() if labels.get(name) == _LEVEL}
        labels = {name: value for name, value in {**labels, **back}.items() if value is not None}
        del annotations[_BEFORE]
        metadata = {**there["metadata"], "labels": labels, "annotations": annotations}
        item = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata, "spec": there.get("spec", {})}
        try:
            kubectl.replace(path(namespace), item, dry=dry)
        except Refused as refused:
            if refused.status != HTTPStatus.CONFLICT or not left:
                raise
            continue
        if back:
            told = _told(namespace, {name: (_LEVEL, old) for name, old in back.items()})
            say(f"{'would put back' if dry else 'put back'} {told}")
        return


def _before(there: Object) -> dict[str, str | None]:
    """What that annotation has; nothing where somebody wrote something else into it."""
    try:
        found = json.loads((there["metadata"].get("annotations") or {}).get(_BEFORE, "{}"))
    except ValueError:
        return {}
    return {name: old for name, old in found.items() if name.startswith(_SECURITY)} if isinstance(found, dict) else {}


def _told(namespace: str, changes: Mapping[str, tuple[str | None, str | None]]) -> str:
    texts = (
        f"{name.removeprefix(_SECURITY)} {old or 'unset'} -> {new or 'unset'}" for name, (old, new) in changes.items()
    )
    return f"namespace/{namespace}: {_SECURITY}{', '.join(texts)}"


def delete(kubectl: Kubectl, namespace: str, seconds: float, say: Callable[[str], None]) -> bool:
    """Whether it is gone in that time, with all that was in it; it may be already."""
    there = kubectl.find(path(namespace))
    if there is not None and not _is_ending(there):
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
