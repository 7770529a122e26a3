# SPDX-License-Identifier: Apache-2.0
"""What is known of the cluster, over time: names while a pod lives, for a while after, and of whoever has the address then."""

from collections.abc import Callable
from dataclasses import fields, replace

import pytest

from collector.metadata import kube_objects
from collector.metadata.cluster import ClusterIndex
from collector.metadata.cluster_workloads import Workload
from collector.metadata.kube_objects import (
    ControllerRecord,
    Malformed,
    NodeRecord,
    Owner,
    PodRecord,
    ServiceRecord,
    SliceRecord,
)

SECOND = 10**9
POD = PodRecord("u1", "shop", "web-5d4f8c7b9-x2x4z", "n1", Owner("ReplicaSet", "web-5d4f8c7b9", "r1"), ("10.1.0.5",))


class Clock:
    now = 0

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def index(clock: Clock) -> ClusterIndex:
    return ClusterIndex(300 * SECOND, clock)


def test_a_pod_is_found_by_everything_that_tells_of_it(index: ClusterIndex) -> None:
    index.put_pod(
        replace(
            POD, containers=(("c" * 64, "nginx"),), cgroup_uids=("u1", "0badc0ffee"), addresses=("10.1.0.5", "fd00::5")
        )
    )
    assert [index.pod_of_cgroup(uid).name for uid in ("u1", "0badc0ffee") if index.pod_of_cgroup(uid)] == [POD.name] * 2  # type: ignore[union-attr]
    found = index.container("c" * 64)
    assert found is not None
    assert (found[0].name, found[1]) == (POD.name, "nginx")
    assert [index.pod_at(ip) is not None for ip in ("10.1.0.5", "fd00::5", "10.1.0.6")] == [True, True, False]


def test_a_deleted_pod_is_named_for_a_while_and_its_successor_at_once(index: ClusterIndex, clock: Clock) -> None:
    index.put_pod(POD)
    index.drop_pod("u1")
    clock.now = 299 * SECOND
    index.sweep()
    assert index.pod_at("10.1.0.5") == POD
    heir = replace(POD, uid="u2", name="db-0")
    index.put_pod(heir)
    assert index.pod_at("10.1.0.5") == heir
    clock.now = 301 * SECOND
    index.sweep()
    assert index.pod_of_cgroup("u1") is None
    assert index.pod_at("10.1.0.5") == heir
    index.drop_pod("u2")
    clock.now = 700 * SECOND
    index.sweep()
    assert index.pod_at("10.1.0.5") is None
    assert index.counts().pods == 0


def test_the_old_pod_may_be_told_deleted_after_its_heir_came(index: ClusterIndex) -> None:
    index.put_pod(POD)
    heir = replace(POD, uid="u2", name="db-0")
    index.put_pod(heir)
    index.drop_pod("u1")
    assert index.pod_at("10.1.0.5") == heir


def test_a_pod_that_is_over_gives_its_address_up(index: ClusterIndex) -> None:
    index.put_pod(replace(POD, is_over=True))
    heir = replace(POD, uid="u2")
    index.put_pod(heir)
    index.put_pod(replace(POD, is_over=True))
    assert index.pod_at("10.1.0.5") == heir


def test_news_of_a_pod_do_not_take_its_address_back_from_the_heir(index: ClusterIndex, clock: Clock) -> None:
    """Its end may be told late, or never: neither pod is over here."""
    index.put_pod(replace(POD, host_ports=(80,), host_addresses=("10.0.0.1",)))
    clock.now = SECOND
    heir = replace(POD, uid="u2", name="db-0", host_ports=(80,), host_addresses=("10.0.0.1",))
    index.put_pod(heir)
    clock.now = 2 * SECOND
    again = replace(POD, containers=(("c" * 64, "job"),), host_ports=(80, 81), host_addresses=("10.0.0.1",))
    index.put_pod(again)
    assert index.pod_at("10.1.0.5") == heir
    assert [index.pod_at_port("10.0.0.1", port) for port in (80, 81)] == [heir, again]
    assert index.pod_at_time("10.1.0.5", SECOND - 1) == (again, True)
    assert index.pod_at_time("10.1.0.5", SECOND) == (heir, False)
    index.put_pod(replace(again, addresses=(), host_ports=()))
    assert index.pod_at_time("10.1.0.5", SECOND - 1) == (heir, False)
    index.drop_pod("u2")
    assert index.pod_at("10.1.0.5") == heir


