# SPDX-License-Identifier: Apache-2.0
"""The objects that `make manifests` rendered from the chart, fitted to a cluster, and their places in the API."""

import json
import pkgutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

Object = dict[str, Any]

PROFILES: Final = ("core", "bcc", "kmod", "none")
PROFILE: Final = "firesteel/profile"
"""The label of nodes and agents."""
_VIRTUAL: Final = {"eks.amazonaws.com/compute-type": "fargate", "type": "virtual-kubelet"}
OFF: Final = "off"
"""Its value for nodes that have no agent."""
SELECTOR: Final = "app.kubernetes.io/name=firesteel"
OTHERS: Final = "app.kubernetes.io/name!=firesteel"
"""Of what is not ours."""
DAEMONSETS: Final = "/apis/apps/v1/daemonsets"
"""Those of all namespaces."""
_ARMOR: Final = "container.apparmor.security.beta.kubernetes.io/agent"
_AUTHORITY: Final = "names-authority"
_PLACES: Final = {
    "Namespace": ("/api/v1", "namespaces", False),
    "ResourceQuota": ("/api/v1", "resourcequotas", True),
    "ServiceAccount": ("/api/v1", "serviceaccounts", True),
    "ConfigMap": ("/api/v1", "configmaps", True),
    "Service": ("/api/v1", "services", True),
    "ClusterRole": ("/apis/rbac.authorization.k8s.io/v1", "clusterroles", False),
    "ClusterRoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings", False),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies", True),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets", True),
    "DaemonSet": ("/apis/apps/v1", "daemonsets", True),
    "Deployment": ("/apis/apps/v1", "deployments", True),
    "Job": ("/apis/batch/v1", "jobs", True),
    "SecurityContextConstraints": ("/apis/security.openshift.io/v1", "securitycontextconstraints", False),
    "PodMonitor": ("/apis/monitoring.coreos.com/v1", "podmonitors", True),
    "ServiceMonitor": ("/apis/monitoring.coreos.com/v1", "servicemonitors", True),
    "PrometheusRule": ("/apis/monitoring.coreos.com/v1", "prometheusrules", True),
}
"""Kind -> (group and version, plural, whether it is in a namespace), in the order in which they are made."""


BESIDE: Final = ("Job", "SecurityContextConstraints", "PodMonitor", "ServiceMonitor", "PrometheusRule")
"""What is never among the objects that are installed here, but comes with a manifest or out of the chart: it goes with them only."""


@dataclass(frozen=True)
class Images:
    """Where nodes pull images from, and by which Secrets they say there who they are."""

    registry: str = ""
    tag: str = ""
    secrets: tuple[str, ...] = ()

    def part_of_pod(self) -> Object:
        return {"imagePullSecrets": [{"name": name} for name in self.secrets]} if self.secrets else {}


AS_RENDERED: Final = Images()


def everything() -> list[Object]:
    """As rendered: every profile, the names service, the namespace firesteel, Kubernetes 1.30 or later."""
    text = pkgutil.get_data(__package__ or "kubectl_firesteel", "objects.json")
    assert text is not None
    return list(json.loads(text))


def version() -> str:
    """Of Firesteel, as these objects have it."""
    return version_of(next(item for item in everything() if item["kind"] == "DaemonSet"))


def version_of(item: Object) -> str:
    return str(item["metadata"].get("labels", {}).get("app.kubernetes.io/version", "?"))


def fitted(
    profiles: Collection[str], *, namespace: str, minor: int, images: Images = AS_RENDERED, names: bool = False
) -> list[Object]:
    """What is to be installed, in order. `minor` is Kubernetes' 1.minor."""
    chosen = [item for item in everything() if _is_wanted(item, profiles, names=names)]
    for item in chosen:
        _into_namespace(item, namespace)
        if item["kind"] in {"DaemonSet", "Deployment"}:
            _fit(item, minor, images)
        if not names:
            _leave_names_out(item)
    return sorted(chosen, key=lambda item: list(_PLACES).index(item["kind"]))


def _is_wanted(item: Object, profiles: Collection[str], *, names: bool) -> bool:
    labels = item["metadata"].get("labels", {})
    if item["kind"] == "DaemonSet":
        return labels[PROFILE] in profiles
    # The policy of the names service has no label of its own but its name.
    return names or not item["metadata"]["name"].endswith("-names")


def _into_namespace(item: Object, namespace: str) -> None:
    if item["kind"] == "Namespace":
        item["metadata"]["name"] = namespace
    elif "namespace" in item["metadata"]:
        item["metadata"]["namespace"] = namespace
    for subject in item.get("subjects", ()):
        subject["namespace"] = namespace
    if item["kind"] == "ConfigMap":
        text = item["data"]["firesteel.yaml"]
        item["data"]["firesteel.yaml"] = text.replace(
            "firesteel-names.firesteel.svc", f"firesteel-names.{namespace}.svc"
        )


