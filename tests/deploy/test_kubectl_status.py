# SPDX-License-Identifier: Apache-2.0
"""`kubectl firesteel status`: a line for each node, and how old the names are by which it calls what it sees."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from deploy.kubectl.kubectl_firesteel.views import names_of
from tests.agents import Agent, running_agent
from tests.deploy.plugged import Plugin, a_plugin, an_agent  # noqa: F401 - fixtures
from tests.deploy.plugin import work_on
from tests.fake_kube import fake_kube, kubeconfig
from tests.receivers import until
from tests.servers import free_port

pytestmark = pytest.mark.timeout(240)
_LONG = 60.0


def test_status_is_one_line_for_each_node(plugin: Plugin, agent: Agent) -> None:
    assert "kubectl firesteel install" in plugin("status").stdout
    plugin("install")
    told = plugin("status")
    lines = told.stdout.splitlines()
    assert lines[0].split() == ["NODE", "PROFILE", "DRIVER", "VERSION", "LOST", "NAMES", "UP", "PROBLEMS"], told.stderr
    # Nobody is asked for names by an agent outside of a cluster.
    assert [line.split()[:6] for line in lines[1:3]] == [
        [node, "core", "none", "0.1.0", "0", "-"] for node in ("a", "b")
    ]
    answers = json.loads(plugin("status", "--json").stdout)
    assert [(answer["node"], answer["status"]["driver"]["name"]) for answer in answers] == [
        ("a", "none"),
        ("b", "none"),
    ]


def shown(plugin: Plugin, asked: Agent) -> str:
    """The column NAMES."""
    plugin.cluster.work = work_on(plugin.state, [asked])
    head, line = plugin("status", "--node", "a").stdout.splitlines()[:2]
    return line[head.index("NAMES") : head.index("UP")].strip()


def in_cluster(folder: Path, port: int) -> Sequence[str]:
    """Settings of an agent whose API server that is; its kubeconfig is not the plugin's."""
    folder = folder / "agent"
    folder.mkdir()
    return ("driver=none", "kubernetes.enabled=true", f"kubernetes.kubeconfig={kubeconfig(folder, port)}")


def test_names_are_as_old_as_what_the_api_server_told(plugin: Plugin, tmp_path: Path) -> None:
    plugin("install")
    with fake_kube(token="secret") as kube:
        port = kube.port
        with running_agent(tmp_path, in_cluster(tmp_path, port)) as asked:
            until(lambda: asked.status()["kubernetes"]["complete"], _LONG)
            assert shown(plugin, asked) == "current"
            with kube.away():
                until(lambda: asked.status()["kubernetes"]["fault"], _LONG)
                until(lambda: asked.status()["kubernetes"]["age_seconds"] >= 1, _LONG)  # less is told as 0 s
                told = shown(plugin, asked)
                old = re.fullmatch(r"(\d+)s old", told)
                assert old is not None, told
                assert 0 < int(old[1]) <= round(asked.status()["kubernetes"]["age_seconds"])
            until(lambda: not asked.status()["kubernetes"]["fault"], _LONG)
            assert shown(plugin, asked) == "current"


def test_names_of_an_api_server_that_never_answered(plugin: Plugin, tmp_path: Path) -> None:
    plugin("install")
    with running_agent(tmp_path, in_cluster(tmp_path, free_port())) as asked:
        assert shown(plugin, asked) == "never heard"


@pytest.mark.parametrize(
    ("told", "names"),
    [
        ({}, "?"),
        ({"kubernetes": None}, "-"),
        ({"kubernetes": {"age_seconds": None, "fault": ""}}, "never heard"),
        ({"kubernetes": {"age_seconds": 59.0, "fault": ""}}, "current"),
        ({"kubernetes": {"age_seconds": 180.0, "fault": ""}}, "3m old"),
        ({"kubernetes": {"age_seconds": 7.0, "fault": "the names service cannot be followed"}}, "7s old"),
    ],
)
def test_the_column_by_what_an_agent_says(told: dict[str, object], names: str) -> None:
    assert names_of(told) == names
