# SPDX-License-Identifier: Apache-2.0
"""install: our objects are put as they were rendered, but a configuration that somebody changed."""

import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from . import belongings, certificate, configuration, namespaces, objects, platforms, resources
from .kubectl import Kubectl, Object, Refused
from .objects import PROFILE, SELECTOR, pod_of

Say = Callable[[str], None]
_KEPT_FIELDS: Final = ("resourceVersion", "uid")
_OF_ACCOUNTS: Final = ("imagePullSecrets", "secrets")
_CONFLICTS: Final = 10
_STEP: Final = 1.0


@dataclass(frozen=True)
class Wish:
    """What the command line asked for."""

    namespace: str
    profiles: tuple[str, ...]
    images: objects.Images
    names: bool
    dry: bool
    seconds: float


def minor_of(kubectl: Kubectl) -> int:
    """N of Kubernetes 1.N."""
    told = re.match(r"\d+", str(kubectl.get("/version").get("minor", "")))
    if told is None:
        raise Refused("the API server does not tell its version")
    return int(told[0])


def install(kubectl: Kubectl, wish: Wish, say: Say) -> bool:
    """Creates what is not there and replaces the rest; whether every agent came up in time."""
    if missing := _profiles_without_nodes(kubectl, wish.profiles):
        for profile in missing:
            say(f"no node has the label {PROFILE}={profile}: kubectl label node NODE {PROFILE}={profile}")
    wanted = objects.fitted(
        wish.profiles, namespace=wish.namespace, minor=minor_of(kubectl), images=wish.images, names=wish.names
    )
    _refuse_over_helm(kubectl, wish.namespace)
    _refuse_beside_another(kubectl, wanted, wish.namespace)
    new_namespace = namespaces.settled(kubectl, wish.namespace, wish.seconds, say) is None
    rendered = _renderings(wish)
    for item in wanted:
        for line in _put(kubectl, item, rendered, dry=wish.dry, unborn=wish.dry and new_namespace):
            say(line)
        # Pods wait for it, so it comes before them.
        if item["kind"] == "Namespace" and wish.names and certificate.ensure(kubectl, wish.namespace, dry=wish.dry):
            say(f"{'would create' if wish.dry else 'created'} secret/{certificate.SECRET}")
    for path in _superfluous_as_far_as_told(kubectl, wanted, wish.namespace, say):
        say(f"{'would delete' if wish.dry else 'deleted'} {path.rpartition('/')[2]}")
        if not wish.dry:
            kubectl.delete(path)
    _say_of_bottlerocket(kubectl, wanted, say)
    if wish.dry:
        return True
    return wait_for_rollout(
        kubectl, [item for item in wanted if item["kind"] in {"DaemonSet", "Deployment"}], wish.seconds, say
    )


def _refuse_over_helm(kubectl: Kubectl, namespace: str) -> None:
    """Helm takes no object for its own any more that somebody else wrote: its next upgrade would fail, and its uninstallation leave them.

    Raises Refused.
    """
    if release := helm_release(installed(kubectl, namespace)):
        raise Refused(
            f"Firesteel was installed in namespace {namespace} by Helm, as {release}: helm upgrade {release} deploy/helm/firesteel "
            f"--namespace {namespace}, or first kubectl firesteel uninstall -n {namespace}"
        )


def helm_release(there: Sequence[Object]) -> str:
    """The release's name, empty if Helm made none of these."""
    return next((belongings.instance_of(item) for item in there if objects.is_helms(item)), "")


def _refuse_beside_another(kubectl: Kubectl, wanted: Sequence[Object], namespace: str) -> None:
    """What is for the whole cluster names the accounts of one namespace: taken over, the agents of the other one would know no
    names any more, and nodes that have both would count all twice. A binding that a namespace left behind is nobody's.

    Raises Refused.
    """
    for item in wanted:
        there = kubectl.find(objects.path_of(item)) if item["kind"] == "ClusterRoleBinding" else None
        for other in sorted(belongings.whose(there or {}) - {namespace}):
            if installed(kubectl, other):
                raise Refused(
                    f"Firesteel is installed in namespace {other}, and {item['kind'].lower()}/{item['metadata']['name']} is that "
                    f"one's: kubectl firesteel install -n {other}, or first kubectl firesteel uninstall -n {other}"
                )


