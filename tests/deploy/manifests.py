# SPDX-License-Identifier: Apache-2.0
"""The committed manifests as objects, and what a scheduler would make of them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "manifests"
FILES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
Object = dict[str, Any]


def objects_of(text: str) -> list[Object]:
    return [item for item in yaml.safe_load_all(text) if item]


def manifest(name: str) -> list[Object]:
    return objects_of((FOLDER / f"{name}.yaml").read_text())


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [item for item in objects if item["kind"] == kind]


def one(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = [item for item in of_kind(objects, kind) if item["metadata"]["name"] == name]
    return found


def pod_of(workload: Object) -> Object:
    spec: Object = workload["spec"]["template"]["spec"]
    return spec


def agent_of(workload: Object) -> Object:
    (container,) = pod_of(workload)["containers"]
    assert isinstance(container, dict)
    return container


def profile_of(daemonset: Object) -> str:
    return str(daemonset["metadata"]["labels"]["firesteel/profile"])


def host_mounts(daemonset: Object) -> dict[str, bool]:
    """Folders of the node that the container sees, and whether it may write there."""
    paths = {v["name"]: v["hostPath"]["path"] for v in pod_of(daemonset)["volumes"] if "hostPath" in v}
    mounts = {m["name"]: m for m in agent_of(daemonset)["volumeMounts"]}
    for name, path in paths.items():
        assert mounts[name]["mountPath"] == path
    return {path: not mounts[name].get("readOnly", False) for name, path in paths.items()}


def runs_on(daemonset: Object, labels: Mapping[str, str]) -> bool:
    """What the DaemonSet controller decides by node labels: nodeSelector and required terms."""
    pod = pod_of(daemonset)
    affinity = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return all(labels.get(key) == value for key, value in pod.get("nodeSelector", {}).items()) and any(
        all(_holds(expression, labels) for expression in term["matchExpressions"])
        for term in affinity["nodeSelectorTerms"]
    )


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value = labels.get(expression["key"])
    if expression["operator"] == "NotIn":
        return value not in expression["values"]
    assert expression["operator"] == "In", expression
    return value in expression["values"]


def mebibytes(quantity: str) -> float:
    """Of the two units that the chart uses."""
    factor = {"Mi": 1.0, "Gi": 1024.0}[quantity[-2:]]
    return float(quantity[:-2]) * factor


def containers(objects: list[Object]) -> Iterator[tuple[Object, Object]]:
    """(workload, container) of everything that runs."""
    for item in objects:
        if item["kind"] in {"DaemonSet", "Deployment", "Job"}:
            for container in pod_of(item)["containers"]:
                yield item, container
