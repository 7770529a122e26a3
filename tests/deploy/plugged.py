# SPDX-License-Identifier: Apache-2.0
"""`kubectl firesteel` before a cluster of our own: two Linux nodes, one that is not, and an agent where a test asks for one.

Files of tests import the fixtures `plugin` and `agent` by the names of their functions.
"""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.agents import Agent, running_agent
from tests.deploy.fake_cluster import FakeCluster, fake_cluster
from tests.deploy.plugin import run_plugin, work_on
from tests.deploy.served import Object
from tests.servers import program


@dataclass
class Plugin:
    """Runs the plugin against a cluster."""

    cluster: FakeCluster
    folder: Path
    state: Path
    """A node's / to uninstall, which sees what its container mounts of it."""

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_plugin(self.folder, *arguments)


@pytest.fixture(name="agent", scope="module")
def an_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    with running_agent(tmp_path_factory.mktemp("agent"), ["driver=none"]) as running:
        yield running


@pytest.fixture(name="plugin")
def a_plugin(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Plugin]:
    program("kubectl")
    minor = getattr(request, "param", 37)
    state = tmp_path / "node"
    (state / "var/lib/firesteel/modules/5.4.0/1").mkdir(parents=True)
    (state / "usr").mkdir()
    running: list[Agent] = []
    if "agent" in request.fixturenames:
        running.append(request.getfixturevalue("agent"))
    made: list[FakeCluster] = []

    def configuration(pod: Object) -> str:
        data = made[0].store["configmaps", pod["metadata"]["namespace"], "firesteel"]["data"]
        return str(data["firesteel.yaml"])

    with fake_cluster(minor, tmp_path, work_on(state, running, configuration)) as cluster:
        made.append(cluster)
        cluster.node("a")
        cluster.node("b")
        cluster.node("win", os="windows")
        yield Plugin(cluster, tmp_path, state)


def names(cluster: FakeCluster, plural: str) -> list[str]:
    return [item["metadata"]["name"] for item in cluster.of(plural)]
