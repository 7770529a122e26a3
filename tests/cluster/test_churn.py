# SPDX-License-Identifier: Apache-2.0
"""Names while everything changes: addresses that change hands, pods that end with requests in flight, owners that are renamed, an
API server that forgets, hangs, refuses and comes back. What was counted stays who it was."""

import json
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from tests.agents import Agent
from tests.cluster.agents import EDGES, watched
from tests.cluster.api import FakeApi, fake_api
from tests.cluster.shop import Pod, Shop, shop
from tests.receivers import until

SLOW_SERVE = """
import socket, sys, time
s = socket.create_server((sys.argv[1], int(sys.argv[2])))
while True:
    c, _ = s.accept()
    c.recv(4096); time.sleep(3); c.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok"); c.close()
"""
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


@pytest.mark.timeout(300)
def test_names_are_those_of_the_time_of_the_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with shop(tmp_path, fake_api(tmp_path)) as cluster:
        monkeypatch.setenv("NODE_NAME", cluster.name)
        assert isinstance(cluster.api, FakeApi)
        net = cluster.node.ipv4.rsplit(".", 2)[0]
        cluster.pod("client-0", "statefulset", "client")
        slow = cluster.pod("slow-0", "statefulset", "slow")
        cluster.serve(slow, 8080, SLOW_SERVE)
        cluster.start()
        far = f"{net}.252.9"
        cluster.far_pod("old-0", "statefulset", "old", far, "far")
        with watched(cluster, "churn") as agent:
            handed_over(cluster, agent, far)
            in_flight(cluster, agent)
            renamed(cluster, agent, f"{net}.252.10")
            crowd(cluster, agent, far)
            outages(cluster, agent, far)
            assert agent.status()["loss"]["total"] == 0, agent.status()["loss"]
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
    assert time.monotonic() - began < 5  # the machine may be busy; a quiet one takes some milliseconds
    until(lambda: named(agent, far)["pod"] == "heir-0", 30)
    cluster.ask(client, far, 80, 7)
    agent.wait(lambda a: a.total(EDGES, dst_ip=far) == 17, 30)
    assert counted(agent, "dst_pod", dst_ip=far) == {"old-0": 10, "heir-0": 7}


def in_flight(cluster: Shop, agent: Agent) -> None:
    """The pod is gone from the API before its answer is."""
    client, slow = _client(cluster), cluster.pods["slow-0"]
    asking = threading.Thread(target=cluster.ask, args=(client, slow.ip, 8080, 1))
    asking.start()
    time.sleep(1.0)
    cluster.api.delete("pods", "shop/slow-0")
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
    assert isinstance(cluster.api, FakeApi)
    item = cluster.api.kube.objects["replicasets"]["shop/cart-5d4f8c7b9"]
    owner = {**item["metadata"]["ownerReferences"][0], "name": "basket", "uid": "deployment-basket"}
    cluster.api.put("replicasets", {**item, "metadata": {**item["metadata"], "ownerReferences": [owner]}})
    until(lambda: named(agent, far)["workload_name"] == "basket", 30)
    cluster.ask(client, far, 80, 3)
    agent.wait(lambda a: a.total(EDGES, dst_ip=far) == 7, 30)
    assert counted(agent, "dst_workload_name", dst_ip=far) == {"cart": 4, "basket": 3}


def crowd(cluster: Shop, agent: Agent, far: str) -> None:
    """A thousand pods come and go, and the API server forgets again and again: who stays is asked all the while."""
    assert isinstance(cluster.api, FakeApi)
    kube, client = cluster.api.kube, _client(cluster)
    before = counted(agent, "dst_pod", dst_ip=far)["heir-0"]
    asking = threading.Thread(target=cluster.ask, args=(client, far, 80, 50))
    asking.start()
    for number in range(PODS):
        address = f"10.200.{number // 200}.{number % 200}"
        cluster.api.put("pods", {
            "metadata": {"name": f"job-{number}", "namespace": "shop"}, "spec": {"nodeName": "far"},
            "status": {"phase": "Running", "podIP": address},
        })  # fmt: skip
        if number >= 20:
            cluster.api.delete("pods", f"shop/job-{number - 20}")
        if number % 100 == 99:
            kube.forget()
    last = f"10.200.{(PODS - 1) // 200}.{(PODS - 1) % 200}"
    until(lambda: named(agent, last)["pod"] == f"job-{PODS - 1}", 60)
    asking.join()
    agent.wait(lambda a: counted(a, "dst_pod", dst_ip=far)["heir-0"] == before + 50, 30)
    assert counted(agent, "dst_pod", dst_ip=far)["heir-0"] == before + 50
    assert agent.total("firesteel_memory_bytes") < 320 << 20


def outages(cluster: Shop, agent: Agent, far: str) -> None:
    """It hangs, then the token is nobody's, then it refuses everything: names stay, and news come once it is back."""
    assert isinstance(cluster.api, FakeApi)
    kube, client, expected = cluster.api.kube, _client(cluster), counted(agent, "dst_pod", dst_ip=far)["heir-0"]

    def hang() -> None:
        kube.flowing.clear()

    def expire() -> None:
        kube.token = "another"
        kube.forget()

    def refuse() -> None:
        kube.refuse.update(dict.fromkeys(("/api/v1/pods", "/api/v1/services", "/api/v1/nodes"), 503))
        kube.forget()

    for break_down in (hang, expire, refuse):
        break_down()
        time.sleep(1.5)
        cluster.ask(client, far, 80, 5)
        expected += 5
        agent.wait(partial(_has_heirs, far, expected), 30)
        assert counted(agent, "dst_pod", dst_ip=far)["heir-0"] == expected
        kube.token = "secret"
        kube.refuse.clear()
        kube.flowing.set()
        name = f"news-{break_down.__name__}"
        cluster.api.put("pods", {
            "metadata": {"name": name, "namespace": "shop"}, "spec": {"nodeName": "far"},
            "status": {"phase": "Running", "podIP": "10.201.0.1"},
        })  # fmt: skip
        until(partial(_is, agent, "10.201.0.1", name), 90)


def _client(cluster: Shop) -> Pod:
    return cluster.pods["client-0"]


def _has_heirs(far: str, count: int, agent: Agent) -> bool:
    return counted(agent, "dst_pod", dst_ip=far)["heir-0"] == count


def _is(agent: Agent, address: str, pod: str) -> bool:
    return named(agent, address)["pod"] == pod
