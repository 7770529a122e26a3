# SPDX-License-Identifier: Apache-2.0
"""bundle: what somebody who helps wants to see, in one archive, without secrets.

No Secret is read, no payload, no metrics page. What is read goes through `blanking`, because a log, a configuration or a variable may hold a
token all the same.
"""

import io
import json
import tarfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from . import objects
from .agents import CONTAINER, agents, ask
from .blanking import blanked, cleaned
from .kubectl import Kubectl, Object, Refused

_LOG_LINES: Final = "5000"
_NAMES: Final = "names"
"""The names service: of its label and of its container."""


def bundle(kubectl: Kubectl, namespace: str, file: Path, say: Callable[[str], None]) -> None:
    """Writes the archive, for its owner only. What cannot be read is in it as a sentence."""
    folder = f"firesteel-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    file.touch(mode=0o600, exist_ok=False)
    count = 0
    with tarfile.open(file, "w:gz") as archive:
        for name, text in _parts(kubectl, namespace):
            content = text.encode()
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
            archive.addfile(entry, io.BytesIO(content))
            count += 1
    say(
        f"{file}: {count} files, {file.stat().st_size >> 10} KiB. Names of pods and workloads are in it; look before you send it."
    )


def _parts(kubectl: Kubectl, namespace: str) -> Iterator[tuple[str, str]]:
    """(name, text), one after the other."""
    place = f"/api/v1/namespaces/{namespace}"
    yield "plugin.json", json.dumps({"firesteel": objects.version()})
    yield "version.json", _read(lambda: kubectl.get("/version"))
    yield "nodes.json", _read(lambda: [_node(node) for node in kubectl.items("/api/v1/nodes")])
    for kind, path in objects.collections(namespace, namespaced=True):
        yield f"objects/{kind}.json", _read(partial(kubectl.items, path, labelSelector=objects.SELECTOR))
    yield "pods.json", _read(lambda: kubectl.items(f"{place}/pods", labelSelector=objects.SELECTOR))
    yield "events.json", _read(lambda: kubectl.items(f"{place}/events"))
    try:
        whom = agents(kubectl, namespace)
        selector = f"{objects.SELECTOR},app.kubernetes.io/component={_NAMES}"
        names = [str(pod["metadata"]["name"]) for pod in kubectl.items(f"{place}/pods", labelSelector=selector)]
    except Refused as refused:
        yield "agents.txt", str(refused)
        return
    for answer in ask(kubectl, namespace, whom, "status"):
        yield f"agents/{answer.agent.node}/status.json", _json(answer.told or answer.fault)
    for answer in ask(kubectl, namespace, whom, "check-config"):
        yield f"agents/{answer.agent.node}/configuration.json", _json(answer.told or answer.fault)
    for agent in whom:
        yield from _logs(kubectl, f"{place}/pods/{agent.pod}/log", CONTAINER, f"agents/{agent.node}")
    for pod in names:
        yield from _logs(kubectl, f"{place}/pods/{pod}/log", _NAMES, f"names/{pod}")


def _logs(kubectl: Kubectl, path: str, container: str, folder: str) -> Iterator[tuple[str, str]]:
    for name, previous in (("log.txt", "false"), ("log-before-restart.txt", "true")):
        log = _log(kubectl, path, container, previous)
        if log or previous == "false":
            yield f"{folder}/{name}", log


def _log(kubectl: Kubectl, path: str, container: str, previous: str) -> str:
    try:
        return blanked(kubectl.text(path, container=container, tailLines=_LOG_LINES, previous=previous))
    except Refused as refused:
        return "" if previous == "true" else blanked(str(refused))


def _read(read: Callable[[], object]) -> str:
    try:
        return _json(read())
    except Refused as refused:
        return blanked(str(refused))


def _json(value: object) -> str:
    return json.dumps(cleaned(value), indent=1)


def _node(node: Object) -> Object:
    """What matters of a node: not its images, not its annotations."""
    status = node.get("status", {})
    return {
        "name": node["metadata"]["name"],
        "labels": node["metadata"].get("labels", {}),
        "taints": node["spec"].get("taints", []),
        "nodeInfo": status.get("nodeInfo", {}),
        "allocatable": status.get("allocatable", {}),
        "conditions": status.get("conditions", []),
    }
