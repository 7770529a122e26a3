# SPDX-License-Identifier: Apache-2.0
"""Agents and the names service in a test's cluster, and which API server it has."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from collector.metadata import names_stream
from tests.agents import FIRESTEEL, Agent, running_agent
from tests.cluster.api import Api, FakeApi, fake_api
from tests.cluster.real_api import real_api
from tests.cluster.shop import Shop
from tests.servers import free_port

EDGES = "kindling_topology_request_total"
REAL = os.environ.get("FIRESTEEL_REAL_API") == "1"


def api_in(folder: Path) -> AbstractContextManager[Api]:
    """The real one where FIRESTEEL_REAL_API=1 asks for it."""
    return real_api(folder) if REAL else fake_api(folder)


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
def watched(cluster: Shop, name: str, names: str = "kubernetes.names=off", *more: str) -> Iterator[Agent]:
    folder = cluster.folder / f"agent-{name}"
    folder.mkdir()
    settings = ("kubernetes.enabled=true", f"kubernetes.kubeconfig={cluster.api.kubeconfig}", names, *more)
    with running_agent(folder, settings) as agent:
        up = 7 if names.endswith("=off") else 2
        agent.wait(lambda a: a.total("firesteel_kubernetes_watch_up") + a.total("firesteel_names_up") == up, 30)
        yield agent