def _leave_names_out(item: Object) -> None:
    """What only the names service needs: its part of the configuration, its certificate, who may ask it, and its account."""
    match item["kind"]:
        case "ConfigMap":
            item["data"]["firesteel.yaml"] = _without_names(item["data"]["firesteel.yaml"])
        case "ClusterRole":
            item["rules"] = [rule for rule in item["rules"] if "nonResourceURLs" not in rule]
        case "ClusterRoleBinding":
            item["subjects"] = [subject for subject in item["subjects"] if not subject["name"].endswith("-names")]
        case "DaemonSet":
            pod = pod_of(item)
            pod["volumes"] = [volume for volume in pod["volumes"] if volume["name"] != _AUTHORITY]
            (container,) = pod["containers"]
            container["volumeMounts"] = [mount for mount in container["volumeMounts"] if mount["name"] != _AUTHORITY]


def _without_names(text: str) -> str:
    """Without the section kubernetes, which the chart writes for the names service only."""
    kept, inside = [], False
    for line in text.splitlines(keepends=True):
        inside = line.startswith("kubernetes:") or (inside and line.startswith(" "))
        if not inside:
            kept.append(line)
    return "".join(kept)


def _fit(workload: Object, minor: int, images: Images) -> None:
    template = workload["spec"]["template"]
    template["spec"] |= images.part_of_pod()
    for container in template["spec"]["containers"]:
        name, _, rendered = container["image"].partition(":")
        suffix = "-full" if rendered.endswith("-full") else ""
        place = f"{images.registry.rstrip('/')}/{name}" if images.registry else name
        container["image"] = f"{place}:{images.tag + suffix if images.tag else rendered}"
        # A field since 1.30, an annotation before.
        if minor < 30 and container["securityContext"].pop("appArmorProfile", None):
            template["metadata"].setdefault("annotations", {})[_ARMOR] = "unconfined"


def pod_of(workload: Object) -> Object:
    """The pod that a DaemonSet, Deployment or Job makes."""
    pod: Object = workload["spec"]["template"]["spec"]
    return pod


def required_terms(pod: Object) -> list[Object]:
    """Of which a node must fulfil one, by the pod's affinity; none where it may be any."""
    affinity = (pod.get("affinity") or {}).get("nodeAffinity") or {}
    return list((affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms") or ())


def collection_of(item: Object) -> str:
    """The path to which it is posted."""
    group, plural, namespaced = _PLACES[item["kind"]]
    return f"{group}/namespaces/{item['metadata']['namespace']}/{plural}" if namespaced else f"{group}/{plural}"


def path_of(item: Object) -> str:
    return f"{collection_of(item)}/{item['metadata']['name']}"


def collections(namespace: str, *, namespaced: bool) -> Sequence[tuple[str, str]]:
    """(kind, path) of each kind that we make."""
    return [
        (kind, f"{group}/namespaces/{namespace}/{plural}" if within else f"{group}/{plural}")
        for kind, (group, plural, within) in _PLACES.items()
        if within == namespaced and kind != "Namespace"
    ]


def collections_of_a_release(namespace: str) -> list[str]:
    """Where the objects of any chart are looked for: our kinds, but Jobs and what takes further definitions, and those of a usual service."""
    ours = [path for kind, path in collections(namespace, namespaced=True) if kind not in BESIDE]
    more = (
        ("/apis/apps/v1", "statefulsets"),
        ("/apis/batch/v1", "cronjobs"),
        ("/apis/networking.k8s.io/v1", "ingresses"),
    )
    claims = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
    return [*ours, *(f"{group}/namespaces/{namespace}/{plural}" for group, plural in more), claims]


def can_be_watched(node: Object) -> bool:
    """Whether it is a Linux machine, and not something that runs each pod on a kernel of its own: as the DaemonSets choose."""
    labels = node["metadata"].get("labels") or {}
    return labels.get("kubernetes.io/os", "linux") == "linux" and not any(
        labels.get(name) == value for name, value in _VIRTUAL.items()
    )


def chooses(daemonset: Object, node: Object) -> bool:
    """By its nodeSelector and the required terms of its affinity, as far as they are about labels."""
    pod, labels = pod_of(daemonset), node["metadata"].get("labels") or {}
    terms = required_terms(pod)
    return all(labels.get(name) == value for name, value in (pod.get("nodeSelector") or {}).items()) and (
        not terms or any(all(_holds(part, labels) for part in term.get("matchExpressions") or ()) for term in terms)
    )


def _holds(part: Object, labels: Object) -> bool:
    name = part["key"]
    match part["operator"]:
        case "In":
            return labels.get(name) in part["values"]
        case "NotIn":
            return labels.get(name) not in part["values"]
        case "Exists":
            return name in labels
        case "DoesNotExist":
            return name not in labels
        case _:
            # Gt and Lt, which our chart does not render.
            return True


def profile_of(node: Object) -> str:
    """Whose agent runs there: as the DaemonSets choose, so core's where the label is missing or is nothing that they know."""
    label = str((node["metadata"].get("labels") or {}).get(PROFILE, ""))
    return label if label in {*PROFILES, OFF} else "core"


def is_helms(item: Object) -> bool:
    """Whether Helm wrote it, or somebody out of what Helm rendered."""
    return (item["metadata"].get("labels") or {}).get("app.kubernetes.io/managed-by") == "Helm"