def _profiles_without_nodes(kubectl: Kubectl, profiles: Sequence[str]) -> list[str]:
    others = [profile for profile in profiles if profile != "core"]
    if not others:
        return []
    labels = {node["metadata"].get("labels", {}).get(PROFILE) for node in kubectl.items("/api/v1/nodes")}
    return [profile for profile in others if profile not in labels]


def _say_of_bottlerocket(kubectl: Kubectl, wanted: Sequence[Object], say: Say) -> None:
    """Where its nodes would have agents that may load nothing. Nothing else needs the nodes, so who may not list them is told nothing."""
    try:
        nodes = kubectl.items("/api/v1/nodes")
    except Refused as refused:
        if refused.status != HTTPStatus.FORBIDDEN:
            raise
        return
    for item in wanted:
        if item["kind"] != "DaemonSet" or item["metadata"]["labels"][PROFILE] not in platforms.ASK_FOR_BPF:
            continue
        pod = pod_of(kubectl.find(objects.path_of(item)) or item)
        lacking = [
            node["metadata"]["name"]
            for node in nodes
            if objects.chooses(item, node) and platforms.lacks_type(node, pod)
        ]
        if lacking:
            more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
            say(f"{', '.join(lacking[:3])}{more}: {platforms.TYPE_WANTED} -> {platforms.TYPE_REMEDY}")


def _renderings(wish: Wish) -> set[str]:
    """Every configuration that this version would write in that namespace."""
    texts = (
        configuration.text_of(item)
        for names in (False, True)
        for item in objects.fitted((), namespace=wish.namespace, minor=0, names=names)
        if item["kind"] == "ConfigMap"
    )
    return {text for text in texts if text is not None}


def _put(kubectl: Kubectl, item: Object, rendered: Collection[str], *, dry: bool, unborn: bool) -> list[str]:
    """What was done. `unborn`: the namespace is not there yet, so the server cannot be asked about what is in it."""
    for _ in range(_CONFLICTS):
        try:
            return _put_once(kubectl, item, rendered, dry=dry, unborn=unborn)
        except Refused as refused:
            # Somebody wrote between our reading and our writing: a controller does so with each pod that comes or goes.
            if refused.status != HTTPStatus.CONFLICT:
                raise
    return _put_once(kubectl, item, rendered, dry=dry, unborn=unborn)


def _put_once(kubectl: Kubectl, item: Object, rendered: Collection[str], *, dry: bool, unborn: bool) -> list[str]:
    name = f"{item['kind'].lower()}/{item['metadata']['name']}"
    path = objects.path_of(item)
    there = kubectl.find(path)
    told: list[str] = []
    if item["kind"] == "ConfigMap":
        item, *told = configuration.fitted_to(item, there, rendered)
    if item["kind"] == "Namespace":
        item, *told = _namespace(item, there)
    if item["kind"] in {"DaemonSet", "Deployment"} and there is not None:
        item, told = resources.fitted_to(item, there)
    if there is None:
        if not (unborn and "namespace" in item["metadata"]):
            kubectl.create(objects.collection_of(item), item, dry=dry)
        done = f"{'would create' if dry else 'created'} {name}"
    else:
        kubectl.replace(path, replacing(item, there), dry=dry)
        done = f"{'would replace' if dry else 'replaced'} {name}"
    return [done, *filter(None, told)]


def _namespace(item: Object, there: Object | None) -> tuple[Object, str, str]:
    """What is to be written, and what there is to say of it."""
    if there is None:
        return namespaces.marked(item), "", ""
    guest = (
        ""
        if namespaces.is_ours(there)
        else f"namespace/{item['metadata']['name']} was there before, so uninstall will leave it"
    )
    item, changed = namespaces.remembering(namespaces.as_a_guest(item) if guest else item, there)
    return item, guest, changed