def test_an_address_that_was_asked_for_is_handed_over_once_for_each_of_its_ends_and_heirs(index: ClusterIndex) -> None:
    told: list[tuple[str, bool]] = []
    step, before = "", 0
    index.handing_over = lambda: told.append((step, index.version > before))
    other = replace(POD, uid="u7", addresses=("10.1.0.7",))
    index.put_pod(POD)
    index.put_pod(other)
    index.pod_at("10.1.0.5")
    heir, last = replace(POD, uid="u2", name="heir-0"), replace(POD, uid="u3", name="last-0")
    steps: list[tuple[str, Callable[[], None]]] = [
        ("nobody asked for that one", lambda: index.drop_pod("u7")),
        ("news of its pod", lambda: index.put_pod(replace(POD, containers=(("c" * 64, "web"),)))),
        ("its pod is gone", lambda: index.drop_pod("u1")),
        ("gone again", lambda: index.drop_pod("u1")),
        ("its heir", lambda: index.put_pod(heir)),
        ("the heir ended", lambda: index.put_pod(replace(heir, is_over=True))),
        ("news of its end", lambda: index.put_pod(replace(heir, is_over=True, cgroup_uids=("u2", "h")))),
        ("and is gone", lambda: index.drop_pod("u2")),
        ("the last one", lambda: index.put_pod(last)),
    ]
    for step, change in steps:  # noqa: B007 - read by what is told
        before = index.version
        change()
    # Who is told finds that what he knows is outdated.
    assert told == [(step, True) for step in ("its pod is gone", "its heir", "the heir ended", "the last one")]


def test_news_of_a_pod_that_ended_do_not_make_its_end_later(index: ClusterIndex, clock: Clock) -> None:
    index.put_pod(replace(POD, is_over=True))
    clock.now = 299 * SECOND
    index.put_pod(replace(POD, is_over=True, containers=(("c" * 64, "job"),)))
    clock.now = 301 * SECOND
    index.sweep()
    assert index.pod_at("10.1.0.5") is None


def test_an_address_is_his_again_whose_heir_has_ended(index: ClusterIndex) -> None:
    heir = replace(POD, uid="u2", name="db-0")
    index.put_pod(POD)
    index.put_pod(heir)
    index.put_pod(replace(heir, is_over=True))
    assert index.pod_at("10.1.0.5") == POD


def test_for_how_long_a_pod_is_known_and_over(index: ClusterIndex, clock: Clock) -> None:
    clock.now = 5 * SECOND
    index.put_pod(POD)
    clock.now = 12 * SECOND
    index.put_pod(replace(POD, containers=(("c" * 64, "web"),)))
    assert index.ages_of(POD) == (7 * SECOND, None)
    index.drop_pod("u1")
    clock.now = 15 * SECOND
    assert index.ages_of(POD) == (10 * SECOND, 3 * SECOND)


def test_nothing_is_left_of_a_pod_that_is_forgotten(index: ClusterIndex, clock: Clock) -> None:
    """Or a thousand pods a minute would fill the memory."""
    before = replace(
        POD, containers=(("c" * 64, "web"),), cgroup_uids=("u1", "0badc0ffee"), host_ports=(80,), host_addresses=("10.0.0.1",)
    )  # fmt: skip
    index.put_pod(replace(POD, uid="u0"))  # whose address it takes
    index.put_pod(before)
    index.put_pod(replace(before, containers=(("d" * 64, "web"),), host_ports=(81,)))
    assert (index.container("c" * 64), index.pod_at_port("10.0.0.1", 80)) == (None, None)
    for uid in ("u0", "u1", "one that nobody knows"):
        index.drop_pod(uid)
    clock.now = 301 * SECOND
    index.sweep()
    values = [getattr(index._pods, part.name) for part in fields(index._pods)]
    tables = [value for value in values if isinstance(value, dict | set)]
    assert (len(tables), [table for table in tables if table]) == (9, [])


def test_host_network_pods_do_not_claim_the_nodes_address(index: ClusterIndex) -> None:
    index.put_pod(replace(POD, host_network=True, addresses=("192.168.1.1",)))
    assert index.pod_at("192.168.1.1") is None  # nor before the node is told
    index.put_node(NodeRecord("n1", ("192.168.1.1", "fd00::1")))
    assert index.pod_at("192.168.1.1") is None
    assert index.node_at("fd00::1") == "n1"
    index.put_pod(replace(POD, uid="u2", addresses=("192.168.1.1",)))  # as a row of a table tells it
    assert index.pod_at("192.168.1.1") is None
    assert index.pod_at_time("192.168.1.1", 1) == (None, False)


