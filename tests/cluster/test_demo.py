# SPDX-License-Identifier: Apache-2.0
"""Ten services through every way in which a pod is reached: no name is missing, no request, and none is counted twice."""

import json
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from collector.ends import host_port
from exporters import registry_traffic
from tests.agents import FIRESTEEL, Agent, Series
from tests.cluster.agents import EDGES, api_in, names_service, watched
from tests.cluster.demo import BALANCED, CATALOG, FAILING, NODE_PORT, OUTSIDE, Demo, Edge
from tests.cluster.shop import Shop, shop
from tests.far_hosts import _FAILURE
from tests.receivers import until

LABELS = {
    metric.name.format(prefix="kindling"): {*metric.labels}
    for metric in registry_traffic.TRAFFIC
    if {"pod", "src_pod"} & {*metric.labels}
}
"""Of each family that names pods, without those that all have only now and then."""
WHEN_IT_HAPPENS = {"kindling_tcp_packet_loss_total", "kindling_tcp_retransmit_total", "kindling_tcp_reset_total"}
PROCESS = Path(sys.executable).name[:15]
"""Of all that runs here, as the kernel calls it."""


def edges_of(agent: Agent, cluster: Shop, **labels: str) -> Counter[Edge]:
    """Those of the cluster: others may use this machine as well."""
    found: Counter[Edge] = Counter()
    for series in agent.find(EDGES, **labels):
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
        sources = {"api": "kubernetes.names=off", "names": stack.enter_context(names_service(cluster))}
        agents = {
            how: stack.enter_context(watched(cluster, how, source, "metrics.histograms=both"))
            for how, source in sources.items()
        }
        demo.run()
        for agent in agents.values():
            agent.wait(lambda a: edges_of(a, cluster) == demo.truth, 30)
        time.sleep(1.5)  # a turn of the agents: what is counted twice shows
        for how, agent in agents.items():
            agent.page()
            assert (how, edges_of(agent, cluster)) == (how, demo.truth)
            assert (how, edges_of(agent, cluster, is_error="true")) == (how, demo.failed)
            no_label_is_empty(agent, demo)
            for level in ("namespace", "workload", "pod", "address"):
                the_topology_is_the_truth(agent, demo, level)
            addresses_explain_themselves(agent, demo)
        rates_are_those_of_the_window(agents["api"], demo)


