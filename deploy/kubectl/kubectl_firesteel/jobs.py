# SPDX-License-Identifier: Apache-2.0
"""One Job on each of some nodes: made, waited for, read, and taken away again."""

import hashlib
import re
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Final

from . import objects
from .kubectl import Kubectl, Object, Refused
from .refusals import why_no_pod
from .temporary import taken_away

_STEP: Final = 1.0
_PATIENCE: Final = 10.0
"""Until a refusal is believed: the Job's controller asks again after one, two and four seconds, and then ever more rarely."""
_LABELS: Final = {"app.kubernetes.io/name": "firesteel", "app.kubernetes.io/managed-by": "kubectl"}


@dataclass(frozen=True)
class NodeJob:
    node: str
    job: Object


@dataclass(frozen=True)
class Result:
    """What a Job's container printed. `fault` says why there is nothing."""

    node: str
    succeeded: bool
    output: str
    fault: str


def check_job(node: str, profile: str, namespace: str, *, minor: int, images: objects.Images, like: Object) -> Object:
    """The agent's own pod of that profile, asked what works instead of watching; it writes nothing. `like` as for wipe_job."""
    fitted = objects.fitted([profile], namespace=namespace, minor=minor, images=images)
    daemonset = next(item for item in fitted if item["kind"] == "DaemonSet")
    pod = objects.pod_of(daemonset)
    (container,) = pod["containers"]
    container["args"] = ["doctor", "--json"]
    # An agent that runs already has the ports; so the check asks for none.
    for name in ("ports", "livenessProbe", "readinessProbe"):
        container.pop(name)
    ours = ("NODE_NAME", "POD_UID", "FIRESTEEL_CONFIG")
    container["env"] = [variable for variable in container["env"] if variable["name"] not in ours]
    container["env"] += [{"name": f"FIRESTEEL_LISTEN__{name}", "value": "off"} for name in ("METRICS", "API")]
    container["volumeMounts"] = [mount for mount in container["volumeMounts"] if mount["name"] != "config"]
    pod["volumes"] = [volume for volume in pod["volumes"] if volume["name"] != "config"]
    # Before install no quota allows that class where clusters ask for one (GKE), and nobody's pod is to give way to a question.
    pod.pop("priorityClassName")
    pod.pop("serviceAccountName")
    given, wished = _as_the_agents(like), images.part_of_pod()
    pod |= {**given, **wished, "securityContext": {**pod["securityContext"], **given.get("securityContext", {})}}
    pod["automountServiceAccountToken"] = False
    annotations = daemonset["spec"]["template"]["metadata"].get("annotations", {})
    armor = {name: value for name, value in annotations.items() if name.startswith("container.apparmor")}
    return _job("check", node, namespace, pod, armor)


def _as_the_agents(like: Object) -> Object:
    """Of an agent's pod: with its account and Secrets the image was pulled and OpenShift let it in, and SELinux knows what it may do by its type."""
    known_as = (like.get("securityContext") or {}).get("seLinuxOptions")
    return {
        **{name: like[name] for name in ("serviceAccountName", "imagePullSecrets") if like.get(name)},
        **({"securityContext": {"seLinuxOptions": known_as}} if known_as else {}),
    }


def wipe_job(node: str, namespace: str, image: str, like: Object | None = None) -> Object:
    """`firesteel uninstall` on a node: it may unload the module, and sees /var/lib and, read-only, /usr. `like` is the pod of an agent there,
    if there is one.

    It has no class of priority, as check_job has none: it can wait, and the quota that allowed the agents' may be gone."""
    pod = {
        **_as_the_agents(like or {}),
        "automountServiceAccountToken": False,
        "tolerations": [{"operator": "Exists"}],
        "containers": [
            {
                "name": "agent",
                "image": image,
                "args": ["uninstall", "--node-root", "/node"],
                "securityContext": {
                    "privileged": False, "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                    "runAsUser": 0, "capabilities": {"drop": ["ALL"], "add": ["SYS_MODULE"]},
                    "seccompProfile": {"type": "Unconfined"},
                },
                "volumeMounts": [
                    {"name": "state", "mountPath": "/node/var/lib"},
                    {"name": "usr", "mountPath": "/node/usr", "readOnly": True},
                ],
            }
        ],
        "volumes": [
            {"name": "state", "hostPath": {"path": "/var/lib", "type": "Directory"}},
            # What dkms builds from is in /usr/src, which not every node has: runtimes would make it, and cannot where /usr is read-only.
            {"name": "usr", "hostPath": {"path": "/usr", "type": "Directory"}},
        ],
    }  # fmt: skip
    return _job("uninstall", node, namespace, pod, {})


