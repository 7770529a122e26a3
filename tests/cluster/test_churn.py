# SPDX-License-Identifier: Apache-2.0
"""Names while everything changes: addresses that change hands, pods that end with requests in flight, owners that are renamed, an
API server that forgets, hangs, refuses and comes back. What was counted stays who it was."""

import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.agents import Agent, running_agent
from tests.cluster.agents import EDGES, api_in, watched
from tests.cluster.api import FakeApi
from tests.cluster.faults import faults_of
from tests.cluster.shop import Pod, Shop, shop
from tests.http_scripts import ASK
from tests.receivers import until

SLOW_SERVE = """
import pathlib, socket, sys, time
s = socket.create_server((sys.argv[1], int(sys.argv[2])))
asked, answered = pathlib.Path(FOLDER, "asked"), pathlib.Path(FOLDER, "answered")
while True:
    c, _ = s.accept()
    if c.recv(4096):
        asked.touch()
        while not answered.exists():
            time.sleep(0.02)
        c.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
    c.close()
"""
"""Tells by a file that it was asked, and answers once there is another."""
PODS = 1000


def named(agent: Agent, address: str) -> dict[str, str]:
    """Who the agent says has an address now."""
    answer: dict[str, str] = json.loads(agent.get(f"/api/v1/explain?address={address}"))
    return answer


def counted(agent: Agent, label: str, **labels: str) -> Counter[str]:
    agent.page()
    found: Counter[str] = Counter()
    for series in agent.find(EDGES, **labels):
        found[series.labels[label]] += int(series.value)
    return +found


@pytest.mark.timeout(600)
def test_names_are_those_of_the_time_of_the_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with shop(tmp_path, api_in(tmp_path)) as cluster:
        monkeypatch.setenv("NODE_NAME", cluster.name)
        net = cluster.node.ipv4.rsplit(".", 2)[0]
        cluster.pod("client-0", "statefulset", "client")
        slow = cluster.pod("slow-0", "statefulset", "slow")
        cluster.serve(slow, 8080, SLOW_SERVE.replace("FOLDER", repr(str(cluster.folder))))
        cluster.start()
        far = f"{net}.252.9"
        cluster.far_pod("old-0", "statefulset", "old", far, "far")
        with watched(cluster, "churn") as agent:
            handed_over(cluster, agent, far)
            in_flight(cluster, agent)
            renamed(cluster, agent, f"{net}.252.10")
            crowd(cluster, agent, far)
            outages(cluster, agent, far)
            # Of the machine: what others do there may be cut off in the middle, but nothing may be too much for the agent.
            loss = agent.status()["loss"]
            assert (loss["ring"], loss["storage"], loss["hook"]) == (0, 0, 0), loss
            assert agent.process.poll() is None


def handed_over(cluster: Shop, agent: Agent, far: str) -> None:
    """Twice within 100 ms, with requests right before and nothing to wait for."""
    client = _client(cluster)
    until(lambda: named(agent, far)["pod"] == "old-0", 30)
    cluster.ask(client, far, 80, 10)
    began = time.monotonic()
    cluster.api.delete("pods", "shop/old-0")
    cluster.far_pod("between-0", "statefulset", "between", far, "far")
    cluster.api.delete("pods", "shop/between-0")
    cluster.far_pod("heir-0", "statefulset", "heir", far, "far")
    limit = 5 if isinstance(cluster.api, FakeApi) else 30
    assert time.monotonic() - began < limit  # the machine may be busy; a quiet one takes some milliseconds
    until(lambda: named(agent, far)["pod"] == "heir-0", 30)
    cluster.ask(client, far, 80, 7)
    agent.wait(lambda a: a.total(EDGES, dst_ip=far) == 17, 30)
    assert counted(agent, "dst_pod", dst_ip=far) == {"old-0": 10, "heir-0": 7}


def in_flight(cluster: Shop, agent: Agent) -> None:
    """The pod is gone from the API before its answer is."""
    client, slow = _client(cluster), cluster.pods["slow-0"]
    patient = ASK.replace("timeout=5", "timeout=50")
    asking = threading.Thread(target=cluster.ask, args=(client, slow.ip, 8080, 1, patient))
    asking.start()
    until((cluster.folder / "asked").exists, 30)
    cluster.api.delete("pods", "shop/slow-0")
    # What is told of pods comes in its order: who knows the next one knows that this one is gone.
    put_far(cluster, "next-0", "10.201.0.2")
    until(partial(_is, agent, "10.201.0.2", "next-0"), 30)
    (cluster.folder / "answered").touch()
    asking.join()
    agent.wait(lambda a: a.total(EDGES, dst_ip=slow.ip) == 1, 30)
    assert counted(agent, "dst_pod", dst_ip=slow.ip) == {"slow-0": 1}
    assert counted(agent, "dst_container", dst_ip=slow.ip) == {"main": 1}