@pytest.mark.parametrize(
    ("owner", "known", "expected"),
    [
        (Owner("ReplicaSet", "web-5d4f8c7b9", "r1"), Owner("Deployment", "web", "d1"), Workload("deployment", "web")),
        (Owner("ReplicaSet", "web-5d4f8c7b9", "r1"), None, Workload("deployment", "web")),
        (Owner("ReplicaSet", "handmade", "r1"), None, Workload("replicaset", "handmade")),
        (
            Owner("ReplicaSet", "rollout-5d4f8c7b9", "r1"),
            Owner("Rollout", "rollout", "x"),
            Workload("rollout", "rollout"),
        ),
        (Owner("Job", "backup-28912345", "j1"), None, Workload("cronjob", "backup")),
        (Owner("Job", "migrate", "j1"), None, Workload("job", "migrate")),
        (Owner("StatefulSet", "db", "s1"), None, Workload("statefulset", "db")),
        (Owner("DaemonSet", "cni", "s1"), None, Workload("daemonset", "cni")),
        (None, None, Workload("pod", POD.name)),
    ],
)
def test_the_workload_is_the_controller_that_a_person_knows(
    owner: Owner | None, known: Owner | None, expected: Workload, index: ClusterIndex
) -> None:
    if known is not None and owner is not None:
        index.put_controller(ControllerRecord(owner.kind, "shop", owner.name, owner.uid, known))
    assert index.workload_of(replace(POD, owner=owner)) == expected


def test_a_static_pod_is_its_manifest(index: ClusterIndex) -> None:
    pod = replace(POD, name="etcd-n1", owner=Owner("Node", "n1", "x"))
    assert index.workload_of(pod) == Workload("staticpod", "etcd")


def test_services_by_address_node_port_and_only_backend(index: ClusterIndex) -> None:
    index.put_service(ServiceRecord("shop", "web", ("10.96.0.7", "fd00::7"), (80,), (30080,)))
    index.put_slice(SliceRecord("shop", "web-abc", "web", (("10.1.0.5", 8080),)))
    assert [index.service_at(ip) is not None for ip in ("10.96.0.7", "fd00::7", "10.96.0.8")] == [True, True, False]
    found = index.service_of_node_port(30080)
    assert found is not None
    assert (found.name, index.service_of_backend("10.1.0.5", 8080), index.service_of_backend("10.1.0.5", 81)) == (
        "web",
        "web",
        "",
    )
    index.put_slice(SliceRecord("shop", "other-abc", "other", (("10.1.0.5", 8080),)))
    assert index.service_of_backend("10.1.0.5", 8080) == ""  # two: nobody can tell which was meant
    index.drop_slice("shop/other-abc")
    index.put_slice(SliceRecord("shop", "web-def", "web", (("10.1.0.5", 8080),)))
    index.drop_slice("shop/web-abc")
    assert index.service_of_backend("10.1.0.5", 8080) == "web"
    index.put_service(ServiceRecord("shop", "web", ("10.96.0.9",), (80,)))
    assert (index.service_at("10.96.0.7"), index.service_of_node_port(30080)) == (None, None)


def test_a_shared_address_is_the_services_whose_port_is_dialled(index: ClusterIndex) -> None:
    """As a load balancer may share one (MetalLB's allow-shared-ip). Where two have the port nobody can tell."""
    web = ServiceRecord("shop", "web", ("203.0.113.4", "10.96.0.7"), (80, 443), (30080, 30053))
    mail = ServiceRecord("shop", "mail", ("203.0.113.4",), (25, 443), (30025, 30053))
    index.put_service(web)
    index.put_service(mail)
    assert [index.service_at("203.0.113.4", port) for port in (80, 25, 443, 0)] == [web, mail, None, None]
    assert [index.service_of_node_port(port) for port in (30080, 30025, 30053)] == [web, mail, None]
    assert index.services_at("203.0.113.4") == [web, mail]
    assert index.service_at("10.96.0.7", 81) == web  # it is nobody else's
    index.drop_service("shop/mail")
    assert (index.service_at("203.0.113.4", 443), index.service_of_node_port(30053)) == (web, web)


