# SPDX-License-Identifier: Apache-2.0
"""Lists and watches against an API server that does what real ones do, and breaks as they break."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from collector.metadata.cluster import ClusterIndex
from collector.metadata.cluster_size import nodes_of
from collector.metadata.kube_api import KubeApi, Refused, Unavailable
from collector.metadata.kube_watch import Watch, of_others
from collector.metadata.kubernetes import Cluster
from collector.metadata.names_connection import NamesSettings
from tests.fake_kube import PATHS, FakeKube, fake_kube, pod

NODE = "n1"
SECOND = 10**9


def within(condition: Callable[[], Any], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def api(kube: FakeKube, token: str = "") -> KubeApi:
    settings = {"BearerToken": {"value": f"Bearer {token}"}} if token else {}
    return KubeApi(SimpleNamespace(host=f"http://127.0.0.1:{kube.port}", auth_settings=lambda: settings))


@contextmanager
def watching(kube: FakeKube, token: str = "", *, wait: bool = True) -> Iterator[Cluster]:
    cluster = Cluster(api(kube, token), NODE, 300 * SECOND)
    cluster.start()
    try:
        assert not wait or within(lambda: cluster.is_complete)
        yield cluster
    finally:
        cluster.stop()


def name_at(cluster: Cluster, ip: str) -> str:
    found = cluster.index.pod_at(ip)
    return found.name if found else ""


def test_everything_is_listed_in_pages_and_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.metadata.kube_watch._PAGE", "3")
    with fake_kube() as kube:
        for number in range(10):
            kube.put("pods", pod(f"web-{number}", f"10.1.0.{number}", NODE if number % 2 else "n2"))
        kube.put(
            "nodes",
            {
                "metadata": {"name": NODE, "uid": "n"},
                "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
            },
        )
        with watching(kube) as cluster:
            assert [name_at(cluster, f"10.1.0.{number}") for number in range(10)] == [
                f"web-{number}" for number in range(10)
            ]
            assert cluster.index.node_at("10.0.0.1") == NODE
            assert cluster.index.counts().pods == 10
        whole = {
            accept for path, query, accept in kube.requests if query.get("fieldSelector") == f"spec.nodeName={NODE}"
        }
        assert whole == {"application/json"}
        rows = {
            accept for path, query, accept in kube.requests if query.get("fieldSelector") == f"spec.nodeName!={NODE}"
        }
        assert len(rows) == 1
        assert "as=Table" in rows.pop()
        assert {path for path, _, _ in kube.requests} == set(PATHS.values())


def test_changes_are_heard() -> None:
    with fake_kube() as kube:
        kube.put("pods", pod("web-0", "10.1.0.1", "n2"))
        with watching(kube) as cluster:
            kube.put("pods", pod("db-0", "10.1.0.2", "n2"))
            kube.put("pods", pod("own-0", "10.1.0.3", NODE))
            assert within(lambda: name_at(cluster, "10.1.0.2") == "db-0" and name_at(cluster, "10.1.0.3") == "own-0")
            kube.delete("pods", "shop/db-0")
            kube.put("pods", pod("heir-0", "10.1.0.2", "n3"))
            assert within(lambda: name_at(cluster, "10.1.0.2") == "heir-0")
            assert kube.asked("pods", watch=False) == 2


def test_a_pod_that_is_scheduled_to_this_node_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves the watch of the others, as DELETED, and comes into ours; in whichever order that is heard."""
    with fake_kube() as kube:
        kube.put("pods", pod("late-0", "10.1.0.9", ""))
        with watching(kube) as cluster:
            kube.put("pods", pod("late-0", "10.1.0.9", NODE))
            assert within(lambda: (cluster.index.pod_of_cgroup("uid-late-0") or pod_nowhere()).node == NODE)
            time.sleep(0.5)
            found = cluster.index.pod_at("10.1.0.9")
            assert found is not None
            assert (found.name, "uid-late-0" in cluster.index._pods.gone) == ("late-0", False)


def pod_nowhere() -> Any:
    return SimpleNamespace(node="")


