# SPDX-License-Identifier: Apache-2.0
"""Names of sockets and addresses on a node of a cluster."""

from dataclasses import replace
from pathlib import Path

import pytest

from analyzers.edges import name_ends
from analyzers.resolver import NOT_FOUND_EXTERNAL, NOT_FOUND_INTERNAL, NOT_TOLD_YET
from analyzers.rows import Identity
from analyzers.snapshot import SnapshotBuilder
from collector.metadata.addresses import HostAddresses
from collector.metadata.cluster import ClusterIndex
from collector.metadata.cluster_names import ClusterNames
from collector.metadata.containers import CgroupOwner
from collector.metadata.host import HostResolver
from collector.metadata.kube_objects import NodeRecord, Owner, PodRecord, ServiceRecord, SliceRecord
from tests.rows import request_row

ID = "0123456789abcdef" * 4
WEB = PodRecord(
    "u1", "shop", "web-5d4f8c7b9-x2x4z", "n1", Owner("ReplicaSet", "web-5d4f8c7b9", "r1"), ("10.1.0.5",),
    containers=((ID, "nginx"),), cgroup_uids=("u1",),
)  # fmt: skip
DB = PodRecord("u2", "data", "db-0", "n2", Owner("StatefulSet", "db", "s1"), ("10.2.0.9",), cgroup_uids=("u2",))


class Processes:
    """Owners by process number."""

    def __init__(self, owners: dict[int, CgroupOwner]) -> None:
        self._owners = owners
        self.postponed = False

    def owner(self, identity: Identity) -> CgroupOwner | None:
        return self._owners.get(identity.pid)


@pytest.fixture
def index() -> ClusterIndex:
    made = ClusterIndex(300 * 10**9, lambda: 0, "n1")
    made.put_pod(WEB)
    made.put_pod(DB)
    made.put_service(ServiceRecord("shop", "web", ("10.96.0.7",), (80,), (30080,)))
    made.put_slice(SliceRecord("shop", "web-1", "web", (("10.1.0.5", 8080),)))
    made.put_node(NodeRecord("n2", ("192.168.0.2",)))
    return made


def identity(pid: int, comm: str = "nginx") -> Identity:
    return Identity(pid, 1, 4026531840, 0, pid, comm)


def resolver(index: ClusterIndex, tmp_path: Path, owners: dict[int, CgroupOwner]) -> HostResolver:
    return HostResolver(HostAddresses(tmp_path), Processes(owners), "n1", ClusterNames(index))  # type: ignore[arg-type]


def test_a_local_socket_is_its_pods_container(index: ClusterIndex, tmp_path: Path) -> None:
    names = resolver(index, tmp_path, {7: CgroupOwner("containerd", ID, "u1"), 8: CgroupOwner("", "f" * 64, "u1")})
    names.learn([identity(7), identity(8)])
    party = names.local(identity(7), "10.1.0.5", 8080)
    assert (party.node, party.namespace, party.workload_kind, party.workload_name) == (
        "n1",
        "shop",
        "deployment",
        "web",
    )
    assert (party.pod, party.container, party.container_id, party.service) == (WEB.name, "nginx", ID[:12], "web")
    assert (party.observed, party.outside, party.reason) == (True, False, "")
    client = names.local(identity(8), "10.1.0.5", 0)
    assert (client.pod, client.container, client.container_id, client.service) == (WEB.name, "", "f" * 12, "")


def test_a_pod_that_the_api_did_not_tell_yet_has_its_name_later(index: ClusterIndex, tmp_path: Path) -> None:
    names = resolver(index, tmp_path, {7: CgroupOwner("containerd", "e" * 64, "u9")})
    names.learn([identity(7)])
    first = names.local(identity(7), "10.1.0.6", 0)
    assert (first.namespace, first.workload_name, first.reason) == (NOT_FOUND_INTERNAL, "nginx", "pod_not_told_yet")
    before = names.version()
    index.put_pod(replace(DB, uid="u9", cgroup_uids=("u9",), node="n1", name="late-0", addresses=("10.1.0.6",)))
    assert names.version() > before
    assert names.local(identity(7), "10.1.0.6", 0).pod == "late-0"


