# SPDX-License-Identifier: Apache-2.0
"""uninstall: agents, what they left on nodes, every object of ours, and the namespace."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from . import belongings, helm, namespaces, objects
from .install import agents_pod, installed
from .jobs import NodeJob, run_jobs, wipe_job
from .kubectl import Kubectl, Object, Refused
from .objects import PROFILE, SELECTOR, pod_of

Say = Callable[[str], None]
_STEP: Final = 1.0
_BY_HAND: Final = "there, as root, rmmod firesteel and rm -r /var/lib/firesteel/modules; or once more kubectl firesteel uninstall, with --image-registry"
_UNLESS_TOLD: Final = "do what is said above, or "


@dataclass(frozen=True)
class Wish:
    """What the command line asked for. `seconds` is for each step that has to be waited for: pods, Jobs, the end of the namespace."""

    namespace: str
    everywhere: bool
    images: objects.Images
    dry: bool
    seconds: float


def uninstall(kubectl: Kubectl, wish: Wish, say: Say) -> bool:
    """Agents first, then what they left on nodes, then the rest and the namespace; whether nothing is left.

    Raises Refused, before anything is done, where all agents are in another namespace.
    """
    namespace, seconds = wish.namespace, wish.seconds
    workloads = installed(kubectl, namespace)
    nodes = _nodes_to_wipe(kubectl, wish, workloads, say)
    # All lists before anything is done, for not everybody may have them; and by the workloads it is seen what Helm installed.
    ours = list(belongings.in_namespace(kubectl, namespace))
    releases = belongings.instances(ours)
    secrets = list(belongings.secrets(kubectl, namespace))
    records = helm.records(kubectl, namespace, ours)
    stays = _why_it_stays(kubectl, namespace)
    found = [path for _, path, _ in (*ours, *belongings.of_cluster(kubectl, namespace, releases))]
    if wish.dry:
        paths = [
            *found,
            *secrets,
            *(path for record in records if not record.beside for path in record.paths),
            *([namespaces.path(namespace)] if stays is None else []),
        ]
        for path in paths:
            say(f"would delete {path}")
        if stays:
            namespaces.put_back(kubectl, namespace, say, dry=True)
        for node in nodes:
            say(f"would run firesteel uninstall on {node}")
        return True
    for item in workloads:
        kubectl.delete(objects.path_of({**item, "metadata": {**item["metadata"], "namespace": namespace}}))
        say(f"deleted {item['kind'].lower()}/{item['metadata']['name']}")
    clean = _wait_for_pods(kubectl, namespace, seconds, say)
    if nodes:
        image, like = _small_image(wish, workloads), {**agents_pod(workloads, "kmod"), **wish.images.part_of_pod()}
        jobs = [NodeJob(node, wipe_job(node, namespace, image, like)) for node in nodes]
        # An earlier call may have taken all of it away but what is on a node that could not be reached.
        with namespaces.for_jobs(kubectl, namespace, seconds, say) as is_made:
            clean &= _wipe(kubectl, jobs, seconds, say)
        if is_made:
            stays = None
    for path in dict.fromkeys([*secrets, *found]):
        if kubectl.delete(path):
            say(f"deleted {path.rpartition('/')[0].rpartition('/')[2]}/{path.rpartition('/')[2]}")
    helm.forget(kubectl, records, say, is_all_gone=not list(_paths(kubectl, namespace, releases)))
    if stays is None:
        clean &= namespaces.delete(kubectl, namespace, seconds, say)
    elif stays:
        # Another call needs them for its Jobs.
        if clean:
            namespaces.put_back(kubectl, namespace, say)
        say(f"namespace/{namespace} stays: {stays}")
    for labelled in kubectl.items("/api/v1/nodes", labelSelector=PROFILE):
        name = labelled["metadata"]["name"]
        say(f"the label stays on {name}: kubectl label node {name} {PROFILE}-")
    return clean and not list(_paths(kubectl, namespace, releases))


def _elsewhere(kubectl: Kubectl, namespace: str) -> list[str]:
    """Other namespaces that have agents."""
    agents = kubectl.items(objects.DAEMONSETS, labelSelector=SELECTOR)
    return sorted({str(item["metadata"]["namespace"]) for item in agents} - {namespace})


def _nodes_to_wipe(kubectl: Kubectl, wish: Wish, workloads: Sequence[Object], say: Say) -> list[str]:
    """Only the profile kmod writes on nodes; with `everywhere`, all Linux nodes. None where agents of another namespace may be on them.

    Raises Refused where all agents are there.
    """
    query = {} if wish.everywhere else {"labelSelector": f"{PROFILE}=kmod"}
    nodes = [
        node["metadata"]["name"] for node in kubectl.items("/api/v1/nodes", **query) if objects.can_be_watched(node)
    ]
    others = _elsewhere(kubectl, wish.namespace)
    if not others:
        return nodes
    places, calls = ", ".join(others), ", ".join(f"kubectl firesteel uninstall -n {other}" for other in others)
    if not workloads:
        raise Refused(f"no agents are in namespace {wish.namespace}, but in namespace {places}: {calls}")
    if nodes:
        # The module and what it was built from are theirs as well.
        say(f"no node is cleaned, as agents are in namespace {places}: {calls}")
    return []


def _why_it_stays(kubectl: Kubectl, namespace: str) -> str | None:
    """None where the namespace goes with us; empty where there is none. With it would go all that is in it."""
    there = kubectl.find(namespaces.path(namespace))
    if there is None:
        return ""
    if not namespaces.is_ours(there):
        return "it was not made for Firesteel"
    if not namespaces.is_marked(there):
        return f"it has no mark that kubectl firesteel made it; kubectl delete namespace {namespace} takes it, with all that is in it"
    pods = kubectl.items(f"/api/v1/namespaces/{namespace}/pods", labelSelector=objects.OTHERS)
    return f"it has pods of others ({', '.join(pod['metadata']['name'] for pod in pods[:3])})" if pods else None


def _small_image(wish: Wish, workloads: Sequence[Object]) -> str:
    """The installed one; what would be installed, where nothing is any more, or where the command line says from where."""
    if wish.images.registry or wish.images.tag or not workloads:
        would = objects.fitted(["core"], namespace=wish.namespace, minor=0, images=wish.images)
        workloads = [item for item in would if item["kind"] == "DaemonSet"]
    images = [container["image"] for item in workloads for container in pod_of(item)["containers"]]
    return str(next((image for image in images if not image.endswith("-full")), images[0]))


def _wipe(kubectl: Kubectl, jobs: Sequence[NodeJob], seconds: float, say: Say) -> bool:
    clean = True
    # Closed here: an interrupt while a line is printed is none of the Jobs' own.
    with closing(run_jobs(kubectl, jobs, seconds)) as results:
        for result in results:
            for line in result.output.strip().splitlines() or [result.fault or "said nothing"]:
                say(f"{result.node}: {line}")
            if not result.succeeded:
                say(f"{result.node} is not clean: {_UNLESS_TOLD if result.output.strip() else ''}{_BY_HAND}")
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


def _paths(kubectl: Kubectl, namespace: str, releases: set[str]) -> Iterator[str]:
    """Everything of this installation but the namespace itself."""
    for _, path, _ in belongings.in_namespace(kubectl, namespace):
        yield path
    for _, path, _ in belongings.of_cluster(kubectl, namespace, releases):
        yield path