def _job(what: str, node: str, namespace: str, pod: Object, annotations: Object) -> Object:
    """On that node whatever its taints, at most once, gone an hour after its end at the latest."""
    name = f"firesteel-{what}-{hashlib.sha256(node.encode()).hexdigest()[:12]}"
    labels = {**_LABELS, "app.kubernetes.io/component": what}
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    pod = {
        **pod,
        "restartPolicy": "Never",
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": {"firesteel/node": node}},
        "spec": {
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": 3600,
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod},
        },
    }


def run_jobs(kubectl: Kubectl, jobs: Sequence[NodeJob], seconds: float) -> Generator[Result]:
    """All at once; results in the order of the nodes. They are deleted whatever happens, once this is closed."""
    # First of all, so that who may delete none makes none.
    for path in [path for path in (objects.path_of(job.job) for job in jobs) if kubectl.delete(path)]:
        _wait_until_gone(kubectl, path, seconds)
    with taken_away(kubectl) as made:
        for job in jobs:
            made.append(objects.path_of(job.job))
            kubectl.create(objects.collection_of(job.job), job.job)
        began = time.monotonic()
        for job in jobs:
            yield _result(kubectl, job, began, seconds)


def _wait_until_gone(kubectl: Kubectl, path: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while kubectl.find(path) is not None:
        if time.monotonic() > end:
            raise Refused(f"{path} of an earlier call does not go")
        time.sleep(_STEP)


def _result(kubectl: Kubectl, job: NodeJob, began: float, seconds: float) -> Result:
    path, namespace = objects.path_of(job.job), job.job["metadata"]["namespace"]
    while True:
        there = kubectl.get(path)
        status = there.get("status", {})
        done, failed = status.get("succeeded", 0), status.get("failed", 0)
        is_waiting = not (done or failed or status.get("active"))
        refused = why_no_pod(kubectl, namespace, there) if is_waiting else ""
        waited = time.monotonic() - began
        if done or failed or (refused and waited > _PATIENCE) or waited > seconds:
            break
        time.sleep(_STEP)
    pods = kubectl.items(
        f"/api/v1/namespaces/{namespace}/pods", labelSelector=f"job-name={job.job['metadata']['name']}"
    )
    if not pods:
        return Result(job.node, False, "", refused or "no pod was made, and no event says why")
    if not (done or failed):
        return Result(job.node, False, "", _why_waiting(pods[0]))
    try:
        log = kubectl.text(f"/api/v1/namespaces/{namespace}/pods/{pods[0]['metadata']['name']}/log")
    except Refused as refused:
        return Result(job.node, False, "", str(refused))
    return Result(job.node, bool(done), log, "" if log.strip() else _why_waiting(pods[0]))


def _why_waiting(pod: Object) -> str:
    status = pod.get("status", {})
    for container in status.get("containerStatuses", ()):
        for kind in ("waiting", "terminated"):
            if told := container.get("state", {}).get(kind):
                return re.sub(r"\s+", " ", ": ".join(filter(None, (told.get("reason"), told.get("message")))))
    for condition in status.get("conditions", ()):
        if condition.get("status") == "False" and condition.get("message"):
            return str(condition["message"])
    return f"the pod is {status.get('phase', 'not there')}"
