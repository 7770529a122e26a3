# SPDX-License-Identifier: Apache-2.0
"""Ten services through every way in which a pod is reached: no name is missing, no request, and none is counted twice."""

import json
import subprocess
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.agents import FIRESTEEL, Agent
from tests.cluster.agents import EDGES, api_in, names_service, watched
from tests.cluster.demo import BALANCED, CATALOG, NODE_PORT, OUTSIDE, Demo, Edge
from tests.cluster.shop import Shop, shop


def edges_of(agent: Agent, cluster: Shop) -> Counter[Edge]:
    """Those of the cluster: others may use this machine as well."""
    found: Counter[Edge] = Counter()
    for series in agent.find(EDGES):
        told = series.labels
        if told["src_ip"] not in cluster.addresses and told["dst_ip"] not in cluster.addresses:
            continue
        nameless = told["src_namespace"].startswith("NOT_FOUND")
        names = {name: told.get(name, "") for name in Edge.__dataclass_fields__}
        names["src_workload"] = "" if nameless else f"{told['src_workload_kind']}/{told['src_workload_name']}"
        outside = told["dst_namespace"].startswith("NOT_FOUND")
        names["dst_workload"] = "" if outside else f"{told['dst_workload_kind']}/{told['dst_workload_name']}"
        names["src_ip"] = told["src_ip"] if told["src_namespace"] == "NOT_FOUND_EXTERNAL" else ""
        found[Edge(**names)] += int(series.value)
    return +found


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
            for level in ("namespace", "workload", "pod"):
                the_topology_is_the_truth(agent, demo, level)
            addresses_explain_themselves(agent, demo)


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


def node_of(level: str, namespace: str, workload: str, pod: str, domain: str, ip: str) -> str:
    """The id of a topology's node, as docs/api.md has them; empty for a process of the host."""
    if namespace == "NOT_FOUND_INTERNAL":
        return "host" if level == "namespace" else ""
    if namespace == "NOT_FOUND_EXTERNAL":
        return "outside" if level == "namespace" else f"outside/{domain or ip}"
    if level == "namespace":
        return f"namespace/{namespace}"
    return f"{namespace}/Pod/{pod}" if level == "pod" and pod else f"{namespace}/{workload}"


def the_topology_is_the_truth(agent: Agent, demo: Demo, level: str) -> None:
    expected: Counter[tuple[str, str, str]] = Counter()
    for edge, count in demo.truth.items():
        source = node_of(level, edge.src_namespace, edge.src_workload, edge.src_pod, "", edge.src_ip)
        target = node_of(level, edge.dst_namespace, edge.dst_workload, edge.dst_pod, edge.dst_domain, edge.dst_ip)
        expected[source, target, edge.protocol] += count
    topology = json.loads(agent.get(f"/api/v1/topology?level={level}"))
    names = {name for key in expected for name in key[:2]} - {"", "host", "outside"}
    found: Counter[tuple[str, str, str]] = Counter()
    for edge in topology["edges"]:
        if not {edge["source"], edge["destination"]} & names or edge["protocol"] not in {"http", "dns"}:
            continue
        source = "" if "/process/" in edge["source"] else edge["source"]
        found[source, edge["destination"], edge["protocol"]] += edge["total"]["requests"]
        total, tcp = edge["total"], edge["tcp"]
        assert min(total["request_bytes"], total["response_bytes"], total["duration_seconds"]["p50"]) > 0, edge
        # A busy machine may be too slow for the kernel's patience, and then there are retransmits.
        assert (total["errors"], tcp["retransmits"] >= 0, tcp["drops"] >= 0) == (0, True, True), edge
        if edge["protocol"] == "http" and not edge["source"].startswith("outside"):
            assert tcp["srtt_seconds"] > 0
            assert tcp["connects"] == total["requests"], edge
    assert (level, found) == (level, expected)
    drawn = json.loads(agent.get(f"/api/graph/data?level={level}"))
    assert {edge["id"] for edge in topology["edges"]} <= {edge["id"] for edge in drawn["edges"]}
    assert {node["id"] for node in topology["nodes"]} <= {node["id"] for node in drawn["nodes"]}


def addresses_explain_themselves(agent: Agent, demo: Demo) -> None:
    """Who, from whom, since when; or why not."""

    def steps(address: str) -> str:
        return "; ".join(json.loads(agent.get(f"/api/v1/explain?address={address}"))["steps"])

    web = steps(f"{demo.web.ip}:8080")
    assert "is pod shop/web-0 of rollout web on node" in web
    assert "shop/web-0 has been known for" in web
    assert "is a backend of Service web" in web
    assert "the API server tells of pods" in web
    assert "is Service shop/catalog" in steps(CATALOG)
    assert "is Service shop/web" in steps(BALANCED)
    assert "port 9100 there is pod kube-system/exporter-z2z4x" in steps(f"{demo.far_node}:9100")
    assert "port 30080 of every node is Service shop/web" in steps(f"{demo.shop.node.ipv4}:{NODE_PORT}")
    assert "it was asked for by the name api.example.com" in steps(OUTSIDE)
    assert "no pod, Service or node of the cluster has it" in steps("10.99.99.99")
    told = subprocess.run(
        [*FIRESTEEL, "explain", f"{demo.web.ip}:8080", "--url", f"http://127.0.0.1:{agent.api_port}"],
        check=False, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert (told.returncode, "shop/web-0" in told.stdout) == (0, True), told
