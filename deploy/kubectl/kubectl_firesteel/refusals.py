# SPDX-License-Identifier: Apache-2.0
"""Why a controller made no pod: Pod Security, a quota, OpenShift's constraints. Only an event of the object says so."""

from .kubectl import Kubectl, Object, Refused


def why_no_pod(kubectl: Kubectl, namespace: str, owner: Object) -> str:
    """What was said last; empty if nothing was, or if events are not for this user. `owner` as it was just read: events live for an hour, and
    those of an earlier object of its name have another uid."""
    selector = f"involvedObject.uid={owner['metadata']['uid']},reason=FailedCreate"
    try:
        events = kubectl.items(f"/api/v1/namespaces/{namespace}/events", fieldSelector=selector)
    except Refused:
        return ""
    events.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
    return str(events[-1].get("message", "")) if events else ""