def test_410_lists_again_and_what_went_meanwhile_is_gone() -> None:
    with fake_kube() as kube:
        kube.put("pods", pod("web-0", "10.1.0.1", "n2"))
        kube.put("pods", pod("web-1", "10.1.0.2", "n2"))
        with watching(kube) as cluster:
            kube.delete("pods", "shop/web-0")
            kube.put("pods", pod("new-0", "10.1.0.1", "n2"))
            kube.forget()
            assert within(lambda: name_at(cluster, "10.1.0.1") == "new-0")
            assert name_at(cluster, "10.1.0.2") == "web-1"
            assert within(lambda: not cluster.problems())


def lists(kube: FakeKube) -> dict[str, int]:
    return {name: kube.asked(name, watch=False) for name in PATHS}


def test_a_watch_that_ends_in_its_time_goes_on_from_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """As every one does after minutes: nothing is listed again, and nothing between two of them is missed."""
    monkeypatch.setattr("collector.metadata.kube_watch._WATCH_SECONDS", (1, 1))
    with fake_kube() as kube:
        kube.put("pods", pod("web-0", "10.1.0.1", "n2"))
        with watching(kube) as cluster:
            before = lists(kube)
            # Of pods this node's and the others'; of nodes the first alone, for how many there are.
            assert before == {name: 2 if name in {"pods", "nodes"} else 1 for name in PATHS}
            for number in range(30):
                kube.put("pods", pod(f"db-{number}", f"10.1.1.{number}", "n2"))
                time.sleep(0.1)
            assert within(lambda: name_at(cluster, "10.1.1.29") == "db-29")
            assert [name_at(cluster, f"10.1.1.{number}") for number in range(30)] == [f"db-{n}" for n in range(30)]
            assert within(lambda: min(kube.asked(name, watch=True) for name in PATHS) >= 3)
            assert lists(kube) == before
            assert [(state.lists, state.failures, state.fault) for state in cluster.states()] == [(1, 0, "")] * 7


