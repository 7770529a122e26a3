# SPDX-License-Identifier: Apache-2.0
"""bundle: what somebody who helps wants to see, in one archive, without secrets.

No Secret is read, no payload, no metrics page. What is read goes through `blanking`, because a log, a configuration or a variable may hold a
token all the same.
"""

import io
import json
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from . import objects
from .agents import CONTAINER, agents, ask
from .blanking import blanked, cleaned
from .kubectl import Kubectl, Object, Refused

_LOG_LINES: Final = "5000"
_MOST_NAMED: Final = 8
_NAMES: Final = "names"
"""The names service: of its label and of its container."""


class _Part(NamedTuple):
    """One file of the archive. `unread` is why there is nothing else in it, empty where there is."""

    name: str
    text: str
    unread: str = ""


def bundle(kubectl: Kubectl, namespace: str, file: Path, say: Callable[[str], None]) -> None:
    """Writes the archive, for its owner only. What cannot be read is in it as a sentence, and named in the last line. Raises Refused, and leaves no
    file, where nothing can be read at all."""
    folder = f"firesteel-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    file.touch(mode=0o600, exist_ok=False)
    try:
        parts = _write(file, folder, _parts(kubectl, namespace))
        unread = [part for part in parts if part.unread]
        if len(unread) == len(parts):
            raise Refused(unread[0].unread)
    except Refused:
        file.unlink()
        raise
    size = file.stat().st_size >> 10
    say(f"{file}: {len(parts) + 1} files, {size} KiB. Names of pods and workloads are in it; look before you send it.")
    if unread:
        named = ", ".join(part.name for part in unread[:_MOST_NAMED])
        more = f" and {len(unread) - _MOST_NAMED} more" if len(unread) > _MOST_NAMED else ""
        say(f"not read, and the reason is in their place: {named}{more}")


def _write(file: Path, folder: str, parts: Iterable[_Part]) -> list[_Part]:
    """Answers the parts without their texts, of which only one at a time is in memory."""
    written = []
    with tarfile.open(file, "w:gz") as archive:
        _add(archive, f"{folder}/plugin.json", json.dumps({"firesteel": objects.version()}))
        for part in parts:
            _add(archive, f"{folder}/{part.name}", part.text)
            written.append(part._replace(text=""))
    return written


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
    archive.addfile(entry, io.BytesIO(content))


def _parts(kubectl: Kubectl, namespace: str) -> Iterator[_Part]:
    """One after the other. Raises Refused where no API server answers: every further question would wait for it."""
    place = f"/api/v1/namespaces/{namespace}"
    yield _read("version.json", lambda: kubectl.get("/version"), must_answer=True)
    yield _read("nodes.json", lambda: [_node(node) for node in kubectl.items("/api/v1/nodes")])
    for kind, path in objects.collections(namespace, namespaced=True):
        yield _read(f"objects/{kind}.json", partial(kubectl.items, path, labelSelector=objects.SELECTOR))
    yield _read("pods.json", lambda: kubectl.items(f"{place}/pods", labelSelector=objects.SELECTOR))
    yield _read("events.json", lambda: kubectl.items(f"{place}/events"))
    try:
        whom = agents(kubectl, namespace)
        selector = f"{objects.SELECTOR},app.kubernetes.io/component={_NAMES}"
        names = [str(pod["metadata"]["name"]) for pod in kubectl.items(f"{place}/pods", labelSelector=selector)]
    except Refused as refused:
        yield _unread("agents.txt", refused)
        return
    for command, name in (("status", "status.json"), ("check-config", "configuration.json")):
        for answer in ask(kubectl, namespace, whom, command):
            yield _Part(f"agents/{answer.agent.node}/{name}", _json(answer.told or answer.fault), answer.fault)
    for agent in whom:
        yield from _logs(kubectl, f"{place}/pods/{agent.pod}/log", CONTAINER, f"agents/{agent.node}")
    for pod in names:
        yield from _logs(kubectl, f"{place}/pods/{pod}/log", _NAMES, f"names/{pod}")


def _logs(kubectl: Kubectl, path: str, container: str, folder: str) -> Iterator[_Part]:
    """Of the container, and where it was restarted that of the one before."""
    for name, previous in ((f"{folder}/log.txt", "false"), (f"{folder}/log-before-restart.txt", "true")):
        try:
            log = kubectl.text(path, container=container, tailLines=_LOG_LINES, previous=previous)
        except Refused as refused:
            if previous == "false":
                yield _unread(name, refused)
            continue
        if log or previous == "false":
            yield _Part(name, blanked(log))


def _read(name: str, read: Callable[[], object], *, must_answer: bool = False) -> _Part:
    try:
        return _Part(name, _json(read()))
    except Refused as refused:
        if must_answer and not refused.status:
            raise
        return _unread(name, refused)


def _unread(name: str, refused: Refused) -> _Part:
    return _Part(name, blanked(str(refused)), str(refused))


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
