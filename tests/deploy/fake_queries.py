# SPDX-License-Identifier: Apache-2.0
"""What the fake cluster tells about itself, and what it makes of selectors."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tests.deploy.served import Object

_GROUPS: Final = ("apps", "batch", "networking.k8s.io", "policy", "rbac.authorization.k8s.io")
# What `kubectl exec ds/NAME` looks up.
_DAEMONSETS: Final = {"name": "daemonsets", "singularName": "daemonset", "shortNames": ["ds"], "namespaced": True, "kind": "DaemonSet",
                      "verbs": ["get", "list"]}  # fmt: skip


def discovery(path: str) -> Object | None:
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        versions = [{"groupVersion": f"{group}/v1", "version": "v1"} for group in _GROUPS]
        groups = [{"name": g, "versions": [v], "preferredVersion": v} for g, v in zip(_GROUPS, versions, strict=True)]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    pods = [{"name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod", "verbs": ["get", "list"]}]
    if path == "/api/v1":
        return {"kind": "APIResourceList", "groupVersion": "v1", "resources": pods}
    if re.fullmatch(r"/apis/[^/]+/v1", path):
        found = [_DAEMONSETS] if path == "/apis/apps/v1" else []
        return {"kind": "APIResourceList", "groupVersion": path.removeprefix("/apis/"), "resources": found}
    return None


def labels_match(selector: str, labels: Mapping[str, str]) -> bool:
    for part in filter(None, selector.split(",")):
        name, equal, value = part.partition("=")
        if name.endswith("!"):
            if labels.get(name[:-1]) == value:
                return False
        elif (labels.get(name) != value) if equal else name not in labels:
            return False
    return True


def fields_match(selector: str, item: Object) -> bool:
    return all(
        str(at(item, name.split(".")) or "") == value
        for name, _, value in (part.partition("=") for part in filter(None, selector.split(",")))
    )


def at(item: Any, path: Sequence[str]) -> Any:
    for name in path:
        item = item.get(name, {}) if isinstance(item, dict) else {}
    return item