def test_a_slice_that_names_no_service_makes_nothing_ambiguous(index: ClusterIndex) -> None:
    index.put_pod(POD)
    index.put_slice(SliceRecord("shop", "web-abc", "web", (("10.1.0.5", 8080),)))
    index.put_slice(SliceRecord("shop", "mine", "", (("10.1.0.5", 8080), ("192.168.0.2", 9100)), ("u1", "u1")))
    assert index.service_of_backend("10.1.0.5", 8080) == "web"
    assert index.services_of_backend("192.168.0.2", 9100) == ()
    assert index.pod_at_port("192.168.0.2", 9100) == POD


@pytest.mark.parametrize(
    ("kind", "keep", "gone"),
    [
        ("pods", "u1", lambda i: i.pod_of_cgroup("u2") is not None and i._pods.gone.keys() == {"u2"}),
        ("services", "a/s", lambda i: i.service_at("10.96.0.2") is None and i.service_at("10.96.0.1") is not None),
        ("nodes", "n1", lambda i: i.node_at("10.0.0.2") == "" and i.node_at("10.0.0.1") == "n1"),
        ("jobs", "j1", lambda i: i._controllers.keys() == {"j1", "r1"}),
    ],
)
def test_a_whole_list_ends_what_is_not_in_it(
    kind: str, keep: str, gone: Callable[[ClusterIndex], bool], index: ClusterIndex
) -> None:
    for number in (1, 2):
        index.put_pod(replace(POD, uid=f"u{number}", cgroup_uids=(f"u{number}",), addresses=(f"10.1.0.{number}",)))
        index.put_service(ServiceRecord("a", "s" * number, (f"10.96.0.{number}",), (80,)))
        index.put_node(NodeRecord(f"n{number}", (f"10.0.0.{number}",)))
        index.put_controller(ControllerRecord("Job", "a", f"j{number}", f"j{number}", None))
    index.put_controller(ControllerRecord("ReplicaSet", "a", "r", "r1", None))
    index.keep_only(kind, [keep])
    assert gone(index)


def test_a_list_of_one_part_of_the_pods_ends_none_of_the_other(clock: Clock) -> None:
    """This node's pods are listed by themselves, and so are the others': after a 410 of either."""
    index = ClusterIndex(300 * SECOND, clock, "n1")
    for number, node in enumerate(("n1", "n1", "n2", "n2", "")):
        index.put_pod(replace(POD, uid=f"u{number}", name=f"web-{number}", node=node))
    assert index.running_here() == {("shop", "web-0"), ("shop", "web-1")}
    index.keep_only("pods", ["u0"])
    assert index.gone_pods() == {("shop", "web-1")}
    assert index.running_here() == {("shop", "web-0")}
    index.keep_only("elsewhere", ["u2", "u4"])
    assert index.gone_pods() == {("shop", "web-1"), ("shop", "web-3")}
    index.put_pod(replace(POD, uid="u4", name="web-4", node="n1"))  # it was scheduled
    index.drop_elsewhere("u4")
    assert index.running_here() == {("shop", "web-0"), ("shop", "web-4")}


def test_an_address_of_a_node_may_become_anothers(index: ClusterIndex) -> None:
    index.put_node(NodeRecord("n1", ("10.0.0.1", "10.0.0.3")))
    index.put_node(NodeRecord("n1", ("10.0.0.3",)))
    index.put_node(NodeRecord("n2", ("10.0.0.3",)))
    index.drop_node("n1")
    assert [index.node_at(address) for address in ("10.0.0.1", "10.0.0.3")] == ["", "n2"]


def test_the_version_moves_with_answers_that_were_given_and_with_nothing_else(index: ClusterIndex) -> None:
    assert index.pod_at("10.1.0.5") is None
    before = index.version
    index.put_pod(replace(POD, uid="u9", addresses=("10.1.0.77",)))
    assert index.version == before  # nobody asked for that one
    index.put_pod(POD)
    assert index.version > before
    before = index.version
    index.put_pod(POD)
    assert index.version == before
    index.put_pod(replace(POD, addresses=("10.1.0.9",)))
    assert index.version > before
    assert index.pod_at("10.1.0.5") is None
    assert index.workload_of(POD).name == "web"
    before = index.version
    index.put_controller(
        ControllerRecord("ReplicaSet", "shop", "web-5d4f8c7b9", "r1", Owner("Deployment", "renamed", "d"))
    )
    assert index.version > before
    assert index.service_of_backend("10.1.0.9", 80) == ""
    before = index.version
    index.put_slice(SliceRecord("shop", "web-abc", "web", (("10.1.0.9", 80),)))
    assert index.version > before