def no_label_is_empty(agent: Agent, demo: Demo) -> None:
    """Of a pod, all that Kubernetes has, in every family. A container is known on the pod's own node only. Whatever has an address of
    the cluster that is no node's, where anything may listen, is found."""
    cluster = demo.shop
    services = {edge.dst_pod: edge.dst_service for edge in demo.truth if edge.dst_pod}
    found = cluster.addresses - {cluster.node.ipv4, demo.far_node}
    owners = {ip: pod.name for pod in cluster.pods.values() if pod.space for ip in (pod.ip, pod.ip6) if ip}
    owners[demo.far_ip] = "reviews-5d4f8c7b9-r5r7s"
    wanted = ("node", "namespace", "workload_kind", "workload_name", "pod", "ip")
    seen: set[str] = set()
    faults: set[tuple[str, ...]] = set()
    unmeasured = {relation(series) for series in agent.find("kindling_tcp_srtt_microseconds") if not series.value}
    for series in agent.series:
        labels = LABELS.get(series.name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count"), set())
        for end in [end for end in ("", "src_", "dst_") if f"{end}pod" in labels]:
            ip = series.labels[f"{end}ip"]
            told = {name: series.labels.get(f"{end}{name}", "") for name in (*wanted, "container", "container_id")}
            if ip in found and told["namespace"] not in {"shop", "kube-system"}:
                faults.add((series.name, end, ip, told["namespace"]))
            service = services.get(told["pod"], "") if end != "src_" and answers(series) else ""
            if service and ip in cluster.addresses and series.labels[f"{end}service"] != service:
                faults.add((series.name, end, ip, told["pod"], "service", series.labels[f"{end}service"]))
            if ip in owners and told["pod"] != owners[ip]:
                faults.add((series.name, end, ip, told["pod"], owners[ip]))
            if told["pod"] and ip in cluster.addresses:
                here = told["node"] == cluster.name and relation(series) not in unmeasured
                here = here and is_container_known(demo, series, end)
                names = (*wanted, "container", "container_id") if here else wanted
                missing = [name for name in names if f"{end}{name}" in labels and not told[name]]
                if missing:
                    faults.add((series.name, end, ip, told["pod"], *missing))
                seen.add(series.name)
    assert faults == set()
    assert {name for name in LABELS if not any(one.startswith(name) for one in seen)} <= WHEN_IT_HAPPENS


def answers(series: Series) -> bool:
    """Whether its dst is who was asked: the health of a connection is told from either end."""
    return not series.name.startswith("kindling_tcp") or series.name.startswith("kindling_tcp_connect")


def relation(series: Series) -> tuple[str, ...]:
    """Of TCP. One without any measure is of sockets that no process had yet: handshakes that the kernel had to repeat."""
    names = ("src_ip", "src_port", "src_container", "dst_ip", "dst_port", "dst_container")
    return tuple(series.labels.get(name, "") for name in names) if series.name.startswith("kindling_tcp") else ()


def is_container_known(demo: Demo, series: Series, end: str) -> bool:
    """TCP is told of a socket here and an address; of an address with two containers nobody but its own socket tells which."""
    if series.name.startswith("kindling_tcp"):
        return end == "src_"
    alone = len(demo.shop.pods[series.labels[f"{end}pod"]].prefixes) == 1
    if series.name.startswith("kindling_trace"):
        return alone or end == ("dst_" if series.labels["is_server"] == "true" else "src_")
    return True


def node_of(level: str, namespace: str, workload: str, pod: str, domain: str, ip: str) -> str:
    """The id of a topology's node above addresses, as docs/api.md has them; empty for a process of the host."""
    if namespace == "NOT_FOUND_INTERNAL":
        return "host" if level == "namespace" else ""
    if namespace == "NOT_FOUND_EXTERNAL":
        return "outside" if level == "namespace" else f"outside/{domain or ip}"
    if level == "namespace":
        return f"namespace/{namespace}"
    return f"{namespace}/Pod/{pod}" if level == "pod" and pod else f"{namespace}/{workload}"


def address_nodes(demo: Demo, edge: Edge) -> tuple[str, str]:
    """The ids of both ends at the level of addresses: whose it is, what it is called, and where."""
    ip = edge.src_ip or demo.shop.node.ipv4
    if edge.src_pod:
        pod = demo.shop.pods[edge.src_pod]
        ip = pod.ip6 if ":" in edge.dst_ip else pod.ip
    source = f"client///{ip}"
    if not edge.src_ip:
        source = f"client/{edge.src_workload.partition('/')[2] or PROCESS}/{PROCESS}/{ip}"
    owner = edge.dst_workload.partition("/")[2] or edge.dst_domain
    if edge.dst_namespace == "NOT_FOUND_INTERNAL":
        owner = PROCESS
    return source, f"server/{owner}/{host_port(edge.dst_ip, int(edge.dst_port))}"


def nodes_of(level: str, demo: Demo, edge: Edge) -> tuple[str, str]:
    if level == "address":
        return address_nodes(demo, edge)
    return (
        node_of(level, edge.src_namespace, edge.src_workload, edge.src_pod, "", edge.src_ip),
        node_of(level, edge.dst_namespace, edge.dst_workload, edge.dst_pod, edge.dst_domain, edge.dst_ip),
    )


def the_topology_is_the_truth(agent: Agent, demo: Demo, level: str) -> None:
    expected: Counter[tuple[str, str, str]] = Counter()
    failed: Counter[tuple[str, str, str]] = Counter()
    for edge, count in demo.truth.items():
        expected[*nodes_of(level, demo, edge), edge.protocol] += count
        failed[*nodes_of(level, demo, edge), edge.protocol] += demo.failed[edge]
    topology = json.loads(agent.get(f"/api/v1/topology?level={level}"))
    # Where the machine has other traffic, an event may have found no room: then this tells, and the counts are not to blame.
    lost = agent.status()["loss"]
    names = {name for key in expected for name in key[:2]} - {"", "host", "outside"}
    found: Counter[tuple[str, str, str]] = Counter()
    found_failed: Counter[tuple[str, str, str]] = Counter()
    for told in topology["edges"]:
        ends = told["source"], told["destination"]
        if not {*ends} & names or told["protocol"] not in {"http", "dns"}:
            continue
        source, target = ("" if "/process/" in end else end for end in ends)
        total, tcp = told["total"], told["tcp"]
        found[source, target, told["protocol"]] += total["requests"]
        found_failed[source, target, told["protocol"]] += total["errors"]
        assert min(total["request_bytes"], total["response_bytes"], total["duration_seconds"]["p50"]) > 0, told
        # A busy machine may be too slow for the kernel's patience, and then there are retransmits.
        assert (tcp["retransmits"] >= 0, tcp["drops"] >= 0) == (True, True), told
        if told["protocol"] == "http" and not source.startswith(("outside", "client///")):
            assert tcp["srtt_seconds"] > 0
            # An attempt is told of an address: at these levels one to a host process is an edge of its own.
            if target and not target.startswith(f"server/{PROCESS}/"):
                attempts = agent.find("kindling_tcp_connect_total")
                assert tcp["connects"] == total["requests"], (json.dumps(told), lost, attempts)
    assert (level, found) == (level, expected)
    assert (level, +found_failed) == (level, +failed)
    drawn = json.loads(agent.get(f"/api/graph/data?level={level}"))
    assert {edge["id"] for edge in topology["edges"]} <= {edge["id"] for edge in drawn["edges"]}
    assert {node["id"] for node in topology["nodes"]} <= {node["id"] for node in drawn["nodes"]}


def rates_are_those_of_the_window(agent: Agent, demo: Demo) -> None:
    """Of the edge that fails: what was asked in the time that the answer names, by that time."""

    def told() -> tuple[float, dict[str, Any]]:
        time.sleep(0.2)  # an answer is shared by those who ask at the same time
        topology = json.loads(agent.get("/api/v1/topology?level=workload"))
        (edge,) = [
            edge for edge in topology["edges"]
            if edge["destination"] == f"outside/{FAILING}" and edge["source"] == "shop/deployment/frontend"
        ]  # fmt: skip
        return topology["window_seconds"] or 0.0, edge["window"] or {"requests": -1}

    until(lambda: told()[1]["requests"] == 0, 30)
    demo.fail(12)
    until(lambda: told()[1]["requests"] == 12, 10)
    seconds, window = told()
    assert 0 < seconds <= 15  # about ten, and as long as a busy machine takes between two answers
    assert window["requests_per_second"] == pytest.approx(12 / seconds)
    assert window["errors_per_second"] == pytest.approx(12 / seconds)
    assert window["response_bytes_per_second"] == pytest.approx(12 * len(_FAILURE) / seconds)
    until(lambda: told()[1]["requests"] == 0, 30)
    assert (told()[1]["requests_per_second"], told()[1]["errors_per_second"]) == (0, 0)


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
