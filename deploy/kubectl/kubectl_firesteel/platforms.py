# SPDX-License-Identifier: Apache-2.0
"""What a node's system, as its kubelet tells it, says against an agent there. In a pod the doctor cannot know: /etc/os-release is the image's."""

from typing import Final

from .kubectl import Object
from .objects import PROFILE, profile_of

NO_MODULES: Final = {
    "Talos": "Talos accepts no module that it was not built with",
    "Bottlerocket": "Bottlerocket accepts modules only through its own kits",
    "Container-Optimized OS": "Container-Optimized OS accepts signed modules only",
    "Flatcar": "Flatcar has headers only in its developer container",
}
"""By what osImage begins with. The sentences are the doctor's (collector/module_checks.py); the plugin is one file without it."""
_BOTTLEROCKET: Final = "Bottlerocket"
_TYPE: Final = "super_t"
ASK_FOR_BPF: Final = ("core", "bcc")
TYPE_WANTED: Final = f"Bottlerocket's SELinux lets only the type {_TYPE} ask for BPF, which the agents do not have"
TYPE_REMEDY: Final = (
    "kubectl apply -f deploy/manifests/firesteel-bottlerocket.yaml, then kubectl firesteel install, which keeps it"
)


def remarks(node: Object, agents: Object) -> list[str]:
    """What keeps every driver of the node's profile from loading there, with the remedy. `agents` is their pod, empty where there is none."""
    found, name = [], node["metadata"]["name"]
    reason = next((told for system, told in NO_MODULES.items() if _system(node).startswith(system)), "")
    if reason and profile_of(node) == "kmod":
        found.append(f"platform: {reason} -> kubectl label --overwrite node {name} {PROFILE}=core")
    if lacks_type(node, agents) and profile_of(node) in ASK_FOR_BPF:
        found.append(f"platform: {TYPE_WANTED} -> {TYPE_REMEDY}")
    return found


def lacks_type(node: Object, agents: Object) -> bool:
    """Whether SELinux refuses what these agents ask for on that node."""
    known_as = (agents.get("securityContext") or {}).get("seLinuxOptions") or {}
    return _system(node).startswith(_BOTTLEROCKET) and known_as.get("type") != _TYPE


def _system(node: Object) -> str:
    return str((node.get("status") or {}).get("nodeInfo", {}).get("osImage", ""))