_AT_A_NODE = replace(POD, containers=(("c" * 64, "web"),), host_ports=(80,), host_addresses=("10.0.0.1",))
_SERVICE = ServiceRecord("shop", "web", ("10.96.0.7",), (80,), (30080,))


@pytest.mark.parametrize(
    ("ask", "news"),
    [
        (lambda i: i.container("c" * 64), lambda i: i.put_pod(_AT_A_NODE)),
        (lambda i: i.pod_of_cgroup("u1"), lambda i: i.put_pod(_AT_A_NODE)),
        (lambda i: i.pod_at_port("10.0.0.1", 80), lambda i: i.put_pod(_AT_A_NODE)),
        (lambda i: i.pod_at_port("10.1.0.5", 8080), lambda i: i.put_slice(SliceRecord("shop", "web-1", "", (("10.1.0.5", 8080),), ("u1",)))),
        (lambda i: i.service_at("10.96.0.7", 80), lambda i: i.put_service(_SERVICE)),
        (lambda i: i.service_of_node_port(30080), lambda i: i.put_service(_SERVICE)),
        (lambda i: i.node_at("10.0.0.1"), lambda i: i.put_node(NodeRecord("n1", ("10.0.0.1",)))),
        (lambda i: i.pod_at("10.0.0.1"), lambda i: i.put_node(NodeRecord("n1", ("10.0.0.1",)))),
    ],
)  # fmt: skip
def test_whatever_was_asked_for_its_news_are_told(
    index: ClusterIndex, clock: Clock, ask: Callable[[ClusterIndex], object], news: Callable[[ClusterIndex], None]
) -> None:
    """Or an answer that is kept would stay what it was."""

    def forget() -> None:
        clock.now = 301 * SECOND
        index.sweep()

    changes: list[Callable[[], None]] = [
        lambda: index.drop_pod("u1"),
        forget,
        lambda: index.drop_service("shop/web"),
        lambda: index.drop_slice("shop/web-1"),
        lambda: index.drop_node("n1"),
        lambda: news(index),
    ]
    news(index)
    for change in changes:
        answer, before = ask(index), index.version
        change()
        assert index.version > before or ask(index) == answer


def test_nodes_with_an_agent_are_observed(index: ClusterIndex, clock: Clock) -> None:
    agent = Owner("DaemonSet", "firesteel", "d1")
    index.put_pod(own := replace(POD, uid="a1", owner=agent, node="n1"))
    index.observe_by(own)
    index.put_pod(replace(POD, uid="a2", owner=agent, node="n2"))
    assert [index.is_observed(node) for node in ("n1", "n2", "n3", "")] == [True, True, False, False]
    index.put_pod(replace(POD, uid="a2", owner=agent, node="n3"))
    assert [index.is_observed(node) for node in ("n2", "n3")] == [False, True]
    index.drop_pod("a2")
    clock.now = 301 * SECOND
    index.sweep()
    assert not index.is_observed("n3")


@pytest.mark.parametrize("own", ["core", "bcc", "kmod", "none"])
def test_agents_of_every_profile_that_sees_requests_observe_their_nodes(index: ClusterIndex, own: str) -> None:
    """Each profile is a DaemonSet of its own: what the client's agent tells the server's must not tell as well."""

    def pod(name: str, kind: str = "DaemonSet", namespace: str = "firesteel") -> PodRecord:
        return replace(
            POD, uid=f"{namespace}/{name}", namespace=namespace, owner=Owner(kind, name, f"d-{name}"), node=name
        )

    for profile in ("core", "bcc", "kmod", "none"):
        index.put_pod(pod(f"my-release-{profile}"))
    others = [pod("my-release-names", "ReplicaSet"), pod("my-release-other"), pod("another-core"), pod("core"),
              pod("my-release-core", namespace="shop"), pod("my-release-bcc", "StatefulSet", "x")]  # fmt: skip
    for number, other in enumerate(others):
        index.put_pod(replace(other, node=f"other-{number}"))
    index.observe_by(pod(f"my-release-{own}"))
    observed = {profile for profile in ("core", "bcc", "kmod", "none") if index.is_observed(f"my-release-{profile}")}
    assert observed == {"core", "bcc", "kmod", own}
    assert not any(index.is_observed(f"other-{number}") for number in range(len(others)))


