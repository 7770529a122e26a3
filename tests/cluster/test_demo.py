# SPDX-License-Identifier: Apache-2.0
"""Ten services through every way in which a pod is reached: no name is missing, no request, and none is counted twice."""

import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from collector.metadata import names_stream
from tests.agents import FIRESTEEL, Agent, running_agent
from tests.cluster.api import Api, FakeApi, fake_api
from tests.cluster.demo import Demo, Edge
from tests.cluster.real_api import real_api
from tests.cluster.shop import Shop, shop
from tests.servers import free_port

EDGES = "kindling_topology_request_total"


@contextmanager
def names_service(cluster: Shop) -> Iterator[str]:
    """`firesteel names` beside the API; answers what an agent must set."""
    port, pages = free_port(), free_port()
    settings = (
        f"kubernetes.kubeconfig={cluster.api.kubeconfig}",
        f"listen.names=127.0.0.1:{port}",
        f"listen.metrics=127.0.0.1:{pages}",
    )
    command = [*FIRESTEEL, "names", *(part for setting in settings for part in ("--set", setting))]
    if isinstance(cluster.api, FakeApi):
        cluster.api.kube.accounts["secret"] = {names_stream.PATH}
    with (cluster.folder / "names.log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            yield f"kubernetes.names=127.0.0.1:{port}"
        finally:
            process.terminate()


@contextmanager
def watched(cluster: Shop, name: str, names: str = "kubernetes.names=off") -> Iterator[Agent]:
    folder = cluster.folder / f"agent-{name}"
    folder.mkdir()
    settings = ("kubernetes.enabled=true", f"kubernetes.kubeconfig={cluster.api.kubeconfig}", names)
    with running_agent(folder, settings) as agent:
        up = 7 if names.endswith("=off") else 2
        agent.wait(lambda a: a.total("firesteel_kubernetes_watch_up") + a.total("firesteel_names_up") == up, 30)
        yield agent


def edges_of(agent: Agent, cluster: Shop) -> Counter[Edge]:
    """Those of the cluster: others may use this machine as well."""
    found: Counter[Edge] = Counter()
    for series in agent.find(EDGES):
        told = series.labels
        if told["src_ip"] not in cluster.addresses and told["dst_ip"] not in cluster.addresses:
            continue
        on_host = told["src_namespace"] == "NOT_FOUND_INTERNAL"
        names = {name: told.get(name, "") for name in Edge.__dataclass_fields__}
        names["src_workload"] = "" if on_host else f"{told['src_workload_kind']}/{told['src_workload_name']}"
        outside = told["dst_namespace"].startswith("NOT_FOUND")
        names["dst_workload"] = "" if outside else f"{told['dst_workload_kind']}/{told['dst_workload_name']}"
        found[Edge(**names)] += int(series.value)
    return +found


REAL = os.environ.get("FIRESTEEL_REAL_API") == "1"


def api_in(folder: Path) -> AbstractContextManager[Api]:
    """The real one where FIRESTEEL_REAL_API=1 asks for it."""
    return real_api(folder) if REAL else fake_api(folder)


@pytest.mark.timeout(300)
def test_every_edge_is_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To an agent that asks the API server, and to one that follows the names service."""
    with ExitStack() as stack:
        cluster = stack.enter_context(shop(tmp_path, api_in(tmp_path)))
        monkeypatch.setenv("NODE_NAME", cluster.name)
        demo = Demo(cluster)
        agents = {
            "api": stack.enter_context(watched(cluster, "api")),
            "names": stack.enter_context(watched(cluster, "names", stack.enter_context(names_service(cluster)))),
        }
        demo.run()
        for agent in agents.values():
            agent.wait(lambda a: edges_of(a, cluster) == demo.truth, 30)
        time.sleep(1.5)  # a turn of the agents: what is counted twice shows
        for how, agent in agents.items():
            agent.page()
            assert (how, edges_of(agent, cluster)) == (how, demo.truth)
            no_label_is_empty(agent, cluster)


def no_label_is_empty(agent: Agent, cluster: Shop) -> None:
    """Of a pod, all that Kubernetes has. A container is known on the pod's own node only."""
    wanted = ("node", "namespace", "workload_kind", "workload_name", "pod", "ip")
    for series in agent.find(EDGES):
        for end in ("src", "dst"):
            told = series.labels
            if told[f"{end}_pod"] and told[f"{end}_ip"] in cluster.addresses:
                here = told[f"{end}_node"] == cluster.name
                names = (*wanted, "container", "container_id") if here else wanted
                assert [name for name in names if not told[f"{end}_{name}"]] == [], told
