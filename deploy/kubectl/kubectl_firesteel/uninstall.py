# SPDX-License-Identifier: Apache-2.0
"""uninstall: agents, what they left on nodes, every object of ours, and the namespace."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from . import belongings, namespaces, objects
from .install import installed, is_linux
from .jobs import NodeJob, run_jobs, wipe_job
from .kubectl import Kubectl
from .objects import PROFILE, SELECTOR

Say = Callable[[str], None]
_STEP: Final = 1.0


def uninstall(kubectl: Kubectl, namespace: str, *, everywhere: bool, seconds: float, dry: bool, say: Say) -> bool:
    """Agents first, then what they left on nodes, then the rest and the namespace; whether nothing is left.

    `seconds` is for each step that has to be waited for: pods, Jobs, the end of the namespace.
    """
    workloads = installed(kubectl, namespace)
    nodes = _nodes_to_wipe(kubectl, everywhere=everywhere)
    releases = belongings.instances(kubectl, namespace)
    # Now, for by the workloads it is seen what Helm installed.
    secrets = list(belongings.secrets(kubectl, namespace))
    stays = _why_it_stays(kubectl, namespace)
    if dry:
        paths = [*_paths(kubectl, namespace, releases), *secrets, *([namespaces.path(namespace)] if stays is None else [])]
        for path in paths:
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
    for path in dict.fromkeys([*secrets, *_paths(kubectl, namespace, releases)]):
        if kubectl.delete(path):
            say(f"deleted {path.rpartition('/')[0].rpartition('/')[2]}/{path.rpartition('/')[2]}")
    if stays is None:
        clean &= namespaces.delete(kubectl, namespace, seconds, say)
    elif stays:
        say(f"namespace/{namespace} stays, as it is labelled: {stays}")
    for labelled in kubectl.items("/api/v1/nodes", labelSelector=PROFILE):
        name = labelled["metadata"]["name"]
        say(f"the label stays on {name}: kubectl label node {name} {PROFILE}-")
    return clean and not list(_paths(kubectl, namespace, releases))


def _nodes_to_wipe(kubectl: Kubectl, *, everywhere: bool) -> list[str]:
    """Only the profile kmod writes on nodes; with `everywhere`, all Linux nodes."""
    query = {} if everywhere else {"labelSelector": f"{PROFILE}=kmod"}
    return [node["metadata"]["name"] for node in kubectl.items("/api/v1/nodes", **query) if is_linux(node)]


def _why_it_stays(kubectl: Kubectl, namespace: str) -> str | None:
    """None where the namespace goes with us; empty where there is none. With it would go all that is in it."""
    there = kubectl.find(namespaces.path(namespace))
    if there is None:
        return ""
    if not namespaces.is_ours(there):
        return "it was not made for Firesteel"
    pods = kubectl.items(f"/api/v1/namespaces/{namespace}/pods", labelSelector=objects.OTHERS)
    return f"it has pods of others ({', '.join(pod['metadata']['name'] for pod in pods[:3])})" if pods else None


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


def _paths(kubectl: Kubectl, namespace: str, releases: set[str]) -> Iterator[str]:
    """Everything of this installation but the namespace itself."""
    for _, path, _ in belongings.in_namespace(kubectl, namespace):
        yield path
    for _, path, _ in belongings.of_cluster(kubectl, namespace, releases):
        yield path