def test_a_process_that_nothing_is_known_of_is_the_pod_that_has_its_address(
    index: ClusterIndex, tmp_path: Path
) -> None:
    names = resolver(index, tmp_path, {})
    names.learn([identity(7)])

    def told(ip: str) -> tuple[str, str]:
        party = names.local(identity(7), ip, 0)
        return party.pod, party.reason

    assert told("10.1.0.5") == (WEB.name, "")
    assert told("127.0.0.1") == ("", "process_gone")
    assert told("192.168.0.2") == ("", "process_gone")  # a node's
    # Another node's pod cannot have a socket here: whoever has will be told of.
    assert told("10.2.0.9") == ("", "pod_not_told_yet")
    index.drop_pod("u1")
    assert told("10.1.0.5") == ("", "pod_not_told_yet")
    index.put_pod(replace(WEB, uid="u9", name="heir", cgroup_uids=("u9",)))
    assert told("10.1.0.5") == ("heir", "")


def test_a_socket_that_no_process_has_is_the_pod_that_has_its_address(index: ClusterIndex, tmp_path: Path) -> None:
    """Of a handshake that the kernel repeats by itself. Where no pod of this node has it, it is nobody's, and nothing is waited for."""
    names = resolver(index, tmp_path, {})
    nobody = identity(0, "")

    def told(ip: str) -> tuple[str, str]:
        party = names.local(nobody, ip, 0)
        return party.pod, party.reason

    for _ in ("before it is learned", "after"):
        assert told("10.1.0.5") == (WEB.name, "")
        assert told("10.2.0.9") == ("", "no_process")
        assert told("127.0.0.1") == ("", "no_process")
        assert told("192.168.0.2") == ("", "no_process")
        names.learn([nobody])
    index.drop_pod("u1")
    assert told("10.1.0.5") == ("", "no_process")


@pytest.mark.parametrize(
    ("ip", "port", "expected"),
    [
        ("10.2.0.9", 5432, ("data", "statefulset", "db", "", "db-0", "n2", False)),
        ("10.1.0.5", 8080, ("shop", "deployment", "web", "web", WEB.name, "n1", True)),
        ("10.96.0.7", 80, ("shop", "service", "web", "web", "", "", False)),
        ("192.168.0.2", 30080, ("shop", "service", "web", "web", "", "n2", False)),
        ("192.168.0.2", 22, (NOT_FOUND_INTERNAL, "node", "n2", "", "", "n2", False)),
        ("203.0.113.1", 443, (NOT_FOUND_EXTERNAL, "", "", "", "", "", False)),
    ],
)
def test_an_address_is_a_pod_a_service_a_node_or_outside(
    ip: str, port: int, expected: tuple[object, ...], index: ClusterIndex, tmp_path: Path
) -> None:
    party = resolver(index, tmp_path, {}).remote(ip, port, 1)
    assert (
        party.namespace, party.workload_kind, party.workload_name, party.service, party.pod, party.node, party.observed,
    ) == expected  # fmt: skip
    assert party.outside == (party.namespace == NOT_FOUND_EXTERNAL)


def test_a_nodes_address_is_a_services_at_its_ports_only(index: ClusterIndex, tmp_path: Path) -> None:
    """As externalIPs have it, and balancers that are the nodes themselves: what else is asked there, and who asks from there, is
    the node's."""
    index.put_service(ServiceRecord("shop", "ingress", ("10.96.0.8", "192.168.0.2"), (443,)))
    index.put_service(ServiceRecord("shop", "mail", ("10.96.0.9", "192.168.0.2"), (25,)))
    agent = Owner("DaemonSet", "firesteel", "d1")
    index.put_pod(seer := replace(DB, uid="a2", name="firesteel-2", owner=agent, node="n2", addresses=()))
    index.observe_by(seer)
    names = resolver(index, tmp_path, {})
    found = [names.remote("192.168.0.2", port, 1) for port in (443, 25, 22, 0)]
    assert [(party.workload_name, party.observed) for party in found] == [
        ("ingress", False), ("mail", False), ("n2", True), ("n2", True),
    ]  # fmt: skip
    assert [names.service("192.168.0.2", port) for port in (443, 25, 22, 30080)] == ["ingress", "mail", "", "web"]
    index.drop_service("shop/mail")
    assert [names.remote("192.168.0.2", port, 1).workload_name for port in (443, 25, 0)] == ["ingress", "n2", "n2"]
    index.put_service(ServiceRecord("shop", "mail", ("10.96.0.9", "192.168.0.2"), (25,)))
    assert names.explained("192.168.0.2", 0, 1) == [
        "192.168.0.2 is Service shop/ingress, ports [443]",
        "Service shop/ingress has been known for 0 s",
        "192.168.0.2 is Service shop/mail, ports [25]",
        "Service shop/mail has been known for 0 s",
        "192.168.0.2 is node n2",
        "node n2 has been known for 0 s",
    ]


