# SPDX-License-Identifier: Apache-2.0
"""Names of a cluster on real sockets: processes in cgroups as the kubelet and the runtimes name them, an API beside them."""

import itertools
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests import clients, servers
from tests.agents import Agent, running_agent
from tests.fake_kube import fake_kube, kubeconfig
from tests.pods import container, described

REQUESTS = "kindling_entity_request_total"
EDGES = "kindling_topology_request_total"
_NUMBERS = itertools.count(1)
_RUNTIME_SECONDS = 0.1  # what a runtime takes to clean up behind a container, at the least
_STATIC = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    "shape",
    [
        "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{dashed}.slice/cri-containerd-{id}.scope",
        "kubepods/besteffort/pod{uid}/{id}",
        "kubepods.slice/kubepods-pod{dashed}.slice/crio-{id}.scope",
    ],
    ids=["containerd-systemd", "cgroupfs", "cri-o"],
)
def test_a_pods_requests_have_its_names(tmp_path: Path, shape: str) -> None:
    number = next(_NUMBERS)
    uid, container_id = (
        f"11111111-2222-3333-4444-{os.getpid() % 10**6:06}{number:06}",
        f"{os.getpid():032x}{number:032x}",
    )
    path = shape.format(uid=uid, dashed=uid.replace("-", "_"), id=container_id)
    with fake_kube(token="secret") as kube, container(path) as prefix, servers.nginx(prefix=prefix) as server:
        kube.put("pods", described(uid, "web-0", container_id))
        kube.put("nodes", {"metadata": {"name": "n", "uid": "n"}, "status": {}})
        settings = ("kubernetes.enabled=true", f"kubernetes.kubeconfig={kubeconfig(tmp_path, kube.port)}")
        with running_agent(tmp_path, settings) as agent:
            for _ in range(5):
                clients.curl(server, "/missing")
            assert agent.counts(REQUESTS, 5, port=str(server.port)) == 5
            (told,) = agent.find(REQUESTS, port=str(server.port), is_error="true")
            assert {name: told.labels[name] for name in ("namespace", "workload_kind", "workload_name", "pod", "container")} == {
                "namespace": "shop", "workload_kind": "statefulset", "workload_name": "web", "pod": "web-0",
                "container": "nginx",
            }  # fmt: skip
            assert told.labels["container_id"] == container_id[:12]
            (edge,) = agent.find(EDGES, dst_port=str(server.port), is_error="true")
            assert (edge.value, edge.labels["dst_pod"], edge.labels["src_namespace"]) == (
                5,
                "web-0",
                "NOT_FOUND_INTERNAL",
            )
            assert agent.total("kindling_k8s_workload_info", workload_name="web") == 1
            assert [p for p in agent.status()["problems"] if "API" in p["what"]] == []
            # Another pod takes its place: what comes from now on is the new one's, and the old one's counts stay a while.
            kube.delete("pods", "shop/web-0")
            kube.put("pods", described(uid, "heir-0", container_id))
            agent.wait(lambda a: bool(a.find("kindling_k8s_workload_info", workload_name="heir")))
            clients.curl(server, "/missing")
            assert agent.counts(REQUESTS, 1, port=str(server.port), pod="heir-0") == 1
            assert agent.total(REQUESTS, port=str(server.port), pod="web-0") == 5


def test_pods_that_are_there_for_a_moment_have_their_names(tmp_path: Path) -> None:
    """Each asks once: its process and its cgroup are gone before the agent's next turn, and the API tells of it late."""
    with fake_kube(token="secret") as kube, servers.nginx() as server:
        settings = ("kubernetes.enabled=true", f"kubernetes.kubeconfig={kubeconfig(tmp_path, kube.port)}")
        with running_agent(tmp_path, settings) as agent:
            names = []
            for _ in range(10):
                number = next(_NUMBERS)
                uid = f"11111111-2222-3333-4444-{os.getpid() % 10**6:06}{number:06}"
                container_id = f"{number:08x}{os.getpid():056x}"
                names.append(f"job-{number}")
                with container(f"kubepods/besteffort/pod{uid}/{container_id}") as prefix:
                    asked = [*prefix, servers.program("curl"), "-s", "-o", "/dev/null", server.url("/missing")]
                    subprocess.run(asked, check=True, timeout=20)
                    time.sleep(_RUNTIME_SECONDS)
                kube.put("pods", described(uid, names[-1], container_id))
            assert agent.counts(EDGES, 10, dst_port=str(server.port)) == 10
            assert sorted(one.labels["src_pod"] for one in agent.find(EDGES, dst_port=str(server.port))) == sorted(
                names
            )


def test_a_static_pod_is_found_by_its_manifests_hash(tmp_path: Path) -> None:
    number = next(_NUMBERS)
    container_id = f"{os.getpid():032x}{number:032x}"
    path = f"kubepods/burstable/pod{_STATIC}/{container_id}"
    with fake_kube(token="secret") as kube, container(path) as prefix, servers.nginx(prefix=prefix) as server:
        node = os.uname().nodename
        annotations = {"kubernetes.io/config.hash": _STATIC}
        item = described("mirror", f"etcd-{node}", "f" * 64, annotations=annotations)
        item["metadata"]["ownerReferences"] = [{"kind": "Node", "name": node, "uid": "n", "controller": True}]
        kube.put("pods", item)
        settings = ("kubernetes.enabled=true", f"kubernetes.kubeconfig={kubeconfig(tmp_path, kube.port)}")
        with running_agent(tmp_path, settings) as agent:
            for _ in range(3):
                clients.curl(server)
            assert agent.counts(REQUESTS, 3, port=str(server.port)) == 3
            (told,) = agent.find(REQUESTS, port=str(server.port), is_error="false", is_slow="false")
            assert (told.labels["workload_kind"], told.labels["workload_name"]) == ("staticpod", "etcd")


def _untold(agent: Agent) -> int:
    return sum(problem["what"].startswith("the API tells nothing") for problem in agent.status()["problems"])


def test_without_an_api_the_agent_counts_and_says_so(tmp_path: Path) -> None:
    settings = ("kubernetes.enabled=true", f"kubernetes.kubeconfig={kubeconfig(tmp_path, servers.free_port())}")
    with servers.nginx() as server, running_agent(tmp_path, settings) as agent:
        for _ in range(3):
            clients.curl(server)
        assert agent.counts(REQUESTS, 3, port=str(server.port)) == 3
        agent.wait(lambda a: _untold(a) == 7)
        assert agent.total("firesteel_kubernetes_watch_up") == 0
