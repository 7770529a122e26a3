# SPDX-License-Identifier: Apache-2.0
"""`kubectl firesteel` as a user runs it, and what runs in the containers of a cluster that a test made."""

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.agents import FIRESTEEL, ROOT, Agent
from tests.deploy.served import Ended, Object
from tests.servers import program

PLUGIN = ROOT / "deploy" / "kubectl" / "kubectl-firesteel"
_SECONDS = 160


def environment_of(folder: Path) -> dict[str, str]:
    return {**os.environ, "KUBECONFIG": str(folder / "kubeconfig"), "KUBECTL": program("kubectl"), "HOME": str(folder),
            "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "true"}  # fmt: skip


def run_plugin(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """With the `kubeconfig` in `folder`, which is its home as well."""
    return subprocess.run(
        [str(PLUGIN), *arguments],
        env=environment_of(folder),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )


def _nothing_written(_pod: Object) -> str:
    return ""


def _mounted(pod: Object, node: Path) -> Path:
    """The root of a container, with what it mounts of a node's."""
    root = node.parent / f"root-of-{pod['metadata']['name']}"
    (container,) = pod["spec"]["containers"]
    places = {volume["name"]: volume["hostPath"] for volume in pod["spec"]["volumes"]}
    for mount in container["volumeMounts"]:
        place = places[mount["name"]]
        source, target = Path(f"{node}{place['path']}"), Path(f"{root}{mount['mountPath']}")
        assert place["type"] != "Directory" or source.is_dir(), f"the kubelet refuses it: no {source}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.symlink_to(source)
    return root


def work_on(
    state: Path, agents: Sequence[Agent], configuration: Callable[[Object], str] = _nothing_written
) -> Callable[[Object, Sequence[str]], Ended]:
    """What a container does: the real program, where the agent (the first of `agents`) listens on the node's own loopback.

    `state` is a node's /, of which uninstall sees what its container mounts; `configuration` the text of the file that is mounted into a pod,
    which `check-config` reads with the variables of that pod's container.
    """

    def work(pod: Object, command: Sequence[str]) -> Ended:
        environment = {**os.environ, "FIRESTEEL_LISTEN__METRICS": "off", "FIRESTEEL_LISTEN__API": "off"}
        words = list(command[1:] if command[0] == "firesteel" else command)
        if words[0] == "uninstall":
            root = _mounted(pod, state)
            words = [f"{root}{word}" if word.startswith("/") else word for word in words]
        elif words[0] in {"status", "top", "explain"}:
            words += ["--url", f"http://127.0.0.1:{agents[0].api_port}"]
        elif words[0] == "check-config":
            (container,) = pod["spec"]["containers"]
            file = state / f"{pod['metadata']['name']}.yaml"
            file.write_text(configuration(pod))
            told = {item["name"]: item["value"] for item in container["env"] if "value" in item}
            environment = {**os.environ, **told, "FIRESTEEL_CONFIG": str(file)}
        ended = subprocess.run(
            [*FIRESTEEL, *words], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
        )
        return ended.returncode, ended.stdout, ended.stderr

    return work