def test_who_is_outside_is_known_once_the_cluster_was_told(index: ClusterIndex, tmp_path: Path) -> None:
    """Until then an agent that starts waits, as for a pod of its own: each address would be outside for a moment."""
    knows = False
    row = request_row(remote_ip="10.1.0.77", remote_port=80, count=3)
    names = resolver(index, tmp_path, {row.key.identity.pid: CgroupOwner("containerd", ID, "u1")})
    names._cluster = ClusterNames(index, knows_addresses=lambda: knows)
    names.learn([row.key.identity])
    builder = SnapshotBuilder(names)

    def reason() -> str:
        found = names.remote("10.1.0.77", 80, 1)
        assert found.outside
        return found.reason

    assert (reason(), names.remote("10.1.0.5", 8080, 1).pod, names.version()) == (
        NOT_TOLD_YET,
        WEB.name,
        before := names.version(),
    )
    assert builder.build([row], (), (), 1).edges == ()
    index.put_pod(replace(DB, uid="u7", name="late-0", addresses=("10.1.0.77",)))
    (account,) = builder.build([row], (), (), 2).edges
    assert (account.labels.edge.dst.pod, account.values[0]) == ("late-0", 3)
    index.drop_pod("u7")
    knows = True
    assert names.version() > before
    assert names.remote("10.1.0.78", 80, 1).reason == "outside"


def test_who_was_seen_serving_is_known_down_to_the_container_until_the_address_is_anothers(
    index: ClusterIndex, tmp_path: Path
) -> None:
    names = resolver(index, tmp_path, {7: CgroupOwner("containerd", ID, "u1")})
    names.learn([identity(7)])
    names.local(identity(7), "10.1.0.5", 8080)
    assert names.remote("10.1.0.5", 8080, 1).container == "nginx"
    index.drop_pod("u1")
    index.put_pod(replace(DB, uid="u5", name="heir-0", addresses=("10.1.0.5",)))
    assert names.remote("10.1.0.5", 8080, 1).pod == "heir-0"


def test_the_other_nodes_agents_see_their_own_pods(index: ClusterIndex, tmp_path: Path) -> None:
    agent = Owner("DaemonSet", "firesteel", "d1")
    index.put_pod(seer := replace(DB, uid="a2", name="firesteel-2", owner=agent, node="n2", addresses=()))
    index.observe_by(seer)
    assert resolver(index, tmp_path, {}).remote("10.2.0.9", 5432, 1).observed


def test_what_is_known_of_an_address_is_told(index: ClusterIndex, tmp_path: Path) -> None:
    names = resolver(index, tmp_path, {})
    assert names.explained("10.1.0.5", 8080, 1) == [
        "10.1.0.5 is pod shop/web-5d4f8c7b9-x2x4z of deployment web on node n1",
        "shop/web-5d4f8c7b9-x2x4z has been known for 0 s",
        "10.1.0.5:8080 is a backend of Service web",
    ]
    index.drop_pod("u1")
    assert names.explained("10.1.0.5", 8080, 1)[1] == (
        "shop/web-5d4f8c7b9-x2x4z has been known for 0 s; it ended 0 s ago, and is named for 300 s more, unless another pod has "
        "the address before"
    )
    assert names.explained("192.168.0.2", 30080, 1)[1:] == [
        "node n2 has been known for 0 s",
        "port 30080 of every node is Service shop/web",
    ]
    assert "outside" in names.explained("203.0.113.1", 0, 1)[0]


