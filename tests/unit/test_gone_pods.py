# SPDX-License-Identifier: Apache-2.0
"""Rows of a deleted pod end two scrapes after they moved last; those of a pod of the same name that took its place do not."""

from dataclasses import replace

from analyzers.rows import Role
from analyzers.snapshot import Snapshot, SnapshotBuilder
from collector.metadata.cluster import ClusterIndex
from collector.metadata.kube_objects import PodRecord
from exporters.series import SeriesStore
from exporters.settings import MetricsSettings
from tests.rows import CLIENT, SECOND, FixedResolver, identity, pod, request_row, tcp_row

SCRAPE = 30 * SECOND
SERVER_POD = ("shop", "server-pod")


def builder(gone: set[tuple[str, str]]) -> SnapshotBuilder:
    made = SnapshotBuilder(FixedResolver())
    made.count_calls(True)
    made.gone_idle_ns = 2 * SCRAPE
    made.gone_pods = lambda: gone
    return made


def kinds(snapshot: Snapshot) -> dict[str, int]:
    return {
        name: len(getattr(snapshot, name))
        for name in ("edges", "entities", "health", "connects", "calls", "served")
        if getattr(snapshot, name)
    }


def test_accounts_of_a_deleted_pod_end_two_scrapes_after_they_moved() -> None:
    gone: set[tuple[str, str]] = set()
    made = builder(gone)
    rows = [request_row(1, count=3), request_row(2, Role.SERVER, count=3)]
    tcp = [tcp_row(1, updated_ns=SECOND), tcp_row(2, error=0, connects=1, updated_ns=SECOND)]
    every = {"edges": 1, "entities": 1, "health": 1, "connects": 1, "calls": 1, "served": 1}
    assert kinds(made.build(rows, tcp, [], SECOND)) == every
    assert kinds(made.build(rows, tcp, [], 2 * SCRAPE)) == every  # idle, but there
    gone.add(SERVER_POD)
    assert kinds(made.build(rows, tcp, [], 4 * SCRAPE)) == {}
    # What moves after all is counted, under a new account.
    snapshot = made.build([replace(rows[0], count=5), rows[1]], tcp, [], 4 * SCRAPE + SECOND)
    assert [account.count for account in snapshot.edges] == [2]


def test_what_has_nothing_to_do_with_it_stays() -> None:
    made = builder({("shop", "another-pod"), ("other", "server-pod")})
    rows = [request_row(1, count=3)]
    made.build(rows, [], [], SECOND)
    assert kinds(made.build(rows, [], [], 9 * SCRAPE)) == {"edges": 1, "calls": 1}


def test_the_page_ends_with_the_accounts_where_it_tells_pods_apart() -> None:
    gone: set[tuple[str, str]] = set()
    made = builder(gone)
    for detail, left in (("pod", 0), ("workload", 1)):
        store = SeriesStore(MetricsSettings(detail=detail, scrape_interval_ns=0))  # type: ignore[arg-type]
        store.update(made.build([request_row(1, count=3)], [], [], SECOND))
        assert len(store.page(SECOND).edges) == 1
        gone.add(SERVER_POD)
        store.update(made.build([request_row(1, count=3)], [], [], 9 * SCRAPE))
        assert len(store.page(9 * SCRAPE).edges) == left
        gone.clear()
        made = builder(gone)


def test_at_workload_detail_it_ends_where_a_namespace_keeps_its_pods_apart() -> None:
    """But not where one end is a workload, whose next pod goes on with the row."""
    gone: set[tuple[str, str]] = set()
    made = SnapshotBuilder(FixedResolver(owners={1: pod("client", "mixed"), 2: pod("server")}))
    made.gone_idle_ns, made.gone_pods = 2 * SCRAPE, lambda: gone
    settings = MetricsSettings(detail="workload", scrape_interval_ns=0, pod_detail_namespaces=frozenset({"shop"}))
    store = SeriesStore(settings)
    rows = [
        request_row(1, Role.SERVER, count=3, peer=CLIENT),
        request_row(2, remote_ip="203.0.113.1", identity=identity(2)),
    ]
    store.update(made.build(rows, [tcp_row(1, updated_ns=SECOND)], [], SECOND))
    page = store.page(SECOND)
    assert (len(page.entities), len(page.edges), len(page.health)) == (1, 2, 1)
    gone.add(SERVER_POD)
    store.update(made.build(rows, [tcp_row(1, updated_ns=SECOND)], [], 9 * SCRAPE))
    page = store.page(9 * SCRAPE)
    assert page.entities == []
    assert ['src_namespace="mixed"' in row.body for row in page.edges] == [True]
    assert ['src_namespace="mixed"' in row.body for row in page.health] == [True]


def test_a_row_that_two_accounts_feed_ends_with_the_second() -> None:
    gone: set[tuple[str, str]] = set()
    made = builder(gone)
    store = SeriesStore(MetricsSettings(detail="pod", scrape_interval_ns=0, drop_labels=frozenset({"status_code"})))
    rows = [request_row(1, count=3), request_row(2, count=4, status=404)]
    store.update(made.build(rows, [], [], SECOND))
    gone.add(SERVER_POD)
    moved = [rows[0], replace(rows[1], count=5)]
    store.update(made.build(moved, [], [], 3 * SCRAPE))
    (row,) = store.page(3 * SCRAPE).edges
    assert sum(single.value for single in row.singles) == 8
    store.update(made.build(moved, [], [], 9 * SCRAPE))
    assert store.page(9 * SCRAPE).edges == []


def test_which_pods_are_gone() -> None:
    now = [0]
    index = ClusterIndex(300 * SECOND, lambda: now[0], "node-1")
    assert index.gone_pods() == frozenset()
    for uid, name in (("1", "web-0"), ("2", "web-1"), ("3", "job")):
        index.put_pod(PodRecord(uid, "shop", name, "node-1", None))
    index.drop_pod("1")
    index.drop_pod("2")
    assert index.gone_pods() == {("shop", "web-0"), ("shop", "web-1")}
    index.put_pod(PodRecord("4", "shop", "web-0", "node-1", None))  # of a StatefulSet: the same name again
    assert index.gone_pods() == {("shop", "web-1")}
    index.put_pod(PodRecord("5", "shop", "far", "node-2", None))
    assert index.running_here() == {("shop", "web-0"), ("shop", "job")}
    now[0] = 301 * SECOND
    index.sweep()
    assert index.gone_pods() == frozenset()
    assert index.running_here() == {("shop", "web-0"), ("shop", "job")}
