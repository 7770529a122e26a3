# SPDX-License-Identifier: Apache-2.0
"""install, upgrade and uninstall: our objects are put as they were rendered, and all of them are taken away again."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from . import certificate, objects
from .jobs import NodeJob, run_jobs, wipe_job
from .kubectl import Kubectl, Object, Refused
from .objects import PROFILE, SELECTOR

Say = Callable[[str], None]
_KEPT_FIELDS: Final = ("resourceVersion", "uid")
_STEP: Final = 1.0


@dataclass(frozen=True)
class Wish:
    """What the command line asked for."""

    namespace: str
    profiles: tuple[str, ...]
    registry: str
    tag: str
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
        wish.profiles, namespace=wish.namespace, minor=minor_of(kubectl), registry=wish.registry, tag=wish.tag,
        names=wish.names,
    )  # fmt: skip
    new_namespace = kubectl.find(f"/api/v1/namespaces/{wish.namespace}") is None
    for item in wanted:
        say(_put(kubectl, item, dry=wish.dry, unborn=wish.dry and new_namespace))
        # Pods wait for it, so it comes before them.
        if item["kind"] == "Namespace" and wish.names and not wish.dry and certificate.ensure(kubectl, wish.namespace):
            say(f"created secret/{certificate.SECRET}")
    for path in superfluous(kubectl, wanted, wish.namespace):
        say(f"{'would delete' if wish.dry else 'deleted'} {path.rpartition('/')[2]}")
        if not wish.dry:
            kubectl.delete(path)
    if wish.dry:
        return True
    return wait_for_rollout(
        kubectl, [item for item in wanted if item["kind"] in {"DaemonSet", "Deployment"}], wish.seconds, say
    )


def _profiles_without_nodes(kubectl: Kubectl, profiles: Sequence[str]) -> list[str]:
    others = [profile for profile in profiles if profile != "core"]
    if not others:
        return []
    labels = {node["metadata"].get("labels", {}).get(PROFILE) for node in kubectl.items("/api/v1/nodes")}
    return [profile for profile in others if profile not in labels]


def _put(kubectl: Kubectl, item: Object, *, dry: bool, unborn: bool) -> str:
    """Answers what was done. `unborn`: the namespace is not there yet, so the server cannot be asked about what is in it."""
    name = f"{item['kind'].lower()}/{item['metadata']['name']}"
    path = objects.path_of(item)
    there = kubectl.find(path)
    if there is None:
        if not (unborn and "namespace" in item["metadata"]):
            kubectl.create(objects.collection_of(item), item, dry=dry)
        return f"{'would create' if dry else 'created'} {name}"
    kubectl.replace(path, replacing(item, there), dry=dry)
    return f"{'would replace' if dry else 'replaced'} {name}"


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
    if item["kind"] == "Namespace":
        result["spec"] = there.get("spec", {})
    return result


def superfluous(kubectl: Kubectl, wanted: Sequence[Object], namespace: str) -> Iterator[str]:
    """What an earlier installation made and this one has not."""
    kept = {objects.path_of(item) for item in wanted}
    for namespaced in (True, False):
        for kind, path in objects.collections(namespace, namespaced=namespaced):
            if kind == "Job":
                continue
            for item in kubectl.items(path, labelSelector=f"{SELECTOR},app.kubernetes.io/managed-by=kubectl"):
                place = f"{path}/{item['metadata']['name']}"
                if place not in kept:
                    yield place


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


def uninstall(kubectl: Kubectl, namespace: str, *, everywhere: bool, seconds: float, dry: bool, say: Say) -> bool:
    """Agents first, then what they left on nodes, then the rest and the namespace; whether nothing is left."""
    workloads = installed(kubectl, namespace)
    nodes = _nodes_to_wipe(kubectl, everywhere=everywhere)
    if dry:
        for path in _all_paths(kubectl, namespace):
            say(f"would delete {path}")
        for node in nodes:
            say(f"would run firesteel uninstall on {node}")
        return True
    images = [c["image"] for item in workloads for c in item["spec"]["template"]["spec"]["containers"]]
    for item in workloads:
        kubectl.delete(objects.path_of({**item, "metadata": {**item["metadata"], "namespace": namespace}}))
        say(f"deleted {item['kind'].lower()}/{item['metadata']['name']}")
    clean = _wait_for_pods(kubectl, namespace, seconds, say)
    if nodes:
        image = next((image for image in images if not image.endswith("-full")), images[0] if images else "firesteel")
        clean &= _wipe(kubectl, namespace, nodes, image, seconds, say)
    for path in [certificate.path(namespace), *_all_paths(kubectl, namespace)]:
        if kubectl.delete(path):
            say(f"deleted {path.rpartition('/')[0].rpartition('/')[2]}/{path.rpartition('/')[2]}")
    for labelled in kubectl.items("/api/v1/nodes", labelSelector=PROFILE):
        name = labelled["metadata"]["name"]
        say(f"the label stays on {name}: kubectl label node {name} {PROFILE}-")
    return clean and not list(_all_paths(kubectl, namespace, but_namespace=True))


def _nodes_to_wipe(kubectl: Kubectl, *, everywhere: bool) -> list[str]:
    """Only the profile kmod writes on nodes; with `everywhere`, all Linux nodes."""
    query = {} if everywhere else {"labelSelector": f"{PROFILE}=kmod"}
    return [node["metadata"]["name"] for node in kubectl.items("/api/v1/nodes", **query) if is_linux(node)]


def is_linux(node: Object) -> bool:
    return bool(node["metadata"].get("labels", {}).get("kubernetes.io/os", "linux") == "linux")


def _wipe(kubectl: Kubectl, namespace: str, nodes: Sequence[str], image: str, seconds: float, say: Say) -> bool:
    clean = True
    jobs = [NodeJob(node, wipe_job(node, namespace, image)) for node in nodes]
    for result in run_jobs(kubectl, jobs, seconds):
        for line in result.output.strip().splitlines() or [result.fault or "said nothing"]:
            say(f"{result.node}: {line}")
        clean &= result.succeeded
    return clean


def _wait_for_pods(kubectl: Kubectl, namespace: str, seconds: float, say: Say) -> bool:
    end = time.monotonic() + seconds
    while pods := kubectl.items(f"/api/v1/namespaces/{namespace}/pods", labelSelector=SELECTOR):
        if time.monotonic() > end:
            say(f"still there: {', '.join(pod['metadata']['name'] for pod in pods)}")
            return False
        time.sleep(_STEP)
    return True


def _all_paths(kubectl: Kubectl, namespace: str, *, but_namespace: bool = False) -> Iterator[str]:
    """Everything that carries our label, the namespace last and only if it is ours."""
    for namespaced in (True, False):
        for kind, path in reversed(objects.collections(namespace, namespaced=namespaced)):
            for item in kubectl.items(path, labelSelector=SELECTOR):
                # The account of every namespace is not ours, whatever its labels.
                if (kind, item["metadata"]["name"]) != ("ServiceAccount", "default"):
                    yield f"{path}/{item['metadata']['name']}"
    place = f"/api/v1/namespaces/{namespace}"
    found = None if but_namespace else kubectl.find(place)
    if found and found["metadata"].get("labels", {}).get("app.kubernetes.io/name") == "firesteel":
        yield place