def test_since_when_a_service_and_a_node_are_known_is_told(tmp_path: Path) -> None:
    """News of them do not begin it anew; that they were gone does."""
    now = [0]
    index = ClusterIndex(300 * 10**9, lambda: now[0], "n1")
    names = resolver(index, tmp_path, {})

    def told() -> list[str]:
        sentences = [*names.explained("10.96.0.7", 80, 1), *names.explained("192.168.0.2", 22, 1)]
        return [sentence for sentence in sentences if "known for" in sentence]

    for ports in ((80,), (80, 443)):
        index.put_service(ServiceRecord("shop", "web", ("10.96.0.7",), ports))
        index.put_node(NodeRecord("n2", ("192.168.0.2",) * len(ports)))
        now[0] += 7 * 10**9
    assert told() == ["Service shop/web has been known for 14 s", "node n2 has been known for 14 s"]
    index.drop_service("shop/web")
    index.drop_node("n2")
    index.put_service(ServiceRecord("shop", "web", ("10.96.0.7",), (80,)))
    index.put_node(NodeRecord("n2", ("192.168.0.2",)))
    assert told() == ["Service shop/web has been known for 0 s", "node n2 has been known for 0 s"]


@pytest.fixture(autouse=True)
def no_proc(tmp_path: Path) -> None:
    (tmp_path / "self/net").mkdir(parents=True)


def test_who_was_seen_serving_at_an_address_is_former_once_another_has_it(tmp_path: Path) -> None:
    """Or what follows would go on being counted for him."""
    now = [0]
    index = ClusterIndex(300 * 10**9, lambda: now[0], "n1")
    index.put_pod(WEB)
    names = resolver(index, tmp_path, {7: CgroupOwner("containerd", ID, "u1")})
    names.learn([identity(7)])
    names.local(identity(7), "10.1.0.5", 8080)
    now[0] = 50
    index.put_pod(replace(WEB, uid="u9", name="heir-0", containers=(), cgroup_uids=("u9",)))
    then, after = names.remote("10.1.0.5", 8080, 1, 49), names.remote("10.1.0.5", 8080, 1, 50)
    assert (then.pod, then.container, then.former) == (WEB.name, "nginx", True)
    assert (after.pod, after.former) == ("heir-0", False)


def test_an_ambiguous_service_is_empty_and_explained(index: ClusterIndex, tmp_path: Path) -> None:
    index.put_slice(SliceRecord("shop", "canary-1", "canary", (("10.1.0.5", 8080),)))
    names = resolver(index, tmp_path, {})
    party = names.remote("10.1.0.5", 8080, 1)
    assert (party.pod, party.service) == (WEB.name, "")
    assert names.explained("10.1.0.5", 8080, 1)[-1] == (
        "10.1.0.5:8080 is a backend of Services shop/canary, shop/web: which of them was meant is known only where a "
        "translation tells what was dialled; else service is empty"
    )
    assert not any("backend" in sentence for sentence in names.explained("10.1.0.5", 0, 1))


def test_what_was_dialled_is_stronger_evidence_than_backends(index: ClusterIndex, tmp_path: Path) -> None:
    """With conntrack an edge has both; without it only the pod or the Service, and backends tell where they can."""
    index.put_slice(SliceRecord("shop", "canary-1", "canary", (("10.1.0.5", 8080),)))
    index.put_slice(SliceRecord("data", "db-1", "reads", (("10.2.0.9", 5432),)))
    index.put_service(ServiceRecord("data", "db", ("10.96.0.8",), (5432,)))
    names = resolver(index, tmp_path, {})

    def remote(ip: str, port: int, dialled: tuple[str, int] = ("", 0)) -> tuple[str, str, str]:
        key = request_row(remote_ip=ip, remote_port=port).key
        party = name_ends(replace(key, dialled_ip=dialled[0], dialled_port=dialled[1]), names).remote
        return party.pod, party.workload_kind, party.service

    assert remote("10.1.0.5", 8080, ("10.96.0.7", 80)) == (WEB.name, "deployment", "web")
    assert remote("10.1.0.5", 8080) == (WEB.name, "deployment", "")
    assert remote("10.96.0.7", 80) == ("", "service", "web")
    assert remote("10.2.0.9", 5432, ("10.96.0.8", 5432)) == ("db-0", "statefulset", "db")
    assert remote("10.2.0.9", 5432) == ("db-0", "statefulset", "reads")