def test_a_bookmark_carries_a_quiet_watch_past_a_compaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only pods of other nodes change: the versions that the other watches began from are compacted away meanwhile."""
    monkeypatch.setattr("collector.metadata.kube_watch._WATCH_SECONDS", (2, 2))
    with fake_kube() as kube:
        kube.put("pods", pod("web-0", "10.1.0.1", "n2"))
        with watching(kube) as cluster:
            before, begun = lists(kube), kube.version
            for number in range(5):
                kube.put("pods", pod(f"db-{number}", f"10.1.1.{number}", "n2"))
            assert within(lambda: name_at(cluster, "10.1.1.4") == "db-4")
            time.sleep(5 * kube.bookmark_seconds)
            kube.compact()
            assert kube.oldest == begun + 5
            watched = {name: kube.asked(name, watch=True) for name in PATHS}
            again = {name: count + (2 if name == "pods" else 1) for name, count in watched.items()}
            assert within(lambda: all(kube.asked(name, watch=True) >= again[name] for name in PATHS))
            kube.put("services", {"metadata": {"namespace": "shop", "name": "web", "uid": "s"},
                                  "spec": {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 80}]}})  # fmt: skip
            assert within(lambda: cluster.index.service_at("10.96.0.1") is not None)
            assert lists(kube) == before
            assert [(state.lists, state.failures) for state in cluster.states()] == [(1, 0)] * 7


def test_a_watch_that_breaks_goes_on_from_what_it_heard_last() -> None:
    """As when a balancer forgets a connection: by bookmarks even a quiet watch is past a compaction, and nothing is listed again."""
    with fake_kube() as kube:
        kube.put("pods", pod("web-0", "10.1.0.1", "n2"))
        with watching(kube) as cluster:
            before = lists(kube)
            for number in range(5):
                kube.put("pods", pod(f"db-{number}", f"10.1.1.{number}", "n2"))
            assert within(lambda: name_at(cluster, "10.1.1.4") == "db-4")
            time.sleep(5 * kube.bookmark_seconds)
            kube.compact()
            assert kube.listener is not None
            kube.listener.close()
            kube.listener.open()
            kube.delete("pods", "shop/db-0")
            kube.put("pods", pod("heir-0", "10.1.1.0", "n3"))
            assert within(lambda: name_at(cluster, "10.1.1.0") == "heir-0" and not cluster.problems(), 20)
            assert lists(kube) == before
            assert {state.lists for state in cluster.states()} == {1}
            assert all(state.failures for state in cluster.states())


def test_an_outage_keeps_the_names_and_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.metadata.kube_watch._LONGEST_PAUSE", 0.5)
    with fake_kube() as kube:
        port = kube.port
        kube.put("pods", pod("web-0", "10.1.0.1", "n2"))
        cluster = Cluster(api(kube), NODE, 300 * SECOND)
        cluster.start()
        assert within(lambda: cluster.is_complete)
    try:
        assert within(lambda: len(cluster.problems()) == 7)
        assert name_at(cluster, "10.1.0.1") == "web-0"
        assert "names known until then stay" in cluster.problems()[0].what
        with fake_kube(port=port) as kube:
            kube.version = 1000
            kube.oldest = 1000
            kube.put("pods", pod("web-0", "10.1.0.7", "n2"))
            assert within(lambda: name_at(cluster, "10.1.0.7") == "web-0")
            assert within(lambda: not cluster.problems())
    finally:
        cluster.stop()


def test_an_api_that_is_not_there_at_the_start_is_found_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.metadata.kube_watch._LONGEST_PAUSE", 0.5)
    with fake_kube() as kube:
        for path in PATHS.values():
            kube.refuse[path] = 503
        kube.put("pods", pod("web-0", "10.1.0.1", "n2"))
        with watching(kube, wait=False) as cluster:
            assert within(lambda: len(cluster.problems()) == 7)
            assert {problem.severity for problem in cluster.problems()} == {"error"}
            kube.refuse.clear()
            assert within(lambda: cluster.is_complete and name_at(cluster, "10.1.0.1") == "web-0")


def test_what_the_account_may_not_see_loses_only_that() -> None:
    with fake_kube() as kube:
        kube.refuse[PATHS["jobs"]] = 403
        kube.put("pods", pod("web-0", "10.1.0.1", "n2"))
        with watching(kube, wait=False) as cluster:
            assert within(lambda: name_at(cluster, "10.1.0.1") == "web-0")
            assert within(
                lambda: [p.cause for p in cluster.problems()] == [f"{PATHS['jobs']}: the API answered 403: no"]
            )


def test_who_is_outside_is_known_once_all_that_has_an_address_was_told() -> None:
    """Jobs have none. What was told stays so, whatever the API server does then."""
    with fake_kube() as kube:
        kube.refuse[PATHS["jobs"]] = kube.refuse[PATHS["nodes"]] = 403
        kube.put("pods", pod("web-0", "10.1.0.1", "n2"))
        with watching(kube, wait=False) as cluster:
            assert within(lambda: name_at(cluster, "10.1.0.1") == "web-0")
            assert not cluster.knows_addresses()
            del kube.refuse[PATHS["nodes"]]
            assert within(cluster.knows_addresses)
            assert not cluster.is_complete
            cluster._switch.turn(on=False)
            assert cluster.knows_addresses()


def test_tokens_are_sent_and_a_wrong_one_is_told() -> None:
    with fake_kube(token="right") as kube:
        assert api(kube, "right").get(PATHS["nodes"], {})["kind"] == "List"
        with pytest.raises(Refused, match="401: Unauthorized") as refused:
            api(kube, "wrong").get(PATHS["nodes"], {})
        assert refused.value.status == 401


def test_a_malformed_object_loses_only_itself() -> None:
    with fake_kube() as kube:
        odd = pod("odd", "10.1.0.8", "n2")
        del odd["metadata"]["uid"]
        kube.put("pods", odd)
        kube.put("pods", pod("web-0", "10.1.0.1", "n2"))
        with watching(kube) as cluster:
            assert name_at(cluster, "10.1.0.1") == "web-0"
            (problem,) = cluster.problems()
            assert (problem.what, "shop/odd" in problem.cause) == (
                "1 elsewhere could not be read and have no names",
                True,
            )


def test_an_answer_that_is_no_answer_is_told() -> None:
    with fake_kube() as kube, pytest.raises(Refused, match="404"):
        api(kube).get("/api/v1/nonsense", {})
    with pytest.raises(Unavailable, match="nodes"):
        api(kube).get(PATHS["nodes"], {})


def large(kube: FakeKube, nodes: int) -> None:
    for number in range(nodes):
        kube.put("nodes", {"metadata": {"name": f"n{number}", "uid": f"n-{number}"}, "status": {}})
    kube.put("pods", pod("web-0", "10.1.0.1", NODE))
    kube.put("pods", pod("db-0", "10.1.0.2", "n2"))


@pytest.mark.parametrize("settings", [None, NamesSettings("auto")], ids=["names-off", "no-names-service"])
def test_agents_of_a_large_cluster_do_not_ask_for_it_all_at_once(
    monkeypatch: pytest.MonkeyPatch, settings: NamesSettings | None
) -> None:
    """The own node is asked for at once."""
    drawn: list[tuple[float, float]] = []

    def draw(low: float, high: float) -> float:
        drawn.append((low, high))
        return 1.5

    monkeypatch.setattr("collector.metadata.cluster_size.random.uniform", draw)
    with fake_kube() as kube:
        large(kube, 101)
        cluster = Cluster(api(kube), NODE, 300 * SECOND, settings)
        began = time.monotonic()
        cluster.start()
        try:
            assert within(lambda: name_at(cluster, "10.1.0.1") == "web-0")
            assert within(lambda: (0, 60.0) in drawn)
            if time.monotonic() - began < 1.0:  # else the machine is too busy to look in time
                assert not cluster.is_complete
                assert "the rest of this large cluster is asked for in" in " ".join(cluster.sources())
            assert within(lambda: cluster.is_complete)
            assert time.monotonic() - began > 1.5
            assert name_at(cluster, "10.1.0.2") == "db-0"
        finally:
            cluster.stop()


def test_in_a_small_cluster_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[float] = []

    def draw(_low: float, high: float) -> float:
        drawn.append(high)
        return 0.0

    monkeypatch.setattr("collector.metadata.cluster_size.random.uniform", draw)
    with fake_kube() as kube:
        large(kube, 100)
        assert nodes_of(api(kube)) == 100
        with watching(kube) as cluster:
            assert name_at(cluster, "10.1.0.2") == "db-0"
            assert 60.0 not in drawn


def test_ten_minutes_of_no_answer_at_the_start_are_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock of its own: how often it asks, how long it waits, and that it is there within a minute of the API."""
    pauses: list[float] = []
    with fake_kube() as kube:
        kube.put(
            "nodes",
            {
                "metadata": {"name": NODE, "uid": "n"},
                "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
            },
        )
        kube.refuse["/api/v1/nodes"] = 503

        def wait(_watch: Watch, seconds: float) -> None:
            pauses.append(seconds)
            if sum(pauses) >= 600:
                kube.refuse.clear()

        monkeypatch.setattr(Watch, "_wait", wait)
        stop, index = threading.Event(), ClusterIndex(300 * SECOND, time.monotonic_ns, NODE)
        (resource,) = [resource for resource in of_others(NODE) if resource.name == "nodes"]
        watch = Watch(api(kube), index, resource, stop)
        thread = threading.Thread(target=watch.run, daemon=True)
        thread.start()
        try:
            assert within(lambda: watch.state.complete, 60)
        finally:
            stop.set()
        assert index.node_at("10.0.0.1") == NODE
        assert watch.state.fault == ""
    refused = watch.state.failures
    assert 600 <= sum(pauses[:refused]) <= 660
    assert all(2**n / 2 <= pause <= 2**n for n, pause in enumerate(pauses[:6]))
    assert max(pauses) <= 60
    assert refused <= 30