def replacing(item: Object, there: Object) -> Object:
    """Ours, with what others wrote beside it: labels, annotations, what the server itself fills in once."""
    metadata = {**item["metadata"]}
    for field in ("labels", "annotations"):
        if there["metadata"].get(field) or metadata.get(field):
            metadata[field] = {**there["metadata"].get(field, {}), **metadata.get(field, {})}
    metadata |= {field: there["metadata"][field] for field in _KEPT_FIELDS if field in there["metadata"]}
    result = {**item, "metadata": metadata}
    if item["kind"] == "Service":
        fixed = {name: there["spec"][name] for name in ("clusterIP", "clusterIPs") if name in there["spec"]}
        result["spec"] = {**item["spec"], **fixed}
    if item["kind"] == "ServiceAccount":
        # By them nodes may pull images; a cluster's owner, or OpenShift, wrote them there.
        result |= {name: there[name] for name in _OF_ACCOUNTS if there.get(name)}
    known_as = (
        (pod_of(there).get("securityContext") or {}).get("seLinuxOptions") if item["kind"] == "DaemonSet" else None
    )
    if known_as:
        # Of the manifests for OpenShift and Bottlerocket, without which the agents may load nothing there.
        pod = pod_of(item)
        pod = {**pod, "securityContext": {**pod["securityContext"], "seLinuxOptions": known_as}}
        result["spec"] = {**item["spec"], "template": {**item["spec"]["template"], "spec": pod}}
    if item["kind"] == "Namespace":
        result["spec"] = there.get("spec", {})
    return result


def _superfluous_as_far_as_told(kubectl: Kubectl, wanted: Sequence[Object], namespace: str, say: Say) -> list[str]:
    """What is installed works without these lists, which take a right of their own."""
    try:
        return list(superfluous(kubectl, wanted, namespace))
    except Refused as refused:
        if refused.status != HTTPStatus.FORBIDDEN:
            raise
        say(f"what an earlier installation left was not looked for: {refused}")
        return []


def superfluous(kubectl: Kubectl, wanted: Sequence[Object], namespace: str) -> Iterator[str]:
    """What an earlier installation in this namespace made and this one has not."""
    kept = {objects.path_of(item) for item in wanted}
    ours = list(belongings.in_namespace(kubectl, namespace, beside=False))
    of_cluster = belongings.of_cluster(kubectl, namespace, belongings.instances(ours), beside=False)
    for _, path, item in (*ours, *of_cluster):
        by_us = item["metadata"]["labels"].get("app.kubernetes.io/managed-by") == "kubectl"
        if by_us and path not in kept:
            yield path


def wait_for_rollout(kubectl: Kubectl, workloads: Sequence[Object], seconds: float, say: Say) -> bool:
    end = time.monotonic() + seconds
    waiting = {objects.path_of(item): item for item in workloads}
    while True:
        for path in list(waiting):
            ready, wanted = _progress(kubectl.get(path))
            if wanted is not None and ready >= wanted:
                say(f"{path.rpartition('/')[2]}: {ready} of {wanted} ready")
                del waiting[path]
        if not waiting or time.monotonic() > end:
            break
        time.sleep(_STEP)
    for path in waiting:
        ready, wanted = _progress(kubectl.get(path))
        say(f"{path.rpartition('/')[2]}: only {ready} of {wanted or '?'} ready; kubectl firesteel status says why")
    return not waiting


def _progress(item: Object) -> tuple[int, int | None]:
    """(updated and ready, wanted); None until the controller has seen what was asked for."""
    status = item.get("status", {})
    if status.get("observedGeneration", 0) < item["metadata"].get("generation", 0):
        return 0, None
    if item["kind"] == "Deployment":
        return min(status.get("updatedReplicas", 0), status.get("readyReplicas", 0)), int(
            item["spec"].get("replicas", 1)
        )
    if "desiredNumberScheduled" not in status:
        return 0, None
    wanted = int(status["desiredNumberScheduled"])
    return min(status.get("updatedNumberScheduled", 0), status.get("numberReady", 0)), wanted


def installed(kubectl: Kubectl, namespace: str) -> list[Object]:
    """The DaemonSets and Deployments that are there."""
    found = []
    for kind, path in objects.collections(namespace, namespaced=True):
        if kind in {"DaemonSet", "Deployment"}:
            found += [{"kind": kind, **item} for item in kubectl.items(path, labelSelector=SELECTOR)]
    return found


def agents_pod(there: Sequence[Object], profile: str) -> Object:
    """Of what is installed, the pod of that profile's agents, or of another's; empty where there is none."""
    agents = [item for item in there if item["kind"] == "DaemonSet"]
    agents.sort(key=lambda item: item["metadata"].get("labels", {}).get(PROFILE) != profile)
    return pod_of(agents[0]) if agents else {}