def test_who_asks_for_too_much_asks_again(index: ClusterIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.metadata.cluster.ASKED_LIMIT", 2)
    for address in ("10.1.0.1", "10.1.0.2"):
        index.pod_at(address)
    before = index.version
    index.pod_at("10.1.0.3")
    assert index.version == before + 1


def test_tables_have_limits(index: ClusterIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.metadata.cluster.POD_LIMIT", 1)
    monkeypatch.setattr("collector.metadata.cluster.OTHER_LIMIT", 1)
    for number in (1, 2):
        index.put_pod(replace(POD, uid=f"u{number}"))
        index.put_node(NodeRecord(f"n{number}", ()))
        index.put_service(replace(_SERVICE, name=f"s{number}"))
        index.put_slice(SliceRecord("shop", f"s{number}", "", ()))
        index.put_controller(ControllerRecord("Job", "shop", "j", f"j{number}", None))
    counts = index.counts()
    assert (counts.pods, counts.nodes, counts.services, counts.slices, counts.controllers) == (1, 1, 1, 1, 1)
    assert counts.left_out == 5
    index.put_pod(replace(POD, uid="u1", name="news of one that is there"))
    assert (index.counts().pods, index.counts().left_out) == (1, 5)


# --- objects

POD_JSON = {
    "metadata": {
        "uid": "u1", "namespace": "shop", "name": "web-1",
        "annotations": {"kubernetes.io/config.hash": "0123456789abcdef0123456789abcdef"},
        "ownerReferences": [{"kind": "Other", "name": "x"}, {"kind": "StatefulSet", "name": "web", "uid": "s", "controller": True}],
    },
    "spec": {"nodeName": "n1", "hostNetwork": False},
    "status": {
        "phase": "Running", "podIP": "10.1.0.5", "podIPs": [{"ip": "10.1.0.5"}, {"ip": "FD00:0:0::5"}, {"ip": "nonsense"}],
        "containerStatuses": [{"name": "app", "containerID": "containerd://abc"}, {"name": "waiting", "containerID": ""}],
        "initContainerStatuses": [{"name": "setup", "containerID": "docker://def"}],
    },
}  # fmt: skip


def test_a_pod_out_of_json() -> None:
    assert kube_objects.pod(POD_JSON) == PodRecord(
        "u1", "shop", "web-1", "n1", Owner("StatefulSet", "web", "s"), ("10.1.0.5", "fd00::5"), False,
        (("abc", "app"), ("def", "setup")), ("u1", "0123456789abcdef0123456789abcdef"), False,
    )  # fmt: skip


def test_a_pod_out_of_a_table_row() -> None:
    columns = kube_objects.columns_of(
        {"columnDefinitions": [{"name": "Name"}, {"name": "Status"}, {"name": "IP"}, {"name": "Node"}]}
    )
    row = {"cells": ["web-1", "Running", "10.1.0.5", "n1"], "object": {"metadata": POD_JSON["metadata"]}}
    found = kube_objects.pod_of_row(columns, row)
    assert (found.addresses, found.node, found.is_over) == (("10.1.0.5",), "n1", False)
    row["cells"] = ["web-1", "Completed", "<none>", "<none>"]
    found = kube_objects.pod_of_row(columns, row)
    assert (found.addresses, found.node, found.is_over) == ((), "", False)


@pytest.mark.parametrize(
    ("status", "conditions", "expected"),
    [
        *((status, [{"type": "Completed", "status": "True", "reason": "Failed"}], True)
          for status in ("OOMKilled", "ContainerCannotRun", "DeadlineExceeded", "ContainerStatusUnknown", "Terminated",
                         "ExitCode:3", "Signal:9", "Error", "Evicted", "Completed")),
        ("Error", [], False),  # one of its containers ended; another one runs, or it is started again
        ("Running", [{"type": "Completed", "status": "False"}, {"type": "Other", "status": "True"}], False),
    ],
)  # fmt: skip
def test_a_row_says_by_a_condition_that_the_pod_ended(status: str, conditions: object, expected: bool) -> None:
    columns = kube_objects.columns_of({"columnDefinitions": [{"name": "Status"}]})
    row = {"cells": [status], "object": {"metadata": POD_JSON["metadata"]}, "conditions": conditions}
    assert kube_objects.pod_of_row(columns, row).is_over is expected


def test_a_service_has_every_address_at_which_it_is_dialled() -> None:
    item = {
        "metadata": {"uid": "x", "namespace": "shop", "name": "web"},
        "spec": {"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00::7"], "externalIPs": ["203.0.113.9"],
                 "ports": [{"port": 80, "nodePort": 30080}, {"port": 443}, {"nodePort": "odd"}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}, {"hostname": "lb.example"}]}},
    }  # fmt: skip
    found = kube_objects.service(item)
    assert found.addresses == ("10.96.0.7", "fd00::7", "203.0.113.9", "198.51.100.1")
    assert (found.ports, found.node_ports) == ((80, 443), (30080,))
    item["spec"] = {"clusterIP": "None"}
    item["status"] = {}
    assert kube_objects.service(item).addresses == ()


