# SPDX-License-Identifier: Apache-2.0
"""Nodes that have no agent: because its profile is not installed, because its pod was refused, or because nobody wants one there."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from .agents import Agent
from .install import installed
from .kubectl import Kubectl, Object, Refused
from .objects import OFF, PROFILE, can_be_watched, chooses, profile_of
from .refusals import why_no_pod

_LEFT_OUT: Final = "its DaemonSet does not choose this node"


@dataclass(frozen=True)
class Missing:
    """`is_wanted` if somebody asked for an agent there."""

    node: str
    profile: str
    why: str
    is_wanted: bool


def missing(kubectl: Kubectl, namespace: str, present: Sequence[Agent], node: str = "") -> Iterator[Missing]:
    """Of all nodes, or of that one; none where nothing is installed, or where nodes are not for this user."""
    daemonsets = {
        str(item["metadata"]["labels"].get(PROFILE)): item
        for item in installed(kubectl, namespace)
        if item["kind"] == "DaemonSet"
    }
    try:
        nodes = kubectl.items("/api/v1/nodes") if daemonsets else []
    except Refused:
        return
    served = {agent.node for agent in present}
    refused: dict[str, str] = {}
    for item in nodes:
        name, profile = str(item["metadata"]["name"]), profile_of(item)
        if name in served or not can_be_watched(item) or node not in {"", name}:
            continue
        if profile not in daemonsets:
            yield _not_installed(name, profile, daemonsets)
            continue
        if not chooses(daemonsets[profile], item):
            yield Missing(name, profile, _LEFT_OUT, False)
            continue
        if profile not in refused:
            refused[profile] = _refusal(kubectl, namespace, daemonsets[profile], present)
        why = refused[profile]
        yield Missing(name, profile, why or _LEFT_OUT, bool(why))


def _not_installed(node: str, profile: str, there: Collection[str]) -> Missing:
    if profile == OFF:
        return Missing(node, profile, f"the label {PROFILE} says {OFF}", False)
    # Core is for nodes of which nobody said anything: whoever leaves it out wants none there.
    options = " ".join(f"--profile {name}" for name in sorted({*there, profile}))
    return Missing(node, profile, f"profile {profile} is not installed: kubectl firesteel install {options}", profile != "core")  # fmt: skip


def _refusal(kubectl: Kubectl, namespace: str, daemonset: Object, present: Sequence[Agent]) -> str:
    """Why it has fewer pods than nodes; empty where it has one for each that it chose."""
    profile = daemonset["metadata"]["labels"][PROFILE]
    there = {agent.node for agent in present if agent.profile == profile}
    if daemonset.get("status", {}).get("desiredNumberScheduled", 0) <= len(there):
        return ""
    return why_no_pod(kubectl, namespace, daemonset) or "its pod is not there yet"
