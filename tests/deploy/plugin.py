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


def run_plugin(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """With the `kubeconfig` in `folder`, which is its home as well."""
    environment = {**os.environ, "KUBECONFIG": str(folder / "kubeconfig"), "KUBECTL": program("kubectl"),
                   "HOME": str(folder), "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "true"}  # fmt: skip
    return subprocess.run(
        [str(PLUGIN), *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )


def work_on(state: Path, agents: Sequence[Agent]) -> Callable[[Object, Sequence[str]], Ended]:
    """What a container does: the real program, where the agent (the first of `agents`) listens on the node's own loopback.

    `state` is what a node's / is to uninstall.
    """

    def work(pod: Object, command: Sequence[str]) -> Ended:
        words = list(command[1:] if command[0] == "firesteel" else command)
        if words[0] == "uninstall":
            words = ["uninstall", "--node-root", str(state)]
        elif words[0] in {"status", "top", "explain"}:
            words += ["--url", f"http://127.0.0.1:{agents[0].api_port}"]
        environment = {**os.environ, "FIRESTEEL_LISTEN__METRICS": "off", "FIRESTEEL_LISTEN__API": "off"}
        ended = subprocess.run(
            [*FIRESTEEL, *words], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
        )
        return ended.returncode, ended.stdout, ended.stderr

    return work