def test_a_service_of_an_outside_name_has_no_address(index: ClusterIndex) -> None:
    """Type ExternalName: the API server lets it have ports, and keeps no address of a type that it had before."""
    found = kube_objects.service(
        {
            "metadata": {"uid": "x", "namespace": "shop", "name": "billing"},
            "spec": {"type": "ExternalName", "externalName": "192.0.2.55", "ports": [{"port": 443}]},
            "status": {"loadBalancer": {}},
        }
    )
    assert (found.addresses, found.ports, found.node_ports) == ((), (443,), ())
    index.put_service(found)
    assert index.service_at("192.0.2.55") is None


def test_slices_and_nodes() -> None:
    found = kube_objects.endpoint_slice(
        {
            "metadata": {
                "uid": "x",
                "namespace": "a",
                "name": "web-1",
                "labels": {"kubernetes.io/service-name": "web"},
            },
            "endpoints": [{"addresses": ["10.1.0.5"], "conditions": {"ready": False}}, {"addresses": ["10.1.0.6"]}],
            "ports": [{"port": 80}, {"port": 443}],
        }
    )
    assert found.service == "web"
    assert found.backends == (("10.1.0.5", 80), ("10.1.0.5", 443), ("10.1.0.6", 80), ("10.1.0.6", 443))
    node = kube_objects.node({"metadata": {"uid": "x", "name": "n1"}, "status": {"addresses": [
        {"type": "InternalIP", "address": "10.0.0.1"}, {"type": "Hostname", "address": "n1"}, {"type": "ExternalIP", "address": "fd00::1"},
    ]}})  # fmt: skip
    assert node == NodeRecord("n1", ("10.0.0.1", "fd00::1"))


@pytest.mark.parametrize("broken", [{}, {"metadata": None}, {"metadata": {"name": "web-1"}}, {"metadata": {"uid": 7}}])
def test_an_object_without_a_name_is_told(broken: dict[str, object]) -> None:
    with pytest.raises(Malformed, match="Pod"):
        kube_objects.pod(broken)


@pytest.mark.parametrize("part", ["spec", "status"])
@pytest.mark.parametrize("odd", [None, 7, [], "text"])
def test_odd_parts_lose_only_themselves(part: str, odd: object) -> None:
    assert kube_objects.pod({**POD_JSON, part: odd}).name == "web-1"


def test_an_address_that_changed_hands_is_his_who_had_it_then(index: ClusterIndex, clock: Clock) -> None:
    first, second = POD, replace(POD, uid="u2", name="heir-0")
    index.put_pod(first)
    clock.now = 50 * SECOND
    index.drop_pod("u1")
    clock.now += SECOND // 20
    index.put_pod(second)
    swapped = clock.now
    assert index.pod_at_time("10.1.0.5", 0) == (second, False)
    assert index.pod_at_time("10.1.0.5", swapped - 1) == (first, True)
    assert index.pod_at_time("10.1.0.5", swapped) == (second, False)
    clock.now += SECOND
    index.put_pod(replace(second, node="n9"))  # told again, it has had the address since then
    assert index.pod_at_time("10.1.0.5", swapped) == (replace(second, node="n9"), False)
    assert index.pod_at_time("10.1.0.5", swapped - 1) == (first, True)
    clock.now += 301 * SECOND
    index.sweep()
    assert index.pod_at_time("10.1.0.5", swapped - 1) == (replace(second, node="n9"), False)