def renamed(cluster: Shop, agent: Agent, far: str) -> None:
    """A ReplicaSet that another Deployment has adopted."""
    client = _client(cluster)
    cluster.far_pod("cart-5d4f8c7b9-x2x4z", "deployment", "cart", far, "far")
    until(lambda: named(agent, far)["workload_name"] == "cart", 30)
    cluster.ask(client, far, 80, 4)
    agent.wait(lambda a: a.total(EDGES, dst_ip=far) == 4, 30)
    faults_of(cluster.api).adopt("shop/cart-5d4f8c7b9", "basket")
    until(lambda: named(agent, far)["workload_name"] == "basket", 30)
    cluster.ask(client, far, 80, 3)
    agent.wait(lambda a: a.total(EDGES, dst_ip=far) == 7, 30)
    assert counted(agent, "dst_workload_name", dst_ip=far) == {"cart": 4, "basket": 3}


def crowd(cluster: Shop, agent: Agent, far: str) -> None:
    """A thousand pods come and go, and the API server forgets again and again: who stays is asked all the while."""
    faults, client = faults_of(cluster.api), _client(cluster)
    before = counted(agent, "dst_pod", dst_ip=far)["heir-0"]

    def come_and_go(number: int) -> None:
        put_far(cluster, f"job-{number}", f"10.200.{number // 200}.{number % 200}")
        if number >= 20:
            cluster.api.delete("pods", f"shop/job-{number - 20}")
        if number % 100 == 99:
            faults.forget()

    asking = threading.Thread(target=cluster.ask, args=(client, far, 80, 50))
    asking.start()
    with ThreadPoolExecutor(1 if isinstance(cluster.api, FakeApi) else 8) as pool:
        assert len(list(pool.map(come_and_go, range(PODS)))) == PODS
    last = f"10.200.{(PODS - 1) // 200}.{(PODS - 1) % 200}"
    until(lambda: named(agent, last)["pod"] == f"job-{PODS - 1}", 60)
    asking.join()
    agent.wait(lambda a: counted(a, "dst_pod", dst_ip=far)["heir-0"] == before + 50, 30)
    assert counted(agent, "dst_pod", dst_ip=far)["heir-0"] == before + 50
    assert agent.total("firesteel_memory_bytes") < 320 << 20


def outages(cluster: Shop, agent: Agent, far: str) -> None:
    """It hangs, then the token is nobody's, then it refuses everything: names stay, and news come once it is back."""
    faults, client, expected = faults_of(cluster.api), _client(cluster), counted(agent, "dst_pod", dst_ip=far)["heir-0"]
    for name, fault in (("hanging", faults.hanging), ("expired", faults.expired), ("down", faults.down)):
        with fault():
            time.sleep(1.5)
            cluster.ask(client, far, 80, 5)
            expected += 5
            agent.wait(partial(_has_heirs, far, expected), 30)
            assert counted(agent, "dst_pod", dst_ip=far)["heir-0"] == expected
        put_far(cluster, f"news-{name}", "10.201.0.1")
        until(partial(_is, agent, "10.201.0.1", f"news-{name}"), 120)


@pytest.mark.timeout(300)
def test_an_api_that_does_not_answer_at_the_start_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is counted meanwhile, by its address; names come with the API. How long it waits: tests/unit/test_kube_watch.py."""
    with shop(tmp_path, api_in(tmp_path)) as cluster:
        monkeypatch.setenv("NODE_NAME", cluster.name)
        client = cluster.pod("client-0", "statefulset", "client")
        far = f"{cluster.node.ipv4.rsplit('.', 2)[0]}.252.9"
        cluster.far_pod("old-0", "statefulset", "old", far, "far")
        settings = (
            "kubernetes.enabled=true",
            f"kubernetes.kubeconfig={cluster.api.kubeconfig}",
            "kubernetes.names=off",
        )
        with ExitStack() as stack:
            away = stack.enter_context(ExitStack())
            away.enter_context(faults_of(cluster.api).down())
            agent = stack.enter_context(running_agent(tmp_path, settings))
            cluster.ask(client, far, 80, 6)
            agent.wait(lambda a: a.total(EDGES, dst_ip=far) == 6, 30)
            assert counted(agent, "dst_pod", dst_ip=far) == {"": 6}
            assert agent.total("firesteel_kubernetes_watch_up") < 7
            away.close()
            until(partial(_is, agent, far, "old-0"), 120)
            cluster.ask(client, far, 80, 4)
            agent.wait(lambda a: counted(a, "dst_pod", dst_ip=far)["old-0"] >= 4, 30)
            assert agent.total(EDGES, dst_ip=far) == 10
            assert agent.total("firesteel_memory_bytes") < 320 << 20
            assert agent.process.poll() is None


def put_far(cluster: Shop, name: str, ip: str) -> None:
    """A pod of another node that nobody answers for."""
    cluster.api.put("pods", {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"nodeName": "far", "containers": [{"name": "main", "image": "none"}]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]},
    })  # fmt: skip


def _client(cluster: Shop) -> Pod:
    return cluster.pods["client-0"]


def _has_heirs(far: str, count: int, agent: Agent) -> bool:
    return counted(agent, "dst_pod", dst_ip=far)["heir-0"] == count


def _is(agent: Agent, address: str, pod: str) -> bool:
    return named(agent, address)["pod"] == pod
